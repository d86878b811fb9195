/* vec_product.c - matrix products, y = op(a) op(b) + bias.
 *
 * A tile of ROWS x COLS results stays in registers while k runs over a chunk (vec_tile.h), and goes
 * to memory from there.  Its columns of b are packed first, as panels [k, COLS]; rows of a are read
 * where they are when they lie along k, and otherwise packed a block at a time by the thread that
 * reads them, so that they are in its caches.  With products of bf16, k counts words of two.
 * Chunks are added in order, in the result when it is f32, in the work space else.
 *
 * Long sums into few results (gradients of weights) are cut into parts of k: a product whose a and
 * b both have k outermost is a batch of shorter ones, whose results are added in order.
 *
 * How the tiles are shared out changes no sum, so it may depend on the number of threads: whole
 * products where there are enough of them for every thread, which then needs no other and packs b
 * for itself; else all threads pack, and then take blocks.
 */
#include "kernels/cpu/vec_tile.h"

#include "kernels/cpu/vec_table.h"
#include "kernels/ops/ops_impl.h"
#include "kernels/thread.h"

#if LK_LANES == 16
#include <immintrin.h>
#endif

size_t LK_VEC(lk_vec_product_work_bytes)(const lk_call *c);
void LK_VEC(lk_vec_product)(const lk_call *c);

#define ROWS      6
#define BLOCK     (8 * ROWS) /* rows of a that are taken together */
#define COLS      64
#define CHUNK     512                /* words */
#define PACK_PART 32                 /* words that are packed together */
#define LINE      64                 /* bytes memory gives at a time */
#define PAST      ((size_t)32 << 20) /* bytes */
#define PARTS     4
#define PARTS_MAX (1 << 20) /* numbers of the results of all parts */

typedef struct product {
    const lk_call *c;
    lk_product p; /* of the parts, if there are several: so many times the batches */
    int ta, tb, dot;
    int64_t n_parts;
    int64_t per;                    /* elements of k a word */
    int64_t panels, blocks, groups; /* of columns; of rows; of panels */
    int past;                       /* results go to memory past the caches */
    int64_t k0, words;              /* the chunk: first element, words */
    int last;                       /* it is the last one */
    int64_t workers;                /* that take whole products; 0: blocks are shared out */
    lk_word *packed;                /* [n_batch or workers, panels, words, COLS] of b */
    int64_t shift;                  /* batches from one that is packed to its place */
    float *sums;                    /* [n_batch, m, n] before the last chunk, or of the parts */
} product;

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Results that the caches do not hold until they are read need not be read before they are written;
 * vectors must then be lines of the cache. */
static int past_of(const lk_call *c, const lk_product *p)
{
    const lk_tensor *y = &c->out[0];
    return LK_LANES == 16 && y->dtype == LK_F32 && p->n % LK_LANES == 0 && p->k <= CHUNK &&
           lk_tensor_bytes(y) >= PAST && (uintptr_t)y->data % LINE == 0;
}

/* How many parts k is cut into. */
static int64_t parts_of(const product *q)
{
    const lk_product *p = &q->p;
    const int suits = q->ta && !q->tb && p->n_batch < PARTS && p->k % (PARTS * q->per) == 0 &&
                      p->k >= PARTS * CHUNK * q->per &&
                      p->n_batch * p->m * p->n <= PARTS_MAX / PARTS;
    return suits ? PARTS : 1;
}

static product product_of(const lk_call *c)
{
    product q = {.c = c, .p = lk_product_of(c)};
    const int64_t n_threads = lk_threads();
    lk_product *p = &q.p;
    q.ta = c->node->attr.matmul.trans_a;
    q.tb = c->node->attr.matmul.trans_b;
    q.dot = LK_VEC_DOT && c->in[0].dtype == LK_BF16;
    q.per = q.dot ? 2 : 1;
    q.n_parts = parts_of(&q);
    p->n_batch *= q.n_parts;
    p->k /= q.n_parts;
    q.workers = p->n_batch >= 4 * n_threads || p->n_batch % n_threads == 0 ? n_threads : 0;
    q.panels = ceil_div(p->n, COLS);
    q.blocks = ceil_div(p->m, BLOCK);
    q.groups = p->m && p->n_batch ? ceil_div(2 * n_threads, p->n_batch * q.blocks) : 1;
    q.groups = q.groups > q.panels ? q.panels : q.groups;
    q.past = q.n_parts == 1 && past_of(c, p);
    q.packed = c->work;
    return q;
}

