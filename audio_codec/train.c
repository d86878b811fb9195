/* train.c - the training of a codec: losses alone, then a decoder against discriminators.
 *
 *   first   mel, stft, wave (losses.c), commit, rebuild (bottleneck.c), kl_loss, label (model.c),
 *           each times its weight; codes follow by codebook.c
 *   late    encoder and bottleneck frozen, starting from the averaged weights; in every step
 *           d: mean over scales of mean max(0, 1 - D(x)) + mean max(0, 1 + D(y))
 *           g: mel, stft, wave, adversarial: mean over scales of mean -D(y), feature: mean over
 *              scales and layers of mean |D_l(y) - D_l(x)|       (Defossez et al. 2022,
 * section 3.4)
 *
 * A crop is stored in one of these ways (rng.h: a function of seed, batch and crop):
 *
 *   3/8     all tokens, and the Gaussian latent of what they leave
 *   1/8     all tokens           1/8     the first n, n uniform
 *   5/16    the Gaussian latent  1/16    the encoder's output as it is
 */
#include "audio_codec/codec_impl.h"

#include "kernels/checkpoint.h"
#include "kernels/mem.h"
#include "kernels/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define WAYS_SEED 0x9e3779b97f4a7c15u

typedef struct training {
    const lk_codec_train_config *config;
    const lk_codec_config *c;
    const lk_codec_train_settings *s;
    lk_codec *codec;
    lk_graph *graph[2];
    lk_train_phase phase[2];
    int n_phases;
    lk_codec_books *books;
    lk_codec_stages stages; /* of graph 0 in the first part */
    const char *names[LK_TRAIN_MOST_LOSSES];
    char perplexity[LK_CODEC_MOST_STAGES][24];
    int n_names;
    float *sound, *stage_on, *latent_on, *rest_on, *raw_on, *label_on, *unit;
    int32_t *label, *index;
    lk_text codec_text, settings_text;
    lk_safetensors_text *texts;
} training;

static void close_training(training *t)
{
    for (int i = 0; i < 2; i++)
        lk_graph_free(&t->graph[i]);
    lk_codec_books_free(&t->books);
    lk_codec_free(&t->codec);
    lk_free(t->sound);
    lk_free(t->stage_on);
    lk_free(t->latent_on);
    lk_free(t->rest_on);
    lk_free(t->raw_on);
    lk_free(t->label_on);
    lk_free(t->unit);
    lk_free(t->label);
    lk_free(t->index);
    lk_free(t->texts);
    lk_text_free(&t->codec_text);
    lk_text_free(&t->settings_text);
}

/* ---- a batch ---- */

static void choose_ways(training *t, uint64_t seed, int64_t index)
{
    const int stages = t->c->stages;
    for (int b = 0; b < t->s->batch; b++) {
        float u[4];
        int n;
        for (int i = 0; i < 4; i++)
            u[i] = lk_rng_uniform(seed ^ WAYS_SEED, (uint64_t)index, (uint64_t)(4 * b + i));
        const int tokens = u[0] < 0.625f, both = tokens && u[3] < 0.6f;
        n = !tokens ? 0 : both || u[1] >= 0.5f ? stages : 1 + (int)(u[2] * (float)stages);
        for (int i = 0; i < stages; i++)
            t->stage_on[b * stages + i] = i < n ? 1 : 0;
        t->rest_on[b] = both ? 1 : 0;
        t->latent_on[b] = !tokens && u[3] >= 1 / 6.0f ? 1 : 0;
        t->raw_on[b] = !tokens && u[3] < 1 / 6.0f ? 1 : 0;
    }
}

/* -1 and whatever else is no class: not counted. */
static void read_labels(training *t)
{
    for (int64_t i = 0; i < (int64_t)t->s->batch * t->s->latents; i++) {
        const int known = t->label[i] >= 0 && t->label[i] < t->c->labels;
        t->label_on[i] = known ? 1 : 0;
        t->label[i] = known ? t->label[i] : 0;
    }
}

