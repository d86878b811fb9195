/* attention_grad.cu - gradients of attention.cu; the formulas are in kernels/ops/attention.c.
 *
 *   1  e_i = g_i . out_i - h_i                              some lanes a query
 *   2  dq (and the slopes' parts) by tiles of queries       walks over keys, like the forward pass
 *   3  dk and dv by tiles of keys                           walks over queries and the heads that
 *                                                           share the keys; where tiles are few,
 *                                                           blocks take parts of the walk, which
 *                                                           are added up
 *   4  the slopes' parts are added up
 *
 * Nothing is added by two blocks, so results are the same at every run.  Scores are computed twice,
 * seven products instead of five; in return no order among blocks and no sums in memory are needed.
 * In step 3 scores are held transposed, keys as rows, so that p^T and ds^T are operands as they
 * are.
 */
#include "kernels/cuda/attention.h"

enum { KEYS = LK_KEY_TILE, PART = LK_KEY_PART, QUERIES = 32, WARPS = 4 };

/* ---- 1 ---- */

/* `lanes` lanes a row, a power of two up to 32; VECTOR: each takes LK_ITEMS numbers at once. */
template <typename T, int VECTOR>
__global__ void attention_e_kernel(int64_t n_rows, int d, int lanes, const T *out, const T *dout,
                                   const float *dlse, float *e)
{
    enum { ITEMS = VECTOR ? LK_ITEMS : 1 };
    const int64_t row = lk_thread_index() / lanes;
    const int lane = (int)threadIdx.x % lanes;
    float sum = 0;
    for (int i = lane * ITEMS; row < n_rows && i < d; i += lanes * ITEMS) {
        float x[ITEMS], g[ITEMS];
        if (VECTOR) {
            lk_load_whole(out + row * d + i, x);
            lk_load_whole(dout + row * d + i, g);
        } else {
            x[0] = lk_widen(out[row * d + i]);
            g[0] = lk_widen(dout[row * d + i]);
        }
        LK_UNROLL
        for (int k = 0; k < ITEMS; k++)
            sum += x[k] * g[k];
    }
    for (int by = lanes / 2; by > 0; by /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, by);
    if (lane == 0 && row < n_rows)
        e[row] = sum - (dlse ? dlse[row] : 0.0f);
}

template <typename T, int VECTOR>
static lk_status launch_e(const lk_call *c, float *e, lk_cuda_stream stream)
{
    const int64_t n = lk_rows(&c->in[0].shape), d = lk_last(&c->in[0].shape);
    int lanes = 1;
    while (lanes < 32 && lanes * (VECTOR ? LK_ITEMS : 1) < d)
        lanes *= 2;
    return LK_LAUNCH((attention_e_kernel<T, VECTOR>), lk_blocks(lanes * n), LK_THREADS, stream, n,
                     (int)d, lanes, (const T *)c->in[LK_ATTENTION_OUT].data,
                     (const T *)c->in[LK_ATTENTION_DOUT].data,
                     (const float *)c->in[LK_ATTENTION_DLSE].data, e);
}

lk_status LK_CUDA(attend_e)(const lk_call *c, float *e, lk_cuda_stream stream)
{
    if (lk_last(&c->in[0].shape) % LK_ITEMS)
        return LK_BY_FLOAT(c->in[0].dtype, T, (launch_e<T, 0>(c, e, stream)));
    return LK_BY_FLOAT(c->in[0].dtype, T, (launch_e<T, 1>(c, e, stream)));
}

/* ---- 2 ---- */

template <int D> struct dq_tiles {
    LK_SHARED_MEMBER(lk_bf16, k, [2][KEYS][D + 8]);
    LK_SHARED_MEMBER(lk_bf16, v, [2][KEYS][D + 8]);
};

/* What a query brings along. */
struct query {
    lk_run run;
    float lse, e, time;
};

