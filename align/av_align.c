/* av_align.c - do sudden sounds and peaks of motion come in pairs?
 *
 * AV-Align counts pairs of sound onsets and motion peaks closer than one frame, so that its value
 * and its chance level move with the frame rate.  Here the window is a time:
 *
 *   A     sound onsets (align/onsets.h)
 *   V     peaks of suddenly lost motion (align/picture_pulses.h): a stroke is fastest before it
 *         lands, so that peaks of speed themselves stand apart from what is heard
 *   hits  largest one-to-one matching with |a - v| <= window
 *   IoU   hits / (|A| + |V| - hits)
 *
 * Chance is the mean IoU of the same onsets shifted circularly over the clip; p is the share of
 * shifts at least as good.  The interval resamples the |A| + |V| - hits members of the union.
 *
 * iou_compatible is the published value (av_align_published.h), for comparison with papers, beside
 * the chance level and p of this very clip.
 */
#include "align/av_align_published.h"
#include "align/farneback.h"
#include "align/features.h"
#include "align/metrics.h"
#include "align/onsets.h"
#include "align/picture_pulses.h"
#include "align/stats.h"

#include "kernels/mem.h"
#include "kernels/resample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NULL_STREAM     0x6176616c
#define INTERVAL_STREAM (NULL_STREAM + 1)

typedef struct av_align_state {
    double window_ms;
    int n_null, n_bootstrap;
    bool published;
    /* of the published form */
    lk_published_flow flow;
    lk_resampler *resampler;
    int rate_hz;
    float *pcm, *mix;
    size_t n_pcm, cap_pcm, cap_mix;
} av_align_state;

static const lk_option options[] = {
    LK_OPT_DOUBLE(av_align_state, window_ms, 80, 5, 500, "a pair is at most this far apart"),
    LK_OPT_INT(av_align_state, n_null, 400, 20, 10000, "shifted sound tracks to compare with"),
    LK_OPT_INT(av_align_state, n_bootstrap, 400, 20, 10000, "resamples behind the interval"),
    LK_OPT_BOOL(av_align_state, published, true, "the published value too, where OpenCV is there"),
    LK_OPT_END};

static const char *const score_names[] = {"av_align.iou_clean", "av_align.iou_compatible", NULL};

/* ---- motion peaks ------------------------------------------------------------------------------
 */

static lk_status motion_peaks(const lk_video_features *v, lk_flick **out, int64_t *n)
{
    lk_status st = LK_OK;
    lk_pulse *pulses = NULL;
    double *t_s = NULL, frame_s = 0;
    int64_t n_pulses = 0;
    LK_TRY(lk_picture_pulses(v, &pulses, &n_pulses, &frame_s));
    LK_TRY(LK_NEW_ARRAY(&t_s, n_pulses + 1));
    LK_TRY(LK_NEW_ARRAY(out, n_pulses + 1));
    *n = lk_picture_peaks(pulses, n_pulses, frame_s, t_s);
    for (int64_t i = 0; i < *n; i++)
        (*out)[i] = lk_flick_from_s(t_s[i]);
done:
    lk_free(pulses);
    lk_free(t_s);
    return st;
}

/* ---- scores ------------------------------------------------------------------------------------
 */

static double iou(int64_t hits, int64_t n_a, int64_t n_b)
{
    return (double)hits / (double)(n_a + n_b - hits);
}

/* a shifted by `shift` around [start, start + period), sorted again; returns how many. */
static int64_t shift_around(const lk_flick *a, int64_t n, lk_flick start, lk_flick period,
                            lk_flick shift, lk_flick *out)
{
    int64_t first = n;
    for (int64_t i = 0; i < n && first == n; i++) {
        if (a[i] + shift >= start + period)
            first = i;
    }
    for (int64_t i = 0; i < n; i++) {
        const int64_t from = (first + i) % n;
        out[i] = a[from] + shift - (from >= first ? period : 0);
    }
    return n;
}

