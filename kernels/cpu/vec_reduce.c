/* vec_reduce.c - kernels of kernels/ops/reduce.c. */
#include "kernels/cpu/vec_brief.h"

#include "kernels/ops/ops_impl.h"

/* ---- sum ----
 *
 * The dimensions are joined into [.., kept, gone, kept, gone, ..].  Two shapes cover what models
 * do: rows summed to a number each (gone last) and rows summed onto each other (kept last); the
 * latter in fixed parts, added up in order.  Anything else is added row by row where it belongs. */
#define SPLIT 64
#define SHORT 16 /* numbers of a row */

typedef struct folded {
    int n;
    int64_t size[LK_MAX_DIMS];
    int gone[LK_MAX_DIMS];
} folded;

static folded fold(const lk_call *c)
{
    folded f = {0};
    const lk_shape *s = &c->in[0].shape;
    for (int d = 0; d < s->n_dims; d++) {
        const int gone = c->node->attr.sum.axes >> d & 1;
        if (s->dim[d] == 1)
            continue;
        if (f.n && f.gone[f.n - 1] == gone)
            f.size[f.n - 1] *= s->dim[d];
        else {
            f.size[f.n] = s->dim[d];
            f.gone[f.n++] = gone;
        }
    }
    return f;
}

/* [a kept, b gone, c kept], b and c possibly 1; 0 when the dimensions alternate further. */
static int as_three(const folded *f, int64_t *a, int64_t *b, int64_t *c)
{
    int i = 0;
    *a = *b = *c = 1;
    if (i < f->n && !f->gone[i])
        *a = f->size[i++];
    if (i < f->n && f->gone[i])
        *b = f->size[i++];
    if (i < f->n && !f->gone[i])
        *c = f->size[i++];
    return i == f->n;
}

static int64_t parts(int64_t a, int64_t b)
{
    const int64_t busy = a < 1 ? 1 : SPLIT / a, accurate = b / 1024;
    const int64_t wanted = busy > accurate ? busy : accurate;
    return wanted < 1 || b < 1 ? 1 : b < wanted ? b : wanted;
}

static lk_status sum_prepare(lk_call *c, size_t *work_bytes)
{
    const folded f = fold(c);
    int64_t a, b, n;
    *work_bytes = 0;
    if (as_three(&f, &a, &b, &n))
        *work_bytes = (size_t)(a * parts(a, b) * n) * sizeof(float);
    return LK_OK;
}

static int64_t sum_units(const lk_call *c)
{
    const folded f = fold(c);
    int64_t a, b, n;
    if (as_three(&f, &a, &b, &n))
        return a * parts(a, b);
    return f.gone[0] ? 1 : f.size[0];
}

/* Pairs of partial sums keep long sums accurate without double arithmetic. */
static float sum_line(const lk_tensor *t, int64_t at, int64_t n)
{
    lk_run buffer;
    double total = 0;
    for (int64_t i = 0; i < n; i += LK_VEC_RUN) {
        const int64_t k = n - i < LK_VEC_RUN ? n - i : LK_VEC_RUN;
        const float *x = lk_run_in(t, at + i, k, buffer);
        total += (double)lk_run_sum(x, k);
    }
    return (float)total;
}

static void sum_rows(const lk_call *c, int64_t at, int64_t n_rows, int64_t n, float *y)
{
    lk_run buffer;
    for (int64_t col = 0; col < n; col += LK_VEC_RUN) {
        const int64_t k = n - col < LK_VEC_RUN ? n - col : LK_VEC_RUN;
        memset(y + col, 0, (size_t)k * sizeof *y);
        for (int64_t r = 0; r < n_rows; r++) {
            const float *x = lk_run_in(&c->in[0], at + r * n + col, k, buffer);
            for (int64_t j = 0; j < k; j++)
                y[col + j] += x[j];
        }
    }
}

