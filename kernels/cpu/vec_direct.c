/* vec_direct.c - convolutions that are no matrix products: one filter a channel (depthwise), and
 * gradients with respect to one to four channels.
 *
 * Both read a strip: what the taps need of the other operand for a run of up to BLOCK results along
 * the last dimension, copied among zeros as f32, so that the sums know no borders.  For a result
 * and tap k, strip position at[k] + j step belongs to result j of the run.
 *
 *   depthwise   y[j, c] = sum_k strip[at[k] + j step, c] w[k, c], a lane a channel; the gradient of
 *               w sums over j instead, in fixed parts
 *   narrow      dx[j, i] = sum_k sum_o strip[at[k] + j, o] w[k, i, o], a lane an o; the lanes are
 *               summed at the end
 *
 * Strips lie vector by vector, [channel / lanes, position, lane], so that neighbours are a vector
 * apart whatever the number of channels.
 *
 * conv_dx with a stride runs over positions of equal remainder, which meet the same taps.
 */
#include "kernels/cpu/vec_lanes.h"

#include "kernels/cpu/vec_table.h"
#include "kernels/ops/ops_impl.h"
#include "kernels/thread.h"

int LK_VEC(lk_vec_direct_suits)(const lk_call *c);
size_t LK_VEC(lk_vec_direct_work_bytes)(const lk_call *c);
void LK_VEC(lk_vec_direct)(const lk_call *c);

#define BLOCK      48
#define MOST_TAPS  512
#define MOST_ROW   2048 /* strip positions of one line */
#define MOST_STRIP (1 << 20)
#define GROUP      16 /* vectors of channels a depthwise unit takes */
#define VECS       2  /* and how many of them at once; divides GROUP */
#define AT_ONCE    6  /* results or taps in registers */
#define PARTS      16
#define MOST_IN    4

typedef struct direct {
    lk_conv_sizes s;
    int depthwise, dx;                 /* dx: the runs are positions of x */
    int64_t n_taps, outer[2];          /* runs are along the last dimension of [outer, last] */
    int64_t last, phases, runs, block; /* block: results of a run, <= BLOCK */
    int64_t n_vecs, n_groups; /* vectors of channels in a strip; strips in all the channels */
    int64_t row, plane;       /* strip positions of a line; numbers of a vector's plane */
    int64_t n_units, n_workers, n_parts;
    int64_t w_size, strip_size, at_workers, at_parts; /* in numbers */
} direct;

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

static direct direct_of(const lk_call *c)
{
    direct d = {.s = lk_conv_sizes_of(c), .dx = c->node->op == LK_OP_CONV_DX};
    const lk_conv_sizes *s = &d.s;
    const int64_t *size = d.dx ? s->in : s->out;
    const int dw = c->node->op == LK_OP_CONV_DW;
    int64_t each;
    d.depthwise = s->groups > 1 && s->groups == s->in_ch && s->groups == s->out_ch;
    d.n_taps = s->taps[0] * s->taps[1] * s->taps[2];
    d.outer[0] = size[0];
    d.outer[1] = size[1];
    d.last = size[2];
    d.phases = d.dx ? s->stride[2] : 1;
    each = (d.last + d.phases - 1) / d.phases;
    d.runs = (each + BLOCK - 1) / BLOCK;
    d.block = d.runs ? round_up((each + d.runs - 1) / d.runs, 4) : BLOCK;
    d.runs *= d.phases;
    d.n_vecs = round_up(s->out_ch, LK_LANES) / LK_LANES;
    d.n_groups = 1;
    if (d.depthwise) {
        d.n_groups = (d.n_vecs + GROUP - 1) / GROUP;
        d.n_vecs = d.n_vecs < GROUP ? round_up(d.n_vecs, VECS) : GROUP;
    }
    d.row = d.dx ? BLOCK + s->dilation[2] * (s->taps[2] - 1) / s->stride[2]
                 : (BLOCK - 1) * s->stride[2] + s->dilation[2] * (s->taps[2] - 1) + 1;
    d.n_units = s->n_batch * d.outer[0] * d.outer[1] * d.runs;
    d.n_parts = d.n_units < PARTS ? d.n_units : PARTS;
    d.n_workers = lk_threads();
    d.w_size = d.n_groups * d.n_vecs * d.n_taps * (d.depthwise ? 1 : s->in_ch) * LK_LANES;
    d.plane = s->taps[0] * s->taps[1] * d.row * LK_LANES;
    d.strip_size = d.n_vecs * d.plane + (d.depthwise ? d.n_vecs * BLOCK * LK_LANES
                                                     : (BLOCK * MOST_IN + LK_LANES) * LK_LANES);
    d.at_workers = round_up(d.w_size, 16);
    d.at_parts = d.at_workers + d.n_workers * round_up(d.strip_size, 16);
    if (!dw)
        d.n_parts = 0;
    return d;
}

