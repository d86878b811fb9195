/* pack_media.c - see pack.h: media files, cut into pieces while they are read.
 *
 * Piece k owns [start + k L, start + (k + 1) L) of the file's timeline, start being the earlier of
 * the two streams.  It is complete when both streams have passed its end, so memory holds what one
 * stream runs ahead of the other.
 */
#include "av/media.h"
#include "av/pack.h"
#include "av/sound_in.h"
#include "av/worlds_clip.h"
#include "kernels/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct cutter {
    lk_shard *shard;
    const char *path;
    const lk_pack_options *o;
    lk_media *media;
    lk_picture_fitter *fitter;
    json_t *truth;
    const char *caption;
    lk_flick start, length; /* of piece `piece` */
    int64_t piece, n_clips;
    /* frames held */
    int64_t n_frames;
    size_t span_room, frame_room;
    lk_span *spans;
    uint8_t *frames;
    lk_flick picture_end; /* of the last frame there was */
    /* samples held, interleaved; the first of them is number `sample` of the resampled sound */
    lk_sound_in *sound;
    int64_t sample, n_samples;
    size_t pcm_room;
    int16_t *pcm;
} cutter;

static int64_t frame_bytes(const cutter *c)
{
    return (int64_t)c->o->format.width * c->o->format.height * 3;
}

/* ---- what a piece is made of ----------------------------------------------------------------- */

static lk_flick event_time(const json_t *e, const char *key)
{
    const json_t *v = json_object_get(e, key);
    return json_is_number(v) ? lk_flick_from_s(json_number_value(v)) : LK_FLICK_NONE;
}

static int event_number(const json_t *e, const char *key, double *out)
{
    const json_t *v = json_object_get(e, key);
    *out = json_number_value(v);
    return json_is_number(v) && isfinite(*out);
}

static lk_place event_place(const json_t *e)
{
    lk_place p = {0};
    if (event_number(e, "x", &p.x[0]) && event_number(e, "y", &p.y[0])) {
        p.ends = 1;
        if (event_number(e, "to_x", &p.x[1]) && event_number(e, "to_y", &p.y[1]))
            p.ends = 2;
    }
    return p;
}

/* Those of `list` that begin in [from, to), on the piece's clock. */
static void take_events(const json_t *list, const char *kind_of_all, lk_flick from, lk_flick to,
                        lk_dataset_event *out, int64_t *n)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *e = json_array_get(list, i);
        const int heard = json_is_number(json_object_get(e, "sound_s"));
        const lk_flick start = event_time(e, heard ? "sound_s" : "picture_s");
        const lk_flick end = event_time(e, heard ? "sound_end_s" : "picture_end_s");
        const char *kind =
            kind_of_all ? kind_of_all : json_string_value(json_object_get(e, "kind"));
        const char *label = json_string_value(json_object_get(e, "label"));
        if (start == LK_FLICK_NONE || start < from || start >= to)
            continue;
        lk_dataset_event *x = &out[(*n)++];
        x->span.start = start - from;
        x->span.end = (end == LK_FLICK_NONE || end < start ? start : end) - from;
        x->strength = json_number_value(json_object_get(e, "strength"));
        x->place = event_place(e);
        snprintf(x->kind, sizeof x->kind, "%s", kind ? kind : "");
        snprintf(x->label, sizeof x->label, "%s", label ? label : "");
    }
}

static lk_status events_of(const cutter *c, lk_flick from, lk_flick to, lk_dataset_event **out,
                           int64_t *n)
{
    lk_status st = LK_OK;
    const json_t *events = json_object_get(c->truth, "events");
    const json_t *paths = json_object_get(c->truth, "paths");
    *n = 0;
    LK_TRY(LK_NEW_ARRAY(out, json_array_size(events) + json_array_size(paths) + 1));
    take_events(events, NULL, from, to, *out, n);
    take_events(paths, "path", from, to, *out, n);
done:
    return st;
}

