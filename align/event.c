/* event.c - how late the sound of events is against their picture.
 *
 * Sound gives onsets (align/onsets.h), the picture gives impacts on its frame times
 * (align/picture_pulses.h); align/lag.c finds the lag at which they coincide, its interval, its
 * p-value against unrelated trains, and its course over time.
 *
 * Tolerance bands, as sound minus picture (sound late > 0):
 *   ITU-R BT.1359-1  detectability -45..+125 ms, acceptability -90..+185 ms
 *   EBU R37          -40..+60 ms
 *   ATSC IS-191      -15..+45 ms
 */
#include "align/align.h"
#include "align/features.h"
#include "align/lag.h"
#include "align/metrics.h"
#include "align/onsets.h"
#include "align/picture_pulses.h"
#include "align/stats.h"
#include "align/tolerances.h"

#include "kernels/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct event_state {
    double max_lag_ms;
    double trust_p, trust_ratio;
    double window_s;
    int n_null;
    int n_bootstrap;
} event_state;

static const lk_option options[] = {
    LK_OPT_DOUBLE(event_state, max_lag_ms, 1000, 50, 5000, "search offsets up to this size"),
    LK_OPT_DOUBLE(event_state, trust_p, 0.005, 0.0001, 1,
                  "answer only when chance is this unlikely"),
    LK_OPT_DOUBLE(event_state, trust_ratio, 1.4, 1, 10,
                  "and when sound and picture coincide this much better than by chance"),
    LK_OPT_DOUBLE(event_state, window_s, 10, 2, 120, "window of the offset over time"),
    LK_OPT_INT(event_state, n_null, 600, 20, 10000, "unrelated sound tracks to compare with"),
    LK_OPT_INT(event_state, n_bootstrap, 300, 20, 10000, "resamples behind the intervals"),
    LK_OPT_END};

static const char *const score_names[] = {"event.offset_ms",
                                          "event.coincidence",
                                          "event.drift_ppm",
                                          "event.change_ms",
                                          "event.outside_bt1359_detectable",
                                          "event.outside_bt1359_acceptable",
                                          "event.outside_ebu_r37",
                                          "event.outside_atsc_is191",
                                          "event.onset_f1_20ms",
                                          "event.onset_f1_45ms",
                                          "event.onset_f1_80ms",
                                          "event.onset_f1_125ms",
                                          NULL};

static lk_score blank_score(const char *name, const char *unit, double value, int64_t n)
{
    const lk_score s = {name, unit, value, NAN, NAN, NAN, NAN, n};
    return s;
}

/* ---- pulses ------------------------------------------------------------------------------------
 */

static lk_status sound_pulses(const lk_onset_list *onsets, lk_pulse **out)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW_ARRAY(out, onsets->n + 1));
    for (int64_t i = 0; i < onsets->n; i++)
        (*out)[i] = (lk_pulse){lk_flick_to_s(onsets->time[i]), sqrt((double)onsets->strength[i])};
done:
    return st;
}

/* ---- what leaves -------------------------------------------------------------------------------
 */

static lk_status emit_curves(const lk_features *f, const lk_onset_list *onsets,
                             const lk_pulse *picture, int64_t n_picture, double frame_s,
                             const lk_lag_result *r, const lk_sink *sink)
{
    lk_status st = LK_OK;
    double *t = NULL;
    const lk_video_features *v = &f->video;
    int64_t most = v->n > onsets->n ? v->n : onsets->n;
    most = most > n_picture ? most : n_picture;
    most = most > v->n_hits ? most : v->n_hits;
    LK_TRY(LK_NEW_ARRAY(&t, most + 1));
    for (int64_t k = 0; k < v->n; k++)
        t[k] = lk_flick_to_s(v->spans[k].start);
    LK_TRY(sink->curve(sink->user, "event.impact", "heights/s", v->n, t, v->impact));
    LK_TRY(sink->curve(sink->user, "event.speed", "heights/s", v->n, t, v->speed));
    for (int64_t i = 0; i < onsets->n; i++)
        t[i] = lk_flick_to_s(onsets->time[i]);
    LK_TRY(sink->marks(sink->user, "event.onsets", onsets->n, t));
    const int64_t n_peaks = lk_picture_peaks(picture, n_picture, frame_s, t);
    LK_TRY(sink->marks(sink->user, "event.motion_peaks", n_peaks, t));
    for (int64_t i = 0; i < v->n_hits; i++)
        t[i] = v->hits[i].t_s;
    LK_TRY(sink->marks(sink->user, "event.hits", v->n_hits, t));
    if (r->n_lags > 0)
        LK_TRY(
            sink->lag_curve(sink->user, "event.coincidence", r->n_lags, r->lag_axis_ms, r->curve));
    if (r->n_windows > 0)
        LK_TRY(sink->lag_map(sink->user, "event.coincidence", r->n_windows, r->window_t_s,
                             r->n_lags, r->lag_axis_ms, r->map));
done:
    lk_free(t);
    return st;
}

