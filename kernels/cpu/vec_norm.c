/* vec_norm.c - kernels of kernels/ops/norm.c.
 *
 * Means and squares about the mean are taken over runs (rows) or blocks of rows (groups) in the
 * first-level cache and joined exactly (Chan, Golub, LeVeque 1983), so one pass over memory gives
 * both and a large mean costs no digits.  Sums that cross rows go through fixed parts. */
#include "kernels/cpu/vec.h"

#include "kernels/ops/ops_impl.h"

#define RUN LK_VEC_RUN

/* Sections of rows that no sum crosses, each in `parts` fixed parts of its rows: a sample for
 * groups and for gammas of its own, everything otherwise. */
typedef struct split {
    int64_t sections, rows, parts;
} split;

static split split_of(const lk_call *c)
{
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    const int by_sample = c->node->attr.norm.kind == LK_GROUP_NORM ||
                          c->node->attr.norm.n_gamma_dims == 2 ||
                          c->node->attr.norm.n_beta_dims == 2;
    split s = {.sections = by_sample ? z.samples : 1,
               .rows = by_sample ? z.rows : z.samples * z.rows};
    s.parts = s.sections ? 64 / s.sections : 1;
    s.parts = s.parts > s.rows ? s.rows : s.parts;
    s.parts = s.parts < 1 ? 1 : s.parts;
    return s;
}

static int is_group(const lk_call *c)
{
    return c->node->attr.norm.kind == LK_GROUP_NORM;
}

/* One number or `fill` for each channel of a run. */
static const float *scale_run(const lk_tensor *t, int64_t sample, int64_t n_ch, int64_t at,
                              const float *absent)
{
    if (!t->data)
        return absent;
    return (const float *)t->data + (t->shape.n_dims == 2 ? sample * n_ch : 0) + at;
}

static void fill(float *x, float value)
{
    for (int i = 0; i < RUN; i++)
        x[i] = value;
}

/* ---- layer and RMS: a row is a set ---- */

/* Mean (RMS: 0) and mean square about it. */
static void row_statistics(const lk_call *c, int64_t at, int64_t n, float buffer[RUN], double *mean,
                           double *square)
{
    const int rms = c->node->attr.norm.kind == LK_RMS_NORM;
    double m = 0, s = 0, n_done = 0;
    for (int64_t i = 0; i < n; i += RUN) {
        const int64_t k = n - i < RUN ? n - i : RUN;
        const float *x = lk_run_in(&c->in[0], at + i, k, buffer);
        const double nk = (double)k;
        if (rms) {
            s += (double)lk_run_dot(x, x, k);
        } else {
            const float mk = lk_run_sum(x, k) / (float)k;
            const double d = (double)mk - m;
            s += (double)lk_run_squares_about(x, mk, k) + d * d * n_done * nk / (n_done + nk);
            m += d * nk / (n_done + nk);
        }
        n_done += nk;
    }
    *mean = m;
    *square = n ? s / (double)n : 0;
}

static void norm_row(const lk_call *c, const lk_norm_sizes *z, int64_t row, const float *ones,
                     const float *zeros)
{
    const int64_t n = z->channels, sample = row / z->rows;
    lk_run buf_x, buf_y;
    float mean, r;
    double m, s;
    row_statistics(c, row * n, n, buf_x, &m, &s);
    mean = (float)m;
    r = (float)(1 / sqrt(s + c->node->attr.norm.eps));
    for (int64_t at = 0; at < n; at += RUN) {
        const int64_t k = n - at < RUN ? n - at : RUN;
        const float *x = lk_run_again(&c->in[0], row * n + at, k, n, buf_x);
        const float *gamma = scale_run(&c->in[1], sample, n, at, ones);
        const float *beta = scale_run(&c->in[2], sample, n, at, zeros);
        float *y = lk_run_out(&c->out[0], row * n + at, buf_y);
#pragma omp simd
        for (int64_t i = 0; i < k; i++)
            y[i] = (x[i] - mean) * r * gamma[i] + beta[i];
        lk_run_end(&c->out[0], row * n + at, k, y);
    }
    if (c->out[1].data)
        ((float *)c->out[1].data)[row] = mean;
    if (c->out[2].data)
        ((float *)c->out[2].data)[row] = r;
}

