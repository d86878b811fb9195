/* mouth.c - lip movement against loudness, with no trained weights.
 *
 * Each frame is shrunk (align/motion.h) and cut into cells of 4x4 pixels.  A speaking mouth shows
 * in two ways, and both follow the loudness of the voice:
 *
 *   m_c(k)   mean |difference| of cell c between frames k-1 and k, at the middle of the two times
 *   d_c(k)   minus the darkest pixel of cell c at frame k: an open mouth is dark inside
 *
 * Windows of 6x7 cells slide over the picture (or over the lower part of a given face).  The 24
 * windows with the liveliest motion are candidates w.  With e the level of the sound (dB above 40
 * below its loudest, a 1.5 s mean removed), smoothed over 200 ms for m and over 80 ms for d,
 *
 *   T_w(lag) = corr(m_w(t), e(t + lag)) + corr(d_w(t), e(t + lag))
 *   E(lag)   = sum_w var_w max(0, T_w(lag))^2 / sum_w var_w
 *
 * The offset is the lag of the largest E.  Lips and loudness rise and fall together on average over
 * opening and closing, so no constant is subtracted.  Chance: the same maximum for sounds of equal
 * spectrum and random phase.  Interval: jackknife over eight stretches of the clip.
 */
#include "align/features.h"
#include "align/metrics.h"
#include "align/motion.h"
#include "align/stats.h"

#include "kernels/fft.h"
#include "kernels/mem.h"
#include "kernels/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CELL        4
#define MAX_CELLS   ((LK_SMALL_WIDTH / CELL) * (LK_SMALL_HEIGHT / CELL))
#define WINDOW_W    7
#define WINDOW_H    6
#define STRIDE      2
#define N_BEST      24
#define MAX_WINDOWS 400
#define STRETCHES   8
#define TREND_S     1.5
#define RANGE_DB    40.0

typedef struct mouth_state {
    double max_lag_ms, trust_p, max_seconds, max_attack_skew;
    int n_null;
    int width, height, columns, rows;
    int64_t n;
    size_t room_times, room_motion, room_dark;
    lk_flick *start;        /* [n] */
    uint8_t *motion, *dark; /* [n, rows * columns]; motion in quarter levels */
    lk_small_picture picture[2];
} mouth_state;

static const lk_option options[] = {
    LK_OPT_DOUBLE(mouth_state, max_lag_ms, 600, 50, 2000, "search offsets up to this size"),
    LK_OPT_DOUBLE(mouth_state, trust_p, 0.01, 0.0001, 1,
                  "answer only when chance is this unlikely"),
    LK_OPT_DOUBLE(mouth_state, max_seconds, 120, 2, 600, "look at this much of the clip"),
    LK_OPT_DOUBLE(mouth_state, max_attack_skew, 2.8, 0, 100,
                  "above this the sound is struck, not spoken"),
    LK_OPT_INT(mouth_state, n_null, 199, 19, 5000, "unrelated sounds to compare with"),
    LK_OPT_END};

static const char *const score_names[] = {"mouth.offset_ms", "mouth.correlation", NULL};

/* ---- pictures -------------------------------------------------------------------------------- */

static void fill_cells(mouth_state *s, const lk_small_picture *now, const lk_small_picture *before)
{
    uint8_t *motion = s->motion + s->n * s->rows * s->columns;
    uint8_t *dark = s->dark + s->n * s->rows * s->columns;
    for (int y = 0; y < s->rows; y++) {
        for (int x = 0; x < s->columns; x++) {
            int sum = 0, least = 255;
            for (int j = 0; j < CELL; j++) {
                const int at = (y * CELL + j) * s->width + x * CELL;
                for (int i = 0; i < CELL; i++) {
                    const int v = now->luma[at + i];
                    sum += before ? abs(v - before->luma[at + i]) : 0;
                    least = v < least ? v : least;
                }
            }
            const int quarter = sum / (CELL * CELL / 4);
            motion[y * s->columns + x] = (uint8_t)(quarter > 255 ? 255 : quarter);
            dark[y * s->columns + x] = (uint8_t)(255 - least);
        }
    }
}

