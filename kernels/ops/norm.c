/* norm.c - normalisation.
 *
 *   A set S of n numbers x_i is normalised together: a row of C (layer, RMS), or the C / n_groups
 *   channels of a group over all places of a sample (group; Wu, He 2018).
 *
 *   m  = mean of x over S (RMS: 0; Zhang, Sennrich 2019)
 *   r  = 1 / sqrt(mean of (x - m)^2 over S + eps)
 *   z  = (x - m) r,   y = z gamma + beta
 *
 *   with h = dy gamma, sums over S:
 *   dx = r (h - sum h / n - z sum h z / n)                              (RMS: without sum h / n)
 *   dgamma = sum dy z,  dbeta = sum dy, over everything one gamma serves
 */
#include "kernels/ops/ops_impl.h"

lk_norm_sizes lk_norm_sizes_of(const lk_call *c)
{
    const lk_shape *s = &c->in[0].shape;
    lk_norm_sizes z = {.channels = lk_last(s), .groups = c->node->attr.norm.groups};
    z.samples = s->n_dims > 1 ? s->dim[0] : 1;
    z.rows = z.samples ? lk_rows(s) / z.samples : 0;
    return z;
}

/* 1 for [C], 2 for [B, C], 0 for anything else. */
static int scale_dims(const lk_tensor *t, const lk_norm_sizes *z)
{
    const lk_shape *s = &t->shape;
    if (s->n_dims == 1 && s->dim[0] == z->channels)
        return 1;
    return s->n_dims == 2 && s->dim[0] == z->samples && s->dim[1] == z->channels ? 2 : 0;
}

static lk_status norm_infer(const lk_call *c, lk_tensor *out)
{
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    const lk_shape *s = &c->in[0].shape;
    const int group = c->node->attr.norm.kind == LK_GROUP_NORM;
    if (!lk_is_float(c->in[0].dtype) || s->n_dims < 1)
        return LK_FAIL(LK_E_ARG, "norm needs floats with a dimension of channels");
    if (group && (z.groups < 1 || z.channels % z.groups))
        return LK_FAIL(LK_E_ARG, "norm: %lld channels do not divide into %lld groups",
                       (long long)z.channels, (long long)z.groups);
    for (int i = 1; i < 3; i++)
        if (lk_has(c, i) && (!scale_dims(&c->in[i], &z) || c->in[i].dtype != LK_F32))
            return lk_bad_shapes(c, "gamma and beta must be f32 of [C] or [B, C]");
    out[0].dtype = c->in[0].dtype;
    out[0].shape = *s;
    for (int i = 1; i < 3; i++) {
        out[i].dtype = LK_F32;
        out[i].shape = group ? LK_SHAPE(z.samples, z.groups) : LK_SHAPE(z.samples * z.rows);
    }
    return LK_OK;
}

/* Which set an element belongs to. */
static int64_t set_of(const lk_norm_sizes *z, int group, int64_t i)
{
    if (!group)
        return i / z->channels;
    return i / (z->rows * z->channels) * z->groups + i % z->channels / (z->channels / z->groups);
}

/* Where an element's gamma or beta stands; shape [C] or [B, C]. */
static int64_t scale_at(const lk_norm_sizes *z, int n_dims, int64_t i)
{
    const int64_t sample = n_dims == 2 ? i / (z->rows * z->channels) : 0;
    return sample * z->channels + i % z->channels;
}

/* norm (x, gamma, beta) -> y, mean, r */
static void norm_define(const lk_call *c)
{
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    const lk_norm_kind kind = c->node->attr.norm.kind;
    const int group = kind == LK_GROUP_NORM;
    const int64_t total = lk_tensor_count(&c->in[0]);
    const int64_t n_sets = group ? z.samples * z.groups : z.samples * z.rows;
    const double n = (double)(n_sets ? total / n_sets : 0);
    const double *x = c->in[0].data, *gamma = c->in[1].data, *beta = c->in[2].data;
    double *y = c->out[0].data;
    for (int64_t set = 0; set < n_sets; set++) {
        const int64_t first = group ? set / z.groups * z.rows * z.channels : set * z.channels;
        const int64_t end = first + (group ? z.rows : 1) * z.channels;
        double mean = 0, square = 0, r;
        for (int64_t i = first; kind != LK_RMS_NORM && i < end; i++)
            mean += set_of(&z, group, i) == set ? x[i] / n : 0;
        for (int64_t i = first; i < end; i++)
            square += set_of(&z, group, i) == set ? (x[i] - mean) * (x[i] - mean) / n : 0;
        r = 1 / sqrt(square + c->node->attr.norm.eps);
        for (int64_t i = first; i < end; i++)
            if (set_of(&z, group, i) == set)
                y[i] = (x[i] - mean) * r *
                           (gamma ? gamma[scale_at(&z, c->in[1].shape.n_dims, i)] : 1) +
                       (beta ? beta[scale_at(&z, c->in[2].shape.n_dims, i)] : 0);
        if (c->out[1].data)
            ((double *)c->out[1].data)[set] = mean;
        if (c->out[2].data)
            ((double *)c->out[2].data)[set] = r;
    }
}

