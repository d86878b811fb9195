/* attention_stream.c - plans for keys that arrive piece by piece.
 *
 * Key number j of the stream lies in row j mod R of the ring.  Runs of a plan are in stream
 * numbers, which the kernels take mod R; R is a multiple of LK_KEY_TILE, so the groups in which a
 * row is summed are the same as over the whole stream, and so are its bits.
 */
#include "kernels/attention.h"

#include "kernels/mem.h"
#include "kernels/ops.h"

struct lk_attend_stream {
    lk_attend_rule rule;
    int64_t capacity, n; /* rows of the ring; keys so far */
    lk_span *span;       /* [capacity] */
};

lk_status lk_attend_stream_new(lk_attend_stream **out, const lk_attend_rule *rule, int64_t capacity)
{
    lk_status st = LK_OK;
    lk_attend_stream *s = NULL;
    *out = NULL;
    LK_REQUIRE(capacity > 0 && capacity % LK_KEY_TILE == 0, LK_E_ARG,
               "a ring of keys holds a multiple of %d, not %lld", LK_KEY_TILE, (long long)capacity);
    LK_REQUIRE(rule->kind == LK_ATTEND_BLOCK_CAUSAL || rule->kind == LK_ATTEND_WINDOW ||
                   rule->kind == LK_ATTEND_FRAME,
               LK_E_ARG, "streams attend by block_causal, window or frame");
    LK_TRY(LK_NEW(&s));
    s->rule = *rule;
    s->capacity = capacity;
    *out = s;
    LK_TRY(LK_NEW_ARRAY(&s->span, capacity));
done:
    if (st != LK_OK)
        lk_attend_stream_free(out);
    return st;
}

void lk_attend_stream_free(lk_attend_stream **ps)
{
    if (!*ps)
        return;
    lk_free((*ps)->span);
    lk_free(*ps);
    *ps = NULL;
}

lk_status lk_attend_stream_append(lk_attend_stream *s, int64_t n, const lk_span *span, int32_t *at)
{
    lk_status st = LK_OK;
    LK_REQUIRE(n >= 0 && n <= s->capacity, LK_E_ARG, "%lld keys at once do not fit a ring of %lld",
               (long long)n, (long long)s->capacity);
    LK_REQUIRE(s->n + n <= INT32_MAX, LK_E_ARG, "a stream numbers its keys in 32 bits");
    for (int64_t i = 0; i < n; i++) {
        const int64_t j = s->n + i;
        const lk_span last = i ? span[i - 1] : j ? s->span[(j - 1) % s->capacity] : span[i];
        LK_REQUIRE(span[i].end >= span[i].start && span[i].start > -LK_ATTEND_LIMIT &&
                       span[i].end < LK_ATTEND_LIMIT && span[i].start >= last.start &&
                       lk_attend_end(span[i]) >= lk_attend_end(last),
                   LK_E_ARG, "key %lld of a stream starts or ends before its predecessor",
                   (long long)j);
    }
    for (int64_t i = 0; i < n; i++)
        s->span[(s->n + i) % s->capacity] = span[i];
    *at = (int32_t)s->n;
    s->n += n;
done:
    return st;
}

/* First key of [from, n) whose side is at least `side`: sides only grow along keys. */
static int64_t find(const lk_attend_stream *s, int64_t from, lk_span q, int side)
{
    const lk_attend_sample none = {0};
    int64_t lo = from, hi = s->n;
    while (lo < hi) {
        const int64_t mid = lo + (hi - lo) / 2;
        if (lk_attend_side(&s->rule, &none, q, s->span[mid % s->capacity]) < side)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

lk_status lk_attend_stream_plan(const lk_attend_stream *s, int64_t n, const lk_span *q,
                                int32_t *plan)
{
    lk_status st = LK_OK;
    const lk_attend_sample none = {0};
    const int64_t oldest = s->n > s->capacity ? s->n - s->capacity : 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t first = find(s, oldest, q[i], 0);
        LK_REQUIRE(i == 0 || (q[i].start >= q[i - 1].start &&
                              lk_attend_end(q[i]) >= lk_attend_end(q[i - 1])),
                   LK_E_ARG,
                   "query %lld starts or ends before its predecessor; sort tokens by time",
                   (long long)i);
        LK_REQUIRE(oldest == 0 || first > oldest ||
                       lk_attend_side(&s->rule, &none, q[i], s->span[oldest % s->capacity]) < 0,
                   LK_E_ARG,
                   "the ring of %lld keys no longer holds all that a query sees; make it longer",
                   (long long)s->capacity);
        plan[2 * i] = (int32_t)first;
        plan[2 * i + 1] = (int32_t)find(s, first, q[i], 1);
    }
done:
    return st;
}
