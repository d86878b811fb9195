/* voice.c - see voice.h.
 *
 * Targets x_i of phone i on [s_i, e_i) are smoothed by a raised cosine of width W, symmetric so
 * that nothing is delayed:  x(t) = sum_i x_i (K((t - s_i) / W) - K((t - e_i) / W)), K(z) = 1/2 + z
 * + sin(2 pi z) / (2 pi) on [-1/2, 1/2], 0 below, 1 above. Lip closures multiply the opening by a
 * gate that is 0 in the span and rises within LIP_S outside.
 *
 *     loudness  E = level (FLOOR + (1 - FLOOR) opening)
 *     F1 = 230 + 620 opening,  F2 = 780 + 1520 width   (times the tract's scale)
 *
 * Voiced sound: at each glottal instant t_k (phase of f0 passes a whole number) a grain
 *     g(u) = rise(u) fall(u) sum_j a_j exp(-pi B_j u) sin(2 pi F_j u),  0 <= u < GRAIN_S,
 * with F_j taken at t_k; the sum of grains is multiplied by E at the sample's own time.
 * Noise: the same with one wide band per grain, HISS_RATE grains a second, random sign and size.
 */
#include "experiments/worlds/voice.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

#include <math.h>
#include <string.h>

#define PI        3.14159265358979323846
#define WIDE_S    0.100 /* smoothing of the mouth */
#define NARROW_S  0.024 /* smoothing of source levels */
#define LIP_S     0.050 /* lips part and meet */
#define STOP_S    0.006 /* source fades next to a stop */
#define VOT_S     0.010 /* voice onset after p, t, k */
#define FLOOR     0.16
#define GRAIN_S   0.025
#define RISE_S    0.0007
#define HISS_RATE 8000.0
#define HISS_S    0.005
#define N_FORMANT 5

enum { S_PHONES = LK_STREAM_KIND + 100, S_JITTER, S_HISS };

enum { LIPS = 1, STOP = 2, BREATH = 4, VOWEL = 8, PAUSE = 16 };

typedef struct phone_kind {
    char name[4];
    int flags;
    float open, width, teeth, tongue;
    float level;                  /* voiced source */
    float hiss, hiss_hz, band_hz; /* steady noise; of a stop: its burst */
    float f3_hz;
    float ms;
} phone_kind;

static const phone_kind kinds[] = {
    {"sil", PAUSE, 0, .45f, 0, 0, 0, 0, 2000, 2000, 2500, 500},
    {"aa", VOWEL, .92f, .30f, .35f, 0, 1, 0, 0, 0, 2440, 150},
    {"ae", VOWEL, .80f, .66f, .55f, 0, 1, 0, 0, 0, 2410, 145},
    {"ah", VOWEL, .64f, .36f, .35f, 0, 1, 0, 0, 0, 2390, 110},
    {"ao", VOWEL, .66f, .08f, .15f, 0, 1, 0, 0, 0, 2410, 150},
    {"eh", VOWEL, .54f, .72f, .55f, 0, 1, 0, 0, 0, 2480, 120},
    {"er", VOWEL, .42f, .34f, .40f, .2f, 1, 0, 0, 0, 1690, 130},
    {"ih", VOWEL, .34f, .80f, .60f, 0, 1, 0, 0, 0, 2550, 100},
    {"iy", VOWEL, .26f, 1.0f, .75f, 0, 1, 0, 0, 0, 3010, 130},
    {"uw", VOWEL, .24f, .03f, .05f, 0, 1, 0, 0, 0, 2240, 135},
    {"ow", VOWEL, .50f, .06f, .15f, 0, 1, 0, 0, 0, 2400, 145},
    {"p", LIPS | STOP | BREATH, .06f, .40f, 0, 0, 0, .55f, 1200, 1400, 2400, 85},
    {"b", LIPS | STOP, .06f, .40f, 0, 0, 0, .35f, 900, 1200, 2400, 75},
    {"m", LIPS, .05f, .40f, 0, 0, .75f, 0, 0, 0, 2300, 80},
    {"t", STOP | BREATH, .10f, .62f, .5f, .8f, 0, .60f, 4500, 2500, 2700, 70},
    {"d", STOP, .11f, .60f, .45f, .8f, 0, .40f, 3800, 2200, 2700, 60},
    {"k", STOP | BREATH, .16f, .55f, .3f, .1f, 0, .60f, 2000, 900, 2300, 75},
    {"g", STOP, .16f, .52f, .3f, .1f, 0, .40f, 1800, 900, 2300, 65},
    {"n", 0, .13f, .58f, .4f, .8f, .70f, 0, 0, 0, 2600, 70},
    {"s", 0, .08f, .68f, 1, .2f, 0, .30f, 6200, 2200, 2600, 95},
    {"z", 0, .09f, .66f, 1, .2f, .40f, .18f, 5800, 2200, 2600, 80},
    {"sh", 0, .13f, .12f, .8f, .2f, 0, .30f, 3000, 1300, 2500, 95},
    {"f", 0, .05f, .52f, 1, 0, 0, .16f, 4500, 5000, 2400, 85},
    {"v", 0, .05f, .52f, 1, 0, .45f, .08f, 4200, 5000, 2400, 70},
    {"th", 0, .10f, .55f, .8f, 1, 0, .14f, 5200, 4500, 2600, 80},
    {"l", 0, .28f, .48f, .4f, 1, .70f, 0, 0, 0, 2700, 65},
    {"r", 0, .22f, .18f, .3f, .3f, .70f, 0, 0, 0, 1650, 65},
    {"w", 0, .10f, .00f, 0, 0, .70f, 0, 0, 0, 2200, 70},
    {"y", 0, .16f, .95f, .6f, 0, .70f, 0, 0, 0, 2900, 60},
    {"hh", 0, .40f, .50f, .3f, 0, 0, .14f, 1500, 2500, 2500, 60},
};
#define N_KINDS (sizeof kinds / sizeof kinds[0])

