/* elementwise.c - one number at a time.
 *
 *   add, sub, mul, div   y = a o b with broadcasting;  gradients, summed over repeated dimensions:
 *                        add: dy, dy   sub: dy, -dy   mul: dy b, dy a   div: dy / b, -dy a / b^2
 *   unary                y = f(x), dx = dy f'(x); f and f' in unary.def
 *   snake                y = x + sin^2(alpha x) / alpha                       (Ziyin et al. 2020)
 *                        dx = dy (1 + sin 2 alpha x)
 *                        dalpha = sum dy (x sin(2 alpha x) / alpha - sin^2(alpha x) / alpha^2)
 *   gated_add            y = x + gate v, gate [B, C];  dgate = sum over a sample's rows of dy v
 *   cast                 y = x in another element type; dx = dy
 */
#include "kernels/ops/ops_impl.h"

int lk_broadcast_shapes(const lk_shape *a, const lk_shape *b, lk_broadcasting *out)
{
    const int n = a->n_dims > b->n_dims ? a->n_dims : b->n_dims;
    int64_t step_a = 1, step_b = 1;
    *out = (lk_broadcasting){.out = {.n_dims = n}};
    for (int i = n - 1; i >= 0; i--) {
        const int ia = i - (n - a->n_dims), ib = i - (n - b->n_dims);
        const int64_t da = ia < 0 ? 1 : a->dim[ia], db = ib < 0 ? 1 : b->dim[ib];
        if (da != db && da != 1 && db != 1)
            return 0;
        out->out.dim[i] = da == 1 ? db : da;
        out->step_a[i] = da == 1 ? 0 : step_a;
        out->step_b[i] = db == 1 ? 0 : step_b;
        step_a *= da;
        step_b *= db;
    }
    return 1;
}

lk_var lk_sum_to(lk_graph *g, lk_var d, lk_shape like)
{
    const lk_shape from = lk_var_shape(g, d);
    unsigned axes = 0;
    if (lk_is_none(d) || lk_shape_equal(&from, &like))
        return d;
    for (int i = 0; i < from.n_dims; i++) {
        const int j = i - (from.n_dims - like.n_dims);
        if (j < 0 || (like.dim[j] == 1 && from.dim[i] != 1))
            axes |= 1u << i;
    }
    return lk_reshape(g, lk_reduce_sum(g, d, axes, 1), like);
}

lk_status lk_bad_shapes(const lk_call *c, const char *what)
{
    char text[LK_MAX_IN * LK_SHAPE_TEXT] = "", one[LK_SHAPE_TEXT];
    for (int i = 0; i < c->node->n_in; i++)
        if (lk_has(c, i)) {
            strncat(text, " ", sizeof text - strlen(text) - 1);
            strncat(text, lk_shape_text(&c->in[i].shape, one), sizeof text - strlen(text) - 1);
        }
    return LK_FAIL(LK_E_SHAPE, "%s: %s, given%s", lk_op_get(c->node->op)->name, what, text);
}

/* ---- add, sub, mul, div ---- */

static lk_status binary_infer(const lk_call *c, lk_tensor *out)
{
    lk_broadcasting b;
    if (!lk_is_float(c->in[0].dtype) || !lk_is_float(c->in[1].dtype))
        return LK_FAIL(LK_E_ARG, "%s works on floats", lk_op_get(c->node->op)->name);
    if (!lk_broadcast_shapes(&c->in[0].shape, &c->in[1].shape, &b))
        return lk_bad_shapes(c, "sizes must be equal or 1");
    out[0].dtype = c->in[0].dtype;
    out[0].shape = b.out;
    return LK_OK;
}

static double binary(lk_op op, double a, double b)
{
    return op == LK_OP_ADD ? a + b : op == LK_OP_SUB ? a - b : op == LK_OP_MUL ? a * b : a / b;
}

