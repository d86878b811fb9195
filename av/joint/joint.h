/* joint.h - the joint model: sound and picture generated together, on one clock.
 *
 * A dual-stream transformer takes noisy latents of a picture and of a sound and says in which
 * direction the noise lies (rectified flow).  Each stream looks at itself, at the prompt, at the
 * script, and, through attention that is aligned by time, at the other stream.
 *
 * Tokens       video: latents of the video tokenizer, [latents, rows, columns], each position a
 *              token with the span of its latent; audio: 25 latents a second, each with its span.
 * Text         a prompt is a run of bytes, or of vectors that another encoder made; a script is a
 *              list of events, each a text and a span.  Both are read by a small transformer over
 *              bytes that is trained along.
 * Levels       x_t = (1 - t) x + t noise: t = 0 is clean, t = 1 is noise.  Latents that are held
 *              stay clean: that makes one model serve all tasks (a sound for a picture, a picture
 *              for a sound, from a first frame, longer, or with a range made again).
 * Switches     what the two streams know of each other's time, and how; see lk_joint_options.
 *
 * Determinism  results depend on configuration, seed and input, never on the thread count.
 * Errors       LK_E_ARG for what is outside the documented ranges, LK_E_NUMERIC for NaN or Inf.
 * Threads      one model by one thread at a time.
 * Sources      Peebles, Xie 2023 (DiT); Chen et al. 2023 (PixArt-alpha: one modulation for all
 *              blocks); Liu et al. 2022 (rectified flow); Esser et al. 2024 (logit-normal times).
 */
#ifndef LK_JOINT_H
#define LK_JOINT_H

#include "kernels/attention.h"
#include "kernels/comm.h"
#include "kernels/option.h"
#include "kernels/place.h"
#include "kernels/safetensors.h"
#include "kernels/train.h"

/* ---- what a model is ---- */

enum {
    LK_JOINT_MOST_CHANNELS = 256, /* of a latent */
    LK_JOINT_MOST_TEXT = 4096     /* bytes of a prompt */
};

/* One row each in lk_joint_options. */
typedef struct lk_joint_config {
    const char *preset; /* "tiny", "small", "base": sizes that are 0 below are the preset's */
    int width, heads, blocks, text_blocks;
    int video_channels, audio_channels; /* of the tokenizers' latents */
    const char *predict;                /* flow, clean: what the last layer says */
    int text_channels;                  /* of a prompt's vectors; 0: prompts are bytes */
    int patch; /* a token of the picture is patch x patch positions of a latent */
    /* the exchange between the streams */
    const char *clock;      /* seconds, index, scaled_index, rounded, none */
    const char *exchange;   /* none, dense, window, frame, random_shift, block_causal, joint */
    const char *directions; /* both, to_audio, to_video */
    int exchange_first, exchange_last,
        exchange_every;         /* blocks that have it; last -1: to the end */
    double before_ms, after_ms; /* window, random_shift; the script's window too */
    double shift_ms;            /* random_shift: moved by up to this */
    double chunk_ms;            /* block_causal */
    bool places;                /* events are laid on the picture where they are (lay.c) */
    bool scene;                 /* what stays the same through a clip is told apart (scene.c) */
    bool still;                 /* what stands still is said once (scene.c); predict "clean" */
    bool relative_values; /* what crosses, or comes from the script, says how much later it is */
    /* noise levels */
    const char *noise;                  /* shared, independent, clean_anchor, dual_shift */
    double level_mean, level_deviation; /* of the logit of t */
    double video_shift, audio_shift;    /* t' = s t / (1 + (s - 1) t) */
    double anchor;                      /* clean_anchor: share of clips with one stream clean */
    double common_noise; /* share of the picture's noise that all its latents have, 0 .. 1 */
    int seed;            /* of the initial weights */
} lk_joint_config;

extern const lk_option lk_joint_options[];

typedef struct lk_joint lk_joint;

/* Untrained; backend NULL: the CPU's. */
LK_CHECKED lk_status lk_joint_new(lk_joint **m, const lk_joint_config *config,
                                  const lk_backend *backend);
void lk_joint_free(lk_joint **m);

/* From lk_joint_save's file or a training's checkpoint (its averaged weights).  LK_E_FORMAT for a
 * file that is no joint model, LK_E_SHAPE for weights that are not those of its configuration. */
LK_CHECKED lk_status lk_joint_load(lk_joint **m, const char *path, const lk_backend *backend);
/* Weights, normalisation and configuration; dtype LK_F32 or LK_BF16. */
LK_CHECKED lk_status lk_joint_save(const lk_joint *m, const char *path, lk_dtype dtype);

/* The configuration with the preset's sizes filled in. */
const lk_joint_config *lk_joint_get_config(const lk_joint *m);
lk_params *lk_joint_params(lk_joint *m); /* borrowed */
int64_t lk_joint_n_weights(const lk_joint *m);

