/* sum.h - sums of [a, b, c] over b in fixed order, for any source of numbers.
 *
 * Phase one: P parts of b are summed each by one block into doubles [a, P, c].  Phase two: one
 * thread a result adds its P parts in order.  P depends on the sizes only, so the result does not
 * depend on the device's size or on scheduling.
 *
 * A source is a struct with `float at(int64_t i)`, element i of [a, b, c]; it is asked exactly
 * once for each element and may do other work on the way.
 */
#ifndef LK_CUDA_SUM_H
#define LK_CUDA_SUM_H

#include "kernels/cuda/device.h"

#define LK_SUM_COLUMNS 32 /* a block of phase one, when c > 1: columns */
#define LK_SUM_ROWS    (LK_THREADS / LK_SUM_COLUMNS)
#define LK_SUM_SHORT   1024 /* rows up to this long are summed by a warp, when c == 1 */

typedef struct lk_sum {
    int64_t a, b, c, parts;
} lk_sum;

static inline int64_t lk_sum_clamp(int64_t x, int64_t lo, int64_t hi)
{
    return x < lo ? lo : x > hi ? hi : x;
}

static inline int64_t lk_sum_column_blocks(const lk_sum *s)
{
    return (s->c + LK_SUM_COLUMNS - 1) / LK_SUM_COLUMNS;
}

static inline lk_sum lk_sum_of(int64_t a, int64_t b, int64_t c)
{
    lk_sum s = {a, b, c, 1};
    if (a == 0 || c == 0)
        return s;
    if (c > 1)
        s.parts = lk_sum_clamp(2048 / (a * lk_sum_column_blocks(&s)), 1,
                               lk_sum_clamp(b / (8 * LK_SUM_ROWS), 1, 64));
    else if (b > LK_SUM_SHORT)
        s.parts = lk_sum_clamp(1024 / a, 1, lk_sum_clamp(b / 8192, 1, 256));
    return s;
}

static inline size_t lk_sum_work_bytes(const lk_sum *s)
{
    return (size_t)(s->a * s->parts * s->c) * sizeof(double);
}

LK_DEVICE int64_t lk_sum_from(const lk_sum &s, int64_t part)
{
    return s.b * part / s.parts;
}

/* c == 1, short rows: a warp each. */
template <class V> __global__ void lk_sum_short(lk_sum s, V v, double *out)
{
    const int64_t row = (int64_t)blockIdx.x * (LK_THREADS / 32) + threadIdx.x / 32;
    double x = 0;
    if (row < s.a)
        for (int64_t i = threadIdx.x % 32; i < s.b; i += 32)
            x += (double)v.at(row * s.b + i);
    LK_UNROLL
    for (int by = 16; by > 0; by /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, by);
    if (row < s.a && threadIdx.x % 32 == 0)
        out[row] = x;
}

/* c == 1, long rows: a block a part. */
template <class V> __global__ void lk_sum_long(lk_sum s, V v, double *out)
{
    const int64_t row = blockIdx.x / s.parts, part = blockIdx.x % s.parts;
    const int64_t to = lk_sum_from(s, part + 1);
    double x = 0;
    LK_UNROLL_4
    for (int64_t i = lk_sum_from(s, part) + threadIdx.x; i < to; i += LK_THREADS)
        x += (double)v.at(row * s.b + i);
    x = lk_block_sum(x);
    if (threadIdx.x == 0)
        out[blockIdx.x] = x;
}

/* c > 1: a block has LK_SUM_COLUMNS columns of a part. */
template <class V> __global__ void lk_sum_columns(lk_sum s, unsigned n_col_blocks, V v, double *out)
{
    LK_SHARED(double, sum, [LK_SUM_ROWS][LK_SUM_COLUMNS]);
    const unsigned tx = threadIdx.x % LK_SUM_COLUMNS, ty = threadIdx.x / LK_SUM_COLUMNS;
    const int64_t col = (int64_t)(blockIdx.x % n_col_blocks) * LK_SUM_COLUMNS + tx;
    const int64_t line = blockIdx.x / n_col_blocks; /* row * parts + part */
    const int64_t row = line / s.parts, to = lk_sum_from(s, line % s.parts + 1);
    double x = 0;
    if (col < s.c) {
        LK_UNROLL_4
        for (int64_t i = lk_sum_from(s, line % s.parts) + ty; i < to; i += LK_SUM_ROWS)
            x += (double)v.at((row * s.b + i) * s.c + col);
    }
    sum[ty][tx] = x;
    __syncthreads();
    if (ty == 0 && col < s.c) {
        for (int i = 1; i < LK_SUM_ROWS; i++)
            x += sum[i][tx];
        out[line * s.c + col] = x;
    }
}

template <typename T>
__global__ void lk_sum_finish(lk_sum s, const double *part, double scale, T *y)
{
    const int64_t i = lk_thread_index();
    double x = 0;
    if (i >= s.a * s.c)
        return;
    for (int64_t p = 0; p < s.parts; p++)
        x += part[(i / s.c * s.parts + p) * s.c + i % s.c];
    y[i] = (T)(scale * x);
}

/* y [a, c] = scale * sum over b; work: lk_sum_work_bytes.  T: float or double. */
template <class V, typename T>
static lk_status lk_sum_launch(const lk_sum &s, const V &v, void *work, double scale, T *y,
                               lk_cuda_stream stream)
{
    lk_status st = LK_OK;
    double *part = (double *)work;
    if (s.a == 0 || s.c == 0)
        return LK_OK;
    if (s.c > 1)
        LK_TRY(LK_LAUNCH(lk_sum_columns<V>, (unsigned)(s.a * s.parts * lk_sum_column_blocks(&s)),
                         LK_THREADS, stream, s, (unsigned)lk_sum_column_blocks(&s), v, part));
    else if (s.b > LK_SUM_SHORT)
        LK_TRY(
            LK_LAUNCH(lk_sum_long<V>, (unsigned)(s.a * s.parts), LK_THREADS, stream, s, v, part));
    else
        LK_TRY(LK_LAUNCH(lk_sum_short<V>,
                         (unsigned)((s.a + LK_THREADS / 32 - 1) / (LK_THREADS / 32)), LK_THREADS,
                         stream, s, v, part));
    if (y)
        LK_TRY(LK_LAUNCH(lk_sum_finish<T>, lk_blocks(s.a * s.c), LK_THREADS, stream, s,
                         (const double *)part, scale, y));
done:
    return st;
}

/* The numbers of a tensor. */
template <typename T> struct lk_numbers_of {
    const T *x;
    __device__ __forceinline__ float at(int64_t i) const
    {
        return lk_widen(x[i]);
    }
};
template <> struct lk_numbers_of<double> {
    const double *x;
    __device__ __forceinline__ double at(int64_t i) const
    {
        return x[i];
    }
};

#endif /* LK_CUDA_SUM_H */
