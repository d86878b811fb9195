/* test_joint_model.c - the network of the joint model: gradients, who depends on whom under every
 * exchange, what every clock does to spans, and models in files. */
#include "tests/check.h"
#include "tests/joint_toy.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

#include <unistd.h>

#define MS LK_FLICKS_PER_MS

/* ---- gradients ---- */

typedef struct problem {
    lk_joint *m;
    lk_graph *g;
    lk_joint_placer *p;
    lk_joint_loss loss;
} problem;

static void open_problem(problem *q, const lk_joint_config *c, const lk_backend *backend)
{
    const lk_joint_sizes s = joint_toy_sizes(2);
    const float vectors[2][6] = {{1, 2, -1, 0.5f, 0, 3}, {0, -2, 1, 1, 1, -1}};
    lk_joint_clip clips[2] = {joint_toy_clip(0), joint_toy_clip(1)};
    float x[2 * JOINT_TOY_AUDIO], level[2] = {0.3f, 0.8f};
    for (int b = 0; b < 2 && c->text_channels > 0; b++) {
        clips[b].prompt_vectors = vectors[b];
        clips[b].n_prompt_vectors = 6 / c->text_channels - b;
    }
    CHECK_OK(joint_toy_new(&q->m, c, backend));
    CHECK_OK(lk_graph_new(
        &q->g, &(lk_graph_config){.backend = backend, .params = q->m->params, .train = 1}));
    lk_joint_loss_graph(q->g, q->m, &s, 0.5, &q->loss);
    lk_backward(q->g, q->loss.loss);
    CHECK_OK(lk_graph_compile(q->g));
    CHECK_OK(lk_joint_placer_new(&q->p, q->m, &s));
    CHECK_OK(lk_joint_place(q->p, q->g, &q->loss.in, clips, NULL, 0));
    for (int i = 0; i < 2; i++) {
        const int64_t n = 2 * lk_joint_tokens(&s, i);
        const lk_var at[3] = {q->loss.in.x[i], q->loss.target[i], q->loss.share[i]};
        for (int k = 0; k < 3; k++) {
            for (int j = 0; j < 2 * JOINT_TOY_AUDIO; j++)
                x[j] =
                    k < 2 ? lk_rng_normal(5, (uint64_t)(3 * i + k), (uint64_t)j) : 1.0f / (float)n;
            CHECK_OK(lk_graph_write(q->g, at[k], LK_F32, x));
        }
        CHECK_OK(lk_graph_write(q->g, q->loss.in.level[i], LK_F32, level));
    }
}

static void close_problem(problem *q)
{
    lk_joint_placer_free(&q->p);
    lk_graph_free(&q->g);
    lk_joint_free(&q->m);
}

static double loss_now(problem *q)
{
    double value;
    CHECK_OK(lk_graph_run(q->g, 0));
    CHECK_OK(lk_graph_read(q->g, q->loss.loss, LK_F64, &value));
    return value;
}

/* Along the gradient of one tensor of weights: d loss / d step = |gradient|. */
static void check_weight(problem *q, int i)
{
    const double step = 1e-3;
    lk_params *p = q->m->params;
    const lk_shape shape = lk_params_shape(p, i);
    const int64_t n = lk_shape_count(&shape);
    float *old = NULL, *grad = NULL, *moved = NULL;
    double norm = 0, value[2], along = 0;
    CHECK_OK(LK_NEW_ARRAY(&old, n));
    CHECK_OK(LK_NEW_ARRAY(&grad, n));
    CHECK_OK(LK_NEW_ARRAY(&moved, n));
    CHECK_OK(lk_params_read(p, i, LK_VALUE, LK_F32, old));
    (void)loss_now(q);
    CHECK_OK(lk_params_read(p, i, LK_GRAD, LK_F32, grad));
    for (int64_t j = 0; j < n; j++)
        norm += (double)grad[j] * grad[j];
    norm = sqrt(norm);
    if (!(norm > 0))
        fail_msg("%s has no gradient", lk_params_name(p, i));
    for (int side = 0; side < 2; side++) {
        for (int64_t j = 0; j < n; j++)
            moved[j] = (float)(old[j] + (side ? step : -step) * grad[j] / norm);
        CHECK_OK(lk_params_write(p, i, LK_VALUE, LK_F32, moved));
        value[side] = loss_now(q);
        for (int64_t j = 0; j < n; j++)
            along += (side ? 1 : -1) * (double)moved[j] * grad[j];
    }
    CHECK_OK(lk_params_write(p, i, LK_VALUE, LK_F32, old));
    if (!(fabs(value[1] - value[0] - along) < 2e-2 * along))
        fail_msg("%s: %g by differences, %g by gradient", lk_params_name(p, i), value[1] - value[0],
                 along);
    lk_free(old);
    lk_free(grad);
    lk_free(moved);
}

