/* latents.h - what tokenizers make of a clip, in an HDF5 file that h5py reads.
 *
 *     /video/latents      f32 [n, rows, columns, channels]
 *     /video/time         int64 [n, 4 + 2 x 4]: span (2), number of frames, skipped in front, and
 *                         the spans of up to 4 frames; flicks
 *     /audio/tokens       uint16 [n, stages], and /audio/latents  f32 [n, channels]; one may lack
 *     /audio/time         int64 [n, 2], flicks
 *     attributes of /video: width, height, tokenizer (checksum of the weights' file)
 *     attributes of /audio: rate_hz, channels, mode, start, n_samples, tokenizer
 *     attributes of /: format "lockstep-latents-1", commit, source
 *
 * A file appears under its name when it is whole.
 *
 * Threads      one object by one thread.
 */
#ifndef LK_LATENTS_H
#define LK_LATENTS_H

#include "kernels/clock.h"
#include "kernels/status.h"

/* Zero where there is no such stream. */
typedef struct lk_latents_video {
    int rows, columns, channels;
    int width, height; /* of the pictures */
    uint64_t tokenizer;
} lk_latents_video;

enum { LK_LATENTS_TIMES = 12 }; /* numbers of a latent's row in /video/time */

typedef struct lk_latents_audio {
    int stages, continuous; /* tokens and numbers of a latent; 0: none */
    int rate_hz, channels, mode;
    lk_flick start;
    int64_t n_samples;
    uint64_t tokenizer;
} lk_latents_audio;

/* ---- writing ---- */

typedef struct lk_latents_writer lk_latents_writer;

LK_CHECKED lk_status lk_latents_create(lk_latents_writer **w, const char *path,
                                       const lk_latents_video *video, const lk_latents_audio *audio,
                                       const char *source);
/* One latent: numbers [rows, columns, channels], time [LK_LATENTS_TIMES]. */
LK_CHECKED lk_status lk_latents_add_video(lk_latents_writer *w, const float *latent,
                                          const int64_t *time);
LK_CHECKED lk_status lk_latents_add_audio(lk_latents_writer *w, int64_t n, const uint16_t *tokens,
                                          const float *latents, const lk_span *spans);
/* audio (NULL: as before) now knows start and n_samples. */
LK_CHECKED lk_status lk_latents_finish(lk_latents_writer *w, const lk_latents_audio *audio);
void lk_latents_writer_close(lk_latents_writer **w); /* without finish: nothing stays */

/* ---- reading ---- */

typedef struct lk_latents lk_latents;

LK_CHECKED lk_status lk_latents_open(lk_latents **l, const char *path);
void lk_latents_close(lk_latents **l);

lk_latents_video lk_latents_get_video(const lk_latents *l);
lk_latents_audio lk_latents_get_audio(const lk_latents *l);
int64_t lk_latents_n_video(const lk_latents *l);
int64_t lk_latents_n_audio(const lk_latents *l);

/* Latent i; and n latents from `from` on, tokens or latents NULL for what is not wanted. */
LK_CHECKED lk_status lk_latents_read_video(lk_latents *l, int64_t i, float *latent, int64_t *time);
LK_CHECKED lk_status lk_latents_read_audio(lk_latents *l, int64_t from, int64_t n, uint16_t *tokens,
                                           float *latents);

#endif /* LK_LATENTS_H */
