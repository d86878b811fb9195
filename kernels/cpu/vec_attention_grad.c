/* vec_attention_grad.c - attention's gradients: a pass with the keys as lanes for dk and dv, and
 * for dq either that pass too, or, where heads are few or long or have slopes, one with the queries
 * as lanes (vec_attention.h; formulas in ops/attention.c).
 *
 * Both compute scores again: with lanes x and rows y of either side,
 *
 *   s = y0 x0,  p = 2^(c s - l),  g = y1 x1,  ds = p (g - e)
 *
 * x0, x1 = q, dout against y0, y1 = k, v; or k, v against q, dout.  l = lse log2 e and e belong to
 * the query, so to the lane in the first pass and to the row in the second.  Then dq = scale ds y0;
 * dk = scale ds y0, dv = p y1.  Where the pass over keys has dq as well, one thread goes through
 * all tiles of a head's keys, and dq of its queries, in memory of the thread, grows by scale ds x0
 * with each: five products instead of seven.  Each number is summed by one thread, in order: no
 * result depends on who computes what.
 */
#include "kernels/cpu/vec_attention.h"

LK_TILE_FNS(scores, LK_TILE_SET, step, 1)
LK_TILE_FNS(weighted, LK_TILE_ADD, 1, step)
LK_TILE_FNS(answers, LK_TILE_ADD, step, 1)

/* What of a head's queries stays with a thread, in numbers; within its second cache. */
#define LK_MOST_DQ (1 << 17)
/* Samples times heads of keys from which heads alone keep threads busy. */
#define LK_MANY_HEADS 16

/* What a tile's lanes carry: time, l, e; and with slopes, so far, the sums of ds and of p, and of
 * each times the distance in time on either side (0: the row is earlier). */
typedef struct lanes {
    float s[LK_WIDE], l[LK_WIDE], e[LK_WIDE];
    float ds[LK_WIDE], p[LK_WIDE], far_ds[2][LK_WIDE], far_p[2][LK_WIDE];
} lanes;

/* For dq in the pass over keys. */
typedef struct answer {
    float *dq;    /* [heads that share keys, N, D], or NULL: dq comes from elsewhere */
    float *keys;  /* [LK_WIDE, D] of the tile, or words of two rows */
    float *words; /* [LK_ROWS, LK_WIDE / 2], ds in bf16 */
} answer;

static int64_t answer_floats(const lk_attention_sizes *s)
{
    return s->heads / s->kv_heads * s->n * s->d + LK_WIDE * s->d + LK_ROWS * LK_WIDE / 2;
}

/* By shapes alone, so that numbers do not depend on how many threads there are. */
static int answers_by_key(const lk_call *c, const lk_attention_sizes *s)
{
    return !lk_has(c, LK_ATTENTION_SLOPE) && s->n_batch * s->kv_heads >= LK_MANY_HEADS &&
           (s->d == 16 || s->d == 32 || s->d == 64) &&
           s->heads / s->kv_heads * s->n * s->d <= LK_MOST_DQ;
}

static inline float log2_of(float lse)
{
    return lse == -INFINITY ? 0 : lse * LK_LOG2E; /* no key: masked everywhere */
}

/* Of s make p, of g make ds. */
LK_INLINE void weights(const int width, const int by_key, const lk_attend_job *j, int64_t row_at,
                       const lanes *w, int64_t first, int64_t end, float *s, float *g)
{
    const float *lse = j->c->in[LK_ATTENTION_LSE].data, c = (float)j->s.scale * LK_LOG2E;
    for (int64_t r = first; r < end; r++) {
        const float row_l = by_key ? log2_of(lse[row_at + r]) : 0;
        const float row_e = by_key ? j->e[row_at + r] : 0;
        for (int i = 0; i < width; i++) {
            const float l = by_key ? row_l : w->l[i], e = by_key ? row_e : w->e[i];
            const float p = lk_exp2_down(s[r * width + i] * c - l);
            s[r * width + i] = p;
            g[r * width + i] = p * (g[r * width + i] - e);
        }
    }
}

/* sum += weights^T rows, for rows of t whose row 0 is element `at`. */
LK_INLINE void add_rows(const int width, int dot, const lk_tensor *t, int64_t at, int64_t first,
                        int64_t end, int64_t d, float *weight, float *copy, float *pairs,
                        float *sum)
{
    lk_tile_fn *const add = weighted[width / 32][dot];
    const int64_t k0 = first / 2, k1 = (end + 1) / 2;
    if (dot) {
        lk_attend_pair_weights(width, first, end, weight, pairs);
        lk_attend_pair_rows(t, at, first, end, d, copy);
        add(copy + k0 * d, d, d, pairs + k0 * width, k1 - k0, sum, NULL);
    } else {
        add(lk_attend_along(0, t, at + first * d, end - first, d, copy), d, d,
            weight + first * width, end - first, sum, NULL);
    }
}

