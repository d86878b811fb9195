/* beat.c - do movements fall on the beat, and how late is the sound if they do.
 *
 * Music beats come from align/beat_track.h, motion beats from align/motion_beats.h; both are kept
 * where sound and picture overlap.
 *
 * Alignment.  bas_music and bas_motion are the two directions of the Beat Alignment Score
 * (align/beat_scores.h) in seconds, sigma 50 ms.  Both are far above zero for unrelated clips, the
 * more so the faster the music; so each is given with the mean of the same score over circular
 * shifts of this clip's music beats, and the share of shifts that do as well.
 *
 * Offset.  A motion beat at t in the music interval [b, b') has the phase u = (t - b) / (b' - b).
 * With z_h = mean exp(2 pi i h u), h = 1 tells whether motion beats gather around one place within
 * the beat, h = 2 whether they gather around two, half a beat apart (moves on the off-beat too).
 * The stronger of both by Rayleigh's test, p = exp(sqrt(1 + 4 n + 4 n^2 (1 - |z|^2)) - 1 - 2 n),
 * must be unlikely.  The offset is the median of music minus motion around that direction, so it
 * is known only modulo the beat (h = 1) or half of it (h = 2): beat.offset_modulus_ms.  When it
 * differs between the two halves of the clip, two tempi only happen to be close: no offset.
 *
 * Sources      see the headers; Rayleigh's test: Zar, Biostatistical Analysis, 5th ed., eq. 27.4.
 */
#include "align/align.h"
#include "align/beat_scores.h"
#include "align/beat_track.h"
#include "align/metrics.h"
#include "align/motion_beats.h"
#include "align/stats.h"

#include "kernels/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_BEATS  4
#define FRAMES_PER_S 60.0 /* of the frame-based definitions */
#define FRAME_SIGMA  3.0
#define DEVIATION_S  0.07
#define MOST_SLIP    0.12 /* of the modulus, between the halves of a clip */
#define N_LAGS       201  /* of the alignment over lag, 5 ms apart */
#define LAG_STEP_S   0.005

typedef struct beat_state {
    double sigma_ms;
    double trim_s;
    const char *definition;
    double trust_p;
    int n_null;
    int n_bootstrap;
} beat_state;

static const lk_option options[] = {
    LK_OPT_DOUBLE(beat_state, sigma_ms, 50, 5, 500, "width of the alignment kernel"),
    LK_OPT_DOUBLE(beat_state, trim_s, LK_BEAT_TRIM_S, 0, 60,
                  "leave out beats before this time against a reference"),
    LK_OPT_CHOICE(beat_state, definition, "mir_eval", "mir_eval|madmom",
                  "whose reading of the measures against a reference"),
    LK_OPT_DOUBLE(beat_state, trust_p, 0.01, 0.0001, 1,
                  "give an offset only when chance is this unlikely"),
    LK_OPT_INT(beat_state, n_null, 300, 20, 10000, "shifted sound tracks to compare with"),
    LK_OPT_INT(beat_state, n_bootstrap, 300, 20, 10000, "resamples behind the intervals"),
    LK_OPT_END};

/* The first needs beats, the next six motion beats besides, the rest a reference. */
static const char *const score_names[] = {"beat.tempo_bpm",
                                          "beat.bas_music",
                                          "beat.bas_motion",
                                          "beat.bas_bailando",
                                          "beat.bas_aist",
                                          "beat.offset_ms",
                                          "beat.offset_modulus_ms",
                                          "beat.f_measure",
                                          "beat.cemgil",
                                          "beat.cemgil_best",
                                          "beat.goto",
                                          "beat.p_score",
                                          "beat.cml_c",
                                          "beat.cml_t",
                                          "beat.aml_c",
                                          "beat.aml_t",
                                          "beat.information_gain",
                                          "beat.downbeat_f_measure",
                                          "beat.deviation_ms",
                                          "beat.coverage",
                                          "beat.hit",
                                          "beat.coverage_f1",
                                          NULL};

typedef struct series {
    double *t; /* seconds, rising */
    int64_t n;
} series;

typedef struct clip {
    const beat_state *opt;
    uint64_t seed;
    series music, downbeats, motion; /* as found */
    series music_in, motion_in;      /* where sound and picture overlap */
    double from, to;                 /* the overlap */
    lk_beat_list beats;
} clip;

