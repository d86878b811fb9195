/* bench_tokenizers.c - see bench_tokenizers.h.
 *
 * Everything goes through the streams that `encode` and `decode` use.  "all at once" pushes
 * eight seconds of sound, which are whole blocks of latents, or a group of frames, at a time;
 * "live" asks for every latent as soon as it can be had and takes what comes back, so its time is
 * the delay that computing adds. */
#include "av/cli/bench_tokenizers.h"

#include "align/stats.h"
#include "audio_codec/codec.h"
#include "av/json.h"
#include "kernels/device.h"
#include "kernels/mem.h"
#include "kernels/rng.h"
#include "kernels/stop.h"
#include "kernels/thread.h"
#include "video_vae/vae.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define MOST_RUNS 51
#define AT_ONCE   (8 * LK_CODEC_LATENT_HZ)

typedef struct row {
    char name[64];
    const char *unit;      /* of rate */
    double encode, decode; /* seconds for each latent */
    double rate;           /* there and back: times real time, or frames a second */
    double live;           /* seconds from a latent's last frame or sample to its copy */
    double mib;            /* both streams hold; 0: not known */
} row;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static lk_status print_row(const lk_tokenizer_bench *b, const row *r)
{
    lk_status st = LK_OK;
    json_t *o = NULL;
    if (!b->json) {
        printf("%-30s %9.3f %9.3f %9.1f %-16s %9.2f %8.1f\n", r->name, 1e3 * r->encode,
               1e3 * r->decode, r->rate, r->unit, 1e3 * r->live, r->mib);
        fflush(stdout);
        goto done;
    }
    o = json_object();
    LK_TRY(lk_json_set(o, "name", json_string(r->name)));
    LK_TRY(lk_json_set(o, "device", lk_json_text(lk_backend_device(b->backend))));
    LK_TRY(lk_json_set(o, "threads", json_integer(lk_threads())));
    LK_TRY(lk_json_set(o, "encode_ms_per_latent", lk_json_real(1e3 * r->encode)));
    LK_TRY(lk_json_set(o, "decode_ms_per_latent", lk_json_real(1e3 * r->decode)));
    LK_TRY(lk_json_set(o, "rate", lk_json_real(r->rate)));
    LK_TRY(lk_json_set(o, "unit", json_string(r->unit)));
    LK_TRY(lk_json_set(o, "live_ms", lk_json_real(1e3 * r->live)));
    LK_TRY(lk_json_set(o, "mib", r->mib > 0 ? lk_json_real(r->mib) : json_null()));
    json_t *const line = o;
    o = NULL;
    LK_TRY(lk_json_print_line(line));
done:
    json_decref(o);
    return st;
}

static int wanted(const lk_tokenizer_bench *b, const char *name)
{
    return !b->filter || strstr(name, b->filter);
}

/* ---- sound ---- */

typedef struct sound {
    lk_codec_encoder *encoder;
    lk_codec_decoder *decoder;
    float *samples, *mean;
    uint16_t *tokens;
    int64_t period, channels, latents;
} sound;

/* `n` latents at a time from sound to sound; seconds spent on either side. */
static lk_status pass_sound(sound *s, int64_t n, double *encode, double *decode)
{
    lk_status st = LK_OK;
    *encode = *decode = 0;
    LK_TRY(lk_codec_encoder_reset(s->encoder, 0));
    LK_TRY(lk_codec_decoder_reset(s->decoder));
    for (int64_t k = 0; k + n <= s->latents; k += n) {
        const double t0 = now_s();
        LK_TRY(lk_codec_encoder_push(s->encoder, s->samples + k * s->period * s->channels,
                                     n * s->period));
        LK_TRY(lk_codec_encoder_pull(s->encoder, n, s->tokens, s->mean, NULL, NULL));
        const double t1 = now_s();
        LK_TRY(lk_codec_decoder_push(s->decoder, s->tokens, s->mean, n));
        LK_TRY(lk_codec_decoder_pull(s->decoder, n * s->period, s->samples));
        *encode += t1 - t0;
        *decode += now_s() - t1;
    }
done:
    return st;
}

