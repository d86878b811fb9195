/* test_audio.c - audio features and onsets on sounds whose start is known to the microsecond. */
#include "tests/check.h"

#include "align/onsets.h"
#include "kernels/mem.h"
#include "kernels/rng.h"

enum { CLICK, LOW, HIGH, NOISE, RAMP_LOW, RAMP_HIGH, RAMP_NOISE, TIMBRES };
static const char *const timbre_names[] = {"click",      "200 Hz",     "2 kHz",     "noise",
                                           "200 Hz 2ms", "2 kHz 1 ms", "noise 3 ms"};

#define RATE   48000
#define LENGTH (6 * RATE)

/* Add a sound of the timbre that starts at time `at`, between samples as it may be. */
static void add_sound(float *x, int timbre, double at, uint64_t seed)
{
    const double ramp[] = {0, 0, 0, 0, 2e-3, 1e-3, 3e-3};
    const int64_t first = (int64_t)ceil(at * RATE);
    for (int64_t i = first; i < first + RATE / 2 && i < LENGTH; i++) {
        const double t = (double)i / RATE - at;
        double v = 0;
        if (timbre == CLICK)
            v = t < 2e-4 ? 1 : 0;
        else if (timbre == LOW || timbre == RAMP_LOW)
            v = exp(-t / 0.08) * sin(2 * M_PI * 200 * t);
        else if (timbre == HIGH || timbre == RAMP_HIGH)
            v = exp(-t / 0.05) * sin(2 * M_PI * 2000 * t);
        else
            v = exp(-t / 0.04) * 0.4 * (double)lk_rng_normal(seed, 9, (uint64_t)i);
        x[i] += (float)(0.5 * v * (t < ramp[timbre] ? t / ramp[timbre] : 1));
    }
}

static void add_noise(float *x, double rms, uint64_t seed)
{
    for (int64_t i = 0; i < LENGTH; i++)
        x[i] += (float)rms * lk_rng_normal(seed, 1, (uint64_t)i);
}

static void extract(const float *x, int64_t n, int rate, int64_t piece, lk_flick start,
                    bool keep_mel, lk_audio_features *out)
{
    lk_audio_extractor *e = NULL;
    CHECK_OK(lk_audio_extractor_create(&e, keep_mel));
    for (int64_t at = 0; at < n; at += piece) {
        const int64_t m = n - at < piece ? n - at : piece;
        const float *const channel[1] = {x + at};
        const lk_pcm_view v = {.span = {start + lk_flick_from_samples(at, rate),
                                        start + lk_flick_from_samples(at + m, rate)},
                               .n_samples = m,
                               .n_channels = 1,
                               .rate_hz = rate,
                               .channel = channel};
        CHECK_OK(lk_audio_extractor_push(e, &v));
    }
    CHECK_OK(lk_audio_extractor_finish(e, out));
    lk_audio_extractor_free(&e);
}

static void clear(lk_audio_features *a)
{
    lk_features f = {.audio = *a};
    lk_features_clear(&f);
    memset(a, 0, sizeof *a);
}

/* Ten sounds half a second apart, at random places between the samples. */
static void onsets_lie_on_the_true_start(void **state)
{
    (void)state;
    static float x[LENGTH];
    for (int timbre = 0; timbre < TIMBRES; timbre++) {
        for (int noisy = 0; noisy < 2; noisy++) {
            double truth[10], bias = 0, worst = 0;
            memset(x, 0, sizeof x);
            for (int i = 0; i < 10; i++) {
                truth[i] = 0.3 + 0.5 * i +
                           0.05 * (double)lk_rng_uniform(7, 0, (uint64_t)(i + 20 * timbre));
                add_sound(x, timbre, truth[i], (uint64_t)i);
            }
            if (noisy) /* -40 dB below the rms of a sine of the sounds' peak amplitude */
                add_noise(x, 0.5 * M_SQRT1_2 * 0.01, 5);
            lk_audio_features a;
            lk_onset_list list;
            const lk_flick start = 12345678;
            extract(x, LENGTH, RATE, 1024, start, false, &a);
            CHECK_OK(lk_onsets_find(&a, &list));
            if (list.n != 10)
                fail_msg("%s%s: %d onsets", timbre_names[timbre], noisy ? " in noise" : "",
                         (int)list.n);
            for (int i = 0; i < 10; i++) {
                const double error = lk_flick_to_ms(list.time[i] - start) - 1e3 * truth[i];
                bias += error / 10;
                worst = fmax(worst, fabs(error));
                assert_true(list.strength[i] > 0);
            }
            printf("%-11s %-8s bias %+.3f ms, worst %.3f ms\n", timbre_names[timbre],
                   noisy ? "in noise" : "", bias, worst);
            assert_true(fabs(bias) < 1 && worst < 2);
            lk_onsets_clear(&list);
            clear(&a);
        }
    }
}

