/* voice.h - speech-like sound and the mouth that makes it, from one set of parameters.
 *
 * A voice is a random string of phones in syllables, phrases and pauses.  Every phone has targets
 * for the opening of the mouth, the width of the lips, teeth and tongue; the targets are smoothed
 * once (coarticulation) and the smoothed values both shape the picture and drive the sound: the
 * first formant and the loudness follow the opening, the second formant follows the width.  Sound
 * and mouth are functions of the same values at the same instant, so neither leads.
 *
 * p, b, m      the lips are closed (opening == 0) exactly within the phone's span; for p and b the
 *              sound is zero there and a burst follows at its end, for m a soft murmur remains.
 * Times        seconds on one timeline; phones start and end on whole milliseconds.
 * Random access  any span of samples can be made by itself; equal grids give equal bits when the
 *              samples asked for start at multiples of LK_WORLD_BLOCK.
 * Threads      immutable after create.
 * Source       formant grains: Rodet, "Time-Domain Formant-Wave-Function Synthesis", CMJ 8(3) 1984;
 *              vowel targets after Peterson and Barney, JASA 24(2) 1952, table II.
 */
#ifndef LK_VOICE_H
#define LK_VOICE_H

#include "experiments/worlds/world_impl.h"

typedef struct lk_voice lk_voice;

typedef struct lk_voice_options {
    uint64_t seed;
    double start_s, end_s; /* phones cover at least this */
    double pitch_hz;       /* middle of the voice, 70..350 */
    double tract;          /* formant scale: 1 a man's, 1.15 a woman's, 1.3 a child's */
    double pace;           /* 1: about 4.5 syllables a second */
} lk_voice_options;

typedef struct lk_phone {
    const char *name; /* ARPAbet in lower case: "p", "iy", ... */
    double start_s, end_s;
    double strength; /* (0, 1]: loudness in its middle, 0.05 at least */
    bool lips_closed, stop, vowel, stressed;
} lk_phone;

/* What is seen of the speech at one instant, all in [0, 1]. */
typedef struct lk_mouth {
    double opening; /* aperture of jaw and lips */
    double width;   /* 0 rounded .. 1 spread */
    double press;   /* lips pressed together, only within p, b, m */
    double teeth;   /* upper teeth shown; with a small opening they touch the lower lip */
    double tongue;  /* tip raised behind or between the teeth */
} lk_mouth;

LK_CHECKED lk_status lk_voice_create(lk_voice **voice, const lk_voice_options *options);
void lk_voice_free(lk_voice **voice);

int64_t lk_voice_n_phones(const lk_voice *voice); /* pauses are no phones */
lk_phone lk_voice_phone(const lk_voice *voice, int64_t i);

lk_mouth lk_voice_mouth(const lk_voice *voice, double t);

/* Loudness factor of the voiced sound at t, [0, 1]: level of the phone times a rising function of
 * the opening. */
double lk_voice_loudness(const lk_voice *voice, double t);

/* Accent of the sentence melody at t, about [0, 1]: nods and brows follow it. */
double lk_voice_accent(const lk_voice *voice, double t);

/* Adds samples first .. first + LK_WORLD_BLOCK - 1 to mono. */
void lk_voice_sound(const lk_voice *voice, const lk_sound_grid *grid, int64_t first, float *mono);

#endif /* LK_VOICE_H */
