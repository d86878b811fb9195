/* spectral.c - short-time Fourier transforms and what training reads from them.
 *
 * With N = n_fft, h = hop, frames t = 0 .. ceil(S / h) - 1 and n = s - t h + N / 2 in 0 .. N - 1:
 *
 *   stft         X[t, k] = sum_n w[n] x[s] e^(-2 pi i k n / N),  k = 0 .. N / 2
 *   stft_grad    its transpose:  dx[s] = sum_t w[n] Re sum_k dX[t, k] e^(2 pi i k n / N)
 *   istft        y[s] = sum_t w[n] f_t[n] / sum_t w[n]^2 (0 where that is under 1e-8), where
 *                f_t[n] = 1 / N Re sum_k c_k X[t, k] e^(2 pi i k n / N) is the real inverse:
 *                c_k = 1 for k = 0 and N / 2, whose imaginary parts do not count, and 2 between
 *   istft_grad   its transpose:  dX[t, k] = c_k / N sum_n w[n] e[s] e^(-2 pi i k n / N) with
 *                e = dy / sum_t w[n]^2
 *   magnitude    |X| = sqrt(re^2 + im^2);  dX = d|X| X / |X|, 0 where X is 0
 *   log_mel      composed: ln of the larger of floor and the product of |X| with the triangles
 *
 * The four transforms are two, one each way, with different factors.  No gradient flows to a
 * window.
 */
#include "kernels/ops/ops_impl.h"

#include "kernels/mel.h"
#include "kernels/mem.h"

#define LEAST_NORM 1e-8

static int64_t n_frames(int64_t n_samples, int hop)
{
    return (n_samples + hop - 1) / hop;
}

static lk_status check_window(const lk_call *c)
{
    const int n = c->node->attr.stft.n_fft, hop = c->node->attr.stft.hop;
    if (n < 2 || n % 2 || hop < 1)
        return LK_FAIL(LK_E_ARG,
                       "%s needs an even n_fft of at least 2 and a hop of at least 1, "
                       "given %d and %d",
                       lk_op_get(c->node->op)->name, n, hop);
    if (c->in[0].dtype != LK_F32 || c->in[1].dtype != LK_F32)
        return LK_FAIL(LK_E_ARG, "%s works in f32; cast to it", lk_op_get(c->node->op)->name);
    if (c->in[1].shape.n_dims != 1 || c->in[1].shape.dim[0] != n)
        return lk_bad_shapes(c, "the window must have n_fft numbers");
    return LK_OK;
}

/* stft, istft_grad (x [B, S], window) -> [B, T, N / 2 + 1, 2] */
static lk_status analysis_infer(const lk_call *c, lk_tensor *out)
{
    lk_status st = LK_OK;
    const lk_shape *x = &c->in[0].shape;
    LK_TRY(check_window(c));
    if (x->n_dims != 2)
        return lk_bad_shapes(c, "needs sound as [B, S]");
    out[0].dtype = LK_F32;
    out[0].shape = LK_SHAPE(x->dim[0], n_frames(x->dim[1], c->node->attr.stft.hop),
                            c->node->attr.stft.n_fft / 2 + 1, 2);
done:
    return st;
}

/* istft, stft_grad (X [B, T, N / 2 + 1, 2], window) -> [B, n_samples] */
static lk_status synthesis_infer(const lk_call *c, lk_tensor *out)
{
    lk_status st = LK_OK;
    const lk_shape *x = &c->in[0].shape;
    const int64_t n = c->node->attr.stft.n_samples;
    LK_TRY(check_window(c));
    if (x->n_dims != 4 || x->dim[3] != 2 || x->dim[2] != c->node->attr.stft.n_fft / 2 + 1)
        return lk_bad_shapes(c, "needs a spectrum [B, T, n_fft / 2 + 1, 2]");
    LK_REQUIRE(n >= 0 && x->dim[1] == n_frames(n, c->node->attr.stft.hop), LK_E_SHAPE,
               "%lld samples with hop %d make %lld frames, not %lld", (long long)n,
               c->node->attr.stft.hop, (long long)n_frames(n, c->node->attr.stft.hop),
               (long long)x->dim[1]);
    out[0].dtype = LK_F32;
    out[0].shape = LK_SHAPE(x->dim[0], n);
done:
    return st;
}

/* Sum of the squared windows over sample s. */
static double norm_at(const double *w, int n, int hop, int64_t s, int64_t frames)
{
    double sum = 0;
    for (int64_t t = 0; t < frames; t++) {
        const int64_t i = s - t * hop + n / 2;
        sum += i >= 0 && i < n ? w[i] * w[i] : 0;
    }
    return sum;
}