/* Mean and deviation (> 0) of every channel of latents: what the flow works on is
 * (latent - mean) / deviation.  They start as 0 and 1, and are saved with the weights. */
typedef enum lk_joint_stream { LK_JOINT_VIDEO, LK_JOINT_AUDIO, LK_JOINT_STREAMS } lk_joint_stream;
LK_CHECKED lk_status lk_joint_set_scale(lk_joint *m, lk_joint_stream s, const float *mean,
                                        const float *deviation);
LK_CHECKED lk_status lk_joint_get_scale(const lk_joint *m, lk_joint_stream s, float *mean,
                                        float *deviation);

/* ---- clips ---- */

/* What a graph has room for; all sizes of a batch. */
typedef struct lk_joint_sizes {
    int batch;
    int latents, rows, columns; /* of the picture; latents 0: none */
    int sounds;                 /* latents of the sound; 0: none */
    int prompt_bytes;           /* or vectors, > 0 */
    int events, event_bytes;    /* events 0: no script */
    int event_texts;            /* different texts of all events; 0: as many as events */
} lk_joint_sizes;

/* One with two ends in its place is a piece of a path: it says where something is, is laid on the
 * picture (lay.c), and takes no part in attention. */
typedef struct lk_joint_event {
    lk_span span;
    const char *text;
    lk_place place;
} lk_joint_event;

/* One clip.  Spans are sorted; the arrays have as many entries as there are latents. */
typedef struct lk_joint_clip {
    int n_latents, n_sounds; /* 0 .. those of the sizes */
    const lk_span *video_span, *audio_span;
    const float *video; /* [n_latents, rows, columns, channels], raw; NULL where nothing is known */
    const float *audio; /* [n_sounds, channels] */
    /* 1: this latent stays as it is; NULL: none does. */
    const uint8_t *video_held, *audio_held;
    const char *prompt; /* NULL or "": none.  Cut to prompt_bytes */
    /* [n, text_channels] instead, for a model that wants vectors; cut likewise */
    const float *prompt_vectors;
    int n_prompt_vectors;
    int n_events;
    const lk_joint_event *events; /* sorted by start; texts are cut to event_bytes */
} lk_joint_clip;

/* By start, then by end: the order that a clip wants. */
void lk_joint_sort_events(lk_joint_event *events, int n);

/* Latents [from, from + n) of a clip's picture, n > 0, with the sound whose latents have their
 * middle in that time and the events that go on in it; all keep their times.  A latent of the
 * picture has video_numbers numbers, one of the sound audio_numbers.  The first latent of a later
 * part of a clip is held: no clip begins with such a one, so none shall be made there.
 * The result points into the clip, and to events [clip->n_events] and held [n], which it fills. */
lk_joint_clip lk_joint_crop(const lk_joint_clip *clip, int from, int n, int64_t video_numbers,
                            int audio_numbers, lk_joint_event *events, uint8_t *held);

/* ---- sampling (sample.c) ---- */

typedef struct lk_joint_sampling {
    const char *solver;                  /* "euler", "heun", "multistep" */
    int steps;                           /* 1 .. 10000 */
    const char *compute;                 /* "f32", "bf16": what layers multiply in */
    double video_text, audio_text;       /* guidance by the prompt and script; 1: none */
    double to_video, to_audio;           /* guidance by the exchange; 1: none */
    double video_shifted, audio_shifted; /* guidance away from what fits the other stream when
                                            that is shift_ms later than it is; 1: none */
    double shift_ms;
    double from, to; /* guidance where from <= u <= to, of time 1 .. 0 */
    int seed;
} lk_joint_sampling;

extern const lk_option lk_joint_sampling_options[];

/* Make the latents of clips [sizes->batch] that are not held: video [batch, latents, rows, columns,
 * channels] and audio [batch, sounds, channels], raw; those beyond a clip's number are 0.  Held
 * latents come back as they were given.  stop may be NULL. */
LK_CHECKED lk_status lk_joint_sample(lk_joint *m, const lk_joint_sizes *sizes,
                                     const lk_joint_clip *clips, const lk_joint_sampling *sampling,
                                     const volatile int *stop, float *video, float *audio);

/* ---- training (train.c; the loss is in flow.c) ---- */

/* Fill clips [n], as a function of seed, index and n; what they point to stays until the next call.
 * first: nothing but each clip's first latent of the picture will be used, and it has to be one
 * that tokenizers begin a clip with, or one of a single frame. */
typedef lk_status (*lk_joint_fill)(void *user, uint64_t seed, int64_t index, int n, int first,
                                   lk_joint_clip *clips);

