/* mux.c - packets on the container's timeline.
 *
 *   mp4, mov      video ticks of lcm(rate, 90000), sound ticks of one sample, edits in ticks of
 * both: every start and every delay is exact; delay before 0 becomes an edit list mkv, webm     1
 * ms; Opus delay as CodecDelay ts            1/90000 s from an arbitrary zero, so only the distance
 * of the streams survives avi           pictures are counted from 0 at 1/rate and sound from 0 at
 * its own rate: empty pictures and leading silence stand for a late start ogg           pictures
 * are counted at 1/rate, sound in samples: both are moved, together, until the pictures lie on
 * their grid
 *
 * AVI and Ogg need both starts before the first packet can be placed; packets wait until then. */
#include "av/ffmpeg/writer.h"

#include "kernels/mem.h"

#include <libavutil/intreadwrite.h>

#include <errno.h>
#include <stdint.h>
#include <string.h>

#define SKIP_SIDE_BYTES 10

static const AVRational flick_base = {1, (int)LK_FLICKS_PER_S};

static const lk_wr_container containers[] = {
    {"mp4", "mp4", "mp4|m4v|m4a", "h264", "aac", "h264|vp9|mpeg4", "aac|opus|mp2|mp3|flac", false,
     false},
    {"mov", "mov", "mov|qt", "h264", "pcm", "h264|mpeg4|ffv1", "aac|mp2|mp3|pcm", false, false},
    {"mkv", "matroska", "mkv|mka", "h264", "opus", "h264|vp9|mpeg4|ffv1|theora",
     "aac|opus|mp2|mp3|vorbis|flac|pcm", false, false},
    {"webm", "webm", "webm", "vp9", "opus", "vp9", "opus|vorbis", false, false},
    {"ts", "mpegts", "ts|m2ts|mts", "h264", "mp2", "h264|mpeg4", "aac|opus|mp2|mp3", false, false},
    {"avi", "avi", "avi", "mpeg4", "mp3", "h264|mpeg4|ffv1", "mp2|mp3|pcm", true, false},
    {"ogg", "ogg", "ogg|ogv|oga", "theora", "vorbis", "theora", "vorbis|opus|flac", true, true},
};

bool lk_wr_listed(const char *list, const char *name)
{
    const size_t n = strlen(name);
    for (const char *p = list; p && *p;) {
        const char *end = strchrnul(p, '|');
        if ((size_t)(end - p) == n && strncasecmp(p, name, n) == 0)
            return true;
        p = *end ? end + 1 : end;
    }
    return false;
}

const lk_wr_container *lk_wr_container_find(const char *name, const char *path)
{
    const char *dot = strrchr(path, '.');
    if (!name && (!dot || strchr(dot, '/')))
        return NULL;
    for (size_t i = 0; i < sizeof containers / sizeof containers[0]; i++) {
        const lk_wr_container *c = &containers[i];
        if (name ? strcmp(c->name, name) == 0 : lk_wr_listed(c->extensions, dot + 1))
            return c;
    }
    return NULL;
}

lk_status lk_wr_code(int error)
{
    switch (error) {
    case AVERROR(ENOMEM):
        return LK_E_MEMORY;
    case AVERROR(EINVAL):
    case AVERROR(ENOSYS):
    case AVERROR_PATCHWELCOME:
        return LK_E_UNSUPPORTED;
    case AVERROR_BUG:
        return LK_E_INTERNAL;
    default:
        return LK_E_IO;
    }
}

int64_t lk_wr_common_multiple(int64_t a, int64_t b)
{
    const int64_t product = a / av_gcd(a, b) * b;
    return product <= INT32_MAX ? product : a;
}

lk_status lk_wr_mux_open(lk_writer *w)
{
    lk_status st = LK_OK;
    LK_WR_FF(w, avformat_alloc_output_context2(&w->format, NULL, w->container->muxer, w->part),
             "write");
    w->format->flags |= AVFMT_FLAG_BITEXACT;
    w->format->strict_std_compliance = FF_COMPLIANCE_EXPERIMENTAL; /* FLAC in MP4 */
    w->format->max_delay = (int)(AV_TIME_BASE * 7 / 10);
    w->packet = av_packet_alloc();
    LK_REQUIRE(w->packet, LK_E_MEMORY, "out of memory for '%s'", w->path);
done:
    return st;
}

