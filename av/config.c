/* config.c - see config.h.
 *
 * A tree of nodes in the order of the file.  Every look-up marks what it finds and adds what it
 * does not find, with its default; so the marked keys of a mapping are the known ones, and what is
 * unmarked at the end is a mistake of the person who wrote it.
 */
#include "av/config_impl.h"

#include "kernels/file.h"
#include "kernels/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MAX_NAMES 128

/* ---- nodes ----------------------------------------------------------------------------------- */

void lk_config_node_free(lk_config_node *x)
{
    for (size_t i = 0; x && i < x->n; i++)
        lk_config_node_free(x->child[i]);
    if (x) {
        lk_free(x->key);
        lk_free(x->text);
        lk_free(x->child);
        lk_free(x->handed_out);
        lk_free(x);
    }
}

lk_status lk_config_node_new(lk_config_node **out, lk_config_kind kind, int line, const char *text)
{
    lk_status st = LK_OK;
    lk_config_node *x = NULL;
    LK_TRY(LK_NEW(&x));
    x->kind = kind;
    x->line = line;
    if (text)
        LK_TRY(lk_strdup(text, &x->text));
    *out = x;
    x = NULL;
done:
    lk_config_node_free(x);
    return st;
}

/* Takes x over, also on failure. */
lk_status lk_config_node_add(lk_config_node *parent, const char *key, lk_config_node *x)
{
    lk_status st = LK_OK;
    if (key)
        LK_TRY(lk_strdup(key, &x->key));
    LK_TRY(LK_GROW(&parent->child, &parent->capacity, parent->n + 1));
    parent->child[parent->n++] = x;
    x = NULL;
done:
    lk_config_node_free(x);
    return st;
}

lk_config_node *lk_config_node_child(const lk_config_node *x, const char *key, size_t n)
{
    for (size_t i = 0; x->kind == LK_CONFIG_MAPPING && i < x->n; i++) {
        if (strlen(x->child[i]->key) == n && memcmp(x->child[i]->key, key, n) == 0)
            return x->child[i];
    }
    if (x->kind == LK_CONFIG_LIST && n > 0 && n < 6 && strspn(key, "0123456789") >= n) {
        size_t i = 0;
        for (size_t k = 0; k < n; k++)
            i = 10 * i + (size_t)(key[k] - '0');
        return i < x->n ? x->child[i] : NULL;
    }
    return NULL;
}

/* The node at path, or NULL; *last is then the deepest one found and *rest what is left of the
 * path.  What lies on the way counts as asked for when `ask`. */
static lk_config_node *walk(lk_config_node *from, const char *path, bool ask, lk_config_node **last,
                            const char **rest)
{
    lk_config_node *x = from;
    while (*path) {
        lk_config_node *whole = lk_config_node_child(x, path, strlen(path));
        const size_t n = whole ? strlen(path) : strcspn(path, ".");
        lk_config_node *next = whole ? whole : lk_config_node_child(x, path, n);
        if (last)
            *last = x;
        if (rest)
            *rest = path;
        if (!next)
            return NULL;
        next->asked = next->asked || ask;
        x = next;
        path += n + (path[n] == '.');
    }
    return x;
}

/* A failure that says where the value stands. */
lk_status lk_config_fail_at(const lk_config *c, const lk_config_node *x, lk_status code,
                            const char *sentence)
{
    if (x->line > 0)
        return LK_FAIL(code, "'%s' line %d: %s", c->name, x->line, sentence);
    return LK_FAIL(code, "%s: %s", x->line == LK_CONFIG_FROM_SHELL ? "command line" : "default",
                   sentence);
}

/* ---- files -------------------------------------------------------------------------------- */

bool lk_config_is_null(const lk_config_node *x)
{
    return x->kind == LK_CONFIG_SCALAR && !x->quoted &&
           (x->text[0] == '\0' || strcmp(x->text, "~") == 0 || strcmp(x->text, "null") == 0);
}

lk_status lk_config_parse(lk_config **out, const char *bytes, size_t n, const char *name)
{
    lk_status st = LK_OK;
    lk_config *c = NULL;
    LK_TRY(LK_NEW(&c));
    LK_TRY(lk_strdup(name, &c->name));
    LK_TRY(lk_config_read_yaml(c, bytes, n, false, &c->root));
    if (c->root && c->root->kind != LK_CONFIG_MAPPING && !lk_config_is_null(c->root))
        LK_CONFIG_FAIL_AT(c, c->root, "the file must begin with 'key: value'");
    if (!c->root || c->root->kind != LK_CONFIG_MAPPING) {
        lk_config_node_free(c->root);
        c->root = NULL;
        LK_TRY(lk_config_node_new(&c->root, LK_CONFIG_MAPPING, LK_CONFIG_BY_DEFAULT, NULL));
    }
    *out = c;
    c = NULL;
done:
    lk_config_free(&c);
    return st;
}

