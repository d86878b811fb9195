/* test_joint_stages.c - what goes on around the steps of the joint model's training: losses of
 * clips that are held out, and samples on the way. */
#include "tests/check.h"
#include "tests/folder.h"
#include "tests/joint_toy.h"

#include "kernels/checkpoint.h"
#include "kernels/mem.h"

#include <unistd.h>

enum { BANDS = 8 }; /* of both streams */

static const char *const bands[BANDS] = {"valid_video_flow_0_25",  "valid_video_flow_25_50",
                                         "valid_video_flow_50_75", "valid_video_flow_75_100",
                                         "valid_audio_flow_0_25",  "valid_audio_flow_25_50",
                                         "valid_audio_flow_50_75", "valid_audio_flow_75_100"};

static char folder[64], path[192];
static lk_joint_train_config config;
static lk_joint_clip held_out[3];
static int64_t stop_at, staged;

static lk_status fill(void *user, uint64_t seed, int64_t index, int n, int first,
                      lk_joint_clip *clips)
{
    static float bad[JOINT_TOY_VIDEO];
    (void)user;
    (void)seed;
    if (index == stop_at)
        return LK_FAIL(LK_E_IO, "the clips are gone");
    for (int b = 0; b < n; b++) {
        clips[b] = joint_toy_clip(b % 2);
        if (index >= staged || !staged)
            continue;
        /* What a stage must not look at. */
        assert_int_equal(first, index < 2);
        assert_int_equal(n, index < 2 ? 5 : 2);
        for (int i = 0; i < JOINT_TOY_VIDEO; i++)
            bad[i] = i < JOINT_TOY_CELLS * 3 ? clips[b].video[i] : NAN;
        clips[b].audio = bad + JOINT_TOY_CELLS * 3;
        clips[b].video = first ? bad : clips[b].video;
        clips[b].n_sounds = 3;
    }
    return LK_OK;
}

/* A training of two clips, in a folder of its own. */
static void configure(lk_joint *m, int steps, const char *name)
{
    snprintf(folder, sizeof folder, "%s/%s", test_folder, name);
    memset(&config, 0, sizeof config);
    lk_option_defaults(lk_joint_train_options, &config);
    config.model = m;
    config.sizes = joint_toy_sizes(2);
    config.folder = folder;
    config.fill = fill;
    config.steps = steps;
    config.warmup = 2;
    config.log_every = 4;
    config.hold_range = config.hold_first = 0.3;
    stop_at = -1;
    staged = 0;
}

/* Three clips, two at a time: the last round has one. */
static void hold_out(int every)
{
    for (int i = 0; i < 3; i++)
        held_out[i] = joint_toy_clip(i + 1);
    held_out[2].n_latents = 2; /* a shorter one */
    config.held_out_sizes = joint_toy_sizes(2);
    config.held_out = held_out;
    config.n_held_out = 3;
    config.validate_every = every;
}

static lk_joint *fresh(void)
{
    const lk_joint_config c = joint_toy_config("window");
    lk_joint *m = NULL;
    CHECK_OK(lk_joint_new(&m, &c, NULL));
    return m;
}

static const char *checkpoint(int step)
{
    snprintf(path, sizeof path, "%s/checkpoints/step_%08d.safetensors", folder, step);
    return path;
}

/* Losses of the held-out clips in the line of a step; 0 when there is no such line. */
static int logged(int step, double loss[BANDS])
{
    char line[4096], key[48], start[32];
    int found = 0;
    snprintf(path, sizeof path, "%s/log.jsonl", folder);
    snprintf(start, sizeof start, "{\"step\":%d,", step);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, start, strlen(start)) != 0)
            continue;
        assert_false(found); /* once */
        for (int k = 0; k < BANDS; k++) {
            snprintf(key, sizeof key, "\"%s\":", bands[k]);
            const char *at = strstr(line, key);
            found += at != NULL;
            loss[k] = at ? atof(at + strlen(key)) : 0;
        }
    }
    fclose(f);
    return found == BANDS;
}