LK_DEVICE query query_of(const lk_attend_args<lk_bf16> &a, int64_t b, int64_t head_row, int64_t i)
{
    query q = {lk_run_of(a, b, i, a.n, 0, a.m), 0, 0, 0};
    if (i < a.n) {
        q.lse = a.lse[head_row + i] * LK_LOG2_E;
        q.e = a.e[head_row + i];
        q.time = a.slope ? a.times[b * (a.n + a.m) + i] : 0.0f;
    }
    return q;
}

/* One weight and the gradient at its score: s holds a raw product, ds the product g . v. */
LK_DEVICE void pair_gradient(const lk_attend_args<lk_bf16> &a, const float *slope, float dt,
                             int sees, float lse, float e, float *s, float *ds)
{
    const float bias = a.slope ? lk_slope_bias(slope, dt) : 0.0f;
    *s = sees ? lk_exp2(*s * (a.scale * LK_LOG2_E) + (bias - lse)) : 0.0f;
    *ds = *s * (*ds - e);
}

/* d[16 rows][COLS] = a b^T where `parts` has a bit, b's rows in a tile from row b0. */
template <int D, int COLS, class Tile>
LK_DEVICE void multiply_parts(float (*d)[4], const unsigned (*a)[4], Tile &b, int b0,
                              unsigned parts)
{
    const int lane = (int)threadIdx.x % 32;
    LK_UNROLL
    for (int i = 0; i < COLS / 8; i++)
        d[i][0] = d[i][1] = d[i][2] = d[i][3] = 0;
    LK_UNROLL
    for (int c = 0; c < D / 16; c++)
        LK_UNROLL
    for (int i = 0; i < COLS / PART; i++) {
        unsigned r[4];
        if (!(parts >> i & 1))
            continue;
        lk_load_quarters(r, &b[b0 + PART * i + lk_b_row(lane)][16 * c + lk_b_col(lane)]);
        lk_mma(d[2 * i], a[c], r);
        lk_mma(d[2 * i + 1], a[c], r + 2);
    }
}

