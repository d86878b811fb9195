/* resample.h - change the rate of one channel of sound, in pieces of any size.
 *
 * Linear phase and no delay: output sample k lies at time k / out_hz when input sample 0 lies at
 * time 0.  The same input gives the same bits however it is cut into pushes.  Before the first and
 * after the last sample the signal counts as zero.  Stopband (everything that would alias) and the
 * images lie below -85 dB, the passband (0 .. 84 % of the lower Nyquist frequency) is flat within
 * 0.001 dB.
 *
 * Threads      one object per thread at a time.
 * Source       windowed-sinc polyphase interpolation: Crochiere & Rabiner 1983, ch. 2; the Kaiser
 *              window and its length rule: Kaiser 1974.
 */
#ifndef LK_RESAMPLE_H
#define LK_RESAMPLE_H

#include "kernels/status.h"

#include <stdint.h>

typedef struct lk_resampler lk_resampler;

/* Rates from 1000 to 768000 Hz, LK_E_ARG outside.  Equal rates copy. */
LK_CHECKED lk_status lk_resampler_create(lk_resampler **r, int in_hz, int out_hz);
void lk_resampler_free(lk_resampler **r);

/* Take n finite samples (in may be NULL for n zeros) and hand out what is ready: *out holds *n_out
 * samples, owned by the resampler, valid until its next call. */
LK_CHECKED lk_status lk_resampler_push(lk_resampler *r, const float *in, int64_t n,
                                       const float **out, int64_t *n_out);

/* Hand out the rest, ceil(n_in * out_hz / in_hz) samples in total, and start anew at time 0. */
LK_CHECKED lk_status lk_resampler_flush(lk_resampler *r, const float **out, int64_t *n_out);

#endif /* LK_RESAMPLE_H */
