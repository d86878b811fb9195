/* train.c - the training of the joint model; see joint.h for its settings, flow.c for its loss.
 *
 * Every clip draws its levels, its noise, whether its text and its exchange are dropped, and a
 * task: nothing held, a stream held whole, the first latent of the picture held, or everything
 * outside a range of time held.
 */
#include "av/joint/joint_impl.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

#include <string.h>

#define DRAWS UINT64_C(0x6a6f696e74000000)

#define O lk_joint_train_config
const lk_option lk_joint_train_options[] = {
    LK_OPT_INT(O, steps, 20000, 1, 100000000, "steps of the training"),
    LK_OPT_INT(O, micro, 1, 1, 4096, "batches a step whose gradients are added"),
    LK_OPT_CHOICE(O, compute, "f32", "f32|bf16", "numbers that products are made of"),
    LK_OPT_DOUBLE(O, rate, 5e-4, 0, 1, "highest learning rate"),
    LK_OPT_DOUBLE(O, last_rate, 5e-5, 0, 1, "learning rate of the last step"),
    LK_OPT_INT(O, warmup, 200, 0, 100000000, "steps until the highest rate"),
    LK_OPT_DOUBLE(O, decay, 0.01, 0, 1, "of weights, times the learning rate"),
    LK_OPT_DOUBLE(O, average, 0.999, 0, 0.999999, "memory of the averaged weights"),
    LK_OPT_DOUBLE(O, clip, 1, 0, 1e9, "largest norm of the gradient; 0: no limit"),
    LK_OPT_DOUBLE(O, no_text, 0.1, 0, 1, "share of clips without prompt and script"),
    LK_OPT_DOUBLE(O, no_exchange, 0.1, 0, 1, "share of clips whose streams do not meet"),
    LK_OPT_DOUBLE(O, hold_audio, 0.1, 0, 1, "share of clips with all of the sound given"),
    LK_OPT_DOUBLE(O, hold_video, 0.1, 0, 1, "share of clips with all of the picture given"),
    LK_OPT_DOUBLE(O, hold_first, 0.05, 0, 1, "share of clips with the first picture given"),
    LK_OPT_DOUBLE(O, hold_range, 0.1, 0, 1, "share of clips given outside a range of time"),
    LK_OPT_INT(O, log_every, 10, 1, 100000000, "steps between lines of the log"),
    LK_OPT_INT(O, save_every, 1000, 0, 100000000, "steps between checkpoints"),
    LK_OPT_INT(O, keep, 2, 0, 1000000, "newest checkpoints kept; 0: all"),
    LK_OPT_INT(O, seed, 1, 0, 2147483647, "of clips and noise"),
    LK_OPT_END};
#undef O

typedef struct job {
    const lk_joint_train_config *c;
    lk_joint_placer *placer;
    lk_joint_loss loss;
    lk_joint_clip *clips;
    uint8_t *no_text, *no_exchange;
    uint8_t *held[2];                   /* [batch, latents] */
    float *mean[2], *deviation[2];      /* [channels] */
    float *x[2], *target[2], *share[2]; /* of all tokens */
    float *level[2];                    /* [batch] */
} job;

static double draw(uint64_t seed, int64_t clip, int what)
{
    return (double)lk_rng_uniform(seed, DRAWS + (uint64_t)what, (uint64_t)clip);
}

/* ---- what is held ---- */

static void hold_outside(const lk_span *span, int n, lk_flick from, lk_flick to, uint8_t *held)
{
    for (int i = 0; i < n; i++)
        held[i] |= span[i].end <= from || span[i].start >= to;
}

static void hold_range(const lk_joint_clip *c, uint64_t seed, int64_t clip, uint8_t *held[2])
{
    const lk_span *span = c->n_latents ? c->video_span : c->audio_span;
    const int n = c->n_latents ? c->n_latents : c->n_sounds;
    lk_flick start, length, from, to;
    if (n == 0)
        return;
    start = span[0].start;
    length = span[n - 1].end - start;
    from = start + (lk_flick)(draw(seed, clip, 1) * (double)length * 0.9);
    to = draw(seed, clip, 2) < 0.5 ? start + length /* what follows is made: a longer clip */
                                   : from + (lk_flick)(draw(seed, clip, 3) * (double)length);
    hold_outside(c->video_span, c->n_latents, from, to, held[0]);
    hold_outside(c->audio_span, c->n_sounds, from, to, held[1]);
}

