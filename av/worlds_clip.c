/* worlds_clip.c - see worlds_clip.h. */
#include "av/worlds_clip.h"

#include "av/media.h"
#include "kernels/file.h"
#include "kernels/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define REAL_DIGITS 12

/* ---- media -------------------------------------------------------------------------------- */

static lk_status write_sound(lk_writer *writer, const lk_world *w, int64_t from, int64_t to,
                             float *mono)
{
    lk_status st = LK_OK;
    const int rate_hz = lk_world_rate_hz(w);
    const float *channel[1] = {mono};
    if (to <= from)
        goto done;
    LK_TRY(lk_world_render_sound(w, from, to - from, mono));
    const lk_pcm_view view = {
        .span = {lk_flick_from_samples(from, rate_hz), lk_flick_from_samples(to, rate_hz)},
        .n_samples = to - from,
        .n_channels = 1,
        .rate_hz = rate_hz,
        .channel = channel};
    LK_TRY(lk_writer_pcm(writer, &view));
done:
    return st;
}

static lk_status write_frame(lk_writer *writer, const lk_world *w, int64_t frame, uint8_t *rgb)
{
    lk_status st = LK_OK;
    int width = 0, height = 0;
    lk_world_size(w, &width, &height);
    LK_TRY(lk_world_render_frame(w, frame, rgb));
    const lk_frame_view view = {.span = lk_world_frame_span(w, frame),
                                .index = frame,
                                .width = width,
                                .height = height,
                                .sar = {1, 1},
                                .rgb = rgb,
                                .rgb_stride = (ptrdiff_t)width * 3};
    LK_TRY(lk_writer_frame(writer, &view));
done:
    return st;
}

/* Most samples that belong to one frame. */
static int64_t most_samples(const lk_world *w)
{
    int64_t most = 0, from = 0;
    for (int64_t f = 0; f < lk_world_n_frames(w); f++) {
        const int64_t to =
            lk_samples_from_flick(lk_world_frame_span(w, f).end, lk_world_rate_hz(w));
        most = to - from > most ? to - from : most;
        from = to;
    }
    const int64_t rest = lk_world_n_samples(w) - from;
    return most + (rest > 0 ? rest : 0); /* the last frame takes the rest along */
}

lk_status lk_world_write_clip(const lk_world *w, const char *path,
                              const lk_world_clip_options *options)
{
    static const lk_world_clip_options defaults = {0};
    lk_status st = LK_OK;
    lk_writer *writer = NULL;
    uint8_t *rgb = NULL;
    float *mono = NULL;
    const lk_world_clip_options *o = options ? options : &defaults;
    lk_writer_options wo = {.container = o->container,
                            .vcodec = o->vcodec,
                            .acodec = o->acodec,
                            .rate_hz = lk_world_rate_hz(w),
                            .n_channels = 1,
                            .threads = o->threads};
    lk_world_size(w, &wo.width, &wo.height);
    wo.rate = lk_world_frame_rate(w, &wo.vfr);
    const int64_t n = lk_world_n_frames(w), total = lk_world_n_samples(w);
    int64_t at = 0;
    LK_TRY(LK_NEW_ARRAY(&rgb, (size_t)wo.width * (size_t)wo.height * 3));
    LK_TRY(LK_NEW_ARRAY(&mono, most_samples(w)));
    LK_TRY(lk_writer_open(&writer, path, &wo));
    for (int64_t f = 0; f < n; f++) {
        int64_t to = lk_samples_from_flick(lk_world_frame_span(w, f).end, wo.rate_hz);
        if (f + 1 == n || to > total)
            to = total;
        LK_REQUIRE(!o->stop || !*o->stop, LK_E_INTERRUPTED, "stopped at frame %lld of '%s'",
                   (long long)f, path);
        LK_TRY(write_frame(writer, w, f, rgb));
        LK_TRY(write_sound(writer, w, at, to, mono));
        at = to;
        if (o->progress)
            o->progress(o->user, (double)(f + 1) / (double)n);
    }
    LK_TRY(lk_writer_finish(writer));
done:
    lk_writer_close(&writer);
    lk_free(rgb);
    lk_free(mono);
    return st;
}

/* ---- truth -------------------------------------------------------------------------------- */