/* Sums of h = dy gamma and of h z over a run, and what it adds to dgamma and dbeta. */
static void gamma_run(int64_t n, const float *restrict x, const float *restrict dy,
                      const float *restrict gamma, float mean, float r, float *restrict dgamma,
                      float *restrict dbeta, double *sum_h, double *sum_hz)
{
    float h_of[LK_LANES_ABREAST] = {0}, hz_of[LK_LANES_ABREAST] = {0};
    for (int64_t at = 0; at < n; at += LK_LANES_ABREAST) {
        const int64_t k = n - at < LK_LANES_ABREAST ? n - at : LK_LANES_ABREAST;
#pragma omp simd
        for (int64_t l = 0; l < k; l++) {
            const float z = (x[at + l] - mean) * r, d = dy[at + l], h = d * gamma[at + l];
            dgamma[at + l] += d * z;
            dbeta[at + l] += d;
            h_of[l] += h;
            hz_of[l] += h * z;
        }
    }
    *sum_h += (double)lk_run_sum(h_of, LK_LANES_ABREAST);
    *sum_hz += (double)lk_run_sum(hz_of, LK_LANES_ABREAST);
}

/* dx of a row; what it adds to dgamma and dbeta. */
static void norm_grad_row(const lk_call *c, const lk_norm_sizes *z, int64_t row, const float *ones,
                          float *dgamma, float *dbeta)
{
    const int64_t n = z->channels, sample = row / z->rows;
    const float mean = c->in[3].data ? ((const float *)c->in[3].data)[row] : 0;
    const float r = ((const float *)c->in[4].data)[row];
    lk_run buf_x, buf_d, buf_y;
    float h_mean, hz_mean;
    double sum_h = 0, sum_hz = 0;
    for (int64_t at = 0; at < n; at += RUN) {
        const int64_t k = n - at < RUN ? n - at : RUN;
        const float *x = lk_run_in(&c->in[0], row * n + at, k, buf_x);
        const float *dy = lk_run_in(&c->in[2], row * n + at, k, buf_d);
        const float *gamma = scale_run(&c->in[1], sample, n, at, ones);
        gamma_run(k, x, dy, gamma, mean, r, dgamma + at, dbeta + at, &sum_h, &sum_hz);
    }
    h_mean = c->node->attr.norm.kind == LK_RMS_NORM ? 0 : (float)(sum_h / (double)n);
    hz_mean = (float)(sum_hz / (double)n);
    for (int64_t at = 0; c->out[0].data && at < n; at += RUN) {
        const int64_t k = n - at < RUN ? n - at : RUN;
        const float *x = lk_run_again(&c->in[0], row * n + at, k, n, buf_x);
        const float *dy = lk_run_again(&c->in[2], row * n + at, k, n, buf_d);
        const float *gamma = scale_run(&c->in[1], sample, n, at, ones);
        float *dx = lk_run_out(&c->out[0], row * n + at, buf_y);
#pragma omp simd
        for (int64_t i = 0; i < k; i++)
            dx[i] = r * (dy[i] * gamma[i] - h_mean - (x[i] - mean) * r * hz_mean);
        lk_run_end(&c->out[0], row * n + at, k, dx);
    }
}

/* ---- group: statistics a channel first, over parts of a sample's rows ----
 *
 * Work space: [samples, parts, 2, C], mean and squares about it of a part (backward: sum dy z and
 * sum dy), and behind them [samples, COEFFICIENTS, C] of the last phase. */
#define COEFFICIENTS 4

static float *part_at(const lk_call *c, int64_t section, int64_t part)
{
    const split s = split_of(c);
    return (float *)c->work + (section * s.parts + part) * 2 * lk_last(&c->in[0].shape);
}

static float *coefficients_at(const lk_call *c, int64_t sample)
{
    const split s = split_of(c);
    return part_at(c, s.sections, 0) + sample * COEFFICIENTS * lk_last(&c->in[0].shape);
}

/* Joins `rows` <= BLOCK rows of n lanes with the `before` rows in mean and square. */
enum { BLOCK = 8 };
static inline void join_rows(const float *const x[BLOCK], int rows, int64_t n, int64_t before,
                             float *restrict mean, float *restrict square)
{
    const float weight = (float)((double)rows / (double)(before + rows)), part = 1 / (float)rows;
    const float spread = weight * (float)before;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float m = 0, s = 0, d;
        for (int b = 0; b < rows; b++)
            m += x[b][i];
        m *= part;
        for (int b = 0; b < rows; b++)
            s += (x[b][i] - m) * (x[b][i] - m);
        d = m - mean[i];
        square[i] += s + d * d * spread;
        mean[i] += d * weight;
    }
}

