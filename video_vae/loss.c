/* loss.c - what a training of the video tokenizer makes small.
 *
 * Let x be the frames, y their reconstruction, b(.) the Haar bands, z = mean + exp(log_var / 2) n
 * the latents, n standard normal.
 *
 *   bands        mean |b(y) - b(x)|, detail bands weighted (the lowest band has weight 1)
 *   ms_ssim      1 - MS-SSIM of the grey pictures (loss_ssim.c)
 *   change       mean |(y_t - y_(t-1)) - (x_t - x_(t-1))|: what flickers
 *   clips_db     mean over clips of -2.5 log10 (mean over frames of (m / 4 + 1e-4)^4), m a
 *                frame's mean square error: the PSNR of a clip, its worst frames counting most.
 *                It is made large, so that a smooth clip counts as much as a rough one
 *   kl           (rate / target - 1)^2, rate = KL / (ln 2 pixels) in bits per pixel of the frames
 *                the latents cover (a target instead of a weight: Seetharaman, Kumar,
 *                arXiv 2605.17085)
 *   scales       latents averaged over 2 x 2, 4 x 4 positions, or 2 x 2 x 2 with time, must
 *                decode to the frames averaged likewise (Skorokhodov et al., arXiv 2502.14831)
 *   correlation  relu(0.75 - r), r the correlation of neighbouring means along x, y and time,
 *                mean over directions and channels (after SSVAE, arXiv 2512.05394)
 *
 * The decoder sees (z + sigma n') keep: noise and left-out channels on a share of the clips, so
 * that it forgives imperfect latents and front channels hold the structure.
 */
#include "video_vae/vae_impl.h"

#include "kernels/mem.h"

#include <math.h>

#define CORRELATION 0.75
#define GOOD_ENOUGH 1e-4 /* a frame's mean square error over 4, 40 dB: less is not striven for */

const char *const lk_vae_loss_names[] = {"loss",   "bands",       "ms_ssim",           "change",
                                         "scales", "correlation", "kl_bits_per_pixel", "clips_db",
                                         "psnr_db"};
const int lk_vae_n_losses = (int)(sizeof lk_vae_loss_names / sizeof lk_vae_loss_names[0]);

lk_var lk_vae_fill_groups(lk_graph *g, const lk_vae_shape *s, lk_var rgb)
{
    lk_status st = LK_OK;
    const int64_t frames = lk_var_dim(g, rgb, 1), n = s->time * lk_vae_n_latents(s->time, frames);
    int32_t *index = NULL;
    lk_var v = rgb;
    if (s->time == 1)
        return rgb;
    LK_TRY(LK_NEW_ARRAY(&index, n));
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = i - (s->time - 1);
        index[i] = (int32_t)(at < 0 ? 0 : at >= frames ? frames - 1 : at);
    }
    v = lk_gather(g, rgb, 1, lk_constant(g, LK_I32, LK_SHAPE(n), index));
done:
    if (st != LK_OK)
        lk_graph_fail(g, st);
    lk_free(index);
    return v;
}

/* Mean over cells of t frames and r x r positions of [B, T, Y, X, C]; a rest is left out. */
static lk_var averaged(lk_graph *g, lk_var x, int64_t t, int64_t r)
{
    const lk_shape s = lk_var_shape(g, x);
    const int64_t n_t = s.dim[1] / t, rows = s.dim[2] / r, columns = s.dim[3] / r, c = s.dim[4];
    if (lk_is_none(x))
        return x;
    x = lk_slice(g, x, 1, 0, n_t * t);
    x = lk_reshape(g, x, LK_SHAPE(s.dim[0] * n_t, t, s.dim[2] * s.dim[3] * s.dim[4]));
    x = lk_reduce_mean(g, x, 2u, 0);
    x = lk_reshape(g, x, LK_SHAPE(s.dim[0] * n_t * rows, r, columns * r * c));
    x = lk_reduce_mean(g, x, 2u, 0); /* of whole rows first: they lie side by side */
    x = lk_reshape(g, x, LK_SHAPE(s.dim[0] * n_t * rows * columns, r, c));
    return lk_reshape(g, lk_reduce_mean(g, x, 2u, 0), LK_SHAPE(s.dim[0], n_t, rows, columns, c));
}

