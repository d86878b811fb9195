/* npy.h - NumPy's file of one array: writing.  Reading is part of weights.h.
 *
 * Errors       LK_E_UNSUPPORTED for bf16, which the format does not have.
 * Threads      pure.
 * Source       numpy.lib.format: "Format Version 1.0".
 */
#ifndef LK_NPY_H
#define LK_NPY_H

#include "kernels/tensor.h"

/* The file's bytes before the numbers, at most LK_NPY_HEADER; the numbers follow as they are.
 * *n is a multiple of 64. */
#define LK_NPY_HEADER 256
LK_CHECKED lk_status lk_npy_header(const lk_tensor *tensor, char *bytes, size_t *n);

#endif /* LK_NPY_H */
