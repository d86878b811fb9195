/* dataset.c - see av/dataset.h: reading.  The tables of all shards are held; frames and samples are
 * read when asked for. */
#include "av/hdf5/internal.h"

#include "kernels/mem.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_CLIPS  (INT64_C(1) << 24)
#define MOST_EVENTS (INT64_C(1) << 28)

typedef struct shard {
    char *path;
    hid_t file, frames, samples;
    lk_dataset_format format;
    int64_t n_clips, n_frames, n_samples, n_events;
    lk_clip_row *row;
    char **text[LK_CLIP_TEXTS];
    lk_dataset_event *event;
} shard;

struct lk_dataset {
    int64_t n_shards;
    size_t room;
    shard *shard;
    int64_t n_clips;
    lk_dataset_format format;
    int64_t *first; /* [n_shards]: number of the first clip */
};

static lk_status damaged(const shard *s, const char *what)
{
    return LK_FAIL(LK_E_FORMAT, "'%s' is not a sound dataset: %s", s->path, what);
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* Column `name` of a table with n rows into 8-byte fields `stride` bytes apart. */
static lk_status get_column(const shard *s, const char *name, hid_t type, int64_t n, void *first,
                            size_t stride)
{
    lk_status st = LK_OK;
    hsize_t dims[1];
    char *values = NULL;
    if (!lk_hdf5_sizes(s->file, name, 1, dims) || (int64_t)dims[0] != n)
        LK_TRY(damaged(s, name));
    LK_TRY(LK_NEW_ARRAY(&values, (size_t)n * 8 + 1));
    if (n > 0 && H5LTread_dataset(s->file, name, type, values) < 0)
        LK_TRY(damaged(s, name));
    for (int64_t i = 0; i < n; i++)
        memcpy((char *)first + (size_t)i * stride, values + i * 8, 8);
done:
    lk_free(values);
    return st;
}

enum { LONGEST_TEXT = 1 << 16 };

/* Column of n texts of one fixed length; *text gets copies of our own. */
static lk_status get_texts(const shard *s, const char *name, int64_t n, char ***text)
{
    lk_status st = LK_OK;
    hsize_t dims[1];
    char *all = NULL;
    hid_t set = H5I_INVALID_HID, type = H5I_INVALID_HID;
    LK_TRY(LK_NEW_ARRAY(text, n + 1));
    if (lk_hdf5_sizes(s->file, name, 1, dims) && (int64_t)dims[0] == n) {
        set = H5Dopen2(s->file, name, H5P_DEFAULT);
        type = H5Dget_type(set);
    }
    const size_t length = type >= 0 ? H5Tget_size(type) : 0;
    if (length < 1 || length > LONGEST_TEXT || H5Tget_class(type) != H5T_STRING ||
        H5Tis_variable_str(type) != 0)
        LK_TRY(damaged(s, name));
    LK_TRY(LK_NEW_ARRAY(&all, (size_t)n * length + 1));
    if (n > 0 && H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, all) < 0)
        LK_TRY(damaged(s, name));
    for (int64_t i = 0; i < n; i++) {
        const char *from = all + (size_t)i * length;
        LK_TRY(LK_NEW_ARRAY(&(*text)[i], length + 1));
        memcpy((*text)[i], from, strnlen(from, length));
    }
done:
    lk_free(all);
    if (type >= 0)
        H5Tclose(type);
    if (set >= 0)
        H5Dclose(set);
    return st;
}

static void free_texts(char **text, int64_t n)
{
    for (int64_t i = 0; text && i < n; i++)
        lk_free(text[i]);
    lk_free(text);
}

/* Files without places have events that are nowhere. */
static lk_status get_places(shard *s)
{
    lk_status st = LK_OK;
    double(*rows)[4] = NULL;
    hsize_t dims[1];
    if (!lk_hdf5_sizes(s->file, lk_place_columns[0], 1, dims))
        goto done;
    LK_TRY(LK_NEW_ARRAY(&rows, s->n_events + 1));
    for (int k = 0; k < 4; k++)
        LK_TRY(get_column(s, lk_place_columns[k], H5T_NATIVE_DOUBLE, s->n_events, &rows[0][k],
                          sizeof *rows));
    for (int64_t i = 0; i < s->n_events; i++) {
        const double *r = rows[i];
        const int at = isfinite(r[0]) && isfinite(r[1]), to = isfinite(r[2]) && isfinite(r[3]);
        s->event[i].place = at && to ? lk_place_way(r[0], r[1], r[2], r[3])
                            : at     ? lk_place_at(r[0], r[1])
                                     : (lk_place){0};
    }
done:
    lk_free(rows);
    return st;
}

