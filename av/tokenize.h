/* tokenize.h - media to latents and back, through the tokenizers.
 *
 * Both directions run as streams: memory does not grow with the clip.  Frames come back at their
 * own times and with their number, sound with its start and its number of samples.
 *
 * Errors       of media.h, latents.h and the tokenizers; latents are decoded by the weights they
 *              were made with, others are refused (LK_E_ARG).
 * Threads      one call per thread; the tokenizers use all.
 */
#ifndef LK_TOKENIZE_H
#define LK_TOKENIZE_H

#include "audio_codec/codec.h"
#include "kernels/tensor.h"

typedef struct lk_tokenize_options {
    const char *vae, *codec;     /* files with weights; NULL: leave pictures, or sound, out */
    const lk_backend *backend;   /* NULL: the CPU's */
    int width, height;           /* encode: fit pictures into this; 0: as they are */
    lk_codec_mode mode;          /* encode: 0: LK_CODEC_BOTH */
    int stages;                  /* decode: tokens of a latent to use; 0: all */
    lk_dtype compute;            /* of pictures: LK_F32 or LK_BF16 */
    const char *vcodec, *acodec; /* decode: as in lk_writer_options */
    /* decode: the media file that the latents were made of, where its frames, fitted into the size,
     * or its samples, at the codec's rate, are to be written instead of the latents'; or NULL */
    const char *pictures_of, *sound_of;
    const volatile int *stop;                   /* may be NULL */
    void (*progress)(void *user, double share); /* may be NULL */
    void *user;
} lk_tokenize_options;

/* What went through. */
typedef struct lk_tokenize_counts {
    int64_t n_frames, n_samples, n_video_latents, n_audio_latents;
    /* encode: what the Gaussian latents hold, KL(N(mean, e^log_var) || N(0, 1)) / ln 2 */
    double video_bits, audio_bits;
} lk_tokenize_counts;

LK_CHECKED lk_status lk_encode(const char *in, const char *out, const lk_tokenize_options *o,
                               lk_tokenize_counts *counts);
LK_CHECKED lk_status lk_decode(const char *in, const char *out, const lk_tokenize_options *o,
                               lk_tokenize_counts *counts);

#endif /* LK_TOKENIZE_H */
