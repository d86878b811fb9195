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

/* A new file in the newest form, whose tables of contents carry checksums; < 0 on failure. */
hid_t lk_hdf5_create(const char *path);

/* An array of `rank` <= 4 dimensions that grows along the first; row[1..] are the other sizes. */
hid_t lk_hdf5_growing(hid_t file, const char *name, hid_t type, int rank, const hsize_t *row,
                      hsize_t rows_in_chunk, int compress);

/* Write n rows behind the first `at` of a growing array; false on failure. */
int lk_hdf5_append(hid_t set, hid_t type, int rank, const hsize_t *row, int64_t at, int64_t n,
                   const void *data);

/* Sizes of an array that is there with that rank; false else. */
int lk_hdf5_sizes(hid_t file, const char *name, int rank, hsize_t *dims);

/* n rows of an array of that rank from row `from` on; false on failure. */
int lk_hdf5_read(hid_t set, hid_t type, int rank, const hsize_t *row, int64_t from, int64_t n,
                 void *out);

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
extern const char *const lk_place_columns[4]; /* x and y of a place, and of where it leads */

/* Checksum of what a clip shows and sounds. */
typedef struct lk_hash64 lk_hash64;
uint64_t lk_clip_checksum(const lk_dataset_clip *clip, const lk_dataset_format *format);

#endif /* LK_HDF5_INTERNAL_H */
