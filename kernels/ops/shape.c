/* shape.c - moving numbers without changing them.
 *
 *   reshape, stop   the same bytes under another shape; stop lets no gradient through
 *   permute         y[i_0, i_1, ...] = x at the same indices in the order perm; dx by the inverse
 *   slice, pad      a part along one dimension, and the part put back among zeros: each is the
 *                   other's gradient
 *   concat          parts one behind another; dx are slices
 *   split           equal parts, each a result of its own; dx = the parts' gradients in a row
 *   broadcast       repetition along dimensions of size 1; dx = sum over them
 */
#include "kernels/ops/ops_impl.h"

static lk_status reshape_infer(const lk_call *c, lk_tensor *out)
{
    if (lk_shape_count(&c->node->attr.reshape.shape) != lk_tensor_count(&c->in[0]))
        return lk_bad_shapes(c, "the new shape must hold as many elements");
    out[0].dtype = c->in[0].dtype;
    out[0].shape = c->node->attr.reshape.shape;
    return LK_OK;
}

static void nothing(const lk_call *c)
{
    (void)c;
}

static void reshape_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                             const lk_var *dout, lk_var *din)
{
    (void)n;
    (void)out;
    din[0] = lk_reshape(g, dout[0], lk_var_shape(g, in[0]));
}

const lk_op_def lk_op_reshape = {"reshape",        1,   0, 1, reshape_infer, nothing,
                                 reshape_gradient, NULL};
const lk_op_def lk_op_stop = {"stop", 1, 0, 1, reshape_infer, nothing, NULL, NULL};

lk_var lk_reshape(lk_graph *g, lk_var x, lk_shape shape)
{
    const lk_shape old = lk_var_shape(g, x);
    lk_attr attr = {.reshape = {shape}};
    int64_t known = 1;
    int open = -1;
    for (int i = 0; i < shape.n_dims; i++)
        if (shape.dim[i] < 0)
            open = i;
        else
            known *= shape.dim[i];
    if (open >= 0)
        attr.reshape.shape.dim[open] = known ? lk_shape_count(&old) / known : 0;
    if (lk_is_none(x) || lk_shape_equal(&old, &attr.reshape.shape))
        return x;
    return lk_record(g, LK_OP_RESHAPE, 1, &x, &attr, 0, NULL);
}

lk_var lk_stop_gradient(lk_graph *g, lk_var x)
{
    const lk_attr attr = {.reshape = {lk_var_shape(g, x)}};
    return lk_record(g, LK_OP_STOP, 1, &x, &attr, 0, NULL);
}

lk_var lk_straight_through(lk_graph *g, lk_var x, lk_var forward)
{
    return lk_add(g, x, lk_stop_gradient(g, lk_sub(g, forward, x)));
}

/* ---- permute, slice, pad, concat, broadcast: one copy of a box between two row-major layouts ----
 */

lk_box_copy lk_box_copy_of(const lk_call *c, int which)
{
    const lk_shape *from = &c->in[which].shape, *to = &c->out[0].shape;
    const lk_attr *attr = &c->node->attr;
    int64_t step_from[LK_MAX_DIMS], step = 1, before = 0;
    lk_box_copy b = {.n_dims = to->n_dims};
    const int n = to->n_dims, axis = attr->range.axis;
    for (int i = from->n_dims - 1; i >= 0; i--) {
        step_from[i] = step;
        step *= from->dim[i];
    }
    step = 1;
    for (int i = n - 1; i >= 0; i--) {
        b.to_step[i] = step;
        step *= to->dim[i];
    }
    for (int i = 0; i < n; i++) {
        const int j = i - (n - from->n_dims);
        switch ((int)c->node->op) {
        case LK_OP_PERMUTE:
            b.size[i] = to->dim[i];
            b.from_step[i] = step_from[attr->permute.perm[i]];
            break;
        case LK_OP_BROADCAST:
            b.size[i] = to->dim[i];
            b.from_step[i] = j < 0 || from->dim[j] == 1 ? 0 : step_from[j];
            break;
        case LK_OP_SLICE:
            b.size[i] = to->dim[i];
            b.from_step[i] = step_from[i];
            break;
        default: /* PAD, CONCAT: the whole input into a part of the result */
            b.size[i] = from->dim[i];
            b.from_step[i] = step_from[i];
        }
    }
    if (c->node->op == LK_OP_SLICE)
        b.from_at = attr->range.start * step_from[axis];
    for (int k = 0; c->node->op == LK_OP_CONCAT && k < which; k++)
        before += c->in[k].shape.dim[axis];
    if (c->node->op == LK_OP_CONCAT)
        b.to_at = before * b.to_step[axis];
    if (c->node->op == LK_OP_PAD)
        b.to_at = attr->range.start * b.to_step[axis];
    return b;
}

