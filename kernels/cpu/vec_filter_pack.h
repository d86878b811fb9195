/* vec_filter_pack.h - rows of a map become words for vec_filter.c. */
#ifndef LK_CPU_VEC_FILTER_PACK_H
#define LK_CPU_VEC_FILTER_PACK_H

#include "kernels/cpu/vec_filter.h"

/* A row of a map in memory and the numbers of it that make words: number e of word w is at position
 * first + (w per + e) step. */
typedef struct lk_filter_row {
    const lk_tensor *t;
    int64_t row, size, n_ch; /* index of its first position; how many there are, 0 for zeros */
    int64_t first, step;
} lk_filter_row;

/* n words from the numbers of one position, or of two. */
LK_INLINE void lk_filter_pack_word(const int dot, const lk_bf16 *even, const lk_bf16 *odd,
                                   const int64_t n, float *to)
{
    int64_t i = 0;
    for (; dot && i + 32 <= n; i += 32)
        lk_tile_zip(even + i, odd + i, to + i);
    for (; i < n; i++) {
        const uint32_t low = dot ? even[i] : 0, high = dot ? odd[i] : even[i];
        const uint32_t pair = low | high << 16;
        memcpy(to + i, &pair, sizeof pair);
    }
}

/* Words [first, end) of channels [ch, ch + n), n <= LK_FILTER_COLS, `pitch` apart; those `inside`
 * need no look at where the row ends. */
LK_INLINE void lk_filter_pack_words(const int dot, const lk_filter_row *m, int64_t ch,
                                    const int64_t n, const int inside, int64_t first, int64_t end,
                                    int64_t pitch, float *to)
{
    static const lk_bf16 none[LK_FILTER_COLS] = {0};
    const int64_t size = m->size, step = m->step, per = dot ? 2 : 1, n_ch = m->n_ch;
    const int64_t at = m->row * n_ch + ch;
    const int f32 = m->t->dtype == LK_F32;
    const void *data = m->t->data;
    for (int64_t w = first; w < end; w++) {
        const int64_t e = m->first + w * per * step, o = e + step;
        const int has_e = inside || (e >= 0 && e < size), has_o = inside || (o >= 0 && o < size);
        const int64_t from = at + e * n_ch;
        if (!f32)
            lk_filter_pack_word(dot, has_e ? (const lk_bf16 *)data + from : none,
                                has_o ? (const lk_bf16 *)data + from + step * n_ch : none, n,
                                to + w * pitch);
        else if (has_e)
            memcpy(to + w * pitch, (const float *)data + from, (size_t)n * sizeof *to);
        else
            memset(to + w * pitch, 0, (size_t)n * sizeof *to);
    }
}

/* Words [*first, *end) of a row lie inside it. */
static inline void lk_filter_inside(int64_t per, const lk_filter_row *m, int64_t n_words,
                                    int64_t *first, int64_t *end)
{
    const int64_t step = per * m->step, last = m->size - 1 - (per - 1) * m->step;
    const int64_t until = m->first <= last ? lk_least((last - m->first) / step + 1, n_words) : 0;
    *first = m->first < 0 ? lk_least(lk_ceil_div(-m->first, step), n_words) : 0;
    *end = until > *first ? until : *first;
}

/* Words [first, end) inside a row whose numbers lie side by side, all channels of few.  Words of
 * two are made a vector at a time as long as there are numbers for a whole one: number j of it is
 * from number order[j] of memory. */
static inline int64_t lk_filter_pack_pairs(const uint16_t *order, const lk_bf16 *from, int64_t n_ch,
                                           int64_t n_words, float *to)
{
    int64_t w = 0;
#if LK_VEC_DOT
    const __m512i lanes = _mm512_loadu_si512(order);
    for (; (n_words - w) * n_ch >= 16; w += 16 / n_ch)
        _mm512_storeu_si512(to + w * n_ch, _mm512_permutexvar_epi16(
                                               lanes, _mm512_loadu_si512(from + 2 * w * n_ch)));
#else
    (void)order;
    (void)from;
    (void)n_ch;
    (void)n_words;
    (void)to;
#endif
    return w;
}

/* See lk_filter_pack_pairs: 16 / n_ch words of n_ch channels. */
static inline void lk_filter_order(int64_t n_ch, uint16_t *order)
{
    for (int64_t j = 0; j < 32; j++) {
        const int64_t word = j / 2 / n_ch, ch = j / 2 % n_ch;
        order[j] = (uint16_t)((2 * word + j % 2) * n_ch + ch);
    }
}

LK_INLINE void lk_filter_pack_all(const int dot, const lk_filter_row *m, int64_t ch,
                                  const int64_t n, int64_t n_words, int64_t pitch, float *to)
{
    int64_t before, after;
    lk_filter_inside(dot ? 2 : 1, m, n_words, &before, &after);
    lk_filter_pack_words(dot, m, ch, n, 0, 0, before, pitch, to);
    lk_filter_pack_words(dot, m, ch, n, 1, before, after, pitch, to);
    lk_filter_pack_words(dot, m, ch, n, 0, after, n_words, pitch, to);
}

LK_INLINE void lk_filter_pack_channels(const int dot, const lk_filter_row *m, int64_t ch, int64_t n,
                                       int64_t n_words, int64_t pitch, float *to)
{
    if (n == LK_FILTER_COLS)
        lk_filter_pack_all(dot, m, ch, LK_FILTER_COLS, n_words, pitch, to);
    else if (n == LK_FILTER_FEW)
        lk_filter_pack_all(dot, m, ch, LK_FILTER_FEW, n_words, pitch, to);
    else if (n == 3 && pitch == 3)
        lk_filter_pack_all(dot, m, ch, 3, n_words, 3, to);
    else if (n == 1 && pitch == 1)
        lk_filter_pack_all(dot, m, ch, 1, n_words, 1, to);
    else
        lk_filter_pack_all(dot, m, ch, n, n_words, pitch, to);
}

/* All channels of a row, few of them, at consecutive positions. */
static inline void lk_filter_pack_few(const int dot, const uint16_t *order, const lk_filter_row *m,
                                      int64_t n_words, float *to)
{
    const int64_t n = m->n_ch, per = dot ? 2 : 1;
    int64_t first, end, at;
    lk_filter_inside(per, m, n_words, &first, &end);
    at = (m->row + m->first + first * per) * n;
    if (dot) {
        lk_filter_pack_words(LK_VEC_DOT, m, 0, n, 0, 0, first, n, to);
        first += lk_filter_pack_pairs(order, (const lk_bf16 *)m->t->data + at, n, end - first,
                                      to + first * n);
        lk_filter_pack_words(LK_VEC_DOT, m, 0, n, 1, first, end, n, to);
        lk_filter_pack_words(LK_VEC_DOT, m, 0, n, 0, end, n_words, n, to);
    } else {
        memset(to, 0, (size_t)(first * n) * sizeof *to);
        if (end > first)
            lk_load(m->t->dtype, m->t->data, at, (end - first) * n, to + first * n);
        memset(to + end * n, 0, (size_t)((n_words - end) * n) * sizeof *to);
    }
}

#endif /* LK_CPU_VEC_FILTER_PACK_H */
