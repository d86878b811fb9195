/* quantize.c - vectors to the numbers of their nearest neighbours.
 *
 *   nearest   index of min over k of sum_c (x_c - codebook[k, c])^2; the lowest of equals
 */
#include "kernels/ops/ops_impl.h"

static lk_status nearest_infer(const lk_call *c, lk_tensor *out)
{
    const lk_shape *x = &c->in[0].shape, *book = &c->in[1].shape;
    if (x->n_dims < 1 || book->n_dims != 2 || book->dim[0] < 1 || book->dim[1] != lk_last(x))
        return lk_bad_shapes(c, "needs x [..., C] and a codebook [K, C] with K >= 1");
    if (!lk_is_float(c->in[0].dtype) || !lk_is_float(c->in[1].dtype))
        return LK_FAIL(LK_E_ARG, "nearest works on floats");
    out[0].dtype = LK_I32;
    out[0].shape = *x;
    out[0].shape.dim[--out[0].shape.n_dims] = 0;
    return LK_OK;
}

static void nearest_define(const lk_call *c)
{
    const double *x = c->in[0].data, *book = c->in[1].data;
    const int64_t n = lk_last(&c->in[0].shape), n_codes = c->in[1].shape.dim[0];
    int32_t *y = c->out[0].data;
    for (int64_t r = 0; r < lk_rows(&c->in[0].shape); r++) {
        double least = HUGE_VAL;
        y[r] = 0;
        for (int64_t k = 0; k < n_codes; k++) {
            double d = 0;
            for (int64_t i = 0; i < n; i++)
                d += (x[r * n + i] - book[k * n + i]) * (x[r * n + i] - book[k * n + i]);
            if (d < least) {
                least = d;
                y[r] = (int32_t)k;
            }
        }
    }
}

static double nearest_flops(const lk_call *c)
{
    return 2.0 * (double)lk_tensor_count(&c->in[0]) * (double)c->in[1].shape.dim[0];
}

const lk_op_def lk_op_nearest = {"nearest",    1, 0, 0, nearest_infer, nearest_define, NULL,
                                 nearest_flops};

lk_var lk_nearest(lk_graph *g, lk_var x, lk_var codebook)
{
    if (lk_is_none(x) || lk_is_none(codebook))
        return LK_NONE;
    return lk_record(g, LK_OP_NEAREST, 2, (lk_var[]){x, codebook}, NULL, 0, NULL);
}