static lk_status push_frame(void *state, const lk_frame_view *frame)
{
    lk_status st = LK_OK;
    mouth_state *s = state;
    if (s->n > 0 && lk_flick_to_s(frame->span.start - s->start[0]) > s->max_seconds)
        return LK_OK;
    if (s->n == 0) {
        lk_small_size(frame, &s->width, &s->height);
        s->columns = s->width / CELL;
        s->rows = s->height / CELL;
    }
    const size_t cells = (size_t)s->columns * (size_t)s->rows, need = (size_t)s->n + 1;
    LK_TRY(LK_GROW(&s->start, &s->room_times, need));
    LK_TRY(LK_GROW(&s->motion, &s->room_motion, need * cells));
    LK_TRY(LK_GROW(&s->dark, &s->room_dark, need * cells));
    lk_small_picture *now = &s->picture[s->n & 1];
    lk_small_from_frame(frame, s->width, s->height, now);
    fill_cells(s, now, s->n > 0 ? &s->picture[(s->n - 1) & 1] : NULL);
    s->start[s->n++] = frame->span.start;
done:
    return st;
}

static void clear(void *state)
{
    mouth_state *s = state;
    lk_free(s->start);
    lk_free(s->motion);
    lk_free(s->dark);
    s->start = NULL;
    s->motion = s->dark = NULL;
}

/* ---- signals --------------------------------------------------------------------------------- */

typedef struct window {
    int x, y;
    double variance;
    double *motion, *dark; /* [n], trend removed */
} window;

typedef struct sound {
    int64_t n;
    double t0, step;      /* seconds */
    float *level;         /* [n] trend removed, not smoothed */
    double *wide, *tight; /* [n] smoothed over 200 and 80 ms */
} sound;

typedef struct problem {
    const mouth_state *s;
    int n_windows;
    window windows[N_BEST];
    double *t_motion, *t_dark; /* [n] times in seconds */
    int64_t n_lags;
    double lag_step; /* seconds */
    int skip;        /* stretch left out, -1 none */
    double *x, *y;   /* [n] scratch */
} problem;

/* v minus its running mean over 2 * half + 1 values, cut at the ends. */
static void remove_trend(double *v, int64_t n, int64_t half, double *scratch)
{
    double sum = 0;
    int64_t from = 0, to = 0; /* mean over [from, to) */
    memcpy(scratch, v, (size_t)n * sizeof *v);
    for (int64_t i = 0; i < n; i++) {
        while (to < n && to <= i + half)
            sum += scratch[to++];
        while (from < i - half)
            sum -= scratch[from++];
        v[i] = scratch[i] - sum / (double)(to - from);
    }
}

/* Hann-weighted mean over +-half values; weights are renormalised at the ends. */
static void smooth_hann(const float *v, int64_t n, int half, double *out)
{
    for (int64_t i = 0; i < n; i++) {
        double sum = 0, mass = 0;
        for (int j = -half; j <= half; j++) {
            if (i + j < 0 || i + j >= n)
                continue;
            const double w = 1 + cos(3.14159265358979 * j / (half + 1));
            sum += w * (double)v[i + j];
            mass += w;
        }
        out[i] = sum / mass;
    }
}

static void shape_sound(sound *a)
{
    smooth_hann(a->level, a->n, (int)lrint(0.100 / a->step), a->wide);
    smooth_hann(a->level, a->n, (int)lrint(0.040 / a->step), a->tight);
}

