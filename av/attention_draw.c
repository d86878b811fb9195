/* attention_draw.c - the picture of av/attention_run.h.
 *
 * A cell shows log2(mass / chance) of one head at one lag, +-SPAN: blue is less than chance, white
 * as much, red more.  Lags at which nothing can be seen because tokens are further apart than bins
 * take the nearest that can; where there is none within HOLE_MS, a cell is grey.  Columns are cut
 * to the lags at which anything can be seen.
 */
#include "av/attention_run.h"

#include "av/png.h"
#include "experiments/worlds/raster.h"
#include "kernels/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PANEL_WIDTH = 230,
    LEFT = 84,
    TOP = 34,
    GAP_X = 46,
    GAP_Y = 42,
    BOTTOM = 84,
    MOST_LOOKS = LK_JOINT_STREAMS * LK_JOINT_SIGHTS
};
#define HOLE_MS  100.0
#define SPAN     2.0 /* of log2 */
#define UNIT     1.5 /* pixels of a letter's grid */
#define INK      0x333333
#define NOTHING  0xd9d9d9
#define FRAME    0x9a9a9a
#define PAPER    0xffffff
#define ADVANCES 5.6

typedef struct drawing {
    const lk_joint_probe *p;
    lk_canvas canvas;
    const lk_joint_gaze *gaze[MOST_LOOKS]; /* those that are there */
    const char *name[MOST_LOOKS];
    int reach[MOST_LOOKS]; /* bins to each side that are shown */
    int n_looks, cell_height, panel_height, width, height;
} drawing;

/* ---- letters ---- */

/* Strokes through points xy of a grid, x 0 .. 4, y 0 .. 8 with the baseline at 6. */
static const char *strokes_of(char c)
{
    static const char *const letters[26] = {"4246 4332120305163645",
                                            "0006 0312324345361605",
                                            "4332120305163645",
                                            "4046 4332120305163645",
                                            "04444332120305163645",
                                            "40302126 1232",
                                            "4247381807 4332120305163645",
                                            "0006 0312324346",
                                            "2226 2020",
                                            "22271808 2020",
                                            "0006 4204 1346",
                                            "2026",
                                            "0206 03122326 23324346",
                                            "0206 0312324346",
                                            "120305163645433212",
                                            "0208 0312324345361605",
                                            "4248 4332120305163645",
                                            "0206 03123243",
                                            "4212031434453606",
                                            "20253646 1242",
                                            "0205163645 4246",
                                            "022642",
                                            "0216233642",
                                            "0246 4206",
                                            "0226 4218",
                                            "02420646"};
    static const char *const digits[10] = {
        "100105163645413010",     "112026 1636", "01103041420646",
        "004022324345361605",     "36300444",    "400002324345361605",
        "4130100105163645443303", "004016",      "133342413010010213 1304051636454433",
        "0516364541301001021343"};
    if (c >= 'a' && c <= 'z')
        return letters[c - 'a'];
    if (c >= '0' && c <= '9')
        return digits[c - '0'];
    return c == '-'   ? "1434"
           : c == ':' ? "2323 2626"
           : c == ',' ? "2617"
           : c == '.' ? "2626"
           : c == '/' ? "4006"
                      : "";
}

static void draw_letter(drawing *d, double x, double y, const char *s)
{
    for (; *s; s++) {
        for (; s[2] && s[2] != ' '; s += 2)
            lk_draw_line(&d->canvas, x + UNIT * (s[0] - '0'), y + UNIT * (s[1] - '0'),
                         x + UNIT * (s[2] - '0'), y + UNIT * (s[3] - '0'), 1.3, 1.3, lk_rgb(INK));
        s += s[2] == ' ' ? 2 : 1;
    }
}

/* Text around x (align 0), left of it (-1) or right of it (1), its baseline 6 units under y. */
static void draw_text(drawing *d, double x, double y, int align, const char *text)
{
    const double width = UNIT * (ADVANCES * (double)strlen(text) - (ADVANCES - 4));
    x -= align < 0 ? width : align == 0 ? width / 2 : 0;
    for (; *text; text++, x += ADVANCES * UNIT)
        draw_letter(d, x, y, strokes_of(*text));
}

static void draw_number(drawing *d, double x, double y, int align, double number)
{
    char text[32];
    snprintf(text, sizeof text, "%g", number);
    draw_text(d, x, y, align, text);
}

/* ---- cells ---- */

