/* raster.c - see raster.h.
 *
 * Ellipses and lines: coverage = clamp(1/2 - d) with d the signed distance to the edge in pixels
 * (for an ellipse its first-order value (q - 1) / |grad q| with q the normalised radius).
 * Polygons: per scan line, each edge adds its signed area and cover to the cells it crosses; the
 * running sum is the exact covered fraction of each pixel, its absolute value cut at 1.
 */
#include "experiments/worlds/raster.h"

#include "kernels/mem.h"

#include <math.h>
#include <string.h>

#define CURVE_STEPS 20

lk_status lk_canvas_init(lk_canvas *c, int width, int height, uint8_t *rgb)
{
    lk_status st = LK_OK;
    *c = (lk_canvas){.width = width, .height = height, .rgb = rgb, .scale = height};
    LK_TRY(LK_NEW_ARRAY(&c->row, width + 2));
done:
    return st;
}

void lk_canvas_clear(lk_canvas *c)
{
    lk_free(c->row);
    c->row = NULL;
}

/* ---- colours ------------------------------------------------------------------------------ */

static float unit(double x)
{
    return (float)(x < 0 ? 0 : x > 1 ? 1 : x);
}

lk_colour lk_rgb(unsigned hex)
{
    return (lk_colour){(float)(hex >> 16 & 255) / 255, (float)(hex >> 8 & 255) / 255,
                       (float)(hex & 255) / 255, 1};
}

lk_colour lk_alpha(lk_colour colour, double alpha)
{
    colour.a = unit(colour.a * alpha);
    return colour;
}

lk_colour lk_mix(lk_colour a, lk_colour b, double t)
{
    const float f = unit(t);
    return (lk_colour){a.r + (b.r - a.r) * f, a.g + (b.g - a.g) * f, a.b + (b.b - a.b) * f,
                       a.a + (b.a - a.a) * f};
}

lk_colour lk_lighten(lk_colour colour, double factor)
{
    return (lk_colour){unit(colour.r * factor), unit(colour.g * factor), unit(colour.b * factor),
                       colour.a};
}

lk_colour lk_hue(double hue, double saturation, double v)
{
    const double offset[3] = {0, 2.0 / 3, 1.0 / 3};
    float out[3];
    for (int i = 0; i < 3; i++) {
        const double h = fmod(hue + offset[i] + 8, 1.0);
        out[i] = unit(v * (1 - saturation + saturation * unit(fabs(h * 6 - 3) - 1)));
    }
    return (lk_colour){out[0], out[1], out[2], 1};
}

/* ---- pixels ------------------------------------------------------------------------------- */

static inline uint8_t blend1(uint8_t old, float value, float alpha)
{
    return (uint8_t)((float)old + (value * 255.0f - (float)old) * alpha + 0.5f);
}

static inline void blend(uint8_t *p, lk_colour colour, float coverage)
{
    const float alpha = colour.a * coverage;
    p[0] = blend1(p[0], colour.r, alpha);
    p[1] = blend1(p[1], colour.g, alpha);
    p[2] = blend1(p[2], colour.b, alpha);
}

static inline uint8_t *pixel(const lk_canvas *c, int x, int y)
{
    return c->rgb + ((size_t)y * (size_t)c->width + (size_t)x) * 3;
}

typedef struct bounds {
    int x0, x1, y0, y1; /* half-open */
} bounds;

static int clip(double v, int hi)
{
    return v < 0 ? 0 : v > hi ? hi : (int)v;
}

/* Pixels touched by a box in pixel coordinates, cut to the canvas. */
static bounds box(const lk_canvas *c, double x0, double y0, double x1, double y1)
{
    return (bounds){clip(floor(x0), c->width), clip(ceil(x1), c->width), clip(floor(y0), c->height),
                    clip(ceil(y1), c->height)};
}

void lk_draw_fill(lk_canvas *c, lk_colour top, lk_colour bottom)
{
    for (int y = 0; y < c->height; y++) {
        const lk_colour colour = lk_mix(top, bottom, (y + 0.5) / c->height);
        for (int x = 0; x < c->width; x++)
            blend(pixel(c, x, y), colour, 1);
    }
}

