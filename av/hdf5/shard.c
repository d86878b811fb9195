/* shard.c - see av/dataset.h: writing.  Frames and samples go to the file clip by clip, the tables
 * at the end. */
#include "av/hdf5/internal.h"

#include "kernels/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FRAMES_IN_CHUNK = 8, SAMPLES_IN_CHUNK = 16384 };

struct lk_shard {
    char *path, *part;
    hid_t file, frames, samples;
    lk_shard_options o;
    char *commit, *settings;
    int64_t n_clips, n_frames, n_samples, n_events;
    size_t clip_room, span_room, event_room, text_room[LK_CLIP_TEXTS];
    lk_clip_row *row;
    lk_span *span;
    lk_dataset_event *event;
    char **text[LK_CLIP_TEXTS];
};

static lk_status trouble(const lk_shard *s, const char *what)
{
    return LK_FAIL(LK_E_IO, "cannot write %s to '%s' (disk full?)", what, s->part);
}

static lk_status create_arrays(lk_shard *s)
{
    lk_status st = LK_OK;
    const lk_dataset_format *f = &s->o.format;
    const hsize_t picture[4] = {0, (hsize_t)f->height, (hsize_t)f->width, 3};
    const hsize_t sound[2] = {0, (hsize_t)f->n_channels};
    if (f->width > 0) {
        s->frames = lk_hdf5_growing(s->file, "frames", H5T_STD_U8LE, 4, picture, FRAMES_IN_CHUNK,
                                    s->o.compress);
        LK_REQUIRE(s->frames >= 0, LK_E_IO, "cannot make '%s': the frames", s->part);
    }
    if (f->rate_hz > 0) {
        s->samples =
            lk_hdf5_growing(s->file, "samples", H5T_STD_I16LE, 2, sound, SAMPLES_IN_CHUNK, 0);
        LK_REQUIRE(s->samples >= 0, LK_E_IO, "cannot make '%s': the samples", s->part);
    }
done:
    return st;
}

lk_status lk_shard_create(lk_shard **out, const char *path, const lk_shard_options *o)
{
    lk_status st = LK_OK;
    lk_shard *s = NULL;
    LK_REQUIRE(o->format.width >= 0 && o->format.width <= 8192 && o->format.height <= 8192 &&
                   (o->format.width > 0) == (o->format.height > 0) && o->format.rate_hz >= 0 &&
                   (o->format.rate_hz > 0) == (o->format.n_channels > 0) &&
                   (o->format.width > 0 || o->format.rate_hz > 0),
               LK_E_ARG, "a dataset needs a picture size, a sample rate, or both");
    LK_TRY(LK_NEW(&s));
    s->file = s->frames = s->samples = H5I_INVALID_HID;
    s->o = *o;
    LK_TRY(lk_strdup(path, &s->path));
    LK_TRY(lk_strdup(o->commit ? o->commit : "", &s->commit));
    LK_TRY(lk_strdup(o->settings ? o->settings : "", &s->settings));
    LK_TRY(LK_NEW_ARRAY(&s->part, strlen(path) + 6));
    sprintf(s->part, "%s.part", path);
    lk_hdf5_lock();
    lk_hdf5_start();
    errno = 0;
    s->file = lk_hdf5_create(s->part);
    st = s->file >= 0 ? create_arrays(s)
                      : LK_FAIL(LK_E_IO, "cannot create '%s': %s", s->part,
                                errno ? strerror(errno) : "HDF5 refuses");
    lk_hdf5_unlock();
    LK_TRY(st);
    *out = s;
    s = NULL;
done:
    lk_shard_close(&s);
    return st;
}

static lk_status append_media(lk_shard *s, const lk_dataset_clip *c)
{
    const lk_dataset_format *f = &s->o.format;
    const hsize_t picture[4] = {0, (hsize_t)f->height, (hsize_t)f->width, 3};
    const hsize_t sound[4] = {0, (hsize_t)f->n_channels};
    if (f->width > 0 && !lk_hdf5_append(s->frames, H5T_NATIVE_UINT8, 4, picture, s->n_frames,
                                        c->n_frames, c->frames))
        return trouble(s, "frames");
    if (f->rate_hz > 0 &&
        !lk_hdf5_append(s->samples, H5T_NATIVE_INT16, 2, sound, s->n_samples, c->n_samples, c->pcm))
        return trouble(s, "samples");
    return LK_OK;
}

