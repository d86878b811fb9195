/* result_json.c - see result_json.h. */
#include "av/result_json.h"
#include "av/json.h"

#include "kernels/mem.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LINE (64u << 20)

/* ---- out ------------------------------------------------------------------------------------- */

static json_t *text_or_null(const char *text)
{
    return text ? lk_json_text(text) : json_null();
}

static lk_status set_score(json_t *scores, const lk_result_score *s)
{
    lk_status st = LK_OK;
    json_t *o = json_object(), *ci = json_array();
    LK_TRY(lk_json_set(scores, s->name, o));
    LK_TRY(lk_json_set(o, "value", lk_json_real(s->value)));
    json_array_append_new(ci, lk_json_real(s->lo));
    json_array_append_new(ci, lk_json_real(s->hi));
    LK_TRY(lk_json_set(o, "ci95", ci));
    ci = NULL;
    LK_TRY(lk_json_set(o, "chance", lk_json_real(s->chance)));
    LK_TRY(lk_json_set(o, "p", lk_json_real(s->p)));
    LK_TRY(lk_json_set(o, "unit", json_string(s->unit)));
    LK_TRY(lk_json_set(o, "n", json_integer(s->n)));
done:
    json_decref(ci);
    return st;
}

lk_status lk_result_to_json(const lk_clip_result *r, char **line)
{
    lk_status st = LK_OK;
    json_t *root = json_object();
    char *text = NULL;
    json_t *scores = json_object(), *abstained = json_object(), *warnings = json_array();
    LK_TRY(lk_json_set(root, "clip", lk_json_text(r->clip)));
    LK_TRY(lk_json_set(root, "status", json_string(r->failed ? "failed" : "ok")));
    LK_TRY(lk_json_set(root, "error", text_or_null(r->failed ? r->error : NULL)));
    LK_TRY(lk_json_set(root, "duration_s", r->failed ? json_null() : lk_json_real(r->duration_s)));
    LK_TRY(lk_json_set(root, "container_offset_ms", lk_json_real(r->container_offset_ms)));
    LK_TRY(lk_json_set(root, "group", text_or_null(r->group)));
    LK_TRY(lk_json_set(root, "pair", text_or_null(r->pair)));
    for (int64_t i = 0; i < r->n_scores; i++)
        LK_TRY(set_score(scores, &r->scores[i]));
    LK_TRY(lk_json_set(root, "scores", scores));
    scores = NULL;
    for (int64_t i = 0; i < r->n_abstentions; i++)
        LK_TRY(
            lk_json_set(abstained, r->abstentions[i].name, lk_json_text(r->abstentions[i].reason)));
    LK_TRY(lk_json_set(root, "abstained", abstained));
    abstained = NULL;
    for (int i = 0; i < r->n_warnings; i++)
        json_array_append_new(warnings, lk_json_text(r->warnings[i]));
    LK_TRY(lk_json_set(root, "warnings", warnings));
    warnings = NULL;
    json_t *provenance = r->provenance ? json_loads(r->provenance, 0, NULL) : NULL;
    LK_TRY(lk_json_set(root, "provenance", provenance ? provenance : json_object()));
    text = json_dumps(root, JSON_REAL_PRECISION(12));
    LK_REQUIRE(text, LK_E_MEMORY, "out of memory");
    LK_TRY(lk_strdup(text, line));
done:
    free(text);
    json_decref(scores);
    json_decref(abstained);
    json_decref(warnings);
    json_decref(root);
    return st;
}

/* ---- in -------------------------------------------------------------------------------------- */

static double number_or_nan(const json_t *v)
{
    return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

static lk_status copy_text(const json_t *object, const char *key, char **out)
{
    const json_t *v = json_object_get(object, key);
    return json_is_string(v) ? lk_strdup(json_string_value(v), out) : LK_OK;
}

static lk_status read_scores(json_t *scores, const lk_sink *sink)
{
    lk_status st = LK_OK;
    const char *name = NULL;
    json_t *o = NULL;
    json_object_foreach(scores, name, o)
    {
        const json_t *ci = json_object_get(o, "ci95");
        const char *unit = json_string_value(json_object_get(o, "unit"));
        LK_REQUIRE(json_is_object(o), LK_E_FORMAT, "score '%.80s' is not an object", name);
        const lk_score s = {name,
                            unit ? unit : "",
                            number_or_nan(json_object_get(o, "value")),
                            number_or_nan(json_array_get(ci, 0)),
                            number_or_nan(json_array_get(ci, 1)),
                            number_or_nan(json_object_get(o, "chance")),
                            number_or_nan(json_object_get(o, "p")),
                            json_integer_value(json_object_get(o, "n"))};
        LK_TRY(sink->score(sink->user, &s));
    }
done:
    return st;
}

static lk_status read_abstentions(json_t *abstained, const lk_sink *sink)
{
    lk_status st = LK_OK;
    const char *name = NULL;
    json_t *reason = NULL;
    json_object_foreach(abstained, name, reason)
    {
        LK_REQUIRE(json_is_string(reason), LK_E_FORMAT, "the reason of '%.80s' is not a text",
                   name);
        LK_TRY(sink->abstain(sink->user, name, json_string_value(reason)));
    }
done:
    return st;
}

static lk_status read_warnings(const json_t *warnings, lk_clip_result *r)
{
    lk_status st = LK_OK;
    const size_t n = json_array_size(warnings);
    LK_TRY(LK_NEW_ARRAY(&r->warnings, n + 1));
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(warnings, i));
        LK_TRY(lk_strdup(text ? text : "", &r->warnings[i]));
        r->n_warnings++;
    }
