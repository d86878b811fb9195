/* video_features.c - motion and impacts on the true frame times.
 *
 * Each new frame k is compared with frame k-1 after the camera's motion is removed:
 *
 *   F[k-1]  motion of the blocks of frame k-1 forward into frame k
 *   B[k]    motion of the blocks of frame k back into frame k-1
 *
 * so that at frame k-1 every block knows how its content arrived, u = -B[k-1] / (t[k-1] - t[k-2]),
 * and how it leaves, v = F[k-1] / (t[k] - t[k-1]).  With L the loss of motion along its own former
 * direction and G the rest of the change,
 *
 *   L = max(0, |u| - v.u/|u|)      A = |v - u|      G = A - L
 *
 *   impact[k-1] = sum L + min(sum G, sum L at frame k-2)
 *
 * Why: when something hits between frames j and j+1, at the fraction f of that interval, its
 * velocity in the interval is the mix f u + (1-f) v, so A is (1-f)|v-u| at frame j and f|v-u| at
 * frame j+1.  Their centroid is the true time of the hit, whatever the frame rate and also when
 * frames are unevenly spaced.  The second part may look like a gain (a ball already on its way up),
 * which G restores; a gain without a loss before it is something starting to move, not a hit.
 */
#include "align/features.h"
#include "align/hits.h"
#include "align/motion.h"

#include "kernels/mem.h"

#include <math.h>
#include <string.h>

#define CUT_CHANGE 12.0f                  /* grey levels */
#define HELD       (2 * LK_HIT_REACH + 1) /* frames that a hit looks at */

struct lk_video_extractor {
    bool keep_grid;
    int64_t n;
    size_t capacity, capacity_grid, capacity_hits, caps[6];
    lk_video_features f;
    int width, height;
    double loss_before, seconds_before; /* of frame k-2; of the interval before frame k-1 */
    lk_small_picture small[2], moved;   /* frames k-1 and k by parity of k */
    lk_motion_link link[HELD];          /* of frame k in slot k % HELD */
};

lk_status lk_video_extractor_create(lk_video_extractor **x, bool keep_grid)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW(x));
    (*x)->keep_grid = keep_grid;
done:
    return st;
}

void lk_video_extractor_free(lk_video_extractor **x)
{
    if (!*x)
        return;
    lk_features f = {.video = (*x)->f};
    lk_features_clear(&f);
    lk_free(*x);
    *x = NULL;
}

static lk_status reserve(lk_video_extractor *x)
{
    lk_status st = LK_OK;
    const size_t need = (size_t)x->n + 1;
    lk_video_features *f = &x->f;
    LK_TRY(LK_GROW(&f->spans, &x->capacity, need));
    LK_TRY(LK_GROW(&f->change, &x->caps[0], need));
    LK_TRY(LK_GROW(&f->speed, &x->caps[1], need));
    LK_TRY(LK_GROW(&f->directions, &x->caps[2], need * LK_DIRECTIONS));
    LK_TRY(LK_GROW(&f->impact, &x->caps[3], need));
    LK_TRY(LK_GROW(&f->camera, &x->caps[4], need * 2));
    LK_TRY(LK_GROW(&f->cut, &x->caps[5], need));
    if (x->keep_grid)
        LK_TRY(LK_GROW(&f->grid, &x->capacity_grid, need * (size_t)f->grid_w * (size_t)f->grid_h));
done:
    return st;
}

/* Motion split over directions with cosine weights between the two nearest bins. */
static void add_direction(float *bins, float dx, float dy, float amount)
{
    const float turn = atan2f(dy, dx) * (float)(LK_DIRECTIONS / (2 * 3.14159265358979));
    const float place = turn < 0 ? turn + LK_DIRECTIONS : turn;
    const int lower = (int)place;
    const float part = place - (float)lower;
    bins[lower % LK_DIRECTIONS] += amount * (1 - part);
    bins[(lower + 1) % LK_DIRECTIONS] += amount * part;
}

