/* attention_hopper.cu - attention.cu for sm_90a: wide windows and all keys, bf16 with rows of 64 or
 * 128 numbers (hopper.h has the instructions, hopper_layout.h where numbers lie).
 *
 * A block stays on its multiprocessor and takes one tile of 128 queries after another.  One thread
 * of its first warpgroup has queries, keys and values copied into rings of tiles of 128 keys; two
 * warpgroups own 64 queries each and take turns: while one multiplies, the other takes exponentials
 *
 *     s(t) = q k(t)^T  and  acc += p(t - 1) v(t - 1)     issued together
 *     p(t) = 2^(s(t) - m')                               while the second is still under way
 *
 * with the running largest score and sum of attention.cu.  Weights stay in registers.  Whether a
 * tile is partial, and which bits of it are seen, follows from the plan.
 *
 * A plan lies on the device and may change between runs, so whether its windows are wide is decided
 * there: lk_attend_judge looks at up to 512 rows, and of this kernel and attention.cu's the one
 * that is not wanted leaves at once.
 */
#include "kernels/cuda/attention_hopper.h"

enum {
    KEYS = 128,
    TURN = 1,         /* named barriers TURN, TURN + 1 of the two warpgroups */
    WIDE = 192,       /* keys a query from which on these kernels are taken */
    LEAST_TILES = 66, /* half of an H100's multiprocessors */
    JUDGED_ROWS = 512
};

/* Bytes of shared memory, and the words of its phases. */
template <int D> struct forward_parts {
    enum {
        STAGES = D == 64 ? 4 : 2,
        TILE = KEYS * D * 2,
        OWN = LK_WIDE_ROWS * D * 2,
        K_AT = OWN,
        V_AT = K_AT + STAGES * TILE,
        WORDS_AT = V_AT + STAGES * TILE,
        Q_FULL = WORDS_AT,
        Q_EMPTY = Q_FULL + 8,
        K_FULL = Q_EMPTY + 8,
        K_EMPTY = K_FULL + 8 * STAGES,
        V_FULL = K_EMPTY + 8 * STAGES,
        V_EMPTY = V_FULL + 8 * STAGES,
        BYTES = V_EMPTY + 8 * STAGES + LK_PANEL_ALIGN
    };
};

struct forward_maps {
    lk_tensor_map q, k, v;
};

LK_DEVICE lk_wide_tile tile_of(const lk_attend_args<lk_bf16> &a, int64_t item)
{
    return lk_wide_tile_of(a, item, a.heads, a.n, 0, a.m, KEYS);
}

/* ---- the copying thread ---- */

template <int D>
LK_DEVICE void copy_all(const lk_attend_args<lk_bf16> &a, const forward_maps &maps, uint32_t base,
                        int64_t items)
{
    typedef forward_parts<D> parts;
    lk_stage stage = {0, 1}; /* the parity that emptied it: nothing to wait for at first */
    unsigned q_parity = 1;
    for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
        const lk_wide_tile f = tile_of(a, item);
        const int kv_plane = lk_wide_kv_plane(a, f);
        if (f.n) {
            lk_phase_wait(base + parts::Q_EMPTY, q_parity);
            q_parity ^= 1;
            lk_phase_expect(base + parts::Q_FULL, parts::OWN);
            lk_wide_copy<D, LK_WIDE_ROWS>(base, &maps.q, (int)f.row0, f.plane,
                                          base + parts::Q_FULL);
        }
        for (int t = 0; t < f.n; t++) {
            const uint32_t at = (uint32_t)(stage.at * parts::TILE);
            const uint32_t word = base + (uint32_t)(8 * stage.at);
            const int row = f.first + t * KEYS;
            lk_phase_wait(word + parts::K_EMPTY, stage.parity);
            lk_phase_expect(word + parts::K_FULL, parts::TILE);
            lk_wide_copy<D, KEYS>(base + parts::K_AT + at, &maps.k, row, kv_plane,
                                  word + parts::K_FULL);
            lk_phase_wait(word + parts::V_EMPTY, stage.parity);
            lk_phase_expect(word + parts::V_FULL, parts::TILE);
            lk_wide_copy<D, KEYS>(base + parts::V_AT + at, &maps.v, row, kv_plane,
                                  word + parts::V_FULL);
            lk_stage_next<parts::STAGES>(&stage);
        }
    }
}

