/* joint_data.h - clips for the joint model: datasets through the tokenizers, once.
 *
 * Every clip of the datasets is encoded into a file of latents (latents.h) in a cache folder; files
 * that are there already and were made by the same tokenizers are taken as they are, so a pass that
 * was stopped goes on.  Several processes share that work.  Then all latents lie in memory: about
 * 35 kB a second of 64 x 64 pictures.
 *
 * A clip's caption is its prompt; its events are its script, "kind label" each.
 *
 * Threads      one object by one thread.
 */
#ifndef LK_JOINT_DATA_H
#define LK_JOINT_DATA_H

#include "audio_codec/codec.h"
#include "av/joint/joint.h"
#include "video_vae/vae.h"

typedef struct lk_joint_data lk_joint_data;

typedef struct lk_joint_data_config {
    const char *const *paths; /* datasets, as lk_dataset_open takes them */
    int64_t n_paths;
    int64_t n_most;            /* clips, the first ones; 0: all */
    const char *vae, *codec;   /* files with weights */
    const lk_backend *backend; /* of the tokenizers; NULL: the CPU's */
    const char *embeddings;    /* file with captions as vectors (embeddings.h), or NULL */
    const char *cache;         /* folder */
    int batch;                 /* clips at once */
    lk_comm *comm;             /* processes that share the cache, each encoding a part; or NULL */
    const volatile int *stop;  /* may be NULL */
} lk_joint_data_config;

LK_CHECKED lk_status lk_joint_data_open(lk_joint_data **d, const lk_joint_data_config *config);
void lk_joint_data_close(lk_joint_data **d);

/* Room for `batch` of any of the clips, or of their parts. */
lk_joint_sizes lk_joint_data_sizes(const lk_joint_data *d);
int lk_joint_data_channels(const lk_joint_data *d, lk_joint_stream s);
int lk_joint_data_text_channels(const lk_joint_data *d); /* 0: captions are bytes */

/* Mean and deviation of every channel over all clips, into the model. */
LK_CHECKED lk_status lk_joint_data_scale(const lk_joint_data *d, lk_joint *m);

/* All clips, whole, with latents; valid until close. */
const lk_joint_clip *lk_joint_data_clips(const lk_joint_data *d, int64_t *n);

/* What turns latents of clip i back into picture and sound; borrowed, valid until close. */
typedef struct lk_joint_source {
    lk_vae *vae;
    lk_codec *codec;
    int width, height;
    const lk_vae_stamp *stamp; /* of every latent */
    lk_flick audio_start;
    int64_t n_samples;
} lk_joint_source;
lk_joint_source lk_joint_data_source(const lk_joint_data *d, int64_t i);

/* ---- drawing (joint_draw.c) ---- */

typedef struct lk_joint_draws {
    int crop_latents;  /* longer clips are learnt from in parts of so many; 0: whole */
    double unlabelled; /* share of clips without caption and events; below 0: as there are */
} lk_joint_draws;

extern const lk_option lk_joint_draw_options[];

/* How clips shall be drawn from here on; whole and as there are until then.  Sizes follow.
 * LK_E_ARG for a share of what there is none of. */
LK_CHECKED lk_status lk_joint_data_draw(lk_joint_data *d, const lk_joint_draws *draws);

/* A lk_joint_fill: clips drawn with equal chance, apart from the share of unlabelled ones; of one
 * with more latents than crop_latents a part drawn with equal chance (lk_joint_crop), unless its
 * first latent is asked for.  A clip without pictures is never cut.  At most `batch` parts. */
LK_CHECKED lk_status lk_joint_data_fill(void *data, uint64_t seed, int64_t index, int n, int first,
                                        lk_joint_clip *clips);

#endif /* LK_JOINT_DATA_H */
