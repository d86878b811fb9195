/* test_attention_plan.c - who attends whom: plans against every pair asked one by one.
 *
 * The rules are written here a second time, from attention.h's words: spans as sets of whole
 * flicks, compared by their intersection. */
#include "tests/check.h"

#include "kernels/attention.h"
#include "kernels/mem.h"
#include "kernels/rng.h"

#define MOST 96

static lk_flick most(lk_flick a, lk_flick b)
{
    return a > b ? a : b;
}
static lk_flick least(lk_flick a, lk_flick b)
{
    return a < b ? a : b;
}

/* The flicks a token stands for. */
static lk_span filled(lk_span s)
{
    return (lk_span){s.start, most(s.end, s.start + 1)};
}

static int meet(lk_span a, lk_span b)
{
    return most(a.start, b.start) < least(a.end, b.end);
}

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    while (q * b > a)
        q--;
    return q;
}

static int open_to(const lk_attend_rule *r, lk_flick move, lk_span keys, lk_span q, lk_span k)
{
    lk_span w = filled(q);
    k = filled(k);
    switch (r->kind) {
    case LK_ATTEND_FULL:
        return 1;
    case LK_ATTEND_FRAME:
        return meet(w, k);
    case LK_ATTEND_BLOCK_CAUSAL:
        return floor_div(k.start - r->origin, r->chunk) <=
                   floor_div(q.start - r->origin, r->chunk) &&
               k.end > q.start - r->before;
    case LK_ATTEND_RANDOM_SHIFT:
        w.start = least(most(w.start + move, keys.start), keys.end - 1);
        w.end = least(most(w.end + move, keys.start + 1), keys.end);
        break;
    default:
        break;
    }
    return meet((lk_span){w.start - r->before, w.end + r->after}, k);
}

/* One sample's plan against all pairs; and its tiles of every height against its rows. */
static void check_plan(const lk_attend_rule *r, uint64_t step, const lk_span *q, int64_t n,
                       const lk_span *k, int64_t m)
{
    const lk_attend_tokens qt = {q, n, NULL}, kt = {k, m, NULL};
    const lk_flick move = lk_attend_move(r, step, 0);
    const lk_span keys = m ? (lk_span){k[0].start, filled(k[m - 1]).end} : (lk_span){0, 0};
    int32_t plan[2 * 2 * MOST];
    int64_t pairs = 0;
    CHECK_OK(lk_attend_plan(r, step, 1, &qt, &kt, plan));
    CHECK_OK(lk_attend_check(plan, n, m, 0));
    CHECK_OK(lk_attend_check(plan + 2 * n, m, n, 0));
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++) {
            const int32_t *of_q = plan + 2 * i, *of_k = plan + 2 * (n + j);
            const int yes = open_to(r, move, keys, q[i], k[j]);
            pairs += yes;
            if ((j >= of_q[0] && j < of_q[1]) != yes || (i >= of_k[0] && i < of_k[1]) != yes)
                fail_msg("rule %d: query %d, key %d: %d, plan [%d, %d) and [%d, %d)", r->kind,
                         (int)i, (int)j, yes, of_q[0], of_q[1], of_k[0], of_k[1]);
        }
    assert_int_equal(pairs, lk_attend_pairs(plan, n));
    for (int64_t height = 1; height <= 20; height += height < 3 ? 1 : 7) {
        int64_t touched = 0;
        for (int64_t a = 0; a < n; a += height) {
            const int64_t rows = least(height, n - a);
            const lk_attend_tile t = lk_attend_tile_of(plan + 2 * a, rows);
            int64_t first = m, end = 0;
            for (int64_t i = a; i < a + rows; i++) {
                const int32_t lo = plan[2 * i], hi = plan[2 * i + 1];
                if (lo < hi) {
                    first = least(first, lo);
                    end = most(end, hi);
                    assert_true(t.full_first >= t.full_end ||
                                (lo <= t.full_first && hi >= t.full_end));
                }
            }
            if (first < end) /* what the tile covers is what its rows see together */
                assert_true(t.first == first && t.end == end);
            else
                assert_true(t.first >= t.end);
            assert_true(t.first <= t.full_first && t.full_first <= t.full_end &&
                        t.full_end <= t.end);
            touched += height * (t.end - t.first);
        }
        assert_int_equal(touched, lk_attend_touched(plan, n, height));
    }
}

