/* generate.h - a clip out of words, and of what is given of it: the joint model's latents through
 * the tokenizers' decoders.
 *
 * Every frame is written at its own time and the sound begins with the picture; the latents go
 * through "OUT.latents.h5", which is removed in the end.  Beside the clip lies a JSON file with
 * everything that decides about it.
 *
 * Given        goes through its tokenizer and is held: those latents are in the clip to the bit.  A
 *              picture or sound that is given whole is in the clip as it was, pictures scaled to
 *              the size and sound at the codec's rate; other parts are the tokenizer's copy.
 * Windows      a clip that is longer than the model was trained for is made in windows: each holds
 *              the end of what is there and makes what follows, all on the whole clip's times.
 * Script       a text file with an event a line, "0.50 s bounce metal" or "1.20-1.62 s say 'ba'";
 *              times are seconds, empty lines and lines that start with '#' are passed over.
 * Errors       of joint.h, tokenize.h and media.h; LK_E_ARG for tokenizers whose latents are not
 *              the model's, for times outside the clip, and when nothing is left to make;
 *              LK_E_FORMAT for a file that lacks the sound or picture it should give.
 * Threads      one call per thread.
 */
#ifndef LK_GENERATE_H
#define LK_GENERATE_H

#include "av/joint/joint.h"

typedef struct lk_generate_options {
    const char *model, *vae, *codec; /* files with weights */
    const lk_backend *backend;       /* NULL: the CPU's */
    const char *prompt, *script;     /* text, and a file; either may be NULL */
    const char *embeddings; /* where the prompt stands as vectors, for a model that wants those */
    /* What is given, media files or NULL; one of the last four, and image with audio or alone.  The
     * last four may be latents instead that lk_generate or lk_encode wrote for these tokenizers
     * and this size, in a file that ends in .h5. */
    const char *image;  /* its first frame is the clip's */
    const char *audio;  /* its sound; a picture is made for it, as long as it is */
    const char *video;  /* its picture; a sound is made for it */
    const char *extend; /* both, and more is made behind them */
    const char *retake; /* both, and a range of time is made again */
    double from, to;    /* of retake: s on its clock; to 0: to the end.  Latents that overlap it */
    const char *only;   /* of retake: "both", "audio", "video": what is made again */
    double window;      /* s that are made at once; 0: the whole clip */
    double context;     /* s of a window that are there before; 0: half of it */
    double seconds;     /* of the whole clip, 0.04 .. 600, unless what is given says it */
    lk_rational fps;    /* unless the given picture has one */
    int width, height;
    lk_joint_sampling sampling;
    const char *latents;      /* HDF5 file to keep the latents in (latents.h), or NULL */
    const char *out;          /* media file; the other one has its name with .json for the ending */
    const volatile int *stop; /* may be NULL */
} lk_generate_options;

LK_CHECKED lk_status lk_generate(const lk_generate_options *o);

/* Events of a script, sorted by start, all within [0, end); *events and *texts by lk_free. */
LK_CHECKED lk_status lk_script_parse(const char *text, const char *name, lk_flick end,
                                     lk_joint_event **events, int *n_events, char **texts);

#endif /* LK_GENERATE_H */
