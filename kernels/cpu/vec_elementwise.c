/* vec_elementwise.c - kernels of kernels/ops/elementwise.c.
 *
 * Runs of LK_VEC_RUN elements are widened to f32 in the first-level cache, computed, and narrowed.
 */
#include "kernels/cpu/vec.h"

#include "kernels/ops/ops_impl.h"
#include "kernels/thread.h"

#define RUN LK_VEC_RUN

static int64_t run_units(const lk_call *c)
{
    return (lk_tensor_count(&c->in[0]) + RUN - 1) / RUN;
}

/* ---- add, sub, mul, div: rows in which each operand either runs along or stands still ---- */

typedef struct rows {
    lk_broadcasting s;
    int n_outer_dims;
    int64_t n_rows, n;      /* rows, elements a row */
    int64_t walk_a, walk_b; /* 1: the operand runs along the row, 0: one number for all of it */
    int64_t runs;           /* units a row */
} rows;

static rows rows_of(const lk_call *c)
{
    rows r = {.n = 1, .n_rows = 1, .walk_a = -1, .walk_b = -1};
    int d;
    lk_broadcast_shapes(&c->in[0].shape, &c->in[1].shape, &r.s);
    for (d = r.s.out.n_dims - 1; d >= 0; d--) {
        const int64_t wa = r.s.step_a[d] != 0, wb = r.s.step_b[d] != 0;
        if (r.s.out.dim[d] == 1)
            continue;
        if (r.walk_a >= 0 && (wa != r.walk_a || wb != r.walk_b))
            break;
        r.walk_a = wa;
        r.walk_b = wb;
        r.n *= r.s.out.dim[d];
    }
    r.n_outer_dims = d + 1;
    for (; d >= 0; d--)
        r.n_rows *= r.s.out.dim[d];
    r.walk_a = r.walk_a < 0 ? 1 : r.walk_a;
    r.walk_b = r.walk_b < 0 ? 1 : r.walk_b;
    r.runs = (r.n + RUN - 1) / RUN;
    return r;
}

static int64_t binary_units(const lk_call *c)
{
    const rows r = rows_of(c);
    return r.n_rows * r.runs;
}

#define BINARY_LOOP(expr)                                                                          \
    if (r->walk_a && r->walk_b)                                                                    \
        for (int64_t i = 0; i < n; i++) {                                                          \
            const float a = pa[i], b = pb[i];                                                      \
            y[i] = expr;                                                                           \
        }                                                                                          \
    else if (r->walk_a) {                                                                          \
        const float b = pb[0];                                                                     \
        for (int64_t i = 0; i < n; i++) {                                                          \
            const float a = pa[i];                                                                 \
            y[i] = expr;                                                                           \
        }                                                                                          \
    } else {                                                                                       \
        const float a = pa[0];                                                                     \
        for (int64_t i = 0; i < n; i++) {                                                          \
            const float b = pb[i];                                                                 \
            y[i] = expr;                                                                           \
        }                                                                                          \
    }

static void binary_run(lk_op op, const rows *r, int64_t n, const float *pa, const float *pb,
                       float *y)
{
    if (op == LK_OP_ADD) {
        BINARY_LOOP(a + b)
    } else if (op == LK_OP_SUB) {
        BINARY_LOOP(a - b)
    } else if (op == LK_OP_MUL) {
        BINARY_LOOP(a * b)
    } else {
        BINARY_LOOP(a / b)
    }
}

static void binary_range(const lk_call *c, int64_t first, int64_t end)
{
    const rows r = rows_of(c);
    lk_run buf_a, buf_b, buf_y;
    for (int64_t u = first; u < end; u++) {
        const int64_t row = u / r.runs, at = u % r.runs * RUN;
        const int64_t n = r.n - at < RUN ? r.n - at : RUN;
        int64_t rest = row, ia = 0, ib = 0;
        const float *a, *b;
        float *y;
        for (int d = r.n_outer_dims - 1; d >= 0; d--) {
            ia += rest % r.s.out.dim[d] * r.s.step_a[d];
            ib += rest % r.s.out.dim[d] * r.s.step_b[d];
            rest /= r.s.out.dim[d];
        }
        a = lk_run_in(&c->in[0], ia + at * r.walk_a, r.walk_a ? n : 1, buf_a);
        b = lk_run_in(&c->in[1], ib + at * r.walk_b, r.walk_b ? n : 1, buf_b);
        y = lk_run_out(&c->out[0], row * r.n + at, buf_y);
        binary_run(c->node->op, &r, n, a, b, y);
        lk_run_end(&c->out[0], row * r.n + at, n, y);
    }
}

