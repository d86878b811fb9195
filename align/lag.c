/* lag.c - coincidence of two pulse trains over lag and time.
 *
 *   C(lag) = sum over onsets j, picture pulses k of  s_j w_k K(a_j - v_k - lag)
 *
 * K is a Gaussian; it is applied to a 1 ms histogram of the pair differences, so the cost is the
 * number of pairs within reach, not pairs times lags.  The p-value against unrelated trains comes
 * from lag_null.c.
 *
 * Each onset then gives its own estimate, the centroid of the picture's pulses near a_j - lag
 * (mean shift from the common lag), and the answer is a weighted median polished by one robust
 * mean; its interval is a bootstrap over onsets. */
#include "align/lag.h"
#include "align/lag_impl.h"

#include "align/stats.h"
#include "kernels/mem.h"
#include "kernels/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CENTROID_ERROR 0.25 /* of the kernel: error of an instant without a hit */
#define PAIR_ERROR_MS  1.0  /* of the sound's instant, and of what no sigma knows */

static int64_t first_at_or_after(const lk_pulse *p, int64_t n, double t)
{
    int64_t lo = 0, hi = n;
    while (lo < hi) {
        const int64_t mid = lo + (hi - lo) / 2;
        if (p[mid].t_s < t)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Adds one onset's pair differences to the histogram, each split linearly over two bins. */
void lk_lag_add_pairs(const lk_lag_trains *t, double onset_s, double weight, float *histogram)
{
    const double reach_s = (double)(t->n_lags / 2) * BIN_MS / 1e3;
    int64_t k = first_at_or_after(t->picture, t->n_picture, onset_s - reach_s);
    for (; k < t->n_picture && t->picture[k].t_s <= onset_s + reach_s; k++) {
        const double place = (onset_s - t->picture[k].t_s) * 1e3 / BIN_MS + (double)(t->n_lags / 2);
        const int64_t bin = (int64_t)floor(place);
        const double part = place - (double)bin;
        const double mass = weight * t->picture[k].weight;
        if (bin >= 0 && bin < t->n_lags)
            histogram[bin] += (float)(mass * (1 - part));
        if (bin + 1 >= 0 && bin + 1 < t->n_lags)
            histogram[bin + 1] += (float)(mass * part);
    }
}

/* y += a x */
static void add_scaled(int64_t n, float a, const float *restrict x, float *restrict y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

void lk_lag_smooth(const lk_lag_trains *t, const float *histogram, float *curve)
{
    memset(curve, 0, (size_t)t->n_lags * sizeof *curve);
    for (int64_t i = 0; i < t->n_lags; i++) {
        if (histogram[i] == 0)
            continue;
        const int64_t from = i - t->n_kernel < 0 ? 0 : i - t->n_kernel;
        const int64_t to = i + t->n_kernel >= t->n_lags ? t->n_lags - 1 : i + t->n_kernel;
        add_scaled(to - from + 1, histogram[i], t->kernel + (from - i + t->n_kernel), curve + from);
    }
}

int64_t lk_lag_largest(const float *v, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++) {
        if (v[i] > v[best])
            best = i;
    }
    return best;
}

static lk_status make_kernel(lk_lag_trains *t, double sigma_ms)
{
    lk_status st = LK_OK;
    t->n_kernel = (int)ceil(3.5 * sigma_ms / BIN_MS);
    LK_TRY(LK_NEW_ARRAY(&t->kernel, 2 * t->n_kernel + 1));
    for (int i = -t->n_kernel; i <= t->n_kernel; i++) {
        const double x = i * BIN_MS / sigma_ms;
        t->kernel[i + t->n_kernel] = (float)exp(-0.5 * x * x);
    }
done:
    return st;
}

/* ---- pairs ----------------------------------------------------------------------------------- */

/* Centroid of the picture's pulses around an instant: three mean-shift steps.  False when there
 * are none. */
static bool centroid_near(const lk_lag_trains *t, double reach_s, double *centre, double *mass)
{
    for (int step = 0; step < 3; step++) {
        double sum = 0;
        *mass = 0;
        int64_t k = first_at_or_after(t->picture, t->n_picture, *centre - reach_s);
        for (; k < t->n_picture && t->picture[k].t_s <= *centre + reach_s; k++) {
            *mass += t->picture[k].weight;
            sum += t->picture[k].weight * t->picture[k].t_s;
        }
        if (!(*mass > 0))
            return false;
        *centre = sum / *mass;
    }
    return true;
}

/* The hit that an onset expected at `centre` most likely belongs to, NULL when none is in reach. */
static const lk_hit *hit_near(const lk_lag_trains *t, double reach_s, double kernel_s,
                              double centre)
{
    const lk_hit *best = NULL;
    double most = 0;
    int64_t lo = 0, hi = t->n_hits;
    while (lo < hi) {
        const int64_t mid = lo + (hi - lo) / 2;
        if (t->hits[mid].t_s < centre - reach_s)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < t->n_hits && t->hits[lo].t_s <= centre + reach_s; lo++) {
        const double x = (t->hits[lo].t_s - centre) / kernel_s;
        const double likely = sqrt((double)t->hits[lo].weight) * exp(-0.5 * x * x);
        if (likely > most) {
            most = likely;
            best = &t->hits[lo];
        }
    }
    return best;
}

/* Lag of one onset near a common lag. */
static bool pair_of_onset(const lk_lag_trains *t, const lk_pulse *onset, double lag_ms,
                          double kernel_ms, lk_lag_pair *pair)
{
    const double reach_ms = 2 * kernel_ms, expected = onset->t_s - lag_ms / 1e3;
    double centre = expected, mass = 0;
    if (!centroid_near(t, reach_ms / 1e3, &centre, &mass))
        return false;
    const lk_hit *hit = hit_near(t, reach_ms / 1e3, kernel_ms / 1e3, expected);
    pair->t_s = onset->t_s;
    pair->lag_ms = (onset->t_s - (hit ? hit->t_s : centre)) * 1e3;
    pair->sigma_ms = hit ? (double)hit->sigma_ms : CENTROID_ERROR * kernel_ms;
    pair->weight = onset->weight * mass;
    return fabs(pair->lag_ms - lag_ms) <= 1.5 * reach_ms;
}

static double path_at(const lk_lag_result *r, double t_s)
{
    if (r->n_windows == 0)
        return NAN;
    int64_t i = 0;
    while (i + 1 < r->n_windows && r->window_t_s[i + 1] <= t_s)
        i++;
    if (i + 1 >= r->n_windows || t_s <= r->window_t_s[0])
        return r->window_lag_ms[i];
    const double part = (t_s - r->window_t_s[i]) / (r->window_t_s[i + 1] - r->window_t_s[i]);
    return r->window_lag_ms[i] + part * (r->window_lag_ms[i + 1] - r->window_lag_ms[i]);
}

static lk_status collect_pairs(const lk_lag_trains *t, double kernel_ms, lk_lag_result *r)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW_ARRAY(&r->pair, t->n_sound));
    r->n_pairs = 0;
    for (int64_t j = 0; j < t->n_sound; j++) {
        const double lag = path_at(r, t->sound[j].t_s);
        if (pair_of_onset(t, &t->sound[j], lag, kernel_ms, &r->pair[r->n_pairs]))
            r->n_pairs++;
    }
done:
    return st;
}

