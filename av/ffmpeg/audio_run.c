/* audio_run.c - samples on the project clock.
 *
 * Sample n of a run lies at anchor + n / rate (T4).  Inside a run samples are counted and packet
 * times are only compared with the count; a run ends where the two differ by more than
 * max(2 ticks, 1.5 ms), which is reported as a gap or an overlap (T5).  Overlapping samples are
 * dropped, so the delivered sound never runs backwards.
 *
 * Priming: what the file states (skip samples, times before 0) is dropped and counted; what it
 * does not state is suspected in words and dropped only on request (T6, T7).  The tail is cut to
 * the length the container states, which the decoder does not do (T6). */
#include "av/ffmpeg/internal.h"

#include "kernels/mem.h"

#include <libavutil/channel_layout.h>
#include <libavutil/intreadwrite.h>

#include <stdio.h>
#include <stdlib.h>

#define VORBIS_MAX_BLOCK 8192
#define TOLERANCE        (LK_FLICKS_PER_MS * 3 / 2)

void lk_ff_audio_packet(lk_ff_reader *r, const AVPacket *packet)
{
    size_t bytes = 0;
    const uint8_t *side = av_packet_get_side_data(packet, AV_PKT_DATA_SKIP_SAMPLES, &bytes);
    if (!side || bytes < 10)
        return;
    const uint32_t start = AV_RL32(side), end = AV_RL32(side + 4);
    /* Never the sum: a demuxer may state the same delay here and in the codec parameters. */
    if (!r->audio.started && start < 1u << 20 && r->info.audio.priming_samples < start)
        r->info.audio.priming_samples = start;
    if (end < 1u << 20)
        r->info.audio.padding_samples += end;
}

/* The delay an encoder of this codec is known to leave, 0 when it leaves none. */
static int usual_priming(enum AVCodecID codec)
{
    if (codec == AV_CODEC_ID_AAC)
        return 1024;
    if (codec == AV_CODEC_ID_MP3)
        return 1105;
    return 0;
}

/* T7: a codec with delay that starts where the file starts, and nothing says so.  When the picture
 * starts later by just that delay, a muxer has moved it to make room and the times are right. */
static void look_for_priming(lk_ff_reader *r)
{
    lk_ff_audio *a = &r->audio;
    lk_audio_info *info = &r->info.audio;
    const int usual = usual_priming(a->codec->codec_id);
    lk_flick picture = LK_FLICK_NONE;
    if (usual == 0 || info->priming_samples > 0 || r->info.container[0] == '\0')
        return;
    if (r->zero_is_container && llabs(a->anchor) > TOLERANCE)
        return;
    if (r->video.first != LK_FLICK_NONE)
        picture = r->video.first;
    else if (r->video.stream)
        (void)!lk_ff_time(r->video.stream->start_time, r->video.stream->time_base, &picture);
    if (picture != LK_FLICK_NONE) {
        const lk_flick ahead = picture - a->anchor;
        if (llabs(ahead - lk_flick_from_samples(usual, info->rate_hz)) <= TOLERANCE ||
            llabs(ahead) > LK_FLICKS_PER_S / 10)
            return;
    }
    info->priming_unsignalled = true;
    lk_media_warn(&r->info,
                  "%s starts at 0 and the file does not state its encoder delay; the sound is "
                  "probably late by %d samples (%.1f ms)",
                  info->codec, usual, 1000.0 * usual / info->rate_hz);
    a->assume_left = r->options.assume_priming_samples;
}

static void start_run(lk_ff_audio *a, lk_flick anchor)
{
    a->anchor = anchor;
    a->count = 0;
}

static lk_flick predicted(const lk_ff_audio *a, int64_t extra)
{
    return a->anchor + lk_flick_from_samples(a->count + extra, a->rate_hz);
}

/* Compare the packet's time with the count; *skip is how many samples lie before what was already
 * delivered. */
