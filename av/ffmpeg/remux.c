/* remux.c - move the sound of a file without decoding anything.
 *
 * Packets keep their bytes; only times change.  Sound moved before the file's zero is cut by an
 * edit list where the container has one (mp4, mov), elsewhere the picture moves later instead:
 * by any amount in mkv, webm and ts, by whole frames in ogg and avi.  AVI has no times for sound
 * at all, so silent packets stand in front, and steps are one sample (pcm) or one packet (mp3,
 * mp2); what cannot be reached within 1 ms is refused. */
#include "av/ffmpeg/writer.h"

#include "kernels/mem.h"

#include <libavutil/intreadwrite.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOLERANCE      (LK_FLICKS_PER_MS * 5 / 2) /* two ticks of mkv and one sample */
#define MAX_SHIFT      (INT64_C(600) * LK_FLICKS_PER_S)
#define MAX_EMPTY      64 /* pictures in front that AVI may be given to reach a shift */
#define ACCEPTED_ERROR LK_FLICKS_PER_MS
#define MPEG_HEADER    4

static const AVRational flick_base = {1, (int)LK_FLICKS_PER_S};

typedef struct remux {
    const char *path; /* of the output, for sentences */
    char *part;
    bool part_exists;
    const lk_wr_container *container;
    AVFormatContext *in, *out;
    AVPacket *packet;
    int *to; /* output stream of each input stream, -1: not copied */
    int video, audio;
    lk_flick shift;
    lk_flick others; /* added to everything but sound */
    lk_flick sound;  /* added to sound */
    lk_flick delay;  /* also added to sound, in ticks of its own as the reader subtracts it */
    lk_flick video_start, audio_start; /* container times of the first packets */
    int64_t empty;                     /* AVI: empty pictures in front */
    int64_t silent;                    /* AVI: silent packets (or samples, for pcm) in front */
} remux;

static lk_status open_once(remux *x, const char *path)
{
    lk_status st = LK_OK;
    char url[4096 + 8];
    LK_REQUIRE(strlen(path) < sizeof url - 8, LK_E_ARG, "the file name '%.60s...' is too long",
               path);
    snprintf(url, sizeof url, "file:%s", path);
    x->in = avformat_alloc_context();
    LK_REQUIRE(x->in, LK_E_MEMORY, "out of memory opening '%s'", path);
    x->in->flags |= AVFMT_FLAG_GENPTS;
    int error = avformat_open_input(&x->in, url, NULL, NULL);
    LK_REQUIRE(error >= 0, error == AVERROR_INVALIDDATA ? LK_E_FORMAT : LK_E_IO,
               "cannot read '%s': %s", path, LK_FF_WORDS(error));
    error = avformat_find_stream_info(x->in, NULL);
    LK_REQUIRE(error >= 0, LK_E_FORMAT, "cannot read '%s': %s", path, LK_FF_WORDS(error));
    x->video = av_find_best_stream(x->in, AVMEDIA_TYPE_VIDEO, -1, -1, NULL, 0);
    x->audio = av_find_best_stream(x->in, AVMEDIA_TYPE_AUDIO, -1, -1, NULL, 0);
    LK_REQUIRE(x->audio >= 0, LK_E_EMPTY, "'%s' has no sound to move", path);
    LK_REQUIRE(x->video >= 0, LK_E_EMPTY, "'%s' has no picture to move the sound against", path);
done:
    return st;
}

/* The stream's own start_time is 0 for AVI, whatever its packets say, so these are looked at. */
static lk_status find_starts(remux *x)
{
    lk_status st = LK_OK;
    lk_flick *const start[2] = {&x->video_start, &x->audio_start};
    *start[0] = *start[1] = LK_FLICK_NONE;
    while (*start[0] == LK_FLICK_NONE || *start[1] == LK_FLICK_NONE) {
        const int error = av_read_frame(x->in, x->packet);
        if (error == AVERROR_EOF)
            break;
        LK_WR_FF(x, error, "read the input of");
        const int index = x->packet->stream_index;
        lk_flick *mine = index == x->video ? start[0] : index == x->audio ? start[1] : NULL;
        const int64_t ts = x->packet->pts != AV_NOPTS_VALUE ? x->packet->pts : x->packet->dts;
        if (mine && *mine == LK_FLICK_NONE &&
            !lk_ff_time(ts, x->in->streams[index]->time_base, mine))
            *mine = LK_FLICK_NONE;
        av_packet_unref(x->packet);
    }
    for (int i = 0; i < 2; i++)
        LK_REQUIRE(*start[i] != LK_FLICK_NONE, LK_E_FORMAT,
                   "the %s of the input of '%s' has no times", i == 0 ? "picture" : "sound",
                   x->path);
done:
    av_packet_unref(x->packet);
    return st;
}

