/* thread.c - the parallel loop.  See thread.h. */
#include "kernels/thread.h"

#include <sched.h>
#include <stdlib.h>

#ifdef _OPENMP
#include <omp.h>
#else
#include <pthread.h>
#endif

static int n_threads;

static int cpus(void)
{
    cpu_set_t set;
    const char *env = getenv("LK_THREADS");
    const long asked = env ? strtol(env, NULL, 10) : 0;
    if (asked >= 1 && asked <= 1024)
        return (int)asked;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
    return 1;
}

int lk_threads(void)
{
    if (n_threads == 0)
        lk_threads_set(cpus());
    return n_threads;
}

void lk_threads_set(int n)
{
    n_threads = n < 1 ? 1 : n;
#ifdef _OPENMP
    omp_set_num_threads(n_threads);
#endif
}

/* Part i of k of [0, n). */
static int64_t cut(int64_t n, int i, int k)
{
    return n / k * i + (n % k < i ? n % k : i);
}

#ifdef _OPENMP

void lk_parallel_for(int64_t n, int64_t grain,
                     void (*fn)(void *context, int64_t first, int64_t end), void *context)
{
    const int64_t parts = n / (grain < 1 ? 1 : grain);
    const int k = parts < lk_threads() ? (int)(parts < 1 ? 1 : parts) : lk_threads();
    if (n <= 0)
        return;
    if (k == 1 || omp_in_parallel()) {
        fn(context, 0, n);
        return;
    }
#pragma omp parallel for num_threads(k) schedule(static, 1)
    for (int i = 0; i < k; i++)
        fn(context, cut(n, i, k), cut(n, i + 1, k));
}

#else

typedef struct part {
    void (*fn)(void *context, int64_t first, int64_t end);
    void *context;
    int64_t first, end;
} part;

static _Thread_local int inside;

static void *run_part(void *p)
{
    const part *q = p;
    inside = 1;
    q->fn(q->context, q->first, q->end);
    return NULL;
}

void lk_parallel_for(int64_t n, int64_t grain,
                     void (*fn)(void *context, int64_t first, int64_t end), void *context)
{
    enum { MOST = 64 };
    const int64_t parts = n / (grain < 1 ? 1 : grain);
    int k = parts < lk_threads() ? (int)(parts < 1 ? 1 : parts) : lk_threads();
    part part_of[MOST];
    pthread_t thread[MOST];
    int started[MOST] = {0};
    if (n <= 0)
        return;
    k = k > MOST ? MOST : k;
    if (k == 1 || inside) {
        fn(context, 0, n);
        return;
    }
    for (int i = 0; i < k; i++)
        part_of[i] = (part){fn, context, cut(n, i, k), cut(n, i + 1, k)};
    for (int i = 1; i < k; i++)
        started[i] = pthread_create(&thread[i], NULL, run_part, &part_of[i]) == 0;
    fn(context, part_of[0].first, part_of[0].end);
    for (int i = 1; i < k; i++)
        if (started[i])
            pthread_join(thread[i], NULL);
        else
            fn(context, part_of[i].first, part_of[i].end);
}

#endif