static void binary_define(const lk_call *c)
{
    const double *a = c->in[0].data, *b = c->in[1].data;
    double *y = c->out[0].data;
    lk_broadcasting s;
    lk_broadcast_shapes(&c->in[0].shape, &c->in[1].shape, &s);
    for (int64_t i = 0; i < lk_shape_count(&s.out); i++) {
        int64_t rest = i, ia = 0, ib = 0;
        for (int d = s.out.n_dims - 1; d >= 0; d--) {
            ia += rest % s.out.dim[d] * s.step_a[d];
            ib += rest % s.out.dim[d] * s.step_b[d];
            rest /= s.out.dim[d];
        }
        y[i] = binary(c->node->op, a[ia], b[ib]);
    }
}

static void add_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                         const lk_var *dout, lk_var *din)
{
    (void)out;
    if (lk_wants_grad(g, in[0]))
        din[0] = lk_sum_to(g, dout[0], lk_var_shape(g, in[0]));
    if (lk_wants_grad(g, in[1])) {
        din[1] = lk_sum_to(g, dout[0], lk_var_shape(g, in[1]));
        if (n->op == LK_OP_SUB)
            din[1] = lk_scale(g, din[1], -1);
    }
}

static void mul_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                         const lk_var *dout, lk_var *din)
{
    (void)n;
    (void)out;
    if (lk_wants_grad(g, in[0]))
        din[0] = lk_sum_to(g, lk_mul(g, dout[0], in[1]), lk_var_shape(g, in[0]));
    if (lk_wants_grad(g, in[1]))
        din[1] = lk_sum_to(g, lk_mul(g, dout[0], in[0]), lk_var_shape(g, in[1]));
}

static void div_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                         const lk_var *dout, lk_var *din)
{
    const lk_var da = lk_div(g, dout[0], in[1]);
    (void)n;
    if (lk_wants_grad(g, in[0]))
        din[0] = lk_sum_to(g, da, lk_var_shape(g, in[0]));
    if (lk_wants_grad(g, in[1]))
        din[1] = lk_sum_to(g, lk_scale(g, lk_mul(g, da, out[0]), -1), lk_var_shape(g, in[1]));
}

const lk_op_def lk_op_add = {"add", 1, 1, 0, binary_infer, binary_define, add_gradient, NULL};
const lk_op_def lk_op_sub = {"sub", 1, 1, 0, binary_infer, binary_define, add_gradient, NULL};
const lk_op_def lk_op_mul = {"mul", 1, 1, 0, binary_infer, binary_define, mul_gradient, NULL};
const lk_op_def lk_op_div = {"div", 1, 1, 0, binary_infer, binary_define, div_gradient, NULL};

lk_var lk_add(lk_graph *g, lk_var a, lk_var b)
{
    return lk_record(g, LK_OP_ADD, 2, (lk_var[]){a, b}, NULL, 0, NULL);
}

lk_var lk_sub(lk_graph *g, lk_var a, lk_var b)
{
    return lk_record(g, LK_OP_SUB, 2, (lk_var[]){a, b}, NULL, 0, NULL);
}

lk_var lk_mul(lk_graph *g, lk_var a, lk_var b)
{
    return lk_record(g, LK_OP_MUL, 2, (lk_var[]){a, b}, NULL, 0, NULL);
}

lk_var lk_div(lk_graph *g, lk_var a, lk_var b)
{
    return lk_record(g, LK_OP_DIV, 2, (lk_var[]){a, b}, NULL, 0, NULL);
}

/* ---- unary ---- */

static double unary_f(lk_unary_kind kind, double x, double a, double b)
{
    switch (kind) {
#define LK_UNARY_KIND(upper, lower, f, df)                                                         \
    case LK_##upper:                                                                               \
        return f;
#include "kernels/unary.def"
#undef LK_UNARY_KIND
    case LK_N_UNARY_KINDS:
        break;
    }
    (void)a;
    (void)b;
    LK_ASSERT(0 && "unary kind");
}

