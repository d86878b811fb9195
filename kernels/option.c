/* option.c - see option.h. */
#include "kernels/option.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME 64

static bool same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        const char x = *a == '-' ? '_' : *a, y = *b == '-' ? '_' : *b;
        if (x != y)
            return false;
    }
    return *a == *b;
}

const lk_option *lk_option_find(const lk_option *options, const char *name)
{
    for (const lk_option *o = options; o && o->name; o++) {
        if (same_name(o->name, name))
            return o;
    }
    return NULL;
}

static void *field_of(const lk_option *o, void *target)
{
    return (char *)target + o->offset;
}

static void set_number(const lk_option *o, void *target, double number)
{
    void *field = field_of(o, target);
    if (o->type == LK_OPTION_INT)
        *(int *)field = (int)number;
    else if (o->type == LK_OPTION_DOUBLE)
        *(double *)field = number;
    else
        *(bool *)field = number != 0;
}

void lk_option_defaults(const lk_option *options, void *target)
{
    for (const lk_option *o = options; o && o->name; o++) {
        if (o->type == LK_OPTION_CHOICE || o->type == LK_OPTION_TEXT)
            *(const char **)field_of(o, target) = o->text;
        else
            set_number(o, target, o->number);
    }
}

static size_t edit_distance(const char *a, const char *b)
{
    size_t row[MAX_NAME + 1];
    const size_t nb = strlen(b) < MAX_NAME ? strlen(b) : MAX_NAME;
    for (size_t j = 0; j <= nb; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            const size_t substitute = diagonal + (a[i - 1] != b[j - 1]);
            size_t best = row[j] + 1 < row[j - 1] + 1 ? row[j] + 1 : row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best < substitute ? best : substitute;
        }
    }
    return row[nb];
}

const char *lk_nearest_name(const char *name, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t best_distance = strlen(name) / 2 + 1;
    if (strlen(name) > MAX_NAME)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        const size_t typed = strlen(name);
        const size_t d =
            typed >= 3 && strncmp(name, names[i], typed) == 0 ? 0 : edit_distance(name, names[i]);
        if (d < best_distance) {
            best_distance = d;
            best = names[i];
        }
    }
    return best;
}

static lk_status unknown_option(const lk_option *options, const char *name)
{
    const char *names[128];
    size_t n = 0;
    for (const lk_option *o = options; o && o->name && n < 128; o++)
        names[n++] = o->name;
    const char *near = lk_nearest_name(name, names, n);
    if (near)
        return LK_FAIL(LK_E_ARG, "unknown setting '%.60s'; did you mean '%s'?", name, near);
    return LK_FAIL(LK_E_ARG, "unknown setting '%.60s'", name);
}

static lk_status set_choice(const lk_option *o, void *target, const char *value)
{
    /* The accepted text is one element of "a|b|c"; a pointer to a NUL-ended copy is needed, so the
     * choices live in a small process-wide table that never shrinks. */
    static _Thread_local char copies[64][MAX_NAME];
    static _Thread_local size_t n_copies;
    const size_t len = strlen(value);
    for (const char *p = o->choices; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL) {
        if (strncmp(p, value, len) != 0 || (p[len] != '|' && p[len] != '\0') || len >= MAX_NAME)
            continue;
        for (size_t i = 0; i < n_copies; i++) {
            if (strcmp(copies[i], value) == 0) {
                *(const char **)field_of(o, target) = copies[i];
                return LK_OK;
            }
        }
        if (n_copies == 64)
            return LK_FAIL(LK_E_INTERNAL, "too many different option choices in use");
        memcpy(copies[n_copies], value, len + 1);
        *(const char **)field_of(o, target) = copies[n_copies++];
        return LK_OK;
    }
    return LK_FAIL(LK_E_ARG, "'%s' must be one of %s, not '%.60s'", o->name, o->choices, value);
}

static lk_status parse_bool(const lk_option *o, const char *value, double *out)
{
    static const char *const yes[] = {"1", "true", "yes", "on"};
    static const char *const no[] = {"0", "false", "no", "off"};
    for (size_t i = 0; i < 4; i++) {
        if (strcmp(value, yes[i]) == 0) {
            *out = 1;
            return LK_OK;
        }
        if (strcmp(value, no[i]) == 0) {
            *out = 0;
            return LK_OK;
        }
    }
    return LK_FAIL(LK_E_ARG, "'%s' must be true or false, not '%.60s'", o->name, value);
}

