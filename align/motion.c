/* motion.c - shrinking, camera motion, block matching.
 *
 *   SAD(block, v) = sum over the 8x8 block of |a(p) - b(p + v)|
 *
 * Search: the best of a few predicted vectors, then steps of one pixel downhill.  The sub-pixel
 * part e is one Lucas-Kanade step on the matched block,
 *
 *   (sum g g^T + r I) e = sum g (a - b)          g: mean gradient of both pictures
 *
 * which, unlike a parabola per axis, is not misled by slanted texture; the ridge r pulls e to zero
 * where there is no gradient to tell.
 */
#include "align/motion.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define MAX_STEPS    24 /* reach of the downhill walk, pixels */
#define COARSE_BLOCK 16
#define MAX_COARSE   128

void lk_small_size(const lk_frame_view *frame, int *width, int *height)
{
    double aspect = (double)frame->width / frame->height;
    if (frame->sar.num > 0 && frame->sar.den > 0)
        aspect *= (double)frame->sar.num / (double)frame->sar.den;
    aspect = aspect < 0.1 ? 0.1 : aspect > 10 ? 10 : aspect;
    double w = frame->width < LK_SMALL_WIDTH ? frame->width : LK_SMALL_WIDTH;
    double h = w / aspect;
    const double tallest = frame->height < LK_SMALL_HEIGHT ? frame->height : LK_SMALL_HEIGHT;
    if (h > tallest) {
        h = tallest;
        w = h * aspect < LK_SMALL_WIDTH ? h * aspect : LK_SMALL_WIDTH;
    }
    const int least = 2 * LK_BLOCK;
    *width = (int)lrint(w) < least ? least : (int)lrint(w);
    *height = (int)lrint(h) < least ? least : (int)lrint(h);
}

/* Column sums of rows y0..y1-1 of the frame, in 32 bits. */
static void sum_rows(const lk_frame_view *f, int y0, int y1, uint32_t *sums)
{
    uint16_t part[4096];
    for (int x0 = 0; x0 < f->width; x0 += 4096) {
        const int n = f->width - x0 < 4096 ? f->width - x0 : 4096;
        memset(sums + x0, 0, (size_t)n * sizeof *sums);
        for (int y = y0; y < y1; y += 256) {
            const int stop = y + 256 < y1 ? y + 256 : y1;
            memset(part, 0, (size_t)n * sizeof *part);
            for (int row = y; row < stop; row++) {
                const uint8_t *luma = f->luma + row * f->luma_stride + x0;
                for (int x = 0; x < n; x++)
                    part[x] = (uint16_t)(part[x] + luma[x]);
            }
            for (int x = 0; x < n; x++)
                sums[x0 + x] += part[x];
        }
    }
}

void lk_small_from_frame(const lk_frame_view *f, int width, int height, lk_small_picture *out)
{
    uint32_t sums[16384];
    const int cols = f->width < 16384 ? f->width : 16384;
    double share = 0; /* 1 / count, kept while the count stays the same: division is slow */
    uint32_t count = 0;
    out->width = width;
    out->height = height;
    for (int y = 0; y < height; y++) {
        const int y0 = (int)((int64_t)y * f->height / height);
        int y1 = (int)((int64_t)(y + 1) * f->height / height);
        y1 = y1 > y0 ? y1 : y0 + 1;
        sum_rows(f, y0, y1, sums);
        for (int x = 0, x0 = 0; x < width; x++) {
            int x1 = (x + 1) * cols / width;
            x1 = x1 > x0 ? x1 : x0 + 1;
            uint32_t sum = 0;
            for (int i = x0; i < x1; i++)
                sum += sums[i];
            const uint32_t pixels = (uint32_t)(x1 - x0) * (uint32_t)(y1 - y0);
            if (pixels != count) {
                count = pixels;
                share = 1.0 / count;
            }
            /* The mean is a multiple of 1 / count, so a quarter of that keeps exact halves safe
             * from the rounding of `share`. */
            out->luma[y * width + x] = (uint8_t)((sum + 0.25) * share + 0.5);
            x0 = x1 < cols ? x1 : cols - 1;
        }
    }
}