typedef struct pair_set {
    const lk_lag_pair *pair;
    double *value, *weight;
    double scale_ms;
} pair_set;

/* How much a pair counts: the coincidence behind it over the variance of its lag. */
static double pair_precision(const lk_lag_pair *p)
{
    return sqrt(p->weight) / (p->sigma_ms * p->sigma_ms + PAIR_ERROR_MS * PAIR_ERROR_MS);
}

/* Weighted median, then one weighted mean with Huber weights around it. */
static double robust_lag(const int64_t *index, int64_t n, void *user)
{
    pair_set *s = user;
    double sum = 0, mass = 0;
    for (int64_t i = 0; i < n; i++) {
        s->value[i] = s->pair[index[i]].lag_ms;
        s->weight[i] = pair_precision(&s->pair[index[i]]);
    }
    const double middle = lk_weighted_median(s->value, s->weight, n);
    for (int64_t i = 0; i < n; i++) {
        const double e = fabs(s->value[i] - middle);
        const double w = s->weight[i] * (e > s->scale_ms ? s->scale_ms / e : 1);
        sum += w * s->value[i];
        mass += w;
    }
    return mass > 0 ? sum / mass : NAN;
}

/* One weighted line through (t, lag), pairs far from the old line counting less. */
static bool improve_line(const pair_set *s, const int64_t *index, int64_t n, double scale_ms,
                         double *level, double *slope)
{
    double w = 0, mt = 0, ml = 0, tt = 0, tl = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < n; i++) {
            const lk_lag_pair *p = &s->pair[index[i]];
            const double x = (p->lag_ms - *level - *slope * p->t_s) / scale_ms;
            const double wi = pair_precision(p) / (isnan(x) ? 1 : (1 + x * x) * (1 + x * x));
            if (pass == 0) {
                w += wi;
                mt += wi * p->t_s;
                ml += wi * p->lag_ms;
            } else {
                tt += wi * (p->t_s - mt) * (p->t_s - mt);
                tl += wi * (p->t_s - mt) * (p->lag_ms - ml);
            }
        }
        if (pass == 0) {
            mt /= w;
            ml /= w;
        }
    }
    *slope = tl / tt;
    *level = ml - *slope * mt;
    return w > 0 && tt > 0;
}

