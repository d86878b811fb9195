/* validate.c - the loss of clips that are held out, by noise level.
 *
 * The levels 0 .. 1 are cut into BANDS equal bands; clip i has one level in each of them, and its
 * noise, both functions of i and the band alone, so that numbers of different steps and trainings
 * differ by the weights only.  Where a stream is at level t, the other one is where it is at that
 * time of sampling:
 *
 *   loss_s(band) = mean over clips, their tokens and channels of (v - (e - x))^2,   t_s in the band
 *
 * Nothing is held or left out.  The weights are the averaged ones, in a model of its own: the one
 * that is trained is only read.
 */
#include "av/joint/joint_impl.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

#include <math.h>
#include <stdio.h>

enum { BANDS = 4, MOST = 2 * BANDS };

#define SEED   UINT64_C(0x68656c646f7574)
#define LEVELS UINT64_C(0x62616e64)

struct lk_joint_onlooker {
    const lk_joint_train_config *c;
    lk_joint *averaged;
    float *weights; /* room for the largest */
    lk_joint_batch batch;
    lk_var loss[2];
    char text[MOST][32];
    const char *names[MOST];
    int n;
};

/* ---- setting up ---- */

static lk_status make_model(lk_joint_onlooker *o)
{
    lk_status st = LK_OK;
    const lk_joint *m = o->c->model;
    int64_t most = 0;
    LK_TRY(lk_joint_new(&o->averaged, &m->config, lk_params_backend(m->params)));
    for (int s = 0; s < 2; s++) {
        float mean[LK_JOINT_MOST_CHANNELS], deviation[LK_JOINT_MOST_CHANNELS];
        LK_TRY(lk_joint_get_scale(m, (lk_joint_stream)s, mean, deviation));
        LK_TRY(lk_joint_set_scale(o->averaged, (lk_joint_stream)s, mean, deviation));
    }
    for (int i = 0; i < lk_params_n(m->params); i++) {
        const lk_shape shape = lk_params_shape(m->params, i);
        const int64_t n = lk_shape_count(&shape);
        most = n > most ? n : most;
    }
    LK_TRY(LK_NEW_ARRAY(&o->weights, most));
done:
    return st;
}

static lk_status make_batch(lk_joint_onlooker *o)
{
    lk_status st = LK_OK;
    const lk_joint_train_config *c = o->c;
    lk_joint_sizes z = c->held_out_sizes;
    if (z.batch > c->n_held_out)
        z.batch = c->n_held_out;
    LK_TRY(lk_joint_batch_open(&o->batch, o->averaged, &z, c->compute, 0, 0, (uint64_t)c->seed));
    for (int s = 0; s < 2; s++) {
        o->loss[s] = lk_graph_find(o->batch.graph, lk_joint_loss_names[1 + s]);
        for (int k = 0; k < BANDS && !lk_is_none(o->loss[s]); k++) {
            snprintf(o->text[o->n], sizeof *o->text, "valid_%s_%d_%d", lk_joint_loss_names[1 + s],
                     k * 100 / BANDS, (k + 1) * 100 / BANDS);
            o->names[o->n] = o->text[o->n];
            o->n++;
        }
    }
done:
    return st;
}

lk_status lk_joint_onlooker_new(lk_joint_onlooker **out, const lk_joint_train_config *c)
{
    lk_status st = LK_OK;
    lk_joint_onlooker *o = NULL;
    LK_TRY(LK_NEW(&o));
    o->c = c;
    LK_TRY(make_model(o));
    if (c->n_held_out > 0)
        LK_TRY(make_batch(o));
    *out = o;
    o = NULL;
done:
    lk_joint_onlooker_free(&o);
    return st;
}

void lk_joint_onlooker_free(lk_joint_onlooker **out)
{
    lk_joint_onlooker *o = out ? *out : NULL;
    if (!o)
        return;
    lk_joint_batch_clear(&o->batch);
    lk_joint_free(&o->averaged);
    lk_free(o->weights);
    lk_free(o);
    *out = NULL;
}

/* ---- looking ---- */

