/* attention.h - who attends whom, decided by the time that tokens cover.
 *
 * A token carries the span of time it stands for (clock.h).  A rule says which keys a query may
 * look at, in integers, so that every backend and every test agree on every pair.  Tokens of a
 * sample are sorted by start and by end; then the keys of a query are one run [first, end), both
 * ends move forward from query to query, and a plan is two numbers a token:
 *
 *     plan i32 [B, N + M, 2]   rows 0 .. N - 1: the keys of each query,
 *                              rows N .. N + M - 1: the queries of each key (for gradients)
 *
 * It is made once per batch in O(N + M) and read by every layer and head (ops.h: lk_attention), so
 * rule and times may change between runs of one compiled graph.
 *
 * A span that is empty (end == start) counts as one flick long: an event at `start`.  So each span
 * has an end after its start, written end' below, and touching spans do not overlap.
 *
 *     rule           key k is open to query q when
 *     full           always
 *     window         k overlaps [q.start - before, q.end' + after)
 *     frame          k overlaps q: a window of nothing
 *     block_causal   chunk(k) <= chunk(q), chunk(t) = floor((t.start - origin) / length),
 *                    and k.end' > q.start - before
 *     random_shift   as window, of q moved by one random time per sample and kept inside the keys'
 *                    extent: as many pairs as the window, none of the alignment (an ablation)
 *
 * Threads      pure functions.
 * Source       ours; rows as runs: NATTEN, FlashAttention's local windows, both by index.
 */
#ifndef LK_ATTENTION_H
#define LK_ATTENTION_H

#include "kernels/clock.h"
#include "kernels/rng.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __CUDACC__
#define LK_ATTEND_FN static inline __host__ __device__
#else
#define LK_ATTEND_FN static inline
#endif

/* Times of tokens lie in +-LK_ATTEND_LIMIT (103 years); a window of LK_ATTEND_ALL has no end. */
#define LK_ATTEND_LIMIT (INT64_C(1) << 61)
#define LK_ATTEND_ALL   (INT64_C(1) << 62)

typedef enum lk_attend_kind {
    LK_ATTEND_FULL,
    LK_ATTEND_WINDOW,
    LK_ATTEND_FRAME,
    LK_ATTEND_BLOCK_CAUSAL,
    LK_ATTEND_RANDOM_SHIFT
} lk_attend_kind;

typedef struct lk_attend_rule {
    lk_attend_kind kind;
    lk_flick before, after; /* WINDOW, RANDOM_SHIFT; BLOCK_CAUSAL: before; 0 .. LK_ATTEND_ALL */
    lk_flick chunk, origin; /* BLOCK_CAUSAL: length of a chunk, > 0, and where one begins */
    lk_flick shift;         /* RANDOM_SHIFT: moved by up to +-shift, 0 .. LK_ATTEND_LIMIT */
    uint64_t seed;          /* RANDOM_SHIFT */
} lk_attend_rule;

/* What a rule needs to know of a sample as a whole: how far RANDOM_SHIFT moves its queries, and
 * from the first key's start to the last key's end'. */
typedef struct lk_attend_sample {
    lk_flick move;
    lk_span keys;
} lk_attend_sample;

LK_ATTEND_FN lk_flick lk_attend_end(lk_span s)
{
    return s.end > s.start ? s.end : s.start + 1;
}

LK_ATTEND_FN lk_flick lk_attend_clamp(lk_flick t, lk_flick lo, lk_flick hi)
{
    return t < lo ? lo : t > hi ? hi : t;
}

LK_ATTEND_FN int64_t lk_attend_chunk(const lk_attend_rule *r, lk_span s)
{
    const lk_flick t = s.start - r->origin;
    return t / r->chunk - (t % r->chunk < 0);
}

/* Membership: 0 when key k is open to query q, -1 when it lies too early, +1 too late.  Along
 * sorted keys the answers are -1 .. 0 .. +1, along sorted queries the reverse. */
LK_ATTEND_FN int lk_attend_side(const lk_attend_rule *r, const lk_attend_sample *sample, lk_span q,
                                lk_span k)
{
    const lk_flick k_end = lk_attend_end(k);
    lk_flick q_start = q.start, q_end = lk_attend_end(q), before = r->before, after = r->after;
    if (r->kind == LK_ATTEND_FULL)
        return 0;
    if (r->kind == LK_ATTEND_BLOCK_CAUSAL) {
        if (lk_attend_chunk(r, k) > lk_attend_chunk(r, q))
            return 1;
        return k_end <= q_start - before ? -1 : 0;
    }
    if (r->kind == LK_ATTEND_FRAME)
        before = after = 0;
    if (r->kind == LK_ATTEND_RANDOM_SHIFT) {
        q_start = lk_attend_clamp(q_start + sample->move, sample->keys.start, sample->keys.end - 1);
        q_end = lk_attend_clamp(q_end + sample->move, sample->keys.start + 1, sample->keys.end);
    }
    if (k_end <= q_start - before)
        return -1;
    return k.start >= q_end + after ? 1 : 0;
}

/* How far RANDOM_SHIFT moves sample b of step `step`. */
LK_ATTEND_FN lk_flick lk_attend_move(const lk_attend_rule *r, uint64_t step, uint64_t b)
{
    const lk_rng_block x = lk_rng_philox(r->seed, step, b);
    const uint64_t bits = ((uint64_t)x.v[0] << 32) | x.v[1];
    return r->kind == LK_ATTEND_RANDOM_SHIFT
               ? (lk_flick)(bits % (2 * (uint64_t)r->shift + 1)) - r->shift
               : 0;
}

