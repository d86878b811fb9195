/* vec_filter.c - gradients of filters (CONV_DW, one group) as products over positions.
 *
 *   dw[o, k, i] = sum over positions p of dy[p, o] x[p stride - lo + k dilation, i]
 *
 * For one tap this is a product of matrices whose inner dimension is the positions.  They come in
 * chunks: some rows of one plane.  dy's rows are packed as [row, word, O], x's as [row, word, I],
 * with zeros for what lies outside; a word is one number, or two of bf16 where their products are
 * added in pairs.  A tap then only says where in x's rows to begin:
 *
 *   along a row   number e of word w is at (w per + e) stride + v - lo, one copy of the row for
 * each v = k dilation mod (per stride) that a tap has; the tap begins at word k dilation / (per
 * stride) across rows   row q of phase r is at q stride + r - lo; the tap has r = k dilation mod
 * stride and begins at row k dilation / stride planes        one copy a tap; outside the map it is
 * skipped
 *
 * Chunks are added in order, so who computes which tap changes no sum.
 */
#include "kernels/cpu/vec_tile.h"

#include "kernels/cpu/vec_table.h"
#include "kernels/ops/ops_impl.h"
#include "kernels/thread.h"

int LK_VEC(lk_vec_filter_suits)(const lk_call *c);
size_t LK_VEC(lk_vec_filter_work_bytes)(const lk_call *c);
void LK_VEC(lk_vec_filter)(const lk_call *c);

#define COLS        64
#define CHUNK_WORDS 2048
#define LEAST_CH    16 /* channels that make the packing worth while */
#define MOST_WORDS  (1 << 22)

typedef struct filter {
    const lk_call *c;
    lk_conv_sizes s;
    int dot;
    int64_t per;                /* numbers a word */
    int64_t run, words, runs;   /* positions and words of a chunk's rows; runs of a row */
    int64_t lines, line_groups; /* rows of a chunk; chunks of a plane */
    int64_t versions, phases;   /* copies of a row; of rows */
    int64_t x_words, x_lines;   /* words of a packed row of x; rows of a phase */
    int64_t panels, in_pad;     /* of x's channels */
    float *dy, *x;              /* packed */
    /* the chunk in hand */
    int64_t b, plane, line0, n_lines, pos0;
} filter;

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t width_of(int64_t left)
{
    return left <= 16 ? 16 : left <= 32 ? 32 : COLS;
}

static int64_t reach(const filter *f, int d)
{
    return f->s.dilation[d] * (f->s.taps[d] - 1);
}

/* Numbers of dy's packed rows, in whole vectors. */
static int64_t dy_size(const filter *f)
{
    return ceil_div(f->lines * f->words * f->s.out_ch, 16) * 16;
}

static filter filter_of(const lk_call *c)
{
    filter f = {.c = c, .s = lk_conv_sizes_of(c)};
    const lk_conv_sizes *s = &f.s;
    f.dot = LK_VEC_DOT && c->in[0].dtype == LK_BF16;
    f.per = f.dot ? 2 : 1;
    f.run = least(s->out[2], CHUNK_WORDS * f.per);
    f.runs = ceil_div(s->out[2], f.run ? f.run : 1);
    f.words = ceil_div(f.run, f.per);
    f.lines = least(s->out[1], f.words ? ceil_div(CHUNK_WORDS, f.words) : 1);
    f.line_groups = ceil_div(s->out[1], f.lines ? f.lines : 1);
    f.versions = least(f.per * s->stride[2], reach(&f, 2) + 1);
    f.phases = least(s->stride[1], reach(&f, 1) + 1);
    f.x_words = f.words + reach(&f, 2) / (f.per * s->stride[2]);
    f.x_lines = f.lines + reach(&f, 1) / s->stride[1];
    f.panels = ceil_div(s->in_ch, COLS);
    f.in_pad = (f.panels - 1) * COLS + width_of(s->in_ch - (f.panels - 1) * COLS);
    f.dy = c->work;
    f.x = f.dy ? f.dy + dy_size(&f) : NULL;
    return f;
}

