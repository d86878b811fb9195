/* worlds.c - what all worlds share: time, offset, drift, controls, camera, noise.
 *
 * Picture time t, seconds.  Frame k shows t_k = its presentation time (reversed: seconds - t_k;
 * static: t_0).  Sample n is heard at clip time s = n / rate and sounds like picture time
 *     u = (s - offset) / (1 + ppm / 1e6),
 * so what happens at u is heard at u (1 + ppm / 1e6) + offset.
 */
#include "experiments/worlds/world_impl.h"

#include "kernels/clock.h"
#include "kernels/mem.h"
#include "kernels/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARGIN       0.06 /* of the picture's height around the backdrop, for the camera */
#define PI           3.14159265358979323846
#define SHUFFLE_STEP UINT64_C(0x9E3779B97F4A7C15)

/* The table of worlds: one line a kind. */
#define KINDS(row) row(impacts) row(talker) row(dancer)

#define KIND_POINTER(name) &lk_world_##name,
#define KIND_NAME(name)    #name,
static const lk_world_kind *const kinds[] = {KINDS(KIND_POINTER)};
static const char *const kind_names[] = {KINDS(KIND_NAME) NULL};
#define N_KINDS (sizeof kinds / sizeof kinds[0])

const lk_option lk_world_option_rows[] = {
    LK_OPT_DOUBLE(lk_world_options, seconds, 10, 0.1, 3600, "duration"),
    LK_OPT_TEXT(lk_world_options, fps, "25", "frames per second: 25, 29.97, 30000/1001 or vfr"),
    LK_OPT_INT(lk_world_options, width, 320, 16, 7680, "picture width in pixels"),
    LK_OPT_INT(lk_world_options, height, 240, 16, 4320, "picture height in pixels"),
    LK_OPT_INT(lk_world_options, rate_hz, 48000, 8000, 192000, "samples per second"),
    LK_OPT_DOUBLE(lk_world_options, offset_ms, 0, -5000, 5000, "sound late by this much"),
    LK_OPT_DOUBLE(lk_world_options, drift_ppm, 0, -2000, 2000, "sound runs slow by this much"),
    LK_OPT_BOOL(lk_world_options, clutter, false, "moving things that make no sound"),
    LK_OPT_BOOL(lk_world_options, camera, false, "hand-held camera motion"),
    LK_OPT_BOOL(lk_world_options, noise, false, "background noise and hum"),
    LK_OPT_BOOL(lk_world_options, overlap, false, "more events, some at nearly the same time"),
    LK_OPT_CHOICE(lk_world_options, control, "none", "none|silent|static|shuffled|reversed",
                  "a clip whose sound and picture do not belong together"),
    LK_OPT_END};

typedef enum control { NONE, SILENT, STATIC, SHUFFLED, REVERSED, N_CONTROLS } control;
static const char *const control_names[N_CONTROLS] = {"none", "silent", "static", "shuffled",
                                                      "reversed"};

struct lk_world {
    const lk_world_kind *kind;
    lk_world_setup setup;
    control control;
    bool camera, noise;
    lk_sound_grid grid;
    int64_t n_frames, n_samples;
    lk_rational rate;  /* constant frame rate; unused when vfr */
    lk_flick *vfr;     /* [n_frames + 1] presentation times and the end, or NULL */
    void *scene;       /* what is seen */
    void *other;       /* what is heard when shuffled, else NULL */
    uint8_t *backdrop; /* [back_height, back_width, 3] */
    int back_width, back_height, margin_px;
    lk_event_list events, paths;
    char caption[LK_CAPTION_BYTES];
};

lk_status lk_event_add(lk_event_list *list, lk_world_event_kind kind, double start_s, double end_s,
                       double strength, const char *label)
{
    lk_status st = LK_OK;
    LK_TRY(LK_GROW(&list->event, &list->capacity, list->n + 1));
    lk_world_event *e = &list->event[list->n++];
    memset(e, 0, sizeof *e);
    e->kind = kind;
    e->picture.start = lk_flick_from_s(start_s);
    e->picture.end = lk_flick_from_s(end_s);
    e->strength = strength;
    snprintf(e->label, sizeof e->label, "%s", label);
done:
    return st;
}

