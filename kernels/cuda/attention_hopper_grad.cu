/* attention_hopper_grad.cu - attention_grad.cu for sm_90a: wide plans, bf16 with rows of 64 or 128
 * numbers; blocks as in attention_hopper.cu.
 *
 *   1  a pair for each query: lse log2 e, +Inf where it sees nothing, so that its weights are 0,
 *      and e
 *   2  dq by tiles of queries; tiles of keys and values pass by
 *
 *          s = q k^T, ds = g v^T      p = 2^(s - lse), ds = p (ds - e)      dq += ds k
 *
 *   3  dk and dv by tiles of keys; tiles of queries and of g pass by, of all heads that share the
 *      keys, with the transposed scores, so that weights are operands as they lie in registers
 *
 *          s = k q^T, ds = v g^T      p and ds as above      dv += p g, dk += ds q
 *
 * The last products of a tile are under way while the first of the next one are issued.  Nothing is
 * added by two blocks.
 */
#include "kernels/cuda/attention_hopper.h"

enum { QUERIES = 64 /* of a tile that passes by */, PAIR_BYTES = 8, STAGES = 3 };

/* Bytes of shared memory, and the words of its phases.  A: what stays, B: what passes by. */
template <int D> struct dq_parts {
    enum {
        ARRIVALS = LK_WIDE_WARPS,  /* that empty a stage */
        KEYS = D == 64 ? 128 : 64, /* what registers hold */
        OWN = LK_WIDE_ROWS * D * 2,
        TILE = KEYS * D * 2,
        DOUT_AT = OWN,
        K_AT = 2 * OWN,
        V_AT = K_AT + STAGES * TILE,
        OWN_FULL = V_AT + STAGES * TILE,
        OWN_EMPTY = OWN_FULL + 8,
        FULL = OWN_EMPTY + 8,
        EMPTY = FULL + 8 * STAGES,
        BYTES = EMPTY + 8 * STAGES + LK_PANEL_ALIGN
    };
};
template <int D> struct dkv_parts {
    enum {
        ARRIVALS = 32 * LK_WIDE_WARPS, /* each lane reads pairs itself */
        OWN = LK_WIDE_ROWS * D * 2,
        TILE = QUERIES * D * 2,
        PAIRS = QUERIES * PAIR_BYTES,
        V_AT = OWN,
        Q_AT = 2 * OWN,
        DOUT_AT = Q_AT + STAGES * TILE,
        PAIRS_AT = DOUT_AT + STAGES * TILE,
        OWN_FULL = PAIRS_AT + STAGES * PAIRS,
        OWN_EMPTY = OWN_FULL + 8,
        FULL = OWN_EMPTY + 8,
        EMPTY = FULL + 8 * STAGES,
        BYTES = EMPTY + 8 * STAGES + LK_PANEL_ALIGN
    };
};

struct grad_maps {
    lk_tensor_map own[2], passing[2]; /* q and g, k and v; or k and v, q and g */
};

/* Queries of a plane with their pairs, absent ones at the end. */
LK_LAYOUT_FN int64_t padded(int64_t n)
{
    return (n + QUERIES - 1) / QUERIES * QUERIES;
}

/* ---- 1 ---- */

__global__ void attend_pairs_kernel(lk_attend_args<lk_bf16> a, int64_t n_pairs, float *pairs)
{
    const int64_t u = lk_thread_index(), width = padded(a.n);
    const int64_t plane = u / width, i = u % width;
    const int64_t row = plane * a.n + i;
    if (u >= n_pairs || (a.wide && !*a.wide))
        return;
    pairs[2 * u] = i < a.n && a.lse[row] > -INFINITY ? a.lse[row] * LK_LOG2_E : INFINITY;
    pairs[2 * u + 1] = i < a.n ? a.e[row] : 0.0f;
}

/* ---- phases ---- */

template <class Parts> LK_DEVICE void init_phases(uint32_t base, const grad_maps &maps)
{
    if (threadIdx.x == 0) {
        for (int i = 0; i < 2; i++) {
            lk_map_fetch(&maps.own[i]);
            lk_map_fetch(&maps.passing[i]);
        }
        lk_phase_init(base + Parts::OWN_FULL, 1);
        lk_phase_init(base + Parts::OWN_EMPTY, LK_WIDE_WARPS);
        for (uint32_t i = 0; i < 8 * STAGES; i += 8) {
            lk_phase_init(base + Parts::FULL + i, 1);
            lk_phase_init(base + Parts::EMPTY + i, Parts::ARRIVALS);
        }
        lk_phase_inits_done();
    }
    __syncthreads();
}

