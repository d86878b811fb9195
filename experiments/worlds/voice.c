/* voice.c - see voice.h.
 *
 *   F1 = 240 + 560 opening     F2 = 1350 + 850 width + 150 opening     F3 = 2500 + 300 width
 *   pulse loudness = voicing (0.12 + 0.88 opening)
 *
 * Each glottal pulse adds, for each formant, (1 - exp(-s / 0.3 ms)) exp(-pi B s) sin(2 pi F s) from
 * its own instant on.  Friction is a shower of short grains, 3000 a second, of random height.
 * Nothing depends on what was rendered before, so any block can be made alone.
 */
#include "experiments/worlds/voice.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

#include <math.h>
#include <string.h>

#define PI          3.14159265358979323846
#define GRAIN_S     0.024
#define NOISE_S     0.004
#define NOISE_PER_S 3000
#define N_FORMANTS  4

enum { S_PHRASE = LK_STREAM_KIND + 100, S_SYLLABLE, S_PITCH, S_NOISE, S_NOISE_AT };

typedef struct pulse {
    double t;
    float height, f[N_FORMANTS];
} pulse;

struct lk_voice {
    uint64_t seed;
    double base_hz, tract; /* pitch; tract length factor of the formants */
    int64_t n_phones, n_pulses;
    size_t phone_room, pulse_room;
    lk_phone *phone;
    pulse *pulses;
};

typedef struct sound {
    const char *name;
    double opening, width, voicing, friction, noise_hz, seconds;
    bool closed;
} sound;

static const sound vowels[] = {
    {"aa", 0.95, 0.00, 1, 0, 0, 0.16, false},  {"ae", 0.80, 0.55, 1, 0, 0, 0.15, false},
    {"eh", 0.58, 0.45, 1, 0, 0, 0.13, false},  {"iy", 0.22, 0.95, 1, 0, 0, 0.13, false},
    {"ao", 0.66, -0.55, 1, 0, 0, 0.15, false}, {"uw", 0.20, -0.95, 1, 0, 0, 0.14, false},
    {"ow", 0.45, -0.80, 1, 0, 0, 0.15, false}, {"ah", 0.62, 0.05, 1, 0, 0, 0.12, false},
};
#define N_VOWELS (sizeof vowels / sizeof vowels[0])

static const sound consonants[] = {
    {"p", 0.00, 0.00, 0.00, 0.00, 1200, 0.085, true},
    {"b", 0.00, 0.00, 0.10, 0.00, 900, 0.075, true},
    {"m", 0.00, 0.00, 0.30, 0.00, 0, 0.080, true},
    {"t", 0.12, 0.30, 0.00, 0.00, 4200, 0.070, false},
    {"d", 0.12, 0.30, 0.10, 0.00, 3600, 0.060, false},
    {"n", 0.15, 0.20, 0.30, 0.00, 0, 0.070, false},
    {"s", 0.10, 0.45, 0.00, 0.55, 5600, 0.095, false},
    {"sh", 0.14, -0.50, 0.00, 0.60, 3000, 0.095, false},
    {"f", 0.05, 0.10, 0.00, 0.30, 4500, 0.085, false},
    {"l", 0.25, 0.10, 0.45, 0.00, 0, 0.065, false},
    {"w", 0.08, -1.00, 0.45, 0.00, 0, 0.070, false},
    {"k", 0.25, 0.00, 0.00, 0.00, 2000, 0.075, false},
};
#define N_CONSONANTS (sizeof consonants / sizeof consonants[0])

static double smooth(double x)
{
    x = x < 0 ? 0 : x > 1 ? 1 : x;
    return x * x * (3 - 2 * x);
}

/* ---- the script ------------------------------------------------------------------------------ */

