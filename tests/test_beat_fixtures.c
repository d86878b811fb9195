/* test_beat_fixtures.c - beat measures against the values that other tools publish for their own
 * examples: madmom's, which stand here, and mir_eval's files where they are present (the folder
 * beats/mir_eval_fixtures below the environment variable LK_DATA).
 */
#include "tests/check.h"

#include "align/beat_scores.h"

#include <stdio.h>
#include <stdlib.h>

#ifndef LK_TEST_DATA
#define LK_TEST_DATA "../shared/data"
#endif

enum { MOST = 4096 };

#define LOG2_40 5.321928094887363

static const double detections[] = {1.01, 2, 2.95, 4, 6, 7, 8, 9.1, 10, 11};

static void every(double step, double from, double *out, int n)
{
    for (int i = 0; i < n; i++)
        out[i] = from + step * i;
}

static void madmoms_example(void **state)
{
    (void)state;
    double r[10];
    lk_beat_scores s;
    every(1, 1, r, 10);
    CHECK_OK(lk_beat_scores_madmom(r, 10, detections, 10, 0, &s));
    CHECK_CLOSE(s.f_measure, 0.8, 1e-12);
    CHECK_CLOSE(s.precision, 0.8, 1e-12);
    CHECK_CLOSE(s.recall, 0.8, 1e-12);
    CHECK_CLOSE(s.p_score, 0.9, 1e-12);
    CHECK_CLOSE(s.cemgil, 0.74710035298713695, 1e-12);
    CHECK_CLOSE(s.goto_score, 1, 0);
    CHECK_CLOSE(s.cml_c, 0.4, 1e-12);
    CHECK_CLOSE(s.cml_t, 0.8, 1e-12);
    CHECK_CLOSE(s.aml_c, 0.4, 1e-12);
    CHECK_CLOSE(s.aml_t, 0.8, 1e-12);
    CHECK_CLOSE(s.information_gain, 3.965148445440323, 1e-12);
}

static void madmoms_metrical_levels(void **state)
{
    (void)state;
    static const struct {
        double step, from;
        int n;
        double cml_c, cml_t, aml_c, aml_t;
    } rows[] = {{0.5, 1, 19, 0, 0, 0.4, 0.8},  {2, 1, 5, 0, 0, 0.4, 0.7},
                {2, 2, 5, 0.1, 0.1, 0.4, 0.7}, {1.0 / 3, 1, 28, 0, 0, 0.4, 0.8},
                {3, 1, 4, 0, 0, 0.4, 0.8},     {3, 2, 3, 0, 0, 0.3, 0.5},
                {3, 3, 3, 0, 0, 0.3, 0.5}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double r[28];
        lk_beat_scores s;
        every(rows[i].step, rows[i].from, r, rows[i].n);
        CHECK_OK(lk_beat_scores_madmom(r, rows[i].n, detections, 10, 0, &s));
        CHECK_CLOSE(s.cml_c, rows[i].cml_c, 1e-12);
        CHECK_CLOSE(s.cml_t, rows[i].cml_t, 1e-12);
        CHECK_CLOSE(s.aml_c, rows[i].aml_c, 1e-12);
        CHECK_CLOSE(s.aml_t, rows[i].aml_t, 1e-12);
    }
}

static void madmoms_goto(void **state)
{
    (void)state;
    static const double half_way[] = {0, 0.5, 1, 1.5, 2, 5, 6, 7, 8, 9}, one = 1;
    double r[10];
    lk_beat_scores s;
    every(1, 0, r, 10);
    CHECK_OK(lk_beat_scores_madmom(r, 10, half_way, 10, 0, &s));
    CHECK_CLOSE(s.goto_score, 1, 0);
    CHECK_OK(lk_beat_scores_madmom(half_way, 10, r, 10, 0, &s));
    CHECK_CLOSE(s.goto_score, 1, 0);
    CHECK_OK(lk_beat_scores_madmom(r + 1, 5, &one, 1, 0, &s)); /* a fifth is no quarter */
    CHECK_CLOSE(s.goto_score, 0, 0);
}

