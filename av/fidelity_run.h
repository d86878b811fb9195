/* fidelity_run.h - how close one media file is to another: what a codec or tokenizer lost.
 *
 * Sound is compared as one channel at one rate; what the copy lags behind by a codec's unsignalled
 * delay, up to 50 ms, is found by cross-correlation, stated and undone.  Pictures are compared
 * frame by frame, each of the original with the copy's nearest in time.
 *
 * Threads      one call per thread.
 */
#ifndef LK_FIDELITY_RUN_H
#define LK_FIDELITY_RUN_H

#include "kernels/status.h"

#include <stdint.h>

typedef struct lk_fidelity_options {
    int rate_hz;       /* of the comparison; 0: the original's */
    int width, height; /* likewise of the pictures; 0: the original's */
    double seconds;    /* at most this much of both */
    int group;         /* PSNR by the frame's place in groups of this many; 1: not */
} lk_fidelity_options;

enum { LK_FIDELITY_MOST_GROUP = 8 };

/* NaN: could not be said. */
typedef struct lk_fidelity {
    int64_t n_samples, lag_samples;
    double si_sdr_db, mel, mel_low, stft, stft_low, stoi; /* low: below 3.5 kHz */
    int64_t n_frames;
    double psnr_db, psnr_worst_db, ssim, ms_ssim, flicker;
    double place_db[LK_FIDELITY_MOST_GROUP]; /* the first frame alone, as the last of its group */
} lk_fidelity;

LK_CHECKED lk_status lk_fidelity_of(const char *original, const char *copy,
                                    const lk_fidelity_options *o, lk_fidelity *f);

#endif /* LK_FIDELITY_RUN_H */
