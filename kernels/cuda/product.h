/* product.h - y[g, m, n] = sum over k of a(g, m, k) b(g, k, n), for any source of a and b.
 *
 * The products and convolutions of our own differ only in where their operands lie, so a source is
 * a struct with
 *     int m, n, k, groups, parts    sizes; k is cut into `parts` parts, each summed in f32
 *     int a_by_k, b_by_k            whether neighbours in k are neighbours in memory
 *     int group_first               direct kernel: neighbours in g are neighbours in memory
 *     float a(g, row, k), b(g, k, col)
 *     void put(g, part, row, col, sum)
 * Two kernels: tiles through shared memory, and, for groups too narrow to fill a tile, one thread
 * a result.  Plain arithmetic units, no tensor cores: this is what runs where cuBLASLt and cuDNN
 * do not, and the definition they are compared with on a GPU.
 */
#ifndef LK_CUDA_PRODUCT_H
#define LK_CUDA_PRODUCT_H

#include "kernels/cuda/device.h"

#define LK_TILE   64 /* rows and columns of a block's tile */
#define LK_TILE_K 16
#define LK_PATCH  4  /* rows and columns of a thread's part of it */
#define LK_NARROW 16 /* groups with fewer rows or columns than this go one thread a result */

template <class P> LK_DEVICE int lk_product_from(const P &p, int part)
{
    return (int)((int64_t)p.k * part / p.parts);
}

template <class P> __global__ void __launch_bounds__(LK_THREADS, 2) lk_product_tiles(P p)
{
    LK_SHARED(float, sa, [LK_TILE_K][LK_TILE + 1]);
    LK_SHARED(float, sb, [LK_TILE_K][LK_TILE + 1]);
    const int n_cols = (p.n + LK_TILE - 1) / LK_TILE, n_rows = (p.m + LK_TILE - 1) / LK_TILE;
    const int block = (int)blockIdx.x, line = block / n_cols / n_rows, g = line / p.parts;
    const int col0 = block % n_cols * LK_TILE, row0 = block / n_cols % n_rows * LK_TILE;
    const int part = line % p.parts, to = lk_product_from(p, part + 1);
    const int tx = (int)threadIdx.x % 16, ty = (int)threadIdx.x / 16;
    float sum[LK_PATCH][LK_PATCH] = {};
    for (int k0 = lk_product_from(p, part); k0 < to; k0 += LK_TILE_K) {
        LK_UNROLL
        for (int i = 0; i < LK_TILE * LK_TILE_K / LK_THREADS; i++) {
            const int e = (int)threadIdx.x + i * LK_THREADS;
            const int ka = p.a_by_k ? e % LK_TILE_K : e / LK_TILE;
            const int ra = p.a_by_k ? e / LK_TILE_K : e % LK_TILE;
            const int kb = p.b_by_k ? e % LK_TILE_K : e / LK_TILE;
            const int cb = p.b_by_k ? e / LK_TILE_K : e % LK_TILE;
            sa[ka][ra] = k0 + ka < to && row0 + ra < p.m ? p.a(g, row0 + ra, k0 + ka) : 0.0f;
            sb[kb][cb] = k0 + kb < to && col0 + cb < p.n ? p.b(g, k0 + kb, col0 + cb) : 0.0f;
        }
        __syncthreads();
        LK_UNROLL
        for (int k = 0; k < LK_TILE_K; k++) {
            float xa[LK_PATCH], xb[LK_PATCH];
            LK_UNROLL
            for (int i = 0; i < LK_PATCH; i++) {
                xa[i] = sa[k][ty * LK_PATCH + i];
                xb[i] = sb[k][tx + 16 * i];
            }
            LK_UNROLL
            for (int i = 0; i < LK_PATCH; i++) {
                LK_UNROLL
                for (int j = 0; j < LK_PATCH; j++)
                    sum[i][j] += xa[i] * xb[j];
            }
        }
        __syncthreads();
    }
    LK_UNROLL
    for (int i = 0; i < LK_PATCH; i++) {
        LK_UNROLL
        for (int j = 0; j < LK_PATCH; j++) {
            const int row = row0 + ty * LK_PATCH + i, col = col0 + tx + 16 * j;
            if (row < p.m && col < p.n)
                p.put(g, part, row, col, sum[i][j]);
        }
    }
}

template <class P> __global__ void lk_product_direct(P p, int64_t n)
{
    const int64_t i = lk_thread_index();
    const unsigned at = (unsigned)i, inner = (unsigned)(p.group_first ? p.groups : p.n);
    const unsigned outer = (unsigned)(p.group_first ? p.n : p.groups);
    const int fast = (int)(at % inner), slow = (int)(at / inner % outer);
    const int line = (int)(at / inner / outer), row = line % p.m, part = line / p.m;
    const int g = p.group_first ? fast : slow, col = p.group_first ? slow : fast;
    float sum = 0;
    if (i >= n)
        return;
    for (int k = lk_product_from(p, part); k < lk_product_from(p, part + 1); k++)
        sum += p.a(g, row, k) * p.b(g, k, col);
    p.put(g, part, row, col, sum);
}

template <class P> static lk_status lk_product_launch(const P &p, lk_cuda_stream stream)
{
    const int64_t results = (int64_t)p.m * p.n * p.groups * p.parts;
    const int64_t tiles = (int64_t)((p.m + LK_TILE - 1) / LK_TILE) *
                          ((p.n + LK_TILE - 1) / LK_TILE) * p.groups * p.parts;
    if (results == 0)
        return LK_OK;
    if (results >= (int64_t)1 << 31)
        return LK_FAIL(LK_E_UNSUPPORTED, "a product of 2^31 or more results; split it");
    if (p.groups > 1 && (p.n < LK_NARROW || p.m < LK_NARROW))
        return LK_LAUNCH(lk_product_direct<P>, lk_blocks(results), LK_THREADS, stream, p, results);
    return LK_LAUNCH(lk_product_tiles<P>, (unsigned)tiles, LK_THREADS, stream, p);
}

#endif /* LK_CUDA_PRODUCT_H */
