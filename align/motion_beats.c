/* motion_beats.c - see motion_beats.h.
 *
 * Movement s_k is the mean |difference| of the picture from frame k-1 to frame k with the camera's
 * motion removed, per 40 ms, with lone peaks (coded key frames) cut down to their neighbours.  For
 * small displacements it is proportional to speed, and it sees small figures and slow turns that
 * optical flow does not.  It stands at the middle of its interval.  On a grid of 10 ms
 *     v(t) = sum_k d_k s_k g((t - m_k) / SIGMA) / sum_k d_k g(..),
 * d_k the length and m_k the middle of interval k; symmetric in time, hence without bias around a
 * symmetric minimum.  A minimum counts when v rises on both sides by LEAST_DROP of the mean
 * movement around (less the clip's floor of noise) before it falls below it again.
 *
 * Where the tangents of steepest fall and rise meet the least movement nearby, motion ends and
 * begins anew: times e and b.  Smoothing delays e (a dead stop by 1.25 S, S^2 = SIGMA^2 + frame^2 /
 * 12): a ramp of length D then shows F = height / slope = D / erf(D / (2 sqrt(2) S)), from which D
 * and the delay (F - D) / 2 follow; likewise b.  If the rest b - e is short, or not so long and D
 * is slow (small motions go unseen, so every turn seems to rest a little), the movement turns: the
 * beat is the vertex of the parabola through the minimum.  Otherwise, or when a sharp fall meets
 * a slow rise, the movement has stopped: the beat is e.  In between both are blended. A strong
 * impact (centroid of its pulse) that takes half of the speed or more marks a stop better than e
 * and replaces it; without a minimum nearby it stands for itself.
 */
#include "align/motion_beats.h"

#include "align/stats.h"
#include "kernels/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GRID_S           0.01
#define SIGMA_S          0.04
#define AROUND_S         2.0
#define LEAST_DROP       0.25
#define LEAST_MOVEMENT   0.05 /* grey levels above the floor: below, the picture rests */
#define LEAST_OVER_FLOOR 0.1
#define LEAST_OVER_ALL   0.15 /* share of the movement with its floor */
#define FLOOR            0.05 /* quantile of the clip */
#define UNIT_S           0.04
#define LEAST_GAP        (150 * LK_FLICKS_PER_MS)
#define NEAR             (100 * LK_FLICKS_PER_MS)
#define TURN_S           0.03 /* rests: none, certain; */
#define REST_S           0.09
#define PAUSE_S          0.25 /* and without a sharp stop; */
#define LONG_S           0.40
#define EVEN_S           0.05 /* rise less fall: a turn, a stop followed by a slow start */
#define UNEVEN_S         0.12
#define FLOW_NEAR_S      0.1
#define FLOW_LOSS        0.7  /* share */
#define SLOW_S           0.14 /* ramps: eased, sharp */
#define SHARP_S          0.08
#define IMPACT_OVER      6.0 /* times the median impact around */
#define IMPACT_TOP       0.2 /* share of the clip's strong impacts (95 % quantile) */
#define IMPACT_SHARE     0.5 /* of the speed before it must be lost at once */
#define BEFORE           (250 * LK_FLICKS_PER_MS)
#define LONGEST_S        (6 * 3600.0)

typedef struct curve {
    double start_s;
    int64_t n;
    double *v;      /* [n] speed on the grid */
    double *flow;   /* [n] speed by optical flow, smoothed alike */
    double *around; /* [n] its mean over +-AROUND_S */
    double floor;   /* noise and what always moves */
    double sigma;   /* of all smoothing, seconds */
} curve;

static double middle_s(const lk_video_features *f, int64_t k)
{
    return 0.5 * (lk_flick_to_s(f->spans[k - 1].start) + lk_flick_to_s(f->spans[k].start));
}

static double pace(const lk_video_features *f, int64_t k)
{
    const double seconds = lk_flick_to_s(f->spans[k].start - f->spans[k - 1].start);
    return (double)f->change[k] * UNIT_S / fmax(seconds, 1e-4);
}