lk_status lk_event_add_at(lk_event_list *list, lk_world_event_kind kind, double t_s,
                          double strength, const char *label, double x, double y)
{
    lk_status st = LK_OK;
    LK_TRY(lk_event_add(list, kind, t_s, t_s, strength, label));
    list->event[list->n - 1].place = lk_place_at(x, y);
done:
    return st;
}

static bool in_picture(double x, double y)
{
    return x > -0.1 && x < 1.1 && y > -0.1 && y < 1.1;
}

lk_status lk_event_add_path(lk_event_list *list, double seconds, double start_s, double end_s,
                            double longest_s, const char *label,
                            void (*where)(const void *user, double t, double *x, double *y),
                            const void *user)
{
    lk_status st = LK_OK;
    const double n = fmax(1, ceil((end_s - start_s) / longest_s));
    for (double i = 0; i < n; i++) {
        const double from = fmax(0, start_s + (end_s - start_s) * i / n);
        const double to = fmin(seconds, start_s + (end_s - start_s) * (i + 1) / n);
        double x[2], y[2];
        if (from >= to)
            continue;
        where(user, from, &x[0], &y[0]);
        where(user, to, &x[1], &y[1]);
        if (!in_picture(x[0], y[0]) && !in_picture(x[1], y[1]))
            continue;
        LK_TRY(lk_event_add(list, LK_EVENT_PATH, from, to, 1, label));
        list->event[list->n - 1].place = lk_place_way(x[0], y[0], x[1], y[1]);
    }
done:
    return st;
}

/* ---- options ------------------------------------------------------------------------------ */

static lk_status find_kind(const char *name, const lk_world_kind **kind)
{
    for (size_t i = 0; i < N_KINDS; i++) {
        if (strcmp(name, kinds[i]->name) == 0) {
            *kind = kinds[i];
            return LK_OK;
        }
    }
    const char *near = lk_nearest_name(name, lk_world_names(), N_KINDS);
    return LK_FAIL(LK_E_ARG, "there is no world '%.40s'; %s%s%s", name,
                   near ? "did you mean '" : "the first one is '", near ? near : kinds[0]->name,
                   near ? "'?" : "'");
}

static lk_status check_number(const lk_world_options *options, const char *name)
{
    lk_status st = LK_OK;
    lk_world_options scratch = *options;
    char text[64];
    lk_option_print(lk_option_find(lk_world_option_rows, name), options, text, sizeof text);
    LK_TRY(lk_option_set(lk_world_option_rows, &scratch, name, text));
done:
    return st;
}

static lk_status check_options(const lk_world_options *options, control *which)
{
    static const char *const numbers[] = {"seconds", "width",     "height",
                                          "rate_hz", "offset_ms", "drift_ppm"};
    lk_status st = LK_OK;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        LK_TRY(check_number(options, numbers[i]));
    LK_REQUIRE(LK_FLICKS_PER_S % options->rate_hz == 0, LK_E_ARG,
               "'rate_hz' must be an audio rate such as 16000, 24000, 44100 or 48000, not %d",
               options->rate_hz);
    LK_REQUIRE(options->fps && options->fps[0], LK_E_ARG, "'fps' must be given");
    *which = NONE;
    if (options->control) {
        int i = 0;
        while (i < N_CONTROLS && strcmp(options->control, control_names[i]) != 0)
            i++;
        LK_REQUIRE(i < N_CONTROLS, LK_E_ARG,
                   "'control' must be one of none, silent, static, shuffled, reversed, not '%.40s'",
                   options->control);
        *which = (control)i;
    }
done:
    return st;
}

/* ---- frame times -------------------------------------------------------------------------- */

