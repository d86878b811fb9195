/* beat_track.c - see beat_track.h.
 *
 * Activation, every 10 ms.  Each band's onset strength and the full one are compressed by a root,
 * freed of their mean over +-1.75 s, divided by their deviation over +-7 s, cut to [-1, 4] and
 * averaged with weights: a(k).  Loud and soft passages and instruments thus count alike.
 *
 * Tempo, every 4 s over 16 s.  R(l) is the mean of the normalised autocorrelations of the positive
 * parts of the bands, a period T is judged by the comb sum_j w_j max_{|d|<=1} R(j T + d), j = 1..4,
 * and by the tempo at which people like to tap (log-Gaussian around 115 bpm, half an octave wide):
 *     L(T) = comb(T) / max comb - ((log2(bpm / 115)) / 0.5)^2 / 2, less its maximum.
 *
 * Beats.  State (T, p): p frames after the last beat, 0 <= p < T.  It advances one frame at a
 * time; at p = 0 the period may change at the cost lambda |T/T' - 1|, and pays for its tempo in
 * proportion to the time that the beat covers.  Frame k adds
 *     EMISSION a(k) (g(p) - mean over p of g),  g a Gaussian bump of 16 ms around p = 0,
 * which is the same for all tempi on average, so that the observation decides the phase and the
 * tempo's own term the octave.  The best path is found by Viterbi; its visits of p = 0 are beats.
 *
 * Clarity is max comb, the median over windows.  What chance reaches falls with the length of the
 * clip, so a clip shorter than a window must show more.
 *
 * Bars.  The strength of the lowest band at the beats, normalised, is summed along paths through
 * bar positions of 3 or 4 beats; a slip to another position costs SLIP.
 */
#include "align/beat_track.h"

#include "align/onsets.h"
#include "align/stats.h"
#include "kernels/mem.h"

#include <math.h>
#include <string.h>

#define STEP_S        0.01
#define MIN_T         27 /* frames: 222 bpm */
#define MAX_T         110
#define N_T           (MAX_T - MIN_T + 1)
#define N_STATES      (N_T * (MIN_T + MAX_T) / 2)
#define SIGNALS       (LK_ONSET_BANDS + 1)
#define MEAN_HALF     175 /* frames */
#define VAR_HALF      700
#define LEAST_DEV     0.1
#define MOST          4.0
#define WINDOW        1600 /* of the tempo, frames */
#define HOP           400
#define COMB          4
#define MAX_LAG       (COMB * MAX_T + 2)
#define TEMPO_BPM     115.0
#define TEMPO_OCT     0.5
#define TEMPO_COST    4.0f  /* per 0.5 s at an L of -1 */
#define FIRST_COST    10.0f /* the same for the first period */
#define LAMBDA        60.0f
#define EMISSION      0.5f
#define BUMP          1.6  /* frames */
#define LEAST_CLARITY 0.08 /* of a window; random clicks at 1-4 a second stay below in 9 of 10 */
#define LEAST_S       3.0
#define LEAST_BEATS   4
#define SNAP          (40 * LK_FLICKS_PER_MS)
#define SLIP          4.0

static const double signal_weight[SIGNALS] = {1.0, 0.6, 0.8, 0.6, 1.0};
static const double comb_weight[COMB] = {1.0, 0.7, 0.6, 0.6};

typedef struct tracker {
    int64_t n;       /* frames of 10 ms */
    float *z;        /* [n, SIGNALS] normalised bands */
    float *a;        /* [n] activation */
    int64_t n_tempi; /* windows */
    float *tempo;    /* [n_tempi, N_T] L */
    double clarity;
    int offset[N_T + 1]; /* first state of a period */
    float *bump;         /* [N_STATES] */
    float *value;        /* [N_STATES] best log likelihood */
    uint8_t *from;       /* [n, N_T] previous period on entering p = 0 */
} tracker;

/* ---- activation ------------------------------------------------------------------------------ */

