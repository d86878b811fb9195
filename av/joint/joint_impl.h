/* joint_impl.h - what the files of the joint model share.  Not for others. */
#ifndef LK_JOINT_IMPL_H
#define LK_JOINT_IMPL_H

#include "av/joint/joint.h"

#include "kernels/nn.h"
#include "kernels/params.h"

typedef enum lk_joint_clock {
    LK_JOINT_SECONDS,
    LK_JOINT_INDEX,
    LK_JOINT_SCALED_INDEX,
    LK_JOINT_ROUNDED,
    LK_JOINT_NO_CLOCK
} lk_joint_clock;

typedef enum lk_joint_exchange {
    LK_JOINT_NO_EXCHANGE,
    LK_JOINT_CROSS,   /* attention of its own; the rule says who sees whom */
    LK_JOINT_TOGETHER /* within self-attention */
} lk_joint_exchange;

typedef struct lk_joint_compared lk_joint_compared;

struct lk_joint {
    lk_joint_config config; /* choices point to static texts, sizes are filled in */
    lk_joint_clock clock;
    lk_joint_exchange exchange;
    lk_attend_rule rule, script_rule; /* of the exchange, and of streams that look at the script */
    lk_params *params;
    lk_joint_compared *probed; /* [blocks, 2, LK_JOINT_SIGHTS], filled while a network is recorded;
                                 NULL: nothing is probed */
};

/* ---- network.c ---- */

/* What a graph reads, written by lk_joint_place, but for x, held and level.  Two of a kind: video,
 * audio; N tokens of a stream, L bytes of a prompt, S events of E bytes and D texts, P pairs of
 * rotary angles. N counts positions in x, and tokens of the network elsewhere (lk_joint_inside).
 */
typedef struct lk_joint_inputs {
    lk_var x[2];        /* f32 [B, N, C], noisy */
    lk_var held[2];     /* f32 [B, N, 1] */
    lk_var level[2];    /* f32 [B, 1] */
    lk_var there;       /* f32 [B, latents], 1 or 0, or LK_NONE: for scene.c */
    lk_var turn[2];     /* f32 [B, N, 2, P] by seconds, rows, columns */
    lk_var meet[2];     /* the same by the exchange's clock */
    lk_var seen[2];     /* the same for the other stream, which may be told another time */
    lk_var self[2];     /* i32 [B, 2 N, 2] */
    lk_var exchange[2]; /* i32 [B, N + M, 2], queries of this stream; M keys of the other one, or of
                           this one and the other */
    lk_var text[2];     /* i32 [B, N + L, 2] */
    lk_var script[2];   /* i32 [B, N + S, 2] */
    lk_var vectors;     /* f32 [B, L, text_channels], instead of the next three */
    lk_var bytes, byte_turn, byte_self; /* i32 [B L], f32 [B, L, 2, P], i32 [B, 2 L, 2] */
    lk_var letters, letter_turn;        /* i32 [D E], f32 [D, E, 2, P] of different texts */
    lk_var letter_self, letter_share;   /* i32 [D, 2 E, 2], f32 [D, E, 1] */
    lk_var event_text;                  /* i32 [B S], one of D; -1: no event */
    lk_var event_turn;                  /* f32 [B, S, 2, P] by the exchange's clock */
    lk_var what, where; /* f32 [B, 2 N, S], [B, N, 2 GRID^2] of the picture's tokens, or LK_NONE;
                           see lay.c */
} lk_joint_inputs;

int64_t lk_joint_tokens(const lk_joint_sizes *s, int stream);
/* The sizes with rows and columns of patches. */
lk_joint_sizes lk_joint_inside(const lk_joint *m, const lk_joint_sizes *s);
/* D above. */
int lk_joint_texts(const lk_joint_sizes *s);

/* Record the inputs, then the network: v[2], f32 [B, N, C], LK_NONE for a stream without tokens. */
void lk_joint_network(lk_graph *g, const lk_joint *m, const lk_joint_sizes *s, lk_joint_inputs *in,
                      lk_var v[2]);
/* Does information flow into a stream in block i? */
int lk_joint_meets(const lk_joint *m, const lk_joint_sizes *s, int stream, int block);

/* text.c: prompt [B, L, W] and events [B, S, W] (LK_NONE without any). */
lk_var lk_joint_prompt(lk_graph *g, const lk_joint *m, const lk_joint_sizes *s,
                       const lk_joint_inputs *in);
