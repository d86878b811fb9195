/* test_attention.c - attention over time as a whole: random problems on every instruction set
 * against the definition in double, and the properties that follow from what it is.
 *
 *   f32    largest error at most 1e-5 of the largest number
 *   bf16   error at most 2 times (gradients 3 times) that of the definition with every result
 *          rounded to bf16, plus half a rounding step
 */
#include "tests/check.h"

#include "kernels/attention.h"
#include "kernels/cpu/cpu.h"
#include "kernels/graph_impl.h"
#include "kernels/mem.h"
#include "kernels/rng.h"
#include "kernels/thread.h"

#define MS LK_FLICKS_PER_MS
enum { OUT, LSE, DQ, DK, DV, DSLOPE, N_RESULTS };

/* Everything about one problem; the numbers follow from the seed. */
typedef struct problem {
    int64_t n_batch, heads, kv_heads, n, m, d;
    lk_dtype dtype;
    lk_attend_rule rule;
    int has_plan, has_slope;
    uint64_t seed;
    lk_span *q, *k; /* [B, n], [B, m] */
    int32_t length[2][4];
    int64_t permute_at; /* keys permute_at and permute_at + 1 change places; -1: none do */
} problem;

typedef struct answer {
    double *x[N_RESULTS];
    int64_t n[N_RESULTS];
} answer;

static void free_answer(answer *a)
{
    for (int i = 0; i < N_RESULTS; i++)
        lk_free(a->x[i]);
}

static void free_problem(problem *p)
{
    lk_free(p->q);
    lk_free(p->k);
}

static void write_random(lk_graph *g, lk_var v, const problem *p, uint64_t stream, double scale,
                         int of_keys)
{
    const lk_shape s = lk_var_shape(g, v);
    const int64_t n = lk_shape_count(&s);
    float *x;
    CHECK_OK(LK_NEW_ARRAY(&x, n));
    for (int64_t i = 0; i < n; i++) {
        int64_t from = i;
        if (of_keys && p->permute_at >= 0 && i / p->d % p->m == p->permute_at)
            from = i + p->d;
        else if (of_keys && p->permute_at >= 0 && i / p->d % p->m == p->permute_at + 1)
            from = i - p->d;
        x[i] = (float)scale * (2 * lk_rng_uniform(p->seed, stream, (uint64_t)from) - 1);
        if (p->dtype == LK_BF16)
            x[i] = lk_bf16_to_f32(lk_bf16_from_f32(x[i]));
    }
    CHECK_OK(lk_graph_write(g, v, LK_F32, x));
    lk_free(x);
}

static void write_plan(lk_graph *g, lk_var plan, lk_var times, const problem *p)
{
    const lk_attend_tokens q = {p->q, p->n, p->length[0]}, k = {p->k, p->m, p->length[1]};
    int32_t *table;
    float *s;
    CHECK_OK(LK_NEW_ARRAY(&table, 2 * p->n_batch * (p->n + p->m)));
    CHECK_OK(LK_NEW_ARRAY(&s, p->n_batch * (p->n + p->m)));
    CHECK_OK(lk_attend_plan(&p->rule, p->seed, p->n_batch, &q, &k, table));
    lk_attend_times(p->n_batch, &q, &k, s);
    if (p->has_plan)
        CHECK_OK(lk_graph_write(g, plan, LK_I32, table));
    if (p->has_slope)
        CHECK_OK(lk_graph_write(g, times, LK_F32, s));
    lk_free(table);
    lk_free(s);
}

