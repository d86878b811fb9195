/* models.c - see models.h. */
#include "kernels/bench/models.h"

#include "kernels/nn.h"

#include <math.h>
#include <string.h>

static lk_var dense(lk_graph *g, const char *name, lk_var x, int64_t n_out)
{
    return lk_nn_dense(g, name, x, n_out, 1);
}

static lk_var norm(lk_graph *g, lk_norm_kind kind, const char *name, lk_var x)
{
    return lk_nn_norm(g, name, kind, x, kind == LK_GROUP_NORM ? 8 : 1);
}

/* ---- transformer ---- */

enum { BATCH = 8, TOKENS = 512, WIDTH = 256, HEADS = 4, BLOCKS = 6 };

static lk_var attention(lk_graph *g, lk_var x)
{
    const lk_shape heads = LK_SHAPE(BATCH, HEADS, TOKENS, WIDTH / HEADS);
    const lk_var qkv = lk_reshape(g, dense(g, "qkv", x, 3 * WIDTH),
                                  LK_SHAPE(BATCH, TOKENS, 3, HEADS, WIDTH / HEADS));
    lk_var part[3], y;
    lk_split_equally(g, lk_permute(g, qkv, (const int[]){2, 0, 3, 1, 4}), 0, 3, part);
    for (int i = 0; i < 3; i++)
        part[i] = lk_reshape(g, part[i], heads);
    y = lk_attention(g, part[0], part[1], part[2], LK_NONE, 0, NULL);
    y = lk_permute(g, y, (const int[]){0, 2, 1, 3});
    return dense(g, "proj", lk_reshape(g, y, LK_SHAPE(BATCH, TOKENS, WIDTH)), WIDTH);
}

static lk_var transformer(lk_graph *g, lk_var *input, lk_var *target)
{
    const lk_dtype t = lk_graph_compute_dtype(g);
    const lk_shape shape = LK_SHAPE(BATCH, TOKENS, WIDTH);
    lk_var x;
    *input = lk_input(g, "x", LK_F32, shape);
    *target = lk_input(g, "target", LK_F32, shape);
    x = lk_cast(g, *input, t);
    for (int i = 0; i < BLOCKS; i++) {
        lk_var h;
        lk_scope(g, "blocks.%d", i);
        x = lk_add(g, x, attention(g, norm(g, LK_LAYER_NORM, "norm1", x)));
        h = lk_gelu(g, dense(g, "fc1", norm(g, LK_LAYER_NORM, "norm2", x), 4 * WIDTH));
        x = lk_add(g, x, dense(g, "fc2", h, WIDTH));
        lk_scope_end(g);
    }
    x = dense(g, "head", norm(g, LK_LAYER_NORM, "norm", x), WIDTH);
    return lk_mse_loss(g, lk_cast(g, x, LK_F32), *target);
}

/* ---- audio ---- */

static lk_var audio_unit(lk_graph *g, const char *name, lk_var x, int64_t dilation)
{
    const lk_conv_options wide = {.dilation = {dilation}, .pad_lo = {6 * dilation}};
    const int64_t c = lk_var_dim(g, x, -1);
    lk_var h;
    lk_scope(g, "%s", name);
    h = lk_nn_conv(g, "conv1", lk_nn_snake(g, "alpha1", x), c, (const int64_t[]){7}, &wide);
    /* Starts small, so that 18 units in a row do not drive the last tanh into saturation, where
     * rounding decides the gradients. */
    lk_scope(g, "conv2");
    lk_weight(g, "weight", LK_SHAPE(c, 1, c), LK_INIT_UNIFORM, 0.1 * sqrt(3 / (double)c));
    lk_scope_end(g);
    h = lk_nn_conv(g, "conv2", lk_nn_snake(g, "alpha2", h), c, (const int64_t[]){1},
                   &(lk_conv_options){0});
    lk_scope_end(g);
    return lk_add(g, x, h);
}

static lk_var audio_units(lk_graph *g, lk_var x)
{
    x = audio_unit(g, "unit0", x, 1);
    x = audio_unit(g, "unit1", x, 3);
    return audio_unit(g, "unit2", x, 9);
}

static const int64_t audio_strides[3] = {4, 4, 5};

