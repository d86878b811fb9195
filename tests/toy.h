/* toy.h - a small training that every test of the loop shares: two layers learn a function of
 * counter-based random points. */
#ifndef LK_TESTS_TOY_H
#define LK_TESTS_TOY_H

#include "kernels/params.h"
#include "kernels/train.h"

typedef struct toy {
    lk_params *params;
    lk_graph *graph;
    int64_t rows;        /* of a batch */
    float *x, *y;        /* its points and what is to be learned */
    int64_t poison_step; /* from this step on a NaN is among the points; -1: never */
    lk_train_phase phase;
} toy;

/* rows: points in a batch of one process. */
LK_CHECKED lk_status toy_open(toy *t, int64_t rows);
void toy_close(toy *t);

/* A training of it; phases points into the toy. */
lk_train_config toy_config(toy *t, const char *folder, int64_t n_steps);

#endif /* LK_TESTS_TOY_H */
