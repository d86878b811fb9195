/* curves.c - see av/h5.h. */
#include "av/h5.h"
#include "av/hdf5/internal.h"

#include "kernels/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_POINTS (INT64_C(1) << 28)

struct lk_h5_writer {
    hid_t file, clips;
    char *path, *part;
};

static lk_status trouble(const char *what, const char *path)
{
    return LK_FAIL(LK_E_IO, "cannot write %s to '%s' (disk full?)", what, path);
}

static void clip_name(int64_t index, char *text, size_t bytes)
{
    snprintf(text, bytes, "%06lld", (long long)index);
}

/* A group or dataset name must not hold a slash. */
static void safe_name(const char *name, char *out, size_t bytes)
{
    snprintf(out, bytes, "%s", name);
    for (char *c = out; *c; c++) {
        if (*c == '/')
            *c = '_';
    }
}

/* ---- writing --------------------------------------------------------------------------------- */

static bool open_existing(lk_h5_writer *w)
{
    if (access(w->part, R_OK | W_OK) != 0 && rename(w->path, w->part) != 0)
        return false;
    w->file = H5Fopen(w->part, H5F_ACC_RDWR, H5P_DEFAULT);
    if (w->file < 0)
        return false;
    w->clips = H5Gopen2(w->file, "clips", H5P_DEFAULT);
    if (w->clips >= 0)
        return true;
    H5Fclose(w->file);
    w->file = H5I_INVALID_HID;
    return false;
}

