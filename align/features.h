/* features.h - what all metrics share: sound and motion on the true clock.
 *
 * Sound is mixed to mono, resampled once to LK_ANALYSIS_RATE_HZ with linear phase, and analysed
 * every LK_ANALYSIS_HOP samples (5 ms).  The time of analysis frame k is the centre of its window:
 * t0 + k * step, exact in flicks; n = ceil(duration / step).  Onset strength is delay-compensated:
 * a click at time t peaks at the frame nearest to t.
 *
 * Motion is measured between consecutive frames on a small luma picture with the camera's global
 * motion removed.  Entry k belongs to the interval from frame k-1 to frame k, i.e. from
 * spans[k-1].start to spans[k].start; entry 0 is zero.
 *
 * Threads      extraction is single-threaded and deterministic.
 */
#ifndef LK_FEATURES_H
#define LK_FEATURES_H

#include "align/hits.h"
#include "kernels/view.h"

#include <stdbool.h>

#define LK_ANALYSIS_RATE_HZ 24000
#define LK_ANALYSIS_HOP     120
#define LK_MEL_BANDS        40
#define LK_MEL_DECIMATION   2 /* the kept mel spectrogram has one row per 10 ms */
#define LK_ONSET_BANDS      4 /* 30-200, 200-800, 800-3000, 3000-11000 Hz */
#define LK_DIRECTIONS       8 /* bins of the directogram: right, down-right, down, ... */

typedef struct lk_audio_features {
    bool present;
    lk_span span;      /* of the presented sound */
    lk_flick t0, step; /* time of row k is t0 + k * step */
    int64_t n;
    float *onset;      /* [n] onset strength, >= 0, mean of the positive log-mel flux */
    float *band_onset; /* [n, LK_ONSET_BANDS] */
    float *level_db;   /* [n] A-weighted short-time level, dB re full scale, floor -120 */
    int64_t n_mel;     /* rows of mel, 0 unless asked for */
    float *mel;    /* [n_mel, LK_MEL_BANDS] natural log of mel power; row j is at t0 + j * 2 step */
    float peak;    /* largest |sample| */
    float *attack; /* [n] log rise of energy at the steepest start within +-2.5 ms of row k */
    float *attack_ms; /* [n] where that start lies relative to row k, in [-2.5, 2.5) ms */
} lk_audio_features;

typedef struct lk_video_features {
    bool present;
    int64_t n;
    lk_span *spans;    /* [n] */
    float *change;     /* [n] mean |luma difference| after camera motion is removed, 0..255 */
    float *speed;      /* [n] mean flow magnitude, picture heights per second, camera removed */
    float *directions; /* [n, LK_DIRECTIONS] the same split by direction */
    float *impact; /* [n] sudden loss of motion at spans[k].start, >= 0 (see video_features.c) */
    float *camera; /* [n, 2] global motion, picture heights per second */
    uint8_t *cut;  /* [n] 1: frame k begins a new shot */
    int64_t n_hits;
    lk_hit *hits;       /* [n_hits] sorted by time: when things were hit, where that can be told */
    int grid_w, grid_h; /* 0 unless asked for */
    float *grid;        /* [n, grid_h, grid_w] mean |difference| per cell */
} lk_video_features;

struct lk_features {
    uint64_t seed; /* of everything random that a metric does */
    lk_audio_features audio;
    lk_video_features video;
};

typedef struct lk_features lk_features;

/* ---- extraction, used by the scorer ------------------------------------------------------------
 */

typedef struct lk_audio_extractor lk_audio_extractor;
typedef struct lk_video_extractor lk_video_extractor;

/* Mono or multichannel PCM of any one rate; gaps are filled with silence, overlaps are cut.
 * Samples that are not finite count as silence and are reported once, as a warning.
 * LK_E_UNSUPPORTED when the rate changes on the way or the sound spans more than 6 hours. */
LK_CHECKED lk_status lk_audio_extractor_create(lk_audio_extractor **x, bool keep_mel);
LK_CHECKED lk_status lk_audio_extractor_push(lk_audio_extractor *x, const lk_pcm_view *pcm);
/* Moves the finished arrays into *out, which the caller clears. */
LK_CHECKED lk_status lk_audio_extractor_finish(lk_audio_extractor *x, lk_audio_features *out);
void lk_audio_extractor_free(lk_audio_extractor **x);

LK_CHECKED lk_status lk_video_extractor_create(lk_video_extractor **x, bool keep_grid);
LK_CHECKED lk_status lk_video_extractor_push(lk_video_extractor *x, const lk_frame_view *frame);
LK_CHECKED lk_status lk_video_extractor_finish(lk_video_extractor *x, lk_video_features *out);
void lk_video_extractor_free(lk_video_extractor **x);

void lk_features_clear(lk_features *features);

#endif /* LK_FEATURES_H */
