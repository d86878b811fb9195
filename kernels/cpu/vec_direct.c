/* vec_direct.c - convolutions that are no matrix products: one filter a channel (depthwise), and
 * those into one to four channels, forwards or as gradients.  Rows and taps as vec_slide.h has
 * them.
 *
 *   depthwise   y[j, c] = bias[c] + sum_k x[at[k] + j step, c] w[k, c], a lane a channel; the
 *               gradient of w sums over j instead, in fixed parts
 *   narrow      dx[j, i] = sum_k sum_o dy[at[k] + j, o] w[k, i, o], a lane an o, or two of them
 *               where products of bf16 are added in pairs; the lanes are summed at the end.
 *               y[j, o] = bias[o] + sum_k sum_i x[at[k] + j step, i] w[k, o, i] likewise
 *
 * conv_dx with a stride runs over positions of equal remainder, which meet the same taps.
 */
#include "kernels/cpu/vec_slide.h"

#include "kernels/cpu/vec_table.h"
#include "kernels/thread.h"

int LK_VEC(lk_vec_direct_suits)(const lk_call *c);
size_t LK_VEC(lk_vec_direct_work_bytes)(const lk_call *c);
void LK_VEC(lk_vec_direct)(const lk_call *c);

#define MOST_COPY   (8 << 20) /* bytes */
#define PARTS       16
#define PAST        ((size_t)8 << 20) /* bytes */
#define MOST_IN     4
#define LEAST_CH    16        /* of x, into few: fewer would leave lanes empty */
#define RUN         64        /* results of a run */
#define TURN        4         /* runs */
#define SUMS        (4 * RUN) /* of a run into few channels, and what tiles may be longer */
#define SPARE       32
#define LINES_BYTES (12 << 10) /* of the filter that stay in the first cache */

/* Results of a tile: depthwise, into n_in channels; and taps that go with them.  Sums, taps and a
 * row share 32 or 16 registers. */
#define DEPTHWISE 8
#if LK_LANES == 16
#define RESULTS(n_in) ((n_in) == 1 ? 16 : (n_in) == 2 ? 8 : (n_in) == 3 ? 5 : 4)
#define TAPS(n_in)    ((n_in) == 3 ? 3 : 8 / (n_in))
#else
#define RESULTS(n_in) ((n_in) == 1 ? 8 : (n_in) == 4 ? 2 : 4)
#define TAPS(n_in)    ((n_in) == 3 ? 1 : 4 / (n_in))
#endif

typedef struct direct {
    lk_slide d;
    int depthwise, dw;
    int64_t n_in;         /* channels of a result: 1 when depthwise */
    int64_t w_tap, w_vec; /* numbers from tap to tap of the packed filter, and vector to vector */
    int64_t w_size, n_parts;      /* the filter, or a part of its gradient; then bias */
    int64_t worker;               /* bytes of a worker's space */
    int64_t at_workers, at_parts; /* bytes */
} direct;

static direct direct_of(const lk_call *c)
{
    const lk_conv_sizes s = lk_conv_sizes_of(c);
    direct q = {.dw = c->node->op == LK_OP_CONV_DW};
    q.depthwise = s.groups > 1 && s.groups == s.in_ch && s.groups == s.out_ch;
    q.n_in = q.depthwise ? 1 : c->node->op == LK_OP_CONV ? s.out_ch : s.in_ch;
    if (q.depthwise)
        q.d = lk_slide_of(c, DEPTHWISE, RUN, LK_SLIDE_GROUP, 0);
    else
        q.d = lk_slide_of(c, RESULTS(q.n_in), q.n_in > 0 && q.n_in <= MOST_IN ? SUMS / q.n_in : RUN,
                          TAPS(q.n_in), LK_VEC_DOT);
    q.w_tap = q.depthwise ? LK_LANES : q.d.n_vecs * q.n_in * LK_LANES;
    q.w_vec = q.depthwise ? q.d.n_taps * LK_LANES : q.n_in * LK_LANES;
    q.w_size = q.d.n_vecs * q.d.n_taps * q.n_in * LK_LANES;
    q.n_parts = !q.dw ? 0 : q.d.n_units < PARTS ? q.d.n_units : PARTS;
    q.worker = lk_slide_up(q.d.copy + DEPTHWISE * q.d.copy_pitch, 64);
    q.at_workers = lk_slide_up((q.w_size + q.d.n_vecs * LK_LANES) * (int64_t)sizeof(float), 64);
    q.at_parts = q.at_workers + lk_threads() * q.worker;
    return q;
}

