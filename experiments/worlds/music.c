/* music.c - see music.h.
 *
 * A bar is a grid of four steps a beat; a pattern gives each drum the chance of a hit per step.
 * Step p in [0, 1) of a beat sounds at w(p) = p (1 + s) below one half and 1 - (1 - p)(1 - s)
 * above, s the swing.
 *
 * Every voice is a closed form of the time u since its start:
 *     kick   exp(-u / d) sin(2 pi (f u + g c (1 - exp(-u / c))))   pitch falls from f + g to f
 *     snare  two such sines with constant pitch and noise
 *     hat    noise differenced twice;  clap  coarse noise in four bursts
 *     bass   decaying harmonics;  pad  soft harmonics of a triad
 * Noise is a straight line between random values at fixed times after the start of the hit.
 */
#include "experiments/worlds/music.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

#include <math.h>
#include <stdlib.h>

#define PI      3.14159265358979323846
#define GAIN    0.72
#define LONGEST 0.6 /* no drum sounds longer, seconds */
#define STEPS   16

enum { S_STYLE = LK_STREAM_KIND + 200, S_FLAM, S_HIT, S_HARMONY, S_BASS };
#define S_NOISE (UINT64_C(1) << 32) /* one stream a hit from here on */

typedef struct note {
    double t, length, hz;
    float strength;
    int partials;
    bool pad;
} note;

/* Chance of a hit, in ninths, per step of a bar: '.' never, '9' always. */
typedef struct pattern {
    const char *name;
    int beats;
    double slowest, fastest;
    const char *rows[4]; /* kick, snare, hat, clap */
} pattern;

static const pattern patterns[] = {
    {"house",
     4,
     112,
     130,
     {"9...9...9...9..2", "................", "6.9.6.9.6.9.6.91", "....9.......9..."}},
    {"rock",
     4,
     90,
     170,
     {"9.....3.9.5.....", "....9.......9...", "9.9.9.9.9.9.9.9.", "................"}},
    {"funk",
     4,
     90,
     124,
     {"9..6..2.2.7..3..", "....9..4.3..9..2", "9595959595959595", "................"}},
    {"hip hop",
     4,
     70,
     100,
     {"9..3....2.9..2..", "....9.......9...", "9.9.9.929.9.9.96", "....5.......5..."}},
    {"waltz", 3, 84, 160, {"9.......2...", "....7...7...", "9.2.9.4.9.4.", "............"}},
};
#define N_PATTERNS (sizeof patterns / sizeof patterns[0])

struct lk_music {
    uint64_t seed;
    const pattern *pattern;
    double period, origin, swing, start, end;
    int64_t n_hits, n_notes;
    size_t hit_capacity, note_capacity;
    lk_hit_drum *hits;
    note *notes;    /* sorted by t */
    double longest; /* note */
};

static double draw(const lk_music *m, uint64_t stream, uint64_t i, double lo, double hi)
{
    return lk_rng_range(m->seed, stream, i, lo, hi);
}

/* ---- time --------------------------------------------------------------------------------- */

double lk_music_beat(const lk_music *m, int64_t k)
{
    return m->origin + (double)k * m->period;
}

double lk_music_beats_at(const lk_music *m, double t)
{
    return (t - m->origin) / m->period;
}

/* Bars are counted from the one that holds the start, so that numbers are never negative. */
static int64_t first_beat(const lk_music *m)
{
    return (int64_t)ceil(lk_music_beats_at(m, m->start)) - m->pattern->beats;
}

int64_t lk_music_bar(const lk_music *m, int64_t k)
{
    const int64_t n = m->pattern->beats;
    const int64_t from = (first_beat(m) - 8 * n) / n * n - n;
    return (k - from) / n;
}

int lk_music_in_bar(const lk_music *m, int64_t k)
{
    const int64_t n = m->pattern->beats;
    return (int)(((k % n) + n) % n) + 1;
}

static double step_time(const lk_music *m, int64_t bar_beat, int step)
{
    const double p = (step % 4) / 4.0;
    const double w = p < 0.5 ? p * (1 + m->swing) : 1 - (1 - p) * (1 - m->swing);
    return lk_music_beat(m, bar_beat + step / 4) + w * m->period;
}

