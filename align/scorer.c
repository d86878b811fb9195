/* scorer.c - one clip through all chosen metrics.
 *
 * Invariants
 * (1) A slot's state is zeroed, then filled with option defaults, then with the choice's settings,
 *     before init runs; clear is called exactly once for every slot that got a state.
 * (2) Features are extracted once, and only those that some slot needs.
 * (3) The seed sits in the scorer; metrics read it from lk_features.
 */
#include "align/align.h"
#include "align/features.h"
#include "align/metrics.h"

#include "kernels/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_SLOTS  16
#define MAX_CHOICE 512

typedef struct slot {
    const lk_metric *metric;
    void *state;
    char *text; /* the choice, cut into pieces; text options point into it */
} slot;

struct lk_scorer {
    slot slots[MAX_SLOTS];
    int n_slots;
    unsigned needs;
    bool saw_picture, saw_sound;
    const lk_reference *reference;
    lk_features features;
    lk_audio_extractor *audio;
    lk_video_extractor *video;
};

static lk_status unknown_metric(const char *name)
{
    const char *names[MAX_SLOTS];
    size_t n = 0;
    for (const lk_metric *const *m = lk_metrics(); *m && n < MAX_SLOTS; m++)
        names[n++] = (*m)->name;
    const char *near = lk_nearest_name(name, names, n);
    return LK_FAIL(LK_E_ARG, "unknown metric '%.40s'%s%s%s", name, near ? "; did you mean '" : "",
                   near ? near : "", near ? "'?" : "; see --list-metrics");
}

/* Cut "name:key=value:key=value" in place and apply the settings. */
static lk_status apply_settings(slot *s, char *settings)
{
    lk_status st = LK_OK;
    while (settings) {
        char *const key = settings;
        settings = strchr(key, ':');
        if (settings)
            *settings++ = '\0';
        char *const equals = strchr(key, '=');
        LK_REQUIRE(equals, LK_E_ARG, "metric setting '%.60s' needs the form key=value", key);
        *equals = '\0';
        LK_REQUIRE(s->metric->options, LK_E_ARG, "metric '%s' has no settings", s->metric->name);
        LK_TRY(lk_option_set(s->metric->options, s->state, key, equals + 1));
    }
done:
    return st;
}

static lk_status add_slot(lk_scorer *scorer, const char *choice)
{
    lk_status st = LK_OK;
    LK_REQUIRE(scorer->n_slots < MAX_SLOTS, LK_E_ARG, "more than %d metrics chosen", MAX_SLOTS);
    LK_REQUIRE(strlen(choice) < MAX_CHOICE, LK_E_ARG, "a metric choice is longer than %d bytes",
               MAX_CHOICE);
    slot *s = &scorer->slots[scorer->n_slots];
    LK_TRY(lk_strdup(choice, &s->text));
    scorer->n_slots++;
    char *settings = strchr(s->text, ':');
    if (settings)
        *settings++ = '\0';
    s->metric = lk_metric_find(s->text);
    if (!s->metric) {
        st = unknown_metric(s->text);
        goto done;
    }
    for (slot *other = scorer->slots; other < s; other++)
        LK_REQUIRE(other->metric != s->metric, LK_E_ARG, "metric '%s' is chosen twice", s->text);
    LK_TRY(lk_alloc_(1, s->metric->state_bytes + 1, &s->state));
    if (s->metric->options)
        lk_option_defaults(s->metric->options, s->state);
    LK_TRY(apply_settings(s, settings));
    if (s->metric->init)
        LK_TRY(s->metric->init(s->state, scorer->reference));
    scorer->needs |= s->metric->needs;
done:
    return st;
}

lk_status lk_scorer_create(lk_scorer **scorer, const char *const *choices, size_t n,
                           const lk_reference *reference, uint64_t seed)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW(scorer));
    (*scorer)->reference = reference;
    (*scorer)->features.seed = seed;
    for (size_t i = 0; i < n; i++)
        LK_TRY(add_slot(*scorer, choices[i]));
    for (const lk_metric *const *m = lk_metrics(); n == 0 && *m; m++) {
        if ((*m)->by_default)
            LK_TRY(add_slot(*scorer, (*m)->name));
    }
    const unsigned needs = (*scorer)->needs;
    if (needs & (LK_NEED_ONSET | LK_NEED_MEL))
        LK_TRY(lk_audio_extractor_create(&(*scorer)->audio, (needs & LK_NEED_MEL) != 0));
    if (needs & (LK_NEED_MOTION | LK_NEED_GRID))
        LK_TRY(lk_video_extractor_create(&(*scorer)->video, (needs & LK_NEED_GRID) != 0));