int LK_VEC(lk_vec_direct_suits)(const lk_call *c)
{
    const direct d = direct_of(c);
    const int narrow = d.dx && d.s.groups == 1 && d.s.in_ch <= MOST_IN;
    return (d.depthwise || narrow) && d.n_taps <= MOST_TAPS && d.row <= MOST_ROW &&
           d.strip_size <= MOST_STRIP;
}

size_t LK_VEC(lk_vec_direct_work_bytes)(const lk_call *c)
{
    const direct d = direct_of(c);
    return (size_t)(d.at_parts + d.n_parts * d.w_size) * sizeof(float);
}

/* ---- strips ---- */

typedef struct window {
    int64_t b, o[2], first, n; /* the run: results first + j phases, j < n, of line (b, o) */
    int64_t step;
    int n_taps; /* that meet anything */
    int64_t at[MOST_TAPS], tap[MOST_TAPS];
} window;

/* Where result `o` of dimension d meets the other operand at tap k; -1 for nowhere.  In the last
 * dimension borders are for the strip to fill. */
static int64_t meets(const direct *d, int dim, int64_t o, int64_t k)
{
    const lk_conv_sizes *s = &d->s;
    int64_t p = o * s->stride[dim] - s->lo[dim] + k * s->dilation[dim];
    if (d->dx) {
        p = o + s->lo[dim] - k * s->dilation[dim];
        if (p < 0 || p % s->stride[dim])
            return -1;
        p /= s->stride[dim];
    }
    return p >= 0 && p < (d->dx ? s->out : s->in)[dim] ? p : -1;
}

/* n positions from p on of line `line` of t, channels from ch on, to planes of a strip; zeros where
 * nothing is. */
static void copy_row(const lk_tensor *t, int64_t line, int64_t size, int64_t n_ch, int64_t p,
                     int64_t n, int64_t ch, int64_t n_vecs, int64_t plane, float *to)
{
    const int64_t bytes = (int64_t)lk_dtype_bytes(t->dtype), count = lk_tensor_count(t);
    const int64_t from = p < 0 ? (-p < n ? -p : n) : 0;
    const int64_t end = size - p < n ? (size - p > from ? size - p : from) : n;
    for (int64_t v = 0; v < n_vecs; v++) {
        memset(to + v * plane, 0, (size_t)(from * LK_LANES) * sizeof *to);
        memset(to + v * plane + end * LK_LANES, 0, (size_t)((n - end) * LK_LANES) * sizeof *to);
    }
    for (int64_t i = from; i < end; i++)
        for (int64_t v = 0; v < n_vecs; v++) {
            const int64_t c = ch + v * LK_LANES, at = (line * size + p + i) * n_ch + c;
            const int64_t next = at + n * n_ch < count ? at + n * n_ch : at;
            float *lanes = to + v * plane + i * LK_LANES;
            __builtin_prefetch((const char *)t->data + next * bytes, 0, 2); /* the next run's */
            if (c + LK_LANES <= n_ch) {
                lk_load(t->dtype, t->data, at, LK_LANES, lanes);
            } else {
                memset(lanes, 0, LK_LANES * sizeof *lanes);
                if (c < n_ch)
                    lk_load(t->dtype, t->data, at, n_ch - c, lanes);
            }
        }
}

/* Floor of a / b, b > 0. */
static int64_t floor_div(int64_t a, int64_t b)
{
    return a >= 0 ? a / b : -((-a + b - 1) / b);
}

static void find_run(const direct *d, int64_t u, window *w)
{
    const int64_t run = u % d->runs, phase = run % d->phases;
    w->first = phase + run / d->phases * d->block * d->phases;
    w->n = w->first < d->last ? (d->last - w->first + d->phases - 1) / d->phases : 0;
    w->n = w->n < d->block ? w->n : d->block;
    w->o[1] = u / d->runs % d->outer[1];
    w->o[0] = u / d->runs / d->outer[1] % d->outer[0];
    w->b = u / d->runs / d->outer[1] / d->outer[0];
}

