/* cmd_events.c - when things are heard and seen. */
#include "av/cli/args.h"
#include "av/cli/cli.h"
#include "av/events.h"
#include "av/json.h"

#include <math.h>
#include <stdio.h>

typedef struct settings {
    bool json;
    int threads;
    double max_seconds;
} settings;

static const lk_option options[] = {
    LK_OPT_BOOL(settings, json, false, "one JSON object a line and file"),
    LK_OPT_INT(settings, threads, 0, 0, 64, "decoder threads, 0 = all processors"),
    LK_OPT_DOUBLE(settings, max_seconds, 0, 0, 1e9, "look at this much only, 0 = all"), LK_OPT_END};

static const lk_cli_spec spec = {
    "events",
    "FILE...",
    "Lists when sounds begin, where the beats and the bars of music lie, and when motion is\n"
    "suddenly lost, in seconds on the file's own clock.",
    options,
    "  lockstep worlds impacts --count 1 -o clips && lockstep events clips/*.mp4 --json",
    NULL};

static json_t *list_of(int64_t n, const double *t_s)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(list, lk_json_real(t_s[i]));
    return list;
}

static lk_status print_json(const char *path, const lk_events *e, const char *error)
{
    lk_status st = LK_OK;
    json_t *root = json_object();
    LK_TRY(lk_json_set(root, "clip", lk_json_text(path)));
    LK_TRY(lk_json_set(root, "status", json_string(error ? "failed" : "ok")));
    LK_TRY(lk_json_set(root, "error", error ? lk_json_text(error) : json_null()));
    LK_TRY(lk_json_set(root, "duration_s", error ? json_null() : lk_json_real(e->duration_s)));
    LK_TRY(lk_json_set(root, "onsets_s", list_of(e->n_onsets, e->onsets_s)));
    LK_TRY(lk_json_set(root, "beats_s", list_of(e->n_beats, e->beats_s)));
    LK_TRY(lk_json_set(root, "downbeats_s", list_of(e->n_downbeats, e->downbeats_s)));
    LK_TRY(lk_json_set(root, "tempo_bpm", lk_json_real(e->tempo_bpm)));
    LK_TRY(lk_json_set(root, "motion_peaks_s", list_of(e->n_motion_peaks, e->motion_peaks_s)));
    json_t *const line = root;
    root = NULL;
    LK_TRY(lk_json_print_line(line));
done:
    json_decref(root);
    return st;
}

static void print_times(const char *what, bool present, int64_t n, const double *t_s)
{
    printf("    %-13s", what);
    if (!present)
        printf(" no such stream");
    else if (n == 0)
        printf(" none");
    for (int64_t i = 0; i < n; i++)
        printf(" %.3f", t_s[i]);
    printf("\n");
}

static void print_words(const char *path, const lk_events *e)
{
    printf("%s (%.3f s)\n", path, e->duration_s);
    print_times("onsets", e->has_audio, e->n_onsets, e->onsets_s);
    print_times("beats", e->has_audio, e->n_beats, e->beats_s);
    print_times("downbeats", e->has_audio, e->n_downbeats, e->downbeats_s);
    if (isfinite(e->tempo_bpm))
        printf("    %-13s %.2f bpm\n", "tempo", e->tempo_bpm);
    print_times("motion peaks", e->has_video, e->n_motion_peaks, e->motion_peaks_s);
}

/* *code becomes LK_EXIT_SOME_FAILED when this file cannot be read. */
static lk_status list_one(const char *path, const settings *s, int *code)
{
    lk_status st = LK_OK;
    lk_events e;
    char error[512] = "";
    const lk_status measured = lk_events_measure(path, s->max_seconds, s->threads, &e);
    LK_REQUIRE(measured != LK_E_MEMORY && measured != LK_E_INTERNAL && measured != LK_E_ENV,
               measured, "%s", lk_error_text());
    if (measured != LK_OK) {
        snprintf(error, sizeof error, "%s", lk_error_text());
        lk_error_clear();
        fprintf(stderr, "lockstep: %s\n", error);
        *code = LK_EXIT_SOME_FAILED;
    }
    if (s->json)
        LK_TRY(print_json(path, &e, measured == LK_OK ? NULL : error));
    else if (measured == LK_OK)
        print_words(path, &e);
done:
    lk_events_clear(&e);
    return st;
}

int lk_cmd_events(int argc, char **argv)
{
    settings s;
    lk_args args;
    int code = LK_EXIT_OK;
    if (!lk_args_parse(&spec, &s, argc, argv, &args, &code))
        return code;
    if (args.n_files == 0)
        code = lk_cli_usage("events", "no file given");
    for (int i = 0; i < args.n_files; i++) {
        const lk_status st = list_one(args.file[i], &s, &code);
        if (st != LK_OK) {
            code = lk_cli_failed(st);
            break;
        }
    }
    lk_args_clear(&args);
    return code;
}
