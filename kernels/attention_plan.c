/* attention_plan.c - from spans and a rule to runs of keys.
 *
 * Along sorted queries the first key that is not too early and the first that is too late both move
 * forward only, so two pointers find all rows in one pass over queries and keys.  The queries of a
 * key follow from the rows alone: from the first query whose run ends behind the key to the first
 * query whose run begins behind it.
 */
#include "kernels/attention.h"

#include "kernels/status.h"

#include <math.h>
#include <stdint.h>

static int64_t present(const lk_attend_tokens *t, int64_t b)
{
    return t->length ? t->length[b] : t->n;
}

static lk_status check_rule(const lk_attend_rule *r)
{
    lk_status st = LK_OK;
    const int windowed = r->kind == LK_ATTEND_WINDOW || r->kind == LK_ATTEND_RANDOM_SHIFT;
    LK_REQUIRE((unsigned)r->kind <= LK_ATTEND_RANDOM_SHIFT, LK_E_ARG,
               "there is no attention rule number %d", (int)r->kind);
    if (windowed || r->kind == LK_ATTEND_BLOCK_CAUSAL)
        LK_REQUIRE(r->before >= 0 && r->before <= LK_ATTEND_ALL, LK_E_ARG,
                   "an attention window reaches 0 to LK_ATTEND_ALL flicks back, not %lld",
                   (long long)r->before);
    if (windowed)
        LK_REQUIRE(r->after >= 0 && r->after <= LK_ATTEND_ALL, LK_E_ARG,
                   "an attention window reaches 0 to LK_ATTEND_ALL flicks ahead, not %lld",
                   (long long)r->after);
    if (r->kind == LK_ATTEND_BLOCK_CAUSAL)
        LK_REQUIRE(r->chunk > 0 && r->origin > -LK_ATTEND_LIMIT && r->origin < LK_ATTEND_LIMIT,
                   LK_E_ARG, "block-causal attention needs a chunk longer than nothing, not %lld",
                   (long long)r->chunk);
    if (r->kind == LK_ATTEND_RANDOM_SHIFT)
        LK_REQUIRE(r->shift >= 0 && r->shift <= LK_ATTEND_LIMIT, LK_E_ARG,
                   "a random shift is 0 to LK_ATTEND_LIMIT flicks, not %lld", (long long)r->shift);
done:
    return st;
}

static lk_status check_tokens(const lk_attend_tokens *t, int64_t b, const char *what)
{
    lk_status st = LK_OK;
    const int64_t n = present(t, b);
    const lk_span *s = t->span + b * t->n;
    LK_REQUIRE(n >= 0 && n <= t->n, LK_E_ARG, "sample %lld has %lld %s of at most %lld",
               (long long)b, (long long)n, what, (long long)t->n);
    for (int64_t i = 0; i < n; i++) {
        LK_REQUIRE(s[i].end >= s[i].start, LK_E_ARG, "%s %lld of sample %lld ends before it starts",
                   what, (long long)i, (long long)b);
        LK_REQUIRE(s[i].start > -LK_ATTEND_LIMIT && s[i].end < LK_ATTEND_LIMIT, LK_E_ARG,
                   "%s %lld of sample %lld lies more than 103 years from zero", what, (long long)i,
                   (long long)b);
        LK_REQUIRE(i == 0 || (s[i].start >= s[i - 1].start &&
                              lk_attend_end(s[i]) >= lk_attend_end(s[i - 1])),
                   LK_E_ARG,
                   "%s %lld of sample %lld starts or ends before its predecessor; sort tokens by "
                   "time",
                   what, (long long)i, (long long)b);
    }
done:
    return st;
}

static void plan_queries(const lk_attend_rule *rule, const lk_attend_sample *sample,
                         const lk_span *q, int64_t n, const lk_span *k, int64_t m, int32_t *range)
{
    int64_t first = 0, end = 0;
    for (int64_t i = 0; i < n; i++) {
        while (first < m && lk_attend_side(rule, sample, q[i], k[first]) < 0)
            first++;
        end = end < first ? first : end;
        while (end < m && lk_attend_side(rule, sample, q[i], k[end]) <= 0)
            end++;
        range[2 * i] = (int32_t)first;
        range[2 * i + 1] = (int32_t)end;
    }
}

static void plan_keys(const int32_t *query, int64_t n, int64_t m, int32_t *range)
{
    int64_t first = 0, end = 0;
    for (int64_t j = 0; j < m; j++) {
        while (first < n && query[2 * first + 1] <= j)
            first++;
        end = end < first ? first : end;
        while (end < n && query[2 * end] <= j)
            end++;
        range[2 * j] = (int32_t)first;
        range[2 * j + 1] = (int32_t)end;
    }
}

/* Absent tokens: empty runs behind everything, so that runs still only move forward. */
static void plan_absent(int64_t from, int64_t to, int64_t behind, int32_t *range)
{
    for (int64_t i = from; i < to; i++)
        range[2 * i] = range[2 * i + 1] = (int32_t)behind;
}

