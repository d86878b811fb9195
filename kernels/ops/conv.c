/* conv.c - convolutions in one to three dimensions, channels-last.
 *
 *   conv      y[b, o, c] = bias[c] + sum over taps k and inputs i of the group
 *                          x[b, o stride - lo + k dilation, i] w[c, k, i]
 *   conv_dx   its transpose in x:  dx[b, s, i] = sum dy[b, o, c] w[c, k, i] over all (o, k) that
 * meet s conv_dw   its transpose in w:  dw[c, k, i] = sum x[b, o stride - lo + k dilation, i] dy[b,
 * o, c]
 *
 * The three are each other's gradients, so a transposed convolution is conv_dx with a bias.
 */
#include "kernels/ops/ops_impl.h"

/* Which operand is which: x, w, y of the underlying convolution. */
static void operands(const lk_call *c, const lk_tensor **x, const lk_tensor **w,
                     const lk_tensor **y)
{
    const lk_op op = c->node->op;
    *x = op == LK_OP_CONV_DX ? &c->out[0] : &c->in[0];
    *y = op == LK_OP_CONV ? &c->out[0] : op == LK_OP_CONV_DX ? &c->in[0] : &c->in[1];
    *w = op == LK_OP_CONV_DW ? &c->out[0] : &c->in[1];
}

lk_conv_sizes lk_conv_sizes_of(const lk_call *c)
{
    const lk_conv_attr *a = &c->node->attr.conv;
    const lk_tensor *x, *w, *y;
    const int n = a->n_spatial;
    lk_conv_sizes s;
    operands(c, &x, &w, &y);
    s = (lk_conv_sizes){.n_batch = x->shape.dim[0],
                        .in_ch = x->shape.dim[n + 1],
                        .out_ch = y->shape.dim[n + 1],
                        .groups = a->groups};
    for (int i = 0; i < 3; i++) { /* missing dimensions come first, as size 1 */
        const int j = i - (3 - n);
        s.in[i] = j < 0 ? 1 : x->shape.dim[1 + j];
        s.out[i] = j < 0 ? 1 : y->shape.dim[1 + j];
        s.taps[i] = j < 0 ? 1 : w->shape.dim[1 + j];
        s.stride[i] = j < 0 ? 1 : a->stride[j];
        s.dilation[i] = j < 0 ? 1 : a->dilation[j];
        s.lo[i] = j < 0 ? 0 : a->pad_lo[j];
        s.hi[i] = j < 0 ? 0 : a->pad_hi[j];
    }
    return s;
}

static int64_t out_size(const lk_conv_attr *a, int i, int64_t in, int64_t taps)
{
    const int64_t reach = a->dilation[i] * (taps - 1) + 1, room = in + a->pad_lo[i] + a->pad_hi[i];
    return taps < 1 || room < reach ? -1 : (room - reach) / a->stride[i] + 1;
}

static lk_status conv_infer(const lk_call *c, lk_tensor *out)
{
    const lk_conv_attr *a = &c->node->attr.conv;
    const lk_shape *x = &c->in[0].shape, *w = &c->in[1].shape;
    const int n = a->n_spatial;
    if (n < 1 || n > 3 || x->n_dims != n + 2 || w->n_dims != n + 2 || a->groups < 1 ||
        x->dim[n + 1] != w->dim[n + 1] * a->groups || w->dim[0] % a->groups)
        return lk_bad_shapes(c, "needs x [B, S.., I] and w [O, K.., I / groups]");
    if (c->in[0].dtype != c->in[1].dtype || !lk_is_float(c->in[0].dtype))
        return LK_FAIL(LK_E_ARG, "conv takes x and w of one float type, given %s and %s",
                       lk_dtype_name(c->in[0].dtype), lk_dtype_name(c->in[1].dtype));
    if (lk_has(c, 2) && (c->in[2].dtype != LK_F32 || c->in[2].shape.n_dims != 1 ||
                         c->in[2].shape.dim[0] != w->dim[0]))
        return lk_bad_shapes(c, "the bias must be f32, one number an output channel");
    out[0].dtype = c->in[0].dtype;
    out[0].shape = *x;
    for (int i = 0; i < n; i++) {
        out[0].shape.dim[1 + i] = out_size(a, i, x->dim[1 + i], w->dim[1 + i]);
        if (out[0].shape.dim[1 + i] < 0)
            return lk_bad_shapes(c, "the filter is longer than the padded input");
    }
    out[0].shape.dim[n + 1] = w->dim[0];
    return LK_OK;
}