static lk_status make_sound(const lk_audio_features *f, double until_s, sound *a)
{
    lk_status st = LK_OK;
    double *v = NULL, *scratch = NULL;
    a->step = lk_flick_to_s(f->step);
    a->t0 = lk_flick_to_s(f->t0);
    a->n = (int64_t)((until_s - a->t0) / a->step);
    a->n = a->n > f->n ? f->n : a->n < 0 ? 0 : a->n;
    LK_TRY(LK_NEW_ARRAY(&v, a->n + 1));
    LK_TRY(LK_NEW_ARRAY(&scratch, a->n + 1));
    LK_TRY(LK_NEW_ARRAY(&a->level, a->n + 1));
    LK_TRY(LK_NEW_ARRAY(&a->wide, a->n + 1));
    LK_TRY(LK_NEW_ARRAY(&a->tight, a->n + 1));
    for (int64_t i = 0; i < a->n; i++)
        v[i] = f->level_db[i];
    const double top = a->n > 0 ? lk_quantile(v, a->n, 0.98) : 0;
    for (int64_t i = 0; i < a->n; i++)
        v[i] = fmax((double)f->level_db[i], top - RANGE_DB);
    remove_trend(v, a->n, lrint(0.5 * TREND_S / a->step), scratch);
    for (int64_t i = 0; i < a->n; i++)
        a->level[i] = (float)v[i];
    shape_sound(a);
done:
    lk_free(v);
    lk_free(scratch);
    return st;
}

static void clear_sound(sound *a)
{
    lk_free(a->level);
    lk_free(a->wide);
    lk_free(a->tight);
}

static double value_at(const sound *a, const double *v, double t)
{
    const double place = (t - a->t0) / a->step;
    const int64_t i = (int64_t)floor(place);
    if (i < 0 || i + 1 >= a->n)
        return NAN;
    return v[i] + (place - (double)i) * (v[i + 1] - v[i]);
}

/* Mean of a window's cells at every frame, the picture's typical motion taken off, trend removed.
 */
static void read_window(const mouth_state *s, const double *typical, const uint8_t *cells,
                        const window *w, int64_t half, double *out, double *scratch)
{
    for (int64_t k = 0; k < s->n; k++) {
        const uint8_t *c = cells + k * s->rows * s->columns;
        double sum = 0;
        for (int j = 0; j < WINDOW_H; j++) {
            for (int i = 0; i < WINDOW_W; i++) {
                const double v = c[(w->y + j) * s->columns + w->x + i];
                sum += typical ? fmax(0, v - typical[k]) : v;
            }
        }
        out[k] = sum / (WINDOW_W * WINDOW_H);
    }
    remove_trend(out, s->n, half, scratch);
}

static int by_variance(const void *a, const void *b)
{
    const window *x = a, *y = b;
    return (x->variance < y->variance) - (x->variance > y->variance);
}

static int byte_ascending(const void *a, const void *b)
{
    return *(const uint8_t *)a - *(const uint8_t *)b;
}

/* Half of the cells move less than this; what shakes the whole picture is in it. */
static lk_status typical_motion(const mouth_state *s, double *typical)
{
    lk_status st = LK_OK;
    const int cells = s->rows * s->columns;
    uint8_t *copy = NULL;
    LK_TRY(LK_NEW_ARRAY(&copy, cells));
    for (int64_t k = 0; k < s->n; k++) {
        memcpy(copy, s->motion + k * cells, (size_t)cells);
        qsort(copy, (size_t)cells, 1, byte_ascending);
        typical[k] = copy[cells / 2];
    }
done:
    lk_free(copy);
    return st;
}

static void search_area(const mouth_state *s, const lk_reference *r, int *x0, int *y0, int *x1,
                        int *y1)
{
    *x0 = *y0 = 0;
    *x1 = s->columns - WINDOW_W;
    *y1 = s->rows - WINDOW_H;
    if (!r || !r->has_face)
        return;
    /* The mouth lies in the lower half of a face. */
    const int left = (int)(r->face.x * (float)s->columns);
    const int right = (int)((r->face.x + r->face.width) * (float)s->columns) - WINDOW_W;
    const int upper = (int)((r->face.y + 0.5f * r->face.height) * (float)s->rows);
    const int lower = (int)((r->face.y + r->face.height) * (float)s->rows) - WINDOW_H + 1;
    *x0 = left < *x1 ? left : *x1;
    *y0 = upper < *y1 ? upper : *y1;
    *x1 = right < *x0 ? *x0 : right < *x1 ? right : *x1;
    *y1 = lower < *y0 ? *y0 : lower < *y1 ? lower : *y1;
}

