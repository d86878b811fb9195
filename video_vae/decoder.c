/* decoder.c - latents in, frames out; see vae.h. */
#include "video_vae/vae_impl.h"

#include "kernels/mem.h"

#include <math.h>
#include <string.h>

struct lk_vae_decoder {
    lk_vae_stream stream; /* its output holds the bands' inverse: frames */
    int height, width, time;
    int next; /* of the group's frames, among those that count */
    lk_vae_stamp stamp;
};

static void record(lk_graph *g, lk_past *past, const lk_vae_shape *s, lk_var in, lk_var *out)
{
    out[0] = lk_vae_from_bands(g, s, lk_vae_decode_graph(g, past, s, in));
}

lk_status lk_vae_decoder_new(lk_vae_decoder **out, lk_vae *v, const lk_vae_stream_config *c)
{
    lk_status st = LK_OK;
    lk_vae_decoder *d = NULL;
    LK_TRY(LK_NEW(&d));
    d->height = c->height;
    d->width = c->width;
    d->time = v->shape.time;
    d->stream.in = (lk_vae_port){LK_NONE, 1, 1, v->shape.channels, NULL};
    d->stream.n_out = 1;
    d->stream.out[0] = (lk_vae_port){LK_NONE, d->time, v->shape.space, 3, NULL};
    LK_TRY(lk_vae_stream_open(&d->stream, v, c, v->shape.decoder_reach, record));
    *out = d;
    d = NULL;
done:
    lk_vae_decoder_free(&d);
    return st;
}

void lk_vae_decoder_free(lk_vae_decoder **d)
{
    if (d && *d) {
        lk_vae_stream_close(&(*d)->stream);
        lk_free(*d);
        *d = NULL;
    }
}

lk_status lk_vae_decoder_reset(lk_vae_decoder *d)
{
    d->next = 0;
    d->stamp = (lk_vae_stamp){0};
    return lk_vae_stream_reset(&d->stream);
}

lk_vae_stream_size lk_vae_decoder_size(const lk_vae_decoder *d)
{
    return lk_vae_stream_size_of(&d->stream);
}

lk_status lk_vae_decoder_push(lk_vae_decoder *d, const float *latent, const lk_vae_stamp *stamp)
{
    lk_status st = LK_OK;
    const lk_vae_port *in = &d->stream.in;
    const int64_t n = (int64_t)d->stream.y.size * d->stream.x.size * in->channels;
    LK_REQUIRE(d->next == d->stamp.n_frames, LK_E_ARG,
               "frames wait: pull them before the next latent");
    LK_REQUIRE(stamp->n_frames >= 1 && stamp->skip >= 0 && stamp->n_frames <= d->time - stamp->skip,
               LK_E_ARG, "a latent of this tokenizer has 1 to %d frames, not %d after %d", d->time,
               stamp->n_frames, stamp->skip);
    LK_REQUIRE(lk_vae_all_finite(latent, n), LK_E_NUMERIC,
               "the latent at %.3f s has a NaN or Inf in it", lk_flick_to_s(stamp->span.start));
    memcpy(in->picture, latent, (size_t)n * sizeof *latent);
    d->next = d->stamp.n_frames = 0;
    LK_TRY(lk_vae_stream_run(&d->stream));
    d->stamp = *stamp;
done:
    return st;
}

/* Row y of the frame to be pulled, or NULL when none is ready. */
static const float *next_frame(lk_vae_decoder *d, lk_span *span, int *got, int64_t *row)
{
    const lk_vae_port *out = &d->stream.out[0];
    *row = (int64_t)d->stream.x.size * out->cell * 3;
    *got = d->next < d->stamp.n_frames;
    if (!*got)
        return NULL;
    *span = d->stamp.frame[d->next];
    return out->picture + (d->stamp.skip + d->next++) * d->stream.y.size * out->cell * *row;
}

lk_status lk_vae_decoder_pull(lk_vae_decoder *d, float *rgb, lk_span *span, int *got)
{
    int64_t row;
    const float *frame = next_frame(d, span, got, &row);
    const size_t bytes = (size_t)d->width * 3 * sizeof *rgb;
    for (int64_t y = 0; frame && y < d->height; y++)
        memcpy(rgb + y * d->width * 3, frame + y * row, bytes);
    return LK_OK;
}

static uint8_t level(float v)
{
    const float u = rintf((v + 1) * 127.5f);
    return (uint8_t)(u > 0 ? (u < 255 ? u : 255) : 0);
}

lk_status lk_vae_decoder_pull_u8(lk_vae_decoder *d, uint8_t *rgb, lk_span *span, int *got)
{
    int64_t row;
    const float *frame = next_frame(d, span, got, &row);
    const int64_t kept = (int64_t)d->width * 3;
    for (int64_t y = 0; frame && y < d->height; y++)
        for (int64_t k = 0; k < kept; k++)
            rgb[y * kept + k] = level(frame[y * row + k]);
    return LK_OK;
}
