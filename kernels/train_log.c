/* train_log.c - see train_log.h. */
#include "kernels/train_log.h"

#include "kernels/file.h"
#include "kernels/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double peak_mb(void)
{
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) == 0 ? (double)u.ru_maxrss / 1024 : 0;
}

/* Bytes of the whole lines up to `step`; lines stand in the order of their steps. */
static lk_status find_end(const char *path, int64_t step, off_t *end)
{
    lk_status st = LK_OK;
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    FILE *f = fopen(path, "rb");
    *end = 0;
    LK_REQUIRE(f, LK_E_IO, "cannot read '%s': %s", path, strerror(errno));
    while ((n = getline(&line, &capacity, f)) > 0) {
        long long at = 0;
        if (line[n - 1] != '\n' || sscanf(line, "{\"step\":%lld,", &at) != 1 || at > step)
            break;
        *end += n;
    }
done:
    free(line);
    if (f)
        fclose(f);
    return st;
}

lk_status lk_train_log_open(lk_train_log *log, const char *folder, int64_t step, int64_t samples,
                            int64_t n_steps, const char *label)
{
    lk_status st = LK_OK;
    lk_text path = {0};
    off_t end = 0;
    memset(log, 0, sizeof *log);
    log->fd = -1;
    LK_TRY(lk_text_add(&path, "%s/log.jsonl", folder));
    LK_TRY(lk_strdup(path.at, &log->path));
    log->fd = open(path.at, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    LK_REQUIRE(log->fd >= 0, LK_E_IO, "cannot open '%s': %s", path.at, strerror(errno));
    LK_TRY(find_end(path.at, step, &end));
    LK_REQUIRE(ftruncate(log->fd, end) == 0, LK_E_IO, "cannot shorten '%s': %s", path.at,
               strerror(errno));
    lk_text_clear(&path);
    LK_TRY(lk_text_add(&path, "%s/events.out.tfevents.lockstep", folder));
    LK_TRY(lk_tbevents_open(&log->events, path.at, step));
    log->started_s = log->told_s = seconds(CLOCK_MONOTONIC);
    log->told_step = step;
    log->told_samples = samples;
    lk_progress_start(&log->progress, label, (double)n_steps);
done:
    lk_text_free(&path);
    return st;
}

void lk_train_log_close(lk_train_log *log)
{
    if (log->fd >= 0)
        close(log->fd);
    lk_progress_end(&log->progress);
    lk_tbevents_free(&log->events);
    lk_text_free(&log->line);
    lk_free(log->path);
    memset(log, 0, sizeof *log);
    log->fd = -1;
}

void lk_train_log_number(lk_train_log *log, const char *name, double value)
{
    LK_ASSERT(log->n < LK_TRAIN_LOG_MOST);
    log->names[log->n] = name;
    log->values[log->n++] = value;
}

lk_status lk_train_log_line(lk_train_log *log, int64_t step, int64_t samples)
{
    lk_status st = LK_OK;
    const double now = seconds(CLOCK_MONOTONIC);
    const double spent = now - log->told_s > 1e-9 ? now - log->told_s : 1e-9;
    const int64_t n_steps = step - log->told_step > 0 ? step - log->told_step : 1;
    lk_train_log_number(log, "samples_per_s", (double)(samples - log->told_samples) / spent);
    lk_train_log_number(log, "step_ms", spent * 1e3 / (double)n_steps);
    lk_train_log_number(log, "peak_mb", peak_mb());
    lk_train_log_number(log, "time_s", now - log->started_s);
    lk_text_clear(&log->line);
    LK_TRY(lk_text_add(&log->line, "{\"step\":%lld,\"samples\":%lld", (long long)step,
                       (long long)samples));
    for (int i = 0; i < log->n; i++) {
        LK_TRY(lk_text_add(&log->line, ","));
        LK_TRY(lk_text_add_json(&log->line, log->names[i]));
        LK_TRY(lk_text_add(&log->line, i < log->n - 4 ? ":%.9g" : ":%.6g", log->values[i]));
    }
    LK_TRY(lk_text_add(&log->line, "}\n"));
    LK_TRY(lk_write_all(log->fd, log->line.at, log->line.n, log->path));
    LK_TRY(lk_tbevents_add(log->events, step, seconds(CLOCK_REALTIME), log->n, log->names,
                           log->values));
    log->told_s = now;
    log->told_step = step;
    log->told_samples = samples;
done:
    log->n = 0;
    return st;
}

lk_status lk_train_log_sync(lk_train_log *log)
{
    lk_status st = LK_OK;
    LK_REQUIRE(log->fd < 0 || fdatasync(log->fd) == 0 || errno == EINVAL, LK_E_IO,
               "cannot write '%s': %s", log->path, strerror(errno));
done:
    return st;
}
