/* align.h - the ruler: what a metric is, what it sees, and how its numbers leave.
 *
 * A clip is pushed once, frame by frame and run by run, into a scorer.  The scorer computes shared
 * features (align/features.h) and hands them to every chosen metric at the end; a metric that
 * needs raw frames or sound also gets those on the way.  Metrics never see a path.
 *
 * Every score carries a unit, an interval, the chance level of this very clip and a p-value where
 * they exist; a metric that cannot answer abstains with a reason a person can act on.
 * Sign: offset > 0 means the sound is late.
 *
 * Threads      one lk_scorer per thread at a time; results do not depend on the thread count.
 */
#ifndef LK_ALIGN_H
#define LK_ALIGN_H

#include "kernels/option.h"
#include "kernels/view.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct lk_features lk_features;

/* ---- what leaves ---------------------------------------------------------------------------- */

/* NAN means "not available" in every optional field; it becomes null in files. */
typedef struct lk_score {
    const char *name; /* "event.offset_ms": metric, dot, quantity with unit */
    const char *unit; /* "ms", "ppm", "1", "bpm" */
    double value;
    double lo, hi; /* 95 % interval */
    double chance; /* what an unrelated sound track would score on this clip */
    double p;      /* share of unrelated tracks at least as good */
    int64_t n;     /* events, windows or beats behind the value */
} lk_score;

/* Receives results during lk_scorer_finish.  All pointers are borrowed for the call only. */
typedef struct lk_sink {
    void *user;
    lk_status (*score)(void *user, const lk_score *score);
    lk_status (*abstain)(void *user, const char *name, const char *reason);
    /* A curve over time: n values at times t_s, e.g. "event.onset_strength". */
    lk_status (*curve)(void *user, const char *name, const char *unit, int64_t n, const double *t_s,
                       const float *values);
    /* Points in time, e.g. "beat.beats". */
    lk_status (*marks)(void *user, const char *name, int64_t n, const double *t_s);
    /* A function of lag: n values at lags in ms. */
    lk_status (*lag_curve)(void *user, const char *name, int64_t n, const double *lag_ms,
                           const float *values);
    /* A map over (time, lag): values [n_times, n_lags]. */
    lk_status (*lag_map)(void *user, const char *name, int64_t n_times, const double *t_s,
                         int64_t n_lags, const double *lag_ms, const float *values);
} lk_sink;

/* ---- what a metric may know beforehand --------------------------------------------------------
 */

/* Truth or reference for a clip; any part may be absent (n = 0, NULL). */
typedef struct lk_reference {
    int64_t n_onsets;
    const lk_flick *onsets; /* sorted: when sounds should start */
    int64_t n_beats;
    const lk_flick *beats;
    int64_t n_downbeats;
    const lk_flick *downbeats;
    const lk_features
        *track; /* features of a reference clip; its picture only with LK_NEED_TRACK */
    bool has_face;
    lk_box face;
} lk_reference;

/* ---- a metric ---------------------------------------------------------------------------------
 */

enum {
    LK_NEED_VIDEO = 1,   /* the clip must have pictures */
    LK_NEED_AUDIO = 2,   /* the clip must have sound */
    LK_NEED_MOTION = 4,  /* video features */
    LK_NEED_ONSET = 8,   /* audio features */
    LK_NEED_FRAMES = 16, /* push_frame is to be called */
    LK_NEED_PCM = 32,   /* push_pcm is to be called, as the clip has it; kernels/resample.h helps */
    LK_NEED_MEL = 64,   /* audio features with the mel spectrogram kept */
    LK_NEED_GRID = 128, /* video features with the motion grid kept */
    LK_NEED_TRACK = 256 /* the features of a reference clip's picture, where one is given */
};

typedef struct lk_metric {
    const char *name;          /* "event" */
    const char *summary;       /* one sentence for help and report */
    const char *source;        /* paper and section, or "ours" */
    const char *cost;          /* one phrase, e.g. "0.1 ms a frame" */
    const char *const *scores; /* NULL-ended names of the numbers it emits */
    const lk_option *options;  /* parsed into the state before init; may be NULL */
    size_t state_bytes;        /* allocated and zeroed by the scorer; options fill its head */
    unsigned needs;
    bool by_default; /* part of `score` without --metric */
    lk_status (*init)(void *state, const lk_reference *reference); /* may be NULL */
    lk_status (*push_frame)(void *state, const lk_frame_view *frame);
    lk_status (*push_pcm)(void *state, const lk_pcm_view *pcm);
    lk_status (*finish)(void *state, const lk_features *features, const lk_reference *reference,
                        const lk_sink *sink);
    void (*clear)(void *state); /* valid on a zeroed state; may be NULL */
} lk_metric;

/* All metrics, NULL-ended; the list stands in align/metrics.c. */
const lk_metric *const *lk_metrics(void);
const lk_metric *lk_metric_find(const char *name);

/* ---- scoring one clip
 * ---------------------------------------------------------------------------- */

typedef struct lk_scorer lk_scorer;

/* Choices are texts like "event" or "beat:sigma_ms=50:mode=clean"; n = 0 takes the defaults.
 * `seed` drives the bootstrap and the null only.  reference may be NULL and must outlive the
 * scorer. */
LK_CHECKED lk_status lk_scorer_create(lk_scorer **scorer, const char *const *choices, size_t n,
                                      const lk_reference *reference, uint64_t seed);

/* Union of the needs of the chosen metrics, so a reader can skip a stream nobody wants. */
unsigned lk_scorer_needs(const lk_scorer *scorer);

LK_CHECKED lk_status lk_scorer_frame(lk_scorer *scorer, const lk_frame_view *frame);

/* Any rate and channel count. */
LK_CHECKED lk_status lk_scorer_pcm(lk_scorer *scorer, const lk_pcm_view *pcm);

/* Emit every score, abstention and curve.  A metric that fails with an error abstains with that
 * sentence; only memory and internal failures end the scoring. */
LK_CHECKED lk_status lk_scorer_finish(lk_scorer *scorer, const lk_sink *sink);

/* The shared features; complete after finish, valid until free. */
const lk_features *lk_scorer_features(const lk_scorer *scorer);

void lk_scorer_free(lk_scorer **scorer);

#endif /* LK_ALIGN_H */
