/* attention_run.h - where a joint model's streams look in time, measured on clips of datasets.
 *
 * The clips go through the tokenizers and lk_joint_probe_new (av/joint/joint.h).  The HDF5 file:
 *
 *     /level [L], /lag_ms [bins], /block [B], /head [H]
 *     /LOOKS/mass    [L, B, H, bins] mass of attention by lag, and chance [B, bins]
 *     /LOOKS/beyond  [L, B, H, 2] what is earlier and later than all lags, and chance_beyond [B, 2]
 *     /LOOKS/share   [B] tokens that see anything
 *     /gradient/share  [L, 2, 2, B, 5] by level, loss, stream, block and part, as its labels say
 *     /gradient/norm   [L, 2]
 *     attributes of /: format "lockstep-attention-1", model, clips, seed, commit, and checksums
 *     model_xxh64, vae_xxh64, codec_xxh64
 *
 * LOOKS is a name of lk_attention_looks.  Numbers are double, NaN where nothing is seen; axes are
 * attached as dimension scales.
 *
 * Errors       of joint.h and joint_data.h; LK_E_ARG for tokenizers whose latents are not the
 *              model's, LK_E_IO for files that cannot be written.
 * Threads      one call per thread.
 */
#ifndef LK_ATTENTION_RUN_H
#define LK_ATTENTION_RUN_H

#include "av/joint/joint.h"

/* "video_itself", "video_from_audio", "video_from_script", and so on. */
extern const char *const lk_attention_looks[LK_JOINT_STREAMS][LK_JOINT_SIGHTS];

typedef struct lk_attention_options {
    const char *model, *vae, *codec; /* files with weights */
    const lk_backend *backend;       /* NULL: the CPU's */
    const char *embeddings;          /* for a model whose prompts are vectors, or NULL */
    const char *const *data;         /* datasets; their first n_clips clips are taken */
    int64_t n_data;
    int n_clips;
    int n_levels;
    const double *levels;
    double bin_ms, reach_ms;
    int seed;
    const char *cache;        /* folder for latents */
    const char *out, *png;    /* HDF5, and a picture; either may be NULL */
    const volatile int *stop; /* may be NULL */
} lk_attention_options;

LK_CHECKED lk_status lk_attention_run(const lk_attention_options *o, lk_joint_probe **probe);

/* ---- its two files ---- */

typedef struct lk_attention_source {
    const char *model;
    uint64_t checksum[3]; /* model, vae, codec */
    int n_clips, seed;
} lk_attention_source;

LK_CHECKED lk_status lk_attention_write(const char *path, const lk_joint_probe *p,
                                        const double *levels, const lk_attention_source *source);

/* A column for each direction, a row for each level: mass over chance by lag, heads of all blocks
 * below each other. */
LK_CHECKED lk_status lk_attention_draw(const char *path, const lk_joint_probe *p,
                                       const double *levels);

#endif /* LK_ATTENTION_RUN_H */
