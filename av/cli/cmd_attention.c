/* cmd_attention.c - where in time the streams of a joint model look. */
#include "av/attention_run.h"
#include "av/cli/args.h"
#include "av/cli/cli.h"
#include "av/cli/scratch.h"
#include "av/json.h"
#include "av/weights.h"
#include "kernels/device.h"
#include "kernels/mem.h"
#include "kernels/stop.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LEVELS = 32 };
#define NEAR_MS 80.0

typedef struct settings {
    const char *weights, *embeddings, *model, *vae, *codec, *data, *levels, *out, *png, *device;
    double bin, reach;
    int clips, seed;
    bool json;
} settings;

static const lk_option rows[] = {
    LK_OPT_WEIGHTS(settings),
    LK_OPT_TEXT(settings, data, NULL, "dataset; may be repeated, and given as an operand"),
    LK_OPT_INT(settings, clips, 8, 1, 100000, "clips, the first of the datasets"),
    LK_OPT_TEXT(settings, levels, "0.1,0.5,0.9",
                "noise levels of both streams, above 0 (clean) to 1"),
    LK_OPT_DOUBLE(settings, bin, 20, 0.1, 10000, "width of a bin of lags, in ms"),
    LK_OPT_DOUBLE(settings, reach, 1000, 1, 100000, "longest lag, in ms"),
    LK_OPT_INT(settings, seed, 1, 0, 2147483647, "of the noise"),
    LK_OPT_DEVICE(settings),
    LK_OPT_TEXT(settings, out, NULL, "HDF5 file with every bin"),
    LK_OPT_TEXT(settings, png, NULL, "picture: mass over chance by lag, block and head"),
    LK_OPT_BOOL(settings, json, false, "one JSON object a direction and level, and a loss"),
    LK_OPT_END};

static lk_status parse_levels(const char *text, double *levels, int *n)
{
    lk_status st = LK_OK;
    char *end = NULL;
    for (*n = 0;; text = end + 1) {
        LK_REQUIRE(*n < MOST_LEVELS, LK_E_ARG, "at most %d noise levels are taken", MOST_LEVELS);
        levels[*n] = strtod(text, &end);
        LK_REQUIRE(end != text && (*end == ',' || *end == '\0') && levels[*n] > 0 &&
                       levels[*n] <= 1,
                   LK_E_ARG, "--levels wants numbers above 0 and at most 1, like 0.1,0.5,0.9");
        (*n)++;
        if (*end == '\0')
            break;
    }
done:
    return st;
}

/* ---- what is said about it ---- */

/* Mass within NEAR_MS of one row of bins. */
static double near_of(const lk_joint_probe *p, const double *row)
{
    const int reach = (int)(NEAR_MS / p->bin_ms), middle = p->n_bins / 2 + 1;
    double sum = 0;
    for (int i = middle - reach; i <= middle + reach; i++)
        if (i >= 1 && i <= p->n_bins)
            sum += row[i];
    return sum;
}

typedef struct summary {
    double share, mass, chance, best; /* means over blocks that look; of the nearest head */
    int block, head, n;
} summary;

static summary summarise(const lk_joint_probe *p, const lk_joint_gaze *z, int level)
{
    const int bins = p->n_bins + 2;
    summary s = {0};
    for (int b = 0; b < p->n_blocks; b++) {
        if (!(z->share[b] > 0))
            continue;
        s.n++;
        s.share += z->share[b];
        s.chance += near_of(p, z->chance + b * bins);
        for (int h = 0; h < p->n_heads; h++) {
            const int64_t row = ((int64_t)level * p->n_blocks + b) * p->n_heads + h;
            const double x = near_of(p, z->mass + row * bins);
            s.mass += x / p->n_heads;
            if (x > s.best) {
                s.best = x;
                s.block = b;
                s.head = h;
            }
        }
    }
    s.share /= s.n;
    s.chance /= s.n;
    s.mass /= s.n;
    return s;
}

/* Share of a loss's gradient in one part (-1: all) of all blocks of a stream. */
static double gradient_in(const lk_joint_probe *p, int level, int loss, int stream, int part)
{
    const int n = p->n_blocks * LK_JOINT_PARTS;
    const double *x = p->gradient + (int64_t)((level * 2 + loss) * 2 + stream) * n;
    double sum = 0;
    for (int i = 0; i < n; i++)
        if (part < 0 || i % LK_JOINT_PARTS == part)
            sum += x[i];
    return sum;
}

static lk_status set_real(json_t *o, const char *key, double value)
{
    return lk_json_set(o, key, lk_json_real(value));
}

static lk_status say_looks(const settings *s, const lk_joint_probe *p, const char *name,
                           const summary *x, double level)
{
    lk_status st = LK_OK;
    json_t *o = NULL;
    if (!s->json) {
        printf("%-18s t %-5g within %g ms %.3f, chance %.3f; block %d head %d %.3f; %.2f of "
               "tokens see any\n",
               name, level, NEAR_MS, x->mass, x->chance, x->block, x->head, x->best, x->share);
        return LK_OK;
    }
    o = json_object();
    LK_REQUIRE(o, LK_E_MEMORY, "out of memory");
    LK_TRY(lk_json_set(o, "looks", lk_json_text(name)));
    LK_TRY(set_real(o, "level", level));
    LK_TRY(set_real(o, "near_ms", fmin(NEAR_MS, p->n_bins / 2 * p->bin_ms)));
    LK_TRY(set_real(o, "mass_near", x->mass));
    LK_TRY(set_real(o, "chance_near", x->chance));
    LK_TRY(lk_json_set(o, "nearest_block", json_integer(x->block)));
    LK_TRY(lk_json_set(o, "nearest_head", json_integer(x->head)));
    LK_TRY(set_real(o, "nearest_mass", x->best));
    LK_TRY(set_real(o, "share_of_tokens", x->share));
    LK_TRY(lk_json_print_line(o));
    o = NULL;
done:
    json_decref(o);
    return st;
}

