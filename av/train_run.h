/* train_run.h - a training out of a configuration file: datasets in, a run's folder out.
 *
 *     data: [speech.h5, talker]        datasets, or folders of them
 *     model: {rate_hz: 16000, ...}     rows of lk_codec_options or lk_vae_options
 *     train: {steps: 20000, ...}       rows of lk_codec_train_options or lk_vae_train_options
 *
 * The joint model has the rows of lk_joint_options, and of lk_joint_train_options and
 * lk_joint_draw_options, there, and
 *
 *     tokenizers: {vae: FILE, codec: FILE, batch: 8}
 *     validation: [other.h5]           datasets that are not learnt from; none: no validation
 *     samples: {steps: 30, ...}        rows of lk_joint_sampling_options, for pictures of samples
 *
 * Every checkpoint says on which device it was made, under "lockstep.device".
 *
 * The folder gets config.yaml, complete with defaults, and what train.h leaves.  Going on with a
 * run takes its config.yaml; other settings are refused.
 *
 * Errors       those of config.h, dataset.h and train.h.
 */
#ifndef LK_TRAIN_RUN_H
#define LK_TRAIN_RUN_H

#include "kernels/status.h"

#include <stdint.h>

typedef struct lk_train_run {
    const char *config;          /* a file, or NULL: defaults, or those of the run to go on with */
    const char *const *settings; /* "key.sub=value", after the file */
    int64_t n_settings;
    const char *folder;
    int resume;
    const char *device; /* as in kernels/device.h; no setting of the run: it may go on elsewhere */
} lk_train_run;

/* what: "codec", "vae" or "joint". */
LK_CHECKED lk_status lk_train_start(const char *what, const lk_train_run *run);

#endif /* LK_TRAIN_RUN_H */
