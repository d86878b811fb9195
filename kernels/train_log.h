/* train_log.h - what a training tells: log.jsonl, TensorBoard events, a progress bar.
 *
 * A line: {"step","samples", every loss and its "lr" and "grad_norm", "samples_per_s","step_ms",
 * "peak_mb","time_s"}; the last four are measurements, the others the same in every repetition.
 *
 * Threads      one thread.
 */
#ifndef LK_TRAIN_LOG_H
#define LK_TRAIN_LOG_H

#include "kernels/progress.h"
#include "kernels/tbevents.h"
#include "kernels/text.h"

#define LK_TRAIN_LOG_MOST 416

typedef struct lk_train_log {
    int fd; /* -1: this process does not log */
    char *path;
    lk_tbevents *events;
    lk_progress progress;
    lk_text line;
    const char *names[LK_TRAIN_LOG_MOST]; /* of the step being told; borrowed */
    double values[LK_TRAIN_LOG_MOST];
    int n;
    double started_s, told_s; /* monotonic: of the loop, of the line before */
    int64_t told_step;
    int64_t told_samples;
} lk_train_log;

/* Open the files in `folder` for going on after `step`; lines of later steps are removed. */
LK_CHECKED lk_status lk_train_log_open(lk_train_log *log, const char *folder, int64_t step,
                                       int64_t samples, int64_t n_steps, const char *label);
void lk_train_log_close(lk_train_log *log);

/* Add a number to the step being told; the name is borrowed until the line is written. */
void lk_train_log_number(lk_train_log *log, const char *name, double value);

/* Write the line. */
LK_CHECKED lk_status lk_train_log_line(lk_train_log *log, int64_t step, int64_t samples);

/* Make sure that what was written survives a power cut. */
LK_CHECKED lk_status lk_train_log_sync(lk_train_log *log);

#endif /* LK_TRAIN_LOG_H */