static lk_status conv_dx_infer(const lk_call *c, lk_tensor *out)
{
    const lk_conv_attr *a = &c->node->attr.conv;
    const lk_shape *y = &c->in[0].shape, *w = &c->in[1].shape;
    const int n = a->n_spatial;
    if (n < 1 || n > 3 || y->n_dims != n + 2 || w->n_dims != n + 2 || a->groups < 1 ||
        y->dim[n + 1] != w->dim[0] || w->dim[0] % a->groups)
        return lk_bad_shapes(c, "needs x [B, S.., I] and w [I, K.., O / groups]");
    if (c->in[0].dtype != c->in[1].dtype || !lk_is_float(c->in[0].dtype))
        return LK_FAIL(LK_E_ARG, "conv_dx takes two floats of one type, given %s and %s",
                       lk_dtype_name(c->in[0].dtype), lk_dtype_name(c->in[1].dtype));
    out[0].dtype = c->in[0].dtype;
    out[0].shape = *y;
    for (int i = 0; i < n; i++) {
        out[0].shape.dim[1 + i] = a->size[i];
        if (out_size(a, i, a->size[i], w->dim[1 + i]) != y->dim[1 + i])
            return lk_bad_shapes(c, "no input of the size asked for gives this output");
    }
    out[0].shape.dim[n + 1] = w->dim[n + 1] * a->groups;
    return LK_OK;
}

static lk_status conv_dw_infer(const lk_call *c, lk_tensor *out)
{
    const lk_conv_attr *a = &c->node->attr.conv;
    const lk_shape *x = &c->in[0].shape, *y = &c->in[1].shape;
    const int n = a->n_spatial;
    out[0].dtype = LK_F32;
    out[0].shape = *x;
    out[0].shape.dim[0] = y->dim[n + 1];
    for (int i = 0; i < n; i++)
        out[0].shape.dim[1 + i] = a->size[i];
    out[0].shape.dim[n + 1] = x->dim[n + 1] / a->groups;
    return LK_OK;
}

/* Every product of the sum, handed to the operand that receives it. */
static void conv_define(const lk_call *c)
{
    const lk_conv_sizes s = lk_conv_sizes_of(c);
    const lk_op op = c->node->op;
    const lk_tensor *tx, *tw, *ty;
    const double *bias = op == LK_OP_CONV ? c->in[2].data : NULL;
    const int64_t in_g = s.in_ch / s.groups, out_g = s.out_ch / s.groups;
    const int64_t n_taps = s.taps[0] * s.taps[1] * s.taps[2];
    double *x, *w, *y;
    operands(c, &tx, &tw, &ty);
    x = tx->data;
    w = tw->data;
    y = ty->data;
    for (int64_t i = 0; i < lk_tensor_count(&c->out[0]); i++)
        ((double *)c->out[0].data)[i] = bias ? bias[i % s.out_ch] : 0;
    for (int64_t iy = 0; iy < lk_tensor_count(ty); iy++) {
        const int64_t ch = iy % s.out_ch, group = ch / out_g;
        const int64_t o2 = iy / s.out_ch % s.out[2], o1 = iy / s.out_ch / s.out[2] % s.out[1];
        const int64_t o0 = iy / s.out_ch / s.out[2] / s.out[1] % s.out[0];
        const int64_t b = iy / s.out_ch / s.out[2] / s.out[1] / s.out[0];
        for (int64_t k = 0; k < n_taps; k++) {
            const int64_t k2 = k % s.taps[2], k1 = k / s.taps[2] % s.taps[1];
            const int64_t k0 = k / s.taps[2] / s.taps[1];
            const int64_t p0 = o0 * s.stride[0] - s.lo[0] + k0 * s.dilation[0];
            const int64_t p1 = o1 * s.stride[1] - s.lo[1] + k1 * s.dilation[1];
            const int64_t p2 = o2 * s.stride[2] - s.lo[2] + k2 * s.dilation[2];
            if (p0 < 0 || p0 >= s.in[0] || p1 < 0 || p1 >= s.in[1] || p2 < 0 || p2 >= s.in[2])
                continue;
            for (int64_t i = 0; i < in_g; i++) {
                const int64_t ix = (((b * s.in[0] + p0) * s.in[1] + p1) * s.in[2] + p2) * s.in_ch +
                                   group * in_g + i;
                const int64_t iw = (ch * n_taps + k) * in_g + i;
                if (op == LK_OP_CONV)
                    y[iy] += x[ix] * w[iw];
                else if (op == LK_OP_CONV_DX)
                    x[ix] += y[iy] * w[iw];
                else
                    w[iw] += x[ix] * y[iy];
            }
        }
    }
}

