/* rng.h - counter-based random numbers: value = f(seed, stream, index).
 *
 * Philox4x32-10: a keyed bijection of a 128-bit counter, so any number of any stream can be had
 * without drawing those before it, and CPU, GPU and thread count cannot change a result.
 * The counter is (index, stream), the key is the seed.
 *
 * Threads      pure functions.
 * Source       Salmon, Moraes, Dror, Shaw: "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
 */
#ifndef LK_RNG_H
#define LK_RNG_H

#include <math.h>
#include <stdint.h>

#ifdef __CUDACC__
#define LK_RNG_FN static inline __host__ __device__
#else
#define LK_RNG_FN static inline
#endif

typedef struct lk_rng_block {
    uint32_t v[4];
} lk_rng_block;

LK_RNG_FN lk_rng_block lk_rng_philox(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32);
    uint32_t c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        const uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        const uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        const uint32_t n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    lk_rng_block b = {{c0, c1, c2, c3}};
    return b;
}

/* 32 uniform bits. */
LK_RNG_FN uint32_t lk_rng_u32(uint64_t seed, uint64_t stream, uint64_t index)
{
    return lk_rng_philox(seed, stream, index >> 2).v[index & 3];
}

/* Uniform in [0, 1), 24 bits. */
LK_RNG_FN float lk_rng_uniform(uint64_t seed, uint64_t stream, uint64_t index)
{
    return (float)(lk_rng_u32(seed, stream, index) >> 8) * 0x1p-24f;
}

/* Uniform in [lo, hi). */
LK_RNG_FN double lk_rng_range(uint64_t seed, uint64_t stream, uint64_t index, double lo, double hi)
{
    const lk_rng_block b = lk_rng_philox(seed, stream, index);
    const uint64_t bits = ((uint64_t)b.v[0] << 21) ^ (b.v[1] >> 11);
    return lo + (hi - lo) * ((double)bits * 0x1p-53);
}

/* Uniform integer in [0, n), n > 0; the bias is below n / 2^32. */
LK_RNG_FN uint32_t lk_rng_below(uint64_t seed, uint64_t stream, uint64_t index, uint32_t n)
{
    return (uint32_t)(((uint64_t)lk_rng_u32(seed, stream, index) * n) >> 32);
}

/* Standard normal (Box-Muller, one of the pair). */
LK_RNG_FN float lk_rng_normal(uint64_t seed, uint64_t stream, uint64_t index)
{
    const lk_rng_block b = lk_rng_philox(seed, stream, index);
    const float u = ((float)(b.v[0] >> 8) + 0.5f) * 0x1p-24f;
    const float w = (float)(b.v[1] >> 8) * 0x1p-24f;
    return sqrtf(-2.0f * logf(u)) * cosf(6.28318530717958647692f * w);
}

#endif /* LK_RNG_H */
