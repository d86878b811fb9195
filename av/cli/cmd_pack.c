/* cmd_pack.c - clips and worlds into datasets for training. */
#include "av/cli/args.h"
#include "av/cli/cli.h"
#include "av/cli/inputs.h"
#include "av/json.h"
#include "av/pack.h"
#include "av/version.h"
#include "kernels/file.h"
#include "kernels/mem.h"
#include "kernels/progress.h"
#include "kernels/stop.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAX_ROWS 48

typedef struct settings {
    lk_world_options world; /* first: the world's option rows keep their offsets */
    int count, seed, index_from, per_shard, rate, channels, compress;
    double min_seconds;
    const char *out, *size, *world_name;
} settings;

static const lk_option own_rows[] = {
    LK_OPT_TEXT(settings, out, "data.h5",
                "a file of that name, or a folder for a file every per-shard inputs"),
    LK_OPT_TEXT(settings, size, "64x64", "picture size in pixels, none for sound alone"),
    LK_OPT_INT(settings, rate, 16000, 0, 192000, "samples a second, 0 for pictures alone"),
    LK_OPT_INT(settings, channels, 1, 1, 2, "1 mono, 2 stereo"),
    LK_OPT_DOUBLE(settings, min_seconds, 0.5, 0, 3600, "leave out shorter pieces"),
    LK_OPT_INT(settings, per_shard, 256, 1, 1000000, "inputs a file in a folder"),
    LK_OPT_INT(settings, compress, 1, 0, 9, "of pictures: 0 none, 9 most"),
    LK_OPT_TEXT(settings, world_name, NULL, "render this world instead of reading files"),
    LK_OPT_INT(settings, count, 256, 1, 10000000, "clips of the world"),
    LK_OPT_INT(settings, seed, 0, 0, 2147483647, "of the world"),
    LK_OPT_INT(settings, index_from, 0, 0, 2147483647, "number of the world's first clip"),
    LK_OPT_END};

/* The command's rows, then the world's but for those that the command has itself. */
static void merge_rows(lk_option rows[MAX_ROWS])
{
    size_t n = 0;
    for (const lk_option *o = own_rows; o->name; o++) {
        rows[n] = *o;
        if (strcmp(o->name, "world_name") == 0)
            rows[n].name = "world";
        n++;
    }
    for (const lk_option *o = lk_world_option_rows; o->name; o++) {
        if (strcmp(o->name, "width") == 0 || strcmp(o->name, "height") == 0 ||
            strcmp(o->name, "rate_hz") == 0)
            continue;
        LK_ASSERT(n + 1 < MAX_ROWS);
        rows[n++] = *o;
    }
    rows[n] = own_rows[sizeof own_rows / sizeof own_rows[0] - 1];
}

typedef struct run {
    const settings *s;
    lk_pack_options o;
    lk_manifest inputs;
    char *described; /* settings as JSON, kept in every shard */
    lk_progress bar;
    int64_t n_inputs, n_failed, n_clips, n_kept;
} run;

static lk_status parse_size(settings *s, lk_dataset_format *f)
{
    lk_status st = LK_OK;
    if (strcmp(s->size, "none") != 0)
        LK_TRY(lk_args_size(s->size, "64x64 or none", &f->width, &f->height));
    f->rate_hz = s->rate;
    f->n_channels = s->rate > 0 ? s->channels : 0;
    s->world.width = f->width > 0 ? f->width : 64; /* of pictures that are not asked for */
    s->world.height = f->height > 0 ? f->height : 64;
    s->world.rate_hz = s->rate > 0 ? s->rate : 16000;
done:
    return st;
}

/* Everything that decides what a shard holds. */
static lk_status describe(run *r)
{
    lk_status st = LK_OK;
    const settings *s = r->s;
    json_t *o = json_object();
    char *text = NULL;
    LK_REQUIRE(o, LK_E_MEMORY, "out of memory");
    LK_TRY(lk_json_set(o, "size", lk_json_text(s->size)));
    LK_TRY(lk_json_set(o, "rate_hz", json_integer(s->rate)));
    LK_TRY(lk_json_set(o, "channels", json_integer(s->channels)));
    LK_TRY(lk_json_set(o, "seconds", lk_json_real(s->world.seconds)));
    LK_TRY(lk_json_set(o, "min_seconds", lk_json_real(s->min_seconds)));
    LK_TRY(lk_json_set(o, "per_shard", json_integer(s->per_shard)));
    if (s->world_name) {
        LK_TRY(lk_json_set(o, "world", lk_json_text(s->world_name)));
        LK_TRY(lk_json_set(o, "seed", json_integer(s->seed)));
        LK_TRY(lk_json_set(o, "index_from", json_integer(s->index_from)));
        LK_TRY(lk_json_set(o, "fps", lk_json_text(s->world.fps)));
        LK_TRY(lk_json_set(o, "offset_ms", lk_json_real(s->world.offset_ms)));
        LK_TRY(lk_json_set(o, "drift_ppm", lk_json_real(s->world.drift_ppm)));
        LK_TRY(lk_json_set(o, "clutter", json_boolean(s->world.clutter)));
        LK_TRY(lk_json_set(o, "camera", json_boolean(s->world.camera)));
        LK_TRY(lk_json_set(o, "noise", json_boolean(s->world.noise)));
        LK_TRY(lk_json_set(o, "overlap", json_boolean(s->world.overlap)));
        LK_TRY(lk_json_set(o, "control", lk_json_text(s->world.control)));
    }
    text = json_dumps(o, JSON_COMPACT);
    LK_REQUIRE(text, LK_E_MEMORY, "out of memory");
    LK_TRY(lk_strdup(text, &r->described));
done:
    free(text);
    json_decref(o);
    return st;
}

