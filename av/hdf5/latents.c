/* latents.c - see av/latents.h. */
#include "av/latents.h"
#include "av/hdf5/internal.h"
#include "av/version.h"

#include "kernels/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FORMAT "lockstep-latents-1"

enum { IN_CHUNK = 16 };

/* The arrays, whether they are written or read; < 0 where there is none. */
typedef struct arrays {
    hid_t file, latents, time, tokens, numbers, span;
} arrays;

static const arrays no_arrays = {-1, -1, -1, -1, -1, -1};

static int close_arrays(arrays *a)
{
    int good = 1;
    const hid_t set[] = {a->latents, a->time, a->tokens, a->numbers, a->span};
    for (size_t i = 0; i < sizeof set / sizeof set[0]; i++) {
        if (set[i] >= 0)
            good &= H5Dclose(set[i]) >= 0;
    }
    if (a->file >= 0)
        good &= H5Fclose(a->file) >= 0;
    *a = no_arrays;
    return good;
}

static void picture_row(const lk_latents_video *v, hsize_t row[4])
{
    row[0] = 0;
    row[1] = (hsize_t)v->rows;
    row[2] = (hsize_t)v->columns;
    row[3] = (hsize_t)v->channels;
}

/* ---- writing --------------------------------------------------------------------------------- */

struct lk_latents_writer {
    char *path, *part;
    arrays a;
    lk_latents_video video;
    lk_latents_audio audio;
    int64_t n_video, n_audio;
};

static lk_status trouble(const lk_latents_writer *w, const char *what)
{
    return LK_FAIL(LK_E_IO, "cannot write %s to '%s' (disk full?)", what, w->part);
}

static int make_group(hid_t file, const char *name)
{
    const hid_t g = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    return g >= 0 && H5Gclose(g) >= 0;
}

static lk_status make_arrays(lk_latents_writer *w)
{
    lk_status st = LK_OK;
    arrays *a = &w->a;
    hsize_t row[4];
    const hsize_t times[4] = {0, LK_LATENTS_TIMES}, tokens[4] = {0, (hsize_t)w->audio.stages},
                  numbers[4] = {0, (hsize_t)w->audio.continuous}, span[4] = {0, 2};
    if (w->video.rows > 0) {
        picture_row(&w->video, row);
        if (!make_group(a->file, "video") ||
            (a->latents = lk_hdf5_growing(a->file, "video/latents", H5T_IEEE_F32LE, 4, row, 1, 0)) <
                0 ||
            (a->time =
                 lk_hdf5_growing(a->file, "video/time", H5T_STD_I64LE, 2, times, IN_CHUNK, 0)) < 0)
            LK_TRY(trouble(w, "the video's latents"));
    }
    if (w->audio.rate_hz > 0 && !make_group(a->file, "audio"))
        LK_TRY(trouble(w, "the sound's latents"));
    if (w->audio.stages > 0 && (a->tokens = lk_hdf5_growing(a->file, "audio/tokens", H5T_STD_U16LE,
                                                            2, tokens, 256, 0)) < 0)
        LK_TRY(trouble(w, "tokens"));
    if (w->audio.continuous > 0 &&
        (a->numbers =
             lk_hdf5_growing(a->file, "audio/latents", H5T_IEEE_F32LE, 2, numbers, 64, 0)) < 0)
        LK_TRY(trouble(w, "the sound's latents"));
    if (w->audio.rate_hz > 0 &&
        (a->span = lk_hdf5_growing(a->file, "audio/time", H5T_STD_I64LE, 2, span, 256, 0)) < 0)
        LK_TRY(trouble(w, "times"));
done:
    return st;
}

