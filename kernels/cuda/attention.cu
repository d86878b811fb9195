/* attention.cu - attention over the keys a plan opens, bf16 with rows of 32, 64 or 128 numbers, on
 * the tensor cores of sm_80 and later (kernels/ops/attention.c has the formulas).
 *
 * A warp owns 16 queries, a block 1, 2 or 4 warps: few where there would be less blocks than the
 * device has places.  Where there are many more, a block takes several runs of queries in turn:
 * with narrow windows they see much the same keys, which stay in shared memory.  The block walks
 * over its keys in tiles of LK_KEY_TILE that end at multiples of it, the next tile's copy under way
 * while one is worked on.  A warp multiplies only parts of PART keys that its own queries see, so
 * windows cost little more than their keys.  With m the largest score so far and everything in
 * powers of two,
 *
 *     p = 2^(s - m'),  l <- l 2^(m - m') + sum p,  acc <- acc 2^(m - m') + p v
 *
 * (Milakov, Gimelshein 2018; Dao et al. 2022) a tile at a time, whatever the parts, so the bits do
 * not depend on which queries share a warp.  Only tiles at the ends of the warp's run look at who
 * sees whom.  Queries come and results leave by way of shared memory, whole rows at a time.
 */
#include "kernels/cuda/attention.h"
#include "kernels/cuda/hopper_layout.h"

enum { KEYS = LK_KEY_TILE, PART = LK_KEY_PART, PARTS = KEYS / PART };

template <int D, int WARPS> struct forward_tiles {
    LK_SHARED_MEMBER(lk_bf16, k, [2][KEYS][D + 8]);
    LK_SHARED_MEMBER(lk_bf16, v, [2][KEYS][D + 8]);
    LK_SHARED_MEMBER(lk_bf16, rows, [2][WARPS][16][D + 8]); /* queries of this turn and the next */
};

/* What a warp's 16 queries bring along. */
struct forward_rows {
    int first;
    int own_first, own_end;   /* what they see together */
    int full_first, full_end; /* and each of them, nothing if one of them sees nothing */
    lk_run run[2];            /* and each of this thread's two */
    float most[2], sum[2];
};

LK_DEVICE forward_rows rows_of(const lk_attend_args<lk_bf16> &a, int b, int first)
{
    const lk_attend_tile own = lk_tile_of(a, b, first, 16, a.n, 0, a.m);
    forward_rows w = {first, own.first, own.end, own.full_first, own.full_end, {}, {}, {}};
    LK_UNROLL
    for (int r = 0; r < 2; r++) {
        w.run[r] = lk_run_of(a, b, first + (int)threadIdx.x % 32 / 4 + 8 * r, a.n, 0, a.m);
        w.most[r] = -INFINITY;
        w.sum[r] = 0;
    }
    return w;
}

/* ---- tiles in shared memory ---- */

/* Which tiles of keys are there; the same in all threads.  Bits are those of the two places. */
struct tiles_held {
    int first[2];    /* key of the tile in place 0, 1; -1: none */
    unsigned coming; /* its copy has not been waited for */
    unsigned read;   /* a warp may still read it */
};

LK_DEVICE int place_of(int j)
{
    return j / KEYS % 2;
}

/* Have tile j on its way, unless it is there. */
template <int D, class Tiles>
LK_DEVICE void fetch_tile(Tiles &shared, tiles_held *held, const lk_attend_args<lk_bf16> &a, int j)
{
    const int place = place_of(j), b = (int)blockIdx.y / a.heads, h = (int)blockIdx.y % a.heads;
    int64_t kv_at;
    if ((place ? held->first[1] : held->first[0]) == j)
        return;
    if (held->read >> place & 1) {
        __syncthreads();
        held->read = 0;
    }
    kv_at = (int64_t)(b * a.kv_heads + h * a.kv_heads / a.heads) * a.m * D;
    lk_copy_rows<KEYS, D>(shared.k[place], a.k + kv_at, j % (int)a.m, a.m);
    lk_copy_rows<KEYS, D>(shared.v[place], a.v + kv_at, j % (int)a.m, a.m);
    lk_copy_group();
    held->first[0] = place ? held->first[0] : j;
    held->first[1] = place ? j : held->first[1];
    held->coming |= 1u << place;
}

