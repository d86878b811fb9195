/* test_worlds.c - worlds are functions of their arguments, and their truth is what is rendered. */
#include "tests/check.h"

#include "experiments/worlds/impacts.h"
#include "experiments/worlds/modal.h"
#include "experiments/worlds/worlds.h"
#include "kernels/mem.h"
#include "kernels/rng.h"

static lk_world_options defaults(void)
{
    lk_world_options o;
    lk_option_defaults(lk_world_option_rows, &o);
    o.width = 96;
    o.height = 72;
    return o;
}

static lk_world *make(const char *name, uint64_t seed, const lk_world_options *o)
{
    lk_world *w = NULL;
    CHECK_OK(lk_world_create(&w, name, seed, 0, o));
    return w;
}

static float *sound_of(const lk_world *w)
{
    float *x = NULL;
    const int64_t n = lk_world_n_samples(w);
    CHECK_OK(LK_NEW_ARRAY(&x, n));
    CHECK_OK(lk_world_render_sound(w, 0, n, x));
    return x;
}

static uint8_t *frame_of(const lk_world *w, int64_t frame)
{
    uint8_t *rgb = NULL;
    int width = 0, height = 0;
    lk_world_size(w, &width, &height);
    CHECK_OK(LK_NEW_ARRAY(&rgb, width * height * 3));
    CHECK_OK(lk_world_render_frame(w, frame, rgb));
    return rgb;
}

/* ---- functions of their arguments --------------------------------------------------------- */

static void every_world_is_random_access(void **state)
{
    (void)state;
    lk_world_options o = defaults();
    o.seconds = 2;
    o.camera = o.clutter = o.noise = o.overlap = true;
    for (const char *const *name = lk_world_names(); *name; name++) {
        lk_world *a = make(*name, 5, &o), *b = make(*name, 5, &o);
        const int64_t n = lk_world_n_samples(a), frames = lk_world_n_frames(a);
        const size_t bytes = 96 * 72 * 3;
        float *whole = sound_of(a), part[5000];
        assert_string_equal(lk_world_caption(a), lk_world_caption(b));
        assert_non_null(lk_world_summary(*name));
        /* The second world is rendered backwards and in odd chunks. */
        for (int64_t f = frames - 1; f >= 0; f -= 7) {
            uint8_t *x = frame_of(a, f), *y = frame_of(b, f);
            assert_memory_equal(x, y, bytes);
            lk_free(x);
            lk_free(y);
        }
        for (uint64_t k = 0; k < 20; k++) {
            const int64_t count = lk_rng_below(1, 0, k, 5000);
            const int64_t first = lk_rng_below(1, 1, k, (uint32_t)(n - count));
            CHECK_OK(lk_world_render_sound(b, first, count, part));
            assert_memory_equal(part, whole + first, (size_t)count * sizeof *part);
        }
        for (int64_t i = 0; i < n; i++)
            assert_true(fabsf(whole[i]) <= 1);
        lk_free(whole);
        lk_world_free(&a);
        lk_world_free(&b);
    }
}

static void seed_and_index_change_the_clip(void **state)
{
    (void)state;
    const lk_world_options o = defaults();
    for (const char *const *name = lk_world_names(); *name; name++) {
        lk_world *a = make(*name, 5, &o), *b = make(*name, 6, &o), *c = NULL;
        CHECK_OK(lk_world_create(&c, *name, 5, 1, &o));
        float *x = sound_of(a), *y = sound_of(b), *z = sound_of(c);
        const size_t bytes = (size_t)lk_world_n_samples(a) * sizeof *x;
        assert_memory_not_equal(x, y, bytes);
        assert_memory_not_equal(x, z, bytes);
        lk_free(x);
        lk_free(y);
        lk_free(z);
        lk_world_free(&a);
        lk_world_free(&b);
        lk_world_free(&c);
    }
}

