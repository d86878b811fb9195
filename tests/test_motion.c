/* test_motion.c - shrinking, camera, block motion, and impacts on their true times. */
#include "tests/check.h"

#include "align/features.h"
#include "align/motion.h"
#include "kernels/rng.h"

#define W 160
#define H 120

/* Smooth random texture, 0..1, defined everywhere. */
static float texture(float x, float y)
{
    float v = 0.5f;
    for (int i = 0; i < 6; i++) {
        const float a = lk_rng_uniform(5, 1, (uint64_t)i) * 6.28f;
        const float f = 0.15f + 0.5f * lk_rng_uniform(5, 2, (uint64_t)i);
        v += 0.12f * sinf(f * (x * cosf(a) + y * sinf(a)) + 7 * a);
    }
    return v;
}

static uint8_t to_byte(float v)
{
    return (uint8_t)(v <= 0 ? 0 : v >= 1 ? 255 : v * 255 + 0.5f);
}

static void fill_texture(lk_small_picture *p, float dx, float dy)
{
    p->width = W;
    p->height = H;
    for (int y = 0; y < H; y++) {
        for (int x = 0; x < W; x++)
            p->luma[y * W + x] = to_byte(texture((float)x - dx, (float)y - dy));
    }
}

/* A textured disc on a plain ground. */
static void draw_disc(uint8_t *luma, float cx, float cy, float r)
{
    for (int y = 0; y < H; y++) {
        for (int x = 0; x < W; x++) {
            const float dx = (float)x - cx, dy = (float)y - cy;
            const float d = sqrtf(dx * dx + dy * dy);
            const float cover = fminf(fmaxf(r - d + 0.5f, 0), 1);
            const float ground = 0.3f + 0.1f * (float)y / H;
            luma[y * W + x] = to_byte(ground + cover * (0.2f + 0.6f * texture(dx, dy) - ground));
        }
    }
}

static lk_frame_view view_of(const uint8_t *luma, lk_flick start, lk_flick end, int64_t index)
{
    const lk_frame_view v = {.span = {start, end},
                             .index = index,
                             .width = W,
                             .height = H,
                             .sar = {1, 1},
                             .luma = luma,
                             .luma_stride = W,
                             .luma_full_range = 1};
    return v;
}

static void shrinking_averages_and_keeps_aspect(void **state)
{
    (void)state;
    static uint8_t big[720 * 1280];
    static lk_small_picture small;
    for (int y = 0; y < 720; y++) {
        for (int x = 0; x < 1280; x++)
            big[y * 1280 + x] = (uint8_t)((x / 8 + y / 8) % 200);
    }
    const lk_frame_view f = {
        .width = 1280, .height = 720, .sar = {1, 1}, .luma = big, .luma_stride = 1280};
    int w = 0, h = 0;
    lk_small_size(&f, &w, &h);
    assert_int_equal(w, 160);
    assert_int_equal(h, 90);
    lk_small_from_frame(&f, w, h, &small);
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++)
            assert_int_equal(small.luma[y * w + x], (x + y) % 200);
    }
    const lk_frame_view tall = {.width = 1080, .height = 1920, .sar = {1, 1}};
    lk_small_size(&tall, &w, &h);
    assert_int_equal(w, 90);
    assert_int_equal(h, 160);
    const lk_frame_view wide = {.width = 720, .height = 576, .sar = {64, 45}};
    lk_small_size(&wide, &w, &h);
    assert_int_equal(w, 160);
    assert_int_equal(h, 90);
    const lk_frame_view tiny = {.width = 2, .height = 2, .sar = {0, 1}};
    lk_small_size(&tiny, &w, &h);
    assert_true(w >= 2 * LK_BLOCK && h >= 2 * LK_BLOCK);
}

static void camera_shift_is_found_and_removed(void **state)
{
    (void)state;
    static lk_small_picture a, b, back;
    const float shifts[][2] = {{0, 0}, {2, 0}, {-3.5f, 1.25f}, {5, -4}, {0.5f, 0.5f}};
    fill_texture(&a, 0, 0);
    for (size_t i = 0; i < sizeof shifts / sizeof shifts[0]; i++) {
        lk_camera_motion m;
        fill_texture(&b, shifts[i][0], shifts[i][1]);
        lk_camera_estimate(&a, &b, &m);
        CHECK_CLOSE(m.dx, shifts[i][0], 0.2);
        CHECK_CLOSE(m.dy, shifts[i][1], 0.2);
        CHECK_CLOSE(m.zoom, 0, 0.003);
        CHECK_CLOSE(m.roll, 0, 0.003);
        lk_camera_undo(&b, &m, &back);
        assert_true(lk_picture_change(&a, &back, NULL) < 4);
    }
}

