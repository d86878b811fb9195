/* checkpoint.c - see checkpoint.h. */
#include "kernels/checkpoint.h"

#include "kernels/file.h"
#include "kernels/mem.h"
#include "kernels/text.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is kept of each parameter; gradients are not. */
static const struct {
    lk_slot slot;
    const char *prefix;
} kept[] = {
    {LK_VALUE, ""}, {LK_MOMENT1, "moment1:"}, {LK_MOMENT2, "moment2:"}, {LK_AVERAGE, "average:"}};
#define N_KEPT ((int)(sizeof kept / sizeof kept[0]))

#define N_COUNTERS 4
static const char *const counter_names[N_COUNTERS] = {"step", "samples", "position", "seed"};

/* ---- one file ---- */

typedef struct source {
    const lk_params *params;
    const int *param;
    const lk_slot *slot;
} source;

static lk_status fetch(void *user, int i, void *data)
{
    const source *s = user;
    return lk_params_read(s->params, s->param[i], s->slot[i], LK_F32, data);
}

static const char *tensor_name(lk_text *t, int k, const char *name)
{
    lk_text_clear(t);
    return lk_text_add(t, "%s%s", kept[k].prefix, name) == LK_OK ? t->at : NULL;
}

typedef struct listing {
    lk_safetensor *tensors;
    int *param;
    lk_slot *slot;
    int n;
} listing;

static lk_status list_tensors(listing *l, const lk_params *params)
{
    lk_status st = LK_OK;
    const int most = N_KEPT * lk_params_n(params);
    lk_text name = {0};
    LK_TRY(LK_NEW_ARRAY(&l->tensors, most));
    LK_TRY(LK_NEW_ARRAY(&l->param, most));
    LK_TRY(LK_NEW_ARRAY(&l->slot, most));
    for (int i = 0; i < lk_params_n(params); i++)
        for (int k = 0; k < N_KEPT; k++) {
            lk_safetensor *t = &l->tensors[l->n];
            const float *data = lk_params_data(params, i, kept[k].slot);
            char *copy = NULL;
            if (!data)
                continue;
            LK_REQUIRE(tensor_name(&name, k, lk_params_name(params, i)), LK_E_MEMORY,
                       "out of memory");
            LK_TRY(lk_strdup(name.at, &copy));
            *t = (lk_safetensor){copy, LK_F32, lk_params_shape(params, i),
                                 lk_params_on_host(params) ? data : NULL};
            l->param[l->n] = i;
            l->slot[l->n++] = kept[k].slot;
        }
done:
    lk_text_free(&name);
    return st;
}

lk_status lk_checkpoint_write(const char *path, const lk_params *params, const lk_checkpoint *c,
                              int n_texts, const lk_safetensors_text *texts)
{
    lk_status st = LK_OK;
    listing l = {0};
    lk_safetensors_text *all = NULL;
    char number[N_COUNTERS][24];
    LK_TRY(list_tensors(&l, params));
    LK_TRY(LK_NEW_ARRAY(&all, N_COUNTERS + n_texts));
    snprintf(number[0], sizeof number[0], "%lld", (long long)c->step);
    snprintf(number[1], sizeof number[1], "%lld", (long long)c->samples);
    snprintf(number[2], sizeof number[2], "%lld", (long long)c->position);
    snprintf(number[3], sizeof number[3], "%llu", (unsigned long long)c->seed);
    for (int i = 0; i < N_COUNTERS; i++)
        all[i] = (lk_safetensors_text){counter_names[i], number[i]};
    for (int i = 0; i < n_texts; i++)
        all[N_COUNTERS + i] = texts[i];
    LK_TRY(lk_safetensors_write(path, l.n, l.tensors, N_COUNTERS + n_texts, all, fetch,
                                &(source){params, l.param, l.slot}));
done:
    for (int i = 0; i < l.n; i++)
        lk_free((void *)(uintptr_t)l.tensors[i].name);
    lk_free(l.tensors);
    lk_free(l.param);
    lk_free(l.slot);
    lk_free(all);
    return st;
}