static lk_status get_events(shard *s)
{
    lk_status st = LK_OK;
    hsize_t dims[1];
    char **kind = NULL, **label = NULL;
    const size_t step = sizeof *s->event;
    if (!lk_hdf5_sizes(s->file, "events/start", 1, dims) || dims[0] > (hsize_t)MOST_EVENTS)
        return damaged(s, "events/start");
    s->n_events = (int64_t)dims[0];
    LK_TRY(LK_NEW_ARRAY(&s->event, s->n_events + 1));
    LK_TRY(
        get_column(s, "events/start", H5T_NATIVE_INT64, s->n_events, &s->event->span.start, step));
    LK_TRY(get_column(s, "events/end", H5T_NATIVE_INT64, s->n_events, &s->event->span.end, step));
    LK_TRY(get_column(s, "events/strength", H5T_NATIVE_DOUBLE, s->n_events, &s->event->strength,
                      step));
    LK_TRY(get_texts(s, "events/kind", s->n_events, &kind));
    LK_TRY(get_texts(s, "events/label", s->n_events, &label));
    for (int64_t i = 0; i < s->n_events; i++) {
        snprintf(s->event[i].kind, sizeof s->event[i].kind, "%s", kind[i]);
        snprintf(s->event[i].label, sizeof s->event[i].label, "%s", label[i]);
    }
    LK_TRY(get_places(s));
done:
    free_texts(kind, s->n_events);
    free_texts(label, s->n_events);
    return st;
}

static int within(int64_t first, int64_t n, int64_t all)
{
    return first >= 0 && n >= 0 && first <= all && n <= all - first;
}

static lk_status get_clips(shard *s)
{
    lk_status st = LK_OK;
    hsize_t dims[1];
    char name[64];
    if (!lk_hdf5_sizes(s->file, "clips/n_frames", 1, dims) || dims[0] > (hsize_t)MOST_CLIPS)
        return damaged(s, "clips");
    const int64_t n = (int64_t)dims[0];
    LK_TRY(LK_NEW_ARRAY(&s->row, n + 1));
    for (int i = 0; i < LK_CLIP_FIELDS; i++) {
        snprintf(name, sizeof name, "clips/%s", lk_clip_fields[i].name);
        LK_TRY(get_column(s, name, i + 1 < LK_CLIP_FIELDS ? H5T_NATIVE_INT64 : H5T_NATIVE_UINT64, n,
                          (char *)s->row + lk_clip_fields[i].offset, sizeof *s->row));
    }
    for (int i = 0; i < LK_CLIP_TEXTS; i++) {
        snprintf(name, sizeof name, "clips/%s", lk_clip_texts[i]);
        s->n_clips = n; /* what the texts are freed by */
        LK_TRY(get_texts(s, name, n, &s->text[i]));
    }
    for (int64_t i = 0; i < n; i++) {
        const lk_clip_row *r = &s->row[i];
        if (!within(r->first_frame, r->n_frames, s->n_frames) ||
            !within(r->first_sample, r->n_samples, s->n_samples) ||
            !within(r->first_event, r->n_events, s->n_events))
            LK_TRY(damaged(s, "a clip lies outside of it"));
    }
done:
    return st;
}

static lk_status get_arrays(shard *s)
{
    lk_status st = LK_OK;
    hsize_t dims[4];
    if (H5LTfind_dataset(s->file, "frames") == 1) {
        if (!lk_hdf5_sizes(s->file, "frames", 4, dims) || dims[3] != 3 || dims[1] == 0 ||
            dims[1] > 8192 || dims[2] == 0 || dims[2] > 8192)
            LK_TRY(damaged(s, "frames"));
        s->n_frames = (int64_t)dims[0];
        s->format.height = (int)dims[1];
        s->format.width = (int)dims[2];
        s->frames = H5Dopen2(s->file, "frames", H5P_DEFAULT);
    }
    if (H5LTfind_dataset(s->file, "samples") == 1) {
        if (!lk_hdf5_sizes(s->file, "samples", 2, dims) || dims[1] == 0 || dims[1] > 8 ||
            H5LTget_attribute_int(s->file, "samples", "rate_hz", &s->format.rate_hz) < 0 ||
            s->format.rate_hz <= 0)
            LK_TRY(damaged(s, "samples"));
        s->n_samples = (int64_t)dims[0];
        s->format.n_channels = (int)dims[1];
        s->samples = H5Dopen2(s->file, "samples", H5P_DEFAULT);
    }
done:
    return st;
}

