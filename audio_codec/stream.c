/* stream.c - encoders and decoders: blocks of latents, however the sound is cut.
 *
 * Each runs one graph of LK_CODEC_BLOCK latents, whose layers remember what they need of the past
 * (past.h), whenever a block is full.  Who pulls a latent of a block that is not full gets it from
 * a run over what there is of it, with zeros behind; the past stays, and the block is run again
 * later.  Nothing looks ahead and the graph is the same, so the bits are too: whole files go fast,
 * and a live stream waits for nothing.
 *
 * Latents and samples that are made wait in a queue.  A call first makes sure that it can succeed
 * (numbers are finite, the queue is long enough), so that a failure leaves the stream as it was.
 */
#include "audio_codec/codec_impl.h"

#include "kernels/mem.h"

#include <math.h>
#include <string.h>

static lk_status check_finite(const float *x, int64_t n, const char *what)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return LK_FAIL(LK_E_NUMERIC, "%s %lld is NaN or Inf", what, (long long)i);
    return LK_OK;
}

static lk_status check_mode(lk_codec_mode mode)
{
    if (mode != LK_CODEC_TOKENS && mode != LK_CODEC_CONTINUOUS && mode != LK_CODEC_BOTH)
        return LK_FAIL(LK_E_ARG, "a codec has no mode %d", (int)mode);
    return LK_OK;
}

static lk_codec_part gaussian_part(lk_codec_mode mode)
{
    return mode & LK_CODEC_TOKENS ? LK_CODEC_REST : LK_CODEC_ALONE;
}

static lk_status new_graph(const lk_codec *codec, lk_graph **g, lk_past **past)
{
    lk_status st = LK_OK;
    LK_TRY(lk_graph_new(g, &(lk_graph_config){.backend = lk_params_backend(codec->params),
                                              .params = codec->params}));
    LK_TRY(lk_past_new(past, *g));
done:
    return st;
}

/* ---- queue: items of a fixed number of elements, oldest first ---- */

typedef struct queue {
    char *at;
    size_t capacity; /* bytes */
    size_t item;     /* bytes of one */
    int64_t first, n;
} queue;

static char *queue_at(const queue *q, int64_t i)
{
    return q->at ? q->at + (size_t)(q->first + i) * q->item : NULL;
}

/* Room for more items behind those that wait. */
static lk_status queue_reserve(queue *q, int64_t more)
{
    if (q->first > 0 && q->at)
        memmove(q->at, queue_at(q, 0), (size_t)q->n * q->item);
    q->first = 0;
    return LK_GROW(&q->at, &q->capacity, (size_t)(q->n + more) * q->item);
}

static void queue_take(queue *q, int64_t n, void *out)
{
    if (out && n > 0 && q->item > 0)
        memcpy(out, queue_at(q, 0), (size_t)n * q->item);
    q->first += n;
    q->n -= n;
}

static void queue_clear(queue *q)
{
    q->first = q->n = 0;
}

/* ---- encoder ---- */

struct lk_codec_encoder {
    const lk_codec *codec;
    lk_codec_mode mode;
    lk_flick start;
    lk_graph *g;
    lk_past *past;
    lk_var sound, index[LK_CODEC_MOST_STAGES], mean, log_var;
    float *block;      /* [BLOCK period, channels] */
    int64_t n_block;   /* samples in it */
    int64_t made;      /* latents of the block that were put into the queue */
    int64_t n_samples; /* of the stream */
    int64_t n_pulled;
    int flushed;
    queue tokens, means, log_vars;
    int32_t row[LK_CODEC_BLOCK];
    float *numbers; /* [BLOCK, continuous] */
};

static lk_status record_encoder(lk_codec_encoder *e)
{
    const lk_codec_config *c = &e->codec->config;
    const int64_t n = (int64_t)LK_CODEC_BLOCK * lk_codec_period(c);
    lk_graph *g = e->g;
    lk_var residual, h;
    e->sound = lk_input(g, "sound", LK_F32, LK_SHAPE(1, n, c->channels));
    residual = h = lk_codec_encode(g, c, e->past, e->sound);
    if (e->mode & LK_CODEC_TOKENS) {
        lk_codec_stages s = {0};
        lk_codec_quantise(g, c, h, &s);
        for (int i = 0; i < c->stages; i++) {
            e->index[i] = s.index[i];
            if (e->mode & LK_CODEC_CONTINUOUS)
                residual = lk_sub(g, residual, s.out[i]);
        }
    }
    if (e->mode & LK_CODEC_CONTINUOUS) {
        lk_codec_moments(g, c, gaussian_part(e->mode), residual, &e->mean, &e->log_var);
        lk_output(g, "mean", e->mean);
        lk_output(g, "log_var", e->log_var);
    }
    return lk_graph_compile(g);
}

