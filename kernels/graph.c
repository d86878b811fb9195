/* graph.c - recording: values, operations, parameters, scopes.  Nothing is computed here. */
#include "kernels/graph_impl.h"

#include "kernels/mem.h"

#include <stdarg.h>
#include <stdio.h>

static const lk_op_def *const op_table[LK_N_OPS] = {
#define LK_OP(upper, lower, cpu) &lk_op_##lower,
#include "kernels/ops.def"
#undef LK_OP
};

const lk_op_def *lk_op_get(lk_op op)
{
    LK_ASSERT((unsigned)op < LK_N_OPS);
    return op_table[op];
}

void lk_graph_fail(lk_graph *g, lk_status st)
{
    if (g->st == LK_OK)
        g->st = st;
}

int lk_graph_failed(const lk_graph *g)
{
    return g->st != LK_OK;
}

int lk_graph_is_training(const lk_graph *g)
{
    return g->config.train;
}

uint64_t lk_graph_stream(lk_graph *g)
{
    return g->n_streams++;
}

lk_status lk_graph_new(lk_graph **out, const lk_graph_config *config)
{
    lk_status st = LK_OK;
    lk_graph *g = NULL;
    *out = NULL;
    LK_TRY(LK_NEW(&g));
    g->config = *config;
    if (!g->config.backend)
        g->config.backend = lk_backend_cpu();
    g->segment = -1;
    *out = g;
done:
    return st;
}

void lk_graph_free(lk_graph **pg)
{
    lk_graph *g = *pg;
    if (!g)
        return;
    for (size_t i = 0; i < g->n_calls; i++)
        g->config.backend->release(&g->calls[i]);
    for (size_t i = 0; i < g->n_values; i++) {
        lk_free(g->values[i].name);
        lk_free(g->values[i].constant);
    }
    g->config.backend->free(g->arena);
    g->config.backend->free(g->pinned);
    lk_free(g->calls);
    lk_free(g->nodes);
    lk_free(g->values);
    lk_free(g->scope);
    lk_free(g->casts);
    lk_free(g->lead);
    lk_free(g);
    *pg = NULL;
}

/* A fresh value; LK_NONE and a sticky error when memory runs out. */
static lk_var new_value(lk_graph *g, lk_dtype dtype, lk_shape shape)
{
    lk_status st = LK_OK;
    lk_value *v = NULL;
    if (g->st != LK_OK)
        return LK_NONE;
    LK_REQUIRE(!g->compiled, LK_E_ARG, "this graph is compiled; nothing can be added to it");
    LK_TRY(lk_shape_check(&shape, dtype));
    LK_TRY(LK_GROW(&g->values, &g->cap_values, g->n_values + 1));
    v = &g->values[g->n_values];
    *v = (lk_value){
        .dtype = dtype, .shape = shape, .node = -1, .root = (int32_t)g->n_values, .param = -1};
    g->n_values++;
done:
    if (st != LK_OK) {
        lk_graph_fail(g, st);
        return LK_NONE;
    }
    return (lk_var){(int32_t)(g->n_values - 1)};
}

/* "scope.name" into a buffer of its own. */
static lk_status full_name(const lk_graph *g, const char *name, char **out)
{
    lk_status st = LK_OK;
    const size_t n = g->n_scopes ? strlen(g->scope) : 0;
    char *text = NULL;
    LK_TRY(LK_NEW_ARRAY(&text, n + strlen(name) + 1));
    if (n)
        memcpy(text, g->scope, n);
    memcpy(text + n, name, strlen(name) + 1);
    *out = text;
done:
    return st;
}

lk_var lk_input(lk_graph *g, const char *name, lk_dtype dtype, lk_shape shape)
{
    const lk_var v = new_value(g, dtype, shape);
    if (lk_is_none(v))
        return v;
    g->values[v.id].leaf = LK_LEAF_INPUT;
    g->values[v.id].pinned = 1;
    lk_name(g, v, name);
    return v;
}

void lk_want_grad(lk_graph *g, lk_var v)
{
    if (!lk_is_none(v))
        g->values[v.id].wants_grad = 1;
}