static void box_define(const lk_call *c)
{
    const size_t bytes = lk_dtype_bytes(c->out[0].dtype);
    char *y = c->out[0].data;
    if (c->node->op == LK_OP_PAD)
        memset(y, 0, lk_tensor_bytes(&c->out[0]));
    for (int k = 0; k < c->node->n_in; k++) {
        const lk_box_copy b = lk_box_copy_of(c, k);
        const char *x = c->in[k].data;
        int64_t n = 1;
        for (int d = 0; d < b.n_dims; d++)
            n *= b.size[d];
        for (int64_t i = 0; i < n; i++) {
            int64_t rest = i, from = b.from_at, to = b.to_at;
            for (int d = b.n_dims - 1; d >= 0; d--) {
                from += rest % b.size[d] * b.from_step[d];
                to += rest % b.size[d] * b.to_step[d];
                rest /= b.size[d];
            }
            memcpy(y + (size_t)to * bytes, x + (size_t)from * bytes, bytes);
        }
    }
}

static lk_status permute_infer(const lk_call *c, lk_tensor *out)
{
    const lk_shape *s = &c->in[0].shape;
    unsigned used = 0;
    out[0].dtype = c->in[0].dtype;
    out[0].shape.n_dims = s->n_dims;
    for (int i = 0; i < s->n_dims; i++) {
        const int64_t from = c->node->attr.permute.perm[i];
        if (from < 0 || from >= s->n_dims || used >> from & 1)
            return lk_bad_shapes(c, "the order must name each dimension once");
        used |= 1u << from;
        out[0].shape.dim[i] = s->dim[from];
    }
    return LK_OK;
}

static void permute_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                             const lk_var *dout, lk_var *din)
{
    int back[LK_MAX_DIMS] = {0};
    (void)out;
    for (int i = 0; i < lk_var_shape(g, in[0]).n_dims; i++)
        back[n->attr.permute.perm[i]] = i;
    din[0] = lk_permute(g, dout[0], back);
}

const lk_op_def lk_op_permute = {"permute",        1,   0, 0, permute_infer, box_define,
                                 permute_gradient, NULL};

lk_var lk_permute(lk_graph *g, lk_var x, const int *perm)
{
    lk_attr attr = {.permute = {{0}}};
    for (int i = 0; i < lk_var_shape(g, x).n_dims; i++)
        attr.permute.perm[i] = perm[i];
    return lk_record(g, LK_OP_PERMUTE, 1, &x, &attr, 0, NULL);
}

static lk_status slice_infer(const lk_call *c, lk_tensor *out)
{
    const lk_shape *s = &c->in[0].shape;
    const int axis = c->node->attr.range.axis;
    const int64_t start = c->node->attr.range.start, size = c->node->attr.range.size;
    if (axis < 0 || axis >= s->n_dims || start < 0 || size < 0 || start > s->dim[axis] - size)
        return lk_bad_shapes(c, "the part must lie within the dimension");
    out[0].dtype = c->in[0].dtype;
    out[0].shape = *s;
    out[0].shape.dim[axis] = size;
    return LK_OK;
}

