/* compare.h - two systems on the same prompts: is the difference more than chance.
 *
 * Clips are paired by their `pair` key, else by file name.  Several clips of one pair count as
 * their mean.  For every score: the mean over the pairs that both systems answer, the mean of the
 * differences B - A with its 95 % interval, and the p-value of that mean under random exchange of
 * A and B within each pair.  p_holm is that value corrected for the number of scores compared.
 * Signed offsets are compared twice, as they are and by size: "abs(event.offset_ms)".
 *
 * Ownership    lk_comparison_clear accepts a zeroed and a half-filled struct.
 * Threads      pure; deterministic for a seed.
 * Source       percentile bootstrap over pairs: Efron & Tibshirani 1993, ch. 13; the randomisation
 *              test: Edgington & Onghena 2007, ch. 6; Holm 1979.
 */
#ifndef LK_COMPARE_H
#define LK_COMPARE_H

#include "av/result_json.h"

typedef struct lk_comparison_row {
    char *name, *unit;
    bool absolute;                  /* the size of the score is compared */
    int64_t n;                      /* pairs answered by both */
    int64_t answered_a, answered_b; /* pairs answered by each */
    double mean_a, mean_b;          /* over the n pairs; NAN when n is 0 */
    double difference, lo, hi;      /* mean of B - A; the interval NAN when n < 3 */
    double p, p_holm;               /* NAN when n < 2 */
} lk_comparison_row;

typedef struct lk_comparison {
    int64_t n_pairs;
    int64_t failed_a, failed_b; /* clips that could not be read */
    int64_t n_rows;
    lk_comparison_row *row;
    int64_t n_only_a, n_only_b;
    char **only_a, **only_b; /* keys without a partner */
} lk_comparison;

/* group_a, group_b: only clips of that group, NULL: all.  LK_E_FORMAT when two clips without a
 * `pair` share a file name; LK_E_EMPTY when nothing can be paired. */
LK_CHECKED lk_status lk_compare(const lk_result_list *a, const char *group_a,
                                const lk_result_list *b, const char *group_b, uint64_t seed,
                                lk_comparison *comparison);

void lk_comparison_clear(lk_comparison *comparison);

#endif /* LK_COMPARE_H */
