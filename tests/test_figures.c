/* test_figures.c - the voice and the mouth say the same thing at the same instant, and the dancer
 * moves on the beat that is heard. */
#include "tests/check.h"

#include "experiments/worlds/dance.h"
#include "experiments/worlds/music.h"
#include "experiments/worlds/voice.h"
#include "experiments/worlds/worlds.h"
#include "kernels/mem.h"
#include "kernels/rng.h"

#define RATE 48000

/* ---- talker ------------------------------------------------------------------------------- */

static lk_voice *voice_of(uint64_t seed, double end_s)
{
    const lk_voice_options o = {.seed = seed,
                                .start_s = 0,
                                .end_s = end_s,
                                .pitch_hz = seed % 2 ? 110 : 210,
                                .tract = seed % 2 ? 1 : 1.15,
                                .pace = 1};
    lk_voice *v = NULL;
    CHECK_OK(lk_voice_create(&v, &o));
    return v;
}

static float *voice_sound(const lk_voice *v, const lk_sound_grid *grid, int64_t blocks)
{
    float *x = NULL;
    CHECK_OK(LK_NEW_ARRAY(&x, blocks * LK_WORLD_BLOCK));
    for (int64_t b = 0; b < blocks; b++)
        lk_voice_sound(v, grid, b * LK_WORLD_BLOCK, x + b * LK_WORLD_BLOCK);
    return x;
}

static double rms(const float *x, int64_t from, int64_t to)
{
    double sum = 0;
    for (int64_t i = from; i < to; i++)
        sum += (double)x[i] * x[i];
    return to > from ? sqrt(sum / (double)(to - from)) : 0;
}

static void lips_close_and_sound_stops_in_truth_span(void **state)
{
    (void)state;
    int stops = 0, murmurs = 0;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        const int64_t blocks = 10 * RATE / LK_WORLD_BLOCK;
        lk_voice *v = voice_of(seed, 11);
        const lk_sound_grid grid = {.rate_hz = RATE, .stretch = 1};
        float *x = voice_sound(v, &grid, blocks);
        const double loud = rms(x, 0, blocks * LK_WORLD_BLOCK);
        assert_true(loud > 0.02 && loud < 0.4);
        for (int64_t i = 0; i + 1 < lk_voice_n_phones(v); i++) {
            const lk_phone p = lk_voice_phone(v, i);
            const int64_t from = (int64_t)ceil(p.start_s * RATE);
            const int64_t to = (int64_t)floor(p.end_s * RATE);
            if (!p.lips_closed || to > blocks * LK_WORLD_BLOCK)
                continue;
            for (double t = p.start_s; t < p.end_s; t += 0.001)
                assert_true(lk_voice_mouth(v, t).opening == 0);
            const lk_phone next = lk_voice_phone(v, i + 1);
            if (next.start_s == p.end_s && !next.lips_closed)
                assert_true(lk_voice_mouth(v, p.end_s + 0.004).opening > 0);
            if (p.stop) {
                assert_true(rms(x, from, to) < 1e-3 * loud);
                if (!next.stop && !next.lips_closed)
                    assert_true(rms(x, to, to + RATE / 100) > 0.05 * loud); /* the burst */
                stops++;
            } else {
                assert_true(rms(x, from, to) < 0.6 * loud);
                assert_true(rms(x, from, to) > 0.01 * loud);
                murmurs++;
            }
        }
        lk_free(x);
        lk_voice_free(&v);
    }
    assert_true(stops > 20 && murmurs > 8);
}

static void syllables_come_at_the_pace_of_speech(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        lk_voice *v = voice_of(seed, 60);
        double spoken = 0;
        int vowels = 0, pauses = 0;
        for (int64_t i = 0; i < lk_voice_n_phones(v); i++) {
            const lk_phone p = lk_voice_phone(v, i);
            spoken += p.end_s - p.start_s;
            vowels += p.vowel;
            pauses += i > 0 && p.start_s - lk_voice_phone(v, i - 1).end_s > 0.2;
            assert_true(p.strength > 0 && p.strength <= 1 && p.end_s - p.start_s > 0.04);
        }
        const double rate = vowels / spoken;
        if (rate < 4 || rate > 5)
            fail_msg("%.2f syllables a second", rate);
        assert_true(pauses > 10 && pauses < 40);
        lk_voice_free(&v);
    }
}

