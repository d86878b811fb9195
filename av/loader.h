/* loader.h - batches made ahead, in the background, for a training that asks for them in order.
 *
 * `make` fills one batch as a function of seed and index alone.  While a step runs, the batches
 * with the next indices are made by other threads; asking for any other index is right too, only
 * not faster.
 *
 *     LK_TRY(lk_loader_new(&l, &(lk_loader_config){.bytes = n, .make = make, .user = data}));
 *     LK_TRY(lk_loader_get(l, seed, index, batch));
 *
 * Threads      one thread asks; `make` runs on the loader's threads, several at a time.
 * Errors       those of `make`, when the batch it failed at is asked for.
 */
#ifndef LK_LOADER_H
#define LK_LOADER_H

#include "kernels/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct lk_loader lk_loader;

typedef struct lk_loader_config {
    size_t bytes; /* of a batch */
    int ahead;    /* batches made ahead and threads that make them; 0: 2 */
    int64_t step; /* distance of the indices asked for; 0: 1 */
    lk_status (*make)(void *user, uint64_t seed, int64_t index, void *batch);
    void *user;
} lk_loader_config;

LK_CHECKED lk_status lk_loader_new(lk_loader **l, const lk_loader_config *config);

/* Waits for the threads. */
void lk_loader_free(lk_loader **l);

/* Copy batch `index` out. */
LK_CHECKED lk_status lk_loader_get(lk_loader *l, uint64_t seed, int64_t index, void *batch);

/* Seconds that lk_loader_get has waited so far, and how often it was asked. */
double lk_loader_waited_s(const lk_loader *l);
int64_t lk_loader_n_asked(const lk_loader *l);

#endif /* LK_LOADER_H */
