/* test_beat_metric.c - motion beats and the beat metric on movement and music with known beats. */
#include "tests/check.h"

#include "align/align.h"
#include "align/features.h"
#include "align/metrics.h"
#include "align/motion_beats.h"
#include "kernels/mem.h"
#include "kernels/rng.h"

#define RATE      24000
#define SECONDS   14
#define MAX_FRAME 1024

/* ---- movement -------------------------------------------------------------------------------- */

typedef struct movement {
    lk_span spans[MAX_FRAME];
    float speed[MAX_FRAME], change[MAX_FRAME], impact[MAX_FRAME];
    uint8_t cut[MAX_FRAME];
    lk_video_features f;
} movement;

/* Distance covered until t by a limb that turns at every `turns` (rising, n of them): between two
 * turns the speed is half a sine of unit mean. */
static double path(double t, const double *turns, int n)
{
    double s = 0;
    for (int i = 0; i + 1 < n && turns[i] < t; i++) {
        const double length = turns[i + 1] - turns[i], u = fmin(1, (t - turns[i]) / length);
        s += length * 0.5 * (1 - cos(M_PI * u));
    }
    return s;
}

static void move(movement *m, double fps, const double *turns, int n_turns, bool irregular)
{
    memset(m, 0, sizeof *m);
    const int n = (int)(SECONDS * fps);
    double t[MAX_FRAME + 1];
    assert_true(n < MAX_FRAME);
    for (int k = 0; k <= n; k++) {
        const double wobble = irregular ? 0.3 * (double)lk_rng_uniform(3, 3, (uint64_t)k) : 0;
        t[k] = (k + wobble) / fps;
    }
    for (int k = 0; k < n; k++) {
        m->spans[k] = (lk_span){lk_flick_from_s(t[k]), lk_flick_from_s(t[k + 1])};
        if (k == 0)
            continue;
        const double way = path(t[k], turns, n_turns) - path(t[k - 1], turns, n_turns);
        m->speed[k] = (float)(0.3 * way / (t[k] - t[k - 1]));
        m->change[k] = (float)(0.3 + 40 * way); /* grey levels; the first part is noise */
    }
    m->f = (lk_video_features){.present = true,
                               .n = n,
                               .spans = m->spans,
                               .speed = m->speed,
                               .change = m->change,
                               .impact = m->impact,
                               .cut = m->cut};
}

static int steady_turns(double *turns, double period)
{
    int n = 0;
    for (double t = -0.31; t < SECONDS + 2; t += period)
        turns[n++] = t;
    return n;
}

static int random_turns(double *turns, uint64_t seed)
{
    int n = 0;
    for (double t = -0.31; t < SECONDS + 2; t += lk_rng_range(seed, 5, (uint64_t)n, 0.3, 0.9))
        turns[n++] = t;
    return n;
}

static void turns_are_found_between_frames(void **state)
{
    (void)state;
    static movement m;
    static const double fps[] = {24, 25, 30, 60};
    for (int c = 0; c < 16; c++) {
        double turns[200], bias = 0, worst = 0;
        const int n = c % 2 ? random_turns(turns, (uint64_t)c) : steady_turns(turns, 0.437);
        move(&m, fps[c / 4], turns, n, c % 4 >= 2);
        lk_onset_list list;
        CHECK_OK(lk_motion_beats_find(&m.f, &list));
        int seen = 0, expected = 0;
        for (int i = 0; i < n; i++) {
            if (turns[i] < 0.3 || turns[i] > SECONDS - 0.3)
                continue;
            expected++;
            double best = 1;
            for (int64_t j = 0; j < list.n; j++) {
                const double d = lk_flick_to_s(list.time[j]) - turns[i];
                best = fabs(d) < fabs(best) ? d : best;
            }
            if (fabs(best) < 0.04) {
                seen++;
                bias += 1e3 * best;
                worst = fmax(worst, 1e3 * fabs(best));
            }
        }
        printf("%2.0f fps%s: %d of %d turns, %d found, bias %+.2f ms, worst %.1f ms\n", fps[c / 4],
               c % 4 >= 2 ? " irregular" : "", seen, expected, (int)list.n, bias / seen, worst);
        assert_true(seen >= expected - 1 && list.n <= expected + 3);
        assert_true(fabs(bias / seen) < (c % 2 ? 2.5 : 1.0) && worst < (c % 2 ? 30 : 5));
        lk_onsets_clear(&list);
    }
}

