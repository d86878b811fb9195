/* net.c - the layers on both sides of the bottleneck.
 *
 *   block     x + s W2 act(W1 rms(dw(x)))      dw: depthwise, 7 taps back in time; s starts at 0.1
 *             (ConvNeXt: Liu et al. 2022; as in Vocos: Siuzdak 2023, section 3.2)
 *   encode    spectra -> W -> blocks at 100 Hz -> 8 taps, stride 4 -> blocks at 25 Hz -> rms
 *   decode    blocks at 25 Hz -> W to 4 frames -> blocks at 100 Hz -> rms -> W -> synthesis
 *
 * The last rms of the encoder has no weight: latents of mean square 1 give the bottleneck's
 * distances a fixed scale.  act is GELU (tanh formula) or Snake with a learned frequency.
 */
#include "audio_codec/codec_impl.h"

#include "kernels/nn.h"

#include <string.h>

#define TAPS   7
#define WIDER  3
#define STRIDE LK_CODEC_FRAMES

static lk_var block(lk_graph *g, const lk_codec_config *c, lk_past *past, const char *name, int i,
                    lk_var x)
{
    const int64_t d = lk_var_dim(g, x, -1);
    const lk_conv_options each = {.groups = (int)d};
    lk_var h;
    lk_scope(g, "%s%d", name, i);
    h = lk_nn_conv(g, "conv", lk_past_join(past, g, x, TAPS - 1), d, (const int64_t[]){TAPS},
                   &each);
    h = lk_nn_norm(g, "norm", LK_RMS_NORM, h, 1);
    h = lk_nn_dense(g, "up", h, WIDER * d, 1);
    h = strcmp(c->activation, "snake") == 0 ? lk_nn_snake(g, "alpha", h) : lk_gelu_tanh(g, h);
    h = lk_nn_dense(g, "down", h, d, 1);
    x = lk_add(g, x, lk_mul(g, h, lk_weight(g, "scale", LK_SHAPE(d), LK_INIT_VALUE, 0.1)));
    lk_scope_end(g);
    return x;
}

lk_var lk_codec_encode(lk_graph *g, const lk_codec_config *c, lk_past *past, lk_var sound)
{
    const lk_conv_options down = {.stride = {STRIDE}};
    lk_var x = lk_codec_analyse(g, c, past, sound);
    lk_scope(g, "encoder");
    x = lk_nn_dense(g, "in", lk_cast(g, x, lk_graph_compute_dtype(g)), c->width, 1);
    for (int i = 0; i < c->encoder_blocks; i++)
        x = block(g, c, past, "block", i, x);
    x = lk_past_join(past, g, x, STRIDE);
    x = lk_nn_conv(g, "down", x, c->latent_width, (const int64_t[]){2 * STRIDE}, &down);
    for (int i = 0; i < c->latent_blocks; i++)
        x = block(g, c, past, "latent", i, x);
    lk_scope_end(g);
    return lk_norm(g, LK_RMS_NORM, lk_cast(g, x, LK_F32), LK_NONE, LK_NONE, 1, 1e-5);
}

lk_var lk_codec_decode(lk_graph *g, const lk_codec_config *c, lk_past *past, lk_var latent)
{
    const int64_t b = lk_var_dim(g, latent, 0), t = lk_var_dim(g, latent, 1);
    const int64_t n_out = (int64_t)c->channels * 3 * (2 * lk_codec_hop(c) + 1);
    lk_var x = lk_cast(g, latent, lk_graph_compute_dtype(g));
    lk_scope(g, "decoder");
    for (int i = 0; i < c->latent_blocks; i++)
        x = block(g, c, past, "latent", i, x);
    x = lk_nn_dense(g, "up", x, (int64_t)STRIDE * c->width, 1);
    x = lk_reshape(g, x, LK_SHAPE(b, STRIDE * t, c->width));
    for (int i = 0; i < c->decoder_blocks; i++)
        x = block(g, c, past, "block", i, x);
    x = lk_nn_dense(g, "head", lk_nn_norm(g, "norm", LK_RMS_NORM, x, 1), n_out, 1);
    lk_scope_end(g);
    return lk_codec_synthesise(g, c, past, lk_cast(g, x, LK_F32));
}
