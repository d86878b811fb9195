/* sine.h - sin and cos in f32 without tables or branches, the same formula on CPU and GPU.
 *
 * Multiples of pi / 2 are taken off in three parts (Cody, Waite: Software Manual for the Elementary
 * Functions, 1980); a polynomial does the rest.  Absolute error 1.2e-7 for |x| < 1e4.
 *
 * Threads      pure functions.
 */
#ifndef LK_SINE_H
#define LK_SINE_H

#include <stdint.h>

#ifdef __CUDACC__
#define LK_SINE_FN static inline __host__ __device__
#else
#define LK_SINE_FN static inline
#endif

LK_SINE_FN float lk_sinf_quarter(float x, int32_t shift)
{
    const float n = __builtin_rintf(x * 0.636619772f);
    const int32_t q = (int32_t)n + shift;
    float r = x - n * 1.5703125f, z, s, c, y;
    r = r - n * 4.83751296997e-4f;
    r = r - n * 7.54978995489e-8f;
    z = r * r;
    s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * r + r;
    c = ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z -
        0.5f * z + 1.0f;
    y = q & 1 ? c : s;
    return q & 2 ? -y : y;
}
LK_SINE_FN float lk_sinf(float x)
{
    return lk_sinf_quarter(x, 0);
}
LK_SINE_FN float lk_cosf(float x)
{
    return lk_sinf_quarter(x, 1);
}

#endif /* LK_SINE_H */