const lk_cpu_kernel LK_VEC(lk_cpu_add) = {.phase = {{binary_units, binary_range}}};
const lk_cpu_kernel LK_VEC(lk_cpu_sub) = {.phase = {{binary_units, binary_range}}};
const lk_cpu_kernel LK_VEC(lk_cpu_mul) = {.phase = {{binary_units, binary_range}}};
const lk_cpu_kernel LK_VEC(lk_cpu_div) = {.phase = {{binary_units, binary_range}}};

/* ---- unary ---- */

#define GELU_TANH_ARG(x) (0.7978845608f * ((x) + 0.044715f * (x) * (x) * (x)))

/* brief: the result is rounded to bf16. */
static inline float sigmoid(int brief, float x)
{
    return brief ? lk_brief_sigmoid(x) : lk_sigmoidf(x);
}

static inline float normal_tail(int brief, float x, float *bell)
{
    return brief ? lk_brief_normal_tail(x, bell) : lk_normal_tail(x, bell);
}

static inline float gelu(int brief, float x)
{
    float bell;
    const float tail = normal_tail(brief, x, &bell);
    return x * (x > 0 ? 1.0f - tail : tail);
}

#define LOOP(expr)                                                                                 \
    for (int64_t i = 0; i < n; i++) {                                                              \
        const float x = px[i];                                                                     \
        y[i] = expr;                                                                               \
    }
#define EACH(kind, expr)                                                                           \
    case LK_##kind:                                                                                \
        LOOP(expr)                                                                                 \
        return;
/* expr where the result is rounded to bf16 (brief) and where not. */
#define EACH_BRIEFLY(kind, expr)                                                                   \
    case LK_##kind:                                                                                \
        if (to_bf16) {                                                                             \
            enum { brief = 1 };                                                                    \
            LOOP(expr)                                                                             \
        } else {                                                                                   \
            enum { brief = 0 };                                                                    \
            LOOP(expr)                                                                             \
        }                                                                                          \
        return;

static void unary_run(lk_unary_kind kind, int to_bf16, float a, float b, int64_t n, const float *px,
                      float *y)
{
    switch (kind) {
        EACH(AFFINE, a * x + b)
        EACH(EXP, lk_expf(x))
        EACH(LOG, lk_logf(x))
        EACH(SQRT, __builtin_sqrtf(x))
        EACH(RSQRT, 1.0f / __builtin_sqrtf(x))
        EACH(RECIPROCAL, 1.0f / x)
        EACH(SQUARE, x * x)
        EACH(ABS, __builtin_fabsf(x))
        EACH(SIN, lk_sinf(x))
        EACH(COS, lk_cosf(x))
        EACH(TANH, lk_tanhf(x))
        EACH_BRIEFLY(SIGMOID, sigmoid(brief, x))
        EACH(SOFTPLUS, (x > 0 ? x : 0) + lk_logf(1.0f + lk_expf(-__builtin_fabsf(x))))
        EACH(RELU, x > 0 ? x : 0)
        EACH(LEAKY_RELU, x > 0 ? x : a * x)
        EACH_BRIEFLY(GELU, gelu(brief, x))
        EACH_BRIEFLY(GELU_TANH, x * sigmoid(brief, 2.0f * GELU_TANH_ARG(x)))
        EACH_BRIEFLY(SILU, x * sigmoid(brief, x))
        EACH(CLAMP, x < a ? a : x > b ? b : x)
        EACH(HUBER, __builtin_fabsf(x) <= a ? 0.5f * x * x : a * (__builtin_fabsf(x) - 0.5f * a))
    case LK_N_UNARY_KINDS:
        break;
    }
}
#undef LOOP

#define LOOP(expr)                                                                                 \
    for (int64_t i = 0; i < n; i++) {                                                              \
        const float x = px[i];                                                                     \
        dx[i] = dy[i] * (expr);                                                                    \
    }

static inline float gelu_slope(int brief, float x)
{
    float bell;
    const float tail = normal_tail(brief, x, &bell);
    return (x > 0 ? 1.0f - tail : tail) + x * 0.3989422804f * bell;
}

static inline float gelu_tanh_slope(int brief, float x)
{
    const float s = sigmoid(brief, 2.0f * GELU_TANH_ARG(x));
    return s + x * 2.0f * s * (1.0f - s) * 0.7978845608f * (1.0f + 0.134145f * x * x);
}

static inline float silu_slope(int brief, float x)
{
    const float s = sigmoid(brief, x);
    return s * (1.0f + x * (1.0f - s));
}

static inline float tanh_slope(float x)
{
    const float t = lk_tanhf(x);
    return 1.0f - t * t;
}

static inline float sigmoid_slope(int brief, float x)
{
    const float s = sigmoid(brief, x);
    return s * (1.0f - s);
}

