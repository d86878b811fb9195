/* signal.h - short-time power spectra and A-weighting; windows and mel bands come with mel.h.
 *
 * Threads      pure functions; one lk_stft per thread at a time.
 */
#ifndef LK_SIGNAL_H
#define LK_SIGNAL_H

#include "kernels/mel.h"
#include "kernels/status.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- short-time power spectra, streamed ------------------------------------------------------ */

typedef struct lk_stft lk_stft;

/* Frame k is the Hann-windowed signal centred on sample k * hop, zero before the first and after
 * the last sample.  window even, window <= fft_size (zero padded), hop >= 1. */
LK_CHECKED lk_status lk_stft_create(lk_stft **s, int window, int fft_size, int hop);
void lk_stft_free(lk_stft **s);

LK_CHECKED lk_status lk_stft_push(lk_stft *s, const float *x, int64_t n);

/* No more samples: the remaining frames become ready, ceil(n / hop) in all. */
LK_CHECKED lk_status lk_stft_end(lk_stft *s);

/* Write the next frame's power, fft_size / 2 + 1 values, and return true; false when none is
 * ready.  Scaled so that the sum over all bins is the window-weighted mean square of the signal:
 * a full-scale sine sums to 0.5. */
bool lk_stft_next(lk_stft *s, float *power);

/* ---- loudness -------------------------------------------------------------------------------- */

/* Power gain of the A-weighting at hz (1 at 1 kHz), IEC 61672-1:2013, annex E. */
double lk_a_weight(double hz);

#endif /* LK_SIGNAL_H */