/* Mean and squares about it of each of n lanes over n_rows rows of them, from element `first` on,
 * by blocks that stay in cache. */
static void lane_statistics(const lk_call *c, int64_t n, int64_t first, int64_t n_rows, float *mean,
                            float *square)
{
    lk_run x_of[BLOCK];
    memset(mean, 0, (size_t)n * sizeof *mean);
    memset(square, 0, (size_t)n * sizeof *square);
    for (int64_t done = 0; done < n_rows; done += BLOCK) {
        const int rows = n_rows - done < BLOCK ? (int)(n_rows - done) : BLOCK;
        for (int64_t at = 0; at < n; at += RUN) {
            const int64_t k = n - at < RUN ? n - at : RUN;
            const float *x[BLOCK];
            for (int b = 0; b < rows; b++)
                x[b] = lk_run_in(&c->in[0], first + (done + b) * n + at, k, x_of[b]);
            if (rows == BLOCK)
                join_rows(x, BLOCK, k, done, mean + at, square + at);
            else
                for (int b = 0; b < rows; b++)
                    join_rows(x + b, 1, k, done + b, mean + at, square + at);
        }
    }
}

/* The same of each channel over n_rows rows: lanes of `wide` rows first, then those that are left,
 * joined one by one. */
static void channel_statistics(const lk_call *c, int64_t n_ch, int64_t row, int64_t n_rows,
                               float *mean, float *square)
{
    const int64_t wide = lk_abreast(n_ch), tall = n_rows / wide, left = n_rows % wide;
    lk_run lane_mean, lane_square, x;
    if (wide == 1) {
        lane_statistics(c, n_ch, row * n_ch, n_rows, mean, square);
        return;
    }
    lane_statistics(c, wide * n_ch, row * n_ch, tall, lane_mean, lane_square);
    lk_load(c->in[0].dtype, c->in[0].data, (row + tall * wide) * n_ch, left * n_ch, x);
    memset(mean, 0, (size_t)n_ch * sizeof *mean);
    memset(square, 0, (size_t)n_ch * sizeof *square);
    for (int64_t k = 0; k < wide + left; k++) {
        const int64_t before = k < wide ? k * tall : wide * tall + k - wide;
        const int64_t n = k < wide ? tall : 1;
        const float weight = n ? (float)((double)n / (double)(before + n)) : 0;
        const float *m = k < wide ? lane_mean + k * n_ch : x + (k - wide) * n_ch;
        for (int64_t i = 0; i < n_ch; i++) {
            const float d = m[i] - mean[i];
            square[i] +=
                (k < wide ? lane_square[k * n_ch + i] : 0) + d * d * weight * (float)before;
            mean[i] += d * weight;
        }
    }
}

static lk_status norm_prepare(lk_call *c, size_t *work_bytes)
{
    const split s = split_of(c);
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    const int64_t rows = s.sections * s.parts * 2 + (is_group(c) ? z.samples * COEFFICIENTS : 0);
    const int needed = is_group(c) || c->node->op == LK_OP_NORM_GRAD;
    *work_bytes = needed ? (size_t)(rows * z.channels) * sizeof(float) : 0;
    return LK_OK;
}

static int64_t part_units(const lk_call *c)
{
    const split s = split_of(c);
    return s.sections * s.parts;
}

static int64_t first_units(const lk_call *c)
{
    return is_group(c) ? part_units(c) : lk_rows(&c->in[0].shape);
}

static int64_t second_units(const lk_call *c)
{
    return is_group(c) ? split_of(c).sections : 0;
}

/* The last phase takes rows of one sample that its coefficients are laid out for once. */
#define THIRD_RUNS 64

static int64_t third_rows(const lk_norm_sizes *z)
{
    return THIRD_RUNS * lk_abreast(z->channels);
}

static int64_t third_blocks(const lk_norm_sizes *z)
{
    return (z->rows + third_rows(z) - 1) / third_rows(z);
}

static int64_t third_units(const lk_call *c)
{
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    return is_group(c) && z.channels ? z.samples * third_blocks(&z) : 0;
}

/* Call `run` for every run of the rows of unit u, with the channels' coefficients repeated for each
 * row in it. */
