/* resample.c - see resample.h.
 *
 * With L / M = out / in in lowest terms, output k lies at input position p = k M / L = i + f / L.
 *     y[k] = sum_j h_f[j] x[i - H + 1 + j],   h_f[j] = c sinc(c d) w(d / H),  d = j - H + 1 - f/L
 * c = cutoff as a share of the input Nyquist, w the Kaiser window, H the half-length in input
 * samples.  Up to MAX_PHASES rows h_f are tabulated; for stranger ratios the two nearest of
 * MAX_PHASES rows are blended, which errs by less than (pi / MAX_PHASES)^2 / 8 = -118 dB.
 *
 * Each sum runs over LANES partial sums in a fixed order, so the compiler can use vectors without
 * being allowed to reorder, and the result depends on nothing but the samples.
 */
#include "kernels/resample.h"

#include "kernels/mem.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define LANES      16
#define MAX_PHASES 1024
#define STOPBAND   95.0 /* dB, design value */
#define CENTRE     0.92 /* middle of the transition band, in lower Nyquist frequencies */
#define PIECE      16384

struct lk_resampler {
    int64_t up, down; /* L, M */
    int half, taps;   /* taps = 2 half rounded up to LANES */
    int64_t phases;   /* rows of the table, 1 more when blending */
    bool blend;
    float *table; /* [phases (+1), taps] */
    float *held;  /* input samples from index `first` on */
    size_t held_capacity;
    int64_t first, n_held;
    int64_t n_in, n_out; /* totals since the last flush */
    float *out;
    size_t out_capacity;
};

static double bessel_i0(double x)
{
    double sum = 1, term = 1;
    for (int k = 1; k < 200 && term > 1e-18 * sum; k++) {
        term *= (x / (2 * k)) * (x / (2 * k));
        sum += term;
    }
    return sum;
}

static void fill_row(float *row, int half, int taps, double shift, double cutoff)
{
    const double beta = 0.1102 * (STOPBAND - 8.7), norm = bessel_i0(beta);
    double sum = 0;
    for (int j = 0; j < taps; j++) {
        const double d = j - half + 1 - shift, u = d / half;
        double h = 0;
        if (fabs(u) < 1) {
            const double a = M_PI * cutoff * d;
            h = cutoff * (fabs(a) < 1e-9 ? 1 : sin(a) / a) * bessel_i0(beta * sqrt(1 - u * u)) /
                norm;
        }
        row[j] = (float)h;
        sum += h;
    }
    for (int j = 0; j < taps; j++) /* every phase passes a constant unchanged */
        row[j] = (float)(row[j] / sum);
}

