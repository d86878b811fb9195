/* events.c - see events.h. */
#include "av/events.h"
#include "align/onsets.h"
#include "align/picture_pulses.h"
#include "av/media.h"

#include "kernels/mem.h"

#include <math.h>
#include <string.h>

static lk_status hear_and_see(lk_media *media, lk_features *f)
{
    lk_status st = LK_OK;
    lk_audio_extractor *audio = NULL;
    lk_video_extractor *video = NULL;
    lk_media_item item;
    LK_TRY(lk_audio_extractor_create(&audio, false));
    LK_TRY(lk_video_extractor_create(&video, false));
    do {
        LK_TRY(lk_media_next(media, &item));
        if (item.kind == LK_MEDIA_FRAME)
            LK_TRY(lk_video_extractor_push(video, &item.frame));
        else if (item.kind == LK_MEDIA_PCM)
            LK_TRY(lk_audio_extractor_push(audio, &item.pcm));
    } while (item.kind != LK_MEDIA_END);
    LK_TRY(lk_audio_extractor_finish(audio, &f->audio));
    LK_TRY(lk_video_extractor_finish(video, &f->video));
done:
    lk_audio_extractor_free(&audio);
    lk_video_extractor_free(&video);
    return st;
}

static lk_status find_onsets(const lk_audio_features *audio, lk_events *e)
{
    lk_status st = LK_OK;
    lk_onset_list onsets = {0};
    LK_TRY(lk_onsets_find(audio, &onsets));
    LK_TRY(LK_NEW_ARRAY(&e->onsets_s, onsets.n + 1));
    for (int64_t i = 0; i < onsets.n; i++)
        e->onsets_s[e->n_onsets++] = lk_flick_to_s(onsets.time[i]);
done:
    lk_onsets_clear(&onsets);
    return st;
}

static lk_status find_beats(const lk_audio_features *audio, lk_events *e)
{
    lk_status st = LK_OK;
    lk_beat_list beats = {0};
    LK_TRY(lk_beats_find(audio, &beats));
    LK_TRY(LK_NEW_ARRAY(&e->beats_s, beats.n + 1));
    LK_TRY(LK_NEW_ARRAY(&e->downbeats_s, beats.n + 1));
    e->tempo_bpm = beats.n > 0 ? beats.tempo_bpm : (double)NAN;
    for (int64_t i = 0; i < beats.n; i++) {
        e->beats_s[e->n_beats++] = lk_flick_to_s(beats.time[i]);
        if (beats.bar_position[i] == 1)
            e->downbeats_s[e->n_downbeats++] = lk_flick_to_s(beats.time[i]);
    }
done:
    lk_beats_clear(&beats);
    return st;
}

static lk_status find_motion_peaks(const lk_video_features *video, lk_events *e)
{
    lk_status st = LK_OK;
    lk_pulse *pulses = NULL;
    int64_t n = 0;
    double frame_s = 0;
    LK_TRY(lk_picture_pulses(video, &pulses, &n, &frame_s));
    LK_TRY(LK_NEW_ARRAY(&e->motion_peaks_s, n + 1));
    e->n_motion_peaks = lk_picture_peaks(pulses, n, frame_s, e->motion_peaks_s);
done:
    lk_free(pulses);
    return st;
}

lk_status lk_events_measure(const char *path, double max_seconds, int threads, lk_events *e)
{
    lk_status st = LK_OK;
    lk_media *media = NULL;
    lk_features f;
    const lk_media_options wish = {.threads = threads, .max_seconds = max_seconds};
    memset(&f, 0, sizeof f);
    memset(e, 0, sizeof *e);
    e->tempo_bpm = (double)NAN;
    LK_TRY(lk_media_open(&media, path, &wish));
    LK_TRY(hear_and_see(media, &f));
    const lk_media_info *info = lk_media_get_info(media);
    e->has_video = f.video.present;
    e->has_audio = f.audio.present;
    e->duration_s = fmax(info->video.present ? lk_flick_to_s(info->video.end) : 0,
                         info->audio.present ? lk_flick_to_s(info->audio.end) : 0);
    if (f.audio.present) {
        LK_TRY(find_onsets(&f.audio, e));
        LK_TRY(find_beats(&f.audio, e));
    }
    if (f.video.present)
        LK_TRY(find_motion_peaks(&f.video, e));
done:
    lk_features_clear(&f);
    lk_media_close(&media);
    return st;
}

void lk_events_clear(lk_events *e)
{
    lk_free(e->onsets_s);
    lk_free(e->beats_s);
    lk_free(e->downbeats_s);
    lk_free(e->motion_peaks_s);
    memset(e, 0, sizeof *e);
}
