/* lag.h - how much later one train of pulses is than another.
 *
 * A pulse is an instant with a weight: a sound onset, or the part of a visual impact that falls on
 * a frame.  The estimator answers four questions: at which lag do the trains coincide best, how
 * sure is that against trains that have nothing to do with each other, how does the lag move over
 * time, and is another lag nearly as good.
 *
 * Sub-frame rule: an impact between two frames arrives as two pulses whose centroid is the true
 * time (align/video_features.c); every step here is linear in the picture's pulses around an
 * onset, so the centroid survives to the answer.
 *
 * Threads      pure; deterministic for a seed.
 */
#ifndef LK_LAG_H
#define LK_LAG_H

#include "align/hits.h"
#include "kernels/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct lk_pulse {
    double t_s;
    double weight; /* >= 0 */
} lk_pulse;

typedef struct lk_lag_options {
    double max_lag_ms; /* search range is +- this */
    double kernel_ms; /* sd of the coincidence kernel; widen to the frame distance for slow video */
    double window_s;  /* length of the sliding window for lag over time */
    int n_null;       /* surrogate trains */
    int n_bootstrap;
    uint64_t seed;
} lk_lag_options;

/* One onset's own estimate of the lag. */
typedef struct lk_lag_pair {
    double t_s;    /* of the sound */
    double lag_ms; /* sound minus the hit it belongs to, or minus the centroid of the pulses */
    double weight;
    double sigma_ms; /* standard error of the picture's instant */
} lk_lag_pair;

typedef struct lk_lag_result {
    double lag_ms, lo, hi;                /* robust mean over the pairs and its 95 % interval */
    double drift_ppm, drift_lo, drift_hi; /* NAN below 5 s of pairs */
    double score, chance, p; /* coincidence at the best lag, median of the surrogates, p-value */
    double support; /* score at this lag over the best one once the strongest quarter is left out */
    double rival_ms, rival_share; /* the best lag elsewhere and its score relative to the best */
    int64_t n_pairs;
    lk_lag_pair *pair; /* [n_pairs] */
    int64_t n_lags;
    double *lag_axis_ms; /* [n_lags] */
    float *curve;        /* [n_lags] coincidence */
    int64_t n_windows;
    double *window_t_s;    /* [n_windows] centres */
    float *map;            /* [n_windows, n_lags] */
    double *window_lag_ms; /* [n_windows] the path through the map, refined by the pairs */
    double change_s;       /* time of the most evident jump, NAN when there is none */
    double change_ms;      /* lag after minus lag before */
} lk_lag_result;

/* What the estimator compares; all sorted by time, inside [start_s, end_s). */
typedef struct lk_lag_input {
    int64_t n_sound, n_picture, n_hits;
    const lk_pulse *sound, *picture;
    const lk_hit *hits; /* exact instants among the picture's pulses, may be few or none */
    double start_s, end_s;
} lk_lag_input;

/* LK_OK with n_pairs = 0 and p = 1 when a train is empty. */
LK_CHECKED lk_status lk_lag_estimate(const lk_lag_input *input, const lk_lag_options *options,
                                     lk_lag_result *result);

void lk_lag_clear(lk_lag_result *result);

#endif /* LK_LAG_H */
