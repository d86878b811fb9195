/* mma.h - pieces of matrix products that a warp does together, for CUDA and for its emulator.
 *
 * Fragments of one product d[16][8] += a[16][16] b[16][8], bf16 with f32 sums, in lane 4 g + t:
 *
 *     a  {(g, 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8)}, each with its right neighbour
 *     b  {(2t, g), (2t + 8, g)}, each with the number below it
 *     d  (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)
 *
 * so two neighbouring d's, packed, are an a.  The lower half of a register is the first number.
 * lk_load_quarters fetches four 8 x 8 blocks from shared memory: lane 8 i + r names row r of block
 * i, and register i holds (g, 2t), (g, 2t + 1) of block i, or of its transpose.
 *
 * Source       PTX ISA 8.8, "Matrix fragments for mma.m16n8k16", "ldmatrix", "cp.async".
 */
#ifndef LK_CUDA_MMA_H
#define LK_CUDA_MMA_H

#include "kernels/cuda/device.h"

/* One register of two numbers. */
LK_DEVICE unsigned lk_pack(float first, float second)
{
    return (unsigned)lk_narrow<lk_bf16>(first) | (unsigned)lk_narrow<lk_bf16>(second) << 16;
}

#ifdef __CUDACC__

typedef lk_bf16 lk_shared_bf16;

/* 2^x, to 2 steps of f32; 0 for -Inf. */
LK_DEVICE float lk_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

LK_DEVICE unsigned lk_shared_address(const void *p)
{
    return (unsigned)__cvta_generic_to_shared(p);
}

LK_DEVICE void lk_mma(float *d, const unsigned *a, const unsigned *b)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

LK_DEVICE void lk_load_quarters(unsigned *r, const lk_shared_bf16 *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(lk_shared_address(row))
                 : "memory");
}

LK_DEVICE void lk_load_quarters_transposed(unsigned *r, const lk_shared_bf16 *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(lk_shared_address(row))
                 : "memory");
}

/* Two numbers into shared memory, and 8 from there to global memory, aligned to 16 bytes. */
LK_DEVICE void lk_store_two(lk_shared_bf16 *to, unsigned two)
{
    *(unsigned *)to = two;
}
LK_DEVICE void lk_store_eight(lk_bf16 *to, const lk_shared_bf16 *from)
{
    *(uint4 *)to = *(const uint4 *)from;
}

/* Start copying 8 numbers to shared memory, zeros where `there` is 0; both ends aligned to 16
 * bytes.  They can be read after a wait that covers their group, and a barrier. */
LK_DEVICE void lk_copy_start(lk_shared_bf16 *to, const lk_bf16 *from, int there)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(lk_shared_address(to)),
                 "l"(from), "r"(there ? 16 : 0)
                 : "memory");
}

/* Copies started since the last call are one group. */
LK_DEVICE void lk_copy_group()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Wait for all groups but the last LATER. */
template <int LATER> LK_DEVICE void lk_copy_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(LATER) : "memory");
}

#else

typedef emu::cell<lk_bf16> lk_shared_bf16;

LK_DEVICE float lk_exp2(float x)
{
    return exp2f(x);
}

namespace emu
{

LK_DEVICE float half_of(unsigned r, int upper)
{
    return lk_widen((lk_bf16)(upper ? r >> 16 : r & 0xffffu));
}

/* What a lane brings to a product or a load that its warp does together. */
struct offer {
    unsigned a[4], b[2];
    lk_shared_bf16 *row;
};
inline offer offers[2][1024]; /* the parity of the rendezvous chooses */

/* All lanes meet; gives what they brought, by lane, until the next but one meeting. */
inline const offer *meet(const offer &mine, const char *site)
{
    const unsigned parity = now.warp_epoch[now.warp] & 1, first = now.warp * 32;
    char nothing = 0;
    offers[parity][now.id] = mine;
    exchange(~0u, &nothing, 0, 32, site);
    return offers[parity] + first;
}

/* A thread's copies that no wait has covered yet. */
struct copies {
    enum { MOST = 256 };
    uint32_t serial;
    int n, groups, group[MOST];
    lk_shared_bf16 *to[MOST];
    lk_bf16 number[MOST][8];
};
inline copies pending[1024];

inline copies *my_copies()
{
    copies *c = &pending[now.id];
    if (c->serial != now.serial) {
        c->serial = now.serial;
        c->n = c->groups = 0;
    }
    return c;
}

inline void land_copies(int later)
{
    copies *c = my_copies();
    int kept = 0;
    for (int i = 0; i < c->n; i++) {
        if (c->group[i] >= c->groups - later) {
            c->to[kept] = c->to[i];
            c->group[kept] = c->group[i];
            memcpy(c->number[kept++], c->number[i], sizeof c->number[i]);
            continue;
        }
        for (int k = 0; k < 8; k++)
            c->to[i][k] = c->number[i][k];
    }
    c->n = kept;
}

} // namespace emu