/* Every sorted set of up to 3 tokens with starts 0 .. 3 and lengths 0 .. 2. */
static int all_sets(lk_span sets[][3], int *sizes)
{
    int n = 0;
    sizes[n++] = 0;
    for (int from = 0, size = 1; size <= 3; size++) {
        const int to = n;
        for (int s = from; s < to; s++)
            for (int x = 0; x < 12 && sizes[s] == size - 1; x++) {
                const lk_span next = {x / 3, x / 3 + x % 3};
                const lk_span last = size > 1 ? sets[s][size - 2] : (lk_span){0, 0};
                if (size > 1 && (next.start < last.start || filled(next).end < filled(last).end))
                    continue;
                memcpy(sets[n], sets[s], sizeof sets[n]);
                sets[n][size - 1] = next;
                sizes[n++] = size;
            }
        from = to;
    }
    return n;
}

static void test_exhaustive(void **state)
{
    static lk_span sets[2000][3];
    static int sizes[2000];
    const int n = all_sets(sets, sizes);
    const lk_attend_rule rules[] = {
        {.kind = LK_ATTEND_FULL},
        {.kind = LK_ATTEND_FRAME},
        {.kind = LK_ATTEND_WINDOW},
        {.kind = LK_ATTEND_WINDOW, .before = 1},
        {.kind = LK_ATTEND_WINDOW, .after = 1},
        {.kind = LK_ATTEND_WINDOW, .before = LK_ATTEND_ALL, .after = LK_ATTEND_ALL},
        {.kind = LK_ATTEND_BLOCK_CAUSAL, .before = LK_ATTEND_ALL, .chunk = 2},
        {.kind = LK_ATTEND_BLOCK_CAUSAL, .before = 0, .chunk = 3, .origin = 2},
        {.kind = LK_ATTEND_RANDOM_SHIFT, .before = 1, .after = 1, .shift = 2, .seed = 1},
    };
    (void)state;
    for (int a = 0; a < n; a++)
        for (int b = a % 7; b < n; b += 7) /* all sets, a seventh of all pairs of sets */
            for (size_t r = 0; r < sizeof rules / sizeof rules[0]; r++)
                check_plan(&rules[r], (uint64_t)(a + b), sets[a], sizes[a], sets[b], sizes[b]);
}

/* ---- at random: real rates, gaps, overlaps, equal spans, bare events ---- */

typedef struct dice {
    uint64_t stream, at;
} dice;

static uint32_t roll(dice *d, uint32_t n)
{
    return lk_rng_below(11, d->stream, d->at++, n);
}

static int64_t draw_tokens(dice *d, lk_span *s)
{
    static const lk_rational rates[] = {{25, 1},    {30000, 1001}, {24000, 1001}, {60000, 1001},
                                        {50, 1},    {48000, 1920}, {44100, 2048}, {120, 1},
                                        {90000, 1}, {16000, 320}};
    const lk_rational rate = rates[roll(d, 10)];
    const int64_t n = roll(d, 12) == 0 ? roll(d, 3) : roll(d, MOST);
    const int style = (int)roll(d, 5);
    int64_t tick = (int64_t)roll(d, 1000) - 500;
    for (int64_t i = 0; i < n; i++) {
        CHECK_OK(lk_flick_from_ticks(tick, rate, &s[i].start));
        CHECK_OK(lk_flick_from_ticks(tick + 1, rate, &s[i].end));
        if (style == 1) /* events */
            s[i].end = s[i].start;
        if (style == 2) /* each reaches into the next two */
            CHECK_OK(lk_flick_from_ticks(tick + 3, rate, &s[i].end));
        if (style != 3 || roll(d, 3) == 0) /* 3: several share a span, as a frame's patches do */
            tick += style == 4 && roll(d, 4) == 0 ? 1 + (int64_t)roll(d, 30) : 1;
    }
    return n;
}

static lk_attend_rule draw_rule(dice *d)
{
    const lk_flick scale = LK_FLICKS_PER_MS * (1 + (lk_flick)roll(d, 1000));
    lk_attend_rule r = {.kind = (lk_attend_kind)roll(d, 5), .seed = roll(d, 100)};
    r.before = roll(d, 4) ? scale * roll(d, 4) : roll(d, 2) ? LK_ATTEND_ALL : 1;
    r.after = roll(d, 4) ? scale * roll(d, 4) : roll(d, 2) ? LK_ATTEND_ALL : 1;
    r.chunk = roll(d, 8) ? scale : 1 + (lk_flick)roll(d, 5);
    r.origin = scale * ((int)roll(d, 5) - 2);
    r.shift = scale * roll(d, 5);
    return r;
}

