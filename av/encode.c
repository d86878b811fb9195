/* encode.c - see tokenize.h: media to latents. */
#include "av/tokenize.h"

#include "av/latents.h"
#include "av/media.h"
#include "av/sound_in.h"
#include "av/tokenize_impl.h"
#include "kernels/mem.h"
#include "video_vae/vae.h"

#include <math.h>
#include <string.h>

typedef struct encoder {
    const lk_tokenize_options *o;
    const char *in;
    lk_media *media;
    lk_vae *vae;
    lk_codec *codec;
    lk_vae_encoder *video;
    lk_codec_encoder *audio;
    lk_picture_fitter *fitter;
    lk_sound_in *sound;
    lk_latents_writer *writer;
    lk_latents_video video_facts;
    lk_latents_audio audio_facts;
    lk_tokenize_counts count;
    uint8_t *rgb;
    float *latent, *log_var;
    /* room for the sound's latents at hand */
    size_t token_room, number_room, span_room;
    size_t variance_room;
    uint16_t *tokens;
    float *numbers, *variances;
    lk_span *spans;
} encoder;

static double bits_of(const float *mean, const float *log_var, int64_t n)
{
    double nats = 0;
    for (int64_t i = 0; i < n; i++)
        nats += 0.5 * ((double)mean[i] * mean[i] + exp(log_var[i]) - 1 - log_var[i]);
    return nats / log(2);
}

/* ---- pictures -------------------------------------------------------------------------------- */

static lk_status start_video(encoder *e)
{
    lk_status st = LK_OK;
    const lk_media_info *info = lk_media_get_info(e->media);
    const lk_rational sar = info->video.sar;
    lk_latents_video *v = &e->video_facts;
    LK_TRY(lk_vae_load(&e->vae, e->o->vae, e->o->backend));
    LK_TRY(lk_file_checksum(e->o->vae, &v->tokenizer));
    v->width = e->o->width;
    v->height = e->o->height;
    if (v->width == 0) { /* as a person sees them */
        const double aspect = sar.num > 0 && sar.den > 0 ? (double)sar.num / (double)sar.den : 1;
        v->width = (int)(info->video.width * aspect + 0.5);
        v->height = info->video.height;
    }
    LK_TRY(lk_vae_encoder_new(
        &e->video, e->vae,
        &(lk_vae_stream_config){.height = v->height, .width = v->width, .compute = e->o->compute}));
    v->rows = lk_vae_encoder_size(e->video).rows;
    v->columns = lk_vae_encoder_size(e->video).columns;
    v->channels = lk_vae_get_shape(e->vae).channels;
    LK_TRY(LK_NEW_ARRAY(&e->rgb, (size_t)v->width * (size_t)v->height * 3));
    LK_TRY(LK_NEW_ARRAY(&e->latent, v->rows * v->columns * v->channels));
    LK_TRY(LK_NEW_ARRAY(&e->log_var, v->rows * v->columns * v->channels));
done:
    return st;
}

static lk_status pull_video(encoder *e)
{
    lk_status st = LK_OK;
    const lk_latents_video *v = &e->video_facts;
    for (int got = 1; got;) {
        lk_vae_stamp stamp;
        int64_t time[LK_LATENTS_TIMES] = {0};
        LK_TRY(lk_vae_encoder_pull(e->video, e->latent, e->log_var, &stamp, &got));
        if (!got)
            break;
        e->count.video_bits +=
            bits_of(e->latent, e->log_var, (int64_t)v->rows * v->columns * v->channels);
        lk_stamp_to_times(&stamp, time);
        LK_TRY(lk_latents_add_video(e->writer, e->latent, time));
        e->count.n_video_latents++;
    }
done:
    return st;
}

static lk_status take_frame(encoder *e, const lk_frame_view *v)
{
    lk_status st = LK_OK;
    LK_TRY(lk_picture_fit(&e->fitter, v, e->video_facts.width, e->video_facts.height, e->rgb));
    LK_TRY(lk_vae_encoder_push_u8(e->video, e->rgb, v->span));
    e->count.n_frames++;
    LK_TRY(pull_video(e));
done:
    return st;
}

/* ---- sound ----------------------------------------------------------------------------------- */

static lk_status start_audio(encoder *e)
{
    lk_status st = LK_OK;
    lk_latents_audio *a = &e->audio_facts;
    LK_TRY(lk_codec_load(&e->codec, e->o->codec, e->o->backend));
    LK_TRY(lk_file_checksum(e->o->codec, &a->tokenizer));
    const lk_codec_config *c = lk_codec_get_config(e->codec);
    a->mode = e->o->mode ? (int)e->o->mode : LK_CODEC_BOTH;
    a->stages = a->mode & LK_CODEC_TOKENS ? c->stages : 0;
    a->continuous = a->mode & LK_CODEC_CONTINUOUS ? c->continuous : 0;
    a->rate_hz = c->rate_hz;
    a->channels = c->channels;
    LK_TRY(lk_sound_in_new(&e->sound, c->rate_hz, c->channels));
done:
    return st;
}