/* Wait for tile j, and start on the one behind it. */
template <int D, class Tiles>
LK_DEVICE void reach_tile(Tiles &shared, tiles_held *held, const lk_attend_args<lk_bf16> &a, int j,
                          int end)
{
    fetch_tile<D>(shared, held, a, j);
    if (held->coming >> place_of(j) & 1) {
        lk_copy_wait<0>();
        __syncthreads();
        held->coming = held->read = 0;
    }
    if (j + KEYS < end)
        fetch_tile<D>(shared, held, a, j + KEYS);
    held->read |= 1u << place_of(j);
}

/* Start copying a warp's 16 queries from `first` on. */
template <int D, class Rows>
LK_DEVICE void fetch_rows(Rows &rows, const lk_attend_args<lk_bf16> &a, int first)
{
    const lk_bf16 *from = a.q + (blockIdx.y * a.n + first) * D;
    LK_UNROLL
    for (int i = 0; i < D / 16; i++) {
        const int k = 32 * i + (int)threadIdx.x % 32, row = k / (D / 8), at = k % (D / 8) * 8;
        const int there = first + row < a.n;
        lk_copy_start(&rows[row][at], there ? from + row * D + at : a.q, there);
    }
    lk_copy_group();
}

/* acc / sum to the warp's rows of out, by way of the place its queries had. */
template <int D, class Rows>
LK_DEVICE void store_rows(Rows &rows, const lk_attend_args<lk_bf16> &a, const forward_rows &w,
                          const float (*acc)[4])
{
    const int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
    lk_bf16 *to = a.out + (blockIdx.y * a.n + w.first) * D;
    LK_UNROLL
    for (int r = 0; r < 2; r++) {
        const int row = w.first + g + 8 * r;
        const float all = lk_quad_sum(w.sum[r]), l = w.run[r].first < w.run[r].end ? all : 0.0f;
        const float scale = l > 0 ? 1 / l : 0.0f;
        LK_UNROLL
        for (int i = 0; i < D / 8; i++)
            lk_store_two(&rows[g + 8 * r][8 * i + 2 * t],
                         lk_pack(acc[i][2 * r] * scale, acc[i][2 * r + 1] * scale));
        if (a.lse && t == 0 && row < a.n)
            a.lse[blockIdx.y * a.n + row] = l > 0 ? (w.most[r] + log2f(l)) * LK_LN_2 : -INFINITY;
    }
    __syncwarp();
    for (int i = lane; i < 2 * D; i += 32) {
        const int row = i / (D / 8), at = i % (D / 8) * 8;
        if (w.first + row < a.n)
            lk_store_eight(to + row * D + at, &rows[row][at]);
    }
}

/* ---- one tile ---- */

/* Slopes: scores become what weights are powers of two of. */
LK_DEVICE void add_slopes(const lk_attend_args<lk_bf16> &a, float (*s)[4], int first, int j0)
{
    const int b = (int)blockIdx.y / a.heads, h = (int)blockIdx.y % a.heads;
    const int g = (int)threadIdx.x % 32 / 4, t = (int)threadIdx.x % 4;
    const float *time = a.times + b * (a.n + a.m);
    LK_UNROLL
    for (int r = 0; r < 2; r++) {
        const int row = first + g + 8 * r;
        const float now = row < a.n ? time[row] : 0.0f;
        LK_UNROLL
        for (int i = 0; i < KEYS / 8; i++)
            LK_UNROLL
        for (int e = 0; e < 2; e++) {
            const int at = (j0 + 8 * i + 2 * t + e) % (int)a.m;
            float *x = &s[i][2 * r + e];
            *x = *x * (a.scale * LK_LOG2_E) + lk_slope_bias(a.slope + 2 * h, now - time[a.n + at]);
        }
    }
}

/* What a query does not see becomes -Inf; parts from `first` to `end` are seen by all. */
LK_DEVICE void hide(float (*s)[4], const lk_run *run, int j0, int first, int end)
{
    LK_UNROLL
    for (int r = 0; r < 2; r++) {
        const lk_run mine = run[r];
        const unsigned seen = lk_columns_seen(mine.first, mine.end, j0, (int)threadIdx.x % 4);
        LK_UNROLL
        for (int i = 0; i < KEYS / 8; i++)
            if (i * 8 / PART < first || i * 8 / PART >= end)
                LK_UNROLL
        for (int e = 0; e < 2; e++)
            if (!(seen >> (2 * i + e) & 1))
                s[i][2 * r + e] = -INFINITY;
    }
}

/* Numbers times scale become weights, where `parts` has a bit; sums and what is gathered so far
 * are brought to the new largest score. */