int LK_VEC(lk_vec_direct_suits)(const lk_call *c)
{
    const direct q = direct_of(c);
    const int narrow =
        !q.dw && q.d.s.groups == 1 && q.n_in <= MOST_IN && (q.d.dx || q.d.n_ch >= LEAST_CH);
    return (q.depthwise || narrow) && q.d.n_taps <= LK_SLIDE_TAPS && q.d.copy <= MOST_COPY;
}

size_t LK_VEC(lk_vec_direct_work_bytes)(const lk_call *c)
{
    const direct q = direct_of(c);
    return (size_t)(q.at_parts + q.n_parts * q.w_size * (int64_t)sizeof(float));
}

/* The filter as [tap, vector, input, lane] or, depthwise, [vector, tap, lane], and behind it the
 * bias.  What overlaps counts once in sums over channels. */
static void pack_filter(const lk_call *c, const direct *q, float *to)
{
    const lk_slide *d = &q->d;
    const int dot = d->rows == LK_ROW_DOT;
    const lk_tensor *w = &c->in[1];
    float *bias = to + q->w_size;
    memset(to, 0, (size_t)(q->w_size + d->n_vecs * LK_LANES) * sizeof *to);
    for (int64_t v = 0; v < d->n_vecs; v++) {
        const int64_t ch = lk_slide_ch(d, v), skip = q->depthwise ? 0 : v * d->width - ch;
        for (int64_t l = skip; l < d->width && ch + l < d->n_ch; l++) {
            for (int64_t k = 0; k < d->n_taps; k++)
                for (int64_t i = 0; i < q->n_in; i++) {
                    const int64_t at = d->dx || q->depthwise
                                           ? ((ch + l) * d->n_taps + k) * q->n_in + i
                                           : (i * d->n_taps + k) * d->n_ch + ch + l;
                    float *lanes = to + k * q->w_tap + v * q->w_vec + i * LK_LANES;
                    if (dot)
                        memcpy((lk_bf16 *)lanes + l, (const lk_bf16 *)w->data + at,
                               sizeof(lk_bf16));
                    else
                        lk_load(w->dtype, w->data, at, 1, lanes + l);
                }
            if (q->depthwise && lk_has(c, 2))
                bias[v * LK_LANES + l] = ((const float *)c->in[2].data)[ch + l];
        }
    }
}

/* sum[j, i] += what a group of n_taps adds to n results, inputs next to each other in the filter.
 */
LK_INLINE void slide(const int n, const int n_in, const int n_taps, const lk_row_kind rows,
                     const char *row, int64_t pitch, const float *w, int64_t w_tap, lk_vf *sum)
{
    lk_vf f[9];
    LK_UNROLL(9)
    for (int i = 0; i < n_taps * n_in; i++)
        f[i] = *(const lk_lanes_in *)(w + i / n_in * w_tap + i % n_in * LK_LANES);
    LK_UNROLL(24)
    for (int r = 0; r < n + n_taps - 1; r++) {
        const lk_vf x = lk_slide_row(rows, row + r * pitch);
        LK_UNROLL(9)
        for (int i = 0; i < n_taps * n_in; i++) {
            const int j = r - i / n_in, at = j * n_in + i % n_in;
            if (j >= 0 && j < n)
                sum[at] = lk_multiply_add(rows == LK_ROW_DOT, sum[at], x, f[i]);
        }
    }
}

/* `call` for a group of n taps, with the number as a constant. */
#define GROUPS_OF(most, n, call)                                                                   \
    switch (n) {                                                                                   \
        GROUP_OF_(most, 1, call)                                                                   \
        GROUP_OF_(most, 2, call)                                                                   \
        GROUP_OF_(most, 3, call)                                                                   \
        GROUP_OF_(most, 4, call)                                                                   \
        GROUP_OF_(most, 5, call)                                                                   \
        GROUP_OF_(most, 6, call)                                                                   \
        GROUP_OF_(most, 7, call)                                                                   \
        GROUP_OF_(most, 8, call)                                                                   \
    }