typedef void third_run(const lk_call *c, int64_t at, int64_t n, lk_run k[COEFFICIENTS]);
static void each_run(const lk_call *c, int64_t u, third_run *run)
{
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    const int64_t n = z.channels, wide = lk_abreast(n), sample = u / third_blocks(&z);
    const int64_t from = u % third_blocks(&z) * third_rows(&z), end = from + third_rows(&z);
    const int64_t to = end < z.rows ? end : z.rows;
    const float *of = coefficients_at(c, sample);
    lk_run k[COEFFICIENTS];
    for (int64_t ch = 0; ch < n; ch += RUN) {
        const int64_t m = n - ch < RUN ? n - ch : RUN;
        for (int j = 0; j < COEFFICIENTS; j++)
            for (int64_t r = 0; r < wide; r++)
                memcpy(k[j] + r * m, of + j * n + ch, (size_t)m * sizeof(float));
        for (int64_t row = from; row < to; row += wide)
            run(c, (sample * z.rows + row) * n + ch, (to - row < wide ? to - row : wide) * m, k);
    }
}

static void norm_first(const lk_call *c, int64_t first, int64_t end)
{
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    const split s = split_of(c);
    lk_run ones, zeros;
    fill(ones, 1);
    fill(zeros, 0);
    for (int64_t u = first; u < end; u++) {
        if (is_group(c)) {
            const int64_t from = s.rows * (u % s.parts) / s.parts;
            const int64_t to = s.rows * (u % s.parts + 1) / s.parts;
            float *mean = part_at(c, 0, u);
            channel_statistics(c, z.channels, u / s.parts * s.rows + from, to - from, mean,
                               mean + z.channels);
        } else {
            norm_row(c, &z, u, ones, zeros);
        }
    }
}

/* Mean and squares about it of each channel of a sample, from all its parts into the first. */
static void join_parts(const lk_call *c, int64_t sample)
{
    const split s = split_of(c);
    const int64_t n = lk_last(&c->in[0].shape);
    for (int64_t at = 0; at < n; at += RUN) {
        const int64_t k = n - at < RUN ? n - at : RUN;
        float *mean = part_at(c, sample, 0) + at, *square = mean + n;
        double m[RUN] = {0}, q[RUN] = {0};
        for (int64_t p = 0; p < s.parts; p++) {
            const float *part = part_at(c, sample, p) + at;
            const double before = (double)(s.rows * p / s.parts);
            const double after = (double)(s.rows * (p + 1) / s.parts);
            const double weight = after > 0 ? (after - before) / after : 0;
            for (int64_t i = 0; i < k; i++) {
                const double d = (double)part[i] - m[i];
                q[i] += (double)part[n + i] + d * d * before * weight;
                m[i] += d * weight;
            }
        }
        for (int64_t i = 0; i < k; i++) {
            mean[i] = (float)m[i];
            square[i] = (float)q[i];
        }
    }
}

/* Mean and mean square about it of one set, from those of its channels. */
static void join_group(const lk_call *c, int64_t sample, int64_t group, double *mean,
                       double *square)
{
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    const int64_t width = z.channels / z.groups;
    const float *m = part_at(c, sample, 0) + group * width, *q = m + z.channels;
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < width; i++)
        sum += (double)m[i];
    *mean = sum / (double)width;
    for (int64_t i = 0; i < width; i++) {
        const double d = (double)m[i] - *mean;
        squares += (double)q[i] + d * d * (double)z.rows;
    }
    *square = z.rows > 0 ? squares / (double)(z.rows * width) : 0;
}

static void norm_second(const lk_call *c, int64_t first, int64_t end)
{
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    const int64_t n = z.channels, width = n / z.groups;
    for (int64_t sample = first; sample < end; sample++) {
        float *k = coefficients_at(c, sample);
        const float *gamma = scale_run(&c->in[1], sample, n, 0, NULL);
        const float *beta = scale_run(&c->in[2], sample, n, 0, NULL);
        join_parts(c, sample);
        for (int64_t group = 0; group < z.groups; group++) {
            double m, q;
            float r;
            join_group(c, sample, group, &m, &q);
            r = (float)(1 / sqrt(q + c->node->attr.norm.eps));
            if (c->out[1].data)
                ((float *)c->out[1].data)[sample * z.groups + group] = (float)m;
            if (c->out[2].data)
                ((float *)c->out[2].data)[sample * z.groups + group] = r;
            for (int64_t ch = group * width; ch < (group + 1) * width; ch++) {
                k[ch] = (float)m;
                k[n + ch] = r * (gamma ? gamma[ch] : 1);
                k[2 * n + ch] = beta ? beta[ch] : 0;
            }
        }
    }
}