/* A clip never has everything held. */
static void draw_task(const lk_joint_train_config *t, lk_joint_clip *c, uint64_t seed, int64_t clip,
                      uint8_t *held[2])
{
    double r = draw(seed, clip, 0);
    for (int s = 0; s < 2; s++) {
        const uint8_t *given = s ? c->audio_held : c->video_held;
        const int n = s ? c->n_sounds : c->n_latents;
        for (int i = 0; i < n; i++)
            held[s][i] = given && given[i];
    }
    if ((r -= t->hold_audio) < 0) {
        if (c->n_latents)
            memset(held[1], 1, (size_t)c->n_sounds);
    } else if ((r -= t->hold_video) < 0) {
        if (c->n_sounds)
            memset(held[0], 1, (size_t)c->n_latents);
    } else if ((r -= t->hold_first) < 0) {
        if (c->n_latents > 1)
            held[0][0] = 1;
    } else if (r - t->hold_range < 0) {
        hold_range(c, seed, clip, held);
    }
    c->video_held = c->video ? held[0] : NULL;
    c->audio_held = c->audio ? held[1] : NULL;
}

/* ---- a batch ---- */

/* Tokens of stream s of a clip; a stream at level 0, or held whole, is held and says so. */
static void mix(job *j, uint64_t seed, int64_t clip, int b, int s, double level)
{
    const lk_joint_sizes *z = &j->c->sizes;
    const lk_joint_clip *c = &j->clips[b];
    const int channels = lk_joint_channels(j->c->model, s);
    const int64_t each = s ? 1 : (int64_t)z->rows * z->columns, n = lk_joint_tokens(z, s);
    const int64_t own = (s ? c->n_sounds : c->n_latents) * each;
    uint8_t *held = j->held[s] + b * (s ? z->sounds : z->latents);
    float *x = j->x[s] + b * n * channels, *target = j->target[s] + b * n * channels;
    int64_t moving = 0;
    memset(x, 0, (size_t)(n * channels) * sizeof *x);
    memset(target, 0, (size_t)(n * channels) * sizeof *x);
    lk_joint_normalise(j->mean[s], j->deviation[s], channels, own, s ? c->audio : c->video, x);
    for (int64_t i = 0; i < n; i++) {
        const int free = i < own && level > 0 && !held[i / each];
        j->share[s][b * n + i] = (float)free;
        moving += free;
        if (i < own && level <= 0)
            held[i / each] = 1;
        for (int k = 0; free && k < channels; k++) {
            const int64_t at = i * channels + k;
            const float e =
                lk_rng_normal(seed, DRAWS + 16 + (uint64_t)s, (uint64_t)(clip * n * channels + at));
            target[at] = e - x[at];
            x[at] += (float)level * target[at];
        }
    }
    j->level[s][b] = moving ? (float)level : 0;
}

/* The mean over a clip's tokens that move, and over the clips of a batch: the same however a batch
 * is cut into processes. */
static void share_out(float *share, int batch, int64_t n)
{
    for (int b = 0; b < batch; b++, share += n) {
        int64_t moving = 0;
        for (int64_t i = 0; i < n; i++)
            moving += share[i] > 0;
        for (int64_t i = 0; i < n; i++)
            share[i] = share[i] > 0 ? 1.0f / (float)(moving * batch) : 0;
    }
}

