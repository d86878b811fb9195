/* codec_impl.h - the parts of the tokenizer, for audio_codec/ and its tests.
 *
 * Shapes: B sounds, C channels, S samples, J frames (100 a second, hop = rate / 100), T latents
 * (J = 4 T), W latent_width, K = 2 hop + 1 bins.  Where a lk_past is taken, NULL means a whole
 * sound with zeros before it.
 */
#ifndef LK_CODEC_IMPL_H
#define LK_CODEC_IMPL_H

#include "audio_codec/codec.h"

#include "kernels/ops.h"
#include "kernels/past.h"
#include "kernels/text.h"
#include "kernels/train.h"

#define LK_CODEC_FRAME_HZ 100
#define LK_CODEC_FRAMES   4 /* of a latent; also the hops of an analysis window */

/* The layers that fit.c sets are used times this and stored divided by it: an optimiser whose steps
 * have one size moves them that much less than it moves the network. */
#define LK_CODEC_SLOW 0.1

struct lk_codec {
    lk_codec_config config;
    lk_params *params;
};

#define LK_CODEC_FORMAT "lockstep audio codec 2" /* of a file, under "format" */

/* ---- config.c ---- */

int lk_codec_hop(const lk_codec_config *c);
LK_CHECKED lk_status lk_codec_check(const lk_codec_config *c);
LK_CHECKED lk_status lk_codec_check_settings(const lk_codec_train_settings *s);
/* Lines "name: value"; reading starts from the defaults. */
LK_CHECKED lk_status lk_codec_write_config(const lk_option *options, const void *target,
                                           lk_text *out);
LK_CHECKED lk_status lk_codec_read_config(const char *text, lk_codec_config *c);

/* ---- frames.c ---- */

/* Sound [B, S, C], S a multiple of hop -> compressed spectra f32 [B, S / hop, C 3 K]. */
lk_var lk_codec_analyse(lk_graph *g, const lk_codec_config *c, lk_past *past, lk_var sound);
/* Log-magnitudes and directions f32 [B, J, C 3 K], levels f32 [B, J / 4, 1] -> sound [B, J hop, C];
 * J a multiple of 4. */
lk_var lk_codec_synthesise(lk_graph *g, const lk_codec_config *c, lk_past *past, lk_var head,
                           lk_var level);
/* Spectra f32 [B, J, C, K, 2] of frames that start at j hop, not windowed -> sound [B, J hop, C].
 */
lk_var lk_codec_overlap(lk_graph *g, const lk_codec_config *c, lk_past *past, lk_var spectra);
/* Left, right <-> (left + right) / 2, (left - right) / 2 of [B, S, C]; nothing for C = 1. */
lk_var lk_codec_to_mid_side(lk_graph *g, lk_var sound);
lk_var lk_codec_from_mid_side(lk_graph *g, lk_var sound);
/* Hann window of n samples times scale. */
lk_var lk_codec_window(lk_graph *g, int n, double scale);

/* ---- net.c ---- */

/* Sound [B, 4 hop T, C] -> h f32 [B, T, W]: linear shape, level, bands, and what the network adds.
 */
lk_var lk_codec_encode(lk_graph *g, const lk_codec_config *c, lk_past *past, lk_var sound);
/* Latent f32 [B, T, W] -> sound f32 [B, 4 hop T, C]. */
lk_var lk_codec_decode(lk_graph *g, const lk_codec_config *c, lk_past *past, lk_var latent);

/* ---- linear.c ---- */

/* Sound [B, 4 hop T, C] and its analysed spectra -> f32 [B, T, linear + 1 + bands]. */
lk_var lk_codec_features(lk_graph *g, const lk_codec_config *c, lk_var sound, lk_var spectra);
/* ln of the level of latents [B, T, W], with `more` [B, T, 1] added: f32 [B, T, 1]. */
lk_var lk_codec_level(lk_graph *g, const lk_codec_config *c, lk_var latent, lk_var more);
/* Shapes [B, T, linear] at their levels -> sound [B, 4 hop T, C]. */
lk_var lk_codec_linear_out(lk_graph *g, const lk_codec_config *c, lk_past *past, lk_var shape,
                           lk_var level);

/* ---- fit.c ---- */

/* A linear tokenizer out of a codec with initial weights, from crops of batch x latents. */
LK_CHECKED lk_status lk_codec_fit(lk_codec *codec, lk_codec_crops crops, void *user, int batch,
                                  int latents);

/* ---- bottleneck.c ---- */

typedef struct lk_codec_stages {
    lk_var unit[LK_CODEC_MOST_STAGES];   /* [B, T, code_width], of length 1: what is looked up */
    lk_var index[LK_CODEC_MOST_STAGES];  /* i32 [B, T] */
    lk_var out[LK_CODEC_MOST_STAGES];    /* [B, T, W]: what the stage adds */
    lk_var commit[LK_CODEC_MOST_STAGES]; /* f32 []; training only */
    lk_var rebuild;                      /* f32 []; training only */
} lk_codec_stages;

