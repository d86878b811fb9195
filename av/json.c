/* json.c - see json.h. */
#include "av/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *lk_json_real(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

json_t *lk_json_seconds(lk_flick t)
{
    return t == LK_FLICK_NONE ? json_null() : json_real(lk_flick_to_s(t));
}

json_t *lk_json_text(const char *text)
{
    json_t *value = json_string(text);
    if (value)
        return value;
    char *escaped = malloc(4 * strlen(text) + 1);
    if (!escaped)
        return NULL;
    size_t n = 0;
    for (const char *c = text; *c; c++) {
        if ((unsigned char)*c < 0x80)
            escaped[n++] = *c;
        else
            n += (size_t)snprintf(escaped + n, 5, "\\x%02x", (unsigned)(unsigned char)*c);
    }
    escaped[n] = '\0';
    value = json_string(escaped);
    free(escaped);
    return value;
}

lk_status lk_json_set(json_t *object, const char *key, json_t *value)
{
    if (!value || json_object_set_new(object, key, value) != 0)
        return LK_FAIL(LK_E_MEMORY, "out of memory");
    return LK_OK;
}

lk_status lk_json_print_line(json_t *value)
{
    lk_status st = LK_OK;
    char *text = json_dumps(value, JSON_REAL_PRECISION(12));
    LK_REQUIRE(text, LK_E_MEMORY, "out of memory");
    LK_REQUIRE(puts(text) != EOF && fflush(stdout) == 0, LK_E_IO, "cannot write to stdout");
done:
    free(text);
    json_decref(value);
    return st;
}
