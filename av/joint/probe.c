/* probe.c - where in time the streams look, and which way their gradients come.
 *
 * With w_hij the weights of head h of token i over the keys j that its plan opens, lag_ij the time
 * of j minus that of i, and a mean over the tokens i of all clips that see something:
 *
 *     w_hij  = exp(q_hi . k_hj / sqrt(D)) / sum_j' exp(q_hi . k_hj' / sqrt(D))
 *     mass   of a bin = mean_i sum_{j: lag_ij in bin} w_hij
 *     chance of a bin = mean_i sum_{j: lag_ij in bin} 1 / |keys of i|
 *
 * Queries and keys are the graph's own, and so are the plans; weights are made here, in double.
 * Bin b is [(b - 1/2) bin, (b + 1/2) bin), in integers.
 *
 * A stream's loss alone is what the loss graph gives when no token of the other stream has a share
 * in it.  The only way from a stream's loss to the other stream's weights is the exchange.
 */
#include "av/joint/joint_impl.h"

#include "kernels/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *const lk_joint_part_names[LK_JOINT_PARTS] = {"self", "text", "script", "exchange",
                                                         "feed"};

typedef struct prober {
    const lk_joint_probe_config *c;
    lk_joint *m;
    lk_joint_probe *out;
    lk_joint_batch batch;
    lk_joint_compared *compared;
    lk_flick bin;
    int64_t tokens[2], events; /* of the clip at hand */
    lk_flick *time[3];         /* of tokens of both streams, and of events */
    float *q, *k, *gradient;
    int32_t *plan, *bin_of; /* bin of every key of a query */
    double *weight;
} prober;

/* ---- room ---- */

void lk_joint_probe_free(lk_joint_probe **out)
{
    lk_joint_probe *p = out ? *out : NULL;
    if (!p)
        return;
    for (int i = 0; i < LK_JOINT_STREAMS * LK_JOINT_SIGHTS; i++) {
        lk_joint_gaze *z = &p->gaze[i / LK_JOINT_SIGHTS][i % LK_JOINT_SIGHTS];
        lk_free(z->mass);
        lk_free(z->chance);
        lk_free(z->share);
    }
    lk_free(p->gradient);
    lk_free(p->norm);
    lk_free(p);
    *out = NULL;
}

static lk_status make_probe(lk_joint_probe **out, const lk_joint *m, const lk_joint_probe_config *c)
{
    lk_status st = LK_OK;
    lk_joint_probe *p = NULL;
    LK_TRY(LK_NEW(&p));
    *out = p;
    p->n_levels = c->n_levels;
    p->n_blocks = m->config.blocks;
    p->n_heads = m->config.heads;
    p->n_bins = 2 * (int)floor(c->reach_ms / c->bin_ms) + 1;
    p->bin_ms = c->bin_ms;
    const int64_t each = (int64_t)p->n_blocks * (p->n_bins + 2);
    for (int i = 0; i < LK_JOINT_STREAMS * LK_JOINT_SIGHTS; i++) {
        lk_joint_gaze *z = &p->gaze[i / LK_JOINT_SIGHTS][i % LK_JOINT_SIGHTS];
        LK_TRY(LK_NEW_ARRAY(&z->mass, each * p->n_levels * p->n_heads));
        LK_TRY(LK_NEW_ARRAY(&z->chance, each));
        LK_TRY(LK_NEW_ARRAY(&z->share, p->n_blocks));
    }
    LK_TRY(LK_NEW_ARRAY(&p->gradient, (int64_t)p->n_levels * 2 * 2 * p->n_blocks * LK_JOINT_PARTS));
    LK_TRY(LK_NEW_ARRAY(&p->norm, (int64_t)p->n_levels * 2));
done:
    return st;
}

