/* report_media.c - one pass over a clip: frame strip, spectrogram (timeline.h) and a copy a browser
 * plays.
 *
 * Copy          the file itself when browsers know its codecs and it is small; otherwise H.264 and
 *               AAC at most 640 pixels wide or high, with the same times.
 */
#include "av/media.h"
#include "av/png.h"
#include "av/report_impl.h"
#include "av/timeline.h"
#include "kernels/file.h"
#include "kernels/mem.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#define COPY_BYTES   (8 << 20)
#define COPY_PIXELS  640
#define COPY_SECONDS 600.0

typedef struct pass {
    lk_report_media *m;
    const char *dir, *stem;
    lk_timeline *timeline;
    /* copy */
    bool encode, writer_failed;
    lk_writer *writer;
    uint8_t *small;
    int small_width, small_height;
} pass;

/* ---- the copy -------------------------------------------------------------------------------- */

static bool is_one_of(const char *word, const char *const *list)
{
    for (; *list; list++) {
        if (strcmp(word, *list) == 0)
            return true;
    }
    return false;
}

/* Ending under which a browser plays the file as it is; NULL when it does not. */
static const char *browser_ending(const lk_media_info *i)
{
    static const char *const mp4_video[] = {"h264", NULL}, *const mp4_audio[] = {"aac", "mp3",
                                                                                 NULL};
    static const char *const webm_video[] = {"vp8", "vp9", "av1", NULL};
    static const char *const webm_audio[] = {"opus", "vorbis", NULL};
    static const char *const plain[] = {"yuv420p", "yuvj420p", NULL};
    const bool mp4 = strstr(i->container, "mp4") != NULL;
    const bool webm = strstr(i->container, "webm") != NULL;
    if (i->video.present) {
        if (!is_one_of(i->video.pixel_format, plain) || i->video.interlaced)
            return NULL;
        if (mp4 && is_one_of(i->video.codec, mp4_video) &&
            (!i->audio.present || is_one_of(i->audio.codec, mp4_audio)))
            return "mp4";
        if (webm && is_one_of(i->video.codec, webm_video) &&
            (!i->audio.present || is_one_of(i->audio.codec, webm_audio)))
            return "webm";
        return NULL;
    }
    if (mp4 && is_one_of(i->audio.codec, mp4_audio))
        return "m4a";
    return strcmp(i->container, "mp3") == 0 ? "mp3" : NULL;
}

static lk_status copy_file(const char *from, const char *to)
{
    lk_status st = LK_OK;
    lk_replace out = {0};
    char buffer[65536];
    FILE *in = fopen(from, "rb");
    LK_REQUIRE(in, LK_E_IO, "cannot open '%s': %s", from, strerror(errno));
    LK_TRY(lk_replace_open(&out, to));
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, in)) > 0;)
        LK_REQUIRE(fwrite(buffer, 1, n, out.stream) == n, LK_E_IO, "cannot write '%s': %s", to,
                   strerror(errno));
    LK_REQUIRE(!ferror(in), LK_E_IO, "cannot read '%s': %s", from, strerror(errno));
    LK_TRY(lk_replace_commit(&out));
done:
    if (in)
        fclose(in);
    lk_replace_drop(&out);
    return st;
}

static lk_status start_writer(pass *p, const lk_media_info *i)
{
    lk_status st = LK_OK;
    char path[4200];
    lk_writer_options o = {.container = "mp4",
                           .vcodec = i->video.present ? "h264" : "none",
                           .acodec = i->audio.present ? "aac" : "none",
                           .rate = {1000, 1},
                           .vfr = true,
                           .threads = 1};
    if (i->video.present) {
        const lk_frame_view shape = {
            .width = i->video.width, .height = i->video.height, .sar = i->video.sar};
        const double aspect = lk_frame_aspect(&shape);
        const double width = fmin(shape.height * aspect, COPY_PIXELS * fmin(1, aspect));
        p->small_width = (int)fmax(16, 2 * round(width / 2));
        p->small_height = (int)fmax(16, 2 * round(width / aspect / 2));
        LK_TRY(LK_NEW_ARRAY(&p->small, (size_t)p->small_width * (size_t)p->small_height * 3));
    }
    o.width = p->small_width;
    o.height = p->small_height;
    o.rate_hz = i->audio.rate_hz;
    o.n_channels = i->audio.n_channels;
    snprintf(p->m->play, sizeof p->m->play, "%s.%s", p->stem, i->video.present ? "mp4" : "m4a");
    snprintf(path, sizeof path, "%s/%s", p->dir, p->m->play);
    LK_TRY(lk_writer_open(&p->writer, path, &o));
done:
    return st;
}

static lk_status copy_item(pass *p, const lk_media_info *i, const lk_media_item *item)
{
    lk_status st = LK_OK;
    const lk_span span = item->kind == LK_MEDIA_FRAME ? item->frame.span : item->pcm.span;
    if (lk_flick_to_s(span.end) > COPY_SECONDS) {
        p->m->shortened = true;
        return LK_OK;
    }
    /* A player starts at file zero. */
    if (span.start < 0)
        return LK_OK;
    if (!p->writer)
        LK_TRY(start_writer(p, i));
    if (item->kind == LK_MEDIA_FRAME) {
        lk_frame_view v = item->frame;
        lk_frame_shrink(&item->frame, p->small, p->small_width, p->small_height,
                        (ptrdiff_t)p->small_width * 3);
        v.rgb = p->small;
        v.rgb_stride = (ptrdiff_t)p->small_width * 3;
        v.width = p->small_width;
        v.height = p->small_height;
        v.sar = (lk_rational){1, 1};
        LK_TRY(lk_writer_frame(p->writer, &v));
    } else {
        LK_TRY(lk_writer_pcm(p->writer, &item->pcm));
    }
done:
    return st;
}

