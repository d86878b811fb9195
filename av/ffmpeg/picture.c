/* picture.c - decoded frame to luma and RGB as a person sees them.
 *
 * Luma is the coded first plane whenever that is 8 bit, without a copy; 9 to 16 bit are rounded
 * down to 8 with the range kept; everything else goes through the scaler.
 * Colour (T17): the tagged matrix and range; untagged means BT.709 from 720 lines up, BT.601
 * below, limited range. */
#include "av/ffmpeg/internal.h"

#include "kernels/mem.h"

#include <libavutil/display.h>
#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

int lk_ff_rotation(const AVStream *stream)
{
    const int32_t *m = NULL;
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(60, 31, 102)
    const AVPacketSideData *side =
        av_packet_side_data_get(stream->codecpar->coded_side_data,
                                stream->codecpar->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX);
    if (side && side->size >= 36)
        m = (const int32_t *)(const void *)side->data;
#else
    size_t bytes = 0;
    const uint8_t *side = av_stream_get_side_data(stream, AV_PKT_DATA_DISPLAYMATRIX, &bytes);
    if (side && bytes >= 36)
        m = (const int32_t *)(const void *)side;
#endif
    if (!m)
        return 0;
    const double determinant = (double)m[0] * m[4] - (double)m[1] * m[3];
    const double counter = av_display_rotation_get(m);
    if (determinant < 0)
        return -1;
    if (!isfinite(counter))
        return 0;
    const int clockwise = (int)lrint(-counter) % 360;
    return clockwise < 0 ? clockwise + 360 : clockwise;
}

static bool is_rgb(const AVPixFmtDescriptor *d)
{
    return (d->flags & (AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_BAYER)) != 0;
}

/* swscale's number of the matrix, and its name; *assumed when the frame does not say. */
static int matrix_of(const AVFrame *f, const char **name, bool *assumed)
{
    *assumed = false;
    switch (f->colorspace) {
    case AVCOL_SPC_BT709:
        *name = "bt709";
        return SWS_CS_ITU709;
    case AVCOL_SPC_SMPTE170M:
    case AVCOL_SPC_BT470BG:
        *name = "bt601";
        return SWS_CS_ITU601;
    case AVCOL_SPC_FCC:
        *name = "fcc";
        return SWS_CS_FCC;
    case AVCOL_SPC_SMPTE240M:
        *name = "smpte240m";
        return SWS_CS_SMPTE240M;
    case AVCOL_SPC_BT2020_NCL:
    case AVCOL_SPC_BT2020_CL:
        *name = "bt2020";
        return SWS_CS_BT2020;
    default:
        *assumed = true;
        *name = f->height >= 720 ? "bt709" : "bt601";
        return f->height >= 720 ? SWS_CS_ITU709 : SWS_CS_ITU601;
    }
}

static bool full_range_of(const AVFrame *f, bool *assumed)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(f->format);
    const char *name = av_get_pix_fmt_name(f->format);
    *assumed = false;
    if (f->color_range == AVCOL_RANGE_JPEG || (name && strncmp(name, "yuvj", 4) == 0))
        return true;
    if (f->color_range == AVCOL_RANGE_MPEG)
        return false;
    if (d && (is_rgb(d) || d->nb_components <= 2))
        return true;
    *assumed = true;
    return false;
}

bool lk_ff_colour_words(const AVFrame *frame, char *text, size_t bytes)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(frame->format);
    const char *matrix = "";
    bool matrix_assumed = false, range_assumed = false;
    (void)matrix_of(frame, &matrix, &matrix_assumed);
    const bool full = full_range_of(frame, &range_assumed);
    if (d && (is_rgb(d) || d->nb_components <= 2)) {
        snprintf(text, bytes, "%s", is_rgb(d) ? "rgb full" : full ? "gray full" : "gray limited");
        return false;
    }
    snprintf(text, bytes, "%s%s, %s%s", matrix, matrix_assumed ? " (assumed)" : "",
             full ? "full" : "limited", range_assumed ? " (assumed)" : "");
    return matrix_assumed || range_assumed;
}

