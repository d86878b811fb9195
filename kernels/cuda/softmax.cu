/* softmax.cu - kernels of softmax and softmax_grad (kernels/ops/reduce.c). */
#include "kernels/cuda/rows.h"

template <int LANES, typename T>
__global__ void softmax_kernel(int64_t rows, int64_t n, const T *x, T *y) {
  const int64_t row = lk_row<LANES>(), m = row < rows ? n : 0;
  float most = -INFINITY, scale;
  double sum = 0;
  x += row * n;
  y += row * n;
  for (int64_t i = lk_row_lane<LANES>(); i < m; i += LANES)
    most = fmaxf(most, lk_widen(x[i]));
  most = lk_row_max<LANES>(most);
  for (int64_t i = lk_row_lane<LANES>(); i < m; i += LANES)
    sum += (double)expf(lk_widen(x[i]) - most);
  scale = 1.0f / (float)lk_row_sum<LANES>(sum);
  for (int64_t i = lk_row_lane<LANES>(); i < m; i += LANES)
    y[i] = lk_narrow<T>(scale * expf(lk_widen(x[i]) - most));
}

template <int LANES, typename T>
__global__ void softmax_grad_kernel(int64_t rows, int64_t n, const T *y,
                                    int dy_is_bf16, const void *dy, T *dx) {
  const int64_t row = lk_row<LANES>(), m = row < rows ? n : 0;
  double sum = 0;
  float dot;
  y += row * n;
  dx += row * n;
  for (int64_t i = lk_row_lane<LANES>(); i < m; i += LANES)
    sum += (double)(lk_widen(y[i]) * lk_either(dy, dy_is_bf16, row * n + i));
  dot = (float)lk_row_sum<LANES>(sum);
  for (int64_t i = lk_row_lane<LANES>(); i < m; i += LANES)
    dx[i] = lk_narrow<T>(lk_widen(y[i]) *
                         (lk_either(dy, dy_is_bf16, row * n + i) - dot));
}

static lk_status softmax_launch(const lk_call *c, lk_cuda_stream stream) {
  const int64_t rows = lk_rows(&c->in[0].shape), n = lk_last(&c->in[0].shape);
  if (rows * n == 0)
    return LK_OK;
  return LK_BY_FLOAT(c->in[0].dtype, T,
                     LK_LAUNCH_ROWS(softmax_kernel, T, rows, n, stream, rows, n,
                                    (const T *)c->in[0].data,
                                    (T *)c->out[0].data));
}

static lk_status softmax_grad_launch(const lk_call *c, lk_cuda_stream stream) {
  const int64_t rows = lk_rows(&c->in[0].shape), n = lk_last(&c->in[0].shape);
  const int bf16 = c->in[1].dtype == LK_BF16;
  if (rows * n == 0)
    return LK_OK;
  return LK_BY_FLOAT(c->in[0].dtype, T,
                     LK_LAUNCH_ROWS(softmax_grad_kernel, T, rows, n, stream,
                                    rows, n, (const T *)c->in[0].data, bf16,
                                    (const void *)c->in[1].data,
                                    (T *)c->out[0].data));
}

const lk_cuda_kernel LK_CUDA(softmax) = {NULL, NULL, softmax_launch};
const lk_cuda_kernel LK_CUDA(softmax_grad) = {NULL, NULL, softmax_grad_launch};
