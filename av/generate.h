/* generate.h - a clip out of words: the joint model's latents through the tokenizers' decoders.
 *
 * A script is a text file with an event a line, "0.50 s bounce metal" or "1.20-1.62 s say 'ba'";
 * times are seconds, empty lines and lines that start with '#' are passed over.
 *
 * Every frame is written at its own time and the sound begins at 0; the latents go through
 * "OUT.latents.h5", which is removed in the end.  Beside the clip lies a JSON file with everything
 * that decides about it.
 *
 * Errors       of joint.h, tokenize.h and media.h; LK_E_ARG for tokenizers whose latents are not
 *              the model's, and for script times outside the clip.
 * Threads      one call per thread.
 */
#ifndef LK_GENERATE_H
#define LK_GENERATE_H

#include "av/joint/joint.h"

typedef struct lk_generate_options {
    const char *model, *vae, *codec; /* files with weights */
    const char *prompt, *script;     /* text, and a file; either may be NULL */
    /* A media file whose sound, or picture, is given: the other one is made for it, as long as it
     * is.  What is given goes through its tokenizer.  One of the two, or NULL. */
    const char *audio, *video;
    double seconds;  /* 0.04 .. 600 */
    lk_rational fps; /* unless the picture is given */
    int width, height;
    lk_joint_sampling sampling;
    const char *out;          /* media file; the other one has its name with .json for the ending */
    const volatile int *stop; /* may be NULL */
} lk_generate_options;

LK_CHECKED lk_status lk_generate(const lk_generate_options *o);

/* Events of a script, sorted by start, all within [0, end); *events and *texts by lk_free. */
LK_CHECKED lk_status lk_script_parse(const char *text, const char *name, lk_flick end,
                                     lk_joint_event **events, int *n_events, char **texts);

#endif /* LK_GENERATE_H */
