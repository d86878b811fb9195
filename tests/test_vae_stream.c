/* test_vae_stream.c - the video tokenizer's streams: any length, any size, exact times, nothing of
 * the future, equal bits however they are driven, tiles without seams, bounded memory. */
#include "tests/check.h"
#include "tests/vae_toy.h"

#include "kernels/mem.h"
#include "kernels/thread.h"
#include "video_vae/vae_impl.h"

static const char *const variants[] = {"t4s8c16", "t4s8c32", "t4s16c48", "t1s8c16", "t1s16c48"};

static void any_size_and_length(void **state)
{
    static const int size[][2] = {{1, 1}, {17, 9}, {16, 32}, {33, 40}};
    (void)state;
    for (int k = 0; k < 4; k++) {
        lk_vae *v = NULL;
        CHECK_OK(vae_toy_new(&v, variants[k], "group"));
        const lk_vae_shape s = lk_vae_get_shape(v);
        for (int n = 1; n <= 7; n++) {
            const int *hw = size[n % 4];
            const lk_vae_stream_config config = {hw[0], hw[1], LK_F32, 0};
            vae_toy_clip c;
            int seen = 0;
            CHECK_OK(vae_toy_round(&c, v, &config, n, -1));
            assert_int_equal(c.n_latents, lk_vae_n_latents(s.time, n));
            assert_int_equal(c.latent_numbers, (int64_t)((hw[0] + s.space - 1) / s.space) *
                                                   ((hw[1] + s.space - 1) / s.space) * s.channels);
            assert_int_equal(c.n_frames, n);
            assert_true(lk_vae_all_finite(c.frame, c.frame_numbers * n));
            for (int t = 0; t < n; t++) {
                const lk_span span = vae_toy_span(t);
                assert_memory_equal(&c.span[t], &span, sizeof span);
            }
            for (int i = 0; i < c.n_latents; i++) {
                lk_span spans[8];
                lk_vae_stamp stamp;
                for (int t = 0; t < n; t++)
                    spans[t] = vae_toy_span(t);
                CHECK_OK(lk_vae_stamp_of(s.time, n, spans, i, &stamp));
                assert_int_equal(c.stamp[i].n_frames, stamp.n_frames);
                assert_int_equal(c.stamp[i].skip, stamp.skip);
                assert_true(c.stamp[i].span.start == vae_toy_span(seen).start);
                seen += stamp.n_frames;
                assert_true(c.stamp[i].span.end == vae_toy_span(seen - 1).end);
                assert_true(stamp.span.end == c.stamp[i].span.end);
            }
            vae_toy_free(&c);
        }
        lk_vae_free(&v);
    }
}

static int same(const float *a, const float *b, int64_t n)
{
    return memcmp(a, b, (size_t)n * sizeof *a) == 0;
}

/* Frame 5 changes: latents of earlier frames do not, the latent of frame 5 does. */
static void nothing_of_the_future(void **state)
{
    static const char *const looks[] = {"group", "causal"};
    const lk_vae_stream_config config = {16, 16, LK_F32, 0};
    (void)state;
    for (int k = 0; k < 8; k++) {
        lk_vae *v = NULL;
        vae_toy_clip a, b;
        CHECK_OK(vae_toy_new(&v, variants[k / 2], looks[k % 2]));
        const int time = lk_vae_get_shape(v).time, first = time == 1 ? 5 : 2;
        const int n_before = 5; /* frames of the latents before */
        CHECK_OK(vae_toy_round(&a, v, &config, 9, -1));
        CHECK_OK(vae_toy_round(&b, v, &config, 9, 5));
        assert_true(same(a.latent, b.latent, a.latent_numbers * first));
        assert_true(same(a.log_var, b.log_var, a.latent_numbers * first));
        assert_true(same(a.frame, b.frame, a.frame_numbers * n_before));
        assert_false(same(a.latent + a.latent_numbers * first, b.latent + a.latent_numbers * first,
                          a.latent_numbers));
        for (int t = n_before; t < 9; t++)
            assert_false(same(a.frame + a.frame_numbers * t, b.frame + a.frame_numbers * t,
                              a.frame_numbers));
        vae_toy_free(&a);
        vae_toy_free(&b);
        lk_vae_free(&v);
    }
}

