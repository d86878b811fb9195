/* decode.c - see tokenize.h: latents to media, and what both directions share. */
#include "av/tokenize.h"

#include "av/latents.h"
#include "av/media.h"
#include "av/sound_in.h"
#include "av/tokenize_impl.h"
#include "kernels/hash.h"
#include "kernels/mem.h"
#include "video_vae/vae.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- shared ---------------------------------------------------------------------------------- */

void lk_stamp_to_times(const lk_vae_stamp *s, int64_t t[LK_LATENTS_TIMES])
{
    memset(t, 0, LK_LATENTS_TIMES * sizeof *t);
    t[0] = s->span.start;
    t[1] = s->span.end;
    t[2] = s->n_frames;
    t[3] = s->skip;
    for (int i = 0; i < s->n_frames; i++) {
        t[4 + 2 * i] = s->frame[i].start;
        t[5 + 2 * i] = s->frame[i].end;
    }
}

int lk_stamp_from_times(const int64_t t[LK_LATENTS_TIMES], lk_vae_stamp *s)
{
    memset(s, 0, sizeof *s);
    if (t[2] < 1 || t[2] > LK_VAE_MOST_TIME || t[3] < 0 || t[3] >= LK_VAE_MOST_TIME)
        return 0;
    s->span = (lk_span){t[0], t[1]};
    s->n_frames = (int)t[2];
    s->skip = (int)t[3];
    for (int i = 0; i < s->n_frames; i++)
        s->frame[i] = (lk_span){t[4 + 2 * i], t[5 + 2 * i]};
    return 1;
}

lk_status lk_file_checksum(const char *path, uint64_t *checksum)
{
    lk_status st = LK_OK;
    lk_hash64 h;
    char piece[1 << 14];
    size_t n;
    FILE *f = fopen(path, "rb");
    LK_REQUIRE(f, LK_E_IO, "cannot read '%s': %s", path, strerror(errno));
    lk_hash64_start(&h);
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        lk_hash64_add(&h, piece, n);
    LK_REQUIRE(!ferror(f), LK_E_IO, "cannot read '%s'", path);
    *checksum = lk_hash64_value(&h);
done:
    if (f)
        fclose(f);
    return st;
}

/* Do all frames lie on multiples of 1 / rate, counted from the first?  *every: on each of them. */
static int lies_on(lk_rational rate, int64_t n, const lk_span *spans, int *every)
{
    int64_t last = -1;
    *every = 1;
    for (int64_t i = 0; i < n; i++) {
        const lk_flick t = spans[i].start - spans[0].start;
        int64_t k = 0;
        lk_flick at = 0;
        if (lk_ticks_from_flick(t, rate, &k) != LK_OK || lk_flick_from_ticks(k, rate, &at) != LK_OK)
            return 0;
        const lk_flick off = t > at ? t - at : at - t;
        if (2 * off > LK_FLICKS_PER_MS + LK_FLICKS_PER_MS / 10 || k <= last)
            return 0;
        *every &= k == last + 1;
        last = k;
    }
    return 1;
}

/* One frame every `length`. */
static lk_rational rate_of(lk_flick length)
{
    int64_t a = LK_FLICKS_PER_S, b = length;
    while (b > 0) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return (lk_rational){LK_FLICKS_PER_S / a, length / a};
}

lk_rational lk_rate_of_frames(int64_t n, const lk_span *spans, int *vfr)
{
    static const lk_rational rates[] = {{24000, 1001}, {24, 1},        {25, 1}, {30000, 1001},
                                        {30, 1},       {48, 1},        {50, 1}, {60000, 1001},
                                        {60, 1},       {120000, 1001}, {120, 1}};
    static const lk_rational grids[] = {{600, 1}, {1000, 1}};
    int every;
    *vfr = 0;
    if (n == 1) { /* as long as it is shown */
        const lk_flick length = spans[0].end - spans[0].start;
        return rate_of(length > 0 ? length : LK_FLICKS_PER_S / 25);
    }
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        if (lies_on(rates[i], n, spans, &every) && every)
            return rates[i];
    }
    /* any other constant rate, such as 12.5 */
    const lk_flick length = spans[1].start - spans[0].start;
    if (length > 0 && lies_on(rate_of(length), n, spans, &every) && every)
        return rate_of(length);
    *vfr = 1;
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        if (lies_on(rates[i], n, spans, &every))
            return rates[i];
    }
    return lies_on(grids[0], n, spans, &every) ? grids[0] : grids[1];
}

/* ---- decoding -------------------------------------------------------------------------------- */