/* Movement in the interval that ends at frame k, with lone peaks cut down to their neighbours. */
static double movement(const lk_video_features *f, int64_t k)
{
    const double here = pace(f, k);
    if (k < 2 || k + 1 >= f->n)
        return here;
    return fmin(here, fmax(pace(f, k - 1), pace(f, k + 1)));
}

static lk_status smooth_movement(const lk_video_features *f, curve *c)
{
    lk_status st = LK_OK;
    double *prefix = NULL, *sorted = NULL;
    c->start_s = lk_flick_to_s(f->spans[0].start);
    const double length = lk_flick_to_s(f->spans[f->n - 1].start) - c->start_s;
    LK_REQUIRE(length >= 0 && length < LONGEST_S, LK_E_UNSUPPORTED,
               "the picture lasts longer than %g hours", LONGEST_S / 3600);
    c->n = (int64_t)(length / GRID_S) + 1;
    const double frame = length / (double)(f->n - 1);
    c->sigma = sqrt(SIGMA_S * SIGMA_S + frame * frame / 12);
    LK_TRY(LK_NEW_ARRAY(&c->v, c->n));
    LK_TRY(LK_NEW_ARRAY(&c->flow, c->n));
    LK_TRY(LK_NEW_ARRAY(&c->around, c->n));
    LK_TRY(LK_NEW_ARRAY(&prefix, c->n + 1));
    LK_TRY(LK_NEW_ARRAY(&sorted, c->n));
    for (int64_t i = 0, from = 1; i < c->n; i++) {
        const double t = c->start_s + (double)i * GRID_S;
        double sum = 0, flow = 0, weight = 1e-12;
        while (from + 1 < f->n && middle_s(f, from) < t - 5 * SIGMA_S)
            from++;
        for (int64_t k = from; k < f->n && middle_s(f, k) <= t + 5 * SIGMA_S; k++) {
            const double u = (t - middle_s(f, k)) / SIGMA_S;
            const double w =
                lk_flick_to_s(f->spans[k].start - f->spans[k - 1].start) * exp(-0.5 * u * u);
            /* across a cut nothing moves and nothing stops */
            sum += f->cut[k] ? 0 : w * movement(f, k);
            flow += f->cut[k] ? 0 : w * (double)f->speed[k];
            weight += f->cut[k] ? 0 : w;
        }
        c->v[i] = sum / weight;
        c->flow[i] = flow / weight;
        prefix[i + 1] = prefix[i] + c->v[i];
        sorted[i] = c->v[i];
    }
    c->floor = lk_quantile(sorted, c->n, FLOOR);
    const int64_t half = (int64_t)(AROUND_S / GRID_S);
    for (int64_t i = 0; i < c->n; i++) {
        const int64_t a = i < half ? 0 : i - half, b = i + half < c->n ? i + half + 1 : c->n;
        c->around[i] = (prefix[b] - prefix[a]) / (double)(b - a);
    }
done:
    lk_free(prefix);
    lk_free(sorted);
    return st;
}

/* How far v rises above v[i] to one side before it falls below it again. */
static double rise_beside(const curve *c, int64_t i, int64_t step)
{
    double top = c->v[i];
    for (int64_t j = i + step; j >= 0 && j < c->n && c->v[j] >= c->v[i]; j += step)
        top = fmax(top, c->v[j]);
    return top - c->v[i];
}

static lk_status append(lk_onset_list *list, size_t capacity[2], lk_flick time, double strength)
{
    lk_status st = LK_OK;
    if (list->n > 0 && time - list->time[list->n - 1] < LEAST_GAP) {
        if ((double)list->strength[list->n - 1] < strength) {
            list->time[list->n - 1] = time;
            list->strength[list->n - 1] = (float)strength;
        }
        goto done;
    }
    LK_TRY(LK_GROW(&list->time, &capacity[0], list->n + 1));
    LK_TRY(LK_GROW(&list->strength, &capacity[1], list->n + 1));
    list->time[list->n] = time;
    list->strength[list->n++] = (float)strength;
done:
    return st;
}