static void stops_count_as_impacts(void **state)
{
    (void)state;
    static movement m;
    memset(&m, 0, sizeof m);
    move(&m, 25, (const double[]){0, 1}, 2, false);
    double truth[20];
    int n = 0;
    for (double t = 0.513; t < SECONDS - 0.5; t += 0.7)
        truth[n++] = t;
    for (int k = 1; k < m.f.n; k++) { /* rises for 0.35 s, stops dead, rests for as long */
        double speed = 0;
        for (int i = 0; i < n; i++) {
            const double to = fmin(k / 25.0, truth[i]),
                         from = fmax((k - 1) / 25.0, truth[i] - 0.35);
            speed += to > from ? 25 * (to - from) * 0.2 : 0;
            const double at = truth[i] * 25 - k; /* the pulse is split as its centroid demands */
            m.impact[k] += (float)(fabs(at) < 1 ? 0.2 * (1 - fabs(at)) : 0);
        }
        m.speed[k] = (float)speed;
        m.change[k] = (float)(0.3 + 10 * speed);
    }
    lk_onset_list list;
    CHECK_OK(lk_motion_beats_find(&m.f, &list));
    for (int i = 0; i < n; i++) {
        double best = 1;
        for (int64_t j = 0; j < list.n; j++)
            best = fmin(best, fabs(lk_flick_to_s(list.time[j]) - truth[i]));
        CHECK_CLOSE(best, 0, 0.003);
    }
    lk_onsets_clear(&list);
}

static void still_and_steady_pictures_have_no_beats(void **state)
{
    (void)state;
    static movement m;
    for (int c = 0; c < 3; c++) {
        move(&m, 30, NULL, 0, false);
        for (int k = 1; k < m.f.n; k++) { /* nothing at all, steady, noise */
            const double noise = (double)lk_rng_normal(1, 1, (uint64_t)k);
            m.change[k] = (float)(c == 0 ? 0 : c == 1 ? 3 : 1.2 + 0.1 * noise);
        }
        lk_onset_list list;
        CHECK_OK(lk_motion_beats_find(&m.f, &list));
        assert_int_equal(list.n, 0);
        lk_onsets_clear(&list);
    }
}

static void frame_minima_follow_the_papers(void **state)
{
    (void)state;
    static movement m;
    double turns[200];
    const int n = steady_turns(turns, 0.5);
    move(&m, 60, turns, n, false);
    double *frames = NULL;
    int64_t found = 0;
    CHECK_OK(lk_motion_minima_60(&m.f, 0, 10, &frames, &found));
    for (int64_t i = 0; i < found; i++) { /* turns at 0.19 + j / 2 s, frames 11.4 + 30 j */
        const double d = frames[i] - 11.4;
        assert_true(fabs(d - 30 * round(d / 30)) <= 1);
    }
    assert_in_range(found, 26, 28);
    lk_free(frames);
    CHECK_OK(lk_motion_minima_60(&m.f, 5, 1, &frames, &found));
    assert_in_range(found, 26, 28);
    lk_free(frames);
}

/* ---- through the pictures -------------------------------------------------------------------- */

enum { TURN, CLAP, STEP, WIDTH = 320, HEIGHT = 240 };

static double pattern(double x, double y)
{
    return 40 * sin(x * 0.35) * sin(y * 0.41) + 25 * sin(x * 0.13 + 1) * cos(y * 0.17);
}

/* Where a limb is, in [-1, 1], `u` periods after a beat: swings that turn on the beat, that speed
 * up and stop dead on the beat, or that arrive on the beat and rest for half a period. */
static double place(int kind, double u)
{
    const double phase = u - floor(u), side = ((int)floor(u) & 1) ? 1 : -1;
    if (kind == TURN)
        return -cos(M_PI * u);
    if (kind == CLAP)
        return side * (1 - 2 * phase * phase * phase);
    return side * (1 - 2 * fmax(0, (phase - 0.5) / 0.5));
}

