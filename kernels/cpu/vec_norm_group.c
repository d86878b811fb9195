/* vec_norm_group.c - group norms, for vec_norm.c.
 *
 * Every lane of a vector is a channel: channels' sums are taken first and joined to those of
 * groups, and y and dx are linear in x and dy with coefficients of the channels.  Few channels lie
 * side by side, several rows in a row of lanes.  A block of vectors keeps its sums or coefficients
 * in registers while it goes down the rows.
 *
 * Squares are taken about the mean so far m, of b numbers: with d = x - m of the next n ones,
 *
 *   mean = m + sum d / (b + n),   squares += sum d^2 - (sum d)^2 / (b + n)
 *
 * so one pass gives both, and a large mean costs no digits (Chan, Golub, LeVeque 1983). */
#include "kernels/cpu/vec_norm.h"

#define VECS (LK_LANES == 16 ? 8 : 4)
#define WIDE 128 /* lanes of rows side by side */
#define DOWN 64  /* rows of lanes that are summed before they are joined with those before */
#define K    LK_NORM_COEFFICIENTS

/* Rows of lanes: where they lie, and what stands beside each lane. */
typedef struct walk {
    const void *x, *dy;
    void *out;
    int64_t at, step, lanes, rows; /* elements to the first row and from row to row; lanes, rows */
    int64_t before;                /* rows joined before */
    float *mean, *square;          /* statistics */
    float *dyz, *dy_sum;           /* sums of dy (x - mean) and dy */
    const float *k[K];
} walk;

/* Does `vecs` vectors from a lane on, the n lanes there are of each. */
typedef void block(const int bf16, const int vecs, const walk *w, int64_t lane, int64_t n);

LK_INLINE void each_block(const int bf16, block *run, const walk *w)
{
    int64_t lane = 0;
    for (; lane + VECS * LK_LANES <= w->lanes; lane += VECS * LK_LANES)
        run(bf16, VECS, w, lane, LK_LANES);
    for (; lane + 2 * LK_LANES <= w->lanes; lane += 2 * LK_LANES)
        run(bf16, 2, w, lane, LK_LANES);
    for (; lane + LK_LANES <= w->lanes; lane += LK_LANES)
        run(bf16, 1, w, lane, LK_LANES);
    if (lane < w->lanes)
        run(bf16, 1, w, lane, w->lanes - lane);
}

#define EACH_BLOCK(t, run, w)                                                                      \
    do {                                                                                           \
        if ((t)->dtype == LK_BF16)                                                                 \
            each_block(1, run, w);                                                                 \
        else                                                                                       \
            each_block(0, run, w);                                                                 \
    } while (0)

#define EACH_VEC LK_UNROLL(8) for (int v = 0; v < vecs; v++)
#define LANE(v)  (lane + (v)*LK_LANES)

static int64_t rows_abreast(int64_t n_ch)
{
    return lk_abreast(n_ch, WIDE);
}

/* ---- forwards ---- */

LK_INLINE void statistics_block(const int bf16, const int vecs, const walk *w, int64_t lane,
                                int64_t n)
{
    const float share = (float)(1 / (double)(w->before + w->rows));
    lk_lanes mean[VECS], sum[VECS], squares[VECS];
    EACH_VEC
    {
        mean[v] = lk_lanes_take(0, w->mean, LANE(v), n);
        sum[v] = squares[v] = (lk_lanes){0};
    }
    for (int64_t row = 0; row < w->rows; row++)
        EACH_VEC
        {
            const lk_lanes d =
                lk_lanes_take(bf16, w->x, w->at + row * w->step + LANE(v), n) - mean[v];
            sum[v] += d;
            squares[v] += d * d;
        }
    EACH_VEC
    {
        const lk_lanes step = sum[v] * share;
        const lk_lanes before = lk_lanes_take(0, w->square, LANE(v), n);
        lk_lanes_give(0, w->mean, LANE(v), n, mean[v] + step);
        lk_lanes_give(0, w->square, LANE(v), n, before + (squares[v] - sum[v] * step));
    }
}

/* Mean and squares about it of each channel from those of `wide` rows side by side, of `tall`
 * numbers each, the first `left` of one more. */
