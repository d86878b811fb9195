/* weights.h - where a set of weights lies: a folder with joint.safetensors, vae.safetensors and
 * codec.safetensors, made for each other.
 *
 * Threads      callable from any thread.
 */
#ifndef LK_AV_WEIGHTS_H
#define LK_AV_WEIGHTS_H

#include "kernels/option.h"
#include "kernels/status.h"

/* Rows of a command's options for fields weights, model, vae, codec and embeddings. */
#define LK_OPT_WEIGHTS(settings)                                                                   \
    LK_OPT_TEXT(settings, weights, NULL,                                                           \
                "folder with joint, vae and codec.safetensors; those that come along if not "      \
                "given"),                                                                          \
        LK_OPT_TEXT(settings, model, NULL, "weights of the joint model instead of the folder's"),  \
        LK_OPT_TEXT(settings, vae, NULL, "weights of the video tokenizer likewise"),               \
        LK_OPT_TEXT(settings, codec, NULL, "weights of the audio codec likewise"),                 \
        LK_OPT_TEXT(settings, embeddings, NULL,                                                    \
                    "prompts as vectors, for a model that wants those")

/* The files, "joint", "vae" and "codec" in that order: those that are NULL become those of the
 * folder, whose names found[] owns; lk_free each, also after a failure.  folder NULL: the one that
 * LOCKSTEP_WEIGHTS names, else weights/worlds-small here or beside the folder of the program.
 * LK_E_IO when a file is not there. */
LK_CHECKED lk_status lk_weights_complete(const char *folder, const char *file[3], char *found[3]);

#endif /* LK_AV_WEIGHTS_H */