/* norm_grad (x, gamma, dy, mean, r) -> dx, dgamma, dbeta */
static lk_status norm_grad_infer(const lk_call *c, lk_tensor *out)
{
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    out[0].dtype = c->in[0].dtype;
    out[0].shape = c->in[0].shape;
    for (int i = 1; i < 3; i++) {
        const int n_dims =
            i == 1 ? c->node->attr.norm.n_gamma_dims : c->node->attr.norm.n_beta_dims;
        out[i].dtype = LK_F32;
        out[i].shape = n_dims == 2 ? LK_SHAPE(z.samples, z.channels) : LK_SHAPE(z.channels);
    }
    return LK_OK;
}

static void norm_grad_define(const lk_call *c)
{
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    const lk_norm_kind kind = c->node->attr.norm.kind;
    const int group = kind == LK_GROUP_NORM;
    const int64_t total = lk_tensor_count(&c->in[0]);
    const int64_t n_sets = group ? z.samples * z.groups : z.samples * z.rows;
    const double n = (double)(n_sets ? total / n_sets : 0);
    const double *x = c->in[0].data, *gamma = c->in[1].data, *dy = c->in[2].data;
    const double *mean = c->in[3].data, *r = c->in[4].data;
    double *dx = c->out[0].data, *dgamma = c->out[1].data, *dbeta = c->out[2].data;
    for (int64_t i = 0; dgamma && i < lk_tensor_count(&c->out[1]); i++)
        dgamma[i] = 0;
    for (int64_t i = 0; dbeta && i < lk_tensor_count(&c->out[2]); i++)
        dbeta[i] = 0;
    for (int64_t set = 0; set < n_sets; set++) {
        const int64_t first = group ? set / z.groups * z.rows * z.channels : set * z.channels;
        const int64_t end = first + (group ? z.rows : 1) * z.channels;
        const double m = mean ? mean[set] : 0;
        double sum_h = 0, sum_hz = 0;
        for (int64_t i = first; i < end; i++) {
            const double zi = (x[i] - m) * r[set];
            const double h = dy[i] * (gamma ? gamma[scale_at(&z, c->in[1].shape.n_dims, i)] : 1);
            if (set_of(&z, group, i) != set)
                continue;
            sum_h += kind == LK_RMS_NORM ? 0 : h;
            sum_hz += h * zi;
            if (dgamma)
                dgamma[scale_at(&z, c->out[1].shape.n_dims, i)] += dy[i] * zi;
            if (dbeta)
                dbeta[scale_at(&z, c->out[2].shape.n_dims, i)] += dy[i];
        }
        for (int64_t i = first; dx && i < end; i++) {
            const double h = dy[i] * (gamma ? gamma[scale_at(&z, c->in[1].shape.n_dims, i)] : 1);
            if (set_of(&z, group, i) == set)
                dx[i] = r[set] * (h - sum_h / n - (x[i] - m) * r[set] * sum_hz / n);
        }
    }
}

static void norm_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                          const lk_var *dout, lk_var *din)
{
    lk_var d[LK_MAX_OUT];
    lk_attr attr = n->attr;
    unsigned needed = 0;
    attr.norm.n_gamma_dims = lk_var_shape(g, in[1]).n_dims;
    attr.norm.n_beta_dims = lk_var_shape(g, in[2]).n_dims;
    for (int i = 0; i < 3; i++)
        needed |= lk_wants_grad(g, in[i]) ? 1u << i : 0;
    lk_record(g, LK_OP_NORM_GRAD, 5, (lk_var[]){in[0], in[1], dout[0], out[1], out[2]}, &attr,
              needed, d);
    for (int i = 0; i < 3; i++)
        din[i] = d[i];
}

const lk_op_def lk_op_norm = {"norm", 3, 1, 0, norm_infer, norm_define, norm_gradient, NULL};
const lk_op_def lk_op_norm_grad = {"norm_grad",      3,    0,   0, norm_grad_infer,
                                   norm_grad_define, NULL, NULL};

lk_var lk_norm(lk_graph *g, lk_norm_kind kind, lk_var x, lk_var gamma, lk_var beta, int n_groups,
               double eps)
{
    const lk_attr attr = {.norm = {.kind = kind, .groups = n_groups, .eps = eps}};
    const int trains = lk_wants_grad(g, x) || lk_wants_grad(g, gamma) || lk_wants_grad(g, beta);
    const unsigned statistics = kind == LK_RMS_NORM ? 4u : 6u;
    return lk_record(g, LK_OP_NORM, 3, (lk_var[]){x, gamma, beta}, &attr,
                     trains ? 1u | statistics : 1u, NULL);
}

lk_var lk_adaptive_norm(lk_graph *g, lk_norm_kind kind, lk_var x, lk_var scale, lk_var shift,
                        int n_groups, double eps)
{
    return lk_norm(g, kind, x, lk_affine(g, lk_cast(g, scale, LK_F32), 1, 1),
                   lk_cast(g, shift, LK_F32), n_groups, eps);
}