lk_var lk_constant(lk_graph *g, lk_dtype dtype, lk_shape shape, const void *data)
{
    const lk_var v = new_value(g, dtype, shape);
    lk_value *value;
    size_t bytes;
    lk_status st = LK_OK;
    if (lk_is_none(v))
        return v;
    value = &g->values[v.id];
    value->leaf = LK_LEAF_CONST;
    value->pinned = 1;
    bytes = (size_t)lk_shape_count(&shape) * lk_dtype_bytes(dtype);
    LK_TRY(lk_alloc_(bytes, 1, &value->constant));
    memcpy(value->constant, data, bytes);
done:
    if (st != LK_OK) {
        lk_graph_fail(g, st);
        return LK_NONE;
    }
    return v;
}

lk_var lk_param(lk_graph *g, const char *name, lk_shape shape, lk_init init, double scale)
{
    lk_status st = LK_OK;
    char *full = NULL;
    int index = -1;
    lk_var v = LK_NONE;
    if (g->st != LK_OK)
        return LK_NONE;
    LK_REQUIRE(g->config.params, LK_E_ARG, "parameter '%s' in a graph without a parameter store",
               name);
    LK_TRY(full_name(g, name, &full));
    LK_TRY(lk_params_add(g->config.params, full, shape, (int)init, scale, &index));
    for (size_t i = 0; i < g->n_values && lk_is_none(v); i++)
        if (g->values[i].leaf == LK_LEAF_PARAM && g->values[i].param == index &&
            g->values[i].wants_grad == !g->frozen)
            v.id = (int32_t)i;
    if (lk_is_none(v)) {
        v = new_value(g, LK_F32, shape);
        LK_REQUIRE(!lk_is_none(v), g->st, "%s", lk_error_text());
        g->values[v.id].leaf = LK_LEAF_PARAM;
        g->values[v.id].param = index;
        g->values[v.id].wants_grad = !g->frozen;
        g->values[v.id].name = full;
        full = NULL;
    }
done:
    lk_free(full);
    if (st != LK_OK)
        lk_graph_fail(g, st);
    return v;
}

lk_var lk_weight(lk_graph *g, const char *name, lk_shape shape, lk_init init, double scale)
{
    lk_status st = LK_OK;
    const lk_var p = lk_param(g, name, shape, init, scale);
    const int segment = g->segment;
    lk_var c;
    if (lk_is_none(p) || g->config.compute == LK_F32)
        return p;
    for (size_t i = 0; i < g->n_casts; i++)
        if (g->casts[2 * i] == p.id)
            return (lk_var){g->casts[2 * i + 1]};
    g->segment = -1; /* cast once, not again in every recomputation */
    c = lk_cast(g, p, g->config.compute);
    g->segment = segment;
    LK_TRY(LK_GROW(&g->casts, &g->cap_casts, 2 * (g->n_casts + 1)));
    g->casts[2 * g->n_casts] = p.id;
    g->casts[2 * g->n_casts + 1] = c.id;
    g->n_casts++;
done:
    if (st != LK_OK)
        lk_graph_fail(g, st);
    return c;
}

void lk_scope(lk_graph *g, const char *format, ...)
{
    char part[128];
    va_list args;
    lk_status st = LK_OK;
    size_t n;
    if (g->st != LK_OK)
        return;
    va_start(args, format);
    vsnprintf(part, sizeof part, format, args);
    va_end(args);
    LK_ASSERT(g->n_scopes < (int)(sizeof g->scope_start / sizeof g->scope_start[0]));
    n = g->n_scopes ? strlen(g->scope) : 0;
    LK_TRY(LK_GROW(&g->scope, &g->cap_scope, n + strlen(part) + 2));
    g->scope_start[g->n_scopes++] = (int)n;
    snprintf(g->scope + n, g->cap_scope - n, "%s.", part);
done:
    if (st != LK_OK)
        lk_graph_fail(g, st);
}

void lk_scope_end(lk_graph *g)
{
    if (g->st != LK_OK)
        return;
    LK_ASSERT(g->n_scopes > 0);
    g->scope[g->scope_start[--g->n_scopes]] = '\0';
}

void lk_freeze(lk_graph *g, int frozen)
{
    g->frozen = frozen != 0;
}

void lk_name(lk_graph *g, lk_var v, const char *name)
{
    lk_status st = LK_OK;
    char *text = NULL;
    if (lk_is_none(v))
        return;
    LK_TRY(full_name(g, name, &text));
    lk_free(g->values[v.id].name);
    g->values[v.id].name = text;
done:
    if (st != LK_OK)
        lk_graph_fail(g, st);
}