static void mix_clips(job *j, const lk_train_batch *batch)
{
    const lk_joint_train_config *c = j->c;
    const lk_joint_sizes *z = &c->sizes;
    for (int b = 0; b < z->batch; b++) {
        const int64_t clip = batch->index * z->batch + b;
        uint8_t *held[2] = {j->held[0] + b * z->latents, j->held[1] + b * z->sounds};
        double level[2];
        lk_joint_draw_levels(&c->model->config, batch->seed, clip, level);
        draw_task(c, &j->clips[b], batch->seed, clip, held);
        j->no_text[b] = draw(batch->seed, clip, 4) < c->no_text;
        j->no_exchange[b] = draw(batch->seed, clip, 5) < c->no_exchange;
        for (int s = 0; s < 2; s++)
            if (lk_joint_tokens(z, s))
                mix(j, batch->seed, clip, b, s, level[s]);
    }
    for (int s = 0; s < 2; s++)
        share_out(j->share[s], z->batch, lk_joint_tokens(z, s));
}

static lk_status fill(void *user, lk_graph *g, const lk_train_batch *batch)
{
    lk_status st = LK_OK;
    job *j = user;
    const lk_joint_train_config *c = j->c;
    memset(j->clips, 0, (size_t)c->sizes.batch * sizeof *j->clips);
    LK_TRY(c->fill(c->user, batch->seed, batch->index, j->clips));
    LK_TRY(lk_joint_check_clips(c->model, &c->sizes, j->clips));
    for (int b = 0; b < c->sizes.batch; b++)
        LK_REQUIRE((j->clips[b].video || j->clips[b].n_latents == 0) &&
                       (j->clips[b].audio || j->clips[b].n_sounds == 0),
                   LK_E_ARG, "a clip to learn from lacks its latents");
    mix_clips(j, batch);
    LK_TRY(lk_joint_place(j->placer, g, &j->loss.in, j->clips,
                          &(lk_joint_without){j->no_text, j->no_exchange, 0},
                          (uint64_t)batch->index));
    for (int s = 0; s < 2; s++) {
        if (lk_joint_tokens(&c->sizes, s) == 0)
            continue;
        LK_TRY(lk_graph_write(g, j->loss.in.x[s], LK_F32, j->x[s]));
        LK_TRY(lk_graph_write(g, j->loss.in.level[s], LK_F32, j->level[s]));
        LK_TRY(lk_graph_write(g, j->loss.target[s], LK_F32, j->target[s]));
        LK_TRY(lk_graph_write(g, j->loss.share[s], LK_F32, j->share[s]));
    }
done:
    return st;
}

/* ---- the training ---- */

static lk_status make_room(job *j)
{
    lk_status st = LK_OK;
    const lk_joint *m = j->c->model;
    const lk_joint_sizes *z = &j->c->sizes;
    LK_TRY(LK_NEW_ARRAY(&j->clips, z->batch));
    LK_TRY(LK_NEW_ARRAY(&j->no_text, z->batch));
    LK_TRY(LK_NEW_ARRAY(&j->no_exchange, z->batch));
    for (int s = 0; s < 2; s++) {
        const int64_t tokens = z->batch * lk_joint_tokens(z, s), k = lk_joint_channels(m, s);
        LK_TRY(LK_NEW_ARRAY(&j->held[s], z->batch * (int64_t)(s ? z->sounds : z->latents)));
        LK_TRY(LK_NEW_ARRAY(&j->mean[s], k));
        LK_TRY(LK_NEW_ARRAY(&j->deviation[s], k));
        LK_TRY(LK_NEW_ARRAY(&j->x[s], tokens * k));
        LK_TRY(LK_NEW_ARRAY(&j->target[s], tokens * k));
        LK_TRY(LK_NEW_ARRAY(&j->share[s], tokens));
        LK_TRY(LK_NEW_ARRAY(&j->level[s], z->batch));
        LK_TRY(lk_joint_get_scale(m, (lk_joint_stream)s, j->mean[s], j->deviation[s]));
    }
    LK_TRY(lk_joint_placer_new(&j->placer, m, z));
done:
    return st;
}

static void clear(job *j)
{
    lk_joint_placer_free(&j->placer);
    lk_free(j->clips);
    lk_free(j->no_text);
    lk_free(j->no_exchange);
    for (int s = 0; s < 2; s++) {
        lk_free(j->held[s]);
        lk_free(j->mean[s]);
        lk_free(j->deviation[s]);
        lk_free(j->x[s]);
        lk_free(j->target[s]);
        lk_free(j->share[s]);
        lk_free(j->level[s]);
    }
}

