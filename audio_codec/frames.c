/* frames.c - sound to spectra and back, without looking ahead.
 *
 * With h = hop, N = 4 h, K = 2 h + 1 bins, x zero before sample 0:
 *
 *   analysis     X_j[k] = sum_n w[n] x[(j - 3) h + n] e^(-2 pi i k n / N), n = 0 .. N - 1: frame j
 *                ends with its own hop, [j h, (j + 1) h).  w: Hann, scaled so that a full-scale
 *                sine has magnitude 1.  What the network sees is X |X|^-0.7 and |X|^0.3: phases
 *                turn from frame to frame, and no linear layer finds a magnitude in them.
 *                lk_stft centres frame t at t h; behind the 3 h samples before the piece, its
 *                frames 2, 3, .. are these.
 *   synthesis    F_j[k] = N / 2 min(e^3, e^(m + l - 8)) (p + i q) / sqrt(p^2 + q^2 + 1e-4), m, p, q
 *                the network's, l the level of the latent,  f_j = real inverse transform, N samples
 * placed from j h on: y[s] = sum_j v_j[s - j h] f_j[s - j h] / sum_j v_j[s - j h]
 *
 * A sample hears the four newest frames.  All four frames of a latent are made at once, so each is
 * known to the latent's end, and only what they say beyond it is a guess.  Therefore the weights
 * depend on i = j mod 4: with P = 4 h and the position s in the latent,
 *
 *   r_0 = 1, falling over the last hop as cos^2
 *   r_i = sin^2 over the hop that starts at i h, then 1
 *   v_i = r_i / sum r
 *
 * and over a stretch of L = h / 4 at a latent's start the guesses of the latent before (i = 1, 2,
 * 3, a third each) fade as cos^2 while frame 0 rises as sin^2.
 *
 * The v sum to 1, except where a stream starts and no older frames are: the division is for that.
 */
#include "audio_codec/codec_impl.h"

#include "kernels/graph_impl.h"
#include "kernels/mel.h"
#include "kernels/mem.h"

#include <math.h>

#define FRAMES  LK_CODEC_FRAMES
#define LOUDEST 3.0
#define SHIFT   8.0

lk_var lk_codec_window(lk_graph *g, int n, double scale)
{
    lk_status st = LK_OK;
    lk_var v = LK_NONE;
    float *w = NULL;
    LK_TRY(LK_NEW_ARRAY(&w, n));
    lk_hann(w, n);
    for (int i = 0; i < n; i++)
        w[i] *= (float)scale;
    v = lk_constant(g, LK_F32, LK_SHAPE(n), w);
done:
    if (st != LK_OK)
        lk_graph_fail(g, st);
    lk_free(w);
    return v;
}

static lk_var mix(lk_graph *g, lk_var sound, const float *matrix)
{
    if (lk_var_dim(g, sound, 2) != 2)
        return sound;
    return lk_matmul(g, sound, lk_constant(g, LK_F32, LK_SHAPE(2, 2), matrix), 0, 0);
}

lk_var lk_codec_to_mid_side(lk_graph *g, lk_var sound)
{
    return mix(g, sound, (const float[]){0.5f, 0.5f, 0.5f, -0.5f});
}

lk_var lk_codec_from_mid_side(lk_graph *g, lk_var sound)
{
    return mix(g, sound, (const float[]){1, 1, 1, -1});
}

/* [B', J, K, 2] -> [B', J, K, 3]; 1e-10 under the root keeps silence at 0. */
static lk_var compress(lk_graph *g, lk_var spectrum)
{
    lk_var power = lk_reduce_sum(g, lk_square(g, spectrum), 1u << 3, 1), part[2];
    power = lk_unary(g, LK_LOG, lk_affine(g, power, 1, 1e-10), 0, 0);
    part[0] = lk_mul(g, spectrum, lk_unary(g, LK_EXP, lk_scale(g, power, -0.35), 0, 0));
    part[1] = lk_unary(g, LK_EXP, lk_scale(g, power, 0.15), 0, 0);
    return lk_concat(g, 2, part, 3);
}

lk_var lk_codec_analyse(lk_graph *g, const lk_codec_config *c, lk_past *past, lk_var sound)
{
    const int hop = lk_codec_hop(c), n = FRAMES * hop;
    const int64_t b = lk_var_dim(g, sound, 0), ch = c->channels, k = 2 * hop + 1;
    const int64_t frames = lk_var_dim(g, sound, 1) / hop;
    lk_var x = lk_past_join(past, g, lk_codec_to_mid_side(g, sound), (FRAMES - 1) * hop);
    x = lk_permute(g, x, (const int[]){0, 2, 1});
    x = lk_reshape(g, x, LK_SHAPE(b * ch, (frames + FRAMES - 1) * hop));
    x = lk_stft(g, x, lk_codec_window(g, n, 4.0 / n), n, hop);
    x = compress(g, lk_slice(g, x, 1, 2, frames));
    x = lk_reshape(g, x, LK_SHAPE(b, ch, frames, 3 * k));
    return lk_reshape(g, lk_permute(g, x, (const int[]){0, 2, 1, 3}),
                      LK_SHAPE(b, frames, ch * 3 * k));
}

/* sin^2 of a rise over `length` samples, at sample i of it. */
static double rise(int i, int length)
{
    const double s = sin(M_PI / 2 * (i + 0.5) / length);
    return i < 0 ? 0 : i >= length ? 1 : s * s;
}

