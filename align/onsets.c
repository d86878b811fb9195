/* onsets.c - see onsets.h.
 *
 * A frame k is an onset when
 *   o_k = max of o over +-30 ms,
 *   o_k >= MEDIAN_WEIGHT median(o over +-500 ms) + mean(o over -100..+70 ms) + LEAST_RISE,
 *   the level within the 40 ms from k on exceeds LEAST_LEVEL_DB,
 *   the steepest start near k (attack, see audio_features.c) rises by LEAST_ATTACK at least.
 * Its time is that start, found within +-SEARCH frames of k.  Of two onsets closer than LEAST_GAP
 * the stronger stays.  strength = o_k minus the threshold's adaptive part.
 *
 * Source       peak picking with moving mean and maximum: Boeck, Krebs & Schedl, "Evaluating the
 *              online capabilities of onset detection methods", ISMIR 2012, section 2.4; the
 *              median term: Bello et al., IEEE TSAP 13(5), 2005, section III-B.
 */
#include "align/onsets.h"

#include "align/stats.h"
#include "kernels/mem.h"

#include <math.h>
#include <string.h>

#define LOCAL          6  /* frames of 5 ms to both sides: the maximum */
#define MEAN_BEFORE    20 /* frames */
#define MEAN_AFTER     14
#define MEDIAN_SPAN    100 /* frames to both sides */
#define MEDIAN_STEP    10  /* the running median is renewed every so many frames */
#define MEDIAN_WEIGHT  1.0f
#define LEAST_RISE     0.22f /* nats, mean over the mel bands */
#define LEAST_LEVEL_DB (-75.0f)
#define LEVEL_SPAN     8
#define LEAST_ATTACK   1.0f /* sum of two log energy ratios */
#define SEARCH         4
#define LEAST_GAP      (40 * LK_FLICKS_PER_MS)

static float local_max(const float *v, int64_t n, int64_t from, int64_t to)
{
    float best = 0;
    for (int64_t i = from < 0 ? 0 : from; i <= to && i < n; i++)
        best = fmaxf(best, v[i]);
    return best;
}

static float level_after(const lk_audio_features *a, int64_t k)
{
    float best = a->level_db[k];
    for (int64_t i = k; i < k + LEVEL_SPAN && i < a->n; i++)
        best = fmaxf(best, a->level_db[i]);
    return best;
}

static float local_mean(const float *v, int64_t n, int64_t from, int64_t to)
{
    float sum = 0;
    from = from < 0 ? 0 : from;
    to = to < n ? to : n - 1;
    for (int64_t i = from; i <= to; i++)
        sum += v[i];
    return sum / (float)(to - from + 1);
}

static float running_median(const float *v, int64_t n, int64_t k)
{
    double window[2 * MEDIAN_SPAN + 1];
    int64_t m = 0;
    const int64_t from = k - MEDIAN_SPAN < 0 ? 0 : k - MEDIAN_SPAN;
    for (int64_t i = from; i <= k + MEDIAN_SPAN && i < n; i++)
        window[m++] = (double)v[i];
    return (float)lk_median(window, m);
}

/* Frame within +-SEARCH of k with the steepest start. */
static int64_t steepest(const lk_audio_features *a, int64_t k)
{
    int64_t best = k;
    for (int64_t i = k - SEARCH < 0 ? 0 : k - SEARCH; i <= k + SEARCH && i < a->n; i++) {
        if (a->attack[i] > a->attack[best])
            best = i;
    }
    return best;
}

static lk_status add(lk_onset_list *list, size_t *time_capacity, size_t *strength_capacity,
                     lk_flick time, float strength)
{
    lk_status st = LK_OK;
    if (list->n > 0 && time - list->time[list->n - 1] < LEAST_GAP) {
        if (strength > list->strength[list->n - 1]) {
            list->time[list->n - 1] = time;
            list->strength[list->n - 1] = strength;
        }
        goto done;
    }
    LK_TRY(LK_GROW(&list->time, time_capacity, list->n + 1));
    LK_TRY(LK_GROW(&list->strength, strength_capacity, list->n + 1));
    list->time[list->n] = time;
    list->strength[list->n++] = strength;
done:
    return st;
}

lk_status lk_onsets_find(const lk_audio_features *a, lk_onset_list *list)
{
    lk_status st = LK_OK;
    size_t time_capacity = 0, strength_capacity = 0;
    float median = 0;
    memset(list, 0, sizeof *list);
    for (int64_t k = 0; k < a->n; k++) {
        if (k % MEDIAN_STEP == 0)
            median = running_median(a->onset, a->n, k);
        const float o = a->onset[k];
        if (o < LEAST_RISE || o < local_max(a->onset, a->n, k - LOCAL, k + LOCAL))
            continue;
        const float usual =
            MEDIAN_WEIGHT * median + local_mean(a->onset, a->n, k - MEAN_BEFORE, k + MEAN_AFTER);
        if (o < usual + LEAST_RISE)
            continue;
        const int64_t at = steepest(a, k);
        if (a->attack[at] < LEAST_ATTACK || level_after(a, at) < LEAST_LEVEL_DB)
            continue;
        const lk_flick time =
            a->t0 + at * a->step + llround((double)a->attack_ms[at] * LK_FLICKS_PER_MS);
        LK_TRY(add(list, &time_capacity, &strength_capacity, time, o - usual));
    }
done:
    if (st != LK_OK)
        lk_onsets_clear(list);
    return st;
}

void lk_onsets_clear(lk_onset_list *list)
{
    lk_free(list->time);
    lk_free(list->strength);
    memset(list, 0, sizeof *list);
}

int64_t lk_onset_matches(const lk_flick *a, int64_t n_a, const lk_flick *b, int64_t n_b,
                         lk_flick window)
{
    int64_t matches = 0;
    for (int64_t i = 0, j = 0; i < n_a && j < n_b;) {
        if (b[j] < a[i] - window) {
            j++;
        } else if (a[i] < b[j] - window) {
            i++;
        } else {
            matches++;
            i++;
            j++;
        }
    }
    return matches;
}
