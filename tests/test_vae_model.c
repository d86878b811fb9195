/* test_vae_model.c - configurations of the video tokenizer, its files, and which frames a latent
 * covers. */
#include "tests/check.h"
#include "tests/vae_toy.h"

#include "video_vae/vae_impl.h"

#include <unistd.h>

static char path[] = "/tmp/lk_vae_XXXXXX";

static void variants_have_their_shapes(void **state)
{
    static const struct {
        const char *name;
        int time, space, channels;
    } known[] = {{"t4s8c16", 4, 8, 16},
                 {"t4s8c32", 4, 8, 32},
                 {"t4s16c48", 4, 16, 48},
                 {"t1s8c16", 1, 8, 16},
                 {"t1s16c48", 1, 16, 48}};
    lk_vae_config c;
    lk_vae_shape s;
    (void)state;
    lk_option_defaults(lk_vae_options, &c);
    for (int i = 0; i < 4; i++) {
        c.variant = known[i].name;
        CHECK_OK(lk_vae_shape_of(&c, &s));
        assert_true(s.time == known[i].time && s.space == known[i].space &&
                    s.channels == known[i].channels);
        assert_int_equal(s.group_look, s.time > 1);
        assert_true(s.width[0] > 0 && s.encoder_blocks > 0 && s.decoder_blocks > 0);
    }
    c.variant = "t4s8c16";
    c.look = "causal";
    CHECK_OK(lk_vae_shape_of(&c, &s));
    assert_int_equal(s.group_look, 0);
    c.look = "ahead";
    CHECK_FAILS(lk_vae_shape_of(&c, &s), LK_E_ARG);
    c.look = "group";
    c.width2 = 100;
    CHECK_FAILS(lk_vae_shape_of(&c, &s), LK_E_ARG);
    c.width2 = 0;
    c.variant = "t2s8c16";
    CHECK_FAILS(lk_vae_shape_of(&c, &s), LK_E_ARG);
    c.variant = NULL;
    CHECK_FAILS(lk_vae_shape_of(&c, &s), LK_E_ARG);
}

static void frames_belong_to_latents(void **state)
{
    lk_span frames[10];
    lk_vae_stamp s;
    (void)state;
    for (int t = 0; t < 10; t++)
        frames[t] = vae_toy_span(t);
    assert_int_equal(lk_vae_n_latents(4, 0), 0);
    assert_int_equal(lk_vae_n_latents(4, 1), 1);
    assert_int_equal(lk_vae_n_latents(4, 2), 2);
    assert_int_equal(lk_vae_n_latents(4, 5), 2);
    assert_int_equal(lk_vae_n_latents(4, 6), 3);
    assert_int_equal(lk_vae_n_latents(1, 6), 6);
    CHECK_OK(lk_vae_stamp_of(4, 10, frames, 0, &s));
    assert_true(s.skip == 3 && s.n_frames == 1 && s.span.end == frames[0].end);
    CHECK_OK(lk_vae_stamp_of(4, 10, frames, 2, &s));
    assert_true(s.skip == 0 && s.n_frames == 4 && s.span.start == frames[5].start &&
                s.span.end == frames[8].end);
    CHECK_OK(lk_vae_stamp_of(4, 10, frames, 3, &s));
    assert_true(s.n_frames == 1 && s.frame[0].start == frames[9].start);
    CHECK_FAILS(lk_vae_stamp_of(4, 10, frames, 4, &s), LK_E_ARG);
    CHECK_FAILS(lk_vae_stamp_of(5, 10, frames, 0, &s), LK_E_ARG);
}