static lk_status find_windows(const mouth_state *s, const lk_reference *r, double frame_s,
                              problem *p)
{
    lk_status st = LK_OK;
    window *all = NULL;
    double *typical = NULL, *v = NULL, *scratch = NULL;
    int n = 0, x0, y0, x1, y1;
    const int64_t half = lrint(0.5 * TREND_S / frame_s);
    LK_TRY(LK_NEW_ARRAY(&all, MAX_WINDOWS));
    LK_TRY(LK_NEW_ARRAY(&typical, s->n));
    LK_TRY(LK_NEW_ARRAY(&v, s->n));
    LK_TRY(LK_NEW_ARRAY(&scratch, s->n));
    LK_TRY(typical_motion(s, typical));
    search_area(s, r, &x0, &y0, &x1, &y1);
    for (int y = y0; y <= y1; y += STRIDE) {
        for (int x = x0; x <= x1 && n < MAX_WINDOWS; x += STRIDE) {
            window *w = &all[n++];
            w->x = x;
            w->y = y;
            read_window(s, typical, s->motion, w, half, v, scratch);
            for (int64_t k = 0; k < s->n; k++)
                w->variance += v[k] * v[k] / (double)s->n;
        }
    }
    qsort(all, (size_t)n, sizeof *all, by_variance);
    for (int i = 0; i < n && i < N_BEST && all[i].variance > 1e-3; i++) {
        window *w = &p->windows[p->n_windows];
        *w = all[i];
        w->motion = w->dark = NULL;
        p->n_windows++;
        LK_TRY(LK_NEW_ARRAY(&w->motion, s->n));
        LK_TRY(LK_NEW_ARRAY(&w->dark, s->n));
        read_window(s, typical, s->motion, w, half, w->motion, scratch);
        read_window(s, NULL, s->dark, w, half, w->dark, scratch);
    }
done:
    lk_free(all);
    lk_free(typical);
    lk_free(v);
    lk_free(scratch);
    return st;
}

/* Skewness of the change of loudness over 5 ms.  A voice rises about as fast as it falls (measured
 * 0..2.7 on read speech); what is struck rises at once and rings out (2.1..9). */
static lk_status attack_skew(const sound *a, double *skew)
{
    lk_status st = LK_OK;
    double *v = NULL, mean = 0, m2 = 0, m3 = 0;
    const int64_t n = a->n - 1;
    LK_TRY(LK_NEW_ARRAY(&v, a->n + 1));
    smooth_hann(a->level, a->n, (int)lrint(0.010 / a->step), v);
    for (int64_t i = 0; i < n; i++)
        mean += (v[i + 1] - v[i]) / (double)n;
    for (int64_t i = 0; i < n; i++) {
        const double d = v[i + 1] - v[i] - mean;
        m2 += d * d / (double)n;
        m3 += d * d * d / (double)n;
    }
    *skew = m2 > 0 ? m3 / pow(m2, 1.5) : 0;
done:
    lk_free(v);
    return st;
}

/* ---- correlation ----------------------------------------------------------------------------- */

static bool is_left_out(const problem *p, int64_t k)
{
    return p->skip >= 0 && k * STRETCHES / p->s->n == p->skip;
}

/* Sound at the frames' times plus lag, mean removed, NAN where there is none; returns its energy.
 */
