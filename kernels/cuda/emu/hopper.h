/* hopper.h - the emulator's side of kernels/cuda/hopper.h.
 *
 * What is asynchronous happens as late as it may: a copy arrives when no thread can go on without
 * it, a product is computed when its group is waited for, with the registers and tiles of that
 * moment.  So a missing wait shows as a read of what has not arrived, or as wrong numbers:
 *
 *   - a product or a thread reads only bytes that have arrived, by a phase whose end the thread has
 *     seen;
 *   - a copy may not go where another is still on its way to;
 *   - products need lk_product_begin after the last wait, and end before the block does, as do
 *     copies.
 */
#ifndef LK_EMU_HOPPER_H
#define LK_EMU_HOPPER_H

#include "kernels/cuda/hopper_layout.h"
#include "kernels/cuda/mma.h"

#define __grid_constant__

struct lk_tensor_map {
    const lk_bf16 *base;
    int64_t d, rows, planes;
    int box_rows;
};

namespace emu
{

void phase_init(uint32_t word, unsigned arrivals);
void phase_arrive(uint32_t word, unsigned bytes);
void phase_wait(uint32_t word, unsigned parity, const char *site);
void bytes_copy(uint32_t to, const void *from, uint32_t bytes, uint32_t word);
float4 shared_four(uint32_t address);
void box_copy(uint32_t to, const lk_tensor_map *map, int col, int row, int plane, uint32_t word);
lk_bf16 shared_number(uint32_t address); /* read by a product of the running thread */

/* A product of this thread's warpgroup that has not been waited for. */
struct product {
    float (*d)[4];
    const unsigned *a_registers; /* NULL: in shared memory */
    uint64_t a, b;
    int n, keep, group;
};
struct products {
    enum { MOST = 64 };
    uint32_t serial;
    int n, groups, begun;
    product of[MOST];
};
products *my_products();
void issue(const product &p);

/* This thread's sums; o: the offers of its warp's lanes. */
inline void compute(const product &p, const offer *o)
{
    const int thread = (int)(now.id % 128);
    const unsigned g = now.lane / 4;
    for (int i = 0; i < p.n / 2; i++) {
        const int row = lk_sum_row(thread, i), col = lk_sum_col(thread, i);
        float *d = &p.d[i / 4][i % 4];
        float sum = p.keep ? *d : 0;
        for (int k = 0; k < 16; k++) {
            const unsigned *a = o[4 * g + (unsigned)k % 8 / 2].a;
            const lk_bf16 y = shared_number(
                lk_operand_at(p.b, p.a_registers != nullptr, (uint32_t)col, (uint32_t)k));
            sum +=
                lk_widen(y) *
                (p.a_registers
                     ? half_of(a[i / 2 % 2 + k / 8 * 2], k % 2)
                     : lk_widen(shared_number(lk_operand_at(p.a, 0, (uint32_t)row, (uint32_t)k))));
        }
        *d = sum;
    }
}

inline void product_wait(int later, const char *site)
{
    products *all = my_products();
    int kept = 0;
    for (int i = 0; i < all->n; i++) {
        const product p = all->of[i];
        offer mine = {};
        const offer *o;
        if (p.group >= all->groups - later) {
            all->of[kept++] = p;
            continue;
        }
        if (p.a_registers)
            memcpy(mine.a, p.a_registers, sizeof mine.a);
        o = meet(mine, site);
        compute(p, o);
    }
    all->n = kept;
    all->begun = 0;
    meet(offer{}, site); /* a lane that goes on says what its warp has done */
}

} // namespace emu

LK_DEVICE uint32_t lk_shared_start()
{
    return LK_PANEL_ALIGN;
}

#define lk_phase_init(word, arrivals) emu::phase_init((word), (arrivals))
#define lk_phase_inits_done()         ((void)0)
#define lk_phase_arrive(word)         emu::phase_arrive((word), 0)
#define lk_phase_expect(word, bytes)  emu::phase_arrive((word), (bytes))
#define lk_phase_wait(word, parity)   emu::phase_wait((word), (parity), LK_EMU_SITE)
#define lk_map_fetch(map)             ((void)(map))
#define lk_map_copy(...)              emu::box_copy(__VA_ARGS__)
#define lk_bytes_copy(...)            emu::bytes_copy(__VA_ARGS__)
#define lk_shared_four(address)       emu::shared_four(address)
#define lk_turn_wait(id, threads)     emu::turn_wait((id), (threads), LK_EMU_SITE)
#define lk_turn_give(id, threads)     emu::turn_give((id), (threads))

template <int N> LK_DEVICE void lk_registers_keep()
{
}
template <int N> LK_DEVICE void lk_registers_take()
{
}

LK_DEVICE void lk_product_begin()
{
    emu::my_products()->begun = 1;
}
LK_DEVICE void lk_product_group()
{
    emu::my_products()->groups++;
}
template <int LATER> LK_DEVICE void lk_product_wait()
{
    emu::product_wait(LATER, LK_EMU_SITE);
}
template <int N> LK_DEVICE void lk_product_done(float (*d)[4])
{
    (void)d;
}
template <int N> LK_DEVICE void lk_product_shared(float (*d)[4], uint64_t a, uint64_t b, int keep)
{
    emu::issue({d, nullptr, a, b, N, keep, 0});
}
template <int N> LK_DEVICE void lk_product_gather(float (*d)[4], const unsigned *a, uint64_t b)
{
    emu::issue({d, a, 0, b, N, 1, 0});
}

#endif /* LK_EMU_HOPPER_H */
