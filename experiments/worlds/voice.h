/* voice.h - a source-filter voice and the mouth that goes with it, from one set of parameters.
 *
 * At every instant the mouth has an opening (0 closed .. 1 wide) and a width (-1 rounded .. 1
 * spread).  The same two numbers are drawn and heard: the opening sets the first formant and the
 * loudness, the width the second and third.  So the picture of the mouth and the sound have no lag
 * by construction.
 *
 * The voice babbles: phrases of syllables with pauses, from seed alone, from -LK_WORLD_LEAD_S on.
 *
 * Sources      formants of vowels: Peterson & Barney, JASA 24, 1952; each glottal pulse excites
 *              damped formants: Rodet, "Time-domain formant-wave-function synthesis", CMJ 8(3),
 * 1984. Threads      immutable after create.
 */
#ifndef LK_VOICE_H
#define LK_VOICE_H

#include "experiments/worlds/world_impl.h"

typedef struct lk_phone {
    const char *name; /* "aa", "p", ... or "sil" */
    double t0, t1;
    double opening, width; /* targets */
    double voicing;        /* 0..1 of the glottal pulses */
    double friction;       /* 0..1 of the noise */
    double noise_hz;       /* its centre */
    bool closed;           /* lips shut from t0 to t1 */
} lk_phone;

typedef struct lk_voice lk_voice;

typedef struct lk_mouth_pose {
    double opening, width, tongue; /* tongue: 1 when its tip is at the teeth */
    double stress;                 /* 0..1, slow: for brows and head */
} lk_mouth_pose;

/* Speaks until t = until_s. */
LK_CHECKED lk_status lk_voice_create(lk_voice **voice, uint64_t seed, double until_s);
void lk_voice_free(lk_voice **voice);

int64_t lk_voice_n_phones(const lk_voice *voice);
const lk_phone *lk_voice_phones(const lk_voice *voice); /* sorted, touching, with "sil" between */

lk_mouth_pose lk_voice_mouth(const lk_voice *voice, double t);

/* Add one block as in lk_world_kind.sound. */
void lk_voice_add(const lk_voice *voice, const lk_sound_grid *grid, int64_t first, float *mono);

#endif /* LK_VOICE_H */
