/* elementwise.cu - kernels of kernels/ops/elementwise.c, and of PARAM_GRAD.
 *
 * A thread takes LK_ITEMS consecutive results.  With broadcasting, dimensions along which both
 * operands walk alike are joined; a run of results then lies in one row wherever rows are a
 * multiple of LK_ITEMS long, and is taken apart element by element otherwise.  The functions of one
 * number are in unary.cu.
 */
#include "kernels/cuda/device.h"

/* ---- add, sub, mul, div ---- */

struct walk {
    int n_dims;
    unsigned size[LK_MAX_DIMS];
    int64_t step_a[LK_MAX_DIMS], step_b[LK_MAX_DIMS];
    unsigned row; /* size and steps of the last dimension, again */
    int64_t row_a, row_b;
};

static walk walk_of(const lk_call *c)
{
    walk w = {};
    lk_broadcasting s;
    lk_broadcast_shapes(&c->in[0].shape, &c->in[1].shape, &s);
    for (int d = 0; d < s.out.n_dims; d++) {
        const int64_t size = s.out.dim[d];
        const int last = w.n_dims - 1;
        if (size == 1)
            continue;
        if (w.n_dims && w.step_a[last] == s.step_a[d] * size &&
            w.step_b[last] == s.step_b[d] * size) {
            w.size[last] *= (unsigned)size;
        } else {
            w.n_dims++;
            w.size[w.n_dims - 1] = (unsigned)size;
        }
        w.step_a[w.n_dims - 1] = s.step_a[d];
        w.step_b[w.n_dims - 1] = s.step_b[d];
    }
    if (w.n_dims == 0) {
        w.n_dims = 1;
        w.size[0] = 1;
        w.step_a[0] = w.step_b[0] = 1;
    }
    w.row = w.size[w.n_dims - 1];
    w.row_a = w.step_a[w.n_dims - 1];
    w.row_b = w.step_b[w.n_dims - 1];
    return w;
}

/* Where element i of the result finds its operands. */
LK_DEVICE void place_of(const walk &w, int64_t i, int64_t *a, int64_t *b)
{
    unsigned rest = (unsigned)i;
    *a = *b = 0;
    if (w.n_dims == 1) { /* any length */
        *a = i * w.row_a;
        *b = i * w.row_b;
        return;
    }
    LK_UNROLL
    for (int d = LK_MAX_DIMS - 1; d >= 0; d--)
        if (d < w.n_dims) {
            const unsigned at = rest % w.size[d];
            rest /= w.size[d];
            *a += at * w.step_a[d];
            *b += at * w.step_b[d];
        }
}

template <typename T> LK_DEVICE void load_walking(const T *p, int64_t step, int64_t m, float *x)
{
    if (step) {
        lk_load_run(p, m, x);
        return;
    }
    x[0] = lk_widen(*p);
    LK_UNROLL
    for (int i = 1; i < LK_ITEMS; i++)
        x[i] = x[0];
}

LK_DEVICE float binary(int op, float a, float b)
{
    return op == LK_OP_ADD ? a + b : op == LK_OP_SUB ? a - b : op == LK_OP_MUL ? a * b : a / b;
}

template <typename Ta, typename Tb>
__global__ void binary_kernel(int op, walk w, int64_t n, const Ta *a, const Tb *b, Ta *y)
{
    const int64_t i = lk_thread_index() * LK_ITEMS;
    const int64_t m = n - i < LK_ITEMS ? n - i : LK_ITEMS;
    float xa[LK_ITEMS] = {}, xb[LK_ITEMS] = {};
    int64_t ia, ib;
    if (m <= 0)
        return;
    if (w.n_dims == 1 || w.row % LK_ITEMS == 0) {
        place_of(w, i, &ia, &ib);
        load_walking(a + ia, w.row_a, m, xa);
        load_walking(b + ib, w.row_b, m, xb);
    } else {
        LK_UNROLL
        for (int j = 0; j < LK_ITEMS; j++)
            if (j < m) {
                place_of(w, i + j, &ia, &ib);
                xa[j] = lk_widen(a[ia]);
                xb[j] = lk_widen(b[ib]);
            }
    }
    LK_UNROLL
    for (int j = 0; j < LK_ITEMS; j++)
        xa[j] = binary(op, xa[j], xb[j]);
    lk_store_run(y + i, m, xa);
}

static lk_status binary_prepare(lk_call *c, size_t *work_bytes)
{
    *work_bytes = 0;
    return walk_of(c).n_dims > 1 ? lk_small_enough(&c->out[0]) : LK_OK;
}