const char *lk_world_event_kind_name(lk_world_event_kind kind)
{
    static const char *const names[] = {
        [LK_EVENT_IMPACT] = "impact", [LK_EVENT_PHONE] = "phone", [LK_EVENT_BEAT] = "beat",
        [LK_EVENT_DRUM] = "drum",     [LK_EVENT_PATH] = "path",
    };
    return names[kind];
}

static lk_status add_place(json_t *o, const lk_place *p)
{
    static const char *const names[2][2] = {{"x", "y"}, {"to_x", "to_y"}};
    lk_status st = LK_OK;
    for (int i = 0; i < p->ends; i++) {
        LK_TRY(lk_json_set(o, names[i][0], lk_json_real(p->x[i])));
        LK_TRY(lk_json_set(o, names[i][1], lk_json_real(p->y[i])));
    }
done:
    return st;
}

/* A piece of a path is seen only, and its kind is that of its list. */
static lk_status add_event(json_t *list, const lk_world_event *e)
{
    lk_status st = LK_OK;
    const int whole = e->kind != LK_EVENT_PATH;
    json_t *o = json_object();
    LK_REQUIRE(o && json_array_append_new(list, o) == 0, LK_E_MEMORY, "out of memory");
    if (whole)
        LK_TRY(lk_json_set(o, "kind", json_string(lk_world_event_kind_name(e->kind))));
    LK_TRY(lk_json_set(o, "label", json_string(e->label)));
    LK_TRY(lk_json_set(o, "picture_s", lk_json_seconds(e->picture.start)));
    LK_TRY(lk_json_set(o, "picture_end_s", lk_json_seconds(e->picture.end)));
    if (whole) {
        LK_TRY(lk_json_set(o, "sound_s", lk_json_seconds(e->sound.start)));
        LK_TRY(lk_json_set(o, "sound_end_s", lk_json_seconds(e->sound.end)));
        LK_TRY(lk_json_set(o, "strength", lk_json_real(e->strength)));
    }
    LK_TRY(add_place(o, &e->place));
done:
    return st;
}

/* Every setting of the world under its own name, in the order of the table. */
static lk_status add_settings(json_t *o, const lk_world_options *options)
{
    lk_status st = LK_OK;
    for (const lk_option *row = lk_world_option_rows; row->name; row++) {
        const void *field = (const char *)options + row->offset;
        json_t *value = NULL;
        if (row->type == LK_OPTION_INT)
            value = json_integer(*(const int *)field);
        else if (row->type == LK_OPTION_DOUBLE)
            value = lk_json_real(*(const double *)field);
        else if (row->type == LK_OPTION_BOOL)
            value = json_boolean(*(const bool *)field);
        else
            value = json_string(*(const char *const *)field);
        LK_TRY(lk_json_set(o, row->name, value));
    }
done:
    return st;
}

lk_status lk_world_truth(const lk_world *w, const char *clip, const char *name, uint64_t seed,
                         uint64_t index, const lk_world_options *options, json_t **truth)
{
    lk_status st = LK_OK;
    json_t *o = json_object(), *list = NULL;
    *truth = NULL;
    LK_REQUIRE(o, LK_E_MEMORY, "out of memory");
    LK_TRY(lk_json_set(o, "clip", lk_json_text(clip)));
    LK_TRY(lk_json_set(o, "world", json_string(name)));
    LK_TRY(lk_json_set(o, "seed", json_integer((json_int_t)seed)));
    LK_TRY(lk_json_set(o, "index", json_integer((json_int_t)index)));
    LK_TRY(add_settings(o, options));
    LK_TRY(lk_json_set(o, "caption", json_string(lk_world_caption(w))));
    list = json_array();
    LK_TRY(lk_json_set(o, "events", list));
    for (int64_t i = 0; i < lk_world_n_events(w); i++)
        LK_TRY(add_event(list, &lk_world_events(w)[i]));
    list = json_array();
    LK_TRY(lk_json_set(o, "paths", list));
    for (int64_t i = 0; i < lk_world_n_paths(w); i++)
        LK_TRY(add_event(list, &lk_world_paths(w)[i]));
    *truth = o;
    o = NULL;
done:
    json_decref(o);
    return st;
}

/* ---- the file of truth -------------------------------------------------------------------- */

