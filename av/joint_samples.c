/* joint_samples.c - see joint_samples.h. */
#include "av/joint_samples.h"

#include "audio_codec/codec.h"
#include "av/png.h"
#include "av/timeline.h"
#include "kernels/file.h"
#include "kernels/mem.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ROWS = 4, MARK_PIXELS = 8, GAP_PIXELS = 10, GREY = 24 };

struct lk_joint_samples {
    const lk_joint_data *data;
    const lk_joint_sampling *sampling;
    char *path; /* FOLDER/ and room for a name */
    size_t folder_bytes;
    int n;
    lk_joint_sizes sizes;
    int64_t clip[ROWS];
    lk_joint_clip asked[ROWS]; /* texts and times alone */
    double duration_s;
    float *video, *audio; /* of the rows */
    lk_vae_decoder *video_decoder;
    lk_codec_decoder *audio_decoder;
    uint8_t *rgb;
    float *pcm, *channel; /* interleaved, and one after the other */
    size_t pcm_capacity, channel_capacity;
};

/* ---- setting up ---- */

static lk_status choose_clips(lk_joint_samples *s)
{
    lk_status st = LK_OK;
    int64_t n;
    const lk_joint_clip *clips = lk_joint_data_clips(s->data, &n);
    s->n = n < ROWS ? (int)n : ROWS;
    s->sizes = lk_joint_data_sizes(s->data);
    s->sizes.batch = s->n;
    s->sizes.latents = s->sizes.sounds = s->sizes.events = 0; /* whole, whatever is drawn */
    for (int i = 0; i < s->n; i++) {
        lk_joint_clip *c = &s->asked[i];
        s->clip[i] = i * n / s->n;
        *c = clips[s->clip[i]];
        c->video = c->audio = NULL;
        if (c->n_latents > s->sizes.latents)
            s->sizes.latents = c->n_latents;
        if (c->n_sounds > s->sizes.sounds)
            s->sizes.sounds = c->n_sounds;
        if (c->n_events > s->sizes.events)
            s->sizes.events = c->n_events;
        for (int k = 0; k < 2; k++) {
            const lk_span *span = k ? c->audio_span : c->video_span;
            const int count = k ? c->n_sounds : c->n_latents;
            const double end = count ? lk_flick_to_s(span[count - 1].end) : 0;
            s->duration_s = end > s->duration_s ? end : s->duration_s;
        }
    }
    LK_REQUIRE(s->sizes.latents + s->sizes.sounds > 0, LK_E_EMPTY,
               "the clips held out are too short to be sampled");
done:
    return st;
}

static int64_t cells_of(const lk_joint_samples *s)
{
    return (int64_t)s->sizes.rows * s->sizes.columns *
           lk_joint_data_channels(s->data, LK_JOINT_VIDEO);
}

static lk_status make_room(lk_joint_samples *s, const char *folder)
{
    lk_status st = LK_OK;
    const lk_joint_source source = lk_joint_data_source(s->data, s->clip[0]);
    const int audio = lk_joint_data_channels(s->data, LK_JOINT_AUDIO);
    LK_TRY(LK_NEW_ARRAY(&s->path, strlen(folder) + 40));
    s->folder_bytes = (size_t)sprintf(s->path, "%s", folder);
    LK_TRY(LK_NEW_ARRAY(&s->video, s->n * s->sizes.latents * cells_of(s)));
    LK_TRY(LK_NEW_ARRAY(&s->audio, (int64_t)s->n * s->sizes.sounds * audio));
    LK_TRY(LK_NEW_ARRAY(&s->rgb, (size_t)source.width * (size_t)source.height * 3));
    LK_TRY(lk_vae_decoder_new(
        &s->video_decoder, source.vae,
        &(lk_vae_stream_config){.height = source.height, .width = source.width}));
    LK_TRY(lk_codec_decoder_new(&s->audio_decoder, source.codec, LK_CODEC_CONTINUOUS, 0));
done:
    return st;
}

lk_status lk_joint_samples_new(lk_joint_samples **out, const lk_joint_data *data,
                               const lk_joint_sampling *sampling, const char *folder)
{
    lk_status st = LK_OK;
    lk_joint_samples *s = NULL;
    LK_TRY(LK_NEW(&s));
    s->data = data;
    s->sampling = sampling;
    LK_TRY(choose_clips(s));
    LK_TRY(make_room(s, folder));
    *out = s;
    s = NULL;
done:
    lk_joint_samples_free(&s);
    return st;
}