#define GROUP_OF_(most, k, call)                                                                   \
    case k:                                                                                        \
        if (k <= (most)) {                                                                         \
            const int n_taps = k;                                                                  \
            call;                                                                                  \
        }                                                                                          \
        break;

/* ---- depthwise ---- */

LK_INLINE void depthwise_vector(const direct *q, const lk_slide_run *r, const lk_slide_rows *tile,
                                const lk_row_kind rows, int64_t ch, const float *w, int64_t w_tap,
                                lk_vf *sum)
{
    const int64_t offset = ch * (int64_t)lk_dtype_bytes(q->d.t->dtype);
    const int64_t pitch = tile->pitch * q->d.step;
    for (int64_t i = 0; i < r->n_groups; i++) {
        const lk_slide_group *g = &r->group[i];
        const char *row = tile->group[i] + offset;
        GROUPS_OF(LK_SLIDE_GROUP, g->n,
                  slide(DEPTHWISE, 1, n_taps, rows, row, pitch, w + g->tap * LK_LANES, w_tap, sum))
    }
}

/* The rows of the results' map at results j, .. of a run, n of them; ahead are the next run's. */
static void depthwise_own(const lk_slide *d, const lk_slide_run *r, const lk_tensor *t, int64_t j,
                          int64_t n, lk_slide_rows *rows)
{
    const int64_t step = d->phases * d->pitch, at = r->to * d->pitch + j * step;
    const int64_t left = (int64_t)lk_tensor_bytes(t) - at - d->run * step;
    const char *data = t->data;
    rows->pitch = step;
    rows->group[0] = data + at;
    rows->ahead = (lk_slide_span){0};
    if (left > 0)
        rows->ahead = (lk_slide_span){data + at + d->run * step, left < n * step ? left : n * step};
}

/* n of a vector of results; with `past`, a whole one that goes to memory past the caches. */
LK_INLINE void depthwise_store(const lk_tensor *y, int64_t at, const int64_t n, const int past,
                               lk_vf sum)
{
    float lanes[LK_LANES];
#if LK_LANES == 16
    if (past) {
        _mm512_stream_ps((float *)y->data + at, (__m512)sum);
        return;
    }
#endif
    (void)past;
    *(lk_lanes_in *)lanes = sum;
    lk_store(y->dtype, y->data, at, n, lanes);
}

/* Results that the caches do not hold until they are read need not be read before they are written;
 * vectors must then be lines of the cache. */
static int depthwise_past(const lk_tensor *y, const lk_slide *d)
{
    return LK_LANES == 16 && y->dtype == LK_F32 && d->n_ch % LK_LANES == 0 &&
           lk_tensor_bytes(y) >= PAST && (uintptr_t)y->data % 64 == 0;
}

/* Results j .. of a run, in all channels. */
LK_INLINE void depthwise_tile(const lk_call *c, const direct *q, const lk_slide_run *r,
                              const lk_slide_rows *tile, int64_t j, const lk_row_kind rows,
                              const int past)
{
    const lk_slide *d = &q->d;
    const lk_tensor *y = &c->out[0];
    const float *filter = c->work, *bias = filter + q->w_size;
    const int64_t n = r->n - j < DEPTHWISE ? r->n - j : DEPTHWISE;
    const int64_t n_lanes = d->n_ch < LK_LANES ? d->n_ch : LK_LANES, step = d->phases * d->n_ch;
    lk_slide_rows own;
    depthwise_own(d, r, y, j, n, &own);
    for (int64_t v = 0; v < d->n_vecs; v++) {
        const int64_t ch = lk_slide_ch(d, v), at = (r->to + j * d->phases) * d->n_ch + ch;
        lk_vf sum[DEPTHWISE];
        lk_slide_ask(tile, v, d->n_vecs);
        if (!past)
            lk_slide_ask(&own, v, d->n_vecs);
        LK_UNROLL(8)
        for (int i = 0; i < DEPTHWISE; i++)
            sum[i] = *(const lk_lanes_in *)(bias + v * LK_LANES);
        depthwise_vector(q, r, tile, rows, ch, filter + v * q->w_vec, d->tap_step * LK_LANES, sum);
        if (n == DEPTHWISE && n_lanes == LK_LANES) {
            LK_UNROLL(8)
            for (int i = 0; i < DEPTHWISE; i++)
                depthwise_store(y, at + i * step, LK_LANES, past, sum[i]);
        } else {
            lk_vf rest[DEPTHWISE];
            memcpy(rest, sum, sizeof rest);
            for (int64_t i = 0; i < n; i++)
                depthwise_store(y, at + i * step, n_lanes, 0, rest[i]);
        }
    }
}