/* Rows [first, end) of a few numbers: as many at a time as a run holds. */
static void sum_short(const lk_tensor *t, int64_t first, int64_t end, int64_t n, float *y)
{
    lk_run buffer;
    const int64_t most = LK_VEC_RUN / n;
    for (int64_t row = first; row < end; row += most) {
        const int64_t rows = end - row < most ? end - row : most;
        const float *x = lk_run_in(t, row * n, rows * n, buffer);
        for (int64_t r = 0; r < rows; r++) {
            float sum = 0;
            for (int64_t i = 0; i < n; i++)
                sum += x[r * n + i];
            y[row + r] = sum;
        }
    }
}

/* Where in its result a number of the joined dimensions 1 .. n - 2 goes, counted by `at`. */
static int64_t place_of(const folded *f, const int64_t *step, int64_t at)
{
    int64_t to = 0;
    for (int d = f->n - 2; d > 0; d--) {
        to += at % f->size[d] * step[d];
        at /= f->size[d];
    }
    return to;
}

/* Positions [first, end) of the outermost dimension if it is kept; else all, as one unit. */
static void sum_general(const lk_call *c, const folded *f, int64_t first, int64_t end)
{
    const float scale = (float)c->node->attr.sum.scale;
    const int last = f->n - 1, each = !f->gone[0];
    const int64_t n = f->size[last];
    int64_t step[LK_MAX_DIMS], kept = 1, inner = 1;
    lk_run buffer;
    for (int d = last; d >= 0; d--) {
        step[d] = f->gone[d] ? 0 : kept;
        kept *= f->gone[d] || d == 0 ? 1 : f->size[d];
        inner *= d > 0 && d < last ? f->size[d] : 1;
    }
    for (int64_t u = first; u < end; u++) {
        float *y = (float *)c->out[0].data + (each ? u * kept : 0);
        const int64_t from = each ? u * inner : 0, rows = each ? inner : f->size[0] * inner;
        memset(y, 0, (size_t)kept * sizeof *y);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < n; i += LK_VEC_RUN) {
                const int64_t k = n - i < LK_VEC_RUN ? n - i : LK_VEC_RUN;
                const float *x = lk_run_in(&c->in[0], (from + r) * n + i, k, buffer);
                float *to = y + place_of(f, step, r);
                if (f->gone[last])
                    *to += lk_run_sum(x, k);
                for (int64_t m = 0; !f->gone[last] && m < k; m++)
                    to[i + m] += x[m];
            }
        for (int64_t i = 0; i < kept; i++)
            y[i] *= scale;
    }
}

static void sum_range(const lk_call *c, int64_t first, int64_t end)
{
    const folded f = fold(c);
    int64_t a, b, n;
    if (!as_three(&f, &a, &b, &n)) {
        sum_general(c, &f, first, end);
        return;
    }
    const int64_t n_parts = parts(a, b);
    if (n == 1 && n_parts == 1 && b > 0 && b <= SHORT) {
        sum_short(&c->in[0], first, end, b, c->work);
        return;
    }
    for (int64_t u = first; u < end; u++) {
        const int64_t row = u / n_parts, p = u % n_parts;
        const int64_t from = b * p / n_parts, to = b * (p + 1) / n_parts;
        float *part = (float *)c->work + u * n;
        if (n == 1)
            part[0] = sum_line(&c->in[0], row * b + from, to - from);
        else
            sum_rows(c, (row * b + from) * n, to - from, n, part);
    }
}

static int64_t finished_units(const lk_call *c)
{
    const folded f = fold(c);
    int64_t a, b, n;
    return as_three(&f, &a, &b, &n) ? a : 0;
}

static void sum_finish(const lk_call *c, int64_t first, int64_t end)
{
    const folded f = fold(c);
    const float scale = (float)c->node->attr.sum.scale;
    float *y = c->out[0].data;
    int64_t a, b, n;
    as_three(&f, &a, &b, &n);
    const int64_t n_parts = parts(a, b);
    const float *part = c->work;
    for (int64_t row = first; n_parts > 1 && row < end; row++)
        lk_sum_parts(y + row * n, part + row * n_parts * n, n_parts, n);
    for (int64_t i = first * n; i < end * n; i++)
        y[i] = scale * (n_parts > 1 ? y[i] : part[i]);
}

const lk_cpu_kernel LK_VEC(lk_cpu_sum) = {
    .prepare = sum_prepare, .phase = {{sum_units, sum_range}, {finished_units, sum_finish}}};