static void join_abreast(int64_t n_ch, int64_t wide, int64_t tall, int64_t left,
                         const float *lane_mean, const float *lane_square, float *mean,
                         float *square)
{
    int64_t before = 0;
    memset(mean, 0, (size_t)n_ch * sizeof *mean);
    memset(square, 0, (size_t)n_ch * sizeof *square);
    for (int64_t k = 0; k < wide; k++) {
        const int64_t n = tall + (k < left);
        const float share = n ? (float)((double)n / (double)(before + n)) : 0;
        for (int64_t i = 0; i < n_ch; i++) {
            const float d = lane_mean[k * n_ch + i] - mean[i];
            square[i] += lane_square[k * n_ch + i] + d * d * share * (float)before;
            mean[i] += d * share;
        }
        before += n;
    }
}

/* Mean and squares about it of each channel over n_rows rows. */
static void channel_statistics(const lk_call *c, int64_t n_ch, int64_t row, int64_t n_rows,
                               float *mean, float *square)
{
    const lk_tensor *x = &c->in[0];
    const int64_t wide = rows_abreast(n_ch), tall = n_rows / wide, left = n_rows % wide;
    const int64_t n = wide * n_ch;
    float lane_mean[WIDE] = {0}, lane_square[WIDE] = {0};
    walk w = {.x = x->data, .step = n, .lanes = n, .mean = lane_mean, .square = lane_square};
    if (wide == 1) {
        w.mean = mean;
        w.square = square;
        memset(square, 0, (size_t)n_ch * sizeof *square);
    }
    lk_load(x->dtype, x->data, row * n_ch, tall ? n : left * n_ch, w.mean);
    for (; w.before < tall; w.before += w.rows) {
        w.rows = tall - w.before < DOWN ? tall - w.before : DOWN;
        w.at = row * n_ch + w.before * n;
        EACH_BLOCK(x, statistics_block, &w);
    }
    w.rows = 1;
    w.at = row * n_ch + tall * n;
    w.lanes = left * n_ch;
    EACH_BLOCK(x, statistics_block, &w);
    if (wide > 1)
        join_abreast(n_ch, wide, tall, left, lane_mean, lane_square, mean, square);
}

void LK_VEC(lk_norm_group_first)(const lk_call *c, int64_t first, int64_t end)
{
    const lk_norm_split s = lk_norm_split_of(c);
    const int64_t n = lk_last(&c->in[0].shape);
    for (int64_t u = first; u < end; u++) {
        const int64_t p = u % s.parts, from = s.rows * p / s.parts;
        const int64_t to = s.rows * (p + 1) / s.parts;
        float *mean = lk_norm_part(c, 0, u);
        channel_statistics(c, n, u / s.parts * s.rows + from, to - from, mean, mean + n);
    }
}

