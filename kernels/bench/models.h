/* models.h - three small networks whose training steps are timed (steps.c).
 *
 *   transformer   6 blocks, width 256, 4 heads, 8 sequences of 512 tokens
 *   audio         1-D convolutional autoencoder, 4 clips of 2 s at 16 kHz
 *   video         3-D causal convolutional autoencoder, 2 clips of 17 frames of 64x64
 *
 * Their twins in PyTorch are in experiments/engine/torch_steps.py; parameters have the same names
 * and layouts up to the order of dimensions.
 */
#ifndef LK_KERNELS_BENCH_MODELS_H
#define LK_KERNELS_BENCH_MODELS_H

#include "kernels/graph.h"

typedef struct lk_bench_model {
    const char *name;
    /* Records the model in the graph's compute type; gives its inputs, all f32, and the loss. */
    lk_var (*build)(lk_graph *g, lk_var *x, lk_var *target); /* target LK_NONE: x is the target */
} lk_bench_model;

extern const lk_bench_model lk_bench_models[];
extern const int lk_bench_n_models;
const lk_bench_model *lk_bench_model_find(const char *name); /* NULL when unknown */

#endif /* LK_KERNELS_BENCH_MODELS_H */
