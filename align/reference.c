/* reference.c - a clip against another cut of the same material: by how much was it moved?
 *
 * Sound is compared by its onset strength, the picture by the root of its change per second, both
 * on a grid of 5 ms.  With x of the reference and y of the clip, sums over the rows where both are
 *
 *   r(lag) = sum (x(t) - mean x) (y(t + lag) - mean y) / sqrt(sum (x - mean x)^2 sum (y - mean
 * y)^2)
 *
 * The numerator's sum of products comes from one Fourier transform, the rest from running sums.
 * The shift is the lag of the largest r, refined by a parabola.  The same content gives r near 1
 * in one place only; r below LEAST_R, or nearly as high elsewhere, is no answer.
 *
 *   offset = shift of the sound - shift of the picture
 *
 * is how much later the sound lies against the picture than in the reference: the step by which a
 * tool re-aligned the clip, whatever was cut from its start.
 */
#include "align/align.h"
#include "align/features.h"
#include "align/metrics.h"

#include "kernels/fft.h"
#include "kernels/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define STEP_S    0.005
#define LEAST_R   0.6
#define RIVAL     0.8 /* of the best r */
#define GUARD_S   0.25
#define LEAST_S   2.0 /* of overlap, and half of the shorter clip */
#define LONGEST_S (6 * 3600)

typedef struct reference_state {
    double max_shift_s;
} reference_state;

static const lk_option options[] = {
    LK_OPT_DOUBLE(reference_state, max_shift_s, 10, 0.1, 600, "search shifts up to this size"),
    LK_OPT_END};

static const char *const score_names[] = {"reference.offset_ms", "reference.audio_shift_ms",
                                          "reference.picture_shift_ms", NULL};

typedef struct series {
    int64_t n;
    double t0_s;
    double *v, *sum, *squares; /* [n], [n + 1], [n + 1] running */
} series;

static void clear_series(series *s)
{
    lk_free(s->v);
    lk_free(s->sum);
    lk_free(s->squares);
}

static lk_status sum_up(series *s)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW_ARRAY(&s->sum, s->n + 1));
    LK_TRY(LK_NEW_ARRAY(&s->squares, s->n + 1));
    for (int64_t i = 0; i < s->n; i++) {
        s->sum[i + 1] = s->sum[i] + s->v[i];
        s->squares[i + 1] = s->squares[i] + s->v[i] * s->v[i];
    }
done:
    return st;
}

static lk_status series_of_sound(const lk_audio_features *a, series *s)
{
    lk_status st = LK_OK;
    s->n = a->n;
    s->t0_s = lk_flick_to_s(a->t0);
    LK_TRY(LK_NEW_ARRAY(&s->v, s->n + 1));
    for (int64_t i = 0; i < s->n; i++)
        s->v[i] = (double)a->onset[i];
    LK_TRY(sum_up(s));
done:
    return st;
}

/* Straight between the middles of the intervals from frame to frame. */
static lk_status series_of_picture(const lk_video_features *f, series *s)
{
    lk_status st = LK_OK;
    double *t = NULL, *rate = NULL;
    const int64_t m = f->n - 1;
    if (m < 2)
        return LK_OK;
    LK_TRY(LK_NEW_ARRAY(&t, m));
    LK_TRY(LK_NEW_ARRAY(&rate, m));
    for (int64_t k = 0; k < m; k++) {
        const double from = lk_flick_to_s(f->spans[k].start);
        const double to = lk_flick_to_s(f->spans[k + 1].start);
        t[k] = 0.5 * (from + to);
        rate[k] = sqrt((double)f->change[k + 1] / fmax(to - from, 1e-3));
    }
    const double length = t[m - 1] - t[0];
    if (!(length > 0) || length > LONGEST_S)
        goto done;
    s->t0_s = t[0];
    s->n = (int64_t)(length / STEP_S) + 1;
    LK_TRY(LK_NEW_ARRAY(&s->v, s->n));
    for (int64_t i = 0, k = 0; i < s->n; i++) {
        const double at = t[0] + (double)i * STEP_S;
        while (k + 2 < m && t[k + 1] <= at)
            k++;
        const double part = t[k + 1] > t[k] ? (at - t[k]) / (t[k + 1] - t[k]) : 0;
        s->v[i] = rate[k] + fmin(part, 1) * (rate[k + 1] - rate[k]);
    }
    LK_TRY(sum_up(s));
done:
    lk_free(t);
    lk_free(rate);
    return st;
}

