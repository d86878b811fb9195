/* conv.cu - convolutions of our own as products (product.h) whose operands are gathered.
 *
 *   conv      rows: positions of y   columns: channels of y       k: taps x channels of x
 *   conv_dx   rows: positions of x   columns: channels of x       k: taps x channels of y
 *   conv_dw   rows: channels of y    columns: taps x channels of x  k: positions of y, in parts
 * each within a group.
 */
#include "kernels/cuda/product.h"
#include "kernels/cuda/sum.h"

#define DW_PART 2048 /* positions summed in f32 before parts are added in double */

struct geometry {
    int in_ch, out_ch, in_g, out_g, n_taps;
    int in[3], out[3], taps[3], stride[3], dilation[3], lo[3];
};

static geometry geometry_of(const lk_conv_sizes &s)
{
    geometry e = {};
    e.in_ch = (int)s.in_ch;
    e.out_ch = (int)s.out_ch;
    e.in_g = (int)(s.in_ch / s.groups);
    e.out_g = (int)(s.out_ch / s.groups);
    e.n_taps = (int)(s.taps[0] * s.taps[1] * s.taps[2]);
    for (int i = 0; i < 3; i++) {
        e.in[i] = (int)s.in[i];
        e.out[i] = (int)s.out[i];
        e.taps[i] = (int)s.taps[i];
        e.stride[i] = (int)s.stride[i];
        e.dilation[i] = (int)s.dilation[i];
        e.lo[i] = (int)s.lo[i];
    }
    return e;
}

/* Where tap t of position `pos` of y reads x: the row of x (all but channels), -1 for padding. */
LK_DEVICE int row_of_x(const geometry &e, int pos, int t)
{
    int at[3], tap[3], p = pos;
    tap[2] = t % e.taps[2], t /= e.taps[2];
    tap[1] = t % e.taps[1], tap[0] = t / e.taps[1];
    LK_UNROLL
    for (int i = 2; i >= 0; i--) {
        at[i] = p % e.out[i] * e.stride[i] - e.lo[i] + tap[i] * e.dilation[i];
        p /= e.out[i];
        if (at[i] < 0 || at[i] >= e.in[i])
            return -1;
    }
    return ((p * e.in[0] + at[0]) * e.in[1] + at[1]) * e.in[2] + at[2];
}

/* The position of y whose tap t reads row `pos` of x; -1 if there is none. */
LK_DEVICE int row_of_y(const geometry &e, int pos, int t)
{
    int at[3], tap[3], p = pos;
    tap[2] = t % e.taps[2], t /= e.taps[2];
    tap[1] = t % e.taps[1], tap[0] = t / e.taps[1];
    LK_UNROLL
    for (int i = 2; i >= 0; i--) {
        const int from = p % e.in[i] + e.lo[i] - tap[i] * e.dilation[i];
        p /= e.in[i];
        at[i] = from / e.stride[i];
        if (from < 0 || from % e.stride[i] || at[i] >= e.out[i])
            return -1;
    }
    return ((p * e.out[0] + at[0]) * e.out[1] + at[1]) * e.out[2] + at[2];
}

template <typename T> struct forward {
    int m, n, k, groups, parts, a_by_k, b_by_k, group_first;
    geometry e;
    const T *x, *w;
    const float *bias;
    T *y;
    __device__ __forceinline__ float a(int g, int row, int at) const
    {
        const int from = row_of_x(e, row, at / e.in_g);
        return from < 0 ? 0.0f : lk_widen(x[(int64_t)from * e.in_ch + g * e.in_g + at % e.in_g]);
    }
    __device__ __forceinline__ float b(int g, int at, int col) const
    {
        return lk_widen(w[(int64_t)(g * e.out_g + col) * k + at]);
    }
    __device__ __forceinline__ void put(int g, int part, int row, int col, float sum) const
    {
        const int ch = g * e.out_g + col;
        (void)part;
        y[(int64_t)row * e.out_ch + ch] = lk_narrow<T>(bias ? sum + bias[ch] : sum);
    }
};

template <typename T> struct backward_x {
    int m, n, k, groups, parts, a_by_k, b_by_k, group_first;
    geometry e;
    const T *dy, *w;
    T *dx;
    __device__ __forceinline__ float a(int g, int row, int at) const
    {
        const int from = row_of_y(e, row, at / e.out_g);
        return from < 0 ? 0.0f
                        : lk_widen(dy[(int64_t)from * e.out_ch + g * e.out_g + at % e.out_g]);
    }
    __device__ __forceinline__ float b(int g, int at, int col) const
    {
        const int ch = g * e.out_g + at % e.out_g;
        return lk_widen(w[((int64_t)ch * e.n_taps + at / e.out_g) * e.in_g + col]);
    }
    __device__ __forceinline__ void put(int g, int part, int row, int col, float sum) const
    {
        (void)part;
        dx[(int64_t)row * e.in_ch + g * e.in_g + col] = lk_narrow<T>(sum);
    }
};

template <typename T> struct backward_w {
    int m, n, k, groups, parts, a_by_k, b_by_k, group_first, dy_is_bf16;
    geometry e;
    const T *x;
    const void *dy;
    double *dw; /* [parts, groups, m, n] */
    __device__ __forceinline__ float a(int g, int row, int at) const
    {
        return lk_either(dy, dy_is_bf16, (int64_t)at * e.out_ch + g * e.out_g + row);
    }
    __device__ __forceinline__ float b(int g, int at, int col) const
    {
        const int from = row_of_x(e, at, col / e.in_g);
        return from < 0 ? 0.0f : lk_widen(x[(int64_t)from * e.in_ch + g * e.in_g + col % e.in_g]);
    }
    __device__ __forceinline__ void put(int g, int part, int row, int col, float sum) const
    {
        dw[(((int64_t)part * groups + g) * m + row) * n + col] = (double)sum;
    }
};

