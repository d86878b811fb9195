/* audio_features.c - onset strength, level and fine attacks of a sound track, streamed.
 *
 * Coarse, every 5 ms.  P_k is the power spectrum of a 40 ms Hann window centred on t0 + k step,
 * B_k[b] the 40 mel bands of it and S_k[b] = ln(1 + B_k[b] / FLUX_FLOOR).  With lag m = half the
 * window (4 steps) and the maximum filter of SuperFlux against vibrato,
 *     flux_k[b] = max(0, S_k[b] - max(S_{k-m}[b-1], S_{k-m}[b], S_{k-m}[b+1])),
 * onset_k = mean over b.  A click at time t is at the very edge of frame t - m and in the centre of
 * frame t, and the logarithm rises steeply at that edge, so the flux peaks at the frame nearest to
 * t: no delay remains to be compensated.
 *
 * Fine.  For every sample s of the 24 kHz signal x and of its first difference d,
 *     R(s) = ln (E_a + e) (D_a + f) / (E_b + e) (D_b + f),
 * E_a the mean square of x over the A = 5 ms from s on with weights falling linearly to zero, E_b
 * the plain mean square over the B = 10 ms before s, D the same of d.  This is the log likelihood
 * ratio of a change of variance at s up to its weights.  When s lies on the start of a sound, the
 * denominator holds only what was there before and the numerator only the sound; one sample later
 * the denominator jumps, one sample earlier the numerator falls.  Hence the maximum marks the start
 * of the attack, not its middle.  e and f are FLOOR_SHARE of the mean square around the cell, so
 * that neither a filter's ringing ahead of a click nor faint noise is taken for a start.  Each cell
 * of 5 ms around frame k keeps max(0, max R) as attack[k] and where it lies as attack_ms[k].
 *
 * Sources: SuperFlux: Boeck & Widmer, "Maximum filter vibrato suppression for onset detection",
 * DAFx 2013; change of variance: Basseville & Nikiforov 1993, ch. 2.
 */
#include "align/features.h"

#include "kernels/mem.h"
#include "kernels/resample.h"
#include "kernels/signal.h"

#include <math.h>
#include <string.h>

#define WINDOW      960 /* 40 ms */
#define FFT_SIZE    1024
#define FLUX_LAG    4    /* half a window */
#define FLUX_FLOOR  1e-7 /* band power, -70 dB re full scale */
#define LEVEL_LOW   -120.0f
#define MEL_FLOOR   1e-10f
#define AFTER       120  /* samples: 5 ms */
#define BEFORE      240  /* 10 ms */
#define FEW         24   /* fewer known samples before s than this: no attack */
#define ATTACK_LOW  1e-8 /* mean square, -80 dB re full scale */
#define FLOOR_SHARE 2e-3 /* 27 dB below the neighbourhood */
#define AHEAD       360  /* known beyond a cell, so that all cells near a start have one floor */
#define CELL_SPAN   (BEFORE + LK_ANALYSIS_HOP + AHEAD)
#define PIECE       8192
#define LARGEST     1000.0f /* a sample beyond this is as wrong as a NaN */
#define LONGEST_S   (6 * 3600)

struct lk_audio_extractor {
    bool keep_mel;
    int rate_hz; /* of the clip, 0 before the first push */
    lk_span span;
    int64_t n_in;   /* samples of the clip, with filled gaps */
    int64_t n_bad;  /* not finite */
    int64_t n_mono; /* samples at the analysis rate */
    lk_resampler *resampler;
    lk_stft *stft;
    lk_mel_bank bank;
    float a_weight[FFT_SIZE / 2 + 1];
    int band_group[LK_MEL_BANDS]; /* which of the LK_ONSET_BANDS */
    int group_size[LK_ONSET_BANDS];
    float inside[FLUX_LAG]; /* share of the first windows' energy that lies within the clip */
    float recent[FLUX_LAG][LK_MEL_BANDS]; /* S of the last frames, slot k % FLUX_LAG */
    float mix[PIECE];
    float *held; /* mono samples from index held_first on, for the attacks */
    size_t held_capacity;
    int64_t held_first, n_held;
    int64_t n_frames, n_cells;
    lk_audio_features f;
    size_t onset_capacity, band_capacity, level_capacity, mel_capacity, attack_capacity,
        attack_ms_capacity;
};

static const double group_edge_hz[LK_ONSET_BANDS + 1] = {30, 200, 800, 3000, 11000};

