/* dancer.c - the world `dancer`: a jointed figure on a stage dances to drums, bass and a pad.
 *
 * dance.c gives the joints, music.c the sound; this file chooses the looks and draws.  Limbs are
 * capsules in three tones, lit from the upper left.
 */
#include "experiments/worlds/dance.h"
#include "experiments/worlds/music.h"
#include "experiments/worlds/raster.h"
#include "experiments/worlds/world_impl.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

#include <math.h>
#include <stdio.h>

#define PI      3.14159265358979323846
#define FLOOR_Y 0.90
#define HORIZON 0.62

enum { S_LOOK = LK_STREAM_KIND, S_STAGE, S_CLUTTER };

typedef enum hair { HAIR_SHORT, HAIR_LONG, HAIR_AFRO, HAIR_TAIL, N_HAIRS } hair;

typedef struct dancer {
    lk_world_setup setup;
    lk_music *music;
    lk_dance dance;
    lk_colour skin, hair_colour, top, legs, shoes, wall, floor, light;
    hair hair;
    bool skirt, sleeves, shorts, paved;
    double size; /* canvas units per unit of dance.h */
} dancer;

typedef struct tint {
    unsigned rgb;
    const char *name;
} tint;

static const unsigned skins[] = {0xf3cfb3, 0xe0b088, 0xc68c5e, 0x9a6a44, 0x74492c};
static const unsigned hairs[] = {0x241812, 0x54341e, 0xc8a05c, 0x86381c, 0x38241a};
static const tint tops[] = {{0xd8343c, "red"},  {0xf2c230, "yellow"},   {0x2fa35a, "green"},
                            {0x3a78d8, "blue"}, {0xe8e4dc, "white"},    {0xe0702a, "orange"},
                            {0xc84ca8, "pink"}, {0x38b4b8, "turquoise"}};
static const unsigned trousers[] = {0x2c3c64, 0x26262c, 0x6a5a44, 0x4a2c5c, 0x8a8a90};
static const unsigned walls[] = {0x2c2450, 0x1c3a4c, 0x4a2034, 0x3c3c44, 0x24443a};

static double draw(const dancer *s, uint64_t stream, uint64_t i, double lo, double hi)
{
    return lk_rng_range(s->setup.seed, stream, i, lo, hi);
}

static int pick(const dancer *s, uint64_t i, int n)
{
    return (int)lk_rng_below(s->setup.seed, S_LOOK, 4 * i, (uint32_t)n);
}

/* ---- the stage ---------------------------------------------------------------------------- */

static void dancer_backdrop(const void *scene, lk_canvas *c)
{
    const dancer *s = scene;
    const double w = s->setup.aspect, m = 0.12;
    lk_draw_rect(c, -m, -m, w + m, HORIZON + 0.01, lk_lighten(s->wall, 0.7),
                 lk_lighten(s->wall, 1.5));
    for (int i = 0; i < 12; i++) { /* folds of a curtain */
        const double x = (w + 2 * m) * i / 11.0 - m;
        lk_draw_line(c, x, -m, x + 0.01, HORIZON, 0.05, 0.06,
                     lk_alpha(lk_lighten(s->wall, 0.5), 0.5));
        lk_draw_line(c, x + 0.035, -m, x + 0.04, HORIZON, 0.02, 0.025,
                     lk_alpha(lk_lighten(s->wall, 2.0), 0.35));
    }
    const lk_point floor[4] = {{-m, HORIZON}, {w + m, HORIZON}, {w + m, 1 + m}, {-m, 1 + m}};
    lk_draw_textured(c, floor, 4, s->paved ? LK_TEXTURE_STONE : LK_TEXTURE_WOOD, s->setup.seed, 5,
                     0.40, s->floor);
    lk_draw_ellipse(c, w / 2, FLOOR_Y, 0.60, 0.13, 0, 0.7, lk_alpha(s->light, 0.35));
    lk_draw_rect(c, -m, -m, w + m, 0.025, lk_rgb(0x18181c), lk_rgb(0x2c2c32));
    for (int i = 0; i < 3; i++) {
        const double x = w * (0.2 + 0.3 * i), to = w / 2 + 0.10 * (i - 1);
        const lk_point cone[4] = {
            {x - 0.02, 0.04}, {x + 0.02, 0.04}, {to + 0.30, FLOOR_Y}, {to - 0.30, FLOOR_Y}};
        lk_draw_polygon(c, cone, 4, lk_alpha(s->light, 0.22), lk_alpha(s->light, 0.02));
        lk_draw_ellipse(c, x, 0.035, 0.034, 0.022, 0, 0, lk_rgb(0x101014));
        lk_draw_ellipse(c, x, 0.046, 0.022, 0.012, 0, 0, lk_lighten(s->light, 1.1));
    }
}

