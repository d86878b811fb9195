/* media.c - see media.h: picks the reader for a file and passes calls on. */
#include "av/media_impl.h"
#include "av/ogg.h"

#include "kernels/mem.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct lk_media {
    const lk_media_reader *reader;
    void *self;
};

#define SNIFF_BYTES 4096

static bool holds(const unsigned char *bytes, size_t n, const char *word)
{
    return memmem(bytes, n, word, strlen(word)) != NULL;
}

/* Sound-only containers libsndfile reads exactly; an Ogg file that also carries a picture, a
 * skeleton or Opus (whose pre-skip the other reader reports) is left to FFmpeg, and so is a damaged
 * one, on which libvorbis behind libsndfile loses memory. */
static bool is_sound_only(const unsigned char *b, size_t n)
{
    if (n < 12)
        return false;
    if (memcmp(b, "RIFF", 4) == 0 || memcmp(b, "RF64", 4) == 0)
        return memcmp(b + 8, "WAVE", 4) == 0;
    if (memcmp(b, "FORM", 4) == 0)
        return memcmp(b + 8, "AIFF", 4) == 0 || memcmp(b + 8, "AIFC", 4) == 0;
    if (memcmp(b, "OggS", 4) == 0)
        return holds(b, n, "vorbis") && !holds(b, n, "theora") && !holds(b, n, "fishead") &&
               !holds(b, n, "OpusHead");
    return memcmp(b, "fLaC", 4) == 0 || memcmp(b, ".snd", 4) == 0 || memcmp(b, "caff", 4) == 0;
}

static lk_status look_at_file(const char *path, bool *sound_only)
{
    lk_status st = LK_OK;
    unsigned char bytes[SNIFF_BYTES];
    struct stat facts;
    FILE *f = NULL;
    *sound_only = false;
    LK_REQUIRE(stat(path, &facts) == 0, LK_E_IO, "cannot open '%s': %s", path, strerror(errno));
    LK_REQUIRE(!S_ISDIR(facts.st_mode), LK_E_IO, "'%s' is a folder, not a media file", path);
    if (!S_ISREG(facts.st_mode))
        goto done;
    f = fopen(path, "rb");
    LK_REQUIRE(f, LK_E_IO, "cannot open '%s': %s", path, strerror(errno));
    const size_t n = fread(bytes, 1, sizeof bytes, f);
    LK_REQUIRE(!ferror(f), LK_E_IO, "cannot read '%s': %s", path, strerror(errno));
    LK_REQUIRE(n > 0, LK_E_FORMAT, "'%s' is empty", path);
    *sound_only = is_sound_only(bytes, n);
    if (*sound_only && memcmp(bytes, "OggS", 4) == 0)
        *sound_only = lk_ogg_is_whole(f);
done:
    if (f)
        fclose(f);
    return st;
}

lk_status lk_media_open(lk_media **media, const char *path, const lk_media_options *options)
{
    lk_status st = LK_OK;
    lk_media *m = NULL;
    bool sound_only = false;
    const lk_media_options defaults = {0};
    *media = NULL;
    if (!options)
        options = &defaults;
    LK_REQUIRE(path && *path, LK_E_ARG, "no file name given");
    LK_REQUIRE(!options->no_video || !options->no_audio, LK_E_ARG,
               "neither picture nor sound was asked for");
    LK_REQUIRE(options->threads >= 0 && options->assume_priming_samples >= 0 &&
                   options->max_seconds >= 0,
               LK_E_ARG, "threads, priming samples and seconds cannot be negative");
    LK_TRY(look_at_file(path, &sound_only));
    LK_TRY(LK_NEW(&m));
    if (sound_only && !options->no_audio) {
        m->reader = &lk_sndfile_reader;
        if (lk_sndfile_open(&m->self, path, options) != LK_OK) {
            m->self = NULL;
            lk_error_clear();
        }
    }
    if (!m->self) {
        m->reader = &lk_ffmpeg_reader;
        LK_TRY(lk_ffmpeg_open(&m->self, path, options));
    }
    *media = m;
    m = NULL;
done:
    lk_free(m);
    return st;
}

lk_status lk_media_next(lk_media *media, lk_media_item *item)
{
    memset(item, 0, sizeof *item);
    return media->reader->next(media->self, item);
}

const lk_media_info *lk_media_get_info(const lk_media *media)
{
    return media->reader->info(media->self);
}

double lk_media_progress(const lk_media *media)
{
    const double p = media->reader->progress(media->self);
    return p < 0 || p != p ? 0 : p > 1 ? 1 : p;
}

void lk_media_close(lk_media **media)
{
    if (!media || !*media)
        return;
    (*media)->reader->close((*media)->self);
    lk_free(*media);
    *media = NULL;
}

void lk_media_warn(lk_media_info *info, const char *fmt, ...)
{
    char text[LK_MEDIA_WARNING_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    for (int i = 0; i < info->n_warnings; i++) {
        if (strcmp(info->warnings[i], text) == 0)
            return;
    }
    if (info->n_warnings == LK_MEDIA_MAX_WARNINGS) {
        snprintf(info->warnings[LK_MEDIA_MAX_WARNINGS - 1], LK_MEDIA_WARNING_BYTES,
                 "more warnings followed and are not listed");
        return;
    }
    memcpy(info->warnings[info->n_warnings++], text, sizeof text);
}
