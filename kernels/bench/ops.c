/* ops.c - the operations at the shapes of the tokenizers and the transformer.
 *
 * A case records one operation with its gradients; each resulting node of a kind that matters is
 * timed alone, on the graph's own memory, filled with random numbers. */
#include "kernels/bench/bench_impl.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct bench_case {
    const char *name;
    lk_var (*build)(lk_graph *g, lk_dtype t);
    int f32_only;
} bench_case;

static lk_var input(lk_graph *g, const char *name, lk_dtype t, lk_shape s)
{
    const lk_var v = lk_input(g, name, t, s);
    lk_want_grad(g, v);
    return v;
}

#define PRODUCT(name, m, n, k)                                                                     \
    static lk_var name(lk_graph *g, lk_dtype t)                                                    \
    {                                                                                              \
        return lk_linear(g, input(g, "x", t, LK_SHAPE(m, k)), input(g, "w", t, LK_SHAPE(n, k)),    \
                         input(g, "b", LK_F32, LK_SHAPE(n)));                                      \
    }
PRODUCT(square, 1024, 1024, 1024)
PRODUCT(attend, 4096, 256, 256)
PRODUCT(widen, 4096, 1024, 256)
PRODUCT(narrow, 4096, 256, 1024)

static lk_var scores(lk_graph *g, lk_dtype t)
{
    return lk_matmul(g, input(g, "q", t, LK_SHAPE(32, 512, 64)),
                     input(g, "k", t, LK_SHAPE(32, 512, 64)), 0, 1);
}

#define CONV(name, x, w, ...)                                                                      \
    static lk_var name(lk_graph *g, lk_dtype t)                                                    \
    {                                                                                              \
        const lk_conv_options o = {__VA_ARGS__};                                                   \
        return lk_conv(g, input(g, "x", t, x), input(g, "w", t, w), LK_NONE, &o);                  \
    }
CONV(conv1d, LK_SHAPE(4, 16000, 64), LK_SHAPE(64, 7, 64), .pad_lo = {6})
CONV(conv1d_dilated, LK_SHAPE(4, 16000, 64), LK_SHAPE(64, 7, 64), .pad_lo = {54}, .dilation = {9})
CONV(conv1d_down, LK_SHAPE(4, 16000, 64), LK_SHAPE(128, 8, 64), .pad_lo = {4}, .stride = {4})
CONV(conv1d_wave, LK_SHAPE(4, 32000, 1), LK_SHAPE(32, 7, 1), .pad_lo = {6})
CONV(depthwise1d, LK_SHAPE(4, 2000, 512), LK_SHAPE(512, 7, 1), .pad_lo = {6}, .groups = 512)
CONV(conv2d, LK_SHAPE(8, 64, 64, 64), LK_SHAPE(64, 3, 3, 64), .pad_lo = {1, 1}, .pad_hi = {1, 1})
CONV(conv2d_disc, LK_SHAPE(4, 200, 129, 32), LK_SHAPE(128, 3, 9, 32), .stride = {1, 2},
     .pad_lo = {1, 4}, .pad_hi = {1, 4})
CONV(conv3d, LK_SHAPE(1, 17, 32, 32, 64), LK_SHAPE(64, 3, 3, 3, 64), .pad_lo = {2, 1, 1},
     .pad_hi = {0, 1, 1})
CONV(conv3d_picture, LK_SHAPE(1, 17, 64, 64, 3), LK_SHAPE(64, 3, 3, 3, 3), .pad_lo = {2, 1, 1},
     .pad_hi = {0, 1, 1})

static lk_var gelu(lk_graph *g, lk_dtype t)
{
    return lk_gelu(g, input(g, "x", t, LK_SHAPE(4096, 1024)));
}
static lk_var silu(lk_graph *g, lk_dtype t)
{
    return lk_silu(g, input(g, "x", t, LK_SHAPE(4096, 1024)));
}
static lk_var snake(lk_graph *g, lk_dtype t)
{
    return lk_snake(g, input(g, "x", t, LK_SHAPE(4, 16000, 64)),
                    input(g, "a", LK_F32, LK_SHAPE(64)));
}
static lk_var residual(lk_graph *g, lk_dtype t)
{
    return lk_add(g, input(g, "x", t, LK_SHAPE(4096, 1024)),
                  input(g, "y", t, LK_SHAPE(4096, 1024)));
}
static lk_var gated(lk_graph *g, lk_dtype t)
{
    return lk_gated_add(g, input(g, "x", t, LK_SHAPE(8, 512, 1024)),
                        input(g, "a", t, LK_SHAPE(8, 1024)),
                        input(g, "y", t, LK_SHAPE(8, 512, 1024)));
}

