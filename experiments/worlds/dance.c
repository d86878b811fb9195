/* dance.c - see dance.h.
 *
 * Speed sqrt(f (1 - f)) integrates to s(f) = (a - sin(2 a) / 2) / pi with cos a = 1 - 2 f.
 *
 * A bar has an arm pattern and a step pattern; both give a key pose per beat of the bar.  Elbows
 * and knees follow from two-bone inverse kinematics: for bones a, b and distance d from root to tip
 *     x = (d^2 + a^2 - b^2) / (2 d),  h = sqrt(a^2 - x^2)
 * the joint lies x along and h to the side the joint bends to.
 */
#include "experiments/worlds/dance.h"

#include "kernels/rng.h"

#include <math.h>

#define PI        3.14159265358979323846
#define THIGH     0.245
#define SHIN      0.245
#define UPPER     0.165
#define LOWER     0.175
#define TORSO     0.310
#define SHOULDERS 0.108
#define HIPS      0.060
#define STANCE    0.078
#define HIP_V     -0.475 /* height of the pelvis between beats */

enum { S_ARMS = LK_STREAM_KIND + 300, S_STEPS, S_SIDE, S_PLACE, S_SIZE, S_SINK };

enum { N_ARMS = 8, N_STEPS = 5 };

typedef struct key {
    double foot_u[2], lift[2];
    double sway, twist, lean, tilt;
    lk_point hand[2]; /* from the neck */
} key;

static double bar_draw(const lk_dance *d, uint64_t stream, int64_t bar, double lo, double hi)
{
    return lk_rng_range(d->seed, stream, (uint64_t)bar, lo, hi);
}

static void set_hands(key *k, int i, double u, double v)
{
    k->hand[i] = (lk_point){u, v};
}

/* dir: 1 or -1, the side a bar begins with; beat: 0.. in the bar. */
static void arm_key(key *k, int pattern, int dir, int beat, int beats)
{
    const int flip = beat % 2 == 0 ? dir : -dir;
    for (int i = 0; i < 2; i++) {
        const int side = i == 0 ? -1 : 1;
        const bool mine = side == flip;
        switch (pattern) {
        case 0: /* one up, one down, in turn */
            set_hands(k, i, side * (mine ? 0.13 : 0.15), mine ? -0.27 : 0.17);
            break;
        case 1: /* wide and back to the chest */
            set_hands(k, i, side * (beat % 2 ? 0.05 : 0.35), beat % 2 ? 0.10 : -0.03);
            break;
        case 2: /* clap on two and four */
            set_hands(k, i, side * (beat % 2 ? 0.016 : 0.25), beat % 2 ? -0.02 : 0.10);
            break;
        case 3: /* point up and down across, other hand on the hip */
            if (side == dir)
                set_hands(k, i, beat % 2 ? -side * 0.17 : side * 0.25, beat % 2 ? 0.22 : -0.26);
            else
                set_hands(k, i, side * 0.10, 0.27);
            break;
        case 4: /* both swing to one side */
            set_hands(k, i, side * 0.10 + 0.17 * flip, 0.17 - (mine ? 0.05 : 0));
            break;
        case 5: /* both up, swaying */
            set_hands(k, i, side * 0.12 + 0.12 * flip, -0.28);
            break;
        case 6: /* one forearm up, one down */
            set_hands(k, i, side * 0.27, mine ? -0.18 : 0.19);
            break;
        default: /* up on the downbeat, then down beat by beat */
            set_hands(k, i, side * (0.10 + 0.20 * sin(PI * (beat + 0.4) / beats)),
                      -0.30 + 0.56 * beat / (beats - 1));
            break;
        }
    }
}