static void blocks_follow_a_moving_disc(void **state)
{
    (void)state;
    static lk_small_picture a, b;
    static lk_motion_field field;
    const float moves[][2] = {{3, 0}, {0, -4}, {2.5f, 1.5f}, {-6, 5}};
    a.width = b.width = W;
    a.height = b.height = H;
    for (size_t i = 0; i < sizeof moves / sizeof moves[0]; i++) {
        draw_disc(a.luma, 80, 60, 14);
        draw_disc(b.luma, 80 + moves[i][0], 60 + moves[i][1], 14);
        lk_motion_estimate(&a, &b, NULL, 1.0f, &field);
        double sx = 0, sy = 0, w = 0;
        int still = 0;
        for (int k = 0; k < field.columns * field.rows; k++) {
            sx += (double)(field.block[k].weight * field.block[k].dx);
            sy += (double)(field.block[k].weight * field.block[k].dy);
            w += (double)field.block[k].weight;
            still += field.block[k].still;
        }
        assert_true(w > 5);
        assert_true(still > field.columns * field.rows / 2);
        CHECK_CLOSE(sx / w, moves[i][0], 0.5);
        CHECK_CLOSE(sy / w, moves[i][1], 0.5);
    }
}

/* Height of a ball over the floor: it falls so that it hits at hit_s and rebounds at 70 %. */
static float bounce(double t, double hit_s)
{
    const double d = t - hit_s, v = 180, g = 300;
    return (float)((d < 0 ? -v * d : 0.7 * v * d) - 0.5 * g * d * d);
}

/* Features of a disc that bounces at hit_s. */
static void bounce_features(double fps, double hit_s, bool irregular, lk_features *f)
{
    static uint8_t luma[W * H];
    lk_video_extractor *x = NULL;
    CHECK_OK(lk_video_extractor_create(&x, false));
    double t = 0;
    for (int64_t k = 0; k < 24; k++) {
        const double step =
            irregular ? (0.6 + 0.8 * (double)lk_rng_uniform(9, 0, (uint64_t)k)) / fps : 1 / fps;
        draw_disc(luma, 70 + (float)(t * 8), 95 - bounce(t, hit_s), 10);
        const lk_frame_view v = view_of(luma, lk_flick_from_s(t), lk_flick_from_s(t + step), k);
        CHECK_OK(lk_video_extractor_push(x, &v));
        t += step;
    }
    CHECK_OK(lk_video_extractor_finish(x, &f->video));
    lk_video_extractor_free(&x);
}

/* Centroid of the impact series around the bounce, and the heaviest hit. */
static double impact_time(double fps, double hit_s, bool irregular, double *exact_s)
{
    lk_features f = {.seed = 0};
    bounce_features(fps, hit_s, irregular, &f);
    double sum = 0, mass = 0, top = 0;
    for (int64_t k = 0; k < f.video.n; k++)
        top = fmax(top, (double)f.video.impact[k]);
    for (int64_t k = 0; k < f.video.n; k++) {
        const double at = lk_flick_to_s(f.video.spans[k].start);
        const double w = fmax(0, (double)f.video.impact[k] - 0.15 * top);
        if (fabs(at - hit_s) < 2.5 / fps) {
            sum += w * at;
            mass += w;
        }
    }
    const lk_hit *best = NULL;
    for (int64_t i = 0; i < f.video.n_hits; i++) {
        const lk_hit *h = &f.video.hits[i];
        assert_true(i == 0 || h->t_s >= h[-1].t_s);
        best = !best || h->weight > best->weight ? h : best;
    }
    *exact_s = best ? best->t_s : NAN;
    lk_features_clear(&f);
    return mass > 0 ? sum / mass : NAN;
}