lk_status lk_codec_encoder_new(lk_codec_encoder **out, const lk_codec *codec, lk_codec_mode mode,
                               lk_flick start)
{
    lk_status st = LK_OK;
    const lk_codec_config *c = &codec->config;
    lk_codec_encoder *e = NULL;
    *out = NULL;
    LK_TRY(check_mode(mode));
    LK_TRY(LK_NEW(&e));
    e->codec = codec;
    e->mode = mode;
    LK_TRY(new_graph(codec, &e->g, &e->past));
    LK_TRY(record_encoder(e));
    LK_TRY(LK_NEW_ARRAY(&e->block, (int64_t)LK_CODEC_BLOCK * lk_codec_period(c) * c->channels));
    LK_TRY(LK_NEW_ARRAY(&e->numbers, LK_CODEC_BLOCK * c->continuous));
    e->tokens.item = mode & LK_CODEC_TOKENS ? sizeof(uint16_t) * (size_t)c->stages : 0;
    e->means.item = mode & LK_CODEC_CONTINUOUS ? sizeof(float) * (size_t)c->continuous : 0;
    e->log_vars.item = e->means.item;
    LK_TRY(lk_codec_encoder_reset(e, start));
    *out = e;
    e = NULL;
done:
    lk_codec_encoder_free(&e);
    return st;
}

void lk_codec_encoder_free(lk_codec_encoder **pe)
{
    lk_codec_encoder *e = *pe;
    if (!e)
        return;
    lk_past_free(&e->past);
    lk_graph_free(&e->g);
    lk_free(e->block);
    lk_free(e->numbers);
    lk_free(e->tokens.at);
    lk_free(e->means.at);
    lk_free(e->log_vars.at);
    lk_free(e);
    *pe = NULL;
}

lk_status lk_codec_encoder_reset(lk_codec_encoder *e, lk_flick start)
{
    e->start = start;
    e->n_block = e->made = e->n_samples = e->n_pulled = 0;
    e->flushed = 0;
    queue_clear(&e->tokens);
    queue_clear(&e->means);
    queue_clear(&e->log_vars);
    return lk_past_reset(e->past);
}

/* Latents the block has all samples of. */
static int64_t in_block(const lk_codec_encoder *e)
{
    const int64_t period = lk_codec_period(&e->codec->config);
    return e->flushed ? (e->n_block + period - 1) / period : e->n_block / period;
}

static lk_status read_numbers(lk_codec_encoder *e, lk_var v, queue *q, int64_t n)
{
    lk_status st = LK_OK;
    LK_TRY(lk_graph_read(e->g, v, LK_F32, e->numbers));
    memcpy(queue_at(q, q->n), (char *)e->numbers + (size_t)e->made * q->item,
           (size_t)(n - e->made) * q->item);
done:
    return st;
}

/* Run over the block; its latents made .. n - 1 go into the queue, where there is room. */
static lk_status encode_block(lk_codec_encoder *e, int64_t n)
{
    lk_status st = LK_OK;
    const lk_codec_config *c = &e->codec->config;
    const int64_t all = (int64_t)LK_CODEC_BLOCK * lk_codec_period(c);
    uint16_t *tokens = (uint16_t *)(void *)queue_at(&e->tokens, e->tokens.n);
    memset(e->block + e->n_block * c->channels, 0,
           (size_t)((all - e->n_block) * c->channels) * sizeof(float));
    LK_TRY(lk_graph_write(e->g, e->sound, LK_F32, e->block));
    LK_TRY(lk_graph_run(e->g, 0));
    for (int i = 0; e->tokens.item > 0 && i < c->stages; i++) {
        LK_TRY(lk_graph_read(e->g, e->index[i], LK_I32, e->row));
        for (int64_t t = e->made; t < n; t++)
            tokens[(t - e->made) * c->stages + i] = (uint16_t)e->row[t];
    }
    if (e->means.item > 0) {
        LK_TRY(read_numbers(e, e->mean, &e->means, n));
        LK_TRY(read_numbers(e, e->log_var, &e->log_vars, n));
    }
    e->tokens.n += n - e->made;
    e->means.n += n - e->made;
    e->log_vars.n += n - e->made;
    e->made = n;
done:
    return st;
}

