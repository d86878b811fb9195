/* rearrange.c - rows by index, and rearrangements made of the operations of shape.c.
 *
 *   gather           y[o, m, i] = x[o, index[m], i], 0 where the index is not in 0 .. N - 1
 *   scatter_add      y[o, n, i] = sum over m with index[m] = n of x[o, m, i], in the order of m;
 * f32 each is the other's gradient space_to_depth   x[b, Y r + j, X r + k, c] = y[b, Y, X, (j r +
 * k) C + c] repeat           y[o, n r + j, i] = x[o, n, i] haar             of every 2 x 2 block a
 * b / c d (Haar 1910): LL = (a + b + c + d) / 2, LH = (a - b + c - d) / 2, HL = (a + b - c - d) /
 * 2, HH = (a - b - c + d) / 2
 */
#include "kernels/ops/ops_impl.h"

/* ---- gather (x, index); scatter_add (x, index) ---- */

static lk_status gather_infer(const lk_call *c, lk_tensor *out)
{
    const lk_shape *s = &c->in[0].shape, *index = &c->in[1].shape;
    const int axis = c->node->attr.axis.axis, scatter = c->node->op == LK_OP_SCATTER_ADD;
    if (axis < 0 || axis >= s->n_dims || index->n_dims != 1 || c->in[1].dtype != LK_I32)
        return lk_bad_shapes(c, "needs a dimension of x and an i32 list of indices");
    if (scatter && (index->dim[0] != s->dim[axis] || !lk_is_float(c->in[0].dtype)))
        return lk_bad_shapes(c, "needs floats, and one index a row");
    out[0].dtype = scatter ? LK_F32 : c->in[0].dtype;
    out[0].shape = *s;
    out[0].shape.dim[axis] = scatter ? c->node->attr.axis.size : index->dim[0];
    return LK_OK;
}

static void gather_define(const lk_call *c)
{
    const lk_split from = lk_split_at(&c->in[0].shape, c->node->attr.axis.axis);
    const int64_t m = c->in[1].shape.dim[0];
    const int32_t *index = c->in[1].data;
    const size_t bytes = (size_t)from.inner * lk_dtype_bytes(c->out[0].dtype);
    for (int64_t i = 0; i < from.outer * m; i++) {
        const int64_t n = index[i % m];
        char *y = (char *)c->out[0].data + (size_t)i * bytes;
        if (n < 0 || n >= from.size)
            memset(y, 0, bytes);
        else
            memcpy(y, (const char *)c->in[0].data + (size_t)(i / m * from.size + n) * bytes, bytes);
    }
}

static void gather_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                            const lk_var *dout, lk_var *din)
{
    (void)out;
    din[0] = lk_scatter_add(g, dout[0], n->attr.axis.axis, in[1],
                            lk_var_dim(g, in[0], n->attr.axis.axis));
}

static void scatter_add_define(const lk_call *c)
{
    const lk_split to = lk_split_at(&c->out[0].shape, c->node->attr.axis.axis);
    const int64_t m = c->in[1].shape.dim[0];
    const int32_t *index = c->in[1].data;
    const double *x = c->in[0].data;
    double *y = c->out[0].data;
    for (int64_t i = 0; i < lk_tensor_count(&c->out[0]); i++)
        y[i] = 0;
    for (int64_t i = 0; i < to.outer * m; i++) {
        const int64_t n = index[i % m];
        for (int64_t j = 0; n >= 0 && n < to.size && j < to.inner; j++)
            y[(i / m * to.size + n) * to.inner + j] += x[i * to.inner + j];
    }
}

static void scatter_add_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                                 const lk_var *dout, lk_var *din)
{
    (void)out;
    din[0] = lk_gather(g, dout[0], n->attr.axis.axis, in[1]);
}

const lk_op_def lk_op_gather = {"gather",        1,   0, 0, gather_infer, gather_define,
                                gather_gradient, NULL};
const lk_op_def lk_op_scatter_add = {
    "scatter_add", 1, 0, 0, gather_infer, scatter_add_define, scatter_add_gradient, NULL};

static int axis_of(const lk_graph *g, lk_var x, int axis)
{
    return axis < 0 ? lk_var_shape(g, x).n_dims + axis : axis;
}

lk_var lk_gather(lk_graph *g, lk_var x, int axis, lk_var index)
{
    const lk_attr attr = {.axis = {.axis = axis_of(g, x, axis)}};
    return lk_record(g, LK_OP_GATHER, 2, (lk_var[]){x, index}, &attr, 0, NULL);
}

lk_var lk_scatter_add(lk_graph *g, lk_var x, int axis, lk_var index, int64_t size)
{
    const lk_attr attr = {.axis = {.axis = axis_of(g, x, axis), .size = size}};
    return lk_record(g, LK_OP_SCATTER_ADD, 2, (lk_var[]){x, index}, &attr, 0, NULL);
}

/* ---- composed ---- */

static const int swap_blocks[] = {0, 1, 3, 2, 4, 5};

