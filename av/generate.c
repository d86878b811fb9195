/* generate.c - see generate.h. */
#include "av/generate_impl.h"

#include "av/json.h"
#include "av/latents.h"
#include "av/media.h"
#include "av/tokenize.h"
#include "av/tokenize_impl.h"
#include "av/version.h"
#include "kernels/device.h"
#include "kernels/mem.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void clear(lk_making *m)
{
    lk_joint_free(&m->model);
    lk_vae_free(&m->vae);
    lk_codec_free(&m->codec);
    lk_embeddings_free(&m->embeddings);
    lk_given_clear(&m->given);
    lk_free(m->frames);
    lk_free(m->video_span);
    lk_free(m->audio_span);
    lk_free(m->video);
    lk_free(m->audio);
    lk_free(m->video_held);
    lk_free(m->audio_held);
    lk_free(m->script);
    lk_free(m->texts);
    lk_free(m->events);
}

static lk_status load(lk_making *m)
{
    lk_status st = LK_OK;
    const lk_generate_options *o = m->o;
    LK_REQUIRE(o->model && o->vae && o->codec, LK_E_ARG, "a clip needs --model, --vae and --codec");
    LK_TRY(lk_joint_load(&m->model, o->model, o->backend));
    LK_TRY(lk_vae_load(&m->vae, o->vae, o->backend));
    LK_TRY(lk_codec_load(&m->codec, o->codec, o->backend));
    LK_TRY(lk_file_checksum(o->model, &m->checksum[0]));
    LK_TRY(lk_file_checksum(o->vae, &m->checksum[1]));
    LK_TRY(lk_file_checksum(o->codec, &m->checksum[2]));
    const lk_joint_config *c = lk_joint_get_config(m->model);
    const int video = lk_vae_get_shape(m->vae).channels, space = lk_vae_get_shape(m->vae).space;
    const int audio = lk_codec_get_config(m->codec)->continuous;
    LK_REQUIRE(c->video_channels == video && c->audio_channels == audio, LK_E_ARG,
               "'%s' makes latents of %d and %d channels, the tokenizers have %d and %d", o->model,
               c->video_channels, c->audio_channels, video, audio);
    if (o->embeddings)
        LK_TRY(lk_embeddings_open(&m->embeddings, o->embeddings));
    const int text = m->embeddings ? lk_embeddings_channels(m->embeddings) : 0;
    LK_REQUIRE(c->text_channels == text, LK_E_ARG,
               "'%s' takes prompts as vectors of %d numbers (0: as bytes), --embeddings has %d",
               o->model, c->text_channels, text);
    if (text && o->prompt && o->prompt[0])
        LK_TRY(
            lk_embeddings_find(m->embeddings, o->prompt, &m->prompt_vectors, &m->n_prompt_vectors));
    m->rows = (o->height + space - 1) / space;
    m->columns = (o->width + space - 1) / space;
done:
    return st;
}

/* ---- where everything is in time ------------------------------------------------------------- */

static lk_status place_pictures(lk_making *m)
{
    lk_status st = LK_OK;
    const int time = lk_vae_get_shape(m->vae).time;
    LK_TRY(lk_given_frames(m));
    m->n_latents = (int)lk_vae_n_latents(time, m->n_frames);
    LK_TRY(LK_NEW_ARRAY(&m->video_span, m->n_latents));
    LK_TRY(LK_NEW_ARRAY(&m->video_held, m->n_latents));
    LK_TRY(LK_NEW_ARRAY(&m->video, m->n_latents * lk_making_cells(m)));
    for (int i = 0; i < m->n_latents; i++) {
        lk_vae_stamp stamp;
        LK_TRY(lk_vae_stamp_of(time, m->n_frames, m->frames, i, &stamp));
        m->video_span[i] = stamp.span;
    }
done:
    return st;
}

/* Sound that is made ends with the picture. */
static lk_status place_sound(lk_making *m)
{
    lk_status st = LK_OK;
    const lk_codec_config *c = lk_codec_get_config(m->codec);
    const int given = m->given.n_sounds > 0;
    m->start = given ? m->given.start : m->frames[0].start;
    m->n_samples =
        given && !m->o->extend
            ? m->given.n_samples
            : lk_samples_from_flick(m->frames[m->n_frames - 1].end - m->start, c->rate_hz);
    LK_REQUIRE(m->n_samples > 0, LK_E_ARG, "the sound of '%s' begins after its picture has ended",
               m->o->extend);
    m->n_sounds = (int)lk_codec_latents(c, m->n_samples);
    LK_TRY(LK_NEW_ARRAY(&m->audio_span, m->n_sounds));
    LK_TRY(LK_NEW_ARRAY(&m->audio_held, m->n_sounds));
    LK_TRY(LK_NEW_ARRAY(&m->audio, (int64_t)m->n_sounds * c->continuous));
    for (int i = 0; i < m->n_sounds; i++)
        m->audio_span[i] = lk_codec_span(c, m->start, i, m->n_samples);
done:
    return st;
}