typedef struct decoder {
    const lk_tokenize_options *o;
    const char *in;
    lk_latents *latents;
    lk_latents_video video_facts;
    lk_latents_audio audio_facts;
    lk_vae *vae;
    lk_codec *codec;
    lk_vae_decoder *video;
    lk_codec_decoder *audio;
    lk_writer *writer;
    lk_media *pictures_of, *sound_of; /* what is written as it is */
    lk_picture_fitter *fitter;
    lk_sound_in *sound_in;
    lk_tokenize_counts count;
    float *latent, *numbers, *samples, *planes;
    size_t plane_room;
    uint16_t *tokens;
    uint8_t *rgb;
} decoder;

static lk_status same_tokenizer(const char *path, uint64_t wanted, const char *in, const char *what)
{
    lk_status st = LK_OK;
    uint64_t have = 0;
    LK_TRY(lk_file_checksum(path, &have));
    LK_REQUIRE(have == wanted, LK_E_ARG, "the %s of '%s' was not made by '%s'", what, in, path);
done:
    return st;
}

static lk_status start_video(decoder *d)
{
    lk_status st = LK_OK;
    const lk_latents_video *v = &d->video_facts;
    LK_TRY(same_tokenizer(d->o->vae, v->tokenizer, d->in, "picture"));
    LK_TRY(lk_vae_load(&d->vae, d->o->vae, d->o->backend));
    LK_TRY(lk_vae_decoder_new(
        &d->video, d->vae,
        &(lk_vae_stream_config){.height = v->height, .width = v->width, .compute = d->o->compute}));
    const lk_vae_stream_size size = lk_vae_decoder_size(d->video);
    LK_REQUIRE(size.rows == v->rows && size.columns == v->columns &&
                   lk_vae_get_shape(d->vae).channels == v->channels,
               LK_E_FORMAT, "'%s': latents of %dx%dx%d do not make pictures of %dx%d", d->in,
               v->rows, v->columns, v->channels, v->width, v->height);
    LK_TRY(LK_NEW_ARRAY(&d->latent, (size_t)v->rows * (size_t)v->columns * (size_t)v->channels));
    LK_TRY(LK_NEW_ARRAY(&d->rgb, (size_t)v->width * (size_t)v->height * 3));
    if (d->o->pictures_of)
        LK_TRY(lk_media_open(&d->pictures_of, d->o->pictures_of,
                             &(lk_media_options){.no_audio = true, .want_rgb = true}));
done:
    return st;
}

static lk_status start_audio(decoder *d)
{
    lk_status st = LK_OK;
    const lk_latents_audio *a = &d->audio_facts;
    LK_TRY(same_tokenizer(d->o->codec, a->tokenizer, d->in, "sound"));
    LK_TRY(lk_codec_load(&d->codec, d->o->codec, d->o->backend));
    const lk_codec_config *c = lk_codec_get_config(d->codec);
    LK_REQUIRE(c->rate_hz == a->rate_hz && c->channels == a->channels &&
                   (a->stages == 0 || a->stages == c->stages) &&
                   (a->continuous == 0 || a->continuous == c->continuous) &&
                   lk_codec_latents(c, a->n_samples) == lk_latents_n_audio(d->latents),
               LK_E_FORMAT, "'%s': the sound's latents are not those of '%s'", d->in, d->o->codec);
    LK_TRY(lk_codec_decoder_new(&d->audio, d->codec, (lk_codec_mode)a->mode,
                                a->stages ? d->o->stages : 0));
    const size_t period = (size_t)lk_codec_period(c);
    LK_TRY(LK_NEW_ARRAY(&d->tokens, LK_CODEC_BLOCK * a->stages + 1));
    LK_TRY(LK_NEW_ARRAY(&d->numbers, LK_CODEC_BLOCK * a->continuous + 1));
    LK_TRY(LK_NEW_ARRAY(&d->samples, LK_CODEC_BLOCK * period * (size_t)c->channels));
    if (d->o->sound_of) {
        LK_TRY(lk_media_open(&d->sound_of, d->o->sound_of, &(lk_media_options){.no_video = true}));
        LK_TRY(lk_sound_in_new(&d->sound_in, c->rate_hz, c->channels));
    }
done:
    return st;
}

static lk_status read_times(const decoder *d, lk_span **spans, int64_t *n)
{
    lk_status st = LK_OK;
    const int64_t all = lk_latents_n_video(d->latents);
    LK_TRY(LK_NEW_ARRAY(spans, all * LK_VAE_MOST_TIME + 1));
    for (int64_t i = 0; i < all; i++) {
        int64_t times[LK_LATENTS_TIMES];
        lk_vae_stamp stamp;
        LK_TRY(lk_latents_read_video(d->latents, i, d->latent, times));
        LK_REQUIRE(lk_stamp_from_times(times, &stamp), LK_E_FORMAT,
                   "'%s': latent %lld has no times", d->in, (long long)i);
        for (int k = 0; k < stamp.n_frames; k++)
            (*spans)[(*n)++] = stamp.frame[k];
    }
done:
    return st;
}

