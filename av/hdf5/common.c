/* common.c - see internal.h. */
#include "av/hdf5/internal.h"

#include "kernels/hash.h"

#include <pthread.h>
#include <stddef.h>
#include <string.h>

#define MOST_ROWS (INT64_C(1) << 40)

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* No closing at exit: it crashes in the library when a full disk has left a file that cannot be
 * closed. */
void lk_hdf5_start(void)
{
    H5dont_atexit();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

void lk_hdf5_lock(void)
{
    pthread_mutex_lock(&mutex);
}

void lk_hdf5_unlock(void)
{
    pthread_mutex_unlock(&mutex);
}

const lk_row_field lk_clip_fields[LK_CLIP_FIELDS] = {
    {"first_frame", offsetof(lk_clip_row, first_frame)},
    {"n_frames", offsetof(lk_clip_row, n_frames)},
    {"first_sample", offsetof(lk_clip_row, first_sample)},
    {"n_samples", offsetof(lk_clip_row, n_samples)},
    {"audio_start", offsetof(lk_clip_row, audio_start)},
    {"first_event", offsetof(lk_clip_row, first_event)},
    {"n_events", offsetof(lk_clip_row, n_events)},
    {"checksum", offsetof(lk_clip_row, checksum)},
};

const char *const lk_clip_texts[LK_CLIP_TEXTS] = {"name", "caption", "source"};
const char *const lk_place_columns[4] = {"events/x", "events/y", "events/to_x", "events/to_y"};

uint64_t lk_clip_checksum(const lk_dataset_clip *c, const lk_dataset_format *f)
{
    lk_hash64 h;
    lk_hash64_start(&h);
    lk_hash64_add(&h, c->spans, (size_t)c->n_frames * sizeof *c->spans);
    lk_hash64_add(&h, c->frames, (size_t)c->n_frames * (size_t)(f->width * f->height * 3));
    lk_hash64_add(&h, c->pcm, (size_t)(c->n_samples * f->n_channels) * sizeof *c->pcm);
    return lk_hash64_value(&h);
}

hid_t lk_hdf5_create(const char *path)
{
    const hid_t how = H5Pcreate(H5P_FILE_ACCESS);
    const hid_t file = H5Pset_libver_bounds(how, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST) < 0
                           ? H5I_INVALID_HID
                           : H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, how);
    H5Pclose(how);
    return file;
}

hid_t lk_hdf5_growing(hid_t file, const char *name, hid_t type, int rank, const hsize_t *row,
                      hsize_t rows_in_chunk, int compress)
{
    hsize_t now[4] = {0}, most[4] = {H5S_UNLIMITED}, chunk[4] = {rows_in_chunk};
    for (int i = 1; i < rank; i++)
        now[i] = most[i] = chunk[i] = row[i];
    const hid_t space = H5Screate_simple(rank, now, most);
    const hid_t how = H5Pcreate(H5P_DATASET_CREATE);
    hid_t set = H5I_INVALID_HID;
    if (H5Pset_chunk(how, rank, chunk) >= 0 &&
        (compress <= 0 || H5Pset_deflate(how, (unsigned)compress) >= 0))
        set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, how, H5P_DEFAULT);
    H5Pclose(how);
    H5Sclose(space);
    return set;
}

int lk_hdf5_append(hid_t set, hid_t type, int rank, const hsize_t *row, int64_t at, int64_t n,
                   const void *data)
{
    hsize_t size[4], from[4] = {(hsize_t)at}, count[4];
    if (n == 0)
        return 1;
    memcpy(size, row, sizeof size);
    memcpy(count, row, sizeof count);
    size[0] = (hsize_t)(at + n);
    count[0] = (hsize_t)n;
    if (H5Dset_extent(set, size) < 0)
        return 0;
    const hid_t space = H5Dget_space(set), memory = H5Screate_simple(rank, count, NULL);
    const int good = H5Sselect_hyperslab(space, H5S_SELECT_SET, from, NULL, count, NULL) >= 0 &&
                     H5Dwrite(set, type, memory, space, H5P_DEFAULT, data) >= 0;
    H5Sclose(memory);
    H5Sclose(space);
    return good;
}

int lk_hdf5_sizes(hid_t file, const char *name, int rank, hsize_t *dims)
{
    int found = 0;
    H5T_class_t class;
    size_t bytes;
    return H5LTpath_valid(file, name, 1) > 0 && H5LTget_dataset_ndims(file, name, &found) >= 0 &&
           found == rank && H5LTget_dataset_info(file, name, dims, &class, &bytes) >= 0 &&
           dims[0] < (hsize_t)MOST_ROWS;
}

int lk_hdf5_read(hid_t set, hid_t type, int rank, const hsize_t *row, int64_t from, int64_t n,
                 void *out)
{
    hsize_t at[4] = {(hsize_t)from}, count[4];
    memcpy(count, row, sizeof count);
    count[0] = (hsize_t)n;
    const hid_t space = H5Dget_space(set), memory = H5Screate_simple(rank, count, NULL);
    const int good = H5Sselect_hyperslab(space, H5S_SELECT_SET, at, NULL, count, NULL) >= 0 &&
                     H5Dread(set, type, memory, space, H5P_DEFAULT, out) >= 0;
    H5Sclose(memory);
    H5Sclose(space);
    return good;
}
