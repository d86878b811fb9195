/* talker.c - a face that speaks: voice.c gives the mouth and the sound, this file draws. */
#include "experiments/worlds/voice.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PI 3.14159265358979323846

enum { S_LOOK = LK_STREAM_KIND + 200, S_BLINK, S_SWAY };

typedef struct talker {
    lk_world_setup setup;
    lk_voice *voice;
    lk_colour skin, hair, lips, iris, shirt, wall;
    int hair_style; /* 0 short, 1 long, 2 bald */
    double head_w, brow, nose;
} talker;

static const unsigned skins[] = {0xf1c9a5, 0xe0ac84, 0xc68642, 0x8d5524, 0xffdbc0, 0xa9714b};
static const unsigned hairs[] = {0x2b1d14, 0x5a3a22, 0x8a5a2b, 0xd8b26a,
                                 0x14110f, 0x8c8c8c, 0xa0422a};
static const unsigned irises[] = {0x4b2e1a, 0x3b6ea5, 0x4f7a3a, 0x6b5b45};

static unsigned choose(const talker *s, uint64_t index, const unsigned *list, size_t n)
{
    return list[lk_rng_below(s->setup.seed, S_LOOK, index, (uint32_t)n)];
}

static double range(const talker *s, uint64_t index, double lo, double hi)
{
    return lk_rng_range(s->setup.seed, S_LOOK, index, lo, hi);
}

static void talker_free(void **slot)
{
    talker *s = *slot;
    if (!s)
        return;
    lk_voice_free(&s->voice);
    lk_free(s);
    *slot = NULL;
}

static lk_status talker_create(void **slot, const lk_world_setup *setup, lk_event_list *events,
                               char *caption)
{
    lk_status st = LK_OK;
    talker *s = NULL;
    LK_TRY(LK_NEW(&s));
    *slot = s;
    s->setup = *setup;
    s->skin = lk_rgb(choose(s, 0, skins, sizeof skins / sizeof *skins));
    s->hair = lk_rgb(choose(s, 1, hairs, sizeof hairs / sizeof *hairs));
    s->iris = lk_rgb(choose(s, 2, irises, sizeof irises / sizeof *irises));
    s->lips = lk_mix(s->skin, lk_rgb(0xb03048), range(s, 3, 0.35, 0.6));
    s->shirt = lk_hue(range(s, 4, 0, 1), range(s, 5, 0.2, 0.6), range(s, 6, 0.35, 0.8));
    s->wall = lk_hue(range(s, 7, 0, 1), 0.18, 0.72);
    s->hair_style = (int)lk_rng_below(setup->seed, S_LOOK, 8, 5) / 2;
    s->head_w = range(s, 9, 0.215, 0.245);
    s->brow = range(s, 10, 0.010, 0.018);
    s->nose = range(s, 11, 0.9, 1.15);
    LK_TRY(lk_voice_create(&s->voice, setup->seed, setup->seconds + LK_WORLD_LEAD_S));
    for (int64_t i = 0; i < lk_voice_n_phones(s->voice); i++) {
        const lk_phone *p = &lk_voice_phones(s->voice)[i];
        if (strcmp(p->name, "sil") != 0)
            LK_TRY(lk_event_add(events, LK_EVENT_PHONE, p->t0, p->t1, fmax(p->opening, 0.01),
                                p->name));
    }
    snprintf(caption, LK_CAPTION_BYTES, "a person speaks to the camera");
done:
    return st;
}

/* ---- drawing --------------------------------------------------------------------------------- */

static void talker_backdrop(const void *scene, lk_canvas *c)
{
    const talker *s = scene;
    const double a = s->setup.aspect;
    lk_draw_fill(c, lk_lighten(s->wall, 1.1), lk_lighten(s->wall, 0.75));
    for (int i = 0; i < 7; i++) { /* books far behind, out of focus */
        const double x = a * lk_rng_range(s->setup.seed, S_LOOK, 40 + 3 * (uint64_t)i, -0.1, 1.1);
        const double y = lk_rng_range(s->setup.seed, S_LOOK, 41 + 3 * (uint64_t)i, 0.0, 0.7);
        const double r = lk_rng_range(s->setup.seed, S_LOOK, 42 + 3 * (uint64_t)i, 0.08, 0.22);
        lk_draw_ellipse(c, x, y, r, r * 1.2, 0, 1,
                        lk_alpha(lk_hue((double)i / 7, 0.25, 0.85), 0.30));
    }
}

