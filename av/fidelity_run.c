/* fidelity_run.c - see fidelity_run.h. */
#include "av/fidelity_run.h"

#include "align/fidelity.h"
#include "av/media.h"
#include "av/sound_in.h"
#include "kernels/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LOW_HZ     3500.0
#define MOST_LAG_S 0.05

typedef struct clip {
    int rate_hz, width, height;
    lk_flick sound_start;
    int64_t n_samples, n_frames;
    size_t sound_room, frame_room, span_room;
    float *sound;
    uint8_t *frames;
    lk_span *spans;
} clip;

static void clear(clip *c)
{
    lk_free(c->sound);
    lk_free(c->frames);
    lk_free(c->spans);
}

static lk_status take_sound(clip *c, const float *sound, int64_t n)
{
    lk_status st = LK_OK;
    LK_TRY(LK_GROW(&c->sound, &c->sound_room, (size_t)(c->n_samples + n) + 1));
    memcpy(c->sound + c->n_samples, sound, (size_t)n * sizeof *sound);
    c->n_samples += n;
done:
    return st;
}

static lk_status take_frame(clip *c, lk_picture_fitter **fitter, const lk_frame_view *v)
{
    lk_status st = LK_OK;
    const int64_t bytes = (int64_t)c->width * c->height * 3;
    LK_TRY(LK_GROW(&c->frames, &c->frame_room, (size_t)((c->n_frames + 1) * bytes)));
    LK_TRY(LK_GROW(&c->spans, &c->span_room, (size_t)c->n_frames + 1));
    LK_TRY(lk_picture_fit(fitter, v, c->width, c->height, c->frames + c->n_frames * bytes));
    c->spans[c->n_frames++] = v->span;
done:
    return st;
}

/* rate_hz, width and height of c are wanted ones, or 0 for the file's own. */
static lk_status load(const char *path, double seconds, clip *c)
{
    lk_status st = LK_OK;
    lk_media *m = NULL;
    lk_picture_fitter *fitter = NULL;
    lk_sound_in *in = NULL;
    lk_media_item item = {.kind = LK_MEDIA_PCM};
    const float *sound = NULL;
    int64_t n = 0;
    LK_TRY(lk_media_open(&m, path, &(lk_media_options){.want_rgb = true, .max_seconds = seconds}));
    const lk_media_info *info = lk_media_get_info(m);
    if (info->audio.present) {
        c->rate_hz = c->rate_hz ? c->rate_hz : info->audio.rate_hz;
        LK_TRY(lk_sound_in_new(&in, c->rate_hz, 1));
    }
    if (info->video.present && c->width == 0) {
        c->width = info->video.width;
        c->height = info->video.height;
    }
    while (item.kind != LK_MEDIA_END) {
        LK_TRY(lk_media_next(m, &item));
        if (item.kind == LK_MEDIA_FRAME) {
            LK_TRY(take_frame(c, &fitter, &item.frame));
        } else if (item.kind == LK_MEDIA_PCM) {
            LK_TRY(lk_sound_in_push(in, &item.pcm, &sound, &n));
            LK_TRY(take_sound(c, sound, n));
        }
    }
    if (in && lk_sound_in_start(in) != LK_FLICK_NONE) {
        LK_TRY(lk_sound_in_flush(in, &sound, &n));
        LK_TRY(take_sound(c, sound, n));
        c->sound_start = lk_sound_in_start(in);
    }
done:
    lk_sound_in_free(&in);
    lk_picture_fitter_free(&fitter);
    lk_media_close(&m);
    return st;
}

/* ---- sound ----------------------------------------------------------------------------------- */

/* The copy from sample `from` of the original's counting on, silence where it has none. */
static float at(const clip *c, int64_t i)
{
    return i >= 0 && i < c->n_samples ? c->sound[i] : 0;
}

static int64_t best_lag(const clip *a, const clip *b, int64_t shift)
{
    const int64_t most = (int64_t)(MOST_LAG_S * a->rate_hz);
    int64_t best = 0;
    double highest = -INFINITY;
    for (int64_t lag = -most; lag <= most; lag++) {
        double sum = 0;
        for (int64_t i = 0; i < a->n_samples; i++)
            sum += (double)a->sound[i] * (double)at(b, i + shift + lag);
        if (sum > highest * (1 + 1e-9) || !isfinite(highest)) {
            highest = sum;
            best = lag;
        }
    }
    return best;
}

/* A measure that cannot be given is NaN, not a failure. */
static lk_status or_nothing(lk_status st, double *value)
{
    if (st != LK_E_EMPTY)
        return st;
    lk_error_clear();
    *value = NAN;
    return LK_OK;
}

