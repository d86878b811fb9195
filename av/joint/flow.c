/* flow.c - noise levels, and the loss of the flow.
 *
 * With x a normalised latent and e noise of deviation 1:
 *
 *   x_t = (1 - t) x + t e,   the model says v = e - x,
 *   L_s = sum_i share_i mean_c (v_ic - (e_ic - x_ic))^2
 *
 * over the tokens i of stream s that are there and not held: the mean over a clip's tokens, then
 * over clips.  An error that differs from one latent of a picture to the next is seen more than one
 * that stays.  With d = v - (e - x) and i' the token at i's place in the latent before,
 *
 *   C = sum_i share_i mean_c (d_ic - d_i'c)^2 / 2    where both are made
 *
 * which is L's size where errors are independent, and 0 where they stay.  train.change c makes the
 * picture's loss L + c C; the log has L.  The two losses are balanced by their own size (Kendall et
 * al. 2018, section 3.2, with b = ln of the variance):
 *
 *   L = sum_s exp(-b_s) L_s + b_s sum_i share_i
 *
 * whose minimum in b_s is the logarithm of the mean over clips that have a part in it.  A stream
 * that is absent, or held whole, has none.
 *
 * The noise of a picture's token at position p of latent i, with s = common_noise, is
 *
 *   e_ip = sqrt(s) a_p + sqrt(1 - s) b_ip,   a, b normal
 *
 * (Ge et al. 2023, "Preserve Your Own Correlation", section 4.1: mixed noise).  What stands still
 * then has noise that stands still but for its smaller part, whatever a network makes of it stands
 * still too, and what moves shows against it from the first steps on.
 *
 * Levels in training: u = sigmoid(mean + deviation n), n normal, and the shift of a stream,
 * t = s u / (1 + (s - 1) u) (Esser et al. 2024, equation 23):
 *
 *     shared        one u, the picture's shift for both
 *     independent   a u for each stream
 *     clean_anchor  as shared, and in a share of the clips one stream is clean
 *     dual_shift    one u, each stream's own shift
 */
#include "av/joint/joint_impl.h"

#include "kernels/rng.h"

#include <math.h>
#include <string.h>

#define LEVELS UINT64_C(0x6c6576656c730000)

/* ---- levels ---- */

double lk_joint_shift(double t, double shift)
{
    return shift * t / (1 + (shift - 1) * t);
}

static int each_its_shift(const lk_joint_config *c)
{
    return strcmp(c->noise, "independent") == 0 || strcmp(c->noise, "dual_shift") == 0;
}

void lk_joint_levels_at(const lk_joint_config *c, double u, double level[2])
{
    level[0] = lk_joint_shift(u, c->video_shift);
    level[1] = each_its_shift(c) ? lk_joint_shift(u, c->audio_shift) : level[0];
}

/* u = t / (s - (s - 1) t). */
void lk_joint_levels_where(const lk_joint_config *c, int s, double t, double level[2])
{
    const double shift = s && each_its_shift(c) ? c->audio_shift : c->video_shift;
    lk_joint_levels_at(c, t / (shift - (shift - 1) * t), level);
}

void lk_joint_draw_levels(const lk_joint_config *c, uint64_t seed, int64_t clip, double level[2])
{
    const uint64_t at = 4 * (uint64_t)clip;
    double u[2];
    for (int s = 0; s < 2; s++)
        u[s] = 1 /
               (1 + exp(-c->level_mean - c->level_deviation * (double)lk_rng_normal(
                                                                  seed, LEVELS, at + (uint64_t)s)));
    if (strcmp(c->noise, "independent") != 0)
        u[1] = u[0];
    level[0] = lk_joint_shift(u[0], c->video_shift);
    level[1] = lk_joint_shift(u[1], each_its_shift(c) ? c->audio_shift : c->video_shift);
    if (strcmp(c->noise, "clean_anchor") == 0 &&
        (double)lk_rng_uniform(seed, LEVELS + 1, at) < c->anchor)
        level[lk_rng_below(seed, LEVELS + 2, at, 2)] = 0;
}

