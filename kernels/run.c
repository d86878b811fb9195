/* run.c - from a recorded graph to calls, and back: compile, write, run, read. */
#include "kernels/graph_impl.h"

#include "kernels/mem.h"

#include <stdio.h>

/* Drop nodes whose results nobody reads. */
static lk_status drop_unused(lk_graph *g)
{
    lk_status st = LK_OK;
    unsigned char *needed = NULL;
    size_t kept = 0;
    LK_TRY(LK_NEW_ARRAY(&needed, g->n_values + 1));
    for (size_t i = 0; i < g->n_values; i++)
        needed[i] = g->values[i].pinned && g->values[i].leaf == LK_LEAF_NOT;
    for (size_t k = g->n_nodes; k-- > 0;) {
        lk_node *n = &g->nodes[k];
        int alive = n->op == LK_OP_PARAM_GRAD;
        for (int i = 0; i < n->n_out; i++)
            alive |= n->out[i] >= 0 && needed[n->out[i]];
        for (int i = 0; alive && i < n->n_in; i++)
            if (n->in[i] >= 0)
                needed[n->in[i]] = 1;
        if (!alive)
            n->op = LK_N_OPS;
    }
    for (size_t k = 0; k < g->n_nodes; k++) {
        if (g->nodes[k].op == LK_N_OPS)
            continue;
        g->nodes[kept] = g->nodes[k];
        for (int i = 0; i < g->nodes[kept].n_out; i++)
            if (g->nodes[kept].out[i] >= 0)
                g->values[g->nodes[kept].out[i]].node = (int32_t)kept;
        kept++;
    }
    g->n_nodes = kept;
done:
    lk_free(needed);
    return st;
}

static void fill_call(lk_graph *g, const lk_node *n, lk_call *c)
{
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] >= 0)
            c->in[i].data = g->values[n->in[i]].data;
    for (int i = 0; i < n->n_out; i++)
        if (n->out[i] >= 0)
            c->out[i].data = g->values[n->out[i]].data;
}

static void hold_as(const lk_graph *g, lk_call *c)
{
    for (int i = 0; i < LK_MAX_IN; i++)
        c->in[i].dtype = lk_graph_held_dtype(g, c->in[i].dtype);
    for (int i = 0; i < LK_MAX_OUT; i++)
        c->out[i].dtype = lk_graph_held_dtype(g, c->out[i].dtype);
}

static lk_status upload_constants(lk_graph *g)
{
    lk_status st = LK_OK;
    for (size_t i = 0; i < g->n_values; i++)
        if (g->values[i].leaf == LK_LEAF_CONST)
            LK_TRY(
                lk_graph_write(g, (lk_var){(int32_t)i}, g->values[i].dtype, g->values[i].constant));
done:
    return st;
}

lk_status lk_graph_compile(lk_graph *g)
{
    lk_status st = LK_OK;
    size_t *work_bytes = NULL;
    int trains = 0;
    if (g->st != LK_OK)
        return g->st;
    LK_REQUIRE(!g->compiled, LK_E_ARG, "this graph is compiled already");
    LK_TRY(drop_unused(g));
    if (g->config.recompute)
        LK_TRY(lk_graph_recompute(g));
    LK_TRY(LK_NEW_ARRAY(&work_bytes, g->n_nodes + 1));
    LK_TRY(LK_NEW_ARRAY(&g->calls, g->n_nodes + 1));
    for (size_t k = 0; k < g->n_nodes; k++) {
        const lk_op_def *def = lk_op_get(g->nodes[k].op);
        lk_graph_call(g, &g->nodes[k], &g->calls[k]);
        if (def->flops)
            g->stats.flops += def->flops(&g->calls[k]);
        hold_as(g, &g->calls[k]);
        g->n_calls = k + 1;
        LK_TRY(g->config.backend->prepare(&g->calls[k], &work_bytes[k]));
        trains |= g->nodes[k].op == LK_OP_PARAM_GRAD;
    }
    if (trains)
        LK_TRY(lk_params_need(g->config.params, LK_GRAD));
    LK_TRY(lk_graph_plan(g, work_bytes));
    for (size_t k = 0; k < g->n_nodes; k++)
        fill_call(g, &g->nodes[k], &g->calls[k]);
    g->compiled = 1;
    g->stats.n_nodes = (int)g->n_nodes;
    g->stats.n_values = (int)g->n_values;
    LK_TRY(upload_constants(g));
done:
    lk_free(work_bytes);
    return st;
}

/* Is v there to be read or written from outside? */
static lk_status reachable(const lk_graph *g, lk_var v)
{
    lk_status st = LK_OK;
    LK_REQUIRE(g->compiled, LK_E_ARG, "the graph is not compiled");
    LK_REQUIRE(!lk_is_none(v) && (size_t)v.id < g->n_values, LK_E_ARG, "no such value");
    LK_REQUIRE(g->values[g->values[v.id].root].pinned, LK_E_ARG,
               "value '%s' is not kept after the run; mark it with lk_output",
               g->values[v.id].name ? g->values[v.id].name : "?");
done:
    return st;
}