static lk_status add_phone(lk_voice *v, const sound *s, double t0, double seconds, double stress)
{
    lk_status st = LK_OK;
    LK_TRY(LK_GROW(&v->phone, &v->phone_room, v->n_phones + 1));
    v->phone[v->n_phones++] = (lk_phone){.name = s ? s->name : "sil",
                                         .t0 = t0,
                                         .t1 = t0 + seconds,
                                         .opening = s ? s->opening * stress : 0,
                                         .width = s ? s->width : 0,
                                         .voicing = s ? s->voicing : 0,
                                         .friction = s ? s->friction : 0,
                                         .noise_hz = s ? s->noise_hz : 0,
                                         .closed = s ? s->closed : true};
done:
    return st;
}

static lk_status write_script(lk_voice *v, double until)
{
    lk_status st = LK_OK;
    double t = -LK_WORLD_LEAD_S;
    uint64_t syllable = 0;
    for (uint64_t phrase = 0; t < until; phrase++) {
        const double pause = lk_rng_range(v->seed, S_PHRASE, 2 * phrase, 0.25, 0.75);
        const int n = 3 + (int)lk_rng_below(v->seed, S_PHRASE, 2 * phrase + 1, 6);
        LK_TRY(add_phone(v, NULL, t, pause, 0));
        t += pause;
        for (int i = 0; i < n; i++, syllable++) {
            const uint64_t k = 8 * syllable;
            const double stress = lk_rng_range(v->seed, S_SYLLABLE, k, 0.62, 1.0);
            const double pace = lk_rng_range(v->seed, S_SYLLABLE, k + 1, 0.85, 1.35);
            const sound *c = &consonants[lk_rng_below(v->seed, S_SYLLABLE, k + 2, N_CONSONANTS)];
            const sound *w = &vowels[lk_rng_below(v->seed, S_SYLLABLE, k + 3, N_VOWELS)];
            const bool coda = lk_rng_below(v->seed, S_SYLLABLE, k + 4, 4) == 0;
            LK_TRY(add_phone(v, c, t, c->seconds * pace, 1));
            t += c->seconds * pace;
            LK_TRY(add_phone(v, w, t, w->seconds * pace, stress));
            t += w->seconds * pace;
            if (coda) {
                c = &consonants[lk_rng_below(v->seed, S_SYLLABLE, k + 5, N_CONSONANTS)];
                LK_TRY(add_phone(v, c, t, c->seconds * pace, 1));
                t += c->seconds * pace;
            }
        }
    }
done:
    return st;
}