typedef struct segment {
    int64_t start_ms, end_ms;
    int kind;
    bool stressed;
    float phrase_start_s, phrase_end_s;
} segment;

struct lk_voice {
    lk_voice_options o;
    int64_t n;
    size_t capacity;
    segment *seg;
    int64_t n_spoken;
    int64_t *spoken; /* [n_spoken] index into seg */
    int64_t n_pulses;
    size_t pulse_capacity;
    double *pulse; /* glottal instants */
    uint64_t draws;
};

/* ---- the string of phones ----------------------------------------------------------------- */

static double draw(lk_voice *v, double lo, double hi)
{
    return lk_rng_range(v->o.seed, S_PHONES, v->draws++, lo, hi);
}

static int find_kind(const char *name)
{
    for (size_t i = 0; i < N_KINDS; i++) {
        if (strcmp(kinds[i].name, name) == 0)
            return (int)i;
    }
    LK_ASSERT(false && "a phone of the table");
    return 0;
}

/* One of the names in a list separated by single blanks, all equally likely. */
static int pick(lk_voice *v, const char *list)
{
    int n = 1;
    char name[4] = {0};
    for (const char *c = list; *c; c++)
        n += *c == ' ';
    int which = (int)draw(v, 0, n);
    const char *c = list;
    for (; which > 0; c++)
        which -= *c == ' ';
    for (int i = 0; i < 3 && c[i] && c[i] != ' '; i++)
        name[i] = c[i];
    return find_kind(name);
}

static lk_status add_segment(lk_voice *v, int kind, double factor, bool stressed)
{
    lk_status st = LK_OK;
    LK_TRY(LK_GROW(&v->seg, &v->capacity, v->n + 1));
    segment *s = &v->seg[v->n];
    s->start_ms = v->n ? s[-1].end_ms : (int64_t)floor(v->o.start_s * 1000);
    const double ms = kinds[kind].ms * factor * draw(v, 0.85, 1.15);
    s->end_ms = s->start_ms + (int64_t)(ms > 45 ? ms : 45);
    s->kind = kind;
    s->stressed = stressed;
    v->n++;
done:
    return st;
}