lk_status lk_latents_create(lk_latents_writer **out, const char *path,
                            const lk_latents_video *video, const lk_latents_audio *audio,
                            const char *source)
{
    lk_status st = LK_OK;
    lk_latents_writer *w = NULL;
    LK_TRY(LK_NEW(&w));
    w->a = no_arrays;
    w->video = *video;
    w->audio = *audio;
    LK_TRY(lk_strdup(path, &w->path));
    LK_TRY(LK_NEW_ARRAY(&w->part, strlen(path) + 6));
    sprintf(w->part, "%s.part", path);
    lk_hdf5_start();
    errno = 0;
    w->a.file = lk_hdf5_create(w->part);
    LK_REQUIRE(w->a.file >= 0, LK_E_IO, "cannot create '%s': %s", w->part,
               errno ? strerror(errno) : "HDF5 refuses");
    LK_TRY(make_arrays(w));
    if (H5LTset_attribute_string(w->a.file, "/", "commit", lk_build_commit()) < 0 ||
        H5LTset_attribute_string(w->a.file, "/", "source", source) < 0)
        LK_TRY(trouble(w, "the source"));
    *out = w;
    w = NULL;
done:
    lk_latents_writer_close(&w);
    return st;
}

lk_status lk_latents_add_video(lk_latents_writer *w, const float *latent, const int64_t *time)
{
    hsize_t row[4];
    const hsize_t times[4] = {0, LK_LATENTS_TIMES};
    picture_row(&w->video, row);
    if (!lk_hdf5_append(w->a.latents, H5T_NATIVE_FLOAT, 4, row, w->n_video, 1, latent) ||
        !lk_hdf5_append(w->a.time, H5T_NATIVE_INT64, 2, times, w->n_video, 1, time))
        return trouble(w, "a latent");
    w->n_video++;
    return LK_OK;
}

lk_status lk_latents_add_audio(lk_latents_writer *w, int64_t n, const uint16_t *tokens,
                               const float *latents, const lk_span *spans)
{
    const hsize_t token_row[4] = {0, (hsize_t)w->audio.stages},
                  row[4] = {0, (hsize_t)w->audio.continuous}, span[4] = {0, 2};
    if ((w->a.tokens >= 0 &&
         !lk_hdf5_append(w->a.tokens, H5T_NATIVE_UINT16, 2, token_row, w->n_audio, n, tokens)) ||
        (w->a.numbers >= 0 &&
         !lk_hdf5_append(w->a.numbers, H5T_NATIVE_FLOAT, 2, row, w->n_audio, n, latents)) ||
        !lk_hdf5_append(w->a.span, H5T_NATIVE_INT64, 2, span, w->n_audio, n, spans))
        return trouble(w, "latents");
    w->n_audio += n;
    return LK_OK;
}

static int put_number(hid_t file, const char *group, const char *name, int64_t value)
{
    const long long v = value;
    return H5LTset_attribute_long_long(file, group, name, &v, 1) >= 0;
}

static int put_checksum(hid_t file, const char *group, uint64_t value)
{
    char text[20];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)value);
    return H5LTset_attribute_string(file, group, "tokenizer", text) >= 0;
}

lk_status lk_latents_finish(lk_latents_writer *w, const lk_latents_audio *audio)
{
    lk_status st = LK_OK;
    const hid_t f = w->a.file;
    int good = H5LTset_attribute_string(f, "/", "format", FORMAT) >= 0;
    w->audio = audio ? *audio : w->audio;
    if (w->video.rows > 0)
        good &= put_number(f, "video", "width", w->video.width) &&
                put_number(f, "video", "height", w->video.height) &&
                put_checksum(f, "video", w->video.tokenizer);
    if (w->audio.rate_hz > 0)
        good &= put_number(f, "audio", "rate_hz", w->audio.rate_hz) &&
                put_number(f, "audio", "channels", w->audio.channels) &&
                put_number(f, "audio", "mode", w->audio.mode) &&
                put_number(f, "audio", "start", w->audio.start) &&
                put_number(f, "audio", "n_samples", w->audio.n_samples) &&
                put_checksum(f, "audio", w->audio.tokenizer);
    good &= close_arrays(&w->a);
    if (!good)
        LK_TRY(trouble(w, "the end"));
    LK_REQUIRE(rename(w->part, w->path) == 0, LK_E_IO, "cannot rename '%s': %s", w->part,
               strerror(errno));
    lk_free(w->part);
    w->part = NULL;
done:
    return st;
}

