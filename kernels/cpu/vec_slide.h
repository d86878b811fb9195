/* vec_slide.h - sums over the taps of a convolution, for vec_direct.c: the rows a filter slides
 * over are read where they lie.
 *
 * A map is rows of channels along its last dimension, its lines.  Results come in runs: `n` of them
 * along a line, `phases` apart (gradients with a stride: those that meet the same taps).  Result j
 * of a run meets row start + at + j step of a line at each of the run's taps; taps with
 * neighbouring `at` form a group, so that a row read once serves all of them.  A tile of results
 * whose rows are not all there, or narrower than a vector, gets a copy of them among zeros.
 *
 * Channels are taken a vector at a time; the last vector ends with the last channel, so it may
 * overlap the one before.
 */
#ifndef LK_CPU_VEC_SLIDE_H
#define LK_CPU_VEC_SLIDE_H

#include "kernels/cpu/vec_tile.h"
#include "kernels/ops/ops_impl.h"

#if LK_LANES == 16
#include <immintrin.h>
#endif

#define LK_SLIDE_TAPS  512
#define LK_SLIDE_GROUP (LK_LANES == 16 ? 8 : 4) /* taps of a group at most */

/* What a vector of a row is: LK_LANES of f32, of bf16 or pairs of bf16. */
typedef enum lk_row_kind { LK_ROW_F32, LK_ROW_HALF, LK_ROW_DOT } lk_row_kind;

typedef struct lk_slide {
    lk_conv_sizes s;
    const lk_tensor *t; /* whose rows are read */
    int dx;             /* results are positions of x and the rows dy's */
    lk_row_kind rows;
    int64_t size[3], n_ch; /* of t */
    int64_t to[3];         /* of the results' map */
    int64_t n_taps, phases, runs, run, tile;
    int64_t step, group, tap_step;       /* rows from result to result; most taps of a group */
    int64_t width, n_vecs, pitch;        /* channels of a vector; vectors and bytes of a row */
    int64_t copy_rows, copy_pitch, copy; /* of a tile's copy: rows of a line, bytes of one, all */
    int64_t n_units;
} lk_slide;

static inline int64_t lk_slide_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

/* `tile` results are wanted at a time, about `run` or fewer in a run, groups of at most `group`
 * taps. */
static lk_slide lk_slide_of(const lk_call *c, int64_t tile, int64_t run, int64_t group, int pairs)
{
    lk_slide d = {.s = lk_conv_sizes_of(c), .t = &c->in[0], .dx = c->node->op == LK_OP_CONV_DX};
    const lk_conv_sizes *s = &d.s;
    const int64_t bytes = (int64_t)lk_dtype_bytes(d.t->dtype);
    const int64_t reach = s->dilation[2] * (s->taps[2] - 1);
    memcpy(d.size, d.dx ? s->out : s->in, sizeof d.size);
    memcpy(d.to, d.dx ? s->in : s->out, sizeof d.to);
    d.n_ch = d.dx ? s->out_ch : s->in_ch;
    d.rows = d.t->dtype == LK_F32 ? LK_ROW_F32 : pairs ? LK_ROW_DOT : LK_ROW_HALF;
    d.n_taps = s->taps[0] * s->taps[1] * s->taps[2];
    d.phases = d.dx ? s->stride[2] : 1;
    d.step = d.dx ? 1 : s->stride[2];
    d.tile = tile;
    d.runs = lk_slide_up(lk_slide_up(d.to[2], d.phases) / d.phases, run) / run;
    d.run = d.runs ? (d.to[2] + d.runs * d.phases - 1) / (d.runs * d.phases) : 0;
    d.run = lk_slide_up(d.run, tile);
    d.runs *= d.phases;
    d.n_units = s->n_batch * d.to[0] * d.to[1] * d.runs;
    /* taps one row apart */
    d.group = 1;
    if (d.step == 1 && d.phases % s->dilation[2] == 0) {
        d.group = group;
        d.tap_step = d.dx ? -d.phases / s->dilation[2] : 1;
    }
    d.width = LK_LANES * (d.rows == LK_ROW_DOT ? 2 : 1);
    d.n_vecs = lk_slide_up(d.n_ch, d.width) / d.width;
    d.pitch = d.n_ch * bytes;
    d.copy_rows = (tile - 1) * d.step + (d.dx ? reach / s->stride[2] : reach) + 1;
    d.copy_pitch = lk_slide_up(d.n_ch < d.width ? d.width * bytes : d.pitch, 64);
    d.copy = s->taps[0] * s->taps[1] * d.copy_rows * d.copy_pitch;
    return d;
}