static lk_status fill(void *user, lk_graph *g, const lk_train_batch *b)
{
    lk_status st = LK_OK;
    training *t = user;
    const int64_t samples = (int64_t)t->s->latents * lk_codec_period(t->c);
    for (int64_t i = 0; i < (int64_t)t->s->batch * t->s->latents; i++)
        t->label[i] = -1;
    LK_TRY(t->config->crops(t->config->user, b->seed, b->index, t->s->batch, samples, t->sound,
                            t->label));
    choose_ways(t, b->seed, b->index);
    LK_TRY(lk_graph_write(g, lk_graph_find(g, "sound"), LK_F32, t->sound));
    LK_TRY(lk_graph_write(g, lk_graph_find(g, "stage_on"), LK_F32, t->stage_on));
    LK_TRY(lk_graph_write(g, lk_graph_find(g, "latent_on"), LK_F32, t->latent_on));
    LK_TRY(lk_graph_write(g, lk_graph_find(g, "rest_on"), LK_F32, t->rest_on));
    LK_TRY(lk_graph_write(g, lk_graph_find(g, "raw_on"), LK_F32, t->raw_on));
    if (t->c->labels > 0) {
        read_labels(t);
        LK_TRY(lk_graph_write(g, lk_graph_find(g, "class"), LK_I32, t->label));
        LK_TRY(lk_graph_write(g, lk_graph_find(g, "class_on"), LK_F32, t->label_on));
    }
done:
    return st;
}

static lk_status update_codes(void *user, lk_graph *g, int64_t step)
{
    lk_status st = LK_OK;
    training *t = user;
    for (int i = 0; i < t->c->stages; i++) {
        LK_TRY(lk_graph_read(g, t->stages.unit[i], LK_F32, t->unit));
        LK_TRY(lk_graph_read(g, t->stages.index[i], LK_I32, t->index));
        LK_TRY(lk_codec_books_update(t->books, i, step, t->unit, t->index));
    }
done:
    return st;
}

/* ---- graphs ---- */

static lk_var weighted(lk_graph *g, lk_var sum, lk_var loss, double weight)
{
    if (lk_is_none(loss) || weight == 0)
        return sum;
    loss = lk_scale(g, loss, weight);
    return lk_is_none(sum) ? loss : lk_add(g, sum, loss);
}

static void tell(training *t, lk_graph *g, const char *name, lk_var v)
{
    lk_output(g, name, v);
    t->names[t->n_names++] = name;
}

static lk_var distances(training *t, lk_graph *g, lk_var sum, const lk_codec_model *m)
{
    const lk_codec_distances d = lk_codec_distance(g, t->c, m->result, m->sound);
    sum = weighted(g, sum, d.mel, t->s->mel);
    sum = weighted(g, sum, d.stft, t->s->stft);
    sum = weighted(g, sum, d.wave, t->s->wave);
    tell(t, g, "mel", d.mel);
    tell(t, g, "stft", d.stft);
    tell(t, g, "wave", d.wave);
    return sum;
}

static lk_status new_graph(training *t, int i)
{
    return lk_graph_new(
        &t->graph[i],
        &(lk_graph_config){.backend = t->config->backend,
                           .params = t->codec->params,
                           .compute = strcmp(t->s->compute, "bf16") == 0 ? LK_BF16 : LK_F32,
                           .seed = (uint64_t)t->c->seed,
                           .train = 1,
                           .accumulate = 1});
}

static lk_status finish_graph(lk_graph *g, lk_var loss)
{
    lk_output(g, "loss", loss);
    lk_backward(g, loss);
    return lk_graph_compile(g);
}

static void record_perplexity(training *t, lk_graph *g)
{
    for (int i = 0; i < t->c->stages; i++) {
        snprintf(t->perplexity[i], sizeof t->perplexity[i], "perplexity%d", i);
        tell(t, g, t->perplexity[i], lk_codec_perplexity(g, t->c, i));
    }
}

