/* vec_filter.h - the tiles of vec_filter.c: products over rows of words that stay in registers.
 *
 *   y[t, r, i] = sum over words w of a_t[w, r] b_t[w, i]
 *
 * r < n_rows are numbers that are repeated over the lanes, i < width the lanes, t taps, of which
 * each only says where to begin.  Where lanes are x's channels the taps move b and share a;
 * `turned`, lanes are dy's channels and they move a.
 */
#ifndef LK_CPU_VEC_FILTER_H
#define LK_CPU_VEC_FILTER_H

#include "kernels/cpu/vec_tile.h"

#define LK_FILTER_COLS 64 /* lanes of a panel where there are many channels on both sides */
#define LK_FILTER_FEW  32 /* where one side has few */
#define LK_FILTER_ROWS (LK_LANES == 16 ? 9 : 6) /* taps times rows in registers, with few */
#define LK_FILTER_TAPS 9

/* Rows of words: [n_lines, n_words] from a and b on, with what lies between lines and words. */
typedef struct lk_filter_words {
    const lk_word *a[LK_FILTER_TAPS], *b[LK_FILTER_TAPS]; /* for each tap */
    lk_tile_ahead ahead; /* of the words of a line, with many channels on both sides */
    int64_t n_lines, n_words, a_word, a_line, b_word, b_line;
    int64_t b_odd; /* not 0: b's words are not made yet; numbers 2 w are so far from 2 w + 1 */
} lk_filter_words;

/* The two vectors of a word's lanes from rows of bf16 that are so many words apart. */
LK_INLINE void lk_filter_zip(const lk_word *b, int64_t odd, lk_vf x[LK_MAX_COLS])
{
#if LK_VEC_DOT
    lk_tile_pairs(b, b + odd, x);
#else
    (void)b;
    (void)odd;
    (void)x;
#endif
}

LK_INLINE void lk_filter_tile(const int taps, const int rows, const int cols, const int dot,
                              const int turned, const int zip, const lk_filter_words *k,
                              int64_t row, int64_t col, float *y, int64_t y_row)
{
    lk_vf sum[LK_TALL][LK_MAX_COLS];
    const int ask = taps == 1 && cols == LK_MAX_COLS && row == 0;
    LK_UNROLL(12)
    for (int r = 0; r < taps * rows; r++)
        LK_UNROLL(4)
    for (int c = 0; c < cols; c++)
        sum[r][c] = (lk_vf){0};
    for (int64_t line = 0; line < k->n_lines; line++) {
        const int64_t a = line * k->a_line + row, b = line * k->b_line + col;
        for (int64_t w = 0; w < k->n_words; w++) {
            lk_vf x[LK_MAX_COLS], number[LK_TALL];
            if (ask && k->ahead.at)
                __builtin_prefetch(k->ahead.at + w * k->ahead.step, 0, 2);
            LK_UNROLL(12)
            for (int t = 0; t < taps; t++) {
                if (t == 0 && zip)
                    lk_filter_zip(k->b[0] + b + w * k->b_word, k->b_odd, x);
                else if (t == 0 || !turned)
                    LK_UNROLL(4)
                for (int c = 0; c < cols; c++)
                    x[c] =
                        (lk_vf) * (const lk_lanes_in *)(k->b[t] + b + w * k->b_word + c * LK_LANES);
                LK_UNROLL(12)
                for (int r = 0; r < rows; r++) {
                    if (t == 0 || turned) /* see lk_tile_sums */
                        number[r] = k->a[t][a + w * k->a_word + r] - (lk_vf){0};
                    LK_UNROLL(4)
                    for (int c = 0; c < cols; c++)
                        sum[t * rows + r][c] =
                            lk_multiply_add(dot, sum[t * rows + r][c], x[c], number[r]);
                }
            }
        }
    }
    LK_UNROLL(12)
    for (int r = 0; r < taps * rows; r++)
        LK_UNROLL(4)
    for (int c = 0; c < cols; c++)
        *(lk_vf *)(y + (row + r) * y_row + col + c * LK_LANES) = sum[r][c];
}

