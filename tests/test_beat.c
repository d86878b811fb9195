/* test_beat.c - beat measures against published values, and the tracker on music with known beats.
 */
#include "tests/check.h"

#include "align/beat_scores.h"
#include "align/beat_track.h"
#include "kernels/mem.h"
#include "kernels/rng.h"

/* ---- measures -------------------------------------------------------------------------------- */

enum { N_MEASURES = 10, MOST_BEATS = 200 };

static void measure(const double *r, int n_r, const double *e, int n_e, double *value)
{
    lk_beat_scores s;
    CHECK_OK(lk_beat_scores_find(r, n_r, e, n_e, LK_BEAT_TRIM_S, &s));
    const double all[N_MEASURES] = {s.f_measure, s.cemgil,          s.cemgil_best, s.goto_score,
                                    s.p_score,   s.cml_c,           s.cml_t,       s.aml_c,
                                    s.aml_t,     s.information_gain};
    memcpy(value, all, sizeof all);
}

/* Reference 0.5, 1.0, ... 29.5 s against simple changes of it. */
static void measures_of_a_steady_pulse(void **state)
{
    (void)state;
    static const double expected[6][N_MEASURES] = {
        {1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
        {1, .606531, .606531, 1, 1, 1, 1, 1, 1, .973600},
        {1, .216265, .216265, 0, 1, 1, 1, 1, 1, .973600},
        {.666667, .666667, .994975, 0, .5, 0, 0, .99, .99, .813348},
        {0, 0, .989899, 0, 0, 0, 0, .98, .98, .973600},
        {.989899, .900647, .900647, 1, .98, .98, .98, .98, .98, .567386}};
    for (int c = 0; c < 6; c++) {
        double r[MOST_BEATS], e[MOST_BEATS], value[N_MEASURES];
        int n_e = 0;
        for (int i = 0; i < 59; i++) {
            const double jitter = ((7919 * i) % 61 - 30) / 1e3;
            const double shift[6] = {0, 0.04, 0.07, 0, 0.25, jitter};
            r[i] = 0.5 * (i + 1);
            e[n_e++] = r[i] + shift[c];
            if (c == 3)
                e[n_e++] = r[i] + 0.25;
        }
        measure(r, 59, e, n_e, value);
        for (int m = 0; m < N_MEASURES; m++)
            CHECK_CLOSE(value[m], expected[c][m], 1e-6);
    }
}

static double wobble(int i, int k)
{
    return ((7919 * i + 31 * k) % 101) / 101.0;
}

static int by_value(const void *p, const void *q)
{
    const double a = *(const double *)p, b = *(const double *)q;
    return (a > b) - (a < b);
}

/* The expected numbers are those of mir_eval 0.8.2 on the same lists; the last is onset F. */
static void measures_of_irregular_beats(void **state)
{
    (void)state;
    static const double expected[6][N_MEASURES + 1] = {
        {1.000000000, 0.960616084, 0.960616084, 1.000000000, 1.000000000, 1.000000000, 1.000000000,
         1.000000000, 1.000000000, 0.603155804, 1.000000000},
        {0.666666667, 0.646155490, 0.969233234, 0.000000000, 0.500000000, 0.000000000, 0.000000000,
         1.000000000, 1.000000000, 0.672155528, 0.666666667},
        {0.661290323, 0.661290323, 0.965538679, 0.000000000, 0.493975904, 0.000000000, 0.000000000,
         0.975903614, 0.975903614, 0.724396389, 0.666666667},
        {0.880000000, 0.651026075, 0.651026075, 0.000000000, 0.785714286, 0.095238095, 0.595238095,
         0.095238095, 0.595238095, 0.509757125, 0.876404494},
        {0.166666667, 0.129784015, 0.231457340, 0.000000000, 0.309523810, 0.238095238, 0.261904762,
         0.261904762, 0.428571429, 0.097990860, 0.120000000},
        {0.000000000, 0.000000000, 0.663446677, 0.000000000, 0.000000000, 0.000000000, 0.000000000,
         0.976744186, 0.976744186, 0.792745888, 0.000000000},
    };
    for (int k = 0; k < 6; k++) {
        double r[50], e[MOST_BEATS], value[N_MEASURES];
        const double period = 0.45 + 0.05 * k;
        int n = 0;
        for (int i = 0; i < 50; i++)
            r[i] = 0.4 + i * period + 0.05 * wobble(i, k);
        for (int i = 0; i < 50; i++) {
            if (k == 0)
                e[n++] = r[i] + 0.04 * (wobble(i, 9) - 0.5);
            if (k == 1 && i % 2 == 0)
                e[n++] = r[i] + 0.01;
            if (k == 2) {
                e[n++] = r[i];
                e[n++] = r[i] + 0.5 * period;
            }
            if (k == 3 && wobble(i, 4) > 0.2)
                e[n++] = r[i] + 0.1 * (wobble(i, 12) - 0.5);
            if (k == 4)
                e[n++] = 0.3 + i * 0.63;
            if (k == 5)
                e[n++] = r[i] + 0.45 * period;
        }
        qsort(e, (size_t)n, sizeof *e, by_value);
        measure(r, 50, e, n, value);
        for (int m = 0; m < N_MEASURES; m++)
            CHECK_CLOSE(value[m], expected[k][m], 1e-6);
        CHECK_CLOSE(lk_match_f(r, 50, e, n, 0.05, NULL, NULL), expected[k][N_MEASURES], 1e-6);
    }
}

static void measures_of_almost_nothing(void **state)
{
    (void)state;
    const double one[] = {6}, three[] = {5.5, 6, 6.5}, early[] = {1, 2, 3};
    double value[N_MEASURES];
    measure(three, 3, NULL, 0, value);
    for (int m = 0; m < N_MEASURES; m++)
        CHECK_CLOSE(value[m], 0, 0);
    measure(three, 3, early, 3, value); /* all trimmed */
    for (int m = 0; m < N_MEASURES; m++)
        CHECK_CLOSE(value[m], 0, 0);
    measure(three, 3, one, 1, value);
    CHECK_CLOSE(value[0], 0.5, 1e-12);
    for (int m = 4; m < N_MEASURES; m++)
        CHECK_CLOSE(value[m], 0, 0);
    double p = -1, q = -1;
    CHECK_CLOSE(lk_match_f(three, 3, one, 1, 0.05, &p, &q), 0.5, 1e-12);
    CHECK_CLOSE(p, 1, 0);
    CHECK_CLOSE(q, 1.0 / 3, 1e-12);
}

static void alignment_and_coverage(void **state)
{
    (void)state;
    const double music[] = {30, 60, 90, 120}, motion[] = {31, 58, 95};
    CHECK_CLOSE(lk_beat_alignment(music, 4, motion, 3, 3), 0.499012, 1e-6);
    CHECK_CLOSE(lk_beat_alignment(motion, 3, music, 4, 3), 0.665350, 1e-6);
    /* The same in seconds at 60 frames a second. */
    const double music_s[] = {0.5, 1, 1.5, 2}, motion_s[] = {31 / 60.0, 58 / 60.0, 95 / 60.0};
    CHECK_CLOSE(lk_beat_alignment(music_s, 4, motion_s, 3, 0.05), 0.499012, 1e-6);
    CHECK_CLOSE(lk_beat_alignment(music, 4, NULL, 0, 3), 0, 0);
    CHECK_CLOSE(lk_beat_alignment(NULL, 0, music, 4, 3), 0, 0);
    /* Random motion beats against a pulse of 120 bpm: the level that means nothing. */
    double pulse[2000], chance = 0;
    for (int i = 0; i < 2000; i++)
        pulse[i] = 30.0 * i;
    for (uint64_t i = 0; i < 20000; i++) {
        const double at = lk_rng_range(1, 1, i, 300, 59000);
        chance += lk_beat_alignment(&at, 1, pulse, 2000, 3) / 20000;
    }
    CHECK_CLOSE(chance, 0.251, 0.008);
    const double r[] = {0.1, 0.2, 1.5, 3.2, 5.0}, e[] = {0.9, 2.5, 3.0, 3.9};
    double coverage = 0, hit = 0;
    lk_beat_coverage(r, 5, e, 4, &coverage, &hit);
    CHECK_CLOSE(coverage, 2.0 / 3, 1e-12); /* bins {0, 2, 3} against {0, 1, 3, 5} */
    CHECK_CLOSE(hit, 2.0 / 4, 1e-12);
    lk_beat_coverage(r, 5, NULL, 0, &coverage, &hit);
    CHECK_CLOSE(coverage, 0, 0);
    CHECK_CLOSE(hit, 0, 0);
}

/* ---- tracker --------------------------------------------------------------------------------- */

#define RATE   24000
#define LENGTH (20 * RATE)

/* A decaying burst: a deep tone when `low`, bright noise otherwise. */
static void hit(float *x, double at, bool low, double gain, uint64_t seed)
{
    const int64_t first = (int64_t)ceil(at * RATE);
    for (int64_t i = first < 0 ? 0 : first; i < first + RATE / 4 && i < LENGTH; i++) {
        const double t = (double)i / RATE - at;
        const double v = low ? exp(-t / 0.08) * sin(2 * M_PI * 60 * t)
                             : 0.4 * exp(-t / 0.02) * (double)lk_rng_normal(seed, 2, (uint64_t)i);
        x[i] += (float)(0.5 * gain * v);
    }
}

static void track(const float *x, int64_t n, lk_flick start, lk_beat_list *list)
{
    lk_audio_extractor *e = NULL;
    lk_features f = {0};
    const float *const channel[1] = {x};
    const lk_pcm_view v = {.span = {start, start + lk_flick_from_samples(n, RATE)},
                           .n_samples = n,
                           .n_channels = 1,
                           .rate_hz = RATE,
                           .channel = channel};
    CHECK_OK(lk_audio_extractor_create(&e, false));
    CHECK_OK(lk_audio_extractor_push(e, &v));
    CHECK_OK(lk_audio_extractor_finish(e, &f.audio));
    CHECK_OK(lk_beats_find(&f.audio, list));
    lk_features_clear(&f);
    lk_audio_extractor_free(&e);
}

/* A bass drum on the first beat of every bar, noise on all beats and, softly, between them. */
static void beats_of_a_drum_machine(void **state)
{
    (void)state;
    static float x[LENGTH];
    const struct {
        double bpm;
        int bar;
    } music[] = {{120, 4}, {97.3, 4}, {151, 4}, {92, 4}, {132, 3}};
    for (size_t m = 0; m < sizeof music / sizeof music[0]; m++) {
        const double period = 60 / music[m].bpm, first = 0.137;
        memset(x, 0, sizeof x);
        for (int b = 0; first + b * period < 20; b++) {
            hit(x, first + b * period, false, 1, (uint64_t)b);
            hit(x, first + (b + 0.5) * period, false, 0.2, (uint64_t)(b + 1000));
            if (b % music[m].bar == 0)
                hit(x, first + b * period, true, 1.5, 0);
        }
        lk_beat_list list;
        const lk_flick start = lk_flick_from_s(-3.3);
        track(x, LENGTH, start, &list);
        assert_true(list.n >= (int64_t)(19 / period));
        assert_int_equal(list.beats_per_bar, music[m].bar);
        CHECK_CLOSE(list.tempo_bpm, music[m].bpm, 0.2);
        assert_true(list.clarity > 0.3);
        for (int64_t i = 0; i < list.n; i++) {
            const double beat = (lk_flick_to_s(list.time[i] - start) - first) / period;
            if (beat < -0.5)
                continue; /* before the music */
            CHECK_CLOSE((beat - round(beat)) * period * 1e3, 0, 2.5);
            assert_int_equal(list.bar_position[i], ((int)round(beat)) % music[m].bar + 1);
        }
        lk_beats_clear(&list);
    }
}

static void beats_follow_a_change_of_tempo(void **state)
{
    (void)state;
    static float x[LENGTH];
    double truth[64];
    int n = 0;
    memset(x, 0, sizeof x);
    for (double t = 0.2; t < 19.9; t += 60 / (100 + 1.5 * t)) { /* from 100 to 130 bpm */
        hit(x, t, false, 1, (uint64_t)n);
        truth[n++] = t;
    }
    lk_beat_list list;
    track(x, LENGTH, 0, &list);
    double found[200];
    assert_true(list.n < 200);
    for (int64_t i = 0; i < list.n; i++)
        found[i] = lk_flick_to_s(list.time[i]);
    assert_true(lk_match_f(truth, n, found, list.n, 0.01, NULL, NULL) > 0.93);
    lk_beats_clear(&list);
}

static void no_beats_without_a_pulse(void **state)
{
    (void)state;
    static float x[LENGTH];
    for (int kind = 0; kind < 4; kind++) {
        memset(x, 0, sizeof x);
        double t = 0.1;
        for (uint64_t i = 0; kind == 1 && t < 20; i++) {
            hit(x, t, false, 1, i);
            t -= 0.4 * log(1 - (double)lk_rng_uniform(4, 4, i));
        }
        for (int i = 0; i < LENGTH && kind >= 2; i++)
            x[i] = kind == 2 ? 0.1f * lk_rng_normal(8, 1, (uint64_t)i)
                             : 0.3f * (float)sin(2 * M_PI * 330 * i / RATE);
        lk_beat_list list;
        track(x, LENGTH, 0, &list);
        if (list.n != 0)
            fail_msg("kind %d: %d beats, clarity %g", kind, (int)list.n, list.clarity);
        assert_true(isnan(list.tempo_bpm));
        lk_beats_clear(&list);
    }
    lk_beat_list list;
    hit(x, 0.5, true, 1, 1);
    track(x, 2 * RATE, 0, &list); /* too short */
    assert_int_equal(list.n, 0);
}

static void failed_allocations_leak_nothing(void **state)
{
    (void)state;
    static float onset[800], band[800 * LK_ONSET_BANDS], level[800], attack[800], attack_ms[800];
    for (int k = 50; k < 800; k += 100) {
        onset[k] = attack[k] = 3;
        band[k * LK_ONSET_BANDS] = 3;
    }
    const lk_audio_features a = {.present = true,
                                 .span = {0, 4 * LK_FLICKS_PER_S},
                                 .step = 5 * LK_FLICKS_PER_MS,
                                 .n = 800,
                                 .onset = onset,
                                 .band_onset = band,
                                 .level_db = level,
                                 .attack = attack,
                                 .attack_ms = attack_ms};
    int fired = 1;
    for (int64_t n = 1; fired; n++) {
        lk_beat_list list;
        lk_mem_fail_after(n);
        const lk_status s = lk_beats_find(&a, &list);
        fired = lk_mem_fault_fired();
        lk_mem_fail_after(0);
        assert_int_equal(s, fired ? LK_E_MEMORY : LK_OK);
        assert_true(fired || list.n >= 7);
        lk_beats_clear(&list);
    }
    lk_error_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measures_of_a_steady_pulse),
        cmocka_unit_test(measures_of_irregular_beats),
        cmocka_unit_test(measures_of_almost_nothing),
        cmocka_unit_test(alignment_and_coverage),
        cmocka_unit_test(beats_of_a_drum_machine),
        cmocka_unit_test(beats_follow_a_change_of_tempo),
        cmocka_unit_test(no_beats_without_a_pulse),
        cmocka_unit_test(failed_allocations_leak_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
