/* optim_impl.h - what a backend does for an optimiser. */
#ifndef LK_OPTIM_IMPL_H
#define LK_OPTIM_IMPL_H

#include "kernels/status.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Pieces are cut at multiples of this, which also fixes the order of every sum. */
#define LK_OPTIM_PIECE 16384

/* Consecutive numbers that are treated alike; at most LK_OPTIM_PIECE of them, 64-byte aligned. */
typedef struct lk_optim_piece {
    float *value;
    const float *grad;
    float *moment1, *moment2; /* NULL: another process's share */
    float *average;           /* NULL: none */
    int64_t n;
    int decays;
} lk_optim_piece;

/* The numbers of one step; optim.c has the formulas. */
typedef struct lk_adamw_factors {
    float scale;        /* of gradients */
    float beta1, beta2; /* share of the old moments */
    float step, root;   /* rate / (1 - beta1^t), 1 / sqrt(1 - beta2^t) */
    float eps;
    float keep;  /* share of a decaying value that stays */
    float blend; /* share of the value in its new average */
} lk_adamw_factors;

typedef struct lk_optim_kernels {
    /* sums[i]: the sum of squares of piece i's gradients, on the host. */
    lk_status (*sum_squares)(const lk_optim_piece *pieces, int64_t n, double *sums);
    lk_status (*adamw)(const lk_optim_piece *pieces, int64_t n, const lk_adamw_factors *f);
} lk_optim_kernels;

extern const lk_optim_kernels lk_cpu_optim;

#ifdef __cplusplus
}
#endif

#endif /* LK_OPTIM_IMPL_H */