/* What a tile of consecutive rows of a plan may see: all rows see [full_first, full_end), some
 * rows see something in [first, full_first) and [full_end, end). */
typedef struct lk_attend_tile {
    int32_t first, full_first, full_end, end;
} lk_attend_tile;

/* range [n_rows, 2], n_rows >= 1.  Rows that see nothing at the tile's ends are left out of it:
 * the caller blanks them. */
LK_ATTEND_FN lk_attend_tile lk_attend_tile_of(const int32_t *range, int64_t n_rows)
{
    int64_t a = 0, b = n_rows - 1;
    lk_attend_tile t;
    while (a < b && range[2 * a] >= range[2 * a + 1])
        a++;
    while (b > a && range[2 * b] >= range[2 * b + 1])
        b--;
    t.first = range[2 * a];
    t.end = range[2 * b + 1];
    t.full_first = range[2 * b];
    t.full_end = range[2 * a + 1];
    if (t.full_first >= t.full_end)
        t.full_first = t.full_end = t.end;
    return t;
}

/* ---- plans, made on the host (attention_plan.c) ---- */

/* The tokens of a batch: span [B, n]; length [B] says how many of each sample are there (0 .. n;
 * NULL: all).  Absent tokens see nothing and are not seen. */
typedef struct lk_attend_tokens {
    const lk_span *span;
    int64_t n;
    const int32_t *length;
} lk_attend_tokens;

/* Fill plan [B, N + M, 2].  `step` addresses RANDOM_SHIFT's numbers.  Refused with LK_E_ARG: spans
 * out of order or out of range, lengths outside 0 .. n, a rule outside its ranges. */
LK_CHECKED lk_status lk_attend_plan(const lk_attend_rule *rule, uint64_t step, int64_t n_batch,
                                    const lk_attend_tokens *q, const lk_attend_tokens *k,
                                    int32_t *plan);

/* Middles of the spans in seconds from the first start of the sample: times [B, N + M], queries
 * first, for slopes (ops.h).  Absent tokens are at 0. */
void lk_attend_times(int64_t n_batch, const lk_attend_tokens *q, const lk_attend_tokens *k,
                     float *times);

/* Pairs that attend in n rows of a plan. */
int64_t lk_attend_pairs(const int32_t *range, int64_t n_rows);

/* Scores computed when n rows are cut into tiles of `height`: pairs plus what tiles round up. */
int64_t lk_attend_touched(const int32_t *range, int64_t n_rows, int64_t height);

/* LK_E_ARG unless n rows can be rows of a plan over n_others tokens: runs that only move forward
 * and, `ring` 0, stay within 0 .. n_others, or are at most n_others long. */
LK_CHECKED lk_status lk_attend_check(const int32_t *range, int64_t n_rows, int64_t n_others,
                                     int ring);

/* ---- streams: keys that arrive piece by piece (attention_stream.c) ----
 *
 *     append the spans of the new keys           -> their first number `at`
 *     ops.h: lk_ring_write(g, ring, keys, at)       in the graph, likewise for values
 *     plan the new queries                       -> plan [N, 2] of one sample
 *     lk_attention(g, q, keys' ring, values' ring, plan, ...)
 *
 * Results are bit for bit those of the whole stream at once under the same rule, if no key comes
 * too late for its queries: block_causal with pieces of whole chunks, or window with pieces that
 * wait for `after`. */
typedef struct lk_attend_stream lk_attend_stream;

/* capacity: rows of the ring, a multiple of LK_KEY_TILE; longer than what a query sees plus one
 * piece.  Rule: block_causal, window or frame. */
LK_CHECKED lk_status lk_attend_stream_new(lk_attend_stream **s, const lk_attend_rule *rule,
                                          int64_t capacity);
void lk_attend_stream_free(lk_attend_stream **s); /* accepts NULL */

/* LK_E_ARG for keys out of order, or more than the ring holds. */
LK_CHECKED lk_status lk_attend_stream_append(lk_attend_stream *s, int64_t n, const lk_span *span,
                                             int32_t *at);

/* LK_E_ARG for queries out of order, and for a query that may see keys the ring has lost. */
LK_CHECKED lk_status lk_attend_stream_plan(const lk_attend_stream *s, int64_t n, const lk_span *q,
                                           int32_t *plan);

/* ---- rotary positions ---- */

/* Angles of n_pairs pairs of numbers that turn with one coordinate: pair p of the tokens goes
 * round turns_per_unit[p] times a unit. */
typedef struct lk_rotary_axis {
    int n_pairs;
    const double *turns_per_unit; /* [n_pairs] */
} lk_rotary_axis;

/* n_pairs speeds in geometric steps: the slowest goes round once in `longest` units, the fastest
 * in `shortest`.  Both > 0. */
void lk_rotary_speeds(double shortest, double longest, int n_pairs, double *turns_per_unit);

/* Fill pairs first_pair .. of table [n_tokens, 2, n_all_pairs] (cosines, then sines) with the
 * angles of one axis; unit_of [n_tokens] are the coordinates (rows, columns). */
void lk_rotary_table(const lk_rotary_axis *axis, int64_t n_tokens, const double *unit_of,
                     int first_pair, int n_all_pairs, float *table);

/* The same for time: the unit is the second, a token stands at the middle of its span, counted
 * from `origin`.  Turns are counted and reduced in double: a day from the origin a pair that turns
 * 1000 times a second is still right to 1e-7 of a turn. */
void lk_rotary_table_time(const lk_rotary_axis *axis, int64_t n_tokens, const lk_span *span,
                          lk_flick origin, int first_pair, int n_all_pairs, float *table);

#ifdef __cplusplus
}
#endif

#endif /* LK_ATTENTION_H */