static double unary_df(lk_unary_kind kind, double x, double a, double b)
{
    switch (kind) {
#define LK_UNARY_KIND(upper, lower, f, df)                                                         \
    case LK_##upper:                                                                               \
        return df;
#include "kernels/unary.def"
#undef LK_UNARY_KIND
    case LK_N_UNARY_KINDS:
        break;
    }
    (void)b;
    LK_ASSERT(0 && "unary kind");
}

double lk_unary_value(lk_unary_kind kind, double x, double a, double b)
{
    return unary_f(kind, x, a, b);
}

const char *lk_unary_name(lk_unary_kind kind)
{
    static const char *const names[] = {
#define LK_UNARY_KIND(upper, lower, f, df) #lower,
#include "kernels/unary.def"
#undef LK_UNARY_KIND
    };
    return (unsigned)kind < LK_N_UNARY_KINDS ? names[kind] : "?";
}

/* unary (x); unary_grad (x, dy) */
static lk_status unary_infer(const lk_call *c, lk_tensor *out)
{
    if (!lk_is_float(c->in[0].dtype))
        return LK_FAIL(LK_E_ARG, "%s works on floats", lk_unary_name(c->node->attr.unary.kind));
    if (lk_has(c, 1) && !lk_shape_equal(&c->in[0].shape, &c->in[1].shape))
        return lk_bad_shapes(c, "shapes must be equal");
    out[0].dtype = c->in[0].dtype;
    out[0].shape = c->in[0].shape;
    return LK_OK;
}

static void unary_define(const lk_call *c)
{
    const double *x = c->in[0].data;
    double *y = c->out[0].data;
    for (int64_t i = 0; i < lk_tensor_count(&c->out[0]); i++)
        y[i] =
            unary_f(c->node->attr.unary.kind, x[i], c->node->attr.unary.a, c->node->attr.unary.b);
}

static void unary_grad_define(const lk_call *c)
{
    const double *x = c->in[0].data, *dy = c->in[1].data;
    double *dx = c->out[0].data;
    for (int64_t i = 0; i < lk_tensor_count(&c->out[0]); i++)
        dx[i] = dy[i] * unary_df(c->node->attr.unary.kind, x[i], c->node->attr.unary.a,
                                 c->node->attr.unary.b);
}

static void unary_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                           const lk_var *dout, lk_var *din)
{
    (void)out;
    if (n->attr.unary.kind == LK_AFFINE)
        din[0] = lk_scale(g, dout[0], n->attr.unary.a);
    else
        din[0] = lk_record(g, LK_OP_UNARY_GRAD, 2, (lk_var[]){in[0], dout[0]}, &n->attr, 0, NULL);
}

const lk_op_def lk_op_unary = {"unary", 1, 1, 0, unary_infer, unary_define, unary_gradient, NULL};
const lk_op_def lk_op_unary_grad = {"unary_grad",      1,    1,   0, unary_infer,
                                    unary_grad_define, NULL, NULL};

lk_var lk_unary(lk_graph *g, lk_unary_kind kind, lk_var x, double a, double b)
{
    const lk_attr attr = {.unary = {kind, a, b}};
    return lk_record(g, LK_OP_UNARY, 1, &x, &attr, 0, NULL);
}

lk_var lk_affine(lk_graph *g, lk_var x, double a, double b)
{
    return lk_unary(g, LK_AFFINE, x, a, b);
}

lk_var lk_scale(lk_graph *g, lk_var x, double a)
{
    return a == 1 ? x : lk_unary(g, LK_AFFINE, x, a, 0);
}

lk_var lk_square(lk_graph *g, lk_var x)
{
    return lk_unary(g, LK_SQUARE, x, 0, 0);
}

lk_var lk_tanh(lk_graph *g, lk_var x)
{
    return lk_unary(g, LK_TANH, x, 0, 0);
}