/* sum over i of x[i] y[i + lag] for lags -most .. most, into out [2 most + 1]. */
static lk_status products(const series *x, const series *y, int64_t most, double *out)
{
    lk_status st = LK_OK;
    lk_fft *fft = NULL;
    float *bins = NULL;
    int n = 2;
    while (n < x->n + y->n + 1)
        n *= 2;
    LK_TRY(lk_fft_create(&fft, n));
    LK_TRY(LK_NEW_ARRAY(&bins, n + 2));
    float *time = lk_fft_time(fft), *f = lk_fft_bins(fft);
    const double mx = x->sum[x->n] / (double)x->n, my = y->sum[y->n] / (double)y->n;
    for (int i = 0; i < n; i++)
        time[i] = i < x->n ? (float)(x->v[i] - mx) : 0;
    lk_fft_forward(fft);
    memcpy(bins, f, (size_t)(n + 2) * sizeof *bins);
    for (int i = 0; i < n; i++)
        time[i] = i < y->n ? (float)(y->v[i] - my) : 0;
    lk_fft_forward(fft);
    for (int k = 0; k <= n / 2; k++) {
        const float re = bins[2 * k] * f[2 * k] + bins[2 * k + 1] * f[2 * k + 1];
        const float im = bins[2 * k] * f[2 * k + 1] - bins[2 * k + 1] * f[2 * k];
        f[2 * k] = re;
        f[2 * k + 1] = im;
    }
    lk_fft_inverse(fft);
    for (int64_t lag = -most; lag <= most; lag++) {
        const bool reach = lag < y->n && -lag < x->n;
        out[lag + most] = reach ? (double)time[lag < 0 ? lag + n : lag] : 0;
    }
done:
    lk_fft_free(&fft);
    lk_free(bins);
    return st;
}

/* r(lag) out of the sum of products of the series less their whole means. */
static double correlation(const series *x, const series *y, int64_t lag, double product)
{
    const int64_t from = lag < 0 ? -lag : 0;
    const int64_t to = x->n < y->n - lag ? x->n : y->n - lag;
    const double n = (double)(to - from);
    if (n * STEP_S < LEAST_S || n < 0.5 * fmin((double)x->n, (double)y->n))
        return 0;
    const double mx = x->sum[x->n] / (double)x->n, my = y->sum[y->n] / (double)y->n;
    const double sx = x->sum[to] - x->sum[from], sy = y->sum[to + lag] - y->sum[from + lag];
    const double xx = x->squares[to] - x->squares[from] - sx * sx / n;
    const double yy = y->squares[to + lag] - y->squares[from + lag] - sy * sy / n;
    const double xy = product - (sx - n * mx) * (sy - n * my) / n;
    return xx > 1e-9 * n && yy > 1e-9 * n ? xy / sqrt(xx * yy) : 0;
}

