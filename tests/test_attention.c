/* test_attention.c - attention over time as a whole: random problems on every instruction set, on
 * the CUDA kernels in the emulator and on a GPU where there is one, against the definition in
 * double (attend_problem.h has the bars), and the properties that follow from what it is. */
#include "tests/attend_problem.h"

#include "kernels/cpu/cpu.h"
#include "kernels/cuda/cuda.h"
#include "kernels/mem.h"
#include "kernels/rng.h"
#include "kernels/thread.h"

static void check_against(const attend_problem *p, const lk_backend *backend, const char *name,
                          const attend_answer *exact, const attend_answer *plain)
{
    attend_answer ours = attend_solve(p, backend);
    char text[ATTEND_TEXT];
    if (attend_wrong(p, &ours, exact, plain, name, text))
        CHECK_WRONG("%s", text);
    attend_free_answer(&ours);
}

typedef void check_fn(const attend_problem *p, const attend_answer *exact,
                      const attend_answer *plain);

/* Random problem `seed`: its definition, which `check` compares with. */
static void check_random(uint64_t seed, int wide, check_fn *check)
{
    attend_problem p = attend_draw(seed, wide);
    attend_answer exact = attend_solve(&p, lk_backend_reference());
    attend_answer plain = attend_solve(&p, lk_backend_rounded());
    check(&p, &exact, &plain);
    attend_free_answer(&exact);
    attend_free_answer(&plain);
    attend_free_problem(&p);
}

static void check_levels(const attend_problem *p, const attend_answer *exact,
                         const attend_answer *plain)
{
    for (int i = 0; i < LK_N_CPU_LEVELS; i++) {
        const lk_cpu_level level = (lk_cpu_level)i;
        if (lk_cpu_level_set(level) == LK_OK)
            check_against(p, lk_backend_cpu(), lk_cpu_level_name(level), exact, plain);
        else
            lk_error_clear();
    }
    CHECK_OK(lk_cpu_level_set(lk_cpu_level_best()));
}

typedef struct problems {
    uint64_t from, to;
} problems;

/* Which random problems: LK_TEST_PROBLEMS for all kernels, if it is set, "N" or "FROM-TO". */
static problems drawn(int full, int brief)
{
    const char *asked = getenv("LK_TEST_PROBLEMS");
    problems p = {0, (uint64_t)check_count(full, brief)};
    if (asked) {
        char *end;
        p.to = strtoull(asked, &end, 10);
        if (*end == '-') {
            p.from = p.to;
            p.to = strtoull(end + 1, NULL, 10);
        }
    }
    return p;
}

static void test_random(void **state)
{
    (void)state;
    const problems all = drawn(200, 30);
    for (uint64_t seed = all.from; seed < all.to; seed++)
        check_random(seed, 0, check_levels);
    check_none_wrong();
}

/* So many heads that one thread does all of a head's gradients, and heads that fall short of that.
 */
static void test_many_heads(void **state)
{
    static const struct {
        int64_t n_batch, kv_heads, group, n, m, d;
    } sizes[] = {{4, 4, 1, 70, 91, 16}, {2, 8, 2, 33, 130, 32}, {2, 9, 1, 129, 65, 64},
                 {4, 4, 2, 1, 1, 64},   {4, 4, 1, 40, 50, 24},  {3, 5, 1, 40, 50, 32},
                 {2, 8, 4, 520, 64, 64}};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int k = 0; k < 4; k++) {
            attend_problem p =
                attend_make(sizes[i].n_batch, sizes[i].kv_heads * sizes[i].group, sizes[i].kv_heads,
                            sizes[i].n, sizes[i].m, sizes[i].d,
                            k % 2 ? attend_window(300, 200) : attend_window(1000000, 1000000));
            p.dtype = k / 2 ? LK_BF16 : LK_F32;
            p.has_plan = k != 2;
            for (int64_t b = 0; b < p.n_batch && p.has_plan; b++) { /* some tokens are not there */
                p.length[0][b] = (int32_t)(p.n - b * p.n / 5);
                p.length[1][b] = (int32_t)(p.m - b * p.m / 3);
            }
            attend_answer exact = attend_solve(&p, lk_backend_reference());
            attend_answer plain = attend_solve(&p, lk_backend_rounded());
            check_levels(&p, &exact, &plain);
            attend_free_answer(&exact);
            attend_free_answer(&plain);
            attend_free_problem(&p);
        }
    check_none_wrong();
}

