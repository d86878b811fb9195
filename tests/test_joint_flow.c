/* test_joint_flow.c - the flow of the joint model: levels, sampling and its solvers, guidance, what
 * is held, and a training that learns, resumes to the same bits and fails cleanly. */
#include "tests/check.h"
#include "tests/folder.h"
#include "tests/joint_toy.h"

#include "kernels/mem.h"
#include "kernels/rng.h"
#include "kernels/thread.h"

#include <unistd.h>

static char folder[64], path[160];

/* ---- levels ---- */

static void levels_are_what_they_are_called(void **state)
{
    static const char *const noises[] = {"shared", "independent", "clean_anchor", "dual_shift"};
    (void)state;
    for (int k = 0; k < 4; k++) {
        lk_joint_config c = joint_toy_config("window");
        int equal = 0, clean[2] = {0, 0};
        double level[2], mean = 0;
        c.noise = noises[k];
        c.audio_shift = 3;
        for (int i = 0; i < 2000; i++) {
            lk_joint_draw_levels(&c, 7, i, level);
            assert_true(level[0] >= 0 && level[0] < 1 && level[1] >= 0 && level[1] < 1);
            equal += level[0] == level[1];
            clean[0] += level[0] == 0;
            clean[1] += level[1] == 0;
            mean += level[0] / 2000;
            if (k == 3)
                CHECK_CLOSE(level[1], lk_joint_shift(level[0], 3), 1e-12);
        }
        assert_int_equal(equal, k == 0 ? 2000 : k == 2 ? 2000 - clean[0] - clean[1] : 0);
        CHECK_CLOSE(clean[0], k == 2 ? 500 : 0, k == 2 ? 80 : 0);
        CHECK_CLOSE(clean[1], k == 2 ? 500 : 0, k == 2 ? 80 : 0);
        CHECK_CLOSE(mean, k == 2 ? 0.375 : 0.5, 0.02);
    }
}

/* ---- sampling ---- */

typedef struct made {
    float video[2 * JOINT_TOY_VIDEO], audio[2 * JOINT_TOY_AUDIO];
} made;

static lk_joint_sampling how(const char *solver, int steps)
{
    lk_joint_sampling o;
    lk_option_defaults(lk_joint_sampling_options, &o);
    o.solver = solver;
    o.steps = steps;
    return o;
}

static void make(lk_joint *m, int batch, const lk_joint_clip *clips, lk_joint_sampling o, made *out)
{
    const lk_joint_sizes s = joint_toy_sizes(batch);
    CHECK_OK(lk_joint_sample(m, &s, clips, &o, NULL, out->video, out->audio));
}

static double distance(const made *a, const made *b)
{
    double sum = 0;
    for (int i = 0; i < JOINT_TOY_VIDEO; i++)
        sum += pow((double)a->video[i] - (double)b->video[i], 2);
    for (int i = 0; i < JOINT_TOY_AUDIO; i++)
        sum += pow((double)a->audio[i] - (double)b->audio[i], 2);
    return sqrt(sum / (JOINT_TOY_VIDEO + JOINT_TOY_AUDIO));
}

static lk_joint *living(void)
{
    const lk_joint_config c = joint_toy_config("window");
    lk_joint *m = NULL;
    CHECK_OK(joint_toy_new(&m, &c, NULL));
    return m;
}

/* What the model says of a level is a rough function of it when weights are drawn by lot: without
 * that, the way from noise to a clip is smooth. */
static void forget_levels(lk_joint *m)
{
    static const float zero[64 * 16];
    for (int i = 0; i < lk_params_n(m->params); i++)
        if (strstr(lk_params_name(m->params, i), "level1.weight"))
            CHECK_OK(lk_params_write(m->params, i, LK_VALUE, LK_F32, zero));
}

static void better_solvers_are_closer(void **state)
{
    const lk_joint_clip clip = joint_toy_clip(0);
    lk_joint_config c = joint_toy_config("window");
    lk_joint *m = NULL;
    made exact, x;
    double error[3];
    (void)state;
    c.places = c.scene = c.still = false; /* more weights by lot, and the way is less smooth */
    CHECK_OK(joint_toy_new(&m, &c, NULL));
    forget_levels(m);
    make(m, 1, &clip, how("heun", 400), &exact);
    for (int k = 0; k < 3; k++) {
        make(m, 1, &clip, how((const char *[]){"euler", "multistep", "heun"}[k], 32), &x);
        error[k] = distance(&exact, &x);
    }
    if (!(error[1] < 0.5 * error[0] && error[2] < 0.5 * error[0]))
        fail_msg("errors of euler %g, multistep %g, heun %g", error[0], error[1], error[2]);
    make(m, 1, &clip, how("euler", 64), &x);
    CHECK_CLOSE(error[0] / distance(&exact, &x), 2, 0.4); /* the error of the first order */
    lk_joint_free(&m);
}