/* A quick close and open; about every 3 s. */
static double lid_at(const talker *s, double t)
{
    const double slot = 3.0;
    const int64_t k = (int64_t)floor((t + LK_WORLD_LEAD_S) / slot);
    const double at = (double)k * slot - LK_WORLD_LEAD_S +
                      lk_rng_range(s->setup.seed, S_BLINK, (uint64_t)(k < 0 ? 0 : k), 0.3, 2.6);
    const double d = fabs(t - at);
    return d < 0.09 ? 1 - d / 0.09 : 0;
}

static double sway(const talker *s, int axis, double t)
{
    double x = 0;
    for (int i = 0; i < 3; i++) {
        const uint64_t k = (uint64_t)(8 * axis + i);
        x += sin(2 * PI * t * lk_rng_range(s->setup.seed, S_SWAY, k, 0.12, 0.55) +
                 lk_rng_range(s->setup.seed, S_SWAY, k + 100, 0, 2 * PI));
    }
    return x / 3;
}

typedef struct frame_pose {
    double x, y; /* middle of the face */
    double turn; /* -1..1, shifts features sideways */
    double jaw;
    lk_mouth_pose m;
} frame_pose;

static void draw_body(const talker *s, const frame_pose *p, lk_canvas *c)
{
    lk_path path;
    const double w = s->head_w, a = s->setup.aspect * 0.5;
    const lk_colour neck = lk_lighten(s->skin, 0.78);
    lk_draw_line(c, p->x, p->y + 0.22, a, 0.98, 0.20, 0.24, neck);
    lk_path_move(&path, a - 2.0 * w, 1.12);
    lk_path_cubic(&path, a - 1.9 * w, 0.92, a - 1.0 * w, 0.90, a - 0.45 * w, 0.86);
    lk_path_quad(&path, a, 0.97, a + 0.45 * w, 0.86);
    lk_path_cubic(&path, a + 1.0 * w, 0.90, a + 1.9 * w, 0.92, a + 2.0 * w, 1.12);
    lk_draw_path(c, &path, s->shirt, lk_lighten(s->shirt, 0.7));
}

static void draw_hair_behind(const talker *s, const frame_pose *p, lk_canvas *c)
{
    const double w = s->head_w;
    if (s->hair_style == 2)
        return;
    lk_draw_ellipse(c, p->x, p->y - 0.09, 1.13 * w, 0.29, 0, 0.04, s->hair);
    if (s->hair_style == 1) {
        lk_path path;
        lk_path_move(&path, p->x - 1.12 * w, p->y - 0.1);
        lk_path_cubic(&path, p->x - 1.3 * w, p->y + 0.2, p->x - 1.15 * w, p->y + 0.34,
                      p->x - 0.75 * w, p->y + 0.38);
        lk_path_line(&path, p->x + 0.75 * w, p->y + 0.38);
        lk_path_cubic(&path, p->x + 1.15 * w, p->y + 0.34, p->x + 1.3 * w, p->y + 0.2,
                      p->x + 1.12 * w, p->y - 0.1);
        lk_draw_path(c, &path, s->hair, lk_lighten(s->hair, 0.7));
    }
}

static void draw_head(const talker *s, const frame_pose *p, lk_canvas *c)
{
    lk_path path;
    const double w = s->head_w, x = p->x, y = p->y, chin = y + 0.29 + p->jaw;
    const lk_colour light = lk_lighten(s->skin, 1.06), dark = lk_lighten(s->skin, 0.86);
    for (int side = -1; side <= 1; side += 2)
        lk_draw_ellipse(c, x + side * 1.02 * w, y + 0.01, 0.035, 0.055, 0, 0.1, dark);
    lk_path_move(&path, x - w, y - 0.04);
    lk_path_cubic(&path, x - 1.02 * w, y - 0.38, x + 1.02 * w, y - 0.38, x + w, y - 0.04);
    lk_path_cubic(&path, x + 1.0 * w, y + 0.13, x + 0.72 * w, chin - 0.02, x + 0.32 * w, chin);
    lk_path_quad(&path, x, chin + 0.022, x - 0.32 * w, chin);
    lk_path_cubic(&path, x - 0.72 * w, chin - 0.02, x - 1.0 * w, y + 0.13, x - w, y - 0.04);
    lk_draw_path(c, &path, light, dark);
    for (int side = -1; side <= 1; side += 2) /* cheeks */
        lk_draw_ellipse(c, x + side * 0.55 * w + 0.02 * p->turn, y + 0.09, 0.075, 0.055, 0, 1,
                        lk_alpha(lk_mix(s->skin, lk_rgb(0xd0605a), 0.5), 0.45));
    lk_draw_ellipse(c, x, chin - 0.035, 0.05, 0.03, 0, 1, lk_alpha(light, 0.6));
    if (s->hair_style == 0 || s->hair_style == 1) {
        lk_path_move(&path, x - 1.04 * w, y - 0.02);
        lk_path_cubic(&path, x - 1.1 * w, y - 0.42, x + 1.1 * w, y - 0.42, x + 1.04 * w, y - 0.02);
        lk_path_cubic(&path, x + 0.95 * w, y - 0.17, x + 0.5 * w, y - 0.2, x + 0.1 * w, y - 0.2);
        lk_path_cubic(&path, x - 0.4 * w, y - 0.2, x - 0.9 * w, y - 0.2, x - 1.04 * w, y - 0.02);
        lk_draw_path(c, &path, lk_lighten(s->hair, 1.25), s->hair);
    }
}