static lk_score plain(const char *name, const char *unit, double value, int64_t n)
{
    const lk_score s = {name, unit, value, NAN, NAN, NAN, NAN, n};
    return s;
}

static lk_status to_seconds(const lk_flick *time, int64_t n, series *s)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW_ARRAY(&s->t, n));
    for (int64_t i = 0; i < n; i++)
        s->t[i] = lk_flick_to_s(time[i]);
    s->n = n;
done:
    return st;
}

static series within(series s, double from, double to)
{
    while (s.n > 0 && s.t[0] < from) {
        s.t++;
        s.n--;
    }
    while (s.n > 0 && s.t[s.n - 1] >= to)
        s.n--;
    return s;
}

/* ---- alignment ------------------------------------------------------------------------------- */

static int by_value(const void *p, const void *q)
{
    const double a = *(const double *)p, b = *(const double *)q;
    return (a > b) - (a < b);
}

/* Score, interval, chance and p of one direction; the music is what the null moves. */
static lk_status align(const clip *c, bool over_music, const char *name, uint64_t stream,
                       const lk_sink *sink)
{
    lk_status st = LK_OK;
    double *each = NULL, *null = NULL, *moved = NULL;
    const series from = over_music ? c->music_in : c->motion_in;
    const series to = over_music ? c->motion_in : c->music_in;
    const double sigma = c->opt->sigma_ms / 1e3, period = c->to - c->from;
    lk_score s = plain(name, "1", 0, from.n);
    LK_TRY(LK_NEW_ARRAY(&each, from.n));
    LK_TRY(LK_NEW_ARRAY(&null, c->opt->n_null));
    LK_TRY(LK_NEW_ARRAY(&moved, c->music_in.n));
    for (int64_t i = 0; i < from.n; i++)
        each[i] = lk_beat_alignment(from.t + i, 1, to.t, to.n, sigma);
    s.value = lk_mean(each, from.n);
    LK_TRY(lk_bootstrap_mean(each, from.n, c->opt->n_bootstrap, c->seed, stream, &s.lo, &s.hi));
    for (int r = 0; r < c->opt->n_null; r++) {
        const double shift = lk_null_shift(c->seed, stream + 1, r, c->opt->n_null, period, 0);
        for (int64_t i = 0; i < c->music_in.n; i++)
            moved[i] = c->from + fmod(c->music_in.t[i] - c->from + shift, period);
        qsort(moved, (size_t)c->music_in.n, sizeof *moved, by_value);
        null[r] = over_music ? lk_beat_alignment(moved, c->music_in.n, to.t, to.n, sigma)
                             : lk_beat_alignment(from.t, from.n, moved, c->music_in.n, sigma);
    }
    s.chance = lk_mean(null, c->opt->n_null);
    s.p = lk_null_p(s.value, null, c->opt->n_null);
    LK_TRY(sink->score(sink->user, &s));
done:
    lk_free(each);
    lk_free(null);
    lk_free(moved);
    return st;
}

/* The frame-based forms of the papers on our speed signal: times rounded to 1/60 s. */
static lk_status align_frames(const clip *c, const lk_video_features *v, const lk_sink *sink)
{
    lk_status st = LK_OK;
    double *music = NULL, *motion = NULL;
    int64_t n = 0;
    const double start = lk_flick_to_s(v->spans[0].start);
    LK_TRY(LK_NEW_ARRAY(&music, c->music_in.n));
    for (int64_t i = 0; i < c->music_in.n; i++)
        music[i] = round((c->music_in.t[i] - start) * FRAMES_PER_S);
    LK_TRY(lk_motion_minima_60(v, 5, 1, &motion, &n));
    lk_score s =
        plain("beat.bas_bailando", "1",
              lk_beat_alignment(music, c->music_in.n, motion, n, FRAME_SIGMA), c->music_in.n);
    LK_TRY(sink->score(sink->user, &s));
    lk_free(motion);
    motion = NULL;
    LK_TRY(lk_motion_minima_60(v, 0, 10, &motion, &n));
    s = plain("beat.bas_aist", "1", lk_beat_alignment(motion, n, music, c->music_in.n, FRAME_SIGMA),
              n);
    LK_TRY(sink->score(sink->user, &s));
done:
    lk_free(music);
    lk_free(motion);
    return st;
}