/* Length of the ramp whose smoothed image has height / slope = shown. */
static double ramp_length(double shown, double sigma)
{
    double lo = 0, hi = shown;
    for (int i = 0; i < 40; i++) {
        const double mid = 0.5 * (lo + hi), x = mid / (2 * M_SQRT2 * sigma);
        if (mid < shown * erf(x))
            lo = mid;
        else
            hi = mid;
    }
    return shown > sqrt(2 * M_PI) * sigma ? hi : 0;
}

/* Distance in seconds from grid point i to where the flank on one side (step -1: before, +1: after)
 * meets the level of the rest, freed of the delay by smoothing. */
static double flank_end(const curve *c, int64_t i, int64_t step, double level, double *ramp)
{
    int64_t top = i, steepest = i;
    for (int64_t j = i + step; j >= 0 && j < c->n && c->v[j] >= c->v[top]; j += step)
        top = j;
    for (int64_t j = i; j != top; j += step) { /* plateaus within do not end the flank */
        if (c->v[j + step] - c->v[j] > c->v[steepest + step] - c->v[steepest])
            steepest = j;
    }
    *ramp = 0;
    if (top == i)
        return 0;
    const double slope = (c->v[steepest + step] - c->v[steepest]) / GRID_S;
    const double middle = 0.5 * (c->v[steepest] + c->v[steepest + step]) - level;
    const double shown = (c->v[top] - level) / slope;
    const double away = (fabs((double)(steepest - i)) + 0.5) * GRID_S;
    *ramp = ramp_length(shown, c->sigma);
    return away - middle / slope + 0.5 * (shown - *ramp);
}

/* The least movement of the intervals that come within SIGMA_S of t: smoothing has raised the
 * minimum of the curve, more so the sharper the turn. */
static double least_movement(const lk_video_features *f, double t)
{
    int64_t lo = 1, hi = f->n - 1;
    while (lo < hi) { /* the first frame that starts at or after t - SIGMA_S */
        const int64_t mid = lo + (hi - lo) / 2;
        if (lk_flick_to_s(f->spans[mid].start) < t - SIGMA_S)
            lo = mid + 1;
        else
            hi = mid;
    }
    double least = movement(f, lo);
    for (int64_t k = lo; k < f->n && lk_flick_to_s(f->spans[k - 1].start) <= t + SIGMA_S; k++)
        least = fmin(least, movement(f, k));
    return least;
}

/* The nearest impact within NEAR, or -1. */
static int64_t impact_at(const lk_onset_list *impacts, lk_flick t)
{
    int64_t best = -1;
    for (int64_t j = 0; j < impacts->n; j++) {
        const lk_flick d = llabs(impacts->time[j] - t);
        if (d <= NEAR && (best < 0 || d < llabs(impacts->time[best] - t)))
            best = j;
    }
    return best;
}

/* Movement hardly falls while the last stretch before a dead stop is still longer than the details
 * of the picture; the speed of the flow does.  Seconds from grid point i to where it falls most
 * steeply, or `end` when it does not lose most of itself there. */
static double flow_end(const curve *c, int64_t i, double end)
{
    const int64_t at = i + (int64_t)lround(end / GRID_S), near = (int64_t)(FLOW_NEAR_S / GRID_S);
    int64_t best = -1;
    double steepest = 0;
    for (int64_t j = at - near < 2 ? 2 : at - near; j <= at + near / 2 && j + 2 < c->n; j++) {
        const double fall = c->flow[j - 1] - c->flow[j + 1];
        if (fall > steepest) {
            steepest = fall;
            best = j;
        }
    }
    const int64_t reach = (int64_t)(2 * c->sigma / GRID_S);
    if (best < reach || best + reach >= c->n ||
        c->flow[best + reach] > (1 - FLOW_LOSS) * c->flow[best - reach])
        return end;
    const double a = c->flow[best - 2] - c->flow[best], b = c->flow[best] - c->flow[best + 2];
    const double bend = a + b - 2 * steepest; /* vertex of the fall around its steepest place */
    const double shift = bend < 0 ? 0.5 * (a - b) / bend : 0;
    return ((double)(best - i) + fmin(1, fmax(-1, shift))) * GRID_S;
}

/* 0 at `none`, 1 at `all`, linear between and constant beyond. */
static double blend(double x, double none, double all)
{
    return fmin(1, fmax(0, (x - none) / (all - none)));
}

