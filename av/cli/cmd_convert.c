/* cmd_convert.c - trained numbers out of one kind of file into another, or a look at them. */
#include "av/cli/args.h"
#include "av/cli/cli.h"
#include "av/import/npy.h"
#include "av/import/weights.h"
#include "av/json.h"
#include "kernels/file.h"
#include "kernels/mem.h"
#include "kernels/safetensors.h"
#include "kernels/stop.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_SKIPPED 5

typedef struct settings {
    const char *out, *dtype, *prefix, *rename;
    bool list, json;
} settings;

static const lk_option options[] = {
    LK_OPT_TEXT(settings, out, NULL, "OUT.safetensors, or OUT.npy for one array (-o)"),
    LK_OPT_CHOICE(settings, dtype, "keep", "keep|f32|bf16|f16",
                  "element type of what is a float; integers stay"),
    LK_OPT_TEXT(settings, prefix, NULL, "only names that begin so; it is removed from them"),
    LK_OPT_TEXT(settings, rename, NULL, "OLD=NEW wherever OLD stands in a name; =NEW in front"),
    LK_OPT_BOOL(settings, list, false, "print names, shapes and ranges"),
    LK_OPT_BOOL(settings, json, false, "one JSON object"),
    LK_OPT_END};

static const lk_cli_spec spec = {
    "convert",
    "IN",
    "Reads .npy, .npz, PyTorch checkpoints (.pt, .pth, .bin, .ckpt, also those from before 1.6)\n"
    "and .safetensors, told apart by content.  Nothing in them is executed: what is not among\n"
    "the few things that state dictionaries need is refused by name.  Names of nested entries\n"
    "are joined by '.'.  Entries that are no numbers are named and left out.",
    options,
    "  printf '\\223NUMPY\\1\\0\\166\\0%-117s\\n\\0\\0\\200?\\0\\0\\0@' \\\n"
    "    \"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\" >two.npy\n"
    "  lockstep convert two.npy -o two.safetensors --list",
    "rename"};

/* One entry of the output. */
typedef struct item {
    size_t from;
    char *name;
    lk_dtype dtype;
} item;

typedef struct job {
    lk_weights w;
    item *item;
    size_t n;
    size_t n_overflowed;
    const char *overflowed; /* the first entry in which a finite number became infinite */
} job;

/* The name with every `old` (n bytes) replaced. */
static lk_status replace_all(char **name, const char *old, size_t n, const char *new_text)
{
    lk_status st = LK_OK;
    size_t hits = n == 0;
    char *out = NULL;
    for (const char *c = *name; n > 0 && *c;) {
        const bool hit = strncmp(c, old, n) == 0;
        hits += hit;
        c += hit ? n : 1;
    }
    LK_TRY(LK_NEW_ARRAY(&out, strlen(*name) + hits * strlen(new_text) + 1));
    char *to = n == 0 ? stpcpy(out, new_text) : out;
    for (const char *c = *name; *c;) {
        if (n > 0 && strncmp(c, old, n) == 0) {
            to = stpcpy(to, new_text);
            c += n;
        } else {
            *to++ = *c++;
        }
    }
    lk_free(*name);
    *name = out;
done:
    return st;
}

static bool is_float(lk_dtype t)
{
    return t == LK_F32 || t == LK_F64 || t == LK_F16 || t == LK_BF16;
}

static lk_dtype wanted_dtype(lk_dtype own, const char *wish)
{
    for (int t = 0; is_float(own) && t < LK_N_DTYPES; t++)
        if (strcmp(lk_dtype_name((lk_dtype)t), wish) == 0)
            return (lk_dtype)t;
    return own;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const item *)a)->name, ((const item *)b)->name);
}

