/* hopper.h - what sm_90 does asynchronously: copies of tiles (TMA), phases to wait for them
 * (mbarrier), products of a warpgroup (wgmma); for CUDA and for its emulator.
 *
 * Shared memory is one piece of bytes that kernels divide by hand; an address is 32 bits.
 *
 *   phase     a word that counts arrivals, and bytes of copies still to come; when none is missing
 *             the phase ends and the next begins with the same number.  lk_phase_wait(word, p)
 *             returns when a phase of parity p has ended: the first phase has parity 0, and a wait
 *             for parity 1 before any has ended returns at once.
 *   copy      a box of rows and 64 columns of a tensor map, laid out by hopper_layout.h, whose rows
 *             that are not there arrive as zeros and count; or bytes as they are.
 *   product   d[64][N] (+)= a b over 16 columns, issued by the 128 threads of a warpgroup, bf16
 *             with f32 sums; neither registers nor tiles it uses may be touched before the wait.
 *   turn      named barriers: lk_turn_wait waits for `threads` threads to come or give.
 *
 * Source       PTX ISA 9.0: mbarrier, cp.async.bulk, wgmma, setmaxnreg, bar.
 */
#ifndef LK_CUDA_HOPPER_H
#define LK_CUDA_HOPPER_H

#include "kernels/cuda/hopper_layout.h"
#include "kernels/cuda/mma.h"

/* Kernels for it are taken: -1 never, 0 where they pay, 1 if the plan is wide, 2 always. */
#ifdef __CUDACC__
#define LK_HOPPER_USE 0
#else
#define LK_HOPPER_USE (-1)
#endif

#ifdef __CUDACC__
#include <cuda.h>

typedef CUtensorMap lk_tensor_map;

/* The block's shared memory, aligned for panels. */
LK_DEVICE uint32_t lk_shared_start()
{
    extern __shared__ char lk_shared_bytes[];
    return (lk_shared_address(lk_shared_bytes) + LK_PANEL_ALIGN - 1) / LK_PANEL_ALIGN *
           LK_PANEL_ALIGN;
}

LK_DEVICE void lk_phase_init(uint32_t word, unsigned arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(word), "r"(arrivals) : "memory");
}

/* Behind the inits of one thread, before the block's barrier. */
LK_DEVICE void lk_phase_inits_done()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

LK_DEVICE void lk_phase_arrive(uint32_t word)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(word) : "memory");
}

/* Arrive, and announce the bytes of the copies that this phase waits for. */
LK_DEVICE void lk_phase_expect(uint32_t word, unsigned bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(word), "r"(bytes)
                 : "memory");
}

LK_DEVICE void lk_phase_wait(uint32_t word, unsigned parity)
{
    unsigned ended;
    do
        asm volatile("{\n.reg .pred p;\n"
                     "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                     "selp.u32 %0, 1, 0, p;\n}"
                     : "=r"(ended)
                     : "r"(word), "r"(parity)
                     : "memory");
    while (!ended);
}

LK_DEVICE void lk_map_fetch(const lk_tensor_map *map)
{
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

/* Columns col .. col + 63 of the map's box of rows from `row` on, in plane `plane`. */
LK_DEVICE void lk_map_copy(uint32_t to, const lk_tensor_map *map, int col, int row, int plane,
                           uint32_t word)
{
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3, %4}], [%5];" ::"r"(to),
                 "l"(map), "r"(col), "r"(row), "r"(plane), "r"(word)
                 : "memory");
}

/* Bytes, a multiple of 16, between places aligned to 16. */
LK_DEVICE void lk_bytes_copy(uint32_t to, const void *from, unsigned bytes, uint32_t word)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], "
                 "%2, [%3];" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(word)
                 : "memory");
}

/* Four floats that a copy brought. */
LK_DEVICE float4 lk_shared_four(uint32_t address)
{
    float4 x;
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
                 : "r"(address)
                 : "memory");
    return x;
}

