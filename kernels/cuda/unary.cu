/* unary.cu - kernels of unary and unary_grad (kernels/ops/elementwise.c): one a function and
 * element type, from the formulas in unary.def. */
#include "kernels/cuda/device.h"

template <lk_unary_kind kind> struct unary;
#define LK_UNARY_KIND(upper, lower, f, df)                                                         \
    template <> struct unary<LK_##upper> {                                                         \
        LK_DEVICE float value(lk_num x, lk_num a, lk_num b)                                        \
        {                                                                                          \
            (void)a, (void)b, (void)x;                                                             \
            return lk_num(f).v;                                                                    \
        }                                                                                          \
        LK_DEVICE float slope(lk_num x, lk_num a, lk_num b)                                        \
        {                                                                                          \
            (void)a, (void)b, (void)x;                                                             \
            return lk_num(df).v;                                                                   \
        }                                                                                          \
    };
#include "kernels/unary.def"
#undef LK_UNARY_KIND

template <lk_unary_kind kind, typename T>
__global__ void unary_kernel(int64_t n, float a, float b, const T *x, T *y)
{
    const int64_t i = lk_thread_index() * LK_ITEMS;
    const int64_t m = n - i < LK_ITEMS ? n - i : LK_ITEMS;
    float v[LK_ITEMS] = {};
    if (m <= 0)
        return;
    lk_load_run(x + i, m, v);
    LK_UNROLL
    for (int j = 0; j < LK_ITEMS; j++)
        v[j] = unary<kind>::value(v[j], a, b);
    lk_store_run(y + i, m, v);
}

template <lk_unary_kind kind, typename T>
__global__ void unary_grad_kernel(int64_t n, float a, float b, const T *x, int dy_is_bf16,
                                  const void *dy, T *dx)
{
    const int64_t i = lk_thread_index() * LK_ITEMS;
    const int64_t m = n - i < LK_ITEMS ? n - i : LK_ITEMS;
    float v[LK_ITEMS] = {}, d[LK_ITEMS] = {};
    if (m <= 0)
        return;
    lk_load_run(x + i, m, v);
    lk_load_either(dy, dy_is_bf16, i, m, d);
    LK_UNROLL
    for (int j = 0; j < LK_ITEMS; j++)
        v[j] = d[j] * unary<kind>::slope(v[j], a, b);
    lk_store_run(dx + i, m, v);
}

static lk_status unary_of(lk_unary_kind kind, double a, double b, const lk_tensor *x, lk_tensor y,
                          lk_cuda_stream stream)
{
    const int64_t n = lk_tensor_count(&y);
    const unsigned blocks = lk_blocks((n + LK_ITEMS - 1) / LK_ITEMS);
    if (n == 0)
        return LK_OK;
    switch (kind) {
#define LK_UNARY_KIND(upper, lower, f, df)                                                         \
    case LK_##upper:                                                                               \
        return LK_BY_FLOAT(x->dtype, T,                                                            \
                           LK_LAUNCH((unary_kernel<LK_##upper, T>), blocks, LK_THREADS, stream, n, \
                                     (float)a, (float)b, (const T *)x->data, (T *)y.data));
#include "kernels/unary.def"
#undef LK_UNARY_KIND
    case LK_N_UNARY_KINDS:
        break;
    }
    return LK_FAIL(LK_E_INTERNAL, "no unary function %d", (int)kind);
}

static lk_status unary_launch(const lk_call *c, lk_cuda_stream stream)
{
    return unary_of(c->node->attr.unary.kind, c->node->attr.unary.a, c->node->attr.unary.b,
                    &c->in[0], c->out[0], stream);
}

lk_status LK_CUDA(unary_in_place)(const lk_tensor *y, lk_unary_kind kind, double a,
                                  lk_cuda_stream stream)
{
    return unary_of(kind, a, 0, y, *y, stream);
}

static lk_status unary_grad_launch(const lk_call *c, lk_cuda_stream stream)
{
    const int64_t n = lk_tensor_count(&c->out[0]);
    const unsigned blocks = lk_blocks((n + LK_ITEMS - 1) / LK_ITEMS);
    const float a = (float)c->node->attr.unary.a, b = (float)c->node->attr.unary.b;
    const lk_tensor *x = &c->in[0], *dy = &c->in[1];
    if (n == 0)
        return LK_OK;
    switch (c->node->attr.unary.kind) {
#define LK_UNARY_KIND(upper, lower, f, df)                                                         \
    case LK_##upper:                                                                               \
        return LK_BY_FLOAT(x->dtype, T,                                                            \
                           LK_LAUNCH((unary_grad_kernel<LK_##upper, T>), blocks, LK_THREADS,       \
                                     stream, n, a, b, (const T *)x->data, dy->dtype == LK_BF16,    \
                                     (const void *)dy->data, (T *)c->out[0].data));
#include "kernels/unary.def"
#undef LK_UNARY_KIND
    case LK_N_UNARY_KINDS:
        break;
    }
    return LK_FAIL(LK_E_INTERNAL, "no unary function %d", (int)c->node->attr.unary.kind);
}

const lk_cuda_kernel LK_CUDA(unary) = {NULL, NULL, unary_launch};
const lk_cuda_kernel LK_CUDA(unary_grad) = {NULL, NULL, unary_grad_launch};