/* Mean of v over +-half around every index, shorter at the ends. */
static void box_mean(const double *v, int64_t n, int64_t half, double *prefix, double *mean)
{
    prefix[0] = 0;
    for (int64_t i = 0; i < n; i++)
        prefix[i + 1] = prefix[i] + v[i];
    for (int64_t i = 0; i < n; i++) {
        const int64_t from = i < half ? 0 : i - half, to = i + half < n ? i + half + 1 : n;
        mean[i] = (prefix[to] - prefix[from]) / (double)(to - from);
    }
}

static lk_status activate(tracker *t, const lk_audio_features *f)
{
    lk_status st = LK_OK;
    double *v = NULL, *mean = NULL, *square = NULL, *var = NULL, *prefix = NULL;
    double total = 0;
    LK_TRY(LK_NEW_ARRAY(&v, t->n));
    LK_TRY(LK_NEW_ARRAY(&mean, t->n));
    LK_TRY(LK_NEW_ARRAY(&square, t->n));
    LK_TRY(LK_NEW_ARRAY(&var, t->n));
    LK_TRY(LK_NEW_ARRAY(&prefix, t->n + 1));
    for (int s = 0; s < SIGNALS; s++)
        total += signal_weight[s];
    for (int s = 0; s < SIGNALS; s++) {
        for (int64_t i = 0; i < t->n; i++) {
            const float *const x =
                s < LK_ONSET_BANDS ? f->band_onset + 2 * i * LK_ONSET_BANDS + s : f->onset + 2 * i;
            const float next = x[s < LK_ONSET_BANDS ? LK_ONSET_BANDS : 1];
            v[i] = sqrt((double)fmaxf(*x, next));
        }
        box_mean(v, t->n, MEAN_HALF, prefix, mean);
        for (int64_t i = 0; i < t->n; i++)
            square[i] = (v[i] - mean[i]) * (v[i] - mean[i]);
        box_mean(square, t->n, VAR_HALF, prefix, var);
        for (int64_t i = 0; i < t->n; i++) {
            const double z = (v[i] - mean[i]) / (sqrt(fmax(0, var[i])) + LEAST_DEV);
            t->z[i * SIGNALS + s] = (float)fmin(MOST, fmax(-1, z));
            t->a[i] += (float)(signal_weight[s] / total) * t->z[i * SIGNALS + s];
        }
    }
done:
    lk_free(v);
    lk_free(mean);
    lk_free(square);
    lk_free(var);
    lk_free(prefix);
    return st;
}

/* ---- tempo ----------------------------------------------------------------------------------- */

/* Adds the normalised autocorrelation of the positive part of one signal to r. */
static void correlate(const float *x, int64_t stride, int64_t n, double *r)
{
    float y[WINDOW];
    double mean = 0, energy = 0;
    for (int64_t i = 0; i < n; i++)
        mean += (double)(y[i] = fmaxf(0, x[i * stride]));
    for (int64_t i = 0; i < n; i++) {
        y[i] -= (float)(mean / (double)n);
        energy += (double)(y[i] * y[i]);
    }
    if (!(energy > 0))
        return;
    for (int64_t l = MIN_T - 1; l < MAX_LAG && l < n; l++) {
        float lane[8] = {0};
        int64_t i = 0;
        for (; i + 8 <= n - l; i += 8) {
            for (int q = 0; q < 8; q++)
                lane[q] += y[i + q] * y[i + q + l];
        }
        for (; i < n - l; i++)
            lane[0] += y[i] * y[i + l];
        const float sum = ((lane[0] + lane[4]) + (lane[1] + lane[5])) +
                          ((lane[2] + lane[6]) + (lane[3] + lane[7]));
        r[l] += (double)sum / energy * (double)n / (double)(n - l);
    }
}

static double comb(const double *r, int period, int64_t n)
{
    double sum = 0, weights = 0;
    for (int j = 1; j <= COMB; j++) {
        const int l = j * period;
        if (l + 1 >= MAX_LAG || (j > 1 && l > 0.7 * (double)n)) /* too few pairs to be sure */
            break;
        sum += comb_weight[j - 1] * fmax(r[l], fmax(r[l - 1], r[l + 1]));
        weights += comb_weight[j - 1];
    }
    return weights > 0 ? sum / weights : 0;
}