static void draw(uint8_t *luma, int kind, double u)
{
    for (int i = 0; i < WIDTH * HEIGHT; i++)
        luma[i] = (uint8_t)(110 + 0.5 * pattern(0.7 * (i % WIDTH) + 100, 0.6 * (i / WIDTH)));
    for (int limb = 0; limb < 2; limb++) {
        const double cx = limb ? 0.7 * WIDTH : 0.3 * WIDTH + 45 * place(kind, u);
        const double cy = limb ? 0.5 * HEIGHT + 50 * place(kind, u) : 0.5 * HEIGHT;
        for (int y = 0; y < HEIGHT; y++) {
            for (int x = 0; x < WIDTH; x++) {
                const double dx = x - cx, dy = y - cy, in = 36 - sqrt(dx * dx + dy * dy);
                uint8_t *const p = luma + y * WIDTH + x;
                const double cover = fmin(1, fmax(0, in));
                if (in > 0)
                    *p = (uint8_t)(*p * (1 - cover) + cover * (140 + pattern(1.3 * dx, 1.3 * dy)));
            }
        }
    }
}

static void rendered_beats_are_found(void **state)
{
    (void)state;
    static uint8_t luma[WIDTH * HEIGHT];
    for (int c = 0; c < 6; c++) {
        const double fps = c < 3 ? 25 : 30, period = 0.56, first = 0.237;
        const int kind = c % 3;
        lk_video_extractor *e = NULL;
        lk_features f = {0};
        lk_onset_list list;
        CHECK_OK(lk_video_extractor_create(&e, false));
        for (int k = 0; k < 6 * fps; k++) {
            draw(luma, kind, (k / fps - first) / period);
            const lk_frame_view v = {
                .span = {lk_flick_from_s(k / fps), lk_flick_from_s((k + 1) / fps)},
                .index = k,
                .width = WIDTH,
                .height = HEIGHT,
                .sar = {1, 1},
                .luma = luma,
                .luma_stride = WIDTH,
                .luma_full_range = 1};
            CHECK_OK(lk_video_extractor_push(e, &v));
        }
        CHECK_OK(lk_video_extractor_finish(e, &f.video));
        CHECK_OK(lk_motion_beats_find(&f.video, &list));
        double bias = 0, worst = 0;
        for (int64_t i = 0; i < list.n; i++) {
            const double u = (lk_flick_to_s(list.time[i]) - first) / period;
            const double error = 1e3 * period * (u - round(u));
            bias += error / (double)list.n;
            worst = fmax(worst, fabs(error));
        }
        printf("%s at %.0f fps: %d found, bias %+.1f ms, worst %.1f ms\n",
               kind == TURN   ? "turns"
               : kind == CLAP ? "claps"
                              : "steps",
               fps, (int)list.n, bias, worst);
        assert_in_range(list.n, 9, 11);
        assert_true(fabs(bias) < 8 && worst < 30);
        lk_onsets_clear(&list);
        lk_features_clear(&f);
        lk_video_extractor_free(&e);
    }
}

/* ---- the metric ------------------------------------------------------------------------------ */

typedef struct heard {
    lk_score score[64];
    char reason[64][200];
    const char *silent[64];
    int n, n_silent, n_marks;
} heard;

static lk_status on_score(void *user, const lk_score *s)
{
    heard *h = user;
    h->score[h->n++] = *s;
    return LK_OK;
}

static lk_status on_abstain(void *user, const char *name, const char *reason)
{
    heard *h = user;
    snprintf(h->reason[h->n_silent], sizeof h->reason[0], "%s", reason);
    h->silent[h->n_silent++] = name;
    return LK_OK;
}

static lk_status on_curve(void *user, const char *name, const char *unit, int64_t n,
                          const double *t_s, const float *values)
{
    (void)user, (void)name, (void)unit, (void)n, (void)t_s, (void)values;
    return LK_OK;
}

static lk_status on_marks(void *user, const char *name, int64_t n, const double *t_s)
{
    heard *h = user;
    (void)name;
    for (int64_t i = 1; i < n; i++)
        assert_true(t_s[i] > t_s[i - 1]);
    h->n_marks++;
    return LK_OK;
}

static lk_status on_lag(void *user, const char *name, int64_t n, const double *lag_ms,
                        const float *values)
{
    (void)user, (void)name, (void)n, (void)lag_ms, (void)values;
    return LK_OK;
}

static const lk_score *score_of(const heard *h, const char *name)
{
    for (int i = 0; i < h->n; i++) {
        if (strcmp(h->score[i].name, name) == 0)
            return &h->score[i];
    }
    for (int i = 0; i < h->n_silent; i++) {
        if (strcmp(h->silent[i], name) == 0)
            fail_msg("%s: %s", name, h->reason[i]);
    }
    fail_msg("%s is missing", name);
    return NULL;
}