static lk_status emit(const av_align_state *s, const lk_features *f, const lk_onset_list *onsets,
                      const lk_flick *peaks, int64_t n_peaks, const lk_sink *sink)
{
    lk_status st = LK_OK;
    const lk_video_features *v = &f->video;
    const lk_flick window = (lk_flick)(s->window_ms * LK_FLICKS_PER_MS);
    const lk_flick end_v = v->spans[v->n - 1].end, end_a = f->audio.span.end;
    const lk_flick start =
        v->spans[0].start < f->audio.span.start ? v->spans[0].start : f->audio.span.start;
    const lk_flick period = (end_v > end_a ? end_v : end_a) - start;
    const lk_flick guard = 3 * window < period / 4 ? 3 * window : period / 4;
    const int64_t n = onsets->n;
    const int64_t hits = lk_onset_matches(onsets->time, n, peaks, n_peaks, window);
    lk_score score = {"av_align.iou_clean", "1", iou(hits, n, n_peaks), NAN, NAN, NAN, NAN, n};
    double *null = NULL, *member = NULL;
    lk_flick *shifted = NULL;
    const int64_t in_union = n + n_peaks - hits;
    LK_TRY(LK_NEW_ARRAY(&null, s->n_null));
    LK_TRY(LK_NEW_ARRAY(&shifted, n));
    LK_TRY(LK_NEW_ARRAY(&member, in_union));
    for (int r = 0; r < s->n_null; r++) {
        double by =
            lk_null_shift(f->seed, NULL_STREAM, r, s->n_null, (double)period, (double)guard);
        by = fmod(by + (double)period, (double)period);
        shift_around(onsets->time, n, start, period, (lk_flick)by, shifted);
        null[r] = iou(lk_onset_matches(shifted, n, peaks, n_peaks, window), n, n_peaks);
    }
    score.chance = lk_mean(null, s->n_null);
    score.p = lk_null_p(score.value, null, s->n_null);
    for (int64_t i = 0; i < in_union; i++)
        member[i] = i < hits ? 1 : 0;
    LK_TRY(lk_bootstrap_mean(member, in_union, s->n_bootstrap, f->seed, INTERVAL_STREAM, &score.lo,
                             &score.hi));
    LK_TRY(sink->score(sink->user, &score));
done:
    lk_free(null);
    lk_free(member);
    lk_free(shifted);
    return st;
}

static lk_status emit_marks(const char *name, const lk_flick *t, int64_t n, const lk_sink *sink)
{
    lk_status st = LK_OK;
    double *t_s = NULL;
    LK_TRY(LK_NEW_ARRAY(&t_s, n + 1));
    for (int64_t i = 0; i < n; i++)
        t_s[i] = lk_flick_to_s(t[i]);
    LK_TRY(sink->marks(sink->user, name, n, t_s));
done:
    lk_free(t_s);
    return st;
}

/* ---- the published form ------------------------------------------------------------------------
 */

static lk_status push_frame(void *state, const lk_frame_view *frame)
{
    av_align_state *s = state;
    return s->published && lk_farneback_available() ? lk_published_flow_push(&s->flow, frame)
                                                    : LK_OK;
}

static lk_status keep(av_align_state *s, const float *pcm, int64_t n)
{
    lk_status st = LK_OK;
    LK_TRY(LK_GROW(&s->pcm, &s->cap_pcm, s->n_pcm + (size_t)n));
    if (n > 0)
        memcpy(s->pcm + s->n_pcm, pcm, (size_t)n * sizeof *pcm);
    s->n_pcm += (size_t)n;
done:
    return st;
}

static lk_status push_pcm(void *state, const lk_pcm_view *v)
{
    lk_status st = LK_OK;
    av_align_state *s = state;
    const float *out;
    int64_t n_out;
    if (!s->published || !lk_farneback_available())
        return LK_OK;
    if (!s->resampler) {
        LK_TRY(lk_resampler_create(&s->resampler, v->rate_hz, LK_PUBLISHED_RATE_HZ));
        s->rate_hz = v->rate_hz;
    }
    LK_REQUIRE(v->rate_hz == s->rate_hz, LK_E_UNSUPPORTED, "the sound changes its rate on the way");
    LK_TRY(LK_GROW(&s->mix, &s->cap_mix, v->n_samples + 1));
    for (int64_t i = 0; i < v->n_samples; i++) {
        float sum = 0;
        for (int c = 0; c < v->n_channels; c++)
            sum += v->channel[c][i];
        s->mix[i] = isfinite(sum) ? sum / (float)v->n_channels : 0;
    }
    LK_TRY(lk_resampler_push(s->resampler, s->mix, v->n_samples, &out, &n_out));
    LK_TRY(keep(s, out, n_out));
done:
    return st;
}

