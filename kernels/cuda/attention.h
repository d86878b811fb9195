/* attention.h - what the attention kernels share: operands, tiles in shared memory, who sees whom.
 *
 * Tiles hold rows of D numbers with 8 more behind each, so that the 8 rows of a block of
 * lk_load_quarters lie in different banks.
 */
#ifndef LK_CUDA_ATTENTION_H
#define LK_CUDA_ATTENTION_H

#include "kernels/attention.h"
#include "kernels/cuda/mma.h"

#define LK_LOG2_E 1.44269504088896341f
#define LK_LN_2   0.69314718055994531f

/* Operands of both directions; float type T. */
template <typename T> struct lk_attend_args {
    const T *q, *k, *v; /* [B, H, N, D], [B, Hk, M, D] */
    T *out;
    float *lse;          /* [B, H, N] or NULL */
    const int32_t *plan; /* [B, rows, 2] or NULL */
    const float *slope;  /* [H, 2] or NULL */
    const float *times;  /* [B, N + M] */
    const T *dout;       /* [B, H, N, D] */
    const float *dlse;   /* [B, H, N] or NULL */
    const float *e;      /* [B, H, N] dout . out - dlse */
    T *dq, *dk, *dv;     /* each may be NULL */
    float *dslope;       /* [B H tiles, 2] parts of the slopes' gradient, or NULL */
    const int *wide;     /* on the device: is the plan for attention_hopper.cu?  NULL: go ahead */
    int64_t n, m;
    int d, heads, kv_heads, plan_rows;
    float scale;
};

template <typename T> static inline lk_attend_args<T> lk_attend_args_of(const lk_call *c)
{
    const lk_attention_sizes s = lk_attention_sizes_of(c);
    lk_attend_args<T> a = {};
    a.q = (const T *)c->in[0].data;
    a.k = (const T *)c->in[1].data;
    a.v = (const T *)c->in[2].data;
    a.plan = (const int32_t *)c->in[LK_ATTENTION_PLAN].data;
    a.slope = (const float *)c->in[LK_ATTENTION_SLOPE].data;
    a.times = (const float *)c->in[LK_ATTENTION_TIMES].data;
    a.n = s.n;
    a.m = s.m;
    a.d = (int)s.d;
    a.heads = (int)s.heads;
    a.kv_heads = (int)s.kv_heads;
    a.plan_rows = (int)s.plan_rows;
    a.scale = (float)s.scale;
    return a;
}

/* Is there a kernel with tiles for this call? */
static inline int lk_attend_has_tiles(const lk_call *c)
{
    const int64_t d = lk_last(&c->in[0].shape);
    return c->in[0].dtype == LK_BF16 && (d == 32 || d == 64 || d == 128);
}

/* A run [first, end) of others that a row sees. */
struct lk_run {
    int first, end;
};

/* Of row i of sample b, queries first; n_others without a plan; nothing outside the rows. */
template <typename T>
LK_DEVICE lk_run lk_run_of(const lk_attend_args<T> &a, int64_t b, int64_t i, int64_t n_rows,
                           int64_t before, int64_t n_others)
{
    lk_run r = {0, 0};
    if (i >= n_rows)
        return r;
    r.end = (int)n_others;
    if (a.plan) {
        const int32_t *p = a.plan + 2 * (b * a.plan_rows + before + i);
        r.first = p[0];
        r.end = p[1];
    }
    return r;
}

/* Of rows i .. i + height - 1. */
template <typename T>
LK_DEVICE lk_attend_tile lk_tile_of(const lk_attend_args<T> &a, int64_t b, int64_t i, int height,
                                    int64_t n_rows, int64_t before, int64_t n_others)
{
    const int64_t here = n_rows - i < height ? n_rows - i : height;
    lk_attend_tile t = {0, 0, 0, 0};
    if (here <= 0)
        return t;
    t.full_end = t.end = (int32_t)n_others;
    return a.plan ? lk_attend_tile_of(a.plan + 2 * (b * a.plan_rows + before + i), here) : t;
}

/* Keys that a warp multiplies or passes over together. */
#define LK_KEY_PART 16

/* A bit for each such part, of `cols` keys from j0 on, that holds some of the run [first, end) of
 * what a warp's rows see; some of it is there. */
