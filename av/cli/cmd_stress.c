/* cmd_stress.c - the ruler against itself: known shifts and drifts through codecs and containers.
 *
 * Each clip is measured as it is, then written again with its sound moved by a known amount and
 * measured again.  The error of a case is what the measurement moved by, less what was injected;
 * slope and bias come from all trusted cases.  A drift of p ppm shrinks the picture's times by
 * 1 + p / 1e6. */
#include "align/stats.h"
#include "av/cli/args.h"
#include "av/cli/cli.h"
#include "av/cli/inputs.h"
#include "av/cli/scratch.h"
#include "kernels/progress.h"
#include "kernels/stop.h"
#include "av/json.h"
#include "av/media.h"
#include "av/sync.h"

#include "kernels/mem.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DRIFT_PPM     500.0
#define DRIFT_LEAST_S 20.0
#define N_CASES       16
#define MAX_FOLDER    192

typedef struct settings {
    bool json;
    int seed;
} settings;

static const lk_option options[] = {
    LK_OPT_BOOL(settings, json, false, "one JSON object for all clips"),
    LK_OPT_INT(settings, seed, 0, 0, 2147483647, "of the measurements"), LK_OPT_END};

static const lk_cli_spec spec = {
    "stress",
    "FILE|FOLDER...",
    "Writes each clip again through seven containers with its sound moved by known amounts (and\n"
    "with a known drift when it is 20 s or longer), measures every copy and says how well the\n"
    "amounts came back.",
    options,
    "  lockstep worlds impacts --count 1 -o clips && lockstep stress clips",
    NULL};

typedef struct injected {
    const char *container;
    double shift_ms, drift_ppm;
} injected;

static const injected cases[N_CASES] = {
    {"mp4", -250, 0},  {"mp4", 93.7, 0},  {"mkv", -120, 0},      {"mkv", 211.3, 0},
    {"mov", -41.5, 0}, {"mov", 280, 0},   {"webm", 60, 0},       {"webm", -173.1, 0},
    {"ts", 140, 0},    {"ts", -300, 0},   {"avi", 33.3, 0},      {"avi", -220, 0},
    {"ogg", 300, 0},   {"ogg", -77.7, 0}, {"mkv", 0, DRIFT_PPM}, {"mkv", 0, -DRIFT_PPM},
};

/* ---- one copy -------------------------------------------------------------------------------- */

typedef struct source {
    const char *path;
    lk_media_info info;
    lk_flick length;
} source;

static lk_status look(source *s)
{
    lk_status st = LK_OK;
    lk_media *m = NULL;
    lk_media_item item;
    LK_TRY(lk_media_open(&m, s->path, NULL));
    do {
        LK_TRY(lk_media_next(m, &item));
    } while (item.kind != LK_MEDIA_END);
    s->info = *lk_media_get_info(m);
    LK_REQUIRE(s->info.video.present && s->info.audio.present, LK_E_EMPTY,
               "'%s' needs picture and sound", s->path);
    s->length = s->info.video.end - s->info.video.start;
done:
    lk_media_close(&m);
    return st;
}

typedef struct copy {
    const source *s;
    const injected *what;
    bool counted; /* frames lie on the grid of rate */
    lk_rational rate;
    lk_flick video, audio; /* added to both after the first picture's time is taken off */
    lk_writer *writer;
} copy;

/* Frame time in the copy: on the grid, moved, with the drift taken out of the picture. */
static lk_status video_time(const copy *c, lk_flick t, lk_flick *out)
{
    lk_status st = LK_OK;
    int64_t n = 0;
    lk_flick own = t - c->s->info.video.start;
    if (c->counted) {
        LK_TRY(lk_ticks_from_flick(own, c->rate, &n));
        LK_TRY(lk_flick_from_ticks(n, c->rate, &own));
    } else if (c->what->drift_ppm != 0) {
        own = (lk_flick)llrint((double)own / (1 + c->what->drift_ppm / 1e6));
    }
    *out = c->video + own;
done:
    return st;
}