/* What one graph over the whole clip gives, as in training, is what the streams give. */
static void streams_equal_the_whole_clip(void **state)
{
    enum { N = 9, SIDE = 32 };
    const lk_vae_stream_config config = {SIDE, SIDE, LK_F32, 0};
    (void)state;
    for (int k = 0; k < 4; k++) {
        lk_vae *v = NULL;
        lk_graph *g = NULL;
        lk_var rgb, mean, log_var, y;
        vae_toy_clip c;
        float *in = NULL, *out = NULL;
        CHECK_OK(vae_toy_new(&v, variants[k], k ? "group" : "causal"));
        CHECK_OK(vae_toy_round(&c, v, &config, N, -1));
        const int time = v->shape.time, n = (int)(time * lk_vae_n_latents(time, N));
        CHECK_OK(LK_NEW_ARRAY(&in, c.frame_numbers * n));
        CHECK_OK(LK_NEW_ARRAY(&out, c.frame_numbers * n));
        for (int t = 0; t < n; t++)
            vae_toy_frame(1, t < time ? 0 : t - time + 1, SIDE, SIDE, in + t * c.frame_numbers);
        CHECK_OK(lk_graph_new(&g, &(lk_graph_config){.params = v->params}));
        rgb = lk_input(g, "rgb", LK_F32, LK_SHAPE(1, n, SIDE, SIDE, 3));
        lk_vae_encode_graph(g, NULL, &v->shape, rgb, &mean, &log_var);
        y = lk_vae_from_bands(g, &v->shape, lk_vae_decode_graph(g, NULL, &v->shape, mean));
        lk_output(g, "y", y);
        CHECK_OK(lk_graph_compile(g));
        CHECK_OK(lk_graph_write(g, rgb, LK_F32, in));
        CHECK_OK(lk_graph_run(g, 0));
        CHECK_OK(lk_graph_read(g, y, LK_F32, out));
        for (int64_t i = 0; i < c.frame_numbers * N; i++)
            CHECK_CLOSE(c.frame[i], out[i + c.frame_numbers * (time - 1)], 2e-5);
        lk_graph_free(&g);
        vae_toy_free(&c);
        lk_vae_free(&v);
        lk_free(in);
        lk_free(out);
    }
}

/* Two clips take turns, pieces of any length, 8 bits, other threads, a second clip after a reset.
 */
static void equal_bits_however_driven(void **state)
{
    enum { N = 10, SIDE = 24 };
    const int before = lk_threads();
    (void)state;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        const lk_vae_stream_config config = {SIDE, SIDE, bf16 ? LK_BF16 : LK_F32, 0};
        lk_vae *v = NULL;
        lk_vae_decoder *d[2] = {NULL, NULL};
        vae_toy_clip one, other;
        float rgb[SIDE * SIDE * 3];
        int at[2] = {0, 0}, pushed[2] = {0, 0};
        CHECK_OK(vae_toy_new(&v, "t4s8c16", "group"));
        CHECK_OK(vae_toy_round(&one, v, &config, N, -1));
        lk_threads_set(3);
        CHECK_OK(vae_toy_round(&other, v, &config, N, -1));
        assert_true(same(one.latent, other.latent, one.latent_numbers * one.n_latents));
        assert_true(same(one.frame, other.frame, one.frame_numbers * N));
        vae_toy_free(&other);
        lk_threads_set(before);
        CHECK_OK(vae_toy_round(&other, v, &config, N, 0));
        for (int k = 0; k < 2; k++)
            CHECK_OK(lk_vae_decoder_new(&d[k], v, &config));
        for (int turn = 0; turn < 200; turn++) {
            const int k = turn * 7 % 5 % 2, n = pushed[k];
            const vae_toy_clip *c = k ? &other : &one;
            lk_span span;
            int got;
            CHECK_OK(lk_vae_decoder_pull(d[k], rgb, &span, &got));
            if (got) {
                assert_true(same(rgb, c->frame + at[k] * c->frame_numbers, c->frame_numbers));
                assert_memory_equal(&span, &c->span[at[k]], sizeof span);
                at[k]++;
            } else if (n < c->n_latents) {
                CHECK_OK(
                    lk_vae_decoder_push(d[k], c->latent + n * c->latent_numbers, &c->stamp[n]));
                pushed[k]++;
            } else {
                assert_int_equal(at[k], N);
                CHECK_OK(lk_vae_decoder_reset(d[k]));
                at[k] = pushed[k] = 0;
            }
        }
        for (int k = 0; k < 2; k++)
            lk_vae_decoder_free(&d[k]);
        vae_toy_free(&one);
        vae_toy_free(&other);
        lk_vae_free(&v);
    }
}