static void tell(void *user, int64_t i)
{
    run *r = user;
    (void)i;
    r->n_clips++;
    lk_progress_set(&r->bar, (double)(r->n_clips + r->n_kept));
}

static lk_status fill_from_files(run *r, lk_shard *shard, int64_t first, int64_t n)
{
    lk_status st = LK_OK;
    for (int64_t i = first; i < first + n; i++) {
        int64_t got = 0;
        st = lk_pack_media(shard, r->inputs.row[i].clip, &r->o, &got);
        r->n_clips += got;
        lk_progress_set(&r->bar, (double)(i + 1));
        if (st == LK_E_INTERRUPTED || st == LK_E_MEMORY || (st == LK_E_IO && got > 0))
            break;
        if (st != LK_OK) { /* the others go on */
            fprintf(stderr, "lockstep: %s\n", lk_error_text());
            r->n_failed++;
            st = LK_OK;
        }
    }
    return st;
}

/* A shard that is there already must have been made with these settings. */
static lk_status keep(run *r, const char *path, int64_t n)
{
    lk_status st = LK_OK;
    char *made_with = NULL;
    LK_TRY(lk_dataset_settings(path, &made_with));
    LK_REQUIRE(strcmp(made_with, r->described) == 0, LK_E_ARG,
               "'%s' was made with other settings; use another name or remove it", path);
    r->n_kept += n;
done:
    lk_free(made_with);
    return st;
}

static lk_status make_shard(run *r, const char *path, int64_t first, int64_t n)
{
    lk_status st = LK_OK;
    lk_shard *shard = NULL;
    const settings *s = r->s;
    if (access(path, F_OK) == 0)
        return keep(r, path, n);
    LK_TRY(lk_shard_create(&shard, path,
                           &(lk_shard_options){.format = r->o.format,
                                               .compress = s->compress,
                                               .commit = lk_build_commit(),
                                               .settings = r->described}));
    if (s->world_name)
        LK_TRY(lk_pack_world(shard, s->world_name, (uint64_t)s->seed, s->index_from + first, n,
                             &s->world, &r->o, tell, r));
    else
        LK_TRY(fill_from_files(r, shard, first, n));
    LK_TRY(lk_shard_finish(shard));
done:
    lk_shard_close(&shard);
    return st;
}

static lk_status make_shards(run *r)
{
    lk_status st = LK_OK;
    const settings *s = r->s;
    const size_t length = strlen(s->out);
    const bool one = length > 3 && strcmp(s->out + length - 3, ".h5") == 0;
    const int64_t each = one ? r->n_inputs : s->per_shard;
    char *path = NULL;
    LK_TRY(LK_NEW_ARRAY(&path, length + 32));
    if (!one)
        LK_TRY(lk_make_folders(s->out));
    for (int64_t k = 0; k * each < r->n_inputs; k++) {
        const int64_t rest = r->n_inputs - k * each;
        sprintf(path, one ? "%s" : "%s/%05lld.h5", s->out, (long long)k);
        LK_TRY(make_shard(r, path, k * each, rest < each ? rest : each));
    }
done:
    lk_free(path);
    return st;
}

static int pack(settings *s, const lk_args *args)
{
    lk_status st = LK_OK;
    run r = {
        .s = s,
        .o = {.seconds = s->world.seconds, .min_seconds = s->min_seconds, .stop = lk_stop_flag()}};
    lk_stop_on_signals();
    LK_TRY(parse_size(s, &r.o.format));
    LK_TRY(describe(&r));
    for (int i = 0; i < args->n_files; i++)
        LK_TRY(lk_inputs_add(&r.inputs, args->file[i]));
    r.n_inputs = s->world_name ? s->count : r.inputs.n;
    LK_REQUIRE(r.n_inputs > 0, LK_E_EMPTY, "no media file found");
    lk_progress_start(&r.bar, "packing", (double)r.n_inputs);
    st = make_shards(&r);
    lk_progress_end(&r.bar);
    LK_TRY(st);
    fprintf(stderr, "%lld clips into %s", (long long)r.n_clips, s->out);
    if (r.n_kept > 0)
        fprintf(stderr, "; files of %lld inputs were there", (long long)r.n_kept);
    fprintf(stderr, r.n_failed > 0 ? ", %lld inputs failed\n" : "\n", (long long)r.n_failed);
done:
    lk_manifest_clear(&r.inputs);
    lk_free(r.described);
    if (st != LK_OK)
        return lk_cli_failed(st);
    return r.n_failed > 0 ? LK_EXIT_SOME_FAILED : LK_EXIT_OK;
}

int lk_cmd_pack(int argc, char **argv)
{
    settings s;
    lk_args args;
    lk_option rows[MAX_ROWS];
    int code = LK_EXIT_OK;
    merge_rows(rows);
    const lk_cli_spec spec = {
        "pack",
        "FILE|FOLDER...",
        "Makes datasets for training: clips of one picture size and sample rate, their frames' "
        "true\n"
        "times, captions and events, in HDF5 files.  Long files are cut into pieces.  A "
        "truth.jsonl\n"
        "beside a clip gives caption and events.  Files that are there already are kept, so a\n"
        "command that was interrupted goes on when it is given again.",
        rows,
        "  lockstep pack --world impacts --count 64 --seconds 2 -o impacts.h5",
        NULL};
    if (!lk_args_parse(&spec, &s, argc, argv, &args, &code))
        return code;
    if ((args.n_files > 0) == (s.world_name != NULL))
        code = lk_cli_usage("pack", args.n_files > 0 ? "files or --world, not both"
                                                     : "no files, and no --world");
    else
        code = pack(&s, &args);
    lk_args_clear(&args);
    return code;
}