/* Words of a chunk at most. */
static int64_t most_words(const product *q)
{
    const int64_t words = ceil_div(q->p.k, q->per);
    return words < CHUNK ? words : CHUNK;
}

/* Numbers of packed b. */
static int64_t b_size(const product *q)
{
    return (q->workers ? q->workers : q->p.n_batch) * q->panels * COLS * most_words(q);
}

static int sums_apart(const product *q)
{
    return q->n_parts > 1 || (q->c->out[0].dtype != LK_F32 && q->p.k > CHUNK * q->per);
}

size_t LK_VEC(lk_vec_product_work_bytes)(const lk_call *c)
{
    const product q = product_of(c);
    const int64_t sums = sums_apart(&q) ? q.p.n_batch * q.p.m * q.p.n : 0;
    return (size_t)(b_size(&q) + sums + 1) * sizeof(float);
}

/* ---- packing ---- */

/* LK_LANES words along k from element `at` on, of which n elements are there; zeros behind. */
static inline void words_along(const product *q, const lk_tensor *t, int64_t at, int64_t n,
                               lk_lanes *to)
{
    const char *from = (const char *)t->data + at * (int64_t)lk_dtype_bytes(t->dtype);
    float buffer[LK_LANES] = {0};
    if (t->dtype != LK_F32 && !q->dot)
        lk_load(t->dtype, t->data, at, n, buffer);
    else if (n == LK_LANES * q->per)
        memcpy(buffer, from, sizeof buffer);
    else
        memcpy(buffer, from, (size_t)n * lk_dtype_bytes(t->dtype));
    lk_lanes_load(to, buffer);
}

/* n words across k, word k of columns col, col + 1, .. of t [batch, k, ld]. */
LK_INLINE void across(const product *q, const lk_tensor *t, int64_t batch, int64_t ld, int64_t k,
                      int64_t col, const int64_t n, float *to)
{
    const int64_t row = q->k0 + k * q->per, at = (batch * q->p.k + row) * ld + col;
    if (q->dot) {
        static const lk_bf16 none[COLS] = {0};
        const lk_bf16 *even = (const lk_bf16 *)t->data + at;
        const lk_bf16 *odd = row + 1 < q->p.k ? even + ld : none;
        int64_t i = 0;
        for (; i + 32 <= n; i += 32)
            lk_tile_zip(even + i, odd + i, to + i);
        if (i < n && n >= 32) { /* some of them twice */
            i = n;
            lk_tile_zip(even + n - 32, odd + n - 32, to + n - 32);
        }
        for (; i < n; i++) {
            const uint32_t pair = (uint32_t)even[i] | (uint32_t)odd[i] << 16;
            memcpy(to + i, &pair, sizeof pair);
        }
    } else {
        lk_load(t->dtype, t->data, at, n, to);
    }
}

