/* hits.c - see hits.h.
 *
 * Blocks of one frame whose motion changes there are gathered into groups of neighbours.  A block
 * is followed back and on over the fields of LK_HIT_REACH frames to both sides; the medians over
 * the group give the path x_i at the frame times t_i.  What is hit at T changes its velocity at
 * once and is pulled the same way before and after:
 *
 *   x(t) = c + u min(t - T, 0) + v max(t - T, 0) + g (t - T)^2 / 2
 *
 * For given T this is linear in c, u, v, g (vectors of two).  R(T), the sum of the squares that
 * remain, is searched over the frame before and the frame after on a grid, twice, then by a
 * parabola.  With m positions and the variance of a position
 *
 *   s^2 = (R + nu s0^2) / (2 m - 9 + nu)         s0 = 0.1 pixels, nu = 4: what is usual
 *
 * the standard error is sigma_T = s / sqrt(R'' / 2).  A path without a clear corner has a flat R,
 * one that is not followed well a large s; both give a large sigma_T and are dropped.  So is what a
 * cubic without a corner, which has as many unknowns, fits nearly as well.
 */
#include "align/hits.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_CHANGE_PX    0.4f  /* per frame; below this block matching cannot tell */
#define LEAST_CHANGE_SHARE 0.25f /* of the speed; gravity alone stays below it */
#define POSITIONS          (2 * LK_HIT_REACH + 1)
#define LEAST_POSITIONS    6
#define UNKNOWNS           4
#define GRID               24
#define USUAL_PX           0.1
#define USUAL_COUNT        4
#define WORST_SIGMA        0.15 /* frames */
#define LEAST_GAIN         2.0
#define LEAST_SHARE        0.05 /* of the heaviest group */

lk_block_change lk_block_change_of(const lk_block_motion *in, const lk_block_motion *out,
                                   float before, float after)
{
    lk_block_change c = {0, 0, 0};
    if ((!(in->weight > 0) && !in->still) || (!(out->weight > 0) && !out->still))
        return c;
    const float ux = -in->dx / before, uy = -in->dy / before;
    const float vx = out->dx / after, vy = out->dy / after;
    const float u = sqrtf(ux * ux + uy * uy);
    c.whole = sqrtf((vx - ux) * (vx - ux) + (vy - uy) * (vy - uy));
    if (c.whole < LEAST_CHANGE_PX / fmaxf(before, after) ||
        c.whole < LEAST_CHANGE_SHARE * fmaxf(u, sqrtf(vx * vx + vy * vy)))
        return c;
    c.loss = u > 0 ? fmaxf(0, u - (vx * ux + vy * uy) / u) : 0;
    c.trust = (in->still ? 1 : in->weight) * (out->still ? 1 : out->weight);
    return c;
}

/* ---- groups ---------------------------------------------------------------------------------- */

typedef struct group {
    int first, n; /* of the list of blocks */
    double mass;
} group;

static int heavier_first(const void *a, const void *b)
{
    const group *x = a, *y = b;
    return x->mass != y->mass ? (x->mass < y->mass) - (x->mass > y->mass) : x->first - y->first;
}

/* The blocks with a change, listed group by group; blocks two apart belong together. */
static int find_groups(const lk_motion_link *at, const lk_motion_link *next, float before,
                       float after, int *block, group *groups)
{
    const int columns = at->back.columns, rows = at->back.rows;
    float mass[LK_MAX_BLOCKS];
    int n = 0, n_groups = 0;
    for (int i = 0; i < columns * rows; i++) {
        const lk_block_change c =
            lk_block_change_of(&at->back.block[i], &next->forward.block[i], before, after);
        mass[i] = c.trust * c.whole;
    }
    for (int i = 0; i < columns * rows; i++) {
        if (!(mass[i] > 0))
            continue;
        group *g = &groups[n_groups++];
        *g = (group){n, 1, (double)mass[i]};
        mass[i] = 0;
        block[n++] = i;
        for (int next_one = g->first; next_one < n; next_one++) {
            const int column = block[next_one] % columns, row = block[next_one] / columns;
            for (int k = 0; k < 25; k++) {
                const int x = column + k % 5 - 2, y = row + k / 5 - 2, j = y * columns + x;
                if (x < 0 || y < 0 || x >= columns || y >= rows || !(mass[j] > 0))
                    continue;
                g->mass += (double)mass[j];
                mass[j] = 0;
                block[n++] = j;
            }
        }
        g->n = n - g->first;
    }
    qsort(groups, (size_t)n_groups, sizeof *groups, heavier_first);
    return n_groups;
}

