/* farneback.h - dense optical flow by OpenCV, for numbers comparable with published ones.
 *
 * Threads      one object per thread at a time; OpenCV's own threads are switched off inside.
 * Source       Farneback, "Two-Frame Motion Estimation Based on Polynomial Expansion", SCIA 2003.
 */
#ifndef LK_FARNEBACK_H
#define LK_FARNEBACK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Is it built in? */
int lk_farneback_available(void);

/* Mean length of the flow from `from` to `to` in pixels, both [height, width] grey 0..255 without
 * gaps: pyramid 0.5, 3 levels, window 15, 3 iterations, neighbourhood 5, sigma 1.2.  Below 0 when
 * OpenCV failed or is not built in. */
double lk_farneback_mean(const uint8_t *from, const uint8_t *to, int width, int height);

#ifdef __cplusplus
}
#endif

#endif /* LK_FARNEBACK_H */
