/* audio_out.c - samples to packets.
 *
 * Sample n of what was given lies at start + n / rate; packets carry that time less the encoder's
 * own delay, so a packet's time is the time of the first sample a decoder returns for it.  Where
 * the container counts samples from 0 and cannot say so (AVI), mux.c asks for silence in front or
 * for the first samples to be left out, so that the same holds for the sound a player makes.
 *
 * Sound is resampled only for a codec that exists at other rates alone (Opus: 48 kHz). */
#include "av/ffmpeg/writer.h"

#include "kernels/mem.h"

#include <libavutil/channel_layout.h>

#include <stdlib.h>
#include <string.h>

#define CHUNK        4096
#define MAX_GAP_S    3600
#define OPUS_RATE_HZ 48000

typedef struct coder {
    const char *name, *encoder;
    int max_channels;
    int bits_per_s_and_channel; /* 0: lossless */
    enum AVSampleFormat format;
} coder;

static const coder coders[] = {
    {"aac", "aac", 8, 96000, AV_SAMPLE_FMT_FLTP},
    {"opus", "libopus", 8, 96000, AV_SAMPLE_FMT_FLT},
    {"mp2", "mp2", 2, 128000, AV_SAMPLE_FMT_S16},
    {"mp3", "libmp3lame", 2, 96000, AV_SAMPLE_FMT_FLTP},
    {"vorbis", "libvorbis", 8, 0, AV_SAMPLE_FMT_FLTP},
    {"flac", "flac", 8, 0, AV_SAMPLE_FMT_S32},
    {"pcm", "pcm_s16le", 8, 0, AV_SAMPLE_FMT_S16},
};

static const coder *find_coder(const char *name)
{
    for (size_t i = 0; i < sizeof coders / sizeof coders[0]; i++) {
        if (strcmp(coders[i].name, name) == 0)
            return &coders[i];
    }
    return NULL;
}

static bool rate_supported(const AVCodec *codec, int rate_hz)
{
    if (!codec->supported_samplerates)
        return true;
    for (const int *r = codec->supported_samplerates; *r; r++) {
        if (*r == rate_hz)
            return true;
    }
    return false;
}

static void describe(lk_writer *w, const coder *how)
{
    AVCodecContext *c = w->audio.codec;
    c->sample_fmt = how->format;
    c->sample_rate = strcmp(how->name, "opus") == 0 ? OPUS_RATE_HZ : w->options.rate_hz;
    c->time_base = (AVRational){1, c->sample_rate};
    c->thread_count = 1;
    c->flags |= AV_CODEC_FLAG_BITEXACT;
    av_channel_layout_default(&c->ch_layout, w->options.n_channels);
    if (how->bits_per_s_and_channel > 0)
        c->bit_rate = (int64_t)how->bits_per_s_and_channel * w->options.n_channels;
    if (strcmp(how->name, "vorbis") == 0) {
        c->flags |= AV_CODEC_FLAG_QSCALE;
        c->global_quality = 5 * FF_QP2LAMBDA;
    }
    if (strcmp(how->name, "flac") == 0)
        c->bits_per_raw_sample = 24;
    if (w->format->oformat->flags & AVFMT_GLOBALHEADER)
        c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
}

static lk_status open_converter(lk_writer *w)
{
    lk_status st = LK_OK;
    lk_wr_audio *a = &w->audio;
    AVCodecContext *c = a->codec;
    LK_WR_FF(w,
             swr_alloc_set_opts2(&a->convert, &c->ch_layout, c->sample_fmt, c->sample_rate,
                                 &c->ch_layout, AV_SAMPLE_FMT_FLTP, w->options.rate_hz, 0, NULL),
             "convert the sound of");
    LK_WR_FF(w, swr_init(a->convert), "convert the sound of");
    a->frame_size =
        c->frame_size > 0 && !(c->codec->capabilities & AV_CODEC_CAP_VARIABLE_FRAME_SIZE)
            ? c->frame_size
            : 1024;
    a->pending = av_audio_fifo_alloc(AV_SAMPLE_FMT_FLTP, w->options.n_channels, CHUNK);
    a->ready = av_audio_fifo_alloc(c->sample_fmt, w->options.n_channels, CHUNK);
    a->frame = av_frame_alloc();
    LK_REQUIRE(a->pending && a->ready && a->frame, LK_E_MEMORY, "out of memory for '%s'", w->path);
    a->frame->format = c->sample_fmt;
    a->frame->nb_samples = a->frame_size;
    a->frame->sample_rate = c->sample_rate;
    LK_WR_FF(w, av_channel_layout_copy(&a->frame->ch_layout, &c->ch_layout), "write");
    LK_WR_FF(w, av_frame_get_buffer(a->frame, 0), "hold the sound of");
done:
    return st;
}

