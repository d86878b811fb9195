/* signal.h - windows, short-time power spectra, mel bands, A-weighting.
 *
 * Threads      pure functions; one lk_stft per thread at a time.
 */
#ifndef LK_SIGNAL_H
#define LK_SIGNAL_H

#include "kernels/status.h"

#include <stdbool.h>
#include <stdint.h>

/* Periodic Hann window: w[i] = 0.5 - 0.5 cos(2 pi i / n); its centre is exactly sample n / 2. */
void lk_hann(float *w, int n);

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

/* ---- mel bands ------------------------------------------------------------------------------- */

/* Triangles on the HTK mel scale, mel = 2595 log10(1 + f / 700), from `low_hz` to `high_hz`, each
 * with unit peak, so a band holds the power that falls into it.  Where the bins are coarser than
 * a triangle the power of the nearest bin counts in proportion, so no band is empty. */
typedef struct lk_mel_bank {
    int n_bands;
    int *first;    /* [n_bands] first bin */
    int *count;    /* [n_bands] */
    int *offset;   /* [n_bands] into weight */
    float *weight; /* concatenated */
} lk_mel_bank;

LK_CHECKED lk_status lk_mel_bank_create(lk_mel_bank *bank, int n_bands, int fft_size, int rate_hz,
                                        double low_hz, double high_hz);
void lk_mel_bank_clear(lk_mel_bank *bank);
void lk_mel_bank_apply(const lk_mel_bank *bank, const float *power, float *bands);

/* Centre of a band in Hz. */
double lk_mel_centre(int band, int n_bands, double low_hz, double high_hz);

/* ---- loudness -------------------------------------------------------------------------------- */

/* Power gain of the A-weighting at hz (1 at 1 kHz), IEC 61672-1:2013, annex E. */
double lk_a_weight(double hz);

#endif /* LK_SIGNAL_H */
