/* test_lag.c - statistics, and the lag estimator on trains with a known answer. */
#include "tests/check.h"

#include "align/lag.h"
#include "align/stats.h"
#include "kernels/rng.h"

static const lk_lag_options usual = {.max_lag_ms = 1000,
                                     .kernel_ms = 20,
                                     .window_s = 10,
                                     .n_null = 600,
                                     .n_bootstrap = 200,
                                     .seed = 3};

static lk_status estimate(const lk_pulse *sound, int64_t n_sound, const lk_pulse *picture,
                          int64_t n_picture, double end_s, lk_lag_result *r)
{
    const lk_lag_input in = {.n_sound = n_sound,
                             .n_picture = n_picture,
                             .sound = sound,
                             .picture = picture,
                             .end_s = end_s};
    return lk_lag_estimate(&in, &usual, r);
}

static void medians_and_quantiles(void **state)
{
    (void)state;
    double v[] = {5, 1, 4, 2, 3};
    double w[] = {1, 1, 1, 1, 1};
    CHECK_CLOSE(lk_median(v, 5), 3, 0);
    CHECK_CLOSE(lk_quantile(v, 5, 0.25), 2, 1e-12);
    CHECK_CLOSE(lk_quantile(v, 5, 1), 5, 0);
    CHECK_CLOSE(lk_weighted_median(v, w, 5), 3, 0);
    double u[] = {10, 20, 30}, heavy[] = {0.1, 0.1, 5}, even[] = {1, 0, 1};
    CHECK_CLOSE(lk_weighted_median(u, heavy, 3), 30, 0);
    double u2[] = {10, 20, 30};
    CHECK_CLOSE(lk_weighted_median(u2, even, 3), 20, 0);
    assert_true(isnan(lk_median(v, 0)));
    const double null[] = {1, 2, 3, 4};
    CHECK_CLOSE(lk_null_p(3, null, 4), 3.0 / 5, 1e-12);
}

static void bootstrap_covers_the_mean(void **state)
{
    (void)state;
    int covered = 0;
    for (uint64_t trial = 0; trial < 200; trial++) {
        double v[40], lo = 0, hi = 0;
        for (uint64_t i = 0; i < 40; i++)
            v[i] = (double)lk_rng_normal(trial, 1, i);
        CHECK_OK(lk_bootstrap_mean(v, 40, 300, 1, trial, &lo, &hi));
        covered += lo <= 0 && hi >= 0;
    }
    assert_in_range(covered, 176, 200); /* 95 % nominal; 88 % would be 8 sd away from luck */
    double few[2] = {1, 2}, lo = 0, hi = 0;
    CHECK_OK(lk_bootstrap_mean(few, 2, 10, 1, 1, &lo, &hi));
    assert_true(isnan(lo) && isnan(hi));
}

/* n events; the picture sees each as two pulses on a 25 fps grid whose centroid is the event. */
static void make_trains(uint64_t seed, int n, double length_s, double lag_ms, double ppm,
                        lk_pulse *sound, lk_pulse *picture)
{
    double t = 0.3;
    for (int i = 0; i < n; i++) {
        t += length_s / (n + 2) * (0.4 + 1.2 * (double)lk_rng_uniform(seed, 1, (uint64_t)i));
        const double frame = floor(t * 25) / 25, part = (t - frame) * 25;
        picture[2 * i] = (lk_pulse){frame, 1 - part};
        picture[2 * i + 1] = (lk_pulse){frame + 0.04, part};
        sound[i] = (lk_pulse){t * (1 + ppm / 1e6) + lag_ms / 1e3, 1};
    }
}

static void planted_lags_come_back(void **state)
{
    (void)state;
    lk_pulse sound[64], picture[128];
    const double lags[] = {-500, -123.4, -20, 0, 7.3, 250, 500};
    for (size_t i = 0; i < sizeof lags / sizeof lags[0]; i++) {
        lk_lag_result r;
        make_trains(i, 30, 12, lags[i], 0, sound, picture);
        CHECK_OK(estimate(sound, 30, picture, 60, 12, &r));
        CHECK_CLOSE(r.lag_ms, lags[i], 1.0);
        assert_true(r.lo <= r.lag_ms && r.hi >= r.lag_ms && r.hi - r.lo < 5);
        assert_true(r.p < 0.011); /* nothing among the surrogates comes near */
        assert_true(r.score > 1.5 * r.chance && r.support > 0.99);
        lk_lag_clear(&r);
    }
}

