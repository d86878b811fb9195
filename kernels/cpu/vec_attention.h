/* vec_attention.h - what attention's two passes share: tiles of a head and how they are shared out.
 *
 * A tile is up to 64 consecutive tokens of one head, the lanes, against runs of at most LK_KEY_TILE
 * tokens of the other side, the rows: queries against keys in the forward pass and for dq, keys
 * against queries for dk and dv.  Products never see more than [rows, lanes] scores.  The lanes'
 * operands are turned once per tile to [D, lanes]; the rows' are read where they lie (f32), as
 * words of two bf16 where the machine multiplies those, and through an f32 copy otherwise.
 *
 * Masks are two compares with the lanes' own runs of rows, and only rows that some lane does not
 * see are masked.  A lane's sum runs over its rows in order, in groups that end at multiples of
 * LK_KEY_TILE, and what it does not see adds exact zeros: so it does not depend on its neighbours.
 */
#ifndef LK_CPU_VEC_ATTENTION_H
#define LK_CPU_VEC_ATTENTION_H

#include "kernels/attention.h"
#include "kernels/cpu/vec_tile.h"
#include "kernels/mem.h"
#include "kernels/ops/ops_impl.h"
#include "kernels/thread.h"

#define LK_ROWS LK_KEY_TILE
#define LK_WIDE 64

/* A thread's own memory, [..] in f32. */
typedef struct lk_scratch {
    float *lanes[2]; /* [D, LK_WIDE] operands of the lanes, turned */
    float *sum[2];   /* [D, LK_WIDE] results */
    float *s, *ds;   /* [LK_ROWS, LK_WIDE] scores and their gradients */
    float *copy[2];  /* [LK_ROWS, D] rows in f32, or words of two rows */
    float *pairs;    /* [LK_ROWS / 2, LK_WIDE] words */
    float *more;     /* what a job asked for beyond that */
} lk_scratch;

static inline size_t lk_scratch_floats(int64_t d)
{
    const int64_t even = (d + 1) / 2 * 2;
    return (size_t)(4 * even * LK_WIDE + 2 * LK_ROWS * LK_WIDE + 2 * LK_ROWS * even +
                    LK_ROWS / 2 * LK_WIDE);
}

static inline lk_scratch lk_scratch_at(float *p, int64_t d)
{
    const int64_t even = (d + 1) / 2 * 2, tile = LK_ROWS * LK_WIDE;
    lk_scratch m;
    for (int i = 0; i < 2; i++, p += even * LK_WIDE)
        m.lanes[i] = p;
    for (int i = 0; i < 2; i++, p += even * LK_WIDE)
        m.sum[i] = p;
    for (int i = 0; i < 2; i++, p += LK_ROWS * even)
        m.copy[i] = p;
    m.s = p;
    m.ds = p + tile;
    m.pairs = p + 2 * tile;
    m.more = m.pairs + tile / 2;
    return m;
}

/* One pass over one side's tiles. */
typedef struct lk_attend_job {
    const lk_call *c;
    lk_attention_sizes s;
    int by_key;                 /* the lanes are keys */
    int64_t n_lanes;            /* tokens of a head on the lanes' side */
    int64_t n_rows;             /* on the rows' side */
    int64_t heads;              /* heads on the lanes' side */
    int height;                 /* lanes of a tile */
    int64_t tiles;              /* of a head */
    int64_t items;              /* calls of tile: a tile each, or a head */
    int64_t more;               /* numbers of lk_scratch.more */
    int64_t threads;            /* that there is scratch for */
    float *scratch, *e, *parts; /* e [B, H, N], parts [tiles of the pass, 2] (gradient) */
    void (*tile)(const struct lk_attend_job *j, const lk_scratch *m, int64_t item);
} lk_attend_job;

static inline size_t lk_scratch_all(const lk_attend_job *j)
{
    return lk_scratch_floats(j->s.d) + (size_t)j->more;
}

/* A tile's place: sample, head, first lane, lanes there are, their runs, and all rows they see. */
typedef struct lk_attend_place {
    int64_t b, h, first, n;
    lk_attend_tile see;
    int32_t lo[LK_WIDE], hi[LK_WIDE];
} lk_attend_place;

static inline const int32_t *lk_attend_rows(const lk_attend_job *j, int64_t b)
{
    const int32_t *plan = j->c->in[LK_ATTENTION_PLAN].data;
    return plan ? plan + 2 * (b * j->s.plan_rows + (j->by_key ? j->s.n : 0)) : NULL;
}

static inline void lk_attend_find(const lk_attend_job *j, int64_t item, lk_attend_place *p)
{
    const int64_t head = item / j->tiles;
    const int32_t *range;
    p->b = head / j->heads;
    p->h = head % j->heads;
    p->first = item % j->tiles * j->height;
    p->n = j->n_lanes - p->first < j->height ? j->n_lanes - p->first : j->height;
    range = lk_attend_rows(j, p->b);
    if (!range)
        p->see = (lk_attend_tile){0, 0, (int32_t)j->n_rows, (int32_t)j->n_rows};
    else
        p->see = lk_attend_tile_of(range + 2 * p->first, p->n);
    for (int i = 0; i < j->height; i++) {
        p->lo[i] = range && i < p->n ? range[2 * (p->first + i)] : 0;
        p->hi[i] = range ? i < p->n ? range[2 * (p->first + i) + 1] : 0 : (int32_t)j->n_rows;
    }
}

