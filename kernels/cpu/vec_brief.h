/* vec_brief.h - functions of one vector for results that are rounded to bf16.
 *
 * Errors against the exact value: relative 8e-5 for 2^x, 1.2e-4 for the sigmoid, 3.7e-4 for the
 * normal tail; absolute 5.3e-5 for sin^2 and 1.3e-5 for sin 2x (|u| < 30). */
#ifndef LK_CPU_VEC_BRIEF_H
#define LK_CPU_VEC_BRIEF_H

#include "kernels/cpu/vec_lanes.h"

LK_INLINE lk_lanes lk_lanes_abs(lk_lanes x)
{
    return (lk_lanes)((lk_lanes_bits)x & 0x7fffffff);
}
LK_INLINE lk_lanes lk_brief_reciprocal(lk_lanes x)
{
#if defined(__AVX512F__)
    return (lk_lanes)_mm512_rcp14_ps((__m512)x);
#else
    return 1.0f / x;
#endif
}

/* 2^x as 2^n 2^r, |r| <= 1 / 2, for |x| <= 126.  Adding 1.5 2^23 rounds to a whole number and
 * leaves it in the low bits. */
LK_INLINE lk_lanes lk_brief_near_exp2(lk_lanes x)
{
    const float magic = 12582912.0f;
    const lk_lanes t = x + magic, r = x - (t - magic);
    lk_lanes p = 5.51716685e-2f * r + 2.426111251e-1f;
    p = p * r + 6.932609677e-1f;
    p = p * r + 9.999280572e-1f;
    return (lk_lanes)((lk_lanes_bits)p + ((lk_lanes_bits)t << 23));
}
/* For x <= 0; 0 below -126. */
LK_INLINE lk_lanes lk_brief_exp2(lk_lanes x)
{
    return (lk_lanes)((lk_lanes_mask)lk_brief_near_exp2(x) & (x >= -126.0f));
}

/* 1 / (1 + e^a) for 0 <= a <= 87. */
LK_INLINE lk_lanes lk_brief_sigmoid_tail(lk_lanes a)
{
    const lk_lanes e = lk_brief_near_exp2(-LK_LOG2E * a);
    return e * lk_brief_reciprocal(1.0f + e);
}

/* The normal distribution's lower tail Phi(-a) = e^(-a^2 / 2) R(a), R by a polynomial in
 * 1 / (a + 1 / 0.3), for 0 <= a <= 13; also gives e^(-a^2 / 2). */
LK_INLINE lk_lanes lk_brief_normal_tail(lk_lanes a, lk_lanes *bell)
{
    const lk_lanes t = lk_brief_reciprocal(a + 3.333333333f);
    lk_lanes p = 25.7833383f * t + 1.31804662f;
    p = p * t + 1.52753807f;
    p = p * t + 0.394014493f;
    *bell = lk_brief_near_exp2(-0.72134752f * a * a);
    return p * t * *bell;
}

/* sin^2 and sin 2x of x = pi u: both repeat after pi, so what u has beyond a whole number is
 * enough. */
LK_INLINE lk_lanes lk_brief_sin_squared(lk_lanes u, lk_lanes *sin_double)
{
    const float magic = 12582912.0f;
    const lk_lanes f = u - ((u + magic) - magic), z = f * f;
    lk_lanes p = -23.872177124f * z + 41.716735840f, q = 33.561004639f * z - 74.915740967f;
    p = p * z - 32.414363861f;
    p = p * z + 9.8690891266f;
    q = q * z + 81.448692322f;
    q = q * z - 41.336875916f;
    q = q * z + 6.2831616402f;
    *sin_double = q * f;
    return p * z;
}

/* The greatest of n numbers in bf16. */
static inline float lk_brief_most(const void *x, int64_t at, int64_t n)
{
    const lk_lanes none = (lk_lanes){0} - __builtin_inff();
    lk_lanes most[2] = {none, none};
    int64_t i = 0;
    for (; i + 2 * LK_LANES <= n; i += 2 * LK_LANES)
        for (int v = 0; v < 2; v++)
            most[v] = lk_lanes_most(lk_lanes_get(1, x, at + i + v * LK_LANES), most[v]);
    for (; i < n; i += LK_LANES) {
        const lk_lanes some = lk_lanes_take(1, x, at + i, n - i);
        most[0] = lk_lanes_most(lk_lanes_keep(some, none, n - i), most[0]);
    }
    return lk_lanes_greatest(lk_lanes_most(most[0], most[1]));
}

/* e^(x - most) of a vector of bf16, or of the n numbers there are. */
LK_INLINE lk_lanes lk_brief_exp_take(const void *x, int64_t at, int64_t n, float most)
{
    return lk_brief_exp2(lk_lanes_take(1, x, at, n) * LK_LOG2E - most * LK_LOG2E);
}

/* The sum of e^(x - most) over n numbers in bf16; also kept in f32, where that is wanted. */
static inline float lk_brief_sum_exp(const void *x, int64_t at, int64_t n, float most, float *kept)
{
    lk_lanes sum[2] = {{0}};
    int64_t i = 0;
    for (; i + 2 * LK_LANES <= n; i += 2 * LK_LANES)
        for (int v = 0; v < 2; v++) {
            const int64_t k = i + v * LK_LANES;
            const lk_lanes e = lk_brief_exp_take(x, at + k, LK_LANES, most);
            sum[v] += e;
            if (kept)
                lk_lanes_put(0, kept, k, e);
        }
    for (; i < n; i += LK_LANES) {
        const lk_lanes e = lk_brief_exp_take(x, at + i, n - i, most);
        sum[0] += lk_lanes_keep(e, (lk_lanes){0}, n - i);
        if (kept)
            lk_lanes_give(0, kept, i, n - i, e);
    }
    return lk_lanes_sum(sum[0] + sum[1]);
}

#endif /* LK_CPU_VEC_BRIEF_H */
