/* lag_null.c - the chance level of a coincidence.
 *
 * Surrogates keep the picture and break the coincidence of the sound in three ways:
 *
 *   shuffled  its inter-onset intervals in random order, circularly shifted: density stays;
 *
 *   shifted   the train itself, circularly shifted beyond the search: its patterns stay, too;
 *
 *   reversed  the train backwards, circularly shifted: patterns stay, their direction is lost.
 *
 * The statistic is max over lag, so a p-value pays for the width of the search.  The clip's p-value
 * is the largest of the three: a bouncing ball's rhythm resembles another one's, which the shuffled
 * trains alone would not know.
 */
#include "align/lag_impl.h"
#include "align/stats.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

#include <math.h>
#include <string.h>

enum { SHUFFLED, SHIFTED, REVERSED, N_KINDS };

static uint64_t null_stream(int kind, int r)
{
    return UINT64_C(0x6c616700) + (uint64_t)kind * UINT64_C(0x1000000) + (uint64_t)r;
}

static void shuffle_order(const lk_lag_options *o, uint64_t stream, int64_t n, int64_t *order)
{
    for (int64_t i = 0; i < n; i++)
        order[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        const int64_t j = lk_rng_below(o->seed, stream, (uint64_t)i, (uint32_t)(i + 1));
        const int64_t keep = order[i];
        order[i] = order[j];
        order[j] = keep;
    }
}

/* The sound's weights at times built from its intervals (in random, own or reversed order),
 * circularly shifted. */
static void surrogate(const lk_lag_trains *t, const lk_lag_options *o, int kind, int r,
                      int64_t *order, lk_pulse *out)
{
    const uint64_t stream = null_stream(kind, r);
    const int64_t n = t->n_sound;
    shuffle_order(o, stream, kind == SHUFFLED ? n : 0, order);
    /* A shift inside the search range would find the true lag again; half of the clip is the most
     * that can be kept away from it. */
    const double guard = fmin(2.0 * o->max_lag_ms / 1e3, 0.4 * t->length_s);
    double at = lk_rng_range(o->seed, stream, (uint64_t)n, 0, t->length_s);
    if (kind == SHIFTED)
        at = t->sound[0].t_s - t->start_s +
             lk_rng_range(o->seed, stream, (uint64_t)n, guard, t->length_s - guard);
    for (int64_t i = 0; i < n; i++) {
        const int64_t j = kind == SHUFFLED ? order[i] : kind == SHIFTED ? i : n - 1 - i;
        const int64_t k = kind == REVERSED ? (j > 0 ? j - 1 : n - 1) : (j + 1 < n ? j + 1 : 0);
        double interval = kind == REVERSED ? t->sound[j].t_s - t->sound[k].t_s
                                           : t->sound[k].t_s - t->sound[j].t_s;
        interval += interval < 0 || (n == 1) ? t->length_s : 0; /* around the end of the clip */
        at = fmod(at, t->length_s);
        out[i].t_s = t->start_s + at;
        out[i].weight = t->sound[j].weight;
        at += interval;
    }
}

lk_status lk_lag_chance(const lk_lag_trains *t, const lk_lag_options *o, double observed,
                        lk_lag_result *result)
{
    lk_status st = LK_OK;
    int64_t *order = NULL;
    lk_pulse *pulses = NULL;
    float *histogram = NULL, *curve = NULL;
    double *null = NULL;
    LK_TRY(LK_NEW_ARRAY(&order, t->n_sound));
    LK_TRY(LK_NEW_ARRAY(&pulses, t->n_sound));
    LK_TRY(LK_NEW_ARRAY(&histogram, t->n_lags));
    LK_TRY(LK_NEW_ARRAY(&curve, t->n_lags));
    LK_TRY(LK_NEW_ARRAY(&null, o->n_null));
    const int per_kind = o->n_null / N_KINDS > 0 ? o->n_null / N_KINDS : 1;
    result->p = 0;
    for (int i = 0; i < N_KINDS * per_kind; i++) {
        const int kind = i / per_kind, r = i % per_kind;
        surrogate(t, o, kind, r, order, pulses);
        memset(histogram, 0, (size_t)t->n_lags * sizeof *histogram);
        for (int64_t j = 0; j < t->n_sound; j++)
            lk_lag_add_pairs(t, pulses[j].t_s, pulses[j].weight, histogram);
        lk_lag_smooth(t, histogram, curve);
        null[r] = curve[lk_lag_largest(curve, t->n_lags)];
        if (r + 1 < per_kind)
            continue;
        /* A percent of slack: where a pair falls between two bins must not decide. */
        const double p = lk_null_p(0.99 * observed, null, per_kind);
        result->p = p > result->p ? p : result->p;
        const double typical = lk_median(null, per_kind);
        result->chance = kind == 0 || typical > result->chance ? typical : result->chance;
    }
done:
    lk_free(order);
    lk_free(pulses);
    lk_free(histogram);
    lk_free(curve);
    lk_free(null);
    return st;
}
