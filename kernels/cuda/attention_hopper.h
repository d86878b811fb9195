/* attention_hopper.h - what the kernels of attention for sm_90a share (attention_hopper.cu,
 * attention_hopper_grad.cu): tiles of 128 rows that a block takes one after another, one thread
 * that has them copied, two warpgroups of 64 rows each that multiply.
 */
#ifndef LK_CUDA_ATTENTION_HOPPER_H
#define LK_CUDA_ATTENTION_HOPPER_H

#include "kernels/cuda/attention.h"
#include "kernels/cuda/hopper.h"

enum {
    LK_WIDE_ROWS = 128,
    LK_WIDE_GROUP = 128,  /* threads of a warpgroup */
    LK_WIDE_WARPS = 8,    /* that multiply */
    LK_WIDE_THREADS = 384 /* the first warpgroup copies */
};

/* One tile of rows: where it is, and its tiles of others. */
struct lk_wide_tile {
    int64_t b, h, row0;
    int plane;    /* b heads + h */
    int first, n; /* first other, tiles of others */
};

/* Tile `item` of all; `heads` of the rows, others in tiles of `height`. */
LK_DEVICE lk_wide_tile lk_wide_tile_of(const lk_attend_args<lk_bf16> &a, int64_t item, int heads,
                                       int64_t n_rows, int64_t before, int64_t n_others, int height)
{
    const int64_t tiles = (n_rows + LK_WIDE_ROWS - 1) / LK_WIDE_ROWS;
    lk_wide_tile f;
    lk_attend_tile seen;
    f.plane = (int)(item / tiles);
    f.row0 = item % tiles * LK_WIDE_ROWS;
    f.b = f.plane / heads;
    f.h = f.plane % heads;
    seen = lk_tile_of(a, f.b, f.row0, LK_WIDE_ROWS, n_rows, before, n_others);
    f.first = seen.first / height * height;
    f.n = seen.end > f.first ? (seen.end - f.first + height - 1) / height : 0;
    return f;
}

/* The keys' plane of a tile of queries. */
LK_DEVICE int lk_wide_kv_plane(const lk_attend_args<lk_bf16> &a, const lk_wide_tile &f)
{
    return (int)(f.b * a.kv_heads + f.h * a.kv_heads / a.heads);
}

/* Start copying ROWS rows of D numbers; their bytes are expected at `word`. */
template <int D, int ROWS>
LK_DEVICE void lk_wide_copy(uint32_t to, const lk_tensor_map *map, int row, int plane,
                            uint32_t word)
{
    for (int col = 0; col < D; col += LK_PANEL)
        lk_map_copy(to + (uint32_t)(col / LK_PANEL * ROWS * LK_PANEL_ROW_BYTES), map, col, row,
                    plane, word);
}

/* The warp is done with what `word` stands for. */
LK_DEVICE void lk_wide_arrive(uint32_t word)
{
    __syncwarp();
    if (threadIdx.x % 32 == 0)
        lk_phase_arrive(word);
}

/* Issue d[64][N] = a b^T: a's rows from `row` on in a tile of LK_WIDE_ROWS, b a tile of N. */
template <int D, int N>
LK_DEVICE void lk_issue_rows(float (*d)[4], uint32_t a, uint32_t row, uint32_t b)
{
    LK_UNROLL
    for (int i = 0; i < D / 16; i++)
        lk_product_shared<N>(d, lk_operand_of_rows(a, LK_WIDE_ROWS, row, (uint32_t)i),
                             lk_operand_of_rows(b, N, 0, (uint32_t)i), i > 0);
}

/* Issue acc[64][D] += p b, b a tile of K rows. */
template <int D, int K>
LK_DEVICE void lk_issue_columns(float (*acc)[4], const unsigned (*p)[4], uint32_t b)
{
    LK_UNROLL
    for (int i = 0; i < K / 16; i++)
        lk_product_gather<D>(acc, p[i], lk_operand_of_columns(b, K, (uint32_t)i));
}

/* What a row does not see of the N others from j0 on becomes `with`. */
template <int N> LK_DEVICE void lk_wide_hide(float (*s)[4], const lk_run *run, int j0, float with)
{
    LK_UNROLL
    for (int r = 0; r < 2; r++) {
        const uint32_t seen = lk_columns_seen(run[r].first, run[r].end, j0, (int)threadIdx.x % 4);
        LK_UNROLL
        for (int i = 0; i < N / 8; i++)
            LK_UNROLL
        for (int e = 0; e < 2; e++)
            if (!(seen >> (2 * i + e) & 1))
                s[i][2 * r + e] = with;
    }
}

/* Sums as the first operand of the next product. */
template <int N> LK_DEVICE void lk_wide_pack(unsigned (*p)[4], const float (*s)[4])
{
    LK_UNROLL
    for (int i = 0; i < N / 16; i++)
        lk_sums_to_a(p[i], s, i);
}

/* First row of this thread's warp in its warpgroup's 64, and of the thread in the warp's 16. */
LK_DEVICE int lk_wide_warp_row()
{
    return (int)threadIdx.x % LK_WIDE_GROUP / 32 * 16;
}
LK_DEVICE int lk_wide_thread_row()
{
    return (int)threadIdx.x % 32 / 4;
}

#endif /* LK_CUDA_ATTENTION_HOPPER_H */
