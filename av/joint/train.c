/* train.c - the training of the joint model; see joint.h for its settings, flow.c for its loss,
 * batch.c for its noise.
 *
 * Every clip draws its levels, its noise, whether its text and its exchange are dropped, and a
 * task: nothing held, a stream held whole, the first latent of the picture held, or everything
 * outside a range of time held. Beside a script a given stream teaches little: both say when.
 */
#include "av/joint/joint_impl.h"

#include "kernels/checkpoint.h"
#include "kernels/mem.h"
#include "kernels/rng.h"
#include "kernels/thread.h"

#include <string.h>

#define DRAWS UINT64_C(0x6a6f696e74000000)

#define O lk_joint_train_config
const lk_option lk_joint_train_options[] = {
    LK_OPT_INT(O, steps, 20000, 1, 100000000, "steps of the training"),
    LK_OPT_INT(O, micro, 1, 1, 4096, "batches a step whose gradients are added"),
    LK_OPT_INT(O, image_steps, 0, 0, 100000000, "of these, first ones with single pictures"),
    LK_OPT_INT(O, video_steps, 0, 0, 100000000, "then ones without sound"),
    LK_OPT_INT(O, image_batch, 32, 1, 4096, "pictures at once in image_steps"),
    LK_OPT_CHOICE(O, compute, "f32", "f32|bf16", "numbers that products are made of"),
    LK_OPT_DOUBLE(O, rate, 5e-4, 0, 1, "highest learning rate"),
    LK_OPT_DOUBLE(O, last_rate, 5e-5, 0, 1, "learning rate of the last step"),
    LK_OPT_INT(O, warmup, 200, 0, 100000000, "steps until the highest rate"),
    LK_OPT_DOUBLE(O, decay, 0.01, 0, 1, "of weights, times the learning rate"),
    LK_OPT_DOUBLE(O, average, 0.999, 0, 0.999999, "memory of the averaged weights"),
    LK_OPT_DOUBLE(O, clip, 1, 0, 1e9, "largest norm of the gradient; 0: no limit"),
    LK_OPT_DOUBLE(O, no_text, 0.1, 0, 1, "share of clips without prompt and script"),
    LK_OPT_DOUBLE(O, no_script, 0.3, 0, 1, "share of clips without script: streams must meet"),
    LK_OPT_DOUBLE(O, no_places, 0.2, 0, 1, "share of clips whose events say no places"),
    LK_OPT_DOUBLE(O, no_exchange, 0.1, 0, 1, "share of clips whose streams do not meet"),
    LK_OPT_DOUBLE(O, hold_audio, 0.1, 0, 1, "share of clips with all of the sound given"),
    LK_OPT_DOUBLE(O, hold_video, 0.1, 0, 1, "share of clips with all of the picture given"),
    LK_OPT_DOUBLE(O, held_script, 0.3, 0, 1, "share of these two that keep their script"),
    LK_OPT_DOUBLE(O, hold_first, 0.05, 0, 1, "share of clips with the first picture given"),
    LK_OPT_DOUBLE(O, hold_range, 0.1, 0, 1, "share of clips given outside a range of time"),
    LK_OPT_DOUBLE(O, motion, 0, 0, 1, "how much more pictures count where they move"),
    LK_OPT_DOUBLE(O, change, 0, 0, 1000, "weight of what errors change from latent to latent"),
    LK_OPT_TEXT(O, start_from, NULL, "weights to begin with; what the file lacks starts anew"),
    LK_OPT_INT(O, log_every, 10, 1, 100000000, "steps between lines of the log"),
    LK_OPT_INT(O, save_every, 1000, 0, 100000000, "steps between checkpoints"),
    LK_OPT_INT(O, keep, 2, 0, 1000000, "newest checkpoints kept; 0: all"),
    LK_OPT_INT(O, validate_every, 500, 0, 100000000, "steps between losses of clips held out"),
    LK_OPT_INT(O, sample_every, 1000, 0, 100000000, "steps between pictures of samples"),
    LK_OPT_INT(O, seed, 1, 0, 2147483647, "of clips and noise"),
    LK_OPT_END};
#undef O

/* What steps see, from the last to the first: each has room and numbers of its own. */
typedef enum stage_kind { BOTH, NO_SOUND, STILLS, STAGES } stage_kind;