/* Numbers of x's packed rows: [taps 0, phases, x_lines, versions, x_words, in_pad], a panel of
 * channels outermost in each copy of a row. */
static int64_t x_size(const filter *f)
{
    return f->s.taps[0] * f->phases * f->x_lines * f->versions * f->x_words * f->in_pad;
}

int LK_VEC(lk_vec_filter_suits)(const lk_call *c)
{
    const filter f = filter_of(c);
    return c->node->op == LK_OP_CONV_DW && f.s.groups == 1 && f.s.in_ch >= LEAST_CH &&
           f.s.out_ch >= LEAST_CH && x_size(&f) <= MOST_WORDS;
}

size_t LK_VEC(lk_vec_filter_work_bytes)(const lk_call *c)
{
    const filter f = filter_of(c);
    return (size_t)(dy_size(&f) + x_size(&f)) * sizeof(float);
}

/* ---- packing ---- */

/* n words from rows of n numbers at element `even` and `odd` (-1: zeros). */
LK_INLINE void pack_n(const filter *f, const lk_tensor *t, int64_t even, int64_t odd,
                      const int64_t n, float *to)
{
    if (f->dot) {
        static const lk_bf16 none[COLS] = {0};
        const lk_bf16 *e = even < 0 ? none : (const lk_bf16 *)t->data + even;
        const lk_bf16 *o = odd < 0 ? none : (const lk_bf16 *)t->data + odd;
        uint32_t pair[COLS];
        for (int64_t i = 0; i < n; i++)
            pair[i] = (uint32_t)e[i] | (uint32_t)o[i] << 16;
        memcpy(to, pair, (size_t)n * sizeof *to);
    } else if (even < 0) {
        memset(to, 0, (size_t)n * sizeof *to);
    } else {
        lk_load(t->dtype, t->data, even, n, to);
    }
}

static void pack_word(const filter *f, const lk_tensor *t, int64_t even, int64_t odd, int64_t n,
                      float *to)
{
    if (n == COLS)
        pack_n(f, t, even, odd, COLS, to);
    else if (n == 32)
        pack_n(f, t, even, odd, 32, to);
    else
        pack_n(f, t, even, odd, n, to);
}

static void pack_dy(const filter *f, int64_t line)
{
    const lk_conv_sizes *s = &f->s;
    const int64_t row = ((f->b * s->out[0] + f->plane) * s->out[1] + f->line0 + line) * s->out[2];
    const int64_t end = least(f->pos0 + f->run, s->out[2]);
    for (int64_t w = 0; w < f->words; w++)
        for (int64_t ch = 0; ch < s->out_ch; ch += COLS) {
            const int64_t p = f->pos0 + w * f->per;
            const int64_t even = p < end ? (row + p) * s->out_ch + ch : -1;
            const int64_t odd = p + 1 < end ? (row + p + 1) * s->out_ch + ch : -1;
            pack_word(f, &f->c->in[1], even, odd, least(COLS, s->out_ch - ch),
                      f->dy + (line * f->words + w) * s->out_ch + ch);
        }
}

static float *x_row(const filter *f, int64_t tap0, int64_t phase, int64_t line, int64_t version)
{
    const int64_t row = ((tap0 * f->phases + phase) * f->x_lines + line) * f->versions + version;
    return f->x + row * f->x_words * f->in_pad;
}