static void same_weights(const lk_joint *a, const lk_joint *b)
{
    static const lk_slot slots[] = {LK_VALUE, LK_MOMENT1, LK_MOMENT2, LK_AVERAGE};
    for (int i = 0; i < lk_params_n(a->params); i++)
        for (int k = 0; k < 4; k++) {
            const lk_shape shape = lk_params_shape(a->params, i);
            assert_memory_equal(lk_params_data(a->params, i, slots[k]),
                                lk_params_data(b->params, i, slots[k]),
                                (size_t)lk_shape_count(&shape) * sizeof(float));
        }
}

/* ---- held-out clips ---- */

static void looking_changes_nothing(void **state)
{
    lk_joint *alone = fresh(), *watched = fresh();
    double loss[BANDS];
    (void)state;
    configure(alone, 7, "alone");
    CHECK_OK(lk_joint_train(&config, NULL));
    assert_false(logged(4, loss));
    configure(watched, 7, "watched");
    hold_out(3);
    CHECK_OK(lk_joint_train(&config, NULL));
    same_weights(alone, watched);
    assert_true(logged(3, loss) && logged(6, loss));
    assert_false(logged(4, loss));
    lk_joint_free(&alone);
    lk_joint_free(&watched);
}

/* Trained no further and with averages as its weights, a model has the losses that the log has. */
static void losses_are_those_of_the_averages(void **state)
{
    lk_joint *m = fresh(), *averaged = NULL, *last = NULL;
    double before[BANDS], loss[3][BANDS];
    int differ = 0, learnt = 0;
    (void)state;
    configure(m, 40, "averages");
    config.rate = 4e-3;
    config.average = 0.9;
    hold_out(20);
    CHECK_OK(lk_joint_train(&config, NULL));
    assert_true(logged(20, before) && logged(40, loss[0]));
    CHECK_OK(lk_joint_load(&averaged, checkpoint(40), NULL));
    CHECK_OK(lk_joint_load(&last, checkpoint(40), NULL));
    CHECK_OK(lk_checkpoint_read_values(checkpoint(40), last->params, 0));
    for (int k = 1; k < 3; k++) {
        configure(k == 1 ? averaged : last, 1, k == 1 ? "again" : "last");
        config.rate = config.last_rate = config.average = 0;
        hold_out(1);
        CHECK_OK(lk_joint_train(&config, NULL));
        assert_true(logged(1, loss[k]));
    }
    for (int k = 0; k < BANDS; k++) {
        CHECK_CLOSE(loss[1][k], loss[0][k], 1e-7 * loss[0][k]);
        differ += fabs(loss[2][k] - loss[0][k]) > 1e-4;
        learnt += before[k] != loss[0][k];
    }
    assert_true(differ > BANDS / 2 && learnt == BANDS);
    lk_joint_free(&m);
    lk_joint_free(&averaged);
    lk_joint_free(&last);
}

/* A model that says 0 is wrong by the deviation of noise and clip, whatever the level. */
static void losses_are_what_they_are_called(void **state)
{
    lk_joint_config c = joint_toy_config("window");
    lk_joint *m = NULL;
    double loss[BANDS], square[2] = {0, 0}, n[2] = {0, 0};
    (void)state;
    c.predict = "flow";
    c.still = false;
    CHECK_OK(lk_joint_new(&m, &c, NULL));
    configure(m, 1, "zero");
    config.rate = config.last_rate = 0;
    hold_out(1);
    CHECK_OK(lk_joint_train(&config, NULL));
    assert_true(logged(1, loss));
    for (int i = 0; i < 3; i++)
        for (int s = 0; s < 2; s++) {
            const float *x = s ? held_out[i].audio : held_out[i].video;
            const int count = s ? JOINT_TOY_AUDIO : held_out[i].n_latents * JOINT_TOY_CELLS * 3;
            for (int k = 0; k < count; k++, n[s]++)
                square[s] += (double)x[k] * (double)x[k];
        }
    for (int k = 0; k < BANDS; k++) {
        const double power = square[k / 4] / n[k / 4];
        /* (e - x)^2 has the mean 1 + x^2 and the variance 2 + 4 x^2. */
        CHECK_CLOSE(loss[k], 1 + power, 4 * sqrt((2 + 4 * power) / n[k / 4]));
        for (int j = 0; j < k; j++)
            assert_true(loss[j] != loss[k]); /* each with its own noise */
    }
    lk_joint_free(&m);
}