template <int D>
__global__ void __launch_bounds__(32 * WARPS, 2) attention_dq_kernel(lk_attend_args<lk_bf16> a)
{
    if (a.wide && *a.wide)
        return;
    enum { COLS = D > 64 ? KEYS / 2 : KEYS }; /* keys at once: what registers hold */
    LK_SHARED_TILES(dq_tiles<D>, shared);
    const int64_t b = (int)blockIdx.y / a.heads, h = (int)blockIdx.y % a.heads;
    const int64_t row0 = (int64_t)blockIdx.x * 16 * WARPS, mine = row0 + threadIdx.x / 32 * 16;
    const int64_t head_row = (int64_t)blockIdx.y * a.n;
    const int64_t kv_at = (b * a.kv_heads + h * a.kv_heads / a.heads) * a.m * D;
    const lk_attend_tile tile = lk_tile_of(a, b, row0, 16 * WARPS, a.n, 0, a.m);
    const lk_attend_tile own = lk_tile_of(a, b, mine, 16, a.n, 0, a.m);
    const int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const float *slope = a.slope ? a.slope + 2 * h : NULL;
    unsigned q[D / 16][4], dout[D / 16][4];
    float acc[D / 8][4] = {};
    lk_slope_sums sums[2] = {};
    query mine_of[2];
    int j = tile.first / KEYS * KEYS;
    int stage = 0;
    for (int r = 0; r < 2; r++)
        mine_of[r] = query_of(a, b, head_row, mine + g + 8 * r);
    lk_load_rows<D>(q, a.q + head_row * D, mine, a.n);
    lk_load_rows<D>(dout, a.dout + head_row * D, mine, a.n);
    if (j < tile.end) {
        lk_copy_rows<KEYS, D>(shared.k[0], a.k + kv_at, j, a.m);
        lk_copy_rows<KEYS, D>(shared.v[0], a.v + kv_at, j, a.m);
    }
    lk_copy_group();
    for (; j < tile.end; j += KEYS, stage ^= 1) {
        if (j + KEYS < tile.end) {
            lk_copy_rows<KEYS, D>(shared.k[stage ^ 1], a.k + kv_at, j + KEYS, a.m);
            lk_copy_rows<KEYS, D>(shared.v[stage ^ 1], a.v + kv_at, j + KEYS, a.m);
        }
        lk_copy_group();
        lk_copy_wait<1>();
        __syncthreads();
        for (int half = 0; half < KEYS; half += COLS) {
            const int j0 = j + half;
            float s[COLS / 8][4], ds[COLS / 8][4];
            if (j0 + COLS <= own.first || j0 >= own.end)
                continue;
            const unsigned parts = lk_parts_seen(own.first, own.end, j0, COLS);
            multiply_parts<D, COLS>(s, q, shared.k[stage], half, parts);
            multiply_parts<D, COLS>(ds, dout, shared.v[stage], half, parts);
            LK_UNROLL
            for (int i = 0; i < COLS / 8; i++)
                if (parts >> (i * 8 / PART) & 1)
                    LK_UNROLL
            for (int x = 0; x < 4; x++) {
                const query &m = mine_of[x / 2];
                const int at = j0 + 8 * i + 2 * t + x % 2;
                const int sees = at >= m.run.first && at < m.run.end;
                const float dt =
                    a.slope && sees ? m.time - a.times[b * (a.n + a.m) + a.n + at] : 0.0f;
                pair_gradient(a, slope, dt, sees, m.lse, m.e, &s[i][x], &ds[i][x]);
                if (a.slope)
                    lk_slope_add(&sums[x / 2], s[i][x], ds[i][x], dt);
            }
            LK_UNROLL
            for (int i = 0; i < COLS / PART; i++)
                if (a.dq && parts >> i & 1)
                    lk_tile_gather<D, PART>(acc, ds + i * PART / 8, shared.k[stage],
                                            half + i * PART);
        }
        __syncthreads();
    }
    for (int r = 0; r < 2; r++)
        if (a.dq && mine + g + 8 * r < a.n)
            LK_UNROLL
    for (int i = 0; i < D / 8; i++)
        *(unsigned *)(a.dq + (head_row + mine + g + 8 * r) * D + 8 * i + 2 * t) =
            lk_pack(acc[i][2 * r] * a.scale, acc[i][2 * r + 1] * a.scale);
    float dslope[2] = {};
    for (int r = 0; a.dslope && r < 2; r++) {
        const float p = lk_quad_sum(sums[r].p), all = lk_quad_sum(sums[r].ds);
        const int there = mine + g + 8 * r < a.n;
        const float dlse = a.dlse && there ? a.dlse[head_row + mine + g + 8 * r] : 0.0f;
        dslope[0] += lk_slope_gradient(&sums[r], 0, all, p, dlse);
        dslope[1] += lk_slope_gradient(&sums[r], 1, all, p, dlse);
    }
    for (int side = 0; a.dslope && side < 2; side++) {
        const double sum = lk_block_sum_of<32 * WARPS>(dslope[side]);
        if (threadIdx.x == 0)
            a.dslope[2 * ((int64_t)blockIdx.y * gridDim.x + blockIdx.x) + side] = (float)sum;
    }
}

/* ---- 3 ---- */

template <int D> struct dkv_tiles {
    LK_SHARED_MEMBER(lk_bf16, k, [KEYS][D + 8]);
    LK_SHARED_MEMBER(lk_bf16, v, [KEYS][D + 8]);
    LK_SHARED_MEMBER(lk_bf16, q, [2][QUERIES][D + 8]);
    LK_SHARED_MEMBER(lk_bf16, dout, [2][QUERIES][D + 8]);
    LK_SHARED_MEMBER(float, lse, [2][QUERIES]);
    LK_SHARED_MEMBER(float, e, [2][QUERIES]);
    LK_SHARED_MEMBER(float, time, [2][QUERIES]);
};

