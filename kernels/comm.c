/* comm.c - see comm.h. */
#include "kernels/comm_impl.h"

#include "kernels/mem.h"

#include <stdlib.h>
#include <string.h>

static int started_by_mpirun(void)
{
    return getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMI_SIZE") || getenv("PMIX_RANK");
}

lk_status lk_comm_open(lk_comm **out, const char *name)
{
    lk_status st = LK_OK;
    lk_comm *c = NULL;
    const char *asked = name ? name : started_by_mpirun() ? "mpi" : "one";
    *out = NULL;
    LK_REQUIRE(strcmp(asked, "one") == 0 || strcmp(asked, "mpi") == 0, LK_E_ARG,
               "there is no communication '%s'; 'one' and 'mpi' are known", asked);
    LK_TRY(LK_NEW(&c));
    c->n = 1;
    if (strcmp(asked, "mpi") == 0) {
#ifdef LK_COMM_MPI
        LK_TRY(lk_comm_mpi.open(c));
        c->backend = &lk_comm_mpi;
#else
        LK_REQUIRE(0, LK_E_ENV,
                   "this build has no MPI; install libopenmpi-dev and build again, or start one "
                   "process without mpirun");
#endif
    }
    *out = c;
    c = NULL;
done:
    lk_free(c);
    return st;
}

void lk_comm_free(lk_comm **pc)
{
    lk_comm *c = *pc;
    if (!c)
        return;
    if (c->backend)
        c->backend->close(c);
    lk_free(c);
    *pc = NULL;
}

int lk_comm_rank(const lk_comm *c)
{
    return c ? c->rank : 0;
}

int lk_comm_n(const lk_comm *c)
{
    return c ? c->n : 1;
}

lk_status lk_comm_sum(lk_comm *c, float *data, int64_t n)
{
    return lk_comm_n(c) > 1 && n > 0 ? c->backend->sum(c, data, n) : LK_OK;
}

lk_status lk_comm_sum_double(lk_comm *c, double *data, int n)
{
    return lk_comm_n(c) > 1 && n > 0 ? c->backend->sum_double(c, data, n) : LK_OK;
}

lk_status lk_comm_spread(lk_comm *c, float *data, int64_t n, int from)
{
    return lk_comm_n(c) > 1 && n > 0 ? c->backend->spread(c, data, n, from) : LK_OK;
}

lk_status lk_comm_fetch(lk_comm *c, float *data, int64_t n, int from)
{
    return lk_comm_n(c) > 1 && n > 0 && from != 0 ? c->backend->fetch(c, data, n, from) : LK_OK;
}

lk_status lk_comm_most(lk_comm *c, int64_t *value)
{
    return lk_comm_n(c) > 1 ? c->backend->most(c, value) : LK_OK;
}