static void impacts_fall_on_their_true_time_between_frames(void **state)
{
    (void)state;
    const double rates[] = {24, 25, 30, 60, 25};
    for (size_t r = 0; r < 5; r++) {
        const bool irregular = r == 4;
        double bias = 0, worst = 0, exact_bias = 0, exact_worst = 0, exact = NAN;
        for (int i = 0; i < 8; i++) {
            const double hit = 0.25 + (double)i / (8 * rates[r]);
            const double e = 1e3 * (impact_time(rates[r], hit, irregular, &exact) - hit);
            const double d = 1e3 * (exact - hit);
            bias += e / 8;
            worst = fmax(worst, fabs(e));
            exact_bias += d / 8;
            exact_worst = isnan(d) ? INFINITY : fmax(exact_worst, fabs(d));
        }
        print_message("%g fps%s: series %+.2f ms, worst %.2f; hits %+.2f ms, worst %.2f\n",
                      rates[r], irregular ? ", irregular" : "", bias, worst, exact_bias,
                      exact_worst);
        CHECK_CLOSE(bias, 0, irregular ? 3 : 1.5);
        assert_true(irregular || worst < 10);
        CHECK_CLOSE(exact_bias, 0, 0.5);
        assert_true(exact_worst < 2);
    }
}

static float heaviest_hit(const lk_video_features *v)
{
    float most = 0;
    for (int64_t i = 0; i < v->n_hits; i++)
        most = fmaxf(most, v->hits[i].weight);
    return most;
}

/* What speeds up and slows down smoothly is not hit; blocks at its edge may seem so. */
static void a_swing_has_hardly_any_hits(void **state)
{
    (void)state;
    static uint8_t luma[W * H];
    lk_video_extractor *x = NULL;
    lk_features f = {.seed = 0};
    CHECK_OK(lk_video_extractor_create(&x, false));
    for (int64_t k = 0; k < 60; k++) {
        const double t = (double)k / 30;
        draw_disc(luma, 80 + 40 * (float)sin(5 * t), 60, 10);
        const lk_frame_view v = view_of(luma, lk_flick_from_s(t), lk_flick_from_s(t + 1.0 / 30), k);
        CHECK_OK(lk_video_extractor_push(x, &v));
    }
    CHECK_OK(lk_video_extractor_finish(x, &f.video));
    lk_features bounced = {.seed = 0};
    bounce_features(30, 0.26, false, &bounced);
    print_message("heaviest hit: bounce %g, swing %g\n", (double)heaviest_hit(&bounced.video),
                  (double)heaviest_hit(&f.video));
    assert_true(heaviest_hit(&f.video) < 0.2F * heaviest_hit(&bounced.video));
    lk_features_clear(&bounced);
    lk_video_extractor_free(&x);
    lk_features_clear(&f);
}

static void still_and_empty_input(void **state)
{
    (void)state;
    static uint8_t luma[W * H];
    lk_video_extractor *x = NULL;
    lk_features f = {.seed = 0};
    CHECK_OK(lk_video_extractor_create(&x, true));
    CHECK_OK(lk_video_extractor_finish(x, &f.video));
    assert_false(f.video.present);
    lk_features_clear(&f);
    draw_disc(luma, 80, 60, 12);
    for (int64_t k = 0; k < 10; k++) {
        const lk_frame_view v =
            view_of(luma, k * LK_FLICKS_PER_S / 25, (k + 1) * LK_FLICKS_PER_S / 25, k);
        CHECK_OK(lk_video_extractor_push(x, &v));
    }
    CHECK_OK(lk_video_extractor_finish(x, &f.video));
    assert_int_equal(f.video.n, 10);
    for (int64_t k = 0; k < 10; k++) {
        assert_true(f.video.change[k] == 0 && f.video.impact[k] == 0 && f.video.speed[k] == 0);
        assert_int_equal(f.video.cut[k], 0);
    }
    const lk_frame_view none = {.width = 4, .height = 4};
    CHECK_FAILS(lk_video_extractor_push(x, &none), LK_E_ARG);
    lk_video_extractor_free(&x);
    lk_video_extractor_free(&x);
    lk_features_clear(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shrinking_averages_and_keeps_aspect),
        cmocka_unit_test(camera_shift_is_found_and_removed),
        cmocka_unit_test(blocks_follow_a_moving_disc),
        cmocka_unit_test(impacts_fall_on_their_true_time_between_frames),
        cmocka_unit_test(a_swing_has_hardly_any_hits),
        cmocka_unit_test(still_and_empty_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
