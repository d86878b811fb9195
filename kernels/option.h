/* option.h - one table row per setting serves the command line, files, help and the dump.
 *
 *     typedef struct cfg { int n; double sigma_ms; bool clean; const char *mode; } cfg;
 *     static const lk_option options[] = {
 *         LK_OPT_INT(cfg, n, 31, 1, 1000, "number of lags"),
 *         LK_OPT_DOUBLE(cfg, sigma_ms, 50, 1, 1000, "width of the kernel"),
 *         LK_OPT_BOOL(cfg, clean, true, "mask the edges"),
 *         LK_OPT_CHOICE(cfg, mode, "clean", "clean|compatible", "which definition"),
 *         LK_OPT_END};
 *
 * Ownership    string values point into the table (choices) or are duplicated by the caller; text
 *              options keep the pointer they are given, which must outlive the struct.
 * Threads      pure functions over the caller's struct.
 */
#ifndef LK_OPTION_H
#define LK_OPTION_H

#include "kernels/status.h"
#include "kernels/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef enum lk_option_type {
    LK_OPTION_INT,
    LK_OPTION_DOUBLE,
    LK_OPTION_BOOL,
    LK_OPTION_CHOICE, /* one of "a|b|c"; the field is a const char * */
    LK_OPTION_TEXT    /* any text; the field is a const char *, NULL when absent */
} lk_option_type;

typedef struct lk_option {
    const char *name; /* NULL ends the table; '_' and '-' are the same on the command line */
    lk_option_type type;
    size_t offset;
    double number; /* default of INT, DOUBLE, BOOL */
    double min, max;
    const char *text;    /* default of CHOICE, TEXT */
    const char *choices; /* "a|b|c" */
    const char *help;
} lk_option;

#define LK_OPT_INT(s, field, def, lo, hi, help)                                                    \
    {                                                                                              \
#field, LK_OPTION_INT, offsetof(s, field), (def), (lo), (hi), NULL, NULL, (help)           \
    }
#define LK_OPT_DOUBLE(s, field, def, lo, hi, help)                                                 \
    {                                                                                              \
#field, LK_OPTION_DOUBLE, offsetof(s, field), (def), (lo), (hi), NULL, NULL, (help)        \
    }
/* The field is a bool: the sum is of no size for any other type. */
#define LK_OPT_BOOL(s, field, def, help)                                                           \
    {                                                                                              \
#field, LK_OPTION_BOOL,                                                                    \
            offsetof(s, field) + 0 * sizeof(int[_Generic(((s *)0)->field, bool: 1, default: -1)]), \
            (def), 0, 1, NULL, NULL, (help)                                                        \
    }
#define LK_OPT_CHOICE(s, field, def, choices, help)                                                \
    {                                                                                              \
#field, LK_OPTION_CHOICE, offsetof(s, field), 0, 0, 0, (def), (choices), (help)            \
    }
#define LK_OPT_TEXT(s, field, def, help)                                                           \
    {                                                                                              \
#field, LK_OPTION_TEXT, offsetof(s, field), 0, 0, 0, (def), NULL, (help)                   \
    }
#define LK_OPT_END                                                                                 \
    {                                                                                              \
        NULL, LK_OPTION_INT, 0, 0, 0, 0, NULL, NULL, NULL                                          \
    }

/* Fill every field with its default. */
void lk_option_defaults(const lk_option *options, void *target);

/* Set one field from text.  LK_E_ARG, with the nearest known name or the allowed range in the
 * sentence, when the name or the value is not acceptable. */
LK_CHECKED lk_status lk_option_set(const lk_option *options, void *target, const char *name,
                                   const char *value);

/* Row of a name, or NULL. */
const lk_option *lk_option_find(const lk_option *options, const char *name);

/* The value as text, in the form lk_option_set reads back. */
void lk_option_print(const lk_option *option, const void *target, char *text, size_t bytes);

/* All settings but texts as lines "name: value" in the table's order, and back; lines that are
 * empty or start with '#' are passed over.  Reading stops at the first name or value that does not
 * fit. */
LK_CHECKED lk_status lk_option_write_lines(const lk_option *options, const void *target,
                                           lk_text *lines);
LK_CHECKED lk_status lk_option_read_lines(const lk_option *options, void *target,
                                          const char *lines);

/* One aligned help line per row with range and live default. */
void lk_option_help(const lk_option *options, const char *prefix, FILE *out);

/* Edit distance based suggestion among n names, or NULL when nothing is close. */
const char *lk_nearest_name(const char *name, const char *const *names, size_t n);

#endif /* LK_OPTION_H */
