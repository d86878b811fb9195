/* gather.cu - kernels of gather and scatter_add (kernels/ops/rearrange.c).
 *
 * scatter_add: a warp has a row of the result.  It looks through the indices, 32 at a time, and
 * adds the rows that name it in their order, so no two threads ever add to one number.
 */
#include "kernels/cuda/device.h"

template <typename U>
__global__ void gather_kernel(int64_t n, unsigned inner, unsigned m, unsigned size,
                              const int32_t *index, const U *x, U *y)
{
    const int64_t i = lk_thread_index();
    const unsigned at = (unsigned)i, j = at % inner, row = at / inner;
    if (i >= n)
        return;
    const int32_t from = index[row % m];
    U v = {};
    if (from >= 0 && (unsigned)from < size)
        v = x[((int64_t)(row / m) * size + from) * inner + j];
    y[i] = v;
}

template <typename U>
static lk_status gather(const lk_call *c, int64_t inner, lk_cuda_stream stream)
{
    const lk_split s = lk_split_at(&c->in[0].shape, c->node->attr.axis.axis);
    const int64_t m = c->in[1].shape.dim[0], n = s.outer * m * inner;
    return LK_LAUNCH(gather_kernel<U>, lk_blocks(n), LK_THREADS, stream, n, (unsigned)inner,
                     (unsigned)m, (unsigned)s.size, (const int32_t *)c->in[1].data,
                     (const U *)c->in[0].data, (U *)c->out[0].data);
}

static lk_status both_small_enough(lk_call *c, size_t *work_bytes)
{
    lk_status st = LK_OK;
    *work_bytes = 0;
    LK_TRY(lk_small_enough(&c->in[0]));
    LK_TRY(lk_small_enough(&c->out[0]));
done:
    return st;
}

static lk_status gather_launch(const lk_call *c, lk_cuda_stream stream)
{
    const int64_t inner = lk_split_at(&c->in[0].shape, c->node->attr.axis.axis).inner;
    const int64_t bytes = (int64_t)lk_dtype_bytes(c->in[0].dtype);
    if (lk_tensor_count(&c->out[0]) == 0)
        return LK_OK;
    if (inner * bytes % 16 == 0)
        return gather<uint4>(c, inner * bytes / 16, stream);
    return bytes == 4 ? gather<uint32_t>(c, inner, stream) : gather<uint16_t>(c, inner, stream);
}

const lk_cuda_kernel LK_CUDA(gather) = {both_small_enough, NULL, gather_launch};

template <typename T>
__global__ void scatter_add_kernel(int64_t rows, int64_t size, int64_t inner, int64_t m,
                                   const int32_t *index, const T *x, float *y)
{
    const int64_t row = (int64_t)blockIdx.x * (LK_THREADS / 32) + threadIdx.x / 32;
    const int lane = (int)threadIdx.x % 32;
    if (row >= rows) /* whole warps */
        return;
    x += row / size * m * inner;
    y += row * inner;
    for (int64_t i = lane; i < inner; i += 32)
        y[i] = 0;
    for (int64_t k0 = 0; k0 < m; k0 += 32) {
        const int mine = k0 + lane < m && index[k0 + lane] == row % size;
        for (unsigned named = __ballot_sync(0xffffffffu, mine); named; named &= named - 1) {
            const T *from = x + (k0 + __ffs((int)named) - 1) * inner;
            for (int64_t i = lane; i < inner; i += 32)
                y[i] += lk_widen(from[i]);
        }
    }
}

static lk_status scatter_add_launch(const lk_call *c, lk_cuda_stream stream)
{
    const lk_split s = lk_split_at(&c->out[0].shape, c->node->attr.axis.axis);
    const int64_t rows = s.outer * s.size;
    if (rows * s.inner == 0)
        return LK_OK;
    return LK_BY_FLOAT(c->in[0].dtype, T,
                       LK_LAUNCH(scatter_add_kernel<T>,
                                 (unsigned)((rows + LK_THREADS / 32 - 1) / (LK_THREADS / 32)),
                                 LK_THREADS, stream, rows, s.size, s.inner, c->in[1].shape.dim[0],
                                 (const int32_t *)c->in[1].data, (const T *)c->in[0].data,
                                 (float *)c->out[0].data));
}

const lk_cuda_kernel LK_CUDA(scatter_add) = {both_small_enough, NULL, scatter_add_launch};