static answer solve(const problem *p, const lk_backend *backend)
{
    answer a = {.n = {0}};
    lk_graph *g;
    lk_var in[4], y[N_RESULTS], grads[4], plan = LK_NONE, slope = LK_NONE, times = LK_NONE, dy;
    const int n_in = p->has_slope ? 4 : 3;
    CHECK_OK(
        lk_graph_new(&g, &(lk_graph_config){.backend = backend, .train = 1, .check_finite = 1}));
    in[0] = lk_input(g, "q", p->dtype, LK_SHAPE(p->n_batch, p->heads, p->n, p->d));
    in[1] = lk_input(g, "k", p->dtype, LK_SHAPE(p->n_batch, p->kv_heads, p->m, p->d));
    in[2] = lk_input(g, "v", p->dtype, LK_SHAPE(p->n_batch, p->kv_heads, p->m, p->d));
    if (p->has_plan)
        plan = lk_input(g, "plan", LK_I32, LK_SHAPE(p->n_batch, p->n + p->m, 2));
    if (p->has_slope) {
        slope = in[3] = lk_input(g, "slope", LK_F32, LK_SHAPE(p->heads, 2));
        times = lk_input(g, "times", LK_F32, LK_SHAPE(p->n_batch, p->n + p->m));
    }
    for (int i = 0; i < n_in; i++)
        lk_want_grad(g, in[i]);
    y[OUT] = lk_attention_sloped(g, in[0], in[1], in[2], plan, slope, times, 0, &y[LSE]);
    dy = lk_input(g, "dy", p->dtype, lk_var_shape(g, y[OUT]));
    lk_gradients(g, y[OUT], dy, n_in, in, grads);
    for (int i = 0; i < 4; i++)
        y[DQ + i] = i < n_in ? grads[i] : LK_NONE;
    for (int i = 0; i < N_RESULTS; i++)
        lk_output(g, "result", y[i]);
    CHECK_OK(lk_graph_compile(g));
    write_random(g, in[0], p, 0, 2, 0);
    write_random(g, in[1], p, 1, 2, 1);
    write_random(g, in[2], p, 2, 1, 1);
    write_random(g, dy, p, 3, 1, 0);
    if (p->has_slope)
        write_random(g, slope, p, 4, 3, 0);
    write_plan(g, plan, times, p);
    CHECK_OK(lk_graph_run(g, 0));
    for (int i = 0; i < N_RESULTS; i++) {
        const lk_shape s = lk_var_shape(g, y[i]);
        a.n[i] = lk_is_none(y[i]) ? 0 : lk_shape_count(&s);
        CHECK_OK(LK_NEW_ARRAY(&a.x[i], a.n[i]));
        if (a.n[i])
            CHECK_OK(lk_graph_read(g, y[i], LK_F64, a.x[i]));
    }
    lk_graph_free(&g);
    return a;
}

/* Largest difference of finite numbers; infinite ones must agree. */
static double difference(const answer *a, const answer *b, int i, double *largest)
{
    double d = 0;
    *largest = 0;
    assert_int_equal(a->n[i], b->n[i]);
    for (int64_t j = 0; j < a->n[i]; j++) {
        if (isinf(a->x[i][j]) || isinf(b->x[i][j])) {
            assert_true(a->x[i][j] == b->x[i][j]);
            continue;
        }
        d = fmax(d, fabs(a->x[i][j] - b->x[i][j]));
        *largest = fmax(*largest, fabs(b->x[i][j]));
        assert_true(a->x[i][j] == a->x[i][j]);
    }
    return d;
}

static void fill_spans(lk_span *s, int64_t n_batch, int64_t n, lk_flick step, lk_flick at)
{
    for (int64_t i = 0; i < n_batch * n; i++)
        s[i] = (lk_span){at + i % n * step, at + (i % n + 1) * step};
}

static problem make(int64_t n_batch, int64_t heads, int64_t kv_heads, int64_t n, int64_t m,
                    int64_t d, lk_attend_rule rule)
{
    problem p = {.n_batch = n_batch,
                 .heads = heads,
                 .kv_heads = kv_heads,
                 .n = n,
                 .m = m,
                 .d = d,
                 .rule = rule,
                 .has_plan = 1,
                 .seed = 7,
                 .permute_at = -1};
    CHECK_OK(LK_NEW_ARRAY(&p.q, n_batch * n));
    CHECK_OK(LK_NEW_ARRAY(&p.k, n_batch * m));
    fill_spans(p.q, n_batch, n, 20 * MS, 0);
    fill_spans(p.k, n_batch, m, 20 * MS, 0);
    for (int b = 0; b < 4; b++) {
        p.length[0][b] = (int32_t)n;
        p.length[1][b] = (int32_t)m;
    }
    return p;
}

static lk_attend_rule window(int64_t before_ms, int64_t after_ms)
{
    return (lk_attend_rule){
        .kind = LK_ATTEND_WINDOW, .before = before_ms * MS, .after = after_ms * MS};
}