lk_status lk_config_read(lk_config **out, const char *path)
{
    lk_status st = LK_OK;
    FILE *f = NULL;
    char *bytes = NULL;
    if (!path)
        return lk_config_parse(out, "", 0, "no file");
    f = fopen(path, "rb");
    LK_REQUIRE(f, LK_E_IO, "cannot read '%s': %s", path, strerror(errno));
    LK_TRY(LK_NEW_ARRAY(&bytes, LK_CONFIG_MAX_FILE + 2));
    const size_t n = fread(bytes, 1, LK_CONFIG_MAX_FILE + 1, f);
    LK_REQUIRE(!ferror(f), LK_E_IO, "cannot read '%s': %s", path, strerror(errno));
    LK_TRY(lk_config_parse(out, bytes, n, path));
done:
    if (f)
        fclose(f);
    lk_free(bytes);
    return st;
}

void lk_config_free(lk_config **c)
{
    if (!c || !*c)
        return;
    lk_config_node_free((*c)->root);
    lk_free((*c)->name);
    lk_free(*c);
    *c = NULL;
}

/* ---- placing --------------------------------------------------------------------------------- */

/* Put x where path says, in place of what is there; mappings on the way are made.  Takes x over. */
static lk_status put(lk_config *c, const char *path, lk_config_node *x)
{
    lk_status st = LK_OK;
    lk_config_node *parent = c->root;
    const char *rest = path;
    lk_config_node *old = walk(c->root, path, false, &parent, &rest);
    if (old) {
        for (size_t i = 0; i < parent->n; i++) {
            if (parent->child[i] == old)
                parent->child[i] = x;
        }
        x->key = old->key;
        old->key = NULL;
        lk_config_node_free(old);
        return LK_OK;
    }
    int depth = 0;
    for (const char *dot; (dot = strchr(rest, '.')) != NULL; rest = dot + 1) {
        char name[256];
        lk_config_node *map = NULL;
        if (++depth > LK_CONFIG_MAX_DEPTH / 2)
            LK_CONFIG_FAIL_AT(c, x, "more than %d levels", LK_CONFIG_MAX_DEPTH / 2);
        if (parent->kind != LK_CONFIG_MAPPING)
            break;
        LK_REQUIRE(dot > rest && dot - rest < (ptrdiff_t)sizeof name, LK_E_ARG,
                   "'%.60s' is no name of a setting", path);
        snprintf(name, sizeof name, "%.*s", (int)(dot - rest), rest);
        LK_TRY(lk_config_node_new(&map, LK_CONFIG_MAPPING, x->line, NULL));
        LK_TRY(lk_config_node_add(parent, name, map));
        parent = map;
    }
    LK_REQUIRE(rest[0] != '\0', LK_E_ARG, "'%.60s' is no name of a setting", path);
    if (parent->kind != LK_CONFIG_MAPPING)
        LK_CONFIG_FAIL_AT(c, x, "'%.60s' cannot be set: '%.60s' is a %s and has no '%.60s'", path,
                          parent->key ? parent->key : path,
                          parent->kind == LK_CONFIG_LIST ? "list" : "single value", rest);
    lk_config_node *const given = x;
    x = NULL;
    LK_TRY(lk_config_node_add(parent, rest, given));
done:
    lk_config_node_free(x);
    return st;
}

lk_status lk_config_override(lk_config *c, const char *text)
{
    lk_status st = LK_OK;
    lk_config_node *x = NULL;
    char path[512];
    const char *value = strchr(text, '=');
    LK_REQUIRE(value && value > text, LK_E_ARG, "'%.60s' must be like key.sub=value", text);
    LK_REQUIRE(value - text < (ptrdiff_t)sizeof path, LK_E_ARG, "the name in '%.60s' is too long",
               text);
    snprintf(path, sizeof path, "%.*s", (int)(value - text), text);
    LK_TRY(lk_config_read_yaml(c, value + 1, strlen(value + 1), true, &x));
    if (!x)
        LK_TRY(lk_config_node_new(&x, LK_CONFIG_SCALAR, LK_CONFIG_FROM_SHELL, ""));
    lk_config_node *const given = x;
    x = NULL;
    LK_TRY(put(c, path, given));
done:
    lk_config_node_free(x);
    return st;
}

/* ---- asking ---------------------------------------------------------------------------------- */