static double sample_sound(const problem *p, const sound *a, const double *v, const double *t,
                           double lag, double *out)
{
    double sum = 0, energy = 0;
    int64_t n = 0;
    for (int64_t k = 0; k < p->s->n; k++) {
        out[k] = is_left_out(p, k) ? NAN : value_at(a, v, t[k] + lag);
        if (!isnan(out[k])) {
            sum += out[k];
            n++;
        }
    }
    for (int64_t k = 0; k < p->s->n; k++) {
        out[k] -= n > 0 ? sum / (double)n : 0;
        energy += isnan(out[k]) ? 0 : out[k] * out[k];
    }
    return energy;
}

static double correlate(const double *x, const double *v, int64_t n, double energy)
{
    double sum = 0, xv = 0, vv = 0;
    int64_t count = 0;
    for (int64_t k = 0; k < n; k++) {
        if (isnan(x[k]))
            continue;
        sum += v[k];
        xv += x[k] * v[k];
        vv += v[k] * v[k];
        count++;
    }
    vv -= count > 0 ? sum * sum / (double)count : 0;
    return energy > 0 && vv > 1e-9 ? xv / sqrt(energy * vv) : 0;
}

static double evidence(const problem *p, const sound *a, double lag, double *best_sum)
{
    double total = 0, mass = 0;
    const double ex = sample_sound(p, a, a->wide, p->t_motion, lag, p->x);
    const double ey = sample_sound(p, a, a->tight, p->t_dark, lag, p->y);
    *best_sum = 0;
    for (int i = 0; i < p->n_windows; i++) {
        const window *w = &p->windows[i];
        const double t =
            correlate(p->x, w->motion, p->s->n, ex) + correlate(p->y, w->dark, p->s->n, ey);
        *best_sum = fmax(*best_sum, t);
        total += w->variance * (t > 0 ? t * t : 0);
        mass += w->variance;
    }
    return mass > 0 ? total / mass : 0;
}

static double lag_of(const problem *p, double index)
{
    return (index - (double)(p->n_lags / 2)) * p->lag_step;
}

/* Lag in seconds of the largest evidence, refined by a parabola; fills curve [n_lags]. */
static double best_lag(const problem *p, const sound *a, float *curve, double *height,
                       double *correlation)
{
    int64_t best = 0;
    double sum = 0;
    for (int64_t i = 0; i < p->n_lags; i++) {
        curve[i] = (float)evidence(p, a, lag_of(p, (double)i), &sum);
        if (i == 0 || curve[i] > curve[best]) {
            best = i;
            *correlation = 0.5 * sum;
        }
    }
    *height = curve[best];
    if (best == 0 || best + 1 == p->n_lags)
        return lag_of(p, (double)best);
    const double l = curve[best - 1], c = curve[best], r = curve[best + 1];
    const double bend = l - 2 * c + r;
    return lag_of(p, (double)best + (bend < 0 ? 0.5 * (l - r) / bend : 0));
}

/* ---- chance ---------------------------------------------------------------------------------- */

