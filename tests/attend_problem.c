/* attend_problem.c - see attend_problem.h. */
#include "tests/attend_problem.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

void attend_free_answer(attend_answer *a)
{
    for (int i = 0; i < ATTEND_N_RESULTS; i++)
        lk_free(a->x[i]);
}

void attend_free_problem(attend_problem *p)
{
    lk_free(p->q);
    lk_free(p->k);
}

static void write_random(lk_graph *g, lk_var v, const attend_problem *p, uint64_t stream,
                         double scale, int of_keys)
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

static void write_plan(lk_graph *g, lk_var plan, lk_var times, const attend_problem *p)
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

lk_status attend_try(const attend_problem *p, const lk_backend *backend, attend_answer *a)
{
    lk_status st;
    lk_graph *g;
    lk_var in[4], y[ATTEND_N_RESULTS], grads[4], plan = LK_NONE, slope = LK_NONE, times = LK_NONE,
                                                 dy;
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
    y[ATTEND_OUT] =
        lk_attention_sloped(g, in[0], in[1], in[2], plan, slope, times, 0, &y[ATTEND_LSE]);
    dy = lk_input(g, "dy", p->dtype, lk_var_shape(g, y[ATTEND_OUT]));
    lk_gradients(g, y[ATTEND_OUT], dy, n_in, in, grads);
    for (int i = 0; i < 4; i++)
        y[ATTEND_DQ + i] = i < n_in ? grads[i] : LK_NONE;
    for (int i = 0; i < ATTEND_N_RESULTS; i++)
        lk_output(g, "result", y[i]);
    CHECK_OK(lk_graph_compile(g));
    write_random(g, in[0], p, 0, 2, 0);
    write_random(g, in[1], p, 1, 2, 1);
    write_random(g, in[2], p, 2, 1, 1);
    write_random(g, dy, p, 3, 1, 0);
    if (p->has_slope)
        write_random(g, slope, p, 4, 3, 0);
    write_plan(g, plan, times, p);
    st = lk_graph_run(g, 0);
    *a = (attend_answer){.n = {0}};
    for (int i = 0; st == LK_OK && i < ATTEND_N_RESULTS; i++) {
        const lk_shape s = lk_var_shape(g, y[i]);
        a->n[i] = lk_is_none(y[i]) ? 0 : lk_shape_count(&s);
        CHECK_OK(LK_NEW_ARRAY(&a->x[i], a->n[i]));
        if (a->n[i])
            CHECK_OK(lk_graph_read(g, y[i], LK_F64, a->x[i]));
    }
    lk_graph_free(&g);
    return st;
}

attend_answer attend_solve(const attend_problem *p, const lk_backend *backend)
{
    attend_answer a;
    CHECK_OK(attend_try(p, backend, &a));
    return a;
}

double attend_difference(const attend_answer *a, const attend_answer *b, int i, double *largest)
{
    double d = 0;
    *largest = 0;
    assert_int_equal(a->n[i], b->n[i]);
    for (int64_t j = 0; j < a->n[i]; j++) {
        const double x = a->x[i][j], y = b->x[i][j];
        if (isinf(x) && x == y)
            continue;
        if (!isfinite(x) || !isfinite(y))
            return INFINITY;
        d = fmax(d, fabs(x - y));
        *largest = fmax(*largest, fabs(y));
    }
    return d;
}

int attend_wrong(const attend_problem *p, const attend_answer *ours, const attend_answer *exact,
                 const attend_answer *plain, const char *name, char text[ATTEND_TEXT])
{
    for (int i = 0; i < ATTEND_N_RESULTS; i++) {
        double most, most_plain;
        const double d = attend_difference(ours, exact, i, &most);
        const double plain_d = attend_difference(plain, exact, i, &most_plain);
        /* Gradients are sums of products of rounded dS, which may cancel.  Those of slopes are sums
         * over all pairs, and so few numbers that all of plain's may be right by luck; but nothing
         * of theirs need be rounded. */
        const double factor = i < ATTEND_DQ ? 2 : 3;
        const double rest = i < ATTEND_DQ ? 0x1p-9 : i < ATTEND_DSLOPE ? 0x1p-8 : 0x1p-12;
        const double single = i < ATTEND_DSLOPE ? 1e-5 : 4e-5;
        const double bar = p->dtype == LK_F32 ? single * most : factor * plain_d + rest * most;
        if (d <= bar + 4e-6) /* gradients may be sums of nothing but rounding */
            continue;
        snprintf(text, ATTEND_TEXT, "problem %d (%s, %s) result %d: error %.3g of %.3g, plain %.3g",
                 (int)p->seed, lk_dtype_name(p->dtype), name, i, d, most, plain_d);
        return 1;
    }
    return 0;
}