/* Heads of an audience, each swaying at a pace of its own. */
static void draw_audience(const dancer *s, lk_canvas *c, double t)
{
    for (uint64_t i = 0; i < 6; i++) {
        const double hz = draw(s, S_CLUTTER, 4 * i, 0.2, 0.9);
        const double phase = draw(s, S_CLUTTER, 4 * i + 1, 0, 2 * PI);
        const double x =
            s->setup.aspect * ((double)i + 0.5) / 6 + 0.02 * sin(2 * PI * hz * t + phase);
        const double y = 0.99 + 0.012 * sin(2 * PI * 0.8 * hz * t);
        lk_draw_ellipse(c, x, y, 0.045, 0.055, 0, 0, lk_rgb(0x121016));
        lk_draw_ellipse(c, x, y + 0.10, 0.10, 0.06, 0, 0, lk_rgb(0x121016));
    }
}

/* A lamp that swings behind the dancer. */
static void draw_lamp(const dancer *s, lk_canvas *c, double t)
{
    const double a = 0.5 * sin(2 * PI * draw(s, S_CLUTTER, 90, 0.15, 0.4) * t);
    const double x = 0.12 * s->setup.aspect + 0.3 * sin(a), y = 0.3 * cos(a);
    lk_draw_line(c, 0.12 * s->setup.aspect, 0, x, y, 0.008, 0.008, lk_rgb(0x141418));
    lk_draw_ellipse(c, x, y, 0.12, 0.12, 0, 1, lk_alpha(lk_rgb(0xffd890), 0.35));
    lk_draw_ellipse(c, x, y, 0.035, 0.035, 0, 0, lk_rgb(0xfff0c8));
}

/* ---- the figure --------------------------------------------------------------------------- */

typedef struct stage {
    lk_canvas *c;
    double x, y, size; /* of the origin of dance.h */
} stage;

static lk_point at(const stage *g, double u, double v)
{
    return (lk_point){g->x + g->size * u, g->y + g->size * v};
}

/* Two bones in three tones, each tone over the whole chain so that no seam shows at the joint;
 * w[0], w[1], w[2] are the widths at its points, k[0] and k[1] the colours of the bones. */
static void chain(const stage *g, const lk_point p[3], const double w[3], const lk_colour k[2])
{
    static const double wide[3] = {1.0, 0.80, 0.34}, aside[3] = {0, 0.09, 0.20};
    static const double tone[3] = {0.58, 1.0, 1.22};
    for (int i = 0; i < 3; i++) {
        for (int bone = 1; bone >= 0; bone--) {
            const double w0 = w[bone], w1 = w[bone + 1], o0 = aside[i] * w0, o1 = aside[i] * w1;
            const lk_point a = at(g, p[bone].x - o0, p[bone].y - 0.4 * o0);
            const lk_point b = at(g, p[bone + 1].x - o1, p[bone + 1].y - 0.4 * o1);
            lk_draw_line(g->c, a.x, a.y, b.x, b.y, w0 * wide[i] * g->size, w1 * wide[i] * g->size,
                         lk_lighten(k[bone], tone[i]));
        }
    }
}

static void limb(const stage *g, lk_point a, lk_point b, double w0, double w1, lk_colour k)
{
    const lk_point p[3] = {a, b, b};
    chain(g, p, (const double[3]){w0, w1, w1}, (const lk_colour[2]){k, k});
}

static void ball(const stage *g, double u, double v, double ru, double rv, double angle,
                 double soft, lk_colour k)
{
    const lk_point p = at(g, u, v);
    lk_draw_ellipse(g->c, p.x, p.y, ru * g->size, rv * g->size, angle, soft, k);
}

static lk_point toward(lk_point a, lk_point b, double f)
{
    return (lk_point){a.x + (b.x - a.x) * f, a.y + (b.y - a.y) * f};
}

