/* encoder.c - frames in, latents out; see vae.h. */
#include "video_vae/vae_impl.h"

#include "kernels/mem.h"

#include <string.h>

struct lk_vae_encoder {
    lk_vae_stream stream;
    int height, width, time;
    int started; /* the first group is over */
    int ready;   /* a latent waits */
    lk_vae_stamp stamp;
};

static void record(lk_graph *g, lk_past *past, const lk_vae_shape *s, lk_var in, lk_var *out)
{
    lk_vae_encode_graph(g, past, s, in, &out[0], &out[1]);
}

lk_status lk_vae_encoder_new(lk_vae_encoder **out, lk_vae *v, const lk_vae_stream_config *c)
{
    lk_status st = LK_OK;
    lk_vae_encoder *e = NULL;
    LK_TRY(LK_NEW(&e));
    e->height = c->height;
    e->width = c->width;
    e->time = v->shape.time;
    e->stream.in = (lk_vae_port){LK_NONE, e->time, v->shape.space, 3, NULL};
    e->stream.n_out = 2;
    for (int k = 0; k < 2; k++)
        e->stream.out[k] = (lk_vae_port){LK_NONE, 1, 1, v->shape.channels, NULL};
    LK_TRY(lk_vae_stream_open(&e->stream, v, c, v->shape.encoder_reach, record));
    *out = e;
    e = NULL;
done:
    lk_vae_encoder_free(&e);
    return st;
}

void lk_vae_encoder_free(lk_vae_encoder **e)
{
    if (e && *e) {
        lk_vae_stream_close(&(*e)->stream);
        lk_free(*e);
        *e = NULL;
    }
}

lk_status lk_vae_encoder_reset(lk_vae_encoder *e)
{
    e->started = e->ready = 0;
    e->stamp = (lk_vae_stamp){0};
    return lk_vae_stream_reset(&e->stream);
}

lk_vae_stream_size lk_vae_encoder_size(const lk_vae_encoder *e)
{
    return lk_vae_stream_size_of(&e->stream);
}

static int64_t frame_numbers(const lk_vae_encoder *e)
{
    const lk_vae_stream *s = &e->stream;
    return (int64_t)s->y.size * s->in.cell * s->x.size * s->in.cell * 3;
}

/* The frame at place k of the group. */
static float *place(const lk_vae_encoder *e, int k)
{
    return e->stream.in.picture + k * frame_numbers(e);
}

/* Repeat the last column and row up to whole latents. */
static void fill_borders(const lk_vae_encoder *e, float *frame)
{
    const int64_t rows = (int64_t)e->stream.y.size * e->stream.in.cell;
    const int64_t row = (int64_t)e->stream.x.size * e->stream.in.cell * 3;
    for (int64_t y = 0; y < e->height; y++)
        for (int64_t k = (int64_t)e->width * 3; k < row; k++)
            frame[y * row + k] = frame[y * row + k - 3];
    for (int64_t y = e->height; y < rows; y++)
        memcpy(frame + y * row, frame + (y - 1) * row, (size_t)row * sizeof *frame);
}

/* Encode the group whose frames are in place. */
static lk_status run_group(lk_vae_encoder *e)
{
    lk_status st = LK_OK;
    lk_vae_stamp *s = &e->stamp;
    const size_t bytes = (size_t)frame_numbers(e) * sizeof(float);
    for (int k = s->skip - 1; k >= 0; k--)
        memcpy(place(e, k), place(e, s->skip), bytes);
    for (int k = s->skip + s->n_frames; k < e->time; k++)
        memcpy(place(e, k), place(e, k - 1), bytes);
    LK_TRY(lk_vae_stream_run(&e->stream));
    s->span = (lk_span){s->frame[0].start, s->frame[s->n_frames - 1].end};
    e->ready = e->started = 1;
done:
    return st;
}

