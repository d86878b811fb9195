/* mel.h - the window and the mel bands that short-time spectra are made and read with.
 *
 * Threads      pure functions.
 */
#ifndef LK_MEL_H
#define LK_MEL_H

#include "kernels/status.h"

/* Periodic Hann window: w[i] = 0.5 - 0.5 cos(2 pi i / n); its centre is exactly sample n / 2. */
void lk_hann(float *w, int n);

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

#endif /* LK_MEL_H */
