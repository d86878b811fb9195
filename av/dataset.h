/* dataset.h - clips for training, in HDF5 files that h5py reads: shards.
 *
 * One shard holds any number of clips of one picture size and one sample rate:
 *
 *     /frames         uint8 [n_frames, height, width, 3], sRGB; scales frame_start, frame_end
 *     /frame_start    int64 [n_frames], flicks, and /frame_end
 *     /samples        int16 [n_samples, n_channels], 1/32768; attribute rate_hz
 *     /clips/NAME     one row a clip: name, caption, source (texts), first_frame, n_frames,
 *                     first_sample, n_samples, audio_start, first_event, n_events, checksum
 *     /events/NAME    one row an event: start, end (flicks, on the clip's clock), strength, kind,
 *                     label; x, y, to_x, to_y (fractions of the picture, NAN: none)
 *     attributes      format "lockstep-dataset-1", and what made it: commit, settings
 *
 * A bit that went wrong is found by checksums: HDF5's own over its tables of contents, ours over
 * what a clip shows and sounds.
 *
 * Times of a clip count from its own start; frames keep their true times, so clips of any frame
 * rate lie side by side.  A shard appears under its name when it is whole: a killed writer leaves
 * "PATH.part", which is made again.
 *
 * Threads      a reader may be asked by several threads, one at a time gets through (the HDF5
 *              library is not safe for more); a writer belongs to one thread.
 */
#ifndef LK_DATASET_H
#define LK_DATASET_H

#include "kernels/place.h"
#include "kernels/status.h"

#include <stdbool.h>

typedef struct lk_dataset_format {
    int width, height;       /* 0: no pictures */
    int rate_hz, n_channels; /* 0: no sound */
} lk_dataset_format;

typedef struct lk_dataset_event {
    lk_span span; /* in the sound, or in the picture for what is not heard */
    double strength;
    char kind[16], label[32]; /* "impact", "metal" */
    lk_place place;
} lk_dataset_event;

typedef struct lk_dataset_clip {
    const char *name, *caption, *source; /* "" when unknown */
    int64_t n_frames, n_samples, n_events;
    lk_flick audio_start;
    /* What a writer is given; NULL in what a reader hands out. */
    const lk_span *spans;  /* [n_frames] */
    const uint8_t *frames; /* [n_frames, height, width, 3] */
    const int16_t *pcm;    /* [n_samples, n_channels] */
    const lk_dataset_event *events;
} lk_dataset_clip;

/* ---- writing ---- */

typedef struct lk_shard lk_shard;

typedef struct lk_shard_options {
    lk_dataset_format format;
    int compress;                  /* deflate level of frames, 0 .. 9 */
    const char *commit, *settings; /* attributes; NULL: "" */
} lk_shard_options;

LK_CHECKED lk_status lk_shard_create(lk_shard **s, const char *path,
                                     const lk_shard_options *options);
/* After a failure the shard can only be closed. */
LK_CHECKED lk_status lk_shard_add(lk_shard *s, const lk_dataset_clip *clip);
LK_CHECKED lk_status lk_shard_finish(lk_shard *s); /* write the tables, sync, rename */
void lk_shard_close(lk_shard **s);                 /* without finish: the .part goes */

/* ---- reading ---- */

typedef struct lk_dataset lk_dataset;

/* Files, and folders whose *.h5 are taken in the order of their names.  All pictures are of one
 * size, all sounds of one rate; a file may lack either.
 * LK_E_EMPTY when there is no clip. */
LK_CHECKED lk_status lk_dataset_open(lk_dataset **d, const char *const *paths, int64_t n_paths);
void lk_dataset_close(lk_dataset **d);

lk_dataset_format lk_dataset_get_format(const lk_dataset *d);
int64_t lk_dataset_n_clips(const lk_dataset *d);
/* Facts of clip i, valid until close; without frames, pcm, spans, events. */
lk_dataset_clip lk_dataset_get_clip(const lk_dataset *d, int64_t i);

/* n frames of clip i from `from` on into rgb [n, height, width, 3] and spans [n]; either may be
 * NULL.  LK_E_ARG outside the clip. */
LK_CHECKED lk_status lk_dataset_frames(lk_dataset *d, int64_t i, int64_t from, int64_t n,
                                       uint8_t *rgb, lk_span *spans);
/* n samples into pcm [n, n_channels], in [-1, 1). */
LK_CHECKED lk_status lk_dataset_samples(lk_dataset *d, int64_t i, int64_t from, int64_t n,
                                        float *pcm);
/* All events of clip i; valid until close. */
const lk_dataset_event *lk_dataset_events(const lk_dataset *d, int64_t i);

/* The attribute `settings` of one shard; the caller frees it. */
LK_CHECKED lk_status lk_dataset_settings(const char *path, char **settings);

/* Read all of clip i and compare with its checksum; LK_E_FORMAT names the clip that is damaged. */
LK_CHECKED lk_status lk_dataset_check(lk_dataset *d, int64_t i);

#endif /* LK_DATASET_H */
