/* vec_unary.c - unary and its gradient (kernels/ops/elementwise.c).
 *
 * Runs of LK_VEC_RUN elements are widened to f32 in the first-level cache, computed, and narrowed;
 * in bf16, what takes longest is widened in registers and briefly computed (vec_brief.h). */
#include "kernels/cpu/vec_brief.h"
#include "kernels/ops/ops_impl.h"
#include "kernels/thread.h"

#define RUN LK_VEC_RUN

static int64_t run_units(const lk_call *c)
{
    return (lk_tensor_count(&c->in[0]) + RUN - 1) / RUN;
}

#define GELU_TANH_ARG(x) (0.7978845608f * ((x) + 0.044715f * (x) * (x) * (x)))

static inline float gelu(float x)
{
    float bell;
    const float tail = lk_normal_tail(x, &bell);
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
static void unary_run(lk_unary_kind kind, float a, float b, int64_t n, const float *px, float *y)
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
        EACH(SIGMOID, lk_sigmoidf(x))
        EACH(SOFTPLUS, (x > 0 ? x : 0) + lk_logf(1.0f + lk_expf(-__builtin_fabsf(x))))
        EACH(RELU, x > 0 ? x : 0)
        EACH(LEAKY_RELU, x > 0 ? x : a * x)
        EACH(GELU, gelu(x))
        EACH(GELU_TANH, x * lk_sigmoidf(2.0f * GELU_TANH_ARG(x)))
        EACH(SILU, x * lk_sigmoidf(x))
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

static inline float gelu_slope(float x)
{
    float bell;
    const float tail = lk_normal_tail(x, &bell);
    return (x > 0 ? 1.0f - tail : tail) + x * 0.3989422804f * bell;
}

static inline float gelu_tanh_slope(float x)
{
    const float s = lk_sigmoidf(2.0f * GELU_TANH_ARG(x));
    return s + x * 2.0f * s * (1.0f - s) * 0.7978845608f * (1.0f + 0.134145f * x * x);
}

static inline float silu_slope(float x)
{
    const float s = lk_sigmoidf(x);
    return s * (1.0f + x * (1.0f - s));
}

static inline float tanh_slope(float x)
{
    const float t = lk_tanhf(x);
    return 1.0f - t * t;
}

static inline float sigmoid_slope(float x)
{
    const float s = lk_sigmoidf(x);
    return s * (1.0f - s);
}

static void unary_grad_run(lk_unary_kind kind, float a, float b, int64_t n, const float *px,
                           const float *dy, float *dx)
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
        EACH(SIGMOID, sigmoid_slope(x))
        EACH(SOFTPLUS, lk_sigmoidf(x))
        EACH(RELU, x > 0 ? 1.0f : 0.0f)
        EACH(LEAKY_RELU, x > 0 ? 1.0f : a)
        EACH(GELU, gelu_slope(x))
        EACH(GELU_TANH, gelu_tanh_slope(x))
        EACH(SILU, silu_slope(x))
        EACH(CLAMP, x < a || x > b ? 0.0f : 1.0f)
        EACH(HUBER, x < -a ? -a : x > a ? a : x)
    case LK_N_UNARY_KINDS:
        break;
    }
}
#undef LOOP
#undef EACH

/* The same of the numbers in bf16 from `at` to before `to`, for the kinds that take longest; 0 for
 * the others. */
#define EACH(kind, expr)                                                                           \
    case LK_##kind:                                                                                \
        for (; at < to; at += LK_LANES) {                                                          \
            const lk_lanes x = lk_lanes_take(1, px, at, to - at);                                  \
            lk_lanes_give(1, y, at, to - at, expr);                                                \
        }                                                                                          \
        return 1;

/* x S(x) with an S that is tail(|x|) below zero and 1 - tail above: |x| tail away from 0 or x. From
 * `far` on the tail is none of a result's digits.  NaNs stay NaNs. */
#define FAR_SIGMOID ((lk_lanes){0} + 87.0f)
#define FAR_NORMAL  ((lk_lanes){0} + 13.0f)
LK_INLINE lk_lanes size_of(lk_lanes x, lk_lanes far)
{
    return lk_lanes_least(far, lk_lanes_abs(x));
}
LK_INLINE lk_lanes positive(lk_lanes x)
{
    return lk_lanes_most((lk_lanes){0}, x);
}

/* What is d of |x| below zero and 1 - d above: S, and the slope of x S(x). */
LK_INLINE lk_lanes by_side(lk_lanes x, lk_lanes d)
{
    return lk_lanes_pick(x > 0.0f, 1.0f - d, d);
}

LK_INLINE lk_lanes brief_sigmoid(lk_lanes x)
{
    return by_side(x, lk_brief_sigmoid_tail(size_of(x, FAR_SIGMOID)));
}
LK_INLINE lk_lanes brief_silu(lk_lanes x)
{
    const lk_lanes a = size_of(x, FAR_SIGMOID);
    return positive(x) - a * lk_brief_sigmoid_tail(a);
}
LK_INLINE lk_lanes brief_gelu(lk_lanes x)
{
    const lk_lanes a = size_of(x, FAR_NORMAL);
    lk_lanes bell;
    return positive(x) - a * lk_brief_normal_tail(a, &bell);
}
LK_INLINE lk_lanes brief_gelu_tanh(lk_lanes x)
{
    const lk_lanes a = size_of(x, FAR_NORMAL), twice = 2.0f * GELU_TANH_ARG(a);
    return positive(x) - a * lk_brief_sigmoid_tail(lk_lanes_least(FAR_SIGMOID, twice));
}

