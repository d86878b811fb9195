/* recompute.c - a lower peak of memory for a little more work.
 *
 * At the moment when most bytes are alive, look for the largest value that nobody reads just then,
 * that one elementwise pass makes, and whose inputs are still there when it is read next: it is
 * made again then, and is not kept in between.  This repeats until the fullest moment holds nothing
 * of the kind.  Results do not change by a bit: the same kernel sees the same numbers.
 */
#include "kernels/graph_impl.h"

#include "kernels/mem.h"

#define LEAST_BYTES 16384 /* a smaller value is not worth a call */

typedef struct search {
    lk_graph *g;
    int32_t *birth, *death; /* [n_values] of roots: node; birth -1: a leaf, or nobody makes it */
    int64_t *alive;         /* [n_nodes] bytes */
    size_t n;               /* values of the arrays above */
} search;

/* One pass over memory. */
static int is_cheap(lk_op op)
{
    switch (op) {
    case LK_OP_ADD:
    case LK_OP_SUB:
    case LK_OP_MUL:
    case LK_OP_DIV:
    case LK_OP_UNARY:
    case LK_OP_SNAKE:
    case LK_OP_GATED_ADD:
    case LK_OP_CAST:
    case LK_OP_PERMUTE:
    case LK_OP_NORM:
    case LK_OP_DROPOUT:
        return 1;
    default:
        return 0;
    }
}

static int64_t bytes_of(const lk_value *v)
{
    return lk_shape_count(&v->shape) * (int64_t)lk_dtype_bytes(v->dtype);
}

static int32_t root_of(const lk_graph *g, int32_t id)
{
    return g->values[id].root;
}

static lk_status find_lives(search *s)
{
    lk_status st = LK_OK;
    lk_graph *g = s->g;
    lk_free(s->birth);
    lk_free(s->death);
    lk_free(s->alive);
    s->birth = s->death = NULL;
    s->alive = NULL;
    s->n = g->n_values;
    LK_TRY(LK_NEW_ARRAY(&s->birth, s->n + 1));
    LK_TRY(LK_NEW_ARRAY(&s->death, s->n + 1));
    LK_TRY(LK_NEW_ARRAY(&s->alive, g->n_nodes + 1));
    for (size_t i = 0; i < s->n; i++)
        s->birth[i] = s->death[i] = -1;
    for (size_t k = 0; k < g->n_nodes; k++) {
        const lk_node *n = &g->nodes[k];
        for (int i = 0; i < n->n_in; i++)
            if (n->in[i] >= 0)
                s->death[root_of(g, n->in[i])] = (int32_t)k;
        for (int i = 0; i < n->n_out; i++)
            if (n->out[i] >= 0 && root_of(g, n->out[i]) == n->out[i])
                s->birth[n->out[i]] = s->death[n->out[i]] = (int32_t)k;
    }
    for (size_t i = 0; i < s->n; i++)
        for (int32_t k = s->birth[i]; k >= 0 && k <= s->death[i] && !g->values[i].pinned; k++)
            s->alive[k] += bytes_of(&g->values[i]);
done:
    return st;
}

/* The first node from `from` on that reads root's bytes; n_nodes: none. */
static size_t next_use(const lk_graph *g, int32_t root, size_t from)
{
    for (size_t k = from; k < g->n_nodes; k++)
        for (int i = 0; i < g->nodes[k].n_in; i++)
            if (g->nodes[k].in[i] >= 0 && root_of(g, g->nodes[k].in[i]) == root)
                return k;
    return g->n_nodes;
}

/* Does everything node n reads still exist when node k begins? */
static int inputs_last(const search *s, const lk_node *n, size_t k)
{
    for (int i = 0; i < n->n_in; i++) {
        const int32_t root = n->in[i] < 0 ? -1 : root_of(s->g, n->in[i]);
        if (root >= 0 && s->g->values[root].leaf == LK_LEAF_NOT && !s->g->values[root].pinned &&
            s->death[root] < (int32_t)k)
            return 0;
    }
    return 1;
}

