/* media.h - clips in and out, every frame and sample on the project clock.
 *
 * Reading follows the timestamp rules T1..T20 of docs/timestamps.md: presentation times, edit
 * lists, priming, unequal starts, VFR, rotation, crop, sample aspect, tails, suspect timestamps.
 * Decoding is software only.  Memory stays flat for any length.
 *
 *     lk_media *m = NULL;
 *     LK_TRY(lk_media_open(&m, path, NULL));
 *     for (;;) {
 *         LK_TRY(lk_media_next(m, &item));
 *         if (item.kind == LK_MEDIA_END) break;
 *         ...
 *     }
 *     lk_media_close(&m);
 *
 * Files without video (WAV, FLAC, OGG, AIFF) go through libsndfile, the rest through FFmpeg.
 * Errors       LK_E_IO no such file, LK_E_FORMAT not media or no usable stream, LK_E_UNSUPPORTED no
 *              decoder.  Damage inside a file is a warning and a count, not a failure, as long as
 *              something decodes.
 * Threads      one lk_media per thread at a time; the decoder's own threads never change a result.
 */
#ifndef LK_MEDIA_H
#define LK_MEDIA_H

#include "kernels/view.h"

#include <stdbool.h>

typedef struct lk_media lk_media;

typedef struct lk_media_options {
    bool no_video, no_audio;    /* do not decode that stream */
    bool want_rgb;              /* fill lk_frame_view.rgb (BT.601/709 and range by tag, T17) */
    int threads;                /* decoder threads, 0 = number of processors */
    int assume_priming_samples; /* drop this many samples at an unsignalled start; 0 = none */
    double max_seconds;         /* stop after this much of the timeline; 0 = everything */
} lk_media_options;

#define LK_MEDIA_MAX_WARNINGS  16
#define LK_MEDIA_WARNING_BYTES 160

typedef struct lk_video_info {
    bool present;
    char codec[32];
    char pixel_format[32];
    int width, height; /* as displayed, before sample aspect */
    int rotation_deg;  /* that was applied: 0, 90, 180, 270 clockwise */
    lk_rational sar;
    lk_rational time_base;    /* ticks per second */
    lk_rational nominal_rate; /* frames per second as the container states it; 0/1 unknown */
    int64_t n_frames;         /* so far; final after LK_MEDIA_END */
    lk_flick start, end;      /* first presentation time, end of the last frame */
    lk_flick shortest,
        longest; /* distance of consecutive frames so far, LK_FLICK_NONE before two */
    bool vfr;    /* distances differ by more than the time base can explain */
    bool interlaced;
    char colour[64];   /* matrix, range, and "assumed" where it was not tagged */
    int64_t n_suspect; /* missing, duplicated or backward timestamps */
    int64_t n_damaged; /* packets or frames the decoder complained about */
} lk_video_info;

typedef struct lk_audio_info {
    bool present;
    char codec[32];
    int rate_hz, n_channels;
    int64_t n_samples; /* presented so far; final after LK_MEDIA_END */
    lk_flick start, end;
    int64_t priming_samples;    /* dropped at the start because the file said so */
    int64_t padding_samples;    /* dropped at the end because the file said so */
    bool priming_unsignalled;   /* a codec with delay starts at 0 and the file says nothing (T7) */
    int64_t n_gaps, n_overlaps; /* places where the timeline was re-anchored (T5) */
    int64_t n_damaged;
} lk_audio_info;

typedef struct lk_media_info {
    char container[32];
    lk_flick file_zero_shift; /* what was subtracted from container times to get file zero (T3) */
    lk_video_info video;
    lk_audio_info audio;
    int n_warnings;
    char warnings[LK_MEDIA_MAX_WARNINGS][LK_MEDIA_WARNING_BYTES];
} lk_media_info;

typedef enum lk_media_kind { LK_MEDIA_END, LK_MEDIA_FRAME, LK_MEDIA_PCM } lk_media_kind;

typedef struct lk_media_item {
    lk_media_kind kind;
    lk_frame_view frame;
    lk_pcm_view pcm;
} lk_media_item;

/* options may be NULL for defaults. */
LK_CHECKED lk_status lk_media_open(lk_media **media, const char *path,
                                   const lk_media_options *options);

/* The next frame or run of sound, in the order of the file; each stream is in time order.  Frames
 * are delivered one late so that span.end is the true next presentation time. */
LK_CHECKED lk_status lk_media_next(lk_media *media, lk_media_item *item);

/* Facts so far; complete after LK_MEDIA_END.  Valid until close. */
const lk_media_info *lk_media_get_info(const lk_media *media);

/* Progress for a person, 0..1 of the timeline. */
double lk_media_progress(const lk_media *media);

void lk_media_close(lk_media **media); /* accepts NULL and half-opened */

/* ---- pictures of another size ---- */

typedef struct lk_picture_fitter lk_picture_fitter; /* what is worth keeping between pictures */

/* The middle of a picture in the shape of width:height, its sample aspect undone, averaged over
 * areas into rgb [height, width, 3].  *fitter starts NULL.  frame->rgb must be set. */
LK_CHECKED lk_status lk_picture_fit(lk_picture_fitter **fitter, const lk_frame_view *frame,
                                    int width, int height, uint8_t *rgb);
void lk_picture_fitter_free(lk_picture_fitter **fitter);

/* ---- writing ------------------------------------------------------------------------------ */

typedef struct lk_writer lk_writer;

typedef struct lk_writer_options {
    const char
        *container;     /* "mp4", "mov", "mkv", "webm", "ts", "avi", "ogg"; NULL: from the path */
    const char *vcodec; /* "h264", "vp9", "mpeg4", "ffv1", "theora", "none"; NULL: container's */
    const char *acodec; /* "aac", "opus", "mp2", "mp3", "vorbis", "flac", "pcm", "none"; NULL */
    int width, height;  /* even for h264; checked */
    lk_rational rate;   /* frames per second; for VFR the finest rate the frames lie on */
    bool vfr;           /* frame times come from the spans, not from counting */
    int rate_hz, n_channels;
    int quality; /* 0 default .. crf-like for h264/vp9; ignored by lossless codecs */
    int threads; /* encoder threads, 0 = number of processors; any count gives the same file */
} lk_writer_options;

/* Writes to "<path>.part" and renames on a verified close, so a killed run leaves no half file. */
LK_CHECKED lk_status lk_writer_open(lk_writer **writer, const char *path,
                                    const lk_writer_options *options);

/* frame->rgb must be set.  Spans must be in order; both streams may start anywhere >= 0. */
LK_CHECKED lk_status lk_writer_frame(lk_writer *writer, const lk_frame_view *frame);
LK_CHECKED lk_status lk_writer_pcm(lk_writer *writer, const lk_pcm_view *pcm);

/* Flush, close, re-open and check frame count, sample count and both starts; then rename. */
LK_CHECKED lk_status lk_writer_finish(lk_writer *writer);

void lk_writer_close(lk_writer **writer); /* without finish: removes the partial file */

/* Copy streams without decoding, moving the sound by shift (positive: later).  Verified. */
LK_CHECKED lk_status lk_media_shift_audio(const char *in, const char *out, lk_flick shift);

#endif /* LK_MEDIA_H */
