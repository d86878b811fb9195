/* bench.h - how fast the operations are, beside what the machine can do in the same run.
 *
 * Threads      one caller at a time; uses as many threads as lk_threads() says.
 */
#ifndef LK_KERNELS_BENCH_H
#define LK_KERNELS_BENCH_H

#include "kernels/graph.h"
#include "kernels/tensor.h"

/* Measured on this machine, all threads together. */
typedef struct lk_bench_peaks {
    double f32_gflops;  /* a loop of fused multiply-adds in registers */
    double bf16_gflops; /* of bf16 dot products; 0 where the processor has none */
    double copy_gbps;   /* bytes read plus bytes written of a copy of 64 MiB */
} lk_bench_peaks;
lk_bench_peaks lk_bench_measure_peaks(void);

/* The peaks of a device, through its own operations: products of 4096 x 4096 in f32 and of
 * 8192 x 8192 in bf16, and scaling 512 MiB. */
LK_CHECKED lk_status lk_bench_device_peaks(const lk_backend *backend, lk_bench_peaks *peaks);

typedef struct lk_bench_row {
    const char *op, *shape; /* what ran; valid during the callback */
    lk_dtype dtype;
    double seconds;      /* median of one run */
    double gflops, gbps; /* whichever applies, else 0 */
    double share;        /* of the matching peak */
} lk_bench_row;

/* On a backend (NULL: the CPU's), every case whose operation's name contains `only` (NULL: all),
 * one callback each; `only` also takes "NAME:PART", the cases with PART in their shape. */
LK_CHECKED lk_status lk_bench_ops(const lk_backend *backend, const char *only,
                                  const lk_bench_peaks *peaks,
                                  void (*row)(void *user, const lk_bench_row *r), void *user);

/* Attention over time, forward and backward, full and in windows; `only` also takes
 * "attention:PART", the cases with PART in their shape. */
LK_CHECKED lk_status lk_bench_attention(const lk_backend *backend, const char *only,
                                        const lk_bench_peaks *peaks,
                                        void (*row)(void *user, const lk_bench_row *r), void *user);

#endif /* LK_KERNELS_BENCH_H */
