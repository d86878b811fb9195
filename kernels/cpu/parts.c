/* parts.c - see parts.h. */
#include "kernels/cpu/parts.h"

#include "kernels/mem.h"
#include "kernels/thread.h"

#include <stdatomic.h>

#define ALIGN 64

typedef struct part {
    lk_dnn *dnn;
    size_t a_at, b_at, bias_at, y_at;
    int packer;     /* the part whose packed b this one reads; -1: b as it is */
    size_t pack_at; /* where its own packing lies in the work space */
} part;

struct lk_parts {
    int n, n_lanes;
    part part[LK_MAX_PARTS];
    size_t lane_at, lane_bytes;
};

lk_status lk_parts_new(lk_parts **p)
{
    return LK_NEW(p);
}

void lk_parts_free(lk_parts **pp)
{
    lk_parts *p = *pp;
    if (!p)
        return;
    for (int i = 0; i < p->n; i++)
        lk_dnn_free(&p->part[i].dnn);
    lk_free(p);
    *pp = NULL;
}

lk_status lk_parts_add(lk_parts *p, lk_dnn **dnn, size_t a_at, size_t b_at, size_t bias_at,
                       size_t y_at)
{
    LK_ASSERT(p->n < LK_MAX_PARTS);
    p->part[p->n++] = (part){*dnn, a_at, b_at, bias_at, y_at, -1, 0};
    *dnn = NULL;
    return LK_OK;
}

static size_t round_up(size_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

size_t lk_parts_finish(lk_parts *p)
{
    size_t at = 0;
    for (int i = 0; i < p->n; i++) {
        part *q = &p->part[i];
        const size_t bytes = lk_dnn_pack_bytes(q->dnn);
        if (lk_dnn_work_bytes(q->dnn) > p->lane_bytes)
            p->lane_bytes = lk_dnn_work_bytes(q->dnn);
        if (!bytes)
            continue;
        for (int j = 0; j < i && q->packer < 0; j++)
            if (p->part[j].packer == j && p->part[j].b_at == q->b_at &&
                lk_dnn_same_pack(p->part[j].dnn, q->dnn))
                q->packer = j;
        if (q->packer < 0) {
            q->packer = i;
            q->pack_at = at;
            at += round_up(bytes);
        }
    }
    p->n_lanes = lk_threads() < p->n ? lk_threads() : p->n;
    p->lane_at = at;
    p->lane_bytes = round_up(p->lane_bytes);
    return at + (size_t)p->n_lanes * p->lane_bytes;
}

typedef struct job {
    lk_parts *p;
    const char *a, *b, *bias;
    char *y, *work;
    _Atomic int next; /* part that nobody does yet */
    lk_status st[LK_MAX_PARTS];
} job;

/* Operands that are not there, and work space of no bytes, are NULL. */
static void *offset(const char *p, size_t bytes)
{
    union {
        const char *c;
        void *v;
    } u = {.c = p ? p + bytes : NULL};
    return u.v;
}

/* A lane is a thread's scratch space; it does one part after another, as long as there are any. */
static void run_lanes(void *context, int64_t first, int64_t end)
{
    job *r = context;
    const lk_parts *p = r->p;
    for (int64_t lane = first; lane < end; lane++)
        for (int i = atomic_fetch_add(&r->next, 1); i < p->n; i = atomic_fetch_add(&r->next, 1)) {
            const part *q = &p->part[i];
            const char *b =
                q->packer < 0 ? offset(r->b, q->b_at) : offset(r->work, p->part[q->packer].pack_at);
            r->st[i] = lk_dnn_run(q->dnn, offset(r->a, q->a_at), b, offset(r->bias, q->bias_at),
                                  r->y + q->y_at,
                                  offset(r->work, p->lane_at + (size_t)lane * p->lane_bytes));
        }
}

lk_status lk_parts_run(lk_parts *p, const void *a, const void *b, const void *bias, void *y,
                       void *work)
{
    lk_status st = LK_OK;
    job r = {.p = p, .a = a, .b = b, .bias = bias, .y = y, .work = work};
    for (int i = 0; i < p->n; i++)
        if (p->part[i].packer == i)
            LK_TRY(lk_dnn_pack(p->part[i].dnn, (const char *)b + p->part[i].b_at,
                               (char *)work + p->part[i].pack_at));
    lk_parallel_for(p->n_lanes, 1, run_lanes, &r);
    for (int i = 0; i < p->n; i++)
        LK_REQUIRE(r.st[i] == LK_OK, r.st[i], "oneDNN failed in part %d of %d", i, p->n);
done:
    return st;
}