/* ---- the score ---------------------------------------------------------------------------- */

static lk_status add_hit(lk_music *m, lk_drum drum, double t, double strength)
{
    lk_status st = LK_OK;
    LK_TRY(LK_GROW(&m->hits, &m->hit_capacity, m->n_hits + 1));
    m->hits[m->n_hits++] = (lk_hit_drum){t, drum, (float)strength};
done:
    return st;
}

static lk_status add_note(lk_music *m, note n)
{
    lk_status st = LK_OK;
    LK_TRY(LK_GROW(&m->notes, &m->note_capacity, m->n_notes + 1));
    m->notes[m->n_notes++] = n;
    m->longest = fmax(m->longest, n.length);
done:
    return st;
}

static lk_status add_drums(lk_music *m, int64_t beat, uint64_t bar, bool dense)
{
    lk_status st = LK_OK;
    const int steps = 4 * m->pattern->beats;
    const bool fill = bar % 4 == 3;
    for (int drum = 0; drum < 4; drum++) {
        for (int step = 0; step < steps; step++) {
            const char chance = m->pattern->rows[drum][step];
            const uint64_t k = (bar * 4 + (uint64_t)drum) * STEPS + (uint64_t)step;
            double p = chance == '.' ? 0 : (chance - '0') / 9.0;
            if (drum == LK_DRUM_HAT && dense)
                p = 1;
            if (drum == LK_DRUM_SNARE && fill && step >= steps - 4)
                p = fmax(p, 0.75);
            if (draw(m, S_HIT, 2 * k, 0, 1) >= p)
                continue;
            const double weight = step % 4 == 0 ? 1 : step % 2 == 0 ? 0.75 : 0.55;
            const double t = step_time(m, beat, step);
            LK_TRY(add_hit(m, (lk_drum)drum, t, weight * draw(m, S_HIT, 2 * k + 1, 0.8, 1.0)));
            if (dense && drum == LK_DRUM_SNARE)
                LK_TRY(add_hit(m, LK_DRUM_CLAP, t + draw(m, S_FLAM, k, 0.015, 0.05), 0.7));
        }
    }
done:
    return st;
}

static double pitch(double root_hz, int semitones)
{
    return root_hz * exp2(semitones / 12.0);
}

/* Scale degrees of the roots, one a bar, and the triads on them. */
static lk_status add_harmony(lk_music *m, int64_t beat, uint64_t bar)
{
    static const int progressions[4][4] = {
        {0, -3, 5, 7}, {0, 7, -3, 5}, {0, 5, 0, 7}, {0, -2, -4, 7}};
    lk_status st = LK_OK;
    const int beats = m->pattern->beats;
    const double root = draw(m, S_HARMONY, 0, 41, 62), t = lk_music_beat(m, beat);
    const int which = (int)draw(m, S_HARMONY, 1, 0, 4), move = progressions[which][bar % 4];
    const bool minor = move == -3 || which == 3;
    const int triad[3] = {0, minor ? 3 : 4, 7};
    for (int i = 0; i < 3; i++)
        LK_TRY(add_note(m, (note){.t = t,
                                  .length = beats * m->period + 0.25,
                                  .hz = pitch(4 * root, move + triad[i]),
                                  .strength = 0.030f,
                                  .partials = 4,
                                  .pad = true}));
    for (int step = 0; step < 4 * beats; step += 2) {
        const uint64_t k = bar % 2 * STEPS + (uint64_t)step; /* a figure of two bars, repeated */
        const double chance = step == 0 ? 1 : step % 4 == 0 ? 0.7 : 0.35;
        if (draw(m, S_BASS, 3 * k, 0, 1) >= chance)
            continue;
        static const int degrees[4] = {0, 0, 7, 12};
        const int up = step == 0 ? 0 : degrees[(int)draw(m, S_BASS, 3 * k + 1, 0, 4)];
        LK_TRY(add_note(m, (note){.t = step_time(m, beat, step),
                                  .length = m->period * draw(m, S_BASS, 3 * k + 2, 0.4, 0.95),
                                  .hz = pitch(root, move + up),
                                  .strength = 0.15f,
                                  .partials = 7}));
    }
done:
    return st;
}

