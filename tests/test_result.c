/* test_result.c - results in memory, as JSON lines, CSV and HDF5; manifests; comparisons. */
#include "tests/check.h"

#include "av/compare.h"
#include "av/h5.h"
#include "av/manifest.h"
#include "av/result_csv.h"
#include "av/result_json.h"
#include "av/sync.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/lockstep-test-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static char *read_whole(const char *path)
{
    static char text[65536];
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    const size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    return text;
}

/* ---- a result with everything in it ---------------------------------------------------------- */

static lk_status fill(lk_clip_result *r, const char *clip)
{
    lk_status st = LK_OK;
    static const double t[] = {0, 0.04, 0.08}, lag[] = {-10, 10};
    static const float v[] = {1.5f, -2, 0.25f, 4, 5, 6};
    const lk_sink sink = lk_clip_result_sink(r);
    const lk_score offset = {"event.offset_ms", "ms", 80.5, 70.25, 90, NAN, 0.003, 12};
    const lk_score broken = {"odd \"name\"\n", "1", INFINITY, -INFINITY, NAN, NAN, NAN, 0};
    LK_TRY(lk_strdup(clip, &r->clip));
    LK_TRY(lk_strdup("a, \"b\"\nc", &r->group));
    LK_TRY(lk_strdup("prompt 1", &r->pair));
    LK_TRY(lk_strdup("{\"seed\": 3}", &r->provenance));
    LK_TRY(LK_NEW_ARRAY(&r->warnings, 1));
    LK_TRY(lk_strdup("a gap", &r->warnings[0]));
    r->n_warnings = 1;
    r->duration_s = 4.125;
    r->container_offset_ms = (double)NAN;
    LK_TRY(sink.score(sink.user, &offset));
    LK_TRY(sink.score(sink.user, &broken));
    LK_TRY(sink.abstain(sink.user, "event.drift_ppm", "too short, \"really\""));
    LK_TRY(sink.curve(sink.user, "event.speed", "heights/s", 3, t, v));
    LK_TRY(sink.curve(sink.user, "a/b", "1", 0, t, v));
    LK_TRY(sink.marks(sink.user, "event.onsets", 2, t));
    LK_TRY(sink.lag_curve(sink.user, "event.coincidence", 2, lag, v));
    LK_TRY(sink.lag_map(sink.user, "event.coincidence", 3, t, 2, lag, v));
done:
    return st;
}

static void sink_collects_and_finds(void **state)
{
    (void)state;
    lk_clip_result r = {0};
    CHECK_OK(fill(&r, "x.mp4"));
    assert_true(lk_clip_result_score(&r, "event.offset_ms")->value == 80.5);
    assert_null(lk_clip_result_score(&r, "event.offset"));
    assert_string_equal(lk_clip_result_abstention(&r, "event.drift_ppm"), "too short, \"really\"");
    lk_clip_result_clear(&r);
    lk_clip_result_clear(&r);
    assert_null(r.clip);
}