static void unary_grad_run(lk_unary_kind kind, int to_bf16, float a, float b, int64_t n,
                           const float *px, const float *dy, float *dx)
{
    switch (kind) {
        EACH(AFFINE, a + 0 * x)
        EACH(EXP, lk_expf(x))
        EACH(LOG, 1.0f / x)
        EACH(SQRT, 0.5f / __builtin_sqrtf(x))
        EACH(RSQRT, -0.5f / (x * __builtin_sqrtf(x)))
        EACH(RECIPROCAL, -1.0f / (x * x))
        EACH(SQUARE, 2.0f * x)
        EACH(ABS, x > 0 ? 1.0f : x < 0 ? -1.0f : 0.0f)
        EACH(SIN, lk_cosf(x))
        EACH(COS, -lk_sinf(x))
        EACH(TANH, tanh_slope(x))
        EACH_BRIEFLY(SIGMOID, sigmoid_slope(brief, x))
        EACH_BRIEFLY(SOFTPLUS, sigmoid(brief, x))
        EACH(RELU, x > 0 ? 1.0f : 0.0f)
        EACH(LEAKY_RELU, x > 0 ? 1.0f : a)
        EACH_BRIEFLY(GELU, gelu_slope(brief, x))
        EACH_BRIEFLY(GELU_TANH, gelu_tanh_slope(brief, x))
        EACH_BRIEFLY(SILU, silu_slope(brief, x))
        EACH(CLAMP, x < a || x > b ? 0.0f : 1.0f)
        EACH(HUBER, x < -a ? -a : x > a ? a : x)
    case LK_N_UNARY_KINDS:
        break;
    }
}
#undef LOOP
#undef EACH
#undef EACH_BRIEFLY

static void unary_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t total = lk_tensor_count(&c->in[0]);
    const float a = (float)c->node->attr.unary.a, b = (float)c->node->attr.unary.b;
    const int to_bf16 = c->out[0].dtype == LK_BF16;
    lk_run buf_x, buf_y;
    for (int64_t u = first; u < end; u++) {
        const int64_t at = u * RUN, n = total - at < RUN ? total - at : RUN;
        const float *x = lk_run_in(&c->in[0], at, n, buf_x);
        float *y = lk_run_out(&c->out[0], at, buf_y);
        unary_run(c->node->attr.unary.kind, to_bf16, a, b, n, x, y);
        lk_run_end(&c->out[0], at, n, y);
    }
}

static void unary_grad_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t total = lk_tensor_count(&c->in[0]);
    const float a = (float)c->node->attr.unary.a, b = (float)c->node->attr.unary.b;
    const int to_bf16 = c->out[0].dtype == LK_BF16;
    lk_run buf_x, buf_d, buf_y;
    for (int64_t u = first; u < end; u++) {
        const int64_t at = u * RUN, n = total - at < RUN ? total - at : RUN;
        const float *x = lk_run_in(&c->in[0], at, n, buf_x);
        const float *dy = lk_run_in(&c->in[1], at, n, buf_d);
        float *dx = lk_run_out(&c->out[0], at, buf_y);
        unary_grad_run(c->node->attr.unary.kind, to_bf16, a, b, n, x, dy, dx);
        lk_run_end(&c->out[0], at, n, dx);
    }
}

const lk_cpu_kernel LK_VEC(lk_cpu_unary) = {.phase = {{run_units, unary_range}}};
const lk_cpu_kernel LK_VEC(lk_cpu_unary_grad) = {.phase = {{run_units, unary_grad_range}}};

/* ---- snake ---- */

/* alpha of the channels from `ch` on, and its inverse, repeated for the rows side by side. */
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
    for (int64_t r = 0; r < k->wide; r++)
        memcpy(k->alpha + r * k->m, alpha + ch, (size_t)k->m * sizeof *alpha);
    for (int64_t i = 0; i < k->wide * k->m; i++)
        k->inverse[i] = 1.0f / k->alpha[i];
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

