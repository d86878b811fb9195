/* steps.c - bench_steps: a whole training step of one of the models, timed.
 *
 *     bench_steps transformer|audio|video [--dtype f32|bf16] [--steps N] [--threads N]
 *                 [--recompute] [--profile] [--rate R] [--dump FILE]
 *
 * One line of JSON: the median time of a step after the first two, the growth of the resident
 * memory, what the planner says, and the loss of every step.  --dump writes weights and data as
 * safetensors before the first step; --recompute makes cheap values again instead of keeping them
 * (graph.h); --profile prints the time by operation instead.
 */
#include "kernels/bench/bench_impl.h"
#include "kernels/bench/models.h"

#include "kernels/mem.h"
#include "kernels/optim.h"
#include "kernels/rng.h"
#include "kernels/safetensors.h"
#include "kernels/thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_STEPS 10000

typedef struct run {
    const lk_bench_model *model;
    lk_dtype dtype;
    int steps, threads, profile, recompute;
    double rate;
    const char *dump;
    lk_params *params;
    lk_optim *optim;
    lk_graph *graph;
    lk_var x, target, loss;
    double *seconds, *losses;
    long base_kib;
} run;

/* A number of /proc/self/status in KiB; 0 where there is none. */
static long status_kib(const char *key)
{
    char line[256];
    long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0)
            kib = strtol(line + strlen(key) + 1, NULL, 10);
    if (f)
        fclose(f);
    return kib;
}

/* Smooth waves with some noise, in [-1, 1]. */
static lk_status fill(run *r, lk_var v, uint64_t stream)
{
    lk_status st = LK_OK;
    const lk_shape s = lk_var_shape(r->graph, v);
    const int64_t n = lk_shape_count(&s);
    float *x = NULL;
    LK_TRY(LK_NEW_ARRAY(&x, n));
    for (int64_t i = 0; i < n; i++)
        x[i] = 0.7f * sinf(0.01f * (float)(i % 100003) * (float)(1 + stream)) +
               0.3f * (2 * lk_rng_uniform(7, stream, (uint64_t)i) - 1);
    LK_TRY(lk_graph_write(r->graph, v, LK_F32, x));
done:
    lk_free(x);
    return st;
}

static lk_status build(run *r)
{
    lk_status st = LK_OK;
    LK_TRY(lk_params_new(&r->params, NULL, 1));
    LK_TRY(lk_graph_new(&r->graph, &(lk_graph_config){.params = r->params,
                                                      .compute = r->dtype,
                                                      .train = 1,
                                                      .recompute = r->recompute}));
    r->loss = r->model->build(r->graph, &r->x, &r->target);
    lk_output(r->graph, "loss", r->loss);
    lk_backward(r->graph, r->loss);
    LK_TRY(lk_graph_compile(r->graph));
    LK_TRY(lk_optim_new(&r->optim, r->params, &(lk_optim_config){.decay = 0.01}));
    LK_TRY(fill(r, r->x, 0));
    if (!lk_is_none(r->target))
        LK_TRY(fill(r, r->target, 1));
done:
    return st;
}

/* ---- the start, for another program ---- */

static lk_status fetch(void *user, int i, void *data)
{
    const run *r = user;
    const int n = lk_params_n(r->params);
    return i < n    ? lk_params_read(r->params, i, LK_VALUE, LK_F32, data)
           : i == n ? lk_graph_read(r->graph, r->x, LK_F32, data)
                    : lk_graph_read(r->graph, r->target, LK_F32, data);
}

static lk_status dump(run *r)
{
    lk_status st = LK_OK;
    const int n = lk_params_n(r->params), n_data = lk_is_none(r->target) ? 1 : 2;
    lk_safetensor *t = NULL;
    LK_TRY(LK_NEW_ARRAY(&t, n + 2));
    for (int i = 0; i < n; i++)
        t[i] = (lk_safetensor){lk_params_name(r->params, i), LK_F32, lk_params_shape(r->params, i),
                               NULL};
    t[n] = (lk_safetensor){"x", LK_F32, lk_var_shape(r->graph, r->x), NULL};
    t[n + 1] = (lk_safetensor){"target", LK_F32, lk_var_shape(r->graph, r->target), NULL};
    LK_TRY(lk_safetensors_write(r->dump, n + n_data, t, 0, NULL, fetch, r));
done:
    lk_free(t);
    return st;
}

static lk_status step(run *r, int i)
{
    lk_status st = LK_OK;
    float loss = 0;
    const double start = lk_bench_now_s();
    LK_TRY(lk_graph_run(r->graph, (uint64_t)i));
    LK_TRY(lk_optim_step(r->optim, i, r->rate, 1));
    LK_TRY(lk_graph_read(r->graph, r->loss, LK_F32, &loss));
    r->seconds[i] = lk_bench_now_s() - start;
    r->losses[i] = loss;
done:
    return st;
}