/* Fails the graph and returns 0 unless x is [B, Y, X, C] and `divides` holds. */
static int is_picture(lk_graph *g, lk_var x, const char *what, int divides)
{
    if (lk_is_none(x))
        return 0;
    if (lk_var_shape(g, x).n_dims == 4 && divides)
        return 1;
    lk_graph_fail(g, LK_FAIL(LK_E_SHAPE, "%s", what));
    return 0;
}

lk_var lk_space_to_depth(lk_graph *g, lk_var x, int r)
{
    const lk_shape s = lk_var_shape(g, x);
    if (!is_picture(g, x, "space_to_depth needs [B, Y, X, C] with Y and X multiples of r",
                    r > 0 && s.dim[1] % r == 0 && s.dim[2] % r == 0))
        return LK_NONE;
    x = lk_reshape(g, x, LK_SHAPE(s.dim[0], s.dim[1] / r, r, s.dim[2] / r, r, s.dim[3]));
    return lk_reshape(g, lk_permute(g, x, swap_blocks),
                      LK_SHAPE(s.dim[0], s.dim[1] / r, s.dim[2] / r, s.dim[3] * r * r));
}

lk_var lk_depth_to_space(lk_graph *g, lk_var x, int r)
{
    const lk_shape s = lk_var_shape(g, x);
    if (!is_picture(g, x, "depth_to_space needs [B, Y, X, C] with C a multiple of r r",
                    r > 0 && s.dim[3] % ((int64_t)r * r) == 0))
        return LK_NONE;
    x = lk_reshape(g, x, LK_SHAPE(s.dim[0], s.dim[1], s.dim[2], r, r, s.dim[3] / r / r));
    return lk_reshape(g, lk_permute(g, x, swap_blocks),
                      LK_SHAPE(s.dim[0], s.dim[1] * r, s.dim[2] * r, s.dim[3] / r / r));
}

lk_var lk_repeat(lk_graph *g, lk_var x, int axis, int r)
{
    lk_shape s = lk_var_shape(g, x);
    const int at = axis_of(g, x, axis);
    lk_split k;
    if (lk_is_none(x) || r == 1)
        return x;
    if (at < 0 || at >= s.n_dims || r < 1) {
        lk_graph_fail(g, LK_FAIL(LK_E_ARG, "repeat: no dimension %d, or no repetition", axis));
        return LK_NONE;
    }
    k = lk_split_at(&s, at);
    s.dim[at] *= r;
    x = lk_reshape(g, x, LK_SHAPE(k.outer * k.size, 1, k.inner));
    return lk_reshape(g, lk_broadcast(g, x, LK_SHAPE(k.outer * k.size, r, k.inner)), s);
}

/* Sums and differences of neighbours: x as [outer, 2, inner] -> each [outer, inner]. */
static void halves(lk_graph *g, lk_var x, int64_t outer, int64_t inner, lk_var *half)
{
    const lk_var v = lk_reshape(g, x, LK_SHAPE(outer, 2 * inner));
    const lk_var a = lk_slice(g, v, 1, 0, inner), b = lk_slice(g, v, 1, inner, inner);
    half[0] = lk_add(g, a, b);
    half[1] = lk_sub(g, a, b);
}

lk_var lk_haar(lk_graph *g, lk_var x)
{
    const lk_shape s = lk_var_shape(g, x);
    lk_var columns[2], rows[2];
    int64_t pairs, row;
    if (!is_picture(g, x, "haar needs [B, Y, X, C] with Y and X even",
                    s.dim[1] % 2 == 0 && s.dim[2] % 2 == 0))
        return LK_NONE;
    pairs = s.dim[0] * s.dim[1] * s.dim[2] / 2;
    row = s.dim[2] * s.dim[3]; /* of both halves side by side */
    halves(g, lk_scale(g, x, 0.5), pairs, s.dim[3], columns);
    halves(g, lk_concat(g, 2, columns, 1), s.dim[0] * s.dim[1] / 2, row, rows);
    for (int i = 0; i < 2; i++)
        rows[i] =
            lk_reshape(g, rows[i], LK_SHAPE(s.dim[0], s.dim[1] / 2, s.dim[2] / 2, 2 * s.dim[3]));
    return lk_concat(g, 2, rows, 3);
}

lk_var lk_haar_inverse(lk_graph *g, lk_var x)
{
    const lk_shape s = lk_var_shape(g, x);
    lk_var half[2], row[2], part[2], cell[4];
    if (!is_picture(g, x, "haar_inverse needs [B, Y, X, C] with C a multiple of 4",
                    s.n_dims == 4 && s.dim[3] % 4 == 0))
        return LK_NONE;
    lk_split_equally(g, lk_scale(g, x, 0.5), 3, 2, half);
    row[0] = lk_add(g, half[0], half[1]);
    row[1] = lk_sub(g, half[0], half[1]);
    for (int i = 0; i < 2; i++) {
        lk_split_equally(g, row[i], 3, 2, part);
        cell[2 * i] = lk_add(g, part[0], part[1]);
        cell[2 * i + 1] = lk_sub(g, part[0], part[1]);
    }
    return lk_depth_to_space(g, lk_concat(g, 4, cell, 3), 2);
}