/* First channel of a vector. */
static inline int64_t lk_slide_ch(const lk_slide *d, int64_t v)
{
    const int64_t ch = v * d->width, last = d->n_ch - d->width;
    return last < 0 ? 0 : ch < last ? ch : last;
}

typedef struct lk_slide_group {
    int64_t at, tap, n; /* first row; first tap, the others d->tap_step apart */
} lk_slide_group;

typedef struct lk_slide_run {
    int64_t to, n; /* index of the first result's row; the others d->phases apart */
    int64_t start; /* row that result 0 meets at at = 0 */
    int64_t n_lines, n_groups;
    int64_t line[LK_SLIDE_TAPS];       /* of t */
    int64_t groups[LK_SLIDE_TAPS + 1]; /* line i has groups[i] .. groups[i + 1] - 1 */
    lk_slide_group group[LK_SLIDE_TAPS];
} lk_slide_run;

/* Where result `o` of dimension `dim` meets t at tap k; -1 for nowhere. */
static int64_t lk_slide_meets(const lk_slide *d, int dim, int64_t o, int64_t k)
{
    const lk_conv_sizes *s = &d->s;
    int64_t p = o * s->stride[dim] - s->lo[dim] + k * s->dilation[dim];
    if (d->dx) {
        p = o + s->lo[dim] - k * s->dilation[dim];
        if (p < 0 || p % s->stride[dim])
            return -1;
        p /= s->stride[dim];
    }
    return p >= 0 && p < d->size[dim] ? p : -1;
}

/* Floor of a / b, b > 0; mostly it is 1, and a division takes long. */
static inline int64_t lk_slide_floor(int64_t a, int64_t b)
{
    return b == 1 ? a : a >= 0 ? a / b : -((-a + b - 1) / b);
}

/* The taps along one line, from the first row on. */
static void lk_slide_line(const lk_slide *d, int64_t first, int64_t tap, lk_slide_run *r)
{
    const lk_conv_sizes *s = &d->s;
    const int64_t last = s->taps[2] - 1, before = r->n_groups;
    for (int64_t i = 0; i <= last; i++) {
        const int64_t k = d->dx ? last - i : i, p = first + s->lo[2] - k * s->dilation[2];
        lk_slide_group *g = r->n_groups > before ? &r->group[r->n_groups - 1] : NULL;
        int64_t at = k * s->dilation[2];
        if (d->dx && lk_slide_floor(p, s->stride[2]) * s->stride[2] != p)
            continue;
        if (d->dx)
            at = lk_slide_floor(p, s->stride[2]) - r->start;
        if (g && g->n < d->group && at == g->at + g->n)
            g->n++;
        else
            r->group[r->n_groups++] = (lk_slide_group){at, tap + k, 1};
    }
}

static void lk_slide_find(const lk_slide *d, int64_t u, lk_slide_run *r)
{
    const lk_conv_sizes *s = &d->s;
    const int64_t reach = s->dilation[2] * (s->taps[2] - 1);
    const int64_t phase = u % d->runs % d->phases, line = u / d->runs;
    const int64_t first = phase + u % d->runs / d->phases * d->run * d->phases;
    const int64_t o1 = line % d->to[1], o0 = line / d->to[1] % d->to[0];
    const int64_t b = line / d->to[1] / d->to[0];
    r->to = line * d->to[2] + first;
    r->n = first < d->to[2] ? (d->to[2] - first + d->phases - 1) / d->phases : 0;
    r->n = r->n < d->run ? r->n : d->run;
    r->start = d->dx ? lk_slide_floor(first + s->lo[2] - reach + s->stride[2] - 1, s->stride[2])
                     : first * s->stride[2] - s->lo[2];
    r->n_lines = r->n_groups = r->groups[0] = 0;
    for (int64_t k = 0; k < s->taps[0] * s->taps[1]; k++) {
        const int64_t p0 = lk_slide_meets(d, 0, o0, k / s->taps[1]);
        const int64_t p1 = lk_slide_meets(d, 1, o1, k % s->taps[1]);
        if (p0 < 0 || p1 < 0)
            continue;
        lk_slide_line(d, first, k * s->taps[2], r);
        r->line[r->n_lines++] = (b * d->size[0] + p0) * d->size[1] + p1;
        r->groups[r->n_lines] = r->n_groups;
    }
}

typedef struct lk_slide_span {
    const char *from;
    int64_t n; /* bytes */
} lk_slide_span;