LK_DEVICE unsigned lk_parts_seen(int first, int end, int j0, int cols)
{
    const int lo = first - j0, hi = end - j0;
    const int from = lo > 0 ? lo / LK_KEY_PART : 0;
    const int to = hi < cols ? (hi + LK_KEY_PART - 1) / LK_KEY_PART : cols / LK_KEY_PART;
    return (1u << to) - (1u << from);
}

/* Bias of a pair dt = tq - tk seconds apart, times log2 e. */
LK_DEVICE float lk_slope_bias(const float *slope, float dt)
{
    return -LK_LOG2_E * (dt < 0 ? slope[1] * -dt : slope[0] * dt);
}

/* Two neighbouring numbers of a row in global memory; 0 when the row is not there. */
LK_DEVICE unsigned lk_two(const lk_bf16 *row, int at, int there)
{
    return there ? *(const unsigned *)(row + at) : 0u;
}

/* a fragments of 16 rows from row `first` of x [n_rows, D], straight from global memory. */
template <int D>
LK_DEVICE void lk_load_rows(unsigned (*a)[4], const lk_bf16 *x, int64_t first, int64_t n_rows)
{
    const int g = (int)(threadIdx.x % 32) / 4, t = (int)(threadIdx.x % 4);
    const int up = first + g < n_rows, down = first + g + 8 < n_rows;
    const lk_bf16 *p = x + (first + g) * D + 2 * t, *q = p + 8 * D;
    LK_UNROLL
    for (int i = 0; i < D / 16; i++) {
        a[i][0] = lk_two(p, 16 * i, up);
        a[i][1] = lk_two(q, 16 * i, down);
        a[i][2] = lk_two(p, 16 * i + 8, up);
        a[i][3] = lk_two(q, 16 * i + 8, down);
    }
}

/* Start copying rows first .. first + ROWS - 1 of x [n_rows, D] into a tile. */
template <int ROWS, int D, typename Tile>
LK_DEVICE void lk_copy_rows(Tile &tile, const lk_bf16 *x, int64_t first, int64_t n_rows)
{
    for (int i = (int)threadIdx.x; i < ROWS * (D / 8); i += (int)blockDim.x) {
        const int row = i / (D / 8), at = i % (D / 8) * 8;
        const int there = first + row < n_rows;
        lk_copy_start(&tile[row][at], x + (there ? first + row : 0) * D + at, there);
    }
}

/* Where this lane's row of a block lies in a tile whose rows are b's columns ... */
LK_DEVICE int lk_b_row(int lane)
{
    return lane / 16 * 8 + lane % 8;
}
LK_DEVICE int lk_b_col(int lane)
{
    return lane / 8 % 2 * 8;
}
/* ... and in one whose rows are a's rows, or b's rows (loaded transposed). */
LK_DEVICE int lk_a_row(int lane)
{
    return lane / 8 % 2 * 8 + lane % 8;
}
LK_DEVICE int lk_a_col(int lane)
{
    return lane / 16 * 8;
}

/* a of a second product: columns 16 i .. 16 i + 15 of a first one's sums. */
LK_DEVICE void lk_sums_to_a(unsigned *a, const float (*d)[4], int i)
{
    a[0] = lk_pack(d[2 * i][0], d[2 * i][1]);
    a[1] = lk_pack(d[2 * i][2], d[2 * i][3]);
    a[2] = lk_pack(d[2 * i + 1][0], d[2 * i + 1][1]);
    a[3] = lk_pack(d[2 * i + 1][2], d[2 * i + 1][3]);
}

/* acc[16 rows][D] += s b, s [16 rows][ROWS] and b's rows in a tile from row b0. */
template <int D, int ROWS, typename Tile>
LK_DEVICE void lk_tile_gather(float (*acc)[4], const float (*s)[4], Tile &b, int b0)
{
    const int lane = (int)threadIdx.x % 32;
    LK_UNROLL
    for (int i = 0; i < ROWS / 16; i++) {
        unsigned a[4];
        lk_sums_to_a(a, s, i);
        LK_UNROLL
        for (int c = 0; c < D / 16; c++) {
            unsigned r[4];
            lk_load_quarters_transposed(r,
                                        &b[b0 + 16 * i + lk_a_row(lane)][16 * c + lk_a_col(lane)]);
            lk_mma(acc[2 * c], a, r);
            lk_mma(acc[2 * c + 1], a, r + 2);
        }
    }
}

