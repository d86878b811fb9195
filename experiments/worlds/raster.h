/* raster.h - a small antialiased software renderer for the worlds.
 *
 * Coordinates  x to the right, y down, in units of the picture's height: the visible picture is
 *              [0, width / height] by [0, 1] before the camera moves.  Every shape may leave it.
 * Edges        coverage is computed from exact sub-pixel geometry, so a shape moved by a tenth of a
 *              pixel changes the picture; nothing is snapped.
 * Colours      sRGB values in [0, 1] with straight alpha, blended in sRGB.
 * Ownership    lk_canvas_init allocates one scan line of scratch; the pixels belong to the caller.
 * Threads      one canvas per thread at a time; equal calls give equal bits.
 */
#ifndef LK_RASTER_H
#define LK_RASTER_H

#include "kernels/status.h"

#include <stdint.h>

typedef struct lk_colour {
    float r, g, b, a;
} lk_colour;

typedef struct lk_point {
    double x, y;
} lk_point;

typedef struct lk_canvas {
    int width, height;
    uint8_t *rgb;         /* [height, width, 3] */
    double scale, dx, dy; /* pixel = scale * point + (dx, dy) */
    float *row;           /* [width + 2] scratch */
} lk_canvas;

/* rgb [height, width, 3] must outlive the canvas.  The view is the plain one: scale = height. */
LK_CHECKED lk_status lk_canvas_init(lk_canvas *c, int width, int height, uint8_t *rgb);
void lk_canvas_clear(lk_canvas *c); /* frees the scratch, accepts a zeroed canvas */

lk_colour lk_rgb(unsigned hex);                            /* 0xRRGGBB, opaque */
lk_colour lk_alpha(lk_colour colour, double alpha);        /* alpha multiplied */
lk_colour lk_mix(lk_colour a, lk_colour b, double t);      /* t = 0: a, 1: b; clamped */
lk_colour lk_lighten(lk_colour colour, double factor);     /* r, g, b times factor, clamped */
lk_colour lk_hue(double hue, double saturation, double v); /* hue in turns */

/* The whole canvas, ignoring the view. */
void lk_draw_fill(lk_canvas *c, lk_colour top, lk_colour bottom);

/* Axis-aligned rectangle with a vertical gradient. */
void lk_draw_rect(lk_canvas *c, double x0, double y0, double x1, double y1, lk_colour top,
                  lk_colour bottom);

/* Ellipse with half axes rx, ry turned by angle (radians, clockwise on screen).  soft in (0, 1]
 * fades from the edge towards the centre over that fraction of the radius: shadows, glows. */
void lk_draw_ellipse(lk_canvas *c, double x, double y, double rx, double ry, double angle,
                     double soft, lk_colour colour);

/* A line with round ends whose width goes from w0 to w1: limbs, brows, strings. */
void lk_draw_line(lk_canvas *c, double x0, double y0, double x1, double y1, double w0, double w1,
                  lk_colour colour);

/* Any closed polygon, non-zero winding, with a vertical gradient from its highest to its lowest
 * point.  Overlapping parts of one polygon are painted once. */
void lk_draw_polygon(lk_canvas *c, const lk_point *p, int n, lk_colour top, lk_colour bottom);

/* The same with any paint: shade gives the colour at a point. */
typedef lk_colour (*lk_shade_fn)(const void *user, double x, double y);
void lk_draw_shaded(lk_canvas *c, const lk_point *p, int n, lk_shade_fn shade, const void *user);

#define LK_PATH_MAX 512
/* Outline built from curves, for lk_draw_polygon; points beyond the maximum are dropped. */
typedef struct lk_path {
    int n;
    lk_point p[LK_PATH_MAX];
} lk_path;
void lk_path_move(lk_path *path, double x, double y); /* starts anew */
void lk_path_line(lk_path *path, double x, double y);
void lk_path_quad(lk_path *path, double cx, double cy, double x, double y);
void lk_path_cubic(lk_path *path, double ax, double ay, double bx, double by, double x, double y);
void lk_draw_path(lk_canvas *c, const lk_path *path, lk_colour top, lk_colour bottom);

typedef enum lk_texture_kind {
    LK_TEXTURE_PLAIN,
    LK_TEXTURE_WOOD,
    LK_TEXTURE_STONE,
    LK_TEXTURE_METAL,
    LK_TEXTURE_GLASS,
    LK_TEXTURE_RUBBER,
    LK_TEXTURE_PLASTER
} lk_texture_kind;

/* Brightness factor of a texture near 1, smooth in x, y (in texture units, one unit is a plank or a
 * grain cell). */
double lk_texture_at(lk_texture_kind kind, uint64_t seed, double x, double y);

/* Polygon filled with a texture of `tiles` units per picture height.  vanish_y < its highest point
 * draws it as a floor seen in perspective that vanishes at that height; NAN draws it flat. */
void lk_draw_textured(lk_canvas *c, const lk_point *p, int n, lk_texture_kind kind, uint64_t seed,
                      double tiles, double vanish_y, lk_colour colour);

/* A lit sphere: light from the upper left, highlight, a band of a second colour that turns with
 * `roll` (radians) so that spin is visible. */
typedef struct lk_sphere_look {
    lk_texture_kind kind;
    uint64_t seed;
    lk_colour colour, band;
    double gloss; /* 0 matt .. 1 polished */
} lk_sphere_look;
void lk_draw_sphere(lk_canvas *c, double x, double y, double r, double roll,
                    const lk_sphere_look *look);

#endif /* LK_RASTER_H */
