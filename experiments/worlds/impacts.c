/* impacts.c - shaded balls bounce and hop; every contact is an exactly known instant.
 *
 * A ball's path is a list of legs; on a leg that began at t0
 *     x(t) = x0 + vx (t - t0),   y(t) = y0 + vy (t - t0) + g (t - t0)^2 / 2,
 * and every leg begins with an abrupt change of velocity: a contact, or an entry out of sight.
 * Two scenes:
 *   floor  balls are thrown in from the sides and bounce with restitution e (vy -> -e vy), some
 *          against a wall (vx -> -0.8 vx); each throw starts after an irregular pause.
 *   bars   balls hop between tuned bars; flight times are random and vy0 = dy / T - g T / 2 brings
 *          the ball from one bar exactly to the next.
 * x is kept as a fraction of the width, so instants do not depend on the picture's shape.
 */
#include "experiments/worlds/impacts.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WALL_LOSS 0.8
#define SHORTEST  0.13 /* s between two bounces; then the ball rolls */

enum {
    S_SCENE = LK_STREAM_KIND,
    S_THROW = S_SCENE + 10,
    S_HOP = S_SCENE + 30,
    S_BODY = S_SCENE + 50
};

typedef struct material_look {
    const char *ball; /* how a caption calls a ball of it */
    lk_texture_kind texture;
    double gloss, bounce;
    double band; /* alpha of the second colour */
} material_look;

static const material_look looks[LK_N_MATERIALS] = {
    [LK_WOOD] = {"wooden ball", LK_TEXTURE_WOOD, 0.35, 0.66, 0.45},
    [LK_METAL] = {"steel ball", LK_TEXTURE_METAL, 1.0, 0.70, 0.35},
    [LK_GLASS] = {"glass marble", LK_TEXTURE_GLASS, 0.9, 0.74, 0.9},
    [LK_RUBBER] = {"rubber ball", LK_TEXTURE_RUBBER, 0.15, 0.82, 1.0},
    [LK_STONE] = {"stone ball", LK_TEXTURE_STONE, 0.1, 0.60, 0.2},
    [LK_DRUM] = {"rubber ball", LK_TEXTURE_RUBBER, 0.15, 0.82, 1.0},
};

static double rnd(const lk_impacts *s, uint64_t stream, uint64_t i, double lo, double hi)
{
    return lk_rng_range(s->setup.seed, S_SCENE + stream, i, lo, hi);
}

static uint32_t pick(const lk_impacts *s, uint64_t stream, uint64_t i, uint32_t n)
{
    return lk_rng_below(s->setup.seed, S_SCENE + stream, 4 * i, n);
}

/* ---- paths -------------------------------------------------------------------------------- */

static lk_status add_leg(lk_ball *b, lk_leg l)
{
    lk_status st = LK_OK;
    LK_TRY(LK_GROW(&b->legs, &b->capacity, b->n_legs + 1));
    b->legs[b->n_legs++] = l;
done:
    return st;
}

static lk_status add_hit(lk_impacts *s, lk_hit h)
{
    lk_status st = LK_OK;
    LK_TRY(LK_GROW(&s->hits, &s->hit_capacity, s->n_hits + 1));
    s->hits[s->n_hits++] = h;
done:
    return st;
}

static double strength_of(double speed)
{
    return fmin(1, fmax(0.06, speed / 2.6));
}

static bool in_sight(double x)
{
    return x > 0.02 && x < 0.98;
}

/* Seconds until y reaches the ground from (y, vy) under gravity; vy < 0 is upward. */
static double time_to_ground(double rise, double vy)
{
    return (-vy + sqrt(vy * vy + 2 * LK_GRAVITY * rise)) / LK_GRAVITY;
}

