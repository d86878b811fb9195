/* train_run.c - see train_run.h. */
#include "av/train_run.h"

#include "audio_codec/codec.h"
#include "av/config.h"
#include "av/crops.h"
#include "av/joint_data.h"
#include "av/joint_samples.h"
#include "av/version.h"
#include "kernels/device.h"
#include "kernels/file.h"
#include "kernels/mem.h"
#include "kernels/stop.h"
#include "video_vae/vae.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Everything a training is given, whatever it trains. */
typedef struct setup {
    const lk_train_run *run;
    lk_config *config;
    char *path, *yaml; /* RUN/config.yaml, and what it says */
    const char *const *data, *const *validation;
    int64_t n_data, n_validation;
    lk_comm *comm;
    lk_crops *crops;
    const lk_backend *backend;
    int n_texts;
    lk_safetensors_text texts[4];
} setup;

static void clear(setup *s)
{
    lk_crops_free(&s->crops);
    lk_comm_free(&s->comm);
    lk_config_free(&s->config);
    lk_free(s->path);
    lk_free(s->yaml);
}

static lk_status read_settings(setup *s)
{
    lk_status st = LK_OK;
    const lk_train_run *r = s->run;
    const char *from = r->config;
    LK_TRY(LK_NEW_ARRAY(&s->path, strlen(r->folder) + sizeof "/config.yaml"));
    sprintf(s->path, "%s/config.yaml", r->folder);
    if (!from && r->resume && access(s->path, F_OK) == 0)
        from = s->path;
    LK_TRY(lk_config_read(&s->config, from));
    for (int64_t i = 0; i < r->n_settings; i++)
        LK_TRY(lk_config_override(s->config, r->settings[i]));
    LK_TRY(lk_config_texts(s->config, "data", NULL, 0, &s->data, &s->n_data));
    LK_REQUIRE(s->n_data > 0, LK_E_ARG,
               "no datasets: say data: [FILE.h5, ...]; lockstep pack makes them");
    LK_TRY(lk_comm_open(&s->comm, NULL));
done:
    return st;
}

/* A run that is there must have been started with these settings. */
static lk_status compare_settings(const setup *s)
{
    lk_status st = LK_OK;
    lk_config *before = NULL;
    char *yaml = NULL;
    LK_TRY(lk_config_read(&before, s->path));
    LK_TRY(lk_config_to_yaml(before, &yaml));
    LK_REQUIRE(
        strcmp(yaml, s->yaml) == 0, LK_E_ARG,
        "'%s' was started with other settings (its config.yaml); give none to go on with it, "
        "or use another folder",
        s->run->folder);
done:
    lk_config_free(&before);
    lk_free(yaml);
    return st;
}

/* After all settings are read: refuse unknown ones, keep the rest in the folder. */
static lk_status keep_settings(setup *s)
{
    lk_status st = LK_OK;
    LK_TRY(lk_config_check(s->config));
    LK_TRY(lk_config_to_yaml(s->config, &s->yaml));
    if (lk_comm_rank(s->comm) == 0) {
        LK_TRY(lk_make_folders(s->run->folder));
        if (access(s->path, F_OK) == 0) {
            LK_REQUIRE(s->run->resume, LK_E_ARG, "there is a run in '%s'; --resume goes on with it",
                       s->run->folder);
            LK_TRY(compare_settings(s));
        } else {
            LK_TRY(lk_config_write(s->config, s->path));
        }
    }
    s->texts[s->n_texts++] = (lk_safetensors_text){"lockstep.commit", lk_build_commit()};
    s->texts[s->n_texts++] = (lk_safetensors_text){"lockstep.settings", s->yaml};
done:
    return st;
}

/* Several processes train on the CPU. */
static lk_status choose_device(setup *s)
{
    lk_status st = LK_OK;
    const char *name = s->run->device;
    if (lk_comm_n(s->comm) > 1 && (!name || strcmp(name, "auto") == 0))
        name = "cpu";
    LK_TRY(lk_backend_named(name, &s->backend));
    s->texts[s->n_texts++] =
        (lk_safetensors_text){"lockstep.device", lk_backend_device(s->backend)};
    if (lk_comm_rank(s->comm) == 0)
        fprintf(stderr, "device: %s\n", lk_backend_device(s->backend));
done:
    return st;
}

static void say_waiting(const setup *s)
{
    if (lk_comm_rank(s->comm) == 0)
        fprintf(stderr, "%.1f %% of the time was spent waiting for batches\n",
                100 * lk_crops_waiting(s->crops));
}

/* ---- sound ----------------------------------------------------------------------------------- */