/* What happens does not depend on how it is sampled. */
static void events_do_not_depend_on_sampling(void **state)
{
    (void)state;
    lk_world_options o = defaults(), p = defaults();
    p.width = 200;
    p.height = 320;
    p.rate_hz = 16000;
    p.fps = "vfr";
    p.camera = p.noise = p.clutter = true;
    for (const char *const *name = lk_world_names(); *name; name++) {
        lk_world *a = make(*name, 9, &o), *b = make(*name, 9, &p);
        assert_int_equal(lk_world_n_events(a), lk_world_n_events(b));
        assert_true(lk_world_n_events(a) > 3);
        for (int64_t i = 0; i < lk_world_n_events(a); i++) {
            lk_world_event x = lk_world_events(a)[i], y = lk_world_events(b)[i];
            x.place = y.place = (lk_place){0}; /* a ball in a narrow picture is smaller */
            assert_memory_equal(&x, &y, sizeof x);
        }
        lk_world_free(&a);
        lk_world_free(&b);
    }
}

/* ---- time --------------------------------------------------------------------------------- */

static void frames_touch_and_cover_the_clip(void **state)
{
    (void)state;
    static const char *const rates[] = {"25", "23.976", "29.97", "59.94", "12.5", "vfr"};
    for (size_t r = 0; r < sizeof rates / sizeof rates[0]; r++) {
        for (uint64_t seed = 0; seed < 4; seed++) {
            lk_world_options o = defaults();
            o.fps = rates[r];
            lk_world *w = make("impacts", seed, &o);
            const int64_t n = lk_world_n_frames(w);
            bool vfr = false, varies = false;
            const lk_rational rate = lk_world_frame_rate(w, &vfr);
            lk_span last = {0, 0};
            for (int64_t f = 0; f < n; f++) {
                const lk_span s = lk_world_frame_span(w, f);
                const double seconds = lk_flick_to_s(s.end - s.start);
                assert_true(s.start == last.end);
                varies = varies || (f > 0 && s.end - s.start != last.end - last.start);
                if (vfr)
                    assert_true(seconds > 1.0 / 61 && seconds < 1.0 / 14.9);
                else
                    CHECK_CLOSE(seconds, (double)rate.den / (double)rate.num, 1e-9);
                last = s;
            }
            assert_int_equal(vfr, strcmp(rates[r], "vfr") == 0);
            assert_int_equal(varies, vfr);
            CHECK_CLOSE(lk_flick_to_s(last.end), 10, 0.07);
            assert_int_equal(lk_world_n_samples(w), 480000);
            lk_world_free(&w);
        }
    }
}

static void truth_is_sorted_and_shifted(void **state)
{
    (void)state;
    lk_world_options o = defaults();
    o.seconds = 60;
    o.offset_ms = -140;
    o.drift_ppm = 250;
    for (const char *const *name = lk_world_names(); *name; name++) {
        lk_world *w = make(*name, 2, &o);
        const lk_world_event *e = lk_world_events(w);
        for (int64_t i = 0; i < lk_world_n_events(w); i++) {
            const double seen = lk_flick_to_s(e[i].picture.start);
            assert_true(i == 0 || e[i - 1].picture.start <= e[i].picture.start);
            assert_true(seen >= 0 && seen < 60 && e[i].picture.end >= e[i].picture.start);
            CHECK_CLOSE(lk_flick_to_s(e[i].sound.start), seen * (1 + 250e-6) - 0.140, 1e-8);
            CHECK_CLOSE(lk_flick_to_s(e[i].sound.end),
                        lk_flick_to_s(e[i].picture.end) * (1 + 250e-6) - 0.140, 1e-8);
        }
        lk_world_free(&w);
    }
}

/* ---- paths -------------------------------------------------------------------------------- */

/* Every impact is where a piece of a path ends and another one begins. */
static void paths_meet_at_impacts(void **state)
{
    (void)state;
    lk_world_options o = defaults();
    o.seconds = 8;
    for (uint64_t seed = 0; seed < 12; seed++) {
        lk_world *w = make("impacts", seed, &o);
        const lk_world_event *e = lk_world_events(w), *p = lk_world_paths(w);
        for (int64_t i = 0; i < lk_world_n_events(w); i++) {
            int met = 0;
            for (int64_t k = 0; k < lk_world_n_paths(w); k++)
                for (int end = 0; end < 2; end++)
                    if ((end ? p[k].picture.end : p[k].picture.start) == e[i].picture.start &&
                        fabs(p[k].place.x[end] - e[i].place.x[0]) < 1e-6 &&
                        fabs(p[k].place.y[end] - e[i].place.y[0]) < 1e-6)
                        met |= 1 << end;
            if (e[i].picture.start > 0)
                assert_int_equal(met, 3);
        }
        lk_world_free(&w);
    }
}

