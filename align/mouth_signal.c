/* mouth_signal.c - what the mouth metric compares: windows of the picture and the loudness. */
#include "align/mouth_impl.h"
#include "align/stats.h"

#include "kernels/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

void lk_mouth_shape_sound(lk_mouth_sound *a)
{
    smooth_hann(a->level, a->n, (int)lrint(0.100 / a->step), a->wide);
    smooth_hann(a->level, a->n, (int)lrint(0.040 / a->step), a->tight);
}

lk_status lk_mouth_make_sound(const lk_audio_features *f, double until_s, lk_mouth_sound *a)
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
    lk_mouth_shape_sound(a);
done:
    lk_free(v);
    lk_free(scratch);
    return st;
}

void lk_mouth_clear_sound(lk_mouth_sound *a)
{
    lk_free(a->level);
    lk_free(a->wide);
    lk_free(a->tight);
}

double lk_mouth_value_at(const lk_mouth_sound *a, const double *v, double t)
{
    const double place = (t - a->t0) / a->step;
    const int64_t i = (int64_t)floor(place);
    if (i < 0 || i + 1 >= a->n)
        return NAN;
    return v[i] + (place - (double)i) * (v[i + 1] - v[i]);
}

/* Mean of a window's cells at every frame, the picture's typical motion taken off, trend removed.
 */
static void read_window(const lk_mouth_state *s, const double *typical, const uint8_t *cells,
                        const lk_mouth_window *w, int64_t half, double *out, double *scratch)
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
    const lk_mouth_window *x = a, *y = b;
    return (x->variance < y->variance) - (x->variance > y->variance);
}

static int byte_ascending(const void *a, const void *b)
{
    return *(const uint8_t *)a - *(const uint8_t *)b;
}

/* Half of the cells move less than this; what shakes the whole picture is in it. */
static lk_status typical_motion(const lk_mouth_state *s, double *typical)
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

static void search_area(const lk_mouth_state *s, const lk_reference *r, int *x0, int *y0, int *x1,
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

lk_status lk_mouth_find_windows(const lk_mouth_state *s, const lk_reference *r, double frame_s,
                                lk_mouth_problem *p)
{
    lk_status st = LK_OK;
    lk_mouth_window *all = NULL;
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
            lk_mouth_window *w = &all[n++];
            w->x = x;
            w->y = y;
            read_window(s, typical, s->motion, w, half, v, scratch);
            for (int64_t k = 0; k < s->n; k++)
                w->variance += v[k] * v[k] / (double)s->n;
        }
    }
    qsort(all, (size_t)n, sizeof *all, by_variance);
    for (int i = 0; i < n && i < N_BEST && all[i].variance > 1e-3; i++) {
        lk_mouth_window *w = &p->windows[p->n_windows];
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
lk_status lk_mouth_attack_skew(const lk_mouth_sound *a, double *skew)
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
