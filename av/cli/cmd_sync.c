/* cmd_sync.c - how late is the sound, in one line a file. */
#include "av/cli/args.h"
#include "av/cli/cli.h"
#include "av/json.h"
#include "kernels/progress.h"
#include "av/sync.h"

#include "kernels/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct settings {
    bool json;
    int seed, threads, assume_priming;
    double max_seconds, max_lag_ms;
} settings;

static const lk_option options[] = {
    LK_OPT_BOOL(settings, json, false, "one JSON object a line and file"),
    LK_OPT_INT(settings, seed, 0, 0, 2147483647, "of the bootstrap and of the chance level"),
    LK_OPT_INT(settings, threads, 0, 0, 64, "decoder threads, 0 = all processors"),
    LK_OPT_INT(settings, assume_priming, 0, 0, 10000,
               "drop this many samples at a start whose delay is not signalled"),
    LK_OPT_DOUBLE(settings, max_seconds, 0, 0, 1e9, "look at this much only, 0 = all"),
    LK_OPT_DOUBLE(settings, max_lag_ms, 1000, 50, 5000, "search offsets up to this size"),
    LK_OPT_END};

static const lk_cli_spec spec = {
    "sync",
    "FILE...",
    "Says how late the sound is (offset_ms > 0: the sound is late), with a 95 % interval, or why\n"
    "no trustworthy answer is possible.",
    options,
    "  lockstep worlds impacts --count 1 --offset-ms 80 -o clips && lockstep sync clips/*.mp4",
    NULL};

static void set_progress(void *user, double share)
{
    lk_progress_set(user, share);
}

static json_t *pair_of(double lo, double hi)
{
    json_t *a = json_array();
    json_array_append_new(a, lk_json_real(lo));
    json_array_append_new(a, lk_json_real(hi));
    return a;
}

static lk_status set_alternatives(json_t *root, const lk_clip_result *r, const char *source)
{
    lk_status st = LK_OK;
    json_t *list = json_array();
    LK_TRY(lk_json_set(root, "alternatives", list));
    for (int i = 0; lk_sync_witnesses()[i]; i++) {
        const char *name = lk_sync_witnesses()[i];
        const lk_result_score *s = lk_clip_result_score(r, name);
        if (!s || strncmp(name, source, strlen(source)) == 0)
            continue;
        json_t *o = json_object();
        json_array_append_new(list, o);
        LK_TRY(lk_json_set(o, "source", json_stringn(name, strcspn(name, "."))));
        LK_TRY(lk_json_set(o, "offset_ms", lk_json_real(s->value)));
        LK_TRY(lk_json_set(o, "ci95_ms", pair_of(s->lo, s->hi)));
    }
done:
    return st;
}

static lk_status print_json(const lk_clip_result *r, const lk_sync_answer *a)
{
    lk_status st = LK_OK;
    json_t *root = json_object();
    LK_TRY(lk_json_set(root, "clip", lk_json_text(r->clip)));
    LK_TRY(lk_json_set(root, "status", json_string(r->failed ? "failed" : "ok")));
    LK_TRY(lk_json_set(root, "error", r->failed ? lk_json_text(r->error) : json_null()));
    LK_TRY(lk_json_set(root, "offset_ms", lk_json_real(a->offset_ms)));
    LK_TRY(lk_json_set(root, "ci95_ms", pair_of(a->lo, a->hi)));
    LK_TRY(lk_json_set(root, "drift_ppm", lk_json_real(a->drift_ppm)));
    LK_TRY(lk_json_set(root, "trusted", json_boolean(a->trusted)));
    LK_TRY(lk_json_set(root, "reason", a->reason[0] ? lk_json_text(a->reason) : json_null()));
    LK_TRY(lk_json_set(root, "source", a->source[0] ? json_string(a->source) : json_null()));
    LK_TRY(lk_json_set(root, "p", lk_json_real(a->p)));
    LK_TRY(lk_json_set(root, "container_offset_ms", lk_json_real(r->container_offset_ms)));
    LK_TRY(set_alternatives(root, r, a->source));
    json_t *const line = root;
    root = NULL;
    LK_TRY(lk_json_print_line(line));
done:
    json_decref(root);
    return st;
}

static void print_words(const lk_clip_result *r, const lk_sync_answer *a)
{
    if (!a->trusted) {
        printf("%s: no trustworthy offset (%s)\n", r->clip, a->reason);
        return;
    }
    printf("%s: sound %s by %.1f ms [%+.1f, %+.1f], by its %s", r->clip,
           a->offset_ms >= 0 ? "late" : "early", fabs(a->offset_ms), a->lo, a->hi, a->source);
    if (isfinite(a->drift_ppm))
        printf(", drift %+.0f ppm", a->drift_ppm);
    printf("%s%s\n", a->reason[0] ? "; " : "", a->reason);
}

static lk_status sync_one(const char *path, const settings *s, bool *ok)
{
    lk_status st = LK_OK;
    lk_clip_result r;
    lk_sync_answer a;
    lk_progress bar;
    char event[40];
    const char *metrics[4] = {event};
    size_t n = 1;
    memset(&r, 0, sizeof r);
    snprintf(event, sizeof event, "event:max_lag_ms=%.0f", s->max_lag_ms);
    for (int i = 1; i < 3; i++) {
        static const char *const more[] = {"event", "mouth", "beat"};
        if (lk_metric_find(more[i]))
            metrics[n++] = more[i];
    }
    lk_progress_start(&bar, path, 1);
    const lk_score_clip_options o = {.metrics = metrics,
                                     .n_metrics = n,
                                     .seed = (uint64_t)s->seed,
                                     .threads = s->threads,
                                     .assume_priming_samples = s->assume_priming,
                                     .max_seconds = s->max_seconds,
                                     .progress = set_progress,
                                     .user = &bar};
    st = lk_score_clip(path, &o, &r);
    lk_progress_end(&bar);
    LK_TRY(st);
    *ok = !r.failed;
    lk_sync_judge(&r, &a);
    if (r.failed)
        fprintf(stderr, "lockstep: %s\n", r.error);
    if (s->json)
        LK_TRY(print_json(&r, &a));
    else if (!r.failed)
        print_words(&r, &a);
done:
    lk_clip_result_clear(&r);
    return st;
}

int lk_cmd_sync(int argc, char **argv)
{
    settings s;
    lk_args args;
    int code = LK_EXIT_OK;
    if (!lk_args_parse(&spec, &s, argc, argv, &args, &code))
        return code;
    if (args.n_files == 0)
        code = lk_cli_usage("sync", "no file given");
    for (int i = 0; i < args.n_files; i++) {
        bool ok = false;
        const lk_status st = sync_one(args.file[i], &s, &ok);
        if (st != LK_OK) {
            code = lk_cli_failed(st);
            break;
        }
        if (!ok)
            code = LK_EXIT_SOME_FAILED;
    }
    lk_args_clear(&args);
    return code;
}