static lk_status emit_bands(const lk_lag_result *r, const lk_sink *sink)
{
    lk_status st = LK_OK;
    for (size_t b = 0; b < LK_N_TOLERANCES; b++) {
        int64_t outside = 0;
        for (int64_t w = 0; w < r->n_windows; w++)
            outside += r->window_lag_ms[w] < lk_tolerances[b].early_ms ||
                       r->window_lag_ms[w] > lk_tolerances[b].late_ms;
        const lk_score s = blank_score(lk_tolerances[b].score, "share of time",
                                       (double)outside / (double)r->n_windows, r->n_windows);
        LK_TRY(sink->score(sink->user, &s));
    }
done:
    return st;
}

static lk_status emit_lag(const lk_lag_result *r, const lk_sink *sink)
{
    lk_status st = LK_OK;
    lk_score s = blank_score("event.offset_ms", "ms", r->lag_ms, r->n_pairs);
    s.lo = r->lo;
    s.hi = r->hi;
    s.p = r->p;
    LK_TRY(sink->score(sink->user, &s));
    if (isnan(r->drift_ppm)) {
        LK_TRY(sink->abstain(sink->user, "event.drift_ppm",
                             "drift needs at least 8 events over at least 5 s"));
    } else {
        s = blank_score("event.drift_ppm", "ppm", r->drift_ppm, r->n_pairs);
        s.lo = r->drift_lo;
        s.hi = r->drift_hi;
        LK_TRY(sink->score(sink->user, &s));
    }
    if (!isnan(r->change_s)) {
        s = blank_score("event.change_ms", "ms", r->change_ms, r->n_pairs);
        LK_TRY(sink->score(sink->user, &s));
        LK_TRY(sink->marks(sink->user, "event.changes", 1, &r->change_s));
    }
    LK_TRY(emit_bands(r, sink));
done:
    return st;
}

static lk_status abstain_from_lag(const char *reason, const lk_sink *sink)
{
    lk_status st = LK_OK;
    LK_TRY(sink->abstain(sink->user, "event.offset_ms", reason));
    LK_TRY(sink->abstain(sink->user, "event.drift_ppm", reason));
    for (size_t b = 0; b < LK_N_TOLERANCES; b++)
        LK_TRY(sink->abstain(sink->user, lk_tolerances[b].score, reason));
done:
    return st;
}

/* Coincidence as a normalised correlation: 1 when both trains are the same. */
static double self_score(const lk_pulse *p, int64_t n, double kernel_ms)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = i; j < n && (p[j].t_s - p[i].t_s) * 1e3 < 3.5 * kernel_ms; j++) {
            const double x = (p[j].t_s - p[i].t_s) * 1e3 / kernel_ms;
            sum += (i == j ? 1 : 2) * p[i].weight * p[j].weight * exp(-0.5 * x * x);
        }
    }
    return sum;
}

static lk_status emit_coincidence(const lk_lag_result *r, double norm, const lk_sink *sink)
{
    lk_score s = blank_score("event.coincidence", "1", r->score / norm, r->n_pairs);
    s.chance = r->chance / norm;
    s.p = r->p;
    return sink->score(sink->user, &s);
}

static lk_status emit_onset_f(const lk_onset_list *onsets, const lk_reference *reference,
                              const lk_sink *sink)
{
    lk_status st = LK_OK;
    static const int windows_ms[] = {20, 45, 80, 125};
    char name[64];
    if (!reference || reference->n_onsets == 0)
        return LK_OK;
    for (size_t i = 0; i < sizeof windows_ms / sizeof windows_ms[0]; i++) {
        const int64_t hits =
            lk_onset_matches(onsets->time, onsets->n, reference->onsets, reference->n_onsets,
                             windows_ms[i] * LK_FLICKS_PER_MS);
        const struct {
            const char *what;
            double value;
        } rows[] = {
            {"f1", 2 * (double)hits / (double)(onsets->n + reference->n_onsets)},
            {"precision", onsets->n > 0 ? (double)hits / (double)onsets->n : NAN},
            {"recall", (double)hits / (double)reference->n_onsets},
        };
        for (size_t k = 0; k < 3; k++) {
            snprintf(name, sizeof name, "event.onset_%s_%dms", rows[k].what, windows_ms[i]);
            const lk_score s = blank_score(name, "1", rows[k].value, reference->n_onsets);
            LK_TRY(sink->score(sink->user, &s));
        }
    }
done:
    return st;
}