/* Line through (t, lag) with a bounded say of each pair, in ms per s = 1000 ppm.  The scale beyond
 * which a pair is taken for a wrong one shrinks to what the pairs themselves scatter. */
static double robust_slope(const int64_t *index, int64_t n, void *user)
{
    const pair_set *s = user;
    double slope = 0, level = NAN, scale = s->scale_ms;
    for (int round = 0; round < 16; round++) {
        if (!improve_line(s, index, n, scale, &level, &slope))
            return NAN;
        for (int64_t i = 0; i < n; i++) {
            const lk_lag_pair *p = &s->pair[index[i]];
            s->value[i] = fabs(p->lag_ms - level - slope * p->t_s);
            s->weight[i] = pair_precision(p);
        }
        const double scatter = lk_weighted_median(s->value, s->weight, n);
        scale = fmin(fmax(0.7 * scale, 4 * scatter), s->scale_ms);
        scale = fmax(scale, 2 * PAIR_ERROR_MS);
    }
    return slope * 1e3;
}

static lk_status summarise_pairs(const lk_lag_options *o, lk_lag_result *r)
{
    lk_status st = LK_OK;
    pair_set s = {r->pair, NULL, NULL, 10};
    int64_t *all = NULL;
    const int64_t n = r->n_pairs;
    LK_TRY(LK_NEW_ARRAY(&s.value, n));
    LK_TRY(LK_NEW_ARRAY(&s.weight, n));
    LK_TRY(LK_NEW_ARRAY(&all, n));
    for (int64_t i = 0; i < n; i++)
        all[i] = i;
    r->lag_ms = robust_lag(all, n, &s);
    LK_TRY(lk_bootstrap(n, o->n_bootstrap, o->seed, 11, robust_lag, &s, &r->lo, &r->hi));
    if (n >= 8 && r->pair[n - 1].t_s - r->pair[0].t_s >= 5) {
        r->drift_ppm = robust_slope(all, n, &s);
        LK_TRY(lk_bootstrap(n, o->n_bootstrap, o->seed, 12, robust_slope, &s, &r->drift_lo,
                            &r->drift_hi));
    }
done:
    lk_free(s.value);
    lk_free(s.weight);
    lk_free(all);
    return st;
}

/* ---- lag over time ------------------------------------------------------------------------------
 */

/* Viterbi over (window, lag): reward is the window's own curve scaled to a maximum of 1 plus a
 * share of the whole clip's curve; moving costs in proportion to the distance. */
