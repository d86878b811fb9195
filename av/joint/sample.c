/* sample.c - from noise to latents.
 *
 * A clip goes along u = 1 .. 0 in equal steps; each stream's level is t_s(u) (flow.c), and
 *
 *   dx_s / dt_s = v_s,   euler       x <- x + dt v(x, t)
 *                        heun        x <- x + dt (v(x, t) + v(x + dt v, t + dt)) / 2
 *                        multistep   x <- x + dt ((1 + r / 2) v - r / 2 v_before),
 *                                    r = dt / dt_before (Adams-Bashforth of order 2)
 *
 * Heun's last step, into t = 0, is Euler's.  Guidance (Ho, Salimans 2022) is a sum over passes,
 *
 *   v = v_all + (g_text - 1) (v_all - v_no_text) + (g_exchange - 1) (v_all - v_no_exchange)
 *             + (g_shifted - 1) (v_all - v_shifted)
 *
 * with weights for each stream; in v_shifted streams see each other later than they are.  Passes
 * whose weights are 1 are left out, and outside the interval [from, to] of u all are (Kynkaanniemi
 * et al. 2024).
 */
#include "av/joint/joint_impl.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

#include <math.h>
#include <string.h>

#define NOISE  UINT64_C(0x73616d706c650000)
#define COMMON UINT64_C(0x73616d706c660000)

#define O lk_joint_sampling
const lk_option lk_joint_sampling_options[] = {
    LK_OPT_CHOICE(O, solver, "multistep", "euler|heun|multistep", "how steps are made"),
    LK_OPT_INT(O, steps, 30, 1, 10000, "from noise to latents"),
    LK_OPT_CHOICE(O, compute, "f32", "f32|bf16", "what layers multiply in"),
    LK_OPT_DOUBLE(O, video_text, 1, 0, 100, "guidance of the picture by texts; 1: none"),
    LK_OPT_DOUBLE(O, audio_text, 1, 0, 100, "guidance of the sound by texts; 1: none"),
    LK_OPT_DOUBLE(O, to_video, 1, 0, 100, "guidance of the picture by the sound; 1: none"),
    LK_OPT_DOUBLE(O, to_audio, 1, 0, 100, "guidance of the sound by the picture; 1: none"),
    LK_OPT_DOUBLE(O, video_shifted, 1, 0, 100, "guidance of the picture by its time; 1: none"),
    LK_OPT_DOUBLE(O, audio_shifted, 1, 0, 100, "guidance of the sound by its time; 1: none"),
    LK_OPT_DOUBLE(O, shift_ms, 400, -1e6, 1e6, "how much later streams see each other there"),
    LK_OPT_DOUBLE(O, from, 0, 0, 1, "guidance begins at this time, 0: clean"),
    LK_OPT_DOUBLE(O, to, 1, 0, 1, "guidance ends at this time, 1: noise"),
    LK_OPT_INT(O, seed, 1, 0, 2147483647, "of the noise"),
    LK_OPT_END};
#undef O

enum { ALL, NO_TEXT, NO_EXCHANGE, SHIFTED, PASSES };

typedef struct sampler {
    lk_joint *m;
    const lk_joint_sizes *z;
    const lk_joint_clip *clips;
    const lk_joint_sampling *o;
    lk_graph *g;
    lk_joint_placer *placer;
    lk_joint_inputs in;
    lk_var v[2];
    int placed;                    /* pass that times and texts were written for; -1: none */
    uint8_t *every;                /* [batch], all 1 */
    float *level;                  /* [batch] */
    float *mean[2], *deviation[2]; /* [channels] */
    uint8_t *moves[2];             /* [batch, N] */
    float *x[2], *ahead[2], *now[2], *before[2], *pass[2]; /* [batch, N, channels] */
} sampler;

static int64_t count(const sampler *s, int stream)
{
    return s->z->batch * lk_joint_tokens(s->z, stream) * lk_joint_channels(s->m, stream);
}