static int sad8(const uint8_t *a, const uint8_t *b, int stride)
{
#if defined(__SSE2__)
    __m128i sum = _mm_setzero_si128();
    for (int y = 0; y < LK_BLOCK; y += 2) {
        const __m128i va = _mm_unpacklo_epi64(
            _mm_loadl_epi64((const __m128i *)(const void *)(a + y * stride)),
            _mm_loadl_epi64((const __m128i *)(const void *)(a + (y + 1) * stride)));
        const __m128i vb = _mm_unpacklo_epi64(
            _mm_loadl_epi64((const __m128i *)(const void *)(b + y * stride)),
            _mm_loadl_epi64((const __m128i *)(const void *)(b + (y + 1) * stride)));
        sum = _mm_add_epi64(sum, _mm_sad_epu8(va, vb));
    }
    return _mm_cvtsi128_si32(sum) + _mm_cvtsi128_si32(_mm_srli_si128(sum, 8));
#else
    int sum = 0;
    for (int y = 0; y < LK_BLOCK; y++) {
        for (int x = 0; x < LK_BLOCK; x++)
            sum += abs(a[y * stride + x] - b[y * stride + x]);
    }
    return sum;
#endif
}

/* A square of `side` pixels (a multiple of LK_BLOCK) at (x, y) of a against (x + dx, y + dy) of b;
 * INT32_MAX when that leaves the picture. */
static int block_sad(const lk_small_picture *a, const lk_small_picture *b, int side, int x, int y,
                     int dx, int dy)
{
    const int bx = x + dx, by = y + dy, stride = a->width;
    if (bx < 0 || by < 0 || bx + side > b->width || by + side > b->height)
        return INT32_MAX;
    int sum = 0;
    for (int j = 0; j < side; j += LK_BLOCK) {
        for (int i = 0; i < side; i += LK_BLOCK)
            sum += sad8(a->luma + (y + j) * stride + x + i, b->luma + (by + j) * stride + bx + i,
                        stride);
    }
    return sum;
}

typedef struct match {
    int dx, dy, sad;
} match;

static void try_vector(const lk_small_picture *a, const lk_small_picture *b, int side, int x, int y,
                       int dx, int dy, match *best)
{
    const int sad = block_sad(a, b, side, x, y, dx, dy);
    if (sad < best->sad) {
        best->dx = dx;
        best->dy = dy;
        best->sad = sad;
    }
}

static void walk_downhill(const lk_small_picture *a, const lk_small_picture *b, int side, int x,
                          int y, match *best)
{
    static const int neighbour[4][2] = {{1, 0}, {0, 1}, {-1, 0}, {0, -1}};
    for (int step = 0; step < MAX_STEPS; step++) {
        const match from = *best;
        for (int i = 0; i < 4; i++)
            try_vector(a, b, side, x, y, from.dx + neighbour[i][0], from.dy + neighbour[i][1],
                       best);
        if (best->sad == from.sad)
            return;
    }
}