static lk_status next_block(lk_codec_encoder *e)
{
    lk_status st = LK_OK;
    LK_TRY(encode_block(e, LK_CODEC_BLOCK));
    LK_TRY(lk_past_advance(e->past));
    e->n_block = e->made = 0;
done:
    return st;
}

static lk_status reserve_latents(lk_codec_encoder *e, int64_t more)
{
    lk_status st = LK_OK;
    LK_TRY(queue_reserve(&e->tokens, more));
    LK_TRY(queue_reserve(&e->means, more));
    LK_TRY(queue_reserve(&e->log_vars, more));
done:
    return st;
}

lk_status lk_codec_encoder_push(lk_codec_encoder *e, const float *samples, int64_t n)
{
    lk_status st = LK_OK;
    const int64_t all = (int64_t)LK_CODEC_BLOCK * lk_codec_period(&e->codec->config);
    const int64_t ch = e->codec->config.channels;
    LK_REQUIRE(!e->flushed, LK_E_ARG, "the stream was flushed; reset the encoder for a new one");
    LK_REQUIRE(n >= 0, LK_E_ARG, "cannot push %lld samples", (long long)n);
    LK_TRY(check_finite(samples, n * ch, "number"));
    LK_TRY(reserve_latents(e, (e->n_block + n) / all * LK_CODEC_BLOCK));
    while (n > 0) {
        const int64_t part = n < all - e->n_block ? n : all - e->n_block;
        memcpy(e->block + e->n_block * ch, samples, (size_t)(part * ch) * sizeof(float));
        samples += part * ch;
        n -= part;
        e->n_block += part;
        e->n_samples += part;
        if (e->n_block == all)
            LK_TRY(next_block(e));
    }
done:
    return st;
}

void lk_codec_encoder_flush(lk_codec_encoder *e)
{
    e->flushed = 1;
}

int64_t lk_codec_encoder_ready(const lk_codec_encoder *e)
{
    return e->tokens.n + in_block(e) - e->made;
}

lk_status lk_codec_encoder_pull(lk_codec_encoder *e, int64_t n, uint16_t *tokens, float *mean,
                                float *log_var, lk_span *spans)
{
    lk_status st = LK_OK;
    LK_REQUIRE(n >= 0 && n <= lk_codec_encoder_ready(e), LK_E_ARG,
               "%lld latents are ready, not %lld", (long long)lk_codec_encoder_ready(e),
               (long long)n);
    LK_REQUIRE(!tokens || (e->mode & LK_CODEC_TOKENS), LK_E_ARG, "this encoder makes no tokens");
    LK_REQUIRE((!mean && !log_var) || (e->mode & LK_CODEC_CONTINUOUS), LK_E_ARG,
               "this encoder makes no continuous latents");
    if (n > e->tokens.n) {
        LK_TRY(reserve_latents(e, LK_CODEC_BLOCK));
        LK_TRY(encode_block(e, in_block(e)));
    }
    queue_take(&e->tokens, n, tokens);
    queue_take(&e->means, n, mean);
    queue_take(&e->log_vars, n, log_var);
    for (int64_t i = 0; spans && i < n; i++)
        spans[i] = lk_codec_span(&e->codec->config, e->start, e->n_pulled + i, e->n_samples);
    e->n_pulled += n;
done:
    return st;
}

/* ---- decoder ---- */

struct lk_codec_decoder {
    const lk_codec *codec;
    lk_codec_mode mode;
    lk_graph *g;
    lk_past *past;
    lk_var tokens, latent, sound;
    int32_t *index;    /* [BLOCK, stages] */
    float *numbers;    /* [BLOCK, continuous] */
    int64_t n_block;   /* latents in the block */
    int64_t made;      /* of them, put into the queue */
    int64_t n_latents; /* pushed */
    int64_t n_pulled;  /* samples */
    int64_t end;       /* samples of the stream; -1: not known */
    float *block;      /* [BLOCK period, channels] */
    queue samples;
};