#define STAGE_SEED UINT64_C(0x9e3779b97f4a7c15) /* times the stage */

typedef struct job {
    const lk_joint_train_config *c;
    stage_kind stage;
    lk_joint_batch batch;
    const char *losses[LK_JOINT_LOSSES];
    int n_losses;
} job;

static double draw(uint64_t seed, int64_t clip, int what)
{
    return (double)lk_rng_uniform(seed, DRAWS + (uint64_t)what, (uint64_t)clip);
}

/* ---- what is held ---- */

static void hold_outside(const lk_span *span, int n, lk_flick from, lk_flick to, uint8_t *held)
{
    for (int i = 0; i < n; i++)
        held[i] |= span[i].end <= from || span[i].start >= to;
}

static void hold_range(const lk_joint_clip *c, uint64_t seed, int64_t clip, uint8_t *held[2])
{
    const lk_span *span = c->n_latents ? c->video_span : c->audio_span;
    const int n = c->n_latents ? c->n_latents : c->n_sounds;
    lk_flick start, length, from, to;
    if (n == 0)
        return;
    start = span[0].start;
    length = span[n - 1].end - start;
    from = start + (lk_flick)(draw(seed, clip, 1) * (double)length * 0.9);
    to = draw(seed, clip, 2) < 0.5 ? start + length /* what follows is made: a longer clip */
                                   : from + (lk_flick)(draw(seed, clip, 3) * (double)length);
    hold_outside(c->video_span, c->n_latents, from, to, held[0]);
    hold_outside(c->audio_span, c->n_sounds, from, to, held[1]);
}

/* A clip never has everything held. True where a whole stream is. */
static bool draw_task(const lk_joint_train_config *t, lk_joint_clip *c, uint64_t seed, int64_t clip,
                      uint8_t *held[2])
{
    double r = draw(seed, clip, 0);
    bool whole = false;
    for (int s = 0; s < 2; s++) {
        const uint8_t *given = s ? c->audio_held : c->video_held;
        const int n = s ? c->n_sounds : c->n_latents;
        for (int i = 0; i < n; i++)
            held[s][i] = given && given[i];
    }
    if ((r -= t->hold_audio) < 0) {
        if ((whole = c->n_latents > 0))
            memset(held[1], 1, (size_t)c->n_sounds);
    } else if ((r -= t->hold_video) < 0) {
        if ((whole = c->n_sounds > 0))
            memset(held[0], 1, (size_t)c->n_latents);
    } else if ((r -= t->hold_first) < 0) {
        if (c->n_latents > 1)
            held[0][0] = 1;
    } else if (r - t->hold_range < 0) {
        hold_range(c, seed, clip, held);
    }
    c->video_held = c->video ? held[0] : NULL;
    c->audio_held = c->audio ? held[1] : NULL;
    return whole;
}

/* ---- a batch ---- */

static lk_status has_latents(const lk_joint_clip *c)
{
    lk_status st = LK_OK;
    LK_REQUIRE((c->video || c->n_latents == 0) && (c->audio || c->n_sounds == 0), LK_E_ARG,
               "a clip to learn from lacks its latents");
done:
    return st;
}

/* Only what the stage sees. */
static void cut_clip(stage_kind stage, lk_joint_clip *c)
{
    if (stage == BOTH)
        return;
    c->n_sounds = 0;
    c->audio = NULL;
    c->audio_held = NULL;
    if (stage == STILLS)
        c->n_latents = c->n_latents > 0;
}

typedef struct mixing {
    job *j;
    uint64_t seed;
    int64_t index;
} mixing;

static void mix_some(void *context, int64_t first, int64_t end)
{
    const mixing *m = context;
    const lk_joint_train_config *c = m->j->c;
    lk_joint_batch *to = &m->j->batch;
    for (int b = (int)first; b < end; b++) {
        const int64_t clip = m->index * to->sizes.batch + b;
        uint8_t *held[2] = {lk_joint_batch_held(to, b, 0), lk_joint_batch_held(to, b, 1)};
        double level[2];
        bool whole;
        lk_joint_draw_levels(&c->model->config, m->seed, clip, level);
        whole = draw_task(c, &to->clips[b], m->seed, clip, held);
        to->no_text[b] = draw(m->seed, clip, 4) < c->no_text;
        to->no_script[b] = draw(m->seed, clip, 7) < (whole ? 1 - c->held_script : c->no_script);
        to->no_places[b] = draw(m->seed, clip, 8) < c->no_places;
        to->no_exchange[b] = draw(m->seed, clip, 5) < c->no_exchange;
        lk_joint_batch_mix(to, b, m->seed, clip, level);
    }
}