static int by_hit_time(const void *a, const void *b)
{
    const lk_hit_drum *x = a, *y = b;
    return x->t != y->t ? (x->t > y->t) - (x->t < y->t) : (int)x->drum - (int)y->drum;
}

static int by_note_time(const void *a, const void *b)
{
    const note *x = a, *y = b;
    return x->t != y->t ? (x->t > y->t) - (x->t < y->t) : (x->hz > y->hz) - (x->hz < y->hz);
}

lk_status lk_music_create(lk_music **music, uint64_t seed, double start_s, double end_s, bool dense)
{
    lk_status st = LK_OK;
    lk_music *m = NULL;
    *music = NULL;
    LK_REQUIRE(end_s > start_s, LK_E_ARG, "music from %g s to %g s has no length", start_s, end_s);
    LK_TRY(LK_NEW(&m));
    m->seed = seed;
    m->start = start_s;
    m->end = end_s;
    m->pattern = &patterns[(size_t)draw(m, S_STYLE, 0, 0, (double)N_PATTERNS)];
    m->period = 60 / draw(m, S_STYLE, 1, m->pattern->slowest, m->pattern->fastest);
    m->origin = draw(m, S_STYLE, 2, 0, m->period);
    m->swing = draw(m, S_STYLE, 3, 0, 1) < 0.5 ? 0 : draw(m, S_STYLE, 4, 0.08, 1.0 / 3);
    const int beats = m->pattern->beats;
    int64_t beat = first_beat(m);
    while (lk_music_in_bar(m, beat) != 1)
        beat--;
    for (; lk_music_beat(m, beat) < end_s; beat += beats) {
        const uint64_t bar = (uint64_t)lk_music_bar(m, beat);
        LK_TRY(add_drums(m, beat, bar, dense));
        LK_TRY(add_harmony(m, beat, bar));
    }
    qsort(m->hits, (size_t)m->n_hits, sizeof *m->hits, by_hit_time);
    qsort(m->notes, (size_t)m->n_notes, sizeof *m->notes, by_note_time);
    *music = m;
    m = NULL;
done:
    lk_music_free(&m);
    return st;
}

void lk_music_free(lk_music **music)
{
    if (!music || !*music)
        return;
    lk_free((*music)->hits);
    lk_free((*music)->notes);
    lk_free(*music);
    *music = NULL;
}

lk_music_style lk_music_style_of(const lk_music *m)
{
    return (lk_music_style){60 / m->period, m->pattern->beats, m->swing, m->pattern->name};
}

int64_t lk_music_n_hits(const lk_music *m)
{
    return m->n_hits;
}

const lk_hit_drum *lk_music_hits(const lk_music *m)
{
    return m->hits;
}

const char *lk_drum_name(lk_drum drum)
{
    static const char *const names[] = {"kick", "snare", "hat", "clap"};
    return names[drum];
}

/* ---- voices ------------------------------------------------------------------------------- */

/* Random values at rate hz after the start of hit `id`, joined by lines. */
static double noise(const lk_music *m, uint64_t id, double u, double hz)
{
    const double x = u * hz;
    const uint64_t i = (uint64_t)x;
    const double f = x - (double)i, a = lk_rng_uniform(m->seed, S_NOISE + id, i);
    const double b = lk_rng_uniform(m->seed, S_NOISE + id, i + 1);
    return 2 * (a + (b - a) * f) - 1;
}

/* Above the lattice of a coarser one: what two octaves of noise do not share. */
static double bright_noise(const lk_music *m, uint64_t id, double u, double hz)
{
    const double d = 1 / hz;
    return 0.5 * (noise(m, id, u + 2 * d, hz) - 2 * noise(m, id, u + d, hz) + noise(m, id, u, hz));
}