lk_status lk_wr_audio_open(lk_writer *w)
{
    lk_status st = LK_OK;
    lk_wr_audio *a = &w->audio;
    const coder *how = find_coder(w->options.acodec);
    LK_REQUIRE(how, LK_E_ARG,
               "'%.20s' is not a sound codec; aac, opus, mp2, mp3, vorbis, flac or pcm",
               w->options.acodec);
    const AVCodec *codec = avcodec_find_encoder_by_name(how->encoder);
    LK_REQUIRE(codec, LK_E_ENV, "this machine's FFmpeg has no %s encoder for %s", how->encoder,
               how->name);
    LK_REQUIRE(w->options.n_channels <= how->max_channels, LK_E_ARG,
               "%s holds at most %d channels, got %d", how->name, how->max_channels,
               w->options.n_channels);
    LK_REQUIRE(strcmp(how->name, "opus") == 0 || rate_supported(codec, w->options.rate_hz),
               LK_E_ARG, "%s does not exist at %d Hz; use another rate or another codec", how->name,
               w->options.rate_hz);
    a->codec = avcodec_alloc_context3(codec);
    LK_REQUIRE(a->codec, LK_E_MEMORY, "out of memory for the %s encoder", how->name);
    describe(w, how);
    LK_WR_FF(w, avcodec_open2(a->codec, codec, NULL), "encode the sound of");
    LK_TRY(open_converter(w));
    a->stream = avformat_new_stream(w->format, NULL);
    LK_REQUIRE(a->stream, LK_E_MEMORY, "out of memory for '%s'", w->path);
    LK_WR_FF(w, avcodec_parameters_from_context(a->stream->codecpar, a->codec), "write");
    a->stream->time_base = a->codec->time_base;
    a->start = LK_FLICK_NONE;
    a->total = -1;
done:
    return st;
}

/* What lies behind the last sample is the encoder's filling: say so, or leave it out. */
static lk_status trim_tail(lk_writer *w, AVPacket *p, bool *wanted)
{
    lk_status st = LK_OK;
    const lk_wr_audio *a = &w->audio;
    *wanted = a->total < 0 || p->pts < a->total;
    if (!*wanted || a->total < 0 || p->pts + p->duration <= a->total)
        goto done;
    const int64_t extra = p->pts + p->duration - a->total;
    p->duration = a->total - p->pts;
    LK_TRY(lk_wr_discard(p, extra));
done:
    return st;
}

static lk_status take_packets(lk_writer *w)
{
    lk_status st = LK_OK;
    lk_wr_audio *a = &w->audio;
    AVPacket *p = w->packet;
    for (;;) {
        bool wanted = false;
        const int error = avcodec_receive_packet(a->codec, p);
        if (error == AVERROR(EAGAIN) || error == AVERROR_EOF)
            break;
        LK_WR_FF(w, error, "encode the sound of");
        if (p->duration <= 0)
            p->duration = a->frame_size;
        LK_TRY(trim_tail(w, p, &wanted));
        if (!wanted) {
            av_packet_unref(p);
            continue;
        }
        const int rate_hz = a->codec->sample_rate;
        const lk_flick end = a->start + lk_flick_from_samples(p->pts + p->duration, rate_hz);
        p->pts = p->dts = a->start + lk_flick_from_samples(p->pts, rate_hz);
        p->duration = end - p->pts;
        LK_TRY(lk_wr_mux_packet(w, p, a->stream));
    }
done:
    av_packet_unref(p);
    return st;
}

