/* test_base.c - status, memory, clock, random numbers and options. */
#include "tests/check.h"

#include "kernels/clock.h"
#include "kernels/mem.h"
#include "kernels/option.h"
#include "kernels/rng.h"
#include "kernels/tensor.h"

#include <math.h>

static const lk_rational video_rates[] = {{24, 1},    {25, 1},       {30, 1},       {50, 1},
                                          {60, 1},    {24000, 1001}, {30000, 1001}, {60000, 1001},
                                          {90000, 1}, {12800, 1},    {48000, 1}};
static const int audio_rates[] = {8000,  11025, 12000, 16000, 22050,  24000, 32000,
                                  44100, 48000, 88200, 96000, 176400, 192000};

static lk_status inner(int n)
{
    lk_status st = LK_OK;
    LK_REQUIRE(n > 0, LK_E_ARG, "n must be positive, got %d", n);
done:
    return st;
}

static lk_status outer(int n)
{
    lk_status st = LK_OK;
    LK_TRY(inner(n));
done:
    return st;
}

static void status_keeps_the_first_sentence_and_the_path(void **state)
{
    (void)state;
    CHECK_OK(outer(1));
    assert_int_equal(outer(-3), LK_E_ARG);
    assert_string_equal(lk_error_text(), "n must be positive, got -3");
    assert_non_null(strstr(lk_error_trace(), "inner"));
    assert_non_null(strstr(lk_error_trace(), "outer"));
    lk_error_clear();
    for (int code = LK_E_INTERNAL; code <= LK_OK; code++)
        assert_string_not_equal(lk_status_name((lk_status)code), "unknown");
}

static void rates_of_the_design_are_exact(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof video_rates / sizeof video_rates[0]; i++)
        assert_true(lk_rate_is_exact(video_rates[i]));
    for (size_t i = 0; i < sizeof audio_rates / sizeof audio_rates[0]; i++)
        assert_int_equal(LK_FLICKS_PER_S % audio_rates[i], 0);
}

static void ticks_round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof video_rates / sizeof video_rates[0]; i++) {
        for (uint64_t k = 0; k < 2000; k++) {
            const int64_t n = (int64_t)lk_rng_u32(1, i, k) - INT64_C(0x80000000);
            lk_flick t = 0, next = 0;
            int64_t back = 0;
            CHECK_OK(lk_flick_from_ticks(n, video_rates[i], &t));
            CHECK_OK(lk_flick_from_ticks(n + 1, video_rates[i], &next));
            CHECK_OK(lk_ticks_from_flick(t, video_rates[i], &back));
            assert_true(back == n);
            assert_true(next - t == LK_FLICKS_PER_S * video_rates[i].den / video_rates[i].num);
        }
    }
    for (size_t i = 0; i < sizeof audio_rates / sizeof audio_rates[0]; i++) {
        for (uint64_t k = 0; k < 2000; k++) {
            const int64_t n = (int64_t)lk_rng_u32(2, i, k) * 1000 - INT64_C(2147483648000);
            assert_true(lk_samples_from_flick(lk_flick_from_samples(n, audio_rates[i]),
                                              audio_rates[i]) == n);
        }
    }
}

static void odd_rates_stay_within_half_a_flick(void **state)
{
    (void)state;
    const lk_rational odd = {1000000, 33367};
    assert_false(lk_rate_is_exact((lk_rational){7919, 1}));
    for (int64_t n = -5000; n < 5000; n++) {
        lk_flick t = 0;
        int64_t back = 0;
        CHECK_OK(lk_flick_from_ticks(n, odd, &t));
        CHECK_OK(lk_ticks_from_flick(t, odd, &back));
        assert_true(back == n);
        assert_true(fabsl((long double)t - (long double)n * 33367 * 705.6L) <= 0.5L);
    }
}

static void clock_refuses_what_it_cannot_hold(void **state)
{
    (void)state;
    lk_flick t = 0;
    CHECK_FAILS(lk_flick_from_ticks(1, (lk_rational){0, 1}, &t), LK_E_ARG);
    CHECK_FAILS(lk_flick_from_ticks(1, (lk_rational){25, 0}, &t), LK_E_ARG);
    CHECK_FAILS(lk_flick_from_ticks(1, (lk_rational){-25, 1}, &t), LK_E_ARG);
    CHECK_FAILS(lk_flick_from_ticks(INT64_MAX, (lk_rational){1, 1}, &t), LK_E_NUMERIC);
    CHECK_FAILS(lk_flick_from_ticks(INT64_MIN, (lk_rational){1, 1}, &t), LK_E_NUMERIC);
    assert_true(lk_flick_from_s(NAN) == LK_FLICK_NONE);
    assert_true(lk_flick_from_s(1e30) == INT64_MAX);
    assert_true(lk_flick_from_s(-1e30) == -INT64_MAX);
}

