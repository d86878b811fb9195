/* fidelity_sound.c - see fidelity.h.
 *
 *   SI-SDR   s = <x, y> / <x, x> x, e = y - s, 10 log10(|s|^2 / |e|^2)
 *   STOI     at 10 kHz: frames of 256 (hop 128) more than 40 dB below the loudest original frame
 *            are cut out of both; 15 third-octave envelopes from 150 Hz; over every run of 30
 *            frames the copy's envelope is scaled to the original's energy and clipped at -15 dB
 *            signal to distortion; the mean correlation of all runs and bands is the score
 */
#include "align/fidelity.h"

#include "kernels/fft.h"
#include "kernels/mem.h"
#include "kernels/resample.h"
#include "kernels/signal.h"

#include <math.h>
#include <string.h>

#define FLOOR  1e-5
#define MAX_DB 120.0

lk_status lk_si_sdr(const float *x, const float *y, int64_t n, double *db)
{
    lk_status st = LK_OK;
    double mx = 0, my = 0, xx = 0, xy = 0, ee = 0, ss = 0, scale;
    LK_REQUIRE(n > 0, LK_E_EMPTY, "no samples to compare");
    for (int64_t i = 0; i < n; i++) {
        mx += x[i];
        my += y[i];
    }
    mx /= (double)n;
    my /= (double)n;
    for (int64_t i = 0; i < n; i++) {
        xx += (x[i] - mx) * (x[i] - mx);
        xy += (x[i] - mx) * (y[i] - my);
    }
    LK_REQUIRE(xx > 0, LK_E_EMPTY, "the original is silent: its ratio to distortion is undefined");
    scale = xy / xx;
    for (int64_t i = 0; i < n; i++) {
        const double s = scale * (x[i] - mx), e = y[i] - my - s;
        ss += s * s;
        ee += e * e;
    }
    *db = ss <= ee * 1e-12 ? -MAX_DB : ee <= ss * 1e-12 ? MAX_DB : 10 * log10(ss / ee);
done:
    return st;
}

/* ---- spectra ---- */

typedef struct spectra {
    lk_fft *fft;
    float *window;
    int size, hop;
    double scale; /* a full-scale sine becomes 1 */
} spectra;

static void spectra_clear(spectra *s)
{
    lk_fft_free(&s->fft);
    lk_free(s->window);
    s->window = NULL;
}

static lk_status spectra_create(spectra *s, int size)
{
    lk_status st = LK_OK;
    double sum = 0;
    *s = (spectra){.size = size, .hop = size / 4};
    LK_TRY(lk_fft_create(&s->fft, size));
    LK_TRY(LK_NEW_ARRAY(&s->window, size));
    lk_hann(s->window, size);
    for (int i = 0; i < size; i++)
        sum += s->window[i];
    s->scale = 2 / sum;
done:
    return st;
}

/* Amplitudes of the frame centred on sample `centre`, size / 2 + 1 of them. */
static void amplitudes(const spectra *s, const float *x, int64_t n, int64_t centre, float *out)
{
    float *time = lk_fft_time(s->fft), *bins = lk_fft_bins(s->fft);
    for (int i = 0; i < s->size; i++) {
        const int64_t at = centre - s->size / 2 + i;
        time[i] = at >= 0 && at < n ? s->window[i] * x[at] : 0;
    }
    lk_fft_forward(s->fft);
    for (int k = 0; k <= s->size / 2; k++)
        out[k] = (float)(s->scale * hypot(bins[2 * k], bins[2 * k + 1]));
}

static double log_floor(double a)
{
    return log10(a > FLOOR ? a : FLOOR);
}

/* What one pair of frames adds, and how many numbers it stood for. */
typedef struct tally {
    double sum;
    int64_t n;
} tally;

static void add_bins(tally *t, const float *a, const float *b, int n)
{
    for (int k = 0; k < n; k++)
        t->sum += fabs((double)a[k] - b[k]) + 2 * fabs(log_floor(a[k]) - log_floor(b[k]));
    t->n += n;
}

static void add_bands(tally *t, const lk_mel_bank *bank, const float *a, const float *b, float *u,
                      float *v)
{
    lk_mel_bank_apply(bank, a, u);
    lk_mel_bank_apply(bank, b, v);
    for (int k = 0; k < bank->n_bands; k++)
        t->sum += fabs(log_floor(u[k]) - log_floor(v[k]));
    t->n += bank->n_bands;
}