lk_status lk_audio_extractor_create(lk_audio_extractor **extractor, bool keep_mel)
{
    lk_status st = LK_OK;
    lk_audio_extractor *x = NULL;
    *extractor = NULL;
    LK_TRY(LK_NEW(&x));
    x->keep_mel = keep_mel;
    LK_TRY(lk_stft_create(&x->stft, WINDOW, FFT_SIZE, LK_ANALYSIS_HOP));
    const double low = group_edge_hz[0], high = group_edge_hz[LK_ONSET_BANDS];
    LK_TRY(lk_mel_bank_create(&x->bank, LK_MEL_BANDS, FFT_SIZE, LK_ANALYSIS_RATE_HZ, low, high));
    for (int b = 0; b < LK_MEL_BANDS; b++) {
        int g = 0;
        while (g + 1 < LK_ONSET_BANDS &&
               lk_mel_centre(b, LK_MEL_BANDS, low, high) >= group_edge_hz[g + 1])
            g++;
        x->band_group[b] = g;
        x->group_size[g]++;
    }
    float hann[WINDOW];
    lk_hann(hann, WINDOW);
    for (int k = 0; k < FLUX_LAG; k++) {
        float in = 0, all = 0;
        for (int i = 0; i < WINDOW; i++) {
            all += hann[i] * hann[i];
            in += i >= WINDOW / 2 - k * LK_ANALYSIS_HOP ? hann[i] * hann[i] : 0;
        }
        x->inside[k] = in / all;
    }
    x->n_held = LK_ANALYSIS_HOP / 2 + BEFORE + 1; /* silence before the first sample */
    x->held_first = -x->n_held;
    LK_TRY(LK_GROW(&x->held, &x->held_capacity, x->n_held));
    for (int k = 0; k <= FFT_SIZE / 2; k++)
        x->a_weight[k] = (float)lk_a_weight((double)k * LK_ANALYSIS_RATE_HZ / FFT_SIZE);
    *extractor = x;
    x = NULL;
done:
    lk_audio_extractor_free(&x);
    return st;
}

void lk_audio_extractor_free(lk_audio_extractor **x)
{
    if (!x || !*x)
        return;
    lk_features f = {.audio = (*x)->f};
    lk_features_clear(&f);
    lk_resampler_free(&(*x)->resampler);
    lk_stft_free(&(*x)->stft);
    lk_mel_bank_clear(&(*x)->bank);
    lk_free((*x)->held);
    lk_free(*x);
    *x = NULL;
}

/* ---- coarse ---------------------------------------------------------------------------------- */

static lk_status reserve_frame(lk_audio_extractor *x)
{
    lk_status st = LK_OK;
    const int64_t n = x->n_frames + 1;
    LK_TRY(LK_GROW(&x->f.onset, &x->onset_capacity, n));
    LK_TRY(LK_GROW(&x->f.band_onset, &x->band_capacity, n * LK_ONSET_BANDS));
    LK_TRY(LK_GROW(&x->f.level_db, &x->level_capacity, n));
    if (x->keep_mel)
        LK_TRY(LK_GROW(&x->f.mel, &x->mel_capacity, (x->f.n_mel + 1) * LK_MEL_BANDS));
done:
    return st;
}

static void add_flux(lk_audio_extractor *x, const float *band)
{
    const int64_t k = x->n_frames;
    float now[LK_MEL_BANDS];
    const float gain = (float)(1 / FLUX_FLOOR) / (k < FLUX_LAG ? x->inside[k] : 1);
    for (int b = 0; b < LK_MEL_BANDS; b++)
        now[b] = log1pf(band[b] * gain);
    if (k == 0) { /* before the clip lies the same as in its first frame, not silence */
        for (int i = 0; i < FLUX_LAG; i++)
            memcpy(x->recent[i], now, sizeof now);
    }
    float *const old = x->recent[k % FLUX_LAG];
    float *const group = x->f.band_onset + k * LK_ONSET_BANDS;
    float sum = 0;
    for (int b = 0; b < LK_MEL_BANDS; b++) {
        float before = old[b];
        before = b > 0 ? fmaxf(before, old[b - 1]) : before;
        before = b + 1 < LK_MEL_BANDS ? fmaxf(before, old[b + 1]) : before;
        const float flux = fmaxf(0, now[b] - before);
        sum += flux;
        group[x->band_group[b]] += flux;
    }
    for (int g = 0; g < LK_ONSET_BANDS; g++)
        group[g] /= (float)x->group_size[g];
    x->f.onset[k] = sum / LK_MEL_BANDS;
    memcpy(old, now, sizeof now);
}