static lk_status open_input(remux *x, const char *path)
{
    lk_status st = LK_OK;
    LK_TRY(open_once(x, path));
    LK_TRY(find_starts(x));
    avformat_close_input(&x->in);
    LK_TRY(open_once(x, path));
done:
    return st;
}

static lk_status copy_chapters(remux *x)
{
    lk_status st = LK_OK;
    if (x->in->nb_chapters == 0)
        goto done;
    x->out->chapters = av_calloc(x->in->nb_chapters, sizeof *x->out->chapters);
    LK_REQUIRE(x->out->chapters, LK_E_MEMORY, "out of memory for '%s'", x->path);
    for (unsigned i = 0; i < x->in->nb_chapters; i++) {
        const AVChapter *from = x->in->chapters[i];
        AVChapter *to = av_mallocz(sizeof *to);
        LK_REQUIRE(to, LK_E_MEMORY, "out of memory for '%s'", x->path);
        const int64_t move = av_rescale_q(x->others, flick_base, from->time_base);
        to->id = from->id;
        to->time_base = from->time_base;
        to->start = from->start + move;
        to->end = from->end + move;
        x->out->chapters[x->out->nb_chapters++] = to;
        LK_REQUIRE(av_dict_copy(&to->metadata, from->metadata, 0) >= 0, LK_E_MEMORY,
                   "out of memory for '%s'", x->path);
    }
done:
    return st;
}

static lk_status copy_side_data(remux *x, const AVStream *from, AVStream *to)
{
    lk_status st = LK_OK;
#if LIBAVFORMAT_VERSION_MAJOR < 60
    for (int i = 0; i < from->nb_side_data; i++) {
        const AVPacketSideData *side = &from->side_data[i];
        uint8_t *own = av_stream_new_side_data(to, side->type, side->size);
        LK_REQUIRE(own, LK_E_MEMORY, "out of memory for '%s'", x->path);
        memcpy(own, side->data, side->size);
    }
done:
#else
    (void)x; /* travels with the codec parameters */
    (void)from;
    (void)to;
#endif
    return st;
}

/* The rate on whose multiples the pictures lie; 0/1 unknown. */
static AVRational grid_rate(const remux *x)
{
    const AVStream *s = x->in->streams[x->video];
    if (lk_wr_listed("avi|ogg", x->in->iformat->name))
        return av_inv_q(s->time_base);
    return s->r_frame_rate.num > 0 && av_q2d(s->r_frame_rate) <= 1000 ? s->r_frame_rate
                                                                      : s->avg_frame_rate;
}

static lk_status copy_stream(remux *x, unsigned index)
{
    lk_status st = LK_OK;
    const AVStream *from = x->in->streams[index];
    const AVCodecParameters *what = from->codecpar;
    const bool wanted = (int)index == x->video || (int)index == x->audio;
    const AVOutputFormat *format = x->out->oformat;
    x->to[index] = -1;
    if (what->codec_type != AVMEDIA_TYPE_VIDEO && what->codec_type != AVMEDIA_TYPE_AUDIO &&
        what->codec_type != AVMEDIA_TYPE_SUBTITLE)
        goto done;
    const int fits = avformat_query_codec(format, what->codec_id, FF_COMPLIANCE_EXPERIMENTAL);
    LK_REQUIRE(fits != 0 || !wanted, LK_E_UNSUPPORTED,
               "%s cannot hold %s; choose another container", x->container->name,
               avcodec_get_name(what->codec_id));
    if (fits == 0 || (fits < 0 && !wanted))
        goto done;
    AVStream *to = avformat_new_stream(x->out, NULL);
    LK_REQUIRE(to, LK_E_MEMORY, "out of memory for '%s'", x->path);
    LK_WR_FF(x, avcodec_parameters_copy(to->codecpar, what), "write");
    if (av_codec_get_id(format->codec_tag, what->codec_tag) != what->codec_id)
        to->codecpar->codec_tag = 0;
    to->time_base = from->time_base;
    if (x->container->frame_grid && what->codec_type == AVMEDIA_TYPE_VIDEO)
        to->time_base = av_inv_q(grid_rate(x));
    to->avg_frame_rate = from->avg_frame_rate;
    to->r_frame_rate = from->r_frame_rate;
    to->sample_aspect_ratio = from->sample_aspect_ratio;
    to->disposition = from->disposition;
    LK_WR_FF(x, av_dict_copy(&to->metadata, from->metadata, 0), "write");
    LK_TRY(copy_side_data(x, from, to));
    x->to[index] = to->index;
done:
    return st;
}

