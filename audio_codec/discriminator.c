/* discriminator.c - five networks that look at complex spectra, 2048 to 128 samples a window, and
 * score how real each place sounds.  Defossez et al. 2022 (EnCodec), section 3.4, figure 2.
 *
 *   STFT -> 16 channels, 3 x 9 -> three of 3 x 9, stride 2 along frequency, dilation 1, 2, 4 along
 *   time -> 3 x 3 -> 3 x 3 to one score; leaky ReLU 0.2 between
 */
#include "audio_codec/codec_impl.h"

#include "kernels/nn.h"

#include <math.h>

#define FILTERS 16
#define LONGEST 2048

/* Taps x by y (time by frequency), same size at stride 1. */
static lk_var layer(lk_graph *g, const char *name, lk_var x, int64_t n_out, int64_t taps,
                    int64_t dilation, int64_t stride)
{
    const lk_conv_options o = {.stride = {1, stride},
                               .dilation = {dilation, 1},
                               .pad_lo = {dilation, taps / 2},
                               .pad_hi = {dilation, taps / 2}};
    return lk_nn_conv(g, name, x, n_out, (const int64_t[]){3, taps}, &o);
}

static void judge_scale(lk_graph *g, lk_codec_opinion *o, int scale, lk_var sound)
{
    static const int64_t dilation[LK_CODEC_FEATURES] = {1, 1, 2, 4, 1};
    const int n = LONGEST >> scale;
    lk_var x = lk_stft(g, sound, lk_codec_window(g, n, sqrt(8.0 / (3.0 * n))), n, n / 4);
    x = lk_cast(g, x, lk_graph_compute_dtype(g));
    lk_scope(g, "discriminator.%d", scale);
    for (int i = 0; i < LK_CODEC_FEATURES; i++) {
        char name[] = "conv0";
        name[4] = (char)('0' + i);
        x = layer(g, name, x, FILTERS, i == LK_CODEC_FEATURES - 1 ? 3 : 9, dilation[i],
                  i == 0 || i == LK_CODEC_FEATURES - 1 ? 1 : 2);
        x = o->feature[scale][i] = lk_leaky_relu(g, x, 0.2);
    }
    o->score[scale] = layer(g, "score", x, 1, 3, 1, 1);
    lk_scope_end(g);
}

lk_codec_opinion lk_codec_judge(lk_graph *g, const lk_codec_config *c, lk_var sound)
{
    lk_codec_opinion o;
    const int64_t b = lk_var_dim(g, sound, 0), s = lk_var_dim(g, sound, 1);
    lk_var x = lk_permute(g, sound, (const int[]){0, 2, 1});
    x = lk_reshape(g, x, LK_SHAPE(b * c->channels, s));
    for (int i = 0; i < LK_CODEC_SCALES; i++)
        judge_scale(g, &o, i, x);
    return o;
}
