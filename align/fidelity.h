/* fidelity.h - how close a reproduction is to its original, without trained networks.
 *
 * Sound is one channel of floats, nominally [-1, 1], original and reproduction equally long and
 * aligned; pictures are planes of 8-bit numbers.  Every function gives NaN-free numbers or a
 * failure: LK_E_EMPTY when there is too little to say anything.
 *
 * Threads      pure functions.
 */
#ifndef LK_FIDELITY_H
#define LK_FIDELITY_H

#include "kernels/status.h"

#include <stddef.h>
#include <stdint.h>

/* ---- sound (fidelity_sound.c) ---- */

/* Scale-invariant signal to distortion ratio in dB, means removed; at most 120.
 * Source       Le Roux, Wisdom, Erdogan, Hershey: "SDR - half-baked or well done?", 2019, eq. 2. */
LK_CHECKED lk_status lk_si_sdr(const float *original, const float *copy, int64_t n, double *db);

/* Mean |log10 a - log10 b| of mel amplitudes, windows of 2048 and 512 samples (hop a quarter; 128
 * and 40 HTK bands from 0 to high_hz, at most half the rate), summed over the two.  Amplitudes are
 * scaled so that a full-scale sine has 1, and not below 1e-5. */
LK_CHECKED lk_status lk_mel_distance(const float *original, const float *copy, int64_t n,
                                     int rate_hz, double high_hz, double *distance);

/* Mean ||X| - |Y|| + mean |log10 |X|^2 - log10 |Y|^2| of the same amplitudes before the mel bands,
 * bins up to high_hz, floor 1e-5, summed over the two windows. */
LK_CHECKED lk_status lk_stft_distance(const float *original, const float *copy, int64_t n,
                                      int rate_hz, double high_hz, double *distance);

/* Short-time objective intelligibility, 0 .. 1 (rarely below 0).  Needs about 0.4 s of speech.
 * Source       Taal, Hendriks, Heusdens, Jensen, IEEE TASLP 19(7), 2011. */
LK_CHECKED lk_status lk_stoi(const float *original, const float *copy, int64_t n, int rate_hz,
                             double *stoi);

/* ---- pictures (fidelity_picture.c) ---- */

/* A clip as numbers 0 .. 255: [n_frames, height, width, n_channels], rows close together. */
typedef struct lk_clip_view {
    const uint8_t *data;
    int64_t n_frames;
    int height, width, n_channels;
} lk_clip_view;

/* 10 log10(255^2 / mean squared error) over everything, at most 120 dB; per frame into
 * frame_db[n_frames] unless it is NULL. */
LK_CHECKED lk_status lk_psnr(const lk_clip_view *original, const lk_clip_view *copy, double *db,
                             double *frame_db);

/* Structural similarity, mean over pixels, channels and frames; Gaussian window of 11 x 11 with
 * deviation 1.5, no padding, so sides of at least 11
 * (LK_E_EMPTY).
 * Source       Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 13(4), 2004. */
LK_CHECKED lk_status lk_ssim(const lk_clip_view *original, const lk_clip_view *copy, double *ssim);

/* The same over five scales; sides of at least 176 (LK_E_EMPTY), as the published weights need all
 * five. Source       Wang, Simoncelli, Bovik: "Multi-scale structural similarity", 2003. */
LK_CHECKED lk_status lk_ms_ssim(const lk_clip_view *original, const lk_clip_view *copy,
                                double *ms_ssim);

/* Mean |(x_t - x_(t-1)) - (y_t - y_(t-1))| in grey levels: flicker that the original has not. */
LK_CHECKED lk_status lk_flicker(const lk_clip_view *original, const lk_clip_view *copy,
                                double *levels);

#endif /* LK_FIDELITY_H */
