/* model.c - what one step of training computes from crops.
 *
 * Each crop is heard in one of the ways it can be stored, chosen by inputs:
 *
 *   latent = sum over i of stage_on_i o_i + latent_on Z z + rest_on Z' z' + raw_on h
 *   z from h,  z' from r = h - stop(sum over i of o_i)
 *   KL = mean over latents of sum over channels of (e^v + m^2 - 1 - v) / 2, in nats
 *   kl_loss = ((KL of z - target)^2 + (KL of z' - target')^2) / 2     (Seetharaman, Kumar 2026)
 *   label = mean over labelled latents of -ln softmax(logits)[label]
 */
#include "audio_codec/codec_impl.h"

#include <math.h>

typedef struct ways {
    lk_var stage_on, gaussian_on[2], raw_on;
} ways;

static lk_var kl_nats(lk_graph *g, lk_var mean, lk_var log_var)
{
    return lk_scale(g, lk_kl_loss(g, mean, log_var), (double)lk_var_dim(g, mean, -1));
}

/* A sample of the Gaussian latent as the decoder gets it. */
static lk_var gaussian(lk_graph *g, const lk_codec_config *c, lk_codec_model *m, lk_codec_part part,
                       lk_var h)
{
    lk_var mean, log_var, z;
    lk_codec_moments(g, c, part, h, &mean, &log_var);
    m->kl_nats[part] = kl_nats(g, mean, log_var);
    z = lk_unary(g, LK_EXP, lk_scale(g, log_var, 0.5), 0, 0);
    z = lk_mul(g, z, lk_random_normal(g, LK_F32, lk_var_shape(g, z)));
    return lk_codec_from_latent(g, c, part, lk_add(g, mean, z));
}

static lk_var missed(lk_graph *g, const lk_codec_config *c, const lk_codec_model *m,
                     lk_codec_part part)
{
    return lk_square(g, lk_affine(g, m->kl_nats[part], 1, -lk_codec_target_nats(c, part)));
}

/* The part that goes to the decoder. */
static lk_var bottleneck(lk_graph *g, const lk_codec_config *c, lk_codec_model *m, const ways *w,
                         lk_var h)
{
    lk_var sum = LK_NONE, rest = h, z[2];
    lk_codec_quantise(g, c, h, &m->stages);
    for (int i = 0; i < c->stages; i++) {
        const lk_var out = lk_mul(g, m->stages.out[i], lk_slice(g, w->stage_on, 2, i, 1));
        sum = i == 0 ? out : lk_add(g, sum, out);
        rest = lk_sub(g, rest, lk_stop_gradient(g, m->stages.out[i]));
        m->commit = i == 0 ? m->stages.commit[0] : lk_add(g, m->commit, m->stages.commit[i]);
    }
    m->commit = lk_scale(g, m->commit, 1.0 / c->stages);
    z[0] = gaussian(g, c, m, LK_CODEC_ALONE, h);
    z[1] = gaussian(g, c, m, LK_CODEC_REST, rest);
    for (int i = 0; i < 2; i++)
        sum = lk_add(g, sum, lk_mul(g, z[i], w->gaussian_on[i]));
    m->kl_loss = lk_add(g, missed(g, c, m, LK_CODEC_ALONE), missed(g, c, m, LK_CODEC_REST));
    m->kl_loss = lk_scale(g, m->kl_loss, 0.5);
    return lk_add(g, sum, lk_mul(g, h, w->raw_on));
}

static lk_var label_loss(lk_graph *g, const lk_codec_config *c, lk_var first, int64_t batch,
                         int64_t latents)
{
    const lk_var label = lk_input(g, "class", LK_I32, LK_SHAPE(batch, latents));
    const lk_var on = lk_input(g, "class_on", LK_F32, LK_SHAPE(batch, latents));
    const lk_var each = lk_cross_entropy(g, lk_codec_classify(g, c, first), label);
    const lk_var n = lk_unary(g, LK_CLAMP, lk_sum_all(g, on), 1, HUGE_VAL);
    return lk_div(g, lk_sum_all(g, lk_mul(g, each, on)), n);
}

lk_codec_model lk_codec_record(lk_graph *g, const lk_codec_config *c, int64_t batch,
                               int64_t latents, lk_codec_trained trained)
{
    lk_codec_model m = {.label = LK_NONE, .commit = LK_NONE};
    ways w;
    lk_var latent;
    m.sound =
        lk_input(g, "sound", LK_F32, LK_SHAPE(batch, latents * lk_codec_period(c), c->channels));
    w.stage_on = lk_input(g, "stage_on", LK_F32, LK_SHAPE(batch, 1, c->stages));
    w.gaussian_on[0] = lk_input(g, "latent_on", LK_F32, LK_SHAPE(batch, 1, 1));
    w.gaussian_on[1] = lk_input(g, "rest_on", LK_F32, LK_SHAPE(batch, 1, 1));
    w.raw_on = lk_input(g, "raw_on", LK_F32, LK_SHAPE(batch, 1, 1));
    lk_freeze(g, trained != LK_CODEC_TRAIN_ALL);
    latent = bottleneck(g, c, &m, &w, lk_codec_encode(g, c, NULL, m.sound));
    if (c->labels > 0)
        m.label = label_loss(g, c, m.stages.out[0], batch, latents);
    lk_freeze(g, trained == LK_CODEC_TRAIN_NOTHING);
    m.result = lk_codec_decode(g, c, NULL, latent);
    lk_freeze(g, 0);
    return m;
}