static lk_status say_gradient(const settings *s, const lk_joint_probe *p, int level, double t,
                              int loss)
{
    lk_status st = LK_OK;
    const char *const names[2] = {"video", "audio"};
    const double other = gradient_in(p, level, loss, 1 - loss, -1);
    json_t *o = NULL;
    char key[32];
    if (!s->json && !(p->norm[2 * level + loss] > 0)) {
        printf("%s loss, t %-5g no gradient reaches the blocks\n", names[loss], t);
        return LK_OK;
    }
    if (!s->json) {
        printf("%s loss, t %-5g squared gradient of blocks:", names[loss], t);
        for (int k = 0; k < LK_JOINT_PARTS; k++)
            printf(" %s %.4f", lk_joint_part_names[k], gradient_in(p, level, loss, loss, k));
        printf("; in the other stream %.4f\n", other);
        return LK_OK;
    }
    o = json_object();
    LK_REQUIRE(o, LK_E_MEMORY, "out of memory");
    LK_TRY(lk_json_set(o, "loss", lk_json_text(names[loss])));
    LK_TRY(set_real(o, "level", t));
    LK_TRY(set_real(o, "gradient_norm", p->norm[2 * level + loss]));
    for (int k = 0; k < LK_JOINT_PARTS; k++) {
        snprintf(key, sizeof key, "share_%s", lk_joint_part_names[k]);
        LK_TRY(set_real(o, key, gradient_in(p, level, loss, loss, k)));
    }
    LK_TRY(set_real(o, "share_other_stream", other));
    LK_TRY(lk_json_print_line(o));
    o = NULL;
done:
    json_decref(o);
    return st;
}

static lk_status say(const settings *s, const lk_joint_probe *p, const double *levels)
{
    lk_status st = LK_OK;
    for (int i = 0; i < LK_JOINT_STREAMS * LK_JOINT_SIGHTS; i++)
        for (int l = 0; l < p->n_levels; l++) {
            const int stream = i / LK_JOINT_SIGHTS, k = i % LK_JOINT_SIGHTS;
            const summary x = summarise(p, &p->gaze[stream][k], l);
            if (x.n)
                LK_TRY(say_looks(s, p, lk_attention_looks[stream][k], &x, levels[l]));
        }
    for (int i = 0; i < 2 * p->n_levels; i++)
        LK_TRY(say_gradient(s, p, i / 2, levels[i / 2], i % 2));
done:
    return st;
}

/* ---- the command ---- */

static lk_status run(const settings *s, const char *const *data, int64_t n_data)
{
    lk_status st = LK_OK;
    const char *file[3] = {s->model, s->vae, s->codec};
    char *found[3] = {NULL, NULL, NULL};
    double levels[MOST_LEVELS];
    int n_levels;
    lk_scratch scratch = {{0}};
    lk_joint_probe *p = NULL;
    const lk_backend *backend;
    LK_TRY(parse_levels(s->levels, levels, &n_levels));
    LK_TRY(lk_backend_named(s->device, &backend));
    LK_TRY(lk_weights_complete(s->weights, file, found));
    LK_TRY(lk_scratch_make(&scratch));
    LK_TRY(lk_attention_run(&(lk_attention_options){.model = file[0],
                                                    .vae = file[1],
                                                    .codec = file[2],
                                                    .backend = backend,
                                                    .embeddings = s->embeddings,
                                                    .data = data,
                                                    .n_data = n_data,
                                                    .n_clips = s->clips,
                                                    .n_levels = n_levels,
                                                    .levels = levels,
                                                    .bin_ms = s->bin,
                                                    .reach_ms = s->reach,
                                                    .seed = s->seed,
                                                    .cache = scratch.folder,
                                                    .out = s->out,
                                                    .png = s->png,
                                                    .stop = lk_stop_flag()},
                            &p));
    LK_TRY(say(s, p, levels));
done:
    for (int i = 0; i < 3; i++)
        lk_free(found[i]);
    lk_joint_probe_free(&p);
    lk_scratch_remove(&scratch);
    return st;
}

int lk_cmd_attention(int argc, char **argv)
{
    static const lk_cli_spec spec = {
        "attention",
        "DATASET...",
        "Where in time a joint model's streams look: mass of attention by the lag of what is seen, "
        "beside\n"
        "chance, for every direction, block, head and noise level; and in which layers each "
        "stream's\n"
        "gradient arrives.",
        rows,
        "  lockstep pack --world talker --count 8 --seconds 2.56 -o talker.h5\n"
        "  lockstep attention talker.h5 -o attention.h5 --png attention.png",
        "data"};
    settings s;
    lk_args args;
    int code = LK_EXIT_OK;
    memset(&s, 0, sizeof s);
    if (!lk_args_parse(&spec, &s, argc, argv, &args, &code))
        return code;
    if ((args.n_files > 0) == (args.n_repeated > 0)) {
        code = lk_cli_usage("attention", "name datasets, as operands or by --data");
    } else {
        const int operands = args.n_files > 0;
        lk_stop_on_signals();
        const lk_status st = run(&s, operands ? args.file : args.repeated,
                                 operands ? args.n_files : args.n_repeated);
        code = st == LK_OK              ? LK_EXIT_OK
               : st == LK_E_INTERRUPTED ? lk_cli_interrupted()
                                        : lk_cli_failed(st);
    }
    lk_args_clear(&args);
    return code;
}