void lk_draw_rect(lk_canvas *c, double x0, double y0, double x1, double y1, lk_colour top,
                  lk_colour bottom)
{
    const lk_point p[4] = {{x0, y0}, {x1, y0}, {x1, y1}, {x0, y1}};
    lk_draw_polygon(c, p, 4, top, bottom);
}

void lk_draw_ellipse(lk_canvas *c, double x, double y, double rx, double ry, double angle,
                     double soft, lk_colour colour)
{
    const double px = c->scale * x + c->dx, py = c->scale * y + c->dy;
    const double ax = fabs(c->scale * rx), ay = fabs(c->scale * ry);
    if (!(ax > 1e-6 && ay > 1e-6))
        return;
    const double reach = (ax > ay ? ax : ay) + 1;
    const bounds b = box(c, px - reach, py - reach, px + reach, py + reach);
    const double co = cos(angle), si = sin(angle);
    for (int j = b.y0; j < b.y1; j++) {
        for (int i = b.x0; i < b.x1; i++) {
            const double ox = i + 0.5 - px, oy = j + 0.5 - py;
            const double u = (ox * co + oy * si) / ax, v = (oy * co - ox * si) / ay;
            const double q = sqrt(u * u + v * v);
            const double slope = sqrt(u * u / (ax * ax) + v * v / (ay * ay)) / (q + 1e-9);
            double cover = unit(0.5 - (q - 1) / (slope + 1e-9));
            if (soft > 0) {
                const double f = unit((1 - q) / soft);
                cover = f * f * (3 - 2 * f);
            }
            if (cover > 0)
                blend(pixel(c, i, j), colour, (float)cover);
        }
    }
}

void lk_draw_line(lk_canvas *c, double x0, double y0, double x1, double y1, double w0, double w1,
                  lk_colour colour)
{
    const double ax = c->scale * x0 + c->dx, ay = c->scale * y0 + c->dy;
    const double ex = c->scale * (x1 - x0), ey = c->scale * (y1 - y0);
    const double ra = c->scale * w0 / 2, rb = c->scale * w1 / 2;
    const double reach = (ra > rb ? ra : rb) + 1, length2 = ex * ex + ey * ey;
    const bounds b = box(c, fmin(ax, ax + ex) - reach, fmin(ay, ay + ey) - reach,
                         fmax(ax, ax + ex) + reach, fmax(ay, ay + ey) + reach);
    for (int j = b.y0; j < b.y1; j++) {
        for (int i = b.x0; i < b.x1; i++) {
            const double ox = i + 0.5 - ax, oy = j + 0.5 - ay;
            const double h = length2 > 0 ? unit((ox * ex + oy * ey) / length2) : 0;
            const double qx = ox - h * ex, qy = oy - h * ey, r = ra + (rb - ra) * h;
            const double d = sqrt(qx * qx + qy * qy) - r;
            /* A line thinner than a pixel fades instead of vanishing. */
            const double thin = r < 0.5 ? 2 * r : 1, edge = r < 0.5 ? d + r : d + 0.5;
            if (edge < 1)
                blend(pixel(c, i, j), colour, (float)(thin * unit(1 - edge)));
        }
    }
}

/* ---- polygons ----------------------------------------------------------------------------- */

/* Signed height dy spread evenly over x from xl to xr (xl <= xr, both in [0, width]): each cell
 * gets the area to the right of the edge, the next one the rest. */
static void add_inside(float *row, double xl, double xr, double dy)
{
    const int first = (int)xl;
    if (xr <= first + 1) {
        const double part = first + 1 - (xl + xr) / 2;
        row[first] += (float)(dy * part);
        row[first + 1] += (float)(dy * (1 - part));
        return;
    }
    const double per_x = dy / (xr - xl);
    for (int i = first; i < xr; i++) {
        const double a = fmax(xl, i), b = fmin(xr, i + 1), part = i + 1 - (a + b) / 2;
        row[i] += (float)(per_x * (b - a) * part);
        row[i + 1] += (float)(per_x * (b - a) * (1 - part));
    }
}