static void silence_and_steady_sound_have_no_onsets(void **state)
{
    (void)state;
    static float x[LENGTH];
    for (int kind = 0; kind < 20; kind++) {
        memset(x, 0, sizeof x);
        if (kind == 1)
            add_noise(x, 1e-5, 1); /* the last bit of 16 */
        if (kind == 2 || kind > 4)
            add_noise(x, 0.1, (uint64_t)kind);
        for (int i = 0; i < LENGTH && (kind == 3 || kind == 4); i++)
            x[i] = 0.3f * (float)sin(2 * M_PI * (kind == 3 ? 440 : 60) * i / RATE);
        lk_audio_features a;
        lk_onset_list list;
        extract(x, LENGTH, RATE, 4096, 0, false, &a);
        CHECK_OK(lk_onsets_find(&a, &list));
        if (list.n != 0)
            fail_msg("kind %d: %d onsets, first at %g", kind, (int)list.n,
                     lk_flick_to_s(list.time[0]));
        lk_onsets_clear(&list);
        clear(&a);
    }
}

static void features_are_on_the_clock(void **state)
{
    (void)state;
    static float x[LENGTH];
    memset(x, 0, sizeof x);
    for (int i = 0; i < LENGTH; i++) /* a 1 kHz tone for one second from 2 s on */
        x[i] = i >= 2 * RATE && i < 3 * RATE ? (float)sin(2 * M_PI * 1000 * i / RATE) : 0;
    add_sound(x, CLICK, 4.5, 0);
    lk_audio_features a, b;
    extract(x, LENGTH, RATE, 999, -5000000, true, &a);
    assert_int_equal(a.n, 1200);
    assert_int_equal(a.n_mel, 600);
    assert_int_equal(a.t0, -5000000);
    assert_int_equal(a.step, 5 * LK_FLICKS_PER_MS);
    assert_int_equal(a.span.end - a.span.start, 6 * LK_FLICKS_PER_S);
    CHECK_CLOSE(a.level_db[500], -3.01, 0.05);
    CHECK_CLOSE(a.level_db[100], -120, 0);
    CHECK_CLOSE(a.peak, 1, 0.15);
    int64_t best = 700;
    for (int64_t k = 700; k < a.n; k++)
        best = a.onset[k] > a.onset[best] ? k : best;
    assert_int_equal(best, 900);
    assert_true(a.band_onset[900 * LK_ONSET_BANDS + 3] > 0.5f);
    CHECK_CLOSE(a.onset[500], 0, 1e-3);
    extract(x, LENGTH, RATE, 50000, -5000000, true, &b);
    assert_memory_equal(a.onset, b.onset, (size_t)a.n * sizeof *a.onset);
    assert_memory_equal(a.attack, b.attack, (size_t)a.n * sizeof *a.attack);
    assert_memory_equal(a.attack_ms, b.attack_ms, (size_t)a.n * sizeof *a.attack_ms);
    assert_memory_equal(a.mel, b.mel, (size_t)(a.n_mel * LK_MEL_BANDS) * sizeof *a.mel);
    clear(&a);
    clear(&b);
}

static lk_status push(lk_audio_extractor *e, const float *left, const float *right, int64_t n,
                      int rate, double start_s)
{
    const float *const channel[2] = {left, right};
    const lk_flick start = lk_flick_from_s(start_s);
    const lk_pcm_view v = {.span = {start, start + lk_flick_from_samples(n, rate)},
                           .n_samples = n,
                           .n_channels = right ? 2 : 1,
                           .rate_hz = rate,
                           .channel = channel};
    return lk_audio_extractor_push(e, &v);
}

static int warnings;

static void count_warning(int level, const char *text, void *user)
{
    (void)user;
    warnings += level == 1 && strstr(text, "2 samples");
}