static lk_status make_scaler(struct SwsContext **context, const AVFrame *f, int width, int height,
                             enum AVPixelFormat target, bool target_full)
{
    lk_status st = LK_OK;
    const char *name = NULL;
    bool assumed = false;
    const int matrix = matrix_of(f, &name, &assumed);
    const bool full = full_range_of(f, &assumed);
    *context = sws_getCachedContext(*context, f->width, f->height, f->format, width, height, target,
                                    SWS_BILINEAR | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT, NULL,
                                    NULL, NULL);
    LK_REQUIRE(*context, LK_E_UNSUPPORTED, "cannot convert pictures of format %s",
               av_get_pix_fmt_name(f->format) ? av_get_pix_fmt_name(f->format) : "unknown");
    (void)sws_setColorspaceDetails(*context, sws_getCoefficients(matrix), full,
                                   sws_getCoefficients(matrix), target_full, 0, 1 << 16, 1 << 16);
done:
    return st;
}

static lk_status grow_plane(uint8_t **plane, size_t *have, size_t need)
{
    /* The scaler may touch some bytes beyond a row's end. */
    return LK_GROW(plane, have, need + 64);
}

/* Bring a frame of another size to the size of the first. */
static lk_status scale_to_first(lk_ff_picture *p, const AVFrame *frame)
{
    lk_status st = LK_OK;
    if (!p->sized) {
        p->sized = av_frame_alloc();
        LK_REQUIRE(p->sized, LK_E_MEMORY, "out of memory for a frame");
    }
    av_frame_unref(p->sized);
    p->sized->format = AV_PIX_FMT_YUV420P;
    p->sized->width = p->width;
    p->sized->height = p->height;
    p->sized->colorspace = frame->colorspace;
    LK_REQUIRE(av_frame_get_buffer(p->sized, 0) >= 0, LK_E_MEMORY, "out of memory for a frame");
    bool assumed = false;
    const bool full = full_range_of(frame, &assumed);
    p->sized->color_range = full ? AVCOL_RANGE_JPEG : AVCOL_RANGE_MPEG;
    LK_TRY(make_scaler(&p->to_size, frame, p->width, p->height, AV_PIX_FMT_YUV420P, full));
    sws_scale(p->to_size, (const uint8_t *const *)frame->data, frame->linesize, 0, frame->height,
              p->sized->data, p->sized->linesize);
done:
    return st;
}

static bool luma_is_plane(const AVPixFmtDescriptor *d)
{
    const uint64_t other = AV_PIX_FMT_FLAG_BITSTREAM | AV_PIX_FMT_FLAG_HWACCEL;
    return !is_rgb(d) && (d->flags & other) == 0 && d->comp[0].plane == 0 && d->comp[0].offset == 0;
}

static bool is_deep(const AVPixFmtDescriptor *d)
{
    return luma_is_plane(d) && d->comp[0].depth > 8 && d->comp[0].depth <= 16 &&
           d->comp[0].step == 2 && (d->flags & (AV_PIX_FMT_FLAG_BE | AV_PIX_FMT_FLAG_FLOAT)) == 0;
}

static void narrow(const AVFrame *f, const AVPixFmtDescriptor *d, uint8_t *luma)
{
    const int down = d->comp[0].depth - 8, shift = d->comp[0].shift;
    const uint32_t half = 1u << (down - 1), mask = (1u << d->comp[0].depth) - 1;
    for (int y = 0; y < f->height; y++) {
        const uint8_t *row = f->data[0] + (ptrdiff_t)y * f->linesize[0];
        uint8_t *to = luma + (size_t)y * (size_t)f->width;
        for (int x = 0; x < f->width; x++) {
            uint16_t v;
            memcpy(&v, row + 2 * x, 2);
            const uint32_t rounded = ((((uint32_t)v >> shift) & mask) + half) >> down;
            to[x] = (uint8_t)(rounded > 255 ? 255 : rounded);
        }
    }
}

static lk_status make_luma(lk_ff_picture *p, const AVFrame *f, lk_frame_view *out)
{
    lk_status st = LK_OK;
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(f->format);
    const size_t area = (size_t)f->width * (size_t)f->height;
    bool assumed = false;
    LK_REQUIRE(d && (d->flags & AV_PIX_FMT_FLAG_HWACCEL) == 0, LK_E_UNSUPPORTED,
               "pictures of an unknown format");
    out->luma_full_range = full_range_of(f, &assumed);
    if (luma_is_plane(d) && d->comp[0].depth == 8 && d->comp[0].step == 1) {
        out->luma = f->data[0];
        out->luma_stride = f->linesize[0];
        goto done;
    }
    LK_TRY(grow_plane(&p->luma, &p->luma_bytes, is_deep(d) ? area : area * 3));
    if (is_deep(d)) {
        narrow(f, d, p->luma);
    } else {
        /* Three full planes, because a gray target would change the range. */
        const int w = f->width;
        uint8_t *planes[4] = {p->luma, p->luma + area, p->luma + 2 * area, NULL};
        const int strides[4] = {w, w, w, 0};
        out->luma_full_range = is_rgb(d) ? 0 : out->luma_full_range;
        LK_TRY(make_scaler(&p->to_luma, f, w, f->height, AV_PIX_FMT_YUV444P,
                           out->luma_full_range != 0));
        sws_scale(p->to_luma, (const uint8_t *const *)f->data, f->linesize, 0, f->height, planes,
                  strides);
    }
    out->luma = p->luma;
    out->luma_stride = f->width;
done:
    return st;
}