static void gradients_are_right(void **state)
{
    static const char *const exchanges[] = {"window", "joint"};
    (void)state;
    for (size_t e = 0; e < 2; e++) {
        problem q = {0};
        lk_joint_config c = joint_toy_config(exchanges[e]);
        c.patch = e ? 1 : 2;
        c.relative_values = !e;
        open_problem(&q, &c, lk_backend_reference());
        for (int i = 0; i < lk_params_n(q.m->params); i += check_count(1 + 2 * (int)e, 17))
            if (strncmp(lk_params_name(q.m->params, i), "scale.", 6) != 0)
                check_weight(&q, i);
        close_problem(&q);
    }
}

static void backends_agree(void **state)
{
    static const char *const exchanges[] = {"none",         "dense",        "window", "frame",
                                            "random_shift", "block_causal", "joint"};
    (void)state;
    for (size_t e = 0; e < sizeof exchanges / sizeof *exchanges; e++) {
        problem fast = {0}, plain = {0};
        lk_joint_config c = joint_toy_config(exchanges[e]);
        double a, b;
        c.patch = 1 + (int)e % 3;
        open_problem(&fast, &c, NULL);
        open_problem(&plain, &c, lk_backend_reference());
        a = loss_now(&fast);
        b = loss_now(&plain);
        CHECK_CLOSE(a, b, 1e-4 * (1 + fabs(b)));
        close_problem(&fast);
        close_problem(&plain);
    }
}

/* ---- who depends on whom ---- */

/* Which sounds answer otherwise when latent 2 of the picture changes; bit i: sound i. */
static unsigned sounds_moved(const lk_joint *m, const lk_joint_clip *c, const lk_joint_without *w)
{
    joint_toy_answer x, before, after;
    unsigned moved = 0;
    joint_toy_noise(&x);
    joint_toy_ask(m, c, w, &x, &before);
    for (int i = 2 * JOINT_TOY_CELLS * 3; i < JOINT_TOY_VIDEO; i++)
        x.video[i] += 1;
    joint_toy_ask(m, c, w, &x, &after);
    for (int i = 0; i < JOINT_TOY_SOUNDS; i++)
        if (memcmp(&before.audio[4 * i], &after.audio[4 * i], 4 * sizeof(float)) != 0)
            moved |= 1u << i;
    return moved;
}

static unsigned latents_moved(const lk_joint *m, const lk_joint_clip *c)
{
    const int row = JOINT_TOY_CELLS * 3;
    joint_toy_answer x, before, after;
    unsigned moved = 0;
    joint_toy_noise(&x);
    joint_toy_ask(m, c, NULL, &x, &before);
    x.audio[0] += 1; /* sound 0 */
    joint_toy_ask(m, c, NULL, &x, &after);
    for (int i = 0; i < JOINT_TOY_LATENTS; i++)
        if (memcmp(&before.video[row * i], &after.video[row * i], (size_t)row * sizeof(float)) != 0)
            moved |= 1u << i;
    return moved;
}

/* One block whose streams do not look at themselves, so that what moved is what the exchange let
 * through. */