/* Have both tiles that stay copied, once the last ones are not needed any more. */
template <int D, class Parts>
LK_DEVICE void copy_own(uint32_t base, const grad_maps &maps, const lk_wide_tile &f,
                        unsigned *parity)
{
    const uint32_t word = base + Parts::OWN_FULL;
    lk_phase_wait(base + Parts::OWN_EMPTY, *parity);
    *parity ^= 1;
    lk_phase_expect(word, 2 * Parts::OWN);
    lk_wide_copy<D, LK_WIDE_ROWS>(base, &maps.own[0], (int)f.row0, f.plane, word);
    lk_wide_copy<D, LK_WIDE_ROWS>(base + Parts::OWN, &maps.own[1], (int)f.row0, f.plane, word);
}

/* A weight and the gradient at its score: s a product, ds the product g . v. */
LK_DEVICE void weigh(float *s, float scale, float lse)
{
    *s = lk_exp2(*s * scale - lse);
}

/* Rows first .. of plane `plane` of to [planes, n_rows, D] = scale acc; 0 where a row sees nothing.
 */
template <int D>
LK_DEVICE void store_gradient(lk_bf16 *to, int plane, int64_t first, int64_t n_rows,
                              const lk_run *run, const float (*acc)[4], float scale)
{
    LK_UNROLL
    for (int r = 0; r < 2; r++) {
        const int64_t row = first + lk_wide_thread_row() + 8 * r;
        const int seen = run[r].first < run[r].end;
        if (!to || row >= n_rows)
            continue;
        LK_UNROLL
        for (int i = 0; i < D / 8; i++)
            *(unsigned *)(to + (plane * n_rows + row) * D + 8 * i + 2 * (threadIdx.x % 4)) =
                seen ? lk_pack(acc[i][2 * r] * scale, acc[i][2 * r + 1] * scale) : 0u;
    }
}

/* ---- 2 ---- */

template <int D>
LK_DEVICE void dq_copy_all(const lk_attend_args<lk_bf16> &a, const grad_maps &maps, uint32_t base,
                           int64_t items)
{
    typedef dq_parts<D> parts;
    enum { KEYS = parts::KEYS };
    lk_stage stage = {0, 1};
    unsigned own_parity = 1;
    for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
        const lk_wide_tile f = lk_wide_tile_of(a, item, a.heads, a.n, 0, a.m, KEYS);
        const int kv_plane = lk_wide_kv_plane(a, f);
        if (f.n)
            copy_own<D, parts>(base, maps, f, &own_parity);
        for (int t = 0; t < f.n; t++) {
            const uint32_t at = base + (uint32_t)(stage.at * parts::TILE);
            const uint32_t word = base + (uint32_t)(8 * stage.at);
            const int row = f.first + t * KEYS;
            lk_phase_wait(word + parts::EMPTY, stage.parity);
            lk_phase_expect(word + parts::FULL, 2 * parts::TILE);
            lk_wide_copy<D, KEYS>(at + parts::K_AT, &maps.passing[0], row, kv_plane,
                                  word + parts::FULL);
            lk_wide_copy<D, KEYS>(at + parts::V_AT, &maps.passing[1], row, kv_plane,
                                  word + parts::FULL);
            lk_stage_next<STAGES>(&stage);
        }
    }
}

/* This thread's two rows. */
struct grad_rows {
    lk_attend_tile own; /* of the warpgroup */
    lk_run run[2];
    float lse[2], e[2], scale;
};

template <int D>
LK_DEVICE void dq_tiles(const lk_wide_tile &f, uint32_t base, int group, lk_stage *stage,
                        const grad_rows &rows, float (*acc)[4])
{
    typedef dq_parts<D> parts;
    enum { KEYS = parts::KEYS };
    float s[KEYS / 8][4], ds[KEYS / 8][4];
    unsigned p[KEYS / 16][4];
    uint32_t word_before = 0;
    for (int t = 0; t < f.n; t++) {
        const uint32_t at = base + (uint32_t)(stage->at * parts::TILE);
        const uint32_t word = base + (uint32_t)(8 * stage->at);
        const int j0 = f.first + t * KEYS;
        lk_phase_wait(word + parts::FULL, stage->parity);
        lk_product_begin();
        lk_issue_rows<D, KEYS>(s, base, (uint32_t)(group * 64), at + parts::K_AT);
        lk_product_group();
        lk_issue_rows<D, KEYS>(ds, base + parts::DOUT_AT, (uint32_t)(group * 64), at + parts::V_AT);
        lk_product_group();
        lk_product_wait<1>();
        lk_product_done<KEYS>(s);
        if (t > 0)
            lk_wide_arrive(word_before + parts::EMPTY);
        LK_UNROLL
        for (int i = 0; i < KEYS / 8; i++)
            LK_UNROLL
        for (int x = 0; x < 4; x++)
            weigh(&s[i][x], rows.scale, rows.lse[x / 2]);
        if (j0 < rows.own.full_first || j0 + KEYS > rows.own.full_end)
            lk_wide_hide<KEYS>(s, rows.run, j0, 0.0f);
        lk_product_wait<0>();
        lk_product_done<KEYS>(ds);
        LK_UNROLL
        for (int i = 0; i < KEYS / 8; i++)
            LK_UNROLL
        for (int x = 0; x < 4; x++)
            s[i][x] *= ds[i][x] - rows.e[x / 2];
        lk_wide_pack<KEYS>(p, s);
        lk_product_begin();
        lk_issue_columns<D, KEYS>(acc, p, at + parts::K_AT);
        lk_product_group();
        word_before = word;
        lk_stage_next<STAGES>(stage);
    }
    lk_product_wait<0>();
    lk_product_done<D>(acc);
    lk_wide_arrive(word_before + parts::EMPTY);
}