static lk_var softmax(lk_graph *g, lk_dtype t)
{
    return lk_softmax(g, input(g, "x", t, LK_SHAPE(8192, 512)));
}

#define NORM(name, kind, groups, ...)                                                              \
    static lk_var name(lk_graph *g, lk_dtype t)                                                    \
    {                                                                                              \
        const lk_var x = input(g, "x", t, LK_SHAPE(__VA_ARGS__));                                  \
        const int64_t n_ch = lk_var_dim(g, x, -1);                                                 \
        return lk_norm(g, kind, x, input(g, "gamma", LK_F32, LK_SHAPE(n_ch)),                      \
                       input(g, "beta", LK_F32, LK_SHAPE(n_ch)), groups, 1e-5);                    \
    }
NORM(layer_norm, LK_LAYER_NORM, 0, 8, 1024, 512)
NORM(rms_norm, LK_RMS_NORM, 0, 8, 1024, 512)
NORM(group_norm, LK_GROUP_NORM, 32, 8, 64, 64, 128)
NORM(group_norm_few, LK_GROUP_NORM, 8, 4, 32000, 32)

static lk_var embed(lk_graph *g, lk_dtype t)
{
    const lk_var table = input(g, "x", t, LK_SHAPE(1024, 512));
    int32_t index[8192];
    for (int i = 0; i < 8192; i++)
        index[i] = (int32_t)lk_rng_below(1, 2, (uint64_t)i, 1024);
    return lk_gather(g, table, 0, lk_constant(g, LK_I32, LK_SHAPE(8192), index));
}
static lk_var dropout(lk_graph *g, lk_dtype t)
{
    return lk_dropout(g, input(g, "x", t, LK_SHAPE(4096, 1024)), 0.1);
}
static lk_var noise(lk_graph *g, lk_dtype t)
{
    return lk_random_normal(g, t, LK_SHAPE(4096, 1024));
}

static lk_var stft(lk_graph *g, lk_dtype t)
{
    (void)t;
    return lk_stft(g, input(g, "x", LK_F32, LK_SHAPE(8, 48000)),
                   lk_input(g, "w", LK_F32, LK_SHAPE(1024)), 1024, 256);
}
static lk_var istft(lk_graph *g, lk_dtype t)
{
    (void)t;
    return lk_istft(g, input(g, "x", LK_F32, LK_SHAPE(8, 188, 513, 2)),
                    lk_input(g, "w", LK_F32, LK_SHAPE(1024)), 1024, 256, 48000);
}
static lk_var nearest(lk_graph *g, lk_dtype t)
{
    return lk_nearest(g, lk_input(g, "x", t, LK_SHAPE(4096, 64)),
                      lk_input(g, "codes", t, LK_SHAPE(1024, 64)));
}
static lk_var entropy(lk_graph *g, lk_dtype t)
{
    return lk_cross_entropy(g, input(g, "x", t, LK_SHAPE(4096, 1024)),
                            lk_input(g, "label", LK_I32, LK_SHAPE(4096)));
}

