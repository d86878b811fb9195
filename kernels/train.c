/* train.c - see train.h.
 *
 * One step of a phase:
 *     g = sum over batches and processes of the gradient / (their number);   n = |g|
 *     parameters <- AdamW(g min(1, clip / n))
 * All processes hold the same gradients after the sum; each updates its share of the slabs and
 * spreads it, so that all hold the same parameters again.
 */
#include "kernels/train.h"

#include "kernels/checkpoint.h"
#include "kernels/file.h"
#include "kernels/mem.h"
#include "kernels/stop.h"
#include "kernels/text.h"
#include "kernels/train_log.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

typedef struct phase {
    const lk_train_phase *config;
    lk_optim *optim;
    lk_var loss[LK_TRAIN_MOST_LOSSES];
    char *name[LK_TRAIN_MOST_LOSSES + 2]; /* in the log: losses, lr, grad_norm */
    double value[LK_TRAIN_MOST_LOSSES + 2];
} phase;

typedef struct run {
    const lk_train_config *config;
    phase phases[LK_TRAIN_MOST_PHASES];
    int n_micro, rank, n_processes;
    double seen[LK_TRAIN_MOST_WATCHES][LK_TRAIN_MOST_LOSSES]; /* by watches */
    int64_t step, samples, saved_step;
    double loss;
    int64_t allocations, before; /* before this step, those of watches left out */
    char *checkpoints;           /* folder */
    lk_train_log log;
} run;

/* ---- beginning ---- */

static lk_status check_config(const lk_train_config *c)
{
    lk_status st = LK_OK;
    LK_REQUIRE(c->n_phases >= 1 && c->n_phases <= LK_TRAIN_MOST_PHASES, LK_E_ARG,
               "a training has 1 to %d phases, not %d", LK_TRAIN_MOST_PHASES, c->n_phases);
    LK_REQUIRE(c->n_steps >= 0 && c->n_micro >= 0 && c->log_every >= 0 && c->save_every >= 0 &&
                   c->keep >= 0 && c->batch_samples >= 0,
               LK_E_ARG, "the numbers of a training must not be negative");
    for (int i = 0; i < c->n_phases; i++)
        LK_REQUIRE(c->phases[i].from >= 0 && c->phases[i].until >= 0 &&
                       c->phases[i].batch_samples >= 0,
                   LK_E_ARG, "the steps and samples of a phase must not be negative");
    for (int i = 0; i < c->n_phases; i++)
        LK_REQUIRE(c->phases[i].n_losses >= 1 && c->phases[i].n_losses <= LK_TRAIN_MOST_LOSSES,
                   LK_E_ARG, "a phase has 1 to %d losses, not %d", LK_TRAIN_MOST_LOSSES,
                   c->phases[i].n_losses);
    LK_REQUIRE(c->n_watches >= 0 && c->n_watches <= LK_TRAIN_MOST_WATCHES, LK_E_ARG,
               "a training has at most %d watches, not %d", LK_TRAIN_MOST_WATCHES, c->n_watches);
    for (int i = 0; i < c->n_watches; i++)
        LK_REQUIRE(c->watches[i].every >= 0 && c->watches[i].n >= 0 &&
                       c->watches[i].n <= LK_TRAIN_MOST_LOSSES,
                   LK_E_ARG, "a watch has at most %d numbers, not %d", LK_TRAIN_MOST_LOSSES,
                   c->watches[i].n);
done:
    return st;
}

static lk_status log_name(char **out, const char *prefix, const char *name)
{
    lk_status st = LK_OK;
    lk_text t = {0};
    LK_TRY(lk_text_add(&t, "%s%s", prefix ? prefix : "", name));
    LK_TRY(lk_strdup(t.at, out));
done:
    lk_text_free(&t);
    return st;
}

