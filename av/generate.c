/* generate.c - see generate.h. */
#include "av/generate.h"

#include "audio_codec/codec.h"
#include "av/json.h"
#include "av/latents.h"
#include "av/tokenize.h"
#include "av/tokenize_impl.h"
#include "av/version.h"
#include "kernels/mem.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROMPT_BYTES = 256, EVENT_BYTES = 48, SCRIPT_BYTES = 1 << 20 };

/* ---- scripts --------------------------------------------------------------------------------- */

static int earlier(const void *a, const void *b)
{
    const lk_joint_event *x = a, *y = b;
    if (x->span.start != y->span.start)
        return x->span.start < y->span.start ? -1 : 1;
    return (x->span.end > y->span.end) - (x->span.end < y->span.end);
}

/* "FROM[-TO] s TEXT" */
static int parse_line(char *line, lk_joint_event *e)
{
    char *at = NULL;
    double from = strtod(line, &at), to = from;
    if (at == line)
        return 0;
    if (*at == '-') {
        line = at + 1;
        to = strtod(line, &at);
        if (at == line)
            return 0;
    }
    at += strspn(at, " \t");
    if (*at != 's' || (at[1] != ' ' && at[1] != '\t'))
        return 0;
    at += 1 + strspn(at + 1, " \t");
    *e = (lk_joint_event){{lk_flick_from_s(from), lk_flick_from_s(to)}, at};
    return *at != '\0' && isfinite(from) && isfinite(to) && from >= 0 && to >= from;
}

lk_status lk_script_parse(const char *text, const char *name, lk_flick end, lk_joint_event **events,
                          int *n_events, char **texts)
{
    lk_status st = LK_OK;
    size_t capacity = 0;
    int line_number = 0;
    *n_events = 0;
    *events = NULL;
    LK_TRY(lk_strdup(text, texts));
    for (char *line = *texts, *next; line; line = next) {
        lk_joint_event e;
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        line_number++;
        line += strspn(line, " \t");
        line[strcspn(line, "\r")] = '\0';
        if (*line == '\0' || *line == '#')
            continue;
        LK_REQUIRE(parse_line(line, &e), LK_E_FORMAT,
                   "%s, line %d: say '0.50 s bounce metal' or '1.20-1.62 s say ba'", name,
                   line_number);
        LK_REQUIRE(e.span.end < end, LK_E_ARG,
                   "%s, line %d: the event at %g s is outside the clip of %g s", name, line_number,
                   lk_flick_to_s(e.span.start), lk_flick_to_s(end));
        LK_TRY(LK_GROW(events, &capacity, *n_events + 1));
        (*events)[(*n_events)++] = e;
    }
    if (*n_events)
        qsort(*events, (size_t)*n_events, sizeof **events, earlier);
done:
    if (st != LK_OK) {
        lk_free(*events);
        lk_free(*texts);
        *events = NULL;
        *texts = NULL;
    }
    return st;
}

static lk_status read_text(const char *path, char **text)
{
    lk_status st = LK_OK;
    FILE *f = fopen(path, "rb");
    size_t n;
    LK_REQUIRE(f, LK_E_IO, "cannot read '%s': %s", path, strerror(errno));
    LK_TRY(LK_NEW_ARRAY(text, SCRIPT_BYTES + 1));
    n = fread(*text, 1, SCRIPT_BYTES + 1, f);
    LK_REQUIRE(!ferror(f) && n <= SCRIPT_BYTES, LK_E_FORMAT, "'%s' is no script: it is too long",
               path);
    (*text)[n] = '\0';
done:
    if (f)
        fclose(f);
    return st;
}

/* ---- a clip ---------------------------------------------------------------------------------- */

typedef struct maker {
    const lk_generate_options *o;
    lk_joint *model;
    lk_vae *vae;
    lk_codec *codec;
    uint64_t checksum[3]; /* model, vae, codec */
    lk_joint_sizes sizes;
    lk_joint_clip clip;
    int64_t n_frames, n_samples;
    lk_flick start;
    float *given; /* latents of what is given, all held */
    uint8_t *held;
    lk_span *frames, *video_span, *audio_span;
    lk_joint_event *events;
    char *script, *texts, *path;
    float *video, *audio;
} maker;

static void clear(maker *m)
{
    lk_joint_free(&m->model);
    lk_vae_free(&m->vae);
    lk_codec_free(&m->codec);
    lk_free(m->given);
    lk_free(m->held);
    lk_free(m->frames);
    lk_free(m->video_span);
    lk_free(m->audio_span);
    lk_free(m->events);
    lk_free(m->script);
    lk_free(m->texts);
    lk_free(m->path);
    lk_free(m->video);
    lk_free(m->audio);
}