static const bench_case cases[] = {
    {"1024x1024x1024", square, 0},
    {"4096x256x256", attend, 0},
    {"4096x1024x256", widen, 0},
    {"4096x256x1024", narrow, 0},
    {"32 of 512x512x64", scores, 0},
    {"1d 64-64 k7 4x16000", conv1d, 0},
    {"1d 64-64 k7 d9 4x16000", conv1d_dilated, 0},
    {"1d 64-128 k8 s4 4x16000", conv1d_down, 0},
    {"1d 1-32 k7 4x32000", conv1d_wave, 0},
    {"1d depthwise 512 k7 4x2000", depthwise1d, 0},
    {"2d 64-64 3x3 8x64x64", conv2d, 0},
    {"2d 32-128 3x9 s1,2 4x200x129", conv2d_disc, 0},
    {"3d 64-64 3x3x3 17x32x32", conv3d, 0},
    {"3d 3-64 3x3x3 17x64x64", conv3d_picture, 0},
    {"gelu 4096x1024", gelu, 0},
    {"silu 4096x1024", silu, 0},
    {"snake 4x16000x64", snake, 0},
    {"add 4096x1024", residual, 0},
    {"gated_add 8x512x1024", gated, 0},
    {"1024 hop 256 8x48000", stft, 1},
    {"1024 hop 256 8x48000", istft, 1},
    {"4096x64 of 1024", nearest, 0},
    {"4096x1024", entropy, 0},
    {"softmax 8192x512", softmax, 0},
    {"8192 of 1024x512", embed, 0},
    {"dropout 4096x1024", dropout, 0},
    {"normal 4096x1024", noise, 0},
    {"layer 8192x512", layer_norm, 0},
    {"rms 8192x512", rms_norm, 0},
    {"group 32 of 8x64x64x128", group_norm, 0},
    {"group 8 of 4x32000x32", group_norm_few, 0},
};

static lk_status finish(const lk_backend *be)
{
    return be->wait ? be->wait() : LK_OK;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double lk_bench_median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_value);
    return x[n / 2];
}

lk_status lk_bench_time_call(lk_graph *g, lk_call *c, double *seconds)
{
    lk_status st = LK_OK;
    const lk_backend *be = g->config.backend;
    double t[15], once;
    int n = 1;
    LK_TRY(be->run(c, 1, 0));
    LK_TRY(be->run(c, 1, 0)); /* a device may record the second run for the later ones */
    LK_TRY(finish(be));
    once = lk_bench_now_s();
    LK_TRY(be->run(c, 1, 0));
    LK_TRY(finish(be));
    once = lk_bench_now_s() - once;
    n = once < 1e-3 ? (int)(1e-3 / (once + 1e-7)) + 1 : 1;
    for (int i = 0; i < 15; i++) {
        t[i] = lk_bench_now_s();
        for (int k = 0; k < n; k++)
            LK_TRY(be->run(c, 1, 0));
        LK_TRY(finish(be));
        t[i] = (lk_bench_now_s() - t[i]) / n;
    }
    *seconds = lk_bench_median(t, 15);
done:
    return st;
}

lk_status lk_bench_fill(lk_graph *g)
{
    enum { PERIOD = 1048583 }; /* a prime: rows do not repeat each other */
    lk_status st = LK_OK;
    float *x = NULL;
    for (size_t i = 0; i < g->n_values; i++) {
        lk_value *v = &g->values[i];
        const int64_t n = lk_shape_count(&v->shape);
        if (!v->data || v->dtype == LK_I32)
            continue;
        LK_TRY(LK_NEW_ARRAY(&x, n));
        for (int64_t j = 0; j < n && j < PERIOD; j++)
            x[j] = lk_rng_uniform(1, i, (uint64_t)j) - 0.5f;
        for (int64_t j = PERIOD; j < n; j += PERIOD)
            memcpy(x + j, x, (size_t)(n - j < PERIOD ? n - j : PERIOD) * sizeof *x);
        LK_TRY(lk_graph_write(g, (lk_var){(int32_t)i}, LK_F32, x));
        lk_free(x);
        x = NULL;
    }
done:
    lk_free(x);
    return st;
}

static double bytes_of(const lk_call *c)
{
    double bytes = 0;
    for (int i = 0; i < c->node->n_in; i++)
        bytes += c->in[i].data ? (double)lk_tensor_bytes(&c->in[i]) : 0;
    for (int i = 0; i < c->node->n_out; i++)
        bytes += c->out[i].data ? (double)lk_tensor_bytes(&c->out[i]) : 0;
    return bytes;
}

void lk_bench_keep_all(lk_graph *g)
{
    for (size_t i = 0; i < g->n_values; i++)
        lk_output(g, "kept", (lk_var){(int32_t)i});
}

