/* libraries.h - NVIDIA's libraries, opened when they are first needed.
 *
 * They are neither small nor everywhere, so nothing links to them: products use cuBLASLt where
 * dlopen finds it, convolutions cuDNN, and our own kernels do the rest.
 */
#ifndef LK_CUDA_LIBRARIES_H
#define LK_CUDA_LIBRARIES_H

#include "kernels/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* LK_OK for cudaSuccess; else a sentence that names `what`.  error: a cudaError_t. */
LK_CHECKED lk_status lk_cuda_check(int error, const char *what);

/* Open a shared library by its name or, failing that, in the folder of the toolkit this was built
 * with; NULL when it is in neither. */
void *lk_cuda_open_library(const char *name);

/* hopper.h's: a description of bf16 [planes, rows, d] for copies of boxes, of the driver's type
 * CUtensorMap; and the multiprocessors of a device of compute capability 9.0, 0 for another. */
LK_CHECKED lk_status lk_cuda_tensor_map(void *map, const void *base, int64_t d, int64_t rows,
                                        int64_t planes, int box_rows);
int lk_cuda_hopper_places(void);

/* May libraries be used? */
int lk_cuda_libraries_wanted(void);

/* "cuBLASLt 13.0.2", or why it is not used; valid until the next call. */
const char *lk_cuda_blas_text(void);
const char *lk_cuda_dnn_text(void);

/* Every function we use is in the library that is installed; for tests, needs no GPU.  LK_E_ENV
 * when the library is absent. */
LK_CHECKED lk_status lk_cuda_blas_symbols(void);
LK_CHECKED lk_status lk_cuda_dnn_symbols(void);
/* cuDNN accepts the description of this convolution; as far as one comes without a GPU. */
LK_CHECKED lk_status lk_cuda_dnn_try(const lk_call *c);

#ifdef __cplusplus
}
#endif

#endif /* LK_CUDA_LIBRARIES_H */