void lk_output(lk_graph *g, const char *name, lk_var v)
{
    if (lk_is_none(v))
        return;
    lk_name(g, v, name);
    g->values[g->values[v.id].root].pinned = 1;
    g->values[v.id].pinned = 1;
}

void lk_checkpoint_begin(lk_graph *g)
{
    LK_ASSERT(g->segment < 0);
    g->segment = g->n_segments++;
}

void lk_checkpoint_end(lk_graph *g)
{
    LK_ASSERT(g->segment >= 0);
    g->segment = -1;
}

lk_dtype lk_graph_compute_dtype(const lk_graph *g)
{
    return g->config.compute;
}

lk_dtype lk_var_dtype(const lk_graph *g, lk_var v)
{
    return lk_is_none(v) ? LK_F32 : g->values[v.id].dtype;
}

lk_shape lk_var_shape(const lk_graph *g, lk_var v)
{
    return lk_is_none(v) ? (lk_shape){0} : g->values[v.id].shape;
}

int64_t lk_var_dim(const lk_graph *g, lk_var v, int i)
{
    const lk_shape s = lk_var_shape(g, v);
    const int at = i < 0 ? s.n_dims + i : i;
    return at < 0 || at >= s.n_dims ? 0 : s.dim[at];
}

lk_var lk_graph_find(const lk_graph *g, const char *name)
{
    for (size_t i = 0; i < g->n_values; i++)
        if (g->values[i].pinned && g->values[i].name && strcmp(g->values[i].name, name) == 0)
            return (lk_var){(int32_t)i};
    return LK_NONE;
}

int lk_wants_grad(const lk_graph *g, lk_var v)
{
    if (lk_is_none(v))
        return 0;
    return g->lead && v.id < g->n_lead ? g->lead[v.id] : g->values[v.id].wants_grad;
}

/* The inputs of a node as tensors without data. */
static void call_of(const lk_graph *g, const lk_node *n, lk_call *c)
{
    *c = (lk_call){.node = n, .graph = g, .seed = g->config.seed, .step = &g->step};
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] >= 0) {
            c->in[i].dtype = g->values[n->in[i]].dtype;
            c->in[i].shape = g->values[n->in[i]].shape;
        }
    for (int i = 0; i < n->n_out; i++)
        if (n->out[i] >= 0) {
            c->out[i].dtype = g->values[n->out[i]].dtype;
            c->out[i].shape = g->values[n->out[i]].shape;
        }
}

void lk_graph_call(const lk_graph *g, const lk_node *n, lk_call *c)
{
    call_of(g, n, c);
}

lk_var lk_record(lk_graph *g, lk_op op, int n_in, const lk_var *in, const lk_attr *attr,
                 unsigned out_needed, lk_var *outs)
{
    const lk_op_def *def = lk_op_get(op);
    lk_status st = LK_OK;
    lk_node node = {.op = op, .n_in = n_in, .n_out = def->n_out, .segment = g->segment};
    lk_var made[LK_MAX_OUT];
    lk_tensor out[LK_MAX_OUT] = {{0}};
    lk_call call;
    int wants = 0;
    for (int i = 0; i < LK_MAX_OUT; i++) {
        made[i] = LK_NONE;
        node.out[i] = -1;
    }
    if (g->st != LK_OK)
        goto done;
    LK_ASSERT(n_in <= LK_MAX_IN);
    for (int i = 0; i < LK_MAX_IN; i++) {
        node.in[i] = i < n_in ? in[i].id : -1;
        if (node.in[i] >= 0 && lk_wants_grad(g, in[i]))
            wants = 1;
    }
    if (attr)
        node.attr = *attr;
    call_of(g, &node, &call);
    LK_TRY(def->infer(&call, out));
    LK_TRY(LK_GROW(&g->nodes, &g->cap_nodes, g->n_nodes + 1));
    for (int i = 0; i < def->n_out; i++) {
        if (out_needed && !(out_needed >> i & 1))
            continue;
        made[i] = new_value(g, out[i].dtype, out[i].shape);
        LK_TRY(g->st);
        g->values[made[i].id].node = (int32_t)g->n_nodes;
        g->values[made[i].id].wants_grad = wants && def->gradient;
        if (def->is_alias)
            g->values[made[i].id].root = g->values[in[0].id].root;
        node.out[i] = made[i].id;
    }
    g->nodes[g->n_nodes++] = node;
done:
    if (st != LK_OK)
        lk_graph_fail(g, st);
    if (outs)
        memcpy(outs, made, sizeof made);
    return made[0];
}