static void norm_run(const lk_call *c, int64_t at, int64_t n, lk_run k[COEFFICIENTS])
{
    lk_run buf_x, buf_y;
    const float *x = lk_run_in(&c->in[0], at, n, buf_x);
    float *y = lk_run_out(&c->out[0], at, buf_y);
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - k[0][i]) * k[1][i] + k[2][i];
    lk_run_end(&c->out[0], at, n, y);
}

static void norm_third(const lk_call *c, int64_t first, int64_t end)
{
    for (int64_t u = first; u < end; u++)
        each_run(c, u, norm_run);
}

/* As many samples together as read a few MB, which the last cache keeps. */
#define TOGETHER_BYTES (4 << 20)

static int64_t norm_sections(const lk_call *c)
{
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    const int64_t bytes = (int64_t)lk_tensor_bytes(&c->in[0]);
    int64_t n = 1;
    while (is_group(c) && n < z.samples && (z.samples % n != 0 || bytes / n > TOGETHER_BYTES))
        n++;
    return n;
}

const lk_cpu_kernel LK_VEC(lk_cpu_norm) = {
    .prepare = norm_prepare,
    .sections = norm_sections,
    .phase = {{first_units, norm_first}, {second_units, norm_second}, {third_units, norm_third}}};

/* ---- gradients ---- */

/* Adds dy (x - mean) and dy of `runs` <= 4 runs to sums of each lane. */
enum { GRAD_BLOCK = 4 };
static inline void sums_run(const float *const x[GRAD_BLOCK], const float *const dy[GRAD_BLOCK],
                            int runs, int64_t n, const float *restrict mean, float *restrict dyz,
                            float *restrict dy_sum)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float z = dyz[i], sum = dy_sum[i];
        for (int b = 0; b < runs; b++) {
            z += dy[b][i] * (x[b][i] - mean[i]);
            sum += dy[b][i];
        }
        dyz[i] = z;
        dy_sum[i] = sum;
    }
}

/* Sums of dy z and dy for each channel over n_rows rows of a sample. */
static void channel_sums(const lk_call *c, const lk_norm_sizes *z, int64_t sample, int64_t row,
                         int64_t n_rows, float *dyz, float *dy_sum)
{
    const int64_t n = z->channels, width = n / z->groups, wide = lk_abreast(n);
    const float *mean = (const float *)c->in[3].data + sample * z->groups;
    const float *r = (const float *)c->in[4].data + sample * z->groups;
    lk_run buf_x[GRAD_BLOCK], buf_d[GRAD_BLOCK], mean_of, dyz_of, dy_of;
    for (int64_t ch = 0; ch < n; ch += RUN) {
        const int64_t m = n - ch < RUN ? n - ch : RUN;
        for (int64_t i = 0; i < m; i++) {
            const int64_t group = (ch + i) / width;
            for (int64_t lane = i; lane < wide * m; lane += m) {
                mean_of[lane] = mean[group];
                dyz_of[lane] = dy_of[lane] = 0;
            }
        }
        for (int64_t b = 0; b < n_rows;) {
            const int whole = n_rows - b >= GRAD_BLOCK * wide, runs = whole ? GRAD_BLOCK : 1;
            const int64_t rows = n_rows - b < wide ? n_rows - b : wide;
            const float *x[GRAD_BLOCK], *dy[GRAD_BLOCK];
            for (int k = 0; k < runs; k++, b += rows) {
                x[k] = lk_run_in(&c->in[0], (row + b) * n + ch, rows * m, buf_x[k]);
                dy[k] = lk_run_in(&c->in[2], (row + b) * n + ch, rows * m, buf_d[k]);
            }
            if (whole)
                sums_run(x, dy, GRAD_BLOCK, rows * m, mean_of, dyz_of, dy_of);
            else
                sums_run(x, dy, 1, rows * m, mean_of, dyz_of, dy_of);
        }
        for (int64_t lane = 0; lane < wide * m; lane += m)
            for (int64_t i = 0; i < m; i++) {
                dyz[ch + i] += dyz_of[lane + i];
                dy_sum[ch + i] += dy_of[lane + i];
            }
        for (int64_t i = ch; i < ch + m; i++)
            dyz[i] *= r[i / width];
    }
}

