/* config.h - settings of a run: a YAML file plus `key.sub=value` from the command line, read
 * strictly.
 *
 *     LK_TRY(lk_config_read(&c, "train.yaml"));
 *     LK_TRY(lk_config_override(c, "optim.lr=3e-4"));
 *     LK_TRY(lk_config_options(c, "optim", optim_rows, &optim));    rows of kernels/option.h
 *     LK_TRY(lk_config_numbers(c, "grid.lr", 0, 1, NULL, 0, &lr, &n_lr));
 *     LK_TRY(lk_config_check(c));          refuses what nobody asked for
 *     LK_TRY(lk_config_write(c, "run/config.yaml"));
 *
 * File         mappings, lists and scalars of YAML 1.1; one document whose root is a mapping (or
 *              nothing).  The type of a value is decided by the setting that asks, never by its
 *              notation: `no` is a word for a text setting and false for a true-or-false one.
 *              Refused: a key that comes twice, anchors, aliases, tags, a second document, more
 *              than 1 MiB, 32 levels or 10000 values.
 * Paths        "a.b" is key b of the mapping under key a, "a.2" the third value of the list a, ""
 *              the whole file.  A key that itself contains dots is found by its whole name.
 * Defaults     a setting that is asked for and absent is added with its default, so that what is
 *              written afterwards is complete and reads back to the same values.
 * Ownership    the config owns all texts, lists and keys it hands out, until lk_config_free or an
 *              override of the same setting: overrides come before look-ups.
 * Errors       LK_E_ARG for content, with file and line or "command line"; LK_E_IO, LK_E_FORMAT for
 *              files that cannot be read or are no YAML.
 * Threads      one thread at a time.
 */
#ifndef LK_CONFIG_H
#define LK_CONFIG_H

#include "kernels/option.h"

#include <stdint.h>

typedef struct lk_config lk_config;

/* path NULL: an empty configuration. */
LK_CHECKED lk_status lk_config_read(lk_config **c, const char *path);

/* The same from memory; `name` stands in messages. */
LK_CHECKED lk_status lk_config_parse(lk_config **c, const char *bytes, size_t n, const char *name);

void lk_config_free(lk_config **c);

/* "key.sub=value": value is YAML, so lists and mappings in flow form work; it replaces what is
 * there, and mappings on the way are made. */
LK_CHECKED lk_status lk_config_override(lk_config *c, const char *text);

/* Fill target with the rows' defaults, then with what the mapping at `path` says. */
LK_CHECKED lk_status lk_config_options(lk_config *c, const char *path, const lk_option *options,
                                       void *target);

/* A list of numbers in [min, max], or of texts; a single value counts as a list of one.  Absent:
 * the given default. */
LK_CHECKED lk_status lk_config_numbers(lk_config *c, const char *path, double min, double max,
                                       const double *missing, int64_t n_missing,
                                       const double **values, int64_t *n);
LK_CHECKED lk_status lk_config_texts(lk_config *c, const char *path, const char *const *missing,
                                     int64_t n_missing, const char *const **values, int64_t *n);

/* How many entries the mapping or list at path has; 0 for a scalar, -1 where nothing stands. */
int64_t lk_config_count(const lk_config *c, const char *path);

/* Key of entry i of the mapping at path, in the order of the file; NULL when there is none. */
const char *lk_config_key(const lk_config *c, const char *path, int64_t i);

/* LK_E_ARG for the first entry that no call above has asked for, with the nearest known name. */
LK_CHECKED lk_status lk_config_check(const lk_config *c);

/* The resolved configuration as YAML; *text is the caller's (lk_free). */
LK_CHECKED lk_status lk_config_to_yaml(const lk_config *c, char **text);
LK_CHECKED lk_status lk_config_write(const lk_config *c, const char *path);

#endif /* LK_CONFIG_H */