static lk_status open_phase(run *r, phase *p, const lk_train_phase *config)
{
    lk_status st = LK_OK;
    lk_optim_config optim = config->optim;
    const int n = config->n_losses;
    p->config = config;
    optim.rank = r->rank;
    optim.n_processes = r->n_processes;
    for (int i = 0; i < n; i++) {
        p->loss[i] = lk_graph_find(config->graph, config->losses[i]);
        LK_REQUIRE(!lk_is_none(p->loss[i]), LK_E_ARG, "the graph has no output '%s'",
                   config->losses[i]);
        const lk_shape shape = lk_var_shape(config->graph, p->loss[i]);
        LK_REQUIRE(lk_shape_count(&shape) == 1, LK_E_SHAPE, "the loss '%s' is not a single number",
                   config->losses[i]);
        LK_TRY(log_name(&p->name[i], config->name, config->losses[i]));
    }
    LK_TRY(log_name(&p->name[n], config->name, "lr"));
    LK_TRY(log_name(&p->name[n + 1], config->name, "grad_norm"));
    LK_TRY(lk_optim_new(&p->optim, r->config->params, &optim));
done:
    return st;
}

/* Where to begin: at the newest sound checkpoint, if there is one. */
static lk_status find_start(run *r)
{
    lk_status st = LK_OK;
    const lk_train_config *c = r->config;
    lk_checkpoint at = {0};
    char *path = NULL;
    LK_TRY(lk_checkpoint_latest(r->checkpoints, &path));
    LK_REQUIRE(!path || c->resume, LK_E_ARG,
               "'%s' holds a training already; resume it or choose another folder", c->folder);
    if (path) {
        LK_TRY(lk_checkpoint_read(path, c->params, &at));
        LK_REQUIRE(at.seed == c->seed, LK_E_ARG,
                   "'%s' was trained with seed %llu, not %llu; resume it with its own seed", path,
                   (unsigned long long)at.seed, (unsigned long long)c->seed);
        LK_REQUIRE(at.step <= c->n_steps, LK_E_ARG,
                   "'%s' has more steps than the %lld that were asked for", path,
                   (long long)c->n_steps);
    }
    r->step = at.step;
    r->samples = at.samples;
    r->saved_step = path ? at.step : -1;
done:
    lk_free(path);
    return st;
}

static lk_status open_run(run *r)
{
    lk_status st = LK_OK;
    const lk_train_config *c = r->config;
    lk_text path = {0};
    LK_TRY(check_config(c));
    r->n_micro = c->n_micro < 1 ? 1 : c->n_micro;
    r->rank = lk_comm_rank(c->comm);
    r->n_processes = lk_comm_n(c->comm);
    LK_REQUIRE(r->n_processes == 1 || lk_params_on_host(c->params), LK_E_UNSUPPORTED,
               "several processes can train on the CPU only");
    LK_TRY(lk_text_add(&path, "%s/checkpoints", c->folder));
    LK_TRY(lk_strdup(path.at, &r->checkpoints));
    for (int i = 0; i < c->n_phases; i++)
        LK_TRY(open_phase(r, &r->phases[i], &c->phases[i]));
    r->loss = NAN;
    LK_TRY(lk_make_folders(c->folder));
    LK_TRY(find_start(r));
    if (r->rank == 0)
        LK_TRY(lk_train_log_open(&r->log, c->folder, r->step, r->samples, c->n_steps,
                                 c->label ? c->label : "training"));
done:
    lk_text_free(&path);
    return st;
}

static void close_run(run *r)
{
    for (int i = 0; i < LK_TRAIN_MOST_PHASES; i++) {
        lk_optim_free(&r->phases[i].optim);
        for (int k = 0; k < LK_TRAIN_MOST_LOSSES + 2; k++)
            lk_free(r->phases[i].name[k]);
    }
    lk_train_log_close(&r->log);
    lk_free(r->checkpoints);
}

/* ---- agreeing ---- */

/* A failure of one process is everybody's: no one may wait for it. */
static lk_status agree(const run *r, lk_status mine)
{
    lk_status st = LK_OK;
    int64_t worst = mine == LK_OK ? 0 : -(int64_t)mine;
    LK_TRY(lk_comm_most(r->config->comm, &worst));
    LK_TRY(mine);
    LK_REQUIRE(worst == 0, (lk_status)-worst, "another process failed (%s)",
               lk_status_name((lk_status)-worst));
done:
    return st;
}

static lk_status same_start(const run *r)
{
    lk_status st = LK_OK;
    int64_t latest = r->step;
    LK_TRY(lk_comm_most(r->config->comm, &latest));
    LK_TRY(agree(r, latest == r->step ? LK_OK
                                      : LK_FAIL(LK_E_IO,
                                                "the processes do not see the same "
                                                "checkpoints in '%s'",
                                                r->checkpoints)));
done:
    return st;
}

/* ---- one step ---- */

