/* reader.c - demultiplex, decode, hand out in order.
 *
 * Invariants
 * (1) Decoded entries wait in a queue in container time; file zero is subtracted on the way out.
 * (2) File zero (T3) is 0 of the presentation timeline where the container has one, else the
 *     smaller of the first presented picture and sound times; nothing leaves before it is known.
 * (3) Each stream holds one entry back, so that the last one is known to be the last (T6, T16).
 * (4) Nothing but the named file is opened: playlists and references to other files are refused.
 */
#include "av/ffmpeg/internal.h"

#include "kernels/mem.h"

#include <libavutil/cpu.h>
#include <libavutil/time.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPEN_TIME_US       INT64_C(20000000)
#define MAX_FRUITLESS      20000
#define MAX_WAIT_BYTES     (INT64_C(192) << 20)
#define MAX_WAIT_ITEMS     4096
#define SHORT_BY           (LK_FLICKS_PER_S / 2)
#define MAX_DECODE_THREADS 16

static void be_quiet(void)
{
    av_log_set_level(AV_LOG_QUIET);
}

static int out_of_time(void *user)
{
    const lk_ff_reader *r = user;
    return r->deadline_us != 0 && av_gettime_relative() > r->deadline_us;
}

static int refuse_other_files(AVFormatContext *s, AVIOContext **pb, const char *url, int flags,
                              AVDictionary **options)
{
    (void)s, (void)url, (void)flags, (void)options;
    *pb = NULL;
    return AVERROR(EPERM);
}

bool lk_ff_time(int64_t ts, AVRational time_base, lk_flick *out)
{
    if (ts == AV_NOPTS_VALUE || time_base.num <= 0 || time_base.den <= 0)
        return false;
    if (lk_flick_from_ticks(ts, (lk_rational){time_base.den, time_base.num}, out) != LK_OK) {
        lk_error_clear();
        return false;
    }
    /* Room for sums of a few times without overflow. */
    return *out > INT64_MIN / 8 && *out < INT64_MAX / 8;
}

const char *lk_ff_words(int error, char *text, size_t bytes)
{
    if (av_strerror(error, text, bytes) < 0)
        snprintf(text, bytes, "error %d", error);
    return text;
}

static int64_t entry_bytes(const lk_ff_entry *e)
{
    int64_t bytes = 0;
    for (int i = 0; i < AV_NUM_DATA_POINTERS && e->frame->buf[i]; i++)
        bytes += (int64_t)e->frame->buf[i]->size;
    return bytes;
}

lk_status lk_ff_push(lk_ff_reader *r, const lk_ff_entry *entry)
{
    lk_status st = LK_OK;
    lk_ff_entry e = *entry;
    if (r->head > 0 && r->head == r->n)
        r->head = r->n = 0;
    LK_TRY(LK_GROW(&r->queue, &r->capacity, r->n + 1));
    r->queue[r->n++] = e;
    r->queued_bytes += entry_bytes(&e);
    r->fruitless = 0;
    e.frame = NULL;
done:
    av_frame_free(&e.frame);
    return st;
}

lk_flick lk_ff_end_wanted(const lk_ff_reader *r)
{
    if (r->limit == LK_FLICK_NONE)
        return LK_FLICK_NONE;
    if (r->zero_known)
        return r->zero + r->limit;
    /* Until zero is known the earliest time seen is the best lower bound of it. */
    lk_flick first = r->video.first;
    if (first == LK_FLICK_NONE || (r->audio.first != LK_FLICK_NONE && r->audio.first < first))
        first = r->audio.first;
    return first == LK_FLICK_NONE ? LK_FLICK_NONE : first + r->limit;
}

/* Containers whose timeline starts at 0 for a player, whatever the first timestamp is. */
static bool has_own_zero(const AVFormatContext *f)
{
    static const char *const names[] = {"mov,mp4", "matroska", "avi", "ogg", "flv",
                                        "nut",     "asf",      "gif", "mxf", "ivf"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strncmp(f->iformat->name, names[i], strlen(names[i])) == 0)
            return true;
    }
    return false;
}

