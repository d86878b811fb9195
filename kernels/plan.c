/* plan.c - where every value lives.
 *
 * A value is alive from the node that makes it to the last node that reads it, both included; work
 * space is alive during its node.  An elementwise result takes over the bytes of an input that dies
 * there.  What overlaps in time must not overlap in space: blocks are placed from the largest to
 * the smallest at the lowest offset that is free during their life.  Inputs, constants and outputs
 * keep bytes of their own; parameters and their gradients live in the store.
 */
#include "kernels/graph_impl.h"

#include "kernels/mem.h"

#include <stdlib.h>

#define ALIGN 64

typedef struct block {
    size_t bytes, offset;
    int32_t birth, death;
} block;

typedef struct planner {
    lk_graph *g;
    block *blocks;
    size_t n_blocks;
    int32_t *block_of; /* [n_values] of root values; -1: not in the arena */
    int32_t *last_use; /* [n_values] of root values; node index, -1 never read */
    int32_t *n_uses;   /* [n_values] of root values */
} planner;

static size_t round_up(size_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static int is_float(lk_dtype t)
{
    return t == LK_F32 || t == LK_BF16 || t == LK_F64;
}

lk_dtype lk_graph_held_dtype(const lk_graph *g, lk_dtype dtype)
{
    return g->config.backend->doubles && is_float(dtype) ? LK_F64 : dtype;
}

static size_t value_bytes(const lk_graph *g, const lk_value *v)
{
    return round_up((size_t)lk_shape_count(&v->shape) *
                    lk_dtype_bytes(lk_graph_held_dtype(g, v->dtype)));
}

/* The value's bytes are in the store. */
static int in_store(const lk_graph *g, const lk_value *v)
{
    return !g->config.backend->doubles && v->param >= 0;
}

static void find_uses(planner *p)
{
    const lk_graph *g = p->g;
    for (size_t i = 0; i < g->n_values; i++)
        p->last_use[i] = -1;
    for (size_t k = 0; k < g->n_nodes; k++)
        for (int i = 0; i < g->nodes[k].n_in; i++)
            if (g->nodes[k].in[i] >= 0) {
                const int32_t root = g->values[g->nodes[k].in[i]].root;
                p->last_use[root] = (int32_t)k;
                p->n_uses[root]++;
            }
}

/* Can node k's output 0 take the bytes of input i? */
static int can_take_over(const planner *p, size_t k, int i)
{
    const lk_graph *g = p->g;
    const lk_node *n = &g->nodes[k];
    const lk_value *out = &g->values[n->out[0]], *in = &g->values[n->in[i]];
    if (p->block_of[in->root] < 0 || p->last_use[in->root] != (int32_t)k ||
        value_bytes(g, in) != value_bytes(g, out) ||
        lk_dtype_bytes(in->dtype) != lk_dtype_bytes(out->dtype) ||
        lk_shape_count(&in->shape) != lk_shape_count(&out->shape))
        return 0;
    for (int j = 0; j < n->n_in; j++) /* the same bytes read in another order would be spoiled */
        if (j != i && n->in[j] >= 0 && g->values[n->in[j]].root == in->root &&
            !lk_shape_equal(&g->values[n->in[j]].shape, &in->shape))
            return 0;
    return 1;
}

static int32_t new_block(planner *p, size_t bytes, int32_t birth)
{
    p->blocks[p->n_blocks] = (block){.bytes = bytes, .birth = birth, .death = birth};
    return (int32_t)p->n_blocks++;
}

/* A gradient that has one reader, the store, is made in the store. */
static int made_in_store(const planner *p, const lk_value *v, int32_t id)
{
    const lk_graph *g = p->g;
    return !g->config.accumulate && !g->config.backend->doubles && v->root == id && !v->pinned &&
           v->leaf == LK_LEAF_NOT && v->dtype == LK_F32 && p->n_uses[id] == 1 &&
           g->nodes[p->last_use[id]].op == LK_OP_PARAM_GRAD;
}

static void find_blocks(planner *p, const size_t *work_bytes)
{
    lk_graph *g = p->g;
    for (size_t k = 0; k < g->n_nodes; k++) {
        const lk_node *n = &g->nodes[k];
        const lk_op_def *def = lk_op_get(n->op);
        if (work_bytes[k])
            new_block(p, round_up(work_bytes[k]), (int32_t)k);
        for (int i = 0; i < n->n_out && !def->is_alias; i++) {
            const int32_t id = n->out[i];
            lk_value *v = id < 0 ? NULL : &g->values[id];
            int32_t b = -1;
            if (!v || v->pinned || v->param >= 0)
                continue;
            if (made_in_store(p, v, id)) {
                v->param = g->nodes[p->last_use[id]].attr.param.param;
                continue;
            }
            for (int j = 0; i == 0 && b < 0 && def->overwrites && j < n->n_in; j++)
                if (n->in[j] >= 0 && can_take_over(p, k, j))
                    b = p->block_of[g->values[n->in[j]].root];
            if (b < 0)
                b = new_block(p, value_bytes(g, v), (int32_t)k);
            p->block_of[id] = b;
            if (p->last_use[id] > p->blocks[b].death)
                p->blocks[b].death = p->last_use[id];
        }
    }
}

static int by_size(const void *pa, const void *pb)
{
    const block *a = *(const block *const *)pa, *b = *(const block *const *)pb;
    if (a->bytes != b->bytes)
        return a->bytes > b->bytes ? -1 : 1;
    return a < b ? -1 : a > b;
}

static int by_offset(const void *pa, const void *pb)
{
    const block *a = *(const block *const *)pa, *b = *(const block *const *)pb;
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static lk_status place(planner *p, size_t *arena_bytes)
{
    lk_status st = LK_OK;
    block **order = NULL, **busy = NULL;
    *arena_bytes = 0;
    LK_TRY(LK_NEW_ARRAY(&order, p->n_blocks));
    LK_TRY(LK_NEW_ARRAY(&busy, p->n_blocks));
    for (size_t i = 0; i < p->n_blocks; i++)
        order[i] = &p->blocks[i];
    qsort(order, p->n_blocks, sizeof *order, by_size);
    for (size_t i = 0; i < p->n_blocks; i++) {
        block *b = order[i];
        size_t n_busy = 0, at = 0;
        for (size_t j = 0; j < i; j++)
            if (order[j]->birth <= b->death && b->birth <= order[j]->death)
                busy[n_busy++] = order[j];
        qsort(busy, n_busy, sizeof *busy, by_offset);
        for (size_t j = 0; j < n_busy && busy[j]->offset < at + b->bytes; j++)
            if (busy[j]->offset + busy[j]->bytes > at)
                at = busy[j]->offset + busy[j]->bytes;
        b->offset = at;
        if (at + b->bytes > *arena_bytes)
            *arena_bytes = at + b->bytes;
    }
done:
    lk_free(order);
    lk_free(busy);
    return st;
}

static int64_t most_alive(const planner *p)
{
    int64_t most = 0;
    for (size_t k = 0; k < p->g->n_nodes; k++) {
        int64_t now = 0;
        for (size_t i = 0; i < p->n_blocks; i++)
            if (p->blocks[i].birth <= (int32_t)k && (int32_t)k <= p->blocks[i].death)
                now += (int64_t)p->blocks[i].bytes;
        most = now > most ? now : most;
    }
    return most;
}

static lk_status place_pinned(lk_graph *g)
{
    lk_status st = LK_OK;
    const lk_backend *be = g->config.backend;
    size_t bytes = 0;
    for (size_t i = 0; i < g->n_values; i++) {
        const lk_value *v = &g->values[i];
        const int holds = v->pinned || (be->doubles && v->param >= 0);
        if (holds && v->root == (int32_t)i && !in_store(g, v))
            bytes += value_bytes(g, v);
    }
    LK_TRY(be->alloc(bytes, &g->pinned));
    g->stats.pinned_bytes = (int64_t)bytes;
    bytes = 0;
    for (size_t i = 0; i < g->n_values; i++) {
        lk_value *v = &g->values[i];
        const int holds = v->pinned || (be->doubles && v->param >= 0);
        if (holds && v->root == (int32_t)i && !in_store(g, v)) {
            v->data = (char *)g->pinned + bytes;
            bytes += value_bytes(g, v);
        }
    }
done:
    return st;
}

/* Addresses for everything, and for the calls' work space. */
static void assign(planner *p, const size_t *work_bytes)
{
    lk_graph *g = p->g;
    size_t next = 0;
    for (size_t i = 0; i < g->n_values; i++) {
        lk_value *v = &g->values[i];
        if (p->block_of[i] >= 0)
            v->data = (char *)g->arena + p->blocks[p->block_of[i]].offset;
        else if (in_store(g, v))
            v->data = lk_params_data(g->config.params, v->param,
                                     v->leaf == LK_LEAF_PARAM ? LK_VALUE : LK_GRAD);
    }
    for (size_t i = 0; i < g->n_values; i++)
        g->values[i].data = g->values[g->values[i].root].data;
    for (size_t k = 0; k < g->n_nodes; k++) {
        if (!work_bytes[k])
            continue;
        while (p->blocks[next].birth != (int32_t)k ||
               p->blocks[next].bytes != round_up(work_bytes[k]))
            next++; /* the first block born at k */
        g->calls[k].work = (char *)g->arena + p->blocks[next++].offset;
    }
}

lk_status lk_graph_plan(lk_graph *g, const size_t *work_bytes)
{
    lk_status st = LK_OK;
    planner p = {.g = g};
    size_t bytes = 0;
    LK_TRY(LK_NEW_ARRAY(&p.blocks, g->n_values + g->n_nodes + 1));
    LK_TRY(LK_NEW_ARRAY(&p.block_of, g->n_values + 1));
    LK_TRY(LK_NEW_ARRAY(&p.last_use, g->n_values + 1));
    LK_TRY(LK_NEW_ARRAY(&p.n_uses, g->n_values + 1));
    for (size_t i = 0; i < g->n_values; i++)
        p.block_of[i] = -1;
    find_uses(&p);
    find_blocks(&p, work_bytes);
    LK_TRY(place(&p, &bytes));
    LK_TRY(g->config.backend->alloc(bytes, &g->arena));
    g->stats.arena_bytes = (int64_t)bytes;
    g->stats.liveness_bytes = most_alive(&p);
    LK_TRY(place_pinned(g));
    assign(&p, work_bytes);
done:
    lk_free(p.blocks);
    lk_free(p.block_of);
    lk_free(p.last_use);
    lk_free(p.n_uses);
    return st;
}
