/* sound_in.c - see sound_in.h. */
#include "av/sound_in.h"

#include "kernels/mem.h"
#include "kernels/resample.h"

#include <string.h>

enum { MOST_CHANNELS = 2 };

struct lk_sound_in {
    int rate_hz, n_channels, in_hz;
    lk_flick start;
    int64_t n_in; /* samples at the file's rate so far */
    lk_resampler *resampler[MOST_CHANNELS];
    float *mono, *out;
    size_t mono_room, out_room;
    int64_t n_out; /* in `out`, this call */
};

lk_status lk_sound_in_new(lk_sound_in **out, int rate_hz, int n_channels)
{
    lk_status st = LK_OK;
    LK_REQUIRE(n_channels >= 1 && n_channels <= MOST_CHANNELS, LK_E_ARG,
               "sound is taken with one channel or two, not %d", n_channels);
    LK_TRY(LK_NEW(out));
    (*out)->rate_hz = rate_hz;
    (*out)->n_channels = n_channels;
    (*out)->start = LK_FLICK_NONE;
done:
    return st;
}

void lk_sound_in_free(lk_sound_in **s)
{
    if (!s || !*s)
        return;
    for (int k = 0; k < MOST_CHANNELS; k++)
        lk_resampler_free(&(*s)->resampler[k]);
    lk_free((*s)->mono);
    lk_free((*s)->out);
    lk_free(*s);
    *s = NULL;
}

static lk_status keep(lk_sound_in *s, const float *const channel[MOST_CHANNELS], int64_t n)
{
    lk_status st = LK_OK;
    const int c = s->n_channels;
    LK_TRY(LK_GROW(&s->out, &s->out_room, (size_t)((s->n_out + n) * c) + 1));
    for (int64_t i = 0; i < n; i++) {
        for (int k = 0; k < c; k++)
            s->out[(s->n_out + i) * c + k] = channel[k][i];
    }
    s->n_out += n;
done:
    return st;
}

/* n samples at the file's rate; in[k] NULL: silence. */
static lk_status resample(lk_sound_in *s, const float *const in[MOST_CHANNELS], int64_t n)
{
    lk_status st = LK_OK;
    const float *out[MOST_CHANNELS] = {NULL, NULL};
    int64_t got = 0;
    for (int k = 0; k < s->n_channels; k++)
        LK_TRY(lk_resampler_push(s->resampler[k], in[k], n, &out[k], &got));
    s->n_in += n;
    LK_TRY(keep(s, out, got));
done:
    return st;
}

static lk_status mix(lk_sound_in *s, const lk_pcm_view *v, int64_t skip)
{
    lk_status st = LK_OK;
    const int64_t n = v->n_samples - skip;
    const float *in[MOST_CHANNELS] = {v->channel[0] + skip,
                                      v->channel[v->n_channels > 1 ? 1 : 0] + skip};
    if (s->n_channels == 1 && v->n_channels > 1) {
        LK_TRY(LK_GROW(&s->mono, &s->mono_room, (size_t)n + 1));
        for (int64_t i = 0; i < n; i++) {
            float sum = 0;
            for (int k = 0; k < v->n_channels; k++)
                sum += v->channel[k][skip + i];
            s->mono[i] = sum / (float)v->n_channels;
        }
        in[0] = s->mono;
    }
    LK_TRY(resample(s, in, n));
done:
    return st;
}

lk_status lk_sound_in_push(lk_sound_in *s, const lk_pcm_view *v, const float **out, int64_t *n)
{
    lk_status st = LK_OK;
    s->n_out = 0;
    if (s->start == LK_FLICK_NONE) {
        for (int k = 0; k < s->n_channels; k++)
            LK_TRY(lk_resampler_create(&s->resampler[k], v->rate_hz, s->rate_hz));
        s->in_hz = v->rate_hz;
        s->start = v->span.start;
    }
    LK_REQUIRE(v->rate_hz == s->in_hz, LK_E_UNSUPPORTED, "the sample rate changes from %d to %d Hz",
               s->in_hz, v->rate_hz);
    const int64_t place = lk_samples_from_flick(v->span.start - s->start, v->rate_hz);
    const int64_t gap = v->gap ? place - s->n_in : 0;
    if (gap > 0)
        LK_TRY(resample(s, (const float *const[MOST_CHANNELS]){NULL, NULL}, gap));
    if (-gap < v->n_samples)
        LK_TRY(mix(s, v, gap < 0 ? -gap : 0));
done:
    *out = s->out;
    *n = st == LK_OK ? s->n_out : 0;
    return st;
}

lk_status lk_sound_in_flush(lk_sound_in *s, const float **out, int64_t *n)
{
    lk_status st = LK_OK;
    const float *last[MOST_CHANNELS] = {NULL, NULL};
    int64_t got = 0;
    s->n_out = 0;
    for (int k = 0; k < s->n_channels && s->start != LK_FLICK_NONE; k++)
        LK_TRY(lk_resampler_flush(s->resampler[k], &last[k], &got));
    LK_TRY(keep(s, last, got));
done:
    *out = s->out;
    *n = st == LK_OK ? s->n_out : 0;
    return st;
}

lk_flick lk_sound_in_start(const lk_sound_in *s)
{
    return s->start;
}
