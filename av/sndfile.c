/* sndfile.c - sound-only files (WAV, FLAC, OGG, AIFF, AU, CAF) through libsndfile.
 *
 * Sample n lies at n / rate; such files have no other clock.  Integer samples of any width arrive
 * as floats in [-1, 1). */
#include "av/media_impl.h"

#include "kernels/mem.h"

#include <sndfile.h>

#include <stdio.h>
#include <string.h>

#define RUN_SAMPLES  4096
#define MAX_CHANNELS 64

typedef struct reader {
    lk_media_info info;
    SNDFILE *file;
    int64_t total, limit; /* stated, and where to stop */
    float *interleaved, *planar;
    const float *channel[MAX_CHANNELS];
    bool ended;
    char *path;
} reader;

static void close_reader(void *self)
{
    reader *r = self;
    if (!r)
        return;
    if (r->file)
        sf_close(r->file);
    lk_free(r->interleaved);
    lk_free(r->planar);
    lk_free(r->path);
    lk_free(r);
}

/* The major format's short name, "WAV" for "WAV (Microsoft)". */
static void name_format(reader *r, int format)
{
    SF_FORMAT_INFO major = {.format = format & SF_FORMAT_TYPEMASK};
    SF_FORMAT_INFO minor = {.format = format & SF_FORMAT_SUBMASK};
    if (sf_command(NULL, SFC_GET_FORMAT_INFO, &major, sizeof major) == 0 && major.name)
        snprintf(r->info.container, sizeof r->info.container, "%s", major.name);
    if (sf_command(NULL, SFC_GET_FORMAT_INFO, &minor, sizeof minor) == 0 && minor.name)
        snprintf(r->info.audio.codec, sizeof r->info.audio.codec, "%s", minor.name);
}

lk_status lk_sndfile_open(void **self, const char *path, const lk_media_options *options)
{
    lk_status st = LK_OK;
    reader *r = NULL;
    SF_INFO facts = {0};
    LK_TRY(LK_NEW(&r));
    LK_TRY(lk_strdup(path, &r->path));
    r->file = sf_open(path, SFM_READ, &facts);
    LK_REQUIRE(r->file, LK_E_FORMAT, "'%s' is not a sound file that can be read (%s)", path,
               sf_strerror(NULL));
    LK_REQUIRE(facts.channels >= 1 && facts.channels <= MAX_CHANNELS && facts.samplerate >= 1000 &&
                   facts.samplerate <= 768000,
               LK_E_FORMAT, "'%s' claims sound with %d channels at %d Hz", path, facts.channels,
               facts.samplerate);
    const size_t n = (size_t)facts.channels * RUN_SAMPLES;
    LK_TRY(LK_NEW_ARRAY(&r->interleaved, n));
    LK_TRY(LK_NEW_ARRAY(&r->planar, n));
    for (int c = 0; c < facts.channels; c++)
        r->channel[c] = r->planar + (size_t)c * RUN_SAMPLES;
    name_format(r, facts.format);
    r->info.audio.present = true;
    r->info.audio.rate_hz = facts.samplerate;
    r->info.audio.n_channels = facts.channels;
    r->total = facts.frames;
    r->limit = options->max_seconds > 0
                   ? lk_samples_from_flick(lk_flick_from_s(options->max_seconds), facts.samplerate)
                   : INT64_MAX;
    *self = r;
    r = NULL;
done:
    close_reader(r);
    return st;
}

static lk_status finish_facts(reader *r)
{
    lk_status st = LK_OK;
    const int64_t n = r->info.audio.n_samples;
    LK_REQUIRE(n > 0, LK_E_FORMAT, "'%s' holds no sound", r->path);
    if (r->limit == INT64_MAX && r->total > 0 && r->total < (INT64_C(1) << 48) && n < r->total)
        lk_media_warn(&r->info, "the file states %.2f s of sound but only %.2f s could be read",
                      (double)r->total / r->info.audio.rate_hz, (double)n / r->info.audio.rate_hz);
done:
    return st;
}

static lk_status next_item(void *self, lk_media_item *item)
{
    lk_status st = LK_OK;
    reader *r = self;
    lk_audio_info *info = &r->info.audio;
    const int64_t room = r->limit - info->n_samples;
    const int64_t n =
        r->ended || room <= 0
            ? 0
            : sf_readf_float(r->file, r->interleaved, room < RUN_SAMPLES ? room : RUN_SAMPLES);
    if (n <= 0) {
        item->kind = LK_MEDIA_END;
        if (!r->ended)
            LK_TRY(finish_facts(r));
        r->ended = true;
        goto done;
    }
    for (int c = 0; c < info->n_channels; c++) {
        for (int64_t i = 0; i < n; i++)
            r->planar[c * RUN_SAMPLES + i] = r->interleaved[i * info->n_channels + c];
    }
    item->kind = LK_MEDIA_PCM;
    item->pcm.span.start = lk_flick_from_samples(info->n_samples, info->rate_hz);
    info->n_samples += n;
    item->pcm.span.end = info->end = lk_flick_from_samples(info->n_samples, info->rate_hz);
    item->pcm.n_samples = n;
    item->pcm.n_channels = info->n_channels;
    item->pcm.rate_hz = info->rate_hz;
    item->pcm.channel = r->channel;
done:
    return st;
}

static const lk_media_info *get_info(const void *self)
{
    return &((const reader *)self)->info;
}

static double get_progress(const void *self)
{
    const reader *r = self;
    const int64_t total = r->limit < r->total ? r->limit : r->total;
    return r->ended ? 1 : total > 0 ? (double)r->info.audio.n_samples / (double)total : 0;
}

const lk_media_reader lk_sndfile_reader = {next_item, get_info, get_progress, close_reader};
