/* dnn.h - convolutions through oneDNN, version 2 or 3, behind one door.
 *
 * Tested with 2.6.3 and 3.2.0 (test_ops passes on both).
 *
 * An lk_dnn is one prepared computation y = f(a, b, bias) for one thread: how oneDNN cuts a sum
 * depends on the number of threads it has, and results here must not (parts.h shares the work out).
 * Operands are in the layouts of ops.h.  Where oneDNN is faster on a layout of its own for b, b is
 * packed into it first, once for all computations that agree on it; where it wants its own for y,
 * the reorder is part of the run.  Nothing of ours is allocated by a run.
 *
 * Threads      new and free from one thread; one object runs on one thread at a time, different
 *              objects on different threads as they like.
 */
#ifndef LK_CPU_DNN_H
#define LK_CPU_DNN_H

#include "kernels/tensor.h"

typedef struct lk_dnn lk_dnn;

typedef enum lk_dnn_conv_kind { LK_DNN_CONV, LK_DNN_CONV_DX, LK_DNN_CONV_DW } lk_dnn_conv_kind;

typedef struct lk_dnn_conv {
    lk_dnn_conv_kind kind; /* y = conv(a = x, b = w); dx(a = dy, b = w); dw(a = x, b = dy) */
    int64_t n_batch, in_ch, out_ch, groups;
    int64_t in[3], out[3], taps[3], stride[3], dilation[3], lo[3], hi[3];
    lk_dtype dtype; /* of x, w, y; dw is f32 */
    int has_bias;   /* f32 [out_ch]; LK_DNN_CONV only */
} lk_dnn_conv;

LK_CHECKED lk_status lk_dnn_new_conv(lk_dnn **out, const lk_dnn_conv *c);

/* b in the layout the computation wants: its bytes (0: as it is), whether two agree, and the
 * packing, which uses all threads. */
size_t lk_dnn_pack_bytes(const lk_dnn *d);
int lk_dnn_same_pack(const lk_dnn *d, const lk_dnn *e);
LK_CHECKED lk_status lk_dnn_pack(lk_dnn *d, const void *b, void *packed);

/* Scratch bytes of a run; b is the packed one where there is one. */
size_t lk_dnn_work_bytes(const lk_dnn *d);
LK_CHECKED lk_status lk_dnn_run(lk_dnn *d, const void *a, const void *b, const void *bias, void *y,
                                void *work);
void lk_dnn_free(lk_dnn **d);

/* "2.6.3" or "" when built without. */
const char *lk_dnn_version(void);

#endif /* LK_CPU_DNN_H */
