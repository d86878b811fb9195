/* joint_toy.h - a joint model and clips that are small enough for plain definitions. */
#ifndef LK_TESTS_JOINT_TOY_H
#define LK_TESTS_JOINT_TOY_H

#include "av/joint/joint_impl.h"

enum {
    JOINT_TOY_LATENTS = 3,
    JOINT_TOY_CELLS = 2, /* one row of two columns */
    JOINT_TOY_SOUNDS = 9,
    JOINT_TOY_VIDEO = JOINT_TOY_LATENTS * JOINT_TOY_CELLS * 3, /* numbers of a clip */
    JOINT_TOY_AUDIO = JOINT_TOY_SOUNDS * 4
};

/* 3 channels of picture, 4 of sound; 2 blocks of 2 heads of 8 numbers. */
lk_joint_config joint_toy_config(const char *exchange);
lk_joint_sizes joint_toy_sizes(int batch);

/* Clip `which`: 9 frames in 3 latents and 360 ms of sound, with a prompt and two events; raw
 * latents are functions of `which`, and the sound is louder where the first event is.  It points to
 * static memory, clips 0 .. 3. */
lk_joint_clip joint_toy_clip(int which);

/* Give weights that start at zero other values, so that everything takes part. */
lk_status joint_toy_liven(lk_joint *m);
/* A living model. */
lk_status joint_toy_new(lk_joint **m, const lk_joint_config *c, const lk_backend *backend);

/* One clip, noisy numbers x (of all tokens) at levels 0.3 and 0.7 -> what the network says. */
lk_status joint_toy_run(const lk_joint *m, const lk_joint_clip *c, const lk_joint_without *without,
                        const float *video, const float *audio, float *video_v, float *audio_v);

/* Numbers of all tokens: noise, and what the network says of some, which must succeed. */
typedef struct joint_toy_answer {
    float video[JOINT_TOY_VIDEO], audio[JOINT_TOY_AUDIO];
} joint_toy_answer;
void joint_toy_noise(joint_toy_answer *x);
void joint_toy_ask(const lk_joint *m, const lk_joint_clip *c, const lk_joint_without *without,
                   const joint_toy_answer *x, joint_toy_answer *v);

#endif /* LK_TESTS_JOINT_TOY_H */
