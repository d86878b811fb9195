/* cmd_bench.c - how fast the ruler is, beside decoding the same file with ffmpeg in the same run,
 * how fast the operations are, beside what the machine can do in the same run, and how fast the
 * tokenizers are, beside time itself.
 *
 * Every measurement of the ruler is a child process of its own, so that peak memory is its own too;
 * the contenders take turns, and the medians are compared. */
#include "align/stats.h"
#include "av/cli/args.h"
#include "av/cli/bench_tokenizers.h"
#include "av/cli/cli.h"
#include "kernels/progress.h"
#include "kernels/stop.h"
#include "av/cli/scratch.h"
#include "av/json.h"
#include "av/media.h"
#include "av/score_clip.h"
#include "av/worlds_clip.h"

#include "kernels/bench/bench.h"
#include "kernels/device.h"
#include "kernels/mem.h"
#include "kernels/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_RUNS       51
#define MAX_CONTENDERS 12

typedef struct settings {
    bool json;
    const char *filter, *device, *codec, *vae, *size;
    int runs, seconds, threads;
} settings;

static const lk_option options[] = {
    LK_OPT_BOOL(settings, json, false, "one JSON object a line and file"),
    LK_OPT_TEXT(settings, filter, NULL, "only those whose name contains this"),
    LK_OPT_DEVICE(settings),
    LK_OPT_TEXT(settings, codec, NULL, "tokenizers: weights of the audio tokenizer"),
    LK_OPT_TEXT(settings, vae, NULL, "tokenizers: weights of the video tokenizer"),
    LK_OPT_TEXT(settings, size, "128x128", "tokenizers: of the pictures"),
    LK_OPT_INT(settings, runs, 5, 1, MAX_RUNS, "medians are over this many runs"),
    LK_OPT_INT(settings, seconds, 30, 1, 7200, "length of what is made to be timed"),
    LK_OPT_INT(settings, threads, 2, 1, 64, "score: decoder threads, of ffmpeg as well"),
    LK_OPT_END};

static const lk_cli_spec spec = {
    "bench",
    "score [FILE...] | ops | tokenizers",
    "score: times `score` with event and beat together, and every metric alone, against\n"
    "`ffmpeg -threads N -i FILE -f null -` on the same file in the same run.  Without a file it\n"
    "makes a clip of 640x360 and one of 1920x1080.\n\n"
    "ops: times every operation of the engine and of its gradients at the shapes of the models,\n"
    "in GFLOP/s or GB/s, beside the peak measured just before.  LK_THREADS sets the threads.\n\n"
    "tokenizers: times streams of sound and pictures to latents and back, untrained ones of every\n"
    "shape without --codec or --vae.",
    options,
    "  lockstep bench score --seconds 10 --runs 3\n"
    "  lockstep bench ops --filter matmul\n"
    "  lockstep bench tokenizers --seconds 4 --runs 1",
    NULL};

typedef struct contender {
    char name[48];
    const char *metrics[2];
    size_t n_metrics; /* 0: ffmpeg */
    double wall_s[MAX_RUNS], cpu_s[MAX_RUNS];
    double peak_mib;
    int n;
} contender;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void run_ffmpeg(const char *path, int threads)
{
    char n[16];
    snprintf(n, sizeof n, "%d", threads);
    const int quiet = open("/dev/null", O_RDWR);
    dup2(quiet, 0);
    dup2(quiet, 1);
    dup2(quiet, 2);
    execlp("ffmpeg", "ffmpeg", "-nostdin", "-threads", n, "-i", path, "-f", "null", "-",
           (char *)NULL);
    _exit(127);
}

static void run_score(const char *path, const contender *c, int threads)
{
    lk_clip_result r;
    memset(&r, 0, sizeof r);
    signal(SIGINT, SIG_DFL);
    const lk_score_clip_options o = {
        .metrics = c->metrics, .n_metrics = c->n_metrics, .threads = threads};
    const lk_status st = lk_score_clip(path, &o, &r);
    _exit(st == LK_OK && !r.failed ? 0 : 1);
}