static void snake_rows_of(const lk_call *c, const slopes *k, int64_t row, int64_t end)
{
    lk_run buf_x, buf_y;
    for (; row < end; row += k->wide) {
        const int64_t at = row * k->n_ch + k->ch, n = slopes_run(k, row, end);
        const float *x = lk_run_in(&c->in[0], at, n, buf_x);
        float *y = lk_run_out(&c->out[0], at, buf_y), unused;
#pragma omp simd private(unused)
        for (int64_t i = 0; i < n; i++)
            y[i] = x[i] + k->inverse[i] * lk_sin_squared(k->alpha[i] * x[i], &unused);
        lk_run_end(&c->out[0], at, n, y);
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

static int64_t row_units(const lk_call *c)
{
    return lk_rows(&c->in[0].shape);
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

static void snake_grad_rows(const lk_call *c, const slopes *k, int64_t row, int64_t end, float *sum)
{
    lk_run buf_x, buf_d, buf_y, lane = {0};
    for (; row < end; row += k->wide) {
        const int64_t at = row * k->n_ch + k->ch, n = slopes_run(k, row, end);
        const float *x = lk_run_in(&c->in[0], at, n, buf_x);
        const float *dy = lk_run_in(&c->in[2], at, n, buf_d);
        float *dx = c->out[0].data ? lk_run_out(&c->out[0], at, buf_y) : buf_y;
        snake_grad_run(k, n, x, dy, dx, lane);
        if (c->out[0].data)
            lk_run_end(&c->out[0], at, n, dx);
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

/* ---- gated_add ---- */

static void gated_add_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t n_ch = lk_last(&c->in[0].shape);
    const int64_t sample_rows = lk_rows(&c->in[0].shape) / c->in[0].shape.dim[0];
    lk_run buf_x, buf_g, buf_v, buf_y;
    for (int64_t row = first; row < end; row++)
        for (int64_t at = 0; at < n_ch; at += RUN) {
            const int64_t n = n_ch - at < RUN ? n_ch - at : RUN;
            const float *x = lk_run_in(&c->in[0], row * n_ch + at, n, buf_x);
            const float *gate = lk_run_in(&c->in[1], row / sample_rows * n_ch + at, n, buf_g);
            const float *v = lk_run_in(&c->in[2], row * n_ch + at, n, buf_v);
            float *y = lk_run_out(&c->out[0], row * n_ch + at, buf_y);
            for (int64_t i = 0; i < n; i++)
                y[i] = x[i] + gate[i] * v[i];
            lk_run_end(&c->out[0], row * n_ch + at, n, y);
        }
}

const lk_cpu_kernel LK_VEC(lk_cpu_gated_add) = {.phase = {{row_units, gated_add_range}}};

/* ---- cast, param_grad ---- */

static void cast_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t total = lk_tensor_count(&c->in[0]);
    const lk_dtype from = c->in[0].dtype, to = c->out[0].dtype;
    const int floats = (from == LK_F32 || from == LK_BF16) && (to == LK_F32 || to == LK_BF16);
    lk_run buffer;
    for (int64_t u = first; u < end; u++) {
        const int64_t at = u * RUN, n = total - at < RUN ? total - at : RUN;
        if (floats)
            lk_store(to, c->out[0].data, at, n, lk_run_in(&c->in[0], at, n, buffer));
        else
            lk_convert(to, (char *)c->out[0].data + (size_t)at * lk_dtype_bytes(to), from,
                       (const char *)c->in[0].data + (size_t)at * lk_dtype_bytes(from), n);
    }
}

const lk_cpu_kernel LK_VEC(lk_cpu_cast) = {.phase = {{run_units, cast_range}}};

static void param_grad_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t total = lk_tensor_count(&c->in[0]);
    const float *in = c->in[0].data;
    float *out = c->out[0].data;
    const int64_t from = first * RUN, to = end * RUN < total ? end * RUN : total;
    if (out == in)
        return;
    if (c->graph->config.accumulate)
        for (int64_t i = from; i < to; i++)
            out[i] += in[i];
    else
        memcpy(out + from, in + from, (size_t)(to - from) * sizeof *out);
}

const lk_cpu_kernel LK_VEC(lk_cpu_param_grad) = {.phase = {{run_units, param_grad_range}}};

/* ---- unary_in_place of vec_table.h ---- */

void LK_VEC(lk_vec_unary_in_place)(const lk_tensor *y, lk_unary_kind kind, double a);

typedef struct in_place {
    const lk_tensor *y;
    lk_unary_kind kind;
    float a;
} in_place;

static void in_place_range(void *context, int64_t first, int64_t end)
{
    const in_place *p = context;
    const int64_t total = lk_tensor_count(p->y);
    lk_run buf_x, buf_y;
    for (int64_t u = first; u < end; u++) {
        const int64_t at = u * RUN, n = total - at < RUN ? total - at : RUN;
        lk_load(p->y->dtype, p->y->data, at, n, buf_x);
        unary_run(p->kind, p->y->dtype == LK_BF16, p->a, 0, n, buf_x, buf_y);
        lk_store(p->y->dtype, p->y->data, at, n, buf_y);
    }
}

void LK_VEC(lk_vec_unary_in_place)(const lk_tensor *y, lk_unary_kind kind, double a)
{
    in_place p = {y, kind, (float)a};
    lk_parallel_for((lk_tensor_count(y) + RUN - 1) / RUN, 16, in_place_range, &p);
}