lk_var lk_sigmoid(lk_graph *g, lk_var x)
{
    return lk_unary(g, LK_SIGMOID, x, 0, 0);
}

lk_var lk_gelu(lk_graph *g, lk_var x)
{
    return lk_unary(g, LK_GELU, x, 0, 0);
}

lk_var lk_gelu_tanh(lk_graph *g, lk_var x)
{
    return lk_unary(g, LK_GELU_TANH, x, 0, 0);
}

lk_var lk_silu(lk_graph *g, lk_var x)
{
    return lk_unary(g, LK_SILU, x, 0, 0);
}

lk_var lk_relu(lk_graph *g, lk_var x)
{
    return lk_unary(g, LK_RELU, x, 0, 0);
}

lk_var lk_leaky_relu(lk_graph *g, lk_var x, double slope)
{
    return lk_unary(g, LK_LEAKY_RELU, x, slope, 0);
}

/* ---- snake ---- */

/* snake (x, alpha) -> y; snake_grad (x, alpha, dy) -> dx, dalpha */
static lk_status snake_infer(const lk_call *c, lk_tensor *out)
{
    if (c->in[0].shape.n_dims < 1 || c->in[1].shape.n_dims != 1 ||
        c->in[1].shape.dim[0] != lk_last(&c->in[0].shape))
        return lk_bad_shapes(c, "alpha must have one number a channel");
    if (!lk_is_float(c->in[0].dtype) || c->in[1].dtype != LK_F32)
        return LK_FAIL(LK_E_ARG, "snake takes floats, and alpha in f32");
    if (lk_has(c, 2) && !lk_shape_equal(&c->in[0].shape, &c->in[2].shape))
        return lk_bad_shapes(c, "x and its gradient must have one shape");
    out[0].dtype = c->in[0].dtype;
    out[0].shape = c->in[0].shape;
    out[1].dtype = LK_F32;
    out[1].shape = c->in[1].shape;
    return LK_OK;
}

static void snake_define(const lk_call *c)
{
    const double *x = c->in[0].data, *alpha = c->in[1].data;
    const int64_t n_ch = lk_last(&c->in[0].shape);
    double *y = c->out[0].data;
    for (int64_t i = 0; i < lk_tensor_count(&c->out[0]); i++) {
        const double a = alpha[i % n_ch], s = sin(a * x[i]);
        y[i] = x[i] + s * s / a;
    }
}

static void snake_grad_define(const lk_call *c)
{
    const double *x = c->in[0].data, *alpha = c->in[1].data, *dy = c->in[2].data;
    const int64_t n_ch = lk_last(&c->in[0].shape);
    double *dx = c->out[0].data, *da = c->out[1].data;
    for (int64_t j = 0; da && j < n_ch; j++)
        da[j] = 0;
    for (int64_t i = 0; i < lk_tensor_count(&c->in[0]); i++) {
        const double a = alpha[i % n_ch], s = sin(a * x[i]), s2 = sin(2 * a * x[i]);
        const double d = dy[i];
        if (da)
            da[i % n_ch] += d * (x[i] * s2 / a - s * s / (a * a));
        if (dx)
            dx[i] = d * (1 + s2);
    }
}

static void snake_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                           const lk_var *dout, lk_var *din)
{
    lk_var d[LK_MAX_OUT];
    const unsigned needed = (lk_wants_grad(g, in[0]) ? 1u : 0) | (lk_wants_grad(g, in[1]) ? 2u : 0);
    (void)n;
    (void)out;
    lk_record(g, LK_OP_SNAKE_GRAD, 3, (lk_var[]){in[0], in[1], dout[0]}, NULL, needed, d);
    din[0] = d[0];
    din[1] = d[1];
}

const lk_op_def lk_op_snake = {"snake", 1, 1, 0, snake_infer, snake_define, snake_gradient, NULL};
const lk_op_def lk_op_snake_grad = {"snake_grad",      2,    0,   0, snake_infer,
                                    snake_grad_define, NULL, NULL};