/* What is written, under which names. */
static lk_status choose(job *j, const settings *s, const lk_args *args)
{
    lk_status st = LK_OK;
    const size_t drop = s->prefix ? strlen(s->prefix) : 0;
    LK_TRY(LK_NEW_ARRAY(&j->item, j->w.n));
    for (size_t i = 0; i < j->w.n; i++) {
        const lk_weight *e = &j->w.at[i];
        item *it = &j->item[j->n];
        if (drop > 0 && strncmp(e->name, s->prefix, drop) != 0)
            continue;
        LK_TRY(lk_strdup(e->name + drop, &it->name));
        j->n++;
        it->from = i;
        it->dtype = wanted_dtype(e->dtype, s->dtype);
        for (int r = 0; r < args->n_repeated; r++) {
            const char *equals = strchr(args->repeated[r], '=');
            LK_TRY(replace_all(&it->name, args->repeated[r], (size_t)(equals - args->repeated[r]),
                               equals + 1));
        }
        LK_REQUIRE(it->name[0], LK_E_FORMAT, "nothing is left of the name '%s'", e->name);
    }
    LK_REQUIRE(j->w.n > 0, LK_E_EMPTY, "'%s' holds no numbers", args->file[0]);
    LK_REQUIRE(j->n > 0, LK_E_EMPTY, "no name in '%s' begins with '%s'; see --list", args->file[0],
               s->prefix);
    qsort(j->item, j->n, sizeof *j->item, by_name);
    for (size_t i = 1; i < j->n; i++)
        LK_REQUIRE(strcmp(j->item[i - 1].name, j->item[i].name) != 0, LK_E_FORMAT,
                   "two entries would be called '%s'; use --prefix or --rename", j->item[i].name);
done:
    return st;
}

static lk_status fetch(void *user, int i, void *data)
{
    lk_status st = LK_OK;
    job *j = user;
    const item *it = &j->item[i];
    lk_tensor t;
    LK_REQUIRE(!*lk_stop_flag(), LK_E_INTERRUPTED, "interrupted");
    LK_TRY(lk_weights_tensor(&j->w, it->from, &t));
    const int64_t n = lk_tensor_count(&t);
    lk_convert(it->dtype, data, t.dtype, t.data, n);
    for (int64_t k = 0; k < n && it->dtype != t.dtype; k++) {
        if (isfinite(lk_element(t.dtype, t.data, k)) && !isfinite(lk_element(it->dtype, data, k))) {
            j->overflowed = j->n_overflowed++ ? j->overflowed : it->name;
        }
    }
done:
    lk_weights_drop(&j->w, it->from);
    return st;
}

static lk_status write_npy(job *j, const char *path)
{
    lk_status st = LK_OK;
    lk_replace file = {0};
    lk_tensor t = {.dtype = j->item[0].dtype, .shape = j->w.at[j->item[0].from].shape};
    char header[LK_NPY_HEADER];
    size_t n;
    LK_REQUIRE(j->n == 1, LK_E_ARG,
               ".npy holds one array and there are %zu; choose one with --prefix, or write "
               ".safetensors",
               j->n);
    LK_TRY(lk_npy_header(&t, header, &n));
    LK_TRY(lk_alloc_((size_t)lk_tensor_count(&t), lk_dtype_bytes(t.dtype), &t.data));
    LK_TRY(fetch(j, 0, t.data));
    LK_TRY(lk_replace_open(&file, path));
    LK_TRY(lk_write_all(file.fd, header, n, path));
    LK_TRY(lk_write_all(file.fd, t.data, lk_tensor_bytes(&t), path));
    LK_TRY(lk_replace_commit(&file));
done:
    lk_replace_drop(&file);
    lk_free(t.data);
    return st;
}

/* The texts of a safetensors file: what its numbers are the weights of. */
static lk_status keep_texts(const job *j, const char *from, lk_safetensors **f, int *n,
                            lk_safetensors_text **texts)
{
    lk_status st = LK_OK;
    if (strcmp(j->w.format, "safetensors") != 0)
        goto done;
    LK_TRY(lk_safetensors_open(f, from));
    *n = lk_safetensors_texts(*f, 0, NULL);
    LK_TRY(LK_NEW_ARRAY(texts, *n));
    (void)lk_safetensors_texts(*f, *n, *texts);
done:
    return st;
}

static lk_status write_safetensors(job *j, const char *from, const char *path)
{
    lk_status st = LK_OK;
    lk_safetensor *list = NULL;
    lk_safetensors *f = NULL;
    lk_safetensors_text *texts = NULL;
    int n_texts = 0;
    LK_TRY(keep_texts(j, from, &f, &n_texts, &texts));
    LK_TRY(LK_NEW_ARRAY(&list, j->n));
    for (size_t i = 0; i < j->n; i++)
        list[i] = (lk_safetensor){.name = j->item[i].name,
                                  .dtype = j->item[i].dtype,
                                  .shape = j->w.at[j->item[i].from].shape};
    LK_TRY(lk_safetensors_write(path, (int)j->n, list, n_texts, texts, fetch, j));
done:
    lk_free(texts);
    lk_safetensors_free(&f);
    lk_free(list);
    return st;
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), k = strlen(end);
    return n > k && strcmp(text + n - k, end) == 0;
}