/* ---- opening ------------------------------------------------------------------------------- */

static lk_status open_container(lk_ff_reader *r)
{
    lk_status st = LK_OK;
    AVIOContext *io = NULL;
    char url[4200];
    const int length = snprintf(url, sizeof url, "file:%s", r->path);
    LK_REQUIRE(length > 0 && (size_t)length < sizeof url, LK_E_ARG, "the file name is too long");
    r->format = avformat_alloc_context();
    LK_REQUIRE(r->format, LK_E_MEMORY, "out of memory");
    r->deadline_us = av_gettime_relative() + OPEN_TIME_US;
    r->format->interrupt_callback = (AVIOInterruptCB){out_of_time, r};
    int error = avio_open2(&io, url, AVIO_FLAG_READ, &r->format->interrupt_callback, NULL);
    LK_REQUIRE(error >= 0, LK_E_IO, "cannot open '%s': %s", r->path, LK_FF_WORDS(error));
    r->io = io;
    r->format->pb = io;
    r->format->io_open = refuse_other_files;
    error = avformat_open_input(&r->format, r->path, NULL, NULL);
    LK_REQUIRE(error >= 0, LK_E_FORMAT, "'%s' is not a media file that can be read (%s)", r->path,
               LK_FF_WORDS(error));
    error = avformat_find_stream_info(r->format, NULL);
    LK_REQUIRE(error >= 0, LK_E_FORMAT, "'%s' has no readable streams (%s)", r->path,
               LK_FF_WORDS(error));
    r->deadline_us = 0;
    snprintf(r->info.container, sizeof r->info.container, "%s", r->format->iformat->name);
    r->zero_is_container = has_own_zero(r->format);
    if (r->zero_is_container)
        r->zero_known = true;
done:
    return st;
}

static lk_status open_decoder(lk_ff_reader *r, AVStream *stream, AVCodecContext **out)
{
    lk_status st = LK_OK;
    AVCodecContext *c = NULL;
    const AVCodec *decoder = avcodec_find_decoder(stream->codecpar->codec_id);
    LK_REQUIRE(decoder, LK_E_UNSUPPORTED, "no decoder for %s in '%s'",
               avcodec_get_name(stream->codecpar->codec_id), r->path);
    c = avcodec_alloc_context3(decoder);
    LK_REQUIRE(c, LK_E_MEMORY, "out of memory");
    int error = avcodec_parameters_to_context(c, stream->codecpar);
    LK_REQUIRE(error >= 0, LK_E_FORMAT, "'%s' describes its %s stream wrongly (%s)", r->path,
               decoder->name, LK_FF_WORDS(error));
    c->pkt_timebase = stream->time_base;
    c->max_pixels = LK_FF_MAX_PIXELS;
    int threads = r->options.threads > 0 ? r->options.threads : av_cpu_count();
    /* One more than asked for: the calling thread is busy measuring while they decode. */
    threads += threads > 1;
    c->thread_count = threads > MAX_DECODE_THREADS ? MAX_DECODE_THREADS : threads;
    if (c->codec_type == AVMEDIA_TYPE_AUDIO)
        c->thread_count = 1;
    error = avcodec_open2(c, decoder, NULL);
    LK_REQUIRE(error >= 0, LK_E_UNSUPPORTED, "the %s decoder cannot read '%s' (%s)", decoder->name,
               r->path, LK_FF_WORDS(error));
    *out = c;
    c = NULL;
done:
    avcodec_free_context(&c);
    return st;
}

static AVStream *best_stream(lk_ff_reader *r, enum AVMediaType type, int related)
{
    const int i = av_find_best_stream(r->format, type, -1, related, NULL, 0);
    if (i < 0 || (r->format->streams[i]->disposition & AV_DISPOSITION_ATTACHED_PIC))
        return NULL;
    return r->format->streams[i];
}