/* ---- setting up ---- */

static lk_status make_room(sampler *s)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW_ARRAY(&s->every, s->z->batch));
    LK_TRY(LK_NEW_ARRAY(&s->level, s->z->batch));
    memset(s->every, 1, (size_t)s->z->batch);
    for (int i = 0; i < 2; i++) {
        float **const arrays[] = {&s->x[i], &s->ahead[i], &s->now[i], &s->before[i], &s->pass[i]};
        const int channels = lk_joint_channels(s->m, i);
        LK_TRY(LK_NEW_ARRAY(&s->mean[i], channels));
        LK_TRY(LK_NEW_ARRAY(&s->deviation[i], channels));
        LK_TRY(LK_NEW_ARRAY(&s->moves[i], s->z->batch * lk_joint_tokens(s->z, i)));
        for (size_t k = 0; k < sizeof arrays / sizeof *arrays; k++)
            LK_TRY(LK_NEW_ARRAY(arrays[k], count(s, i)));
        LK_TRY(lk_joint_get_scale(s->m, (lk_joint_stream)i, s->mean[i], s->deviation[i]));
    }
    LK_TRY(lk_joint_placer_new(&s->placer, s->m, s->z));
    const int bf16 = strcmp(s->o->compute, "bf16") == 0;
    LK_TRY(lk_graph_new(&s->g, &(lk_graph_config){.backend = lk_params_backend(s->m->params),
                                                  .params = s->m->params,
                                                  .compute = bf16 ? LK_BF16 : LK_F32}));
    lk_joint_network(s->g, s->m, s->z, &s->in, s->v);
    for (int i = 0; i < 2; i++)
        if (!lk_is_none(s->v[i]))
            lk_output(s->g, i ? "audio.v" : "video.v", s->v[i]);
    LK_TRY(lk_graph_compile(s->g));
done:
    return st;
}

static void clear(sampler *s)
{
    lk_graph_free(&s->g);
    lk_joint_placer_free(&s->placer);
    lk_free(s->every);
    lk_free(s->level);
    for (int i = 0; i < 2; i++) {
        lk_free(s->mean[i]);
        lk_free(s->deviation[i]);
        lk_free(s->moves[i]);
        lk_free(s->x[i]);
        lk_free(s->ahead[i]);
        lk_free(s->now[i]);
        lk_free(s->before[i]);
        lk_free(s->pass[i]);
    }
}

/* Noise, or what is held; nothing beyond a clip's end.  The noise of a token does not depend on
 * how many others there are. */
static void begin(sampler *s, int i)
{
    const int channels = lk_joint_channels(s->m, i);
    const int64_t each = i ? 1 : (int64_t)s->z->rows * s->z->columns;
    const int64_t n = lk_joint_tokens(s->z, i);
    for (int b = 0; b < s->z->batch; b++) {
        const lk_joint_clip *c = &s->clips[b];
        const uint8_t *held = i ? c->audio_held : c->video_held;
        const float *given = i ? c->audio : c->video;
        const int64_t own = (i ? c->n_sounds : c->n_latents) * each;
        const lk_joint_noise noise = {
            .seed = (uint64_t)s->o->seed,
            .own = NOISE + 2 * (uint64_t)b + (uint64_t)i,
            .common = COMMON + (uint64_t)b,
            .each = each,
            .channels = channels,
            .share = i ? 0 : s->m->config.common_noise,
        };
        for (int64_t t = 0; t < own; t++) {
            float *x = s->x[i] + (b * n + t) * channels;
            s->moves[i][b * n + t] = !(held && held[t / each]);
            if (held && held[t / each])
                lk_joint_normalise(s->mean[i], s->deviation[i], channels, 1, given + t * channels,
                                   x);
            else
                lk_joint_draw_noise(&noise, t, x);
        }
    }
}

/* ---- one pass, and their sum ---- */

