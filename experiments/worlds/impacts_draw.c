/* impacts_draw.c - what the world `impacts` looks like. */
#include "experiments/worlds/impacts.h"

#include "kernels/rng.h"

#include <math.h>

#define PI   3.14159265358979323846
#define EDGE 0.12 /* drawn beyond the picture, for the camera */

enum { S_CLUTTER = LK_STREAM_KIND + 80 };

/* ---- what stands still -------------------------------------------------------------------- */

static lk_colour shade(lk_colour colour, double alpha)
{
    (void)colour;
    return lk_alpha(lk_rgb(0x101018), alpha);
}

static void draw_window(const lk_impacts *s, lk_canvas *c)
{
    const double a = s->setup.aspect, w = 0.17 * a, h = 0.26;
    const double x = a * lk_rng_range(s->setup.seed, S_CLUTTER, 0, 0.25, 0.58), y = 0.10;
    lk_draw_rect(c, x - 0.012, y - 0.012, x + w + 0.012, y + h + 0.012, lk_rgb(0xf2efe6),
                 lk_rgb(0xd8d3c4));
    lk_draw_rect(c, x, y, x + w, y + h, lk_rgb(0x9cc8ee), lk_rgb(0xdcecf6));
    lk_path hill;
    lk_path_move(&hill, x, y + h);
    lk_path_line(&hill, x, y + 0.80 * h);
    lk_path_cubic(&hill, x + 0.3 * w, y + 0.60 * h, x + 0.5 * w, y + 0.95 * h, x + w, y + 0.7 * h);
    lk_path_line(&hill, x + w, y + h);
    lk_draw_path(c, &hill, lk_rgb(0x8fbb80), lk_rgb(0x5f9058));
    lk_draw_rect(c, x + w / 2 - 0.006, y, x + w / 2 + 0.006, y + h, lk_rgb(0xece8dc),
                 lk_rgb(0xd8d3c4));
    lk_draw_rect(c, x, y + h * 0.48, x + w, y + h * 0.48 + 0.012, lk_rgb(0xece8dc),
                 lk_rgb(0xd8d3c4));
    lk_draw_rect(c, x - 0.03, y + h + 0.01, x + w + 0.03, y + h + 0.035, lk_rgb(0xf6f3ea),
                 lk_rgb(0xbfb9a8));
}

static void draw_room(const lk_impacts *s, lk_canvas *c)
{
    const double a = s->setup.aspect;
    const lk_point wall[4] = {
        {-EDGE, -EDGE}, {a + EDGE, -EDGE}, {a + EDGE, LK_HORIZON}, {-EDGE, LK_HORIZON}};
    lk_draw_fill(c, s->wall_top, s->wall_bottom);
    lk_draw_textured(c, wall, 4, LK_TEXTURE_PLASTER, s->setup.seed, 7, NAN, s->wall_bottom);
    lk_draw_rect(c, -EDGE, -EDGE, a + EDGE, LK_HORIZON, shade(s->wall_top, 0.22),
                 shade(s->wall_top, 0));
    if (!s->on_bars)
        draw_window(s, c);
    const lk_point floor_shape[4] = {
        {-EDGE, LK_HORIZON}, {a + EDGE, LK_HORIZON}, {a + EDGE, 1 + EDGE}, {-EDGE, 1 + EDGE}};
    lk_draw_textured(c, floor_shape, 4, s->floor_kind, s->setup.seed + 1, 3.2, 0.12,
                     s->floor_colour);
    lk_draw_rect(c, -EDGE, LK_HORIZON - 0.035, a + EDGE, LK_HORIZON, lk_rgb(0xefe9dc),
                 lk_rgb(0xc4bcaa));
    lk_draw_rect(c, -EDGE, LK_HORIZON, a + EDGE, LK_HORIZON + 0.06, shade(s->wall_top, 0.35),
                 shade(s->wall_top, 0));
}

/* The block whose face stops a ball's edge when its centre is at wall_at. */
static void draw_wall(const lk_impacts *s, lk_canvas *c)
{
    const double a = s->setup.aspect, side = s->wall_side;
    const double radius = s->balls[0].radius;
    const double face = s->wall_at * a + side * radius, back = side < 0 ? -EDGE : a + EDGE;
    const double deep = 0.05 * side, top = 0.16;
    const lk_point front[4] = {{face, top}, {back, top}, {back, 0.99}, {face, 0.99}};
    const lk_point flank[4] = {
        {face, top}, {face, 0.99}, {face + deep, LK_HORIZON + 0.12}, {face + deep, top - 0.05}};
    const lk_point lid[4] = {
        {face, top}, {back, top}, {back, top - 0.05}, {face + deep, top - 0.05}};
    lk_draw_ellipse(c, face - side * 0.02, 0.985, 0.16, 0.05, 0, 1, shade(s->wall_top, 0.4));
    lk_draw_textured(c, front, 4, LK_TEXTURE_STONE, s->setup.seed + 2, 6, NAN, lk_rgb(0xb06a4c));
    lk_draw_polygon(c, flank, 4, lk_rgb(0x8a4d36), lk_rgb(0x6d3a28));
    lk_draw_polygon(c, lid, 4, lk_rgb(0xd99a7a), lk_rgb(0xc98767));
}