static void depthwise_unit(const lk_call *c, const direct *q, int64_t u, char *space)
{
    const int past = depthwise_past(&c->out[0], &q->d);
    lk_slide_run r;
    lk_slide_rows tile;
    lk_slide_find(&q->d, u, &r);
    for (int64_t j = 0; j < r.n; j += DEPTHWISE) {
        lk_slide_tile(&q->d, &r, j, 0, r.n_lines, space, &tile);
        if (past)
            depthwise_tile(c, q, &r, &tile, j, LK_ROW_F32, 1);
        else if (q->d.rows == LK_ROW_F32)
            depthwise_tile(c, q, &r, &tile, j, LK_ROW_F32, 0);
        else
            depthwise_tile(c, q, &r, &tile, j, LK_ROW_HALF, 0);
    }
}

/* ---- depthwise: the gradient of the filter ---- */

/* sum[t] += rows times dy at each tap of a group. */
LK_INLINE void slide_dw(const int n_taps, const lk_row_kind rows, const char *row, int64_t pitch,
                        const lk_vf *dy, float *to, int64_t tap_step)
{
    lk_vf sum[8];
    LK_UNROLL(8)
    for (int t = 0; t < n_taps; t++)
        sum[t] = *(const lk_lanes_in *)(to + t * tap_step * LK_LANES);
    LK_UNROLL(32)
    for (int r = 0; r < DEPTHWISE + n_taps - 1; r++) {
        const lk_vf x = lk_slide_row(rows, row + r * pitch);
        LK_UNROLL(8)
        for (int t = 0; t < n_taps; t++)
            if (r >= t && r - t < DEPTHWISE)
                sum[t] += x * dy[r - t];
    }
    LK_UNROLL(8)
    for (int t = 0; t < n_taps; t++)
        *(lk_lanes_in *)(to + t * tap_step * LK_LANES) = sum[t];
}

/* Rows of dy, as many as there are among DEPTHWISE, times those of x they meet. */
LK_INLINE void depthwise_dw_tile(const direct *q, const lk_slide_run *r, const lk_slide_rows *tile,
                                 const lk_slide_rows *dy, int64_t n, const lk_row_kind rows,
                                 float *sum)
{
    const lk_slide *d = &q->d;
    for (int64_t v = 0; v < d->n_vecs; v++) {
        const int64_t offset = lk_slide_ch(d, v) * (int64_t)lk_dtype_bytes(d->t->dtype);
        float *w = sum + v * q->w_vec;
        lk_vf number[DEPTHWISE];
        lk_slide_ask(tile, v, d->n_vecs);
        lk_slide_ask(dy, v, d->n_vecs);
        LK_UNROLL(24)
        for (int i = 0; i < DEPTHWISE; i++)
            number[i] =
                i < n ? lk_slide_row(rows, dy->group[0] + i * dy->pitch + offset) : (lk_vf){0};
        for (int64_t i = 0; i < r->n_groups; i++) {
            const lk_slide_group *g = &r->group[i];
            GROUPS_OF(LK_SLIDE_GROUP, g->n,
                      slide_dw(n_taps, rows, tile->group[i] + offset, tile->pitch * d->step, number,
                               w + g->tap * LK_LANES, d->tap_step))
        }
    }
}