static void files_give_the_tokenizer_back(void **state)
{
    static const char *const variants[] = {"t4s8c16", "t1s16c48"};
    (void)state;
    for (int k = 0; k < 4; k++) {
        const lk_dtype dtype = k / 2 ? LK_BF16 : LK_F32;
        lk_vae *v = NULL, *back = NULL;
        CHECK_OK(vae_toy_new(&v, variants[k % 2], "causal"));
        CHECK_OK(lk_vae_save(v, path, dtype));
        CHECK_OK(lk_vae_load(&back, path, NULL));
        const lk_vae_shape a = lk_vae_get_shape(v), b = lk_vae_get_shape(back);
        assert_memory_equal(&a, &b, sizeof a);
        assert_int_equal(lk_vae_n_weights(v), lk_vae_n_weights(back));
        for (int i = 0; i < lk_params_n(v->params); i++) {
            const lk_shape shape = lk_params_shape(v->params, i);
            const float *x = lk_params_data(v->params, i, LK_VALUE);
            const float *y = lk_params_data(back->params, i, LK_VALUE);
            assert_string_equal(lk_params_name(v->params, i), lk_params_name(back->params, i));
            for (int64_t j = 0; j < lk_shape_count(&shape); j++)
                assert_true(y[j] == (k / 2 ? lk_bf16_to_f32(lk_bf16_from_f32(x[j])) : x[j]));
        }
        lk_vae_free(&v);
        lk_vae_free(&back);
    }
}

/* The file of one tokenizer under the configuration of another. */
static void write_as(const lk_vae *v, const char *lines)
{
    lk_safetensor list[256];
    const int n = lk_params_n(v->params);
    assert_true(n <= 256);
    for (int i = 0; i < n; i++)
        list[i] =
            (lk_safetensor){lk_params_name(v->params, i), LK_F32, lk_params_shape(v->params, i),
                            lk_params_data(v->params, i, LK_VALUE)};
    CHECK_OK(lk_safetensors_write(path, n, list, lines ? 1 : 0,
                                  &(lk_safetensors_text){"video_vae", lines}, NULL, NULL));
}

static void must_refuse(lk_status code, const char *word)
{
    lk_vae *v = NULL;
    const lk_status st = lk_vae_load(&v, path, NULL);
    if (st != code || !strstr(lk_error_text(), word) || !strstr(lk_error_text(), path))
        fail_msg("%s, not '%s': %s", lk_status_name(st), word, lk_error_text());
    assert_null(v);
    lk_error_clear();
}

static void other_files_are_refused(void **state)
{
    lk_vae *v = NULL;
    (void)state;
    CHECK_OK(vae_toy_new(&v, "t1s8c16", "group"));
    write_as(v, NULL);
    must_refuse(LK_E_FORMAT, "no video tokenizer");
    write_as(v, "variant: t1s8c16\nwidth1: 4\nwidth2: 8\nwidth3: 32\nencoder_blocks: "
                "1\ndecoder_blocks: 1\n");
    must_refuse(LK_E_SHAPE, "encoder.");
    write_as(v, "variant: t4s8c16\nwidth1: 4\nwidth2: 8\nwidth3: 16\nencoder_blocks: "
                "1\ndecoder_blocks: 1\n");
    must_refuse(LK_E_SHAPE, "encoder.");
    write_as(v, "variant: t1s8c16\ndepth: 7\n");
    must_refuse(LK_E_FORMAT, "depth");
    write_as(v, "variant: t3s8c16\n");
    must_refuse(LK_E_FORMAT, "variant");
    CHECK_OK(lk_vae_save(v, path, LK_F32));
    assert_int_equal(truncate(path, 5000), 0);
    must_refuse(LK_E_FORMAT, "");
    CHECK_FAILS(lk_vae_save(v, path, LK_I32), LK_E_ARG);
    CHECK_FAILS(lk_vae_save(v, "/nowhere/x.safetensors", LK_F32), LK_E_IO);
    remove(path);
    must_refuse(LK_E_IO, "");
    lk_vae_free(&v);
    lk_vae_free(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variants_have_their_shapes),
        cmocka_unit_test(frames_belong_to_latents),
        cmocka_unit_test(files_give_the_tokenizer_back),
        cmocka_unit_test(other_files_are_refused),
    };
    const int file = mkstemp(path);
    if (file < 0)
        return 1;
    close(file);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    remove(path);
    return failed;
}
