/* vec_spectral.c - kernels of kernels/ops/spectral.c.
 *
 * LK_LANES frames are transformed at once, one a lane (vec_fft.h), so frames are turned into lanes
 * on the way in and back on the way out.
 *
 *   analysis    a block of LK_LANES frames: the sound under it is copied among zeros, and each
 *               frame starts one hop further in the copy
 *   synthesis   RUN_FRAMES frames are added up, in order, into a stretch of sound of their own;
 * then each sample sums the stretches that reach it, in order
 *
 * Blocks and runs follow from the shape alone.  The work space holds 1 / sum w^2 for each sample,
 * the stretches, and for each thread a copy of sound and two sets of LK_LANES spectra.
 */
#include "kernels/cpu/vec_fft.h"

#include "kernels/ops/ops_impl.h"
#include "kernels/thread.h"

#define RUN_FRAMES 64
#define CHUNK      4096
#define LEAST_NORM 1e-8f

typedef struct plan {
    lk_fft_plan fft;
    int64_t n_batch, n_samples, n_frames, n, hop;
    int64_t n_units, n_workers; /* blocks or runs a sample; threads that have buffers */
    int64_t stretch;            /* samples of a copy of sound, and of a run's stretch */
    int inverse;                /* 1: divide by the sum of squared windows */
    float ends, inner;          /* factors of the bins */
    int64_t runs_at, worker_at, worker_size; /* in the work space, in numbers */
} plan;

static int64_t round_up(int64_t n)
{
    return (n + 15) / 16 * 16;
}

static void release(lk_call *c)
{
    plan *p = c->state;
    if (p)
        lk_free(p->fft.memory);
    lk_free(p);
    c->state = NULL;
}

static lk_status prepare(lk_call *c, size_t *work_bytes)
{
    lk_status st = LK_OK;
    const lk_op op = c->node->op;
    const int synthesis = op == LK_OP_ISTFT || op == LK_OP_STFT_GRAD;
    const lk_shape *sound = synthesis ? &c->out[0].shape : &c->in[0].shape;
    const lk_shape *spectrum = synthesis ? &c->in[0].shape : &c->out[0].shape;
    plan *p = NULL;
    int64_t frames;
    LK_TRY(LK_NEW(&p));
    c->state = p;
    p->n_batch = sound->dim[0];
    p->n_samples = sound->dim[1];
    p->n_frames = spectrum->dim[1];
    p->n = c->node->attr.stft.n_fft;
    p->hop = c->node->attr.stft.hop;
    p->inverse = op == LK_OP_ISTFT || op == LK_OP_ISTFT_GRAD;
    p->ends = p->inverse ? 1.0f / (float)p->n : 1.0f;
    p->inner = op == LK_OP_ISTFT_GRAD ? 2.0f / (float)p->n : op == LK_OP_STFT_GRAD ? 0.5f : p->ends;
    frames = synthesis ? RUN_FRAMES : LK_LANES;
    p->n_units = (p->n_frames + frames - 1) / frames;
    p->n_workers = lk_threads() < p->n_batch * p->n_units ? lk_threads() : p->n_batch * p->n_units;
    p->stretch = round_up((frames - 1) * p->hop + p->n + LK_LANES);
    p->runs_at = round_up(p->n_samples);
    p->worker_at = p->runs_at + (synthesis ? p->n_batch * p->n_units * p->stretch : 0);
    p->worker_size = 2 * (p->n + 2) * LK_LANES + (synthesis ? 0 : p->stretch);
    *work_bytes = (size_t)(p->worker_at + p->n_workers * p->worker_size) * sizeof(float);
    LK_TRY(lk_fft_plan_new(&p->fft, p->n));
done:
    if (st != LK_OK)
        release(c);
    return st;
}

/* 1 / sum of squared windows over each sample. */
static void norms(void *context, int64_t first, int64_t end)
{
    const lk_call *c = context;
    const plan *p = c->state;
    const float *w = c->in[1].data;
    float *norm = c->work;
    memset(norm + first, 0, (size_t)(end - first) * sizeof *norm);
    for (int64_t t = 0; t < p->n_frames; t++) {
        const int64_t start = t * p->hop - p->n / 2;
        const int64_t from = start > first ? start : first;
        const int64_t to = start + p->n < end ? start + p->n : end;
        for (int64_t s = from; s < to; s++)
            norm[s] += w[s - start] * w[s - start];
    }
    for (int64_t s = first; s < end; s++)
        norm[s] = norm[s] < LEAST_NORM ? 0 : 1 / norm[s];
}

/* n vectors to rows of n numbers, one for each of the first n_lanes lanes, and back. */
static void lanes_to_rows(const float *v, int64_t n, float *row, int64_t pitch, int64_t n_lanes)
{
    for (int64_t j = 0; j < n; j += LK_LANES) {
        const int64_t k = n - j < LK_LANES ? n - j : LK_LANES;
        lk_lanes t[LK_LANES] = {{0}};
        for (int64_t i = 0; i < k; i++)
            lk_lanes_load(&t[i], v + (j + i) * LK_LANES);
        lk_lanes_transpose(t);
        if (k == LK_LANES)
            for (int64_t lane = 0; lane < n_lanes; lane++)
                lk_lanes_store(row + lane * pitch + j, &t[lane]);
        else
            for (int64_t lane = 0; lane < n_lanes; lane++)
                memcpy(row + lane * pitch + j, &t[lane], (size_t)k * sizeof(float));
    }
}

