/* video_out.c - frames to packets.
 *
 * The encoder counts in ticks of 1/rate (so that its rate control and the bit stream's own clock
 * are right); the true times travel beside it, by encoder timestamp.
 *
 * x264's bits depend on its number of threads, so that number is fixed per codec and the caller's
 * wish cannot change a file. */
#include "av/ffmpeg/writer.h"

#include "kernels/mem.h"

#include <libavutil/opt.h>

#include <stdlib.h>
#include <string.h>

typedef struct coder {
    const char *name, *encoder;
    const char *options; /* "key=value:key=value" */
    int threads;
    int quality; /* default; 0: not adjustable */
    bool is_crf; /* else a fixed quantiser */
} coder;

static const coder coders[] = {
    {"h264", "libx264", "preset=fast:bf=0", 4, 18, true},
    {"vp9", "libvpx-vp9",
     "b=0:deadline=good:cpu-used=5:row-mt=0:tile-columns=0:auto-alt-ref=0:lag-in-frames=0", 2, 24,
     true},
    {"mpeg4", "mpeg4", "flags=+qscale", 1, 3, false},
    {"ffv1", "ffv1", "level=3:slices=4:slicecrc=1:g=1", 1, 0, false},
    {"theora", "libtheora", "flags=+qscale", 1, 8, false},
};

/* Below this height one thread: with several, x264 at a few rows of macroblocks makes choices that
 * depend on what memory held before, and the same clip gets other bits. */
#define LEAST_ROWS 240

static const coder *find_coder(const char *name)
{
    for (size_t i = 0; i < sizeof coders / sizeof coders[0]; i++) {
        if (strcmp(coders[i].name, name) == 0)
            return &coders[i];
    }
    return NULL;
}

static lk_status open_filter(lk_writer *w)
{
    lk_status st = LK_OK;
    lk_wr_video *v = &w->video;
    if (strcmp(w->options.vcodec, "h264") != 0)
        goto done;
    LK_WR_FF(w, av_bsf_list_parse_str("filter_units=remove_types=6", &v->filter), "write");
    LK_WR_FF(w, avcodec_parameters_from_context(v->filter->par_in, v->codec), "write");
    v->filter->time_base_in = v->codec->time_base;
    LK_WR_FF(w, av_bsf_init(v->filter), "write");
done:
    return st;
}

static lk_status open_converter(lk_writer *w)
{
    lk_status st = LK_OK;
    lk_wr_video *v = &w->video;
    const int width = w->options.width, height = w->options.height;
    v->convert = sws_getContext(width, height, AV_PIX_FMT_RGB24, width, height, AV_PIX_FMT_YUV420P,
                                SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INP | SWS_BITEXACT,
                                NULL, NULL, NULL);
    LK_REQUIRE(v->convert, LK_E_MEMORY, "cannot prepare the colours of '%s'", w->path);
    const int *bt709 = sws_getCoefficients(SWS_CS_ITU709);
    LK_REQUIRE(sws_setColorspaceDetails(v->convert, bt709, 1, bt709, 0, 0, 1 << 16, 1 << 16) >= 0,
               LK_E_INTERNAL, "the colour conversion has no BT.709");
    v->frame = av_frame_alloc();
    LK_REQUIRE(v->frame, LK_E_MEMORY, "out of memory for a %dx%d picture", width, height);
    v->frame->format = AV_PIX_FMT_YUV420P;
    v->frame->width = width;
    v->frame->height = height;
    LK_WR_FF(w, av_frame_get_buffer(v->frame, 0), "hold a picture of");
done:
    return st;
}

static void describe(lk_writer *w, const coder *how)
{
    AVCodecContext *c = w->video.codec;
    const lk_rational rate = w->options.rate;
    const int quality = w->options.quality > 0 ? w->options.quality : how->quality;
    c->width = w->options.width;
    c->height = w->options.height;
    c->pix_fmt = AV_PIX_FMT_YUV420P;
    c->time_base = (AVRational){(int)rate.den, (int)rate.num};
    c->framerate = (AVRational){(int)rate.num, (int)rate.den};
    c->sample_aspect_ratio = (AVRational){1, 1};
    c->colorspace = AVCOL_SPC_BT709;
    c->color_primaries = AVCOL_PRI_BT709;
    c->color_trc = AVCOL_TRC_BT709;
    c->color_range = AVCOL_RANGE_MPEG;
    c->chroma_sample_location = AVCHROMA_LOC_LEFT;
    c->thread_count = c->height < LEAST_ROWS ? 1 : how->threads;
    c->max_b_frames = 0;
    c->gop_size = (int)(2 * rate.num / rate.den);
    c->gop_size = c->gop_size < 1 ? 1 : c->gop_size > 250 ? 250 : c->gop_size;
    /* Theora codes an unchanged picture as no bytes at all, which players take for no picture. */
    if (strcmp(how->name, "theora") == 0)
        c->gop_size = 1;
    c->flags |= AV_CODEC_FLAG_BITEXACT;
    if (w->format->oformat->flags & AVFMT_GLOBALHEADER)
        c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    if (how->quality > 0 && !how->is_crf)
        c->global_quality = quality * FF_QP2LAMBDA;
    if (how->is_crf)
        (void)av_opt_set_double(c->priv_data, "crf", quality, 0);
}