done:
    if (st != LK_OK)
        lk_scorer_free(scorer);
    return st;
}

unsigned lk_scorer_needs(const lk_scorer *scorer)
{
    return scorer->needs;
}

lk_status lk_scorer_frame(lk_scorer *scorer, const lk_frame_view *frame)
{
    lk_status st = LK_OK;
    scorer->saw_picture = true;
    if (scorer->video)
        LK_TRY(lk_video_extractor_push(scorer->video, frame));
    for (int i = 0; i < scorer->n_slots; i++) {
        const slot *s = &scorer->slots[i];
        if ((s->metric->needs & LK_NEED_FRAMES) && s->metric->push_frame)
            LK_TRY(s->metric->push_frame(s->state, frame));
    }
done:
    return st;
}

lk_status lk_scorer_pcm(lk_scorer *scorer, const lk_pcm_view *pcm)
{
    lk_status st = LK_OK;
    scorer->saw_sound = true;
    if (scorer->audio)
        LK_TRY(lk_audio_extractor_push(scorer->audio, pcm));
    for (int i = 0; i < scorer->n_slots; i++) {
        const slot *s = &scorer->slots[i];
        if ((s->metric->needs & LK_NEED_PCM) && s->metric->push_pcm)
            LK_TRY(s->metric->push_pcm(s->state, pcm));
    }
done:
    return st;
}

static lk_status abstain_all(const slot *s, const char *reason, const lk_sink *sink)
{
    lk_status st = LK_OK;
    for (const char *const *name = s->metric->scores; *name; name++)
        LK_TRY(sink->abstain(sink->user, *name, reason));
done:
    return st;
}

static lk_status finish_slot(lk_scorer *scorer, const slot *s, const lk_sink *sink)
{
    const unsigned needs = s->metric->needs;
    if ((needs & LK_NEED_VIDEO) && !scorer->saw_picture)
        return abstain_all(s, "the clip has no picture", sink);
    if ((needs & LK_NEED_AUDIO) && !scorer->saw_sound)
        return abstain_all(s, "the clip has no sound", sink);
    const lk_status st = s->metric->finish(s->state, &scorer->features, scorer->reference, sink);
    if (st == LK_OK || st == LK_E_MEMORY || st == LK_E_INTERNAL)
        return st;
    char reason[256];
    snprintf(reason, sizeof reason, "%s", lk_error_text());
    return abstain_all(s, reason, sink);
}

lk_status lk_scorer_finish(lk_scorer *scorer, const lk_sink *sink)
{
    lk_status st = LK_OK;
    if (scorer->audio)
        LK_TRY(lk_audio_extractor_finish(scorer->audio, &scorer->features.audio));
    if (scorer->video)
        LK_TRY(lk_video_extractor_finish(scorer->video, &scorer->features.video));
    for (int i = 0; i < scorer->n_slots; i++)
        LK_TRY(finish_slot(scorer, &scorer->slots[i], sink));
done:
    return st;
}

const lk_features *lk_scorer_features(const lk_scorer *scorer)
{
    return &scorer->features;
}

void lk_scorer_free(lk_scorer **scorer)
{
    if (!scorer || !*scorer)
        return;
    for (int i = 0; i < (*scorer)->n_slots; i++) {
        slot *s = &(*scorer)->slots[i];
        if (s->state && s->metric->clear)
            s->metric->clear(s->state);
        lk_free(s->state);
        lk_free(s->text);
    }
    lk_audio_extractor_free(&(*scorer)->audio);
    lk_video_extractor_free(&(*scorer)->video);
    lk_features_clear(&(*scorer)->features);
    lk_free(*scorer);
    *scorer = NULL;
}
