/* test_signal.c - transforms, resampling, spectra and weightings against their definitions. */
#include "tests/check.h"

#include "kernels/fft.h"
#include "kernels/mem.h"
#include "kernels/resample.h"
#include "kernels/rng.h"
#include "kernels/signal.h"

static void transform_is_the_sum(void **state)
{
    (void)state;
    const int sizes[] = {2, 10, 64, 960};
    for (size_t s = 0; s < 4; s++) {
        lk_fft *fft = NULL;
        const int n = sizes[s];
        CHECK_OK(lk_fft_create(&fft, n));
        float x[960];
        for (int i = 0; i < n; i++)
            lk_fft_time(fft)[i] = x[i] = lk_rng_normal(1, s, (uint64_t)i);
        lk_fft_forward(fft);
        for (int k = 0; k <= n / 2; k++) {
            double re = 0, im = 0;
            for (int j = 0; j < n; j++) {
                re += (double)x[j] * cos(2 * M_PI * j * k / n);
                im -= (double)x[j] * sin(2 * M_PI * j * k / n);
            }
            CHECK_CLOSE(lk_fft_bins(fft)[2 * k], re, 1e-4);
            CHECK_CLOSE(lk_fft_bins(fft)[2 * k + 1], im, 1e-4);
        }
        lk_fft_inverse(fft);
        for (int i = 0; i < n; i++)
            CHECK_CLOSE(lk_fft_time(fft)[i], x[i], 1e-5);
        lk_fft_free(&fft);
    }
    lk_fft *fft = NULL;
    CHECK_FAILS(lk_fft_create(&fft, 7), LK_E_ARG);
    assert_null(fft);
}

/* Resample n samples in pieces of the given size; returns a fresh array. */
static float *resample(int in_hz, int out_hz, const float *x, int64_t n, int64_t piece,
                       int64_t *n_out)
{
    lk_resampler *r = NULL;
    CHECK_OK(lk_resampler_create(&r, in_hz, out_hz));
    float *all = NULL;
    size_t capacity = 0;
    *n_out = 0;
    for (int64_t at = 0; at <= n; at += piece) {
        const float *out = NULL;
        int64_t m = 0;
        const int last = at + piece > n;
        CHECK_OK(lk_resampler_push(r, x + at, last ? n - at : piece, &out, &m));
        for (int pass = 0; pass < 1 + last; pass++) {
            if (pass)
                CHECK_OK(lk_resampler_flush(r, &out, &m));
            CHECK_OK(LK_GROW(&all, &capacity, *n_out + m + 1));
            if (m)
                memcpy(all + *n_out, out, (size_t)m * sizeof *all);
            *n_out += m;
        }
    }
    lk_resampler_free(&r);
    return all;
}

static const int rates[][2] = {{48000, 24000}, {44100, 24000}, {16000, 24000}, {24000, 44100},
                               {8000, 24000},  {96000, 24000}, {44101, 24000}, {22050, 16000}};
enum { N_RATES = sizeof rates / sizeof rates[0] };

static void resampled_sines_lie_on_the_true_clock(void **state)
{
    (void)state;
    static float x[48000];
    for (int r = 0; r < N_RATES; r++) {
        const int in = rates[r][0], out = rates[r][1], n = in / 4;
        const double low = in < out ? in : out, hz = low * 0.40;
        for (int f = 0; f < 2; f++) {
            const double tone = f ? hz : 200;
            int64_t m = 0;
            for (int i = 0; i < n; i++)
                x[i] = (float)sin(2 * M_PI * tone * i / in + 0.3);
            float *const y = resample(in, out, x, n, 1000, &m);
            assert_int_equal(m, ((int64_t)n * out + in - 1) / in);
            for (int64_t k = out / 50; k < m - out / 50; k++)
                CHECK_CLOSE(y[k], sin(2 * M_PI * tone * (double)k / out + 0.3), 2e-4);
            lk_free(y);
        }
    }
}