LK_INLINE void add_cost(const int width, const lk_attend_job *j, int64_t b, int64_t base,
                        int64_t first, int64_t end, const float *p, const float *ds, lanes *w)
{
    const float *row_s = lk_attend_times_of(j, b, 1);
    for (int64_t r = first; r < end; r++)
        for (int i = 0; i < width; i++) {
            const float dt = w->s[i] - row_s[base + r];
            const float before = dt < 0 ? 0 : dt, after = dt < 0 ? -dt : 0;
            const float x = ds[r * width + i], y = p[r * width + i];
            w->ds[i] += x;
            w->p[i] += y;
            w->far_ds[0][i] += x * before;
            w->far_ds[1][i] += x * after;
            w->far_p[0][i] += y * before;
            w->far_p[1][i] += y * after;
        }
}

/* A query's ds sum to the gradient at its lse.  What they sum to beyond that comes from an e whose
 * `out` was rounded, and is spread as p: taken off, slopes do not feel that rounding. */
static float cost_of(const lanes *w, int side, int64_t i, float dlse)
{
    const float too_much = (w->ds[i] - dlse) / w->p[i];
    return -(w->far_ds[side][i] - too_much * w->far_p[side][i]);
}

/* dq of rows first .. end - 1, without the scale.  Lanes that see nothing are not masked in rows
 * that all others see, and neither are those beyond the last, of which one may share a word with
 * it. */
LK_INLINE void add_answers(const int width, int dot, const answer *a, const lk_attend_place *p,
                           int64_t d, int64_t first, int64_t end, float *ds, float *dq)
{
    lk_tile_fn *const add = answers[d / 32][dot];
    for (int64_t i = 0; i < (p->n + 1) / 2 * 2; i++)
        for (int64_t r = first; r < end && (i >= p->n || p->lo[i] >= p->hi[i]); r++)
            ds[r * width + i] = 0;
    if (dot) {
        lk_store(LK_BF16, a->words, 0, (end - first) * width, ds + first * width);
        add(a->words, width / 2, end - first, a->keys, (p->n + 1) / 2, dq, NULL);
    } else {
        add(ds + first * width, width, end - first, a->keys, p->n, dq, NULL);
    }
}

/* Rows base .. of head h of the queries and hk of the keys. */
LK_INLINE void grad_rows(const int width, int dot, const int by_key, const lk_attend_job *j,
                         const lk_scratch *m, const lk_attend_place *p, int64_t h, int64_t hk,
                         int64_t base, lanes *w, const answer *a)
{
    const lk_call *c = j->c;
    lk_tile_fn *const set = scores[width / 32][dot];
    const lk_tensor *y0 = &c->in[by_key ? 0 : 1], *y1 = &c->in[by_key ? LK_ATTENTION_DOUT : 2];
    const int64_t d = j->s.d, words = dot ? d / 2 : d;
    const int64_t first = p->see.first > base ? p->see.first - base : 0;
    const int64_t end = p->see.end - base < LK_ROWS ? p->see.end - base : LK_ROWS;
    const int64_t row =
        (by_key ? (p->b * j->s.heads + h) : (p->b * j->s.kv_heads + hk)) * j->n_rows + base;
    const int64_t at = (row + first) * d, n = end - first, more = p->see.end - base - LK_ROWS;
    for (int i = 0; i < 2 && more > 0; i++)
        lk_attend_fetch(i ? y1 : y0, (row + LK_ROWS) * d, (more < LK_ROWS ? more : LK_ROWS) * d);
    set(lk_attend_along(dot, y0, at, n, d, m->copy[0]), words, n, m->lanes[0], words,
        m->s + first * width, NULL);
    set(lk_attend_along(dot, y1, at, n, d, m->copy[1]), words, n, m->lanes[1], words,
        m->ds + first * width, NULL);
    lk_attend_bias(width, j, p->b, h, w->s, base, first, end, m->s);
    if (base + first < p->see.full_first || base + end > p->see.full_end)
        lk_attend_mask(width, p, base, first, end, -INFINITY, m->s);
    weights(width, by_key, j, row, w, first, end, m->s, m->ds);
    if (by_key)
        add_rows(width, dot, y1, row * d, first, end, d, m->s, m->copy[1], m->pairs, m->sum[1]);
    else if (lk_has(c, LK_ATTENTION_SLOPE))
        add_cost(width, j, p->b, base, first, end, m->s, m->ds, w);
    add_rows(width, dot, y0, row * d, first, end, d, m->ds, m->copy[0], m->pairs, m->sum[0]);
    if (a)
        add_answers(width, dot, a, p, d, first, end, m->ds,
                    a->dq + ((h % (j->s.heads / j->s.kv_heads)) * j->s.n + base + first) * d);
}