static lk_status follow_path(lk_lag_result *r)
{
    lk_status st = LK_OK;
    const int64_t n = r->n_lags, windows = r->n_windows;
    const float step_cost = 0.004f;
    float *best = NULL, *next = NULL;
    int32_t *from = NULL;
    LK_TRY(LK_NEW_ARRAY(&best, n));
    LK_TRY(LK_NEW_ARRAY(&next, n));
    LK_TRY(LK_NEW_ARRAY(&from, windows * n));
    const float whole = r->curve[lk_lag_largest(r->curve, n)];
    for (int64_t w = 0; w < windows; w++) {
        const float *row = r->map + w * n;
        const float top = row[lk_lag_largest(row, n)];
        int32_t *origin = from + w * n;
        /* Distance transform: cheapest predecessor with a linear cost, two sweeps. */
        for (int64_t i = 0; i < n; i++) {
            next[i] = best[i];
            origin[i] = (int32_t)i;
            if (i > 0 && next[i - 1] - step_cost > next[i]) {
                next[i] = next[i - 1] - step_cost;
                origin[i] = origin[i - 1];
            }
        }
        for (int64_t i = n - 2; i >= 0; i--) {
            if (next[i + 1] - step_cost > next[i]) {
                next[i] = next[i + 1] - step_cost;
                origin[i] = origin[i + 1];
            }
        }
        for (int64_t i = 0; i < n; i++)
            best[i] = next[i] + (top > 0 ? row[i] / top : 0) +
                      (whole > 0 ? 0.1f * r->curve[i] / whole : 0);
    }
    int64_t at = lk_lag_largest(best, n);
    for (int64_t w = windows - 1; w >= 0; w--) {
        r->window_lag_ms[w] = r->lag_axis_ms[at];
        at = from[w * n + at];
    }
done:
    lk_free(best);
    lk_free(next);
    lk_free(from);
    return st;
}

static lk_status lag_over_time(const lk_lag_trains *t, const lk_lag_options *o, lk_lag_result *r)
{
    lk_status st = LK_OK;
    float *histogram = NULL;
    const double hop_s = o->window_s / 2;
    r->n_windows =
        t->length_s <= o->window_s ? 1 : 1 + (int64_t)ceil((t->length_s - o->window_s) / hop_s);
    LK_TRY(LK_NEW_ARRAY(&histogram, r->n_lags));
    LK_TRY(LK_NEW_ARRAY(&r->window_t_s, r->n_windows));
    LK_TRY(LK_NEW_ARRAY(&r->window_lag_ms, r->n_windows));
    LK_TRY(LK_NEW_ARRAY(&r->map, r->n_windows * r->n_lags));
    for (int64_t w = 0; w < r->n_windows; w++) {
        const double from = t->start_s + (double)w * hop_s;
        const double to = r->n_windows == 1 ? t->start_s + t->length_s : from + o->window_s;
        memset(histogram, 0, (size_t)r->n_lags * sizeof *histogram);
        int64_t j = first_at_or_after(t->sound, t->n_sound, from);
        for (; j < t->n_sound && t->sound[j].t_s < to; j++)
            lk_lag_add_pairs(t, t->sound[j].t_s, t->sound[j].weight, histogram);
        lk_lag_smooth(t, histogram, r->map + w * r->n_lags);
        r->window_t_s[w] = 0.5 * (from + to);
    }
    LK_TRY(follow_path(r));
done:
    lk_free(histogram);
    return st;
}

/* Replace each window's lag by the robust lag of its own pairs; find the best single jump. */
static lk_status refine_windows(const lk_lag_options *o, lk_lag_result *r)
{
    lk_status st = LK_OK;
    pair_set s = {r->pair, NULL, NULL, 10};
    int64_t *index = NULL;
    LK_TRY(LK_NEW_ARRAY(&s.value, r->n_pairs));
    LK_TRY(LK_NEW_ARRAY(&s.weight, r->n_pairs));
    LK_TRY(LK_NEW_ARRAY(&index, r->n_pairs));
    for (int64_t w = 0; w < r->n_windows; w++) {
        int64_t n = 0;
        const double half = r->n_windows == 1 ? INFINITY : 0.5 * o->window_s;
        for (int64_t i = 0; i < r->n_pairs; i++) {
            if (fabs(r->pair[i].t_s - r->window_t_s[w]) <= half)
                index[n++] = i;
        }
        if (n >= 3)
            r->window_lag_ms[w] = robust_lag(index, n, &s);
    }
done:
    lk_free(s.value);
    lk_free(s.weight);
    lk_free(index);
    return st;
}