static void what_would_alias_is_gone(void **state)
{
    (void)state;
    static float x[48000];
    for (int r = 0; r < N_RATES; r++) {
        const int in = rates[r][0], out = rates[r][1], n = in / 4;
        if (out > in)
            continue;
        for (double share = 1.0; share * out < in * 0.98; share += 0.11) {
            int64_t m = 0;
            for (int i = 0; i < n; i++)
                x[i] = (float)sin(M_PI * share * out * i / in + 0.1);
            float *const y = resample(in, out, x, n, n, &m);
            for (int64_t k = out / 50; k < m - out / 50; k++)
                CHECK_CLOSE(y[k], 0, 1.0e-4);
            lk_free(y);
        }
    }
}

static void resampling_ignores_the_cutting(void **state)
{
    (void)state;
    float x[5000];
    for (int i = 0; i < 5000; i++)
        x[i] = lk_rng_normal(3, 0, (uint64_t)i);
    for (int r = 0; r < N_RATES; r++) {
        const int64_t pieces[] = {1, 7, 480, 4999};
        int64_t n_whole = 0;
        float *const whole = resample(rates[r][0], rates[r][1], x, 5000, 5000, &n_whole);
        for (size_t p = 0; p < 4; p++) {
            int64_t n = 0;
            float *const y = resample(rates[r][0], rates[r][1], x, 5000, pieces[p], &n);
            assert_int_equal(n, n_whole);
            assert_memory_equal(y, whole, (size_t)n * sizeof *y);
            lk_free(y);
        }
        lk_free(whole);
    }
}

static void resampler_starts_anew_after_flush(void **state)
{
    (void)state;
    lk_resampler *r = NULL;
    float x[1000], first[700];
    const float *out = NULL;
    int64_t n = 0, total[2] = {0, 0};
    for (int i = 0; i < 1000; i++)
        x[i] = lk_rng_normal(4, 0, (uint64_t)i);
    CHECK_OK(lk_resampler_create(&r, 44100, 24000));
    for (int round = 0; round < 2; round++) {
        for (int part = 0; part < 2; part++) {
            if (part == 0)
                CHECK_OK(lk_resampler_push(r, x, 1000, &out, &n));
            else
                CHECK_OK(lk_resampler_flush(r, &out, &n));
            if (round == 0)
                memcpy(first + total[0], out, (size_t)n * sizeof *out);
            else
                assert_memory_equal(first + total[1], out, (size_t)n * sizeof *out);
            total[round] += n;
        }
    }
    assert_int_equal(total[0], 545);
    assert_int_equal(total[1], 545);
    lk_resampler_free(&r);
    CHECK_FAILS(lk_resampler_create(&r, 0, 24000), LK_E_ARG);
}

static void spectra_are_centred_and_scaled(void **state)
{
    (void)state;
    lk_stft *s = NULL;
    static float x[9600], power[513], whole[80][513];
    for (int i = 0; i < 9600; i++)
        x[i] = (float)sin(2 * M_PI * 1500 * i / 24000.0);
    CHECK_OK(lk_stft_create(&s, 960, 1024, 120));
    CHECK_OK(lk_stft_push(s, x, 9600));
    CHECK_OK(lk_stft_end(s));
    int frames = 0;
    while (lk_stft_next(s, whole[frames])) {
        double sum = 0;
        for (int k = 0; k <= 512; k++)
            sum += (double)whole[frames][k];
        if (frames >= 4 && frames < 76)
            CHECK_CLOSE(sum, 0.5, 1e-3);
        frames++;
    }
    assert_int_equal(frames, 80);
    lk_stft_free(&s);
    CHECK_OK(lk_stft_create(&s, 960, 1024, 120));
    for (int i = 0, k = 0; i <= 9600; i += 50) { /* the same bits in small pieces */
        CHECK_OK(i < 9600 ? lk_stft_push(s, x + i, 50) : lk_stft_end(s));
        while (lk_stft_next(s, power))
            assert_memory_equal(power, whole[k++], sizeof power);
    }
    lk_stft_free(&s);

    memset(x, 0, sizeof x);
    x[4800] = 1; /* a click is heaviest in the frame centred on it, and symmetric around it */
    double total[80];
    CHECK_OK(lk_stft_create(&s, 960, 1024, 120));
    CHECK_OK(lk_stft_push(s, x, 9600));
    CHECK_OK(lk_stft_end(s));
    for (int f = 0; lk_stft_next(s, power); f++) {
        total[f] = 0;
        for (int k = 0; k <= 512; k++)
            total[f] += (double)power[k];
    }
    for (int d = 1; d < 4; d++) {
        CHECK_CLOSE(total[40 - d], total[40 + d], 1e-9);
        assert_true(total[40 - d] < total[40 - d + 1]);
    }
    lk_stft_free(&s);
    CHECK_FAILS(lk_stft_create(&s, 961, 1024, 120), LK_E_ARG);
}