/* Impacts that a minimum explains get strength 0. */
static lk_status find_minima(const lk_video_features *f, const curve *c, lk_onset_list *impacts,
                             lk_onset_list *list)
{
    lk_status st = LK_OK;
    size_t capacity[2] = {0, 0};
    for (int64_t i = 1; i + 1 < c->n; i++) {
        if (!(c->v[i] < c->v[i - 1] && c->v[i] <= c->v[i + 1]))
            continue;
        const double over = c->around[i] - c->floor;
        const double depth = fmin(rise_beside(c, i, -1), rise_beside(c, i, 1));
        if (over < LEAST_MOVEMENT || over < LEAST_OVER_FLOOR * c->around[i] ||
            depth < LEAST_DROP * over || depth < LEAST_OVER_ALL * c->around[i])
            continue;
        const double level = fmin(c->v[i], least_movement(f, c->start_s + (double)i * GRID_S));
        const double left = c->v[i - 1] - c->v[i], right = c->v[i + 1] - c->v[i];
        const double turn = 0.5 * (left - right) / (left + right) * GRID_S;
        double fall = 0, rise = 0;
        double end = -flank_end(c, i, -1, level, &fall);
        const double rest = flank_end(c, i, 1, level, &rise) - end;
        const double sharp =
            blend(fall, SLOW_S, SHARP_S) *
            fmax(blend(rest, TURN_S, REST_S), blend(rise - fall, EVEN_S, UNEVEN_S));
        const double stopped = fmax(sharp, blend(rest, PAUSE_S, LONG_S));
        if (fall < SHARP_S)
            end = flow_end(c, i, end);
        const double t = c->start_s + (double)i * GRID_S + stopped * end + (1 - stopped) * turn;
        lk_flick time = lk_flick_from_s(t);
        const int64_t impact = impact_at(impacts, time);
        if (impact >= 0) {
            impacts->strength[impact] = 0;
            time = stopped >= 0.5 ? impacts->time[impact] : time;
        }
        LK_TRY(append(list, capacity, time, fmin(1, depth / over)));
    }
done:
    return st;
}

/* The fastest motion in the quarter of a second up to frame k. */
static double speed_before(const lk_video_features *f, int64_t k)
{
    double most = 0;
    for (int64_t i = k; i > 0 && f->spans[k].start - f->spans[i].start <= BEFORE; i--)
        most = fmax(most, (double)f->speed[i]);
    return most;
}

/* Peaks of the impact series that stand out of their surroundings and of the clip. */
static lk_status find_impacts(const lk_video_features *f, lk_onset_list *list)
{
    lk_status st = LK_OK;
    size_t capacity[2] = {0, 0};
    double *scratch = NULL, window[61];
    LK_TRY(LK_NEW_ARRAY(&scratch, f->n));
    for (int64_t k = 0; k < f->n; k++)
        scratch[k] = (double)f->impact[k];
    const double top = lk_quantile(scratch, f->n, 0.95);
    for (int64_t k = 1; k + 1 < f->n; k++) {
        const double a = f->impact[k - 1], b = f->impact[k], d = f->impact[k + 1];
        if (!(b >= a && b > d && b > IMPACT_TOP * top))
            continue;
        int64_t m = 0;
        for (int64_t i = k < 30 ? 0 : k - 30; i <= k + 30 && i < f->n; i++)
            window[m++] = (double)f->impact[i];
        if (b < IMPACT_OVER * lk_median(window, m))
            continue;
        if (a + b + d < IMPACT_SHARE * speed_before(f, k))
            continue;
        const double t0 = lk_flick_to_s(f->spans[k].start);
        const double before = lk_flick_to_s(f->spans[k - 1].start) - t0;
        const double after = lk_flick_to_s(f->spans[k + 1].start) - t0;
        LK_TRY(append(list, capacity, lk_flick_from_s(t0 + (a * before + d * after) / (a + b + d)),
                      fmin(1, b / (top + 1e-12))));
    }
done:
    lk_free(scratch);
    return st;
}

