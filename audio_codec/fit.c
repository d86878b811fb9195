/* fit.c - a codec that was never trained becomes a linear tokenizer with a residual quantiser.
 *
 *   V            principal components of x / sqrt(|x| + 1e-3), x the samples of a latent
 * (linear.c): by their energy alone the loudest kind of sound would decide;  W_0 = V^T, W_1 = 0
 *   Gaussian     with mean a, components U and variances d of the rows to be described, the numbers
 *                of least error at KL nats (reverse water-filling; Cover, Thomas 2006, section
 *                10.3.3):
 *                  v_i = min(0.95, D / d_i),  D such that sum of -ln(v_i) / 2 = KL
 *                  mean_i = sqrt((1 - v_i) / d_i) u_i (r - a),  log_var_i = ln v_i
 *                  out = a + sum of sqrt((1 - v_i) d_i) u_i z_i
 *                once for h and once for what the tokens leave
 *   stage        of n numbers: the first n - 1 components of what it is given, and the constant
 *                k = 1.5 sqrt(sum of their variances) as the last:  In r = (U (r - a), k).
 * Directions of such vectors tell length as well, so codes on the sphere are codes in a plane.
 *                Codes by k-means; Out gives a + sum of g_i u_i c_i, g of least squares
 */
#include "audio_codec/codec_impl.h"

#include "kernels/mem.h"
#include "kernels/pca.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define ROWS_A_CODE 16
#define PLANE       1.5
#define LEAST       1e-8
#define FAINT       1e-3
#define MOST_NOISE  0.95

typedef struct fitting {
    lk_codec *codec;
    const lk_codec_config *c;
    int64_t n_batches, batch_rows, rows;
    float *sound;    /* of a batch */
    int32_t *labels; /* of a batch; not used */
    float *h;        /* [rows, W]: what is left to describe */
    float *mean, *basis, *variance, *weight, *bias;
    float *unit;    /* [rows, code_width] */
    int32_t *index; /* [rows] */
} fitting;

static void close_fitting(fitting *f)
{
    lk_free(f->sound);
    lk_free(f->labels);
    lk_free(f->h);
    lk_free(f->mean);
    lk_free(f->basis);
    lk_free(f->variance);
    lk_free(f->weight);
    lk_free(f->bias);
    lk_free(f->unit);
    lk_free(f->index);
}

static lk_status open_fitting(fitting *f, int batch, int latents)
{
    lk_status st = LK_OK;
    const lk_codec_config *c = f->c;
    const int64_t n = (int64_t)lk_codec_period(c) * c->channels, w = c->latent_width;
    const int64_t wide = n > w ? n : w, pairs = 2 * (int64_t)c->linear;
    int64_t most = n * pairs;
    f->batch_rows = (int64_t)batch * latents;
    f->n_batches = (ROWS_A_CODE * (int64_t)c->entries + f->batch_rows - 1) / f->batch_rows;
    f->rows = f->n_batches * f->batch_rows;
    most = most > w * w ? most : w * w;
    most = most > 2 * w * c->continuous ? most : 2 * w * c->continuous;
    most = most > w * c->code_width ? most : w * c->code_width;
    LK_TRY(LK_NEW_ARRAY(&f->sound, f->batch_rows * n));
    LK_TRY(LK_NEW_ARRAY(&f->labels, f->batch_rows));
    LK_TRY(LK_NEW_ARRAY(&f->h, f->rows * w));
    LK_TRY(LK_NEW_ARRAY(&f->mean, wide));
    LK_TRY(LK_NEW_ARRAY(&f->basis, most));
    LK_TRY(LK_NEW_ARRAY(&f->variance, wide));
    LK_TRY(LK_NEW_ARRAY(&f->weight, most));
    LK_TRY(LK_NEW_ARRAY(&f->bias, 2 * LK_CODEC_MOST_CHANNELS + w + c->code_width));
    LK_TRY(LK_NEW_ARRAY(&f->unit, f->rows * c->code_width));
    LK_TRY(LK_NEW_ARRAY(&f->index, f->rows));
done:
    return st;
}

