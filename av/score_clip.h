/* score_clip.h - one file through the chosen metrics.
 *
 * Threads      safe for different results at once; the decoder's threads never change a number.
 */
#ifndef LK_SCORE_CLIP_H
#define LK_SCORE_CLIP_H

#include "av/result.h"

typedef struct lk_score_clip_options {
    const char *const *metrics; /* as in lk_scorer_create; n_metrics = 0: the defaults */
    size_t n_metrics;
    const lk_reference *reference; /* may be NULL */
    uint64_t seed;
    int threads; /* of the decoder, 0 = all processors */
    int assume_priming_samples;
    double max_seconds;
    void (*progress)(void *user, double share); /* may be NULL */
    void *user;
} lk_score_clip_options;

/* Fill a zeroed result.  A file that cannot be read gives LK_OK with result->failed and its
 * sentence; other statuses are the run's own trouble (arguments, memory). */
LK_CHECKED lk_status lk_score_clip(const char *path, const lk_score_clip_options *options,
                                   lk_clip_result *result);

#endif /* LK_SCORE_CLIP_H */
