/* attention.cu - attention over the keys a plan opens, bf16 with rows of 32, 64 or 128 numbers, on
 * the tensor cores of sm_80 and later (kernels/ops/attention.c has the formulas).
 *
 * A warp owns 16 queries, a block 1, 2 or 4 warps: few where there would be less blocks than the
 * device has places.  The block walks over its keys in tiles of LK_KEY_TILE that end at multiples
 * of it, the next tile's copy under way while one is worked on; a warp passes over tiles that none
 * of its own queries sees, so narrow windows cost little more than their keys.  With m the largest
 * score so far and everything in powers of two,
 *
 *     p = 2^(s - m'),  l <- l 2^(m - m') + sum p,  acc <- acc 2^(m - m') + p v
 *
 * (Milakov, Gimelshein 2018; Dao et al. 2022).  Only tiles at the ends of the warp's run look at
 * who sees whom.
 */
#include "kernels/cuda/attention.h"

enum { KEYS = LK_KEY_TILE };

template <int D> struct forward_tiles {
    LK_SHARED_MEMBER(lk_bf16, k, [2][KEYS][D + 8]);
    LK_SHARED_MEMBER(lk_bf16, v, [2][KEYS][D + 8]);
};

/* The block's place. */
struct forward_place {
    int64_t b, h, row0;  /* sample, head, first query */
    int64_t q_at, kv_at; /* first number of the head's queries and keys */
    lk_attend_tile tile;
};

template <int D>
LK_DEVICE forward_place forward_place_of(const lk_attend_args<lk_bf16> &a, int height)
{
    forward_place p;
    p.b = (int)blockIdx.y / a.heads;
    p.h = (int)blockIdx.y % a.heads;
    p.row0 = (int64_t)blockIdx.x * height;
    p.q_at = (int64_t)blockIdx.y * a.n * D;
    p.kv_at = (p.b * a.kv_heads + p.h * a.kv_heads / a.heads) * a.m * D;
    p.tile = lk_tile_of(a, p.b, p.row0, height, a.n, 0, a.m);
    return p;
}

/* Scale, bias and who sees whom: scores times log2 e, -Inf where a query does not see a key. */
LK_DEVICE void finish_scores(const lk_attend_args<lk_bf16> &a, const forward_place &p,
                             float (*s)[4], const lk_run *run, const float *time, int j0,
                             int partial)
{
    const float scale = a.scale * LK_LOG2_E;
    const int t = (int)threadIdx.x % 4;
    LK_UNROLL
    for (int i = 0; i < KEYS / 8; i++)
        LK_UNROLL
    for (int e = 0; e < 4; e++) {
        const int j = j0 + 8 * i + 2 * t + e % 2;
        float x = s[i][e] * scale;
        if (a.slope) {
            const int64_t at = j % a.m;
            x += lk_slope_bias(a.slope + 2 * p.h,
                               time[e / 2] - a.times[p.b * (a.n + a.m) + a.n + at]);
        }
        if (partial && (j < run[e / 2].first || j >= run[e / 2].end))
            x = -INFINITY;
        s[i][e] = x;
    }
}

/* Numbers become weights; sums and what is gathered so far are brought to the new largest score. */
template <int D> LK_DEVICE void soften(float (*s)[4], float *most, float *sum, float (*acc)[4])
{
    LK_UNROLL
    for (int r = 0; r < 2; r++) {
        float x = most[r], keep, base;
        LK_UNROLL
        for (int i = 0; i < KEYS / 8; i++)
            x = fmaxf(x, fmaxf(s[i][2 * r], s[i][2 * r + 1]));
        x = lk_quad_max(x);
        base = x == -INFINITY ? 0.0f : x;
        keep = exp2f(most[r] - base);
        most[r] = x;
        sum[r] *= keep;
        LK_UNROLL
        for (int i = 0; i < KEYS / 8; i++)
            LK_UNROLL
        for (int e = 2 * r; e < 2 * r + 2; e++) {
            s[i][e] = exp2f(s[i][e] - base);
            sum[r] += s[i][e];
        }
        LK_UNROLL
        for (int i = 0; i < D / 8; i++) {
            acc[i][2 * r] *= keep;
            acc[i][2 * r + 1] *= keep;
        }
    }
}