static lk_status train_codec(setup *s)
{
    lk_status st = LK_OK;
    lk_codec_config model;
    lk_codec_train_settings train;
    LK_TRY(lk_config_options(s->config, "model", lk_codec_options, &model));
    LK_TRY(lk_config_options(s->config, "train", lk_codec_train_options, &train));
    LK_TRY(keep_settings(s));
    LK_TRY(lk_sound_crops_new(
        &s->crops,
        &(lk_sound_crops_config){.paths = s->data,
                                 .n_paths = s->n_data,
                                 .rate_hz = model.rate_hz,
                                 .channels = model.channels,
                                 .n_crops = train.batch,
                                 .n_samples = (int64_t)train.latents * lk_codec_period(&model),
                                 .n_latents = train.latents,
                                 .event_kind = model.labels > 0 ? "phone" : NULL,
                                 .most_labels = model.labels,
                                 .step = lk_comm_n(s->comm)}));
    s->texts[s->n_texts++] = (lk_safetensors_text){"labels", lk_crops_labels(s->crops)};
    LK_TRY(lk_codec_train(&(lk_codec_train_config){.codec = &model,
                                                   .settings = &train,
                                                   .folder = s->run->folder,
                                                   .backend = s->backend,
                                                   .resume = s->run->resume,
                                                   .crops = lk_sound_crops_fill,
                                                   .user = s->crops,
                                                   .comm = s->comm,
                                                   .n_texts = s->n_texts,
                                                   .texts = s->texts}));
    say_waiting(s);
done:
    return st;
}

/* ---- pictures -------------------------------------------------------------------------------- */

static const lk_option own_rows[] = {
    {"most_stride", LK_OPTION_INT, 0, 2, 1, 16, NULL, NULL, "frames are 1 to this many apart"},
    LK_OPT_END};

static lk_status train_vae(setup *s)
{
    lk_status st = LK_OK;
    lk_vae_train_config c;
    int most_stride = 0;
    memset(&c, 0, sizeof c);
    LK_TRY(lk_config_options(s->config, "model", lk_vae_options, &c.model));
    LK_TRY(lk_config_options(s->config, "train", lk_vae_train_options, &c));
    LK_TRY(lk_config_options(s->config, "crops", own_rows, &most_stride));
    LK_TRY(keep_settings(s));
    LK_TRY(lk_picture_crops_new(&s->crops, &(lk_picture_crops_config){.paths = s->data,
                                                                      .n_paths = s->n_data,
                                                                      .n_crops = c.batch,
                                                                      .n_frames = c.frames,
                                                                      .height = c.height,
                                                                      .width = c.width,
                                                                      .most_stride = most_stride,
                                                                      .step = lk_comm_n(s->comm)}));
    c.folder = s->run->folder;
    c.fill = lk_picture_crops_fill;
    c.backend = s->backend;
    c.user = s->crops;
    c.resume = s->run->resume;
    c.comm = s->comm;
    c.n_texts = s->n_texts;
    c.texts = s->texts;
    LK_TRY(lk_vae_train(&c, NULL));
    say_waiting(s);
done:
    return st;
}

/* ---- both ------------------------------------------------------------------------------------ */

typedef struct tokenizers {
    const char *vae, *codec, *embeddings;
    int batch;
} tokenizers;

static const lk_option tokenizer_rows[] = {
    LK_OPT_TEXT(tokenizers, vae, NULL, "weights of the video tokenizer"),
    LK_OPT_TEXT(tokenizers, codec, NULL, "weights of the audio codec"),
    LK_OPT_TEXT(tokenizers, embeddings, NULL, "captions as vectors that another encoder made"),
    LK_OPT_INT(tokenizers, batch, 8, 1, 4096, "clips at once"), LK_OPT_END};

/* Latents lie in RUN/`folder`. */
static lk_status open_joint_data(setup *s, const tokenizers *t, const char *const *paths,
                                 int64_t n_paths, const char *folder, lk_joint_data **data)
{
    lk_status st = LK_OK;
    char *cache = NULL;
    LK_TRY(LK_NEW_ARRAY(&cache, strlen(s->run->folder) + strlen(folder) + sizeof "/"));
    sprintf(cache, "%s/%s", s->run->folder, folder);
    LK_TRY(lk_joint_data_open(data, &(lk_joint_data_config){.paths = paths,
                                                            .n_paths = n_paths,
                                                            .vae = t->vae,
                                                            .codec = t->codec,
                                                            .backend = s->backend,
                                                            .embeddings = t->embeddings,
                                                            .cache = cache,
                                                            .batch = t->batch,
                                                            .comm = s->comm,
                                                            .stop = lk_stop_flag()}));
done:
    lk_free(cache);
    return st;
}

