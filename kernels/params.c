/* params.c - the parameter store.  See params.h. */
#include "kernels/params.h"

#include "kernels/graph_impl.h"
#include "kernels/mem.h"
#include "kernels/rng.h"

#define SLAB_NUMBERS  (1 << 20)
#define ALIGN_NUMBERS 16

typedef struct param {
    char *name;
    lk_shape shape;
    int slab;
    int64_t at, n; /* offset in the slab, count */
} param;

typedef struct slab {
    float *slot[LK_N_SLOTS];
    int64_t used, capacity;
} slab;

struct lk_params {
    const lk_backend *backend;
    uint64_t seed;
    param *params;
    size_t n_params, cap_params;
    slab *slabs;
    size_t n_slabs, cap_slabs;
    int has[LK_N_SLOTS];
};

lk_status lk_params_new(lk_params **out, const lk_backend *backend, uint64_t seed)
{
    lk_status st = LK_OK;
    lk_params *p = NULL;
    *out = NULL;
    LK_TRY(LK_NEW(&p));
    p->backend = backend ? backend : lk_backend_cpu();
    p->seed = seed;
    p->has[LK_VALUE] = 1;
    *out = p;
done:
    return st;
}

void lk_params_free(lk_params **pp)
{
    lk_params *p = *pp;
    if (!p)
        return;
    for (size_t i = 0; i < p->n_params; i++)
        lk_free(p->params[i].name);
    for (size_t k = 0; k < p->n_slabs; k++)
        for (int s = 0; s < LK_N_SLOTS; s++)
            p->backend->free(p->slabs[k].slot[s]);
    lk_free(p->params);
    lk_free(p->slabs);
    lk_free(p);
    *pp = NULL;
}

int lk_params_n(const lk_params *p)
{
    return (int)p->n_params;
}

int64_t lk_params_n_numbers(const lk_params *p)
{
    int64_t n = 0;
    for (size_t i = 0; i < p->n_params; i++)
        n += p->params[i].n;
    return n;
}

int lk_params_find(const lk_params *p, const char *name)
{
    for (size_t i = 0; i < p->n_params; i++)
        if (strcmp(p->params[i].name, name) == 0)
            return (int)i;
    return -1;
}

const char *lk_params_name(const lk_params *p, int i)
{
    return p->params[i].name;
}

lk_shape lk_params_shape(const lk_params *p, int i)
{
    return p->params[i].shape;
}

float *lk_params_data(const lk_params *p, int i, lk_slot slot)
{
    float *base = p->slabs[p->params[i].slab].slot[slot];
    return base ? base + p->params[i].at : NULL;
}

int lk_params_n_slabs(const lk_params *p)
{
    return (int)p->n_slabs;
}

float *lk_params_slab(const lk_params *p, int k, lk_slot slot, int64_t *n)
{
    *n = p->slabs[k].used;
    return p->slabs[k].slot[slot];
}

int lk_params_slab_of(const lk_params *p, int i)
{
    return p->params[i].slab;
}

int lk_params_owner(const lk_params *p, int k, int n_processes)
{
    int64_t before = 0, all = 0;
    for (int i = 0; i < (int)p->n_slabs; i++) {
        before += i < k ? p->slabs[i].used : 0;
        all += p->slabs[i].used;
    }
    return all > 0 ? (int)((before + p->slabs[k].used / 2) * n_processes / all) : 0;
}

const lk_backend *lk_params_backend(const lk_params *p)
{
    return p->backend;
}

int lk_params_on_host(const lk_params *p)
{
    return p->backend->is_host;
}

lk_status lk_params_need_slab(lk_params *p, int k, lk_slot slot)
{
    lk_status st = LK_OK;
    slab *s = &p->slabs[k];
    const size_t bytes = (size_t)s->capacity * sizeof(float);
    float *fresh = NULL;
    if (s->slot[slot])
        return LK_OK;
    LK_TRY(p->backend->alloc(bytes, (void **)&fresh));
    LK_TRY(p->backend->zero(fresh, bytes));
    if (slot == LK_AVERAGE)
        LK_TRY(p->backend->copy(fresh, s->slot[LK_VALUE], (size_t)s->used * sizeof(float)));
    s->slot[slot] = fresh;
    fresh = NULL;
done:
    p->backend->free(fresh);
    return st;
}

void lk_params_drop_slab(lk_params *p, int k, lk_slot slot)
{
    LK_ASSERT(slot != LK_VALUE);
    p->backend->free(p->slabs[k].slot[slot]);
    p->slabs[k].slot[slot] = NULL;
    p->has[slot] = 0;
}

lk_status lk_params_need(lk_params *p, lk_slot slot)
{
    lk_status st = LK_OK;
    for (int k = 0; k < (int)p->n_slabs; k++)
        LK_TRY(lk_params_need_slab(p, k, slot));
    p->has[slot] = 1;
done:
    return st;
}

lk_status lk_params_zero_grad(lk_params *p)
{
    lk_status st = LK_OK;
    for (size_t k = 0; k < p->n_slabs; k++)
        if (p->slabs[k].slot[LK_GRAD])
            LK_TRY(p->backend->zero(p->slabs[k].slot[LK_GRAD],
                                    (size_t)p->slabs[k].used * sizeof(float)));
done:
    return st;
}

