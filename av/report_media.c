/* report_media.c - one pass over a clip: frame strip, spectrogram and a copy a browser plays.
 *
 * Strip         the axis [0, duration] is cut into equal slots; slot i shows the frame that stands
 *               on the screen at its middle, so a frame sits where its time is.
 * Spectrogram   log mel power, 30 ms windows every 5 ms; column c holds the mean of the windows
 *               whose centre falls into it; 70 dB below the loudest value is black.
 * Copy          the file itself when browsers know its codecs and it is small; otherwise H.264 and
 *               AAC at most 640 pixels wide or high, with the same times.
 */
#include "av/media.h"
#include "av/png.h"
#include "kernels/file.h"
#include "av/report_impl.h"

#include "kernels/mem.h"
#include "kernels/signal.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#define AXIS_PIXELS  1440
#define BANDS        96
#define BAND_PIXELS  2
#define RANGE_DB     70.0
#define COPY_BYTES   (8 << 20)
#define COPY_PIXELS  640
#define COPY_SECONDS 600.0

typedef struct pass {
    lk_report_media *m;
    const char *dir, *stem;
    double duration_s;
    /* strip */
    uint8_t *strip;
    int slot_width, slot_height;
    int next_slot;
    /* spectrogram */
    lk_stft *stft;
    lk_mel_bank bank;
    float *power, *mono, *bands;
    size_t mono_capacity;
    double *column; /* [n_columns, BANDS] */
    int *count;
    int n_columns, hop, rate_hz;
    double sound_start_s;
    int64_t n_windows;
    /* copy */
    bool encode, writer_failed;
    lk_writer *writer;
    uint8_t *small;
    int small_width, small_height;
} pass;

void lk_report_colour(int map, double x, uint8_t rgb[3])
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
static void shrink(const lk_frame_view *v, uint8_t *out, int w, int h, ptrdiff_t stride)
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

static double display_aspect(const lk_frame_view *v)
{
    const double sar =
        v->sar.num > 0 && v->sar.den > 0 ? (double)v->sar.num / (double)v->sar.den : 1;
    return fmin(fmax(v->width * sar / v->height, 0.2), 5);
}

static lk_status start_strip(pass *p, const lk_frame_view *v)
{
    lk_status st = LK_OK;
    const double aspect = display_aspect(v);
    const int n = (int)fmin(fmax(round(AXIS_PIXELS / (80 * aspect)), 12), 24);
    p->slot_width = AXIS_PIXELS / n;
    p->slot_height = (int)lrint(p->slot_width / aspect);
    p->m->n_tiles = n;
    p->m->strip_width = n * p->slot_width;
    p->m->strip_height = p->slot_height;
    LK_TRY(LK_NEW_ARRAY(&p->strip, (size_t)p->m->strip_width * (size_t)p->slot_height * 3));
    memset(p->strip, 40, (size_t)p->m->strip_width * (size_t)p->slot_height * 3);
done:
    return st;
}

static lk_status take_strip(pass *p, const lk_frame_view *v)
{
    lk_status st = LK_OK;
    if (p->duration_s <= 0)
        return LK_OK;
    if (!p->strip)
        LK_TRY(start_strip(p, v));
    for (; p->next_slot < p->m->n_tiles; p->next_slot++) {
        const double middle = (p->next_slot + 0.5) * p->duration_s / p->m->n_tiles;
        if (middle >= lk_flick_to_s(v->span.end))
            break;
        if (middle >= lk_flick_to_s(v->span.start))
            shrink(v, p->strip + (ptrdiff_t)p->next_slot * p->slot_width * 3, p->slot_width - 1,
                   p->slot_height, (ptrdiff_t)p->m->strip_width * 3);
    }
done:
    return st;
}

/* ---- sound ----------------------------------------------------------------------------------- */

static lk_status start_sound(pass *p, const lk_pcm_view *v)
{
    lk_status st = LK_OK;
    p->rate_hz = v->rate_hz;
    p->hop = v->rate_hz / 200 > 0 ? v->rate_hz / 200 : 1;
    p->sound_start_s = lk_flick_to_s(v->span.start);
    int size = 256;
    while (size < v->rate_hz * 3 / 100)
        size *= 2;
    p->m->high_hz = fmin(12000, v->rate_hz / 2.0);
    p->n_columns = (int)fmin(AXIS_PIXELS, fmax(1, ceil(p->duration_s * 200)));
    LK_TRY(lk_stft_create(&p->stft, v->rate_hz * 3 / 100 / 2 * 2, size, p->hop));
    LK_TRY(lk_mel_bank_create(&p->bank, BANDS, size, v->rate_hz, 40, p->m->high_hz));
    LK_TRY(LK_NEW_ARRAY(&p->power, size / 2 + 1));
    LK_TRY(LK_NEW_ARRAY(&p->bands, BANDS));
    LK_TRY(LK_NEW_ARRAY(&p->column, p->n_columns * BANDS));
    LK_TRY(LK_NEW_ARRAY(&p->count, p->n_columns));
done:
    return st;
}

