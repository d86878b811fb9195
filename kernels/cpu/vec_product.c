/* vec_product.c - matrix products and convolutions in plain vector code, for builds without oneDNN,
 * for shapes oneDNN is slow at, and as a second opinion in the tests.
 *
 * product   A tile of ROWS x COLS results stays in registers while k runs; b is read in rows of
 *           COLS, so a transposed b is packed first.
 * conv      Each output position is a sum over taps of [I] x [I, O] products: the same tile over
 * the output channels, with the filter packed as [tap, I, O].
 */
#include "kernels/cpu/vec.h"

#include "kernels/cpu/vec_table.h"
#include "kernels/ops/ops_impl.h"
#include "kernels/thread.h"

size_t LK_VEC(lk_vec_product_work_bytes)(const lk_call *c);
void LK_VEC(lk_vec_product)(const lk_call *c);
void LK_VEC(lk_vec_conv)(const lk_call *c);
void LK_VEC(lk_vec_add_parts)(float *sum, const float *parts, int64_t n_parts, int64_t n);

#define ROWS 6
#define COLS 64

static inline float at(const lk_tensor *t, int64_t i)
{
    return t->dtype == LK_F32 ? ((const float *)t->data)[i]
                              : lk_bf16_to_f32(((const lk_bf16 *)t->data)[i]);
}

static inline void put(const lk_tensor *t, int64_t i, float x)
{
    if (t->dtype == LK_F32)
        ((float *)t->data)[i] = x;
    else
        ((lk_bf16 *)t->data)[i] = lk_bf16_from_f32(x);
}

/* ---- product: work space holds b as f32 panels [n / COLS, k, COLS] and a as f32 [m, k] ---- */

static int64_t panels(int64_t n)
{
    return (n + COLS - 1) / COLS;
}

size_t LK_VEC(lk_vec_product_work_bytes)(const lk_call *c)
{
    const lk_product p = lk_product_of(c);
    return (size_t)(p.n_batch * (panels(p.n) * COLS * p.k + p.m * p.k) + 1) * sizeof(float);
}

static void pack_b(void *context, int64_t first, int64_t end)
{
    const lk_call *c = context;
    const lk_product p = lk_product_of(c);
    const int tb = c->node->attr.matmul.trans_b;
    for (int64_t u = first; u < end; u++) {
        const int64_t g = u / panels(p.n), col = u % panels(p.n) * COLS;
        float *to = (float *)c->work + u * COLS * p.k;
        for (int64_t k = 0; k < p.k; k++)
            for (int64_t j = 0; j < COLS; j++)
                to[k * COLS + j] = col + j >= p.n
                                       ? 0
                                       : at(&c->in[1], g * p.k * p.n + (tb ? (col + j) * p.k + k
                                                                           : k * p.n + col + j));
    }
}

static float *packed_a(const lk_call *c, const lk_product *p)
{
    return (float *)c->work + p->n_batch * panels(p->n) * COLS * p->k;
}

static void pack_a(void *context, int64_t first, int64_t end)
{
    const lk_call *c = context;
    const lk_product p = lk_product_of(c);
    const int ta = c->node->attr.matmul.trans_a;
    float *to = packed_a(c, &p);
    for (int64_t u = first; u < end; u++) {
        const int64_t g = u / p.m, row = u % p.m;
        for (int64_t k = 0; k < p.k; k++)
            to[u * p.k + k] = at(&c->in[0], g * p.m * p.k + (ta ? k * p.m + row : row * p.k + k));
    }
}

static void tile(const float *a, const float *b, int64_t n_k, int64_t n_rows, float y[ROWS][COLS])
{
    float s[ROWS][COLS] = {{0}};
    if (n_rows == ROWS) {
        for (int64_t k = 0; k < n_k; k++)
            for (int r = 0; r < ROWS; r++) {
                const float x = a[r * n_k + k];
                for (int j = 0; j < COLS; j++)
                    s[r][j] += x * b[k * COLS + j];
            }
    } else {
        for (int64_t k = 0; k < n_k; k++)
            for (int64_t r = 0; r < n_rows; r++) {
                const float x = a[r * n_k + k];
                for (int j = 0; j < COLS; j++)
                    s[r][j] += x * b[k * COLS + j];
            }
    }
    memcpy(y, s, sizeof s);
}

