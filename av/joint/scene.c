/* scene.c - what stays the same through a clip, and what the last layer takes over as it came.
 *
 * Most of a clip's picture stands still.  With x_i the noisy numbers of a place in latent i, t the
 * picture's level, and a_i = 1 - t (1 where the latent is held, 0 where there is none), its scene
 * is what explains all of them best if nothing moves there, by least squares with a ridge:
 *
 *   scene = sum_i a_i x_i / (sum_i a_i^2 + 1)
 *
 * over the latents (the ridge is 1, as a normalised latent's variance and the most that its noise
 * has). Of 64 frames it has an eighth of a frame's noise, and it is the same in all of them: what
 * is taken from it cannot flicker.  The picture's tokens read it, and
 *
 *   last layer = W h + (U h) . x + (V h) . scene
 *
 * with U and V from zero: what a token keeps of the scene, and of itself where there is little
 * noise left, need not pass through the width of the network.  A stream of sound has no scene.
 *
 * What the last layer says of a place that stands still differs from latent to latent by what it
 * cannot tell apart, and that is seen as flicker.  So (model.still) each number y_i of latent i
 * also comes with how still it is there, s_i = sigmoid(S h_i + 1), and what is said is
 *
 *   y_i + s_i (mean - y_i),     mean = sum_j a_j s_j y_j / (sum_j a_j s_j + 1/1000)
 *
 * with a_j = 1 where latent j is there, and for a latent that is held its own x in the place of y:
 * what stands still is said once for the whole clip, and stays what it was where the clip is given.
 * Clips have to be what the last layer says (predict=clean); flows differ as their noise does.
 */
#include "av/joint/joint_impl.h"

/* Most counts as still before training says what is not: what it costs to hold up what moves is
 * seen at once, and what it costs to let go of what stands still hardly. */
#define STILL_AT_FIRST 1
#define LEAST_WEIGHT   1e-3

/* [B, N, K] of tokens as [B, latents, positions, K]. */
static lk_var by_latent(lk_graph *g, const lk_joint_sizes *s, lk_var x)
{
    const int64_t cells = (int64_t)s->rows * s->columns;
    if (lk_is_none(x))
        return x;
    return lk_reshape(g, x, LK_SHAPE(s->batch, s->latents, cells, lk_var_dim(g, x, -1)));
}

lk_var lk_joint_scene(lk_graph *g, const lk_joint_sizes *s, const lk_joint_inputs *in, lk_var x)
{
    const lk_var there = lk_reshape(g, in->there, LK_SHAPE(s->batch, s->latents, 1, 1));
    const lk_var held = lk_slice(g, by_latent(g, s, in->held[0]), 2, 0, 1);
    const lk_var level = lk_reshape(g, in->level[0], LK_SHAPE(s->batch, 1, 1, 1));
    /* a = there (1 - t (1 - held)) */
    const lk_var noise = lk_mul(g, lk_affine(g, held, -1, 1), level);
    const lk_var a = lk_mul(g, there, lk_affine(g, noise, -1, 1));
    const lk_var sum = lk_reduce_sum(g, lk_mul(g, by_latent(g, s, x), a), 1u << 1, 1);
    const lk_var squares = lk_reduce_sum(g, lk_square(g, a), 1u << 1, 1);
    return lk_div(g, sum, lk_affine(g, squares, 1, 1));
}

lk_var lk_joint_over_latents(lk_graph *g, const lk_joint_sizes *s, lk_var x, lk_var scene)
{
    const int64_t n = lk_joint_tokens(s, 0);
    x = lk_add(g, by_latent(g, s, x), scene);
    return lk_is_none(x) ? x : lk_reshape(g, x, LK_SHAPE(s->batch, n, lk_var_dim(g, x, -1)));
}

lk_var lk_joint_taken_over(lk_graph *g, const lk_joint_sizes *s, lk_var h, lk_var x, lk_var scene)
{
    const int64_t channels = lk_var_dim(g, x, -1);
    const lk_dtype dtype = lk_graph_compute_dtype(g);
    lk_var y = lk_mul(g, lk_nn_dense(g, "kept", h, channels, 0), lk_cast(g, x, dtype));
    if (!lk_is_none(scene)) {
        lk_var stays = by_latent(g, s, lk_nn_dense(g, "stays", h, channels, 0));
        stays = lk_mul(g, stays, lk_cast(g, scene, dtype));
        y = lk_add(g, y, lk_reshape(g, stays, lk_var_shape(g, y)));
    }
    return y;
}

lk_var lk_joint_said_once(lk_graph *g, const lk_joint_sizes *s, const lk_joint_inputs *in, lk_var h,
                          lk_var x, lk_var y)
{
    const lk_var there = lk_reshape(g, in->there, LK_SHAPE(s->batch, s->latents, 1, 1));
    const lk_var held = by_latent(g, s, in->held[0]);
    lk_var still = lk_cast(g, lk_nn_dense(g, "still", h, lk_var_dim(g, x, -1), 0), LK_F32);
    lk_var weight, known, mean;
    still = lk_unary(g, LK_SIGMOID, lk_affine(g, by_latent(g, s, still), 1, STILL_AT_FIRST), 0, 0);
    weight = lk_mul(g, still, there);
    y = by_latent(g, s, lk_cast(g, y, LK_F32));
    known = lk_add(g, y, lk_mul(g, held, lk_sub(g, by_latent(g, s, x), y)));
    mean = lk_reduce_sum(g, lk_mul(g, weight, known), 1u << 1, 1);
    mean = lk_div(g, mean, lk_affine(g, lk_reduce_sum(g, weight, 1u << 1, 1), 1, LEAST_WEIGHT));
    y = lk_add(g, y, lk_mul(g, still, lk_sub(g, mean, y)));
    return lk_reshape(g, y, LK_SHAPE(s->batch, lk_joint_tokens(s, 0), lk_var_dim(g, x, -1)));
}