static void words_across(const product *q, const lk_tensor *t, int64_t batch, int64_t ld, int64_t k,
                         int64_t col, int64_t n, float *to)
{
    if (n == COLS)
        across(q, t, batch, ld, k, col, COLS, to);
    else if (n == BLOCK)
        across(q, t, batch, ld, k, col, BLOCK, to);
    else
        across(q, t, batch, ld, k, col, n, to);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Words [w0, w1) of columns col .. of b, which lie along k. */
static void pack_turned(const product *q, int64_t batch, int64_t col, int64_t width, int64_t w0,
                        int64_t w1, lk_word *to)
{
    const int64_t n = least(width, q->p.n - col);
    for (int64_t j = 0; j < width; j += LK_LANES)
        for (int64_t w = w0; w < w1; w += LK_LANES) {
            lk_lanes t[LK_LANES];
            const int64_t k = q->k0 + w * q->per;
            const int64_t there = least(q->p.k - k, LK_LANES * q->per);
            for (int64_t i = 0; i < LK_LANES; i++)
                if (j + i < n)
                    words_along(q, &q->c->in[1], (batch * q->p.n + col + j + i) * q->p.k + k, there,
                                &t[i]);
                else
                    t[i] = (lk_lanes){0};
            lk_lanes_transpose(t);
            for (int64_t i = 0; i < LK_LANES && w + i < w1; i++)
                lk_lanes_store((float *)to + (w + i) * width + j, &t[i]);
        }
}

/* Columns of the panel at col: as few as 16 where no more are left. */
static int64_t width_of(const product *q, int64_t col)
{
    const int64_t left = q->p.n - col;
    return left <= 16 ? 16 : left <= 32 ? 32 : COLS;
}

static lk_word *panel_at(const product *q, int64_t batch, int64_t panel)
{
    return q->packed + ((batch - q->shift) * q->panels + panel) * COLS * q->words;
}

/* A word of every column of b. */
static void pack_b(const product *q, int64_t batch, int64_t w)
{
    for (int64_t panel = 0; panel < q->panels; panel++) {
        const int64_t col = panel * COLS, width = width_of(q, col);
        float *to = (float *)panel_at(q, batch, panel) + w * width;
        if (q->p.n - col < width)
            memset(to, 0, (size_t)width * sizeof *to);
        words_across(q, &q->c->in[1], batch, q->p.n, w, col, least(width, q->p.n - col), to);
    }
}

/* Rows of a that are taken together: strips of ROWS, shared out evenly. */
static int64_t block_start(const product *q, int64_t block)
{
    return least(ceil_div(q->p.m, ROWS) * block / q->blocks * ROWS, q->p.m);
}

/* Whole rows of b at a time, so that memory is read in order. */
static void pack_range(void *context, int64_t first, int64_t end)
{
    const product *q = context;
    const int64_t parts = ceil_div(q->words, PACK_PART);
    for (int64_t u = first; u < end; u++) {
        const int64_t batch = u / parts;
        const int64_t w0 = u % parts * PACK_PART, w1 = least(w0 + PACK_PART, q->words);
        for (int64_t panel = 0; q->tb && panel < q->panels; panel++)
            pack_turned(q, batch, panel * COLS, width_of(q, panel * COLS), w0, w1,
                        (float *)panel_at(q, batch, panel));
        for (int64_t w = w0; !q->tb && w < w1; w++)
            pack_b(q, batch, w);
    }
}

/* Rows of a as the tiles read them: the first, and words from one to the next and along one.  And
 * what the tiles ask for meanwhile, because it is packed next: `ahead_lines` lines of `ahead_rows`
 * rows from `ahead` on, their distance in bytes. */
typedef struct a_rows {
    const lk_word *at;
    int64_t step, along;
    const char *ahead;
    int64_t ahead_step, ahead_lines;
} a_rows;

typedef struct buffer {
    _Alignas(64) float word[BLOCK * CHUNK];
} buffer;

/* Where columns of a are packed from: a whole BLOCK if there is one, which is copied faster. */
static int64_t first_column(const product *q, int64_t row)
{
    return q->p.m < BLOCK ? 0 : least(row, q->p.m - BLOCK);
}

static a_rows rows_of(const product *q, int64_t batch, int64_t row, int64_t n, buffer *b)
{
    const lk_tensor *a = &q->c->in[0];
    const int64_t at = (batch * q->p.m + row) * q->p.k + q->k0;
    if (q->ta) {
        const int64_t first = first_column(q, row);
        for (int64_t w = 0; w < q->words; w++)
            words_across(q, a, batch, q->p.m, w, first, least(BLOCK, q->p.m), b->word + w * BLOCK);
        return (a_rows){b->word + row - first, 1, BLOCK, NULL, 0, 0};
    }
    if (a->dtype == LK_F32 || (q->dot && q->p.k % 2 == 0))
        return (a_rows){(const lk_word *)a->data + at / q->per, q->p.k / q->per, 1, NULL, 0, 0};
    for (int64_t i = 0; i < n; i++)
        for (int64_t w = 0; w < q->words; w += LK_LANES) {
            lk_lanes t;
            words_along(q, a, at + i * q->p.k + w * q->per,
                        least(q->p.k - q->k0 - w * q->per, LK_LANES * q->per), &t);
            lk_lanes_store(b->word + i * CHUNK + w, &t);
        }
    return (a_rows){b->word, CHUNK, 1, NULL, 0, 0};
}

/* ---- tiles ---- */

/* Where results go and what is added to them: sums of the chunks before, which lie as they do, and
 * the bias; NULL for nothing. */
typedef struct target {
    lk_dtype dtype;
    void *to;
    int64_t step; /* numbers from row to row */
    const float *before, *bias;
    int past; /* to memory past the caches */
} target;

LK_INLINE void finish_tile(const int rows, const int cols, lk_vf s[LK_TALL][LK_MAX_COLS],
                           const target *t, int64_t at, int64_t col)
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

/* Asks for the lines that finish_tile writes; the sums take longer than memory. */
LK_INLINE void ask(const int rows, const int cols, const target *t, int64_t at)
{
    const int64_t bytes = (int64_t)lk_dtype_bytes(t->dtype);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++)
            __builtin_prefetch((char *)t->to + (at + r * t->step + c * LK_LANES) * bytes, 1, 3);
}

