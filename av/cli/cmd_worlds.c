/* cmd_worlds.c - make clips whose truth is exactly known. */
#include "av/cli/args.h"
#include "av/cli/cli.h"
#include "kernels/progress.h"
#include "kernels/stop.h"
#include "kernels/file.h"
#include "av/worlds_clip.h"

#include "kernels/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_ROWS 48

typedef struct settings {
    lk_world_options world; /* first: the world's option rows keep their offsets */
    int count, seed, index_from, threads;
    bool scripts, resume;
    const char *out, *size, *container, *vcodec, *acodec;
} settings;

static const lk_option own_rows[] = {
    LK_OPT_INT(settings, count, 1, 1, 1000000, "how many clips"),
    LK_OPT_INT(settings, seed, 0, 0, 2147483647, "of all randomness"),
    LK_OPT_INT(settings, index_from, 0, 0, 2147483647, "number of the first clip"),
    LK_OPT_TEXT(settings, out, ".", "folder for the clips and truth.jsonl"),
    LK_OPT_TEXT(settings, size, "320x240", "picture size in pixels"),
    LK_OPT_TEXT(settings, container, "mp4", "mp4, mov, mkv, webm, ts, avi or ogg"),
    LK_OPT_TEXT(settings, vcodec, NULL, "picture codec; the container's usual one if not given"),
    LK_OPT_TEXT(settings, acodec, NULL, "sound codec; the container's usual one if not given"),
    LK_OPT_INT(settings, threads, 0, 0, 64, "encoder threads, 0 = all processors"),
    LK_OPT_BOOL(settings, scripts, false, "beside each clip its script for 'generate', as .txt"),
    LK_OPT_BOOL(settings, resume, false, "keep clips that are already there"),
    LK_OPT_END};

/* The command's own rows, then the world's with their names for the command line. */
static void merge_rows(lk_option rows[MAX_ROWS])
{
    size_t n = 0;
    for (const lk_option *o = own_rows; o->name; o++)
        rows[n++] = *o;
    for (const lk_option *o = lk_world_option_rows; o->name; o++) {
        LK_ASSERT(n + 1 < MAX_ROWS);
        if (strcmp(o->name, "width") == 0 || strcmp(o->name, "height") == 0)
            continue;
        rows[n] = *o;
        if (strcmp(o->name, "rate_hz") == 0)
            rows[n].name = "rate";
        n++;
    }
    rows[n] = own_rows[sizeof own_rows / sizeof own_rows[0] - 1];
}

static void about_text(char *text, size_t bytes)
{
    size_t used = (size_t)snprintf(
        text, bytes,
        "Makes clips in which every event's time is known exactly, and truth.jsonl beside them\n"
        "with one line a clip.  The same NAME, seed and index give the same clip.\n\nworlds:");
    for (const char *const *name = lk_world_names(); *name && used < bytes; name++)
        used += (size_t)snprintf(text + used, bytes - used, "\n  %-10s %s", *name,
                                 lk_world_summary(*name));
}

static lk_status parse_size(settings *s)
{
    lk_status st = LK_OK;
    char after = 0;
    LK_REQUIRE(sscanf(s->size, "%5dx%5d%c", &s->world.width, &s->world.height, &after) == 2,
               LK_E_ARG, "'size' must be like 320x240, not '%.40s'", s->size);
done:
    return st;
}

typedef struct run {
    const settings *s;
    const char *name;
    char *truth_path;
    json_t **lines; /* [count] */
    lk_progress bar;
    int64_t done;
    int64_t n_kept;
} run;

static void set_progress(void *user, double share)
{
    run *r = user;
    lk_progress_set(&r->bar, (double)r->done + share);
}

/* A kept clip whose stated truth differs was made with other settings. */
static lk_status check_kept(const run *r, const char *file, const json_t *line)
{
    lk_status st = LK_OK;
    json_t *old = NULL, *now = NULL;
    char *text = NULL;
    LK_TRY(lk_world_truth_find(r->truth_path, file, &old));
    if (old) { /* compare after the same rounding to text */
        text = json_dumps(line, JSON_REAL_PRECISION(12));
        now = text ? json_loads(text, 0, NULL) : NULL;
        LK_REQUIRE(now, LK_E_MEMORY, "out of memory");
        LK_REQUIRE(json_equal(old, now), LK_E_ARG,
                   "'%s' was made with other settings; use another folder or remove it", file);
    }
done:
    free(text);
    json_decref(old);
    json_decref(now);
    return st;
}