static void bf16_makes_nearly_the_same(void **state)
{
    const lk_joint_clip clip = joint_toy_clip(0);
    lk_joint *m = living();
    lk_joint_sampling o = how("euler", 4);
    made exact, x;
    double far;
    (void)state;
    make(m, 1, &clip, o, &exact);
    o.compute = "bf16";
    make(m, 1, &clip, o, &x);
    far = distance(&exact, &x);
    if (!(far > 0 && far < 0.05))
        fail_msg("bf16 is %g from f32", far);
    lk_joint_free(&m);
}

/* A model that says 0 leaves the noise, whose deviation is then the normalisation's. */
static void an_untrained_model_gives_noise(void **state)
{
    lk_joint_config c = joint_toy_config("window");
    const lk_joint_clip clip = joint_toy_clip(0);
    const float mean[4] = {10, 10, 10, 10}, deviation[4] = {2, 2, 2, 2};
    lk_joint *m = NULL;
    made x;
    (void)state;
    c.predict = "flow";
    c.still = false;
    CHECK_OK(lk_joint_new(&m, &c, NULL));
    CHECK_OK(lk_joint_set_scale(m, LK_JOINT_AUDIO, mean, deviation));
    make(m, 1, &clip, how("multistep", 3), &x);
    double sum = 0, square = 0;
    for (int i = 0; i < JOINT_TOY_AUDIO; i++) {
        sum += (double)x.audio[i] / JOINT_TOY_AUDIO;
        square += pow((double)x.audio[i] - 10, 2) / JOINT_TOY_AUDIO;
    }
    CHECK_CLOSE(sum, 10, 1.2);
    CHECK_CLOSE(sqrt(square), 2, 0.7);
    lk_joint_free(&m);
}

static void what_is_held_comes_back(void **state)
{
    const uint8_t held[JOINT_TOY_LATENTS] = {1, 0, 0},
                  all[JOINT_TOY_SOUNDS] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    lk_joint_clip clip = joint_toy_clip(0), other = joint_toy_clip(1);
    lk_joint *m = living();
    made free, x, y;
    (void)state;
    make(m, 1, &clip, how("euler", 4), &free);
    clip.video_held = held;
    make(m, 1, &clip, how("euler", 4), &x);
    assert_memory_equal(x.video, clip.video, JOINT_TOY_CELLS * 3 * sizeof(float));
    assert_memory_not_equal(x.video + 6, free.video + 6, 12 * sizeof(float));
    clip.video_held = NULL;
    clip.audio_held = all;
    make(m, 1, &clip, how("heun", 4), &x);
    assert_memory_equal(x.audio, clip.audio, JOINT_TOY_AUDIO * sizeof(float));
    clip.audio = other.audio; /* another sound, another picture */
    make(m, 1, &clip, how("heun", 4), &y);
    assert_memory_not_equal(x.video, y.video, JOINT_TOY_VIDEO * sizeof(float));
    lk_joint_free(&m);
}

static void guidance_pushes_away(void **state)
{
    const lk_joint_clip clip = joint_toy_clip(0);
    lk_joint *m = living();
    made plain, x;
    (void)state;
    make(m, 1, &clip, how("euler", 1), &plain);
    for (int k = 0; k < 6; k++) {
        lk_joint_sampling o = how("euler", 1);
        double *const weight[] = {&o.video_text, &o.audio_text,    &o.to_video,
                                  &o.to_audio,   &o.video_shifted, &o.audio_shifted};
        *weight[k] = 3;
        make(m, 1, &clip, o, &x);
        assert_int_equal(memcmp(plain.video, x.video, JOINT_TOY_VIDEO * sizeof(float)) != 0,
                         k % 2 == 0);
        assert_int_equal(memcmp(plain.audio, x.audio, JOINT_TOY_AUDIO * sizeof(float)) != 0,
                         k % 2 == 1);
        o.from = o.to = 0.5; /* the one step is at 1 */
        make(m, 1, &clip, o, &x);
        assert_int_equal(memcmp(plain.audio, x.audio, JOINT_TOY_AUDIO * sizeof(float)), 0);
    }
    lk_joint_sampling o = how("euler", 1); /* a partner that is where it was has nothing to add */
    o.video_shifted = o.audio_shifted = 3;
    o.shift_ms = 0;
    make(m, 1, &clip, o, &x);
    CHECK_CLOSE(distance(&plain, &x), 0, 1e-5);
    lk_joint_free(&m);
}

