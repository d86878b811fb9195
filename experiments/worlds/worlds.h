/* worlds.h - clips with exactly known truth, clip = f(world, seed, index, options).
 *
 * Three worlds: `impacts` (shaded balls hit surfaces, modal sounds per material), `talker` (a face
 * whose mouth is driven by the parameters of a source-filter voice), `dancer` (a jointed figure
 * moving to drums and bass with tempo, swing and bars).  Everything is counter-based: any frame or
 * sample can be made without those before it being stored, on any machine, with equal bits.
 *
 * A planted offset moves the sound (positive: late); a planted drift stretches the sound's time by
 * (1 + ppm / 1e6).  Truth states the times of events in the picture and in the sound.
 *
 * Threads      a lk_world is immutable after create; rendering is safe from several threads.
 */
#ifndef LK_WORLDS_H
#define LK_WORLDS_H

#include "kernels/option.h"
#include "kernels/place.h"
#include "kernels/view.h"

#include <stdbool.h>

typedef struct lk_world_options {
    double seconds;  /* duration of picture and sound */
    const char *fps; /* "25", "29.97", "vfr" */
    int width, height;
    int rate_hz;         /* 16000, 24000, 44100, 48000 */
    double offset_ms;    /* sound late by this much */
    double drift_ppm;    /* sound runs slow by this much */
    bool clutter;        /* moving things that make no sound */
    bool camera;         /* hand-held camera motion */
    bool noise;          /* background noise and hum */
    bool overlap;        /* more events, some at nearly the same time */
    const char *control; /* "none", "silent", "static", "shuffled" (unrelated sound), "reversed" */
} lk_world_options;

extern const lk_option lk_world_option_rows[];

typedef enum lk_world_event_kind {
    LK_EVENT_IMPACT, /* a hit: label = material */
    LK_EVENT_PHONE,  /* a phone: label = its name, start..end */
    LK_EVENT_BEAT,   /* strength = position in bar, 1 = downbeat */
    LK_EVENT_DRUM,   /* label = kick, snare, hat */
    LK_EVENT_PATH    /* label = what moves, from one place to another; not among the events */
} lk_world_event_kind;

typedef struct lk_world_event {
    lk_world_event_kind kind;
    lk_span picture; /* when it is seen; end == start for an instant */
    lk_span sound;   /* when it is heard: picture plus offset and drift; may lie outside the clip */
    double strength; /* (0, 1], or position in bar */
    char label[16];
    lk_place place; /* in the picture without camera motion; nowhere where it is not known */
} lk_world_event;

typedef struct lk_world lk_world;

/* name: "impacts", "talker", "dancer".  LK_E_ARG with a suggestion on another name. */
LK_CHECKED lk_status lk_world_create(lk_world **world, const char *name, uint64_t seed,
                                     uint64_t index, const lk_world_options *options);
void lk_world_free(lk_world **world);

const char *const *lk_world_names(void); /* NULL-ended */

/* One line on what a world shows, or NULL for an unknown name. */
const char *lk_world_summary(const char *name);

int64_t lk_world_n_frames(const lk_world *world);
lk_span lk_world_frame_span(const lk_world *world, int64_t frame);
int64_t lk_world_n_samples(const lk_world *world);
int lk_world_rate_hz(const lk_world *world);
void lk_world_size(const lk_world *world, int *width, int *height);

/* The constant frame rate; with *vfr the rate no two frames are closer than. */
lk_rational lk_world_frame_rate(const lk_world *world, bool *vfr);

/* What the clip shows, as a prompt: "a rubber ball bounces on wood". Valid while world lives. */
const char *lk_world_caption(const lk_world *world);

/* rgb [height, width, 3] sRGB. */
LK_CHECKED lk_status lk_world_render_frame(const lk_world *world, int64_t frame, uint8_t *rgb);

/* mono [count] in [-1, 1]; samples first .. first + count - 1. */
LK_CHECKED lk_status lk_world_render_sound(const lk_world *world, int64_t first, int64_t count,
                                           float *mono);

/* Sorted by picture.start, then sound.start.  Where sound and picture do not belong together (the
 * controls) an event is either seen or heard, and the span of the other is LK_FLICK_NONE. */
int64_t lk_world_n_events(const lk_world *world);
const lk_world_event *lk_world_events(const lk_world *world);

/* Where what moves is: straight pieces of about a tenth of a second of every path, sorted likewise;
 * they are seen only.  `impacts` has the balls' middles, `dancer` head, hands and feet. */
int64_t lk_world_n_paths(const lk_world *world);
const lk_world_event *lk_world_paths(const lk_world *world);

#endif /* LK_WORLDS_H */
