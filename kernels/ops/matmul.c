/* matmul.c - products of matrices.
 *
 *   y = act(op(a) op(b) + bias), op(m) = m or m^T; a [G, M, K] or [M, K], b likewise
 *   da = dy op(b)^T         (its transpose when a is transposed)
 *   db = op(a)^T dy         (its transpose when b is transposed)
 *   dbias = sum of dy over all rows
 *
 * A b without G serves every sample, and its gradient is f32 whatever it is itself: that is where
 * sums over many samples arrive.  Recorded for training, an activation is an operation of its own.
 */
#include "kernels/ops/ops_impl.h"

lk_product lk_product_of(const lk_call *c)
{
    const lk_shape *a = &c->in[0].shape, *b = &c->in[1].shape;
    const int ta = c->node->attr.matmul.trans_a, tb = c->node->attr.matmul.trans_b;
    const int na = a->n_dims, nb = b->n_dims;
    return (lk_product){.n_batch = na == 3 ? a->dim[0] : 1,
                        .m = a->dim[na - (ta ? 1 : 2)],
                        .k = a->dim[na - (ta ? 2 : 1)],
                        .n = b->dim[nb - (tb ? 2 : 1)]};
}

static lk_status matmul_infer(const lk_call *c, lk_tensor *out)
{
    const lk_shape *a = &c->in[0].shape, *b = &c->in[1].shape;
    const int tb = c->node->attr.matmul.trans_b;
    lk_product p;
    if (a->n_dims < 2 || a->n_dims > 3 || b->n_dims != a->n_dims ||
        (a->n_dims == 3 && a->dim[0] != b->dim[0]))
        return lk_bad_shapes(c, "needs two matrices, or as many left as right");
    p = lk_product_of(c);
    if (b->dim[b->n_dims - (tb ? 1 : 2)] != p.k)
        return lk_bad_shapes(c, "the inner sizes differ");
    if (!lk_is_float(c->in[0].dtype) || c->in[0].dtype != c->in[1].dtype)
        return LK_FAIL(LK_E_ARG, "matmul takes two floats of one type, given %s and %s",
                       lk_dtype_name(c->in[0].dtype), lk_dtype_name(c->in[1].dtype));
    if (lk_has(c, 2) &&
        (c->in[2].dtype != LK_F32 || c->in[2].shape.n_dims != 1 || c->in[2].shape.dim[0] != p.n))
        return lk_bad_shapes(c, "the bias must be f32, one number a column");
    out[0].dtype = c->node->attr.matmul.to_f32 ? LK_F32 : c->in[0].dtype;
    out[0].shape = a->n_dims == 3 ? LK_SHAPE(p.n_batch, p.m, p.n) : LK_SHAPE(p.m, p.n);
    return LK_OK;
}

static void matmul_define(const lk_call *c)
{
    const lk_product p = lk_product_of(c);
    const int ta = c->node->attr.matmul.trans_a, tb = c->node->attr.matmul.trans_b;
    const double *a = c->in[0].data, *b = c->in[1].data, *bias = c->in[2].data;
    double *y = c->out[0].data;
    for (int64_t i = 0; i < p.n_batch * p.m * p.n; i++) {
        const int64_t g = i / (p.m * p.n), row = i / p.n % p.m, col = i % p.n;
        const double *ga = a + g * p.m * p.k, *gb = b + g * p.k * p.n;
        double s = bias ? bias[col] : 0;
        for (int64_t k = 0; k < p.k; k++)
            s += ga[ta ? k * p.m + row : row * p.k + k] * gb[tb ? col * p.k + k : k * p.n + col];
        if (c->node->attr.matmul.has_act)
            s = lk_unary_value(c->node->attr.matmul.act, s, c->node->attr.matmul.act_a, 0);
        y[i] = s;
    }
}

static lk_var product(lk_graph *g, lk_var a, lk_var b, lk_var bias, lk_attr attr)
{
    return lk_record(g, LK_OP_MATMUL, 3, (lk_var[]){a, b, bias}, &attr, 0, NULL);
}

