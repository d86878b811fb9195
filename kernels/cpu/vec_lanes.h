/* vec_lanes.h - one vector register of f32, as wide as the instruction set has them, and how it is
 * read from and written to f32 and bf16. */
#ifndef LK_CPU_VEC_LANES_H
#define LK_CPU_VEC_LANES_H

#include "kernels/cpu/vec.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LK_LANES 16
#elif defined(__AVX2__)
#define LK_LANES 8
#else
#define LK_LANES 4
#endif

typedef float lk_lanes __attribute__((vector_size(LK_LANES * 4)));
/* The same at any address. */
typedef float lk_lanes_in __attribute__((vector_size(LK_LANES * 4), aligned(4), may_alias));

static inline void lk_lanes_load(lk_lanes *x, const float *p)
{
    *x = *(const lk_lanes_in *)p;
}
static inline void lk_lanes_store(float *p, const lk_lanes *x)
{
    *(lk_lanes_in *)p = *x;
}

/* f(d, l) for each lane l. */
#if LK_LANES == 16
#define LK_EACH_LANE_(f, d)                                                                        \
    f(d, 0), f(d, 1), f(d, 2), f(d, 3), f(d, 4), f(d, 5), f(d, 6), f(d, 7), f(d, 8), f(d, 9),      \
        f(d, 10), f(d, 11), f(d, 12), f(d, 13), f(d, 14), f(d, 15)
#elif LK_LANES == 8
#define LK_EACH_LANE_(f, d) f(d, 0), f(d, 1), f(d, 2), f(d, 3), f(d, 4), f(d, 5), f(d, 6), f(d, 7)
#else
#define LK_EACH_LANE_(f, d) f(d, 0), f(d, 1), f(d, 2), f(d, 3)
#endif
#define LK_ALL_(d, l)    (0xffffffffu)
#define LK_ACROSS_(d, l) ((l) ^ (d))

#define LK_INLINE static inline __attribute__((always_inline))

/* Loops over registers, before `for`; checked code is not fast either way and compiles sooner. */
#ifdef LK_VEC_CHECKED
#define LK_UNROLL(n)
#else
#define LK_UNROLL_(x) _Pragma(#x)
#define LK_UNROLL(n)  LK_UNROLL_(GCC unroll n)
#endif

typedef int32_t lk_lanes_mask __attribute__((vector_size(LK_LANES * 4))); /* of a comparison */
typedef uint32_t lk_lanes_bits __attribute__((vector_size(LK_LANES * 4)));
typedef uint16_t lk_lanes_half __attribute__((vector_size(LK_LANES * 2), aligned(2), may_alias));

/* LK_LANES numbers from element `at` on; `bf16` (or f32) is a constant of the caller. */
LK_INLINE lk_lanes lk_lanes_get(const int bf16, const void *data, int64_t at)
{
    const lk_bf16 *half = (const lk_bf16 *)data + at;
    if (!bf16)
        return *(const lk_lanes_in *)((const float *)data + at);
#if defined(__AVX512F__)
    return (lk_lanes)_mm512_slli_epi32(
        _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i_u *)half)), 16);
#else
    return (lk_lanes)(__builtin_convertvector(*(const lk_lanes_half *)half, lk_lanes_bits) << 16);
#endif
}

LK_INLINE void lk_lanes_put(const int bf16, void *data, int64_t at, lk_lanes x)
{
    if (!bf16) {
        *(lk_lanes_in *)((float *)data + at) = x;
    } else {
#if defined(__AVX512BF16__)
        const __m256bh half = _mm512_cvtneps_pbh((__m512)x);
        memcpy((lk_bf16 *)data + at, &half, sizeof half);
#else
        const lk_lanes_bits bits = (lk_lanes_bits)x, nan = (lk_lanes_bits)(x != x);
        const lk_lanes_bits rounded = bits + 0x7fff + (bits >> 16 & 1);
        *(lk_lanes_half *)((lk_bf16 *)data + at) = __builtin_convertvector(
            ((nan & (bits | 0x400000)) | (~nan & rounded)) >> 16, lk_lanes_half);
#endif
    }
}

/* The first n lanes if those are fewer, and zeros in the others. */
LK_INLINE lk_lanes lk_lanes_take(const int bf16, const void *data, int64_t at, int64_t n)
{
    if (__builtin_expect(n < LK_LANES, 0)) {
        float some[LK_LANES] = {0};
        lk_load(bf16 ? LK_BF16 : LK_F32, data, at, n, some);
        return lk_lanes_get(0, some, 0);
    }
    return lk_lanes_get(bf16, data, at);
}
LK_INLINE void lk_lanes_give(const int bf16, void *data, int64_t at, int64_t n, lk_lanes x)
{
    if (__builtin_expect(n < LK_LANES, 0)) {
        float all[LK_LANES];
        lk_lanes_put(0, all, 0, x);
        lk_store(bf16 ? LK_BF16 : LK_F32, data, at, n, all);
    } else {
        lk_lanes_put(bf16, data, at, x);
    }
}