static void give_up_copy(pass *p)
{
    snprintf(p->m->why, sizeof p->m->why, "no playable copy: %s", lk_error_text());
    lk_error_clear();
    lk_writer_close(&p->writer);
    p->writer_failed = true;
    p->m->play[0] = '\0';
}

/* ---- the pass -------------------------------------------------------------------------------- */

static void note_facts(pass *p, const lk_media_info *i)
{
    const lk_video_info *v = &i->video;
    const lk_audio_info *a = &i->audio;
    int n = 0;
    p->m->has_video = v->present;
    p->m->has_audio = a->present;
    if (v->present)
        n = snprintf(p->m->facts, sizeof p->m->facts, "%s %d×%d, %lld frames at %.5g a second%s",
                     v->codec, v->width, v->height, (long long)v->n_frames,
                     v->end > v->start ? (double)v->n_frames / lk_flick_to_s(v->end - v->start) : 0,
                     v->vfr ? " (variable)" : "");
    if (a->present)
        snprintf(p->m->facts + n, sizeof p->m->facts - (size_t)n, "%s%s %d Hz, %d channel%s",
                 n ? "; " : "", a->codec, a->rate_hz, a->n_channels, a->n_channels == 1 ? "" : "s");
}

static lk_status read_all(pass *p, lk_media *media)
{
    lk_status st = LK_OK;
    lk_media_item item;
    for (;;) {
        LK_TRY(lk_media_next(media, &item));
        if (item.kind == LK_MEDIA_END)
            break;
        if (item.kind == LK_MEDIA_FRAME)
            LK_TRY(lk_timeline_frame(p->timeline, &item.frame));
        else
            LK_TRY(lk_timeline_sound(p->timeline, &item.pcm));
        if (p->encode && !p->writer_failed &&
            copy_item(p, lk_media_get_info(media), &item) != LK_OK)
            give_up_copy(p);
    }
    note_facts(p, lk_media_get_info(media));
done:
    return st;
}

static lk_status write_timeline(pass *p)
{
    lk_status st = LK_OK;
    lk_report_media *m = p->m;
    lk_timeline_picture strip, sound;
    char path[4200];
    LK_TRY(lk_timeline_finish(p->timeline, &strip, &sound));
    m->n_tiles = strip.n_tiles;
    m->strip_width = strip.width;
    m->strip_height = strip.height;
    m->high_hz = sound.high_hz;
    if (strip.rgb) {
        snprintf(m->strip, sizeof m->strip, "%s-frames.png", p->stem);
        snprintf(path, sizeof path, "%s/%s", p->dir, m->strip);
        LK_TRY(lk_png_write(path, strip.width, strip.height, strip.rgb));
    }
    if (sound.rgb) {
        snprintf(m->spectrogram, sizeof m->spectrogram, "%s-sound.png", p->stem);
        snprintf(path, sizeof path, "%s/%s", p->dir, m->spectrogram);
        LK_TRY(lk_png_write(path, sound.width, sound.height, sound.rgb));
    }
done:
    return st;
}

static void free_pass(pass *p)
{
    lk_writer_close(&p->writer);
    lk_timeline_free(&p->timeline);
    lk_free(p->small);
}

lk_status lk_report_media_make(const char *dir, const char *stem, const char *clip,
                               double duration_s, lk_report_media *m)
{
    lk_status st = LK_OK;
    lk_media *media = NULL;
    struct stat info;
    char path[4200];
    pass p;
    memset(&p, 0, sizeof p);
    memset(m, 0, sizeof *m);
    p.m = m;
    p.dir = dir;
    p.stem = stem;
    LK_TRY(lk_timeline_new(&p.timeline, duration_s));
    const lk_media_options wish = {.want_rgb = true, .threads = 1};
    st = lk_media_open(&media, clip, &wish);
    if (st == LK_E_MEMORY)
        goto done;
    if (st != LK_OK) {
        st = LK_OK;
        snprintf(m->why, sizeof m->why, "%s", lk_error_text());
        lk_error_clear();
        goto done;
    }
    m->opened = true;
    const char *ending = browser_ending(lk_media_get_info(media));
    m->is_copy = ending && stat(clip, &info) == 0 && info.st_size <= COPY_BYTES;
    p.encode = !m->is_copy;
    if (read_all(&p, media) != LK_OK) {
        snprintf(m->why, sizeof m->why, "%s", lk_error_text());
        lk_error_clear();
    }
    if (p.writer && lk_writer_finish(p.writer) != LK_OK)
        give_up_copy(&p);
    if (m->is_copy) {
        snprintf(m->play, sizeof m->play, "%s.%s", stem, ending);
        snprintf(path, sizeof path, "%s/%s", dir, m->play);
        LK_TRY(copy_file(clip, path));
    }
    m->playable = m->play[0] != '\0';
    LK_TRY(write_timeline(&p));
done:
    free_pass(&p);
    lk_media_close(&media);
    return st;
}
