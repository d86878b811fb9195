/* texture.c - procedural surfaces: brightness from hashed value noise, see raster.h. */
#include "experiments/worlds/raster.h"

#include <math.h>

/* Not the counter-based generator: called millions of times for looks only, so a short integer hash
 * (multiply and shift, constants of the "lowbias32" family) is enough. */
static double hash01(uint64_t seed, int x, int y)
{
    uint32_t h = (uint32_t)seed ^ (uint32_t)(seed >> 32) ^ (uint32_t)x * 0x9E3779B1u ^
                 (uint32_t)y * 0x85EBCA77u;
    h ^= h >> 16;
    h *= 0x7FEB352Du;
    h ^= h >> 15;
    h *= 0x846CA68Bu;
    h ^= h >> 16;
    return (double)h * 0x1p-32;
}

static double value_noise(uint64_t seed, double x, double y)
{
    const double fx = floor(x), fy = floor(y);
    const int ix = (int)fx, iy = (int)fy;
    double u = x - fx, v = y - fy;
    u = u * u * (3 - 2 * u);
    v = v * v * (3 - 2 * v);
    const double a = hash01(seed, ix, iy), b = hash01(seed, ix + 1, iy);
    const double d = hash01(seed, ix, iy + 1), e = hash01(seed, ix + 1, iy + 1);
    return (a + (b - a) * u) * (1 - v) + (d + (e - d) * u) * v;
}

static double cloud(uint64_t seed, double x, double y)
{
    double sum = 0, size = 0.5;
    for (int k = 0; k < 4; k++, size *= 0.5, x *= 2.1, y *= 2.1)
        sum += size * value_noise(seed + (uint64_t)k, x, y);
    return sum; /* mean near 0.47 */
}

/* Darkness of a joint of the given half width around whole values of x. */
static double joint(double x, double half_width)
{
    const double d = fabs(x - floor(x + 0.5));
    return d < half_width ? 1 - d / half_width : 0;
}

static double wood(uint64_t seed, double x, double y)
{
    const int plank = (int)floor(y);
    const double shift = 4 * hash01(seed, plank, 77);
    const int board = (int)floor((x + shift) / 4);
    const double tone = 0.93 + 0.13 * hash01(seed, plank, board);
    const double bend = cloud(seed + 9, x * 0.35 + 11 * plank, y * 1.3);
    const double rings = sin(38 * (y + 0.55 * bend) + 9 * hash01(seed, board, plank));
    const double fibre = value_noise(seed + 3, x * 1.5, y * 40);
    const double gap = fmax(joint(y, 0.03), joint((x + shift) / 4, 0.006));
    return tone * (0.96 + 0.03 * rings + 0.05 * (fibre - 0.5)) * (1 - 0.4 * gap);
}

static double stone(uint64_t seed, double x, double y)
{
    const double row = floor(y), sx = x + 0.5 * fmod(fabs(row), 2);
    const double tone = 0.94 + 0.12 * hash01(seed, (int)floor(sx), (int)row);
    const double spots = cloud(seed + 5, x * 4, y * 4) - 0.47;
    const double gap = fmax(joint(y, 0.045), joint(sx, 0.045));
    return tone * (1 + 0.22 * spots) * (1 - 0.3 * gap);
}

double lk_texture_at(lk_texture_kind kind, uint64_t seed, double x, double y)
{
    switch (kind) {
    case LK_TEXTURE_WOOD:
        return wood(seed, x, y);
    case LK_TEXTURE_STONE:
        return stone(seed, x, y);
    case LK_TEXTURE_METAL: {
        const double brushed = value_noise(seed, x * 0.7, y * 90) - 0.5;
        const double sheen = sin(1.1 * x + 0.6 * y);
        return 1 + 0.16 * brushed + 0.08 * sheen;
    }
    case LK_TEXTURE_GLASS:
        return 1 + 0.10 * (value_noise(seed, 0.6 * x + y, 0.4 * y) - 0.5);
    case LK_TEXTURE_RUBBER:
        return 1 + 0.14 * (value_noise(seed, x * 25, y * 60) - 0.5);
    case LK_TEXTURE_PLASTER:
        return 1 + 0.10 * (cloud(seed, x * 1.5, y * 1.5) - 0.47);
    case LK_TEXTURE_PLAIN:
    default:
        return 1;
    }
}

typedef struct surface {
    lk_texture_kind kind;
    uint64_t seed;
    double tiles, vanish_y, centre;
    lk_colour colour;
} surface;

/* Perspective floor: depth grows as 1 / (distance below the vanishing line). */
static lk_colour shade_surface(const void *user, double x, double y)
{
    const surface *s = user;
    double u = x * s->tiles, v = y * s->tiles, fade = 1;
    if (!isnan(s->vanish_y)) {
        const double below = fmax(1e-3, y - s->vanish_y), near = 1.05 - s->vanish_y;
        u = (x - s->centre) * s->tiles * near / below + 64;
        v = 1.2 * s->tiles * near / below;
        fade = 0.80 + 0.25 * below / near;
    }
    lk_colour colour = lk_lighten(s->colour, fade * lk_texture_at(s->kind, s->seed, u, v));
    colour.a = s->colour.a;
    return colour;
}

void lk_draw_textured(lk_canvas *c, const lk_point *p, int n, lk_texture_kind kind, uint64_t seed,
                      double tiles, double vanish_y, lk_colour colour)
{
    double lo = 1e30, hi = -1e30;
    for (int i = 0; i < n; i++) {
        lo = fmin(lo, p[i].x);
        hi = fmax(hi, p[i].x);
    }
    const surface s = {kind, seed, tiles, vanish_y, (lo + hi) / 2, colour};
    lk_draw_shaded(c, p, n, shade_surface, &s);
}
