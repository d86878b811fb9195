/* gradient.c - reverse-mode differentiation by recording.
 *
 * Nodes are visited from the last to the first.  For y = f(x, ...) with dy = d root / d y known,
 * the operation's rule records d root / d x += (df/dx)^T dy.  A value used several times sums what
 * comes back from each use.
 *
 * Checkpointing (Chen et al. 2016): when the visit enters a segment from behind, the segment's
 * nodes are recorded again, and the rules see these copies instead of the originals.  Random
 * numbers are addressed by counter, so a copy draws the same ones.  Copies that nobody needs are
 * dropped when the graph is compiled.
 */
#include "kernels/graph_impl.h"

#include "kernels/mem.h"

/* ---- param_grad: into the store, or added to what is there ---- */

static lk_status param_grad_infer(const lk_call *c, lk_tensor *out)
{
    out[0].dtype = LK_F32;
    out[0].shape = c->in[0].shape;
    return LK_OK;
}

static void param_grad_define(const lk_call *c)
{
    const double *in = c->in[0].data;
    double *out = c->out[0].data;
    for (int64_t i = 0; i < lk_tensor_count(&c->in[0]); i++)
        out[i] = c->graph->config.accumulate ? out[i] + in[i] : in[i];
}

const lk_op_def lk_op_param_grad = {"param_grad",      1,    0,   0, param_grad_infer,
                                    param_grad_define, NULL, NULL};

/* ---- the pass ---- */

typedef struct pass {
    lk_graph *g;
    lk_var *grad;          /* [n] gradient of each value, LK_NONE so far */
    int32_t *stand_in;     /* [n] the value the rules see for each value */
    unsigned char *copied; /* [n_segments] */
    size_t n;              /* values when the pass began */
} pass;

static lk_var seen(const pass *p, int32_t id)
{
    return (lk_var){id < 0 ? -1 : p->stand_in[id]};
}

/* Values that depend on a wanted one; nothing flows through a STOP. */
static void mark_lead(const lk_graph *g, int n_wanted, const lk_var *wanted, unsigned char *lead)
{
    for (int i = 0; i < n_wanted; i++)
        if (!lk_is_none(wanted[i]))
            lead[wanted[i].id] = 1;
    for (size_t k = 0; k < g->n_nodes; k++) {
        const lk_node *n = &g->nodes[k];
        int on = 0;
        if (!lk_op_get(n->op)->gradient)
            continue;
        for (int i = 0; i < n->n_in; i++)
            on |= n->in[i] >= 0 && lead[n->in[i]];
        for (int i = 0; on && i < n->n_out; i++)
            if (n->out[i] >= 0)
                lead[n->out[i]] = 1;
    }
}

static void copy_segment(pass *p, int segment)
{
    lk_graph *g = p->g;
    const size_t n_nodes = g->n_nodes;
    p->copied[segment] = 1;
    for (size_t k = 0; k < n_nodes && g->st == LK_OK; k++) {
        const lk_node n = g->nodes[k];
        lk_var in[LK_MAX_IN], out[LK_MAX_OUT];
        unsigned needed = 0;
        if (n.segment != segment)
            continue;
        for (int i = 0; i < n.n_in; i++)
            in[i] = seen(p, n.in[i]);
        for (int i = 0; i < n.n_out; i++)
            needed |= n.out[i] >= 0 ? 1u << i : 0;
        lk_record(g, n.op, n.n_in, in, &n.attr, needed, out);
        for (int i = 0; i < n.n_out; i++)
            if (n.out[i] >= 0)
                p->stand_in[n.out[i]] = out[i].id;
    }
}

/* A gradient has its value's element type, except on the way to a parameter, where the f32 sums
 * of the products are not rounded before they arrive. */
static lk_var match_type(lk_graph *g, int32_t id, lk_var d)
{
    const lk_value *v = &g->values[id];
    const int from_cast = v->node >= 0 && g->nodes[v->node].op == LK_OP_CAST;
    return from_cast ? d : lk_cast(g, d, v->dtype);
}