template <int D, int WARPS>
__global__ void __launch_bounds__(32 * WARPS) attention_kernel(lk_attend_args<lk_bf16> a)
{
    LK_SHARED_TILES(forward_tiles<D>, shared);
    const forward_place p = forward_place_of<D>(a, 16 * WARPS);
    const int64_t mine = p.row0 + threadIdx.x / 32 * 16;
    const lk_attend_tile own = lk_tile_of(a, p.b, mine, 16, a.n, 0, a.m);
    unsigned q[D / 16][4];
    float s[KEYS / 8][4], acc[D / 8][4] = {}, most[2] = {-INFINITY, -INFINITY}, sum[2] = {};
    float time[2] = {};
    lk_run run[2];
    int j = p.tile.first / KEYS * KEYS;
    int stage = 0;
    if (a.wide && *a.wide)
        return;
    for (int r = 0; r < 2; r++) {
        const int64_t row = mine + threadIdx.x % 32 / 4 + 8 * r;
        run[r] = lk_run_of(a, p.b, row, a.n, 0, a.m);
        if (a.slope && row < a.n)
            time[r] = a.times[p.b * (a.n + a.m) + row];
    }
    lk_load_rows<D>(q, a.q + p.q_at, mine, a.n);
    if (j < p.tile.end) {
        lk_copy_rows<KEYS, D>(shared.k[0], a.k + p.kv_at, j % a.m, a.m);
        lk_copy_rows<KEYS, D>(shared.v[0], a.v + p.kv_at, j % a.m, a.m);
    }
    lk_copy_group();
    for (; j < p.tile.end; j += KEYS, stage ^= 1) {
        if (j + KEYS < p.tile.end) {
            lk_copy_rows<KEYS, D>(shared.k[stage ^ 1], a.k + p.kv_at, (j + KEYS) % a.m, a.m);
            lk_copy_rows<KEYS, D>(shared.v[stage ^ 1], a.v + p.kv_at, (j + KEYS) % a.m, a.m);
        }
        lk_copy_group();
        lk_copy_wait<1>();
        __syncthreads();
        if (j + KEYS > own.first && j < own.end) {
            lk_tile_product<D, KEYS>(s, q, shared.k[stage], 0);
            finish_scores(a, p, s, run, time, j, j < own.full_first || j + KEYS > own.full_end);
            soften<D>(s, most, sum, acc);
            lk_tile_gather<D, KEYS>(acc, s, shared.v[stage], 0);
        }
        __syncthreads();
    }
    lk_store_rows<D>(a, (int64_t)blockIdx.y, mine, run, most, sum, acc);
}

template <int D, int WARPS>
static lk_status launch_tiles(const lk_attend_args<lk_bf16> &a, int64_t n_batch,
                              lk_cuda_stream stream)
{
    const dim3 grid((unsigned)((a.n + 16 * WARPS - 1) / (16 * WARPS)),
                    (unsigned)(n_batch * a.heads));
    return LK_LAUNCH_TILES((attention_kernel<D, WARPS>), grid, 32 * WARPS, sizeof(forward_tiles<D>),
                           stream, a);
}

template <int D>
static lk_status launch_width(const lk_attend_args<lk_bf16> &a, int64_t n_batch, int height,
                              lk_cuda_stream stream)
{
    return height >= 64   ? launch_tiles<D, 4>(a, n_batch, stream)
           : height >= 32 ? launch_tiles<D, 2>(a, n_batch, stream)
                          : launch_tiles<D, 1>(a, n_batch, stream);
}

static int height_for_tests;

void LK_CUDA(attend_height)(int height)
{
    height_for_tests = height;
}

/* Rows a block takes: fewer while that leaves multiprocessors (132 of an H100) without work. */
static int height_of(const lk_attend_args<lk_bf16> &a, int64_t n_batch)
{
    const int64_t tiles = (a.n + 63) / 64 * n_batch * a.heads;
    return height_for_tests ? height_for_tests : tiles >= 264 ? 64 : tiles >= 132 ? 32 : 16;
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
