/* video_in.c - frames on the project clock.
 *
 * The presentation time of a frame is its best-effort timestamp times the stream's time base (T2);
 * its end is the next frame's time, so a frame is handed on when its successor is known.  A frame
 * whose time does not move forward has no place on the timeline: it is counted as suspect and left
 * out (T19).  The last frame lasts as long as its packet says, else as long as the frame before
 * it, else one period of the nominal rate (T16). */
#include "av/ffmpeg/internal.h"

#include <libavutil/pixdesc.h>

#include <stdio.h>

void lk_ff_video_packet(lk_ff_video *v, const AVPacket *packet)
{
    const unsigned i = v->n_durations++ % LK_FF_DURATIONS;
    v->durations[i].pts = packet->pts;
    v->durations[i].dts = packet->dts;
    v->durations[i].duration = packet->duration;
}

static lk_flick own_duration(const lk_ff_reader *r)
{
    const lk_ff_video *v = &r->video;
    lk_flick length = 0;
    for (unsigned i = 0; i < LK_FF_DURATIONS; i++) {
        const bool same = v->held->pts != AV_NOPTS_VALUE ? v->durations[i].pts == v->held->pts
                                                         : v->durations[i].dts == v->held->pkt_dts;
        if (same && v->durations[i].duration > 0 &&
            lk_ff_time(v->durations[i].duration, v->stream->time_base, &length) && length > 0 &&
            length < LK_FF_MAX_JUMP)
            return length;
    }
    if (v->last_distance != LK_FLICK_NONE)
        return v->last_distance;
    const lk_rational rate = r->info.video.nominal_rate;
    if (rate.num > 0 && lk_flick_from_ticks(1, rate, &length) == LK_OK && length > 0)
        return length;
    return LK_FLICKS_PER_S / 25;
}

static lk_status push_held(lk_ff_reader *r, lk_flick end, bool last)
{
    lk_ff_video *v = &r->video;
    lk_ff_entry e = {
        .kind = LK_MEDIA_FRAME, .frame = v->held, .span = {v->held_start, end}, .last = last};
    v->held = NULL;
    if (r->zero_is_container) {
        if (e.span.end <= 0) {
            av_frame_free(&e.frame);
            return LK_OK;
        }
        if (e.span.start < 0)
            e.span.start = 0;
    }
    if (v->first == LK_FLICK_NONE)
        v->first = e.span.start;
    return lk_ff_push(r, &e);
}

/* False when the frame has no place after the one before it. */
static bool place(lk_ff_reader *r, const AVFrame *frame, lk_flick *time)
{
    lk_ff_video *v = &r->video;
    lk_video_info *info = &r->info.video;
    if (!lk_ff_time(frame->best_effort_timestamp, v->stream->time_base, time)) {
        info->n_suspect++;
        *time = v->held ? v->held_start + own_duration(r) : 0;
        lk_media_warn(&r->info, "a frame has no timestamp; it was placed after the one before it");
    }
    if (!v->held)
        return true;
    if (*time <= v->held_start) {
        info->n_suspect++;
        if (*time + LK_FLICKS_PER_S < v->held_start)
            lk_media_warn(&r->info,
                          "picture timestamps jump back; frames before %.3f s are left out",
                          lk_flick_to_s(v->held_start - (r->zero_known ? r->zero : 0)));
        else
            lk_media_warn(&r->info,
                          "picture timestamps repeat or run backwards; such frames are left out");
        return false;
    }
    if (*time - v->held_start > LK_FF_MAX_JUMP) {
        info->n_suspect++;
        lk_media_warn(&r->info, "a picture timestamp lies more than an hour ahead; left out");
        return false;
    }
    return true;
}

lk_status lk_ff_video_take(lk_ff_reader *r, AVFrame *frame)
{
    lk_status st = LK_OK;
    lk_ff_video *v = &r->video;
    lk_flick time = 0;
    if ((frame->flags & AV_FRAME_FLAG_CORRUPT) || frame->decode_error_flags)
        r->info.video.n_damaged++;
#ifdef AV_FRAME_FLAG_INTERLACED
    r->info.video.interlaced |= (frame->flags & AV_FRAME_FLAG_INTERLACED) != 0;
#else
    r->info.video.interlaced |= frame->interlaced_frame != 0;
#endif
    if (v->finished || frame->width <= 0 || frame->height <= 0 || !place(r, frame, &time))
        goto done;
    if (v->held) {
        v->last_distance = time - v->held_start;
        LK_TRY(push_held(r, time, false));
    }
    const lk_flick wanted = lk_ff_end_wanted(r);
    if (wanted != LK_FLICK_NONE && time >= wanted) {
        v->finished = true;
        goto done;
    }
    v->held = frame;
    v->held_start = time;
    frame = NULL;
done:
    av_frame_free(&frame);
    return st;
}