static lk_status open_output(remux *x)
{
    lk_status st = LK_OK;
    AVDictionary *options = NULL;
    char url[4096 + 8];
    LK_WR_FF(x, avformat_alloc_output_context2(&x->out, NULL, x->container->muxer, x->part),
             "write");
    x->out->flags |= AVFMT_FLAG_BITEXACT;
    x->out->strict_std_compliance = FF_COMPLIANCE_EXPERIMENTAL;
    x->out->max_delay = (int)(AV_TIME_BASE * 7 / 10);
    LK_TRY(LK_NEW_ARRAY(&x->to, x->in->nb_streams));
    for (unsigned i = 0; i < x->in->nb_streams; i++)
        LK_TRY(copy_stream(x, i));
    LK_WR_FF(x, av_dict_copy(&x->out->metadata, x->in->metadata, 0), "write");
    LK_TRY(copy_chapters(x));
    if (lk_wr_listed("mp4|mov", x->container->name)) {
        const int64_t movie =
            lk_wr_common_multiple(x->in->streams[x->video]->time_base.den,
                                  x->in->streams[x->audio]->codecpar->sample_rate);
        LK_WR_FF(x, av_dict_set_int(&options, "movie_timescale", movie, 0), "write");
    }
    LK_REQUIRE(strlen(x->part) < sizeof url - 8, LK_E_ARG, "the file name '%.60s...' is too long",
               x->part);
    snprintf(url, sizeof url, "file:%s", x->part);
    LK_WR_FF(x, avio_open(&x->out->pb, url, AVIO_FLAG_WRITE), "create");
    x->part_exists = true;
    LK_WR_FF(x, avformat_write_header(x->out, &options), "write");
done:
    av_dict_free(&options);
    return st;
}

/* How long one step of AVI's sound is: a sample of pcm, else a packet. */
static lk_status avi_step(const remux *x, lk_flick *step)
{
    lk_status st = LK_OK;
    const AVCodecParameters *c = x->in->streams[x->audio]->codecpar;
    const bool pcm = av_get_exact_bits_per_sample(c->codec_id) > 0;
    const bool mpeg = c->codec_id == AV_CODEC_ID_MP3 || c->codec_id == AV_CODEC_ID_MP2;
    LK_REQUIRE((pcm || mpeg) && c->sample_rate > 0, LK_E_UNSUPPORTED,
               "AVI cannot move %s sound; write mkv instead", avcodec_get_name(c->codec_id));
    const int n = pcm ? 1 : av_get_audio_frame_duration2((AVCodecParameters *)c, 0);
    LK_REQUIRE(n > 0, LK_E_UNSUPPORTED, "AVI cannot move this sound; write mkv instead");
    *step = lk_flick_from_samples(n, c->sample_rate);
done:
    return st;
}

