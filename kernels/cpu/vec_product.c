/* vec_product.c - matrix products, y = op(a) op(b) + bias.
 *
 * A tile of ROWS x COLS results stays in registers while k runs over a chunk (vec_tile.h).  Its
 * columns of b are packed first, as panels [k, COLS]; rows of a are read where they are when they
 * lie along k, and packed otherwise.  With products of bf16, k
 * counts words of two.  Chunks are added in order, in the result when it is f32, in the work space
 * else.
 *
 * How the tiles are shared out changes no sum, so it may depend on the number of threads.
 */
#include "kernels/cpu/vec_tile.h"

#include "kernels/cpu/vec_table.h"
#include "kernels/ops/ops_impl.h"
#include "kernels/thread.h"

size_t LK_VEC(lk_vec_product_work_bytes)(const lk_call *c);
void LK_VEC(lk_vec_product)(const lk_call *c);

#define ROWS      6
#define BLOCK     (8 * ROWS) /* rows of a that are taken together */
#define COLS      64
#define CHUNK     512 /* words */
#define PACK_PART 32  /* words that are packed together */

/* Rows of a that lie `step` apart, or columns of a block, times a panel of b. */
LK_TILE_FNS(times_rows, LK_TILE_SET, step, 1)
LK_TILE_FNS(times_columns, LK_TILE_SET, step, BLOCK)

typedef struct product {
    const lk_call *c;
    lk_product p;
    int ta, tb, dot;
    int64_t per;                    /* elements of k a word */
    int64_t panels, blocks, groups; /* of columns; of rows; of panels */
    int64_t k0, words;              /* the chunk: first element, words */
    int last;                       /* it is the last one */
    lk_word *packed;                /* [n_batch, panels, words, COLS] of b, then of a */
    float *sums;                    /* [n_batch, m, n] before the last chunk */
} product;

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static product product_of(const lk_call *c)
{
    product q = {.c = c, .p = lk_product_of(c)};
    const lk_product *p = &q.p;
    q.ta = c->node->attr.matmul.trans_a;
    q.tb = c->node->attr.matmul.trans_b;
    q.dot = LK_VEC_DOT && c->in[0].dtype == LK_BF16;
    q.per = q.dot ? 2 : 1;
    q.panels = ceil_div(p->n, COLS);
    q.blocks = ceil_div(p->m, BLOCK);
    q.groups = p->m && p->n_batch ? ceil_div(2 * lk_threads(), p->n_batch * q.blocks) : 1;
    q.groups = q.groups > q.panels ? q.panels : q.groups;
    q.packed = c->work;
    q.sums = c->out[0].data;
    return q;
}

/* Words of a chunk at most. */
static int64_t most_words(const product *q)
{
    const int64_t words = ceil_div(q->p.k, q->per);
    return words < CHUNK ? words : CHUNK;
}

/* Numbers of packed b; of packed a, which is needed when its rows lie across k. */
static int64_t b_size(const product *q)
{
    return q->p.n_batch * q->panels * COLS * most_words(q);
}

static int64_t a_size(const product *q)
{
    return q->ta ? q->p.n_batch * q->blocks * BLOCK * most_words(q) : 0;
}

static int sums_apart(const product *q)
{
    return q->c->out[0].dtype != LK_F32 && q->p.k > CHUNK * q->per;
}

size_t LK_VEC(lk_vec_product_work_bytes)(const lk_call *c)
{
    const product q = product_of(c);
    const int64_t sums = sums_apart(&q) ? q.p.n_batch * q.p.m * q.p.n : 0;
    return (size_t)(b_size(&q) + a_size(&q) + sums + 1) * sizeof(float);
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
        uint32_t pair[COLS];
        for (int64_t i = 0; i < n; i++)
            pair[i] = (uint32_t)even[i] | (uint32_t)odd[i] << 16;
        memcpy(to, pair, (size_t)n * sizeof *to);
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
    return q->packed + (batch * q->panels + panel) * COLS * q->words;
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

/* Columns of a block of a, as [word, BLOCK]. */
static lk_word *columns_at(const product *q, int64_t batch, int64_t block)
{
    return q->packed + b_size(q) + (batch * q->blocks + block) * BLOCK * q->words;
}

/* A word of every row of a, which lie across k. */
static void pack_a(const product *q, int64_t batch, int64_t w)
{
    for (int64_t block = 0; block < q->blocks; block++) {
        const int64_t row = block_start(q, block), n = block_start(q, block + 1) - row;
        words_across(q, &q->c->in[0], batch, q->p.m, w, row, n,
                     (float *)columns_at(q, batch, block) + w * BLOCK);
    }
}

/* Whole rows of the operands at a time, so that memory is read in order. */
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
        for (int64_t w = w0; w < w1; w++) {
            if (!q->tb)
                pack_b(q, batch, w);
            if (q->ta)
                pack_a(q, batch, w);
        }
    }
}