static void analysis_define(const lk_call *c)
{
    const int n = c->node->attr.stft.n_fft, hop = c->node->attr.stft.hop;
    const int inverse = c->node->op == LK_OP_ISTFT_GRAD;
    const int64_t n_samples = c->in[0].shape.dim[1], frames = n_frames(n_samples, hop);
    const double *w = c->in[1].data;
    double *y = c->out[0].data;
    for (int64_t i = 0; i < lk_tensor_count(&c->out[0]) / 2; i++) {
        const int64_t k = i % (n / 2 + 1), t = i / (n / 2 + 1) % frames;
        const double *x = (const double *)c->in[0].data + i / (n / 2 + 1) / frames * n_samples;
        const double scale = !inverse ? 1 : k == 0 || k == n / 2 ? 1.0 / n : 2.0 / n;
        double re = 0, im = 0;
        for (int j = 0; j < n; j++) {
            const int64_t s = t * hop + j - n / 2;
            const double angle = 2 * M_PI * (double)(k * j % n) / n;
            double v;
            if (s < 0 || s >= n_samples)
                continue;
            v = w[j] * x[s];
            if (inverse) {
                const double norm = norm_at(w, n, hop, s, frames);
                v = norm < LEAST_NORM ? 0 : v / norm;
            }
            re += v * cos(angle);
            im -= v * sin(angle);
        }
        y[2 * i] = scale * re;
        y[2 * i + 1] = k == 0 || k == n / 2 ? 0 : scale * im;
    }
}

static void synthesis_define(const lk_call *c)
{
    const int n = c->node->attr.stft.n_fft, hop = c->node->attr.stft.hop;
    const int inverse = c->node->op == LK_OP_ISTFT;
    const int64_t n_samples = c->node->attr.stft.n_samples, frames = n_frames(n_samples, hop);
    const double *w = c->in[1].data;
    double *y = c->out[0].data;
    for (int64_t i = 0; i < lk_tensor_count(&c->out[0]); i++) {
        const int64_t s = i % n_samples;
        double sum = 0, norm = 1;
        for (int64_t t = 0; t < frames; t++) {
            const int64_t j = s - t * hop + n / 2;
            const double *x =
                (const double *)c->in[0].data + (i / n_samples * frames + t) * (n / 2 + 1) * 2;
            if (j < 0 || j >= n)
                continue;
            for (int64_t k = 0; k <= n / 2; k++) {
                const double angle = 2 * M_PI * (double)(k * j % n) / n;
                const double scale = !inverse ? 1 : k == 0 || k == n / 2 ? 1.0 / n : 2.0 / n;
                sum += w[j] * scale * (x[2 * k] * cos(angle) - x[2 * k + 1] * sin(angle));
            }
        }
        if (inverse)
            norm = norm_at(w, n, hop, s, frames);
        y[i] = norm < LEAST_NORM ? 0 : sum / norm;
    }
}

static lk_var record(lk_graph *g, lk_op op, lk_var x, lk_var window, int n_fft, int hop,
                     int64_t n_samples)
{
    const lk_attr attr = {.stft = {n_fft, hop, n_samples}};
    return lk_record(g, op, 2, (lk_var[]){x, window}, &attr, 0, NULL);
}

static void stft_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                          const lk_var *dout, lk_var *din)
{
    (void)out;
    din[0] = record(g, LK_OP_STFT_GRAD, dout[0], in[1], n->attr.stft.n_fft, n->attr.stft.hop,
                    lk_var_dim(g, in[0], 1));
}

static void istft_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                           const lk_var *dout, lk_var *din)
{
    (void)out;
    din[0] = record(g, LK_OP_ISTFT_GRAD, dout[0], in[1], n->attr.stft.n_fft, n->attr.stft.hop,
                    n->attr.stft.n_samples);
}

const lk_op_def lk_op_stft = {"stft",        1,   0, 0, analysis_infer, analysis_define,
                              stft_gradient, NULL};
const lk_op_def lk_op_stft_grad = {"stft_grad",      1,    0,   0, synthesis_infer,
                                   synthesis_define, NULL, NULL};
const lk_op_def lk_op_istft = {"istft",        1,   0, 0, synthesis_infer, synthesis_define,
                               istft_gradient, NULL};
const lk_op_def lk_op_istft_grad = {"istft_grad",    1,    0,   0, analysis_infer,
                                    analysis_define, NULL, NULL};

lk_var lk_stft(lk_graph *g, lk_var x, lk_var window, int n_fft, int hop)
{
    if (lk_is_none(x) || lk_is_none(window))
        return LK_NONE;
    return record(g, LK_OP_STFT, x, window, n_fft, hop, 0);
}

lk_var lk_istft(lk_graph *g, lk_var spectrum, lk_var window, int n_fft, int hop, int64_t n_samples)
{
    if (lk_is_none(spectrum) || lk_is_none(window))
        return LK_NONE;
    return record(g, LK_OP_ISTFT, spectrum, window, n_fft, hop, n_samples);
}

/* ---- magnitude (x [..., 2]) -> [...]; magnitude_grad (x, dy) -> dx ---- */

