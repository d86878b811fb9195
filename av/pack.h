/* pack.h - clips and worlds into datasets for training (dataset.h).
 *
 * Every input becomes one or more clips of equal picture size and sample rate: media are cut into
 * pieces of at most `seconds`, a piece owning the frames and samples that start in it; worlds are
 * rendered.  Captions and events come from a truth.jsonl beside the clip, as `lockstep worlds`
 * writes it.
 *
 * Threads      one caller; worlds are rendered on all threads.
 */
#ifndef LK_PACK_H
#define LK_PACK_H

#include "av/dataset.h"
#include "experiments/worlds/worlds.h"

typedef struct lk_pack_options {
    lk_dataset_format format;
    double seconds;           /* longest clip */
    double min_seconds;       /* shorter pieces are left out */
    const volatile int *stop; /* may be NULL; not 0: LK_E_INTERRUPTED */
} lk_pack_options;

/* All pieces of one media file into the shard.  A stream the format asks for must be there, else
 * LK_E_FORMAT; *n_clips counts what was added. */
LK_CHECKED lk_status lk_pack_media(lk_shard *shard, const char *path, const lk_pack_options *o,
                                   int64_t *n_clips);

/* Clips first .. first + n - 1 of a world; world->width, height, rate_hz must be those of the
 * format.  Each is called done(user, i) when it is in. */
LK_CHECKED lk_status lk_pack_world(lk_shard *shard, const char *name, uint64_t seed, int64_t first,
                                   int64_t n, const lk_world_options *world,
                                   const lk_pack_options *o, void (*done)(void *user, int64_t i),
                                   void *user);

#endif /* LK_PACK_H */