/* The smallest number of empty pictures n and silent steps m with m step - n period near shift. */
static lk_status plan_avi(remux *x)
{
    lk_status st = LK_OK;
    const AVRational rate = grid_rate(x);
    lk_flick step = 0, at = 0;
    LK_REQUIRE(rate.num > 0 && rate.den > 0, LK_E_UNSUPPORTED,
               "the pictures of this file have no constant rate, which AVI needs; write mkv");
    LK_TRY(avi_step(x, &step));
    const lk_flick wanted = x->shift + x->audio_start - x->video_start;
    for (int64_t n = 0; n < INT16_MAX; n++) {
        LK_TRY(lk_flick_from_ticks(n, (lk_rational){rate.num, rate.den}, &at));
        const int64_t m = (wanted + at + step / 2) / step;
        if (wanted + at < -ACCEPTED_ERROR)
            continue;
        if (llabs(m * step - at - wanted) <= ACCEPTED_ERROR) {
            x->empty = n;
            x->silent = m;
            x->others = at - x->video_start;
            x->sound = m * step - x->audio_start;
            goto done;
        }
        LK_REQUIRE(
            wanted + at < MAX_EMPTY * LK_FLICKS_PER_S / 25, LK_E_UNSUPPORTED,
            "AVI moves %s sound in steps of %.1f ms only and cannot reach %.1f ms; write mkv",
            avcodec_get_name(x->in->streams[x->audio]->codecpar->codec_id), lk_flick_to_ms(step),
            lk_flick_to_ms(x->shift));
    }
    st = LK_FAIL(LK_E_UNSUPPORTED, "a shift of %.1f ms is too far for AVI",
                 lk_flick_to_ms(x->shift));
done:
    return st;
}

static lk_status plan_ogg(remux *x)
{
    lk_status st = LK_OK;
    const AVRational grid = grid_rate(x);
    const lk_rational rate = {grid.num, grid.den};
    const lk_flick start = x->audio_start + x->shift;
    int64_t n = 0;
    x->sound = x->shift;
    LK_REQUIRE(x->in->streams[x->audio]->codecpar->codec_id != AV_CODEC_ID_FLAC, LK_E_UNSUPPORTED,
               "flac in ogg always starts at 0 and cannot be moved; write mkv");
    if (start >= 0)
        goto done;
    LK_REQUIRE(rate.num > 0 && rate.den > 0, LK_E_UNSUPPORTED,
               "the pictures of this file have no constant rate, which ogg needs; write mkv");
    LK_TRY(lk_ticks_from_flick(-start, rate, &n));
    LK_TRY(lk_flick_from_ticks(n + 1, rate, &x->others));
    x->sound += x->others;
done:
    return st;
}

/* What to add to sound and to everything else.  mp4 and mov keep times before 0, the muxers of mkv,
 * webm and ts move all streams together until nothing is before 0. */
static lk_status plan(remux *x)
{
    lk_status st = LK_OK;
    const AVCodecParameters *audio = x->in->streams[x->audio]->codecpar;
    x->sound = x->shift;
    if (strcmp(x->container->name, "avi") == 0) {
        LK_TRY(plan_avi(x));
    } else if (strcmp(x->container->name, "ogg") == 0) {
        LK_TRY(plan_ogg(x));
    } else if (x->in->iformat->flags & AVFMT_TS_DISCONT) {
        const lk_flick a = x->audio_start, v = x->video_start;
        x->others = -(a < v ? a : v);
        x->sound += x->others;
    }
    if (lk_wr_delay_is_ours(x->container) && audio->codec_id == AV_CODEC_ID_OPUS)
        x->delay = lk_flick_from_samples(audio->initial_padding, audio->sample_rate);
done:
    return st;
}

/* `count` samples of silence, or one MPEG layer II or III frame of it: the header of the given
 * frame, without a checksum, and nothing but zeros behind it. */
static lk_status silence_like(remux *x, const AVPacket *like, int64_t count, AVPacket *out)
{
    lk_status st = LK_OK;
    const AVCodecParameters *c = x->in->streams[x->audio]->codecpar;
    const bool pcm = av_get_exact_bits_per_sample(c->codec_id) > 0;
    LK_REQUIRE(pcm || (like->size > MPEG_HEADER && like->data[0] == 0xff), LK_E_UNSUPPORTED,
               "the sound of this AVI is not in plain frames; write mkv instead");
    LK_REQUIRE(count * c->block_align < INT32_MAX, LK_E_UNSUPPORTED,
               "the shift is too far for AVI");
    LK_WR_FF(x, av_new_packet(out, pcm ? (int)(count * c->block_align) : like->size), "write");
    memset(out->data, 0, (size_t)out->size);
    if (!pcm) {
        memcpy(out->data, like->data, MPEG_HEADER);
        out->data[1] |= 1;
    }
done:
    return st;
}

static lk_status write_empty_pictures(remux *x)
{
    lk_status st = LK_OK;
    for (int64_t i = 0; i < x->empty; i++) {
        x->packet->stream_index = x->to[x->video];
        x->packet->pts = x->packet->dts = i;
        LK_WR_FF(x, av_write_frame(x->out, x->packet), "write");
        av_packet_unref(x->packet);
    }
done:
    return st;
}

