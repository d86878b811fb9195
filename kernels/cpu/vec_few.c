/* vec_few.c - convolutions of few channels into many (the first layer of a network).
 *
 *   y[p, o] = bias[o] + sum_l sum_r x_l[p stride in_ch + r] w[o, l, r]
 *
 * where l are the lines of the map that the filter meets (its taps along the first two dimensions)
 * and r its taps and channels along a line, which lie side by side in memory.  That is a product of
 * matrices whose rows overlap.  Results come in runs of a line of the map: the lines that a run
 * meets are copied among zeros, and its sums over all of them stay in registers, a lane an o.
 *
 * Where products of bf16 are added in pairs, the numbers x_l[q] become words: two lines together,
 * (x_l[q], x_l+1[q]), and of a last odd one its neighbours, (x_l[q], x_l[q + 1]), of which every
 * second is taken, and (x_l[q], 0) where the number of r is odd.
 */
#include "kernels/cpu/vec_tile.h"

#include "kernels/cpu/vec_table.h"
#include "kernels/ops/ops_impl.h"
#include "kernels/thread.h"

int LK_VEC(lk_vec_few_suits)(const lk_call *c);
size_t LK_VEC(lk_vec_few_work_bytes)(const lk_call *c);
void LK_VEC(lk_vec_few)(const lk_call *c);

#define MOST_IN    4
#define LEAST_OUT  16
#define COLS       64                       /* lanes of a panel at most */
#define TALL       (LK_TALL / 2)            /* rows of a tile with all its columns */
#define HELD       (LK_LANES == 16 ? 8 : 0) /* words of a filter that stays in registers at most, */
#define HELD_COLS  32                       /* with so many lanes */
#define RUN        192                      /* results of a run */
#define SPARE      LK_VEC_RUN               /* numbers behind a line, which vectors may run over */
#define MOST_LINE  8192                     /* numbers of a line that a run meets */
#define MOST_LINES 64
#define PAST       ((size_t)8 << 20) /* bytes */
#define PAST_WORDS 32                /* of a sum, which then takes longer than the way to memory */

/* Words that follow each other in the filter, `step` apart in the lines. */
typedef struct words {
    int64_t line, other; /* the lines they are of; other < 0: none */
    int64_t at, n, step; /* the first one in the worker's space */
    int64_t w;           /* of the filter */
} words;

typedef struct few {
    const lk_call *c;
    lk_conv_sizes s;
    int dot, past;
    int64_t n_lines, n_r;  /* of the filter; numbers along a line */
    int64_t row, pitch;    /* numbers from result to result; of a line's space */
    int64_t runs, n_units; /* of a line of results; of all */
    int64_t n_words;       /* of the filter */
    int64_t cols, size;    /* lanes of a panel; numbers of all, with the bias */
    int64_t worker;        /* numbers of a worker's space */
    float *filter, *bias, *space;
} few;

static few few_of(const lk_call *c)
{
    few q = {.c = c, .s = lk_conv_sizes_of(c)};
    const lk_conv_sizes *s = &q.s;
    const lk_tensor *y = &c->out[0];
    q.dot = LK_VEC_DOT && c->in[0].dtype == LK_BF16;
    q.n_lines = s->taps[0] * s->taps[1];
    q.n_r = s->taps[2] * s->in_ch;
    q.row = s->stride[2] * s->in_ch;
    q.pitch = (RUN - 1) * q.row + q.n_r + SPARE;
    q.runs = lk_ceil_div(s->out[2], RUN);
    q.n_units = s->n_batch * s->out[0] * s->out[1] * q.runs;
    q.n_words =
        q.dot ? q.n_lines / 2 * q.n_r + q.n_lines % 2 * lk_ceil_div(q.n_r, 2) : q.n_lines * q.n_r;
    q.cols = q.n_words <= HELD ? HELD_COLS : COLS;
    q.size = lk_ceil_div(s->out_ch, COLS) * COLS * (q.n_words + 1);
    q.worker = lk_ceil_div(2 * (q.n_lines + 1) * q.pitch, 16) * 16;
    q.past = LK_LANES == 16 && s->out_ch % LK_LANES == 0 && lk_tensor_bytes(y) >= PAST &&
             q.n_words >= PAST_WORDS && (uintptr_t)y->data % 64 == 0;
    return q;
}

