/* test_joint_data.c - clips for the joint model: which ones are drawn, which parts of them, and
 * that there is room for all. */
#include "tests/check.h"
#include "tests/folder.h"

#include "av/dataset.h"
#include "av/joint_samples.h"
#include "kernels/mem.h"
#include "kernels/rng.h"

#include <unistd.h>

enum { SIDE = 16, RATE = 16000, FRAMES = 17, CLIPS = 3, BATCH = 5, PART = 2 };

static char vae[64], codec[64], shard[64], cache[64];

/* Clips of 17, 9 and 1 frames, 5, 3 and 1 latents; the second has neither caption nor events. */
static const int n_frames[CLIPS] = {17, 9, 1};

static void write_tokenizers(void)
{
    lk_vae_config v;
    lk_codec_config c;
    lk_vae *video = NULL;
    lk_codec *audio = NULL;
    lk_option_defaults(lk_vae_options, &v);
    lk_option_defaults(lk_codec_options, &c);
    v.width1 = v.width2 = v.width3 = 8;
    v.encoder_blocks = v.decoder_blocks = 1;
    c.width = c.latent_width = 16;
    c.linear = 8;
    c.bands = 3;
    c.encoder_blocks = c.decoder_blocks = c.latent_blocks = 1;
    c.stages = 2;
    c.entries = 16;
    c.continuous = 4;
    CHECK_OK(lk_vae_new(&video, &v, NULL));
    CHECK_OK(lk_vae_save(video, vae, LK_F32));
    CHECK_OK(lk_codec_new(&audio, &c, NULL));
    CHECK_OK(lk_codec_save(audio, codec, LK_F32));
    lk_vae_free(&video);
    lk_codec_free(&audio);
}

static void write_clips(void)
{
    static uint8_t frames[FRAMES * SIDE * SIDE * 3];
    static int16_t pcm[FRAMES * RATE / 25];
    static lk_span spans[FRAMES];
    lk_dataset_event events[2];
    lk_shard *s = NULL;
    memset(events, 0, sizeof events);
    for (int i = 0; i < 2; i++) { /* in latents 1 and 3 of the first clip */
        events[i].span.start = events[i].span.end = (100 + 300 * i) * LK_FLICKS_PER_MS;
        strcpy(events[i].kind, "impact");
        strcpy(events[i].label, i ? "metal" : "wood");
    }
    for (int i = 0; i < FRAMES; i++)
        spans[i] = (lk_span){i * LK_FLICKS_PER_S / 25, (i + 1) * LK_FLICKS_PER_S / 25};
    for (size_t i = 0; i < sizeof frames; i++)
        frames[i] = (uint8_t)lk_rng_u32(1, 1, i);
    for (size_t i = 0; i < sizeof pcm / sizeof *pcm; i++)
        pcm[i] = (int16_t)lk_rng_u32(1, 2, i);
    CHECK_OK(lk_shard_create(
        &s, shard,
        &(lk_shard_options){
            .format = {SIDE, SIDE, RATE, 1}, .compress = 1, .commit = "", .settings = ""}));
    for (int i = 0; i < CLIPS; i++) {
        const lk_dataset_clip c = {.name = i == 0   ? "a"
                                           : i == 1 ? "b"
                                                    : "c",
                                   .caption = i == 0   ? "balls"
                                              : i == 1 ? ""
                                                       : "a still",
                                   .source = "test",
                                   .n_frames = n_frames[i],
                                   .n_samples = (int64_t)n_frames[i] * RATE / 25,
                                   .n_events = i == 0 ? 2 : 0,
                                   .spans = spans,
                                   .frames = frames,
                                   .pcm = pcm,
                                   .events = events};
        CHECK_OK(lk_shard_add(s, &c));
    }
    CHECK_OK(lk_shard_finish(s));
    lk_shard_close(&s);
}

static lk_joint_data *open_data(int part, double unlabelled)
{
    const char *const paths[] = {shard};
    lk_joint_data *d = NULL;
    CHECK_OK(lk_joint_data_open(&d, &(lk_joint_data_config){.paths = paths,
                                                            .n_paths = 1,
                                                            .vae = vae,
                                                            .codec = codec,
                                                            .cache = cache,
                                                            .batch = BATCH}));
    assert_int_equal(lk_joint_data_sizes(d).latents, 5); /* whole, until something else is said */
    CHECK_FAILS(lk_joint_data_draw(d, &(lk_joint_draws){-1, 0}), LK_E_ARG);
    CHECK_OK(lk_joint_data_draw(d, &(lk_joint_draws){part, unlabelled}));
    return d;
}

