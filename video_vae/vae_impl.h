/* vae_impl.h - what the files of the video tokenizer share.  Not for others. */
#ifndef LK_VAE_IMPL_H
#define LK_VAE_IMPL_H

#include "video_vae/vae.h"

#include "kernels/nn.h"
#include "kernels/params.h"
#include "kernels/past.h"

struct lk_vae {
    lk_vae_config config; /* choices point to static texts */
    lk_vae_shape shape;
    lk_params *params;
};

/* ---- network.c: clips are [B, T, Y, X, C]; past NULL: whole clips ---- */

/* Frames f32 [B, T, Y, X, 3], T a multiple of time, Y and X of space -> mean and log-variance, f32
 * [B, T / time, Y / space, X / space, channels]. */
void lk_vae_encode_graph(lk_graph *g, lk_past *past, const lk_vae_shape *s, lk_var rgb,
                         lk_var *mean, lk_var *log_var);

/* Latents f32 -> bands f32 [B, T, Y / p, X / p, 3 p p], p = lk_vae_patch. */
lk_var lk_vae_decode_graph(lk_graph *g, lk_past *past, const lk_vae_shape *s, lk_var latent);

/* Haar bands of frames, over patches of p x p pixels: twice for space 16. */
int lk_vae_patch(const lk_vae_shape *s);
lk_var lk_vae_bands(lk_graph *g, const lk_vae_shape *s, lk_var rgb);
lk_var lk_vae_from_bands(lk_graph *g, const lk_vae_shape *s, lk_var bands);

/* Bands [B, T, Y / p, X / p, 3 p p] -> [B, T / time, Y / space, X / space, lk_vae_patch_numbers]:
 * what lies under each latent. */
lk_var lk_vae_patches(lk_graph *g, const lk_vae_shape *s, lk_var bands);
int64_t lk_vae_patch_numbers(const lk_vae_shape *s);

/* [B, T, ...] as [B T, ...], and back with T frames. */
lk_var lk_vae_fold(lk_graph *g, lk_var x);
lk_var lk_vae_unfold(lk_graph *g, lk_var x, int64_t n_frames);

/* ---- loss.c ---- */

/* Record everything for frames "rgb" f32 [B, T, Y, X, 3]; "sigma" f32 [B, 1, 1, 1, 1], the
 * deviation of noise on the latents; "keep" f32 [B, 1, 1, 1, channels], 1 or 0 for channels that
 * are left out. Outputs under lk_vae_loss_names. */
lk_var lk_vae_loss_graph(lk_graph *g, const lk_vae_shape *s, const lk_vae_train_config *c);
extern const char *const lk_vae_loss_names[];
extern const int lk_vae_n_losses;

/* 1 - MS-SSIM of grey pictures f32 [N, Y, X] of the given range (loss_ssim.c). */
lk_var lk_vae_ssim_loss(lk_graph *g, lk_var x, lk_var y, double range);

/* Frames [B, T, ...] as they fill the groups: the first one repeated in front, the last one at the
 * end. */
lk_var lk_vae_fill_groups(lk_graph *g, const lk_vae_shape *s, lk_var rgb);

/* ---- fit.c ---- */

/* Make v the linear tokenizer of clips like those of c, its layers silent, its latents of variance
 * 1 and holding c->bits_per_pixel. */
LK_CHECKED lk_status lk_vae_fit(lk_vae *v, const lk_vae_train_config *c);

/* ---- train.c ---- */

LK_CHECKED lk_status lk_vae_train_check(const lk_vae_train_config *c, lk_vae_shape *s);

/* ---- stream.c: one graph for every tile of every group ---- */

/* One dimension of a picture, in latents. */
typedef struct lk_vae_axis {
    int size;  /* of the picture */
    int tile;  /* of a tile, <= size */
    int reach; /* what is wrong near a cut */
    int n_tiles;
} lk_vae_axis;

LK_CHECKED lk_status lk_vae_axis_of(int size, int tile, int reach, lk_vae_axis *axis);
/* Where tile i starts, and the part [from, to) of the picture it is responsible for. */
void lk_vae_axis_tile(const lk_vae_axis *a, int i, int *start, int *from, int *to);

/* A picture that goes into the graph, or comes out: f32 [n_frames, rows cell, columns cell,
 * channels] over rows x columns latents. */
typedef struct lk_vae_port {
    lk_var var; /* the same of one tile, with a batch of 1 in front */
    int n_frames, cell, channels;
    float *picture;
} lk_vae_port;

typedef struct lk_vae_stream {
    lk_graph *graph;
    lk_past *past;
    lk_vae_axis y, x;
    int n_out;
    lk_vae_port in, out[2];
    char *kept; /* the memory of every tile, where there are several */
    float *tile;
    int64_t bytes;
} lk_vae_stream;

typedef void (*lk_vae_record)(lk_graph *g, lk_past *past, const lk_vae_shape *s, lk_var in,
                              lk_var *out);

/* in and out say what they are; the rest is filled in here. */
LK_CHECKED lk_status lk_vae_stream_open(lk_vae_stream *s, lk_vae *v,
                                        const lk_vae_stream_config *config, int reach,
                                        lk_vae_record record);
void lk_vae_stream_close(lk_vae_stream *s);
LK_CHECKED lk_status lk_vae_stream_reset(lk_vae_stream *s);

/* in.picture -> out[].picture for one group. */
LK_CHECKED lk_status lk_vae_stream_run(lk_vae_stream *s);
lk_vae_stream_size lk_vae_stream_size_of(const lk_vae_stream *s);

/* Is every number finite? */
int lk_vae_all_finite(const float *x, int64_t n);

#endif /* LK_VAE_IMPL_H */