typedef struct lk_joint_train_config {
    lk_joint *model; /* borrowed, trained in place */
    lk_joint_sizes sizes;
    const char *folder; /* of the run, as train.h describes it */
    lk_joint_fill fill;
    void *user;
    int resume;
    lk_comm *comm; /* NULL: one process */
    int n_texts;   /* into every checkpoint, beside the configuration */
    const lk_safetensors_text *texts;
    /* Clips that are not learnt from, all with latents: the log gets the losses of both streams,
     * with the averaged weights, in four bands of the noise level (validate.c), as
     * valid_video_flow_0_25 and so on.  The training is the same to the bit without them. */
    lk_joint_sizes held_out_sizes; /* batch: how many go through the network at once */
    int n_held_out;                /* 0: none */
    const lk_joint_clip *held_out;
    /* Called every sample_every steps with the averaged weights; NULL: never. */
    lk_status (*show)(void *user, int64_t step, lk_joint *averaged);
    void *show_user;
    /* From here on the rows of lk_joint_train_options. */
    int steps, micro;
    int image_steps, video_steps; /* of those, first ones that see single pictures with their
                                     prompts, and then ones that see everything but the sound */
    int image_batch;              /* pictures at once in the former */
    const char *compute;          /* "f32", "bf16" */
    double rate, last_rate;
    int warmup;
    double decay, average, clip;
    /* Shares of clips without prompt and script, and without exchange, so that guidance works; and
     * without script, so that streams have to learn from each other what it would tell them. */
    double no_text, no_script, no_exchange;
    double no_places; /* share of clips whose events are not laid on the picture */
    double hold_audio, hold_video, hold_first, hold_range; /* shares of clips that train a task */
    double held_script; /* share of clips with a whole stream held that keep their script */
    double
        motion; /* how much more a position of the picture counts for what moves there (batch.c) */
    double change; /* weight of what an error changes from one latent to the next (flow.c) */
    int log_every, save_every, keep;
    int validate_every, sample_every; /* 0: never */
    const char *start_from;           /* file with weights of the same model, or NULL */
    int seed;                         /* of clips and noise */
} lk_joint_train_config;

extern const lk_option lk_joint_train_options[];

/* Train and leave checkpoints that lk_joint_load takes.  result may be NULL. */
LK_CHECKED lk_status lk_joint_train(const lk_joint_train_config *config, lk_train_result *result);

/* ---- probes (probe.c) ---- */

/* What a stream looks at. */
typedef enum lk_joint_sight {
    LK_JOINT_SEES_ITSELF,
    LK_JOINT_SEES_OTHER,
    LK_JOINT_SEES_SCRIPT,
    LK_JOINT_SIGHTS
} lk_joint_sight;

/* Layers of a block. */
typedef enum lk_joint_part {
    LK_JOINT_PART_SELF,
    LK_JOINT_PART_TEXT,
    LK_JOINT_PART_SCRIPT,
    LK_JOINT_PART_EXCHANGE,
    LK_JOINT_PART_FEED,
    LK_JOINT_PARTS
} lk_joint_part;
extern const char *const lk_joint_part_names[LK_JOINT_PARTS];

typedef struct lk_joint_probe_config {
    lk_joint_sizes sizes; /* room for any of the clips, which go through the network one by one */
    int n_clips;
    const lk_joint_clip *clips; /* all with latents; nothing is held */
    int n_levels;
    const double *levels;     /* of both streams, 0 < t <= 1 */
    double bin_ms, reach_ms;  /* > 0; lags from -reach to reach, whole bins around 0 */
    int seed;                 /* of the noise */
    const volatile int *stop; /* may be NULL */
} lk_joint_probe_config;

/* How attention is spread over the lag of what is looked at: its time minus the looking token's,
 * from middle to middle of their spans in the clip (of an event: its start), whatever the
 * exchange's clock.  Means over tokens that see something; NaN where none does.  Bins [n_bins + 2]:
 * the first and the last hold what is earlier or later than all lags. */
typedef struct lk_joint_gaze {
    double *mass;   /* [levels, blocks, heads, n_bins + 2], sums to 1 */
    double *chance; /* [blocks, n_bins + 2]: the same with equal weights on what may be seen */
    double *share;  /* [blocks]: of the tokens, those that see something */
} lk_joint_gaze;

/* In a joint exchange the bins of ITSELF and OTHER sum to 1 together.  Gradients are those of each
 * stream's loss alone with regard to the weights of all layers of LK_JOINT_PARTS; squared norms,
 * means over clips. */
typedef struct lk_joint_probe {
    int n_levels, n_blocks, n_heads, n_bins;
    double bin_ms; /* bin i of 1 .. n_bins is around (i - 1 - n_bins / 2) bin_ms, n_bins is odd */
    lk_joint_gaze gaze[LK_JOINT_STREAMS][LK_JOINT_SIGHTS]; /* by who looks, at what */
    double *gradient; /* [levels, losses, streams, blocks, LK_JOINT_PARTS]: shares of the whole */
    double *norm;     /* [levels, losses]: root of the whole */
} lk_joint_probe;

/* LK_E_ARG for levels and bins out of range and for clips without latents. */
LK_CHECKED lk_status lk_joint_probe_new(lk_joint_probe **p, lk_joint *m,
                                        const lk_joint_probe_config *config);
void lk_joint_probe_free(lk_joint_probe **p);

#endif /* LK_JOINT_H */