static double liking(int period)
{
    const double octaves = log2(60 / (period * STEP_S) / TEMPO_BPM) / TEMPO_OCT;
    return -0.5 * octaves * octaves;
}

static void judge_window(const tracker *t, int64_t from, int64_t n, float *tempo, double *clarity)
{
    double r[MAX_LAG + 1] = {0}, c[N_T], most = 1e-9, best = -INFINITY;
    correlate(t->a + from, 1, n, r);
    for (int s = 0; s < SIGNALS; s++)
        correlate(t->z + from * SIGNALS + s, SIGNALS, n, r);
    for (int i = 0; i < N_T; i++) {
        c[i] = comb(r, MIN_T + i, n) / (SIGNALS + 1);
        most = fmax(most, c[i]);
    }
    for (int i = 0; i < N_T; i++) {
        tempo[i] = (float)(c[i] / most + liking(MIN_T + i));
        best = fmax(best, (double)tempo[i]);
    }
    for (int i = 0; i < N_T; i++)
        tempo[i] -= (float)best;
    *clarity = most;
}

static lk_status judge_tempo(tracker *t)
{
    lk_status st = LK_OK;
    double *clarity = NULL;
    t->n_tempi = t->n <= WINDOW ? 1 : (t->n - WINDOW + HOP - 1) / HOP + 1;
    LK_TRY(LK_NEW_ARRAY(&t->tempo, t->n_tempi * N_T));
    LK_TRY(LK_NEW_ARRAY(&clarity, t->n_tempi));
    for (int64_t w = 0; w < t->n_tempi; w++) {
        const int64_t n = t->n < WINDOW ? t->n : WINDOW;
        const int64_t from = w * HOP + n <= t->n ? w * HOP : t->n - n;
        judge_window(t, from, n, t->tempo + w * N_T, &clarity[w]);
    }
    t->clarity = lk_median(clarity, t->n_tempi);
done:
    lk_free(clarity);
    return st;
}

/* The window whose middle is nearest to frame k. */
static const float *tempo_at(const tracker *t, int64_t k)
{
    int64_t w = (k - WINDOW / 2 + HOP / 2) / HOP;
    w = k < WINDOW / 2 ? 0 : w;
    return t->tempo + (w < t->n_tempi ? w : t->n_tempi - 1) * N_T;
}

/* ---- beats ----------------------------------------------------------------------------------- */

static lk_status make_states(tracker *t)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW_ARRAY(&t->bump, N_STATES));
    LK_TRY(LK_NEW_ARRAY(&t->value, N_STATES));
    LK_TRY(LK_NEW_ARRAY(&t->from, t->n * N_T));
    for (int i = 0; i < N_T; i++) {
        const int period = MIN_T + i;
        double sum = 0;
        t->offset[i + 1] = t->offset[i] + period;
        for (int p = 0; p < period; p++)
            sum += exp(-0.5 * pow(fmin(p, period - p) / BUMP, 2));
        for (int p = 0; p < period; p++) {
            const double g = exp(-0.5 * pow(fmin(p, period - p) / BUMP, 2));
            t->bump[t->offset[i] + p] = (float)(EMISSION * (g - sum / period));
            t->value[t->offset[i] + p] = FIRST_COST * t->tempo[i];
        }
    }
done:
    return st;
}

