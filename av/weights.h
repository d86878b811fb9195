/* weights.h - where a set of weights lies: a folder with joint.safetensors, vae.safetensors and
 * codec.safetensors, made for each other.
 *
 * Threads      callable from any thread.
 */
#ifndef LK_AV_WEIGHTS_H
#define LK_AV_WEIGHTS_H

#include "kernels/status.h"

/* The files, "joint", "vae" and "codec" in that order: those that are NULL become those of the
 * folder, whose names found[] owns; lk_free each, also after a failure.  folder NULL: the one that
 * LOCKSTEP_WEIGHTS names, else weights/worlds-small here or beside the folder of the program.
 * LK_E_IO when a file is not there. */
LK_CHECKED lk_status lk_weights_complete(const char *folder, const char *file[3], char *found[3]);

#endif /* LK_AV_WEIGHTS_H */