static lk_status parse_number(const lk_option *o, const char *value, double *out)
{
    char *end = NULL;
    errno = 0;
    const double x = strtod(value, &end);
    if (end == value || *end != '\0' || !isfinite(x) || errno == ERANGE)
        return LK_FAIL(LK_E_ARG, "'%s' must be a number, not '%.60s'", o->name, value);
    if (o->type == LK_OPTION_INT && x != floor(x))
        return LK_FAIL(LK_E_ARG, "'%s' must be a whole number, not '%.60s'", o->name, value);
    if (x < o->min || x > o->max)
        return LK_FAIL(LK_E_ARG, "'%s' must lie in [%g, %g], not %.60s", o->name, o->min, o->max,
                       value);
    *out = x;
    return LK_OK;
}

lk_status lk_option_set(const lk_option *options, void *target, const char *name, const char *value)
{
    lk_status st = LK_OK;
    double number = 0;
    const lk_option *o = lk_option_find(options, name);
    if (!o)
        return unknown_option(options, name);
    if (o->type == LK_OPTION_TEXT) {
        *(const char **)field_of(o, target) = value;
        return LK_OK;
    }
    if (o->type == LK_OPTION_CHOICE)
        return set_choice(o, target, value);
    LK_TRY(o->type == LK_OPTION_BOOL ? parse_bool(o, value, &number)
                                     : parse_number(o, value, &number));
    set_number(o, target, number);
done:
    return st;
}

/* The shortest decimal that reads back as x. */
static void print_double(double x, char *text, size_t bytes)
{
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, bytes, "%.*g", digits, x);
        if (strtod(text, NULL) == x)
            return;
    }
}

void lk_option_print(const lk_option *o, const void *target, char *text, size_t bytes)
{
    const void *field = (const char *)target + o->offset;
    if (o->type == LK_OPTION_INT)
        snprintf(text, bytes, "%d", *(const int *)field);
    else if (o->type == LK_OPTION_DOUBLE)
        print_double(*(const double *)field, text, bytes);
    else if (o->type == LK_OPTION_BOOL)
        snprintf(text, bytes, "%s", *(const bool *)field ? "true" : "false");
    else {
        const char *value = *(const char *const *)field;
        snprintf(text, bytes, "%s", value ? value : "");
    }
}

lk_status lk_option_write_lines(const lk_option *options, const void *target, lk_text *lines)
{
    lk_status st = LK_OK;
    char value[MAX_NAME];
    for (const lk_option *o = options; o && o->name; o++) {
        if (o->type == LK_OPTION_TEXT)
            continue;
        lk_option_print(o, target, value, sizeof value);
        LK_TRY(lk_text_add(lines, "%s: %s\n", o->name, value));
    }
done:
    return st;
}

lk_status lk_option_read_lines(const lk_option *options, void *target, const char *lines)
{
    lk_status st = LK_OK;
    char name[MAX_NAME], value[MAX_NAME], junk;
    while (*lines) {
        const char *end = strchr(lines, '\n');
        const size_t n = end ? (size_t)(end - lines) : strlen(lines);
        char line[3 * MAX_NAME];
        LK_REQUIRE(n < sizeof line, LK_E_FORMAT, "a line of the settings is too long");
        memcpy(line, lines, n);
        line[n] = '\0';
        lines += end ? n + 1 : n;
        if (line[0] == '\0' || line[0] == '#')
            continue;
        LK_REQUIRE(sscanf(line, " %63[^: ] : %63s %c", name, value, &junk) == 2, LK_E_FORMAT,
                   "a setting must read 'name: value', not '%.60s'", line);
        const lk_option *o = lk_option_find(options, name);
        LK_REQUIRE(!o || o->type != LK_OPTION_TEXT, LK_E_FORMAT,
                   "'%s' is a text and cannot be set by a line", name);
        LK_TRY(lk_option_set(options, target, name, value));
    }
done:
    return st;
}

void lk_option_help(const lk_option *options, const char *prefix, FILE *out)
{
    for (const lk_option *o = options; o && o->name; o++) {
        char left[96], dashed[MAX_NAME];
        size_t i = 0;
        for (; o->name[i] && i + 1 < sizeof dashed; i++)
            dashed[i] = o->name[i] == '_' ? '-' : o->name[i];
        dashed[i] = '\0';
        snprintf(left, sizeof left, "%s%s", prefix, dashed);
        if (o->type == LK_OPTION_CHOICE)
            fprintf(out, "  %-24s %s (%s) [%s]\n", left, o->help, o->choices, o->text);
        else if (o->type == LK_OPTION_TEXT)
            fprintf(out, "  %-24s %s%s%s%s\n", left, o->help, o->text ? " [" : "",
                    o->text ? o->text : "", o->text ? "]" : "");
        else if (o->type == LK_OPTION_BOOL)
            fprintf(out, "  %-24s %s [%s]\n", left, o->help, o->number != 0 ? "true" : "false");
        else
            fprintf(out, "  %-24s %s (%g..%g) [%g]\n", left, o->help, o->min, o->max, o->number);
    }
}
