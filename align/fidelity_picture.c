/* fidelity_picture.c - see fidelity.h.
 *
 *   SSIM = l cs, with means m, deviations s and covariance c under the window,
 *   l = (2 mx my + C1) / (mx^2 + my^2 + C1),  cs = (2 c + C2) / (sx^2 + sy^2 + C2),
 *   C1 = (0.01 255)^2, C2 = (0.03 255)^2
 *   MS-SSIM = prod_(i<5) max(mean cs_i, 0)^w_i  max(mean SSIM_5, 0)^w_5, each scale half the one
 *   before (means of 2 x 2), a plane at a time, then the mean over planes
 */
#include "align/fidelity.h"

#include "kernels/mem.h"
#include "kernels/thread.h"

#include <math.h>
#include <stdlib.h>

#define MAX_DB 120.0
#define C1     (0.01 * 255 * 0.01 * 255)
#define C2     (0.03 * 255 * 0.03 * 255)

enum { TAPS = 11, SCALES = 5 };

static lk_status same_size(const lk_clip_view *a, const lk_clip_view *b)
{
    lk_status st = LK_OK;
    LK_REQUIRE(a->n_frames == b->n_frames && a->height == b->height && a->width == b->width &&
                   a->n_channels == b->n_channels,
               LK_E_SHAPE, "the clips differ in size: %lld frames of %dx%dx%d and %lld of %dx%dx%d",
               (long long)a->n_frames, a->width, a->height, a->n_channels, (long long)b->n_frames,
               b->width, b->height, b->n_channels);
    LK_REQUIRE(a->n_frames > 0 && a->height > 0 && a->width > 0 && a->n_channels > 0, LK_E_EMPTY,
               "no picture to compare");
done:
    return st;
}

static int64_t frame_bytes(const lk_clip_view *v)
{
    return (int64_t)v->height * v->width * v->n_channels;
}

static double decibels(double squares, int64_t n)
{
    const double mse = squares / (double)n;
    return mse <= 255 * 255 * 1e-12 ? MAX_DB : 10 * log10(255 * 255 / mse);
}

lk_status lk_psnr(const lk_clip_view *a, const lk_clip_view *b, double *db, double *frame_db)
{
    lk_status st = LK_OK;
    int64_t total = 0, per_frame;
    LK_TRY(same_size(a, b));
    per_frame = frame_bytes(a);
    for (int64_t f = 0; f < a->n_frames; f++) {
        const uint8_t *x = a->data + f * per_frame, *y = b->data + f * per_frame;
        int64_t squares = 0;
        for (int64_t i = 0; i < per_frame; i++) {
            const int d = x[i] - y[i];
            squares += d * d;
        }
        total += squares;
        if (frame_db)
            frame_db[f] = decibels((double)squares, per_frame);
    }
    *db = decibels((double)total, per_frame * a->n_frames);
done:
    return st;
}

lk_status lk_flicker(const lk_clip_view *a, const lk_clip_view *b, double *levels)
{
    lk_status st = LK_OK;
    int64_t sum = 0, per_frame;
    LK_TRY(same_size(a, b));
    LK_REQUIRE(a->n_frames > 1, LK_E_EMPTY, "flicker needs two frames");
    per_frame = frame_bytes(a);
    for (int64_t i = per_frame; i < per_frame * a->n_frames; i++)
        sum += abs(a->data[i] - a->data[i - per_frame] - b->data[i] + b->data[i - per_frame]);
    *levels = (double)sum / (double)(per_frame * (a->n_frames - 1));
done:
    return st;
}

/* ---- structural similarity of one plane ---- */

static void window_taps(float *w)
{
    double sum = 0;
    for (int i = 0; i < TAPS; i++)
        sum += exp(-(i - 5) * (i - 5) / (2 * 1.5 * 1.5));
    for (int i = 0; i < TAPS; i++)
        w[i] = (float)(exp(-(i - 5) * (i - 5) / (2 * 1.5 * 1.5)) / sum);
}

/* Where a plane's numbers and the filtered moments x, y, xx, yy, xy live while it is judged. */
typedef struct judge {
    float taps[TAPS];
    float *x, *y;  /* [height, width] */
    float *across; /* [5, height, width - 10] filtered along the rows */
} judge;

static void filter_rows(judge *j, int height, int width)
{
    const int n = width - TAPS + 1;
    for (int r = 0; r < height; r++)
        for (int c = 0; c < n; c++) {
            float m[5] = {0};
            for (int k = 0; k < TAPS; k++) {
                const float w = j->taps[k], a = j->x[r * width + c + k],
                            b = j->y[r * width + c + k];
                m[0] += w * a;
                m[1] += w * b;
                m[2] += w * a * a;
                m[3] += w * b * b;
                m[4] += w * a * b;
            }
            for (int i = 0; i < 5; i++)
                j->across[((int64_t)i * height + r) * n + c] = m[i];
        }
}

