/* face.c - see face.h.
 *
 * Everything is a closed curve in face coordinates, taken to the canvas by one rotation, scale and
 * shift; features additionally slide by depth * (yaw, pitch), which the eye reads as turning.  The
 * jaw carries chin, lower lip, lower teeth and beard down by JAW * opening.
 */
#include "experiments/worlds/face.h"

#include <math.h>

#define JAW      0.20 /* drop of the chin at full opening */
#define MOUTH_V  0.54
#define EYE_U    0.33
#define EYE_V    -0.12
#define APERTURE 0.34 /* height of the open mouth at full opening */

typedef struct frame {
    double x, y, co, si, size, yaw, pitch;
    double drop; /* of the chin, face units */
} frame;

static lk_point at(const frame *f, double depth, double u, double v)
{
    const double a = u + depth * f->yaw, b = v + depth * f->pitch;
    return (lk_point){f->x + f->size * (a * f->co - b * f->si),
                      f->y + f->size * (a * f->si + b * f->co)};
}

/* Canvas to face coordinates at a depth. */
static lk_point face_of(const frame *f, double depth, double x, double y)
{
    const double a = (x - f->x) / f->size, b = (y - f->y) / f->size;
    return (lk_point){a * f->co + b * f->si - depth * f->yaw,
                      b * f->co - a * f->si - depth * f->pitch};
}

static void move(lk_path *p, const frame *f, double depth, double u, double v)
{
    const lk_point q = at(f, depth, u, v);
    lk_path_move(p, q.x, q.y);
}

static void cubic(lk_path *p, const frame *f, double depth, double au, double av, double bu,
                  double bv, double u, double v)
{
    const lk_point a = at(f, depth, au, av), b = at(f, depth, bu, bv), q = at(f, depth, u, v);
    lk_path_cubic(p, a.x, a.y, b.x, b.y, q.x, q.y);
}

static void dot(lk_canvas *c, const frame *f, double depth, double u, double v, double ru,
                double rv, double soft, lk_colour colour)
{
    const lk_point q = at(f, depth, u, v);
    lk_draw_ellipse(c, q.x, q.y, ru * f->size, rv * f->size, atan2(f->si, f->co), soft, colour);
}

static void stroke(lk_canvas *c, const frame *f, double depth, double u0, double v0, double u1,
                   double v1, double w0, double w1, lk_colour colour)
{
    const lk_point a = at(f, depth, u0, v0), b = at(f, depth, u1, v1);
    lk_draw_line(c, a.x, a.y, b.x, b.y, w0 * f->size, w1 * f->size, colour);
}