static lk_status record_first(training *t)
{
    lk_status st = LK_OK;
    lk_codec_model m;
    lk_graph *g;
    lk_var loss = LK_NONE;
    LK_TRY(new_graph(t, 0));
    g = t->graph[0];
    m = lk_codec_record(g, t->c, t->s->batch, t->s->latents, LK_CODEC_TRAIN_ALL);
    t->stages = m.stages;
    t->names[t->n_names++] = "loss";
    loss = distances(t, g, loss, &m);
    loss = weighted(g, loss, m.commit, t->s->commit);
    loss = weighted(g, loss, m.stages.rebuild, t->s->rebuild);
    loss = weighted(g, loss, m.kl_loss, t->s->kl);
    loss = weighted(g, loss, m.label, t->s->label);
    tell(t, g, "commit", m.commit);
    tell(t, g, "rebuild", m.stages.rebuild);
    tell(t, g, "kl_kbps", lk_scale(g, m.kl_nats[0], LK_CODEC_LATENT_HZ / log(2) / 1000));
    tell(t, g, "kl_rest_kbps", lk_scale(g, m.kl_nats[1], LK_CODEC_LATENT_HZ / log(2) / 1000));
    if (t->c->labels > 0)
        tell(t, g, "label", m.label);
    record_perplexity(t, g);
    LK_TRY(finish_graph(g, loss));
done:
    return st;
}

static lk_status record_judge(training *t)
{
    lk_status st = LK_OK;
    lk_codec_model m;
    lk_codec_opinion real, made;
    lk_graph *g;
    lk_var loss = LK_NONE;
    LK_TRY(new_graph(t, 0));
    g = t->graph[0];
    m = lk_codec_record(g, t->c, t->s->batch, t->s->latents, LK_CODEC_TRAIN_NOTHING);
    real = lk_codec_judge(g, t->c, m.sound);
    made = lk_codec_judge(g, t->c, m.result);
    for (int i = 0; i < LK_CODEC_SCALES; i++) {
        loss = weighted(g, loss, lk_hinge_loss(g, real.score[i], 1), 1.0 / LK_CODEC_SCALES);
        loss = weighted(g, loss, lk_hinge_loss(g, made.score[i], -1), 1.0 / LK_CODEC_SCALES);
    }
    LK_TRY(finish_graph(g, loss));
done:
    return st;
}

static lk_status record_late(training *t)
{
    lk_status st = LK_OK;
    lk_codec_model m;
    lk_codec_opinion real, made;
    lk_graph *g;
    lk_var loss = LK_NONE, opinion = LK_NONE, feature = LK_NONE;
    const double share = 1.0 / LK_CODEC_SCALES;
    LK_TRY(new_graph(t, 1));
    g = t->graph[1];
    m = lk_codec_record(g, t->c, t->s->batch, t->s->latents, LK_CODEC_TRAIN_DECODER);
    lk_freeze(g, 1);
    real = lk_codec_judge(g, t->c, m.sound);
    made = lk_codec_judge(g, t->c, m.result);
    lk_freeze(g, 0);
    for (int i = 0; i < LK_CODEC_SCALES; i++) {
        const lk_var score = lk_cast(g, made.score[i], LK_F32);
        opinion = weighted(g, opinion, lk_mean_all(g, score), -share);
        for (int k = 0; k < LK_CODEC_FEATURES; k++)
            feature = weighted(g, feature, lk_l1_loss(g, made.feature[i][k], real.feature[i][k]),
                               share / LK_CODEC_FEATURES);
    }
    t->names[t->n_names++] = "loss";
    loss = distances(t, g, loss, &m);
    loss = weighted(g, loss, opinion, t->s->adversarial);
    loss = weighted(g, loss, feature, t->s->feature);
    tell(t, g, "adversarial", opinion);
    tell(t, g, "feature", feature);
    LK_TRY(finish_graph(g, loss));
done:
    return st;
}

/* ---- who is trained by what ---- */

static int starts_with(const char *name, const char *start)
{
    return strncmp(name, start, strlen(start)) == 0;
}

/* All but the codes, which follow by themselves. */
static int trains_first(const char *name, const lk_shape *shape)
{
    (void)shape;
    return !lk_codec_is_code(name);
}

static int trains_judge(const char *name, const lk_shape *shape)
{
    (void)shape;
    return starts_with(name, "discriminator.");
}

