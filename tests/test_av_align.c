/* test_av_align.c - pairs of clicks and bursts of motion made by hand. */
#include "tests/check.h"

#include "align/align.h"
#include "align/av_align_published.h"
#include "align/farneback.h"
#include "align/features.h"
#include "align/metrics.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

#define N_EVENTS 14
#define LENGTH_S 12.0

typedef struct answer {
    lk_score score;
    int scores, abstained;
    int64_t peaks;
} answer;

static lk_status take_score(void *user, const lk_score *s)
{
    answer *a = user;
    a->score = *s;
    a->scores++;
    return LK_OK;
}

static lk_status take_abstention(void *user, const char *name, const char *reason)
{
    answer *a = user;
    assert_true(reason[0] != '\0');
    if (strcmp(name, "av_align.iou_compatible") == 0) /* these tests push no frames */
        return LK_OK;
    assert_string_equal(name, "av_align.iou_clean");
    a->abstained++;
    return LK_OK;
}

static lk_status take_marks(void *user, const char *name, int64_t n, const double *t_s)
{
    answer *a = user;
    assert_string_equal(name, "av_align.motion_peaks");
    for (int64_t i = 1; i < n; i++)
        assert_true(t_s[i] > t_s[i - 1]);
    a->peaks = n;
    return LK_OK;
}

static double event_s(uint64_t seed, int i)
{
    return 0.6 + 0.78 * i + 0.3 * (double)lk_rng_uniform(seed, 7, (uint64_t)i);
}

static lk_flick flicks(double s)
{
    return (lk_flick)llrint(s * 1e3 * (double)LK_FLICKS_PER_MS);
}

/* An impact shows in the two frames around each event, by its nearness to them. */
static void make_video(lk_video_features *v, double fps, uint64_t seed, int n_events)
{
    v->present = true;
    v->n = (int64_t)(LENGTH_S * fps);
    CHECK_OK(LK_NEW_ARRAY(&v->spans, v->n));
    CHECK_OK(LK_NEW_ARRAY(&v->impact, v->n));
    CHECK_OK(LK_NEW_ARRAY(&v->speed, v->n));
    CHECK_OK(LK_NEW_ARRAY(&v->cut, v->n));
    for (int64_t k = 0; k < v->n; k++) {
        v->spans[k] = (lk_span){flicks((double)k / fps), flicks((double)(k + 1) / fps)};
        for (int i = 0; i < n_events; i++)
            v->impact[k] += (float)fmax(0, 1 - fabs((double)k - event_s(seed, i) * fps));
    }
}

static void push_clicks(lk_features *f, uint64_t seed, double late_s, int n_events)
{
    const int rate = LK_ANALYSIS_RATE_HZ;
    const int64_t n = (int64_t)(LENGTH_S * rate);
    lk_audio_extractor *x = NULL;
    float *pcm = NULL;
    CHECK_OK(LK_NEW_ARRAY(&pcm, n));
    for (int i = 0; i < n_events; i++) {
        const int64_t at = (int64_t)((event_s(seed, i) + late_s) * rate);
        for (int64_t k = 0; k < 2400 && at + k < n; k++)
            pcm[at + k] += 0.5f * (float)(exp(-(double)k / 400) * sin(0.4 * (double)k));
    }
    const float *const channels[] = {pcm};
    const lk_pcm_view view = {.span = {0, flicks(LENGTH_S)},
                              .n_samples = n,
                              .n_channels = 1,
                              .rate_hz = rate,
                              .channel = channels};
    CHECK_OK(lk_audio_extractor_create(&x, false));
    CHECK_OK(lk_audio_extractor_push(x, &view));
    CHECK_OK(lk_audio_extractor_finish(x, &f->audio));
    lk_audio_extractor_free(&x);
    lk_free(pcm);
}

static answer measure(double fps, uint64_t seen, uint64_t heard, double late_s, int n_seen,
                      int n_heard)
{
    lk_features f;
    answer a;
    memset(&f, 0, sizeof f);
    memset(&a, 0, sizeof a);
    f.seed = 5;
    make_video(&f.video, fps, seen, n_seen);
    push_clicks(&f, heard, late_s, n_heard);
    const lk_metric *m = lk_metric_find("av_align");
    assert_non_null(m);
    struct {
        double window_ms;
        int n_null, n_bootstrap;
        char rest[512]; /* the published form is off and empty */
    } state = {80, 400, 400, {0}};
    assert_true(m->state_bytes <= sizeof state);
    const lk_sink sink = {
        .user = &a, .score = take_score, .abstain = take_abstention, .marks = take_marks};
    CHECK_OK(m->finish(&state, &f, NULL, &sink));
    lk_features_clear(&f);
    return a;
}

static void pairs_are_found_at_every_frame_rate(void **state)
{
    (void)state;
    const double rates[] = {12, 25, 30, 60};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        const answer a = measure(rates[i], 3, 3, 0, N_EVENTS, N_EVENTS);
        assert_int_equal(a.scores, 1);
        assert_int_equal(a.peaks, N_EVENTS);
        CHECK_CLOSE(a.score.value, 1, 1e-12);
        assert_true(a.score.p < 0.01 && a.score.chance < 0.5);
    }
}

