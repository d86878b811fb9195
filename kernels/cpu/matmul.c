/* matmul.c - products on the CPU: oneDNN where it is built in, vec_product.c otherwise.
 *
 * Parts: runs of samples; then, while there are few, rows of the result, then columns.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parts.h"
#include "kernels/cpu/vec_table.h"

#include "kernels/ops/ops_impl.h"

#define WANTED_PARTS 16
#define LEAST_TILE   128 /* rows or columns a part must have to be worth its start */

static int64_t clamp(int64_t x, int64_t lo, int64_t hi)
{
    return x < lo ? lo : x > hi ? hi : x;
}

/* Start of part i of n of [0, size), at multiples of 16 so that vectors stay whole. */
static int64_t cut(int64_t size, int64_t i, int64_t n)
{
    const int64_t at = (size * i / n + 15) / 16 * 16;
    return i == n ? size : at > size ? size : at;
}

typedef struct tile {
    int64_t g0, g1, m0, m1, n0, n1;
} tile;

static lk_status add_tile(lk_parts *parts, const lk_call *c, const lk_product *p, const tile *t)
{
    lk_status st = LK_OK;
    const int ta = c->node->attr.matmul.trans_a, tb = c->node->attr.matmul.trans_b;
    const int64_t lda = ta ? p->m : p->k, ldb = tb ? p->k : p->n;
    const size_t in = lk_dtype_bytes(c->in[0].dtype), out = lk_dtype_bytes(c->out[0].dtype);
    const lk_dnn_product d = {.n_batch = t->g1 - t->g0,
                              .m = t->m1 - t->m0,
                              .n = t->n1 - t->n0,
                              .k = p->k,
                              .trans_a = ta,
                              .trans_b = tb,
                              .lda = lda,
                              .ldb = ldb,
                              .ldy = p->n,
                              .a_batch = p->m * p->k,
                              .b_batch = p->k * p->n,
                              .y_batch = p->m * p->n,
                              .in = c->in[0].dtype,
                              .out = c->out[0].dtype,
                              .has_bias = lk_has(c, 2)};
    const int64_t a_at = t->g0 * p->m * p->k + t->m0 * (ta ? 1 : lda);
    const int64_t b_at = t->g0 * p->k * p->n + t->n0 * (tb ? ldb : 1);
    const int64_t y_at = (t->g0 * p->m + t->m0) * p->n + t->n0;
    lk_dnn *dnn = NULL;
    if (d.n_batch <= 0 || d.m <= 0 || d.n <= 0)
        return LK_OK;
    LK_TRY(lk_dnn_new_product(&dnn, &d));
    LK_TRY(lk_parts_add(parts, &dnn, (size_t)a_at * in, (size_t)b_at * in,
                        (size_t)t->n0 * sizeof(float), (size_t)y_at * out));
done:
    return st;
}

static lk_status matmul_prepare(lk_call *c, size_t *work_bytes)
{
    lk_status st = LK_OK;
    const lk_product p = lk_product_of(c);
    const int64_t by_g = clamp(p.n_batch, 1, WANTED_PARTS);
    const int64_t by_m = clamp(p.m / LEAST_TILE, 1, WANTED_PARTS / by_g);
    const int64_t by_n = clamp(p.n / LEAST_TILE, 1, WANTED_PARTS / (by_g * by_m));
    lk_parts *parts = NULL;
    if (!lk_cpu_has_onednn() || p.n_batch == 0 || p.m == 0 || p.n == 0 || p.k == 0) {
        *work_bytes = lk_vec_now()->product_work_bytes(c);
        return LK_OK;
    }
    LK_TRY(lk_parts_new(&parts));
    for (int64_t n = 0; n < by_n; n++)
        for (int64_t g = 0; g < by_g; g++)
            for (int64_t m = 0; m < by_m; m++) {
                const tile t = {p.n_batch * g / by_g, p.n_batch * (g + 1) / by_g,
                                cut(p.m, m, by_m),    cut(p.m, m + 1, by_m),
                                cut(p.n, n, by_n),    cut(p.n, n + 1, by_n)};
                LK_TRY(add_tile(parts, c, &p, &t));
            }
    *work_bytes = lk_parts_finish(parts);
    c->state = parts;
    parts = NULL;
done:
    lk_parts_free(&parts);
    return st;
}

static void matmul_release(lk_call *c)
{
    lk_parts *parts = c->state;
    lk_parts_free(&parts);
    c->state = NULL;
}

static lk_status matmul_whole(const lk_call *c)
{
    lk_status st = LK_OK;
    if (c->state)
        LK_TRY(lk_parts_run(c->state, c->in[0].data, c->in[1].data, c->in[2].data, c->out[0].data,
                            c->work));
    else
        lk_vec_now()->product(c);
    if (c->node->attr.matmul.has_act)
        lk_vec_now()->unary_in_place(&c->out[0], c->node->attr.matmul.act,
                                     c->node->attr.matmul.act_a);
done:
    return st;
}

const lk_cpu_kernel lk_cpu_matmul = {
    .prepare = matmul_prepare, .release = matmul_release, .whole = matmul_whole};
