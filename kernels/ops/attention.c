/* attention.c - attention over the keys that a plan (attention.h) opens to each query.
 *
 *   s_ij   = scale q_i . k_j + b_ij          j in the run of keys of row i
 *   b_ij   = -slope_0 (t_i - t_j) where t_j <= t_i, else -slope_1 (t_j - t_i)
 *   lse_i  = ln sum_j exp s_ij,  p_ij = exp(s_ij - lse_i)
 *   out_i  = sum_j p_ij v_j
 *
 * With g_i the gradient at out_i and h_i the one at lse_i, and e_i = g_i . out_i - h_i:
 *
 *   dv_j   = sum_i p_ij g_i
 *   ds_ij  = p_ij (g_i . v_j - e_i)
 *   dq_i   = scale sum_j ds_ij k_j,  dk_j = scale sum_i ds_ij q_i
 *   dslope_0 = -sum ds_ij (t_i - t_j) over earlier keys, dslope_1 = -sum ds_ij (t_j - t_i) over
 * later
 *
 * Scores are not kept: the gradient computes them again from lse (Dao et al. 2022, algorithms 1,
 * 4). Heads h Hk / H share keys and values; their gradients add up.
 */
#include "kernels/ops/ops_impl.h"

lk_attention_sizes lk_attention_sizes_of(const lk_call *c)
{
    const lk_shape *q = &c->in[0].shape, *k = &c->in[1].shape;
    const double scale = c->node->attr.attention.scale;
    return (lk_attention_sizes){
        .n_batch = q->dim[0],
        .heads = q->dim[1],
        .kv_heads = k->dim[1],
        .n = q->dim[2],
        .m = k->dim[2],
        .d = q->dim[3],
        .plan_rows = lk_has(c, LK_ATTENTION_PLAN) ? c->in[LK_ATTENTION_PLAN].shape.dim[1] : 0,
        .scale = scale > 0 ? scale : 1 / sqrt(q->dim[3] ? (double)q->dim[3] : 1)};
}

static int is_shape(const lk_call *c, int i, lk_dtype dtype, lk_shape s)
{
    return c->in[i].dtype == dtype && lk_shape_equal(&c->in[i].shape, &s);
}

static lk_status check_operands(const lk_call *c)
{
    lk_status st = LK_OK;
    lk_attention_sizes s;
    for (int i = 0; i < 3; i++)
        LK_REQUIRE(lk_is_float(c->in[i].dtype) && c->in[i].dtype == c->in[0].dtype, LK_E_ARG,
                   "attention takes queries, keys and values of one float type");
    if (c->in[0].shape.n_dims != 4 || c->in[1].shape.n_dims != 4 ||
        !lk_shape_equal(&c->in[1].shape, &c->in[2].shape))
        return lk_bad_shapes(c, "needs q [B, H, N, D], k and v [B, Hk, M, D]");
    s = lk_attention_sizes_of(c);
    if (c->in[1].shape.dim[0] != s.n_batch || c->in[1].shape.dim[3] != s.d || s.kv_heads < 1 ||
        s.heads % s.kv_heads || s.d < 1 || s.d > 256)
        return lk_bad_shapes(c, "needs equal B and D <= 256, and heads that share keys evenly");
    if (lk_has(c, LK_ATTENTION_PLAN) &&
        !is_shape(c, LK_ATTENTION_PLAN, LK_I32, LK_SHAPE(s.n_batch, s.n + s.m, 2)) &&
        !is_shape(c, LK_ATTENTION_PLAN, LK_I32, LK_SHAPE(s.n_batch, s.n, 2)))
        return lk_bad_shapes(c, "the plan must be i32 [B, N + M, 2]");
    if (lk_has(c, LK_ATTENTION_SLOPE) &&
        (!is_shape(c, LK_ATTENTION_SLOPE, LK_F32, LK_SHAPE(s.heads, 2)) ||
         !lk_has(c, LK_ATTENTION_TIMES) ||
         !is_shape(c, LK_ATTENTION_TIMES, LK_F32, LK_SHAPE(s.n_batch, s.n + s.m))))
        return lk_bad_shapes(c, "slopes must be f32 [H, 2] with times f32 [B, N + M]");
    LK_REQUIRE(c->node->attr.attention.scale >= 0, LK_E_ARG,
               "attention's scale must be positive, not %g", c->node->attr.attention.scale);
done:
    return st;
}

static lk_status attention_infer(const lk_call *c, lk_tensor *out)
{
    lk_status st = LK_OK;
    LK_TRY(check_operands(c));
    out[0] = c->in[0];
    out[1].dtype = LK_F32;
    out[1].shape = LK_SHAPE(c->in[0].shape.dim[0], c->in[0].shape.dim[1], c->in[0].shape.dim[2]);
done:
    return st;
}

