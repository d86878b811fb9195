/* scratch.h - a folder for files nobody asked to keep, under $TMPDIR or /tmp. */
#ifndef LK_SCRATCH_H
#define LK_SCRATCH_H

#include "kernels/status.h"

typedef struct lk_scratch {
    char folder[192]; /* "" before it is made */
} lk_scratch;

LK_CHECKED lk_status lk_scratch_make(lk_scratch *x);

/* The folder with the plain files in it; accepts one that was not made. */
void lk_scratch_remove(lk_scratch *x);

#endif /* LK_SCRATCH_H */