/* The least work among the heights; narrow tiles cost a little more a score. */
static inline int lk_attend_height(const lk_attend_job *j)
{
    static const struct {
        int height;
        double cost;
    } choice[] = {{64, 1.0}, {32, 1.05}, {16, 1.15}};
    int best = 0;
    double least = INFINITY;
    for (int i = 0; i < 3; i++) {
        const int64_t height = choice[i].height;
        double cost = 0;
        for (int64_t b = 0; b < j->s.n_batch; b++) {
            const int32_t *range = lk_attend_rows(j, b);
            cost += range ? (double)lk_attend_touched(range, j->n_lanes, height)
                          : (double)((j->n_lanes + height - 1) / height * height);
        }
        cost *= choice[i].cost;
        if (cost < least) {
            least = cost;
            best = choice[i].height;
        }
    }
    return best;
}

/* Neighbouring tiles share most of their rows, so threads take turns by groups of them. */
#define LK_GROUP 8

static inline void lk_attend_threads(void *context, int64_t first, int64_t end)
{
    const lk_attend_job *j = context;
    const int64_t items = j->items, even = items / (4 * j->threads);
    const int64_t group = even < 1 ? 1 : even < LK_GROUP ? even : LK_GROUP;
    for (int64_t lane = first; lane < end; lane++) {
        const lk_scratch m = lk_scratch_at(j->scratch + (size_t)lane * lk_scratch_all(j), j->s.d);
        for (int64_t i = lane * group; i < items; i += j->threads * group)
            for (int64_t k = i; k < i + group && k < items; k++)
                j->tile(j, &m, k);
    }
}

static inline void lk_attend_run(lk_attend_job *j)
{
    lk_parallel_for(j->threads, 1, lk_attend_threads, j);
}

/* Scratch for the threads in use, whose number c->state keeps, with n_each numbers more for each,
 * and n_more numbers behind it. */
static inline lk_status lk_attend_prepare(lk_call *c, size_t n_each, size_t n_more,
                                          size_t *work_bytes)
{
    lk_status st = LK_OK;
    int64_t *threads = NULL;
    LK_TRY(LK_NEW(&threads));
    *threads = lk_threads();
    c->state = threads;
    *work_bytes =
        ((size_t)*threads * (lk_scratch_floats(lk_attention_sizes_of(c).d) + n_each) + n_more) *
        sizeof(float);
done:
    return st;
}

static inline void lk_attend_release(lk_call *c)
{
    lk_free(c->state);
}

/* A pass with the queries (by_key 0) or the keys as lanes. */
static inline lk_status lk_attend_job_new(lk_attend_job *j, const lk_call *c, int by_key)
{
    const lk_attention_sizes s = lk_attention_sizes_of(c);
    const int ring = s.plan_rows == s.n && s.m % LK_ROWS == 0;
    lk_status st = LK_OK;
    *j = (lk_attend_job){.c = c, .s = s, .by_key = by_key, .scratch = c->work};
    j->n_lanes = by_key ? s.m : s.n;
    j->n_rows = by_key ? s.n : s.m;
    j->heads = by_key ? s.kv_heads : s.heads;
    j->threads = *(const int64_t *)c->state;
    if (s.plan_rows)
        for (int64_t b = 0; b < s.n_batch; b++)
            LK_TRY(lk_attend_check(lk_attend_rows(j, b), j->n_lanes, j->n_rows, ring));
    j->height = lk_attend_height(j);
    j->tiles = (j->n_lanes + j->height - 1) / j->height;
    j->items = s.n_batch * j->heads * j->tiles;
done:
    return st;
}

/* ---- operands ---- */

/* Bf16 words are multiplied as they are where the machine can and rows are whole words. */
static inline int lk_attend_dots(const lk_call *c, int64_t d)
{
    return LK_VEC_DOT && c->in[0].dtype == LK_BF16 && d % 2 == 0;
}

/* n rows of t from element `at` on, as words along d. */
LK_INLINE const lk_word *lk_attend_along(int dot, const lk_tensor *t, int64_t at, int64_t n,
                                         int64_t d, float *copy)
{
    if (dot)
        return (const lk_word *)((const lk_bf16 *)t->data + at);
    if (t->dtype == LK_F32)
        return (const lk_word *)t->data + at;
    lk_load(t->dtype, t->data, at, n * d, copy);
    return copy;
}

/* Lanes' rows from element `at` of t, turned. */
LK_INLINE void lk_attend_turn(const int width, int dot, const lk_tensor *t, int64_t at, int64_t n,
                              int64_t d, float *copy, float *to)
{
    lk_tile_turn(width, lk_attend_along(dot, t, at, n, d, copy), n, dot ? d / 2 : d, to);
}