static void rows_to_lanes(const float *row, int64_t pitch, int64_t n_lanes, int64_t n, float *v)
{
    for (int64_t j = 0; j < n; j += LK_LANES) {
        const int64_t k = n - j < LK_LANES ? n - j : LK_LANES;
        lk_lanes t[LK_LANES] = {{0}};
        if (k == LK_LANES)
            for (int64_t lane = 0; lane < n_lanes; lane++)
                lk_lanes_load(&t[lane], row + lane * pitch + j);
        else
            for (int64_t lane = 0; lane < n_lanes; lane++)
                memcpy(&t[lane], row + lane * pitch + j, (size_t)k * sizeof(float));
        lk_lanes_transpose(t);
        for (int64_t i = 0; i < k; i++)
            lk_lanes_store(v + (j + i) * LK_LANES, &t[i]);
    }
}

static void copy_sound(const lk_call *c, const plan *p, int64_t b, int64_t start, float *to)
{
    const float *x = (const float *)c->in[0].data + b * p->n_samples, *norm = c->work;
    const int64_t from = start < 0 ? -start : 0;
    const int64_t left = p->n_samples - start, end = left < p->stretch ? left : p->stretch;
    memset(to, 0, (size_t)p->stretch * sizeof *to);
    if (p->inverse)
        for (int64_t i = from; i < end; i++)
            to[i] = x[start + i] * norm[start + i];
    else if (end > from)
        memcpy(to + from, x + start + from, (size_t)(end - from) * sizeof *to);
}

static void analyse_block(const lk_call *c, int64_t u, float *a)
{
    const plan *p = c->state;
    const int64_t b = u / p->n_units, t = u % p->n_units * LK_LANES, row = p->n + 2;
    const int64_t n_lanes = p->n_frames - t < LK_LANES ? p->n_frames - t : LK_LANES;
    const float *w = c->in[1].data;
    float *const second = a + row * LK_LANES, *const sound = second + row * LK_LANES, *z;
    copy_sound(c, p, b, t * p->hop - p->n / 2, sound);
    rows_to_lanes(sound, p->hop, LK_LANES, p->n, a);
    for (int64_t j = 0; j < p->n; j++)
        for (int64_t lane = 0; lane < LK_LANES; lane++)
            a[j * LK_LANES + lane] *= w[j];
    z = lk_fft_run(&p->fft, a, second);
    lk_fft_to_bins(&p->fft, z, z == a ? second : a, p->ends, p->inner);
    lanes_to_rows(z == a ? second : a, row, (float *)c->out[0].data + (b * p->n_frames + t) * row,
                  row, n_lanes);
}

static void analyse(void *context, int64_t first, int64_t end)
{
    const lk_call *c = context;
    const plan *p = c->state;
    for (int64_t worker = first; worker < end; worker++)
        for (int64_t u = worker; u < p->n_batch * p->n_units; u += p->n_workers)
            analyse_block(c, u, (float *)c->work + p->worker_at + worker * p->worker_size);
}

/* Windowed frames onto the stretch, each a hop further. */
static void add_frames(const plan *p, const float *v, const float *w, int64_t n_lanes, float *to)
{
    for (int64_t j = 0; j < p->n; j += LK_LANES) {
        const int64_t k = p->n - j < LK_LANES ? p->n - j : LK_LANES;
        lk_lanes t[LK_LANES] = {{0}};
        for (int64_t i = 0; i < k; i++) { /* lk_fft_from_bins exchanged even and odd samples */
            lk_lanes_load(&t[i], v + ((j + i) ^ 1) * LK_LANES);
            t[i] *= w[j + i];
        }
        lk_lanes_transpose(t);
        for (int64_t lane = 0; lane < n_lanes; lane++) {
            lk_lanes sum;
            lk_lanes_load(&sum, to + lane * p->hop + j);
            sum += t[lane];
            lk_lanes_store(to + lane * p->hop + j, &sum);
        }
    }
}

static void synthesise_run(const lk_call *c, int64_t u, float *a)
{
    const plan *p = c->state;
    const int64_t b = u / p->n_units, start = u % p->n_units * RUN_FRAMES, row = p->n + 2;
    const int64_t end = p->n_frames - start < RUN_FRAMES ? p->n_frames : start + RUN_FRAMES;
    float *const second = a + row * LK_LANES;
    float *to = (float *)c->work + p->runs_at + u * p->stretch;
    memset(to, 0, (size_t)p->stretch * sizeof *to);
    for (int64_t t = start; t < end; t += LK_LANES) {
        const int64_t n_lanes = end - t < LK_LANES ? end - t : LK_LANES;
        const float *x = (const float *)c->in[0].data + (b * p->n_frames + t) * row;
        rows_to_lanes(x, row, n_lanes, row, a);
        lk_fft_from_bins(&p->fft, a, second, p->ends, p->inner);
        add_frames(p, lk_fft_run(&p->fft, second, a), c->in[1].data, n_lanes,
                   to + (t - start) * p->hop);
    }
}

