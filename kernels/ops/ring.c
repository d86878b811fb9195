/* ring.c - rows kept from run to run.
 *
 *   ring[.., (at + i) mod R, :] = x[.., i, :]     in place, so the ring is an input of the graph
 *
 * The result is the ring with the rows written; no gradient flows: this is for streaming.
 */
#include "kernels/ops/ops_impl.h"

static lk_status ring_infer(const lk_call *c, lk_tensor *out)
{
    const lk_shape *ring = &c->in[0].shape, *x = &c->in[1].shape;
    int same = ring->n_dims >= 2 && x->n_dims == ring->n_dims && c->in[1].dtype == c->in[0].dtype &&
               c->in[2].dtype == LK_I32 && lk_tensor_count(&c->in[2]) == 1;
    for (int i = 0; same && i < x->n_dims; i++)
        same = i == x->n_dims - 2 ? x->dim[i] <= ring->dim[i] : x->dim[i] == ring->dim[i];
    if (!same)
        return lk_bad_shapes(c, "needs a ring [.., R, D], rows [.., n <= R, D] of its type and one "
                                "i32 index");
    if (c->graph->values[c->node->in[0]].leaf != LK_LEAF_INPUT)
        return LK_FAIL(LK_E_ARG, "only an input of the graph keeps rows from run to run");
    out[0] = c->in[0];
    return LK_OK;
}

/* Bytes move as they are: one function for every element type and backend on the host. */
static void ring_define(const lk_call *c)
{
    const lk_shape *ring = &c->in[0].shape;
    const int64_t rows = ring->dim[ring->n_dims - 2];
    const int64_t n = c->in[1].shape.dim[ring->n_dims - 2];
    const size_t bytes = (size_t)lk_last(ring) * lk_dtype_bytes(c->in[0].dtype);
    const int64_t outer = rows ? lk_rows(ring) / rows : 0, at = *(const int32_t *)c->in[2].data;
    const char *from = c->in[1].data;
    char *to = c->in[0].data;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < n && at >= 0; i++)
            memcpy(to + (size_t)(o * rows + (at + i) % rows) * bytes,
                   from + (size_t)(o * n + i) * bytes, bytes);
}

const lk_op_def lk_op_ring = {"ring", 1, 0, 1, ring_infer, ring_define, NULL, NULL};

lk_var lk_ring_write(lk_graph *g, lk_var ring, lk_var x, lk_var at)
{
    if (lk_is_none(ring) || lk_is_none(x) || lk_is_none(at))
        return LK_NONE;
    return lk_record(g, LK_OP_RING, 3, (lk_var[]){ring, x, at}, NULL, 0, NULL);
}