/* Row q of a phase, in every version. */
static void pack_x(const filter *f, int64_t tap0, int64_t phase, int64_t q)
{
    const lk_conv_sizes *s = &f->s;
    const int64_t plane = f->plane * s->stride[0] - s->lo[0] + tap0 * s->dilation[0];
    const int64_t line = (f->line0 + q) * s->stride[1] + phase - s->lo[1];
    const int64_t row = ((f->b * s->in[0] + plane) * s->in[1] + line) * s->in[2];
    const int there = line >= 0 && line < s->in[1];
    if (plane < 0 || plane >= s->in[0])
        return; /* see tap_range */
    for (int64_t v = 0; v < f->versions; v++)
        for (int64_t p = 0; p < f->panels; p++) {
            const int64_t ch = p * COLS, width = width_of(s->in_ch - ch);
            const int64_t n = least(width, s->in_ch - ch);
            float *to = x_row(f, tap0, phase, q, v) + ch * f->x_words;
            if (n < width)
                memset(to, 0, (size_t)(f->x_words * width) * sizeof *to);
            for (int64_t w = 0; w < f->x_words; w++) {
                const int64_t e = (f->pos0 + w * f->per) * s->stride[2] + v - s->lo[2];
                const int64_t o = e + s->stride[2];
                const int has_e = there && e >= 0 && e < s->in[2];
                const int has_o = there && o >= 0 && o < s->in[2];
                pack_word(f, &f->c->in[0], has_e ? (row + e) * s->in_ch + ch : -1,
                          has_o ? (row + o) * s->in_ch + ch : -1, n, to + w * width);
            }
        }
}

static int64_t x_rows(const filter *f)
{
    return f->n_lines + reach(f, 1) / f->s.stride[1];
}

static void pack_range(void *context, int64_t first, int64_t end)
{
    const filter *f = context;
    const int64_t each = x_rows(f);
    for (int64_t u = first; u < end; u++)
        if (u < f->n_lines) {
            pack_dy(f, u);
        } else {
            const int64_t v = u - f->n_lines;
            pack_x(f, v / each / f->phases, v / each % f->phases, v % each);
        }
}

/* ---- one tap ---- */

/* Rows of words: [n_lines, n_words] from a on, with what lies between lines and words. */
typedef struct words {
    const lk_word *a, *b;
    int64_t n_lines, n_words, a_word, a_line, b_line;
} words;

LK_INLINE void tile(const int rows, const int cols, const int width, const int dot, const words *k,
                    int64_t row, int64_t col, float *y)
{
    lk_vf sum[LK_TALL][LK_MAX_COLS];
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++)
            sum[r][c] = (lk_vf){0};
    for (int64_t line = 0; line < k->n_lines; line++) {
        const lk_word *a = k->a + line * k->a_line + row, *b = k->b + line * k->b_line + col;
        for (int64_t w = 0; w < k->n_words; w++) {
            lk_vf x[LK_MAX_COLS];
            for (int c = 0; c < cols; c++)
                x[c] = *(const lk_vf *)(b + w * width + c * LK_LANES);
            for (int r = 0; r < rows; r++) { /* see lk_tile_block */
                const lk_vf number = a[w * k->a_word + r] - (lk_vf){0};
                for (int c = 0; c < cols; c++)
                    sum[r][c] = lk_multiply_add(dot, sum[r][c], x[c], number);
            }
        }
    }
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++)
            *(lk_vf *)(y + (row + r) * width + col + c * LK_LANES) = sum[r][c];
}

/* y [n_rows, width] = the product over all words. */
LK_INLINE void tiles(const int width, const int dot, const words *k, int64_t n_rows, float *y)
{
    const int cols = width / LK_LANES < LK_MAX_COLS ? width / LK_LANES : LK_MAX_COLS;
    for (int col = 0; col < width; col += cols * LK_LANES) {
        int64_t r = 0;
#define ROWS_OF(n)                                                                                 \
    for (; r + n <= n_rows; r += n)                                                                \
    tile(n, cols, width, dot, k, r, col, y)
        if (cols < LK_MAX_COLS && LK_TALL == 12)
            ROWS_OF(8);
        ROWS_OF(6);
        ROWS_OF(4);
        ROWS_OF(2);
        ROWS_OF(1);
#undef ROWS_OF
    }
}

#define TILES(width, dot)                                                                          \
    static void tiles_##width##_##dot(const words *k, int64_t n_rows, float *y)                    \
    {                                                                                              \
        tiles(width, dot, k, n_rows, y);                                                           \
    }
