/* comm_impl.h - what a way of talking between processes provides. */
#ifndef LK_COMM_IMPL_H
#define LK_COMM_IMPL_H

#include "kernels/comm.h"

#include <stddef.h>

typedef struct lk_comm_backend {
    const char *name;
    lk_status (*open)(lk_comm *c); /* sets rank, n and state */
    void (*close)(lk_comm *c);
    lk_status (*sum)(lk_comm *c, float *data, int64_t n);
    lk_status (*sum_double)(lk_comm *c, double *data, int n);
    lk_status (*spread)(lk_comm *c, float *data, int64_t n, int from);
    lk_status (*fetch)(lk_comm *c, float *data, int64_t n, int from);
    lk_status (*most)(lk_comm *c, int64_t *value);
} lk_comm_backend;

struct lk_comm {
    const lk_comm_backend *backend;
    int rank, n;
    void *state;
};

extern const lk_comm_backend lk_comm_mpi; /* comm_mpi.c, when MPI was found */

#endif /* LK_COMM_IMPL_H */
