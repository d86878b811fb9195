/* bench_impl.h - what the benchmarks share. */
#ifndef LK_BENCH_IMPL_H
#define LK_BENCH_IMPL_H

#include "kernels/bench/bench.h"
#include "kernels/graph_impl.h"

double lk_bench_now_s(void);

/* The middle of n numbers, n >= 1, which are sorted on the way. */
double lk_bench_median(double *x, int n);

/* Everything stays where it is, so that each node can run again. */
void lk_bench_keep_all(lk_graph *g);

/* Random numbers in [-0.5, 0.5) in all float tensors of a compiled graph. */
LK_CHECKED lk_status lk_bench_fill(lk_graph *g);

/* Median seconds of one call; a call shorter than a millisecond is repeated inside the clock. */
LK_CHECKED lk_status lk_bench_time_call(lk_graph *g, lk_call *c, double *seconds);

#endif /* LK_BENCH_IMPL_H */