/* A text attribute of the file; *text is the caller's. */
static lk_status get_attribute(const shard *s, const char *name, char **text)
{
    lk_status st = LK_OK;
    hsize_t dims;
    H5T_class_t class = H5T_NO_CLASS;
    size_t bytes = 0;
    if (H5Aexists(s->file, name) <= 0 ||
        H5LTget_attribute_info(s->file, "/", name, &dims, &class, &bytes) < 0 ||
        class != H5T_STRING || bytes > (1 << 20))
        LK_TRY(damaged(s, name));
    LK_TRY(LK_NEW_ARRAY(text, bytes + 1));
    if (H5LTget_attribute_string(s->file, "/", name, *text) < 0)
        LK_TRY(damaged(s, name));
done:
    return st;
}

static lk_status open_file(shard *s)
{
    lk_status st = LK_OK;
    char *format = NULL;
    s->file = H5Fopen(s->path, H5F_ACC_RDONLY, H5P_DEFAULT);
    LK_REQUIRE(s->file >= 0, access(s->path, R_OK) == 0 ? LK_E_FORMAT : LK_E_IO,
               "cannot read '%s' as HDF5", s->path);
    LK_TRY(get_attribute(s, "format", &format));
    if (strcmp(format, LK_DATASET_FORMAT) != 0)
        LK_TRY(damaged(s, "its format is not " LK_DATASET_FORMAT));
done:
    lk_free(format);
    return st;
}

static lk_status open_shard(shard *s)
{
    lk_status st = LK_OK;
    LK_TRY(open_file(s));
    LK_TRY(get_arrays(s));
    LK_TRY(get_events(s));
    LK_TRY(get_clips(s));
done:
    return st;
}

static void close_shard(shard *s)
{
    if (s->frames > 0)
        H5Dclose(s->frames);
    if (s->samples > 0)
        H5Dclose(s->samples);
    if (s->file > 0)
        H5Fclose(s->file);
    for (int i = 0; i < LK_CLIP_TEXTS; i++)
        free_texts(s->text[i], s->n_clips);
    lk_free(s->row);
    lk_free(s->event);
    lk_free(s->path);
}

/* ---- files ----------------------------------------------------------------------------------- */

static lk_status add_file(lk_dataset *d, const char *folder, const char *name)
{
    lk_status st = LK_OK;
    LK_TRY(LK_GROW(&d->shard, &d->room, (size_t)d->n_shards + 1));
    shard *s = &d->shard[d->n_shards];
    memset(s, 0, sizeof *s);
    LK_TRY(LK_NEW_ARRAY(&s->path, strlen(folder) + strlen(name) + 2));
    d->n_shards++;
    sprintf(s->path, "%s%s%s", folder, *folder ? "/" : "", name);
done:
    return st;
}

static int is_h5(const struct dirent *e)
{
    const size_t n = strlen(e->d_name);
    return n > 3 && strcmp(e->d_name + n - 3, ".h5") == 0;
}

static lk_status add_path(lk_dataset *d, const char *path)
{
    lk_status st = LK_OK;
    struct dirent **entry = NULL;
    struct stat facts;
    int n = 0;
    LK_REQUIRE(stat(path, &facts) == 0, LK_E_IO, "cannot read '%s': %s", path, strerror(errno));
    if (!S_ISDIR(facts.st_mode))
        return add_file(d, "", path);
    n = scandir(path, &entry, is_h5, alphasort);
    LK_REQUIRE(n >= 0, LK_E_IO, "cannot read '%s': %s", path, strerror(errno));
    LK_REQUIRE(n > 0, LK_E_EMPTY, "no .h5 file in '%s'; lockstep pack makes them", path);
    for (int i = 0; i < n; i++)
        LK_TRY(add_file(d, path, entry[i]->d_name));
done:
    for (int i = 0; i < n; i++)
        free(entry[i]);
    free(entry);
    return st;
}

