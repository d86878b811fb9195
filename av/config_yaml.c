/* config_yaml.c - the tree of config.h from YAML and back; the one place that knows libyaml.
 *
 * Aliases are refused, so a small file cannot stand for a large tree; depth, bytes and values are
 * limited, so that reading needs bounded memory and stack. */
#include "av/config_impl.h"

#include "kernels/mem.h"

#include <string.h>
#include <yaml.h>

#define MAX_NODES 10000

typedef struct reader {
    const lk_config *c;
    yaml_parser_t parser;
    bool from_shell;
    int n_nodes;
} reader;

static lk_status next_event(reader *r, yaml_event_t *e)
{
    lk_status st = LK_OK;
    if (yaml_parser_parse(&r->parser, e))
        return LK_OK;
    memset(e, 0, sizeof *e);
    LK_REQUIRE(r->parser.error != YAML_MEMORY_ERROR, LK_E_MEMORY, "out of memory");
    const char *problem = r->parser.problem ? r->parser.problem : "unreadable";
    if (r->from_shell)
        return LK_FAIL(LK_E_ARG, "command line: no valid YAML: %s", problem);
    st = LK_FAIL(LK_E_FORMAT, "'%s' line %zu: no valid YAML: %s", r->c->name,
                 r->parser.problem_mark.line + 1, problem);
done:
    return st;
}

static lk_status read_scalar(reader *r, const yaml_event_t *e, int line, lk_config_node **out)
{
    lk_status st = LK_OK;
    const char *text = (const char *)e->data.scalar.value;
    const lk_config_node here = {.line = line};
    if (strlen(text) != e->data.scalar.length)
        LK_CONFIG_FAIL_AT(r->c, &here, "a value holds a zero byte");
    LK_TRY(lk_config_node_new(out, LK_CONFIG_SCALAR, line, text));
    (*out)->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
done:
    return st;
}

static lk_status read_node(reader *r, const yaml_event_t *e, int depth, lk_config_node **out);

static lk_status read_children(reader *r, lk_config_node *parent, int depth)
{
    lk_status st = LK_OK;
    yaml_event_t e = {0};
    lk_config_node *key = NULL, *x = NULL;
    for (;;) {
        yaml_event_delete(&e);
        LK_TRY(next_event(r, &e));
        if (e.type == YAML_MAPPING_END_EVENT || e.type == YAML_SEQUENCE_END_EVENT)
            break;
        if (parent->kind == LK_CONFIG_MAPPING) {
            LK_TRY(read_node(r, &e, depth, &key));
            if (key->kind != LK_CONFIG_SCALAR || key->text[0] == '\0')
                LK_CONFIG_FAIL_AT(r->c, key, "a key must be a name");
            const lk_config_node *same = lk_config_node_child(parent, key->text, strlen(key->text));
            if (same)
                LK_CONFIG_FAIL_AT(r->c, key, "'%.60s' stands twice, first in line %d", key->text,
                                  same->line);
            yaml_event_delete(&e);
            LK_TRY(next_event(r, &e));
        }
        LK_TRY(read_node(r, &e, depth, &x));
        if (key)
            x->line = key->line;
        lk_config_node *const given = x;
        x = NULL;
        LK_TRY(lk_config_node_add(parent, key ? key->text : NULL, given));
        lk_config_node_free(key);
        key = NULL;
    }
done:
    yaml_event_delete(&e);
    lk_config_node_free(key);
    lk_config_node_free(x);
    return st;
}

/* The node that begins with event e; depth counts the mappings and lists around it. */
static lk_status read_node(reader *r, const yaml_event_t *e, int depth, lk_config_node **out)
{
    lk_status st = LK_OK;
    const lk_config_node here = {.line = r->from_shell ? LK_CONFIG_FROM_SHELL
                                                       : (int)e->start_mark.line + 1};
    const yaml_char_t *anchor = NULL, *tag = NULL;
    lk_config_node *x = NULL;
    if (e->type == YAML_SCALAR_EVENT) {
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
    } else if (e->type == YAML_SEQUENCE_START_EVENT) {
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
    }
    if (anchor || e->type == YAML_ALIAS_EVENT)
        LK_CONFIG_FAIL_AT(r->c, &here, "anchors and aliases are not read; write the value out");
    if (tag)
        LK_CONFIG_FAIL_AT(r->c, &here, "tags ('%.40s') are not read; remove it", (const char *)tag);
    if (depth >= LK_CONFIG_MAX_DEPTH)
        LK_CONFIG_FAIL_AT(r->c, &here, "more than %d levels", LK_CONFIG_MAX_DEPTH);
    if (++r->n_nodes > MAX_NODES)
        LK_CONFIG_FAIL_AT(r->c, &here, "more than %d values", MAX_NODES);
    if (e->type == YAML_SCALAR_EVENT) {
        LK_TRY(read_scalar(r, e, here.line, &x));
    } else {
        const bool map = e->type == YAML_MAPPING_START_EVENT;
        LK_TRY(lk_config_node_new(&x, map ? LK_CONFIG_MAPPING : LK_CONFIG_LIST, here.line, NULL));
        LK_TRY(read_children(r, x, depth + 1));
    }
    *out = x;
    x = NULL;
done:
    lk_config_node_free(x);
    return st;
}