void lk_impacts_backdrop(const void *scene, lk_canvas *c)
{
    const lk_impacts *s = scene;
    draw_room(s, c);
    if (s->wall_side)
        draw_wall(s, c);
}

/* ---- bars --------------------------------------------------------------------------------- */

/* A struck bar dips and swings back within a few tenths of a second. */
static double bar_dip(const lk_impacts *s, int index, double t)
{
    double dip = 0;
    for (int64_t i = lk_impacts_first_after(s, t - 0.6); i < s->n_hits && s->hits[i].t <= t; i++) {
        const lk_hit *h = &s->hits[i];
        const double age = t - h->t;
        if (h->body == index)
            dip += 0.010 * h->strength * exp(-age / 0.09) * sin(2 * PI * 7 * age);
    }
    return dip;
}

static void draw_drum(lk_canvas *c, double x, double half, double y, lk_colour skin)
{
    const double deep = 0.12;
    lk_path side;
    lk_draw_line(c, x - half * 0.8, y + 0.05, x - half * 0.95, 0.955, 0.012, 0.012,
                 lk_rgb(0x77777c));
    lk_draw_line(c, x + half * 0.8, y + 0.05, x + half * 0.95, 0.955, 0.012, 0.012,
                 lk_rgb(0x77777c));
    lk_path_move(&side, x - half, y);
    lk_path_line(&side, x + half, y);
    lk_path_line(&side, x + half * 0.92, y + deep);
    lk_path_quad(&side, x, y + deep + 0.035, x - half * 0.92, y + deep);
    lk_draw_path(c, &side, lk_rgb(0xc23b34), lk_rgb(0x7a1d1d));
    lk_draw_line(c, x - half * 0.97, y + 0.035, x + half * 0.97, y + 0.035, 0.008, 0.008,
                 lk_rgb(0xe2b54a));
    lk_draw_ellipse(c, x, y + 0.004, half, 0.026, 0, 0, lk_rgb(0xe2b54a));
    lk_draw_ellipse(c, x, y, half * 0.94, 0.021, 0, 0, skin);
}

static void draw_bar(const lk_impacts *s, lk_canvas *c, int index, double t)
{
    const lk_bar *b = &s->bars[index];
    const double a = s->setup.aspect, x = b->x * a, half = b->width * a / 2;
    const double y = b->y + bar_dip(s, index, t), thick = 0.035;
    lk_draw_ellipse(c, x, 0.955, half * 1.05, 0.03, 0, 1, shade(b->colour, 0.45));
    if (s->bar_material == LK_DRUM) {
        draw_drum(c, x, half, y, b->colour);
        return;
    }
    lk_draw_line(c, x - half * 0.6, y + thick, x - half * 0.6, 0.95, 0.014, 0.018,
                 lk_rgb(0x4a4038));
    lk_draw_line(c, x + half * 0.6, y + thick, x + half * 0.6, 0.95, 0.014, 0.018,
                 lk_rgb(0x4a4038));
    const lk_point top[4] = {
        {x - half, y}, {x + half, y}, {x + half * 0.94, y - 0.014}, {x - half * 0.94, y - 0.014}};
    const lk_point face[4] = {
        {x - half, y}, {x + half, y}, {x + half, y + thick}, {x - half, y + thick}};
    const lk_texture_kind kind = s->bar_material == LK_WOOD    ? LK_TEXTURE_WOOD
                                 : s->bar_material == LK_METAL ? LK_TEXTURE_METAL
                                                               : LK_TEXTURE_GLASS;
    lk_draw_textured(c, face, 4, kind, s->setup.seed + (uint64_t)index, 1, NAN,
                     lk_lighten(b->colour, 0.82));
    lk_draw_polygon(c, top, 4, lk_lighten(b->colour, 1.25), lk_lighten(b->colour, 1.08));
    lk_draw_ellipse(c, x - half * 0.6, y - 0.005, 0.009, 0.005, 0, 0, lk_rgb(0x3a3a40));
    lk_draw_ellipse(c, x + half * 0.6, y - 0.005, 0.009, 0.005, 0, 0, lk_rgb(0x3a3a40));
}

/* ---- balls -------------------------------------------------------------------------------- */

static void draw_shadow(const lk_impacts *s, const lk_ball *b, double x, double y, lk_canvas *c)
{
    double ground = b->ground;
    if (s->on_bars)
        ground = 0.955;
    const double height = fmax(0, ground - b->radius - y);
    const double size = b->radius * (1 + 0.7 * height), dark = 0.5 / (1 + 5 * height);
    lk_draw_ellipse(c, x + 0.25 * height, ground - 0.1 * b->radius, size, 0.3 * size, 0,
                    fmin(1, 0.5 + height), shade(b->look.colour, dark));
}

