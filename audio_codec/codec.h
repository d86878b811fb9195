/* codec.h - the audio tokenizer: sound <-> 25 latents a second, as tokens, as Gaussian numbers, or
 * both, from the same weights.
 *
 * Time         a latent k of sound that starts at sample 0 owns the samples [k P, (k + 1) P) with
 *              P = rate_hz / 25.  It is made of those and of earlier ones alone, and to hear its
 *              samples it and earlier latents suffice: no delay beyond the 40 ms it covers.
 * Exactness    encoders and decoders run one graph of one latent, again and again, so the bits do
 *              not depend on how the caller cuts the stream, nor on the number of threads.
 * Sound        f32, interleaved, nominally in [-1, 1]; two channels are left and right.
 *
 *     lk_codec_encoder *e = NULL;
 *     LK_TRY(lk_codec_load(&codec, "codec.safetensors", NULL));
 *     LK_TRY(lk_codec_encoder_new(&e, codec, LK_CODEC_BOTH, start));
 *     for each piece of sound {
 *         LK_TRY(lk_codec_encoder_push(e, samples, n));
 *         n_latents = lk_codec_encoder_ready(e);
 *         LK_TRY(lk_codec_encoder_pull(e, n_latents, tokens, mean, log_var, spans));
 *     }
 *     lk_codec_encoder_flush(e); ... pull the last one ...
 *
 * Errors       LK_E_ARG for what is outside the documented ranges, LK_E_NUMERIC for sound or
 *              latents with NaN or Inf; the object is then as it was before the call.
 * Threads      one object by one thread at a time; several encoders and decoders may share a codec
 *              that is not trained meanwhile.
 * Source       Defossez et al. 2022 (EnCodec), Kumar et al. 2023 (Improved RVQGAN), Siuzdak 2023
 *              (Vocos), Defossez et al. 2024 (Moshi); audio_codec/ names the equations.
 */
#ifndef LK_CODEC_H
#define LK_CODEC_H

#include "kernels/clock.h"
#include "kernels/comm.h"
#include "kernels/graph.h"
#include "kernels/option.h"
#include "kernels/params.h"
#include "kernels/safetensors.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what a codec is ---- */

#define LK_CODEC_LATENT_HZ     25
#define LK_CODEC_MOST_STAGES   16
#define LK_CODEC_MOST_CHANNELS 256 /* of the continuous latent */

/* One row each in lk_codec_options, with range and default. */
typedef struct lk_codec_config {
    int rate_hz;                               /* a multiple of 100; 16000, 24000, 48000 */
    int channels;                              /* 1, or 2 (mid and side inside) */
    int width, encoder_blocks, decoder_blocks; /* at 100 Hz */
    int latent_width, latent_blocks;           /* at 25 Hz, on each side */
    int linear, bands; /* numbers of a latent that sound depends on linearly; of its spectrum */
    int stages, entries, code_width; /* residual quantiser: codes of code_width numbers */
    int continuous;                  /* channels of the Gaussian latent */
    double target_kl_nats;           /* of a Gaussian latent; bits/s = 25 KL / ln 2 */
    double alone_kl_nats;            /* of one without tokens beside it; 0: as with them */
    const char *activation;          /* "gelu" or "snake" */
    int labels;                      /* classes stage 1 is supervised with; 0: none */
    int seed;                        /* of all initial weights */
} lk_codec_config;

extern const lk_option lk_codec_options[];

/* Samples a latent owns, of each channel. */
int lk_codec_period(const lk_codec_config *c);
/* Latents of n >= 0 samples: n / period, rounded up. */
int64_t lk_codec_latents(const lk_codec_config *c, int64_t n_samples);
/* Samples of latent k of a sound that starts at `start` and has n_samples. */
lk_span lk_codec_span(const lk_codec_config *c, lk_flick start, int64_t k, int64_t n_samples);

typedef struct lk_codec lk_codec;

/* Untrained, with the initial weights of its seed; backend NULL: the CPU's. */
LK_CHECKED lk_status lk_codec_new(lk_codec **codec, const lk_codec_config *config,
                                  const lk_backend *backend);
void lk_codec_free(lk_codec **codec);

const lk_codec_config *lk_codec_get_config(const lk_codec *codec);
lk_params *lk_codec_params(lk_codec *codec); /* borrowed */

/* A safetensors file: what the codec is under the text "config", its weights in f32 or bf16.
 * lk_codec_load also takes a checkpoint of a training, using the moving averages.  A file that is
 * no codec, or lacks or has too much of one, is refused by name (LK_E_FORMAT, LK_E_SHAPE). */
LK_CHECKED lk_status lk_codec_save(const lk_codec *codec, const char *path, lk_dtype dtype);
LK_CHECKED lk_status lk_codec_load(lk_codec **codec, const char *path, const lk_backend *backend);

/* ---- streams ---- */

/* Latents that a stream computes at once: pulled in such numbers, a latent costs least. */
#ifndef LK_CODEC_BLOCK
#define LK_CODEC_BLOCK 8
#endif

/* What a latent is made of.  The continuous part describes what the tokens leave (both) or
 * everything (continuous alone), so a decoder needs the mode its latents were made with. */
typedef enum lk_codec_mode {
    LK_CODEC_TOKENS = 1,
    LK_CODEC_CONTINUOUS = 2,
    LK_CODEC_BOTH = 3
} lk_codec_mode;