/* Have the rows after a run on their way from memory while it is worked on. */
static inline void lk_attend_fetch(const lk_tensor *t, int64_t at, int64_t n)
{
    const char *from = (const char *)t->data + (size_t)at * lk_dtype_bytes(t->dtype);
    const int64_t bytes = n * (int64_t)lk_dtype_bytes(t->dtype);
    for (int64_t i = 0; i < bytes; i += 64)
        __builtin_prefetch(from + i, 0, 2);
}

/* Rows first .. end - 1 of a run whose row 0 is element `at` of t, as words of rows 2 k, 2 k + 1:
 * word [k, d] for k from first / 2 on; rows outside count as zeros. */
LK_INLINE void lk_attend_pair_rows(const lk_tensor *t, int64_t at, int64_t first, int64_t end,
                                   int64_t d, float *to)
{
    const lk_bf16 *from = (const lk_bf16 *)t->data + at;
    for (int64_t k = first / 2; 2 * k < end; k++) {
        const lk_bf16 *even = from + 2 * k * d, *odd = even + d;
        uint32_t w[256];
        if (2 * k < first)
            for (int64_t x = 0; x < d; x++)
                w[x] = (uint32_t)odd[x] << 16;
        else if (2 * k + 1 >= end)
            for (int64_t x = 0; x < d; x++)
                w[x] = even[x];
        else
            for (int64_t x = 0; x < d; x++)
                w[x] = even[x] | (uint32_t)odd[x] << 16;
        memcpy(to + k * d, w, (size_t)d * sizeof *w);
    }
}

/* Weights [rows, width] of rows first .. end - 1 as words of rows 2 k, 2 k + 1. */
LK_INLINE void lk_attend_pair_weights(const int width, int64_t first, int64_t end, float *weight,
                                      lk_word *to)
{
    if (first % 2)
        memset(weight + (first - 1) * width, 0, (size_t)width * sizeof *weight);
    if (end % 2)
        memset(weight + end * width, 0, (size_t)width * sizeof *weight);
    for (int64_t k = first / 2; 2 * k < end; k++)
        lk_tile_pair(width, weight + 2 * k * width, weight + (2 * k + 1) * width, to + k * width);
}

/* Results [d, width] to rows of t, each times the lane's factor. */
LK_INLINE void lk_attend_store(const int width, const float *sum, const float *factor,
                               const lk_tensor *t, int64_t at, int64_t n, int64_t d)
{
    float row[256];
    for (int64_t i = 0; i < n; i++) {
        for (int64_t x = 0; x < d; x++)
            row[x] = sum[x * width + i] * factor[i];
        lk_store(t->dtype, t->data, at + i * d, d, row);
    }
}

/* ---- scores ---- */

/* Times of a sample's tokens on the side of the lanes or of the rows; NULL without slopes. */
static inline const float *lk_attend_times_of(const lk_attend_job *j, int64_t b, int of_keys)
{
    const float *times = j->c->in[LK_ATTENTION_TIMES].data;
    return lk_has(j->c, LK_ATTENTION_SLOPE) ? times + b * (j->s.n + j->s.m) + (of_keys ? j->s.n : 0)
                                            : NULL;
}

static inline void lk_attend_lane_times(const lk_attend_job *j, const lk_attend_place *p,
                                        float *lane_s)
{
    const float *times = lk_attend_times_of(j, p->b, j->by_key);
    for (int i = 0; i < LK_WIDE; i++)
        lane_s[i] = times && i < p->n ? times[p->first + i] : 0;
}

/* Take the cost of distance in time off rows first .. end - 1 of s, which is not scaled yet. */
LK_INLINE void lk_attend_bias(const int width, const lk_attend_job *j, int64_t b, int64_t h,
                              const float *lane_s, int64_t base, int64_t first, int64_t end,
                              float *s)
{
    const float *row_s = lk_attend_times_of(j, b, !j->by_key);
    const float *slope = j->c->in[LK_ATTENTION_SLOPE].data;
    float lane_later, lane_earlier;
    if (!row_s)
        return;
    lane_later = slope[2 * h + j->by_key] / (float)j->s.scale;
    lane_earlier = slope[2 * h + !j->by_key] / (float)j->s.scale;
    for (int64_t r = first; r < end; r++)
        for (int i = 0; i < width; i++) {
            const float dt = lane_s[i] - row_s[base % j->n_rows + r];
            s[r * width + i] -= dt < 0 ? -dt * lane_earlier : dt * lane_later;
        }
}

LK_INLINE void lk_attend_mask(const int width, const lk_attend_place *p, int64_t base,
                              int64_t first, int64_t end, float with, float *s)
{
    for (int64_t r = first; r < end; r++)
        for (int i = 0; i < width; i++) {
            const int32_t at = (int32_t)(base + r);
            s[r * width + i] = at >= p->lo[i] && at < p->hi[i] ? s[r * width + i] : with;
        }
}

#endif /* LK_CPU_VEC_ATTENTION_H */