static void test_random(void **state)
{
    (void)state;
    for (uint64_t t = 0; t < 4000; t++) {
        dice d = {t, 0};
        lk_span q[MOST], k[MOST];
        const int64_t n = draw_tokens(&d, q), m = draw_tokens(&d, k);
        const lk_attend_rule r = draw_rule(&d);
        check_plan(&r, t, q, n, k, m);
    }
}

static void test_ragged(void **state)
{
    (void)state;
    for (uint64_t t = 0; t < 300; t++) { /* a sample of a batch is planned as it would be alone */
        dice d = {t, 1000};
        lk_span q[3 * MOST] = {{0}}, k[3 * MOST] = {{0}};
        int32_t n[3], m[3], plan[3 * 2 * 2 * MOST], alone[2 * 2 * MOST];
        const lk_attend_tokens qt = {q, MOST, n}, kt = {k, MOST, m};
        lk_attend_rule r = draw_rule(&d);
        if (r.kind == LK_ATTEND_RANDOM_SHIFT)
            r.kind = LK_ATTEND_WINDOW; /* its numbers depend on the sample's place */
        for (int b = 0; b < 3; b++) {
            n[b] = (int32_t)draw_tokens(&d, q + b * MOST);
            m[b] = (int32_t)draw_tokens(&d, k + b * MOST);
        }
        CHECK_OK(lk_attend_plan(&r, t, 3, &qt, &kt, plan));
        for (int b = 0; b < 3; b++) {
            const lk_attend_tokens q1 = {q + b * MOST, n[b], NULL}, k1 = {k + b * MOST, m[b], NULL};
            const int32_t *of_q = plan + b * 4 * MOST, *of_k = of_q + 2 * MOST;
            CHECK_OK(lk_attend_plan(&r, t, 1, &q1, &k1, alone));
            assert_memory_equal(of_q, alone, 8 * (size_t)n[b]);
            assert_memory_equal(of_k, alone + 2 * n[b], 8 * (size_t)m[b]);
            for (int i = n[b]; i < MOST; i++)
                assert_true(of_q[2 * i] == m[b] && of_q[2 * i + 1] == m[b]);
            for (int i = m[b]; i < MOST; i++)
                assert_true(of_k[2 * i] == n[b] && of_k[2 * i + 1] == n[b]);
        }
    }
}

/* The same number of pairs as the window but for what falls off the ends, and other pairs. */
static void test_random_shift(void **state)
{
    const lk_attend_rule window = {.kind = LK_ATTEND_WINDOW,
                                   .before = 100 * LK_FLICKS_PER_MS,
                                   .after = 100 * LK_FLICKS_PER_MS};
    lk_attend_rule shifted = window;
    lk_span s[MOST];
    int32_t a[4 * MOST], b[4 * MOST];
    const lk_attend_tokens t = {s, MOST, NULL};
    double ratio = 0;
    int moved = 0;
    (void)state;
    shifted.kind = LK_ATTEND_RANDOM_SHIFT;
    shifted.shift = 1000 * LK_FLICKS_PER_MS;
    for (int i = 0; i < MOST; i++)
        s[i] = (lk_span){i * 40 * LK_FLICKS_PER_MS, (i + 1) * 40 * LK_FLICKS_PER_MS};
    CHECK_OK(lk_attend_plan(&window, 0, 1, &t, &t, a));
    for (uint64_t step = 0; step < 200; step++) {
        CHECK_OK(lk_attend_plan(&shifted, step, 1, &t, &t, b));
        ratio += (double)lk_attend_pairs(b, MOST) / (double)lk_attend_pairs(a, MOST) / 200;
        moved += a[MOST] != b[MOST];
        for (int i = 0; i < MOST; i++)
            assert_true(b[2 * i] < b[2 * i + 1]);
    }
    CHECK_CLOSE(ratio, 1, 0.1);
    assert_true(moved > 150);
}