static lk_status read_counters(const lk_safetensors *f, const char *path, lk_checkpoint *c)
{
    lk_status st = LK_OK;
    uint64_t value[N_COUNTERS];
    for (int i = 0; i < N_COUNTERS; i++) {
        const char *text = lk_safetensors_get(f, counter_names[i]);
        char *end = NULL;
        errno = 0;
        value[i] = text && *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
        LK_REQUIRE(end && *end == '\0' && errno == 0 && (i == 3 || value[i] <= INT64_MAX),
                   LK_E_FORMAT, "'%s' is not a checkpoint: it has no %s", path, counter_names[i]);
    }
    *c = (lk_checkpoint){(int64_t)value[0], (int64_t)value[1], (int64_t)value[2], value[3]};
done:
    return st;
}

static lk_status open_whole(lk_safetensors **f, const char *path)
{
    lk_status st = LK_OK;
    LK_TRY(lk_safetensors_open(f, path));
    LK_REQUIRE(lk_safetensors_has_checksums(*f), LK_E_FORMAT,
               "'%s' is not a checkpoint: it has no checksums", path);
    LK_TRY(lk_safetensors_verify(*f));
done:
    return st;
}

/* Is every tensor that the store needs there (`some`: any), in its shape, and nothing the model
 * does not know? */
static lk_status check_fit(const lk_safetensors *f, const char *path, const lk_params *params,
                           int some)
{
    lk_status st = LK_OK;
    lk_text name = {0};
    char ours[LK_SHAPE_TEXT], theirs[LK_SHAPE_TEXT];
    int n_values = 0;
    for (int i = 0; i < lk_params_n(params); i++) {
        const lk_shape shape = lk_params_shape(params, i);
        for (int k = 0; k < N_KEPT; k++) {
            LK_REQUIRE(tensor_name(&name, k, lk_params_name(params, i)), LK_E_MEMORY,
                       "out of memory");
            const int at = lk_safetensors_find(f, name.at);
            n_values += at >= 0;
            LK_REQUIRE(at >= 0 || some || !lk_params_data(params, i, kept[k].slot), LK_E_SHAPE,
                       "'%s' is of another model: it has no tensor '%s'", path, name.at);
            if (at < 0)
                continue;
            const lk_safetensor *t = lk_safetensors_at(f, at);
            LK_REQUIRE(lk_shape_equal(&t->shape, &shape), LK_E_SHAPE,
                       "'%s' is of another model: tensor '%s' is %s there and %s here", path,
                       name.at, lk_shape_text(&t->shape, theirs), lk_shape_text(&shape, ours));
        }
    }
    LK_REQUIRE(n_values > 0, LK_E_SHAPE, "'%s' is of another model: it has no tensor of this one",
               path);
    LK_REQUIRE(n_values == lk_safetensors_n(f), LK_E_SHAPE,
               "'%s' is of another model: it has %d tensors that are not known here", path,
               lk_safetensors_n(f) - n_values);
done:
    lk_text_free(&name);
    return st;
}

/* Tensor `at` of the file into a slot of parameter i. */
static lk_status read_tensor(lk_safetensors *f, int at, lk_params *params, int i, lk_slot slot)
{
    lk_status st = LK_OK;
    const lk_shape shape = lk_params_shape(params, i);
    float *staged = NULL;
    if (lk_params_on_host(params))
        return lk_safetensors_read(f, at, LK_F32, lk_params_data(params, i, slot));
    LK_TRY(LK_NEW_ARRAY(&staged, lk_shape_count(&shape)));
    LK_TRY(lk_safetensors_read(f, at, LK_F32, staged));
    LK_TRY(lk_params_write(params, i, slot, LK_F32, staged));
done:
    lk_free(staged);
    return st;
}

lk_status lk_checkpoint_read(const char *path, lk_params *params, lk_checkpoint *c)
{
    lk_status st = LK_OK;
    lk_safetensors *f = NULL;
    lk_text name = {0};
    lk_checkpoint counters;
    LK_TRY(open_whole(&f, path));
    LK_TRY(read_counters(f, path, &counters));
    LK_TRY(check_fit(f, path, params, 0));
    for (int i = 0; i < lk_params_n(params); i++)
        for (int k = 0; k < N_KEPT; k++) {
            if (!lk_params_data(params, i, kept[k].slot))
                continue;
            LK_REQUIRE(tensor_name(&name, k, lk_params_name(params, i)), LK_E_MEMORY,
                       "out of memory");
            LK_TRY(read_tensor(f, lk_safetensors_find(f, name.at), params, i, kept[k].slot));
        }
    if (c)
        *c = counters;
done:
    lk_text_free(&name);
    lk_safetensors_free(&f);
    return st;
}