done:
    return st;
}

lk_status lk_result_from_json(const char *line, size_t bytes, lk_clip_result *r)
{
    lk_status st = LK_OK;
    json_error_t why;
    const lk_sink sink = lk_clip_result_sink(r);
    char *text = NULL;
    json_t *root = json_loadb(line, bytes, JSON_REJECT_DUPLICATES, &why);
    LK_REQUIRE(root, LK_E_FORMAT, "not JSON (%s)", why.text);
    LK_REQUIRE(json_is_object(root), LK_E_FORMAT, "not a JSON object");
    LK_REQUIRE(json_is_string(json_object_get(root, "clip")), LK_E_FORMAT,
               "no text under \"clip\"");
    const char *status = json_string_value(json_object_get(root, "status"));
    LK_REQUIRE(status && (strcmp(status, "ok") == 0 || strcmp(status, "failed") == 0), LK_E_FORMAT,
               "\"status\" is neither \"ok\" nor \"failed\"");
    r->failed = strcmp(status, "failed") == 0;
    LK_TRY(copy_text(root, "clip", &r->clip));
    LK_TRY(copy_text(root, "error", &r->error));
    LK_TRY(copy_text(root, "group", &r->group));
    LK_TRY(copy_text(root, "pair", &r->pair));
    if (r->failed && !r->error)
        LK_TRY(lk_strdup("failed without a sentence", &r->error));
    r->duration_s = json_number_value(json_object_get(root, "duration_s"));
    r->container_offset_ms = number_or_nan(json_object_get(root, "container_offset_ms"));
    LK_TRY(read_scores(json_object_get(root, "scores"), &sink));
    LK_TRY(read_abstentions(json_object_get(root, "abstained"), &sink));
    LK_TRY(read_warnings(json_object_get(root, "warnings"), r));
    const json_t *provenance = json_object_get(root, "provenance");
    text = provenance ? json_dumps(provenance, JSON_REAL_PRECISION(12)) : NULL;
    if (text)
        LK_TRY(lk_strdup(text, &r->provenance));
done:
    free(text);
    json_decref(root);
    return st;
}

lk_status lk_result_list_read(const char *path, lk_result_list *list)
{
    lk_status st = LK_OK;
    char *line = NULL;
    size_t room = 0, capacity = 0;
    char why[256];
    FILE *f = fopen(path, "rb");
    LK_REQUIRE(f, LK_E_IO, "cannot open '%s': %s", path, strerror(errno));
    for (int64_t number = 1;; number++) {
        const ssize_t length = getline(&line, &room, f);
        if (length < 0)
            break;
        if (length <= 1)
            continue;
        LK_REQUIRE((size_t)length < MAX_LINE, LK_E_FORMAT, "'%s' line %lld is too long", path,
                   (long long)number);
        LK_TRY(LK_GROW(&list->item, &capacity, list->n + 1));
        memset(&list->item[list->n], 0, sizeof list->item[0]);
        list->n++;
        st = lk_result_from_json(line, (size_t)length, &list->item[list->n - 1]);
        if (st == LK_E_FORMAT) {
            snprintf(why, sizeof why, "%s", lk_error_text());
            lk_error_clear();
            st = LK_FAIL(LK_E_FORMAT, "'%s' line %lld: %s", path, (long long)number, why);
        }
        LK_TRY(st);
    }
    LK_REQUIRE(!ferror(f), LK_E_IO, "cannot read '%s': %s", path, strerror(errno));
done:
    free(line);
    if (f)
        fclose(f);
    if (st != LK_OK)
        lk_result_list_clear(list);
    return st;
}

void lk_result_list_clear(lk_result_list *list)
{
    for (int64_t i = 0; i < list->n; i++)
        lk_clip_result_clear(&list->item[i]);
    lk_free(list->item);
    list->item = NULL;
    list->n = 0;
}
