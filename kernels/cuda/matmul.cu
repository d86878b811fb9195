/* matmul.cu - products of our own; see product.h and kernels/ops/matmul.c. */
#include "kernels/cuda/product.h"

template <typename T, typename Ty> struct matrices {
    int m, n, k, groups, parts, a_by_k, b_by_k, group_first;
    int64_t a_row, a_k, b_k, b_col; /* steps */
    const T *pa, *pb;
    const float *bias;
    Ty *y;
    __device__ __forceinline__ float a(int g, int row, int at) const
    {
        return lk_widen(pa[(int64_t)g * m * k + row * a_row + at * a_k]);
    }
    __device__ __forceinline__ float b(int g, int at, int col) const
    {
        return lk_widen(pb[(int64_t)g * k * n + at * b_k + col * b_col]);
    }
    __device__ __forceinline__ void put(int g, int part, int row, int col, float sum) const
    {
        (void)part;
        y[((int64_t)g * m + row) * n + col] = lk_narrow<Ty>(bias ? sum + bias[col] : sum);
    }
};

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

template <typename T, typename Ty> static lk_status product(const lk_call *c, lk_cuda_stream stream)
{
    const lk_product p = lk_product_of(c);
    const int ta = c->node->attr.matmul.trans_a, tb = c->node->attr.matmul.trans_b;
    matrices<T, Ty> s = {};
    s.m = (int)p.m;
    s.n = (int)p.n;
    s.k = (int)p.k;
    s.groups = (int)p.n_batch;
    s.parts = 1;
    s.a_by_k = !ta;
    s.b_by_k = tb;
    s.a_row = ta ? 1 : p.k;
    s.a_k = ta ? p.m : 1;
    s.b_k = tb ? 1 : p.n;
    s.b_col = tb ? p.k : 1;
    s.pa = (const T *)c->in[0].data;
    s.pb = (const T *)c->in[1].data;
    s.bias = (const float *)c->in[2].data;
    s.y = (Ty *)c->out[0].data;
    return lk_product_launch(s, stream);
}

static lk_status own_launch(const lk_call *c, lk_cuda_stream stream)
{
    lk_status st = LK_OK;
    LK_TRY(LK_BY_FLOAT(c->in[0].dtype, T,
                       LK_BY_FLOAT(c->out[0].dtype, Ty, (product<T, Ty>(c, stream)))));
    if (c->node->attr.matmul.has_act)
        LK_TRY(LK_CUDA(unary_in_place)(&c->out[0], c->node->attr.matmul.act,
                                       c->node->attr.matmul.act_a, stream));
done:
    return st;
}

const lk_cuda_kernel LK_CUDA(own_matmul) = {own_prepare, NULL, own_launch};
#ifdef LK_CUDA_EMULATED
const lk_cuda_kernel LK_CUDA(matmul) = {own_prepare, NULL, own_launch};
#endif