/* d[16 rows][COLS] = a b^T, both in tiles, a's rows from row a0. */
template <int D, int COLS, typename TileA, typename TileB>
LK_DEVICE void product_of_tiles(float (*d)[4], TileA &a, int a0, TileB &b)
{
    const int lane = (int)threadIdx.x % 32;
    LK_UNROLL
    for (int i = 0; i < COLS / 8; i++)
        d[i][0] = d[i][1] = d[i][2] = d[i][3] = 0;
    LK_UNROLL
    for (int c = 0; c < D / 16; c++) {
        unsigned x[4];
        lk_load_quarters(x, &a[a0 + lk_a_row(lane)][16 * c + lk_a_col(lane)]);
        LK_UNROLL
        for (int i = 0; i < COLS / 16; i++) {
            unsigned r[4];
            lk_load_quarters(r, &b[16 * i + lk_b_row(lane)][16 * c + lk_b_col(lane)]);
            lk_mma(d[2 * i], x, r);
            lk_mma(d[2 * i + 1], x, r + 2);
        }
    }
}

template <int D>
LK_DEVICE void copy_queries(dkv_tiles<D> &shared, const lk_attend_args<lk_bf16> &a, int64_t b,
                            int64_t head_row, int64_t i0, int stage)
{
    const int i = (int)threadIdx.x;
    lk_copy_rows<QUERIES, D>(shared.q[stage], a.q + head_row * D, i0, a.n);
    lk_copy_rows<QUERIES, D>(shared.dout[stage], a.dout + head_row * D, i0, a.n);
    if (i < QUERIES) {
        const int there = i0 + i < a.n;
        shared.lse[stage][i] = there ? a.lse[head_row + i0 + i] * LK_LOG2_E : 0.0f;
        shared.e[stage][i] = there ? a.e[head_row + i0 + i] : 0.0f;
        shared.time[stage][i] = there && a.slope ? a.times[b * (a.n + a.m) + i0 + i] : 0.0f;
    }
}

/* One tile of queries added to the gradients of this warp's 16 keys. */
template <int D>
LK_DEVICE void add_queries(dkv_tiles<D> &shared, const lk_attend_args<lk_bf16> &a, int stage,
                           int i0, const float *slope, const lk_run *run, const float *time,
                           float (*dk)[4], float (*dv)[4])
{
    const int key0 = (int)threadIdx.x / 32 * 16, t = (int)threadIdx.x % 4;
    float s[QUERIES / 8][4], ds[QUERIES / 8][4];
    product_of_tiles<D, QUERIES>(s, shared.k, key0, shared.q[stage]);
    product_of_tiles<D, QUERIES>(ds, shared.v, key0, shared.dout[stage]);
    LK_UNROLL
    for (int i = 0; i < QUERIES / 8; i++)
        LK_UNROLL
    for (int x = 0; x < 4; x++) {
        const int col = 8 * i + 2 * t + x % 2;
        const int sees = i0 + col >= run[x / 2].first && i0 + col < run[x / 2].end;
        const float dt = a.slope ? (float)shared.time[stage][col] - time[x / 2] : 0.0f;
        pair_gradient(a, slope, dt, sees, shared.lse[stage][col], shared.e[stage][col], &s[i][x],
                      &ds[i][x]);
    }
    lk_tile_gather<D, QUERIES>(dv, s, shared.dout[stage], 0);
    lk_tile_gather<D, QUERIES>(dk, ds, shared.q[stage], 0);
}

/* This warp's 16 keys from `first` on of a part of dk or dv. */
template <int D>
LK_DEVICE void store_part(float *to, int64_t before, int64_t first, int64_t m,
                          const float (*acc)[4])
{
    const int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
    for (int r = 0; r < 2; r++)
        if (first + g + 8 * r < m)
            LK_UNROLL
    for (int i = 0; i < D / 8; i++) {
        float *p = to + (before + first + g + 8 * r) * D + 8 * i + 2 * t;
        p[0] = acc[i][2 * r];
        p[1] = acc[i][2 * r + 1];
    }
}

