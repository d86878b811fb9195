/* loader.c - see loader.h.
 *
 * `ahead` slots, each with a thread of its own.  Index i is made in slot (i / step) mod ahead.  A
 * slot is told which index to make; whoever asks waits until it is made, and then tells the slot
 * the index `ahead` steps later.
 */
#include "av/loader.h"

#include "kernels/mem.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MOST_SLOTS = 16 };

typedef struct slot {
    lk_loader *loader;
    pthread_t thread;
    bool running, wanted, made;
    uint64_t seed;
    int64_t index;
    void *batch;
    lk_status st;
    char error[512];
} slot;

struct lk_loader {
    lk_loader_config c;
    pthread_mutex_t mutex;
    pthread_cond_t news;
    bool stop;
    double waited_s;
    int64_t n_asked;
    slot slot[MOST_SLOTS];
};

static void *work(void *user)
{
    slot *s = user;
    lk_loader *l = s->loader;
    pthread_mutex_lock(&l->mutex);
    for (;;) {
        while (!l->stop && !s->wanted)
            pthread_cond_wait(&l->news, &l->mutex);
        if (l->stop)
            break;
        s->wanted = false;
        const uint64_t seed = s->seed;
        const int64_t index = s->index;
        pthread_mutex_unlock(&l->mutex);
        const lk_status st = l->c.make(l->c.user, seed, index, s->batch);
        pthread_mutex_lock(&l->mutex);
        if (s->wanted) /* asked for another one meanwhile */
            continue;
        s->st = st;
        s->made = true;
        if (st != LK_OK)
            snprintf(s->error, sizeof s->error, "%s", lk_error_text());
        pthread_cond_broadcast(&l->news);
    }
    pthread_mutex_unlock(&l->mutex);
    return NULL;
}

lk_status lk_loader_new(lk_loader **out, const lk_loader_config *config)
{
    lk_status st = LK_OK;
    lk_loader *l = NULL;
    LK_TRY(LK_NEW(&l));
    l->c = *config;
    l->c.ahead = config->ahead > 0 ? config->ahead : 2;
    l->c.step = config->step > 0 ? config->step : 1;
    pthread_mutex_init(&l->mutex, NULL);
    pthread_cond_init(&l->news, NULL);
    LK_REQUIRE(l->c.ahead <= MOST_SLOTS, LK_E_ARG, "at most %d batches are made ahead", MOST_SLOTS);
    for (int i = 0; i < l->c.ahead; i++) {
        slot *s = &l->slot[i];
        s->loader = l;
        s->index = -1;
        LK_TRY(lk_alloc_(1, l->c.bytes, &s->batch));
        LK_REQUIRE(pthread_create(&s->thread, NULL, work, s) == 0, LK_E_ENV,
                   "cannot start a thread that makes batches");
        s->running = true;
    }
    *out = l;
    l = NULL;
done:
    lk_loader_free(&l);
    return st;
}

void lk_loader_free(lk_loader **loader)
{
    if (!loader || !*loader)
        return;
    lk_loader *l = *loader;
    pthread_mutex_lock(&l->mutex);
    l->stop = true;
    pthread_cond_broadcast(&l->news);
    pthread_mutex_unlock(&l->mutex);
    for (int i = 0; i < MOST_SLOTS; i++) {
        if (l->slot[i].running)
            pthread_join(l->slot[i].thread, NULL);
        lk_free(l->slot[i].batch);
    }
    pthread_mutex_destroy(&l->mutex);
    pthread_cond_destroy(&l->news);
    lk_free(l);
    *loader = NULL;
}

/* The mutex is held. */
static void want(slot *s, uint64_t seed, int64_t index)
{
    if (s->index == index && s->seed == seed)
        return;
    s->seed = seed;
    s->index = index;
    s->wanted = true;
    s->made = false;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

lk_status lk_loader_get(lk_loader *l, uint64_t seed, int64_t index, void *batch)
{
    lk_status st = LK_OK;
    const int64_t turn = index / l->c.step, n = l->c.ahead;
    const double start = now_s();
    pthread_mutex_lock(&l->mutex);
    for (int64_t i = 0; i < n; i++)
        want(&l->slot[(turn + i) % n], seed, index + i * l->c.step);
    pthread_cond_broadcast(&l->news);
    slot *s = &l->slot[turn % n];
    while (!s->made)
        pthread_cond_wait(&l->news, &l->mutex);
    l->waited_s += now_s() - start;
    l->n_asked++;
    if (s->st == LK_OK) {
        memcpy(batch, s->batch, l->c.bytes);
        want(s, seed, index + n * l->c.step);
        pthread_cond_broadcast(&l->news);
    } else {
        st = LK_FAIL(s->st, "%s", s->error);
        s->index = -1; /* made anew when asked again */
    }
    pthread_mutex_unlock(&l->mutex);
    return st;
}

double lk_loader_waited_s(const lk_loader *l)
{
    return l->waited_s;
}

int64_t lk_loader_n_asked(const lk_loader *l)
{
    return l->n_asked;
}