static void check_emulated(const attend_problem *p, const attend_answer *exact,
                           const attend_answer *plain)
{
    lk_emu_attend_height(16 << p->seed % 5);
    lk_emu_attend_parts(1 + (int)(p->seed % 4));
    lk_emu_reverse(p->seed / 3 % 2);
    check_against(p, lk_backend_emulated(), "cuda emulated", exact, plain);
    lk_emu_attend_height(0);
    lk_emu_attend_parts(0);
    lk_emu_reverse(0);
}

static void test_emulated(void **state)
{
    (void)state;
    const problems all = drawn(40, 12);
    for (uint64_t seed = all.from; seed < all.to; seed++)
        check_random(200 + seed, 0, check_emulated);
    check_none_wrong();
}

/* The kernels for sm_90, if the plan is wide and always. */
static void check_hopper(const attend_problem *p, const attend_answer *exact,
                         const attend_answer *plain)
{
    lk_emu_attend_hopper_use(1 + (p->seed % 4 > 0));
    lk_emu_reverse(p->seed % 2);
    check_against(p, lk_backend_emulated(), "cuda emulated, sm_90", exact, plain);
    lk_emu_attend_hopper_use(-1);
    lk_emu_reverse(0);
}

static void test_hopper(void **state)
{
    (void)state;
    const problems all = drawn(30, 8);
    for (uint64_t seed = all.from; seed < all.to; seed++)
        check_random(seed, 1, check_hopper);
    check_none_wrong();
}

#ifdef LK_TEST_CUDA
static const lk_backend *cuda;

static void check_cuda(const attend_problem *p, const attend_answer *exact,
                       const attend_answer *plain)
{
    check_against(p, cuda, "cuda", exact, plain);
}

static void check_cuda_hopper(const attend_problem *p, const attend_answer *exact,
                              const attend_answer *plain)
{
    for (int use = -1; use <= 2; use++) { /* never, where it pays, judged, always */
        lk_cuda_attend_hopper_use(use);
        check_against(p, cuda, use < 0 ? "cuda" : "cuda, sm_90", exact, plain);
    }
    lk_cuda_attend_hopper_use(0);
}

static void test_cuda(void **state)
{
    (void)state;
    if (lk_backend_cuda(&cuda) != LK_OK) {
        print_message("skipped: %s\n", lk_error_text());
        lk_error_clear();
        return;
    }
    const problems all = drawn(200, 40);
    for (uint64_t seed = all.from; seed < all.to; seed++) {
        check_random(seed, 0, check_cuda);
        check_random(seed, 1, check_cuda_hopper);
    }
    check_none_wrong();
}
#endif

static void check_equal(const attend_answer *a, const attend_answer *b, const char *what)
{
    for (int i = 0; i < ATTEND_N_RESULTS; i++) {
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
        attend_problem p = attend_make(2, 2, 1, 140, 150, 64, attend_window(300, 200)), moved = p;
        attend_problem wide = attend_make(1, 2, 2, 90, 130, 32, attend_window(100000, 100000)),
                       all = wide;
        attend_answer a, b;
        p.dtype = moved.dtype = wide.dtype = all.dtype = t % 2 ? LK_BF16 : LK_F32;
        p.has_slope = moved.has_slope = wide.has_slope = all.has_slope = 1;
        a = attend_solve(&p, lk_backend_cpu());
        attend_spans(moved.q, 2, 140, 20 * ATTEND_MS, shift);
        attend_spans(moved.k, 2, 150, 20 * ATTEND_MS, shift);
        b = attend_solve(&moved, lk_backend_cpu());
        check_equal(&a, &b, "times shifted");
        attend_free_answer(&a);
        attend_free_answer(&b);
        wide.rule.before = wide.rule.after = t < 2 ? LK_ATTEND_ALL : 100 * LK_FLICKS_PER_S;
        all.has_plan = 0;
        a = attend_solve(&wide, lk_backend_cpu());
        b = attend_solve(&all, lk_backend_cpu());
        check_equal(&a, &b, "a window of everything");
        attend_free_answer(&a);
        attend_free_answer(&b);
        attend_free_problem(&p);
        attend_free_problem(&wide);
    }
}

