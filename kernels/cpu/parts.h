/* parts.h - one convolution as fixed parts, shared out among threads.
 *
 * How many parts there are, and what each computes, follows from the shape alone, and each part is
 * one thread's work: so the result does not depend on the number of threads.
 *
 * Threads      one thread builds, runs and frees.
 */
#ifndef LK_CPU_PARTS_H
#define LK_CPU_PARTS_H

#include "kernels/cpu/dnn.h"

#define LK_MAX_PARTS 32

typedef struct lk_parts lk_parts;

LK_CHECKED lk_status lk_parts_new(lk_parts **p);
void lk_parts_free(lk_parts **p); /* accepts NULL and half-built */

/* One more part, at these byte offsets in the operands; takes *dnn, also on failure. */
LK_CHECKED lk_status lk_parts_add(lk_parts *p, lk_dnn **dnn, size_t a_at, size_t b_at,
                                  size_t bias_at, size_t y_at);

/* When all are there: bytes of work space for the threads in use. */
size_t lk_parts_finish(lk_parts *p);

LK_CHECKED lk_status lk_parts_run(lk_parts *p, const void *a, const void *b, const void *bias,
                                  void *y, void *work);

#endif /* LK_CPU_PARTS_H */
