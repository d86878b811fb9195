/* cmd_fix.c - a copy of a clip with its offset removed; nothing is decoded or encoded. */
#include "av/cli/args.h"
#include "av/cli/cli.h"
#include "av/json.h"
#include "av/media.h"
#include "av/sync.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct settings {
    const char *out;
    double offset_ms;
    bool json, force;
    int seed;
} settings;

#define NOT_GIVEN 1e9

static const lk_option options[] = {
    LK_OPT_TEXT(settings, out, NULL, "file to write (-o); the container of the input"),
    LK_OPT_DOUBLE(settings, offset_ms, NOT_GIVEN, -600000, NOT_GIVEN,
                  "how late the sound is; measured when it is not given"),
    LK_OPT_BOOL(settings, force, false, "write over a file that is there"),
    LK_OPT_BOOL(settings, json, false, "what was done, as one JSON object"),
    LK_OPT_INT(settings, seed, 0, 0, 2147483647, "of the measurement"),
    LK_OPT_END};

static const lk_cli_spec spec = {
    "fix",
    "FILE -o OUT",
    "Copies the clip with its sound moved so that the offset is gone, re-opens what it wrote and\n"
    "checks it.  Without --offset-ms the offset is measured as `sync` does; a clip without a\n"
    "trustworthy offset is left alone.",
    options,
    "  lockstep worlds impacts --count 1 --offset-ms 80 -o clips\n"
    "  lockstep fix clips/impacts_0_00000.mp4 -o fixed.mp4",
    NULL};

static lk_status print_done(const char *in, const settings *s, double offset_ms, bool measured)
{
    lk_status st = LK_OK;
    json_t *root = json_object();
    if (!s->json) {
        json_decref(root);
        printf("%s: sound moved %s by %.1f ms\n", s->out, offset_ms > 0 ? "earlier" : "later",
               fabs(offset_ms));
        return LK_OK;
    }
    LK_TRY(lk_json_set(root, "file", lk_json_text(in)));
    LK_TRY(lk_json_set(root, "out", lk_json_text(s->out)));
    LK_TRY(lk_json_set(root, "offset_ms", lk_json_real(offset_ms)));
    LK_TRY(lk_json_set(root, "audio_moved_ms", lk_json_real(-offset_ms)));
    LK_TRY(lk_json_set(root, "measured", json_boolean(measured)));
    json_t *const line = root;
    root = NULL;
    LK_TRY(lk_json_print_line(line));
done:
    json_decref(root);
    return st;
}

static lk_status fix(const char *in, const settings *s)
{
    lk_status st = LK_OK;
    double offset_ms = s->offset_ms;
    const bool measured = offset_ms >= NOT_GIVEN;
    LK_REQUIRE(s->force || access(s->out, F_OK) != 0, LK_E_ARG,
               "'%s' is already there; --force writes over it", s->out);
    if (measured) {
        lk_sync_answer a;
        LK_TRY(lk_sync_measure(in, (uint64_t)s->seed, &a));
        LK_REQUIRE(a.trusted, LK_E_EMPTY, "no trustworthy offset to remove: %s", a.reason);
        offset_ms = a.offset_ms;
    }
    LK_TRY(lk_media_shift_audio(in, s->out, lk_flick_from_s(-offset_ms / 1e3)));
    LK_TRY(print_done(in, s, offset_ms, measured));
done:
    return st;
}

int lk_cmd_fix(int argc, char **argv)
{
    settings s;
    lk_args args;
    int code = LK_EXIT_OK;
    if (!lk_args_parse(&spec, &s, argc, argv, &args, &code))
        return code;
    if (args.n_files != 1)
        code = lk_cli_usage("fix", "give one file");
    else if (!s.out)
        code = lk_cli_usage("fix", "say where to write with -o");
    else {
        const lk_status st = fix(args.file[0], &s);
        if (st != LK_OK)
            code = lk_cli_failed(st);
    }
    lk_args_clear(&args);
    return code;
}
