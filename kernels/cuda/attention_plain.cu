/* attention_plain.cu - attention a warp a row, for f32 and for widths without tiles: the formulas
 * of kernels/ops/attention.c in f32, lane l holding numbers l, l + 32, ... of each row of D <= 256.
 */
#include "kernels/cuda/attention.h"

enum { SLICES = 8 }; /* numbers of a row in a lane */

template <typename T> LK_DEVICE void load_slices(float *x, const T *row, int d)
{
    const int lane = (int)threadIdx.x % 32;
    LK_UNROLL
    for (int i = 0; i < SLICES; i++)
        x[i] = lane + 32 * i < d ? lk_widen(row[lane + 32 * i]) : 0.0f;
}

template <typename T> LK_DEVICE void store_slices(T *row, const float *x, float scale, int d)
{
    const int lane = (int)threadIdx.x % 32;
    LK_UNROLL
    for (int i = 0; i < SLICES; i++)
        if (lane + 32 * i < d)
            row[lane + 32 * i] = lk_narrow<T>(x[i] * scale);
}

LK_DEVICE float dot_slices(const float *a, const float *b)
{
    float sum = 0;
    LK_UNROLL
    for (int i = 0; i < SLICES; i++)
        sum += a[i] * b[i];
    for (int by = 16; by > 0; by /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, by);
    return sum;
}

LK_DEVICE void add_slices(float *to, float weight, const float *x)
{
    LK_UNROLL
    for (int i = 0; i < SLICES; i++)
        to[i] += weight * x[i];
}

/* tq - tk of query i and key j of sample b. */
template <typename T>
LK_DEVICE float later_by(const lk_attend_args<T> &a, int64_t b, int64_t i, int64_t j)
{
    const int64_t at = b * (a.n + a.m);
    return a.slope ? a.times[at + i] - a.times[at + a.n + j] : 0.0f;
}

/* Score times log2 e from the product of a query and a key. */
template <typename T>
LK_DEVICE float score(const lk_attend_args<T> &a, int64_t h, float product, float dt)
{
    return product * a.scale * LK_LOG2_E + (a.slope ? lk_slope_bias(a.slope + 2 * h, dt) : 0.0f);
}

template <typename T>
__global__ void __launch_bounds__(LK_THREADS)
    attention_plain_kernel(lk_attend_args<T> a, int64_t n_rows)
{
    const int64_t u = lk_thread_index() / 32, b = u / a.n / a.heads, h = u / a.n % a.heads;
    const int64_t i = u % a.n;
    const int64_t kv = (b * a.kv_heads + h * a.kv_heads / a.heads) * a.m;
    float q[SLICES], x[SLICES], acc[SLICES] = {}, most = -INFINITY, sum = 0;
    lk_run run;
    if (u >= n_rows)
        return;
    run = lk_run_of(a, b, i, a.n, 0, a.m);
    load_slices(q, a.q + u * a.d, a.d);
    for (int j = run.first; j < run.end; j++) {
        const int64_t at = j % a.m;
        float s, most_now, keep;
        load_slices(x, a.k + (kv + at) * a.d, a.d);
        s = score(a, h, dot_slices(q, x), later_by(a, b, i, at));
        most_now = fmaxf(most, s);
        keep = exp2f(most - most_now);
        most = most_now;
        s = exp2f(s - most);
        sum = sum * keep + s;
        load_slices(x, a.v + (kv + at) * a.d, a.d);
        LK_UNROLL
        for (int c = 0; c < SLICES; c++)
            acc[c] = acc[c] * keep + s * x[c];
    }
    store_slices(a.out + u * a.d, acc, sum > 0 ? 1 / sum : 0.0f, a.d);
    if (a.lse && threadIdx.x % 32 == 0)
        a.lse[u] = sum > 0 ? (most + log2f(sum)) * LK_LN_2 : -INFINITY;
}

template <typename T>
__global__ void __launch_bounds__(LK_THREADS)
    attention_plain_dq_kernel(lk_attend_args<T> a, int64_t n_rows)
{
    const int64_t u = lk_thread_index() / 32, b = u / a.n / a.heads, h = u / a.n % a.heads;
    const int64_t i = u % a.n;
    const int64_t kv = (b * a.kv_heads + h * a.kv_heads / a.heads) * a.m;
    float q[SLICES], g[SLICES], x[SLICES], acc[SLICES] = {};
    lk_slope_sums sums = {};
    lk_run run;
    if (u >= n_rows)
        return;
    run = lk_run_of(a, b, i, a.n, 0, a.m);
    load_slices(q, a.q + u * a.d, a.d);
    load_slices(g, a.dout + u * a.d, a.d);
    for (int j = run.first; j < run.end; j++) {
        const float dt = later_by(a, b, i, j);
        float p, ds;
        load_slices(x, a.v + (kv + j) * a.d, a.d);
        ds = dot_slices(g, x) - a.e[u];
        load_slices(x, a.k + (kv + j) * a.d, a.d);
        p = exp2f(score(a, h, dot_slices(q, x), dt) - a.lse[u] * LK_LOG2_E);
        ds *= p;
        add_slices(acc, ds, x);
        lk_slope_add(&sums, p, ds, dt);
    }
    if (a.dq)
        store_slices(a.dq + u * a.d, acc, a.scale, a.d);
    if (a.dslope && threadIdx.x % 32 == 0) {
        const float dlse = a.dlse ? a.dlse[u] : 0.0f;
        a.dslope[2 * u] = lk_slope_gradient(&sums, 0, sums.ds, sums.p, dlse);
        a.dslope[2 * u + 1] = lk_slope_gradient(&sums, 1, sums.ds, sums.p, dlse);
    }
}

