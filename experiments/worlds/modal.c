/* modal.c - see modal.h.
 *
 * Within a block each mode is a complex number z turned by exp((i 2 pi f - 1/d) h) per sample, with
 * h the step of picture time; its first value in the block comes from the exact time of that
 * sample. Contact: noise on a lattice of 30 kHz in the hit's own time, joined linearly, under a
 * window that rises in a tenth of the contact time and decays over the rest.
 */
#include "experiments/worlds/modal.h"

#include "kernels/rng.h"

#include <math.h>

#define PI         3.14159265358979323846
#define LATTICE_HZ 30000.0

typedef struct recipe {
    const char *name;
    double hz;                  /* usual lowest mode */
    double ratio[LK_MODES_MAX]; /* 0 ends */
    double decay_s, damping;    /* of the lowest mode; higher ones decay by ratio^-damping */
    double tilt;                /* gain of mode k is ratio^-tilt */
    double contact_s, contact_gain;
} recipe;

static const recipe recipes[LK_N_MATERIALS] = {
    [LK_WOOD] = {"wood", 420, {1, 2.76, 5.40, 8.93}, 0.055, 0.7, 0.7, 0.0012, 0.55},
    [LK_METAL] = {"metal", 900, {1, 2.76, 5.40, 8.93, 13.34}, 0.55, 0.6, 0.5, 0.0006, 0.35},
    [LK_GLASS] = {"glass", 1500, {1, 2.32, 4.25, 6.63, 9.38}, 0.22, 0.5, 0.3, 0.0005, 0.40},
    [LK_RUBBER] = {"rubber", 105, {1, 1.59, 2.5, 6.1, 9.3}, 0.050, 0.3, 0.5, 0.0020, 0.70},
    [LK_STONE] =
        {"stone", 1150, {1, 1.37, 1.83, 2.41, 3.18, 4.2, 5.6}, 0.020, 0.4, 0.2, 0.0008, 0.80},
    [LK_DRUM] = {"drum", 130, {1, 1.594, 2.136, 2.296, 2.653, 2.918}, 0.16, 0.5, 0.5, 0.0018, 0.6},
};

const char *lk_material_name(lk_material material)
{
    return recipes[material].name;
}

void lk_modal_make(lk_modal_body *body, lk_material material, double pitch, uint64_t seed)
{
    const recipe *r = &recipes[material];
    double sum = 0, longest = 0;
    *body = (lk_modal_body){
        .contact_s = r->contact_s, .contact_gain = 0.5 * r->contact_gain, .seed = seed};
    for (int k = 0; k < LK_MODES_MAX && r->ratio[k] > 0; k++) {
        const uint64_t i = (uint64_t)k;
        body->hz[k] = r->hz * pitch * r->ratio[k] * lk_rng_range(seed, 1, i, 0.98, 1.02);
        body->decay_s[k] =
            r->decay_s * pow(r->ratio[k], -r->damping) * lk_rng_range(seed, 2, i, 0.85, 1.15);
        body->gain[k] = pow(r->ratio[k], -r->tilt) * lk_rng_range(seed, 3, i, 0.7, 1.0);
        sum += body->gain[k];
        longest = fmax(longest, body->decay_s[k]);
        body->n++;
    }
    for (int k = 0; k < body->n; k++)
        body->gain[k] *= 0.75 / sum;
    body->length_s = fmax(7.6 * longest, 2 * body->contact_s);
}

static void add_mode(const lk_modal_body *b, int k, double gain, double start, double step,
                     int from, int to, float *mono)
{
    const double turn = 2 * PI * b->hz[k], shrink = exp(-step / b->decay_s[k]);
    const double wr = shrink * cos(turn * step), wi = shrink * sin(turn * step);
    const double size = gain * b->gain[k] * exp(-start / b->decay_s[k]);
    const double angle = fmod(turn * start, 2 * PI);
    double re = size * cos(angle), im = size * sin(angle);
    for (int i = from; i < to; i++) {
        mono[i] += (float)im;
        const double next = re * wr - im * wi;
        im = re * wi + im * wr;
        re = next;
    }
}

static double contact_at(const lk_modal_body *b, uint64_t hit, double age)
{
    const double at = age * LATTICE_HZ, whole = floor(at), f = at - whole;
    const uint64_t i = (uint64_t)whole;
    const double a = 2.0 * lk_rng_uniform(b->seed, 100 + hit, i) - 1;
    const double c = 2.0 * lk_rng_uniform(b->seed, 100 + hit, i + 1) - 1;
    const double rise = fmin(1, age / (0.1 * b->contact_s));
    const double fall = exp(-2.5 * age / b->contact_s);
    return (a + (c - a) * f) * rise * fall;
}

void lk_modal_add(const lk_modal_body *b, uint64_t hit, double time_s, double gain,
                  const lk_sound_grid *grid, int64_t first, float mono[LK_WORLD_BLOCK])
{
    const double step = 1 / (grid->rate_hz * grid->stretch);
    const double start = lk_sound_time(grid, first) - time_s;
    const double end = start + step * LK_WORLD_BLOCK;
    if (end <= 0 || start > b->length_s)
        return;
    int from = start < 0 ? (int)ceil(-start / step) : 0;
    if (from >= LK_WORLD_BLOCK)
        return;
    const double age = fmax(0, lk_sound_time(grid, first + from) - time_s);
    for (int k = 0; k < b->n; k++) {
        if (b->hz[k] < 0.45 * grid->rate_hz && age < 7.6 * b->decay_s[k])
            add_mode(b, k, gain, age, step, from, LK_WORLD_BLOCK, mono);
    }
    for (int i = from; i < LK_WORLD_BLOCK; i++) {
        const double a = lk_sound_time(grid, first + i) - time_s;
        if (a > 3 * b->contact_s)
            break;
        if (a > 0)
            mono[i] += (float)(gain * b->contact_gain * contact_at(b, hit, a));
    }
}
