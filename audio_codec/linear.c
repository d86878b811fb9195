/* linear.c - the linear way through the tokenizer, beside the network.
 *
 * A latent's samples x [P C] (mid and side), V the rows of "encoder.linear":
 *
 *   p = V x,   l = ln sqrt(|p|^2 + 1e-7),   s = p e^(-l)            gain and shape
 *   b_i = ln(mean over band i and 4 frames of |X|^0.3) / 0.3        spectra of frames.c
 *   features = s,  (l + 4) / 2,  (b - l + 7) / 4
 *
 * and back, with W_0 and W_1 of "decoder.linear" for the latent itself and the one before it:
 *
 *   y = e^(l_k) W_0 s_k + e^(l_(k - 1)) W_1 s_(k - 1)               l at most 4
 *
 * V starts as the principal components of x, W_0 as its transpose and W_1 as zero (fit.c).  They
 * are not whitened: an error in a latent is the same error in the samples, so whatever spends bits
 * where it is told most about a latent spends them where they are heard.  The factors of level and
 * bands say how much an error of them counts beside one of the shape.  All of it is in f32.
 */
#include "audio_codec/codec_impl.h"

#include "kernels/graph_impl.h"
#include "kernels/mem.h"

#include <math.h>

#define QUIET      1e-7
#define LEVEL_ZERO 4.0
#define LEVEL_UNIT 0.5
#define BAND_ZERO  7.0
#define BAND_UNIT  0.25
#define LOUDEST    4.0
#define QUIETEST   (-12.0)

/* Triangles over bins, of sum 1, evenly spaced in mel: [K, bands]. */
static lk_var band_means(lk_graph *g, const lk_codec_config *c)
{
    lk_status st = LK_OK;
    lk_var v = LK_NONE;
    float *w = NULL;
    const int k = 2 * lk_codec_hop(c) + 1, n = c->bands;
    const double top = 2595 * log10(1 + c->rate_hz / 1400.0);
    LK_TRY(LK_NEW_ARRAY(&w, (int64_t)k * n));
    for (int b = 0; b < n; b++) {
        double sum = 0;
        for (int i = 0; i < k; i++) {
            const double hz = c->rate_hz / 2.0 * i / (k - 1);
            const double at = 2595 * log10(1 + hz / 700) / top * (n - 1) - b;
            const double x = n == 1 ? 1 : fmax(0, 1 - fabs(at));
            w[(int64_t)i * n + b] = (float)x;
            sum += x;
        }
        for (int i = 0; i < k; i++)
            w[(int64_t)i * n + b] /= (float)fmax(sum, 1e-6);
    }
    v = lk_constant(g, LK_F32, LK_SHAPE(k, n), w);
done:
    if (st != LK_OK)
        lk_graph_fail(g, st);
    lk_free(w);
    return v;
}

/* Log-amplitudes of bands [B, T, bands]. */
static lk_var bands_of(lk_graph *g, const lk_codec_config *c, lk_var spectra)
{
    const int64_t b = lk_var_dim(g, spectra, 0), t = lk_var_dim(g, spectra, 1) / LK_CODEC_FRAMES;
    const int64_t k = 2 * lk_codec_hop(c) + 1, n = (int64_t)LK_CODEC_FRAMES * c->channels;
    lk_var x = lk_slice(g, lk_reshape(g, spectra, LK_SHAPE(b, t, n, k, 3)), 4, 2, 1);
    x = lk_reduce_mean(g, x, 1u << 2 | 1u << 4, 0);
    x = lk_matmul(g, x, band_means(g, c), 0, 0);
    return lk_scale(g, lk_unary(g, LK_LOG, lk_affine(g, x, 1, 1e-6), 0, 0), 1 / 0.3);
}

static lk_var slow_linear(lk_graph *g, lk_var x, int64_t n_out)
{
    const int64_t n = lk_var_dim(g, x, -1);
    const double most = sqrt(3.0 / (double)n) / LK_CODEC_SLOW;
    const lk_var w = lk_param(g, "weight", LK_SHAPE(n_out, n), LK_INIT_UNIFORM, most);
    return lk_scale(g, lk_linear(g, x, w, LK_NONE), LK_CODEC_SLOW);
}

lk_var lk_codec_features(lk_graph *g, const lk_codec_config *c, lk_var sound, lk_var spectra)
{
    const int64_t n = (int64_t)lk_codec_period(c) * c->channels, b = lk_var_dim(g, sound, 0);
    const int64_t t = lk_var_dim(g, sound, 1) / lk_codec_period(c);
    lk_var x = lk_reshape(g, lk_codec_to_mid_side(g, sound), LK_SHAPE(b, t, n)), level, part[3];
    lk_scope(g, "encoder.linear");
    x = slow_linear(g, x, c->linear);
    lk_scope_end(g);
    level = lk_affine(g, lk_reduce_sum(g, lk_square(g, x), 1u << 2, 1), 1, QUIET);
    level = lk_scale(g, lk_unary(g, LK_LOG, level, 0, 0), 0.5);
    part[0] = lk_mul(g, x, lk_unary(g, LK_EXP, lk_scale(g, level, -1), 0, 0));
    part[1] = lk_affine(g, level, LEVEL_UNIT, LEVEL_UNIT * LEVEL_ZERO);
    part[2] =
        lk_affine(g, lk_sub(g, bands_of(g, c, spectra), level), BAND_UNIT, BAND_UNIT * BAND_ZERO);
    return lk_concat(g, 3, part, 2);
}

lk_var lk_codec_level(lk_graph *g, const lk_codec_config *c, lk_var latent, lk_var more)
{
    const lk_var level = lk_add(g, lk_slice(g, latent, 2, c->linear, 1), more);
    return lk_unary(g, LK_CLAMP, lk_affine(g, level, 1 / LEVEL_UNIT, -LEVEL_ZERO), QUIETEST,
                    LOUDEST);
}

lk_var lk_codec_linear_out(lk_graph *g, const lk_codec_config *c, lk_past *past, lk_var shape,
                           lk_var level)
{
    const int64_t n = (int64_t)lk_codec_period(c) * c->channels, b = lk_var_dim(g, shape, 0);
    const int64_t t = lk_var_dim(g, shape, 1);
    lk_var p = lk_mul(g, shape, lk_unary(g, LK_EXP, level, 0, 0)), both[2];
    const lk_var all = lk_past_join(past, g, p, 1);
    both[0] = lk_slice(g, all, 1, 0, t);
    both[1] = p;
    p = lk_concat(g, 2, both, 2);
    lk_scope(g, "decoder.linear");
    p = slow_linear(g, p, n);
    lk_scope_end(g);
    p = lk_reshape(g, p, LK_SHAPE(b, t * lk_codec_period(c), c->channels));
    return lk_codec_from_mid_side(g, p);
}