static lk_status hold_out(setup *s, const tokenizers *t, const lk_joint_sampling *sampling,
                          lk_joint_data **data, lk_joint_samples **samples,
                          lk_joint_train_config *c)
{
    lk_status st = LK_OK;
    char *folder = NULL;
    int64_t n = 0;
    if (s->n_validation == 0)
        return LK_OK;
    LK_TRY(open_joint_data(s, t, s->validation, s->n_validation, "validation", data));
    c->held_out = lk_joint_data_clips(*data, &n);
    LK_REQUIRE(n <= 1 << 20, LK_E_ARG, "%lld clips held out are too many", (long long)n);
    c->n_held_out = (int)n;
    c->held_out_sizes = lk_joint_data_sizes(*data);
    LK_TRY(LK_NEW_ARRAY(&folder, strlen(s->run->folder) + sizeof "/samples"));
    sprintf(folder, "%s/samples", s->run->folder);
    LK_TRY(lk_joint_samples_new(samples, *data, sampling, folder));
    c->show = lk_joint_samples_show;
    c->show_user = *samples;
done:
    lk_free(folder);
    return st;
}

static lk_status train_joint(setup *s)
{
    lk_status st = LK_OK;
    lk_joint_config model;
    lk_joint_train_config c;
    tokenizers t;
    lk_joint_draws draws;
    lk_joint_sampling sampling;
    lk_joint_data *data = NULL, *held_out = NULL;
    lk_joint_samples *samples = NULL;
    lk_joint *m = NULL;
    memset(&c, 0, sizeof c);
    LK_TRY(lk_config_texts(s->config, "validation", NULL, 0, &s->validation, &s->n_validation));
    LK_TRY(lk_config_options(s->config, "tokenizers", tokenizer_rows, &t));
    LK_TRY(lk_config_options(s->config, "model", lk_joint_options, &model));
    LK_TRY(lk_config_options(s->config, "train", lk_joint_train_options, &c));
    LK_TRY(lk_config_options(s->config, "train", lk_joint_draw_options, &draws));
    LK_TRY(lk_config_options(s->config, "samples", lk_joint_sampling_options, &sampling));
    LK_TRY(keep_settings(s));
    lk_stop_on_signals();
    LK_TRY(open_joint_data(s, &t, s->data, s->n_data, "latents", &data));
    LK_TRY(lk_joint_data_draw(data, &draws));
    LK_TRY(hold_out(s, &t, &sampling, &held_out, &samples, &c));
    if (model.video_channels == 0)
        model.video_channels = lk_joint_data_channels(data, LK_JOINT_VIDEO);
    if (model.audio_channels == 0)
        model.audio_channels = lk_joint_data_channels(data, LK_JOINT_AUDIO);
    LK_REQUIRE(
        lk_joint_data_channels(data, LK_JOINT_VIDEO) == model.video_channels &&
            lk_joint_data_channels(data, LK_JOINT_AUDIO) == model.audio_channels,
        LK_E_ARG,
        "the tokenizers' latents have %d and %d channels: say model.video_channels=%d "
        "model.audio_channels=%d",
        lk_joint_data_channels(data, LK_JOINT_VIDEO), lk_joint_data_channels(data, LK_JOINT_AUDIO),
        lk_joint_data_channels(data, LK_JOINT_VIDEO), lk_joint_data_channels(data, LK_JOINT_AUDIO));
    if (model.text_channels == 0)
        model.text_channels = lk_joint_data_text_channels(data);
    LK_REQUIRE(model.text_channels == lk_joint_data_text_channels(data), LK_E_ARG,
               "vectors of captions have %d numbers, model.text_channels is %d",
               lk_joint_data_text_channels(data), model.text_channels);
    LK_TRY(lk_joint_new(&m, &model, s->backend));
    LK_TRY(lk_joint_data_scale(data, m));
    c.model = m;
    c.sizes = lk_joint_data_sizes(data);
    c.folder = s->run->folder;
    c.fill = lk_joint_data_fill;
    c.user = data;
    c.resume = s->run->resume;
    c.comm = s->comm;
    c.n_texts = s->n_texts;
    c.texts = s->texts;
    LK_TRY(lk_joint_train(&c, NULL));
done:
    lk_joint_free(&m);
    lk_joint_samples_free(&samples);
    lk_joint_data_close(&held_out);
    lk_joint_data_close(&data);
    return st;
}

lk_status lk_train_start(const char *what, const lk_train_run *run)
{
    lk_status st = LK_OK;
    setup s = {.run = run};
    lk_status (*const train)(setup *) = strcmp(what, "codec") == 0   ? train_codec
                                        : strcmp(what, "vae") == 0   ? train_vae
                                        : strcmp(what, "joint") == 0 ? train_joint
                                                                     : NULL;
    LK_REQUIRE(train, LK_E_ARG, "'%s' cannot be trained; codec, vae and joint can", what);
    LK_TRY(read_settings(&s));
    LK_TRY(choose_device(&s));
    LK_TRY(train(&s));
done:
    clear(&s);
    return st;
}
