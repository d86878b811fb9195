/* media_impl.h - what a reader behind lk_media looks like; private to av/media.c and the readers.
 *
 * Two readers stand behind one handle: av/ffmpeg/reader.c and av/sndfile.c. */
#ifndef LK_MEDIA_IMPL_H
#define LK_MEDIA_IMPL_H

#include "av/media.h"

typedef struct lk_media_reader {
    lk_status (*next)(void *self, lk_media_item *item);
    const lk_media_info *(*info)(const void *self);
    double (*progress)(const void *self);
    void (*close)(void *self); /* frees self; accepts half-opened */
} lk_media_reader;

/* Both set *self (to be closed by the reader's close) on success only.  path exists and is a
 * regular file, FIFO or device. */
LK_CHECKED lk_status lk_ffmpeg_open(void **self, const char *path, const lk_media_options *options);
LK_CHECKED lk_status lk_sndfile_open(void **self, const char *path,
                                     const lk_media_options *options);

extern const lk_media_reader lk_ffmpeg_reader;
extern const lk_media_reader lk_sndfile_reader;

/* Add one warning sentence; the same sentence twice is kept once, too many are counted in the
 * last. */
void lk_media_warn(lk_media_info *info, const char *fmt, ...) LK_PRINTF(2, 3);

#endif /* LK_MEDIA_IMPL_H */