static lk_joint *only_exchange(lk_joint_config c)
{
    lk_joint *m = NULL;
    float *zero = NULL;
    c.blocks = 1;
    CHECK_OK(joint_toy_new(&m, &c, NULL));
    for (int i = 0; i < lk_params_n(m->params); i++) {
        const lk_shape shape = lk_params_shape(m->params, i);
        if (!strstr(lk_params_name(m->params, i), ".own"))
            continue;
        CHECK_OK(LK_NEW_ARRAY(&zero, lk_shape_count(&shape)));
        CHECK_OK(lk_params_write(m->params, i, LK_VALUE, LK_F32, zero));
        lk_free(zero);
    }
    return m;
}

/* Latent 2 covers 200 .. 360 ms, sound i 40 i .. 40 i + 40 ms. */
static void exchanges_let_through_what_they_say(void **state)
{
    static const struct {
        const char *exchange, *directions, *clock;
        unsigned sounds, latents;
    } cases[] = {
        {"none", "both", "seconds", 0, 0},
        {"dense", "both", "seconds", 0x1ff, 7},
        {"window", "both", "seconds", 0x1f0, 3}, /* 40 ms to each side */
        {"frame", "both", "seconds", 0x1e0, 1},
        {"window", "to_audio", "seconds", 0x1f0, 0},
        {"window", "to_video", "seconds", 0, 3},
        {"block_causal", "both", "seconds", 0x1f0,
         7},                                         /* chunks of 160 ms; latent 2 in the second */
        {"frame", "both", "index", 0x004, 1},        /* latent 2 against sound 2 */
        {"frame", "both", "scaled_index", 0x1c0, 1}, /* the last third */
        {"frame", "both", "rounded", 0x1e0, 1},
        {"frame", "both", "none", 0x1ff, 7},
        {"joint", "both", "seconds", 0x1ff, 7},
        {"joint", "to_audio", "seconds", 0x1ff, 0},
    };
    const lk_joint_clip clip = joint_toy_clip(0);
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lk_joint_config c = joint_toy_config(cases[i].exchange);
        lk_joint *m;
        unsigned sounds, latents;
        c.scene = c.still = false; /* every latent knows of every other through them */
        c.directions = cases[i].directions;
        c.clock = cases[i].clock;
        m = only_exchange(c);
        sounds = sounds_moved(m, &clip, NULL);
        latents = latents_moved(m, &clip);
        if (sounds != cases[i].sounds || latents != cases[i].latents)
            fail_msg("%s %s by %s: sounds %x, latents %x", cases[i].exchange, cases[i].directions,
                     cases[i].clock, sounds, latents);
        assert_int_equal(
            sounds_moved(m, &clip, &(lk_joint_without){.exchange = (const uint8_t[]){1}}), 0);
        lk_joint_free(&m);
    }
}

/* Streams see each other later than they are: beyond the window not at all. */
static void late_partners_are_seen_later(void **state)
{
    const lk_joint_clip clip = joint_toy_clip(0);
    const lk_joint_config c = joint_toy_config("window");
    const lk_joint_without alone = {.exchange = (const uint8_t[]){1}};
    const lk_joint_without late = {.late = 40 * MS}, gone = {.late = 9000 * MS};
    lk_joint *m = NULL;
    joint_toy_answer x, now, v;
    (void)state;
    joint_toy_noise(&x);
    CHECK_OK(joint_toy_new(&m, &c, NULL));
    joint_toy_ask(m, &clip, NULL, &x, &now);
    joint_toy_ask(m, &clip, &late, &x, &v);
    assert_memory_not_equal(&now, &v, sizeof v);
    joint_toy_ask(m, &clip, &alone, &x, &now);
    joint_toy_ask(m, &clip, &gone, &x, &v);
    assert_memory_equal(&now, &v, sizeof v);
    lk_joint_free(&m);
}