static void slice_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                           const lk_var *dout, lk_var *din)
{
    const int axis = n->attr.range.axis;
    (void)out;
    din[0] = lk_pad(g, dout[0], axis, n->attr.range.start,
                    lk_var_dim(g, in[0], axis) - n->attr.range.start - n->attr.range.size);
}

const lk_op_def lk_op_slice = {"slice", 1, 0, 0, slice_infer, box_define, slice_gradient, NULL};

/* A negative axis counts from the end. */
static int axis_of(const lk_graph *g, lk_var x, int axis)
{
    return axis < 0 ? lk_var_shape(g, x).n_dims + axis : axis;
}

lk_var lk_slice(lk_graph *g, lk_var x, int axis, int64_t start, int64_t size)
{
    const lk_attr attr = {.range = {axis_of(g, x, axis), start, size}};
    return lk_record(g, LK_OP_SLICE, 1, &x, &attr, 0, NULL);
}

static lk_status pad_infer(const lk_call *c, lk_tensor *out)
{
    const lk_shape *s = &c->in[0].shape;
    const int axis = c->node->attr.range.axis;
    if (axis < 0 || axis >= s->n_dims || c->node->attr.range.start < 0 ||
        c->node->attr.range.size < c->node->attr.range.start + s->dim[axis])
        return lk_bad_shapes(c, "padding must not be negative");
    out[0].dtype = c->in[0].dtype;
    out[0].shape = *s;
    out[0].shape.dim[axis] = c->node->attr.range.size;
    return LK_OK;
}

static void pad_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                         const lk_var *dout, lk_var *din)
{
    (void)out;
    din[0] = lk_slice(g, dout[0], n->attr.range.axis, n->attr.range.start,
                      lk_var_dim(g, in[0], n->attr.range.axis));
}

const lk_op_def lk_op_pad = {"pad", 1, 0, 0, pad_infer, box_define, pad_gradient, NULL};

lk_var lk_pad(lk_graph *g, lk_var x, int axis, int64_t before, int64_t after)
{
    const int at = axis_of(g, x, axis);
    const lk_attr attr = {.range = {at, before, lk_var_dim(g, x, at) + before + after}};
    if (before == 0 && after == 0)
        return x;
    return lk_record(g, LK_OP_PAD, 1, &x, &attr, 0, NULL);
}

static lk_status concat_infer(const lk_call *c, lk_tensor *out)
{
    const int axis = c->node->attr.range.axis;
    lk_shape s = c->in[0].shape;
    if (axis < 0 || axis >= s.n_dims)
        return lk_bad_shapes(c, "there is no such dimension");
    for (int k = 1; k < c->node->n_in; k++) {
        lk_shape other = c->in[k].shape;
        const int64_t size = other.n_dims > axis ? other.dim[axis] : 0;
        if (other.n_dims > axis)
            other.dim[axis] = s.dim[axis];
        if (!lk_shape_equal(&other, &s) || c->in[k].dtype != c->in[0].dtype)
            return lk_bad_shapes(c, "all but the joined dimension, and the types, must be equal");
        s.dim[axis] += size;
    }
    out[0].dtype = c->in[0].dtype;
    out[0].shape = s;
    return LK_OK;
}

static void concat_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                            const lk_var *dout, lk_var *din)
{
    const int axis = n->attr.range.axis;
    int64_t at = 0;
    (void)out;
    for (int k = 0; k < n->n_in; k++) {
        if (lk_wants_grad(g, in[k]))
            din[k] = lk_slice(g, dout[0], axis, at, lk_var_dim(g, in[k], axis));
        at += lk_var_dim(g, in[k], axis);
    }
}

const lk_op_def lk_op_concat = {"concat", 1, 0, 0, concat_infer, box_define, concat_gradient, NULL};

lk_var lk_concat(lk_graph *g, int n, const lk_var *x, int axis)
{
    const lk_attr attr = {.range = {axis_of(g, x[0], axis), 0, 0}};
    return lk_record(g, LK_OP_CONCAT, n, x, &attr, 0, NULL);
}

