/* reduce.c - sums.
 *
 *   sum   y = scale * sum of x over some dimensions, which stay with size 1; f32 for any input
 *         dx = scale * dy, repeated along them
 */
#include "kernels/ops/ops_impl.h"

static lk_status sum_infer(const lk_call *c, lk_tensor *out)
{
    out[0].dtype = LK_F32;
    out[0].shape = c->in[0].shape;
    for (int i = 0; i < out[0].shape.n_dims; i++)
        if (c->node->attr.sum.axes >> i & 1)
            out[0].shape.dim[i] = 1;
    return LK_OK;
}

static void sum_define(const lk_call *c)
{
    const double *x = c->in[0].data;
    double *y = c->out[0].data;
    const lk_shape *s = &c->in[0].shape;
    for (int64_t i = 0; i < lk_tensor_count(&c->out[0]); i++)
        y[i] = 0;
    for (int64_t i = 0; i < lk_shape_count(s); i++) {
        int64_t rest = i, at = 0, step = 1;
        for (int d = s->n_dims - 1; d >= 0; d--) {
            const int gone = c->node->attr.sum.axes >> d & 1;
            at += gone ? 0 : rest % s->dim[d] * step;
            step *= gone ? 1 : s->dim[d];
            rest /= s->dim[d];
        }
        y[at] += c->node->attr.sum.scale * x[i];
    }
}

static void sum_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                         const lk_var *dout, lk_var *din)
{
    (void)out;
    din[0] =
        lk_broadcast(g, lk_cast(g, lk_scale(g, dout[0], n->attr.sum.scale), lk_var_dtype(g, in[0])),
                     lk_var_shape(g, in[0]));
}

const lk_op_def lk_op_sum = {"sum", 1, 0, 0, sum_infer, sum_define, sum_gradient, NULL};

static lk_var sum_scaled(lk_graph *g, lk_var x, unsigned axes, int keep, double scale)
{
    const lk_shape full = lk_var_shape(g, x);
    lk_shape s = {0};
    const lk_attr attr = {.sum = {axes, scale}};
    const lk_var y = lk_record(g, LK_OP_SUM, 1, &x, &attr, 0, NULL);
    for (int i = 0; i < full.n_dims; i++)
        if (!(axes >> i & 1))
            s.dim[s.n_dims++] = full.dim[i];
    return keep || lk_is_none(y) ? y : lk_reshape(g, y, s);
}

lk_var lk_reduce_sum(lk_graph *g, lk_var x, unsigned axes, int keep)
{
    return sum_scaled(g, x, axes, keep, 1);
}

lk_var lk_reduce_mean(lk_graph *g, lk_var x, unsigned axes, int keep)
{
    const lk_shape s = lk_var_shape(g, x);
    int64_t n = 1;
    for (int i = 0; i < s.n_dims; i++)
        n *= axes >> i & 1 ? s.dim[i] : 1;
    return sum_scaled(g, x, axes, keep, n ? 1.0 / (double)n : 0);
}

lk_var lk_sum_all(lk_graph *g, lk_var x)
{
    return lk_reduce_sum(g, x, (1u << LK_MAX_DIMS) - 1, 0);
}

lk_var lk_mean_all(lk_graph *g, lk_var x)
{
    return lk_reduce_mean(g, x, (1u << LK_MAX_DIMS) - 1, 0);
}