/* Rows of a as the tiles read them: the first, and words from one to the next. */
typedef struct rows {
    const lk_word *at;
    int64_t step;
} rows;

typedef struct buffer {
    _Alignas(64) float word[BLOCK * CHUNK];
} buffer;

static rows rows_of(const product *q, int64_t batch, int64_t row, int64_t n, buffer *b)
{
    const lk_tensor *a = &q->c->in[0];
    const int64_t at = (batch * q->p.m + row) * q->p.k + q->k0;
    if (a->dtype == LK_F32 || (q->dot && q->p.k % 2 == 0))
        return (rows){(const lk_word *)a->data + at / q->per, q->p.k / q->per};
    for (int64_t i = 0; i < n; i++)
        for (int64_t w = 0; w < q->words; w += LK_LANES) {
            lk_lanes t;
            words_along(q, a, at + i * q->p.k + w * q->per,
                        least(q->p.k - q->k0 - w * q->per, LK_LANES * q->per), &t);
            lk_lanes_store(b->word + i * CHUNK + w, &t);
        }
    return (rows){b->word, CHUNK};
}

/* ---- tiles ---- */

/* Sums over this chunk join those of the chunks before, or become results; n is constant in all
 * but the last columns. */
LK_INLINE void finish_row(const product *q, int64_t at, int64_t col, const int64_t n, float *t)
{
    const float *bias = q->c->in[2].data;
    if (q->k0)
        for (int64_t i = 0; i < n; i++)
            t[i] += q->sums[at + i];
    if (q->last && bias)
        for (int64_t i = 0; i < n; i++)
            t[i] += bias[col + i];
    if (q->last)
        lk_store(q->c->out[0].dtype, q->c->out[0].data, at, n, t);
    else
        memcpy(q->sums + at, t, (size_t)n * sizeof *t);
}

static void finish(const product *q, int64_t batch, int64_t row, int64_t n_rows, int64_t col,
                   int64_t width, float *y)
{
    const int64_t n = least(width, q->p.n - col);
    for (int64_t r = 0; r < n_rows; r++) {
        const int64_t at = (batch * q->p.m + row + r) * q->p.n + col;
        if (n == COLS)
            finish_row(q, at, col, COLS, y + r * width);
        else
            finish_row(q, at, col, n, y + r * width);
    }
}

static void block_range(void *context, int64_t first, int64_t end)
{
    const product *q = context;
    buffer b;
    _Alignas(64) float y[ROWS * COLS];
    for (int64_t u = first; u < end; u++) {
        const int64_t group = u % q->groups, block = u / q->groups % q->blocks;
        const int64_t batch = u / q->groups / q->blocks;
        const int64_t row = block_start(q, block), n_rows = block_start(q, block + 1) - row;
        const int64_t p0 = q->panels * group / q->groups, p1 = q->panels * (group + 1) / q->groups;
        const rows a =
            q->ta ? (rows){columns_at(q, batch, block), 1} : rows_of(q, batch, row, n_rows, &b);
        for (int64_t p = p0; p < p1; p++)
            for (int64_t r = 0; r < n_rows; r += ROWS) {
                const int64_t width = width_of(q, p * COLS), n = least(ROWS, n_rows - r);
                const lk_word *panel = panel_at(q, batch, p);
                (q->ta ? times_columns : times_rows)[width / 32][q->dot](
                    a.at + r * a.step, a.step, n, panel, q->words, y, NULL);
                finish(q, batch, row + r, n, p * COLS, width, y);
            }
    }
}

void LK_VEC(lk_vec_product)(const lk_call *c)
{
    product q = product_of(c);
    if (sums_apart(&q))
        q.sums = (float *)c->work + b_size(&q) + a_size(&q);
    do { /* once at least: a sum of nothing is 0 */
        const int64_t left = ceil_div(q.p.k - q.k0, q.per);
        q.words = least(left, CHUNK);
        q.last = left <= CHUNK;
        lk_parallel_for(q.p.n_batch * ceil_div(q.words, PACK_PART), 1, pack_range, &q);
        lk_parallel_for(q.p.n_batch * q.blocks * q.groups, 1, block_range, &q);
        q.k0 += CHUNK * q.per;
    } while (!q.last);
}