static void follow_time(lk_ff_reader *r, const AVFrame *frame, int64_t *skip)
{
    lk_ff_audio *a = &r->audio;
    lk_flick time = 0, tick = 0;
    const bool known = lk_ff_time(frame->best_effort_timestamp, a->stream->time_base, &time) &&
                       lk_ff_time(1, a->stream->time_base, &tick);
    *skip = 0;
    if (!a->started) {
        start_run(a, known ? time : r->zero_known ? r->zero : 0);
        a->started = true;
        look_for_priming(r);
        return;
    }
    if (!known)
        return;
    const lk_flick expect = predicted(a, 0), off = time - expect;
    const lk_flick tolerance = 2 * tick > TOLERANCE ? 2 * tick : TOLERANCE;
    if (llabs(off) <= tolerance) {
        a->overlapping = a->doubted = false;
        return;
    }
    /* libavformat misplaces the first short Vorbis block after a long one, so a single block that
     * is off proves nothing; a true gap moves the next one too. */
    if (a->codec->codec_id == AV_CODEC_ID_VORBIS && !a->doubted &&
        llabs(off) < lk_flick_from_samples(VORBIS_MAX_BLOCK / 2, a->rate_hz)) {
        a->doubted = true;
        return;
    }
    if (llabs(off) > LK_FF_MAX_JUMP) {
        r->info.audio.n_damaged++;
        return;
    }
    if (off > 0) {
        a->overlapping = false;
        start_run(a, time);
        a->gap = true;
        r->info.audio.n_gaps++;
        lk_media_warn(&r->info, "the sound has gaps in time; first at %.3f s (%.1f ms)",
                      lk_flick_to_s(expect - (r->zero_known ? r->zero : 0)), lk_flick_to_ms(off));
        return;
    }
    if (!a->overlapping) {
        r->info.audio.n_overlaps++;
        lk_media_warn(&r->info, "sound timestamps overlap; first at %.3f s (%.1f ms)",
                      lk_flick_to_s(expect - (r->zero_known ? r->zero : 0)), lk_flick_to_ms(-off));
    }
    a->overlapping = true;
    *skip = lk_samples_from_flick(-off, a->rate_hz);
}

static lk_status push_audio(lk_ff_reader *r, lk_ff_entry *e)
{
    lk_ff_audio *a = &r->audio;
    lk_status st = LK_OK;
    if (a->held.frame) {
        lk_ff_entry before = a->held;
        a->held.frame = NULL;
        LK_TRY(lk_ff_push(r, &before));
    }
    a->held = *e;
    e->frame = NULL;
done:
    return st;
}

/* Drop what lies before 0 of the presentation timeline (T4) and what is assumed priming (T7). */
static void trim_start(lk_ff_reader *r, lk_ff_entry *e)
{
    lk_ff_audio *a = &r->audio;
    if (r->zero_is_container && e->span.start < 0) {
        int64_t early = lk_samples_from_flick(-e->span.start, a->rate_hz);
        if (early > e->count)
            early = e->count;
        e->first += early;
        e->count -= early;
        e->span.start += lk_flick_from_samples(early, a->rate_hz);
        if (a->first == LK_FLICK_NONE)
            r->info.audio.priming_samples += early;
    }
    if (a->assume_left > 0 && e->count > 0) {
        const int64_t drop = a->assume_left < e->count ? a->assume_left : e->count;
        a->assume_left -= drop;
        e->first += drop;
        e->count -= drop;
        r->info.audio.priming_samples += drop;
        /* The kept sound moves to where the stream began. */
        a->anchor -= lk_flick_from_samples(drop, a->rate_hz);
        e->span.end -= lk_flick_from_samples(drop, a->rate_hz);
    }
}

static lk_status note_format(lk_ff_reader *r, const AVFrame *frame)
{
    lk_status st = LK_OK;
    lk_ff_audio *a = &r->audio;
    lk_audio_info *info = &r->info.audio;
    const int channels = frame->ch_layout.nb_channels;
    if (a->started && frame->sample_rate == a->rate_hz && channels == info->n_channels)
        goto done;
    LK_REQUIRE(frame->sample_rate >= 1000 && frame->sample_rate <= 768000 && channels >= 1 &&
                   channels <= LK_FF_MAX_CHANNELS,
               LK_E_FORMAT, "'%s' claims sound with %d channels at %d Hz", r->path, channels,
               frame->sample_rate);
    if (a->started) {
        r->info.audio.n_damaged++;
        lk_media_warn(&r->info, "the sound changes to %d Hz, %d channels on the way; left out",
                      frame->sample_rate, channels);
        goto done;
    }
    a->rate_hz = info->rate_hz = frame->sample_rate;
    a->n_channels = info->n_channels = channels;
done:
    return st;
}

lk_status lk_ff_audio_take(lk_ff_reader *r, AVFrame *frame)
{
    lk_status st = LK_OK;
    lk_ff_audio *a = &r->audio;
    lk_ff_entry e = {.kind = LK_MEDIA_PCM, .frame = frame};
    int64_t skip = 0;
    if (a->finished || frame->nb_samples <= 0)
        goto done;
    LK_TRY(note_format(r, frame));
    if (frame->sample_rate != a->rate_hz || frame->ch_layout.nb_channels != a->n_channels)
        goto done;
    follow_time(r, frame, &skip);
    if (skip > frame->nb_samples)
        skip = frame->nb_samples;
    e.first = skip;
    e.count = frame->nb_samples - skip;
    e.span.start = predicted(a, 0);
    e.span.end = predicted(a, e.count);
    trim_start(r, &e);
    a->count += frame->nb_samples - skip;
    if (e.count <= 0)
        goto done;
    const lk_flick wanted = lk_ff_end_wanted(r);
    if (wanted != LK_FLICK_NONE && e.span.end >= wanted) {
        a->finished = true;
        const int64_t keep = lk_samples_from_flick(wanted - e.span.start, a->rate_hz);
        if (keep <= 0)
            goto done;
        e.count = keep < e.count ? keep : e.count;
        e.span.end = e.span.start + lk_flick_from_samples(e.count, a->rate_hz);
    }
    if (a->first == LK_FLICK_NONE)
        a->first = e.span.start;
    e.gap = a->gap;
    a->gap = false;
    LK_TRY(push_audio(r, &e));
done:
    av_frame_free(&e.frame);
    return st;
}

