/* emu.h - CUDA kernels on the CPU, for tests: the language extensions our kernels use, in C++.
 *
 * A .cu file includes kernels/cuda/device.h, which includes this instead of CUDA's headers when a
 * plain C++ compiler reads it.  A launch runs the blocks one after another; the threads of a block
 * are fibers that run until they meet a barrier or a warp function, so a kernel sees every
 * interleaving a barrier allows to matter and the debugger sees plain code.
 *
 *   __syncthreads     all threads of the block, at one place in the source; a thread that has
 *                     ended or waits elsewhere is an error
 *   __shfl_xor_sync, __ballot_sync, __syncwarp   rendezvous of the lanes named in the mask, at one
 *                     place
 *   LK_SHARED         arrays whose elements know who touched them last: an index outside, a read
 *                     of what nobody wrote, and an access without a barrier to another thread's
 *                     access in between are errors
 *   vector loads      plain structs; a misaligned one is found by -fsanitize=alignment
 *   order             threads and blocks may run backwards (lk_emu_reverse): a result that changes
 *                     depends on an order CUDA does not promise
 *
 * An error ends the launch with LK_E_INTERNAL and a sentence that names kernel, block and thread.
 * Global memory is the host's: the address sanitizer watches it (emu/backend.c gives each launch
 * buffers of exactly its tensors' sizes).
 *
 * Warp-level matrix products are functions over the 32 lanes' fragments (mma.h); asynchronous
 * copies become visible at the wait; what sm_90 adds is in emu/hopper.h.  Times and memory order
 * between blocks are not modelled.
 *
 * Threads      one launch at a time in a process.
 */
#ifndef LK_EMU_H
#define LK_EMU_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/status.h"
#include "kernels/tensor.h"

#define __global__ static
#define __device__ inline
#define __host__
#define __forceinline__
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned ax = 1, unsigned ay = 1, unsigned az = 1) : x(ax), y(ay), z(az)
    {
    }
};

struct __attribute__((aligned(16), may_alias)) float4 {
    float x, y, z, w;
};
struct __attribute__((aligned(16), may_alias)) uint4 {
    unsigned x, y, z, w;
};

