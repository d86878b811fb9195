/* beat_scores.c - see beat_scores.h.
 *
 * r are the reference beats, e the estimates, both sorted.
 * F          one-to-one pairs with |r - e| <= 70 ms; P, R, 2 P R / (P + R).
 * Cemgil     sum over r of exp(-d^2 / (2 0.04^2)) over (n_r + n_e) / 2, d to the nearest e.
 * Goto       error of the only e in the cell around r, in units of the cell's half; the longest
 *            run with |error| <= 0.35 longer than a quarter of r, mean |error| and deviation < 0.2.
 * P-score    impulse trains of 10 ms, correlation summed over lags within 0.2 median intervals,
 *            over max(n_r, n_e).
 * Continuity e is right when its distance to the nearest unused r and the change of interval are
 *            both below 17.5 % of the reference interval.  c: longest run, t: all; CML: r as given,
 *            AML: the best of r, its off-beats, double and the two halves.
 * Gain       (log2 41 - H) / log2 41, H the larger entropy of the two error histograms.
 */
#include "align/beat_scores.h"

#include "align/stats.h"
#include "kernels/mem.h"

#include <math.h>
#include <string.h>

#define F_WINDOW     0.07
#define CEMGIL_SIGMA 0.04
#define GOTO_MOST    0.35
#define GOTO_MEAN    0.2
#define GOTO_SD      0.2
#define P_RATE       100
#define P_SHARE      0.2
#define CONTINUITY   0.175
#define GAIN_BINS    41
#define VARIANTS     5

double lk_match_f(const double *r, int64_t n_r, const double *e, int64_t n_e, double window,
                  double *precision, double *recall)
{
    int64_t pairs = 0;
    for (int64_t i = 0, j = 0; i < n_r && j < n_e;) {
        if (e[j] < r[i] - window) {
            j++;
        } else if (e[j] > r[i] + window) {
            i++;
        } else {
            pairs++;
            i++;
            j++;
        }
    }
    const double p = n_e > 0 && n_r > 0 ? (double)pairs / (double)n_e : 0;
    const double q = n_e > 0 && n_r > 0 ? (double)pairs / (double)n_r : 0;
    if (precision)
        *precision = p;
    if (recall)
        *recall = q;
    return p + q > 0 ? 2 * p * q / (p + q) : 0;
}

/* Index of the value nearest to x; of two equally near ones the first. */
static int64_t nearest(const double *v, int64_t n, double x)
{
    int64_t lo = 0, hi = n; /* first index with v >= x */
    while (lo < hi) {
        const int64_t mid = lo + (hi - lo) / 2;
        if (v[mid] < x)
            lo = mid + 1;
        else
            hi = mid;
    }
    int64_t best = lo < n ? lo : n - 1;
    if (best > 0 && fabs(x - v[best - 1]) <= fabs(x - v[best]))
        best--;
    while (best > 0 && v[best - 1] == v[best])
        best--;
    return best;
}

double lk_beat_alignment(const double *from, int64_t n_from, const double *to, int64_t n_to,
                         double sigma)
{
    double sum = 0;
    if (n_from == 0 || n_to == 0)
        return 0;
    for (int64_t i = 0; i < n_from; i++) {
        const double d = (from[i] - to[nearest(to, n_to, from[i])]) / sigma;
        sum += exp(-0.5 * d * d);
    }
    return sum / (double)n_from;
}

void lk_beat_coverage(const double *r, int64_t n_r, const double *e, int64_t n_e, double *coverage,
                      double *hit)
{
    int64_t in_r = 0, in_e = 0, in_both = 0;
    for (int64_t i = 0, j = 0; i < n_r || j < n_e;) {
        const double a = i < n_r ? floor(r[i]) : INFINITY, b = j < n_e ? floor(e[j]) : INFINITY;
        const double bin = fmin(a, b);
        in_r += a <= bin;
        in_e += b <= bin;
        in_both += a == b;
        while (i < n_r && floor(r[i]) <= bin)
            i++;
        while (j < n_e && floor(e[j]) <= bin)
            j++;
    }
    *coverage = in_e > 0 ? (double)in_both / (double)in_e : 0;
    *hit = in_r > 0 ? (double)in_both / (double)in_r : 0;
}

/* ---- metrical variants ----------------------------------------------------------------------- */

typedef struct beats {
    const double *t;
    int64_t n;
} beats;

/* r, off-beats, double, odd half, even half; `room` holds 4 n_r values. */
static void make_variants(const double *r, int64_t n, double *room, beats variant[VARIANTS])
{
    double *const off = room, *const twice = off + n, *const odd = twice + 2 * n,
                  *const even = odd + (n + 1) / 2;
    for (int64_t i = 0; i < n; i++) {
        twice[2 * i] = r[i];
        if (i + 1 < n)
            twice[2 * i + 1] = off[i] = 0.5 * (r[i + 1] - r[i]) + r[i];
        (i % 2 == 0 ? odd : even)[i / 2] = r[i];
    }
    variant[0] = (beats){r, n};
    variant[1] = (beats){off, n - 1};
    variant[2] = (beats){twice, 2 * n - 1};
    variant[3] = (beats){odd, (n + 1) / 2};
    variant[4] = (beats){even, n / 2};
}

