/* modal.h - the sound of a struck body: a short contact noise and a bank of decaying modes.
 *
 * A hit at time t0 sounds for u > t0 as
 *     gain * ( sum_k a_k exp(-(u - t0) / d_k) sin(2 pi f_k (u - t0)) + contact(u - t0) )
 * which is evaluated from the continuous time of each sample, so a start between two samples is
 * kept and any block can be made alone.
 *
 * Threads      pure over the caller's memory.
 * Source       ratios of the transverse modes of a free bar, a clamped circular membrane:
 *              N. H. Fletcher and T. D. Rossing, "The Physics of Musical Instruments", ch. 2-3.
 */
#ifndef LK_MODAL_H
#define LK_MODAL_H

#include "experiments/worlds/world_impl.h"

typedef enum lk_material {
    LK_WOOD,
    LK_METAL,
    LK_GLASS,
    LK_RUBBER,
    LK_STONE,
    LK_DRUM,
    LK_N_MATERIALS
} lk_material;

const char *lk_material_name(lk_material material);

#define LK_MODES_MAX 8

typedef struct lk_modal_body {
    int n;
    double hz[LK_MODES_MAX];
    double decay_s[LK_MODES_MAX]; /* to 1/e */
    double gain[LK_MODES_MAX];
    double contact_s; /* length of the contact noise */
    double contact_gain;
    double length_s; /* after this it is below -66 dB and cut */
    uint64_t seed;
} lk_modal_body;

/* pitch moves the body's usual frequency, 1 = usual; seed varies modes by a few per cent. */
void lk_modal_make(lk_modal_body *body, lk_material material, double pitch, uint64_t seed);

/* Add the part of one hit that falls into the block starting at sample `first`; hit is a number
 * that tells hits apart, gain in (0, 1]. */
void lk_modal_add(const lk_modal_body *body, uint64_t hit, double time_s, double gain,
                  const lk_sound_grid *grid, int64_t first, float mono[LK_WORLD_BLOCK]);

#endif /* LK_MODAL_H */
