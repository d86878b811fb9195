/* loss.c - what training minimises.
 *
 *   mse, l1, huber   mean of d^2, |d|, huber(d) with d = x - target
 *   bce              mean of softplus(z) - t z, which is -t ln s(z) - (1 - t) ln(1 - s(z)) for the
 *                    sigmoid s without a logarithm of something rounded to zero
 *   hinge            mean of max(0, 1 - sign z)
 *   kl               mean of (e^v + m^2 - 1 - v) / 2, one number an element
 *   cross_entropy    y = lse - z[label], lse = m + ln sum e^(z_k - m), m = max z; the second result
 *                    is lse.  cross_entropy_grad: dz_k = dy (e^(z_k - lse) - [k = label])
 *
 * Everything is computed in f32, whatever the inputs are.
 */
#include "kernels/ops/ops_impl.h"

/* ---- cross_entropy (logits, label) -> y, lse; cross_entropy_grad (logits, label, lse, dy) ---- */

static lk_status entropy_infer(const lk_call *c, lk_tensor *out)
{
    const lk_shape *z = &c->in[0].shape;
    lk_shape rows = *z;
    if (z->n_dims < 1 || lk_last(z) < 1)
        return lk_bad_shapes(c, "needs rows of at least one logit");
    rows.dim[--rows.n_dims] = 0;
    if (!lk_shape_equal(&rows, &c->in[1].shape))
        return lk_bad_shapes(c, "needs one label a row");
    if (!lk_is_float(c->in[0].dtype) || c->in[1].dtype != LK_I32)
        return LK_FAIL(LK_E_ARG, "cross_entropy takes logits in floats and labels in i32");
    out[0].dtype = out[1].dtype = LK_F32;
    out[0].shape = out[1].shape = rows;
    return LK_OK;
}

static void entropy_define(const lk_call *c)
{
    const double *z = c->in[0].data;
    const int32_t *label = c->in[1].data;
    const int64_t n = lk_last(&c->in[0].shape);
    double *y = c->out[0].data, *lse = c->out[1].data;
    for (int64_t r = 0; r < lk_rows(&c->in[0].shape); r++, z += n) {
        double most = z[0], sum = 0, whole;
        for (int64_t k = 1; k < n; k++)
            most = fmax(most, z[k]);
        for (int64_t k = 0; k < n; k++)
            sum += exp(z[k] - most);
        whole = most + log(sum);
        if (y)
            y[r] = label[r] < 0 || label[r] >= n ? (double)NAN : whole - z[label[r]];
        if (lse)
            lse[r] = whole;
    }
}

static void entropy_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                             const lk_var *dout, lk_var *din)
{
    (void)n;
    if (!lk_is_none(dout[0]))
        din[0] = lk_record(g, LK_OP_CROSS_ENTROPY_GRAD, 4,
                           (lk_var[]){in[0], in[1], out[1], dout[0]}, NULL, 0, NULL);
}

static lk_status entropy_grad_infer(const lk_call *c, lk_tensor *out)
{
    out[0].dtype = c->in[0].dtype;
    out[0].shape = c->in[0].shape;
    return LK_OK;
}

static void entropy_grad_define(const lk_call *c)
{
    const double *z = c->in[0].data, *lse = c->in[2].data, *dy = c->in[3].data;
    const int32_t *label = c->in[1].data;
    const int64_t n = lk_last(&c->in[0].shape);
    double *dz = c->out[0].data;
    for (int64_t i = 0; i < lk_tensor_count(&c->out[0]); i++) {
        const int64_t r = i / n;
        dz[i] = dy[r] * (exp(z[i] - lse[r]) - (i % n == label[r] ? 1 : 0));
    }
}

const lk_op_def lk_op_cross_entropy = {"cross_entropy",  2,   0, 0, entropy_infer, entropy_define,
                                       entropy_gradient, NULL};
