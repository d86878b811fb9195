/* provenance.h - where a row of numbers comes from, as a JSON object in text.
 *
 *     {"lockstep","commit","seed","metrics":[]} and, when something was known about the clip,
 *     "truth": a hash of its onsets, beats, downbeats, face and the name of its reference sound
 *
 * Equal rows out of equal provenance: this is what --resume compares before it goes on.
 *
 * Threads      pure.
 */
#ifndef LK_PROVENANCE_H
#define LK_PROVENANCE_H

#include "av/manifest.h"

/* *text is new, freed by lk_free.  n_metrics = 0: the default metrics. */
LK_CHECKED lk_status lk_provenance_make(const char *const *metrics, size_t n_metrics, uint64_t seed,
                                        const lk_manifest_row *row, char **text);

#endif /* LK_PROVENANCE_H */