/* Like a phone: mostly one or two ticks of 60 Hz, jittered on the grid, now and then a stall. */
static lk_status make_vfr(lk_world *w)
{
    lk_status st = LK_OK;
    const uint64_t seed = w->setup.seed;
    const int grid = lk_rng_below(seed, LK_STREAM_VFR, 0, 2) ? 600 : 90000;
    const lk_flick tick = LK_FLICKS_PER_S / grid;
    const lk_flick end = lk_flick_from_s(w->setup.seconds);
    size_t capacity = 0;
    LK_TRY(LK_GROW(&w->vfr, &capacity, 2));
    for (lk_flick t = 0; t < end;) {
        const uint64_t k = (uint64_t)w->n_frames + 1;
        const uint32_t mode = lk_rng_below(seed, LK_STREAM_VFR, 4 * k, 10);
        const double lo = mode < 5 ? 1.0 / 36 : mode < 8 ? 1.0 / 60 : 1.0 / 20;
        const double hi = mode < 5 ? 1.0 / 27 : mode < 8 ? 1.0 / 30 : 1.0 / 15;
        const double s = lk_rng_range(seed, LK_STREAM_VFR + 100, k, lo, hi);
        t += (lk_flick)llround(s * grid) * tick;
        w->n_frames++;
        LK_TRY(LK_GROW(&w->vfr, &capacity, w->n_frames + 1));
        w->vfr[w->n_frames] = t;
    }
done:
    return st;
}

static lk_status make_times(lk_world *w, const char *fps)
{
    lk_status st = LK_OK;
    w->n_samples = llround(w->setup.seconds * w->setup.rate_hz);
    if (strcmp(fps, "vfr") == 0) {
        LK_TRY(make_vfr(w));
    } else {
        if (lk_rate_parse(fps, &w->rate) != LK_OK) {
            lk_error_clear();
            LK_REQUIRE(false, LK_E_ARG,
                       "'fps' must be a frame rate such as 25, 29.97 or 30000/1001, or vfr, not "
                       "'%.40s'",
                       fps);
        }
        w->n_frames = llround(w->setup.seconds * (double)w->rate.num / (double)w->rate.den);
        if (w->n_frames < 1)
            w->n_frames = 1;
        /* Frame times must not be able to fail later. */
        lk_flick end;
        LK_TRY(lk_flick_from_ticks(w->n_frames, w->rate, &end));
    }
done:
    return st;
}

lk_span lk_world_frame_span(const lk_world *w, int64_t frame)
{
    lk_span s = {0, 0};
    LK_ASSERT(frame >= 0 && frame < w->n_frames);
    if (w->vfr)
        return (lk_span){w->vfr[frame], w->vfr[frame + 1]};
    LK_ASSERT(lk_flick_from_ticks(frame, w->rate, &s.start) == LK_OK);
    LK_ASSERT(lk_flick_from_ticks(frame + 1, w->rate, &s.end) == LK_OK);
    return s;
}

/* ---- truth -------------------------------------------------------------------------------- */

static const lk_span no_span = {LK_FLICK_NONE, LK_FLICK_NONE};

static lk_flick heard_at(const lk_world *w, lk_flick seen)
{
    return lk_flick_from_s(lk_flick_to_s(seen) * w->grid.stretch + w->grid.offset_s);
}

static int by_time(const void *a, const void *b)
{
    const lk_world_event *x = a, *y = b;
    const lk_flick tx[2] = {x->picture.start, x->sound.start};
    const lk_flick ty[2] = {y->picture.start, y->sound.start};
    for (int i = 0; i < 2; i++) {
        if (tx[i] != ty[i])
            return tx[i] < ty[i] ? -1 : 1;
    }
    return strcmp(x->label, y->label);
}

static lk_status add_event(lk_event_list *list, const lk_world_event *e)
{
    lk_status st = LK_OK;
    LK_TRY(LK_GROW(&list->event, &list->capacity, list->n + 1));
    list->event[list->n++] = *e;
done:
    return st;
}

static lk_place turned_back(lk_place p)
{
    return p.ends == 2 ? lk_place_way(p.x[1], p.y[1], p.x[0], p.y[0]) : p;
}

static void sort_events(lk_event_list *list)
{
    if (list->n > 1)
        qsort(list->event, (size_t)list->n, sizeof *list->event, by_time);
}