/* One throw: from *t on, until the ball has left; *t becomes the time it left. */
static lk_status throw_ball(lk_impacts *s, int index, uint64_t number, double *t)
{
    lk_status st = LK_OK;
    lk_ball *b = &s->balls[index];
    /* With overlap, later balls repeat the first one's throws a little apart. */
    const uint64_t stream = 10 + (s->setup.overlap ? 0 : (uint64_t)index);
    const bool bounces_back = s->wall_side != 0;
    double from = rnd(s, stream, 8 * number, 0, 1) < 0.5 ? -1 : 1;
    if (bounces_back)
        from = -s->wall_side;
    const double crossing = rnd(s, stream, 8 * number + 1, 1.9, 3.3);
    const double touch = b->ground - b->radius;
    lk_leg l = {
        .t0 = *t, .x0 = from < 0 ? -0.15 : 1.15, .vx = -from * 1.3 / crossing, .g = LK_GRAVITY};
    l.y0 = touch - rnd(s, stream, 8 * number + 2, 0.22, 0.62) - 0.03 * index;
    l.vy = rnd(s, stream, 8 * number + 3, -1.0, 0.2);
    const double e = looks[b->material].bounce * rnd(s, stream, 8 * number + 4, 0.95, 1.05);
    LK_TRY(add_leg(b, l));
    for (;;) {
        const double fall = l.g > 0 ? time_to_ground(touch - l.y0, l.vy) : INFINITY;
        const double out = ((l.vx > 0 ? 1.15 : -0.15) - l.x0) / l.vx;
        const bool wall_ahead = bounces_back && l.vx * s->wall_side > 0;
        const double wall = wall_ahead ? (s->wall_at - l.x0) / l.vx : INFINITY;
        const double step = fmin(fmin(fall, wall), out);
        lk_leg next = {.t0 = l.t0 + step, .x0 = l.x0 + l.vx * step, .vx = l.vx, .g = l.g};
        next.y0 = l.y0 + l.vy * step + l.g * step * step / 2;
        next.vy = l.vy + l.g * step;
        if (step == out) {
            next.hidden = true;
            *t = next.t0;
            LK_TRY(add_leg(b, next));
            break;
        }
        const double speed = step == fall ? fabs(next.vy) : 2.0 * fabs(next.vx);
        if (step == fall) {
            next.y0 = touch;
            next.vy = -e * next.vy;
            if (-2 * next.vy / LK_GRAVITY < SHORTEST)
                next.vy = next.g = 0;
        } else {
            next.x0 = s->wall_at;
            next.vx = -WALL_LOSS * next.vx;
        }
        if (in_sight(next.x0))
            LK_TRY(add_hit(s, (lk_hit){next.t0, next.x0, next.y0, strength_of(speed), index}));
        LK_TRY(add_leg(b, next));
        l = next;
    }
done:
    return st;
}

static lk_status make_throws(lk_impacts *s, int index)
{
    lk_status st = LK_OK;
    const uint64_t stream = 20 + (s->setup.overlap ? 0 : (uint64_t)index);
    const double apart = s->setup.overlap ? 0.07 * index : 0.9 * index;
    double t = -LK_WORLD_LEAD_S + apart;
    const double pause = s->setup.overlap ? 0.3 : 0.25 + 0.9 * (s->n_balls - 1);
    LK_TRY(add_leg(&s->balls[index], (lk_leg){.t0 = t - 1, .x0 = -1, .hidden = true}));
    for (uint64_t k = 0; t < s->setup.seconds + LK_WORLD_LEAD_S; k++) {
        LK_TRY(throw_ball(s, index, k, &t));
        t += rnd(s, stream, k, 0.1, 2 * pause);
    }
done:
    return st;
}