lk_var lk_snake(lk_graph *g, lk_var x, lk_var alpha)
{
    return lk_record(g, LK_OP_SNAKE, 2, (lk_var[]){x, alpha}, NULL, 0, NULL);
}

/* ---- gated_add ---- */

static lk_status gated_add_infer(const lk_call *c, lk_tensor *out)
{
    const lk_shape *x = &c->in[0].shape, *gate = &c->in[1].shape;
    if (x->n_dims < 2 || !lk_shape_equal(x, &c->in[2].shape) || gate->n_dims != 2 ||
        gate->dim[0] != x->dim[0] || gate->dim[1] != lk_last(x))
        return lk_bad_shapes(c, "needs x and v [B, ..., C] and a gate [B, C]");
    out[0].dtype = c->in[0].dtype;
    out[0].shape = *x;
    return LK_OK;
}

static void gated_add_define(const lk_call *c)
{
    const double *x = c->in[0].data, *gate = c->in[1].data, *v = c->in[2].data;
    const int64_t n_ch = lk_last(&c->in[0].shape), n = lk_tensor_count(&c->in[0]);
    const int64_t sample = c->in[0].shape.dim[0] ? n / c->in[0].shape.dim[0] : 0;
    double *y = c->out[0].data;
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] + gate[i / sample * n_ch + i % n_ch] * v[i];
}

static void gated_add_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                               const lk_var *dout, lk_var *din)
{
    lk_shape wide = lk_var_shape(g, in[0]);
    (void)n;
    (void)out;
    for (int i = 1; i + 1 < wide.n_dims; i++)
        wide.dim[i] = 1;
    if (lk_wants_grad(g, in[0]))
        din[0] = dout[0];
    if (lk_wants_grad(g, in[1]))
        din[1] =
            lk_reshape(g, lk_sum_to(g, lk_mul(g, dout[0], in[2]), wide), lk_var_shape(g, in[1]));
    if (lk_wants_grad(g, in[2]))
        din[2] = lk_mul(g, dout[0], lk_reshape(g, in[1], wide));
}

const lk_op_def lk_op_gated_add = {"gated_add",        1,   1, 0, gated_add_infer, gated_add_define,
                                   gated_add_gradient, NULL};

lk_var lk_gated_add(lk_graph *g, lk_var x, lk_var gate, lk_var v)
{
    return lk_record(g, LK_OP_GATED_ADD, 3, (lk_var[]){x, gate, v}, NULL, 0, NULL);
}

/* ---- cast ---- */

static lk_status cast_infer(const lk_call *c, lk_tensor *out)
{
    out[0].dtype = c->node->attr.cast.dtype;
    out[0].shape = c->in[0].shape;
    return LK_OK;
}

static void cast_define(const lk_call *c)
{
    const int64_t n = lk_tensor_count(&c->out[0]);
    if (c->out[0].dtype == c->in[0].dtype)
        memmove(c->out[0].data, c->in[0].data, (size_t)n * lk_dtype_bytes(c->out[0].dtype));
    else
        lk_convert(c->out[0].dtype, c->out[0].data, c->in[0].dtype, c->in[0].data, n);
}

static void cast_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                          const lk_var *dout, lk_var *din)
{
    (void)n;
    (void)out;
    din[0] = lk_cast(g, dout[0], lk_var_dtype(g, in[0]));
}

const lk_op_def lk_op_cast = {"cast", 1, 0, 0, cast_infer, cast_define, cast_gradient, NULL};

lk_var lk_cast(lk_graph *g, lk_var x, lk_dtype dtype)
{
    const lk_attr attr = {.cast = {dtype}};
    if (lk_is_none(x) || lk_var_dtype(g, x) == dtype)
        return x;
    return lk_record(g, LK_OP_CAST, 1, &x, &attr, 0, NULL);
}