typedef struct lk_codec_encoder lk_codec_encoder;

/* The codec must outlive the encoder; `start` is the time of the first sample. */
LK_CHECKED lk_status lk_codec_encoder_new(lk_codec_encoder **e, const lk_codec *codec,
                                          lk_codec_mode mode, lk_flick start);
void lk_codec_encoder_free(lk_codec_encoder **e);

/* n >= 0 samples of every channel, [n, channels]. */
LK_CHECKED lk_status lk_codec_encoder_push(lk_codec_encoder *e, const float *samples, int64_t n);

/* No more samples: silence fills up the last latent. */
void lk_codec_encoder_flush(lk_codec_encoder *e);

/* Latents that wait to be pulled. */
int64_t lk_codec_encoder_ready(const lk_codec_encoder *e);

/* Take the oldest n <= ready latents: tokens [n, stages], mean and log_var [n, continuous], spans
 * [n]; each may be NULL, tokens must be without LK_CODEC_TOKENS, mean and log_var without
 * LK_CODEC_CONTINUOUS.  A last span ends with the sound. */
LK_CHECKED lk_status lk_codec_encoder_pull(lk_codec_encoder *e, int64_t n, uint16_t *tokens,
                                           float *mean, float *log_var, lk_span *spans);

/* A new stream, whatever is left of the old one. */
LK_CHECKED lk_status lk_codec_encoder_reset(lk_codec_encoder *e, lk_flick start);

typedef struct lk_codec_decoder lk_codec_decoder;

/* stages: how many tokens of a latent to use, 1 .. those of the codec; 0: all. */
LK_CHECKED lk_status lk_codec_decoder_new(lk_codec_decoder **d, const lk_codec *codec,
                                          lk_codec_mode mode, int stages);
void lk_codec_decoder_free(lk_codec_decoder **d);

/* n >= 0 latents: tokens [n, stages of the codec], latent [n, continuous] (a mean, or a sample
 * around it); NULL for what the mode does not use. */
LK_CHECKED lk_status lk_codec_decoder_push(lk_codec_decoder *d, const uint16_t *tokens,
                                           const float *latent, int64_t n);

/* The whole sound has n_samples, all latents are pushed: drop what the last one has beyond.
 * LK_E_ARG when they do not fit together, or the last samples are pulled already. */
LK_CHECKED lk_status lk_codec_decoder_end(lk_codec_decoder *d, int64_t n_samples);

/* Samples of every channel that wait to be pulled, and the oldest n <= ready of them. */
int64_t lk_codec_decoder_ready(const lk_codec_decoder *d);
LK_CHECKED lk_status lk_codec_decoder_pull(lk_codec_decoder *d, int64_t n, float *samples);

/* A new stream, whatever is left of the old one. */
LK_CHECKED lk_status lk_codec_decoder_reset(lk_codec_decoder *d);

/* ---- training ---- */

/* One row each in lk_codec_train_options. */
typedef struct lk_codec_train_settings {
    int steps;                            /* of losses alone */
    int adversarial_steps;                /* after them, with encoder and quantiser frozen */
    int batch, latents;                   /* crops a batch, latents a crop */
    int micro;                            /* batches a step */
    double rate, floor, adversarial_rate; /* learning rate: peak, end, of the late phase */
    int warmup;
    double clip, decay, average;
    double mel, stft, wave, commit, rebuild, kl, label; /* weights of the losses */
    double adversarial, feature;
    double code_memory;     /* of the moving averages that codes are */
    double dead;            /* codes used less than this share of the mean use are born again */
    const char *compute;    /* "f32" or "bf16" */
    const char *start_from; /* file with weights of such a codec, instead of a fit; or NULL */
    int log_every, save_every, keep;
} lk_codec_train_settings;

extern const lk_option lk_codec_train_options[];

/* Fill a batch: sound f32 [n_crops, n_samples, channels] and labels [n_crops, latents] (classes of
 * the latents, -1 for none; all -1 on entry), as a function of seed and index alone. */
typedef lk_status (*lk_codec_crops)(void *user, uint64_t seed, int64_t index, int64_t n_crops,
                                    int64_t n_samples, float *sound, int32_t *labels);

typedef struct lk_codec_train_config {
    const lk_codec_config *codec;
    const lk_codec_train_settings *settings;
    const char *folder; /* the run (train.h), in it: codec.safetensors at the end; the late phase
                           has a run of its own in "adversarial" */
    int resume;         /* 1: go on where it was */
    lk_codec_crops crops;
    void *user;
    const lk_backend *backend; /* NULL: the CPU */
    lk_comm *comm;             /* NULL: one process */
    int n_texts;               /* more texts into every file */
    const lk_safetensors_text *texts;
} lk_codec_train_config;

/* A training that does not go on, and has nothing to start from, begins with a fit: crops with
 * indices from LK_CODEC_FIT_INDEX on make the codec a linear one (audio_codec/fit.c).  Failures and
 * stops as in train.h. */
#define LK_CODEC_FIT_INDEX (INT64_C(1) << 40)
LK_CHECKED lk_status lk_codec_train(const lk_codec_train_config *config);

#ifdef __cplusplus
}
#endif

#endif /* LK_CODEC_H */