static lk_var audio(lk_graph *g, lk_var *input, lk_var *target)
{
    const lk_conv_options causal7 = {.pad_lo = {6}};
    const lk_shape shape = LK_SHAPE(4, 32000, 1);
    lk_var x;
    *input = lk_input(g, "x", LK_F32, shape);
    *target = LK_NONE;
    x = lk_cast(g, *input, lk_graph_compute_dtype(g));
    x = lk_nn_conv(g, "in", x, 32, (const int64_t[]){7}, &causal7);
    for (int i = 0; i < 3; i++) {
        const int64_t r = audio_strides[i];
        const lk_conv_options down = {.stride = {r}, .pad_lo = {r}};
        lk_scope(g, "down%d", i);
        x = audio_units(g, x);
        x = lk_nn_conv(g, "conv", lk_nn_snake(g, "alpha", x), 64 << i, (const int64_t[]){2 * r},
                       &down);
        lk_scope_end(g);
    }
    x = lk_nn_conv(g, "mid", x, 64, (const int64_t[]){3}, &(lk_conv_options){.pad_lo = {2}});
    x = lk_nn_conv(g, "mid2", x, 256, (const int64_t[]){7}, &causal7);
    for (int i = 2; i >= 0; i--) {
        const int64_t r = audio_strides[i], size = lk_var_dim(g, x, 1) * r;
        const lk_conv_options up = {.stride = {r}, .pad_hi = {r}};
        lk_scope(g, "up%d", i);
        x = lk_nn_conv_transposed(g, "conv", lk_nn_snake(g, "alpha", x), 32 << i,
                                  (const int64_t[]){2 * r}, &up, &size);
        x = audio_units(g, x);
        lk_scope_end(g);
    }
    x = lk_nn_conv(g, "out", lk_nn_snake(g, "alpha", x), 1, (const int64_t[]){7}, &causal7);
    return lk_mse_loss(g, lk_cast(g, lk_tanh(g, x), LK_F32), *input);
}

/* ---- video ---- */

static const lk_conv_options causal3 = {.pad_lo = {2, 1, 1}, .pad_hi = {0, 1, 1}};
static const int64_t taps3[3] = {3, 3, 3};

static lk_var video_unit(lk_graph *g, const char *name, lk_var x)
{
    const int64_t c = lk_var_dim(g, x, -1);
    lk_var h;
    lk_scope(g, "%s", name);
    h = lk_nn_conv(g, "conv1", lk_silu(g, norm(g, LK_GROUP_NORM, "norm1", x)), c, taps3, &causal3);
    h = lk_nn_conv(g, "conv2", lk_silu(g, norm(g, LK_GROUP_NORM, "norm2", h)), c, taps3, &causal3);
    lk_scope_end(g);
    return lk_add(g, x, h);
}

static lk_var video(lk_graph *g, lk_var *input, lk_var *target)
{
    static const int64_t stride[2][3] = {{1, 2, 2}, {2, 2, 2}};
    static const int64_t ch[3] = {32, 64, 128};
    const lk_shape shape = LK_SHAPE(2, 17, 64, 64, 3);
    lk_var x;
    *input = lk_input(g, "x", LK_F32, shape);
    *target = LK_NONE;
    x = lk_cast(g, *input, lk_graph_compute_dtype(g));
    x = lk_nn_conv(g, "in", x, ch[0], taps3, &causal3);
    for (int i = 0; i < 2; i++) {
        lk_conv_options down = causal3;
        memcpy(down.stride, stride[i], sizeof down.stride);
        lk_scope(g, "down%d", i);
        x = lk_nn_conv(g, "conv", video_unit(g, "unit", x), ch[i + 1], taps3, &down);
        lk_scope_end(g);
    }
    x = video_unit(g, "mid", x);
    for (int i = 1; i >= 0; i--) {
        const int64_t size[3] = {i == 1 ? 17 : lk_var_dim(g, x, 1), 2 * lk_var_dim(g, x, 2),
                                 2 * lk_var_dim(g, x, 3)};
        lk_conv_options up = causal3;
        memcpy(up.stride, stride[i], sizeof up.stride);
        lk_scope(g, "up%d", i);
        x = lk_nn_conv_transposed(g, "conv", x, ch[i], taps3, &up, size);
        x = video_unit(g, "unit", x);
        lk_scope_end(g);
    }
    x = lk_nn_conv(g, "out", lk_silu(g, norm(g, LK_GROUP_NORM, "norm", x)), 3, taps3, &causal3);
    return lk_mse_loss(g, lk_cast(g, x, LK_F32), *input);
}

const lk_bench_model lk_bench_models[] = {
    {"transformer", transformer}, {"audio", audio}, {"video", video}};
const int lk_bench_n_models = (int)(sizeof lk_bench_models / sizeof lk_bench_models[0]);

const lk_bench_model *lk_bench_model_find(const char *name)
{
    for (int i = 0; i < lk_bench_n_models; i++)
        if (strcmp(lk_bench_models[i].name, name) == 0)
            return &lk_bench_models[i];
    return NULL;
}
