/* train.c - the training of the video tokenizer; see vae.h for its settings, loss.c for its losses.
 */
#include "video_vae/vae_impl.h"

#include "kernels/checkpoint.h"
#include "kernels/mem.h"
#include "kernels/rng.h"

#include <stdio.h>
#include <string.h>

#define O lk_vae_train_config
const lk_option lk_vae_train_options[] = {
    LK_OPT_INT(O, steps, 20000, 1, 100000000, "steps of the training"),
    LK_OPT_INT(O, batch, 4, 1, 4096, "clips at once"),
    LK_OPT_INT(O, micro, 1, 1, 4096, "batches a step whose gradients are added"),
    LK_OPT_INT(O, frames, 17, 1, 4096, "frames of a clip"),
    LK_OPT_INT(O, height, 128, 16, 4096, "of the frames, a multiple of twice the latents' pixels"),
    LK_OPT_INT(O, width, 128, 16, 4096, "of the frames, likewise"),
    LK_OPT_CHOICE(O, compute, "f32", "f32|bf16", "numbers that products are made of"),
    LK_OPT_DOUBLE(O, rate, 3e-4, 0, 1, "highest learning rate"),
    LK_OPT_DOUBLE(O, last_rate, 3e-5, 0, 1, "learning rate of the last step"),
    LK_OPT_INT(O, warmup, 200, 0, 100000000, "steps until the highest rate"),
    LK_OPT_DOUBLE(O, decay, 0.01, 0, 1, "of weights, times the learning rate"),
    LK_OPT_DOUBLE(O, average, 0.999, 0, 0.999999, "memory of the averaged weights"),
    LK_OPT_DOUBLE(O, clip, 1, 0, 1e9, "largest norm of the gradient; 0: no limit"),
    LK_OPT_DOUBLE(O, bits_per_pixel, 0.2, 1e-3, 100, "what the latents shall hold"),
    LK_OPT_DOUBLE(O, kl_weight, 0.2, 0, 1e6, "of the square of the rate's relative error"),
    LK_OPT_DOUBLE(O, detail_weight, 2, 0, 1e6, "of the detail bands"),
    LK_OPT_DOUBLE(O, ssim_weight, 0.1, 0, 1e6, "of 1 - MS-SSIM"),
    LK_OPT_DOUBLE(O, change_weight, 0.5, 0, 1e6, "of changes that are not there"),
    LK_OPT_DOUBLE(O, clips_weight, 0, 0, 1e6, "of a clip's PSNR, in decibels"),
    LK_OPT_DOUBLE(O, scale_weight, 0.25, 0, 1e6, "of smaller pictures from averaged latents"),
    LK_OPT_DOUBLE(O, correlation_weight, 0.02, 0, 1e6, "of latents unlike their neighbours"),
    LK_OPT_DOUBLE(O, disturbed, 0.3, 0, 1, "share of clips with noise and left-out channels"),
    LK_OPT_DOUBLE(O, noise, 0.2, 0, 10, "largest deviation of that noise"),
    LK_OPT_BOOL(O, decoder_only, false, "leave the encoder as it is"),
    LK_OPT_BOOL(O, train_linear, false, "train the two matrices as well as the layers"),
    LK_OPT_TEXT(O, start_from, NULL, "file with weights to begin with"),
    LK_OPT_INT(O, log_every, 10, 1, 100000000, "steps between lines of the log"),
    LK_OPT_INT(O, save_every, 1000, 0, 100000000, "steps between checkpoints"),
    LK_OPT_INT(O, keep, 2, 0, 1000000, "newest checkpoints kept; 0: all"),
    LK_OPT_INT(O, seed, 1, 0, 2147483647, "of clips and noise"),
    LK_OPT_END};
#undef O

lk_status lk_vae_train_check(const lk_vae_train_config *c, lk_vae_shape *s)
{
    lk_status st = LK_OK;
    LK_TRY(lk_vae_shape_of(&c->model, s));
    LK_REQUIRE(c->batch > 0 && c->frames > 0 && c->height > 0 && c->width > 0 && c->fill, LK_E_ARG,
               "a training needs clips: batch, frames, height, width and their source");
    LK_REQUIRE(c->height % (2 * s->space) == 0 && c->width % (2 * s->space) == 0, LK_E_ARG,
               "frames for training must be multiples of %d pixels, not %d x %d", 2 * s->space,
               c->width, c->height);
    LK_REQUIRE(c->bits_per_pixel > 0, LK_E_ARG, "bits_per_pixel must be positive");
done:
    return st;
}

typedef struct job {
    const lk_vae_train_config *c;
    lk_vae_shape shape;
    float *rgb, *sigma, *keep;
} job;