lk_status lk_wr_video_open(lk_writer *w)
{
    lk_status st = LK_OK;
    lk_wr_video *v = &w->video;
    AVDictionary *options = NULL;
    const coder *how = find_coder(w->options.vcodec);
    LK_REQUIRE(how, LK_E_ARG, "'%.20s' is not a video codec; h264, vp9, mpeg4, ffv1 or theora",
               w->options.vcodec);
    const AVCodec *codec = avcodec_find_encoder_by_name(how->encoder);
    LK_REQUIRE(codec, LK_E_ENV, "this machine's FFmpeg has no %s encoder for %s", how->encoder,
               how->name);
    LK_REQUIRE(strcmp(how->name, "h264") != 0 ||
                   (w->options.width % 2 == 0 && w->options.height % 2 == 0),
               LK_E_ARG, "h264 needs an even width and height, got %dx%d", w->options.width,
               w->options.height);
    LK_REQUIRE(strcmp(how->name, "mpeg4") != 0 || w->options.rate.num <= 65535, LK_E_ARG,
               "mpeg4 cannot count %lld ticks a second; use h264 or another rate",
               (long long)w->options.rate.num);
    v->codec = avcodec_alloc_context3(codec);
    LK_REQUIRE(v->codec, LK_E_MEMORY, "out of memory for the %s encoder", how->name);
    describe(w, how);
    LK_WR_FF(w, av_dict_parse_string(&options, how->options, "=", ":", 0), "write");
    LK_WR_FF(w, avcodec_open2(v->codec, codec, &options), "encode the picture of");
    LK_TRY(open_filter(w));
    LK_TRY(open_converter(w));
    v->stream = avformat_new_stream(w->format, NULL);
    LK_REQUIRE(v->stream, LK_E_MEMORY, "out of memory for '%s'", w->path);
    LK_WR_FF(w, avcodec_parameters_from_context(v->stream->codecpar, v->codec), "write");
    v->stream->avg_frame_rate = v->stream->r_frame_rate = v->codec->framerate;
    v->stream->sample_aspect_ratio = (AVRational){1, 1};
    v->last_pts = -1;
    for (int i = 0; i < LK_WR_TIMES; i++)
        v->times[i].pts = -1;
    v->start = LK_FLICK_NONE;
done:
    av_dict_free(&options);
    return st;
}

static lk_status give_packet(lk_writer *w)
{
    lk_status st = LK_OK;
    lk_wr_video *v = &w->video;
    AVPacket *p = w->packet;
    int slot = 0;
    while (slot < LK_WR_TIMES && v->times[slot].pts != p->pts)
        slot++;
    LK_REQUIRE(slot < LK_WR_TIMES, LK_E_INTERNAL,
               "the encoder returned a picture it was not given (%lld)", (long long)p->pts);
    const lk_span span = v->times[slot].span;
    p->pts = p->dts = span.start;
    p->duration = lk_span_length(span);
    LK_TRY(lk_wr_mux_packet(w, p, v->stream));
done:
    return st;
}

static lk_status filter_packets(lk_writer *w, AVPacket *packet)
{
    lk_status st = LK_OK;
    AVBSFContext *f = w->video.filter;
    LK_WR_FF(w, av_bsf_send_packet(f, packet), "write");
    for (;;) {
        const int error = av_bsf_receive_packet(f, w->packet);
        if (error == AVERROR(EAGAIN) || error == AVERROR_EOF)
            break;
        LK_WR_FF(w, error, "write");
        LK_TRY(give_packet(w));
    }
done:
    return st;
}

static lk_status take_packets(lk_writer *w)
{
    lk_status st = LK_OK;
    lk_wr_video *v = &w->video;
    for (;;) {
        const int error = avcodec_receive_packet(v->codec, w->packet);
        if (error == AVERROR(EAGAIN) || error == AVERROR_EOF)
            break;
        LK_WR_FF(w, error, "encode the picture of");
        if (v->filter)
            LK_TRY(filter_packets(w, w->packet));
        else
            LK_TRY(give_packet(w));
    }
done:
    av_packet_unref(w->packet);
    return st;
}