/* bas_motion with the sound moved by each lag: where motion beats find the music. */
static lk_status align_over_lag(const clip *c, const lk_sink *sink)
{
    lk_status st = LK_OK;
    double lag_ms[N_LAGS], *moved = NULL;
    float value[N_LAGS];
    LK_TRY(LK_NEW_ARRAY(&moved, c->music_in.n));
    for (int l = 0; l < N_LAGS; l++) {
        const double lag = (l - N_LAGS / 2) * LAG_STEP_S;
        for (int64_t i = 0; i < c->music_in.n; i++)
            moved[i] = c->music_in.t[i] - lag;
        lag_ms[l] = 1e3 * lag;
        value[l] = (float)lk_beat_alignment(c->motion_in.t, c->motion_in.n, moved, c->music_in.n,
                                            c->opt->sigma_ms / 1e3);
    }
    LK_TRY(sink->lag_curve(sink->user, "beat.alignment", N_LAGS, lag_ms, value));
done:
    lk_free(moved);
    return st;
}

/* ---- offset ---------------------------------------------------------------------------------- */

typedef struct phases {
    double *u;      /* motion beat within its music interval, [0, 1) */
    double *period; /* length of that interval */
    double *residual;
    int64_t n;
} phases;

static void find_phases(const clip *c, phases *p)
{
    for (int64_t i = 0, j = 0; i < c->motion.n; i++) {
        const double t = c->motion.t[i];
        while (j + 1 < c->music.n && c->music.t[j + 1] <= t)
            j++;
        if (j + 1 >= c->music.n || t < c->music.t[j])
            continue;
        p->period[p->n] = c->music.t[j + 1] - c->music.t[j];
        p->u[p->n] = (t - c->music.t[j]) / p->period[p->n];
        p->n++;
    }
}

/* Rayleigh's p of harmonic h; *direction in turns of the harmonic. */
static double gather(const phases *p, int h, double *direction)
{
    double x = 0, y = 0;
    const double n = (double)p->n;
    for (int64_t i = 0; i < p->n; i++) {
        x += cos(2 * M_PI * h * p->u[i]) / n;
        y += sin(2 * M_PI * h * p->u[i]) / n;
    }
    *direction = atan2(y, x) / (2 * M_PI);
    return exp(sqrt(1 + 4 * n + 4 * n * n * fmax(0, 1 - x * x - y * y)) - 1 - 2 * n);
}

/* Two rhythms of nearly the same tempo slide past each other: the second half of the clip then
 * shows another offset than the first. */
static double halves_apart(const phases *p)
{
    double first = 0, second = 0;
    const int64_t half = p->n / 2;
    for (int64_t i = 0; i < half; i++) {
        first += p->residual[i] / (double)half;
        second += p->residual[p->n - 1 - i] / (double)half;
    }
    return second - first;
}

static lk_status abstain_from_offset(const char *reason, const lk_sink *sink)
{
    lk_status st = LK_OK;
    LK_TRY(sink->abstain(sink->user, "beat.offset_ms", reason));
    LK_TRY(sink->abstain(sink->user, "beat.offset_modulus_ms", reason));
done:
    return st;
}

