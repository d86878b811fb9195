/* cmd_score.c - clips through the ruler: a row each, tables, curves, gates. */
#include "av/cli/args.h"
#include "av/cli/cli.h"
#include "av/cli/gate.h"
#include "av/cli/inputs.h"
#include "av/cli/scratch.h"
#include "kernels/progress.h"
#include "kernels/stop.h"
#include "av/report.h"
#include "av/result_csv.h"
#include "av/score_run.h"
#include "av/sync.h"

#include "kernels/file.h"
#include "kernels/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct settings {
    const char *metric, *manifest, *reference, *out, *csv, *h5, *report, *shard, *fail_if;
    bool json, resume, list_metrics;
    int seed, threads;
} settings;

static const lk_option options[] = {
    LK_OPT_TEXT(settings, metric, NULL, "NAME[:key=value...]; see --list-metrics"),
    LK_OPT_TEXT(settings, manifest, NULL, "CSV or JSON lines naming clips, pairs and truth"),
    LK_OPT_TEXT(settings, reference, NULL, "sound that every clip is compared with"),
    LK_OPT_BOOL(settings, json, false, "rows on stdout, one JSON object a line"),
    LK_OPT_TEXT(settings, out, NULL, "rows into this file (-o), which --resume continues"),
    LK_OPT_TEXT(settings, csv, NULL, "the same as one long table"),
    LK_OPT_TEXT(settings, h5, NULL, "curves with their time axes, HDF5"),
    LK_OPT_TEXT(settings, report, NULL, "HTML report into this folder"),
    LK_OPT_TEXT(settings, shard, NULL, "i/n: only the i-th of n equal parts, i from 1"),
    LK_OPT_BOOL(settings, resume, false, "go on with an interrupted -o file"),
    LK_OPT_TEXT(settings, fail_if, NULL, "exit 4 when true of a clip: 'abs(event.offset_ms)>40'"),
    LK_OPT_INT(settings, seed, 0, 0, 2147483647, "of the bootstrap and of the chance levels"),
    LK_OPT_INT(settings, threads, 0, 0, 64, "clips at once, 0 = all processors"),
    LK_OPT_BOOL(settings, list_metrics, false, "say what can be measured and stop"),
    LK_OPT_END};

static const lk_cli_spec spec = {
    "score",
    "FILE|FOLDER...",
    "Measures every clip and gives each one a row, also those that cannot be read.\n"
    "Every number has a unit, and an interval and a chance level where they exist; what cannot\n"
    "be measured is abstained from with a reason.",
    options,
    "  lockstep worlds impacts --count 3 -o clips && lockstep score clips --csv scores.csv",
    "metric,fail_if"};

typedef struct context {
    const settings *s;
    lk_gate gate;
    lk_progress bar;
    int64_t n_gated;
} context;

/* ---- words ----------------------------------------------------------------------------------- */

static void print_score(const lk_result_score *x)
{
    printf("    %-32s %10.4g %s", x->name, x->value, strcmp(x->unit, "1") == 0 ? "" : x->unit);
    if (isfinite(x->lo) && isfinite(x->hi))
        printf("  [%.4g, %.4g]", x->lo, x->hi);
    if (isfinite(x->chance))
        printf("  chance %.4g", x->chance);
    if (isfinite(x->p))
        printf("  p %.2g", x->p);
    printf("\n");
}

/* Numbers that are missing for the same reason share a line. */
static void print_abstentions(const lk_clip_result *r)
{
    for (int64_t i = 0; i < r->n_abstentions; i++) {
        const char *reason = r->abstentions[i].reason;
        bool said = false;
        for (int64_t k = 0; k < i && !said; k++)
            said = strcmp(r->abstentions[k].reason, reason) == 0;
        if (said)
            continue;
        printf("    not measured: %s\n       ", reason);
        for (int64_t k = i; k < r->n_abstentions; k++) {
            if (strcmp(r->abstentions[k].reason, reason) == 0)
                printf(" %s", r->abstentions[k].name);
        }
        printf("\n");
    }
}

