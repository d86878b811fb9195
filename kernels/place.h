/* place.h - where in a picture something is.
 *
 * x runs from 0 at the left edge to 1 at the right one, y from 0 at the upper edge to 1 at the
 * lower one; what is outside the picture has numbers outside this range.  A zeroed place is
 * nowhere.
 */
#ifndef LK_PLACE_H
#define LK_PLACE_H

#include "kernels/clock.h"

typedef struct lk_place {
    int ends; /* 0: nowhere, 1: at (x[0], y[0]), 2: on the straight way from there to (x[1], y[1])
               */
    double x[2], y[2];
} lk_place;

static inline lk_place lk_place_at(double x, double y)
{
    return (lk_place){1, {x, 0}, {y, 0}};
}

static inline lk_place lk_place_way(double x0, double y0, double x1, double y1)
{
    return (lk_place){2, {x0, x1}, {y0, y1}};
}

/* Where it is at t of [span.start, span.end]; it moves evenly.  Not for a place that is nowhere. */
static inline void lk_place_when(const lk_place *p, lk_span span, lk_flick t, double *x, double *y)
{
    const double f = p->ends == 2 && span.end > span.start
                         ? (double)(t - span.start) / (double)(span.end - span.start)
                         : 0;
    *x = p->x[0] + (f > 0 ? f * (p->x[1] - p->x[0]) : 0);
    *y = p->y[0] + (f > 0 ? f * (p->y[1] - p->y[0]) : 0);
}

#endif /* LK_PLACE_H */