/* One edge within one scan line; what lies left of the canvas covers all of it, what lies right of
 * it nothing. */
static void add_edge(float *row, int width, double x0, double y0, double x1, double y1)
{
    const double dy = y1 - y0, xl = fmin(x0, x1), xr = fmax(x0, x1);
    const double length = xr - xl, in0 = fmax(xl, 0), in1 = fmin(xr, width);
    if (length < 1e-12) {
        if (xl < width)
            add_inside(row, fmax(xl, 0), fmax(xl, 0), dy);
        return;
    }
    if (xl < 0)
        row[0] += (float)(dy * (fmin(xr, 0) - xl) / length);
    if (in1 > in0)
        add_inside(row, in0, in1, dy * (in1 - in0) / length);
}

static void cover_line(lk_canvas *c, const lk_point *p, int n, int y)
{
    memset(c->row, 0, (size_t)(c->width + 2) * sizeof *c->row);
    for (int i = 0; i < n; i++) {
        const lk_point *a = &p[i], *b = &p[(i + 1) % n];
        double x0 = c->scale * a->x + c->dx, y0 = c->scale * a->y + c->dy - y;
        double x1 = c->scale * b->x + c->dx, y1 = c->scale * b->y + c->dy - y;
        if (y0 == y1 || (y0 <= 0 && y1 <= 0) || (y0 >= 1 && y1 >= 1))
            continue;
        const double slope = (x1 - x0) / (y1 - y0), px = x0, py = y0;
        if (y0 < 0 || y0 > 1) {
            y0 = y0 < 0 ? 0 : 1;
            x0 = px + slope * (y0 - py);
        }
        if (y1 < 0 || y1 > 1) {
            y1 = y1 < 0 ? 0 : 1;
            x1 = px + slope * (y1 - py);
        }
        if (y0 != y1)
            add_edge(c->row, c->width, x0, y0, x1, y1);
    }
}

void lk_draw_shaded(lk_canvas *c, const lk_point *p, int n, lk_shade_fn shade, const void *user)
{
    double x0 = 1e30, y0 = 1e30, x1 = -1e30, y1 = -1e30;
    if (n < 3)
        return;
    for (int i = 0; i < n; i++) {
        x0 = fmin(x0, c->scale * p[i].x + c->dx);
        x1 = fmax(x1, c->scale * p[i].x + c->dx);
        y0 = fmin(y0, c->scale * p[i].y + c->dy);
        y1 = fmax(y1, c->scale * p[i].y + c->dy);
    }
    const bounds b = box(c, x0, y0, x1, y1);
    for (int y = b.y0; y < b.y1; y++) {
        float sum = 0;
        cover_line(c, p, n, y);
        for (int x = b.x0; x < b.x1; x++) {
            sum += c->row[x];
            const float a = fabsf(sum), cover = a > 1 ? 1 : a;
            if (cover > 1e-4f)
                blend(pixel(c, x, y),
                      shade(user, (x + 0.5 - c->dx) / c->scale, (y + 0.5 - c->dy) / c->scale),
                      cover);
        }
    }
}

typedef struct gradient {
    double y0, y1;
    lk_colour top, bottom;
} gradient;

static lk_colour shade_gradient(const void *user, double x, double y)
{
    const gradient *g = user;
    (void)x;
    return g->y1 > g->y0 ? lk_mix(g->top, g->bottom, (y - g->y0) / (g->y1 - g->y0)) : g->top;
}

void lk_draw_polygon(lk_canvas *c, const lk_point *p, int n, lk_colour top, lk_colour bottom)
{
    gradient g = {1e30, -1e30, top, bottom};
    for (int i = 0; i < n; i++) {
        g.y0 = fmin(g.y0, p[i].y);
        g.y1 = fmax(g.y1, p[i].y);
    }
    lk_draw_shaded(c, p, n, shade_gradient, &g);
}

void lk_path_move(lk_path *path, double x, double y)
{
    path->n = 1;
    path->p[0] = (lk_point){x, y};
}

