/* random.cu - kernels of kernels/ops/random.c.  The step lies on the device,
 * because the launch is recorded once and repeated. */
#include "kernels/cuda/device.h"

/* The words of elements i .. i + LK_ITEMS - 1, i a multiple of 4. */
LK_DEVICE void words(uint64_t seed, uint64_t stream, int64_t i, uint32_t *w) {
  LK_UNROLL
  for (int k = 0; k < LK_ITEMS / 4; k++) {
    const lk_rng_block b = lk_rng_philox(seed, stream, (uint64_t)(i / 4 + k));
    LK_UNROLL
    for (int j = 0; j < 4; j++)
      w[4 * k + j] = b.v[j];
  }
}

template <typename T>
__global__ void random_kernel(int64_t n, uint64_t seed, uint64_t stream,
                              const uint64_t *step, int normal, T *y) {
  const int64_t i = lk_thread_index() * LK_ITEMS;
  const int64_t m = n - i < LK_ITEMS ? n - i : LK_ITEMS;
  uint32_t w[LK_ITEMS];
  float v[LK_ITEMS];
  if (m <= 0)
    return;
  words(seed, stream ^ *step, i, w);
  if (normal) {
    LK_UNROLL
    for (int j = 0; j < LK_ITEMS; j += 2) {
      const float u = ((float)(w[j] >> 8) + 0.5f) * 0x1p-24f;
      const float angle = 6.2831853072f * ((float)(w[j + 1] >> 8) * 0x1p-24f);
      const float size = sqrtf(-2.0f * logf(u));
      v[j] = size * lk_cosf(angle);
      v[j + 1] = size * lk_sinf(angle);
    }
  } else {
    LK_UNROLL
    for (int j = 0; j < LK_ITEMS; j++)
      v[j] = (float)(w[j] >> 8) * 0x1p-24f;
  }
  lk_store_run(y + i, m, v);
}

template <typename T>
__global__ void dropout_kernel(int64_t n, uint64_t seed, uint64_t stream,
                               const uint64_t *step, uint32_t bound,
                               float scale, const T *x, T *y) {
  const int64_t i = lk_thread_index() * LK_ITEMS;
  const int64_t m = n - i < LK_ITEMS ? n - i : LK_ITEMS;
  uint32_t w[LK_ITEMS];
  float v[LK_ITEMS] = {};
  if (m <= 0)
    return;
  words(seed, stream ^ *step, i, w);
  lk_load_run(x + i, m, v);
  LK_UNROLL
  for (int j = 0; j < LK_ITEMS; j++)
    v[j] = w[j] < bound ? 0.0f : v[j] * scale;
  lk_store_run(y + i, m, v);
}

static lk_status random_launch(const lk_call *c, lk_cuda_stream stream) {
  const int64_t n = lk_tensor_count(&c->out[0]);
  if (n == 0)
    return LK_OK;
  return LK_BY_FLOAT(
      c->out[0].dtype, T,
      LK_LAUNCH(random_kernel<T>, lk_blocks((n + LK_ITEMS - 1) / LK_ITEMS),
                LK_THREADS, stream, n, c->seed,
                c->node->attr.random.stream << 40, c->step,
                c->node->attr.random.normal, (T *)c->out[0].data));
}

static lk_status dropout_launch(const lk_call *c, lk_cuda_stream stream) {
  const int64_t n = lk_tensor_count(&c->out[0]);
  if (n == 0)
    return LK_OK;
  return LK_BY_FLOAT(
      c->in[0].dtype, T,
      LK_LAUNCH(dropout_kernel<T>, lk_blocks((n + LK_ITEMS - 1) / LK_ITEMS),
                LK_THREADS, stream, n, c->seed,
                c->node->attr.random.stream << 40, c->step, lk_dropout_bound(c),
                (float)(1 / (1 - c->node->attr.random.p)),
                (const T *)c->in[0].data, (T *)c->out[0].data));
}

const lk_cuda_kernel LK_CUDA(random) = {NULL, NULL, random_launch};
const lk_cuda_kernel LK_CUDA(dropout) = {NULL, NULL, dropout_launch};