static lk_attend_rule causal(int64_t chunk_ms, int64_t before_ms)
{
    return (lk_attend_rule){
        .kind = LK_ATTEND_BLOCK_CAUSAL, .chunk = chunk_ms * MS, .before = before_ms * MS};
}

static uint32_t roll(uint64_t seed, uint64_t *at, uint32_t n)
{
    return lk_rng_below(31, seed, (*at)++, n);
}

static problem draw(uint64_t seed)
{
    static const int64_t widths[] = {32, 64, 64, 128, 16, 1, 7, 40, 96, 33};
    static const int64_t steps[] = {10, 20, 40, 33};
    uint64_t at = 0;
    const int64_t kv = 1 + roll(seed, &at, 2), heads = kv * (1 + roll(seed, &at, 2));
    const int64_t n = 1 + roll(seed, &at, 150), m = 1 + roll(seed, &at, 200);
    const int64_t reach = 1 + roll(seed, &at, 1500);
    problem p = make(1 + roll(seed, &at, 2), heads, kv, n, m, widths[roll(seed, &at, 10)],
                     window(reach, roll(seed, &at, 1000)));
    const uint32_t kind = roll(seed, &at, 6);
    if (kind == 1)
        p.rule = causal(100, reach);
    else if (kind == 2)
        p.rule = (lk_attend_rule){.kind = LK_ATTEND_FRAME};
    else if (kind == 3) {
        p.rule.kind = LK_ATTEND_RANDOM_SHIFT;
        p.rule.shift = 500 * MS;
    } else if (kind == 4)
        p.has_plan = 0;
    fill_spans(p.q, p.n_batch, n, steps[roll(seed, &at, 4)] * MS, 0);
    fill_spans(p.k, p.n_batch, m, steps[roll(seed, &at, 4)] * MS,
               ((int64_t)roll(seed, &at, 1000) - 500) * MS);
    for (int b = 0; b < 2 && p.has_plan; b++) {
        p.length[0][b] = (int32_t)(roll(seed, &at, 3) ? n : roll(seed, &at, (uint32_t)n + 1));
        p.length[1][b] = (int32_t)(roll(seed, &at, 3) ? m : roll(seed, &at, (uint32_t)m + 1));
    }
    p.has_slope = (int)roll(seed, &at, 2);
    p.dtype = roll(seed, &at, 2) ? LK_BF16 : LK_F32;
    p.seed = seed;
    return p;
}

static void check_against(const problem *p, const answer *exact, const answer *plain)
{
    answer ours = solve(p, lk_backend_cpu());
    for (int i = 0; i < N_RESULTS; i++) {
        double most, most_plain;
        const double d = difference(&ours, exact, i, &most);
        const double plain_d = difference(plain, exact, i, &most_plain);
        const double factor = i < DQ ? 2 : 3;
        const double bar = p->dtype == LK_F32 ? 1e-5 * most : factor * plain_d + 0x1p-9 * most;
        if (!(d <= bar + 4e-6)) /* gradients may be sums of nothing but rounding */
            fail_msg("problem %d (%s, %s) result %d: error %.3g of %.3g, plain %.3g", (int)p->seed,
                     lk_dtype_name(p->dtype), lk_cpu_level_name(lk_cpu_level_now()), i, d, most,
                     plain_d);
    }
    free_answer(&ours);
}

static void test_random(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        problem p = draw(seed);
        answer exact = solve(&p, lk_backend_reference()), plain = solve(&p, lk_backend_rounded());
        for (int level = 0; level < LK_N_CPU_LEVELS; level++) {
            if (lk_cpu_level_set((lk_cpu_level)level) == LK_OK)
                check_against(&p, &exact, &plain);
            else
                lk_error_clear();
        }
        CHECK_OK(lk_cpu_level_set(lk_cpu_level_best()));
        free_answer(&exact);
        free_answer(&plain);
        free_problem(&p);
    }
}

static void check_equal(const answer *a, const answer *b, const char *what)
{
    for (int i = 0; i < N_RESULTS; i++) {
        assert_int_equal(a->n[i], b->n[i]);
        if (memcmp(a->x[i], b->x[i], (size_t)a->n[i] * sizeof(double)) != 0)
            fail_msg("%s: result %d differs", what, i);
    }
}

