/* fit.c - a new tokenizer as the best linear one.
 *
 * With the principal components v_i of what lies under a latent, of variance l_i around m:
 *
 *   A_i = v_i / sqrt(l_i),  a = -A m;   D_i = sqrt(l_i) v_i,  d = m
 *   log_var_i = ln min(t / l_i, MOST)     every component is known to the same error t in pixels,
 *                                         as in reverse water-filling (Cover, Thomas, 10.3.3)
 *   t: sum over i of (e^(log_var_i) - log_var_i) / 2 = ln 2 bits_per_pixel pixels
 */
#include "video_vae/vae_impl.h"

#include "kernels/mem.h"
#include "kernels/pca.h"

#include <math.h>

#define MOST         0.9 /* variance of a component nothing is said of */
#define ROWS_A_DIM   8   /* vectors for each number of one */
#define MOST_BATCHES 256

/* Patches of the clips of c through a graph, a batch at a time. */
typedef struct source {
    lk_graph *graph;
    lk_var rgb, patches;
    int64_t rows;
    float *clip, *row;
} source;

static void close_source(source *s)
{
    lk_graph_free(&s->graph);
    lk_free(s->clip);
    lk_free(s->row);
}

static lk_status open_source(source *s, const lk_vae *v, const lk_vae_train_config *c)
{
    lk_status st = LK_OK;
    const lk_shape clip = LK_SHAPE(c->batch, c->frames, c->height, c->width, 3);
    lk_graph *g;
    LK_TRY(lk_graph_new(&s->graph, &(lk_graph_config){.backend = lk_params_backend(v->params)}));
    g = s->graph;
    s->rgb = lk_input(g, "rgb", LK_F32, clip);
    s->patches = lk_vae_patches(
        g, &v->shape, lk_vae_bands(g, &v->shape, lk_vae_fill_groups(g, &v->shape, s->rgb)));
    lk_output(g, "patches", s->patches);
    LK_TRY(lk_graph_compile(g));
    const lk_shape out = lk_var_shape(g, s->patches);
    s->rows = lk_shape_count(&out) / lk_vae_patch_numbers(&v->shape);
    LK_TRY(LK_NEW_ARRAY(&s->clip, lk_shape_count(&clip)));
    LK_TRY(LK_NEW_ARRAY(&s->row, lk_shape_count(&out)));
done:
    return st;
}

static lk_status collect(source *s, const lk_vae_train_config *c, int64_t n, lk_pca *pca)
{
    lk_status st = LK_OK;
    const int64_t wanted = ROWS_A_DIM * n / s->rows + 1;
    for (int64_t i = 0; i < wanted && i < MOST_BATCHES; i++) {
        LK_TRY(c->fill(c->user, (uint64_t)c->seed, i, s->clip));
        LK_TRY(lk_graph_write(s->graph, s->rgb, LK_F32, s->clip));
        LK_TRY(lk_graph_run(s->graph, 0));
        LK_TRY(lk_graph_read(s->graph, s->patches, LK_F32, s->row));
        LK_TRY(lk_pca_add(pca, s->rows, s->row));
    }
done:
    return st;
}

static double nats(const float *variance, int n, double error)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        const double noise = fmin(error / variance[i], MOST);
        sum += 0.5 * (noise - log(noise));
    }
    return sum;
}

/* log_var [n] of components with these variances that hold `wanted` nats together. */
static void share_out(const float *variance, int n, double wanted, float *log_var)
{
    double lo = 1e-9 * variance[n - 1], hi = variance[0];
    for (int i = 0; i < 100; i++) {
        const double middle = sqrt(lo * hi);
        if (nats(variance, n, middle) > wanted)
            lo = middle;
        else
            hi = middle;
    }
    for (int i = 0; i < n; i++)
        log_var[i] = (float)log(fmin(lo / variance[i], MOST));
}

static lk_status write(lk_vae *v, const char *name, const float *x)
{
    lk_status st = LK_OK;
    const int i = lk_params_find(v->params, name);
    LK_REQUIRE(i >= 0, LK_E_INTERNAL, "the video tokenizer has no weight '%s'", name);
    LK_TRY(lk_params_write(v->params, i, LK_VALUE, LK_F32, x));
done:
    return st;
}

/* Mean [n], basis [k, n] and variance [k] into the two matrices and their offsets. */
static lk_status write_linear(lk_vae *v, const lk_vae_train_config *c, int64_t n, const float *mean,
                              const float *basis, const float *variance)
{
    lk_status st = LK_OK;
    const int k = v->shape.channels;
    const double pixels = v->shape.time * v->shape.space * v->shape.space;
    float *to = NULL, *from = NULL, *offset = NULL, *out = NULL;
    LK_TRY(LK_NEW_ARRAY(&to, k * n));
    LK_TRY(LK_NEW_ARRAY(&from, n * k));
    LK_TRY(LK_NEW_ARRAY(&offset, k));
    LK_TRY(LK_NEW_ARRAY(&out, 2 * k));
    for (int i = 0; i < k; i++) {
        const float size = sqrtf(variance[i]);
        for (int64_t j = 0; j < n; j++) {
            to[i * n + j] = basis[i * n + j] / size;
            from[j * k + i] = basis[i * n + j] * size;
            offset[i] -= to[i * n + j] * mean[j];
        }
    }
    share_out(variance, k, log(2) * c->bits_per_pixel * pixels, out + k);
    LK_TRY(write(v, "encoder.linear.weight", to));
    LK_TRY(write(v, "encoder.linear.bias", offset));
    LK_TRY(write(v, "encoder.out.bias", out));
    LK_TRY(write(v, "decoder.linear.weight", from));
    LK_TRY(write(v, "decoder.linear.bias", mean));
done:
    lk_free(to);
    lk_free(from);
    lk_free(offset);
    lk_free(out);
    return st;
}

lk_status lk_vae_fit(lk_vae *v, const lk_vae_train_config *c)
{
    lk_status st = LK_OK;
    const int64_t n = lk_vae_patch_numbers(&v->shape);
    const int k = v->shape.channels;
    source s = {0};
    lk_pca *pca = NULL;
    float *mean = NULL, *basis = NULL, *variance = NULL;
    LK_TRY(LK_NEW_ARRAY(&mean, n));
    LK_TRY(LK_NEW_ARRAY(&basis, k * n));
    LK_TRY(LK_NEW_ARRAY(&variance, k));
    LK_TRY(open_source(&s, v, c));
    LK_TRY(lk_pca_new(&pca, n));
    LK_TRY(collect(&s, c, n, pca));
    LK_TRY(lk_pca_solve(pca, k, mean, basis, variance));
    for (int i = 0; i < k; i++) /* clips that hold less than there are components */
        variance[i] = fmaxf(variance[i], 1e-8f + 1e-6f * variance[0]);
    LK_TRY(write_linear(v, c, n, mean, basis, variance));
done:
    close_source(&s);
    lk_pca_free(&pca);
    lk_free(mean);
    lk_free(basis);
    lk_free(variance);
    return st;
}
