/* pca.h - principal components of many vectors, in memory that does not grow with their number.
 *
 *     LK_TRY(lk_pca_new(&p, 768));
 *     for each batch
 *         LK_TRY(lk_pca_add(p, n_rows, rows));
 *     LK_TRY(lk_pca_solve(p, 16, mean, basis, variance));
 *
 * Errors   LK_E_ARG for sizes out of range; LK_E_NUMERIC for NaN or Inf; LK_E_EMPTY with no rows.
 * Threads  one object by one thread; the bits do not depend on the number of threads.
 * Source   Halko, Martinsson, Tropp 2011, algorithm 4.4 (subspace iteration).
 */
#ifndef LK_PCA_H
#define LK_PCA_H

#include "kernels/status.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LK_PCA_MOST 8192 /* numbers of a vector */

typedef struct lk_pca lk_pca;

/* Of vectors of n numbers, 1 .. LK_PCA_MOST. */
LK_CHECKED lk_status lk_pca_new(lk_pca **p, int64_t n);
void lk_pca_free(lk_pca **p);

/* n_rows >= 0 more vectors, [n_rows, n]. */
LK_CHECKED lk_status lk_pca_add(lk_pca *p, int64_t n_rows, const float *x);

/* The k <= n directions of most variance around the mean: mean [n], basis [k, n] with orthonormal
 * rows, variance [k] falling.  mean and variance may be NULL. */
LK_CHECKED lk_status lk_pca_solve(const lk_pca *p, int64_t k, float *mean, float *basis,
                                  float *variance);

#ifdef __cplusplus
}
#endif

#endif /* LK_PCA_H */
