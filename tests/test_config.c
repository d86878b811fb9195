/* test_config.c - settings from YAML: typed look-ups, defaults, overrides, refusals, writing back.
 */
#include "check.h"

#include "av/config.h"
#include "kernels/mem.h"

#include <unistd.h>

typedef struct model {
    int depth;
    double rate;
    bool clean;
    const char *mode, *note;
} model;

static const lk_option rows[] = {LK_OPT_INT(model, depth, 4, 1, 64, "layers"),
                                 LK_OPT_DOUBLE(model, rate, 1e-3, 0, 1, "learning rate"),
                                 LK_OPT_BOOL(model, clean, true, "mask the edges"),
                                 LK_OPT_CHOICE(model, mode, "fast", "fast|exact", "which way"),
                                 LK_OPT_TEXT(model, note, NULL, "anything"),
                                 LK_OPT_END};

static lk_config *parse(const char *text)
{
    lk_config *c = NULL;
    CHECK_OK(lk_config_parse(&c, text, strlen(text), "a.yaml"));
    return c;
}

/* The text is refused when read, looked up as `model` or checked, with `words` in the sentence. */
static void refuse(const char *text, const char *override, const char *words)
{
    lk_config *c = NULL;
    model m;
    lk_status st = lk_config_parse(&c, text, strlen(text), "a.yaml");
    if (st == LK_OK && override)
        st = lk_config_override(c, override);
    if (st == LK_OK)
        st = lk_config_options(c, "model", rows, &m);
    if (st == LK_OK)
        st = lk_config_check(c);
    if (st == LK_OK || !strstr(lk_error_text(), words))
        fail_msg("%s%s%s: '%s', expected '%s'", text, override ? " + " : "",
                 override ? override : "", lk_error_text(), words);
    lk_error_clear();
    lk_config_free(&c);
}

static void values_defaults_and_types(void **state)
{
    (void)state;
    model m;
    lk_config *c = parse("model:\n  depth: 8\n  clean: no\n  note: no\n  mode: exact\n");
    CHECK_OK(lk_config_options(c, "model", rows, &m));
    assert_int_equal(m.depth, 8);
    assert_true(m.rate == 1e-3);
    assert_false(m.clean);
    assert_string_equal(m.note, "no"); /* the setting decides the type, not the notation */
    assert_string_equal(m.mode, "exact");
    CHECK_OK(lk_config_check(c));
    lk_config_free(&c);
    c = parse("");
    CHECK_OK(lk_config_options(c, "model", rows, &m));
    assert_int_equal(m.depth, 4);
    assert_null(m.note);
    CHECK_OK(lk_config_check(c));
    lk_config_free(&c);
    c = parse("model: {depth: \"3\", note: \"\"}  # flow form\n");
    CHECK_OK(lk_config_options(c, "model", rows, &m));
    assert_int_equal(m.depth, 3);
    assert_string_equal(m.note, "");
    lk_config_free(&c);
    lk_config_free(&c); /* NULL is fine */
}

static void lists(void **state)
{
    (void)state;
    static const double usual[] = {0.1, 0.25};
    static const char *const words[] = {"null", "b"};
    const double *x = NULL;
    const char *const *t = NULL;
    int64_t n = 0;
    lk_config *c = parse("grid:\n  lr: [1e-3, 0.5]\n  one: 2\nnames: [a, b c]\n");
    CHECK_OK(lk_config_numbers(c, "grid.lr", 0, 1, NULL, 0, &x, &n));
    assert_int_equal(n, 2);
    assert_true(x[0] == 1e-3 && x[1] == 0.5);
    CHECK_OK(lk_config_numbers(c, "grid.one", 0, 9, NULL, 0, &x, &n));
    assert_int_equal(n, 1);
    assert_true(x[0] == 2);
    CHECK_OK(lk_config_numbers(c, "grid.absent", 0, 1, usual, 2, &x, &n));
    assert_int_equal(n, 2);
    assert_true(x[0] == 0.1 && x[1] == 0.25);
    CHECK_OK(lk_config_texts(c, "names", NULL, 0, &t, &n));
    assert_int_equal(n, 2);
    assert_string_equal(t[1], "b c");
    CHECK_OK(lk_config_texts(c, "more", words, 2, &t, &n));
    assert_string_equal(t[0], "null");
    CHECK_OK(lk_config_check(c));
    CHECK_FAILS(lk_config_numbers(c, "names", 0, 1, NULL, 0, &x, &n), LK_E_ARG);
    CHECK_FAILS(lk_config_numbers(c, "grid.lr", 0, 0.1, NULL, 0, &x, &n), LK_E_ARG);
    CHECK_FAILS(lk_config_numbers(c, "grid", 0, 1, NULL, 0, &x, &n), LK_E_ARG);
    lk_config_free(&c);
}

