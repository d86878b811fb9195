/* onsets.h - instants at which sound begins, picked from the shared features, and how two lists of
 * instants agree.
 *
 * Source       one-to-one matching within a window: mir_eval 0.7, mir_eval.util.match_events
 *              (maximum-cardinality matching); for sorted one-dimensional instants the greedy sweep
 *              from the left is optimal.
 * Threads      pure.
 */
#ifndef LK_ONSETS_H
#define LK_ONSETS_H

#include "align/features.h"

typedef struct lk_onset_list {
    int64_t n;
    lk_flick *time;  /* sorted, strictly rising */
    float *strength; /* > 0; comparable within a clip */
} lk_onset_list;

/* Pick onsets; n = 0 for silence.  Times are placed within about 2 ms of a click's true start. */
LK_CHECKED lk_status lk_onsets_find(const lk_audio_features *audio, lk_onset_list *list);
void lk_onsets_clear(lk_onset_list *list);

/* How many pairs (one from each sorted list, each used once) lie at most `window` apart. */
int64_t lk_onset_matches(const lk_flick *a, int64_t n_a, const lk_flick *b, int64_t n_b,
                         lk_flick window);

#endif /* LK_ONSETS_H */