/* Sub-pixel part of a match: one Lucas-Kanade step, each axis limited to +-0.75 pixels. */
static void refine(const lk_small_picture *a, const lk_small_picture *b, int side, int x, int y,
                   const match *m, float *dx, float *dy)
{
    const int stride = a->width;
    int64_t xx = 0, xy = 0, yy = 0, xt = 0, yt = 0;
    for (int j = 0; j < side; j++) {
        const int ay = y + j, by = y + m->dy + j;
        const bool inside_y = ay > 0 && ay + 1 < a->height && by > 0 && by + 1 < b->height;
        for (int i = 0; inside_y && i < side; i++) {
            const int ax = x + i, bx = x + m->dx + i;
            if (ax == 0 || ax + 1 >= a->width || bx == 0 || bx + 1 >= b->width)
                continue;
            const uint8_t *p = a->luma + ay * stride + ax, *q = b->luma + by * stride + bx;
            const int gx = p[1] - p[-1] + q[1] - q[-1]; /* four times the mean gradient */
            const int gy = p[stride] - p[-stride] + q[stride] - q[-stride];
            const int d = p[0] - q[0];
            xx += gx * gx;
            xy += gx * gy;
            yy += gy * gy;
            xt += gx * d;
            yt += gy * d;
        }
    }
    const double ridge = 64.0 * side * side; /* as much as a gradient of two levels per pixel */
    const double sxx = (double)xx + ridge, syy = (double)yy + ridge, sxy = (double)xy;
    const double det = sxx * syy - sxy * sxy;
    const double ex = 4 * (syy * (double)xt - sxy * (double)yt) / det;
    const double ey = 4 * (sxx * (double)yt - sxy * (double)xt) / det;
    *dx = (float)(m->dx + fmin(fmax(ex, -0.75), 0.75));
    *dy = (float)(m->dy + fmin(fmax(ey, -0.75), 0.75));
}

/* Smallest of the four SADs against the picture itself moved by one pixel: how well the block can
 * be located along its worst axis. */
static int locatability(const lk_small_picture *a, int side, int x, int y)
{
    int least = INT32_MAX;
    static const int step[4][2] = {{1, 0}, {-1, 0}, {0, 1}, {0, -1}};
    for (int i = 0; i < 4; i++) {
        const int sad = block_sad(a, a, side, x, y, step[i][0], step[i][1]);
        least = sad < least ? sad : least;
    }
    return least == INT32_MAX ? 0 : least;
}

/* ---- camera ---------------------------------------------------------------------------------- */

typedef struct coarse {
    float x, y;   /* block centre relative to the picture's centre */
    float dx, dy; /* its motion */
    float trust;
} coarse;

static int coarse_motion(const lk_small_picture *a, const lk_small_picture *b, coarse *out)
{
    int n = 0;
    match left = {0, 0, 0}, above[LK_SMALL_WIDTH / COARSE_BLOCK + 1] = {{0, 0, 0}};
    for (int y = 0; y + COARSE_BLOCK <= a->height; y += COARSE_BLOCK) {
        for (int x = 0; x + COARSE_BLOCK <= a->width && n < MAX_COARSE; x += COARSE_BLOCK) {
            const int texture = locatability(a, COARSE_BLOCK, x, y);
            match best = {0, 0, INT32_MAX};
            if (texture < COARSE_BLOCK * COARSE_BLOCK)
                continue;
            try_vector(a, b, COARSE_BLOCK, x, y, 0, 0, &best);
            try_vector(a, b, COARSE_BLOCK, x, y, left.dx, left.dy, &best);
            try_vector(a, b, COARSE_BLOCK, x, y, above[x / COARSE_BLOCK].dx,
                       above[x / COARSE_BLOCK].dy, &best);
            walk_downhill(a, b, COARSE_BLOCK, x, y, &best);
            left = above[x / COARSE_BLOCK] = best;
            coarse *c = &out[n++];
            c->x = (float)x + 0.5f * (float)(COARSE_BLOCK - a->width);
            c->y = (float)y + 0.5f * (float)(COARSE_BLOCK - a->height);
            c->trust = (float)texture / (float)(texture + best.sad);
            refine(a, b, COARSE_BLOCK, x, y, &best, &c->dx, &c->dy);
        }
    }
    return n;
}

static int float_ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static float median_of(float *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, float_ascending);
    return v[n / 2];
}

/* One weighted least-squares step for (dx, dy, zoom, roll).  With coordinates centred on the
 * weighted mean the normal equations are diagonal. */