static lk_status put(fitting *f, const char *layer, const char *what, float *data)
{
    lk_status st = LK_OK;
    char name[80];
    lk_shape shape;
    int i;
    snprintf(name, sizeof name, "%s.%s", layer, what);
    i = lk_params_find(f->codec->params, name);
    LK_REQUIRE(i >= 0, LK_E_ARG, "the codec has no parameter '%s'", name);
    shape = lk_params_shape(f->codec->params, i);
    for (int64_t k = 0; k < lk_shape_count(&shape); k++)
        data[k] /= (float)LK_CODEC_SLOW;
    LK_TRY(lk_params_write(f->codec->params, i, LK_VALUE, LK_F32, data));
    for (int64_t k = 0; k < lk_shape_count(&shape); k++)
        data[k] *= (float)LK_CODEC_SLOW;
done:
    return st;
}

/* ---- V ---- */

static void to_mid_side(float *sound, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const float left = sound[2 * i], right = sound[2 * i + 1];
        sound[2 * i] = (left + right) / 2;
        sound[2 * i + 1] = (left - right) / 2;
    }
}

static double dot(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* Rows x become x / sqrt(|x|). */
static void even_out(float *x, int64_t rows, int64_t n)
{
    for (int64_t r = 0; r < rows; r++, x += n) {
        const double gain = 1 / sqrt(sqrt(dot(x, x, n)) + FAINT);
        for (int64_t i = 0; i < n; i++)
            x[i] *= (float)gain;
    }
}

static lk_status next_crops(fitting *f, lk_codec_crops crops, void *user, int64_t i, int latents)
{
    const int64_t period = lk_codec_period(f->c);
    return crops(user, (uint64_t)f->c->seed, LK_CODEC_FIT_INDEX + i, f->batch_rows / latents,
                 latents * period, f->sound, f->labels);
}

static lk_status fit_samples(fitting *f, lk_codec_crops crops, void *user, int latents)
{
    lk_status st = LK_OK;
    lk_pca *pca = NULL;
    const int64_t n = (int64_t)lk_codec_period(f->c) * f->c->channels, k = f->c->linear;
    LK_TRY(lk_pca_new(&pca, n));
    for (int64_t i = 0; i < f->n_batches; i++) {
        LK_TRY(next_crops(f, crops, user, i, latents));
        if (f->c->channels == 2)
            to_mid_side(f->sound, f->batch_rows * n / 2);
        even_out(f->sound, f->batch_rows, n);
        LK_TRY(lk_pca_add(pca, f->batch_rows, f->sound));
    }
    LK_TRY(lk_pca_solve(pca, k, f->mean, f->basis, f->variance));
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < k; j++) {
            f->weight[i * 2 * k + j] = 0;
            f->weight[i * 2 * k + k + j] = f->basis[j * n + i];
        }
    LK_TRY(put(f, "encoder.linear", "weight", f->basis));
    LK_TRY(put(f, "decoder.linear", "weight", f->weight));
done:
    lk_pca_free(&pca);
    return st;
}

/* All latents of the crops, as the encoder gives them. */
static lk_status encode_all(fitting *f, lk_codec_crops crops, void *user, int latents)
{
    lk_status st = LK_OK;
    lk_graph *g = NULL;
    const lk_codec_config *c = f->c;
    const int64_t batch = f->batch_rows / latents;
    lk_var sound, h;
    LK_TRY(lk_graph_new(&g, &(lk_graph_config){.backend = lk_params_backend(f->codec->params),
                                               .params = f->codec->params}));
    sound =
        lk_input(g, "sound", LK_F32, LK_SHAPE(batch, latents * lk_codec_period(c), c->channels));
    h = lk_codec_encode(g, c, NULL, sound);
    lk_output(g, "h", h);
    LK_TRY(lk_graph_compile(g));
    for (int64_t i = 0; i < f->n_batches; i++) {
        LK_TRY(next_crops(f, crops, user, i, latents));
        LK_TRY(lk_graph_write(g, sound, LK_F32, f->sound));
        LK_TRY(lk_graph_run(g, 0));
        LK_TRY(lk_graph_read(g, h, LK_F32, f->h + i * f->batch_rows * c->latent_width));
    }
done:
    lk_graph_free(&g);
    return st;
}