/* Adding one time to all tokens changes no bit; nor does a window that holds everything. */
static void test_bits(void **state)
{
    (void)state;
    for (int t = 0; t < 4; t++) {
        const lk_flick shift = t < 2 ? 12345678901 : -777 * LK_FLICKS_PER_S;
        problem p = make(2, 2, 1, 140, 150, 64, window(300, 200)), moved = p;
        problem wide = make(1, 2, 2, 90, 130, 32, window(100000, 100000)), all = wide;
        answer a, b;
        p.dtype = moved.dtype = wide.dtype = all.dtype = t % 2 ? LK_BF16 : LK_F32;
        p.has_slope = moved.has_slope = wide.has_slope = all.has_slope = 1;
        a = solve(&p, lk_backend_cpu());
        fill_spans(moved.q, 2, 140, 20 * MS, shift);
        fill_spans(moved.k, 2, 150, 20 * MS, shift);
        b = solve(&moved, lk_backend_cpu());
        check_equal(&a, &b, "times shifted");
        free_answer(&a);
        free_answer(&b);
        wide.rule.before = wide.rule.after = t < 2 ? LK_ATTEND_ALL : 100 * LK_FLICKS_PER_S;
        all.has_plan = 0;
        a = solve(&wide, lk_backend_cpu());
        b = solve(&all, lk_backend_cpu());
        check_equal(&a, &b, "a window of everything");
        free_answer(&a);
        free_answer(&b);
        free_problem(&p);
        free_problem(&wide);
    }
}

/* Keys of one frame in another order: the same sums but for rounding. */
static void test_permutation(void **state)
{
    problem p = make(1, 2, 2, 70, 90, 32, window(200, 100)), swapped;
    answer a, b;
    (void)state;
    for (int64_t j = 0; j < 90; j++) /* nine patches a frame */
        p.k[j] = (lk_span){j / 9 * 40 * MS, (j / 9 + 1) * 40 * MS};
    swapped = p;
    swapped.permute_at = 40;
    a = solve(&p, lk_backend_cpu());
    b = solve(&swapped, lk_backend_cpu());
    for (int i = 0; i <= DQ; i++) {
        double most;
        const double d = difference(&a, &b, i, &most);
        assert_true(d <= 2e-6 * most);
    }
    free_answer(&a);
    free_answer(&b);
    free_problem(&p);
}

static void test_threads(void **state)
{
    const int before = lk_threads();
    problem p = make(2, 4, 2, 210, 190, 64, causal(200, 900));
    (void)state;
    p.has_slope = 1;
    for (int t = 0; t < 2; t++) {
        answer one, more;
        p.dtype = t ? LK_BF16 : LK_F32;
        lk_threads_set(1);
        one = solve(&p, lk_backend_cpu());
        for (int n = 2; n <= 5; n++) {
            lk_threads_set(n);
            more = solve(&p, lk_backend_cpu());
            check_equal(&one, &more, "threads");
            free_answer(&more);
        }
        free_answer(&one);
    }
    lk_threads_set(before);
    free_problem(&p);
}

/* Rows without a key: zero, -Inf, no gradient. */
static void test_nothing_to_see(void **state)
{
    problem p = make(1, 1, 1, 40, 20, 32, window(0, 0));
    answer a;
    (void)state;
    fill_spans(p.k, 1, 20, 20 * MS, 400 * MS); /* keys begin at query 20 */
    p.length[0][0] = 35;
    a = solve(&p, lk_backend_cpu());
    for (int i = 0; i < 40; i++) {
        const int sees = i >= 20 && i < 35;
        assert_true(isfinite(a.x[LSE][i]) == sees);
        for (int x = 0; x < 32; x++) {
            assert_true((a.x[OUT][i * 32 + x] != 0) == sees);
            assert_true(sees || a.x[DQ][i * 32 + x] == 0);
        }
    }
    for (int j = 15; j < 20; j++)
        for (int x = 0; x < 32; x++)
            assert_true(a.x[DK][j * 32 + x] == 0 && a.x[DV][j * 32 + x] == 0);
    free_answer(&a);
    free_problem(&p);
}