static lk_status open_writer(decoder *d, const char *out)
{
    lk_status st = LK_OK;
    lk_span *spans = NULL;
    int64_t n = 0;
    int vfr = 0;
    lk_writer_options w = {.vcodec = d->video ? d->o->vcodec : "none",
                           .acodec = d->audio ? d->o->acodec : "none"};
    if (d->video) {
        LK_TRY(read_times(d, &spans, &n));
        w.rate = lk_rate_of_frames(n, spans, &vfr);
        w.vfr = vfr;
        w.width = d->video_facts.width;
        w.height = d->video_facts.height;
    }
    if (d->audio) {
        w.rate_hz = d->audio_facts.rate_hz;
        w.n_channels = d->audio_facts.channels;
    }
    LK_TRY(lk_writer_open(&d->writer, out, &w));
done:
    lk_free(spans);
    return st;
}

static lk_status write_frame(decoder *d, lk_span span)
{
    const lk_frame_view view = {.span = span,
                                .index = d->count.n_frames++,
                                .width = d->video_facts.width,
                                .height = d->video_facts.height,
                                .sar = {1, 1},
                                .rgb = d->rgb,
                                .rgb_stride = (ptrdiff_t)d->video_facts.width * 3};
    return lk_writer_frame(d->writer, &view);
}

static lk_status pull_frames(decoder *d)
{
    lk_status st = LK_OK;
    for (int got = 1; got;) {
        lk_span span;
        LK_TRY(lk_vae_decoder_pull_u8(d->video, d->rgb, &span, &got));
        if (got)
            LK_TRY(write_frame(d, span));
    }
done:
    return st;
}

static lk_status copy_frames(decoder *d, const lk_vae_stamp *stamp)
{
    lk_status st = LK_OK;
    for (int i = 0; i < stamp->n_frames; i++) {
        lk_media_item item;
        LK_TRY(lk_media_next(d->pictures_of, &item));
        LK_REQUIRE(item.kind == LK_MEDIA_FRAME, LK_E_FORMAT, "'%s' has fewer pictures than '%s'",
                   d->o->pictures_of, d->in);
        LK_TRY(lk_picture_fit(&d->fitter, &item.frame, d->video_facts.width, d->video_facts.height,
                              d->rgb));
        LK_TRY(write_frame(d, stamp->frame[i]));
    }
done:
    return st;
}

static lk_status decode_picture(decoder *d, lk_flick *reached)
{
    lk_status st = LK_OK;
    int64_t times[LK_LATENTS_TIMES];
    lk_vae_stamp stamp;
    LK_TRY(lk_latents_read_video(d->latents, d->count.n_video_latents, d->latent, times));
    LK_REQUIRE(lk_stamp_from_times(times, &stamp), LK_E_FORMAT, "'%s': a latent has no times",
               d->in);
    if (d->pictures_of) {
        LK_TRY(copy_frames(d, &stamp));
    } else {
        LK_TRY(lk_vae_decoder_push(d->video, d->latent, &stamp));
        LK_TRY(pull_frames(d));
    }
    d->count.n_video_latents++;
    *reached = stamp.span.end;
done:
    return st;
}

/* n samples, interleaved; the writer wants planes. */
static lk_status write_samples(decoder *d, const float *samples, int64_t n)
{
    lk_status st = LK_OK;
    const lk_latents_audio *a = &d->audio_facts;
    if (n == 0)
        goto done;
    LK_TRY(LK_GROW(&d->planes, &d->plane_room, (size_t)(n * a->channels)));
    for (int64_t i = 0; i < n; i++) {
        for (int k = 0; k < a->channels; k++)
            d->planes[k * n + i] = samples[i * a->channels + k];
    }
    const float *channel[2] = {d->planes, d->planes + n};
    const lk_pcm_view view = {
        .span = {a->start + lk_flick_from_samples(d->count.n_samples, a->rate_hz),
                 a->start + lk_flick_from_samples(d->count.n_samples + n, a->rate_hz)},
        .n_samples = n,
        .n_channels = a->channels,
        .rate_hz = a->rate_hz,
        .channel = channel};
    LK_TRY(lk_writer_pcm(d->writer, &view));
    d->count.n_samples += n;
done:
    return st;
}

static lk_status pull_samples(decoder *d)
{
    lk_status st = LK_OK;
    const int64_t n = lk_codec_decoder_ready(d->audio);
    if (n > 0)
        LK_TRY(lk_codec_decoder_pull(d->audio, n, d->samples));
    LK_TRY(write_samples(d, d->samples, n));
done:
    return st;
}

