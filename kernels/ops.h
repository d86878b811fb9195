/* ops.h - the operations a model records into a graph (graph.h).
 *
 * Feature maps are channels-last: [B, X, C], [B, Y, X, C], [B, T, Y, X, C].  Unless said otherwise
 * the result has the element type of the first input, sums are kept in f32 (double in the plain
 * definition), and every operation has gradients for all its float inputs.
 * The formula of each operation stands at the top of the file that defines it (kernels/ops/).
 */
#ifndef LK_OPS_H
#define LK_OPS_H

#include "kernels/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- elementwise.c: sizes broadcast as in NumPy (aligned at the last dimension) ---- */

lk_var lk_add(lk_graph *g, lk_var a, lk_var b);
lk_var lk_sub(lk_graph *g, lk_var a, lk_var b);
lk_var lk_mul(lk_graph *g, lk_var a, lk_var b);
lk_var lk_div(lk_graph *g, lk_var a, lk_var b);

/* Functions of one number; the formulas are in unary.def. */
typedef enum lk_unary_kind {
#define LK_UNARY_KIND(upper, lower, f, df) LK_##upper,
#include "kernels/unary.def"
#undef LK_UNARY_KIND
    LK_N_UNARY_KINDS
} lk_unary_kind;
const char *lk_unary_name(lk_unary_kind kind);
lk_var lk_unary(lk_graph *g, lk_unary_kind kind, lk_var x, double a, double b);

lk_var lk_affine(lk_graph *g, lk_var x, double a, double b); /* a x + b */
lk_var lk_scale(lk_graph *g, lk_var x, double a);            /* a x */
lk_var lk_square(lk_graph *g, lk_var x);
lk_var lk_tanh(lk_graph *g, lk_var x);
lk_var lk_sigmoid(lk_graph *g, lk_var x);
lk_var lk_gelu(lk_graph *g, lk_var x);      /* exact */
lk_var lk_gelu_tanh(lk_graph *g, lk_var x); /* the tanh formula; cheaper */
lk_var lk_silu(lk_graph *g, lk_var x);
lk_var lk_relu(lk_graph *g, lk_var x);
lk_var lk_leaky_relu(lk_graph *g, lk_var x, double slope);

/* x + sin^2(alpha x) / alpha; x [..., C], alpha [C] f32, != 0.  Ziyin et al. 2020, eq. 3. */
lk_var lk_snake(lk_graph *g, lk_var x, lk_var alpha);

/* x + gate * y; x and y [B, ..., C], gate [B, C] (any float type): a gated residual. */
lk_var lk_gated_add(lk_graph *g, lk_var x, lk_var gate, lk_var y);

lk_var lk_cast(lk_graph *g, lk_var x, lk_dtype dtype); /* x itself when it has that type */

/* ---- shape.c ---- */

lk_var lk_reshape(lk_graph *g, lk_var x, lk_shape shape); /* same bytes; one size may be -1 */
lk_var lk_stop_gradient(lk_graph *g, lk_var x);           /* same bytes; nothing flows back */
/* value of `forward`, gradient of `x` (the straight-through estimate): x + stop(forward - x) */
lk_var lk_straight_through(lk_graph *g, lk_var x, lk_var forward);
lk_var lk_permute(lk_graph *g, lk_var x, const int *perm); /* result dim i = dim perm[i] of x */
lk_var lk_slice(lk_graph *g, lk_var x, int axis, int64_t start, int64_t size);
lk_var lk_pad(lk_graph *g, lk_var x, int axis, int64_t before, int64_t after); /* zeros */
lk_var lk_concat(lk_graph *g, int n, const lk_var *x, int axis);               /* n <= 6 */
/* n equal parts along `axis`, 1 <= n <= 4, into parts[n]. */
void lk_split_equally(lk_graph *g, lk_var x, int axis, int n, lk_var *parts);
lk_var lk_broadcast(lk_graph *g, lk_var x, lk_shape shape);

/* ---- rearrange.c ---- */

/* Rows of x [..., N, ...] along `axis` by index i32 [M]: result [..., M, ...]; zeros where an index
 * is not in 0 .. N - 1.  axis 0 is an embedding; a constant index gives any padding or repetition.
 */
lk_var lk_gather(lk_graph *g, lk_var x, int axis, lk_var index);
/* The reverse: zeros of size `size` along axis, with x's rows added at index; f32.  Rows whose
 * index is outside are left out. */
lk_var lk_scatter_add(lk_graph *g, lk_var x, int axis, lk_var index, int64_t size);

/* Composed of the operations above. */
/* [B, Y, X, C] <-> [B, Y/r, X/r, C r r] (block row, block column, channel in that order). */
lk_var lk_space_to_depth(lk_graph *g, lk_var x, int r);
lk_var lk_depth_to_space(lk_graph *g, lk_var x, int r);
/* Each element along `axis` r times in a row: nearest-neighbour upsampling. */
lk_var lk_repeat(lk_graph *g, lk_var x, int axis, int r);
/* Orthonormal 2-D Haar of [B, Y, X, C], Y and X even: [B, Y/2, X/2, 4 C] (LL, LH, HL, HH; the
 * first letter is the column direction, LH holds differences along X). */