/* Pictures of 8 bits are the same as their floats. */
static void eight_bits(void **state)
{
    enum { SIDE = 12, N = SIDE * SIDE * 3 };
    const lk_vae_stream_config config = {SIDE, SIDE, LK_F32, 0};
    lk_vae *v = NULL;
    lk_vae_encoder *e = NULL;
    lk_vae_decoder *d = NULL;
    uint8_t levels[N], back[N];
    float rgb[N], latent[2][2 * 2 * 16];
    lk_vae_stamp stamp;
    lk_span span;
    int got;
    (void)state;
    CHECK_OK(vae_toy_new(&v, "t1s8c16", "group"));
    CHECK_OK(lk_vae_encoder_new(&e, v, &config));
    CHECK_OK(lk_vae_decoder_new(&d, v, &config));
    for (int i = 0; i < N; i++) {
        levels[i] = (uint8_t)(i * 37);
        rgb[i] = (float)levels[i] * (2.0f / 255) - 1;
    }
    for (int k = 0; k < 2; k++) {
        CHECK_OK(lk_vae_encoder_reset(e));
        if (k)
            CHECK_OK(lk_vae_encoder_push(e, rgb, vae_toy_span(0)));
        else
            CHECK_OK(lk_vae_encoder_push_u8(e, levels, vae_toy_span(0)));
        CHECK_OK(lk_vae_encoder_pull(e, latent[k], NULL, &stamp, &got));
        assert_int_equal(got, 1);
    }
    assert_memory_equal(latent[0], latent[1], sizeof latent[0]);
    for (int k = 0; k < 2; k++) {
        CHECK_OK(lk_vae_decoder_reset(d));
        CHECK_OK(lk_vae_decoder_push(d, latent[0], &stamp));
        if (k)
            CHECK_OK(lk_vae_decoder_pull(d, rgb, &span, &got));
        else
            CHECK_OK(lk_vae_decoder_pull_u8(d, back, &span, &got));
        assert_int_equal(got, 1);
    }
    for (int i = 0; i < N; i++) {
        const double exact = (rgb[i] + 1) * 127.5;
        CHECK_CLOSE(back[i], exact < 0 ? 0 : exact > 255 ? 255 : exact, 0.5001);
    }
    lk_vae_encoder_free(&e);
    lk_vae_decoder_free(&d);
    lk_vae_free(&v);
}

/* Every latent of an axis belongs to one tile, `reach` away from that tile's cuts. */
static void tiles_cover(void **state)
{
    (void)state;
    for (int size = 1; size < 70; size++)
        for (int reach = 0; reach < 5; reach++)
            for (int tile = 2 * reach + 1; tile < 30; tile += 3) {
                lk_vae_axis a;
                int done = 0;
                CHECK_OK(lk_vae_axis_of(size, tile, reach, &a));
                for (int i = 0; i < a.n_tiles; i++) {
                    int start, from, to;
                    lk_vae_axis_tile(&a, i, &start, &from, &to);
                    assert_true(from == done && to > from);
                    assert_true(start >= 0 && start + a.tile <= size);
                    assert_true(start == 0 || from >= start + reach);
                    assert_true(start + a.tile == size || to <= start + a.tile - reach);
                    done = to;
                }
                assert_int_equal(done, size);
            }
    lk_vae_axis a;
    CHECK_FAILS(lk_vae_axis_of(9, 8, 4, &a), LK_E_ARG);
    CHECK_FAILS(lk_vae_axis_of(0, 8, 0, &a), LK_E_ARG);
}

static double largest_difference(const float *a, const float *b, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fabs((double)a[i] - b[i]) > most ? fabs((double)a[i] - b[i]) : most;
    return most;
}

/* The smallest tiles there are; both directions cut, memory carried over groups. */
static void tiles_have_no_seams(void **state)
{
    (void)state;
    for (int k = 0; k < 4; k += check_count(1, 3)) {
        lk_vae *v = NULL;
        vae_toy_clip whole, tiled;
        CHECK_OK(vae_toy_new(&v, variants[k], "group"));
        const lk_vae_shape s = lk_vae_get_shape(v);
        lk_vae_stream_config config = {17 * s.space - 3, 15 * s.space, LK_F32, 0};
        lk_vae_decoder *d = NULL;
        CHECK_OK(vae_toy_round(&whole, v, &config, 3, -1));
        config.tile =
            1 + 2 * (s.encoder_reach > s.decoder_reach ? s.encoder_reach : s.decoder_reach);
        CHECK_OK(vae_toy_round(&tiled, v, &config, 3, -1));
        assert_true(largest_difference(whole.latent, tiled.latent,
                                       whole.latent_numbers * whole.n_latents) < 1e-4);
        assert_true(largest_difference(whole.frame, tiled.frame, whole.frame_numbers * 3) < 1e-4);
        CHECK_OK(lk_vae_decoder_new(&d, v, &config));
        assert_true(lk_vae_decoder_size(d).n_tiles >= 4);
        lk_vae_decoder_free(&d);
        config.tile = 2 * s.decoder_reach;
        CHECK_FAILS(lk_vae_decoder_new(&d, v, &config), LK_E_ARG);
        vae_toy_free(&whole);
        vae_toy_free(&tiled);
        lk_vae_free(&v);
    }
}