template <int D>
LK_DEVICE void soften(float (*s)[4], unsigned parts, float scale, float *most, float *sum,
                      float (*acc)[4])
{
    LK_UNROLL
    for (int r = 0; r < 2; r++) {
        float x = -INFINITY, keep, base;
        LK_UNROLL
        for (int i = 0; i < KEYS / 8; i++)
            x = fmaxf(x, fmaxf(s[i][2 * r], s[i][2 * r + 1]));
        x = fmaxf(most[r], lk_quad_max(x) * scale);
        base = x == -INFINITY ? 0.0f : x;
        keep = lk_exp2(most[r] - base);
        most[r] = x;
        sum[r] *= keep;
        LK_UNROLL
        for (int i = 0; i < KEYS / 8; i++)
            if (parts >> (i * 8 / PART) & 1)
                LK_UNROLL
        for (int e = 2 * r; e < 2 * r + 2; e++) {
            s[i][e] = lk_exp2(s[i][e] * scale - base);
            sum[r] += s[i][e];
        }
        LK_UNROLL
        for (int i = 0; i < D / 8; i++) {
            acc[i][2 * r] *= keep;
            acc[i][2 * r + 1] *= keep;
        }
    }
}

/* Products of the warp's queries and a tile's keys, -Inf where `parts` has no bit; ALL: it has all.
 */
template <int D, int ALL, class Rows, class Tile>
LK_DEVICE void multiply(float (*s)[4], Rows &rows, Tile &k, unsigned parts)
{
    const int lane = (int)threadIdx.x % 32;
    LK_UNROLL
    for (int i = 0; i < KEYS / 8; i++)
        s[i][0] = s[i][1] = s[i][2] = s[i][3] =
            ALL || parts >> (i * 8 / PART) & 1 ? 0.0f : -INFINITY;
    LK_UNROLL
    for (int c = 0; c < D / 16; c++) {
        unsigned q[4];
        lk_load_quarters(q, &rows[lk_a_row(lane)][16 * c + lk_a_col(lane)]);
        LK_UNROLL
        for (int i = 0; i < PARTS; i++) {
            unsigned r[4];
            if (!ALL && !(parts >> i & 1))
                continue;
            lk_load_quarters(r, &k[PART * i + lk_b_row(lane)][16 * c + lk_b_col(lane)]);
            lk_mma(s[2 * i], q, r);
            lk_mma(s[2 * i + 1], q, r + 2);
        }
    }
}

/* The tile of keys from j on added to what the warp has gathered. */
template <int D, class Rows, class Tile>
LK_DEVICE void add_tile(Rows &rows, Tile &k, Tile &v, const lk_attend_args<lk_bf16> &a, int j,
                        forward_rows *w, float (*acc)[4])
{
    const unsigned parts = lk_parts_seen(w->own_first, w->own_end, j, KEYS);
    const int full_lo = w->full_first - j, full_hi = w->full_end - j;
    const int full_first = full_lo > 0 ? (full_lo + PART - 1) / PART : 0;
    const int full_end = full_hi < KEYS ? full_hi / PART : PARTS;
    float s[KEYS / 8][4];
    if (parts == (1u << PARTS) - 1)
        multiply<D, 1>(s, rows, k, parts);
    else
        multiply<D, 0>(s, rows, k, parts);
    if (a.slope)
        add_slopes(a, s, w->first, j);
    if (full_first > 0 || full_end < PARTS)
        hide(s, w->run, j, full_first, full_end);
    soften<D>(s, parts, a.slope ? 1.0f : a.scale * LK_LOG2_E, w->most, w->sum, acc);
    LK_UNROLL
    for (int i = 0; i < PARTS; i++)
        if (parts >> i & 1)
            lk_tile_gather<D, PART>(acc, s + i * PART / 8, v, i * PART);
}

/* ---- together ---- */

/* Warps that a multiprocessor's registers have room for. */
#define LK_ATTEND_WARPS(D) ((D) > 64 ? 8 : 12)