static int trains_decoder(const char *name, const lk_shape *shape)
{
    (void)shape;
    return starts_with(name, "decoder.");
}

/* ---- the two parts ---- */

static lk_status make_room(training *t)
{
    lk_status st = LK_OK;
    const int64_t rows = (int64_t)t->s->batch * t->s->latents;
    LK_TRY(LK_NEW_ARRAY(&t->sound, rows * lk_codec_period(t->c) * t->c->channels));
    LK_TRY(LK_NEW_ARRAY(&t->stage_on, t->s->batch * t->c->stages));
    LK_TRY(LK_NEW_ARRAY(&t->latent_on, t->s->batch));
    LK_TRY(LK_NEW_ARRAY(&t->rest_on, t->s->batch));
    LK_TRY(LK_NEW_ARRAY(&t->raw_on, t->s->batch));
    LK_TRY(LK_NEW_ARRAY(&t->label_on, rows));
    LK_TRY(LK_NEW_ARRAY(&t->unit, rows * t->c->code_width));
    LK_TRY(LK_NEW_ARRAY(&t->label, rows));
    LK_TRY(LK_NEW_ARRAY(&t->index, rows));
    LK_TRY(lk_codec_write_config(lk_codec_options, t->c, &t->codec_text));
    LK_TRY(lk_codec_write_config(lk_codec_train_options, t->s, &t->settings_text));
    LK_TRY(LK_NEW_ARRAY(&t->texts, 3 + t->config->n_texts));
    t->texts[0] = (lk_safetensors_text){"format", LK_CODEC_FORMAT};
    t->texts[1] = (lk_safetensors_text){"config", t->codec_text.at};
    t->texts[2] = (lk_safetensors_text){"training", t->settings_text.at};
    for (int i = 0; i < t->config->n_texts; i++)
        t->texts[3 + i] = t->config->texts[i];
done:
    return st;
}

static lk_train_phase phase_of(training *t, lk_graph *g, const char *name, int64_t steps)
{
    const lk_codec_train_settings *s = t->s;
    return (lk_train_phase){
        .name = name,
        .graph = g,
        .fill = fill,
        .user = t,
        .n_losses = t->n_names,
        .losses = t->names,
        .optim = {.beta1 = 0.8, .beta2 = 0.99, .decay = s->decay, .average = s->average},
        .schedule = {LK_SCHEDULE_COSINE, s->rate, s->floor, s->warmup, steps, 0},
        .clip = s->clip,
    };
}

/* The weights a training starts from, unless it goes on: a file's, or a fit. */
static lk_status begin(training *t)
{
    lk_status st = LK_OK;
    const char *from = t->s->start_from;
    lk_text checkpoints = {0};
    char *latest = NULL;
    LK_TRY(lk_text_add(&checkpoints, "%s/checkpoints", t->config->folder));
    if (t->config->resume)
        LK_TRY(lk_checkpoint_latest(checkpoints.at, &latest));
    if (!latest && from && from[0])
        LK_TRY(lk_checkpoint_begin_with(from, t->codec->params));
    else if (!latest)
        LK_TRY(
            lk_codec_fit(t->codec, t->config->crops, t->config->user, t->s->batch, t->s->latents));
done:
    lk_free(latest);
    lk_text_free(&checkpoints);
    return st;
}

static lk_status open_first(training *t)
{
    lk_status st = LK_OK;
    const int64_t rows = (int64_t)t->s->batch * t->s->latents;
    LK_TRY(lk_codec_new(&t->codec, t->c, t->config->backend));
    LK_TRY(make_room(t));
    LK_TRY(begin(t));
    LK_TRY(record_first(t));
    LK_TRY(lk_codec_books_new(&t->books, t->c, t->codec->params, rows, t->s->code_memory,
                              t->s->dead, (uint64_t)t->c->seed, t->config->comm));
    t->phase[0] = phase_of(t, t->graph[0], NULL, t->s->steps);
    t->phase[0].optim.trains = trains_first;
    t->phase[0].after_step = update_codes;
    t->n_phases = 1;
done:
    return st;
}