static lk_status place_words(lk_making *m)
{
    lk_status st = LK_OK;
    if (m->o->script) {
        LK_TRY(lk_script_read(m->o->script, &m->script));
        LK_TRY(lk_script_parse(m->script, m->o->script, m->frames[m->n_frames - 1].end, &m->events,
                               &m->n_events, &m->texts));
    }
done:
    return st;
}

/* ---- files ----------------------------------------------------------------------------------- */

/* What cannot be written shall be known before anything is made. */
static lk_status try_output(const lk_making *m)
{
    lk_status st = LK_OK;
    const lk_codec_config *c = lk_codec_get_config(m->codec);
    lk_writer *w = NULL;
    LK_TRY(lk_writer_open(&w, m->o->out,
                          &(lk_writer_options){.width = m->o->width,
                                               .height = m->o->height,
                                               .rate = m->rate,
                                               .vfr = m->vfr,
                                               .rate_hz = c->rate_hz,
                                               .n_channels = c->channels}));
done:
    lk_writer_close(&w);
    return st;
}

static lk_status write_latents(const lk_making *m, const char *path)
{
    lk_status st = LK_OK;
    const lk_vae_shape s = lk_vae_get_shape(m->vae);
    const lk_codec_config *c = lk_codec_get_config(m->codec);
    const lk_latents_video v = {m->rows,     m->columns,   s.channels,
                                m->o->width, m->o->height, m->checksum[1]};
    const lk_latents_audio a = {.continuous = c->continuous,
                                .rate_hz = c->rate_hz,
                                .channels = c->channels,
                                .mode = LK_CODEC_CONTINUOUS,
                                .start = m->start,
                                .n_samples = m->n_samples,
                                .tokenizer = m->checksum[2]};
    const int64_t cells = lk_making_cells(m);
    lk_latents_writer *w = NULL;
    LK_TRY(lk_latents_create(&w, path, &v, &a, m->o->out));
    for (int i = 0; i < m->n_latents; i++) {
        lk_vae_stamp stamp;
        int64_t time[LK_LATENTS_TIMES];
        LK_TRY(lk_vae_stamp_of(s.time, m->n_frames, m->frames, i, &stamp));
        lk_stamp_to_times(&stamp, time);
        LK_TRY(lk_latents_add_video(w, m->video + i * cells, time));
    }
    LK_TRY(lk_latents_add_audio(w, m->n_sounds, NULL, m->audio, m->audio_span));
    LK_TRY(lk_latents_finish(w, &a));
done:
    lk_latents_writer_close(&w);
    return st;
}

/* ---- what decides about it ------------------------------------------------------------------- */

static lk_status add_checksum(json_t *o, const char *key, uint64_t checksum)
{
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)checksum);
    return lk_json_set(o, key, json_string(text));
}

static lk_status add_text(json_t *o, const char *key, const char *text)
{
    return lk_json_set(o, key, text ? lk_json_text(text) : json_null());
}

static lk_status add_given(const lk_making *m, json_t *o)
{
    lk_status st = LK_OK;
    const lk_generate_options *g = m->o;
    LK_TRY(add_text(o, "image", g->image));
    LK_TRY(add_text(o, "audio", g->audio));
    LK_TRY(add_text(o, "video", g->video));
    LK_TRY(add_text(o, "extend", g->extend));
    LK_TRY(add_text(o, "retake", g->retake));
    if (g->retake) {
        LK_TRY(lk_json_set(o, "retake_from_s", lk_json_seconds(m->range.start)));
        LK_TRY(lk_json_set(o, "retake_to_s", lk_json_seconds(m->range.end)));
        LK_TRY(add_text(o, "retake_only", g->only));
    }
    LK_TRY(lk_json_set(o, "video_latents", json_integer(m->n_latents)));
    LK_TRY(lk_json_set(o, "video_latents_held", json_integer(m->n_held[0])));
    LK_TRY(lk_json_set(o, "audio_latents", json_integer(m->n_sounds)));
    LK_TRY(lk_json_set(o, "audio_latents_held", json_integer(m->n_held[1])));
    LK_TRY(add_text(o, "pictures_of", lk_given_pictures(m)));
    LK_TRY(add_text(o, "sound_of", lk_given_sound(m)));
    LK_TRY(lk_json_set(o, "window_s", lk_json_real(g->window)));
    LK_TRY(lk_json_set(o, "context_s", lk_json_real(lk_flick_to_s(lk_make_context(g)))));
    LK_TRY(lk_json_set(o, "windows", json_integer(m->n_windows)));
done:
    return st;
}