static lk_status plan(copy *c)
{
    lk_status st = LK_OK;
    const lk_video_info *v = &c->s->info.video;
    const lk_flick shift = lk_flick_from_s(c->what->shift_ms / 1e3);
    const lk_flick early = c->s->info.audio.start - v->start + shift;
    int64_t lead = 0;
    c->counted = !v->vfr && v->nominal_rate.num > 0 && c->what->drift_ppm == 0;
    c->rate = c->counted ? v->nominal_rate : (lk_rational){1000, 1};
    /* Nothing may start before 0: whole frames of lead make room for sound that moves earlier. */
    if (early < 0) {
        LK_TRY(lk_ticks_from_flick(-early, c->rate, &lead));
        lead++;
    }
    LK_TRY(lk_flick_from_ticks(lead, c->rate, &c->video));
    c->audio = c->video + shift;
done:
    return st;
}

static lk_status copy_item(copy *c, const lk_media_item *item)
{
    lk_status st = LK_OK;
    if (item->kind == LK_MEDIA_FRAME) {
        lk_frame_view f = item->frame;
        LK_TRY(video_time(c, item->frame.span.start, &f.span.start));
        LK_TRY(video_time(c, item->frame.span.end, &f.span.end));
        f.width &= ~1;
        f.height &= ~1;
        LK_TRY(lk_writer_frame(c->writer, &f));
    } else if (item->kind == LK_MEDIA_PCM) {
        lk_pcm_view p = item->pcm;
        const lk_flick move = c->audio - c->s->info.video.start;
        p.span.start += move;
        p.span.end += move;
        LK_TRY(lk_writer_pcm(c->writer, &p));
    }
done:
    return st;
}

static lk_status write_copy(const source *s, const injected *what, const char *path)
{
    lk_status st = LK_OK;
    lk_media *m = NULL;
    lk_media_item item;
    copy c = {.s = s, .what = what};
    LK_TRY(plan(&c));
    const lk_writer_options o = {.container = what->container,
                                 .width = s->info.video.width & ~1,
                                 .height = s->info.video.height & ~1,
                                 .rate = c.rate,
                                 .vfr = !c.counted,
                                 .rate_hz = s->info.audio.rate_hz,
                                 .n_channels = s->info.audio.n_channels};
    LK_TRY(lk_writer_open(&c.writer, path, &o));
    LK_TRY(lk_media_open(&m, s->path, &(lk_media_options){.want_rgb = true}));
    do {
        LK_TRY(lk_media_next(m, &item));
        LK_TRY(copy_item(&c, &item));
    } while (item.kind != LK_MEDIA_END);
    LK_TRY(lk_writer_finish(c.writer));
done:
    lk_writer_close(&c.writer);
    lk_media_close(&m);
    return st;
}

/* ---- all of them ----------------------------------------------------------------------------- */

typedef struct tally {
    json_t *rows;
    double *shift, *error, *drift_error;
    size_t room[3];
    int64_t n, n_drift, n_untrusted, n_skipped;
} tally;

static lk_status note(tally *t, const char *path, const injected *what, const lk_sync_answer *base,
                      const lk_sync_answer *a, const char *skipped)
{
    lk_status st = LK_OK;
    json_t *o = json_object();
    json_array_append_new(t->rows, o);
    const bool good = !skipped && a->trusted;
    const double moved = good ? a->offset_ms - base->offset_ms : (double)NAN;
    LK_TRY(lk_json_set(o, "file", lk_json_text(path)));
    LK_TRY(lk_json_set(o, "container", json_string(what->container)));
    LK_TRY(lk_json_set(o, "shift_ms", json_real(what->shift_ms)));
    LK_TRY(lk_json_set(o, "drift_ppm", json_real(what->drift_ppm)));
    LK_TRY(lk_json_set(o, "measured_ms", lk_json_real(moved)));
    LK_TRY(lk_json_set(o, "measured_drift_ppm", lk_json_real(good ? a->drift_ppm : (double)NAN)));
    LK_TRY(lk_json_set(o, "trusted", json_boolean(good)));
    LK_TRY(lk_json_set(o, "source", good ? json_string(a->source) : json_null()));
    LK_TRY(lk_json_set(o, "reason",
                       skipped ? lk_json_text(skipped)
                       : good  ? json_null()
                               : lk_json_text(a->reason)));
    t->n_skipped += skipped != NULL;
    t->n_untrusted += !skipped && !good;
    if (good && what->drift_ppm == 0) {
        LK_TRY(LK_GROW(&t->shift, &t->room[0], t->n + 1));
        LK_TRY(LK_GROW(&t->error, &t->room[1], t->n + 1));
        t->shift[t->n] = what->shift_ms;
        t->error[t->n++] = moved - what->shift_ms;
    } else if (good && isfinite(a->drift_ppm)) {
        LK_TRY(LK_GROW(&t->drift_error, &t->room[2], t->n_drift + 1));
        const double before = isfinite(base->drift_ppm) ? base->drift_ppm : 0;
        t->drift_error[t->n_drift++] = a->drift_ppm - before - what->drift_ppm;
    }
done:
    return st;
}

