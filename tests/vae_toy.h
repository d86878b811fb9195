/* vae_toy.h - small video tokenizers and moving pictures for the tests of video_vae/. */
#ifndef LK_TESTS_VAE_TOY_H
#define LK_TESTS_VAE_TOY_H

#include "video_vae/vae.h"

/* Widths 4, 8, 16 and one block a resolution. */
lk_vae_config vae_toy_config(const char *variant, const char *look);
/* With weights in place of those that start at zero, so that every layer matters. */
LK_CHECKED lk_status vae_toy_new(lk_vae **v, const char *variant, const char *look);

LK_CHECKED lk_status vae_toy_liven(lk_vae *v);

/* Frame t of clip `seed`, f32 [height, width, 3] in [-1, 1]: waves that move. */
void vae_toy_frame(uint64_t seed, int t, int height, int width, float *rgb);

/* Frame times of a camera with no constant rate. */
lk_span vae_toy_span(int t);

/* What a whole clip of n frames gives.  Room for every latent and frame; in f32. */
typedef struct vae_toy_clip {
    int n_latents, n_frames;
    int64_t latent_numbers, frame_numbers; /* of one each */
    float *latent, *log_var, *frame;
    lk_vae_stamp *stamp;
    lk_span *span;
} vae_toy_clip;

/* Through a new encoder and a new decoder; change >= 0: frame `change` is of another clip. */
LK_CHECKED lk_status vae_toy_round(vae_toy_clip *c, lk_vae *v, const lk_vae_stream_config *config,
                                   int n_frames, int change);
void vae_toy_free(vae_toy_clip *c);

#endif /* LK_TESTS_VAE_TOY_H */