/* Silence in front of the first sound packet. */
static lk_status write_silence(remux *x, const AVPacket *first)
{
    lk_status st = LK_OK;
    const AVCodecParameters *c = x->in->streams[x->audio]->codecpar;
    const bool pcm = av_get_exact_bits_per_sample(c->codec_id) > 0;
    AVPacket *p = av_packet_alloc();
    LK_REQUIRE(p, LK_E_MEMORY, "out of memory for '%s'", x->path);
    for (int64_t i = 0; i < x->silent; i += pcm ? x->silent : 1) {
        LK_TRY(silence_like(x, first, x->silent, p));
        p->stream_index = x->to[x->audio];
        p->pts = p->dts = i;
        p->flags |= AV_PKT_FLAG_KEY;
        LK_WR_FF(x, av_write_frame(x->out, p), "write");
        av_packet_unref(p);
    }
    x->silent = 0;
done:
    av_packet_free(&p);
    return st;
}

/* The demuxer gives the last sound packet a full frame; mp4 states the end in the stream's length,
 * mkv and ogg in a mark on the packet.  Both are kept, as each muxer knows one of them. */
static lk_status trim_tail(const remux *x, AVPacket *p)
{
    lk_status st = LK_OK;
    size_t bytes = 0;
    const AVStream *s = x->in->streams[p->stream_index];
    const AVRational samples = {1, s->codecpar->sample_rate};
    const uint8_t *side = av_packet_get_side_data(p, AV_PKT_DATA_SKIP_SAMPLES, &bytes);
    if (p->stream_index != x->audio)
        goto done;
    if (side && bytes >= 8 && AV_RL32(side + 4) > 0 && s->codecpar->frame_size > 0) {
        const int64_t kept = s->codecpar->frame_size - (int64_t)AV_RL32(side + 4);
        const int64_t length = av_rescale_q(kept, samples, s->time_base);
        if (kept > 0 && p->duration > length)
            p->duration = length;
        goto done;
    }
    if (s->start_time == AV_NOPTS_VALUE || s->duration <= 0 ||
        strncmp(x->in->iformat->name, "mov,", 4) != 0)
        goto done;
    const int64_t end = s->start_time + s->duration;
    if (p->pts < end && p->pts + p->duration > end) {
        LK_TRY(lk_wr_discard(p, av_rescale_q(p->pts + p->duration - end, s->time_base, samples)));
        p->duration = end - p->pts;
    }
done:
    return st;
}

/* One rounding for each thing that moves the times. */
static void move_packet(const remux *x, AVPacket *p, bool is_sound, AVRational from, AVRational to)
{
    const int64_t move = av_rescale_q(is_sound ? x->sound : x->others, flick_base, to) +
                         (is_sound ? av_rescale_q(x->delay, flick_base, to) : 0);
    av_packet_rescale_ts(p, from, to);
    if (p->pts != AV_NOPTS_VALUE)
        p->pts += move;
    if (p->dts != AV_NOPTS_VALUE)
        p->dts += move;
    p->time_base = to;
    p->pos = -1;
}

static lk_status copy_packets(remux *x)
{
    lk_status st = LK_OK;
    AVPacket *p = x->packet;
    LK_TRY(write_empty_pictures(x));
    for (;;) {
        const int error = av_read_frame(x->in, p);
        if (error == AVERROR_EOF)
            break;
        LK_WR_FF(x, error, "read the input of");
        const int index = p->stream_index;
        if (x->to[index] < 0) {
            av_packet_unref(p);
            continue;
        }
        const AVStream *from = x->in->streams[index], *to = x->out->streams[x->to[index]];
        const bool is_sound = from->codecpar->codec_type == AVMEDIA_TYPE_AUDIO;
        if (index == x->audio && x->silent > 0)
            LK_TRY(write_silence(x, p));
        LK_TRY(trim_tail(x, p));
        move_packet(x, p, is_sound, from->time_base, to->time_base);
        p->stream_index = to->index;
        LK_WR_FF(x, av_interleaved_write_frame(x->out, p), "write");
    }
    LK_WR_FF(x, av_write_trailer(x->out), "write");
    LK_WR_FF(x, avio_closep(&x->out->pb), "write");
done:
    av_packet_unref(p);
    return st;
}

