/* worlds_clip.h - a world as a media file, and its truth as JSON.
 *
 * Threads      one world may be written to several files at once; it is only read.
 */
#ifndef LK_WORLDS_CLIP_H
#define LK_WORLDS_CLIP_H

#include "av/json.h"
#include "experiments/worlds/worlds.h"

typedef struct lk_world_clip_options {
    const char *container; /* these three as in lk_writer_options; NULL: by the path's ending */
    const char *vcodec, *acodec;
    int threads;              /* of the encoder, 0 = number of processors */
    const volatile int *stop; /* may be NULL; not 0: give up with LK_E_INTERRUPTED */
    void (*progress)(void *user, double share); /* may be NULL */
    void *user;
} lk_world_clip_options;

/* Render everything into path; options may be NULL.  Nothing is left at path on failure. */
LK_CHECKED lk_status lk_world_write_clip(const lk_world *world, const char *path,
                                         const lk_world_clip_options *options);

/* The truth of one clip: {"clip", "world", "seed", "index", "fps", "seconds", "width", "height",
 * "rate_hz", "offset_ms", "drift_ppm", "clutter", "camera", "noise", "overlap", "control",
 * "caption", "events": [{"kind", "label", "picture_s", "picture_end_s", "sound_s", "sound_end_s",
 * "strength", "x", "y"}], "paths": [{"label", "picture_s", "picture_end_s", "x", "y", "to_x",
 * "to_y"}]}.  Times in seconds, null where an event is not seen or not heard; places as in
 * kernels/place.h, where there are any.  `clip` is the file name to state.  The caller releases
 * *truth. */
LK_CHECKED lk_status lk_world_truth(const lk_world *world, const char *clip, const char *name,
                                    uint64_t seed, uint64_t index, const lk_world_options *options,
                                    json_t **truth);

/* Events and paths by their times in the picture, as a script for generating the like; the first
 * line has the caption, as a comment. */
LK_CHECKED lk_status lk_world_script_write(const lk_world *world, const char *path);

/* "impact", "phone", "beat", "drum", "path". */
const char *lk_world_event_kind_name(lk_world_event_kind kind);

/* Write lines (one JSON object a clip) to path at once: either all or the old content is there.
 * Lines of an old file keep their place: a new one of the same "clip" stands where the old one
 * stood, and those of other clips stay; clips that are not there follow. */
LK_CHECKED lk_status lk_world_truth_write(const char *path, json_t *const *lines, int64_t n);

/* The old line of a clip in a file written by lk_world_truth_write, or NULL in *truth when there
 * is none.  The caller releases it. */
LK_CHECKED lk_status lk_world_truth_find(const char *path, const char *clip, json_t **truth);

#endif /* LK_WORLDS_CLIP_H */
