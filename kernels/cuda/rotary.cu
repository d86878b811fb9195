/* rotary.cu - kernel of kernels/ops/rotary.c: a thread a number. */
#include "kernels/cuda/device.h"

template <typename T>
__global__ void rotary_kernel(int64_t n, lk_rotary_sizes s, float sign, const T *x,
                              const float *table, T *y)
{
    const int64_t i = lk_thread_index();
    const unsigned at = (unsigned)i, d = (unsigned)s.d, pairs = (unsigned)s.pairs;
    const unsigned col = at % d, row = at / d, p = col < pairs ? col : col - pairs;
    if (i >= n)
        return;
    if (col >= 2 * pairs) {
        y[i] = x[i];
        return;
    }
    const unsigned tokens = (unsigned)s.n;
    const int64_t token = (int64_t)(row / tokens / (unsigned)s.repeats) * tokens + row % tokens;
    const float *turn = table + token * 2 * pairs;
    const float a = lk_widen(x[i - col + p]), b = lk_widen(x[i - col + p + pairs]);
    const float co = turn[p], si = sign * turn[p + pairs];
    y[i] = lk_narrow<T>(col < pairs ? a * co - b * si : a * si + b * co);
}

static lk_status rotary_prepare(lk_call *c, size_t *work_bytes)
{
    *work_bytes = 0;
    return lk_small_enough(&c->in[0]);
}

static lk_status rotary_launch(const lk_call *c, lk_cuda_stream stream)
{
    const int64_t n = lk_tensor_count(&c->out[0]);
    if (n == 0)
        return LK_OK;
    return LK_BY_FLOAT(c->in[0].dtype, T,
                       LK_LAUNCH(rotary_kernel<T>, lk_blocks(n), LK_THREADS, stream, n,
                                 lk_rotary_sizes_of(c), c->node->attr.rotary.inverse ? -1.0f : 1.0f,
                                 (const T *)c->in[0].data, (const float *)c->in[1].data,
                                 (T *)c->out[0].data));
}

const lk_cuda_kernel LK_CUDA(rotary) = {rotary_prepare, NULL, rotary_launch};