/* Mean and squares about it of each channel of a sample, from all its parts into the first. */
static void join_parts(const lk_call *c, int64_t sample)
{
    const lk_norm_split s = lk_norm_split_of(c);
    const int64_t n = lk_last(&c->in[0].shape);
    for (int64_t at = 0; at < n; at += LK_VEC_RUN) {
        const int64_t k = n - at < LK_VEC_RUN ? n - at : LK_VEC_RUN;
        float *mean = lk_norm_part(c, sample, 0) + at, *square = mean + n;
        double m[LK_VEC_RUN] = {0}, q[LK_VEC_RUN] = {0};
        for (int64_t p = 0; p < s.parts; p++) {
            const float *part = lk_norm_part(c, sample, p) + at;
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
    const float *m = lk_norm_part(c, sample, 0) + group * width, *q = m + z.channels;
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < width; i++)
        sum += (double)m[i];
    *mean = sum / (double)width;
    for (int64_t i = 0; i < width; i++) {
        const double d = (double)m[i] - *mean;
        squares += (double)q[i] + d * d * (double)z.rows;
    }
    *square = squares > 0 ? squares / (double)(z.rows * width) : 0;
}

static float *coefficients_at(const lk_call *c, int64_t sample)
{
    const lk_norm_split s = lk_norm_split_of(c);
    return lk_norm_part(c, s.sections, 0) + sample * K * lk_last(&c->in[0].shape);
}

/* What the last phase needs: y = (x - k0) k1 + k2. */
void LK_VEC(lk_norm_group_second)(const lk_call *c, int64_t first, int64_t end)
{
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    const int64_t n = z.channels, width = n / z.groups;
    for (int64_t sample = first; sample < end; sample++) {
        float *k = coefficients_at(c, sample);
        const float *gamma = lk_norm_scale(&c->in[1], sample);
        const float *beta = lk_norm_scale(&c->in[2], sample);
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

/* Rows of one sample that a unit of the last phase takes. */
static int64_t block_rows(int64_t n_ch)
{
    const int64_t wide = rows_abreast(n_ch), some = 32768 / (wide * n_ch);
    return wide * (some ? some : 1);
}

static int64_t sample_blocks(const lk_norm_sizes *z)
{
    return (z->rows + block_rows(z->channels) - 1) / block_rows(z->channels);
}

int64_t LK_VEC(lk_norm_group_blocks)(const lk_call *c)
{
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    return lk_norm_is_group(c) && z.channels ? z.samples * sample_blocks(&z) : 0;
}

/* The channels' numbers for each of `wide` rows side by side. */
static const float *repeat(const float *of, int64_t n_ch, int64_t wide, float *buffer)
{
    for (int64_t r = 0; wide > 1 && r < wide; r++)
        memcpy(buffer + r * n_ch, of, (size_t)n_ch * sizeof *of);
    return wide > 1 ? buffer : of;
}

/* Unit u of the last phase: whole rows of lanes, and the rows that are left. */
LK_INLINE void each_row(const lk_call *c, int64_t u, block *run, walk *w)
{
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    const int64_t n = z.channels, wide = rows_abreast(n), sample = u / sample_blocks(&z);
    const int64_t from = u % sample_blocks(&z) * block_rows(n);
    const int64_t n_rows = z.rows - from < block_rows(n) ? z.rows - from : block_rows(n);
    float buffer[K][WIDE];
    for (int j = 0; j < K; j++)
        w->k[j] = repeat(coefficients_at(c, sample) + j * n, n, wide, buffer[j]);
    w->out = c->out[0].data;
    w->at = (sample * z.rows + from) * n;
    w->step = w->lanes = wide * n;
    w->rows = n_rows / wide;
    EACH_BLOCK(&c->in[0], run, w);
    w->at += w->rows * w->step;
    w->lanes = n_rows % wide * n;
    w->rows = 1;
    EACH_BLOCK(&c->in[0], run, w);
}

LK_INLINE void y_block(const int bf16, const int vecs, const walk *w, int64_t lane, int64_t n)
{
    lk_lanes mean[VECS], factor[VECS], beta[VECS];
    EACH_VEC
    {
        mean[v] = lk_lanes_take(0, w->k[0], LANE(v), n);
        factor[v] = lk_lanes_take(0, w->k[1], LANE(v), n);
        beta[v] = lk_lanes_take(0, w->k[2], LANE(v), n);
    }
    for (int64_t row = 0; row < w->rows; row++)
        EACH_VEC
        {
            const int64_t at = w->at + row * w->step + LANE(v);
            const lk_lanes x = lk_lanes_take(bf16, w->x, at, n);
            lk_lanes_give(bf16, w->out, at, n, (x - mean[v]) * factor[v] + beta[v]);
        }
}

void LK_VEC(lk_norm_group_third)(const lk_call *c, int64_t first, int64_t end)
{
    walk w = {.x = c->in[0].data};
    for (int64_t u = first; u < end; u++)
        each_row(c, u, y_block, &w);
}

/* ---- gradients ---- */

LK_INLINE void sums_block(const int bf16, const int vecs, const walk *w, int64_t lane, int64_t n)
{
    lk_lanes mean[VECS], dyz[VECS], sum[VECS];
    EACH_VEC
    {
        mean[v] = lk_lanes_take(0, w->mean, LANE(v), n);
        dyz[v] = sum[v] = (lk_lanes){0};
    }
    for (int64_t row = 0; row < w->rows; row++)
        EACH_VEC
        {
            const int64_t at = w->at + row * w->step + LANE(v);
            const lk_lanes dy = lk_lanes_take(bf16, w->dy, at, n);
            dyz[v] += dy * (lk_lanes_take(bf16, w->x, at, n) - mean[v]);
            sum[v] += dy;
        }
    EACH_VEC
    {
        dyz[v] += lk_lanes_take(0, w->dyz, LANE(v), n);
        sum[v] += lk_lanes_take(0, w->dy_sum, LANE(v), n);
        lk_lanes_give(0, w->dyz, LANE(v), n, dyz[v]);
        lk_lanes_give(0, w->dy_sum, LANE(v), n, sum[v]);
    }
}

/* Goes down n_rows rows with `wide` side by side, from channel ch on. */
static void lane_sums(const lk_call *c, walk *w, int64_t n_ch, int64_t wide, int64_t row,
                      int64_t n_rows, int64_t ch)
{
    const int64_t tall = n_rows / wide, left = n_rows % wide;
    for (int64_t done = 0; done < tall; done += DOWN) {
        w->rows = tall - done < DOWN ? tall - done : DOWN;
        w->at = (row + done * wide) * n_ch + ch;
        EACH_BLOCK(&c->in[0], sums_block, w);
    }
    w->rows = 1;
    w->at = (row + tall * wide) * n_ch + ch;
    w->lanes = left * n_ch; /* left: only where all channels lie side by side */
    EACH_BLOCK(&c->in[0], sums_block, w);
}

/* Sums of dy z and dy for each channel over n_rows rows of a sample, added to zeros. */
static void channel_sums(const lk_call *c, int64_t sample, int64_t row, int64_t n_rows, float *dyz,
                         float *dy_sum)
{
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    const int64_t n = z.channels, width = n / z.groups, wide = rows_abreast(n);
    const int64_t most = wide == 1 ? LK_VEC_RUN : n;
    const float *means = (const float *)c->in[3].data + sample * z.groups;
    const float *r = (const float *)c->in[4].data + sample * z.groups;
    lk_run mean;
    walk w = {.x = c->in[0].data, .dy = c->in[2].data, .step = wide * n, .mean = mean};
    for (int64_t ch = 0; ch < n; ch += most) {
        const int64_t m = n - ch < most ? n - ch : most;
        lk_run lane_dyz = {0}, lane_sum = {0};
        w.lanes = wide * m;
        w.dyz = lane_dyz;
        w.dy_sum = lane_sum;
        for (int64_t i = 0; i < m; i++)
            for (int64_t lane = i; lane < w.lanes; lane += m)
                mean[lane] = means[(ch + i) / width];
        lane_sums(c, &w, n, wide, row, n_rows, ch);
        for (int64_t lane = 0; lane < wide * m; lane += m)
            for (int64_t i = 0; i < m; i++) {
                dyz[ch + i] += lane_dyz[lane + i];
                dy_sum[ch + i] += lane_sum[lane + i];
            }
    }
    for (int64_t i = 0; i < n; i++)
        dyz[i] *= r[i / width];
}

void LK_VEC(lk_norm_group_grad_first)(const lk_call *c, int64_t first, int64_t end)
{
    const lk_norm_split s = lk_norm_split_of(c);
    const int64_t n = lk_last(&c->in[0].shape);
    for (int64_t u = first; u < end; u++) {
        const int64_t p = u % s.parts, from = s.rows * p / s.parts;
        const int64_t to = s.rows * (p + 1) / s.parts;
        float *sums = lk_norm_part(c, 0, u);
        memset(sums, 0, 2 * (size_t)n * sizeof *sums);
        channel_sums(c, u / s.parts, u / s.parts * s.rows + from, to - from, sums, sums + n);
    }
}

/* What the last phase needs: dx = k0 dy + k1 (x - k2) + k3. */
void LK_VEC(lk_norm_group_grad_second)(const lk_call *c, int64_t sample)
{
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    const int64_t n = z.channels, width = n / z.groups;
    const float *gamma = lk_norm_scale(&c->in[1], sample);
    const float *dyz = lk_norm_part(c, sample, 0); /* and behind it the sums of dy */
    const double count = (double)(z.rows * width);
    float *k = coefficients_at(c, sample);
    for (int64_t group = 0; z.rows && group < z.groups; group++) {
        const float mean = ((const float *)c->in[3].data)[sample * z.groups + group];
        const float r = ((const float *)c->in[4].data)[sample * z.groups + group];
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

LK_INLINE void dx_block(const int bf16, const int vecs, const walk *w, int64_t lane, int64_t n)
{
    lk_lanes k[VECS][K];
    EACH_VEC
    for (int j = 0; j < K; j++)
        k[v][j] = lk_lanes_take(0, w->k[j], LANE(v), n);
    for (int64_t row = 0; row < w->rows; row++)
        EACH_VEC
        {
            const int64_t at = w->at + row * w->step + LANE(v);
            const lk_lanes x = lk_lanes_take(bf16, w->x, at, n);
            const lk_lanes dy = lk_lanes_take(bf16, w->dy, at, n);
            lk_lanes_give(bf16, w->out, at, n, k[v][0] * dy + k[v][3] + k[v][1] * (x - k[v][2]));
        }
}

void LK_VEC(lk_norm_group_grad_third)(const lk_call *c, int64_t first, int64_t end)
{
    walk w = {.x = c->in[0].data, .dy = c->in[2].data};
    for (int64_t u = first; u < end; u++)
        each_row(c, u, dx_block, &w);
}
