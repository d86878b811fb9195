/* reduce.c - sums, and softmax.
 *
 *   sum       y = scale * sum of x over some dimensions, which stay with size 1; f32 for any input
 *             dx = scale * dy, repeated along them
 *   softmax   y = e^(x - m) / sum e^(x - m) over the last dimension, m the row's greatest x
 *             dx = y (dy - sum dy y)
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
    int64_t n = 1; /* numbers of a sum */
    lk_var y;
    for (int i = 0; i < full.n_dims; i++)
        if (axes >> i & 1)
            n *= full.dim[i];
        else
            s.dim[s.n_dims++] = full.dim[i];
    y = n == 1 ? lk_scale(g, lk_cast(g, x, LK_F32), scale)
               : lk_record(g, LK_OP_SUM, 1, &x, &attr, 0, NULL);
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

/* ---- softmax (x); softmax_grad (y, dy) ---- */

static lk_status softmax_infer(const lk_call *c, lk_tensor *out)
{
    if (!lk_is_float(c->in[0].dtype))
        return LK_FAIL(LK_E_ARG, "softmax works on floats");
    if (c->in[0].shape.n_dims < 1)
        return lk_bad_shapes(c, "needs a dimension to run over");
    if (lk_has(c, 1) && !lk_shape_equal(&c->in[0].shape, &c->in[1].shape))
        return lk_bad_shapes(c, "shapes must be equal");
    out[0].dtype = c->in[0].dtype;
    out[0].shape = c->in[0].shape;
    return LK_OK;
}

static void softmax_define(const lk_call *c)
{
    const int64_t n = lk_last(&c->in[0].shape);
    for (int64_t row = 0; row < lk_rows(&c->in[0].shape); row++) {
        const double *x = (const double *)c->in[0].data + row * n;
        double *y = (double *)c->out[0].data + row * n, most = -INFINITY, sum = 0;
        for (int64_t i = 0; i < n; i++)
            most = fmax(most, x[i]);
        for (int64_t i = 0; i < n; i++)
            sum += y[i] = exp(x[i] - most);
        for (int64_t i = 0; i < n; i++)
            y[i] /= sum;
    }
}

static void softmax_grad_define(const lk_call *c)
{
    const int64_t n = lk_last(&c->in[0].shape);
    for (int64_t row = 0; row < lk_rows(&c->in[0].shape); row++) {
        const double *y = (const double *)c->in[0].data + row * n;
        const double *dy = (const double *)c->in[1].data + row * n;
        double *dx = (double *)c->out[0].data + row * n, dot = 0;
        for (int64_t i = 0; i < n; i++)
            dot += dy[i] * y[i];
        for (int64_t i = 0; i < n; i++)
            dx[i] = y[i] * (dy[i] - dot);
    }
}

static void softmax_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                             const lk_var *dout, lk_var *din)
{
    (void)n;
    (void)in;
    din[0] = lk_record(g, LK_OP_SOFTMAX_GRAD, 2, (lk_var[]){out[0], dout[0]}, NULL, 0, NULL);
}

const lk_op_def lk_op_softmax = {"softmax",        1,   1, 0, softmax_infer, softmax_define,
                                 softmax_gradient, NULL};
const lk_op_def lk_op_softmax_grad = {"softmax_grad",      1,    1,   0, softmax_infer,
                                      softmax_grad_define, NULL, NULL};

lk_var lk_softmax(lk_graph *g, lk_var x)
{
    return lk_record(g, LK_OP_SOFTMAX, 1, &x, NULL, 0, NULL);
}
