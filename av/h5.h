/* h5.h - curves of many clips in one HDF5 file that h5py reads.
 *
 *     /clips/000000              attributes: clip, duration_s, container_offset_ms
 *     /clips/000000/curves/NAME      values [n] float (attribute unit), t_s [n] double
 *     /clips/000000/marks/NAME       [n] double, seconds
 *     /clips/000000/lag_curves/NAME  values [n] float, lag_ms [n] double
 *     /clips/000000/lag_maps/NAME    values [n_times, n_lags] float, t_s, lag_ms
 *     /clips/000000/scores/NAME      attributes value, lo, hi, chance, p, n, unit (NaN: absent)
 *
 * t_s and lag_ms are attached to values as dimension scales.  A file is written under "PATH.part"
 * and renamed by finish.
 *
 * Threads      one file per thread at a time; the HDF5 library is called from one thread only.
 */
#ifndef LK_H5_H
#define LK_H5_H

#include "av/result.h"

typedef struct lk_h5_writer lk_h5_writer;

/* resume: go on with "PATH.part" when it is there and sound. */
LK_CHECKED lk_status lk_h5_create(lk_h5_writer **writer, const char *path, bool resume);

/* True when clip `index` is already in the file. */
bool lk_h5_has_clip(const lk_h5_writer *writer, int64_t index);

LK_CHECKED lk_status lk_h5_add_clip(lk_h5_writer *writer, int64_t index,
                                    const lk_clip_result *result);

LK_CHECKED lk_status lk_h5_finish(lk_h5_writer *writer); /* flush, close, rename */
void lk_h5_close(lk_h5_writer **writer);                 /* without finish: keeps the .part */

/* Add the curves of clip `index` to *result.  LK_E_FORMAT when they are not there. */
LK_CHECKED lk_status lk_h5_read_clip(const char *path, int64_t index, lk_clip_result *result);

#endif /* LK_H5_H */