int LK_VEC(lk_vec_few_suits)(const lk_call *c)
{
    const few q = few_of(c);
    return c->node->op == LK_OP_CONV && q.s.groups == 1 && q.s.in_ch <= MOST_IN &&
           q.s.out_ch >= LEAST_OUT && q.s.dilation[2] == 1 && q.n_lines <= MOST_LINES &&
           q.pitch <= MOST_LINE;
}

size_t LK_VEC(lk_vec_few_work_bytes)(const lk_call *c)
{
    const few q = few_of(c);
    return (size_t)(q.size + lk_threads() * q.worker) * sizeof(float);
}

/* The words of the filter in order; returns how many runs of them there are. */
static int64_t all_words(const few *q, words *to)
{
    int64_t n = 0, w = 0;
    for (int64_t l = 0; !q->dot && l < q->n_lines; l++, w += q->n_r)
        to[n++] = (words){l, -1, l * q->pitch, q->n_r, 1, w};
    for (int64_t l = 0; q->dot && l + 1 < q->n_lines; l += 2, w += q->n_r)
        to[n++] = (words){l, l + 1, l * q->pitch, q->n_r, 1, w};
    if (q->dot && q->n_lines % 2) {
        const int64_t l = q->n_lines - 1, half = q->n_r / 2;
        if (half)
            to[n++] = (words){l, l, l * q->pitch, half, 2, w};
        if (q->n_r % 2)
            to[n++] = (words){l, -1, (l + 1) * q->pitch + q->n_r - 1, 1, 1, w + half};
    }
    return n;
}

static int64_t width_of(const few *q, int64_t col)
{
    const int64_t left = q->s.out_ch - col;
    return left <= 16 ? 16 : left <= 32 ? 32 : q->cols;
}

/* The numbers of the filter that word i of a run of words has, of channel o. */
static float filter_word(const few *q, const words *k, int64_t i, int64_t o)
{
    const lk_tensor *t = &q->c->in[1];
    const int64_t all = o * q->n_lines * q->n_r;
    const int64_t r = k->step * i + (k->n == 1 && k->other < 0 && q->dot ? q->n_r - 1 : 0);
    const int64_t even = all + k->line * q->n_r + r;
    const int64_t odd = k->other == k->line ? even + 1 : all + k->other * q->n_r + r;
    float word;
    if (q->dot) {
        const lk_bf16 *w = t->data;
        const uint32_t high = k->other < 0 ? 0 : w[odd];
        word = lk_bits_float((int32_t)(w[even] | high << 16));
    } else if (t->dtype == LK_F32) {
        word = ((const float *)t->data)[even];
    } else {
        word = lk_bf16_to_f32(((const lk_bf16 *)t->data)[even]);
    }
    return word;
}

/* The filter as [panel, word, lane], zeros in the lanes of no channel, and the bias. */
static void pack_filter(const few *q)
{
    words all[MOST_LINES + 2];
    const int64_t n = all_words(q, all);
    memset(q->filter, 0, (size_t)q->size * sizeof *q->filter);
    for (int64_t o = 0; o < q->s.out_ch; o++) {
        const int64_t col = o / q->cols * q->cols, width = width_of(q, col);
        float *panel = q->filter + col * q->n_words + o - col;
        for (int64_t j = 0; j < n; j++)
            for (int64_t i = 0; i < all[j].n; i++)
                panel[(all[j].w + i) * width] = filter_word(q, &all[j], i, o);
        if (lk_has(q->c, 2))
            q->bias[o] = ((const float *)q->c->in[2].data)[o];
    }
}

/* ---- a run's lines ---- */

typedef struct run {
    int64_t to, n; /* index of the first result's row; results */
    int64_t n_words;
    int whole; /* all words of the filter are met */
    words words[MOST_LINES + 2];
    const float *space;
} run;

/* Line l of x for results from `first` on, or -1; l is one of the filter's. */
static int64_t line_of(const few *q, int64_t b, int64_t o0, int64_t o1, int64_t l)
{
    const lk_conv_sizes *s = &q->s;
    const int64_t p0 = o0 * s->stride[0] - s->lo[0] + l / s->taps[1] * s->dilation[0];
    const int64_t p1 = o1 * s->stride[1] - s->lo[1] + l % s->taps[1] * s->dilation[1];
    return p0 < 0 || p0 >= s->in[0] || p1 < 0 || p1 >= s->in[1]
               ? -1
               : (b * s->in[0] + p0) * s->in[1] + p1;
}

