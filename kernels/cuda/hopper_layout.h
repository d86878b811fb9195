/* hopper_layout.h - where sm_90's asynchronous products and copies keep numbers: pure functions,
 * for kernels, for the emulator and for tests.
 *
 * A tile of bf16 [rows, D] lies in shared memory as D / 64 panels [rows][64], each aligned to 1024
 * bytes, the 16-byte words of a row exchanged by the row's number (the 128-byte swizzle), so that
 * rows are read and columns are read without bank conflicts.  A product finds an operand by a
 * descriptor:
 *
 *     bits  0-13   address / 16           bits 32-45   stride offset / 16
 *     bits 16-29   leading offset / 16    bits 62-63   1: 128-byte swizzle
 *
 *     operand           its columns are numbers of a row       its columns are rows
 *     (k runs over)     ("K-major")                            ("MN-major")
 *     leading offset    not used                               from 64 numbers to the next 64
 *     stride offset     from 8 rows to the next 8              from 8 rows to the next 8
 *
 * A warpgroup's sums d[64][N] lie in thread 32 w + 4 g + t, register i, as four blocks of mma.h.
 *
 * Source       PTX ISA 9.0, "Asynchronous warpgroup level matrix": shared memory layout, matrix
 *              descriptor, register fragments of m64nNk16; "Tensor swizzling modes".
 */
#ifndef LK_CUDA_HOPPER_LAYOUT_H
#define LK_CUDA_HOPPER_LAYOUT_H

#include <stdint.h>

#ifdef __CUDACC__
#define LK_LAYOUT_FN static inline __host__ __device__
#else
#define LK_LAYOUT_FN static inline
#endif

enum { LK_PANEL = 64, LK_PANEL_ROW_BYTES = 128, LK_PANEL_ALIGN = 1024 };

/* Where the swizzle puts the byte at this address. */
LK_LAYOUT_FN uint32_t lk_swizzle(uint32_t address)
{
    return address ^ (address >> 7 & 7) << 4;
}

/* Offset of number (row, col) of a tile with so many rows. */
LK_LAYOUT_FN uint32_t lk_panel_at(uint32_t rows, uint32_t row, uint32_t col)
{
    return col / LK_PANEL * rows * LK_PANEL_ROW_BYTES +
           lk_swizzle(row * LK_PANEL_ROW_BYTES + col % LK_PANEL * 2);
}

LK_LAYOUT_FN uint64_t lk_descriptor(uint32_t address, uint32_t leading_bytes, uint32_t stride_bytes)
{
    return (uint64_t)(address >> 4 & 0x3fff) | (uint64_t)(leading_bytes >> 4 & 0x3fff) << 16 |
           (uint64_t)(stride_bytes >> 4 & 0x3fff) << 32 | (uint64_t)1 << 62;
}

/* Columns 16 step .. 16 step + 15 of rows from row `row` on, of a tile at `address`; row % 8 = 0.
 */
LK_LAYOUT_FN uint64_t lk_operand_of_rows(uint32_t address, uint32_t rows, uint32_t row,
                                         uint32_t step)
{
    const uint32_t panel = step / 4 * rows * LK_PANEL_ROW_BYTES;
    return lk_descriptor(address + panel + row * LK_PANEL_ROW_BYTES + step % 4 * 32, 16,
                         8 * LK_PANEL_ROW_BYTES);
}

/* Rows 16 step .. 16 step + 15, all columns, of a tile at `address`: k runs over the rows. */
LK_LAYOUT_FN uint64_t lk_operand_of_columns(uint32_t address, uint32_t rows, uint32_t step)
{
    return lk_descriptor(address + step * 16 * LK_PANEL_ROW_BYTES, rows * LK_PANEL_ROW_BYTES,
                         8 * LK_PANEL_ROW_BYTES);
}

/* Where a product looks for number (mn, k) of an operand, k in 0 .. 15. */
LK_LAYOUT_FN uint32_t lk_operand_at(uint64_t descriptor, int of_columns, uint32_t mn, uint32_t k)
{
    const uint32_t start = (uint32_t)(descriptor & 0x3fff) << 4;
    const uint32_t leading = (uint32_t)(descriptor >> 16 & 0x3fff) << 4;
    const uint32_t stride = (uint32_t)(descriptor >> 32 & 0x3fff) << 4;
    return of_columns ? lk_swizzle(start + mn / LK_PANEL * leading + k / 8 * stride +
                                   k % 8 * LK_PANEL_ROW_BYTES + mn % LK_PANEL * 2)
                      : lk_swizzle(start + mn / 8 * stride + mn % 8 * LK_PANEL_ROW_BYTES + k * 2);
}

/* Row and column of register i of a thread (0 .. 127 of its warpgroup). */
LK_LAYOUT_FN int lk_sum_row(int thread, int i)
{
    return thread / 32 * 16 + thread % 32 / 4 + i / 2 % 2 * 8;
}
LK_LAYOUT_FN int lk_sum_col(int thread, int i)
{
    return i / 4 * 8 + thread % 4 * 2 + i % 2;
}

/* ---- who sees whom: bit 2 i + e stands for column 8 i + 2 t + e of 128 ---- */

/* Of columns 0 .. end - 1. */
LK_LAYOUT_FN uint32_t lk_columns_below(int end, int t)
{
    const int within = end % 8 - 2 * t, n = end / 8 * 2 + (within < 0   ? 0
                                                           : within > 2 ? 2
                                                                        : within);
    return end <= 0 ? 0u : n >= 32 ? ~0u : (1u << n) - 1;
}

/* Of the run [first, end) of others, where column 0 is number j0. */
LK_LAYOUT_FN uint32_t lk_columns_seen(int first, int end, int j0, int t)
{
    const int lo = first - j0 < 0 ? 0 : first - j0 > 128 ? 128 : first - j0;
    const int hi = end - j0 < 0 ? 0 : end - j0 > 128 ? 128 : end - j0;
    return lk_columns_below(hi, t) & ~lk_columns_below(lo, t);
}

#endif /* LK_CUDA_HOPPER_LAYOUT_H */