static lk_status make_hops(lk_impacts *s, int index)
{
    lk_status st = LK_OK;
    lk_ball *b = &s->balls[index];
    const uint64_t stream = 30 + (uint64_t)index;
    const double slow = s->setup.overlap ? 0 : s->n_balls - 1;
    const double shortest = 0.42 + 0.12 * slow, longest = 0.92 + 0.05 * slow;
    uint32_t at = pick(s, stream, 1000, (uint32_t)s->n_bars);
    double t = -LK_WORLD_LEAD_S - rnd(s, stream, 2000, 0, 0.5);
    for (uint64_t k = 0; t < s->setup.seconds + LK_WORLD_LEAD_S; k++) {
        const double flight = rnd(s, stream, 4 * k, shortest, longest);
        /* One or two bars further, turning at the ends, now and then the same bar again. */
        int to = (int)at + (int)pick(s, stream + 10, k, 5) - 2;
        if (to < 0 || to >= s->n_bars)
            to = 2 * (int)at - to;
        if (to < 0 || to >= s->n_bars)
            to = (int)at;
        const lk_bar *p = &s->bars[at], *q = &s->bars[to];
        /* Balls land side by side on a bar, not inside each other. */
        const double side = (index - (s->n_balls - 1) / 2.0) * 0.22;
        lk_leg l = {.t0 = t, .x0 = p->x + side * p->width, .y0 = p->y - b->radius, .g = LK_GRAVITY};
        l.vx = (q->x + side * q->width - l.x0) / flight;
        l.vy = (q->y - p->y) / flight - LK_GRAVITY * flight / 2;
        LK_TRY(add_leg(b, l));
        t += flight;
        const double speed = fabs(l.vy + LK_GRAVITY * flight);
        LK_TRY(add_hit(
            s, (lk_hit){t, q->x + side * q->width, q->y - b->radius, strength_of(speed), to}));
        at = (uint32_t)to;
    }
done:
    return st;
}

/* ---- the scene ---------------------------------------------------------------------------- */

static int by_time(const void *a, const void *b)
{
    const lk_hit *x = a, *y = b;
    if (x->t != y->t)
        return x->t < y->t ? -1 : 1;
    return x->body - y->body;
}

static void make_balls(lk_impacts *s)
{
    static const lk_material floor_balls[] = {LK_RUBBER, LK_WOOD, LK_GLASS, LK_METAL, LK_STONE};
    static const unsigned paints[][2] = {{0xd8382e, 0xf4e9d0}, {0x2f6fd0, 0xf6d34a},
                                         {0x2fa45a, 0xf3f3ee}, {0xe08a1e, 0x5b2d86},
                                         {0x8f3fb5, 0xf0e06a}, {0x17a0a8, 0xf7f2e6}};
    const uint32_t roll = pick(s, 0, 1, 10);
    s->n_balls = roll < 5 ? 1 : roll < 9 ? 2 : 3;
    if (s->setup.overlap)
        s->n_balls = s->n_balls < 3 ? 3 : 4;
    const uint32_t first_paint = pick(s, 0, 2, 6);
    const double fit = fmin(1, s->setup.aspect);
    for (int i = 0; i < s->n_balls; i++) {
        lk_ball *b = &s->balls[i];
        const uint64_t k = (uint64_t)i;
        b->material = s->on_bars ? LK_RUBBER : floor_balls[pick(s, 1, k, 5)];
        b->radius = fit * (s->on_bars ? 0.058 : rnd(s, 2, s->wall_side ? 0 : k, 0.068, 0.095));
        b->ground = 0.80 + 0.055 * i;
        const unsigned *paint = paints[(first_paint + k) % 6];
        b->look = (lk_sphere_look){.kind = looks[b->material].texture,
                                   .seed = s->setup.seed + k,
                                   .colour = lk_rgb(paint[0]),
                                   .band = lk_alpha(lk_rgb(paint[1]), looks[b->material].band),
                                   .gloss = looks[b->material].gloss};
        if (b->material == LK_WOOD)
            b->look.colour = lk_rgb(0xb9803f);
        if (b->material == LK_METAL)
            b->look.colour = lk_rgb(0xaab2bc);
        if (b->material == LK_STONE)
            b->look.colour = lk_rgb(0x8b8a84);
        lk_modal_make(&s->body[i], b->material, rnd(s, 3, k, 0.8, 1.25), s->setup.seed + 31 * k);
    }
}

