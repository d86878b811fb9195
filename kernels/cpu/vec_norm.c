/* vec_norm.c - kernels of kernels/ops/norm.c: layer and RMS norms, whose sets are rows, and the
 * phases of all norms; vec_norm_group.c has the groups.
 *
 * A row is read from the first-level cache for its mean, for its squares about it and for the
 * result, each time widened in registers.  Rows too long for that go in pieces, joined exactly
 * (Chan, Golub, LeVeque 1983). */
#include "kernels/cpu/vec_norm.h"

#define PIECE   2048
#define ABREAST 4 /* vectors whose sums do not wait for each other */

/* Sums of d = x - about and of d^2 over n numbers. */
LK_INLINE void piece_sums(const int bf16, const void *x, int64_t at, int64_t n, float about,
                          double *sum, double *squares)
{
    lk_lanes s[ABREAST] = {{0}}, q[ABREAST] = {{0}};
    int64_t i = 0;
    for (; i + ABREAST * LK_LANES <= n; i += ABREAST * LK_LANES)
        LK_UNROLL(4) for (int v = 0; v < ABREAST; v++)
        {
            const lk_lanes d = lk_lanes_get(bf16, x, at + i + v * LK_LANES) - about;
            s[v] += d;
            q[v] += d * d;
        }
    for (; i < n; i += LK_LANES) {
        const lk_lanes all = lk_lanes_take(bf16, x, at + i, n - i) - about;
        const lk_lanes d = lk_lanes_keep(all, (lk_lanes){0}, n - i);
        s[0] += d;
        q[0] += d * d;
    }
    *sum = (double)lk_lanes_sum((s[0] + s[1]) + (s[2] + s[3]));
    *squares = (double)lk_lanes_sum((q[0] + q[1]) + (q[2] + q[3]));
}

/* Mean (RMS: 0) and mean square about it.  Squares are taken about a number near the mean, and the
 * rest taken off: for bf16 the first one, which serves its digits in one pass, for f32 the mean. */
LK_INLINE void row_statistics(const int bf16, const int rms, const void *x, int64_t at, int64_t n,
                              double *mean, double *square)
{
    double m = 0, s = 0, sum, squares;
    for (int64_t i = 0; i < n; i += PIECE) {
        const int64_t k = n - i < PIECE ? n - i : PIECE;
        float about = 0;
        if (!rms && bf16) {
            about = lk_bf16_to_f32(((const lk_bf16 *)x)[at + i]);
        } else if (!rms) {
            piece_sums(bf16, x, at + i, k, 0, &sum, &squares);
            about = (float)(sum / (double)k);
        }
        piece_sums(bf16, x, at + i, k, about, &sum, &squares);
        if (rms) {
            s += squares;
        } else {
            const double d = (double)about + sum / (double)k - m;
            const double share = (double)k / (double)(i + k);
            s += squares - sum * sum / (double)k + d * d * (double)i * share;
            m += d * share;
        }
    }
    *mean = m;
    *square = s > 0 ? s / (double)n : 0;
}

/* Channels' gamma or beta, or one vector for all of them. */
typedef struct scale {
    const float *of;
    int64_t step; /* numbers a channel: 1 or 0 */
} scale;

static scale scale_of(const lk_tensor *t, int64_t sample, const float *absent)
{
    const float *of = lk_norm_scale(t, sample);
    return (scale){of ? of : absent, of != NULL};
}

#define LK_ONE_(d, l) (1.0f)
static const float ones[LK_LANES] = {LK_EACH_LANE_(LK_ONE_, 0)};
static const float zeros[LK_LANES] = {0};

/* For channels from i on, of n that are left. */
LK_INLINE lk_lanes scale_take(const scale s, int64_t i, int64_t n)
{
    return lk_lanes_take(0, s.of, i * s.step, s.step ? n : LK_LANES);
}

LK_INLINE void norm_vector(const int bf16, const void *x, void *y, int64_t at, int64_t i, int64_t n,
                           float mean, float r, const scale gamma, const scale beta)
{
    const lk_lanes z = (lk_lanes_take(bf16, x, at + i, n) - mean) * r;
    lk_lanes_give(bf16, y, at + i, n, z * scale_take(gamma, i, n) + scale_take(beta, i, n));
}