/* A stream without a decoder is left out with a warning when the other one can be read. */
static lk_status open_streams(lk_ff_reader *r)
{
    lk_status st = LK_OK, why = LK_OK;
    lk_ff_video *v = &r->video;
    lk_ff_audio *a = &r->audio;
    char sentence[256] = "";
    v->stream = r->options.no_video ? NULL : best_stream(r, AVMEDIA_TYPE_VIDEO, -1);
    a->stream = r->options.no_audio
                    ? NULL
                    : best_stream(r, AVMEDIA_TYPE_AUDIO, v->stream ? v->stream->index : -1);
    if (v->stream && (why = open_decoder(r, v->stream, &v->codec)) != LK_OK) {
        v->stream = NULL;
        snprintf(sentence, sizeof sentence, "%s", lk_error_text());
    }
    if (a->stream && (st = open_decoder(r, a->stream, &a->codec)) != LK_OK) {
        a->stream = NULL;
        why = st;
        snprintf(sentence, sizeof sentence, "%s", lk_error_text());
    }
    st = LK_OK;
    if (why == LK_E_MEMORY)
        return why;
    if (!v->stream && !a->stream && why != LK_OK)
        return LK_FAIL(why, "%s", sentence);
    LK_REQUIRE(v->stream || a->stream, LK_E_FORMAT, "'%s' has no %s stream", r->path,
               r->options.no_video   ? "sound"
               : r->options.no_audio ? "picture"
                                     : "picture or sound");
    if (why != LK_OK) {
        lk_error_clear();
        lk_media_warn(&r->info, "%.150s", sentence);
    }
    for (unsigned i = 0; i < r->format->nb_streams; i++) {
        AVStream *s = r->format->streams[i];
        s->discard = s == v->stream || s == a->stream ? AVDISCARD_DEFAULT : AVDISCARD_ALL;
    }
    if (v->stream)
        lk_ff_video_facts(r);
    if (a->stream)
        lk_ff_audio_facts(r);
done:
    return st;
}

static void close_reader(void *self)
{
    lk_ff_reader *r = self;
    if (!r)
        return;
    for (size_t i = r->head; i < r->n; i++)
        av_frame_free(&r->queue[i].frame);
    lk_free(r->queue);
    av_frame_free(&r->current.frame);
    av_frame_free(&r->video.held);
    av_frame_free(&r->audio.held.frame);
    lk_ff_picture_free(&r->video.picture);
    swr_free(&r->audio.convert);
    lk_free(r->audio.samples);
    avcodec_free_context(&r->video.codec);
    avcodec_free_context(&r->audio.codec);
    av_packet_free(&r->packet);
    avformat_close_input(&r->format);
    if (r->io)
        avio_closep(&r->io);
    lk_free(r->path);
    lk_free(r);
}

lk_status lk_ffmpeg_open(void **self, const char *path, const lk_media_options *options)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    lk_status st = LK_OK;
    lk_ff_reader *r = NULL;
    pthread_once(&once, be_quiet);
    LK_TRY(LK_NEW(&r));
    r->options = *options;
    r->video.first = r->video.last_distance = LK_FLICK_NONE;
    r->audio.first = r->audio.limit = LK_FLICK_NONE;
    r->limit = options->max_seconds > 0 ? lk_flick_from_s(options->max_seconds) : LK_FLICK_NONE;
    LK_TRY(lk_strdup(path, &r->path));
    r->packet = av_packet_alloc();
    LK_REQUIRE(r->packet, LK_E_MEMORY, "out of memory");
    LK_TRY(open_container(r));
    LK_TRY(open_streams(r));
    *self = r;
    r = NULL;
done:
    close_reader(r);
    return st;
}

/* ---- decoding ------------------------------------------------------------------------------ */