static double kick(double u)
{
    const double c = 0.028, phase = 48 * u + 130 * c * (1 - exp(-u / c));
    const double click = u < 0.004 ? (1 - u / 0.004) * sin(2 * PI * 2400 * u) : 0;
    return 0.75 * exp(-u / 0.13) * sin(2 * PI * phase) + 0.25 * click;
}

static double drum_at(const lk_music *m, uint64_t id, lk_drum drum, double u)
{
    double burst = 0;
    switch (drum) {
    case LK_DRUM_KICK:
        return kick(u);
    case LK_DRUM_SNARE:
        return 0.24 * exp(-u / 0.06) * (sin(2 * PI * 188 * u) + 0.6 * sin(2 * PI * 331 * u)) +
               0.36 * exp(-u / 0.075) * bright_noise(m, id, u, 14000);
    case LK_DRUM_HAT:
        return 0.20 * exp(-u / 0.028) * bright_noise(m, id, u, 30000);
    case LK_DRUM_CLAP:
        for (int i = 0; i < 4; i++) {
            const double v = u - 0.011 * i;
            if (v >= 0)
                burst = fmax(burst, exp(-v / (i < 3 ? 0.004 : 0.07)));
        }
        return 0.40 * burst * bright_noise(m, id, u, 5200);
    }
    return 0;
}

static double drum_length(lk_drum drum)
{
    static const double length[] = {0.6, 0.4, 0.18, 0.4};
    return length[drum];
}

/* A straight fade over the last twentieth of a second and a soft start for pads. */
static double note_envelope(const note *n, double u)
{
    const double out = fmin(1, (n->length - u) / (n->pad ? 0.25 : 0.05));
    const double in = fmin(1, u / (n->pad ? 0.30 : 0.004));
    return n->strength * in * fmax(0, out) * (n->pad ? 1 : 0.35 + 0.65 * exp(-u / 0.25));
}

static double note_at(const note *n, double u, double nyquist)
{
    double sum = 0;
    for (int k = 1; k <= n->partials && k * n->hz < 0.9 * nyquist; k++)
        sum += sin(2 * PI * k * n->hz * u) * (n->pad ? 1.0 / (k * k) : exp(-u * k / 0.5) / k);
    return sum * note_envelope(n, u);
}

static int first_sample(double t, double t0, double dt)
{
    const double i = ceil((t - t0) / dt);
    return i < 0 ? 0 : i > LK_WORLD_BLOCK ? LK_WORLD_BLOCK : (int)i;
}

void lk_music_sound(const lk_music *m, const lk_sound_grid *grid, int64_t first, float *mono)
{
    const double t0 = lk_sound_time(grid, first), dt = 1 / (grid->rate_hz * grid->stretch);
    const double t1 = t0 + LK_WORLD_BLOCK * dt, nyquist = 0.5 * grid->rate_hz;
    int64_t lo = 0, hi = m->n_hits;
    while (lo < hi) {
        const int64_t mid = (lo + hi) / 2;
        if (m->hits[mid].t < t0 - LONGEST)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (int64_t h = lo; h < m->n_hits && m->hits[h].t < t1; h++) {
        const lk_hit_drum *x = &m->hits[h];
        const double length = drum_length(x->drum);
        const int i1 = first_sample(x->t + length, t0, dt);
        for (int i = first_sample(x->t, t0, dt); i < i1; i++) {
            const double u = t0 + i * dt - x->t;
            mono[i] += (float)(GAIN * x->strength * (1 - u / length) *
                               drum_at(m, (uint64_t)h, x->drum, fmax(0, u)));
        }
    }
    for (lo = 0, hi = m->n_notes; lo < hi;) {
        const int64_t mid = (lo + hi) / 2;
        if (m->notes[mid].t < t0 - m->longest)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (int64_t k = lo; k < m->n_notes && m->notes[k].t < t1; k++) {
        const note *n = &m->notes[k];
        const int i1 = first_sample(n->t + n->length, t0, dt);
        for (int i = first_sample(n->t, t0, dt); i < i1; i++)
            mono[i] += (float)(GAIN * note_at(n, t0 + i * dt - n->t, nyquist));
    }
}
