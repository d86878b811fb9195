/* ops_impl.h - small helpers the definitions of operations share. */
#ifndef LK_OPS_IMPL_H
#define LK_OPS_IMPL_H

#include "kernels/graph_impl.h"

#include <math.h>

#ifdef __cplusplus
extern "C" {
#endif

static inline int lk_is_float(lk_dtype t)
{
    return t == LK_F32 || t == LK_BF16 || t == LK_F64;
}

/* Elements per entry of the last dimension, and how many rows of it there are. */
static inline int64_t lk_last(const lk_shape *s)
{
    return s->n_dims ? s->dim[s->n_dims - 1] : 1;
}
static inline int64_t lk_rows(const lk_shape *s)
{
    int64_t n = 1;
    for (int i = 0; i + 1 < s->n_dims; i++)
        n *= s->dim[i];
    return n;
}

/* [outer, dim[axis], inner] of a shape. */
typedef struct lk_split {
    int64_t outer, size, inner;
} lk_split;
static inline lk_split lk_split_at(const lk_shape *s, int axis)
{
    lk_split k = {1, s->dim[axis], 1};
    for (int i = 0; i < axis; i++)
        k.outer *= s->dim[i];
    for (int i = axis + 1; i < s->n_dims; i++)
        k.inner *= s->dim[i];
    return k;
}

/* How two shapes broadcast: the result and, per dimension of it, the element steps of each input
 * (0 where it repeats).  Returns 0 when they do not fit. */
typedef struct lk_broadcasting {
    lk_shape out;
    int64_t step_a[LK_MAX_DIMS], step_b[LK_MAX_DIMS];
} lk_broadcasting;
int lk_broadcast_shapes(const lk_shape *a, const lk_shape *b, lk_broadcasting *out);

/* Sum d down to the shape of `like` (the reverse of broadcasting). */
lk_var lk_sum_to(lk_graph *g, lk_var d, lk_shape like);

/* What permute, broadcast, slice, pad and concat do with input `which`: for every index of the box,
 * y[to_at + sum i to_step] = x[from_at + sum i from_step], steps in elements. */
typedef struct lk_box_copy {
    int n_dims;
    int64_t size[LK_MAX_DIMS], from_step[LK_MAX_DIMS], to_step[LK_MAX_DIMS];
    int64_t from_at, to_at;
} lk_box_copy;
lk_box_copy lk_box_copy_of(const lk_call *c, int which);

/* NORM, NORM_GRAD: x is [samples, rows, channels]. */
typedef struct lk_norm_sizes {
    int64_t samples, rows, channels, groups;
} lk_norm_sizes;
lk_norm_sizes lk_norm_sizes_of(const lk_call *c);

/* MATMUL: n_batch products [m, k] x [k, n]. */
typedef struct lk_product {
    int64_t n_batch, m, n, k;
} lk_product;
lk_product lk_product_of(const lk_call *c);

/* CONV, CONV_DX, CONV_DW: the underlying convolution, in three dimensions (missing ones are 1 and
 * come first). */
typedef struct lk_conv_sizes {
    int64_t n_batch, in_ch, out_ch, groups;
    int64_t in[3], out[3], taps[3], stride[3], dilation[3], lo[3], hi[3];
} lk_conv_sizes;
lk_conv_sizes lk_conv_sizes_of(const lk_call *c);

/* ATTENTION and its gradient: sizes, and what the inputs after k and v are. */
enum {
    LK_ATTENTION_PLAN = 3,
    LK_ATTENTION_SLOPE,
    LK_ATTENTION_TIMES,
    LK_ATTENTION_OUT,
    LK_ATTENTION_LSE,
    LK_ATTENTION_DOUT,
    LK_ATTENTION_DLSE
};
typedef struct lk_attention_sizes {
    int64_t n_batch, heads, kv_heads, n, m, d;
    int64_t plan_rows; /* a sample: n + m or n */
    double scale;
} lk_attention_sizes;
lk_attention_sizes lk_attention_sizes_of(const lk_call *c);

/* ROTARY: n_batch samples, each `repeats` times n rows of d numbers of which 2 pairs turn. */
typedef struct lk_rotary_sizes {
    int64_t n_batch, repeats, n, d, pairs;
} lk_rotary_sizes;
lk_rotary_sizes lk_rotary_sizes_of(const lk_call *c);

/* RANDOM, DROPOUT: the stream of rng.h that this run draws from (steps below 2^40), and the word
 * below which DROPOUT gives zero. */
static inline uint64_t lk_random_stream(const lk_call *c)
{
    return c->node->attr.random.stream << 40 ^ *c->step;
}
uint32_t lk_dropout_bound(const lk_call *c);

/* Fail the record with a sentence about the operands' shapes. */
lk_status lk_bad_shapes(const lk_call *c, const char *what);

#ifdef __cplusplus
}
#endif

#endif /* LK_OPS_IMPL_H */