static void store_motion(lk_video_extractor *x, double seconds)
{
    const lk_motion_field *m = &x->link[x->n % HELD].forward;
    const int n_blocks = m->columns * m->rows;
    const float scale = (float)(1.0 / (seconds * x->height * n_blocks));
    float *bins = x->f.directions + x->n * LK_DIRECTIONS;
    double total = 0;
    for (int i = 0; i < n_blocks; i++) {
        const lk_block_motion *b = &m->block[i];
        if (!(b->weight > 0))
            continue;
        const float amount = b->weight * sqrtf(b->dx * b->dx + b->dy * b->dy) * scale;
        total += amount;
        add_direction(bins, b->dx, b->dy, amount);
    }
    x->f.speed[x->n] = (float)total;
}

/* Sums L and G over the blocks of frame k-1; see the top of the file. */
static void lost_motion(const lk_video_extractor *x, const lk_motion_field *forward,
                        const lk_motion_field *back, double seconds, double *loss, double *gain)
{
    const float before = (float)x->seconds_before, after = (float)seconds;
    const int n_blocks = forward->columns * forward->rows;
    *loss = *gain = 0;
    for (int i = 0; i < n_blocks; i++) {
        const lk_block_change c =
            lk_block_change_of(&back->block[i], &forward->block[i], before, after);
        *loss += c.trust * c.loss;
        *gain += c.trust * fmaxf(0, c.whole - c.loss);
    }
    const double scale = 1.0 / ((double)n_blocks * x->height);
    *loss *= scale;
    *gain *= scale;
}

/* Hits near frame `centre`, seen from frames up to `last`. */
static lk_status find_hits(lk_video_extractor *x, int64_t centre, int64_t last)
{
    lk_status st = LK_OK;
    const lk_motion_link *link[HELD];
    lk_hit found[LK_HITS_MOST];
    int n = 0;
    const int64_t first = centre > LK_HIT_REACH ? centre - LK_HIT_REACH : 0;
    if (centre < 1 || centre >= last)
        return LK_OK;
    for (int64_t k = first; k <= last; k++)
        link[n++] = &x->link[k % HELD];
    n = lk_hits_at(link, n, (int)(centre - first), x->width, x->height, found);
    for (int i = 0; i < n; i++) {
        LK_TRY(LK_GROW(&x->f.hits, &x->capacity_hits, x->f.n_hits + 1));
        int64_t at = x->f.n_hits++;
        for (; at > 0 && x->f.hits[at - 1].t_s > found[i].t_s; at--)
            x->f.hits[at] = x->f.hits[at - 1];
        x->f.hits[at] = found[i];
    }
done:
    return st;
}

static void store_grid(lk_video_extractor *x, const lk_small_picture *before,
                       const lk_small_picture *now)
{
    float *cell = x->f.grid + x->n * x->f.grid_w * x->f.grid_h;
    for (int gy = 0; gy < x->f.grid_h; gy++) {
        for (int gx = 0; gx < x->f.grid_w; gx++, cell++) {
            int sum = 0;
            for (int j = 0; j < LK_BLOCK; j++) {
                const int at = (gy * LK_BLOCK + j) * x->width + gx * LK_BLOCK;
                for (int i = 0; i < LK_BLOCK; i++) {
                    const int d = now->luma[at + i] - before->luma[at + i];
                    sum += d < 0 ? -d : d;
                }
            }
            *cell = (float)sum / (LK_BLOCK * LK_BLOCK);
        }
    }
}