static void a_resumed_run_has_the_same_log(void **state)
{
    lk_joint *whole = fresh(), *cut = fresh();
    double a[BANDS], b[BANDS];
    (void)state;
    configure(whole, 6, "whole");
    hold_out(2);
    CHECK_OK(lk_joint_train(&config, NULL));
    for (int round = 0; round < 2; round++) {
        configure(cut, 6, "cut");
        hold_out(2);
        config.save_every = 3;
        config.resume = 1;
        stop_at = round ? -1 : 4;
        if (round)
            CHECK_OK(lk_joint_train(&config, NULL));
        else
            CHECK_FAILS(lk_joint_train(&config, NULL), LK_E_IO);
    }
    same_weights(whole, cut);
    for (int step = 2; step <= 6; step += 2) {
        snprintf(folder, sizeof folder, "%s/whole", test_folder);
        assert_true(logged(step, a));
        snprintf(folder, sizeof folder, "%s/cut", test_folder);
        assert_true(logged(step, b));
        assert_memory_equal(a, b, sizeof a);
    }
    lk_joint_free(&whole);
    lk_joint_free(&cut);
}

static void bad_clips_are_refused(void **state)
{
    static float bad[JOINT_TOY_AUDIO] = {NAN};
    lk_joint *m = fresh();
    (void)state;
    configure(m, 1, "bad");
    hold_out(1);
    held_out[1].audio = NULL;
    CHECK_FAILS(lk_joint_train(&config, NULL), LK_E_ARG);
    held_out[1].audio = bad;
    CHECK_FAILS(lk_joint_train(&config, NULL), LK_E_NUMERIC);
    lk_joint_free(&m);
}

/* ---- stages ---- */

/* Two steps of pictures, three of clips without sound, the rest of both. */
static void in_stages(lk_joint *m, int steps, const char *name)
{
    configure(m, steps, name);
    config.image_steps = 2;
    config.video_steps = 3;
    config.image_batch = 5;
    config.log_every = 1;
    staged = 5;
}

static int logs(int step, const char *what)
{
    char line[4096], start[32];
    int found = 0;
    snprintf(path, sizeof path, "%s/log.jsonl", folder);
    snprintf(start, sizeof start, "{\"step\":%d,", step);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        found += strncmp(line, start, strlen(start)) == 0 && strstr(line, what);
    fclose(f);
    return found;
}

