/* beat_scores_madmom.c - see beat_scores.h.
 *
 * r are the reference beats, e the estimates, both sorted.  near(x, v) is the member of v nearest
 * to x, of two equally near ones the later.  The error of x in v is x - near(x, v); its interval is
 * that from near(x, v) to the next of v when the error is positive, else that from the one before
 * (at the ends the only one there is); their quotient is the relative error. P-score    share of e
 * with |error| <= 0.2 median intervals of r, over max(n_r, n_e). Cemgil     sum over e of
 * exp(-error^2 / (2 0.04^2)) over (n_r + n_e) / 2. Goto       near(r, e) with |relative error| <=
 * 0.175, in the order of r; the longest run of successive e among them is a quarter of n_r or more,
 * mean |.| and deviation <= 0.1. Continuity e is right when |error| and the difference of the
 * intervals that end at e and at near(e, r) are both within 17.5 % of the latter; over max(n_r,
 * n_e).  c: longest run, t: all; AML: also r at its off-beats, twice, half, three times and a
 * third, unless CMLc > 0.5. Gain       log2 40 - H, in bits; H the larger entropy of the relative
 * errors, e in r and r in e, wrapped into one interval and counted in 40 bins, the first around
 * half an interval. Two empty lists agree perfectly; one alone, or fewer than two beats of what
 * needs an interval: 0.
 */
#include "align/beat_scores.h"

#include "align/stats.h"
#include "kernels/mem.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define F_WINDOW     0.07
#define CEMGIL_SIGMA 0.04
#define P_SHARE      0.2
#define TOLERANCE    0.175 /* of Goto and of continuity */
#define GOTO_MOST    0.1
#define GAIN_BINS    40
#define SURE         0.5 /* of CMLc: other levels are not tried above it */

typedef struct beats {
    const double *t;
    int64_t n;
} beats;

static int64_t near(beats v, double x)
{
    int64_t at = 1;
    if (v.n < 2)
        return 0;
    while (at + 1 < v.n && v.t[at] < x)
        at++;
    return x - v.t[at - 1] < v.t[at] - x ? at - 1 : at;
}

static double relative_error(beats v, double x)
{
    const int64_t k = near(v, x);
    const double d = x - v.t[k];
    const int64_t end = d > 0 ? (k + 1 < v.n ? k + 1 : k) : (k > 0 ? k : 1);
    return d / (v.t[end] - v.t[end - 1]);
}

/* ---- Goto ------------------------------------------------------------------------------------ */

static lk_status goto_score(beats r, beats e, double *score)
{
    lk_status st = LK_OK;
    int64_t *found = NULL, n = 0, best = 0, most = 0;
    LK_TRY(LK_NEW_ARRAY(&found, r.n));
    for (int64_t i = 0; i < r.n; i++) {
        const int64_t k = near(e, r.t[i]);
        if (fabs(relative_error(r, e.t[k])) <= TOLERANCE)
            found[n++] = k;
    }
    for (int64_t i = 0, run = 0; i < n; i++) {
        run = i > 0 && found[i] == found[i - 1] + 1 ? run + 1 : 1;
        if (run > most) {
            most = run;
            best = found[i] - run + 1;
        }
    }
    double sum = 0, mean = 0, squares = 0;
    for (int64_t k = best; k < best + most; k++) {
        const double x = relative_error(r, e.t[k]);
        sum += fabs(x) / (double)most;
        mean += x / (double)most;
    }
    for (int64_t k = best; k < best + most; k++) {
        const double x = relative_error(r, e.t[k]) - mean;
        squares += x * x / (double)most;
    }
    *score = most > 0 && (double)most >= 0.25 * (double)r.n && sum <= GOTO_MOST &&
             sqrt(squares) <= GOTO_MOST;
done:
    lk_free(found);
    return st;
}

/* ---- continuity ------------------------------------------------------------------------------ */

/* Level k of r: the instants at positions (first + i step) / parts, straight lines between beats.
 */
typedef struct level {
    int first, step, parts;
} level;

static const level levels[] = {{0, 1, 1}, {1, 2, 2}, {0, 1, 2}, {0, 2, 1}, {1, 2, 1},
                               {0, 1, 3}, {0, 3, 1}, {1, 3, 1}, {2, 3, 1}};

static beats at_level(beats r, level l, double *room)
{
    beats v = {room, 0};
    for (int64_t p = l.first; p <= l.parts * (r.n - 1); p += l.step) {
        const int64_t i = p / l.parts, rest = p % l.parts;
        room[v.n] = r.t[i];
        if (rest > 0)
            room[v.n] += (double)rest / l.parts * (r.t[i + 1] - r.t[i]);
        v.n++;
    }
    return v;
}