/* n positions of a line of x from `first` on, zeros where nothing is and behind them. */
static void copy_line(const few *q, int64_t line, int64_t first, int64_t n, float *to)
{
    const lk_tensor *x = &q->c->in[0];
    const int64_t ch = q->s.in_ch, size = line < 0 ? 0 : q->s.in[2];
    const int64_t before = lk_least(first < 0 ? -first : 0, n), left = lk_least(size - first, n);
    const int64_t there = left > before ? left - before : 0;
    const int64_t from = (line * size + first + before) * ch, after = n - before - there;
    if (q->dot) {
        lk_bf16 *half = (lk_bf16 *)to;
        memset(half, 0, (size_t)(before * ch) * sizeof *half);
        memcpy(half + before * ch, (const lk_bf16 *)x->data + from,
               (size_t)(there * ch) * sizeof *half);
        memset(half + (before + there) * ch, 0, (size_t)(after * ch + 64) * sizeof *half);
    } else {
        memset(to, 0, (size_t)(before * ch) * sizeof *to);
        if (there)
            lk_load(x->dtype, x->data, from, there * ch, to + before * ch);
        memset(to + (before + there) * ch, 0, (size_t)(after * ch) * sizeof *to);
    }
}

/* The lines that run u meets, as words, and those words of the filter that any of them has. */
static void take_run(const few *q, int64_t u, float *space, run *r)
{
    static const lk_bf16 none[MOST_LINE] = {0};
    const lk_conv_sizes *s = &q->s;
    const int64_t line = u / q->runs, first = u % q->runs * RUN;
    const int64_t o1 = line % s->out[1], o0 = line / s->out[1] % s->out[0];
    const int64_t b = line / s->out[1] / s->out[0];
    int64_t n, all, met[MOST_LINES + 1];
    r->n = lk_least(RUN, s->out[2] - first);
    r->to = line * s->out[2] + first;
    r->space = space;
    r->n_words = 0;
    n = (r->n - 1) * s->stride[2] + s->taps[2];
    all = all_words(q, r->words);
    for (int64_t l = 0; l < q->n_lines; l++) {
        float *to = space + (q->dot ? q->n_lines + 1 : 0) * q->pitch + l * q->pitch;
        met[l] = line_of(q, b, o0, o1, l);
        copy_line(q, met[l], first * s->stride[2] - s->lo[2], n, to);
    }
    for (int64_t i = 0; i < all; i++) {
        const words k = r->words[i];
        const lk_bf16 *half = (const lk_bf16 *)(space + (q->n_lines + 1) * q->pitch);
        const lk_bf16 *even = half + 2 * k.line * q->pitch;
        const lk_bf16 *odd = k.other < 0         ? none
                             : k.other == k.line ? even + 1
                                                 : half + 2 * k.other * q->pitch;
        float *to = space + (k.other < 0 ? k.line + 1 : k.line) * q->pitch;
        if (met[k.line] < 0 && (k.other < 0 || met[k.other] < 0))
            continue;
        for (int64_t at = 0; q->dot && at < n * s->in_ch; at += 32)
            lk_tile_zip(even + at, odd + at, to + at);
        r->words[r->n_words++] = k;
    }
    r->whole = r->n_words == all;
}

/* ---- tiles ---- */

/* Sums [rows, cols] that are `pitch` apart become results. */
LK_INLINE void few_put(const int rows, const int cols, const lk_vf *s, const int pitch,
                       const int past, const lk_dtype dtype, void *y, int64_t at, int64_t step)
{
    (void)past;
    LK_UNROLL(12)
    for (int i = 0; i < rows; i++) {
#if LK_LANES == 16
        if (past && dtype == LK_F32) {
            LK_UNROLL(4)
            for (int c = 0; c < cols; c++)
                _mm512_stream_ps((float *)y + at + i * step + c * LK_LANES,
                                 (__m512)s[i * pitch + c]);
            continue;
        }
#endif
#if LK_VEC_DOT
        if (dtype == LK_BF16 && cols % 2 == 0) { /* two at a time take one instruction */
            LK_UNROLL(4)
            for (int c = 0; c < cols; c += 2) {
                const __m512bh both =
                    _mm512_cvtne2ps_pbh((__m512)s[i * pitch + c + 1], (__m512)s[i * pitch + c]);
                _mm512_storeu_si512((lk_bf16 *)y + at + i * step + c * LK_LANES, (__m512i)both);
            }
            continue;
        }
#endif
        LK_UNROLL(4)
        for (int c = 0; c < cols; c++)
            lk_lanes_put(dtype == LK_BF16, y, at + i * step + c * LK_LANES,
                         (lk_lanes)s[i * pitch + c]);
    }
}