static lk_status measure_offset(const clip *c, const lk_sink *sink)
{
    lk_status st = LK_OK;
    phases p = {0};
    char reason[160];
    LK_TRY(LK_NEW_ARRAY(&p.u, c->motion.n));
    LK_TRY(LK_NEW_ARRAY(&p.period, c->motion.n));
    LK_TRY(LK_NEW_ARRAY(&p.residual, c->motion.n));
    find_phases(c, &p);
    if (p.n < LEAST_BEATS) {
        st = abstain_from_offset("fewer than 4 motion beats lie between music beats", sink);
        goto done;
    }
    double one = 0, two = 0;
    const double p_one = gather(&p, 1, &one), p_two = gather(&p, 2, &two);
    const int h = p_two < p_one ? 2 : 1;
    const double p_best = fmin(1, 2 * fmin(p_one, p_two)); /* two looks */
    if (p_best > c->opt->trust_p) {
        snprintf(reason, sizeof reason,
                 "motion beats keep no fixed place within the music's beat (p = %.2g)", p_best);
        st = abstain_from_offset(reason, sink);
        goto done;
    }
    const double place = (h == 1 ? one : two) / h; /* motion after the beat, in beats */
    for (int64_t i = 0; i < p.n; i++) {
        double off = (p.u[i] - place) * h;
        off = (off - round(off)) / h;
        p.residual[i] = -1e3 * p.period[i] * (off + place);
    }
    const double modulus = 1e3 * lk_median(p.period, p.n) / h, slip = halves_apart(&p);
    if (fabs(slip) > MOST_SLIP * modulus) {
        snprintf(
            reason, sizeof reason,
            "the rhythm of the motion drifts against the music's (%+.0f ms between the halves)",
            slip);
        st = abstain_from_offset(reason, sink);
        goto done;
    }
    lk_score s = plain("beat.offset_ms", "ms", 0, p.n);
    s.p = p_best;
    LK_TRY(lk_bootstrap_median(p.residual, p.n, c->opt->n_bootstrap, c->seed, 40, &s.lo, &s.hi));
    s.value = lk_median(p.residual, p.n);
    LK_TRY(sink->score(sink->user, &s));
    s = plain("beat.offset_modulus_ms", "ms", modulus, p.n);
    LK_TRY(sink->score(sink->user, &s));
done:
    lk_free(p.u);
    lk_free(p.period);
    lk_free(p.residual);
    return st;
}

/* ---- reference ------------------------------------------------------------------------------- */

/* Signed distance of found beats from the reference's where both agree that there is one. */
static lk_status deviation(const clip *c, series truth, const lk_sink *sink)
{
    lk_status st = LK_OK;
    double *d = NULL;
    int64_t n = 0;
    lk_score s = plain("beat.deviation_ms", "ms", 0, 0);
    LK_TRY(LK_NEW_ARRAY(&d, truth.n));
    for (int64_t i = 0, j = 0; i < truth.n && j < c->music.n;) {
        const double gap = c->music.t[j] - truth.t[i];
        if (fabs(gap) <= DEVIATION_S)
            d[n++] = 1e3 * gap;
        i += gap >= -DEVIATION_S;
        j += gap <= DEVIATION_S;
    }
    if (n == 0) {
        st = sink->abstain(sink->user, s.name, "no beat lies within 70 ms of a reference beat");
        goto done;
    }
    LK_TRY(lk_bootstrap_median(d, n, c->opt->n_bootstrap, c->seed, 50, &s.lo, &s.hi));
    s.n = n;
    s.value = lk_median(d, n);
    LK_TRY(sink->score(sink->user, &s));
done:
    lk_free(d);
    return st;
}

static lk_status against_beats(const clip *c, const lk_reference *r, const lk_sink *sink)
{
    lk_status st = LK_OK;
    series truth = {0}, bars = {0};
    lk_beat_scores b;
    LK_TRY(to_seconds(r->beats, r->n_beats, &truth));
    LK_TRY(to_seconds(r->downbeats, r->n_downbeats, &bars));
    if (truth.n == 0 || truth.t[truth.n - 1] < c->opt->trim_s) {
        LK_TRY(sink->abstain(sink->user, "beat.f_measure",
                             "every reference beat lies before trim_s; set beat:trim_s=0"));
        goto done;
    }
    const double trim = c->opt->trim_s;
    const bool madmom = strcmp(c->opt->definition, "madmom") == 0;
    LK_TRY((madmom ? lk_beat_scores_madmom : lk_beat_scores_find)(truth.t, truth.n, c->music.t,
                                                                  c->music.n, trim, &b));
    const struct {
        const char *name;
        double value;
    } rows[] = {{"beat.f_measure", b.f_measure},
                {"beat.cemgil", b.cemgil},
                {"beat.cemgil_best", b.cemgil_best},
                {"beat.goto", b.goto_score},
                {"beat.p_score", b.p_score},
                {"beat.cml_c", b.cml_c},
                {"beat.cml_t", b.cml_t},
                {"beat.aml_c", b.aml_c},
                {"beat.aml_t", b.aml_t},
                {"beat.information_gain", b.information_gain}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const bool bits = madmom && strcmp(rows[i].name, "beat.information_gain") == 0;
        const lk_score s = plain(rows[i].name, bits ? "bit" : "1", rows[i].value, truth.n);
        LK_TRY(sink->score(sink->user, &s));
    }
    LK_TRY(deviation(c, truth, sink));
    if (bars.n > 0) {
        const series a = within(bars, trim, INFINITY), e = within(c->downbeats, trim, INFINITY);
        const lk_score s = plain("beat.downbeat_f_measure", "1",
                                 lk_match_f(a.t, a.n, e.t, e.n, DEVIATION_S, NULL, NULL), a.n);
        LK_TRY(sink->score(sink->user, &s));
    }
done:
    lk_free(truth.t);
    lk_free(bars.t);
    return st;
}