static lk_status take_frames(lk_ff_reader *r, AVCodecContext *codec)
{
    lk_status st = LK_OK;
    const bool is_video = codec == r->video.codec;
    AVFrame *frame = NULL;
    for (;;) {
        frame = av_frame_alloc();
        LK_REQUIRE(frame, LK_E_MEMORY, "out of memory");
        const int error = avcodec_receive_frame(codec, frame);
        if (error == AVERROR(EAGAIN) || error == AVERROR_EOF)
            break;
        LK_REQUIRE(error != AVERROR(ENOMEM), LK_E_MEMORY, "out of memory while decoding '%s'",
                   r->path);
        if (error < 0) {
            *(is_video ? &r->info.video.n_damaged : &r->info.audio.n_damaged) += 1;
            av_frame_free(&frame);
            if (++r->fruitless > MAX_FRUITLESS)
                break;
            continue;
        }
        AVFrame *const given = frame;
        frame = NULL;
        LK_TRY(is_video ? lk_ff_video_take(r, given) : lk_ff_audio_take(r, given));
    }
done:
    av_frame_free(&frame);
    return st;
}

/* packet NULL drains the decoder. */
static lk_status decode(lk_ff_reader *r, AVCodecContext *codec, const AVPacket *packet)
{
    lk_status st = LK_OK;
    int error = avcodec_send_packet(codec, packet);
    if (error == AVERROR(EAGAIN)) {
        LK_TRY(take_frames(r, codec));
        error = avcodec_send_packet(codec, packet);
    }
    LK_REQUIRE(error != AVERROR(ENOMEM), LK_E_MEMORY, "out of memory while decoding '%s'", r->path);
    if (error < 0 && error != AVERROR_EOF)
        *(codec == r->video.codec ? &r->info.video.n_damaged : &r->info.audio.n_damaged) += 1;
    LK_TRY(take_frames(r, codec));
done:
    return st;
}

static lk_status drain(lk_ff_reader *r, int error)
{
    lk_status st = LK_OK;
    r->drained = true;
    if (error != AVERROR_EOF)
        lk_media_warn(&r->info, "reading stopped early (%s)", LK_FF_WORDS(error));
    if (r->video.codec)
        LK_TRY(decode(r, r->video.codec, NULL));
    if (r->audio.codec)
        LK_TRY(decode(r, r->audio.codec, NULL));
    LK_TRY(lk_ff_video_finish(r));
    LK_TRY(lk_ff_audio_finish(r));
done:
    return st;
}

static bool wants_more(const lk_ff_reader *r)
{
    return (r->video.stream && !r->video.finished) || (r->audio.stream && !r->audio.finished);
}

static lk_status read_packet(lk_ff_reader *r)
{
    lk_status st = LK_OK;
    int error = AVERROR_EOF;
    if (wants_more(r) && r->fruitless <= MAX_FRUITLESS)
        error = av_read_frame(r->format, r->packet);
    LK_REQUIRE(error != AVERROR(ENOMEM), LK_E_MEMORY, "out of memory while reading '%s'", r->path);
    if (error == AVERROR(EAGAIN) || error == AVERROR_INVALIDDATA) {
        r->fruitless++;
        if (r->fruitless <= MAX_FRUITLESS)
            goto done;
    }
    if (error < 0) {
        LK_TRY(drain(r, error));
        goto done;
    }
    r->fruitless++;
    const int i = r->packet->stream_index;
    if (r->video.stream && i == r->video.stream->index && !r->video.finished) {
        lk_ff_video_packet(&r->video, r->packet);
        LK_TRY(decode(r, r->video.codec, r->packet));
    } else if (r->audio.stream && i == r->audio.stream->index && !r->audio.finished) {
        lk_ff_audio_packet(r, r->packet);
        LK_TRY(decode(r, r->audio.codec, r->packet));
    }
done:
    av_packet_unref(r->packet);
    return st;
}

/* T3: when the container has no zero of its own, wait for the first entry of both streams, within
 * reason. */
