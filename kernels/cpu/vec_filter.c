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
 *                 each v = k dilation mod (per stride) that a tap has; the tap begins at word
 *                 k dilation / (per stride)
 *   across rows   row q of phase r is at q stride + r - lo; the tap has r = k dilation mod stride
 *                 and begins at row k dilation / stride
 *   planes        one copy a tap, kept for the next chunk where that needs it; outside the map it
 *                 is skipped
 *
 * The lanes are the channels of x.  `few`, one side has few channels: lanes are those of the other
 * (`turned`: of dy) and several taps make up a tile.
 *
 * Chunks go in fixed parts, each with a sum of its own, and the sums are added in order: who
 * computes which part, or which output channels of it, changes nothing.
 */
#include "kernels/cpu/vec_filter_pack.h"

#include "kernels/cpu/vec_table.h"
#include "kernels/ops/ops_impl.h"
#include "kernels/thread.h"

int LK_VEC(lk_vec_filter_suits)(const lk_call *c);
size_t LK_VEC(lk_vec_filter_work_bytes)(const lk_call *c);
void LK_VEC(lk_vec_filter)(const lk_call *c);

#define MANY        16        /* channels that fill a vector */
#define FEW         8         /* that would leave half of it empty */
#define BLOCK       16        /* output channels that are shared out together */
#define LEAST_WORDS 256       /* of a chunk, if there are as many */
#define CHUNK       (3 << 18) /* bytes of a chunk: what stays in the second cache */
#define LEAST_PARTS 8
#define FEW_PARTS   32 /* where planes of x are cheap to pack: shares of the work are even then */
#define MOST_ROWS   4  /* of a tile with few */
#define PARTS       16
#define PARTS_BYTES (2 << 20)
#define MOST_WORDS  (1 << 22)

typedef struct filter {
    const lk_call *c;
    lk_conv_sizes s;
    int dot, few, turned;
    int in_place; /* dy is read where it lies */
    int64_t per;  /* numbers a word */
    int64_t n_taps;
    int64_t run, words, runs;        /* positions and words of a chunk's rows; runs of a row */
    int64_t lines, line_groups;      /* rows of a chunk; chunks of a plane */
    int64_t versions, phases;        /* copies of a row; of rows */
    int64_t x_words, x_lines;        /* words of a packed row of x; rows of a phase */
    int64_t x_pad, dy_pad;           /* numbers of a word, with those that fill its last panel */
    int64_t n_chunks, n_parts, part; /* numbers of a part's sum */
    int64_t blocks;                  /* of output channels */
    float *sums, *dy, *x;            /* of the parts; packed */
    /* the worker's output channels, and its chunk in hand */
    int64_t o0, n_out;
    uint16_t order[32]; /* see lk_filter_pack_pairs */
    int64_t b, plane, line0, n_lines, pos0, n_words;
    lk_tile_lines next; /* what the chunk after it reads, to be asked for meanwhile */
} filter;

/* Lanes of a panel with so many channels left. */
static int64_t width_of(const filter *f, int64_t left)
{
    return f->few || (left > 16 && left <= 32) ? LK_FILTER_FEW : left <= 16 ? 16 : LK_FILTER_COLS;
}

/* Lanes of all panels. */
static int64_t pad(const filter *f, int64_t n_ch)
{
    int64_t ch = 0;
    while (ch < n_ch)
        ch += width_of(f, n_ch - ch);
    return ch;
}

static int64_t reach(const filter *f, int d)
{
    return f->s.dilation[d] * (f->s.taps[d] - 1);
}

/* Numbers of dy's packed rows, in whole vectors. */
static int64_t dy_size(const filter *f)
{
    return f->in_place ? 0 : lk_ceil_div(f->lines * f->words * f->dy_pad, 16) * 16;
}

/* Numbers of x's packed rows: [taps 0, phases, x_lines, versions, x_words, x_pad], a panel of
 * channels outermost in each copy of a row. */
static int64_t x_size(const filter *f)
{
    const int64_t rows = f->s.taps[0] * f->phases * f->x_lines * f->versions;
    return lk_ceil_div(rows * f->x_words * f->x_pad, 16) * 16;
}