static lk_status add_syllable(lk_voice *v, bool stressed, bool last)
{
    lk_status st = LK_OK;
    const double pace = 0.86 / v->o.pace, how = draw(v, 0, 1);
    if (how < 0.10)
        LK_TRY(add_segment(v, find_kind("s"), pace * 0.9, false));
    if (how < 0.20)
        LK_TRY(add_segment(v, pick(v, "p t k"), pace * 0.9, false));
    if (how >= 0.10 && how < 0.20)
        LK_TRY(add_segment(v, pick(v, "l r"), pace * 0.9, false));
    if (how >= 0.20)
        LK_TRY(
            add_segment(v, pick(v, "p b m p b m t d k g n s sh f v th z l r w y hh"), pace, false));
    const double stretch = (stressed ? 1.15 : 0.95) * (last ? 1.35 : 1);
    LK_TRY(add_segment(v, pick(v, "aa ae ah ao eh er ih iy uw ow aa ae ow eh"), pace * stretch,
                       stressed));
    if (draw(v, 0, 1) < (last ? 0.6 : 0.25))
        LK_TRY(add_segment(v, pick(v, "n m s t k p l z d"), pace * (last ? 1.15 : 0.9), false));
done:
    return st;
}

static lk_status add_phrase(lk_voice *v)
{
    lk_status st = LK_OK;
    const int64_t from = v->n;
    const int count = (int)draw(v, 4, 11);
    for (int i = 0; i < count; i++)
        LK_TRY(add_syllable(v, draw(v, 0, 1) < 0.4 || i == count - 1, i == count - 1));
    for (int64_t i = from; i < v->n; i++) {
        v->seg[i].phrase_start_s = (float)v->seg[from].start_ms / 1000;
        v->seg[i].phrase_end_s = (float)v->seg[v->n - 1].end_ms / 1000;
    }
    LK_TRY(add_segment(v, 0, draw(v, 0.6, 1.4), false));
done:
    return st;
}

/* ---- parameters at an instant ------------------------------------------------------------- */

static double ramp(double z)
{
    if (z <= -0.5)
        return 0;
    return z >= 0.5 ? 1 : 0.5 + z + sin(2 * PI * z) / (2 * PI);
}