static lk_status judge(const event_state *e, const lk_lag_result *r, const lk_sink *sink)
{
    char reason[200];
    if (!(r->p <= e->trust_p)) {
        snprintf(reason, sizeof reason,
                 "sound and picture coincide no better than unrelated tracks do (p = %.2g)", r->p);
        return abstain_from_lag(reason, sink);
    }
    if (r->score < e->trust_ratio * r->chance)
        return abstain_from_lag("sound and picture coincide hardly better than unrelated tracks do",
                                sink);
    if (r->n_pairs < 3)
        return abstain_from_lag("fewer than 3 events are both seen and heard", sink);
    if (r->support < 0.8)
        return abstain_from_lag("only one stretch of the clip speaks for an offset", sink);
    if (r->rival_share > 0.9) {
        snprintf(reason, sizeof reason, "ambiguous: %+.0f ms and %+.0f ms fit equally well",
                 r->lag_ms, r->rival_ms);
        return abstain_from_lag(reason, sink);
    }
    return emit_lag(r, sink);
}

static lk_status finish(void *state, const lk_features *f, const lk_reference *reference,
                        const lk_sink *sink)
{
    lk_status st = LK_OK;
    const event_state *e = state;
    lk_onset_list onsets = {0};
    lk_pulse *sound = NULL, *picture = NULL;
    lk_lag_result r;
    int64_t n_picture = 0;
    double frame_s = 0;
    memset(&r, 0, sizeof r);
    LK_TRY(lk_onsets_find(&f->audio, &onsets));
    LK_TRY(emit_onset_f(&onsets, reference, sink));
    LK_TRY(sound_pulses(&onsets, &sound));
    LK_TRY(lk_picture_pulses(&f->video, &picture, &n_picture, &frame_s));
    const lk_lag_options o = {e->max_lag_ms, fmax(12, 600 * frame_s), e->window_s,
                              e->n_null,     e->n_bootstrap,          f->seed};
    const lk_span video = {f->video.spans[0].start, f->video.spans[f->video.n - 1].end};
    const double start =
        lk_flick_to_s(video.start < f->audio.span.start ? video.start : f->audio.span.start);
    const double end = lk_flick_to_s(video.end > f->audio.span.end ? video.end : f->audio.span.end);
    const lk_lag_input in = {.n_sound = onsets.n,
                             .n_picture = n_picture,
                             .n_hits = f->video.n_hits,
                             .sound = sound,
                             .picture = picture,
                             .hits = f->video.hits,
                             .start_s = start,
                             .end_s = end};
    LK_TRY(lk_lag_estimate(&in, &o, &r));
    LK_TRY(emit_curves(f, &onsets, picture, n_picture, frame_s, &r, sink));
    if (onsets.n == 0) {
        st = abstain_from_lag("no sudden sound found (silent or steady)", sink);
    } else if (n_picture == 0) {
        st = abstain_from_lag("no sudden motion found (still or steady picture)", sink);
    } else {
        const double norm = sqrt(self_score(sound, onsets.n, o.kernel_ms) *
                                 self_score(picture, n_picture, o.kernel_ms));
        LK_TRY(emit_coincidence(&r, norm, sink));
        LK_TRY(judge(e, &r, sink));
    }
done:
    lk_onsets_clear(&onsets);
    lk_free(sound);
    lk_free(picture);
    lk_lag_clear(&r);
    return st;
}

const lk_metric lk_metric_event = {
    .name = "event",
    .summary = "signed offset between sudden sounds and sudden losses of motion",
    .source = "ours; bands from ITU-R BT.1359-1, EBU R37, ATSC IS-191",
    .cost = "the shared features",
    .scores = score_names,
    .options = options,
    .state_bytes = sizeof(event_state),
    .needs = LK_NEED_VIDEO | LK_NEED_AUDIO | LK_NEED_MOTION | LK_NEED_ONSET,
    .by_default = true,
    .finish = finish,
};