template <typename T>
__global__ void __launch_bounds__(LK_THREADS)
    attention_plain_dkv_kernel(lk_attend_args<T> a, int64_t n_rows)
{
    const int64_t u = lk_thread_index() / 32, b = u / a.m / a.kv_heads, kv = u / a.m % a.kv_heads;
    const int64_t j = u % a.m, group = a.heads / a.kv_heads;
    float k[SLICES], v[SLICES], x[SLICES], g[SLICES], dk[SLICES] = {}, dv[SLICES] = {};
    lk_run run;
    if (u >= n_rows)
        return;
    run = lk_run_of(a, b, j, a.m, a.n, a.n);
    load_slices(k, a.k + u * a.d, a.d);
    load_slices(v, a.v + u * a.d, a.d);
    for (int64_t h = kv * group; h < (kv + 1) * group; h++)
        for (int i = run.first; i < run.end; i++) {
            const int64_t row = (b * a.heads + h) * a.n + i;
            float p, ds;
            load_slices(x, a.q + row * a.d, a.d);
            load_slices(g, a.dout + row * a.d, a.d);
            p = exp2f(score(a, h, dot_slices(x, k), later_by(a, b, i, j)) - a.lse[row] * LK_LOG2_E);
            ds = p * (dot_slices(g, v) - a.e[row]);
            add_slices(dk, ds, x);
            add_slices(dv, p, g);
        }
    if (a.dk)
        store_slices(a.dk + u * a.d, dk, a.scale, a.d);
    if (a.dv)
        store_slices(a.dv + u * a.d, dv, 1, a.d);
}

template <typename T> static lk_status forward(const lk_call *c, lk_cuda_stream stream)
{
    const int64_t n = lk_rows(&c->in[0].shape);
    lk_attend_args<T> a = lk_attend_args_of<T>(c);
    a.out = (T *)c->out[0].data;
    a.lse = (float *)c->out[1].data;
    return LK_LAUNCH(attention_plain_kernel<T>, lk_blocks(32 * n), LK_THREADS, stream, a, n);
}

lk_status LK_CUDA(attend_plain)(const lk_call *c, lk_cuda_stream stream)
{
    return LK_BY_FLOAT(c->in[0].dtype, T, forward<T>(c, stream));
}

template <typename T> static lk_status backward(const lk_call *c, lk_cuda_stream stream)
{
    lk_status st = LK_OK;
    const int64_t rows = lk_rows(&c->in[0].shape), keys = lk_rows(&c->in[1].shape);
    lk_attend_args<T> a = lk_attend_args_of<T>(c);
    a.lse = (float *)c->in[LK_ATTENTION_LSE].data;
    a.dout = (const T *)c->in[LK_ATTENTION_DOUT].data;
    a.dlse = (const float *)c->in[LK_ATTENTION_DLSE].data;
    a.e = (const float *)c->work;
    a.dq = (T *)c->out[0].data;
    a.dk = (T *)c->out[1].data;
    a.dv = (T *)c->out[2].data;
    a.dslope = c->out[3].data ? (float *)c->work + rows : NULL;
    if (rows && (a.dq || a.dslope))
        LK_TRY(LK_LAUNCH(attention_plain_dq_kernel<T>, lk_blocks(32 * rows), LK_THREADS, stream, a,
                         rows));
    if (keys && (a.dk || a.dv))
        LK_TRY(LK_LAUNCH(attention_plain_dkv_kernel<T>, lk_blocks(32 * keys), LK_THREADS, stream, a,
                         keys));
    if (a.dslope)
        LK_TRY(LK_CUDA(attend_dslope)(c, a.dslope, a.n, stream));
done:
    return st;
}

lk_status LK_CUDA(attend_plain_grad)(const lk_call *c, lk_cuda_stream stream)
{
    return LK_BY_FLOAT(c->in[0].dtype, T, backward<T>(c, stream));
}