/* The encoder's timestamp of a frame: its number, or its place on the grid of rate. */
static lk_status place(lk_writer *w, const lk_frame_view *frame, int64_t *pts)
{
    lk_status st = LK_OK;
    lk_wr_video *v = &w->video;
    lk_flick due = 0, period = 0;
    LK_REQUIRE(frame->span.start >= 0 && frame->span.end > frame->span.start, LK_E_ARG,
               "frame %lld has no valid time span", (long long)v->n_frames);
    if (v->n_frames == 0) {
        *pts = 0;
        goto done;
    }
    LK_REQUIRE(frame->span.start > v->last_start, LK_E_ARG,
               "frame %lld at %.6f s does not follow the one before it", (long long)v->n_frames,
               lk_flick_to_s(frame->span.start));
    if (w->options.vfr) {
        LK_TRY(lk_ticks_from_flick(frame->span.start - v->start, w->options.rate, pts));
        LK_REQUIRE(*pts > v->last_pts, LK_E_ARG,
                   "frame %lld at %.6f s is closer to the one before it than the rate allows",
                   (long long)v->n_frames, lk_flick_to_s(frame->span.start));
        goto done;
    }
    *pts = v->n_frames;
    LK_TRY(lk_flick_from_ticks(v->n_frames, w->options.rate, &due));
    LK_TRY(lk_flick_from_ticks(1, w->options.rate, &period));
    LK_REQUIRE(llabs(frame->span.start - v->start - due) <= period / 4, LK_E_ARG,
               "frame %lld at %.6f s is not where a constant rate puts it (%.6f s); set vfr",
               (long long)v->n_frames, lk_flick_to_s(frame->span.start),
               lk_flick_to_s(v->start + due));
done:
    return st;
}

lk_status lk_writer_frame(lk_writer *w, const lk_frame_view *frame)
{
    lk_status st = LK_OK;
    lk_wr_video *v = &w->video;
    int64_t pts = 0;
    LK_REQUIRE(w->has_video && !w->finished && !w->broken, LK_E_ARG, "'%s' takes no more pictures",
               w->path);
    LK_REQUIRE(frame->rgb, LK_E_ARG, "a frame to write needs rgb");
    LK_REQUIRE(frame->width == w->options.width && frame->height == w->options.height, LK_E_SHAPE,
               "'%s' takes frames of %dx%d, got %dx%d", w->path, w->options.width,
               w->options.height, frame->width, frame->height);
    LK_TRY(place(w, frame, &pts));
    LK_WR_FF(w, av_frame_make_writable(v->frame), "hold a picture of");
    const uint8_t *planes[4] = {frame->rgb};
    const int strides[4] = {(int)frame->rgb_stride};
    sws_scale(v->convert, planes, strides, 0, frame->height, v->frame->data, v->frame->linesize);
    v->frame->pts = pts;
    v->frame->quality = v->codec->global_quality;
    v->frame->sample_aspect_ratio = (AVRational){1, 1};
    v->times[v->n_frames % LK_WR_TIMES].pts = pts;
    v->times[v->n_frames % LK_WR_TIMES].span = frame->span;
    v->last_pts = pts;
    v->last_start = frame->span.start;
    v->end = frame->span.end;
    if (v->n_frames++ == 0) {
        v->start = frame->span.start;
        LK_TRY(lk_wr_layout(w, false));
    }
    LK_WR_FF(w, avcodec_send_frame(v->codec, v->frame), "encode the picture of");
    LK_TRY(take_packets(w));
done:
    if (st != LK_OK && st != LK_E_ARG && st != LK_E_SHAPE)
        w->broken = true;
    return st;
}

lk_status lk_wr_video_flush(lk_writer *w)
{
    lk_status st = LK_OK;
    LK_REQUIRE(w->video.n_frames > 0, LK_E_EMPTY, "no picture was written to '%s'", w->path);
    LK_WR_FF(w, avcodec_send_frame(w->video.codec, NULL), "encode the picture of");
    LK_TRY(take_packets(w));
    if (w->video.filter)
        LK_TRY(filter_packets(w, NULL));
done:
    return st;
}

void lk_wr_video_free(lk_wr_video *v)
{
    avcodec_free_context(&v->codec);
    av_bsf_free(&v->filter);
    sws_freeContext(v->convert);
    v->convert = NULL;
    av_frame_free(&v->frame);
}