static lk_status make_room(prober *w)
{
    lk_status st = LK_OK;
    const lk_joint_sizes s = lk_joint_inside(w->m, &w->batch.sizes);
    const int64_t both = lk_joint_tokens(&s, 0) + s.sounds + s.events, width = w->m->config.width;
    int64_t most = 0;
    for (int i = 0; i < lk_params_n(w->m->params); i++) {
        const lk_shape shape = lk_params_shape(w->m->params, i);
        most = lk_shape_count(&shape) > most ? lk_shape_count(&shape) : most;
    }
    LK_TRY(LK_NEW_ARRAY(&w->time[0], lk_joint_tokens(&s, 0)));
    LK_TRY(LK_NEW_ARRAY(&w->time[1], s.sounds));
    LK_TRY(LK_NEW_ARRAY(&w->time[2], s.events));
    LK_TRY(LK_NEW_ARRAY(&w->q, both * width));
    LK_TRY(LK_NEW_ARRAY(&w->k, both * width));
    LK_TRY(LK_NEW_ARRAY(&w->plan, 4 * both));
    LK_TRY(LK_NEW_ARRAY(&w->bin_of, both));
    LK_TRY(LK_NEW_ARRAY(&w->weight, both));
    LK_TRY(LK_NEW_ARRAY(&w->gradient, most));
done:
    return st;
}

static void clear(prober *w)
{
    lk_joint_batch_clear(&w->batch);
    for (int i = 0; i < 3; i++)
        lk_free(w->time[i]);
    lk_free(w->compared);
    lk_free(w->q);
    lk_free(w->k);
    lk_free(w->plan);
    lk_free(w->bin_of);
    lk_free(w->weight);
    lk_free(w->gradient);
}

/* Probed while it is recorded, and no longer. */
static lk_status make_graph(prober *w)
{
    lk_status st = LK_OK;
    const int n = w->m->config.blocks * LK_JOINT_STREAMS * LK_JOINT_SIGHTS;
    lk_joint_sizes one = w->c->sizes;
    one.batch = 1;
    LK_TRY(LK_NEW_ARRAY(&w->compared, n));
    for (int i = 0; i < n; i++)
        w->compared[i] = (lk_joint_compared){LK_NONE, LK_NONE, LK_NONE};
    w->m->probed = w->compared;
    LK_TRY(lk_joint_batch_open(&w->batch, w->m, &one, "f32", 1, 0, (uint64_t)w->c->seed));
done:
    w->m->probed = NULL;
    return st;
}

/* ---- attention ---- */

static void note_times(prober *w, const lk_joint_clip *c)
{
    const lk_joint_sizes s = lk_joint_inside(w->m, &w->batch.sizes);
    const int64_t cells = (int64_t)s.rows * s.columns;
    w->tokens[0] = c->n_latents * cells;
    w->tokens[1] = c->n_sounds;
    w->events = 0;
    for (int64_t i = 0; i < w->tokens[0]; i++)
        w->time[0][i] = lk_span_middle(c->video_span[i / cells]);
    for (int64_t i = 0; i < w->tokens[1]; i++)
        w->time[1][i] = lk_span_middle(c->audio_span[i]);
    for (int i = 0; i < c->n_events; i++)
        if (lk_joint_attended(&c->events[i]))
            w->time[2][w->events++] = c->events[i].span.start;
}

static int32_t bin_of(const prober *w, lk_flick lag)
{
    const lk_flick from = lag + w->bin / 2, side = w->out->n_bins / 2;
    const lk_flick b = from / w->bin - (from % w->bin < 0);
    return (int32_t)lk_attend_clamp(b + side + 1, 0, w->out->n_bins + 1);
}