static lk_status bench_codec(const lk_tokenizer_bench *b, const lk_codec *codec, const char *name)
{
    lk_status st = LK_OK;
    const lk_codec_config *c = lk_codec_get_config(codec);
    sound s = {.period = lk_codec_period(c),
               .channels = c->channels,
               .latents = (int64_t)b->seconds * LK_CODEC_LATENT_HZ};
    double encode[MOST_RUNS], decode[MOST_RUNS], live[MOST_RUNS], other;
    row r = {.unit = "x real time"};
    const int64_t n = s.latents * s.period * s.channels;
    const int64_t at_once = s.latents < AT_ONCE ? s.latents : AT_ONCE;
    const int64_t timed = s.latents - s.latents % at_once;
    snprintf(r.name, sizeof r.name, "%s", name);
    LK_TRY(lk_codec_encoder_new(&s.encoder, codec, LK_CODEC_BOTH, 0));
    LK_TRY(lk_codec_decoder_new(&s.decoder, codec, LK_CODEC_BOTH, 0));
    LK_TRY(LK_NEW_ARRAY(&s.samples, n));
    LK_TRY(LK_NEW_ARRAY(&s.mean, s.latents * c->continuous));
    LK_TRY(LK_NEW_ARRAY(&s.tokens, s.latents * c->stages));
    for (int i = 0; i < b->runs; i++) {
        for (int64_t k = 0; k < n; k++)
            s.samples[k] = 0.1f * lk_rng_normal(1, 0, (uint64_t)k);
        LK_REQUIRE(!*lk_stop_flag(), LK_E_INTERRUPTED, "interrupted");
        LK_TRY(pass_sound(&s, at_once, &encode[i], &decode[i]));
        LK_TRY(pass_sound(&s, 1, &live[i], &other));
        live[i] = (live[i] + other) / (double)s.latents;
    }
    r.encode = lk_median(encode, b->runs) / (double)timed;
    r.decode = lk_median(decode, b->runs) / (double)timed;
    r.live = lk_median(live, b->runs);
    r.rate = 1.0 / LK_CODEC_LATENT_HZ / (r.encode + r.decode);
    LK_TRY(print_row(b, &r));
done:
    lk_codec_encoder_free(&s.encoder);
    lk_codec_decoder_free(&s.decoder);
    lk_free(s.samples);
    lk_free(s.mean);
    lk_free(s.tokens);
    return st;
}

static lk_status bench_codecs(const lk_tokenizer_bench *b)
{
    lk_status st = LK_OK;
    static const int rates[] = {16000, 24000, 48000};
    lk_codec *codec = NULL;
    char name[64];
    if (b->codec) {
        LK_TRY(lk_codec_load(&codec, b->codec, b->backend));
        LK_TRY(bench_codec(b, codec, b->codec));
        goto done;
    }
    for (int i = 0; i < 3; i++) {
        lk_codec_config c;
        lk_option_defaults(lk_codec_options, &c);
        c.rate_hz = rates[i];
        snprintf(name, sizeof name, "codec %d Hz", rates[i]);
        if (!wanted(b, name))
            continue;
        lk_codec_free(&codec);
        LK_TRY(lk_codec_new(&codec, &c, b->backend));
        LK_TRY(bench_codec(b, codec, name));
    }
done:
    lk_codec_free(&codec);
    return st;
}

/* ---- pictures ---- */

typedef struct pictures {
    lk_vae_encoder *encoder;
    lk_vae_decoder *decoder;
    float *latent;
    uint8_t *rgb;
    int time;
    int64_t frames, numbers;
} pictures;

/* Group after group; latency of a group is from its last frame to all its copies. */
static lk_status pass_pictures(pictures *p, double *encode, double *decode)
{
    lk_status st = LK_OK;
    *encode = *decode = 0;
    LK_TRY(lk_vae_encoder_reset(p->encoder));
    LK_TRY(lk_vae_decoder_reset(p->decoder));
    for (int64_t k = 0; k < p->frames; k++) {
        const lk_flick one = LK_FLICKS_PER_S / 25;
        lk_vae_stamp stamp;
        int got = 0;
        double t = now_s();
        LK_TRY(lk_vae_encoder_push_u8(p->encoder, p->rgb + k % 8 * p->numbers,
                                      (lk_span){k * one, (k + 1) * one}));
        LK_TRY(lk_vae_encoder_pull(p->encoder, p->latent, NULL, &stamp, &got));
        *encode += now_s() - t;
        if (!got)
            continue;
        t = now_s();
        LK_TRY(lk_vae_decoder_push(p->decoder, p->latent, &stamp));
        for (got = 1; got;) {
            lk_span span;
            LK_TRY(lk_vae_decoder_pull_u8(p->decoder, p->rgb + 8 * p->numbers, &span, &got));
        }
        *decode += now_s() - t;
    }
done:
    return st;
}

