/* checkpoint.h - the state of a training in one safetensors file, and a folder of such files.
 *
 * A file holds every parameter's value under its own name, what the optimiser keeps under
 * "moment1:NAME", "moment2:NAME" and "average:NAME" (those slots that exist), the counters and any
 * texts.  It does not depend on the number of threads or processes.  It is written atomically and
 * read only when every checksum is right.
 *
 * In the folder the file of step 1200 is called "step_00001200.safetensors".
 *
 * Errors       LK_E_FORMAT for a file that is damaged or no checkpoint, LK_E_SHAPE for one of
 *              another model; both name the file and the tensor, and the store is as it was.
 * Threads      one folder by one process at a time.
 */
#ifndef LK_CHECKPOINT_H
#define LK_CHECKPOINT_H

#include "kernels/option.h"
#include "kernels/params.h"
#include "kernels/safetensors.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lk_checkpoint {
    int64_t step;     /* finished steps */
    int64_t samples;  /* seen so far */
    int64_t position; /* the next batch: data order is a function of the seed and this */
    uint64_t seed;
} lk_checkpoint;

LK_CHECKED lk_status lk_checkpoint_write(const char *path, const lk_params *params,
                                         const lk_checkpoint *c, int n_texts,
                                         const lk_safetensors_text *texts);

/* Every parameter of the store, with those slots the file has; c may be NULL.  Slots that exist in
 * the store must be in the file. */
LK_CHECKED lk_status lk_checkpoint_read(const char *path, lk_params *params, lk_checkpoint *c);

/* Values alone, for using a model: the averages where the file has them and `average` is not 0. */
LK_CHECKED lk_status lk_checkpoint_read_values(const char *path, lk_params *params, int average);
/* The averages or values of those parameters that the file has; others stay as they are.
 * LK_E_SHAPE where it has none. */
LK_CHECKED lk_status lk_checkpoint_begin_with(const char *path, lk_params *params);

/* Values alone, as LK_F32 or LK_BF16, and what they are the weights of: the settings in `target` as
 * lines under the text `key`; and those settings back.  `what` is the name of such a thing in the
 * sentence that refuses another file (LK_E_FORMAT). */
LK_CHECKED lk_status lk_checkpoint_write_values(const char *path, const lk_params *params,
                                                lk_dtype dtype, const char *key,
                                                const lk_option *options, const void *target);
LK_CHECKED lk_status lk_checkpoint_read_config(const char *path, const char *what, const char *key,
                                               const lk_option *options, void *target);

/* Write the file of c->step into the folder, making it; then prune. */
LK_CHECKED lk_status lk_checkpoint_save(const char *folder, const lk_params *params,
                                        const lk_checkpoint *c, int n_texts,
                                        const lk_safetensors_text *texts, int keep);

/* Remove the files of steps after `step` (of a course that was given up, because they were
 * damaged), all but the newest `keep` of the others (0: keep all), and what a killed process left
 * half written. */
LK_CHECKED lk_status lk_checkpoint_prune(const char *folder, int64_t step, int keep);

/* Path of the newest file of the folder that is not damaged, to be freed by lk_free; NULL when
 * there is none.  Damaged ones are passed over with a warning that names file and tensor. */
LK_CHECKED lk_status lk_checkpoint_latest(const char *folder, char **path);
/* The newest checkpoint of a training's folder; LK_E_IO without one. */
LK_CHECKED lk_status lk_checkpoint_of_run(const char *run, char **path);

#ifdef __cplusplus
}
#endif

#endif /* LK_CHECKPOINT_H */