/* Which clip a part is of, and from which latent on. */
static int whose(const lk_joint_data *d, const lk_joint_clip *c, int *from)
{
    int64_t n;
    const lk_joint_clip *all = lk_joint_data_clips(d, &n);
    int found = 0;
    assert_int_equal(n, CLIPS);
    while (found < CLIPS - 1 && (c->video_span < all[found].video_span ||
                                 c->video_span >= all[found].video_span + all[found].n_latents))
        found++;
    *from = (int)(c->video_span - all[found].video_span);
    assert_true(*from >= 0 && *from < all[found].n_latents);
    return found;
}

static void parts_are_drawn_from_everywhere(void **state)
{
    lk_joint_data *d;
    int seen[CLIPS][5] = {{0}}, most_sounds = 0, most_events = 0, from;
    (void)state;
    d = open_data(PART, -1);
    const lk_joint_sizes z = lk_joint_data_sizes(d);
    assert_int_equal(z.batch, BATCH);
    assert_int_equal(z.latents, PART);
    for (int64_t index = 0; index < 80; index++) {
        lk_joint_clip c[BATCH];
        CHECK_OK(lk_joint_data_fill(d, 3, index, BATCH, 0, c));
        for (int b = 0; b < BATCH; b++) {
            const int i = whose(d, &c[b], &from);
            seen[i][from]++;
            assert_int_equal(c[b].n_latents, i == 2 ? 1 : PART);
            assert_true(c[b].n_sounds <= z.sounds && c[b].n_events <= z.events);
            assert_int_equal(c[b].video_held && c[b].video_held[0], from > 0);
            most_sounds = c[b].n_sounds > most_sounds ? c[b].n_sounds : most_sounds;
            most_events = c[b].n_events > most_events ? c[b].n_events : most_events;
        }
    }
    assert_int_equal(z.sounds, most_sounds); /* 8: two latents of four frames */
    assert_int_equal(z.sounds, 8);
    assert_int_equal(z.events, most_events);
    assert_int_equal(z.events, 1);
    for (int i = 0; i < CLIPS; i++)
        for (int k = 0; k < 5; k++) { /* 400 draws: a third of a quarter, a half, or 1 */
            const int parts = i == 0 ? 4 : i == 1 ? 2 : 1;
            CHECK_CLOSE(seen[i][k], k < parts ? 400.0 / 3 / parts : 0, k < parts ? 30 : 0);
        }
    lk_joint_data_close(&d);
}

static void the_same_is_drawn_again(void **state)
{
    lk_joint_data *d;
    lk_joint_clip a[BATCH], b[BATCH];
    int at[2];
    (void)state;
    d = open_data(PART, 0.5);
    CHECK_OK(lk_joint_data_fill(d, 3, 7, BATCH, 0, a));
    CHECK_OK(lk_joint_data_fill(d, 3, 8, BATCH, 0, b));
    CHECK_OK(lk_joint_data_fill(d, 3, 7, BATCH, 0, b));
    for (int i = 0; i < BATCH; i++)
        assert_true(whose(d, &a[i], &at[0]) == whose(d, &b[i], &at[1]) && at[0] == at[1]);
    CHECK_FAILS(lk_joint_data_fill(d, 3, 7, BATCH + 1, 0, b), LK_E_ARG);
    lk_joint_data_close(&d);
}

static void first_latents_begin_their_clips(void **state)
{
    lk_joint_data *d;
    lk_joint_clip c[4 * BATCH];
    int from;
    (void)state;
    d = open_data(PART, -1);
    for (int64_t index = 0; index < 10; index++) {
        CHECK_OK(lk_joint_data_fill(d, 3, index, 4 * BATCH, 1, c)); /* more than parts */
        for (int b = 0; b < 4 * BATCH; b++) {
            (void)whose(d, &c[b], &from);
            assert_true(from == 0 && c[b].n_latents > 0 && !c[b].video_held);
        }
    }
    lk_joint_data_close(&d);
}

