/* writer.c - see media.h: opens, checks what was written, renames. */
#include "av/ffmpeg/writer.h"

#include "kernels/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_RATE 1000
/* What a coder may add in front of and behind the sound besides its delay. */
#define MAX_EXTRA_SAMPLES 4096

static lk_status check_options(const lk_writer *w)
{
    lk_status st = LK_OK;
    const lk_writer_options *o = &w->options;
    const lk_wr_container *c = w->container;
    LK_REQUIRE(w->has_video || w->has_audio, LK_E_ARG, "'%s' would have neither picture nor sound",
               w->path);
    LK_REQUIRE(!w->has_video || lk_wr_listed(c->vcodecs, o->vcodec), LK_E_ARG,
               "%s files here hold %s, not %.20s", c->name, c->vcodecs, o->vcodec);
    LK_REQUIRE(!w->has_audio || lk_wr_listed(c->acodecs, o->acodec), LK_E_ARG,
               "%s files here hold %s, not %.20s", c->name, c->acodecs, o->acodec);
    LK_REQUIRE(!w->has_video || (o->width >= 16 && o->height >= 16 && o->width <= LK_FF_MAX_SIDE &&
                                 o->height <= LK_FF_MAX_SIDE &&
                                 (int64_t)o->width * o->height <= LK_FF_MAX_PIXELS),
               LK_E_ARG, "cannot write pictures of %dx%d", o->width, o->height);
    LK_REQUIRE(!w->has_video || (o->rate.num > 0 && o->rate.den > 0 && o->rate.num <= INT32_MAX &&
                                 o->rate.den <= INT32_MAX && o->rate.num / o->rate.den <= MAX_RATE),
               LK_E_ARG, "cannot write %lld/%lld frames per second", (long long)o->rate.num,
               (long long)o->rate.den);
    LK_REQUIRE(!w->has_video || !o->vfr || !c->fixed_rate, LK_E_ARG,
               "%s with %s cannot hold variable frame times; use mkv", c->name, o->vcodec);
    LK_REQUIRE(!w->has_audio || (o->rate_hz >= 8000 && o->rate_hz <= 192000), LK_E_ARG,
               "cannot write sound at %d Hz", o->rate_hz);
    LK_REQUIRE(!w->has_audio || (o->n_channels >= 1 && o->n_channels <= 8), LK_E_ARG,
               "cannot write %d channels of sound", o->n_channels);
    LK_REQUIRE(o->quality >= 0 && o->quality <= 63 && o->threads >= 0, LK_E_ARG,
               "quality %d is outside 0..63 or threads %d negative", o->quality, o->threads);
done:
    return st;
}

lk_status lk_writer_open(lk_writer **writer, const char *path, const lk_writer_options *options)
{
    lk_status st = LK_OK;
    lk_writer *w = NULL;
    *writer = NULL;
    av_log_set_level(AV_LOG_QUIET);
    LK_REQUIRE(path && *path, LK_E_ARG, "no file name given");
    LK_TRY(LK_NEW(&w));
    w->options = *options;
    LK_TRY(lk_strdup(path, &w->path));
    const size_t bytes = strlen(path) + sizeof ".part";
    LK_TRY(LK_NEW_ARRAY(&w->part, bytes));
    snprintf(w->part, bytes, "%s.part", path);
    w->container = lk_wr_container_find(options->container, path);
    LK_REQUIRE(w->container, LK_E_ARG,
               "cannot tell the container of '%s'; mp4, mov, mkv, webm, ts, avi and ogg are known",
               options->container ? options->container : path);
    w->options.container = w->container->name;
    if (!options->vcodec)
        w->options.vcodec = w->container->vcodec;
    if (!options->acodec)
        w->options.acodec = w->container->acodec;
    w->has_video = strcmp(w->options.vcodec, "none") != 0;
    w->has_audio = strcmp(w->options.acodec, "none") != 0;
    w->video.start = w->audio.start = LK_FLICK_NONE;
    LK_TRY(check_options(w));
    LK_TRY(lk_wr_mux_open(w));
    if (w->has_video)
        LK_TRY(lk_wr_video_open(w));
    if (w->has_audio)
        LK_TRY(lk_wr_audio_open(w));
    LK_TRY(lk_wr_mux_start(w));
    *writer = w;
    w = NULL;
done:
    lk_writer_close(&w);
    return st;
}

/* Everything a player would present, compared with what was given. */
static lk_status verify_video(const lk_writer *w, const lk_video_info *got)
{
    lk_status st = LK_OK;
    LK_REQUIRE(got->present && got->n_frames == w->video.n_frames, LK_E_INTERNAL,
               "'%s' was written with %lld pictures but %lld come back", w->path,
               (long long)w->video.n_frames, (long long)(got->present ? got->n_frames : 0));
done:
    return st;
}

