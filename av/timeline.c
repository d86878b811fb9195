/* timeline.c - see timeline.h. */
#include "av/timeline.h"

#include "kernels/mel.h"
#include "kernels/mem.h"
#include "kernels/signal.h"

#include <math.h>
#include <string.h>

#define BANDS       96
#define BAND_PIXELS 2
#define RANGE_DB    70.0

struct lk_timeline {
    double duration_s;
    /* strip */
    uint8_t *strip;
    int n_tiles, slot_width, slot_height;
    int next_slot;
    /* spectrogram */
    lk_stft *stft;
    lk_mel_bank bank;
    float *power, *mono, *bands;
    size_t mono_capacity;
    double *column; /* [n_columns, BANDS] */
    int *count;
    int n_columns, hop, rate_hz;
    double sound_start_s, high_hz;
    int64_t n_windows;
    uint8_t *spectrogram;
};

lk_status lk_timeline_new(lk_timeline **t, double duration_s)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW(t));
    (*t)->duration_s = duration_s;
done:
    return st;
}

void lk_timeline_free(lk_timeline **out)
{
    lk_timeline *t = out ? *out : NULL;
    if (!t)
        return;
    lk_stft_free(&t->stft);
    lk_mel_bank_clear(&t->bank);
    lk_free(t->strip);
    lk_free(t->power);
    lk_free(t->mono);
    lk_free(t->bands);
    lk_free(t->column);
    lk_free(t->count);
    lk_free(t->spectrogram);
    lk_free(t);
    *out = NULL;
}

void lk_colour(int map, double x, uint8_t rgb[3])
{
    /* Every eighth of matplotlib's magma and viridis. */
    static const uint8_t stops[2][9][3] = {{{0, 0, 4},
                                            {28, 16, 68},
                                            {79, 18, 123},
                                            {129, 37, 129},
                                            {181, 54, 122},
                                            {229, 80, 100},
                                            {251, 135, 97},
                                            {254, 194, 135},
                                            {252, 253, 191}},
                                           {{68, 1, 84},
                                            {71, 44, 122},
                                            {59, 81, 139},
                                            {44, 113, 142},
                                            {33, 144, 141},
                                            {39, 173, 129},
                                            {92, 200, 99},
                                            {170, 220, 50},
                                            {253, 231, 37}}};
    const double at = fmin(fmax(x, 0), 1) * 8;
    const int i = at >= 8 ? 7 : (int)at;
    for (int c = 0; c < 3; c++)
        rgb[c] =
            (uint8_t)lrint(stops[map][i][c] + (at - i) * (stops[map][i + 1][c] - stops[map][i][c]));
}

/* ---- pictures -------------------------------------------------------------------------------- */

/* Mean of the source pixels under each target pixel. */
void lk_frame_shrink(const lk_frame_view *v, uint8_t *out, int w, int h, ptrdiff_t stride)
{
    for (int y = 0; y < h; y++) {
        const int y0 = (int)((int64_t)y * v->height / h);
        int y1 = (int)((int64_t)(y + 1) * v->height / h);
        y1 = y1 > y0 ? y1 : y0 + 1;
        for (int x = 0; x < w; x++) {
            const int x0 = (int)((int64_t)x * v->width / w);
            int x1 = (int)((int64_t)(x + 1) * v->width / w);
            x1 = x1 > x0 ? x1 : x0 + 1;
            unsigned sum[3] = {0, 0, 0};
            for (int j = y0; j < y1; j++) {
                const uint8_t *p = v->rgb + j * v->rgb_stride + (ptrdiff_t)x0 * 3;
                for (int i = x0; i < x1; i++, p += 3) {
                    sum[0] += p[0];
                    sum[1] += p[1];
                    sum[2] += p[2];
                }
            }
            const unsigned n = (unsigned)((y1 - y0) * (x1 - x0));
            for (int c = 0; c < 3; c++)
                out[y * stride + x * 3 + c] = (uint8_t)((sum[c] + n / 2) / n);
        }
    }
}

double lk_frame_aspect(const lk_frame_view *v)
{
    const double sar =
        v->sar.num > 0 && v->sar.den > 0 ? (double)v->sar.num / (double)v->sar.den : 1;
    return fmin(fmax(v->width * sar / v->height, 0.2), 5);
}

static lk_status start_strip(lk_timeline *t, const lk_frame_view *v)
{
    lk_status st = LK_OK;
    const double aspect = lk_frame_aspect(v);
    const int n = (int)fmin(fmax(round(LK_TIMELINE_PIXELS / (80 * aspect)), 12), 24);
    t->slot_width = LK_TIMELINE_PIXELS / n;
    t->slot_height = (int)lrint(t->slot_width / aspect);
    t->n_tiles = n;
    LK_TRY(LK_NEW_ARRAY(&t->strip, (size_t)(n * t->slot_width) * (size_t)t->slot_height * 3));
    memset(t->strip, 40, (size_t)(n * t->slot_width) * (size_t)t->slot_height * 3);
done:
    return st;
}