template <int D>
__global__ void __launch_bounds__(32 * WARPS, 2)
    attention_dkv_kernel(lk_attend_args<lk_bf16> a, float *parts)
{
    if (a.wide && *a.wide)
        return;
    LK_SHARED_TILES(dkv_tiles<D>, shared);
    const int64_t b = (int)blockIdx.y / a.kv_heads, kv = (int)blockIdx.y % a.kv_heads;
    const int64_t key0 = (int64_t)blockIdx.x * KEYS, mine = key0 + threadIdx.x / 32 * 16;
    const int64_t kv_at = (int64_t)blockIdx.y * a.m;
    const int group = a.heads / a.kv_heads, lane = (int)threadIdx.x % 32, g = lane / 4;
    const lk_attend_tile tile = lk_tile_of(a, b, key0, KEYS, a.m, a.n, a.n);
    const lk_attend_tile own = lk_tile_of(a, b, mine, 16, a.m, a.n, a.n);
    const int begin = tile.first / QUERIES * QUERIES;
    const int n_tiles = tile.end > begin ? (tile.end - begin + QUERIES - 1) / QUERIES : 0;
    const int n_steps = n_tiles * group, part = (int)blockIdx.z, n_parts = (int)gridDim.z;
    const int u0 = (int)((int64_t)n_steps * part / n_parts);
    const int u1 = (int)((int64_t)n_steps * (part + 1) / n_parts);
    float dk[D / 8][4] = {}, dv[D / 8][4] = {}, time[2] = {};
    lk_run run[2];
    for (int r = 0; r < 2; r++) {
        run[r] = lk_run_of(a, b, mine + g + 8 * r, a.m, a.n, a.n);
        if (a.slope && mine + g + 8 * r < a.m)
            time[r] = a.times[b * (a.n + a.m) + a.n + mine + g + 8 * r];
    }
    lk_copy_rows<KEYS, D>(shared.k, a.k + kv_at * D, key0, a.m);
    lk_copy_rows<KEYS, D>(shared.v, a.v + kv_at * D, key0, a.m);
    if (u0 < u1)
        copy_queries(shared, a, b, (b * a.heads + kv * group + u0 / n_tiles) * a.n,
                     begin + u0 % n_tiles * QUERIES, u0 % 2);
    lk_copy_group();
    for (int u = u0; u < u1; u++) {
        const int h = (int)kv * group + u / n_tiles, i0 = begin + u % n_tiles * QUERIES;
        const int stage = u % 2;
        if (u + 1 < u1)
            copy_queries(shared, a, b, (b * a.heads + kv * group + (u + 1) / n_tiles) * a.n,
                         begin + (u + 1) % n_tiles * QUERIES, stage ^ 1);
        lk_copy_group();
        lk_copy_wait<1>();
        __syncthreads();
        if (i0 + QUERIES > own.first && i0 < own.end)
            add_queries(shared, a, stage, i0, a.slope ? a.slope + 2 * h : NULL, run, time, dk, dv);
        __syncthreads();
    }
    if (n_parts > 1) {
        const int64_t all = (int64_t)gridDim.y * a.m * D; /* numbers of dk */
        store_part<D>(parts + part * 2 * all, kv_at, mine, a.m, dk);
        store_part<D>(parts + (part * 2 + 1) * all, kv_at, mine, a.m, dv);
        return;
    }
    for (int r = 0; r < 2; r++)
        if (mine + g + 8 * r < a.m)
            LK_UNROLL
    for (int i = 0; i < D / 8; i++) {
        const int64_t at = (kv_at + mine + g + 8 * r) * D + 8 * i + 2 * (lane % 4);
        if (a.dk)
            *(unsigned *)(a.dk + at) = lk_pack(dk[i][2 * r] * a.scale, dk[i][2 * r + 1] * a.scale);
        if (a.dv)
            *(unsigned *)(a.dv + at) = lk_pack(dv[i][2 * r], dv[i][2 * r + 1]);
    }
}

