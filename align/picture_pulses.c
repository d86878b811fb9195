/* picture_pulses.c - see picture_pulses.h.
 *
 * Let x be the impact series less 1.5 times its median over a second around.  To keep a strong
 * event from outvoting many weak ones without bending the split between the two frames of one event
 * (their centroid is its time), x is divided by the root of its maximum over a neighbourhood that
 * both frames share.
 */
#include "align/picture_pulses.h"
#include "align/stats.h"

#include "kernels/mem.h"

#include <math.h>

static double median_frame_s(const lk_video_features *v, double *scratch)
{
    for (int64_t k = 1; k < v->n; k++)
        scratch[k - 1] = lk_flick_to_s(v->spans[k].start - v->spans[k - 1].start);
    return v->n > 1 ? lk_median(scratch, v->n - 1) : 0.04;
}

lk_status lk_picture_pulses(const lk_video_features *v, lk_pulse **out, int64_t *n_out,
                            double *frame_s)
{
    lk_status st = LK_OK;
    double *scratch = NULL, *x = NULL;
    LK_TRY(LK_NEW_ARRAY(&scratch, v->n + 1));
    LK_TRY(LK_NEW_ARRAY(&x, v->n + 1));
    LK_TRY(LK_NEW_ARRAY(out, v->n + 1));
    *frame_s = median_frame_s(v, scratch);
    const int64_t half = (int64_t)ceil(0.5 / fmax(*frame_s, 1e-3));
    double floor_level = 0, top = 0;
    for (int64_t k = 0; k < v->n; k++) {
        const int64_t from = k < half ? 0 : k - half;
        const int64_t to = k + half < v->n ? k + half : v->n - 1;
        /* The running median moves slowly, so every fourth frame is enough. */
        if (k % 4 == 0) {
            for (int64_t i = from; i <= to; i++)
                scratch[i - from] = v->impact[i];
            floor_level = lk_median(scratch, to - from + 1);
        }
        x[k] = fmax(0, v->impact[k] - 1.5 * floor_level);
        top = fmax(top, x[k]);
    }
    int64_t n = 0;
    for (int64_t k = 0; k < v->n; k++) {
        double near = 0;
        for (int64_t i = k - 2 < 0 ? 0 : k - 2; i <= k + 2 && i < v->n; i++)
            near = fmax(near, x[i]);
        if (x[k] > 0.02 * top && x[k] > 0.05 * near)
            (*out)[n++] = (lk_pulse){lk_flick_to_s(v->spans[k].start), x[k] / sqrt(near)};
    }
    *n_out = n;
done:
    lk_free(scratch);
    lk_free(x);
    return st;
}

/* The two pulses of one event lie on neighbouring frames; further apart they are two events. */
static bool are_neighbours(const lk_pulse *a, const lk_pulse *b, double frame_s)
{
    return fabs(a->t_s - b->t_s) < 1.5 * frame_s;
}

int64_t lk_picture_peaks(const lk_pulse *pulses, int64_t n, double frame_s, double *t_s)
{
    int64_t n_peaks = 0;
    for (int64_t i = 0; i < n; i++) {
        const lk_pulse *p = &pulses[i];
        const lk_pulse *left = i > 0 && are_neighbours(p - 1, p, frame_s) ? p - 1 : NULL;
        const lk_pulse *right = i + 1 < n && are_neighbours(p, p + 1, frame_s) ? p + 1 : NULL;
        if ((left && left->weight > p->weight) || (right && right->weight >= p->weight))
            continue;
        double mass = p->weight, moment = p->weight * p->t_s;
        for (int side = 0; side < 2; side++) {
            const lk_pulse *q = side == 0 ? left : right;
            mass += q ? q->weight : 0;
            moment += q ? q->weight * q->t_s : 0;
        }
        if (mass > 0)
            t_s[n_peaks++] = moment / mass;
    }
    return n_peaks;
}