static void forward(tracker *t)
{
    float change[N_T][N_T], last[N_T];
    for (int i = 0; i < N_T; i++) {
        for (int j = 0; j < N_T; j++)
            change[i][j] = -LAMBDA * fabsf((float)(MIN_T + i) / (float)(MIN_T + j) - 1);
    }
    for (int64_t k = 0; k < t->n; k++) {
        const float *const tempo = tempo_at(t, k);
        float top = last[0] = t->value[t->offset[1] - 1];
        for (int i = 1; i < N_T; i++) {
            last[i] = t->value[t->offset[i + 1] - 1];
            top = fmaxf(top, last[i]);
        }
        memmove(t->value + 1, t->value, (N_STATES - 1) * sizeof *t->value);
        for (int i = 0; i < N_T; i++) {
            int best = 0;
            float most = -INFINITY;
            for (int j = 0; j < N_T; j++) {
                const float v = last[j] + change[i][j];
                if (v > most) {
                    most = v;
                    best = j;
                }
            }
            t->from[k * N_T + i] = (uint8_t)best;
            t->value[t->offset[i]] = most + TEMPO_COST * tempo[i] * (float)(MIN_T + i) / 50;
        }
        for (int s = 0; s < N_STATES; s++) /* kept near zero so that no digits are lost */
            t->value[s] += t->a[k] * t->bump[s] - top;
    }
}

static lk_status backward(const tracker *t, lk_flick t0, lk_beat_list *list)
{
    lk_status st = LK_OK;
    int state = 0, i = 0;
    for (int s = 1; s < N_STATES; s++)
        state = t->value[s] > t->value[state] ? s : state;
    while (t->offset[i + 1] <= state)
        i++;
    LK_TRY(LK_NEW_ARRAY(&list->time, t->n / MIN_T + 2));
    for (int64_t k = t->n - 1, p = state - t->offset[i]; k >= 0; k--, p--) {
        if (p < 0) {
            i = t->from[(k + 1) * N_T + i];
            p = MIN_T + i - 1;
        }
        /* Two rows of 5 ms share a frame; its time is their middle. */
        if (p == 0)
            list->time[list->n++] = t0 + k * 10 * LK_FLICKS_PER_MS + 5 * LK_FLICKS_PER_MS / 2;
    }
    for (int64_t a = 0, b = list->n - 1; a < b; a++, b--) {
        const lk_flick swap = list->time[a];
        list->time[a] = list->time[b];
        list->time[b] = swap;
    }
done:
    return st;
}

/* Put beats on the strongest onset nearby. */
static void snap(const lk_onset_list *onsets, lk_beat_list *list)
{
    int64_t o = 0;
    for (int64_t i = 0; i < list->n; i++) {
        while (o < onsets->n && onsets->time[o] < list->time[i] - SNAP)
            o++;
        int64_t best = -1;
        for (int64_t j = o; j < onsets->n && onsets->time[j] <= list->time[i] + SNAP; j++) {
            if (best < 0 || onsets->strength[j] > onsets->strength[best])
                best = j;
        }
        if (best >= 0)
            list->time[i] = onsets->time[best];
    }
}

/* ---- bars ------------------------------------------------------------------------------------ */

static double low_strength(const lk_audio_features *f, lk_flick time)
{
    const int64_t k = (time - f->t0) / f->step;
    float best = 0;
    for (int64_t i = k - 6 < 0 ? 0 : k - 6; i <= k + 6 && i < f->n; i++)
        best = fmaxf(best, f->band_onset[i * LK_ONSET_BANDS]);
    return (double)best;
}

/* Best path through bars of `m` beats; writes positions 1..m and returns its mean gain. */
static double bar_path(const double *z, int64_t n, int m, uint8_t *from, uint8_t *position)
{
    double value[4] = {0}, next[4];
    for (int64_t i = 0; i < n; i++) {
        int best = 0;
        for (int p = 1; p < m; p++)
            best = value[p] > value[best] ? p : best;
        for (int p = 0; p < m; p++) {
            const int usual = (p + m - 1) % m;
            const bool slip = value[best] - SLIP > value[usual];
            from[i * 4 + p] = (uint8_t)(slip ? best : usual);
            next[p] = (slip ? value[best] - SLIP : value[usual]) +
                      z[i] * (p == 0 ? 1 : -1.0 / (m - 1)) / sqrt(1 + 1.0 / (m - 1));
        }
        memcpy(value, next, sizeof value);
    }
    int p = 0;
    for (int q = 1; q < m; q++)
        p = value[q] > value[p] ? q : p;
    const double gain = value[p];
    for (int64_t i = n - 1; i >= 0; i--) {
        position[i] = (uint8_t)(p + 1);
        p = from[i * 4 + p];
    }
    return gain;
}