static void gaps_overlaps_and_bad_samples(void **state)
{
    (void)state;
    static float x[RATE], y[RATE];
    lk_audio_extractor *e = NULL;
    lk_audio_features a;
    lk_onset_list list;
    CHECK_OK(lk_audio_extractor_create(&e, false));
    CHECK_OK(push(e, x, y, RATE, RATE, 1.0));
    x[RATE / 2] = 1; /* at 3.5 s after a gap of a second; the other channel opposes it partly */
    y[RATE / 2] = -0.5f;
    CHECK_OK(push(e, x, y, RATE, RATE, 3.0));
    x[RATE / 4] = 1; /* lies at 3.75 s, which the run before has covered: cut */
    x[3 * RATE / 4] = NAN;
    y[3 * RATE / 4] = INFINITY;
    CHECK_OK(push(e, x, y, RATE, RATE, 3.5));
    CHECK_FAILS(push(e, x, y, 100, RATE / 2, 4.5), LK_E_UNSUPPORTED);
    CHECK_FAILS(push(e, x, y, 100, RATE, 1e6), LK_E_UNSUPPORTED);
    lk_log_set(count_warning, NULL, 1);
    CHECK_OK(lk_audio_extractor_finish(e, &a));
    lk_log_set(NULL, NULL, 1);
    assert_int_equal(warnings, 1);
    assert_int_equal(a.n, 700); /* 1.0 s .. 4.5 s */
    assert_true(isfinite(a.peak) && a.peak < 1);
    for (int64_t k = 0; k < a.n; k++)
        assert_true(isfinite(a.onset[k]) && isfinite(a.level_db[k]) && isfinite(a.attack[k]));
    CHECK_OK(lk_onsets_find(&a, &list));
    assert_int_equal(list.n, 2); /* 3.5 s, and again the click at 4.0 s of the last run */
    CHECK_CLOSE(lk_flick_to_ms(list.time[0]), 3500, 1);
    CHECK_CLOSE(lk_flick_to_ms(list.time[1]), 4000, 1);
    lk_onsets_clear(&list);
    clear(&a);
    lk_audio_extractor_free(&e);

    CHECK_OK(lk_audio_extractor_create(&e, true));
    CHECK_OK(lk_audio_extractor_finish(e, &a));
    assert_false(a.present);
    CHECK_OK(lk_onsets_find(&a, &list));
    assert_int_equal(list.n, 0);
    lk_audio_extractor_free(&e);
}

/* Against the definition by brute force: all one-to-one matchings of small lists. */
static int64_t best_matching(const lk_flick *a, int n_a, const lk_flick *b, int n_b, unsigned used,
                             lk_flick window)
{
    if (n_a == 0)
        return 0;
    int64_t best = best_matching(a + 1, n_a - 1, b, n_b, used, window);
    for (int j = 0; j < n_b; j++) {
        if ((used & (1u << j)) || llabs(a[0] - b[j]) > window)
            continue;
        const int64_t m = 1 + best_matching(a + 1, n_a - 1, b, n_b, used | (1u << j), window);
        best = m > best ? m : best;
    }
    return best;
}

static int by_time(const void *p, const void *q)
{
    const lk_flick a = *(const lk_flick *)p, b = *(const lk_flick *)q;
    return (a > b) - (a < b);
}

static void matching_is_the_largest(void **state)
{
    (void)state;
    for (uint64_t trial = 0; trial < 500; trial++) {
        lk_flick a[6], b[6];
        const int n_a = (int)lk_rng_below(trial, 0, 0, 7), n_b = (int)lk_rng_below(trial, 0, 1, 7);
        for (uint64_t i = 0; i < 6; i++) {
            a[i] = lk_rng_below(trial, 1, i, 40);
            b[i] = lk_rng_below(trial, 2, i, 40);
        }
        qsort(a, (size_t)n_a, sizeof *a, by_time);
        qsort(b, (size_t)n_b, sizeof *b, by_time);
        assert_int_equal(lk_onset_matches(a, n_a, b, n_b, 5), best_matching(a, n_a, b, n_b, 0, 5));
    }
}

static void failed_allocations_leak_nothing(void **state)
{
    (void)state;
    static float x[RATE];
    add_sound(x, NOISE, 0.4, 1);
    int fired = 1;
    for (int64_t n = 1; fired; n++) {
        lk_audio_extractor *e = NULL;
        lk_audio_features a = {0};
        lk_onset_list list = {0};
        lk_mem_fail_after(n);
        lk_status s = lk_audio_extractor_create(&e, true);
        if (s == LK_OK)
            s = push(e, x, NULL, RATE, RATE, 0);
        if (s == LK_OK)
            s = lk_audio_extractor_finish(e, &a);
        if (s == LK_OK)
            s = lk_onsets_find(&a, &list);
        fired = lk_mem_fault_fired();
        assert_int_equal(s, fired ? LK_E_MEMORY : LK_OK);
        lk_mem_fail_after(0);
        lk_onsets_clear(&list);
        clear(&a);
        lk_audio_extractor_free(&e);
    }
    lk_error_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(onsets_lie_on_the_true_start),
        cmocka_unit_test(silence_and_steady_sound_have_no_onsets),
        cmocka_unit_test(features_are_on_the_clock),
        cmocka_unit_test(gaps_overlaps_and_bad_samples),
        cmocka_unit_test(matching_is_the_largest),
        cmocka_unit_test(failed_allocations_leak_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
