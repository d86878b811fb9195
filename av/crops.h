/* crops.h - random pieces of datasets, the batches that tokenizers are trained on.
 *
 * A batch is a function of the seed and its index alone.  Pieces are drawn evenly over time: a clip
 * twice as long is seen twice as often.  Batches are made ahead (loader.h).
 *
 * Threads      one thread asks.
 */
#ifndef LK_CROPS_H
#define LK_CROPS_H

#include "av/dataset.h"

typedef struct lk_crops lk_crops;

/* Sound: n_crops pieces of n_samples; shorter clips are filled up with silence.  Loudness varies by
 * up to +-6 dB; half of the crops have their sign flipped. */
typedef struct lk_sound_crops_config {
    const char *const *paths; /* of datasets */
    int64_t n_paths;
    int rate_hz, channels; /* what the datasets must have */
    int64_t n_crops, n_samples;
    int64_t n_latents;      /* labels a crop, spread evenly over its samples */
    const char *event_kind; /* "phone": events whose labels are classes; NULL: no labels */
    int most_labels;        /* more different labels are an error */
    int64_t step;           /* distance of indices asked for (processes); 0: 1 */
} lk_sound_crops_config;

LK_CHECKED lk_status lk_sound_crops_new(lk_crops **c, const lk_sound_crops_config *config);

/* sound f32 [n_crops, n_samples, channels]; labels i32 [n_crops, n_latents], -1 where no event is;
 * may be NULL.  Has the form of lk_codec_crops. */
LK_CHECKED lk_status lk_sound_crops_fill(void *crops, uint64_t seed, int64_t index, int64_t n_crops,
                                         int64_t n_samples, float *sound, int32_t *labels);

/* Pictures: n_crops pieces of n_frames frames, height x width pixels out of the datasets' pictures
 * at a random place, mirrored half of the time, every 1st to most_stride-th frame.  A clip with
 * fewer frames is shown forwards and backwards. */
typedef struct lk_picture_crops_config {
    const char *const *paths;
    int64_t n_paths;
    int64_t n_crops, n_frames;
    int height, width, most_stride;
    int64_t step;
} lk_picture_crops_config;

LK_CHECKED lk_status lk_picture_crops_new(lk_crops **c, const lk_picture_crops_config *config);

/* rgb f32 [n_crops, n_frames, height, width, 3] in [-1, 1].  Has the form of lk_vae_fill. */
LK_CHECKED lk_status lk_picture_crops_fill(void *crops, uint64_t seed, int64_t index, float *rgb);

void lk_crops_free(lk_crops **c);

/* Names of the labels' classes, class 0 first, separated by spaces. */
const char *lk_crops_labels(const lk_crops *c);

/* Share of the time since the first batch that was spent waiting for batches. */
double lk_crops_waiting(const lk_crops *c);

#endif /* LK_CROPS_H */