static double clamp01(double x)
{
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

static double start_of(const segment *s)
{
    return (double)s->start_ms / 1000;
}

static double end_of(const segment *s)
{
    return (double)s->end_ms / 1000;
}

/* Last segment that starts at or before t, 0 before all. */
static int64_t segment_at(const lk_voice *v, double t)
{
    int64_t lo = 0, hi = v->n;
    while (hi - lo > 1) {
        const int64_t mid = (lo + hi) / 2;
        if (start_of(&v->seg[mid]) <= t)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

static double weight(const segment *s, double t, double width)
{
    return ramp((t - start_of(s)) / width) - ramp((t - end_of(s)) / width);
}

/* Seconds outside the segment, 0 within. */
static double distance(const segment *s, double t)
{
    if (t < start_of(s))
        return start_of(s) - t;
    return t >= end_of(s) ? t - end_of(s) : 0;
}

typedef struct state {
    lk_mouth mouth;
    double level;                  /* voiced source */
    double hiss, hiss_hz, band_hz; /* noise */
    double f3_hz;
} state;

static lk_mouth mouth_near(const lk_voice *v, int64_t at, double t, double *f3)
{
    lk_mouth m = {0};
    double gate = 1, sum_f3 = 0;
    for (int64_t i = at - 2 < 0 ? 0 : at - 2; i < v->n && i <= at + 2; i++) {
        const segment *s = &v->seg[i];
        const phone_kind *k = &kinds[s->kind];
        const double w = weight(s, t, WIDE_S);
        m.opening += w * k->open;
        m.width += w * k->width;
        m.teeth += w * k->teeth;
        m.tongue += w * k->tongue;
        sum_f3 += w * k->f3_hz;
        if (k->flags & LIPS) {
            const double x = clamp01(distance(s, t) / LIP_S);
            gate = fmin(gate, x * (2 - x));
            if (x == 0)
                m.press = clamp01(fmin(t - start_of(s), end_of(s) - t) / 0.02);
        }
    }
    m.opening = clamp01(m.opening * gate);
    m.width = clamp01(m.width);
    *f3 = sum_f3;
    return m;
}

static void source_near(const lk_voice *v, int64_t at, double t, state *x)
{
    double gate = 1, before = 1, voice = 1, sum_hz = 0, sum_band = 0, burst = 0, total = 0;
    for (int64_t i = at - 2 < 0 ? 0 : at - 2; i < v->n && i <= at + 2; i++) {
        const segment *s = &v->seg[i];
        const phone_kind *k = &kinds[s->kind];
        const double after = t - end_of(s);
        double noise = 0;
        if (k->flags & (LIPS | STOP) && after < 0) /* but a burst starts abruptly */
            before = fmin(before, clamp01(distance(s, t) / STOP_S));
        if (k->flags & STOP) {
            gate = fmin(gate, clamp01(distance(s, t) / STOP_S));
            if (after > 0 && after < 0.08)
                noise = k->hiss * clamp01(after / 0.001) * exp(-after / 0.009);
            if (k->flags & BREATH && after >= 0) {
                const double onset = clamp01((after - VOT_S) / 0.010);
                voice = fmin(voice, onset);
                if (onset < 1 && after < VOT_S + 0.010)
                    noise += 0.16 * x->mouth.opening * (1 - onset) * clamp01(after / 0.001);
            }
            burst += noise;
        } else {
            const double w = weight(s, t, NARROW_S);
            x->level += w * k->level;
            noise = w * k->hiss;
            x->hiss += noise;
        }
        total += noise;
        sum_hz += noise * k->hiss_hz;
        sum_band += noise * k->band_hz;
    }
    x->level = clamp01(x->level * gate * voice);
    x->hiss = x->hiss * gate + burst * before;
    x->hiss_hz = total > 0 ? sum_hz / total : 0;
    x->band_hz = total > 0 ? sum_band / total : 0;
}

static state state_at(const lk_voice *v, double t)
{
    state x = {0};
    const int64_t at = segment_at(v, t);
    x.mouth = mouth_near(v, at, t, &x.f3_hz);
    source_near(v, at, t, &x);
    return x;
}

static double loudness(const state *x)
{
    return x->level * (FLOOR + (1 - FLOOR) * x->mouth.opening);
}

lk_mouth lk_voice_mouth(const lk_voice *v, double t)
{
    double f3;
    return mouth_near(v, segment_at(v, t), t, &f3);
}

double lk_voice_loudness(const lk_voice *v, double t)
{
    const state x = state_at(v, t);
    return loudness(&x);
}

double lk_voice_accent(const lk_voice *v, double t)
{
    const int64_t at = segment_at(v, t);
    double sum = 0;
    for (int64_t i = at - 4 < 0 ? 0 : at - 4; i < v->n && i <= at + 4; i++) {
        if (!v->seg[i].stressed)
            continue;
        const double z = (t - (start_of(&v->seg[i]) + end_of(&v->seg[i])) / 2) / 0.10;
        sum += exp(-z * z);
    }
    return sum;
}

static double pitch_at(const lk_voice *v, double t)
{
    const segment *s = &v->seg[segment_at(v, t)];
    const double length = s->phrase_end_s - s->phrase_start_s;
    const double u = length > 0 ? clamp01((t - s->phrase_start_s) / length) : 0.5;
    return v->o.pitch_hz * exp2((2.2 - 5 * u + 3.2 * lk_voice_accent(v, t)) / 12);
}

/* ---- sound -------------------------------------------------------------------------------- */

/* A decaying sine added from sample i0 on; u is the time since its start at i0. */
typedef struct ringing {
    double re, im, c, s;
} ringing;

static ringing ring_start(double amp, double hz, double band_hz, double phase, double u, double dt)
{
    const double a = amp * exp(-PI * band_hz * u), p = 2 * PI * hz * u + phase;
    const double d = exp(-PI * band_hz * dt), q = 2 * PI * hz * dt;
    return (ringing){a * cos(p), a * sin(p), d * cos(q), d * sin(q)};
}

static inline double ring_next(ringing *r)
{
    const double out = r->im, re = r->re * r->c - r->im * r->s;
    r->im = r->re * r->s + r->im * r->c;
    r->re = re;
    return out;
}

/* The block's first sample at or after time t (0..LK_WORLD_BLOCK). */
static int first_sample(double t, double t0, double dt)
{
    const double i = ceil((t - t0) / dt);
    return i < 0 ? 0 : i > LK_WORLD_BLOCK ? LK_WORLD_BLOCK : (int)i;
}

static void add_pulse(const lk_voice *v, int64_t k, double t0, double dt, double nyquist,
                      double *out)
{
    static const double amp[N_FORMANT] = {1.0, 0.62, 0.34, 0.16, 0.08};
    static const double band[N_FORMANT] = {75, 95, 140, 220, 300};
    const double tk = v->pulse[k];
    const state x = state_at(v, tk);
    const double hz[N_FORMANT] = {230 + 620 * x.mouth.opening, 780 + 1520 * x.mouth.width, x.f3_hz,
                                  3500, 4500};
    const double shimmer = 1 + 0.04 * lk_rng_normal(v->o.seed, S_JITTER, 2 * (uint64_t)k + 1);
    const int i0 = first_sample(tk, t0, dt), i1 = first_sample(tk + GRAIN_S, t0, dt);
    ringing r[N_FORMANT];
    int n = 0;
    for (int j = 0; j < N_FORMANT && i0 < i1; j++) {
        const double f = hz[j] * v->o.tract;
        if (f < 0.9 * nyquist)
            r[n++] = ring_start(amp[j] * shimmer, f, band[j], 0, t0 + i0 * dt - tk, dt);
    }
    for (int i = i0; i < i1; i++) {
        const double u = t0 + i * dt - tk;
        double sum = 0;
        for (int j = 0; j < n; j++)
            sum += ring_next(&r[j]);
        if (u < RISE_S)
            sum *= 0.5 - 0.5 * cos(PI * u / RISE_S);
        if (u > GRAIN_S - 0.006)
            sum *= (GRAIN_S - u) / 0.006;
        out[i] += sum;
    }
}

static void add_hiss_grain(const lk_voice *v, int64_t m, const state *x, double t0, double dt,
                           double nyquist, double *out)
{
    const uint64_t at = (uint64_t)m;
    const double tm = ((double)m + lk_rng_uniform(v->o.seed, S_HISS, 4 * at + 3)) / HISS_RATE;
    const double hz = x->hiss_hz * (1 + 0.25 * (lk_rng_uniform(v->o.seed, S_HISS, 4 * at) - 0.5));
    const double phase = 2 * PI * lk_rng_uniform(v->o.seed, S_HISS, 4 * at + 1);
    const double amp = 2 * lk_rng_uniform(v->o.seed, S_HISS, 4 * at + 2) - 1;
    const double band = x->band_hz;
    const double length = fmin(HISS_S, 6 / (PI * band));
    const int i0 = first_sample(tm, t0, dt), i1 = first_sample(tm + length, t0, dt);
    if (i0 >= i1 || hz >= 0.9 * nyquist)
        return;
    ringing r = ring_start(amp, hz, band, phase, t0 + i0 * dt - tm, dt);
    for (int i = i0; i < i1; i++)
        out[i] += ring_next(&r);
}

#define CONTROL_MAX 192 /* milliseconds in the longest block, with what rings into it */

void lk_voice_sound(const lk_voice *v, const lk_sound_grid *grid, int64_t first, float *mono)
{
    const double t0 = lk_sound_time(grid, first), dt = 1 / (grid->rate_hz * grid->stretch);
    const double t1 = t0 + LK_WORLD_BLOCK * dt, nyquist = 0.5 * grid->rate_hz;
    const int64_t ms0 = (int64_t)floor(t0 * 1000) - 6;
    double voiced[LK_WORLD_BLOCK] = {0}, noise[LK_WORLD_BLOCK] = {0};
    state control[CONTROL_MAX];
    const int n_control = (int)((int64_t)ceil(t1 * 1000) - ms0) + 2;
    LK_ASSERT(n_control <= CONTROL_MAX);
    for (int i = 0; i < n_control; i++)
        control[i] = state_at(v, (double)(ms0 + i) / 1000);

    int64_t lo = 0, hi = v->n_pulses;
    while (lo < hi) {
        const int64_t mid = (lo + hi) / 2;
        if (v->pulse[mid] < t0 - GRAIN_S)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (int64_t k = lo; k < v->n_pulses && v->pulse[k] < t1; k++)
        add_pulse(v, k, t0, dt, nyquist, voiced);
    for (int64_t m = (int64_t)floor((t0 - HISS_S) * HISS_RATE); (double)m < t1 * HISS_RATE; m++) {
        const state *x = &control[(int64_t)floor((double)m * 1000 / HISS_RATE) - ms0];
        const state *use = x->hiss > 0 ? x : x + 1;
        if (use->hiss > 0)
            add_hiss_grain(v, m, use, t0, dt, nyquist, noise);
    }
    for (int i = 0; i < LK_WORLD_BLOCK; i++) {
        const double z = (t0 + i * dt) * 1000 - (double)ms0;
        const int c = (int)z;
        const double f = z - c, a = loudness(&control[c]), b = loudness(&control[c + 1]);
        const double hiss = control[c].hiss * (1 - f) + control[c + 1].hiss * f;
        mono[i] += (float)(0.38 * (a * (1 - f) + b * f) * voiced[i] + 0.50 * hiss * noise[i]);
    }
}

/* ---- making ------------------------------------------------------------------------------- */

/* Glottal instants wherever there is voice. */
static lk_status add_pulses(lk_voice *v)
{
    lk_status st = LK_OK;
    double t = v->o.start_s;
    while (t < v->o.end_s) {
        const segment *s = &v->seg[segment_at(v, t)];
        if (kinds[s->kind].flags & PAUSE && t > start_of(s) + 0.05 && t < end_of(s) - 0.1) {
            t = end_of(s) - 0.1;
            continue;
        }
        LK_TRY(LK_GROW(&v->pulse, &v->pulse_capacity, v->n_pulses + 1));
        v->pulse[v->n_pulses++] = t;
        const double jitter =
            1 + 0.008 * lk_rng_normal(v->o.seed, S_JITTER, 2 * (uint64_t)v->n_pulses);
        t += jitter / pitch_at(v, t);
    }
done:
    return st;
}

lk_status lk_voice_create(lk_voice **voice, const lk_voice_options *options)
{
    lk_status st = LK_OK;
    lk_voice *v = NULL;
    *voice = NULL;
    LK_TRY(LK_NEW(&v));
    v->o = *options;
    LK_REQUIRE(v->o.end_s > v->o.start_s && v->o.pitch_hz >= 70 && v->o.pitch_hz <= 350 &&
                   v->o.tract > 0.5 && v->o.tract < 2 && v->o.pace > 0.3 && v->o.pace < 3,
               LK_E_ARG, "a voice of %g Hz, tract %g, pace %g is out of range", v->o.pitch_hz,
               v->o.tract, v->o.pace);
    LK_TRY(add_segment(v, 0, draw(v, 0.2, 1.0), false));
    while (end_of(&v->seg[v->n - 1]) < v->o.end_s)
        LK_TRY(add_phrase(v));
    LK_TRY(LK_NEW_ARRAY(&v->spoken, v->n));
    for (int64_t i = 0; i < v->n; i++) {
        if (!(kinds[v->seg[i].kind].flags & PAUSE))
            v->spoken[v->n_spoken++] = i;
    }
    LK_TRY(add_pulses(v));
    *voice = v;
    v = NULL;
done:
    lk_voice_free(&v);
    return st;
}

void lk_voice_free(lk_voice **voice)
{
    if (!voice || !*voice)
        return;
    lk_free((*voice)->seg);
    lk_free((*voice)->spoken);
    lk_free((*voice)->pulse);
    lk_free(*voice);
    *voice = NULL;
}

int64_t lk_voice_n_phones(const lk_voice *v)
{
    return v->n_spoken;
}

lk_phone lk_voice_phone(const lk_voice *v, int64_t i)
{
    const segment *s = &v->seg[v->spoken[i]];
    const phone_kind *k = &kinds[s->kind];
    const double middle = (start_of(s) + end_of(s)) / 2;
    return (lk_phone){.name = k->name,
                      .start_s = start_of(s),
                      .end_s = end_of(s),
                      .strength = fmax(0.05, lk_voice_loudness(v, middle)),
                      .lips_closed = (k->flags & LIPS) != 0,
                      .stop = (k->flags & STOP) != 0,
                      .vowel = (k->flags & VOWEL) != 0,
                      .stressed = s->stressed};
}