/* Sounds of the same spectrum with random phases; every second lag is enough for a maximum. */
static lk_status chance_level(const mouth_state *s, problem *p, const sound *a, uint64_t seed,
                              double observed, double *p_value, double *chance)
{
    lk_status st = LK_OK;
    lk_fft *fft = NULL;
    float *bins = NULL;
    double *null = NULL;
    sound b = {.n = a->n, .t0 = a->t0, .step = a->step};
    const int n = (int)(a->n + (a->n & 1));
    LK_TRY(lk_fft_create(&fft, n));
    LK_TRY(LK_NEW_ARRAY(&bins, n + 2));
    LK_TRY(LK_NEW_ARRAY(&null, s->n_null));
    LK_TRY(LK_NEW_ARRAY(&b.level, n));
    LK_TRY(LK_NEW_ARRAY(&b.wide, n));
    LK_TRY(LK_NEW_ARRAY(&b.tight, n));
    memset(lk_fft_time(fft), 0, (size_t)n * sizeof(float));
    memcpy(lk_fft_time(fft), a->level, (size_t)a->n * sizeof(float));
    lk_fft_forward(fft);
    memcpy(bins, lk_fft_bins(fft), (size_t)(n + 2) * sizeof(float));
    for (int r = 0; r < s->n_null; r++) {
        float *out = lk_fft_bins(fft);
        memcpy(out, bins, (size_t)(n + 2) * sizeof(float));
        for (int k = 1; k < n / 2; k++) {
            const double turn =
                6.283185307179586 *
                (double)lk_rng_uniform(seed, 0x6d6f757468 + (uint64_t)r, (uint64_t)k);
            const double size = hypot((double)bins[2 * k], (double)bins[2 * k + 1]);
            out[2 * k] = (float)(size * cos(turn));
            out[2 * k + 1] = (float)(size * sin(turn));
        }
        lk_fft_inverse(fft);
        memcpy(b.level, lk_fft_time(fft), (size_t)a->n * sizeof(float));
        shape_sound(&b);
        for (int64_t i = 0; i < p->n_lags; i += 2) {
            double unused = 0;
            null[r] = fmax(null[r], evidence(p, &b, lag_of(p, (double)i), &unused));
        }
    }
    *p_value = lk_null_p(observed, null, s->n_null);
    *chance = lk_median(null, s->n_null);
done:
    lk_fft_free(&fft);
    lk_free(bins);
    lk_free(null);
    clear_sound(&b);
    return st;
}

/* ---- the answer ------------------------------------------------------------------------------ */

static lk_status abstain(const char *reason, const lk_sink *sink)
{
    return sink->abstain(sink->user, "mouth.offset_ms", reason);
}

