/* vec_product.h - the tiles of vec_product.c: rows of a times a panel of b, in registers.
 *
 *   y[r, i] = sum over words k of a[r, k] b[k, i]  + what is there before + bias[i]
 *
 * i < width, the lanes, 16, 32 or 64 of them; rows go in strips of LK_PRODUCT_ROWS, each of which
 * asks for one of the lines that are packed next.
 */
#ifndef LK_CPU_VEC_PRODUCT_H
#define LK_CPU_VEC_PRODUCT_H

#include "kernels/cpu/vec_tile.h"

#if LK_LANES == 16
#include <immintrin.h>
#endif

#define LK_PRODUCT_ROWS 6
#define LK_PRODUCT_COLS 64

/* Rows of a as the tiles read them: the first, and words from one to the next and along one. */
typedef struct lk_product_rows {
    const lk_word *at;
    int64_t step, along;
} lk_product_rows;

/* Where results go and what is added to them: sums of the chunks before, which lie as they do, and
 * the bias; NULL for nothing. */
typedef struct lk_product_target {
    lk_dtype dtype;
    void *to;
    int64_t step; /* numbers from row to row */
    const float *before, *bias;
    int past; /* to memory past the caches */
} lk_product_target;

LK_INLINE void lk_product_finish(const int rows, const int cols, lk_vf s[LK_TALL][LK_MAX_COLS],
                                 const lk_product_target *t, int64_t at, int64_t col)
{
    if (t->before)
        LK_UNROLL(12)
    for (int r = 0; r < rows; r++)
        LK_UNROLL(4)
    for (int c = 0; c < cols; c++)
        s[r][c] += *(const lk_lanes_in *)(t->before + at + r * t->step + c * LK_LANES);
    if (t->bias)
        LK_UNROLL(12)
    for (int r = 0; r < rows; r++)
        LK_UNROLL(4)
    for (int c = 0; c < cols; c++)
        s[r][c] += *(const lk_lanes_in *)(t->bias + col + c * LK_LANES);
#if LK_LANES == 16
    if (t->past) {
        LK_UNROLL(12)
        for (int r = 0; r < rows; r++)
            LK_UNROLL(4)
        for (int c = 0; c < cols; c++)
            _mm512_stream_ps((float *)t->to + at + r * t->step + c * LK_LANES, (__m512)s[r][c]);
        return;
    }
#endif
    LK_UNROLL(12)
    for (int r = 0; r < rows; r++)
        LK_UNROLL(4)
    for (int c = 0; c < cols; c++)
        if (t->dtype == LK_F32)
            *(lk_lanes_in *)((float *)t->to + at + r * t->step + c * LK_LANES) = s[r][c];
        else
            lk_store(LK_BF16, t->to, at + r * t->step + c * LK_LANES, LK_LANES,
                     (const float *)&s[r][c]);
}

/* Asks for the lines that lk_product_finish writes; the sums take longer than memory. */
LK_INLINE void lk_product_ask(const int rows, const int cols, const lk_product_target *t,
                              int64_t at)
{
    const int64_t bytes = (int64_t)lk_dtype_bytes(t->dtype);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++)
            __builtin_prefetch((char *)t->to + (at + r * t->step + c * LK_LANES) * bytes, 1, 3);
}

LK_INLINE void lk_product_tile(const int width, const int dot, const int rows, const int cols,
                               const lk_product_rows *a, const lk_tile_lines *h, int64_t row,
                               const lk_word *b, int64_t n_k, const lk_product_target *t,
                               int64_t col)
{
    lk_vf s[LK_TALL][LK_MAX_COLS];
    if (!t->past)
        lk_product_ask(rows, cols, t, row * t->step + col);
    LK_UNROLL(12)
    for (int r = 0; r < rows; r++)
        LK_UNROLL(4)
    for (int c = 0; c < cols; c++)
        s[r][c] = (lk_vf){0};
    lk_tile_sums(width, dot, rows, cols, a->at + row * a->step, a->step, a->along, b + col, n_k,
                 lk_tile_line(dot ? 2 : 1, h, row / rows), s);
    lk_product_finish(rows, cols, s, t, row * t->step + col, col);
}

/* Rows of a times a panel of b. */
LK_INLINE void lk_product_times(const int width, const int dot, const lk_product_rows *a,
                                const lk_tile_lines *h, int64_t n_rows, const lk_word *b,
                                int64_t n_k, const lk_product_target *t)
{
    const int cols = width / LK_LANES < LK_MAX_COLS ? width / LK_LANES : LK_MAX_COLS;
    for (int col = 0; col < width; col += cols * LK_LANES) {
        int64_t r = 0;
#define LK_STRIPS(n)                                                                               \
    for (; r + n <= n_rows; r += n)                                                                \
    lk_product_tile(width, dot, n, cols, a, h, r, b, n_k, t, col)
        if (cols < LK_MAX_COLS && LK_TALL == 2 * LK_PRODUCT_ROWS)
            LK_STRIPS(2 * LK_PRODUCT_ROWS);
        LK_STRIPS(LK_PRODUCT_ROWS);
        LK_STRIPS(4);
        LK_STRIPS(2);
        LK_STRIPS(1);
#undef LK_STRIPS
    }
}

typedef void lk_product_fn(const lk_product_rows *a, const lk_tile_lines *h, int64_t n_rows,
                           const lk_word *b, int64_t n_k, const lk_product_target *t);
#define LK_PRODUCT_TIMES(width, dot)                                                               \
    static void lk_product_##width##_##dot(const lk_product_rows *a, const lk_tile_lines *h,       \
                                           int64_t n_rows, const lk_word *b, int64_t n_k,          \
                                           const lk_product_target *t)                             \
    {                                                                                              \
        lk_product_times(width, dot, a, h, n_rows, b, n_k, t);                                     \
    }
LK_PRODUCT_TIMES(16, 0)
LK_PRODUCT_TIMES(32, 0)
LK_PRODUCT_TIMES(64, 0)
#if LK_VEC_DOT
LK_PRODUCT_TIMES(16, 1)
LK_PRODUCT_TIMES(32, 1)
LK_PRODUCT_TIMES(64, 1)
#else
#define lk_product_16_1 NULL
#define lk_product_32_1 NULL
#define lk_product_64_1 NULL
#endif
static lk_product_fn *const lk_product_times_of[3][2] = {
    {lk_product_16_0, lk_product_16_1},
    {lk_product_32_0, lk_product_32_1},
    {lk_product_64_0, lk_product_64_1}}; /* width / 32 */

/* The first n of each row of `width` sums, which are fewer than a vector's lanes or several. */
static void lk_product_finish_few(const lk_product_target *t, int64_t n_rows, int64_t n,
                                  int64_t width, float *y)
{
    for (int64_t r = 0; r < n_rows; r++) {
        float *row = y + r * width;
        for (int64_t i = 0; t->before && i < n; i++)
            row[i] += t->before[r * t->step + i];
        for (int64_t i = 0; t->bias && i < n; i++)
            row[i] += t->bias[i];
        lk_store(t->dtype, t->to, r * t->step, n, row);
    }
}

#endif /* LK_CPU_VEC_PRODUCT_H */
