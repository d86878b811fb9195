/* attention_run.c - see attention_run.h. */
#include "av/attention_run.h"

#include "av/joint_data.h"
#include "av/tokenize_impl.h"

const char *const lk_attention_looks[LK_JOINT_STREAMS][LK_JOINT_SIGHTS] = {
    {"video_itself", "video_from_audio", "video_from_script"},
    {"audio_itself", "audio_from_video", "audio_from_script"}};

static lk_status check_channels(const lk_joint *m, const lk_joint_data *d)
{
    lk_status st = LK_OK;
    const lk_joint_config *c = lk_joint_get_config(m);
    const int video = lk_joint_data_channels(d, LK_JOINT_VIDEO);
    const int audio = lk_joint_data_channels(d, LK_JOINT_AUDIO);
    LK_REQUIRE(c->video_channels == video && c->audio_channels == audio, LK_E_ARG,
               "the model's latents have %d and %d channels, those of the tokenizers %d and %d: "
               "give the tokenizers it was trained with",
               c->video_channels, c->audio_channels, video, audio);
    LK_REQUIRE(c->text_channels == lk_joint_data_text_channels(d), LK_E_ARG,
               "the model's prompts are vectors of %d numbers (0: bytes), those given have %d",
               c->text_channels, lk_joint_data_text_channels(d));
done:
    return st;
}

static lk_status probe(const lk_attention_options *o, lk_joint *m, const lk_joint_data *d,
                       lk_joint_probe **p)
{
    lk_status st = LK_OK;
    int64_t n;
    const lk_joint_clip *clips = lk_joint_data_clips(d, &n);
    lk_attention_source source = {.model = o->model, .n_clips = (int)n, .seed = o->seed};
    LK_TRY(lk_joint_probe_new(p, m,
                              &(lk_joint_probe_config){.sizes = lk_joint_data_sizes(d),
                                                       .n_clips = (int)n,
                                                       .clips = clips,
                                                       .n_levels = o->n_levels,
                                                       .levels = o->levels,
                                                       .bin_ms = o->bin_ms,
                                                       .reach_ms = o->reach_ms,
                                                       .seed = o->seed,
                                                       .stop = o->stop}));
    LK_TRY(lk_file_checksum(o->model, &source.checksum[0]));
    LK_TRY(lk_file_checksum(o->vae, &source.checksum[1]));
    LK_TRY(lk_file_checksum(o->codec, &source.checksum[2]));
    if (o->out)
        LK_TRY(lk_attention_write(o->out, *p, o->levels, &source));
    if (o->png)
        LK_TRY(lk_attention_draw(o->png, *p, o->levels));
done:
    return st;
}

lk_status lk_attention_run(const lk_attention_options *o, lk_joint_probe **out)
{
    lk_status st = LK_OK;
    lk_joint *m = NULL;
    lk_joint_data *d = NULL;
    lk_joint_probe *p = NULL;
    LK_TRY(lk_joint_load(&m, o->model, o->backend));
    LK_TRY(lk_joint_data_open(&d, &(lk_joint_data_config){.paths = o->data,
                                                          .n_paths = o->n_data,
                                                          .n_most = o->n_clips,
                                                          .vae = o->vae,
                                                          .codec = o->codec,
                                                          .backend = o->backend,
                                                          .embeddings = o->embeddings,
                                                          .cache = o->cache,
                                                          .batch = 1,
                                                          .stop = o->stop}));
    LK_TRY(check_channels(m, d));
    LK_TRY(probe(o, m, d, &p));
    *out = p;
    p = NULL;
done:
    lk_joint_probe_free(&p);
    lk_joint_data_close(&d);
    lk_joint_free(&m);
    return st;
}
