/* score_run.h - many clips: one row each, in the order given, whatever happens to each.
 *
 * Rows go to "OUT.part" as they come and the file is renamed at the end.  A run that was killed is
 * resumed from the whole rows that are there and ends in the identical file.
 *
 * Threads      clips are scored by `threads` workers; rows come out in input order and their bytes
 *              do not depend on the number of workers.
 */
#ifndef LK_SCORE_RUN_H
#define LK_SCORE_RUN_H

#include "av/manifest.h"
#include "av/result.h"

typedef struct lk_score_run_options {
    const lk_manifest *clips;
    const char *const *metrics;
    size_t n_metrics;
    uint64_t seed;
    int threads;     /* workers, 0 = all processors */
    const char *out; /* results file; required */
    const char *h5;  /* curves file, may be NULL */
    bool resume;
    const volatile int *stop; /* set by a signal handler: finish the clips at hand; may be NULL */
    /* Called in input order with each row and its JSON; also for rows a resumed run already had,
     * then without curves.  May be NULL. */
    lk_status (*on_row)(void *user, int64_t index, const lk_clip_result *result, const char *json);
    void (*on_progress)(void *user, double done, const char *clip); /* in clips; may be NULL */
    void *user;
} lk_score_run_options;

typedef struct lk_score_run_counts {
    int64_t n_ok, n_failed;
} lk_score_run_counts;

/* LK_E_INTERRUPTED when `stop` ended it; what was done is kept for --resume. */
LK_CHECKED lk_status lk_score_run(const lk_score_run_options *options, lk_score_run_counts *counts);

#endif /* LK_SCORE_RUN_H */