/* weight [n] of a query over the keys from k on. */
static lk_status weigh(const float *q, const float *k, int64_t n, int64_t width, double *weight)
{
    lk_status st = LK_OK;
    double most = -INFINITY, sum = 0;
    for (int64_t j = 0; j < n; j++) {
        double dot = 0;
        for (int64_t d = 0; d < width; d++)
            dot += (double)q[d] * (double)k[j * width + d];
        weight[j] = dot / sqrt((double)width);
        most = fmax(most, weight[j]);
    }
    for (int64_t j = 0; j < n; j++)
        sum += weight[j] = exp(weight[j] - most);
    LK_REQUIRE(isfinite(sum), LK_E_NUMERIC, "the model's weights are unusable: NaN or Inf");
    for (int64_t j = 0; j < n; j++)
        weight[j] /= sum;
done:
    return st;
}

/* What one layer compared; of its keys those from `own` on are the other stream's. */
typedef struct layer {
    int level, block, stream;
    lk_joint_sight sight;
    int64_t queries, keys, own;
} layer;

static lk_joint_sight sight_of(const layer *a, int64_t key)
{
    return a->sight == LK_JOINT_SEES_ITSELF && key >= a->own ? LK_JOINT_SEES_OTHER : a->sight;
}

static lk_flick key_time(const prober *w, const layer *a, int64_t j)
{
    const lk_joint_sight sight = sight_of(a, j);
    if (sight == LK_JOINT_SEES_SCRIPT)
        return w->time[2][j];
    return sight == LK_JOINT_SEES_ITSELF ? w->time[a->stream][j]
           : a->sight == sight           ? w->time[1 - a->stream][j]
                                         : w->time[1 - a->stream][j - a->own];
}

/* One query: weights are added to the bins of its keys. */
static lk_status add_query(prober *w, const layer *a, int64_t i, int64_t first, int64_t n)
{
    lk_status st = LK_OK;
    lk_joint_probe *p = w->out;
    const int bins = p->n_bins + 2;
    const int64_t width = w->m->config.width / w->m->config.heads;
    for (int64_t j = 0; j < n; j++) {
        double *chance = p->gaze[a->stream][sight_of(a, first + j)].chance + a->block * bins;
        w->bin_of[j] = bin_of(w, key_time(w, a, first + j) - w->time[a->stream][i]);
        if (a->level == 0)
            chance[w->bin_of[j]] += 1 / (double)n;
    }
    for (int h = 0; h < p->n_heads; h++) {
        const int64_t row = ((int64_t)a->level * p->n_blocks + a->block) * p->n_heads + h;
        LK_TRY(weigh(w->q + (h * a->queries + i) * width, w->k + (h * a->keys + first) * width, n,
                     width, w->weight));
        for (int64_t j = 0; j < n; j++)
            p->gaze[a->stream][sight_of(a, first + j)].mass[row * bins + w->bin_of[j]] +=
                w->weight[j];
    }
done:
    return st;
}

static lk_status add_layer(prober *w, int level, int block, int stream, lk_joint_sight sight)
{
    lk_status st = LK_OK;
    const lk_joint_compared *at = &w->compared[(2 * block + stream) * LK_JOINT_SIGHTS + (int)sight];
    const lk_graph *g = w->batch.graph;
    int64_t seeing = 0;
    if (lk_is_none(at->q))
        return LK_OK;
    const layer a = {level,
                     block,
                     stream,
                     sight,
                     lk_var_dim(g, at->q, 2),
                     lk_var_dim(g, at->k, 2),
                     sight == LK_JOINT_SEES_ITSELF ? lk_var_dim(g, at->q, 2) : 0};
    LK_TRY(lk_graph_read(g, at->q, LK_F32, w->q));
    LK_TRY(lk_graph_read(g, at->k, LK_F32, w->k));
    LK_TRY(lk_graph_read(g, at->plan, LK_I32, w->plan));
    for (int64_t i = 0; i < w->tokens[stream]; i++) {
        const int64_t first = w->plan[2 * i], n = w->plan[2 * i + 1] - first;
        if (n <= 0)
            continue;
        LK_TRY(add_query(w, &a, i, first, n));
        seeing++;
    }
    for (int k = (int)sight; level == 0 && k < LK_JOINT_SIGHTS; k++)
        if (k == (int)sight || (k == LK_JOINT_SEES_OTHER && a.keys > a.own && a.own))
            w->out->gaze[stream][k].share[block] += (double)seeing;
done:
    return st;
}

