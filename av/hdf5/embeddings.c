/* embeddings.c - see av/embeddings.h. */
#include "av/embeddings.h"
#include "av/hdf5/internal.h"

#include "kernels/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_CHANNELS = 16384, MOST_VECTORS = 4096 };

struct lk_embeddings {
    char *path;
    int64_t n;
    int channels, most;
    char **caption; /* of the HDF5 library, with the type it frees them by */
    hid_t type, space;
    int32_t *length;
    float *vectors;
    int64_t *order; /* captions by name */
};

void lk_embeddings_free(lk_embeddings **out)
{
    lk_embeddings *e = out ? *out : NULL;
    if (!e)
        return;
    lk_hdf5_lock();
    if (e->caption && e->space >= 0)
        H5Dvlen_reclaim(e->type, e->space, H5P_DEFAULT, e->caption);
    if (e->type >= 0)
        H5Tclose(e->type);
    if (e->space >= 0)
        H5Sclose(e->space);
    lk_hdf5_unlock();
    lk_free(e->caption);
    lk_free(e->length);
    lk_free(e->vectors);
    lk_free(e->order);
    lk_free(e->path);
    lk_free(e);
    *out = NULL;
}

/* ---- reading ---- */

static int read_captions(lk_embeddings *e, hid_t file)
{
    const hid_t set = H5Dopen2(file, "caption", H5P_DEFAULT);
    int good = set >= 0;
    if (good) {
        e->type = H5Dget_type(set);
        e->space = H5Dget_space(set);
        good = e->type >= 0 && e->space >= 0 && H5Tget_class(e->type) == H5T_STRING &&
               H5Tis_variable_str(e->type) > 0 &&
               H5Dread(set, e->type, H5S_ALL, H5S_ALL, H5P_DEFAULT, e->caption) >= 0;
        H5Dclose(set);
    }
    return good;
}

static int read_numbers(hid_t file, const char *name, hid_t type, void *out)
{
    const hid_t set = H5Dopen2(file, name, H5P_DEFAULT);
    const int good = set >= 0 && H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) >= 0;
    if (set >= 0)
        H5Dclose(set);
    return good;
}

static lk_status read_file(lk_embeddings *e, hid_t file)
{
    lk_status st = LK_OK;
    hsize_t n[1] = {0}, lengths[1] = {0}, d[3] = {0};
    LK_REQUIRE(
        lk_hdf5_sizes(file, "caption", 1, n) && lk_hdf5_sizes(file, "length", 1, lengths) &&
            lk_hdf5_sizes(file, "embedding", 3, d) && n[0] > 0 && n[0] == lengths[0] &&
            n[0] == d[0] && d[1] > 0 && d[1] <= MOST_VECTORS && d[2] > 0 && d[2] <= MOST_CHANNELS,
        LK_E_FORMAT, "'%s' wants caption [n], length [n] and embedding [n, up to %d, up to %d]",
        e->path, MOST_VECTORS, MOST_CHANNELS);
    e->n = (int64_t)n[0];
    e->most = (int)d[1];
    e->channels = (int)d[2];
    LK_TRY(LK_NEW_ARRAY(&e->caption, e->n));
    LK_TRY(LK_NEW_ARRAY(&e->length, e->n));
    LK_TRY(LK_NEW_ARRAY(&e->vectors, e->n * e->most * e->channels));
    LK_REQUIRE(read_captions(e, file) &&
                   read_numbers(file, "length", H5T_NATIVE_INT32, e->length) &&
                   read_numbers(file, "embedding", H5T_NATIVE_FLOAT, e->vectors),
               LK_E_FORMAT, "'%s' holds no captions with vectors that can be read", e->path);
done:
    return st;
}

/* ---- looking up ---- */

static const lk_embeddings *sorted; /* while open sorts, under the lock of HDF5 */

static int by_name(const void *a, const void *b)
{
    return strcmp(sorted->caption[*(const int64_t *)a], sorted->caption[*(const int64_t *)b]);
}