/* Chunks of at most so many rows and positions of a row, all about the same. */
static void cut(filter *f, int64_t lines, int64_t run)
{
    const lk_conv_sizes *s = &f->s;
    f->line_groups = lk_ceil_div(s->out[1], lines ? lines : 1);
    f->lines = f->line_groups ? lk_ceil_div(s->out[1], f->line_groups) : 0;
    f->runs = lk_ceil_div(s->out[2], run ? run : 1);
    f->run = f->runs ? lk_ceil_div(lk_ceil_div(s->out[2], f->runs), f->per) * f->per : 0;
    f->words = f->run / f->per;
    f->x_words = f->words + reach(f, 2) / (f->per * s->stride[2]);
    f->x_lines = f->lines + reach(f, 1) / s->stride[1];
    f->n_chunks = s->n_batch * f->line_groups * f->runs * s->out[0];
}

/* dy needs no packing, or is read by one tile only, which makes the words itself. */
static int reads_in_place(const filter *f)
{
    const int whole = !f->turned || f->s.out_ch % LK_FILTER_FEW == 0;
    const int once = f->dot && f->turned && f->s.out[2] % 2 == 0 && f->s.in_ch <= MOST_ROWS &&
                     f->n_taps * f->s.in_ch <= LK_FILTER_ROWS;
    return whole && (f->c->in[0].dtype == LK_F32 || once);
}

static filter filter_of(const lk_call *c)
{
    filter f = {.c = c, .s = lk_conv_sizes_of(c)};
    const lk_conv_sizes *s = &f.s;
    f.dot = LK_VEC_DOT && c->in[0].dtype == LK_BF16;
    f.per = f.dot ? 2 : 1;
    f.few = s->in_ch <= FEW || s->out_ch <= FEW;
    f.turned = s->in_ch < s->out_ch && f.few;
    f.n_taps = s->taps[0] * s->taps[1] * s->taps[2];
    f.in_place = reads_in_place(&f);
    f.x_pad = f.turned ? s->in_ch : pad(&f, s->in_ch);
    f.dy_pad = f.turned ? pad(&f, s->out_ch) : s->out_ch;
    f.versions = lk_least(f.per * s->stride[2], reach(&f, 2) + 1);
    f.phases = lk_least(s->stride[1], reach(&f, 1) + 1);
    cut(&f, s->out[1], s->out[2]);
    while (f.lines * f.words > LEAST_WORDS &&
           (f.n_chunks < (f.few ? FEW_PARTS : LEAST_PARTS) ||
            (x_size(&f) + f.lines * f.words * f.dy_pad) * (int64_t)sizeof(float) > CHUNK))
        cut(&f, f.lines > 1 ? (f.lines + 1) / 2 : 1, f.lines > 1 ? f.run : (f.run + 1) / 2);
    f.blocks = f.few ? 1 : lk_ceil_div(s->out_ch, BLOCK);
    f.part = f.turned ? f.n_taps * s->in_ch * f.dy_pad : f.n_taps * s->in_ch * s->out_ch;
    f.n_parts = lk_least(PARTS, lk_least(f.n_chunks, PARTS_BYTES / ((f.part + 1) * 4)));
    f.n_parts = f.n_parts < 1 ? 1 : f.n_parts;
    f.part = lk_ceil_div(f.part, 16) * 16;
    f.sums = f.n_parts == 1 && !f.turned ? c->out[0].data : c->work;
    return f;
}

int LK_VEC(lk_vec_filter_suits)(const lk_call *c)
{
    const filter f = filter_of(c);
    return c->node->op == LK_OP_CONV_DW && f.s.groups == 1 &&
           (f.s.in_ch >= MANY || f.s.out_ch >= MANY) && x_size(&f) <= MOST_WORDS;
}

/* Numbers of a worker's space. */
static int64_t worker_size(const filter *f)
{
    return dy_size(f) + x_size(f);
}

size_t LK_VEC(lk_vec_filter_work_bytes)(const lk_call *c)
{
    const filter f = filter_of(c);
    return (size_t)(f.n_parts * f.part + lk_threads() * worker_size(&f)) * sizeof(float);
}

/* ---- packing ---- */