static lk_status load(maker *m)
{
    lk_status st = LK_OK;
    const lk_generate_options *o = m->o;
    LK_REQUIRE(o->model && o->vae && o->codec, LK_E_ARG, "a clip needs --model, --vae and --codec");
    LK_TRY(lk_joint_load(&m->model, o->model, NULL));
    LK_TRY(lk_vae_load(&m->vae, o->vae, NULL));
    LK_TRY(lk_codec_load(&m->codec, o->codec));
    LK_TRY(lk_file_checksum(o->model, &m->checksum[0]));
    LK_TRY(lk_file_checksum(o->vae, &m->checksum[1]));
    LK_TRY(lk_file_checksum(o->codec, &m->checksum[2]));
    const lk_joint_config *c = lk_joint_get_config(m->model);
    const int video = lk_vae_get_shape(m->vae).channels;
    const int audio = lk_codec_get_config(m->codec)->continuous;
    LK_REQUIRE(c->video_channels == video && c->audio_channels == audio, LK_E_ARG,
               "'%s' makes latents of %d and %d channels, the tokenizers have %d and %d", o->model,
               c->video_channels, c->audio_channels, video, audio);
done:
    return st;
}

/* ---- what is given --------------------------------------------------------------------------- */

/* Its latents, through a file that has no name any more. */
static lk_status encode_given(const maker *m, lk_latents **l)
{
    lk_status st = LK_OK;
    const lk_generate_options *o = m->o;
    char *path = NULL;
    LK_TRY(LK_NEW_ARRAY(&path, strlen(o->out) + sizeof ".given.h5"));
    sprintf(path, "%s.given.h5", o->out);
    LK_TRY(lk_encode(o->video ? o->video : o->audio, path,
                     &(lk_tokenize_options){.vae = o->video ? o->vae : NULL,
                                            .codec = o->audio ? o->codec : NULL,
                                            .width = o->width,
                                            .height = o->height,
                                            .mode = LK_CODEC_CONTINUOUS,
                                            .stop = o->stop},
                     NULL));
    LK_TRY(lk_latents_open(l, path));
done:
    if (path)
        (void)unlink(path);
    lk_free(path);
    return st;
}

static lk_status hold(maker *m, int64_t n, int64_t numbers)
{
    lk_status st = LK_OK;
    LK_REQUIRE(n > 0 && n <= 16384, LK_E_ARG, "'%s' has %lld latents; 1 to 16384 can be given",
               m->o->video ? m->o->video : m->o->audio, (long long)n);
    LK_TRY(LK_NEW_ARRAY(&m->given, n * numbers));
    LK_TRY(LK_NEW_ARRAY(&m->held, n));
    memset(m->held, 1, (size_t)n);
done:
    return st;
}

static lk_status take_pictures(maker *m)
{
    lk_status st = LK_OK;
    lk_latents *l = NULL;
    LK_TRY(encode_given(m, &l));
    const lk_latents_video v = lk_latents_get_video(l);
    const int64_t n = lk_latents_n_video(l), cells = (int64_t)v.rows * v.columns * v.channels;
    LK_TRY(hold(m, n, cells));
    LK_TRY(LK_NEW_ARRAY(&m->frames, n * LK_VAE_MOST_TIME));
    for (int64_t i = 0; i < n; i++) {
        int64_t time[LK_LATENTS_TIMES];
        lk_vae_stamp stamp;
        LK_TRY(lk_latents_read_video(l, i, m->given + i * cells, time));
        LK_REQUIRE(lk_stamp_from_times(time, &stamp), LK_E_INTERNAL, "a latent has no times");
        for (int k = 0; k < stamp.n_frames; k++)
            m->frames[m->n_frames++] = stamp.frame[k];
    }
    m->start = m->frames[0].start;
    m->clip.video = m->given;
    m->clip.video_held = m->held;
done:
    lk_latents_close(&l);
    return st;
}

static lk_status take_sound(maker *m)
{
    lk_status st = LK_OK;
    lk_latents *l = NULL;
    LK_TRY(encode_given(m, &l));
    const lk_latents_audio a = lk_latents_get_audio(l);
    LK_TRY(hold(m, lk_latents_n_audio(l), a.continuous));
    LK_TRY(lk_latents_read_audio(l, 0, lk_latents_n_audio(l), NULL, m->given));
    m->start = a.start;
    m->n_samples = a.n_samples;
    m->clip.audio = m->given;
    m->clip.audio_held = m->held;
done:
    lk_latents_close(&l);
    return st;
}