/* Take over what shard s has and the dataset did not have yet; false when they differ. */
static int join_format(lk_dataset_format *all, const lk_dataset_format *s)
{
    if (s->width > 0 && all->width == 0) {
        all->width = s->width;
        all->height = s->height;
    }
    if (s->rate_hz > 0 && all->rate_hz == 0) {
        all->rate_hz = s->rate_hz;
        all->n_channels = s->n_channels;
    }
    return (s->width == 0 || (s->width == all->width && s->height == all->height)) &&
           (s->rate_hz == 0 || (s->rate_hz == all->rate_hz && s->n_channels == all->n_channels));
}

static lk_status open_all(lk_dataset *d)
{
    lk_status st = LK_OK;
    lk_hdf5_start();
    for (int64_t i = 0; i < d->n_shards; i++) {
        LK_TRY(open_shard(&d->shard[i]));
        LK_REQUIRE(join_format(&d->format, &d->shard[i].format), LK_E_FORMAT,
                   "'%s' differs in picture size or sample rate from files before it; pack them "
                   "alike",
                   d->shard[i].path);
        d->first[i] = d->n_clips;
        d->n_clips += d->shard[i].n_clips;
    }
done:
    return st;
}

lk_status lk_dataset_open(lk_dataset **out, const char *const *paths, int64_t n)
{
    lk_status st = LK_OK;
    lk_dataset *d = NULL;
    LK_TRY(LK_NEW(&d));
    for (int64_t i = 0; i < n; i++)
        LK_TRY(add_path(d, paths[i]));
    LK_TRY(LK_NEW_ARRAY(&d->first, d->n_shards + 1));
    lk_hdf5_lock();
    st = open_all(d);
    lk_hdf5_unlock();
    LK_TRY(st);
    LK_REQUIRE(d->n_clips > 0, LK_E_EMPTY, "the dataset holds no clip");
    *out = d;
    d = NULL;
done:
    lk_dataset_close(&d);
    return st;
}

void lk_dataset_close(lk_dataset **d)
{
    if (!d || !*d)
        return;
    lk_hdf5_lock();
    for (int64_t i = 0; i < (*d)->n_shards; i++)
        close_shard(&(*d)->shard[i]);
    lk_hdf5_unlock();
    lk_free((*d)->shard);
    lk_free((*d)->first);
    lk_free(*d);
    *d = NULL;
}

/* ---- clips ----------------------------------------------------------------------------------- */

lk_status lk_dataset_settings(const char *path, char **settings)
{
    lk_status st = LK_OK;
    shard s = {0};
    LK_TRY(lk_strdup(path, &s.path));
    lk_hdf5_lock();
    lk_hdf5_start();
    st = open_file(&s);
    if (st == LK_OK)
        st = get_attribute(&s, "settings", settings);
    close_shard(&s);
    lk_hdf5_unlock();
done:
    return st;
}

lk_dataset_format lk_dataset_get_format(const lk_dataset *d)
{
    return d->format;
}

int64_t lk_dataset_n_clips(const lk_dataset *d)
{
    return d->n_clips;
}

static const shard *shard_of(const lk_dataset *d, int64_t i, int64_t *row)
{
    int64_t lo = 0, hi = d->n_shards; /* the last shard that starts at or before clip i */
    LK_ASSERT(i >= 0 && i < d->n_clips);
    while (hi - lo > 1) {
        const int64_t mid = lo + (hi - lo) / 2;
        if (d->first[mid] <= i)
            lo = mid;
        else
            hi = mid;
    }
    *row = i - d->first[lo];
    return &d->shard[lo];
}

lk_dataset_clip lk_dataset_get_clip(const lk_dataset *d, int64_t i)
{
    int64_t k;
    const shard *s = shard_of(d, i, &k);
    return (lk_dataset_clip){.name = s->text[0][k],
                             .caption = s->text[1][k],
                             .source = s->text[2][k],
                             .n_frames = s->row[k].n_frames,
                             .n_samples = s->row[k].n_samples,
                             .n_events = s->row[k].n_events,
                             .audio_start = s->row[k].audio_start};
}

const lk_dataset_event *lk_dataset_events(const lk_dataset *d, int64_t i)
{
    int64_t k;
    const shard *s = shard_of(d, i, &k);
    return s->event + s->row[k].first_event;
}