static void drain_windows(pass *p)
{
    while (lk_stft_next(p->stft, p->power)) {
        const double t = p->sound_start_s + (double)p->n_windows++ * p->hop / p->rate_hz;
        const int c = (int)floor(t / p->duration_s * p->n_columns);
        if (c < 0 || c >= p->n_columns)
            continue;
        lk_mel_bank_apply(&p->bank, p->power, p->bands);
        for (int b = 0; b < BANDS; b++)
            p->column[c * BANDS + b] += (double)p->bands[b];
        p->count[c]++;
    }
}

static lk_status take_sound(pass *p, const lk_pcm_view *v)
{
    lk_status st = LK_OK;
    if (p->duration_s <= 0 || v->n_samples <= 0 || v->rate_hz < 1000)
        return LK_OK;
    if (!p->stft)
        LK_TRY(start_sound(p, v));
    if (v->rate_hz != p->rate_hz)
        return LK_OK;
    LK_TRY(LK_GROW(&p->mono, &p->mono_capacity, v->n_samples));
    for (int64_t i = 0; i < v->n_samples; i++) {
        float sum = 0;
        for (int c = 0; c < v->n_channels; c++)
            sum += v->channel[c][i];
        sum /= (float)v->n_channels;
        p->mono[i] = isfinite(sum) ? sum : 0;
    }
    LK_TRY(lk_stft_push(p->stft, p->mono, v->n_samples));
    drain_windows(p);
done:
    return st;
}

static lk_status write_spectrogram(pass *p)
{
    lk_status st = LK_OK;
    uint8_t *rgb = NULL;
    char path[4200];
    double top = 1e-9;
    if (!p->stft)
        return LK_OK;
    LK_TRY(lk_stft_end(p->stft));
    drain_windows(p);
    const int height = BANDS * BAND_PIXELS;
    LK_TRY(LK_NEW_ARRAY(&rgb, (size_t)p->n_columns * (size_t)height * 3));
    for (int i = 0; i < p->n_columns * BANDS; i++) {
        p->column[i] /= p->count[i / BANDS] > 0 ? p->count[i / BANDS] : 1;
        top = fmax(top, p->column[i]);
    }
    for (int y = 0; y < height; y++) {
        for (int c = 0; c < p->n_columns; c++) {
            const double power = p->column[c * BANDS + (BANDS - 1 - y / BAND_PIXELS)];
            const double db = 10 * log10(fmax(power, 1e-15) / top);
            lk_report_colour(0, 1 + db / RANGE_DB,
                             rgb + ((size_t)y * (size_t)p->n_columns + (size_t)c) * 3);
        }
    }
    snprintf(p->m->spectrogram, sizeof p->m->spectrogram, "%s-sound.png", p->stem);
    snprintf(path, sizeof path, "%s/%s", p->dir, p->m->spectrogram);
    LK_TRY(lk_png_write(path, p->n_columns, height, rgb));
done:
    lk_free(rgb);
    return st;
}

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
        const double aspect = display_aspect(&shape);
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
        shrink(&item->frame, p->small, p->small_width, p->small_height,
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
            LK_TRY(take_strip(p, &item.frame));
        else
            LK_TRY(take_sound(p, &item.pcm));
        if (p->encode && !p->writer_failed &&
            copy_item(p, lk_media_get_info(media), &item) != LK_OK)
            give_up_copy(p);
    }
    note_facts(p, lk_media_get_info(media));
done:
    return st;
}

static void free_pass(pass *p)
{
    lk_writer_close(&p->writer);
    lk_stft_free(&p->stft);
    lk_mel_bank_clear(&p->bank);
    lk_free(p->strip);
    lk_free(p->power);
    lk_free(p->mono);
    lk_free(p->bands);
    lk_free(p->column);
    lk_free(p->count);
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
    p.duration_s = duration_s;
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
    if (p.strip) {
        snprintf(m->strip, sizeof m->strip, "%s-frames.png", stem);
        snprintf(path, sizeof path, "%s/%s", dir, m->strip);
        LK_TRY(lk_png_write(path, m->strip_width, m->strip_height, p.strip));
    }
    LK_TRY(write_spectrogram(&p));
done:
    free_pass(&p);
    lk_media_close(&media);
    return st;
}