/* Index of the phone at t; the first or last beyond the ends. */
static int64_t phone_at(const lk_voice *v, double t)
{
    int64_t lo = 0, hi = v->n_phones;
    while (hi - lo > 1) {
        const int64_t mid = (lo + hi) / 2;
        if (v->phone[mid].t0 <= t)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* Where a phone holds its target: shut lips all the time, others in their middle. */
static void hold_of(const lk_phone *p, double *from, double *to)
{
    const double middle = 0.5 * (p->t0 + p->t1), reach = p->closed ? 0.5 : 0.12;
    *from = middle - reach * (p->t1 - p->t0);
    *to = middle + reach * (p->t1 - p->t0);
}

lk_mouth_pose lk_voice_mouth(const lk_voice *v, double t)
{
    const int64_t i = phone_at(v, t);
    const lk_phone *a = &v->phone[i], *b = a;
    double from, to, next, unused;
    hold_of(a, &from, &to);
    if (t < from && i > 0) {
        a = &v->phone[i - 1];
        hold_of(a, &unused, &to);
        next = from;
    } else if (t > to && i + 1 < v->n_phones) {
        b = &v->phone[i + 1];
        hold_of(b, &next, &unused);
    } else {
        next = to + 1;
    }
    const double x = t <= to ? 0 : smooth((t - to) / (next - to));
    const bool tip_a = strchr("tdnsl", a->name[0]) && a->name[1] == '\0';
    const bool tip_b = strchr("tdnsl", b->name[0]) && b->name[1] == '\0';
    return (lk_mouth_pose){.opening = a->opening + x * (b->opening - a->opening),
                           .width = a->width + x * (b->width - a->width),
                           .tongue = (1 - x) * tip_a + x * tip_b,
                           .stress = a->opening};
}

/* Voicing and friction change over 12 ms around a boundary, but shut lips cut at once. */
static double level_at(const lk_voice *v, double t, bool friction)
{
    const double edge = 0.006;
    const int64_t i = phone_at(v, t);
    const lk_phone *p = &v->phone[i];
    const double here = friction ? p->friction : p->voicing;
    const lk_phone *q = t - p->t0 < edge && i > 0                 ? p - 1
                        : p->t1 - t < edge && i + 1 < v->n_phones ? p + 1
                                                                  : NULL;
    if (!q)
        return here;
    const double there = friction ? q->friction : q->voicing;
    const double distance = q < p ? t - p->t0 : p->t1 - t;
    return here + (there - here) * 0.5 * (1 - distance / edge);
}

/* ---- pulses ---------------------------------------------------------------------------------- */

static double pitch_at(const lk_voice *v, double t)
{
    const int64_t i = phone_at(v, t);
    double start = v->phone[i].t0;
    for (int64_t k = i; k >= 0 && strcmp(v->phone[k].name, "sil") != 0; k--)
        start = v->phone[k].t0;
    const double sway = lk_rng_range(v->seed, S_PITCH, (uint64_t)i, -0.06, 0.06);
    return v->base_hz * (1.12 - 0.10 * fmin(t - start, 2.5)) *
           (1 + sway * sin(PI * (t - v->phone[i].t0) / (v->phone[i].t1 - v->phone[i].t0)));
}

static lk_status place_pulses(lk_voice *v, double until)
{
    lk_status st = LK_OK;
    for (double t = -LK_WORLD_LEAD_S; t < until; t += 1 / pitch_at(v, t)) {
        const lk_mouth_pose m = lk_voice_mouth(v, t);
        const double voicing = level_at(v, t, false);
        if (voicing < 0.01)
            continue;
        LK_TRY(LK_GROW(&v->pulses, &v->pulse_room, v->n_pulses + 1));
        pulse *p = &v->pulses[v->n_pulses++];
        p->t = t;
        p->height = (float)(0.34 * voicing * (0.12 + 0.88 * m.opening));
        p->f[0] = (float)(v->tract * (240 + 560 * m.opening));
        p->f[1] = (float)(v->tract * (1350 + 850 * m.width + 150 * m.opening));
        p->f[2] = (float)(v->tract * (2500 + 300 * m.width));
        p->f[3] = (float)(v->tract * 3500);
    }
done:
    return st;
}

lk_status lk_voice_create(lk_voice **voice, uint64_t seed, double until_s)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW(voice));
    lk_voice *v = *voice;
    v->seed = seed;
    const double u = lk_rng_range(seed, S_PITCH, UINT64_MAX, 0, 1);
    v->base_hz = 95 * pow(2.3, u);
    v->tract = 0.94 + 0.2 * u;
    LK_TRY(write_script(v, until_s));
    LK_TRY(place_pulses(v, until_s));
done:
    return st;
}

void lk_voice_free(lk_voice **voice)
{
    if (!voice || !*voice)
        return;
    lk_free((*voice)->phone);
    lk_free((*voice)->pulses);
    lk_free(*voice);
    *voice = NULL;
}

int64_t lk_voice_n_phones(const lk_voice *v)
{
    return v->n_phones;
}

const lk_phone *lk_voice_phones(const lk_voice *v)
{
    return v->phone;
}

/* ---- sound ----------------------------------------------------------------------------------- */

/* Add height * attack * exp(-decay s) * sin(2 pi f s), s = time since t0, until it is `length` old;
 * the last quarter fades out.  The recursion starts anew in every block. */