static void many_scores_survive_growth(void **state)
{
    (void)state;
    lk_clip_result r = {0};
    const lk_sink sink = lk_clip_result_sink(&r);
    for (int i = 0; i < 1000; i++) {
        char name[16];
        snprintf(name, sizeof name, "s%d", i);
        const lk_score s = {name, "1", i, NAN, NAN, NAN, NAN, i};
        CHECK_OK(sink.score(sink.user, &s));
    }
    for (int i = 0; i < 1000; i++)
        assert_true(r.scores[i].value == i && r.scores[i].n == i);
    lk_clip_result_clear(&r);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void json_round_trips(void **state)
{
    (void)state;
    lk_clip_result r = {0}, back = {0};
    char *line = NULL, *again = NULL;
    CHECK_OK(fill(&r, "d\xc3\xa9j\xc3\xa0.mp4"));
    CHECK_OK(lk_result_to_json(&r, &line));
    assert_non_null(strstr(line, "{\"value\": null, \"ci95\": [null, null], \"chance\": null"));
    assert_null(strchr(line, '\n'));
    CHECK_OK(lk_result_from_json(line, strlen(line), &back));
    assert_string_equal(back.clip, r.clip);
    assert_string_equal(back.group, r.group);
    assert_string_equal(back.pair, r.pair);
    assert_true(back.duration_s == 4.125 && isnan(back.container_offset_ms));
    assert_int_equal(back.n_scores, 2);
    const lk_result_score *s = lk_clip_result_score(&back, "event.offset_ms");
    assert_true(s->value == 80.5 && s->lo == 70.25 && s->hi == 90 && isnan(s->chance));
    assert_true(s->p == 0.003 && s->n == 12);
    assert_string_equal(s->unit, "ms");
    assert_true(isnan(back.scores[1].value));
    assert_string_equal(back.warnings[0], "a gap");
    CHECK_OK(lk_result_to_json(&back, &again));
    assert_string_equal(line, again);
    lk_free(line);
    lk_free(again);
    lk_clip_result_clear(&r);
    lk_clip_result_clear(&back);
}

static void names_that_are_not_utf8_still_make_json(void **state)
{
    (void)state;
    lk_clip_result r = {.clip = "caf\xe9.mp4", .container_offset_ms = 1};
    char *line = NULL;
    CHECK_OK(lk_result_to_json(&r, &line));
    assert_non_null(strstr(line, "caf\\\\xe9.mp4"));
    lk_free(line);
}

static void failed_clip_has_a_row(void **state)
{
    (void)state;
    lk_clip_result r = {.clip = "x", .failed = true, .error = "is empty"}, back = {0};
    char *line = NULL;
    r.container_offset_ms = (double)NAN;
    CHECK_OK(lk_result_to_json(&r, &line));
    assert_non_null(strstr(line, "\"status\": \"failed\", \"error\": \"is empty\""));
    assert_non_null(strstr(line, "\"duration_s\": null"));
    CHECK_OK(lk_result_from_json(line, strlen(line), &back));
    assert_true(back.failed);
    assert_string_equal(back.error, "is empty");
    lk_free(line);
    lk_clip_result_clear(&back);
}

static void hostile_json_is_one_sentence_with_its_line(void **state)
{
    (void)state;
    static const char *const bad[] = {"{",
                                      "[]",
                                      "3",
                                      "{\"clip\":3,\"status\":\"ok\"}",
                                      "{\"clip\":\"a\"}",
                                      "{\"clip\":\"a\",\"status\":\"fine\"}",
                                      "{\"clip\":\"a\",\"status\":\"ok\",\"scores\":{\"x\":3}}",
                                      "{\"clip\":\"a\",\"status\":\"ok\",\"abstained\":{\"x\":[]}}",
                                      "{\"clip\":\"a\",\"clip\":\"b\",\"status\":\"ok\"}",
                                      "{\"clip\":\"a\\u0000b\",\"status\":\"ok\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[256];
        lk_result_list list = {0};
        snprintf(text, sizeof text, "{\"clip\":\"a\",\"status\":\"ok\"}\n\n%s\n", bad[i]);
        write_file(in_folder("bad.jsonl"), text);
        assert_int_equal(lk_result_list_read(in_folder("bad.jsonl"), &list), LK_E_FORMAT);
        assert_non_null(strstr(lk_error_text(), "line 3"));
        lk_error_clear();
        assert_int_equal(list.n, 0);
    }
    lk_result_list list = {0};
    CHECK_FAILS(lk_result_list_read(in_folder("missing.jsonl"), &list), LK_E_IO);
    /* Wrong kinds in optional places are read as absent. */
    write_file(in_folder("odd.jsonl"),
               "{\"clip\":\"a\",\"status\":\"ok\",\"warnings\":7,\"duration_s\":\"x\",\"scores\":{"
               "\"s\":{\"value\":\"1\",\"ci95\":[1e999],\"unit\":[]}}}");
    lk_error_clear();
    const lk_status st = lk_result_list_read(in_folder("odd.jsonl"), &list);
    assert_true(st == LK_E_FORMAT || (list.n == 1 && isnan(list.item[0].scores[0].value)));
    lk_error_clear();
    lk_result_list_clear(&list);
}

static void mutated_json_never_crashes(void **state)
{
    (void)state;
    lk_clip_result r = {0};
    char *line = NULL;
    int64_t parsed = 0;
    CHECK_OK(fill(&r, "x.mp4"));
    CHECK_OK(lk_result_to_json(&r, &line));
    const uint32_t n = (uint32_t)strlen(line);
    for (uint64_t i = 0; i < 20000; i++) {
        lk_clip_result back = {0};
        char *copy = malloc(n);
        assert_non_null(copy);
        memcpy(copy, line, n);
        for (uint64_t e = 0; e < 1 + i % 4; e++)
            copy[lk_rng_below(1, i, 2 * e, n)] =
                "{}[]\",:0-9eE.\\un \xff"[lk_rng_below(2, i, e, 18)];
        const lk_status st = lk_result_from_json(copy, n - i % 3, &back);
        assert_true(st == LK_OK || st == LK_E_FORMAT);
        parsed += st == LK_OK;
        lk_error_clear();
        lk_clip_result_clear(&back);
        free(copy);
    }
    assert_true(parsed > 100 && parsed < 19900);
    lk_free(line);
    lk_clip_result_clear(&r);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    int64_t n = 1;
    for (bool fired = true; fired && n < 10000; n++) {
        lk_clip_result r = {0}, back = {0};
        char *line = NULL;
        lk_mem_fail_after(n);
        lk_status st = fill(&r, "x.mp4");
        if (st == LK_OK)
            st = lk_result_to_json(&r, &line);
        if (st == LK_OK)
            st = lk_result_from_json(line, strlen(line), &back);
        fired = lk_mem_fault_fired() != 0;
        lk_mem_fail_after(0);
        assert_int_equal(st, fired ? LK_E_MEMORY : LK_OK);
        lk_error_clear();
        lk_free(line);
        lk_clip_result_clear(&r);
        lk_clip_result_clear(&back);
    }
    assert_true(n > 20 && n < 10000);
}

/* ---- CSV ------------------------------------------------------------------------------------- */

static void csv_quotes_by_the_rules(void **state)
{
    (void)state;
    lk_clip_result r[2] = {{0}, {.clip = "b.mp4", .failed = true, .error = "is empty"}};
    CHECK_OK(fill(&r[0], "a,1.mp4"));
    const lk_result_list list = {2, r};
    CHECK_OK(lk_result_csv_write(in_folder("r.csv"), &list));
    assert_string_equal(
        read_whole(in_folder("r.csv")),
        "clip,group,pair,status,name,value,lo,hi,chance,p,n,unit,reason\r\n"
        "\"a,1.mp4\",\"a, \"\"b\"\"\nc\",prompt "
        "1,ok,event.offset_ms,80.5,70.25,90,,0.003,12,ms,\r\n"
        "\"a,1.mp4\",\"a, \"\"b\"\"\nc\",prompt 1,ok,\"odd \"\"name\"\"\n\",,,,,,0,1,\r\n"
        "\"a,1.mp4\",\"a, \"\"b\"\"\nc\",prompt 1,ok,event.drift_ppm,,,,,,,,"
        "\"too short, \"\"really\"\"\"\r\n"
        "b.mp4,,,failed,,,,,,,,,is empty\r\n");
    CHECK_FAILS(lk_result_csv_write("/nonexistent/r.csv", &list), LK_E_IO);
    lk_clip_result_clear(&r[0]);
}

/* ---- HDF5 ------------------------------------------------------------------------------------ */

static void check_curves(const char *path, int64_t index)
{
    lk_clip_result back = {0};
    CHECK_OK(lk_h5_read_clip(path, index, &back));
    assert_int_equal(back.n_curves, 2);
    assert_int_equal(back.curves[0].n, 0);
    assert_string_equal(back.curves[1].name, "event.speed");
    assert_string_equal(back.curves[1].unit, "heights/s");
    assert_int_equal(back.curves[1].n, 3);
    assert_true(back.curves[1].t_s[2] == 0.08 && back.curves[1].values[1] == -2);
    assert_true(back.n_marks == 1 && back.marks[0].n == 2 && back.marks[0].t_s[1] == 0.04);
    assert_true(back.n_lag_curves == 1 && back.lag_curves[0].lag_ms[0] == -10);
    assert_true(back.n_lag_maps == 1 && back.lag_maps[0].n_times == 3);
    assert_true(back.lag_maps[0].n_lags == 2 && back.lag_maps[0].values[5] == 6);
    lk_clip_result_clear(&back);
}

static void curves_come_back_also_after_a_break(void **state)
{
    (void)state;
    lk_clip_result r = {0}, none = {0};
    lk_h5_writer *w = NULL;
    char path[128];
    snprintf(path, sizeof path, "%s", in_folder("curves.h5"));
    CHECK_OK(fill(&r, "x.mp4"));
    CHECK_OK(lk_h5_create(&w, path, false));
    CHECK_OK(lk_h5_add_clip(w, 0, &r));
    lk_h5_close(&w); /* broken off: only the partial file is there */
    assert_int_not_equal(access(path, F_OK), 0);
    CHECK_OK(lk_h5_create(&w, path, true));
    assert_true(lk_h5_has_clip(w, 0) && !lk_h5_has_clip(w, 1));
    CHECK_OK(lk_h5_add_clip(w, 1, &r));
    CHECK_OK(lk_h5_add_clip(w, 1, &r)); /* done again: replaced */
    CHECK_OK(lk_h5_finish(w));
    lk_h5_close(&w);
    check_curves(path, 0);
    check_curves(path, 1);
    CHECK_FAILS(lk_h5_read_clip(path, 2, &none), LK_E_FORMAT);
    lk_clip_result_clear(&none);
    write_file(in_folder("no.h5"), "this is no such file");
    CHECK_FAILS(lk_h5_read_clip(in_folder("no.h5"), 0, &none), LK_E_FORMAT);
    CHECK_FAILS(lk_h5_create(&w, "/nonexistent/x.h5", false), LK_E_IO);
    lk_clip_result_clear(&r);
}

static void damaged_curves_never_crash(void **state)
{
    (void)state;
    lk_clip_result r = {0};
    lk_h5_writer *w = NULL;
    CHECK_OK(fill(&r, "x.mp4"));
    CHECK_OK(lk_h5_create(&w, in_folder("d.h5"), false));
    CHECK_OK(lk_h5_add_clip(w, 0, &r));
    CHECK_OK(lk_h5_finish(w));
    lk_h5_close(&w);
    lk_clip_result_clear(&r);
    struct stat facts;
    assert_int_equal(stat(in_folder("d.h5"), &facts), 0);
    const long size = facts.st_size;
    for (long keep = 0; keep < size; keep += 1 + size / 40) {
        lk_clip_result back = {0};
        assert_int_equal(truncate(in_folder("d.h5"), size - keep), 0);
        const lk_status st = lk_h5_read_clip(in_folder("d.h5"), 0, &back);
        assert_int_equal(st, keep == 0 ? LK_OK : LK_E_FORMAT);
        lk_error_clear();
        lk_clip_result_clear(&back);
    }
}

/* ---- manifests ------------------------------------------------------------------------------- */

static lk_status parse(const char *text, lk_manifest *m)
{
    return lk_manifest_parse(text, strlen(text), "m", "dir", m);
}

static void manifest_csv(void **state)
{
    (void)state;
    lk_manifest m = {0};
    CHECK_OK(parse("\xef\xbb\xbf"
                   "clip,pair,colour,onsets,face,group\r\n"
                   "\"a,\"\"1\"\".mp4\",p1,red,2 0.5 1e0,.1 .2 .3 .4,ours\r\n"
                   "\r\n"
                   "/abs/b.mp4,,,,,\r\n",
                   &m));
    assert_int_equal(m.n, 2);
    assert_string_equal(m.unknown, "colour");
    assert_string_equal(m.row[0].clip, "dir/a,\"1\".mp4");
    assert_string_equal(m.row[0].pair, "p1");
    assert_string_equal(m.row[0].group, "ours");
    assert_int_equal(m.row[0].onsets.n, 3);
    assert_true(m.row[0].onsets.at[0] == LK_FLICKS_PER_S / 2);
    assert_true(m.row[0].onsets.at[2] == 2 * LK_FLICKS_PER_S);
    assert_true(m.row[0].has_face && m.row[0].face.width == 0.3f);
    assert_string_equal(m.row[1].clip, "/abs/b.mp4");
    assert_null(m.row[1].pair);
    assert_false(m.row[1].has_face);
    lk_manifest_clear(&m);
}

static void manifest_json_lines(void **state)
{
    (void)state;
    lk_manifest m = {0};
    CHECK_OK(
        parse("{\"clip\":\"a.mp4\",\"beats\":[1,0.5],\"face\":[0,0,1,1],\"reference\":\"r.wav\"}"
              "\n \r\n{\"clip\":\"b.mp4\",\"pair\":null}",
              &m));
    assert_int_equal(m.n, 2);
    assert_true(m.row[0].beats.n == 2 && m.row[0].beats.at[0] == LK_FLICKS_PER_S / 2);
    assert_string_equal(m.row[0].track, "dir/r.wav");
    assert_null(m.unknown);
    lk_manifest_clear(&m);
}

static void times_come_from_a_file_too(void **state)
{
    (void)state;
    lk_manifest m = {0};
    write_file(in_folder("07.beats"), "0.5 1\n1.0 2\n# a remark\n1.5 1\n");
    write_file(in_folder("m.csv"), "clip,beats\na.mp4,07.beats\n");
    CHECK_OK(lk_manifest_read(in_folder("m.csv"), &m));
    assert_true(m.row[0].beats.n == 3 && m.row[0].downbeats.n == 2);
    assert_true(m.row[0].downbeats.at[1] == LK_FLICKS_PER_S * 3 / 2);
    assert_non_null(strstr(m.row[0].clip, folder));
    lk_manifest_clear(&m);
}

static void hostile_manifests_are_one_sentence(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
        lk_status st;
    } bad[] = {{"", "column named 'clip'", LK_E_FORMAT},
               {"clip\n", "lists no clip", LK_E_EMPTY},
               {"file\na.mp4\n", "column named 'clip'", LK_E_FORMAT},
               {"clip,pair\na.mp4\n,p\n", "line 3", LK_E_FORMAT},
               {"clip\na,b\n", "line 2", LK_E_FORMAT},
               {"clip\n\"a\n", "quote", LK_E_FORMAT},
               {"clip,onsets\na,1 2 3-4-\n", "not a time", LK_E_FORMAT},
               {"clip,onsets\na,1e99\n", "out of range", LK_E_FORMAT},
               {"clip,onsets\na,nowhere.txt\n", "cannot open", LK_E_IO},
               {"clip,face\na,1 2\n", "face", LK_E_FORMAT},
               {"{\"clip\":\"a\"}\nx\n", "line 2", LK_E_FORMAT},
               {"{\"clip\":3}\n", "wrong kind", LK_E_FORMAT},
               {"{\"pair\":\"a\"}\n", "clip", LK_E_FORMAT},
               {"{\"clip\":\"a\",\"onsets\":[\"x\"]}\n", "not a number", LK_E_FORMAT}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        lk_manifest m = {0};
        const lk_status st = parse(bad[i].text, &m);
        if (st != bad[i].st || !strstr(lk_error_text(), bad[i].says))
            fail_msg("'%s' gave %s: %s", bad[i].text, lk_status_name(st), lk_error_text());
        lk_error_clear();
        lk_manifest_clear(&m);
    }
    lk_manifest m = {0};
    CHECK_FAILS(lk_manifest_parse("clip\na\0b\n", 9, "m", "", &m), LK_E_FORMAT);
    lk_manifest_clear(&m);
    CHECK_FAILS(lk_manifest_read(folder, &m), LK_E_FORMAT);
    lk_manifest_clear(&m);
}