static int brief_run(lk_unary_kind kind, int64_t at, int64_t to, const void *px, void *y)
{
    switch (kind) {
        EACH(SIGMOID, brief_sigmoid(x))
        EACH(GELU, brief_gelu(x))
        EACH(GELU_TANH, brief_gelu_tanh(x))
        EACH(SILU, brief_silu(x))
    default:
        return 0;
    }
}
#undef EACH

#define EACH(kind, expr)                                                                           \
    case LK_##kind:                                                                                \
        for (; at < to; at += LK_LANES) {                                                          \
            const lk_lanes x = lk_lanes_take(1, px, at, to - at);                                  \
            lk_lanes_give(1, dx, at, to - at, lk_lanes_take(1, dy, at, to - at) * (expr));         \
        }                                                                                          \
        return 1;

LK_INLINE lk_lanes brief_gelu_slope(lk_lanes x)
{
    const lk_lanes a = size_of(x, FAR_NORMAL);
    lk_lanes bell;
    const lk_lanes tail = lk_brief_normal_tail(a, &bell);
    return by_side(x, tail - 0.3989422804f * a * bell);
}
LK_INLINE lk_lanes brief_gelu_tanh_slope(lk_lanes x)
{
    const lk_lanes a = size_of(x, FAR_NORMAL), twice = 2.0f * GELU_TANH_ARG(a);
    const lk_lanes s = lk_brief_sigmoid_tail(lk_lanes_least(FAR_SIGMOID, twice));
    return by_side(x, s - a * 1.5957691216f * s * (1.0f - s) * (1.0f + 0.134145f * a * a));
}
LK_INLINE lk_lanes brief_silu_slope(lk_lanes x)
{
    const lk_lanes a = size_of(x, FAR_SIGMOID), s = lk_brief_sigmoid_tail(a);
    return by_side(x, s * (1.0f - a * (1.0f - s)));
}
LK_INLINE lk_lanes brief_sigmoid_slope(lk_lanes x)
{
    const lk_lanes s = lk_brief_sigmoid_tail(size_of(x, FAR_SIGMOID));
    return s * (1.0f - s);
}

static int brief_grad_run(lk_unary_kind kind, int64_t at, int64_t to, const void *px,
                          const void *dy, void *dx)
{
    switch (kind) {
        EACH(SIGMOID, brief_sigmoid_slope(x))
        EACH(SOFTPLUS, brief_sigmoid(x))
        EACH(GELU, brief_gelu_slope(x))
        EACH(GELU_TANH, brief_gelu_tanh_slope(x))
        EACH(SILU, brief_silu_slope(x))
    default:
        return 0;
    }
}
#undef EACH

static void unary_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t total = lk_tensor_count(&c->in[0]);
    const lk_unary_kind kind = c->node->attr.unary.kind;
    const float a = (float)c->node->attr.unary.a, b = (float)c->node->attr.unary.b;
    const int64_t to = end * RUN < total ? end * RUN : total;
    lk_run buf_x, buf_y;
    if (c->in[0].dtype == LK_BF16 &&
        brief_run(kind, first * RUN, to, c->in[0].data, c->out[0].data))
        return;
    for (int64_t u = first; u < end; u++) {
        const int64_t at = u * RUN, n = total - at < RUN ? total - at : RUN;
        const float *x = lk_run_in(&c->in[0], at, n, buf_x);
        float *y = lk_run_out(&c->out[0], at, buf_y);
        unary_run(kind, a, b, n, x, y);
        lk_run_end(&c->out[0], at, n, y);
    }
}

static void unary_grad_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t total = lk_tensor_count(&c->in[0]);
    const lk_unary_kind kind = c->node->attr.unary.kind;
    const float a = (float)c->node->attr.unary.a, b = (float)c->node->attr.unary.b;
    const int64_t to = end * RUN < total ? end * RUN : total;
    lk_run buf_x, buf_d, buf_y;
    if (c->in[0].dtype == LK_BF16 &&
        brief_grad_run(kind, first * RUN, to, c->in[0].data, c->in[1].data, c->out[0].data))
        return;
    for (int64_t u = first; u < end; u++) {
        const int64_t at = u * RUN, n = total - at < RUN ? total - at : RUN;
        const float *x = lk_run_in(&c->in[0], at, n, buf_x);
        const float *dy = lk_run_in(&c->in[1], at, n, buf_d);
        float *dx = lk_run_out(&c->out[0], at, buf_y);
        unary_grad_run(kind, a, b, n, x, dy, dx);
        lk_run_end(&c->out[0], at, n, dx);
    }
}

const lk_cpu_kernel LK_VEC(lk_cpu_unary) = {.phase = {{run_units, unary_range}}};
const lk_cpu_kernel LK_VEC(lk_cpu_unary_grad) = {.phase = {{run_units, unary_grad_range}}};

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
    const int64_t total = lk_tensor_count(p->y), to = end * RUN < total ? end * RUN : total;
    lk_run buf_x, buf_y;
    if (p->y->dtype == LK_BF16 && brief_run(p->kind, first * RUN, to, p->y->data, p->y->data))
        return;
    for (int64_t u = first; u < end; u++) {
        const int64_t at = u * RUN, n = total - at < RUN ? total - at : RUN;
        lk_load(p->y->dtype, p->y->data, at, n, buf_x);
        unary_run(p->kind, p->a, 0, n, buf_x, buf_y);
        lk_store(p->y->dtype, p->y->data, at, n, buf_y);
    }
}

void LK_VEC(lk_vec_unary_in_place)(const lk_tensor *y, lk_unary_kind kind, double a)
{
    in_place p = {y, kind, (float)a};
    lk_parallel_for((lk_tensor_count(y) + RUN - 1) / RUN, 16, in_place_range, &p);
}