/* Range of the finite numbers; NaN where there are none. */
typedef struct range {
    double min, max, mean;
    int64_t n_not_finite;
} range;

static lk_status measure(job *j, size_t i, range *r)
{
    lk_status st = LK_OK;
    lk_tensor t;
    double sum = 0;
    *r = (range){.min = NAN, .max = NAN};
    LK_REQUIRE(!*lk_stop_flag(), LK_E_INTERRUPTED, "interrupted");
    LK_TRY(lk_weights_tensor(&j->w, i, &t));
    const int64_t n = lk_tensor_count(&t);
    for (int64_t k = 0; k < n; k++) {
        const double x = lk_element(t.dtype, t.data, k);
        if (!isfinite(x)) {
            r->n_not_finite++;
            continue;
        }
        r->min = fmin(r->min, x);
        r->max = fmax(r->max, x);
        sum += x;
    }
    r->mean = n > r->n_not_finite ? sum / (double)(n - r->n_not_finite) : (double)NAN;
done:
    lk_weights_drop(&j->w, i);
    return st;
}

static int64_t bytes_of(const job *j, const item *it)
{
    return lk_shape_count(&j->w.at[it->from].shape) * (int64_t)lk_dtype_bytes(it->dtype);
}

static lk_status list_words(job *j)
{
    lk_status st = LK_OK;
    char shape[LK_SHAPE_TEXT];
    range r;
    int width = 4;
    for (size_t i = 0; i < j->n; i++)
        width = (int)fmax(width, (double)strlen(j->item[i].name));
    printf("%-*s %-5s %-18s %12s %12s %12s %12s\n", width, "name", "type", "shape", "bytes", "min",
           "max", "mean");
    for (size_t i = 0; i < j->n; i++) {
        const item *it = &j->item[i];
        LK_TRY(measure(j, it->from, &r));
        printf("%-*s %-5s %-18s %12lld", width, it->name, lk_dtype_name(it->dtype),
               lk_shape_text(&j->w.at[it->from].shape, shape), (long long)bytes_of(j, it));
        if (isfinite(r.mean))
            printf(" %12.5g %12.5g %12.5g", r.min, r.max, r.mean);
        if (r.n_not_finite > 0)
            printf("   %lld not finite", (long long)r.n_not_finite);
        printf("\n");
    }
    for (size_t i = 0; i < j->w.n_skipped; i++)
        printf("left out  %s\n", j->w.skipped[i]);
done:
    return st;
}

static lk_status json_entry(job *j, const item *it, json_t *rows)
{
    lk_status st = LK_OK;
    range r;
    json_t *o = json_object(), *sizes = NULL;
    const lk_shape *shape = &j->w.at[it->from].shape;
    LK_REQUIRE(json_array_append_new(rows, o) == 0, LK_E_MEMORY, "out of memory");
    LK_TRY(lk_json_set(o, "name", json_string(it->name)));
    LK_TRY(lk_json_set(o, "dtype", json_string(lk_dtype_name(it->dtype))));
    LK_TRY(lk_json_set(o, "shape", sizes = json_array()));
    for (int d = 0; d < shape->n_dims; d++)
        json_array_append_new(sizes, json_integer(shape->dim[d]));
    LK_TRY(measure(j, it->from, &r));
    LK_TRY(lk_json_set(o, "bytes", json_integer(bytes_of(j, it))));
    LK_TRY(lk_json_set(o, "min", lk_json_real(r.min)));
    LK_TRY(lk_json_set(o, "max", lk_json_real(r.max)));
    LK_TRY(lk_json_set(o, "mean", lk_json_real(r.mean)));
    LK_TRY(lk_json_set(o, "not_finite", json_integer(r.n_not_finite)));
done:
    return st;
}