void lk_joint_samples_free(lk_joint_samples **out)
{
    lk_joint_samples *s = out ? *out : NULL;
    if (!s)
        return;
    lk_vae_decoder_free(&s->video_decoder);
    lk_codec_decoder_free(&s->audio_decoder);
    lk_free(s->path);
    lk_free(s->video);
    lk_free(s->audio);
    lk_free(s->rgb);
    lk_free(s->pcm);
    lk_free(s->channel);
    lk_free(s);
    *out = NULL;
}

/* ---- out of latents ---- */

static lk_status draw_frames(lk_joint_samples *s, int row, const float *latent, lk_timeline *t)
{
    lk_status st = LK_OK;
    const lk_joint_source source = lk_joint_data_source(s->data, s->clip[row]);
    lk_frame_view v = {.width = source.width,
                       .height = source.height,
                       .sar = {1, 1},
                       .rgb = s->rgb,
                       .rgb_stride = (ptrdiff_t)source.width * 3};
    LK_TRY(lk_vae_decoder_reset(s->video_decoder));
    for (int i = 0; i < s->asked[row].n_latents; i++) {
        LK_TRY(lk_vae_decoder_push(s->video_decoder, latent + i * cells_of(s), &source.stamp[i]));
        for (int got = 1; got; v.index += got) {
            LK_TRY(lk_vae_decoder_pull_u8(s->video_decoder, s->rgb, &v.span, &got));
            if (got)
                LK_TRY(lk_timeline_frame(t, &v));
        }
    }
done:
    return st;
}

static lk_status draw_sound(lk_joint_samples *s, int row, const float *latent, lk_timeline *t)
{
    lk_status st = LK_OK;
    const lk_joint_source source = lk_joint_data_source(s->data, s->clip[row]);
    const lk_codec_config *c = lk_codec_get_config(source.codec);
    const float *channel[2] = {NULL, NULL};
    int64_t n;
    if (s->asked[row].n_sounds == 0)
        return LK_OK;
    LK_TRY(lk_codec_decoder_reset(s->audio_decoder));
    LK_TRY(lk_codec_decoder_push(s->audio_decoder, NULL, latent, s->asked[row].n_sounds));
    LK_TRY(lk_codec_decoder_end(s->audio_decoder, source.n_samples));
    n = lk_codec_decoder_ready(s->audio_decoder);
    LK_TRY(LK_GROW(&s->pcm, &s->pcm_capacity, n * c->channels));
    LK_TRY(LK_GROW(&s->channel, &s->channel_capacity, n * c->channels));
    LK_TRY(lk_codec_decoder_pull(s->audio_decoder, n, s->pcm));
    for (int k = 0; k < c->channels; k++) {
        channel[k] = s->channel + k * n;
        for (int64_t i = 0; i < n; i++)
            s->channel[k * n + i] = s->pcm[i * c->channels + k];
    }
    LK_TRY(lk_timeline_sound(
        t, &(lk_pcm_view){.span = {source.audio_start,
                                   source.audio_start + lk_flick_from_samples(n, c->rate_hz)},
                          .n_samples = n,
                          .n_channels = c->channels,
                          .rate_hz = c->rate_hz,
                          .channel = channel}));
done:
    return st;
}

/* ---- one picture of all ---- */

typedef struct canvas {
    uint8_t *rgb;
    int height;
} canvas;

/* A picture as wide as the axis from row y on. */
static void put(const canvas *to, int y, const lk_timeline_picture *p)
{
    for (int i = 0; i < p->height && p->rgb; i++)
        for (int x = 0; x < LK_TIMELINE_PIXELS; x++) {
            const int from = (int)((int64_t)x * p->width / LK_TIMELINE_PIXELS);
            memcpy(to->rgb + ((int64_t)(y + i) * LK_TIMELINE_PIXELS + x) * 3,
                   p->rgb + ((int64_t)i * p->width + from) * 3, 3);
        }
}

