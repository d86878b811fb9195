/* optim.c - see optim.h.
 *
 * AdamW, step t = 1, 2, ..; g is the gradient times `scale`:
 *     m <- beta1 m + (1 - beta1) g            v <- beta2 v + (1 - beta2) g^2
 *     p <- p (1 - rate decay) - rate m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
 *     a <- a + (1 - d) (p - a),  d = min(average, t / (9 + t))
 * Numbers between parameters are 0 and stay 0, so neighbours that are treated alike make one run.
 */
#include "kernels/optim.h"

#include "kernels/graph_impl.h"
#include "kernels/mem.h"
#include "kernels/optim_impl.h"

#include <math.h>

#define ALIGN_NUMBERS 16

struct lk_optim {
    lk_params *params;
    lk_optim_config config;
    const lk_optim_kernels *kernels;
    lk_optim_piece *pieces;
    size_t n, cap;
    lk_optim_piece *mine; /* those of this process's share */
    int64_t n_mine;
    double *sums; /* [n] */
};

double lk_schedule_rate(const lk_schedule *s, int64_t step)
{
    const double pi = 3.14159265358979323846;
    const int64_t from = s->kind == LK_SCHEDULE_WSD && s->total - s->decay > s->warmup
                             ? s->total - s->decay
                             : s->warmup;
    const int64_t length = s->total - from;
    double x;
    if (step < s->warmup)
        return s->peak * (double)(step + 1) / (double)s->warmup;
    if (s->kind == LK_SCHEDULE_CONSTANT || step < from)
        return s->peak;
    x = length > 0 && step < s->total ? (double)(step - from) / (double)length : 1;
    if (s->kind == LK_SCHEDULE_COSINE)
        x = 0.5 - 0.5 * cos(pi * x);
    return s->peak + (s->floor - s->peak) * x;
}

double lk_clip_factor(double norm, double most)
{
    return most > 0 && norm > most ? most / norm : 1;
}

static int has_two_dims(const char *name, const lk_shape *shape)
{
    (void)name;
    return shape->n_dims >= 2;
}

/* A run of numbers as pieces of at most LK_OPTIM_PIECE. */
static lk_status add_run(lk_optim *o, int slab, lk_optim_piece run)
{
    lk_status st = LK_OK;
    const int n_processes = o->config.n_processes < 1 ? 1 : o->config.n_processes;
    const int mine = lk_params_owner(o->params, slab, n_processes) == o->config.rank;
    LK_TRY(LK_GROW(&o->pieces, &o->cap, o->n + (size_t)(run.n / LK_OPTIM_PIECE) + 1));
    for (int64_t at = 0; at < run.n; at += LK_OPTIM_PIECE) {
        const int64_t left = run.n - at;
        o->pieces[o->n++] = (lk_optim_piece){
            .value = run.value + at,
            .grad = run.grad + at,
            .moment1 = mine ? run.moment1 + at : NULL,
            .moment2 = mine ? run.moment2 + at : NULL,
            .average = mine && run.average ? run.average + at : NULL,
            .n = left < LK_OPTIM_PIECE ? left : LK_OPTIM_PIECE,
            .decays = run.decays,
        };
        o->n_mine += mine;
    }
done:
    return st;
}

static lk_status cut_into_pieces(lk_optim *o)
{
    lk_status st = LK_OK;
    lk_optim_piece run = {0};
    int run_slab = -1;
    for (int i = 0; i < lk_params_n(o->params); i++) {
        const lk_shape shape = lk_params_shape(o->params, i);
        const char *name = lk_params_name(o->params, i);
        const int64_t n =
            (lk_shape_count(&shape) + ALIGN_NUMBERS - 1) / ALIGN_NUMBERS * ALIGN_NUMBERS;
        const int slab = lk_params_slab_of(o->params, i);
        float *value = lk_params_data(o->params, i, LK_VALUE);
        const int decays = o->config.decays(name, &shape);
        if (o->config.trains && !o->config.trains(name, &shape))
            continue;
        if (slab == run_slab && decays == run.decays && value == run.value + run.n) {
            run.n += n;
            continue;
        }
        LK_TRY(add_run(o, run_slab < 0 ? 0 : run_slab, run));
        run = (lk_optim_piece){.value = value,
                               .grad = lk_params_data(o->params, i, LK_GRAD),
                               .moment1 = lk_params_data(o->params, i, LK_MOMENT1),
                               .moment2 = lk_params_data(o->params, i, LK_MOMENT2),
                               .n = n,
                               .decays = decays};
        if (o->config.average > 0)
            run.average = lk_params_data(o->params, i, LK_AVERAGE);
        run_slab = slab;
    }
    if (run_slab >= 0)
        LK_TRY(add_run(o, run_slab, run));
done:
    return st;
}

