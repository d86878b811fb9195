/* beat_track.h - where the beats of a piece of music lie, from the shared audio features alone.
 *
 * Tempo, phase and their slow changes are found together by a bar-pointer hidden Markov model;
 * nothing in it is trained.  Every beat that has an onset within 40 ms is placed on that onset's
 * start (align/onsets.h), the others on the 10 ms grid of the model.
 *
 * Source       state space: Krebs, Boeck & Widmer, "An efficient state-space model for joint tempo
 *              and meter tracking", ISMIR 2015; preferred tempo: van Noorden & Moelants, JNMR
 * 28(1), 1999.  Observation model and constants are ours. Threads      pure.
 */
#ifndef LK_BEAT_TRACK_H
#define LK_BEAT_TRACK_H

#include "align/features.h"

#define LK_BEAT_MIN_BPM 55
#define LK_BEAT_MAX_BPM 220

typedef struct lk_beat_list {
    int64_t n;             /* 0 when there is no periodic sound */
    lk_flick *time;        /* [n] strictly rising */
    uint8_t *bar_position; /* [n] 1 = downbeat, 2, ... beats_per_bar */
    int beats_per_bar;     /* 3 or 4; 0 when n is 0 */
    double tempo_bpm;      /* typical; NAN when n is 0 */
    double clarity;        /* how periodic the sound is at that tempo, 0 .. about 1 */
    double least_clarity;  /* what this clip needs; unrelated events reach it rarely */
} lk_beat_list;

/* Find the beats.  n = 0 with LK_OK for silence, for less than 3 s, for fewer than 4 onsets, and
 * for sound without a steady pulse; clarity then says how far it is from one. */
LK_CHECKED lk_status lk_beats_find(const lk_audio_features *audio, lk_beat_list *list);
void lk_beats_clear(lk_beat_list *list);

#endif /* LK_BEAT_TRACK_H */
