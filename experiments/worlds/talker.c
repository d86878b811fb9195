/* talker.c - the world `talker`: a face whose mouth is driven by the parameters of its voice.
 *
 * Head, eyes and brows move by slow sines, blinks and glances of their own, and nod with the
 * accents of the voice; only the mouth is tied to the sound at every instant.
 */
#include "experiments/worlds/face.h"
#include "experiments/worlds/voice.h"
#include "experiments/worlds/world_impl.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

#include <math.h>
#include <stdio.h>

#define PI 3.14159265358979323846

enum { S_LOOK = LK_STREAM_KIND, S_SWAY, S_BLINK, S_GLANCE, S_ROOM };

typedef enum room { ROOM_STUDIO, ROOM_BOOKS, ROOM_WINDOW, N_ROOMS } room;

typedef struct talker {
    lk_world_setup setup;
    lk_voice *voice;
    lk_face_look look;
    room room;
    lk_colour wall;
    double size;
} talker;

static double draw(const talker *s, uint64_t stream, uint64_t i, double lo, double hi)
{
    return lk_rng_range(s->setup.seed, stream, i, lo, hi);
}

static int pick(const talker *s, uint64_t i, int n)
{
    return (int)lk_rng_below(s->setup.seed, S_LOOK, 4 * i, (uint32_t)n);
}

/* ---- who talks, where --------------------------------------------------------------------- */

typedef struct tint {
    unsigned rgb;
    const char *name;
} tint;

static const unsigned skins[] = {0xf3cfb3, 0xe8b990, 0xd19a6c, 0xa8744a, 0x7d5233, 0xf0c4a4};
static const tint hairs[] = {{0x2a1c14, "black"}, {0x5a3620, "brown"}, {0xc9a05a, "blond"},
                             {0x8c3a1c, "red"},   {0x8a8a8c, "grey"},  {0x3c2618, "dark"}};
static const unsigned irises[] = {0x5a3a1e, 0x3f6fa8, 0x4c7a4a, 0x6a5a3a};
static const unsigned shirts[] = {0x2f5d8c, 0x8c2f3f, 0x3a7a5a, 0xd8d2c4, 0x5a4a7c, 0xc07830};
static const unsigned walls[] = {0x8fa6b8, 0xb8a68f, 0x98b09a, 0xa898b4, 0x6f7f95, 0xc2b8a4};
static const char *const hair_names[] = {"short", "long", "curly", "tied-up"};

static lk_status make_person(talker *s, char *caption)
{
    lk_status st = LK_OK;
    const int who = pick(s, 0, 5); /* 0, 1 man; 2, 3 woman; 4 child */
    const bool man = who < 2, child = who == 4;
    lk_voice_options v = {.seed = s->setup.seed,
                          .start_s = -LK_WORLD_LEAD_S,
                          .end_s = s->setup.seconds + LK_WORLD_LEAD_S,
                          .pace = draw(s, S_LOOK, 101, 0.9, 1.1) * (s->setup.overlap ? 1.3 : 1)};
    v.pitch_hz = man     ? draw(s, S_LOOK, 102, 92, 140)
                 : child ? draw(s, S_LOOK, 102, 245, 300)
                         : draw(s, S_LOOK, 102, 175, 230);
    v.tract = (man ? 1.0 : child ? 1.28 : 1.15) * draw(s, S_LOOK, 103, 0.96, 1.04);
    LK_TRY(lk_voice_create(&s->voice, &v));
    lk_face_look *l = &s->look;
    const int skin = pick(s, 1, 6), any = pick(s, 2, 6);
    const int hair = (skin >= 3 && skin <= 4) || (child && any == 4) ? 0 : any;
    l->skin = lk_rgb(skins[skin]);
    l->hair = lk_rgb(hairs[hair].rgb);
    l->iris = lk_rgb(skin >= 2 && skin <= 4 ? irises[0] : irises[pick(s, 3, 4)]);
    l->lips = lk_mix(lk_lighten(l->skin, 0.9), lk_rgb(man ? 0xa84848 : 0xc02c48), man ? 0.5 : 0.7);
    l->shirt = lk_rgb(shirts[pick(s, 4, 6)]);
    l->style = man ? (pick(s, 5, 2) ? LK_HAIR_SHORT : LK_HAIR_CURLY) : (lk_hair)pick(s, 5, 4);
    l->beard = man && pick(s, 6, 3) == 0;
    l->glasses = pick(s, 7, 4) == 0;
    l->eye = child ? 1.18 : man ? 0.94 : 1.06;
    l->jaw = man ? 1.12 : 0.94;
    s->room = (room)pick(s, 8, N_ROOMS);
    s->wall = lk_rgb(walls[pick(s, 9, 6)]);
    s->size = 0.315 * fmin(1, s->setup.aspect / 0.85) * draw(s, S_LOOK, 104, 0.92, 1.06);
    static const char *const places[] = {"a plain wall", "a bookshelf", "a window"};
    snprintf(caption, LK_CAPTION_BYTES, "a %s with %s %s hair%s%s talks in front of %s",
             man     ? "man"
             : child ? "child"
                     : "woman",
             hair_names[l->style], hairs[hair].name, l->beard ? " and a beard" : "",
             l->glasses ? ", wearing glasses," : "", places[s->room]);
done:
    return st;
}