lk_var lk_joint_events(lk_graph *g, const lk_joint *m, const lk_joint_sizes *s,
                       const lk_joint_inputs *in);

/* Keys of attention, and the angles of their positions (LK_NONE: none). */
typedef struct lk_joint_keys {
    lk_var x, turn;
} lk_joint_keys;

/* What a layer compares, outputs of the graph: q [B, H, N, D], k [B, H, M, D], and who sees whom;
 * LK_NONE where there is no such layer.  Keys of a joint exchange are those of self-attention. */
struct lk_joint_compared {
    lk_var q, k, plan;
};
/* Where it is probed; NULL: nowhere. */
lk_joint_compared *lk_joint_probed(const lk_joint *m, int block, int stream, lk_joint_sight sight);

/* A layer `name`: queries out of x, keys and values out of n sources one behind the other; RMS
 * norms of queries and keys, rotary positions where there are angles for both.  With `back`, the
 * angles of x the other way round, values are turned by their keys' angles and what is seen is
 * turned back by x's: a value then says how much later than x it is.  `compared` may be NULL. */
lk_var lk_joint_attend(lk_graph *g, const char *name, int heads, lk_joint_keys x, int n,
                       const lk_joint_keys *keys, lk_var plan, lk_var back,
                       lk_joint_compared *compared);
/* Two layers with a GELU between them, four times as wide inside. */
lk_var lk_joint_feed(lk_graph *g, const char *name, lk_var x);

/* scene.c: of the tokens' numbers x [B, N, K], the scene [B, 1, positions, K]; y + scene at every
 * latent; and what the last layer takes over, [B, N, K], of x and scene (LK_NONE: of x). */
lk_var lk_joint_scene(lk_graph *g, const lk_joint_sizes *s, const lk_joint_inputs *in, lk_var x);
lk_var lk_joint_over_latents(lk_graph *g, const lk_joint_sizes *s, lk_var y, lk_var scene);
lk_var lk_joint_taken_over(lk_graph *g, const lk_joint_sizes *s, lk_var h, lk_var x, lk_var scene);
/* What the last layer says, y [B, N, K] of h, with what stands still said once; f32. */
lk_var lk_joint_said_once(lk_graph *g, const lk_joint_sizes *s, const lk_joint_inputs *in, lk_var h,
                          lk_var x, lk_var y);

/* ---- place.c ---- */

/* The spans that a stream's latents, or events, have for the exchange. */
void lk_joint_clock_spans(lk_joint_clock clock, const lk_joint_clip *c, int stream, lk_span *out);
/* Of events that are attended, in their order. */
void lk_joint_clock_events(lk_joint_clock clock, const lk_joint_clip *c, lk_span *out);

/* A piece of a path is laid only. */
static inline int lk_joint_attended(const lk_joint_event *e)
{
    return e->place.ends < 2;
}

/* Which clips go without text, without its script alone, without the exchange, or without events
 * laid on the picture, [batch] each; NULL: none.  Streams see each other `late` flicks later than
 * they are. */
typedef struct lk_joint_without {
    const uint8_t *text, *script, *exchange, *places;
    lk_flick late;
} lk_joint_without;

typedef struct lk_joint_placer lk_joint_placer;
LK_CHECKED lk_status lk_joint_placer_new(lk_joint_placer **p, const lk_joint *m,
                                         const lk_joint_sizes *s);
void lk_joint_placer_free(lk_joint_placer **p);
/* Write everything about times, texts and what is held.  `step` addresses random_shift's numbers.
 */
LK_CHECKED lk_status lk_joint_place(lk_joint_placer *p, lk_graph *g, const lk_joint_inputs *in,
                                    const lk_joint_clip *clips, const lk_joint_without *without,
                                    uint64_t step);

/* ---- lay.c ---- */

enum { LK_JOINT_GRID = 8 }; /* points a side */

/* Events order[0 .. n) of a clip into what [latents, tokens, 2, events] and where [latents, tokens,
 * 2, LK_JOINT_GRID^2]. */
void lk_joint_lay(const lk_joint *m, const lk_joint_sizes *positions, const lk_joint_clip *c,
                  const int32_t *order, int n_events, float *what, float *where);

/* ---- flow.c ---- */

LK_CHECKED lk_status lk_joint_check_sizes(const lk_joint *m, const lk_joint_sizes *s);
LK_CHECKED lk_status lk_joint_check_clips(const lk_joint *m, const lk_joint_sizes *s,
                                          const lk_joint_clip *clips);