/* Where the mask is set a, else b. */
LK_INLINE lk_lanes lk_lanes_pick(lk_lanes_mask mask, lk_lanes a, lk_lanes b)
{
    return (lk_lanes)((mask & (lk_lanes_mask)a) | (~mask & (lk_lanes_mask)b));
}
/* The greater and the lesser of each lane; b where one is a NaN. */
LK_INLINE lk_lanes lk_lanes_most(lk_lanes a, lk_lanes b)
{
#if defined(__AVX512F__)
    return (lk_lanes)_mm512_max_ps((__m512)a, (__m512)b);
#else
    return lk_lanes_pick(a > b, a, b);
#endif
}
LK_INLINE lk_lanes lk_lanes_least(lk_lanes a, lk_lanes b)
{
#if defined(__AVX512F__)
    return (lk_lanes)_mm512_min_ps((__m512)a, (__m512)b);
#else
    return lk_lanes_pick(a < b, a, b);
#endif
}

/* a in the first n lanes, b in the others. */
LK_INLINE lk_lanes lk_lanes_keep(lk_lanes a, lk_lanes b, int64_t n)
{
    static const uint32_t all[2 * LK_LANES] = {LK_EACH_LANE_(LK_ALL_, 0)};
    const int64_t gone = n < LK_LANES ? LK_LANES - n : 0;
    return lk_lanes_pick((lk_lanes_mask)lk_lanes_get(0, all + gone, 0), a, b);
}

/* Lane l of the two halves of an exchange between rows d apart: of the upper row, of the lower. */
#define LK_UP_(d, l)   ((l) & (d) ? LK_LANES + (l) - (d) : (l))
#define LK_DOWN_(d, l) ((l) & (d) ? LK_LANES + (l) : (l) + (d))
#define LK_EXCHANGE_(d)                                                                            \
    for (int i = 0; i < LK_LANES; i++)                                                             \
        if (!(i & (d))) {                                                                          \
            const lk_lanes a = t[i], b = t[i + (d)];                                               \
            t[i] = __builtin_shufflevector(a, b, LK_EACH_LANE_(LK_UP_, d));                        \
            t[i + (d)] = __builtin_shufflevector(a, b, LK_EACH_LANE_(LK_DOWN_, d));                \
        }

/* A square of LK_LANES x LK_LANES numbers: lane l of row r and lane r of row l change places. */
static inline void lk_lanes_transpose(lk_lanes t[LK_LANES])
{
    LK_EXCHANGE_(1)
    LK_EXCHANGE_(2)
#if LK_LANES > 4
    LK_EXCHANGE_(4)
#endif
#if LK_LANES > 8
    LK_EXCHANGE_(8)
#endif
}

/* Lane l of two vectors that are folded: as it lies, and what is added to it.  Only the second is a
 * move between lanes, of which processors do fewer at a time. */
#define LK_STAYS_(d, l) ((l) & (d) ? LK_LANES + (l) : (l))
#define LK_MEETS_(d, l) ((l) & (d) ? LK_LANES + (l) - (d) : (l) + (d))
/* t[0] becomes the vector whose lane l is the sum of the lanes of t[l]; the others are used up. */
#define LK_FOLD_(d)                                                                                \
    for (int i = 0; i < LK_LANES / (d) / 2; i++) {                                                 \
        const lk_lanes a = t[2 * i], b = t[2 * i + 1];                                             \
        t[i] = __builtin_shufflevector(a, b, LK_EACH_LANE_(LK_STAYS_, d)) +                        \
               __builtin_shufflevector(a, b, LK_EACH_LANE_(LK_MEETS_, d));                         \
    }
static inline void lk_lanes_sums(lk_lanes t[LK_LANES])
{
    LK_FOLD_(1)
    LK_FOLD_(2)
#if LK_LANES > 4
    LK_FOLD_(4)
#endif
#if LK_LANES > 8
    LK_FOLD_(8)
#endif
}

/* The sum of all lanes. */
#define LK_ADD_ACROSS_(d) x += __builtin_shufflevector(x, x, LK_EACH_LANE_(LK_ACROSS_, d));
LK_INLINE float lk_lanes_sum(lk_lanes x)
{
#if LK_LANES > 8
    LK_ADD_ACROSS_(8)
#endif
#if LK_LANES > 4
    LK_ADD_ACROSS_(4)
#endif
    LK_ADD_ACROSS_(2)
    LK_ADD_ACROSS_(1)
    return x[0];
}

/* The greatest lane. */
#define LK_MOST_ACROSS_(d)                                                                         \
    x = lk_lanes_most(x, __builtin_shufflevector(x, x, LK_EACH_LANE_(LK_ACROSS_, d)));
LK_INLINE float lk_lanes_greatest(lk_lanes x)
{
#if LK_LANES > 8
    LK_MOST_ACROSS_(8)
#endif
#if LK_LANES > 4
    LK_MOST_ACROSS_(4)
#endif
    LK_MOST_ACROSS_(2)
    LK_MOST_ACROSS_(1)
    return x[0];
}

#endif /* LK_CPU_VEC_LANES_H */
