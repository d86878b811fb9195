/* report_html.c - text, words and the frame of a page. */
#include "av/report_impl.h"

#include <math.h>
#include <string.h>

extern const char lk_report_css[], lk_report_js[];

/* Length of the valid UTF-8 sequence at s, 0 when there is none (RFC 3629, table 3-7 of Unicode).
 */
static int sequence(const unsigned char *s)
{
    if (s[0] < 0x80)
        return 1;
    const int n = s[0] >= 0xc2 && s[0] < 0xe0   ? 2
                  : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
                  : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                                : 0;
    for (int i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
        return 0;
    return n;
}

void lk_html_text(FILE *f, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    while (s && *s) {
        const int n = sequence(s);
        if (n == 0 || *s < 0x20 || *s == 0x7f)
            fputs(*s == '\n' || *s == '\t' ? " " : "\xef\xbf\xbd", f);
        else if (*s == '&')
            fputs("&amp;", f);
        else if (*s == '<')
            fputs("&lt;", f);
        else if (*s == '>')
            fputs("&gt;", f);
        else if (*s == '"')
            fputs("&quot;", f);
        else if (*s == '\'')
            fputs("&#39;", f);
        else
            fwrite(s, 1, (size_t)n, f);
        s += n > 0 ? n : 1;
    }
}

void lk_html_head(FILE *f, const char *title)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
          "<meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\">"
          "<title>",
          f);
    lk_html_text(f, title);
    fprintf(f, "</title>\n<style>\n%s</style></head>\n<body>\n<main>\n", lk_report_css);
}

void lk_html_tail(FILE *f)
{
    fprintf(f,
            "<footer>Made by Lockstep. A positive offset always means that the sound is late."
            "</footer>\n</main>\n<script>\n%s</script>\n</body></html>\n",
            lk_report_js);
}

void lk_html_number(FILE *f, double x)
{
    if (!isfinite(x))
        fputs("–", f);
    else if (fabs(x) >= 1000)
        fprintf(f, "%s%.0f", x < 0 ? "−" : "", fabs(x));
    else
        fprintf(f, "%s%.3g", x < 0 ? "−" : "", fabs(x));
}

void lk_words_offset(char *out, size_t bytes, double offset_ms)
{
    const double size = fabs(offset_ms);
    if (!isfinite(offset_ms))
        snprintf(out, bytes, "no offset");
    else
        snprintf(out, bytes, size < 9.95 ? "sound %s by %.1f ms" : "sound %s by %.0f ms",
                 offset_ms < 0 ? "early" : "late", size);
}

static bool ends_with(const char *text, const char *tail)
{
    const size_t n = strlen(text), m = strlen(tail);
    return n >= m && strcmp(text + n - m, tail) == 0;
}

void lk_words_score(char *out, size_t bytes, const lk_result_score *s)
{
    out[0] = '\0';
    if (!isfinite(s->value))
        return;
    if (ends_with(s->name, "offset_ms")) {
        lk_words_offset(out, bytes, s->value);
        if (isfinite(s->lo) && s->lo <= 0 && s->hi >= 0) {
            const size_t n = strlen(out);
            snprintf(out + n, bytes - n, ", not told apart from zero");
        }
    } else if (ends_with(s->name, "drift_ppm")) {
        if (isfinite(s->lo) && s->lo <= 0 && s->hi >= 0)
            snprintf(out, bytes, "no drift told apart from zero");
        else
            snprintf(out, bytes, "the sound becomes %s by %.1f ms a minute",
                     s->value > 0 ? "later" : "earlier", fabs(s->value) * 0.06);
    } else if (strcmp(s->unit, "share of time") == 0) {
        snprintf(out, bytes, "%.0f %% of the time outside the limit", 100 * s->value);
    } else if (isfinite(s->chance) && isfinite(s->p)) {
        snprintf(out, bytes, s->p <= 0.05 ? "better than chance" : "no better than chance");
    } else if (strcmp(s->unit, "bpm") == 0) {
        snprintf(out, bytes, "%.1f beats a minute", s->value);
    }
}
