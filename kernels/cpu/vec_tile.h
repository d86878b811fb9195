/* vec_tile.h - products of small tiles that stay in registers, for vec_attention*.c,
 * vec_product.c and vec_filter.c.
 *
 *   y[r, i] (+)= sum_k a[r, k] b[k, i]        i < width, the lanes; 16, 32 or 64 of them
 *
 * b and y are [.., width]; a is read one number at a time and repeated over the lanes, so it may
 * lie any way in memory: rows and steps along k have free strides.  With `dot`, elements of a and b
 * are words of two bf16, and each step adds two products (AVX512_BF16).
 */
#ifndef LK_CPU_VEC_TILE_H
#define LK_CPU_VEC_TILE_H

#include "kernels/cpu/vec_lanes.h"

#if LK_LANES == 16
#define LK_MAX_COLS 4 /* vectors side by side in a block */
#define LK_TALL     12
#else
#define LK_MAX_COLS 2
#define LK_TALL     6
#endif

#if defined(__AVX512BF16__)
#define LK_VEC_DOT 1
#include <immintrin.h>
#else
#define LK_VEC_DOT 0
#endif

typedef float lk_vf __attribute__((vector_size(4 * LK_LANES), may_alias));
typedef float lk_word __attribute__((may_alias)); /* an f32, or two bf16 */

typedef enum lk_tile_mode { LK_TILE_SET, LK_TILE_ADD, LK_TILE_SCALE_ADD } lk_tile_mode;

/* What is constant over a product; constants of the caller, so that loops unroll. */
typedef struct lk_tile {
    int width, dot;
    lk_tile_mode mode; /* SCALE_ADD: y = y factor + .. */
} lk_tile;

LK_INLINE lk_vf lk_multiply_add(const int dot, lk_vf sum, lk_vf a, lk_vf b)
{
#if LK_VEC_DOT
    if (dot)
        return (lk_vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#endif
    (void)dot;
    return sum + a * b;
}

/* What memory is asked for at each k: it takes few requests at a time. */
typedef struct lk_tile_ahead {
    const char *at; /* NULL for nothing */
    int64_t step;
} lk_tile_ahead;

#define LK_TILE_LINE 64 /* bytes memory gives at a time */

/* What is packed next: n lines of each row of two matrices, the distance of rows in bytes. */
typedef struct lk_tile_lines {
    const char *at[2];
    int64_t step[2], n[2];
} lk_tile_lines;

/* What tile i asks for where a word has `per` rows: one line of each word's row, or of one of its
 * rows; nothing when all lines have been. */
LK_INLINE lk_tile_ahead lk_tile_line(const int per, const lk_tile_lines *l, int64_t i)
{
    for (int m = 0; m < 2; m++) {
        if (i < per * l->n[m])
            return (lk_tile_ahead){l->at[m] + i % per * l->step[m] + i / per * LK_TILE_LINE,
                                   per * l->step[m]};
        i -= per * l->n[m];
    }
    return (lk_tile_ahead){NULL, 0};
}

/* s[r, c] += sum_k a[r, k] b[k, c], all in registers. */
LK_INLINE void lk_tile_sums(const int width, const int dot, const int rows, const int cols,
                            const lk_word *a, int64_t a_row, int64_t a_k, const lk_word *b,
                            int64_t n_k, const lk_tile_ahead ahead, lk_vf s[LK_TALL][LK_MAX_COLS])
{
    for (int64_t k = 0; k < n_k; k++) {
        lk_vf x[LK_MAX_COLS];
        if (ahead.at)
            __builtin_prefetch(ahead.at + k * ahead.step, 0, 2);
        for (int c = 0; c < cols; c++)
            x[c] = *(const lk_vf *)(b + k * width + c * LK_LANES);
        for (int r = 0; r < rows; r++) { /* - 0 folds into one load; + 0 would change -0 */
            const lk_vf w = a[r * a_row + k * a_k] - (lk_vf){0};
            for (int c = 0; c < cols; c++)
                s[r][c] = lk_multiply_add(dot, s[r][c], x[c], w);
        }
    }
}

LK_INLINE void lk_tile_block(const lk_tile t, const int rows, const int cols, const lk_word *a,
                             int64_t a_row, int64_t a_k, const lk_word *b, int64_t n_k, float *y,
                             const float *factor)
{
    lk_vf s[LK_TALL][LK_MAX_COLS];
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) {
            const lk_vf *old = (const lk_vf *)(y + r * t.width + c * LK_LANES);
            if (t.mode == LK_TILE_SET)
                s[r][c] = (lk_vf){0};
            else if (t.mode == LK_TILE_ADD)
                s[r][c] = *old;
            else
                s[r][c] = *old * *(const lk_vf *)(factor + c * LK_LANES);
        }
    lk_tile_sums(t.width, t.dot, rows, cols, a, a_row, a_k, b, n_k, (lk_tile_ahead){0}, s);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++)
            *(lk_vf *)(y + r * t.width + c * LK_LANES) = s[r][c];
}

LK_INLINE void lk_tile_product(const lk_tile t, const lk_word *a, int64_t a_row, int64_t a_k,
                               int64_t n_rows, const lk_word *b, int64_t n_k, float *y,
                               const float *factor)
{
    const int cols = t.width / LK_LANES < LK_MAX_COLS ? t.width / LK_LANES : LK_MAX_COLS;
    const int tall = cols < LK_MAX_COLS ? LK_TALL : 6;
    for (int col = 0; col < t.width; col += cols * LK_LANES) {
        const lk_word *at_b = b + col;
        const float *f = t.mode == LK_TILE_SCALE_ADD ? factor + col : factor;
        int64_t r = 0;
#define LK_BLOCKS(rows)                                                                            \
    for (; r + rows <= n_rows; r += rows)                                                          \
    lk_tile_block(t, rows, cols, a + r * a_row, a_row, a_k, at_b, n_k, y + r * t.width + col, f)
        if (tall == LK_TALL)
            LK_BLOCKS(LK_TALL);
        LK_BLOCKS(6);
        LK_BLOCKS(2);
        LK_BLOCKS(1);
#undef LK_BLOCKS
    }
}