static lk_status open_late(training *t, const char *start)
{
    static const char *const only_loss[] = {"loss"};
    lk_status st = LK_OK;
    LK_TRY(lk_codec_load(&t->codec, start, t->config->backend));
    LK_TRY(make_room(t));
    LK_TRY(record_judge(t));
    LK_TRY(record_late(t));
    for (int i = 0; i < 2; i++) {
        t->phase[i] = phase_of(t, t->graph[i], i == 0 ? "d_" : NULL, t->s->adversarial_steps);
        t->phase[i].optim.trains = i == 0 ? trains_judge : trains_decoder;
        t->phase[i].schedule.peak = t->s->adversarial_rate;
        t->phase[i].schedule.floor = fmin(t->s->floor, t->s->adversarial_rate);
    }
    t->phase[0].n_losses = 1;
    t->phase[0].losses = only_loss;
    t->n_phases = 2;
done:
    return st;
}

/* Train, and keep the averaged weights as `path`. */
static lk_status run(training *t, const char *folder, int64_t steps, const char *label,
                     const char *path)
{
    lk_status st = LK_OK;
    lk_text checkpoints = {0};
    lk_codec *codec = NULL;
    char *latest = NULL;
    const lk_train_config c = {
        .folder = folder,
        .params = t->codec->params,
        .n_phases = t->n_phases,
        .phases = t->phase,
        .seed = (uint64_t)t->c->seed,
        .n_steps = steps,
        .n_micro = t->s->micro,
        .batch_samples = (int64_t)t->s->batch * t->s->latents * lk_codec_period(t->c),
        .log_every = t->s->log_every,
        .save_every = t->s->save_every,
        .keep = t->s->keep,
        .resume = t->config->resume,
        .label = label,
        .n_texts = 3 + t->config->n_texts,
        .texts = t->texts,
        .comm = t->config->comm,
    };
    LK_TRY(lk_train(&c, NULL));
    if (lk_comm_rank(t->config->comm) == 0) {
        LK_TRY(lk_text_add(&checkpoints, "%s/checkpoints", folder));
        LK_TRY(lk_checkpoint_latest(checkpoints.at, &latest));
        LK_REQUIRE(latest, LK_E_IO, "'%s' holds no checkpoint", checkpoints.at);
        LK_TRY(lk_codec_load(&codec, latest, NULL));
        LK_TRY(lk_codec_save(codec, path, LK_F32));
    }
done:
    lk_codec_free(&codec);
    lk_free(latest);
    lk_text_free(&checkpoints);
    return st;
}

static lk_status check(const lk_codec_train_config *config)
{
    lk_status st = LK_OK;
    LK_REQUIRE(config->codec && config->settings && config->folder && config->crops, LK_E_ARG,
               "training a codec needs a codec, settings, a folder and a source of crops");
    LK_TRY(lk_codec_check(config->codec));
    LK_TRY(lk_codec_check_settings(config->settings));
done:
    return st;
}

lk_status lk_codec_train(const lk_codec_train_config *config)
{
    lk_status st = LK_OK;
    training first = {.config = config, .c = config->codec, .s = config->settings};
    training late = first;
    lk_text path = {0}, folder = {0};
    int64_t barrier = 0;
    LK_TRY(check(config));
    LK_TRY(lk_text_add(&path, "%s/codec.safetensors", config->folder));
    LK_TRY(lk_text_add(&folder, "%s/adversarial", config->folder));
    LK_TRY(open_first(&first));
    LK_TRY(run(&first, config->folder, config->settings->steps, "codec", path.at));
    if (config->settings->adversarial_steps > 0) {
        close_training(&first);
        first = (training){0};
        LK_TRY(lk_comm_most(config->comm, &barrier)); /* until process 0 has written the file */
        LK_TRY(open_late(&late, path.at));
        LK_TRY(run(&late, folder.at, config->settings->adversarial_steps, "codec, late", path.at));
    }
done:
    close_training(&first);
    close_training(&late);
    lk_text_free(&path);
    lk_text_free(&folder);
    return st;
}
