/* past.c - see past.h.
 *
 * Each join is an input "past<i>" and an output "past<i>.next", the last n steps of the joined
 * sequence; advancing copies the second over the first.
 */
#include "kernels/past.h"

#include "kernels/graph_impl.h"
#include "kernels/mem.h"
#include "kernels/ops.h"

#include <stdio.h>
#include <string.h>

enum { MOST_JOINS = 256 };

typedef struct kept {
    lk_var now, next;
    lk_dtype dtype;
    int64_t bytes;
} kept;

struct lk_past {
    lk_graph *graph;
    int n;
    int64_t largest;
    void *room;
    kept join[MOST_JOINS];
};

lk_status lk_past_new(lk_past **out, lk_graph *g)
{
    lk_status st = LK_OK;
    LK_REQUIRE(out && g, LK_E_ARG, "lk_past_new needs a graph");
    LK_TRY(LK_NEW(out));
    (*out)->graph = g;
done:
    return st;
}

void lk_past_free(lk_past **p)
{
    if (p && *p) {
        lk_free((*p)->room);
        lk_free(*p);
        *p = NULL;
    }
}

lk_var lk_past_join(lk_past *p, lk_graph *g, lk_var x, int64_t n)
{
    lk_shape s = lk_var_shape(g, x);
    lk_var both;
    char name[32];
    if (n == 0 || lk_is_none(x))
        return x;
    if (!p)
        return lk_pad(g, x, 1, n, 0);
    if (p->n == MOST_JOINS || s.n_dims < 2 || g != p->graph) {
        lk_graph_fail(
            g, LK_FAIL(LK_E_ARG, "past: at most %d joins of [B, T, ...] in one graph", MOST_JOINS));
        return LK_NONE;
    }
    kept *k = &p->join[p->n];
    s.dim[1] = n;
    k->dtype = lk_var_dtype(g, x);
    k->bytes = lk_shape_count(&s) * (int64_t)lk_dtype_bytes(k->dtype);
    snprintf(name, sizeof name, "past%d", p->n);
    k->now = lk_input(g, name, k->dtype, s);
    both = lk_concat(g, 2, (const lk_var[]){k->now, x}, 1);
    k->next = lk_slice(g, both, 1, lk_var_dim(g, x, 1), n);
    snprintf(name, sizeof name, "past%d.next", p->n);
    lk_output(g, name, k->next);
    p->largest = k->bytes > p->largest ? k->bytes : p->largest;
    p->n++;
    return both;
}

static lk_status make_room(lk_past *p)
{
    return p->room || p->n == 0 ? LK_OK : lk_alloc_(1, (size_t)p->largest, &p->room);
}

lk_status lk_past_advance(lk_past *p)
{
    lk_status st = LK_OK;
    for (int i = 0; i < p->n; i++)
        LK_TRY(lk_graph_copy(p->graph, p->join[i].now, p->join[i].next));
done:
    return st;
}

lk_status lk_past_reset(lk_past *p)
{
    lk_status st = LK_OK;
    LK_TRY(make_room(p));
    if (p->room)
        memset(p->room, 0, (size_t)p->largest);
    for (int i = 0; i < p->n; i++)
        LK_TRY(lk_graph_write(p->graph, p->join[i].now, p->join[i].dtype, p->room));
done:
    return st;
}

lk_status lk_past_save(const lk_past *p, void *bytes)
{
    lk_status st = LK_OK;
    char *at = bytes;
    for (int i = 0; i < p->n; at += p->join[i++].bytes)
        LK_TRY(lk_graph_read(p->graph, p->join[i].now, p->join[i].dtype, at));
done:
    return st;
}

lk_status lk_past_load(lk_past *p, const void *bytes)
{
    lk_status st = LK_OK;
    const char *at = bytes;
    for (int i = 0; i < p->n; at += p->join[i++].bytes)
        LK_TRY(lk_graph_write(p->graph, p->join[i].now, p->join[i].dtype, at));
done:
    return st;
}

int64_t lk_past_bytes(const lk_past *p)
{
    int64_t sum = 0;
    for (int i = 0; i < p->n; i++)
        sum += p->join[i].bytes;
    return sum;
}