/* A plan that is none is refused, and leaves a sentence. */
static void test_bad_plan(void **state)
{
    lk_graph *g;
    lk_var q, plan;
    const int32_t beyond[6] = {0, 2, 0, 9, 0, 0};
    (void)state;
    CHECK_OK(lk_graph_new(&g, &(lk_graph_config){0}));
    q = lk_input(g, "q", LK_F32, LK_SHAPE(1, 1, 3, 4));
    plan = lk_input(g, "plan", LK_I32, LK_SHAPE(1, 3, 2));
    lk_output(g, "y", lk_attention(g, q, q, q, plan, 0, NULL));
    CHECK_OK(lk_graph_compile(g));
    CHECK_OK(lk_graph_write(g, plan, LK_I32, beyond));
    CHECK_FAILS(lk_graph_run(g, 0), LK_E_ARG);
    lk_graph_free(&g);
}

/* ---- streaming ---- */

typedef struct stream_case {
    int64_t n, d, piece, chunk_ms, before_ms, ring;
    lk_dtype dtype;
} stream_case;

static lk_var stream_graph(lk_graph *g, const stream_case *t, int64_t n, lk_var in[5])
{
    const lk_var at = in[4] = lk_input(g, "at", LK_I32, LK_SHAPE(1));
    lk_var ring[2], y;
    for (int i = 0; i < 3; i++)
        in[i] = lk_input(g, "qkv", t->dtype, LK_SHAPE(1, 2, n, t->d));
    in[3] = lk_input(g, "plan", LK_I32, LK_SHAPE(1, n, 2));
    for (int i = 0; i < 2; i++)
        ring[i] = lk_ring_write(g, lk_input(g, "ring", t->dtype, LK_SHAPE(1, 2, t->ring, t->d)),
                                in[1 + i], at);
    y = lk_attention(g, in[0], ring[0], ring[1], in[3], 0, NULL);
    lk_output(g, "y", y);
    CHECK_OK(lk_graph_compile(g));
    return y;
}

/* Rows first .. first + n - 1 of both heads of x [2, all, d]. */
static void write_rows(lk_graph *g, lk_var v, const float *x, int64_t all, int64_t first, int64_t n,
                       int64_t d)
{
    float *part;
    CHECK_OK(LK_NEW_ARRAY(&part, 2 * n * d));
    for (int64_t h = 0; h < 2; h++)
        memcpy(part + h * n * d, x + (h * all + first) * d, (size_t)(n * d) * sizeof *x);
    CHECK_OK(lk_graph_write(g, v, LK_F32, part));
    lk_free(part);
}

/* Piece by piece with a ring against all at once. */
static void check_stream(const stream_case *t)
{
    const lk_attend_rule rule = causal(t->chunk_ms, t->before_ms);
    lk_attend_stream *s;
    lk_graph *g, *whole;
    lk_var in[5], y, whole_in[4], whole_y;
    lk_span *span;
    int32_t *plan, at;
    float *x, *part, *all;
    const lk_attend_tokens tokens = {NULL, t->n, NULL};
    lk_attend_tokens q = tokens;
    const int64_t numbers = 2 * t->n * t->d;
    CHECK_OK(LK_NEW_ARRAY(&span, t->n));
    CHECK_OK(LK_NEW_ARRAY(&plan, 4 * t->n));
    CHECK_OK(LK_NEW_ARRAY(&x, 3 * numbers));
    CHECK_OK(LK_NEW_ARRAY(&part, 2 * t->piece * t->d));
    CHECK_OK(LK_NEW_ARRAY(&all, numbers));
    fill_spans(span, 1, t->n, 20 * MS, 0);
    for (int64_t i = 0; i < 3 * numbers; i++)
        x[i] = lk_rng_normal(3, 1, (uint64_t)i);
    CHECK_OK(lk_graph_new(&whole, &(lk_graph_config){0}));
    for (int i = 0; i < 3; i++)
        whole_in[i] = lk_input(whole, "qkv", t->dtype, LK_SHAPE(1, 2, t->n, t->d));
    whole_in[3] = lk_input(whole, "plan", LK_I32, LK_SHAPE(1, 2 * t->n, 2));
    whole_y = lk_attention(whole, whole_in[0], whole_in[1], whole_in[2], whole_in[3], 0, NULL);
    lk_output(whole, "y", whole_y);
    CHECK_OK(lk_graph_compile(whole));
    for (int i = 0; i < 3; i++)
        CHECK_OK(lk_graph_write(whole, whole_in[i], LK_F32, x + i * numbers));
    q.span = span;
    CHECK_OK(lk_attend_plan(&rule, 0, 1, &q, &q, plan));
    CHECK_OK(lk_graph_write(whole, whole_in[3], LK_I32, plan));
    CHECK_OK(lk_graph_run(whole, 0));
    CHECK_OK(lk_graph_read(whole, whole_y, LK_F32, all));

    CHECK_OK(lk_attend_stream_new(&s, &rule, t->ring));
    CHECK_OK(lk_graph_new(&g, &(lk_graph_config){0}));
    y = stream_graph(g, t, t->piece, in);
    for (int64_t first = 0; first < t->n; first += t->piece) {
        CHECK_OK(lk_attend_stream_append(s, t->piece, span + first, &at));
        CHECK_OK(lk_attend_stream_plan(s, t->piece, span + first, plan));
        for (int i = 0; i < 3; i++)
            write_rows(g, in[i], x + i * numbers, t->n, first, t->piece, t->d);
        CHECK_OK(lk_graph_write(g, in[3], LK_I32, plan));
        CHECK_OK(lk_graph_write(g, in[4], LK_I32, &at));
        CHECK_OK(lk_graph_run(g, 0));
        CHECK_OK(lk_graph_read(g, y, LK_F32, part));
        for (int64_t h = 0; h < 2; h++)
            if (memcmp(part + h * t->piece * t->d, all + (h * t->n + first) * t->d,
                       (size_t)(t->piece * t->d) * sizeof *part) != 0)
                fail_msg("piece at %d of %d (%s, %s): not the bits of the whole", (int)first,
                         (int)t->n, lk_dtype_name(t->dtype), lk_cpu_level_name(lk_cpu_level_now()));
    }
    lk_graph_free(&g);
    lk_graph_free(&whole);
    lk_attend_stream_free(&s);
    lk_free(span);
    lk_free(plan);
    lk_free(x);
    lk_free(part);
    lk_free(all);
}

