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
#include "align/mouth_impl.h"
#include "align/stats.h"

#include "kernels/fft.h"
#include "kernels/mem.h"
#include "kernels/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const lk_option options[] = {
    LK_OPT_DOUBLE(lk_mouth_state, max_lag_ms, 600, 50, 2000, "search offsets up to this size"),
    LK_OPT_DOUBLE(lk_mouth_state, trust_p, 0.01, 0.0001, 1,
                  "answer only when chance is this unlikely"),
    LK_OPT_DOUBLE(lk_mouth_state, max_seconds, 120, 2, 600, "look at this much of the clip"),
    LK_OPT_DOUBLE(lk_mouth_state, max_attack_skew, 2.8, 0, 100,
                  "above this the sound is struck, not spoken"),
    LK_OPT_INT(lk_mouth_state, n_null, 199, 19, 5000, "unrelated sounds to compare with"),
    LK_OPT_END};

static const char *const score_names[] = {"mouth.offset_ms", "mouth.correlation", NULL};

/* ---- pictures -------------------------------------------------------------------------------- */

static void fill_cells(lk_mouth_state *s, const lk_small_picture *now,
                       const lk_small_picture *before)
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
    lk_mouth_state *s = state;
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
    lk_mouth_state *s = state;
    lk_free(s->start);
    lk_free(s->motion);
    lk_free(s->dark);
    s->start = NULL;
    s->motion = s->dark = NULL;
}

/* ---- correlation ----------------------------------------------------------------------------- */

static bool is_left_out(const lk_mouth_problem *p, int64_t k)
{
    return p->skip >= 0 && k * STRETCHES / p->s->n == p->skip;
}

/* Sound at the frames' times plus lag, mean removed, NAN where there is none; returns its energy.
 */
static double sample_sound(const lk_mouth_problem *p, const lk_mouth_sound *a, const double *v,
                           const double *t, double lag, double *out)
{
    double sum = 0, energy = 0;
    int64_t n = 0;
    for (int64_t k = 0; k < p->s->n; k++) {
        out[k] = is_left_out(p, k) ? NAN : lk_mouth_value_at(a, v, t[k] + lag);
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

static double evidence(const lk_mouth_problem *p, const lk_mouth_sound *a, double lag,
                       double *best_sum)
{
    double total = 0, mass = 0;
    const double ex = sample_sound(p, a, a->wide, p->t_motion, lag, p->x);
    const double ey = sample_sound(p, a, a->tight, p->t_dark, lag, p->y);
    *best_sum = 0;
    for (int i = 0; i < p->n_windows; i++) {
        const lk_mouth_window *w = &p->windows[i];
        const double t =
            correlate(p->x, w->motion, p->s->n, ex) + correlate(p->y, w->dark, p->s->n, ey);
        *best_sum = fmax(*best_sum, t);
        total += w->variance * (t > 0 ? t * t : 0);
        mass += w->variance;
    }
    return mass > 0 ? total / mass : 0;
}

static double lag_of(const lk_mouth_problem *p, double index)
{
    return (index - (double)(p->n_lags / 2)) * p->lag_step;
}

/* Lag in seconds of the largest evidence, refined by a parabola; fills curve [n_lags]. */
static double best_lag(const lk_mouth_problem *p, const lk_mouth_sound *a, float *curve,
                       double *height, double *correlation)
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
static lk_status chance_level(const lk_mouth_state *s, lk_mouth_problem *p, const lk_mouth_sound *a,
                              uint64_t seed, double observed, double *p_value, double *chance)
{
    lk_status st = LK_OK;
    lk_fft *fft = NULL;
    float *bins = NULL;
    double *null = NULL;
    lk_mouth_sound b = {.n = a->n, .t0 = a->t0, .step = a->step};
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
        lk_mouth_shape_sound(&b);
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
    lk_mouth_clear_sound(&b);
    return st;
}

/* ---- the answer ------------------------------------------------------------------------------ */

static lk_status abstain(const char *reason, const lk_sink *sink)
{
    return sink->abstain(sink->user, "mouth.offset_ms", reason);
}

/* Jackknife over stretches: variance (m - 1) / m * sum (x_i - mean)^2. */
static double half_width_ms(lk_mouth_problem *p, const lk_mouth_sound *a, float *curve)
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

static lk_status emit_curve(const lk_mouth_problem *p, const float *curve, const lk_sink *sink)
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

static lk_status judge(lk_mouth_state *s, lk_mouth_problem *p, const lk_mouth_sound *a,
                       uint64_t seed, const lk_sink *sink)
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
    lk_mouth_state *s = state;
    lk_mouth_problem p = {.s = s, .skip = -1};
    lk_mouth_sound a = {0};
    if (s->n < 25 || s->columns < WINDOW_W || s->rows < WINDOW_H)
        return abstain("fewer than 25 frames, or a picture too small for a mouth", sink);
    const double first = lk_flick_to_s(s->start[0]), last = lk_flick_to_s(s->start[s->n - 1]);
    const double frame_s = (last - first) / (double)(s->n - 1);
    LK_TRY(lk_mouth_make_sound(&f->audio, last + 1, &a));
    const double length = fmin((double)a.n * a.step, last - first);
    if (length < 1.5) {
        st = abstain("less than 1.5 s of picture and sound", sink);
        goto done;
    }
    if (f->audio.peak < 1e-4f) {
        st = abstain("no sound (silent)", sink);
        goto done;
    }
    double skew = 0;
    LK_TRY(lk_mouth_attack_skew(&a, &skew));
    if (skew > s->max_attack_skew) {
        st = abstain("the sound is struck rather than spoken: it rises far faster than it falls",
                     sink);
        goto done;
    }
    LK_TRY(lk_mouth_find_windows(s, reference, frame_s, &p));
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
    lk_mouth_clear_sound(&a);
    return st;
}

const lk_metric lk_metric_mouth = {
    .name = "mouth",
    .summary = "signed offset between lip movement and loudness of speech, without trained weights",
    .source = "ours",
    .cost = "about as much as the shared features",
    .scores = score_names,
    .options = options,
    .state_bytes = sizeof(lk_mouth_state),
    .needs = LK_NEED_VIDEO | LK_NEED_AUDIO | LK_NEED_ONSET | LK_NEED_FRAMES,
    .by_default = true,
    .push_frame = push_frame,
    .finish = finish,
    .clear = clear,
};
