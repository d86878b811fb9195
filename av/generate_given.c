/* generate_given.c - what a clip begins with: a picture, a sound, or another clip.
 *
 * A clip that is given and the one that is made have the same grid: latent i of the one covers the
 * frames, or samples, of latent i of the other.  The last latent of what is given may be short,
 * filled up with repetitions of the last frame or with silence; where more follows in the clip that
 * is made it is not held, since it says of frames to come what will not be so.
 */
#include "av/generate_impl.h"

#include "av/latents.h"
#include "av/media.h"
#include "av/tokenize.h"
#include "av/tokenize_impl.h"
#include "kernels/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MOST_LATENTS = 16384 };

void lk_given_clear(lk_given *g)
{
    lk_free(g->frames);
    lk_free(g->video);
    lk_free(g->audio);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* The file whose sound or picture has times, or NULL. */
static const char *clip_of(const lk_generate_options *o)
{
    return o->video ? o->video : o->audio ? o->audio : o->extend ? o->extend : o->retake;
}

static lk_status look_at(const char *path, int picture, int sound)
{
    lk_status st = LK_OK;
    lk_media *media = NULL;
    LK_TRY(lk_media_open(&media, path, NULL));
    const lk_media_info *info = lk_media_get_info(media);
    LK_REQUIRE(!picture || info->video.present, LK_E_FORMAT, "'%s' has no picture%s", path,
               sound ? ": give it as --audio" : "");
    LK_REQUIRE(!sound || info->audio.present, LK_E_FORMAT, "'%s' has no sound%s", path,
               picture ? ": give it as --video, or as --image" : "");
done:
    lk_media_close(&media);
    return st;
}

/* Through a file that has no name any more. */
static lk_status encode(const lk_making *m, const char *in, int picture, int sound, lk_latents **l)
{
    lk_status st = LK_OK;
    const lk_generate_options *o = m->o;
    char *path = NULL;
    LK_TRY(LK_NEW_ARRAY(&path, strlen(o->out) + sizeof ".given.h5"));
    sprintf(path, "%s.given.h5", o->out);
    LK_TRY(lk_encode(in, path,
                     &(lk_tokenize_options){.vae = picture ? o->vae : NULL,
                                            .codec = sound ? o->codec : NULL,
                                            .backend = o->backend,
                                            .width = o->width,
                                            .height = o->height,
                                            .mode = LK_CODEC_CONTINUOUS,
                                            .stop = o->stop},
                     NULL));
    LK_TRY(lk_latents_open(l, path));
done:
    if (path)
        (void)unlink(path);
    lk_free(path);
    return st;
}

static lk_status take_pictures(const lk_making *m, lk_latents *l, lk_given *g)
{
    lk_status st = LK_OK;
    const int64_t cells = lk_making_cells(m);
    g->n_latents = lk_latents_n_video(l);
    LK_TRY(LK_NEW_ARRAY(&g->video, g->n_latents * cells));
    LK_TRY(LK_NEW_ARRAY(&g->frames, g->n_latents * LK_VAE_MOST_TIME));
    for (int64_t i = 0; i < g->n_latents; i++) {
        int64_t time[LK_LATENTS_TIMES];
        lk_vae_stamp stamp;
        LK_TRY(lk_latents_read_video(l, i, g->video + i * cells, time));
        LK_REQUIRE(lk_stamp_from_times(time, &stamp), LK_E_FORMAT, "'%s': latent %lld has no times",
                   clip_of(m->o), (long long)i);
        for (int k = 0; k < stamp.n_frames; k++)
            g->frames[g->n_frames++] = stamp.frame[k];
    }
    LK_REQUIRE(lk_vae_n_latents(lk_vae_get_shape(m->vae).time, g->n_frames) == g->n_latents,
               LK_E_FORMAT, "'%s': %lld frames do not make %lld latents", clip_of(m->o),
               (long long)g->n_frames, (long long)g->n_latents);
    for (int64_t i = 1; i < g->n_frames; i++)
        LK_REQUIRE(g->frames[i].start > g->frames[i - 1].start, LK_E_FORMAT,
                   "'%s': frame %lld is not behind the one before it", clip_of(m->o), (long long)i);
done:
    return st;
}

static lk_status take_sound(lk_latents *l, lk_given *g)
{
    lk_status st = LK_OK;
    const lk_latents_audio a = lk_latents_get_audio(l);
    g->n_sounds = lk_latents_n_audio(l);
    g->start = a.start;
    g->n_samples = a.n_samples;
    LK_TRY(LK_NEW_ARRAY(&g->audio, g->n_sounds * a.continuous));
    LK_TRY(lk_latents_read_audio(l, 0, g->n_sounds, NULL, g->audio));
done:
    return st;
}

/* Latents that were kept go on as they are, without a way through pictures and samples. */
static int is_kept(const char *path)
{
    const size_t n = path ? strlen(path) : 0;
    return n > 3 && strcmp(path + n - 3, ".h5") == 0;
}

static lk_status check_kept(const lk_making *m, const char *path, const lk_latents *l)
{
    lk_status st = LK_OK;
    const lk_generate_options *o = m->o;
    const lk_codec_config *c = lk_codec_get_config(m->codec);
    const lk_latents_video v = lk_latents_get_video(l);
    const lk_latents_audio a = lk_latents_get_audio(l);
    LK_REQUIRE(o->audio || lk_latents_n_video(l) == 0 ||
                   (v.tokenizer == m->checksum[1] && v.width == o->width && v.height == o->height),
               LK_E_ARG, "'%s' has pictures of %dx%d, or they were not made by '%s' for %dx%d",
               path, v.width, v.height, o->vae, o->width, o->height);
    LK_REQUIRE(o->video || lk_latents_n_audio(l) == 0 ||
                   (a.tokenizer == m->checksum[2] && a.mode == LK_CODEC_CONTINUOUS),
               LK_E_ARG, "the sound of '%s' was not made by '%s' with --mode continuous", path,
               o->codec);
    LK_REQUIRE((o->audio || lk_latents_n_video(l) == 0 ||
                (int64_t)v.rows * v.columns * v.channels == lk_making_cells(m)) &&
                   (o->video || lk_latents_n_audio(l) == 0 ||
                    (a.continuous == c->continuous && a.n_samples > 0 &&
                     lk_codec_latents(c, a.n_samples) == lk_latents_n_audio(l))),
               LK_E_FORMAT, "'%s' is damaged: its latents are not of the size that it says", path);
done:
    return st;
}

static lk_status read_clip(lk_making *m, const char *path)
{
    lk_status st = LK_OK;
    const int picture = !m->o->audio, sound = !m->o->video;
    lk_latents *l = NULL;
    if (is_kept(path)) {
        LK_TRY(lk_latents_open(&l, path));
        LK_TRY(check_kept(m, path, l));
    } else {
        LK_TRY(look_at(path, picture, sound));
        LK_TRY(encode(m, path, picture, sound, &l));
    }
    const int64_t n = lk_latents_n_video(l), k = lk_latents_n_audio(l);
    LK_REQUIRE((!picture || n > 0) && (!sound || k > 0), LK_E_FORMAT, "'%s' has nothing of %s",
               path, picture && n == 0 ? "a picture" : "a sound");
    LK_REQUIRE(n <= MOST_LATENTS && k <= MOST_LATENTS, LK_E_ARG,
               "'%s' has %lld latents; 1 to %d can be given", path, (long long)(n > k ? n : k),
               MOST_LATENTS);
    if (picture)
        LK_TRY(take_pictures(m, l, &m->given));
    if (sound)
        LK_TRY(take_sound(l, &m->given));
done:
    lk_latents_close(&l);
    return st;
}

static lk_status first_frame(const lk_making *m, uint8_t *rgb)
{
    lk_status st = LK_OK;
    const lk_generate_options *o = m->o;
    lk_media *media = NULL;
    lk_media_item item = {0};
    lk_picture_fitter *fitter = NULL;
    LK_TRY(look_at(o->image, 1, 0));
    LK_TRY(lk_media_open(&media, o->image, &(lk_media_options){.no_audio = 1, .want_rgb = 1}));
    LK_TRY(lk_media_next(media, &item));
    LK_REQUIRE(item.kind == LK_MEDIA_FRAME, LK_E_FORMAT,
               "nothing of the picture of '%s' could be decoded", o->image);
    LK_TRY(lk_picture_fit(&fitter, &item.frame, o->width, o->height, rgb));
done:
    lk_picture_fitter_free(&fitter);
    lk_media_close(&media);
    return st;
}

/* The first latent of a clip is that of its first frame alone, in every variant. */
static lk_status read_image(lk_making *m)
{
    lk_status st = LK_OK;
    const lk_generate_options *o = m->o;
    lk_vae_encoder *e = NULL;
    lk_vae_stamp stamp;
    uint8_t *rgb = NULL;
    int got = 0;
    LK_TRY(LK_NEW_ARRAY(&rgb, (size_t)o->width * (size_t)o->height * 3));
    LK_TRY(LK_NEW_ARRAY(&m->given.video, lk_making_cells(m)));
    LK_TRY(first_frame(m, rgb));
    LK_TRY(lk_vae_encoder_new(&e, m->vae,
                              &(lk_vae_stream_config){.height = o->height, .width = o->width}));
    LK_TRY(lk_vae_encoder_push_u8(e, rgb, (lk_span){0, LK_FLICKS_PER_S}));
    LK_TRY(lk_vae_encoder_finish(e));
    LK_TRY(lk_vae_encoder_pull(e, m->given.video, NULL, &stamp, &got));
    LK_REQUIRE(got, LK_E_INTERNAL, "a picture made no latent");
    m->given.n_frames = m->given.n_latents = 1;
done:
    lk_vae_encoder_free(&e);
    lk_free(rgb);
    return st;
}

lk_status lk_given_read(lk_making *m)
{
    lk_status st = LK_OK;
    if (clip_of(m->o))
        LK_TRY(read_clip(m, clip_of(m->o)));
    if (m->o->image)
        LK_TRY(read_image(m));
done:
    return st;
}

/* ---- frames ---------------------------------------------------------------------------------- */

/* Frames i, i + 1, ... of a constant rate that has frame 0 at zero. */
static lk_status count_on(lk_making *m, lk_flick zero, int64_t i, int64_t n, lk_span *frames)
{
    lk_status st = LK_OK;
    for (int64_t k = 0; k < n; k++) {
        LK_TRY(lk_flick_from_ticks(i + k, m->rate, &frames[k].start));
        LK_TRY(lk_flick_from_ticks(i + k + 1, m->rate, &frames[k].end));
        frames[k].start += zero;
        frames[k].end += zero;
    }
done:
    return st;
}

/* As long as the sound where that is given. */
static lk_status make_frames(lk_making *m)
{
    lk_status st = LK_OK;
    const lk_given *g = &m->given;
    const double seconds =
        g->n_sounds ? (double)g->n_samples / lk_codec_get_config(m->codec)->rate_hz : m->o->seconds;
    m->rate = m->o->fps;
    m->n_frames = llround(seconds * (double)m->rate.num / (double)m->rate.den);
    m->n_frames = m->n_frames > 0 ? m->n_frames : 1;
    LK_TRY(LK_NEW_ARRAY(&m->frames, m->n_frames));
    LK_TRY(count_on(m, g->start, 0, m->n_frames, m->frames));
done:
    return st;
}

/* Those of the clip, and behind them more at its rate, or at the rate that is asked for where it
 * has none. */
static lk_status take_frames(lk_making *m)
{
    lk_status st = LK_OK;
    const lk_given *g = &m->given;
    const int64_t n = g->n_frames;
    const lk_span first = g->frames[0], last = g->frames[n - 1];
    int64_t more = 0;
    int vfr = 0;
    m->rate = lk_rate_of_frames(n, g->frames, &vfr);
    if (vfr && m->o->extend)
        m->rate = m->o->fps;
    if (m->o->extend) {
        const double have = lk_flick_to_s(last.end - first.start);
        more = llround((m->o->seconds - have) * (double)m->rate.num / (double)m->rate.den);
        LK_REQUIRE(
            more > 0, LK_E_ARG,
            "'%s' is %g s long: say with --seconds how long it shall become, the whole of it",
            m->o->extend, have);
    }
    LK_TRY(LK_NEW_ARRAY(&m->frames, n + more));
    memcpy(m->frames, g->frames, (size_t)n * sizeof *m->frames);
    m->n_frames = n + more;
    LK_TRY(count_on(m, vfr ? last.end : first.start, vfr ? 0 : n, more, m->frames + n));
    if (more) /* how long the last one was shown was a guess of the file's */
        m->frames[n - 1].end = m->frames[n].start;
    m->vfr = vfr;
done:
    return st;
}

lk_status lk_given_frames(lk_making *m)
{
    return m->given.frames ? take_frames(m) : make_frames(m);
}

/* ---- what is held ---------------------------------------------------------------------------- */

static lk_status hold_whole(lk_making *m)
{
    lk_status st = LK_OK;
    const lk_given *g = &m->given;
    const int time = lk_vae_get_shape(m->vae).time;
    const int period = lk_codec_period(lk_codec_get_config(m->codec));
    const int channels = lk_codec_get_config(m->codec)->continuous;
    for (int64_t i = 0; i < g->n_latents && i < m->n_latents; i++) {
        lk_vae_stamp had, has;
        LK_TRY(lk_vae_stamp_of(time, g->n_frames, m->frames, i, &had));
        LK_TRY(lk_vae_stamp_of(time, m->n_frames, m->frames, i, &has));
        m->video_held[i] = had.n_frames == has.n_frames;
    }
    for (int64_t i = 0; i < g->n_sounds && i < m->n_sounds; i++)
        m->audio_held[i] = (i + 1) * period <= g->n_samples || g->n_samples == m->n_samples;
    for (int64_t i = 0; i < m->n_latents; i++)
        if (m->video_held[i])
            memcpy(m->video + i * lk_making_cells(m), g->video + i * lk_making_cells(m),
                   (size_t)lk_making_cells(m) * sizeof(float));
    for (int64_t i = 0; i < m->n_sounds; i++)
        if (m->audio_held[i])
            memcpy(m->audio + i * channels, g->audio + i * channels,
                   (size_t)channels * sizeof(float));
done:
    return st;
}

static void let_go(const lk_span *span, int n, lk_span range, uint8_t *held)
{
    for (int i = 0; i < n; i++)
        held[i] = held[i] && !lk_span_overlaps(span[i], range);
}

static lk_status open_range(lk_making *m)
{
    lk_status st = LK_OK;
    const lk_generate_options *o = m->o;
    const lk_flick picture = m->frames[m->n_frames - 1].end;
    const lk_flick sound = m->audio_span[m->n_sounds - 1].end;
    const lk_flick end = picture > sound ? picture : sound;
    const lk_span range = {lk_flick_from_s(o->from), o->to > 0 ? lk_flick_from_s(o->to) : end};
    m->range = range;
    LK_REQUIRE(range.start < range.end && range.end <= end + LK_FLICKS_PER_MS, LK_E_ARG,
               "%g to %g s is no part of '%s', which ends at %g s", o->from,
               lk_flick_to_s(range.end), o->retake, lk_flick_to_s(end));
    if (strcmp(o->only, "audio") != 0)
        let_go(m->video_span, m->n_latents, range, m->video_held);
    if (strcmp(o->only, "video") != 0)
        let_go(m->audio_span, m->n_sounds, range, m->audio_held);
done:
    return st;
}

lk_status lk_given_hold(lk_making *m)
{
    lk_status st = LK_OK;
    LK_TRY(hold_whole(m));
    if (m->o->retake)
        LK_TRY(open_range(m));
    for (int i = 0; i < m->n_latents; i++)
        m->n_held[0] += m->video_held[i];
    for (int i = 0; i < m->n_sounds; i++)
        m->n_held[1] += m->audio_held[i];
    LK_REQUIRE(m->n_held[0] < m->n_latents || m->n_held[1] < m->n_sounds, LK_E_ARG,
               "all of '%s' is kept: nothing is left to make",
               m->o->image ? m->o->image : clip_of(m->o));
done:
    return st;
}

/* The file a stream comes from, when all of it is held and there is more of it than latents. */
static const char *whole_of(const lk_making *m, int has, int n_held, int n)
{
    const char *path = clip_of(m->o);
    return has && n_held == n && !is_kept(path) ? path : NULL;
}

const char *lk_given_pictures(const lk_making *m)
{
    return whole_of(m, m->given.frames != NULL, m->n_held[0], m->n_latents);
}

const char *lk_given_sound(const lk_making *m)
{
    return whole_of(m, m->given.n_sounds > 0, m->n_held[1], m->n_sounds);
}