static double cemgil(beats r, beats e)
{
    double sum = 0;
    for (int64_t i = 0; i < r.n; i++) {
        const double d = r.t[i] - e.t[nearest(e.t, e.n, r.t[i])];
        sum += exp(-(d * d) / (2 * CEMGIL_SIGMA * CEMGIL_SIGMA));
    }
    return sum / (0.5 * (double)(e.n + r.n));
}

/* ---- Goto ------------------------------------------------------------------------------------ */

static void goto_errors(beats r, beats e, double *error)
{
    int64_t j = 0;
    error[0] = error[r.n - 1] = 1;
    for (int64_t i = 1; i + 1 < r.n; i++) {
        const double before = 0.5 * (r.t[i] - r.t[i - 1]), after = 0.5 * (r.t[i + 1] - r.t[i]);
        while (j < e.n && e.t[j] < r.t[i] - before)
            j++;
        int64_t end = j;
        while (end < e.n && e.t[end] < r.t[i] + after)
            end++;
        error[i] = 1;
        if (end - j == 1) {
            const double d = e.t[j] - r.t[i];
            error[i] = d < 0 ? d / before : d / after;
        }
    }
}

static double goto_score(beats r, beats e, double *error)
{
    int64_t wrong = 0, last = -1, first = -1, longest = 0, from = 0, to = 0;
    goto_errors(r, e, error);
    for (int64_t i = 0; i < r.n; i++) {
        if (fabs(error[i]) <= GOTO_MOST)
            continue;
        wrong++;
        first = first < 0 ? i : first;
        if (last >= 0 && i - last > longest) {
            longest = i - last;
            from = last;
            to = i + 1;
        }
        last = i;
    }
    if (wrong < 3) { /* only the two ends, which always count as wrong */
        from = first + 1;
        to = last - 1;
    } else if (!((double)(longest - 1) > 0.25 * (double)(r.n - 2))) {
        return 0;
    }
    double sum = 0, mean = 0, squares = 0;
    const double n = (double)(to - from);
    if (to - from < 2)
        return 0;
    for (int64_t i = from; i < to; i++) {
        sum += fabs(error[i]);
        mean += error[i] / n;
    }
    for (int64_t i = from; i < to; i++)
        squares += (error[i] - mean) * (error[i] - mean);
    return sum / n < GOTO_MEAN && sqrt(squares / (n - 1)) < GOTO_SD;
}

/* ---- P-score --------------------------------------------------------------------------------- */

/* Places of the impulses; beats in the same 10 ms are one. */
static int64_t impulses(beats b, double start, int64_t *at)
{
    int64_t n = 0;
    for (int64_t i = 0; i < b.n; i++) {
        const int64_t k = (int64_t)ceil((b.t[i] - start) * P_RATE);
        if (n == 0 || k != at[n - 1])
            at[n++] = k;
    }
    return n;
}

static lk_status p_score(beats r, beats e, double *score)
{
    lk_status st = LK_OK;
    int64_t *at_r = NULL, *at_e = NULL, pairs = 0;
    double *interval = NULL;
    LK_TRY(LK_NEW_ARRAY(&at_r, r.n));
    LK_TRY(LK_NEW_ARRAY(&at_e, e.n));
    LK_TRY(LK_NEW_ARRAY(&interval, r.n));
    const double start = fmin(r.t[0], e.t[0]);
    const int64_t n_r = impulses(r, start, at_r), n_e = impulses(e, start, at_e);
    for (int64_t i = 0; i + 1 < n_r; i++)
        interval[i] = (double)(at_r[i + 1] - at_r[i]);
    /* nearbyint: halves go to the even neighbour, as in the original */
    const int64_t window = n_r > 1 ? (int64_t)nearbyint(P_SHARE * lk_median(interval, n_r - 1)) : 0;
    for (int64_t i = 0, from = 0; i < n_r; i++) {
        while (from < n_e && at_e[from] < at_r[i] - window)
            from++;
        for (int64_t j = from; j < n_e && at_e[j] <= at_r[i] + window; j++)
            pairs++;
    }
    *score = (double)pairs / (double)(r.n > e.n ? r.n : e.n);
done:
    lk_free(at_r);
    lk_free(at_e);
    lk_free(interval);
    return st;
}

/* ---- continuity ------------------------------------------------------------------------------ */

/* Ratio in which 0 / 0 counts as `same`, x / 0 as infinite. */
static double ratio(double x, double interval, double same)
{
    if (interval == 0)
        return x == 0 ? same : INFINITY;
    return fabs(x / interval);
}