/* One query of one head: where its numbers are, and the keys it sees. */
typedef struct row {
    int64_t b, h, i;       /* sample, head, query */
    int64_t at, kv_at;     /* first number of q's row; of k's and v's head */
    int64_t first, end, m; /* keys first .. end - 1, each mod m */
} row;

static row row_of(const lk_call *c, const lk_attention_sizes *s, int64_t u)
{
    const int32_t *plan = c->in[LK_ATTENTION_PLAN].data;
    row r = {.b = u / s->n / s->heads, .h = u / s->n % s->heads, .i = u % s->n, .m = s->m};
    r.at = u * s->d;
    r.kv_at = (r.b * s->kv_heads + r.h * s->kv_heads / s->heads) * s->m * s->d;
    r.first = plan ? plan[2 * (r.b * s->plan_rows + r.i)] : 0;
    r.end = plan ? plan[2 * (r.b * s->plan_rows + r.i) + 1] : s->m;
    return r;
}

static double dot(const double *a, const double *b, int64_t n)
{
    double x = 0;
    for (int64_t i = 0; i < n; i++)
        x += a[i] * b[i];
    return x;
}

/* t_i - t_j, 0 without slopes. */
static double later_by(const lk_call *c, const lk_attention_sizes *s, const row *r, int64_t j)
{
    const double *times = c->in[LK_ATTENTION_TIMES].data;
    return lk_has(c, LK_ATTENTION_SLOPE)
               ? times[r->b * (s->n + s->m) + r->i] - times[r->b * (s->n + s->m) + s->n + j]
               : 0;
}

static double score(const lk_call *c, const lk_attention_sizes *s, const row *r, int64_t j)
{
    const double *q = c->in[0].data, *k = c->in[1].data, *slope = c->in[LK_ATTENTION_SLOPE].data;
    const double dt = later_by(c, s, r, j);
    const double x = s->scale * dot(q + r->at, k + r->kv_at + j * s->d, s->d);
    return slope ? x - slope[2 * r->h + (dt < 0)] * fabs(dt) : x;
}

static void attention_define(const lk_call *c)
{
    const lk_attention_sizes s = lk_attention_sizes_of(c);
    const double *v = c->in[2].data;
    double *out = c->out[0].data, *lse = c->out[1].data;
    for (int64_t u = 0; u < s.n_batch * s.heads * s.n; u++) {
        const row r = row_of(c, &s, u);
        double most = -INFINITY, sum = 0;
        for (int64_t x = 0; x < s.d; x++)
            out[r.at + x] = 0;
        for (int64_t j = r.first; j < r.end; j++)
            most = fmax(most, score(c, &s, &r, j % s.m));
        for (int64_t j = r.first; j < r.end; j++) {
            const double p = exp(score(c, &s, &r, j % s.m) - most);
            sum += p;
            for (int64_t x = 0; x < s.d; x++)
                out[r.at + x] += p * v[r.kv_at + j % s.m * s.d + x];
        }
        for (int64_t x = 0; x < s.d && sum > 0; x++)
            out[r.at + x] /= sum;
        if (lse)
            lse[u] = sum > 0 ? most + log(sum) : -INFINITY;
    }
}

static void attention_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                               const lk_var *dout, lk_var *din)
{
    lk_var grad_in[LK_MAX_IN], made[LK_MAX_OUT], d = dout[0];
    unsigned needed = 0;
    for (int i = 0; i <= LK_ATTENTION_TIMES; i++)
        grad_in[i] = in[i];
    if (lk_is_none(d)) /* the gradient comes through lse alone */
        d = lk_scale(g, out[0], 0);
    grad_in[LK_ATTENTION_OUT] = out[0];
    grad_in[LK_ATTENTION_LSE] = out[1];
    grad_in[LK_ATTENTION_DOUT] = lk_cast(g, d, lk_var_dtype(g, in[0]));
    grad_in[LK_ATTENTION_DLSE] = dout[1];
    for (int i = 0; i < 3; i++)
        needed |= lk_wants_grad(g, in[i]) ? 1u << i : 0;
    needed |= lk_wants_grad(g, in[LK_ATTENTION_SLOPE]) ? 8u : 0;
    if (!needed)
        return;
    lk_record(g, LK_OP_ATTENTION_GRAD, LK_ATTENTION_DLSE + 1, grad_in, &n->attr, needed, made);
    for (int i = 0; i < 3; i++)
        din[i] = made[i];
    din[LK_ATTENTION_SLOPE] = made[3];
}