/* What strip i asks for: one line of every word's row, or of one of its two rows. */
LK_INLINE lk_tile_ahead ahead_of(const int per, const a_rows *a, int64_t i)
{
    if (i / per >= a->ahead_lines)
        return (lk_tile_ahead){(const char *)a->at, 0};
    return (lk_tile_ahead){a->ahead + i % per * a->ahead_step + i / per * LINE,
                           per * a->ahead_step};
}

LK_INLINE void tile(const int width, const int dot, const int rows, const int cols, const a_rows *a,
                    int64_t row, const lk_word *b, int64_t n_k, const target *t, int64_t col)
{
    lk_vf s[LK_TALL][LK_MAX_COLS];
    if (!t->past)
        ask(rows, cols, t, row * t->step + col);
    LK_UNROLL(12)
    for (int r = 0; r < rows; r++)
        LK_UNROLL(4)
    for (int c = 0; c < cols; c++)
        s[r][c] = (lk_vf){0};
    lk_tile_sums(width, dot, rows, cols, a->at + row * a->step, a->step, a->along, b + col, n_k,
                 ahead_of(dot ? 2 : 1, a, row / ROWS), s);
    finish_tile(rows, cols, s, t, row * t->step + col, col);
}

/* Rows of a times a panel of b. */
LK_INLINE void times(const int width, const int dot, const a_rows *a, int64_t n_rows,
                     const lk_word *b, int64_t n_k, const target *t)
{
    const int cols = width / LK_LANES < LK_MAX_COLS ? width / LK_LANES : LK_MAX_COLS;
    for (int col = 0; col < width; col += cols * LK_LANES) {
        int64_t r = 0;
#define STRIPS(n)                                                                                  \
    for (; r + n <= n_rows; r += n)                                                                \
    tile(width, dot, n, cols, a, r, b, n_k, t, col)
        if (cols < LK_MAX_COLS && LK_TALL == 2 * ROWS)
            STRIPS(2 * ROWS);
        STRIPS(ROWS);
        STRIPS(4);
        STRIPS(2);
        STRIPS(1);
#undef STRIPS
    }
}

typedef void times_fn(const a_rows *a, int64_t n_rows, const lk_word *b, int64_t n_k,
                      const target *t);
#define TIMES(width, dot)                                                                          \
    static void times_##width##_##dot(const a_rows *a, int64_t n_rows, const lk_word *b,           \
                                      int64_t n_k, const target *t)                                \
    {                                                                                              \
        times(width, dot, a, n_rows, b, n_k, t);                                                   \
    }
TIMES(16, 0)
TIMES(32, 0)
TIMES(64, 0)
#if LK_VEC_DOT
TIMES(16, 1)
TIMES(32, 1)
TIMES(64, 1)
#else
#define times_16_1 NULL
#define times_32_1 NULL
#define times_64_1 NULL
#endif
static times_fn *const times_of[3][2] = {
    {times_16_0, times_16_1}, {times_32_0, times_32_1}, {times_64_0, times_64_1}}; /* width / 32 */

/* The first n of each row of `width` sums, which are fewer than a vector's lanes or several. */
static void finish_few(const target *t, int64_t n_rows, int64_t n, int64_t width, float *y)
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

/* Results of a block of rows from the one at `at` on, n columns of a panel. */
static void panel_times(const product *q, const a_rows *a, int64_t n_rows, const lk_word *panel,
                        int64_t at, int64_t col)
{
    const lk_tensor *y = &q->c->out[0];
    const int64_t width = width_of(q, col), n = least(width, q->p.n - col);
    const float *bias = q->c->in[2].data;
    const int last = q->last && q->n_parts == 1;
    const target t = {.dtype = last ? y->dtype : LK_F32,
                      .to = last ? (char *)y->data + at * (int64_t)lk_dtype_bytes(y->dtype)
                                 : (char *)(q->sums + at),
                      .step = q->p.n,
                      .before = q->k0 ? q->sums + at : NULL,
                      .bias = last && bias ? bias + col : NULL,
                      .past = q->past};
    times_fn *fn = times_of[width / 32][q->dot];
    _Alignas(64) float few[BLOCK * COLS];
    const target aside = {.dtype = LK_F32, .to = few, .step = width};
    fn(a, n_rows, panel, q->words, n == width ? &t : &aside);
    if (n < width)
        finish_few(&t, n_rows, n, width, few);
}