static void unrelated_trains_are_at_chance(void **state)
{
    (void)state;
    lk_pulse sound[64], picture[128], other[128];
    int accepted = 0;
    for (uint64_t i = 0; i < 60; i++) {
        lk_lag_result r;
        make_trains(100 + i, 30, 12, 0, 0, sound, picture);
        make_trains(900 + i, 30, 12, 0, 0, sound, other);
        CHECK_OK(estimate(sound, 30, picture, 60, 12, &r));
        accepted += r.p <= 0.01;
        lk_lag_clear(&r);
    }
    assert_true(accepted <= 4);
}

static void drift_is_measured(void **state)
{
    (void)state;
    lk_pulse sound[128], picture[256];
    lk_lag_result r;
    make_trains(5, 90, 30, 40, 500, sound, picture);
    CHECK_OK(estimate(sound, 90, picture, 180, 31, &r));
    CHECK_CLOSE(r.drift_ppm, 500, 50);
    assert_true(r.drift_lo < 500 + 50 && r.drift_hi > 500 - 50);
    assert_true(isnan(r.change_s));
    lk_lag_clear(&r);
}

/* Half of the events have an exact hit; some hits are of something else. */
static void hits_make_drift_sharper(void **state)
{
    (void)state;
    lk_pulse sound[64], picture[128];
    lk_hit hits[64];
    const double ppm[] = {-1000, -500, 200, 500};
    for (size_t i = 0; i < 4; i++) {
        lk_lag_result r;
        make_trains(40 + i, 40, 30, -60, ppm[i], sound, picture);
        int n = 0;
        for (int k = 0; k < 80; k++) { /* the picture's pulses: centroids off by 8 ms and more */
            const double error = 0.008 * (double)lk_rng_normal(8, i, (uint64_t)(k / 2));
            const double true_s = (sound[k / 2].t_s + 0.06) / (1 + ppm[i] / 1e6);
            picture[k].t_s += error;
            if (k % 4 == 0)
                hits[n++] = (lk_hit){true_s, 0.5F, 1};
            if (k % 8 == 6)
                hits[n++] = (lk_hit){true_s + 0.03, 0.5F, 0.3F};
        }
        const lk_lag_input in = {.n_sound = 40,
                                 .n_picture = 80,
                                 .n_hits = n,
                                 .sound = sound,
                                 .picture = picture,
                                 .hits = hits,
                                 .end_s = 31};
        CHECK_OK(lk_lag_estimate(&in, &usual, &r));
        CHECK_CLOSE(r.drift_ppm, ppm[i], 30);
        lk_lag_clear(&r);
    }
}

static void a_jump_is_found(void **state)
{
    (void)state;
    lk_pulse sound[128], picture[256];
    lk_lag_result r;
    make_trains(6, 60, 40, 30, 0, sound, picture);
    for (int i = 30; i < 60; i++)
        sound[i].t_s += 0.15;
    CHECK_OK(estimate(sound, 60, picture, 120, 41, &r));
    CHECK_CLOSE(r.change_s, sound[30].t_s, 1.5);
    CHECK_CLOSE(r.change_ms, 150, 5);
    lk_lag_clear(&r);
}

static void empty_trains_give_no_answer(void **state)
{
    (void)state;
    lk_pulse one = {1, 1};
    lk_lag_result r;
    CHECK_OK(estimate(NULL, 0, &one, 1, 2, &r));
    assert_int_equal(r.n_pairs, 0);
    assert_true(isnan(r.lag_ms) && r.p == 1);
    lk_lag_clear(&r);
    CHECK_OK(estimate(&one, 1, &one, 1, 2, &r));
    assert_true(r.p > 0.05); /* a single coincidence proves nothing */
    lk_lag_clear(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(medians_and_quantiles),  cmocka_unit_test(bootstrap_covers_the_mean),
        cmocka_unit_test(planted_lags_come_back), cmocka_unit_test(unrelated_trains_are_at_chance),
        cmocka_unit_test(drift_is_measured),      cmocka_unit_test(hits_make_drift_sharper),
        cmocka_unit_test(a_jump_is_found),        cmocka_unit_test(empty_trains_give_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
