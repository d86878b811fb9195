/* optim.c - the CPU's share of optim_impl.h: pieces over threads. */
#include "kernels/optim_impl.h"

#include "kernels/cpu/vec_table.h"
#include "kernels/thread.h"

typedef struct job {
    const lk_vec_table *vec;
    const lk_optim_piece *pieces;
    const lk_adamw_factors *factors;
    double *sums;
} job;

static void squares_range(void *context, int64_t first, int64_t end)
{
    const job *j = context;
    for (int64_t i = first; i < end; i++)
        j->sums[i] = j->vec->sum_squares(j->pieces[i].grad, j->pieces[i].n);
}

static lk_status sum_squares(const lk_optim_piece *pieces, int64_t n, double *sums)
{
    job j = {lk_vec_now(), pieces, NULL, sums};
    lk_parallel_for(n, 2, squares_range, &j);
    return LK_OK;
}

static void adamw_range(void *context, int64_t first, int64_t end)
{
    const job *j = context;
    for (int64_t i = first; i < end; i++)
        j->vec->adamw(&j->pieces[i], j->factors);
}

static lk_status adamw(const lk_optim_piece *pieces, int64_t n, const lk_adamw_factors *f)
{
    job j = {lk_vec_now(), pieces, f, NULL};
    lk_parallel_for(n, 1, adamw_range, &j);
    return LK_OK;
}

const lk_optim_kernels lk_cpu_optim = {sum_squares, adamw};