/* A prompt of vectors in place of bytes. */
static void vectors_are_read(void **state)
{
    const lk_joint_without silent = {.text = (const uint8_t[]){1}};
    const lk_joint_sizes s = joint_toy_sizes(1);
    const float one[6] = {1, 2, 3, 4, 5, 6}, two[6] = {1, 2, 3, 4, 5, 7};
    lk_joint_config c = joint_toy_config("window");
    lk_joint_clip clip = joint_toy_clip(0);
    problem q = {0};
    lk_joint *m = NULL;
    joint_toy_answer x, first, v;
    (void)state;
    c.text_channels = 3;
    open_problem(&q, &c, lk_backend_reference());
    for (int i = 0; i < lk_params_n(q.m->params); i++)
        if (strncmp(lk_params_name(q.m->params, i), "vectors.", 8) == 0)
            check_weight(&q, i);
    close_problem(&q);
    joint_toy_noise(&x);
    CHECK_OK(joint_toy_new(&m, &c, NULL));
    clip.n_prompt_vectors = 2;
    CHECK_FAILS(lk_joint_check_clips(m, &s, &clip), LK_E_ARG);
    clip.prompt_vectors = one;
    joint_toy_ask(m, &clip, NULL, &x, &first);
    clip.prompt = "another text";
    joint_toy_ask(m, &clip, NULL, &x, &v);
    assert_memory_equal(&first, &v, sizeof v);
    clip.prompt_vectors = two;
    joint_toy_ask(m, &clip, NULL, &x, &v);
    assert_memory_not_equal(&first, &v, sizeof v);
    clip.n_prompt_vectors = 1; /* both begin alike */
    joint_toy_ask(m, &clip, NULL, &x, &v);
    clip.prompt_vectors = one;
    joint_toy_ask(m, &clip, NULL, &x, &first);
    assert_memory_equal(&first, &v, sizeof v);
    joint_toy_ask(m, &clip, &silent, &x, &v);
    assert_memory_not_equal(&first, &v, sizeof v);
    lk_joint_free(&m);
    c.text_channels = 0;
    CHECK_OK(joint_toy_new(&m, &c, NULL));
    CHECK_FAILS(lk_joint_check_clips(m, &s, &clip), LK_E_ARG);
    lk_joint_free(&m);
}

static void blocks_without_exchange_have_none(void **state)
{
    const lk_joint_sizes s = joint_toy_sizes(1);
    lk_joint_config c = joint_toy_config("window");
    lk_joint *m = NULL;
    (void)state;
    c.blocks = 6;
    c.exchange_first = 1;
    c.exchange_last = 4;
    c.exchange_every = 2;
    CHECK_OK(lk_joint_new(&m, &c, NULL));
    for (int i = 0; i < 6; i++) {
        char name[64];
        const int expected = i == 1 || i == 3;
        assert_int_equal(lk_joint_meets(m, &s, 0, i), expected);
        snprintf(name, sizeof name, "blocks.%d.audio.exchange.q.weight", i);
        assert_int_equal(lk_params_find(m->params, name) >= 0, expected);
    }
    lk_joint_free(&m);
}

/* Without text, what it says makes no difference; with it, prompt, events and their times do. */
static void texts_are_read(void **state)
{
    const lk_joint_config c = joint_toy_config("window");
    const lk_joint_without silent = {.text = (const uint8_t[]){1}};
    const lk_joint_without unscripted = {.script = (const uint8_t[]){1}};
    lk_joint_event events[2];
    lk_joint_clip clip = joint_toy_clip(0), other = clip;
    lk_joint *m = NULL;
    joint_toy_answer x, first, v;
    (void)state;
    joint_toy_noise(&x);
    CHECK_OK(joint_toy_new(&m, &c, NULL));
    for (int what = 0; what < 3; what++) {
        other = clip;
        memcpy(events, clip.events, sizeof events);
        other.events = events;
        if (what == 0)
            other.prompt = "a bell";
        if (what == 1)
            events[0].text = "wood";
        if (what == 2)
            events[0].span.start = events[0].span.end = 10 * MS;
        joint_toy_ask(m, &clip, NULL, &x, &first);
        joint_toy_ask(m, &other, NULL, &x, &v);
        assert_memory_not_equal(&first, &v, sizeof v);
        joint_toy_ask(m, &clip, &silent, &x, &first);
        joint_toy_ask(m, &other, &silent, &x, &v);
        assert_memory_equal(&first, &v, sizeof v);
        joint_toy_ask(m, &clip, &unscripted, &x, &first);
        joint_toy_ask(m, &other, &unscripted, &x, &v);
        assert_int_equal(memcmp(&first, &v, sizeof v) == 0, what > 0);
    }
    lk_joint_free(&m);
}

