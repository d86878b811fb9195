/* network.c - the layers of the video tokenizer.
 *
 *   encoder   bands; conv -> w1; blocks; down -> w2; blocks; pool; down -> w3; blocks; pool;
 *             conv -> mean, log-variance
 *   decoder   conv -> w3; blocks; grow; up -> w2; blocks; grow; up -> w1; blocks;
 *             conv -> bands
 *
 *   block     h = silu(norm x);  x + conv(silu(conv [h_(t-1), h_t, h_(t+1)]))
 *             h_(t+1) only where layers see the whole group, and zero at the group's end
 *   down      conv of stride 2 + the mean of space-to-channel groups
 *   up        conv of the picture doubled + channel-to-space of repeated channels
 *   pool      two frames: dense [x_0, x_1] + (x_0 + x_1) / 2
 *   grow      one frame: both halves of dense x, each + x
 *
 * Beside the layers runs a linear tokenizer: the bands of a latent's own pixels through one matrix
 * to the mean, and the latent through one matrix to the bands.
 *
 *   mean = A patch(x) + a + layers(x);   bands = unpatch(D z + d) + layers(z)
 *
 * The last filter of the layers starts at zero, so a new tokenizer is the linear one, the best of
 * its kind once its matrices are fitted (fit.c), and learns from there what no matrix can do.
 * Every block starts as the identity, and what is read out is linear in the sum of all blocks,
 * unnormalised: brightness and contrast are sizes.
 *
 * All norms are over channels alone, so a position's result depends on its neighbourhood and never
 * on the size of the picture or the length of the clip.  Pools and grows are left out for t1.
 *
 * Reach: how many positions at the border of a picture know about that border.  A 3 x 3 convolution
 * adds one, down turns m into floor(m / 2) + 1, up turns m into 2 m + 1 (lk_vae_shape_of).
 * Frames of memory see the same positions as the frame at hand, so time adds nothing.
 */
#include "video_vae/vae_impl.h"

#include <math.h>

#define CELLS 4 /* positions of the bands a latent covers, along each side */

typedef struct net {
    lk_graph *g;
    lk_past *past;
    const lk_vae_shape *s;
} net;

lk_var lk_vae_fold(lk_graph *g, lk_var x)
{
    lk_shape s = lk_var_shape(g, x), t = {.n_dims = s.n_dims - 1};
    if (lk_is_none(x))
        return x;
    t.dim[0] = s.dim[0] * s.dim[1];
    for (int i = 1; i < t.n_dims; i++)
        t.dim[i] = s.dim[i + 1];
    return lk_reshape(g, x, t);
}

lk_var lk_vae_unfold(lk_graph *g, lk_var x, int64_t n_frames)
{
    lk_shape s = lk_var_shape(g, x), t = {.n_dims = s.n_dims + 1};
    if (lk_is_none(x))
        return x;
    t.dim[0] = s.dim[0] / n_frames;
    t.dim[1] = n_frames;
    for (int i = 1; i < s.n_dims; i++)
        t.dim[i + 1] = s.dim[i];
    return lk_reshape(g, x, t);
}

/* The filter of a 3 x 3 convolution, [n_out, 3, 3, n_in], by lk_weight or lk_param, and its bias;
 * gain 0: starts at zero. */
static lk_var filter(const net *n, const char *name,
                     lk_var (*made)(lk_graph *, const char *, lk_shape, lk_init, double),
                     int64_t n_out, int64_t n_in, double gain, lk_var *bias)
{
    lk_var w;
    lk_scope(n->g, "%s", name);
    w = made(n->g, "weight", LK_SHAPE(n_out, 3, 3, n_in),
             gain == 0 ? LK_INIT_ZERO : LK_INIT_UNIFORM, gain * sqrt(3 / (9.0 * (double)n_in)));
    *bias = lk_param(n->g, "bias", LK_SHAPE(n_out), LK_INIT_ZERO, 0);
    lk_scope_end(n->g);
    return w;
}

/* 3 x 3 over every frame. */
static lk_var conv(const net *n, const char *name, lk_var x, int64_t n_out, int stride, double gain)
{
    const lk_conv_options o = {
        .stride = {stride, stride}, .pad_lo = {2 - stride, 2 - stride}, .pad_hi = {1, 1}};
    const int64_t t = lk_var_dim(n->g, x, 1), n_in = lk_var_dim(n->g, x, 4);
    lk_var bias;
    const lk_var w = filter(n, name, lk_weight, n_out, n_in, gain, &bias);
    return lk_vae_unfold(n->g, lk_conv(n->g, lk_vae_fold(n->g, x), w, bias, &o), t);
}

/* Groups of `rate` frames, each behind the last frame before it: [B, T, ...] -> [B T / rate,
 * rate + 1, ...]. */