static void step_key(key *k, int pattern, int dir, int beat)
{
    const int lead = dir > 0, other = !lead, flip = beat % 2 == 0 ? dir : -dir;
    k->foot_u[0] = -STANCE;
    k->foot_u[1] = STANCE;
    switch (pattern) {
    case 0: /* step, together, step back, together */
        k->foot_u[lead] = dir * (STANCE + (beat < 3 ? 0.16 : 0));
        k->foot_u[other] = dir * ((beat == 1 ? 0.16 : 0) - STANCE);
        k->sway = beat == 0 ? 0.03 * dir : 0;
        break;
    case 1: /* a knee up, then the other */
        k->lift[flip > 0] = 0.15;
        k->foot_u[flip > 0] *= 0.9;
        k->sway = -0.045 * flip;
        break;
    case 2: /* wide, weight from side to side */
        k->foot_u[0] = -0.15;
        k->foot_u[1] = 0.15;
        k->sway = 0.065 * flip;
        break;
    case 3: /* kick to the side and back */
        if (beat % 2 == 0) {
            const int side = beat % 4 == 0 ? lead : other;
            k->foot_u[side] = side ? 0.28 : -0.28;
            k->lift[side] = 0.10;
            k->sway = side ? -0.05 : 0.05;
        }
        break;
    default: /* narrow, hips and chest twisting */
        k->foot_u[0] *= 0.7;
        k->foot_u[1] *= 0.7;
        k->sway = 0.05 * flip;
        k->twist = 0.35 * flip;
        break;
    }
    k->lean = -1.1 * k->sway;
}

static key key_at(const lk_dance *d, int64_t beat)
{
    key k = {0};
    const int64_t bar = lk_music_bar(d->music, beat);
    const int in_bar = lk_music_in_bar(d->music, beat) - 1;
    const int beats = lk_music_style_of(d->music).beats_per_bar;
    const int dir = bar_draw(d, S_SIDE, bar, 0, 1) < 0.5 ? -1 : 1;
    /* Patterns stay for two bars, as dancers do. */
    step_key(&k, (int)bar_draw(d, S_STEPS, bar / 2, 0, N_STEPS), dir, in_bar);
    arm_key(&k, (int)bar_draw(d, S_ARMS, bar / 2, 0, N_ARMS), dir, in_bar, beats);
    const double size = d->vigour * bar_draw(d, S_SIZE, bar, 0.9, 1.08);
    for (int i = 0; i < 2; i++) {
        k.hand[i].x *= size;
        k.hand[i].y *= size;
        /* The leading foot goes to the bar's place first, the other follows a beat later. */
        const bool first = i == (dir > 0);
        const int64_t of = in_bar == 0 && !first ? bar - 1 : bar;
        k.foot_u[i] += bar_draw(d, S_PLACE, of > 0 ? of : 0, -d->room, d->room);
    }
    k.twist += (in_bar % 2 ? -0.22 : 0.22) * dir;
    k.tilt = (in_bar % 2 ? 0.10 : -0.10) * dir;
    return k;
}

static double mix(double a, double b, double s)
{
    return a + (b - a) * s;
}

/* Speed proportional to sqrt(f (1 - f)): at rest on both beats, but only just: a clear stop. */
static double ease(double f)
{
    const double turn = acos(1 - 2 * f);
    return (turn - 0.5 * sin(2 * turn)) / PI;
}

static key between(const key *a, const key *b, double f)
{
    const double s = ease(f), step = sin(PI * f) * sin(PI * f);
    key k = {.sway = mix(a->sway, b->sway, s),
             .twist = mix(a->twist, b->twist, s),
             .lean = mix(a->lean, b->lean, s),
             .tilt = mix(a->tilt, b->tilt, s)};
    for (int i = 0; i < 2; i++) {
        const double way = fabs(b->foot_u[i] - a->foot_u[i]);
        k.foot_u[i] = mix(a->foot_u[i], b->foot_u[i], s);
        k.lift[i] = mix(a->lift[i], b->lift[i], s) + fmin(0.05, 0.4 * way) * step;
        /* Hands travel on a slight arc outwards. */
        const double arc = 0.03 * step * (i ? 1 : -1);
        k.hand[i].x = mix(a->hand[i].x, b->hand[i].x, s) + arc;
        k.hand[i].y = mix(a->hand[i].y, b->hand[i].y, s);
    }
    return k;
}

