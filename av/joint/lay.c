/* lay.c - events laid on the picture where they are.
 *
 * A latent i shows the time [a_i, b_i).  An event of places, position p(t) in tokens (column, row)
 * from the middle of the first one, lies on the token at (c, r) of that latent with
 *
 *     w = hat(p_x - c) hat(p_y - r),   hat(d) = max(0, 1 - |d| / REACH)
 *
 * at two instants, each only if the event goes on then: at a_i, what the first frame of the latent
 * shows, and at b_i.  An event of no length in [a_i, b_i) lies there at both.  What a token gets is
 *
 *     sum over events e and both instants of A_k (w e),  B_k (w (p_x - c) e),  C_k (w (p_y - r) e)
 *
 * with e the event's token and matrices A, B, C that are learnt.  So nothing has to be found by
 * attention: who lies where follows from integers of the clock and from places.
 */
#include "av/joint/joint_impl.h"

#include <math.h>
#include <string.h>

#define REACH 1.5 /* tokens */

static double hat(double distance)
{
    return fmax(0, 1 - fabs(distance) / REACH);
}

/* Event `at` of n at (x, y), in tokens, into rows [tokens, LK_JOINT_LAID, n] of a latent. */
static void lay(const lk_joint_sizes *s, int first, double x, double y, int at, int n, float *rows)
{
    const int from_r = (int)fmax(0, ceil(y - REACH)), from_c = (int)fmax(0, ceil(x - REACH));
    for (int r = from_r; r < s->rows && r < y + REACH; r++)
        for (int c = from_c; c < s->columns && c < x + REACH; c++) {
            const double w = hat(x - c) * hat(y - r);
            float *row = rows + ((int64_t)(r * s->columns + c) * LK_JOINT_LAID + first) * n + at;
            row[0] += (float)w;
            row[n] += (float)(w * (x - c));
            row[2 * n] += (float)(w * (y - r));
        }
}

/* Does it go on at the latent's start, at its end?  Where then? */
static int goes_on(const lk_joint_event *e, lk_span latent, int end, double *x, double *y)
{
    const lk_flick t = end ? latent.end : latent.start;
    const int instant = e->span.end <= e->span.start;
    if (instant ? e->span.start < latent.start || e->span.start >= latent.end
        : end   ? e->span.start >= t || e->span.end < t
                : e->span.start > t || e->span.end <= t)
        return 0;
    lk_place_when(&e->place, e->span, instant ? e->span.start : t, x, y);
    return isfinite(*x) && isfinite(*y) && fabs(*x) < 100 && fabs(*y) < 100;
}

void lk_joint_lay(const lk_joint *m, const lk_joint_sizes *positions, const lk_joint_clip *c,
                  const int32_t *order, int n_events, float *out)
{
    const lk_joint_sizes s = lk_joint_inside(m, positions);
    const double across = (double)positions->columns / m->config.patch;
    const double down = (double)positions->rows / m->config.patch;
    const int64_t latent = (int64_t)s.rows * s.columns * LK_JOINT_LAID * s.events;
    memset(out, 0, (size_t)(latent * s.latents) * sizeof *out);
    for (int k = 0; k < n_events; k++) {
        const lk_joint_event *e = &c->events[order[k]];
        for (int i = 0; e->place.ends > 0 && i < c->n_latents; i++)
            for (int end = 0; end < 2; end++) {
                double x, y;
                if (goes_on(e, c->video_span[i], end, &x, &y))
                    lay(&s, 3 * end, x * across - 0.5, y * down - 0.5, k, s.events,
                        out + i * latent);
            }
    }
}