/* ---- paths ----------------------------------------------------------------------------------- */

typedef struct path {
    int n;
    double t[POSITIONS], x[POSITIONS], y[POSITIONS]; /* frames of the clip's usual length; pixels */
} path;

/* Follow a corner (x, y) one link; `sign` +1 on to the next frame, -1 back.  (dx, dy) is what it
 * moved with the camera removed. */
static bool step(const lk_motion_field *field, const lk_camera_motion *camera, float sign, float cx,
                 float cy, float *x, float *y, float *dx, float *dy)
{
    const int column = (int)lrintf(*x / LK_BLOCK_STEP), row = (int)lrintf(*y / LK_BLOCK_STEP);
    if (column < 0 || row < 0 || column >= field->columns || row >= field->rows)
        return false;
    const lk_block_motion *b = &field->block[row * field->columns + column];
    if (!(b->weight > 0) && !b->still)
        return false;
    *dx = b->still ? 0 : b->dx;
    *dy = b->still ? 0 : b->dy;
    const float px = *x + *dx - cx, py = *y + *dy - cy;
    *x = px + sign * (camera->dx + camera->zoom * px - camera->roll * py) + cx;
    *y = py + sign * (camera->dy + camera->zoom * py + camera->roll * px) + cy;
    return true;
}

static int float_ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double median_of(float *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, float_ascending);
    return n % 2 ? (double)v[n / 2] : 0.5 * (double)(v[n / 2 - 1] + v[n / 2]);
}

/* Medians over the group's blocks of where they were and will be, one side at a time. */
static void follow_group(const lk_motion_link *const *link, int n_links, int centre, int width,
                         int height, const int *block, int n, double frame_s, path *p)
{
    float x[LK_MAX_BLOCKS], y[LK_MAX_BLOCKS], sum_x[LK_MAX_BLOCKS], sum_y[LK_MAX_BLOCKS];
    float sort[LK_MAX_BLOCKS];
    const float cx = 0.5f * (float)(width - 1 - LK_BLOCK);
    const float cy = 0.5f * (float)(height - 1 - LK_BLOCK);
    const int columns = link[centre]->back.columns;
    *p = (path){1, {0}, {0}, {0}};
    for (int side = -1; side <= 1; side += 2) {
        int alive = n;
        for (int i = 0; i < n; i++) {
            x[i] = (float)(block[i] % columns * LK_BLOCK_STEP);
            y[i] = (float)(block[i] / columns * LK_BLOCK_STEP);
            sum_x[i] = sum_y[i] = 0;
        }
        for (int far = 1; far <= LK_HIT_REACH; far++) {
            const int to = centre + side * far;
            if (to < 0 || to >= n_links)
                break;
            const lk_motion_link *via = link[side > 0 ? to : to + 1];
            int kept = 0;
            for (int i = 0; i < alive; i++) {
                float dx, dy;
                if (!step(side > 0 ? &via->forward : &via->back, &via->camera, (float)side, cx, cy,
                          &x[i], &y[i], &dx, &dy))
                    continue;
                x[kept] = x[i];
                y[kept] = y[i];
                sum_x[kept] = sum_x[i] + dx;
                sum_y[kept++] = sum_y[i] + dy;
            }
            alive = kept;
            if (alive == 0)
                break;
            p->t[p->n] = (link[to]->t_s - link[centre]->t_s) / frame_s;
            memcpy(sort, sum_x, (size_t)alive * sizeof *sort);
            p->x[p->n] = median_of(sort, alive);
            memcpy(sort, sum_y, (size_t)alive * sizeof *sort);
            p->y[p->n++] = median_of(sort, alive);
        }
    }
}

/* ---- the corner ------------------------------------------------------------------------------ */