static lk_status add_texts(lk_shard *s, const lk_dataset_clip *c)
{
    lk_status st = LK_OK;
    const char *const text[LK_CLIP_TEXTS] = {c->name, c->caption, c->source};
    int n = 0;
    for (; n < LK_CLIP_TEXTS; n++) {
        LK_TRY(LK_GROW(&s->text[n], &s->text_room[n], (size_t)s->n_clips + 1));
        LK_TRY(lk_strdup(text[n] ? text[n] : "", &s->text[n][s->n_clips]));
    }
done:
    for (int i = 0; st != LK_OK && i < n; i++)
        lk_free(s->text[i][s->n_clips]);
    return st;
}

lk_status lk_shard_add(lk_shard *s, const lk_dataset_clip *c)
{
    lk_status st = LK_OK;
    LK_REQUIRE((c->n_frames == 0 || s->o.format.width > 0) &&
                   (c->n_samples == 0 || s->o.format.rate_hz > 0),
               LK_E_ARG, "clip '%s' has what this dataset does not hold", c->name);
    LK_TRY(LK_GROW(&s->row, &s->clip_room, (size_t)s->n_clips + 1));
    LK_TRY(LK_GROW(&s->span, &s->span_room, (size_t)(s->n_frames + c->n_frames) + 1));
    LK_TRY(LK_GROW(&s->event, &s->event_room, (size_t)(s->n_events + c->n_events) + 1));
    LK_TRY(add_texts(s, c));
    s->row[s->n_clips] = (lk_clip_row){.first_frame = s->n_frames,
                                       .n_frames = c->n_frames,
                                       .first_sample = s->n_samples,
                                       .n_samples = c->n_samples,
                                       .audio_start = c->audio_start,
                                       .first_event = s->n_events,
                                       .n_events = c->n_events,
                                       .checksum = lk_clip_checksum(c, &s->o.format)};
    s->n_clips++; /* its texts are ours to free from here on */
    if (c->n_frames > 0)
        memcpy(s->span + s->n_frames, c->spans, (size_t)c->n_frames * sizeof *c->spans);
    if (c->n_events > 0)
        memcpy(s->event + s->n_events, c->events, (size_t)c->n_events * sizeof *c->events);
    lk_hdf5_lock();
    st = append_media(s, c);
    lk_hdf5_unlock();
    LK_TRY(st);
    s->n_frames += c->n_frames;
    s->n_samples += c->n_samples;
    s->n_events += c->n_events;
done:
    return st;
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* n values of 64 bits, `stride` bytes apart, as a dataset of their own. */
static lk_status put_column(const lk_shard *s, const char *name, hid_t type, int64_t n,
                            const void *first, size_t stride, const char *unit)
{
    lk_status st = LK_OK;
    const hsize_t dims = (hsize_t)n;
    char *values = NULL;
    LK_TRY(LK_NEW_ARRAY(&values, (size_t)n * 8 + 1));
    for (int64_t i = 0; i < n; i++)
        memcpy(values + i * 8, (const char *)first + (size_t)i * stride, 8);
    if (H5LTmake_dataset(s->file, name, 1, &dims, type, values) < 0 ||
        (unit && H5LTset_attribute_string(s->file, name, "unit", unit) < 0))
        LK_TRY(trouble(s, name));
done:
    lk_free(values);
    return st;
}

/* Texts of one fixed length: those of any length lie in a heap whose damage crashes the library. */
static lk_status put_texts(const lk_shard *s, const char *name, int64_t n, const char *const *text)
{
    lk_status st = LK_OK;
    const hsize_t dims = (hsize_t)n;
    const hid_t type = H5Tcopy(H5T_C_S1);
    char *all = NULL;
    size_t longest = 1;
    for (int64_t i = 0; i < n; i++)
        longest = strlen(text[i]) > longest ? strlen(text[i]) : longest;
    LK_TRY(LK_NEW_ARRAY(&all, (size_t)n * longest + 1));
    for (int64_t i = 0; i < n; i++)
        memcpy(all + (size_t)i * longest, text[i], strlen(text[i]));
    if (type < 0 || H5Tset_size(type, longest) < 0 || H5Tset_strpad(type, H5T_STR_NULLPAD) < 0 ||
        H5Tset_cset(type, H5T_CSET_UTF8) < 0 ||
        H5LTmake_dataset(s->file, name, 1, &dims, type, all) < 0)
        LK_TRY(trouble(s, name));
done:
    lk_free(all);
    H5Tclose(type);
    return st;
}

/* NAN for what a place does not have. */
static lk_status put_places(const lk_shard *s)
{
    lk_status st = LK_OK;
    double(*rows)[4] = NULL;
    LK_TRY(LK_NEW_ARRAY(&rows, s->n_events + 1));
    for (int64_t i = 0; i < s->n_events; i++)
        for (int k = 0; k < 4; k++) {
            const lk_place *p = &s->event[i].place;
            rows[i][k] = k / 2 >= p->ends ? NAN : k % 2 ? p->y[k / 2] : p->x[k / 2];
        }
    for (int k = 0; k < 4; k++)
        LK_TRY(put_column(s, lk_place_columns[k], H5T_NATIVE_DOUBLE, s->n_events, &rows[0][k],
                          sizeof *rows, k % 2 ? "height" : "width"));
done:
    lk_free(rows);
    return st;
}

static lk_status put_events(const lk_shard *s)
{
    lk_status st = LK_OK;
    const char **text = NULL;
    const size_t step = sizeof *s->event;
    const lk_dataset_event none = {0}, *e = s->n_events > 0 ? s->event : &none;
    LK_TRY(LK_NEW_ARRAY(&text, s->n_events + 1));
    LK_TRY(put_column(s, "events/start", H5T_NATIVE_INT64, s->n_events, &e->span.start, step,
                      "flick"));
    LK_TRY(put_column(s, "events/end", H5T_NATIVE_INT64, s->n_events, &e->span.end, step, "flick"));
    LK_TRY(
        put_column(s, "events/strength", H5T_NATIVE_DOUBLE, s->n_events, &e->strength, step, "1"));
    for (int64_t i = 0; i < s->n_events; i++)
        text[i] = s->event[i].kind;
    LK_TRY(put_texts(s, "events/kind", s->n_events, text));
    for (int64_t i = 0; i < s->n_events; i++)
        text[i] = s->event[i].label;
    LK_TRY(put_texts(s, "events/label", s->n_events, text));
    LK_TRY(put_places(s));
done:
    lk_free(text);
    return st;
}

static lk_status put_clips(const lk_shard *s)
{
    lk_status st = LK_OK;
    char name[64];
    const lk_clip_row none = {0};
    const char *row = (const char *)(s->n_clips > 0 ? s->row : &none);
    for (int i = 0; i < LK_CLIP_FIELDS; i++) {
        snprintf(name, sizeof name, "clips/%s", lk_clip_fields[i].name);
        LK_TRY(put_column(s, name, i + 1 < LK_CLIP_FIELDS ? H5T_NATIVE_INT64 : H5T_NATIVE_UINT64,
                          s->n_clips, row + lk_clip_fields[i].offset, sizeof none, NULL));
    }
    for (int i = 0; i < LK_CLIP_TEXTS; i++) {
        snprintf(name, sizeof name, "clips/%s", lk_clip_texts[i]);
        LK_TRY(put_texts(s, name, s->n_clips, (const char *const *)s->text[i]));
    }
done:
    return st;
}

/* The times of frames as scales of their dimension. */
static lk_status put_times(const lk_shard *s)
{
    lk_status st = LK_OK;
    static const char *const names[2] = {"frame_start", "frame_end"};
    const lk_span none = {0, 0}, *t = s->n_frames > 0 ? s->span : &none;
    LK_TRY(put_column(s, names[0], H5T_NATIVE_INT64, s->n_frames, &t->start, sizeof none, "flick"));
    LK_TRY(put_column(s, names[1], H5T_NATIVE_INT64, s->n_frames, &t->end, sizeof none, "flick"));
    for (int i = 0; i < 2 && s->n_frames > 0; i++) {
        const hid_t scale = H5Dopen2(s->file, names[i], H5P_DEFAULT);
        const int bad = scale < 0 || H5DSset_scale(scale, names[i]) < 0 ||
                        H5DSattach_scale(s->frames, scale, 0) < 0;
        if (scale >= 0)
            H5Dclose(scale);
        if (bad)
            LK_TRY(trouble(s, names[i]));
    }
done:
    return st;
}

static lk_status put_tables(const lk_shard *s)
{
    lk_status st = LK_OK;
    const hid_t clips = H5Gcreate2(s->file, "clips", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    const hid_t events = H5Gcreate2(s->file, "events", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (clips < 0 || events < 0)
        LK_TRY(trouble(s, "the tables"));
    LK_TRY(put_clips(s));
    LK_TRY(put_events(s));
    if (s->frames >= 0)
        LK_TRY(put_times(s));
    if (s->samples >= 0 &&
        (H5LTset_attribute_int(s->file, "samples", "rate_hz", &s->o.format.rate_hz, 1) < 0 ||
         H5LTset_attribute_string(s->file, "samples", "unit", "1/32768") < 0))
        LK_TRY(trouble(s, "the sample rate"));
    if (H5LTset_attribute_string(s->file, "/", "commit", s->commit) < 0 ||
        H5LTset_attribute_string(s->file, "/", "settings", s->settings) < 0 ||
        H5LTset_attribute_string(s->file, "/", "format", LK_DATASET_FORMAT) < 0)
        LK_TRY(trouble(s, "the format"));
done:
    if (clips >= 0)
        H5Gclose(clips);
    if (events >= 0)
        H5Gclose(events);
    return st;
}

static int close_file(lk_shard *s)
{
    int good = 1;
    if (s->frames >= 0)
        good &= H5Dclose(s->frames) >= 0;
    if (s->samples >= 0)
        good &= H5Dclose(s->samples) >= 0;
    if (s->file >= 0)
        good &= H5Fclose(s->file) >= 0;
    s->file = s->frames = s->samples = H5I_INVALID_HID;
    return good;
}

lk_status lk_shard_finish(lk_shard *s)
{
    lk_status st = LK_OK;
    int fd = -1;
    lk_hdf5_lock();
    st = put_tables(s);
    if (!close_file(s) && st == LK_OK)
        st = trouble(s, "the end");
    lk_hdf5_unlock();
    LK_TRY(st);
    fd = open(s->part, O_RDONLY);
    LK_REQUIRE(fd >= 0 && fsync(fd) == 0, LK_E_IO, "cannot sync '%s': %s", s->part,
               strerror(errno));
    LK_REQUIRE(rename(s->part, s->path) == 0, LK_E_IO, "cannot rename '%s': %s", s->part,
               strerror(errno));
    lk_free(s->part);
    s->part = NULL;
done:
    if (fd >= 0)
        close(fd);
    return st;
}

void lk_shard_close(lk_shard **shard)
{
    if (!shard || !*shard)
        return;
    lk_shard *s = *shard;
    lk_hdf5_lock();
    const int opened = s->file >= 0;
    close_file(s);
    lk_hdf5_unlock();
    if (s->part && opened)
        unlink(s->part);
    for (int i = 0; i < LK_CLIP_TEXTS; i++) {
        for (int64_t k = 0; k < s->n_clips; k++)
            lk_free(s->text[i][k]);
        lk_free(s->text[i]);
    }
    lk_free(s->row);
    lk_free(s->span);
    lk_free(s->event);
    lk_free(s->commit);
    lk_free(s->settings);
    lk_free(s->path);
    lk_free(s->part);
    lk_free(s);
    *shard = NULL;
}