/* ---- where everything is in time ------------------------------------------------------------- */

/* As long as the sound where that is given, at a constant rate. */
static lk_status make_frames(maker *m)
{
    lk_status st = LK_OK;
    const lk_rational fps = m->o->fps;
    const double seconds =
        m->held ? (double)m->n_samples / lk_codec_get_config(m->codec)->rate_hz : m->o->seconds;
    m->n_frames = llround(seconds * (double)fps.num / (double)fps.den);
    m->n_frames = m->n_frames > 0 ? m->n_frames : 1;
    LK_TRY(LK_NEW_ARRAY(&m->frames, m->n_frames));
    for (int64_t i = 0; i < m->n_frames; i++) {
        LK_TRY(lk_flick_from_ticks(i, fps, &m->frames[i].start));
        LK_TRY(lk_flick_from_ticks(i + 1, fps, &m->frames[i].end));
        m->frames[i].start += m->start;
        m->frames[i].end += m->start;
    }
done:
    return st;
}

static lk_status place_pictures(maker *m)
{
    lk_status st = LK_OK;
    const lk_vae_shape s = lk_vae_get_shape(m->vae);
    LK_TRY(m->o->video ? take_pictures(m) : make_frames(m));
    m->sizes.latents = (int)lk_vae_n_latents(s.time, m->n_frames);
    m->sizes.rows = (m->o->height + s.space - 1) / s.space;
    m->sizes.columns = (m->o->width + s.space - 1) / s.space;
    LK_TRY(LK_NEW_ARRAY(&m->video_span, m->sizes.latents));
    for (int i = 0; i < m->sizes.latents; i++) {
        lk_vae_stamp stamp;
        LK_TRY(lk_vae_stamp_of(s.time, m->n_frames, m->frames, i, &stamp));
        m->video_span[i] = stamp.span;
    }
done:
    return st;
}

static lk_status place_sound(maker *m)
{
    lk_status st = LK_OK;
    const lk_codec_config *c = lk_codec_get_config(m->codec);
    if (!m->o->audio)
        m->n_samples = lk_samples_from_flick(m->frames[m->n_frames - 1].end - m->start, c->rate_hz);
    m->sizes.sounds = (int)lk_codec_latents(c, m->n_samples);
    LK_TRY(LK_NEW_ARRAY(&m->audio_span, m->sizes.sounds));
    for (int i = 0; i < m->sizes.sounds; i++)
        m->audio_span[i] = lk_codec_span(c, m->start, i, m->n_samples);
done:
    return st;
}

static lk_status place_words(maker *m)
{
    lk_status st = LK_OK;
    if (m->o->script) {
        LK_TRY(read_text(m->o->script, &m->script));
        LK_TRY(lk_script_parse(m->script, m->o->script, m->frames[m->n_frames - 1].end, &m->events,
                               &m->clip.n_events, &m->texts));
    }
    m->sizes.prompt_bytes = PROMPT_BYTES;
    m->sizes.event_bytes = EVENT_BYTES;
    m->sizes.events = m->clip.n_events;
    m->clip.prompt = m->o->prompt;
    m->clip.events = m->events;
done:
    return st;
}

static lk_status make_latents(maker *m)
{
    lk_status st = LK_OK;
    const lk_joint_config *c = lk_joint_get_config(m->model);
    m->sizes.batch = 1;
    m->clip.n_latents = m->sizes.latents;
    m->clip.n_sounds = m->sizes.sounds;
    m->clip.video_span = m->video_span;
    m->clip.audio_span = m->audio_span;
    LK_TRY(LK_NEW_ARRAY(&m->video, (int64_t)m->sizes.latents * m->sizes.rows * m->sizes.columns *
                                       c->video_channels));
    LK_TRY(LK_NEW_ARRAY(&m->audio, (int64_t)m->sizes.sounds * c->audio_channels));
    LK_TRY(lk_joint_sample(m->model, &m->sizes, &m->clip, &m->o->sampling, m->o->stop, m->video,
                           m->audio));
done:
    return st;
}