static lk_status merge(const lk_onset_list *minima, const lk_onset_list *impacts,
                       lk_onset_list *list)
{
    lk_status st = LK_OK;
    size_t capacity[2] = {0, 0};
    for (int64_t i = 0, j = 0; i < minima->n || j < impacts->n;) {
        if (i < minima->n && (j == impacts->n || minima->time[i] <= impacts->time[j])) {
            LK_TRY(append(list, capacity, minima->time[i], (double)minima->strength[i]));
            i++;
        } else {
            if (impacts->strength[j] > 0)
                LK_TRY(append(list, capacity, impacts->time[j], (double)impacts->strength[j]));
            j++;
        }
    }
done:
    return st;
}

lk_status lk_motion_beats_find(const lk_video_features *video, lk_onset_list *list)
{
    lk_status st = LK_OK;
    curve c = {0};
    lk_onset_list minima = {0}, impacts = {0};
    memset(list, 0, sizeof *list);
    if (video->n < 5)
        goto done;
    LK_TRY(smooth_movement(video, &c));
    LK_TRY(find_impacts(video, &impacts));
    LK_TRY(find_minima(video, &c, &impacts, &minima));
    LK_TRY(merge(&minima, &impacts, list));
done:
    lk_free(c.v);
    lk_free(c.flow);
    lk_free(c.around);
    lk_onsets_clear(&minima);
    lk_onsets_clear(&impacts);
    if (st != LK_OK)
        lk_onsets_clear(list);
    return st;
}

/* ---- the frame-based definition -------------------------------------------------------------- */

static void smooth_reflected(const double *x, int64_t n, double sigma, double *y)
{
    const int64_t reach = (int64_t)(4 * sigma + 0.5);
    for (int64_t i = 0; i < n; i++) {
        double sum = 0, weight = 0;
        for (int64_t d = -reach; d <= reach; d++) {
            const double w = sigma > 0 ? exp(-0.5 * (double)(d * d) / (sigma * sigma)) : 1;
            int64_t at = (i + d) % (2 * n);
            at = at < 0 ? at + 2 * n : at;
            at = at < n ? at : 2 * n - 1 - at;
            sum += w * x[at];
            weight += w;
        }
        y[i] = sum / weight;
    }
}

lk_status lk_motion_minima_60(const lk_video_features *f, double sigma, int order, double **frames,
                              int64_t *n_frames)
{
    lk_status st = LK_OK;
    double *x = NULL, *y = NULL;
    *frames = NULL;
    *n_frames = 0;
    LK_TRY(LK_NEW_ARRAY(frames, 1));
    if (f->n < 3)
        goto done;
    const double start = lk_flick_to_s(f->spans[0].start);
    const double length = lk_flick_to_s(f->spans[f->n - 1].start) - start;
    LK_REQUIRE(length >= 0 && length < LONGEST_S, LK_E_UNSUPPORTED,
               "the picture lasts longer than %g hours", LONGEST_S / 3600);
    const int64_t n = (int64_t)(60 * length) + 1;
    LK_TRY(LK_NEW_ARRAY(&x, n));
    LK_TRY(LK_NEW_ARRAY(&y, n));
    for (int64_t i = 0, k = 1; i < n; i++) {
        const double t = start + (double)i / 60;
        while (k + 2 < f->n && middle_s(f, k + 1) <= t)
            k++;
        const double a = middle_s(f, k), b = middle_s(f, k + 1);
        const double part = b > a ? fmin(1, fmax(0, (t - a) / (b - a))) : 0;
        x[i] = movement(f, k) + part * (movement(f, k + 1) - movement(f, k));
    }
    smooth_reflected(x, n, sigma, y);
    lk_free(*frames);
    LK_TRY(LK_NEW_ARRAY(frames, n));
    for (int64_t i = 0; i < n; i++) {
        bool least = true;
        for (int o = 1; o <= order && least; o++) {
            const int64_t a = i - o < 0 ? 0 : i - o, b = i + o < n ? i + o : n - 1;
            least = y[i] < y[a] && y[i] < y[b];
        }
        if (least)
            (*frames)[(*n_frames)++] = (double)i;
    }
done:
    lk_free(x);
    lk_free(y);
    return st;
}
