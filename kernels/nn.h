/* nn.h - layers: operations with their parameters under a name.
 *
 * A layer `name` owns "name.weight" and "name.bias" in the scope it is recorded in.  Weights start
 * uniform in +-gain sqrt(3 / fan_in), which keeps the variance of its input at gain 1; biases at
 * zero.  Matrices and filters are in the graph's compute type, biases and norms in f32.
 *
 * Errors, threads: those of graph.h.
 */
#ifndef LK_NN_H
#define LK_NN_H

#include "kernels/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* x [..., I] -> [..., n_out]; weight [n_out, I].  gain 0: starts at zero. */
lk_var lk_nn_dense(lk_graph *g, const char *name, lk_var x, int64_t n_out, double gain);

/* lk_conv of x [B, S1..Sn, I] to n_out channels, n = 1, 2, 3; taps[n], weight [n_out, taps.., I /
 * groups]. */
lk_var lk_nn_conv(lk_graph *g, const char *name, lk_var x, int64_t n_out, const int64_t *taps,
                  const lk_conv_options *options);

/* lk_conv_transposed to size[n] (NULL: the smallest) and n_out channels; weight [I, taps.., n_out /
 * groups]. */
lk_var lk_nn_conv_transposed(lk_graph *g, const char *name, lk_var x, int64_t n_out,
                             const int64_t *taps, const lk_conv_options *options,
                             const int64_t *size);

/* lk_norm with a learned weight, and a bias unless RMS; eps 1e-5. */
lk_var lk_nn_norm(lk_graph *g, const char *name, lk_norm_kind kind, lk_var x, int n_groups);

/* lk_snake with a learned frequency a channel, starting at 1; the parameter is `name` itself. */
lk_var lk_nn_snake(lk_graph *g, const char *name, lk_var x);

#ifdef __cplusplus
}
#endif

#endif /* LK_NN_H */