lk_status lk_wr_mux_start(lk_writer *w)
{
    lk_status st = LK_OK;
    AVDictionary *options = NULL;
    const char *name = w->container->name;
    char url[4096 + 8];
    if (w->has_video)
        w->video.stream->time_base = w->video.codec->time_base;
    if (strcmp(name, "mp4") == 0 || strcmp(name, "mov") == 0) {
        const int64_t video = lk_wr_common_multiple(w->has_video ? w->options.rate.num : 1, 90000);
        const int64_t movie =
            lk_wr_common_multiple(video, w->has_audio ? w->audio.codec->sample_rate : 1);
        LK_WR_FF(w, av_dict_set_int(&options, "movie_timescale", movie, 0), "write");
        if (w->has_video)
            LK_WR_FF(w, av_dict_set_int(&options, "video_track_timescale", video, 0), "write");
    }
    LK_REQUIRE(strlen(w->part) < sizeof url - 8, LK_E_ARG, "the file name '%.60s...' is too long",
               w->part);
    snprintf(url, sizeof url, "file:%s", w->part);
    LK_WR_FF(w, avio_open(&w->format->pb, url, AVIO_FLAG_WRITE), "create");
    w->part_exists = true;
    LK_WR_FF(w, avformat_write_header(w->format, &options), "write");
done:
    av_dict_free(&options);
    return st;
}

static lk_status write_now(lk_writer *w, AVPacket *p)
{
    lk_status st = LK_OK;
    const AVStream *s = w->format->streams[p->stream_index];
    const bool is_video = w->has_video && s == w->video.stream;
    const int64_t shift = is_video ? w->video_shift : w->audio_shift;
    const int64_t end = av_rescale_q(p->pts + shift + p->duration, flick_base, s->time_base);
    p->pts = p->dts = av_rescale_q(p->pts + shift, flick_base, s->time_base);
    p->duration = end - p->pts;
    p->time_base = s->time_base;
    LK_WR_FF(w, av_interleaved_write_frame(w->format, p), "write");
done:
    return st;
}

lk_status lk_wr_discard(AVPacket *p, int64_t samples)
{
    lk_status st = LK_OK;
    uint8_t *side = av_packet_get_side_data(p, AV_PKT_DATA_SKIP_SAMPLES, NULL);
    if (!side)
        side = av_packet_new_side_data(p, AV_PKT_DATA_SKIP_SAMPLES, SKIP_SIDE_BYTES);
    LK_REQUIRE(side, LK_E_MEMORY, "out of memory for the end of the sound");
    memset(side, 0, SKIP_SIDE_BYTES);
    AV_WL32(side + 4, (uint32_t)samples);
done:
    return st;
}

lk_status lk_wr_mux_packet(lk_writer *w, AVPacket *packet, const AVStream *stream)
{
    lk_status st = LK_OK;
    AVPacket *own = NULL;
    packet->stream_index = stream->index;
    if (w->laid_out)
        return write_now(w, packet);
    own = av_packet_alloc();
    LK_REQUIRE(own, LK_E_MEMORY, "out of memory for '%s'", w->path);
    av_packet_move_ref(own, packet);
    LK_TRY(LK_GROW(&w->held, &w->held_capacity, w->n_held + 1));
    w->held[w->n_held++] = own;
    own = NULL;
done:
    av_packet_free(&own);
    return st;
}

/* Smallest n with n / rate >= t. */
static lk_status tick_at_or_after(lk_flick t, lk_rational rate, int64_t *n)
{
    lk_status st = LK_OK;
    lk_flick at = 0;
    LK_TRY(lk_ticks_from_flick(t, rate, n));
    LK_TRY(lk_flick_from_ticks(*n, rate, &at));
    if (at < t)
        ++*n;
done:
    return st;
}

/* Ogg: move both streams until the first picture lies on a multiple of 1/rate.  FLAC frames are
 * numbered from 0, so there silence stands for a late start. */
