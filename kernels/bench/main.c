/* main.c - bench_kernels: the benchmark of kernels/ alone, for builds without the rest. */
#include "kernels/bench/bench.h"

#include "kernels/thread.h"

#include <stdio.h>

static void print_row(void *user, const lk_bench_row *r)
{
    (void)user;
    printf("%-14s %-30s %-5s %9.3f ms %9.1f %s %5.0f %%\n", r->op, r->shape,
           lk_dtype_name(r->dtype), r->seconds * 1e3, r->gflops > 0 ? r->gflops : r->gbps,
           r->gflops > 0 ? "GFLOP/s" : "GB/s   ", 100 * r->share);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const lk_bench_peaks p = lk_bench_measure_peaks();
    const char *only = argc > 1 ? argv[1] : NULL;
    printf("%d threads; peaks: %.0f GFLOP/s f32, %.0f bf16, copy %.1f GB/s\n", lk_threads(),
           p.f32_gflops, p.bf16_gflops, p.copy_gbps);
    if (lk_bench_ops(only, &p, print_row, NULL) != LK_OK ||
        lk_bench_attention(only, &p, print_row, NULL) != LK_OK) {
        fprintf(stderr, "bench_kernels: %s\n", lk_error_text());
        return 6;
    }
    return 0;
}