/* Words of channels [ch, ch + n) as [word, n] or, as lanes, [panel, word, width]. */
static void pack_row(const filter *f, const lk_filter_row *m, int lanes, int64_t ch, int64_t n,
                     int64_t n_words, float *to)
{
    if (f->few && !lanes && n == m->n_ch && n <= FEW && m->step == 1) {
        lk_filter_pack_few(f->dot, f->order, m, n_words, to);
        return;
    }
    for (int64_t done = 0; done < n;) {
        const int64_t width = lanes ? width_of(f, n - done) : lk_least(LK_FILTER_COLS, n - done);
        const int64_t some = lk_least(width, n - done);
        if (some < width)
            memset(to, 0, (size_t)(n_words * width) * sizeof *to);
        if (f->dot)
            lk_filter_pack_channels(LK_VEC_DOT, m, ch + done, some, n_words, lanes ? width : n, to);
        else
            lk_filter_pack_channels(0, m, ch + done, some, n_words, lanes ? width : n, to);
        to += lanes ? n_words * width : width;
        done += width;
    }
}

static int64_t dy_line(const filter *f, int64_t line)
{
    return ((f->b * f->s.out[0] + f->plane) * f->s.out[1] + f->line0 + line) * f->s.out[2];
}

static void pack_dy(const filter *f)
{
    const int64_t end = lk_least(f->pos0 + f->run, f->s.out[2]);
    for (int64_t line = 0; line < f->n_lines; line++) {
        const lk_filter_row m = {&f->c->in[1], dy_line(f, line), end, f->s.out_ch, f->pos0, 1};
        pack_row(f, &m, f->turned, f->o0, f->n_out, f->words,
                 f->dy + line * f->words * (f->turned ? f->dy_pad : f->n_out));
    }
}

/* The plane of x that tap k0 meets, or -1. */
static int64_t plane_of(const filter *f, int64_t k0)
{
    const lk_conv_sizes *s = &f->s;
    const int64_t plane = f->plane * s->stride[0] - s->lo[0] + k0 * s->dilation[0];
    return plane < s->in[0] ? plane : -1;
}

/* Planes of x from one chunk to the next, in steps of taps; 0 where none serves both. */
static int64_t planes_on(const filter *f)
{
    return f->s.stride[0] % f->s.dilation[0] ? 0 : f->s.stride[0] / f->s.dilation[0];
}

static float *x_row(const filter *f, int64_t k0, int64_t phase, int64_t line, int64_t version)
{
    const int64_t slot = (f->plane * planes_on(f) + k0) % f->s.taps[0];
    const int64_t row = ((slot * f->phases + phase) * f->x_lines + line) * f->versions + version;
    return f->x + row * f->x_words * f->x_pad;
}

/* Row q of a phase, in every version. */
static void pack_x_row(const filter *f, int64_t k0, int64_t phase, int64_t q)
{
    const lk_conv_sizes *s = &f->s;
    const int64_t line = (f->line0 + q) * s->stride[1] + phase - s->lo[1];
    const int64_t size = line >= 0 && line < s->in[1] ? s->in[2] : 0;
    const int64_t row = ((f->b * s->in[0] + plane_of(f, k0)) * s->in[1] + line) * s->in[2];
    for (int64_t v = 0; v < f->versions; v++) {
        const lk_filter_row m = {
            &f->c->in[0], row, size, s->in_ch, f->pos0 * s->stride[2] + v - s->lo[2], s->stride[2]};
        pack_row(f, &m, !f->turned, 0, s->in_ch, f->x_words, x_row(f, k0, phase, q, v));
    }
}

/* What the chunk needs of x and, unless it is the first of its column, the one before did not. */
static void pack_x(const filter *f, int first)
{
    const int64_t n = f->n_lines + reach(f, 1) / f->s.stride[1];
    for (int64_t k0 = 0; k0 < f->s.taps[0]; k0++) {
        if (plane_of(f, k0) < 0 || (!first && planes_on(f) && k0 + planes_on(f) < f->s.taps[0]))
            continue;
        for (int64_t i = 0; i < f->phases * n; i++)
            pack_x_row(f, k0, i / n, i % n);
    }
}

/* ---- taps ---- */

/* Where the words of a tap begin in the packed rows of x: those of channels from ch on, where a
 * panel begins if they are lanes. */