static lk_status one_case(const source *s, const injected *what, const char *folder,
                          const lk_sync_answer *base, uint64_t seed, tally *t)
{
    lk_status st = LK_OK;
    char path[MAX_FOLDER + 32], why[256];
    lk_sync_answer a;
    memset(&a, 0, sizeof a);
    snprintf(path, sizeof path, "%s/copy.%s", folder, what->container);
    st = write_copy(s, what, path);
    if (st == LK_E_MEMORY || st == LK_E_INTERNAL)
        goto done;
    if (st != LK_OK) { /* this container cannot hold this clip: said, not hidden */
        snprintf(why, sizeof why, "%s", lk_error_text());
        lk_error_clear();
        st = note(t, s->path, what, base, &a, why);
        goto done;
    }
    LK_TRY(lk_sync_measure(path, seed, &a));
    LK_TRY(note(t, s->path, what, base, &a, NULL));
done:
    unlink(path);
    return st;
}

static lk_status one_file(const char *path, const char *folder, uint64_t seed, lk_progress *bar,
                          double done_before, tally *t)
{
    lk_status st = LK_OK;
    source s = {.path = path};
    lk_sync_answer base;
    LK_TRY(look(&s));
    LK_TRY(lk_sync_measure(path, seed, &base));
    LK_REQUIRE(base.trusted, LK_E_EMPTY, "'%s' has no trustworthy offset to start from: %s", path,
               base.reason);
    for (int i = 0; i < N_CASES; i++) {
        LK_REQUIRE(!*lk_stop_flag(), LK_E_INTERRUPTED, "interrupted");
        if (cases[i].drift_ppm == 0 || lk_flick_to_s(s.length) >= DRIFT_LEAST_S)
            LK_TRY(one_case(&s, &cases[i], folder, &base, seed, t));
        lk_progress_set(bar, done_before + (double)(i + 1) / N_CASES);
    }
done:
    return st;
}

static double slope_of(const tally *t)
{
    double ms = 0, me = 0, ss = 0, se = 0;
    for (int64_t i = 0; i < t->n; i++) {
        ms += t->shift[i] / (double)t->n;
        me += t->error[i] / (double)t->n;
    }
    for (int64_t i = 0; i < t->n; i++) {
        ss += (t->shift[i] - ms) * (t->shift[i] - ms);
        se += (t->shift[i] - ms) * (t->error[i] - me);
    }
    return t->n > 1 && ss > 0 ? 1 + se / ss : (double)NAN;
}