/* The taps of run u, and the strip of channels from ch on of `t` they read. */
static void make_strip(const direct *d, const lk_tensor *t, int64_t u, int64_t ch, window *w,
                       float *strip)
{
    const lk_conv_sizes *s = &d->s;
    const int64_t *size = d->dx ? s->out : s->in, n_ch = d->dx ? s->out_ch : s->in_ch;
    const int64_t reach = s->dilation[2] * (s->taps[2] - 1);
    int64_t start, n_lines = 0;
    find_run(d, u, w);
    start = d->dx ? floor_div(w->first + s->lo[2] - reach + s->stride[2] - 1, s->stride[2])
                  : w->first * s->stride[2] - s->lo[2];
    w->step = d->dx ? 1 : s->stride[2];
    w->n_taps = 0;
    for (int64_t k = 0; k < s->taps[0] * s->taps[1]; k++) {
        const int64_t p0 = meets(d, 0, w->o[0], k / s->taps[1]);
        const int64_t p1 = meets(d, 1, w->o[1], k % s->taps[1]);
        const int before = w->n_taps;
        if (p0 < 0 || p1 < 0)
            continue;
        for (int64_t k2 = 0; k2 < s->taps[2]; k2++) {
            const int64_t p = w->first + s->lo[2] - k2 * s->dilation[2];
            if (d->dx && floor_div(p, s->stride[2]) * s->stride[2] != p)
                continue;
            w->at[w->n_taps] = n_lines * d->row +
                               (d->dx ? floor_div(p, s->stride[2]) - start : k2 * s->dilation[2]);
            w->tap[w->n_taps++] = k * s->taps[2] + k2;
        }
        if (w->n_taps > before)
            copy_row(t, (w->b * size[0] + p0) * size[1] + p1, size[2], n_ch, start,
                     w->n ? (w->n - 1) * w->step + (d->dx ? reach / s->stride[2] : reach) + 1 : 0,
                     ch, d->n_vecs, d->plane, strip + n_lines++ * d->row * LK_LANES);
    }
}

/* ---- the filter: [vector, tap, lane] of the channels, with i in front of the lane if narrow ----
 */

static void pack_filter(const lk_call *c, const direct *d, float *to)
{
    const int64_t in_g = d->s.in_ch / d->s.groups;
    memset(to, 0, (size_t)d->w_size * sizeof *to);
    for (int64_t o = 0; o < d->s.out_ch; o++)
        for (int64_t k = 0; k < d->n_taps; k++)
            for (int64_t i = 0; i < in_g; i++)
                lk_load(c->in[1].dtype, c->in[1].data, (o * d->n_taps + k) * in_g + i, 1,
                        to + ((o / LK_LANES * d->n_taps + k) * in_g + i) * LK_LANES + o % LK_LANES);
}

/* ---- depthwise: results, y [VECS, BLOCK, lanes] ---- */

static inline void depthwise_sums(const window *w, int64_t step, const float *strip, int64_t plane,
                                  const float *filter, int64_t n_taps, const float *bias,
                                  int64_t j0, float *y)
{
    lk_lanes sum[AT_ONCE][VECS];
    for (int j = 0; j < AT_ONCE; j++)
        for (int v = 0; v < VECS; v++)
            lk_lanes_load(&sum[j][v], bias + v * LK_LANES);
    for (int t = 0; t < w->n_taps; t++) {
        const float *x = strip + (w->at[t] + j0 * step) * LK_LANES;
        for (int v = 0; v < VECS; v++) {
            const lk_lanes f = *(const lk_lanes_in *)(filter + (v * n_taps + w->tap[t]) * LK_LANES);
            for (int j = 0; j < AT_ONCE; j++)
                sum[j][v] += f * *(const lk_lanes_in *)(x + v * plane + j * step * LK_LANES);
        }
    }
    for (int j = 0; j < AT_ONCE; j++)
        for (int v = 0; v < VECS; v++)
            lk_lanes_store(y + (v * BLOCK + j0 + j) * LK_LANES, &sum[j][v]);
}