/* Weight of frame i at sample s of its latent, s < 5 hop. */
static double weight(int hop, int i, int s)
{
    const int period = FRAMES * hop, fade = hop < 4 ? 1 : hop / 4;
    double r[FRAMES], sum = 0;
    if (s >= period)
        return i == 0 ? 0 : (1 - rise(s - period, fade)) / (FRAMES - 1);
    for (int k = 0; k < FRAMES; k++) {
        r[k] = k == 0 ? 1 - rise(s - period + hop, hop) : rise(s - k * hop, hop);
        sum += r[k];
    }
    return (s < fade ? rise(s, fade) : 1) * r[i] / sum;
}

/* v [4, N] */
static lk_var weights(lk_graph *g, int hop)
{
    lk_status st = LK_OK;
    lk_var out = LK_NONE;
    float *v = NULL;
    LK_TRY(LK_NEW_ARRAY(&v, FRAMES * FRAMES * hop));
    for (int i = 0; i < FRAMES; i++)
        for (int n = 0; n < FRAMES * hop; n++) {
            const int s = i * hop + n;
            v[i * FRAMES * hop + n] = s < (FRAMES + 1) * hop ? (float)weight(hop, i, s) : 0;
        }
    out = lk_constant(g, LK_F32, LK_SHAPE(1, 1, FRAMES, 1, FRAMES * hop), v);
done:
    if (st != LK_OK)
        lk_graph_fail(g, st);
    lk_free(v);
    return out;
}

/* Frames [B, J, C, 4 hop], each from its own hop on -> their sum [B, J, C, hop]. */
static lk_var add_up(lk_graph *g, lk_past *past, lk_var frames, int hop)
{
    const int64_t n = lk_var_dim(g, frames, 1);
    const lk_var all = lk_past_join(past, g, frames, FRAMES - 1);
    lk_var sum = LK_NONE;
    for (int age = 0; age < FRAMES; age++) {
        lk_var part = lk_slice(g, all, 1, FRAMES - 1 - age, n);
        part = lk_slice(g, part, 3, age * hop, hop);
        sum = age == 0 ? part : lk_add(g, sum, part);
    }
    return sum;
}

/* [B, J, C, K, 2] -> [B, J, C, N]; the transforms stand side by side, one an N samples. */
static lk_var to_time(lk_graph *g, lk_var spectra, int n)
{
    const int64_t b = lk_var_dim(g, spectra, 0), j = lk_var_dim(g, spectra, 1),
                  ch = lk_var_dim(g, spectra, 2), k = lk_var_dim(g, spectra, 3);
    lk_var x = lk_reshape(g, spectra, LK_SHAPE(b, j * ch, k, 2));
    lk_var window =
        lk_broadcast(g, lk_constant(g, LK_F32, LK_SHAPE(1), (const float[]){1}), LK_SHAPE(n));
    x = lk_istft(g, lk_pad(g, x, 1, 1, 0), window, n, n, (j * ch + 1) * n);
    return lk_reshape(g, lk_slice(g, x, 1, n / 2, j * ch * n), LK_SHAPE(b, j, ch, n));
}

lk_var lk_codec_overlap(lk_graph *g, const lk_codec_config *c, lk_past *past, lk_var spectra)
{
    const int hop = lk_codec_hop(c), n = FRAMES * hop;
    const int64_t b = lk_var_dim(g, spectra, 0), j = lk_var_dim(g, spectra, 1), ch = c->channels;
    const lk_var v = weights(g, hop);
    lk_var x = lk_reshape(g, to_time(g, spectra, n), LK_SHAPE(b, j / FRAMES, FRAMES, ch, n));
    lk_var norm = lk_broadcast(g, v, LK_SHAPE(1, j / FRAMES, FRAMES, 1, n));
    x = add_up(g, past, lk_reshape(g, lk_mul(g, x, v), LK_SHAPE(b, j, ch, n)), hop);
    norm = add_up(g, past, lk_reshape(g, norm, LK_SHAPE(1, j, 1, n)), hop);
    x = lk_permute(g, lk_div(g, x, norm), (const int[]){0, 1, 3, 2});
    return lk_codec_from_mid_side(g, lk_reshape(g, x, LK_SHAPE(b, j * hop, ch)));
}

lk_var lk_codec_synthesise(lk_graph *g, const lk_codec_config *c, lk_past *past, lk_var head,
                           lk_var level)
{
    const int hop = lk_codec_hop(c);
    const int64_t b = lk_var_dim(g, head, 0), j = lk_var_dim(g, head, 1);
    const lk_shape bins = LK_SHAPE(b, j, c->channels, 2 * hop + 1, 1);
    lk_var part[3], length;
    level = lk_reshape(g, lk_repeat(g, level, 1, FRAMES), LK_SHAPE(b, j, 1, 1, 1));
    lk_split_equally(g, lk_reshape(g, head, LK_SHAPE(b, j, c->channels, 3, 2 * hop + 1)), 3, 3,
                     part);
    part[0] =
        lk_unary(g, LK_CLAMP, lk_affine(g, lk_add(g, part[0], level), 1, -SHIFT), -30, LOUDEST);
    part[0] = lk_scale(g, lk_unary(g, LK_EXP, part[0], 0, 0), FRAMES * hop / 2);
    length = lk_add(g, lk_square(g, part[1]), lk_square(g, part[2]));
    length = lk_unary(g, LK_RSQRT, lk_affine(g, length, 1, 1e-4), 0, 0);
    part[0] = lk_mul(g, part[0], length);
    for (int i = 1; i < 3; i++)
        part[i] = lk_reshape(g, lk_mul(g, part[0], part[i]), bins);
    return lk_codec_overlap(g, c, past, lk_concat(g, 2, part + 1, 4));
}
