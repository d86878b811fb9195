/* device.h - the device that somebody asked for, by name.
 *
 *     const lk_backend *backend;
 *     LK_TRY(lk_backend_named(settings.device, &backend));
 *
 * Threads      one caller at a time.
 */
#ifndef LK_DEVICE_H
#define LK_DEVICE_H

#include "kernels/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LK_DEVICE_NAMES "auto|cpu|cuda"

/* The row of a command's options for its field `device`; include option.h. */
#define LK_OPT_DEVICE(settings)                                                                    \
    LK_OPT_CHOICE(settings, device, "auto", LK_DEVICE_NAMES,                                       \
                  "what computes; auto: a GPU where one works, else the CPU")

/* "cpu"; "cuda": the GPU, LK_E_ENV with the reason where none works; "auto" or NULL: the GPU where
 * one works, else the CPU.  LK_E_ARG for another name. */
LK_CHECKED lk_status lk_backend_named(const char *name, const lk_backend **out);

/* The name of a backend (NULL: the CPU's), and of its device where it has one: "cpu",
 * "cuda: NVIDIA H200".  Static. */
const char *lk_backend_device(const lk_backend *backend);

#ifdef __cplusplus
}
#endif

#endif /* LK_DEVICE_H */
