/* manifest.c - see manifest.h.  Both forms end in set_field, one row and one column at a time. */
#include "av/manifest.h"

#include "kernels/mem.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_FILE    (INT64_C(256) << 20)
#define MAX_COLUMNS 64
#define MAX_TIMES   1000000

static const char *const columns[] = {"clip",  "group",     "pair", "reference", "onsets",
                                      "beats", "downbeats", "face", NULL};
enum { CLIP, GROUP, PAIR, REFERENCE, ONSETS, BEATS, DOWNBEATS, FACE, IGNORED };

static int column_of(const char *name, size_t n)
{
    for (int c = 0; columns[c]; c++) {
        if (strlen(columns[c]) == n && strncmp(columns[c], name, n) == 0)
            return c;
    }
    return IGNORED;
}

static lk_status note_unknown(lk_manifest *m, const char *name, size_t n)
{
    lk_status st = LK_OK;
    char text[64];
    if (m->unknown)
        return LK_OK;
    snprintf(text, sizeof text, "%.*s", (int)(n < 60 ? n : 60), name);
    LK_TRY(lk_strdup(text, &m->unknown));
done:
    return st;
}

static lk_status join_path(const char *folder, const char *path, char **out)
{
    lk_status st = LK_OK;
    char *joined = NULL;
    if (path[0] == '/' || !folder || !*folder) {
        LK_TRY(lk_strdup(path, &joined));
    } else {
        const size_t n = strlen(folder) + strlen(path) + 2;
        LK_TRY(LK_NEW_ARRAY(&joined, n));
        snprintf(joined, n, "%s/%s", folder, path);
    }
    lk_free(*out); /* a column that comes twice: the last one counts */
    *out = joined;
done:
    return st;
}

static int flick_ascending(const void *a, const void *b)
{
    const lk_flick x = *(const lk_flick *)a, y = *(const lk_flick *)b;
    return (x > y) - (x < y);
}

static lk_status add_time(lk_times *t, size_t *capacity, double seconds)
{
    lk_status st = LK_OK;
    LK_REQUIRE(isfinite(seconds) && fabs(seconds) < 1e7, LK_E_FORMAT, "a time is out of range");
    LK_REQUIRE(t->n < MAX_TIMES, LK_E_FORMAT, "more than %d times", MAX_TIMES);
    LK_TRY(LK_GROW(&t->at, capacity, t->n + 1));
    t->at[t->n++] = lk_flick_from_s(seconds);
done:
    return st;
}

static void clear_times(lk_times *t)
{
    lk_free(t->at);
    t->at = NULL;
    t->n = 0;
}

/* Lines "time [position in bar]"; *down (may be NULL) gets those with position 1. */
static lk_status read_times_file(const char *path, lk_times *t, lk_times *down)
{
    lk_status st = LK_OK;
    char line[512];
    size_t room = 0, room_down = 0;
    FILE *f = fopen(path, "rb");
    LK_REQUIRE(f, LK_E_IO, "cannot open '%s': %s", path, strerror(errno));
    while (fgets(line, sizeof line, f)) {
        char *end = NULL;
        const double seconds = strtod(line, &end);
        if (end == line)
            continue;
        LK_TRY(add_time(t, &room, seconds));
        if (down && lround(strtod(end, NULL)) == 1)
            LK_TRY(add_time(down, &room_down, seconds));
    }
done:
    if (f)
        fclose(f);
    return st;
}

/* Numbers and what may stand between them, nothing else; a path like "07.beats" is not. */
static bool is_list_of_times(const char *text)
{
    return text[strspn(text, "0123456789.eE+- ,;\t")] == '\0';
}

static lk_status read_times_list(const char *text, lk_times *t)
{
    lk_status st = LK_OK;
    size_t room = 0;
    text += strspn(text, " \t");
    while (*text) {
        char *end = NULL;
        const double seconds = strtod(text, &end);
        LK_REQUIRE(end != text, LK_E_FORMAT, "'%.40s' is not a time in seconds", text);
        LK_TRY(add_time(t, &room, seconds));
        text = end + strspn(end, " ,;\t");
    }
done:
    return st;
}

