/* timeline.h - frames and sound of a clip as two pictures on one time axis [0, duration].
 *
 * Strip         the axis is cut into equal slots; slot i shows the frame that stands on the screen
 *               at its middle, so a frame sits where its time is.
 * Spectrogram   log mel power, 30 ms windows every 5 ms; column c holds the mean of the windows
 *               whose centre falls into it; 70 dB below the loudest value is black.
 *
 * Frames and runs of sound come in the order of their times.
 *
 * Threads      one object by one thread.
 */
#ifndef LK_TIMELINE_H
#define LK_TIMELINE_H

#include "kernels/status.h"
#include "kernels/view.h"

#define LK_TIMELINE_PIXELS 1440 /* of the axis, at most */

typedef struct lk_timeline lk_timeline;

/* rgb [height, width, 3]; NULL when there was nothing to see, or to hear. */
typedef struct lk_timeline_picture {
    int width, height;
    const uint8_t *rgb;
    int n_tiles;    /* slots of a strip */
    double high_hz; /* top of a spectrogram */
} lk_timeline_picture;

LK_CHECKED lk_status lk_timeline_new(lk_timeline **t, double duration_s);
void lk_timeline_free(lk_timeline **t);

LK_CHECKED lk_status lk_timeline_frame(lk_timeline *t, const lk_frame_view *v);
/* Runs of another rate than the first one are passed over. */
LK_CHECKED lk_status lk_timeline_sound(lk_timeline *t, const lk_pcm_view *v);

/* No more comes.  The pictures are valid until the timeline is freed. */
LK_CHECKED lk_status lk_timeline_finish(lk_timeline *t, lk_timeline_picture *strip,
                                        lk_timeline_picture *spectrogram);

/* Width over height as it is shown, 0.2 .. 5. */
double lk_frame_aspect(const lk_frame_view *v);

/* Each pixel of out [h, w], `stride` bytes a row, the mean of the frame's pixels under it. */
void lk_frame_shrink(const lk_frame_view *v, uint8_t *out, int w, int h, ptrdiff_t stride);

/* Colour of x in [0, 1], dark to light, same lightness order for every kind of colour vision;
 * map 0: sound, 1: anything else. */
void lk_colour(int map, double x, uint8_t rgb[3]);

#endif /* LK_TIMELINE_H */