void lk_latents_writer_close(lk_latents_writer **writer)
{
    if (!writer || !*writer)
        return;
    lk_latents_writer *w = *writer;
    const int opened = w->a.file >= 0;
    close_arrays(&w->a);
    if (w->part && opened)
        unlink(w->part);
    lk_free(w->path);
    lk_free(w->part);
    lk_free(w);
    *writer = NULL;
}

/* ---- reading --------------------------------------------------------------------------------- */

struct lk_latents {
    char *path;
    arrays a;
    lk_latents_video video;
    lk_latents_audio audio;
    int64_t n_video, n_audio;
};

static lk_status damaged(const lk_latents *l, const char *what)
{
    return LK_FAIL(LK_E_FORMAT, "'%s' holds no sound latents: %s", l->path, what);
}

static int get_number(hid_t file, const char *group, const char *name, int64_t most, int64_t *value)
{
    hsize_t dims;
    H5T_class_t class = H5T_NO_CLASS;
    size_t bytes = 0;
    long long v = 0;
    if (H5LTget_attribute_info(file, group, name, &dims, &class, &bytes) < 0 ||
        class != H5T_INTEGER || bytes != 8 ||
        H5LTget_attribute_long_long(file, group, name, &v) < 0 || v < -most || v > most)
        return 0;
    *value = v;
    return 1;
}

/* A text attribute shorter than `room`. */
static int get_text(hid_t file, const char *group, const char *name, char *text, size_t room)
{
    hsize_t dims;
    H5T_class_t class = H5T_NO_CLASS;
    size_t bytes = 0;
    memset(text, 0, room);
    return H5LTget_attribute_info(file, group, name, &dims, &class, &bytes) >= 0 &&
           class == H5T_STRING && bytes < room &&
           H5LTget_attribute_string(file, group, name, text) >= 0;
}

static int get_checksum(hid_t file, const char *group, uint64_t *value)
{
    char text[64];
    unsigned long long v = 0;
    if (!get_text(file, group, "tokenizer", text, sizeof text) || sscanf(text, "%llx", &v) != 1)
        return 0;
    *value = v;
    return 1;
}

static lk_status open_video(lk_latents *l)
{
    lk_status st = LK_OK;
    hsize_t dims[4], times[2];
    int64_t width = 0, height = 0;
    const hid_t f = l->a.file;
    if (H5LTpath_valid(f, "video", 1) <= 0)
        goto done;
    if (!lk_hdf5_sizes(f, "video/latents", 4, dims) || !lk_hdf5_sizes(f, "video/time", 2, times) ||
        times[0] != dims[0] || times[1] != LK_LATENTS_TIMES || dims[1] < 1 || dims[1] > 4096 ||
        dims[2] < 1 || dims[2] > 4096 || dims[3] < 1 || dims[3] > 4096 ||
        !get_number(f, "video", "width", 65536, &width) ||
        !get_number(f, "video", "height", 65536, &height) ||
        !get_checksum(f, "video", &l->video.tokenizer))
        LK_TRY(damaged(l, "/video"));
    l->n_video = (int64_t)dims[0];
    l->video.rows = (int)dims[1];
    l->video.columns = (int)dims[2];
    l->video.channels = (int)dims[3];
    l->video.width = (int)width;
    l->video.height = (int)height;
    l->a.latents = H5Dopen2(f, "video/latents", H5P_DEFAULT);
    l->a.time = H5Dopen2(f, "video/time", H5P_DEFAULT);
done:
    return st;
}

/* Rows of a two-dimensional array of the sound, or 0 when it is not there. */
static int64_t open_part(hid_t f, const char *name, hid_t *set, int *width)
{
    hsize_t dims[2];
    if (!lk_hdf5_sizes(f, name, 2, dims) || dims[1] < 1 || dims[1] > 4096)
        return -1;
    *set = H5Dopen2(f, name, H5P_DEFAULT);
    *width = (int)dims[1];
    return (int64_t)dims[0];
}