static const char *clip_of(const json_t *line)
{
    const char *clip = json_string_value(json_object_get(line, "clip"));
    return clip ? clip : "";
}

typedef lk_status (*line_fn)(void *user, const char *text, const json_t *line);

/* Call fn for every line of a file of truth; a file that is not there has no lines. */
static lk_status each_line(const char *path, line_fn fn, void *user)
{
    lk_status st = LK_OK;
    FILE *in = fopen(path, "r");
    char *text = NULL;
    size_t bytes = 0;
    long long number = 0;
    if (!in && errno == ENOENT)
        return LK_OK;
    LK_REQUIRE(in, LK_E_IO, "cannot read '%s': %s", path, strerror(errno));
    while (getline(&text, &bytes, in) > 0) {
        json_error_t error;
        number++;
        json_t *line = json_loads(text, 0, &error);
        LK_REQUIRE(line, LK_E_FORMAT, "'%s', line %lld, is not JSON: %s", path, number, error.text);
        st = fn(user, text, line);
        json_decref(line);
        LK_TRY(st);
    }
    LK_REQUIRE(!ferror(in), LK_E_IO, "cannot read '%s'", path);
done:
    free(text);
    if (in)
        fclose(in);
    return st;
}

typedef struct search {
    const char *clip;
    json_t *found;
} search;

static lk_status keep_if_named(void *user, const char *text, const json_t *line)
{
    search *s = user;
    (void)text;
    if (!s->found && strcmp(clip_of(line), s->clip) == 0) {
        s->found = json_deep_copy(line);
        if (!s->found)
            return LK_FAIL(LK_E_MEMORY, "out of memory");
    }
    return LK_OK;
}

lk_status lk_world_truth_find(const char *path, const char *clip, json_t **truth)
{
    lk_status st = LK_OK;
    search s = {clip, NULL};
    *truth = NULL;
    LK_TRY(each_line(path, keep_if_named, &s));
    *truth = s.found;
    s.found = NULL;
done:
    json_decref(s.found);
    return st;
}

typedef struct merge {
    FILE *out;
    json_t *lines; /* clip: new line */
    json_t *left;  /* the same of those that are not yet written */
} merge;

static lk_status cannot_write(void)
{
    return LK_FAIL(LK_E_IO, "cannot write the file of truth: %s", strerror(errno));
}

static lk_status write_if_left(merge *m, const char *clip)
{
    const json_t *line = json_object_get(m->left, clip);
    if (!line)
        return LK_OK;
    if (json_dumpf(line, m->out, JSON_REAL_PRECISION(REAL_DIGITS)) != 0 ||
        fputc('\n', m->out) == EOF)
        return cannot_write();
    json_object_del(m->left, clip);
    return LK_OK;
}

/* A clip's new line where its old one stood, and old lines of others as they are. */
static lk_status merge_line(void *user, const char *text, const json_t *line)
{
    merge *m = user;
    const size_t n = strlen(text);
    if (json_object_get(m->lines, clip_of(line)))
        return write_if_left(m, clip_of(line));
    if (fputs(text, m->out) == EOF || (n > 0 && text[n - 1] != '\n' && fputc('\n', m->out) == EOF))
        return cannot_write();
    return LK_OK;
}

lk_status lk_world_truth_write(const char *path, json_t *const *lines, int64_t n)
{
    lk_status st = LK_OK;
    lk_replace file = {0};
    merge m = {.lines = json_object()};
    LK_REQUIRE(m.lines, LK_E_MEMORY, "out of memory");
    for (int64_t i = 0; i < n; i++)
        LK_TRY(lk_json_set(m.lines, clip_of(lines[i]), json_incref(lines[i])));
    m.left = json_copy(m.lines);
    LK_REQUIRE(m.left, LK_E_MEMORY, "out of memory");
    LK_TRY(lk_replace_open(&file, path));
    m.out = file.stream;
    LK_TRY(each_line(path, merge_line, &m));
    for (int64_t i = 0; i < n; i++)
        LK_TRY(write_if_left(&m, clip_of(lines[i])));
    LK_TRY(lk_replace_commit(&file));
done:
    lk_replace_drop(&file);
    json_decref(m.left);
    json_decref(m.lines);
    return st;
}