static void synthesise(void *context, int64_t first, int64_t end)
{
    const lk_call *c = context;
    const plan *p = c->state;
    for (int64_t worker = first; worker < end; worker++)
        for (int64_t u = worker; u < p->n_batch * p->n_units; u += p->n_workers)
            synthesise_run(c, u, (float *)c->work + p->worker_at + worker * p->worker_size);
}

static int64_t chunks(const plan *p)
{
    return (p->n_samples + CHUNK - 1) / CHUNK;
}

static void add_runs(void *context, int64_t first, int64_t end)
{
    const lk_call *c = context;
    const plan *p = c->state;
    for (int64_t u = first; u < end; u++) {
        const int64_t b = u / chunks(p), s0 = u % chunks(p) * CHUNK;
        const int64_t s1 = p->n_samples - s0 < CHUNK ? p->n_samples : s0 + CHUNK;
        const float *norm = c->work;
        float *y = (float *)c->out[0].data + b * p->n_samples;
        memset(y + s0, 0, (size_t)(s1 - s0) * sizeof *y);
        for (int64_t r = 0; r < p->n_units; r++) {
            const float *x =
                (const float *)c->work + p->runs_at + (b * p->n_units + r) * p->stretch;
            const int64_t at = r * RUN_FRAMES * p->hop - p->n / 2, past = at + p->stretch;
            const int64_t from = at > s0 ? at : s0, to = past < s1 ? past : s1;
            for (int64_t s = from; s < to; s++)
                y[s] += x[s - at];
        }
        for (int64_t s = s0; p->inverse && s < s1; s++)
            y[s] *= norm[s];
    }
}

static void *shared(const lk_call *c)
{
    union {
        const lk_call *c;
        void *v;
    } u = {.c = c};
    return u.v;
}

static lk_status analysis(const lk_call *c)
{
    const plan *p = c->state;
    if (p->inverse)
        lk_parallel_for(p->n_samples, CHUNK, norms, shared(c));
    lk_parallel_for(p->n_workers, 1, analyse, shared(c));
    return LK_OK;
}

static lk_status synthesis(const lk_call *c)
{
    const plan *p = c->state;
    if (p->inverse)
        lk_parallel_for(p->n_samples, CHUNK, norms, shared(c));
    lk_parallel_for(p->n_workers, 1, synthesise, shared(c));
    lk_parallel_for(p->n_batch * chunks(p), 1, add_runs, shared(c));
    return LK_OK;
}

const lk_cpu_kernel LK_VEC(lk_cpu_stft) = {
    .prepare = prepare, .release = release, .whole = analysis};
const lk_cpu_kernel LK_VEC(lk_cpu_istft_grad) = {
    .prepare = prepare, .release = release, .whole = analysis};
const lk_cpu_kernel LK_VEC(lk_cpu_istft) = {
    .prepare = prepare, .release = release, .whole = synthesis};
const lk_cpu_kernel LK_VEC(lk_cpu_stft_grad) = {
    .prepare = prepare, .release = release, .whole = synthesis};

/* ---- magnitude ---- */

static int64_t magnitude_units(const lk_call *c)
{
    return (lk_tensor_count(&c->in[0]) / 2 + LK_VEC_RUN - 1) / LK_VEC_RUN;
}

static void magnitude_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t all = lk_tensor_count(&c->in[0]) / 2;
    const int64_t last = end * LK_VEC_RUN < all ? end * LK_VEC_RUN : all;
    const float *x = c->in[0].data;
    float *y = c->out[0].data;
    for (int64_t i = first * LK_VEC_RUN; i < last; i++)
        y[i] = sqrtf(x[2 * i] * x[2 * i] + x[2 * i + 1] * x[2 * i + 1]);
}

static void magnitude_grad_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t all = lk_tensor_count(&c->in[0]) / 2;
    const int64_t last = end * LK_VEC_RUN < all ? end * LK_VEC_RUN : all;
    const float *x = c->in[0].data, *dy = c->in[1].data;
    float *dx = c->out[0].data;
    for (int64_t i = first * LK_VEC_RUN; i < last; i++) {
        const float a = sqrtf(x[2 * i] * x[2 * i] + x[2 * i + 1] * x[2 * i + 1]);
        const float d = a > 0 ? dy[i] / a : 0;
        dx[2 * i] = d * x[2 * i];
        dx[2 * i + 1] = d * x[2 * i + 1];
    }
}

const lk_cpu_kernel LK_VEC(lk_cpu_magnitude) = {.phase = {{magnitude_units, magnitude_range}}};
const lk_cpu_kernel LK_VEC(lk_cpu_magnitude_grad) = {
    .phase = {{magnitude_units, magnitude_grad_range}}};