template <int D>
LK_DEVICE void dq_all(const lk_attend_args<lk_bf16> &a, const float *pairs, uint32_t base,
                      int64_t items)
{
    typedef dq_parts<D> parts;
    const int group = (int)threadIdx.x / LK_WIDE_GROUP - 1;
    lk_stage stage = {0, 0};
    unsigned own_parity = 0;
    for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
        const lk_wide_tile f = lk_wide_tile_of(a, item, a.heads, a.n, 0, a.m, parts::KEYS);
        const int64_t own_row = f.row0 + group * 64, warp_row = own_row + lk_wide_warp_row();
        grad_rows rows = {};
        float acc[D / 8][4] = {};
        rows.own = lk_tile_of(a, f.b, own_row, 64, a.n, 0, a.m);
        rows.scale = a.scale * LK_LOG2_E;
        LK_UNROLL
        for (int r = 0; r < 2; r++) {
            const int64_t row = warp_row + lk_wide_thread_row() + 8 * r;
            const int64_t at = 2 * (f.plane * padded(a.n) + row);
            rows.run[r] = lk_run_of(a, f.b, row, a.n, 0, a.m);
            rows.lse[r] = row < a.n ? pairs[at] : INFINITY;
            rows.e[r] = row < a.n ? pairs[at + 1] : 0.0f;
        }
        if (f.n) {
            lk_phase_wait(base + parts::OWN_FULL, own_parity);
            own_parity ^= 1;
            dq_tiles<D>(f, base, group, &stage, rows, acc);
            lk_wide_arrive(base + parts::OWN_EMPTY);
        }
        store_gradient<D>(a.dq, f.plane, warp_row, a.n, rows.run, acc, a.scale);
    }
}

template <int D>
__global__ void __launch_bounds__(LK_WIDE_THREADS, 1)
    attention_hopper_dq_kernel(lk_attend_args<lk_bf16> a, const __grid_constant__ grad_maps maps,
                               const float *pairs, int64_t items)
{
    const uint32_t base = lk_shared_start();
    if (a.wide && !*a.wide)
        return;
    init_phases<dq_parts<D>>(base, maps);
    if (threadIdx.x < LK_WIDE_GROUP) {
        lk_registers_keep<24>();
        if (threadIdx.x == 0)
            dq_copy_all<D>(a, maps, base, items);
    } else {
        lk_registers_take<240>();
        dq_all<D>(a, pairs, base, items);
    }
}

/* ---- 3 ---- */

template <int D>
LK_DEVICE void dkv_copy_all(const lk_attend_args<lk_bf16> &a, const grad_maps &maps,
                            const float *pairs, uint32_t base, int64_t items)
{
    typedef dkv_parts<D> parts;
    const int group = a.heads / a.kv_heads;
    lk_stage stage = {0, 1};
    unsigned own_parity = 1;
    for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
        const lk_wide_tile f = lk_wide_tile_of(a, item, a.kv_heads, a.m, a.n, a.n, QUERIES);
        if (f.n)
            copy_own<D, parts>(base, maps, f, &own_parity);
        for (int u = 0; u < f.n * group; u++) {
            const uint32_t at = base + (uint32_t)(stage.at * parts::TILE);
            const uint32_t word = base + (uint32_t)(8 * stage.at);
            const int row = f.first + u % f.n * QUERIES, plane = f.plane * group + u / f.n;
            lk_phase_wait(word + parts::EMPTY, stage.parity);
            lk_phase_expect(word + parts::FULL, 2 * parts::TILE + parts::PAIRS);
            lk_wide_copy<D, QUERIES>(at + parts::Q_AT, &maps.passing[0], row, plane,
                                     word + parts::FULL);
            lk_wide_copy<D, QUERIES>(at + parts::DOUT_AT, &maps.passing[1], row, plane,
                                     word + parts::FULL);
            lk_bytes_copy(base + (uint32_t)(parts::PAIRS_AT + stage.at * parts::PAIRS),
                          pairs + 2 * (plane * padded(a.n) + row), parts::PAIRS,
                          word + parts::FULL);
            lk_stage_next<STAGES>(&stage);
        }
    }
}

