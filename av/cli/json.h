/* json.h - the few lines every --json output needs on top of jansson. */
#ifndef LK_CLI_JSON_H
#define LK_CLI_JSON_H

#include "kernels/clock.h"
#include "kernels/status.h"

#include <jansson.h>

/* A number, or null when it is not finite. */
json_t *lk_json_real(double x);

/* Seconds of a time, or null for LK_FLICK_NONE. */
json_t *lk_json_seconds(lk_flick t);

/* Put value under key; takes value over also on failure. */
LK_CHECKED lk_status lk_json_set(json_t *object, const char *key, json_t *value);

/* One line on stdout, keys in the order they were set; releases value. */
LK_CHECKED lk_status lk_json_print_line(json_t *value);

#endif /* LK_CLI_JSON_H */