/* One window size; n_bands 0 compares bins. */
static lk_status spectral_distance(const float *x, const float *y, int64_t n, int rate_hz,
                                   double high_hz, int size, int n_bands, double *distance)
{
    lk_status st = LK_OK;
    spectra s = {0};
    lk_mel_bank bank = {0};
    tally t = {0};
    const int n_bins = (int)floor(high_hz * size / rate_hz) + 1;
    float *a = NULL; /* amplitudes of both, then bands of both */
    LK_TRY(spectra_create(&s, size));
    LK_TRY(LK_NEW_ARRAY(&a, 2 * (size / 2 + 1) + 2 * n_bands));
    if (n_bands)
        LK_TRY(lk_mel_bank_create(&bank, n_bands, size, rate_hz, 0, high_hz));
    for (int64_t at = 0; at < n; at += s.hop) {
        float *b = a + size / 2 + 1, *u = b + size / 2 + 1;
        amplitudes(&s, x, n, at, a);
        amplitudes(&s, y, n, at, b);
        if (n_bands)
            add_bands(&t, &bank, a, b, u, u + n_bands);
        else
            add_bins(&t, a, b, n_bins);
    }
    *distance = t.sum / (double)t.n;
done:
    spectra_clear(&s);
    lk_mel_bank_clear(&bank);
    lk_free(a);
    return st;
}

static lk_status two_windows(const float *x, const float *y, int64_t n, int rate_hz, double high_hz,
                             int bands_long, int bands_short, double *distance)
{
    lk_status st = LK_OK;
    double a = 0, b = 0;
    const double high = high_hz > rate_hz / 2.0 ? rate_hz / 2.0 : high_hz;
    LK_REQUIRE(n > 0, LK_E_EMPTY, "no samples to compare");
    LK_REQUIRE(rate_hz > 0 && high > 0, LK_E_ARG, "the rate and the upper frequency are positive");
    LK_TRY(spectral_distance(x, y, n, rate_hz, high, 2048, bands_long, &a));
    LK_TRY(spectral_distance(x, y, n, rate_hz, high, 512, bands_short, &b));
    *distance = a + b;
done:
    return st;
}

lk_status lk_mel_distance(const float *x, const float *y, int64_t n, int rate_hz, double high_hz,
                          double *distance)
{
    return two_windows(x, y, n, rate_hz, high_hz, 128, 40, distance);
}

lk_status lk_stft_distance(const float *x, const float *y, int64_t n, int rate_hz, double high_hz,
                           double *distance)
{
    return two_windows(x, y, n, rate_hz, high_hz, 0, 0, distance);
}

/* ---- STOI ---- */

enum { RATE = 10000, FRAME = 256, HOP = 128, FFT = 512, BANDS = 15, RUN = 30 };
#define EPS 2.220446049250313e-16

typedef struct pair {
    double *x, *y; /* [n] */
    int64_t n;
} pair;

/* As in the published program, a frame that ends with the last sample is left out. */
static int64_t frames_of(int64_t n)
{
    return n > FRAME ? (n - FRAME + HOP - 1) / HOP : 0;
}

/* hanning(FRAME + 2) without its two zeros. */
static double stoi_window(int i)
{
    return 0.5 - 0.5 * cos(2 * 3.14159265358979323846 * (i + 1) / (FRAME + 1));
}

static lk_status to_ten_kilohertz(const float *in, int64_t n, int rate_hz, double **out,
                                  int64_t *n_out)
{
    lk_status st = LK_OK;
    lk_resampler *r = NULL;
    const int64_t room = n * RATE / rate_hz + 2;
    const float *part = NULL;
    int64_t n_part = 0, have = 0;
    LK_TRY(lk_resampler_create(&r, rate_hz, RATE));
    LK_TRY(LK_NEW_ARRAY(out, room));
    for (int last = 0; last < 2; last++) {
        if (last)
            LK_TRY(lk_resampler_flush(r, &part, &n_part));
        else
            LK_TRY(lk_resampler_push(r, in, n, &part, &n_part));
        for (int64_t i = 0; i < n_part && have < room; i++)
            (*out)[have++] = part[i];
    }
    *n_out = have;
done:
    lk_resampler_free(&r);
    return st;
}