static void print_words(const lk_clip_result *r)
{
    lk_sync_answer a;
    printf("%s\n", r->clip);
    if (r->failed) {
        printf("    failed: %s\n", r->error);
        return;
    }
    lk_sync_judge(r, &a);
    if (a.trusted)
        printf("    sound %s by %.1f ms [%+.1f, %+.1f] by its %s%s%s\n",
               a.offset_ms >= 0 ? "late" : "early", fabs(a.offset_ms), a.lo, a.hi, a.source,
               a.reason[0] ? "; " : "", a.reason);
    for (int64_t i = 0; i < r->n_scores; i++)
        print_score(&r->scores[i]);
    print_abstentions(r);
    for (int i = 0; i < r->n_warnings; i++)
        printf("    warning: %s\n", r->warnings[i]);
}

static void print_metrics(void)
{
    for (const lk_metric *const *m = lk_metrics(); *m; m++) {
        printf("%s%s\n    %s\n    source: %s; cost: %s\n    scores:", (*m)->name,
               (*m)->by_default ? " (by default)" : "", (*m)->summary, (*m)->source, (*m)->cost);
        for (const char *const *name = (*m)->scores; *name; name++)
            printf(" %s", *name);
        printf("\n");
        if ((*m)->options)
            lk_option_help((*m)->options, "    :", stdout);
    }
}

/* ---- rows ------------------------------------------------------------------------------------ */

static lk_status take_row(void *user, int64_t index, const lk_clip_result *r, const char *json)
{
    lk_status st = LK_OK;
    context *c = user;
    (void)index;
    if (c->bar.on)
        fprintf(stderr, "\r\033[K");
    if (r->failed)
        fprintf(stderr, "lockstep: %s\n", r->error);
    if (c->s->json)
        LK_REQUIRE(puts(json) != EOF && fflush(stdout) == 0, LK_E_IO, "cannot write to stdout");
    else if (!c->s->out)
        print_words(r);
    c->n_gated += lk_gate_hit(&c->gate, r);
done:
    return st;
}

static void take_progress(void *user, double done, const char *clip)
{
    context *c = user;
    lk_progress_label(&c->bar, clip);
    lk_progress_set(&c->bar, done);
}

/* Keep every n-th clip: shard i has clips i-1, i-1+n, ... */
static lk_status take_shard(lk_manifest *m, const char *text)
{
    lk_status st = LK_OK;
    int i = 0, n = 0, used = 0;
    int64_t kept = 0;
    lk_manifest rest = {0};
    LK_REQUIRE(sscanf(text, "%d/%d%n", &i, &n, &used) == 2 && text[used] == '\0' && n >= 1 &&
                   i >= 1 && i <= n,
               LK_E_ARG, "--shard needs i/n with 1 <= i <= n, got '%.40s'", text);
    for (int64_t k = 0; k < m->n; k++) {
        lk_manifest_row row = m->row[k];
        m->row[k] = (lk_manifest_row){0};
        if (k % n == i - 1) {
            m->row[kept++] = row;
        } else {
            LK_TRY(LK_GROW(&rest.row, &rest.capacity, rest.n + 1));
            rest.row[rest.n++] = row;
        }
    }
    m->n = kept;
    LK_REQUIRE(m->n > 0, LK_E_EMPTY, "shard %s of %lld clips is empty", text, (long long)rest.n);
done:
    lk_manifest_clear(&rest);
    return st;
}

static lk_status gather_clips(const settings *s, const lk_args *args, lk_manifest *clips)
{
    lk_status st = LK_OK;
    if (s->manifest)
        LK_TRY(lk_manifest_read(s->manifest, clips));
    if (clips->unknown)
        fprintf(stderr, "lockstep: column '%s' of the manifest means nothing here and is ignored\n",
                clips->unknown);
    for (int i = 0; i < args->n_files; i++)
        LK_TRY(lk_inputs_add(clips, args->file[i]));
    LK_REQUIRE(clips->n > 0, LK_E_EMPTY, "no clip to score");
    for (int64_t i = 0; s->reference && i < clips->n; i++) {
        if (!clips->row[i].track)
            LK_TRY(lk_strdup(s->reference, &clips->row[i].track));
    }
    if (s->shard)
        LK_TRY(take_shard(clips, s->shard));
done:
    return st;
}

static lk_status write_table(const settings *s, const char *rows)
{
    lk_status st = LK_OK;
    lk_result_list list = {0};
    if (s->csv) {
        LK_TRY(lk_result_list_read(rows, &list));
        LK_TRY(lk_result_csv_write(s->csv, &list));
    }
done:
    lk_result_list_clear(&list);
    return st;
}