static void the_unlabelled_have_their_share(void **state)
{
    static const double shares[] = {0, 0.2, 1};
    (void)state;
    for (int k = 0; k < 3; k++) {
        lk_joint_data *d;
        int unlabelled = 0;
        d = open_data(0, shares[k]);
        assert_int_equal(lk_joint_data_sizes(d).latents, 5);
        for (int64_t index = 0; index < 80; index++) {
            lk_joint_clip c[BATCH];
            CHECK_OK(lk_joint_data_fill(d, 3, index, BATCH, 0, c));
            for (int b = 0; b < BATCH; b++)
                unlabelled += c[b].n_events == 0 && c[b].prompt[0] == '\0';
        }
        CHECK_CLOSE(unlabelled, 400 * shares[k], k == 1 ? 32 : 0);
        lk_joint_data_close(&d);
    }
}

/* Data, draws and a picture of samples, as a training has them. */
static lk_status use(lk_joint *m, const lk_joint_sampling *sampling)
{
    const char *const paths[] = {shard};
    lk_status st = LK_OK;
    lk_joint_data *d = NULL;
    lk_joint_samples *s = NULL;
    lk_joint_clip c[BATCH];
    LK_TRY(lk_joint_data_open(&d, &(lk_joint_data_config){.paths = paths,
                                                          .n_paths = 1,
                                                          .vae = vae,
                                                          .codec = codec,
                                                          .cache = cache,
                                                          .batch = BATCH}));
    LK_TRY(lk_joint_data_draw(d, &(lk_joint_draws){PART, -1}));
    LK_TRY(lk_joint_data_fill(d, 1, 0, BATCH, 0, c));
    LK_TRY(lk_joint_samples_new(&s, d, sampling, test_folder));
    LK_TRY(lk_joint_samples_show(s, 1, m));
done:
    lk_joint_samples_free(&s);
    lk_joint_data_close(&d);
    return st;
}

static void failed_allocations_are_clean(void **state)
{
    lk_joint_config config;
    lk_joint_sampling sampling;
    lk_joint *m = NULL;
    char picture[96];
    int fired = 1;
    (void)state;
    lk_option_defaults(lk_joint_options, &config);
    lk_option_defaults(lk_joint_sampling_options, &sampling);
    config.width = 16;
    config.heads = 2;
    config.blocks = config.text_blocks = 1;
    config.video_channels = 16;
    config.audio_channels = 4;
    sampling.steps = 1;
    CHECK_OK(lk_joint_new(&m, &config, NULL));
    CHECK_OK(use(m, &sampling));
    snprintf(picture, sizeof picture, "%s/step_00000001.png", test_folder);
    assert_int_equal(access(picture, F_OK), 0);
    for (int n = 1; fired; n += 1 + n / check_count(8, 2)) {
        snprintf(picture, sizeof picture, "%s/given.png", test_folder);
        (void)remove(picture);
        lk_mem_fail_after(n);
        const lk_status st = use(m, &sampling);
        fired = lk_mem_fault_fired();
        lk_mem_fail_after(0);
        if (st != (fired ? LK_E_MEMORY : LK_OK))
            fail_msg("failure %d gave %s: %s", n, lk_status_name(st), lk_error_text());
        lk_error_clear();
    }
    lk_joint_free(&m);
}

static int make_files(void **state)
{
    if (test_folder_make(state) != 0)
        return -1;
    snprintf(vae, sizeof vae, "%s/vae.safetensors", test_folder);
    snprintf(codec, sizeof codec, "%s/codec.safetensors", test_folder);
    snprintf(shard, sizeof shard, "%s/clips.h5", test_folder);
    snprintf(cache, sizeof cache, "%s/latents", test_folder);
    write_tokenizers();
    write_clips();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_drawn_from_everywhere),
        cmocka_unit_test(the_same_is_drawn_again),
        cmocka_unit_test(first_latents_begin_their_clips),
        cmocka_unit_test(the_unlabelled_have_their_share),
        cmocka_unit_test(failed_allocations_are_clean),
    };
    return cmocka_run_group_tests(tests, make_files, test_folder_drop);
}