/* On a still picture the memory of the layers settles, and then every group is the same bits. */
static void a_still_picture_stays(void **state)
{
    enum { SIDE = 16, N = SIDE * SIDE * 3, SETTLED = 8 };
    const lk_vae_stream_config config = {SIDE, SIDE, LK_F32, 0};
    (void)state;
    for (int k = 0; k < 4; k++) {
        lk_vae *v = NULL;
        lk_vae_encoder *e = NULL;
        lk_vae_decoder *d = NULL;
        float rgb[N], latent[4 * 48], frame[LK_VAE_MOST_TIME][N], shown[N];
        int n_latents = 0;
        CHECK_OK(vae_toy_new(&v, variants[k], "group"));
        CHECK_OK(lk_vae_encoder_new(&e, v, &config));
        CHECK_OK(lk_vae_decoder_new(&d, v, &config));
        vae_toy_frame(3, 0, SIDE, SIDE, rgb);
        for (int t = 0; t < 12 * v->shape.time; t++) {
            lk_vae_stamp stamp;
            lk_span span;
            int got;
            CHECK_OK(lk_vae_encoder_push(e, rgb, vae_toy_span(t)));
            CHECK_OK(lk_vae_encoder_pull(e, latent, NULL, &stamp, &got));
            if (!got)
                continue;
            CHECK_OK(lk_vae_decoder_push(d, latent, &stamp));
            for (int i = 0;; i++) {
                CHECK_OK(lk_vae_decoder_pull(d, shown, &span, &got));
                if (!got)
                    break;
                if (n_latents > SETTLED)
                    assert_memory_equal(shown, frame[i], sizeof shown);
                memcpy(frame[i], shown, sizeof shown);
            }
            n_latents++;
        }
        assert_true(n_latents > SETTLED + 1);
        lk_vae_encoder_free(&e);
        lk_vae_decoder_free(&d);
        lk_vae_free(&v);
    }
}

static void silly_input_is_refused(void **state)
{
    lk_vae *v = NULL;
    lk_vae_encoder *e = NULL;
    lk_vae_decoder *d = NULL;
    lk_vae_stream_config config = {8, 8, LK_F32, 0};
    float rgb[8 * 8 * 3] = {0}, latent[16] = {0};
    lk_vae_stamp stamp = {.n_frames = 1, .skip = 3};
    int got;
    (void)state;
    CHECK_OK(vae_toy_new(&v, "t4s8c16", "group"));
    config.height = 0;
    CHECK_FAILS(lk_vae_encoder_new(&e, v, &config), LK_E_ARG);
    config.height = LK_VAE_MOST_SIDE + 1;
    CHECK_FAILS(lk_vae_decoder_new(&d, v, &config), LK_E_ARG);
    config.height = 8;
    config.compute = LK_I32;
    CHECK_FAILS(lk_vae_decoder_new(&d, v, &config), LK_E_ARG);
    config.compute = LK_F32;
    CHECK_OK(lk_vae_encoder_new(&e, v, &config));
    CHECK_OK(lk_vae_decoder_new(&d, v, &config));
    CHECK_FAILS(lk_vae_encoder_finish(e), LK_E_EMPTY);
    CHECK_FAILS(lk_vae_encoder_push(e, rgb, (lk_span){5, 5}), LK_E_ARG);
    rgb[17] = NAN;
    CHECK_FAILS(lk_vae_encoder_push(e, rgb, (lk_span){0, 5}), LK_E_NUMERIC);
    rgb[17] = -INFINITY;
    CHECK_FAILS(lk_vae_encoder_push(e, rgb, (lk_span){0, 5}), LK_E_NUMERIC);
    rgb[17] = 0;
    CHECK_FAILS(lk_vae_encoder_finish(e), LK_E_EMPTY);
    CHECK_OK(lk_vae_encoder_push(e, rgb, (lk_span){0, 5}));
    CHECK_FAILS(lk_vae_encoder_push(e, rgb, (lk_span){5, 9}), LK_E_ARG);
    CHECK_OK(lk_vae_encoder_pull(e, latent, NULL, &stamp, &got));
    assert_int_equal(got, 1);
    CHECK_FAILS(lk_vae_encoder_push(e, rgb, (lk_span){0, 9}), LK_E_ARG);
    CHECK_OK(lk_vae_encoder_finish(e));
    CHECK_OK(lk_vae_encoder_pull(e, latent, NULL, &stamp, &got));
    assert_int_equal(got, 0);
    CHECK_OK(lk_vae_decoder_push(d, latent, &stamp));
    CHECK_FAILS(lk_vae_decoder_push(d, latent, &stamp), LK_E_ARG);
    CHECK_OK(lk_vae_decoder_reset(d));
    latent[3] = NAN;
    CHECK_FAILS(lk_vae_decoder_push(d, latent, &stamp), LK_E_NUMERIC);
    latent[3] = 0;
    stamp.n_frames = 2;
    CHECK_FAILS(lk_vae_decoder_push(d, latent, &stamp), LK_E_ARG);
    stamp.n_frames = stamp.skip = 0;
    CHECK_FAILS(lk_vae_decoder_push(d, latent, &stamp), LK_E_ARG);
    lk_vae_encoder_free(&e);
    lk_vae_encoder_free(&e);
    lk_vae_decoder_free(&d);
    lk_vae_decoder_free(&d);
    lk_vae_free(&v);
}

