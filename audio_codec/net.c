/* net.c - the layers on both sides of the bottleneck.
 *
 *   block     x + s W2 act(W1 rms(dw(x)))      dw: depthwise, 7 taps back in time; s starts at 0.1
 *             (ConvNeXt: Liu et al. 2022; as in Vocos: Siuzdak 2023, section 3.2)
 *   encode    h = linear features (linear.c), zeros behind them
 *                 + W rms(spectra -> W -> blocks at 100 Hz -> 8 taps, stride 4 -> blocks at 25 Hz)
 *   decode    x = W latent -> blocks at 25 Hz;  shape and level of the latent + W rms(x)
 *             sound = linear sound of shape and level (linear.c)
 *                 + synthesis(W rms(x -> W to 4 frames -> blocks at 100 Hz)) at that level
 *
 * What the network adds to the latent, to the shape and to the level starts at zero, and its sound
 * starts quiet: at first the tokenizer is a linear one (fit.c).  It adds 1/200 of what its layers
 * give, as the numbers of a shape are small and a step of an optimiser moves all inputs at once.
 * act is GELU (tanh formula) or Snake with a learned frequency.
 */
#include "audio_codec/codec_impl.h"

#include "kernels/nn.h"

#include <math.h>
#include <string.h>

#define TAPS   7
#define WIDER  3
#define STRIDE LK_CODEC_FRAMES
#define ADDED  0.005

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
    lk_var x = lk_codec_analyse(g, c, past, sound), h = lk_codec_features(g, c, sound, x);
    lk_scope(g, "encoder");
    x = lk_nn_dense(g, "in", lk_cast(g, x, lk_graph_compute_dtype(g)), c->width, 1);
    for (int i = 0; i < c->encoder_blocks; i++)
        x = block(g, c, past, "block", i, x);
    x = lk_past_join(past, g, x, STRIDE);
    x = lk_nn_conv(g, "down", x, c->latent_width, (const int64_t[]){2 * STRIDE}, &down);
    for (int i = 0; i < c->latent_blocks; i++)
        x = block(g, c, past, "latent", i, x);
    x = lk_nn_dense(g, "out", lk_nn_norm(g, "norm", LK_RMS_NORM, x, 1), c->latent_width, 0);
    lk_scope_end(g);
    h = lk_pad(g, h, 2, 0, c->latent_width - lk_var_dim(g, h, 2));
    return lk_add(g, h, lk_scale(g, lk_cast(g, x, LK_F32), ADDED));
}

lk_var lk_codec_decode(lk_graph *g, const lk_codec_config *c, lk_past *past, lk_var latent)
{
    const int64_t b = lk_var_dim(g, latent, 0), t = lk_var_dim(g, latent, 1);
    const int64_t n_out = (int64_t)c->channels * 3 * (2 * lk_codec_hop(c) + 1);
    lk_var x = lk_cast(g, latent, lk_graph_compute_dtype(g)), shape, level, made;
    lk_scope(g, "decoder");
    x = lk_nn_dense(g, "in", x, c->latent_width, sqrt(c->latent_width / 2.0));
    for (int i = 0; i < c->latent_blocks; i++)
        x = block(g, c, past, "latent", i, x);
    shape = lk_nn_dense(g, "shape", lk_nn_norm(g, "middle", LK_RMS_NORM, x, 1), c->linear + 1, 0);
    shape = lk_scale(g, lk_cast(g, shape, LK_F32), ADDED);
    level = lk_codec_level(g, c, latent, lk_slice(g, shape, 2, c->linear, 1));
    shape = lk_add(g, lk_slice(g, latent, 2, 0, c->linear), lk_slice(g, shape, 2, 0, c->linear));
    x = lk_nn_dense(g, "up", x, (int64_t)STRIDE * c->width, 1);
    x = lk_reshape(g, x, LK_SHAPE(b, STRIDE * t, c->width));
    for (int i = 0; i < c->decoder_blocks; i++)
        x = block(g, c, past, "block", i, x);
    x = lk_nn_dense(g, "head", lk_nn_norm(g, "norm", LK_RMS_NORM, x, 1), n_out, 1);
    lk_scope_end(g);
    made = lk_codec_synthesise(g, c, past, lk_cast(g, x, LK_F32), level);
    return lk_add(g, made, lk_codec_linear_out(g, c, past, shape, level));
}