void lk_joint_draw_noise(const lk_joint_noise *n, int64_t token, float *e)
{
    const uint64_t own = n->own_from + (uint64_t)(token * n->channels);
    const uint64_t common = n->common_from + (uint64_t)(token % n->each * n->channels);
    const float a = (float)sqrt(n->share), b = (float)sqrt(1 - n->share);
    for (int k = 0; k < n->channels; k++) {
        e[k] = lk_rng_normal(n->seed, n->own, own + (uint64_t)k);
        if (n->share > 0)
            e[k] = b * e[k] + a * lk_rng_normal(n->seed, n->common, common + (uint64_t)k);
    }
}

/* ---- the loss ---- */

const char *const lk_joint_loss_names[] = {"loss", "video_flow", "audio_flow"};

/* C of d [B, N, K]. */
static lk_var change_loss(lk_graph *g, const lk_joint_sizes *z, lk_var d, lk_var share)
{
    const int64_t n = lk_joint_tokens(z, 0), each = n / z->latents;
    const lk_var now = lk_slice(g, share, 1, each, n - each);
    const lk_var before = lk_slice(g, share, 1, 0, n - each);
    const lk_var both = lk_mul(g, now, lk_div(g, before, lk_affine(g, before, 1, 1e-20)));
    d = lk_sub(g, lk_slice(g, d, 1, each, n - each), lk_slice(g, d, 1, 0, n - each));
    d = lk_reduce_mean(g, lk_square(g, d), 1u << 2, 1);
    return lk_scale(g, lk_sum_all(g, lk_mul(g, d, both)), 0.5);
}

static lk_var stream_loss(lk_graph *g, const lk_joint *m, const lk_joint_sizes *z, int s,
                          double change, lk_var v, lk_joint_loss *l, lk_var *raw)
{
    const int64_t n = lk_joint_tokens(z, s);
    lk_var d, error, b, there;
    l->target[s] = lk_input(g, s ? "audio.target" : "video.target", LK_F32,
                            LK_SHAPE(z->batch, n, lk_joint_channels(m, s)));
    l->share[s] = lk_input(g, s ? "audio.share" : "video.share", LK_F32, LK_SHAPE(z->batch, n, 1));
    d = lk_sub(g, v, l->target[s]);
    error = lk_reduce_mean(g, lk_square(g, d), 1u << 2, 1);
    error = *raw = lk_sum_all(g, lk_mul(g, error, l->share[s]));
    if (s == 0 && change > 0 && z->latents > 1)
        error = lk_add(g, *raw, lk_scale(g, change_loss(g, z, d, l->share[0]), change));
    there = lk_sum_all(g, l->share[s]);
    b = lk_param(g, s ? "balance.audio" : "balance.video", LK_SHAPE(1), LK_INIT_ZERO, 0);
    return lk_add(g, lk_mul(g, error, lk_unary(g, LK_EXP, lk_scale(g, b, -1), 0, 0)),
                  lk_mul(g, there, b));
}

void lk_joint_loss_graph(lk_graph *g, const lk_joint *m, const lk_joint_sizes *z, double change,
                         lk_joint_loss *l)
{
    lk_var v[2], sum = LK_NONE;
    lk_joint_network(g, m, z, &l->in, v);
    for (int s = 0; s < 2; s++) {
        lk_var raw, part;
        l->target[s] = l->share[s] = LK_NONE;
        if (lk_joint_tokens(z, s) == 0)
            continue;
        part = stream_loss(g, m, z, s, change, v[s], l, &raw);
        sum = lk_is_none(sum) ? part : lk_add(g, sum, part);
        lk_output(g, lk_joint_loss_names[1 + s], raw);
    }
    l->loss = lk_sum_all(g, sum);
    lk_output(g, lk_joint_loss_names[0], l->loss);
}

void lk_joint_normalise(const float *mean, const float *deviation, int channels, int64_t n,
                        const float *x, float *y)
{
    for (int64_t i = 0; i < n * channels; i++)
        y[i] = (x[i] - mean[i % channels]) / deviation[i % channels];
}

void lk_joint_denormalise(const float *mean, const float *deviation, int channels, int64_t n,
                          const float *x, float *y)
{
    for (int64_t i = 0; i < n * channels; i++)
        y[i] = x[i] * deviation[i % channels] + mean[i % channels];
}