static int64_t gcd(int64_t a, int64_t b)
{
    while (b) {
        const int64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

lk_status lk_resampler_create(lk_resampler **resampler, int in_hz, int out_hz)
{
    lk_status st = LK_OK;
    lk_resampler *r = NULL;
    *resampler = NULL;
    LK_REQUIRE(in_hz >= 1000 && in_hz <= 768000 && out_hz >= 1000 && out_hz <= 768000, LK_E_ARG,
               "cannot resample %d Hz to %d Hz; rates go from 1000 to 768000", in_hz, out_hz);
    LK_TRY(LK_NEW(&r));
    const int64_t g = gcd(in_hz, out_hz);
    r->up = out_hz / g;
    r->down = in_hz / g;
    if (r->up != r->down) {
        const double low = in_hz < out_hz ? 1.0 : (double)out_hz / in_hz;
        const double width = 2 * (1 - CENTRE) * low / 2; /* transition, cycles per input sample */
        r->half = (int)ceil(((STOPBAND - 8) / (2.285 * 2 * M_PI * width) + 1) / 2);
        r->taps = (2 * r->half + LANES - 1) / LANES * LANES;
        r->blend = r->up > MAX_PHASES;
        r->phases = r->blend ? MAX_PHASES : r->up;
        const int64_t rows = r->phases + (r->blend ? 1 : 0);
        LK_TRY(LK_NEW_ARRAY(&r->table, rows * r->taps));
        for (int64_t f = 0; f < rows; f++)
            fill_row(r->table + f * r->taps, r->half, r->taps, (double)f / (double)r->phases,
                     CENTRE * low);
        r->n_held = r->half - 1; /* silence before the first sample */
        r->first = -r->n_held;
        LK_TRY(LK_GROW(&r->held, &r->held_capacity, r->n_held + r->taps + PIECE));
    }
    *resampler = r;
    r = NULL;
done:
    lk_resampler_free(&r);
    return st;
}

void lk_resampler_free(lk_resampler **r)
{
    if (!r || !*r)
        return;
    lk_free((*r)->table);
    lk_free((*r)->held);
    lk_free((*r)->out);
    lk_free(*r);
    *r = NULL;
}

static float dot(const float *restrict h, const float *restrict x, int taps)
{
    float lane[LANES] = {0};
    for (int j = 0; j < taps; j += LANES) {
        for (int q = 0; q < LANES; q++)
            lane[q] += h[j + q] * x[j + q];
    }
    for (int width = LANES / 2; width > 0; width /= 2) {
        for (int q = 0; q < width; q++)
            lane[q] += lane[q + width];
    }
    return lane[0];
}

/* All outputs whose taps are held and whose index is below `end`, appended at out[*n_out]. */
static lk_status emit(lk_resampler *r, int64_t end, int64_t *n_out)
{
    lk_status st = LK_OK;
    while (r->n_out < end) {
        const int64_t i = r->n_out * r->down / r->up, f = r->n_out * r->down % r->up;
        const int64_t begin = i - r->half + 1 - r->first;
        if (begin + r->taps > r->n_held)
            break;
        LK_TRY(LK_GROW(&r->out, &r->out_capacity, *n_out + 1));
        const float *x = r->held + begin;
        if (r->blend) {
            const double at = (double)f * (double)r->phases / (double)r->up;
            const int64_t row = (int64_t)at;
            const float part = (float)(at - (double)row);
            const float a = dot(r->table + row * r->taps, x, r->taps);
            const float b = dot(r->table + (row + 1) * r->taps, x, r->taps);
            r->out[*n_out] = a + part * (b - a);
        } else {
            r->out[*n_out] = dot(r->table + f * r->taps, x, r->taps);
        }
        ++*n_out;
        r->n_out++;
    }
done:
    return st;
}

/* Forget what no later output needs. */
static void drop_used(lk_resampler *r)
{
    const int64_t keep_from = r->n_out * r->down / r->up - r->half + 1;
    const int64_t used = keep_from - r->first < r->n_held ? keep_from - r->first : r->n_held;
    if (used <= 0)
        return;
    r->n_held -= used;
    r->first += used;
    memmove(r->held, r->held + used, (size_t)r->n_held * sizeof *r->held);
}

static lk_status take(lk_resampler *r, const float *in, int64_t n, int64_t end, int64_t *n_out)
{
    lk_status st = LK_OK;
    for (int64_t at = 0; at < n;) {
        const int64_t m = n - at < PIECE ? n - at : PIECE;
        LK_TRY(LK_GROW(&r->held, &r->held_capacity, r->n_held + m));
        if (in)
            memcpy(r->held + r->n_held, in + at, (size_t)m * sizeof *in);
        else
            memset(r->held + r->n_held, 0, (size_t)m * sizeof *r->held);
        r->n_held += m;
        at += m;
        LK_TRY(emit(r, end, n_out));
        drop_used(r);
    }
done:
    return st;
}

lk_status lk_resampler_push(lk_resampler *r, const float *in, int64_t n, const float **out,
                            int64_t *n_out)
{
    lk_status st = LK_OK;
    *n_out = 0;
    *out = r->out;
    LK_REQUIRE(n >= 0 && n < INT64_C(1) << 40, LK_E_ARG, "cannot resample %lld samples at once",
               (long long)n);
    if (r->up == r->down) {
        LK_TRY(LK_GROW(&r->out, &r->out_capacity, n + 1));
        if (in)
            memcpy(r->out, in, (size_t)n * sizeof *in);
        else
            memset(r->out, 0, (size_t)n * sizeof *r->out);
        *n_out = n;
    } else {
        r->n_in += n;
        LK_TRY(take(r, in, n, INT64_MAX, n_out));
    }
    *out = r->out;
done:
    return st;
}

lk_status lk_resampler_flush(lk_resampler *r, const float **out, int64_t *n_out)
{
    lk_status st = LK_OK;
    *n_out = 0;
    if (r->up != r->down) {
        const int64_t end = (r->n_in * r->up + r->down - 1) / r->down;
        LK_TRY(take(r, NULL, r->taps + r->down / r->up + 1, end, n_out));
        r->n_in = r->n_out = 0;
        r->n_held = r->half - 1;
        r->first = -r->n_held;
        memset(r->held, 0, (size_t)r->n_held * sizeof *r->held);
    }
    *out = r->out;
done:
    return st;
}