static lk_status write_latents(maker *m)
{
    lk_status st = LK_OK;
    const lk_vae_shape s = lk_vae_get_shape(m->vae);
    const lk_codec_config *c = lk_codec_get_config(m->codec);
    const lk_latents_video v = {m->sizes.rows, m->sizes.columns, s.channels,
                                m->o->width,   m->o->height,     m->checksum[1]};
    const lk_latents_audio a = {.continuous = c->continuous,
                                .rate_hz = c->rate_hz,
                                .channels = c->channels,
                                .mode = LK_CODEC_CONTINUOUS,
                                .start = m->start,
                                .n_samples = m->n_samples,
                                .tokenizer = m->checksum[2]};
    const int64_t cells = (int64_t)v.rows * v.columns * v.channels;
    lk_latents_writer *w = NULL;
    LK_TRY(LK_NEW_ARRAY(&m->path, strlen(m->o->out) + sizeof ".latents.h5"));
    sprintf(m->path, "%s.latents.h5", m->o->out);
    LK_TRY(lk_latents_create(&w, m->path, &v, &a, m->o->out));
    for (int i = 0; i < m->sizes.latents; i++) {
        lk_vae_stamp stamp;
        int64_t time[LK_LATENTS_TIMES];
        LK_TRY(lk_vae_stamp_of(s.time, m->n_frames, m->frames, i, &stamp));
        lk_stamp_to_times(&stamp, time);
        LK_TRY(lk_latents_add_video(w, m->video + i * cells, time));
    }
    LK_TRY(lk_latents_add_audio(w, m->sizes.sounds, NULL, m->audio, m->audio_span));
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

static lk_status add_settings(const maker *m, json_t *o)
{
    static const char *const files[] = {"model_xxh64", "vae_xxh64", "codec_xxh64"};
    lk_status st = LK_OK;
    const lk_generate_options *g = m->o;
    LK_TRY(lk_json_set(o, "clip", lk_json_text(g->out)));
    LK_TRY(lk_json_set(o, "prompt", g->prompt ? lk_json_text(g->prompt) : json_null()));
    LK_TRY(lk_json_set(o, "script", m->script ? lk_json_text(m->script) : json_null()));
    LK_TRY(lk_json_set(o, "audio", g->audio ? lk_json_text(g->audio) : json_null()));
    LK_TRY(lk_json_set(o, "video", g->video ? lk_json_text(g->video) : json_null()));
    LK_TRY(lk_json_set(o, "frames", json_integer(m->n_frames)));
    LK_TRY(lk_json_set(o, "samples", json_integer(m->n_samples)));
    LK_TRY(lk_json_set(o, "fps_num", json_integer(g->fps.num)));
    LK_TRY(lk_json_set(o, "fps_den", json_integer(g->fps.den)));
    LK_TRY(lk_json_set(o, "width", json_integer(g->width)));
    LK_TRY(lk_json_set(o, "height", json_integer(g->height)));
    for (const lk_option *row = lk_joint_sampling_options; row->name; row++) {
        char text[64];
        lk_option_print(row, &g->sampling, text, sizeof text);
        LK_TRY(lk_json_set(o, row->name, json_string(text)));
    }
    for (int i = 0; i < 3; i++)
        LK_TRY(add_checksum(o, files[i], m->checksum[i]));
    LK_TRY(lk_json_set(o, "commit", json_string(lk_build_commit())));
done:
    return st;
}

static lk_status write_settings(const maker *m)
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

lk_status lk_generate(const lk_generate_options *o)
{
    lk_status st = LK_OK;
    maker m = {.o = o};
    LK_REQUIRE(o->out && o->seconds >= 0.04 && o->seconds <= 600 && o->width > 0 && o->height > 0 &&
                   o->fps.num > 0 && o->fps.den > 0,
               LK_E_ARG, "a clip is 0.04 to 600 s long and has a size and a rate");
    LK_REQUIRE(!o->audio || !o->video, LK_E_ARG,
               "give a sound or a picture, not both: nothing would be left to make");
    LK_TRY(load(&m));
    if (o->audio)
        LK_TRY(take_sound(&m));
    LK_TRY(place_pictures(&m));
    LK_TRY(place_sound(&m));
    LK_TRY(place_words(&m));
    LK_TRY(make_latents(&m));
    LK_TRY(write_latents(&m));
    LK_TRY(lk_decode(m.path, o->out,
                     &(lk_tokenize_options){.vae = o->vae, .codec = o->codec, .stop = o->stop},
                     NULL));
    LK_TRY(write_settings(&m));
done:
    if (m.path)
        (void)unlink(m.path);
    clear(&m);
    return st;
}
