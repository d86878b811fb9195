/* joint_data.c - see joint_data.h. */
#include "av/joint_data_impl.h"

#include "av/latents.h"
#include "av/tokenize_impl.h"
#include "kernels/file.h"
#include "kernels/mem.h"
#include "kernels/progress.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROMPT_BYTES = 96, EVENT_BYTES = 24, PIECE = 4096 };

void lk_joint_data_close(lk_joint_data **out)
{
    lk_joint_data *d = out ? *out : NULL;
    if (!d)
        return;
    for (int64_t i = 0; d->kept && i < d->n; i++) {
        lk_free(d->kept[i].video);
        lk_free(d->kept[i].audio);
        lk_free(d->kept[i].video_span);
        lk_free(d->kept[i].audio_span);
        lk_free(d->kept[i].stamp);
        lk_free(d->kept[i].events);
        lk_free(d->kept[i].texts);
    }
    lk_free(d->clips);
    lk_free(d->kept);
    lk_free(d->order);
    lk_free(d->events);
    lk_free(d->held);
    lk_free(d->rgb);
    lk_free(d->latent);
    lk_free(d->pcm);
    lk_free(d->numbers);
    lk_vae_encoder_free(&d->video);
    lk_codec_encoder_free(&d->audio);
    lk_vae_free(&d->vae);
    lk_codec_free(&d->codec);
    lk_dataset_close(&d->data);
    lk_embeddings_free(&d->embeddings);
    lk_free(d);
    *out = NULL;
}

/* ---- tokenizers ------------------------------------------------------------------------------ */

static lk_status start_video(lk_joint_data *d)
{
    lk_status st = LK_OK;
    const lk_dataset_format f = lk_dataset_get_format(d->data);
    lk_latents_video *v = &d->video_facts;
    LK_TRY(lk_vae_load(&d->vae, d->c.vae, d->c.backend));
    LK_TRY(lk_file_checksum(d->c.vae, &v->tokenizer));
    LK_TRY(lk_vae_encoder_new(&d->video, d->vae,
                              &(lk_vae_stream_config){.height = f.height, .width = f.width}));
    v->width = f.width;
    v->height = f.height;
    v->rows = lk_vae_encoder_size(d->video).rows;
    v->columns = lk_vae_encoder_size(d->video).columns;
    v->channels = lk_vae_get_shape(d->vae).channels;
    LK_TRY(LK_NEW_ARRAY(&d->rgb, (size_t)f.width * (size_t)f.height * 3));
    LK_TRY(LK_NEW_ARRAY(&d->latent, (int64_t)v->rows * v->columns * v->channels));
done:
    return st;
}

static lk_status start_audio(lk_joint_data *d)
{
    lk_status st = LK_OK;
    const lk_dataset_format f = lk_dataset_get_format(d->data);
    lk_latents_audio *a = &d->audio_facts;
    LK_TRY(lk_codec_load(&d->codec, d->c.codec, d->c.backend));
    LK_TRY(lk_file_checksum(d->c.codec, &a->tokenizer));
    const lk_codec_config *c = lk_codec_get_config(d->codec);
    LK_REQUIRE(c->rate_hz == f.rate_hz && c->channels == f.n_channels, LK_E_ARG,
               "the datasets have %d channels at %d Hz, '%s' wants %d at %d: pack them so",
               f.n_channels, f.rate_hz, d->c.codec, c->channels, c->rate_hz);
    LK_REQUIRE(c->continuous > 0, LK_E_ARG, "'%s' has no continuous latents", d->c.codec);
    *a = (lk_latents_audio){.continuous = c->continuous,
                            .rate_hz = c->rate_hz,
                            .channels = c->channels,
                            .mode = LK_CODEC_CONTINUOUS,
                            .tokenizer = a->tokenizer};
    LK_TRY(lk_codec_encoder_new(&d->audio, d->codec, LK_CODEC_CONTINUOUS, 0));
    LK_TRY(LK_NEW_ARRAY(&d->pcm, (size_t)PIECE * (size_t)c->channels));
    LK_TRY(LK_NEW_ARRAY(&d->numbers, c->continuous));
done:
    return st;
}