/* Pieces of one path follow each other from the first instant to the last, in a picture that runs
 * backwards too; a static one and one that is not seen have none. */
static void limbs_are_somewhere_all_the_time(void **state)
{
    (void)state;
    static const char *const limbs[] = {"head", "left hand", "right hand", "left foot",
                                        "right foot"};
    static const char *const controls[] = {"none", "reversed", "shuffled", "static"};
    lk_world_options o = defaults();
    o.seconds = 3;
    for (size_t c = 0; c < 4; c++) {
        o.control = controls[c];
        lk_world *w = make("dancer", 3, &o);
        const lk_world_event *p = lk_world_paths(w);
        for (size_t l = 0; l < 5 && c < 3; l++) {
            const lk_world_event *last = NULL;
            for (int64_t k = 0; k < lk_world_n_paths(w); k++) {
                if (strcmp(p[k].label, limbs[l]) != 0)
                    continue;
                assert_int_equal(p[k].kind, LK_EVENT_PATH);
                assert_true(p[k].sound.start == LK_FLICK_NONE);
                assert_true(p[k].picture.start == (last ? last->picture.end : 0));
                if (last)
                    CHECK_CLOSE(p[k].place.x[0], last->place.x[1], 1e-9);
                if (last)
                    CHECK_CLOSE(p[k].place.y[0], last->place.y[1], 1e-9);
                last = &p[k];
            }
            assert_non_null(last);
            assert_true(last->picture.end == 3 * LK_FLICKS_PER_S);
        }
        assert_int_equal(lk_world_n_paths(w) > 0, c < 3);
        lk_world_free(&w);
    }
}

/* A sound shifted by whole samples is the same sound. */
static void offset_moves_the_sound(void **state)
{
    (void)state;
    lk_world_options o = defaults();
    lk_world *w = make("impacts", 4, &o);
    o.offset_ms = 125;
    lk_world *late = make("impacts", 4, &o);
    float *x = sound_of(w), *y = sound_of(late);
    const int64_t shift = 6000;
    for (int64_t i = 0; i + shift < lk_world_n_samples(w); i++)
        CHECK_CLOSE(y[i + shift], x[i], 1e-4);
    lk_free(x);
    lk_free(y);
    lk_world_free(&w);
    lk_world_free(&late);
}

/* ---- truth against what is rendered ------------------------------------------------------- */

/* Every hit that nothing else rings into begins within a millisecond of its truth, with any offset,
 * drift and rate. */
static void sound_begins_when_truth_says(void **state)
{
    (void)state;
    static const int rates[] = {16000, 24000, 44100, 48000};
    int64_t checked = 0;
    for (uint64_t seed = 0; seed < 24; seed++) {
        lk_world_options o = defaults();
        o.rate_hz = rates[seed % 4];
        o.offset_ms = (double)lk_rng_below(3, 0, seed, 400) - 200;
        o.drift_ppm = (double)lk_rng_below(3, 1, seed, 1000) - 500;
        lk_world *w = make("impacts", seed, &o);
        float *x = sound_of(w);
        for (int64_t i = 0; i < lk_world_n_events(w); i++) {
            const lk_world_event *e = &lk_world_events(w)[i];
            const double t = lk_flick_to_s(e->sound.start) * o.rate_hz;
            const int64_t before = (int64_t)(0.010 * o.rate_hz), at = (int64_t)ceil(t);
            if (at - before < 0 || at + before >= lk_world_n_samples(w))
                continue;
            float quiet = 0, loud = 0;
            for (int64_t n = at - before; n < at; n++)
                quiet = fmaxf(quiet, fabsf(x[n]));
            for (int64_t n = at; n < at + before; n++)
                loud = fmaxf(loud, fabsf(x[n]));
            if (quiet > 0.02f * loud)
                continue; /* another body still rings */
            int64_t first = at;
            while (fabsf(x[first]) < 0.1f * loud)
                first++;
            assert_true((double)first - t < 0.001 * o.rate_hz);
            checked++;
        }
        lk_free(x);
        lk_world_free(&w);
    }
    assert_true(checked > 60);
}

