/* motion_beats.c - see motion_beats.h.
 *
 * Speed entry k is the mean over the interval between frames k-1 and k, so it stands at the middle
 * of that interval.  On a grid of 10 ms
 *     v(t) = sum_k d_k s_k g((t - m_k) / SIGMA) / sum_k d_k g(..),
 * d_k the length and m_k the middle of interval k; symmetric in time, hence without bias around a
 * symmetric minimum.  A minimum counts when v rises on both sides by LEAST_DROP of the mean speed
 * around before it falls below it again; its time is the vertex of the parabola through three grid
 * points.  An impact peak (centroid over the frames of its pulse) within +-NEAR replaces the
 * nearest minimum and stands for itself where there is none.
 */
#include "align/motion_beats.h"

#include "align/stats.h"
#include "kernels/mem.h"

#include <math.h>
#include <string.h>

#define GRID_S      0.01
#define SIGMA_S     0.04
#define AROUND_S    2.0
#define LEAST_DROP  0.25
#define LEAST_SPEED 0.004 /* picture heights a second: below, the picture rests */
#define LEAST_GAP   (150 * LK_FLICKS_PER_MS)
#define NEAR        (100 * LK_FLICKS_PER_MS)
#define IMPACT_OVER 6.0 /* times the median impact around */
#define IMPACT_TOP  0.2 /* share of the clip's strong impacts (95 % quantile) */
#define LONGEST_S   (6 * 3600.0)

typedef struct curve {
    double start_s;
    int64_t n;
    double *v;      /* [n] speed on the grid */
    double *around; /* [n] its mean over +-AROUND_S */
} curve;

static double middle_s(const lk_video_features *f, int64_t k)
{
    return 0.5 * (lk_flick_to_s(f->spans[k - 1].start) + lk_flick_to_s(f->spans[k].start));
}

static lk_status smooth_speed(const lk_video_features *f, curve *c)
{
    lk_status st = LK_OK;
    double *prefix = NULL;
    c->start_s = lk_flick_to_s(f->spans[0].start);
    const double length = lk_flick_to_s(f->spans[f->n - 1].start) - c->start_s;
    LK_REQUIRE(length >= 0 && length < LONGEST_S, LK_E_UNSUPPORTED,
               "the picture lasts longer than %g hours", LONGEST_S / 3600);
    c->n = (int64_t)(length / GRID_S) + 1;
    LK_TRY(LK_NEW_ARRAY(&c->v, c->n));
    LK_TRY(LK_NEW_ARRAY(&c->around, c->n));
    LK_TRY(LK_NEW_ARRAY(&prefix, c->n + 1));
    for (int64_t i = 0, from = 1; i < c->n; i++) {
        const double t = c->start_s + (double)i * GRID_S;
        double sum = 0, weight = 1e-12;
        while (from + 1 < f->n && middle_s(f, from) < t - 5 * SIGMA_S)
            from++;
        for (int64_t k = from; k < f->n && middle_s(f, k) <= t + 5 * SIGMA_S; k++) {
            const double u = (t - middle_s(f, k)) / SIGMA_S;
            const double w =
                lk_flick_to_s(f->spans[k].start - f->spans[k - 1].start) * exp(-0.5 * u * u);
            /* across a cut nothing moves and nothing stops */
            sum += f->cut[k] ? 0 : w * (double)f->speed[k];
            weight += f->cut[k] ? 0 : w;
        }
        c->v[i] = sum / weight;
        prefix[i + 1] = prefix[i] + c->v[i];
    }
    const int64_t half = (int64_t)(AROUND_S / GRID_S);
    for (int64_t i = 0; i < c->n; i++) {
        const int64_t a = i < half ? 0 : i - half, b = i + half < c->n ? i + half + 1 : c->n;
        c->around[i] = (prefix[b] - prefix[a]) / (double)(b - a);
    }
done:
    lk_free(prefix);
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

static lk_status find_minima(const curve *c, lk_onset_list *list)
{
    lk_status st = LK_OK;
    size_t capacity[2] = {0, 0};
    for (int64_t i = 1; i + 1 < c->n; i++) {
        if (!(c->v[i] < c->v[i - 1] && c->v[i] <= c->v[i + 1]) || c->around[i] < LEAST_SPEED)
            continue;
        const double drop = fmin(rise_beside(c, i, -1), rise_beside(c, i, 1)) / c->around[i];
        if (drop < LEAST_DROP)
            continue;
        const double left = c->v[i - 1] - c->v[i], right = c->v[i + 1] - c->v[i];
        const double shift = 0.5 * (left - right) / (left + right);
        const double t = c->start_s + ((double)i + shift) * GRID_S;
        LK_TRY(append(list, capacity, lk_flick_from_s(t), fmin(1, drop)));
    }
done:
    return st;
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

/* Impacts first, then the minima that no impact is near to. */
static lk_status merge(const lk_onset_list *minima, const lk_onset_list *impacts,
                       lk_onset_list *list)
{
    lk_status st = LK_OK;
    size_t capacity[2] = {0, 0};
    int64_t j = 0;
    for (int64_t i = 0; i <= minima->n; i++) {
        const lk_flick t = i < minima->n ? minima->time[i] : INT64_MAX;
        bool taken = false;
        while (j < impacts->n && impacts->time[j] < t) {
            taken = t != INT64_MAX && t - impacts->time[j] <= NEAR;
            LK_TRY(append(list, capacity, impacts->time[j], (double)impacts->strength[j]));
            j++;
        }
        taken = taken || (j < impacts->n && t != INT64_MAX && impacts->time[j] - t <= NEAR);
        if (!taken && i < minima->n)
            LK_TRY(append(list, capacity, t, (double)minima->strength[i]));
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
    LK_TRY(smooth_speed(video, &c));
    LK_TRY(find_minima(&c, &minima));
    LK_TRY(find_impacts(video, &impacts));
    LK_TRY(merge(&minima, &impacts, list));
done:
    lk_free(c.v);
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
        x[i] = (double)f->speed[k] + part * (double)(f->speed[k + 1] - f->speed[k]);
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