static int takes_part(const lk_train_phase *p, int64_t step)
{
    return step >= p->from && (p->until == 0 || step < p->until);
}

static double rate_at(const lk_train_phase *p, int64_t step)
{
    const lk_schedule *s = &p->schedule;
    const double rate = lk_schedule_rate(s, step);
    const int64_t since = step - p->from + 1;
    return p->from > 0 && since < s->warmup
               ? fmin(rate, s->peak * (double)since / (double)s->warmup)
               : rate;
}

static lk_status run_batch(const run *r, const phase *p, int micro)
{
    lk_status st = LK_OK;
    const lk_train_batch b = {
        .seed = r->config->seed,
        .step = r->step,
        .micro = micro,
        .n_micro = r->n_micro,
        .rank = r->rank,
        .n_processes = r->n_processes,
        .index = (r->step * r->n_micro + micro) * r->n_processes + r->rank,
    };
    LK_TRY(p->config->fill(p->config->user, p->config->graph, &b));
    LK_TRY(lk_graph_run(p->config->graph, (uint64_t)b.index));
done:
    return st;
}

/* This process's gradients and losses, summed over its batches. */
static lk_status gradients(run *r, phase *p)
{
    lk_status st = LK_OK;
    memset(p->value, 0, sizeof p->value);
    LK_TRY(lk_params_zero_grad(r->config->params));
    for (int m = 0; m < r->n_micro; m++) {
        LK_TRY(run_batch(r, p, m));
        for (int i = 0; i < p->config->n_losses; i++) {
            double loss;
            LK_TRY(lk_graph_read(p->config->graph, p->loss[i], LK_F64, &loss));
            p->value[i] += loss;
        }
    }
done:
    return st;
}

/* Something is NaN or Inf: do the batches again, looking at every value. */
static lk_status name_the_bad(run *r, phase *p)
{
    lk_status st = LK_OK;
    LK_TRY(lk_params_zero_grad(r->config->params));
    lk_graph_check_finite(p->config->graph, 1);
    for (int m = 0; m < r->n_micro && st == LK_OK; m++)
        st = run_batch(r, p, m);
    lk_graph_check_finite(p->config->graph, 0);
    if (st == LK_E_NUMERIC)
        st = LK_FAIL(LK_E_NUMERIC, "in step %lld %s; the last checkpoint is as it was",
                     (long long)r->step + 1, lk_error_text());
    LK_TRY(st);
    st = LK_FAIL(LK_E_NUMERIC,
                 "in step %lld the sum of the gradients is NaN or Inf; the last checkpoint is as "
                 "it was",
                 (long long)r->step + 1);
done:
    return st;
}

static lk_status sum_over_processes(run *r, phase *p)
{
    lk_status st = LK_OK;
    lk_params *params = r->config->params;
    for (int k = 0; r->n_processes > 1 && k < lk_params_n_slabs(params); k++) {
        int64_t n;
        float *grad = lk_params_slab(params, k, LK_GRAD, &n);
        LK_TRY(lk_comm_sum(r->config->comm, grad, n));
    }
    LK_TRY(lk_comm_sum_double(r->config->comm, p->value, p->config->n_losses));
done:
    return st;
}

static lk_status spread_values(run *r)
{
    lk_status st = LK_OK;
    lk_params *params = r->config->params;
    for (int k = 0; r->n_processes > 1 && k < lk_params_n_slabs(params); k++) {
        int64_t n;
        float *value = lk_params_slab(params, k, LK_VALUE, &n);
        LK_TRY(
            lk_comm_spread(r->config->comm, value, n, lk_params_owner(params, k, r->n_processes)));
    }
done:
    return st;
}

static lk_status run_phase(run *r, phase *p)
{
    lk_status st = LK_OK;
    const int n = p->config->n_losses;
    const double share = 1.0 / ((double)r->n_micro * r->n_processes);
    const double rate = rate_at(p->config, r->step);
    double norm;
    int sound = 1;
    LK_TRY(agree(r, gradients(r, p)));
    LK_TRY(sum_over_processes(r, p));
    LK_TRY(lk_optim_norm(p->optim, &norm));
    norm *= share;
    for (int i = 0; i < n; i++) {
        p->value[i] *= share;
        sound &= isfinite(p->value[i]) != 0;
    }
    if (!sound || !isfinite(norm))
        LK_TRY(name_the_bad(r, p));
    LK_TRY(lk_optim_step(p->optim, r->step, rate, share * lk_clip_factor(norm, p->config->clip)));
    if (p->config->after_step)
        LK_TRY(agree(r, p->config->after_step(p->config->user, p->config->graph, r->step)));
    LK_TRY(spread_values(r));
    p->value[n] = rate;
    p->value[n + 1] = norm;
done:
    return st;
}

