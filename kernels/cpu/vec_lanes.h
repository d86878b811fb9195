/* vec_lanes.h - one vector register of f32, as wide as the instruction set has them. */
#ifndef LK_CPU_VEC_LANES_H
#define LK_CPU_VEC_LANES_H

#include "kernels/cpu/vec.h"

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

/* Lane l of the two halves of an exchange between rows d apart: of the upper row, of the lower. */
#define LK_UP_(d, l)   ((l) & (d) ? LK_LANES + (l) - (d) : (l))
#define LK_DOWN_(d, l) ((l) & (d) ? LK_LANES + (l) : (l) + (d))
#if LK_LANES == 16
#define LK_EACH_LANE_(f, d)                                                                        \
    f(d, 0), f(d, 1), f(d, 2), f(d, 3), f(d, 4), f(d, 5), f(d, 6), f(d, 7), f(d, 8), f(d, 9),      \
        f(d, 10), f(d, 11), f(d, 12), f(d, 13), f(d, 14), f(d, 15)
#elif LK_LANES == 8
#define LK_EACH_LANE_(f, d) f(d, 0), f(d, 1), f(d, 2), f(d, 3), f(d, 4), f(d, 5), f(d, 6), f(d, 7)
#else
#define LK_EACH_LANE_(f, d) f(d, 0), f(d, 1), f(d, 2), f(d, 3)
#endif
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

/* t[0] becomes the vector whose lane l is the sum of the lanes of t[l]; the others are used up. */
#define LK_FOLD_(d)                                                                                \
    for (int i = 0; i < LK_LANES / (d) / 2; i++) {                                                 \
        const lk_lanes a = t[2 * i], b = t[2 * i + 1];                                             \
        t[i] = __builtin_shufflevector(a, b, LK_EACH_LANE_(LK_UP_, d)) +                           \
               __builtin_shufflevector(a, b, LK_EACH_LANE_(LK_DOWN_, d));                          \
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

#endif /* LK_CPU_VEC_LANES_H */
