/* text.c - see text.h. */
#include "kernels/text.h"

#include "kernels/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

lk_status lk_text_add(lk_text *t, const char *format, ...)
{
    lk_status st = LK_OK;
    va_list args;
    int n;
    va_start(args, format);
    n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    LK_TRY(LK_GROW(&t->at, &t->capacity, t->n + (size_t)n + 1));
    va_start(args, format);
    vsnprintf(t->at + t->n, (size_t)n + 1, format, args);
    va_end(args);
    t->n += (size_t)n;
done:
    return st;
}

int lk_utf8_bytes(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    const int bytes = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (p[0] > 0xf4 || bytes == 0 || (size_t)bytes > n)
        return 0;
    for (int i = 1; i < bytes; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if (bytes == 3 && ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f)))
        return 0; /* too long a form; half of a surrogate pair */
    if (bytes == 4 && ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)))
        return 0;
    return bytes;
}

lk_status lk_text_add_json(lk_text *t, const char *text)
{
    lk_status st = LK_OK;
    LK_TRY(lk_text_add(t, "\""));
    for (size_t left = strlen(text); left > 0;) {
        const int bytes = lk_utf8_bytes(text, left), step = bytes ? bytes : 1;
        const unsigned char c = (unsigned char)*text;
        if (bytes == 0)
            LK_TRY(lk_text_add(t, "\xef\xbf\xbd"));
        else if (c == '"' || c == '\\')
            LK_TRY(lk_text_add(t, "\\%c", c));
        else if (c < 0x20)
            LK_TRY(lk_text_add(t, "\\u%04x", c));
        else
            LK_TRY(lk_text_add(t, "%.*s", bytes, text));
        text += step;
        left -= (size_t)step;
    }
    LK_TRY(lk_text_add(t, "\""));
done:
    return st;
}

void lk_text_clear(lk_text *t)
{
    t->n = 0;
    if (t->at)
        t->at[0] = '\0';
}

void lk_text_free(lk_text *t)
{
    lk_free(t->at);
    memset(t, 0, sizeof *t);
}