static lk_status bench(const lk_backend *backend, const bench_case *b, const char *only, lk_dtype t,
                       const lk_bench_peaks *peaks, void (*row)(void *user, const lk_bench_row *r),
                       void *user)
{
    lk_status st = LK_OK;
    lk_graph *g = NULL;
    lk_var y, wanted[8], grads[8];
    int n_wanted = 0;
    char op[32] = "";
    const char *colon = only ? strchr(only, ':') : NULL;
    if (colon && !strstr(b->name, colon + 1))
        return LK_OK;
    if (only)
        snprintf(op, sizeof op, "%.*s", (int)(colon ? colon - only : 31), only);
    LK_TRY(lk_graph_new(&g, &(lk_graph_config){.backend = backend, .train = 1}));
    y = b->build(g, t);
    for (size_t i = 0; i < g->n_values && n_wanted < 8; i++)
        if (g->values[i].leaf == LK_LEAF_INPUT)
            wanted[n_wanted++].id = (int32_t)i;
    lk_gradients(g, y, lk_input(g, "dy", lk_var_dtype(g, y), lk_var_shape(g, y)), n_wanted, wanted,
                 grads);
    lk_bench_keep_all(g);
    LK_TRY(lk_graph_compile(g));
    LK_TRY(lk_bench_fill(g));
    for (size_t k = 0; k < g->n_calls; k++) {
        lk_call *c = &g->calls[k];
        const lk_op_def *def = lk_op_get(c->node->op);
        lk_bench_row r = {.op = def->name, .shape = b->name, .dtype = t};
        double work;
        if (def->is_alias || !strstr(def->name, op) || bytes_of(c) < 1e6)
            continue;
        LK_TRY(lk_bench_time_call(g, c, &r.seconds));
        work = def->flops ? def->flops(c) : 0;
        if (work > 0) {
            r.gflops = work / r.seconds / 1e9;
            r.share = r.gflops / (t == LK_BF16 && peaks->bf16_gflops > 0 ? peaks->bf16_gflops
                                                                         : peaks->f32_gflops);
        } else {
            r.gbps = bytes_of(c) / r.seconds / 1e9;
            r.share = r.gbps / peaks->copy_gbps;
        }
        row(user, &r);
    }
done:
    lk_graph_free(&g);
    return st;
}

lk_status lk_bench_ops(const lk_backend *backend, const char *only, const lk_bench_peaks *peaks,
                       void (*row)(void *user, const lk_bench_row *r), void *user)
{
    lk_status st = LK_OK;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        LK_TRY(bench(backend, &cases[i], only, LK_F32, peaks, row, user));
        if (!cases[i].f32_only)
            LK_TRY(bench(backend, &cases[i], only, LK_BF16, peaks, row, user));
    }
done:
    return st;
}

/* The median seconds of the only call of a graph. */
static lk_status time_one(lk_graph *g, double *seconds)
{
    lk_status st = LK_OK;
    lk_bench_keep_all(g);
    LK_TRY(lk_graph_compile(g));
    LK_TRY(lk_bench_fill(g));
    LK_TRY(lk_bench_time_call(g, &g->calls[0], seconds));
done:
    return st;
}

static lk_status product_rate(const lk_backend *backend, lk_dtype t, int64_t n, double *gflops)
{
    lk_status st = LK_OK;
    lk_graph *g = NULL;
    double seconds = 0;
    LK_TRY(lk_graph_new(&g, &(lk_graph_config){.backend = backend}));
    lk_matmul(g, lk_input(g, "a", t, LK_SHAPE(n, n)), lk_input(g, "b", t, LK_SHAPE(n, n)), 0, 0);
    LK_TRY(time_one(g, &seconds));
    *gflops = 2.0 * (double)n * (double)n * (double)n / seconds / 1e9;
done:
    lk_graph_free(&g);
    return st;
}

lk_status lk_bench_device_peaks(const lk_backend *backend, lk_bench_peaks *p)
{
    lk_status st = LK_OK;
    lk_graph *g = NULL;
    const int64_t n = (int64_t)1 << 27;
    double seconds = 0;
    LK_TRY(product_rate(backend, LK_F32, 4096, &p->f32_gflops));
    LK_TRY(product_rate(backend, LK_BF16, 8192, &p->bf16_gflops));
    LK_TRY(lk_graph_new(&g, &(lk_graph_config){.backend = backend}));
    lk_scale(g, lk_input(g, "x", LK_F32, LK_SHAPE(n)), 2);
    LK_TRY(time_one(g, &seconds));
    p->copy_gbps = 2.0 * (double)n * sizeof(float) / seconds / 1e9;
done:
    lk_graph_free(&g);
    return st;
}