/* ---- the room ----------------------------------------------------------------------------- */

static void draw_books(const talker *s, lk_canvas *c, double left, double right)
{
    const lk_colour wood = lk_rgb(0x5a3c24);
    for (int shelf = 0; shelf < 5; shelf++) {
        const double y = -0.06 + 0.245 * shelf;
        lk_draw_rect(c, left, y, right, y + 0.245, lk_rgb(0x2c1d12), lk_rgb(0x3a2818));
        double x = left + 0.01;
        for (uint64_t i = 0; x < right; i++) {
            const uint64_t k = 1000 * (uint64_t)shelf + 3 * i;
            const double w = draw(s, S_ROOM, k, 0.022, 0.052),
                         h = draw(s, S_ROOM, k + 1, 0.13, 0.2);
            const lk_colour book = lk_hue(draw(s, S_ROOM, k + 2, 0, 1), 0.45, 0.48);
            lk_draw_rect(c, x, y + 0.222 - h, x + w - 0.004, y + 0.222, lk_lighten(book, 1.1),
                         lk_lighten(book, 0.7));
            lk_draw_rect(c, x, y + 0.235 - h, x + w - 0.004, y + 0.245 - h, lk_rgb(0xc8b48a),
                         lk_rgb(0xa8946a));
            x += w;
        }
        lk_draw_rect(c, left, y + 0.222, right, y + 0.245, lk_lighten(wood, 1.3), wood);
    }
    /* out of focus: a veil of the wall's colour */
    lk_draw_rect(c, left, -0.2, right, 1.2, lk_alpha(s->wall, 0.35), lk_alpha(s->wall, 0.25));
}

static void draw_window(lk_canvas *c, double x0, double x1)
{
    lk_draw_rect(c, x0, 0.04, x1, 0.72, lk_rgb(0xe8e4dc), lk_rgb(0xd0ccc4));
    lk_draw_rect(c, x0 + 0.02, 0.06, x1 - 0.02, 0.70, lk_rgb(0x9cc8ec), lk_rgb(0xe8f2f4));
    lk_path p;
    lk_path_move(&p, x0 + 0.02, 0.70);
    lk_path_line(&p, x0 + 0.02, 0.52);
    lk_path_quad(&p, x0 + 0.3 * (x1 - x0), 0.40, (x0 + x1) / 2, 0.53);
    lk_path_quad(&p, x0 + 0.8 * (x1 - x0), 0.43, x1 - 0.02, 0.50);
    lk_path_line(&p, x1 - 0.02, 0.70);
    lk_draw_path(c, &p, lk_rgb(0x86a880), lk_rgb(0x5c8450));
    lk_draw_line(c, (x0 + x1) / 2, 0.05, (x0 + x1) / 2, 0.71, 0.02, 0.02, lk_rgb(0xe0dcd4));
    lk_draw_rect(c, x0 - 0.03, 0.71, x1 + 0.03, 0.75, lk_rgb(0xf0ece4), lk_rgb(0xb8b4ac));
}

static void talker_backdrop(const void *scene, lk_canvas *c)
{
    const talker *s = scene;
    const double w = s->setup.aspect, margin = 0.12;
    lk_draw_rect(c, -margin, -margin, w + margin, 1 + margin, lk_lighten(s->wall, 1.08),
                 lk_lighten(s->wall, 0.62));
    lk_draw_ellipse(c, 0.36 * w, 0.30, 0.75, 0.6, 0, 1, (lk_colour){1, 1, 1, 0.22f});
    if (s->room == ROOM_BOOKS)
        draw_books(s, c, -margin, w + margin);
    else if (s->room == ROOM_WINDOW)
        draw_window(c, draw(s, S_ROOM, 0, -0.1, 0.02) * w, draw(s, S_ROOM, 1, 0.32, 0.42) * w);
}

/* Balloons that drift and bob behind the head without a sound. */
static void draw_clutter(const talker *s, lk_canvas *c, double t)
{
    for (uint64_t i = 0; i < 4; i++) {
        const double f = draw(s, S_ROOM, 90 + 5 * i, 0.12, 0.5), r = 0.07;
        const double phase = draw(s, S_ROOM, 91 + 5 * i, 0, 2 * PI);
        const double x =
            s->setup.aspect * (0.08 + 0.28 * (double)i) + 0.06 * sin(2 * PI * f * t + phase);
        const double y =
            draw(s, S_ROOM, 92 + 5 * i, 0.12, 0.55) + 0.09 * sin(2 * PI * 0.7 * f * t + 2 * phase);
        const lk_colour k = lk_hue(draw(s, S_ROOM, 93 + 5 * i, 0, 1), 0.6, 0.85);
        lk_draw_line(c, x, y + r, x + 0.02 * sin(3 * t + phase), y + 0.30, 0.005, 0.003,
                     lk_rgb(0x505050));
        lk_draw_ellipse(c, x, y, 0.85 * r, r, 0, 0, k);
        lk_draw_ellipse(c, x - 0.02, y - 0.025, 0.03, 0.03, 0, 1, (lk_colour){1, 1, 1, 0.5f});
    }
}