lk_status lk_ff_audio_finish(lk_ff_reader *r)
{
    lk_ff_audio *a = &r->audio;
    lk_ff_entry e = a->held;
    if (!e.frame)
        return LK_OK;
    a->held.frame = NULL;
    e.last = true;
    if (a->limit != LK_FLICK_NONE && a->limit > e.span.start && a->limit < e.span.end) {
        const int64_t keep = lk_samples_from_flick(a->limit - e.span.start, a->rate_hz);
        if (keep > 0 && keep < e.count) {
            r->info.audio.padding_samples += e.count - keep;
            e.count = keep;
            e.span.end = e.span.start + lk_flick_from_samples(keep, a->rate_hz);
        }
    }
    return lk_ff_push(r, &e);
}

static lk_status to_float(lk_ff_reader *r, const AVFrame *frame)
{
    lk_status st = LK_OK;
    lk_ff_audio *a = &r->audio;
    uint8_t *planes[LK_FF_MAX_CHANNELS];
    const size_t n = (size_t)frame->nb_samples;
    if (a->convert && a->format != frame->format)
        swr_free(&a->convert);
    if (!a->convert) {
        /* The parameter is not const before FFmpeg 6, though it is only read. */
        AVChannelLayout layout = frame->ch_layout;
        const int error = swr_alloc_set_opts2(&a->convert, &layout, AV_SAMPLE_FMT_FLTP, a->rate_hz,
                                              &layout, frame->format, a->rate_hz, 0, NULL);
        LK_REQUIRE(error >= 0 && swr_init(a->convert) >= 0, LK_E_UNSUPPORTED,
                   "cannot convert the sound of '%s' to float", r->path);
        a->format = frame->format;
    }
    LK_TRY(LK_GROW(&a->samples, &a->samples_capacity, n * (size_t)a->n_channels));
    for (int c = 0; c < a->n_channels; c++)
        planes[c] = (uint8_t *)(a->samples + (size_t)c * n);
    const int got = swr_convert(a->convert, planes, frame->nb_samples,
                                (const uint8_t **)frame->extended_data, frame->nb_samples);
    LK_REQUIRE(got == frame->nb_samples, LK_E_INTERNAL, "sample conversion lost samples");
    for (int c = 0; c < a->n_channels; c++)
        a->channel[c] = a->samples + (size_t)c * n;
done:
    return st;
}

lk_status lk_ff_audio_deliver(lk_ff_reader *r, const lk_ff_entry *e, lk_pcm_view *out)
{
    lk_status st = LK_OK;
    lk_ff_audio *a = &r->audio;
    lk_audio_info *info = &r->info.audio;
    if (e->frame->format == AV_SAMPLE_FMT_FLTP) {
        for (int c = 0; c < a->n_channels; c++)
            a->channel[c] = (const float *)(const void *)e->frame->extended_data[c];
    } else {
        LK_TRY(to_float(r, e->frame));
    }
    for (int c = 0; c < a->n_channels; c++)
        a->channel[c] += e->first;
    out->span.start = e->span.start - r->zero;
    out->span.end = e->span.end - r->zero;
    out->n_samples = e->count;
    out->n_channels = a->n_channels;
    out->rate_hz = a->rate_hz;
    out->channel = a->channel;
    out->gap = e->gap;
    if (info->n_samples == 0)
        info->start = out->span.start;
    info->n_samples += e->count;
    info->end = out->span.end;
done:
    return st;
}

void lk_ff_audio_facts(lk_ff_reader *r)
{
    lk_audio_info *info = &r->info.audio;
    const AVStream *s = r->audio.stream;
    lk_flick start = 0, length = 0;
    info->present = true;
    snprintf(info->codec, sizeof info->codec, "%s", avcodec_get_name(s->codecpar->codec_id));
    info->rate_hz = s->codecpar->sample_rate;
    info->n_channels = s->codecpar->ch_layout.nb_channels;
    if (s->codecpar->codec_id == AV_CODEC_ID_OPUS && s->codecpar->initial_padding > 0)
        info->priming_samples = s->codecpar->initial_padding; /* the decoder drops it unasked */
    if (r->zero_is_container && lk_ff_time(s->start_time, s->time_base, &start) &&
        lk_ff_time(s->duration, s->time_base, &length) && length > 0)
        r->audio.limit = start + length;
}