static lk_status measure(const char *path, lk_media_info *out)
{
    lk_status st = LK_OK;
    lk_media *m = NULL;
    lk_media_item item;
    LK_TRY(lk_media_open(&m, path, &(lk_media_options){.threads = 1}));
    do {
        LK_TRY(lk_media_next(m, &item));
    } while (item.kind != LK_MEDIA_END);
    *out = *lk_media_get_info(m);
done:
    lk_media_close(&m);
    return st;
}

/* Every picture is still there and the sound has moved against it.  A start before the file's zero
 * is cut, an end is not, so one of the two must have moved exactly. */
static lk_status verify(const remux *x, const char *in)
{
    lk_status st = LK_OK;
    lk_media_info before, after;
    LK_TRY(measure(in, &before));
    LK_TRY(measure(x->part, &after));
    const lk_media_info *a = &before, *b = &after;
    LK_REQUIRE(b->video.n_frames == a->video.n_frames, LK_E_INTERNAL,
               "'%s' has %lld pictures but %lld arrive in '%s'", in, (long long)a->video.n_frames,
               (long long)b->video.n_frames, x->path);
    LK_REQUIRE(b->audio.present && b->audio.rate_hz == a->audio.rate_hz, LK_E_INTERNAL,
               "the sound of '%s' does not arrive in '%s'", in, x->path);
    const lk_flick start = (b->audio.start - b->video.start) - (a->audio.start - a->video.start);
    const lk_flick end = (b->audio.end - b->video.start) - (a->audio.end - a->video.start);
    const lk_flick off_start = llabs(start - x->shift), off_end = llabs(end - x->shift);
    LK_REQUIRE(off_start <= TOLERANCE || off_end <= TOLERANCE, LK_E_UNSUPPORTED,
               "the sound in '%s' should move by %.3f ms but would move by %.3f ms, so it was not "
               "written; keep the container of the input",
               x->path, lk_flick_to_ms(x->shift),
               lk_flick_to_ms(off_start < off_end ? start : end));
done:
    return st;
}

static lk_status find_container(remux *x, const char *out)
{
    lk_status st = LK_OK;
    x->container = lk_wr_container_find(NULL, out);
    LK_REQUIRE(x->container, LK_E_ARG,
               "cannot tell the container of '%s'; mp4, mov, mkv, webm, ts, avi and ogg are known",
               out);
done:
    return st;
}

static bool same_file(const char *a, const char *b)
{
    struct stat sa, sb;
    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
           sa.st_ino == sb.st_ino;
}

lk_status lk_media_shift_audio(const char *in, const char *out, lk_flick shift)
{
    lk_status st = LK_OK;
    remux x = {.path = out, .shift = shift, .video = -1, .audio = -1};
    av_log_set_level(AV_LOG_QUIET);
    LK_REQUIRE(in && *in && out && *out, LK_E_ARG, "no file name given");
    LK_REQUIRE(!same_file(in, out), LK_E_ARG, "'%s' cannot be changed in place", in);
    LK_REQUIRE(shift >= -MAX_SHIFT && shift <= MAX_SHIFT, LK_E_ARG,
               "a shift of %.1f ms is outside +-10 minutes", lk_flick_to_ms(shift));
    const size_t bytes = strlen(out) + sizeof ".part";
    LK_TRY(LK_NEW_ARRAY(&x.part, bytes));
    snprintf(x.part, bytes, "%s.part", out);
    LK_TRY(find_container(&x, out));
    x.packet = av_packet_alloc();
    LK_REQUIRE(x.packet, LK_E_MEMORY, "out of memory for '%s'", out);
    LK_TRY(open_input(&x, in));
    LK_TRY(plan(&x));
    LK_TRY(open_output(&x));
    LK_TRY(copy_packets(&x));
    LK_TRY(verify(&x, in));
    LK_TRY(lk_wr_publish(x.part, out));
    x.part_exists = false;
done:
    av_packet_free(&x.packet);
    avformat_close_input(&x.in);
    if (x.out && x.out->pb)
        avio_closep(&x.out->pb);
    avformat_free_context(x.out);
    if (x.part_exists)
        unlink(x.part);
    lk_free(x.to);
    lk_free(x.part);
    return st;
}