static lk_status pull_audio(encoder *e)
{
    lk_status st = LK_OK;
    const int64_t n = lk_codec_encoder_ready(e->audio);
    const lk_latents_audio *a = &e->audio_facts;
    if (n == 0)
        goto done;
    LK_TRY(LK_GROW(&e->tokens, &e->token_room, (size_t)(n * a->stages) + 1));
    LK_TRY(LK_GROW(&e->numbers, &e->number_room, (size_t)(n * a->continuous) + 1));
    LK_TRY(LK_GROW(&e->variances, &e->variance_room, (size_t)(n * a->continuous) + 1));
    LK_TRY(LK_GROW(&e->spans, &e->span_room, (size_t)n));
    LK_TRY(lk_codec_encoder_pull(e->audio, n, a->stages ? e->tokens : NULL,
                                 a->continuous ? e->numbers : NULL,
                                 a->continuous ? e->variances : NULL, e->spans));
    e->count.audio_bits += bits_of(e->numbers, e->variances, n * a->continuous);
    LK_TRY(lk_latents_add_audio(e->writer, n, e->tokens, e->numbers, e->spans));
    e->count.n_audio_latents += n;
done:
    return st;
}

static lk_status take_sound(encoder *e, const float *samples, int64_t n)
{
    lk_status st = LK_OK;
    if (!e->audio) {
        e->audio_facts.start = lk_sound_in_start(e->sound);
        LK_TRY(lk_codec_encoder_new(&e->audio, e->codec, (lk_codec_mode)e->audio_facts.mode,
                                    e->audio_facts.start));
    }
    LK_TRY(lk_codec_encoder_push(e->audio, samples, n));
    e->count.n_samples += n;
    LK_TRY(pull_audio(e));
done:
    return st;
}

/* ---- both ------------------------------------------------------------------------------------ */

static lk_status open_media(encoder *e)
{
    lk_status st = LK_OK;
    const lk_tokenize_options *o = e->o;
    LK_TRY(lk_media_open(&e->media, e->in,
                         &(lk_media_options){.no_video = !o->vae,
                                             .no_audio = !o->codec,
                                             .want_rgb = o->vae != NULL}));
    const lk_media_info *info = lk_media_get_info(e->media);
    LK_REQUIRE((o->vae && info->video.present) || (o->codec && info->audio.present), LK_E_FORMAT,
               "'%s' has nothing that the given tokenizers take", e->in);
    if (o->vae && info->video.present)
        LK_TRY(start_video(e));
    if (o->codec && info->audio.present)
        LK_TRY(start_audio(e));
done:
    return st;
}

static lk_status run_media(encoder *e)
{
    lk_status st = LK_OK;
    const float *sound = NULL;
    int64_t n = 0;
    for (;;) {
        lk_media_item item;
        LK_REQUIRE(!e->o->stop || !*e->o->stop, LK_E_INTERRUPTED, "stopped in '%s'", e->in);
        LK_TRY(lk_media_next(e->media, &item));
        if (item.kind == LK_MEDIA_END)
            break;
        if (item.kind == LK_MEDIA_FRAME) {
            LK_TRY(take_frame(e, &item.frame));
        } else {
            LK_TRY(lk_sound_in_push(e->sound, &item.pcm, &sound, &n));
            LK_TRY(take_sound(e, sound, n));
        }
        if (e->o->progress)
            e->o->progress(e->o->user, lk_media_progress(e->media));
    }
    if (e->sound && lk_sound_in_start(e->sound) != LK_FLICK_NONE) {
        LK_TRY(lk_sound_in_flush(e->sound, &sound, &n));
        LK_TRY(take_sound(e, sound, n));
        lk_codec_encoder_flush(e->audio);
        LK_TRY(pull_audio(e));
    }
    if (e->count.n_frames > 0) {
        LK_TRY(lk_vae_encoder_finish(e->video));
        LK_TRY(pull_video(e));
    }
    LK_REQUIRE(e->count.n_frames + e->count.n_samples > 0, LK_E_FORMAT,
               "nothing of '%s' could be decoded", e->in);
done:
    return st;
}

lk_status lk_encode(const char *in, const char *out, const lk_tokenize_options *o,
                    lk_tokenize_counts *counts)
{
    lk_status st = LK_OK;
    encoder e = {.o = o, .in = in};
    LK_REQUIRE(o->vae || o->codec, LK_E_ARG, "no tokenizer given");
    LK_TRY(open_media(&e));
    LK_TRY(lk_latents_create(&e.writer, out, &e.video_facts, &e.audio_facts, in));
    LK_TRY(run_media(&e));
    e.audio_facts.n_samples = e.count.n_samples;
    LK_TRY(lk_latents_finish(e.writer, &e.audio_facts));
    if (counts)
        *counts = e.count;
done:
    lk_latents_writer_close(&e.writer);
    lk_vae_encoder_free(&e.video);
    lk_codec_encoder_free(&e.audio);
    lk_vae_free(&e.vae);
    lk_codec_free(&e.codec);
    lk_picture_fitter_free(&e.fitter);
    lk_sound_in_free(&e.sound);
    lk_media_close(&e.media);
    lk_free(e.rgb);
    lk_free(e.latent);
    lk_free(e.tokens);
    lk_free(e.numbers);
    lk_free(e.variances);
    lk_free(e.log_var);
    lk_free(e.spans);
    return st;
}