/* ---- one clip into its file ------------------------------------------------------------------ */

static lk_status pull_pictures(lk_joint_data *d, lk_latents_writer *w)
{
    lk_status st = LK_OK;
    for (int got = 1; got;) {
        lk_vae_stamp stamp;
        int64_t time[LK_LATENTS_TIMES];
        LK_TRY(lk_vae_encoder_pull(d->video, d->latent, NULL, &stamp, &got));
        if (!got)
            break;
        lk_stamp_to_times(&stamp, time);
        LK_TRY(lk_latents_add_video(w, d->latent, time));
    }
done:
    return st;
}

static lk_status encode_pictures(lk_joint_data *d, int64_t i, lk_latents_writer *w)
{
    lk_status st = LK_OK;
    const int64_t n = lk_dataset_get_clip(d->data, i).n_frames;
    LK_TRY(lk_vae_encoder_reset(d->video));
    for (int64_t k = 0; k < n; k++) {
        lk_span span;
        LK_TRY(lk_dataset_frames(d->data, i, k, 1, d->rgb, &span));
        LK_TRY(lk_vae_encoder_push_u8(d->video, d->rgb, span));
        LK_TRY(pull_pictures(d, w));
    }
    if (n > 0) {
        LK_TRY(lk_vae_encoder_finish(d->video));
        LK_TRY(pull_pictures(d, w));
    }
done:
    return st;
}

static lk_status pull_sounds(lk_joint_data *d, lk_latents_writer *w)
{
    lk_status st = LK_OK;
    while (lk_codec_encoder_ready(d->audio) > 0) {
        lk_span span;
        LK_TRY(lk_codec_encoder_pull(d->audio, 1, NULL, d->numbers, NULL, &span));
        LK_TRY(lk_latents_add_audio(w, 1, NULL, d->numbers, &span));
    }
done:
    return st;
}

static lk_status encode_sound(lk_joint_data *d, int64_t i, lk_latents_writer *w)
{
    lk_status st = LK_OK;
    const lk_dataset_clip clip = lk_dataset_get_clip(d->data, i);
    LK_TRY(lk_codec_encoder_reset(d->audio, clip.audio_start));
    for (int64_t at = 0; at < clip.n_samples; at += PIECE) {
        const int64_t left = clip.n_samples - at, n = left < PIECE ? left : PIECE;
        LK_TRY(lk_dataset_samples(d->data, i, at, n, d->pcm));
        LK_TRY(lk_codec_encoder_push(d->audio, d->pcm, n));
        LK_TRY(pull_sounds(d, w));
    }
    lk_codec_encoder_flush(d->audio);
    LK_TRY(pull_sounds(d, w));
done:
    return st;
}

static lk_status encode_clip(lk_joint_data *d, int64_t i, const char *path)
{
    lk_status st = LK_OK;
    const lk_dataset_clip clip = lk_dataset_get_clip(d->data, i);
    lk_latents_audio a = d->audio_facts;
    lk_latents_writer *w = NULL;
    a.start = clip.audio_start;
    a.n_samples = clip.n_samples;
    LK_TRY(lk_latents_create(&w, path, &d->video_facts, &a, clip.name));
    LK_TRY(encode_pictures(d, i, w));
    LK_TRY(encode_sound(d, i, w));
    LK_TRY(lk_latents_finish(w, &a));
done:
    lk_latents_writer_close(&w);
    return st;
}

/* ---- and out of it --------------------------------------------------------------------------- */