static lk_colour colour_of(double mass, double chance)
{
    const double x = fmin(fmax(log2(fmax(mass, 1e-300) / chance) / SPAN, -1), 1);
    const lk_colour end = lk_rgb(x < 0 ? 0x2b5fa8 : 0xb8281e),
                    way = lk_rgb(x < 0 ? 0x9cc3e6 : 0xf6a77c);
    const double t = fabs(x);
    return t < 0.5 ? lk_mix(lk_rgb(PAPER), way, 2 * t) : lk_mix(way, end, 2 * t - 1);
}

/* The nearest bin at which something can be seen; -1: none. */
static int seen_near(const drawing *d, const double *chance, int bin)
{
    const int most = (int)(HOLE_MS / d->p->bin_ms);
    for (int away = 0; away <= most; away++)
        for (int side = -1; side < 2; side += 2) {
            const int b = bin + side * away;
            if (b >= 1 && b <= d->p->n_bins && chance[b] > 0)
                return b;
        }
    return -1;
}

static void draw_panel(drawing *d, int look, int level, int x0, int y0)
{
    const lk_joint_probe *p = d->p;
    const int bins = 2 * d->reach[look] + 1, middle = p->n_bins / 2 + 1;
    for (int row = 0; row < p->n_blocks * p->n_heads; row++) {
        const int block = row / p->n_heads;
        const double *chance = d->gaze[look]->chance + block * (p->n_bins + 2);
        const double *mass = d->gaze[look]->mass +
                             ((int64_t)level * p->n_blocks * p->n_heads + row) * (p->n_bins + 2);
        const double y = y0 + row * d->cell_height + block;
        for (int i = 0; i < bins; i++) {
            const int from = x0 + PANEL_WIDTH * i / bins, to = x0 + PANEL_WIDTH * (i + 1) / bins;
            const int b = seen_near(d, chance, middle - d->reach[look] + i);
            const lk_colour c = b < 0 ? lk_rgb(NOTHING) : colour_of(mass[b], chance[b]);
            lk_draw_rect(&d->canvas, from, y, to, y + d->cell_height, c, c);
        }
    }
}

/* ---- axes ---- */

static void draw_lags(drawing *d, int look, int x0, int y)
{
    const double reach = (d->reach[look] + 0.5) * d->p->bin_ms, scale = PANEL_WIDTH / 2 / reach;
    double step = pow(10, floor(log10(reach / 2.6)));
    for (int i = 0; reach / step > 2.6; i++) /* 1, 2, 5, 10 */
        step *= i % 3 == 1 ? 2.5 : 2;
    for (double at = -floor(reach / step) * step; at < reach; at += step) {
        const double x = x0 + PANEL_WIDTH / 2.0 + at * scale;
        lk_draw_line(&d->canvas, x, y + 1, x, y + (at == 0 ? 7 : 4), at == 0 ? 2 : 1,
                     at == 0 ? 2 : 1, lk_rgb(INK));
        draw_number(d, x, y + 10, 0, at);
    }
}

/* A line around each block's heads. */
static void draw_frames(drawing *d, int x0, int y0)
{
    const lk_joint_probe *p = d->p;
    for (int b = 0; b <= p->n_blocks; b++) {
        const double y = y0 + b * (p->n_heads * d->cell_height + 1) - 1;
        lk_draw_rect(&d->canvas, x0 - 1, y, x0 + PANEL_WIDTH + 1, y + 1, lk_rgb(FRAME),
                     lk_rgb(FRAME));
    }
    for (int side = 0; side < 2; side++) {
        const double x = side ? x0 + PANEL_WIDTH : x0 - 1;
        lk_draw_rect(&d->canvas, x, y0 - 1, x + 1, y0 + d->panel_height, lk_rgb(FRAME),
                     lk_rgb(FRAME));
    }
}

static void draw_blocks(drawing *d, int y0)
{
    const lk_joint_probe *p = d->p;
    for (int b = 0; b < p->n_blocks; b++)
        draw_number(d, LEFT - 8, y0 + (b + 0.5) * p->n_heads * d->cell_height + b - 3 * UNIT, -1,
                    b);
}