static void stages_see_what_they_are_called(void **state)
{
    lk_joint *before = fresh(), *m = fresh();
    lk_train_result r;
    int same = 0, moved = 0;
    (void)state;
    in_stages(m, 5, "first");
    CHECK_OK(lk_joint_train(&config, &r));
    assert_int_equal(r.samples, 2 * 5 + 3 * 2);
    assert_int_equal(r.allocations, 0);
    for (int i = 0; i < lk_params_n(m->params); i++) {
        const char *name = lk_params_name(m->params, i);
        const lk_shape shape = lk_params_shape(m->params, i);
        const int equal = memcmp(lk_params_data(before->params, i, LK_VALUE),
                                 lk_params_data(m->params, i, LK_VALUE),
                                 (size_t)lk_shape_count(&shape) * sizeof(float)) == 0;
        if (!equal && (strstr(name, "audio") || strstr(name, "exchange")))
            fail_msg("%s moved", name);
        same += equal && strstr(name, "audio");
        moved += !equal && strstr(name, "video");
    }
    assert_true(same > 20 && moved > 3);
    in_stages(m, 7, "first");
    config.resume = 1;
    CHECK_OK(lk_joint_train(&config, &r)); /* goes on with the sound */
    assert_int_equal(r.step, 7);
    for (int step = 1; step <= 7; step++) {
        assert_int_equal(logs(step, "\"video_flow\":"), 1);
        assert_int_equal(logs(step, "\"audio_flow\":"), step > 5);
    }
    assert_int_equal(logs(2, "\"samples\":10,"), 1);
    assert_int_equal(logs(7, "\"samples\":20,"), 1);
    lk_joint_free(&before);
    lk_joint_free(&m);
}

static void stages_resume_to_the_same_bits(void **state)
{
    lk_joint *whole = fresh();
    (void)state;
    in_stages(whole, 8, "staged");
    CHECK_OK(lk_joint_train(&config, NULL));
    for (int cut = 1; cut <= 6; cut++) {
        lk_joint *m = NULL;
        char name[32];
        snprintf(name, sizeof name, "staged%d", cut);
        for (int round = 0; round < 2; round++) {
            lk_joint_free(&m);
            m = fresh();
            in_stages(m, 8, name);
            config.save_every = 1;
            config.resume = 1;
            stop_at = round ? -1 : cut;
            if (round)
                CHECK_OK(lk_joint_train(&config, NULL));
            else
                CHECK_FAILS(lk_joint_train(&config, NULL), LK_E_IO);
        }
        same_weights(whole, m);
        lk_joint_free(&m);
    }
    lk_joint_free(&whole);
}

static void stages_that_make_no_sense_are_refused(void **state)
{
    lk_joint *m = fresh();
    (void)state;
    in_stages(m, 4, "short");
    CHECK_FAILS(lk_joint_train(&config, NULL), LK_E_ARG);
    in_stages(m, 6, "blind");
    config.sizes.latents = 0;
    CHECK_FAILS(lk_joint_train(&config, NULL), LK_E_ARG);
    lk_joint_free(&m);
}

/* ---- parts of clips ---- */

/* Latents end at 40, 200 and 360 ms, those of the sound every 40 ms. */
static void parts_have_what_goes_on_in_them(void **state)
{
    static const struct {
        int from, n, first_sound, n_sounds, n_events, held;
    } expected[] = {{0, 1, 0, 1, 1, 0}, {0, 2, 0, 5, 3, 0}, {0, 3, 0, 9, 4, 0},
                    {1, 1, 1, 4, 2, 0}, {1, 2, 1, 8, 3, 1}, {2, 1, 5, 4, 2, 0}};
    static const lk_flick ms = LK_FLICKS_PER_MS;
    const lk_joint_event events[4] = {{{10 * ms, 40 * ms}, "early", {0}},
                                      {{40 * ms, 40 * ms}, "at once", {0}},
                                      {{50 * ms, 201 * ms}, "across", {0}},
                                      {{200 * ms, 200 * ms}, "late", {0}}};
    static const char *const last[] = {"early", "across", "late", "across", "late", "late"};
    lk_joint_clip whole = joint_toy_clip(0);
    (void)state;
    whole.events = events;
    whole.n_events = 4;
    for (int i = 0; i < 6; i++) {
        const int from = expected[i].from, first = expected[i].first_sound;
        lk_joint_event room[4];
        uint8_t held[3] = {9, 9, 9};
        const lk_joint_clip c =
            lk_joint_crop(&whole, from, expected[i].n, JOINT_TOY_CELLS * 3, 4, room, held);
        assert_int_equal(c.n_latents, expected[i].n);
        assert_ptr_equal(c.video, whole.video + (ptrdiff_t)from * JOINT_TOY_CELLS * 3);
        assert_ptr_equal(c.video_span, whole.video_span + from);
        assert_int_equal(c.n_sounds, expected[i].n_sounds);
        assert_ptr_equal(c.audio, whole.audio + (ptrdiff_t)first * 4);
        assert_ptr_equal(c.audio_span, whole.audio_span + first);
        assert_int_equal(c.n_events, expected[i].n_events);
        assert_string_equal(c.events[c.n_events - 1].text, last[i]);
        assert_string_equal(c.prompt, whole.prompt);
        for (int k = 0; k < 3; k++)
            assert_int_equal(held[k], k >= expected[i].n ? 9 : k == 0 && expected[i].held);
    }
    whole.n_sounds = whole.n_events = 0; /* a silent clip */
    whole.audio = NULL;
    whole.audio_span = NULL;
    uint8_t held[2];
    const lk_joint_clip c = lk_joint_crop(&whole, 1, 2, JOINT_TOY_CELLS * 3, 4, NULL, held);
    assert_true(c.n_sounds == 0 && c.n_events == 0 && !c.audio && !c.audio_span);
}

