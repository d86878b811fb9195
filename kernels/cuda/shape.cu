/* shape.cu - kernels of kernels/ops/shape.c: each is one copy of a box between two layouts.
 *
 * Dimensions that lie behind one another on both sides are joined; elements are moved as plain
 * bits.  A box whose fastest dimension differs between the sides (a transposition) goes through
 * shared memory, so that both sides are touched along their rows.
 */
#include "kernels/cuda/device.h"

#define TILE 32

struct box {
    int n_dims;
    unsigned size[LK_MAX_DIMS];
    int64_t from_step[LK_MAX_DIMS], to_step[LK_MAX_DIMS];
    int64_t from_at, to_at;
};

/* Dimensions of size 1 dropped, neighbours joined where both sides allow it. */
static box box_of(const lk_call *c, int which)
{
    const lk_box_copy b = lk_box_copy_of(c, which);
    box o = {};
    o.from_at = b.from_at;
    o.to_at = b.to_at;
    for (int d = 0; d < b.n_dims; d++) {
        const int last = o.n_dims - 1;
        if (b.size[d] == 1)
            continue;
        if (o.n_dims && o.from_step[last] == b.from_step[d] * b.size[d] &&
            o.to_step[last] == b.to_step[d] * b.size[d]) {
            o.size[last] *= (unsigned)b.size[d];
            o.from_step[last] = b.from_step[d];
            o.to_step[last] = b.to_step[d];
        } else {
            o.size[o.n_dims] = (unsigned)b.size[d];
            o.from_step[o.n_dims] = b.from_step[d];
            o.to_step[o.n_dims++] = b.to_step[d];
        }
    }
    if (o.n_dims == 0) {
        o.n_dims = 1;
        o.size[0] = 1;
        o.from_step[0] = o.to_step[0] = 1;
    }
    return o;
}

static int64_t count(const box &b)
{
    int64_t n = 1;
    for (int d = 0; d < b.n_dims; d++)
        n *= b.size[d];
    return n;
}

LK_DEVICE void place_of(const box &b, unsigned i, int64_t *from, int64_t *to)
{
    *from = b.from_at;
    *to = b.to_at;
    LK_UNROLL
    for (int d = LK_MAX_DIMS - 1; d >= 0; d--)
        if (d < b.n_dims) {
            const unsigned at = i % b.size[d];
            i /= b.size[d];
            *from += at * b.from_step[d];
            *to += at * b.to_step[d];
        }
}

/* U: as many bits as an element, or 16 bytes of them where everything is a multiple of that. */
template <typename U> __global__ void box_kernel(box b, unsigned n, const U *x, U *y)
{
    const int64_t i = lk_thread_index();
    int64_t from, to;
    if (i >= n)
        return;
    place_of(b, (unsigned)i, &from, &to);
    y[to] = x[from];
}

/* [.., p, .., q]: q is fastest in the result, p in the input. */
template <typename U>
__global__ void transpose_kernel(box b, int p, unsigned tiles_p, unsigned tiles_q, const U *x, U *y)
{
    LK_SHARED(U, tile, [TILE][TILE + 1]);
    const int q = b.n_dims - 1;
    const unsigned tx = threadIdx.x % TILE, ty = threadIdx.x / TILE;
    const unsigned p0 = blockIdx.x / tiles_q % tiles_p * TILE, q0 = blockIdx.x % tiles_q * TILE;
    unsigned rest = blockIdx.x / tiles_q / tiles_p;
    int64_t from = b.from_at, to = b.to_at;
    for (int d = q - 1; d >= 0; d--)
        if (d != p) {
            const unsigned at = rest % b.size[d];
            rest /= b.size[d];
            from += at * b.from_step[d];
            to += at * b.to_step[d];
        }
    for (unsigned j = ty; j < TILE; j += LK_THREADS / TILE)
        if (q0 + j < b.size[q] && p0 + tx < b.size[p])
            tile[j][tx] = x[from + (q0 + j) * b.from_step[q] + (p0 + tx) * b.from_step[p]];
    __syncthreads();
    for (unsigned j = ty; j < TILE; j += LK_THREADS / TILE)
        if (p0 + j < b.size[p] && q0 + tx < b.size[q])
            y[to + (p0 + j) * b.to_step[p] + (q0 + tx) * b.to_step[q]] = tile[tx][j];
}

__global__ void zero_kernel(int64_t n, unsigned char *y)
{
    const int64_t i = lk_thread_index() * 16;
    if (i + 16 <= n) {
        uint4 zero;
        zero.x = zero.y = zero.z = zero.w = 0;
        *(uint4 *)(y + i) = zero;
    } else {
        for (int64_t j = i; j < n; j++)
            y[j] = 0;
    }
}

