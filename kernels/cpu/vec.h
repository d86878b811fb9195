/* vec.h - what the vec_*.c files share: their names per instruction set, loading and storing any
 * float type, and branch-free functions that vectorise.
 *
 * Errors of the functions against the exact value, over the stated range, in units in the last
 * place of f32: exp 1.5, log 1.5 (positive normal numbers), tanh 2.5, normal tail absolute 2e-7 and
 * relative 1.2e-5 (|x| < 12.5); sin and cos (sine.h) 2.  Absolute: sin^2 3.2e-7, sin 2x 6.6e-7 (|x|
 * < 1e4).  vec_brief.h has shorter ones for results that are rounded to bf16.
 */
#ifndef LK_CPU_VEC_H
#define LK_CPU_VEC_H

#include "kernels/cpu/cpu.h"
#include "kernels/sine.h"

#include <math.h>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#ifndef LK_VEC_LEVEL
#error "vec_*.c files are compiled by CMake once per instruction set"
#endif
#define LK_VEC_JOIN_(name, level) name##_##level
#define LK_VEC_JOIN(name, level)  LK_VEC_JOIN_(name, level)
#define LK_VEC(name)              LK_VEC_JOIN(name, LK_VEC_LEVEL)

/* Loops over this many elements at a time keep their f32 copies in the first-level cache. */
#define LK_VEC_RUN 512
typedef float lk_run[LK_VEC_RUN] __attribute__((aligned(64)));

/* n numbers of a float type to f32 and back. */
static inline void lk_load(lk_dtype dtype, const void *data, int64_t at, int64_t n, float *x)
{
    if (dtype == LK_F32) {
        memcpy(x, (const float *)data + at, (size_t)n * sizeof *x);
    } else {
        const lk_bf16 *h = (const lk_bf16 *)data + at;
        for (int64_t i = 0; i < n; i++) {
            union {
                uint32_t u;
                float f;
            } b = {.u = (uint32_t)h[i] << 16};
            x[i] = b.f;
        }
    }
}

static inline void lk_store(lk_dtype dtype, void *data, int64_t at, int64_t n, const float *x)
{
    if (dtype == LK_F32) {
        memcpy((float *)data + at, x, (size_t)n * sizeof *x);
    } else {
        lk_bf16 *h = (lk_bf16 *)data + at;
        int64_t i = 0;
#if defined(__AVX512BF16__)
        for (; i + 16 <= n; i += 16) { /* what is subnormal becomes 0 */
            const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_loadu_ps(x + i));
            memcpy(h + i, &rounded, sizeof rounded);
        }
#endif
        for (; i < n; i++) {
            union {
                float f;
                uint32_t u;
            } b = {.f = x[i]};
            const uint32_t rounded = b.u + 0x7fffu + (b.u >> 16 & 1u);
            h[i] = (lk_bf16)((x[i] != x[i] ? b.u | 0x400000u : rounded) >> 16);
        }
    }
}

/* The same without copies where the type is f32 already: a run of n <= LK_VEC_RUN numbers to read,
 * a place to write one, and its end. */
static inline const float *lk_run_in(const lk_tensor *t, int64_t at, int64_t n, float *buffer)
{
    if (t->dtype == LK_F32)
        return (const float *)t->data + at;
    lk_load(t->dtype, t->data, at, n, buffer);
    return buffer;
}
/* A run of a row of n_row: what a first pass left in the buffer if that was the whole row. */
static inline const float *lk_run_again(const lk_tensor *t, int64_t at, int64_t n, int64_t n_row,
                                        float *buffer)
{
    return t->dtype != LK_F32 && n == n_row ? buffer : lk_run_in(t, at, n, buffer);
}
static inline float *lk_run_out(const lk_tensor *t, int64_t at, float *buffer)
{
    return t->dtype == LK_F32 ? (float *)t->data + at : buffer;
}
static inline void lk_run_end(const lk_tensor *t, int64_t at, int64_t n, const float *run)
{
    if (t->dtype != LK_F32)
        lk_store(t->dtype, t->data, at, n, run);
}