/* One run in a child; false when it did not end well. */
static bool measure(const char *path, contender *c, int threads)
{
    struct rusage use;
    int status = 0;
    const double start = now_s();
    const pid_t child = fork();
    if (child < 0)
        return false;
    if (child == 0 && c->n_metrics == 0)
        run_ffmpeg(path, threads);
    if (child == 0)
        run_score(path, c, threads);
    if (wait4(child, &status, 0, &use) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return false;
    c->wall_s[c->n] = now_s() - start;
    c->cpu_s[c->n] = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                     1e-6 * (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
    c->peak_mib = fmax(c->peak_mib, (double)use.ru_maxrss / 1024);
    c->n++;
    return true;
}

/* ffmpeg, and every other one whose name contains `filter`. */
static int list_contenders(contender *list, const char *filter)
{
    int n = 0;
    memset(list, 0, MAX_CONTENDERS * sizeof *list);
    snprintf(list[n++].name, sizeof list->name, "ffmpeg decode");
    if (lk_metric_find("event") && lk_metric_find("beat")) {
        snprintf(list[n].name, sizeof list->name, "event + beat");
        list[n].metrics[0] = "event";
        list[n].metrics[1] = "beat";
        list[n++].n_metrics = 2;
    }
    for (const lk_metric *const *m = lk_metrics(); *m && n < MAX_CONTENDERS; m++) {
        snprintf(list[n].name, sizeof list->name, "%s alone", (*m)->name);
        list[n].metrics[0] = (*m)->name;
        list[n++].n_metrics = 1;
    }
    int kept = 1;
    for (int i = 1; i < n; i++) {
        if (!filter || strstr(list[i].name, filter))
            list[kept++] = list[i];
    }
    return kept;
}

static void print_table(const char *path, contender *list, int n)
{
    printf("%s\n  %-22s %10s %10s %10s %10s\n", path, "", "wall s", "ratio", "cpu s", "peak MiB");
    const double base = list[0].n > 0 ? lk_median(list[0].wall_s, list[0].n) : (double)NAN;
    for (int i = 0; i < n; i++) {
        if (list[i].n == 0) {
            printf("  %-22s %10s\n", list[i].name, "failed");
            continue;
        }
        const double wall = lk_median(list[i].wall_s, list[i].n);
        char ratio[32] = "-";
        if (isfinite(base))
            snprintf(ratio, sizeof ratio, "%.2f", wall / base);
        printf("  %-22s %10.3f %10s %10.3f %10.1f\n", list[i].name, wall, ratio,
               lk_median(list[i].cpu_s, list[i].n), list[i].peak_mib);
    }
}

static lk_status print_json(const char *path, contender *list, int n, const settings *s)
{
    lk_status st = LK_OK;
    json_t *root = json_object(), *rows = json_array();
    const double base = list[0].n > 0 ? lk_median(list[0].wall_s, list[0].n) : (double)NAN;
    LK_TRY(lk_json_set(root, "file", lk_json_text(path)));
    LK_TRY(lk_json_set(root, "runs", json_integer(s->runs)));
    LK_TRY(lk_json_set(root, "threads", json_integer(s->threads)));
    LK_TRY(lk_json_set(root, "rows", rows));
    for (int i = 0; i < n; i++) {
        json_t *o = json_object();
        const bool good = list[i].n > 0;
        const double wall = good ? lk_median(list[i].wall_s, list[i].n) : (double)NAN;
        json_array_append_new(rows, o);
        LK_TRY(lk_json_set(o, "name", json_string(list[i].name)));
        LK_TRY(lk_json_set(o, "wall_s", lk_json_real(wall)));
        LK_TRY(lk_json_set(o, "ratio_to_ffmpeg", lk_json_real(wall / base)));
        LK_TRY(lk_json_set(o, "cpu_s",
                           lk_json_real(good ? lk_median(list[i].cpu_s, list[i].n) : (double)NAN)));
        LK_TRY(lk_json_set(o, "peak_mib", lk_json_real(good ? list[i].peak_mib : (double)NAN)));
    }
    json_t *const line = root;
    root = NULL;
    LK_TRY(lk_json_print_line(line));
done:
    json_decref(root);
    return st;
}

static lk_status bench_file(const char *path, const settings *s)
{
    lk_status st = LK_OK;
    contender list[MAX_CONTENDERS];
    lk_progress bar = {0};
    const int n = list_contenders(list, s->filter);
    lk_media *media = NULL;
    LK_TRY(lk_media_open(&media, path, NULL)); /* what cannot be read gets its sentence at once */
    lk_media_close(&media);
    lk_progress_start(&bar, path, (double)s->runs * n);
    for (int run = 0; run < s->runs; run++) {
        for (int i = 0; i < n; i++) {
            (void)measure(path, &list[i], s->threads);
            LK_REQUIRE(!*lk_stop_flag(), LK_E_INTERRUPTED, "interrupted");
            lk_progress_set(&bar, (double)(run * n + i + 1));
        }
    }
    lk_progress_end(&bar);
    if (s->json)
        LK_TRY(print_json(path, list, n, s));
    else
        print_table(path, list, n);
    LK_REQUIRE(list[0].n > 0, LK_E_ENV,
               "ffmpeg did not run, so there is nothing to compare with; apt install ffmpeg");
done:
    lk_progress_end(&bar);
    return st;
}

static lk_status make_clip(const char *path, const lk_world_options *w)
{
    lk_status st = LK_OK;
    lk_world *world = NULL;
    LK_TRY(lk_world_create(&world, "impacts", 1, 0, w));
    LK_TRY(lk_world_write_clip(world, path, NULL));
done:
    lk_world_free(&world);
    return st;
}

static lk_status bench_made_clips(const settings *s)
{
    lk_status st = LK_OK;
    static const int sizes[2][2] = {{640, 360}, {1920, 1080}};
    lk_scratch x = {0};
    char path[256];
    LK_TRY(lk_scratch_make(&x));
    for (int i = 0; i < 2; i++) {
        lk_world_options w;
        lk_option_defaults(lk_world_option_rows, &w);
        w.seconds = s->seconds;
        w.width = sizes[i][0];
        w.height = sizes[i][1];
        w.camera = true;
        w.noise = true;
        snprintf(path, sizeof path, "%s/%dx%d.mp4", x.folder, w.width, w.height);
        st = make_clip(path, &w);
        if (st == LK_OK)
            st = bench_file(path, s);
        unlink(path);
        LK_TRY(st);
    }
done:
    lk_scratch_remove(&x);
    return st;
}

/* Rows of `ops`: printed as they come, or collected for one JSON object. */
typedef struct op_rows {
    json_t *list; /* NULL: print */
    int n;
    lk_status st;
} op_rows;

static lk_status collect_row(json_t *list, const lk_bench_row *r)
{
    lk_status st = LK_OK;
    json_t *o = json_object();
    LK_REQUIRE(json_array_append_new(list, o) == 0, LK_E_MEMORY, "out of memory");
    LK_TRY(lk_json_set(o, "op", json_string(r->op)));
    LK_TRY(lk_json_set(o, "shape", json_string(r->shape)));
    LK_TRY(lk_json_set(o, "dtype", json_string(lk_dtype_name(r->dtype))));
    LK_TRY(lk_json_set(o, "ms", lk_json_real(r->seconds * 1e3)));
    LK_TRY(lk_json_set(o, "gflops", r->gflops > 0 ? lk_json_real(r->gflops) : json_null()));
    LK_TRY(lk_json_set(o, "gbps", r->gbps > 0 ? lk_json_real(r->gbps) : json_null()));
    LK_TRY(lk_json_set(o, "share_of_peak", lk_json_real(r->share)));
done:
    return st;
}

static void take_row(void *user, const lk_bench_row *r)
{
    op_rows *rows = user;
    rows->n++;
    if (rows->list) {
        if (rows->st == LK_OK)
            rows->st = collect_row(rows->list, r);
        return;
    }
    printf("%-14s %-30s %-5s %9.3f ms %9.1f %s %5.0f %%\n", r->op, r->shape,
           lk_dtype_name(r->dtype), r->seconds * 1e3, r->gflops > 0 ? r->gflops : r->gbps,
           r->gflops > 0 ? "GFLOP/s" : "GB/s   ", 100 * r->share);
    fflush(stdout);
}

static lk_status bench_ops(const settings *s)
{
    lk_status st = LK_OK;
    json_t *root = json_object(), *peaks = json_object();
    op_rows rows = {.list = s->json ? json_array() : NULL};
    const lk_backend *backend = NULL;
    lk_bench_peaks p = {0};
    LK_TRY(lk_backend_named(s->device, &backend));
    if (backend == lk_backend_cpu())
        p = lk_bench_measure_peaks();
    else
        LK_TRY(lk_bench_device_peaks(backend, &p));
    LK_TRY(lk_json_set(root, "device", lk_json_text(lk_backend_device(backend))));
    LK_TRY(lk_json_set(root, "threads", json_integer(lk_threads())));
    LK_TRY(lk_json_set(root, "peaks", json_incref(peaks)));
    LK_TRY(lk_json_set(peaks, "f32_gflops", lk_json_real(p.f32_gflops)));
    LK_TRY(lk_json_set(peaks, "bf16_gflops",
                       p.bf16_gflops > 0 ? lk_json_real(p.bf16_gflops) : json_null()));
    LK_TRY(lk_json_set(peaks, "copy_gbps", lk_json_real(p.copy_gbps)));
    if (!s->json)
        printf("%s, %d threads; peaks: %.0f GFLOP/s f32, %.0f bf16, copy %.1f GB/s\n",
               lk_backend_device(backend), lk_threads(), p.f32_gflops, p.bf16_gflops, p.copy_gbps);
    LK_TRY(lk_bench_ops(backend, s->filter, &p, take_row, &rows));
    LK_TRY(rows.st);
    LK_REQUIRE(rows.n > 0, LK_E_EMPTY, "no operation's name contains '%s'",
               s->filter ? s->filter : "");
    if (s->json) {
        LK_TRY(lk_json_set(root, "rows", json_incref(rows.list)));
        json_t *const line = root;
        root = NULL;
        LK_TRY(lk_json_print_line(line));
    }
done:
    json_decref(root);
    json_decref(peaks);
    json_decref(rows.list);
    return st;
}

static lk_status bench_score(const settings *s, const lk_args *args)
{
    lk_status st = LK_OK;
    lk_stop_on_signals();
    if (args->n_files == 1)
        LK_TRY(bench_made_clips(s));
    for (int i = 1; i < args->n_files; i++)
        LK_TRY(bench_file(args->file[i], s));
done:
    return st;
}

static lk_status bench_tokenizers(const settings *s)
{
    lk_status st = LK_OK;
    lk_tokenizer_bench b = {.codec = s->codec,
                            .vae = s->vae,
                            .filter = s->filter,
                            .seconds = s->seconds,
                            .runs = s->runs,
                            .json = s->json};
    lk_stop_on_signals();
    LK_TRY(lk_backend_named(s->device, &b.backend));
    LK_TRY(lk_args_size(s->size, "128x128", &b.width, &b.height));
    LK_TRY(lk_bench_tokenizers(&b));
done:
    return st;
}

int lk_cmd_bench(int argc, char **argv)
{
    settings s;
    lk_args args;
    int code = LK_EXIT_OK;
    lk_status st = LK_OK;
    if (!lk_args_parse(&spec, &s, argc, argv, &args, &code))
        return code;
    const char *what = args.n_files > 0 ? args.file[0] : "";
    if (strcmp(what, "score") == 0)
        st = bench_score(&s, &args);
    else if (strcmp(what, "ops") == 0 && args.n_files == 1)
        st = bench_ops(&s);
    else if (strcmp(what, "tokenizers") == 0 && args.n_files == 1)
        st = bench_tokenizers(&s);
    else
        code = lk_cli_usage("bench", "say what to time: score [FILE...], ops, or tokenizers");
    if (st != LK_OK)
        code = st == LK_E_INTERRUPTED ? lk_cli_interrupted() : lk_cli_failed(st);
    lk_args_clear(&args);
    return code;
}