static lk_var behind_last(const net *n, lk_var x, int rate)
{
    const lk_shape s = lk_var_shape(n->g, x);
    const int64_t groups = s.dim[1] / (rate ? rate : 1), frame = s.dim[2] * s.dim[3] * s.dim[4];
    lk_var part[2];
    if (lk_is_none(x))
        return x;
    part[1] = lk_reshape(n->g, x, LK_SHAPE(s.dim[0] * groups, rate, frame));
    part[0] = lk_slice(n->g, part[1], 1, rate - 1, 1);
    part[0] = lk_past_join(
        n->past, n->g,
        lk_reshape(n->g, part[0], LK_SHAPE(s.dim[0], groups, s.dim[2], s.dim[3], s.dim[4])), 1);
    part[0] = lk_reshape(n->g, lk_slice(n->g, part[0], 1, 0, groups),
                         LK_SHAPE(s.dim[0] * groups, 1, frame));
    return lk_reshape(n->g, lk_concat(n->g, 2, part, 1),
                      LK_SHAPE(s.dim[0] * groups, rate + 1, s.dim[2], s.dim[3], s.dim[4]));
}

/* 3 x 3 over the frames [x_(t-1), x_t, x_(t+1)]: the filter holds one after the other, but as a
 * convolution over time as well, no frame is copied for each that sees it, and frames of zeros
 * are not multiplied. */
static lk_var conv_in_time(const net *n, const char *name, lk_var x, int rate)
{
    static const int order[] = {0, 3, 1, 2, 4};
    const int looks = n->s->group_look && rate > 1;
    const lk_conv_options o = {.pad_lo = {0, 1, 1}, .pad_hi = {looks, 1, 1}};
    const lk_shape s = lk_var_shape(n->g, x);
    const int64_t width = s.dim[4], seen = looks ? 3 : 2;
    lk_var bias, w = filter(n, name, lk_weight, width, seen * width, 1, &bias);
    if (lk_is_none(x))
        return x;
    w = lk_permute(n->g, lk_reshape(n->g, w, LK_SHAPE(width, 3, 3, seen, width)), order);
    x = looks ? behind_last(n, x, rate) : lk_past_join(n->past, n->g, x, 1);
    return lk_reshape(n->g, lk_conv(n->g, x, w, bias, &o), s);
}

/* 3 x 3 over every frame doubled.  Two or four taps of the filter meet the same number of the
 * frame, so their sums, made before they are rounded, are the filter of a transposed convolution of
 * stride 2: along a side [w_2, w_1 + w_2, w_0 + w_1, w_0]. */
static lk_var conv_doubled(const net *n, const char *name, lk_var x, int64_t n_out, double gain)
{
    static const float side[4][3] = {{0, 0, 1}, {0, 1, 1}, {1, 1, 0}, {1, 0, 0}};
    static const lk_conv_options o = {.stride = {2, 2}, .pad_lo = {1, 1}, .pad_hi = {1, 1}};
    static const int taps_first[] = {1, 2, 0}, inputs_first[] = {1, 0, 2};
    const int64_t t = lk_var_dim(n->g, x, 1), n_in = lk_var_dim(n->g, x, 4);
    float sums[16][9];
    lk_var bias, w = filter(n, name, lk_param, n_out, n_in, gain, &bias);
    if (lk_is_none(x))
        return x;
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 9; k++)
            sums[i][k] = side[i / 4][k / 3] * side[i % 4][k % 3];
    w = lk_permute(n->g, lk_reshape(n->g, w, LK_SHAPE(n_out, 9, n_in)), taps_first);
    w = lk_matmul(n->g, lk_constant(n->g, LK_F32, LK_SHAPE(16, 9), sums),
                  lk_reshape(n->g, w, LK_SHAPE(9, n_in * n_out)), 0, 0);
    w = lk_permute(n->g, lk_reshape(n->g, w, LK_SHAPE(16, n_in, n_out)), inputs_first);
    w = lk_cast(n->g, lk_reshape(n->g, w, LK_SHAPE(n_in, 4, 4, n_out)),
                lk_graph_compute_dtype(n->g));
    return lk_vae_unfold(n->g, lk_conv_transposed(n->g, lk_vae_fold(n->g, x), w, bias, &o, NULL),
                         t);
}

static lk_var block(const net *n, int i, lk_var x, int rate)
{
    lk_var h;
    lk_scope(n->g, "block%d", i);
    h = lk_silu(n->g, lk_nn_norm(n->g, "norm", LK_RMS_NORM, x, 1));
    h = conv_in_time(n, "conv1", h, rate);
    h = conv(n, "conv2", lk_silu(n->g, h), lk_var_dim(n->g, x, 4), 1, 0);
    lk_scope_end(n->g);
    return lk_add(n->g, x, h);
}