/* Seconds since the start of its own sound. */
static lk_status onset_seconds(const lk_audio_features *a, series *s)
{
    lk_status st = LK_OK;
    lk_onset_list list = {0};
    LK_TRY(lk_onsets_find(a, &list));
    for (int64_t i = 0; i < list.n; i++)
        list.time[i] -= a->span.start;
    LK_TRY(to_seconds(list.time, list.n, s));
done:
    lk_onsets_clear(&list);
    return st;
}

static lk_status against_track(const lk_features *f, const lk_features *track, const lk_sink *sink)
{
    lk_status st = LK_OK;
    series mine = {0}, theirs = {0};
    double coverage = 0, hit = 0;
    LK_TRY(onset_seconds(&f->audio, &mine));
    LK_TRY(onset_seconds(&track->audio, &theirs));
    const series a = within(theirs, 0, INFINITY), b = within(mine, 0, INFINITY);
    lk_beat_coverage(a.t, a.n, b.t, b.n, &coverage, &hit);
    lk_score s = plain("beat.coverage", "1", coverage, b.n);
    LK_TRY(sink->score(sink->user, &s));
    s = plain("beat.hit", "1", hit, a.n);
    LK_TRY(sink->score(sink->user, &s));
    s = plain("beat.coverage_f1", "1",
              coverage + hit > 0 ? 2 * coverage * hit / (coverage + hit) : 0, a.n);
    LK_TRY(sink->score(sink->user, &s));
done:
    lk_free(mine.t);
    lk_free(theirs.t);
    return st;
}

/* ---- the metric ------------------------------------------------------------------------------ */

static lk_status emit_tempo(const clip *c, const lk_sink *sink)
{
    lk_status st = LK_OK;
    double *bpm = NULL;
    lk_score s = plain("beat.tempo_bpm", "bpm", c->beats.tempo_bpm, c->music.n);
    const int64_t over = c->music.n > 16 ? 8 : c->music.n / 2, n = c->music.n - over;
    LK_TRY(LK_NEW_ARRAY(&bpm, n));
    for (int64_t i = 0; i < n; i++)
        bpm[i] = 60.0 * (double)over / (c->music.t[i + over] - c->music.t[i]);
    LK_TRY(lk_bootstrap_median(bpm, n, c->opt->n_bootstrap, c->seed, 10, &s.lo, &s.hi));
    LK_TRY(sink->score(sink->user, &s));
done:
    lk_free(bpm);
    return st;
}

static lk_status emit_marks(const clip *c, const lk_features *f, const lk_sink *sink)
{
    lk_status st = LK_OK;
    double *t = NULL;
    const lk_audio_features *a = &f->audio;
    LK_TRY(sink->marks(sink->user, "beat.beats", c->music.n, c->music.t));
    LK_TRY(sink->marks(sink->user, "beat.downbeats", c->downbeats.n, c->downbeats.t));
    if (f->video.present)
        LK_TRY(sink->marks(sink->user, "beat.motion_beats", c->motion.n, c->motion.t));
    LK_TRY(LK_NEW_ARRAY(&t, a->n));
    for (int64_t k = 0; k < a->n; k++)
        t[k] = lk_flick_to_s(a->t0 + k * a->step);
    LK_TRY(sink->curve(sink->user, "beat.onset_strength", "1", a->n, t, a->onset));
done:
    lk_free(t);
    return st;
}

static lk_status abstain(const char *const *names, int n, const char *reason, const lk_sink *sink)
{
    lk_status st = LK_OK;
    for (int i = 0; i < n; i++)
        LK_TRY(sink->abstain(sink->user, names[i], reason));
done:
    return st;
}