/* Correlation of a and b shifted by lag, over the part both have. */
static double correlation(const double *a, const double *b, int n, int lag)
{
    double sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
    int count = 0;
    for (int i = 0; i < n; i++) {
        const int j = i + lag;
        if (j < 0 || j >= n)
            continue;
        sa += a[i], sb += b[j], saa += a[i] * a[i], sbb += b[j] * b[j], sab += a[i] * b[j];
        count++;
    }
    const double cov = sab - sa * sb / count;
    return cov / sqrt((saa - sa * sa / count) * (sbb - sb * sb / count));
}

static int best_lag(const double *a, const double *b, int n, double *peak)
{
    int best = 0;
    *peak = -2;
    for (int lag = -150; lag <= 150; lag++) {
        const double r = correlation(a, b, n, lag);
        if (r > *peak) {
            *peak = r;
            best = lag;
        }
    }
    return best;
}

/* Both the loudness parameter and the envelope of the samples themselves follow the opening. */
static void mouth_opening_and_sound_do_not_lead_or_lag(void **state)
{
    (void)state;
    enum { N = 20000 };
    static double opening[N], loudness[N], envelope[N];
    for (uint64_t seed = 1; seed <= 5; seed++) {
        const int64_t blocks = (int64_t)RATE * N / 1000 / LK_WORLD_BLOCK;
        lk_voice *v = voice_of(seed, 22);
        const lk_sound_grid grid = {.rate_hz = RATE, .stretch = 1};
        float *x = voice_sound(v, &grid, blocks);
        const int n = (int)(blocks * LK_WORLD_BLOCK * 1000 / RATE) - 20;
        for (int i = 0; i < n; i++) {
            const int64_t at = (int64_t)i * RATE / 1000;
            opening[i] = lk_voice_mouth(v, i / 1000.0).opening;
            loudness[i] = lk_voice_loudness(v, i / 1000.0);
            envelope[i] = i < 12 ? 0 : rms(x, at - 12 * RATE / 1000, at + 12 * RATE / 1000);
        }
        double peak = 0;
        const int lag = best_lag(opening, loudness, n, &peak);
        if (abs(lag) >= 5 || peak < 0.85)
            fail_msg("loudness is %d ms late, r = %.3f", lag, peak);
        const int heard = best_lag(opening, envelope, n, &peak);
        if (abs(heard) >= 5 || peak < 0.75)
            fail_msg("sound is %d ms late, r = %.3f", heard, peak);
        print_message("voice %d: loudness %d ms, sound %d ms, r = %.3f\n", (int)seed, lag, heard,
                      peak);
        lk_free(x);
        lk_voice_free(&v);
    }
}

static void voice_sounds_the_same_at_any_rate_and_shift(void **state)
{
    (void)state;
    lk_voice *v = voice_of(3, 4);
    const lk_sound_grid plain = {.rate_hz = RATE, .stretch = 1};
    const lk_sound_grid late = {.rate_hz = RATE, .offset_s = 100.0 / RATE, .stretch = 1};
    const int64_t blocks = 3 * RATE / LK_WORLD_BLOCK;
    float *a = voice_sound(v, &plain, blocks), *b = voice_sound(v, &late, blocks);
    float *c = voice_sound(v, &plain, blocks);
    const size_t n = (size_t)(blocks * LK_WORLD_BLOCK);
    assert_memory_equal(a, c, n * sizeof *a);
    for (size_t i = 100; i < n; i++)
        CHECK_CLOSE(b[i], a[i - 100], 5e-4);
    lk_free(a);
    lk_free(b);
    lk_free(c);
    lk_voice_free(&v);
}

static lk_world *world_of(const char *name, uint64_t index, double seconds, int size)
{
    lk_world_options o;
    lk_world *w = NULL;
    lk_option_defaults(lk_world_option_rows, &o);
    o.width = o.height = size;
    o.seconds = seconds;
    CHECK_OK(lk_world_create(&w, name, 7, index, &o));
    return w;
}