/* Which of the raw events are seen, which are heard, and whether the two belong together. */
static lk_status make_truth(lk_world *w, const lk_event_list *seen, const lk_event_list *heard)
{
    lk_status st = LK_OK;
    const lk_flick end = lk_flick_from_s(w->setup.seconds);
    const bool paired = w->control == NONE;
    for (int64_t i = 0; i < seen->n && w->control != STATIC; i++) {
        lk_world_event e = seen->event[i];
        if (e.picture.start < 0 || e.picture.start >= end)
            continue;
        e.sound = paired && e.kind != LK_EVENT_PATH
                      ? (lk_span){heard_at(w, e.picture.start), heard_at(w, e.picture.end)}
                      : no_span;
        if (w->control == REVERSED) {
            e.picture = (lk_span){end - e.picture.end, end - e.picture.start};
            e.place = turned_back(e.place);
        }
        LK_TRY(add_event(e.kind == LK_EVENT_PATH ? &w->paths : &w->events, &e));
    }
    for (int64_t i = 0; i < heard->n && !paired && w->control != SILENT; i++) {
        lk_world_event e = heard->event[i];
        if (e.picture.start < 0 || e.picture.start >= end || e.kind == LK_EVENT_PATH)
            continue;
        e.sound = (lk_span){heard_at(w, e.picture.start), heard_at(w, e.picture.end)};
        e.picture = no_span;
        e.place = (lk_place){0};
        LK_TRY(add_event(&w->events, &e));
    }
    sort_events(&w->events);
    sort_events(&w->paths);
done:
    return st;
}

/* ---- making ------------------------------------------------------------------------------- */

static lk_status make_backdrop(lk_world *w)
{
    lk_status st = LK_OK;
    lk_canvas c = {0};
    w->margin_px = w->camera ? (int)ceil(MARGIN * w->setup.height) + 2 : 0;
    w->back_width = w->setup.width + 2 * w->margin_px;
    w->back_height = w->setup.height + 2 * w->margin_px;
    LK_TRY(LK_NEW_ARRAY(&w->backdrop, (size_t)w->back_width * (size_t)w->back_height * 3));
    LK_TRY(lk_canvas_init(&c, w->back_width, w->back_height, w->backdrop));
    c.scale = w->setup.height;
    c.dx = c.dy = w->margin_px;
    w->kind->backdrop(w->scene, &c);
done:
    lk_canvas_clear(&c);
    return st;
}

static uint64_t mix_seed(uint64_t seed, uint64_t index)
{
    const lk_rng_block b = lk_rng_philox(seed, UINT64_C(0x776F726C64), index);
    return (uint64_t)b.v[0] << 32 | b.v[1];
}

lk_status lk_world_create(lk_world **world, const char *name, uint64_t seed, uint64_t index,
                          const lk_world_options *options)
{
    lk_status st = LK_OK;
    lk_world *w = NULL;
    lk_event_list seen = {0}, heard = {0};
    char unheard[LK_CAPTION_BYTES];
    *world = NULL;
    LK_TRY(LK_NEW(&w));
    LK_TRY(find_kind(name, &w->kind));
    LK_TRY(check_options(options, &w->control));
    w->setup = (lk_world_setup){.seed = mix_seed(seed, index),
                                .seconds = options->seconds,
                                .aspect = (double)options->width / options->height,
                                .width = options->width,
                                .height = options->height,
                                .rate_hz = options->rate_hz,
                                .clutter = options->clutter,
                                .overlap = options->overlap};
    w->camera = options->camera;
    w->noise = options->noise;
    w->grid = (lk_sound_grid){.rate_hz = options->rate_hz,
                              .offset_s = options->offset_ms / 1e3,
                              .stretch = 1 + options->drift_ppm / 1e6};
    LK_TRY(make_times(w, options->fps));
    LK_TRY(w->kind->create(&w->scene, &w->setup, &seen, w->caption));
    if (w->control == SHUFFLED) {
        lk_world_setup other = w->setup;
        other.seed = mix_seed(seed ^ SHUFFLE_STEP, index);
        LK_TRY(w->kind->create(&w->other, &other, &heard, unheard));
    }
    LK_TRY(make_truth(w, &seen, w->control == SHUFFLED ? &heard : &seen));
    LK_TRY(make_backdrop(w));
    *world = w;
    w = NULL;
done:
    lk_free(seen.event);
    lk_free(heard.event);
    lk_world_free(&w);
    return st;
}