static lk_status take_averages(lk_joint_onlooker *o)
{
    lk_status st = LK_OK;
    const lk_params *from = o->c->model->params;
    for (int i = 0; i < lk_params_n(from); i++) {
        const lk_slot slot = lk_params_data(from, i, LK_AVERAGE) ? LK_AVERAGE : LK_VALUE;
        const int to = lk_params_find(o->averaged->params, lk_params_name(from, i));
        LK_REQUIRE(to >= 0, LK_E_INTERNAL, "the averaged model has no '%s'",
                   lk_params_name(from, i));
        LK_TRY(lk_params_read(from, i, slot, LK_F32, o->weights));
        LK_TRY(lk_params_write(o->averaged->params, to, LK_VALUE, LK_F32, o->weights));
    }
done:
    return st;
}

/* Clips from `first` on, at their levels of a band for stream s. */
static lk_status fill(lk_joint_onlooker *o, int first, int s, int band)
{
    lk_status st = LK_OK;
    lk_joint_batch *b = &o->batch;
    const lk_joint_train_config *c = o->c;
    for (int i = 0; i < b->sizes.batch; i++) {
        const int clip = first + i;
        const int64_t number = (int64_t)clip * BANDS + band;
        const double place = (double)lk_rng_uniform(SEED, LEVELS, (uint64_t)number);
        double level[2];
        lk_joint_levels_where(&b->m->config, s, fmax((band + place) / BANDS, 1e-3), level);
        b->clips[i] = clip < c->n_held_out ? c->held_out[clip] : (lk_joint_clip){0};
        for (int k = 0; k < 2; k++) {
            uint8_t *held = lk_joint_batch_held(b, i, k);
            for (int t = 0; t < (k ? b->sizes.sounds : b->sizes.latents); t++)
                held[t] = 0;
        }
        b->clips[i].video_held = b->clips[i].audio_held = NULL;
        lk_joint_batch_mix(b, i, SEED, number, level);
    }
    LK_TRY(lk_joint_check_clips(b->m, &b->sizes, b->clips));
    LK_TRY(lk_joint_batch_write(b, 0));
done:
    return st;
}

static lk_status measure(lk_joint_onlooker *o, int s, int band, double *loss)
{
    lk_status st = LK_OK;
    double sum = 0, clips = 0;
    for (int first = 0; first < o->c->n_held_out; first += o->batch.sizes.batch) {
        double mean;
        LK_TRY(fill(o, first, s, band));
        LK_TRY(lk_graph_run(o->batch.graph, 0));
        LK_TRY(lk_graph_read(o->batch.graph, o->loss[s], LK_F64, &mean));
        sum += mean * o->batch.sizes.batch;
        clips += o->batch.moving[s];
    }
    *loss = sum / fmax(clips, 1);
    LK_REQUIRE(isfinite(*loss), LK_E_NUMERIC, "the loss of the clips held out is NaN or Inf");
done:
    return st;
}

static lk_status validate(void *user, int64_t step, double *values)
{
    lk_status st = LK_OK;
    lk_joint_onlooker *o = user;
    (void)step;
    LK_TRY(take_averages(o));
    for (int s = 0; s < 2; s++)
        for (int band = 0; band < BANDS && !lk_is_none(o->loss[s]); band++)
            LK_TRY(measure(o, s, band, values++));
done:
    return st;
}

static lk_status show(void *user, int64_t step, double *values)
{
    lk_status st = LK_OK;
    lk_joint_onlooker *o = user;
    (void)values;
    LK_TRY(take_averages(o));
    LK_TRY(o->c->show(o->c->show_user, step, o->averaged));
done:
    return st;
}

int lk_joint_watches(lk_joint_onlooker *o, lk_train_watch watches[2])
{
    const lk_joint_train_config *c = o->c;
    int n = 0;
    if (c->n_held_out > 0)
        watches[n++] = (lk_train_watch){c->validate_every, o->n, o->names, validate, o};
    if (c->show)
        watches[n++] = (lk_train_watch){c->sample_every, 0, NULL, show, o};
    return n;
}