/* ---- what is left ---- */

/* Mean, components and variances of f->h. */
static lk_status components(fitting *f, int64_t k)
{
    lk_status st = LK_OK;
    lk_pca *pca = NULL;
    LK_TRY(lk_pca_new(&pca, f->c->latent_width));
    LK_TRY(lk_pca_add(pca, f->rows, f->h));
    LK_TRY(lk_pca_solve(pca, k, f->mean, f->basis, f->variance));
    for (int64_t i = 0; i < k; i++)
        f->variance[i] = fmaxf(f->variance[i], (float)LEAST);
done:
    lk_pca_free(&pca);
    return st;
}

static double noise_of(double variance, double level)
{
    return fmin(MOST_NOISE, level / variance);
}

/* The error level at which k variances take `nats`. */
static double water_level(const float *variance, int64_t k, double nats)
{
    double lo = log(LEAST) - 40, hi = log((double)variance[0]);
    for (int n = 0; n < 100; n++) {
        const double middle = (lo + hi) / 2;
        double sum = 0;
        for (int64_t i = 0; i < k; i++)
            sum -= log(noise_of((double)variance[i], exp(middle))) / 2;
        *(sum > nats ? &lo : &hi) = middle;
    }
    return exp(hi);
}

static lk_status fit_gaussian(fitting *f, lk_codec_part part)
{
    lk_status st = LK_OK;
    const int64_t w = f->c->latent_width, n = f->c->continuous, k = n < w ? n : w;
    const char *name = lk_codec_part_name(part);
    char layer[32];
    double level;
    LK_TRY(components(f, k));
    level = water_level(f->variance, k, lk_codec_target_nats(f->c, part));
    memset(f->weight, 0, sizeof *f->weight * (size_t)(2 * n * w));
    for (int64_t i = 0; i < n; i++) {
        const double d = i < k ? (double)f->variance[i] : 0, v = i < k ? noise_of(d, level) : 1;
        const double gain = i < k ? sqrt((1 - v) / d) : 0;
        for (int64_t j = 0; i < k && j < w; j++)
            f->weight[i * w + j] = (float)gain * f->basis[i * w + j];
        f->bias[i] = i < k ? (float)(-gain * dot(f->basis + i * w, f->mean, w)) : 0;
        f->bias[n + i] = (float)log(v);
    }
    snprintf(layer, sizeof layer, "gaussian.%s.moments", name);
    LK_TRY(put(f, layer, "weight", f->weight));
    LK_TRY(put(f, layer, "bias", f->bias));
    memset(f->weight, 0, sizeof *f->weight * (size_t)(n * w));
    for (int64_t i = 0; i < k; i++) {
        const double d = (double)f->variance[i], gain = sqrt((1 - noise_of(d, level)) * d);
        for (int64_t j = 0; j < w; j++)
            f->weight[j * n + i] = (float)gain * f->basis[i * w + j];
    }
    snprintf(layer, sizeof layer, "gaussian.%s.out", name);
    LK_TRY(put(f, layer, "weight", f->weight));
    LK_TRY(put(f, layer, "bias", f->mean));
done:
    return st;
}

/* ---- stages ---- */

/* In of a stage, k components and a constant, and the directions it gives. */
static lk_status fit_in(fitting *f, const char *layer, int64_t k)
{
    lk_status st = LK_OK;
    const int64_t w = f->c->latent_width, n = f->c->code_width;
    double sum = 0;
    LK_TRY(components(f, k));
    for (int64_t i = 0; i < k; i++)
        sum += (double)f->variance[i];
    memset(f->weight, 0, sizeof *f->weight * (size_t)(n * w));
    memcpy(f->weight, f->basis, sizeof *f->weight * (size_t)(k * w));
    for (int64_t i = 0; i < n; i++)
        f->bias[i] = i < k ? (float)-dot(f->basis + i * w, f->mean, w) : 0;
    f->bias[n - 1] = (float)(PLANE * sqrt(sum));
    LK_TRY(put(f, layer, "weight", f->weight));
    LK_TRY(put(f, layer, "bias", f->bias));
    for (int64_t r = 0; r < f->rows; r++) {
        float *e = f->unit + r * n;
        double length;
        for (int64_t i = 0; i < n; i++)
            e[i] = (float)dot(f->weight + i * w, f->h + r * w, w) + f->bias[i];
        length = sqrt(dot(e, e, n));
        for (int64_t i = 0; i < n; i++)
            e[i] = (float)((double)e[i] / length);
    }
done:
    return st;
}