/* [B, T, Y, X, C] -> [B, T, Y / 2, X / 2, width]. */
static lk_var down(const net *n, const char *name, lk_var x, int64_t width)
{
    static const int order[] = {0, 1, 3, 5, 2, 4};
    const lk_shape s = lk_var_shape(n->g, x);
    const lk_var y = conv(n, name, x, width, 2, 0.5);
    lk_var mean;
    if (lk_is_none(x))
        return x;
    mean = lk_reshape(n->g, x,
                      LK_SHAPE(s.dim[0] * s.dim[1], s.dim[2] / 2, 2, s.dim[3] / 2, 2, s.dim[4]));
    mean = lk_reshape(
        n->g, lk_permute(n->g, mean, order),
        LK_SHAPE(s.dim[0], s.dim[1], s.dim[2] / 2, s.dim[3] / 2, width, 4 * s.dim[4] / width));
    return lk_add(n->g, y, lk_reduce_mean(n->g, mean, 1u << 5, 0));
}

/* [B, T, Y, X, C] -> [B, T, 2 Y, 2 X, width]. */
static lk_var up(const net *n, const char *name, lk_var x, int64_t width)
{
    static const int order[] = {0, 1, 4, 2, 5, 3};
    const lk_shape s = lk_var_shape(n->g, x);
    lk_var y, copies;
    if (lk_is_none(x))
        return x;
    y = conv_doubled(n, name, x, width, 0.5);
    copies = lk_reshape(n->g, lk_repeat(n->g, x, 4, (int)(4 * width / s.dim[4])),
                        LK_SHAPE(s.dim[0] * s.dim[1], s.dim[2], s.dim[3], width, 2, 2));
    copies = lk_reshape(n->g, lk_permute(n->g, copies, order), lk_var_shape(n->g, y));
    return lk_add(n->g, y, copies);
}

/* [B, T, ...] -> [B, T / 2, ...]. */
static lk_var pool(const net *n, const char *name, lk_var x)
{
    lk_shape s = lk_var_shape(n->g, x);
    lk_var half[2] = {LK_NONE, LK_NONE}, mean;
    const lk_shape pairs = LK_SHAPE(s.dim[0] * s.dim[1] / 2, 2, s.dim[2] * s.dim[3], s.dim[4]);
    if (lk_is_none(x))
        return x;
    s.dim[1] /= 2;
    lk_split_equally(n->g, lk_reshape(n->g, x, pairs), 1, 2, half);
    mean = lk_scale(n->g, lk_add(n->g, half[0], half[1]), 0.5);
    x = lk_nn_dense(n->g, name, lk_concat(n->g, 2, half, 3), s.dim[4], 1);
    return lk_reshape(n->g, lk_add(n->g, x, mean), s);
}

/* [B, T, ...] -> [B, 2 T, ...]. */
static lk_var grow(const net *n, const char *name, lk_var x)
{
    lk_shape s = lk_var_shape(n->g, x);
    const lk_shape single = LK_SHAPE(s.dim[0] * s.dim[1], 1, s.dim[2] * s.dim[3], s.dim[4]);
    lk_var half[2] = {LK_NONE, LK_NONE};
    if (lk_is_none(x))
        return x;
    x = lk_reshape(n->g, x, single);
    lk_split_equally(n->g, lk_nn_dense(n->g, name, x, 2 * s.dim[4], 1), 3, 2, half);
    for (int i = 0; i < 2; i++)
        half[i] = lk_add(n->g, half[i], x);
    s.dim[1] *= 2;
    return lk_reshape(n->g, lk_concat(n->g, 2, half, 1), s);
}

static lk_var blocks(const net *n, const char *name, lk_var x, int count, int rate)
{
    lk_scope(n->g, "%s", name);
    for (int i = 0; i < count; i++)
        x = block(n, i, x, rate);
    lk_scope_end(n->g);
    return x;
}

int lk_vae_patch(const lk_vae_shape *s)
{
    return s->space / 4;
}

lk_var lk_vae_bands(lk_graph *g, const lk_vae_shape *s, lk_var rgb)
{
    const int64_t t = lk_var_dim(g, rgb, 1);
    lk_var x = lk_vae_fold(g, rgb);
    for (int p = lk_vae_patch(s); p > 1; p /= 2)
        x = lk_haar(g, x);
    return lk_vae_unfold(g, x, t);
}

lk_var lk_vae_from_bands(lk_graph *g, const lk_vae_shape *s, lk_var bands)
{
    const int64_t t = lk_var_dim(g, bands, 1);
    lk_var x = lk_vae_fold(g, bands);
    for (int p = lk_vae_patch(s); p > 1; p /= 2)
        x = lk_haar_inverse(g, x);
    return lk_vae_unfold(g, x, t);
}