static void put_marks(const canvas *to, int y, const lk_joint_clip *c, double duration_s)
{
    for (int e = 0; e < c->n_events; e++) {
        const double at = lk_flick_to_s(c->events[e].span.start) / duration_s;
        const int x = (int)(at * LK_TIMELINE_PIXELS);
        for (int i = 1; i < MARK_PIXELS - 1 && at >= 0 && x < LK_TIMELINE_PIXELS - 1; i++)
            memset(to->rgb + ((int64_t)(y + i) * LK_TIMELINE_PIXELS + x) * 3, 255, 6);
    }
}

static int height_of(const lk_timeline_picture p[2])
{
    return p[0].height + MARK_PIXELS + p[1].height + GAP_PIXELS;
}

static lk_status write_rows(lk_joint_samples *s, const lk_timeline_picture p[ROWS][2],
                            const char *name)
{
    lk_status st = LK_OK;
    canvas to = {NULL, 0};
    int y = 0;
    for (int i = 0; i < s->n; i++)
        to.height += height_of(p[i]);
    LK_TRY(LK_NEW_ARRAY(&to.rgb, (int64_t)to.height * LK_TIMELINE_PIXELS * 3));
    memset(to.rgb, GREY, (size_t)to.height * LK_TIMELINE_PIXELS * 3);
    for (int i = 0; i < s->n; i++) {
        put(&to, y, &p[i][0]);
        put_marks(&to, y + p[i][0].height, &s->asked[i], s->duration_s);
        put(&to, y + p[i][0].height + MARK_PIXELS, &p[i][1]);
        y += height_of(p[i]);
    }
    s->path[s->folder_bytes] = '\0';
    LK_TRY(lk_make_folders(s->path));
    sprintf(s->path + s->folder_bytes, "/%s", name);
    LK_TRY(lk_png_write(s->path, LK_TIMELINE_PIXELS, to.height, to.rgb));
done:
    lk_free(to.rgb);
    return st;
}

static lk_status draw(lk_joint_samples *s, const float *const video[ROWS],
                      const float *const audio[ROWS], const char *name)
{
    lk_status st = LK_OK;
    lk_timeline *t[ROWS] = {NULL};
    lk_timeline_picture p[ROWS][2];
    for (int i = 0; i < s->n; i++) {
        LK_TRY(lk_timeline_new(&t[i], s->duration_s));
        LK_TRY(draw_frames(s, i, video[i], t[i]));
        LK_TRY(draw_sound(s, i, audio[i], t[i]));
        LK_TRY(lk_timeline_finish(t[i], &p[i][0], &p[i][1]));
    }
    LK_TRY(write_rows(s, p, name));
done:
    for (int i = 0; i < ROWS; i++)
        lk_timeline_free(&t[i]);
    return st;
}

/* Once: what there is to compare with. */
static lk_status draw_given(lk_joint_samples *s)
{
    lk_status st = LK_OK;
    int64_t n;
    const lk_joint_clip *clips = lk_joint_data_clips(s->data, &n);
    const float *video[ROWS], *audio[ROWS];
    sprintf(s->path + s->folder_bytes, "/given.png");
    if (access(s->path, F_OK) == 0)
        return LK_OK;
    for (int i = 0; i < s->n; i++) {
        video[i] = clips[s->clip[i]].video;
        audio[i] = clips[s->clip[i]].audio;
    }
    LK_TRY(draw(s, video, audio, "given.png"));
done:
    return st;
}

lk_status lk_joint_samples_show(void *user, int64_t step, lk_joint *model)
{
    lk_status st = LK_OK;
    lk_joint_samples *s = user;
    const float *video[ROWS], *audio[ROWS];
    char name[32];
    LK_TRY(draw_given(s));
    LK_TRY(lk_joint_sample(model, &s->sizes, s->asked, s->sampling, NULL, s->video, s->audio));
    for (int i = 0; i < s->n; i++) {
        video[i] = s->video + i * s->sizes.latents * cells_of(s);
        audio[i] = s->audio +
                   (int64_t)i * s->sizes.sounds * lk_joint_data_channels(s->data, LK_JOINT_AUDIO);
    }
    snprintf(name, sizeof name, "step_%08lld.png", (long long)step);
    LK_TRY(draw(s, video, audio, name));
done:
    return st;
}