/* After the first group nothing is allocated, so memory cannot depend on the clip's length. */
static void memory_is_bounded(void **state)
{
    const lk_vae_stream_config config = {16, 24, LK_F32, 0};
    lk_vae *v = NULL;
    lk_vae_encoder *e = NULL;
    lk_vae_decoder *d = NULL;
    float rgb[16 * 24 * 3], latent[2 * 3 * 16];
    int64_t count = 0;
    (void)state;
    CHECK_OK(vae_toy_new(&v, "t4s8c16", "group"));
    CHECK_OK(lk_vae_encoder_new(&e, v, &config));
    CHECK_OK(lk_vae_decoder_new(&d, v, &config));
    assert_true(lk_vae_encoder_size(e).bytes > 0 && lk_vae_decoder_size(d).bytes > 0);
    for (int t = 0; t < 60; t++) {
        lk_vae_stamp stamp;
        lk_span span;
        int got;
        if (t == 1)
            count = lk_mem_count();
        vae_toy_frame(1, t, 16, 24, rgb);
        CHECK_OK(lk_vae_encoder_push(e, rgb, vae_toy_span(t)));
        CHECK_OK(lk_vae_encoder_pull(e, latent, NULL, &stamp, &got));
        if (got)
            CHECK_OK(lk_vae_decoder_push(d, latent, &stamp));
        for (got = 1; got;)
            CHECK_OK(lk_vae_decoder_pull(d, rgb, &span, &got));
    }
    assert_int_equal(lk_mem_count(), count);
    lk_vae_encoder_free(&e);
    lk_vae_decoder_free(&d);
    lk_vae_free(&v);
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    const lk_vae_stream_config config = {17 * 8, 8, LK_F32, 13};
    int fired = 1;
    for (int n = 1; fired; n += 1 + n / 8) {
        lk_vae *v = NULL;
        vae_toy_clip c = {0};
        lk_status st;
        lk_mem_fail_after(n);
        st = vae_toy_new(&v, "t1s8c16", "group");
        if (st == LK_OK)
            st = vae_toy_round(&c, v, &config, 2, -1);
        fired = lk_mem_fault_fired();
        lk_mem_fail_after(0);
        if (st != (fired ? LK_E_MEMORY : LK_OK))
            fail_msg("failure %d gave %s: %s", n, lk_status_name(st), lk_error_text());
        lk_error_clear();
        vae_toy_free(&c);
        lk_vae_free(&v);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_size_and_length),
        cmocka_unit_test(nothing_of_the_future),
        cmocka_unit_test(streams_equal_the_whole_clip),
        cmocka_unit_test(equal_bits_however_driven),
        cmocka_unit_test(eight_bits),
        cmocka_unit_test(tiles_cover),
        cmocka_unit_test(tiles_have_no_seams),
        cmocka_unit_test(a_still_picture_stays),
        cmocka_unit_test(silly_input_is_refused),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(every_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