static void mutated_manifests_never_crash(void **state)
{
    (void)state;
    static const char *const seeds[] = {
        "clip,group,pair,onsets,face\n\"a \"\"b\"\"\",g,p,0.5 1 2,0.1 0.2 0.3 0.4\nb.mp4,,,,\n",
        "{\"clip\":\"a\",\"onsets\":[1,2],\"face\":[0,0,1,1]}\n{\"clip\":\"b\",\"pair\":\"p\"}\n"};
    for (uint64_t i = 0; i < 20000; i++) {
        const char *seed = seeds[i % 2];
        const uint32_t n = (uint32_t)strlen(seed);
        char *copy = malloc(n);
        lk_manifest m = {0};
        assert_non_null(copy);
        memcpy(copy, seed, n);
        for (uint64_t e = 0; e < 1 + i % 5; e++)
            copy[lk_rng_below(3, i, 2 * e, n)] = (char)lk_rng_u32(4, i, e);
        const lk_status st = lk_manifest_parse(copy, n - i % 7, "m", folder, &m);
        assert_true(st == LK_OK || st == LK_E_FORMAT || st == LK_E_IO || st == LK_E_EMPTY);
        for (int64_t k = 0; st == LK_OK && k < m.n; k++)
            assert_non_null(m.row[k].clip);
        lk_error_clear();
        lk_manifest_clear(&m);
        free(copy);
    }
}