/* The rows of a tile: where each group begins, bytes from row to row. */
typedef struct lk_slide_rows {
    int64_t pitch;
    lk_slide_span ahead;
    const char *group[LK_SLIDE_TAPS];
} lk_slide_rows;

/* n rows from `first` on of a line, to `copy`; zeros where nothing is. */
static void lk_slide_copy(const lk_slide *d, const char *line, int64_t n_rows, int64_t first,
                          int64_t n, char *copy)
{
    if (d->copy_pitch == d->pitch) {
        const int64_t before = first < 0 ? (-first < n ? -first : n) : 0;
        const int64_t left = n_rows - first < n ? n_rows - first : n;
        const int64_t there = left > before ? left - before : 0;
        memset(copy, 0, (size_t)(before * d->pitch));
        memcpy(copy + before * d->pitch, line + (first + before) * d->pitch,
               (size_t)(there * d->pitch));
        memset(copy + (before + there) * d->pitch, 0, (size_t)((n - before - there) * d->pitch));
        return;
    }
    for (int64_t i = 0; i < n; i++, copy += d->copy_pitch) {
        const int there = first + i >= 0 && first + i < n_rows;
        if (there)
            memcpy(copy, line + (first + i) * d->pitch, (size_t)d->pitch);
        if (!there || d->n_ch < d->width)
            memset(copy + (there ? d->pitch : 0), 0,
                   (size_t)(d->copy_pitch - (there ? d->pitch : 0)));
    }
}

/* Rows that the next run needs and this one does not: those of a tile that far on in the only
 * line, or in the line after the run's last one. */
static lk_slide_span lk_slide_ahead(const lk_slide *d, const lk_slide_run *r, int64_t l,
                                    int64_t first)
{
    const int64_t n_lines = d->size[0] * d->size[1], next = r->line[l] + (n_lines > 1);
    const int64_t from = n_lines > 1 ? first : first + d->run * d->step;
    const int64_t end =
        from + d->tile * d->step < d->size[2] ? from + d->tile * d->step : d->size[2];
    const char *line = (const char *)d->t->data + next * d->size[2] * d->pitch;
    if (next >= d->s.n_batch * n_lines || (n_lines > 1 && l > 0 && r->line[l - 1] == next) ||
        (n_lines > 1 && l + 1 < r->n_lines && r->line[l + 1] == next))
        return (lk_slide_span){0};
    return (lk_slide_span){line + (from < 0 ? 0 : from) * d->pitch, (end - from) * d->pitch};
}

/* The rows of results j, .. of a run, on its lines [line0, line1). */
static void lk_slide_tile(const lk_slide *d, const lk_slide_run *r, int64_t j, int64_t line0,
                          int64_t line1, char *copy, lk_slide_rows *rows)
{
    const char *data = d->t->data;
    const int64_t first = r->start + j * d->step, size = d->size[2];
    const int there = first >= 0 && first + d->copy_rows <= size && d->n_ch >= d->width;
    rows->ahead = (lk_slide_span){0};
    rows->pitch = there ? d->pitch : d->copy_pitch;
    for (int64_t l = line0; l < line1; l++) {
        const char *from = data + r->line[l] * size * d->pitch;
        const lk_slide_span ahead = lk_slide_ahead(d, r, l, first);
        rows->ahead = ahead.n > 0 ? ahead : rows->ahead;
        if (there) {
            from += first * d->pitch;
        } else {
            lk_slide_copy(d, from, size, first, d->copy_rows, copy);
            from = copy;
            copy += d->copy_rows * d->copy_pitch;
        }
        for (int64_t i = r->groups[l]; i < r->groups[l + 1]; i++)
            rows->group[i] = from + r->group[i].at * rows->pitch;
    }
}

/* Asks for part `i` of `n` of what is ahead: spread over the work, for memory takes few requests at
 * a time. */
LK_INLINE void lk_slide_ask(const lk_slide_rows *rows, int64_t i, int64_t n)
{
    const lk_slide_span *a = &rows->ahead;
    const int64_t each = lk_slide_up((a->n + n - 1) / n, 64);
    for (int64_t b = i * each; b < (i + 1) * each && b < a->n; b += 64)
        __builtin_prefetch(a->from + b, 0, 2);
}

LK_INLINE lk_vf lk_slide_row(const lk_row_kind rows, const char *p)
{
    typedef float any __attribute__((vector_size(LK_LANES * 4), aligned(2), may_alias));
    if (rows == LK_ROW_HALF)
        return (lk_vf)lk_lanes_get(1, p, 0);
    return *(const any *)p;
}

#endif /* LK_CPU_VEC_SLIDE_H */