static void draw_leg(const dancer *s, const stage *g, const lk_body *b, int i)
{
    const bool bare = s->skirt || s->shorts;
    const int side = i == 0 ? -1 : 1;
    const lk_colour shin = bare ? s->skin : s->legs;
    const lk_point p[3] = {b->hip[i], b->knee[i], b->foot[i]};
    chain(g, p, (const double[3]){0.108, 0.078, 0.046},
          (const lk_colour[2]){s->skirt ? s->skin : s->legs, shin});
    const double v = b->foot[i].y;
    const lk_point heel = {b->foot[i].x - side * 0.008, v + 0.004};
    const lk_point toe = {b->foot[i].x + side * 0.042, v + 0.012};
    limb(g, heel, toe, 0.050, 0.036, s->shoes);
    const lk_point l = at(g, heel.x - side * 0.02, v + 0.027), r = at(g, toe.x, v + 0.027);
    lk_draw_line(g->c, l.x, l.y, r.x, r.y, 0.010 * g->size, 0.010 * g->size, lk_rgb(0xf0eee8));
}

static void draw_arm(const dancer *s, const stage *g, const lk_body *b, int i)
{
    const lk_point wrist = toward(b->elbow[i], b->hand[i], 0.88);
    const lk_colour k = s->sleeves ? s->top : s->skin;
    const lk_point p[3] = {b->shoulder[i], b->elbow[i], wrist};
    chain(g, p, (const double[3]){0.068, 0.052, 0.036}, (const lk_colour[2]){k, k});
    if (!s->sleeves)
        limb(g, b->shoulder[i], toward(b->shoulder[i], b->elbow[i], 0.45), 0.078, 0.074, s->top);
    const double a = atan2(b->hand[i].y - wrist.y, b->hand[i].x - wrist.x);
    ball(g, b->hand[i].x, b->hand[i].y, 0.032, 0.023, a, 0, lk_lighten(s->skin, 0.72));
    ball(g, b->hand[i].x - 0.003, b->hand[i].y - 0.003, 0.027, 0.018, a, 0, s->skin);
}

static void add_cubic(lk_path *p, const stage *g, double au, double av, double bu, double bv,
                      double u, double v)
{
    const lk_point a = at(g, au, av), b = at(g, bu, bv), q = at(g, u, v);
    lk_path_cubic(p, a.x, a.y, b.x, b.y, q.x, q.y);
}

static void draw_torso(const dancer *s, const stage *g, const lk_body *b)
{
    const lk_point l = b->shoulder[0], r = b->shoulder[1], n = b->neck;
    const double hw = 0.5 * (b->hip[1].x - b->hip[0].x) + 0.042, pu = b->pelvis.x, pv = b->pelvis.y;
    const double waist_v = pv - 0.11, waist_u = pu + 0.35 * (n.x - pu), ww = 0.9 * hw;
    lk_path p;
    const lk_point from = at(g, n.x - 0.035, n.y - 0.008);
    lk_path_move(&p, from.x, from.y);
    add_cubic(&p, g, n.x - 0.05, n.y, l.x, l.y - 0.036, l.x - 0.032, l.y + 0.004);
    add_cubic(&p, g, l.x - 0.02, l.y + 0.10, waist_u - ww, waist_v - 0.05, waist_u - ww, waist_v);
    add_cubic(&p, g, waist_u - ww, waist_v + 0.05, pu - hw, pv - 0.04, pu - hw, pv + 0.035);
    add_cubic(&p, g, pu - 0.4 * hw, pv + 0.055, pu + 0.4 * hw, pv + 0.055, pu + hw, pv + 0.035);
    add_cubic(&p, g, pu + hw, pv - 0.04, waist_u + ww, waist_v + 0.05, waist_u + ww, waist_v);
    add_cubic(&p, g, waist_u + ww, waist_v - 0.05, r.x + 0.02, r.y + 0.10, r.x + 0.032,
              r.y + 0.004);
    add_cubic(&p, g, r.x, r.y - 0.036, n.x + 0.05, n.y, n.x + 0.035, n.y - 0.008);
    lk_draw_path(g->c, &p, lk_lighten(s->top, 1.02), lk_lighten(s->top, 0.74));
    const double turn = 0.04 * b->twist;
    ball(g, n.x - 0.045 + turn, n.y + 0.09, 0.05, 0.10, 0.1, 1, (lk_colour){1, 1, 1, 0.26f});
    ball(g, n.x + 0.085 + turn, n.y + 0.16, 0.05, 0.15, 0, 1, (lk_colour){0, 0, 0, 0.30f});
    ball(g, n.x + turn, n.y + 0.005, 0.040, 0.024, 0, 0, lk_lighten(s->skin, 0.78));
    const lk_point a = at(g, pu - hw + 0.004, pv + 0.018), e = at(g, pu + hw - 0.004, pv + 0.018);
    if (!s->skirt)
        lk_draw_line(g->c, a.x, a.y, e.x, e.y, 0.022 * g->size, 0.022 * g->size,
                     lk_lighten(s->legs, 0.5));
}