static lk_status print_answer(tally *t, bool json, int64_t n_files, int64_t n_failed)
{
    lk_status st = LK_OK;
    json_t *root = json_object();
    const double slope = slope_of(t), bias = lk_median(t->error, t->n);
    for (int64_t i = 0; i < t->n; i++)
        t->error[i] = fabs(t->error[i]);
    for (int64_t i = 0; i < t->n_drift; i++)
        t->drift_error[i] = fabs(t->drift_error[i]);
    const double p95 = lk_quantile(t->error, t->n, 0.95);
    const double drift = lk_median(t->drift_error, t->n_drift);
    if (!json) {
        printf("%lld clips, %lld without an offset to start from\n", (long long)n_files,
               (long long)n_failed);
        printf("%lld shifts measured", (long long)t->n);
        if (isfinite(slope))
            printf(": slope %.4f, bias %+.2f ms, 95 %% of errors within %.2f ms", slope, bias, p95);
        printf("\n");
        if (t->n_drift > 0)
            printf("%lld drifts of %.0f ppm measured: median error %.0f ppm\n",
                   (long long)t->n_drift, DRIFT_PPM, drift);
        printf("%lld copies without a trusted offset, %lld that a container could not hold\n",
               (long long)t->n_untrusted, (long long)t->n_skipped);
        goto done;
    }
    LK_TRY(lk_json_set(root, "slope", lk_json_real(slope)));
    LK_TRY(lk_json_set(root, "bias_ms", lk_json_real(bias)));
    LK_TRY(lk_json_set(root, "p95_abs_err_ms", lk_json_real(p95)));
    LK_TRY(lk_json_set(root, "drift_abs_err_ppm", lk_json_real(drift)));
    LK_TRY(lk_json_set(root, "n", json_integer(t->n)));
    LK_TRY(lk_json_set(root, "n_drift", json_integer(t->n_drift)));
    LK_TRY(lk_json_set(root, "n_untrusted", json_integer(t->n_untrusted)));
    LK_TRY(lk_json_set(root, "n_skipped", json_integer(t->n_skipped)));
    LK_TRY(lk_json_set(root, "n_clips", json_integer(n_files)));
    LK_TRY(lk_json_set(root, "n_clips_without_offset", json_integer(n_failed)));
    LK_TRY(lk_json_set(root, "cases", json_incref(t->rows)));
    json_t *const line = root;
    root = NULL;
    LK_TRY(lk_json_print_line(line));
done:
    json_decref(root);
    return st;
}

static lk_status stress(const lk_args *args, const settings *s, int64_t *n_failed)
{
    lk_status st = LK_OK;
    lk_scratch x = {0};
    lk_manifest files = {0};
    lk_progress bar = {0};
    tally t = {.rows = json_array()};
    for (int i = 0; i < args->n_files; i++)
        LK_TRY(lk_inputs_add(&files, args->file[i]));
    LK_REQUIRE(files.n > 0, LK_E_EMPTY, "no clip to stress");
    LK_TRY(lk_scratch_make(&x));
    lk_progress_start(&bar, "stress", (double)files.n);
    for (int64_t i = 0; i < files.n; i++) {
        lk_progress_label(&bar, files.row[i].clip);
        st = one_file(files.row[i].clip, x.folder, (uint64_t)s->seed, &bar, (double)i, &t);
        if (st == LK_E_MEMORY || st == LK_E_INTERNAL || st == LK_E_INTERRUPTED)
            goto done;
        if (st != LK_OK) {
            fprintf(stderr, "%slockstep: %s\n", bar.on ? "\r\033[K" : "", lk_error_text());
            lk_error_clear();
            (*n_failed)++;
        }
    }
    lk_progress_end(&bar);
    st = LK_OK;
    LK_TRY(print_answer(&t, s->json, files.n, *n_failed));
done:
    lk_progress_end(&bar);
    lk_scratch_remove(&x);
    json_decref(t.rows);
    lk_free(t.shift);
    lk_free(t.error);
    lk_free(t.drift_error);
    lk_manifest_clear(&files);
    return st;
}

int lk_cmd_stress(int argc, char **argv)
{
    settings s;
    lk_args args;
    int64_t n_failed = 0;
    int code = LK_EXIT_OK;
    if (!lk_args_parse(&spec, &s, argc, argv, &args, &code))
        return code;
    if (args.n_files == 0) {
        code = lk_cli_usage("stress", "no file given");
    } else {
        lk_stop_on_signals();
        const lk_status st = stress(&args, &s, &n_failed);
        code = st == LK_E_INTERRUPTED ? lk_cli_interrupted()
               : st != LK_OK          ? lk_cli_failed(st)
               : n_failed > 0         ? LK_EXIT_SOME_FAILED
                                      : LK_EXIT_OK;
    }
    lk_args_clear(&args);
    return code;
}