/* dk and dv [n]: the sums of their parts [n_parts, 2, n], n a multiple of LK_ITEMS. */
__global__ void attention_add_parts_kernel(lk_attend_args<lk_bf16> a, const float *parts,
                                           int n_parts, int64_t n)
{
    const int64_t i = lk_thread_index() * LK_ITEMS;
    float x[2][LK_ITEMS] = {}, y[LK_ITEMS];
    if (i >= n)
        return;
    for (int p = 0; p < 2 * n_parts; p++) {
        lk_load_whole(parts + p * n + i, y);
        LK_UNROLL
        for (int k = 0; k < LK_ITEMS; k++)
            x[p % 2][k] += y[k];
    }
    LK_UNROLL
    for (int k = 0; k < LK_ITEMS; k++)
        x[0][k] *= a.scale;
    if (a.dk)
        lk_store_whole(a.dk + i, x[0]);
    if (a.dv)
        lk_store_whole(a.dv + i, x[1]);
}

/* ---- 4 ---- */

/* Block 2 h + side adds the parts [B, heads, n_parts, 2] of one head and side. */
__global__ void attention_dslope_kernel(int64_t n_batch, int heads, int64_t n_parts,
                                        const float *part, float *dslope)
{
    const int64_t h = blockIdx.x / 2, side = blockIdx.x % 2;
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n_batch * n_parts; i += LK_THREADS)
        sum += part[2 * ((i / n_parts * heads + h) * n_parts + i % n_parts) + side];
    sum = lk_block_sum(sum);
    if (threadIdx.x == 0)
        dslope[2 * h + side] = (float)sum;
}

lk_status LK_CUDA(attend_dslope)(const lk_call *c, const float *part, int64_t n_parts,
                                 lk_cuda_stream stream)
{
    const lk_attention_sizes s = lk_attention_sizes_of(c);
    return LK_LAUNCH(attention_dslope_kernel, (unsigned)(2 * s.heads), LK_THREADS, stream,
                     s.n_batch, (int)s.heads, n_parts, part, (float *)c->out[3].data);
}

/* ---- together ---- */

/* Work space in floats: e [B H N], the slopes' parts (the kernels without tiles make one part a
 * row), those of dk and dv, and for attention_hopper_grad.cu its pairs, and whether the plan is
 * wide. */
struct grad_work {
    int64_t parts_at, keys_at, pairs_at, wide_at, n;
};

static int parts_for_tests;

void LK_CUDA(attend_parts)(int n)
{
    parts_for_tests = n;
}

/* Blocks that share a tile of keys: several where there are few tiles for a device of 132
 * multiprocessors, and many queries for each. */
static int parts_of(const lk_attention_sizes &s)
{
    const int64_t tiles = (s.m + KEYS - 1) / KEYS * s.n_batch * s.kv_heads;
    const int64_t steps = s.m ? s.n * s.heads / s.kv_heads / QUERIES : 0;
    int n = 1;
    while (n < 8 && tiles * n < 528 && steps >= 32 * n)
        n *= 2;
    return parts_for_tests ? parts_for_tests : n;
}

static grad_work grad_work_of(const lk_call *c)
{
    const lk_attention_sizes s = lk_attention_sizes_of(c);
    const int64_t rows = s.n_batch * s.heads * s.n, by = lk_attend_has_tiles(c) ? 16 * WARPS : 1;
    grad_work w;
    w.parts_at = rows;
    w.keys_at = (rows + 2 * s.n_batch * s.heads * ((s.n + by - 1) / by) + 3) / 4 * 4;
    w.pairs_at = w.keys_at;
    if (lk_attend_has_tiles(c) && parts_of(s) > 1)
        w.pairs_at += parts_of(s) * 2 * s.n_batch * s.kv_heads * s.m * s.d;
    w.wide_at = w.pairs_at;
    w.n = w.pairs_at;
    if (LK_CUDA(attend_hopper_may)(c)) {
        w.wide_at += 2 * LK_CUDA(attend_hopper_pairs)(c);
        w.n = w.wide_at + 1;
    }
    return w;
}