static lk_status one_step(run *r)
{
    lk_status st = LK_OK;
    const lk_train_config *c = r->config;
    int64_t samples = -1;
    for (int i = 0; i < c->n_phases; i++) {
        const lk_train_phase *p = &c->phases[i];
        if (!takes_part(p, r->step))
            continue;
        LK_TRY(run_phase(r, &r->phases[i]));
        if (samples < 0) {
            samples = p->batch_samples > 0 ? p->batch_samples : c->batch_samples;
            r->loss = r->phases[i].value[0];
        }
    }
    LK_REQUIRE(samples >= 0, LK_E_ARG, "no phase takes part in step %lld", (long long)r->step + 1);
    r->step++;
    r->samples += samples * r->n_micro * r->n_processes;
done:
    return st;
}

/* ---- saving ---- */

static const lk_slot shared_slots[] = {LK_MOMENT1, LK_MOMENT2, LK_AVERAGE};

/* Is this slot kept for slab k, by whoever owns it? */
static int slot_is_used(const run *r, lk_slot slot)
{
    int used = slot != LK_AVERAGE;
    for (int i = 0; i < r->config->n_phases; i++)
        used |= r->config->phases[i].optim.average > 0;
    return used;
}

/* Process 0 gets what the others own of the optimiser's state, for as long as it takes to write. */
static lk_status borrow_state(run *r)
{
    lk_status st = LK_OK;
    lk_params *params = r->config->params;
    for (int k = 0; r->n_processes > 1 && k < lk_params_n_slabs(params); k++) {
        const int owner = lk_params_owner(params, k, r->n_processes);
        for (int s = 0; owner != 0 && s < 3; s++) {
            int64_t n;
            float *data;
            if (!slot_is_used(r, shared_slots[s]))
                continue;
            st = r->rank == 0 ? lk_params_need_slab(params, k, shared_slots[s]) : LK_OK;
            LK_TRY(agree(r, st));
            data = lk_params_slab(params, k, shared_slots[s], &n);
            LK_TRY(lk_comm_fetch(r->config->comm, data, n, owner));
        }
    }
done:
    return st;
}

static void give_back_state(run *r)
{
    lk_params *params = r->config->params;
    for (int k = 0; r->rank == 0 && k < lk_params_n_slabs(params); k++)
        for (int s = 0; lk_params_owner(params, k, r->n_processes) != 0 && s < 3; s++)
            lk_params_drop_slab(params, k, shared_slots[s]);
}

static lk_status save(run *r)
{
    lk_status st = LK_OK;
    const lk_train_config *c = r->config;
    const lk_checkpoint at = {r->step, r->samples, r->step * r->n_micro * r->n_processes, c->seed};
    if (r->saved_step == r->step)
        return LK_OK;
    LK_TRY(borrow_state(r));
    if (r->rank == 0) {
        st = lk_train_log_sync(&r->log);
        if (st == LK_OK)
            st = lk_checkpoint_save(r->checkpoints, c->params, &at, c->n_texts, c->texts, c->keep);
    }
    LK_TRY(agree(r, st));
    r->saved_step = r->step;
done:
    give_back_state(r);
    return st;
}

static lk_status write_done(const run *r)
{
    lk_status st = LK_OK;
    lk_text path = {0};
    lk_replace file = {0};
    LK_TRY(lk_text_add(&path, "%s/DONE", r->config->folder));
    LK_TRY(lk_replace_open(&file, path.at));
    fprintf(file.stream, "{\"step\":%lld,\"samples\":%lld}\n", (long long)r->step,
            (long long)r->samples);
    LK_TRY(lk_replace_commit(&file));
done:
    lk_replace_drop(&file);
    lk_text_free(&path);
    return st;
}

/* Put the folder in order: a training that goes on is not done, and one that was killed between
 * saving and removing left a checkpoint too many. */