lk_status lk_graph_write(lk_graph *g, lk_var v, lk_dtype dtype, const void *data)
{
    lk_status st = LK_OK;
    void *staged = NULL;
    const lk_backend *be = g->config.backend;
    lk_dtype held;
    int64_t n;
    LK_TRY(reachable(g, v));
    held = lk_graph_held_dtype(g, g->values[v.id].dtype);
    n = lk_shape_count(&g->values[v.id].shape);
    if (be->is_host) {
        lk_convert(held, g->values[v.id].data, dtype, data, n);
    } else if (held == dtype) {
        LK_TRY(be->upload(g->values[v.id].data, data, (size_t)n * lk_dtype_bytes(held)));
    } else {
        LK_TRY(lk_alloc_((size_t)n, lk_dtype_bytes(held), &staged));
        lk_convert(held, staged, dtype, data, n);
        LK_TRY(be->upload(g->values[v.id].data, staged, (size_t)n * lk_dtype_bytes(held)));
    }
done:
    lk_free(staged);
    return st;
}

lk_status lk_graph_read(const lk_graph *g, lk_var v, lk_dtype dtype, void *data)
{
    lk_status st = LK_OK;
    void *staged = NULL;
    const lk_backend *be = g->config.backend;
    lk_dtype held;
    int64_t n;
    LK_TRY(reachable(g, v));
    held = lk_graph_held_dtype(g, g->values[v.id].dtype);
    n = lk_shape_count(&g->values[v.id].shape);
    if (be->is_host) {
        lk_convert(dtype, data, held, g->values[v.id].data, n);
    } else if (held == dtype) {
        LK_TRY(be->download(data, g->values[v.id].data, (size_t)n * lk_dtype_bytes(held)));
    } else {
        LK_TRY(lk_alloc_((size_t)n, lk_dtype_bytes(held), &staged));
        LK_TRY(be->download(staged, g->values[v.id].data, (size_t)n * lk_dtype_bytes(held)));
        lk_convert(dtype, data, held, staged, n);
    }
done:
    lk_free(staged);
    return st;
}

lk_status lk_graph_copy(lk_graph *g, lk_var to, lk_var from)
{
    lk_status st = LK_OK;
    const lk_value *x, *y;
    LK_TRY(reachable(g, from));
    LK_TRY(reachable(g, to));
    x = &g->values[from.id];
    y = &g->values[to.id];
    LK_REQUIRE(y->leaf == LK_LEAF_INPUT && x->dtype == y->dtype &&
                   lk_shape_equal(&x->shape, &y->shape),
               LK_E_SHAPE, "only an input of the same type and shape can take over a value");
    LK_TRY(g->config.backend->copy(y->data, x->data,
                                   (size_t)lk_shape_count(&x->shape) *
                                       lk_dtype_bytes(lk_graph_held_dtype(g, x->dtype))));
done:
    return st;
}

void *lk_graph_data(const lk_graph *g, lk_var v)
{
    return g->compiled && g->config.backend->is_host && !lk_is_none(v) &&
                   g->values[g->values[v.id].root].pinned
               ? g->values[v.id].data
               : NULL;
}

/* The reference holds parameters as doubles of its own. */
static lk_status exchange_params(lk_graph *g, int after)
{
    lk_status st = LK_OK;
    if (!g->config.backend->doubles)
        return LK_OK;
    for (size_t i = 0; i < g->n_values; i++) {
        lk_value *v = &g->values[i];
        if (!after && v->leaf == LK_LEAF_PARAM)
            LK_TRY(lk_params_read(g->config.params, v->param, LK_VALUE, LK_F64, v->data));
        else if (after && v->leaf == LK_LEAF_NOT && v->param >= 0)
            LK_TRY(lk_params_write(g->config.params, v->param, LK_GRAD, LK_F64, v->data));
        else if (!after && v->leaf == LK_LEAF_NOT && v->param >= 0)
            LK_TRY(lk_params_read(g->config.params, v->param, LK_GRAD, LK_F64, v->data));
    }
done:
    return st;
}

lk_status lk_graph_run(lk_graph *g, uint64_t step)
{
    lk_status st = LK_OK;
    LK_REQUIRE(g->compiled, LK_E_ARG, "the graph is not compiled");
    g->step = step;
    LK_TRY(exchange_params(g, 0));
    LK_TRY(g->config.backend->run(g->calls, (int)g->n_calls, g->config.check_finite));
    LK_TRY(exchange_params(g, 1));
done:
    return st;
}

void lk_graph_check_finite(lk_graph *g, int check)
{
    g->config.check_finite = check;
}

lk_graph_stats lk_graph_get_stats(const lk_graph *g)
{
    return g->stats;
}

const char *lk_call_value_name(const lk_call *c, int out, char *text, size_t n)
{
    const lk_graph *g = c->graph;
    const int32_t id = c->node->out[out];
    if (id >= 0 && g->values[id].name)
        snprintf(text, n, "%s", g->values[id].name);
    else
        snprintf(text, n, "%s (value %d)", lk_op_get(c->node->op)->name, (int)id);
    return text;
}

void lk_graph_print(const lk_graph *g, void (*line)(void *user, const char *text), void *user)
{
    for (size_t k = 0; k < g->n_nodes; k++) {
        const lk_node *n = &g->nodes[k];
        char text[1024], shape[LK_SHAPE_TEXT];
        int at = snprintf(text, sizeof text, "%-4zu %-14s", k, lk_op_get(n->op)->name);
        for (int i = 0; i < n->n_in + n->n_out; i++) {
            const int32_t id = i < n->n_in ? n->in[i] : n->out[i - n->n_in];
            if (id < 0 || at > 800)
                continue;
            at += snprintf(text + at, sizeof text - (size_t)at, " %s%s%s %s",
                           i == n->n_in ? "-> " : "", lk_dtype_name(g->values[id].dtype),
                           lk_shape_text(&g->values[id].shape, shape),
                           g->values[id].name ? g->values[id].name : "");
        }
        line(user, text);
    }
}
