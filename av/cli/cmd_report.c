/* cmd_report.c - results as a folder of HTML. */
#include "av/cli/args.h"
#include "av/cli/cli.h"
#include "kernels/progress.h"
#include "av/report.h"

#include <stdio.h>

typedef struct settings {
    const char *out, *h5, *title;
} settings;

static const lk_option options[] = {
    LK_OPT_TEXT(settings, out, NULL, "folder for index.html and the clip pages (-o)"),
    LK_OPT_TEXT(settings, h5, NULL, "curves of the same run, from score --h5"),
    LK_OPT_TEXT(settings, title, "Sound and picture in time", "heading of the first page"),
    LK_OPT_END};

static const lk_cli_spec spec = {
    "report",
    "RESULTS.jsonl",
    "Turns rows of 'lockstep score' into HTML that opens from disk: offsets, worst clips first,\n"
    "and a page a clip with a player, frames, spectrogram, curves and lags on one time axis.\n"
    "The clips themselves are looked for where the rows say they are.",
    options,
    "  lockstep score clips -o rows.jsonl --h5 curves.h5 &&\n"
    "  lockstep report rows.jsonl --h5 curves.h5 -o report",
    NULL};

static void show(void *user, double done, double total)
{
    lk_progress *bar = user;
    bar->total = total;
    lk_progress_set(bar, done);
}

int lk_cmd_report(int argc, char **argv)
{
    settings s;
    lk_args args;
    lk_progress bar;
    int code = LK_EXIT_OK;
    if (!lk_args_parse(&spec, &s, argc, argv, &args, &code))
        return code;
    if (args.n_files != 1)
        code = lk_cli_usage("report", "one results file is needed, got %d", args.n_files);
    else if (!s.out)
        code = lk_cli_usage("report", "-o is needed, the folder for the report");
    if (code == LK_EXIT_OK) {
        lk_progress_start(&bar, "report", 1);
        const lk_status st = lk_report_from_files(s.out, s.title, args.file[0], s.h5, show, &bar);
        lk_progress_end(&bar);
        if (st != LK_OK)
            code = lk_cli_failed(st);
        else
            fprintf(stderr, "lockstep: open %s/index.html\n", s.out);
    }
    lk_args_clear(&args);
    return code;
}