/* ---- the multiplying warpgroups ---- */

/* Scores become weights; keep: what earlier sums are worth now.  scale turns a product into a power
 * of two.  MASKED: a row may have seen nothing yet. */
template <int MASKED>
LK_DEVICE void soften(float (*s)[4], float scale, float *most, float *sum, float *keep)
{
    LK_UNROLL
    for (int r = 0; r < 2; r++) {
        float x = most[r], base;
        LK_UNROLL
        for (int i = 0; i < KEYS / 8; i++)
            x = fmaxf(x, fmaxf(s[i][2 * r], s[i][2 * r + 1]));
        x = lk_quad_max(x);
        base = MASKED && x == -INFINITY ? 0.0f : x * scale;
        keep[r] = lk_exp2(most[r] * scale - base);
        most[r] = x;
        sum[r] *= keep[r];
        LK_UNROLL
        for (int i = 0; i < KEYS / 8; i++)
            LK_UNROLL
        for (int e = 2 * r; e < 2 * r + 2; e++) {
            s[i][e] = lk_exp2(s[i][e] * scale - base);
            sum[r] += s[i][e];
        }
    }
}

/* This thread's two rows: what they see, the largest score and the sum so far. */
struct forward_rows {
    lk_attend_tile own; /* of the warpgroup */
    lk_run run[2];
    float most[2], sum[2], scale;
};

LK_DEVICE void soften_tile(float (*s)[4], forward_rows *rows, int j0, float *keep)
{
    if (j0 < rows->own.full_first || j0 + KEYS > rows->own.full_end) {
        lk_wide_hide<KEYS>(s, rows->run, j0, -INFINITY);
        soften<1>(s, rows->scale, rows->most, rows->sum, keep);
    } else
        soften<0>(s, rows->scale, rows->most, rows->sum, keep);
}

/* f.n > 0 tiles of keys: rows' sums, and acc. */
template <int D>
LK_DEVICE void multiply_tiles(const lk_wide_tile &f, uint32_t base, int group, lk_stage *stage,
                              forward_rows *rows, float (*acc)[4])
{
    typedef forward_parts<D> parts;
    const uint32_t q_row = (uint32_t)(group * 64);
    float s[KEYS / 8][4], keep[2];
    unsigned p[KEYS / 16][4];
    uint32_t word = base + (uint32_t)(8 * stage->at);
    uint32_t v = base + parts::V_AT + (uint32_t)(stage->at * parts::TILE);
    lk_phase_wait(word + parts::K_FULL, stage->parity);
    lk_turn_wait(TURN + group, 2 * LK_WIDE_GROUP);
    lk_product_begin();
    lk_issue_rows<D, KEYS>(s, base, q_row, v - parts::V_AT + parts::K_AT);
    lk_product_group();
    lk_turn_give(TURN + 1 - group, 2 * LK_WIDE_GROUP);
    lk_product_wait<0>();
    lk_product_done<KEYS>(s);
    lk_wide_arrive(word + parts::K_EMPTY);
    soften_tile(s, rows, f.first, keep);
    lk_wide_pack<KEYS>(p, s);
    for (int t = 1; t < f.n; t++) {
        const uint32_t v_before = v, word_before = word;
        const unsigned parity_before = stage->parity;
        lk_stage_next<parts::STAGES>(stage);
        word = base + (uint32_t)(8 * stage->at);
        v = base + parts::V_AT + (uint32_t)(stage->at * parts::TILE);
        lk_phase_wait(word + parts::K_FULL, stage->parity);
        lk_turn_wait(TURN + group, 2 * LK_WIDE_GROUP);
        lk_product_begin();
        lk_issue_rows<D, KEYS>(s, base, q_row, v - parts::V_AT + parts::K_AT);
        lk_product_group();
        lk_phase_wait(word_before + parts::V_FULL, parity_before);
        lk_product_begin();
        lk_issue_columns<D, KEYS>(acc, p, v_before);
        lk_product_group();
        lk_turn_give(TURN + 1 - group, 2 * LK_WIDE_GROUP);
        lk_product_wait<1>();
        lk_product_done<KEYS>(s);
        lk_wide_arrive(word + parts::K_EMPTY);
        soften_tile(s, rows, f.first + t * KEYS, keep);
        lk_product_wait<0>();
        lk_product_done<D>(acc);
        lk_wide_arrive(word_before + parts::V_EMPTY);
        LK_UNROLL
        for (int i = 0; i < D / 8; i++)
            LK_UNROLL
        for (int e = 0; e < 4; e++)
            acc[i][e] *= keep[e / 2];
        lk_wide_pack<KEYS>(p, s);
    }
    lk_wide_arrive(base + parts::Q_EMPTY);
    lk_phase_wait(word + parts::V_FULL, stage->parity);
    lk_product_begin();
    lk_issue_columns<D, KEYS>(acc, p, v);
    lk_product_group();
    lk_product_wait<0>();
    lk_product_done<D>(acc);
    lk_wide_arrive(word + parts::V_EMPTY);
    lk_stage_next<parts::STAGES>(stage);
}