static const char *reason_of(const heard *h, const char *name)
{
    for (int i = 0; i < h->n_silent; i++) {
        if (strcmp(h->silent[i], name) == 0)
            return h->reason[i];
    }
    fail_msg("%s does not abstain", name);
    return NULL;
}

/* Bass and noise on a pulse; `late` in seconds. */
static void play(lk_audio_features *a, double period, double late, bool music)
{
    static float x[SECONDS * RATE];
    memset(x, 0, sizeof x);
    for (int64_t i = 0; !music && i < SECONDS * RATE; i++)
        x[i] = 0.1f * lk_rng_normal(6, 6, (uint64_t)i);
    for (int b = 0; music && b * period < SECONDS + 1; b++) {
        const double at = -0.31 + b * period + late;
        for (int64_t i = at < 0 ? 0 : (int64_t)ceil(at * RATE); i < SECONDS * RATE; i++) {
            const double t = (double)i / RATE - at;
            if (t < 0 || t > 0.3)
                break;
            x[i] += (float)(0.3 * exp(-t / 0.03) * (double)lk_rng_normal(2, 2, (uint64_t)i) +
                            (b % 4 == 0 ? 0.5 * exp(-t / 0.08) * sin(2 * M_PI * 55 * t) : 0));
        }
    }
    const float *const channel[1] = {x};
    const lk_pcm_view v = {.span = {0, SECONDS * LK_FLICKS_PER_S},
                           .n_samples = SECONDS * RATE,
                           .n_channels = 1,
                           .rate_hz = RATE,
                           .channel = channel};
    lk_audio_extractor *e = NULL;
    CHECK_OK(lk_audio_extractor_create(&e, false));
    CHECK_OK(lk_audio_extractor_push(e, &v));
    CHECK_OK(lk_audio_extractor_finish(e, a));
    lk_audio_extractor_free(&e);
}

static void score(const lk_audio_features *a, const lk_video_features *v, const char *settings,
                  const lk_reference *reference, heard *h)
{
    const lk_metric *m = lk_metric_find("beat");
    assert_non_null(m);
    void *options = NULL;
    CHECK_OK(lk_alloc_(1, m->state_bytes, &options));
    lk_option_defaults(m->options, options);
    if (settings)
        CHECK_OK(lk_option_set(m->options, options, "trim_s", settings));
    lk_features f = {.seed = 1, .audio = *a};
    if (v)
        f.video = *v;
    memset(h, 0, sizeof *h);
    const lk_sink sink = {.user = h,
                          .score = on_score,
                          .abstain = on_abstain,
                          .curve = on_curve,
                          .marks = on_marks,
                          .lag_curve = on_lag};
    CHECK_OK(m->finish(options, &f, reference, &sink));
    lk_free(options);
    for (int i = 0; i < h->n + h->n_silent; i++) { /* every name is announced */
        const char *const name = i < h->n ? h->score[i].name : h->silent[i - h->n];
        int known = 0;
        for (const char *const *s = m->scores; *s; s++)
            known += strcmp(*s, name) == 0;
        assert_int_equal(known, 1);
    }
}

static void clear(lk_audio_features *a)
{
    lk_features f = {.audio = *a};
    lk_features_clear(&f);
}

static void planted_offsets_come_back(void **state)
{
    (void)state;
    static movement m;
    static heard h;
    double turns[200];
    const double late_ms[] = {-170, -60, 0, 25, 110, 200};
    const int n = steady_turns(turns, 0.5);
    move(&m, 25, turns, n, false);
    for (size_t i = 0; i < sizeof late_ms / sizeof late_ms[0]; i++) {
        lk_audio_features a;
        play(&a, 0.5, late_ms[i] / 1e3, true);
        score(&a, &m.f, NULL, NULL, &h);
        const lk_score *offset = score_of(&h, "beat.offset_ms");
        printf("late %+.0f ms: %+.2f [%+.2f, %+.2f] ms\n", late_ms[i], offset->value, offset->lo,
               offset->hi);
        CHECK_CLOSE(offset->value, late_ms[i], 3);
        assert_true(offset->p < 1e-6 && offset->hi - offset->lo < 6);
        CHECK_CLOSE(score_of(&h, "beat.offset_modulus_ms")->value, 500, 3);
        CHECK_CLOSE(score_of(&h, "beat.tempo_bpm")->value, 120, 0.1);
        const double kernel = exp(-0.5 * pow(late_ms[i] / 50, 2));
        CHECK_CLOSE(score_of(&h, "beat.bas_motion")->value, kernel, 0.05);
        CHECK_CLOSE(score_of(&h, "beat.bas_motion")->chance, 0.251, 0.03);
        assert_true(late_ms[i] != 0 || score_of(&h, "beat.bas_music")->value > 0.9);
        assert_true(late_ms[i] != 0 || score_of(&h, "beat.bas_aist")->value > 0.9);
        assert_int_equal(h.n_marks, 3);
        clear(&a);
    }
}

