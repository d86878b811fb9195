/* writer.h - shared by the writer's files in this folder.
 *
 * writer.c opens, checks and renames; video_out.c and audio_out.c encode; mux.c places packets on
 * the container's timeline.
 *
 * All packet times are kept in flicks until the container's own time base is known, so that one
 * rounding, to the nearest tick of the container, is all that ever happens to them.  Pictures are
 * coded without reordering: decoding and presentation order are the same. */
#ifndef LK_FFMPEG_WRITER_H
#define LK_FFMPEG_WRITER_H

#include "av/ffmpeg/internal.h"

#include <libavcodec/bsf.h>
#include <libavutil/audio_fifo.h>

typedef struct lk_wr_container {
    const char *name;
    const char *muxer;
    const char *extensions; /* "mp4|m4v" */
    const char *vcodec, *acodec;
    const char *vcodecs, *acodecs; /* what may go in, "a|b" */
    bool frame_grid; /* times are counted from 0: pictures lie on multiples of 1/rate (AVI, Ogg) */
    bool fixed_rate; /* no way to leave out a picture */
} lk_wr_container;

/* Row of a container by name, or by the end of the path when name is NULL; NULL when unknown. */
const lk_wr_container *lk_wr_container_find(const char *name, const char *path);
/* True when the muxer leaves adding Opus' delay to block times to its caller. */
bool lk_wr_delay_is_ours(const lk_wr_container *c);
int64_t lk_wr_common_multiple(int64_t a, int64_t b);   /* a when it would not fit 31 bits */
bool lk_wr_listed(const char *list, const char *name); /* "a|b" contains name */

#define LK_WR_TIMES 256 /* more than any encoder holds back */

typedef struct lk_wr_video {
    AVStream *stream;
    AVCodecContext *codec;
    AVBSFContext *filter; /* removes the encoder's signature, or NULL */
    struct SwsContext *convert;
    AVFrame *frame;
    struct {
        int64_t pts;
        lk_span span;
    } times[LK_WR_TIMES]; /* of the last frames, by encoder timestamp */
    int64_t n_frames;
    int64_t last_pts; /* encoder timestamp: count, or position on the grid of rate for VFR */
    lk_flick start, last_start, end;
} lk_wr_video;

typedef struct lk_wr_audio {
    AVStream *stream;
    AVCodecContext *codec;
    struct SwrContext *convert;
    AVAudioFifo *pending; /* as given: planar float at rate_hz */
    AVAudioFifo *ready;   /* in the encoder's format and rate */
    AVFrame *frame;
    int frame_size;
    bool placed;  /* lead and drop are known */
    int64_t lead; /* silence to put before the first sample, at rate_hz */
    int64_t drop; /* samples to leave out at the start, at rate_hz */
    int64_t lead_total, drop_total;
    int64_t n_samples; /* given so far, at rate_hz, after lead and drop */
    int64_t n_fed;     /* given to the encoder, at its rate */
    int64_t total;     /* samples to present, at the encoder's rate; known when flushing, else -1 */
    lk_flick start, end;
} lk_wr_audio;

struct lk_writer {
    lk_writer_options options;
    const lk_wr_container *container;
    char *path, *part;
    bool part_exists, finished, broken;
    AVFormatContext *format;
    AVPacket *packet;
    bool has_video, has_audio, laid_out;
    lk_wr_video video;
    lk_wr_audio audio;
    lk_flick video_shift, audio_shift; /* added to presentation times to get container times */
    AVPacket **held;                   /* waiting until both starts are known */
    size_t held_capacity, n_held;
};

/* mux.c */
LK_CHECKED lk_status lk_wr_mux_open(lk_writer *w);
/* The start of a stream has become known; final: no other start will come. */
LK_CHECKED lk_status lk_wr_layout(lk_writer *w, bool final);
/* Takes over the packet's reference; pts and duration are in flicks of presentation. */
LK_CHECKED lk_status lk_wr_mux_packet(lk_writer *w, AVPacket *packet, const AVStream *stream);
/* Mark the last samples of a packet as filling; mkv and ogg keep that. */
LK_CHECKED lk_status lk_wr_discard(AVPacket *packet, int64_t samples);
LK_CHECKED lk_status lk_wr_mux_start(lk_writer *w); /* the streams are complete */
LK_CHECKED lk_status lk_wr_mux_close(lk_writer *w);

/* video_out.c */
LK_CHECKED lk_status lk_wr_video_open(lk_writer *w);
LK_CHECKED lk_status lk_wr_video_flush(lk_writer *w);
void lk_wr_video_free(lk_wr_video *v);

/* audio_out.c */
LK_CHECKED lk_status lk_wr_audio_open(lk_writer *w);
LK_CHECKED lk_status lk_wr_audio_pump(lk_writer *w); /* what is pending, once placed */
LK_CHECKED lk_status lk_wr_audio_flush(lk_writer *w);
void lk_wr_audio_free(lk_wr_audio *a);

/* To disk, then from `part` to its final name. */
LK_CHECKED lk_status lk_wr_publish(const char *part, const char *path);

/* The status that fits an FFmpeg error number. */
lk_status lk_wr_code(int error);

/* LK_REQUIRE for an FFmpeg call: "<words>: <FFmpeg's reason>". */
#define LK_WR_FF(w, call, what)                                                                    \
    do {                                                                                           \
        const int ff_ = (call);                                                                    \
        LK_REQUIRE(ff_ >= 0, lk_wr_code(ff_), "cannot %s '%s': %s", (what), (w)->path,             \
                   LK_FF_WORDS(ff_));                                                              \
    } while (0)

#endif /* LK_FFMPEG_WRITER_H */