/* The hem hangs between the knees. */
static void draw_skirt(const dancer *s, const stage *g, const lk_body *b)
{
    const double pu = b->pelvis.x, pv = b->pelvis.y, k0 = b->knee[0].x, k1 = b->knee[1].x;
    const double hem = 0.5 * (b->knee[0].y + b->knee[1].y) - 0.02;
    const double l = fmin(k0, pu) - 0.075, r = fmax(k1, pu) + 0.075;
    lk_path p;
    const lk_point from = at(g, pu - 0.085, pv - 0.03);
    lk_path_move(&p, from.x, from.y);
    add_cubic(&p, g, pu - 0.11, pv + 0.04, l + 0.02, hem - 0.08, l, hem);
    add_cubic(&p, g, l + 0.06, hem + 0.03, r - 0.06, hem + 0.03, r, hem);
    add_cubic(&p, g, r - 0.02, hem - 0.08, pu + 0.11, pv + 0.04, pu + 0.085, pv - 0.03);
    lk_draw_path(g->c, &p, s->top, lk_lighten(s->top, 0.70));
    for (int i = 1; i < 5; i++) { /* folds */
        const lk_point a = at(g, pu - 0.07 + 0.035 * i, pv + 0.04);
        const lk_point e = at(g, l + (r - l) * i / 5.0, hem);
        lk_draw_line(g->c, a.x, a.y, e.x, e.y, 0.004 * g->size, 0.016 * g->size,
                     lk_alpha(lk_lighten(s->top, 0.45), 0.5));
    }
}

static void draw_hair(const dancer *s, const stage *g, const lk_body *b, bool behind)
{
    const double u = b->head.x, v = b->head.y, t = b->tilt;
    const lk_colour k = s->hair_colour, dark = lk_lighten(k, 0.7);
    if (behind && s->hair == HAIR_AFRO)
        ball(g, u, v - 0.035, 0.098, 0.092, 0, 0, k);
    if (behind && s->hair == HAIR_LONG) {
        ball(g, u, v - 0.010, 0.073, 0.085, t, 0, dark);
        limb(g, (lk_point){u - 0.045, v}, (lk_point){u - 0.060 - 0.2 * t, v + 0.15}, 0.05, 0.035,
             k);
        limb(g, (lk_point){u + 0.045, v}, (lk_point){u + 0.060 - 0.2 * t, v + 0.15}, 0.05, 0.035,
             k);
    }
    if (behind && s->hair == HAIR_TAIL) {
        const lk_point root = {u + 0.03, v - 0.085}, mid = {u + 0.085 - 0.15 * t, v - 0.07};
        limb(g, root, mid, 0.04, 0.045, k);
        limb(g, mid, (lk_point){u + 0.10 - 0.5 * t, v + 0.04}, 0.045, 0.015, k);
    }
    if (!behind) {
        lk_path p;
        const lk_point from = at(g, u - 0.064, v + 0.004);
        const double o = 0.02 * b->twist;
        lk_path_move(&p, from.x, from.y);
        add_cubic(&p, g, u - 0.078, v - 0.115, u + 0.078, v - 0.115, u + 0.064, v + 0.004);
        add_cubic(&p, g, u + 0.058, v - 0.03, u + 0.045 + o, v - 0.045, u + 0.01 + o, v - 0.046);
        add_cubic(&p, g, u - 0.03 + o, v - 0.046, u - 0.055, v - 0.03, u - 0.064, v + 0.004);
        lk_draw_path(g->c, &p, lk_lighten(k, 1.25), dark);
        ball(g, u - 0.02, v - 0.068, 0.028, 0.010, -0.3, 1, (lk_colour){1, 1, 1, 0.3f});
    }
}