static void fit_similarity(const coarse *c, int n, lk_camera_motion *m)
{
    double w = 0, mx = 0, my = 0, mu = 0, mv = 0;
    double weight[MAX_COARSE];
    for (int i = 0; i < n; i++) {
        const float rx = c[i].dx - (m->dx + m->zoom * c[i].x - m->roll * c[i].y);
        const float ry = c[i].dy - (m->dy + m->zoom * c[i].y + m->roll * c[i].x);
        const double r2 = (double)(rx * rx + ry * ry);
        weight[i] = c[i].trust / (1 + r2 * r2 * 16); /* half weight at half a pixel */
        w += weight[i];
        mx += weight[i] * c[i].x;
        my += weight[i] * c[i].y;
        mu += weight[i] * c[i].dx;
        mv += weight[i] * c[i].dy;
    }
    if (w <= 1e-6)
        return;
    mx /= w;
    my /= w;
    mu /= w;
    mv /= w;
    double spread = 0, zoom = 0, roll = 0;
    for (int i = 0; i < n; i++) {
        const double x = c[i].x - mx, y = c[i].y - my, u = c[i].dx - mu, v = c[i].dy - mv;
        spread += weight[i] * (x * x + y * y);
        zoom += weight[i] * (x * u + y * v);
        roll += weight[i] * (x * v - y * u);
    }
    if (spread / w > 64) { /* blocks too close together cannot tell zoom from noise */
        m->zoom = (float)(zoom / spread);
        m->roll = (float)(roll / spread);
    }
    m->dx = (float)(mu - m->zoom * mx + m->roll * my);
    m->dy = (float)(mv - m->zoom * my - m->roll * mx);
}

void lk_camera_estimate(const lk_small_picture *a, const lk_small_picture *b,
                        lk_camera_motion *camera)
{
    coarse c[MAX_COARSE];
    float v[MAX_COARSE];
    memset(camera, 0, sizeof *camera);
    const int n = coarse_motion(a, b, c);
    if (n < 6)
        return;
    for (int i = 0; i < n; i++)
        v[i] = c[i].dx;
    camera->dx = median_of(v, n);
    for (int i = 0; i < n; i++)
        v[i] = c[i].dy;
    camera->dy = median_of(v, n);
    for (int round = 0; round < 4; round++)
        fit_similarity(c, n, camera);
    const float reach = camera->zoom * (float)a->width;
    const float turn = camera->roll * (float)a->width;
    if (fabsf(camera->dx) + fabsf(camera->dy) + fabsf(reach) + fabsf(turn) < 0.1f)
        memset(camera, 0, sizeof *camera); /* a still camera must stay exactly still */
}

/* Positions run in 16.16 fixed point and weights in 1/256 pixel, far below what a match can tell.
 */
void lk_camera_undo(const lk_small_picture *b, const lk_camera_motion *m, lk_small_picture *out)
{
    const int w = b->width;
    const float cx = 0.5f * (float)(w - 1), cy = 0.5f * (float)(b->height - 1), one = 65536;
    const int right = (w - 1) * 65536 - 1, bottom = (b->height - 1) * 65536 - 1;
    const int step_x = (int)lrintf((1 + m->zoom) * one), step_y = (int)lrintf(m->roll * one);
    out->width = w;
    out->height = b->height;
    for (int y = 0; y < b->height; y++) {
        const float py = (float)y - cy;
        int sx = (int)lrintf((m->dx - m->roll * py - m->zoom * cx) * one);
        int sy = (int)lrintf(((float)y + m->dy + m->zoom * py - m->roll * cx) * one);
        for (int x = 0; x < w; x++, sx += step_x, sy += step_y) {
            const int ux = sx < 0 ? 0 : sx > right ? right : sx;
            const int uy = sy < 0 ? 0 : sy > bottom ? bottom : sy;
            const uint8_t *p = b->luma + (uy >> 16) * w + (ux >> 16);
            const int fx = (ux >> 8) & 255, fy = (uy >> 8) & 255;
            const int top = 256 * p[0] + fx * (p[1] - p[0]);
            const int low = 256 * p[w] + fx * (p[w + 1] - p[w]);
            out->luma[y * w + x] = (uint8_t)((256 * top + fy * (low - top) + 32768) >> 16);
        }
    }
}

