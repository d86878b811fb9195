/* events.h - when things are heard and seen in one file: onsets, beats, sudden stops of motion.
 *
 * Times are seconds on the file's own clock, sorted.  A stream that is missing, or has none of a
 * kind, gives an empty list.
 *
 * Ownership    lk_events_clear accepts a zeroed and a half-filled struct.
 * Threads      one result per thread at a time.
 */
#ifndef LK_EVENTS_H
#define LK_EVENTS_H

#include "align/beat_track.h"

typedef struct lk_events {
    bool has_video, has_audio;
    double duration_s;
    int64_t n_onsets, n_beats, n_downbeats, n_motion_peaks;
    double *onsets_s;       /* where sounds begin */
    double *beats_s;        /* of the music */
    double *downbeats_s;    /* the beats that open a bar */
    double *motion_peaks_s; /* where motion is suddenly lost: landings, hits, stops */
    double tempo_bpm;       /* NAN without a steady pulse */
} lk_events;

/* max_seconds 0: the whole file.  threads: of the decoder, 0 = all processors.  Errors as in
 * av/media.h. */
LK_CHECKED lk_status lk_events_measure(const char *path, double max_seconds, int threads,
                                       lk_events *events);

void lk_events_clear(lk_events *events);

#endif /* LK_EVENTS_H */