/* Numbers that decide about a clip: stream, then index 4 clip + k. */
static float draw(const lk_train_batch *b, int64_t clip, int k)
{
    return lk_rng_uniform(b->seed, UINT64_C(0x7661655f64697374), (uint64_t)(4 * clip + k));
}

static lk_status fill(void *user, lk_graph *g, const lk_train_batch *b)
{
    lk_status st = LK_OK;
    job *j = user;
    const lk_vae_train_config *c = j->c;
    const int channels = j->shape.channels;
    LK_TRY(c->fill(c->user, b->seed, b->index, j->rgb));
    for (int i = 0; i < c->batch; i++) {
        const int64_t clip = b->index * c->batch + i;
        const int noisy = draw(b, clip, 0) < (float)c->disturbed;
        const int fewer = draw(b, clip, 1) < (float)c->disturbed;
        const int kept = fewer ? 1 + (int)(draw(b, clip, 2) * (float)channels) : channels;
        j->sigma[i] = noisy ? draw(b, clip, 3) * (float)c->noise : 0;
        for (int k = 0; k < channels; k++)
            j->keep[i * channels + k] = k < kept;
    }
    LK_TRY(lk_graph_write(g, lk_graph_find(g, "rgb"), LK_F32, j->rgb));
    LK_TRY(lk_graph_write(g, lk_graph_find(g, "sigma"), LK_F32, j->sigma));
    LK_TRY(lk_graph_write(g, lk_graph_find(g, "keep"), LK_F32, j->keep));
done:
    return st;
}

/* The fitted matrices stay: their rows are of very different sizes, and steps that are right for
 * the layers would blur the small ones, which hold the most. */
static int trains_layers(const char *name, const lk_shape *shape)
{
    (void)shape;
    return !strstr(name, ".linear.");
}

static int trains_decoder(const char *name, const lk_shape *shape)
{
    (void)shape;
    return strncmp(name, "decoder.", 8) == 0;
}

static int trains_decoder_layers(const char *name, const lk_shape *shape)
{
    return trains_decoder(name, shape) && trains_layers(name, shape);
}

static int (*trained(const lk_vae_train_config *c))(const char *, const lk_shape *)
{
    if (c->train_linear)
        return c->decoder_only ? trains_decoder : NULL;
    return c->decoder_only ? trains_decoder_layers : trains_layers;
}

/* Take over what has the same name and shape; LK_E_SHAPE when nothing has. */
static lk_status start_from(const char *path, lk_params *params)
{
    lk_status st = LK_OK;
    lk_safetensors *f = NULL;
    char name[256];
    float *data = NULL;
    int n = 0;
    LK_TRY(lk_safetensors_open(&f, path));
    for (int i = 0; i < lk_params_n(params); i++) {
        const lk_shape shape = lk_params_shape(params, i);
        int at;
        snprintf(name, sizeof name, "average:%s", lk_params_name(params, i));
        at = lk_safetensors_find(f, name);
        at = at < 0 ? lk_safetensors_find(f, lk_params_name(params, i)) : at;
        if (at < 0 || !lk_shape_equal(&lk_safetensors_at(f, at)->shape, &shape))
            continue;
        lk_free(data);
        data = NULL;
        LK_TRY(LK_NEW_ARRAY(&data, lk_shape_count(&shape)));
        LK_TRY(lk_safetensors_read(f, at, LK_F32, data));
        LK_TRY(lk_params_write(params, i, LK_VALUE, LK_F32, data));
        n++;
    }
    LK_REQUIRE(n > 0, LK_E_SHAPE, "'%s' has no weight that fits this video tokenizer", path);
    lk_log(2, "%d of %d weights begin as in '%s'", n, lk_params_n(params), path);
done:
    lk_free(data);
    lk_safetensors_free(&f);
    return st;
}

static lk_status make_room(job *j)
{
    lk_status st = LK_OK;
    const lk_vae_train_config *c = j->c;
    LK_TRY(LK_NEW_ARRAY(&j->rgb, (int64_t)c->batch * c->frames * c->height * c->width * 3));
    LK_TRY(LK_NEW_ARRAY(&j->sigma, c->batch));
    LK_TRY(LK_NEW_ARRAY(&j->keep, c->batch * j->shape.channels));
done:
    return st;
}

static lk_status make_graph(const lk_vae_train_config *c, const lk_vae *v, lk_graph **g)
{
    lk_status st = LK_OK;
    const lk_dtype compute = strcmp(c->compute, "bf16") == 0 ? LK_BF16 : LK_F32;
    LK_TRY(lk_graph_new(g, &(lk_graph_config){.backend = c->backend,
                                              .params = v->params,
                                              .compute = compute,
                                              .seed = (uint64_t)c->seed,
                                              .train = 1,
                                              .accumulate = 1}));
    lk_backward(*g, lk_vae_loss_graph(*g, &v->shape, c));
    LK_TRY(lk_graph_compile(*g));
done:
    return st;
}