static lk_status fill(void *user, lk_graph *g, const lk_train_batch *batch)
{
    lk_status st = LK_OK;
    job *j = user;
    const lk_joint_train_config *c = j->c;
    lk_joint_batch *to = &j->batch;
    const uint64_t seed = batch->seed + STAGE_SEED * (uint64_t)j->stage;
    (void)g;
    memset(to->clips, 0, (size_t)to->sizes.batch * sizeof *to->clips);
    LK_TRY(c->fill(c->user, seed, batch->index, to->sizes.batch, j->stage == STILLS, to->clips));
    for (int b = 0; b < to->sizes.batch; b++) {
        cut_clip(j->stage, &to->clips[b]);
        LK_TRY(has_latents(&to->clips[b]));
    }
    LK_TRY(lk_joint_check_clips(c->model, &to->sizes, to->clips));
    lk_parallel_for(to->sizes.batch, 1, mix_some, &(mixing){j, seed, batch->index});
    LK_TRY(lk_joint_batch_write(to, (uint64_t)batch->index));
done:
    return st;
}

/* ---- the training ---- */

static int trains(const char *name, const lk_shape *shape)
{
    (void)shape;
    return strncmp(name, "scale.", 6) != 0;
}

/* What sound is made with, or heard with, rests while there is none. */
static int trains_without_sound(const char *name, const lk_shape *shape)
{
    return trains(name, shape) && !strstr(name, "audio") && !strstr(name, "exchange") &&
           !strstr(name, "meet");
}

static lk_joint_sizes sizes_of(const lk_joint_train_config *c, stage_kind stage)
{
    lk_joint_sizes z = c->sizes;
    if (stage != BOTH)
        z.sounds = 0;
    if (stage == STILLS) {
        z.batch = c->image_batch;
        z.latents = z.latents > 0;
    }
    return z;
}

/* The steps [from, until) of a stage; none where they are equal. */
static void steps_of(const lk_joint_train_config *c, stage_kind stage, int64_t *from,
                     int64_t *until)
{
    const int64_t ends[] = {0, c->image_steps, (int64_t)c->image_steps + c->video_steps, c->steps};
    *from = ends[BOTH + 2 - stage];
    *until = ends[BOTH + 3 - stage];
}

static lk_status open_stage(job *j, stage_kind stage, lk_train_phase *phase)
{
    lk_status st = LK_OK;
    const lk_joint_train_config *c = j->c;
    const lk_joint_sizes z = sizes_of(c, stage);
    j->stage = stage;
    LK_TRY(
        lk_joint_batch_open(&j->batch, c->model, &z, c->compute, 1, c->change, (uint64_t)c->seed));
    j->batch.motion = c->motion;
    j->losses[j->n_losses++] = lk_joint_loss_names[0];
    for (int s = 0; s < 2; s++)
        if (lk_joint_tokens(&z, s))
            j->losses[j->n_losses++] = lk_joint_loss_names[1 + s];
    *phase = (lk_train_phase){
        .batch_samples = z.batch,
        .graph = j->batch.graph,
        .fill = fill,
        .user = j,
        .n_losses = j->n_losses,
        .losses = j->losses,
        .optim = {.beta1 = 0.9,
                  .beta2 = 0.99,
                  .decay = c->decay,
                  .average = c->average,
                  .trains = stage == BOTH ? trains : trains_without_sound},
        .schedule = {LK_SCHEDULE_COSINE, c->rate, c->last_rate, c->warmup, c->steps, 0},
        .clip = c->clip};
    steps_of(c, stage, &phase->from, &phase->until);
done:
    return st;
}

/* The two configurations as one text each, then the caller's. */
static lk_status make_texts(const lk_joint_train_config *c, lk_text lines[2],
                            lk_safetensors_text **texts)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW_ARRAY(texts, c->n_texts + 2));
    LK_TRY(lk_option_write_lines(lk_joint_options, &c->model->config, &lines[0]));
    LK_TRY(lk_option_write_lines(lk_joint_train_options, c, &lines[1]));
    (*texts)[0] = (lk_safetensors_text){"joint", lines[0].at};
    (*texts)[1] = (lk_safetensors_text){"joint_training", lines[1].at};
    for (int i = 0; i < c->n_texts; i++)
        (*texts)[2 + i] = c->texts[i];
