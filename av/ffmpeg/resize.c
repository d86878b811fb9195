/* resize.c - see lk_picture_fit in av/media.h. */
#include "av/ffmpeg/internal.h"

#include "kernels/mem.h"

#include <string.h>

struct lk_picture_fitter {
    struct SwsContext *scaler;
    uint8_t *room;
    size_t room_bytes;
};

/* The largest middle part of `have` that has the shape `want`:`other_want` beside `other_have`. */
static int middle(double have, double other_have, int want, int other_want)
{
    const double most = other_have * want / other_want;
    const int part = (int)(most < have ? most + 0.5 : have);
    return part < 1 ? 1 : part;
}

void lk_picture_fitter_free(lk_picture_fitter **f)
{
    if (f && *f) {
        sws_freeContext((*f)->scaler);
        lk_free((*f)->room);
        lk_free(*f);
        *f = NULL;
    }
}

lk_status lk_picture_fit(lk_picture_fitter **fitter, const lk_frame_view *v, int width, int height,
                         uint8_t *rgb)
{
    lk_status st = LK_OK;
    LK_REQUIRE(v->rgb && v->width > 0 && v->height > 0 && width > 0 && height > 0, LK_E_ARG,
               "fitting a picture needs RGB and a size");
    if (!*fitter)
        LK_TRY(LK_NEW(fitter));
    lk_picture_fitter *f = *fitter;
    const double aspect =
        v->sar.num > 0 && v->sar.den > 0 ? (double)v->sar.num / (double)v->sar.den : 1;
    const int w = middle(v->width, v->height / aspect, width, height);
    const int h = middle(v->height, v->width * aspect, height, width);
    const uint8_t *from = v->rgb + (v->height - h) / 2 * v->rgb_stride + (v->width - w) / 2 * 3;
    const int in_stride = (int)v->rgb_stride, out_stride = (width * 3 + 63) & ~63;
    f->scaler = sws_getCachedContext(
        f->scaler, w, h, AV_PIX_FMT_RGB24, width, height, AV_PIX_FMT_RGB24,
        SWS_AREA | SWS_ACCURATE_RND | SWS_BITEXACT | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP, NULL,
        NULL, NULL);
    LK_REQUIRE(f->scaler, LK_E_UNSUPPORTED, "cannot scale pictures of %dx%d to %dx%d", w, h, width,
               height);
    /* The scaler may write beyond a row's end. */
    LK_TRY(LK_GROW(&f->room, &f->room_bytes, (size_t)out_stride * (size_t)height + 64));
    LK_REQUIRE(sws_scale(f->scaler, &from, &in_stride, 0, h, &f->room, &out_stride) == height,
               LK_E_INTERNAL, "the scaler stopped short");
    for (int y = 0; y < height; y++)
        memcpy(rgb + (size_t)y * (size_t)width * 3, f->room + (size_t)y * (size_t)out_stride,
               (size_t)width * 3);
done:
    return st;
}