static void madmoms_edges(void **state)
{
    (void)state;
    double r[10];
    lk_beat_scores s;
    every(1, 1, r, 10);
    CHECK_OK(lk_beat_scores_madmom(r, 0, r, 0, 0, &s));
    CHECK_CLOSE(s.f_measure + s.p_score + s.cemgil + s.goto_score, 4, 0);
    CHECK_CLOSE(s.cml_c + s.cml_t + s.aml_c + s.aml_t, 4, 0);
    CHECK_CLOSE(s.information_gain, LOG2_40, 1e-12);
    for (int side = 0; side < 2; side++) {
        CHECK_OK(lk_beat_scores_madmom(r, side ? 10 : 0, detections, side ? 0 : 10, 0, &s));
        CHECK_CLOSE(s.f_measure + s.p_score + s.cemgil + s.goto_score + s.aml_t, 0, 0);
        CHECK_CLOSE(s.information_gain, 0, 0);
    }
    CHECK_OK(lk_beat_scores_madmom(r, 10, r, 1, 0, &s));
    CHECK_CLOSE(s.aml_c + s.aml_t + s.information_gain, 0, 0);
    CHECK_OK(lk_beat_scores_madmom(r, 10, r, 10, 0, &s));
    CHECK_CLOSE(s.information_gain, LOG2_40, 1e-12);
    CHECK_CLOSE(s.cml_c + s.p_score + s.goto_score, 3, 0);
}

/* ---- mir_eval's files ------------------------------------------------------------------------ */

static const char *folder(void)
{
    const char *set = getenv("LK_DATA");
    return set ? set : LK_TEST_DATA;
}

static FILE *fixture(const char *kind, const char *stem, int i, const char *ext)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/beats/mir_eval_fixtures/%s/%s%02d.%s", folder(), kind, stem, i,
             ext);
    return fopen(path, "r");
}

static int read_times(FILE *f, double *out)
{
    int n = 0;
    char line[128];
    assert_non_null(f);
    while (n < MOST && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%lf", &out[n]) == 1)
            n++;
    }
    fclose(f);
    return n;
}

static double value_of(const char *json, const char *key)
{
    char quoted[64];
    double v = 0;
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(json, quoted);
    assert_non_null(at);
    assert_int_equal(sscanf(at + strlen(quoted), "%lf", &v), 1);
    return v;
}

static void read_expected(FILE *f, char *text, size_t bytes)
{
    text[fread(text, 1, bytes - 1, f)] = '\0';
    fclose(f);
}

static void mir_evals_beats(void **state)
{
    (void)state;
    static double r[MOST], e[MOST];
    char json[2048];
    int n = 0;
    for (FILE *f; (f = fixture("beat", "output", n, "json")) != NULL; n++) {
        lk_beat_scores s;
        read_expected(f, json, sizeof json);
        const int n_r = read_times(fixture("beat", "ref", n, "txt"), r);
        const int n_e = read_times(fixture("beat", "est", n, "txt"), e);
        CHECK_OK(lk_beat_scores_find(r, n_r, e, n_e, LK_BEAT_TRIM_S, &s));
        CHECK_CLOSE(s.f_measure, value_of(json, "F-measure"), 1e-6);
        CHECK_CLOSE(s.cemgil, value_of(json, "Cemgil"), 1e-6);
        CHECK_CLOSE(s.cemgil_best, value_of(json, "Cemgil Best Metric Level"), 1e-6);
        CHECK_CLOSE(s.goto_score, value_of(json, "Goto"), 1e-6);
        CHECK_CLOSE(s.p_score, value_of(json, "P-score"), 1e-6);
        CHECK_CLOSE(s.cml_c, value_of(json, "Correct Metric Level Continuous"), 1e-6);
        CHECK_CLOSE(s.cml_t, value_of(json, "Correct Metric Level Total"), 1e-6);
        CHECK_CLOSE(s.aml_c, value_of(json, "Any Metric Level Continuous"), 1e-6);
        CHECK_CLOSE(s.aml_t, value_of(json, "Any Metric Level Total"), 1e-6);
        CHECK_CLOSE(s.information_gain, value_of(json, "Information gain"), 1e-6);
    }
    if (n == 0)
        skip();
    print_message("%d examples\n", n);
}

static void mir_evals_onsets(void **state)
{
    (void)state;
    static double r[MOST], e[MOST];
    char json[2048];
    int n = 0;
    for (FILE *f; (f = fixture("onset", "output", n, "json")) != NULL; n++) {
        double precision = 0, recall = 0;
        read_expected(f, json, sizeof json);
        const int n_r = read_times(fixture("onset", "ref", n, "txt"), r);
        const int n_e = read_times(fixture("onset", "est", n, "txt"), e);
        CHECK_CLOSE(lk_match_f(r, n_r, e, n_e, 0.05, &precision, &recall),
                    value_of(json, "F-measure"), 1e-6);
        CHECK_CLOSE(precision, value_of(json, "Precision"), 1e-6);
        CHECK_CLOSE(recall, value_of(json, "Recall"), 1e-6);
    }
    if (n == 0)
        skip();
    print_message("%d examples\n", n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(madmoms_example), cmocka_unit_test(madmoms_metrical_levels),
        cmocka_unit_test(madmoms_goto),    cmocka_unit_test(madmoms_edges),
        cmocka_unit_test(mir_evals_beats), cmocka_unit_test(mir_evals_onsets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
