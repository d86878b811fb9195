/* internal.h - what the files that use HDF5 share; the headers of HDF5 are included in this folder
 * alone. */
#ifndef LK_HDF5_INTERNAL_H
#define LK_HDF5_INTERNAL_H

#include "av/dataset.h"

#include <hdf5.h>
#include <hdf5_hl.h>

#define LK_DATASET_FORMAT "lockstep-dataset-1"

/* Before the first call of the library.  Errors are reported by our own sentences. */
void lk_hdf5_start(void);

/* The library is used by one thread at a time. */
void lk_hdf5_lock(void);
void lk_hdf5_unlock(void);

/* The numbers of a clip or an event as they lie in the tables of a shard: one dataset a field. */
typedef struct lk_clip_row {
    int64_t first_frame, n_frames, first_sample, n_samples, audio_start, first_event, n_events;
    uint64_t checksum;
} lk_clip_row;

typedef struct lk_row_field {
    const char *name;
    size_t offset;
} lk_row_field;

enum { LK_CLIP_FIELDS = 8, LK_CLIP_TEXTS = 3 };
extern const lk_row_field lk_clip_fields[LK_CLIP_FIELDS]; /* all of 64 bits, the last unsigned */
extern const char *const lk_clip_texts[LK_CLIP_TEXTS];

/* Checksum of what a clip shows and sounds. */
typedef struct lk_hash64 lk_hash64;
uint64_t lk_clip_checksum(const lk_dataset_clip *clip, const lk_dataset_format *format);

#endif /* LK_HDF5_INTERNAL_H */
