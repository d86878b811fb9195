/* vec_random.c - kernels of kernels/ops/random.c. */
#include "kernels/cpu/vec.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "kernels/ops/ops_impl.h"
#include "kernels/rng.h"

#define RUN LK_VEC_RUN

typedef uint32_t lk_words[RUN] __attribute__((aligned(64)));

static int64_t random_units(const lk_call *c)
{
    return (lk_tensor_count(&c->out[0]) + RUN - 1) / RUN;
}

/* words(seed, stream, first, w): those of the blocks from `first` on, a run of them. */

#if defined(__AVX512F__)

static inline __m512i xor_of_three(__m512i a, __m512i b, __m512i c)
{
    return _mm512_ternarylogic_epi64(a, b, c, 0x96);
}

/* rng.h's Philox of 8 blocks, each word in the lower half of a lane: what is above it is not read
 * by the multiplication and is left there. */
static inline void eight_blocks(uint64_t seed, uint64_t stream, uint64_t first, uint32_t w[32])
{
    const __m512i steps = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i lower = _mm512_set_epi64(11, 3, 10, 2, 9, 1, 8, 0);
    const __m512i upper = _mm512_set_epi64(15, 7, 14, 6, 13, 5, 12, 4);
    const __m512i m0 = _mm512_set1_epi64(0xD2511F53), m1 = _mm512_set1_epi64(0xCD9E8D57);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    __m512i c0 = _mm512_add_epi64(_mm512_set1_epi64((int64_t)first), steps);
    __m512i c1 = _mm512_srli_epi64(c0, 32), c2 = _mm512_set1_epi64((int64_t)stream);
    __m512i c3 = _mm512_srli_epi64(c2, 32);
    for (int round = 0; round < 10; round++) {
        const __m512i p0 = _mm512_mul_epu32(c0, m0), p1 = _mm512_mul_epu32(c2, m1);
        c0 = xor_of_three(_mm512_srli_epi64(p1, 32), c1, _mm512_set1_epi64((int64_t)k0));
        c2 = xor_of_three(_mm512_srli_epi64(p0, 32), c3, _mm512_set1_epi64((int64_t)k1));
        c1 = p1;
        c3 = p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    c0 = _mm512_mask_shuffle_epi32(c0, 0xaaaa, c1, _MM_PERM_CCAA);
    c2 = _mm512_mask_shuffle_epi32(c2, 0xaaaa, c3, _MM_PERM_CCAA);
    _mm512_storeu_si512(w, _mm512_permutex2var_epi64(c0, lower, c2));
    _mm512_storeu_si512(w + 16, _mm512_permutex2var_epi64(c0, upper, c2));
}

static void words(uint64_t seed, uint64_t stream, uint64_t first, uint32_t *w)
{
    for (uint64_t j = 0; j < RUN / 4; j += 8)
        eight_blocks(seed, stream, first + j, w + 4 * j);
}

#else

static void words(uint64_t seed, uint64_t stream, uint64_t first, uint32_t *w)
{
    for (uint64_t j = 0; j < RUN / 4; j++) {
        const lk_rng_block b = lk_rng_philox(seed, stream, first + j);
        w[4 * j] = b.v[0];
        w[4 * j + 1] = b.v[1];
        w[4 * j + 2] = b.v[2];
        w[4 * j + 3] = b.v[3];
    }
}

#endif

static void normals(const uint32_t *restrict w, float *restrict y)
{
    for (int j = 0; j < RUN; j += 2) {
        const float u = ((float)(int32_t)(w[j] >> 8) + 0.5f) * 0x1p-24f;
        const float v = (float)(int32_t)(w[j + 1] >> 8) * 0x1p-24f;
        const float size = __builtin_sqrtf(-2.0f * lk_logf(u)), angle = 6.2831853072f * v;
        y[j] = size * lk_cosf(angle);
        y[j + 1] = size * lk_sinf(angle);
    }
}

static void random_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t total = lk_tensor_count(&c->out[0]);
    lk_words w;
    lk_run y;
    for (int64_t u = first; u < end; u++) {
        const int64_t n = total - u * RUN < RUN ? total - u * RUN : RUN;
        words(c->seed, lk_random_stream(c), (uint64_t)(u * RUN / 4), w);
        if (c->node->attr.random.normal)
            normals(w, y);
        else
            for (int i = 0; i < RUN; i++)
                y[i] = (float)(int32_t)(w[i] >> 8) * 0x1p-24f;
        lk_store(c->out[0].dtype, c->out[0].data, u * RUN, n, y);
    }
}

static void dropout_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t total = lk_tensor_count(&c->out[0]);
    const float scale = (float)(1 / (1 - c->node->attr.random.p));
    const uint32_t bound = lk_dropout_bound(c);
    lk_words w;
    lk_run buf_x, buf_y;
    for (int64_t u = first; u < end; u++) {
        const int64_t at = u * RUN, n = total - at < RUN ? total - at : RUN;
        const float *x = lk_run_in(&c->in[0], at, n, buf_x);
        float *y = lk_run_out(&c->out[0], at, buf_y);
        words(c->seed, lk_random_stream(c), (uint64_t)(at / 4), w);
        for (int64_t i = 0; i < n; i++)
            y[i] = w[i] < bound ? 0.0f : x[i] * scale;
        lk_run_end(&c->out[0], at, n, y);
    }
}

const lk_cpu_kernel LK_VEC(lk_cpu_random) = {.phase = {{random_units, random_range}}};
const lk_cpu_kernel LK_VEC(lk_cpu_dropout) = {.phase = {{random_units, dropout_range}}};
