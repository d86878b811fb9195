/* score_clip.c - see score_clip.h. */
#include "av/score_clip.h"
#include "av/media.h"

#include "kernels/mem.h"

#include <math.h>

static lk_status feed(lk_media *media, lk_scorer *scorer, const lk_score_clip_options *o)
{
    lk_status st = LK_OK;
    lk_media_item item;
    do {
        LK_TRY(lk_media_next(media, &item));
        if (item.kind == LK_MEDIA_FRAME)
            LK_TRY(lk_scorer_frame(scorer, &item.frame));
        else if (item.kind == LK_MEDIA_PCM)
            LK_TRY(lk_scorer_pcm(scorer, &item.pcm));
        if (o->progress)
            o->progress(o->user, lk_media_progress(media));
    } while (item.kind != LK_MEDIA_END);
done:
    return st;
}

static lk_status note_facts(const lk_media_info *info, lk_clip_result *r)
{
    lk_status st = LK_OK;
    const lk_video_info *v = &info->video;
    const lk_audio_info *a = &info->audio;
    lk_flick end = 0;
    if (v->present)
        end = v->end;
    if (a->present && a->end > end)
        end = a->end;
    r->duration_s = lk_flick_to_s(end);
    r->container_offset_ms =
        v->present && a->present ? lk_flick_to_ms(a->start - v->start) : (double)NAN;
    LK_TRY(LK_NEW_ARRAY(&r->warnings, info->n_warnings + 1));
    for (int i = 0; i < info->n_warnings; i++) {
        LK_TRY(lk_strdup(info->warnings[i], &r->warnings[i]));
        r->n_warnings++;
    }
done:
    return st;
}

/* Trouble of this one file, as opposed to trouble of the run. */
static bool is_the_files_fault(lk_status st)
{
    return st == LK_E_IO || st == LK_E_FORMAT || st == LK_E_UNSUPPORTED || st == LK_E_EMPTY ||
           st == LK_E_NUMERIC;
}

lk_status lk_score_clip(const char *path, const lk_score_clip_options *o, lk_clip_result *result)
{
    lk_status st = LK_OK;
    lk_media *media = NULL;
    lk_scorer *scorer = NULL;
    LK_TRY(lk_strdup(path, &result->clip));
    result->container_offset_ms = (double)NAN;
    LK_TRY(lk_scorer_create(&scorer, o->metrics, o->n_metrics, o->reference, o->seed));
    const lk_media_options wish = {.threads = o->threads,
                                   .assume_priming_samples = o->assume_priming_samples,
                                   .max_seconds = o->max_seconds};
    lk_status file = lk_media_open(&media, path, &wish);
    if (file == LK_OK)
        file = feed(media, scorer, o);
    if (file == LK_OK) {
        const lk_sink sink = lk_clip_result_sink(result);
        LK_TRY(note_facts(lk_media_get_info(media), result));
        LK_TRY(lk_scorer_finish(scorer, &sink));
    } else if (is_the_files_fault(file)) {
        result->failed = true;
        LK_TRY(lk_strdup(lk_error_text(), &result->error));
        lk_error_clear();
    } else {
        st = file;
    }
done:
    lk_scorer_free(&scorer);
    lk_media_close(&media);
    return st;
}