/* Overlap-add of the frames whose original is within 40 dB of the loudest; in place. */
static lk_status drop_silence(pair *p)
{
    lk_status st = LK_OK;
    const int64_t n_frames = frames_of(p->n);
    double *level = NULL, *out = NULL, most = -1e9;
    int64_t kept = 0;
    LK_TRY(LK_NEW_ARRAY(&level, n_frames + 1));
    LK_TRY(LK_NEW_ARRAY(&out, 2 * (p->n + FRAME)));
    for (int64_t f = 0; f < n_frames; f++) {
        double e = 0;
        for (int i = 0; i < FRAME; i++) {
            const double v = stoi_window(i) * p->x[f * HOP + i];
            e += v * v;
        }
        level[f] = 20 * log10(sqrt(e) + EPS);
        most = level[f] > most ? level[f] : most;
    }
    for (int64_t f = 0; f < n_frames; f++) {
        if (level[f] <= most - 40)
            continue;
        for (int i = 0; i < FRAME; i++) {
            out[kept * HOP + i] += stoi_window(i) * p->x[f * HOP + i];
            out[p->n + FRAME + kept * HOP + i] += stoi_window(i) * p->y[f * HOP + i];
        }
        kept++;
    }
    memcpy(p->x, out, (size_t)p->n * sizeof *out);
    memcpy(p->y, out + p->n + FRAME, (size_t)p->n * sizeof *out);
    p->n = kept ? (kept - 1) * HOP + FRAME : 0;
done:
    lk_free(level);
    lk_free(out);
    return st;
}

/* Bins of third-octave band j: from first to before end. */
static void band_edges(int j, int *first, int *end)
{
    const double low = 150 * pow(2, (2 * j - 1) / 6.0), high = 150 * pow(2, (2 * j + 1) / 6.0);
    *first = (int)lround(low * FFT / RATE);
    *end = (int)lround(high * FFT / RATE);
}

/* [BANDS][n_frames] */
static void envelopes(lk_fft *fft, const double *x, int64_t n_frames, double *out)
{
    float *time = lk_fft_time(fft), *bins = lk_fft_bins(fft);
    for (int64_t f = 0; f < n_frames; f++) {
        memset(time, 0, FFT * sizeof *time);
        for (int i = 0; i < FRAME; i++)
            time[i] = (float)(stoi_window(i) * x[f * HOP + i]);
        lk_fft_forward(fft);
        for (int j = 0; j < BANDS; j++) {
            int first, end;
            double e = 0;
            band_edges(j, &first, &end);
            for (int k = first; k < end; k++)
                e += (double)bins[2 * k] * bins[2 * k] + (double)bins[2 * k + 1] * bins[2 * k + 1];
            out[j * n_frames + f] = sqrt(e);
        }
    }
}

/* Correlation of two runs of RUN envelopes, the second scaled and clipped. */
static double run_correlation(const double *x, const double *y)
{
    const double clip = 1 + pow(10, 15 / 20.0);
    double ex = 0, ey = 0, mx = 0, my = 0, xx = 0, yy = 0, xy = 0, c[RUN];
    for (int i = 0; i < RUN; i++) {
        ex += x[i] * x[i];
        ey += y[i] * y[i];
    }
    for (int i = 0; i < RUN; i++) {
        c[i] = fmin(y[i] * sqrt(ex) / (sqrt(ey) + EPS), x[i] * clip);
        mx += x[i] / RUN;
        my += c[i] / RUN;
    }
    for (int i = 0; i < RUN; i++) {
        xx += (x[i] - mx) * (x[i] - mx);
        yy += (c[i] - my) * (c[i] - my);
        xy += (x[i] - mx) * (c[i] - my);
    }
    return xy / ((sqrt(xx) + EPS) * (sqrt(yy) + EPS));
}

lk_status lk_stoi(const float *x, const float *y, int64_t n, int rate_hz, double *stoi)
{
    lk_status st = LK_OK;
    pair p = {0};
    lk_fft *fft = NULL;
    double *ex = NULL, *ey, sum = 0;
    int64_t n_frames, n_y = 0;
    LK_REQUIRE(n > 0, LK_E_EMPTY, "no samples to compare");
    LK_TRY(to_ten_kilohertz(x, n, rate_hz, &p.x, &p.n));
    LK_TRY(to_ten_kilohertz(y, n, rate_hz, &p.y, &n_y));
    LK_TRY(drop_silence(&p));
    n_frames = frames_of(p.n);
    LK_REQUIRE(n_frames >= RUN, LK_E_EMPTY,
               "STOI needs 0.4 s of sound that is not silent; there are %.2f s",
               (double)p.n / RATE);
    LK_TRY(lk_fft_create(&fft, FFT));
    LK_TRY(LK_NEW_ARRAY(&ex, 2 * BANDS * n_frames));
    ey = ex + BANDS * n_frames;
    envelopes(fft, p.x, n_frames, ex);
    envelopes(fft, p.y, n_frames, ey);
    for (int j = 0; j < BANDS; j++)
        for (int64_t f = 0; f + RUN <= n_frames; f++)
            sum += run_correlation(ex + j * n_frames + f, ey + j * n_frames + f);
    *stoi = sum / (double)(BANDS * (n_frames - RUN + 1));
done:
    lk_free(p.x);
    lk_free(p.y);
    lk_free(ex);
    lk_fft_free(&fft);
    return st;
}