static void visit(pass *p, const lk_node *n)
{
    lk_graph *g = p->g;
    lk_var in[LK_MAX_IN], out[LK_MAX_OUT], dout[LK_MAX_OUT], din[LK_MAX_IN];
    int any = 0, flows = 0;
    for (int i = 0; i < LK_MAX_OUT; i++) {
        dout[i] = i < n->n_out && n->out[i] >= 0 ? p->grad[n->out[i]] : LK_NONE;
        any |= !lk_is_none(dout[i]);
    }
    for (int i = 0; i < LK_MAX_IN; i++) {
        din[i] = LK_NONE;
        flows |= i < n->n_in && n->in[i] >= 0 && g->lead[n->in[i]];
    }
    if (!any || !flows || !lk_op_get(n->op)->gradient)
        return;
    if (n->segment >= 0 && !p->copied[n->segment])
        copy_segment(p, n->segment);
    for (int i = 0; i < LK_MAX_IN; i++) {
        in[i] = i < n->n_in ? seen(p, n->in[i]) : LK_NONE;
        /* a stand-in wants a gradient where its original does */
        if (!lk_is_none(in[i]) && in[i].id >= (int32_t)p->n)
            g->values[in[i].id].wants_grad = g->lead[n->in[i]];
    }
    for (int i = 0; i < LK_MAX_OUT; i++)
        out[i] = i < n->n_out ? seen(p, n->out[i]) : LK_NONE;
    lk_op_get(n->op)->gradient(g, n, in, out, dout, din);
    for (int i = 0; i < n->n_in && g->st == LK_OK; i++) {
        const int32_t id = n->in[i];
        if (id < 0 || !g->lead[id] || lk_is_none(din[i]))
            continue;
        din[i] = match_type(g, id, din[i]);
        p->grad[id] = lk_is_none(p->grad[id]) ? din[i] : lk_add(g, p->grad[id], din[i]);
    }
}

void lk_gradients(lk_graph *g, lk_var root, lk_var seed, int n_wanted, const lk_var *wanted,
                  lk_var *grads)
{
    lk_status st = LK_OK;
    pass p = {.g = g, .n = g->n_values};
    const size_t n_nodes = g->n_nodes;
    const int segment = g->segment;
    for (int i = 0; i < n_wanted; i++)
        grads[i] = LK_NONE;
    if (g->st != LK_OK || lk_is_none(root))
        return;
    g->segment = -1;
    LK_TRY(LK_NEW_ARRAY(&p.grad, p.n));
    LK_TRY(LK_NEW_ARRAY(&p.stand_in, p.n));
    LK_TRY(LK_NEW_ARRAY(&p.copied, g->n_segments + 1));
    LK_TRY(LK_NEW_ARRAY(&g->lead, p.n));
    g->n_lead = (int32_t)p.n;
    for (size_t i = 0; i < p.n; i++) {
        p.grad[i] = LK_NONE;
        p.stand_in[i] = (int32_t)i;
    }
    mark_lead(g, n_wanted, wanted, g->lead);
    if (lk_is_none(seed)) {
        double one[1];
        LK_REQUIRE(lk_shape_count(&g->values[root.id].shape) == 1, LK_E_SHAPE,
                   "gradients start at a single number; sum or average the result first");
        lk_convert(g->values[root.id].dtype, one, LK_F64, &(double){1}, 1);
        seed = lk_constant(g, g->values[root.id].dtype, g->values[root.id].shape, one);
    }
    p.grad[root.id] = seed;
    for (size_t k = n_nodes; k-- > 0 && g->st == LK_OK;) {
        const lk_node n = g->nodes[k]; /* a copy: recording moves the array */
        visit(&p, &n);
    }
    for (int i = 0; i < n_wanted && g->st == LK_OK; i++)
        if (!lk_is_none(wanted[i]))
            grads[i] = p.grad[wanted[i].id];
done:
    if (st != LK_OK)
        lk_graph_fail(g, st);
    g->segment = segment;
    lk_free(g->lead);
    g->lead = NULL;
    g->n_lead = 0;
    lk_free(p.grad);
    lk_free(p.stand_in);
    lk_free(p.copied);
}

void lk_backward(lk_graph *g, lk_var root)
{
    lk_status st = LK_OK;
    lk_var *wanted = NULL, *grads = NULL;
    int n = 0;
    const size_t n_values = g->n_values;
    if (g->st != LK_OK)
        return;
    LK_REQUIRE(g->config.train, LK_E_ARG, "lk_backward in a graph that was not made for training");
    LK_TRY(LK_NEW_ARRAY(&wanted, n_values));
    LK_TRY(LK_NEW_ARRAY(&grads, n_values));
    for (size_t i = 0; i < n_values; i++)
        if (g->values[i].leaf == LK_LEAF_PARAM && g->values[i].wants_grad)
            wanted[n++].id = (int32_t)i;
    lk_gradients(g, root, LK_NONE, n, wanted, grads);
    for (int i = 0; i < n && g->st == LK_OK; i++) {
        const lk_attr attr = {.param = {.param = g->values[wanted[i].id].param}};
        const lk_var grad = lk_is_none(grads[i]) ? LK_NONE : lk_cast(g, grads[i], LK_F32);
        if (!lk_is_none(grad)) {
            const lk_var kept = lk_record(g, LK_OP_PARAM_GRAD, 1, &grad, &attr, 0, NULL);
            if (lk_is_none(kept))
                continue;
            g->values[kept.id].param = attr.param.param;
            g->values[kept.id].pinned = g->config.backend->doubles; /* copied after the run */
        }
    }
done:
    if (st != LK_OK)
        lk_graph_fail(g, st);
    lk_free(wanted);
    lk_free(grads);
}