template <int D, int WARPS>
__global__ void __launch_bounds__(32 * WARPS, LK_ATTEND_WARPS(D) / WARPS)
    attention_kernel(lk_attend_args<lk_bf16> a, int turns)
{
    if (a.wide && *a.wide)
        return;
    typedef forward_tiles<D, WARPS> tiles;
    LK_SHARED_TILES(tiles, shared);
    const int b = (int)blockIdx.y / a.heads, warp = (int)threadIdx.x / 32;
    tiles_held held = {{-1, -1}, 0, 0};
    int row0 = (int)blockIdx.x * turns * (16 * WARPS);
    fetch_rows<D>(shared.rows[0][warp], a, row0 + 16 * warp);
    for (int turn = 0; turn < turns && row0 < a.n; turn++, row0 += 16 * WARPS) {
        const lk_attend_tile tile = lk_tile_of(a, b, row0, 16 * WARPS, a.n, 0, a.m);
        forward_rows w = rows_of(a, b, row0 + 16 * warp);
        float acc[D / 8][4] = {};
        lk_copy_wait<0>();
        __syncwarp();
        if (turn + 1 < turns)
            fetch_rows<D>(shared.rows[(turn + 1) % 2][warp], a, row0 + 16 * (WARPS + warp));
        for (int j = tile.first / KEYS * KEYS; j < tile.end; j += KEYS) {
            reach_tile<D>(shared, &held, a, j, tile.end);
            if (j + KEYS > w.own_first && j < w.own_end)
                add_tile<D>(shared.rows[turn % 2][warp], shared.k[place_of(j)],
                            shared.v[place_of(j)], a, j, &w, acc);
        }
        store_rows<D>(shared.rows[turn % 2][warp], a, w, acc);
    }
}

template <int D, int WARPS>
static lk_status launch_tiles(const lk_attend_args<lk_bf16> &a, int64_t n_batch, int turns,
                              lk_cuda_stream stream)
{
    const int64_t height = 16 * WARPS * turns;
    const dim3 grid((unsigned)((a.n + height - 1) / height), (unsigned)(n_batch * a.heads));
    return LK_LAUNCH_TILES((attention_kernel<D, WARPS>), grid, 32 * WARPS,
                           sizeof(forward_tiles<D, WARPS>), stream, a, turns);
}

template <int D>
static lk_status launch_width(const lk_attend_args<lk_bf16> &a, int64_t n_batch, int height,
                              lk_cuda_stream stream)
{
    return height >= 64   ? launch_tiles<D, 4>(a, n_batch, height / 64, stream)
           : height >= 32 ? launch_tiles<D, 2>(a, n_batch, 1, stream)
                          : launch_tiles<D, 1>(a, n_batch, 1, stream);
}

static int height_for_tests;

void LK_CUDA(attend_height)(int height)
{
    height_for_tests = height;
}

/* Rows a block takes: fewer while that leaves multiprocessors (132 of an H100) without work, more
 * while each still gets plenty of blocks. */
static int height_of(const lk_attend_args<lk_bf16> &a, int64_t n_batch)
{
    const int64_t tiles = (a.n + 63) / 64 * n_batch * a.heads;
    return height_for_tests ? height_for_tests
           : tiles >= 8448  ? 256
           : tiles >= 4224  ? 128
           : tiles >= 264   ? 64
           : tiles >= 132   ? 32
                            : 16;
}

/* Work space: is the plan wide? */
static lk_status attention_prepare(lk_call *c, size_t *work_bytes)
{
    *work_bytes = LK_CUDA(attend_hopper_may)(c) == 1 ? sizeof(int) : 0;
    return LK_OK;
}

static lk_status attention_launch(const lk_call *c, lk_cuda_stream stream)
{
    lk_status st = LK_OK;
    const int64_t n_batch = c->in[0].shape.dim[0];
    const int hopper = LK_CUDA(attend_hopper_may)(c);
    lk_attend_args<lk_bf16> a = lk_attend_args_of<lk_bf16>(c);
    if (lk_tensor_count(&c->in[0]) == 0)
        return LK_OK;
    if (!lk_attend_has_tiles(c))
        return LK_CUDA(attend_plain)(c, stream);
    a.out = (lk_bf16 *)c->out[0].data;
    a.lse = (float *)c->out[1].data;
    if (hopper == 1) {
        LK_TRY(LK_CUDA(attend_judge)(&a, n_batch, (int *)c->work, stream));
        a.wide = (const int *)c->work;
    }
    if (hopper)
        LK_TRY(LK_CUDA(attend_hopper)(&a, n_batch, stream));
    if (hopper == 2)
        goto done;
    LK_TRY(a.d == 32   ? launch_width<32>(a, n_batch, height_of(a, n_batch), stream)
           : a.d == 64 ? launch_width<64>(a, n_batch, height_of(a, n_batch), stream)
                       : launch_width<128>(a, n_batch, height_of(a, n_batch), stream));
done:
    return st;
}

const lk_cuda_kernel LK_CUDA(attention) = {attention_prepare, NULL, attention_launch};