/* ---- softmax ----
 *
 * Three passes over a row: its greatest number, the exponentials and their sum, the quotients.  The
 * exponentials are kept for the last pass in the result (f32) or a buffer, and computed again when
 * the row is too long for it. */
#define KEPT 4096

static int64_t softmax_units(const lk_call *c)
{
    return lk_last(&c->in[0].shape) ? lk_rows(&c->in[0].shape) : 0;
}

static int64_t run_size(int64_t n, int64_t at)
{
    return n - at < LK_VEC_RUN ? n - at : LK_VEC_RUN;
}

/* e = e^(x - most), and their sum. */
static float exp_run(const float *x, float most, int64_t n, float *e)
{
    for (int64_t j = 0; j < n; j++)
        e[j] = lk_expf(x[j] - most);
    return lk_run_sum(e, n);
}

static void softmax_row(const float *x, int64_t n, float *y)
{
    float most = -__builtin_inff(), scale;
    double sum = 0;
    for (int64_t i = 0; i < n; i += LK_VEC_RUN)
        most = lk_run_most(x + i, run_size(n, i), most);
    for (int64_t i = 0; i < n; i += LK_VEC_RUN)
        sum += (double)exp_run(x + i, most, run_size(n, i), y + i);
    scale = (float)(1 / sum);
    for (int64_t i = 0; i < n; i++)
        y[i] *= scale;
}

/* In bf16, from element `at` on; kept: room for n numbers in f32, or NULL. */
static void brief_softmax_row(const void *x, int64_t at, int64_t n, float *kept, void *y)
{
    const float most = lk_brief_most(x, at, n);
    const float scale = 1 / lk_brief_sum_exp(x, at, n, most, kept);
    if (kept)
        for (int64_t i = 0; i < n; i += LK_LANES)
            lk_lanes_give(1, y, at + i, n - i, lk_lanes_take(0, kept, i, n - i) * scale);
    else
        for (int64_t i = 0; i < n; i += LK_LANES)
            lk_lanes_give(1, y, at + i, n - i, lk_brief_exp_take(x, at + i, n - i, most) * scale);
}

static void softmax_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t n = lk_last(&c->in[0].shape);
    float kept[KEPT] __attribute__((aligned(64)));
    for (int64_t row = first; row < end; row++)
        if (c->in[0].dtype == LK_BF16)
            brief_softmax_row(c->in[0].data, row * n, n, n <= KEPT ? kept : NULL, c->out[0].data);
        else
            softmax_row((const float *)c->in[0].data + row * n, n,
                        (float *)c->out[0].data + row * n);
}

static void softmax_grad_row(const lk_call *c, int64_t at, int64_t n)
{
    lk_run buf_y, buf_d, buf_x;
    float dot;
    double total = 0;
    for (int64_t i = 0; i < n; i += LK_VEC_RUN) {
        const int64_t k = run_size(n, i);
        const float *y = lk_run_in(&c->in[0], at + i, k, buf_y);
        const float *dy = lk_run_in(&c->in[1], at + i, k, buf_d);
        total += (double)lk_run_dot(dy, y, k);
    }
    dot = (float)total;
    for (int64_t i = 0; i < n; i += LK_VEC_RUN) {
        const int64_t k = run_size(n, i);
        const float *y = lk_run_again(&c->in[0], at + i, k, n, buf_y);
        const float *dy = lk_run_again(&c->in[1], at + i, k, n, buf_d);
        float *dx = lk_run_out(&c->out[0], at + i, buf_x);
        for (int64_t j = 0; j < k; j++)
            dx[j] = y[j] * (dy[j] - dot);
        lk_run_end(&c->out[0], at + i, k, dx);
    }
}

static void softmax_grad_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t n = lk_last(&c->in[0].shape);
    for (int64_t row = first; row < end; row++)
        softmax_grad_row(c, row * n, n);
}

const lk_cpu_kernel LK_VEC(lk_cpu_softmax) = {.phase = {{softmax_units, softmax_range}}};
const lk_cpu_kernel LK_VEC(lk_cpu_softmax_grad) = {.phase = {{softmax_units, softmax_grad_range}}};