static void product_range(void *context, int64_t first, int64_t end)
{
    const lk_call *c = context;
    const lk_product p = lk_product_of(c);
    const int64_t blocks = (p.m + ROWS - 1) / ROWS;
    const float *bias = c->in[2].data;
    float y[ROWS][COLS];
    for (int64_t u = first; u < end; u++) {
        const int64_t g = u / (blocks * panels(p.n)), col = u / blocks % panels(p.n) * COLS;
        const int64_t row = u % blocks * ROWS, n_rows = p.m - row < ROWS ? p.m - row : ROWS;
        const int64_t n_cols = p.n - col < COLS ? p.n - col : COLS;
        tile(packed_a(c, &p) + (g * p.m + row) * p.k,
             (const float *)c->work + (g * panels(p.n) * COLS + col) * p.k, p.k, n_rows, y);
        for (int64_t r = 0; r < n_rows; r++)
            for (int64_t j = 0; j < n_cols; j++)
                put(&c->out[0], (g * p.m + row + r) * p.n + col + j,
                    y[r][j] + (bias ? bias[col + j] : 0));
    }
}

void LK_VEC(lk_vec_product)(const lk_call *c)
{
    const lk_product p = lk_product_of(c);
    union {
        const lk_call *c;
        void *v;
    } u = {.c = c};
    lk_parallel_for(p.n_batch * panels(p.n), 1, pack_b, u.v);
    lk_parallel_for(p.n_batch * p.m, 1, pack_a, u.v);
    lk_parallel_for(p.n_batch * panels(p.n) * ((p.m + ROWS - 1) / ROWS), 1, product_range, u.v);
}

/* ---- convolutions ---- */

typedef struct position {
    int64_t b, o[3];
} position;

static position position_of(const lk_conv_sizes *s, const int64_t *size, int64_t i)
{
    position p;
    (void)s;
    p.o[2] = i % size[2];
    p.o[1] = i / size[2] % size[1];
    p.o[0] = i / size[2] / size[1] % size[0];
    p.b = i / size[2] / size[1] / size[0];
    return p;
}

/* Element of x that output o meets at tap k, or -1 in the padding. */
static int64_t meets(const lk_conv_sizes *s, const position *p, int64_t k)
{
    const int64_t k2 = k % s->taps[2], k1 = k / s->taps[2] % s->taps[1];
    const int64_t k0 = k / s->taps[2] / s->taps[1];
    const int64_t p0 = p->o[0] * s->stride[0] - s->lo[0] + k0 * s->dilation[0];
    const int64_t p1 = p->o[1] * s->stride[1] - s->lo[1] + k1 * s->dilation[1];
    const int64_t p2 = p->o[2] * s->stride[2] - s->lo[2] + k2 * s->dilation[2];
    if (p0 < 0 || p0 >= s->in[0] || p1 < 0 || p1 >= s->in[1] || p2 < 0 || p2 >= s->in[2])
        return -1;
    return (((p->b * s->in[0] + p0) * s->in[1] + p1) * s->in[2] + p2) * s->in_ch;
}

/* The reverse: the output that x position p feeds at tap k, or -1. */
static int64_t feeds(const lk_conv_sizes *s, const position *p, int64_t k)
{
    const int64_t tap[3] = {k / s->taps[2] / s->taps[1], k / s->taps[2] % s->taps[1],
                            k % s->taps[2]};
    int64_t at_o = p->b;
    for (int d = 0; d < 3; d++) {
        const int64_t q = p->o[d] + s->lo[d] - tap[d] * s->dilation[d];
        if (q < 0 || q % s->stride[d] || q / s->stride[d] >= s->out[d])
            return -1;
        at_o = at_o * s->out[d] + q / s->stride[d];
    }
    return at_o * s->out_ch;
}