static void depthwise_unit(const lk_call *c, const direct *d, int64_t u, int64_t group,
                           float *strip)
{
    const int64_t n_ch = d->s.in_ch, ch = group * GROUP * LK_LANES;
    float *y = strip + d->n_vecs * d->plane, bias[GROUP * LK_LANES] = {0};
    window w;
    make_strip(d, &c->in[0], u, ch, &w, strip);
    for (int64_t i = 0; lk_has(c, 2) && i < GROUP * LK_LANES && ch + i < n_ch; i++)
        bias[i] = ((const float *)c->in[2].data)[ch + i];
    for (int64_t v = 0; v < d->n_vecs; v += VECS)
        for (int64_t j = 0; j < w.n; j += AT_ONCE) {
            const float *x = strip + v * d->plane, *start = bias + v * LK_LANES;
            const float *f = (const float *)c->work + (group * GROUP + v) * d->n_taps * LK_LANES;
            float *to = y + v * BLOCK * LK_LANES;
            if (w.step == 1)
                depthwise_sums(&w, 1, x, d->plane, f, d->n_taps, start, j, to);
            else
                depthwise_sums(&w, w.step, x, d->plane, f, d->n_taps, start, j, to);
        }
    for (int64_t j = 0; j < w.n; j++) {
        const int64_t line = (w.b * d->outer[0] + w.o[0]) * d->outer[1] + w.o[1];
        const int64_t at = (line * d->last + w.first + j * d->phases) * n_ch;
        for (int64_t v = 0; v < d->n_vecs; v++) {
            const int64_t k = ch + v * LK_LANES, left = n_ch - k;
            const float *lanes = y + (v * BLOCK + j) * LK_LANES;
            if (left >= LK_LANES)
                lk_store(c->out[0].dtype, c->out[0].data, at + k, LK_LANES, lanes);
            else if (left > 0)
                lk_store(c->out[0].dtype, c->out[0].data, at + k, left, lanes);
        }
    }
}

/* ---- depthwise: the gradient of the filter ---- */

static inline void depthwise_dw_sums(const window *w, int64_t step, const float *strip,
                                     const float *dy, int t0, float *part)
{
    lk_lanes sum[AT_ONCE];
    const float *x[AT_ONCE];
    for (int t = 0; t < AT_ONCE; t++) {
        x[t] = strip + w->at[t0 + t < w->n_taps ? t0 + t : t0] * LK_LANES;
        sum[t] = (lk_lanes){0};
    }
    for (int64_t j = 0; j < w->n; j++) {
        const lk_lanes d = *(const lk_lanes_in *)(dy + j * LK_LANES);
        for (int t = 0; t < AT_ONCE; t++)
            sum[t] += d * *(const lk_lanes_in *)(x[t] + j * step * LK_LANES);
    }
    for (int t = 0; t < AT_ONCE && t0 + t < w->n_taps; t++)
        *(lk_lanes_in *)(part + w->tap[t0 + t] * LK_LANES) += sum[t];
}

static void depthwise_dw_part(const lk_call *c, const direct *d, int64_t part, int64_t group,
                              float *strip)
{
    const int64_t first = d->n_units * part / d->n_parts, ch = group * GROUP * LK_LANES;
    const int64_t end = d->n_units * (part + 1) / d->n_parts, size = d->n_taps * LK_LANES;
    float *dy = strip + d->n_vecs * d->plane;
    float *sum = (float *)c->work + d->at_parts + part * d->w_size + group * GROUP * size;
    memset(sum, 0, (size_t)(d->n_vecs * size) * sizeof *sum);
    for (int64_t u = first; u < end; u++) {
        window w;
        make_strip(d, &c->in[0], u, ch, &w, strip);
        copy_row(&c->in[1], (w.b * d->outer[0] + w.o[0]) * d->outer[1] + w.o[1], d->last,
                 d->s.out_ch, w.first, w.n, ch, d->n_vecs, BLOCK * LK_LANES, dy);
        for (int64_t v = 0; v < d->n_vecs; v++)
            for (int t = 0; t < w.n_taps; t += AT_ONCE)
                depthwise_dw_sums(&w, w.step, strip + v * d->plane, dy + v * BLOCK * LK_LANES, t,
                                  sum + v * size);
    }
}

static void depthwise_dw_finish(const lk_call *c, const direct *d)
{
    const float *part = (const float *)c->work + d->at_parts;
    float *dw = c->out[0].data;
    for (int64_t o = 0; o < d->s.out_ch; o++)
        for (int64_t k = 0; k < d->n_taps; k++) {
            float sum = 0;
            for (int64_t p = 0; p < d->n_parts; p++)
                sum +=
                    part[p * d->w_size + (o / LK_LANES * d->n_taps + k) * LK_LANES + o % LK_LANES];
            dw[o * d->n_taps + k] = sum;
        }
}

/* ---- narrow ---- */