static void matmul_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                            const lk_var *dout, lk_var *din)
{
    const int ta = n->attr.matmul.trans_a, tb = n->attr.matmul.trans_b;
    const int weight = lk_var_shape(g, in[1]).n_dims == 2;
    const lk_var dy = lk_cast(g, dout[0], lk_var_dtype(g, in[0]));
    (void)out;
    LK_ASSERT(!n->attr.matmul.has_act);
    if (lk_wants_grad(g, in[0]))
        din[0] = ta ? product(g, in[1], dy, LK_NONE, (lk_attr){.matmul = {tb, 1, 0, 0, 0, 0}})
                    : product(g, dy, in[1], LK_NONE, (lk_attr){.matmul = {0, !tb, 0, 0, 0, 0}});
    if (lk_wants_grad(g, in[1]))
        din[1] =
            tb ? product(g, dy, in[0], LK_NONE, (lk_attr){.matmul = {1, ta, weight, 0, 0, 0}})
               : product(g, in[0], dy, LK_NONE, (lk_attr){.matmul = {!ta, 0, weight, 0, 0, 0}});
    if (lk_wants_grad(g, in[2]))
        din[2] = lk_reduce_sum(g, dout[0], (1u << (lk_var_shape(g, dout[0]).n_dims - 1)) - 1u, 0);
}

static double matmul_flops(const lk_call *c)
{
    const lk_product p = lk_product_of(c);
    return 2.0 * (double)p.n_batch * (double)p.m * (double)p.n * (double)p.k;
}

const lk_op_def lk_op_matmul = {"matmul",        1,           0, 0, matmul_infer, matmul_define,
                                matmul_gradient, matmul_flops};

/* [all leading dimensions, last two]. */
static lk_var as_three(lk_graph *g, lk_var x)
{
    const lk_shape s = lk_var_shape(g, x);
    return s.n_dims < 3 ? x
                        : lk_reshape(g, x, LK_SHAPE(-1, s.dim[s.n_dims - 2], s.dim[s.n_dims - 1]));
}

lk_var lk_matmul(lk_graph *g, lk_var a, lk_var b, int trans_a, int trans_b)
{
    const lk_attr attr = {.matmul = {trans_a != 0, trans_b != 0, 0, 0, 0, 0}};
    lk_shape s = lk_var_shape(g, a);
    const int shared = s.n_dims > 2 && lk_var_shape(g, b).n_dims == 2;
    lk_var y;
    if (lk_is_none(a) || lk_is_none(b))
        return LK_NONE;
    if (shared && trans_a) {
        lk_graph_fail(g, LK_FAIL(LK_E_SHAPE, "matmul: one right matrix for many transposed left "
                                             "ones is not supported; permute the left ones"));
        return LK_NONE;
    }
    if (shared)
        y = product(g, lk_reshape(g, a, LK_SHAPE(-1, lk_var_dim(g, a, -1))), b, LK_NONE, attr);
    else
        y = product(g, as_three(g, a), as_three(g, b), LK_NONE, attr);
    if (lk_is_none(y) || s.n_dims < 3)
        return y;
    s.dim[s.n_dims - 2] = lk_var_dim(g, a, trans_a ? -1 : -2);
    s.dim[s.n_dims - 1] = lk_var_dim(g, y, -1);
    return lk_reshape(g, y, s);
}

static lk_var linear(lk_graph *g, lk_var x, lk_var w, lk_var bias, lk_attr attr)
{
    lk_shape s = lk_var_shape(g, x);
    lk_var y;
    if (lk_is_none(x) || lk_is_none(w))
        return LK_NONE;
    y = product(g, lk_reshape(g, x, LK_SHAPE(-1, lk_last(&s))), w, bias, attr);
    if (lk_is_none(y))
        return y;
    s.dim[s.n_dims - 1] = lk_var_dim(g, y, -1);
    return lk_reshape(g, y, s);
}

lk_var lk_linear(lk_graph *g, lk_var x, lk_var w, lk_var bias)
{
    return linear(g, x, w, bias, (lk_attr){.matmul = {0, 1, 0, 0, 0, 0}});
}

lk_var lk_linear_act(lk_graph *g, lk_var x, lk_var w, lk_var bias, lk_unary_kind act, double a)
{
    if (lk_graph_is_training(g))
        return lk_unary(g, act, lk_linear(g, x, w, bias), a, 0);
    return linear(g, x, w, bias, (lk_attr){.matmul = {0, 1, 0, 1, act, a}});
}