/* What is behind the end of a shorter clip has no effect. */
static void absent_tokens_are_not_there(void **state)
{
    const lk_joint_config c = joint_toy_config("dense");
    lk_joint_clip clip = joint_toy_clip(0);
    lk_joint *m = NULL;
    joint_toy_answer x, a, b;
    (void)state;
    joint_toy_noise(&x);
    clip.n_latents = 2;
    clip.n_sounds = 5;
    CHECK_OK(joint_toy_new(&m, &c, NULL));
    joint_toy_ask(m, &clip, NULL, &x, &a);
    for (int i = 2 * JOINT_TOY_CELLS * 3; i < JOINT_TOY_VIDEO; i++)
        x.video[i] = 9;
    for (int i = 5 * 4; i < JOINT_TOY_AUDIO; i++)
        x.audio[i] = -9;
    joint_toy_ask(m, &clip, NULL, &x, &b);
    assert_memory_equal(a.video, b.video, 2 * JOINT_TOY_CELLS * 3 * sizeof(float));
    assert_memory_equal(a.audio, b.audio, 5 * 4 * sizeof(float));
    lk_joint_free(&m);
}

/* ---- clocks ---- */

static void clocks_change_spans_as_they_say(void **state)
{
    lk_joint_clip c = joint_toy_clip(0);
    lk_span video[JOINT_TOY_LATENTS], audio[JOINT_TOY_SOUNDS], event[2];
    (void)state;
    for (int clock = 0; clock <= LK_JOINT_NO_CLOCK; clock++) {
        const lk_span expected[][2] = {
            {c.video_span[2], {200 * MS, 240 * MS}},
            {{80 * MS, 120 * MS}, {200 * MS, 240 * MS}},
            {{240 * MS, 360 * MS}, {200 * MS, 240 * MS}},
            {c.video_span[2], {200 * MS, 360 * MS}},
            {{0, 360 * MS}, {0, 360 * MS}},
        };
        lk_joint_clock_spans((lk_joint_clock)clock, &c, 0, video);
        lk_joint_clock_spans((lk_joint_clock)clock, &c, 1, audio);
        assert_memory_equal(&video[2], &expected[clock][0], sizeof *video);
        assert_memory_equal(&audio[5], &expected[clock][1], sizeof *audio);
    }
    /* An event within another one: its end waits. */
    const lk_joint_event nested[2] = {{{0, 300 * MS}, "music", {0}},
                                      {{50 * MS, 60 * MS}, "beat", {0}}};
    c.events = nested;
    lk_joint_clock_events(LK_JOINT_SECONDS, &c, event);
    assert_int_equal(event[1].start, 50 * MS);
    assert_int_equal(event[1].end, 300 * MS);
}

/* ---- models ---- */

static void presets_have_their_sizes(void **state)
{
    static const struct {
        const char *name;
        double millions;
    } sizes[] = {{"tiny", 3.4}, {"small", 12}, {"base", 120}};
    (void)state;
    for (int i = 0; i < check_count(3, 2); i++) {
        lk_joint_config c;
        lk_joint *m = NULL;
        lk_option_defaults(lk_joint_options, &c);
        c.preset = sizes[i].name;
        c.video_channels = 16;
        c.audio_channels = 32;
        CHECK_OK(lk_joint_new(&m, &c, NULL));
        CHECK_CLOSE((double)lk_joint_n_weights(m) / 1e6, sizes[i].millions,
                    0.15 * sizes[i].millions);
        lk_joint_free(&m);
    }
}