static void grad_first(const lk_call *c, int64_t first, int64_t end)
{
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    const split s = split_of(c);
    lk_run ones;
    fill(ones, 1);
    for (int64_t u = first; u < end; u++) {
        const int64_t from = s.rows * (u % s.parts) / s.parts;
        const int64_t to = s.rows * (u % s.parts + 1) / s.parts, row = u / s.parts * s.rows;
        float *sums = part_at(c, 0, u);
        memset(sums, 0, 2 * (size_t)z.channels * sizeof *sums);
        if (is_group(c))
            channel_sums(c, &z, u / s.parts, row + from, to - from, sums, sums + z.channels);
        for (int64_t i = row + from; !is_group(c) && i < row + to; i++)
            norm_grad_row(c, &z, i, ones, sums, sums + z.channels);
    }
}

/* What the last phase needs: dx = k0 dy + k1 (x - k2) + k3. */
static void group_coefficients(const lk_call *c, const lk_norm_sizes *z, int64_t sample)
{
    const int64_t n = z->channels, width = n / z->groups;
    const float *gamma = scale_run(&c->in[1], sample, n, 0, NULL);
    const float *dyz = part_at(c, sample, 0); /* and behind it the sums of dy */
    float *k = coefficients_at(c, sample);
    for (int64_t group = 0; group < z->groups; group++) {
        const float mean = ((const float *)c->in[3].data)[sample * z->groups + group];
        const float r = ((const float *)c->in[4].data)[sample * z->groups + group];
        const double count = (double)(z->rows * width);
        double sum_h = 0, sum_hz = 0;
        for (int64_t ch = group * width; ch < (group + 1) * width; ch++) {
            const double scale = gamma ? (double)gamma[ch] : 1;
            sum_hz += scale * (double)dyz[ch];
            sum_h += scale * (double)dyz[n + ch];
        }
        for (int64_t ch = group * width; ch < (group + 1) * width; ch++) {
            k[ch] = r * (gamma ? gamma[ch] : 1);
            k[n + ch] = (float)(-(double)r * (double)r * sum_hz / count);
            k[2 * n + ch] = mean;
            k[3 * n + ch] = (float)(-(double)r * sum_h / count);
        }
    }
}

static int64_t one_unit(const lk_call *c)
{
    (void)c;
    return 1;
}

static void grad_second(const lk_call *c, int64_t first, int64_t end)
{
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    const split s = split_of(c);
    (void)first;
    (void)end;
    for (int64_t section = 0; section < s.sections; section++) {
        float *sums = part_at(c, section, 0);
        lk_sum_parts(sums, sums, s.parts, 2 * z.channels);
    }
    for (int which = 0; which < 2; which++) { /* dgamma, dbeta */
        const lk_tensor *t = &c->out[1 + which];
        float *d = t->data;
        if (!d)
            continue;
        memset(d, 0, lk_tensor_bytes(t));
        for (int64_t section = 0; section < s.sections; section++)
            for (int64_t ch = 0; ch < z.channels; ch++)
                d[t->shape.n_dims == 2 ? section * z.channels + ch : ch] +=
                    part_at(c, section, 0)[which * z.channels + ch];
    }
    for (int64_t sample = 0; is_group(c) && z.rows && sample < z.samples; sample++)
        group_coefficients(c, &z, sample);
}

static int64_t grad_third_units(const lk_call *c)
{
    return c->out[0].data ? third_units(c) : 0;
}

static void grad_run(const lk_call *c, int64_t at, int64_t n, lk_run k[COEFFICIENTS])
{
    lk_run buf_x, buf_d, buf_y;
    const float *x = lk_run_in(&c->in[0], at, n, buf_x);
    const float *dy = lk_run_in(&c->in[2], at, n, buf_d);
    float *dx = lk_run_out(&c->out[0], at, buf_y);
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dx[i] = k[0][i] * dy[i] + k[1][i] * (x[i] - k[2][i]) + k[3][i];
    lk_run_end(&c->out[0], at, n, dx);
}

static void grad_third(const lk_call *c, int64_t first, int64_t end)
{
    for (int64_t u = first; u < end; u++)
        each_run(c, u, grad_run);
}

const lk_cpu_kernel LK_VEC(lk_cpu_norm_grad) = {
    .prepare = norm_prepare,
    .phase = {{part_units, grad_first}, {one_unit, grad_second}, {grad_third_units, grad_third}}};