static lk_status lay_out_ogg(lk_writer *w)
{
    lk_status st = LK_OK;
    lk_wr_audio *a = &w->audio;
    int64_t n = 0;
    lk_flick at = 0;
    if (w->has_video) {
        LK_TRY(tick_at_or_after(w->video.start, w->options.rate, &n));
        LK_TRY(lk_flick_from_ticks(n, w->options.rate, &at));
        w->video_shift = w->audio_shift = at - w->video.start;
    }
    if (w->has_audio && a->codec->codec_id == AV_CODEC_ID_FLAC) {
        a->lead = a->lead_total =
            lk_samples_from_flick(a->start + w->audio_shift, w->options.rate_hz);
        w->audio_shift = -a->start;
    }
done:
    return st;
}

/* AVI: the pictures start after n empty ones; the sound gets silence in front, or loses what the
 * encoder's delay would push behind its time. */
static lk_status lay_out_avi(lk_writer *w)
{
    lk_status st = LK_OK;
    lk_wr_audio *a = &w->audio;
    int64_t n = 0;
    lk_flick at = 0, sound = 0;
    if (w->has_video) {
        if (w->has_audio && w->video.start > a->start)
            LK_TRY(tick_at_or_after(w->video.start - a->start, w->options.rate, &n));
        LK_TRY(lk_flick_from_ticks(n, w->options.rate, &at));
        w->video_shift = at - w->video.start;
        sound = w->has_audio ? a->start + w->video_shift : 0;
    }
    if (w->has_audio) {
        const int64_t delay =
            av_rescale(a->codec->initial_padding, w->options.rate_hz, a->codec->sample_rate);
        const int64_t lead = lk_samples_from_flick(sound, w->options.rate_hz) - delay;
        a->lead = a->lead_total = lead > 0 ? lead : 0;
        a->drop = a->drop_total = lead < 0 ? -lead : 0;
        w->audio_shift =
            lk_flick_from_samples(a->codec->initial_padding, a->codec->sample_rate) - a->start;
    }
    for (int64_t i = 0; i < n; i++) {
        AVPacket *p = w->packet;
        av_packet_unref(p);
        p->stream_index = w->video.stream->index;
        p->pts = p->dts = av_rescale_q(i, w->video.codec->time_base, w->video.stream->time_base);
        LK_WR_FF(w, av_write_frame(w->format, p), "write");
    }
done:
    return st;
}

/* Matroska states Opus' delay in CodecDelay and block times include it.  The muxer writes the one
 * but, before libavformat 61, does not add it to the other. */
bool lk_wr_delay_is_ours(const lk_wr_container *c)
{
    return LIBAVFORMAT_VERSION_MAJOR < 61 && lk_wr_listed("mkv|webm", c->name);
}

static void lay_out_matroska(lk_writer *w)
{
    const AVCodecContext *c = w->audio.codec;
    if (w->has_audio && c->codec_id == AV_CODEC_ID_OPUS && lk_wr_delay_is_ours(w->container))
        w->audio_shift = lk_flick_from_samples(c->initial_padding, c->sample_rate);
}

lk_status lk_wr_layout(lk_writer *w, bool final)
{
    lk_status st = LK_OK;
    const bool grid = w->container->frame_grid;
    const bool video_known = !w->has_video || w->video.start != LK_FLICK_NONE;
    const bool audio_known = !w->has_audio || w->audio.start != LK_FLICK_NONE;
    if (w->laid_out || (grid && !(video_known && audio_known) && !final))
        goto done;
    LK_REQUIRE(!grid || (video_known && audio_known), LK_E_EMPTY, "no %s was written to '%s'",
               video_known ? "sound" : "picture", w->path);
    if (strcmp(w->container->name, "avi") == 0)
        LK_TRY(lay_out_avi(w));
    else if (grid)
        LK_TRY(lay_out_ogg(w));
    else
        lay_out_matroska(w);
    w->laid_out = w->audio.placed = true;
    for (size_t i = 0; i < w->n_held; i++) {
        LK_TRY(write_now(w, w->held[i]));
        av_packet_free(&w->held[i]);
    }
    w->n_held = 0;
    if (w->has_audio)
        LK_TRY(lk_wr_audio_pump(w));
done:
    return st;
}

lk_status lk_wr_mux_close(lk_writer *w)
{
    lk_status st = LK_OK;
    LK_WR_FF(w, av_interleaved_write_frame(w->format, NULL), "write");
    LK_WR_FF(w, av_write_trailer(w->format), "write");
    LK_WR_FF(w, avio_closep(&w->format->pb), "write");
done:
    return st;
}