/* Opened when it is there and these tokenizers made it of this clip; else *l stays NULL. */
static void open_cached(const lk_joint_data *d, int64_t i, const char *path, lk_latents **l)
{
    const lk_dataset_clip clip = lk_dataset_get_clip(d->data, i);
    if (access(path, F_OK) != 0)
        return;
    if (lk_latents_open(l, path) != LK_OK) {
        lk_error_clear();
        return;
    }
    if (lk_latents_get_video(*l).tokenizer != d->video_facts.tokenizer ||
        lk_latents_get_audio(*l).tokenizer != d->audio_facts.tokenizer ||
        lk_latents_get_audio(*l).n_samples != clip.n_samples ||
        lk_latents_n_video(*l) != lk_vae_n_latents(lk_vae_get_shape(d->vae).time, clip.n_frames))
        lk_latents_close(l);
}

static lk_status read_latents(lk_joint_data *d, lk_latents *l, int64_t i)
{
    lk_status st = LK_OK;
    lk_joint_kept *k = &d->kept[i];
    const lk_latents_video v = lk_latents_get_video(l);
    const lk_latents_audio a = lk_latents_get_audio(l);
    const int64_t cells = (int64_t)v.rows * v.columns * v.channels;
    const int64_t n = lk_latents_n_video(l), m = lk_latents_n_audio(l);
    LK_TRY(LK_NEW_ARRAY(&k->video, n * cells));
    LK_TRY(LK_NEW_ARRAY(&k->video_span, n));
    LK_TRY(LK_NEW_ARRAY(&k->stamp, n));
    LK_TRY(LK_NEW_ARRAY(&k->audio, m * a.continuous));
    LK_TRY(LK_NEW_ARRAY(&k->audio_span, m));
    for (int64_t j = 0; j < n; j++) {
        int64_t time[LK_LATENTS_TIMES];
        LK_TRY(lk_latents_read_video(l, j, k->video + j * cells, time));
        LK_REQUIRE(lk_stamp_from_times(time, &k->stamp[j]), LK_E_FORMAT,
                   "latent %lld of clip %lld has no times", (long long)j, (long long)i);
        k->video_span[j] = k->stamp[j].span;
    }
    LK_TRY(lk_latents_read_audio(l, 0, m, NULL, k->audio));
    for (int64_t j = 0; j < m; j++)
        k->audio_span[j] = lk_codec_span(lk_codec_get_config(d->codec), a.start, j, a.n_samples);
    d->clips[i] = (lk_joint_clip){.n_latents = (int)n,
                                  .n_sounds = (int)m,
                                  .video_span = k->video_span,
                                  .audio_span = k->audio_span,
                                  .video = k->video,
                                  .audio = k->audio};
done:
    return st;
}