static double clamp01(double x)
{
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

/* ---- skin --------------------------------------------------------------------------------- */

typedef struct skin {
    const frame *f;
    lk_colour colour;
    double half_width;
} skin;

/* Light from the upper left on an egg-shaped head; the shadow side turns red as skin does. */
static lk_colour shade_skin(const void *user, double x, double y)
{
    const skin *s = user;
    const lk_point p = face_of(s->f, 0, x, y);
    const double nu = p.x / (s->half_width + 0.06), nv = (p.y - 0.05) / 1.16;
    const double q = nu * nu + nv * nv, nz = q < 1 ? sqrt(1 - q) : 0;
    const double light = -0.42 * nu - 0.38 * nv + 0.82 * nz, lit = light > 0 ? light : 0;
    const double shade = 0.50 + 0.56 * lit;
    lk_colour k = lk_lighten(s->colour, shade);
    k.r = (float)fmin(1, k.r * (1 + 0.10 * (1 - lit)));
    k.b = (float)(k.b * (1 - 0.06 * (1 - lit)));
    return k;
}

static void head_path(lk_path *p, const frame *f, double jaw)
{
    const double d = f->drop, w = 0.76, j = 0.36 * jaw;
    move(p, f, 0, 0, -1);
    cubic(p, f, 0, 0.46, -1, w, -0.68, w, -0.14);
    cubic(p, f, 0, w, 0.24, 0.26 + j, 0.52 + 0.6 * d, j, 0.84 + d);
    cubic(p, f, 0, 0.6 * j, 0.98 + d, 0.10, 1.01 + d, 0, 1.01 + d);
    cubic(p, f, 0, -0.10, 1.01 + d, -0.6 * j, 0.98 + d, -j, 0.84 + d);
    cubic(p, f, 0, -0.26 - j, 0.52 + 0.6 * d, -w, 0.24, -w, -0.14);
    cubic(p, f, 0, -w, -0.68, -0.46, -1, 0, -1);
}

static void draw_body(lk_canvas *c, const lk_face_look *look, const lk_face_pose *pose)
{
    const frame f = {pose->body_x, pose->y, 1, 0, pose->size, 0, 0, 0};
    const lk_colour cloth = look->shirt, skin_shade = lk_lighten(look->skin, 0.66);
    lk_path p;
    move(&p, &f, 0, -0.30, 0.55);
    cubic(&p, &f, 0, -0.30, 1.0, -0.30, 1.15, -0.42, 1.34);
    cubic(&p, &f, 0, -0.20, 1.62, 0.20, 1.62, 0.42, 1.34);
    cubic(&p, &f, 0, 0.30, 1.15, 0.30, 1.0, 0.30, 0.55);
    lk_draw_path(c, &p, lk_lighten(look->skin, 0.52), lk_lighten(look->skin, 0.82));
    move(&p, &f, 0, -0.40, 1.24);
    cubic(&p, &f, 0, -0.72, 1.42, -1.28, 1.42, -1.44, 1.90);
    cubic(&p, &f, 0, -1.55, 2.3, -1.6, 2.6, -1.6, 3.0);
    cubic(&p, &f, 0, -0.5, 3.0, 0.5, 3.0, 1.6, 3.0);
    cubic(&p, &f, 0, 1.6, 2.6, 1.55, 2.3, 1.44, 1.90);
    cubic(&p, &f, 0, 1.28, 1.42, 0.72, 1.42, 0.40, 1.24);
    cubic(&p, &f, 0, 0.24, 1.62, -0.24, 1.62, -0.40, 1.24);
    lk_draw_path(c, &p, cloth, lk_lighten(cloth, 0.55));
    stroke(c, &f, 0, -0.40, 1.24, -0.16, 1.52, 0.07, 0.05, lk_lighten(cloth, 0.75));
    stroke(c, &f, 0, 0.40, 1.24, 0.16, 1.52, 0.07, 0.05, lk_lighten(cloth, 0.65));
    stroke(c, &f, 0, -0.16, 1.52, 0.16, 1.52, 0.05, 0.05, lk_lighten(cloth, 0.7));
    stroke(c, &f, 0, -0.98, 2.1, -0.92, 2.9, 0.015, 0.03, lk_alpha(lk_lighten(cloth, 0.4), 0.6));
    stroke(c, &f, 0, 0.98, 2.1, 0.92, 2.9, 0.015, 0.03, lk_alpha(lk_lighten(cloth, 0.4), 0.6));
    lk_draw_ellipse(c, pose->x, pose->y + 0.98 * f.size, 0.42 * f.size, 0.30 * f.size, 0, 0.8,
                    lk_alpha(lk_lighten(skin_shade, 0.35), 0.55));
}

static void draw_head(lk_canvas *c, const frame *f, const lk_face_look *look)
{
    const lk_colour ear = lk_lighten(look->skin, 0.80), dark = lk_lighten(look->skin, 0.45);
    for (int side = -1; side <= 1; side += 2) {
        dot(c, f, -0.08, side * 0.78, 0.02, 0.10, 0.19, 0, side < 0 ? ear : lk_lighten(ear, 0.8));
        dot(c, f, -0.08, side * 0.79, 0.03, 0.06, 0.12, 0.7, lk_alpha(dark, 0.6));
    }
    lk_path p;
    head_path(&p, f, look->jaw);
    const skin s = {f, look->skin, 0.76};
    lk_draw_shaded(c, p.p, p.n, shade_skin, &s);
    const lk_colour blush = {0.85f, 0.28f, 0.22f, 0.16f};
    for (int side = -1; side <= 1; side += 2) {
        dot(c, f, 0.05, side * 0.42, 0.28, 0.22, 0.17, 1, blush);
        dot(c, f, 0.05, side * EYE_U, EYE_V - 0.03, 0.23, 0.16, 0.9, lk_alpha(dark, 0.36));
        stroke(c, f, 0.06, side * 0.19, 0.30, side * 0.31, 0.47, 0.015, 0.03,
               lk_alpha(dark, look->jaw > 1 ? 0.20 : 0.08));
    }
    dot(c, f, 0.06, -0.10, -0.60, 0.34, 0.20, 1, (lk_colour){1, 1, 1, 0.10f});
    dot(c, f, 0.06, 0, 0.92 + f->drop, 0.16, 0.09, 1, (lk_colour){1, 1, 1, 0.10f});
}

/* ---- eyes, brows, nose -------------------------------------------------------------------- */

typedef struct eye {
    const frame *f;
    const lk_face_look *look;
    double u, v; /* of the iris */
    double r, soft;
} eye;

static lk_colour shade_eye(const void *user, double x, double y)
{
    const eye *e = user;
    const lk_point p = face_of(e->f, 0.08, x, y);
    const double d = hypot(p.x - e->u, p.y - e->v), s = e->soft;
    const double lid_shadow = clamp01((p.y - (EYE_V - 0.07)) / 0.09);
    lk_colour k = lk_lighten(lk_rgb(0xf6f2ee), 0.74 + 0.26 * lid_shadow);
    lk_colour iris = lk_lighten(e->look->iris, 0.75 + 2.2 * (p.y - e->v + 0.06));
    iris = lk_mix(iris, lk_lighten(e->look->iris, 0.4), (d - 0.8 * e->r) / (0.2 * e->r));
    k = lk_mix(k, iris, (e->r - d) / s + 0.5);
    k = lk_mix(k, lk_rgb(0x0a0808), (0.46 * e->r - d) / s + 0.5);
    const double glint = hypot(p.x - e->u + 0.35 * e->r, p.y - e->v + 0.38 * e->r);
    return lk_mix(k, lk_rgb(0xffffff), (0.24 * e->r - glint) / s + 0.5);
}

static void draw_eye(lk_canvas *c, const frame *f, const lk_face_look *look,
                     const lk_face_pose *pose, int side)
{
    const double w = 0.150 * look->eye, h = 0.082 * look->eye, u = side * EYE_U, v = EYE_V;
    const double top = v - h * 1.35 + 2.15 * h * pose->lid, low = v + h * 0.95;
    const lk_colour dark = lk_lighten(look->skin, 0.30), lash = lk_rgb(0x1c1210);
    lk_path p;
    move(&p, f, 0.08, u - w, v + 0.01);
    cubic(&p, f, 0.08, u - 0.55 * w, top - 0.012, u + 0.55 * w, top - 0.012, u + w, v + 0.01);
    cubic(&p, f, 0.08, u + 0.5 * w, low, u - 0.5 * w, low, u - w, v + 0.01);
    const eye e = {f,
                   look,
                   u + 0.045 * pose->gaze_x,
                   v - 0.008 + 0.03 * pose->gaze_y,
                   0.073 * look->eye,
                   1.3 / (f->size * c->scale)};
    if (pose->lid < 0.95)
        lk_draw_shaded(c, p.p, p.n, shade_eye, &e);
    for (int i = 0; i < 20; i++) {
        const lk_point a = p.p[i], b = p.p[i + 1];
        const double thick = (0.020 + 0.014 * sin(i * 0.157)) * f->size;
        lk_draw_line(c, a.x, a.y, b.x, b.y, thick, thick, lash);
    }
    for (int i = 20; i < 40; i++) {
        const lk_point a = p.p[i], b = p.p[i + 1];
        lk_draw_line(c, a.x, a.y, b.x, b.y, 0.010 * f->size, 0.010 * f->size, lk_alpha(dark, 0.6));
    }
    stroke(c, f, 0.08, u - 0.8 * w, v - 0.085, u, v - 0.125, 0.008, 0.014, lk_alpha(dark, 0.5));
    stroke(c, f, 0.08, u, v - 0.125, u + 0.8 * w, v - 0.085, 0.014, 0.008, lk_alpha(dark, 0.5));
    const double lift = -0.045 * pose->brow, b = -0.325 + lift;
    const lk_colour brow = lk_lighten(look->hair, 0.72);
    stroke(c, f, 0.07, u - side * 0.15, b + 0.03, u + side * 0.02, b - 0.02, 0.058, 0.056, brow);
    stroke(c, f, 0.07, u + side * 0.02, b - 0.02, u + side * 0.19, b + 0.035, 0.056, 0.016, brow);
}

static void draw_glasses(lk_canvas *c, const frame *f)
{
    const lk_colour rim = lk_rgb(0x25252b);
    const double w = 0.024;
    for (int side = -1; side <= 1; side += 2) {
        dot(c, f, 0.10, side * EYE_U, EYE_V + 0.02, 0.225, 0.19, 0, (lk_colour){1, 1, 1, 0.08f});
        for (int i = 0; i < 24; i++) {
            const double a = i * 0.261799, b = a + 0.261799;
            stroke(c, f, 0.10, side * EYE_U + 0.225 * cos(a), EYE_V + 0.02 + 0.19 * sin(a),
                   side * EYE_U + 0.225 * cos(b), EYE_V + 0.02 + 0.19 * sin(b), w, w, rim);
        }
        stroke(c, f, 0.05, side * 0.55, EYE_V, side * 0.76, EYE_V - 0.03, w, w, rim);
    }
    stroke(c, f, 0.11, -0.105, EYE_V, 0.105, EYE_V, w, w, rim);
}

static void draw_nose(lk_canvas *c, const frame *f, const lk_face_look *look)
{
    const lk_colour dark = lk_lighten(look->skin, 0.42), light = {1, 1, 1, 0.20f};
    lk_path p;
    move(&p, f, 0.11, 0.035, -0.14);
    cubic(&p, f, 0.12, 0.06, 0.05, 0.10, 0.12, 0.145, 0.24);
    cubic(&p, f, 0.12, 0.15, 0.32, 0.06, 0.31, 0.03, 0.30);
    cubic(&p, f, 0.12, 0.05, 0.10, 0.02, 0.0, 0.035, -0.14);
    lk_draw_path(c, &p, lk_alpha(dark, 0.10), lk_alpha(dark, 0.42));
    dot(c, f, 0.10, 0, 0.325, 0.15, 0.045, 0.9, lk_alpha(dark, 0.55));
    stroke(c, f, 0.12, -0.015, -0.08, -0.02, 0.16, 0.03, 0.06, lk_alpha(light, 0.5));
    dot(c, f, 0.14, -0.02, 0.21, 0.065, 0.06, 1, light);
    for (int side = -1; side <= 1; side += 2) {
        dot(c, f, 0.12, side * 0.06, 0.295, 0.034, 0.018, 0.4, lk_alpha(lk_rgb(0x1c0a08), 0.85));
        stroke(c, f, 0.11, side * 0.135, 0.21, side * 0.145, 0.28, 0.012, 0.016,
               lk_alpha(dark, 0.55));
    }
}

/* ---- mouth -------------------------------------------------------------------------------- */

typedef struct lips {
    const frame *f;
    lk_mouth m;
    double half, corner; /* half width, v of the corners */
    double top, low;     /* inner edge of the lips in the middle */
    double upper, lower; /* thickness in the middle */
    double px;           /* a pixel in face units */
} lips;

static lips lips_of(const lk_canvas *c, const frame *f, const lk_mouth *m)
{
    const double o = m->opening, round = 1 - m->width, thin = 1 - 0.45 * m->press;
    const double tuck = m->teeth * clamp01(1 - 6 * o) * 0.3;
    return (lips){.f = f,
                  .m = *m,
                  .half = 0.165 + 0.145 * m->width + 0.01 * m->press,
                  .corner = MOUTH_V + 0.10 * o + 0.01 * round,
                  .top = MOUTH_V - 0.16 * APERTURE * o,
                  .low = MOUTH_V + 0.84 * APERTURE * o,
                  .upper = (0.070 + 0.020 * round) * thin,
                  .lower = (0.092 + 0.020 * round) * thin * (1 - tuck),
                  .px = 1 / (f->size * c->scale)};
}

/* What is seen between the lips. */
static lk_colour shade_inside(const void *user, double x, double y)
{
    const lips *l = user;
    const lk_point p = face_of(l->f, 0.08, x, y);
    const double s = 1.2 * l->px, depth = clamp01((p.y - l->top) / (l->low - l->top + 1e-6));
    lk_colour k = lk_mix(lk_rgb(0x2a070a), lk_rgb(0x4a1016), depth);
    /* the tongue lies on the jaw and its tip rises */
    const double rise = 0.10 * l->m.tongue * (1 - 0.3 * l->m.opening);
    const double tv = l->low + 0.035 - rise, tu = 0.62 * l->half;
    const double q = hypot(p.x / tu, (p.y - tv) / (0.095 + 0.3 * rise));
    lk_colour tongue = lk_mix(lk_rgb(0xd0606a), lk_rgb(0x8c2f3a), 1.3 * q - 0.35);
    tongue = lk_lighten(tongue, 1 - 0.22 * clamp01(1 - fabs(p.x) / 0.012));
    k = lk_mix(k, tongue, (1 - q) * 0.095 / s + 0.5);
    const double bow = 0.35 * p.x * p.x / (l->half * l->half) * 0.06;
    const double gap = 0.86 + 0.14 * clamp01(fabs(sin(p.x * 48)) * 4); /* between teeth */
    const lk_colour tooth = lk_lighten(lk_rgb(0xf4efe4), gap * (1 - 0.25 * fabs(p.x) / l->half));
    const double upper_edge = l->top + 0.028 + 0.062 * l->m.teeth - bow;
    k = lk_mix(k, tooth, (upper_edge - p.y) / s + 0.5);
    const double lower_edge = l->low - 0.012 - 0.030 * l->m.teeth + bow;
    return lk_mix(k, lk_lighten(tooth, 0.86), (p.y - lower_edge) / s + 0.5);
}

static void inner_path(const lips *l, lk_path *p)
{
    const frame *f = l->f;
    const double w = 0.93 * l->half, b = 0.62 + 0.20 * (1 - l->m.width);
    /* a cubic's middle lies at 3/4 of its controls' height */
    const double top = l->corner + (l->top - l->corner) * 4 / 3;
    const double low = l->corner + (l->low - l->corner) * 4 / 3;
    move(p, f, 0.08, -w, l->corner);
    cubic(p, f, 0.08, -w * b, top, w * b, top, w, l->corner);
    cubic(p, f, 0.08, w * b, low, -w * b, low, -w, l->corner);
}

static void draw_lips(lk_canvas *c, const lips *l, const lk_face_look *look)
{
    const frame *f = l->f;
    const double w = l->half, top = l->top - l->upper, low = l->low + l->lower, cv = l->corner;
    const double bow = 0.055 - 0.02 * (1 - l->m.width);
    lk_path p;
    move(&p, f, 0.08, -w, cv);
    cubic(&p, f, 0.08, -0.7 * w, cv - 0.02, -0.45 * w, top, -bow, top);
    cubic(&p, f, 0.08, -0.02, top, -0.02, top + 0.016, 0, top + 0.016);
    cubic(&p, f, 0.08, 0.02, top + 0.016, 0.02, top, bow, top);
    cubic(&p, f, 0.08, 0.45 * w, top, 0.7 * w, cv - 0.02, w, cv);
    cubic(&p, f, 0.08, 0.82 * w, cv + (low - cv) * 0.85, 0.45 * w, low, 0, low);
    cubic(&p, f, 0.08, -0.45 * w, low, -0.82 * w, cv + (low - cv) * 0.85, -w, cv);
    lk_draw_path(c, &p, lk_lighten(look->lips, 0.82), lk_lighten(look->lips, 1.08));
    dot(c, f, 0.09, -0.03, l->low + 0.55 * l->lower, 0.55 * w, 0.30 * l->lower, 1,
        (lk_colour){1, 1, 1, 0.28f});
    inner_path(l, &p);
    if (l->m.opening > 0)
        lk_draw_shaded(c, p.p, p.n, shade_inside, l);
    const lk_colour line = lk_alpha(lk_rgb(0x3a0c10), 0.75);
    for (int i = 0; i < 20; i++)
        lk_draw_line(c, p.p[i].x, p.p[i].y, p.p[i + 1].x, p.p[i + 1].y, 0.016 * f->size,
                     0.016 * f->size, line);
    for (int side = -1; side <= 1; side += 2)
        dot(c, f, 0.08, side * (w + 0.005), cv, 0.035, 0.03, 1,
            lk_alpha(lk_lighten(look->skin, 0.35), 0.55));
}

static void draw_mouth(lk_canvas *c, const frame *f, const lk_face_look *look, const lk_mouth *m)
{
    const lips l = lips_of(c, f, m);
    const lk_colour dark = lk_lighten(look->skin, 0.40);
    dot(c, f, 0.08, 0, 0.44, 0.05, 0.07, 1, lk_alpha(dark, 0.30));
    dot(c, f, 0.07, 0, l.low + l.lower + 0.05, 0.17, 0.055, 1, lk_alpha(dark, 0.60));
    draw_lips(c, &l, look);
}

/* ---- hair --------------------------------------------------------------------------------- */

static void draw_beard(lk_canvas *c, const frame *f, const lk_face_look *look)
{
    const double d = f->drop, j = 0.36 * look->jaw, cut = MOUTH_V - 0.10;
    const lk_colour k = lk_alpha(look->hair, 0.88);
    lk_path p;
    move(&p, f, 0, -0.75, 0.05);
    cubic(&p, f, 0, -0.72, 0.30, -0.28 - j, 0.54 + 0.6 * d, -j - 0.02, 0.86 + d);
    cubic(&p, f, 0, -0.6 * j, 1.04 + d, -0.10, 1.07 + d, 0, 1.07 + d);
    cubic(&p, f, 0, 0.10, 1.07 + d, 0.6 * j, 1.04 + d, j + 0.02, 0.86 + d);
    cubic(&p, f, 0, 0.28 + j, 0.54 + 0.6 * d, 0.72, 0.30, 0.75, 0.05);
    cubic(&p, f, 0, 0.62, 0.30, 0.56, 0.50, 0.42, 0.50);
    cubic(&p, f, 0, 0.36, cut - 0.04, 0.14, cut - 0.06, 0, cut - 0.03);
    cubic(&p, f, 0, -0.14, cut - 0.06, -0.36, cut - 0.04, -0.42, 0.50);
    cubic(&p, f, 0, -0.56, 0.50, -0.62, 0.30, -0.75, 0.05);
    lk_draw_path(c, &p, k, lk_lighten(k, 0.7));
}

static void draw_hair_behind(lk_canvas *c, const frame *f, const lk_face_look *look)
{
    const lk_colour k = lk_lighten(look->hair, 0.62);
    lk_path p;
    if (look->style == LK_HAIR_LONG) {
        move(&p, f, -0.05, 0, -1.20);
        cubic(&p, f, -0.05, 0.62, -1.22, 0.98, -0.75, 0.95, -0.1);
        cubic(&p, f, -0.05, 0.92, 0.6, 1.12, 1.0, 0.96, 1.55);
        cubic(&p, f, -0.05, 0.5, 1.75, -0.5, 1.75, -0.96, 1.55);
        cubic(&p, f, -0.05, -1.12, 1.0, -0.92, 0.6, -0.95, -0.1);
        cubic(&p, f, -0.05, -0.98, -0.75, -0.62, -1.22, 0, -1.20);
        lk_draw_path(c, &p, look->hair, lk_lighten(look->hair, 0.5));
    } else if (look->style == LK_HAIR_BUN) {
        dot(c, f, -0.1, 0.05, -1.28, 0.32, 0.28, 0, k);
        dot(c, f, -0.1, -0.02, -1.36, 0.18, 0.12, 1, lk_alpha(lk_lighten(look->hair, 1.6), 0.6));
    } else if (look->style == LK_HAIR_CURLY) {
        for (int i = 0; i < 15; i++) {
            const double a = 3.55 + i * 0.163 * 1.2 - 0.25;
            dot(c, f, -0.05, 0.86 * cos(a), -0.30 + 0.90 * sin(a), 0.26, 0.26, 0,
                lk_lighten(k, 0.9 + 0.25 * (i % 3)));
        }
    }
}

static void draw_hair_front(lk_canvas *c, const frame *f, const lk_face_look *look)
{
    const bool parted = look->style == LK_HAIR_LONG || look->style == LK_HAIR_BUN;
    const double side = look->style == LK_HAIR_LONG ? 0.42 : -0.02, in = parted ? 0.66 : 0.70;
    const double mid = parted ? -0.80 : -0.60, part = parted ? -0.18 : 0.15;
    lk_path p;
    move(&p, f, 0.02, -0.80, side);
    cubic(&p, f, 0.02, -0.90, -0.80, -0.56, -1.17, 0, -1.17);
    cubic(&p, f, 0.02, 0.56, -1.17, 0.90, -0.80, 0.80, side);
    cubic(&p, f, 0.02, 0.78, -0.20, in + 0.04, -0.22, in, -0.30);
    cubic(&p, f, 0.02, 0.62, -0.56, 0.42, mid + 0.04, part, mid);
    cubic(&p, f, 0.02, -0.30, mid + 0.02, -0.58, parted ? -0.62 : -0.66, -in, -0.26);
    cubic(&p, f, 0.02, -in - 0.04, -0.22, -0.78, -0.20, -0.80, side);
    lk_draw_path(c, &p, lk_lighten(look->hair, 1.18), lk_lighten(look->hair, 0.74));
    for (int i = 0; i < 9; i++) {
        const double a = -0.62 + 0.155 * i, b = 0.78 * a;
        const lk_colour k = lk_alpha(lk_lighten(look->hair, i & 1 ? 1.7 : 0.55), 0.35);
        stroke(c, f, 0.02, b * 0.75 + 0.3 * part, -1.10 + 0.35 * a * a, a, -0.72 + 0.45 * a * a,
               0.012, 0.022, k);
    }
    dot(c, f, 0.02, -0.30, -0.92, 0.34, 0.12, 1, (lk_colour){1, 1, 1, 0.16f});
    if (look->style == LK_HAIR_CURLY) {
        for (int i = 0; i < 9; i++) {
            const double a = 3.60 + i * 0.26;
            dot(c, f, 0.02, 0.66 * cos(a), -0.36 + 0.66 * sin(a), 0.17, 0.15, 0,
                lk_lighten(look->hair, 0.8 + 0.25 * (i % 3)));
            dot(c, f, 0.02, 0.66 * cos(a) - 0.03, -0.40 + 0.66 * sin(a), 0.08, 0.06, 1,
                (lk_colour){1, 1, 1, 0.10f});
        }
    }
}

void lk_face_draw(lk_canvas *c, const lk_face_look *look, const lk_face_pose *pose)
{
    const frame f = {.x = pose->x,
                     .y = pose->y,
                     .co = cos(pose->roll),
                     .si = sin(pose->roll),
                     .size = pose->size,
                     .yaw = pose->yaw,
                     .pitch = pose->pitch,
                     .drop = JAW * pose->mouth.opening};
    draw_hair_behind(c, &f, look);
    draw_body(c, look, pose);
    draw_head(c, &f, look);
    if (look->beard)
        draw_beard(c, &f, look);
    draw_nose(c, &f, look);
    draw_mouth(c, &f, look, &pose->mouth);
    draw_eye(c, &f, look, pose, -1);
    draw_eye(c, &f, look, pose, 1);
    draw_hair_front(c, &f, look);
    if (look->glasses)
        draw_glasses(c, &f);
}