/* The block of unit u, as what is asked for. */
static void look_ahead(const product *q, int64_t u, a_rows *a)
{
    const lk_tensor *t = &q->c->in[0];
    const int64_t bytes = (int64_t)lk_dtype_bytes(t->dtype);
    const int64_t batch = u / q->groups / q->blocks;
    const int64_t row = first_column(q, block_start(q, u / q->groups % q->blocks));
    a->ahead = (const char *)t->data + ((batch * q->p.k + q->k0) * q->p.m + row) * bytes;
    a->ahead_step = q->p.m * bytes;
    a->ahead_lines = ceil_div(BLOCK * bytes, LINE) + 1;
}

static void block_range(void *context, int64_t first, int64_t end)
{
    const product *q = context;
    buffer b;
    for (int64_t u = first; u < end; u++) {
        const int64_t group = u % q->groups, block = u / q->groups % q->blocks;
        const int64_t batch = u / q->groups / q->blocks;
        const int64_t row = block_start(q, block), n_rows = block_start(q, block + 1) - row;
        const int64_t p0 = q->panels * group / q->groups, p1 = q->panels * (group + 1) / q->groups;
        a_rows a = rows_of(q, batch, row, n_rows, &b);
        if (q->ta && u + 1 < q->p.n_batch * q->blocks * q->groups)
            look_ahead(q, u + 1, &a);
        for (int64_t p = p0; p < p1; p++) {
            panel_times(q, &a, n_rows, panel_at(q, batch, p),
                        (batch * q->p.m + row) * q->p.n + p * COLS, p * COLS);
            a.ahead_lines = 0;
        }
    }
#if LK_LANES == 16
    _mm_sfence(); /* what went past the caches is there for other threads */
#endif
}

/* The chunk of k at k0. */
static void take_chunk(product *q, int64_t k0)
{
    const int64_t left = ceil_div(q->p.k - k0, q->per);
    q->k0 = k0;
    q->words = least(left, CHUNK);
    q->last = left <= CHUNK;
}

/* Whole products, whose b is packed in the worker's own place, which stays in its caches. */
static void run_workers(void *context, int64_t first, int64_t end)
{
    product q = *(const product *)context;
    const int64_t n = q.p.n_batch, blocks = q.blocks * q.groups;
    for (int64_t worker = first; worker < end; worker++)
        for (int64_t i = n * worker / q.workers; i < n * (worker + 1) / q.workers; i++) {
            q.shift = i - worker;
            q.last = 0;
            for (int64_t k0 = 0; !q.last; k0 += CHUNK * q.per) {
                int64_t parts;
                take_chunk(&q, k0);
                parts = ceil_div(q.words, PACK_PART);
                pack_range(&q, i * parts, (i + 1) * parts);
                block_range(&q, i * blocks, (i + 1) * blocks);
            }
        }
}

/* Rows of the result as sums of the parts. */
static void add_range(void *context, int64_t first, int64_t end)
{
    const product *q = context;
    const lk_tensor *y = &q->c->out[0];
    const float *bias = q->c->in[2].data;
    const int64_t n = q->p.n, part = q->p.m * n;
    for (int64_t row = first; row < end; row++) {
        const float *from = q->sums + (row / q->p.m * q->n_parts * q->p.m + row % q->p.m) * n;
        for (int64_t i = 0; i < n; i += COLS) {
            const int64_t some = least(COLS, n - i);
            float sum[COLS];
            for (int64_t j = 0; j < some; j++)
                sum[j] = from[i + j];
            for (int64_t p = 1; p < q->n_parts; p++)
                for (int64_t j = 0; j < some; j++)
                    sum[j] += from[p * part + i + j];
            for (int64_t j = 0; bias && j < some; j++)
                sum[j] += bias[i + j];
            lk_store(y->dtype, y->data, row * n + i, some, sum);
        }
    }
}

void LK_VEC(lk_vec_product)(const lk_call *c)
{
    product q = product_of(c);
    q.sums = sums_apart(&q) ? (float *)c->work + b_size(&q) : c->out[0].data;
    if (q.workers)
        lk_parallel_for(q.workers, 1, run_workers, &q);
    for (int64_t k0 = 0; !q.workers && !q.last; k0 += CHUNK * q.per) { /* a sum of nothing is 0 */
        take_chunk(&q, k0);
        lk_parallel_for(q.p.n_batch * ceil_div(q.words, PACK_PART), 1, pack_range, &q);
        lk_parallel_for(q.p.n_batch * q.blocks * q.groups, 1, block_range, &q);
    }
    if (q.n_parts > 1)
        lk_parallel_for(q.p.n_batch / q.n_parts * q.p.m, 1, add_range, &q);
}