static void draw_eyes(const talker *s, const frame_pose *p, double lid, lk_canvas *c)
{
    const double w = s->head_w;
    for (int side = -1; side <= 1; side += 2) {
        const double x = p->x + side * 0.43 * w + 0.03 * p->turn, y = p->y - 0.045;
        lk_draw_ellipse(c, x, y, 0.050, 0.034, 0, 0.5, lk_alpha(lk_lighten(s->skin, 0.72), 0.5));
        lk_draw_ellipse(c, x, y, 0.040, 0.023, 0, 0.05, lk_rgb(0xf6f4f0));
        lk_draw_ellipse(c, x + 0.006 * p->turn, y, 0.0175, 0.0175, 0, 0.08, s->iris);
        lk_draw_ellipse(c, x + 0.006 * p->turn, y, 0.008, 0.008, 0, 0.1, lk_rgb(0x101010));
        lk_draw_ellipse(c, x - 0.005, y - 0.006, 0.004, 0.004, 0, 0.3, lk_rgb(0xffffff));
        lk_path lidpath; /* the upper lid comes down from just above the eye */
        const double drop = -0.025 + 0.05 * (0.22 + 0.78 * lid);
        lk_path_move(&lidpath, x - 0.045, y - 0.004);
        lk_path_quad(&lidpath, x, y - 0.056, x + 0.045, y - 0.004);
        lk_path_quad(&lidpath, x, y + 2 * drop, x - 0.045, y - 0.004);
        lk_draw_path(c, &lidpath, lk_lighten(s->skin, 0.9), lk_lighten(s->skin, 0.8));
        const double lift = 0.008 * p->m.stress;
        lk_draw_line(c, x - side * 0.04, y - 0.052 - lift, x + side * 0.045, y - 0.058 - lift,
                     s->brow * 1.3, s->brow * 0.6, lk_lighten(s->hair, 0.8));
    }
}

static void draw_nose(const talker *s, const frame_pose *p, lk_canvas *c)
{
    const double x = p->x + 0.035 * p->turn, y = p->y + 0.07;
    const lk_colour shade = lk_lighten(s->skin, 0.72);
    lk_draw_line(c, x - 0.012, p->y - 0.03, x - 0.022 * s->nose, y, 0.004, 0.010,
                 lk_alpha(shade, 0.35));
    lk_draw_ellipse(c, x, y, 0.030 * s->nose, 0.020, 0, 0.9, lk_alpha(shade, 0.8));
    lk_draw_ellipse(c, x - 0.014 * s->nose, y + 0.010, 0.007, 0.005, 0, 0.6,
                    lk_alpha(lk_lighten(s->skin, 0.45), 0.9));
    lk_draw_ellipse(c, x + 0.014 * s->nose, y + 0.010, 0.007, 0.005, 0, 0.6,
                    lk_alpha(lk_lighten(s->skin, 0.45), 0.9));
    lk_draw_ellipse(c, x - 0.004, y - 0.012, 0.010, 0.012, 0, 1,
                    lk_alpha(lk_lighten(s->skin, 1.25), 0.6));
}