typedef void tiles_fn(const words *k, int64_t n_rows, float *y);
TILES(16, 0)
TILES(32, 0)
TILES(64, 0)
#if LK_VEC_DOT
TILES(16, 1)
TILES(32, 1)
TILES(64, 1)
static tiles_fn *const tiles_of[3][2] = {
    {tiles_16_0, tiles_16_1}, {tiles_32_0, tiles_32_1}, {tiles_64_0, tiles_64_1}};
#else
static tiles_fn *const tiles_of[3][1] = {{tiles_16_0}, {tiles_32_0}, {tiles_64_0}};
#endif

#define BLOCK 16 /* output channels a unit takes */

/* What this chunk adds to one tap of some output channels. */
static void add_tap(const filter *f, int64_t tap, int64_t o0, int64_t n)
{
    const lk_conv_sizes *s = &f->s;
    const int64_t k2 = tap % s->taps[2], k1 = tap / s->taps[2] % s->taps[1];
    const int64_t k0 = tap / s->taps[2] / s->taps[1];
    const int64_t plane = f->plane * s->stride[0] - s->lo[0] + k0 * s->dilation[0];
    const int64_t across = k1 * s->dilation[1], along = k2 * s->dilation[2];
    const int64_t row = f->versions * f->x_words * f->in_pad;
    const float *x =
        x_row(f, k0, across % s->stride[1], across / s->stride[1], along % (f->per * s->stride[2]));
    _Alignas(64) float y[BLOCK * COLS];
    if (plane < 0 || plane >= s->in[0])
        return;
    for (int64_t ch = 0; ch < s->in_ch; ch += COLS) {
        const int64_t width = width_of(s->in_ch - ch), m = least(width, s->in_ch - ch);
        const words k = {.a = f->dy + o0,
                         .b = x + ch * f->x_words + along / (f->per * s->stride[2]) * width,
                         .n_lines = f->n_lines,
                         .n_words = f->words,
                         .a_word = s->out_ch,
                         .a_line = f->words * s->out_ch,
                         .b_line = row};
        tiles_of[width / 32][f->dot](&k, n, y);
        for (int64_t r = 0; r < n; r++) {
            const int64_t n_taps = s->taps[0] * s->taps[1] * s->taps[2];
            float *to = (float *)f->c->out[0].data + ((o0 + r) * n_taps + tap) * s->in_ch + ch;
            for (int64_t i = 0; i < m; i++)
                to[i] += y[r * width + i];
        }
    }
}

static void tap_range(void *context, int64_t first, int64_t end)
{
    const filter *f = context;
    const int64_t blocks = ceil_div(f->s.out_ch, BLOCK);
    for (int64_t u = first; u < end; u++) {
        const int64_t o0 = u % blocks * BLOCK;
        add_tap(f, u / blocks, o0, least(BLOCK, f->s.out_ch - o0));
    }
}

void LK_VEC(lk_vec_filter)(const lk_call *c)
{
    filter f = filter_of(c);
    const int64_t n_taps = f.s.taps[0] * f.s.taps[1] * f.s.taps[2];
    const int64_t chunks = f.s.n_batch * f.s.out[0] * f.line_groups * f.runs;
    memset(c->out[0].data, 0, lk_tensor_bytes(&c->out[0]));
    for (int64_t i = 0; i < chunks; i++) {
        f.pos0 = i % f.runs * f.run;
        f.line0 = i / f.runs % f.line_groups * f.lines;
        f.plane = i / f.runs / f.line_groups % f.s.out[0];
        f.b = i / f.runs / f.line_groups / f.s.out[0];
        f.n_lines = least(f.lines, f.s.out[1] - f.line0);
        lk_parallel_for(f.n_lines + f.s.taps[0] * f.phases * x_rows(&f), 1, pack_range, &f);
        lk_parallel_for(n_taps * ceil_div(f.s.out_ch, BLOCK), 1, tap_range, &f);
    }
}