const lk_op_def lk_op_cross_entropy_grad = {"cross_entropy_grad", 1,    0,   0, entropy_grad_infer,
                                            entropy_grad_define,  NULL, NULL};

lk_var lk_cross_entropy(lk_graph *g, lk_var logits, lk_var label)
{
    if (lk_is_none(logits) || lk_is_none(label))
        return LK_NONE;
    return lk_record(g, LK_OP_CROSS_ENTROPY, 2, (lk_var[]){logits, label}, NULL, 0, NULL);
}

lk_var lk_cross_entropy_loss(lk_graph *g, lk_var logits, lk_var label)
{
    const lk_var y = lk_cross_entropy(g, logits, label);
    return lk_is_none(y) ? y : lk_mean_all(g, y);
}

/* ---- composed ---- */

/* A target that would be stretched to fit is a mistake. */
static int fits(lk_graph *g, const char *loss, lk_var x, lk_var target)
{
    const lk_shape a = lk_var_shape(g, x), b = lk_var_shape(g, target);
    char text_a[LK_SHAPE_TEXT], text_b[LK_SHAPE_TEXT];
    if (lk_is_none(x) || lk_is_none(target))
        return 0;
    if (lk_shape_equal(&a, &b))
        return 1;
    lk_graph_fail(g, LK_FAIL(LK_E_SHAPE, "%s loss: the target has shape %s, give it %s", loss,
                             lk_shape_text(&b, text_b), lk_shape_text(&a, text_a)));
    return 0;
}

/* Mean of f(x - target). */
static lk_var distance_loss(lk_graph *g, const char *loss, lk_unary_kind kind, double a, lk_var x,
                            lk_var target)
{
    if (!fits(g, loss, x, target))
        return LK_NONE;
    return lk_mean_all(
        g, lk_unary(g, kind, lk_sub(g, lk_cast(g, x, LK_F32), lk_cast(g, target, LK_F32)), a, 0));
}

lk_var lk_mse_loss(lk_graph *g, lk_var x, lk_var target)
{
    return distance_loss(g, "mse", LK_SQUARE, 0, x, target);
}

lk_var lk_l1_loss(lk_graph *g, lk_var x, lk_var target)
{
    return distance_loss(g, "l1", LK_ABS, 0, x, target);
}

lk_var lk_huber_loss(lk_graph *g, lk_var x, lk_var target, double delta)
{
    if (!(delta > 0)) {
        lk_graph_fail(g, LK_FAIL(LK_E_ARG, "huber loss: delta must be positive, got %g", delta));
        return LK_NONE;
    }
    return distance_loss(g, "huber", LK_HUBER, delta, x, target);
}

lk_var lk_bce_loss(lk_graph *g, lk_var logit, lk_var target)
{
    lk_var z;
    if (!fits(g, "bce", logit, target))
        return LK_NONE;
    z = lk_cast(g, logit, LK_F32);
    return lk_mean_all(
        g, lk_sub(g, lk_unary(g, LK_SOFTPLUS, z, 0, 0), lk_mul(g, z, lk_cast(g, target, LK_F32))));
}

lk_var lk_hinge_loss(lk_graph *g, lk_var score, double sign)
{
    if (lk_is_none(score))
        return LK_NONE;
    return lk_mean_all(g, lk_relu(g, lk_affine(g, lk_cast(g, score, LK_F32), -sign, 1)));
}

lk_var lk_kl_loss(lk_graph *g, lk_var mean, lk_var log_var)
{
    lk_var m, v, spread;
    if (!fits(g, "kl", mean, log_var))
        return LK_NONE;
    m = lk_cast(g, mean, LK_F32);
    v = lk_cast(g, log_var, LK_F32);
    spread = lk_sub(g, lk_unary(g, LK_EXP, v, 0, 0), lk_affine(g, v, 1, 1));
    return lk_scale(g, lk_mean_all(g, lk_add(g, spread, lk_square(g, m))), 0.5);
}