static lk_status make_rgb(lk_ff_picture *p, const AVFrame *f, lk_frame_view *out)
{
    lk_status st = LK_OK;
    const int stride = FFALIGN(3 * f->width, 64);
    LK_TRY(grow_plane(&p->rgb, &p->rgb_bytes, (size_t)stride * (size_t)f->height));
    LK_TRY(make_scaler(&p->to_rgb, f, f->width, f->height, AV_PIX_FMT_RGB24, true));
    uint8_t *planes[4] = {p->rgb, NULL, NULL, NULL};
    const int strides[4] = {stride, 0, 0, 0};
    sws_scale(p->to_rgb, (const uint8_t *const *)f->data, f->linesize, 0, f->height, planes,
              strides);
    out->rgb = p->rgb;
    out->rgb_stride = stride;
done:
    return st;
}

/* Turn width x height pixels of `size` bytes clockwise; tiles keep both sides in cache. */
static void turn(const uint8_t *from, ptrdiff_t stride, int width, int height, int size, int angle,
                 uint8_t *to)
{
    enum { TILE = 32 };
    const int to_width = angle == 180 ? width : height;
    for (int y0 = 0; y0 < height; y0 += TILE) {
        for (int x0 = 0; x0 < width; x0 += TILE) {
            for (int y = y0; y < height && y < y0 + TILE; y++) {
                for (int x = x0; x < width && x < x0 + TILE; x++) {
                    const int tx = angle == 90 ? height - 1 - y : angle == 180 ? width - 1 - x : y;
                    const int ty = angle == 90 ? x : angle == 180 ? height - 1 - y : width - 1 - x;
                    memcpy(to + ((ptrdiff_t)ty * to_width + tx) * size,
                           from + (ptrdiff_t)y * stride + (ptrdiff_t)x * size, (size_t)size);
                }
            }
        }
    }
}

static lk_status turn_view(lk_ff_picture *p, lk_frame_view *out)
{
    lk_status st = LK_OK;
    const int w = out->width, h = out->height, angle = p->rotation_deg;
    const size_t area = (size_t)w * (size_t)h;
    LK_TRY(grow_plane(&p->turned_luma, &p->turned_luma_bytes, area));
    turn(out->luma, out->luma_stride, w, h, 1, angle, p->turned_luma);
    out->width = angle == 180 ? w : h;
    out->height = angle == 180 ? h : w;
    out->luma = p->turned_luma;
    out->luma_stride = out->width;
    if (out->rgb) {
        LK_TRY(grow_plane(&p->turned_rgb, &p->turned_rgb_bytes, area * 3));
        turn(out->rgb, out->rgb_stride, w, h, 3, angle, p->turned_rgb);
        out->rgb = p->turned_rgb;
        out->rgb_stride = 3 * (ptrdiff_t)out->width;
    }
done:
    return st;
}

lk_status lk_ff_picture_make(lk_ff_picture *p, const AVFrame *frame, bool want_rgb,
                             lk_frame_view *out)
{
    lk_status st = LK_OK;
    if (frame->width != p->width || frame->height != p->height) {
        LK_TRY(scale_to_first(p, frame));
        frame = p->sized;
    }
    out->width = frame->width;
    out->height = frame->height;
    LK_TRY(make_luma(p, frame, out));
    if (want_rgb)
        LK_TRY(make_rgb(p, frame, out));
    if (p->rotation_deg != 0)
        LK_TRY(turn_view(p, out));
done:
    return st;
}

void lk_ff_picture_free(lk_ff_picture *p)
{
    sws_freeContext(p->to_size);
    sws_freeContext(p->to_luma);
    sws_freeContext(p->to_rgb);
    av_frame_free(&p->sized);
    lk_free(p->luma);
    lk_free(p->rgb);
    lk_free(p->turned_luma);
    lk_free(p->turned_rgb);
    memset(p, 0, sizeof *p);
}
