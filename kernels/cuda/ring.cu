/* ring.cu - kernel of kernels/ops/ring.c: a thread a number, moved as it is. */
#include "kernels/cuda/device.h"

template <typename T>
__global__ void ring_kernel(int64_t n_numbers, int64_t rows, int64_t n, int64_t d,
                            const int32_t *at, const T *x, T *ring)
{
    const int64_t i = lk_thread_index(), row = i / d;
    if (i < n_numbers && *at >= 0)
        ring[(row / n * rows + (*at + row % n) % rows) * d + i % d] = x[i];
}

template <typename T> static lk_status ring_as(const lk_call *c, lk_cuda_stream stream)
{
    const lk_shape *ring = &c->in[0].shape, *x = &c->in[1].shape;
    const int64_t n = lk_shape_count(x);
    return n == 0 ? LK_OK
                  : LK_LAUNCH(ring_kernel<T>, lk_blocks(n), LK_THREADS, stream, n,
                              ring->dim[ring->n_dims - 2], x->dim[x->n_dims - 2], lk_last(x),
                              (const int32_t *)c->in[2].data, (const T *)c->in[1].data,
                              (T *)c->in[0].data);
}

static lk_status ring_launch(const lk_call *c, lk_cuda_stream stream)
{
    return lk_dtype_bytes(c->in[0].dtype) == 2 ? ring_as<uint16_t>(c, stream)
                                               : ring_as<uint32_t>(c, stream);
}

const lk_cuda_kernel LK_CUDA(ring) = {NULL, NULL, ring_launch};
