/* test_reference.c - shifts against a reference clip, on features made by hand. */
#include "tests/check.h"

#include "align/align.h"
#include "align/features.h"
#include "align/metrics.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

typedef struct answers {
    double offset, sound, picture;
    int abstained;
} answers;

static lk_status take_score(void *user, const lk_score *s)
{
    answers *a = user;
    assert_string_equal(s->unit, "ms");
    double *to = strcmp(s->name, "reference.offset_ms") == 0        ? &a->offset
                 : strcmp(s->name, "reference.audio_shift_ms") == 0 ? &a->sound
                                                                    : &a->picture;
    *to = s->value;
    return LK_OK;
}

static lk_status take_abstention(void *user, const char *name, const char *reason)
{
    answers *a = user;
    assert_true(strncmp(name, "reference.", 10) == 0 && reason[0] != '\0');
    a->abstained++;
    return LK_OK;
}

/* Bumps at times that belong to the seed. */
static double content(uint64_t seed, double t)
{
    const int64_t cell = (int64_t)floor(t / 0.4);
    double v = 0;
    for (int64_t c = cell - 1; c <= cell + 1; c++) {
        const double at = 0.4 * ((double)c + (double)lk_rng_uniform(seed, 1, (uint64_t)(c + 1000)));
        const double x = (t - at) / 0.04;
        v += (0.3 + (double)lk_rng_uniform(seed, 2, (uint64_t)(c + 1000))) * exp(-0.5 * x * x);
    }
    return v;
}

/* A clip of length_s whose sound shows content(t - sound_s), whose picture content(t - picture_s).
 */
static void make_clip(uint64_t seed, double length_s, double fps, double sound_s, double picture_s,
                      lk_features *f)
{
    lk_audio_features *a = &f->audio;
    lk_video_features *v = &f->video;
    memset(f, 0, sizeof *f);
    a->present = v->present = true;
    a->step = LK_FLICKS_PER_S / 200;
    a->n = (int64_t)(length_s * 200);
    v->n = (int64_t)(length_s * fps);
    CHECK_OK(LK_NEW_ARRAY(&a->onset, a->n));
    CHECK_OK(LK_NEW_ARRAY(&v->spans, v->n));
    CHECK_OK(LK_NEW_ARRAY(&v->change, v->n));
    for (int64_t k = 0; k < a->n; k++)
        a->onset[k] = (float)content(seed, (double)k / 200 - sound_s);
    for (int64_t k = 0; k < v->n; k++) {
        const double t = (double)k / fps, root = content(seed, t - 0.5 / fps - picture_s);
        v->spans[k] = (lk_span){lk_flick_from_s(t), lk_flick_from_s(t + 1 / fps)};
        v->change[k] = (float)(root * root / fps);
    }
}

static answers compare(const lk_features *clip, const lk_features *track)
{
    answers a = {(double)NAN, (double)NAN, (double)NAN, 0};
    const lk_sink sink = {.user = &a, .score = take_score, .abstain = take_abstention};
    const lk_reference reference = {.track = track};
    char state[64] = {0};
    assert_true(lk_metric_reference.state_bytes <= sizeof state);
    lk_option_defaults(lk_metric_reference.options, state);
    CHECK_OK(lk_metric_reference.finish(state, clip, track ? &reference : NULL, &sink));
    return a;
}

static void shifts_come_back(void **unused)
{
    (void)unused;
    const double sound_s[] = {0, -1, 0.0432, 3.2}, picture_s[] = {0, 0, -0.5, 3.0};
    for (size_t i = 0; i < 4; i++) {
        lk_features track, clip;
        make_clip(i, 12, 25, 0, 0, &track);
        make_clip(i, 10, 30, sound_s[i], picture_s[i], &clip);
        const answers a = compare(&clip, &track);
        print_message("sound %+.2f of %+.0f ms, picture %+.2f of %+.0f ms\n", a.sound,
                      1e3 * sound_s[i], a.picture, 1e3 * picture_s[i]);
        CHECK_CLOSE(a.sound, 1e3 * sound_s[i], 0.5);
        CHECK_CLOSE(a.picture, 1e3 * picture_s[i], 2);
        CHECK_CLOSE(a.offset, a.sound - a.picture, 1e-9);
        assert_int_equal(a.abstained, 0);
        lk_features_clear(&track);
        lk_features_clear(&clip);
    }
}

static void other_content_gets_no_answer(void **unused)
{
    (void)unused;
    lk_features track, clip;
    for (uint64_t i = 0; i < 20; i++) {
        make_clip(i, 12, 25, 0, 0, &track);
        make_clip(100 + i, 12, 25, 0, 0, &clip);
        assert_int_equal(compare(&clip, &track).abstained, 3);
        lk_features_clear(&track);
        lk_features_clear(&clip);
    }
}

static void what_is_missing_is_said(void **unused)
{
    (void)unused;
    lk_features track, clip, brief;
    make_clip(1, 12, 25, 0, 0, &track);
    make_clip(1, 12, 25, 0.1, 0, &clip);
    make_clip(1, 1, 25, 0, 0, &brief);
    assert_int_equal(compare(&clip, NULL).abstained, 3);
    assert_int_equal(compare(&brief, &track).abstained, 3);
    track.video.present = false;
    const answers a = compare(&clip, &track);
    CHECK_CLOSE(a.sound, 100, 0.5);
    assert_int_equal(a.abstained, 2);
    memset(clip.audio.onset, 0, (size_t)clip.audio.n * sizeof(float)); /* silence */
    assert_int_equal(compare(&clip, &track).abstained, 3);
    lk_features_clear(&track);
    lk_features_clear(&clip);
    lk_features_clear(&brief);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shifts_come_back),
        cmocka_unit_test(other_content_gets_no_answer),
        cmocka_unit_test(what_is_missing_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