static void test_stream(void **state)
{
    const stream_case cases[] = {
        {300, 64, 5, 100, 900, 64, LK_F32},       {300, 64, 5, 100, 900, 64, LK_BF16},
        {350, 32, 25, 500, 3000, 256, LK_F32},    {350, 33, 25, 500, 3000, 256, LK_BF16},
        {392, 16, 98, 1960, 200000, 448, LK_F32}, {200, 8, 1, 20, 100, 64, LK_F32},
    };
    (void)state;
    for (int level = 0; level < LK_N_CPU_LEVELS; level++) {
        if (lk_cpu_level_set((lk_cpu_level)level) != LK_OK) {
            lk_error_clear();
            continue;
        }
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
            check_stream(&cases[i]);
    }
    CHECK_OK(lk_cpu_level_set(lk_cpu_level_best()));
}

static void test_stream_refused(void **state)
{
    const lk_attend_rule rule = causal(100, 2000), everything = {.kind = LK_ATTEND_FULL};
    lk_attend_stream *s;
    lk_span span[70];
    int32_t at, plan[140];
    (void)state;
    fill_spans(span, 1, 70, 20 * MS, 0);
    CHECK_FAILS(lk_attend_stream_new(&s, &rule, 100), LK_E_ARG);
    CHECK_FAILS(lk_attend_stream_new(&s, &everything, 64), LK_E_ARG);
    CHECK_OK(lk_attend_stream_new(&s, &rule, 64));
    CHECK_FAILS(lk_attend_stream_append(s, 70, span, &at), LK_E_ARG);
    CHECK_OK(lk_attend_stream_append(s, 60, span, &at));
    CHECK_FAILS(lk_attend_stream_append(s, 1, span + 10, &at), LK_E_ARG);
    CHECK_OK(lk_attend_stream_plan(s, 60, span, plan));
    CHECK_OK(lk_attend_stream_append(s, 10, span + 60, &at));
    assert_int_equal(at, 60);
    CHECK_FAILS(lk_attend_stream_plan(s, 10, span + 60, plan), LK_E_ARG); /* sees 100 back */
    lk_attend_stream_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),         cmocka_unit_test(test_bits),
        cmocka_unit_test(test_permutation),    cmocka_unit_test(test_threads),
        cmocka_unit_test(test_nothing_to_see), cmocka_unit_test(test_bad_plan),
        cmocka_unit_test(test_stream),         cmocka_unit_test(test_stream_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