static void names_can_be_listed(void **state)
{
    (void)state;
    const double *x = NULL;
    int64_t n = 0;
    lk_config *c = parse("grid:\n  optim.lr: [0.1, 0.2]\n  model.depth: [4]\n");
    assert_int_equal(lk_config_count(c, "grid"), 2);
    assert_int_equal(lk_config_count(c, "nothing"), -1);
    assert_string_equal(lk_config_key(c, "grid", 1), "model.depth");
    assert_null(lk_config_key(c, "grid", 2));
    CHECK_OK(lk_config_numbers(c, "grid.optim.lr", 0, 1, NULL, 0, &x, &n));
    assert_int_equal(n, 2);
    CHECK_FAILS(lk_config_check(c), LK_E_ARG); /* model.depth was not asked for */
    lk_config_free(&c);
}

static void overrides(void **state)
{
    (void)state;
    model m;
    const double *x = NULL;
    int64_t n = 0;
    lk_config *c = parse("model: {depth: 8}\nlist: [1, 2, 3]\n");
    CHECK_OK(lk_config_override(c, "model.depth=16"));
    CHECK_OK(lk_config_override(c, "model.note=a=b"));
    CHECK_OK(lk_config_override(c, "new.deep.list=[1, 2]"));
    CHECK_OK(lk_config_override(c, "list.1=7"));
    CHECK_OK(lk_config_options(c, "model", rows, &m));
    assert_int_equal(m.depth, 16);
    assert_string_equal(m.note, "a=b");
    CHECK_OK(lk_config_numbers(c, "new.deep.list", 0, 9, NULL, 0, &x, &n));
    assert_int_equal(n, 2);
    CHECK_OK(lk_config_numbers(c, "list", 0, 9, NULL, 0, &x, &n));
    assert_true(n == 3 && x[1] == 7);
    CHECK_OK(lk_config_check(c));
    CHECK_FAILS(lk_config_override(c, "model.depth"), LK_E_ARG);
    CHECK_FAILS(lk_config_override(c, "=3"), LK_E_ARG);
    CHECK_FAILS(lk_config_override(c, ".a=3"), LK_E_ARG);
    CHECK_FAILS(lk_config_override(c, "model.depth.more=3"), LK_E_ARG);
    CHECK_FAILS(lk_config_override(c, "list.9=3"), LK_E_ARG);
    CHECK_FAILS(lk_config_override(c, "model.depth=[1"), LK_E_ARG);
    lk_config_free(&c);
}

static void refusals_name_the_line(void **state)
{
    (void)state;
    char text[8000];
    refuse("model:\n  depht: 8\n", NULL,
           "'a.yaml' line 2: unknown setting 'depht'; did you mean 'depth'?");
    refuse("model: {}\nmodle:\n  x: 1\n", NULL,
           "line 2: unknown setting 'modle'; did you mean 'model'?");
    refuse("model:\n  depth: 8\n  depth: 9\n", NULL,
           "line 3: 'depth' stands twice, first in line 2");
    refuse("model:\n\n  depth: 65\n", NULL, "line 3: 'depth' must lie in [1, 64], not 65");
    refuse("model: {depth: 1.5}", NULL, "whole number");
    refuse("model: {depth: }", NULL, "'depth' has no value");
    refuse("model: {depth: [1]}", NULL, "single value, not a list");
    refuse("model: {rate: .nan}", NULL, "must be a number");
    refuse("model: {clean: maybe}", NULL, "true or false");
    refuse("model: {mode: slow}", NULL, "fast|exact");
    refuse("model: 3", NULL, "'model' must hold 'key: value' lines");
    refuse("- a\n- b\n", NULL, "line 1: the file must begin with 'key: value'");
    refuse("model: &x {depth: 8}", NULL, "anchors and aliases");
    refuse("model: !!map {depth: 8}", NULL, "tags");
    refuse("model: {[a]: 8}", NULL, "a key must be a name");
    refuse("model: {\"a\\0b\": 8}", NULL, "zero byte");
    refuse("model: {depth: 8\n", NULL, "no valid YAML");
    refuse("model: {}\n---\nmodel: {}\n", NULL, "second document");
    refuse("model: {note: \"\xff\"}", NULL, "no valid YAML");
    refuse("model: {}", "model.depth=0", "command line: 'depth' must lie in [1, 64], not 0");
    refuse("model: {}", "model.dept=1",
           "command line: unknown setting 'dept'; did you mean 'depth'?");
    memset(text, '[', 2000);
    text[2000] = '\0';
    refuse(text, NULL, "more than 32 levels");
    /* one line that an alias would blow up to 10^9 values */
    refuse("a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a]\n", NULL, "line 1: anchors");
}