/* ---- what is asked for ---- */

lk_status lk_joint_check_sizes(const lk_joint *m, const lk_joint_sizes *s)
{
    lk_status st = LK_OK;
    const int most = 1 << 20;
    LK_REQUIRE(s->batch > 0 && s->batch <= 4096, LK_E_ARG, "a batch has 1 to 4096 clips, not %d",
               s->batch);
    LK_REQUIRE(s->latents >= 0 && s->rows > 0 && s->columns > 0 && s->sounds >= 0 &&
                   s->latents <= most && s->rows <= 2048 && s->columns <= 2048 &&
                   s->sounds <= most && lk_joint_tokens(s, 0) <= most,
               LK_E_ARG, "%d latents of %d x %d and %d of sound are no size for the joint model",
               s->latents, s->columns, s->rows, s->sounds);
    LK_REQUIRE(s->latents + s->sounds > 0, LK_E_EMPTY, "neither picture nor sound is asked for");
    LK_REQUIRE(s->prompt_bytes > 0 && s->prompt_bytes <= LK_JOINT_MOST_TEXT && s->events >= 0 &&
                   s->events <= 4096 &&
                   (s->events == 0 || (s->event_bytes > 0 && s->event_bytes <= LK_JOINT_MOST_TEXT)),
               LK_E_ARG, "texts have 1 to %d bytes, and a script at most 4096 events",
               LK_JOINT_MOST_TEXT);
    (void)m;
done:
    return st;
}

static int all_finite(const float *x, int64_t n)
{
    for (int64_t i = 0; x && i < n; i++)
        if (!isfinite(x[i]))
            return 0;
    return 1;
}

static lk_status check_clip(const lk_joint *m, const lk_joint_sizes *s, const lk_joint_clip *c)
{
    lk_status st = LK_OK;
    const int64_t cells = (int64_t)s->rows * s->columns;
    LK_REQUIRE(c->n_latents >= 0 && c->n_latents <= s->latents && c->n_sounds >= 0 &&
                   c->n_sounds <= s->sounds && c->n_events >= 0 && c->n_events <= s->events,
               LK_E_ARG,
               "a clip of %d latents, %d of sound and %d events does not fit: there is room for "
               "%d, %d and %d",
               c->n_latents, c->n_sounds, c->n_events, s->latents, s->sounds, s->events);
    LK_REQUIRE((c->n_latents == 0 || c->video_span) && (c->n_sounds == 0 || c->audio_span) &&
                   (c->n_events == 0 || c->events),
               LK_E_ARG, "latents and events need their spans");
    LK_REQUIRE(c->n_prompt_vectors >= 0 &&
                   (m->config.text_channels == 0 || c->n_prompt_vectors == 0 || c->prompt_vectors),
               LK_E_ARG, "a prompt of vectors lacks them");
    LK_REQUIRE(m->config.text_channels > 0 || c->n_prompt_vectors == 0, LK_E_ARG,
               "the model reads prompts as bytes, not as vectors");
    LK_REQUIRE((!c->video_held || c->video) && (!c->audio_held || c->audio), LK_E_ARG,
               "latents that are held must be given");
    LK_REQUIRE(m->exchange != LK_JOINT_TOGETHER ||
                   ((c->n_latents == s->latents || c->n_latents == 0 || c->n_sounds == 0) &&
                    (c->n_sounds == s->sounds || c->n_sounds == 0 || c->n_latents == 0)),
               LK_E_ARG, "with a joint exchange all clips of a batch must be of one length");
    LK_REQUIRE(all_finite(c->video, c->n_latents * cells * m->config.video_channels) &&
                   all_finite(c->audio, (int64_t)c->n_sounds * m->config.audio_channels),
               LK_E_NUMERIC, "the latents of a clip have NaN or Inf");
done:
    return st;
}

lk_status lk_joint_check_clips(const lk_joint *m, const lk_joint_sizes *s,
                               const lk_joint_clip *clips)
{
    lk_status st = LK_OK;
    for (int b = 0; b < s->batch; b++)
        LK_TRY(check_clip(m, s, &clips[b]));
done:
    return st;
}