lk_status lk_h5_create(lk_h5_writer **writer, const char *path, bool resume)
{
    lk_status st = LK_OK;
    lk_h5_writer *w = NULL;
    struct stat facts;
    lk_hdf5_start();
    LK_REQUIRE(stat(path, &facts) != 0 || !S_ISDIR(facts.st_mode), LK_E_IO,
               "cannot write '%s': it is a folder", path);
    LK_TRY(LK_NEW(&w));
    w->file = w->clips = H5I_INVALID_HID;
    LK_TRY(lk_strdup(path, &w->path));
    LK_TRY(LK_NEW_ARRAY(&w->part, strlen(path) + 6));
    sprintf(w->part, "%s.part", path);
    if (!resume || !open_existing(w)) {
        w->file = H5Fcreate(w->part, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
        LK_REQUIRE(w->file >= 0, LK_E_IO, "cannot create '%s': %s", w->part,
                   errno ? strerror(errno) : "HDF5 refuses");
        w->clips = H5Gcreate2(w->file, "clips", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        if (w->clips < 0)
            LK_TRY(trouble("the first group", w->part));
    }
    *writer = w;
    w = NULL;
done:
    lk_h5_close(&w);
    return st;
}

bool lk_h5_has_clip(const lk_h5_writer *w, int64_t index)
{
    char name[24];
    clip_name(index, name, sizeof name);
    hid_t group = H5Gopen2(w->clips, name, H5P_DEFAULT);
    if (group < 0)
        return false;
    const bool whole = H5Aexists(group, "complete") > 0;
    H5Gclose(group);
    return whole;
}

/* Every value under one group with its axis; rank 1 or 2. */
static herr_t put_values(hid_t parent, const char *name, int rank, const hsize_t *dims,
                         const float *values, const char *unit)
{
    char safe[128];
    safe_name(name, safe, sizeof safe);
    hid_t group = H5Gcreate2(parent, safe, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    herr_t bad = group < 0 ? -1 : H5LTmake_dataset_float(group, "values", rank, dims, values);
    if (bad >= 0 && unit)
        bad = H5LTset_attribute_string(group, "values", "unit", unit);
    if (group >= 0)
        H5Gclose(group);
    return bad;
}

static herr_t put_axis(hid_t parent, const char *name, const char *axis, hsize_t n,
                       const double *at, unsigned dimension)
{
    char path[192], safe[128];
    safe_name(name, safe, sizeof safe);
    snprintf(path, sizeof path, "%s/%s", safe, axis);
    herr_t bad = H5LTmake_dataset_double(parent, path, 1, &n, at);
    hid_t scale = bad < 0 ? -1 : H5Dopen2(parent, path, H5P_DEFAULT);
    snprintf(path, sizeof path, "%s/values", safe);
    hid_t values = bad < 0 ? -1 : H5Dopen2(parent, path, H5P_DEFAULT);
    if (bad >= 0 && n > 0 && H5DSset_scale(scale, axis) >= 0)
        bad = H5DSattach_scale(values, scale, dimension);
    if (scale >= 0)
        H5Dclose(scale);
    if (values >= 0)
        H5Dclose(values);
    return bad;
}

static herr_t put_score(hid_t parent, const lk_result_score *s)
{
    char safe[128];
    safe_name(s->name, safe, sizeof safe);
    hid_t group = H5Gcreate2(parent, safe, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (group < 0)
        return -1;
    const struct {
        const char *name;
        double value;
    } row[] = {{"value", s->value},   {"lo", s->lo}, {"hi", s->hi},
               {"chance", s->chance}, {"p", s->p},   {"n", (double)s->n}};
    herr_t bad = H5LTset_attribute_string(group, ".", "unit", s->unit);
    for (size_t i = 0; i < sizeof row / sizeof row[0] && bad >= 0; i++)
        bad = H5LTset_attribute_double(group, ".", row[i].name, &row[i].value, 1);
    H5Gclose(group);
    return bad;
}

static hid_t sub_group(hid_t parent, const char *name)
{
    return H5Gcreate2(parent, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
}

static herr_t put_curves(hid_t clip, const lk_clip_result *r)
{
    herr_t bad = 0;
    hid_t group = sub_group(clip, "curves");
    for (int64_t i = 0; i < r->n_curves && bad >= 0; i++) {
        const lk_result_curve *c = &r->curves[i];
        const hsize_t n = (hsize_t)c->n;
        bad = put_values(group, c->name, 1, &n, c->values, c->unit);
        if (bad >= 0)
            bad = put_axis(group, c->name, "t_s", n, c->t_s, 0);
    }
    if (group < 0)
        return -1;
    H5Gclose(group);
    return bad;
}

static herr_t put_marks(hid_t clip, const lk_clip_result *r)
{
    herr_t bad = 0;
    hid_t group = sub_group(clip, "marks");
    for (int64_t i = 0; i < r->n_marks && bad >= 0; i++) {
        char safe[128];
        const hsize_t n = (hsize_t)r->marks[i].n;
        safe_name(r->marks[i].name, safe, sizeof safe);
        bad = H5LTmake_dataset_double(group, safe, 1, &n, r->marks[i].t_s);
        if (bad >= 0)
            bad = H5LTset_attribute_string(group, safe, "unit", "s");
    }
    if (group < 0)
        return -1;
    H5Gclose(group);
    return bad;
}

static herr_t put_lags(hid_t clip, const lk_clip_result *r)
{
    herr_t bad = 0;
    hid_t curves = sub_group(clip, "lag_curves"), maps = sub_group(clip, "lag_maps");
    for (int64_t i = 0; i < r->n_lag_curves && bad >= 0; i++) {
        const lk_result_lag_curve *c = &r->lag_curves[i];
        const hsize_t n = (hsize_t)c->n;
        bad = put_values(curves, c->name, 1, &n, c->values, NULL);
        if (bad >= 0)
            bad = put_axis(curves, c->name, "lag_ms", n, c->lag_ms, 0);
    }
    for (int64_t i = 0; i < r->n_lag_maps && bad >= 0; i++) {
        const lk_result_lag_map *m = &r->lag_maps[i];
        const hsize_t dims[2] = {(hsize_t)m->n_times, (hsize_t)m->n_lags};
        bad = put_values(maps, m->name, 2, dims, m->values, NULL);
        if (bad >= 0)
            bad = put_axis(maps, m->name, "t_s", dims[0], m->t_s, 0);
        if (bad >= 0)
            bad = put_axis(maps, m->name, "lag_ms", dims[1], m->lag_ms, 1);
    }
    if (curves < 0 || maps < 0)
        return -1;
    H5Gclose(curves);
    H5Gclose(maps);
    return bad;
}

lk_status lk_h5_add_clip(lk_h5_writer *w, int64_t index, const lk_clip_result *r)
{
    lk_status st = LK_OK;
    char name[24];
    herr_t bad = 0;
    const int one = 1;
    clip_name(index, name, sizeof name);
    if (H5Lexists(w->clips, name, H5P_DEFAULT) > 0) /* a killed run left it unfinished */
        H5Ldelete(w->clips, name, H5P_DEFAULT);
    hid_t clip = sub_group(w->clips, name), scores = H5I_INVALID_HID;
    if (clip < 0)
        return trouble("a clip", w->part);
    bad |= H5LTset_attribute_string(clip, ".", "clip", r->clip);
    bad |= H5LTset_attribute_string(clip, ".", "status", r->failed ? "failed" : "ok");
    bad |= H5LTset_attribute_double(clip, ".", "duration_s", &r->duration_s, 1);
    bad |= H5LTset_attribute_double(clip, ".", "container_offset_ms", &r->container_offset_ms, 1);
    bad |= put_curves(clip, r);
    bad |= put_marks(clip, r);
    bad |= put_lags(clip, r);
    scores = sub_group(clip, "scores");
    for (int64_t i = 0; i < r->n_scores && scores >= 0; i++)
        bad |= put_score(scores, &r->scores[i]);
    bad |= H5LTset_attribute_int(clip, ".", "complete", &one, 1);
    if (scores >= 0)
        H5Gclose(scores);
    H5Gclose(clip);
    bad |= H5Fflush(w->file, H5F_SCOPE_GLOBAL);
    if (bad < 0 || scores < 0)
        LK_TRY(trouble("the curves of a clip", w->part));
done:
    return st;
}

static herr_t close_file(lk_h5_writer *w)
{
    herr_t bad = 0;
    if (w->clips >= 0)
        bad |= H5Gclose(w->clips);
    if (w->file >= 0)
        bad |= H5Fclose(w->file);
    w->clips = w->file = H5I_INVALID_HID;
    return bad;
}

lk_status lk_h5_finish(lk_h5_writer *w)
{
    lk_status st = LK_OK;
    if (close_file(w) < 0)
        return trouble("the end", w->part);
    LK_REQUIRE(rename(w->part, w->path) == 0, LK_E_IO, "cannot rename '%s': %s", w->part,
               strerror(errno));
done:
    return st;
}

void lk_h5_close(lk_h5_writer **writer)
{
    if (!writer || !*writer)
        return;
    close_file(*writer);
    lk_free((*writer)->path);
    lk_free((*writer)->part);
    lk_free(*writer);
    *writer = NULL;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Length of a one-dimensional dataset, or of both axes of a two-dimensional one; false when it is
 * not there, has another rank or is too large. */
static bool size_of(hid_t parent, const char *path, int want_rank, hsize_t dims[2])
{
    int rank = 0;
    H5T_class_t class = H5T_NO_CLASS;
    size_t bytes = 0;
    dims[0] = dims[1] = 1;
    return H5LTfind_dataset(parent, path) >= 0 && H5LTget_dataset_ndims(parent, path, &rank) >= 0 &&
           rank == want_rank && H5LTget_dataset_info(parent, path, dims, &class, &bytes) >= 0 &&
           class == H5T_FLOAT && dims[0] < (hsize_t)MAX_POINTS && dims[1] < (hsize_t)MAX_POINTS &&
           dims[0] * dims[1] < (hsize_t)MAX_POINTS;
}

static lk_status read_doubles(hid_t parent, const char *path, hsize_t n, double **out)
{
    lk_status st = LK_OK;
    hsize_t dims[2];
    LK_REQUIRE(size_of(parent, path, 1, dims) && dims[0] == n, LK_E_FORMAT,
               "the curves file is damaged at '%s'", path);
    LK_TRY(LK_NEW_ARRAY(out, n + 1));
    LK_REQUIRE(n == 0 || H5LTread_dataset_double(parent, path, *out) >= 0, LK_E_FORMAT,
               "the curves file is damaged at '%s'", path);
done:
    return st;
}

static lk_status read_floats(hid_t parent, const char *path, hsize_t n, float **out)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW_ARRAY(out, n + 1));
    LK_REQUIRE(n == 0 || H5LTread_dataset_float(parent, path, *out) >= 0, LK_E_FORMAT,
               "the curves file is damaged at '%s'", path);
done:
    return st;
}

static void read_unit(hid_t group, const char *dataset, char unit[64])
{
    hsize_t dims = 0;
    H5T_class_t class = H5T_NO_CLASS;
    size_t bytes = 0;
    unit[0] = '\0';
    if (H5LTget_attribute_info(group, dataset, "unit", &dims, &class, &bytes) >= 0 &&
        class == H5T_STRING && bytes < 64)
        H5LTget_attribute_string(group, dataset, "unit", unit);
    unit[63] = '\0';
}

static lk_status read_curve(hid_t group, const char *name, lk_clip_result *r)
{
    lk_status st = LK_OK;
    const lk_sink sink = lk_clip_result_sink(r);
    char path[192], unit[64];
    double *t = NULL;
    float *values = NULL;
    hsize_t dims[2];
    snprintf(path, sizeof path, "%s/values", name);
    LK_REQUIRE(size_of(group, path, 1, dims), LK_E_FORMAT, "the curves file is damaged at '%s'",
               name);
    LK_TRY(read_floats(group, path, dims[0], &values));
    read_unit(group, path, unit);
    snprintf(path, sizeof path, "%s/t_s", name);
    LK_TRY(read_doubles(group, path, dims[0], &t));
    LK_TRY(sink.curve(sink.user, name, unit, (int64_t)dims[0], t, values));
done:
    lk_free(t);
    lk_free(values);
    return st;
}

static lk_status read_marks(hid_t group, const char *name, lk_clip_result *r)
{
    lk_status st = LK_OK;
    const lk_sink sink = lk_clip_result_sink(r);
    double *t = NULL;
    hsize_t dims[2];
    LK_REQUIRE(size_of(group, name, 1, dims), LK_E_FORMAT, "the curves file is damaged at '%s'",
               name);
    LK_TRY(read_doubles(group, name, dims[0], &t));
    LK_TRY(sink.marks(sink.user, name, (int64_t)dims[0], t));
done:
    lk_free(t);
    return st;
}

static lk_status read_lag_curve(hid_t group, const char *name, lk_clip_result *r)
{
    lk_status st = LK_OK;
    const lk_sink sink = lk_clip_result_sink(r);
    char path[192];
    double *lag = NULL;
    float *values = NULL;
    hsize_t dims[2];
    snprintf(path, sizeof path, "%s/values", name);
    LK_REQUIRE(size_of(group, path, 1, dims), LK_E_FORMAT, "the curves file is damaged at '%s'",
               name);
    LK_TRY(read_floats(group, path, dims[0], &values));
    snprintf(path, sizeof path, "%s/lag_ms", name);
    LK_TRY(read_doubles(group, path, dims[0], &lag));
    LK_TRY(sink.lag_curve(sink.user, name, (int64_t)dims[0], lag, values));
done:
    lk_free(lag);
    lk_free(values);
    return st;
}

static lk_status read_lag_map(hid_t group, const char *name, lk_clip_result *r)
{
    lk_status st = LK_OK;
    const lk_sink sink = lk_clip_result_sink(r);
    char path[192];
    double *lag = NULL, *t = NULL;
    float *values = NULL;
    hsize_t dims[2];
    snprintf(path, sizeof path, "%s/values", name);
    LK_REQUIRE(size_of(group, path, 2, dims), LK_E_FORMAT, "the curves file is damaged at '%s'",
               name);
    LK_TRY(read_floats(group, path, dims[0] * dims[1], &values));
    snprintf(path, sizeof path, "%s/t_s", name);
    LK_TRY(read_doubles(group, path, dims[0], &t));
    snprintf(path, sizeof path, "%s/lag_ms", name);
    LK_TRY(read_doubles(group, path, dims[1], &lag));
    LK_TRY(sink.lag_map(sink.user, name, (int64_t)dims[0], t, (int64_t)dims[1], lag, values));
done:
    lk_free(lag);
    lk_free(t);
    lk_free(values);
    return st;
}

/* Call read for every member of clip/kind, in the order of names. */
static lk_status read_group(hid_t clip, const char *kind,
                            lk_status (*read)(hid_t, const char *, lk_clip_result *),
                            lk_clip_result *r)
{
    lk_status st = LK_OK;
    H5G_info_t facts = {0};
    hid_t group = H5Gopen2(clip, kind, H5P_DEFAULT);
    LK_REQUIRE(group >= 0 && H5Gget_info(group, &facts) >= 0, LK_E_FORMAT,
               "the curves file has no group '%s'", kind);
    for (hsize_t i = 0; i < facts.nlinks; i++) {
        char name[128];
        const ssize_t n = H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name,
                                             sizeof name, H5P_DEFAULT);
        LK_REQUIRE(n > 0 && n < (ssize_t)sizeof name, LK_E_FORMAT,
                   "the curves file has an unreadable name in '%s'", kind);
        LK_TRY(read(group, name, r));
    }
done:
    if (group >= 0)
        H5Gclose(group);
    return st;
}

lk_status lk_h5_read_clip(const char *path, int64_t index, lk_clip_result *r)
{
    lk_status st = LK_OK;
    char name[40], number[24];
    hid_t clip = H5I_INVALID_HID;
    lk_hdf5_start();
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    LK_REQUIRE(file >= 0, access(path, R_OK) == 0 ? LK_E_FORMAT : LK_E_IO,
               "cannot read '%s' as HDF5", path);
    clip_name(index, number, sizeof number);
    snprintf(name, sizeof name, "clips/%s", number);
    clip = H5Gopen2(file, name, H5P_DEFAULT);
    LK_REQUIRE(clip >= 0, LK_E_FORMAT, "'%s' has no curves of clip %lld", path, (long long)index);
    LK_TRY(read_group(clip, "curves", read_curve, r));
    LK_TRY(read_group(clip, "marks", read_marks, r));
    LK_TRY(read_group(clip, "lag_curves", read_lag_curve, r));
    LK_TRY(read_group(clip, "lag_maps", read_lag_map, r));
done:
    if (clip >= 0)
        H5Gclose(clip);
    if (file >= 0)
        H5Fclose(file);
    return st;
}