static lk_status add_settings(const lk_making *m, json_t *o)
{
    static const char *const files[] = {"model_xxh64", "vae_xxh64", "codec_xxh64"};
    lk_status st = LK_OK;
    const lk_generate_options *g = m->o;
    LK_TRY(lk_json_set(o, "clip", lk_json_text(g->out)));
    LK_TRY(lk_json_set(o, "prompt", g->prompt ? lk_json_text(g->prompt) : json_null()));
    LK_TRY(lk_json_set(o, "script", m->script ? lk_json_text(m->script) : json_null()));
    LK_TRY(add_given(m, o));
    LK_TRY(lk_json_set(o, "frames", json_integer(m->n_frames)));
    LK_TRY(lk_json_set(o, "samples", json_integer(m->n_samples)));
    LK_TRY(lk_json_set(o, "fps_num", json_integer(m->rate.num)));
    LK_TRY(lk_json_set(o, "fps_den", json_integer(m->rate.den)));
    LK_TRY(lk_json_set(o, "width", json_integer(g->width)));
    LK_TRY(lk_json_set(o, "height", json_integer(g->height)));
    for (const lk_option *row = lk_joint_sampling_options; row->name; row++) {
        char text[64];
        lk_option_print(row, &g->sampling, text, sizeof text);
        LK_TRY(lk_json_set(o, row->name, json_string(text)));
    }
    for (int i = 0; i < 3; i++)
        LK_TRY(add_checksum(o, files[i], m->checksum[i]));
    LK_TRY(lk_json_set(o, "device", lk_json_text(lk_backend_device(g->backend))));
    LK_TRY(lk_json_set(o, "commit", json_string(lk_build_commit())));
done:
    return st;
}

static lk_status write_settings(const lk_making *m)
{
    lk_status st = LK_OK;
    const char *out = m->o->out, *slash = strrchr(out, '/'), *dot = strrchr(out, '.');
    const int stem = dot && (!slash || dot > slash) ? (int)(dot - out) : (int)strlen(out);
    char *path = NULL;
    json_t *o = json_object();
    LK_REQUIRE(o, LK_E_MEMORY, "out of memory");
    LK_TRY(add_settings(m, o));
    LK_TRY(LK_NEW_ARRAY(&path, strlen(out) + sizeof ".json"));
    sprintf(path, "%.*s.json", stem, out);
    LK_REQUIRE(json_dump_file(o, path, JSON_INDENT(2)) == 0, LK_E_IO, "cannot write '%s'", path);
done:
    json_decref(o);
    lk_free(path);
    return st;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static lk_status check_options(const lk_generate_options *o)
{
    lk_status st = LK_OK;
    const int clips = !!o->audio + !!o->video + !!o->extend + !!o->retake;
    LK_REQUIRE(o->out && o->seconds >= 0.04 && o->seconds <= 600 && o->width > 0 && o->height > 0 &&
                   o->fps.num > 0 && o->fps.den > 0,
               LK_E_ARG, "a clip is 0.04 to 600 s long and has a size and a rate");
    LK_REQUIRE(!o->audio || !o->video, LK_E_ARG,
               "give a sound or a picture, not both: nothing would be left to make");
    LK_REQUIRE(clips <= 1 && (!o->image || clips == 0 || o->audio), LK_E_ARG,
               "give one of --audio, --video, --extend and --retake, or --image, which goes with "
               "--audio too");
    LK_REQUIRE(o->retake ? o->only && o->from >= 0 && o->to >= 0 : o->from == 0 && o->to == 0,
               LK_E_ARG, "--from and --to are of a clip that --retake names");
    LK_REQUIRE(o->window >= 0 && o->context >= 0 && (o->window > 0 || o->context == 0), LK_E_ARG,
               "--context is of a --window, and neither is negative");
done:
    return st;
}

static lk_status write_clip(const lk_making *m)
{
    lk_status st = LK_OK;
    const lk_generate_options *o = m->o;
    char *path = NULL;
    LK_TRY(LK_NEW_ARRAY(&path, strlen(o->out) + sizeof ".latents.h5"));
    sprintf(path, "%s.latents.h5", o->out);
    LK_TRY(write_latents(m, o->latents ? o->latents : path));
    LK_TRY(lk_decode(o->latents ? o->latents : path, o->out,
                     &(lk_tokenize_options){.vae = o->vae,
                                            .codec = o->codec,
                                            .backend = o->backend,
                                            .pictures_of = lk_given_pictures(m),
                                            .sound_of = lk_given_sound(m),
                                            .stop = o->stop},
                     NULL));
done:
    if (path)
        (void)unlink(path);
    lk_free(path);
    return st;
}

lk_status lk_generate(const lk_generate_options *o)
{
    lk_status st = LK_OK;
    lk_making m = {.o = o};
    LK_TRY(check_options(o));
    LK_TRY(load(&m));
    LK_TRY(lk_given_read(&m));
    LK_TRY(place_pictures(&m));
    LK_TRY(place_sound(&m));
    LK_TRY(place_words(&m));
    LK_TRY(lk_given_hold(&m));
    LK_TRY(try_output(&m));
    LK_TRY(lk_make_latents(&m));
    LK_TRY(write_clip(&m));
    LK_TRY(write_settings(&m));
done:
    clear(&m);
    return st;
}