static lk_status split_infer(const lk_call *c, lk_tensor *out)
{
    const int axis = c->node->attr.range.axis;
    const int64_t n = c->node->attr.range.size;
    lk_shape s = c->in[0].shape;
    if (axis < 0 || axis >= s.n_dims || n < 1 || n > LK_MAX_OUT || s.dim[axis] % n)
        return lk_bad_shapes(c, "a dimension is split into equal parts, at most four");
    s.dim[axis] /= n;
    for (int i = 0; i < n; i++) {
        out[i].dtype = c->in[0].dtype;
        out[i].shape = s;
    }
    return LK_OK;
}

static void split_define(const lk_call *c)
{
    const lk_split k = lk_split_at(&c->in[0].shape, c->node->attr.range.axis);
    const size_t part =
        (size_t)(k.size / c->node->attr.range.size * k.inner) * lk_dtype_bytes(c->in[0].dtype);
    for (int i = 0; i < c->node->attr.range.size; i++)
        for (int64_t o = 0; c->out[i].data && o < k.outer; o++)
            memcpy((char *)c->out[i].data + (size_t)o * part,
                   (const char *)c->in[0].data + (size_t)(o * c->node->attr.range.size + i) * part,
                   part);
}

static void split_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                           const lk_var *dout, lk_var *din)
{
    const int parts = (int)n->attr.range.size, axis = n->attr.range.axis;
    const int64_t size = lk_var_dim(g, in[0], axis) / parts;
    int all = 1;
    (void)out;
    for (int i = 0; i < parts; i++)
        all &= !lk_is_none(dout[i]);
    if (all)
        din[0] = lk_concat(g, parts, dout, axis);
    for (int i = 0; i < parts && !all; i++) {
        lk_var d;
        if (lk_is_none(dout[i]))
            continue;
        d = lk_pad(g, dout[i], axis, i * size, (parts - 1 - i) * size);
        din[0] = lk_is_none(din[0]) ? d : lk_add(g, din[0], d);
    }
}

const lk_op_def lk_op_split = {"split",      LK_MAX_OUT,     0,   0, split_infer,
                               split_define, split_gradient, NULL};

void lk_split_equally(lk_graph *g, lk_var x, int axis, int n, lk_var *parts)
{
    const lk_attr attr = {.range = {axis_of(g, x, axis), 0, n}};
    lk_var out[LK_MAX_OUT] = {LK_NONE, LK_NONE, LK_NONE, LK_NONE};
    lk_record(g, LK_OP_SPLIT, 1, &x, &attr, n > 0 && n < LK_MAX_OUT ? (1u << n) - 1u : 0, out);
    for (int i = 0; i < n && i < LK_MAX_OUT; i++)
        parts[i] = out[i];
}

static lk_status broadcast_infer(const lk_call *c, lk_tensor *out)
{
    lk_broadcasting b;
    out[0].dtype = c->in[0].dtype;
    out[0].shape = c->node->attr.reshape.shape;
    if (!lk_broadcast_shapes(&c->in[0].shape, &out[0].shape, &b) ||
        !lk_shape_equal(&b.out, &out[0].shape))
        return lk_bad_shapes(c, "sizes must be equal or 1");
    return LK_OK;
}

static void broadcast_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                               const lk_var *dout, lk_var *din)
{
    (void)n;
    (void)out;
    din[0] = lk_sum_to(g, dout[0], lk_var_shape(g, in[0]));
}

const lk_op_def lk_op_broadcast = {"broadcast",        1,   0, 0, broadcast_infer, box_define,
                                   broadcast_gradient, NULL};

lk_var lk_broadcast(lk_graph *g, lk_var x, lk_shape shape)
{
    const lk_attr attr = {.reshape = {shape}};
    const lk_shape old = lk_var_shape(g, x);
    if (lk_shape_equal(&old, &shape))
        return x;
    return lk_record(g, LK_OP_BROADCAST, 1, &x, &attr, 0, NULL);
}
