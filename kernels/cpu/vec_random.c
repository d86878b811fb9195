/* vec_random.c - kernels of kernels/ops/random.c. */
#include "kernels/cpu/vec.h"

#include "kernels/ops/ops_impl.h"
#include "kernels/rng.h"

#define RUN    LK_VEC_RUN
#define BLOCKS (RUN / 4)

static int64_t random_units(const lk_call *c)
{
    return (lk_tensor_count(&c->out[0]) + RUN - 1) / RUN;
}

/* The words of the blocks from `first` on, in four rows. */
static void words(uint64_t seed, uint64_t stream, uint64_t first, uint32_t (*w)[BLOCKS])
{
    for (int j = 0; j < BLOCKS; j++) {
        const lk_rng_block b = lk_rng_philox(seed, stream, first + (uint64_t)j);
        w[0][j] = b.v[0];
        w[1][j] = b.v[1];
        w[2][j] = b.v[2];
        w[3][j] = b.v[3];
    }
}

static void normals(uint32_t (*w)[BLOCKS], float (*z)[BLOCKS])
{
    for (int k = 0; k < 4; k += 2)
        for (int j = 0; j < BLOCKS; j++) {
            const float u = ((float)(int32_t)(w[k][j] >> 8) + 0.5f) * 0x1p-24f;
            const float v = (float)(int32_t)(w[k + 1][j] >> 8) * 0x1p-24f;
            const float size = __builtin_sqrtf(-2.0f * lk_logf(u)), angle = 6.2831853072f * v;
            z[k][j] = size * lk_cosf(angle);
            z[k + 1][j] = size * lk_sinf(angle);
        }
}

static void uniforms(uint32_t (*w)[BLOCKS], float (*z)[BLOCKS])
{
    for (int k = 0; k < 4; k++)
        for (int j = 0; j < BLOCKS; j++)
            z[k][j] = (float)(int32_t)(w[k][j] >> 8) * 0x1p-24f;
}

static void random_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t total = lk_tensor_count(&c->out[0]);
    uint32_t w[4][BLOCKS];
    lk_run y;
    float z[4][BLOCKS];
    for (int64_t u = first; u < end; u++) {
        const int64_t n = total - u * RUN < RUN ? total - u * RUN : RUN;
        words(c->seed, lk_random_stream(c), (uint64_t)(u * BLOCKS), w);
        if (c->node->attr.random.normal)
            normals(w, z);
        else
            uniforms(w, z);
        for (int j = 0; j < BLOCKS; j++)
            for (int k = 0; k < 4; k++)
                y[4 * j + k] = z[k][j];
        lk_store(c->out[0].dtype, c->out[0].data, u * RUN, n, y);
    }
}

static void dropout_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t total = lk_tensor_count(&c->out[0]);
    const float scale = (float)(1 / (1 - c->node->attr.random.p));
    const uint32_t bound = lk_dropout_bound(c);
    uint32_t w[4][BLOCKS];
    lk_run keep, buf_x, buf_y;
    for (int64_t u = first; u < end; u++) {
        const int64_t at = u * RUN, n = total - at < RUN ? total - at : RUN;
        const float *x = lk_run_in(&c->in[0], at, n, buf_x);
        float *y = lk_run_out(&c->out[0], at, buf_y);
        words(c->seed, lk_random_stream(c), (uint64_t)(u * BLOCKS), w);
        for (int j = 0; j < BLOCKS; j++)
            for (int k = 0; k < 4; k++)
                keep[4 * j + k] = w[k][j] < bound ? 0.0f : 1.0f;
        for (int64_t i = 0; i < n; i++)
            y[i] = keep[i] != 0 ? x[i] * scale : 0.0f;
        lk_run_end(&c->out[0], at, n, y);
    }
}

const lk_cpu_kernel LK_VEC(lk_cpu_random) = {.phase = {{random_units, random_range}}};
const lk_cpu_kernel LK_VEC(lk_cpu_dropout) = {.phase = {{random_units, dropout_range}}};