/* Up to the end of the latents so far; a file has a little more at hand than was asked for. */
static lk_status copy_samples(decoder *d)
{
    lk_status st = LK_OK;
    const int64_t most = d->audio_facts.n_samples;
    const int64_t due = d->count.n_audio_latents * lk_codec_period(lk_codec_get_config(d->codec));
    while (d->count.n_samples < (due < most ? due : most)) {
        lk_media_item item;
        const float *samples = NULL;
        int64_t n = 0;
        LK_TRY(lk_media_next(d->sound_of, &item));
        if (item.kind == LK_MEDIA_PCM)
            LK_TRY(lk_sound_in_push(d->sound_in, &item.pcm, &samples, &n));
        else
            LK_TRY(lk_sound_in_flush(d->sound_in, &samples, &n));
        LK_TRY(write_samples(d, samples,
                             n < most - d->count.n_samples ? n : most - d->count.n_samples));
        LK_REQUIRE(item.kind == LK_MEDIA_PCM || d->count.n_samples == most, LK_E_FORMAT,
                   "'%s' has less sound than '%s'", d->o->sound_of, d->in);
    }
done:
    return st;
}

static lk_status decode_sound(decoder *d, lk_flick *reached)
{
    lk_status st = LK_OK;
    const lk_latents_audio *a = &d->audio_facts;
    const int64_t i = d->count.n_audio_latents, left = lk_latents_n_audio(d->latents) - i;
    const int64_t n = left < LK_CODEC_BLOCK ? left : LK_CODEC_BLOCK;
    d->count.n_audio_latents += n;
    if (d->sound_of) {
        LK_TRY(copy_samples(d));
    } else {
        LK_TRY(lk_latents_read_audio(d->latents, i, n, a->stages ? d->tokens : NULL,
                                     a->continuous ? d->numbers : NULL));
        LK_TRY(lk_codec_decoder_push(d->audio, a->stages ? d->tokens : NULL,
                                     a->continuous ? d->numbers : NULL, n));
        if (d->count.n_audio_latents == lk_latents_n_audio(d->latents))
            LK_TRY(lk_codec_decoder_end(d->audio, a->n_samples));
        LK_TRY(pull_samples(d));
    }
    *reached = a->start + lk_flick_from_samples(d->count.n_samples, a->rate_hz);
done:
    return st;
}

/* Whichever stream is behind goes on. */
static lk_status run_streams(decoder *d)
{
    lk_status st = LK_OK;
    lk_flick picture = INT64_MIN, sound = INT64_MIN;
    const int64_t n_video = d->video ? lk_latents_n_video(d->latents) : 0;
    const int64_t n_audio = d->audio ? lk_latents_n_audio(d->latents) : 0;
    for (;;) {
        const int64_t left_video = n_video - d->count.n_video_latents;
        const int64_t left_audio = n_audio - d->count.n_audio_latents;
        LK_REQUIRE(!d->o->stop || !*d->o->stop, LK_E_INTERRUPTED, "stopped in '%s'", d->in);
        if (left_video == 0 && left_audio == 0)
            break;
        if (left_audio == 0 || (left_video > 0 && picture <= sound))
            LK_TRY(decode_picture(d, &picture));
        else
            LK_TRY(decode_sound(d, &sound));
        if (d->o->progress)
            d->o->progress(d->o->user,
                           1 - (double)(left_video + left_audio) / (double)(n_video + n_audio));
    }
done:
    return st;
}

lk_status lk_decode(const char *in, const char *out, const lk_tokenize_options *o,
                    lk_tokenize_counts *counts)
{
    lk_status st = LK_OK;
    decoder d = {.o = o, .in = in};
    LK_TRY(lk_latents_open(&d.latents, in));
    d.video_facts = lk_latents_get_video(d.latents);
    d.audio_facts = lk_latents_get_audio(d.latents);
    if (o->vae && lk_latents_n_video(d.latents) > 0)
        LK_TRY(start_video(&d));
    if (o->codec && lk_latents_n_audio(d.latents) > 0)
        LK_TRY(start_audio(&d));
    LK_REQUIRE(d.video || d.audio, LK_E_ARG, "'%s' holds nothing that the given tokenizers take",
               in);
    LK_TRY(open_writer(&d, out));
    LK_TRY(run_streams(&d));
    LK_TRY(lk_writer_finish(d.writer));
    if (counts)
        *counts = d.count;
done:
    lk_writer_close(&d.writer);
    lk_vae_decoder_free(&d.video);
    lk_codec_decoder_free(&d.audio);
    lk_vae_free(&d.vae);
    lk_codec_free(&d.codec);
    lk_latents_close(&d.latents);
    lk_media_close(&d.pictures_of);
    lk_media_close(&d.sound_of);
    lk_picture_fitter_free(&d.fitter);
    lk_sound_in_free(&d.sound_in);
    lk_free(d.latent);
    lk_free(d.numbers);
    lk_free(d.samples);
    lk_free(d.planes);
    lk_free(d.tokens);
    lk_free(d.rgb);
    return st;
}