/* Mean |difference| of bands; the lowest band of each colour has weight 1. */
static lk_var bands_loss(lk_graph *g, const lk_vae_shape *s, lk_var difference, double detail)
{
    float weight[3 * 16];
    const int n = 3 * lk_vae_patch(s) * lk_vae_patch(s);
    const lk_var size = lk_unary(g, LK_ABS, difference, 0, 0);
    for (int i = 0; i < n; i++)
        weight[i] = i < 3 ? 1 : (float)detail;
    return lk_mean_all(
        g, detail == 1 ? size : lk_mul(g, size, lk_constant(g, LK_F32, LK_SHAPE(n), weight)));
}

static lk_var scales_loss(lk_graph *g, const lk_vae_shape *s, lk_var z, lk_var rgb, double detail)
{
    const lk_shape size = lk_var_shape(g, z);
    const int pooled_time = s->time > 1 && size.dim[1] >= 2;
    const int by_four = size.dim[2] % 4 == 0 && size.dim[3] % 4 == 0;
    const int cell[3][2] = {{1, 1}, {1, 2}, {2, 1}}, used[3] = {1, by_four, pooled_time};
    lk_var sum = LK_NONE;
    int n = 0;
    z = averaged(g, z, 1, 2); /* the other two are means of these */
    rgb = averaged(g, rgb, 1, 2);
    for (int i = 0; i < 3; i++) {
        lk_var y, x, part;
        if (!used[i])
            continue;
        y = lk_vae_decode_graph(g, NULL, s, averaged(g, z, cell[i][0], cell[i][1]));
        x = averaged(g, rgb, cell[i][0], cell[i][1]);
        x = lk_slice(g, x, 1, 0, lk_var_dim(g, y, 1));
        part = bands_loss(g, s, lk_sub(g, y, lk_vae_bands(g, s, x)), detail);
        sum = n++ ? lk_add(g, sum, part) : part;
    }
    return lk_scale(g, sum, 1.0 / n);
}

/* r of the definition above. */
static lk_var correlation_of(lk_graph *g, lk_var mean)
{
    const unsigned all = 15u;
    const lk_var centred = lk_sub(g, mean, lk_reduce_mean(g, mean, all, 1));
    const lk_var variance = lk_affine(g, lk_reduce_mean(g, lk_square(g, centred), all, 1), 1, 1e-6);
    lk_var sum = LK_NONE;
    int n = 0;
    for (int axis = 1; axis <= 3; axis++) {
        const int64_t size = lk_var_dim(g, mean, axis);
        lk_var r;
        if (size < 2)
            continue;
        r = lk_mul(g, lk_slice(g, centred, axis, 0, size - 1),
                   lk_slice(g, centred, axis, 1, size - 1));
        r = lk_mean_all(g, lk_div(g, lk_reduce_mean(g, r, all, 1), variance));
        sum = n++ ? lk_add(g, sum, r) : r;
    }
    return lk_scale(g, sum, 1.0 / n);
}

static lk_var grey(lk_graph *g, lk_var rgb)
{
    static const float weight[3] = {0.299f, 0.587f, 0.114f};
    const lk_var x = lk_vae_fold(g, rgb);
    return lk_reshape(g, lk_linear(g, x, lk_constant(g, LK_F32, LK_SHAPE(1, 3), weight), LK_NONE),
                      LK_SHAPE(lk_var_dim(g, x, 0), lk_var_dim(g, x, 1), lk_var_dim(g, x, 2)));
}

/* 10 log10(4 / mean square), the range being 2. */
static lk_var psnr(lk_graph *g, lk_var difference)
{
    const lk_var error = lk_affine(g, lk_mean_all(g, lk_square(g, difference)), 0.25, 1e-12);
    return lk_scale(g, lk_unary(g, LK_LOG, error, 0, 0), -10 / log(10));
}

