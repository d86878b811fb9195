/* losses.c - how far a result y is from the sound x.
 *
 * x and y are heard on left and right and on mid and side (stereo), or as they are (mono).  With
 * STFT_n of a Hann window of n samples, hop n / 4:
 *
 *   mel     mean over n in 32, 64, .. 2048 of mean |log10 M_n(y) - log10 M_n(x)|, M_n: 5, 10, ..
 *           320 mel bands of the magnitudes, not below 1e-5    (Kumar et al. 2023, section 3.4)
 *   stft    mean over n in 128, 256, .. 2048 of mean |STFT_n(y) - STFT_n(x)|, real and imaginary
 *           parts; the window's squares sum to 1
 *   wave    mean over voices of d^2 / sqrt((d^2 + e) (|x|^2 + e)), d = |y - x|, e = 1e-8 a sample:
 *           the amplitude of the error beside that of the sound, whatever its level
 */
#include "audio_codec/codec_impl.h"

#include <math.h>

#define SCALES      7
#define FIRST       32
#define FIRST_BANDS 5
#define FIRST_STFT  2 /* of the scales */
#define FLOOR       1e-5
#define QUIET       1e-8

/* [B, S, C] -> [B', S]: every channel, and mid and side of two. */
static lk_var voices(lk_graph *g, lk_var x)
{
    const int64_t b = lk_var_dim(g, x, 0), s = lk_var_dim(g, x, 1), c = lk_var_dim(g, x, 2);
    lk_var all[2];
    all[0] = x;
    all[1] = lk_codec_to_mid_side(g, x);
    x = c == 2 ? lk_concat(g, 2, all, 0) : x;
    x = lk_permute(g, x, (const int[]){0, 2, 1});
    return lk_reshape(g, x, LK_SHAPE(c == 2 ? 4 * b : b, s));
}

static lk_var error_of(lk_graph *g, lk_var y, lk_var x)
{
    const double quiet = QUIET * (double)lk_var_dim(g, x, 1);
    const lk_var d = lk_reduce_sum(g, lk_square(g, lk_sub(g, y, x)), 1u << 1, 0);
    const lk_var power = lk_reduce_sum(g, lk_square(g, x), 1u << 1, 0);
    lk_var both = lk_mul(g, lk_affine(g, d, 1, quiet), lk_affine(g, power, 1, quiet));
    return lk_mean_all(g, lk_mul(g, d, lk_unary(g, LK_RSQRT, both, 0, 0)));
}

lk_codec_distances lk_codec_distance(lk_graph *g, const lk_codec_config *c, lk_var y, lk_var x)
{
    lk_codec_distances d = {LK_NONE, LK_NONE, LK_NONE};
    const lk_var sound[2] = {voices(g, y), voices(g, x)};
    for (int i = 0; i < SCALES; i++) {
        const int n = FIRST << i;
        const double unit = sqrt(8.0 / (3.0 * n)); /* the squares of a Hann window sum to 3 n / 8 */
        const lk_var window = lk_codec_window(g, n, 1);
        lk_var spectrum[2], mel[2], one;
        for (int k = 0; k < 2; k++) {
            spectrum[k] = lk_stft(g, sound[k], window, n, n / 4);
            mel[k] = lk_log_mel(g, spectrum[k], c->rate_hz, FIRST_BANDS << i, 0, c->rate_hz / 2.0,
                                FLOOR);
        }
        one = lk_scale(g, lk_l1_loss(g, mel[0], mel[1]), 1 / (log(10) * SCALES));
        d.mel = i == 0 ? one : lk_add(g, d.mel, one);
        if (i < FIRST_STFT)
            continue;
        one = lk_scale(g, lk_l1_loss(g, spectrum[0], spectrum[1]), unit / (SCALES - FIRST_STFT));
        d.stft = i == FIRST_STFT ? one : lk_add(g, d.stft, one);
    }
    d.wave = error_of(g, sound[0], sound[1]);
    return d;
}