lk_status lk_ff_video_finish(lk_ff_reader *r)
{
    if (!r->video.held)
        return LK_OK;
    return push_held(r, r->video.held_start + own_duration(r), true);
}

/* VFR means more than rounding to the time base can explain: rounding moves a distance by less
 * than one tick, and a tick that is itself a good part of a frame explains nothing. */
static void note_distance(lk_video_info *info, lk_flick distance)
{
    lk_flick tick = 0;
    if (info->shortest == LK_FLICK_NONE || distance < info->shortest)
        info->shortest = distance;
    if (info->longest == LK_FLICK_NONE || distance > info->longest)
        info->longest = distance;
    if (lk_flick_from_ticks(1, info->time_base, &tick) != LK_OK)
        return;
    const lk_flick spread = info->longest - info->shortest;
    info->vfr = spread > tick + 2 || (spread > 2 && tick > info->shortest / 4);
}

static void first_frame_facts(lk_ff_reader *r, AVFrame *frame)
{
    lk_video_info *info = &r->info.video;
    lk_ff_picture *p = &r->video.picture;
    const char *name = av_get_pix_fmt_name(frame->format);
    const bool turned = p->rotation_deg == 90 || p->rotation_deg == 270;
    p->width = frame->width;
    p->height = frame->height;
    info->width = turned ? frame->height : frame->width;
    info->height = turned ? frame->width : frame->height;
    snprintf(info->pixel_format, sizeof info->pixel_format, "%s", name ? name : "unknown");
    const AVRational sar = av_guess_sample_aspect_ratio(r->format, r->video.stream, frame);
    if (sar.num > 0 && sar.den > 0)
        info->sar = turned ? (lk_rational){sar.den, sar.num} : (lk_rational){sar.num, sar.den};
    (void)lk_ff_colour_words(frame, info->colour, sizeof info->colour);
}

lk_status lk_ff_video_deliver(lk_ff_reader *r, const lk_ff_entry *e, lk_frame_view *out)
{
    lk_status st = LK_OK;
    lk_video_info *info = &r->info.video;
    lk_ff_video *v = &r->video;
    if (v->n_delivered == 0) {
        first_frame_facts(r, e->frame);
        info->start = e->span.start - r->zero;
    }
    if (e->frame->width != v->picture.width || e->frame->height != v->picture.height)
        lk_media_warn(&r->info, "the picture changes size from %dx%d to %dx%d; scaled to the first",
                      v->picture.width, v->picture.height, e->frame->width, e->frame->height);
    out->span.start = e->span.start - r->zero;
    out->span.end = e->span.end - r->zero;
    out->index = v->n_delivered++;
    out->sar = info->sar;
    if (!e->last)
        note_distance(info, lk_span_length(out->span));
    info->n_frames = v->n_delivered;
    info->end = out->span.end;
    LK_TRY(lk_ff_picture_make(&v->picture, e->frame, r->options.want_rgb, out));
done:
    return st;
}

void lk_ff_video_facts(lk_ff_reader *r)
{
    lk_video_info *info = &r->info.video;
    const AVStream *s = r->video.stream;
    AVRational rate = av_guess_frame_rate(r->format, r->video.stream, NULL);
    info->present = true;
    snprintf(info->codec, sizeof info->codec, "%s", avcodec_get_name(s->codecpar->codec_id));
    info->time_base = (lk_rational){s->time_base.den, s->time_base.num};
    info->nominal_rate = (lk_rational){0, 1};
    if (rate.num > 0 && rate.den > 0)
        info->nominal_rate = (lk_rational){rate.num, rate.den};
    info->sar = (lk_rational){1, 1};
    info->shortest = info->longest = LK_FLICK_NONE;
    const int angle = lk_ff_rotation(s);
    if (angle < 0)
        lk_media_warn(&r->info, "the picture is marked as mirrored; shown unmirrored");
    else if (angle % 90 != 0)
        lk_media_warn(&r->info, "rotation by %d degrees is ignored", angle);
    info->rotation_deg = angle > 0 && angle % 90 == 0 ? angle : 0;
    r->video.picture.rotation_deg = info->rotation_deg;
    const bool turned = info->rotation_deg == 90 || info->rotation_deg == 270;
    info->width = turned ? s->codecpar->height : s->codecpar->width;
    info->height = turned ? s->codecpar->width : s->codecpar->height;
    const char *name = av_get_pix_fmt_name((enum AVPixelFormat)s->codecpar->format);
    snprintf(info->pixel_format, sizeof info->pixel_format, "%s", name ? name : "unknown");
}