/* The only ball of a clip, found as the centroid of what differs from an empty room. */
static lk_point ball_in(const uint8_t *rgb, const uint8_t *empty, int width, int height)
{
    double sum = 0, x = 0, y = 0;
    for (int j = 0; j < height; j++) {
        for (int i = 0; i < width; i++) {
            const size_t k = ((size_t)j * (size_t)width + (size_t)i) * 3;
            double d = 0;
            for (size_t c = 0; c < 3; c++)
                d += abs(rgb[k + c] - empty[k + c]);
            /* The shadow darkens without changing the hue much; a saturated ball stands out. */
            const int hue = abs((rgb[k] - rgb[k + 2]) - (empty[k] - empty[k + 2]));
            if (hue < 40)
                continue;
            sum += d;
            x += d * i;
            y += d * j;
        }
    }
    return sum > 0 ? (lk_point){x / sum / height, y / sum / height} : (lk_point){NAN, NAN};
}

/* Height of the ball over time by fitting each side of a bounce with a parabola of known gravity:
 * the two cross where the velocity flips, which must be the event. */
static bool bounce_time(const lk_world *w, double truth, const uint8_t *empty, double *found)
{
    double t[8], y[8];
    double line[2][2]; /* value at truth and slope, before and after */
    int width = 0, height = 0;
    lk_world_size(w, &width, &height);
    const int64_t first_after = (int64_t)ceil(truth * 100);
    if (first_after < 4 || first_after + 4 > lk_world_n_frames(w))
        return false;
    for (int k = 0; k < 8; k++) {
        const int64_t f = first_after - 4 + k;
        uint8_t *rgb = frame_of(w, f);
        const lk_point p = ball_in(rgb, empty, width, height);
        lk_free(rgb);
        t[k] = lk_flick_to_s(lk_world_frame_span(w, f).start) - truth;
        y[k] = p.y - LK_GRAVITY * t[k] * t[k] / 2;
        if (isnan(p.y) || p.x < 0.15 || p.x > (double)width / height - 0.15)
            return false;
    }
    for (int side = 0; side < 2; side++) {
        double st = 0, sy = 0, stt = 0, sty = 0;
        for (int k = 4 * side; k < 4 * side + 4; k++) {
            st += t[k];
            sy += y[k];
            stt += t[k] * t[k];
            sty += t[k] * y[k];
        }
        line[side][1] = (4 * sty - st * sy) / (4 * stt - st * st);
        line[side][0] = (sy - line[side][1] * st) / 4;
    }
    *found = truth + (line[1][0] - line[0][0]) / (line[0][1] - line[1][1]);
    return line[0][1] > 0.4 && line[1][1] < -0.4;
}

static void picture_bounces_when_truth_says(void **state)
{
    (void)state;
    int checked = 0;
    for (uint64_t seed = 0; seed < 200 && checked < 12; seed++) {
        lk_world_options o = defaults();
        o.fps = "100";
        o.width = 320;
        o.height = 240;
        o.offset_ms = 300; /* must not matter here */
        lk_world *w = make("impacts", seed, &o);
        if (strncmp(lk_world_caption(w), "a rubber ball bounces on ", 25) == 0 &&
            !strstr(lk_world_caption(w), "wall")) {
            /* The room without a ball: two equal frames, for nothing else moves. */
            uint8_t *empty = NULL;
            for (int64_t f = 0; f < lk_world_n_frames(w) && !empty; f++) {
                uint8_t *a = frame_of(w, f), *b = frame_of(w, (f + 3) % lk_world_n_frames(w));
                if (memcmp(a, b, 320 * 240 * 3) == 0) {
                    empty = a;
                    a = NULL;
                }
                lk_free(a);
                lk_free(b);
            }
            for (int64_t i = 0; i < lk_world_n_events(w) && empty && checked < 12; i++) {
                const double truth = lk_flick_to_s(lk_world_events(w)[i].picture.start);
                double found = 0;
                if (bounce_time(w, truth, empty, &found)) {
                    CHECK_CLOSE(found, truth, 0.003);
                    checked++;
                }
            }
            lk_free(empty);
        }
        lk_world_free(&w);
    }
    assert_true(checked >= 8);
}