static lk_status add_layers(prober *w, int level)
{
    lk_status st = LK_OK;
    for (int b = 0; b < w->m->config.blocks; b++)
        for (int s = 0; s < LK_JOINT_STREAMS; s++)
            for (int k = 0; k < LK_JOINT_SIGHTS; k++)
                LK_TRY(add_layer(w, level, b, s, (lk_joint_sight)k));
done:
    return st;
}

/* ---- gradients ---- */

/* Where a weight belongs, "blocks.2.audio.exchange.q.weight"; 0 for what is in no block.  Keys and
 * values that a joint exchange takes from the other stream are the exchange's. */
static int place_of(const char *name, int *block, int *stream, int *part)
{
    char tower[8], which[16];
    if (sscanf(name, "blocks.%d.%7[a-z].%15[a-z].", block, tower, which) != 3)
        return 0;
    *stream = strcmp(tower, "audio") == 0;
    for (*part = 0; *part < LK_JOINT_PARTS; (*part)++)
        if (strcmp(which, lk_joint_part_names[*part]) == 0)
            break;
    if (strstr(name, ".self.from1."))
        *part = LK_JOINT_PART_EXCHANGE;
    return *part < LK_JOINT_PARTS;
}

/* The balance of the losses scales a stream's loss, and is no part of it. */
static lk_status add_gradients(prober *w, int level, int loss)
{
    lk_status st = LK_OK;
    lk_joint_probe *p = w->out;
    lk_params *store = w->m->params;
    float balance = 0;
    double whole = 0;
    LK_TRY(lk_params_read(store, lk_params_find(store, loss ? "balance.audio" : "balance.video"),
                          LK_VALUE, LK_F32, &balance));
    const double scale = exp(2 * (double)balance);
    for (int i = 0; i < lk_params_n(store); i++) {
        const char *name = lk_params_name(store, i);
        const lk_shape shape = lk_params_shape(store, i);
        int block, stream, part;
        double square = 0;
        if (!place_of(name, &block, &stream, &part))
            continue;
        LK_TRY(lk_params_read(store, i, LK_GRAD, LK_F32, w->gradient));
        for (int64_t j = 0; j < lk_shape_count(&shape); j++)
            square += (double)w->gradient[j] * (double)w->gradient[j];
        whole += scale * square;
        p->gradient[(((level * 2 + loss) * 2 + stream) * p->n_blocks + block) * LK_JOINT_PARTS +
                    part] += scale * square;
    }
    p->norm[2 * level + loss] += whole;
done:
    return st;
}

/* ---- one clip at one level ---- */

static lk_status probe_clip(prober *w, int clip, int level)
{
    lk_status st = LK_OK;
    const double t[2] = {w->c->levels[level], w->c->levels[level]};
    lk_joint_batch *b = &w->batch;
    int runs = 0;
    for (int loss = 0; loss < LK_JOINT_STREAMS; loss++) {
        const int64_t other = lk_joint_tokens(&b->sizes, 1 - loss);
        if (lk_joint_tokens(&b->sizes, loss) == 0)
            continue;
        lk_joint_batch_mix(b, 0, (uint64_t)w->c->seed, clip, t);
        for (int64_t i = 0; i < other; i++)
            b->share[1 - loss][i] = 0;
        LK_TRY(lk_joint_batch_write(b, (uint64_t)clip));
        LK_TRY(lk_params_zero_grad(w->m->params));
        LK_TRY(lk_graph_run(b->graph, 0));
        LK_TRY(add_gradients(w, level, loss));
        if (runs++ == 0)
            LK_TRY(add_layers(w, level));
    }
done:
    return st;
}

static void divide(double *x, int64_t n, double by)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = by > 0 ? x[i] / by : NAN;
}