/* ---- objects --------------------------------------------------------------------------------- */

float lk_picture_change(const lk_small_picture *a, const lk_small_picture *b, float *typical)
{
    float per_block[(LK_SMALL_WIDTH / LK_BLOCK) * (LK_SMALL_HEIGHT / LK_BLOCK)];
    int n = 0;
    int64_t total = 0;
    for (int y = 0; y + LK_BLOCK <= a->height; y += LK_BLOCK) {
        for (int x = 0; x + LK_BLOCK <= a->width; x += LK_BLOCK) {
            const int sad = block_sad(a, b, LK_BLOCK, x, y, 0, 0);
            total += sad;
            per_block[n++] = (float)sad / (float)(LK_BLOCK * LK_BLOCK);
        }
    }
    if (typical)
        *typical = median_of(per_block, n);
    return (float)total / (float)(n * LK_BLOCK * LK_BLOCK);
}

/* Far starting points for something small and fast that no neighbour has found yet. */
static void try_ring(const lk_small_picture *a, const lk_small_picture *b, int x, int y,
                     match *best)
{
    static const int direction[8][2] = {{2, 0},  {1, 1},   {0, 2},  {-1, 1},
                                        {-2, 0}, {-1, -1}, {0, -2}, {1, -1}};
    for (int radius = 2; radius <= 8; radius += 2) {
        for (int d = 0; d < 8; d++)
            try_vector(a, b, LK_BLOCK, x, y, direction[d][0] * radius, direction[d][1] * radius,
                       best);
    }
}

/* Everything that decides a block's vector; `near` are blocks whose vectors are worth a try.  On
 * the second visit (`again`) only they can change it. */
static void follow_block(const lk_small_picture *a, const lk_small_picture *b, int x, int y,
                         int still, const lk_block_motion *const near[4], bool again,
                         lk_block_motion *out)
{
    match best = {0, 0, still};
    if (out->weight > 0)
        try_vector(a, b, LK_BLOCK, x, y, (int)lrintf(out->dx), (int)lrintf(out->dy), &best);
    const int before = best.sad;
    for (int i = 0; i < 4; i++) {
        if (near[i] && near[i]->weight > 0)
            try_vector(a, b, LK_BLOCK, x, y, (int)lrintf(near[i]->dx), (int)lrintf(near[i]->dy),
                       &best);
    }
    if (again && best.sad == before) /* the neighbours have nothing better */
        return;
    walk_downhill(a, b, LK_BLOCK, x, y, &best);
    if (2 * best.sad > still) {
        try_ring(a, b, x, y, &best);
        walk_downhill(a, b, LK_BLOCK, x, y, &best);
    }
    const int texture = locatability(a, LK_BLOCK, x, y);
    const float gain = 1 - (float)best.sad / (float)still;
    const float located = (float)texture / (float)(texture + best.sad + 1);
    refine(a, b, LK_BLOCK, x, y, &best, &out->dx, &out->dy);
    out->weight = gain > 0.25f ? gain * located : 0;
}

/* Blocks in reading order learn from those above and to the left, then in reverse order from
 * those below and to the right. */