static lk_status print_json(job *j, const settings *s, const char *path)
{
    lk_status st = LK_OK;
    json_t *root = json_object(), *rows, *skipped;
    int64_t bytes = 0;
    for (size_t i = 0; i < j->n; i++)
        bytes += bytes_of(j, &j->item[i]);
    LK_TRY(lk_json_set(root, "file", lk_json_text(path)));
    LK_TRY(lk_json_set(root, "format", json_string(j->w.format)));
    LK_TRY(lk_json_set(root, "out", s->out ? lk_json_text(s->out) : json_null()));
    LK_TRY(lk_json_set(root, "n_tensors", json_integer((json_int_t)j->n)));
    LK_TRY(lk_json_set(root, "bytes", json_integer(bytes)));
    LK_TRY(lk_json_set(root, "n_overflowed", json_integer((json_int_t)j->n_overflowed)));
    LK_TRY(lk_json_set(root, "skipped", skipped = json_array()));
    for (size_t i = 0; i < j->w.n_skipped; i++)
        json_array_append_new(skipped, lk_json_text(j->w.skipped[i]));
    if (s->list) {
        LK_TRY(lk_json_set(root, "tensors", rows = json_array()));
        for (size_t i = 0; i < j->n; i++)
            LK_TRY(json_entry(j, &j->item[i], rows));
    }
    LK_TRY(lk_json_print_line(root));
    root = NULL;
done:
    json_decref(root);
    return st;
}

static void report(const job *j, const settings *s)
{
    for (size_t i = 0; i < j->w.n_skipped && i < SHOWN_SKIPPED; i++)
        fprintf(stderr, "left out  %s\n", j->w.skipped[i]);
    if (j->w.n_skipped > SHOWN_SKIPPED)
        fprintf(stderr, "left out  %zu more that are no numbers; see --list\n",
                j->w.n_skipped - SHOWN_SKIPPED);
    if (j->n_overflowed > 0)
        fprintf(stderr, "%zu numbers are too large for %s and became infinite, first in '%s'\n",
                j->n_overflowed, s->dtype, j->overflowed);
    fprintf(stderr, "%s: %zu tensor%s from %s\n", s->out, j->n, j->n == 1 ? "" : "s", j->w.format);
}

static lk_status convert(const settings *s, const lk_args *args)
{
    lk_status st = LK_OK;
    job j = {0};
    LK_TRY(lk_weights_open(&j.w, args->file[0]));
    LK_TRY(choose(&j, s, args));
    if (s->out) {
        LK_TRY(ends_with(s->out, ".npy") ? write_npy(&j, s->out)
                                         : write_safetensors(&j, args->file[0], s->out));
        report(&j, s);
    }
    if (s->json)
        LK_TRY(print_json(&j, s, args->file[0]));
    else if (s->list)
        LK_TRY(list_words(&j));
done:
    for (size_t i = 0; i < j.n; i++)
        lk_free(j.item[i].name);
    lk_free(j.item);
    lk_weights_close(&j.w);
    return st;
}

int lk_cmd_convert(int argc, char **argv)
{
    settings s;
    lk_args args;
    int code = LK_EXIT_OK;
    if (!lk_args_parse(&spec, &s, argc, argv, &args, &code))
        return code;
    for (int r = 0; r < args.n_repeated && code == LK_EXIT_OK; r++)
        if (!strchr(args.repeated[r], '=') || strcmp(args.repeated[r], "=") == 0)
            code = lk_cli_usage("convert", "--rename wants OLD=NEW, got '%s'", args.repeated[r]);
    if (code != LK_EXIT_OK)
        ;
    else if (args.n_files != 1)
        code = lk_cli_usage("convert", "give one file to read");
    else if (!s.out && !s.list)
        code = lk_cli_usage("convert", "say where to: -o OUT.safetensors, or --list to look");
    else if (s.out && !ends_with(s.out, ".safetensors") && !ends_with(s.out, ".npy"))
        code = lk_cli_usage("convert", "'%s' should end in .safetensors or .npy", s.out);
    else {
        lk_stop_on_signals();
        const lk_status st = convert(&s, &args);
        if (st != LK_OK)
            code = st == LK_E_INTERRUPTED ? lk_cli_interrupted() : lk_cli_failed(st);
    }
    lk_args_clear(&args);
    return code;
}