static void double_time_motion_is_known_modulo_half_a_beat(void **state)
{
    (void)state;
    static movement m;
    static heard h;
    double turns[200];
    move(&m, 60, turns, steady_turns(turns, 0.3), false);
    lk_audio_features a;
    play(&a, 0.6, 0.04, true);
    score(&a, &m.f, NULL, NULL, &h);
    CHECK_CLOSE(score_of(&h, "beat.offset_ms")->value, 40, 4);
    CHECK_CLOSE(score_of(&h, "beat.offset_modulus_ms")->value, 300, 3);
    clear(&a);
}

static void unrelated_motion_stays_at_chance(void **state)
{
    (void)state;
    static movement m;
    static heard h;
    lk_audio_features a;
    int spoke = 0, low_p = 0;
    play(&a, 0.5, 0, true);
    for (uint64_t i = 0; i < 30; i++) {
        double turns[200];
        move(&m, 30, turns, random_turns(turns, 50 + i), false);
        score(&a, &m.f, NULL, NULL, &h);
        spoke += h.n_silent == 0;
        const lk_score *s = score_of(&h, "beat.bas_motion");
        CHECK_CLOSE(s->value, s->chance, 0.25);
        low_p += s->p < 0.05;
    }
    assert_true(spoke <= 2 && low_p <= 5);
    clear(&a);
}

/* Motion at 123.5 bpm against music at 120: in phase for a while, by luck. */
static void nearly_equal_tempi_are_not_an_offset(void **state)
{
    (void)state;
    static movement m;
    static heard h;
    double turns[200];
    lk_audio_features a;
    play(&a, 0.5, 0, true);
    move(&m, 30, turns, steady_turns(turns, 0.486), false);
    score(&a, &m.f, NULL, NULL, &h);
    assert_non_null(strstr(reason_of(&h, "beat.offset_ms"), "motion"));
    move(&m, 30, turns, steady_turns(turns, 0.495), false);
    score(&a, &m.f, NULL, NULL, &h);
    assert_non_null(strstr(reason_of(&h, "beat.offset_ms"), "drifts"));
    clear(&a);
}

static void what_is_missing_is_said(void **state)
{
    (void)state;
    static movement m;
    static heard h;
    lk_audio_features a;
    double turns[200];
    play(&a, 0.5, 0, true);
    score(&a, NULL, NULL, NULL, &h);
    assert_non_null(strstr(reason_of(&h, "beat.bas_music"), "no picture"));
    CHECK_CLOSE(score_of(&h, "beat.tempo_bpm")->value, 120, 0.1);
    move(&m, 25, NULL, 0, false);
    score(&a, &m.f, NULL, NULL, &h);
    assert_non_null(strstr(reason_of(&h, "beat.offset_ms"), "no rhythmic motion"));
    clear(&a);
    play(&a, 0.5, 0, false);
    move(&m, 25, turns, steady_turns(turns, 0.5), false);
    score(&a, &m.f, NULL, NULL, &h);
    assert_non_null(strstr(reason_of(&h, "beat.tempo_bpm"), "no steady pulse"));
    assert_non_null(strstr(reason_of(&h, "beat.bas_motion"), "no steady pulse"));
    assert_int_equal(h.n, 0);
    clear(&a);
}

