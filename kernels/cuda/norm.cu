/* norm.cu - kernels of kernels/ops/norm.c.
 *
 * A set that is normalised together is a row (rows.h): of the channels, or of a
 * group's channels at all places of a sample.  Mean and variance are two
 * passes; the numbers come from the cache the second time.  The gradients of
 * gamma and beta are sums over rows (sum.h).
 */
#include "kernels/cuda/rows.h"
#include "kernels/cuda/sum.h"

/* Where the numbers of a set lie, and their gamma and beta. */
struct sets {
  int64_t count, n, channels,
      sample;             /* sets; numbers a set, channels; numbers a sample */
  unsigned groups, width; /* 0 groups: rows; channels a group */
  int rms;
  float eps;
};

/* Number i of a set is element *at of the tensor, in channel *ch; gives its
 * sample. */
LK_DEVICE int64_t number_of(const sets &s, int64_t set, int64_t i, int64_t *at,
                            unsigned *ch) {
  if (s.groups == 0) {
    *at = set * s.n + i;
    *ch = (unsigned)i;
    return *at / s.sample;
  }
  *ch = (unsigned)(set % s.groups) * s.width + (unsigned)(i % s.width);
  *at = set / s.groups * s.sample + i / s.width * s.channels + *ch;
  return set / s.groups;
}

LK_DEVICE int64_t set_of(const sets &s, int64_t at) {
  return s.groups == 0 ? at / s.channels
                       : at / s.sample * s.groups + at % s.channels / s.width;
}

/* gamma, beta or their absence; rows: 0 for [C], channels for [B, C]. */
struct per_channel {
  const float *p;
  int64_t step;
  __device__ __forceinline__ float at(int64_t sample, unsigned ch,
                                      float absent) const {
    return p ? p[sample * step + ch] : absent;
  }
};

static per_channel per_channel_of(const lk_call *c, int i) {
  const per_channel p = {(const float *)c->in[i].data,
                         c->in[i].shape.n_dims == 2 ? c->in[i].shape.dim[1]
                                                    : 0};
  return p;
}

static sets sets_of(const lk_call *c) {
  const lk_norm_sizes z = lk_norm_sizes_of(c);
  const int group = c->node->attr.norm.kind == LK_GROUP_NORM;
  sets s = {};
  s.count = group ? z.samples * z.groups : z.samples * z.rows;
  s.n = group ? z.rows * (z.channels / z.groups) : z.channels;
  s.channels = z.channels;
  s.sample = z.rows * z.channels;
  s.groups = group ? (unsigned)z.groups : 0;
  s.width = group ? (unsigned)(z.channels / z.groups) : 0;
  s.rms = c->node->attr.norm.kind == LK_RMS_NORM;
  s.eps = (float)c->node->attr.norm.eps;
  return s;
}

template <int LANES, typename T>
__global__ void norm_kernel(sets s, const T *x, per_channel gamma,
                            per_channel beta, T *y, float *mean_out,
                            float *r_out) {
  const int64_t set = lk_row<LANES>(), m = set < s.count ? s.n : 0;
  double sum = 0;
  float mean = 0, r;
  int64_t at, sample;
  unsigned ch;
  if (!s.rms) {
    for (int64_t i = lk_row_lane<LANES>(); i < m; i += LANES) {
      number_of(s, set, i, &at, &ch);
      sum += (double)lk_widen(x[at]);
    }
    mean = (float)(lk_row_sum<LANES>(sum) / (double)s.n);
  }
  sum = 0;
  for (int64_t i = lk_row_lane<LANES>(); i < m; i += LANES) {
    number_of(s, set, i, &at, &ch);
    const float d = lk_widen(x[at]) - mean;
    sum += (double)(d * d);
  }
  r = 1.0f / sqrtf((float)(lk_row_sum<LANES>(sum) / (double)s.n) + s.eps);
  for (int64_t i = lk_row_lane<LANES>(); i < m; i += LANES) {
    sample = number_of(s, set, i, &at, &ch);
    y[at] =
        lk_narrow<T>((lk_widen(x[at]) - mean) * r * gamma.at(sample, ch, 1.0f) +
                     beta.at(sample, ch, 0.0f));
  }
  if (m > 0 && lk_row_lane<LANES>() == 0) {
    if (mean_out)
      mean_out[set] = mean;
    if (r_out)
      r_out[set] = r;
  }
}