/* The dimension that is fastest in the input of a box worth a transposition, else -1. */
static int transposed(const box &b)
{
    const int q = b.n_dims - 1;
    for (int p = 0; p < q; p++)
        if (b.from_step[p] == 1 && b.from_step[q] > 1 && b.to_step[q] == 1 && b.size[p] >= 8 &&
            b.size[q] >= 8)
            return p;
    return -1;
}

template <typename U>
static lk_status copy_box(const box &b, const void *x, void *y, lk_cuda_stream stream)
{
    const int p = transposed(b);
    if (p >= 0) {
        const unsigned tp = (b.size[p] + TILE - 1) / TILE;
        const unsigned tq = (b.size[b.n_dims - 1] + TILE - 1) / TILE;
        const int64_t others = count(b) / b.size[p] / b.size[b.n_dims - 1];
        return LK_LAUNCH(transpose_kernel<U>, (unsigned)(others * tp * tq), LK_THREADS, stream, b,
                         p, tp, tq, (const U *)x, (U *)y);
    }
    return LK_LAUNCH(box_kernel<U>, lk_blocks(count(b)), LK_THREADS, stream, b, (unsigned)count(b),
                     (const U *)x, (U *)y);
}

/* The same box in units of n elements; 0 when it does not divide. */
static int widen_box(box *b, unsigned n)
{
    const int last = b->n_dims - 1;
    box w = *b;
    if (b->from_step[last] != 1 || b->to_step[last] != 1 || b->size[last] % n || b->from_at % n ||
        b->to_at % n)
        return 0;
    w.size[last] /= n;
    w.from_at /= n;
    w.to_at /= n;
    for (int d = 0; d < last; d++) {
        if (b->from_step[d] % n || b->to_step[d] % n)
            return 0;
        w.from_step[d] /= n;
        w.to_step[d] /= n;
    }
    *b = w;
    return 1;
}

static lk_status box_prepare(lk_call *c, size_t *work_bytes)
{
    *work_bytes = 0;
    return lk_small_enough(&c->out[0]);
}

/* A box of elements of so many bytes, in the widest units that fit. */
static lk_status move_box(box b, size_t bytes, const void *x, void *y, lk_cuda_stream stream)
{
    if (count(b) == 0)
        return LK_OK;
    if (widen_box(&b, (unsigned)(16 / bytes)))
        return copy_box<uint4>(b, x, y, stream);
    return bytes == 4 ? copy_box<uint32_t>(b, x, y, stream) : copy_box<uint16_t>(b, x, y, stream);
}

static lk_status box_launch(const lk_call *c, lk_cuda_stream stream)
{
    const int64_t all = (int64_t)lk_tensor_bytes(&c->out[0]);
    lk_status st = LK_OK;
    if (c->node->op == LK_OP_PAD && all > 0)
        LK_TRY(LK_LAUNCH(zero_kernel, lk_blocks((all + 15) / 16), LK_THREADS, stream, all,
                         (unsigned char *)c->out[0].data));
    for (int k = 0; k < c->node->n_in; k++)
        LK_TRY(move_box(box_of(c, k), lk_dtype_bytes(c->out[0].dtype), c->in[k].data,
                        c->out[0].data, stream));
done:
    return st;
}

static lk_status split_prepare(lk_call *c, size_t *work_bytes)
{
    *work_bytes = 0;
    return lk_small_enough(&c->in[0]);
}

static lk_status split_launch(const lk_call *c, lk_cuda_stream stream)
{
    const lk_split k = lk_split_at(&c->in[0].shape, c->node->attr.range.axis);
    const int n = (int)c->node->attr.range.size;
    const int64_t run = k.size / n * k.inner;
    lk_status st = LK_OK;
    for (int i = 0; i < n; i++) {
        box b = {};
        b.n_dims = 2;
        b.size[0] = (unsigned)k.outer;
        b.size[1] = (unsigned)run;
        b.from_step[0] = n * run;
        b.to_step[0] = run;
        b.from_step[1] = b.to_step[1] = 1;
        b.from_at = i * run;
        if (c->out[i].data)
            LK_TRY(
                move_box(b, lk_dtype_bytes(c->in[0].dtype), c->in[0].data, c->out[i].data, stream));
    }
done:
    return st;
}

const lk_cuda_kernel LK_CUDA(reshape) = {NULL, NULL, NULL};
const lk_cuda_kernel LK_CUDA(stop) = {NULL, NULL, NULL};
const lk_cuda_kernel LK_CUDA(permute) = {box_prepare, NULL, box_launch};
const lk_cuda_kernel LK_CUDA(slice) = {box_prepare, NULL, box_launch};
const lk_cuda_kernel LK_CUDA(pad) = {box_prepare, NULL, box_launch};
const lk_cuda_kernel LK_CUDA(concat) = {box_prepare, NULL, box_launch};
const lk_cuda_kernel LK_CUDA(broadcast) = {box_prepare, NULL, box_launch};
const lk_cuda_kernel LK_CUDA(split) = {split_prepare, NULL, split_launch};