LK_INLINE void norm_rows(const int bf16, const lk_call *c, int64_t first, int64_t end)
{
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    const int rms = c->node->attr.norm.kind == LK_RMS_NORM;
    const int64_t n = z.channels;
    const void *x = c->in[0].data;
    float *means = c->out[1].data, *rs = c->out[2].data;
    scale gamma = {0}, beta = {0};
    for (int64_t row = first; row < end; row++) {
        const int64_t sample = row / z.rows, at = row * n;
        double m, s;
        float mean, r;
        int64_t i = 0;
        if (row == first || row % z.rows == 0) {
            gamma = scale_of(&c->in[1], sample, ones);
            beta = scale_of(&c->in[2], sample, zeros);
        }
        if (rms)
            row_statistics(bf16, 1, x, at, n, &m, &s);
        else
            row_statistics(bf16, 0, x, at, n, &m, &s);
        mean = (float)m;
        r = (float)(1 / sqrt(s + c->node->attr.norm.eps));
        for (; i + LK_LANES <= n; i += LK_LANES)
            norm_vector(bf16, x, c->out[0].data, at, i, LK_LANES, mean, r, gamma, beta);
        if (i < n)
            norm_vector(bf16, x, c->out[0].data, at, i, n - i, mean, r, gamma, beta);
        if (means)
            means[row] = mean;
        if (rs)
            rs[row] = r;
    }
}

/* ---- gradients ---- */

/* What is fixed along a row. */
typedef struct grad_row {
    const void *x, *dy;
    void *dx; /* NULL: not wanted */
    scale gamma;
    float *dgamma, *dbeta; /* added to */
    int64_t at;
    float mean, r;
    float h, hz; /* means of h = dy gamma and of h z, once known */
} grad_row;

/* Adds what channels from i on, of n that are left, contribute to dgamma, dbeta and the sums. */
LK_INLINE void sums_vector(const int bf16, const grad_row g, int64_t i, int64_t n, lk_lanes *h_sum,
                           lk_lanes *hz_sum)
{
    const lk_lanes x = lk_lanes_take(bf16, g.x, g.at + i, n);
    const lk_lanes dy = lk_lanes_take(bf16, g.dy, g.at + i, n);
    const lk_lanes z = (x - g.mean) * g.r, h = dy * scale_take(g.gamma, i, n);
    lk_lanes_give(0, g.dgamma, i, n, lk_lanes_take(0, g.dgamma, i, n) + dy * z);
    lk_lanes_give(0, g.dbeta, i, n, lk_lanes_take(0, g.dbeta, i, n) + dy);
    *h_sum += h;
    *hz_sum += h * z;
}

LK_INLINE void dx_vector(const int bf16, const grad_row g, int64_t i, int64_t n)
{
    const lk_lanes x = lk_lanes_take(bf16, g.x, g.at + i, n);
    const lk_lanes dy = lk_lanes_take(bf16, g.dy, g.at + i, n);
    const lk_lanes z = (x - g.mean) * g.r, h = dy * scale_take(g.gamma, i, n);
    lk_lanes_give(bf16, g.dx, g.at + i, n, g.r * (h - g.h - z * g.hz));
}

LK_INLINE void norm_grad_row(const int bf16, const int rms, grad_row g, int64_t n)
{
    double h = 0, hz = 0;
    int64_t i = 0;
    for (int64_t from = 0; from < n; from += PIECE) {
        const int64_t to = n - from < PIECE ? n : from + PIECE;
        lk_lanes h_sum = {0}, hz_sum = {0};
        for (i = from; i + LK_LANES <= to; i += LK_LANES)
            sums_vector(bf16, g, i, LK_LANES, &h_sum, &hz_sum);
        if (i < to)
            sums_vector(bf16, g, i, to - i, &h_sum, &hz_sum);
        h += (double)lk_lanes_sum(h_sum);
        hz += (double)lk_lanes_sum(hz_sum);
    }
    g.h = rms ? 0 : (float)(h / (double)n);
    g.hz = (float)(hz / (double)n);
    for (i = 0; g.dx && i + LK_LANES <= n; i += LK_LANES)
        dx_vector(bf16, g, i, LK_LANES);
    if (g.dx && i < n)
        dx_vector(bf16, g, i, n - i);
}

/* Rows of one part, and what they add to its sums. */
LK_INLINE void grad_part(const int bf16, const lk_call *c, int64_t first, int64_t end, float *sums)
{
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    const int rms = c->node->attr.norm.kind == LK_RMS_NORM;
    grad_row g = {.x = c->in[0].data,
                  .dy = c->in[2].data,
                  .dx = c->out[0].data,
                  .gamma = scale_of(&c->in[1], first < end ? first / z.rows : 0, ones),
                  .dgamma = sums,
                  .dbeta = sums + z.channels};
    for (int64_t row = first; row < end; row++) {
        g.at = row * z.channels;
        g.mean = c->in[3].data ? ((const float *)c->in[3].data)[row] : 0;
        g.r = ((const float *)c->in[4].data)[row];
        norm_grad_row(bf16, rms, g, z.channels);
    }
}

/* ---- phases ---- */

