/* test_mouth.c - a drawn mouth that opens with the syllables of a made voice. */
#include "tests/check.h"

#include "align/align.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

#define WIDTH   160
#define HEIGHT  120
#define RATE_HZ 24000
#define PCM_RUN 2400

typedef enum voice { VOICE_SPEECH, VOICE_SILENT, VOICE_STRUCK } voice;

typedef struct scene {
    double seconds, fps, late_s;
    uint64_t seen, heard; /* seeds of the syllables */
    bool still;
    voice voice;
} scene;

typedef struct answer {
    bool answered;
    double offset_ms, lo, hi;
    char reason[200];
} answer;

static lk_status take_score(void *user, const lk_score *s)
{
    answer *a = user;
    if (strcmp(s->name, "mouth.offset_ms") == 0) {
        a->answered = true;
        a->offset_ms = s->value;
        a->lo = s->lo;
        a->hi = s->hi;
    }
    return LK_OK;
}

static lk_status take_abstention(void *user, const char *name, const char *reason)
{
    answer *a = user;
    assert_string_equal(name, "mouth.offset_ms");
    snprintf(a->reason, sizeof a->reason, "%s", reason);
    return LK_OK;
}

static lk_status drop_curve(void *user, const char *name, const char *unit, int64_t n,
                            const double *t_s, const float *values)
{
    (void)user, (void)name, (void)unit, (void)n, (void)t_s, (void)values;
    return LK_OK;
}

static lk_status drop_marks(void *user, const char *name, int64_t n, const double *t_s)
{
    (void)user, (void)name, (void)n, (void)t_s;
    return LK_OK;
}

static lk_status drop_lag_curve(void *user, const char *name, int64_t n, const double *lag_ms,
                                const float *values)
{
    (void)user, (void)name, (void)n, (void)lag_ms, (void)values;
    return LK_OK;
}

static lk_flick flicks(double s)
{
    return (lk_flick)llrint(s * 1e3 * (double)LK_FLICKS_PER_MS);
}

/* Syllables every 0.15 to 0.35 s, each a raised cosine of random height; 0 closed, 1 wide open. */
static double opening(uint64_t seed, double t)
{
    double at = -1, sum = 0;
    for (uint64_t i = 0; at < t + 0.2; i++) {
        const double half = 0.09 + 0.05 * (double)lk_rng_uniform(seed, 1, i);
        const double u = (t - at) / half;
        if (fabs(u) < 1)
            sum += (0.3 + 0.7 * (double)lk_rng_uniform(seed, 2, i)) * 0.5 *
                   (1 + cos(3.14159265358979 * u));
        at += 0.15 + 0.2 * (double)lk_rng_uniform(seed, 3, i);
    }
    return fmin(sum, 1);
}

static void push_frames(lk_scorer *s, const scene *c)
{
    static uint8_t luma[WIDTH * HEIGHT];
    const int64_t n = (int64_t)(c->seconds * c->fps);
    for (int64_t k = 0; k < n; k++) {
        const double open = c->still ? 0.5 : opening(c->seen, (double)k / c->fps);
        for (int y = 0; y < HEIGHT; y++) {
            for (int x = 0; x < WIDTH; x++) {
                const double dx = (x - 80) / 14.0, dy = (y - 84) / (1 + 8 * open);
                const int skin = 150 + ((x / 8 + y / 8) & 1) * 10;
                luma[y * WIDTH + x] = (uint8_t)(dx * dx + dy * dy < 1 ? 40 : skin);
            }
        }
        const lk_frame_view view = {
            .span = {flicks((double)k / c->fps), flicks((double)(k + 1) / c->fps)},
            .index = k,
            .width = WIDTH,
            .height = HEIGHT,
            .sar = {1, 1},
            .luma = luma,
            .luma_stride = WIDTH,
            .luma_full_range = 1};
        CHECK_OK(lk_scorer_frame(s, &view));
    }
}

static float sample_at(const scene *c, int64_t i)
{
    const double t = (double)i / RATE_HZ;
    const float noise = lk_rng_uniform(c->heard, 9, (uint64_t)i) - 0.5f;
    if (c->voice == VOICE_SILENT)
        return 0;
    if (c->voice == VOICE_STRUCK)
        return noise * (float)exp(-fmod(t, 0.4) / 0.05);
    return noise * (float)(0.003 + 0.8 * opening(c->heard, t - c->late_s));
}