static lk_status add_frames(lk_audio_extractor *x)
{
    lk_status st = LK_OK;
    float power[FFT_SIZE / 2 + 1], band[LK_MEL_BANDS];
    while (lk_stft_next(x->stft, power)) {
        LK_TRY(reserve_frame(x));
        double level = 0;
        for (int k = 0; k <= FFT_SIZE / 2; k++)
            level += (double)(x->a_weight[k] * power[k]);
        x->f.level_db[x->n_frames] = fmaxf(LEVEL_LOW, (float)(10 * log10(level + 1e-30)));
        lk_mel_bank_apply(&x->bank, power, band);
        add_flux(x, band);
        if (x->keep_mel && x->n_frames % LK_MEL_DECIMATION == 0) {
            float *const row = x->f.mel + x->f.n_mel * LK_MEL_BANDS;
            for (int b = 0; b < LK_MEL_BANDS; b++)
                row[b] = logf(band[b] + MEL_FLOOR);
            x->f.n_mel++;
        }
        x->n_frames++;
    }
done:
    return st;
}

/* ---- fine ------------------------------------------------------------------------------------ */

/* Running sums of squares p[i] = y[0] + .. + y[i-1] and q[i] = p[1] + .. + p[i]. */
typedef struct sums {
    double p[CELL_SPAN + 1], q[CELL_SPAN + 1], floor;
} sums;

static void sum_up(sums *s, const double *y, int from)
{
    s->p[0] = s->q[0] = 0;
    for (int i = 0; i < CELL_SPAN; i++) {
        s->p[i + 1] = s->p[i] + y[i] * y[i];
        s->q[i + 1] = s->q[i] + s->p[i + 1];
    }
    s->floor = ATTACK_LOW + FLOOR_SHARE * s->p[CELL_SPAN] / (CELL_SPAN - from);
}

/* Energy from s on over the energy of the `known` samples before it. */
static double rise(const sums *u, int s, int known)
{
    const double weights = AFTER * (AFTER + 1) / 2.0;
    const double after = (u->q[s + AFTER] - u->q[s] - AFTER * u->p[s]) / weights;
    const double before = (u->p[s] - u->p[s - known]) / known;
    return (after + u->floor) / (before + u->floor);
}

/* x[0] is sample `begin`, CELL_SPAN + 1 values of which the first serves the difference; samples
 * before index 0 of the clip are unknown. */
static void best_attack(const float *x, int64_t begin, float *strength, float *at)
{
    double v[CELL_SPAN], d[CELL_SPAN];
    sums whole, high;
    for (int i = 0; i < CELL_SPAN; i++) {
        v[i] = (double)x[i + 1];
        d[i] = v[i] - (double)x[i];
    }
    const int unknown = begin + 1 < 0 ? (int)-(begin + 1) : 0; /* of the CELL_SPAN samples */
    sum_up(&whole, v, unknown);
    sum_up(&high, d, unknown);
    double best = 1;
    int where = LK_ANALYSIS_HOP / 2;
    for (int c = 0; c < LK_ANALYSIS_HOP; c++) {
        const int s = BEFORE + c, known = s - unknown < BEFORE ? s - unknown : BEFORE;
        if (known < FEW)
            continue;
        const double ratio = rise(&whole, s, known) * rise(&high, s, known);
        if (ratio > best) {
            best = ratio;
            where = c;
        }
    }
    *strength = (float)log(best);
    *at = (float)((where - LK_ANALYSIS_HOP / 2) * (1e3 / LK_ANALYSIS_RATE_HZ));
}

/* Cell k covers samples [k hop - hop / 2, k hop + hop / 2). */
static lk_status add_cells(lk_audio_extractor *x)
{
    lk_status st = LK_OK;
    for (;;) {
        const int64_t begin = x->n_cells * LK_ANALYSIS_HOP - LK_ANALYSIS_HOP / 2 - BEFORE - 1;
        if (begin + CELL_SPAN + 1 > x->held_first + x->n_held)
            break;
        LK_TRY(LK_GROW(&x->f.attack, &x->attack_capacity, x->n_cells + 1));
        LK_TRY(LK_GROW(&x->f.attack_ms, &x->attack_ms_capacity, x->n_cells + 1));
        best_attack(x->held + (begin - x->held_first), begin, &x->f.attack[x->n_cells],
                    &x->f.attack_ms[x->n_cells]);
        x->n_cells++;
    }
    const int64_t keep =
        x->n_cells * LK_ANALYSIS_HOP - LK_ANALYSIS_HOP / 2 - BEFORE - 1 - x->held_first;
    if (keep > 0) {
        x->n_held -= keep;
        x->held_first += keep;
        memmove(x->held, x->held + keep, (size_t)x->n_held * sizeof *x->held);
    }
done:
    return st;
}

static lk_status hold(lk_audio_extractor *x, const float *mono, int64_t n)
{
    lk_status st = LK_OK;
    LK_TRY(LK_GROW(&x->held, &x->held_capacity, x->n_held + n));
    if (mono)
        memcpy(x->held + x->n_held, mono, (size_t)n * sizeof *mono);
    else
        memset(x->held + x->n_held, 0, (size_t)n * sizeof *x->held);
    x->n_held += n;
    LK_TRY(add_cells(x));
done:
    return st;
}