/* Multiply-adds of all pairs; with a plan they depend on the batch and are not counted. */
static double attention_flops(const lk_call *c)
{
    const lk_attention_sizes s = lk_attention_sizes_of(c);
    return lk_has(c, LK_ATTENTION_PLAN)
               ? 0
               : 4.0 * (double)(s.n_batch * s.heads) * (double)s.n * (double)s.m * (double)s.d;
}

static double attention_grad_flops(const lk_call *c)
{
    return 2.5 * attention_flops(c);
}

static lk_status attention_grad_infer(const lk_call *c, lk_tensor *out)
{
    lk_status st = LK_OK;
    LK_TRY(check_operands(c));
    if (lk_has(c, LK_ATTENTION_PLAN) &&
        c->in[LK_ATTENTION_PLAN].shape.dim[1] != c->in[0].shape.dim[2] + c->in[1].shape.dim[2])
        return lk_bad_shapes(c, "gradients need a plan with the rows of the keys: [B, N + M, 2]");
    for (int i = 0; i < 3; i++)
        out[i] = c->in[i];
    out[3].dtype = LK_F32;
    out[3].shape = LK_SHAPE(c->in[0].shape.dim[1], 2);
done:
    return st;
}

static void zero(const lk_tensor *t)
{
    double *x = t->data;
    for (int64_t i = 0; x && i < lk_tensor_count(t); i++)
        x[i] = 0;
}

static void add_row(double *to, double weight, const double *from, int64_t n)
{
    for (int64_t i = 0; to && i < n; i++)
        to[i] += weight * from[i];
}

static double *at_row(const lk_tensor *t, int64_t at)
{
    return t->data ? (double *)t->data + at : NULL;
}

static void attention_grad_define(const lk_call *c)
{
    const lk_attention_sizes s = lk_attention_sizes_of(c);
    const double *q = c->in[0].data, *k = c->in[1].data, *v = c->in[2].data;
    const double *out = c->in[LK_ATTENTION_OUT].data, *lse = c->in[LK_ATTENTION_LSE].data;
    const double *dout = c->in[LK_ATTENTION_DOUT].data, *dlse = c->in[LK_ATTENTION_DLSE].data;
    double *dslope = c->out[3].data;
    for (int i = 0; i < 4; i++)
        zero(&c->out[i]);
    for (int64_t u = 0; u < s.n_batch * s.heads * s.n; u++) {
        const row r = row_of(c, &s, u);
        const double e = dot(dout + r.at, out + r.at, s.d) - (dlse ? dlse[u] : 0);
        for (int64_t j = r.first; j < r.end; j++) {
            const int64_t kv = r.kv_at + j * s.d;
            const double p = exp(score(c, &s, &r, j) - lse[u]);
            const double ds = p * (dot(dout + r.at, v + kv, s.d) - e);
            const double dt = later_by(c, &s, &r, j);
            add_row(at_row(&c->out[0], r.at), s.scale * ds, k + kv, s.d);
            add_row(at_row(&c->out[1], kv), s.scale * ds, q + r.at, s.d);
            add_row(at_row(&c->out[2], kv), p, dout + r.at, s.d);
            if (dslope)
                dslope[2 * r.h + (dt < 0)] -= ds * fabs(dt);
        }
    }
}

const lk_op_def lk_op_attention = {
    "attention", 2, 0, 0, attention_infer, attention_define, attention_gradient, attention_flops};
const lk_op_def lk_op_attention_grad = {
    "attention_grad",    4, 0, 0, attention_grad_infer, attention_grad_define, NULL,
    attention_grad_flops};

lk_var lk_attention_sloped(lk_graph *g, lk_var q, lk_var k, lk_var v, lk_var plan, lk_var slope,
                           lk_var times, double scale, lk_var *lse)
{
    const lk_attr attr = {.attention = {scale}};
    const lk_var in[] = {q, k, v, plan, slope, times};
    lk_var out[LK_MAX_OUT] = {LK_NONE, LK_NONE, LK_NONE, LK_NONE};
    if (!lk_is_none(q) && !lk_is_none(k) && !lk_is_none(v))
        lk_record(g, LK_OP_ATTENTION, 6, in, &attr, lse || lk_graph_is_training(g) ? 0 : 1u, out);
    if (lse)
        *lse = out[1];
    return out[0];
}

lk_var lk_attention(lk_graph *g, lk_var q, lk_var k, lk_var v, lk_var plan, double scale,
                    lk_var *lse)
{
    return lk_attention_sloped(g, q, k, v, plan, LK_NONE, LK_NONE, scale, lse);
}