template <int D>
LK_DEVICE void multiply_all(const lk_attend_args<lk_bf16> &a, uint32_t base, int64_t items)
{
    typedef forward_parts<D> parts;
    const int group = (int)threadIdx.x / LK_WIDE_GROUP - 1;
    lk_stage stage = {0, 0};
    unsigned q_parity = 0;
    if (group == 1)
        lk_turn_give(TURN, 2 * LK_WIDE_GROUP); /* the first turn is the other's */
    for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
        const lk_wide_tile f = tile_of(a, item);
        const int64_t own_row = f.row0 + group * 64, warp_row = own_row + lk_wide_warp_row();
        forward_rows rows = {};
        float acc[D / 8][4] = {};
        rows.own = lk_tile_of(a, f.b, own_row, 64, a.n, 0, a.m);
        rows.scale = a.scale * LK_LOG2_E;
        LK_UNROLL
        for (int r = 0; r < 2; r++) {
            const int64_t row = warp_row + lk_wide_thread_row() + 8 * r;
            rows.run[r] = lk_run_of(a, f.b, row, a.n, 0, a.m);
            rows.most[r] = -INFINITY;
        }
        if (f.n) {
            lk_phase_wait(base + parts::Q_FULL, q_parity);
            q_parity ^= 1;
            multiply_tiles<D>(f, base, group, &stage, &rows, acc);
        }
        rows.most[0] *= rows.scale;
        rows.most[1] *= rows.scale;
        lk_store_rows<D>(a, f.plane, warp_row, rows.run, rows.most, rows.sum, acc);
    }
}

/* ---- together ---- */

template <int D>
__global__ void __launch_bounds__(LK_WIDE_THREADS, 1)
    attention_hopper_kernel(lk_attend_args<lk_bf16> a, const __grid_constant__ forward_maps maps,
                            int64_t items)
{
    typedef forward_parts<D> parts;
    const uint32_t base = lk_shared_start();
    if (a.wide && !*a.wide)
        return;
    if (threadIdx.x == 0) {
        lk_map_fetch(&maps.q);
        lk_map_fetch(&maps.k);
        lk_map_fetch(&maps.v);
        lk_phase_init(base + parts::Q_FULL, 1);
        lk_phase_init(base + parts::Q_EMPTY, LK_WIDE_WARPS);
        for (uint32_t i = 0; i < 8 * parts::STAGES; i += 8) {
            lk_phase_init(base + parts::K_FULL + i, 1);
            lk_phase_init(base + parts::K_EMPTY + i, LK_WIDE_WARPS);
            lk_phase_init(base + parts::V_FULL + i, 1);
            lk_phase_init(base + parts::V_EMPTY + i, LK_WIDE_WARPS);
        }
        lk_phase_inits_done();
    }
    __syncthreads();
    if (threadIdx.x < LK_WIDE_GROUP) {
        lk_registers_keep<24>();
        if (threadIdx.x == 0)
            copy_all<D>(a, maps, base, items);
    } else {
        lk_registers_take<240>();
        multiply_all<D>(a, base, items);
    }
}