static void depthwise_dw_part(const lk_call *c, const direct *q, int64_t part, char *space)
{
    const lk_slide *d = &q->d;
    const int64_t first = d->n_units * part / q->n_parts;
    const int64_t end = d->n_units * (part + 1) / q->n_parts;
    float *sum = (float *)((char *)c->work + q->at_parts) + part * q->w_size;
    memset(sum, 0, (size_t)q->w_size * sizeof *sum);
    for (int64_t u = first; u < end; u++) {
        lk_slide_run r;
        lk_slide_rows tile, dy;
        lk_slide_find(d, u, &r);
        for (int64_t j = 0; j < r.n; j += DEPTHWISE) {
            const int64_t n = r.n - j < DEPTHWISE ? r.n - j : DEPTHWISE;
            depthwise_own(d, &r, &c->in[1], j, n, &dy);
            if (d->n_ch < d->width) {
                lk_slide_copy(d, dy.group[0], n, 0, n, space + d->copy);
                dy.pitch = d->copy_pitch;
                dy.group[0] = space + d->copy;
            }
            lk_slide_tile(d, &r, j, 0, r.n_lines, space, &tile);
            if (d->rows == LK_ROW_F32)
                depthwise_dw_tile(q, &r, &tile, &dy, n, LK_ROW_F32, sum);
            else
                depthwise_dw_tile(q, &r, &tile, &dy, n, LK_ROW_HALF, sum);
        }
    }
}

static void depthwise_dw_finish(const lk_call *c, const direct *q)
{
    const lk_slide *d = &q->d;
    const float *part = (const float *)((char *)c->work + q->at_parts);
    float *dw = c->out[0].data;
    for (int64_t o = 0; o < d->n_ch; o++)
        for (int64_t k = 0; k < d->n_taps; k++) {
            const int64_t v = o / LK_LANES, lane = o - lk_slide_ch(d, v);
            float sum = 0;
            for (int64_t p = 0; p < q->n_parts; p++)
                sum += part[p * q->w_size + v * q->w_vec + k * LK_LANES + lane];
            dw[o * d->n_taps + k] = sum;
        }
}

/* ---- narrow ---- */

/* Results [n, n_in] from the sums of their lanes, and what else the last vector has. */
LK_INLINE void narrow_fold(const int n, const lk_vf *sum, float *dx)
{
    LK_UNROLL(6)
    for (int i = 0; i < n; i += LK_LANES) {
        lk_lanes t[LK_LANES];
        LK_UNROLL(16)
        for (int l = 0; l < LK_LANES; l++)
            t[l] = i + l < n ? (lk_lanes)sum[i + l] : (lk_lanes){0};
        lk_lanes_sums(t);
        lk_lanes_store(dx + i, &t[0]);
    }
}

/* A tile of results from lines [line0, line1) of the filter; what earlier lines gave is in sums
 * [n, n_in, lanes], and so is what the last ones do not complete. */
LK_INLINE void narrow_sums(const direct *q, const lk_slide_run *r, const lk_slide_rows *tile,
                           int64_t line0, int64_t line1, const int n, const int n_in,
                           const int most, const lk_row_kind rows, const float *filter, float *sums,
                           float *dx)
{
    const lk_slide *d = &q->d;
    const int64_t pitch = tile->pitch * d->step, w_tap = d->tap_step * q->w_tap;
    const int64_t bytes = (int64_t)lk_dtype_bytes(d->t->dtype);
    lk_vf sum[24];
    LK_UNROLL(24)
    for (int i = 0; i < n * n_in; i++)
        sum[i] = line0 ? (lk_vf) * (const lk_lanes_in *)(sums + i * LK_LANES) : (lk_vf){0};
    for (int64_t i = r->groups[line0]; i < r->groups[line1]; i++) {
        const lk_slide_group *g = &r->group[i];
        const char *row = tile->group[i];
        const float *w = filter + g->tap * q->w_tap;
        lk_slide_ask(tile, i - r->groups[line0], r->groups[line1] - r->groups[line0]);
        GROUPS_OF(most, g->n,
                  for (int64_t v = 0; v < d->n_vecs; v++)
                      slide(n, n_in, n_taps, rows, row + lk_slide_ch(d, v) * bytes, pitch,
                            w + v * q->w_vec, w_tap, sum))
    }
    if (line1 >= r->n_lines) {
        narrow_fold(n * n_in, sum, dx);
        return;
    }
    LK_UNROLL(24)
    for (int i = 0; i < n * n_in; i++)
        *(lk_lanes_in *)(sums + i * LK_LANES) = sum[i];
}

