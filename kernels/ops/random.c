/* random.c - random numbers as values of a graph.
 *
 *   element i draws word i mod 4 of Philox block i / 4 (rng.h) of the graph's seed, at the stream
 *   of the record and the step of the run; so nothing is stored, and a recorded copy (a gradient,
 *   a recomputed segment) draws the same numbers.
 *
 *   uniform   upper 24 bits of the word times 2^-24
 *   normal    words 0, 1 and words 2, 3 as (u, v): sqrt(-2 ln u) cos 2 pi v, the same with sin;
 *             u = (upper 24 bits + 1/2) 2^-24                             (Box, Muller 1958)
 *   dropout   y = 0 where the word is below 2^32 p, x / (1 - p) elsewhere; dx likewise from dy
 */
#include "kernels/ops/ops_impl.h"

#include "kernels/rng.h"

uint32_t lk_dropout_bound(const lk_call *c)
{
    return (uint32_t)(c->node->attr.random.p * 4294967296.0);
}

static lk_status random_infer(const lk_call *c, lk_tensor *out)
{
    out[0].dtype = c->node->attr.random.dtype;
    out[0].shape = c->node->attr.random.shape;
    if (!lk_is_float(out[0].dtype))
        return LK_FAIL(LK_E_ARG, "random numbers are floats");
    return LK_OK;
}

static double normal_of(const lk_rng_block *b, int i)
{
    const double u = ((double)(b->v[i & 2] >> 8) + 0.5) * 0x1p-24;
    const double angle = 6.283185307179586477 * (double)(b->v[(i & 2) + 1] >> 8) * 0x1p-24;
    return sqrt(-2 * log(u)) * (i & 1 ? sin(angle) : cos(angle));
}

static void random_define(const lk_call *c)
{
    double *y = c->out[0].data;
    for (int64_t i = 0; i < lk_tensor_count(&c->out[0]); i++) {
        const lk_rng_block b = lk_rng_philox(c->seed, lk_random_stream(c), (uint64_t)i >> 2);
        y[i] = c->node->attr.random.normal ? normal_of(&b, (int)(i & 3))
                                           : (double)(b.v[i & 3] >> 8) * 0x1p-24;
    }
}

static lk_status dropout_infer(const lk_call *c, lk_tensor *out)
{
    const double p = c->node->attr.random.p;
    if (!(p >= 0 && p < 1) || !lk_is_float(c->in[0].dtype))
        return LK_FAIL(LK_E_ARG, "dropout works on floats with 0 <= p < 1, given p = %g", p);
    out[0].dtype = c->in[0].dtype;
    out[0].shape = c->in[0].shape;
    return LK_OK;
}

static void dropout_define(const lk_call *c)
{
    const double *x = c->in[0].data, scale = 1 / (1 - c->node->attr.random.p);
    double *y = c->out[0].data;
    for (int64_t i = 0; i < lk_tensor_count(&c->out[0]); i++) {
        const uint32_t word = lk_rng_u32(c->seed, lk_random_stream(c), (uint64_t)i);
        y[i] = word < lk_dropout_bound(c) ? 0 : x[i] * scale;
    }
}

static void dropout_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                             const lk_var *dout, lk_var *din)
{
    (void)in;
    (void)out;
    din[0] = lk_record(g, LK_OP_DROPOUT, 1, dout, &n->attr, 0, NULL);
}

const lk_op_def lk_op_random = {"random", 1, 0, 0, random_infer, random_define, NULL, NULL};
const lk_op_def lk_op_dropout = {"dropout",        1,   1, 0, dropout_infer, dropout_define,
                                 dropout_gradient, NULL};

static lk_var random_of(lk_graph *g, int normal, lk_dtype dtype, lk_shape shape)
{
    const lk_attr attr = {
        .random = {.normal = normal, .stream = lk_graph_stream(g), .dtype = dtype, .shape = shape}};
    return lk_record(g, LK_OP_RANDOM, 0, NULL, &attr, 0, NULL);
}

lk_var lk_random_normal(lk_graph *g, lk_dtype dtype, lk_shape shape)
{
    return random_of(g, 1, dtype, shape);
}

lk_var lk_random_uniform(lk_graph *g, lk_dtype dtype, lk_shape shape)
{
    return random_of(g, 0, dtype, shape);
}

lk_var lk_dropout(lk_graph *g, lk_var x, double p)
{
    const lk_attr attr = {.random = {.p = p, .stream = lk_graph_stream(g)}};
    if (p == 0 || !lk_graph_is_training(g))
        return x;
    return lk_record(g, LK_OP_DROPOUT, 1, &x, &attr, 0, NULL);
}