lk_var lk_haar(lk_graph *g, lk_var x);
lk_var lk_haar_inverse(lk_graph *g, lk_var x); /* C a multiple of 4 */

/* ---- reduce.c ---- */

/* Sum over the dimensions in `axes` (bit i: dimension i); they stay with size 1 if keep, else go.
 */
lk_var lk_reduce_sum(lk_graph *g, lk_var x, unsigned axes, int keep);
lk_var lk_reduce_mean(lk_graph *g, lk_var x, unsigned axes, int keep);
lk_var lk_sum_all(lk_graph *g, lk_var x);  /* f32 [] */
lk_var lk_mean_all(lk_graph *g, lk_var x); /* f32 [] */
lk_var lk_softmax(lk_graph *g, lk_var x);  /* over the last dimension */

/* ---- norm.c ---- */

typedef enum lk_norm_kind { LK_LAYER_NORM, LK_RMS_NORM, LK_GROUP_NORM } lk_norm_kind;
/* (x - mean) / sqrt(var + eps) * gamma + beta (RMS: no mean).  x [B, ..., C]; layer and RMS
 * normalise each row of C, group norm each sample over everything but the groups of C / n_groups
 * channels (n_groups is read by group norm alone).  gamma, beta f32: [C], or [B, C] (one per
 * sample), or LK_NONE. */
lk_var lk_norm(lk_graph *g, lk_norm_kind kind, lk_var x, lk_var gamma, lk_var beta, int n_groups,
               double eps);
/* The same with gamma = 1 + scale and beta = shift, both [B, C] of any float type: a scale of zero
 * changes nothing.  Peebles, Xie 2023, section 3. */
lk_var lk_adaptive_norm(lk_graph *g, lk_norm_kind kind, lk_var x, lk_var scale, lk_var shift,
                        int n_groups, double eps);

/* ---- matmul.c ---- */

/* a [..., M, K] b [..., K, N] -> [..., M, N]; trans_x swaps the last two of x.  The leading
 * dimensions are equal, or b has two dimensions and serves all. */
lk_var lk_matmul(lk_graph *g, lk_var a, lk_var b, int trans_a, int trans_b);
/* x [..., I], w [O, I], bias [O] f32 or LK_NONE -> [..., O] */
lk_var lk_linear(lk_graph *g, lk_var x, lk_var w, lk_var bias);
/* The same with an activation behind it. */
lk_var lk_linear_act(lk_graph *g, lk_var x, lk_var w, lk_var bias, lk_unary_kind act, double a);

/* ---- conv.c ---- */

typedef struct lk_conv_options {
    int64_t stride[3];            /* 0 means 1 */
    int64_t dilation[3];          /* 0 means 1 */
    int64_t pad_lo[3], pad_hi[3]; /* zeros in front and behind; causal: lo = (K - 1) dilation */
    int groups;                   /* 0 means 1 */
} lk_conv_options;

/* x [B, S1..Sn, I], w [O, K1..Kn, I / groups], bias [O] f32 or LK_NONE, n = 1, 2, 3
 *   -> [B, (S + lo + hi - dilation (K - 1) - 1) / stride + 1, ..., O] */
lk_var lk_conv(lk_graph *g, lk_var x, lk_var w, lk_var bias, const lk_conv_options *options);

/* The transpose of lk_conv: x [B, S1..Sn, I], w [I, K1..Kn, O / groups], bias [O] or LK_NONE
 *   -> [B, size1..sizen, O]; lk_conv with these options takes `size` to S. NULL: the smallest. */
lk_var lk_conv_transposed(lk_graph *g, lk_var x, lk_var w, lk_var bias,
                          const lk_conv_options *options, const int64_t *size);

/* ---- attention.c ---- */

/* softmax(scale q k^T + bias) v over the keys each query may see: q [B, H, N, D], k and v
 * [B, Hk, M, D] of one float type, H a multiple of Hk (consecutive heads share keys), D <= 256;
 * result [B, H, N, D].  plan i32 [B, N + M, 2] says who sees whom (attention.h), LK_NONE: all see
 * all.  scale 0 means 1 / sqrt(D); else > 0.  *lse (unless NULL): f32 [B, H, N], ln of the sum of
 * the exponentials.  A query without keys gives zeros, an lse of -Inf, and no gradient.
 * Where no gradient is wanted, plan may have the rows of the queries alone, [B, N, 2], and keys
 * may lie in a ring: key j of a run that passes M is row j mod M, M a multiple of LK_KEY_TILE. */
lk_var lk_attention(lk_graph *g, lk_var q, lk_var k, lk_var v, lk_var plan, double scale,
                    lk_var *lse);