LK_DEVICE void lk_mma(float *d, const unsigned *a, const unsigned *b)
{
    const unsigned g = emu::now.lane / 4, t = emu::now.lane % 4;
    const emu::offer *o;
    emu::offer mine = {};
    memcpy(mine.a, a, sizeof mine.a);
    memcpy(mine.b, b, sizeof mine.b);
    o = emu::meet(mine, LK_EMU_SITE);
    for (unsigned half = 0; half < 2; half++)
        for (unsigned s = 0; s < 4; s++)
            for (unsigned col = 0; col < 2; col++)
                for (int k = 0; k < 2; k++) {
                    const float w = emu::half_of(o[4 * (2 * t + col) + s].b[half], k);
                    d[col] += emu::half_of(o[4 * g + s].a[2 * half], k) * w;
                    d[2 + col] += emu::half_of(o[4 * g + s].a[2 * half + 1], k) * w;
                }
}

LK_DEVICE const emu::offer *lk_rows_of_lanes(lk_shared_bf16 *row)
{
    emu::offer mine = {};
    mine.row = row;
    return emu::meet(mine, LK_EMU_SITE);
}

LK_DEVICE void lk_load_quarters(unsigned *r, lk_shared_bf16 *row)
{
    const unsigned g = emu::now.lane / 4, t = emu::now.lane % 4;
    const emu::offer *o = lk_rows_of_lanes(row);
    for (unsigned i = 0; i < 4; i++) {
        lk_shared_bf16 *p = o[8 * i + g].row;
        const unsigned first = (lk_bf16)p[2 * t], second = (lk_bf16)p[2 * t + 1];
        r[i] = first | second << 16;
    }
}

LK_DEVICE void lk_load_quarters_transposed(unsigned *r, lk_shared_bf16 *row)
{
    const unsigned g = emu::now.lane / 4, t = emu::now.lane % 4;
    const emu::offer *o = lk_rows_of_lanes(row);
    for (unsigned i = 0; i < 4; i++) {
        const unsigned first = (lk_bf16)o[8 * i + 2 * t].row[g];
        const unsigned second = (lk_bf16)o[8 * i + 2 * t + 1].row[g];
        r[i] = first | second << 16;
    }
}

LK_DEVICE void lk_store_two(lk_shared_bf16 *to, unsigned two)
{
    to[0] = (lk_bf16)(two & 0xffffu);
    to[1] = (lk_bf16)(two >> 16);
}
LK_DEVICE void lk_store_eight(lk_bf16 *to, lk_shared_bf16 *from)
{
    for (int i = 0; i < 8; i++)
        to[i] = from[i];
}

LK_DEVICE void lk_copy_start(lk_shared_bf16 *to, const lk_bf16 *from, int there)
{
    emu::copies *c = emu::my_copies();
    if (c->n == emu::copies::MOST)
        emu::fail("has more than %d copies under way", emu::copies::MOST);
    c->to[c->n] = to;
    c->group[c->n] = c->groups;
    for (int k = 0; k < 8; k++) {
        c->number[c->n][k] = there ? from[k] : (lk_bf16)0;
        to[k].expect();
    }
    c->n++;
}

LK_DEVICE void lk_copy_group()
{
    emu::my_copies()->groups++;
}

template <int LATER> LK_DEVICE void lk_copy_wait()
{
    emu::land_copies(LATER);
}

#endif

#endif /* LK_CUDA_MMA_H */