static void make_bars(lk_impacts *s)
{
    static const lk_material kinds[] = {LK_METAL, LK_WOOD, LK_GLASS, LK_DRUM};
    static const double scale[] = {1, 1.125, 1.25, 1.5, 1.6667, 2, 2.25}; /* major pentatonic */
    s->bar_material = kinds[pick(s, 5, 0, 4)];
    s->n_bars = 4 + (int)pick(s, 5, 1, 4);
    const double slope = rnd(s, 5, 20, -0.10, 0.10);
    for (int i = 0; i < s->n_bars; i++) {
        const uint64_t k = (uint64_t)i;
        lk_bar *b = &s->bars[i];
        const double across = (i + 0.5) / s->n_bars;
        b->x = 0.06 + 0.88 * across;
        b->width = 0.80 * 0.88 / s->n_bars;
        b->y = 0.76 + slope * (across - 0.5) + rnd(s, 6, k, -0.02, 0.02);
        b->colour = s->bar_material == LK_WOOD    ? lk_lighten(lk_rgb(0x9c5a2b), 1.1 - 0.06 * i)
                    : s->bar_material == LK_GLASS ? lk_alpha(lk_hue(0.45 + 0.06 * i, 0.35, 1), 0.8)
                    : s->bar_material == LK_DRUM  ? lk_rgb(0xe9e2d2)
                                                  : lk_hue(0.08 * i, 0.30, 0.86);
        lk_modal_make(&s->body[i], s->bar_material, scale[i], s->setup.seed + 17);
    }
}

static void make_room(lk_impacts *s)
{
    static const lk_texture_kind floors[] = {LK_TEXTURE_WOOD, LK_TEXTURE_STONE, LK_TEXTURE_METAL};
    static const unsigned colours[] = {0xb98a5c, 0xa9a59b, 0x8d99a6};
    static const unsigned walls[] = {0xb8c7cf, 0xd9c9a8, 0xb7c4a4, 0xc9b3bb, 0x9fb2c8};
    const uint32_t f = pick(s, 0, 3, 3), w = pick(s, 0, 4, 5);
    s->floor_kind = floors[f];
    s->floor_colour = lk_rgb(colours[f]);
    s->wall_top = lk_lighten(lk_rgb(walls[w]), 0.86);
    s->wall_bottom = lk_rgb(walls[w]);
    const uint32_t wall = pick(s, 0, 5, 6);
    if (!s->on_bars && wall < 3) {
        s->wall_side = wall == 0 ? -1 : 1;
        s->wall_at = s->wall_side < 0 ? 0.16 : 0.84;
    }
}

static const char *floor_name(lk_texture_kind kind)
{
    return kind == LK_TEXTURE_WOOD    ? "a wooden floor"
           : kind == LK_TEXTURE_STONE ? "stone tiles"
                                      : "a metal plate";
}

static void write_caption(const lk_impacts *s, char *caption)
{
    static const char *const counts[] = {"no", "a", "two", "three", "four"};
    char text[160] = "";
    if (s->on_bars) {
        snprintf(caption, LK_CAPTION_BYTES, "%s ball%s hop%s across %d %s", counts[s->n_balls],
                 s->n_balls > 1 ? "s" : "", s->n_balls > 1 ? "" : "s", s->n_bars,
                 s->bar_material == LK_DRUM    ? "small drums"
                 : s->bar_material == LK_WOOD  ? "wooden xylophone bars"
                 : s->bar_material == LK_GLASS ? "glass bars"
                                               : "metal chime bars");
        return;
    }
    for (int i = 0; i < s->n_balls; i++) {
        const size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%sa %s",
                 i == 0                ? ""
                 : i + 1 == s->n_balls ? " and "
                                       : ", ",
                 looks[s->balls[i].material].ball);
    }
    snprintf(caption, LK_CAPTION_BYTES, "%s bounce%s on %s%s", text, s->n_balls > 1 ? "" : "s",
             floor_name(s->floor_kind), s->wall_side ? " and off a wall" : "");
}

