/* fft.h - real Fourier transforms in single precision; the only door to FFTW.
 *
 * Plans are made with FFTW_ESTIMATE, which looks at no clock, so the same machine always gets the
 * same bits.
 *
 * Threads      creating and freeing are serialised inside; one lk_fft per thread at a time.
 * Source       FFTW 3 manual, "One-Dimensional DFTs of Real Data".
 */
#ifndef LK_FFT_H
#define LK_FFT_H

#include "kernels/status.h"

typedef struct lk_fft lk_fft;

/* Transforms of n real samples, n even, 2 <= n <= 2^24. */
LK_CHECKED lk_status lk_fft_create(lk_fft **fft, int n);
void lk_fft_free(lk_fft **fft);

int lk_fft_size(const lk_fft *fft);

/* The n real samples, written by the caller before forward and by inverse; owned by the object. */
float *lk_fft_time(lk_fft *fft);

/* The n/2 + 1 complex bins as pairs (re, im), written by forward and by the caller before inverse.
 */
float *lk_fft_bins(lk_fft *fft);

/* bins[k] = sum_j time[j] exp(-2 pi i j k / n).  The samples stay. */
void lk_fft_forward(lk_fft *fft);

/* time[j] = (1/n) sum over all n bins; inverse(forward(x)) = x.  The bins are destroyed. */
void lk_fft_inverse(lk_fft *fft);

#endif /* LK_FFT_H */