static lk_status grad_prepare(lk_call *c, size_t *work_bytes)
{
    *work_bytes = (size_t)grad_work_of(c).n * sizeof(float);
    return LK_OK;
}

template <int D>
static lk_status launch_grad(const lk_call *c, lk_attend_args<lk_bf16> &a, float *parts,
                             lk_cuda_stream stream)
{
    lk_status st = LK_OK;
    const int64_t n_batch = c->in[0].shape.dim[0];
    const unsigned tiles = (unsigned)((a.n + 16 * WARPS - 1) / (16 * WARPS));
    const unsigned key_tiles = (unsigned)((a.m + KEYS - 1) / KEYS);
    if (tiles && (a.dq || a.dslope))
        LK_TRY(LK_LAUNCH_TILES(attention_dq_kernel<D>, dim3(tiles, (unsigned)(n_batch * a.heads)),
                               32 * WARPS, sizeof(dq_tiles<D>), stream, a));
    if (key_tiles && (a.dk || a.dv)) {
        const int n_parts = parts_of(lk_attention_sizes_of(c));
        const int64_t n = n_batch * a.kv_heads * a.m * D;
        LK_TRY(LK_LAUNCH_TILES(attention_dkv_kernel<D>,
                               dim3(key_tiles, (unsigned)(n_batch * a.kv_heads), (unsigned)n_parts),
                               32 * WARPS, sizeof(dkv_tiles<D>), stream, a, parts));
        if (n_parts > 1)
            LK_TRY(LK_LAUNCH(attention_add_parts_kernel, lk_blocks(n / LK_ITEMS), LK_THREADS,
                             stream, a, parts, n_parts, n));
    }
    if (a.dslope)
        LK_TRY(LK_CUDA(attend_dslope)(c, a.dslope, tiles, stream));
done:
    return st;
}

static lk_status grad_launch(const lk_call *c, lk_cuda_stream stream)
{
    lk_status st = LK_OK;
    lk_attend_args<lk_bf16> a = lk_attend_args_of<lk_bf16>(c);
    float *e = (float *)c->work;
    const grad_work work = grad_work_of(c);
    const int hopper = LK_CUDA(attend_hopper_may)(c);
    const int64_t rows = lk_rows(&c->in[0].shape);
    if (rows)
        LK_TRY(LK_CUDA(attend_e)(c, e, stream));
    if (!lk_attend_has_tiles(c)) {
        LK_TRY(LK_CUDA(attend_plain_grad)(c, stream));
        goto done;
    }
    a.lse = (float *)c->in[LK_ATTENTION_LSE].data;
    a.dout = (const lk_bf16 *)c->in[LK_ATTENTION_DOUT].data;
    a.dlse = (const float *)c->in[LK_ATTENTION_DLSE].data;
    a.e = e;
    a.dq = (lk_bf16 *)c->out[0].data;
    a.dk = (lk_bf16 *)c->out[1].data;
    a.dv = (lk_bf16 *)c->out[2].data;
    a.dslope = c->out[3].data ? e + work.parts_at : NULL;
    if (hopper == 1) {
        int *wide = (int *)(e + work.wide_at);
        LK_TRY(LK_CUDA(attend_judge)(&a, c->in[0].shape.dim[0], wide, stream));
        a.wide = wide;
    }
    if (hopper)
        LK_TRY(LK_CUDA(attend_hopper_grad)(&a, c->in[0].shape.dim[0], e + work.pairs_at, stream));
    if (hopper == 2)
        goto done;
    LK_TRY(a.d == 32   ? launch_grad<32>(c, a, e + work.keys_at, stream)
           : a.d == 64 ? launch_grad<64>(c, a, e + work.keys_at, stream)
                       : launch_grad<128>(c, a, e + work.keys_at, stream));
done:
    return st;
}

const lk_cuda_kernel LK_CUDA(attention_grad) = {grad_prepare, NULL, grad_launch};
