/* test_figures.c - the voice and the mouth say the same thing at the same instant, and the dancer
 * moves on the beat that is heard. */
#include "tests/check.h"

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
    lk_world *w = world_of("talker", 1, 6, 160);
    const int64_t frames = lk_world_n_frames(w), n_events = lk_world_n_events(w);
    const lk_world_event *e = lk_world_events(w);
    int64_t wide = -1, shut = -1;
    for (int64_t k = 0; k < frames; k++) {
        const lk_flick t = lk_world_frame_span(w, k).start;
        for (int64_t i = 0; i < n_events; i++) {
            const lk_flick middle = (e[i].picture.start + e[i].picture.end) / 2;
            const bool near = llabs(t - middle) < LK_FLICKS_PER_S / 50;
            if (near && strcmp(e[i].label, "m") == 0)
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lips_close_and_sound_stops_in_truth_span),
        cmocka_unit_test(mouth_opening_and_sound_do_not_lead_or_lag),
        cmocka_unit_test(voice_sounds_the_same_at_any_rate_and_shift),
        cmocka_unit_test(a_wide_mouth_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