lk_status lk_timeline_frame(lk_timeline *t, const lk_frame_view *v)
{
    lk_status st = LK_OK;
    if (t->duration_s <= 0)
        return LK_OK;
    if (!t->strip)
        LK_TRY(start_strip(t, v));
    for (; t->next_slot < t->n_tiles; t->next_slot++) {
        const double middle = (t->next_slot + 0.5) * t->duration_s / t->n_tiles;
        if (middle >= lk_flick_to_s(v->span.end))
            break;
        if (middle >= lk_flick_to_s(v->span.start))
            lk_frame_shrink(v, t->strip + (ptrdiff_t)t->next_slot * t->slot_width * 3,
                            t->slot_width - 1, t->slot_height,
                            (ptrdiff_t)t->n_tiles * t->slot_width * 3);
    }
done:
    return st;
}

/* ---- sound ----------------------------------------------------------------------------------- */

static lk_status start_sound(lk_timeline *t, const lk_pcm_view *v)
{
    lk_status st = LK_OK;
    t->rate_hz = v->rate_hz;
    t->hop = v->rate_hz / 200 > 0 ? v->rate_hz / 200 : 1;
    t->sound_start_s = lk_flick_to_s(v->span.start);
    int size = 256;
    while (size < v->rate_hz * 3 / 100)
        size *= 2;
    t->high_hz = fmin(12000, v->rate_hz / 2.0);
    /* No narrower than the windows are apart, or some would stay empty. */
    t->n_columns = (int)fmin(LK_TIMELINE_PIXELS, fmax(1, floor(t->duration_s * 200 + 1e-6)));
    LK_TRY(lk_stft_create(&t->stft, v->rate_hz * 3 / 100 / 2 * 2, size, t->hop));
    LK_TRY(lk_mel_bank_create(&t->bank, BANDS, size, v->rate_hz, 40, t->high_hz));
    LK_TRY(LK_NEW_ARRAY(&t->power, size / 2 + 1));
    LK_TRY(LK_NEW_ARRAY(&t->bands, BANDS));
    LK_TRY(LK_NEW_ARRAY(&t->column, t->n_columns * BANDS));
    LK_TRY(LK_NEW_ARRAY(&t->count, t->n_columns));
done:
    return st;
}

static void drain_windows(lk_timeline *t)
{
    while (lk_stft_next(t->stft, t->power)) {
        const double at = t->sound_start_s + (double)t->n_windows++ * t->hop / t->rate_hz;
        const int c = (int)floor(at / t->duration_s * t->n_columns + 1e-6);
        if (c < 0 || c >= t->n_columns)
            continue;
        lk_mel_bank_apply(&t->bank, t->power, t->bands);
        for (int b = 0; b < BANDS; b++)
            t->column[c * BANDS + b] += (double)t->bands[b];
        t->count[c]++;
    }
}

lk_status lk_timeline_sound(lk_timeline *t, const lk_pcm_view *v)
{
    lk_status st = LK_OK;
    if (t->duration_s <= 0 || v->n_samples <= 0 || v->rate_hz < 1000)
        return LK_OK;
    if (!t->stft)
        LK_TRY(start_sound(t, v));
    if (v->rate_hz != t->rate_hz)
        return LK_OK;
    LK_TRY(LK_GROW(&t->mono, &t->mono_capacity, v->n_samples));
    for (int64_t i = 0; i < v->n_samples; i++) {
        float sum = 0;
        for (int c = 0; c < v->n_channels; c++)
            sum += v->channel[c][i];
        sum /= (float)v->n_channels;
        t->mono[i] = isfinite(sum) ? sum : 0;
    }
    LK_TRY(lk_stft_push(t->stft, t->mono, v->n_samples));
    drain_windows(t);
done:
    return st;
}

static lk_status paint_spectrogram(lk_timeline *t)
{
    lk_status st = LK_OK;
    const int height = BANDS * BAND_PIXELS;
    double top = 1e-9;
    LK_TRY(lk_stft_end(t->stft));
    drain_windows(t);
    LK_TRY(LK_NEW_ARRAY(&t->spectrogram, (size_t)t->n_columns * (size_t)height * 3));
    for (int i = 0; i < t->n_columns * BANDS; i++) {
        t->column[i] /= t->count[i / BANDS] > 0 ? t->count[i / BANDS] : 1;
        top = fmax(top, t->column[i]);
    }
    for (int y = 0; y < height; y++) {
        for (int c = 0; c < t->n_columns; c++) {
            const double power = t->column[c * BANDS + (BANDS - 1 - y / BAND_PIXELS)];
            const double db = 10 * log10(fmax(power, 1e-15) / top);
            lk_colour(0, 1 + db / RANGE_DB,
                      t->spectrogram + ((size_t)y * (size_t)t->n_columns + (size_t)c) * 3);
        }
    }
done:
    return st;
}

lk_status lk_timeline_finish(lk_timeline *t, lk_timeline_picture *strip,
                             lk_timeline_picture *spectrogram)
{
    lk_status st = LK_OK;
    *strip = *spectrogram = (lk_timeline_picture){0};
    if (t->stft && !t->spectrogram)
        LK_TRY(paint_spectrogram(t));
    if (t->strip)
        *strip = (lk_timeline_picture){.width = t->n_tiles * t->slot_width,
                                       .height = t->slot_height,
                                       .rgb = t->strip,
                                       .n_tiles = t->n_tiles};
    if (t->spectrogram)
        *spectrogram = (lk_timeline_picture){.width = t->n_columns,
                                             .height = BANDS * BAND_PIXELS,
                                             .rgb = t->spectrogram,
                                             .high_hz = t->high_hz};
done:
    return st;
}