static void continuity(beats r, beats e, double *longest, double *total)
{
    int64_t right = 0, run = 0, most = 0;
    *longest = *total = 0;
    if (r.n < 2 || e.n < 2)
        return;
    for (int64_t i = 0; i < e.n; i++) {
        const int64_t k = near(r, e.t[i]), end = k > 0 ? k : 1, own = i > 0 ? i : 1;
        const double interval = r.t[end] - r.t[end - 1];
        const bool good = fabs(e.t[i] - r.t[k]) <= interval * TOLERANCE &&
                          fabs(1 - (e.t[own] - e.t[own - 1]) / interval) <= TOLERANCE;
        right += good;
        run = good ? run + 1 : 0;
        most = run > most ? run : most;
    }
    const double n = (double)(r.n > e.n ? r.n : e.n);
    *longest = (double)most / n;
    *total = (double)right / n;
}

static lk_status continuities(beats r, beats e, lk_beat_scores *s)
{
    lk_status st = LK_OK;
    double *room = NULL;
    LK_TRY(LK_NEW_ARRAY(&room, 3 * r.n));
    continuity(r, e, &s->cml_c, &s->cml_t);
    s->aml_c = s->cml_c;
    s->aml_t = s->cml_t;
    for (size_t l = 1; s->cml_c <= SURE && l < sizeof levels / sizeof levels[0]; l++) {
        double longest, total;
        continuity(at_level(r, levels[l], room), e, &longest, &total);
        s->aml_c = fmax(s->aml_c, longest);
        s->aml_t = fmax(s->aml_t, total);
    }
done:
    lk_free(room);
    return st;
}

/* ---- the others ------------------------------------------------------------------------------ */

static lk_status p_score(beats r, beats e, double *score)
{
    lk_status st = LK_OK;
    double *interval = NULL;
    int64_t good = 0;
    LK_TRY(LK_NEW_ARRAY(&interval, r.n));
    for (int64_t i = 0; i + 1 < r.n; i++)
        interval[i] = r.t[i + 1] - r.t[i];
    const double window = P_SHARE * lk_median(interval, r.n - 1);
    for (int64_t i = 0; i < e.n; i++)
        good += fabs(e.t[i] - r.t[near(r, e.t[i])]) <= window;
    *score = (double)good / (double)(r.n > e.n ? r.n : e.n);
done:
    lk_free(interval);
    return st;
}

static double cemgil(beats r, beats e)
{
    double sum = 0;
    for (int64_t i = 0; i < e.n; i++) {
        const double d = (e.t[i] - r.t[near(r, e.t[i])]) / CEMGIL_SIGMA;
        sum += exp(-0.5 * d * d);
    }
    return sum / (0.5 * (double)(r.n + e.n));
}

static double error_entropy(beats r, beats e)
{
    double count[GAIN_BINS + 1] = {0}, entropy = 0;
    for (int64_t i = 0; i < e.n; i++) {
        const double x = relative_error(r, e.t[i]) + 0.5;
        if (!isfinite(x)) /* beats that coincide leave no interval */
            continue;
        const double place = (x - ceil(x) + 1) * GAIN_BINS + 0.5;
        count[(int)fmin(place, GAIN_BINS)]++;
    }
    count[0] += count[GAIN_BINS];
    for (int b = 0; b < GAIN_BINS; b++) {
        const double p = count[b] / (double)e.n;
        entropy -= p > 0 ? p * log2(p) : 0;
    }
    return entropy;
}

lk_status lk_beat_scores_madmom(const double *reference, int64_t n_reference,
                                const double *estimate, int64_t n_estimate, double trim_s,
                                lk_beat_scores *s)
{
    lk_status st = LK_OK;
    beats r = {reference, n_reference}, e = {estimate, n_estimate};
    memset(s, 0, sizeof *s);
    for (; r.n > 0 && r.t[0] < trim_s; r.n--)
        r.t++;
    for (; e.n > 0 && e.t[0] < trim_s; e.n--)
        e.t++;
    if (r.n == 0 && e.n == 0) {
        *s = (lk_beat_scores){1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, log2(GAIN_BINS)};
        goto done;
    }
    s->f_measure = lk_match_f(r.t, r.n, e.t, e.n, F_WINDOW, &s->precision, &s->recall);
    if (r.n == 0 || e.n == 0)
        goto done;
    s->cemgil = s->cemgil_best = cemgil(r, e);
    if (r.n < 2)
        goto done;
    LK_TRY(p_score(r, e, &s->p_score));
    LK_TRY(goto_score(r, e, &s->goto_score));
    LK_TRY(continuities(r, e, s));
    if (e.n > 1)
        s->information_gain = log2(GAIN_BINS) - fmax(error_entropy(r, e), error_entropy(e, r));
done:
    return st;
}