static void rates_parse(void **state)
{
    (void)state;
    lk_rational r = {0, 1};
    CHECK_OK(lk_rate_parse("29.97", &r));
    assert_true(r.num == 30000 && r.den == 1001);
    CHECK_OK(lk_rate_parse("23.976", &r));
    assert_true(r.num == 24000 && r.den == 1001);
    CHECK_OK(lk_rate_parse("25", &r));
    assert_true(r.num == 25 && r.den == 1);
    CHECK_OK(lk_rate_parse("12.5", &r));
    assert_true(r.num == 25 && r.den == 2);
    CHECK_OK(lk_rate_parse("60000/2002", &r));
    assert_true(r.num == 30000 && r.den == 1001);
    const char *const bad[] = {"",     "0",   "-25", "abc", "25fps", "1/0",          "0/1",
                               "2000", "nan", "25/", "/25", "1e3",   "9999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_FAILS(lk_rate_parse(bad[i], &r), LK_E_ARG);
}

static void spans_are_half_open(void **state)
{
    (void)state;
    for (uint64_t k = 0; k < 3000; k++) {
        lk_span a = {lk_rng_below(3, 0, k, 20), 0}, b = {lk_rng_below(3, 1, k, 20), 0};
        a.end = a.start + lk_rng_below(3, 2, k, 6);
        b.end = b.start + lk_rng_below(3, 3, k, 6);
        int common = 0;
        for (lk_flick t = 0; t < 30; t++)
            common += lk_span_contains(a, t) && lk_span_contains(b, t);
        assert_int_equal(lk_span_length(lk_span_intersect(a, b)), common);
        if (lk_span_length(a) > 0 && lk_span_length(b) > 0)
            assert_int_equal(lk_span_overlaps(a, b), common > 0);
    }
}

static void philox_matches_the_published_vectors(void **state)
{
    (void)state;
    const lk_rng_block zero = lk_rng_philox(0, 0, 0);
    const uint32_t expect_zero[4] = {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u};
    assert_memory_equal(zero.v, expect_zero, sizeof expect_zero);
    const lk_rng_block ones = lk_rng_philox(UINT64_MAX, UINT64_MAX, UINT64_MAX);
    const uint32_t expect_ones[4] = {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu};
    assert_memory_equal(ones.v, expect_ones, sizeof expect_ones);
}

static void random_moments(void **state)
{
    (void)state;
    double sum = 0, squares = 0, uniform = 0;
    const int n = 100000;
    for (int i = 0; i < n; i++) {
        const double x = lk_rng_normal(7, 1, (uint64_t)i);
        const double u = lk_rng_range(7, 2, (uint64_t)i, -1, 3);
        assert_true(u >= -1 && u < 3);
        sum += x;
        squares += x * x;
        uniform += u;
    }
    CHECK_CLOSE(sum / n, 0, 0.01);
    CHECK_CLOSE(squares / n, 1, 0.02);
    CHECK_CLOSE(uniform / n, 1, 0.02);
}

typedef struct sample_options {
    int n_lags;
    double sigma_ms;
    bool clean;
    const char *mode;
    const char *path;
} sample_options;

static const lk_option sample_rows[] = {
    LK_OPT_INT(sample_options, n_lags, 31, 1, 1000, "number of lags"),
    LK_OPT_DOUBLE(sample_options, sigma_ms, 50, 1, 1000, "width of the kernel"),
    LK_OPT_BOOL(sample_options, clean, true, "mask the edges"),
    LK_OPT_CHOICE(sample_options, mode, "clean", "clean|compatible", "which definition"),
    LK_OPT_TEXT(sample_options, path, NULL, "a file"),
    LK_OPT_END};

static void options_parse_check_and_print(void **state)
{
    (void)state;
    sample_options s;
    char text[64];
    lk_option_defaults(sample_rows, &s);
    assert_int_equal(s.n_lags, 31);
    assert_true(s.clean);
    CHECK_OK(lk_option_set(sample_rows, &s, "n-lags", "7"));
    CHECK_OK(lk_option_set(sample_rows, &s, "sigma_ms", "12.5"));
    CHECK_OK(lk_option_set(sample_rows, &s, "clean", "off"));
    CHECK_OK(lk_option_set(sample_rows, &s, "mode", "compatible"));
    assert_int_equal(s.n_lags, 7);
    assert_false(s.clean);
    assert_string_equal(s.mode, "compatible");
    lk_option_print(lk_option_find(sample_rows, "sigma_ms"), &s, text, sizeof text);
    assert_string_equal(text, "12.5");
    CHECK_FAILS(lk_option_set(sample_rows, &s, "n_lags", "0"), LK_E_ARG);
    CHECK_FAILS(lk_option_set(sample_rows, &s, "n_lags", "1.5"), LK_E_ARG);
    CHECK_FAILS(lk_option_set(sample_rows, &s, "sigma_ms", "nan"), LK_E_ARG);
    CHECK_FAILS(lk_option_set(sample_rows, &s, "sigma_ms", "5x"), LK_E_ARG);
    CHECK_FAILS(lk_option_set(sample_rows, &s, "mode", "comp"), LK_E_ARG);
    assert_int_equal(lk_option_set(sample_rows, &s, "sigma", "5"), LK_E_ARG);
    assert_non_null(strstr(lk_error_text(), "sigma_ms"));
    lk_error_clear();
}

static void options_go_to_lines_and_back(void **state)
{
    (void)state;
    sample_options s, back;
    lk_text lines = {0};
    lk_option_defaults(sample_rows, &s);
    lk_option_defaults(sample_rows, &back);
    s.n_lags = 9;
    s.sigma_ms = 12.1;
    s.clean = false;
    CHECK_OK(lk_option_set(sample_rows, &s, "mode", "compatible"));
    CHECK_OK(lk_option_write_lines(sample_rows, &s, &lines));
    assert_string_equal(lines.at, "n_lags: 9\nsigma_ms: 12.1\nclean: false\nmode: compatible\n");
    CHECK_OK(lk_option_read_lines(sample_rows, &back, lines.at));
    assert_true(back.n_lags == 9 && back.sigma_ms == 12.1 && !back.clean);
    assert_string_equal(back.mode, "compatible");
    lk_text_free(&lines);
    CHECK_OK(lk_option_read_lines(sample_rows, &back, "\n# nothing\n n_lags:3"));
    assert_int_equal(back.n_lags, 3);
    CHECK_FAILS(lk_option_read_lines(sample_rows, &back, "n_lags 3\n"), LK_E_FORMAT);
    CHECK_FAILS(lk_option_read_lines(sample_rows, &back, "n_lags: 3 4\n"), LK_E_FORMAT);
    CHECK_FAILS(lk_option_read_lines(sample_rows, &back, "path: x\n"), LK_E_FORMAT);
    CHECK_FAILS(lk_option_read_lines(sample_rows, &back, "lags: 3\n"), LK_E_ARG);
    CHECK_FAILS(lk_option_read_lines(sample_rows, &back, "n_lags: 0\n"), LK_E_ARG);
}

static void failed_allocations_are_reported(void **state)
{
    (void)state;
    int *list = NULL;
    size_t capacity = 0;
    CHECK_OK(LK_GROW(&list, &capacity, 20));
    list[19] = 5;
    lk_mem_fail_after(1);
    CHECK_FAILS(LK_GROW(&list, &capacity, 1000), LK_E_MEMORY);
    assert_true(lk_mem_fault_fired());
    lk_mem_fail_after(0);
    assert_int_equal(list[19], 5);
    CHECK_OK(LK_GROW(&list, &capacity, 1000));
    assert_int_equal(list[19], 5);
    assert_int_equal(list[999], 0);
    lk_free(list);
    double *huge = NULL;
    CHECK_FAILS(LK_NEW_ARRAY(&huge, SIZE_MAX / 2), LK_E_MEMORY);
}

/* Doubles round once: no neighbour of the result is nearer, and of two that are as near the even
 * one is taken. */
static void doubles_round_once(void **state)
{
    const lk_dtype types[2] = {LK_BF16, LK_F16};
    const double half[2] = {0x1p-8, 0x1p-11}, tiny[2] = {0x1p-134, 0x1p-25};
    const uint16_t one[2] = {0x3f80, 0x3c00};
    (void)state;
    for (int t = 0; t < 2; t++) {
        const double x[6] = {
            1 + half[t], 1 + half[t] + 0x1p-50,  1 + half[t] - 0x1p-50, 1 + half[t] * 3,
            tiny[t],     tiny[t] * (1 + 0x1p-50)};
        const uint16_t want[6] = {one[t], (uint16_t)(one[t] + 1), one[t], (uint16_t)(one[t] + 2), 0,
                                  1};
        for (int sign = 0; sign < 2; sign++)
            for (int i = 0; i < 6; i++) {
                const double y = sign ? -x[i] : x[i];
                uint16_t got = 0;
                lk_convert(types[t], &got, LK_F64, &y, 1);
                assert_int_equal(got, want[i] | (sign ? 0x8000 : 0));
            }
        for (uint64_t i = 0; i < 20000; i++) {
            const double y = ldexp(lk_rng_range(1, 2, i, -1, 1), (int)(i % 40) - 30);
            uint16_t got = 0, near[2];
            lk_convert(types[t], &got, LK_F64, &y, 1);
            near[0] = (uint16_t)(got + 1);
            near[1] = got & 0x7fff ? (uint16_t)(got - 1) : got;
            for (int k = 0; k < 2; k++)
                assert_true(fabs(lk_element(types[t], &got, 0) - y) <=
                            fabs(lk_element(types[t], near, k) - y));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_keeps_the_first_sentence_and_the_path),
        cmocka_unit_test(rates_of_the_design_are_exact),
        cmocka_unit_test(ticks_round_trip),
        cmocka_unit_test(odd_rates_stay_within_half_a_flick),
        cmocka_unit_test(clock_refuses_what_it_cannot_hold),
        cmocka_unit_test(rates_parse),
        cmocka_unit_test(spans_are_half_open),
        cmocka_unit_test(philox_matches_the_published_vectors),
        cmocka_unit_test(random_moments),
        cmocka_unit_test(options_parse_check_and_print),
        cmocka_unit_test(options_go_to_lines_and_back),
        cmocka_unit_test(failed_allocations_are_reported),
        cmocka_unit_test(doubles_round_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