/* Levels of a clip in training. */
void lk_joint_draw_levels(const lk_joint_config *c, uint64_t seed, int64_t clip, double level[2]);
/* Levels of both streams at time u of sampling, 1: noise, 0: clean. */
void lk_joint_levels_at(const lk_joint_config *c, double u, double level[2]);
/* The same at the time where stream s has this level. */
void lk_joint_levels_where(const lk_joint_config *c, int s, double t, double level[2]);
/* Where the noise of one stream of one clip is drawn from: a token's own, and what it has in common
 * with the tokens of its position in the other latents, `each` to a latent. */
typedef struct lk_joint_noise {
    uint64_t seed;
    uint64_t own, own_from;       /* stream of random numbers, and the first of them */
    uint64_t common, common_from; /* likewise */
    int64_t each;
    int channels;
    double share; /* common_noise; 0 for a sound */
} lk_joint_noise;
/* e [channels] of a token. */
void lk_joint_draw_noise(const lk_joint_noise *n, int64_t token, float *e);
/* t' = s t / (1 + (s - 1) t). */
double lk_joint_shift(double t, double shift);

typedef struct lk_joint_loss {
    lk_joint_inputs in;
    lk_var target[2]; /* f32 [B, N, C]: noise - x */
    lk_var share[2];  /* f32 [B, N, 1]: of every token in the mean; 0 where it is held or absent */
    lk_var loss;
} lk_joint_loss;
void lk_joint_loss_graph(lk_graph *g, const lk_joint *m, const lk_joint_sizes *s, double change,
                         lk_joint_loss *loss);
extern const char *const lk_joint_loss_names[];
enum { LK_JOINT_LOSSES = 3 };

/* x - mean over deviation, and back, of n tokens. */
void lk_joint_normalise(const float *mean, const float *deviation, int channels, int64_t n,
                        const float *x, float *y);
void lk_joint_denormalise(const float *mean, const float *deviation, int channels, int64_t n,
                          const float *x, float *y);

/* ---- batch.c ---- */

/* Clips on their way into the graph of a loss: fill clips, no_text, no_exchange and what is held,
 * mix each with its noise, write them all. */
typedef struct lk_joint_batch {
    const lk_joint *m;
    lk_joint_sizes sizes;
    lk_graph *graph;
    lk_joint_loss loss;
    lk_joint_placer *placer;
    lk_joint_clip *clips;                                   /* [batch] */
    uint8_t *no_text, *no_script, *no_exchange, *no_places; /* [batch] */
    uint8_t *held[2];                                       /* [batch, latents] */
    int moving[2];                      /* clips that have a part in the loss, once written */
    float *mean[2], *deviation[2];      /* [channels] */
    float *x[2], *target[2], *share[2]; /* of all tokens */
    float *weight[2];                   /* [batch, positions of a latent] */
    float *level[2];                    /* [batch] */
    double motion;                      /* 0 .. 1, see batch.c; 0 from lk_joint_batch_open */
} lk_joint_batch;

/* Scales are the model's at this moment.  train: with gradients. */
LK_CHECKED lk_status lk_joint_batch_open(lk_joint_batch *b, const lk_joint *m,
                                         const lk_joint_sizes *sizes, const char *compute,
                                         int train, double change, uint64_t seed);
void lk_joint_batch_clear(lk_joint_batch *b);
/* Of clip i, [latents] of a stream. */
uint8_t *lk_joint_batch_held(const lk_joint_batch *b, int i, int stream);
/* Seed and number address the noise of clip i; a stream at level 0 becomes held. */
void lk_joint_batch_mix(lk_joint_batch *b, int i, uint64_t seed, int64_t number,
                        const double level[2]);
LK_CHECKED lk_status lk_joint_batch_write(lk_joint_batch *b, uint64_t step);

/* ---- validate.c ---- */

typedef struct lk_joint_onlooker lk_joint_onlooker;
/* The configuration must outlive it. */
LK_CHECKED lk_status lk_joint_onlooker_new(lk_joint_onlooker **o, const lk_joint_train_config *c);
void lk_joint_onlooker_free(lk_joint_onlooker **o);
/* How many there are. */
int lk_joint_watches(lk_joint_onlooker *o, lk_train_watch watches[2]);

static inline int lk_joint_channels(const lk_joint *m, int stream)
{
    return stream ? m->config.audio_channels : m->config.video_channels;
}

#endif /* LK_JOINT_IMPL_H */