static lk_status read_times(const char *text, const char *folder, lk_times *t, lk_times *down)
{
    lk_status st = LK_OK;
    char *path = NULL;
    clear_times(t);
    if (is_list_of_times(text)) {
        LK_TRY(read_times_list(text, t));
    } else {
        LK_TRY(join_path(folder, text, &path));
        LK_TRY(read_times_file(path, t, down));
    }
    if (t->n > 0)
        qsort(t->at, (size_t)t->n, sizeof *t->at, flick_ascending);
    if (down && down->n > 0)
        qsort(down->at, (size_t)down->n, sizeof *down->at, flick_ascending);
done:
    lk_free(path);
    return st;
}

static lk_status read_face(const char *text, lk_manifest_row *row)
{
    lk_status st = LK_OK;
    float v[4];
    for (int i = 0; i < 4; i++) {
        char *end = NULL;
        v[i] = strtof(text, &end);
        LK_REQUIRE(end != text && v[i] >= 0 && v[i] <= 1, LK_E_FORMAT,
                   "a face needs x y width height, each 0..1");
        text = end + strspn(end, " ,;\t");
    }
    row->has_face = true;
    row->face = (lk_box){v[0], v[1], v[2], v[3]};
done:
    return st;
}

static lk_status set_text(char **field, const char *text)
{
    lk_status st = LK_OK;
    char *copy = NULL;
    LK_TRY(lk_strdup(text, &copy));
    lk_free(*field);
    *field = copy;
done:
    return st;
}

static lk_status set_field(lk_manifest_row *row, int column, const char *text, const char *folder)
{
    if (*text == '\0')
        return LK_OK;
    switch (column) {
    case CLIP:
        return join_path(folder, text, &row->clip);
    case GROUP:
        return set_text(&row->group, text);
    case PAIR:
        return set_text(&row->pair, text);
    case REFERENCE:
        return join_path(folder, text, &row->track);
    case ONSETS:
        return read_times(text, folder, &row->onsets, NULL);
    case BEATS:
        return read_times(text, folder, &row->beats,
                          row->downbeats.n == 0 ? &row->downbeats : NULL);
    case DOWNBEATS:
        clear_times(&row->downbeats);
        return read_times(text, folder, &row->downbeats, NULL);
    case FACE:
        return read_face(text, row);
    default:
        return LK_OK;
    }
}

static lk_status new_row(lk_manifest *m, lk_manifest_row **row)
{
    lk_status st = LK_OK;
    LK_TRY(LK_GROW(&m->row, &m->capacity, m->n + 1));
    *row = &m->row[m->n++];
    memset(*row, 0, sizeof **row);
done:
    return st;
}

lk_status lk_manifest_add(lk_manifest *m, const char *clip)
{
    lk_status st = LK_OK;
    lk_manifest_row *row = NULL;
    LK_TRY(new_row(m, &row));
    LK_TRY(lk_strdup(clip, &row->clip));
done:
    return st;
}

/* Say where it was, keeping the sentence. */
static lk_status at_line(lk_status st, const char *name, int64_t line)
{
    char why[256];
    if (st != LK_E_FORMAT && st != LK_E_IO)
        return st;
    snprintf(why, sizeof why, "%s", lk_error_text());
    lk_error_clear();
    return LK_FAIL(st, "'%s' line %lld: %s", name, (long long)line, why);
}

/* ---- CSV (RFC 4180) -------------------------------------------------------------------------- */

typedef struct csv {
    const char *at, *end;
    int64_t line;
    char *cell;
    size_t capacity, n;
} csv;

static lk_status put_char(csv *c, char x)
{
    lk_status st = LK_OK;
    LK_TRY(LK_GROW(&c->cell, &c->capacity, c->n + 2));
    c->cell[c->n++] = x;
done:
    return st;
}

