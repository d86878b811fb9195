/* result.h - everything the ruler found out about one clip, in memory.
 *
 * Scores and abstentions travel as one JSON line a clip (av/result_json.c); curves, marks, lag
 * curves and lag maps as groups of an HDF5 file (av/h5.h); both are read back into this struct, and
 * the report (av/report*.c) draws from it.
 *
 * Ownership    everything inside belongs to the struct; lk_clip_result_clear accepts a zeroed and a
 *              half-filled one.
 * Threads      one result per thread at a time.
 */
#ifndef LK_RESULT_H
#define LK_RESULT_H

#include "align/align.h"

typedef struct lk_result_score {
    char *name, *unit;
    double value, lo, hi, chance, p; /* NAN: not available */
    int64_t n;
} lk_result_score;

typedef struct lk_result_abstention {
    char *name, *reason;
} lk_result_abstention;

typedef struct lk_result_curve {
    char *name, *unit;
    int64_t n;
    double *t_s;   /* [n] */
    float *values; /* [n] */
} lk_result_curve;

typedef struct lk_result_marks {
    char *name;
    int64_t n;
    double *t_s; /* [n] */
} lk_result_marks;

typedef struct lk_result_lag_curve {
    char *name;
    int64_t n;
    double *lag_ms; /* [n] */
    float *values;  /* [n] */
} lk_result_lag_curve;

typedef struct lk_result_lag_map {
    char *name;
    int64_t n_times, n_lags;
    double *t_s;    /* [n_times] */
    double *lag_ms; /* [n_lags] */
    float *values;  /* [n_times, n_lags] */
} lk_result_lag_map;

typedef struct lk_clip_result {
    char *clip;  /* the path as it was given */
    bool failed; /* then error is the sentence and the rest is empty */
    char *error;
    double duration_s;
    double container_offset_ms; /* audio start minus video start as the file states; NAN */
    char *group;                /* from the manifest: system or split; NULL */
    char *pair;                 /* from the manifest: key that pairs clips of two systems; NULL */
    int n_warnings;
    char **warnings;
    int64_t n_scores, n_abstentions, n_curves, n_marks, n_lag_curves, n_lag_maps;
    lk_result_score *scores;
    lk_result_abstention *abstentions;
    lk_result_curve *curves;
    lk_result_marks *marks;
    lk_result_lag_curve *lag_curves;
    lk_result_lag_map *lag_maps;
    char *provenance; /* JSON object as text: version, commit, seed, metrics with settings */
} lk_clip_result;

/* A sink that appends everything it receives to *result. */
lk_sink lk_clip_result_sink(lk_clip_result *result);

/* NULL when there is no such score or curve. */
const lk_result_score *lk_clip_result_score(const lk_clip_result *result, const char *name);
const char *lk_clip_result_abstention(const lk_clip_result *result, const char *name);

void lk_clip_result_clear(lk_clip_result *result);

#endif /* LK_RESULT_H */
