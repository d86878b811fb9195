/* comm.h - several processes that train together.
 *
 * Every process calls the same functions in the same order.  Sums run in the order of the ranks, so
 * that all processes hold the same bits and a repetition gives them again.
 *
 * "one" is this process alone.  "mpi" is MPI on host memory, when the build found it.  A NULL
 * lk_comm * counts as "one".
 *
 * Errors       LK_E_ENV when a transfer fails; the other processes then have to be ended.
 * Threads      one thread of a process.
 */
#ifndef LK_COMM_H
#define LK_COMM_H

#include "kernels/status.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lk_comm lk_comm;

/* name NULL: "mpi" when the process was started by mpirun, else "one". */
LK_CHECKED lk_status lk_comm_open(lk_comm **c, const char *name);
void lk_comm_free(lk_comm **c);

int lk_comm_rank(const lk_comm *c);
int lk_comm_n(const lk_comm *c); /* processes */

/* data <- the sum of all processes' data. */
LK_CHECKED lk_status lk_comm_sum(lk_comm *c, float *data, int64_t n);
LK_CHECKED lk_status lk_comm_sum_double(lk_comm *c, double *data, int n);

/* data <- what process `from` has there: in every process; in process 0 alone. */
LK_CHECKED lk_status lk_comm_spread(lk_comm *c, float *data, int64_t n, int from);
LK_CHECKED lk_status lk_comm_fetch(lk_comm *c, float *data, int64_t n, int from);

/* *value <- the largest of all; also a point where all wait for each other. */
LK_CHECKED lk_status lk_comm_most(lk_comm *c, int64_t *value);

#ifdef __cplusplus
}
#endif

#endif /* LK_COMM_H */