/* The mapping at path, made when it is absent. */
static lk_status need_mapping(lk_config *c, const char *path, lk_config_node **out)
{
    lk_status st = LK_OK;
    lk_config_node *x = walk(c->root, path, true, NULL, NULL);
    if (!x) {
        lk_config_node *made = NULL;
        LK_TRY(lk_config_node_new(&made, LK_CONFIG_MAPPING, LK_CONFIG_BY_DEFAULT, NULL));
        LK_TRY(put(c, path, made));
        x = walk(c->root, path, true, NULL, NULL);
    }
    if (lk_config_is_null(x))
        x->kind = LK_CONFIG_MAPPING;
    if (x->kind != LK_CONFIG_MAPPING)
        LK_CONFIG_FAIL_AT(c, x, "'%s' must hold 'key: value' lines", path);
    *out = x;
done:
    return st;
}

static lk_status set_option(const lk_config *c, const lk_option *o, const lk_config_node *x,
                            void *target)
{
    lk_status st = LK_OK;
    char sentence[400];
    if (x->kind != LK_CONFIG_SCALAR)
        LK_CONFIG_FAIL_AT(c, x, "'%s' must be a single value, not a %s", o->name,
                          x->kind == LK_CONFIG_LIST ? "list" : "mapping");
    if (lk_config_is_null(x) && o->type != LK_OPTION_TEXT)
        LK_CONFIG_FAIL_AT(c, x, "'%s' has no value", o->name);
    const lk_option one[2] = {*o, LK_OPT_END};
    st = lk_option_set(one, target, o->name, lk_config_is_null(x) ? NULL : x->text);
    if (st != LK_OK) {
        snprintf(sentence, sizeof sentence, "%s", lk_error_text());
        st = lk_config_fail_at(c, x, st, sentence);
    }
done:
    return st;
}

static lk_status add_default(lk_config_node *map, const lk_option *o, const void *target)
{
    lk_status st = LK_OK;
    char text[1024];
    lk_config_node *x = NULL;
    const bool words = o->type == LK_OPTION_TEXT || o->type == LK_OPTION_CHOICE;
    lk_option_print(o, target, text, sizeof text);
    LK_TRY(lk_config_node_new(&x, LK_CONFIG_SCALAR, LK_CONFIG_BY_DEFAULT,
                              words && o->text ? o->text
                              : words          ? ""
                                               : text));
    x->asked = true;
    x->quoted = words && o->text && lk_config_is_null(x); /* the word null, not nothing */
    LK_TRY(lk_config_node_add(map, o->name, x));
done:
    return st;
}

lk_status lk_config_options(lk_config *c, const char *path, const lk_option *options, void *target)
{
    lk_status st = LK_OK;
    lk_config_node *map = NULL;
    lk_option_defaults(options, target);
    LK_TRY(need_mapping(c, path, &map));
    for (const lk_option *o = options; o->name; o++) {
        lk_config_node *x = lk_config_node_child(map, o->name, strlen(o->name));
        if (x) {
            x->asked = true;
            LK_TRY(set_option(c, o, x, target));
        } else {
            LK_TRY(add_default(map, o, target));
        }
    }
done:
    return st;
}

/* The list at path, made from `missing` texts when absent; a single value stands for itself. */
static lk_status need_list(lk_config *c, const char *path, const char *const *missing,
                           int64_t n_missing, lk_config_node **out)
{
    lk_status st = LK_OK;
    lk_config_node *list = NULL, *x = walk(c->root, path, true, NULL, NULL);
    if (!x) {
        LK_TRY(lk_config_node_new(&list, LK_CONFIG_LIST, LK_CONFIG_BY_DEFAULT, NULL));
        for (int64_t i = 0; i < n_missing; i++) {
            lk_config_node *value = NULL;
            LK_TRY(lk_config_node_new(&value, LK_CONFIG_SCALAR, LK_CONFIG_BY_DEFAULT, missing[i]));
            value->quoted = lk_config_is_null(value);
            LK_TRY(lk_config_node_add(list, NULL, value));
        }
        lk_config_node *const given = list;
        list = NULL;
        LK_TRY(put(c, path, given));
        x = walk(c->root, path, true, NULL, NULL);
    }
    if (x->kind == LK_CONFIG_MAPPING)
        LK_CONFIG_FAIL_AT(c, x, "'%s' must be a list like [a, b]", path);
    for (size_t i = 0; x->kind == LK_CONFIG_LIST && i < x->n; i++) {
        x->child[i]->asked = true;
        if (x->child[i]->kind != LK_CONFIG_SCALAR || lk_config_is_null(x->child[i]))
            LK_CONFIG_FAIL_AT(c, x->child[i], "value %zu of '%s' must be a single value", i + 1,
                              path);
    }
    *out = x;
done:
    lk_config_node_free(list);
    return st;
}