static lk_status place(sampler *s, int pass)
{
    lk_status st = LK_OK;
    const lk_joint_without without = {pass == NO_TEXT ? s->every : NULL, NULL,
                                      pass == NO_EXCHANGE ? s->every : NULL, NULL,
                                      pass == SHIFTED ? lk_flick_from_s(s->o->shift_ms / 1000) : 0};
    if (s->placed != pass)
        LK_TRY(lk_joint_place(s->placer, s->g, &s->in, s->clips, &without, (uint64_t)s->o->seed));
    s->placed = pass;
done:
    return st;
}

/* The level of a stream that is held whole is 0. */
static lk_status write_level(sampler *s, int i, double level)
{
    const int64_t n = lk_joint_tokens(s->z, i);
    for (int b = 0; b < s->z->batch; b++) {
        int any = 0;
        for (int64_t t = 0; t < n; t++)
            any |= s->moves[i][b * n + t];
        s->level[b] = any ? (float)level : 0;
    }
    return lk_graph_write(s->g, s->in.level[i], LK_F32, s->level);
}

static lk_status run_pass(sampler *s, int pass, float *const x[2], const double level[2],
                          float *out[2])
{
    lk_status st = LK_OK;
    LK_TRY(place(s, pass));
    for (int i = 0; i < 2; i++) {
        if (lk_is_none(s->v[i]))
            continue;
        LK_TRY(write_level(s, i, level[i]));
        LK_TRY(lk_graph_write(s->g, s->in.x[i], LK_F32, x[i]));
    }
    LK_TRY(lk_graph_run(s->g, 0));
    for (int i = 0; i < 2; i++)
        if (!lk_is_none(s->v[i]))
            LK_TRY(lk_graph_read(s->g, s->v[i], LK_F32, out[i]));
done:
    return st;
}

/* v += sum over passes of weight (v_all - v_pass), from the back, so that the first pass, which
 * every step needs, is placed once when no other is asked for. */
static lk_status velocity(sampler *s, float *const x[2], double u, float *v[2])
{
    lk_status st = LK_OK;
    const lk_joint_sampling *o = s->o;
    const double weight[PASSES][2] = {{0, 0},
                                      {o->video_text - 1, o->audio_text - 1},
                                      {o->to_video - 1, o->to_audio - 1},
                                      {o->video_shifted - 1, o->audio_shifted - 1}};
    const int guided = u >= o->from && u <= o->to;
    double level[2], all[2] = {1, 1};
    lk_joint_levels_at(&s->m->config, u, level);
    for (int p = 1; p < PASSES; p++)
        for (int i = 0; i < 2 && guided; i++)
            all[i] += weight[p][i];
    LK_TRY(run_pass(s, ALL, x, level, v));
    for (int i = 0; i < 2; i++)
        for (int64_t k = 0; k < count(s, i); k++)
            v[i][k] *= (float)all[i];
    for (int p = 1; p < PASSES && guided; p++) {
        if (weight[p][0] == 0 && weight[p][1] == 0)
            continue;
        LK_TRY(run_pass(s, p, x, level, s->pass));
        for (int i = 0; i < 2; i++)
            for (int64_t k = 0; k < count(s, i); k++)
                v[i][k] -= (float)weight[p][i] * s->pass[i][k];
    }
done:
    return st;
}

/* ---- steps ---- */

/* y = x + dt (a v + b w) where tokens move; y may be x, w NULL. */
static void advance(const sampler *s, int i, double dt, double a, const float *v, double b,
                    const float *w, const float *x, float *y)
{
    const int channels = lk_joint_channels(s->m, i);
    for (int64_t k = 0; k < count(s, i); k++) {
        const double way = a * (double)v[k] + (w ? b * (double)w[k] : 0);
        y[k] = s->moves[i][k / channels] ? (float)((double)x[k] + dt * way) : x[k];
    }
}