static int read_spans(const shard *s, int64_t from, int64_t n, lk_span *spans)
{
    static const char *const names[2] = {"frame_start", "frame_end"};
    const hsize_t row[4] = {0};
    int64_t *column = NULL;
    int good = lk_alloc_((size_t)n, sizeof *column, (void **)&column) == LK_OK;
    for (int k = 0; k < 2 && good; k++) {
        const hid_t set = H5Dopen2(s->file, names[k], H5P_DEFAULT);
        good = set >= 0 && lk_hdf5_read(set, H5T_NATIVE_INT64, 1, row, from, n, column);
        for (int64_t i = 0; i < n && good; i++)
            *(k == 0 ? &spans[i].start : &spans[i].end) = column[i];
        if (set >= 0)
            H5Dclose(set);
    }
    lk_free(column);
    return good;
}

lk_status lk_dataset_frames(lk_dataset *d, int64_t i, int64_t from, int64_t n, uint8_t *rgb,
                            lk_span *spans)
{
    lk_status st = LK_OK;
    int64_t k;
    const shard *s = shard_of(d, i, &k);
    const hsize_t row[4] = {0, (hsize_t)s->format.height, (hsize_t)s->format.width, 3};
    LK_REQUIRE(within(from, n, s->row[k].n_frames), LK_E_ARG,
               "clip '%s' has %lld frames, not %lld from %lld on", s->text[0][k],
               (long long)s->row[k].n_frames, (long long)n, (long long)from);
    if (n == 0)
        goto done;
    lk_hdf5_lock();
    const int good = (!rgb || lk_hdf5_read(s->frames, H5T_NATIVE_UINT8, 4, row,
                                           s->row[k].first_frame + from, n, rgb)) &&
                     (!spans || read_spans(s, s->row[k].first_frame + from, n, spans));
    lk_hdf5_unlock();
    if (!good)
        LK_TRY(damaged(s, "frames cannot be read"));
done:
    return st;
}

static lk_status read_pcm(const shard *s, int64_t k, int64_t from, int64_t n, int16_t *pcm)
{
    lk_status st = LK_OK;
    const hsize_t row[4] = {0, (hsize_t)s->format.n_channels};
    lk_hdf5_lock();
    const int good = n == 0 || lk_hdf5_read(s->samples, H5T_NATIVE_INT16, 2, row,
                                            s->row[k].first_sample + from, n, pcm);
    lk_hdf5_unlock();
    if (!good)
        LK_TRY(damaged(s, "samples cannot be read"));
done:
    return st;
}

lk_status lk_dataset_samples(lk_dataset *d, int64_t i, int64_t from, int64_t n, float *pcm)
{
    lk_status st = LK_OK;
    int64_t k;
    int16_t *raw = NULL;
    const shard *s = shard_of(d, i, &k);
    const int64_t all = n * s->format.n_channels;
    LK_REQUIRE(within(from, n, s->row[k].n_samples), LK_E_ARG,
               "clip '%s' has %lld samples, not %lld from %lld on", s->text[0][k],
               (long long)s->row[k].n_samples, (long long)n, (long long)from);
    LK_TRY(LK_NEW_ARRAY(&raw, all + 1));
    LK_TRY(read_pcm(s, k, from, n, raw));
    for (int64_t j = 0; j < all; j++)
        pcm[j] = (float)raw[j] / 32768;
done:
    lk_free(raw);
    return st;
}

lk_status lk_dataset_check(lk_dataset *d, int64_t i)
{
    lk_status st = LK_OK;
    int64_t k;
    const shard *s = shard_of(d, i, &k);
    const lk_clip_row *r = &s->row[k];
    lk_span *spans = NULL;
    uint8_t *rgb = NULL;
    int16_t *pcm = NULL;
    LK_TRY(LK_NEW_ARRAY(&spans, r->n_frames + 1));
    LK_TRY(LK_NEW_ARRAY(&rgb, r->n_frames * s->format.width * s->format.height * 3 + 1));
    LK_TRY(LK_NEW_ARRAY(&pcm, r->n_samples * s->format.n_channels + 1));
    LK_TRY(lk_dataset_frames(d, i, 0, r->n_frames, rgb, spans));
    LK_TRY(read_pcm(s, k, 0, r->n_samples, pcm));
    const lk_dataset_clip c = {.n_frames = r->n_frames,
                               .n_samples = r->n_samples,
                               .spans = spans,
                               .frames = rgb,
                               .pcm = pcm};
    LK_REQUIRE(lk_clip_checksum(&c, &s->format) == r->checksum, LK_E_FORMAT,
               "clip '%s' of '%s' is damaged: its checksum differs", s->text[0][k], s->path);
done:
    lk_free(spans);
    lk_free(rgb);
    lk_free(pcm);
    return st;
}