static void draw_mouth(const talker *s, const frame_pose *p, lk_canvas *c)
{
    lk_path path;
    const double x = p->x + 0.03 * p->turn, y = p->y + 0.155;
    const double w = 0.078 * (1 + 0.28 * p->m.width), h = 0.105 * p->m.opening;
    const double round = p->m.width < 0 ? -p->m.width : 0;
    const double lip = 0.017 + 0.010 * round;
    const double top = y - 0.30 * h, low = y + 0.70 * h;
    /* Lips: outer outline with a Cupid's bow, then the dark inside over it. */
    lk_path_move(&path, x - w, y + 0.15 * h);
    lk_path_cubic(&path, x - 0.6 * w, top - 0.6 * lip, x - 0.3 * w, top - 1.25 * lip, x,
                  top - 0.75 * lip);
    lk_path_cubic(&path, x + 0.3 * w, top - 1.25 * lip, x + 0.6 * w, top - 0.6 * lip, x + w,
                  y + 0.15 * h);
    lk_path_cubic(&path, x + 0.6 * w, low + 1.1 * lip, x - 0.6 * w, low + 1.1 * lip, x - w,
                  y + 0.15 * h);
    lk_draw_path(c, &path, lk_lighten(s->lips, 0.85), lk_lighten(s->lips, 1.1));
    const double iw = 0.86 * w;
    if (h > 0.004) {
        lk_path_move(&path, x - iw, y + 0.15 * h);
        lk_path_cubic(&path, x - 0.5 * iw, top - 0.06 * h, x + 0.5 * iw, top - 0.06 * h, x + iw,
                      y + 0.15 * h);
        lk_path_cubic(&path, x + 0.5 * iw, low + 0.1 * h, x - 0.5 * iw, low + 0.1 * h, x - iw,
                      y + 0.15 * h);
        lk_draw_path(c, &path, lk_rgb(0x3a0d12), lk_rgb(0x220609));
        const double tongue_y = low - (0.30 + 0.45 * p->m.tongue) * h;
        lk_path_move(&path, x - 0.55 * iw, low - 0.06 * h);
        lk_path_quad(&path, x, 2 * tongue_y - low + 0.1 * h, x + 0.55 * iw, low - 0.06 * h);
        lk_path_quad(&path, x, low + 0.05 * h, x - 0.55 * iw, low - 0.06 * h);
        lk_draw_path(c, &path, lk_rgb(0xc25a62), lk_rgb(0x8a343e));
        const double teeth = fmin(0.020, 0.42 * h);
        lk_path_move(&path, x - 0.72 * iw, top + 0.20 * h);
        lk_path_quad(&path, x, top - 0.16 * h, x + 0.72 * iw, top + 0.20 * h);
        lk_path_quad(&path, x, top - 0.02 * h + 1.3 * teeth, x - 0.72 * iw, top + 0.20 * h);
        lk_draw_path(c, &path, lk_rgb(0xf4efe6), lk_rgb(0xd9d2c5));
    } else {
        lk_draw_line(c, x - iw, y, x + iw, y, 0.003, 0.003, lk_lighten(s->lips, 0.5));
    }
    lk_draw_ellipse(c, x, low + 1.9 * lip, 0.6 * w, 0.008, 0, 1,
                    lk_alpha(lk_lighten(s->skin, 0.6), 0.4));
}

static void talker_draw(const void *scene, double t, lk_canvas *c)
{
    const talker *s = scene;
    frame_pose p;
    p.m = lk_voice_mouth(s->voice, t);
    p.x = 0.5 * s->setup.aspect + 0.010 * sway(s, 0, t);
    p.y = 0.45 + 0.008 * sway(s, 1, t);
    p.turn = 0.5 * sway(s, 2, t);
    p.jaw = 0.055 * p.m.opening;
    draw_hair_behind(s, &p, c);
    draw_body(s, &p, c);
    draw_head(s, &p, c);
    draw_eyes(s, &p, lid_at(s, t), c);
    draw_nose(s, &p, c);
    draw_mouth(s, &p, c);
    if (s->setup.clutter) { /* somebody walks past behind the camera's back: a moving lamp light */
        const double x = s->setup.aspect * (0.5 + 0.6 * sin(1.1 * t));
        lk_draw_ellipse(c, x, 0.12, 0.07, 0.07, 0, 0.5, lk_alpha(lk_rgb(0xffe9a8), 0.8));
    }
}

static void talker_sound(const void *scene, const lk_sound_grid *grid, int64_t first, float *mono)
{
    const talker *s = scene;
    lk_voice_add(s->voice, grid, first, mono);
}

const lk_world_kind lk_world_talker = {.name = "talker",
                                       .summary = "a face speaks; the mouth makes the sound",
                                       .create = talker_create,
                                       .free = talker_free,
                                       .backdrop = talker_backdrop,
                                       .draw = talker_draw,
                                       .sound = talker_sound};