template <int N> LK_DEVICE void lk_registers_keep()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N> LK_DEVICE void lk_registers_take()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}

LK_DEVICE void lk_turn_wait(int id, int threads)
{
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
LK_DEVICE void lk_turn_give(int id, int threads)
{
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/* Before a run of products: registers written so far are theirs. */
LK_DEVICE void lk_product_begin()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
/* Products issued since the last call are one group. */
LK_DEVICE void lk_product_group()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

#define LK_SUMS_4(d, i) "+f"((d)[i][0]), "+f"((d)[i][1]), "+f"((d)[i][2]), "+f"((d)[i][3])
#define LK_SUMS_16(d, i)                                                                           \
    LK_SUMS_4(d, i), LK_SUMS_4(d, (i) + 1), LK_SUMS_4(d, (i) + 2), LK_SUMS_4(d, (i) + 3)
#define LK_SUMS_32(d, i) LK_SUMS_16(d, i), LK_SUMS_16(d, (i) + 4)
#define LK_SUMS_64(d)    LK_SUMS_32(d, 0), LK_SUMS_32(d, 8)
#define LK_NAMES_32                                                                                \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "   \
    "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define LK_NAMES_64                                                                                \
    LK_NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, "    \
                "%47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, " \
                "%63"

/* Wait for all groups but the last LATER. */
template <int LATER> LK_DEVICE void lk_product_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LATER) : "memory");
}

/* Behind a wait: d is read no earlier than here. */
template <int N> LK_DEVICE void lk_product_done(float (*d)[4])
{
    if constexpr (N == 64)
        asm volatile("" : LK_SUMS_32(d, 0)::"memory");
    else
        asm volatile("" : LK_SUMS_64(d)::"memory");
}

/* Both operands of rows (lk_operand_of_rows); keep 0: d = a b. */
template <int N> LK_DEVICE void lk_product_shared(float (*d)[4], uint64_t a, uint64_t b, int keep)
{
    if constexpr (N == 64)
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" LK_NAMES_32 "}, "
                     "%32, %33, p, 1, 1, 0, 0;\n}"
                     : LK_SUMS_32(d, 0)
                     : "l"(a), "l"(b), "r"(keep));
    else
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" LK_NAMES_64 "}, "
                     "%64, %65, p, 1, 1, 0, 0;\n}"
                     : LK_SUMS_64(d)
                     : "l"(a), "l"(b), "r"(keep));
}

/* d += a b: a in registers (a's fragment of mma.h in each warp), b of columns. */
template <int N> LK_DEVICE void lk_product_gather(float (*d)[4], const unsigned *a, uint64_t b)
{
    if constexpr (N == 64)
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 1, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" LK_NAMES_32 "}, "
                     "{%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}"
                     : LK_SUMS_32(d, 0)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
    else
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 1, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" LK_NAMES_64 "}, "
                     "{%64, %65, %66, %67}, %68, p, 1, 1, 1;\n}"
                     : LK_SUMS_64(d)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

#else
#include "kernels/cuda/emu/hopper.h"
#endif

/* A ring of stages: the one in turn, and the parity of the phase that fills it. */
struct lk_stage {
    int at;
    unsigned parity;
};
template <int STAGES> LK_DEVICE void lk_stage_next(lk_stage *s)
{
    if (++s->at == STAGES) {
        s->at = 0;
        s->parity ^= 1;
    }
}

extern "C" {
/* map (an lk_tensor_map) of bf16 [planes, rows, d], copied in boxes of box_rows rows and 64
 * columns. */
LK_CHECKED lk_status LK_CUDA(tensor_map)(void *map, const void *base, int64_t d, int64_t rows,
                                         int64_t planes, int box_rows);
/* Multiprocessors of a device whose kernels may use all this; 0: it is another. */
int LK_CUDA(hopper_places)(void);
}

#endif /* LK_CUDA_HOPPER_H */