static void late_sound_loses_its_pairs(void **state)
{
    (void)state;
    CHECK_CLOSE(measure(25, 3, 3, 0.05, N_EVENTS, N_EVENTS).score.value, 1, 1e-12);
    assert_true(measure(25, 3, 3, 0.20, N_EVENTS, N_EVENTS).score.value < 0.3);
}

static void half_of_the_sounds_give_half(void **state)
{
    (void)state;
    const answer a = measure(25, 3, 3, 0, N_EVENTS, N_EVENTS / 2);
    CHECK_CLOSE(a.score.value, 0.5, 1e-12);
    assert_true(a.score.lo < 0.5 && a.score.hi > 0.5);
}

static void unrelated_sounds_are_at_chance(void **state)
{
    (void)state;
    int small = 0;
    double gap = 0;
    for (uint64_t i = 0; i < 20; i++) {
        const answer a = measure(25, 40 + i, 90 + i, 0.39 * (double)(i % 2), N_EVENTS, N_EVENTS);
        small += a.score.p < 0.01;
        gap += (a.score.value - a.score.chance) / 20;
    }
    assert_true(small <= 3);
    CHECK_CLOSE(gap, 0, 0.15);
}

static void nothing_to_pair_is_no_answer(void **state)
{
    (void)state;
    answer a = measure(25, 3, 3, 0, N_EVENTS, 0);
    assert_true(a.abstained == 1 && a.scores == 0);
    a = measure(25, 3, 3, 0, 0, N_EVENTS);
    assert_true(a.abstained == 1 && a.scores == 0);
}

/* ---- the published form ---- */

static void published_onsets_are_where_the_clicks_are(void **state)
{
    const int64_t n = 4 * LK_PUBLISHED_RATE_HZ;
    const double click_s[] = {0.5, 1.21, 2.02, 3.3};
    float *pcm = NULL;
    double *t_s = NULL;
    int64_t n_found = 0;
    (void)state;
    CHECK_OK(LK_NEW_ARRAY(&pcm, n));
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 800; k++)
            pcm[(int64_t)(click_s[i] * LK_PUBLISHED_RATE_HZ) + k] =
                0.8f * expf(-(float)k / 150) * (lk_rng_uniform(3, (uint64_t)i, (uint64_t)k) - 0.5f);
    CHECK_OK(lk_published_onsets(pcm, n, &t_s, &n_found));
    assert_int_equal(n_found, 4);
    for (int i = 0; i < 4; i++) /* within a hop and half a window */
        CHECK_CLOSE(t_s[i], click_s[i], 0.05);
    lk_free(t_s);
    memset(pcm, 0, (size_t)n * sizeof *pcm);
    CHECK_OK(lk_published_onsets(pcm, n, &t_s, &n_found));
    assert_int_equal(n_found, 0);
    lk_free(t_s);
    lk_free(pcm);
}

static void published_hits_take_a_peak_once(void **state)
{
    const double onset_s[] = {1.0, 1.01, 2.0, 3.0};
    const int64_t peak[] = {25, 49, 80};
    uint8_t used[3];
    (void)state;
    /* 1.00 takes frame 25; 1.01 finds it taken; 2.00 is a frame from 49 and that is too far; 3.00
     * is alone */
    assert_int_equal(lk_published_hits(onset_s, 4, peak, 3, 25, used), 1);
    assert_int_equal(lk_published_hits(onset_s, 4, peak, 3, 24.9, used), 2);
}

static void published_flow_follows_the_picture(void **state)
{
    enum { W = 96, H = 64 };
    static uint8_t luma[H * W];
    lk_published_flow f = {0};
    int64_t index[8];
    (void)state;
    if (!lk_farneback_available())
        skip();
    for (int k = 0; k < 6; k++) { /* a texture that moves by 2 pixels once, into frame 3 */
        const int shift = k < 3 ? 0 : 2;
        const lk_frame_view v = {
            .width = W, .height = H, .luma = luma, .luma_stride = W, .luma_full_range = 1};
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++)
                luma[y * W + x] = (uint8_t)(128 + 60 * sin(0.3 * (x - shift)) * cos(0.23 * y) +
                                            40 * sin(0.11 * (x - shift) + 0.2 * y));
        CHECK_OK(lk_published_flow_push(&f, &v));
    }
    assert_int_equal(f.n, 6);
    CHECK_CLOSE(f.mean[3], 2, 0.4);
    CHECK_CLOSE(f.mean[1], 0, 0.01);
    assert_int_equal(lk_published_flow_peaks(f.mean, 6, index), 1);
    assert_int_equal(index[0], 3);
    lk_published_flow_clear(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_onsets_are_where_the_clicks_are),
        cmocka_unit_test(published_hits_take_a_peak_once),
        cmocka_unit_test(published_flow_follows_the_picture),
        cmocka_unit_test(pairs_are_found_at_every_frame_rate),
        cmocka_unit_test(late_sound_loses_its_pairs),
        cmocka_unit_test(half_of_the_sounds_give_half),
        cmocka_unit_test(unrelated_sounds_are_at_chance),
        cmocka_unit_test(nothing_to_pair_is_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