/* clips_db of the definition above, of [B, T, Y, X, 3]. */
static lk_var clips_db(lk_graph *g, lk_var difference)
{
    lk_var m = lk_reduce_mean(g, lk_square(g, difference), 4u | 8u | 16u, 0);
    m = lk_square(g, lk_affine(g, m, 0.25, GOOD_ENOUGH));
    m = lk_unary(g, LK_LOG, lk_reduce_mean(g, lk_square(g, m), 2u, 0), 0, 0);
    return lk_scale(g, lk_mean_all(g, m), -2.5 / log(10));
}

static lk_var sample(lk_graph *g, lk_var mean, lk_var log_var)
{
    const lk_var deviation = lk_unary(g, LK_EXP, lk_scale(g, log_var, 0.5), 0, 0);
    const lk_var noise = lk_random_normal(g, LK_F32, lk_var_shape(g, mean));
    return lk_add(g, mean, lk_mul(g, deviation, noise));
}

static lk_var disturb(lk_graph *g, lk_var z)
{
    const int64_t batch = lk_var_dim(g, z, 0);
    const lk_var sigma = lk_input(g, "sigma", LK_F32, LK_SHAPE(batch, 1, 1, 1, 1));
    const lk_var keep = lk_input(g, "keep", LK_F32, LK_SHAPE(batch, 1, 1, 1, lk_var_dim(g, z, 4)));
    const lk_var noise = lk_random_normal(g, LK_F32, lk_var_shape(g, z));
    return lk_mul(g, lk_add(g, z, lk_mul(g, noise, sigma)), keep);
}

lk_var lk_vae_loss_graph(lk_graph *g, const lk_vae_shape *s, const lk_vae_train_config *c)
{
    const int64_t t = c->frames, skip = s->time - 1;
    const lk_shape shape = LK_SHAPE(c->batch, t, c->height, c->width, 3);
    const lk_var rgb = lk_input(g, "rgb", LK_F32, shape);
    const lk_var all = lk_vae_fill_groups(g, s, rgb);
    lk_var mean, log_var, z, y, error, step, rate, value[9], loss = LK_NONE;
    const double weight[9] = {0,
                              1,
                              c->ssim_weight,
                              c->change_weight,
                              c->scale_weight,
                              c->correlation_weight,
                              c->kl_weight,
                              -c->clips_weight,
                              0};
    lk_freeze(g, c->decoder_only);
    lk_vae_encode_graph(g, NULL, s, all, &mean, &log_var);
    lk_freeze(g, 0);
    z = sample(g, mean, log_var);
    y = lk_vae_decode_graph(g, NULL, s, disturb(g, z));
    y = lk_slice(g, y, 1, skip, t);
    error = lk_sub(g, y, lk_vae_bands(g, s, rgb));
    value[1] = bands_loss(g, s, error, c->detail_weight);
    y = lk_vae_from_bands(g, s, y);
    value[2] = lk_vae_ssim_loss(g, grey(g, y), grey(g, rgb), 2);
    error = lk_sub(g, y, rgb);
    step = t > 1 ? lk_sub(g, lk_slice(g, error, 1, 1, t - 1), lk_slice(g, error, 1, 0, t - 1))
                 : lk_scale(g, error, 0);
    value[3] = lk_mean_all(g, lk_unary(g, LK_ABS, step, 0, 0));
    value[4] = scales_loss(g, s, z, all, c->detail_weight);
    value[5] = correlation_of(g, mean);
    rate = lk_scale(g, lk_kl_loss(g, mean, log_var),
                    s->channels / (log(2) * s->time * s->space * s->space));
    value[6] = rate;
    value[7] = clips_db(g, error);
    value[8] = psnr(g, error);
    for (int i = 1; i < 8; i++) {
        lk_var part = value[i];
        if (i == 5)
            part = lk_relu(g, lk_affine(g, part, -1, CORRELATION));
        if (i == 6)
            part = lk_square(g, lk_affine(g, part, 1 / c->bits_per_pixel, -1));
        part = lk_scale(g, part, weight[i]);
        loss = i == 1 ? part : lk_add(g, loss, part);
    }
    value[0] = loss;
    for (int i = 0; i < lk_vae_n_losses; i++)
        lk_output(g, lk_vae_loss_names[i], value[i]);
    return loss;
}
