/* av_align_published.c - see av_align_published.h.
 *
 * Sound, at 22050 Hz mono: frames of 2048 every 512, centred, zeros outside, periodic Hann window;
 * power in 128 mel bands to 11025 Hz (Slaney's scale: linear to 1 kHz, then logarithmic; triangles
 * of equal area); 10 log10 of it, at least 1e-10 and at most 80 dB below the loudest.
 *
 *   strength[t]   = mean over bands of max(0, dB[t'] - dB[t' - 1]), t' = t - 2, scaled to 0..1
 *   t is an onset   strength[t] = max over [t - 1, t], >= mean over [t - 4, t + 4] + 0.07, and more
 *                   than one frame after the last
 */
#include "align/av_align_published.h"

#include "align/farneback.h"
#include "kernels/fft.h"
#include "kernels/mem.h"

#include <math.h>
#include <string.h>

#define N_FFT  2048
#define N_BINS (N_FFT / 2 + 1)
#define N_MELS 128
#define DELAY  2 /* frames: half a window in hops */
#define TAU    6.283185307179586

/* ---- picture ---- */

/* Grey 0..255 as the script's decoder gives it: studio range is stretched. */
static void take_grey(const lk_frame_view *v, uint8_t *out)
{
    for (int y = 0; y < v->height; y++)
        for (int x = 0; x < v->width; x++) {
            const int c = v->luma[y * v->luma_stride + x];
            const double full = v->luma_full_range ? c : (c - 16) * 255.0 / 219.0;
            out[(ptrdiff_t)y * v->width + x] = (uint8_t)(full < 0     ? 0
                                                         : full > 255 ? 255
                                                                      : lrint(full));
        }
}

lk_status lk_published_flow_push(lk_published_flow *f, const lk_frame_view *v)
{
    lk_status st = LK_OK;
    uint8_t *swap;
    const size_t area = (size_t)v->width * (size_t)v->height;
    LK_TRY(LK_GROW(&f->mean, &f->capacity, f->n + 1));
    if (v->width != f->width || v->height != f->height) {
        lk_free(f->previous);
        lk_free(f->current);
        f->previous = f->current = NULL;
        f->width = v->width;
        f->height = v->height;
        LK_TRY(LK_NEW_ARRAY(&f->previous, area));
        LK_TRY(LK_NEW_ARRAY(&f->current, area));
        take_grey(v, f->current);
        f->mean[f->n++] = 0;
        goto done;
    }
    swap = f->previous;
    f->previous = f->current;
    f->current = swap;
    take_grey(v, f->current);
    f->mean[f->n] = lk_farneback_mean(f->previous, f->current, v->width, v->height);
    LK_REQUIRE(f->mean[f->n] >= 0, LK_E_INTERNAL, "OpenCV could not compute the optical flow");
    f->n++;
    if (f->n == 2)
        f->mean[0] = f->mean[1];
done:
    return st;
}

void lk_published_flow_clear(lk_published_flow *f)
{
    lk_free(f->mean);
    lk_free(f->previous);
    lk_free(f->current);
    memset(f, 0, sizeof *f);
}

int64_t lk_published_flow_peaks(const double *mean, int64_t n, int64_t *index)
{
    int64_t k = 0;
    for (int64_t i = 1; i + 1 < n; i++)
        if (mean[i] > mean[i - 1] && mean[i] > mean[i + 1] && mean[i] >= 0.1)
            index[k++] = i;
    return k;
}

/* ---- sound ---- */

static double mel_of(double hz)
{
    return hz < 1000 ? 3 * hz / 200 : 15 + log(hz / 1000) / (log(6.4) / 27);
}

static double hz_of(double mel)
{
    return mel < 15 ? 200 * mel / 3 : 1000 * exp((mel - 15) * log(6.4) / 27);
}

/* [N_MELS, N_BINS] */
static void mel_filters(float *w)
{
    const double top = mel_of(LK_PUBLISHED_RATE_HZ / 2.0);
    for (int m = 0; m < N_MELS; m++) {
        const double lo = hz_of(top * m / (N_MELS + 1)), mid = hz_of(top * (m + 1) / (N_MELS + 1));
        const double hi = hz_of(top * (m + 2) / (N_MELS + 1));
        for (int k = 0; k < N_BINS; k++) {
            const double hz = (double)k * LK_PUBLISHED_RATE_HZ / N_FFT;
            const double up = (hz - lo) / (mid - lo), down = (hi - hz) / (hi - mid);
            const double tri = fmax(0, fmin(up, down));
            w[m * N_BINS + k] = (float)(tri * 2 / (hi - lo));
        }
    }
}