/* Read one cell; *last tells that the record ends with it. */
static lk_status next_cell(csv *c, bool *last)
{
    lk_status st = LK_OK;
    const bool quoted = c->at < c->end && *c->at == '"';
    bool open = quoted;
    c->n = 0;
    c->at += quoted;
    LK_TRY(LK_GROW(&c->cell, &c->capacity, 1));
    for (;; c->at++) {
        if (c->at == c->end)
            break;
        const char x = *c->at;
        LK_REQUIRE(x != '\0', LK_E_FORMAT, "a zero byte");
        if (open && x == '"') {
            if (c->at + 1 < c->end && c->at[1] == '"')
                c->at++;
            else {
                open = false;
                continue;
            }
        } else if (!open && (x == ',' || x == '\n')) {
            break;
        } else if (!open && x == '\r') {
            continue;
        }
        LK_TRY(put_char(c, *c->at));
    }
    LK_REQUIRE(!open, LK_E_FORMAT, "a quote is not closed");
    c->cell[c->n] = '\0';
    *last = c->at == c->end || *c->at == '\n';
    c->at += c->at < c->end;
done:
    return st;
}

static lk_status read_header(csv *c, lk_manifest *m, int *meaning, int *n_columns)
{
    lk_status st = LK_OK;
    bool has_clip = false;
    for (bool last = false; !last; (*n_columns)++) {
        LK_REQUIRE(*n_columns < MAX_COLUMNS, LK_E_FORMAT, "more than %d columns", MAX_COLUMNS);
        LK_TRY(next_cell(c, &last));
        const int column = column_of(c->cell, c->n);
        meaning[*n_columns] = column;
        has_clip = has_clip || column == CLIP;
        if (column == IGNORED)
            LK_TRY(note_unknown(m, c->cell, c->n));
    }
    LK_REQUIRE(has_clip, LK_E_FORMAT, "the first line has no column named 'clip'");
done:
    return st;
}

static lk_status parse_csv(csv *c, const char *folder, lk_manifest *m)
{
    lk_status st = LK_OK;
    int meaning[MAX_COLUMNS], n_columns = 0;
    LK_TRY(read_header(c, m, meaning, &n_columns));
    while (c->at < c->end) {
        lk_manifest_row *row = NULL;
        c->line++;
        if (*c->at == '\n' || (*c->at == '\r' && c->at + 1 < c->end && c->at[1] == '\n')) {
            c->at += 1 + (*c->at == '\r');
            continue;
        }
        LK_TRY(new_row(m, &row));
        bool last = false;
        for (int i = 0; !last; i++) {
            LK_TRY(next_cell(c, &last));
            LK_REQUIRE(i < n_columns, LK_E_FORMAT, "more cells than the %d columns", n_columns);
            LK_TRY(set_field(row, meaning[i], c->cell, folder));
        }
        LK_REQUIRE(row->clip, LK_E_FORMAT, "no clip is named");
    }
done:
    return st;
}

/* ---- JSON lines ------------------------------------------------------------------------------ */

static lk_status set_list(lk_manifest_row *row, int column, const json_t *list)
{
    lk_status st = LK_OK;
    lk_times *t = column == ONSETS ? &row->onsets : column == BEATS ? &row->beats : &row->downbeats;
    size_t room = 0;
    clear_times(t);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        LK_REQUIRE(json_is_number(v), LK_E_FORMAT, "'%s' holds something that is not a number",
                   columns[column]);
        LK_TRY(add_time(t, &room, json_number_value(v)));
    }
    if (t->n > 0)
        qsort(t->at, (size_t)t->n, sizeof *t->at, flick_ascending);
done:
    return st;
}

static lk_status set_face_list(lk_manifest_row *row, const json_t *list)
{
    char text[128];
    snprintf(text, sizeof text, "%.9g %.9g %.9g %.9g", json_number_value(json_array_get(list, 0)),
             json_number_value(json_array_get(list, 1)), json_number_value(json_array_get(list, 2)),
             json_number_value(json_array_get(list, 3)));
    return read_face(text, row);
}

static lk_status set_value(lk_manifest *m, lk_manifest_row *row, const char *name,
                           const json_t *value, const char *folder)
{
    lk_status st = LK_OK;
    const int column = column_of(name, strlen(name));
    if (column == IGNORED)
        return note_unknown(m, name, strlen(name));
    if (json_is_string(value))
        return set_field(row, column, json_string_value(value), folder);
    if (json_is_array(value) && column >= ONSETS && column <= DOWNBEATS)
        return set_list(row, column, value);
    if (json_is_array(value) && column == FACE && json_array_size(value) == 4)
        return set_face_list(row, value);
    LK_REQUIRE(json_is_null(value), LK_E_FORMAT, "'%s' is of the wrong kind", name);
done:
    return st;
}

