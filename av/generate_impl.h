/* generate_impl.h - a clip on its way, shared by the files generate*.c. */
#ifndef LK_GENERATE_IMPL_H
#define LK_GENERATE_IMPL_H

#include "audio_codec/codec.h"
#include "av/embeddings.h"
#include "av/generate.h"
#include "video_vae/vae.h"

/* What a file gives; 0 and NULL for a stream that it does not. */
typedef struct lk_given {
    int64_t n_frames, n_samples, n_latents, n_sounds;
    lk_span *frames; /* NULL for a picture that stands alone: it has no time */
    lk_flick start;  /* of the sound */
    float *video, *audio;
} lk_given;

typedef struct lk_making {
    const lk_generate_options *o;
    lk_joint *model;
    lk_vae *vae;
    lk_codec *codec;
    lk_embeddings *embeddings; /* or NULL */
    const float *prompt_vectors;
    int n_prompt_vectors;
    uint64_t checksum[3]; /* model, vae, codec */
    lk_given given;
    /* the whole clip's frames, samples and latents, all on the file's clock */
    lk_rational rate;
    int vfr;
    int64_t n_frames, n_samples;
    lk_span *frames;
    lk_flick start; /* of the sound */
    int n_latents, n_sounds, rows, columns;
    lk_span *video_span, *audio_span;
    float *video, *audio;             /* what is held is in them before anything is made */
    uint8_t *video_held, *audio_held; /* of what is given; later also of what was made */
    lk_span range;                    /* that is made again */
    int n_held[2], n_windows;
    /* words */
    char *script, *texts;
    int n_events;
    lk_joint_event *events;
} lk_making;

/* Numbers of a latent of the picture. */
static inline int64_t lk_making_cells(const lk_making *m)
{
    return (int64_t)m->rows * m->columns * lk_vae_get_shape(m->vae).channels;
}

/* The whole text of a file; *text by lk_free. */
LK_CHECKED lk_status lk_script_read(const char *path, char **text);

/* generate_given.c.  Read what is given, through the tokenizers; rows and columns are known. */
LK_CHECKED lk_status lk_given_read(lk_making *m);
void lk_given_clear(lk_given *g);
/* When the frames are that are given, and those that a longer clip has behind them. */
LK_CHECKED lk_status lk_given_frames(lk_making *m);
/* Put what is held among the latents.  LK_E_ARG when that leaves nothing to make. */
LK_CHECKED lk_status lk_given_hold(lk_making *m);

/* The file whose frames, or samples, the clip has as they are; NULL: those of the latents. */
const char *lk_given_pictures(const lk_making *m);
const char *lk_given_sound(const lk_making *m);

/* generate_windows.c.  What a window holds of what is there; make every latent that is not held. */
lk_flick lk_make_context(const lk_generate_options *o);
LK_CHECKED lk_status lk_make_latents(lk_making *m);

#endif /* LK_GENERATE_IMPL_H */