/* Sums become means; `all` are the tokens of a stream in all clips. */
static void finish(prober *w, const double all[2])
{
    lk_joint_probe *p = w->out;
    const int64_t bins = p->n_bins + 2, n = 2 * (int64_t)p->n_blocks * LK_JOINT_PARTS;
    for (int i = 0; i < LK_JOINT_STREAMS * LK_JOINT_SIGHTS; i++) {
        lk_joint_gaze *z = &p->gaze[i / LK_JOINT_SIGHTS][i % LK_JOINT_SIGHTS];
        for (int b = 0; b < p->n_blocks; b++) {
            divide(z->chance + b * bins, bins, z->share[b]);
            for (int l = 0; l < p->n_levels; l++)
                divide(z->mass + ((int64_t)l * p->n_blocks + b) * p->n_heads * bins,
                       p->n_heads * bins, z->share[b]);
        }
        divide(z->share, p->n_blocks, all[i / LK_JOINT_SIGHTS]);
    }
    for (int i = 0; i < 2 * p->n_levels; i++) {
        divide(p->gradient + i * n, n, p->norm[i]);
        p->norm[i] = sqrt(p->norm[i] / w->c->n_clips);
    }
}

static lk_status check(const lk_joint *m, const lk_joint_probe_config *c)
{
    lk_status st = LK_OK;
    lk_joint_sizes one = c->sizes;
    one.batch = 1;
    LK_TRY(lk_joint_check_sizes(m, &one));
    LK_REQUIRE(c->n_clips > 0 && c->n_levels > 0, LK_E_EMPTY,
               "a probe needs clips and noise levels");
    for (int i = 0; i < c->n_levels; i++)
        LK_REQUIRE(c->levels[i] > 0 && c->levels[i] <= 1, LK_E_ARG,
                   "a noise level is above 0 and at most 1, not %g", c->levels[i]);
    LK_REQUIRE(c->bin_ms >= 0.01 && c->reach_ms >= c->bin_ms && c->reach_ms / c->bin_ms <= 1e5,
               LK_E_ARG, "lags up to %g ms cannot be told in bins of %g ms", c->reach_ms,
               c->bin_ms);
    for (int i = 0; i < c->n_clips; i++) {
        const lk_joint_clip *clip = &c->clips[i];
        LK_TRY(lk_joint_check_clips(m, &one, clip));
        LK_REQUIRE((clip->video || clip->n_latents == 0) && (clip->audio || clip->n_sounds == 0),
                   LK_E_ARG, "a clip to probe with lacks its latents");
    }
done:
    return st;
}

lk_status lk_joint_probe_new(lk_joint_probe **out, lk_joint *m, const lk_joint_probe_config *c)
{
    lk_status st = LK_OK;
    lk_joint_probe *p = NULL;
    prober w = {.c = c, .m = m, .bin = (lk_flick)llrint(c->bin_ms * (double)LK_FLICKS_PER_MS)};
    double all[2] = {0, 0};
    LK_TRY(check(m, c));
    LK_TRY(make_probe(&p, m, c));
    w.out = p;
    LK_TRY(make_graph(&w));
    LK_TRY(make_room(&w));
    for (int i = 0; i < c->n_clips; i++) {
        w.batch.clips[0] = c->clips[i];
        w.batch.clips[0].video_held = w.batch.clips[0].audio_held = NULL;
        note_times(&w, &c->clips[i]);
        for (int s = 0; s < 2; s++)
            all[s] += (double)w.tokens[s];
        for (int l = 0; l < c->n_levels; l++) {
            LK_REQUIRE(!c->stop || !*c->stop, LK_E_INTERRUPTED, "stopped at clip %d of %d", i,
                       c->n_clips);
            LK_TRY(probe_clip(&w, i, l));
        }
    }
    finish(&w, all);
    *out = p;
    p = NULL;
done:
    clear(&w);
    lk_joint_probe_free(&p);
    return st;
}