static void middle_of(const void *leg, double t, double *x, double *y)
{
    const lk_leg *l = leg;
    const double age = t - l->t0;
    *x = l->x0 + l->vx * age;
    *y = l->y0 + l->vy * age + l->g * age * age / 2;
}

static lk_status add_paths(const lk_impacts *s, lk_event_list *events)
{
    lk_status st = LK_OK;
    for (int i = 0; i < s->n_balls; i++) {
        const lk_ball *b = &s->balls[i];
        for (int64_t k = 0; k + 1 < b->n_legs; k++) {
            const lk_leg *l = &b->legs[k];
            if (!l->hidden)
                LK_TRY(lk_event_add_path(events, s->setup.seconds, l->t0, l[1].t0,
                                         l->g > 0 ? LK_PATH_S : INFINITY, looks[b->material].ball,
                                         middle_of, l));
        }
    }
done:
    return st;
}

static void impacts_free(void **slot)
{
    lk_impacts *s = *slot;
    if (!s)
        return;
    for (int i = 0; i < LK_MAX_BALLS; i++)
        lk_free(s->balls[i].legs);
    lk_free(s->hits);
    lk_free(s);
    *slot = NULL;
}

static lk_status impacts_create(void **slot, const lk_world_setup *setup, lk_event_list *events,
                                char *caption)
{
    lk_status st = LK_OK;
    lk_impacts *s = NULL;
    LK_TRY(LK_NEW(&s));
    *slot = s;
    s->setup = *setup;
    s->on_bars = pick(s, 0, 0, 5) < 2;
    make_room(s);
    make_balls(s);
    if (s->on_bars)
        make_bars(s);
    for (int i = 0; i < s->n_balls; i++)
        LK_TRY(s->on_bars ? make_hops(s, i) : make_throws(s, i));
    if (s->n_hits > 1)
        qsort(s->hits, (size_t)s->n_hits, sizeof *s->hits, by_time);
    for (int64_t i = 0; i < s->n_hits; i++) {
        const lk_hit *h = &s->hits[i];
        const lk_material m = s->on_bars ? s->bar_material : s->balls[h->body].material;
        LK_TRY(lk_event_add_at(events, LK_EVENT_IMPACT, h->t, h->strength, lk_material_name(m),
                               h->x, h->y));
    }
    LK_TRY(add_paths(s, events));
    write_caption(s, caption);
done:
    return st;
}

int64_t lk_impacts_first_after(const lk_impacts *s, double t)
{
    int64_t lo = 0, hi = s->n_hits;
    while (lo < hi) {
        const int64_t mid = (lo + hi) / 2;
        if (s->hits[mid].t > t)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

static void impacts_sound(const void *scene_, const lk_sound_grid *grid, int64_t first, float *mono)
{
    const lk_impacts *s = scene_;
    const double from = lk_sound_time(grid, first);
    const double to = lk_sound_time(grid, first + LK_WORLD_BLOCK);
    const double longest = 6; /* no body rings longer */
    for (int64_t i = lk_impacts_first_after(s, from - longest); i < s->n_hits && s->hits[i].t < to;
         i++) {
        const lk_hit *h = &s->hits[i];
        lk_modal_add(&s->body[h->body], (uint64_t)i, h->t, h->strength, grid, first, mono);
    }
}

bool lk_impacts_ball_at(const lk_ball *b, double t, double *x, double *y)
{
    int64_t lo = 0, hi = b->n_legs;
    while (hi - lo > 1) {
        const int64_t mid = (lo + hi) / 2;
        if (b->legs[mid].t0 <= t)
            lo = mid;
        else
            hi = mid;
    }
    middle_of(&b->legs[lo], t, x, y);
    return !b->legs[lo].hidden && t >= b->legs[lo].t0;
}

const lk_world_kind lk_world_impacts = {.name = "impacts",
                                        .summary = "balls bounce and hop; every hit sounds",
                                        .create = impacts_create,
                                        .free = impacts_free,
                                        .backdrop = lk_impacts_backdrop,
                                        .draw = lk_impacts_draw,
                                        .sound = impacts_sound};