/* Keys of one frame in another order: the same sums but for rounding. */
static void test_permutation(void **state)
{
    attend_problem p = attend_make(1, 2, 2, 70, 90, 32, attend_window(200, 100)), swapped;
    attend_answer a, b;
    (void)state;
    for (int64_t j = 0; j < 90; j++) /* nine patches a frame */
        p.k[j] = (lk_span){j / 9 * 40 * ATTEND_MS, (j / 9 + 1) * 40 * ATTEND_MS};
    swapped = p;
    swapped.permute_at = 40;
    a = attend_solve(&p, lk_backend_cpu());
    b = attend_solve(&swapped, lk_backend_cpu());
    for (int i = 0; i <= ATTEND_DQ; i++) {
        double most;
        const double d = attend_difference(&a, &b, i, &most);
        assert_true(d <= 2e-6 * most);
    }
    attend_free_answer(&a);
    attend_free_answer(&b);
    attend_free_problem(&p);
}

static void test_threads(void **state)
{
    const int before = lk_threads();
    attend_problem p = attend_make(2, 4, 2, 210, 190, 64, attend_causal(200, 900));
    (void)state;
    p.has_slope = 1;
    for (int t = 0; t < 2; t++) {
        attend_answer one, more;
        p.dtype = t ? LK_BF16 : LK_F32;
        lk_threads_set(1);
        one = attend_solve(&p, lk_backend_cpu());
        for (int n = 2; n <= 5; n++) {
            lk_threads_set(n);
            more = attend_solve(&p, lk_backend_cpu());
            check_equal(&one, &more, "threads");
            attend_free_answer(&more);
        }
        attend_free_answer(&one);
    }
    lk_threads_set(before);
    attend_free_problem(&p);
}

/* Rows without a key: zero, -Inf, no gradient. */
static void test_nothing_to_see(void **state)
{
    attend_problem p = attend_make(1, 1, 1, 40, 20, 32, attend_window(0, 0));
    attend_answer a;
    (void)state;
    attend_spans(p.k, 1, 20, 20 * ATTEND_MS, 400 * ATTEND_MS); /* keys begin at query 20 */
    p.length[0][0] = 35;
    a = attend_solve(&p, lk_backend_cpu());
    for (int i = 0; i < 40; i++) {
        const int sees = i >= 20 && i < 35;
        assert_true(isfinite(a.x[ATTEND_LSE][i]) == sees);
        for (int x = 0; x < 32; x++) {
            assert_true((a.x[ATTEND_OUT][i * 32 + x] != 0) == sees);
            assert_true(sees || a.x[ATTEND_DQ][i * 32 + x] == 0);
        }
    }
    for (int j = 15; j < 20; j++)
        for (int x = 0; x < 32; x++)
            assert_true(a.x[ATTEND_DK][j * 32 + x] == 0 && a.x[ATTEND_DV][j * 32 + x] == 0);
    attend_free_answer(&a);
    attend_free_problem(&p);
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
    const lk_attend_rule rule = attend_causal(t->chunk_ms, t->before_ms);
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
    attend_spans(span, 1, t->n, 20 * ATTEND_MS, 0);
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
    const lk_attend_rule rule = attend_causal(100, 2000), everything = {.kind = LK_ATTEND_FULL};
    lk_attend_stream *s;
    lk_span span[70];
    int32_t at, plan[140];
    (void)state;
    attend_spans(span, 1, 70, 20 * ATTEND_MS, 0);
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

/* test_attention [--cuda]: all, or what a GPU does alone. */
int main(int argc, char **argv)
{
#ifdef LK_TEST_CUDA
    const struct CMUnitTest on_device[] = {cmocka_unit_test(test_cuda)};
    if (argc > 1 && strcmp(argv[1], "--cuda") == 0)
        return cmocka_run_group_tests(on_device, NULL, NULL);
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),         cmocka_unit_test(test_many_heads),
        cmocka_unit_test(test_emulated),       cmocka_unit_test(test_hopper),
#ifdef LK_TEST_CUDA
        cmocka_unit_test(test_cuda),
#endif
        cmocka_unit_test(test_bits),           cmocka_unit_test(test_permutation),
        cmocka_unit_test(test_threads),        cmocka_unit_test(test_nothing_to_see),
        cmocka_unit_test(test_bad_plan),       cmocka_unit_test(test_stream),
        cmocka_unit_test(test_stream_refused),
    };
    (void)argc;
    (void)argv;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