static lk_status check(const lk_embeddings *e)
{
    lk_status st = LK_OK;
    for (int64_t i = 0; i < e->n; i++) {
        const float *v = e->vectors + i * e->most * e->channels;
        LK_REQUIRE(e->caption[i] && e->length[i] > 0 && e->length[i] <= e->most, LK_E_FORMAT,
                   "'%s': caption %lld has %d vectors, not 1 to %d", e->path, (long long)i,
                   e->length[i], e->most);
        for (int64_t k = 0; k < (int64_t)e->length[i] * e->channels; k++)
            LK_REQUIRE(isfinite(v[k]), LK_E_NUMERIC, "'%s': a vector of '%s' has NaN or Inf",
                       e->path, e->caption[i]);
    }
done:
    return st;
}

lk_status lk_embeddings_open(lk_embeddings **out, const char *path)
{
    lk_status st = LK_OK;
    lk_embeddings *e = NULL;
    hid_t file = H5I_INVALID_HID;
    LK_TRY(LK_NEW(&e));
    e->type = e->space = H5I_INVALID_HID;
    LK_TRY(lk_strdup(path, &e->path));
    lk_hdf5_lock();
    lk_hdf5_start();
    file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    st = file < 0 ? LK_FAIL(LK_E_FORMAT, "'%s' is not there, or no HDF5 file", path)
                  : read_file(e, file);
    if (file >= 0)
        H5Fclose(file);
    if (st == LK_OK)
        st = check(e);
    if (st == LK_OK)
        st = LK_NEW_ARRAY(&e->order, e->n);
    for (int64_t i = 0; st == LK_OK && i < e->n; i++)
        e->order[i] = i;
    if (st == LK_OK) {
        sorted = e;
        qsort(e->order, (size_t)e->n, sizeof *e->order, by_name);
    }
    lk_hdf5_unlock();
    LK_TRY(st);
    *out = e;
    e = NULL;
done:
    lk_embeddings_free(&e);
    return st;
}

int lk_embeddings_channels(const lk_embeddings *e)
{
    return e->channels;
}

int lk_embeddings_most(const lk_embeddings *e)
{
    return e->most;
}

lk_status lk_embeddings_find(const lk_embeddings *e, const char *caption, const float **vectors,
                             int *n)
{
    lk_status st = LK_OK;
    int64_t low = 0, high = e->n;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (strcmp(e->caption[e->order[middle]], caption) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    LK_REQUIRE(low < e->n && strcmp(e->caption[e->order[low]], caption) == 0, LK_E_ARG,
               "'%s' has no vectors of '%.200s'", e->path, caption);
    *vectors = e->vectors + e->order[low] * e->most * e->channels;
    *n = e->length[e->order[low]];
done:
    return st;
}

/* ---- writing ---- */

static int write_array(hid_t file, const char *name, hid_t type, int rank, const hsize_t *dims,
                       const void *data)
{
    const hid_t space = H5Screate_simple(rank, dims, NULL);
    const hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    const int good = set >= 0 && H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0;
    if (set >= 0)
        H5Dclose(set);
    H5Sclose(space);
    return good;
}

lk_status lk_embeddings_save(const char *path, int64_t n, const char *const *captions,
                             const int32_t *lengths, int most, int channels, const float *vectors)
{
    lk_status st = LK_OK;
    const hsize_t dims[3] = {(hsize_t)n, (hsize_t)most, (hsize_t)channels};
    int good = 0;
    lk_hdf5_lock();
    lk_hdf5_start();
    const hid_t text = H5Tcopy(H5T_C_S1), file = lk_hdf5_create(path);
    if (file >= 0) {
        good = H5Tset_size(text, H5T_VARIABLE) >= 0 && H5Tset_cset(text, H5T_CSET_UTF8) >= 0 &&
               write_array(file, "caption", text, 1, dims, captions) &&
               write_array(file, "length", H5T_NATIVE_INT32, 1, dims, lengths) &&
               write_array(file, "embedding", H5T_NATIVE_FLOAT, 3, dims, vectors);
        good &= H5Fclose(file) >= 0;
    }
    H5Tclose(text);
    lk_hdf5_unlock();
    LK_REQUIRE(good, LK_E_IO, "cannot write '%s' (disk full?)", path);
done:
    return st;
}
