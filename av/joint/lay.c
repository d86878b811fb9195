/* lay.c - events laid on the picture where they are.
 *
 * A latent i shows the time [a_i, b_i).  An event of places is looked at at two instants, each only
 * if it goes on then: at a_i, what the first frame of the latent shows, and at b_i.  An event of no
 * length in [a_i, b_i) lies there at both.  With p its place in tokens (column, row) from the
 * middle of the token at (c, r), the token gets for each instant
 *
 *     what    sum over events of hat(p_x / REACH) hat(p_y / REACH) e,   hat(d) = max(0, 1 - |d|)
 *     where   sum over events of hat(p_x / STEP - x) hat(p_y / STEP - y) for points (x, y) of a
 * grid of LK_JOINT_GRID^2 around the token's middle, STEP apart
 *
 * e being the event's token.  `where` is a picture of places much finer than a token, because what
 * a latent looks like changes with every pixel that something moves, and a network is slow to make
 * such a function out of two coordinates.  So nothing has to be found by attention: who lies where
 * follows from integers of the clock and from places.
 */
#include "av/joint/joint_impl.h"

#include <math.h>
#include <string.h>

#define REACH 1.5  /* tokens */
#define STEP  0.25 /* tokens */
#define LOUD  8    /* so that few numbers of a grid count as much as all of a token */

static double hat(double distance)
{
    return fmax(0, 1 - fabs(distance));
}

static void draw_where(double dx, double dy, float *grid)
{
    const double middle = (LK_JOINT_GRID - 1) / 2.0;
    for (int y = 0; y < LK_JOINT_GRID; y++)
        for (int x = 0; x < LK_JOINT_GRID; x++)
            grid[y * LK_JOINT_GRID + x] +=
                (float)(LOUD * hat(dx / STEP + middle - x) * hat(dy / STEP + middle - y));
}

/* Event k at (x, y), in tokens, on those of a latent. */
static void lay(const lk_joint_sizes *s, int end, double x, double y, int k, float *what,
                float *where)
{
    const int from_r = (int)fmax(0, ceil(y - REACH)), from_c = (int)fmax(0, ceil(x - REACH));
    for (int r = from_r; r < s->rows && r < y + REACH; r++)
        for (int c = from_c; c < s->columns && c < x + REACH; c++) {
            const int64_t at = 2 * ((int64_t)r * s->columns + c) + end;
            what[at * s->events + k] += (float)(hat((x - c) / REACH) * hat((y - r) / REACH));
            draw_where(x - c, y - r, where + at * LK_JOINT_GRID * LK_JOINT_GRID);
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
                  const int32_t *order, int n_events, float *what, float *where)
{
    const lk_joint_sizes s = lk_joint_inside(m, positions);
    const double across = (double)positions->columns / m->config.patch;
    const double down = (double)positions->rows / m->config.patch;
    const int64_t each = 2 * (int64_t)s.rows * s.columns, grid = LK_JOINT_GRID * LK_JOINT_GRID;
    memset(what, 0, (size_t)(each * s.events * s.latents) * sizeof *what);
    memset(where, 0, (size_t)(each * grid * s.latents) * sizeof *where);
    for (int k = 0; k < n_events; k++) {
        const lk_joint_event *e = &c->events[order[k]];
        for (int i = 0; e->place.ends > 0 && i < c->n_latents; i++)
            for (int end = 0; end < 2; end++) {
                double x, y;
                if (goes_on(e, c->video_span[i], end, &x, &y))
                    lay(&s, end, x * across - 0.5, y * down - 0.5, k, what + i * each * s.events,
                        where + i * each * grid);
            }
    }
}