void attend_spans(lk_span *s, int64_t n_batch, int64_t n, lk_flick step, lk_flick at)
{
    for (int64_t i = 0; i < n_batch * n; i++)
        s[i] = (lk_span){at + i % n * step, at + (i % n + 1) * step};
}

attend_problem attend_make(int64_t n_batch, int64_t heads, int64_t kv_heads, int64_t n, int64_t m,
                           int64_t d, lk_attend_rule rule)
{
    attend_problem p = {.n_batch = n_batch,
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
    attend_spans(p.q, n_batch, n, 20 * ATTEND_MS, 0);
    attend_spans(p.k, n_batch, m, 20 * ATTEND_MS, 0);
    for (int b = 0; b < 4; b++) {
        p.length[0][b] = (int32_t)n;
        p.length[1][b] = (int32_t)m;
    }
    return p;
}

lk_attend_rule attend_window(int64_t before_ms, int64_t after_ms)
{
    return (lk_attend_rule){
        .kind = LK_ATTEND_WINDOW, .before = before_ms * ATTEND_MS, .after = after_ms * ATTEND_MS};
}

lk_attend_rule attend_causal(int64_t chunk_ms, int64_t before_ms)
{
    return (lk_attend_rule){.kind = LK_ATTEND_BLOCK_CAUSAL,
                            .chunk = chunk_ms * ATTEND_MS,
                            .before = before_ms * ATTEND_MS};
}

static uint32_t roll(uint64_t seed, uint64_t *at, uint32_t n)
{
    return lk_rng_below(31, seed, (*at)++, n);
}

attend_problem attend_draw(uint64_t seed, int wide)
{
    static const int64_t widths[] = {32, 64, 64, 128, 16, 1, 7, 40, 96, 33};
    static const int64_t steps[] = {10, 20, 40, 33};
    uint64_t at = 0;
    const int64_t kv = 1 + roll(seed, &at, 2), heads = kv * (1 + roll(seed, &at, 2));
    const int64_t n = 1 + roll(seed, &at, wide ? 300 : 150);
    const int64_t m = 1 + roll(seed, &at, wide ? 520 : 200);
    const int64_t reach = 1 + roll(seed, &at, wide ? 5000 : 1500);
    const int64_t d = wide ? 64 << roll(seed, &at, 2) : widths[roll(seed, &at, 10)];
    attend_problem p = attend_make(1 + roll(seed, &at, 2), heads, kv, n, m, d,
                                   attend_window(reach, roll(seed, &at, 1000)));
    const uint32_t kind = roll(seed, &at, 6);
    if (kind == 1)
        p.rule = attend_causal(100, reach);
    else if (kind == 2)
        p.rule = (lk_attend_rule){.kind = LK_ATTEND_FRAME};
    else if (kind == 3) {
        p.rule.kind = LK_ATTEND_RANDOM_SHIFT;
        p.rule.shift = 500 * ATTEND_MS;
    } else if (kind == 4)
        p.has_plan = 0;
    attend_spans(p.q, p.n_batch, n, steps[roll(seed, &at, 4)] * ATTEND_MS, 0);
    attend_spans(p.k, p.n_batch, m, steps[roll(seed, &at, 4)] * ATTEND_MS,
                 ((int64_t)roll(seed, &at, 1000) - 500) * ATTEND_MS);
    for (int b = 0; b < 2 && p.has_plan; b++) {
        p.length[0][b] = (int32_t)(roll(seed, &at, 3) ? n : roll(seed, &at, (uint32_t)n + 1));
        p.length[1][b] = (int32_t)(roll(seed, &at, 3) ? m : roll(seed, &at, (uint32_t)m + 1));
    }
    p.has_slope = !wide && roll(seed, &at, 2);
    p.dtype = wide || roll(seed, &at, 2) ? LK_BF16 : LK_F32;
    p.seed = seed;
    return p;
}
