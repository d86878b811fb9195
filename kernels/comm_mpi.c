/* comm_mpi.c - comm.h over MPI, on host memory.
 *
 * MPI_Allreduce may add in any order.  Instead every process receives one share of the numbers from
 * all, adds it up in the order of the ranks in double, and hands the sum to all: as much traffic as
 * a ring, and one result. */
#include "kernels/comm_impl.h"

#include "kernels/mem.h"

#include <mpi.h>
#include <string.h>

#define SHARE 65536 /* numbers a process adds up at a time */

/* Scratch of n SHAREs each. */
typedef struct state {
    float *send, *receive;
    double *all; /* [n, MOST_DOUBLES] */
} state;
#define MOST_DOUBLES 64

static lk_status check(int code, const char *what)
{
    lk_status st = LK_OK;
    LK_REQUIRE(code == MPI_SUCCESS, LK_E_ENV, "MPI failed to %s (error %d)", what, code);
done:
    return st;
}

static void mpi_close(lk_comm *c)
{
    state *s = c->state;
    int done = 0;
    if (s) {
        lk_free(s->send);
        lk_free(s->receive);
        lk_free(s->all);
    }
    lk_free(s);
    c->state = NULL;
    if (MPI_Finalized(&done) == MPI_SUCCESS && !done)
        MPI_Finalize();
}

static lk_status mpi_open(lk_comm *c)
{
    lk_status st = LK_OK;
    int level = 0;
    state *s = NULL;
    LK_TRY(check(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level), "start"));
    LK_TRY(check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "start"));
    LK_TRY(check(MPI_Comm_rank(MPI_COMM_WORLD, &c->rank), "tell the rank"));
    LK_TRY(check(MPI_Comm_size(MPI_COMM_WORLD, &c->n), "tell the number of processes"));
    LK_TRY(LK_NEW(&s));
    c->state = s;
    LK_TRY(LK_NEW_ARRAY(&s->send, (int64_t)c->n * SHARE));
    LK_TRY(LK_NEW_ARRAY(&s->receive, (int64_t)c->n * SHARE));
    LK_TRY(LK_NEW_ARRAY(&s->all, c->n * MOST_DOUBLES));
done:
    if (st != LK_OK)
        mpi_close(c);
    return st;
}

/* At most n SHAREs. */
static lk_status sum_block(lk_comm *c, float *data, int64_t n)
{
    lk_status st = LK_OK;
    state *s = c->state;
    const int share = (int)((n + c->n - 1) / c->n);
    memcpy(s->send, data, (size_t)n * sizeof *data);
    memset(s->send + n, 0, (size_t)((int64_t)share * c->n - n) * sizeof *data);
    LK_TRY(
        check(MPI_Alltoall(s->send, share, MPI_FLOAT, s->receive, share, MPI_FLOAT, MPI_COMM_WORLD),
              "exchange gradients"));
    for (int i = 0; i < share; i++) {
        double sum = 0;
        for (int r = 0; r < c->n; r++)
            sum += (double)s->receive[(int64_t)r * share + i];
        s->send[i] = (float)sum;
    }
    LK_TRY(check(
        MPI_Allgather(s->send, share, MPI_FLOAT, s->receive, share, MPI_FLOAT, MPI_COMM_WORLD),
        "exchange gradients"));
    memcpy(data, s->receive, (size_t)n * sizeof *data);
done:
    return st;
}

static lk_status mpi_sum(lk_comm *c, float *data, int64_t n)
{
    lk_status st = LK_OK;
    const int64_t block = (int64_t)c->n * SHARE;
    for (int64_t at = 0; at < n; at += block)
        LK_TRY(sum_block(c, data + at, n - at < block ? n - at : block));
done:
    return st;
}

static lk_status mpi_sum_double(lk_comm *c, double *data, int n)
{
    lk_status st = LK_OK;
    state *s = c->state;
    LK_REQUIRE(n <= MOST_DOUBLES, LK_E_ARG, "at most %d numbers at a time", MOST_DOUBLES);
    LK_TRY(check(MPI_Allgather(data, n, MPI_DOUBLE, s->all, n, MPI_DOUBLE, MPI_COMM_WORLD),
                 "exchange losses"));
    for (int i = 0; i < n; i++) {
        data[i] = 0;
        for (int r = 0; r < c->n; r++)
            data[i] += s->all[r * n + i];
    }
done:
    return st;
}

static lk_status mpi_spread(lk_comm *c, float *data, int64_t n, int from)
{
    lk_status st = LK_OK;
    const int64_t block = 1 << 28;
    (void)c;
    for (int64_t at = 0; at < n; at += block)
        LK_TRY(check(MPI_Bcast(data + at, (int)(n - at < block ? n - at : block), MPI_FLOAT, from,
                               MPI_COMM_WORLD),
                     "spread parameters"));
done:
    return st;
}

static lk_status mpi_fetch(lk_comm *c, float *data, int64_t n, int from)
{
    lk_status st = LK_OK;
    const int64_t block = 1 << 28;
    for (int64_t at = 0; at < n; at += block) {
        const int count = (int)(n - at < block ? n - at : block);
        if (c->rank == from)
            LK_TRY(check(MPI_Send(data + at, count, MPI_FLOAT, 0, 0, MPI_COMM_WORLD),
                         "send the optimiser's state"));
        else if (c->rank == 0)
            LK_TRY(check(
                MPI_Recv(data + at, count, MPI_FLOAT, from, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE),
                "receive the optimiser's state"));
    }
done:
    return st;
}

static lk_status mpi_most(lk_comm *c, int64_t *value)
{
    int64_t mine = *value;
    (void)c;
    return check(MPI_Allreduce(&mine, value, 1, MPI_INT64_T, MPI_MAX, MPI_COMM_WORLD), "agree");
}

const lk_comm_backend lk_comm_mpi = {"mpi",          mpi_open,   mpi_close, mpi_sum,
                                     mpi_sum_double, mpi_spread, mpi_fetch, mpi_most};
