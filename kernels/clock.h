/* clock.h - one integer clock for everything that has a time.
 *
 * The unit is the flick, 1/705 600 000 s, in an int64.  One tick of 24, 25, 30, 50, 60, 100 and
 * 120 fps, of their /1.001 variants, of 90 kHz and of every audio rate from 8 to 192 kHz of both
 * families is a whole number of flicks, so those conversions are exact.  The range is +-413 years.
 *
 * Everything that lasts carries a half-open span [start, end).  Sample n of audio that starts at p
 * lies at p + n / rate; a frame covers [its presentation time, the next frame's presentation time).
 *
 * Sign rule of the whole project: an offset > 0 means the sound is late relative to the picture.
 *
 * Threads      pure functions.
 * Source       the flick was proposed by Facebook in 2018; the span rule is ours.
 */
#ifndef LK_CLOCK_H
#define LK_CLOCK_H

#include "kernels/status.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef int64_t lk_flick;

#define LK_FLICKS_PER_S  INT64_C(705600000)
#define LK_FLICKS_PER_MS INT64_C(705600)
#define LK_FLICK_NONE    INT64_MIN /* "this has no time" */

/* A ratio of integers.  As a rate: ticks per second; den > 0 always. */
typedef struct lk_rational {
    int64_t num;
    int64_t den;
} lk_rational;

/* Half-open interval [start, end) in flicks; empty when end <= start. */
typedef struct lk_span {
    lk_flick start;
    lk_flick end;
} lk_span;

/* Time of tick n of a clock with `rate` ticks per second, rounded to the nearest flick (ties away
 * from zero).  Exact whenever rate divides the flick.  LK_E_ARG on a rate <= 0, LK_E_NUMERIC when
 * the result leaves int64. */
LK_CHECKED lk_status lk_flick_from_ticks(int64_t n, lk_rational rate, lk_flick *out);

/* Index of the tick nearest to t (ties away from zero); the inverse of the above. */
LK_CHECKED lk_status lk_ticks_from_flick(lk_flick t, lk_rational rate, int64_t *out);

/* Sample times for the usual case.  rate_hz must be positive and |n| / rate_hz below 400 years
 * (asserted: media I/O has checked both before). */
lk_flick lk_flick_from_samples(int64_t n, int rate_hz);
int64_t lk_samples_from_flick(lk_flick t, int rate_hz);

/* True when every tick of this rate falls on a whole flick. */
bool lk_rate_is_exact(lk_rational rate);

/* Parse "25", "29.97", "23.976", "59.94", "30000/1001", "12.5".  The usual decimal names of the
 * NTSC rates mean their exact ratios.  LK_E_ARG on anything else or outside (0, 1000]. */
LK_CHECKED lk_status lk_rate_parse(const char *text, lk_rational *out);

/* Floats are for people and for plots. */
double lk_flick_to_s(lk_flick t);
double lk_flick_to_ms(lk_flick t);
lk_flick lk_flick_from_s(double seconds); /* nearest; saturates outside int64, NaN -> NONE */

static inline lk_flick lk_span_length(lk_span s)
{
    return s.end > s.start ? s.end - s.start : 0;
}

static inline bool lk_span_contains(lk_span s, lk_flick t)
{
    return t >= s.start && t < s.end;
}

static inline bool lk_span_overlaps(lk_span a, lk_span b)
{
    return a.start < b.end && b.start < a.end;
}

static inline lk_span lk_span_intersect(lk_span a, lk_span b)
{
    lk_span s = {a.start > b.start ? a.start : b.start, a.end < b.end ? a.end : b.end};
    if (s.end < s.start)
        s.end = s.start;
    return s;
}

static inline lk_flick lk_span_middle(lk_span s)
{
    return s.start + (s.end - s.start) / 2;
}

#ifdef __cplusplus
}
#endif

#endif /* LK_CLOCK_H */