static const float *x_words(const filter *f, int64_t tap, int64_t ch)
{
    const lk_conv_sizes *s = &f->s;
    const int64_t k2 = tap % s->taps[2], k1 = tap / s->taps[2] % s->taps[1];
    const int64_t across = k1 * s->dilation[1], along = k2 * s->dilation[2];
    const int64_t word = along / (f->per * s->stride[2]);
    const float *row = x_row(f, tap / s->taps[2] / s->taps[1], across % s->stride[1],
                             across / s->stride[1], along % (f->per * s->stride[2]));
    return f->turned ? row + word * f->x_pad + ch
                     : row + ch * f->x_words + word * width_of(f, s->in_ch - ch);
}

static lk_filter_words words_of(const filter *f)
{
    const int64_t x_line = f->versions * f->x_words * f->x_pad;
    const int64_t dy_word = f->turned ? LK_FILTER_FEW : f->n_out;
    lk_filter_words k = {.n_lines = f->n_lines, .n_words = f->n_words};
    int64_t dy_pitch = f->words * (f->turned ? f->dy_pad : f->n_out);
    if (f->in_place)
        dy_pitch = f->s.out[2] * f->s.out_ch / f->per;
    k.b_odd = f->in_place && f->dot ? f->s.out_ch / 2 : 0;
    k.a_word = f->turned ? f->x_pad : f->in_place ? f->s.out_ch : dy_word;
    k.b_word = f->turned && f->in_place ? f->s.out_ch : LK_FILTER_FEW;
    k.a_line = f->turned ? x_line : dy_pitch;
    k.b_line = f->turned ? dy_pitch : x_line;
    return k;
}

/* The first word of dy's output channels from o on, where a panel begins if they are lanes. */
static const float *dy_words(const filter *f, int64_t o)
{
    if (f->in_place)
        return (const float *)f->c->in[1].data +
               ((dy_line(f, 0) + f->pos0) * f->s.out_ch + o) / f->per;
    return f->dy + (f->turned ? (o - f->o0) * f->words : o - f->o0);
}

/* sum[o, tap, i] += y [n_rows, width] for o from o0 and i from ch on. */
static void add_rows(const filter *f, int64_t tap, int64_t o0, int64_t n_rows, int64_t ch,
                     int64_t width, const float *y, float *sum)
{
    const int64_t n = lk_least(width, f->s.in_ch - ch);
    for (int64_t r = 0; r < n_rows; r++) {
        float *to = sum + ((o0 + r) * f->n_taps + tap) * f->s.in_ch + ch;
        for (int64_t i = 0; i < n; i++)
            to[i] += y[r * width + i];
    }
}

/* The same turned: sum[tap, i, o] += y for i from i0 on and o from ch on. */
static void add_turned(const filter *f, int64_t tap, int64_t i0, int64_t n_rows, int64_t ch,
                       const float *y, float *sum)
{
    for (int64_t r = 0; r < n_rows; r++) {
        float *to = sum + (tap * f->s.in_ch + i0 + r) * f->dy_pad + ch;
        for (int64_t o = 0; o < LK_FILTER_FEW; o++)
            to[o] += y[r * LK_FILTER_FEW + o];
    }
}

/* What a chunk of a map of one dimension reads of x and dy for each word. */
static lk_tile_lines lines_of(const filter *f)
{
    const lk_conv_sizes *s = &f->s;
    const int64_t bytes = (int64_t)lk_dtype_bytes(f->c->in[0].dtype);
    const int64_t start = f->pos0 * s->stride[2] - s->lo[2];
    const int64_t x = f->b * s->in[2] + (start > 0 ? start : 0);
    const int64_t dy = f->b * s->out[2] + f->pos0;
    const int64_t x_step = f->per * s->stride[2] * s->in_ch * bytes;
    const int64_t dy_step = f->per * s->out_ch * bytes;
    return (lk_tile_lines){
        .at = {(const char *)f->c->in[0].data + x * s->in_ch * bytes,
               (const char *)f->c->in[1].data + dy * s->out_ch * bytes},
        .step = {x_step, dy_step},
        .n = {lk_ceil_div(x_step, LK_TILE_LINE), lk_ceil_div(dy_step, LK_TILE_LINE)}};
}

/* Of n words of `per` numbers that lie at `at`, at + step, ..: those with a number in [0, size),
 * and how many there are in front of them. */