static void draw_head(const dancer *s, const stage *g, const lk_body *b)
{
    const double u = b->head.x, v = b->head.y, o = 0.045 * b->twist, t = b->tilt;
    const lk_colour dark = lk_lighten(s->skin, 0.45);
    draw_hair(s, g, b, true);
    limb(g, (lk_point){b->neck.x, b->neck.y + 0.008}, (lk_point){u, v + 0.03}, 0.056, 0.052,
         lk_lighten(s->skin, 0.80));
    ball(g, u, v, 0.062, 0.077, t, 0, lk_lighten(s->skin, 0.74));
    ball(g, u - 0.005, v - 0.003, 0.056, 0.071, t, 0.25, lk_lighten(s->skin, 1.03));
    for (int side = -1; side <= 1; side += 2) {
        const double e = u + side * 0.024 + o;
        ball(g, u + side * 0.061, v + 0.008, 0.010, 0.017, t, 0, lk_lighten(s->skin, 0.7));
        ball(g, e, v - 0.002, 0.0125, 0.0085, 0, 0, lk_rgb(0xf4f0ec));
        ball(g, e + 0.1 * o, v - 0.002, 0.0068, 0.0078, 0, 0, lk_rgb(0x20140c));
        const lk_point p = at(g, e - 0.014, v - 0.021), q = at(g, e + 0.014, v - 0.021);
        lk_draw_line(g->c, p.x, p.y, q.x, q.y, 0.006 * g->size, 0.006 * g->size,
                     lk_lighten(s->hair_colour, 0.7));
    }
    ball(g, u + 1.3 * o, v + 0.020, 0.009, 0.007, 0, 0.5, lk_alpha(dark, 0.8));
    lk_path p;
    const lk_point from = at(g, u - 0.024 + o, v + 0.036);
    lk_path_move(&p, from.x, from.y);
    add_cubic(&p, g, u - 0.010 + o, v + 0.043, u + 0.010 + o, v + 0.043, u + 0.024 + o, v + 0.036);
    add_cubic(&p, g, u + 0.014 + o, v + 0.062, u - 0.014 + o, v + 0.062, u - 0.024 + o, v + 0.036);
    lk_draw_path(g->c, &p, lk_rgb(0xfaf4ee), lk_rgb(0xb03a44));
    draw_hair(s, g, b, false);
}

static void dancer_draw(const void *scene, double t, lk_canvas *c)
{
    const dancer *s = scene;
    const lk_body b = lk_dance_at(&s->dance, t);
    const stage g = {c, s->setup.aspect / 2, FLOOR_Y, s->size};
    if (s->setup.clutter)
        draw_lamp(s, c, t);
    for (int i = 0; i < 2; i++) /* feet throw shadows, the weaker the higher they are */
        ball(&g, b.foot[i].x + 0.03, 0.005, 0.09, 0.022, 0, 1,
             (lk_colour){0, 0, 0, (float)(0.55 / (1 + 12 * (-0.025 - b.foot[i].y)))});
    ball(&g, b.pelvis.x + 0.05, 0.012, 0.24, 0.045, 0, 1, (lk_colour){0, 0, 0, 0.40f});
    draw_leg(s, &g, &b, 0);
    draw_leg(s, &g, &b, 1);
    if (s->skirt)
        draw_skirt(s, &g, &b);
    draw_torso(s, &g, &b);
    draw_head(s, &g, &b);
    draw_arm(s, &g, &b, 0);
    draw_arm(s, &g, &b, 1);
    if (s->setup.clutter)
        draw_audience(s, c, t);
}

/* ---- making ------------------------------------------------------------------------------- */

static void dancer_sound(const void *scene, const lk_sound_grid *grid, int64_t first, float *mono)
{
    const dancer *s = scene;
    lk_music_sound(s->music, grid, first, mono);
}

static void dancer_free(void **slot)
{
    dancer *s = *slot;
    if (!s)
        return;
    lk_music_free(&s->music);
    lk_free(s);
    *slot = NULL;
}