static void add_grain(const lk_sound_grid *g, int64_t first, double t0, double length, double f,
                      double decay, double attack, double height, float *mono)
{
    const double step = 1 / (g->rate_hz * g->stretch);
    const double offset = t0 - lk_sound_time(g, first);
    int64_t n0 = (int64_t)ceil(offset / step);
    int64_t n1 = (int64_t)ceil((offset + length) / step);
    n0 = n0 < 0 ? 0 : n0;
    n1 = n1 > LK_WORLD_BLOCK ? LK_WORLD_BLOCK : n1;
    if (n0 >= n1)
        return;
    const double s0 = (double)n0 * step - offset, w = 2 * PI * f;
    double re = exp(-decay * s0) * cos(w * s0) * height;
    double im = exp(-decay * s0) * sin(w * s0) * height;
    double rise = exp(-s0 / attack);
    const double cr = exp(-decay * step) * cos(w * step), ci = exp(-decay * step) * sin(w * step);
    const double rise_step = exp(-step / attack);
    for (int64_t n = n0; n < n1; n++) {
        const double s = (double)n * step - offset;
        const double fade = s > 0.75 * length ? (length - s) / (0.25 * length) : 1;
        mono[n] += (float)((1 - rise) * im * fade);
        const double next = re * cr - im * ci;
        im = re * ci + im * cr;
        re = next;
        rise *= rise_step;
    }
}

static void add_pulses(const lk_voice *v, const lk_sound_grid *g, int64_t first, float *mono)
{
    static const double bandwidth[N_FORMANTS] = {70, 100, 150, 220};
    static const double share[N_FORMANTS] = {1.0, 0.55, 0.25, 0.10};
    const double from = lk_sound_time(g, first) - GRAIN_S;
    const double to = lk_sound_time(g, first + LK_WORLD_BLOCK);
    int64_t lo = 0, hi = v->n_pulses;
    while (lo < hi) {
        const int64_t mid = (lo + hi) / 2;
        if (v->pulses[mid].t > from)
            hi = mid;
        else
            lo = mid + 1;
    }
    for (int64_t i = lo; i < v->n_pulses && v->pulses[i].t < to; i++) {
        const pulse *p = &v->pulses[i];
        for (int k = 0; k < N_FORMANTS; k++) {
            if (p->f[k] < 0.45 * g->rate_hz)
                add_grain(g, first, p->t, GRAIN_S, p->f[k], PI * bandwidth[k], 0.0003,
                          share[k] * (double)p->height, mono);
        }
    }
}

/* Noise of fricatives, and the burst in the first 12 ms after a stop. */
static double noise_level(const lk_voice *v, double t, double *hz)
{
    const int64_t i = phone_at(v, t);
    const lk_phone *p = &v->phone[i];
    *hz = p->noise_hz;
    const double friction = level_at(v, t, true);
    if (i > 0 && t - p->t0 < 0.012) {
        const lk_phone *before = p - 1;
        const bool stop = strchr("ptkbd", before->name[0]) && before->name[1] == '\0';
        if (stop) {
            *hz = before->noise_hz;
            return (before->voicing > 0 ? 0.25 : 0.55) * (1 - (t - p->t0) / 0.012);
        }
    }
    return *hz > 0 ? friction : 0;
}

static void add_noise(const lk_voice *v, const lk_sound_grid *g, int64_t first, float *mono)
{
    const double from = lk_sound_time(g, first) - NOISE_S;
    const double to = lk_sound_time(g, first + LK_WORLD_BLOCK);
    const int64_t shift = (int64_t)(2 * LK_WORLD_LEAD_S * NOISE_PER_S);
    for (int64_t k = (int64_t)floor(from * NOISE_PER_S); (double)k < to * NOISE_PER_S; k++) {
        const uint64_t index = (uint64_t)(k + shift);
        const double t = ((double)k + lk_rng_range(v->seed, S_NOISE_AT, index, 0, 1)) / NOISE_PER_S;
        double hz = 0;
        const double level = noise_level(v, t, &hz);
        if (level < 0.01 || hz > 0.4 * g->rate_hz)
            continue;
        const double height = 0.16 * level * (double)lk_rng_normal(v->seed, S_NOISE, index);
        add_grain(g, first, t, NOISE_S, hz, PI * 0.3 * hz, 0.0001, height, mono);
    }
}

void lk_voice_add(const lk_voice *v, const lk_sound_grid *g, int64_t first, float *mono)
{
    add_pulses(v, g, first, mono);
    add_noise(v, g, first, mono);
}