/* The value to make again, and the node before which; -1: none. */
static int32_t choose(const search *s, size_t *before)
{
    const lk_graph *g = s->g;
    size_t peak = 0;
    int32_t best = -1;
    for (size_t k = 1; k < g->n_nodes; k++)
        peak = s->alive[k] > s->alive[peak] ? k : peak;
    for (size_t i = 0; i < s->n; i++) {
        const lk_value *v = &g->values[i];
        const lk_node *n = s->birth[i] < 0 ? NULL : &g->nodes[s->birth[i]];
        size_t use;
        if (!n || v->pinned || s->birth[i] >= (int32_t)peak || s->death[i] <= (int32_t)peak ||
            !is_cheap(n->op) || n->out[0] != (int32_t)i || bytes_of(v) < LEAST_BYTES ||
            (best >= 0 && bytes_of(v) <= bytes_of(&g->values[best])))
            continue;
        use = next_use(g, (int32_t)i, peak);
        if (use > peak && use < g->n_nodes && inputs_last(s, n, use)) {
            best = (int32_t)i;
            *before = use;
        }
    }
    return best;
}

/* Another value like `id`, made by node k; its root is `root`, or itself (-1). */
static lk_status new_like(lk_graph *g, int32_t id, int32_t root, size_t k, int32_t *out)
{
    lk_status st = LK_OK;
    LK_TRY(LK_GROW(&g->values, &g->cap_values, g->n_values + 1));
    *out = (int32_t)g->n_values;
    g->values[*out] = g->values[id];
    g->values[*out].name = NULL;
    g->values[*out].root = root < 0 ? *out : root;
    g->values[*out].node = (int32_t)k;
    g->n_values++;
done:
    return st;
}

/* Readers from node k on see the copy, or aliases of it, instead. */
static lk_status redirect(lk_graph *g, int32_t old, int32_t copy, size_t k, size_t from)
{
    lk_status st = LK_OK;
    int32_t *alias = NULL; /* [n] the copy's counterpart of an alias */
    const size_t n = g->n_values;
    LK_TRY(LK_NEW_ARRAY(&alias, n));
    for (size_t j = from; j < g->n_nodes; j++) {
        lk_node *node = &g->nodes[j];
        int changed = 0;
        for (int i = 0; i < node->n_in; i++) {
            const int32_t id = node->in[i];
            if (id < 0 || root_of(g, id) != old)
                continue;
            if (id != old && !alias[id])
                LK_TRY(new_like(g, id, copy, k, &alias[id]));
            node->in[i] = id == old ? copy : alias[id];
            changed = 1;
        }
        if (changed && lk_op_get(node->op)->is_alias)
            g->values[node->out[0]].root = copy;
    }
done:
    lk_free(alias);
    return st;
}

static lk_status make_again(lk_graph *g, int32_t id, size_t before)
{
    lk_status st = LK_OK;
    int32_t copy = -1;
    lk_node again = g->nodes[g->values[id].node];
    LK_TRY(LK_GROW(&g->nodes, &g->cap_nodes, g->n_nodes + 1));
    LK_TRY(new_like(g, id, -1, before, &copy));
    for (size_t k = g->n_nodes; k > before; k--)
        g->nodes[k] = g->nodes[k - 1];
    g->n_nodes++;
    again.out[0] = copy;
    for (int i = 1; i < again.n_out; i++)
        again.out[i] = -1;
    g->nodes[before] = again;
    for (size_t k = before + 1; k < g->n_nodes; k++)
        for (int i = 0; i < g->nodes[k].n_out; i++)
            if (g->nodes[k].out[i] >= 0)
                g->values[g->nodes[k].out[i]].node = (int32_t)k;
    LK_TRY(redirect(g, id, copy, before, before + 1));
done:
    return st;
}

/* A ring is written in place, so what was read from it cannot be read again. */
static int has_ring(const lk_graph *g)
{
    for (size_t k = 0; k < g->n_nodes; k++)
        if (g->nodes[k].op == LK_OP_RING)
            return 1;
    return 0;
}

lk_status lk_graph_recompute(lk_graph *g)
{
    lk_status st = LK_OK;
    search s = {.g = g};
    while (!has_ring(g)) {
        int32_t id;
        size_t before = 0;
        LK_TRY(find_lives(&s));
        id = choose(&s, &before);
        if (id < 0)
            break;
        LK_TRY(make_again(g, id, before));
    }
done:
    lk_free(s.birth);
    lk_free(s.death);
    lk_free(s.alive);
    return st;
}