static lk_status magnitude_infer(const lk_call *c, lk_tensor *out)
{
    const lk_shape *x = &c->in[0].shape;
    if (x->n_dims < 1 || lk_last(x) != 2)
        return lk_bad_shapes(c, "needs pairs [..., 2]");
    if (c->in[0].dtype != LK_F32)
        return LK_FAIL(LK_E_ARG, "magnitude works in f32; cast to it");
    out[0].dtype = LK_F32;
    out[0].shape = *x;
    if (!lk_has(c, 1))
        out[0].shape.dim[--out[0].shape.n_dims] = 0;
    return LK_OK;
}

static void magnitude_define(const lk_call *c)
{
    const double *x = c->in[0].data;
    double *y = c->out[0].data;
    for (int64_t i = 0; i < lk_tensor_count(&c->out[0]); i++)
        y[i] = sqrt(x[2 * i] * x[2 * i] + x[2 * i + 1] * x[2 * i + 1]);
}

static void magnitude_grad_define(const lk_call *c)
{
    const double *x = c->in[0].data, *dy = c->in[1].data;
    double *dx = c->out[0].data;
    for (int64_t i = 0; i < lk_tensor_count(&c->in[1]); i++) {
        const double a = sqrt(x[2 * i] * x[2 * i] + x[2 * i + 1] * x[2 * i + 1]);
        dx[2 * i] = a > 0 ? dy[i] * x[2 * i] / a : 0;
        dx[2 * i + 1] = a > 0 ? dy[i] * x[2 * i + 1] / a : 0;
    }
}

static void magnitude_gradient(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                               const lk_var *dout, lk_var *din)
{
    (void)n;
    (void)out;
    din[0] = lk_record(g, LK_OP_MAGNITUDE_GRAD, 2, (lk_var[]){in[0], dout[0]}, NULL, 0, NULL);
}

const lk_op_def lk_op_magnitude = {"magnitude",        1,   0, 0, magnitude_infer, magnitude_define,
                                   magnitude_gradient, NULL};
const lk_op_def lk_op_magnitude_grad = {"magnitude_grad",      1,    0,   0, magnitude_infer,
                                        magnitude_grad_define, NULL, NULL};

lk_var lk_magnitude(lk_graph *g, lk_var x)
{
    if (lk_is_none(x))
        return LK_NONE;
    return lk_record(g, LK_OP_MAGNITUDE, 1, &x, NULL, 0, NULL);
}

/* ---- log_mel ---- */

/* The triangles as columns of a matrix [bins, bands], each with area 1 over Hz. */
static lk_status mel_matrix(int n_bins, int rate_hz, int n_mels, double lo_hz, double hi_hz,
                            float **out)
{
    lk_status st = LK_OK;
    lk_mel_bank bank = {0};
    *out = NULL;
    LK_TRY(lk_mel_bank_create(&bank, n_mels, 2 * (n_bins - 1), rate_hz, lo_hz, hi_hz));
    LK_TRY(LK_NEW_ARRAY(out, (int64_t)n_bins * n_mels));
    for (int b = 0; b < n_mels; b++) {
        const double width =
            lk_mel_centre(b + 1, n_mels, lo_hz, hi_hz) - lk_mel_centre(b - 1, n_mels, lo_hz, hi_hz);
        for (int i = 0; i < bank.count[b]; i++)
            (*out)[(int64_t)(bank.first[b] + i) * n_mels + b] =
                (float)((double)bank.weight[bank.offset[b] + i] * 2 / width);
    }
done:
    lk_mel_bank_clear(&bank);
    return st;
}

lk_var lk_log_mel(lk_graph *g, lk_var spectrum, int rate_hz, int n_mels, double lo_hz, double hi_hz,
                  double floor)
{
    lk_status st = LK_OK;
    float *mel = NULL;
    lk_var bands = LK_NONE;
    int64_t n_bins;
    if (lk_is_none(spectrum))
        return LK_NONE;
    n_bins = lk_var_dim(g, spectrum, -2);
    LK_REQUIRE(lk_var_shape(g, spectrum).n_dims == 4 && lk_var_dim(g, spectrum, 3) == 2 &&
                   n_bins >= 2 && n_bins < 1 << 24,
               LK_E_SHAPE, "log_mel needs a spectrum [B, T, K, 2] as lk_stft makes it");
    LK_REQUIRE(floor > 0, LK_E_ARG, "log_mel needs a floor above 0, got %g", floor);
    LK_TRY(mel_matrix((int)n_bins, rate_hz, n_mels, lo_hz, hi_hz, &mel));
    bands = lk_matmul(g, lk_magnitude(g, spectrum),
                      lk_constant(g, LK_F32, LK_SHAPE(n_bins, n_mels), mel), 0, 0);
    if (!lk_is_none(bands))
        bands = lk_unary(g, LK_LOG, lk_unary(g, LK_CLAMP, bands, floor, HUGE_VAL), 0, 0);
done:
    if (st != LK_OK)
        lk_graph_fail(g, st);
    lk_free(mel);
    return bands;
}
