/* joint_samples.h - pictures of what a joint model makes while it is trained.
 *
 * A few of the clips that are held out lend their prompts, scripts and lengths; the model makes
 * sound and picture for them, always from the same noise, the tokenizers decode them, and FOLDER
 * gets
 *
 *     given.png           the clips themselves, as their tokenizers give them back
 *     step_00001000.png   what the model made
 *
 * each with a row a clip: frames above a spectrogram, between them a mark where an event begins,
 * all rows on one time axis (timeline.h).
 *
 * Errors       those of joint.h and of the tokenizers; LK_E_IO for files.
 * Threads      one object by one thread.
 */
#ifndef LK_JOINT_SAMPLES_H
#define LK_JOINT_SAMPLES_H

#include "av/joint_data.h"

typedef struct lk_joint_samples lk_joint_samples;

/* Data and sampling must outlive the object; the folder is made at the first picture. */
LK_CHECKED lk_status lk_joint_samples_new(lk_joint_samples **s, const lk_joint_data *data,
                                          const lk_joint_sampling *sampling, const char *folder);
void lk_joint_samples_free(lk_joint_samples **s);

/* `show` of lk_joint_train_config; user is a lk_joint_samples. */
LK_CHECKED lk_status lk_joint_samples_show(void *user, int64_t step, lk_joint *model);

#endif /* LK_JOINT_SAMPLES_H */