/* Out of a stage whose codes [entries, code_width] of length 1 are known; f->h becomes what it
 * leaves. */
static lk_status fit_out(fitting *f, const char *layer, int64_t k, const float *codes)
{
    lk_status st = LK_OK;
    const int64_t w = f->c->latent_width, n = f->c->code_width;
    memset(f->weight, 0, sizeof *f->weight * (size_t)(n * w));
    for (int64_t i = 0; i < k; i++) {
        const double base = dot(f->basis + i * w, f->mean, w);
        double both = 0, square = LEAST;
        for (int64_t r = 0; r < f->rows; r++) {
            const double c = (double)codes[f->index[r] * n + i];
            both += c * (dot(f->basis + i * w, f->h + r * w, w) - base);
            square += c * c;
        }
        for (int64_t j = 0; j < w; j++)
            f->weight[j * n + i] = (float)(both / square) * f->basis[i * w + j];
    }
    LK_TRY(put(f, layer, "weight", f->weight));
    LK_TRY(put(f, layer, "bias", f->mean));
    for (int64_t r = 0; r < f->rows; r++)
        for (int64_t j = 0; j < w; j++)
            f->h[r * w + j] -=
                f->mean[j] + (float)dot(f->weight + j * n, codes + f->index[r] * n, n);
done:
    return st;
}

static lk_status fit_stages(fitting *f)
{
    lk_status st = LK_OK;
    const lk_codec_config *c = f->c;
    const int64_t n = c->code_width, k = n - 1 < c->latent_width ? n - 1 : c->latent_width;
    lk_codec_books *books = NULL;
    float *codes = NULL;
    char layer[48];
    LK_TRY(LK_NEW_ARRAY(&codes, (int64_t)c->entries * n));
    LK_TRY(lk_codec_books_new(&books, c, f->codec->params, f->rows, 0, 0, (uint64_t)c->seed, NULL));
    for (int i = 0; i < c->stages; i++) {
        snprintf(layer, sizeof layer, "quantiser.%d.in", i);
        LK_TRY(fit_in(f, layer, k));
        LK_TRY(
            lk_codec_books_start(books, i, (double)f->batch_rows / c->entries, f->unit, f->index));
        snprintf(layer, sizeof layer, "quantiser.%d.codes", i);
        LK_TRY(lk_params_read(f->codec->params, lk_params_find(f->codec->params, layer), LK_VALUE,
                              LK_F32, codes));
        for (int64_t e = 0; e < c->entries; e++) {
            const double length = sqrt(dot(codes + e * n, codes + e * n, n) + LEAST * LEAST);
            for (int64_t j = 0; j < n; j++)
                codes[e * n + j] = (float)((double)codes[e * n + j] / length);
        }
        snprintf(layer, sizeof layer, "quantiser.%d.out", i);
        LK_TRY(fit_out(f, layer, k, codes));
    }
done:
    lk_codec_books_free(&books);
    lk_free(codes);
    return st;
}

lk_status lk_codec_fit(lk_codec *codec, lk_codec_crops crops, void *user, int batch, int latents)
{
    lk_status st = LK_OK;
    fitting f = {.codec = codec, .c = &codec->config};
    LK_TRY(open_fitting(&f, batch, latents));
    LK_TRY(fit_samples(&f, crops, user, latents));
    LK_TRY(encode_all(&f, crops, user, latents));
    LK_TRY(fit_gaussian(&f, LK_CODEC_ALONE));
    LK_TRY(fit_stages(&f));
    LK_TRY(fit_gaussian(&f, LK_CODEC_REST));
done:
    close_fitting(&f);
    return st;
}