/* ---- input ----------------------------------------------------------------------------------- */

static lk_status add_mono(lk_audio_extractor *x, const float *mono, int64_t n)
{
    lk_status st = LK_OK;
    for (int64_t i = 0; i < n; i++)
        x->f.peak = fmaxf(x->f.peak, fabsf(mono[i]));
    x->n_mono += n;
    LK_TRY(lk_stft_push(x->stft, mono, n));
    LK_TRY(add_frames(x));
    LK_TRY(hold(x, mono, n));
done:
    return st;
}

/* Mix samples [from, from + n) of the view; n <= PIECE. */
static void mix_down(lk_audio_extractor *x, const lk_pcm_view *pcm, int64_t from, int64_t n)
{
    const float share = 1.0f / (float)pcm->n_channels;
    for (int64_t i = 0; i < n; i++) {
        float sum = 0;
        for (int c = 0; c < pcm->n_channels; c++) {
            const float v = pcm->channel[c][from + i];
            if (fabsf(v) <= LARGEST)
                sum += v;
            else
                x->n_bad++;
        }
        x->mix[i] = sum * share;
    }
}

static lk_status push_piece(lk_audio_extractor *x, const float *in, int64_t n)
{
    lk_status st = LK_OK;
    const float *mono = NULL;
    int64_t n_mono = 0;
    LK_TRY(lk_resampler_push(x->resampler, in, n, &mono, &n_mono));
    LK_TRY(add_mono(x, mono, n_mono));
    x->n_in += n;
done:
    return st;
}

lk_status lk_audio_extractor_push(lk_audio_extractor *x, const lk_pcm_view *pcm)
{
    lk_status st = LK_OK;
    LK_REQUIRE(pcm->n_samples >= 0 && pcm->n_channels >= 1 && pcm->channel, LK_E_ARG,
               "a run of sound has no samples or no channels");
    if (x->rate_hz == 0) {
        LK_TRY(lk_resampler_create(&x->resampler, pcm->rate_hz, LK_ANALYSIS_RATE_HZ));
        x->rate_hz = pcm->rate_hz;
        x->span = (lk_span){pcm->span.start, pcm->span.start};
    }
    LK_REQUIRE(pcm->rate_hz == x->rate_hz, LK_E_UNSUPPORTED,
               "the sound changes its rate from %d to %d Hz within the clip", x->rate_hz,
               pcm->rate_hz);
    LK_REQUIRE(pcm->span.start - x->span.start < LONGEST_S * LK_FLICKS_PER_S &&
                   pcm->n_samples < (int64_t)LONGEST_S * x->rate_hz,
               LK_E_UNSUPPORTED, "the sound reaches more than %d hours past its start",
               LONGEST_S / 3600);
    const int64_t begin = lk_samples_from_flick(pcm->span.start - x->span.start, x->rate_hz);
    int64_t from = begin < x->n_in ? x->n_in - begin : 0;
    while (x->n_in < begin)
        LK_TRY(push_piece(x, NULL, begin - x->n_in < PIECE ? begin - x->n_in : PIECE));
    while (from < pcm->n_samples) {
        const int64_t n = pcm->n_samples - from < PIECE ? pcm->n_samples - from : PIECE;
        mix_down(x, pcm, from, n);
        LK_TRY(push_piece(x, x->mix, n));
        from += n;
    }
    if (pcm->span.end > x->span.end)
        x->span.end = pcm->span.end;
done:
    return st;
}

lk_status lk_audio_extractor_finish(lk_audio_extractor *x, lk_audio_features *out)
{
    lk_status st = LK_OK;
    memset(out, 0, sizeof *out);
    if (x->n_in > 0) {
        const float *mono = NULL;
        int64_t n = 0;
        LK_TRY(lk_resampler_flush(x->resampler, &mono, &n));
        LK_TRY(add_mono(x, mono, n));
        LK_TRY(lk_stft_end(x->stft));
        LK_TRY(add_frames(x));
        LK_TRY(hold(x, NULL, AHEAD + 2 * LK_ANALYSIS_HOP));
    }
    if (x->n_bad > 0)
        lk_log(1, "%lld samples of the sound are not numbers or beyond +-%g; read as silence",
               (long long)x->n_bad, (double)LARGEST);
    *out = x->f;
    out->present = x->n_in > 0;
    out->span = x->span;
    out->t0 = x->span.start;
    out->step = LK_FLICKS_PER_S / LK_ANALYSIS_RATE_HZ * LK_ANALYSIS_HOP;
    out->n = x->n_frames;
    memset(&x->f, 0, sizeof x->f);
done:
    return st;
}
