/* spectral.cu - kernels of kernels/ops/spectral.c.
 *
 * The transforms are products (product.h) with a matrix of cosines and sines that is computed on
 * the fly; its angles are reduced as integers, so they are as exact at the last bin as at the
 * first.  Analysis gathers windowed frames; synthesis makes frames in the work space, and a second
 * kernel adds up, for every sample, the frames that cover it, in their order.
 */
#include "kernels/cuda/product.h"

#define LEAST_NORM 1e-8f

struct frames {
    int n_fft, hop, n_samples, n_frames;
};

static frames frames_of(const lk_call *c, int64_t n_samples)
{
    const int hop = c->node->attr.stft.hop;
    const frames f = {c->node->attr.stft.n_fft, hop, (int)n_samples,
                      (int)((n_samples + hop - 1) / hop)};
    return f;
}

/* The first and last frame over sample s. */
LK_DEVICE int first_frame(const frames &f, int s)
{
    const int t = (s + f.n_fft / 2 - f.n_fft + f.hop) / f.hop;
    return s + f.n_fft / 2 < f.n_fft ? 0 : t;
}
LK_DEVICE int last_frame(const frames &f, int s)
{
    const int t = (s + f.n_fft / 2) / f.hop;
    return t < f.n_frames ? t : f.n_frames - 1;
}

LK_DEVICE float norm_at(const frames &f, const float *w, int s)
{
    float sum = 0;
    for (int t = first_frame(f, s); t <= last_frame(f, s); t++) {
        const float v = w[s - t * f.hop + f.n_fft / 2];
        sum += v * v;
    }
    return sum;
}

/* Real (col even) or imaginary factor of bin col / 2 at place j of a frame, e^(-i angle). */
LK_DEVICE float wave(const frames &f, int col, int j)
{
    const int turn = (int)((int64_t)(col / 2) * j % f.n_fft);
    const float angle = 6.2831853072f * ((float)turn / (float)f.n_fft);
    return col % 2 ? -lk_sinf(angle) : lk_cosf(angle);
}

/* Share of bin k in the real inverse. */
LK_DEVICE float share(const frames &f, int k)
{
    return (k == 0 || k == f.n_fft / 2 ? 1.0f : 2.0f) / (float)f.n_fft;
}

/* rows: frames of all samples; columns: bins, real and imaginary; k: places of a frame */
struct analysis {
    int m, n, k, groups, parts, a_by_k, b_by_k, group_first;
    frames f;
    int inverse; /* ISTFT_GRAD */
    const float *x, *w;
    float *y;
    __device__ __forceinline__ float a(int g, int row, int j) const
    {
        const int t = row % f.n_frames, s = t * f.hop + j - f.n_fft / 2;
        float v;
        (void)g;
        if (s < 0 || s >= f.n_samples)
            return 0;
        v = w[j] * x[(int64_t)(row / f.n_frames) * f.n_samples + s];
        if (inverse) {
            const float norm = norm_at(f, w, s);
            v = norm < LEAST_NORM ? 0.0f : v / norm;
        }
        return v;
    }
    __device__ __forceinline__ float b(int g, int j, int col) const
    {
        (void)g;
        return wave(f, col, j);
    }
    __device__ __forceinline__ void put(int g, int part, int row, int col, float sum) const
    {
        const int edge = col / 2 == 0 || col / 2 == f.n_fft / 2;
        (void)g, (void)part;
        if (inverse)
            sum *= share(f, col / 2);
        y[(int64_t)row * n + col] = edge && col % 2 ? 0.0f : sum;
    }
};

/* rows: frames; columns: places of a frame; k: bins, real and imaginary */
struct synthesis {
    int m, n, k, groups, parts, a_by_k, b_by_k, group_first;
    frames f;
    int inverse; /* ISTFT */
    const float *x;
    float *y; /* [m, n_fft] */
    __device__ __forceinline__ float a(int g, int row, int col) const
    {
        const float v = x[(int64_t)row * k + col];
        (void)g;
        return inverse ? v * share(f, col / 2) : v;
    }
    __device__ __forceinline__ float b(int g, int col, int j) const
    {
        (void)g;
        return wave(f, col, j);
    }
    __device__ __forceinline__ void put(int g, int part, int row, int col, float sum) const
    {
        (void)g, (void)part;
        y[(int64_t)row * n + col] = sum;
    }
};

