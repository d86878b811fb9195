/* optim.cu - one step of the optimiser; formulas in kernels/optim.c, pieces in optim_impl.h.  A
 * block has a piece, so every sum has the order that the piece fixes. */
#include "kernels/cuda/device.h"

__global__ void sum_squares_kernel(const lk_optim_piece *pieces, double *sums)
{
    const float *x = pieces[blockIdx.x].grad;
    const int64_t n = pieces[blockIdx.x].n;
    double s = 0;
    LK_UNROLL_4
    for (int64_t i = threadIdx.x; i < n; i += LK_THREADS)
        s += (double)x[i] * (double)x[i];
    s = lk_block_sum(s);
    if (threadIdx.x == 0)
        sums[blockIdx.x] = s;
}

__global__ void adamw_kernel(const lk_optim_piece *pieces, lk_adamw_factors k)
{
    const lk_optim_piece piece = pieces[blockIdx.x];
    const float keep = piece.decays ? k.keep : 1.0f;
    const float new1 = 1.0f - k.beta1, new2 = 1.0f - k.beta2;
    LK_UNROLL_4
    for (int64_t i = threadIdx.x; i < piece.n; i += LK_THREADS) {
        const float x = piece.grad[i] * k.scale;
        const float m = k.beta1 * piece.moment1[i] + new1 * x;
        const float v = k.beta2 * piece.moment2[i] + new2 * x * x;
        const float p = piece.value[i] * keep - k.step * m / (sqrtf(v) * k.root + k.eps);
        piece.moment1[i] = m;
        piece.moment2[i] = v;
        piece.value[i] = p;
        if (piece.average)
            piece.average[i] += k.blend * (p - piece.average[i]);
    }
}

lk_status LK_CUDA(sum_squares)(const lk_optim_piece *pieces, int64_t n, double *sums,
                               lk_cuda_stream stream)
{
    return n == 0 ? LK_OK
                  : LK_LAUNCH(sum_squares_kernel, (unsigned)n, LK_THREADS, stream, pieces, sums);
}

lk_status LK_CUDA(adamw)(const lk_optim_piece *pieces, int64_t n, const lk_adamw_factors *f,
                         lk_cuda_stream stream)
{
    return n == 0 ? LK_OK : LK_LAUNCH(adamw_kernel, (unsigned)n, LK_THREADS, stream, pieces, *f);
}
