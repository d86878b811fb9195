/* attention.c - attention over time at the shapes of joint models, beside the machine's peaks.
 *
 * Operations are counted on pairs that attend: 4 D a pair forward, 10 D backward, so what tiles
 * round up, masks and exponentials count as loss.  Two streams with one token a time step, or dense
 * queries against sparse keys.  A GPU gets longer streams, in bf16. */
#include "kernels/bench/bench_impl.h"

#include "kernels/attention.h"
#include "kernels/mem.h"
#include "kernels/rng.h"

#include <stdio.h>

typedef struct attention_case {
    int64_t heads, kv_heads, n, m, d;
    int64_t window; /* keys a query sees on average; 0: all */
} attention_case;

static const attention_case cpu_cases[] = {
    {4, 4, 4096, 4096, 64, 0},     {4, 4, 4096, 4096, 64, 512},   {4, 4, 4096, 4096, 64, 1024},
    {4, 4, 4096, 4096, 32, 512},   {4, 4, 4096, 4096, 128, 512},  {1, 1, 4096, 4096, 64, 256},
    {1, 1, 16384, 16384, 64, 256}, {1, 1, 65536, 65536, 64, 256}, {4, 2, 8192, 512, 64, 50},
};
static const attention_case device_cases[] = {
    {16, 16, 16384, 16384, 64, 0},     {16, 16, 16384, 16384, 128, 0},
    {16, 16, 16384, 16384, 64, 256},   {16, 16, 16384, 16384, 64, 2048},
    {16, 16, 16384, 16384, 64, 4096},  {16, 16, 16384, 16384, 128, 256},
    {16, 16, 16384, 16384, 128, 2048}, {16, 16, 16384, 16384, 128, 4096},
    {4, 4, 65536, 65536, 128, 2048},   {4, 4, 262144, 262144, 128, 2048},
    {4, 4, 16384, 16384, 128, 2048},   {16, 4, 65536, 2048, 64, 50},
};

/* Tokens that tile one time together; the query window is `window` keys wide. */
static lk_status write_plan(lk_graph *g, lk_var plan, const attention_case *a, double *pairs)
{
    lk_status st = LK_OK;
    lk_span *q = NULL, *k = NULL;
    int32_t *table = NULL;
    const int64_t step = 1 << 12, key = step * a->n / a->m;
    const lk_flick half = key * a->window / 2;
    const lk_attend_rule rule = {.kind = LK_ATTEND_WINDOW, .before = half, .after = half - step};
    lk_attend_tokens qt = {NULL, a->n, NULL}, kt = {NULL, a->m, NULL};
    LK_TRY(LK_NEW_ARRAY(&q, a->n));
    LK_TRY(LK_NEW_ARRAY(&k, a->m));
    LK_TRY(LK_NEW_ARRAY(&table, 2 * (a->n + a->m)));
    for (int64_t i = 0; i < a->n; i++)
        q[i] = (lk_span){i * step, (i + 1) * step};
    for (int64_t i = 0; i < a->m; i++)
        k[i] = (lk_span){i * key, (i + 1) * key};
    qt.span = q;
    kt.span = k;
    LK_TRY(lk_attend_plan(&rule, 0, 1, &qt, &kt, table));
    *pairs = (double)lk_attend_pairs(table, a->n);
    LK_TRY(lk_graph_write(g, plan, LK_I32, table));
done:
    lk_free(q);
    lk_free(k);
    lk_free(table);
    return st;
}

static lk_status bench(const lk_backend *backend, const attention_case *a, const char *shape,
                       lk_dtype t, const lk_bench_peaks *peaks,
                       void (*row)(void *user, const lk_bench_row *r), void *user)
{
    lk_status st = LK_OK;
    lk_graph *g = NULL;
    char name[96];
    lk_var in[3], grads[3], plan = LK_NONE, y;
    double pairs = (double)a->n * (double)a->m;
    snprintf(name, sizeof name, "%lldx%lld-%lldx%lldx%lld w %lld", (long long)a->heads,
             (long long)a->n, (long long)a->kv_heads, (long long)a->m, (long long)a->d,
             (long long)a->window);
    if (!strstr(name, shape))
        return LK_OK;
    LK_TRY(lk_graph_new(&g, &(lk_graph_config){.backend = backend, .train = 1}));
    in[0] = lk_input(g, "q", t, LK_SHAPE(1, a->heads, a->n, a->d));
    in[1] = lk_input(g, "k", t, LK_SHAPE(1, a->kv_heads, a->m, a->d));
    in[2] = lk_input(g, "v", t, LK_SHAPE(1, a->kv_heads, a->m, a->d));
    for (int i = 0; i < 3; i++)
        lk_want_grad(g, in[i]);
    if (a->window)
        plan = lk_input(g, "plan", LK_I32, LK_SHAPE(1, a->n + a->m, 2));
    y = lk_attention(g, in[0], in[1], in[2], plan, 0, NULL);
    lk_gradients(g, y, lk_input(g, "dy", t, lk_var_shape(g, y)), 3, in, grads);
    lk_bench_keep_all(g);
    LK_TRY(lk_graph_compile(g));
    LK_TRY(lk_bench_fill(g));
    if (a->window)
        LK_TRY(write_plan(g, plan, a, &pairs));
    for (size_t i = 0; i < g->n_calls; i++) {
        const int backward = g->calls[i].node->op == LK_OP_ATTENTION_GRAD;
        lk_bench_row r = {.op = lk_op_get(g->calls[i].node->op)->name, .shape = name, .dtype = t};
        LK_TRY(lk_bench_time_call(g, &g->calls[i], &r.seconds));
        r.gflops = (backward ? 10 : 4) * pairs * (double)(a->heads * a->d) / r.seconds / 1e9;
        r.share = r.gflops /
                  (t == LK_BF16 && peaks->bf16_gflops > 0 ? peaks->bf16_gflops : peaks->f32_gflops);
        row(user, &r);
    }
done:
    lk_graph_free(&g);
    return st;
}

lk_status lk_bench_attention(const lk_backend *backend, const char *only,
                             const lk_bench_peaks *peaks,
                             void (*row)(void *user, const lk_bench_row *r), void *user)
{
    lk_status st = LK_OK;
    const int on_cpu = backend == lk_backend_cpu();
    const attention_case *cases = on_cpu ? cpu_cases : device_cases;
    const size_t n = on_cpu ? sizeof cpu_cases / sizeof cpu_cases[0]
                            : sizeof device_cases / sizeof device_cases[0];
    const char *colon = only ? strchr(only, ':') : NULL;
    const char *shape = colon ? colon + 1 : "";
    if (only && strncmp("attention", only, colon ? (size_t)(colon - only) : strlen(only)) != 0)
        return LK_OK;
    for (size_t i = 0; i < n; i++) {
        if (on_cpu)
            LK_TRY(bench(backend, &cases[i], shape, LK_F32, peaks, row, user));
        LK_TRY(bench(backend, &cases[i], shape, LK_BF16, peaks, row, user));
    }
done:
    return st;
}