/* ---- one answer out of several --------------------------------------------------------------- */

static void put(lk_clip_result *r, const char *name, double value, double half)
{
    const lk_sink sink = lk_clip_result_sink(r);
    const lk_score s = {name, "ms", value, value - half, value + half, NAN, 0.001, 9};
    CHECK_OK(sink.score(sink.user, &s));
}

static void judge_takes_the_narrowest_and_the_beat_last(void **state)
{
    (void)state;
    lk_clip_result r = {0};
    lk_sync_answer a;
    const lk_sink sink = lk_clip_result_sink(&r);
    lk_sync_judge(&r, &a);
    assert_true(!a.trusted && isnan(a.offset_ms) && a.reason[0] != '\0');
    CHECK_OK(sink.abstain(sink.user, "event.offset_ms", "no sudden sound found"));
    lk_sync_judge(&r, &a);
    assert_false(a.trusted);
    assert_string_equal(a.reason, "event: no sudden sound found");
    put(&r, "beat.offset_ms", 30, 1);
    put(&r, "beat.offset_modulus_ms", 500, 0);
    lk_sync_judge(&r, &a);
    assert_true(a.trusted && a.offset_ms == 30);
    assert_string_equal(a.source, "beat");
    assert_non_null(strstr(a.reason, "-470 ms and +530 ms"));
    put(&r, "mouth.offset_ms", 44, 20);
    lk_sync_judge(&r, &a);
    assert_string_equal(a.source, "mouth");
    assert_string_equal(a.reason, "");
    lk_clip_result_clear(&r);
    put(&r, "event.offset_ms", 80, 5);
    put(&r, "event.drift_ppm", 12, 50);
    put(&r, "mouth.offset_ms", 65, 15);
    lk_sync_judge(&r, &a);
    assert_string_equal(a.source, "event");
    assert_true(a.trusted && a.lo == 75 && a.hi == 85 && a.drift_ppm == 12);
    assert_string_equal(a.reason, "");
    lk_clip_result_clear(&r);
    put(&r, "event.offset_ms", 80, 5);
    put(&r, "mouth.offset_ms", -20, 15); /* speech: its bursts are no stops of the lips */
    lk_sync_judge(&r, &a);
    assert_string_equal(a.source, "mouth");
    assert_string_equal(a.reason, "event says +80 ms");
    lk_clip_result_clear(&r);
    r.failed = true;
    CHECK_OK(lk_strdup("is empty", &r.error));
    lk_sync_judge(&r, &a);
    assert_false(a.trusted);
    assert_string_equal(a.reason, "is empty");
    lk_clip_result_clear(&r);
}

