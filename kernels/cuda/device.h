/* device.h - what every .cu file starts from: CUDA or its emulator, numbers, vector access.
 *
 * Kernels compute in f32.  `lk_num` is a float whose arithmetic with the double constants of
 * unary.def stays in f32, so the formulas there serve the GPU as they are.
 */
#ifndef LK_CUDA_DEVICE_H
#define LK_CUDA_DEVICE_H

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#define LK_SHARED(type, name, dims) __shared__ type name dims
#define LK_UNROLL                   _Pragma("unroll")
#define LK_UNROLL_4                 _Pragma("unroll 4")
/* A struct of arrays in shared memory of any size; LK_LAUNCH_TILES says how much. */
#define LK_SHARED_MEMBER(type, name, dims) __align__(16) type name dims
#define LK_SHARED_TILES(type, name)                                                                \
    extern __shared__ __align__(16) char lk_shared_tiles[];                                        \
    type &name = *(type *)lk_shared_tiles
#define LK_LAUNCH_TILES(kernel, grid, block, bytes, stream, ...)                                   \
    [&]() -> lk_status {                                                                           \
        auto *lk_kernel = kernel;                                                                  \
        (void)cudaFuncSetAttribute(lk_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,         \
                                   (int)(bytes));                                                  \
        lk_kernel<<<(grid), (block), (bytes), (stream)>>>(__VA_ARGS__);                            \
        return lk_cuda_launched(#kernel);                                                          \
    }()
#define LK_LAUNCH(kernel, grid, block, stream, ...)                                                \
    (kernel<<<(grid), (block), 0, (stream)>>>(__VA_ARGS__), lk_cuda_launched(#kernel))
#else
#include "kernels/cuda/emu/emu.h"
#endif

#include <math.h>

#include "kernels/cuda/cuda.h"
#include "kernels/ops/ops_impl.h"
#include "kernels/rng.h"
#include "kernels/sine.h"

#define LK_DEVICE static __device__ __forceinline__

/* Elements a thread of an elementwise kernel works on, and its threads a block. */
#define LK_ITEMS   8
#define LK_THREADS 256

/* Blocks of LK_THREADS for n units. */
static inline unsigned lk_blocks(int64_t n)
{
    return (unsigned)((n + LK_THREADS - 1) / LK_THREADS);
}

LK_DEVICE int64_t lk_thread_index()
{
    return (int64_t)blockIdx.x * LK_THREADS + threadIdx.x;
}

/* ---- element types ---- */

LK_DEVICE float lk_widen(float x)
{
    return x;
}
LK_DEVICE float lk_widen(lk_bf16 h)
{
#ifdef __CUDACC__
    return __uint_as_float((unsigned)h << 16);
#else
    return lk_bf16_to_f32(h);
#endif
}

LK_DEVICE float lk_narrow_as(float x, const float *)
{
    return x;
}
LK_DEVICE lk_bf16 lk_narrow_as(float x, const lk_bf16 *)
{
#ifdef __CUDACC__
    return __bfloat16_as_ushort(__float2bfloat16_rn(x));
#else
    return lk_bf16_from_f32(x);
#endif
}
template <typename T> LK_DEVICE T lk_narrow(float x)
{
    return lk_narrow_as(x, (const T *)nullptr);
}

/* ---- LK_ITEMS elements at once; p is aligned to 16 bytes ---- */

LK_DEVICE void lk_load_whole(const float *p, float *x)
{
    const float4 a = ((const float4 *)p)[0], b = ((const float4 *)p)[1];
    x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w;
    x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
}
LK_DEVICE void lk_load_whole(const lk_bf16 *p, float *x)
{
    const uint4 a = *(const uint4 *)p;
    const unsigned v[4] = {a.x, a.y, a.z, a.w};
    LK_UNROLL
    for (int i = 0; i < 4; i++) {
        x[2 * i] = lk_widen((lk_bf16)(v[i] & 0xffffu));
        x[2 * i + 1] = lk_widen((lk_bf16)(v[i] >> 16));
    }
}
LK_DEVICE void lk_store_whole(float *p, const float *x)
{
    float4 a, b;
    a.x = x[0], a.y = x[1], a.z = x[2], a.w = x[3];
    b.x = x[4], b.y = x[5], b.z = x[6], b.w = x[7];
    ((float4 *)p)[0] = a;
    ((float4 *)p)[1] = b;
}
LK_DEVICE void lk_store_whole(lk_bf16 *p, const float *x)
{
    unsigned v[4];
    uint4 a;
    LK_UNROLL
    for (int i = 0; i < 4; i++)
        v[i] = (unsigned)lk_narrow<lk_bf16>(x[2 * i]) | (unsigned)lk_narrow<lk_bf16>(x[2 * i + 1])
                                                            << 16;
    a.x = v[0], a.y = v[1], a.z = v[2], a.w = v[3];
    *(uint4 *)p = a;
}

/* The first m <= LK_ITEMS of them; the others of x stay as they are. */
template <typename T> LK_DEVICE void lk_load_run(const T *p, int64_t m, float *x)
{
    if (m >= LK_ITEMS) {
        lk_load_whole(p, x);
        return;
    }
    LK_UNROLL
    for (int i = 0; i < LK_ITEMS; i++)
        if (i < m)
            x[i] = lk_widen(p[i]);
}
template <typename T> LK_DEVICE void lk_store_run(T *p, int64_t m, const float *x)
{
    if (m >= LK_ITEMS) {
        lk_store_whole(p, x);
        return;
    }
    LK_UNROLL
    for (int i = 0; i < LK_ITEMS; i++)
        if (i < m)
            p[i] = lk_narrow<T>(x[i]);
}

/* The same where a template for this operand would not pay. */
LK_DEVICE void lk_load_either(const void *p, int is_bf16, int64_t at, int64_t m, float *x)
{
    if (is_bf16)
        lk_load_run((const lk_bf16 *)p + at, m, x);
    else
        lk_load_run((const float *)p + at, m, x);
}
LK_DEVICE float lk_either(const void *p, int is_bf16, int64_t at)
{
    return is_bf16 ? lk_widen(((const lk_bf16 *)p)[at]) : ((const float *)p)[at];
}

/* ---- formulas ---- */

#define LK_NUM_FN __host__ __device__ __forceinline__
struct lk_num {
    float v;
    LK_NUM_FN lk_num(float x) : v(x)
    {
    }
    LK_NUM_FN lk_num(double x) : v((float)x)
    {
    }
    LK_NUM_FN lk_num(int x) : v((float)x)
    {
    }
    LK_NUM_FN lk_num operator-() const
    {
        return lk_num(-v);
    }
    LK_NUM_FN friend lk_num operator+(lk_num a, lk_num b)
    {
        return lk_num(a.v + b.v);
    }
    LK_NUM_FN friend lk_num operator-(lk_num a, lk_num b)
    {
        return lk_num(a.v - b.v);
    }
    LK_NUM_FN friend lk_num operator*(lk_num a, lk_num b)
    {
        return lk_num(a.v * b.v);
    }
    LK_NUM_FN friend lk_num operator/(lk_num a, lk_num b)
    {
        return lk_num(a.v / b.v);
    }
    LK_NUM_FN friend bool operator<(lk_num a, lk_num b)
    {
        return a.v < b.v;
    }
    LK_NUM_FN friend bool operator>(lk_num a, lk_num b)
    {
        return a.v > b.v;
    }
    LK_NUM_FN friend bool operator<=(lk_num a, lk_num b)
    {
        return a.v <= b.v;
    }
};
#define LK_NUM_FUNCTION(name)                                                                      \
    LK_DEVICE lk_num name(lk_num x)                                                                \
    {                                                                                              \
        return lk_num(name##f(x.v));                                                               \
    }
LK_NUM_FUNCTION(exp)
LK_NUM_FUNCTION(log)
LK_NUM_FUNCTION(log1p)
LK_NUM_FUNCTION(sqrt)
LK_NUM_FUNCTION(fabs)
LK_NUM_FUNCTION(tanh)
LK_NUM_FUNCTION(erf)
#undef LK_NUM_FUNCTION
LK_DEVICE lk_num sin(lk_num x)
{
    return lk_num(lk_sinf(x.v));
}
LK_DEVICE lk_num cos(lk_num x)
{
    return lk_num(lk_cosf(x.v));
}
LK_DEVICE lk_num fmax(lk_num a, lk_num b)
{
    return lk_num(fmaxf(a.v, b.v));
}

/* ---- sums in fixed order ---- */

/* Sum over the N threads of a block, given to all; every thread calls it. */
template <int N> LK_DEVICE double lk_block_sum_of(double x)
{
    LK_SHARED(double, part, [N / 32]);
    double s = 0;
    for (int by = 16; by > 0; by /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, by);
    __syncthreads(); /* of the previous call */
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = x;
    __syncthreads();
    for (int i = 0; i < N / 32; i++)
        s += part[i];
    return s;
}
LK_DEVICE double lk_block_sum(double x)
{
    return lk_block_sum_of<LK_THREADS>(x);
}

/* ---- on the host ---- */

/* `call`, in which T names the float type `dtype`. */
#define LK_BY_FLOAT(dtype, T, call)                                                                \
    ((dtype) == LK_BF16 ? [&]() -> lk_status {                                                     \
        typedef lk_bf16 T;                                                                         \
        return call;                                                                               \
    }()                                                                                            \
                        : [&]() -> lk_status {                                                     \
        typedef float T;                                                                           \
        return call;                                                                               \
    }())

/* Kernels that take indices apart do so in 32 bits. */
static inline lk_status lk_small_enough(const lk_tensor *t)
{
    if (lk_tensor_count(t) >= (int64_t)1 << 31)
        return LK_FAIL(LK_E_UNSUPPORTED, "a tensor of 2^31 or more elements in an operation that "
                                         "rearranges or broadcasts; split it");
    return LK_OK;
}

#endif /* LK_CUDA_DEVICE_H */
