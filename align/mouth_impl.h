/* mouth_impl.h - shared by mouth.c and mouth_signal.c. */
#ifndef LK_MOUTH_IMPL_H
#define LK_MOUTH_IMPL_H

#include "align/align.h"
#include "align/features.h"
#include "align/motion.h"

#define CELL        4
#define MAX_CELLS   ((LK_SMALL_WIDTH / CELL) * (LK_SMALL_HEIGHT / CELL))
#define WINDOW_W    7
#define WINDOW_H    6
#define STRIDE      2
#define N_BEST      24
#define MAX_WINDOWS 400
#define STRETCHES   8
#define TREND_S     1.5
#define RANGE_DB    40.0

typedef struct lk_mouth_state {
    double max_lag_ms, trust_p, max_seconds, max_attack_skew;
    int n_null;
    int width, height, columns, rows;
    int64_t n;
    size_t room_times, room_motion, room_dark;
    lk_flick *start;        /* [n] */
    uint8_t *motion, *dark; /* [n, rows * columns]; motion in quarter levels */
    lk_small_picture picture[2];
} lk_mouth_state;

typedef struct lk_mouth_window {
    int x, y;
    double variance;
    double *motion, *dark; /* [n], trend removed */
} lk_mouth_window;

typedef struct lk_mouth_sound {
    int64_t n;
    double t0, step;      /* seconds */
    float *level;         /* [n] trend removed, not smoothed */
    double *wide, *tight; /* [n] smoothed over 200 and 80 ms */
} lk_mouth_sound;

typedef struct lk_mouth_problem {
    const lk_mouth_state *s;
    int n_windows;
    lk_mouth_window windows[N_BEST];
    double *t_motion, *t_dark; /* [n] times in seconds */
    int64_t n_lags;
    double lag_step; /* seconds */
    int skip;        /* stretch left out, -1 none */
    double *x, *y;   /* [n] scratch */
} lk_mouth_problem;

/* Loudness of the clip up to until_s, trend removed and smoothed. */
LK_CHECKED lk_status lk_mouth_make_sound(const lk_audio_features *f, double until_s,
                                         lk_mouth_sound *a);
void lk_mouth_shape_sound(lk_mouth_sound *a); /* level to wide and tight */
void lk_mouth_clear_sound(lk_mouth_sound *a);

/* v [n] of the sound at time t in seconds; NAN outside. */
double lk_mouth_value_at(const lk_mouth_sound *a, const double *v, double t);

/* How much more suddenly the sound rises than it falls; see mouth_signal.c. */
LK_CHECKED lk_status lk_mouth_attack_skew(const lk_mouth_sound *a, double *skew);

/* The liveliest windows of the picture (of the lower half of a given face) into p. */
LK_CHECKED lk_status lk_mouth_find_windows(const lk_mouth_state *s, const lk_reference *r,
                                           double frame_s, lk_mouth_problem *p);

#endif /* LK_MOUTH_IMPL_H */