done:
    return st;
}

static lk_status run(const lk_joint_train_config *c, int n_phases, lk_train_phase *phases,
                     lk_joint_onlooker *onlooker, lk_train_result *result)
{
    lk_status st = LK_OK;
    lk_text lines[2] = {{0}, {0}};
    lk_safetensors_text *texts = NULL;
    lk_train_watch watches[2];
    const int n_watches = onlooker ? lk_joint_watches(onlooker, watches) : 0;
    LK_TRY(make_texts(c, lines, &texts));
    LK_TRY(lk_train(&(lk_train_config){.folder = c->folder,
                                       .params = c->model->params,
                                       .n_phases = n_phases,
                                       .phases = phases,
                                       .n_watches = n_watches,
                                       .watches = watches,
                                       .seed = (uint64_t)c->seed,
                                       .n_steps = c->steps,
                                       .n_micro = c->micro,
                                       .log_every = c->log_every,
                                       .save_every = c->save_every,
                                       .keep = c->keep,
                                       .resume = c->resume,
                                       .label = "joint model",
                                       .n_texts = c->n_texts + 2,
                                       .texts = texts,
                                       .comm = c->comm},
                    result));
done:
    lk_free(texts);
    lk_text_free(&lines[0]);
    lk_text_free(&lines[1]);
    return st;
}

static lk_status check_config(const lk_joint_train_config *c)
{
    lk_status st = LK_OK;
    LK_REQUIRE(c->model && c->fill && c->folder, LK_E_ARG,
               "a training needs a model, a folder and clips");
    LK_REQUIRE((int64_t)c->image_steps + c->video_steps <= c->steps, LK_E_ARG,
               "image_steps and video_steps are %lld of %d steps",
               (long long)c->image_steps + c->video_steps, c->steps);
    LK_REQUIRE(c->image_steps + c->video_steps == 0 || c->sizes.latents > 0, LK_E_ARG,
               "image_steps and video_steps need clips with pictures");
    for (int i = 0; i < c->n_held_out; i++)
        LK_TRY(has_latents(&c->held_out[i]));
done:
    return st;
}

/* The averaged weights of the newest checkpoint as a file to use. */
static lk_status keep_result(const lk_joint_train_config *c)
{
    lk_status st = LK_OK;
    lk_text path = {0};
    char *latest = NULL;
    lk_joint *m = NULL;
    LK_TRY(lk_text_add(&path, "%s/joint.safetensors", c->folder));
    LK_TRY(lk_checkpoint_of_run(c->folder, &latest));
    LK_TRY(lk_joint_load(&m, latest, NULL));
    LK_TRY(lk_joint_save(m, path.at, LK_F32));
done:
    lk_joint_free(&m);
    lk_free(latest);
    lk_text_free(&path);
    return st;
}

lk_status lk_joint_train(const lk_joint_train_config *c, lk_train_result *result)
{
    lk_status st = LK_OK;
    job jobs[STAGES];
    lk_train_phase phases[STAGES];
    lk_joint_onlooker *onlooker = NULL;
    int n = 0;
    memset(jobs, 0, sizeof jobs);
    LK_TRY(check_config(c));
    for (int stage = STAGES - 1; stage >= BOTH; stage--) {
        int64_t from, until;
        steps_of(c, (stage_kind)stage, &from, &until);
        if (from == until)
            continue;
        jobs[n].c = c;
        LK_TRY(open_stage(&jobs[n], (stage_kind)stage, &phases[n]));
        n++;
    }
    if (c->start_from && c->start_from[0])
        LK_TRY(lk_checkpoint_begin_with(c->start_from, c->model->params));
    if (c->n_held_out > 0 || c->show)
        LK_TRY(lk_joint_onlooker_new(&onlooker, c));
    LK_TRY(run(c, n, phases, onlooker, result));
    if (lk_comm_rank(c->comm) == 0)
        LK_TRY(keep_result(c));
done:
    lk_joint_onlooker_free(&onlooker);
    for (int i = 0; i < STAGES; i++)
        lk_joint_batch_clear(&jobs[i].batch);
    return st;
}
