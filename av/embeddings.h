/* embeddings.h - prompts as vectors that some text encoder made beforehand, in an HDF5 file:
 *
 *     /caption     string [n], variable length
 *     /length      int32 [n], vectors of a caption, 1 .. L
 *     /embedding   f32 or f16 [n, L, channels]; what lies behind a caption's length counts for
 * nothing
 *
 * Threads      open is for one thread; the rest may be called by any number.
 */
#ifndef LK_EMBEDDINGS_H
#define LK_EMBEDDINGS_H

#include "kernels/status.h"

#include <stdint.h>

typedef struct lk_embeddings lk_embeddings;

/* LK_E_FORMAT for a file that is not as above, LK_E_NUMERIC for NaN or Inf. */
LK_CHECKED lk_status lk_embeddings_open(lk_embeddings **e, const char *path);
void lk_embeddings_free(lk_embeddings **e);

int lk_embeddings_channels(const lk_embeddings *e);
int lk_embeddings_most(const lk_embeddings *e); /* L */

/* Vectors [n, channels] of a caption; borrowed.  LK_E_ARG for one that the file lacks. */
LK_CHECKED lk_status lk_embeddings_find(const lk_embeddings *e, const char *caption,
                                        const float **vectors, int *n);

/* Write such a file: captions [n], lengths [n], vectors [n, most, channels]. */
LK_CHECKED lk_status lk_embeddings_save(const char *path, int64_t n, const char *const *captions,
                                        const int32_t *lengths, int most, int channels,
                                        const float *vectors);

#endif /* LK_EMBEDDINGS_H */
