/* generate_script.c - timed events out of a text; see generate.h. */
#include "av/generate_impl.h"

#include "kernels/mem.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SCRIPT_BYTES = 1 << 20 };

/* "X,Y", fractions of the picture, at the end of a text, behind the word; cuts it off. */
static int cut_place(char *text, const char *word, double *x, double *y)
{
    const size_t n = strlen(word);
    char *last = NULL, *end;
    for (char *at = strstr(text, word); at; at = strstr(at + 1, word))
        last = at;
    if (!last || last == text)
        return 0;
    *x = strtod(last + n, &end);
    if (end == last + n || *end != ',')
        return 0;
    text = end + 1;
    *y = strtod(text, &end);
    if (end == text || end[strspn(end, " \t")] != '\0' || !isfinite(*x) || !isfinite(*y))
        return 0;
    *last = '\0';
    return 1;
}

/* "TEXT at X,Y" or "TEXT from X,Y to X,Y"; what is neither is all text. */
static lk_place cut_places(char *text)
{
    lk_place p = {0};
    if (cut_place(text, " at ", &p.x[0], &p.y[0])) {
        p.ends = 1;
    } else if (cut_place(text, " to ", &p.x[1], &p.y[1])) {
        p.ends = cut_place(text, " from ", &p.x[0], &p.y[0]) ? 2 : -1;
    }
    return p;
}

/* "FROM[-TO] s TEXT[ PLACE]" */
static int parse_line(char *line, lk_joint_event *e)
{
    char *at = NULL;
    double from = strtod(line, &at), to = from;
    if (at == line)
        return 0;
    if (*at == '-') {
        line = at + 1;
        to = strtod(line, &at);
        if (at == line)
            return 0;
    }
    at += strspn(at, " \t");
    if (*at != 's' || (at[1] != ' ' && at[1] != '\t'))
        return 0;
    at += 1 + strspn(at + 1, " \t");
    *e = (lk_joint_event){{lk_flick_from_s(from), lk_flick_from_s(to)}, at, cut_places(at)};
    return e->place.ends >= 0 && *at != '\0' && isfinite(from) && isfinite(to) && from >= 0 &&
           to >= from;
}

lk_status lk_script_parse(const char *text, const char *name, lk_flick end, lk_joint_event **events,
                          int *n_events, char **texts)
{
    lk_status st = LK_OK;
    size_t capacity = 0;
    int line_number = 0;
    *n_events = 0;
    *events = NULL;
    LK_TRY(lk_strdup(text, texts));
    for (char *line = *texts, *next; line; line = next) {
        lk_joint_event e;
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        line_number++;
        line += strspn(line, " \t");
        line[strcspn(line, "\r")] = '\0';
        if (*line == '\0' || *line == '#')
            continue;
        LK_REQUIRE(
            parse_line(line, &e), LK_E_FORMAT,
            "%s, line %d: say '0.50 s bounce metal', '1.20-1.62 s say ba', "
            "'0.50 s bounce metal at 0.3,0.8' or '0.4-0.5 s path ball from 0.3,0.6 to 0.3,0.8'",
            name, line_number);
        LK_REQUIRE(e.span.start < end && e.span.end <= end, LK_E_ARG,
                   "%s, line %d: the event at %g s is outside the clip of %g s", name, line_number,
                   lk_flick_to_s(e.span.start), lk_flick_to_s(end));
        LK_TRY(LK_GROW(events, &capacity, *n_events + 1));
        (*events)[(*n_events)++] = e;
    }
    lk_joint_sort_events(*events, *n_events);
done:
    if (st != LK_OK) {
        lk_free(*events);
        lk_free(*texts);
        *events = NULL;
        *texts = NULL;
    }
    return st;
}

lk_status lk_script_read(const char *path, char **text)
{
    lk_status st = LK_OK;
    FILE *f = fopen(path, "rb");
    size_t n;
    LK_REQUIRE(f, LK_E_IO, "cannot read '%s': %s", path, strerror(errno));
    LK_TRY(LK_NEW_ARRAY(text, SCRIPT_BYTES + 1));
    n = fread(*text, 1, SCRIPT_BYTES + 1, f);
    LK_REQUIRE(!ferror(f) && n <= SCRIPT_BYTES, LK_E_FORMAT, "'%s' is no script: it is too long",
               path);
    (*text)[n] = '\0';
done:
    if (f)
        fclose(f);
    return st;
}
