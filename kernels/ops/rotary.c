/* rotary.c - pairs of numbers turned by given angles.
 *
 *   y_p     = x_p cos a_p - x_{p+P} sin a_p      p < P, a from the table, one per token and pair
 *   y_{p+P} = x_p sin a_p + x_{p+P} cos a_p
 *
 * A product of turned queries and keys depends on differences of angles only.  The gradient is the
 * turn back.
 */
#include "kernels/ops/ops_impl.h"

lk_rotary_sizes lk_rotary_sizes_of(const lk_call *c)
{
    const lk_shape *x = &c->in[0].shape;
    lk_rotary_sizes s = {x->dim[0], 1, x->dim[x->n_dims - 2], lk_last(x), lk_last(&c->in[1].shape)};
    for (int i = 1; i < x->n_dims - 2; i++)
        s.repeats *= x->dim[i];
    return s;
}

static lk_status rotary_infer(const lk_call *c, lk_tensor *out)
{
    const lk_shape *x = &c->in[0].shape, *t = &c->in[1].shape;
    if (!lk_is_float(c->in[0].dtype) || x->n_dims < 3 || c->in[1].dtype != LK_F32 ||
        t->n_dims != 4 || t->dim[0] != x->dim[0] || t->dim[1] != x->dim[x->n_dims - 2] ||
        t->dim[2] != 2 || 2 * t->dim[3] > lk_last(x))
        return lk_bad_shapes(c, "needs x [B, ..., N, D] and f32 angles [B, N, 2, P], 2 P <= D");
    out[0] = c->in[0];
    return LK_OK;
}

static void rotary_define(const lk_call *c)
{
    const lk_rotary_sizes s = lk_rotary_sizes_of(c);
    const double *x = c->in[0].data, *table = c->in[1].data;
    double *y = c->out[0].data;
    for (int64_t u = 0; u < s.n_batch * s.repeats * s.n; u++) {
        const double *turn = table + (u / s.n / s.repeats * s.n + u % s.n) * 2 * s.pairs;
        for (int64_t p = 0; p < s.pairs; p++) {
            const double a = x[u * s.d + p], b = x[u * s.d + p + s.pairs], co = turn[p];
            const double si = c->node->attr.rotary.inverse ? -turn[p + s.pairs] : turn[p + s.pairs];
            y[u * s.d + p] = a * co - b * si;
            y[u * s.d + p + s.pairs] = a * si + b * co;
        }
        for (int64_t p = 2 * s.pairs; p < s.d; p++)
            y[u * s.d + p] = x[u * s.d + p];
    }
}

static lk_var rotary(lk_graph *g, lk_var x, lk_var table, int inverse)
{
    const lk_attr attr = {.rotary = {inverse}};
    if (lk_is_none(x) || lk_is_none(table))
        return LK_NONE;
    return lk_record(g, LK_OP_ROTARY, 2, (lk_var[]){x, table}, &attr, 0, NULL);
}

static void rotary_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                            const lk_var *dout, lk_var *din)
{
    (void)out;
    if (lk_wants_grad(g, in[0]))
        din[0] = rotary(g, dout[0], in[1], !n->attr.rotary.inverse);
}

const lk_op_def lk_op_rotary = {"rotary",        1,   0, 0, rotary_infer, rotary_define,
                                rotary_gradient, NULL};

lk_var lk_rotary(lk_graph *g, lk_var x, lk_var table)
{
    return rotary(g, x, table, 0);
}