/* Mel power of all frames, [n_frames, N_MELS]. */
static lk_status mel_power(const float *pcm, int64_t n, int64_t n_frames, float *mel)
{
    lk_status st = LK_OK;
    lk_fft *fft = NULL;
    float *w = NULL;
    LK_TRY(LK_NEW_ARRAY(&w, N_MELS * N_BINS));
    LK_TRY(lk_fft_create(&fft, N_FFT));
    mel_filters(w);
    for (int64_t t = 0; t < n_frames; t++) {
        float *x = lk_fft_time(fft), power[N_BINS];
        const float *bins = lk_fft_bins(fft);
        for (int i = 0; i < N_FFT; i++) {
            const int64_t at = t * LK_PUBLISHED_HOP + i - N_FFT / 2;
            const double hann = 0.5 - 0.5 * cos(TAU * i / N_FFT);
            x[i] = at < 0 || at >= n ? 0 : (float)(hann * (double)pcm[at]);
        }
        lk_fft_forward(fft);
        for (int k = 0; k < N_BINS; k++)
            power[k] = bins[2 * k] * bins[2 * k] + bins[2 * k + 1] * bins[2 * k + 1];
        for (int m = 0; m < N_MELS; m++) {
            double s = 0;
            for (int k = 0; k < N_BINS; k++)
                s += (double)w[m * N_BINS + k] * (double)power[k];
            mel[t * N_MELS + m] = (float)s;
        }
    }
done:
    lk_fft_free(&fft);
    lk_free(w);
    return st;
}

static void strength_of(float *mel, int64_t n_frames, double *strength)
{
    double top = -INFINITY, lo = INFINITY, hi = -INFINITY;
    for (int64_t i = 0; i < n_frames * N_MELS; i++) {
        mel[i] = (float)(10 * log10(fmax(1e-10, (double)mel[i])));
        top = fmax(top, (double)mel[i]);
    }
    for (int64_t i = 0; i < n_frames * N_MELS; i++)
        mel[i] = (float)fmax((double)mel[i], top - 80);
    for (int64_t t = 0; t < n_frames; t++) {
        const int64_t at = t - DELAY;
        strength[t] = 0;
        for (int m = 0; at >= 1 && m < N_MELS; m++)
            strength[t] +=
                fmax(0, (double)mel[at * N_MELS + m] - (double)mel[(at - 1) * N_MELS + m]);
        strength[t] /= N_MELS;
        lo = fmin(lo, strength[t]);
        hi = fmax(hi, strength[t]);
    }
    for (int64_t t = 0; t < n_frames; t++)
        strength[t] = hi > lo ? (strength[t] - lo) / (hi - lo) : 0;
}

static int64_t pick(const double *x, int64_t n, double *times)
{
    int64_t last = -10, k = 0;
    for (int64_t t = 0; t < n; t++) {
        const int64_t from = t < 4 ? 0 : t - 4, to = t + 5 < n ? t + 5 : n;
        double mean = 0;
        for (int64_t i = from; i < to; i++)
            mean += x[i];
        mean /= (double)(to - from);
        if ((t > 0 && x[t - 1] > x[t]) || x[t] < mean + 0.07 || t - last <= 1)
            continue;
        last = t;
        times[k++] = (double)t * LK_PUBLISHED_HOP / LK_PUBLISHED_RATE_HZ;
    }
    return k;
}

lk_status lk_published_onsets(const float *pcm, int64_t n, double **times, int64_t *n_times)
{
    lk_status st = LK_OK;
    const int64_t n_frames = 1 + n / LK_PUBLISHED_HOP;
    float *mel = NULL;
    double *strength = NULL;
    *times = NULL;
    *n_times = 0;
    LK_TRY(LK_NEW_ARRAY(&mel, n_frames * N_MELS));
    LK_TRY(LK_NEW_ARRAY(&strength, n_frames));
    LK_TRY(LK_NEW_ARRAY(times, n_frames));
    LK_TRY(mel_power(pcm, n, n_frames, mel));
    strength_of(mel, n_frames, strength);
    *n_times = pick(strength, n_frames, *times);
done:
    lk_free(mel);
    lk_free(strength);
    return st;
}

/* ---- pairs ---- */

int64_t lk_published_hits(const double *onset_s, int64_t n_onsets, const int64_t *peak,
                          int64_t n_peaks, double fps, uint8_t *used)
{
    int64_t hits = 0;
    memset(used, 0, (size_t)n_peaks);
    for (int64_t i = 0; i < n_onsets; i++)
        for (int64_t j = 0; j < n_peaks; j++)
            if (!used[j] && fabs(onset_s[i] - (double)peak[j] / fps) < 1 / fps) {
                used[j] = 1;
                hits++;
                break;
            }
    return hits;
}