/* y [n_rows, width] of the first tap. */
LK_INLINE void lk_filter_many(const int width, const int dot, const lk_filter_words *k,
                              int64_t n_rows, float *y)
{
    const int cols = width / LK_LANES < LK_MAX_COLS ? width / LK_LANES : LK_MAX_COLS;
    for (int col = 0; col < width; col += cols * LK_LANES) {
        int64_t r = 0;
#define LK_ROWS_OF(n)                                                                              \
    for (; r + n <= n_rows; r += n)                                                                \
    lk_filter_tile(1, n, cols, dot, 0, 0, k, r, col, y, width)
        if (cols < LK_MAX_COLS && LK_TALL == 12)
            LK_ROWS_OF(8);
        LK_ROWS_OF(6);
        LK_ROWS_OF(4);
        LK_ROWS_OF(2);
        LK_ROWS_OF(1);
#undef LK_ROWS_OF
    }
}

/* y [n_taps, n_rows, LK_FILTER_FEW], n_taps * n_rows <= LK_FILTER_ROWS and n_rows <= 4. */
LK_INLINE void lk_filter_few(const int dot, const int turned, const int zip,
                             const lk_filter_words *k, int64_t n_taps, int64_t n_rows, float *y)
{
    for (int col = 0; col < LK_FILTER_FEW; col += 2 * LK_LANES)
        switch (n_rows * 16 + n_taps) {
#define LK_FEW(r, t)                                                                               \
    case r * 16 + t:                                                                               \
        if (r * t <= LK_FILTER_ROWS)                                                               \
            lk_filter_tile(t, r, 2, dot, turned, zip, k, 0, col, y, LK_FILTER_FEW);                \
        break;
            LK_FEW(1, 1)
            LK_FEW(1, 2)
            LK_FEW(1, 3)
            LK_FEW(1, 4)
            LK_FEW(1, 5)
            LK_FEW(1, 6)
            LK_FEW(1, 7)
            LK_FEW(1, 8)
            LK_FEW(1, 9)
            LK_FEW(2, 1)
            LK_FEW(2, 2)
            LK_FEW(2, 3)
            LK_FEW(2, 4)
            LK_FEW(3, 1)
            LK_FEW(3, 2)
            LK_FEW(3, 3)
            LK_FEW(4, 1)
            LK_FEW(4, 2)
#undef LK_FEW
        }
}

typedef void lk_filter_many_fn(const lk_filter_words *k, int64_t n_rows, float *y);
typedef void lk_filter_few_fn(const lk_filter_words *k, int64_t n_taps, int64_t n_rows, float *y);

#define LK_FILTER_MANY(width, dot)                                                                 \
    static void lk_filter_many_##width##_##dot(const lk_filter_words *k, int64_t n_rows, float *y) \
    {                                                                                              \
        lk_filter_many(width, dot, k, n_rows, y);                                                  \
    }
#define LK_FILTER_FEW_(turned, dot)                                                                \
    static void lk_filter_few_##turned##_##dot(const lk_filter_words *k, int64_t n_taps,           \
                                               int64_t n_rows, float *y)                           \
    {                                                                                              \
        if (dot && turned && k->b_odd)                                                             \
            lk_filter_few(dot, turned, 1, k, n_taps, n_rows, y);                                   \
        else                                                                                       \
            lk_filter_few(dot, turned, 0, k, n_taps, n_rows, y);                                   \
    }
LK_FILTER_MANY(16, 0)
LK_FILTER_MANY(32, 0)
LK_FILTER_MANY(64, 0)
LK_FILTER_FEW_(0, 0)
LK_FILTER_FEW_(1, 0)
#if LK_VEC_DOT
LK_FILTER_MANY(16, 1)
LK_FILTER_MANY(32, 1)
LK_FILTER_MANY(64, 1)
LK_FILTER_FEW_(0, 1)
LK_FILTER_FEW_(1, 1)
#else
#define lk_filter_many_16_1 NULL
#define lk_filter_many_32_1 NULL
#define lk_filter_many_64_1 NULL
#define lk_filter_few_0_1   NULL
#define lk_filter_few_1_1   NULL
#endif

/* [width / 32][dot] and [turned][dot]. */
static lk_filter_many_fn *const lk_filter_many_of[3][2] = {
    {lk_filter_many_16_0, lk_filter_many_16_1},
    {lk_filter_many_32_0, lk_filter_many_32_1},
    {lk_filter_many_64_0, lk_filter_many_64_1}};
static lk_filter_few_fn *const lk_filter_few_of[2][2] = {{lk_filter_few_0_0, lk_filter_few_0_1},
                                                         {lk_filter_few_1_0, lk_filter_few_1_1}};

#endif /* LK_CPU_VEC_FILTER_H */