/* ---- samples ---- */

static int n_shown;

static lk_status show(void *user, int64_t step, lk_joint *averaged)
{
    const lk_joint *m = user;
    assert_true(step % 2 == 0 && averaged != m);
    for (int i = 0; i < lk_params_n(m->params); i++)
        assert_true(lk_params_data(averaged->params, i, LK_VALUE)[0] ==
                    lk_params_data(m->params, i, LK_AVERAGE)[0]);
    n_shown++;
    return step == 8 ? LK_FAIL(LK_E_IO, "the disk is full") : LK_OK;
}

static void samples_are_asked_for(void **state)
{
    lk_joint *alone = fresh(), *shown = fresh();
    (void)state;
    configure(alone, 7, "unseen");
    CHECK_OK(lk_joint_train(&config, NULL));
    configure(shown, 7, "shown");
    config.show = show;
    config.show_user = shown;
    config.sample_every = 2;
    CHECK_OK(lk_joint_train(&config, NULL));
    assert_int_equal(n_shown, 3);
    same_weights(alone, shown);
    config.steps = 9;
    config.resume = 1;
    CHECK_FAILS(lk_joint_train(&config, NULL), LK_E_IO);
    lk_joint_free(&alone);
    lk_joint_free(&shown);
}

static void failed_allocations_are_clean(void **state)
{
    int fired = 1;
    (void)state;
    for (int n = 1; fired; n += 1 + n / 8) {
        lk_status st;
        char name[32];
        lk_joint *m = fresh();
        snprintf(name, sizeof name, "fault%d", n);
        configure(m, 1, name);
        hold_out(1);
        lk_mem_fail_after(n);
        st = lk_joint_train(&config, NULL);
        fired = lk_mem_fault_fired();
        lk_mem_fail_after(0);
        if (st != (fired ? LK_E_MEMORY : LK_OK))
            fail_msg("failure %d gave %s: %s", n, lk_status_name(st), lk_error_text());
        lk_error_clear();
        lk_joint_free(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(looking_changes_nothing),
        cmocka_unit_test(losses_are_those_of_the_averages),
        cmocka_unit_test(losses_are_what_they_are_called),
        cmocka_unit_test(a_resumed_run_has_the_same_log),
        cmocka_unit_test(bad_clips_are_refused),
        cmocka_unit_test(stages_see_what_they_are_called),
        cmocka_unit_test(stages_resume_to_the_same_bits),
        cmocka_unit_test(stages_that_make_no_sense_are_refused),
        cmocka_unit_test(parts_have_what_goes_on_in_them),
        cmocka_unit_test(samples_are_asked_for),
        cmocka_unit_test(failed_allocations_are_clean),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_drop);
}
