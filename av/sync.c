/* sync.c - see sync.h. */
#include "av/sync.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const witnesses[] = {"event.offset_ms", "mouth.offset_ms", "beat.offset_ms",
                                        NULL};

const char *const *lk_sync_witnesses(void)
{
    return witnesses;
}

static void name_of_metric(const char *score, char *out, size_t bytes)
{
    const size_t n = strcspn(score, ".");
    snprintf(out, bytes, "%.*s", (int)n, score);
}

/* Half the width of the 95 % interval; a witness without one counts as unsure by 100 ms. */
static double half_width(const lk_result_score *s)
{
    return isfinite(s->lo) && isfinite(s->hi) ? 0.5 * (s->hi - s->lo) : 100;
}

static void say_why_not(const lk_clip_result *r, lk_sync_answer *a)
{
    if (r->failed) {
        snprintf(a->reason, sizeof a->reason, "%s", r->error ? r->error : "the file failed");
        return;
    }
    size_t used = 0;
    for (int i = 0; witnesses[i]; i++) {
        char metric[16];
        const char *reason = lk_clip_result_abstention(r, witnesses[i]);
        if (!reason || used + 1 >= sizeof a->reason)
            continue;
        name_of_metric(witnesses[i], metric, sizeof metric);
        const int n = snprintf(a->reason + used, sizeof a->reason - used, "%s%s: %s",
                               used ? "; " : "", metric, reason);
        used += n > 0 ? (size_t)n : 0;
    }
    if (used == 0)
        snprintf(a->reason, sizeof a->reason, "no metric measured an offset");
}

/* Name the other witnesses whose interval lies apart from the answer's.  The beat is left out: it
 * knows its offset only up to whole beats. */
static void note_disagreement(const lk_clip_result *r, lk_sync_answer *a)
{
    size_t used = strlen(a->reason);
    for (int i = 0; witnesses[i]; i++) {
        char metric[16];
        const lk_result_score *s = lk_clip_result_score(r, witnesses[i]);
        name_of_metric(witnesses[i], metric, sizeof metric);
        if (!s || !(s->lo > a->hi || s->hi < a->lo) || strcmp(metric, "beat") == 0 ||
            used + 1 >= sizeof a->reason)
            continue;
        const int n = snprintf(a->reason + used, sizeof a->reason - used, "%s%s says %+.0f ms",
                               used ? "; " : "", metric, s->value);
        used += n > 0 ? (size_t)n : 0;
    }
}

/* Speech, and the event's interval lies apart from the lips' one. */
static bool contradicts_lips(const lk_clip_result *r, const lk_result_score *s)
{
    const lk_result_score *lips = lk_clip_result_score(r, "mouth.offset_ms");
    return lips && strncmp(s->name, "event.", 6) == 0 && (s->lo > lips->hi || s->hi < lips->lo);
}

void lk_sync_judge(const lk_clip_result *r, lk_sync_answer *a)
{
    const lk_result_score *best = NULL, *drift = NULL;
    memset(a, 0, sizeof *a);
    a->offset_ms = a->lo = a->hi = a->drift_ppm = a->p = (double)NAN;
    for (int i = 0; witnesses[i]; i++) {
        const lk_result_score *s = lk_clip_result_score(r, witnesses[i]);
        if (!s || !isfinite(s->value) || contradicts_lips(r, s))
            continue;
        /* The beat's offset is known only up to whole beats: it answers when nothing else does. */
        const bool last_resort = strncmp(witnesses[i], "beat.", 5) == 0;
        if (!best || (!last_resort && half_width(s) < half_width(best)))
            best = s;
    }
    if (!best) {
        say_why_not(r, a);
        return;
    }
    a->trusted = true;
    a->offset_ms = best->value;
    a->lo = best->lo;
    a->hi = best->hi;
    a->p = best->p;
    name_of_metric(best->name, a->source, sizeof a->source);
    char name[40];
    snprintf(name, sizeof name, "%s.drift_ppm", a->source);
    drift = lk_clip_result_score(r, name);
    if (drift)
        a->drift_ppm = drift->value;
    if (strcmp(a->source, "beat") == 0) {
        const lk_result_score *period = lk_clip_result_score(r, "beat.offset_modulus_ms");
        if (period)
            snprintf(a->reason, sizeof a->reason,
                     "known up to whole steps of the rhythm: %+.0f ms and %+.0f ms fit as well",
                     a->offset_ms - period->value, a->offset_ms + period->value);
        else
            snprintf(a->reason, sizeof a->reason, "known up to whole beats only");
    }
    note_disagreement(r, a);
}

lk_status lk_sync_measure(const char *path, uint64_t seed, lk_sync_answer *answer)
{
    lk_status st = LK_OK;
    lk_clip_result result;
    const char *metrics[8];
    size_t n = 0;
    memset(&result, 0, sizeof result);
    for (int i = 0; witnesses[i]; i++) {
        static const char *const names[] = {"event", "mouth", "beat"};
        if (lk_metric_find(names[i]))
            metrics[n++] = names[i];
    }
    const lk_score_clip_options options = {.metrics = metrics, .n_metrics = n, .seed = seed};
    LK_TRY(lk_score_clip(path, &options, &result));
    LK_REQUIRE(!result.failed, LK_E_FORMAT, "%s", result.error);
    lk_sync_judge(&result, answer);
done:
    lk_clip_result_clear(&result);
    return st;
}