__global__ void overlap_kernel(int64_t total, frames f, int inverse, const float *w,
                               const float *frame, float *y)
{
    const int64_t i = lk_thread_index();
    if (i >= total)
        return;
    const int s = (int)(i % f.n_samples);
    const float *from = frame + i / f.n_samples * f.n_frames * f.n_fft;
    float sum = 0, norm = 1;
    for (int t = first_frame(f, s); t <= last_frame(f, s); t++) {
        const int j = s - t * f.hop + f.n_fft / 2;
        sum += w[j] * from[(int64_t)t * f.n_fft + j];
    }
    if (inverse)
        norm = norm_at(f, w, s);
    y[i] = norm < LEAST_NORM ? 0.0f : sum / norm;
}

static lk_status analysis_prepare(lk_call *c, size_t *work_bytes)
{
    lk_status st = LK_OK;
    *work_bytes = 0;
    LK_TRY(lk_small_enough(&c->in[0]));
    LK_TRY(lk_small_enough(&c->out[0]));
done:
    return st;
}

static lk_status analysis_launch(const lk_call *c, lk_cuda_stream stream)
{
    const int64_t n_samples = c->in[0].shape.dim[1];
    analysis p = {};
    p.f = frames_of(c, n_samples);
    p.m = (int)c->in[0].shape.dim[0] * p.f.n_frames;
    p.n = p.f.n_fft + 2;
    p.k = p.f.n_fft;
    p.groups = p.parts = 1;
    p.a_by_k = p.b_by_k = 1;
    p.inverse = c->node->op == LK_OP_ISTFT_GRAD;
    p.x = (const float *)c->in[0].data;
    p.w = (const float *)c->in[1].data;
    p.y = (float *)c->out[0].data;
    return lk_product_launch(p, stream);
}

static lk_status synthesis_prepare(lk_call *c, size_t *work_bytes)
{
    const lk_shape *s = &c->in[0].shape;
    *work_bytes =
        (size_t)(s->dim[0] * s->dim[1]) * (size_t)c->node->attr.stft.n_fft * sizeof(float);
    return lk_small_enough(&c->in[0]);
}

static lk_status synthesis_launch(const lk_call *c, lk_cuda_stream stream)
{
    const int64_t total = lk_tensor_count(&c->out[0]);
    synthesis p = {};
    lk_status st = LK_OK;
    if (total == 0)
        return LK_OK;
    p.f = frames_of(c, c->node->attr.stft.n_samples);
    p.m = (int)c->in[0].shape.dim[0] * p.f.n_frames;
    p.n = p.f.n_fft;
    p.k = p.f.n_fft + 2;
    p.groups = p.parts = 1;
    p.a_by_k = p.b_by_k = 1;
    p.inverse = c->node->op == LK_OP_ISTFT;
    p.x = (const float *)c->in[0].data;
    p.y = (float *)c->work;
    LK_TRY(lk_product_launch(p, stream));
    LK_TRY(LK_LAUNCH(overlap_kernel, lk_blocks(total), LK_THREADS, stream, total, p.f, p.inverse,
                     (const float *)c->in[1].data, (const float *)c->work,
                     (float *)c->out[0].data));
done:
    return st;
}

const lk_cuda_kernel LK_CUDA(stft) = {analysis_prepare, NULL, analysis_launch};
const lk_cuda_kernel LK_CUDA(istft_grad) = {analysis_prepare, NULL, analysis_launch};
const lk_cuda_kernel LK_CUDA(istft) = {synthesis_prepare, NULL, synthesis_launch};
const lk_cuda_kernel LK_CUDA(stft_grad) = {synthesis_prepare, NULL, synthesis_launch};

/* ---- magnitude ---- */

__global__ void magnitude_kernel(int64_t n, const float *x, const float *dy, float *out)
{
    const int64_t i = lk_thread_index();
    if (i >= n)
        return;
    const float re = x[2 * i], im = x[2 * i + 1], size = sqrtf(re * re + im * im);
    if (!dy) {
        out[i] = size;
        return;
    }
    out[2 * i] = size > 0 ? dy[i] * re / size : 0.0f;
    out[2 * i + 1] = size > 0 ? dy[i] * im / size : 0.0f;
}

static lk_status magnitude_launch(const lk_call *c, lk_cuda_stream stream)
{
    const int64_t n = lk_tensor_count(&c->in[0]) / 2;
    const float *dy = c->node->op == LK_OP_MAGNITUDE_GRAD ? (const float *)c->in[1].data : NULL;
    if (n == 0)
        return LK_OK;
    return LK_LAUNCH(magnitude_kernel, lk_blocks(n), LK_THREADS, stream, n,
                     (const float *)c->in[0].data, dy, (float *)c->out[0].data);
}

const lk_cuda_kernel LK_CUDA(magnitude) = {NULL, NULL, magnitude_launch};
const lk_cuda_kernel LK_CUDA(magnitude_grad) = {NULL, NULL, magnitude_launch};