static lk_status find_bars(const lk_audio_features *f, lk_beat_list *list)
{
    lk_status st = LK_OK;
    double *z = NULL, mean = 0, var = 0;
    uint8_t *from = NULL, *three = NULL;
    LK_TRY(LK_NEW_ARRAY(&list->bar_position, list->n));
    LK_TRY(LK_NEW_ARRAY(&z, list->n));
    LK_TRY(LK_NEW_ARRAY(&from, 4 * list->n));
    LK_TRY(LK_NEW_ARRAY(&three, list->n));
    for (int64_t i = 0; i < list->n; i++)
        mean += (z[i] = low_strength(f, list->time[i])) / (double)list->n;
    for (int64_t i = 0; i < list->n; i++)
        var += (z[i] - mean) * (z[i] - mean) / (double)list->n;
    for (int64_t i = 0; i < list->n; i++)
        z[i] = (z[i] - mean) / (sqrt(var) + 1e-9);
    const double in_4 = bar_path(z, list->n, 4, from, list->bar_position);
    const double in_3 = bar_path(z, list->n, 3, from, three);
    list->beats_per_bar = 4;
    if (in_3 > 1.15 * in_4 + 1) { /* bars of three are the rarer ones */
        list->beats_per_bar = 3;
        memcpy(list->bar_position, three, (size_t)list->n);
    }
done:
    lk_free(z);
    lk_free(from);
    lk_free(three);
    return st;
}

/* Intervals over up to eight beats average the jitter of single ones. */
static lk_status find_tempo(lk_beat_list *list)
{
    lk_status st = LK_OK;
    double *interval = NULL;
    const int64_t over = list->n > 16 ? 8 : list->n / 2;
    LK_TRY(LK_NEW_ARRAY(&interval, list->n));
    for (int64_t i = 0; i + over < list->n; i++)
        interval[i] = lk_flick_to_s(list->time[i + over] - list->time[i]) / (double)over;
    list->tempo_bpm = 60 / lk_median(interval, list->n - over);
done:
    lk_free(interval);
    return st;
}

lk_status lk_beats_find(const lk_audio_features *f, lk_beat_list *list)
{
    lk_status st = LK_OK;
    tracker t;
    lk_onset_list onsets = {0};
    memset(&t, 0, sizeof t);
    memset(list, 0, sizeof *list);
    list->tempo_bpm = NAN;
    t.n = f->n / 2;
    if ((double)t.n * STEP_S < LEAST_S)
        goto done;
    LK_TRY(LK_NEW_ARRAY(&t.z, t.n * SIGNALS));
    LK_TRY(LK_NEW_ARRAY(&t.a, t.n));
    LK_TRY(activate(&t, f));
    LK_TRY(judge_tempo(&t));
    list->clarity = t.clarity;
    list->least_clarity = LEAST_CLARITY * fmax(1, WINDOW / (double)t.n);
    LK_TRY(lk_onsets_find(f, &onsets));
    if (t.clarity < list->least_clarity || onsets.n < LEAST_BEATS)
        goto done;
    LK_TRY(make_states(&t));
    forward(&t);
    LK_TRY(backward(&t, f->t0, list));
    snap(&onsets, list);
    if (list->n < LEAST_BEATS) {
        list->n = 0;
        goto done;
    }
    LK_TRY(find_bars(f, list));
    LK_TRY(find_tempo(list));
done:
    lk_onsets_clear(&onsets);
    lk_free(t.z);
    lk_free(t.a);
    lk_free(t.tempo);
    lk_free(t.bump);
    lk_free(t.value);
    lk_free(t.from);
    if (st != LK_OK)
        lk_beats_clear(list);
    return st;
}

void lk_beats_clear(lk_beat_list *list)
{
    lk_free(list->time);
    lk_free(list->bar_position);
    memset(list, 0, sizeof *list);
}