static void conv_range(void *context, int64_t first, int64_t end)
{
    const lk_call *c = context;
    const lk_conv_sizes s = lk_conv_sizes_of(c);
    const int64_t n_taps = s.taps[0] * s.taps[1] * s.taps[2];
    const int64_t in_g = s.in_ch / s.groups, out_g = s.out_ch / s.groups;
    const float *bias = c->in[2].data;
    for (int64_t i = first; i < end; i++) {
        const position p = position_of(&s, s.out, i);
        for (int64_t ch = 0; ch < s.out_ch; ch++) {
            float sum = bias ? bias[ch] : 0;
            for (int64_t k = 0; k < n_taps; k++) {
                const int64_t x = meets(&s, &p, k);
                for (int64_t j = 0; x >= 0 && j < in_g; j++)
                    sum += at(&c->in[0], x + ch / out_g * in_g + j) *
                           at(&c->in[1], (ch * n_taps + k) * in_g + j);
            }
            put(&c->out[0], i * s.out_ch + ch, sum);
        }
    }
}

static void conv_dx_range(void *context, int64_t first, int64_t end)
{
    const lk_call *c = context;
    const lk_conv_sizes s = lk_conv_sizes_of(c);
    const int64_t n_taps = s.taps[0] * s.taps[1] * s.taps[2];
    const int64_t in_g = s.in_ch / s.groups, out_g = s.out_ch / s.groups;
    for (int64_t i = first; i < end; i++) {
        const position p = position_of(&s, s.in, i);
        for (int64_t ch = 0; ch < s.in_ch; ch++) {
            const int64_t group = ch / in_g;
            float sum = 0;
            for (int64_t k = 0; k < n_taps; k++) {
                const int64_t y = feeds(&s, &p, k);
                for (int64_t o = group * out_g; y >= 0 && o < (group + 1) * out_g; o++)
                    sum +=
                        at(&c->in[0], y + o) * at(&c->in[1], (o * n_taps + k) * in_g + ch % in_g);
            }
            put(&c->out[0], i * s.in_ch + ch, sum);
        }
    }
}

static void conv_dw_range(void *context, int64_t first, int64_t end)
{
    const lk_call *c = context;
    const lk_conv_sizes s = lk_conv_sizes_of(c);
    const int64_t n_taps = s.taps[0] * s.taps[1] * s.taps[2];
    const int64_t in_g = s.in_ch / s.groups, out_g = s.out_ch / s.groups;
    const int64_t n = s.n_batch * s.out[0] * s.out[1] * s.out[2];
    float *w = c->out[0].data;
    for (int64_t u = first; u < end; u++) { /* one output channel and tap */
        const int64_t ch = u / n_taps, k = u % n_taps;
        memset(w + u * in_g, 0, (size_t)in_g * sizeof *w);
        for (int64_t i = 0; i < n; i++) {
            const position p = position_of(&s, s.out, i);
            const int64_t x = meets(&s, &p, k);
            const float dy = at(&c->in[1], i * s.out_ch + ch);
            for (int64_t j = 0; x >= 0 && j < in_g; j++)
                w[u * in_g + j] += dy * at(&c->in[0], x + ch / out_g * in_g + j);
        }
    }
}

void LK_VEC(lk_vec_conv)(const lk_call *c)
{
    const lk_conv_sizes s = lk_conv_sizes_of(c);
    union {
        const lk_call *c;
        void *v;
    } u = {.c = c};
    if (c->node->op == LK_OP_CONV)
        lk_parallel_for(s.n_batch * s.out[0] * s.out[1] * s.out[2], 1, conv_range, u.v);
    else if (c->node->op == LK_OP_CONV_DX)
        lk_parallel_for(s.n_batch * s.in[0] * s.in[1] * s.in[2], 1, conv_dx_range, u.v);
    else
        lk_parallel_for(s.out_ch * s.taps[0] * s.taps[1] * s.taps[2], 1, conv_dw_range, u.v);
}

void LK_VEC(lk_vec_add_parts)(float *sum, const float *parts, int64_t n_parts, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float s = parts[i];
        for (int64_t p = 1; p < n_parts; p++)
            s += parts[p * n + i];
        sum[i] = s;
    }
}