/* ---- comparisons ----------------------------------------------------------------------------- */

static void add_clip(lk_result_list *list, const char *clip, const char *pair, double offset)
{
    lk_clip_result *r = &list->item[list->n++];
    memset(r, 0, sizeof *r);
    CHECK_OK(lk_strdup(clip, &r->clip));
    if (pair)
        CHECK_OK(lk_strdup(pair, &r->pair));
    const lk_sink sink = lk_clip_result_sink(r);
    const lk_score s = {"event.offset_ms", "ms", offset, NAN, NAN, NAN, NAN, 5};
    if (isfinite(offset))
        CHECK_OK(sink.score(sink.user, &s));
    else
        CHECK_OK(sink.abstain(sink.user, "event.offset_ms", "too quiet"));
}

static void free_lists(lk_clip_result *a, int64_t n_a, lk_clip_result *b, int64_t n_b)
{
    for (int64_t i = 0; i < n_a; i++)
        lk_clip_result_clear(&a[i]);
    for (int64_t i = 0; i < n_b; i++)
        lk_clip_result_clear(&b[i]);
}

static void comparison_pairs_and_tests_exactly(void **state)
{
    (void)state;
    lk_clip_result item_a[8], item_b[8];
    lk_result_list a = {0, item_a}, b = {0, item_b};
    /* Differences +10, +20, +30, +40; by size 10, 20, -30 - ... the sign of A is mixed. */
    add_clip(&a, "x/1.mp4", NULL, 0);
    add_clip(&a, "x/2.mp4", NULL, -5);
    add_clip(&a, "x/3.mp4", "p3", 10);
    add_clip(&a, "x/4.mp4", NULL, 1);
    add_clip(&a, "x/5.mp4", NULL, NAN);
    add_clip(&a, "x/6.mp4", NULL, 7);
    add_clip(&b, "y/4.mp4", NULL, 41);
    add_clip(&b, "y/1.mp4", NULL, 10);
    add_clip(&b, "y/a.mp4", "p3", 30);
    add_clip(&b, "y/b.mp4", "p3", 50);
    add_clip(&b, "y/2.mp4", NULL, 15);
    add_clip(&b, "y/5.mp4", NULL, 3);
    add_clip(&b, "y/7.mp4", NULL, 3);
    lk_comparison c;
    CHECK_OK(lk_compare(&a, NULL, &b, NULL, 1, &c));
    assert_int_equal(c.n_pairs, 5);
    assert_int_equal(c.n_rows, 2);
    const lk_comparison_row *row = &c.row[0];
    assert_true(row->n == 4 && row->answered_a == 4 && row->answered_b == 5);
    CHECK_CLOSE(row->mean_a, 1.5, 1e-12);
    CHECK_CLOSE(row->mean_b, 26.5, 1e-12);
    CHECK_CLOSE(row->difference, 25, 1e-12);
    CHECK_CLOSE(row->p, 2.0 / 16, 1e-12); /* all plus or all minus out of 2^4 */
    assert_true(row->lo >= 10 && row->lo < 25 && row->hi > 25 && row->hi <= 40);
    assert_true(c.row[1].absolute);
    CHECK_CLOSE(c.row[1].difference, 22.5, 1e-12); /* (10 + 10 + 30 + 40) / 4 */
    CHECK_CLOSE(c.row[1].p, 2.0 / 16, 1e-12);
    CHECK_CLOSE(c.row[0].p_holm, 4.0 / 16, 1e-12);
    CHECK_CLOSE(c.row[1].p_holm, 4.0 / 16, 1e-12);
    assert_true(c.n_only_a == 1 && strcmp(c.only_a[0], "6.mp4") == 0);
    assert_true(c.n_only_b == 1 && strcmp(c.only_b[0], "7.mp4") == 0);
    lk_comparison_clear(&c);
    free_lists(item_a, a.n, item_b, b.n);
}