/* Jackknife over stretches: variance (m - 1) / m * sum (x_i - mean)^2. */
static double half_width_ms(problem *p, const sound *a, float *curve)
{
    double x[STRETCHES], mean = 0, sum = 0, height, correlation;
    for (int i = 0; i < STRETCHES; i++) {
        p->skip = i;
        x[i] = 1e3 * best_lag(p, a, curve, &height, &correlation);
        mean += x[i] / STRETCHES;
    }
    p->skip = -1;
    for (int i = 0; i < STRETCHES; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    return 1.96 * sqrt(sum * (STRETCHES - 1) / STRETCHES);
}

static lk_status emit_curve(const problem *p, const float *curve, const lk_sink *sink)
{
    lk_status st = LK_OK;
    double *axis = NULL;
    LK_TRY(LK_NEW_ARRAY(&axis, p->n_lags));
    for (int64_t i = 0; i < p->n_lags; i++)
        axis[i] = 1e3 * lag_of(p, (double)i);
    LK_TRY(sink->lag_curve(sink->user, "mouth.evidence", p->n_lags, axis, curve));
done:
    lk_free(axis);
    return st;
}

static lk_status judge(mouth_state *s, problem *p, const sound *a, uint64_t seed,
                       const lk_sink *sink)
{
    lk_status st = LK_OK;
    float *curve = NULL, *scratch = NULL;
    double height = 0, correlation = 0, p_value = 1, chance = 0;
    char reason[160];
    LK_TRY(LK_NEW_ARRAY(&curve, p->n_lags));
    LK_TRY(LK_NEW_ARRAY(&scratch, p->n_lags));
    const double lag_ms = 1e3 * best_lag(p, a, curve, &height, &correlation);
    LK_TRY(chance_level(s, p, a, seed, height, &p_value, &chance));
    LK_TRY(emit_curve(p, curve, sink));
    const lk_score c = {"mouth.correlation", "1", correlation, NAN, NAN, NAN, p_value, s->n};
    LK_TRY(sink->score(sink->user, &c));
    if (p_value > s->trust_p) {
        snprintf(reason, sizeof reason,
                 "no movement follows the loudness better than chance (p = %.2g)", p_value);
        st = abstain(reason, sink);
        goto done;
    }
    /* A maximum at the edge is the foot of one outside, and every stretch repeats it exactly. */
    if (fabs(lag_ms) > 1e3 * (fabs(lag_of(p, 0)) - 0.5 * p->lag_step)) {
        snprintf(reason, sizeof reason, "the best offset is the edge of the search (%+.0f ms)",
                 lag_ms);
        st = abstain(reason, sink);
        goto done;
    }
    const double half = half_width_ms(p, a, scratch);
    if (half > 150) {
        snprintf(reason, sizeof reason, "the offset differs between parts of the clip (+-%.0f ms)",
                 half);
        st = abstain(reason, sink);
        goto done;
    }
    const lk_score o = {"mouth.offset_ms", "ms", lag_ms,  lag_ms - half,
                        lag_ms + half,     NAN,  p_value, s->n};
    LK_TRY(sink->score(sink->user, &o));
done:
    lk_free(curve);
    lk_free(scratch);
    return st;
}

static lk_status finish(void *state, const lk_features *f, const lk_reference *reference,
                        const lk_sink *sink)
{
    lk_status st = LK_OK;
    mouth_state *s = state;
    problem p = {.s = s, .skip = -1};
    sound a = {0};
    if (s->n < 25 || s->columns < WINDOW_W || s->rows < WINDOW_H)
        return abstain("fewer than 25 frames, or a picture too small for a mouth", sink);
    const double first = lk_flick_to_s(s->start[0]), last = lk_flick_to_s(s->start[s->n - 1]);
    const double frame_s = (last - first) / (double)(s->n - 1);
    LK_TRY(make_sound(&f->audio, last + 1, &a));
    const double length = fmin((double)a.n * a.step, last - first);
    if (length < 1.5)
        return abstain("less than 1.5 s of picture and sound", sink);
    if (f->audio.peak < 1e-4f) {
        st = abstain("no sound (silent)", sink);
        goto done;
    }
    double skew = 0;
    LK_TRY(attack_skew(&a, &skew));
    if (skew > s->max_attack_skew) {
        st = abstain("the sound is struck rather than spoken: it rises far faster than it falls",
                     sink);
        goto done;
    }
    LK_TRY(find_windows(s, reference, frame_s, &p));
    if (p.n_windows == 0) {
        st = abstain("nothing moves like a mouth (still picture)", sink);
        goto done;
    }
    LK_TRY(LK_NEW_ARRAY(&p.x, s->n));
    LK_TRY(LK_NEW_ARRAY(&p.y, s->n));
    LK_TRY(LK_NEW_ARRAY(&p.t_motion, s->n));
    LK_TRY(LK_NEW_ARRAY(&p.t_dark, s->n));
    for (int64_t k = 0; k < s->n; k++) {
        p.t_dark[k] = lk_flick_to_s(s->start[k]);
        p.t_motion[k] = k > 0 ? 0.5 * (p.t_dark[k - 1] + p.t_dark[k]) : p.t_dark[k];
    }
    p.lag_step = 0.02;
    p.n_lags = 2 * (int64_t)(fmin(s->max_lag_ms / 1e3, 0.25 * length) / p.lag_step) + 1;
    LK_TRY(judge(s, &p, &a, f->seed, sink));
done:
    for (int i = 0; i < p.n_windows; i++) {
        lk_free(p.windows[i].motion);
        lk_free(p.windows[i].dark);
    }
    lk_free(p.x);
    lk_free(p.y);
    lk_free(p.t_motion);
    lk_free(p.t_dark);
    clear_sound(&a);
    return st;
}

const lk_metric lk_metric_mouth = {
    .name = "mouth",
    .summary = "signed offset between lip movement and loudness of speech, without trained weights",
    .source = "ours",
    .cost = "about as much as the shared features",
    .scores = score_names,
    .options = options,
    .state_bytes = sizeof(mouth_state),
    .needs = LK_NEED_VIDEO | LK_NEED_AUDIO | LK_NEED_ONSET | LK_NEED_FRAMES,
    .by_default = true,
    .push_frame = push_frame,
    .finish = finish,
    .clear = clear,
};