static const char *short_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static lk_status add_piece(cutter *c, lk_flick from, lk_flick to, int64_t n_frames, int64_t skip,
                           int64_t n_samples)
{
    lk_status st = LK_OK;
    char name[300];
    lk_dataset_event *events = NULL;
    int64_t n_events = 0;
    const int channels = c->o->format.n_channels;
    const int rate = c->o->format.rate_hz;
    snprintf(name, sizeof name, "%.255s#%lld", short_name(c->path), (long long)c->piece);
    LK_TRY(events_of(c, from, to, &events, &n_events));
    for (int64_t i = 0; i < n_frames; i++) {
        c->spans[i].start -= from;
        c->spans[i].end -= from;
    }
    const lk_flick first =
        n_samples > 0 ? lk_sound_in_start(c->sound) + lk_flick_from_samples(c->sample + skip, rate)
                      : from;
    LK_TRY(
        lk_shard_add(c->shard, &(lk_dataset_clip){.name = name,
                                                  .caption = c->caption,
                                                  .source = c->path,
                                                  .n_frames = n_frames,
                                                  .n_samples = n_samples,
                                                  .n_events = n_events,
                                                  .audio_start = first - from,
                                                  .spans = c->spans,
                                                  .frames = c->frames,
                                                  .pcm = c->pcm ? c->pcm + skip * channels : NULL,
                                                  .events = events}));
    c->n_clips++;
done:
    lk_free(events);
    return st;
}

/* Number of held samples before time t. */
static int64_t samples_before(const cutter *c, lk_flick t)
{
    const lk_flick start = c->sound ? lk_sound_in_start(c->sound) : LK_FLICK_NONE;
    if (start == LK_FLICK_NONE)
        return 0;
    const lk_flick step = LK_FLICKS_PER_S / c->o->format.rate_hz;
    const int64_t number = (t - lk_sound_in_start(c->sound) + step - 1) / step - c->sample;
    return number < 0 || t <= start ? 0 : number < c->n_samples ? number : c->n_samples;
}

/* Emit the piece that ends at `to` and let go of what it owned. */
static lk_status cut(cutter *c, lk_flick to)
{
    lk_status st = LK_OK;
    const lk_flick from = c->start + c->piece * c->length;
    const int64_t skip = samples_before(c, from), end = samples_before(c, to);
    const int channels = c->o->format.n_channels;
    int64_t n_frames = 0;
    while (n_frames < c->n_frames && c->spans[n_frames].start < to)
        n_frames++;
    const double picture_s = n_frames > 0 ? lk_flick_to_s(c->spans[n_frames - 1].end - from) : 0;
    const double sound_s = (double)(end - skip) / fmax(c->o->format.rate_hz, 1);
    if (fmax(picture_s, sound_s) >= c->o->min_seconds &&
        (c->o->format.width == 0 || n_frames > 0) && (c->o->format.rate_hz == 0 || end > skip))
        LK_TRY(add_piece(c, from, to, n_frames, skip, end - skip));
    c->n_frames -= n_frames;
    if (c->n_frames > 0) {
        memmove(c->spans, c->spans + n_frames, (size_t)c->n_frames * sizeof *c->spans);
        memmove(c->frames, c->frames + n_frames * frame_bytes(c),
                (size_t)(c->n_frames * frame_bytes(c)));
    }
    c->n_samples -= end;
    c->sample += end;
    if (c->n_samples > 0)
        memmove(c->pcm, c->pcm + end * channels,
                (size_t)(c->n_samples * channels) * sizeof *c->pcm);
    c->piece++;
done:
    return st;
}

/* ---- streams --------------------------------------------------------------------------------- */

static lk_status take_frame(cutter *c, const lk_frame_view *v)
{
    lk_status st = LK_OK;
    const int64_t bytes = frame_bytes(c);
    LK_TRY(LK_GROW(&c->spans, &c->span_room, (size_t)c->n_frames + 1));
    LK_TRY(LK_GROW(&c->frames, &c->frame_room, (size_t)((c->n_frames + 1) * bytes)));
    LK_TRY(lk_picture_fit(&c->fitter, v, c->o->format.width, c->o->format.height,
                          c->frames + c->n_frames * bytes));
    c->spans[c->n_frames++] = v->span;
    c->picture_end = v->span.end;
done:
    return st;
}

static lk_status take_sound(cutter *c, const float *sound, int64_t n)
{
    lk_status st = LK_OK;
    const int channels = c->o->format.n_channels;
    LK_TRY(LK_GROW(&c->pcm, &c->pcm_room, (size_t)((c->n_samples + n) * channels) + 1));
    for (int64_t i = 0; i < n * channels; i++) {
        const float y = sound[i] * 32768;
        c->pcm[c->n_samples * channels + i] = (int16_t)lrintf(!(y > -32768) ? -32768
                                                              : y > 32767   ? 32767
                                                                            : y);
    }
    c->n_samples += n;
done:
    return st;
}

