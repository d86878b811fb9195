/* vec_product.c - matrix products, y = op(a) op(b) + bias.
 *
 * A tile of 6 x 64 results stays in registers while k runs over a chunk (vec_product.h), and goes
 * to memory from there.  Its columns of b are packed first, as panels [k, 64]; rows of a are read
 * where they are when they lie along k, and otherwise packed a block at a time by the thread that
 * reads them, so that they are in its caches.  With products of bf16, k counts words of two.
 * Chunks are added in order, in the result when it is f32, in the work space else.
 *
 * Long sums into few results (gradients of weights) are cut into parts of k: a product whose a and
 * b both have k outermost is a batch of shorter ones, whose results are added in order.
 *
 * How the results are shared out changes no sum, so it may depend on the number of threads:
 *
 *   squares  each thread takes whole squares, some blocks of rows by a group of panels, over all
 *            chunks.  It packs a chunk's b for itself when it takes the first block, so it waits
 *            for no other thread, and what it packs next is on its way from memory meanwhile.
 *   chunks   where squares give unequal shares, or are so small that b would be packed too often:
 *            the threads pack a chunk together, and then share its blocks.
 */
#include "kernels/cpu/vec_product.h"

#include "kernels/cpu/vec_table.h"
#include "kernels/ops/ops_impl.h"
#include "kernels/thread.h"

size_t LK_VEC(lk_vec_product_work_bytes)(const lk_call *c);
void LK_VEC(lk_vec_product)(const lk_call *c);

#define BLOCK     (8 * LK_PRODUCT_ROWS) /* rows of a that are taken together */
#define CHUNK     512                   /* words */
#define PACK_PART 32                    /* words that are packed together */
#define GROUP     4                     /* panels that stay in the second cache */
#define PAST      ((size_t)32 << 20)    /* bytes */
#define PARTS     4
#define PARTS_MAX (1 << 18) /* numbers of the results of all parts */
#define SQUARE    4         /* blocks of a square at least */

typedef struct product {
    const lk_call *c;
    lk_product p; /* of the parts, if there are several: so many times the batches */
    int ta, tb, dot;
    int64_t n_parts;
    int64_t per;                    /* elements of k a word */
    int64_t panels, blocks, groups; /* of columns; of rows; of panels */
    int64_t workers, squares;       /* that take squares alone; of blocks. 0: all share blocks */
    int past;                       /* results go to memory past the caches */
    int64_t k0, words;              /* the chunk: first element, words */
    int last;                       /* it is the last one */
    lk_word *packed;     /* [n_batch, panels, words, LK_PRODUCT_COLS] of b; a worker's: a group */
    int64_t first_panel; /* that is packed, of all batches */
    float *sums;         /* [n_batch, m, n] before the last chunk, or of the parts */
} product;

/* Results that the caches do not hold until they are read need not be read before they are written;
 * vectors must then be lines of the cache. */