/* Means of SSIM and of its contrast-structure part over the plane. */
static void similarity(judge *j, int height, int width, double *ssim, double *cs)
{
    const int n = width - TAPS + 1, rows = height - TAPS + 1;
    double sum = 0, sum_cs = 0;
    filter_rows(j, height, width);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < n; c++) {
            double m[5] = {0}, part;
            for (int i = 0; i < 5; i++)
                for (int k = 0; k < TAPS; k++)
                    m[i] += (double)j->taps[k] * j->across[((int64_t)i * height + r + k) * n + c];
            part = (2 * (m[4] - m[0] * m[1]) + C2) / (m[2] - m[0] * m[0] + m[3] - m[1] * m[1] + C2);
            sum_cs += part;
            sum += part * (2 * m[0] * m[1] + C1) / (m[0] * m[0] + m[1] * m[1] + C1);
        }
    *ssim = sum / ((double)rows * n);
    *cs = sum_cs / ((double)rows * n);
}

static void halve(float *x, int height, int width)
{
    const int w = width / 2;
    for (int r = 0; r < height / 2; r++)
        for (int c = 0; c < w; c++) {
            const float *a = x + (int64_t)2 * r * width + 2 * c, *b = a + width;
            x[r * w + c] = 0.25f * (a[0] + a[1] + b[0] + b[1]);
        }
}

static double plane_score(judge *j, int height, int width, int multi)
{
    static const double weight[SCALES] = {0.0448, 0.2856, 0.3001, 0.2363, 0.1333};
    double ssim, cs, product = 1;
    if (!multi) {
        similarity(j, height, width, &ssim, &cs);
        return ssim;
    }
    for (int i = 0; i < SCALES; i++) {
        similarity(j, height, width, &ssim, &cs);
        product *= pow(fmax(i + 1 < SCALES ? cs : ssim, 0), weight[i]);
        halve(j->x, height, width);
        halve(j->y, height, width);
        height /= 2;
        width /= 2;
    }
    return product;
}

/* ---- a clip: planes are judged apart, in any order, and added in theirs ---- */

typedef struct clip_job {
    const lk_clip_view *a, *b;
    judge *judges; /* one a part */
    double *score; /* [n_frames, n_channels] */
    int64_t n_parts;
    int multi;
} clip_job;

static void load_plane(const lk_clip_view *v, int64_t plane, float *out)
{
    const int64_t n = (int64_t)v->height * v->width;
    const uint8_t *from = v->data + plane / v->n_channels * frame_bytes(v) + plane % v->n_channels;
    for (int64_t i = 0; i < n; i++)
        out[i] = from[i * v->n_channels];
}

static void judge_parts(void *context, int64_t first, int64_t end)
{
    const clip_job *job = context;
    const int64_t n = job->a->n_frames * job->a->n_channels;
    for (int64_t part = first; part < end; part++) {
        judge *j = &job->judges[part];
        for (int64_t p = n * part / job->n_parts; p < n * (part + 1) / job->n_parts; p++) {
            load_plane(job->a, p, j->x);
            load_plane(job->b, p, j->y);
            job->score[p] = plane_score(j, job->a->height, job->a->width, job->multi);
        }
    }
}

static lk_status score_clip(const lk_clip_view *a, const lk_clip_view *b, int multi, double *score)
{
    lk_status st = LK_OK;
    clip_job job = {.a = a, .b = b, .multi = multi};
    const int64_t pixels = (int64_t)a->height * a->width;
    const int64_t planes = a->n_frames * a->n_channels;
    double sum = 0;
    job.n_parts = lk_threads() < planes ? lk_threads() : planes;
    LK_TRY(LK_NEW_ARRAY(&job.judges, job.n_parts));
    LK_TRY(LK_NEW_ARRAY(&job.score, planes));
    for (int64_t i = 0; i < job.n_parts; i++) {
        judge *j = &job.judges[i];
        window_taps(j->taps);
        LK_TRY(LK_NEW_ARRAY(&j->x, pixels));
        LK_TRY(LK_NEW_ARRAY(&j->y, pixels));
        LK_TRY(LK_NEW_ARRAY(&j->across, 5 * pixels));
    }
    lk_parallel_for(job.n_parts, 1, judge_parts, &job);
    for (int64_t p = 0; p < planes; p++)
        sum += job.score[p];
    *score = sum / (double)planes;
done:
    for (int64_t i = 0; job.judges && i < job.n_parts; i++) {
        lk_free(job.judges[i].x);
        lk_free(job.judges[i].y);
        lk_free(job.judges[i].across);
    }
    lk_free(job.judges);
    lk_free(job.score);
    return st;
}

lk_status lk_ssim(const lk_clip_view *a, const lk_clip_view *b, double *ssim)
{
    lk_status st = LK_OK;
    LK_TRY(same_size(a, b));
    LK_REQUIRE(a->height >= TAPS && a->width >= TAPS, LK_E_EMPTY,
               "SSIM needs pictures of at least 11x11, these have %dx%d", a->width, a->height);
    LK_TRY(score_clip(a, b, 0, ssim));
done:
    return st;
}

lk_status lk_ms_ssim(const lk_clip_view *a, const lk_clip_view *b, double *ms_ssim)
{
    lk_status st = LK_OK;
    LK_TRY(same_size(a, b));
    LK_REQUIRE(a->height >= TAPS << (SCALES - 1) && a->width >= TAPS << (SCALES - 1), LK_E_EMPTY,
               "MS-SSIM needs pictures of at least 176x176, these have %dx%d", a->width, a->height);
    LK_TRY(score_clip(a, b, 1, ms_ssim));
done:
    return st;
}