/* Bounded loss of a run of pairs around its own weighted median: sum w min(1, (e / 25 ms)^2). */
static double run_loss(const lk_lag_pair *pair, int64_t n, double *value, double *weight,
                       double *middle)
{
    double loss = 0;
    for (int64_t i = 0; i < n; i++) {
        value[i] = pair[i].lag_ms;
        weight[i] = pair[i].weight;
    }
    *middle = lk_weighted_median(value, weight, n);
    for (int64_t i = 0; i < n; i++) {
        const double e = (pair[i].lag_ms - *middle) / 25;
        loss += pair[i].weight * fmin(1, e * e);
    }
    return loss;
}

static lk_status find_change(lk_lag_result *r)
{
    lk_status st = LK_OK;
    double *value = NULL, *weight = NULL, total = 0, middle = 0;
    const int64_t n = r->n_pairs, least = 6;
    r->change_s = r->change_ms = NAN;
    if (n < 2 * least)
        return LK_OK;
    LK_TRY(LK_NEW_ARRAY(&value, n));
    LK_TRY(LK_NEW_ARRAY(&weight, n));
    for (int64_t i = 0; i < n; i++)
        total += r->pair[i].weight;
    const double whole = run_loss(r->pair, n, value, weight, &middle);
    double best = whole;
    const int64_t stride = n > 400 ? n / 200 : 1; /* medians are n log n each */
    for (int64_t i = least; i + least <= n; i += stride) {
        double before = 0, after = 0;
        const double loss = run_loss(r->pair, i, value, weight, &before) +
                            run_loss(r->pair + i, n - i, value, weight, &after);
        /* A jump must explain a fifth of all weight and exceed 20 ms. */
        if (loss < best && whole - loss > 0.2 * total && fabs(after - before) > 20) {
            best = loss;
            r->change_s = 0.5 * (r->pair[i - 1].t_s + r->pair[i].t_s);
            r->change_ms = after - before;
        }
    }
done:
    lk_free(value);
    lk_free(weight);
    return st;
}

static void find_rival(const lk_lag_trains *t, lk_lag_result *r, int64_t peak)
{
    const int64_t guard = 2 * t->n_kernel;
    int64_t rival = -1;
    for (int64_t i = 1; i + 1 < r->n_lags; i++) {
        if (llabs(i - peak) > guard && r->curve[i] >= r->curve[i - 1] &&
            r->curve[i] >= r->curve[i + 1] && (rival < 0 || r->curve[i] > r->curve[rival]))
            rival = i;
    }
    r->rival_ms = rival >= 0 ? r->lag_axis_ms[rival] : NAN;
    r->rival_share = rival >= 0 && r->curve[peak] > 0 ? r->curve[rival] / r->curve[peak] : 0;
}

/* ---- support --------------------------------------------------------------------------------- */

#define PARTS 4

/* Does the lag stand without the part of the clip that speaks for it most?  A lag that holds for
 * the clip does; a chance likeness of two short rhythms does not. */
