/* world_impl.h - what a kind of world provides; worlds.c does everything that is common.
 *
 * Common, done once in worlds.c: options and their checks, frame times, the planted offset and
 * drift, the controls (silent, static, shuffled, reversed), camera shake, hum and hiss, the
 * limiter, sorting of events.  A kind knows only picture time: one timeline in seconds, 0 at the
 * first frame, on which both what is seen and what is heard happens.
 *
 * A kind must make its scene for t in [-LK_WORLD_LEAD_S, seconds + LK_WORLD_LEAD_S], because a
 * shifted sound or a reversed picture looks outside the clip; what happens at time t must not
 * depend on width, height, rate, seconds, offset or noise.  Only events with start in [0, seconds)
 * are kept (others may be added, worlds.c drops them).
 *
 * Sound        is asked for in whole blocks of LK_WORLD_BLOCK samples at multiples of it, so a kind
 *              may run recursions within a block and any chunking gives equal bits.  Sample n
 * sounds at picture time lk_sound_time(grid, n): synthesise as a function of that time, with starts
 * between samples respected. Picture      draw() gets the canvas already holding the backdrop, seen
 * through the moving camera.
 *
 * Threads      scenes are immutable after create; draw and sound only read them.
 */
#ifndef LK_WORLD_IMPL_H
#define LK_WORLD_IMPL_H

#include "experiments/worlds/raster.h"
#include "experiments/worlds/worlds.h"

#define LK_WORLD_LEAD_S 8.0
#define LK_WORLD_BLOCK  1024

/* Streams of the counter-based generator; a kind uses those from LK_STREAM_KIND on. */
enum { LK_STREAM_CAMERA, LK_STREAM_HISS, LK_STREAM_VFR, LK_STREAM_HUM, LK_STREAM_KIND = 1000 };

typedef struct lk_world_setup {
    uint64_t seed; /* mixed from the clip's seed and index; the only source of randomness */
    double seconds;
    double aspect; /* width / height: x of the right edge */
    int width, height;
    int rate_hz;
    bool clutter, overlap;
} lk_world_setup;

typedef struct lk_sound_grid {
    int rate_hz;
    double offset_s;
    double stretch; /* 1 + drift_ppm / 1e6 */
} lk_sound_grid;

static inline double lk_sound_time(const lk_sound_grid *g, int64_t n)
{
    return ((double)n / g->rate_hz - g->offset_s) / g->stretch;
}

typedef struct lk_event_list {
    int64_t n;
    size_t capacity;
    lk_world_event *event;
} lk_event_list;

/* Times in seconds of picture time; end_s == start_s for an instant.  label is cut to 15 bytes. */
LK_CHECKED lk_status lk_event_add(lk_event_list *list, lk_world_event_kind kind, double start_s,
                                  double end_s, double strength, const char *label);

/* The same for an instant at (x, y), fractions of the picture. */
LK_CHECKED lk_status lk_event_add_at(lk_event_list *list, lk_world_event_kind kind, double t_s,
                                     double strength, const char *label, double x, double y);

/* Longest piece of a path: a ball's way leaves its straight one by 1 % of the picture's height. */
#define LK_PATH_S 0.12

/* A path's pieces from start_s to end_s, as far as they lie in [0, seconds) and somewhere in the
 * picture; where(user, t, &x, &y) says where it is, and pieces of at most longest_s are straight.
 */
LK_CHECKED lk_status lk_event_add_path(lk_event_list *list, double seconds, double start_s,
                                       double end_s, double longest_s, const char *label,
                                       void (*where)(const void *user, double t, double *x,
                                                     double *y),
                                       const void *user);

#define LK_CAPTION_BYTES 256

typedef struct lk_world_kind {
    const char *name;
    const char *summary; /* one line for help */
    /* Make the scene, add its events, write its caption.  *scene is freed by `free` also when this
     * fails half way. */
    lk_status (*create)(void **scene, const lk_world_setup *setup, lk_event_list *events,
                        char caption[LK_CAPTION_BYTES]);
    void (*free)(void **scene);
    /* What never moves; called once.  The canvas is larger than the picture: fill beyond its edges
     * by a tenth of the height for the camera. */
    void (*backdrop)(const void *scene, lk_canvas *canvas);
    /* What moves, at picture time t seconds. */
    void (*draw)(const void *scene, double t, lk_canvas *canvas);
    /* Add samples first .. first + LK_WORLD_BLOCK - 1 to mono, nominally within [-1, 1]. */
    void (*sound)(const void *scene, const lk_sound_grid *grid, int64_t first, float *mono);
} lk_world_kind;

/* One row in worlds.c per kind. */
extern const lk_world_kind lk_world_impacts;
extern const lk_world_kind lk_world_talker;
extern const lk_world_kind lk_world_dancer;

#endif /* LK_WORLD_IMPL_H */
