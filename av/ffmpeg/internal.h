/* internal.h - shared by the reader's files in this folder.
 *
 * reader.c demultiplexes and orders, video_in.c gives frames their times, audio_run.c counts
 * samples, picture.c turns decoded frames into luma and RGB as displayed.
 * Only interfaces that exist unchanged in FFmpeg 5.1 to 7 are used; the exceptions carry a version
 * check. */
#ifndef LK_FFMPEG_INTERNAL_H
#define LK_FFMPEG_INTERNAL_H

#include "av/media_impl.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/avutil.h>
#include <libswresample/swresample.h>
#include <libswscale/swscale.h>

#define LK_FF_MAX_SIDE     16384
#define LK_FF_MAX_PIXELS   (INT64_C(1) << 26)
#define LK_FF_MAX_CHANNELS 64
/* A timestamp this far from its neighbour is damage, not a pause. */
#define LK_FF_MAX_JUMP (INT64_C(3600) * LK_FLICKS_PER_S)

/* One decoded frame waiting to be handed out.  Times are container times: file zero is subtracted
 * when the entry is handed out, because a transport stream's zero is known only later. */
typedef struct lk_ff_entry {
    lk_media_kind kind;
    AVFrame *frame;
    lk_span span;
    int64_t first, count; /* the samples of the frame that are presented */
    bool gap;
    bool last; /* of its stream */
} lk_ff_entry;

/* Scratch of the conversion from a decoded frame to luma and RGB. */
typedef struct lk_ff_picture {
    int width, height; /* of every delivered frame, before rotation */
    int rotation_deg;  /* clockwise */
    struct SwsContext *to_size, *to_luma, *to_rgb;
    AVFrame *sized;
    uint8_t *luma, *rgb, *turned_luma, *turned_rgb;
    size_t luma_bytes, rgb_bytes, turned_luma_bytes, turned_rgb_bytes;
} lk_ff_picture;

#define LK_FF_DURATIONS 64

typedef struct lk_ff_video {
    AVStream *stream;
    AVCodecContext *codec;
    AVFrame *held; /* decoded, its end not known yet */
    lk_flick held_start;
    lk_flick first;         /* container time of the first frame, NONE before */
    lk_flick last_distance; /* between the last two frames, NONE before */
    struct {
        int64_t pts, dts, duration;
    } durations[LK_FF_DURATIONS]; /* of the last packets, for the end of the last frame */
    unsigned n_durations;
    bool finished; /* beyond max_seconds */
    int64_t n_delivered;
    lk_ff_picture picture;
} lk_ff_video;

typedef struct lk_ff_audio {
    AVStream *stream;
    AVCodecContext *codec;
    bool started;
    lk_flick first;  /* container time of the first presented sample, NONE before */
    lk_flick anchor; /* container time of the current gapless run and the samples since */
    int64_t count;
    bool overlapping;    /* inside a stretch of frames that lie before what was delivered */
    bool gap;            /* the next entry follows a hole */
    bool doubted;        /* one Vorbis block was not where the count puts it */
    int64_t assume_left; /* samples of assumed priming still to drop */
    lk_flick limit;      /* end the container states for the stream, or NONE (T6) */
    int64_t packet_left; /* samples the last packet's duration claims, -1 unknown */
    lk_ff_entry held;    /* one entry late so that the tail can be trimmed */
    bool finished;
    int format, rate_hz; /* of the decoder's last frame; the converter is made for them */
    int n_channels;
    struct SwrContext *convert;
    float *samples;
    size_t samples_capacity;
    const float *channel[LK_FF_MAX_CHANNELS];
} lk_ff_audio;

typedef struct lk_ff_reader {
    lk_media_options options;
    lk_media_info info;
    char *path;
    AVFormatContext *format;
    AVIOContext *io;
    AVPacket *packet;
    lk_ff_video video;
    lk_ff_audio audio;
    lk_ff_entry *queue; /* [head, n) */
    size_t capacity, head, n;
    int64_t queued_bytes;
    lk_ff_entry current; /* what the caller is looking at */
    bool zero_known;
    bool zero_is_container; /* 0 of the presentation timeline (T3) */
    lk_flick zero;
    bool drained, ended;
    int64_t fruitless; /* packets since the last decoded frame */
    int64_t deadline_us;
    lk_flick limit;     /* max_seconds on the file's timeline, or NONE */
    lk_flick delivered; /* latest end handed out */
} lk_ff_reader;

/* ts * time base in flicks; false when it is missing or outside the clock. */
bool lk_ff_time(int64_t ts, AVRational time_base, lk_flick *out);

/* FFmpeg's own words for an error number, in a buffer of the caller. */
const char *lk_ff_words(int error, char *text, size_t bytes);
#define LK_FF_WORDS(error) lk_ff_words((error), (char[AV_ERROR_MAX_STRING_SIZE]){0}, 64)

/* Append to the queue; takes the frame over also on failure. */
LK_CHECKED lk_status lk_ff_push(lk_ff_reader *r, const lk_ff_entry *entry);

/* Container time beyond which nothing is wanted, or NONE. */
lk_flick lk_ff_end_wanted(const lk_ff_reader *r);

/* video_in.c */
void lk_ff_video_packet(lk_ff_video *v, const AVPacket *packet);
LK_CHECKED lk_status lk_ff_video_take(lk_ff_reader *r, AVFrame *frame); /* takes the frame over */
LK_CHECKED lk_status lk_ff_video_finish(lk_ff_reader *r);
LK_CHECKED lk_status lk_ff_video_deliver(lk_ff_reader *r, const lk_ff_entry *e, lk_frame_view *out);
void lk_ff_video_facts(lk_ff_reader *r); /* fill info.video at open */

/* audio_run.c */
void lk_ff_audio_packet(lk_ff_reader *r, const AVPacket *packet);
LK_CHECKED lk_status lk_ff_audio_take(lk_ff_reader *r, AVFrame *frame); /* takes the frame over */
LK_CHECKED lk_status lk_ff_audio_finish(lk_ff_reader *r);
LK_CHECKED lk_status lk_ff_audio_deliver(lk_ff_reader *r, const lk_ff_entry *e, lk_pcm_view *out);
void lk_ff_audio_facts(lk_ff_reader *r);

/* picture.c: luma (and RGB when wanted) of one decoded frame, cropped and rotated. */
LK_CHECKED lk_status lk_ff_picture_make(lk_ff_picture *p, const AVFrame *frame, bool want_rgb,
                                        lk_frame_view *out);
void lk_ff_picture_free(lk_ff_picture *p);
int lk_ff_rotation(const AVStream *stream); /* clockwise, 0..359; -1 when mirrored */
/* The words for info.video.colour; true when matrix or range was assumed. */
bool lk_ff_colour_words(const AVFrame *frame, char *text, size_t bytes);

#endif /* LK_FFMPEG_INTERNAL_H */