static int64_t inside(int64_t n, int64_t per, int64_t at, int64_t step, int64_t size,
                      int64_t *before)
{
    const int64_t lead = -at - (per - 1) * step;
    *before = lead > 0 ? lk_ceil_div(lead, per * step) : 0;
    return (at < size ? lk_least(n, lk_ceil_div(size - at, per * step)) : 0) - *before;
}

/* Leave out what only meets the zeros around the map of x; 0: that is all. */
static int keep_inside(const filter *f, int64_t tap, lk_filter_words *k)
{
    const lk_conv_sizes *s = &f->s;
    const int64_t k2 = tap % s->taps[2], k1 = tap / s->taps[2] % s->taps[1];
    const int64_t line = f->line0 * s->stride[1] + k1 * s->dilation[1] - s->lo[1];
    const int64_t word = f->pos0 * s->stride[2] + k2 * s->dilation[2] - s->lo[2];
    int64_t lines, words;
    k->n_lines = inside(f->n_lines, 1, line, s->stride[1], s->in[1], &lines);
    k->n_words = inside(f->n_words, f->per, word, s->stride[2], s->in[2], &words);
    k->a[0] += lines * k->a_line + words * k->a_word;
    k->b[0] += lines * k->b_line + words * k->b_word;
    return k->n_lines > 0 && k->n_words > 0;
}

/* What this chunk adds to taps of one plane. */
static void add_many(const filter *f, int64_t first, int64_t end, float *sum)
{
    lk_filter_words k = words_of(f);
    int64_t n_tiles = 0;
    _Alignas(64) float y[BLOCK * LK_FILTER_COLS];
    for (int64_t tap = first; tap < end; tap++)
        for (int64_t o = f->o0; o < f->o0 + f->n_out; o += BLOCK)
            for (int64_t ch = 0; ch < f->s.in_ch; ch += LK_FILTER_COLS) {
                const int64_t width = width_of(f, f->s.in_ch - ch);
                const int64_t n = lk_least(BLOCK, f->o0 + f->n_out - o);
                k.a[0] = dy_words(f, o);
                k.b[0] = x_words(f, tap, ch);
                k.b_word = width;
                if (!keep_inside(f, tap, &k))
                    continue;
                k.ahead = lk_tile_line(1, &f->next, n_tiles++);
                lk_filter_many_of[width / 32][f->dot](&k, n, y);
                add_rows(f, tap, o, n, ch, width, y, sum);
            }
}

/* Rows of the next tile where n are left; see lk_filter_few. */
static int64_t few_rows(int64_t n)
{
    return lk_least(n, MOST_ROWS);
}

/* Taps of one plane in tiles of some rows and one panel of lanes. */
static void add_few_panel(const filter *f, int64_t first, int64_t end, int64_t row, int64_t ch,
                          float *sum)
{
    const int64_t n_few = f->turned ? f->s.in_ch : f->s.out_ch, n_rows = few_rows(n_few - row);
    const int64_t most = LK_FILTER_ROWS / n_rows;
    lk_filter_words k = words_of(f);
    _Alignas(64) float y[LK_FILTER_ROWS * LK_FILTER_FEW];
    for (int64_t tap = first; tap < end; tap += most) {
        const int64_t n = lk_least(most, end - tap);
        for (int64_t t = 0; t < n; t++) {
            k.a[t] = f->turned ? x_words(f, tap + t, row) : dy_words(f, row);
            k.b[t] = f->turned ? dy_words(f, ch) : x_words(f, tap + t, ch);
        }
        lk_filter_few_of[f->turned][f->dot](&k, n, n_rows, y);
        for (int64_t t = 0; t < n; t++) {
            const float *of_tap = y + t * n_rows * LK_FILTER_FEW;
            if (f->turned)
                add_turned(f, tap + t, row, n_rows, ch, of_tap, sum);
            else
                add_rows(f, tap + t, row, n_rows, ch, LK_FILTER_FEW, of_tap, sum);
        }
    }
}

static void add_few(const filter *f, int64_t first, int64_t end, float *sum)
{
    const int64_t n_few = f->turned ? f->s.in_ch : f->s.out_ch;
    const int64_t n_lanes = f->turned ? f->s.out_ch : f->s.in_ch;
    for (int64_t row = 0; row < n_few; row += few_rows(n_few - row))
        for (int64_t ch = 0; ch < n_lanes; ch += LK_FILTER_FEW)
            add_few_panel(f, first, end, row, ch, sum);
}