static void models_are_saved_and_loaded(void **state)
{
    char path[64] = "/tmp/lk_joint_model_XXXXXX";
    const float mean[4] = {1, 2, 3, 4}, deviation[4] = {5, 6, 7, 8};
    float m2[4], d2[4];
    lk_joint_config c = joint_toy_config("frame");
    lk_joint_clip clip = joint_toy_clip(0);
    lk_joint *m = NULL, *again = NULL;
    joint_toy_answer x, a, b;
    (void)state;
    close(mkstemp(path));
    c.clock = "scaled_index";
    joint_toy_noise(&x);
    CHECK_OK(joint_toy_new(&m, &c, NULL));
    CHECK_OK(lk_joint_set_scale(m, LK_JOINT_AUDIO, mean, deviation));
    CHECK_OK(lk_joint_save(m, path, LK_F32));
    CHECK_OK(lk_joint_load(&again, path, NULL));
    CHECK_OK(lk_joint_get_scale(again, LK_JOINT_AUDIO, m2, d2));
    assert_memory_equal(mean, m2, sizeof mean);
    assert_memory_equal(deviation, d2, sizeof deviation);
    assert_string_equal(lk_joint_get_config(again)->clock, "scaled_index");
    joint_toy_ask(m, &clip, NULL, &x, &a);
    joint_toy_ask(again, &clip, NULL, &x, &b);
    assert_memory_equal(&a, &b, sizeof a);
    CHECK_FAILS(lk_joint_save(m, path, LK_I32), LK_E_ARG);
    CHECK_FAILS(lk_joint_set_scale(m, LK_JOINT_AUDIO, mean, (float[4]){1, 1, 0, 1}), LK_E_NUMERIC);
    lk_joint_free(&again);
    CHECK_OK(lk_safetensors_write(path, 0, NULL, 0, NULL, NULL, NULL));
    CHECK_FAILS(lk_joint_load(&again, path, NULL), LK_E_FORMAT);
    lk_joint_free(&m);
    unlink(path);
}

static void silly_configurations_are_refused(void **state)
{
    lk_joint_config c = joint_toy_config("window");
    lk_joint *m = NULL;
    (void)state;
    c.heads = 3;
    CHECK_FAILS(lk_joint_new(&m, &c, NULL), LK_E_ARG);
    c = joint_toy_config("sideways");
    CHECK_FAILS(lk_joint_new(&m, &c, NULL), LK_E_ARG);
    c = joint_toy_config("window");
    c.clock = NULL;
    CHECK_FAILS(lk_joint_new(&m, &c, NULL), LK_E_ARG);
    assert_null(m);
}

static void failed_allocations_are_clean(void **state)
{
    const lk_joint_config c = joint_toy_config("window");
    const lk_joint_clip clip = joint_toy_clip(0);
    int fired = 1;
    (void)state;
    for (int n = 1; fired; n += 1 + n / 8) {
        lk_joint *m = NULL;
        joint_toy_answer x, v;
        lk_status st;
        joint_toy_noise(&x);
        lk_mem_fail_after(n);
        st = joint_toy_new(&m, &c, NULL);
        if (st == LK_OK)
            st = joint_toy_run(m, &clip, NULL, x.video, x.audio, v.video, v.audio);
        fired = lk_mem_fault_fired();
        lk_mem_fail_after(0);
        lk_joint_free(&m);
        if (st != (fired ? LK_E_MEMORY : LK_OK))
            fail_msg("failure %d gave %s: %s", n, lk_status_name(st), lk_error_text());
        lk_error_clear();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_right),
        cmocka_unit_test(vectors_are_read),
        cmocka_unit_test(backends_agree),
        cmocka_unit_test(exchanges_let_through_what_they_say),
        cmocka_unit_test(late_partners_are_seen_later),
        cmocka_unit_test(blocks_without_exchange_have_none),
        cmocka_unit_test(texts_are_read),
        cmocka_unit_test(absent_tokens_are_not_there),
        cmocka_unit_test(clocks_change_spans_as_they_say),
        cmocka_unit_test(presets_have_their_sizes),
        cmocka_unit_test(models_are_saved_and_loaded),
        cmocka_unit_test(silly_configurations_are_refused),
        cmocka_unit_test(failed_allocations_are_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