static void print_result(run *r)
{
    const lk_graph_stats s = lk_graph_get_stats(r->graph);
    const int skip = r->steps > 3 ? 2 : 0;
    const long grown = status_kib("VmHWM:") - r->base_kib;
    printf("{\"model\":\"%s\",\"dtype\":\"%s\",\"threads\":%d,\"parameters\":%lld,\"nodes\":%d,"
           "\"arena_bytes\":%lld,\"liveness_bytes\":%lld,\"gflop\":%.3f,\"memory_bytes\":%lld",
           r->model->name, lk_dtype_name(r->dtype), lk_threads(),
           (long long)lk_params_n_numbers(r->params), s.n_nodes, (long long)s.arena_bytes,
           (long long)s.liveness_bytes, s.flops / 1e9, (long long)grown * 1024);
    printf(",\"losses\":[");
    for (int i = 0; i < r->steps; i++)
        printf("%s%.9g", i ? "," : "", r->losses[i]);
    printf("],\"step_s\":%.6f}\n", lk_bench_median(r->seconds + skip, r->steps - skip));
}

/* ---- where the time goes ---- */

typedef struct op_time {
    const char *name;
    double seconds, flops;
    int n;
} op_time;

static int by_time(const void *a, const void *b)
{
    const double x = ((const op_time *)a)->seconds, y = ((const op_time *)b)->seconds;
    return x > y ? -1 : x < y;
}

static lk_status profile(run *r)
{
    lk_status st = LK_OK;
    lk_graph *g = r->graph;
    op_time t[LK_N_OPS] = {{0}};
    double whole, sum = 0;
    LK_TRY(lk_graph_run(g, 0));
    whole = lk_bench_now_s();
    for (int k = 0; k < r->steps; k++)
        LK_TRY(lk_graph_run(g, 0));
    whole = (lk_bench_now_s() - whole) / r->steps;
    for (int k = 0; k < r->steps; k++)
        for (size_t i = 0; i < g->n_calls; i++) {
            const lk_op_def *def = lk_op_get(g->calls[i].node->op);
            op_time *o = &t[g->calls[i].node->op];
            const double start = lk_bench_now_s();
            LK_TRY(g->config.backend->run(&g->calls[i], 1, 0));
            o->seconds += (lk_bench_now_s() - start) / r->steps;
            o->name = def->name;
            o->flops += def->flops && k == 0 ? def->flops(&g->calls[i]) : 0;
            o->n += k == 0;
        }
    qsort(t, LK_N_OPS, sizeof t[0], by_time);
    for (int i = 0; i < LK_N_OPS && t[i].seconds > 0; i++) {
        sum += t[i].seconds;
        printf("%-18s %4d calls %9.3f ms", t[i].name, t[i].n, 1e3 * t[i].seconds);
        if (t[i].flops > 0)
            printf(" %8.1f GFLOP/s", t[i].flops / t[i].seconds / 1e9);
        printf("\n");
    }
    printf("%-18s %22.3f ms; the graph at once %.3f ms\n", "sum", 1e3 * sum, 1e3 * whole);
done:
    return st;
}

static lk_status parse(run *r, int argc, char **argv)
{
    lk_status st = LK_OK;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(a, "--profile") == 0) {
            r->profile = 1;
            continue;
        }
        if (strcmp(a, "--recompute") == 0) {
            r->recompute = 1;
            continue;
        }
        if (a[0] != '-') {
            r->model = lk_bench_model_find(a);
            LK_REQUIRE(r->model, LK_E_ARG, "no model '%s'; there are transformer, audio, video", a);
            continue;
        }
        LK_REQUIRE(*v, LK_E_ARG, "%s needs a value", a);
        i++;
        if (strcmp(a, "--dtype") == 0)
            r->dtype = strcmp(v, "bf16") == 0 ? LK_BF16 : LK_F32;
        else if (strcmp(a, "--steps") == 0)
            r->steps = (int)strtol(v, NULL, 10);
        else if (strcmp(a, "--threads") == 0)
            r->threads = (int)strtol(v, NULL, 10);
        else if (strcmp(a, "--rate") == 0)
            r->rate = strtod(v, NULL);
        else if (strcmp(a, "--dump") == 0)
            r->dump = v;
        else
            LK_REQUIRE(0, LK_E_ARG, "unknown option %s", a);
    }
    LK_REQUIRE(r->model, LK_E_ARG, "say which model: transformer, audio or video");
    LK_REQUIRE(r->steps >= 1 && r->steps <= MAX_STEPS, LK_E_ARG, "--steps is from 1 to %d",
               MAX_STEPS);
done:
    return st;
}

int main(int argc, char **argv)
{
    lk_status st = LK_OK;
    run r = {.dtype = LK_F32, .steps = 10, .rate = 3e-4};
    LK_TRY(parse(&r, argc, argv));
    if (r.threads > 0)
        lk_threads_set(r.threads);
    LK_TRY(LK_NEW_ARRAY(&r.seconds, r.steps));
    LK_TRY(LK_NEW_ARRAY(&r.losses, r.steps));
    r.base_kib = status_kib("VmRSS:");
    LK_TRY(build(&r));
    if (r.dump)
        LK_TRY(dump(&r));
    if (r.profile) {
        LK_TRY(profile(&r));
        goto done;
    }
    for (int i = 0; i < r.steps; i++)
        LK_TRY(step(&r, i));
    print_result(&r);
done:
    if (st != LK_OK)
        fprintf(stderr, "bench_steps: %s\n", lk_error_text());
    lk_graph_free(&r.graph);
    lk_optim_free(&r.optim);
    lk_params_free(&r.params);
    lk_free(r.seconds);
    lk_free(r.losses);
    return st == LK_OK ? 0 : st == LK_E_ARG ? 2 : 6;
}