/* A position that moves counts more, at all times alike, and a clip as much as before. */
static void what_moves_counts_more(void **state)
{
    float video[JOINT_TOY_VIDEO];
    const lk_joint_sizes sizes = joint_toy_sizes(1);
    const int n = JOINT_TOY_LATENTS * JOINT_TOY_CELLS;
    lk_joint_clip clip = joint_toy_clip(0);
    lk_joint *m = living();
    (void)state;
    for (int t = 0; t < JOINT_TOY_LATENTS; t++) /* the first position stands still by half */
        for (int k = 0; k < 6; k++)
            video[t * 6 + k] = (float)(t == 1) * (k < 3 ? 1.0f : 3.0f);
    clip.video = video;
    for (int r = 0; r < 3; r++) {
        const double motion = (double[]){0, 0.6, 1}[r];
        const double w[2] = {1 - motion + motion * 0.5, 1 - motion + motion * 1.5};
        lk_joint_batch b;
        CHECK_OK(lk_joint_batch_open(&b, m, &sizes, "f32", 0, 0, 1));
        b.motion = motion;
        b.clips[0] = clip;
        lk_joint_batch_mix(&b, 0, 1, 0, (double[]){0.5, 0.5});
        CHECK_OK(lk_joint_batch_write(&b, 0));
        for (int i = 0; i < n; i++)
            CHECK_CLOSE(b.share[0][i], w[i % 2] / n, 1e-6);
        for (int i = 0; i < JOINT_TOY_SOUNDS; i++)
            CHECK_CLOSE(b.share[1][i], 1.0 / JOINT_TOY_SOUNDS, 1e-6);
        lk_joint_batch_clear(&b);
    }
    lk_joint_free(&m);
}

static void threads_and_batches_make_no_difference(void **state)
{
    const lk_joint_clip clips[2] = {joint_toy_clip(0), joint_toy_clip(1)};
    const int before = lk_threads();
    lk_joint *m = living();
    made one, two, alone;
    (void)state;
    lk_threads_set(1);
    make(m, 2, clips, how("multistep", 5), &one);
    lk_threads_set(2);
    make(m, 2, clips, how("multistep", 5), &two);
    lk_threads_set(before);
    assert_memory_equal(&one, &two, sizeof one);
    make(m, 1, clips, how("multistep", 5), &alone);
    CHECK_CLOSE(distance(&one, &alone), 0, 1e-5);
    lk_joint_free(&m);
}

static void bad_clips_are_refused(void **state)
{
    const lk_joint_sizes s = joint_toy_sizes(1);
    const lk_joint_sampling o = how("euler", 1);
    float bad[JOINT_TOY_AUDIO] = {1, NAN};
    lk_joint_clip clip = joint_toy_clip(0);
    lk_joint_sizes none = s;
    const int stop = 1;
    lk_joint *m = living();
    made x;
    (void)state;
    clip.audio = bad;
    CHECK_FAILS(lk_joint_sample(m, &s, &clip, &o, NULL, x.video, x.audio), LK_E_NUMERIC);
    clip = joint_toy_clip(0);
    clip.n_sounds = 10;
    CHECK_FAILS(lk_joint_sample(m, &s, &clip, &o, NULL, x.video, x.audio), LK_E_ARG);
    clip = joint_toy_clip(0);
    clip.video = NULL;
    clip.video_held = (const uint8_t[]){1, 0, 0};
    CHECK_FAILS(lk_joint_sample(m, &s, &clip, &o, NULL, x.video, x.audio), LK_E_ARG);
    none.latents = none.sounds = 0;
    CHECK_FAILS(lk_joint_sample(m, &none, &clip, &o, NULL, x.video, x.audio), LK_E_EMPTY);
    clip = joint_toy_clip(0);
    CHECK_FAILS(lk_joint_sample(m, &s, &clip, &o, &stop, x.video, x.audio), LK_E_INTERRUPTED);
    lk_joint_free(&m);
}

/* ---- training ---- */

static lk_joint_train_config config;
static int64_t stop_at = -1;
static int poison, mute;

static lk_status fill(void *user, uint64_t seed, int64_t index, int n, int first,
                      lk_joint_clip *clips)
{
    static float bad[JOINT_TOY_AUDIO] = {NAN};
    (void)user;
    (void)seed;
    (void)first;
    assert_int_equal(n, 2);
    if (index == stop_at)
        return LK_FAIL(LK_E_IO, "the clips are gone");
    clips[0] = joint_toy_clip(0);
    clips[1] = joint_toy_clip(1);
    if (poison)
        clips[1].audio = bad;
    for (int b = 0; mute && b < 2; b++)
        clips[b].n_sounds = clips[b].n_events = 0;
    return LK_OK;
}