static lk_flick one_tick(const lk_video_info *v)
{
    lk_flick tick = 0;
    return v->present && lk_flick_from_ticks(1, v->time_base, &tick) == LK_OK ? tick : 0;
}

static lk_status verify_audio(const lk_writer *w, const lk_audio_info *got)
{
    lk_status st = LK_OK;
    const lk_wr_audio *a = &w->audio;
    const int64_t slack = a->codec->initial_padding + MAX_EXTRA_SAMPLES + a->drop_total;
    LK_REQUIRE(got->present && llabs(got->n_samples - a->total) <= slack, LK_E_INTERNAL,
               "'%s' was written with %lld samples but %lld come back", w->path,
               (long long)a->total, (long long)(got->present ? got->n_samples : 0));
    LK_REQUIRE(got->n_gaps == 0 && got->n_overlaps == 0, LK_E_INTERNAL,
               "the sound of '%s' comes back with gaps", w->path);
done:
    return st;
}

/* Both streams where they should be, relative to each other: the sound may come back with the
 * encoder's delay in front of it. */
static lk_status verify_starts(const lk_writer *w, const lk_media_info *got)
{
    lk_status st = LK_OK;
    const lk_wr_audio *a = &w->audio;
    if (!w->has_video || !w->has_audio)
        goto done;
    const lk_flick wanted = a->start - w->video.start;
    const lk_flick have = got->audio.start - got->video.start;
    const lk_flick delay = lk_flick_from_samples(a->codec->initial_padding, a->codec->sample_rate);
    const lk_flick lead = lk_flick_from_samples(a->lead_total, w->options.rate_hz);
    const lk_flick dropped = lk_flick_from_samples(a->drop_total, w->options.rate_hz);
    const lk_flick slack = 2 * LK_FLICKS_PER_MS + one_tick(&got->video);
    LK_REQUIRE(have >= wanted - delay - lead - slack && have <= wanted + dropped + slack,
               LK_E_INTERNAL,
               "'%s' was written with the sound starting %.3f ms after the picture but comes back "
               "with %.3f ms",
               w->path, lk_flick_to_ms(wanted), lk_flick_to_ms(have));
done:
    return st;
}

static lk_status verify(const lk_writer *w)
{
    lk_status st = LK_OK;
    lk_media *m = NULL;
    lk_media_item item;
    const lk_media_options options = {
        .no_video = !w->has_video, .no_audio = !w->has_audio, .threads = 1};
    LK_TRY(lk_media_open(&m, w->part, &options));
    do {
        LK_TRY(lk_media_next(m, &item));
    } while (item.kind != LK_MEDIA_END);
    const lk_media_info *got = lk_media_get_info(m);
    if (w->has_video)
        LK_TRY(verify_video(w, &got->video));
    if (w->has_audio)
        LK_TRY(verify_audio(w, &got->audio));
    LK_TRY(verify_starts(w, got));
done:
    lk_media_close(&m);
    return st;
}

lk_status lk_wr_publish(const char *part, const char *path)
{
    lk_status st = LK_OK;
    const int fd = open(part, O_WRONLY | O_CLOEXEC);
    LK_REQUIRE(fd >= 0, LK_E_IO, "cannot finish '%s': %s", path, strerror(errno));
    LK_REQUIRE(fsync(fd) == 0, LK_E_IO, "cannot finish '%s': %s", path, strerror(errno));
    LK_REQUIRE(rename(part, path) == 0, LK_E_IO, "cannot name '%s': %s", path, strerror(errno));
done:
    if (fd >= 0)
        close(fd);
    return st;
}

lk_status lk_writer_finish(lk_writer *w)
{
    lk_status st = LK_OK;
    LK_REQUIRE(!w->finished && !w->broken, LK_E_ARG, "'%s' cannot be finished after a failure",
               w->path);
    w->finished = true;
    LK_TRY(lk_wr_layout(w, true));
    if (w->has_video)
        LK_TRY(lk_wr_video_flush(w));
    if (w->has_audio)
        LK_TRY(lk_wr_audio_flush(w));
    LK_TRY(lk_wr_mux_close(w));
    LK_TRY(verify(w));
    LK_TRY(lk_wr_publish(w->part, w->path));
    w->part_exists = false;
done:
    return st;
}

void lk_writer_close(lk_writer **writer)
{
    lk_writer *w = writer ? *writer : NULL;
    if (!w)
        return;
    lk_wr_video_free(&w->video);
    lk_wr_audio_free(&w->audio);
    for (size_t i = 0; i < w->n_held; i++)
        av_packet_free(&w->held[i]);
    lk_free(w->held);
    av_packet_free(&w->packet);
    if (w->format) {
        if (w->format->pb)
            avio_closep(&w->format->pb);
        avformat_free_context(w->format);
    }
    if (w->part_exists)
        unlink(w->part);
    lk_free(w->part);
    lk_free(w->path);
    lk_free(w);
    *writer = NULL;
}
