/* text.h - text that grows, and JSON strings.
 *
 *     lk_text t = {0};
 *     LK_TRY(lk_text_add(&t, "{\"step\": %d, \"note\": ", step));
 *     LK_TRY(lk_text_add_json(&t, note));
 *
 * Threads      one text by one thread at a time.
 */
#ifndef LK_TEXT_H
#define LK_TEXT_H

#include "kernels/status.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lk_text {
    char *at; /* ends in NUL once something was added; NULL before */
    size_t n; /* bytes without the NUL */
    size_t capacity;
} lk_text;

LK_CHECKED lk_status lk_text_add(lk_text *t, const char *format, ...) LK_PRINTF(2, 3);

/* A JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
LK_CHECKED lk_status lk_text_add_json(lk_text *t, const char *text);

/* Empty again, keeping the memory. */
void lk_text_clear(lk_text *t);
void lk_text_free(lk_text *t);

/* Bytes of the UTF-8 character at p, with n >= 1 bytes to look at; 0 when it is none. */
int lk_utf8_bytes(const char *p, size_t n);

#ifdef __cplusplus
}
#endif

#endif /* LK_TEXT_H */