static void configure(int steps)
{
    static lk_joint *m;
    const lk_joint_config c = joint_toy_config("window");
    lk_option_defaults(lk_joint_train_options, &config);
    lk_joint_free(&m);
    config.model = NULL;
    if (steps) {
        CHECK_OK(lk_joint_new(&m, &c, NULL));
        config.model = m;
    }
    config.sizes = joint_toy_sizes(2);
    config.folder = folder;
    config.fill = fill;
    config.user = NULL;
    config.resume = 0;
    config.comm = NULL;
    config.n_texts = 0;
    config.texts = NULL;
    config.steps = steps;
    config.log_every = 1;
}

/* Mean of a logged number over 20 lines from the start or up to the end. */
static double logged(const char *name, int last)
{
    char line[2048], key[64];
    double ring[20] = {0}, sum = 0;
    int n = 0;
    snprintf(path, sizeof path, "%s/log.jsonl", folder);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    snprintf(key, sizeof key, "\"%s\":", name);
    for (; fgets(line, sizeof line, f) && (last || n < 20); n++)
        ring[n % 20] = atof(strstr(line, key) + strlen(key));
    fclose(f);
    for (int i = 0; i < 20; i++)
        sum += ring[i] / 20;
    return sum;
}

static const char *checkpoint(int step)
{
    snprintf(path, sizeof path, "%s/checkpoints/step_%08d.safetensors", folder, step);
    return path;
}

/* Two clips are learnt by heart: by their prompts the model makes the one that was asked for. */
static void it_learns_two_clips(void **state)
{
    const lk_joint_clip clips[2] = {joint_toy_clip(0), joint_toy_clip(1)};
    lk_train_result r;
    lk_joint *m = NULL;
    made x, wanted[2];
    (void)state;
    if (check_count(0, 1))
        skip(); /* others train as well, not as long */
    configure(1500);
    config.hold_audio = config.hold_video = config.hold_first = config.hold_range = 0.03;
    config.no_exchange = 0.02;
    config.warmup = 20;
    config.rate = 4e-3;
    config.average = 0.99;
    config.no_text = 0.02;
    CHECK_OK(lk_joint_train(&config, &r));
    assert_int_equal(r.allocations, 0);
    if (!(logged("video_flow", 1) < 0.35 * logged("video_flow", 0) &&
          logged("audio_flow", 1) < 0.35 * logged("audio_flow", 0)))
        fail_msg("picture %g -> %g, sound %g -> %g", logged("video_flow", 0),
                 logged("video_flow", 1), logged("audio_flow", 0), logged("audio_flow", 1));
    CHECK_OK(lk_joint_load(&m, checkpoint(1500), NULL));
    for (int k = 0; k < 2; k++) {
        memcpy(wanted[k].video, clips[k].video, JOINT_TOY_VIDEO * sizeof(float));
        memcpy(wanted[k].audio, clips[k].audio, JOINT_TOY_AUDIO * sizeof(float));
    }
    for (int k = 0; k < 2; k++) {
        make(m, 1, &clips[k], how("multistep", 20), &x);
        if (!(distance(&x, &wanted[k]) < 0.4 * distance(&x, &wanted[1 - k])))
            fail_msg("clip %d: %g from itself, %g from the other one", k, distance(&x, &wanted[k]),
                     distance(&x, &wanted[1 - k]));
    }
    lk_joint_free(&m);
}

static char *slurp(const char *from, size_t *n)
{
    FILE *f = fopen(from, "rb");
    char *data = calloc(1, 1 << 21);
    assert_non_null(f);
    *n = fread(data, 1, 1 << 21, f);
    fclose(f);
    return data;
}

static void it_resumes_to_the_same_bits(void **state)
{
    size_t n, again;
    char *whole, *cut;
    (void)state;
    configure(6);
    config.save_every = 2;
    config.hold_range = config.hold_first = 0.3;
    CHECK_OK(lk_joint_train(&config, NULL));
    whole = slurp(checkpoint(6), &n);
    snprintf(folder, sizeof folder, "%s/cut", test_folder);
    for (int round = 0; round < 2; round++) {
        configure(6);
        config.save_every = 2;
        config.hold_range = config.hold_first = 0.3;
        config.resume = 1;
        stop_at = round ? -1 : 3;
        if (round)
            CHECK_OK(lk_joint_train(&config, NULL));
        else
            CHECK_FAILS(lk_joint_train(&config, NULL), LK_E_IO);
    }
    cut = slurp(checkpoint(6), &again);
    assert_int_equal(n, again);
    assert_memory_equal(whole, cut, n);
    free(whole);
    free(cut);
}