static void sub_pixel_motion_is_seen(void **state)
{
    (void)state;
    uint8_t a[64 * 64 * 3], b[64 * 64 * 3];
    uint8_t *const pictures[2] = {a, b};
    double sum[2] = {0, 0};
    for (int k = 0; k < 2; k++) {
        lk_canvas c;
        CHECK_OK(lk_canvas_init(&c, 64, 64, pictures[k]));
        lk_draw_fill(&c, lk_rgb(0x000000), lk_rgb(0x000000));
        const double x = 0.5 + k * 0.1 / 64; /* a tenth of a pixel */
        const lk_point square[4] = {{x - 0.2, 0.3}, {x + 0.2, 0.3}, {x + 0.2, 0.7}, {x - 0.2, 0.7}};
        lk_draw_polygon(&c, square, 4, lk_rgb(0xffffff), lk_rgb(0xffffff));
        double weight = 0;
        for (int j = 0; j < 64; j++) {
            for (int i = 0; i < 64; i++) {
                sum[k] += pictures[k][(j * 64 + i) * 3] * (i + 0.5);
                weight += pictures[k][(j * 64 + i) * 3];
            }
        }
        CHECK_CLOSE(weight / 255, 0.16 * 64 * 64, 1);
        sum[k] /= weight;
        lk_canvas_clear(&c);
    }
    CHECK_CLOSE(sum[1] - sum[0], 0.1, 0.01);
}

/* ---- controls ----------------------------------------------------------------------------- */

static void controls_do_what_they_say(void **state)
{
    (void)state;
    lk_world_options o = defaults();
    for (const char *const *name = lk_world_names(); *name; name++) {
        o.control = "none";
        lk_world *plain = make(*name, 3, &o);
        o.control = "silent";
        lk_world *silent = make(*name, 3, &o);
        o.control = "static";
        lk_world *frozen = make(*name, 3, &o);
        o.control = "shuffled";
        lk_world *shuffled = make(*name, 3, &o);
        o.control = "reversed";
        lk_world *reversed = make(*name, 3, &o);
        const int64_t n = lk_world_n_samples(plain);
        const size_t bytes = 96 * 72 * 3;
        float *x = sound_of(plain), *zero = sound_of(silent), *other = sound_of(shuffled);
        float *same = sound_of(reversed);
        for (int64_t i = 0; i < n; i++)
            assert_true(zero[i] == 0);
        assert_memory_equal(x, same, (size_t)n * sizeof *x);
        assert_memory_not_equal(x, other, (size_t)n * sizeof *x);
        uint8_t *first = frame_of(plain, 0), *late = frame_of(frozen, 200);
        uint8_t *p50 = frame_of(plain, 50), *r200 = frame_of(reversed, 200);
        uint8_t *s50 = frame_of(shuffled, 50);
        assert_memory_equal(first, late, bytes);
        assert_memory_equal(p50, r200, bytes);
        assert_memory_equal(p50, s50, bytes);
        lk_world *const all[] = {silent, frozen, shuffled, reversed};
        int64_t seen[4] = {0}, heard[4] = {0};
        for (int k = 0; k < 4; k++) {
            for (int64_t i = 0; i < lk_world_n_events(all[k]); i++) {
                const lk_world_event *e = &lk_world_events(all[k])[i];
                seen[k] += e->picture.start != LK_FLICK_NONE;
                heard[k] += e->sound.start != LK_FLICK_NONE;
                assert_true((e->picture.start == LK_FLICK_NONE) !=
                            (e->sound.start == LK_FLICK_NONE));
            }
        }
        const int64_t events = lk_world_n_events(plain);
        assert_true(seen[0] == events && heard[0] == 0 && seen[1] == 0 && heard[1] == events);
        assert_true(seen[2] == events && heard[2] > 0 && seen[3] == events && heard[3] == events);
        uint8_t *const pictures[] = {first, late, p50, r200, s50};
        for (int k = 0; k < 5; k++)
            lk_free(pictures[k]);
        lk_free(x);
        lk_free(zero);
        lk_free(other);
        lk_free(same);
        lk_world_free(&plain);
        for (int k = 0; k < 4; k++) {
            lk_world *w = all[k];
            lk_world_free(&w);
        }
    }
}

/* ---- sound bodies and errors -------------------------------------------------------------- */