static lk_status make_clip(run *r, int64_t i)
{
    lk_status st = LK_OK;
    const settings *s = r->s;
    lk_world *w = NULL;
    char *path = NULL, file[160];
    const uint64_t seed = (uint64_t)s->seed, index = (uint64_t)(s->index_from + i);
    snprintf(file, sizeof file, "%s_%d_%05llu.%.16s", r->name, s->seed, (unsigned long long)index,
             s->container);
    LK_TRY(LK_NEW_ARRAY(&path, strlen(s->out) + strlen(file) + sizeof "/.txt"));
    sprintf(path, "%s/%s", s->out, file);
    const lk_world_clip_options o = {.container = s->container,
                                     .vcodec = s->vcodec,
                                     .acodec = s->acodec,
                                     .threads = s->threads,
                                     .stop = lk_stop_flag(),
                                     .progress = set_progress,
                                     .user = r};
    LK_TRY(lk_world_create(&w, r->name, seed, index, &s->world));
    LK_TRY(lk_world_truth(w, file, r->name, seed, index, &s->world, &r->lines[i]));
    if (s->resume && access(path, F_OK) == 0) {
        LK_TRY(check_kept(r, file, r->lines[i]));
        r->n_kept++;
    } else {
        LK_TRY(lk_world_write_clip(w, path, &o));
    }
    if (s->scripts) {
        strcpy(strrchr(path, '.'), ".txt");
        LK_TRY(lk_world_script_write(w, path));
    }
done:
    lk_world_free(&w);
    lk_free(path);
    return st;
}

static lk_status make_clips(const settings *s, const char *name)
{
    lk_status st = LK_OK;
    run r = {.s = s, .name = name};
    char label[64];
    LK_TRY(lk_make_folders(s->out));
    LK_TRY(LK_NEW_ARRAY(&r.lines, s->count));
    LK_TRY(LK_NEW_ARRAY(&r.truth_path, strlen(s->out) + sizeof "/truth.jsonl"));
    sprintf(r.truth_path, "%s/truth.jsonl", s->out);
    snprintf(label, sizeof label, "%.40s", name);
    lk_progress_start(&r.bar, label, s->count);
    while (r.done < s->count && st == LK_OK) {
        st = make_clip(&r, r.done);
        r.done += st == LK_OK;
    }
    lk_progress_end(&r.bar);
    /* Also what was finished before a failure has its truth; that failure is the one to report. */
    const lk_status written =
        r.done > 0 ? lk_world_truth_write(r.truth_path, r.lines, r.done) : LK_OK;
    st = st == LK_OK ? written : st;
    LK_TRY(st);
    fprintf(stderr, "%d clip%s in %s", s->count, s->count == 1 ? "" : "s", s->out);
    if (r.n_kept > 0)
        fprintf(stderr, " (%lld were there)", (long long)r.n_kept);
    fprintf(stderr, ", truth in %s\n", r.truth_path);
done:
    for (int64_t i = 0; r.lines && i < s->count; i++)
        json_decref(r.lines[i]);
    lk_free(r.lines);
    lk_free(r.truth_path);
    return st;
}

int lk_cmd_worlds(int argc, char **argv)
{
    settings s;
    lk_args args;
    lk_option rows[MAX_ROWS];
    char about[1024];
    int code = LK_EXIT_OK;
    merge_rows(rows);
    about_text(about, sizeof about);
    const lk_cli_spec spec = {
        "worlds",
        "NAME",
        about,
        rows,
        "  lockstep worlds impacts --count 3 --seed 7 --offset-ms 80 --camera -o clips\n"
        "  lockstep worlds dancer --scripts -o clips",
        NULL};
    if (!lk_args_parse(&spec, &s, argc, argv, &args, &code))
        return code;
    if (args.n_files != 1) {
        code = lk_cli_usage("worlds", args.n_files ? "one world at a time" : "no world named");
    } else {
        lk_stop_on_signals();
        lk_status st = parse_size(&s);
        if (st == LK_OK)
            st = make_clips(&s, args.file[0]);
        code = st == LK_OK ? LK_EXIT_OK : lk_cli_failed(st);
    }
    lk_args_clear(&args);
    return code;
}