void lk_world_free(lk_world **world)
{
    if (!world || !*world)
        return;
    lk_world *w = *world;
    if (w->scene)
        w->kind->free(&w->scene);
    if (w->other)
        w->kind->free(&w->other);
    lk_free(w->vfr);
    lk_free(w->backdrop);
    lk_free(w->events.event);
    lk_free(w->paths.event);
    lk_free(w);
    *world = NULL;
}

/* ---- picture ------------------------------------------------------------------------------ */

/* A slow sway and a faster tremor, in units of the picture's height, always inside MARGIN. */
static lk_point camera_at(const lk_world *w, double t)
{
    static const double hz[4] = {0.31, 0.73, 1.9, 4.3};
    static const double size[4] = {0.018, 0.010, 0.004, 0.0015};
    double at[2] = {0, 0};
    for (uint64_t axis = 0; axis < 2; axis++) {
        for (uint64_t k = 0; k < 4; k++) {
            const uint64_t i = 8 * axis + 2 * k;
            const double f = hz[k] * lk_rng_range(w->setup.seed, LK_STREAM_CAMERA, i, 0.8, 1.2);
            const double phase = lk_rng_range(w->setup.seed, LK_STREAM_CAMERA, i + 1, 0, 2 * PI);
            at[axis] += size[k] * sin(2 * PI * f * t + phase);
        }
    }
    return (lk_point){at[0], at[1]};
}

/* Backdrop moved by a fraction of a pixel, bilinear in 1/256 steps. */
static void copy_moved(const lk_world *w, double dx, double dy, uint8_t *rgb)
{
    const double sx = w->margin_px - dx, sy = w->margin_px - dy;
    const int ix = (int)floor(sx), iy = (int)floor(sy);
    const int fx = (int)((sx - ix) * 256), fy = (int)((sy - iy) * 256);
    const size_t stride = (size_t)w->back_width * 3, row = (size_t)w->setup.width * 3;
    for (int y = 0; y < w->setup.height; y++) {
        const uint8_t *a = w->backdrop + (size_t)(iy + y) * stride + (size_t)ix * 3;
        const uint8_t *b = a + stride;
        uint8_t *out = rgb + (size_t)y * row;
        for (size_t x = 0; x < row; x++) {
            const int top = a[x] * (256 - fx) + a[x + 3] * fx;
            const int bottom = b[x] * (256 - fx) + b[x + 3] * fx;
            out[x] = (uint8_t)((top * (256 - fy) + bottom * fy + 32768) >> 16);
        }
    }
}

lk_status lk_world_render_frame(const lk_world *w, int64_t frame, uint8_t *rgb)
{
    lk_status st = LK_OK;
    lk_canvas c = {0};
    LK_REQUIRE(frame >= 0 && frame < w->n_frames, LK_E_ARG,
               "frame %lld is outside the clip's %lld frames", (long long)frame,
               (long long)w->n_frames);
    double t = w->control == STATIC ? 0 : lk_flick_to_s(lk_world_frame_span(w, frame).start);
    const lk_point shake = w->camera ? camera_at(w, t) : (lk_point){0, 0};
    if (w->control == REVERSED)
        t = w->setup.seconds - t;
    LK_TRY(lk_canvas_init(&c, w->setup.width, w->setup.height, rgb));
    c.dx = shake.x * c.scale;
    c.dy = shake.y * c.scale;
    if (w->camera)
        copy_moved(w, c.dx, c.dy, rgb);
    else
        memcpy(rgb, w->backdrop, (size_t)w->setup.width * (size_t)w->setup.height * 3);
    w->kind->draw(w->scene, t, &c);
done:
    lk_canvas_clear(&c);
    return st;
}

/* ---- sound -------------------------------------------------------------------------------- */