/* Sums of some rows of a run and some columns of a panel, to y from `at` on. */
LK_INLINE void few_tile(const int width, const int dot, const int rows, const int cols,
                        const few *q, const run *r, int64_t row, const float *panel,
                        const float *bias, const int past, const lk_dtype dtype, void *y,
                        int64_t at, int64_t step)
{
    lk_vf s[LK_TALL][LK_MAX_COLS];
    LK_UNROLL(12)
    for (int i = 0; i < rows; i++)
        LK_UNROLL(4)
    for (int c = 0; c < cols; c++)
        s[i][c] = (lk_vf) * (const lk_lanes_in *)(bias + c * LK_LANES);
    for (int64_t k = 0; k < r->n_words; k++) {
        const words *w = &r->words[k];
        lk_tile_sums(width, dot, rows, cols, r->space + w->at + row * q->row, q->row, w->step,
                     panel + w->w * width, w->n, (lk_tile_ahead){0}, s);
    }
    few_put(rows, cols, &s[0][0], LK_MAX_COLS, past, dtype, y, at, step);
}

/* A run's results in the columns of a panel: `step` numbers from row to row. */
LK_INLINE void few_panel(const int width, const int dot, const few *q, const run *r,
                         const float *panel, const float *bias, const int past,
                         const lk_dtype dtype, void *y, int64_t at, int64_t step)
{
    const int cols = width / LK_LANES < LK_MAX_COLS ? width / LK_LANES : LK_MAX_COLS;
    for (int col = 0; col < width; col += cols * LK_LANES) {
        int64_t i = 0;
#define FEW_ROWS(rows)                                                                             \
    for (; i + (rows) <= r->n; i += (rows))                                                        \
    few_tile(width, dot, rows, cols, q, r, i, panel + col, bias + col, past, dtype, y,             \
             at + i * step + col, step)
        if (cols < LK_MAX_COLS && LK_TALL == 2 * TALL)
            FEW_ROWS(2 * TALL);
        FEW_ROWS(TALL);
        FEW_ROWS(2);
        FEW_ROWS(1);
#undef FEW_ROWS
    }
}

#if LK_LANES == 16
/* The same where a filter of W words in 32 columns stays in registers and the rows pass by it. */
LK_INLINE void held_panel(const int n_words, const int dot, const few *q, const run *r,
                          const float *panel, const float *bias, const int past,
                          const lk_dtype dtype, void *y, int64_t at, int64_t step)
{
    lk_vf f[8][2];
    const lk_word *x[8];
    int64_t n = 0;
    for (int64_t k = 0; k < r->n_words; k++)
        for (int64_t i = 0; i < r->words[k].n; i++)
            x[n++] = r->space + r->words[k].at + i * r->words[k].step;
    LK_UNROLL(8)
    for (int w = 0; w < n_words; w++)
        LK_UNROLL(2)
    for (int c = 0; c < 2; c++)
        f[w][c] = (lk_vf) * (const lk_lanes_in *)(panel + w * HELD_COLS + c * LK_LANES);
    for (int64_t i = 0; i < r->n; i++) {
        lk_vf s[1][2];
        LK_UNROLL(2)
        for (int c = 0; c < 2; c++)
            s[0][c] = (lk_vf) * (const lk_lanes_in *)(bias + c * LK_LANES);
        LK_UNROLL(8)
        for (int w = 0; w < n_words; w++) {
            const lk_vf number = x[w][i * q->row] - (lk_vf){0};
            LK_UNROLL(2)
            for (int c = 0; c < 2; c++)
                s[0][c] = lk_multiply_add(dot, s[0][c], f[w][c], number);
        }
        few_put(1, 2, (const lk_vf *)s, 2, past, dtype, y, at + i * step, step);
    }
}
#endif

typedef void few_fn(const few *q, const run *r, const float *panel, const float *bias, int past,
                    lk_dtype dtype, void *y, int64_t at, int64_t step);