static lk_status parse_json_line(const char *line, size_t n, const char *folder, lk_manifest *m)
{
    lk_status st = LK_OK;
    json_error_t why;
    const char *name = NULL;
    json_t *value = NULL;
    lk_manifest_row *row = NULL;
    json_t *root = json_loadb(line, n, 0, &why);
    LK_REQUIRE(json_is_object(root), LK_E_FORMAT, "not a JSON object%s%s", root ? "" : ": ",
               root ? "" : why.text);
    LK_TRY(new_row(m, &row));
    json_object_foreach(root, name, value) LK_TRY(set_value(m, row, name, value, folder));
    LK_REQUIRE(row->clip, LK_E_FORMAT, "no text under \"clip\"");
done:
    json_decref(root);
    return st;
}

static lk_status parse_json_lines(const char *at, const char *end, int64_t *line,
                                  const char *folder, lk_manifest *m)
{
    lk_status st = LK_OK;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop ? stop : end;
        size_t blank = 0;
        while (at + blank < stop && at[blank] && strchr(" \t\r", at[blank]))
            blank++;
        if (at + blank < stop)
            LK_TRY(parse_json_line(at, (size_t)(stop - at), folder, m));
        at = stop + 1;
        (*line)++;
    }
done:
    return st;
}

/* ---- both ------------------------------------------------------------------------------------ */

lk_status lk_manifest_parse(const char *bytes, size_t n, const char *name, const char *folder,
                            lk_manifest *m)
{
    lk_status st = LK_OK;
    csv c = {bytes, bytes + n, 1, NULL, 0, 0};
    if (n >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0)
        c.at += 3;
    if (c.at < c.end && *c.at == '{')
        st = parse_json_lines(c.at, c.end, &c.line, folder, m);
    else
        st = parse_csv(&c, folder, m);
    st = at_line(st, name, c.line);
    LK_TRY(st);
    LK_REQUIRE(m->n > 0, LK_E_EMPTY, "'%s' lists no clip", name);
done:
    lk_free(c.cell);
    return st;
}

lk_status lk_manifest_read(const char *path, lk_manifest *m)
{
    lk_status st = LK_OK;
    char *bytes = NULL, *folder = NULL;
    struct stat facts;
    FILE *f = fopen(path, "rb");
    LK_REQUIRE(f && fstat(fileno(f), &facts) == 0, LK_E_IO, "cannot open '%s': %s", path,
               strerror(errno));
    LK_REQUIRE(S_ISREG(facts.st_mode) && facts.st_size < MAX_FILE, LK_E_FORMAT,
               "'%s' is not a manifest (no plain file, or too long)", path);
    LK_TRY(LK_NEW_ARRAY(&bytes, facts.st_size + 1));
    const size_t n = fread(bytes, 1, (size_t)facts.st_size, f);
    LK_REQUIRE(!ferror(f), LK_E_IO, "cannot read '%s': %s", path, strerror(errno));
    LK_TRY(lk_strdup(path, &folder));
    char *const slash = strrchr(folder, '/');
    folder[slash ? slash - folder : 0] = '\0';
    /* A manifest in the root folder keeps its slash by being absolute anyway. */
    LK_TRY(lk_manifest_parse(bytes, n, path, slash == folder ? "/" : folder, m));
done:
    if (f)
        fclose(f);
    lk_free(bytes);
    lk_free(folder);
    return st;
}

void lk_manifest_clear(lk_manifest *m)
{
    for (int64_t i = 0; i < m->n; i++) {
        lk_manifest_row *r = &m->row[i];
        lk_free(r->clip);
        lk_free(r->group);
        lk_free(r->pair);
        lk_free(r->track);
        clear_times(&r->onsets);
        clear_times(&r->beats);
        clear_times(&r->downbeats);
    }
    lk_free(m->row);
    lk_free(m->unknown);
    memset(m, 0, sizeof *m);
}