static lk_status bench_vae(const lk_tokenizer_bench *b, lk_vae *v, const char *name, lk_dtype dtype)
{
    lk_status st = LK_OK;
    const lk_vae_stream_config config = {.height = b->height, .width = b->width, .compute = dtype};
    const int time = lk_vae_get_shape(v).time;
    const int64_t latents = 1 + (int64_t)b->seconds * 5 / (2 * time);
    pictures p = {.frames = 1 + (latents - 1) * time, .numbers = (int64_t)b->height * b->width * 3};
    double encode[MOST_RUNS], decode[MOST_RUNS];
    row r = {.unit = "frames a second"};
    snprintf(r.name, sizeof r.name, "%s %dx%d %s", name, b->width, b->height, lk_dtype_name(dtype));
    LK_TRY(lk_vae_encoder_new(&p.encoder, v, &config));
    LK_TRY(lk_vae_decoder_new(&p.decoder, v, &config));
    const lk_vae_stream_size a = lk_vae_encoder_size(p.encoder), d = lk_vae_decoder_size(p.decoder);
    LK_TRY(LK_NEW_ARRAY(&p.latent, (int64_t)a.rows * a.columns * lk_vae_get_shape(v).channels));
    LK_TRY(LK_NEW_ARRAY(&p.rgb, 9 * p.numbers));
    for (int64_t k = 0; k < 8 * p.numbers; k++)
        p.rgb[k] = (uint8_t)(255 * lk_rng_uniform(2, 0, (uint64_t)k));
    for (int i = 0; i < b->runs; i++) {
        LK_REQUIRE(!*lk_stop_flag(), LK_E_INTERRUPTED, "interrupted");
        LK_TRY(pass_pictures(&p, &encode[i], &decode[i]));
    }
    r.encode = lk_median(encode, b->runs) / (double)latents;
    r.decode = lk_median(decode, b->runs) / (double)latents;
    r.live = r.encode + r.decode;
    r.rate = (double)p.frames / (double)latents / (r.encode + r.decode);
    r.mib = (double)(a.bytes + d.bytes) / (1 << 20);
    LK_TRY(print_row(b, &r));
done:
    lk_vae_encoder_free(&p.encoder);
    lk_vae_decoder_free(&p.decoder);
    lk_free(p.latent);
    lk_free(p.rgb);
    return st;
}

static lk_status bench_vaes(const lk_tokenizer_bench *b)
{
    lk_status st = LK_OK;
    static const char *const variants[] = {"t4s8c16", "t4s8c32", "t4s16c48", "t1s8c16", "t1s16c48"};
    static const lk_dtype dtypes[] = {LK_F32, LK_BF16};
    lk_vae *v = NULL;
    for (int i = 0; i < (b->vae ? 1 : (int)(sizeof variants / sizeof *variants)); i++) {
        lk_vae_config c;
        lk_option_defaults(lk_vae_options, &c);
        c.variant = variants[i];
        if (!b->vae && !wanted(b, variants[i]))
            continue;
        lk_vae_free(&v);
        LK_TRY(b->vae ? lk_vae_load(&v, b->vae, b->backend) : lk_vae_new(&v, &c, b->backend));
        for (int k = 0; k < 2; k++)
            LK_TRY(bench_vae(b, v, b->vae ? b->vae : variants[i], dtypes[k]));
    }
done:
    lk_vae_free(&v);
    return st;
}

lk_status lk_bench_tokenizers(const lk_tokenizer_bench *b)
{
    lk_status st = LK_OK;
    LK_REQUIRE(b->runs >= 1 && b->runs <= MOST_RUNS && b->seconds >= 1, LK_E_ARG,
               "1 to %d runs of at least a second", MOST_RUNS);
    if (!b->json)
        printf("%s, %d threads\n%-30s %9s %9s %9s %-16s %9s %8s\n", lk_backend_device(b->backend),
               lk_threads(), "", "encode ms", "decode ms", "both", "", "live ms", "MiB");
    if (b->codec || !b->vae)
        LK_TRY(bench_codecs(b));
    if (b->vae || !b->codec)
        LK_TRY(bench_vaes(b));
done:
    return st;
}
