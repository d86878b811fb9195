/* vec_snake.c - snake and its gradient (kernels/ops/elementwise.c).
 *
 * Channels repeat side by side, so that a run holds several rows.  In bf16, numbers are widened in
 * registers and briefly computed (vec_brief.h). */
#include "kernels/cpu/vec_brief.h"
#include "kernels/ops/ops_impl.h"

#define RUN LK_VEC_RUN

/* alpha of the channels from `ch` on (in bf16 alpha / pi) and the inverse of alpha, repeated for
 * the rows side by side. */
typedef struct slopes {
    int64_t n_ch, ch, m, wide; /* channels: all, the first here, how many here; rows */
    lk_run alpha, inverse;
} slopes;

static void slopes_at(slopes *k, const lk_call *c, int64_t ch)
{
    const float *alpha = c->in[1].data;
    k->n_ch = lk_last(&c->in[0].shape);
    k->ch = ch;
    k->m = k->n_ch - ch < RUN ? k->n_ch - ch : RUN;
    k->wide = lk_abreast(k->n_ch, RUN);
    memset(k->alpha, 0, sizeof k->alpha); /* whole vectors are read */
    memset(k->inverse, 0, sizeof k->inverse);
    for (int64_t r = 0; r < k->wide; r++)
        memcpy(k->alpha + r * k->m, alpha + ch, (size_t)k->m * sizeof *alpha);
    for (int64_t i = 0; i < k->wide * k->m; i++) {
        k->inverse[i] = 1.0f / k->alpha[i];
        k->alpha[i] *= c->in[0].dtype == LK_BF16 ? 0.318309886f : 1.0f;
    }
}

/* Elements from the run of rows [row, end) on: how many. */
static int64_t slopes_run(const slopes *k, int64_t row, int64_t end)
{
    return (end - row < k->wide ? end - row : k->wide) * k->m;
}

static int64_t snake_rows(const lk_call *c)
{
    return 64 * lk_abreast(lk_last(&c->in[0].shape), RUN);
}

static int64_t snake_units(const lk_call *c)
{
    return (lk_rows(&c->in[0].shape) + snake_rows(c) - 1) / snake_rows(c);
}

static void snake_run(const slopes *k, int64_t n, const float *restrict x, float *restrict y)
{
    float unused;
#pragma omp simd private(unused)
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] + k->inverse[i] * lk_sin_squared(k->alpha[i] * x[i], &unused);
}

static void brief_snake_run(const slopes *k, int64_t at, int64_t n, const void *px, void *y)
{
    lk_lanes unused;
    for (int64_t i = 0; i < n; i += LK_LANES) {
        const lk_lanes x = lk_lanes_take(1, px, at + i, n - i);
        const lk_lanes square = lk_brief_sin_squared(lk_lanes_get(0, k->alpha, i) * x, &unused);
        lk_lanes_give(1, y, at + i, n - i, x + lk_lanes_get(0, k->inverse, i) * square);
    }
}

static void snake_rows_of(const lk_call *c, const slopes *k, int64_t row, int64_t end)
{
    const void *x = c->in[0].data;
    void *y = c->out[0].data;
    for (; row < end; row += k->wide) {
        const int64_t at = row * k->n_ch + k->ch, n = slopes_run(k, row, end);
        if (c->in[0].dtype == LK_BF16)
            brief_snake_run(k, at, n, x, y);
        else
            snake_run(k, n, (const float *)x + at, (float *)y + at);
    }
}

static void snake_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t n_ch = lk_last(&c->in[0].shape), n_rows = lk_rows(&c->in[0].shape);
    slopes k;
    for (int64_t u = first; u < end; u++) {
        const int64_t from = u * snake_rows(c), to = from + snake_rows(c);
        for (int64_t ch = 0; ch < n_ch; ch += RUN) {
            slopes_at(&k, c, ch);
            snake_rows_of(c, &k, from, to < n_rows ? to : n_rows);
        }
    }
}

const lk_cpu_kernel LK_VEC(lk_cpu_snake) = {.phase = {{snake_units, snake_range}}};