/* Pictures alone, without scripts, as in a first stage: weights of the sound stay as they were. */
static void one_stream_learns_alone(void **state)
{
    lk_joint *before = NULL;
    int same = 0, moved = 0;
    (void)state;
    configure(3);
    config.sizes.sounds = config.sizes.events = 0;
    config.decay = 0;
    CHECK_FAILS(lk_joint_train(&config, NULL), LK_E_ARG); /* the clips have sound */
    mute = 1;
    CHECK_OK(lk_joint_train(&config, NULL));
    mute = 0;
    const lk_joint_config c = *lk_joint_get_config(config.model);
    CHECK_OK(lk_joint_new(&before, &c, NULL));
    for (int i = 0; i < lk_params_n(before->params); i++) {
        const char *name = lk_params_name(before->params, i);
        const lk_shape shape = lk_params_shape(before->params, i);
        const int equal = memcmp(lk_params_data(before->params, i, LK_VALUE),
                                 lk_params_data(config.model->params, i, LK_VALUE),
                                 (size_t)lk_shape_count(&shape) * sizeof(float)) == 0;
        same += equal && strstr(name, "audio");
        moved += !equal && strstr(name, "video");
        if (!equal && strstr(name, "audio"))
            fail_msg("%s moved", name);
    }
    assert_true(same > 20 && moved > 3);
    lk_joint_free(&before);
}

static void bf16_is_close_to_f32(void **state)
{
    lk_train_result r[2];
    (void)state;
    for (int k = 0; k < 2; k++) {
        configure(2);
        CHECK_OK(joint_toy_liven(config.model));
        config.compute = k ? "bf16" : "f32";
        snprintf(folder, sizeof folder, "%s/%s", test_folder, config.compute);
        CHECK_OK(lk_joint_train(&config, &r[k]));
    }
    assert_true(r[0].loss != r[1].loss);
    CHECK_CLOSE(r[1].loss, r[0].loss, 0.03 * r[0].loss);
}

static void bad_latents_are_refused(void **state)
{
    (void)state;
    configure(1);
    poison = 1;
    CHECK_FAILS(lk_joint_train(&config, NULL), LK_E_NUMERIC);
    poison = 0;
    configure(0);
    CHECK_FAILS(lk_joint_train(&config, NULL), LK_E_ARG);
}

static void failed_allocations_are_clean(void **state)
{
    int fired = 1;
    (void)state;
    for (int n = 1; fired; n += 1 + n / 8) {
        lk_status st;
        made x;
        const lk_joint_sizes s = joint_toy_sizes(2);
        const lk_joint_clip clips[2] = {joint_toy_clip(0), joint_toy_clip(1)};
        const lk_joint_sampling o = how("euler", 1);
        configure(1);
        snprintf(folder, sizeof folder, "%s/fault%d", test_folder, n);
        lk_mem_fail_after(n);
        st = lk_joint_train(&config, NULL);
        if (st == LK_OK)
            st = lk_joint_sample(config.model, &s, clips, &o, NULL, x.video, x.audio);
        fired = lk_mem_fault_fired();
        lk_mem_fail_after(0);
        if (st != (fired ? LK_E_MEMORY : LK_OK))
            fail_msg("failure %d gave %s: %s", n, lk_status_name(st), lk_error_text());
        lk_error_clear();
    }
    configure(0);
}

static int new_folder(void **state)
{
    static int n;
    (void)state;
    snprintf(folder, sizeof folder, "%s/run%d", test_folder, n++);
    return 0;
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup(test, new_folder)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_are_what_they_are_called),
        cmocka_unit_test(what_moves_counts_more),
        cmocka_unit_test(better_solvers_are_closer),
        cmocka_unit_test(bf16_makes_nearly_the_same),
        cmocka_unit_test(an_untrained_model_gives_noise),
        cmocka_unit_test(what_is_held_comes_back),
        cmocka_unit_test(guidance_pushes_away),
        cmocka_unit_test(threads_and_batches_make_no_difference),
        cmocka_unit_test(bad_clips_are_refused),
        IN_FOLDER(it_learns_two_clips),
        IN_FOLDER(it_resumes_to_the_same_bits),
        IN_FOLDER(one_stream_learns_alone),
        IN_FOLDER(bf16_is_close_to_f32),
        IN_FOLDER(bad_latents_are_refused),
        IN_FOLDER(failed_allocations_are_clean),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_drop);
}