static lk_status check_config(const lk_optim_config *c)
{
    lk_status st = LK_OK;
    LK_REQUIRE(c->beta1 >= 0 && c->beta1 < 1 && c->beta2 >= 0 && c->beta2 < 1, LK_E_ARG,
               "beta1 and beta2 must be at least 0 and below 1, got %g and %g", c->beta1, c->beta2);
    LK_REQUIRE(c->eps > 0 && c->decay >= 0, LK_E_ARG,
               "eps must be positive and decay not negative, got %g and %g", c->eps, c->decay);
    LK_REQUIRE(c->average >= 0 && c->average < 1, LK_E_ARG,
               "the average's memory must be at least 0 and below 1, got %g", c->average);
    LK_REQUIRE(c->rank >= 0 && (c->rank == 0 || c->rank < c->n_processes), LK_E_ARG,
               "process %d of %d cannot be", c->rank, c->n_processes);
done:
    return st;
}

static lk_status make_slots(lk_params *p, const lk_optim_config *c)
{
    lk_status st = LK_OK;
    LK_TRY(lk_params_need(p, LK_GRAD));
    for (int k = 0; k < lk_params_n_slabs(p); k++) {
        if (lk_params_owner(p, k, c->n_processes < 1 ? 1 : c->n_processes) != c->rank)
            continue;
        LK_TRY(lk_params_need_slab(p, k, LK_MOMENT1));
        LK_TRY(lk_params_need_slab(p, k, LK_MOMENT2));
        if (c->average > 0)
            LK_TRY(lk_params_need_slab(p, k, LK_AVERAGE));
    }
done:
    return st;
}

lk_status lk_optim_new(lk_optim **out, lk_params *params, const lk_optim_config *config)
{
    lk_status st = LK_OK;
    lk_optim *o = NULL;
    lk_optim_config c = *config;
    *out = NULL;
    if (c.beta1 == 0 && c.beta2 == 0) {
        c.beta1 = 0.9;
        c.beta2 = 0.95;
    }
    c.eps = c.eps == 0 ? 1e-8 : c.eps;
    c.decays = c.decays ? c.decays : has_two_dims;
    LK_TRY(check_config(&c));
    LK_REQUIRE(lk_params_backend(params)->optim, LK_E_UNSUPPORTED,
               "the %s backend cannot train; build it with its optimiser or use the CPU",
               lk_params_backend(params)->name);
    LK_TRY(LK_NEW(&o));
    o->params = params;
    o->config = c;
    o->kernels = lk_params_backend(params)->optim;
    LK_TRY(make_slots(params, &c));
    LK_TRY(cut_into_pieces(o));
    LK_REQUIRE(o->n > 0, LK_E_EMPTY, "the optimiser has no parameter to train");
    LK_TRY(LK_NEW_ARRAY(&o->sums, o->n));
    LK_TRY(LK_NEW_ARRAY(&o->mine, o->n_mine));
    o->n_mine = 0;
    for (size_t i = 0; i < o->n; i++)
        if (o->pieces[i].moment1)
            o->mine[o->n_mine++] = o->pieces[i];
    *out = o;
    o = NULL;
done:
    lk_optim_free(&o);
    return st;
}

void lk_optim_free(lk_optim **po)
{
    lk_optim *o = *po;
    if (!o)
        return;
    lk_free(o->pieces);
    lk_free(o->mine);
    lk_free(o->sums);
    lk_free(o);
    *po = NULL;
}

lk_status lk_optim_norm(lk_optim *o, double *norm)
{
    lk_status st = LK_OK;
    double total = 0;
    *norm = 0;
    LK_TRY(o->kernels->sum_squares(o->pieces, (int64_t)o->n, o->sums));
    for (size_t i = 0; i < o->n; i++)
        total += o->sums[i];
    *norm = sqrt(total);
done:
    return st;
}

lk_status lk_optim_step(lk_optim *o, int64_t step, double rate, double scale)
{
    const lk_optim_config *c = &o->config;
    const double t = (double)(step + 1), memory = fmin(c->average, t / (9 + t));
    const lk_adamw_factors f = {
        .scale = (float)scale,
        .beta1 = (float)c->beta1,
        .beta2 = (float)c->beta2,
        .step = (float)(rate / (1 - pow(c->beta1, t))),
        .root = (float)(1 / sqrt(1 - pow(c->beta2, t))),
        .eps = (float)c->eps,
        .keep = (float)(1 - rate * c->decay),
        .blend = (float)(1 - memory),
    };
    return o->kernels->adamw(o->mine, o->n_mine, &f);
}