static bool settle_zero(lk_ff_reader *r)
{
    if (r->zero_known)
        return true;
    const lk_flick video = r->video.first, audio = r->audio.first;
    const bool enough = r->drained || r->queued_bytes > MAX_WAIT_BYTES ||
                        r->n - r->head > MAX_WAIT_ITEMS ||
                        ((!r->video.stream || video != LK_FLICK_NONE) &&
                         (!r->audio.stream || audio != LK_FLICK_NONE));
    if (!enough)
        return false;
    r->zero = video == LK_FLICK_NONE                    ? audio
              : audio == LK_FLICK_NONE || video < audio ? video
                                                        : audio;
    if (r->zero == LK_FLICK_NONE)
        r->zero = 0;
    r->info.file_zero_shift = r->zero;
    r->zero_known = true;
    return true;
}

/* ---- handing out --------------------------------------------------------------------------- */

static lk_status finish_facts(lk_ff_reader *r)
{
    lk_status st = LK_OK;
    lk_media_info *info = &r->info;
    lk_flick stated = 0;
    if (info->video.present && info->video.n_frames == 0) {
        info->video.present = false;
        lk_media_warn(info, "the file states a picture but no frame of it could be decoded");
    }
    if (info->audio.present && info->audio.n_samples == 0) {
        info->audio.present = false;
        lk_media_warn(info, "the file states sound but none of it could be decoded");
    }
    LK_REQUIRE(info->video.present || info->audio.present, LK_E_FORMAT,
               "nothing in '%s' could be decoded", r->path);
    if (info->video.n_damaged + info->audio.n_damaged > 0)
        lk_media_warn(info, "damaged data: %lld places in the picture, %lld in the sound",
                      (long long)info->video.n_damaged, (long long)info->audio.n_damaged);
    if (r->limit == LK_FLICK_NONE && wants_more(r) &&
        lk_ff_time(r->format->duration, AV_TIME_BASE_Q, &stated) && stated > 0 &&
        r->delivered + SHORT_BY < stated && r->delivered < stated / 100 * 95)
        lk_media_warn(info, "the file states %.2f s but only %.2f s could be read",
                      lk_flick_to_s(stated), lk_flick_to_s(r->delivered));
done:
    return st;
}

static lk_status next_item(void *self, lk_media_item *item)
{
    lk_status st = LK_OK;
    lk_ff_reader *r = self;
    av_frame_free(&r->current.frame);
    while ((r->head == r->n || !settle_zero(r)) && !r->drained)
        LK_TRY(read_packet(r));
    if (r->head == r->n) {
        item->kind = LK_MEDIA_END;
        if (!r->ended)
            LK_TRY(finish_facts(r));
        r->ended = true;
        goto done;
    }
    (void)settle_zero(r);
    r->current = r->queue[r->head++];
    r->queued_bytes -= entry_bytes(&r->current);
    item->kind = r->current.kind;
    if (r->current.kind == LK_MEDIA_FRAME)
        LK_TRY(lk_ff_video_deliver(r, &r->current, &item->frame));
    else
        LK_TRY(lk_ff_audio_deliver(r, &r->current, &item->pcm));
    if (r->current.span.end - r->zero > r->delivered)
        r->delivered = r->current.span.end - r->zero;
done:
    return st;
}

static const lk_media_info *get_info(const void *self)
{
    return &((const lk_ff_reader *)self)->info;
}

static double get_progress(const void *self)
{
    const lk_ff_reader *r = self;
    lk_flick total = 0;
    if (r->ended)
        return 1;
    if (r->limit != LK_FLICK_NONE)
        total = r->limit;
    else if (!lk_ff_time(r->format->duration, AV_TIME_BASE_Q, &total) || total <= 0)
        return 0;
    return (double)r->delivered / (double)total;
}

const lk_media_reader lk_ffmpeg_reader = {next_item, get_info, get_progress, close_reader};
