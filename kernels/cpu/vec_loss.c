/* vec_loss.c - kernels of kernels/ops/loss.c: a row of logits at a time. */
#include "kernels/cpu/vec_brief.h"

#include "kernels/ops/ops_impl.h"

#define RUN LK_VEC_RUN

static int64_t row_units(const lk_call *c)
{
    return lk_rows(&c->in[0].shape);
}

static int64_t run_size(int64_t n, int64_t at)
{
    return n - at < RUN ? n - at : RUN;
}

static float most_of(const lk_tensor *z, int64_t at, int64_t n)
{
    lk_run buffer;
    float most = -INFINITY;
    if (z->dtype == LK_BF16)
        return lk_brief_most(z->data, at, n);
    for (int64_t i = 0; i < n; i += RUN)
        most = lk_run_most(lk_run_in(z, at + i, run_size(n, i), buffer), run_size(n, i), most);
    return most;
}

static float sum_exp(const lk_tensor *z, int64_t at, int64_t n, float most)
{
    lk_run buffer;
    double total = 0;
    if (z->dtype == LK_BF16)
        return lk_brief_sum_exp(z->data, at, n, most, NULL);
    for (int64_t i = 0; i < n; i += RUN) {
        const int64_t k = run_size(n, i);
        const float *x = lk_run_in(z, at + i, k, buffer);
        total += (double)lk_run_sum_exp(x, most, k);
    }
    return (float)total;
}

static void entropy_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t n = lk_last(&c->in[0].shape);
    const int32_t *label = c->in[1].data;
    float *y = c->out[0].data, *lse = c->out[1].data;
    for (int64_t r = first; r < end; r++) {
        const float most = most_of(&c->in[0], r * n, n);
        const float rest = logf(sum_exp(&c->in[0], r * n, n, most));
        float own = NAN;
        if (label[r] >= 0 && label[r] < n)
            lk_load(c->in[0].dtype, c->in[0].data, r * n + label[r], 1, &own);
        if (y)
            y[r] = rest + (most - own);
        if (lse)
            lse[r] = most + rest;
    }
}

/* dz = dy (e^(x - lse) - 1 where the label is `own`), n numbers in bf16. */
static void brief_grad_row(const lk_call *c, int64_t at, int64_t n, int64_t own, float lse,
                           float dy)
{
    const void *x = c->in[0].data;
    void *dz = c->out[0].data;
    for (int64_t i = 0; i < n; i += LK_LANES)
        lk_lanes_give(1, dz, at + i, n - i, dy * lk_brief_exp_take(x, at + i, n - i, lse));
    if (own >= 0 && own < n)
        lk_lanes_give(1, dz, at + own, 1, dy * lk_brief_exp_take(x, at + own, 1, lse) - dy);
}

static void grad_row(const lk_call *c, int64_t at, int64_t n, int64_t own, float lse, float dy)
{
    const float *x = (const float *)c->in[0].data + at;
    float *dz = (float *)c->out[0].data + at;
    for (int64_t i = 0; i < n; i++)
        dz[i] = dy * lk_expf(x[i] - lse);
    if (own >= 0 && own < n)
        dz[own] -= dy;
}

static void entropy_grad_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t n = lk_last(&c->in[0].shape);
    const int32_t *label = c->in[1].data;
    const float *lse = c->in[2].data, *dy = c->in[3].data;
    for (int64_t r = first; r < end; r++)
        if (c->out[0].dtype == LK_BF16)
            brief_grad_row(c, r * n, n, label[r], lse[r], dy[r]);
        else
            grad_row(c, r * n, n, label[r], lse[r], dy[r]);
}

const lk_cpu_kernel LK_VEC(lk_cpu_cross_entropy) = {.phase = {{row_units, entropy_range}}};
const lk_cpu_kernel LK_VEC(lk_cpu_cross_entropy_grad) = {
    .phase = {{row_units, entropy_grad_range}}};