/* What a row adds to its slopes' gradient, -sum ds |dt| over earlier keys and over later ones.  Its
 * weights p are 1 together, so its ds are dlse together.  They are not quite, since e comes of an
 * output that was rounded; e's error has the weights' shape, and |dt| makes it large.  So what the
 * sum says is too much is taken out again, ds - p (sum ds - dlse) / sum p. */
struct lk_slope_sums {
    float ds, p, ds_dt[2], p_dt[2];
};

LK_DEVICE void lk_slope_add(lk_slope_sums *s, float p, float ds, float dt)
{
    const float far = fabsf(dt);
    s->ds += ds;
    s->p += p;
    s->ds_dt[0] += dt < 0 ? 0.0f : ds * far;
    s->ds_dt[1] += dt < 0 ? ds * far : 0.0f;
    s->p_dt[0] += dt < 0 ? 0.0f : p * far;
    s->p_dt[1] += dt < 0 ? p * far : 0.0f;
}

/* Of one side; ds and p are sums over the whole row. */
LK_DEVICE float lk_slope_gradient(const lk_slope_sums *s, int side, float ds, float p, float dlse)
{
    return p > 0 ? s->p_dt[side] * (ds - dlse) / p - s->ds_dt[side] : 0.0f;
}

LK_DEVICE float lk_quad_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
LK_DEVICE float lk_quad_sum(float x)
{
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

/* Results of a warp's 16 queries from `first` on, in head `plane` of all: acc / sum; most is the
 * largest score times log2 e. */
template <int D>
LK_DEVICE void lk_store_rows(const lk_attend_args<lk_bf16> &a, int64_t plane, int64_t first,
                             const lk_run *run, const float *most, const float *sum,
                             const float (*acc)[4])
{
    const int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
    LK_UNROLL
    for (int r = 0; r < 2; r++) {
        const int64_t row = first + g + 8 * r;
        const float all = lk_quad_sum(sum[r]), l = run[r].first < run[r].end ? all : 0.0f;
        const float scale = l > 0 ? 1 / l : 0.0f;
        if (row >= a.n)
            continue;
        LK_UNROLL
        for (int i = 0; i < D / 8; i++)
            *(unsigned *)(a.out + (plane * a.n + row) * D + 8 * i + 2 * t) =
                lk_pack(acc[i][2 * r] * scale, acc[i][2 * r + 1] * scale);
        if (a.lse && t == 0)
            a.lse[plane * a.n + row] = l > 0 ? (most[r] + log2f(l)) * LK_LN_2 : -INFINITY;
    }
}

/* The kernels for wide plans (attention_hopper.cu): may they take this call (0: no, 1: if its plan
 * is wide, 2: yes), is the plan wide (*wide, on the device), and the call itself. */
int LK_CUDA(attend_hopper_may)(const lk_call *c);
LK_CHECKED lk_status LK_CUDA(attend_judge)(const lk_attend_args<lk_bf16> *a, int64_t n_batch,
                                           int *wide, lk_cuda_stream stream);
LK_CHECKED lk_status LK_CUDA(attend_hopper)(const lk_attend_args<lk_bf16> *a, int64_t n_batch,
                                            lk_cuda_stream stream);
/* Its gradient (attention_hopper_grad.cu); pairs: work space of two floats for each of so many. */
LK_CHECKED lk_status LK_CUDA(attend_hopper_grad)(const lk_attend_args<lk_bf16> *a, int64_t n_batch,
                                                 float *pairs, lk_cuda_stream stream);
int64_t LK_CUDA(attend_hopper_pairs)(const lk_call *c);

/* The kernels without tiles: f32, and widths that have no tile (attention_plain.cu). */
LK_CHECKED lk_status LK_CUDA(attend_plain)(const lk_call *c, lk_cuda_stream stream);
LK_CHECKED lk_status LK_CUDA(attend_plain_grad)(const lk_call *c, lk_cuda_stream stream);

/* Steps 1 and 4 of the gradient (attention_grad.cu). */
LK_CHECKED lk_status LK_CUDA(attend_e)(const lk_call *c, float *e, lk_cuda_stream stream);
LK_CHECKED lk_status LK_CUDA(attend_dslope)(const lk_call *c, const float *part, int64_t n_parts,
                                            lk_cuda_stream stream);

#endif /* LK_CUDA_ATTENTION_H */
