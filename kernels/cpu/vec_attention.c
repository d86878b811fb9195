/* vec_attention.c - attention forward, one tile of queries at a time (vec_attention.h).
 *
 * Per query the largest score m so far, the sum l of exponentials and the sum of weighted values
 * are kept relative to m and rescaled when m grows (Milakov, Gimelshein 2018; Dao et al. 2022):
 *
 *   m' = max(m, scores),  f = 2^(c (m - m')),  p = 2^(c (s - m')),  c = scale log2 e
 *   l' = f l + sum p,     o' = f o + p v,      out = o / l,  lse = scale m + ln l
 */
#include "kernels/cpu/vec_attention.h"

LK_TILE_FNS(scores, LK_TILE_SET, step, 1)
LK_TILE_FNS(values, LK_TILE_SCALE_ADD, 1, step)

typedef struct running {
    _Alignas(64) float m[LK_WIDE];
    float l[LK_WIDE], f[LK_WIDE];
} running;

/* s becomes p; m, l and f follow. */
LK_INLINE void soften(const int width, float c, int64_t first, int64_t end, float *s, running *w)
{
    float m[LK_WIDE], sum[LK_WIDE] = {0};
    memcpy(m, w->m, sizeof m);
    for (int64_t r = first; r < end; r++)
        for (int i = 0; i < width; i++)
            m[i] = s[r * width + i] > m[i] ? s[r * width + i] : m[i];
    for (int i = 0; i < width; i++) {
        const float old = w->m[i];
        w->m[i] = m[i];
        m[i] = m[i] == -INFINITY ? 0 : m[i]; /* nothing seen yet: 2^-inf = 0 */
        w->f[i] = lk_exp2_down((old - m[i]) * c);
    }
    for (int64_t r = first; r < end; r++)
        for (int i = 0; i < width; i++) {
            const float p = lk_exp2_down((s[r * width + i] - m[i]) * c);
            s[r * width + i] = p;
            sum[i] += p;
        }
    for (int i = 0; i < width; i++)
        w->l[i] = w->l[i] * w->f[i] + sum[i];
}

/* sum = f sum + p v, for p in s. */
LK_INLINE void add_values(const int width, int dot, const lk_attend_job *j, const lk_scratch *m,
                          int64_t at, int64_t first, int64_t end, const running *w)
{
    lk_tile_fn *const add = values[width / 32][dot];
    const int64_t d = j->s.d;
    if (dot) {
        const int64_t k0 = first / 2, k1 = (end + 1) / 2;
        lk_attend_pair_weights(width, first, end, m->s, m->pairs);
        lk_attend_pair_rows(&j->c->in[2], at, first, end, d, m->copy[0]);
        add(m->copy[0] + k0 * d, d, d, m->pairs + k0 * width, k1 - k0, m->sum[0], w->f);
    } else {
        const lk_word *v =
            lk_attend_along(0, &j->c->in[2], at + first * d, end - first, d, m->copy[0]);
        add(v, d, d, m->s + first * width, end - first, m->sum[0], w->f);
    }
}

LK_INLINE void forward_rows(const int width, int dot, const lk_attend_job *j, const lk_scratch *m,
                            const lk_attend_place *p, int64_t base, const float *lane_s, running *w)
{
    const lk_call *c = j->c;
    const int64_t d = j->s.d, words = dot ? d / 2 : d;
    const int64_t first = p->see.first > base ? p->see.first - base : 0;
    const int64_t end = p->see.end - base < LK_ROWS ? p->see.end - base : LK_ROWS;
    const int64_t head = p->b * j->s.kv_heads + p->h * j->s.kv_heads / j->s.heads;
    const int64_t at = (head * j->s.m + base % j->s.m) * d;
    const int64_t next = (base + LK_ROWS) % j->s.m, more = p->see.end - base - LK_ROWS;
    const lk_word *k = lk_attend_along(dot, &c->in[1], at + first * d, end - first, d, m->copy[0]);
    if (more > 0)
        for (int i = 1; i < 3; i++)
            lk_attend_fetch(&c->in[i], (head * j->s.m + next) * d,
                            (more < LK_ROWS ? more : LK_ROWS) * d);
    scores[width / 32][dot](k, words, end - first, m->lanes[0], words, m->s + first * width, NULL);
    lk_attend_bias(width, j, p->b, p->h, lane_s, base, first, end, m->s);
    if (base + first < p->see.full_first || base + end > p->see.full_end)
        lk_attend_mask(width, p, base, first, end, -INFINITY, m->s);
    soften(width, (float)j->s.scale * LK_LOG2E, first, end, m->s, w);
    add_values(width, dot, j, m, at, first, end, w);
}

LK_INLINE void forward_tile(const int width, int dot, const lk_attend_job *j, const lk_scratch *m,
                            int64_t item)
{
    const int64_t d = j->s.d;
    float *lse = j->c->out[1].data, lane_s[LK_WIDE];
    lk_attend_place p;
    running w;
    int64_t row;
    lk_attend_find(j, item, &p);
    lk_attend_lane_times(j, &p, lane_s);
    row = (p.b * j->s.heads + p.h) * j->s.n + p.first;
    lk_attend_turn(width, dot, &j->c->in[0], row * d, p.n, d, m->copy[0], m->lanes[0]);
    memset(m->sum[0], 0, (size_t)(d * width) * sizeof(float));
    for (int i = 0; i < width; i++) {
        w.m[i] = -INFINITY;
        w.l[i] = 0;
    }
    for (int64_t base = p.see.first / LK_ROWS * LK_ROWS; base < p.see.end; base += LK_ROWS)
        forward_rows(width, dot, j, m, &p, base, lane_s, &w);
    for (int i = 0; i < width; i++) {
        const int seen = p.lo[i] < p.hi[i];
        w.f[i] = seen ? 1 / w.l[i] : 0;
        if (lse && i < p.n)
            lse[row + i] = seen ? (float)j->s.scale * w.m[i] + logf(w.l[i]) : -INFINITY;
    }
    lk_attend_store(width, m->sum[0], w.f, &j->c->out[0], row * d, p.n, d);
}

#define TILES(width)                                                                               \
    static void forward_##width(const lk_attend_job *j, const lk_scratch *m, int64_t item)         \
    {                                                                                              \
        forward_tile(width, lk_attend_dots(j->c, j->s.d), j, m, item);                             \
    }
TILES(16)
TILES(32)
TILES(64)

static lk_status attention_prepare(lk_call *c, size_t *work_bytes)
{
    return lk_attend_prepare(c, 0, 0, work_bytes);
}

static lk_status attention_whole(const lk_call *c)
{
    lk_status st = LK_OK;
    lk_attend_job j;
    LK_TRY(lk_attend_job_new(&j, c, 0));
    j.tile = j.height == 16 ? forward_16 : j.height == 32 ? forward_32 : forward_64;
    lk_attend_run(&j);
done:
    return st;
}

const lk_cpu_kernel LK_VEC(lk_cpu_attention) = {
    .prepare = attention_prepare, .release = lk_attend_release, .whole = attention_whole};