/* Middle joint of two bones; *tip is drawn in when it is out of reach.  The joint bends towards
 * (bu, bv); flat < 1 shortens the bend as seen when it points at the viewer. */
static lk_point bend(lk_point root, lk_point *tip, double a, double b, double bu, double bv,
                     double flat)
{
    const double du = tip->x - root.x, dv = tip->y - root.y, reach = 0.995 * (a + b);
    const double far = sqrt(du * du + dv * dv) + 1e-9, u = du / far, v = dv / far;
    double d = far;
    if (d > 0.9 * reach) { /* eases into the limit, so that no joint stops abruptly */
        const double over = (d - 0.9 * reach) / (0.1 * reach);
        d = reach * (0.9 + 0.1 * tanh(over));
        *tip = (lk_point){root.x + d * u, root.y + d * v};
    }
    const double along = (d * d + a * a - b * b) / (2 * d);
    const double h = flat * sqrt(fmax(0, a * a - along * along));
    const double dot = bu * u + bv * v, pu = bu - dot * u, pv = bv - dot * v;
    const double length = sqrt(pu * pu + pv * pv) + 0.05;
    return (lk_point){root.x + along * u + h * pu / length, root.y + along * v + h * pv / length};
}

lk_body lk_dance_at(const lk_dance *d, double t)
{
    const double beats = lk_music_beats_at(d->music, t), whole = floor(beats), f = beats - whole;
    const int64_t beat = (int64_t)whole;
    const key a = key_at(d, beat), b = key_at(d, beat + 1), k = between(&a, &b, f);
    const double tempo = lk_music_style_of(d->music).tempo_bpm;
    const double deep = d->vigour * 0.052 * fmin(1, 110 / tempo);
    /* A bounce: round above, sharp below. */
    const double low = 1 - (sqrt(sin(PI * f) * sin(PI * f) + 0.04) - 0.2) / 0.82;
    lk_body body = {.twist = k.twist, .tilt = k.tilt};
    body.pelvis = (lk_point){0.5 * (k.foot_u[0] + k.foot_u[1]) + k.sway, HIP_V + deep * low};
    body.neck =
        (lk_point){body.pelvis.x + TORSO * sin(k.lean), body.pelvis.y - TORSO * cos(k.lean)};
    body.head = (lk_point){body.neck.x + 0.118 * sin(k.lean + k.tilt) + 0.02 * k.twist,
                           body.neck.y - 0.118 * cos(k.lean + k.tilt) + 0.014 * low};
    for (int i = 0; i < 2; i++) {
        const int side = i == 0 ? -1 : 1;
        const double w = side * SHOULDERS * cos(k.twist), hw = side * HIPS * cos(0.5 * k.twist);
        body.shoulder[i] = (lk_point){body.neck.x + w * cos(k.lean) + 0.02 * k.twist,
                                      body.neck.y + 0.028 + w * sin(k.lean)};
        body.hand[i] =
            (lk_point){body.neck.x + k.hand[i].x + 0.05 * k.twist, body.neck.y + k.hand[i].y};
        body.elbow[i] = bend(body.shoulder[i], &body.hand[i], UPPER, LOWER, side * 0.8, 0.6, 0.95);
        body.hip[i] = (lk_point){body.pelvis.x + hw, body.pelvis.y};
        body.foot[i] = (lk_point){k.foot_u[i], -0.025 - k.lift[i]};
        body.knee[i] = bend(body.hip[i], &body.foot[i], THIGH, SHIN, side * 1.0, -0.1, 0.62);
    }
    return body;
}

void lk_body_joints(const lk_body *b, lk_point joints[LK_BODY_JOINTS])
{
    int n = 0;
    joints[n++] = b->pelvis;
    joints[n++] = b->neck;
    joints[n++] = b->head;
    for (int i = 0; i < 2; i++) {
        joints[n++] = b->shoulder[i];
        joints[n++] = b->elbow[i];
        joints[n++] = b->hand[i];
        joints[n++] = b->hip[i];
        joints[n++] = b->knee[i];
        joints[n++] = b->foot[i];
    }
}