static lk_status read_script(lk_joint_data *d, int64_t i)
{
    lk_status st = LK_OK;
    const lk_dataset_clip clip = lk_dataset_get_clip(d->data, i);
    const lk_dataset_event *from = lk_dataset_events(d->data, i);
    lk_joint_kept *k = &d->kept[i];
    LK_TRY(LK_NEW_ARRAY(&k->events, clip.n_events));
    LK_TRY(LK_NEW_ARRAY(&k->texts, clip.n_events * (EVENT_BYTES + 1)));
    for (int64_t j = 0; j < clip.n_events; j++) {
        char *text = k->texts + j * (EVENT_BYTES + 1);
        snprintf(text, EVENT_BYTES + 1, "%.10s %.13s", from[j].kind, from[j].label);
        k->events[j] = (lk_joint_event){from[j].span, text, from[j].place};
    }
    lk_joint_sort_events(k->events, (int)clip.n_events);
    d->clips[i].events = k->events;
    d->clips[i].n_events = (int)clip.n_events;
    d->clips[i].prompt = clip.caption;
    if (d->embeddings && clip.caption[0])
        LK_TRY(lk_embeddings_find(d->embeddings, clip.caption, &d->clips[i].prompt_vectors,
                                  &d->clips[i].n_prompt_vectors));
    if (clip.n_events > d->most_events)
        d->most_events = (int)clip.n_events;
done:
    return st;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Different texts of all events. */
static lk_status count_texts(lk_joint_data *d)
{
    lk_status st = LK_OK;
    const char **texts = NULL;
    size_t capacity = 0, n = 0;
    for (int64_t i = 0; i < d->n; i++)
        for (int j = 0; j < d->clips[i].n_events; j++) {
            LK_TRY(LK_GROW(&texts, &capacity, n + 1));
            texts[n++] = d->clips[i].events[j].text;
        }
    if (n)
        qsort(texts, n, sizeof *texts, compare_texts);
    for (size_t i = 0; i < n; i++)
        d->sizes.event_texts += i == 0 || strcmp(texts[i], texts[i - 1]) != 0;
done:
    lk_free(texts);
    return st;
}

/* The file of a clip's latents, made where there is none. */
static lk_status open_clip(lk_joint_data *d, int64_t i, char *path, size_t bytes, lk_latents **l)
{
    lk_status st = LK_OK;
    snprintf(path, bytes, "%s/%06lld.h5", d->c.cache, (long long)i);
    open_cached(d, i, path, l);
    if (!*l) {
        LK_TRY(encode_clip(d, i, path));
        LK_TRY(lk_latents_open(l, path));
    }
done:
    return st;
}

static lk_status take_clip(lk_joint_data *d, int64_t i, char *path, size_t bytes)
{
    lk_status st = LK_OK;
    lk_latents *l = NULL;
    LK_TRY(open_clip(d, i, path, bytes, &l));
    LK_TRY(read_latents(d, l, i));
    LK_TRY(read_script(d, i));
done:
    lk_latents_close(&l);
    return st;
}

static lk_status not_stopped(const lk_joint_data *d, int64_t i)
{
    lk_status st = LK_OK;
    LK_REQUIRE(!d->c.stop || !*d->c.stop, LK_E_INTERRUPTED, "stopped at clip %lld of %lld",
               (long long)i, (long long)d->n);
done:
    return st;
}

/* Every n-th clip is this process's to encode; all of them are there when it returns. */
static lk_status encode_share(lk_joint_data *d, lk_progress *bar, char *path, size_t bytes)
{
    lk_status st = LK_OK;
    const int n = lk_comm_n(d->c.comm);
    int64_t all = 0;
    for (int64_t i = lk_comm_rank(d->c.comm); i < d->n; i += n) {
        lk_latents *l = NULL;
        LK_TRY(not_stopped(d, i));
        LK_TRY(open_clip(d, i, path, bytes, &l));
        lk_latents_close(&l);
        lk_progress_set(bar, (double)(i + 1) / (double)d->n);
    }
    LK_TRY(lk_comm_most(d->c.comm, &all));
done:
    return st;
}

static lk_status take_clips(lk_joint_data *d)
{
    lk_status st = LK_OK;
    const size_t bytes = strlen(d->c.cache) + 32;
    lk_progress bar;
    char *path = NULL;
    lk_progress_start(&bar, "latents", 1);
    LK_TRY(LK_NEW_ARRAY(&path, bytes));
    if (lk_comm_n(d->c.comm) > 1)
        LK_TRY(encode_share(d, &bar, path, bytes));
    for (int64_t i = 0; i < d->n; i++) {
        LK_TRY(not_stopped(d, i));
        LK_TRY(take_clip(d, i, path, bytes));
        lk_progress_set(&bar, (double)(i + 1) / (double)d->n);
    }
done:
    lk_progress_end(&bar);
    lk_free(path);
    return st;
}

lk_status lk_joint_data_open(lk_joint_data **out, const lk_joint_data_config *config)
{
    lk_status st = LK_OK;
    lk_joint_data *d = NULL;
    LK_REQUIRE(config->vae && config->codec && config->cache && config->batch > 0, LK_E_ARG,
               "the joint model needs tokenizers: tokenizers.vae=FILE tokenizers.codec=FILE");
    LK_TRY(LK_NEW(&d));
    d->c = *config;
    LK_TRY(lk_dataset_open(&d->data, config->paths, config->n_paths));
    const lk_dataset_format f = lk_dataset_get_format(d->data);
    LK_REQUIRE(f.width > 0 && f.rate_hz > 0, LK_E_ARG,
               "the joint model learns from datasets with pictures and sound");
    if (config->embeddings)
        LK_TRY(lk_embeddings_open(&d->embeddings, config->embeddings));
    LK_TRY(start_video(d));
    LK_TRY(start_audio(d));
    LK_TRY(lk_make_folders(config->cache));
    d->n = lk_dataset_n_clips(d->data);
    d->n = config->n_most > 0 && config->n_most < d->n ? config->n_most : d->n;
    LK_TRY(LK_NEW_ARRAY(&d->clips, d->n));
    LK_TRY(LK_NEW_ARRAY(&d->kept, d->n));
    d->sizes = (lk_joint_sizes){.batch = config->batch,
                                .rows = d->video_facts.rows,
                                .columns = d->video_facts.columns,
                                .prompt_bytes = d->embeddings ? lk_embeddings_most(d->embeddings)
                                                              : PROMPT_BYTES,
                                .event_bytes = EVENT_BYTES};
    LK_TRY(take_clips(d));
    LK_TRY(count_texts(d));
    LK_TRY(lk_joint_data_draw(d, &(lk_joint_draws){0, -1}));
    *out = d;
    d = NULL;
done:
    lk_joint_data_close(&d);
    return st;
}

/* ---- use ------------------------------------------------------------------------------------- */

lk_joint_sizes lk_joint_data_sizes(const lk_joint_data *d)
{
    return d->sizes;
}

const lk_joint_clip *lk_joint_data_clips(const lk_joint_data *d, int64_t *n)
{
    *n = d->n;
    return d->clips;
}

lk_joint_source lk_joint_data_source(const lk_joint_data *d, int64_t i)
{
    const lk_dataset_clip clip = lk_dataset_get_clip(d->data, i);
    return (lk_joint_source){.vae = d->vae,
                             .codec = d->codec,
                             .width = d->video_facts.width,
                             .height = d->video_facts.height,
                             .stamp = d->kept[i].stamp,
                             .audio_start = clip.audio_start,
                             .n_samples = clip.n_samples};
}

int lk_joint_data_text_channels(const lk_joint_data *d)
{
    return d->embeddings ? lk_embeddings_channels(d->embeddings) : 0;
}

int lk_joint_data_channels(const lk_joint_data *d, lk_joint_stream s)
{
    return s == LK_JOINT_VIDEO ? d->video_facts.channels : d->audio_facts.continuous;
}

lk_status lk_joint_data_scale(const lk_joint_data *d, lk_joint *m)
{
    lk_status st = LK_OK;
    float mean[LK_JOINT_MOST_CHANNELS], deviation[LK_JOINT_MOST_CHANNELS];
    const int64_t cells = (int64_t)d->sizes.rows * d->sizes.columns;
    for (int s = 0; s < LK_JOINT_STREAMS; s++) {
        const int channels = lk_joint_data_channels(d, (lk_joint_stream)s);
        for (int k = 0; k < channels; k++) {
            double sum = 0, square = 0;
            int64_t n = 0;
            for (int64_t i = 0; i < d->n; i++) {
                const lk_joint_clip *c = &d->clips[i];
                const float *x = s ? c->audio : c->video;
                const int64_t tokens = s ? c->n_sounds : c->n_latents * cells;
                for (int64_t t = 0; t < tokens; t++, n++) {
                    sum += (double)x[t * channels + k];
                    square += (double)x[t * channels + k] * (double)x[t * channels + k];
                }
            }
            LK_REQUIRE(n > 0, LK_E_EMPTY, "the datasets hold no %s", s ? "sound" : "pictures");
            mean[k] = (float)(sum / (double)n);
            deviation[k] = (float)sqrt(fmax(square / (double)n - pow(sum / (double)n, 2), 1e-8));
        }
        LK_TRY(lk_joint_set_scale(m, (lk_joint_stream)s, mean, deviation));
    }
done:
    return st;
}