static lk_status binary_launch(const lk_call *c, lk_cuda_stream stream)
{
    const int64_t n = lk_tensor_count(&c->out[0]);
    const unsigned blocks = lk_blocks((n + LK_ITEMS - 1) / LK_ITEMS);
    if (n == 0)
        return LK_OK;
    return LK_BY_FLOAT(c->in[0].dtype, Ta,
                       LK_BY_FLOAT(c->in[1].dtype, Tb,
                                   LK_LAUNCH((binary_kernel<Ta, Tb>), blocks, LK_THREADS, stream,
                                             c->node->op, walk_of(c), n, (const Ta *)c->in[0].data,
                                             (const Tb *)c->in[1].data, (Ta *)c->out[0].data)));
}

const lk_cuda_kernel LK_CUDA(add) = {binary_prepare, NULL, binary_launch};
const lk_cuda_kernel LK_CUDA(sub) = {binary_prepare, NULL, binary_launch};
const lk_cuda_kernel LK_CUDA(mul) = {binary_prepare, NULL, binary_launch};
const lk_cuda_kernel LK_CUDA(div) = {binary_prepare, NULL, binary_launch};

/* ---- snake, gated_add: runs of a row, element by element at its end ---- */

template <typename T>
__global__ void snake_kernel(int64_t n, unsigned n_ch, const T *x, const float *alpha, T *y)
{
    const int64_t i = lk_thread_index() * LK_ITEMS;
    const int64_t m = n - i < LK_ITEMS ? n - i : LK_ITEMS;
    unsigned ch = (unsigned)(i % n_ch);
    float v[LK_ITEMS] = {};
    if (m <= 0)
        return;
    lk_load_run(x + i, m, v);
    LK_UNROLL
    for (int j = 0; j < LK_ITEMS; j++) {
        const float a = alpha[ch], s = lk_sinf(a * v[j]);
        v[j] = v[j] + s * s / a;
        ch = ch + 1 == n_ch ? 0 : ch + 1;
    }
    lk_store_run(y + i, m, v);
}

static lk_status snake_launch(const lk_call *c, lk_cuda_stream stream)
{
    const int64_t n = lk_tensor_count(&c->out[0]);
    const unsigned blocks = lk_blocks((n + LK_ITEMS - 1) / LK_ITEMS);
    if (n == 0)
        return LK_OK;
    return LK_BY_FLOAT(c->in[0].dtype, T,
                       LK_LAUNCH(snake_kernel<T>, blocks, LK_THREADS, stream, n,
                                 (unsigned)lk_last(&c->in[0].shape), (const T *)c->in[0].data,
                                 (const float *)c->in[1].data, (T *)c->out[0].data));
}

const lk_cuda_kernel LK_CUDA(snake) = {NULL, NULL, snake_launch};

template <typename T>
__global__ void gated_add_kernel(int64_t n, int64_t sample, unsigned n_ch, int gate_is_bf16,
                                 int v_is_bf16, const T *x, const void *gate, const void *v, T *y)
{
    const int64_t i = lk_thread_index() * LK_ITEMS;
    const int64_t m = n - i < LK_ITEMS ? n - i : LK_ITEMS;
    unsigned ch = (unsigned)(i % n_ch);
    float a[LK_ITEMS] = {}, b[LK_ITEMS] = {};
    if (m <= 0)
        return;
    lk_load_run(x + i, m, a);
    lk_load_either(v, v_is_bf16, i, m, b);
    LK_UNROLL
    for (int j = 0; j < LK_ITEMS; j++)
        if (j < m) {
            a[j] += b[j] * lk_either(gate, gate_is_bf16, (i + j) / sample * n_ch + ch);
            ch = ch + 1 == n_ch ? 0 : ch + 1;
        }
    lk_store_run(y + i, m, a);
}

static lk_status gated_add_launch(const lk_call *c, lk_cuda_stream stream)
{
    const int64_t n = lk_tensor_count(&c->out[0]);
    const unsigned blocks = lk_blocks((n + LK_ITEMS - 1) / LK_ITEMS);
    if (n == 0)
        return LK_OK;
    return LK_BY_FLOAT(c->in[0].dtype, T,
                       LK_LAUNCH(gated_add_kernel<T>, blocks, LK_THREADS, stream, n,
                                 n / c->in[0].shape.dim[0], (unsigned)lk_last(&c->in[0].shape),
                                 c->in[1].dtype == LK_BF16, c->in[2].dtype == LK_BF16,
                                 (const T *)c->in[0].data, (const void *)c->in[1].data,
                                 (const void *)c->in[2].data, (T *)c->out[0].data));
}

const lk_cuda_kernel LK_CUDA(gated_add) = {NULL, NULL, gated_add_launch};

/* ---- cast, param_grad ---- */

