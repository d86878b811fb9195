/* view.h - borrowed looks at frames and sound; nothing here owns memory.
 *
 * A view is passed by value or const pointer and is valid until the callee returns (or, for media,
 * until the next call on the reader it came from).
 */
#ifndef LK_VIEW_H
#define LK_VIEW_H

#include "kernels/clock.h"

#include <stddef.h>
#include <stdint.h>

/* One picture as a person would see it: cropped and rotated for display; the sample aspect is
 * still to be applied (display width = width * sar.num / sar.den). */
typedef struct lk_frame_view {
    lk_span span;  /* [presentation time, next presentation time) */
    int64_t index; /* 0, 1, ... in presentation order */
    int width, height;
    lk_rational sar;       /* sample aspect, 1/1 when unknown */
    const uint8_t *luma;   /* [height, width], 8 bit, as coded (16..235 or 0..255) */
    ptrdiff_t luma_stride; /* bytes, may exceed width */
    int luma_full_range;   /* 1: 0..255, 0: 16..235 */
    const uint8_t *rgb;    /* [height, width, 3] sRGB, or NULL unless it was asked for */
    ptrdiff_t rgb_stride;  /* bytes */
} lk_frame_view;

/* A run of sound.  Consecutive views of one stream touch (next.span.start == span.end) unless
 * `gap` is set on the later one. */
typedef struct lk_pcm_view {
    lk_span span; /* time of the first sample .. time after the last one */
    int64_t n_samples;
    int n_channels;
    int rate_hz;
    const float *const *channel; /* [n_channels][n_samples], nominally [-1, 1] */
    int gap;                     /* 1: the timeline was re-anchored before this view */
} lk_pcm_view;

/* A rectangle in fractions of the displayed picture, [0, 1]. */
typedef struct lk_box {
    float x, y, width, height;
} lk_box;

#endif /* LK_VIEW_H */