static lk_status read_values(const char *path, lk_params *params, int average, int some)
{
    lk_status st = LK_OK;
    lk_safetensors *f = NULL;
    lk_text name = {0};
    LK_TRY(open_whole(&f, path));
    LK_TRY(check_fit(f, path, params, some));
    for (int i = 0; i < lk_params_n(params); i++) {
        int at;
        LK_REQUIRE(tensor_name(&name, N_KEPT - 1, lk_params_name(params, i)), LK_E_MEMORY,
                   "out of memory");
        at = average ? lk_safetensors_find(f, name.at) : -1;
        at = at < 0 ? lk_safetensors_find(f, lk_params_name(params, i)) : at;
        if (at >= 0)
            LK_TRY(read_tensor(f, at, params, i, LK_VALUE));
    }
done:
    lk_text_free(&name);
    lk_safetensors_free(&f);
    return st;
}

lk_status lk_checkpoint_read_values(const char *path, lk_params *params, int average)
{
    return read_values(path, params, average, 0);
}

lk_status lk_checkpoint_begin_with(const char *path, lk_params *params)
{
    return read_values(path, params, 1, 1);
}

typedef struct values {
    const lk_params *params;
    lk_dtype dtype;
} values;

static lk_status fetch_value(void *user, int i, void *data)
{
    const values *v = user;
    return lk_params_read(v->params, i, LK_VALUE, v->dtype, data);
}

lk_status lk_checkpoint_write_values(const char *path, const lk_params *params, lk_dtype dtype,
                                     const char *key, const lk_option *options, const void *target)
{
    lk_status st = LK_OK;
    const int n = lk_params_n(params);
    values v = {params, dtype};
    lk_safetensor *list = NULL;
    lk_text lines = {0};
    LK_TRY(LK_NEW_ARRAY(&list, n));
    for (int i = 0; i < n; i++)
        list[i] =
            (lk_safetensor){lk_params_name(params, i), dtype, lk_params_shape(params, i), NULL};
    LK_TRY(lk_option_write_lines(options, target, &lines));
    LK_TRY(lk_safetensors_write(path, n, list, 1, &(lk_safetensors_text){key, lines.at},
                                fetch_value, &v));
done:
    lk_text_free(&lines);
    lk_free(list);
    return st;
}

lk_status lk_checkpoint_read_config(const char *path, const char *what, const char *key,
                                    const lk_option *options, void *target)
{
    lk_status st = LK_OK;
    lk_safetensors *f = NULL;
    const char *lines;
    LK_TRY(lk_safetensors_open(&f, path));
    lines = lk_safetensors_get(f, key);
    LK_REQUIRE(lines, LK_E_FORMAT, "'%s' is no %s: it has no text '%s' with a configuration", path,
               what, key);
    lk_option_defaults(options, target);
    if (lk_option_read_lines(options, target, lines) != LK_OK) {
        char why[160];
        snprintf(why, sizeof why, "%s", lk_error_text());
        lk_error_clear();
        st = LK_FAIL(LK_E_FORMAT, "the configuration in '%s' cannot be used: %s", path, why);
    }
done:
    lk_safetensors_free(&f);
    return st;
}

/* ---- a folder of them ---- */

#define NAME_FORMAT "step_%08lld.safetensors"
#define PART        ".part"

/* The step in a file's name; -1 when it is not one of ours.  *part: a file left half written. */
static int64_t step_of(const char *name, int *part)
{
    char again[64];
    long long step = -1;
    const size_t n = strlen(name);
    *part = n > sizeof PART - 1 && strcmp(name + n - (sizeof PART - 1), PART) == 0;
    if (sscanf(name, "step_%lld", &step) != 1 || step < 0)
        return -1;
    snprintf(again, sizeof again, NAME_FORMAT "%s", step, *part ? PART : "");
    return strcmp(name, again) == 0 ? step : -1;
}