LK_DEVICE double load_any(lk_dtype t, const void *p, int64_t i)
{
    return t == LK_F32    ? (double)((const float *)p)[i]
           : t == LK_BF16 ? (double)lk_widen(((const lk_bf16 *)p)[i])
                          : (double)((const int32_t *)p)[i];
}

__global__ void cast_kernel(int64_t n, lk_dtype from, lk_dtype to, const void *x, void *y)
{
    const int64_t i = lk_thread_index();
    if (i >= n)
        return;
    if (to == LK_F32)
        ((float *)y)[i] = (float)load_any(from, x, i);
    else if (to == LK_BF16)
        ((lk_bf16 *)y)[i] = lk_narrow<lk_bf16>((float)load_any(from, x, i));
    else
        ((int32_t *)y)[i] = (int32_t)load_any(from, x, i);
}

template <typename Tx, typename Ty> __global__ void cast_floats(int64_t n, const Tx *x, Ty *y)
{
    const int64_t i = lk_thread_index() * LK_ITEMS;
    const int64_t m = n - i < LK_ITEMS ? n - i : LK_ITEMS;
    float v[LK_ITEMS] = {};
    if (m <= 0)
        return;
    lk_load_run(x + i, m, v);
    lk_store_run(y + i, m, v);
}

static lk_status cast_launch(const lk_call *c, lk_cuda_stream stream)
{
    const lk_dtype from = c->in[0].dtype, to = c->out[0].dtype;
    const int64_t n = lk_tensor_count(&c->out[0]);
    if (n == 0)
        return LK_OK;
    if (from == LK_I32 || to == LK_I32)
        return LK_LAUNCH(cast_kernel, lk_blocks(n), LK_THREADS, stream, n, from, to,
                         (const void *)c->in[0].data, (void *)c->out[0].data);
    return LK_BY_FLOAT(
        from, Tx,
        LK_BY_FLOAT(to, Ty,
                    LK_LAUNCH((cast_floats<Tx, Ty>), lk_blocks((n + LK_ITEMS - 1) / LK_ITEMS),
                              LK_THREADS, stream, n, (const Tx *)c->in[0].data,
                              (Ty *)c->out[0].data)));
}

const lk_cuda_kernel LK_CUDA(cast) = {NULL, NULL, cast_launch};

__global__ void param_grad_kernel(int64_t n, int accumulate, const float *in, float *out)
{
    const int64_t i = lk_thread_index();
    if (i < n)
        out[i] = accumulate ? out[i] + in[i] : in[i];
}

static lk_status param_grad_launch(const lk_call *c, lk_cuda_stream stream)
{
    const int64_t n = lk_tensor_count(&c->in[0]);
    if (n == 0 || c->out[0].data == c->in[0].data)
        return LK_OK;
    return LK_LAUNCH(param_grad_kernel, lk_blocks(n), LK_THREADS, stream, n,
                     c->graph->config.accumulate, (const float *)c->in[0].data,
                     (float *)c->out[0].data);
}

const lk_cuda_kernel LK_CUDA(param_grad) = {NULL, NULL, param_grad_launch};

__global__ void set_step_kernel(uint64_t *at, uint64_t step)
{
    *at = step;
}

lk_status LK_CUDA(set_step)(uint64_t *at, uint64_t step, lk_cuda_stream stream)
{
    return LK_LAUNCH(set_step_kernel, 1, 1, stream, at, step);
}

template <typename T>
__global__ void add_bias_kernel(int64_t n, unsigned n_ch, const float *bias, T *y)
{
    const int64_t i = lk_thread_index() * LK_ITEMS;
    const int64_t m = n - i < LK_ITEMS ? n - i : LK_ITEMS;
    unsigned ch = (unsigned)(i % n_ch);
    float v[LK_ITEMS] = {};
    if (m <= 0)
        return;
    lk_load_run(y + i, m, v);
    LK_UNROLL
    for (int j = 0; j < LK_ITEMS; j++) {
        v[j] += bias[ch];
        ch = ch + 1 == n_ch ? 0 : ch + 1;
    }
    lk_store_run(y + i, m, v);
}

lk_status LK_CUDA(add_bias)(const lk_tensor *y, const float *bias, lk_cuda_stream stream)
{
    const int64_t n = lk_tensor_count(y);
    if (n == 0)
        return LK_OK;
    return LK_BY_FLOAT(y->dtype, T,
                       LK_LAUNCH(add_bias_kernel<T>, lk_blocks((n + LK_ITEMS - 1) / LK_ITEMS),
                                 LK_THREADS, stream, n, (unsigned)lk_last(&y->shape), bias,
                                 (T *)y->data));
}