/* ---- sharing out ---- */

/* Chunk i, planes innermost, so that the next one finds most planes of x packed. */
static void take_chunk(filter *f, int64_t i)
{
    const lk_conv_sizes *s = &f->s;
    const int64_t column = i / s->out[0];
    f->plane = i % s->out[0];
    f->pos0 = column % f->runs * f->run;
    f->line0 = column / f->runs % f->line_groups * f->lines;
    f->b = column / f->runs / f->line_groups;
    f->n_lines = lk_least(f->lines, s->out[1] - f->line0);
    f->n_words = lk_ceil_div(lk_least(f->run, s->out[2] - f->pos0), f->per);
}

/* Some blocks of output channels of one part. */
static void sum_part(filter *f, int64_t part, int64_t block, int64_t n_blocks)
{
    const int64_t each = f->n_taps / f->s.taps[0];
    const int64_t first = f->n_chunks * part / f->n_parts;
    const int64_t end = f->n_chunks * (part + 1) / f->n_parts;
    float *sum = f->sums + part * f->part;
    f->o0 = block * BLOCK;
    f->n_out = f->few ? f->s.out_ch : lk_least(n_blocks * BLOCK, f->s.out_ch - f->o0);
    if (f->turned)
        memset(sum, 0, (size_t)f->part * sizeof *sum);
    else
        memset(sum + f->o0 * f->n_taps * f->s.in_ch, 0,
               (size_t)(f->n_out * f->n_taps * f->s.in_ch) * sizeof *sum);
    for (int64_t i = first; i < end; i++) {
        f->next = (lk_tile_lines){0};
        if (i + 1 < end && f->s.in[0] * f->s.in[1] == 1) {
            take_chunk(f, i + 1);
            f->next = lines_of(f);
        }
        take_chunk(f, i);
        if (!f->in_place)
            pack_dy(f);
        pack_x(f, i == first || f->plane == 0);
        for (int64_t k0 = 0; k0 < f->s.taps[0]; k0++)
            if (plane_of(f, k0) >= 0)
                (f->few ? add_few : add_many)(f, k0 * each, (k0 + 1) * each, sum);
    }
}

/* Units are blocks of parts; a worker packs once for all its blocks of a part. */
static void run_workers(void *context, int64_t first, int64_t end)
{
    filter f = *(const filter *)context;
    const int64_t n = f.n_parts * f.blocks, n_workers = lk_threads();
    for (int64_t worker = first; worker < end; worker++) {
        const int64_t until = n * (worker + 1) / n_workers;
        f.dy = (float *)f.c->work + f.n_parts * f.part + worker * worker_size(&f);
        f.x = f.dy + dy_size(&f);
        for (int64_t u = n * worker / n_workers; u < until;) {
            const int64_t block = u % f.blocks, n_blocks = lk_least(f.blocks - block, until - u);
            sum_part(&f, u / f.blocks, block, n_blocks);
            u += n_blocks;
        }
    }
}

/* The sum of all parts of numbers `from`, `from` + step, .. */
static void add_sums(const filter *f, int64_t from, int64_t step, int64_t n, float *to)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = f->sums[from + i * step];
    for (int64_t p = 1; p < f->n_parts; p++)
        for (int64_t i = 0; i < n; i++)
            to[i] += f->sums[p * f->part + from + i * step];
}

/* A range of output channels of the result. */
static void finish_range(void *context, int64_t first, int64_t end)
{
    const filter *f = context;
    const int64_t n = f->n_taps * f->s.in_ch;
    float *dw = f->c->out[0].data;
    for (int64_t o = first; o < end; o++)
        if (f->turned)
            add_sums(f, o, f->dy_pad, n, dw + o * n);
        else
            add_sums(f, o * n, 1, n, dw + o * n);
}

void LK_VEC(lk_vec_filter)(const lk_call *c)
{
    filter f = filter_of(c);
    if (f.few)
        lk_filter_order(f.turned ? f.s.in_ch : f.s.out_ch, f.order);
    lk_parallel_for(lk_threads(), 1, run_workers, &f);
    if (f.sums != c->out[0].data)
        lk_parallel_for(f.s.out_ch, BLOCK, finish_range, &f);
}