lk_status lk_params_write(lk_params *p, int i, lk_slot slot, lk_dtype dtype, const void *data)
{
    lk_status st = LK_OK;
    const int64_t n = p->params[i].n;
    float *staged = NULL, *to = lk_params_data(p, i, slot);
    LK_REQUIRE(to, LK_E_ARG, "parameter '%s' has no such slot yet", p->params[i].name);
    if (dtype == LK_F32) {
        LK_TRY(p->backend->upload(to, data, (size_t)n * sizeof(float)));
    } else {
        LK_TRY(LK_NEW_ARRAY(&staged, n));
        lk_convert(LK_F32, staged, dtype, data, n);
        LK_TRY(p->backend->upload(to, staged, (size_t)n * sizeof(float)));
    }
done:
    lk_free(staged);
    return st;
}

lk_status lk_params_read(const lk_params *p, int i, lk_slot slot, lk_dtype dtype, void *data)
{
    lk_status st = LK_OK;
    const int64_t n = p->params[i].n;
    float *staged = NULL;
    const float *from = lk_params_data(p, i, slot);
    LK_REQUIRE(from, LK_E_ARG, "parameter '%s' has no such slot yet", p->params[i].name);
    if (dtype == LK_F32) {
        LK_TRY(p->backend->download(data, from, (size_t)n * sizeof(float)));
    } else {
        LK_TRY(LK_NEW_ARRAY(&staged, n));
        LK_TRY(p->backend->download(staged, from, (size_t)n * sizeof(float)));
        lk_convert(dtype, data, LK_F32, staged, n);
    }
done:
    lk_free(staged);
    return st;
}

/* FNV-1a, so that a name alone decides which random numbers a parameter starts from. */
static uint64_t hash_name(const char *name)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    return h;
}

static void initial(float *x, int64_t n, lk_init init, double scale, uint64_t seed, uint64_t stream)
{
    for (int64_t i = 0; i < n; i++)
        switch (init) {
        case LK_INIT_ZERO:
            x[i] = 0;
            break;
        case LK_INIT_VALUE:
            x[i] = (float)scale;
            break;
        case LK_INIT_NORMAL:
            x[i] = (float)scale * lk_rng_normal(seed, stream, (uint64_t)i);
            break;
        case LK_INIT_UNIFORM:
            x[i] = (float)lk_rng_range(seed, stream, (uint64_t)i, -scale, scale);
            break;
        }
}

/* The slab the next n numbers go to. */
static lk_status find_room(lk_params *p, int64_t n, int *k)
{
    lk_status st = LK_OK;
    const int64_t padded = (n + ALIGN_NUMBERS - 1) / ALIGN_NUMBERS * ALIGN_NUMBERS;
    slab *s = p->n_slabs ? &p->slabs[p->n_slabs - 1] : NULL;
    if (!s || s->used + padded > s->capacity) {
        LK_TRY(LK_GROW(&p->slabs, &p->cap_slabs, p->n_slabs + 1));
        s = &p->slabs[p->n_slabs];
        *s = (slab){.capacity = padded > SLAB_NUMBERS ? padded : SLAB_NUMBERS};
        p->n_slabs++;
        for (int slot = 0; slot < LK_N_SLOTS; slot++)
            if (p->has[slot])
                LK_TRY(lk_params_need_slab(p, (int)p->n_slabs - 1, (lk_slot)slot));
    }
    *k = (int)p->n_slabs - 1;
done:
    return st;
}

lk_status lk_params_add(lk_params *p, const char *name, lk_shape shape, int init, double scale,
                        int *index)
{
    lk_status st = LK_OK;
    char ours[LK_SHAPE_TEXT], theirs[LK_SHAPE_TEXT];
    float *host = NULL;
    param *q;
    int k = 0;
    *index = lk_params_find(p, name);
    if (*index >= 0) {
        LK_REQUIRE(lk_shape_equal(&p->params[*index].shape, &shape), LK_E_SHAPE,
                   "parameter '%s' is %s here and %s in the store", name,
                   lk_shape_text(&shape, ours), lk_shape_text(&p->params[*index].shape, theirs));
        return LK_OK;
    }
    LK_TRY(lk_shape_check(&shape, LK_F32));
    LK_TRY(LK_GROW(&p->params, &p->cap_params, p->n_params + 1));
    LK_TRY(find_room(p, lk_shape_count(&shape), &k));
    q = &p->params[p->n_params];
    *q = (param){.shape = shape, .slab = k, .at = p->slabs[k].used, .n = lk_shape_count(&shape)};
    LK_TRY(LK_NEW_ARRAY(&host, q->n));
    LK_TRY(lk_strdup(name, &q->name));
    p->slabs[k].used += (q->n + ALIGN_NUMBERS - 1) / ALIGN_NUMBERS * ALIGN_NUMBERS;
    *index = (int)p->n_params++;
    initial(host, q->n, (lk_init)init, scale, p->seed, hash_name(name));
    LK_TRY(lk_params_write(p, *index, LK_VALUE, LK_F32, host));
    if (p->has[LK_AVERAGE])
        LK_TRY(lk_params_write(p, *index, LK_AVERAGE, LK_F32, host));
done:
    lk_free(host);
    return st;
}