lk_status lk_attend_plan(const lk_attend_rule *rule, uint64_t step, int64_t n_batch,
                         const lk_attend_tokens *q, const lk_attend_tokens *k, int32_t *plan)
{
    lk_status st = LK_OK;
    LK_TRY(check_rule(rule));
    LK_REQUIRE(q->n <= INT32_MAX && k->n <= INT32_MAX, LK_E_ARG,
               "a plan numbers tokens in 32 bits; %lld are too many",
               (long long)(q->n > k->n ? q->n : k->n));
    for (int64_t b = 0; b < n_batch; b++) {
        const lk_span *qs = q->span + b * q->n, *ks = k->span + b * k->n;
        const int64_t n = present(q, b), m = present(k, b);
        lk_attend_sample sample = {.move = lk_attend_move(rule, step, (uint64_t)b)};
        int32_t *queries = plan + 2 * b * (q->n + k->n), *keys = queries + 2 * q->n;
        LK_TRY(check_tokens(q, b, "query"));
        LK_TRY(check_tokens(k, b, "key"));
        if (m)
            sample.keys = (lk_span){ks[0].start, lk_attend_end(ks[m - 1])};
        plan_queries(rule, &sample, qs, n, ks, m, queries);
        plan_keys(queries, n, m, keys);
        plan_absent(n, q->n, m, queries);
        plan_absent(m, k->n, n, keys);
    }
done:
    return st;
}

/* The middle of a span from an origin, in half flicks: whole numbers for the first 73 days. */
static double half_flicks(lk_span s, lk_flick origin)
{
    return (double)(s.start - origin) + (double)(s.end - origin);
}

static void times_of(const lk_span *s, int64_t n, int64_t n_all, lk_flick origin, float *times)
{
    for (int64_t i = 0; i < n_all; i++)
        times[i] = i < n ? (float)(half_flicks(s[i], origin) / (2.0 * LK_FLICKS_PER_S)) : 0;
}

void lk_attend_times(int64_t n_batch, const lk_attend_tokens *q, const lk_attend_tokens *k,
                     float *times)
{
    for (int64_t b = 0; b < n_batch; b++) {
        const lk_span *qs = q->span + b * q->n, *ks = k->span + b * k->n;
        const int64_t n = present(q, b), m = present(k, b);
        float *out = times + b * (q->n + k->n);
        lk_flick origin = n ? qs[0].start : m ? ks[0].start : 0;
        if (m && ks[0].start < origin)
            origin = ks[0].start;
        times_of(qs, n, q->n, origin, out);
        times_of(ks, m, k->n, origin, out + q->n);
    }
}

int64_t lk_attend_pairs(const int32_t *range, int64_t n_rows)
{
    int64_t pairs = 0;
    for (int64_t i = 0; i < n_rows; i++)
        pairs += range[2 * i + 1] - range[2 * i];
    return pairs;
}

int64_t lk_attend_touched(const int32_t *range, int64_t n_rows, int64_t height)
{
    int64_t touched = 0;
    for (int64_t i = 0; i < n_rows; i += height) {
        const lk_attend_tile t =
            lk_attend_tile_of(range + 2 * i, n_rows - i < height ? n_rows - i : height);
        touched += height * (t.end - t.first);
    }
    return touched;
}

lk_status lk_attend_check(const int32_t *range, int64_t n_rows, int64_t n_others, int ring)
{
    lk_status st = LK_OK;
    for (int64_t i = 0; i < n_rows; i++) {
        const int64_t first = range[2 * i], end = range[2 * i + 1];
        const int64_t before = i ? range[2 * i - 2] : 0, before_end = i ? range[2 * i - 1] : 0;
        LK_REQUIRE(first >= before && end >= before_end && end >= first &&
                       (ring ? end - first : end) <= n_others,
                   LK_E_ARG,
                   "row %lld of an attention plan, [%lld, %lld), is none that lk_attend_plan makes",
                   (long long)i, (long long)first, (long long)end);
    }
done:
    return st;
}

/* ---- rotary ---- */

void lk_rotary_speeds(double shortest, double longest, int n_pairs, double *turns_per_unit)
{
    for (int p = 0; p < n_pairs; p++) {
        const double at = n_pairs > 1 ? (double)p / (n_pairs - 1) : 0;
        turns_per_unit[p] = 1 / (shortest * pow(longest / shortest, at));
    }
}

static void put_angle(double turns, float *cosine, float *sine)
{
    const double angle = 6.283185307179586476925 * (turns - rint(turns));
    *cosine = (float)cos(angle);
    *sine = (float)sin(angle);
}

void lk_rotary_table(const lk_rotary_axis *axis, int64_t n_tokens, const double *unit_of,
                     int first_pair, int n_all_pairs, float *table)
{
    for (int64_t i = 0; i < n_tokens; i++)
        for (int p = 0; p < axis->n_pairs; p++) {
            float *at = table + 2 * i * n_all_pairs + first_pair + p;
            put_angle(unit_of[i] * axis->turns_per_unit[p], at, at + n_all_pairs);
        }
}

void lk_rotary_table_time(const lk_rotary_axis *axis, int64_t n_tokens, const lk_span *span,
                          lk_flick origin, int first_pair, int n_all_pairs, float *table)
{
    for (int64_t i = 0; i < n_tokens; i++) {
        const double half = half_flicks(span[i], origin);
        for (int p = 0; p < axis->n_pairs; p++) {
            float *at = table + 2 * i * n_all_pairs + first_pair + p;
            put_angle(half * axis->turns_per_unit[p] / (2.0 * LK_FLICKS_PER_S), at,
                      at + n_all_pairs);
        }
    }
}
