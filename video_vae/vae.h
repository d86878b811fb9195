/* vae.h - the video tokenizer: pictures to few continuous numbers and back, in a stream.
 *
 * A variant t4s8c16 turns `time` = 4 frames of 8 x 8 pixels into one latent of 16 channels; t1
 * variants turn every frame into a latent of its own and never wait for a later one.
 *
 * Groups       A clip is cut into groups of `time` frames, one latent each.  The first frame fills
 *              the first group alone (it is repeated), so that it can be had, and given, as a
 *              picture; the others follow in uniform groups; the last group is filled up by
 *              repeating the last frame.  Any number of frames from 1 upwards is a clip.
 * Time         Frames come with their spans; a stamp carries the spans of a latent's frames to the
 *              decoder, which gives them back.  No frame rate is assumed anywhere.
 * Pictures     rgb [height, width, 3], f32 in [-1, 1] or 8 bits (v = 2 u / 255 - 1).  Any size:
 *              borders are filled up to whole latents by repeating the last row and column.
 * Latents      f32 [rows, columns, channels], rows = ceil(height / space), columns likewise.
 * Streaming    Every group runs the same graph on the same shapes, so results depend on nothing but
 *              the frames before, bit for bit.  Memory does not grow with the clip.
 * Tiles        Larger pictures run in tiles that overlap by more than the layers see; tiles meet
 *              where both know everything, so there are no seams.
 *
 * Ownership    a stream borrows its tokenizer, which must outlive it.
 * Threads      one tokenizer with its streams by one thread at a time.
 * Sources      Cosmos tokenizer (first frame repeated, Haar input); TAEHV (one frame of memory a
 *              layer); DC-AE, arXiv 2410.10733 (shortcuts around resampling); IV-VAE, arXiv
 *              2411.06449 (layers that see the whole group).
 */
#ifndef LK_VAE_H
#define LK_VAE_H

#include "kernels/clock.h"
#include "kernels/comm.h"
#include "kernels/option.h"
#include "kernels/tensor.h"
#include "kernels/train.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LK_VAE_MOST_TIME 4
#define LK_VAE_MOST_SIDE 16384 /* of a picture, in pixels */

/* ---- configuration ---- */

typedef struct lk_vae_config {
    const char *variant;        /* "t4s8c16", "t4s8c32", "t4s16c48", "t1s8c16", "t1s16c48" */
    int width1, width2, width3; /* channels from fine to coarse; 0: the variant's */
    int encoder_blocks, decoder_blocks; /* per resolution; 0: the variant's */
    const char *look; /* "group": layers see their whole group; "causal": no later frame.  The same
                         for t1, where a group is one frame */
    int seed;         /* of the initial weights */
} lk_vae_config;

extern const lk_option lk_vae_options[];

/* What follows from a configuration. */
typedef struct lk_vae_shape {
    int time, space, channels;
    int width[3];
    int encoder_blocks, decoder_blocks;
    int group_look;
    int encoder_reach, decoder_reach; /* latents to each side that a latent, or its pixels, see */
} lk_vae_shape;

LK_CHECKED lk_status lk_vae_shape_of(const lk_vae_config *config, lk_vae_shape *shape);

/* ---- a tokenizer: configuration and weights ---- */

typedef struct lk_vae lk_vae;

/* backend NULL: the CPU's. */
LK_CHECKED lk_status lk_vae_new(lk_vae **v, const lk_vae_config *config, const lk_backend *backend);

/* From lk_vae_save's file or a training's checkpoint (its averaged weights).  LK_E_FORMAT for a
 * file that is no video tokenizer, LK_E_SHAPE for one whose weights are not those of its
 * configuration; the sentence names file and weight. */
LK_CHECKED lk_status lk_vae_load(lk_vae **v, const char *path, const lk_backend *backend);

/* Weights and configuration as safetensors; dtype LK_F32 or LK_BF16. */
LK_CHECKED lk_status lk_vae_save(const lk_vae *v, const char *path, lk_dtype dtype);
void lk_vae_free(lk_vae **v);

lk_vae_shape lk_vae_get_shape(const lk_vae *v);
int64_t lk_vae_n_weights(const lk_vae *v);

/* ---- time ---- */

/* When the frames of a latent are shown. */
typedef struct lk_vae_stamp {
    lk_span span; /* from the first frame's start to the last one's end */
    int n_frames; /* 1 .. time */
    int skip;     /* repetitions of the first frame in front: time - 1, or 0 */
    lk_span frame[LK_VAE_MOST_TIME];
} lk_vae_stamp;

/* Latents of n_frames frames: ceil((n_frames - 1) / time) + 1; 0 for none. */
int64_t lk_vae_n_latents(int time, int64_t n_frames);

/* Stamp of latent i of a clip with these frames: for latents that are made, not encoded. */
LK_CHECKED lk_status lk_vae_stamp_of(int time, int64_t n_frames, const lk_span *frames, int64_t i,
                                     lk_vae_stamp *stamp);

/* ---- streams ---- */

