/* reduce.cu - kernels of kernels/ops/reduce.c, the sum in SNAKE_GRAD, and the search for NaNs.
 *
 * Neighbouring dimensions that are both summed or both kept are joined.  One group after another,
 * from the last, is summed by sum.h as the middle of [a, b, c]; what is in between stays in double.
 */
#include "kernels/cuda/sum.h"

#define MAX_PASSES (LK_MAX_DIMS / 2)

struct pass {
    lk_sum sum;
    size_t part_at, out_at; /* in the work space; the last pass writes the result instead */
};

struct plan {
    int n;
    pass p[MAX_PASSES];
    size_t work_bytes;
};

static plan plan_of(const lk_call *c)
{
    const lk_shape *s = &c->in[0].shape;
    int64_t size[LK_MAX_DIMS];
    int gone[LK_MAX_DIMS], n = 0;
    plan p = {};
    for (int d = 0; d < s->n_dims; d++) {
        const int g = c->node->attr.sum.axes >> d & 1;
        if (s->dim[d] == 1)
            continue;
        if (n && gone[n - 1] == g)
            size[n - 1] *= s->dim[d];
        else {
            size[n] = s->dim[d];
            gone[n++] = g;
        }
    }
    for (int j = n - 1; j >= 0; j--) {
        int64_t before = 1, after = 1;
        if (!gone[j])
            continue;
        for (int i = 0; i < j; i++)
            before *= size[i];
        for (int i = j + 1; i < n; i++)
            after *= gone[i] ? 1 : size[i];
        p.p[p.n++].sum = lk_sum_of(before, size[j], after);
    }
    if (p.n == 0) /* nothing to sum: a scaled copy */
        p.p[p.n++].sum = lk_sum_of(lk_shape_count(s), 1, 1);
    for (int i = 0; i < p.n; i++) {
        p.p[i].part_at = p.work_bytes;
        p.work_bytes += lk_sum_work_bytes(&p.p[i].sum);
        p.p[i].out_at = p.work_bytes;
        if (i + 1 < p.n)
            p.work_bytes += (size_t)(p.p[i].sum.a * p.p[i].sum.c) * sizeof(double);
    }
    return p;
}

static lk_status sum_prepare(lk_call *c, size_t *work_bytes)
{
    *work_bytes = plan_of(c).work_bytes;
    return LK_OK;
}

template <typename T>
static lk_status run_pass(const pass &p, const T *x, const lk_call *c, int last,
                          lk_cuda_stream stream)
{
    char *work = (char *)c->work;
    const lk_numbers_of<T> v = {x};
    if (last)
        return lk_sum_launch(p.sum, v, work + p.part_at, c->node->attr.sum.scale,
                             (float *)c->out[0].data, stream);
    return lk_sum_launch(p.sum, v, work + p.part_at, 1, (double *)(work + p.out_at), stream);
}

static lk_status sum_launch(const lk_call *c, lk_cuda_stream stream)
{
    const plan p = plan_of(c);
    lk_status st = LK_OK;
    if (lk_tensor_count(&c->out[0]) == 0)
        return LK_OK;
    LK_TRY(LK_BY_FLOAT(c->in[0].dtype, T,
                       run_pass(p.p[0], (const T *)c->in[0].data, c, p.n == 1, stream)));
    for (int i = 1; i < p.n; i++)
        LK_TRY(run_pass(p.p[i], (const double *)((char *)c->work + p.p[i - 1].out_at), c,
                        i + 1 == p.n, stream));
done:
    return st;
}

const lk_cuda_kernel LK_CUDA(sum) = {sum_prepare, NULL, sum_launch};

/* ---- snake_grad: dx on the way to the sum ---- */

template <typename T> struct snake_slope {
    unsigned n_ch;
    int dy_is_bf16;
    const T *x;
    const float *alpha;
    const void *dy;
    T *dx;
    __device__ __forceinline__ float at(int64_t i) const
    {
        const float a = alpha[(unsigned)(i % n_ch)], v = lk_widen(x[i]);
        const float s = lk_sinf(a * v), s2 = 2.0f * s * lk_cosf(a * v);
        const float d = lk_either(dy, dy_is_bf16, i);
        if (dx)
            dx[i] = lk_narrow<T>(d * (1.0f + s2));
        return d * (v * s2 - s * s / a) / a;
    }
};

static lk_sum snake_sum(const lk_call *c)
{
    return lk_sum_of(1, lk_rows(&c->in[0].shape), lk_last(&c->in[0].shape));
}

static lk_status snake_grad_prepare(lk_call *c, size_t *work_bytes)
{
    const lk_sum s = snake_sum(c);
    *work_bytes = lk_sum_work_bytes(&s);
    return LK_OK;
}

template <typename T> static lk_status snake_grad(const lk_call *c, lk_cuda_stream stream)
{
    const snake_slope<T> v = {(unsigned)lk_last(&c->in[0].shape),
                              c->in[2].dtype == LK_BF16,
                              (const T *)c->in[0].data,
                              (const float *)c->in[1].data,
                              c->in[2].data,
                              (T *)c->out[0].data};
    return lk_sum_launch(snake_sum(c), v, c->work, 1, (float *)c->out[1].data, stream);
}

static lk_status snake_grad_launch(const lk_call *c, lk_cuda_stream stream)
{
    return LK_BY_FLOAT(c->in[0].dtype, T, snake_grad<T>(c, stream));
}

const lk_cuda_kernel LK_CUDA(snake_grad) = {snake_grad_prepare, NULL, snake_grad_launch};

/* ---- the first NaN or Inf ---- */

template <typename T> __global__ void first_bad_kernel(int64_t n, const T *x, int64_t *first)
{
    LK_SHARED(int64_t, found, [LK_THREADS]);
    int64_t at = n;
    for (int64_t i = threadIdx.x; i < n && at == n; i += LK_THREADS)
        if (!(fabsf(lk_widen(x[i])) <= 3.402823466e38f))
            at = i;
    found[threadIdx.x] = at;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int i = 1; i < LK_THREADS; i++)
            at = found[i] < at ? (int64_t)found[i] : at;
        *first = at < n ? at : -1;
    }
}

lk_status LK_CUDA(first_bad)(const lk_tensor *t, int64_t *first, lk_cuda_stream stream)
{
    return LK_BY_FLOAT(t->dtype, T,
                       LK_LAUNCH(first_bad_kernel<T>, 1, LK_THREADS, stream, lk_tensor_count(t),
                                 (const T *)t->data, first));
}
