/* fuzz_media.c - any bytes as a clip: open, decode, score, close. */
#include "align/align.h"
#include "av/media.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static lk_status drop_score(void *user, const lk_score *score)
{
    (void)user;
    (void)score;
    return LK_OK;
}

static lk_status drop_abstain(void *user, const char *name, const char *reason)
{
    (void)user;
    (void)name;
    (void)reason;
    return LK_OK;
}

static lk_status drop_curve(void *user, const char *name, const char *unit, int64_t n,
                            const double *t_s, const float *values)
{
    (void)user;
    (void)name;
    (void)unit;
    (void)n;
    (void)t_s;
    (void)values;
    return LK_OK;
}

static lk_status drop_marks(void *user, const char *name, int64_t n, const double *t_s)
{
    (void)user;
    (void)name;
    (void)n;
    (void)t_s;
    return LK_OK;
}

static lk_status drop_lag_curve(void *user, const char *name, int64_t n, const double *lag_ms,
                                const float *values)
{
    return drop_curve(user, name, "", n, lag_ms, values);
}

static lk_status drop_map(void *user, const char *name, int64_t n_times, const double *t_s,
                          int64_t n_lags, const double *lag_ms, const float *values)
{
    (void)n_lags;
    (void)lag_ms;
    return drop_curve(user, name, "", n_times, t_s, values);
}

static lk_status read_all(lk_media *media, lk_scorer *scorer)
{
    lk_status st = LK_OK;
    lk_media_item item;
    for (int i = 0; i < 4000; i++) {
        LK_TRY(lk_media_next(media, &item));
        if (item.kind == LK_MEDIA_END)
            break;
        if (item.kind == LK_MEDIA_FRAME)
            LK_TRY(lk_scorer_frame(scorer, &item.frame));
        else
            LK_TRY(lk_scorer_pcm(scorer, &item.pcm));
    }
done:
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const lk_sink sink = {NULL,       drop_score,     drop_abstain, drop_curve,
                                 drop_marks, drop_lag_curve, drop_map};
    static const char *const metrics[] = {"event:n_null=20:n_bootstrap=20"};
    char path[64];
    lk_media *media = NULL;
    lk_scorer *scorer = NULL;
    lk_log_set(NULL, NULL, -1);
    const int fd = memfd_create("fuzz", 0);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const lk_media_options options = {.threads = 1, .max_seconds = 20};
    lk_status st = lk_media_open(&media, path, &options);
    if (st == LK_OK)
        st = lk_scorer_create(&scorer, metrics, 1, NULL, 1);
    if (st == LK_OK)
        st = read_all(media, scorer);
    if (st == LK_OK)
        st = lk_scorer_finish(scorer, &sink);
    if (st != LK_OK && lk_error_text()[0] == '\0')
        abort(); /* a failure must come with its sentence */
    if (st == LK_E_INTERNAL)
        abort();
    lk_error_clear();
    lk_scorer_free(&scorer);
    lk_media_close(&media);
    close(fd);
    return 0;
}