/* dalpha is summed over SPLIT fixed parts of the rows, and the parts in order. */
#define SPLIT 64

static lk_status snake_grad_prepare(lk_call *c, size_t *work_bytes)
{
    *work_bytes = SPLIT * (size_t)lk_last(&c->in[0].shape) * sizeof(float);
    return LK_OK;
}

static int64_t split_units(const lk_call *c)
{
    (void)c;
    return SPLIT;
}

/* dx, and what it adds to alpha dalpha in each lane. */
static void snake_grad_run(const slopes *k, int64_t n, const float *restrict x,
                           const float *restrict dy, float *restrict dx, float *restrict sum)
{
    for (int64_t i = 0; i < n; i++) {
        float twice;
        const float square = lk_sin_squared(k->alpha[i] * x[i], &twice);
        sum[i] += dy[i] * (x[i] * twice - square * k->inverse[i]);
        dx[i] = dy[i] + dy[i] * twice;
    }
}

/* The same of bf16 from element `at` on; dx: NULL if not wanted. */
static void brief_snake_grad_run(const slopes *k, int64_t at, int64_t n, const void *px,
                                 const void *pdy, void *dx, float *sum)
{
    for (int64_t i = 0; i < n; i += LK_LANES) {
        const lk_lanes x = lk_lanes_take(1, px, at + i, n - i);
        const lk_lanes dy = lk_lanes_take(1, pdy, at + i, n - i);
        lk_lanes twice;
        const lk_lanes square = lk_brief_sin_squared(lk_lanes_get(0, k->alpha, i) * x, &twice);
        const lk_lanes slope = x * twice - square * lk_lanes_get(0, k->inverse, i);
        lk_lanes_put(0, sum, i, lk_lanes_get(0, sum, i) + dy * slope);
        if (dx)
            lk_lanes_give(1, dx, at + i, n - i, dy + dy * twice);
    }
}

static void snake_grad_rows(const lk_call *c, const slopes *k, int64_t row, int64_t end, float *sum)
{
    const void *x = c->in[0].data, *dy = c->in[2].data;
    void *dx = c->out[0].data;
    lk_run unwanted, lane = {0};
    for (; row < end; row += k->wide) {
        const int64_t at = row * k->n_ch + k->ch, n = slopes_run(k, row, end);
        if (c->in[0].dtype == LK_BF16)
            brief_snake_grad_run(k, at, n, x, dy, dx, lane);
        else
            snake_grad_run(k, n, (const float *)x + at, (const float *)dy + at,
                           dx ? (float *)dx + at : unwanted, lane);
    }
    for (int64_t i = 0; i < k->m; i++)
        sum[i] = 0;
    for (int64_t r = 0; r < k->wide; r++)
        for (int64_t i = 0; i < k->m; i++)
            sum[i] += lane[r * k->m + i] * k->inverse[i];
}

static void snake_grad_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t n_ch = lk_last(&c->in[0].shape), n_rows = lk_rows(&c->in[0].shape);
    slopes k;
    for (int64_t ch = 0; ch < n_ch; ch += RUN) {
        slopes_at(&k, c, ch);
        for (int64_t u = first; u < end; u++)
            snake_grad_rows(c, &k, n_rows * u / SPLIT, n_rows * (u + 1) / SPLIT,
                            (float *)c->work + u * n_ch + ch);
    }
}

static void snake_grad_finish(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t n_ch = lk_last(&c->in[0].shape);
    float *da = c->out[1].data;
    (void)first;
    (void)end;
    for (int64_t i = 0; da && i < n_ch; i++)
        da[i] = 0;
    for (int64_t u = 0; da && u < SPLIT; u++)
        for (int64_t i = 0; i < n_ch; i++)
            da[i] += ((const float *)c->work)[u * n_ch + i];
}

static int64_t one_unit(const lk_call *c)
{
    (void)c;
    return 1;
}

const lk_cpu_kernel LK_VEC(lk_cpu_snake_grad) = {
    .prepare = snake_grad_prepare,
    .phase = {{split_units, snake_grad_range}, {one_unit, snake_grad_finish}}};
