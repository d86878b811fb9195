/* batch.c - noisy clips, and where they stand, into the graph of a loss.
 *
 * x_t and e - x of flow.c for every token that is there and not held; x for those that are held.
 *
 * Most of a picture stands still.  With motion m > 0, position p of the picture counts in the mean
 * of its clip as
 *
 *     w_p = 1 - m + m s_p / mean(s)      s_p^2 = mean over channels of the variance over the clip
 *
 * so what moves is not lost among what does not.  All times of a position weigh the same: weights
 * that followed the moving thing itself would shift where the model expects it.
 */
#include "av/joint/joint_impl.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

#include <math.h>
#include <string.h>

#define NOISE UINT64_C(0x6a6f696e74000010)

static lk_status make_room(lk_joint_batch *b)
{
    lk_status st = LK_OK;
    const lk_joint_sizes *z = &b->sizes;
    LK_TRY(LK_NEW_ARRAY(&b->clips, z->batch));
    LK_TRY(LK_NEW_ARRAY(&b->no_text, z->batch));
    LK_TRY(LK_NEW_ARRAY(&b->no_script, z->batch));
    LK_TRY(LK_NEW_ARRAY(&b->no_exchange, z->batch));
    LK_TRY(LK_NEW_ARRAY(&b->no_places, z->batch));
    for (int s = 0; s < 2; s++) {
        const int64_t tokens = z->batch * lk_joint_tokens(z, s), k = lk_joint_channels(b->m, s);
        LK_TRY(LK_NEW_ARRAY(&b->held[s], z->batch * (int64_t)(s ? z->sounds : z->latents)));
        LK_TRY(LK_NEW_ARRAY(&b->mean[s], k));
        LK_TRY(LK_NEW_ARRAY(&b->deviation[s], k));
        LK_TRY(LK_NEW_ARRAY(&b->x[s], tokens * k));
        LK_TRY(LK_NEW_ARRAY(&b->target[s], tokens * k));
        LK_TRY(LK_NEW_ARRAY(&b->share[s], tokens));
        LK_TRY(LK_NEW_ARRAY(&b->level[s], z->batch));
        LK_TRY(LK_NEW_ARRAY(&b->weight[s], z->batch * (s ? 1 : (int64_t)z->rows * z->columns)));
        LK_TRY(lk_joint_get_scale(b->m, (lk_joint_stream)s, b->mean[s], b->deviation[s]));
    }
    LK_TRY(lk_joint_placer_new(&b->placer, b->m, z));
done:
    return st;
}

lk_status lk_joint_batch_open(lk_joint_batch *b, const lk_joint *m, const lk_joint_sizes *sizes,
                              const char *compute, int train, double change, uint64_t seed)
{
    lk_status st = LK_OK;
    memset(b, 0, sizeof *b);
    b->m = m;
    b->sizes = *sizes;
    LK_TRY(lk_joint_check_sizes(m, sizes));
    LK_TRY(make_room(b));
    LK_TRY(lk_graph_new(
        &b->graph, &(lk_graph_config){.backend = lk_params_backend(m->params),
                                      .params = m->params,
                                      .compute = strcmp(compute, "bf16") == 0 ? LK_BF16 : LK_F32,
                                      .seed = seed,
                                      .train = train,
                                      .accumulate = 1}));
    lk_joint_loss_graph(b->graph, m, sizes, change, &b->loss);
    if (train)
        lk_backward(b->graph, b->loss.loss);
    LK_TRY(lk_graph_compile(b->graph));
done:
    return st;
}

void lk_joint_batch_clear(lk_joint_batch *b)
{
    lk_graph_free(&b->graph);
    lk_joint_placer_free(&b->placer);
    lk_free(b->clips);
    lk_free(b->no_text);
    lk_free(b->no_script);
    lk_free(b->no_exchange);
    lk_free(b->no_places);
    for (int s = 0; s < 2; s++) {
        lk_free(b->held[s]);
        lk_free(b->mean[s]);
        lk_free(b->deviation[s]);
        lk_free(b->x[s]);
        lk_free(b->target[s]);
        lk_free(b->share[s]);
        lk_free(b->level[s]);
        lk_free(b->weight[s]);
    }
    memset(b, 0, sizeof *b);
}

uint8_t *lk_joint_batch_held(const lk_joint_batch *b, int i, int stream)
{
    return b->held[stream] + (int64_t)i * (stream ? b->sizes.sounds : b->sizes.latents);
}