/* Pixels that differ between the widest and the closed mouth lie in the lower half of the face. */
static void a_wide_mouth_is_seen(void **state)
{
    (void)state;
    lk_world *w = world_of("talker", 1, 10, 160);
    const int64_t frames = lk_world_n_frames(w), n_events = lk_world_n_events(w);
    const lk_world_event *e = lk_world_events(w);
    int64_t wide = -1, shut = -1;
    for (int64_t k = 0; k < frames; k++) {
        const lk_flick t = lk_world_frame_span(w, k).start;
        for (int64_t i = 0; i < n_events; i++) {
            const lk_flick middle = (e[i].picture.start + e[i].picture.end) / 2;
            const bool near = llabs(t - middle) < LK_FLICKS_PER_S / 50;
            if (near && strchr("pbm", e[i].label[0]))
                shut = k;
            if (near && e[i].strength > 0.75)
                wide = k;
        }
    }
    assert_true(wide >= 0 && shut >= 0);
    const size_t bytes = 160 * 160 * 3;
    uint8_t *a = NULL, *b = NULL;
    CHECK_OK(LK_NEW_ARRAY(&a, bytes));
    CHECK_OK(LK_NEW_ARRAY(&b, bytes));
    CHECK_OK(lk_world_render_frame(w, wide, a));
    CHECK_OK(lk_world_render_frame(w, shut, b));
    int dark = 0; /* pixels of the dark inside of the mouth that the closed mouth lacks */
    for (size_t y = 85; y < 130; y++) {
        for (size_t x = 55; x < 105; x++)
            dark += a[(y * 160 + x) * 3] + 50 < b[(y * 160 + x) * 3];
    }
    assert_true(dark > 25);
    lk_free(a);
    lk_free(b);
    lk_world_free(&w);
}

/* From the rendered clip alone: dark pixels between the lips against the loudness of the samples.
 */
static void rendered_mouth_and_sound_agree(void **state)
{
    (void)state;
    enum { SIZE = 112, FPS = 100, SECONDS = 8, N = FPS * SECONDS };
    static uint8_t rgb[SIZE * SIZE * 3];
    static double seen[10 * N], heard[10 * N];
    lk_world_options o;
    lk_world *w = NULL;
    float *x = NULL;
    lk_option_defaults(lk_world_option_rows, &o);
    o.width = o.height = SIZE;
    o.seconds = SECONDS;
    o.fps = "100";
    CHECK_OK(lk_world_create(&w, "talker", 7, 1, &o));
    const int64_t n = lk_world_n_samples(w);
    CHECK_OK(LK_NEW_ARRAY(&x, n));
    CHECK_OK(lk_world_render_sound(w, 0, n, x));
    for (int k = 0; k < N; k++) {
        int open = 0;
        CHECK_OK(lk_world_render_frame(w, k, rgb));
        for (int y = SIZE * 54 / 100; y < SIZE * 80 / 100; y++) {
            for (int c = SIZE * 35 / 100; c < SIZE * 65 / 100; c++)
                open += rgb[(y * SIZE + c) * 3] < 75;
        }
        for (int i = 0; i < 10; i++) /* held for the frame; its middle is 5 ms late */
            seen[10 * k + i] = open;
    }
    for (int i = 0; i < 10 * N; i++) {
        const int64_t at = (int64_t)i * RATE / 1000, half = 12 * RATE / 1000;
        heard[i] = i < 15 || at + half > n ? 0 : rms(x, at - half, at + half);
    }
    double peak = 0;
    const int lag = best_lag(seen, heard, 10 * N, &peak) + 5;
    print_message("rendered talker: sound %d ms late, r = %.3f\n", lag, peak);
    assert_true(abs(lag) <= 20 && peak > 0.5); /* half a frame at 25 fps */
    lk_free(x);
    lk_world_free(&w);
}

/* ---- dancer ------------------------------------------------------------------------------- */

static lk_music *music_of(uint64_t seed, bool dense)
{
    lk_music *m = NULL;
    CHECK_OK(lk_music_create(&m, seed, -8, 20, dense));
    return m;
}

static void a_drum_is_hit_on_every_beat(void **state)
{
    (void)state;
    bool seen_three = false, seen_swing = false;
    for (uint64_t seed = 0; seed < 40; seed++) {
        lk_music *m = music_of(seed, seed % 4 == 0);
        const lk_music_style style = lk_music_style_of(m);
        assert_true(style.tempo_bpm >= 70 && style.tempo_bpm <= 170);
        seen_three |= style.beats_per_bar == 3;
        seen_swing |= style.swing > 0;
        const lk_hit_drum *h = lk_music_hits(m);
        for (int64_t k = (int64_t)ceil(lk_music_beats_at(m, 0)); lk_music_beat(m, k) < 12; k++) {
            double nearest = 1;
            for (int64_t i = 0; i < lk_music_n_hits(m); i++)
                nearest = fmin(nearest, fabs(h[i].t - lk_music_beat(m, k)));
            assert_true(nearest < 0.001);
            CHECK_CLOSE(lk_music_beats_at(m, lk_music_beat(m, k)), (double)k, 1e-9);
            assert_int_equal(lk_music_bar(m, k + style.beats_per_bar), lk_music_bar(m, k) + 1);
        }
        for (int64_t i = 1; i < lk_music_n_hits(m); i++)
            assert_true(h[i - 1].t <= h[i].t);
        lk_music_free(&m);
    }
    assert_true(seen_three && seen_swing);
}