int64_t lk_vae_patch_numbers(const lk_vae_shape *s)
{
    return (int64_t)3 * s->time * s->space * s->space;
}

/* [B, T, Y, X, K] <-> [B T / time, time, Y / 4, 4, X / 4, 4 K], six dimensions to permute. */
lk_var lk_vae_patches(lk_graph *g, const lk_vae_shape *s, lk_var bands)
{
    static const int order[] = {0, 2, 4, 1, 3, 5};
    const lk_shape d = lk_var_shape(g, bands);
    lk_var x;
    if (lk_is_none(bands))
        return bands;
    x = lk_reshape(g, bands,
                   LK_SHAPE(d.dim[0] * d.dim[1] / s->time, s->time, d.dim[2] / CELLS, CELLS,
                            d.dim[3] / CELLS, CELLS * d.dim[4]));
    return lk_reshape(g, lk_permute(g, x, order),
                      LK_SHAPE(d.dim[0], d.dim[1] / s->time, d.dim[2] / CELLS, d.dim[3] / CELLS,
                               lk_vae_patch_numbers(s)));
}

static lk_var from_patches(lk_graph *g, const lk_vae_shape *s, lk_var patches)
{
    static const int order[] = {0, 3, 1, 4, 2, 5};
    const lk_shape d = lk_var_shape(g, patches);
    const int64_t k = 3 * lk_vae_patch(s) * lk_vae_patch(s);
    lk_var x;
    if (lk_is_none(patches))
        return patches;
    x = lk_reshape(g, patches,
                   LK_SHAPE(d.dim[0] * d.dim[1], d.dim[2], d.dim[3], s->time, CELLS, CELLS * k));
    return lk_reshape(
        g, lk_permute(g, x, order),
        LK_SHAPE(d.dim[0], d.dim[1] * s->time, d.dim[2] * CELLS, d.dim[3] * CELLS, k));
}

void lk_vae_encode_graph(lk_graph *g, lk_past *past, const lk_vae_shape *s, lk_var rgb,
                         lk_var *mean, lk_var *log_var)
{
    const net n = {g, past, s};
    const int pools = s->time == 4, e = s->encoder_blocks;
    lk_var half[2] = {LK_NONE, LK_NONE}, linear;
    lk_var x = lk_cast(g, lk_vae_bands(g, s, rgb), lk_graph_compute_dtype(g));
    lk_scope(g, "encoder");
    linear = lk_nn_dense(g, "linear", lk_vae_patches(g, s, x), s->channels, 1);
    x = blocks(&n, "fine", conv(&n, "in", x, s->width[0], 1, 1), e, s->time);
    x = blocks(&n, "middle", down(&n, "down1", x, s->width[1]), e, s->time);
    x = pools ? pool(&n, "pool1", x) : x;
    x = blocks(&n, "coarse", down(&n, "down2", x, s->width[2]), e, pools ? 2 : 1);
    x = pools ? pool(&n, "pool2", x) : x;
    x = conv(&n, "out", x, 2 * s->channels, 1, 0);
    lk_scope_end(g);
    lk_split_equally(g, lk_cast(g, x, LK_F32), 4, 2, half);
    *mean = lk_add(g, half[0], lk_cast(g, linear, LK_F32));
    /* Beyond these the sample is the mean, or noise, and exp only makes the sums overflow. */
    *log_var = lk_unary(g, LK_CLAMP, half[1], -20, 10);
}

lk_var lk_vae_decode_graph(lk_graph *g, lk_past *past, const lk_vae_shape *s, lk_var latent)
{
    const net n = {g, past, s};
    const int grows = s->time == 4, d = s->decoder_blocks;
    lk_var x = lk_cast(g, latent, lk_graph_compute_dtype(g)), linear;
    lk_scope(g, "decoder");
    linear = lk_nn_dense(g, "linear", x, lk_vae_patch_numbers(s), 1);
    x = blocks(&n, "coarse", conv(&n, "in", x, s->width[2], 1, 1), d, 1);
    x = grows ? grow(&n, "grow1", x) : x;
    x = blocks(&n, "middle", up(&n, "up1", x, s->width[1]), d, grows ? 2 : 1);
    x = grows ? grow(&n, "grow2", x) : x;
    x = blocks(&n, "fine", up(&n, "up2", x, s->width[0]), d, s->time);
    x = conv(&n, "out", x, 3 * lk_vae_patch(s) * lk_vae_patch(s), 1, 0);
    lk_scope_end(g);
    return lk_add(g, lk_cast(g, x, LK_F32), from_patches(g, s, lk_cast(g, linear, LK_F32)));
}