/* Shift in ms, NAN and a reason when there is none. */
static lk_status find_shift(const series *x, const series *y, double max_shift_s, double *shift_ms,
                            char *reason, size_t bytes)
{
    lk_status st = LK_OK;
    double *r = NULL, rival = 0;
    const int64_t most = (int64_t)(max_shift_s / STEP_S), n = 2 * most + 1;
    int64_t best = 0;
    *shift_ms = (double)NAN;
    if (fmin((double)x->n, (double)y->n) * STEP_S < LEAST_S) {
        snprintf(reason, bytes, "the clip or its reference is shorter than %g s", LEAST_S);
        goto done;
    }
    LK_TRY(LK_NEW_ARRAY(&r, n));
    LK_TRY(products(x, y, most, r));
    for (int64_t i = 0; i < n; i++) {
        r[i] = correlation(x, y, i - most, r[i]);
        best = r[i] > r[best] ? i : best;
    }
    const int64_t guard = (int64_t)(GUARD_S / STEP_S);
    for (int64_t i = 0; i < n; i++)
        rival = i < best - guard || i > best + guard ? fmax(rival, r[i]) : rival;
    if (r[best] < LEAST_R) {
        snprintf(reason, bytes, "the content is not that of the reference (correlation %.2f)",
                 r[best]);
    } else if (best == 0 || best == n - 1 || rival > RIVAL * r[best]) {
        snprintf(reason, bytes,
                 "the content repeats or lies beyond the search (raise max_shift_s)");
    } else {
        const double bend = r[best - 1] - 2 * r[best] + r[best + 1];
        const double part = bend < 0 ? 0.5 * (r[best - 1] - r[best + 1]) / bend : 0;
        *shift_ms = 1e3 * ((double)(best - most) + part) * STEP_S + 1e3 * (y->t0_s - x->t0_s);
    }
done:
    lk_free(r);
    return st;
}

static lk_status tell(const char *name, double value, const char *reason, int64_t n,
                      const lk_sink *sink)
{
    const lk_score s = {name, "ms", value, NAN, NAN, NAN, NAN, n};
    return isnan(value) ? sink->abstain(sink->user, name, reason) : sink->score(sink->user, &s);
}

static lk_status finish(void *state, const lk_features *f, const lk_reference *reference,
                        const lk_sink *sink)
{
    lk_status st = LK_OK;
    const reference_state *s = state;
    const lk_features *track = reference ? reference->track : NULL;
    series sound[2] = {{0}}, picture[2] = {{0}};
    double heard = (double)NAN, seen = (double)NAN;
    char why_not[2][128] = {"there is no reference clip (--reference FILE)",
                            "there is no reference clip (--reference FILE)"};
    if (track && !(track->audio.present && f->audio.present)) {
        snprintf(why_not[0], sizeof why_not[0], "the clip or its reference has no sound");
    } else if (track) {
        LK_TRY(series_of_sound(&track->audio, &sound[0]));
        LK_TRY(series_of_sound(&f->audio, &sound[1]));
        LK_TRY(find_shift(&sound[0], &sound[1], s->max_shift_s, &heard, why_not[0],
                          sizeof why_not[0]));
    }
    if (track && !(track->video.present && f->video.present)) {
        snprintf(why_not[1], sizeof why_not[1], "the clip or its reference has no picture");
    } else if (track) {
        LK_TRY(series_of_picture(&track->video, &picture[0]));
        LK_TRY(series_of_picture(&f->video, &picture[1]));
        LK_TRY(find_shift(&picture[0], &picture[1], s->max_shift_s, &seen, why_not[1],
                          sizeof why_not[1]));
    }
    LK_TRY(tell("reference.audio_shift_ms", heard, why_not[0], sound[1].n, sink));
    LK_TRY(tell("reference.picture_shift_ms", seen, why_not[1], picture[1].n, sink));
    LK_TRY(
        tell("reference.offset_ms", heard - seen, why_not[isnan(heard) ? 0 : 1], sound[1].n, sink));
done:
    for (int i = 0; i < 2; i++) {
        clear_series(&sound[i]);
        clear_series(&picture[i]);
    }
    return st;
}

const lk_metric lk_metric_reference = {
    .name = "reference",
    .summary = "how far sound and picture were moved against a reference clip of the same content",
    .source = "ours",
    .cost = "the shared features, also of the reference",
    .scores = score_names,
    .options = options,
    .state_bytes = sizeof(reference_state),
    .needs = LK_NEED_MOTION | LK_NEED_ONSET | LK_NEED_TRACK,
    .finish = finish,
};