/* Energy of the second difference, which the slow bass and pad hardly have, in [from, to). */
static double edge_energy(const float *x, int64_t from, int64_t to)
{
    double sum = 0;
    for (int64_t i = from; i < to; i++) {
        const double d = (double)x[i] - 2 * (double)x[i - 1] + (double)x[i - 2];
        sum += d * d;
    }
    return sum / (double)(to - from);
}

/* Around each beat, the instant that best splits quiet from loud is the beat itself; the
 * window is shorter than the 11 ms between the bursts of a clap. */
static void drums_sound_when_they_are_hit(void **state)
{
    (void)state;
    enum { MS = RATE / 1000 };
    int beats = 0, good = 0;
    for (uint64_t seed = 0; seed < 6; seed++) {
        lk_music *m = music_of(seed, false);
        const lk_sound_grid grid = {.rate_hz = RATE, .stretch = 1};
        const int64_t blocks = 8 * RATE / LK_WORLD_BLOCK;
        float *x = NULL;
        CHECK_OK(LK_NEW_ARRAY(&x, blocks * LK_WORLD_BLOCK));
        for (int64_t b = 0; b < blocks; b++)
            lk_music_sound(m, &grid, b * LK_WORLD_BLOCK, x + b * LK_WORLD_BLOCK);
        for (int64_t k = (int64_t)ceil(lk_music_beats_at(m, 0.1)); lk_music_beat(m, k) < 7.8; k++) {
            const int64_t at = (int64_t)ceil(lk_music_beat(m, k) * RATE);
            double best = 0;
            int64_t where = 0;
            for (int64_t i = at - 10 * MS; i < at + 9 * MS; i += MS / 8) {
                const double rise =
                    (edge_energy(x, i, i + MS) + 1e-6) / (edge_energy(x, i - MS, i) + 1e-6);
                if (rise > best) {
                    best = rise;
                    where = i - at;
                }
            }
            beats++;
            good += llabs(where) <= MS;
        }
        lk_free(x);
        lk_music_free(&m);
    }
    print_message("%d of %d beats heard within 1 ms\n", good, beats);
    assert_true(beats > 60 && good == beats);
}

static double joint_speed(const lk_dance *d, double t)
{
    lk_point a[LK_BODY_JOINTS], b[LK_BODY_JOINTS];
    const lk_body x = lk_dance_at(d, t - 2e-4), y = lk_dance_at(d, t + 2e-4);
    lk_body_joints(&x, a);
    lk_body_joints(&y, b);
    double sum = 0;
    for (int i = 0; i < LK_BODY_JOINTS; i++)
        sum += hypot(b[i].x - a[i].x, b[i].y - a[i].y) / 4e-4;
    return sum / LK_BODY_JOINTS;
}

static void joints_rest_on_the_beats_and_move_between(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        lk_music *m = music_of(seed, false);
        const lk_dance d = {.seed = seed, .music = m, .room = 0.2, .vigour = 1};
        const double period = 60 / lk_music_style_of(m).tempo_bpm;
        for (int64_t k = (int64_t)ceil(lk_music_beats_at(m, 0)); lk_music_beat(m, k) < 10; k++) {
            const double beat = lk_music_beat(m, k);
            double slowest = 1e9, fastest = 0, when = 0;
            for (double u = -period / 3; u < period / 3; u += 0.001) {
                const double speed = joint_speed(&d, beat + u);
                fastest = fmax(fastest, speed);
                if (speed < slowest) {
                    slowest = speed;
                    when = u;
                }
            }
            assert_true(fabs(when) < 0.5 / 25);
            assert_true(fastest > 0.05 && slowest < 0.1 * fastest);
        }
        lk_music_free(&m);
    }
}