static void materials_ring_and_end(void **state)
{
    (void)state;
    const lk_sound_grid grid = {48000, 0, 1};
    float block[LK_WORLD_BLOCK];
    for (int m = 0; m < LK_N_MATERIALS; m++) {
        lk_modal_body body;
        double energy = 0;
        lk_modal_make(&body, (lk_material)m, 1, 7);
        assert_true(body.n >= 3 && body.length_s < 6);
        memset(block, 0, sizeof block);
        lk_modal_add(&body, 1, 0.001, 0.5, &grid, 0, block);
        for (int i = 0; i < 48; i++)
            assert_true(block[i] == 0); /* nothing before the hit */
        for (int i = 48; i < LK_WORLD_BLOCK; i++)
            energy += (double)block[i] * block[i];
        assert_true(energy > 0.05);
        memset(block, 0, sizeof block);
        const int64_t end = (int64_t)((body.length_s + 0.01) * 48000);
        lk_modal_add(&body, 1, 0.001, 0.5, &grid, end / LK_WORLD_BLOCK * LK_WORLD_BLOCK, block);
        for (int i = 0; i < LK_WORLD_BLOCK; i++)
            assert_true(fabsf(block[i]) < 1e-3f);
    }
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    lk_world *w = NULL;
    lk_world_options o = defaults();
    assert_int_equal(lk_world_create(&w, "impact", 1, 0, &o), LK_E_ARG);
    assert_non_null(strstr(lk_error_text(), "'impacts'"));
    lk_error_clear();
    assert_null(w);
    lk_world_options bad[8];
    for (int i = 0; i < 8; i++)
        bad[i] = o;
    bad[0].seconds = 0;
    bad[1].fps = "fast";
    bad[2].width = 4;
    bad[3].rate_hz = 44000 + 7;
    bad[4].offset_ms = NAN;
    bad[5].drift_ppm = 1e6;
    bad[6].control = "loud";
    bad[7].height = -240;
    for (int i = 0; i < 8; i++)
        CHECK_FAILS(lk_world_create(&w, "impacts", 1, 0, &bad[i]), LK_E_ARG);
    CHECK_OK(lk_world_create(&w, "impacts", 1, 0, &o));
    float x[8];
    uint8_t rgb[3];
    CHECK_FAILS(lk_world_render_sound(w, 480000 - 4, 8, x), LK_E_ARG);
    CHECK_FAILS(lk_world_render_sound(w, -1, 8, x), LK_E_ARG);
    CHECK_FAILS(lk_world_render_frame(w, 250, rgb), LK_E_ARG);
    CHECK_FAILS(lk_world_render_frame(w, -1, rgb), LK_E_ARG);
    lk_world_free(&w);
    lk_world_free(&w);
    lk_world_free(NULL);
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    lk_world_options o = defaults();
    o.control = "shuffled";
    o.fps = "vfr";
    for (const char *const *name = lk_world_names(); *name; name++) {
        int64_t n = 1;
        for (;; n += n < 20 ? 1 : 7) {
            lk_world *w = NULL;
            lk_mem_fail_after(n);
            const lk_status st = lk_world_create(&w, *name, 1, 0, &o);
            const int fired = lk_mem_fault_fired();
            lk_mem_fail_after(0);
            assert_int_equal(st, fired ? LK_E_MEMORY : LK_OK);
            assert_int_equal(w != NULL, !fired);
            lk_error_clear();
            lk_world_free(&w);
            if (!fired)
                break;
        }
        assert_true(n > 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_world_is_random_access),
        cmocka_unit_test(seed_and_index_change_the_clip),
        cmocka_unit_test(events_do_not_depend_on_sampling),
        cmocka_unit_test(frames_touch_and_cover_the_clip),
        cmocka_unit_test(truth_is_sorted_and_shifted),
        cmocka_unit_test(paths_meet_at_impacts),
        cmocka_unit_test(limbs_are_somewhere_all_the_time),
        cmocka_unit_test(offset_moves_the_sound),
        cmocka_unit_test(sound_begins_when_truth_says),
        cmocka_unit_test(picture_bounces_when_truth_says),
        cmocka_unit_test(sub_pixel_motion_is_seen),
        cmocka_unit_test(controls_do_what_they_say),
        cmocka_unit_test(materials_ring_and_end),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