namespace emu
{

/* The thread that runs. */
struct place {
    dim3 thread, block, block_size, grid_size;
    unsigned id, warp, lane;    /* of the thread in its block */
    uint32_t serial, epoch;     /* blocks so far; block barriers so far */
    const uint32_t *warp_epoch; /* [warps] rendezvous so far */
};
extern place now;

/* End the launch; does not return to the kernel. */
[[noreturn]] void fail(const char *format, ...) LK_PRINTF(1, 2);

void block_barrier(const char *site);
/* Give n <= 8 bytes to the other lanes of mask and take those of lane `from`. */
void exchange(unsigned mask, void *value, size_t n, unsigned from, const char *site);

/* Until ready(what) holds; something else that runs must make it so. */
void wait_until(bool (*ready)(const void *what), const void *what, const char *site);

/* Named barriers: come to barrier `id` and wait for, or just count among, n threads. */
void turn_wait(int id, int n, const char *site);
void turn_give(int id, int n);

/* hopper.cpp: let one copy on its way arrive (the last or the first), false: there is none; and
 * what a block must not leave behind, NULL: nothing. */
bool land_copy(bool last);
const char *left_under_way();

/* The lanes of mask for which `yes` holds. */
unsigned ballot(unsigned mask, int yes, const char *site);

LK_CHECKED lk_status launch(const char *name, dim3 grid, dim3 block, void (*thread)(void *),
                            void *context);

template <class F> void call_it(void *f)
{
    (*(F *)f)();
}
template <class F> lk_status launch_it(const char *name, dim3 grid, dim3 block, F f)
{
    return launch(name, grid, block, call_it<F>, &f);
}

inline void warp_barrier(const char *site)
{
    char nothing = 0;
    exchange(~0u, &nothing, 0, 32, site);
}

template <class T> T shuffle(unsigned mask, T value, unsigned from, const char *site)
{
    static_assert(sizeof value <= 8, "");
    exchange(mask, &value, sizeof value, from, site);
    return value;
}

/* One element of shared memory, with the last access to it in the running block. */
template <class T> class cell
{
    T value;
    uint32_t w_serial, w_epoch, w_warp_epoch, w_thread;
    uint32_t r_serial, r_epoch, r_warp_epoch, r_thread;
    bool r_warp, r_block; /* read by several threads of one warp, by several warps */
    bool arriving;        /* an asynchronous copy to here has started and not been waited for */

    static bool warp_apart(uint32_t thread, uint32_t warp_epoch)
    {
        return thread / 32 == now.warp && warp_epoch != now.warp_epoch[now.warp];
    }
    void reading()
    {
        if (w_serial != now.serial)
            fail("reads shared memory that no thread of this block has written");
        if (arriving)
            fail("reads shared memory that a copy of thread %u is still on its way to", w_thread);
        if (w_thread != now.id && w_epoch == now.epoch && !warp_apart(w_thread, w_warp_epoch))
            fail("reads shared memory that thread %u wrote, with no barrier in between", w_thread);
        if (r_serial != now.serial || r_epoch != now.epoch || warp_apart(r_thread, r_warp_epoch))
            r_warp = r_block = false;
        else if (r_thread / 32 != now.warp)
            r_block = true;
        else if (r_thread != now.id)
            r_warp = true;
        r_serial = now.serial;
        r_epoch = now.epoch;
        r_warp_epoch = now.warp_epoch[now.warp];
        r_thread = now.id;
    }
    void writing()
    {
        if (w_serial == now.serial && w_thread != now.id && w_epoch == now.epoch &&
            !warp_apart(w_thread, w_warp_epoch))
            fail("writes shared memory that thread %u wrote, with no barrier in between", w_thread);
        if (r_serial == now.serial && r_epoch == now.epoch &&
            (r_block || ((r_warp || r_thread != now.id) && !warp_apart(r_thread, r_warp_epoch))))
            fail("writes shared memory that thread %u reads, with no barrier in between", r_thread);
        w_serial = now.serial;
        w_epoch = now.epoch;
        w_warp_epoch = now.warp_epoch[now.warp];
        w_thread = now.id;
    }

  public:
    operator T()
    {
        reading();
        return value;
    }
    cell &operator=(T x)
    {
        writing();
        arriving = false;
        value = x;
        return *this;
    }
    /* A copy to here starts: it may arrive at any time until it is waited for and assigned. */
    void expect()
    {
        writing();
        arriving = true;
    }
    cell &operator+=(T x)
    {
        return *this = (T) * this + x;
    }
};

template <class T> struct shared {
    typedef cell<T> type;
};
template <class T, size_t N> struct shared<T[N]> {
    struct type {
        typename shared<T>::type element[N];
        typename shared<T>::type &operator[](long i)
        {
            if (i < 0 || i >= (long)N)
                fail("index %ld of a shared array of %zu", i, N);
            return element[i];
        }
    };
};

} // namespace emu

#define threadIdx emu::now.thread
#define blockIdx  emu::now.block
#define blockDim  emu::now.block_size
#define gridDim   emu::now.grid_size

#define LK_EMU_TEXT_(x) #x
#define LK_EMU_TEXT(x)  LK_EMU_TEXT_(x)
#define LK_EMU_SITE     __FILE__ ":" LK_EMU_TEXT(__LINE__)
#define __syncthreads() emu::block_barrier(LK_EMU_SITE)
#define __syncwarp()    emu::warp_barrier(LK_EMU_SITE)
#define __shfl_xor_sync(mask, value, by)                                                           \
    emu::shuffle((mask), (value), emu::now.lane ^ (unsigned)(by), LK_EMU_SITE)

#define LK_UNROLL
#define LK_UNROLL_4

#define __ballot_sync(mask, yes) emu::ballot((mask), (yes), LK_EMU_SITE)
#define __ffs(x)                 __builtin_ffs(x)

#define LK_SHARED(type_, name, dims) static typename emu::shared<type_ dims>::type name

#define LK_SHARED_MEMBER(type_, name, dims) typename emu::shared<type_ dims>::type name
#define LK_SHARED_TILES(type_, name)        static type_ name
#define LK_LAUNCH_TILES(kernel, grid, block, bytes, stream, ...)                                   \
    ((void)(stream), emu::launch_it(#kernel, (grid), (block), [&] { kernel(__VA_ARGS__); }))
#define LK_LAUNCH(kernel, grid, block, stream, ...)                                                \
    ((void)(stream), emu::launch_it(#kernel, (grid), (block), [&] { kernel(__VA_ARGS__); }))

#endif /* LK_EMU_H */