static void bones_keep_their_length(void **state)
{
    (void)state;
    lk_music *m = music_of(3, false);
    const lk_dance d = {.seed = 3, .music = m, .room = 0.2, .vigour = 1};
    for (double t = 0; t < 15; t += 0.01) {
        const lk_body b = lk_dance_at(&d, t);
        for (int i = 0; i < 2; i++) {
            assert_true(hypot(b.hand[i].x - b.shoulder[i].x, b.hand[i].y - b.shoulder[i].y) < 0.34);
            assert_true(hypot(b.foot[i].x - b.hip[i].x, b.foot[i].y - b.hip[i].y) < 0.49);
            assert_true(b.foot[i].y < 0 && b.foot[i].y > -0.3);
        }
        assert_true(b.head.y < b.neck.y && b.neck.y < b.pelvis.y && fabs(b.pelvis.x) < 0.6);
    }
    lk_music_free(&m);
}

static void truth_of_the_dancer_is_the_music(void **state)
{
    (void)state;
    lk_world *w = world_of("dancer", 0, 8, 64);
    const lk_world_event *e = lk_world_events(w);
    int beats = 0, drums = 0, bars = 0;
    lk_flick last = 0, period = 0;
    for (int64_t i = 0; i < lk_world_n_events(w); i++) {
        assert_true(e[i].kind == LK_EVENT_BEAT || e[i].kind == LK_EVENT_DRUM);
        assert_true(e[i].sound.start == e[i].picture.start);
        drums += e[i].kind == LK_EVENT_DRUM;
        if (e[i].kind != LK_EVENT_BEAT)
            continue;
        bars += e[i].strength == 1;
        if (beats > 1)
            assert_true(llabs(e[i].picture.start - last - period) <= 2);
        period = e[i].picture.start - last;
        last = e[i].picture.start;
        beats++;
    }
    assert_true(beats >= 9 && bars >= 2 && bars <= beats / 3 + 1 && drums >= beats);
    lk_world_free(&w);
}

/* The picture changes least around the beats: frame differences there are below those between. */
static void the_picture_rests_on_the_beats(void **state)
{
    (void)state;
    enum { SIZE = 120, N = SIZE * SIZE * 3 };
    static uint8_t frames[2][N];
    lk_world_options o;
    lk_world *w = NULL;
    lk_option_defaults(lk_world_option_rows, &o);
    o.width = o.height = SIZE;
    o.seconds = 4;
    o.fps = "100";
    CHECK_OK(lk_world_create(&w, "dancer", 7, 2, &o));
    const lk_world_event *e = lk_world_events(w);
    double near = 0, far = 0;
    int n_near = 0, n_far = 0;
    for (int64_t k = 0; k < lk_world_n_frames(w); k++) {
        CHECK_OK(lk_world_render_frame(w, k, frames[k % 2]));
        const lk_flick t = lk_world_frame_span(w, k).start - LK_FLICKS_PER_S / 200;
        lk_flick distance = LK_FLICKS_PER_S;
        double change = 0;
        for (int64_t i = 0; i < lk_world_n_events(w); i++) {
            if (e[i].kind == LK_EVENT_BEAT && llabs(e[i].picture.start - t) < distance)
                distance = llabs(e[i].picture.start - t);
        }
        for (int i = 0; i < N && k > 0; i++)
            change += abs(frames[0][i] - frames[1][i]);
        if (distance < 20 * LK_FLICKS_PER_MS && k > 0) {
            near += change;
            n_near++;
        } else if (distance > 100 * LK_FLICKS_PER_MS && distance < 200 * LK_FLICKS_PER_MS) {
            far += change;
            n_far++;
        }
    }
    assert_true(n_near > 10 && n_far > 10);
    if (near / n_near > 0.5 * far / n_far)
        fail_msg("%.0f on the beat, %.0f between", near / n_near, far / n_far);
    lk_world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lips_close_and_sound_stops_in_truth_span),
        cmocka_unit_test(syllables_come_at_the_pace_of_speech),
        cmocka_unit_test(mouth_opening_and_sound_do_not_lead_or_lag),
        cmocka_unit_test(voice_sounds_the_same_at_any_rate_and_shift),
        cmocka_unit_test(a_wide_mouth_is_seen),
        cmocka_unit_test(rendered_mouth_and_sound_agree),
        cmocka_unit_test(a_drum_is_hit_on_every_beat),
        cmocka_unit_test(drums_sound_when_they_are_hit),
        cmocka_unit_test(joints_rest_on_the_beats_and_move_between),
        cmocka_unit_test(bones_keep_their_length),
        cmocka_unit_test(truth_of_the_dancer_is_the_music),
        cmocka_unit_test(the_picture_rests_on_the_beats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