static void load_lanes(const lk_attend_job *j, const lk_attend_place *p, int64_t row, lanes *w)
{
    const float *lse = j->c->in[LK_ATTENTION_LSE].data;
    memset(w, 0, sizeof *w);
    lk_attend_lane_times(j, p, w->s);
    for (int i = 0; i < p->n && !j->by_key; i++) {
        w->l[i] = log2_of(lse[row + i]);
        w->e[i] = j->e[row + i];
    }
}

LK_INLINE void query_tile(const int width, int dot, const lk_attend_job *j, const lk_scratch *m,
                          int64_t item)
{
    const lk_call *c = j->c;
    const int64_t d = j->s.d;
    const float *dlse = c->in[LK_ATTENTION_DLSE].data;
    float factor[LK_WIDE];
    lk_attend_place p;
    lanes w;
    int64_t row;
    lk_attend_find(j, item, &p);
    row = (p.b * j->s.heads + p.h) * j->s.n + p.first;
    load_lanes(j, &p, row, &w);
    lk_attend_turn(width, dot, &c->in[0], row * d, p.n, d, m->copy[0], m->lanes[0]);
    lk_attend_turn(width, dot, &c->in[LK_ATTENTION_DOUT], row * d, p.n, d, m->copy[0], m->lanes[1]);
    memset(m->sum[0], 0, (size_t)(d * width) * sizeof(float));
    for (int64_t base = p.see.first / LK_ROWS * LK_ROWS; base < p.see.end; base += LK_ROWS)
        grad_rows(width, dot, 0, j, m, &p, p.h, p.h * j->s.kv_heads / j->s.heads, base, &w, NULL);
    for (int i = 0; i < width; i++)
        factor[i] = p.lo[i] < p.hi[i] ? (float)j->s.scale : 0;
    if (c->out[0].data)
        lk_attend_store(width, m->sum[0], factor, &c->out[0], row * d, p.n, d);
    for (int side = 0; side < 2; side++) {
        j->parts[2 * item + side] = 0;
        for (int64_t i = 0; i < p.n && lk_has(c, LK_ATTENTION_SLOPE); i++)
            if (p.lo[i] < p.hi[i])
                j->parts[2 * item + side] += cost_of(&w, side, i, dlse ? dlse[row + i] : 0);
    }
}

LK_INLINE void key_tile(const int width, int dot, const lk_attend_job *j, const lk_scratch *m,
                        int64_t item, const answer *a)
{
    const lk_call *c = j->c;
    const int64_t d = j->s.d, group = j->s.heads / j->s.kv_heads;
    float factor[LK_WIDE], one[LK_WIDE];
    lk_attend_place p;
    lanes w;
    int64_t row;
    lk_attend_find(j, item, &p);
    row = (p.b * j->s.kv_heads + p.h) * j->s.m + p.first;
    load_lanes(j, &p, row, &w);
    for (int i = 0; i < 2; i++) {
        lk_attend_turn(width, dot, &c->in[1 + i], row * d, p.n, d, m->copy[0], m->lanes[i]);
        memset(m->sum[i], 0, (size_t)(d * width) * sizeof(float));
    }
    if (a && dot)
        lk_attend_pair_rows(&c->in[1], row * d, 0, p.n, d, a->keys);
    else if (a)
        lk_load(c->in[1].dtype, c->in[1].data, row * d, p.n * d, a->keys);
    for (int64_t h = p.h * group; h < (p.h + 1) * group; h++)
        for (int64_t base = p.see.first / LK_ROWS * LK_ROWS; base < p.see.end; base += LK_ROWS)
            grad_rows(width, dot, 1, j, m, &p, h, p.h, base, &w, a);
    for (int i = 0; i < width; i++) {
        one[i] = p.lo[i] < p.hi[i];
        factor[i] = one[i] * (float)j->s.scale;
    }
    if (c->out[1].data)
        lk_attend_store(width, m->sum[0], factor, &c->out[1], row * d, p.n, d);
    if (c->out[2].data)
        lk_attend_store(width, m->sum[1], one, &c->out[2], row * d, p.n, d);
}

static int64_t answer_rows(const lk_attend_job *j)
{
    return j->s.heads / j->s.kv_heads * j->s.n;
}

static answer answer_at(const lk_attend_job *j, const lk_scratch *m)
{
    float *const keys = m->more + answer_rows(j) * j->s.d;
    return (answer){m->more, keys, keys + LK_WIDE * j->s.d};
}

/* The dq of the heads that share head `item` of the keys: neighbours. */
static void store_answers(const lk_attend_job *j, const answer *a, int64_t item)
{
    const int64_t n = answer_rows(j) * j->s.d;
    for (int64_t i = 0; i < n; i++)
        a->dq[i] *= (float)j->s.scale;
    lk_store(j->c->out[0].dtype, j->c->out[0].data, item * n, n, a->dq);
}