static void too_many_values(void **state)
{
    (void)state;
    const size_t n = 3 * 20000;
    char *text = malloc(n + 8);
    lk_config *c = NULL;
    strcpy(text, "a: [");
    for (size_t i = 0; i + 3 <= n; i += 3)
        memcpy(text + 4 + i, "1, ", 3);
    strcpy(text + 4 + n, "]");
    CHECK_FAILS(lk_config_parse(&c, text, strlen(text), "a.yaml"), LK_E_ARG);
    assert_null(c);
    free(text);
    CHECK_FAILS(lk_config_read(&c, "/nonexistent.yaml"), LK_E_IO);
    CHECK_FAILS(lk_config_read(&c, "/"), LK_E_IO);
}

/* What is written reads back to the same values, and is then written as the same bytes. */
static void written_and_read_back(void **state)
{
    (void)state;
    static const double usual[] = {0.1, 1.0 / 3, 1e-300};
    char path[] = "/tmp/lk_config_XXXXXX", *first = NULL, *second = NULL;
    const double *x = NULL;
    int64_t n = 0;
    model m, again;
    lk_config *c = parse("# a comment\nmodel:\n  rate: 0.10\n  note: 'null'\n"
                         "text: \"two\\nlines: [\xc3\xa9]\"\n");
    const char *const *t = NULL;
    for (int round = 0; round < 2; round++) {
        CHECK_OK(lk_config_options(c, "model", rows, round ? &again : &m));
        CHECK_OK(lk_config_numbers(c, "deep.list", -1, 1, usual, round ? 0 : 3, &x, &n));
        assert_int_equal(n, 3);
        for (int i = 0; i < 3; i++)
            assert_true(x[i] == usual[i]);
        CHECK_OK(lk_config_texts(c, "text", NULL, 0, &t, &n));
        assert_string_equal(t[0], "two\nlines: [\xc3\xa9]");
        CHECK_OK(lk_config_check(c));
        CHECK_OK(lk_config_to_yaml(c, round ? &second : &first));
        if (round == 0) {
            const int fd = mkstemp(path);
            assert_true(fd >= 0);
            close(fd);
            CHECK_OK(lk_config_write(c, path));
            assert_string_equal(m.note, "null");
            lk_config_free(&c);
            CHECK_OK(lk_config_read(&c, path));
        }
    }
    assert_string_equal(first, second);
    assert_true(again.depth == 4 && again.rate == 0.1 && again.clean);
    assert_string_equal(again.note, "null");
    assert_non_null(strstr(first, "rate: 0.10\n")); /* as the person wrote it */
    unlink(path);
    lk_free(first);
    lk_free(second);
    lk_config_free(&c);
}

static void no_memory_anywhere(void **state)
{
    (void)state;
    const char *text = "model: {depth: 8, note: x}\nlist: [1, 2]\n";
    for (int64_t k = 1; k < 200; k++) {
        lk_config *c = NULL;
        model m;
        const double *x = NULL;
        int64_t n = 0;
        char *yaml = NULL;
        lk_mem_fail_after(k);
        lk_status st = lk_config_parse(&c, text, strlen(text), "a.yaml");
        if (st == LK_OK)
            st = lk_config_override(c, "other.depth=[1, {a: b}]");
        if (st == LK_OK)
            st = lk_config_options(c, "model", rows, &m);
        if (st == LK_OK)
            st = lk_config_numbers(c, "list", 0, 9, NULL, 0, &x, &n);
        if (st == LK_OK)
            st = lk_config_to_yaml(c, &yaml);
        const int fired = lk_mem_fault_fired();
        lk_mem_fail_after(0);
        assert_int_equal(st, fired ? LK_E_MEMORY : LK_OK);
        lk_error_clear();
        lk_free(yaml);
        lk_config_free(&c);
        if (!fired)
            return;
    }
    fail_msg("the fault never stopped firing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_defaults_and_types), cmocka_unit_test(lists),
        cmocka_unit_test(names_can_be_listed),       cmocka_unit_test(overrides),
        cmocka_unit_test(refusals_name_the_line),    cmocka_unit_test(too_many_values),
        cmocka_unit_test(written_and_read_back),     cmocka_unit_test(no_memory_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
