/* av_align_published.h - AV-Align as its published script computes it, quirks included.
 *
 * Source       Yariv et al., "Diverse and Aligned Audio-to-Video Generation via Text-to-Video Model
 *              Adaptation", AAAI 2024, and its script as of February 2025 (a video peak serves one
 *              onset; peaks of flow below 0.1 pixels do not count).
 * Threads      one object per thread at a time.
 */
#ifndef LK_AV_ALIGN_PUBLISHED_H
#define LK_AV_ALIGN_PUBLISHED_H

#include "kernels/status.h"
#include "kernels/view.h"

#define LK_PUBLISHED_RATE_HZ 22050
#define LK_PUBLISHED_HOP     512

/* Mean flow into each frame, in pixels; entry 0 repeats entry 1.  Zero before the first push. */
typedef struct lk_published_flow {
    double *mean;
    size_t n, capacity;
    uint8_t *previous, *current;
    int width, height;
} lk_published_flow;

LK_CHECKED lk_status lk_published_flow_push(lk_published_flow *f, const lk_frame_view *frame);
void lk_published_flow_clear(lk_published_flow *f);

/* Indices of strict local maxima of at least 0.1; returns how many. index holds n. */
int64_t lk_published_flow_peaks(const double *mean, int64_t n, int64_t *index);

/* Onset times in seconds of n samples at LK_PUBLISHED_RATE_HZ: difference of a decibel mel
 * spectrogram, scaled to 0..1, picked against a moving maximum and mean.  *times is allocated. */
LK_CHECKED lk_status lk_published_onsets(const float *pcm, int64_t n, double **times,
                                         int64_t *n_times);

/* Onsets in order take the first free peak closer than 1 / fps: hits. `used` holds n_peaks. */
int64_t lk_published_hits(const double *onset_s, int64_t n_onsets, const int64_t *peak,
                          int64_t n_peaks, double fps, uint8_t *used);

#endif /* LK_AV_ALIGN_PUBLISHED_H */