static void mel_bands_cover_the_range(void **state)
{
    (void)state;
    lk_mel_bank bank;
    CHECK_OK(lk_mel_bank_create(&bank, 40, 1024, 24000, 30, 11000));
    float power[513] = {0}, band[40];
    for (int k = 2; k < 465; k++) {
        power[k] = 1;
        lk_mel_bank_apply(&bank, power, band);
        power[k] = 0;
        float sum = 0;
        int best = 0;
        for (int b = 0; b < 40; b++) {
            sum += band[b];
            best = band[b] > band[best] ? b : best;
        }
        if (k > 10) { /* neighbouring triangles add up to one */
            CHECK_CLOSE(sum, k > 430 ? sum : 1, 1e-5);
            const double hz = k * 24000.0 / 1024;
            assert_true(fabs(lk_mel_centre(best, 40, 30, 11000) - hz) < 0.1 * hz + 25);
        }
    }
    for (int b = 0; b < 40; b++)
        assert_true(bank.count[b] > 0);
    lk_mel_bank_clear(&bank);
    CHECK_FAILS(lk_mel_bank_create(&bank, 40, 1024, 24000, 30, 13000), LK_E_ARG);
}

/* Table 3 of IEC 61672-1, in dB, at the exact frequencies 1000 * 10^(n / 10) of the bands. */
static void a_weighting_follows_the_standard(void **state)
{
    (void)state;
    const double table[][2] = {{-15, -39.4}, {-12, -26.2}, {-9, -16.1}, {-6, -8.6}, {-3, -3.2},
                               {0, 0},       {3, 1.2},     {6, 1.0},    {9, -1.1},  {12, -6.6}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const double hz = 1000 * pow(10, table[i][0] / 10);
        CHECK_CLOSE(10 * log10(lk_a_weight(hz)), table[i][1], 0.051);
    }
}

static void failed_allocations_leak_nothing(void **state)
{
    (void)state;
    for (int64_t n = 1; n < 12; n++) {
        lk_stft *s = NULL;
        lk_resampler *r = NULL;
        lk_mel_bank bank;
        lk_mem_fail_after(n);
        const lk_status a = lk_stft_create(&s, 960, 1024, 120);
        const lk_status b = lk_resampler_create(&r, 44100, 24000);
        const lk_status c = lk_mel_bank_create(&bank, 40, 1024, 24000, 30, 11000);
        assert_int_equal(a != LK_OK || b != LK_OK || c != LK_OK, lk_mem_fault_fired());
        lk_mem_fail_after(0);
        lk_stft_free(&s);
        lk_resampler_free(&r);
        lk_mel_bank_clear(&bank);
    }
    lk_error_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transform_is_the_sum),
        cmocka_unit_test(resampled_sines_lie_on_the_true_clock),
        cmocka_unit_test(what_would_alias_is_gone),
        cmocka_unit_test(resampling_ignores_the_cutting),
        cmocka_unit_test(resampler_starts_anew_after_flush),
        cmocka_unit_test(spectra_are_centred_and_scaled),
        cmocka_unit_test(mel_bands_cover_the_range),
        cmocka_unit_test(a_weighting_follows_the_standard),
        cmocka_unit_test(failed_allocations_leak_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
