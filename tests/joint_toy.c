/* joint_toy.c - see joint_toy.h. */
#include "tests/joint_toy.h"
#include "tests/check.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

#include <math.h>

lk_joint_config joint_toy_config(const char *exchange)
{
    lk_joint_config c;
    lk_option_defaults(lk_joint_options, &c);
    c.width = 16;
    c.heads = 2;
    c.blocks = 2;
    c.text_blocks = 1;
    c.video_channels = 3;
    c.audio_channels = 4;
    c.patch = 1;
    c.places = true;
    c.scene = c.still = true;
    c.exchange = exchange;
    c.before_ms = c.after_ms = 40;
    return c;
}

lk_joint_sizes joint_toy_sizes(int batch)
{
    return (lk_joint_sizes){batch, JOINT_TOY_LATENTS, 1, JOINT_TOY_CELLS, JOINT_TOY_SOUNDS, 8, 2, 6,
                            3};
}

lk_joint_clip joint_toy_clip(int which)
{
    static const lk_span video[JOINT_TOY_LATENTS] = {
        {0, 40 * LK_FLICKS_PER_MS},
        {40 * LK_FLICKS_PER_MS, 200 * LK_FLICKS_PER_MS},
        {200 * LK_FLICKS_PER_MS, 360 * LK_FLICKS_PER_MS}};
    static lk_joint_event all[4][2];
    lk_joint_event *events = all[which];
    static const char *const prompts[4] = {"a ball", "a face", "dancer", ""};
    static lk_span audio[JOINT_TOY_SOUNDS];
    static float x[4][JOINT_TOY_VIDEO + JOINT_TOY_AUDIO];
    for (int i = 0; i < JOINT_TOY_SOUNDS; i++)
        audio[i] =
            (lk_span){40 * i * LK_FLICKS_PER_MS, (lk_flick)(40 * (i + 1)) * LK_FLICKS_PER_MS};
    events[0] = (lk_joint_event){.text = "metal", .place = lk_place_at(0.3 + 0.2 * which, 0.5)};
    events[0].span.start = events[0].span.end = (50 + 120 * which) * LK_FLICKS_PER_MS;
    events[1] = (lk_joint_event){.span = events[0].span, .text = "say ba"};
    events[1].span.end += 100 * LK_FLICKS_PER_MS;
    for (int i = 0; i < JOINT_TOY_VIDEO; i++)
        x[which][i] = (float)sin(i % 3 + 2 * which);
    for (int i = 0; i < JOINT_TOY_AUDIO; i++) /* a sound where the first event is */
        x[which][JOINT_TOY_VIDEO + i] =
            (float)sin(i % 4 + 2 * which) + (i / 4 == (50 + 120 * which) / 40 ? 2.0f : 0.0f);
    return (lk_joint_clip){.n_latents = JOINT_TOY_LATENTS,
                           .n_sounds = JOINT_TOY_SOUNDS,
                           .video_span = video,
                           .audio_span = audio,
                           .video = x[which],
                           .audio = x[which] + JOINT_TOY_VIDEO,
                           .prompt = prompts[which],
                           .n_events = 2,
                           .events = events};
}

lk_status joint_toy_liven(lk_joint *m)
{
    lk_status st = LK_OK;
    float *data = NULL;
    lk_params *p = lk_joint_params(m);
    for (int i = 0; i < lk_params_n(p); i++) {
        const lk_shape shape = lk_params_shape(p, i);
        const int64_t n = lk_shape_count(&shape);
        lk_free(data);
        data = NULL;
        LK_TRY(LK_NEW_ARRAY(&data, n));
        LK_TRY(lk_params_read(p, i, LK_VALUE, LK_F32, data));
        for (int64_t j = 0; shape.n_dims > 1 && j < n; j++)
            if (data[j] == 0)
                data[j] = 0.3f * lk_rng_normal(3, (uint64_t)i, (uint64_t)j);
        LK_TRY(lk_params_write(p, i, LK_VALUE, LK_F32, data));
    }
done:
    lk_free(data);
    return st;
}

lk_status joint_toy_new(lk_joint **m, const lk_joint_config *c, const lk_backend *backend)
{
    lk_status st = LK_OK;
    LK_TRY(lk_joint_new(m, c, backend));
    LK_TRY(joint_toy_liven(*m));
done:
    return st;
}

lk_status joint_toy_run(const lk_joint *m, const lk_joint_clip *c, const lk_joint_without *without,
                        const float *video, const float *audio, float *video_v, float *audio_v)
{
    const lk_joint_sizes s = joint_toy_sizes(1);
    const float level[2] = {0.3f, 0.7f};
    lk_status st = LK_OK;
    lk_graph *g = NULL;
    lk_joint_placer *p = NULL;
    lk_joint_inputs in;
    lk_var v[2];
    LK_TRY(lk_graph_new(
        &g, &(lk_graph_config){.backend = lk_params_backend(m->params), .params = m->params}));
    lk_joint_network(g, m, &s, &in, v);
    lk_output(g, "video", v[0]);
    lk_output(g, "audio", v[1]);
    LK_TRY(lk_graph_compile(g));
    LK_TRY(lk_joint_placer_new(&p, m, &s));
    LK_TRY(lk_joint_place(p, g, &in, c, without, 0));
    for (int i = 0; i < 2; i++) {
        LK_TRY(lk_graph_write(g, in.level[i], LK_F32, &level[i]));
        LK_TRY(lk_graph_write(g, in.x[i], LK_F32, i ? audio : video));
    }
    LK_TRY(lk_graph_run(g, 0));
    LK_TRY(lk_graph_read(g, v[0], LK_F32, video_v));
    LK_TRY(lk_graph_read(g, v[1], LK_F32, audio_v));
done:
    lk_joint_placer_free(&p);
    lk_graph_free(&g);
    return st;
}

void joint_toy_noise(joint_toy_answer *x)
{
    for (int i = 0; i < JOINT_TOY_VIDEO; i++)
        x->video[i] = lk_rng_normal(8, 0, (uint64_t)i);
    for (int i = 0; i < JOINT_TOY_AUDIO; i++)
        x->audio[i] = lk_rng_normal(8, 1, (uint64_t)i);
}

void joint_toy_ask(const lk_joint *m, const lk_joint_clip *c, const lk_joint_without *without,
                   const joint_toy_answer *x, joint_toy_answer *v)
{
    CHECK_OK(joint_toy_run(m, c, without, x->video, x->audio, v->video, v->audio));
}