static lk_status check_turn(const lk_vae_encoder *e, lk_span span)
{
    lk_status st = LK_OK;
    const lk_vae_stamp *s = &e->stamp;
    const lk_span *before = s->n_frames > 0 ? &s->frame[s->n_frames - 1] : NULL;
    LK_REQUIRE(!e->ready, LK_E_ARG, "a latent waits: pull it before the next frame");
    LK_REQUIRE(span.end > span.start, LK_E_ARG, "a frame must end after it starts");
    LK_REQUIRE((!before && !e->started) || span.start > (before ? before->start : s->span.start),
               LK_E_ARG, "a frame must start after the frame before it");
done:
    return st;
}

/* The frame is in place: count it, and encode a full group. */
static lk_status accept(lk_vae_encoder *e, lk_span span)
{
    lk_status st = LK_OK;
    lk_vae_stamp *s = &e->stamp;
    s->frame[s->n_frames++] = span;
    if (s->skip + s->n_frames == e->time)
        LK_TRY(run_group(e));
done:
    return st;
}

/* Where the next frame belongs; begins a group where none is open. */
static float *next_place(lk_vae_encoder *e)
{
    lk_vae_stamp *s = &e->stamp;
    if (s->n_frames == 0)
        s->skip = e->started ? 0 : e->time - 1;
    return place(e, s->skip + s->n_frames);
}

lk_status lk_vae_encoder_push(lk_vae_encoder *e, const float *rgb, lk_span span)
{
    lk_status st = LK_OK;
    const int64_t row = (int64_t)e->stream.x.size * e->stream.in.cell * 3;
    const int64_t given = (int64_t)e->width * 3;
    float *frame;
    LK_TRY(check_turn(e, span));
    LK_REQUIRE(lk_vae_all_finite(rgb, e->height * given), LK_E_NUMERIC,
               "the frame at %.3f s has a NaN or Inf in it", lk_flick_to_s(span.start));
    frame = next_place(e);
    for (int64_t y = 0; y < e->height; y++)
        memcpy(frame + y * row, rgb + y * given, (size_t)given * sizeof *frame);
    fill_borders(e, frame);
    LK_TRY(accept(e, span));
done:
    return st;
}

lk_status lk_vae_encoder_push_u8(lk_vae_encoder *e, const uint8_t *rgb, lk_span span)
{
    lk_status st = LK_OK;
    const int64_t row = (int64_t)e->stream.x.size * e->stream.in.cell * 3;
    const int64_t given = (int64_t)e->width * 3;
    float *frame;
    LK_TRY(check_turn(e, span));
    frame = next_place(e);
    for (int64_t y = 0; y < e->height; y++)
        for (int64_t k = 0; k < given; k++)
            frame[y * row + k] = (float)rgb[y * given + k] * (2.0f / 255) - 1;
    fill_borders(e, frame);
    LK_TRY(accept(e, span));
done:
    return st;
}

lk_status lk_vae_encoder_finish(lk_vae_encoder *e)
{
    lk_status st = LK_OK;
    LK_REQUIRE(e->started || e->stamp.n_frames > 0, LK_E_EMPTY,
               "there is no frame to encode: push at least one");
    if (!e->ready && e->stamp.n_frames > 0)
        LK_TRY(run_group(e));
done:
    return st;
}

lk_status lk_vae_encoder_pull(lk_vae_encoder *e, float *mean, float *log_var, lk_vae_stamp *stamp,
                              int *got)
{
    const lk_vae_port *out = e->stream.out;
    const size_t bytes =
        (size_t)e->stream.y.size * (size_t)(e->stream.x.size * out->channels) * sizeof(float);
    *got = e->ready;
    if (!e->ready)
        return LK_OK;
    memcpy(mean, out[0].picture, bytes);
    if (log_var)
        memcpy(log_var, out[1].picture, bytes);
    *stamp = e->stamp;
    e->ready = 0;
    e->stamp.span.start = e->stamp.frame[e->stamp.n_frames - 1].start; /* check_turn compares */
    e->stamp.n_frames = 0;
    return LK_OK;
}
