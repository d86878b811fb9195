/* impacts.h - the scene of the world `impacts`, shared by its physics (impacts.c) and its drawing
 * (impacts_draw.c).
 *
 * Units: seconds of picture time; y in picture heights, downwards; x as a fraction of the width.
 */
#ifndef LK_IMPACTS_H
#define LK_IMPACTS_H

#include "experiments/worlds/modal.h"
#include "experiments/worlds/raster.h"
#include "experiments/worlds/world_impl.h"

#define LK_GRAVITY   5.0 /* picture heights per s^2: the picture is about 2 m high */
#define LK_HORIZON   0.60
#define LK_MAX_BALLS 4
#define LK_MAX_BARS  7

typedef struct lk_leg {
    double t0, x0, y0, vx, vy, g;
    bool hidden; /* out of sight */
} lk_leg;

typedef struct lk_hit {
    double t, x, y, strength;
    int body; /* index into body */
} lk_hit;

typedef struct lk_ball {
    int64_t n_legs;
    size_t capacity;
    lk_leg *legs;
    lk_material material;
    double radius, ground; /* ground: y where it touches the floor */
    lk_sphere_look look;
} lk_ball;

typedef struct lk_bar {
    double x, y, width; /* x as a fraction of the width; y of its top; width as a fraction */
    lk_colour colour;
} lk_bar;

typedef struct lk_impacts {
    lk_world_setup setup;
    bool on_bars;
    int n_balls, n_bars;
    lk_ball balls[LK_MAX_BALLS];
    lk_bar bars[LK_MAX_BARS];
    lk_modal_body body[LK_MAX_BARS];
    lk_material bar_material;
    lk_texture_kind floor_kind;
    lk_colour floor_colour, wall_top, wall_bottom;
    int wall_side;  /* 0 none, -1 left, 1 right */
    double wall_at; /* x fraction where a ball's centre turns */
    int64_t n_hits;
    size_t hit_capacity;
    lk_hit *hits; /* sorted by t */
} lk_impacts;

/* Index of the first hit later than t. */
int64_t lk_impacts_first_after(const lk_impacts *s, double t);

/* Where a ball is; false when it is out of sight.  x as a fraction of the width. */
bool lk_impacts_ball_at(const lk_ball *b, double t, double *x, double *y);

void lk_impacts_backdrop(const void *scene, lk_canvas *canvas);
void lk_impacts_draw(const void *scene, double t, lk_canvas *canvas);

#endif /* LK_IMPACTS_H */
