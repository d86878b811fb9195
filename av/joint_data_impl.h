/* joint_data_impl.h - what joint_data.c and joint_draw.c share. */
#ifndef LK_JOINT_DATA_IMPL_H
#define LK_JOINT_DATA_IMPL_H

#include "av/dataset.h"
#include "av/embeddings.h"
#include "av/joint_data.h"
#include "av/latents.h"

/* What one clip of the model points to. */
typedef struct lk_joint_kept {
    float *video, *audio;
    lk_span *video_span, *audio_span;
    lk_vae_stamp *stamp;
    lk_joint_event *events;
    char *texts; /* of the events, EVENT_BYTES + 1 each */
} lk_joint_kept;

struct lk_joint_data {
    lk_joint_data_config c;
    lk_dataset *data;
    lk_embeddings *embeddings; /* or NULL */
    lk_vae *vae;
    lk_codec *codec;
    lk_vae_encoder *video;
    lk_codec_encoder *audio;
    lk_latents_video video_facts;
    lk_latents_audio audio_facts;
    uint8_t *rgb;
    float *latent, *pcm, *numbers;
    int64_t n;
    lk_joint_clip *clips;
    lk_joint_kept *kept; /* of every clip */
    lk_joint_draws draws;
    int64_t *order, n_labelled; /* clips with caption or events, then those without */
    lk_joint_event *events;     /* [batch, most_events], of parts */
    uint8_t *held;              /* [batch, crop_latents] */
    int most_events;            /* of a whole clip */
    lk_joint_sizes sizes;
};

#endif /* LK_JOINT_DATA_IMPL_H */