/* Frame k = x->n against frame k-1; fills row k and the impact of row k-1. */
static void compare_with_previous(lk_video_extractor *x)
{
    const int64_t k = x->n;
    const lk_small_picture *before = &x->small[(k - 1) & 1], *now = &x->small[k & 1];
    lk_motion_link *link = &x->link[k % HELD], *last = &x->link[(k - 1) % HELD];
    double seconds = lk_flick_to_s(x->f.spans[k].start - x->f.spans[k - 1].start);
    seconds = seconds > 1e-4 ? seconds : 1e-4;
    lk_camera_motion camera = {0, 0, 0, 0};
    float typical = 0;
    float change = lk_picture_change(before, now, &typical);
    if (typical > 0.5f)
        lk_camera_estimate(before, now, &camera);
    const bool moves = camera.dx != 0 || camera.dy != 0 || camera.zoom != 0 || camera.roll != 0;
    const lk_camera_motion inverse = {-camera.dx, -camera.dy, -camera.zoom, -camera.roll};
    const lk_small_picture *seen = now;
    if (moves) {
        lk_camera_undo(now, &camera, &x->moved);
        seen = &x->moved;
        change = lk_picture_change(before, seen, &typical);
    }
    const float floor = 1.0f + 2.0f * typical;
    x->f.change[k] = change;
    x->f.camera[2 * k] = (camera.dx / (float)x->height / (float)seconds);
    x->f.camera[2 * k + 1] = (camera.dy / (float)x->height / (float)seconds);
    x->f.cut[k] = typical > CUT_CHANGE && change > 2 * CUT_CHANGE;
    if (x->keep_grid)
        store_grid(x, before, seen);
    if (x->f.cut[k]) { /* nothing can be followed across a cut */
        memset(&link->forward, 0, sizeof link->forward);
        memset(&link->back, 0, sizeof link->back);
        x->loss_before = 0;
        x->seconds_before = seconds;
        return;
    }
    link->camera = camera;
    lk_motion_estimate(before, seen, &last->forward, floor, &link->forward);
    const lk_small_picture *old = before;
    if (moves) {
        lk_camera_undo(before, &inverse, &x->moved);
        old = &x->moved;
    }
    lk_motion_estimate(now, old, &last->back, floor, &link->back);
    lk_motion_agree(&link->forward, &link->back, &camera, x->width, x->height);
    store_motion(x, seconds);
    if (k > 1 && !x->f.cut[k - 1]) {
        double loss = 0, gain = 0;
        lost_motion(x, &link->forward, &last->back, seconds, &loss, &gain);
        x->f.impact[k - 1] = (float)(loss + fmin(gain, x->loss_before));
        x->loss_before = loss;
    }
    x->seconds_before = seconds;
}

lk_status lk_video_extractor_push(lk_video_extractor *x, const lk_frame_view *frame)
{
    lk_status st = LK_OK;
    LK_REQUIRE(frame->luma && frame->width > 0 && frame->height > 0, LK_E_ARG,
               "a frame has no picture");
    if (x->n == 0) {
        lk_small_size(frame, &x->width, &x->height);
        x->f.grid_w = x->keep_grid ? x->width / LK_BLOCK : 0;
        x->f.grid_h = x->keep_grid ? x->height / LK_BLOCK : 0;
    }
    LK_TRY(reserve(x));
    lk_small_from_frame(frame, x->width, x->height, &x->small[x->n & 1]);
    x->f.spans[x->n] = frame->span;
    x->link[x->n % HELD].t_s = lk_flick_to_s(frame->span.start);
    if (x->n > 0)
        compare_with_previous(x);
    LK_TRY(find_hits(x, x->n - LK_HIT_REACH, x->n));
    x->n++;
done:
    return st;
}

lk_status lk_video_extractor_finish(lk_video_extractor *x, lk_video_features *out)
{
    lk_status st = LK_OK;
    for (int64_t k = x->n - LK_HIT_REACH; k < x->n - 1; k++)
        LK_TRY(find_hits(x, k, x->n - 1));
    *out = x->f;
    out->n = x->n;
    out->present = x->n > 0;
    memset(&x->f, 0, sizeof x->f);
    x->n = 0;
done:
    return st;
}

void lk_features_clear(lk_features *f)
{
    lk_free(f->audio.onset);
    lk_free(f->audio.band_onset);
    lk_free(f->audio.level_db);
    lk_free(f->audio.mel);
    lk_free(f->audio.attack);
    lk_free(f->audio.attack_ms);
    lk_free(f->video.spans);
    lk_free(f->video.change);
    lk_free(f->video.speed);
    lk_free(f->video.directions);
    lk_free(f->video.impact);
    lk_free(f->video.camera);
    lk_free(f->video.cut);
    lk_free(f->video.grid);
    lk_free(f->video.hits);
    memset(f, 0, sizeof *f);
}
