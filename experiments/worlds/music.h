/* music.h - drums, bass and a pad whose beats and hits are known exactly.
 *
 * Tempo is constant within a clip: beat k is at lk_music_beat(m, k) for every whole k, bars have 3
 * or 4 beats, beat k is number lk_music_in_bar(m, k) of its bar, 1 on the downbeat.  Off-beats are
 * late by the swing, the beats themselves never.  A drum is hit on every beat.
 *
 * Times        seconds on one timeline; a hit's sound starts at its time, between samples if need
 * be. Random access  any block can be made by itself, see world_impl.h. Threads      immutable
 * after create.
 */
#ifndef LK_MUSIC_H
#define LK_MUSIC_H

#include "experiments/worlds/world_impl.h"

typedef struct lk_music lk_music;

typedef enum lk_drum { LK_DRUM_KICK, LK_DRUM_SNARE, LK_DRUM_HAT, LK_DRUM_CLAP } lk_drum;

typedef struct lk_hit_drum {
    double t;
    lk_drum drum;
    float strength; /* (0, 1] */
} lk_hit_drum;

typedef struct lk_music_style {
    double tempo_bpm;  /* 70..170 */
    int beats_per_bar; /* 3 or 4 */
    double swing;      /* 0 straight .. 1/3 triplets */
    const char *name;  /* "house", "rock", "funk", "hip hop", "waltz" */
} lk_music_style;

/* Everything from seed; hits and notes cover [start_s, end_s].  dense adds hits, some of them a few
 * hundredths of a second apart. */
LK_CHECKED lk_status lk_music_create(lk_music **music, uint64_t seed, double start_s, double end_s,
                                     bool dense);
void lk_music_free(lk_music **music);

lk_music_style lk_music_style_of(const lk_music *music);

double lk_music_beat(const lk_music *music, int64_t k);    /* time of beat k */
double lk_music_beats_at(const lk_music *music, double t); /* inverse: beats, with fraction */
int lk_music_in_bar(const lk_music *music, int64_t k);     /* 1..beats_per_bar */
int64_t lk_music_bar(const lk_music *music, int64_t k);    /* number of its bar, from 0 on */

int64_t lk_music_n_hits(const lk_music *music);
const lk_hit_drum *lk_music_hits(const lk_music *music); /* sorted by t */
const char *lk_drum_name(lk_drum drum);

/* Adds samples first .. first + LK_WORLD_BLOCK - 1 to mono. */
void lk_music_sound(const lk_music *music, const lk_sound_grid *grid, int64_t first, float *mono);

#endif /* LK_MUSIC_H */