template <int D>
LK_DEVICE void dkv_tiles(const lk_wide_tile &f, int n_tiles, uint32_t base, int group,
                         lk_stage *stage, const grad_rows &rows, float (*dk)[4], float (*dv)[4])
{
    typedef dkv_parts<D> parts;
    float s[QUERIES / 8][4], ds[QUERIES / 8][4];
    unsigned p[QUERIES / 16][4];
    uint32_t word_before = 0;
    for (int u = 0; u < n_tiles; u++) {
        const uint32_t at = base + (uint32_t)(stage->at * parts::TILE);
        const uint32_t word = base + (uint32_t)(8 * stage->at);
        const uint32_t pairs = base + (uint32_t)(parts::PAIRS_AT + stage->at * parts::PAIRS) +
                               threadIdx.x % 4 * 2 * PAIR_BYTES;
        const int i0 = f.first + u % f.n * QUERIES;
        lk_phase_wait(word + parts::FULL, stage->parity);
        lk_product_begin();
        lk_issue_rows<D, QUERIES>(s, base, (uint32_t)(group * 64), at + parts::Q_AT);
        lk_product_group();
        lk_product_wait<0>();
        lk_product_done<QUERIES>(s);
        if (u > 0)
            lk_phase_arrive(word_before + parts::EMPTY);
        LK_UNROLL
        for (int i = 0; i < QUERIES / 8; i++) {
            const float4 both = lk_shared_four(pairs + (uint32_t)(8 * i * PAIR_BYTES));
            LK_UNROLL
            for (int x = 0; x < 4; x++)
                weigh(&s[i][x], rows.scale, x % 2 ? both.z : both.x);
        }
        if (i0 < rows.own.full_first || i0 + QUERIES > rows.own.full_end)
            lk_wide_hide<QUERIES>(s, rows.run, i0, 0.0f);
        lk_wide_pack<QUERIES>(p, s);
        lk_product_begin();
        lk_issue_rows<D, QUERIES>(ds, base + parts::V_AT, (uint32_t)(group * 64),
                                  at + parts::DOUT_AT);
        lk_issue_columns<D, QUERIES>(dv, p, at + parts::DOUT_AT);
        lk_product_group();
        lk_product_wait<0>();
        lk_product_done<QUERIES>(ds);
        LK_UNROLL
        for (int i = 0; i < QUERIES / 8; i++) {
            const float4 both = lk_shared_four(pairs + (uint32_t)(8 * i * PAIR_BYTES));
            LK_UNROLL
            for (int x = 0; x < 4; x++)
                s[i][x] *= ds[i][x] - (x % 2 ? both.w : both.y);
        }
        lk_wide_pack<QUERIES>(p, s);
        lk_product_begin();
        lk_issue_columns<D, QUERIES>(dk, p, at + parts::Q_AT);
        lk_product_group();
        word_before = word;
        lk_stage_next<STAGES>(stage);
    }
    lk_product_wait<0>();
    lk_product_done<D>(dv);
    lk_product_done<D>(dk);
    lk_phase_arrive(word_before + parts::EMPTY);
}

template <int D>
LK_DEVICE void dkv_all(const lk_attend_args<lk_bf16> &a, uint32_t base, int64_t items)
{
    typedef dkv_parts<D> parts;
    const int group = (int)threadIdx.x / LK_WIDE_GROUP - 1;
    lk_stage stage = {0, 0};
    unsigned own_parity = 0;
    for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
        const lk_wide_tile f = lk_wide_tile_of(a, item, a.kv_heads, a.m, a.n, a.n, QUERIES);
        const int64_t own_row = f.row0 + group * 64, warp_row = own_row + lk_wide_warp_row();
        grad_rows rows = {};
        float dk[D / 8][4] = {}, dv[D / 8][4] = {};
        rows.own = lk_tile_of(a, f.b, own_row, 64, a.m, a.n, a.n);
        rows.scale = a.scale * LK_LOG2_E;
        LK_UNROLL
        for (int r = 0; r < 2; r++)
            rows.run[r] = lk_run_of(a, f.b, warp_row + lk_wide_thread_row() + 8 * r, a.m, a.n, a.n);
        if (f.n) {
            lk_phase_wait(base + parts::OWN_FULL, own_parity);
            own_parity ^= 1;
            dkv_tiles<D>(f, f.n * (a.heads / a.kv_heads), base, group, &stage, rows, dk, dv);
            lk_wide_arrive(base + parts::OWN_EMPTY);
        }
        store_gradient<D>(a.dk, f.plane, warp_row, a.m, rows.run, dk, a.scale);
        store_gradient<D>(a.dv, f.plane, warp_row, a.m, rows.run, dv, 1.0f);
    }
}

