/* result.c - see result.h. */
#include "av/result.h"

#include "kernels/mem.h"

#include <math.h>
#include <string.h>

/* Append one zeroed element to an array that grows by doubling at powers of two. */
#define APPEND(array, n, out)                                                                      \
    do {                                                                                           \
        size_t capacity_ = capacity_of(n);                                                         \
        LK_TRY(LK_GROW(&(array), &capacity_, (size_t)(n) + 1));                                    \
        *(out) = &(array)[n];                                                                      \
        memset(*(out), 0, sizeof **(out));                                                         \
        (n)++;                                                                                     \
    } while (0)

static size_t capacity_of(int64_t n)
{
    size_t c = 0;
    while (c < (size_t)n)
        c = c ? 2 * c : 16; /* as LK_GROW does */
    return c;
}

static lk_status copy_doubles(double **to, const double *from, int64_t n)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW_ARRAY(to, n + 1));
    if (n > 0)
        memcpy(*to, from, (size_t)n * sizeof **to);
done:
    return st;
}

static lk_status copy_floats(float **to, const float *from, int64_t n)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW_ARRAY(to, n + 1));
    if (n > 0)
        memcpy(*to, from, (size_t)n * sizeof **to);
done:
    return st;
}

static lk_status take_score(void *user, const lk_score *score)
{
    lk_status st = LK_OK;
    lk_clip_result *r = user;
    lk_result_score *s = NULL;
    APPEND(r->scores, r->n_scores, &s);
    s->value = score->value;
    s->lo = score->lo;
    s->hi = score->hi;
    s->chance = score->chance;
    s->p = score->p;
    s->n = score->n;
    LK_TRY(lk_strdup(score->name, &s->name));
    LK_TRY(lk_strdup(score->unit, &s->unit));
done:
    return st;
}

static lk_status take_abstention(void *user, const char *name, const char *reason)
{
    lk_status st = LK_OK;
    lk_clip_result *r = user;
    lk_result_abstention *a = NULL;
    APPEND(r->abstentions, r->n_abstentions, &a);
    LK_TRY(lk_strdup(name, &a->name));
    LK_TRY(lk_strdup(reason, &a->reason));
done:
    return st;
}

static lk_status take_curve(void *user, const char *name, const char *unit, int64_t n,
                            const double *t_s, const float *values)
{
    lk_status st = LK_OK;
    lk_clip_result *r = user;
    lk_result_curve *c = NULL;
    APPEND(r->curves, r->n_curves, &c);
    c->n = n;
    LK_TRY(lk_strdup(name, &c->name));
    LK_TRY(lk_strdup(unit, &c->unit));
    LK_TRY(copy_doubles(&c->t_s, t_s, n));
    LK_TRY(copy_floats(&c->values, values, n));
done:
    return st;
}

static lk_status take_marks(void *user, const char *name, int64_t n, const double *t_s)
{
    lk_status st = LK_OK;
    lk_clip_result *r = user;
    lk_result_marks *m = NULL;
    APPEND(r->marks, r->n_marks, &m);
    m->n = n;
    LK_TRY(lk_strdup(name, &m->name));
    LK_TRY(copy_doubles(&m->t_s, t_s, n));
done:
    return st;
}

static lk_status take_lag_curve(void *user, const char *name, int64_t n, const double *lag_ms,
                                const float *values)
{
    lk_status st = LK_OK;
    lk_clip_result *r = user;
    lk_result_lag_curve *c = NULL;
    APPEND(r->lag_curves, r->n_lag_curves, &c);
    c->n = n;
    LK_TRY(lk_strdup(name, &c->name));
    LK_TRY(copy_doubles(&c->lag_ms, lag_ms, n));
    LK_TRY(copy_floats(&c->values, values, n));
done:
    return st;
}

static lk_status take_lag_map(void *user, const char *name, int64_t n_times, const double *t_s,
                              int64_t n_lags, const double *lag_ms, const float *values)
{
    lk_status st = LK_OK;
    lk_clip_result *r = user;
    lk_result_lag_map *m = NULL;
    APPEND(r->lag_maps, r->n_lag_maps, &m);
    m->n_times = n_times;
    m->n_lags = n_lags;
    LK_TRY(lk_strdup(name, &m->name));
    LK_TRY(copy_doubles(&m->t_s, t_s, n_times));
    LK_TRY(copy_doubles(&m->lag_ms, lag_ms, n_lags));
    LK_TRY(copy_floats(&m->values, values, n_times * n_lags));
done:
    return st;
}

lk_sink lk_clip_result_sink(lk_clip_result *result)
{
    const lk_sink sink = {result,     take_score,     take_abstention, take_curve,
                          take_marks, take_lag_curve, take_lag_map};
    return sink;
}

const lk_result_score *lk_clip_result_score(const lk_clip_result *result, const char *name)
{
    for (int64_t i = 0; i < result->n_scores; i++) {
        if (strcmp(result->scores[i].name, name) == 0)
            return &result->scores[i];
    }
    return NULL;
}

const char *lk_clip_result_abstention(const lk_clip_result *result, const char *name)
{
    for (int64_t i = 0; i < result->n_abstentions; i++) {
        if (strcmp(result->abstentions[i].name, name) == 0)
            return result->abstentions[i].reason;
    }
    return NULL;
}

void lk_clip_result_clear(lk_clip_result *r)
{
    lk_free(r->clip);
    lk_free(r->error);
    lk_free(r->group);
    lk_free(r->pair);
    for (int i = 0; i < r->n_warnings; i++)
        lk_free(r->warnings[i]);
    lk_free(r->warnings);
    for (int64_t i = 0; i < r->n_scores; i++) {
        lk_free(r->scores[i].name);
        lk_free(r->scores[i].unit);
    }
    for (int64_t i = 0; i < r->n_abstentions; i++) {
        lk_free(r->abstentions[i].name);
        lk_free(r->abstentions[i].reason);
    }
    for (int64_t i = 0; i < r->n_curves; i++) {
        lk_free(r->curves[i].name);
        lk_free(r->curves[i].unit);
        lk_free(r->curves[i].t_s);
        lk_free(r->curves[i].values);
    }
    for (int64_t i = 0; i < r->n_marks; i++) {
        lk_free(r->marks[i].name);
        lk_free(r->marks[i].t_s);
    }
    for (int64_t i = 0; i < r->n_lag_curves; i++) {
        lk_free(r->lag_curves[i].name);
        lk_free(r->lag_curves[i].lag_ms);
        lk_free(r->lag_curves[i].values);
    }
    for (int64_t i = 0; i < r->n_lag_maps; i++) {
        lk_free(r->lag_maps[i].name);
        lk_free(r->lag_maps[i].t_s);
        lk_free(r->lag_maps[i].lag_ms);
        lk_free(r->lag_maps[i].values);
    }
    lk_free(r->scores);
    lk_free(r->abstentions);
    lk_free(r->curves);
    lk_free(r->marks);
    lk_free(r->lag_curves);
    lk_free(r->lag_maps);
    lk_free(r->provenance);
    memset(r, 0, sizeof *r);
}