#define NARROW(n_in, n_at_once)                                                                    \
    static void narrow_sums_##n_in(const direct *d, const window *w, const float *strip,           \
                                   const float *filter, int64_t j0, float *sums)                   \
    {                                                                                              \
        lk_lanes sum[n_at_once][n_in];                                                             \
        for (int j = 0; j < (n_at_once); j++)                                                      \
            for (int i = 0; i < (n_in); i++)                                                       \
                sum[j][i] = (lk_lanes){0};                                                         \
        for (int64_t v = 0; v < d->n_vecs; v++)                                                    \
            for (int t = 0; t < w->n_taps; t++) {                                                  \
                const float *x = strip + v * d->plane + (w->at[t] + j0) * LK_LANES;                \
                const float *f = filter + (v * d->n_taps + w->tap[t]) * (n_in)*LK_LANES;           \
                lk_lanes wi[n_in];                                                                 \
                for (int i = 0; i < (n_in); i++)                                                   \
                    lk_lanes_load(&wi[i], f + i * LK_LANES);                                       \
                for (int j = 0; j < (n_at_once); j++) {                                            \
                    const lk_lanes xj = *(const lk_lanes_in *)(x + j * LK_LANES);                  \
                    for (int i = 0; i < (n_in); i++)                                               \
                        sum[j][i] += xj * wi[i];                                                   \
                }                                                                                  \
            }                                                                                      \
        for (int j = 0; j < (n_at_once); j++)                                                      \
            for (int i = 0; i < (n_in); i++)                                                       \
                lk_lanes_store(sums + ((j0 + j) * (n_in) + i) * LK_LANES, &sum[j][i]);             \
    }
NARROW(1, 12)
NARROW(2, 6)
NARROW(3, 4)
NARROW(4, 3)

static void narrow_unit(const lk_call *c, const direct *d, int64_t u, float *strip)
{
    float *sums = strip + d->n_vecs * d->plane;
    const int64_t n_in = d->s.in_ch;
    float dx[BLOCK * MOST_IN + LK_LANES];
    window w;
    int64_t at;
    make_strip(d, &c->in[0], u, 0, &w, strip);
    for (int64_t j = 0; j < w.n; j += 12 / n_in)
        (n_in == 1   ? narrow_sums_1
         : n_in == 2 ? narrow_sums_2
         : n_in == 3 ? narrow_sums_3
                     : narrow_sums_4)(d, &w, strip, c->work, j, sums);
    for (int64_t i = 0; i < w.n * n_in; i += LK_LANES) {
        lk_lanes t[LK_LANES];
        for (int l = 0; l < LK_LANES; l++)
            lk_lanes_load(&t[l], sums + (i + l) * LK_LANES);
        lk_lanes_sums(t);
        lk_lanes_store(dx + i, &t[0]);
    }
    at = (((w.b * d->outer[0] + w.o[0]) * d->outer[1] + w.o[1]) * d->last + w.first) * n_in;
    if (d->phases == 1)
        lk_store(c->out[0].dtype, c->out[0].data, at, w.n * n_in, dx);
    else
        for (int64_t j = 0; j < w.n; j++)
            lk_store(c->out[0].dtype, c->out[0].data, at + j * d->phases * n_in, n_in,
                     dx + j * n_in);
}

/* ---- sharing out ---- */

static void run_workers(void *context, int64_t first, int64_t end)
{
    const lk_call *c = context;
    const direct d = direct_of(c);
    const int64_t n = (d.n_parts ? d.n_parts : d.n_units) * d.n_groups;
    for (int64_t worker = first; worker < end; worker++) {
        float *strip = (float *)c->work + d.at_workers + worker * round_up(d.strip_size, 16);
        const int64_t from = n * worker / d.n_workers, to = n * (worker + 1) / d.n_workers;
        for (int64_t u = from; u < to; u++)
            if (d.n_parts)
                depthwise_dw_part(c, &d, u / d.n_groups, u % d.n_groups, strip);
            else if (d.depthwise)
                depthwise_unit(c, &d, u / d.n_groups, u % d.n_groups, strip);
            else
                narrow_unit(c, &d, u, strip);
    }
}

void LK_VEC(lk_vec_direct)(const lk_call *c)
{
    const direct d = direct_of(c);
    union {
        const lk_call *c;
        void *v;
    } u = {.c = c};
    if (!d.n_parts)
        pack_filter(c, &d, c->work);
    lk_parallel_for(d.n_workers, 1, run_workers, u.v);
    if (d.n_parts)
        depthwise_dw_finish(c, &d);
}