static lk_status tidy(const run *r)
{
    lk_status st = LK_OK;
    lk_text path = {0};
    if (r->saved_step >= 0)
        LK_TRY(lk_checkpoint_prune(r->checkpoints, r->step, r->config->keep));
    LK_TRY(lk_text_add(&path, "%s/DONE", r->config->folder));
    LK_REQUIRE(r->step == r->config->n_steps || unlink(path.at) == 0 || errno == ENOENT, LK_E_IO,
               "cannot remove '%s': %s", path.at, strerror(errno));
done:
    lk_text_free(&path);
    return st;
}

/* ---- telling ---- */

static int looks(const run *r, const lk_train_watch *w)
{
    return w->every > 0 && r->step % w->every == 0;
}

static lk_status watch(run *r)
{
    lk_status st = LK_OK;
    const lk_train_config *c = r->config;
    const int64_t allocated = lk_mem_count();
    int any = 0;
    for (int i = 0; i < c->n_watches; i++)
        any |= looks(r, &c->watches[i]);
    if (!any)
        return LK_OK;
    LK_TRY(borrow_state(r));
    for (int i = 0; r->rank == 0 && st == LK_OK && i < c->n_watches; i++)
        if (looks(r, &c->watches[i]))
            st = c->watches[i].look(c->watches[i].user, r->step, r->seen[i]);
    LK_TRY(agree(r, st));
done:
    give_back_state(r);
    r->before += lk_mem_count() - allocated;
    return st;
}

static lk_status tell(run *r)
{
    lk_status st = LK_OK;
    const lk_train_config *c = r->config;
    const int64_t every = c->log_every < 1 ? 1 : c->log_every;
    int due = r->step % every == 0 || r->step == c->n_steps;
    if (r->rank != 0)
        return LK_OK;
    lk_progress_set(&r->log.progress, (double)r->step);
    for (int i = 0; i < c->n_watches; i++)
        due |= c->watches[i].n > 0 && looks(r, &c->watches[i]);
    if (!due)
        return LK_OK;
    for (int i = 0; i < c->n_phases; i++)
        for (int k = 0; takes_part(&c->phases[i], r->step - 1) && k < c->phases[i].n_losses + 2;
             k++)
            lk_train_log_number(&r->log, r->phases[i].name[k], r->phases[i].value[k]);
    for (int i = 0; i < c->n_watches; i++)
        for (int k = 0; looks(r, &c->watches[i]) && k < c->watches[i].n; k++)
            lk_train_log_number(&r->log, c->watches[i].names[k], r->seen[i][k]);
    LK_TRY(lk_train_log_line(&r->log, r->step, r->samples));
done:
    return st;
}

/* ---- the loop ---- */

static lk_status loop(run *r)
{
    lk_status st = LK_OK;
    const lk_train_config *c = r->config;
    const int64_t first = r->step;
    while (r->step < c->n_steps) {
        int64_t stop;
        r->before = lk_mem_count();
        LK_TRY(agree(r, one_step(r)));
        LK_TRY(watch(r));
        LK_TRY(agree(r, tell(r)));
        r->allocations += r->step > first + 1 ? lk_mem_count() - r->before : 0;
        stop = *lk_stop_flag() != 0;
        LK_TRY(lk_comm_most(c->comm, &stop));
        if (stop || (c->save_every > 0 && r->step % c->save_every == 0))
            LK_TRY(save(r));
        LK_REQUIRE(!stop || r->step == c->n_steps, LK_E_INTERRUPTED,
                   "stopped after step %lld of %lld, saved; resume it to go on", (long long)r->step,
                   (long long)c->n_steps);
    }
    LK_TRY(save(r));
    if (r->rank == 0)
        LK_TRY(write_done(r));
done:
    return st;
}

lk_status lk_train(const lk_train_config *config, lk_train_result *result)
{
    lk_status st = LK_OK;
    run r = {.log.fd = -1};
    lk_stop_on_signals();
    r.config = config;
    LK_TRY(agree(&r, open_run(&r)));
    LK_TRY(same_start(&r));
    LK_TRY(agree(&r, r.rank == 0 ? tidy(&r) : LK_OK));
    st = loop(&r);
    if (result)
        *result = (lk_train_result){
            .step = r.step,
            .samples = r.samples,
            .loss = r.loss,
            .allocations = r.allocations,
        };
    LK_TRY(st);
done:
    close_run(&r);
    return st;
}
