/* mel.c - see mel.h. */
#include "kernels/mel.h"

#include "kernels/mem.h"

#include <math.h>
#include <string.h>

void lk_hann(float *w, int n)
{
    for (int i = 0; i < n; i++)
        w[i] = (float)(0.5 - 0.5 * cos(2 * M_PI * i / n));
}

static double mel_from_hz(double hz)
{
    return 2595 * log10(1 + hz / 700);
}

static double hz_from_mel(double mel)
{
    return 700 * (pow(10, mel / 2595) - 1);
}

/* Corner i of the triangles; band b spans corners b, b + 1 (its centre) and b + 2. */
static double corner(int i, int n_bands, double low_hz, double high_hz)
{
    const double low = mel_from_hz(low_hz), high = mel_from_hz(high_hz);
    return hz_from_mel(low + (high - low) * i / (n_bands + 1));
}

double lk_mel_centre(int band, int n_bands, double low_hz, double high_hz)
{
    return corner(band + 1, n_bands, low_hz, high_hz);
}

lk_status lk_mel_bank_create(lk_mel_bank *bank, int n_bands, int fft_size, int rate_hz,
                             double low_hz, double high_hz)
{
    lk_status st = LK_OK;
    memset(bank, 0, sizeof *bank);
    LK_REQUIRE(n_bands >= 1 && fft_size >= 2 && low_hz >= 0 && low_hz < high_hz &&
                   high_hz <= rate_hz / 2.0,
               LK_E_ARG, "no mel bank of %d bands from %g to %g Hz at %d Hz", n_bands, low_hz,
               high_hz, rate_hz);
    bank->n_bands = n_bands;
    const double bin_hz = (double)rate_hz / fft_size;
    LK_TRY(LK_NEW_ARRAY(&bank->first, n_bands));
    LK_TRY(LK_NEW_ARRAY(&bank->count, n_bands));
    LK_TRY(LK_NEW_ARRAY(&bank->offset, n_bands));
    LK_TRY(LK_NEW_ARRAY(&bank->weight, fft_size + 4 * n_bands));
    int used = 0;
    for (int b = 0; b < n_bands; b++) {
        const double lo = corner(b, n_bands, low_hz, high_hz);
        const double mid = corner(b + 1, n_bands, low_hz, high_hz);
        const double hi = corner(b + 2, n_bands, low_hz, high_hz);
        bank->first[b] = (int)floor(lo / bin_hz) + 1;
        bank->offset[b] = used;
        const int end = (int)ceil(hi / bin_hz); /* bins strictly inside (lo, hi) */
        for (int k = bank->first[b]; k < end; k++) {
            const double f = k * bin_hz;
            bank->weight[used++] =
                (float)(f <= mid ? (f - lo) / (mid - lo) : (hi - f) / (hi - mid));
        }
        if (used == bank->offset[b]) {
            bank->first[b] = (int)lround(mid / bin_hz);
            bank->weight[used++] = (float)((hi - lo) / 2 / bin_hz);
        }
        bank->count[b] = used - bank->offset[b];
    }
done:
    if (st != LK_OK)
        lk_mel_bank_clear(bank);
    return st;
}

void lk_mel_bank_clear(lk_mel_bank *bank)
{
    lk_free(bank->first);
    lk_free(bank->count);
    lk_free(bank->offset);
    lk_free(bank->weight);
    memset(bank, 0, sizeof *bank);
}

void lk_mel_bank_apply(const lk_mel_bank *bank, const float *power, float *bands)
{
    for (int b = 0; b < bank->n_bands; b++) {
        const float *const w = bank->weight + bank->offset[b], *const p = power + bank->first[b];
        float sum = 0;
        for (int k = 0; k < bank->count[b]; k++)
            sum += w[k] * p[k];
        bands[b] = sum;
    }
}
