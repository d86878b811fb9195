/* json.h - the few lines every JSON output needs on top of jansson. */
#ifndef LK_JSON_H
#define LK_JSON_H

#include "kernels/clock.h"
#include "kernels/status.h"

#include <jansson.h>

/* A number, or null when it is not finite. */
json_t *lk_json_real(double x);

/* Seconds of a time, or null for LK_FLICK_NONE. */
json_t *lk_json_seconds(lk_flick t);

/* Text that may not be UTF-8, as file names may: then its high bytes become \\xNN. */
json_t *lk_json_text(const char *text);

/* Put value under key; takes value over also on failure. */
LK_CHECKED lk_status lk_json_set(json_t *object, const char *key, json_t *value);

/* One line on stdout, keys in the order they were set; releases value. */
LK_CHECKED lk_status lk_json_print_line(json_t *value);

#endif /* LK_JSON_H */