static void test_refused(void **state)
{
    const lk_attend_rule window = {.kind = LK_ATTEND_WINDOW};
    const lk_span fine[2] = {{0, 10}, {10, 20}}, nested[2] = {{0, 30}, {10, 20}},
                  swapped[2] = {{10, 20}, {0, 30}}, reversed[2] = {{0, 10}, {20, 15}},
                  far[2] = {{0, 10}, {5, LK_ATTEND_LIMIT}};
    const int32_t too_many = 3;
    const lk_attend_tokens ok = {fine, 2, NULL}, long_one = {fine, 2, &too_many};
    const lk_span *bad[] = {nested, swapped, reversed, far};
    lk_attend_rule r;
    int32_t plan[8];
    (void)state;
    CHECK_OK(lk_attend_plan(&window, 0, 1, &ok, &ok, plan));
    for (int i = 0; i < 4; i++) {
        const lk_attend_tokens t = {bad[i], 2, NULL};
        CHECK_FAILS(lk_attend_plan(&window, 0, 1, &t, &ok, plan), LK_E_ARG);
        CHECK_FAILS(lk_attend_plan(&window, 0, 1, &ok, &t, plan), LK_E_ARG);
    }
    CHECK_FAILS(lk_attend_plan(&window, 0, 1, &long_one, &ok, plan), LK_E_ARG);
    r = (lk_attend_rule){.kind = LK_ATTEND_WINDOW, .before = -1};
    CHECK_FAILS(lk_attend_plan(&r, 0, 1, &ok, &ok, plan), LK_E_ARG);
    r = (lk_attend_rule){.kind = LK_ATTEND_WINDOW, .after = LK_ATTEND_ALL + 1};
    CHECK_FAILS(lk_attend_plan(&r, 0, 1, &ok, &ok, plan), LK_E_ARG);
    r = (lk_attend_rule){.kind = LK_ATTEND_BLOCK_CAUSAL};
    CHECK_FAILS(lk_attend_plan(&r, 0, 1, &ok, &ok, plan), LK_E_ARG);
    r = (lk_attend_rule){.kind = LK_ATTEND_RANDOM_SHIFT, .shift = -5};
    CHECK_FAILS(lk_attend_plan(&r, 0, 1, &ok, &ok, plan), LK_E_ARG);
    r = (lk_attend_rule){.kind = (lk_attend_kind)9};
    CHECK_FAILS(lk_attend_plan(&r, 0, 1, &ok, &ok, plan), LK_E_ARG);
    CHECK_FAILS(lk_attend_check((const int32_t[]){0, 2, 1, 1}, 2, 2, 0), LK_E_ARG);
    CHECK_FAILS(lk_attend_check((const int32_t[]){0, 3}, 1, 2, 0), LK_E_ARG);
    CHECK_OK(lk_attend_check((const int32_t[]){5, 7}, 1, 2, 1));
}

static void test_times(void **state)
{
    const lk_span q[3] = {{100, 300}, {300, 301}, {0, 0}}, k[2] = {{40, 140}, {60, 160}};
    const int32_t two = 2;
    const lk_attend_tokens qt = {q, 3, &two}, kt = {k, 2, NULL};
    float s[5];
    (void)state;
    lk_attend_times(1, &qt, &kt, s);
    CHECK_CLOSE(s[0], 160. / LK_FLICKS_PER_S, 1e-14);
    CHECK_CLOSE(s[1], 260.5 / LK_FLICKS_PER_S, 1e-14);
    CHECK_CLOSE(s[2], 0, 0);
    CHECK_CLOSE(s[3], 50. / LK_FLICKS_PER_S, 1e-14);
    CHECK_CLOSE(s[4], 70. / LK_FLICKS_PER_S, 1e-14);
}

/* Angles a day from the origin, against exact arithmetic on whole turns. */
static void test_rotary(void **state)
{
    double speeds[3];
    const lk_rotary_axis axis = {3, speeds};
    const lk_span span[2] = {{0, 2}, {86400 * LK_FLICKS_PER_S + 7, 86400 * LK_FLICKS_PER_S + 9}};
    float table[2 * 2 * 4] = {0};
    (void)state;
    lk_rotary_speeds(0.001, 1, 3, speeds);
    CHECK_CLOSE(speeds[0], 1000, 1e-9);
    CHECK_CLOSE(speeds[2], 1, 1e-12);
    speeds[1] = 30;
    lk_rotary_table_time(&axis, 2, span, 0, 1, 4, table);
    for (int i = 0; i < 2; i++) {
        assert_true(table[i * 8] == 0 && table[i * 8 + 4] == 0); /* the pair of another axis */
        for (int p = 0; p < 3; p++) { /* whole seconds are whole turns at these speeds */
            const double angle = 6.283185307179586 * speeds[p] * (i ? 8 : 1) / LK_FLICKS_PER_S;
            CHECK_CLOSE(table[i * 8 + 1 + p], cos(angle), 1e-6);
            CHECK_CLOSE(table[i * 8 + 5 + p], sin(angle), 1e-6);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exhaustive), cmocka_unit_test(test_random),
        cmocka_unit_test(test_ragged),     cmocka_unit_test(test_random_shift),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_times),
        cmocka_unit_test(test_rotary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
