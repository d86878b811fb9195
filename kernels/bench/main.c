/* main.c - bench_kernels: the benchmark of kernels/ alone, for builds without the rest. */
#include "kernels/bench/bench.h"

#include "kernels/device.h"
#include "kernels/thread.h"

#include <stdio.h>
#include <string.h>

static void print_row(void *user, const lk_bench_row *r)
{
    (void)user;
    printf("%-14s %-30s %-5s %9.3f ms %9.1f %s %5.0f %%\n", r->op, r->shape,
           lk_dtype_name(r->dtype), r->seconds * 1e3, r->gflops > 0 ? r->gflops : r->gbps,
           r->gflops > 0 ? "GFLOP/s" : "GB/s   ", 100 * r->share);
    fflush(stdout);
}

/* bench_kernels [--backend auto|cpu|cuda] [PART OF A NAME] */
int main(int argc, char **argv)
{
    const int chosen = argc > 2 && strcmp(argv[1], "--backend") == 0;
    const char *name = chosen ? argv[2] : "cpu";
    const char *only = chosen ? (argc > 3 ? argv[3] : NULL) : argc > 1 ? argv[1] : NULL;
    const lk_backend *backend = NULL;
    lk_bench_peaks p = {0};
    lk_status st = LK_OK;
    LK_TRY(lk_backend_named(name, &backend));
    if (backend == lk_backend_cpu())
        p = lk_bench_measure_peaks();
    else
        LK_TRY(lk_bench_device_peaks(backend, &p));
    printf("%s, %d threads; peaks: %.0f GFLOP/s f32, %.0f bf16, copy %.1f GB/s\n",
           lk_backend_device(backend), lk_threads(), p.f32_gflops, p.bf16_gflops, p.copy_gbps);
    LK_TRY(lk_bench_ops(backend, only, &p, print_row, NULL));
    LK_TRY(lk_bench_attention(backend, only, &p, print_row, NULL));
done:
    if (st != LK_OK)
        fprintf(stderr, "bench_kernels: %s\n", lk_error_text());
    return st == LK_OK ? 0 : st == LK_E_ARG ? 2 : st == LK_E_ENV ? 5 : 6;
}
