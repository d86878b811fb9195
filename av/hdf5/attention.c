/* attention.c - the HDF5 file of av/attention_run.h. */
#include "av/attention_run.h"

#include "av/hdf5/internal.h"
#include "av/version.h"
#include "kernels/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FORMAT "lockstep-attention-1"

enum { LEVEL, BLOCK, HEAD, LAG, AXES, MOST_RANK = 5 };

static const char *const axis_names[AXES] = {"level", "block", "head", "lag_ms"};

typedef struct writer {
    hid_t file, axis[AXES]; /* < 0 where it is not open */
    const lk_joint_probe *p;
    int good;
} writer;

static hsize_t length(const writer *w, int axis)
{
    const int n[AXES] = {w->p->n_levels, w->p->n_blocks, w->p->n_heads, w->p->n_bins};
    return (hsize_t)n[axis];
}

static void put_axis(writer *w, int axis, const double *at, const char *unit)
{
    const hsize_t n = length(w, axis);
    const char *name = axis_names[axis];
    w->good = w->good && H5LTmake_dataset_double(w->file, name, 1, &n, at) >= 0 &&
              H5LTset_attribute_string(w->file, name, "unit", unit) >= 0;
    w->axis[axis] = w->good ? H5Dopen2(w->file, name, H5P_DEFAULT) : H5I_INVALID_HID;
    w->good = w->good && H5DSset_scale(w->axis[axis], name) >= 0;
}

/* One dataset; axes [rank] name its dimensions: of AXES, or -1 for one without a scale, whose
 * size and label are in `sizes` and `labels`. */
static void put(writer *w, const char *path, int rank, const int *axes, const hsize_t *sizes,
                const char *const *labels, const double *values)
{
    hsize_t dims[MOST_RANK];
    for (int i = 0; i < rank; i++)
        dims[i] = axes[i] < 0 ? sizes[i] : length(w, axes[i]);
    if (!w->good || H5LTmake_dataset_double(w->file, path, rank, dims, values) < 0 ||
        H5LTset_attribute_string(w->file, path, "unit", "1") < 0) {
        w->good = 0;
        return;
    }
    const hid_t set = H5Dopen2(w->file, path, H5P_DEFAULT);
    for (int i = 0; i < rank; i++) {
        const char *label = axes[i] < 0 ? labels[i] : axis_names[axes[i]];
        w->good = w->good && H5DSset_label(set, (unsigned)i, label) >= 0 &&
                  (axes[i] < 0 || H5DSattach_scale(set, w->axis[axes[i]], (unsigned)i) >= 0);
    }
    H5Dclose(set);
}

/* The bins within reach of n rows, and the two beyond. */
static void part(const double *all, int64_t n, int bins, double *within, double *beyond)
{
    for (int64_t i = 0; i < n; i++, all += bins + 2) {
        memcpy(within + i * bins, all + 1, (size_t)bins * sizeof *within);
        beyond[2 * i] = all[0];
        beyond[2 * i + 1] = all[bins + 1];
    }
}