/* How far both streams have come. */
static lk_flick reached(const cutter *c)
{
    lk_flick t = c->o->format.width > 0 ? c->picture_end : INT64_MAX;
    if (c->o->format.rate_hz > 0) {
        const lk_flick sound =
            lk_sound_in_start(c->sound) != LK_FLICK_NONE
                ? lk_sound_in_start(c->sound) +
                      lk_flick_from_samples(c->sample + c->n_samples, c->o->format.rate_hz)
                : c->start;
        t = sound < t ? sound : t;
    }
    return t;
}

static lk_status read_all(cutter *c)
{
    lk_status st = LK_OK;
    lk_media_item item = {.kind = LK_MEDIA_PCM};
    const float *sound = NULL;
    int64_t n = 0;
    bool begun = false;
    while (item.kind != LK_MEDIA_END) {
        LK_REQUIRE(!c->o->stop || !*c->o->stop, LK_E_INTERRUPTED, "stopped in '%s'", c->path);
        LK_TRY(lk_media_next(c->media, &item));
        if (item.kind == LK_MEDIA_END)
            break;
        const lk_flick t =
            item.kind == LK_MEDIA_FRAME ? item.frame.span.start : item.pcm.span.start;
        c->start = !begun || (c->piece == 0 && t < c->start) ? t : c->start;
        begun = true;
        if (item.kind == LK_MEDIA_FRAME) {
            LK_TRY(take_frame(c, &item.frame));
        } else {
            LK_TRY(lk_sound_in_push(c->sound, &item.pcm, &sound, &n));
            LK_TRY(take_sound(c, sound, n));
        }
        while (c->n_frames + c->n_samples > 0 &&
               reached(c) >= c->start + (c->piece + 1) * c->length)
            LK_TRY(cut(c, c->start + (c->piece + 1) * c->length));
    }
    if (c->sound) {
        LK_TRY(lk_sound_in_flush(c->sound, &sound, &n));
        LK_TRY(take_sound(c, sound, n));
    }
    while (c->n_frames + c->n_samples > 0)
        LK_TRY(cut(c, c->start + (c->piece + 1) * c->length));
done:
    return st;
}

static lk_status find_truth(cutter *c)
{
    lk_status st = LK_OK;
    const char *name = short_name(c->path);
    const int folder = (int)(name - c->path);
    char *path = NULL;
    LK_TRY(LK_NEW_ARRAY(&path, (size_t)folder + sizeof "truth.jsonl"));
    sprintf(path, "%.*struth.jsonl", folder, c->path);
    LK_TRY(lk_world_truth_find(path, name, &c->truth));
    const char *caption = json_string_value(json_object_get(c->truth, "caption"));
    c->caption = caption ? caption : "";
done:
    lk_free(path);
    return st;
}

lk_status lk_pack_media(lk_shard *shard, const char *path, const lk_pack_options *o,
                        int64_t *n_clips)
{
    lk_status st = LK_OK;
    cutter c = {.shard = shard,
                .path = path,
                .o = o,
                .caption = "",
                .length = lk_flick_from_s(o->seconds),
                .picture_end = INT64_MIN};
    LK_REQUIRE(c.length > 0, LK_E_ARG, "pieces need a length");
    LK_TRY(find_truth(&c));
    LK_TRY(lk_media_open(&c.media, path,
                         &(lk_media_options){.no_video = o->format.width == 0,
                                             .no_audio = o->format.rate_hz == 0,
                                             .want_rgb = o->format.width > 0}));
    const lk_media_info *info = lk_media_get_info(c.media);
    LK_REQUIRE(o->format.width == 0 || info->video.present, LK_E_FORMAT, "'%s' has no picture",
               path);
    LK_REQUIRE(o->format.rate_hz == 0 || info->audio.present, LK_E_FORMAT, "'%s' has no sound",
               path);
    if (o->format.rate_hz > 0)
        LK_TRY(lk_sound_in_new(&c.sound, o->format.rate_hz, o->format.n_channels));
    LK_TRY(read_all(&c));
done:
    *n_clips = c.n_clips;
    lk_media_close(&c.media);
    lk_picture_fitter_free(&c.fitter);
    lk_sound_in_free(&c.sound);
    json_decref(c.truth);
    lk_free(c.spans);
    lk_free(c.frames);
    lk_free(c.pcm);
    return st;
}