static lk_status step(sampler *s, int n)
{
    lk_status st = LK_OK;
    const double u = 1 - (double)n / s->o->steps, next = 1 - (n + 1.0) / s->o->steps;
    const double last = 1 - (n - 1.0) / s->o->steps;
    double at[2], to[2], from[2];
    lk_joint_levels_at(&s->m->config, u, at);
    lk_joint_levels_at(&s->m->config, n + 1 == s->o->steps ? 0 : next, to);
    lk_joint_levels_at(&s->m->config, n ? last : 1, from);
    LK_TRY(velocity(s, s->x, u, s->now));
    if (strcmp(s->o->solver, "heun") == 0 && n + 1 < s->o->steps) {
        for (int i = 0; i < 2; i++)
            advance(s, i, to[i] - at[i], 1, s->now[i], 0, NULL, s->x[i], s->ahead[i]);
        LK_TRY(velocity(s, s->ahead, next, s->before));
        for (int i = 0; i < 2; i++)
            advance(s, i, to[i] - at[i], 0.5, s->now[i], 0.5, s->before[i], s->x[i], s->x[i]);
        goto done;
    }
    for (int i = 0; i < 2; i++) {
        float *swap = s->before[i];
        const int multistep = n && strcmp(s->o->solver, "multistep") == 0;
        const double r = multistep ? (to[i] - at[i]) / (at[i] - from[i]) / 2 : 0;
        advance(s, i, to[i] - at[i], 1 + r, s->now[i], -r, multistep ? s->before[i] : NULL, s->x[i],
                s->x[i]);
        s->before[i] = s->now[i];
        s->now[i] = swap;
    }
done:
    return st;
}

/* Raw latents; what was held comes back as it was given, to the bit. */
static lk_status finish(const sampler *s, int i, float *out)
{
    lk_status st = LK_OK;
    const int channels = lk_joint_channels(s->m, i);
    const int64_t each = i ? 1 : (int64_t)s->z->rows * s->z->columns;
    const int64_t n = lk_joint_tokens(s->z, i);
    for (int b = 0; b < s->z->batch; b++) {
        const lk_joint_clip *c = &s->clips[b];
        const float *given = i ? c->audio : c->video;
        const int64_t own = (i ? c->n_sounds : c->n_latents) * each;
        for (int64_t t = 0; t < n; t++, out += channels) {
            if (t >= own)
                memset(out, 0, (size_t)channels * sizeof *out);
            else if (!s->moves[i][b * n + t])
                memcpy(out, given + t * channels, (size_t)channels * sizeof *out);
            else
                lk_joint_denormalise(s->mean[i], s->deviation[i], channels, 1,
                                     s->x[i] + (b * n + t) * channels, out);
            for (int k = 0; k < channels; k++)
                LK_REQUIRE(isfinite(out[k]), LK_E_NUMERIC,
                           "the model's weights lead to NaN or Inf: they are unusable");
        }
    }
done:
    return st;
}

lk_status lk_joint_sample(lk_joint *m, const lk_joint_sizes *sizes, const lk_joint_clip *clips,
                          const lk_joint_sampling *sampling, const volatile int *stop, float *video,
                          float *audio)
{
    lk_status st = LK_OK;
    sampler s = {.m = m, .z = sizes, .clips = clips, .o = sampling, .placed = -1};
    LK_REQUIRE(sampling->solver && sampling->compute && sampling->steps > 0, LK_E_ARG,
               "sampling needs a solver, what to compute in, and at least one step");
    LK_TRY(lk_joint_check_sizes(m, sizes));
    LK_TRY(lk_joint_check_clips(m, sizes, clips));
    LK_TRY(make_room(&s));
    for (int i = 0; i < 2; i++)
        begin(&s, i);
    for (int n = 0; n < sampling->steps; n++) {
        LK_REQUIRE(!stop || !*stop, LK_E_INTERRUPTED, "stopped after %d of %d steps", n,
                   sampling->steps);
        LK_TRY(step(&s, n));
    }
    for (int i = 0; i < 2; i++)
        LK_TRY(finish(&s, i, i ? audio : video));
done:
    clear(&s);
    return st;
}