/* How many rows of n_ch channels stand side by side in `most` lanes, each number in a lane of its
 * own; whole vectors of up to 16 where so many rows fit. */
static inline int64_t lk_abreast(int64_t n_ch, int64_t most)
{
    const int64_t n = n_ch > 0 && n_ch < most ? most / n_ch : 1;
    int64_t whole = 1;
    while (whole < 16 && whole * n_ch % 16)
        whole *= 2;
    return n < whole ? n : n - n % whole;
}

/* The sum of a term in i < n, in as many lanes as keep additions from waiting for each other. */
#define LK_LANES_ABREAST 64
#define LK_RETURN_SUM(n, term)                                                                     \
    do {                                                                                           \
        float lane[LK_LANES_ABREAST] = {0}, sum = 0;                                               \
        int64_t done = 0;                                                                          \
        for (; done + LK_LANES_ABREAST <= (n); done += LK_LANES_ABREAST)                           \
            _Pragma("omp simd") for (int64_t l = 0; l < LK_LANES_ABREAST; l++)                     \
            {                                                                                      \
                const int64_t i = done + l;                                                        \
                lane[l] += (term);                                                                 \
            }                                                                                      \
        for (int64_t i = done; i < (n); i++)                                                       \
            lane[i - done] += (term);                                                              \
        _Pragma("omp simd reduction(+ : sum)") for (int l = 0; l < LK_LANES_ABREAST; l++) sum +=   \
            lane[l];                                                                               \
        return sum;                                                                                \
    } while (0)

static inline float lk_run_sum(const float *x, int64_t n)
{
    LK_RETURN_SUM(n, x[i]);
}
static inline float lk_run_dot(const float *x, const float *y, int64_t n)
{
    LK_RETURN_SUM(n, x[i] * y[i]);
}
static inline float lk_run_squares_about(const float *x, float m, int64_t n)
{
    LK_RETURN_SUM(n, (x[i] - m) * (x[i] - m));
}

/* The greatest number of a run, and `most` of those before it. */
static inline float lk_run_most(const float *x, int64_t n, float most)
{
    float lane[LK_LANES_ABREAST];
    int64_t done = 0;
    for (int l = 0; l < LK_LANES_ABREAST; l++)
        lane[l] = most;
    for (; done + LK_LANES_ABREAST <= n; done += LK_LANES_ABREAST)
#pragma omp simd
        for (int64_t l = 0; l < LK_LANES_ABREAST; l++)
            lane[l] = x[done + l] > lane[l] ? x[done + l] : lane[l];
    for (int64_t i = done; i < n; i++)
        lane[0] = x[i] > lane[0] ? x[i] : lane[0];
#pragma omp simd reduction(max : most)
    for (int l = 0; l < LK_LANES_ABREAST; l++)
        most = lane[l] > most ? lane[l] : most;
    return most;
}

/* sum[i] = the sum of n_parts runs of n numbers, in order and in double; sum may be the first. */
static inline void lk_sum_parts(float *sum, const float *parts, int64_t n_parts, int64_t n)
{
    double s[LK_VEC_RUN];
    for (int64_t at = 0; at < n; at += LK_VEC_RUN) {
        const int64_t k = n - at < LK_VEC_RUN ? n - at : LK_VEC_RUN;
        memset(s, 0, (size_t)k * sizeof *s);
        for (int64_t p = 0; p < n_parts; p++)
            for (int64_t i = 0; i < k; i++)
                s[i] += (double)parts[p * n + at + i];
        for (int64_t i = 0; i < k; i++)
            sum[at + i] = (float)s[i];
    }
}

#define LK_LOG2E 1.44269504088896340736f

static inline float lk_bits_float(int32_t i)
{
    union {
        int32_t i;
        float f;
    } b = {.i = i};
    return b.f;
}

static inline int32_t lk_float_bits(float f)
{
    union {
        float f;
        int32_t i;
    } b = {.f = f};
    return b.i;
}

/* e^x = 2^n e^r, |r| <= ln 2 / 2, e^r by a polynomial; 0 below -87.33, Inf above 88.72.  Adding
 * 1.5 2^23 rounds to a whole number and leaves it in the low bits. */