/* Squares that remain when the path has its corner at T; NAN: of a cubic, which has none. */
static double misfit(const path *p, double corner)
{
    double a[UNKNOWNS][UNKNOWNS + 2] = {{0}}, squares = 0;
    for (int i = 0; i < p->n; i++) {
        const double t = p->t[i], s = t - corner;
        const double bent[UNKNOWNS] = {1, fmin(s, 0), fmax(s, 0), 0.5 * s * s};
        const double smooth[UNKNOWNS] = {1, t, t * t, t * t * t};
        const double *row = isnan(corner) ? smooth : bent;
        for (int r = 0; r < UNKNOWNS; r++) {
            for (int c = 0; c < UNKNOWNS; c++)
                a[r][c] += row[r] * row[c];
            a[r][UNKNOWNS] += row[r] * p->x[i];
            a[r][UNKNOWNS + 1] += row[r] * p->y[i];
        }
        squares += p->x[i] * p->x[i] + p->y[i] * p->y[i];
    }
    /* Cholesky by rows: what each unknown explains is the square of its transformed right side. */
    for (int r = 0; r < UNKNOWNS; r++) {
        if (!(a[r][r] > 1e-9))
            continue;
        squares -=
            (a[r][UNKNOWNS] * a[r][UNKNOWNS] + a[r][UNKNOWNS + 1] * a[r][UNKNOWNS + 1]) / a[r][r];
        for (int q = r + 1; q < UNKNOWNS; q++) {
            const double share = a[q][r] / a[r][r];
            for (int c = r; c < UNKNOWNS + 2; c++)
                a[q][c] -= share * a[r][c];
        }
    }
    return fmax(0, squares);
}

/* Corner within [lo, hi] and its standard error, both in frames; false at an edge. */
static bool find_corner(const path *p, double lo, double hi, double *corner, double *sigma)
{
    double r[GRID + 1], width = 0;
    int best = 0;
    for (int round = 0; round < 2; round++) {
        width = (hi - lo) / GRID;
        best = 0;
        for (int i = 0; i <= GRID; i++) {
            r[i] = misfit(p, lo + i * width);
            best = r[i] < r[best] ? i : best;
        }
        if (best == 0 || best == GRID)
            return false;
        if (round == 0) {
            lo = lo + (best - 2 > 0 ? best - 2 : 0) * width;
            hi = lo + 4 * width;
        }
    }
    if (misfit(p, NAN) < LEAST_GAIN * (r[best] + 2 * p->n * USUAL_PX * USUAL_PX))
        return false;
    const double bend = r[best - 1] - 2 * r[best] + r[best + 1];
    if (!(bend > 0))
        return false;
    *corner = lo + (best + 0.5 * (r[best - 1] - r[best + 1]) / bend) * width;
    const double variance =
        (r[best] + USUAL_COUNT * USUAL_PX * USUAL_PX) / (2 * p->n - 2 * UNKNOWNS - 1 + USUAL_COUNT);
    *sigma = sqrt(variance / (0.5 * bend / (width * width)));
    return true;
}

int lk_hits_at(const lk_motion_link *const *link, int n, int centre, int width, int height,
               lk_hit *out)
{
    int block[LK_MAX_BLOCKS], n_out = 0;
    group groups[LK_MAX_BLOCKS];
    const lk_motion_link *at = link[centre], *next = link[centre + 1];
    const double before = at->t_s - link[centre - 1]->t_s, after = next->t_s - at->t_s;
    if (!(before > 1e-4) || !(after > 1e-4) || at->back.columns != next->forward.columns)
        return 0;
    const int n_groups = find_groups(at, next, (float)before, (float)after, block, groups);
    const double frame_s = 0.5 * (before + after);
    for (int i = 0; i < n_groups && n_out < LK_HITS_MOST; i++) {
        if (groups[i].mass < LEAST_SHARE * groups[0].mass)
            break;
        path p;
        double corner, sigma;
        follow_group(link, n, centre, width, height, block + groups[i].first, groups[i].n, frame_s,
                     &p);
        if (p.n < LEAST_POSITIONS ||
            !find_corner(&p, -before / frame_s, after / frame_s, &corner, &sigma))
            continue;
        const double half = 0.5 * (corner < 0 ? before : after) / frame_s;
        if (sigma > WORST_SIGMA || fabs(corner) > 1.1 * half)
            continue;
        out[n_out].t_s = at->t_s + corner * frame_s;
        out[n_out].sigma_ms = (float)(1e3 * sigma * frame_s);
        out[n_out++].weight =
            (float)(groups[i].mass / ((double)(at->back.columns * at->back.rows) * height));
    }
    return n_out;
}