static int past_of(const lk_call *c, const lk_product *p)
{
    const lk_tensor *y = &c->out[0];
    return LK_LANES == 16 && y->dtype == LK_F32 && p->n % LK_LANES == 0 && p->k <= CHUNK &&
           lk_tensor_bytes(y) >= PAST && (uintptr_t)y->data % LK_TILE_LINE == 0;
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

/* Do the threads have equal shares of n? */
static int is_even(int64_t n)
{
    return n % lk_threads() == 0 || n >= 4 * lk_threads();
}

/* How many squares rows are cut into, so that each thread has as many; 0 where that would pack b
 * too often. */
static int64_t squares_of(const product *q)
{
    const int64_t groups = q->panels % q->groups ? 1 : q->groups;
    const int64_t most = q->ta && q->p.k > CHUNK * q->per ? q->blocks / SQUARE : 1;
    for (int64_t n = 1; n <= most; n++)
        if (is_even(q->p.n_batch * groups * n))
            return n;
    return 0;
}

static product product_of(const lk_call *c)
{
    product q = {.c = c, .p = lk_product_of(c)};
    lk_product *p = &q.p;
    q.ta = c->node->attr.matmul.trans_a;
    q.tb = c->node->attr.matmul.trans_b;
    q.dot = LK_VEC_DOT && c->in[0].dtype == LK_BF16;
    q.per = q.dot ? 2 : 1;
    q.n_parts = parts_of(&q);
    p->n_batch *= q.n_parts;
    p->k /= q.n_parts;
    q.past = q.n_parts == 1 && past_of(c, p);
    q.packed = c->work;
    q.panels = lk_ceil_div(p->n, LK_PRODUCT_COLS);
    q.blocks = lk_ceil_div(p->m, BLOCK);
    q.groups = lk_ceil_div(q.panels, GROUP);
    if (p->n_batch * q.blocks * q.panels == 0)
        return q;
    q.squares = squares_of(&q);
    q.workers = q.squares ? lk_threads() : 0;
    if (!q.workers && p->n_batch * q.blocks * q.groups < 2 * lk_threads())
        q.groups = lk_least(lk_ceil_div(2 * lk_threads(), p->n_batch * q.blocks), q.panels);
    return q;
}

/* Words of a chunk at most. */
static int64_t most_words(const product *q)
{
    const int64_t words = lk_ceil_div(q->p.k, q->per);
    return words < CHUNK ? words : CHUNK;
}

/* Numbers of packed b. */
static int64_t b_size(const product *q)
{
    const int64_t panels =
        q->workers ? q->workers * lk_least(GROUP, q->panels) : q->p.n_batch * q->panels;
    return panels * LK_PRODUCT_COLS * most_words(q);
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
    const int as_they_are = t->dtype == LK_F32 || q->dot;
    const char *from = (const char *)t->data + at * (t->dtype == LK_F32 ? 4 : 2);
    if (as_they_are && n == LK_LANES * q->per) {
        memcpy(to, from, sizeof *to);
    } else {
        float buffer[LK_LANES] = {0};
        if (as_they_are)
            memcpy(buffer, from, (size_t)n * lk_dtype_bytes(t->dtype));
        else
            lk_load(t->dtype, t->data, at, n, buffer);
        lk_lanes_load(to, buffer);
    }
}

/* Words [w0, w1) of columns col, .. col + n of t [batch, k, ld], which lie across k, `pitch` apart.
 */
LK_INLINE void across(const product *q, const lk_tensor *t, int64_t batch, int64_t ld, int64_t w0,
                      int64_t w1, int64_t col, const int64_t n, int64_t pitch, float *to)
{
    static const lk_bf16 none[LK_PRODUCT_COLS] = {0};
    const int64_t per = q->per, n_k = q->p.k, k0 = q->k0, first = batch * n_k * ld + col;
    const lk_dtype dtype = t->dtype;
    const void *data = t->data;
    const int dot = q->dot;
    for (int64_t w = w0; w < w1; w++) {
        const int64_t row = k0 + w * per, at = first + row * ld;
        const lk_bf16 *even = (const lk_bf16 *)data + at;
        const lk_bf16 *odd = row + 1 < n_k ? even + ld : none;
        float *word = to + w * pitch;
        int64_t i = 0;
        if (!dot) {
            lk_load(dtype, data, at, n, word);
            continue;
        }
        for (; i + 32 <= n; i += 32)
            lk_tile_zip(even + i, odd + i, word + i);
        if (i < n && n >= 32) { /* some of them twice */
            i = n;
            lk_tile_zip(even + n - 32, odd + n - 32, word + n - 32);
        }
        for (; i < n; i++) {
            const uint32_t pair = (uint32_t)even[i] | (uint32_t)odd[i] << 16;
            memcpy(word + i, &pair, sizeof pair);
        }
    }
}

static void words_across(const product *q, const lk_tensor *t, int64_t batch, int64_t ld,
                         int64_t w0, int64_t w1, int64_t col, int64_t n, int64_t pitch, float *to)
{
    if (n == LK_PRODUCT_COLS)
        across(q, t, batch, ld, w0, w1, col, LK_PRODUCT_COLS, pitch, to);
    else if (n == BLOCK)
        across(q, t, batch, ld, w0, w1, col, BLOCK, pitch, to);
    else
        across(q, t, batch, ld, w0, w1, col, n, pitch, to);
}

/* Words [w0, w1) of columns col .. of b, which lie along k. */
static void pack_turned(const product *q, int64_t batch, int64_t col, int64_t width, int64_t w0,
                        int64_t w1, lk_word *to)
{
    const int64_t n = lk_least(width, q->p.n - col);
    for (int64_t j = 0; j < width; j += LK_LANES)
        for (int64_t w = w0; w < w1; w += LK_LANES) {
            lk_lanes t[LK_LANES];
            const int64_t k = q->k0 + w * q->per;
            const int64_t there = lk_least(q->p.k - k, LK_LANES * q->per);
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
    return left <= 16 ? 16 : left <= 32 ? 32 : LK_PRODUCT_COLS;
}

static lk_word *panel_at(const product *q, int64_t batch, int64_t panel)
{
    return q->packed + (batch * q->panels + panel - q->first_panel) * LK_PRODUCT_COLS * q->words;
}

static void pack_panel(const product *q, int64_t batch, int64_t panel, int64_t w0, int64_t w1)
{
    const int64_t col = panel * LK_PRODUCT_COLS, width = width_of(q, col),
                  n = lk_least(width, q->p.n - col);
    float *to = (float *)panel_at(q, batch, panel);
    if (n < width && !q->tb)
        memset(to + w0 * width, 0, (size_t)((w1 - w0) * width) * sizeof *to);
    if (q->tb)
        pack_turned(q, batch, col, width, w0, w1, to);
    else
        words_across(q, &q->c->in[1], batch, q->p.n, w0, w1, col, n, width, to);
}

/* Rows of a that are taken together: strips of LK_PRODUCT_ROWS, shared out evenly. */
static int64_t block_start(const product *q, int64_t block)
{
    return lk_least(lk_ceil_div(q->p.m, LK_PRODUCT_ROWS) * block / q->blocks * LK_PRODUCT_ROWS,
                    q->p.m);
}

/* Shares of packing, so that memory is read in order: whole panels where columns lie along k, else
 * some words of all panels. */
static int64_t pack_units(const product *q)
{
    return q->tb ? q->panels : lk_ceil_div(q->words, PACK_PART);
}

static void pack_range(void *context, int64_t first, int64_t end)
{
    const product *q = context;
    const int64_t n = pack_units(q);
    for (int64_t u = first; u < end; u++) {
        const int64_t batch = u / n, w0 = u % n * PACK_PART;
        if (q->tb)
            pack_panel(q, batch, u % n, 0, q->words);
        for (int64_t panel = 0; !q->tb && panel < q->panels; panel++)
            pack_panel(q, batch, panel, w0, lk_least(w0 + PACK_PART, q->words));
    }
}

typedef struct buffer {
    _Alignas(64) float word[BLOCK * CHUNK];
} buffer;

/* Where columns of a are packed from: a whole BLOCK if there is one, which is copied faster. */
static int64_t first_column(const product *q, int64_t row)
{
    return q->p.m < BLOCK ? 0 : lk_least(row, q->p.m - BLOCK);
}

static lk_product_rows rows_of(const product *q, int64_t batch, int64_t row, int64_t n, buffer *b)
{
    const lk_tensor *a = &q->c->in[0];
    const int64_t at = (batch * q->p.m + row) * q->p.k + q->k0;
    if (q->ta) {
        const int64_t first = first_column(q, row);
        words_across(q, a, batch, q->p.m, 0, q->words, first, lk_least(BLOCK, q->p.m), BLOCK,
                     b->word);
        return (lk_product_rows){b->word + row - first, 1, BLOCK};
    }
    if (a->dtype == LK_F32 || (q->dot && q->p.k % 2 == 0))
        return (lk_product_rows){(const lk_word *)a->data + at / q->per, q->p.k / q->per, 1};
    for (int64_t i = 0; i < n; i++)
        for (int64_t w = 0; w < q->words; w += LK_LANES) {
            lk_lanes t;
            words_along(q, a, at + i * q->p.k + w * q->per,
                        lk_least(q->p.k - q->k0 - w * q->per, LK_LANES * q->per), &t);
            lk_lanes_store(b->word + i * CHUNK + w, &t);
        }
    return (lk_product_rows){b->word, CHUNK, 1};
}

/* ---- steps ---- */

/* Results of a block of rows from the one at `at` on, n columns of a panel. */
static void panel_times(const product *q, const lk_product_rows *a, const lk_tile_lines *h,
                        int64_t n_rows, const lk_word *panel, int64_t at, int64_t col)
{
    const lk_tensor *y = &q->c->out[0];
    const int64_t width = width_of(q, col), n = lk_least(width, q->p.n - col);
    const float *bias = q->c->in[2].data;
    const int last = q->last && q->n_parts == 1;
    const lk_product_target t = {.dtype = last ? y->dtype : LK_F32,
                                 .to =
                                     last ? (char *)y->data + at * (int64_t)lk_dtype_bytes(y->dtype)
                                          : (char *)(q->sums + at),
                                 .step = q->p.n,
                                 .before = q->k0 ? q->sums + at : NULL,
                                 .bias = last && bias ? bias + col : NULL,
                                 .past = q->past};
    lk_product_fn *fn = lk_product_times_of[width / 32][q->dot];
    _Alignas(64) float few[BLOCK * LK_PRODUCT_COLS];
    const lk_product_target aside = {.dtype = LK_F32, .to = few, .step = width};
    fn(a, h, n_rows, panel, q->words, n == width ? &t : &aside);
    if (n < width)
        lk_product_finish_few(&t, n_rows, n, width, few);
}

/* A block of rows times a group of panels, as a step of the work on a square, or of the threads'
 * common work on a chunk. */
typedef struct step {
    int64_t batch, block, p0, p1, k0;
    int64_t task, first, end; /* the square and its blocks */
} step;

/* Columns of a that are packed for a step. */
static void ask_a(const product *q, const step *s, lk_tile_lines *h)
{
    const lk_tensor *t = &q->c->in[0];
    const int64_t bytes = (int64_t)lk_dtype_bytes(t->dtype);
    const int64_t row = first_column(q, block_start(q, s->block));
    h->at[0] = (const char *)t->data + ((s->batch * q->p.k + s->k0) * q->p.m + row) * bytes;
    h->step[0] = q->p.m * bytes;
    h->n[0] = lk_ceil_div(BLOCK * bytes, LK_TILE_LINE) + 1;
}

/* A panel of b that is. */
static void ask_b(const product *q, const step *s, int64_t panel, lk_tile_lines *h)
{
    const lk_tensor *t = &q->c->in[1];
    const int64_t bytes = (int64_t)lk_dtype_bytes(t->dtype);
    h->at[1] = (const char *)t->data +
               ((s->batch * q->p.k + s->k0) * q->p.n + panel * LK_PRODUCT_COLS) * bytes;
    h->step[1] = q->p.n * bytes;
    h->n[1] = lk_ceil_div(LK_PRODUCT_COLS * bytes, LK_TILE_LINE);
}

/* `next` is NULL after the last step. */
static void take_step(const product *q, const step *s, const step *next, buffer *b)
{
    const int64_t row = block_start(q, s->block), n_rows = block_start(q, s->block + 1) - row;
    const int packs = q->workers && s->block == s->first;
    const lk_product_rows a = rows_of(q, s->batch, row, n_rows, b);
    for (int64_t p = s->p0; p < s->p1; p++) {
        lk_tile_lines h = {0};
        const int last = p + 1 == s->p1;
        if (packs)
            pack_panel(q, s->batch, p, 0, q->words);
        if (last && next && q->ta)
            ask_a(q, next, &h);
        if (packs && !last && !q->tb)
            ask_b(q, s, p + 1, &h);
        if (last && next && q->workers && next->block == next->first && !q->tb)
            ask_b(q, next, next->p0, &h);
        panel_times(q, &a, &h, n_rows, panel_at(q, s->batch, p),
                    (s->batch * q->p.m + row) * q->p.n + p * LK_PRODUCT_COLS, p * LK_PRODUCT_COLS);
    }
}

/* The common work: unit u of a chunk. */
static step step_of(const product *q, int64_t u)
{
    const int64_t group = u / q->blocks % q->groups;
    return (step){.batch = u / q->blocks / q->groups,
                  .block = u % q->blocks,
                  .p0 = q->panels * group / q->groups,
                  .p1 = q->panels * (group + 1) / q->groups,
                  .k0 = q->k0};
}

static void finish_stores(void)
{
#if LK_LANES == 16
    _mm_sfence(); /* what went past the caches is there for other threads */
#endif
}

static void block_range(void *context, int64_t first, int64_t end)
{
    const product *q = context;
    buffer b;
    for (int64_t u = first; u < end; u++) {
        const step s = step_of(q, u), next = step_of(q, u + 1);
        take_step(q, &s, u + 1 < end ? &next : NULL, &b);
    }
    finish_stores();
}

/* The chunk of k at k0. */
static void take_chunk(product *q, int64_t k0)
{
    const int64_t left = lk_ceil_div(q->p.k - k0, q->per);
    q->k0 = k0;
    q->words = lk_least(left, CHUNK);
    q->last = left <= CHUNK;
}

/* The first step of a square. */
static step begin(const product *q, int64_t task)
{
    const int64_t group = task % q->groups, square = task / q->groups % q->squares;
    const int64_t first = q->blocks * square / q->squares;
    return (step){.batch = task / q->groups / q->squares,
                  .block = first,
                  .p0 = q->panels * group / q->groups,
                  .p1 = q->panels * (group + 1) / q->groups,
                  .task = task,
                  .first = first,
                  .end = q->blocks * (square + 1) / q->squares};
}

static step after(const product *q, const step *s)
{
    step next = *s;
    next.block++;
    if (next.block < s->end)
        return next;
    next.block = s->first;
    next.k0 += CHUNK * q->per;
    return next.k0 < q->p.k ? next : begin(q, s->task + 1);
}

static void run_workers(void *context, int64_t first, int64_t end)
{
    product q = *(const product *)context;
    lk_word *packed = q.packed;
    const int64_t n = q.p.n_batch * q.squares * q.groups;
    buffer b;
    for (int64_t worker = first; worker < end; worker++) {
        const int64_t until = n * (worker + 1) / q.workers;
        step s = begin(&q, n * worker / q.workers);
        q.packed = packed + worker * lk_least(GROUP, q.panels) * LK_PRODUCT_COLS * most_words(&q);
        while (s.task < until) {
            const step next = after(&q, &s);
            take_chunk(&q, s.k0);
            q.first_panel = s.batch * q.panels + s.p0;
            take_step(&q, &s, next.task < until ? &next : NULL, &b);
            s = next;
        }
    }
    finish_stores();
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
        for (int64_t i = 0; i < n; i += LK_PRODUCT_COLS) {
            const int64_t some = lk_least(LK_PRODUCT_COLS, n - i);
            float sum[LK_PRODUCT_COLS];
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
        lk_parallel_for(q.p.n_batch * pack_units(&q), 1, pack_range, &q);
        lk_parallel_for(q.p.n_batch * q.blocks * q.groups, 1, block_range, &q);
    }
    if (q.n_parts > 1)
        lk_parallel_for(q.p.n_batch / q.n_parts * q.p.m, 1, add_range, &q);
}