/* One document; *out stays NULL for an empty one. */
lk_status lk_config_read_yaml(const lk_config *c, const char *bytes, size_t n, bool from_shell,
                              lk_config_node **out)
{
    lk_status st = LK_OK;
    reader r = {.c = c, .from_shell = from_shell};
    yaml_event_t e = {0};
    LK_REQUIRE(n <= LK_CONFIG_MAX_FILE, LK_E_FORMAT, "'%s' is larger than 1 MiB", c->name);
    LK_REQUIRE(yaml_parser_initialize(&r.parser), LK_E_MEMORY, "out of memory");
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)bytes, n);
    do {
        yaml_event_delete(&e);
        LK_TRY(next_event(&r, &e));
        const lk_config_node here = {.line = from_shell ? LK_CONFIG_FROM_SHELL
                                                        : (int)e.start_mark.line + 1};
        if (e.type == YAML_DOCUMENT_START_EVENT && *out)
            LK_CONFIG_FAIL_AT(c, &here, "a second document begins; only one is read");
        if (e.type != YAML_STREAM_START_EVENT && e.type != YAML_DOCUMENT_START_EVENT &&
            e.type != YAML_DOCUMENT_END_EVENT && e.type != YAML_STREAM_END_EVENT)
            /* what stands before the = of the command line may take the other half */
            LK_TRY(read_node(&r, &e, from_shell ? LK_CONFIG_MAX_DEPTH / 2 : 0, out));
    } while (e.type != YAML_STREAM_END_EVENT);
done:
    yaml_event_delete(&e);
    yaml_parser_delete(&r.parser);
    return st;
}

/* ---- writing --------------------------------------------------------------------------------- */

typedef struct writer {
    yaml_emitter_t emitter;
    char *text;
    size_t n, capacity;
    lk_status st;
} writer;

static int take_bytes(void *user, unsigned char *bytes, size_t n)
{
    writer *w = user;
    if (w->st == LK_OK)
        w->st = LK_GROW(&w->text, &w->capacity, w->n + n + 1);
    if (w->st != LK_OK)
        return 0;
    memcpy(w->text + w->n, bytes, n);
    w->n += n;
    w->text[w->n] = '\0';
    return 1;
}

/* Hands the event over, also on failure; `made` is what its constructor returned. */
static lk_status emit(writer *w, int made, yaml_event_t *e)
{
    lk_status st = LK_OK;
    LK_REQUIRE(made, LK_E_MEMORY, "out of memory");
    if (yaml_emitter_emit(&w->emitter, e))
        return LK_OK;
    LK_TRY(w->st);
    LK_REQUIRE(w->emitter.error != YAML_MEMORY_ERROR, LK_E_MEMORY, "out of memory");
    st = LK_FAIL(LK_E_ARG, "a setting cannot be written as YAML: %s", w->emitter.problem);
done:
    return st;
}

static lk_status emit_text(writer *w, const char *text, bool quoted)
{
    yaml_event_t e;
    const int made = yaml_scalar_event_initialize(
        &e, NULL, NULL, (const yaml_char_t *)text, (int)strlen(text), 1, 1,
        quoted ? YAML_SINGLE_QUOTED_SCALAR_STYLE : YAML_PLAIN_SCALAR_STYLE);
    return emit(w, made, &e);
}

static bool is_short_list(const lk_config_node *x)
{
    for (size_t i = 0; i < x->n; i++) {
        if (x->child[i]->kind != LK_CONFIG_SCALAR)
            return false;
    }
    return true;
}

static lk_status emit_node(writer *w, const lk_config_node *x)
{
    lk_status st = LK_OK;
    yaml_event_t e;
    if (x->kind == LK_CONFIG_SCALAR)
        return lk_config_is_null(x) ? emit_text(w, "null", false)
                                    : emit_text(w, x->text, x->quoted);
    const bool map = x->kind == LK_CONFIG_MAPPING;
    if (map)
        LK_TRY(emit(
            w, yaml_mapping_start_event_initialize(&e, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE),
            &e));
    else
        LK_TRY(emit(w,
                    yaml_sequence_start_event_initialize(
                        &e, NULL, NULL, 1,
                        is_short_list(x) ? YAML_FLOW_SEQUENCE_STYLE : YAML_BLOCK_SEQUENCE_STYLE),
                    &e));
    for (size_t i = 0; i < x->n; i++) {
        if (map)
            LK_TRY(emit_text(w, x->child[i]->key, false));
        LK_TRY(emit_node(w, x->child[i]));
    }
    LK_TRY(emit(
        w, map ? yaml_mapping_end_event_initialize(&e) : yaml_sequence_end_event_initialize(&e),
        &e));
done:
    return st;
}

lk_status lk_config_to_yaml(const lk_config *c, char **text)
{
    lk_status st = LK_OK;
    writer w = {.st = LK_OK};
    yaml_event_t e;
    LK_REQUIRE(yaml_emitter_initialize(&w.emitter), LK_E_MEMORY, "out of memory");
    yaml_emitter_set_output(&w.emitter, take_bytes, &w);
    yaml_emitter_set_unicode(&w.emitter, 1);
    yaml_emitter_set_width(&w.emitter, -1);
    LK_TRY(emit(&w, yaml_stream_start_event_initialize(&e, YAML_UTF8_ENCODING), &e));
    LK_TRY(emit(&w, yaml_document_start_event_initialize(&e, NULL, NULL, NULL, 1), &e));
    LK_TRY(emit_node(&w, c->root));
    LK_TRY(emit(&w, yaml_document_end_event_initialize(&e, 1), &e));
    LK_TRY(emit(&w, yaml_stream_end_event_initialize(&e), &e));
    LK_REQUIRE(yaml_emitter_flush(&w.emitter), LK_E_MEMORY, "out of memory");
    *text = w.text;
    w.text = NULL;
done:
    yaml_emitter_delete(&w.emitter);
    lk_free(w.text);
    return st;
}