void lk_path_line(lk_path *path, double x, double y)
{
    if (path->n < LK_PATH_MAX)
        path->p[path->n++] = (lk_point){x, y};
}

void lk_path_quad(lk_path *path, double cx, double cy, double x, double y)
{
    const lk_point s = path->p[path->n - 1];
    lk_path_cubic(path, s.x + (cx - s.x) * 2 / 3, s.y + (cy - s.y) * 2 / 3, x + (cx - x) * 2 / 3,
                  y + (cy - y) * 2 / 3, x, y);
}

void lk_path_cubic(lk_path *path, double ax, double ay, double bx, double by, double x, double y)
{
    const lk_point s = path->p[path->n - 1];
    for (int i = 1; i <= CURVE_STEPS; i++) {
        const double t = (double)i / CURVE_STEPS, u = 1 - t;
        const double k0 = u * u * u, k1 = 3 * u * u * t, k2 = 3 * u * t * t, k3 = t * t * t;
        lk_path_line(path, k0 * s.x + k1 * ax + k2 * bx + k3 * x,
                     k0 * s.y + k1 * ay + k2 * by + k3 * y);
    }
}

void lk_draw_path(lk_canvas *c, const lk_path *path, lk_colour top, lk_colour bottom)
{
    lk_draw_polygon(c, path->p, path->n, top, bottom);
}

/* ---- spheres ------------------------------------------------------------------------------ */

static lk_colour sphere_colour(const lk_sphere_look *look, double u, double v, double nz,
                               double roll, double pixel_size)
{
    static const double light[3] = {-0.48, -0.64, 0.60}, half[3] = {-0.27, -0.36, 0.89};
    const double co = cos(roll), si = sin(roll);
    const double tu = u * co + v * si, tv = v * co - u * si;
    const double edge = pixel_size + 0.02;
    const double band = unit((0.24 - fabs(tv - 0.25 * (1 - nz))) / edge + 0.5);
    const double grain = lk_texture_at(look->kind, look->seed, 2 + 1.7 * tu, 2.45 + 0.4 * tv);
    lk_colour base = lk_lighten(lk_mix(look->colour, look->band, look->band.a * band), grain);
    const double lambert = fmax(0, u * light[0] + v * light[1] + nz * light[2]);
    const double facing = fmax(0, u * half[0] + v * half[1] + nz * half[2]);
    const double power = 8 + 60 * look->gloss;
    const double shine = (0.15 + 0.85 * look->gloss) * pow(facing, power);
    const double bounce = 0.10 * fmax(0, v); /* light thrown back by the ground */
    lk_colour lit = lk_lighten(base, 0.34 + 0.78 * lambert + bounce);
    lit = lk_mix(lit, lk_rgb(0xffffff), 0.9 * shine);
    if (look->kind == LK_TEXTURE_GLASS) /* see through the middle, strong at the rim */
        lit.a = unit(0.45 + 0.55 * (1 - nz) * (1 - nz) + shine + 0.25 * band);
    else
        lit.a = 1;
    return lit;
}

void lk_draw_sphere(lk_canvas *c, double x, double y, double r, double roll,
                    const lk_sphere_look *look)
{
    const double px = c->scale * x + c->dx, py = c->scale * y + c->dy, pr = c->scale * r;
    const bounds b = box(c, px - pr - 1, py - pr - 1, px + pr + 1, py + pr + 1);
    for (int j = b.y0; j < b.y1; j++) {
        for (int i = b.x0; i < b.x1; i++) {
            const double u = (i + 0.5 - px) / pr, v = (j + 0.5 - py) / pr;
            const double q2 = u * u + v * v, cover = unit(0.5 - (sqrt(q2) - 1) * pr);
            if (cover <= 0)
                continue;
            const double k = q2 > 1 ? 1 / sqrt(q2) : 1, nz = q2 < 1 ? sqrt(1 - q2) : 0;
            blend(pixel(c, i, j), sphere_colour(look, u * k, v * k, nz, roll, 1 / pr),
                  (float)cover);
        }
    }
}