static void sweep(const lk_small_picture *a, const lk_small_picture *b,
                  const lk_motion_field *guess, float noise_floor, lk_motion_field *field, int dir)
{
    const int n = field->columns * field->rows;
    for (int i = 0; i < n; i++) {
        const int at = dir > 0 ? i : n - 1 - i;
        const int column = at % field->columns, row = at / field->columns;
        const int x = column * LK_BLOCK_STEP, y = row * LK_BLOCK_STEP;
        lk_block_motion *out = &field->block[at];
        const bool side = dir > 0 ? column > 0 : column + 1 < field->columns;
        const bool line = dir > 0 ? row > 0 : row + 1 < field->rows;
        const bool diagonal = line && (dir > 0 ? column + 1 < field->columns : column > 0);
        if (dir < 0 && out->still)
            continue;
        const int still = block_sad(a, b, LK_BLOCK, x, y, 0, 0);
        if ((float)still <= noise_floor * LK_BLOCK * LK_BLOCK) {
            *out = (lk_block_motion){.still = 1};
            continue;
        }
        const lk_block_motion *const near[4] = {side ? out - dir : NULL,
                                                line ? out - dir * field->columns : NULL,
                                                diagonal ? out - dir * (field->columns - 1) : NULL,
                                                dir > 0 && guess ? &guess->block[at] : NULL};
        if (dir > 0)
            *out = (lk_block_motion){.still = 0};
        follow_block(a, b, x, y, still, near, dir < 0, out);
    }
}

void lk_motion_estimate(const lk_small_picture *a, const lk_small_picture *b,
                        const lk_motion_field *guess, float noise_floor, lk_motion_field *field)
{
    field->columns = (a->width - LK_BLOCK) / LK_BLOCK_STEP + 1;
    field->rows = (a->height - LK_BLOCK) / LK_BLOCK_STEP + 1;
    if (guess && (guess->columns != field->columns || guess->rows != field->rows))
        guess = NULL;
    sweep(a, b, guess, noise_floor, field, 1);
    sweep(a, b, NULL, noise_floor, field, -1);
}

/* ---- agreement ------------------------------------------------------------------------------- */

#define AGREE_PX    1.0f /* how far the way back may miss */
#define AGREE_SHARE 0.1f /* and this share of the way */

/* Marks in keep[] the blocks of `there` that the vectors of `back` confirm.  (cx, cy) is the centre
 * of the picture. */
static void find_agreeing(const lk_motion_field *there, const lk_motion_field *back,
                          const lk_camera_motion *m, float cx, float cy, bool *keep)
{
    for (int i = 0; i < there->columns * there->rows; i++) {
        const lk_block_motion *b = &there->block[i];
        keep[i] = false;
        if (!(b->weight > 0))
            continue;
        const float half = 0.5f * LK_BLOCK;
        const float px = (float)(i % there->columns * LK_BLOCK_STEP) + half + b->dx - cx;
        const float py = (float)(i / there->columns * LK_BLOCK_STEP) + half + b->dy - cy;
        const float qx = px + m->dx + m->zoom * px - m->roll * py + cx - half;
        const float qy = py + m->dy + m->zoom * py + m->roll * px + cy - half;
        const int column = (int)lrintf(qx / LK_BLOCK_STEP), row = (int)lrintf(qy / LK_BLOCK_STEP);
        if (column < 0 || row < 0 || column >= back->columns || row >= back->rows)
            continue;
        const lk_block_motion *r = &back->block[row * back->columns + column];
        const float ex = b->dx + r->dx, ey = b->dy + r->dy;
        const float may = AGREE_PX + AGREE_SHARE * sqrtf(b->dx * b->dx + b->dy * b->dy);
        keep[i] = (r->weight > 0 || r->still) && ex * ex + ey * ey <= may * may;
    }
}

void lk_motion_agree(lk_motion_field *forward, lk_motion_field *back,
                     const lk_camera_motion *camera, int width, int height)
{
    bool keep[2][LK_MAX_BLOCKS];
    const lk_camera_motion inverse = {-camera->dx, -camera->dy, -camera->zoom, -camera->roll};
    const float cx = 0.5f * (float)(width - 1), cy = 0.5f * (float)(height - 1);
    find_agreeing(forward, back, camera, cx, cy, keep[0]);
    find_agreeing(back, forward, &inverse, cx, cy, keep[1]);
    for (int i = 0; i < forward->columns * forward->rows; i++) {
        if (!keep[0][i])
            forward->block[i].weight = 0;
        if (!keep[1][i])
            back->block[i].weight = 0;
    }
}