static void push_sound(lk_scorer *s, const scene *c)
{
    static float pcm[PCM_RUN];
    const int64_t n = (int64_t)(c->seconds * RATE_HZ);
    for (int64_t from = 0; from + PCM_RUN <= n; from += PCM_RUN) {
        for (int64_t i = 0; i < PCM_RUN; i++)
            pcm[i] = sample_at(c, from + i);
        const float *const channels[] = {pcm};
        const lk_pcm_view view = {
            .span = {flicks((double)from / RATE_HZ), flicks((double)(from + PCM_RUN) / RATE_HZ)},
            .n_samples = PCM_RUN,
            .n_channels = 1,
            .rate_hz = RATE_HZ,
            .channel = channels};
        CHECK_OK(lk_scorer_pcm(s, &view));
    }
}

static answer measure(scene c)
{
    const char *const choices[] = {"mouth"};
    lk_scorer *s = NULL;
    answer a;
    memset(&a, 0, sizeof a);
    const lk_sink sink = {.user = &a,
                          .score = take_score,
                          .abstain = take_abstention,
                          .curve = drop_curve,
                          .marks = drop_marks,
                          .lag_curve = drop_lag_curve};
    CHECK_OK(lk_scorer_create(&s, choices, 1, NULL, 3));
    push_frames(s, &c);
    push_sound(s, &c);
    CHECK_OK(lk_scorer_finish(s, &sink));
    lk_scorer_free(&s);
    return a;
}

static void assert_abstains(scene c, const char *because)
{
    const answer a = measure(c);
    assert_false(a.answered);
    if (!strstr(a.reason, because))
        fail_msg("abstained with \"%s\", expected \"%s\"", a.reason, because);
}

static void test_in_time(void **state)
{
    (void)state;
    const answer a = measure((scene){.seconds = 8, .fps = 25, .seen = 1, .heard = 1});
    if (!a.answered)
        fail_msg("no answer: %s", a.reason);
    CHECK_CLOSE(a.offset_ms, 0, 15);
    assert_true(a.lo <= a.offset_ms && a.offset_ms <= a.hi);
}

static void test_shifted(void **state)
{
    (void)state;
    static const double late_ms[] = {-310, -85, 47, 280};
    for (size_t i = 0; i < sizeof late_ms / sizeof late_ms[0]; i++) {
        const answer a = measure((scene){.seconds = 8,
                                         .fps = i & 1 ? 30 : 25,
                                         .late_s = 1e-3 * late_ms[i],
                                         .seen = 2 + i,
                                         .heard = 2 + i});
        if (!a.answered)
            fail_msg("no answer at %+.0f ms: %s", late_ms[i], a.reason);
        CHECK_CLOSE(a.offset_ms, late_ms[i], 15);
    }
}

static void test_unrelated_voice(void **state)
{
    (void)state;
    int answered = 0;
    for (uint64_t i = 0; i < 6; i++)
        answered +=
            measure((scene){.seconds = 8, .fps = 25, .seen = 20 + i, .heard = 40 + i}).answered;
    assert_int_equal(answered, 0);
}

static void test_nothing_to_compare(void **state)
{
    (void)state;
    assert_abstains((scene){.seconds = 4, .fps = 25, .seen = 1, .voice = VOICE_SILENT}, "silent");
    assert_abstains((scene){.seconds = 4, .fps = 25, .heard = 1, .still = true}, "still picture");
    assert_abstains((scene){.seconds = 4, .fps = 25, .seen = 1, .voice = VOICE_STRUCK}, "struck");
    assert_abstains((scene){.seconds = 1.2, .fps = 30, .seen = 1, .heard = 1}, "1.5 s");
    assert_abstains((scene){.seconds = 0.8, .fps = 25, .seen = 1, .heard = 1}, "25 frames");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_time),
        cmocka_unit_test(test_shifted),
        cmocka_unit_test(test_unrelated_voice),
        cmocka_unit_test(test_nothing_to_compare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
