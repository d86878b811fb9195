/* loss.cu - kernels of cross_entropy (kernels/ops/loss.c) and nearest (kernels/ops/quantize.c). */
#include "kernels/cuda/rows.h"

template <int LANES, typename T>
__global__ void entropy_kernel(int64_t rows, int64_t n, const T *z, const int32_t *label, float *y,
                               float *lse)
{
    const int64_t row = lk_row<LANES>(), m = row < rows ? n : 0;
    float most = -INFINITY, whole;
    double sum = 0;
    z += row * n;
    for (int64_t i = lk_row_lane<LANES>(); i < m; i += LANES)
        most = fmaxf(most, lk_widen(z[i]));
    most = lk_row_max<LANES>(most);
    for (int64_t i = lk_row_lane<LANES>(); i < m; i += LANES)
        sum += (double)expf(lk_widen(z[i]) - most);
    whole = most + logf((float)lk_row_sum<LANES>(sum));
    if (m == 0 || lk_row_lane<LANES>() != 0)
        return;
    if (y)
        y[row] = label[row] < 0 || label[row] >= n ? NAN : whole - lk_widen(z[label[row]]);
    if (lse)
        lse[row] = whole;
}

template <typename T>
__global__ void entropy_grad_kernel(int64_t total, int64_t n, const T *z, const int32_t *label,
                                    const float *lse, const float *dy, T *dz)
{
    const int64_t i = lk_thread_index();
    if (i >= total)
        return;
    const int64_t row = i / n;
    const float p = expf(lk_widen(z[i]) - lse[row]) - (i % n == label[row] ? 1.0f : 0.0f);
    dz[i] = lk_narrow<T>(dy[row] * p);
}

static lk_status entropy_launch(const lk_call *c, lk_cuda_stream stream)
{
    const int64_t rows = lk_rows(&c->in[0].shape), n = lk_last(&c->in[0].shape);
    if (rows == 0)
        return LK_OK;
    return LK_BY_FLOAT(c->in[0].dtype, T,
                       LK_LAUNCH_ROWS(entropy_kernel, T, rows, n, stream, rows, n,
                                      (const T *)c->in[0].data, (const int32_t *)c->in[1].data,
                                      (float *)c->out[0].data, (float *)c->out[1].data));
}

static lk_status entropy_grad_launch(const lk_call *c, lk_cuda_stream stream)
{
    const int64_t total = lk_tensor_count(&c->out[0]);
    if (total == 0)
        return LK_OK;
    return LK_BY_FLOAT(c->in[0].dtype, T,
                       LK_LAUNCH(entropy_grad_kernel<T>, lk_blocks(total), LK_THREADS, stream,
                                 total, lk_last(&c->in[0].shape), (const T *)c->in[0].data,
                                 (const int32_t *)c->in[1].data, (const float *)c->in[2].data,
                                 (const float *)c->in[3].data, (T *)c->out[0].data));
}

const lk_cuda_kernel LK_CUDA(cross_entropy) = {NULL, NULL, entropy_launch};
const lk_cuda_kernel LK_CUDA(cross_entropy_grad) = {NULL, NULL, entropy_grad_launch};

/* A warp has a row, a lane every 32nd code; of equally near codes the lowest wins. */
__global__ void nearest_kernel(int64_t rows, int64_t n, int64_t n_codes, int x_is_bf16,
                               int book_is_bf16, const void *x, const void *book, int32_t *y)
{
    const int64_t row = lk_row<32>();
    float least = INFINITY;
    int best = 0x7fffffff;
    for (int64_t k = lk_row_lane<32>(); row < rows && k < n_codes; k += 32) {
        float d = 0;
        for (int64_t i = 0; i < n; i++) {
            const float e =
                lk_either(x, x_is_bf16, row * n + i) - lk_either(book, book_is_bf16, k * n + i);
            d += e * e;
        }
        if (d < least) {
            least = d;
            best = (int)k;
        }
    }
    for (int by = 16; by > 0; by /= 2) {
        const float other = __shfl_xor_sync(0xffffffffu, least, by);
        const int its = __shfl_xor_sync(0xffffffffu, best, by);
        if (other < least || (other == least && its < best)) {
            least = other;
            best = its;
        }
    }
    if (row < rows && lk_row_lane<32>() == 0)
        y[row] = best < n_codes ? best : 0;
}

static lk_status nearest_launch(const lk_call *c, lk_cuda_stream stream)
{
    const int64_t rows = lk_rows(&c->in[0].shape);
    if (rows == 0)
        return LK_OK;
    return LK_LAUNCH(nearest_kernel, lk_row_blocks(rows, 1), LK_THREADS, stream, rows,
                     lk_last(&c->in[0].shape), c->in[1].shape.dim[0], c->in[0].dtype == LK_BF16,
                     c->in[1].dtype == LK_BF16, (const void *)c->in[0].data,
                     (const void *)c->in[1].data, (int32_t *)c->out[0].data);
}

const lk_cuda_kernel LK_CUDA(nearest) = {NULL, NULL, nearest_launch};
