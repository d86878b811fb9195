/* optim.h - from gradients to better parameters: AdamW, clipping by the global norm, a moving
 * average of the parameters, and learning rates as a function of the step.
 *
 * An optimiser trains some parameters of a store.  Their gradients lie in LK_GRAD; it keeps the
 * moments in LK_MOMENT1 and LK_MOMENT2 and the moving average in LK_AVERAGE.  Several optimisers
 * may train different parameters of one store (a generator and its discriminator).
 *
 *     LK_TRY(lk_optim_new(&o, params, &config));
 *     ...gradients...
 *     LK_TRY(lk_optim_norm(o, &norm));
 *     LK_TRY(lk_optim_step(o, step, lk_schedule_rate(&schedule, step),
 *                          lk_clip_factor(norm, 1.0)));
 *
 * Determinism  results do not depend on the number of threads, nor, with the same gradients, on
 *              the number of processes.
 * Threads      one optimiser by one thread at a time.
 * Source       Loshchilov, Hutter: "Decoupled Weight Decay Regularization", ICLR 2019;
 *              Pascanu, Mikolov, Bengio: "On the difficulty of training recurrent neural networks",
 *              ICML 2013 (clipping).
 */
#ifndef LK_OPTIM_H
#define LK_OPTIM_H

#include "kernels/params.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lk_schedule_kind {
    LK_SCHEDULE_CONSTANT, /* peak */
    LK_SCHEDULE_COSINE,   /* from peak to floor by half a cosine */
    LK_SCHEDULE_LINEAR,   /* from peak to floor in a straight line */
    LK_SCHEDULE_WSD       /* peak, and in the last `decay` steps straight to floor */
} lk_schedule_kind;

typedef struct lk_schedule {
    lk_schedule_kind kind;
    double peak, floor;
    int64_t warmup; /* the first steps rise in equal parts to peak */
    int64_t total;  /* steps of the training; later ones stay where it ended */
    int64_t decay;  /* WSD only */
} lk_schedule;

/* Learning rate of a step, the first being 0. */
double lk_schedule_rate(const lk_schedule *s, int64_t step);

typedef struct lk_optim_config {
    double beta1, beta2; /* 0 .. 1 (exclusive); both 0: 0.9 and 0.95 */
    double eps;          /* 0: 1e-8 */
    double decay;        /* of weights, times the learning rate */
    double average;      /* 0: no moving average; else its memory, such as 0.999; it rises from 0.1
                            at first, (1 + step) / (10 + step), so that early steps fade quickly */
    /* Which parameters are trained, and which of those decay.  NULL: all; those of at least two
     * dimensions. */
    int (*trains)(const char *name, const lk_shape *shape);
    int (*decays)(const char *name, const lk_shape *shape);
    int rank, n_processes; /* this process's share of the slabs; 0 of 0: everything */
} lk_optim_config;

typedef struct lk_optim lk_optim;

/* The store's parameters are complete by now; makes the slots it needs. */
LK_CHECKED lk_status lk_optim_new(lk_optim **o, lk_params *params, const lk_optim_config *config);
void lk_optim_free(lk_optim **o);

/* Euclidean norm of all gradients the optimiser trains with, also those of other processes'
 * shares; NaN or Inf if one of them is. */
LK_CHECKED lk_status lk_optim_norm(lk_optim *o, double *norm);

/* What to multiply gradients of this norm with so that it is at most `most` (0: no limit). */
double lk_clip_factor(double norm, double most);

/* One update of this process's share: step counts from 0, gradients are multiplied by `scale`. */
LK_CHECKED lk_status lk_optim_step(lk_optim *o, int64_t step, double rate, double scale);

#ifdef __cplusplus
}
#endif

#endif /* LK_OPTIM_H */