static double conv_flops(const lk_call *c)
{
    const lk_conv_sizes s = lk_conv_sizes_of(c);
    return 2.0 * (double)(s.n_batch * s.out[0] * s.out[1] * s.out[2]) *
           (double)(s.taps[0] * s.taps[1] * s.taps[2]) * (double)s.out_ch *
           (double)(s.in_ch / s.groups);
}

/* `like`: the operand whose spatial size the result takes. */
static lk_var record_conv(lk_graph *g, lk_op op, lk_var a, lk_var b, lk_var bias, lk_conv_attr attr,
                          lk_var like)
{
    lk_attr sized = {.conv = attr};
    for (int i = 0; i < attr.n_spatial && !lk_is_none(like); i++)
        sized.conv.size[i] = lk_var_dim(g, like, 1 + i);
    return lk_record(g, op, op == LK_OP_CONV ? 3 : 2, (lk_var[]){a, b, bias}, &sized, 0, NULL);
}

static void conv_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                          const lk_var *dout, lk_var *din)
{
    const lk_var dy = lk_cast(g, dout[0], lk_var_dtype(g, in[0]));
    (void)out;
    if (lk_wants_grad(g, in[0]))
        din[0] = record_conv(g, LK_OP_CONV_DX, dy, in[1], LK_NONE, n->attr.conv, in[0]);
    if (lk_wants_grad(g, in[1]))
        din[1] = record_conv(g, LK_OP_CONV_DW, in[0], dy, LK_NONE, n->attr.conv, in[1]);
    if (lk_wants_grad(g, in[2]))
        din[2] = lk_reduce_sum(g, dout[0], (1u << (lk_var_shape(g, dout[0]).n_dims - 1)) - 1u, 0);
}

static void conv_dx_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                             const lk_var *dout, lk_var *din)
{
    const lk_var d = lk_cast(g, dout[0], lk_var_dtype(g, in[0]));
    (void)out;
    if (lk_wants_grad(g, in[0]))
        din[0] = record_conv(g, LK_OP_CONV, d, in[1], LK_NONE, n->attr.conv, LK_NONE);
    if (lk_wants_grad(g, in[1]))
        din[1] = record_conv(g, LK_OP_CONV_DW, d, in[0], LK_NONE, n->attr.conv, in[1]);
}

const lk_op_def lk_op_conv = {"conv", 1, 0, 0, conv_infer, conv_define, conv_gradient, conv_flops};
const lk_op_def lk_op_conv_dx = {"conv_dx",        1,         0, 0, conv_dx_infer, conv_define,
                                 conv_dx_gradient, conv_flops};
const lk_op_def lk_op_conv_dw = {"conv_dw", 1, 0, 0, conv_dw_infer, conv_define, NULL, conv_flops};

static lk_conv_attr attr_of(const lk_graph *g, lk_var x, const lk_conv_options *o)
{
    lk_conv_attr a = {.n_spatial = lk_var_shape(g, x).n_dims - 2,
                      .groups = o && o->groups ? o->groups : 1};
    for (int i = 0; i < 3; i++) {
        a.stride[i] = o && o->stride[i] ? o->stride[i] : 1;
        a.dilation[i] = o && o->dilation[i] ? o->dilation[i] : 1;
        a.pad_lo[i] = o ? o->pad_lo[i] : 0;
        a.pad_hi[i] = o ? o->pad_hi[i] : 0;
    }
    return a;
}

lk_var lk_conv(lk_graph *g, lk_var x, lk_var w, lk_var bias, const lk_conv_options *options)
{
    if (lk_is_none(x) || lk_is_none(w))
        return LK_NONE;
    return record_conv(g, LK_OP_CONV, x, w, bias, attr_of(g, x, options), LK_NONE);
}

lk_var lk_conv_transposed(lk_graph *g, lk_var x, lk_var w, lk_var bias,
                          const lk_conv_options *options, const int64_t *size)
{
    lk_attr a = {.conv = attr_of(g, x, options)};
    lk_var y;
    if (lk_is_none(x) || lk_is_none(w))
        return LK_NONE;
    for (int i = 0; i < a.conv.n_spatial && i < 3; i++)
        a.conv.size[i] = size ? size[i]
                              : (lk_var_dim(g, x, 1 + i) - 1) * a.conv.stride[i] +
                                    a.conv.dilation[i] * (lk_var_dim(g, w, 1 + i) - 1) + 1 -
                                    a.conv.pad_lo[i] - a.conv.pad_hi[i];
    y = lk_record(g, LK_OP_CONV_DX, 2, (lk_var[]){x, w}, &a, 0, NULL);
    return lk_is_none(bias) ? y : lk_add(g, y, bias);
}