static void show_report(void *user, double done, double total)
{
    lk_progress *bar = user;
    bar->total = total;
    lk_progress_set(bar, done);
}

static lk_status write_report(const settings *s, const char *rows, const char *h5)
{
    lk_progress bar;
    if (!s->report)
        return LK_OK;
    lk_progress_start(&bar, "report", 1);
    const lk_status st =
        lk_report_from_files(s->report, "Sound and picture in time", rows, h5, show_report, &bar);
    lk_progress_end(&bar);
    if (st == LK_OK)
        fprintf(stderr, "lockstep: open %s/index.html\n", s->report);
    return st;
}

static lk_status score(const settings *s, const lk_args *args, context *c,
                       lk_score_run_counts *counts)
{
    lk_status st = LK_OK;
    lk_manifest clips = {0};
    lk_scorer *trial = NULL;
    lk_scratch x = {0};
    char own_rows[224], own_h5[224];
    for (int i = 0; i < args->n_repeated_too; i++)
        LK_TRY(lk_gate_add(&c->gate, args->repeated_too[i]));
    if (s->csv)
        LK_TRY(lk_result_csv_check(s->csv));
    if (s->report)
        LK_TRY(lk_make_folders(s->report));
    LK_REQUIRE(!s->resume || s->out, LK_E_ARG, "--resume needs -o, the file to go on with");
    LK_TRY(lk_scorer_create(&trial, args->repeated, (size_t)args->n_repeated, NULL, 0));
    LK_TRY(gather_clips(s, args, &clips));
    LK_TRY(lk_scratch_make(&x));
    snprintf(own_rows, sizeof own_rows, "%s/rows.jsonl", x.folder);
    snprintf(own_h5, sizeof own_h5, "%s/curves.h5", x.folder);
    const char *rows = s->out ? s->out : own_rows;
    /* A resumed run has curves of every clip only where the former one kept them. */
    const char *h5 = s->h5 ? s->h5 : s->report && !s->resume ? own_h5 : NULL;
    const lk_score_run_options o = {.clips = &clips,
                                    .metrics = args->repeated,
                                    .n_metrics = (size_t)args->n_repeated,
                                    .seed = (uint64_t)s->seed,
                                    .threads = s->threads,
                                    .out = rows,
                                    .h5 = h5,
                                    .resume = s->resume,
                                    .stop = lk_stop_flag(),
                                    .on_row = take_row,
                                    .on_progress = take_progress,
                                    .user = c};
    lk_progress_start(&c->bar, "scoring", (double)clips.n);
    st = lk_score_run(&o, counts);
    lk_progress_end(&c->bar);
    LK_TRY(st);
    LK_TRY(write_table(s, rows));
    LK_TRY(write_report(s, rows, h5));
done:
    lk_scratch_remove(&x);
    lk_scorer_free(&trial);
    lk_manifest_clear(&clips);
    return st;
}

int lk_cmd_score(int argc, char **argv)
{
    settings s;
    lk_args args;
    context c;
    lk_score_run_counts counts = {0, 0};
    int code = LK_EXIT_OK;
    memset(&c, 0, sizeof c);
    if (!lk_args_parse(&spec, &s, argc, argv, &args, &code))
        return code;
    c.s = &s;
    if (s.list_metrics) {
        print_metrics();
        lk_args_clear(&args);
        return LK_EXIT_OK;
    }
    lk_stop_on_signals();
    const lk_status st = score(&s, &args, &c, &counts);
    if (st == LK_E_INTERRUPTED && !s.out)
        code = lk_cli_interrupted();
    else if (st != LK_OK)
        code = st == LK_E_ARG ? lk_cli_usage("score", "%s", lk_error_text()) : lk_cli_failed(st);
    else if (c.n_gated > 0)
        code = LK_EXIT_GATE;
    else if (counts.n_failed > 0)
        code = LK_EXIT_SOME_FAILED;
    if (st == LK_OK)
        fprintf(stderr, "lockstep: %lld clip%s scored, %lld failed%s\n", (long long)counts.n_ok,
                counts.n_ok == 1 ? "" : "s", (long long)counts.n_failed,
                c.n_gated > 0 ? ", the gate was hit" : "");
    lk_args_clear(&args);
    return code;
}
