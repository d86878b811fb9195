/* vae_toy.c - see vae_toy.h. */
#include "tests/vae_toy.h"

#include "kernels/mem.h"
#include "kernels/rng.h"
#include "video_vae/vae_impl.h"

#include <math.h>

lk_vae_config vae_toy_config(const char *variant, const char *look)
{
    lk_vae_config c;
    lk_option_defaults(lk_vae_options, &c);
    c.variant = variant;
    c.look = look;
    c.width1 = 4;
    c.width2 = 8;
    c.width3 = 16;
    c.encoder_blocks = c.decoder_blocks = 1;
    return c;
}

lk_status vae_toy_new(lk_vae **v, const char *variant, const char *look)
{
    lk_status st = LK_OK;
    const lk_vae_config c = vae_toy_config(variant, look);
    LK_TRY(lk_vae_new(v, &c, NULL));
    LK_TRY(vae_toy_liven(*v));
done:
    return st;
}

lk_status vae_toy_liven(lk_vae *v)
{
    lk_status st = LK_OK;
    float *data = NULL;
    for (int i = 0; i < lk_params_n(v->params); i++) {
        const lk_shape shape = lk_params_shape(v->params, i);
        const int64_t n = lk_shape_count(&shape);
        lk_free(data);
        data = NULL;
        LK_TRY(LK_NEW_ARRAY(&data, n));
        LK_TRY(lk_params_read(v->params, i, LK_VALUE, LK_F32, data));
        for (int64_t j = 0; shape.n_dims > 1 && j < n; j++)
            if (data[j] == 0)
                data[j] = 0.1f * lk_rng_normal(3, (uint64_t)i, (uint64_t)j);
        LK_TRY(lk_params_write(v->params, i, LK_VALUE, LK_F32, data));
    }
done:
    lk_free(data);
    return st;
}

void vae_toy_frame(uint64_t seed, int t, int height, int width, float *rgb)
{
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int k = 0; k < 3; k++) {
                const double at = 0.3 * x + 0.2 * (k + 1) * y - 0.5 * t * (1 + k) + (double)seed;
                rgb[(y * width + x) * 3 + k] = (float)(0.7 * sin(at) + 0.2 * cos(1.7 * at + t));
            }
}

lk_span vae_toy_span(int t)
{
    const lk_flick start = 1000 + (lk_flick)t * 23520000 + t % 3 * 700001;
    const int u = t + 1;
    return (lk_span){start, 1000 + (lk_flick)u * 23520000 + u % 3 * 700001};
}

static lk_status make_room(vae_toy_clip *c, const lk_vae_stream_size *size, int channels,
                           const lk_vae_stream_config *config, int n_latents, int n_frames)
{
    lk_status st = LK_OK;
    *c = (vae_toy_clip){.latent_numbers = (int64_t)size->rows * size->columns * channels,
                        .frame_numbers = (int64_t)config->height * config->width * 3};
    LK_TRY(LK_NEW_ARRAY(&c->latent, c->latent_numbers * n_latents));
    LK_TRY(LK_NEW_ARRAY(&c->log_var, c->latent_numbers * n_latents));
    LK_TRY(LK_NEW_ARRAY(&c->frame, c->frame_numbers * (n_frames + 1)));
    LK_TRY(LK_NEW_ARRAY(&c->stamp, n_latents));
    LK_TRY(LK_NEW_ARRAY(&c->span, n_frames + 1));
done:
    return st;
}

static lk_status encode(vae_toy_clip *c, lk_vae_encoder *e, const lk_vae_stream_config *config,
                        int n_frames, int change)
{
    lk_status st = LK_OK;
    float *rgb = c->frame; /* not yet used */
    for (int t = 0; t <= n_frames; t++) {
        int got;
        vae_toy_frame(t == change ? 5 : 1, t, config->height, config->width, rgb);
        if (t < n_frames)
            LK_TRY(lk_vae_encoder_push(e, rgb, vae_toy_span(t)));
        else
            LK_TRY(lk_vae_encoder_finish(e));
        LK_TRY(lk_vae_encoder_pull(e, c->latent + c->n_latents * c->latent_numbers,
                                   c->log_var + c->n_latents * c->latent_numbers,
                                   c->stamp + c->n_latents, &got));
        c->n_latents += got;
    }
done:
    return st;
}

static lk_status decode(vae_toy_clip *c, lk_vae_decoder *d)
{
    lk_status st = LK_OK;
    for (int i = 0; i < c->n_latents; i++) {
        LK_TRY(lk_vae_decoder_push(d, c->latent + i * c->latent_numbers, &c->stamp[i]));
        for (int got = 1; got; c->n_frames += got)
            LK_TRY(lk_vae_decoder_pull(d, c->frame + c->n_frames * c->frame_numbers,
                                       &c->span[c->n_frames], &got));
    }
done:
    return st;
}

lk_status vae_toy_round(vae_toy_clip *c, lk_vae *v, const lk_vae_stream_config *config,
                        int n_frames, int change)
{
    lk_status st = LK_OK;
    const lk_vae_shape s = lk_vae_get_shape(v);
    lk_vae_encoder *e = NULL;
    lk_vae_decoder *d = NULL;
    lk_vae_stream_size size;
    *c = (vae_toy_clip){0};
    LK_TRY(lk_vae_encoder_new(&e, v, config));
    LK_TRY(lk_vae_decoder_new(&d, v, config));
    size = lk_vae_encoder_size(e);
    LK_TRY(
        make_room(c, &size, s.channels, config, (int)lk_vae_n_latents(s.time, n_frames), n_frames));
    LK_TRY(encode(c, e, config, n_frames, change));
    LK_TRY(decode(c, d));
done:
    lk_vae_encoder_free(&e);
    lk_vae_decoder_free(&d);
    return st;
}

void vae_toy_free(vae_toy_clip *c)
{
    lk_free(c->latent);
    lk_free(c->log_var);
    lk_free(c->frame);
    lk_free(c->stamp);
    lk_free(c->span);
    *c = (vae_toy_clip){0};
}