#define TILES(width)                                                                               \
    static void query_##width(const lk_attend_job *j, const lk_scratch *m, int64_t item)           \
    {                                                                                              \
        query_tile(width, lk_attend_dots(j->c, j->s.d), j, m, item);                               \
    }                                                                                              \
    static void key_##width(const lk_attend_job *j, const lk_scratch *m, int64_t item)             \
    {                                                                                              \
        key_tile(width, lk_attend_dots(j->c, j->s.d), j, m, item, NULL);                           \
    }                                                                                              \
    static void head_##width(const lk_attend_job *j, const lk_scratch *m, int64_t item)            \
    {                                                                                              \
        const answer a = answer_at(j, m);                                                          \
        memset(a.dq, 0, (size_t)(answer_rows(j) * j->s.d) * sizeof(float));                        \
        for (int64_t t = 0; t < j->tiles; t++)                                                     \
            key_tile(width, lk_attend_dots(j->c, j->s.d), j, m, item * j->tiles + t, &a);          \
        store_answers(j, &a, item);                                                                \
    }
TILES(16)
TILES(32)
TILES(64)

/* e = dout . out - dlse, a row of queries each. */
static void find_e(void *context, int64_t first, int64_t end)
{
    const lk_attend_job *j = context;
    const float *dlse = j->c->in[LK_ATTENTION_DLSE].data;
    const int64_t d = j->s.d;
    for (int64_t u = first; u < end; u++) {
        float a[256], b[256], sum = 0;
        lk_load(j->c->in[LK_ATTENTION_OUT].dtype, j->c->in[LK_ATTENTION_OUT].data, u * d, d, a);
        lk_load(j->c->in[LK_ATTENTION_DOUT].dtype, j->c->in[LK_ATTENTION_DOUT].data, u * d, d, b);
#pragma omp simd reduction(+ : sum)
        for (int64_t x = 0; x < d; x++)
            sum += a[x] * b[x];
        j->e[u] = sum - (dlse ? dlse[u] : 0);
    }
}

static void find_slopes(const lk_attend_job *j)
{
    float *slope = j->c->out[3].data;
    for (int64_t h = 0; h < j->s.heads; h++)
        for (int side = 0; side < 2; side++) {
            double sum = 0;
            for (int64_t b = 0; b < j->s.n_batch; b++)
                for (int64_t t = 0; t < j->tiles; t++)
                    sum += (double)j->parts[2 * ((b * j->s.heads + h) * j->tiles + t) + side];
            slope[2 * h + side] = (float)sum;
        }
}

static int64_t n_queries(const lk_attention_sizes *s)
{
    return s->n_batch * s->heads * s->n;
}

static lk_status attention_grad_prepare(lk_call *c, size_t *work_bytes)
{
    const lk_attention_sizes s = lk_attention_sizes_of(c);
    const int64_t parts = 2 * s.n_batch * s.heads * ((s.n + 15) / 16);
    const int64_t each = answers_by_key(c, &s) ? answer_floats(&s) : 0;
    return lk_attend_prepare(c, (size_t)each, (size_t)(n_queries(&s) + parts), work_bytes);
}

static lk_status attention_grad_whole(const lk_call *c)
{
    lk_status st = LK_OK;
    lk_attend_job q, k;
    LK_TRY(lk_attend_job_new(&q, c, 0));
    LK_TRY(lk_attend_job_new(&k, c, 1));
    const int by_key = answers_by_key(c, &q.s);
    q.more = k.more = by_key ? answer_floats(&q.s) : 0;
    q.e = k.e = q.scratch + (size_t)q.threads * lk_scratch_all(&q);
    q.parts = q.e + n_queries(&q.s);
    lk_parallel_for(n_queries(&q.s), 256, find_e, &q);
    if (by_key && c->out[0].data) {
        k.items /= k.tiles;
        k.tile = k.height == 16 ? head_16 : k.height == 32 ? head_32 : head_64;
        lk_attend_run(&k);
        goto done;
    }
    q.tile = q.height == 16 ? query_16 : q.height == 32 ? query_32 : query_64;
    k.tile = k.height == 16 ? key_16 : k.height == 32 ? key_32 : key_64;
    if (c->out[0].data || c->out[3].data)
        lk_attend_run(&q);
    if (c->out[3].data)
        find_slopes(&q);
    if (c->out[1].data || c->out[2].data)
        lk_attend_run(&k);
done:
    return st;
}

const lk_cpu_kernel LK_VEC(lk_cpu_attention_grad) = {
    .prepare = attention_grad_prepare, .release = lk_attend_release, .whole = attention_grad_whole};