template <int D>
__global__ void __launch_bounds__(LK_WIDE_THREADS, 1)
    attention_hopper_dkv_kernel(lk_attend_args<lk_bf16> a, const __grid_constant__ grad_maps maps,
                                const float *pairs, int64_t items)
{
    const uint32_t base = lk_shared_start();
    if (a.wide && !*a.wide)
        return;
    init_phases<dkv_parts<D>>(base, maps);
    if (threadIdx.x < LK_WIDE_GROUP) {
        lk_registers_keep<24>();
        if (threadIdx.x == 0)
            dkv_copy_all<D>(a, maps, pairs, base, items);
    } else {
        lk_registers_take<240>();
        dkv_all<D>(a, base, items);
    }
}

/* ---- together ---- */

int64_t LK_CUDA(attend_hopper_pairs)(const lk_call *c)
{
    const lk_attention_sizes s = lk_attention_sizes_of(c);
    return s.n_batch * s.heads * padded(s.n);
}

/* Blocks for so many rows in so many planes, and their tiles. */
static unsigned blocks_for(int64_t n_rows, int64_t planes, int64_t *items)
{
    const int64_t places = LK_CUDA(hopper_places)();
    *items = (n_rows + LK_WIDE_ROWS - 1) / LK_WIDE_ROWS * planes;
    return (unsigned)(*items < places ? *items : places);
}

template <int D>
static lk_status launch(const lk_attend_args<lk_bf16> &a, int64_t n_batch, const float *pairs,
                        lk_cuda_stream stream)
{
    const int64_t planes = n_batch * a.heads, kv_planes = n_batch * a.kv_heads;
    lk_status st = LK_OK;
    const int dq_keys = dq_parts<D>::KEYS, queries = QUERIES, own = LK_WIDE_ROWS;
    grad_maps q, k;
    int64_t items;
    unsigned blocks = blocks_for(a.n, planes, &items);
    for (int of_keys = 0; of_keys < 2; of_keys++) {
        lk_tensor_map *query = of_keys ? k.passing : q.own, *key = of_keys ? k.own : q.passing;
        const int query_rows = of_keys ? queries : own, key_rows = of_keys ? own : dq_keys;
        LK_TRY(LK_CUDA(tensor_map)(&query[0], a.q, D, a.n, planes, query_rows));
        LK_TRY(LK_CUDA(tensor_map)(&query[1], a.dout, D, a.n, planes, query_rows));
        LK_TRY(LK_CUDA(tensor_map)(&key[0], a.k, D, a.m, kv_planes, key_rows));
        LK_TRY(LK_CUDA(tensor_map)(&key[1], a.v, D, a.m, kv_planes, key_rows));
    }
    if (a.dq)
        LK_TRY(LK_LAUNCH_TILES(attention_hopper_dq_kernel<D>, blocks, LK_WIDE_THREADS,
                               dq_parts<D>::BYTES, stream, a, q, pairs, items));
    blocks = blocks_for(a.m, kv_planes, &items);
    if (a.dk || a.dv)
        LK_TRY(LK_LAUNCH_TILES(attention_hopper_dkv_kernel<D>, blocks, LK_WIDE_THREADS,
                               dkv_parts<D>::BYTES, stream, a, k, pairs, items));
done:
    return st;
}

lk_status LK_CUDA(attend_hopper_grad)(const lk_attend_args<lk_bf16> *a, int64_t n_batch,
                                      float *pairs, lk_cuda_stream stream)
{
    const int64_t n = n_batch * a->heads * padded(a->n);
    lk_status st = LK_OK;
    LK_TRY(LK_LAUNCH(attend_pairs_kernel, lk_blocks(n), LK_THREADS, stream, *a, n, pairs));
    LK_TRY(a->d == 64 ? launch<64>(*a, n_batch, pairs, stream)
                      : launch<128>(*a, n_batch, pairs, stream));
done:
    return st;
}