static lk_status put_gaze(writer *w, const char *name, const lk_joint_gaze *z)
{
    static const int axes[4] = {LEVEL, BLOCK, HEAD, LAG}, beyond_axes[4] = {LEVEL, BLOCK, HEAD, -1};
    static const int chance_axes[2] = {BLOCK, LAG}, chance_beyond[2] = {BLOCK, -1};
    static const hsize_t sizes[4] = {0, 2, 0, 2};
    static const char *const labels[4] = {NULL, "earlier,later", NULL, "earlier,later"};
    lk_status st = LK_OK;
    const lk_joint_probe *p = w->p;
    const int64_t rows = (int64_t)p->n_levels * p->n_blocks * p->n_heads;
    double *within = NULL, *beyond = NULL;
    char path[64];
    LK_TRY(LK_NEW_ARRAY(&within, rows * p->n_bins));
    LK_TRY(LK_NEW_ARRAY(&beyond, rows * 2));
    const hid_t group = H5Gcreate2(w->file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    w->good = w->good && group >= 0 && H5Gclose(group) >= 0;
    part(z->mass, rows, p->n_bins, within, beyond);
    snprintf(path, sizeof path, "%s/mass", name);
    put(w, path, 4, axes, NULL, NULL, within);
    snprintf(path, sizeof path, "%s/beyond", name);
    put(w, path, 4, beyond_axes, sizes, labels, beyond);
    part(z->chance, p->n_blocks, p->n_bins, within, beyond);
    snprintf(path, sizeof path, "%s/chance", name);
    put(w, path, 2, chance_axes, NULL, NULL, within);
    snprintf(path, sizeof path, "%s/chance_beyond", name);
    put(w, path, 2, chance_beyond, sizes, labels, beyond);
    snprintf(path, sizeof path, "%s/share", name);
    put(w, path, 1, chance_axes, NULL, NULL, z->share);
done:
    lk_free(within);
    lk_free(beyond);
    return st;
}

static void put_gradients(writer *w)
{
    static const int share[5] = {LEVEL, -1, -1, BLOCK, -1}, norm[2] = {LEVEL, -1};
    static const hsize_t sizes[5] = {0, LK_JOINT_STREAMS, LK_JOINT_STREAMS, 0, LK_JOINT_PARTS};
    const char *labels[5] = {NULL, "loss: video,audio", "stream: video,audio", NULL, NULL};
    char parts[96];
    int n = snprintf(parts, sizeof parts, "part: ");
    for (int i = 0; i < LK_JOINT_PARTS; i++)
        n += snprintf(parts + n, sizeof parts - (size_t)n, "%s%s", i ? "," : "",
                      lk_joint_part_names[i]);
    labels[4] = parts;
    const hid_t group = H5Gcreate2(w->file, "gradient", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    w->good = w->good && group >= 0 && H5Gclose(group) >= 0;
    put(w, "gradient/share", 5, share, sizes, labels, w->p->gradient);
    put(w, "gradient/norm", 2, norm, sizes, labels, w->p->norm);
}

static void put_source(writer *w, const lk_attention_source *s)
{
    static const char *const files[3] = {"model_xxh64", "vae_xxh64", "codec_xxh64"};
    char text[20];
    w->good = w->good && H5LTset_attribute_string(w->file, "/", "format", FORMAT) >= 0 &&
              H5LTset_attribute_string(w->file, "/", "model", s->model) >= 0 &&
              H5LTset_attribute_string(w->file, "/", "commit", lk_build_commit()) >= 0 &&
              H5LTset_attribute_int(w->file, "/", "clips", &s->n_clips, 1) >= 0 &&
              H5LTset_attribute_int(w->file, "/", "seed", &s->seed, 1) >= 0;
    for (int i = 0; i < 3 && w->good; i++) {
        snprintf(text, sizeof text, "%016llx", (unsigned long long)s->checksum[i]);
        w->good = H5LTset_attribute_string(w->file, "/", files[i], text) >= 0;
    }
}

static lk_status put_axes(writer *w, const double *levels)
{
    lk_status st = LK_OK;
    const lk_joint_probe *p = w->p;
    double *at = NULL;
    LK_TRY(LK_NEW_ARRAY(&at, p->n_bins + p->n_blocks + p->n_heads));
    put_axis(w, LEVEL, levels, "1");
    for (int axis = BLOCK; axis < AXES; axis++) {
        for (int i = 0; i < (int)length(w, axis); i++)
            at[i] = axis == LAG ? (i - p->n_bins / 2) * p->bin_ms : i;
        put_axis(w, axis, at, axis == LAG ? "ms" : "1");
    }
done:
    lk_free(at);
    return st;
}

lk_status lk_attention_write(const char *path, const lk_joint_probe *p, const double *levels,
                             const lk_attention_source *source)
{
    lk_status st = LK_OK;
    writer w = {.file = H5I_INVALID_HID, .p = p, .good = 1};
    char *temporary = NULL;
    for (int i = 0; i < AXES; i++)
        w.axis[i] = H5I_INVALID_HID;
    lk_hdf5_start();
    lk_hdf5_lock();
    LK_TRY(LK_NEW_ARRAY(&temporary, strlen(path) + 6));
    sprintf(temporary, "%s.part", path);
    w.file = lk_hdf5_create(temporary);
    LK_REQUIRE(w.file >= 0, LK_E_IO, "cannot create '%s'", temporary);
    LK_TRY(put_axes(&w, levels));
    for (int s = 0; s < LK_JOINT_STREAMS; s++)
        for (int k = 0; k < LK_JOINT_SIGHTS; k++)
            LK_TRY(put_gaze(&w, lk_attention_looks[s][k], &p->gaze[s][k]));
    put_gradients(&w);
    put_source(&w, source);
done:
    for (int i = 0; i < AXES; i++)
        if (w.axis[i] >= 0)
            w.good &= H5Dclose(w.axis[i]) >= 0;
    if (w.file >= 0) {
        w.good &= H5Fclose(w.file) >= 0;
        if (st == LK_OK && !w.good)
            st = LK_FAIL(LK_E_IO, "cannot write '%s' (disk full?)", temporary);
        if (st == LK_OK && rename(temporary, path) != 0)
            st = LK_FAIL(LK_E_IO, "cannot rename '%s': %s", temporary, strerror(errno));
        if (st != LK_OK)
            unlink(temporary);
    }
    lk_hdf5_unlock();
    lk_free(temporary);
    return st;
}