/* The two configurations as one text each, then the caller's. */
static lk_status make_texts(const lk_vae_train_config *c, const lk_vae *v, lk_text lines[2],
                            lk_safetensors_text **texts)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW_ARRAY(texts, c->n_texts + 2));
    LK_TRY(lk_option_write_lines(lk_vae_options, &v->config, &lines[0]));
    LK_TRY(lk_option_write_lines(lk_vae_train_options, c, &lines[1]));
    (*texts)[0] = (lk_safetensors_text){"video_vae", lines[0].at};
    (*texts)[1] = (lk_safetensors_text){"video_vae_training", lines[1].at};
    for (int i = 0; i < c->n_texts; i++)
        (*texts)[2 + i] = c->texts[i];
done:
    return st;
}

static lk_status run(const lk_vae_train_config *c, const lk_vae *v, job *j, lk_graph *g,
                     lk_train_result *result)
{
    lk_status st = LK_OK;
    lk_text lines[2] = {{0}, {0}};
    lk_safetensors_text *texts = NULL;
    lk_train_phase phase = {
        .graph = g,
        .fill = fill,
        .user = j,
        .n_losses = lk_vae_n_losses,
        .losses = lk_vae_loss_names,
        .optim = {.beta1 = 0.9,
                  .beta2 = 0.99,
                  .decay = c->decay,
                  .average = c->average,
                  .trains = trained(c)},
        .schedule = {LK_SCHEDULE_COSINE, c->rate, c->last_rate, c->warmup, c->steps, 0},
        .clip = c->clip};
    LK_TRY(make_texts(c, v, lines, &texts));
    LK_TRY(lk_train(&(lk_train_config){.folder = c->folder,
                                       .params = v->params,
                                       .n_phases = 1,
                                       .phases = &phase,
                                       .seed = (uint64_t)c->seed,
                                       .n_steps = c->steps,
                                       .n_micro = c->micro,
                                       .batch_samples = c->batch,
                                       .log_every = c->log_every,
                                       .save_every = c->save_every,
                                       .keep = c->keep,
                                       .resume = c->resume,
                                       .label = "video tokenizer",
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

/* The weights of a fresh run: fitted, or another tokenizer's.  A run that is resumed reads its own.
 */
static lk_status begin(const lk_vae_train_config *c, lk_vae *v)
{
    lk_status st = LK_OK;
    lk_text folder = {0};
    char *latest = NULL;
    LK_TRY(lk_text_add(&folder, "%s/checkpoints", c->folder));
    if (c->resume)
        LK_TRY(lk_checkpoint_latest(folder.at, &latest));
    if (latest)
        goto done;
    if (c->start_from && c->start_from[0])
        LK_TRY(start_from(c->start_from, v->params));
    else
        LK_TRY(lk_vae_fit(v, c));
done:
    lk_free(latest);
    lk_text_free(&folder);
    return st;
}

/* The averaged weights of the newest checkpoint as a file to use. */
static lk_status keep_result(const lk_vae_train_config *c)
{
    lk_status st = LK_OK;
    lk_text path = {0};
    char *latest = NULL;
    lk_vae *v = NULL;
    LK_TRY(lk_text_add(&path, "%s/vae.safetensors", c->folder));
    LK_TRY(lk_checkpoint_of_run(c->folder, &latest));
    LK_TRY(lk_vae_load(&v, latest, NULL));
    LK_TRY(lk_vae_save(v, path.at, LK_F32));
done:
    lk_vae_free(&v);
    lk_free(latest);
    lk_text_free(&path);
    return st;
}

lk_status lk_vae_train(const lk_vae_train_config *c, lk_train_result *result)
{
    lk_status st = LK_OK;
    job j = {.c = c};
    lk_vae *v = NULL;
    lk_graph *g = NULL;
    LK_TRY(lk_vae_train_check(c, &j.shape));
    LK_TRY(lk_vae_new(&v, &c->model, c->backend));
    LK_TRY(begin(c, v));
    LK_TRY(make_room(&j));
    LK_TRY(make_graph(c, v, &g));
    LK_TRY(run(c, v, &j, g, result));
    if (lk_comm_rank(c->comm) == 0)
        LK_TRY(keep_result(c));
done:
    lk_graph_free(&g);
    lk_vae_free(&v);
    lk_free(j.rgb);
    lk_free(j.sigma);
    lk_free(j.keep);
    return st;
}