typedef struct lk_vae_stream_config {
    int height, width; /* of the pictures, 1 .. LK_VAE_MOST_SIDE */
    lk_dtype compute;  /* LK_F32 (0) or LK_BF16 */
    int tile; /* side of a tile in latents; 0: 64; at least 2 reach + 1 where it is needed */
} lk_vae_stream_config;

typedef struct lk_vae_encoder lk_vae_encoder;

LK_CHECKED lk_status lk_vae_encoder_new(lk_vae_encoder **e, lk_vae *v,
                                        const lk_vae_stream_config *config);
void lk_vae_encoder_free(lk_vae_encoder **e);

/* The next frame.  Spans start one after the other.  Fails while a latent waits to be pulled:
 * LK_E_ARG; LK_E_NUMERIC for NaN or Inf; the stream is as it was before. */
LK_CHECKED lk_status lk_vae_encoder_push(lk_vae_encoder *e, const float *rgb, lk_span span);
LK_CHECKED lk_status lk_vae_encoder_push_u8(lk_vae_encoder *e, const uint8_t *rgb, lk_span span);

/* No frame follows: complete the last group.  LK_E_EMPTY when there was no frame. */
LK_CHECKED lk_status lk_vae_encoder_finish(lk_vae_encoder *e);

/* *got = 0 when no latent is ready.  mean and log_var [rows, columns, channels]; log_var may be
 * NULL. */
LK_CHECKED lk_status lk_vae_encoder_pull(lk_vae_encoder *e, float *mean, float *log_var,
                                         lk_vae_stamp *stamp, int *got);

/* Forget everything: the next frame is the first of a clip. */
LK_CHECKED lk_status lk_vae_encoder_reset(lk_vae_encoder *e);

typedef struct lk_vae_decoder lk_vae_decoder;

LK_CHECKED lk_status lk_vae_decoder_new(lk_vae_decoder **d, lk_vae *v,
                                        const lk_vae_stream_config *config);
void lk_vae_decoder_free(lk_vae_decoder **d);

/* The next latent.  Fails while frames wait to be pulled (LK_E_ARG), for a stamp that does not fit
 * the variant (LK_E_ARG), for NaN or Inf (LK_E_NUMERIC). */
LK_CHECKED lk_status lk_vae_decoder_push(lk_vae_decoder *d, const float *latent,
                                         const lk_vae_stamp *stamp);

/* *got = 0 when no frame is ready.  f32 frames may leave [-1, 1] a little; 8 bits are rounded and
 * clipped. */
LK_CHECKED lk_status lk_vae_decoder_pull(lk_vae_decoder *d, float *rgb, lk_span *span, int *got);
LK_CHECKED lk_status lk_vae_decoder_pull_u8(lk_vae_decoder *d, uint8_t *rgb, lk_span *span,
                                            int *got);
LK_CHECKED lk_status lk_vae_decoder_reset(lk_vae_decoder *d);

/* Rows and columns of latents, and bytes a stream holds from start to end. */
typedef struct lk_vae_stream_size {
    int rows, columns;
    int n_tiles;
    int64_t bytes;
} lk_vae_stream_size;
lk_vae_stream_size lk_vae_encoder_size(const lk_vae_encoder *e);
lk_vae_stream_size lk_vae_decoder_size(const lk_vae_decoder *d);

/* ---- training (train.c; the losses are in loss.c) ---- */

/* Fill rgb f32 [batch, frames, height, width, 3] in [-1, 1], as a function of seed and index. */
typedef lk_status (*lk_vae_fill)(void *user, uint64_t seed, int64_t index, float *rgb);

typedef struct lk_vae_train_config {
    lk_vae_config model;
    const char *folder; /* of the run, as train.h describes it */
    lk_vae_fill fill;
    void *user;
    const lk_backend *backend; /* NULL: the CPU's */
    int resume;                /* as in train.h */
    lk_comm *comm;             /* NULL: one process */
    int n_texts;               /* into every checkpoint, beside the configuration */
    const lk_safetensors_text *texts;
    /* From here on the rows of lk_vae_train_options. */
    int steps, batch, micro, frames, height, width;
    const char *compute; /* "f32", "bf16" */
    double rate, last_rate;
    int warmup;
    double decay, average, clip;
    double bits_per_pixel, kl_weight;
    double detail_weight, ssim_weight, change_weight, clips_weight, scale_weight;
    double correlation_weight;
    double disturbed, noise;
    bool decoder_only, train_linear;
    const char *start_from; /* weights to begin with; those of equal name and shape are taken */
    int log_every, save_every, keep;
    int seed; /* of batches and noise */
} lk_vae_train_config;

extern const lk_option lk_vae_train_options[];

/* Train, beginning as the best linear tokenizer of the clips (or with the weights of start_from),
 * and leave checkpoints that lk_vae_load takes and, at the end, vae.safetensors with the averaged
 * weights.  result may be NULL. */
LK_CHECKED lk_status lk_vae_train(const lk_vae_train_config *config, lk_train_result *result);

#ifdef __cplusplus
}
#endif

#endif /* LK_VAE_H */