/* The scale of colours, and what else is to be known. */
static void draw_legend(drawing *d)
{
    enum { STEPS = 60, STEP = 4 };
    static const char *const at[5] = {"1/4", "1/2", "1", "2", "4"};
    const double y = d->height - 58, x0 = LEFT + 250;
    draw_text(d, LEFT, y + 1, 1, "mass of attention / chance");
    for (int i = 0; i < STEPS; i++) {
        const lk_colour c = colour_of(exp2(SPAN * (2 * (i + 0.5) / STEPS - 1)), 1);
        lk_draw_rect(&d->canvas, x0 + STEP * i, y, x0 + STEP * (i + 1), y + 10, c, c);
    }
    for (int i = 0; i < 5; i++)
        draw_text(d, x0 + STEPS * STEP * (i / 4.0), y + 14, 0, at[i]);
    draw_text(d, LEFT, y + 36, 1,
              "rows: heads of blocks, columns: lag in ms, what is seen later than who looks, "
              "t: noise level");
}

/* ---- the whole ---- */

static int reach_of(const lk_joint_probe *p, const lk_joint_gaze *z)
{
    int reach = 2;
    for (int b = 0; b < p->n_blocks; b++)
        for (int i = 1; i <= p->n_bins; i++)
            if (z->chance[b * (p->n_bins + 2) + i] > 0 && abs(i - 1 - p->n_bins / 2) > reach)
                reach = abs(i - 1 - p->n_bins / 2);
    return reach < p->n_bins / 2 ? reach : p->n_bins / 2;
}

static void lay_out(drawing *d)
{
    const lk_joint_probe *p = d->p;
    const int rows = p->n_blocks * p->n_heads, cell = 170 / rows;
    for (int i = 0; i < MOST_LOOKS; i++) {
        const int s = i / LK_JOINT_SIGHTS, k = i % LK_JOINT_SIGHTS;
        double most = 0;
        for (int b = 0; b < p->n_blocks; b++)
            most = fmax(most, p->gaze[s][k].share[b]); /* passes NaN over */
        if (!(most > 0))
            continue;
        d->gaze[d->n_looks] = &p->gaze[s][k];
        d->reach[d->n_looks] = reach_of(p, &p->gaze[s][k]);
        d->name[d->n_looks++] = lk_attention_looks[s][k];
    }
    d->cell_height = cell < 3 ? 3 : cell > 14 ? 14 : cell;
    d->panel_height = rows * d->cell_height + p->n_blocks - 1;
    d->width = LEFT + (d->n_looks > 4 ? d->n_looks : 4) * (PANEL_WIDTH + GAP_X);
    d->height = TOP + p->n_levels * (d->panel_height + GAP_Y) + BOTTOM;
}

static void draw(drawing *d, const double *levels)
{
    const lk_colour white = lk_rgb(PAPER);
    lk_draw_fill(&d->canvas, white, white);
    for (int i = 0; i < d->n_looks; i++) {
        char name[32];
        const int x0 = LEFT + i * (PANEL_WIDTH + GAP_X);
        snprintf(name, sizeof name, "%s", d->name[i]);
        for (char *c = name; *c; c++)
            *c = *c == '_' ? ' ' : *c;
        draw_text(d, x0 + PANEL_WIDTH / 2.0, 12, 0, name);
        for (int l = 0; l < d->p->n_levels; l++) {
            const int y0 = TOP + l * (d->panel_height + GAP_Y);
            draw_panel(d, i, l, x0, y0);
            draw_frames(d, x0, y0);
            draw_lags(d, i, x0, y0 + d->panel_height);
        }
    }
    for (int l = 0; l < d->p->n_levels; l++) {
        char text[32];
        const int y0 = TOP + l * (d->panel_height + GAP_Y);
        draw_blocks(d, y0);
        snprintf(text, sizeof text, "t %g", levels[l]);
        draw_text(d, 4, y0 + d->panel_height / 2.0 - 3 * UNIT, 1, text);
    }
    draw_legend(d);
}

lk_status lk_attention_draw(const char *path, const lk_joint_probe *p, const double *levels)
{
    lk_status st = LK_OK;
    drawing d = {.p = p};
    uint8_t *rgb = NULL;
    lay_out(&d);
    LK_TRY(LK_NEW_ARRAY(&rgb, (int64_t)d.width * d.height * 3));
    LK_TRY(lk_canvas_init(&d.canvas, d.width, d.height, rgb));
    d.canvas.scale = 1;
    draw(&d, levels);
    LK_TRY(lk_png_write(path, d.width, d.height, rgb));
done:
    lk_canvas_clear(&d.canvas);
    lk_free(rgb);
    return st;
}