static inline float lk_expf(float x)
{
    const float magic = 12582912.0f, t = x * 1.44269504f + magic, n = t - magic;
    const float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
    float p = 1.381459837e-3f;
    p = p * r + 8.368716898e-3f;
    p = p * r + 4.166838805e-2f;
    p = p * r + 1.666652063e-1f;
    p = p * r + 4.999999345e-1f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    p = lk_bits_float((int32_t)((uint32_t)lk_float_bits(p) + ((uint32_t)lk_float_bits(t) << 23)));
    p = !(x <= 88.7228f) ? x * __builtin_inff() : p;
    return x < -87.336544f ? 0.0f : p;
}

/* ln x = k ln 2 + ln m, m in [sqrt 1/2, sqrt 2); -Inf at 0, NaN below. */
static inline float lk_logf(float x)
{
    const int32_t bits = lk_float_bits(x);
    const int32_t k = (bits - 0x3f3504f3) >> 23;
    const float m = lk_bits_float(bits - (int32_t)((uint32_t)k << 23)) - 1.0f, z = m * m;
    float p = 7.0376836292e-2f, y;
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    y = p * m * z + (float)k * -2.12194440e-4f - 0.5f * z;
    y = m + y + (float)k * 0.693359375f;
    y = x == 0 ? -__builtin_inff() : y;
    y = x < 0 ? __builtin_nanf("") : y;
    return x == __builtin_inff() || x != x ? x : y;
}

/* The sum of e^(x - most) over a run. */
static inline float lk_run_sum_exp(const float *x, float most, int64_t n)
{
    LK_RETURN_SUM(n, lk_expf(x[i] - most));
}

static inline float lk_sigmoidf(float x)
{
    return 1.0f / (1.0f + lk_expf(-x));
}

/* Odd polynomial near zero, where the quotient would cancel. */
static inline float lk_tanhf(float x)
{
    const float a = __builtin_fabsf(x), z = x * x, e = lk_expf(2.0f * (a > 20.0f ? 20.0f : a));
    const float far = 1.0f - 2.0f / (e + 1.0f);
    float p = -5.70498872745e-3f;
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    p = p * z * x + x;
    return x != x ? x : a < 0.625f ? p : x < 0 ? -far : far;
}

/* The normal distribution's lower tail Phi(-|x|) = e^(-x^2 / 2) R(|x|), R by a polynomial in
 * 1 / (1 + 0.34 |x|); also gives e^(-x^2 / 2). */
static inline float lk_normal_tail(float x, float *bell)
{
    const float t = 1.0f / (1.0f + 0.34f * __builtin_fabsf(x));
    float p = 4.330447357e-2f;
    p = p * t - 1.942102048e-1f;
    p = p * t + 2.534902788e-1f;
    p = p * t - 2.161823706e-2f;
    p = p * t + 1.523814444e-1f;
    p = p * t + 1.307134301e-1f;
    p = p * t + 1.359387896e-1f;
    *bell = lk_expf(-0.5f * x * x);
    return p * t * *bell;
}

/* sin^2 x and sin 2x: both repeat after pi, so x - n pi is enough. */
static inline float lk_sin_squared(float x, float *sin_double)
{
    const float magic = 12582912.0f, n = (x * 0.318309886f + magic) - magic;
    const float r = ((x - n * 3.140625f) - n * 9.67502593994e-4f) - n * 1.509957990978e-7f;
    const float z = r * r;
    float p = -3.540782245e-6f, q = 1.1018471468e-6f;
    p = p * z + 1.387164084e-4f;
    p = p * z - 3.170765005e-3f;
    p = p * z + 4.444129393e-2f;
    p = p * z - 3.333321512e-1f;
    p = p * z + 9.999998212e-1f;
    q = q * z - 5.053771019e-5f;
    q = q * z + 1.40950596e-3f;
    q = q * z - 2.5395395234e-2f;
    q = q * z + 2.666659355e-1f;
    q = q * z - 1.333333135f;
    q = q * z + 2.0f;
    *sin_double = q * r;
    return p * z;
}

#endif /* LK_CPU_VEC_H */