/* w_p of x [n, each, channels]. */
static void weigh_positions(double motion, const float *x, int64_t n, int64_t each, int channels,
                            float *weight)
{
    double all = 0;
    for (int64_t p = 0; p < each; p++) {
        double variance = 0;
        for (int k = 0; k < channels; k++) {
            double sum = 0, squares = 0;
            for (int64_t t = 0; t < n; t++) {
                const double y = x[(t * each + p) * channels + k];
                sum += y;
                squares += y * y;
            }
            variance += fmax(0, squares / (double)n - sum / (double)n * (sum / (double)n));
        }
        weight[p] = (float)sqrt(variance / channels);
        all += weight[p] / (double)each;
    }
    for (int64_t p = 0; p < each; p++)
        weight[p] = (float)(all > 0 ? 1 - motion + motion * weight[p] / all : 1);
}

/* Tokens of stream s; a stream at level 0, or held whole, is held and says so. */
static void mix(lk_joint_batch *b, uint64_t seed, int64_t number, int i, int s, double level)
{
    const lk_joint_sizes *z = &b->sizes;
    const lk_joint_clip *c = &b->clips[i];
    const int channels = lk_joint_channels(b->m, s);
    const int64_t each = s ? 1 : (int64_t)z->rows * z->columns, n = lk_joint_tokens(z, s);
    const int64_t own = (s ? c->n_sounds : c->n_latents) * each;
    uint8_t *held = lk_joint_batch_held(b, i, s);
    float *x = b->x[s] + i * n * channels, *target = b->target[s] + i * n * channels;
    float *weight = b->weight[s] + i * each;
    int64_t moving = 0;
    const lk_joint_noise noise = {
        .seed = seed,
        .own = NOISE + (uint64_t)s,
        .common = NOISE + 2,
        .own_from = (uint64_t)(number * n * channels),
        .common_from = (uint64_t)(number * each * channels),
        .each = each,
        .channels = channels,
        .share = s ? 0 : b->m->config.common_noise,
    };
    memset(x, 0, (size_t)(n * channels) * sizeof *x);
    memset(target, 0, (size_t)(n * channels) * sizeof *x);
    lk_joint_normalise(b->mean[s], b->deviation[s], channels, own, s ? c->audio : c->video, x);
    if (s == 0 && b->motion > 0 && c->n_latents > 0)
        weigh_positions(b->motion, x, c->n_latents, each, channels, weight);
    else
        for (int64_t p = 0; p < each; p++)
            weight[p] = 1;
    for (int64_t t = 0; t < n; t++) {
        const int free = t < own && level > 0 && !held[t / each];
        b->share[s][i * n + t] = free ? weight[t % each] : 0;
        moving += free;
        if (t < own && level <= 0)
            held[t / each] = 1;
        if (free)
            lk_joint_draw_noise(&noise, t, target + t * channels);
        for (int64_t at = t * channels; free && at < (t + 1) * channels; at++) {
            target[at] -= x[at];
            x[at] += (float)level * target[at];
        }
    }
    b->level[s][i] = moving ? (float)level : 0;
}

void lk_joint_batch_mix(lk_joint_batch *b, int i, uint64_t seed, int64_t number,
                        const double level[2])
{
    for (int s = 0; s < 2; s++)
        if (lk_joint_tokens(&b->sizes, s))
            mix(b, seed, number, i, s, level[s]);
}

/* The weighted mean over a clip's tokens that are made, and over the clips of a batch: the same
 * however a batch is cut into processes.  How many clips have such tokens. */
static int share_out(float *share, int batch, int64_t n)
{
    int clips = 0;
    for (int b = 0; b < batch; b++, share += n) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += share[i];
        for (int64_t i = 0; i < n; i++)
            share[i] = share[i] > 0 ? share[i] / (float)(sum * batch) : 0;
        clips += sum > 0;
    }
    return clips;
}

lk_status lk_joint_batch_write(lk_joint_batch *b, uint64_t step)
{
    lk_status st = LK_OK;
    const lk_joint_without without = {b->no_text, b->no_script, b->no_exchange, b->no_places, 0};
    LK_TRY(lk_joint_place(b->placer, b->graph, &b->loss.in, b->clips, &without, step));
    for (int s = 0; s < 2; s++) {
        const int64_t n = lk_joint_tokens(&b->sizes, s);
        b->moving[s] = share_out(b->share[s], b->sizes.batch, n);
        if (n == 0)
            continue;
        LK_TRY(lk_graph_write(b->graph, b->loss.in.x[s], LK_F32, b->x[s]));
        LK_TRY(lk_graph_write(b->graph, b->loss.in.level[s], LK_F32, b->level[s]));
        LK_TRY(lk_graph_write(b->graph, b->loss.target[s], LK_F32, b->target[s]));
        LK_TRY(lk_graph_write(b->graph, b->loss.share[s], LK_F32, b->share[s]));
    }
done:
    return st;
}