/* ---- motion ------------------------------------------------------------------------------- */

static double sway(const talker *s, uint64_t which, double t)
{
    static const double hz[3] = {0.17, 0.41, 0.83}, size[3] = {0.6, 0.3, 0.12};
    double sum = 0;
    for (uint64_t k = 0; k < 3; k++) {
        const double f = hz[k] * draw(s, S_SWAY, 20 * which + 2 * k, 0.8, 1.25);
        sum += size[k] * sin(2 * PI * f * t + draw(s, S_SWAY, 20 * which + 2 * k + 1, 0, 2 * PI));
    }
    return sum;
}

static double smooth(double x)
{
    x = x < 0 ? 0 : x > 1 ? 1 : x;
    return x * x * (3 - 2 * x);
}

/* Slots of time are numbered from far before the clip, so that their index is never negative. */
static int64_t slot_of(double t, double length)
{
    return (int64_t)floor(t / length) + 4096;
}

static double blink(const talker *s, double t)
{
    const double length = 3.1;
    double lid = 0;
    for (int64_t i = slot_of(t, length) - 1; i <= slot_of(t, length) + 1; i++) {
        const double start =
            (double)(i - 4096) * length + draw(s, S_BLINK, (uint64_t)i, 0, length - 0.3);
        const double u = t - start;
        lid = fmax(lid, smooth(u / 0.07) - smooth((u - 0.10) / 0.12));
    }
    return lid;
}

/* Where the eyes look: steps between slots, each within a twentieth of a second. */
static double glance(const talker *s, uint64_t axis, double t)
{
    const double length = 1.3;
    const int64_t i = slot_of(t, length);
    double to = draw(s, S_GLANCE, 2 * (uint64_t)i + axis, -1, 1);
    double from = draw(s, S_GLANCE, 2 * (uint64_t)i - 2 + axis, -1, 1);
    const double u = t - (double)(i - 4096) * length;
    to = fabs(to) < 0.6 ? 0 : to; /* mostly at the viewer */
    from = fabs(from) < 0.6 ? 0 : from;
    return from + (to - from) * smooth(u / 0.05);
}

static lk_face_pose pose_at(const talker *s, double t)
{
    double accent = 0; /* averaged over the time a heavy head needs */
    for (int i = -2; i <= 2; i++)
        accent += 0.2 * lk_voice_accent(s->voice, t + 0.04 * i);
    const double x = s->setup.aspect / 2;
    return (lk_face_pose){.x = x + s->size * 0.09 * sway(s, 0, t),
                          .y = 0.445 + s->size * (0.05 * sway(s, 1, t) + 0.03 * accent),
                          .body_x = x + s->size * 0.03 * sway(s, 0, t),
                          .size = s->size,
                          .roll = 0.06 * sway(s, 2, t),
                          .yaw = 0.9 * sway(s, 3, t),
                          .pitch = 0.4 * sway(s, 4, t) + 0.4 * accent,
                          .lid = blink(s, t),
                          .gaze_x = glance(s, 0, t),
                          .gaze_y = 0.6 * glance(s, 1, t),
                          .brow = accent,
                          .mouth = lk_voice_mouth(s->voice, t)};
}

static void talker_draw(const void *scene, double t, lk_canvas *c)
{
    const talker *s = scene;
    if (s->setup.clutter)
        draw_clutter(s, c, t);
    const lk_face_pose pose = pose_at(s, t);
    lk_face_draw(c, &s->look, &pose);
}

static void talker_sound(const void *scene, const lk_sound_grid *grid, int64_t first, float *mono)
{
    const talker *s = scene;
    lk_voice_sound(s->voice, grid, first, mono);
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
    LK_TRY(make_person(s, caption));
    for (int64_t i = 0; i < lk_voice_n_phones(s->voice); i++) {
        const lk_phone p = lk_voice_phone(s->voice, i);
        LK_TRY(lk_event_add(events, LK_EVENT_PHONE, p.start_s, p.end_s, p.strength, p.name));
    }
done:
    return st;
}

const lk_world_kind lk_world_talker = {.name = "talker",
                                       .summary = "a face talks; its voice moves its mouth",
                                       .create = talker_create,
                                       .free = talker_free,
                                       .backdrop = talker_backdrop,
                                       .draw = talker_draw,
                                       .sound = talker_sound};