static lk_status compare_sound(const clip *a, const clip *b, lk_fidelity *f)
{
    lk_status st = LK_OK;
    float *copy = NULL;
    const int64_t n = a->n_samples;
    const int rate = a->rate_hz;
    const int64_t shift = lk_samples_from_flick(a->sound_start - b->sound_start, rate);
    const double high = rate / 2.0, low = fmin(LOW_HZ, high);
    LK_TRY(LK_NEW_ARRAY(&copy, n + 1));
    f->n_samples = n;
    f->lag_samples = best_lag(a, b, shift);
    for (int64_t i = 0; i < n; i++)
        copy[i] = at(b, i + shift + f->lag_samples);
    LK_TRY(or_nothing(lk_si_sdr(a->sound, copy, n, &f->si_sdr_db), &f->si_sdr_db));
    LK_TRY(or_nothing(lk_mel_distance(a->sound, copy, n, rate, high, &f->mel), &f->mel));
    LK_TRY(or_nothing(lk_mel_distance(a->sound, copy, n, rate, low, &f->mel_low), &f->mel_low));
    LK_TRY(or_nothing(lk_stft_distance(a->sound, copy, n, rate, high, &f->stft), &f->stft));
    LK_TRY(or_nothing(lk_stft_distance(a->sound, copy, n, rate, low, &f->stft_low), &f->stft_low));
    LK_TRY(or_nothing(lk_stoi(a->sound, copy, n, rate, &f->stoi), &f->stoi));
done:
    lk_free(copy);
    return st;
}

/* ---- pictures -------------------------------------------------------------------------------- */

/* The copy's frames, one for each of the original. */
static lk_status match_frames(const clip *a, const clip *b, uint8_t **frames)
{
    lk_status st = LK_OK;
    const size_t bytes = (size_t)a->width * (size_t)a->height * 3;
    int64_t k = 0;
    LK_TRY(LK_NEW_ARRAY(frames, (size_t)a->n_frames * bytes));
    for (int64_t i = 0; i < a->n_frames; i++) {
        const lk_flick t = a->spans[i].start;
        while (k + 1 < b->n_frames &&
               llabs(b->spans[k + 1].start - t) <= llabs(b->spans[k].start - t))
            k++;
        memcpy(*frames + (size_t)i * bytes, b->frames + (size_t)k * bytes, bytes);
    }
done:
    return st;
}

static lk_status by_place(const double *frame_db, int64_t n, int group, lk_fidelity *f)
{
    double error[LK_FIDELITY_MOST_GROUP] = {0};
    int64_t count[LK_FIDELITY_MOST_GROUP] = {0};
    f->psnr_worst_db = INFINITY;
    for (int64_t i = 0; i < n; i++) {
        const int64_t place = (i + group - 1) % group;
        f->psnr_worst_db = fmin(f->psnr_worst_db, frame_db[i]);
        error[place] += pow(10, -frame_db[i] / 10);
        count[place]++;
    }
    for (int k = 0; k < group; k++)
        f->place_db[k] = count[k] > 0 ? -10 * log10(error[k] / (double)count[k]) : NAN;
    return LK_OK;
}

static lk_status compare_pictures(const clip *a, const clip *b, int group, lk_fidelity *f)
{
    lk_status st = LK_OK;
    uint8_t *copies = NULL;
    double *frame_db = NULL;
    LK_TRY(match_frames(a, b, &copies));
    LK_TRY(LK_NEW_ARRAY(&frame_db, a->n_frames));
    const lk_clip_view x = {a->frames, a->n_frames, a->height, a->width, 3};
    const lk_clip_view y = {copies, a->n_frames, a->height, a->width, 3};
    f->n_frames = a->n_frames;
    LK_TRY(lk_psnr(&x, &y, &f->psnr_db, frame_db));
    LK_TRY(by_place(frame_db, a->n_frames, group, f));
    LK_TRY(or_nothing(lk_ssim(&x, &y, &f->ssim), &f->ssim));
    LK_TRY(or_nothing(lk_ms_ssim(&x, &y, &f->ms_ssim), &f->ms_ssim));
    LK_TRY(or_nothing(lk_flicker(&x, &y, &f->flicker), &f->flicker));
done:
    lk_free(copies);
    lk_free(frame_db);
    return st;
}

lk_status lk_fidelity_of(const char *original, const char *copy, const lk_fidelity_options *o,
                         lk_fidelity *f)
{
    lk_status st = LK_OK;
    clip a = {.rate_hz = o->rate_hz, .width = o->width, .height = o->height}, b = {0};
    memset(f, 0, sizeof *f);
    LK_REQUIRE(o->group >= 1 && o->group <= LK_FIDELITY_MOST_GROUP, LK_E_ARG,
               "groups have 1 to %d frames", LK_FIDELITY_MOST_GROUP);
    LK_TRY(load(original, o->seconds, &a));
    b.rate_hz = a.rate_hz;
    b.width = a.width;
    b.height = a.height;
    LK_TRY(load(copy, o->seconds, &b));
    LK_REQUIRE((a.n_samples > 0 && b.n_samples > 0) || (a.n_frames > 0 && b.n_frames > 0),
               LK_E_FORMAT, "'%s' and '%s' have neither sound nor picture in common", original,
               copy);
    if (a.n_samples > 0 && b.n_samples > 0)
        LK_TRY(compare_sound(&a, &b, f));
    if (a.n_frames > 0 && b.n_frames > 0)
        LK_TRY(compare_pictures(&a, &b, o->group, f));
done:
    clear(&a);
    clear(&b);
    return st;
}