#define HALVES (LK_VEC_DOT ? LK_ROW_DOT : LK_ROW_HALF)
#define NARROW_TILE(n_in)                                                                          \
    static void narrow_tile_##n_in(const direct *q, const lk_slide_run *r,                         \
                                   const lk_slide_rows *tile, int64_t line0, int64_t line1,        \
                                   const float *filter, float *sums, float *dx)                    \
    {                                                                                              \
        if (q->d.rows == LK_ROW_F32)                                                               \
            narrow_sums(q, r, tile, line0, line1, RESULTS(n_in), n_in, TAPS(n_in), LK_ROW_F32,     \
                        filter, sums, dx);                                                         \
        else                                                                                       \
            narrow_sums(q, r, tile, line0, line1, RESULTS(n_in), n_in, TAPS(n_in), HALVES, filter, \
                        sums, dx);                                                                 \
    }
NARROW_TILE(1)
NARROW_TILE(2)
NARROW_TILE(3)
NARROW_TILE(4)

/* A run's results go where they belong. */
static void narrow_finish(const lk_call *c, const direct *q, const lk_slide_run *r, float *dx)
{
    const int64_t n_in = q->n_in, phases = q->d.phases;
    const float *bias = lk_has(c, 2) ? c->in[2].data : NULL;
    for (int64_t j = 0; bias && j < r->n; j++)
        for (int64_t i = 0; i < n_in; i++)
            dx[j * n_in + i] += bias[i];
    if (phases == 1)
        lk_store(c->out[0].dtype, c->out[0].data, r->to * n_in, r->n * n_in, dx);
    else
        for (int64_t j = 0; j < r->n; j++)
            lk_store(c->out[0].dtype, c->out[0].data, (r->to + j * phases) * n_in, n_in,
                     dx + j * n_in);
}

/* The lines of the filter come a few at a time, so that they are still in the first cache at the
 * next tile. */
static void narrow_unit(const lk_call *c, const direct *q, int64_t u, char *space)
{
    const int64_t n_in = q->n_in;
    const int64_t line_bytes = q->d.s.taps[2] * q->w_tap * (int64_t)sizeof(float);
    const int64_t lines = line_bytes < LINES_BYTES ? LINES_BYTES / line_bytes : 1;
    _Alignas(64) float sums[(SUMS + SPARE) * LK_LANES], dx[SUMS + SPARE];
    lk_slide_run r;
    lk_slide_rows tile;
    lk_slide_find(&q->d, u, &r);
    for (int64_t line = 0; line == 0 || line < r.n_lines; line += lines)
        for (int64_t j = 0; j < r.n; j += q->d.tile) {
            const int64_t end = line + lines < r.n_lines ? line + lines : r.n_lines;
            lk_slide_tile(&q->d, &r, j, line, end, space, &tile);
            (n_in == 1   ? narrow_tile_1
             : n_in == 2 ? narrow_tile_2
             : n_in == 3 ? narrow_tile_3
                         : narrow_tile_4)(q, &r, &tile, line, end, c->work,
                                          sums + j * n_in * LK_LANES, dx + j * n_in);
        }
    narrow_finish(c, q, &r, dx);
}

/* ---- sharing out ---- */

/* Shares of one piece for each worker; into few channels, of which runs at the border take less
 * time, they take turns with a few runs. */
static void run_workers(void *context, int64_t first, int64_t end)
{
    const lk_call *c = context;
    const direct q = direct_of(c);
    const int64_t n = q.dw ? q.n_parts : q.d.n_units, n_workers = lk_threads();
    const int64_t share = q.depthwise ? (n + n_workers - 1) / n_workers : TURN;
    for (int64_t worker = first; worker < end; worker++) {
        char *space = (char *)c->work + q.at_workers + worker * q.worker;
        for (int64_t from = worker * share; from < n; from += n_workers * share)
            for (int64_t u = from; u < from + share && u < n; u++)
                (q.dw          ? depthwise_dw_part
                 : q.depthwise ? depthwise_unit
                               : narrow_unit)(c, &q, u, space);
    }
#if LK_LANES == 16
    _mm_sfence(); /* what went past the caches is there for other threads */
#endif
}

void LK_VEC(lk_vec_direct)(const lk_call *c)
{
    const direct q = direct_of(c);
    union {
        const lk_call *c;
        void *v;
    } u = {.c = c};
    if (!q.dw)
        pack_filter(c, &q, c->work);
    lk_parallel_for(lk_threads(), 1, run_workers, u.v);
    if (q.dw)
        depthwise_dw_finish(c, &q);
}