static lk_status record_decoder(lk_codec_decoder *d, int stages)
{
    const lk_codec_config *c = &d->codec->config;
    lk_graph *g = d->g;
    lk_var sum = LK_NONE;
    if (d->mode & LK_CODEC_TOKENS) {
        d->tokens = lk_input(g, "tokens", LK_I32, LK_SHAPE(1, LK_CODEC_BLOCK, c->stages));
        sum = lk_codec_from_tokens(g, c, d->tokens, stages);
    }
    if (d->mode & LK_CODEC_CONTINUOUS) {
        lk_var z;
        d->latent = lk_input(g, "latent", LK_F32, LK_SHAPE(1, LK_CODEC_BLOCK, c->continuous));
        z = lk_codec_from_latent(g, c, gaussian_part(d->mode), d->latent);
        sum = lk_is_none(sum) ? z : lk_add(g, sum, z);
    }
    d->sound = lk_codec_decode(g, c, d->past, sum);
    lk_output(g, "sound", d->sound);
    return lk_graph_compile(g);
}

lk_status lk_codec_decoder_new(lk_codec_decoder **out, const lk_codec *codec, lk_codec_mode mode,
                               int stages)
{
    lk_status st = LK_OK;
    const lk_codec_config *c = &codec->config;
    lk_codec_decoder *d = NULL;
    *out = NULL;
    LK_TRY(check_mode(mode));
    LK_REQUIRE(stages >= 0 && stages <= c->stages, LK_E_ARG,
               "this codec has 1 to %d stages, not %d", c->stages, stages);
    LK_TRY(LK_NEW(&d));
    d->codec = codec;
    d->mode = mode;
    LK_TRY(new_graph(codec, &d->g, &d->past));
    LK_TRY(record_decoder(d, stages > 0 ? stages : c->stages));
    LK_TRY(LK_NEW_ARRAY(&d->index, LK_CODEC_BLOCK * c->stages));
    LK_TRY(LK_NEW_ARRAY(&d->numbers, LK_CODEC_BLOCK * c->continuous));
    LK_TRY(LK_NEW_ARRAY(&d->block, (int64_t)LK_CODEC_BLOCK * lk_codec_period(c) * c->channels));
    d->samples.item = sizeof(float) * (size_t)c->channels;
    LK_TRY(lk_codec_decoder_reset(d));
    *out = d;
    d = NULL;
done:
    lk_codec_decoder_free(&d);
    return st;
}

void lk_codec_decoder_free(lk_codec_decoder **pd)
{
    lk_codec_decoder *d = *pd;
    if (!d)
        return;
    lk_past_free(&d->past);
    lk_graph_free(&d->g);
    lk_free(d->index);
    lk_free(d->numbers);
    lk_free(d->block);
    lk_free(d->samples.at);
    lk_free(d);
    *pd = NULL;
}

lk_status lk_codec_decoder_reset(lk_codec_decoder *d)
{
    d->n_block = d->made = d->n_latents = d->n_pulled = 0;
    d->end = -1;
    queue_clear(&d->samples);
    return lk_past_reset(d->past);
}

static lk_status check_tokens(const lk_codec_config *c, const uint16_t *tokens, int64_t n)
{
    for (int64_t i = 0; i < n * c->stages; i++)
        if (tokens[i] >= c->entries)
            return LK_FAIL(LK_E_ARG, "token %lld is %d; stages of this codec have %d codes",
                           (long long)i, (int)tokens[i], c->entries);
    return LK_OK;
}

/* Run over the block; samples of its latents made .. n_block - 1 go into the queue, where there is
 * room. */
static lk_status decode_block(lk_codec_decoder *d)
{
    lk_status st = LK_OK;
    const lk_codec_config *c = &d->codec->config;
    const int64_t period = lk_codec_period(c), empty = LK_CODEC_BLOCK - d->n_block;
    const int64_t from = d->made * period, n = d->n_block * period - from;
    memset(d->index + d->n_block * c->stages, 0, (size_t)(empty * c->stages) * sizeof(int32_t));
    memset(d->numbers + d->n_block * c->continuous, 0,
           (size_t)(empty * c->continuous) * sizeof(float));
    if (d->mode & LK_CODEC_TOKENS)
        LK_TRY(lk_graph_write(d->g, d->tokens, LK_I32, d->index));
    if (d->mode & LK_CODEC_CONTINUOUS)
        LK_TRY(lk_graph_write(d->g, d->latent, LK_F32, d->numbers));
    LK_TRY(lk_graph_run(d->g, 0));
    LK_TRY(lk_graph_read(d->g, d->sound, LK_F32, d->block));
    memcpy(queue_at(&d->samples, d->samples.n), d->block + from * c->channels,
           (size_t)n * d->samples.item);
    d->samples.n += n;
    d->made = d->n_block;
done:
    return st;
}