static void comparison_refuses_what_cannot_be_paired(void **state)
{
    (void)state;
    lk_clip_result item_a[4], item_b[4];
    lk_result_list a = {0, item_a}, b = {0, item_b};
    lk_comparison c;
    add_clip(&a, "x/1.mp4", NULL, 0);
    add_clip(&b, "y/2.mp4", NULL, 0);
    CHECK_FAILS(lk_compare(&a, NULL, &b, NULL, 1, &c), LK_E_EMPTY);
    lk_comparison_clear(&c);
    CHECK_FAILS(lk_compare(&a, "ours", &a, NULL, 1, &c), LK_E_EMPTY);
    lk_comparison_clear(&c);
    add_clip(&a, "z/1.mp4", NULL, 0);
    CHECK_FAILS(lk_compare(&a, NULL, &b, NULL, 1, &c), LK_E_FORMAT);
    lk_comparison_clear(&c);
    free_lists(item_a, a.n, item_b, b.n);
}

/* Two systems that differ by nothing: p below 0.05 in about 5 % of trials, interval over zero in
 * about 95 %. */
static void comparison_keeps_its_level(void **state)
{
    (void)state;
    enum { N = 24, TRIALS = 300 };
    lk_clip_result item_a[N], item_b[N];
    int rejected = 0, covered = 0;
    for (uint64_t trial = 0; trial < TRIALS; trial++) {
        lk_result_list a = {0, item_a}, b = {0, item_b};
        lk_comparison c;
        for (uint64_t i = 0; i < N; i++) {
            char clip[16];
            snprintf(clip, sizeof clip, "%d.mp4", (int)i);
            add_clip(&a, clip, NULL, 20 + lk_rng_normal(5, trial, i));
            add_clip(&b, clip, NULL, 20 + lk_rng_normal(6, trial, i));
        }
        CHECK_OK(lk_compare(&a, NULL, &b, NULL, trial, &c));
        rejected += c.row[0].p < 0.05;
        covered += c.row[0].lo <= 0 && c.row[0].hi >= 0;
        lk_comparison_clear(&c);
        free_lists(item_a, a.n, item_b, b.n);
    }
    assert_in_range(rejected, 4, 30);
    assert_in_range(covered, TRIALS * 88 / 100, TRIALS * 99 / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sink_collects_and_finds),
        cmocka_unit_test(many_scores_survive_growth),
        cmocka_unit_test(json_round_trips),
        cmocka_unit_test(names_that_are_not_utf8_still_make_json),
        cmocka_unit_test(failed_clip_has_a_row),
        cmocka_unit_test(hostile_json_is_one_sentence_with_its_line),
        cmocka_unit_test(mutated_json_never_crashes),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(csv_quotes_by_the_rules),
        cmocka_unit_test(curves_come_back_also_after_a_break),
        cmocka_unit_test(damaged_curves_never_crash),
        cmocka_unit_test(manifest_csv),
        cmocka_unit_test(manifest_json_lines),
        cmocka_unit_test(times_come_from_a_file_too),
        cmocka_unit_test(hostile_manifests_are_one_sentence),
        cmocka_unit_test(mutated_manifests_never_crash),
        cmocka_unit_test(judge_takes_the_narrowest_and_the_beat_last),
        cmocka_unit_test(comparison_pairs_and_tests_exactly),
        cmocka_unit_test(comparison_refuses_what_cannot_be_paired),
        cmocka_unit_test(comparison_keeps_its_level),
    };
    if (!mkdtemp(folder))
        return 1;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    static const char *const made[] = {"bad.jsonl", "odd.jsonl", "r.csv",    "curves.h5",
                                       "no.h5",     "d.h5",      "07.beats", "m.csv"};
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++)
        unlink(in_folder(made[i]));
    rmdir(folder);
    return failed;
}