static void make_looks(dancer *s, char *caption)
{
    static const char *const hair_names[N_HAIRS] = {"short hair", "long hair", "an afro",
                                                    "a ponytail"};
    const tint top = tops[pick(s, 0, 8)];
    const lk_music_style style = lk_music_style_of(s->music);
    s->top = lk_rgb(top.rgb);
    s->skin = lk_rgb(skins[pick(s, 1, 5)]);
    s->hair_colour = lk_rgb(hairs[pick(s, 2, 5)]);
    s->legs = lk_rgb(trousers[pick(s, 3, 5)]);
    s->shoes = lk_hue(draw(s, S_LOOK, 101, 0, 1), 0.5, 0.85);
    s->hair = (hair)pick(s, 4, N_HAIRS);
    s->skirt = pick(s, 5, 3) == 0;
    s->sleeves = pick(s, 6, 2) == 0;
    s->shorts = pick(s, 7, 4) == 0;
    s->wall = lk_rgb(walls[pick(s, 8, 5)]);
    s->paved = pick(s, 9, 2) == 0;
    s->floor = s->paved ? lk_rgb(0x8a8a92) : lk_rgb(0xa87848);
    s->light = lk_mix(lk_rgb(0xfff2d0), lk_hue(draw(s, S_STAGE, 0, 0, 1), 0.6, 1), 0.35);
    s->size = 0.82 * fmin(1, s->setup.aspect / 0.75);
    snprintf(caption, LK_CAPTION_BYTES,
             "a dancer with %s in a %s %s dances to %s at %.0f beats a minute, %s beats in a bar",
             hair_names[s->hair], top.name, s->skirt ? "dress" : "top", style.name, style.tempo_bpm,
             style.beats_per_bar == 3 ? "three" : "four");
}

static lk_status add_events(const dancer *s, lk_event_list *events)
{
    lk_status st = LK_OK;
    const int64_t end = (int64_t)ceil(lk_music_beats_at(s->music, s->setup.seconds));
    for (int64_t k = (int64_t)floor(lk_music_beats_at(s->music, 0)); k <= end; k++) {
        const double t = lk_music_beat(s->music, k);
        LK_TRY(lk_event_add(events, LK_EVENT_BEAT, t, t, lk_music_in_bar(s->music, k), "beat"));
    }
    for (int64_t i = 0; i < lk_music_n_hits(s->music); i++) {
        const lk_hit_drum *h = &lk_music_hits(s->music)[i];
        LK_TRY(lk_event_add(events, LK_EVENT_DRUM, h->t, h->t, (double)h->strength,
                            lk_drum_name(h->drum)));
    }
done:
    return st;
}

typedef struct limb_end {
    const dancer *s;
    int which; /* head, left and right hand, left and right foot */
} limb_end;

static void end_at(const void *user, double t, double *x, double *y)
{
    const limb_end *e = user;
    const dancer *s = e->s;
    const lk_body b = lk_dance_at(&s->dance, t);
    const lk_point ends[] = {b.head, b.hand[0], b.hand[1], b.foot[0], b.foot[1]};
    const stage g = {NULL, s->setup.aspect / 2, FLOOR_Y, s->size};
    const lk_point p = at(&g, ends[e->which].x, ends[e->which].y);
    *x = p.x / s->setup.aspect;
    *y = p.y;
}

static lk_status add_paths(const dancer *s, lk_event_list *events)
{
    static const char *const names[] = {"head", "left hand", "right hand", "left foot",
                                        "right foot"};
    lk_status st = LK_OK;
    for (int i = 0; i < 5; i++)
        LK_TRY(lk_event_add_path(events, s->setup.seconds, -LK_WORLD_LEAD_S,
                                 s->setup.seconds + LK_WORLD_LEAD_S, LK_PATH_S, names[i], end_at,
                                 &(limb_end){s, i}));
done:
    return st;
}

static lk_status dancer_create(void **slot, const lk_world_setup *setup, lk_event_list *events,
                               char *caption)
{
    lk_status st = LK_OK;
    dancer *s = NULL;
    LK_TRY(LK_NEW(&s));
    *slot = s;
    s->setup = *setup;
    LK_TRY(lk_music_create(&s->music, setup->seed, -LK_WORLD_LEAD_S,
                           setup->seconds + LK_WORLD_LEAD_S, setup->overlap));
    s->dance = (lk_dance){.seed = setup->seed,
                          .music = s->music,
                          .room = fmax(0, fmin(0.22, 0.5 * setup->aspect / 0.82 - 0.42)),
                          .vigour = draw(s, S_LOOK, 100, 0.9, 1.1)};
    make_looks(s, caption);
    LK_TRY(add_events(s, events));
    LK_TRY(add_paths(s, events));
done:
    return st;
}

const lk_world_kind lk_world_dancer = {.name = "dancer",
                                       .summary = "a figure dances on the beat of drums and bass",
                                       .create = dancer_create,
                                       .free = dancer_free,
                                       .backdrop = dancer_backdrop,
                                       .draw = dancer_draw,
                                       .sound = dancer_sound};