static int newest_first(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x > y ? -1 : x < y;
}

/* Steps of the whole files, newest first; *n = 0 when the folder is not there.  clean: remove what
 * a killed process left half written. */
static lk_status list_steps(const char *folder, int clean, int64_t **steps, size_t *n)
{
    lk_status st = LK_OK;
    size_t capacity = 0;
    DIR *dir = opendir(folder);
    *steps = NULL;
    *n = 0;
    if (!dir && errno == ENOENT)
        return LK_OK;
    LK_REQUIRE(dir, LK_E_IO, "cannot read the folder '%s': %s", folder, strerror(errno));
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        int part;
        const int64_t step = step_of(e->d_name, &part);
        if (step < 0)
            continue;
        if (part) {
            if (clean)
                unlinkat(dirfd(dir), e->d_name, 0);
            continue;
        }
        LK_TRY(LK_GROW(steps, &capacity, *n + 1));
        (*steps)[(*n)++] = step;
    }
    if (*n)
        qsort(*steps, *n, sizeof **steps, newest_first);
done:
    if (dir)
        closedir(dir);
    return st;
}

static lk_status path_of(lk_text *path, const char *folder, int64_t step)
{
    lk_text_clear(path);
    return lk_text_add(path, "%s/" NAME_FORMAT, folder, (long long)step);
}

lk_status lk_checkpoint_prune(const char *folder, int64_t step, int keep)
{
    lk_status st = LK_OK;
    lk_text path = {0};
    int64_t *steps = NULL;
    size_t n = 0, n_kept = 0;
    LK_TRY(list_steps(folder, 1, &steps, &n));
    for (size_t i = 0; i < n; i++) {
        if (steps[i] <= step && (keep <= 0 || n_kept++ < (size_t)keep))
            continue;
        LK_TRY(path_of(&path, folder, steps[i]));
        LK_REQUIRE(unlink(path.at) == 0, LK_E_IO, "cannot remove '%s': %s", path.at,
                   strerror(errno));
    }
done:
    lk_free(steps);
    lk_text_free(&path);
    return st;
}

lk_status lk_checkpoint_save(const char *folder, const lk_params *params, const lk_checkpoint *c,
                             int n_texts, const lk_safetensors_text *texts, int keep)
{
    lk_status st = LK_OK;
    lk_text path = {0};
    LK_TRY(lk_make_folders(folder));
    LK_TRY(path_of(&path, folder, c->step));
    LK_TRY(lk_checkpoint_write(path.at, params, c, n_texts, texts));
    LK_TRY(lk_checkpoint_prune(folder, c->step, keep));
done:
    lk_text_free(&path);
    return st;
}

lk_status lk_checkpoint_latest(const char *folder, char **out)
{
    lk_status st = LK_OK;
    lk_text path = {0};
    lk_safetensors *f = NULL;
    lk_checkpoint c;
    int64_t *steps = NULL;
    size_t n = 0;
    *out = NULL;
    LK_TRY(list_steps(folder, 0, &steps, &n));
    for (size_t i = 0; i < n && !*out; i++) {
        LK_TRY(path_of(&path, folder, steps[i]));
        st = open_whole(&f, path.at);
        if (st == LK_OK)
            st = read_counters(f, path.at, &c);
        lk_safetensors_free(&f);
        if (st == LK_OK) {
            LK_TRY(lk_strdup(path.at, out));
        } else if (st == LK_E_FORMAT) {
            lk_log(1, "%s; going back to the checkpoint before it", lk_error_text());
            lk_error_clear();
            st = LK_OK;
        }
        LK_TRY(st);
    }
done:
    lk_safetensors_free(&f);
    lk_free(steps);
    lk_text_free(&path);
    return st;
}

lk_status lk_checkpoint_of_run(const char *run, char **path)
{
    lk_status st = LK_OK;
    lk_text folder = {0};
    LK_TRY(lk_text_add(&folder, "%s/checkpoints", run));
    LK_TRY(lk_checkpoint_latest(folder.at, path));
    LK_REQUIRE(*path, LK_E_IO, "'%s' holds no checkpoint", folder.at);
done:
    lk_text_free(&folder);
    return st;
}