static int64_t product_of_three(const int64_t *v)
{
    return v[0] * v[1] * v[2];
}

static lk_status own_prepare(lk_call *c, size_t *work_bytes)
{
    lk_status st = LK_OK;
    *work_bytes = 0;
    LK_TRY(lk_small_enough(&c->in[0]));
    LK_TRY(lk_small_enough(&c->in[1]));
    LK_TRY(lk_small_enough(&c->out[0]));
done:
    return st;
}

template <class P>
static void set_sizes(P *p, const lk_conv_sizes &s, int64_t m, int64_t n, int64_t k)
{
    p->m = (int)m;
    p->n = (int)n;
    p->k = (int)k;
    p->groups = (int)s.groups;
    p->parts = 1;
    p->a_by_k = 1;
    p->e = geometry_of(s);
}

template <typename T> static lk_status run_forward(const lk_call *c, lk_cuda_stream stream)
{
    const lk_conv_sizes s = lk_conv_sizes_of(c);
    forward<T> p = {};
    set_sizes(&p, s, s.n_batch * product_of_three(s.out), s.out_ch / s.groups,
              product_of_three(s.taps) * (s.in_ch / s.groups));
    p.b_by_k = 1;
    p.x = (const T *)c->in[0].data;
    p.w = (const T *)c->in[1].data;
    p.bias = (const float *)c->in[2].data;
    p.y = (T *)c->out[0].data;
    return lk_product_launch(p, stream);
}

template <typename T> static lk_status run_backward_x(const lk_call *c, lk_cuda_stream stream)
{
    const lk_conv_sizes s = lk_conv_sizes_of(c);
    backward_x<T> p = {};
    set_sizes(&p, s, s.n_batch * product_of_three(s.in), s.in_ch / s.groups,
              product_of_three(s.taps) * (s.out_ch / s.groups));
    p.dy = (const T *)c->in[0].data;
    p.w = (const T *)c->in[1].data;
    p.dx = (T *)c->out[0].data;
    return lk_product_launch(p, stream);
}

static int dw_parts(const lk_conv_sizes &s)
{
    const int64_t positions = s.n_batch * product_of_three(s.out);
    return (int)((positions + DW_PART - 1) / DW_PART) + (positions == 0);
}

static lk_status dw_prepare(lk_call *c, size_t *work_bytes)
{
    const lk_status st = own_prepare(c, work_bytes);
    *work_bytes = (size_t)lk_tensor_count(&c->out[0]) * sizeof(double) *
                  (size_t)dw_parts(lk_conv_sizes_of(c));
    return st;
}

template <typename T> static lk_status run_backward_w(const lk_call *c, lk_cuda_stream stream)
{
    const lk_conv_sizes s = lk_conv_sizes_of(c);
    const int64_t results = lk_tensor_count(&c->out[0]);
    lk_sum parts = {1, 1, results, dw_parts(s)};
    backward_w<T> p = {};
    lk_status st = LK_OK;
    if (results == 0)
        return LK_OK;
    set_sizes(&p, s, s.out_ch / s.groups, product_of_three(s.taps) * (s.in_ch / s.groups),
              s.n_batch * product_of_three(s.out));
    p.parts = (int)parts.parts;
    p.a_by_k = 0;
    p.group_first = 1;
    p.x = (const T *)c->in[0].data;
    p.dy = c->in[1].data;
    p.dy_is_bf16 = c->in[1].dtype == LK_BF16;
    p.dw = (double *)c->work;
    LK_TRY(lk_product_launch(p, stream));
    LK_TRY(LK_LAUNCH(lk_sum_finish<float>, lk_blocks(results), LK_THREADS, stream, parts,
                     (const double *)c->work, 1.0, (float *)c->out[0].data));
done:
    return st;
}

static lk_status forward_launch(const lk_call *c, lk_cuda_stream stream)
{
    return LK_BY_FLOAT(c->in[0].dtype, T, run_forward<T>(c, stream));
}

static lk_status backward_x_launch(const lk_call *c, lk_cuda_stream stream)
{
    return LK_BY_FLOAT(c->in[0].dtype, T, run_backward_x<T>(c, stream));
}

static lk_status backward_w_launch(const lk_call *c, lk_cuda_stream stream)
{
    return LK_BY_FLOAT(c->in[0].dtype, T, run_backward_w<T>(c, stream));
}

const lk_cuda_kernel LK_CUDA(own_conv) = {own_prepare, NULL, forward_launch};
const lk_cuda_kernel LK_CUDA(own_conv_dx) = {own_prepare, NULL, backward_x_launch};
const lk_cuda_kernel LK_CUDA(own_conv_dw) = {dw_prepare, NULL, backward_w_launch};
#if defined(LK_CUDA_EMULATED) || !defined(LK_CUDA_CUDNN)
const lk_cuda_kernel LK_CUDA(conv) = {own_prepare, NULL, forward_launch};
const lk_cuda_kernel LK_CUDA(conv_dx) = {own_prepare, NULL, backward_x_launch};
const lk_cuda_kernel LK_CUDA(conv_dw) = {dw_prepare, NULL, backward_w_launch};
#endif
