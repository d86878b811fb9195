/* rows.h - work on rows: a warp a row where rows are short, a block a row where they are long.
 *
 * LANES is 32 or LK_THREADS; all threads of a block call everything here, also those whose row
 * does not exist.
 */
#ifndef LK_CUDA_ROWS_H
#define LK_CUDA_ROWS_H

#include "kernels/cuda/device.h"

#define LK_SHORT_ROW 1024 /* up to here a row is a warp's */

/* The row of this thread, and its place in it. */
template <int LANES> LK_DEVICE int64_t lk_row()
{
    return (int64_t)blockIdx.x * (LK_THREADS / LANES) + threadIdx.x / LANES;
}
template <int LANES> LK_DEVICE int lk_row_lane()
{
    return (int)threadIdx.x % LANES;
}

template <int LANES> LK_DEVICE double lk_row_sum(double x)
{
    if constexpr (LANES == LK_THREADS) {
        return lk_block_sum(x);
    } else {
        LK_UNROLL
        for (int by = 16; by > 0; by /= 2)
            x += __shfl_xor_sync(0xffffffffu, x, by);
        return x;
    }
}

template <int LANES> LK_DEVICE float lk_row_max(float x)
{
    LK_UNROLL
    for (int by = 16; by > 0; by /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, by));
    if constexpr (LANES == LK_THREADS) {
        LK_SHARED(float, part, [LK_THREADS / 32]);
        __syncthreads(); /* of the previous call */
        if (threadIdx.x % 32 == 0)
            part[threadIdx.x / 32] = x;
        __syncthreads();
        for (int i = 0; i < LK_THREADS / 32; i++)
            x = fmaxf(x, part[i]);
    }
    return x;
}

/* Blocks for so many rows of length n. */
static inline unsigned lk_row_blocks(int64_t rows, int64_t n)
{
    const int64_t a_block = n > LK_SHORT_ROW ? 1 : LK_THREADS / 32;
    return (unsigned)((rows + a_block - 1) / a_block);
}

/* Launch kernel<LANES> with LANES chosen by the length of a row. */
#define LK_LAUNCH_ROWS(kernel, T, rows, n, stream, ...)                                            \
    ((n) > LK_SHORT_ROW                                                                            \
         ? LK_LAUNCH((kernel<LK_THREADS, T>), lk_row_blocks(rows, n), LK_THREADS, stream,          \
                     __VA_ARGS__)                                                                  \
         : LK_LAUNCH((kernel<32, T>), lk_row_blocks(rows, n), LK_THREADS, stream, __VA_ARGS__))

#endif /* LK_CUDA_ROWS_H */