static lk_status find_beats(clip *c, const lk_features *f)
{
    lk_status st = LK_OK;
    lk_onset_list motion = {0};
    int64_t n = 0;
    LK_TRY(lk_beats_find(&f->audio, &c->beats));
    LK_TRY(to_seconds(c->beats.time, c->beats.n, &c->music));
    LK_TRY(LK_NEW_ARRAY(&c->downbeats.t, c->beats.n));
    for (int64_t i = 0; i < c->beats.n; i++) {
        if (c->beats.bar_position[i] == 1)
            c->downbeats.t[n++] = c->music.t[i];
    }
    c->downbeats.n = n;
    if (!f->video.present)
        goto done;
    const lk_video_features *v = &f->video;
    LK_TRY(lk_motion_beats_find(v, &motion));
    LK_TRY(to_seconds(motion.time, motion.n, &c->motion));
    c->from = lk_flick_to_s(f->audio.span.start > v->spans[0].start ? f->audio.span.start
                                                                    : v->spans[0].start);
    c->to = lk_flick_to_s(f->audio.span.end < v->spans[v->n - 1].end ? f->audio.span.end
                                                                     : v->spans[v->n - 1].end);
    c->music_in = within(c->music, c->from, c->to);
    c->motion_in = within(c->motion, c->from, c->to);
done:
    lk_onsets_clear(&motion);
    return st;
}

static lk_status score_motion(const clip *c, const lk_features *f, const lk_sink *sink)
{
    lk_status st = LK_OK;
    const char *reason = NULL;
    if (!f->video.present)
        reason = "the clip has no picture";
    else if (c->music_in.n < LEAST_BEATS)
        reason = "fewer than 4 beats lie where sound and picture overlap";
    else if (c->motion_in.n < LEAST_BEATS)
        reason = "no rhythmic motion found (fewer than 4 turns or stops of movement)";
    if (reason)
        return abstain(score_names + 1, 6, reason, sink);
    LK_TRY(align(c, true, "beat.bas_music", 20, sink));
    LK_TRY(align(c, false, "beat.bas_motion", 30, sink));
    LK_TRY(align_frames(c, &f->video, sink));
    LK_TRY(align_over_lag(c, sink));
    LK_TRY(measure_offset(c, sink));
done:
    return st;
}

static lk_status finish(void *state, const lk_features *f, const lk_reference *reference,
                        const lk_sink *sink)
{
    lk_status st = LK_OK;
    clip c = {.opt = state, .seed = f->seed};
    char reason[160];
    LK_TRY(find_beats(&c, f));
    LK_TRY(emit_marks(&c, f, sink));
    if (c.beats.n == 0) {
        if (lk_flick_to_s(lk_span_length(f->audio.span)) < 3)
            snprintf(reason, sizeof reason, "the sound is shorter than 3 s");
        else
            snprintf(reason, sizeof reason,
                     "no steady pulse in the sound (clarity %.2f, %.2f needed)", c.beats.clarity,
                     c.beats.least_clarity);
        LK_TRY(abstain(score_names, 7, reason, sink));
    } else {
        LK_TRY(emit_tempo(&c, sink));
        LK_TRY(score_motion(&c, f, sink));
    }
    if (reference && reference->n_beats > 0)
        LK_TRY(against_beats(&c, reference, sink));
    if (reference && reference->track && reference->track->audio.present)
        LK_TRY(against_track(f, reference->track, sink));
done:
    lk_beats_clear(&c.beats);
    lk_free(c.music.t);
    lk_free(c.downbeats.t);
    lk_free(c.motion.t);
    return st;
}

const lk_metric lk_metric_beat = {
    .name = "beat",
    .summary = "tempo, beats, and how closely movements fall on them",
    .source = "AIST++ (ICCV 2021), Bailando (CVPR 2022), LORIS (ICML 2023), mir_eval; offset ours",
    .cost = "the shared features and 1 ms a second",
    .scores = score_names,
    .options = options,
    .state_bytes = sizeof(beat_state),
    .needs = LK_NEED_AUDIO | LK_NEED_ONSET | LK_NEED_MOTION,
    .by_default = true,
    .finish = finish,
};