static size_t values_of(const lk_config_node *x)
{
    return x->kind == LK_CONFIG_LIST ? x->n : lk_config_is_null(x) ? 0 : 1;
}

static const lk_config_node *value_at(const lk_config_node *x, size_t i)
{
    return x->kind == LK_CONFIG_LIST ? x->child[i] : x;
}

lk_status lk_config_numbers(lk_config *c, const char *path, double min, double max,
                            const double *missing, int64_t n_missing, const double **values,
                            int64_t *n)
{
    lk_status st = LK_OK;
    const lk_option row = {path, LK_OPTION_DOUBLE, 0, 0, min, max, NULL, NULL, NULL};
    lk_config_node *x = NULL;
    char(*text)[32] = NULL;
    const char **words = NULL;
    double *numbers = NULL;
    LK_TRY(LK_NEW_ARRAY(&text, n_missing));
    LK_TRY(LK_NEW_ARRAY(&words, n_missing));
    for (int64_t i = 0; i < n_missing; i++) {
        lk_option_print(&row, &missing[i], text[i], sizeof text[i]);
        words[i] = text[i];
    }
    LK_TRY(need_list(c, path, words, n_missing, &x));
    LK_TRY(LK_NEW_ARRAY(&numbers, values_of(x)));
    for (size_t i = 0; i < values_of(x); i++)
        LK_TRY(set_option(c, &row, value_at(x, i), &numbers[i]));
    lk_free(x->handed_out);
    x->handed_out = numbers;
    *values = numbers;
    *n = (int64_t)values_of(x);
    numbers = NULL;
done:
    lk_free(numbers);
    lk_free(words);
    lk_free(text);
    return st;
}

lk_status lk_config_texts(lk_config *c, const char *path, const char *const *missing,
                          int64_t n_missing, const char *const **values, int64_t *n)
{
    lk_status st = LK_OK;
    lk_config_node *x = NULL;
    const char **texts = NULL;
    LK_TRY(need_list(c, path, missing, n_missing, &x));
    LK_TRY(LK_NEW_ARRAY(&texts, values_of(x)));
    for (size_t i = 0; i < values_of(x); i++)
        texts[i] = value_at(x, i)->text;
    lk_free(x->handed_out);
    x->handed_out = texts;
    *values = texts;
    *n = (int64_t)values_of(x);
done:
    return st;
}

int64_t lk_config_count(const lk_config *c, const char *path)
{
    const lk_config_node *x = walk(c->root, path, false, NULL, NULL);
    return x ? (int64_t)x->n : -1;
}

const char *lk_config_key(const lk_config *c, const char *path, int64_t i)
{
    const lk_config_node *x = walk(c->root, path, false, NULL, NULL);
    return x && x->kind == LK_CONFIG_MAPPING && i >= 0 && i < (int64_t)x->n ? x->child[i]->key
                                                                            : NULL;
}

static lk_status check_node(const lk_config *c, const lk_config_node *x)
{
    lk_status st = LK_OK;
    const char *names[MAX_NAMES];
    size_t n = 0;
    for (size_t i = 0; x->kind == LK_CONFIG_MAPPING && i < x->n && n < MAX_NAMES; i++) {
        if (x->child[i]->asked)
            names[n++] = x->child[i]->key;
    }
    for (size_t i = 0; i < x->n; i++) {
        const lk_config_node *y = x->child[i];
        const char *near = y->asked || !y->key ? NULL : lk_nearest_name(y->key, names, n);
        if (near)
            LK_CONFIG_FAIL_AT(c, y, "unknown setting '%.60s'; did you mean '%s'?", y->key, near);
        if (!y->asked && y->key)
            LK_CONFIG_FAIL_AT(c, y, "unknown setting '%.60s'", y->key);
        if (!y->asked)
            LK_CONFIG_FAIL_AT(c, y, "value %zu of '%.60s' means nothing here", i + 1,
                              x->key ? x->key : "");
        LK_TRY(check_node(c, y));
    }
done:
    return st;
}

lk_status lk_config_check(const lk_config *c)
{
    return check_node(c, c->root);
}

lk_status lk_config_write(const lk_config *c, const char *path)
{
    lk_status st = LK_OK;
    lk_replace file = {0};
    char *text = NULL;
    LK_TRY(lk_config_to_yaml(c, &text));
    LK_TRY(lk_replace_open(&file, path));
    LK_REQUIRE(fputs(text, file.stream) != EOF, LK_E_IO, "cannot write '%s': %s", path,
               strerror(errno));
    LK_TRY(lk_replace_commit(&file));
done:
    lk_replace_drop(&file);
    lk_free(text);
    return st;
}