static lk_status take_one(lk_codec_decoder *d, const uint16_t *tokens, const float *latent)
{
    lk_status st = LK_OK;
    const lk_codec_config *c = &d->codec->config;
    for (int i = 0; tokens && i < c->stages; i++)
        d->index[d->n_block * c->stages + i] = tokens[i];
    if (latent)
        memcpy(d->numbers + d->n_block * c->continuous, latent,
               (size_t)c->continuous * sizeof(float));
    d->n_block++;
    d->n_latents++;
    if (d->n_block == LK_CODEC_BLOCK) {
        LK_TRY(decode_block(d));
        LK_TRY(lk_past_advance(d->past));
        d->n_block = d->made = 0;
    }
done:
    return st;
}

lk_status lk_codec_decoder_push(lk_codec_decoder *d, const uint16_t *tokens, const float *latent,
                                int64_t n)
{
    lk_status st = LK_OK;
    const lk_codec_config *c = &d->codec->config;
    const uint16_t *t = d->mode & LK_CODEC_TOKENS ? tokens : NULL;
    const float *z = d->mode & LK_CODEC_CONTINUOUS ? latent : NULL;
    LK_REQUIRE(d->end < 0, LK_E_ARG, "the stream was ended; reset the decoder for a new one");
    LK_REQUIRE(n >= 0, LK_E_ARG, "cannot push %lld latents", (long long)n);
    LK_REQUIRE(n == 0 || t || !(d->mode & LK_CODEC_TOKENS), LK_E_ARG, "this decoder needs tokens");
    LK_REQUIRE(n == 0 || z || !(d->mode & LK_CODEC_CONTINUOUS), LK_E_ARG,
               "this decoder needs continuous latents");
    if (t)
        LK_TRY(check_tokens(c, t, n));
    if (z)
        LK_TRY(check_finite(z, n * c->continuous, "number"));
    LK_TRY(queue_reserve(&d->samples, (d->n_block + n) * lk_codec_period(c)));
    for (int64_t i = 0; i < n; i++)
        LK_TRY(take_one(d, t ? t + i * c->stages : NULL, z ? z + i * c->continuous : NULL));
done:
    return st;
}

lk_status lk_codec_decoder_end(lk_codec_decoder *d, int64_t n_samples)
{
    lk_status st = LK_OK;
    const lk_codec_config *c = &d->codec->config;
    LK_REQUIRE(n_samples >= 0 && lk_codec_latents(c, n_samples) == d->n_latents, LK_E_ARG,
               "%lld samples are %lld latents, but %lld were pushed", (long long)n_samples,
               (long long)lk_codec_latents(c, n_samples < 0 ? 0 : n_samples),
               (long long)d->n_latents);
    LK_REQUIRE(d->n_pulled <= n_samples, LK_E_ARG,
               "samples beyond the end were pulled already; end the stream before pulling its "
               "last latent");
    d->end = n_samples;
done:
    return st;
}

int64_t lk_codec_decoder_ready(const lk_codec_decoder *d)
{
    const int64_t all = d->n_latents * lk_codec_period(&d->codec->config);
    return (d->end >= 0 ? d->end : all) - d->n_pulled;
}

lk_status lk_codec_decoder_pull(lk_codec_decoder *d, int64_t n, float *samples)
{
    lk_status st = LK_OK;
    LK_REQUIRE(n >= 0 && n <= lk_codec_decoder_ready(d), LK_E_ARG,
               "%lld samples are ready, not %lld", (long long)lk_codec_decoder_ready(d),
               (long long)n);
    if (n > d->samples.n) {
        LK_TRY(queue_reserve(&d->samples, d->n_block * lk_codec_period(&d->codec->config)));
        LK_TRY(decode_block(d));
    }
    queue_take(&d->samples, n, samples);
    d->n_pulled += n;
done:
    return st;
}