static int is_right(beats r, beats e, int64_t m, int64_t near)
{
    const double d = fabs(e.t[m] - r.t[near]);
    double reference, estimate;
    if (m == 0 || near == 0) { /* no past to compare with: look ahead where possible */
        if (near + 1 < r.n)
            reference = r.t[near + 1] - r.t[near];
        else
            reference = near > 0 ? r.t[near] - r.t[near - 1] : 0;
        estimate = m + 1 < e.n ? e.t[m + 1] - e.t[m] : e.t[m] - e.t[m - 1];
    } else {
        reference = r.t[near] - r.t[near - 1];
        estimate = e.t[m] - e.t[m - 1];
    }
    const double period = reference == 0 ? ratio(estimate, 0, 0) : fabs(1 - estimate / reference);
    return ratio(d, reference, 1) < CONTINUITY && period < CONTINUITY;
}

static void continuity(beats r, beats e, uint8_t *used, double *longest, double *total)
{
    int64_t right = 0, run = 0, best = 0;
    memset(used, 0, (size_t)r.n);
    for (int64_t m = 0; m < e.n; m++) {
        const int64_t near = nearest(r.t, r.n, e.t[m]);
        if (!used[near] && is_right(r, e, m, near)) {
            used[near] = 1;
            right++;
            run++;
            best = run > best ? run : best;
        } else {
            run = 0;
        }
    }
    const double n = (double)(r.n > e.n ? r.n : e.n);
    *longest = (double)best / n;
    *total = (double)right / n;
}

/* ---- information gain ------------------------------------------------------------------------ */

static double error_entropy(beats r, beats e)
{
    double count[GAIN_BINS] = {0}, entropy = 0;
    for (int64_t i = 0; i < e.n; i++) {
        const int64_t k = nearest(r.t, r.n, e.t[i]);
        const double d = e.t[i] - r.t[k];
        double interval;
        if (k == r.n - 1)
            interval = r.t[k] - r.t[k - 1];
        else if (d >= 0)
            interval = r.t[k + 1] - r.t[k];
        else if (k == 0) /* mir_eval takes the last beat as the one before the first */
            interval = r.t[0] - r.t[r.n - 1];
        else
            interval = r.t[k] - r.t[k - 1];
        double x = 0.5 * d / (0.5 * interval) + 0.5;
        x = x - ceil(x) + 0.5; /* into (-0.5, 0.5] */
        const double step = 1.0 / GAIN_BINS;
        int bin = 0;
        while (bin + 1 < GAIN_BINS && x >= (bin + 1) * step - 0.5)
            bin++;
        if (isfinite(x))
            count[bin]++;
    }
    for (int b = 0; b < GAIN_BINS; b++) {
        const double p = count[b] / (double)e.n;
        entropy -= p > 0 ? p * log2(p) : 0;
    }
    return entropy;
}

lk_status lk_beat_scores_find(const double *reference, int64_t n_reference, const double *estimate,
                              int64_t n_estimate, double trim_s, lk_beat_scores *s)
{
    lk_status st = LK_OK;
    double *room = NULL;
    uint8_t *used = NULL;
    beats r = {reference, n_reference}, e = {estimate, n_estimate}, variant[VARIANTS];
    memset(s, 0, sizeof *s);
    for (; r.n > 0 && r.t[0] < trim_s; r.n--)
        r.t++;
    for (; e.n > 0 && e.t[0] < trim_s; e.n--)
        e.t++;
    s->f_measure = lk_match_f(r.t, r.n, e.t, e.n, F_WINDOW, &s->precision, &s->recall);
    if (r.n == 0 || e.n == 0)
        goto done;
    LK_TRY(LK_NEW_ARRAY(&room, 4 * r.n + 2));
    LK_TRY(LK_NEW_ARRAY(&used, 2 * r.n));
    s->goto_score = goto_score(r, e, room);
    make_variants(r.t, r.n, room, variant);
    for (int v = 0; v < VARIANTS; v++) {
        const double c = cemgil(variant[v], e);
        s->cemgil = v == 0 ? c : s->cemgil;
        s->cemgil_best = fmax(s->cemgil_best, c);
    }
    if (r.n == 1 || e.n == 1)
        goto done;
    LK_TRY(p_score(r, e, &s->p_score));
    for (int v = 0; v < VARIANTS; v++) {
        double longest = 0, total = 0;
        continuity(variant[v], e, used, &longest, &total);
        s->cml_c = v == 0 ? longest : s->cml_c;
        s->cml_t = v == 0 ? total : s->cml_t;
        s->aml_c = fmax(s->aml_c, longest);
        s->aml_t = fmax(s->aml_t, total);
    }
    const double norm = log2(GAIN_BINS);
    s->information_gain = (norm - fmax(error_entropy(r, e), error_entropy(e, r))) / norm;
done:
    lk_free(room);
    lk_free(used);
    return st;
}