/* Mains hum with a few harmonics and hiss, about 40 dB below a full hit. */
static void add_noise(const lk_world *w, int64_t first, float *mono)
{
    static const double partial[4] = {1, 0.5, 0.3, 0.1};
    const uint64_t seed = w->setup.seed;
    const double mains = lk_rng_below(seed, LK_STREAM_HUM, 0, 2) ? 50 : 60;
    const double hum = lk_rng_range(seed, LK_STREAM_HUM, 1, 0.003, 0.009);
    const double hiss = lk_rng_range(seed, LK_STREAM_HUM, 2, 0.004, 0.012);
    for (int i = 0; i < LK_WORLD_BLOCK; i++) {
        const int64_t n = first + i;
        const double turns = fmod(mains * (double)n / w->setup.rate_hz, 1.0);
        double x = 0;
        for (int k = 0; k < 4; k++)
            x += hum * partial[k] * sin(2 * PI * turns * (k + 1));
        const double white = lk_rng_uniform(seed, LK_STREAM_HISS, (uint64_t)n) +
                             lk_rng_uniform(seed, LK_STREAM_HISS, (uint64_t)n + 1) - 1.0;
        mono[i] += (float)(x + hiss * white);
    }
}

/* Linear below 0.7, then bent so that no sum of voices leaves [-1, 1]. */
static float limit(float x)
{
    const float knee = 0.7f, a = fabsf(x);
    if (a <= knee)
        return x;
    const float bent = knee + (1 - knee) * tanhf((a - knee) / (1 - knee));
    return copysignf(bent, x);
}

static void render_block(const lk_world *w, int64_t first, float *block)
{
    memset(block, 0, LK_WORLD_BLOCK * sizeof *block);
    if (w->control == SILENT)
        return;
    w->kind->sound(w->other ? w->other : w->scene, &w->grid, first, block);
    if (w->noise)
        add_noise(w, first, block);
    for (int i = 0; i < LK_WORLD_BLOCK; i++)
        block[i] = limit(block[i]);
}

lk_status lk_world_render_sound(const lk_world *w, int64_t first, int64_t count, float *mono)
{
    lk_status st = LK_OK;
    float block[LK_WORLD_BLOCK];
    LK_REQUIRE(first >= 0 && count >= 0 && count <= w->n_samples && first <= w->n_samples - count,
               LK_E_ARG, "samples %lld..%lld are outside the clip's %lld samples", (long long)first,
               (long long)(first + count), (long long)w->n_samples);
    for (int64_t n = first; n < first + count;) {
        const int64_t start = n / LK_WORLD_BLOCK * LK_WORLD_BLOCK;
        int64_t part = start + LK_WORLD_BLOCK - n;
        if (part > first + count - n)
            part = first + count - n;
        render_block(w, start, block);
        memcpy(mono + (n - first), block + (n - start), (size_t)part * sizeof *mono);
        n += part;
    }
done:
    return st;
}

/* ---- looking ------------------------------------------------------------------------------ */

const char *const *lk_world_names(void)
{
    return kind_names;
}

const char *lk_world_summary(const char *name)
{
    for (size_t i = 0; i < N_KINDS; i++) {
        if (strcmp(name, kinds[i]->name) == 0)
            return kinds[i]->summary;
    }
    return NULL;
}

lk_rational lk_world_frame_rate(const lk_world *world, bool *vfr)
{
    *vfr = world->vfr != NULL;
    return *vfr ? (lk_rational){600, 1} : world->rate;
}

int lk_world_rate_hz(const lk_world *world)
{
    return world->setup.rate_hz;
}

void lk_world_size(const lk_world *world, int *width, int *height)
{
    *width = world->setup.width;
    *height = world->setup.height;
}

int64_t lk_world_n_frames(const lk_world *world)
{
    return world->n_frames;
}

int64_t lk_world_n_samples(const lk_world *world)
{
    return world->n_samples;
}

const char *lk_world_caption(const lk_world *world)
{
    return world->caption;
}

int64_t lk_world_n_events(const lk_world *world)
{
    return world->events.n;
}

const lk_world_event *lk_world_events(const lk_world *world)
{
    return world->events.event;
}

int64_t lk_world_n_paths(const lk_world *world)
{
    return world->paths.n;
}

const lk_world_event *lk_world_paths(const lk_world *world)
{
    return world->paths.event;
}
