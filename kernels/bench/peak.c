/* peak.c - what the machine can do: multiply-adds, bf16 dot products, copying. */
#include "kernels/bench/bench_impl.h"

#include "kernels/mem.h"
#include "kernels/thread.h"

#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

double lk_bench_now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#define ROUNDS 20000

#if defined(__x86_64__)

__attribute__((target("avx512f"))) static float fma512(void)
{
    __m512 s[12];
    const __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(1e-3f);
    for (int i = 0; i < 12; i++)
        s[i] = _mm512_set1_ps((float)i);
    for (int r = 0; r < ROUNDS; r++)
        for (int i = 0; i < 12; i++)
            s[i] = _mm512_fmadd_ps(s[i], a, b);
    for (int i = 1; i < 12; i++)
        s[0] = _mm512_add_ps(s[0], s[i]);
    return _mm512_reduce_add_ps(s[0]);
}

__attribute__((target("avx2,fma"))) static float fma256(void)
{
    __m256 s[12];
    float out[8];
    const __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(1e-3f);
    for (int i = 0; i < 12; i++)
        s[i] = _mm256_set1_ps((float)i);
    for (int r = 0; r < ROUNDS; r++)
        for (int i = 0; i < 12; i++)
            s[i] = _mm256_fmadd_ps(s[i], a, b);
    for (int i = 1; i < 12; i++)
        s[0] = _mm256_add_ps(s[0], s[i]);
    _mm256_storeu_ps(out, s[0]);
    return out[0] + out[7];
}

__attribute__((target("avx512f,avx512bf16"))) static float dot_bf16(void)
{
    __m512 s[12];
    const __m512bh a = (__m512bh)_mm512_set1_epi32(0x3f803f80);
    const __m512bh b = (__m512bh)_mm512_set1_epi32(0x3c003c00);
    for (int i = 0; i < 12; i++)
        s[i] = _mm512_set1_ps((float)i);
    for (int r = 0; r < ROUNDS; r++)
        for (int i = 0; i < 12; i++)
            s[i] = _mm512_dpbf16_ps(s[i], a, b);
    for (int i = 1; i < 12; i++)
        s[0] = _mm512_add_ps(s[0], s[i]);
    return _mm512_reduce_add_ps(s[0]);
}

#endif

typedef struct loop {
    float (*run)(void);
    volatile float sink;
} loop;

static void run_loop(void *context, int64_t first, int64_t end)
{
    loop *l = context;
    for (int64_t i = first; i < end; i++)
        l->sink = l->run();
}

/* Operations a second of a loop that does `per_round` of them a round, best of several. */
static double rate(float (*run)(void), double per_round)
{
    loop l = {.run = run};
    double best = 0;
    for (int k = 0; k < 7; k++) {
        const double start = lk_bench_now_s();
        const int64_t n = 8 * lk_threads();
        double r;
        lk_parallel_for(n, 1, run_loop, &l);
        r = (double)n * ROUNDS * per_round / (lk_bench_now_s() - start);
        best = r > best ? r : best;
    }
    return best;
}

#define COPY_BYTES ((size_t)64 << 20)

static void copy_range(void *context, int64_t first, int64_t end)
{
    char *p = context;
    memcpy(p + COPY_BYTES + first, p + first, (size_t)(end - first));
}

static double copy_rate(void)
{
    char *p = NULL;
    double best = 0;
    if (lk_alloc_(2 * COPY_BYTES, 1, (void **)&p) != LK_OK) {
        lk_error_clear();
        return 0;
    }
    memset(p, 1, 2 * COPY_BYTES);
    for (int k = 0; k < 9; k++) {
        const double start = lk_bench_now_s();
        double r;
        lk_parallel_for((int64_t)COPY_BYTES, 4096, copy_range, p);
        r = 2.0 * (double)COPY_BYTES / (lk_bench_now_s() - start);
        best = r > best ? r : best;
    }
    lk_free(p);
    return best;
}

lk_bench_peaks lk_bench_measure_peaks(void)
{
    lk_bench_peaks p = {.copy_gbps = copy_rate() / 1e9};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        p.f32_gflops = rate(fma512, 12 * 32) / 1e9;
    else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        p.f32_gflops = rate(fma256, 12 * 16) / 1e9;
    if (__builtin_cpu_supports("avx512bf16"))
        p.bf16_gflops = rate(dot_bf16, 12 * 64) / 1e9;
#endif
    return p;
}