static int trains(const char *name, const lk_shape *shape)
{
    (void)shape;
    return strncmp(name, "scale.", 6) != 0;
}

static lk_status make_graph(job *j, lk_graph **g)
{
    lk_status st = LK_OK;
    const lk_joint_train_config *c = j->c;
    LK_TRY(lk_graph_new(
        g, &(lk_graph_config){.backend = lk_params_backend(c->model->params),
                              .params = c->model->params,
                              .compute = strcmp(c->compute, "bf16") == 0 ? LK_BF16 : LK_F32,
                              .seed = (uint64_t)c->seed,
                              .train = 1,
                              .accumulate = 1}));
    lk_joint_loss_graph(*g, c->model, &c->sizes, &j->loss);
    lk_backward(*g, j->loss.loss);
    LK_TRY(lk_graph_compile(*g));
done:
    return st;
}

/* The two configurations as one text each, then the caller's. */
static lk_status make_texts(const lk_joint_train_config *c, lk_text lines[2],
                            lk_safetensors_text **texts)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW_ARRAY(texts, c->n_texts + 2));
    LK_TRY(lk_option_write_lines(lk_joint_options, &c->model->config, &lines[0]));
    LK_TRY(lk_option_write_lines(lk_joint_train_options, c, &lines[1]));
    (*texts)[0] = (lk_safetensors_text){"joint", lines[0].at};
    (*texts)[1] = (lk_safetensors_text){"joint_training", lines[1].at};
    for (int i = 0; i < c->n_texts; i++)
        (*texts)[2 + i] = c->texts[i];
done:
    return st;
}

static lk_status run(job *j, lk_graph *g, lk_train_result *result)
{
    lk_status st = LK_OK;
    const lk_joint_train_config *c = j->c;
    lk_text lines[2] = {{0}, {0}};
    lk_safetensors_text *texts = NULL;
    const char *losses[LK_JOINT_LOSSES] = {lk_joint_loss_names[0]};
    int n = 1;
    for (int s = 0; s < 2; s++)
        if (lk_joint_tokens(&c->sizes, s))
            losses[n++] = lk_joint_loss_names[1 + s];
    lk_train_phase phase = {
        .graph = g,
        .fill = fill,
        .user = j,
        .n_losses = n,
        .losses = losses,
        .optim = {.beta1 = 0.9,
                  .beta2 = 0.99,
                  .decay = c->decay,
                  .average = c->average,
                  .trains = trains},
        .schedule = {LK_SCHEDULE_COSINE, c->rate, c->last_rate, c->warmup, c->steps, 0},
        .clip = c->clip};
    LK_TRY(make_texts(c, lines, &texts));
    LK_TRY(lk_train(&(lk_train_config){.folder = c->folder,
                                       .params = c->model->params,
                                       .n_phases = 1,
                                       .phases = &phase,
                                       .seed = (uint64_t)c->seed,
                                       .n_steps = c->steps,
                                       .n_micro = c->micro,
                                       .batch_samples = c->sizes.batch,
                                       .log_every = c->log_every,
                                       .save_every = c->save_every,
                                       .keep = c->keep,
                                       .resume = c->resume,
                                       .label = "joint model",
                                       .n_texts = c->n_texts + 2,
                                       .texts = texts,
                                       .comm = c->comm},
                    result));
done:
    lk_free(texts);
    lk_text_free(&lines[0]);
    lk_text_free(&lines[1]);
    return st;
}

lk_status lk_joint_train(const lk_joint_train_config *c, lk_train_result *result)
{
    lk_status st = LK_OK;
    job j = {.c = c};
    lk_graph *g = NULL;
    LK_REQUIRE(c->model && c->fill && c->folder, LK_E_ARG,
               "a training needs a model, a folder and clips");
    LK_TRY(lk_joint_check_sizes(c->model, &c->sizes));
    LK_TRY(make_room(&j));
    LK_TRY(make_graph(&j, &g));
    LK_TRY(run(&j, g, result));
done:
    lk_graph_free(&g);
    clear(&j);
    return st;
}