/* *wide = do the rows see WIDE others or more on average?  Rows are spread evenly over all. */
__global__ void attend_judge_kernel(lk_attend_args<lk_bf16> a, int64_t n_batch, int *wide)
{
    const int64_t rows = n_batch * a.n, most = JUDGED_ROWS, n = rows < most ? rows : most;
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += LK_THREADS) {
        const int64_t row = i * rows / n;
        const lk_run run = lk_run_of(a, row / a.n, row % a.n, a.n, 0, a.m);
        sum += run.end - run.first;
    }
    sum = lk_block_sum(sum);
    if (threadIdx.x == 0)
        *wide = sum >= (double)WIDE * (double)n;
}

static int use_for_tests = LK_HOPPER_USE;

void LK_CUDA(attend_hopper_use)(int use)
{
    use_for_tests = use;
}

int LK_CUDA(attend_hopper_may)(const lk_call *c)
{
    const lk_attention_sizes s = lk_attention_sizes_of(c);
    const int64_t tiles = (s.n + LK_WIDE_ROWS - 1) / LK_WIDE_ROWS * s.n_batch * s.heads;
    const int fits = c->in[0].dtype == LK_BF16 && (s.d == 64 || s.d == 128) && s.m > 0 && s.n > 0 &&
                     !lk_has(c, LK_ATTENTION_SLOPE) &&
                     (!lk_has(c, LK_ATTENTION_PLAN) || s.plan_rows == s.n + s.m);
    if (!fits || use_for_tests < 0 || !LK_CUDA(hopper_places)())
        return 0;
    if (use_for_tests == 0 && (s.m < WIDE || tiles < LEAST_TILES))
        return 0;
    return use_for_tests > 1 || !lk_has(c, LK_ATTENTION_PLAN) ? 2 : 1;
}

lk_status LK_CUDA(attend_judge)(const lk_attend_args<lk_bf16> *a, int64_t n_batch, int *wide,
                                lk_cuda_stream stream)
{
    return LK_LAUNCH(attend_judge_kernel, 1, LK_THREADS, stream, *a, n_batch, wide);
}

template <int D>
static lk_status launch(const lk_attend_args<lk_bf16> &a, int64_t n_batch, lk_cuda_stream stream)
{
    const int64_t items = (a.n + LK_WIDE_ROWS - 1) / LK_WIDE_ROWS * n_batch * a.heads;
    const int64_t places = LK_CUDA(hopper_places)();
    lk_status st = LK_OK;
    forward_maps maps;
    LK_TRY(LK_CUDA(tensor_map)(&maps.q, a.q, D, a.n, n_batch * a.heads, LK_WIDE_ROWS));
    LK_TRY(LK_CUDA(tensor_map)(&maps.k, a.k, D, a.m, n_batch * a.kv_heads, KEYS));
    LK_TRY(LK_CUDA(tensor_map)(&maps.v, a.v, D, a.m, n_batch * a.kv_heads, KEYS));
    LK_TRY(LK_LAUNCH_TILES(attention_hopper_kernel<D>, (unsigned)(items < places ? items : places),
                           LK_WIDE_THREADS, forward_parts<D>::BYTES, stream, a, maps, items));
done:
    return st;
}

lk_status LK_CUDA(attend_hopper)(const lk_attend_args<lk_bf16> *a, int64_t n_batch,
                                 lk_cuda_stream stream)
{
    return a->d == 64 ? launch<64>(*a, n_batch, stream) : launch<128>(*a, n_batch, stream);
}