static lk_status encode_ready(lk_writer *w, bool all)
{
    lk_status st = LK_OK;
    lk_wr_audio *a = &w->audio;
    int n = 0;
    while ((n = av_audio_fifo_size(a->ready)) >= a->frame_size || (all && n > 0)) {
        LK_WR_FF(w, av_frame_make_writable(a->frame), "hold the sound of");
        a->frame->nb_samples = n < a->frame_size ? n : a->frame_size;
        LK_WR_FF(
            w, av_audio_fifo_read(a->ready, (void **)a->frame->extended_data, a->frame->nb_samples),
            "hold the sound of");
        a->frame->pts = a->n_fed;
        a->n_fed += a->frame->nb_samples;
        LK_WR_FF(w, avcodec_send_frame(a->codec, a->frame), "encode the sound of");
        LK_TRY(take_packets(w));
    }
done:
    return st;
}

/* n samples through the converter; in NULL: what it still holds. */
static lk_status convert(lk_writer *w, uint8_t **in, int n)
{
    lk_status st = LK_OK;
    lk_wr_audio *a = &w->audio;
    AVCodecContext *c = a->codec;
    uint8_t **out = NULL;
    const int room = swr_get_out_samples(a->convert, n);
    LK_WR_FF(w, room, "convert the sound of");
    if (room == 0)
        goto done;
    LK_WR_FF(w,
             av_samples_alloc_array_and_samples(&out, NULL, w->options.n_channels, room,
                                                c->sample_fmt, 0),
             "convert the sound of");
    const int got = swr_convert(a->convert, out, room, (const uint8_t **)in, n);
    LK_WR_FF(w, got, "convert the sound of");
    LK_WR_FF(w, av_audio_fifo_write(a->ready, (void **)out, got), "hold the sound of");
done:
    if (out)
        av_freep(&out[0]);
    av_freep(&out);
    return st;
}

static lk_status add_silence(lk_writer *w, AVAudioFifo *fifo, int64_t count)
{
    lk_status st = LK_OK;
    float *zeros = NULL;
    void *planes[LK_FF_MAX_CHANNELS];
    LK_TRY(LK_NEW_ARRAY(&zeros, CHUNK));
    for (int c = 0; c < LK_FF_MAX_CHANNELS; c++)
        planes[c] = zeros;
    while (count > 0) {
        const int n = count < CHUNK ? (int)count : CHUNK;
        LK_WR_FF(w, av_audio_fifo_write(fifo, planes, n), "hold the sound of");
        count -= n;
    }
done:
    lk_free(zeros);
    return st;
}

lk_status lk_wr_audio_pump(lk_writer *w)
{
    lk_status st = LK_OK;
    lk_wr_audio *a = &w->audio;
    float *samples = NULL;
    uint8_t *planes[LK_FF_MAX_CHANNELS];
    int n = 0;
    if (!a->placed)
        goto done;
    LK_TRY(LK_NEW_ARRAY(&samples, (size_t)w->options.n_channels * CHUNK));
    for (int c = 0; c < w->options.n_channels; c++)
        planes[c] = (uint8_t *)(samples + (size_t)c * CHUNK);
    if (a->lead > 0) {
        memset(samples, 0, sizeof *samples * (size_t)w->options.n_channels * CHUNK);
        for (; a->lead > 0; a->lead -= n) {
            n = a->lead < CHUNK ? (int)a->lead : CHUNK;
            a->n_samples += n;
            LK_TRY(convert(w, planes, n));
        }
    }
    while ((n = av_audio_fifo_size(a->pending)) > 0) {
        if (a->drop > 0) {
            const int skip = a->drop < n ? (int)a->drop : n;
            LK_WR_FF(w, av_audio_fifo_drain(a->pending, skip), "hold the sound of");
            a->drop -= skip;
            continue;
        }
        n = av_audio_fifo_read(a->pending, (void **)planes, CHUNK);
        LK_WR_FF(w, n, "hold the sound of");
        a->n_samples += n;
        LK_TRY(convert(w, planes, n));
        LK_TRY(encode_ready(w, false));
    }
    LK_TRY(encode_ready(w, false));
done:
    lk_free(samples);
    return st;
}