static void references_are_used(void **state)
{
    (void)state;
    static heard h;
    lk_flick beats[40], bars[10];
    lk_audio_features a;
    play(&a, 0.5, 0, true);
    int n = 0, n_bars = 0;
    for (int b = 1; b <= 28; b++) { /* annotated 10 ms early */
        beats[n++] = lk_flick_from_s(-0.31 + b * 0.5 - 0.01);
        if (b % 4 == 0)
            bars[n_bars++] = beats[n - 1];
    }
    lk_features other = {.audio = a};
    lk_reference r = {
        .n_beats = n, .beats = beats, .n_downbeats = n_bars, .downbeats = bars, .track = &other};
    score(&a, NULL, NULL, &r, &h);
    assert_true(score_of(&h, "beat.f_measure")->value > 0.95);
    assert_true(score_of(&h, "beat.cml_t")->value > 0.9);
    assert_true(score_of(&h, "beat.downbeat_f_measure")->value > 0.9);
    CHECK_CLOSE(score_of(&h, "beat.deviation_ms")->value, 10, 1.5);
    CHECK_CLOSE(score_of(&h, "beat.coverage")->value, 1, 0);
    CHECK_CLOSE(score_of(&h, "beat.hit")->value, 1, 0);
    score(&a, NULL, "20", &r, &h);
    assert_non_null(strstr(reason_of(&h, "beat.f_measure"), "trim_s"));
    clear(&a);
}

static void failed_allocations_leak_nothing(void **state)
{
    (void)state;
    static movement m;
    double turns[200];
    move(&m, 25, turns, steady_turns(turns, 0.5), false);
    int fired = 1;
    for (int64_t n = 1; fired; n++) {
        lk_onset_list list = {0};
        double *frames = NULL;
        int64_t found = 0;
        lk_mem_fail_after(n);
        lk_status s = lk_motion_beats_find(&m.f, &list);
        if (s == LK_OK)
            s = lk_motion_minima_60(&m.f, 5, 1, &frames, &found);
        fired = lk_mem_fault_fired();
        lk_mem_fail_after(0);
        assert_int_equal(s, fired ? LK_E_MEMORY : LK_OK);
        lk_onsets_clear(&list);
        lk_free(frames);
    }
    lk_error_clear();
}

static void the_metric_fails_cleanly(void **state)
{
    (void)state;
    static movement m;
    static heard h;
    double turns[200];
    lk_features f = {.seed = 1};
    lk_flick beats[20];
    const lk_metric *const metric = lk_metric_find("beat");
    void *options = NULL;
    play(&f.audio, 0.5, 0.02, true);
    move(&m, 25, turns, steady_turns(turns, 0.5), false);
    f.video = m.f;
    for (int b = 0; b < 20; b++)
        beats[b] = lk_flick_from_s(0.19 + 0.5 * b);
    lk_features other = {.audio = f.audio};
    const lk_reference r = {
        .n_beats = 20, .beats = beats, .n_downbeats = 5, .downbeats = beats, .track = &other};
    const lk_sink sink = {.user = &h,
                          .score = on_score,
                          .abstain = on_abstain,
                          .curve = on_curve,
                          .marks = on_marks,
                          .lag_curve = on_lag};
    CHECK_OK(lk_alloc_(1, metric->state_bytes, &options));
    lk_option_defaults(metric->options, options);
    CHECK_OK(lk_option_set(metric->options, options, "n_null", "20"));
    CHECK_OK(lk_option_set(metric->options, options, "n_bootstrap", "20"));
    int fired = 1;
    for (int64_t n = 1; fired; n++) {
        memset(&h, 0, sizeof h);
        lk_mem_fail_after(n);
        const lk_status s = metric->finish(options, &f, &r, &sink);
        fired = lk_mem_fault_fired();
        lk_mem_fail_after(0);
        assert_int_equal(s, fired ? LK_E_MEMORY : LK_OK);
    }
    assert_true(h.n > 15);
    lk_error_clear();
    lk_free(options);
    clear(&f.audio);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_are_found_between_frames),
        cmocka_unit_test(stops_count_as_impacts),
        cmocka_unit_test(still_and_steady_pictures_have_no_beats),
        cmocka_unit_test(frame_minima_follow_the_papers),
        cmocka_unit_test(rendered_beats_are_found),
        cmocka_unit_test(planted_offsets_come_back),
        cmocka_unit_test(double_time_motion_is_known_modulo_half_a_beat),
        cmocka_unit_test(unrelated_motion_stays_at_chance),
        cmocka_unit_test(nearly_equal_tempi_are_not_an_offset),
        cmocka_unit_test(what_is_missing_is_said),
        cmocka_unit_test(references_are_used),
        cmocka_unit_test(failed_allocations_leak_nothing),
        cmocka_unit_test(the_metric_fails_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
