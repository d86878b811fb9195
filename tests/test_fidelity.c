/* test_fidelity.c - align/fidelity.h on signals from a congruential generator.  Expected values:
 * pystoi 0.4.1, pytorch-msssim 1.0.0 and the formulas in double precision, on the same signals. */
#include "tests/check.h"

#include "align/fidelity.h"
#include "kernels/mem.h"

static uint32_t lcg_state;

/* In [-1, 1). */
static double lcg(void)
{
    lcg_state = (1103515245u * lcg_state + 12345u) & 0x7fffffffu;
    return (double)(lcg_state >> 16 & 0x7fff) / 16384 - 1;
}

#define PI 3.14159265358979323846

enum { N = 30000, RATE = 10000, H = 176, W = 208 };
static float x[N], y[N];
static uint8_t a[H * W], b[H * W];

static void make_sound(void)
{
    lcg_state = 12345;
    for (int i = 0; i < N; i++) {
        const double t = i / (double)RATE;
        const double v = 0.5 * sin(2 * PI * 220 * t) * (0.6 + 0.4 * sin(2 * PI * 3 * t));
        x[i] = (float)(v + 0.05 * lcg());
        if (i % RATE < RATE / 5)
            x[i] = 0;
    }
    for (int i = 0; i < N; i++)
        y[i] = (float)(x[i] + 0.1 * lcg());
}

static uint8_t to_byte(double v)
{
    v = floor(v + 0.5);
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static void make_picture(void)
{
    lcg_state = 12345;
    for (int i = 0; i < H * W; i++)
        a[i] = to_byte(128 + 60 * sin(i / W / 7.0) * cos(i % W / 11.0) + 20 * lcg());
    for (int i = 0; i < H * W; i++)
        b[i] = to_byte(a[i] + 30 * lcg());
}

static void sound_against_published_programs(void **state)
{
    double v = 0;
    (void)state;
    make_sound();
    CHECK_OK(lk_stoi(x, y, N, RATE, &v));
    CHECK_CLOSE(v, 0.4454833082, 1e-6);
    CHECK_OK(lk_si_sdr(x, y, N, &v));
    CHECK_CLOSE(v, 10.6749951232, 1e-6);
}

static void sound_properties(void **state)
{
    double v = 0, half = 0;
    (void)state;
    make_sound();
    CHECK_OK(lk_mel_distance(x, x, N, RATE, 1e9, &v));
    CHECK_CLOSE(v, 0, 0);
    CHECK_OK(lk_stft_distance(x, x, N, RATE, 1e9, &v));
    CHECK_CLOSE(v, 0, 0);
    CHECK_OK(lk_stoi(x, x, N, RATE, &v));
    CHECK_CLOSE(v, 1, 1e-9);
    CHECK_OK(lk_si_sdr(x, x, N, &v));
    CHECK_CLOSE(v, 120, 0);
    for (int i = 0; i < N; i++)
        y[i] = 10 * y[i];
    CHECK_OK(lk_si_sdr(x, y, N, &v));
    CHECK_CLOSE(v, 10.6749951232, 1e-5);
    /* ten times the amplitude is one decade in every band that is above the floor in both */
    for (int i = 0; i < N; i++) {
        x[i] = (float)(0.1 * lcg());
        y[i] = 10 * x[i];
    }
    CHECK_OK(lk_mel_distance(x, y, N, RATE, 1e9, &v));
    CHECK_OK(lk_mel_distance(x, y, N, RATE, 2500, &half));
    CHECK_CLOSE(v, 2, 1e-5);
    CHECK_CLOSE(half, 2, 1e-5);
}

static void pictures_against_published_programs(void **state)
{
    const lk_clip_view va = {a, 1, H, W, 1}, vb = {b, 1, H, W, 1};
    double v = 0, frame = 0;
    (void)state;
    make_picture();
    CHECK_OK(lk_ssim(&va, &vb, &v));
    CHECK_CLOSE(v, 0.5830778980, 1e-5);
    CHECK_OK(lk_ms_ssim(&va, &vb, &v));
    CHECK_CLOSE(v, 0.9312706309, 1e-5);
    CHECK_OK(lk_psnr(&va, &vb, &v, &frame));
    CHECK_CLOSE(v, 23.3452505877, 1e-9);
    CHECK_CLOSE(frame, v, 0);
    CHECK_OK(lk_psnr(&va, &va, &v, NULL));
    CHECK_CLOSE(v, 120, 0);
}

/* Two frames of three channels: planes keep apart, and flicker counts only what is not shared. */
static void clips(void **state)
{
    static uint8_t p[2 * 20 * 20 * 3], q[2 * 20 * 20 * 3];
    const lk_clip_view vp = {p, 2, 20, 20, 3}, vq = {q, 2, 20, 20, 3};
    double v = 0, frames[2];
    (void)state;
    for (int i = 0; i < 1200; i++) {
        p[i] = (uint8_t)(i % 200);
        p[1200 + i] = (uint8_t)(p[i] + 10);
        q[i] = p[i];
        q[1200 + i] = (uint8_t)(p[1200 + i] + (i % 3 == 1 ? 3 : 0));
    }
    CHECK_OK(lk_flicker(&vp, &vq, &v));
    CHECK_CLOSE(v, 1, 1e-12);
    CHECK_OK(lk_psnr(&vp, &vq, &v, frames));
    CHECK_CLOSE(frames[0], 120, 0);
    CHECK_CLOSE(frames[1], 10 * log10(255.0 * 255 / 3), 1e-9);
    CHECK_OK(lk_ssim(&vp, &vp, &v));
    CHECK_CLOSE(v, 1, 1e-9);
}

static void too_little(void **state)
{
    const lk_clip_view small = {a, 1, 10, 10, 1}, other = {a, 1, 10, 11, 1}, none = {a, 0, 9, 9, 1};
    double v = 0;
    (void)state;
    memset(x, 0, sizeof x);
    CHECK_FAILS(lk_si_sdr(x, y, N, &v), LK_E_EMPTY);
    CHECK_FAILS(lk_si_sdr(x, y, 0, &v), LK_E_EMPTY);
    CHECK_FAILS(lk_stoi(x, y, 1000, RATE, &v), LK_E_EMPTY);
    CHECK_FAILS(lk_mel_distance(x, y, 0, RATE, 1e9, &v), LK_E_EMPTY);
    CHECK_FAILS(lk_ssim(&small, &small, &v), LK_E_EMPTY);
    CHECK_FAILS(lk_ms_ssim(&small, &small, &v), LK_E_EMPTY);
    CHECK_FAILS(lk_psnr(&small, &other, &v, NULL), LK_E_SHAPE);
    CHECK_FAILS(lk_psnr(&none, &none, &v, NULL), LK_E_EMPTY);
    CHECK_FAILS(lk_flicker(&small, &small, &v), LK_E_EMPTY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sound_against_published_programs),
                                       cmocka_unit_test(sound_properties),
                                       cmocka_unit_test(pictures_against_published_programs),
                                       cmocka_unit_test(clips), cmocka_unit_test(too_little)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