template <int LANES, typename T>
__global__ void norm_grad_kernel(sets s, const T *x, per_channel gamma,
                                 int dy_is_bf16, const void *dy,
                                 const float *means, const float *rs, T *dx) {
  const int64_t set = lk_row<LANES>(), m = set < s.count ? s.n : 0;
  const float mean = m > 0 && means ? means[set] : 0, r = m > 0 ? rs[set] : 0;
  double sum_h = 0, sum_hz = 0;
  float mean_h, mean_hz;
  int64_t at, sample;
  unsigned ch;
  for (int64_t i = lk_row_lane<LANES>(); i < m; i += LANES) {
    sample = number_of(s, set, i, &at, &ch);
    const float h = lk_either(dy, dy_is_bf16, at) * gamma.at(sample, ch, 1.0f);
    sum_h += (double)h;
    sum_hz += (double)(h * (lk_widen(x[at]) - mean) * r);
  }
  mean_h = (float)(lk_row_sum<LANES>(sum_h) / (double)s.n);
  mean_hz = (float)(lk_row_sum<LANES>(sum_hz) / (double)s.n);
  mean_h = s.rms ? 0.0f : mean_h;
  for (int64_t i = lk_row_lane<LANES>(); i < m; i += LANES) {
    sample = number_of(s, set, i, &at, &ch);
    const float h = lk_either(dy, dy_is_bf16, at) * gamma.at(sample, ch, 1.0f);
    const float z = (lk_widen(x[at]) - mean) * r;
    dx[at] = lk_narrow<T>(r * (h - mean_h - z * mean_hz));
  }
}

static lk_status norm_launch(const lk_call *c, lk_cuda_stream stream) {
  const sets s = sets_of(c);
  if (lk_tensor_count(&c->out[0]) == 0)
    return LK_OK;
  return LK_BY_FLOAT(
      c->in[0].dtype, T,
      LK_LAUNCH_ROWS(norm_kernel, T, s.count, s.n, stream, s,
                     (const T *)c->in[0].data, per_channel_of(c, 1),
                     per_channel_of(c, 2), (T *)c->out[0].data,
                     (float *)c->out[1].data, (float *)c->out[2].data));
}

const lk_cuda_kernel LK_CUDA(norm) = {NULL, NULL, norm_launch};

/* ---- gradients ---- */

/* dy z, or dy alone where x is NULL. */
template <typename T> struct slope_of {
  sets s;
  const T *x;
  int dy_is_bf16;
  const void *dy;
  const float *means, *rs;
  __device__ __forceinline__ float at(int64_t i) const {
    const float d = lk_either(dy, dy_is_bf16, i);
    if (!x)
      return d;
    const int64_t set = set_of(s, i);
    return d * (lk_widen(x[i]) - (means ? means[set] : 0.0f)) * rs[set];
  }
};

/* Result 1 (gamma) or 2 (beta): [1, samples rows, C] or [samples, rows, C] over
 * the middle. */
static lk_sum channel_sum(const lk_call *c, int n_dims) {
  const lk_norm_sizes z = lk_norm_sizes_of(c);
  return n_dims == 2 ? lk_sum_of(z.samples, z.rows, z.channels)
                     : lk_sum_of(1, z.samples * z.rows, z.channels);
}

static lk_status norm_grad_prepare(lk_call *c, size_t *work_bytes) {
  *work_bytes = 0;
  for (int i = 1; i < 3; i++)
    if (c->node->out[i] >= 0) { /* one after the other in the same work space */
      const lk_sum s = channel_sum(c, c->out[i].shape.n_dims);
      const size_t bytes = lk_sum_work_bytes(&s);
      *work_bytes = bytes > *work_bytes ? bytes : *work_bytes;
    }
  return LK_OK;
}

template <typename T>
static lk_status norm_grad(const lk_call *c, lk_cuda_stream stream) {
  lk_status st = LK_OK;
  const sets s = sets_of(c);
  const T *x = (const T *)c->in[0].data;
  const int bf16 = c->in[2].dtype == LK_BF16;
  const float *means = (const float *)c->in[3].data,
              *rs = (const float *)c->in[4].data;
  if (c->out[0].data && lk_tensor_count(&c->out[0]) > 0)
    LK_TRY(LK_LAUNCH_ROWS(
        norm_grad_kernel, T, s.count, s.n, stream, s, x, per_channel_of(c, 1),
        bf16, (const void *)c->in[2].data, means, rs, (T *)c->out[0].data));
  for (int i = 1; i < 3; i++)
    if (c->out[i].data) {
      const slope_of<T> v = {s, i == 1 ? x : NULL, bf16, c->in[2].data, means,
                             rs};
      LK_TRY(lk_sum_launch(channel_sum(c, c->out[i].shape.n_dims), v, c->work,
                           1, (float *)c->out[i].data, stream));
    }
done:
  return st;
}

static lk_status norm_grad_launch(const lk_call *c, lk_cuda_stream stream) {
  return LK_BY_FLOAT(c->in[0].dtype, T, norm_grad<T>(c, stream));
}

const lk_cuda_kernel LK_CUDA(norm_grad) = {norm_grad_prepare, NULL,
                                           norm_grad_launch};
