/* signal.c - see signal.h. */
#include "kernels/signal.h"

#include "kernels/fft.h"
#include "kernels/mem.h"

#include <math.h>
#include <string.h>

/* ---- short-time power spectra ---------------------------------------------------------------- */

struct lk_stft {
    int window, hop;
    lk_fft *fft;
    float *hann;
    float scale; /* 1 / (n sum w^2) */
    float *held; /* samples from index `first` on; index -window/2 starts the silence before */
    size_t capacity;
    int64_t first, n_held;
    int64_t n_in;   /* samples pushed */
    int64_t frame;  /* next frame */
    int64_t frames; /* frames in all, -1 before the end */
};

lk_status lk_stft_create(lk_stft **stft, int window, int fft_size, int hop)
{
    lk_status st = LK_OK;
    lk_stft *s = NULL;
    *stft = NULL;
    LK_REQUIRE(window >= 2 && window % 2 == 0 && window <= fft_size && hop >= 1, LK_E_ARG,
               "no spectrum with window %d, size %d, hop %d", window, fft_size, hop);
    LK_TRY(LK_NEW(&s));
    s->window = window;
    s->hop = hop;
    s->frames = -1;
    LK_TRY(lk_fft_create(&s->fft, fft_size));
    LK_TRY(LK_NEW_ARRAY(&s->hann, window));
    lk_hann(s->hann, window);
    double energy = 0;
    for (int i = 0; i < window; i++)
        energy += (double)s->hann[i] * (double)s->hann[i];
    s->scale = (float)(1.0 / (energy * fft_size));
    s->n_held = window / 2;
    s->first = -s->n_held;
    LK_TRY(LK_GROW(&s->held, &s->capacity, s->n_held + window));
    *stft = s;
    s = NULL;
done:
    lk_stft_free(&s);
    return st;
}

void lk_stft_free(lk_stft **s)
{
    if (!s || !*s)
        return;
    lk_fft_free(&(*s)->fft);
    lk_free((*s)->hann);
    lk_free((*s)->held);
    lk_free(*s);
    *s = NULL;
}

static lk_status hold(lk_stft *s, const float *x, int64_t n)
{
    lk_status st = LK_OK;
    const int64_t begin = s->frame * s->hop - s->window / 2;
    if (begin > s->first) {
        const int64_t past = begin - s->first < s->n_held ? begin - s->first : s->n_held;
        s->n_held -= past;
        s->first += past;
        memmove(s->held, s->held + past, (size_t)s->n_held * sizeof *s->held);
    }
    LK_TRY(LK_GROW(&s->held, &s->capacity, s->n_held + n));
    if (x)
        memcpy(s->held + s->n_held, x, (size_t)n * sizeof *x);
    else
        memset(s->held + s->n_held, 0, (size_t)n * sizeof *s->held);
    s->n_held += n;
done:
    return st;
}

lk_status lk_stft_push(lk_stft *s, const float *x, int64_t n)
{
    s->n_in += n;
    return hold(s, x, n);
}

lk_status lk_stft_end(lk_stft *s)
{
    s->frames = (s->n_in + s->hop - 1) / s->hop;
    return hold(s, NULL, s->window / 2 + s->hop);
}

bool lk_stft_next(lk_stft *s, float *power)
{
    const int64_t begin = s->frame * s->hop - s->window / 2 - s->first;
    if ((s->frames >= 0 && s->frame >= s->frames) || begin + s->window > s->n_held)
        return false;
    float *const time = lk_fft_time(s->fft);
    const int n = lk_fft_size(s->fft);
    for (int i = 0; i < s->window; i++)
        time[i] = s->hann[i] * s->held[begin + i];
    memset(time + s->window, 0, (size_t)(n - s->window) * sizeof *time);
    lk_fft_forward(s->fft);
    const float *const bin = lk_fft_bins(s->fft);
    for (int k = 0; k <= n / 2; k++) {
        const float p = bin[2 * k] * bin[2 * k] + bin[2 * k + 1] * bin[2 * k + 1];
        power[k] = p * s->scale * (k == 0 || k == n / 2 ? 1.0f : 2.0f);
    }
    s->frame++;
    return true;
}

/* ---- loudness -------------------------------------------------------------------------------- */

double lk_a_weight(double hz)
{
    const double f = hz * hz;
    const double f1 = 20.598997 * 20.598997, f2 = 107.65265 * 107.65265;
    const double f3 = 737.86223 * 737.86223, f4 = 12194.217 * 12194.217;
    const double at_1khz = 0.7943463957106; /* of the amplitude, so that 1 kHz has gain 1 */
    const double a = f4 * f * f / ((f + f1) * sqrt((f + f2) * (f + f3)) * (f + f4)) / at_1khz;
    return a * a;
}