#define FEW(name, size, dot)                                                                       \
    static void name##_##size##_##dot(const few *q, const run *r, const float *panel,              \
                                      const float *bias, int past, lk_dtype dtype, void *y,        \
                                      int64_t at, int64_t step)                                    \
    {                                                                                              \
        if (dtype == LK_BF16)                                                                      \
            name##_panel(size, dot, q, r, panel, bias, 0, LK_BF16, y, at, step);                   \
        else if (past)                                                                             \
            name##_panel(size, dot, q, r, panel, bias, 1, LK_F32, y, at, step);                    \
        else                                                                                       \
            name##_panel(size, dot, q, r, panel, bias, 0, LK_F32, y, at, step);                    \
    }
FEW(few, 16, 0)
FEW(few, 32, 0)
FEW(few, 64, 0)
#if LK_VEC_DOT
FEW(few, 16, 1)
FEW(few, 32, 1)
FEW(few, 64, 1)
#else
#define few_16_1 NULL
#define few_32_1 NULL
#define few_64_1 NULL
#endif
static few_fn *const few_of_width[3][2] = {
    {few_16_0, few_16_1}, {few_32_0, few_32_1}, {few_64_0, few_64_1}}; /* [width / 32][dot] */

#define HELD_ALL(dot)                                                                              \
    FEW(held, 1, dot)                                                                              \
    FEW(held, 2, dot)                                                                              \
    FEW(held, 3, dot)                                                                              \
    FEW(held, 4, dot)                                                                              \
    FEW(held, 5, dot)                                                                              \
    FEW(held, 6, dot)                                                                              \
    FEW(held, 7, dot)                                                                              \
    FEW(held, 8, dot)
#if LK_LANES == 16
HELD_ALL(0)
#if LK_VEC_DOT
HELD_ALL(1)
#endif
#endif

/* How a panel of so many lanes is done. */
static few_fn *fn_of(const few *q, const run *r, int64_t width)
{
#if LK_LANES == 16
    static few_fn *const held[][HELD] = {
        {held_1_0, held_2_0, held_3_0, held_4_0, held_5_0, held_6_0, held_7_0, held_8_0},
#if LK_VEC_DOT
        {held_1_1, held_2_1, held_3_1, held_4_1, held_5_1, held_6_1, held_7_1, held_8_1}
#endif
    };
    if (q->cols == HELD_COLS && width == HELD_COLS && r->whole && q->n_words)
        return held[q->dot][q->n_words - 1];
#endif
    (void)r;
    return few_of_width[width / 32][q->dot];
}

static void do_run(const few *q, int64_t u, float *space)
{
    const lk_tensor *y = &q->c->out[0];
    const int64_t n_out = q->s.out_ch;
    run r;
    take_run(q, u, space, &r);
    for (int64_t col = 0; col < n_out; col += q->cols) {
        const int64_t width = width_of(q, col), n = lk_least(width, n_out - col);
        const float *panel = q->filter + col * q->n_words;
        few_fn *fn = fn_of(q, &r, width);
        _Alignas(64) float aside[RUN * COLS];
        if (n == width) {
            fn(q, &r, panel, q->bias + col, q->past, y->dtype, y->data, r.to * n_out + col, n_out);
            continue;
        }
        fn(q, &r, panel, q->bias + col, 0, LK_F32, aside, 0, width);
        for (int64_t i = 0; i < r.n; i++)
            lk_store(y->dtype, y->data, (r.to + i) * n_out + col, n, aside + i * width);
    }
}

/* Workers take turns, since runs at the border meet fewer lines. */
static void run_workers(void *context, int64_t first, int64_t end)
{
    const few *q = context;
    for (int64_t worker = first; worker < end; worker++)
        for (int64_t u = worker; u < q->n_units; u += lk_threads())
            do_run(q, u, q->space + worker * q->worker);
#if LK_LANES == 16
    _mm_sfence(); /* what went past the caches is there for other threads */
#endif
}

void LK_VEC(lk_vec_few)(const lk_call *c)
{
    few q = few_of(c);
    q.filter = c->work;
    q.bias = q.filter + q.size / (q.n_words + 1) * q.n_words;
    q.space = q.filter + q.size;
    pack_filter(&q);
    lk_parallel_for(lk_threads(), 1, run_workers, &q);
}
