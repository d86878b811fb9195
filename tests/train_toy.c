/* train_toy.c - the toy training as a program of its own, to be killed and to be run on several
 * processes.
 *
 *     train_toy FOLDER [-steps 100] [-rows 64] [-micro 1] [-save 7] [-slow 0]
 *
 * rows: points in a step, shared among the processes and their batches; slow: milliseconds of
 * sleep in every step.  Goes on when the folder has a checkpoint.  Ends with 0 when done, 75 when
 * stopped, 1 after a failure. */
#include "tests/toy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static lk_status (*quick_fill)(void *user, lk_graph *g, const lk_train_batch *b);
static long slow_ms;

static lk_status slow_fill(void *user, lk_graph *g, const lk_train_batch *b)
{
    const struct timespec pause = {0, slow_ms * 1000000};
    nanosleep(&pause, NULL);
    return quick_fill(user, g, b);
}

static lk_status train(const char *folder, double steps, double rows, double micro, double save)
{
    lk_status st = LK_OK;
    toy t = {0};
    lk_comm *comm = NULL;
    lk_train_config c;
    lk_train_result result = {0};
    LK_TRY(lk_comm_open(&comm, NULL));
    LK_TRY(toy_open(&t, (int64_t)rows / (lk_comm_n(comm) * (int)micro)));
    c = toy_config(&t, folder, (int64_t)steps);
    c.comm = comm;
    c.resume = 1;
    c.n_micro = (int)micro;
    c.save_every = (int64_t)save;
    quick_fill = t.phase.fill;
    if (slow_ms > 0)
        t.phase.fill = slow_fill;
    LK_TRY(lk_train(&c, &result));
    if (lk_comm_rank(comm) == 0)
        printf("step %lld, loss %.9g\n", (long long)result.step, result.loss);
done:
    toy_close(&t);
    lk_comm_free(&comm);
    return st;
}

int main(int argc, char **argv)
{
    double steps = 100, rows = 64, micro = 1, save = 7, slow = 0;
    const struct {
        const char *name;
        double *value;
    } options[] = {{"-steps", &steps},
                   {"-rows", &rows},
                   {"-micro", &micro},
                   {"-save", &save},
                   {"-slow", &slow}};
    lk_status st;
    for (int a = 2; a + 1 < argc; a += 2)
        for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
            if (strcmp(argv[a], options[i].name) == 0)
                *options[i].value = strtod(argv[a + 1], NULL);
    if (argc < 2)
        return 2;
    slow_ms = (long)slow;
    st = train(argv[1], steps, rows, micro, save);
    if (st != LK_OK)
        fprintf(stderr, "%s\n", lk_error_text());
    return st == LK_OK ? 0 : st == LK_E_INTERRUPTED ? 75 : 1;
}