static lk_status norm_prepare(lk_call *c, size_t *work_bytes)
{
    const lk_norm_split s = lk_norm_split_of(c);
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    const int64_t sums = s.sections * s.parts * 2;
    const int64_t rows = sums + (lk_norm_is_group(c) ? z.samples * LK_NORM_COEFFICIENTS : 0);
    const int needed = lk_norm_is_group(c) || c->node->op == LK_OP_NORM_GRAD;
    *work_bytes = needed ? (size_t)(rows * z.channels) * sizeof(float) : 0;
    return LK_OK;
}

/* As many samples of groups together as read a few MB, which the last cache keeps. */
#define TOGETHER_BYTES (4 << 20)

static int64_t norm_sections(const lk_call *c)
{
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    const int64_t read = c->node->op == LK_OP_NORM_GRAD ? 2 : 1;
    const int64_t bytes = read * (int64_t)lk_tensor_bytes(&c->in[0]);
    int64_t n = 1;
    while (lk_norm_is_group(c) && n < z.samples &&
           (z.samples % n != 0 || bytes / n > TOGETHER_BYTES))
        n++;
    return n;
}

static int64_t part_units(const lk_call *c)
{
    const lk_norm_split s = lk_norm_split_of(c);
    return s.sections * s.parts;
}

static int64_t first_units(const lk_call *c)
{
    return lk_norm_is_group(c) ? part_units(c) : lk_rows(&c->in[0].shape);
}

static void norm_first(const lk_call *c, int64_t first, int64_t end)
{
    if (lk_norm_is_group(c))
        LK_VEC(lk_norm_group_first)(c, first, end);
    else if (c->in[0].dtype == LK_BF16)
        norm_rows(1, c, first, end);
    else
        norm_rows(0, c, first, end);
}

static int64_t second_units(const lk_call *c)
{
    return lk_norm_is_group(c) ? lk_norm_split_of(c).sections : 0;
}

const lk_cpu_kernel LK_VEC(lk_cpu_norm) = {
    .prepare = norm_prepare,
    .sections = norm_sections,
    .phase = {{first_units, norm_first},
              {second_units, LK_VEC(lk_norm_group_second)},
              {LK_VEC(lk_norm_group_blocks), LK_VEC(lk_norm_group_third)}}};

static void grad_first(const lk_call *c, int64_t first, int64_t end)
{
    const lk_norm_split s = lk_norm_split_of(c);
    if (lk_norm_is_group(c)) {
        LK_VEC(lk_norm_group_grad_first)(c, first, end);
        return;
    }
    for (int64_t u = first; u < end; u++) {
        const int64_t p = u % s.parts, row = u / s.parts * s.rows;
        const int64_t from = row + s.rows * p / s.parts, to = row + s.rows * (p + 1) / s.parts;
        float *sums = lk_norm_part(c, 0, u);
        memset(sums, 0, 2 * (size_t)lk_last(&c->in[0].shape) * sizeof *sums);
        if (c->in[0].dtype == LK_BF16)
            grad_part(1, c, from, to, sums);
        else
            grad_part(0, c, from, to, sums);
    }
}

/* Unit u, the only one of its section of units: joins the parts there, adds them to dgamma and
 * dbeta in order, and prepares the last phase. */
static void grad_second(const lk_call *c, int64_t u, int64_t end)
{
    const int64_t n = lk_last(&c->in[0].shape);
    const lk_norm_split s = lk_norm_split_of(c);
    const int64_t each = s.sections / norm_sections(c), first = u * each;
    (void)end;
    for (int64_t section = first; section < first + each; section++) {
        float *sums = lk_norm_part(c, section, 0);
        lk_sum_parts(sums, sums, s.parts, 2 * n);
    }
    for (int which = 0; which < 2; which++) { /* dgamma, dbeta */
        const lk_tensor *t = &c->out[1 + which];
        float *d = t->data;
        if (d && u == 0)
            memset(d, 0, lk_tensor_bytes(t));
        for (int64_t section = first; d && section < first + each; section++)
            for (int64_t ch = 0; ch < n; ch++)
                d[t->shape.n_dims == 2 ? section * n + ch : ch] +=
                    lk_norm_part(c, section, 0)[which * n + ch];
    }
    for (int64_t sample = first; lk_norm_is_group(c) && sample < first + each; sample++)
        LK_VEC(lk_norm_group_grad_second)(c, sample);
}

static int64_t grad_third_units(const lk_call *c)
{
    return c->out[0].data ? LK_VEC(lk_norm_group_blocks)(c) : 0;
}

const lk_cpu_kernel LK_VEC(lk_cpu_norm_grad) = {
    .prepare = norm_prepare,
    .sections = norm_sections,
    .phase = {{part_units, grad_first},
              {norm_sections, grad_second},
              {grad_third_units, LK_VEC(lk_norm_group_grad_third)}}};