static lk_status find_support(const lk_lag_trains *t, lk_lag_result *r, int64_t peak)
{
    lk_status st = LK_OK;
    float *rest = NULL, *curve = NULL;
    double part[PARTS] = {0};
    const double reach_s = t->n_kernel * BIN_MS / 1e3, lag_s = r->lag_axis_ms[peak] / 1e3;
    LK_TRY(LK_NEW_ARRAY(&rest, t->n_lags));
    LK_TRY(LK_NEW_ARRAY(&curve, t->n_lags));
    for (int64_t j = 0; j < t->n_sound; j++) {
        const double centre = t->sound[j].t_s - lag_s;
        int p = (int)(PARTS * (t->sound[j].t_s - t->start_s) / t->length_s);
        p = p < 0 ? 0 : p >= PARTS ? PARTS - 1 : p;
        int64_t k = first_at_or_after(t->picture, t->n_picture, centre - reach_s);
        for (; k < t->n_picture && t->picture[k].t_s <= centre + reach_s; k++) {
            const int64_t bin = (int64_t)lrint((t->picture[k].t_s - centre) * 1e3 / BIN_MS);
            if (llabs(bin) <= t->n_kernel)
                part[p] += t->sound[j].weight * t->picture[k].weight *
                           (double)t->kernel[t->n_kernel + bin];
        }
    }
    int strongest = 0;
    for (int p = 1; p < PARTS; p++)
        strongest = part[p] > part[strongest] ? p : strongest;
    for (int64_t j = 0; j < t->n_sound; j++) {
        const int p = (int)(PARTS * (t->sound[j].t_s - t->start_s) / t->length_s);
        if ((p < 0 ? 0 : p >= PARTS ? PARTS - 1 : p) != strongest)
            lk_lag_add_pairs(t, t->sound[j].t_s, t->sound[j].weight, rest);
    }
    lk_lag_smooth(t, rest, curve);
    const int64_t near = (int64_t)(t->n_kernel * 3 / 7), n = t->n_lags;
    const int64_t from = peak - near < 0 ? 0 : peak - near;
    const int64_t to = peak + near >= n ? n - 1 : peak + near;
    const float here = curve[from + lk_lag_largest(curve + from, to - from + 1)];
    const float best = curve[lk_lag_largest(curve, n)];
    r->support = best > 0 ? (double)here / (double)best : 0;
done:
    lk_free(rest);
    lk_free(curve);
    return st;
}

lk_status lk_lag_estimate(const lk_lag_input *in, const lk_lag_options *o, lk_lag_result *r)
{
    lk_status st = LK_OK;
    float *histogram = NULL;
    lk_lag_trains t = {.sound = in->sound,
                       .picture = in->picture,
                       .hits = in->hits,
                       .n_sound = in->n_sound,
                       .n_picture = in->n_picture,
                       .n_hits = in->n_hits,
                       .start_s = in->start_s,
                       .length_s = in->end_s - in->start_s,
                       .n_lags = 2 * (int64_t)ceil(o->max_lag_ms / BIN_MS) + 1};
    memset(r, 0, sizeof *r);
    r->lag_ms = r->lo = r->hi = r->drift_ppm = r->drift_lo = r->drift_hi = NAN;
    r->change_s = r->change_ms = r->rival_ms = NAN;
    r->p = 1;
    if (t.n_sound == 0 || t.n_picture == 0 || !(t.length_s > 0))
        return LK_OK;
    r->n_lags = t.n_lags;
    LK_TRY(make_kernel(&t, o->kernel_ms));
    LK_TRY(LK_NEW_ARRAY(&histogram, t.n_lags));
    LK_TRY(LK_NEW_ARRAY(&r->curve, t.n_lags));
    LK_TRY(LK_NEW_ARRAY(&r->lag_axis_ms, t.n_lags));
    for (int64_t i = 0; i < t.n_lags; i++)
        r->lag_axis_ms[i] = (double)(i - t.n_lags / 2) * BIN_MS;
    for (int64_t j = 0; j < t.n_sound; j++)
        lk_lag_add_pairs(&t, t.sound[j].t_s, t.sound[j].weight, histogram);
    lk_lag_smooth(&t, histogram, r->curve);
    const int64_t peak = lk_lag_largest(r->curve, t.n_lags);
    r->score = r->curve[peak];
    if (!(r->score > 0))
        goto done;
    find_rival(&t, r, peak);
    LK_TRY(find_support(&t, r, peak));
    LK_TRY(lk_lag_chance(&t, o, r->score, r));
    LK_TRY(lag_over_time(&t, o, r));
    LK_TRY(collect_pairs(&t, o->kernel_ms, r));
    if (r->n_pairs > 0) {
        LK_TRY(summarise_pairs(o, r));
        LK_TRY(refine_windows(o, r));
        LK_TRY(find_change(r));
    }
done:
    lk_free(histogram);
    lk_free(t.kernel);
    return st;
}

void lk_lag_clear(lk_lag_result *r)
{
    lk_free(r->pair);
    lk_free(r->lag_axis_ms);
    lk_free(r->curve);
    lk_free(r->window_t_s);
    lk_free(r->map);
    lk_free(r->window_lag_ms);
    memset(r, 0, sizeof *r);
}
