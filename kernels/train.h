/* train.h - the training loop: batches, gradients, updates, log, checkpoints, clean stops.
 *
 * A training has one phase (a graph that ends in a loss, and the optimiser of the parameters it
 * trains) or several that take turns in every step, such as a discriminator and a generator, or
 * one after the other, such as stages that see more and more.
 *
 * The folder of a run afterwards:
 *     log.jsonl                     a line every log_every steps, and where a watch has numbers
 *     events.out.tfevents.lockstep  the same for TensorBoard
 *     checkpoints/                  checkpoint.h
 *     DONE                          once the last step is finished and saved
 *
 * Resuming     a run that was killed at any moment goes on from its newest sound checkpoint and
 *              ends in the same bits as one that was not; lines of steps after that checkpoint
 *              leave the log first.
 * Stopping     SIGINT or SIGTERM: the step is finished and saved, LK_E_INTERRUPTED.
 * NaN, Inf     in a loss or gradient: nothing is updated or saved, LK_E_NUMERIC names the step and
 *              the first value that went wrong.
 * Processes    each computes n_micro batches of every step; gradients are summed, each process
 *              updates a share of the parameters (comm.h).  Log and checkpoints are process 0's.
 * Memory       steps after the first allocate nothing, apart from checkpoints and watches.
 * Threads      one training by one thread.
 */
#ifndef LK_TRAIN_H
#define LK_TRAIN_H

#include "kernels/comm.h"
#include "kernels/graph.h"
#include "kernels/optim.h"
#include "kernels/safetensors.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Which batch is wanted.  Its contents must be a function of the seed and the index alone (or of
 * step, micro and rank), so that a resumed run sees what it would have seen. */
typedef struct lk_train_batch {
    uint64_t seed;
    int64_t step;          /* from 0 */
    int micro, n_micro;    /* batch of this step and process */
    int rank, n_processes; /* which process asks */
    int64_t index;         /* counts all batches of all steps and processes from 0 */
} lk_train_batch;

#define LK_TRAIN_MOST_PHASES  8
#define LK_TRAIN_MOST_LOSSES  32
#define LK_TRAIN_MOST_WATCHES 4

typedef struct lk_train_phase {
    /* It takes part in steps from <= step < until, counted from 0; until 0: to the end.  Phases
     * that share no step may train the same parameters; one that begins later warms up again, to
     * where its schedule is. */
    int64_t from, until;
    int64_t batch_samples; /* of its batches; 0: the configuration's */
    const char *name;      /* stands before its numbers in the log, "d_"; NULL for nothing */
    lk_graph *graph;       /* compiled, .accumulate = 1, lk_backward called */
    /* Write the inputs of a batch into the graph. */
    lk_status (*fill)(void *user, lk_graph *g, const lk_train_batch *b);
    void *user;
    /* Outputs of the graph, single numbers: the loss, then whatever else shall be logged; means
     * over the batches of a step. */
    int n_losses;
    const char *const *losses;
    lk_optim_config optim; /* rank and n_processes are filled in here */
    lk_schedule schedule;
    double clip; /* largest norm of the gradient; 0: no limit */
    /* After the update of a step (from 0), NULL for nothing: change parameters that no optimiser
     * trains, such as moving averages, as a function of the store, the step and the graph after
     * this process's last batch.  Of several processes the one that owns a slab decides. */
    lk_status (*after_step)(void *user, lk_graph *g, int64_t step);
} lk_train_phase;

/* Someone who looks at a training without being part of it: losses of samples that are held out,
 * pictures of what a model makes.  All processes have the same ones. */
typedef struct lk_train_watch {
    int64_t every; /* steps; 0: never */
    int n;         /* numbers for the log, 0 .. LK_TRAIN_MOST_LOSSES */
    const char *const *names;
    /* After `step` finished steps, in process 0, which has all averages meanwhile: fill values [n]
     * and leave the parameters as they are. */
    lk_status (*look)(void *user, int64_t step, double *values);
    void *user;
} lk_train_watch;

typedef struct lk_train_config {
    const char *folder;
    lk_params *params; /* of all phases */
    int n_phases;
    lk_train_phase *phases;
    int n_watches; /* 0 .. LK_TRAIN_MOST_WATCHES */
    const lk_train_watch *watches;
    uint64_t seed;
    int64_t n_steps;
    int n_micro;           /* batches a step and process whose gradients add up; 0: 1 */
    int64_t batch_samples; /* samples (or tokens) in a batch, for counting */
    int64_t log_every;     /* steps; 0: 1 */
    int64_t save_every;    /* steps; 0: only at the end and when stopped */
    int keep;              /* newest checkpoints kept; 0: all */
    int resume;            /* 1: go on if the folder has a checkpoint; 0: refuse it then */
    const char *label;     /* of the progress bar; NULL: "training" */
    int n_texts;           /* into every checkpoint: configuration, commit */
    const lk_safetensors_text *texts;
    lk_comm *comm; /* NULL: one process */
} lk_train_config;

typedef struct lk_train_result {
    int64_t step;        /* finished steps, those before a resume included */
    int64_t samples;     /* seen by all processes in all steps */
    double loss;         /* of the last step, first phase that took part; NaN when no step was left
                            to do */
    int64_t allocations; /* made by steps after the first, without checkpoints and watches */
} lk_train_result;

/* result may be NULL; it is filled also when the training is interrupted. */
LK_CHECKED lk_status lk_train(const lk_train_config *config, lk_train_result *result);

#ifdef __cplusplus
}
#endif

#endif /* LK_TRAIN_H */
