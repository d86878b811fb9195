/* clock.c - exact conversions between ticks and flicks.
 *
 *   t = round(n * den * F / num),   n = round(t * num / (den * F)),   F = 705 600 000
 *
 * The products are formed in 128 bits, so no intermediate can overflow for any int64 input whose
 * rate has 31-bit terms; larger terms are rejected. */
#include "kernels/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef __int128 int128;

static int128 div_nearest(int128 a, int128 b)
{
    const int128 half = b / 2;
    return a >= 0 ? (a + half) / b : -((-a + half) / b);
}

static lk_status check_rate(lk_rational rate)
{
    if (rate.num <= 0 || rate.den <= 0 || rate.num > INT32_MAX || rate.den > INT32_MAX)
        return LK_FAIL(LK_E_ARG,
                       "a rate must be a positive ratio of 31-bit integers, got %lld/%lld",
                       (long long)rate.num, (long long)rate.den);
    return LK_OK;
}

static lk_status narrow(int128 value, int64_t *out)
{
    if (value > INT64_MAX || value <= INT64_MIN)
        return LK_FAIL(LK_E_NUMERIC, "a time is outside the clock's range of 413 years");
    *out = (int64_t)value;
    return LK_OK;
}

lk_status lk_flick_from_ticks(int64_t n, lk_rational rate, lk_flick *out)
{
    lk_status st = LK_OK;
    LK_TRY(check_rate(rate));
    LK_TRY(narrow(div_nearest((int128)n * rate.den * LK_FLICKS_PER_S, rate.num), out));
done:
    return st;
}

lk_status lk_ticks_from_flick(lk_flick t, lk_rational rate, int64_t *out)
{
    lk_status st = LK_OK;
    LK_TRY(check_rate(rate));
    LK_TRY(narrow(div_nearest((int128)t * rate.num, (int128)rate.den * LK_FLICKS_PER_S), out));
done:
    return st;
}

lk_flick lk_flick_from_samples(int64_t n, int rate_hz)
{
    LK_ASSERT(rate_hz > 0);
    return (lk_flick)div_nearest((int128)n * LK_FLICKS_PER_S, rate_hz);
}

int64_t lk_samples_from_flick(lk_flick t, int rate_hz)
{
    LK_ASSERT(rate_hz > 0);
    return (int64_t)div_nearest((int128)t * rate_hz, LK_FLICKS_PER_S);
}

bool lk_rate_is_exact(lk_rational rate)
{
    return rate.num > 0 && rate.den > 0 && (int128)rate.den * LK_FLICKS_PER_S % rate.num == 0;
}

static bool parse_ratio(const char *text, lk_rational *out)
{
    char *end = NULL;
    const long long num = strtoll(text, &end, 10);
    if (end == text || *end != '/')
        return false;
    const char *second = end + 1;
    const long long den = strtoll(second, &end, 10);
    if (end == second || *end != '\0')
        return false;
    *out = (lk_rational){num, den};
    return true;
}

static bool parse_decimal(const char *text, lk_rational *out)
{
    static const struct {
        const char *name;
        lk_rational rate;
    } ntsc[] = {{"23.976", {24000, 1001}}, {"23.98", {24000, 1001}},   {"29.97", {30000, 1001}},
                {"59.94", {60000, 1001}},  {"119.88", {120000, 1001}}, {"47.952", {48000, 1001}}};
    for (size_t i = 0; i < sizeof ntsc / sizeof ntsc[0]; i++) {
        if (strcmp(text, ntsc[i].name) == 0) {
            *out = ntsc[i].rate;
            return true;
        }
    }
    int64_t num = 0, den = 1;
    int digits = 0, decimals = -1;
    for (const char *p = text; *p; p++) {
        if (*p == '.' && decimals < 0) {
            decimals = 0;
            continue;
        }
        if (*p < '0' || *p > '9' || ++digits > 9)
            return false;
        num = num * 10 + (*p - '0');
        if (decimals >= 0) {
            decimals++;
            den *= 10;
        }
    }
    *out = (lk_rational){num, den};
    return digits > 0;
}

lk_status lk_rate_parse(const char *text, lk_rational *out)
{
    lk_rational rate = {0, 1};
    const bool ok = parse_ratio(text, &rate) || parse_decimal(text, &rate);
    if (!ok || rate.num <= 0 || rate.den <= 0 || rate.num > INT32_MAX || rate.den > INT32_MAX ||
        rate.num > 1000 * rate.den)
        return LK_FAIL(LK_E_ARG,
                       "'%.40s' is not a frame rate; write 25, 29.97 or 30000/1001 (at most 1000)",
                       text);
    int64_t a = rate.num, b = rate.den;
    while (b != 0) {
        const int64_t r = a % b;
        a = b;
        b = r;
    }
    *out = (lk_rational){rate.num / a, rate.den / a};
    return LK_OK;
}

double lk_flick_to_s(lk_flick t)
{
    return (double)t / (double)LK_FLICKS_PER_S;
}

double lk_flick_to_ms(lk_flick t)
{
    return (double)t / (double)LK_FLICKS_PER_MS;
}

lk_flick lk_flick_from_s(double seconds)
{
    const double t = seconds * (double)LK_FLICKS_PER_S;
    if (isnan(t))
        return LK_FLICK_NONE;
    if (t >= 9.2e18)
        return INT64_MAX;
    if (t <= -9.2e18)
        return -INT64_MAX;
    return (lk_flick)llround(t);
}
