/* test_beat_data.c - the tracker on annotated music, where that data is present: the folder
 * beats/gtzan below the environment variable LK_DATA. */
#include "tests/check.h"

#include "av/result.h"
#include "av/score_clip.h"
#include "kernels/clock.h"

#include <glob.h>

#ifndef LK_TEST_DATA
#define LK_TEST_DATA "../shared/data"
#endif

enum { MOST = 512, SKIPPED = 77 };

static int read_beats(const char *path, lk_flick *beats)
{
    int n = 0;
    double t = 0;
    char line[128];
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (n < MOST && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%lf", &t) == 1)
            beats[n++] = lk_flick_from_s(t);
    }
    fclose(f);
    return n;
}

/* F of one file; annotations run on past the end of some files. */
static double f_of(const char *path, lk_clip_result *result)
{
    lk_flick beats[MOST];
    char sound[4096];
    const char *const metrics[] = {"beat"};
    const int stem = (int)(strlen(path) - strlen(".beats"));
    snprintf(sound, sizeof sound, "%.*s.flac", stem, path);
    lk_reference r = {.beats = beats, .n_beats = read_beats(path, beats)};
    const lk_score_clip_options o = {
        .metrics = metrics, .n_metrics = 1, .reference = &r, .seed = 1, .threads = 1};
    for (int pass = 0; pass < 2; pass++) { /* the first tells how long the file is */
        lk_clip_result_clear(result);
        memset(result, 0, sizeof *result);
        CHECK_OK(lk_score_clip(sound, &o, result));
        if (result->failed)
            fail_msg("%s", result->error);
        const lk_flick end = lk_flick_from_s(result->duration_s);
        const int64_t before = r.n_beats;
        while (r.n_beats > 0 && beats[r.n_beats - 1] >= end)
            r.n_beats--;
        if (r.n_beats == before)
            break;
    }
    const lk_result_score *const f = lk_clip_result_score(result, "beat.f_measure");
    assert_non_null(f);
    return f->value;
}

static glob_t files;

static void beats_of_real_music(void **state)
{
    (void)state;
    double sum = 0;
    lk_clip_result result;
    memset(&result, 0, sizeof result);
    for (size_t i = 0; i < files.gl_pathc; i++)
        sum += f_of(files.gl_pathv[i], &result);
    lk_clip_result_clear(&result);
    printf("mean F over %zu files: %.3f\n", files.gl_pathc, sum / (double)files.gl_pathc);
    assert_true(sum / (double)files.gl_pathc >= 0.70);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(beats_of_real_music)};
    const char *const set = getenv("LK_DATA");
    char pattern[4096];
    snprintf(pattern, sizeof pattern, "%s/beats/gtzan/*.beats", set ? set : LK_TEST_DATA);
    if (glob(pattern, 0, NULL, &files) != 0) {
        printf("no annotated music at %s; skipped\n", pattern);
        return SKIPPED;
    }
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    globfree(&files);
    return failed;
}