lk_status lk_writer_pcm(lk_writer *w, const lk_pcm_view *pcm)
{
    lk_status st = LK_OK;
    lk_wr_audio *a = &w->audio;
    const int rate_hz = w->options.rate_hz;
    LK_REQUIRE(w->has_audio && !w->finished && !w->broken, LK_E_ARG, "'%s' takes no more sound",
               w->path);
    LK_REQUIRE(pcm->rate_hz == rate_hz && pcm->n_channels == w->options.n_channels, LK_E_SHAPE,
               "'%s' takes %d channels at %d Hz, got %d at %d Hz", w->path, w->options.n_channels,
               rate_hz, pcm->n_channels, pcm->rate_hz);
    LK_REQUIRE(pcm->span.start >= 0 && pcm->n_samples >= 0 && pcm->n_samples < INT32_MAX, LK_E_ARG,
               "sound at %.6f s has no valid time span", lk_flick_to_s(pcm->span.start));
    if (pcm->n_samples == 0)
        goto done;
    if (a->start == LK_FLICK_NONE)
        a->start = a->end = pcm->span.start;
    const int64_t gap = lk_samples_from_flick(pcm->span.start - a->end, rate_hz);
    LK_REQUIRE(gap >= -1 && gap <= (int64_t)rate_hz * MAX_GAP_S, LK_E_ARG,
               "sound at %.6f s does not follow the sound before it, which ends at %.6f s",
               lk_flick_to_s(pcm->span.start), lk_flick_to_s(a->end));
    if (gap > 1) {
        LK_TRY(add_silence(w, a->pending, gap));
        a->end += lk_flick_from_samples(gap, rate_hz);
    }
    LK_WR_FF(w, av_audio_fifo_write(a->pending, (void **)pcm->channel, (int)pcm->n_samples),
             "hold the sound of");
    a->end += lk_flick_from_samples(pcm->n_samples, rate_hz);
    LK_TRY(lk_wr_layout(w, false));
    LK_TRY(lk_wr_audio_pump(w));
done:
    if (st != LK_OK && st != LK_E_ARG && st != LK_E_SHAPE)
        w->broken = true;
    return st;
}

lk_status lk_wr_audio_flush(lk_writer *w)
{
    lk_status st = LK_OK;
    lk_wr_audio *a = &w->audio;
    const int out_hz = a->codec->sample_rate;
    LK_REQUIRE(a->start != LK_FLICK_NONE, LK_E_EMPTY, "no sound was written to '%s'", w->path);
    LK_TRY(lk_wr_audio_pump(w));
    if (w->options.rate_hz != out_hz)
        LK_TRY(convert(w, NULL, 0));
    a->total = av_rescale(a->n_samples, out_hz, w->options.rate_hz);
    /* The converter may end up to one sample beside the exact length. */
    const int64_t have = a->n_fed + av_audio_fifo_size(a->ready);
    if (a->total > have)
        a->total = have;
    LK_REQUIRE(a->total > 0, LK_E_EMPTY, "the sound of '%s' is shorter than the %s delay", w->path,
               w->options.acodec);
    LK_TRY(encode_ready(w, true));
    LK_WR_FF(w, avcodec_send_frame(a->codec, NULL), "encode the sound of");
    LK_TRY(take_packets(w));
done:
    return st;
}

void lk_wr_audio_free(lk_wr_audio *a)
{
    avcodec_free_context(&a->codec);
    swr_free(&a->convert);
    av_audio_fifo_free(a->pending);
    av_audio_fifo_free(a->ready);
    a->pending = a->ready = NULL;
    av_frame_free(&a->frame);
}
