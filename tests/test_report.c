/* The report from results made by hand: hostile text stays text, odd numbers break nothing, empty
 * and failed results have their page, and no allocation failure leaks or leaves an index. */
#include "check.h"

#include "av/report.h"
#include "kernels/mem.h"

#include <unistd.h>

static char folder[] = "/tmp/lockstep-report-XXXXXX";

static char *slurp(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("no %s", path);
    char *text = calloc(1, 1 << 20);
    assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
    fclose(f);
    return text;
}

static void fill(lk_clip_result *r)
{
    const lk_sink sink = lk_clip_result_sink(r);
    const double nan = (double)NAN, t[] = {0, 1, 2, 1e9, -5};
    const float v[] = {0, 1, (float)NAN, 3, (float)INFINITY};
    const double lag[] = {-100, 0, 100};
    const float map[] = {0, 1, 0, 0, (float)NAN, 2};
    CHECK_OK(lk_strdup("/none/<script>\"'&\xff\x01.mp4", &r->clip));
    CHECK_OK(lk_strdup("g<i>", &r->group));
    CHECK_OK(lk_strdup("{\"x\": \"</pre>\"}", &r->provenance));
    r->duration_s = 3;
    r->container_offset_ms = nan;
    const lk_score offset = {"event.offset_ms", "ms", 42, 38, 46, nan, 0.005, 12};
    const lk_score odd = {"odd<b>", "<u>", nan, nan, nan, 0.5, nan, 0};
    const lk_score chance = {"event.coincidence", "1", 0.8, nan, nan, 0.3, 0.005, 12};
    CHECK_OK(sink.score(sink.user, &offset));
    CHECK_OK(sink.score(sink.user, &odd));
    CHECK_OK(sink.score(sink.user, &chance));
    CHECK_OK(sink.abstain(sink.user, "mouth.offset_ms", "<no face>"));
    CHECK_OK(sink.curve(sink.user, "event.speed", "<x>", 5, t, v));
    CHECK_OK(sink.curve(sink.user, "none", "1", 0, t, v));
    CHECK_OK(sink.marks(sink.user, "<marks>", 5, t));
    CHECK_OK(sink.lag_curve(sink.user, "event.coincidence", 3, lag, v));
    CHECK_OK(sink.lag_map(sink.user, "event.coincidence", 2, t, 3, lag, map));
}

static void hostile_results(void **state)
{
    (void)state;
    lk_report *r = NULL;
    lk_clip_result clip = {0}, failed = {0};
    fill(&clip);
    failed.failed = true;
    CHECK_OK(lk_strdup("", &failed.clip));
    CHECK_OK(lk_strdup("no <such> file", &failed.error));
    CHECK_OK(lk_report_open(&r, folder, "A & <b>"));
    CHECK_OK(lk_report_clip(r, &clip));
    CHECK_OK(lk_report_clip(r, &failed));
    CHECK_OK(lk_report_finish(r));
    lk_report_free(&r);
    lk_clip_result_clear(&clip);
    lk_clip_result_clear(&failed);
    static const char *const pages[] = {"index.html", "clips/000000.html", "clips/000001.html"};
    for (int i = 0; i < 3; i++) {
        char *text = slurp(pages[i]);
        char *script = strstr(text, "<script>");
        assert_non_null(script); /* ours, and the only one */
        assert_null(strstr(script + 1, "<script>"));
        assert_null(strstr(text, "<such>"));
        assert_null(strstr(text, "<no face>"));
        assert_null(strstr(text, "<marks>"));
        for (const char *c = "> +-\"LM"; *c; c++) {
            const char number[] = {*c, 'n', 'a', 'n', '\0'};
            assert_null(strstr(text, number));
        }
        assert_null(strstr(text, "\xff"));
        free(text);
    }
    char *text = slurp("index.html");
    assert_non_null(strstr(text, "sound late by 42 ms"));
    assert_non_null(strstr(text, "no &lt;such&gt; file"));
    free(text);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    lk_clip_result clip = {0};
    fill(&clip);
    bool fired = true;
    for (int64_t n = 1; fired && n < 500; n++) {
        lk_report *r = NULL;
        lk_mem_fail_after(n);
        lk_status st = lk_report_open(&r, folder, "x");
        if (st == LK_OK)
            st = lk_report_clip(r, &clip);
        if (st == LK_OK)
            st = lk_report_finish(r);
        fired = lk_mem_fault_fired();
        lk_mem_fail_after(0);
        assert_int_equal(st, fired ? LK_E_MEMORY : LK_OK);
        lk_error_clear();
        lk_report_free(&r);
    }
    assert_false(fired);
    lk_clip_result_clear(&clip);
}

static int clean(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(hostile_results),
                                       cmocka_unit_test(every_allocation_may_fail)};
    if (!mkdtemp(folder))
        return 1;
    return cmocka_run_group_tests(tests, NULL, clean);
}