static lk_status open_audio(lk_latents *l)
{
    lk_status st = LK_OK;
    int64_t rate = 0, channels = 0, mode = 0;
    int two = 0;
    const hid_t f = l->a.file;
    if (H5LTpath_valid(f, "audio", 1) <= 0)
        goto done;
    l->n_audio = open_part(f, "audio/time", &l->a.span, &two);
    const int64_t tokens = open_part(f, "audio/tokens", &l->a.tokens, &l->audio.stages);
    const int64_t numbers = open_part(f, "audio/latents", &l->a.numbers, &l->audio.continuous);
    if (l->n_audio < 0 || two != 2 || (tokens < 0 && numbers < 0) ||
        (tokens >= 0 && tokens != l->n_audio) || (numbers >= 0 && numbers != l->n_audio) ||
        !get_number(f, "audio", "rate_hz", 1 << 20, &rate) ||
        !get_number(f, "audio", "channels", 2, &channels) ||
        !get_number(f, "audio", "mode", 3, &mode) ||
        !get_number(f, "audio", "start", INT64_MAX / 4, &l->audio.start) ||
        !get_number(f, "audio", "n_samples", INT64_MAX / 4, &l->audio.n_samples) ||
        !get_checksum(f, "audio", &l->audio.tokenizer) || rate < 1 || channels < 1 || mode < 1)
        LK_TRY(damaged(l, "/audio"));
    l->audio.rate_hz = (int)rate;
    l->audio.channels = (int)channels;
    l->audio.mode = (int)mode;
done:
    return st;
}

lk_status lk_latents_open(lk_latents **out, const char *path)
{
    lk_status st = LK_OK;
    lk_latents *l = NULL;
    char format[64];
    LK_TRY(LK_NEW(&l));
    l->a = no_arrays;
    LK_TRY(lk_strdup(path, &l->path));
    lk_hdf5_start();
    l->a.file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    LK_REQUIRE(l->a.file >= 0, access(path, R_OK) == 0 ? LK_E_FORMAT : LK_E_IO,
               "cannot read '%s' as HDF5", path);
    if (!get_text(l->a.file, "/", "format", format, sizeof format) || strcmp(format, FORMAT) != 0)
        LK_TRY(damaged(l, "its format is not " FORMAT));
    LK_TRY(open_video(l));
    LK_TRY(open_audio(l));
    LK_REQUIRE(l->n_video + l->n_audio > 0, LK_E_EMPTY, "'%s' holds no latents", path);
    *out = l;
    l = NULL;
done:
    lk_latents_close(&l);
    return st;
}

void lk_latents_close(lk_latents **l)
{
    if (!l || !*l)
        return;
    close_arrays(&(*l)->a);
    lk_free((*l)->path);
    lk_free(*l);
    *l = NULL;
}

lk_latents_video lk_latents_get_video(const lk_latents *l)
{
    return l->video;
}

lk_latents_audio lk_latents_get_audio(const lk_latents *l)
{
    return l->audio;
}

int64_t lk_latents_n_video(const lk_latents *l)
{
    return l->n_video;
}

int64_t lk_latents_n_audio(const lk_latents *l)
{
    return l->n_audio;
}

lk_status lk_latents_read_video(lk_latents *l, int64_t i, float *latent, int64_t *time)
{
    hsize_t row[4];
    const hsize_t times[4] = {0, LK_LATENTS_TIMES};
    picture_row(&l->video, row);
    if (i < 0 || i >= l->n_video ||
        !lk_hdf5_read(l->a.latents, H5T_NATIVE_FLOAT, 4, row, i, 1, latent) ||
        !lk_hdf5_read(l->a.time, H5T_NATIVE_INT64, 2, times, i, 1, time))
        return damaged(l, "a latent of the video");
    return LK_OK;
}

lk_status lk_latents_read_audio(lk_latents *l, int64_t from, int64_t n, uint16_t *tokens,
                                float *latents)
{
    const hsize_t token_row[4] = {0, (hsize_t)l->audio.stages},
                  row[4] = {0, (hsize_t)l->audio.continuous};
    if (from < 0 || n < 0 || n > l->n_audio - from ||
        (tokens && n > 0 &&
         !lk_hdf5_read(l->a.tokens, H5T_NATIVE_UINT16, 2, token_row, from, n, tokens)) ||
        (latents && n > 0 &&
         !lk_hdf5_read(l->a.numbers, H5T_NATIVE_FLOAT, 2, row, from, n, latents)))
        return damaged(l, "a latent of the sound");
    return LK_OK;
}