static int by_time(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The script counts from the first sample and the first frame, and calls frame i i / fps. */
static lk_status emit_published(const av_align_state *s, const lk_features *f,
                                const double *onset_s, int64_t n, const int64_t *peak,
                                int64_t n_peaks, double fps, const lk_sink *sink)
{
    lk_status st = LK_OK;
    double *null = NULL, *shifted = NULL;
    uint8_t *used = NULL;
    const double length_s = fmax((double)s->n_pcm / LK_PUBLISHED_RATE_HZ, (double)s->flow.n / fps);
    lk_score score = {"av_align.iou_compatible", "1", NAN, NAN, NAN, NAN, NAN, n};
    LK_TRY(LK_NEW_ARRAY(&null, s->n_null));
    LK_TRY(LK_NEW_ARRAY(&shifted, n));
    LK_TRY(LK_NEW_ARRAY(&used, n_peaks));
    score.value = iou(lk_published_hits(onset_s, n, peak, n_peaks, fps, used), n, n_peaks);
    for (int r = 0; r < s->n_null; r++) {
        const double by = lk_null_shift(f->seed, INTERVAL_STREAM + 1, r, s->n_null, length_s,
                                        fmin(0.25, length_s / 4));
        for (int64_t i = 0; i < n; i++)
            shifted[i] = fmod(onset_s[i] + by + length_s, length_s);
        qsort(shifted, (size_t)n, sizeof *shifted, by_time);
        null[r] = iou(lk_published_hits(shifted, n, peak, n_peaks, fps, used), n, n_peaks);
    }
    score.chance = lk_mean(null, s->n_null);
    score.p = lk_null_p(score.value, null, s->n_null);
    LK_TRY(sink->score(sink->user, &score));
done:
    lk_free(null);
    lk_free(shifted);
    lk_free(used);
    return st;
}

static lk_status finish_published(av_align_state *s, const lk_features *f, const lk_sink *sink)
{
    lk_status st = LK_OK;
    const lk_video_features *v = &f->video;
    double *onset_s = NULL;
    int64_t *peak = NULL, n = 0, n_peaks, n_out = 0;
    const float *out = NULL;
    const char *const name = score_names[1];
    if (!s->published)
        return LK_OK;
    if (!lk_farneback_available())
        return sink->abstain(sink->user, name, "built without OpenCV (see lockstep doctor)");
    if (s->flow.n < 3 || !s->resampler)
        return sink->abstain(sink->user, name, "needs sound and at least 3 frames");
    LK_TRY(lk_resampler_flush(s->resampler, &out, &n_out));
    LK_TRY(keep(s, out, n_out));
    LK_TRY(LK_NEW_ARRAY(&peak, s->flow.n));
    n_peaks = lk_published_flow_peaks(s->flow.mean, (int64_t)s->flow.n, peak);
    LK_TRY(lk_published_onsets(s->pcm, (int64_t)s->n_pcm, &onset_s, &n));
    if (n == 0 || n_peaks == 0) {
        LK_TRY(sink->abstain(sink->user, name,
                             n == 0 ? "no onset in the sound" : "no peak in the optical flow"));
        goto done;
    }
    LK_TRY(emit_published(
        s, f, onset_s, n, peak, n_peaks,
        (double)(v->n - 1) / lk_flick_to_s(v->spans[v->n - 1].start - v->spans[0].start), sink));
done:
    lk_free(onset_s);
    lk_free(peak);
    return st;
}

static void clear(void *state)
{
    av_align_state *s = state;
    lk_published_flow_clear(&s->flow);
    lk_resampler_free(&s->resampler);
    lk_free(s->pcm);
    lk_free(s->mix);
    s->pcm = s->mix = NULL;
}

static lk_status finish(void *state, const lk_features *f, const lk_reference *reference,
                        const lk_sink *sink)
{
    lk_status st = LK_OK;
    lk_onset_list onsets = {0};
    lk_flick *peaks = NULL;
    int64_t n_peaks = 0;
    (void)reference;
    LK_TRY(lk_onsets_find(&f->audio, &onsets));
    LK_TRY(motion_peaks(&f->video, &peaks, &n_peaks));
    if (onsets.n == 0) {
        LK_TRY(
            sink->abstain(sink->user, score_names[0], "no sudden sound found (silent or steady)"));
    } else if (n_peaks == 0) {
        LK_TRY(sink->abstain(sink->user, score_names[0],
                             "no sudden loss of motion found (still or steady picture)"));
    } else {
        LK_TRY(emit_marks("av_align.motion_peaks", peaks, n_peaks, sink));
        LK_TRY(emit(state, f, &onsets, peaks, n_peaks, sink));
    }
    LK_TRY(finish_published(state, f, sink));
done:
    lk_onsets_clear(&onsets);
    lk_free(peaks);
    return st;
}

const lk_metric lk_metric_av_align = {
    .name = "av_align",
    .summary = "share of sudden sounds and motion peaks that come in pairs, beside its chance",
    .source = "after AV-Align (Yariv et al., AAAI 2024), with a window in time",
    .cost = "the shared features; the published form about 60 ms a frame of 640x360",
    .scores = score_names,
    .options = options,
    .state_bytes = sizeof(av_align_state),
    .needs = LK_NEED_VIDEO | LK_NEED_AUDIO | LK_NEED_MOTION | LK_NEED_ONSET | LK_NEED_FRAMES |
             LK_NEED_PCM,
    .by_default = false,
    .push_frame = push_frame,
    .push_pcm = push_pcm,
    .finish = finish,
    .clear = clear,
};