/* The same with a cost of distance in time: bias = -slope[h, 0] (tq - tk) for earlier keys and
 * -slope[h, 1] (tk - tq) for later ones; slope f32 [H, 2], times f32 [B, N + M] in seconds, queries
 * first (lk_attend_times); nothing flows back to times. */
lk_var lk_attention_sloped(lk_graph *g, lk_var q, lk_var k, lk_var v, lk_var plan, lk_var slope,
                           lk_var times, double scale, lk_var *lse);
/* Keys are summed over in runs that end at multiples of this, so a row's result depends on its own
 * keys and their numbers alone, not on what else was computed with it. */
#define LK_KEY_TILE 64

/* Write the rows of x [.., n, D] over rows at, at + 1, .. (mod R) of an input [.., R, D], whose
 * bytes stay so for later runs; at i32 [1], >= 0.  The result is the input after that: use it
 * instead of the input from there on.  No gradient. */
lk_var lk_ring_write(lk_graph *g, lk_var ring, lk_var x, lk_var at);

/* Turn pairs of numbers (i, i + P) of the first 2 P of each row of x [B, ..., N, D] by the angles
 * of table f32 [B, N, 2, P] (lk_rotary_table); the others pass.  Nothing flows back to the table.
 * Su et al. 2021 (RoFormer), eq. 15, with angles of time instead of index. */
lk_var lk_rotary(lk_graph *g, lk_var x, lk_var table);

/* ---- random.c: f(seed, stream of this record, step of the run, element) ---- */

lk_var lk_random_normal(lk_graph *g, lk_dtype dtype, lk_shape shape);
lk_var lk_random_uniform(lk_graph *g, lk_dtype dtype, lk_shape shape); /* [0, 1) */
lk_var lk_dropout(lk_graph *g, lk_var x, double p); /* x / (1 - p) or 0; x when not training */

/* ---- spectral.c ---- */

/* All in f32, by transforms of our own: FFTW is not needed.  No gradient flows to a window.
 *
 * Frames of x [B, S]: X[b, t, k] = sum_n window[n] x[b, t hop + n - n_fft / 2] e^(-2 pi i k n /
 * n_fft), zeros outside; t = 0 .. ceil(S / hop) - 1, k = 0 .. n_fft / 2.  window [n_fft], any even
 * size; factors beyond 7 make it slow.  Result [B, T, n_fft / 2 + 1, 2] (real, imaginary). */
lk_var lk_stft(lk_graph *g, lk_var x, lk_var window, int n_fft, int hop);
/* Least-squares inverse (Griffin, Lim 1984, eq. 6) -> [B, n_samples], T = ceil(n_samples / hop);
 * 0 where no window reaches. */
lk_var lk_istft(lk_graph *g, lk_var spectrum, lk_var window, int n_fft, int hop, int64_t n_samples);
/* sqrt(re^2 + im^2) of [..., 2] -> [...]; the gradient at 0 is 0. */
lk_var lk_magnitude(lk_graph *g, lk_var x);
/* ln(max(mel |X|, floor)) -> [B, T, n_mels]; HTK mel triangles (mel.h) with area 1 over Hz between
 * lo_hz and hi_hz; floor > 0. */
lk_var lk_log_mel(lk_graph *g, lk_var spectrum, int rate_hz, int n_mels, double lo_hz, double hi_hz,
                  double floor);

/* ---- quantize.c ---- */

/* Index i32 [...] of the nearest row of codebook [K, C] to each row of x [..., C]; the lowest of
 * equals, as far as f32 sums tell.  No gradient: look up with lk_gather and use
 * lk_straight_through. */
lk_var lk_nearest(lk_graph *g, lk_var x, lk_var codebook);

/* ---- loss.c: all give f32 [], means over all elements or rows; targets have the shape of what
 * they are compared with.  A label outside 0 .. K - 1 gives NaN. ---- */

lk_var lk_mse_loss(lk_graph *g, lk_var x, lk_var target);
lk_var lk_l1_loss(lk_graph *g, lk_var x, lk_var target);
lk_var lk_huber_loss(lk_graph *g, lk_var x, lk_var target, double delta);
lk_var lk_bce_loss(lk_graph *g, lk_var logit, lk_var target);           /* target in [0, 1] */
lk_var lk_cross_entropy_loss(lk_graph *g, lk_var logits, lk_var label); /* [..., K], i32 [...] */
lk_var lk_hinge_loss(lk_graph *g, lk_var score, double sign);           /* relu(1 - sign score) */
lk_var lk_kl_loss(lk_graph *g, lk_var mean, lk_var log_var); /* KL(N(mean, e^log_var) || N(0, 1)) */
/* -log softmax(logits)[label] a row: f32 [...] */
lk_var lk_cross_entropy(lk_graph *g, lk_var logits, lk_var label);

#ifdef __cplusplus
}
#endif

#endif /* LK_OPS_H */