/* Products as functions, one per width and kind of words: name[width / 32][dot].  `row` and `k` are
 * a's strides in terms of `step`. */
typedef void lk_tile_fn(const lk_word *a, int64_t step, int64_t n_rows, const lk_word *b,
                        int64_t n_k, float *y, const float *factor);
#define LK_TILE_FN(name, width, dot, mode, row, k)                                                 \
    static void name##_##width##_##dot(const lk_word *a, int64_t step, int64_t n_rows,             \
                                       const lk_word *b, int64_t n_k, float *y,                    \
                                       const float *factor)                                        \
    {                                                                                              \
        (void)step;                                                                                \
        lk_tile_product((lk_tile){width, dot, mode}, a, row, k, n_rows, b, n_k, y, factor);        \
    }
#if LK_VEC_DOT
#define LK_TILE_FNS(name, mode, row, k)                                                            \
    LK_TILE_FN(name, 16, 0, mode, row, k)                                                          \
    LK_TILE_FN(name, 32, 0, mode, row, k)                                                          \
    LK_TILE_FN(name, 64, 0, mode, row, k)                                                          \
    LK_TILE_FN(name, 16, 1, mode, row, k)                                                          \
    LK_TILE_FN(name, 32, 1, mode, row, k)                                                          \
    LK_TILE_FN(name, 64, 1, mode, row, k)                                                          \
    static lk_tile_fn *const name[3][2] = {                                                        \
        {name##_16_0, name##_16_1}, {name##_32_0, name##_32_1}, {name##_64_0, name##_64_1}};
#else
#define LK_TILE_FNS(name, mode, row, k)                                                            \
    LK_TILE_FN(name, 16, 0, mode, row, k)                                                          \
    LK_TILE_FN(name, 32, 0, mode, row, k)                                                          \
    LK_TILE_FN(name, 64, 0, mode, row, k)                                                          \
    static lk_tile_fn *const name[3][1] = {{name##_16_0}, {name##_32_0}, {name##_64_0}};
#endif

/* Columns of an [n_rows, n_words] matrix become rows of the lanes: to[x, i] = from[i, x], zeros in
 * lanes n_rows and up. */
LK_INLINE void lk_tile_turn(const int width, const lk_word *from, int64_t n_rows, int64_t n_words,
                            lk_word *to)
{
    if (n_rows == width) {
        for (int64_t x = 0; x < n_words; x++)
            for (int i = 0; i < width; i++)
                to[x * width + i] = from[i * n_words + x];
        return;
    }
    for (int64_t x = 0; x < n_words; x++)
        for (int i = 0; i < width; i++)
            to[x * width + i] = i < n_rows ? from[i * n_words + x] : 0;
}

/* 2^x for x <= 0 or a little above: relative error 1.5e-7, exactly 1 at 0, 0 below -126; a NaN
 * stays one. */
LK_INLINE float lk_exp2_down(float x)
{
    const float n = __builtin_rintf(x > -126.0f ? x : -126.0f), r = x - n;
    float p = 1.326472714e-3f;
    p = p * r + 9.671512663e-3f;
    p = p * r + 5.550733744e-2f;
    p = p * r + 2.402224209e-1f;
    p = p * r + 6.931469776e-1f;
    p = p * r + 1.0f;
    p = p * lk_bits_float((int32_t)((uint32_t)((int32_t)n + 127) << 23));
    return x < -126.0f ? 0.0f : p;
}

static inline int64_t lk_ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static inline int64_t lk_least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

#if LK_VEC_DOT
/* Rows of 32 bf16 as two vectors of 16 pairs. */
LK_INLINE void lk_tile_pairs(const void *even, const void *odd, lk_vf x[2])
{
    static const uint16_t order[32] = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,
                                       37, 6,  38, 7,  39, 8,  40, 9,  41, 10, 42,
                                       11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
    const __m512i low = _mm512_loadu_si512(order);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    const __m512i e = _mm512_loadu_si512(even), o = _mm512_loadu_si512(odd);
    x[0] = (lk_vf)_mm512_permutex2var_epi16(e, low, o);
    x[1] = (lk_vf)_mm512_permutex2var_epi16(e, high, o);
}
#endif

/* Rows of 32 bf16 into 32 pairs. */
LK_INLINE void lk_tile_zip(const lk_bf16 *even, const lk_bf16 *odd, lk_word *to)
{
#if LK_VEC_DOT
    lk_vf x[2];
    lk_tile_pairs(even, odd, x);
    memcpy(to, x, sizeof x);
#else
    (void)even;
    (void)odd;
    (void)to;
#endif
}

/* Two rows of f32 into one of bf16 pairs. */
LK_INLINE void lk_tile_pair(const int width, const float *even, const float *odd, lk_word *to)
{
#if LK_VEC_DOT
    static const uint16_t order[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                       21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                       11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __m512i interleave = _mm512_loadu_si512(order);
    for (int i = 0; i < width; i += 16) {
        const __m512bh both =
            _mm512_cvtne2ps_pbh(_mm512_loadu_ps(odd + i), _mm512_loadu_ps(even + i));
        _mm512_storeu_ps(to + i, (__m512)_mm512_permutexvar_epi16(interleave, (__m512i)both));
    }
#else
    (void)width;
    (void)even;
    (void)odd;
    (void)to;
#endif
}

#endif /* LK_CPU_VEC_TILE_H */
