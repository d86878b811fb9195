/* picture_pulses.h - instants at which motion is suddenly lost: what one sees of an event.
 *
 * Threads      pure.
 */
#ifndef LK_PICTURE_PULSES_H
#define LK_PICTURE_PULSES_H

#include "align/features.h"
#include "align/lag.h"

/* Pulses on frame times, sorted; *pulses is owned by the caller.  *frame_s is the usual distance
 * of frames. */
LK_CHECKED lk_status lk_picture_pulses(const lk_video_features *video, lk_pulse **pulses,
                                       int64_t *n, double *frame_s);

/* One time per event: the local maxima among pulses on neighbouring frames, each at the centroid
 * with its neighbours, into t_s[0 .. n).  Returns how many. */
int64_t lk_picture_peaks(const lk_pulse *pulses, int64_t n, double frame_s, double *t_s);

#endif /* LK_PICTURE_PULSES_H */