static void draw_dust(const lk_impacts *s, double t, lk_canvas *c)
{
    const double life = 0.28;
    for (int64_t i = lk_impacts_first_after(s, t - life); i < s->n_hits && s->hits[i].t <= t; i++) {
        const lk_hit *h = &s->hits[i];
        const double age = (t - h->t) / life, out = 0.07 * h->strength * sqrt(age + 0.02);
        const double ground = h->y + s->balls[s->on_bars ? 0 : h->body].radius;
        for (int k = 0; k < 6; k++) {
            const double angle = PI * (0.08 + 0.168 * k);
            lk_draw_ellipse(c, h->x * s->setup.aspect + out * cos(angle),
                            ground - 0.004 - 0.35 * out * sin(angle), 0.005, 0.004, 0, 0.5,
                            lk_alpha(lk_rgb(0xfff6dc), 0.8 * (1 - age) * h->strength));
        }
    }
}

/* ---- clutter: smooth silent motion -------------------------------------------------------- */

static void draw_lamp(const lk_impacts *s, double t, lk_canvas *c)
{
    const uint64_t seed = s->setup.seed;
    const double hz = lk_rng_range(seed, S_CLUTTER, 1, 0.35, 0.6);
    const double swing = 0.45 * sin(2 * PI * hz * t + lk_rng_range(seed, S_CLUTTER, 2, 0, 6));
    const double x0 = s->setup.aspect * lk_rng_range(seed, S_CLUTTER, 3, 0.3, 0.7), length = 0.24;
    const double x = x0 + length * sin(swing), y = -0.02 + length * cos(swing);
    const double co = cos(swing), si = sin(swing), w = 0.06, h = 0.06;
    const lk_point hood[4] = {{x - 0.3 * w * co, y + 0.3 * w * si},
                              {x + 0.3 * w * co, y - 0.3 * w * si},
                              {x + w * co + h * si, y - w * si + h * co},
                              {x - w * co + h * si, y + w * si + h * co}};
    lk_draw_line(c, x0, -0.1, x, y, 0.006, 0.006, lk_rgb(0x33302c));
    lk_draw_ellipse(c, x + h * si, y + h * co, 0.11, 0.11, 0, 1, lk_alpha(lk_rgb(0xfff0b0), 0.6));
    lk_draw_polygon(c, hood, 4, lk_rgb(0x2f7f6d), lk_rgb(0x1f5a4d));
}

static void draw_balloons(const lk_impacts *s, double t, lk_canvas *c)
{
    const uint64_t seed = s->setup.seed;
    for (uint64_t k = 0; k < 3; k++) {
        const double f = lk_rng_range(seed, S_CLUTTER + 1, 4 * k, 0.12, 0.35);
        const double phase = lk_rng_range(seed, S_CLUTTER + 1, 4 * k + 1, 0, 2 * PI);
        const double base = lk_rng_range(seed, S_CLUTTER + 1, 4 * k + 2, 0.1, 0.9);
        const double x = s->setup.aspect * (base + 0.10 * sin(2 * PI * f * 0.7 * t + phase));
        const double y = 0.33 + 0.16 * sin(2 * PI * f * t + 2.3 * phase);
        lk_draw_line(c, x, y + 0.06, x + 0.02 * sin(2 * PI * f * t), y + 0.21, 0.004, 0.003,
                     lk_rgb(0x6a6a6a));
        const lk_sphere_look look = {.kind = LK_TEXTURE_PLAIN,
                                     .colour = lk_hue(0.13 + 0.31 * (double)k, 0.55, 0.9),
                                     .band = lk_alpha(lk_rgb(0), 0),
                                     .gloss = 0.5};
        lk_draw_sphere(c, x, y, 0.055, 0, &look);
    }
}

void lk_impacts_draw(const void *scene, double t, lk_canvas *c)
{
    const lk_impacts *s = scene;
    const double a = s->setup.aspect;
    if (s->setup.clutter) {
        draw_lamp(s, t, c);
        draw_balloons(s, t, c);
    }
    for (int i = 0; i < s->n_bars && s->on_bars; i++)
        draw_bar(s, c, i, t);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < s->n_balls; i++) {
            const lk_ball *b = &s->balls[i];
            double x = 0, y = 0;
            if (!lk_impacts_ball_at(b, t, &x, &y))
                continue;
            if (pass == 0)
                draw_shadow(s, b, x * a, y, c);
            else /* turns with its way across */
                lk_draw_sphere(c, x * a, y, b->radius, 0.4 * x * a / b->radius, &b->look);
        }
    }
    draw_dust(s, t, c);
}
