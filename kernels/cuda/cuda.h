/* cuda.h - the CUDA backend: how it is had, and how a kernel presents itself to it.
 *
 * The backend is one device and one stream.  A compiled graph is captured at its first run and is
 * one graph launch from then on; lk_graph_read waits for it.  Results are deterministic on one
 * kind of device: no atomics on floats, sums in fixed order, library algorithms chosen once.
 *
 * Every kernel of kernels/cuda (the .cu files) is compiled twice: for the GPU, and, with
 * LK_CUDA_EMULATED, by the C++ compiler for the emulator in emu/, under names of its own.
 *
 * Threads      one caller at a time.
 */
#ifndef LK_CUDA_H
#define LK_CUDA_H

#include "kernels/graph_impl.h"
#include "kernels/optim_impl.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The backend of device LK_CUDA_DEVICE (environment; 0 unless set).  LK_E_ENV when this build has
 * no CUDA or the machine has no usable device, with the reason in one sentence. */
LK_CHECKED lk_status lk_backend_cuda(const lk_backend **out);

/* "cuda: NVIDIA H200", once lk_backend_cuda has given the backend; else "cuda".  Static. */
const char *lk_cuda_device(void);

/* What this build and machine have, one line each ("cuBLASLt 13.0 ..."); for `doctor`. */
void lk_cuda_describe(void (*line)(void *user, const char *text), void *user);

/* Our own kernels on the CPU, through the emulator; linked into tests only. */
const lk_backend *lk_backend_emulated(void);
/* Is there a kernel of ours for this operation? */
int lk_backend_emulated_has(lk_op op);
/* Its threads and blocks run backwards. */
void lk_emu_reverse(int reverse);

/* Graphs prepared from here on use cuBLASLt and cuDNN where they are there (the default), or our
 * own kernels alone (tests). */
void lk_cuda_use_libraries(int use);

/* Rows a block of attention takes from here on: 16, 32, a multiple of 64, or 0 for a choice by size
 * (tests). */
void lk_cuda_attend_height(int height);
void lk_emu_attend_height(int height);
/* Blocks that share a tile of keys for its gradients, in graphs prepared from here on; 0: a choice
 * by size (tests). */
void lk_cuda_attend_parts(int n);
void lk_emu_attend_parts(int n);
/* Attention by the kernels for sm_90: -1 never (the emulator's default), 0 where they pay (the
 * GPU's), 1 wherever they fit and the plan is wide, 2 wherever they fit (tests). */
void lk_cuda_attend_hopper_use(int use);
void lk_emu_attend_hopper_use(int use);

/* ---- for kernels/cuda ---- */

#ifdef LK_CUDA_EMULATED
#define LK_CUDA(name) lk_emu_##name
#else
#define LK_CUDA(name) lk_cuda_##name
#endif

typedef struct CUstream_st *lk_cuda_stream; /* the runtime's cudaStream_t */

typedef struct lk_cuda_kernel {
    /* Bytes of work space and, in c->state, whatever makes `launch` quick; c->step is on the
     * device already.  NULL: nothing. */
    lk_status (*prepare)(lk_call *c, size_t *work_bytes);
    void (*release)(lk_call *c); /* of c->state, which may be NULL */
    /* Enqueue; must not wait, allocate or read the device.  NULL: an alias, nothing to do. */
    lk_status (*launch)(const lk_call *c, lk_cuda_stream stream);
} lk_cuda_kernel;

/* One kernel an operation. */
#define LK_OP(upper, lower, cpu) extern const lk_cuda_kernel LK_CUDA(lower);
#include "kernels/ops.def"
#undef LK_OP
const lk_cuda_kernel *LK_CUDA(find)(lk_op op); /* NULL: there is none */
/* Fails when there is none. */
LK_CHECKED lk_status LK_CUDA(need)(lk_op op);

/* Products and convolutions of our own, where no library does them. */
extern const lk_cuda_kernel LK_CUDA(own_matmul), LK_CUDA(own_conv), LK_CUDA(own_conv_dx),
    LK_CUDA(own_conv_dw);

/* y = f(y) for float tensors: activations behind products. */
LK_CHECKED lk_status LK_CUDA(unary_in_place)(const lk_tensor *y, lk_unary_kind kind, double a,
                                             lk_cuda_stream stream);
/* y += bias along the last dimension. */
LK_CHECKED lk_status LK_CUDA(add_bias)(const lk_tensor *y, const float *bias,
                                       lk_cuda_stream stream);
/* *first = index of the first NaN or Inf of a float tensor, -1 if there is none; on the device. */
LK_CHECKED lk_status LK_CUDA(first_bad)(const lk_tensor *t, int64_t *first, lk_cuda_stream stream);
/* The optimiser's steps (optim_impl.h); pieces and sums are on the device. */
LK_CHECKED lk_status LK_CUDA(sum_squares)(const lk_optim_piece *pieces, int64_t n, double *sums,
                                          lk_cuda_stream stream);
LK_CHECKED lk_status LK_CUDA(adamw)(const lk_optim_piece *pieces, int64_t n,
                                    const lk_adamw_factors *f, lk_cuda_stream stream);
/* Did the launch just made go through? */
LK_CHECKED lk_status lk_cuda_launched(const char *kernel);
/* *at = step, on the device. */
LK_CHECKED lk_status LK_CUDA(set_step)(uint64_t *at, uint64_t step, lk_cuda_stream stream);

#ifdef __cplusplus
}
#endif

#endif /* LK_CUDA_H */