/* h [B, T, W] through all stages; unit and index are outputs "quantiser.<i>.unit", ".index". */
void lk_codec_quantise(lk_graph *g, const lk_codec_config *c, lk_var h, lk_codec_stages *s);
/* Sum of the first n stages' outputs for tokens i32 [B, T, stages]. */
lk_var lk_codec_from_tokens(lk_graph *g, const lk_codec_config *c, lk_var tokens, int n);
/* What the Gaussian latent describes: everything, or what tokens leave. */
typedef enum lk_codec_part { LK_CODEC_ALONE, LK_CODEC_REST } lk_codec_part;
/* As its parameters are called: "gaussian.<name>.". */
const char *lk_codec_part_name(lk_codec_part part);
/* Information it should have, in nats a latent (config.c). */
double lk_codec_target_nats(const lk_codec_config *c, lk_codec_part part);
/* h or residual [B, T, W] -> mean and log-variance f32 [B, T, continuous]. */
void lk_codec_moments(lk_graph *g, const lk_codec_config *c, lk_codec_part part, lk_var h,
                      lk_var *mean, lk_var *log_var);
/* z [B, T, continuous] -> f32 [B, T, W]. */
lk_var lk_codec_from_latent(lk_graph *g, const lk_codec_config *c, lk_codec_part part, lk_var z);
/* Logits of the classes [B, T, labels] from the first stage's output. */
lk_var lk_codec_classify(lk_graph *g, const lk_codec_config *c, lk_var first);
/* Share of each code in the recent use of stage i, and 2^entropy of it, f32 []. */
lk_var lk_codec_perplexity(lk_graph *g, const lk_codec_config *c, int stage);

/* ---- codebook.c ---- */

typedef struct lk_codec_books lk_codec_books;

/* Keeper of the codes of all stages during a training, in which each process has n_rows of a batch.
 */
LK_CHECKED lk_status lk_codec_books_new(lk_codec_books **k, const lk_codec_config *c,
                                        lk_params *params, int64_t n_rows, double memory,
                                        double dead, uint64_t seed, lk_comm *comm);
void lk_codec_books_free(lk_codec_books **k);
/* Codes of a stage from unit [n_rows, code_width] by k-means, each used `use` times a batch, and
 * the one of each row. */
LK_CHECKED lk_status lk_codec_books_start(lk_codec_books *k, int stage, double use,
                                          const float *unit, int32_t *index);
/* After step `step`, with unit [n_rows, code_width] and index [n_rows] of stage i. */
LK_CHECKED lk_status lk_codec_books_update(lk_codec_books *k, int stage, int64_t step,
                                           const float *unit, const int32_t *index);

/* All codes to unit length, for use. */
LK_CHECKED lk_status lk_codec_finish_codes(lk_params *params);
/* Does this parameter follow by moving averages alone? */
int lk_codec_is_code(const char *name);

/* ---- losses.c ---- */

/* f32 [] each; y and x f32 [B, S, C]. */
typedef struct lk_codec_distances {
    lk_var mel, stft, wave;
} lk_codec_distances;
lk_codec_distances lk_codec_distance(lk_graph *g, const lk_codec_config *c, lk_var y, lk_var x);

/* ---- discriminator.c ---- */

#define LK_CODEC_SCALES   5
#define LK_CODEC_FEATURES 5 /* a scale */
typedef struct lk_codec_opinion {
    lk_var score[LK_CODEC_SCALES];
    lk_var feature[LK_CODEC_SCALES][LK_CODEC_FEATURES];
} lk_codec_opinion;
lk_codec_opinion lk_codec_judge(lk_graph *g, const lk_codec_config *c, lk_var sound);

/* ---- model.c ---- */

/* Everything a training step computes; inputs "sound" f32 [B, S, C], "stage_on" f32 [B, 1, stages],
 * "latent_on", "rest_on" and "raw_on" f32 [B, 1, 1], "class" i32 and "class_on" f32 [B, T] (with
 * labels). */
typedef struct lk_codec_model {
    lk_var sound, result; /* [B, S, C] */
    lk_codec_stages stages;
    lk_var commit, kl_nats[2], kl_loss, label; /* f32 []; label LK_NONE without labels */
} lk_codec_model;
typedef enum lk_codec_trained {
    LK_CODEC_TRAIN_ALL,
    LK_CODEC_TRAIN_DECODER,
    LK_CODEC_TRAIN_NOTHING
} lk_codec_trained;
lk_codec_model lk_codec_record(lk_graph *g, const lk_codec_config *c, int64_t batch,
                               int64_t latents, lk_codec_trained trained);

#endif /* LK_CODEC_IMPL_H */
