/* conv.c - convolutions on the CPU: depthwise ones and those into one to four channels by
 * vec_direct.c, those of one to four channels into 16 or more by vec_few.c, gradients of filters
 * with 16 or more channels on one side by vec_filter.c; of the others oneDNN where it is built in,
 * vec_conv.c otherwise.
 *
 * Parts: runs of samples; while there are few samples, also runs of positions along the first
 * spatial dimension that is there, each with the border of input it needs.
 *
 *   conv      output positions [o0, o1) read inputs [o0 stride - lo, (o1 - 1) stride - lo + reach]
 *   conv_dx   input positions [s0, s1), s0 + lo a multiple of the stride, are fed by outputs
 *             [(s0 + lo) / stride - floor(reach / stride), (s1 - 1 + lo) / stride]
 *   conv_dw   as conv; every part gives a gradient of its own, and they are added in order
 *
 * with reach = dilation (K - 1), everything clipped to what exists and the padding adjusted.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parts.h"
#include "kernels/cpu/vec_table.h"

#include "kernels/mem.h"
#include "kernels/ops/ops_impl.h"
#include "kernels/thread.h"

#define WANTED_PARTS LK_MAX_PARTS
#define PART_WORK    (1 << 20) /* multiply-adds of a part at least, if it is one of several */

typedef struct conv_state {
    lk_parts *parts;
    int n_parts;
    int64_t n_filter;  /* numbers of the filter */
    size_t partial_at; /* CONV_DW: each part's gradient, in the work space */
    int mirrored;      /* CONV_DX as a convolution of dy */
    size_t filter_at;  /* with this filter, in the work space */
} conv_state;

static lk_dnn_conv describe(const lk_call *c)
{
    const lk_conv_sizes s = lk_conv_sizes_of(c);
    lk_dnn_conv d = {.kind = c->node->op == LK_OP_CONV      ? LK_DNN_CONV
                             : c->node->op == LK_OP_CONV_DX ? LK_DNN_CONV_DX
                                                            : LK_DNN_CONV_DW,
                     .n_batch = s.n_batch,
                     .in_ch = s.in_ch,
                     .out_ch = s.out_ch,
                     .groups = s.groups,
                     .dtype = c->in[0].dtype,
                     .has_bias = lk_has(c, 2)};
    memcpy(d.in, s.in, sizeof d.in);
    memcpy(d.out, s.out, sizeof d.out);
    memcpy(d.taps, s.taps, sizeof d.taps);
    memcpy(d.stride, s.stride, sizeof d.stride);
    memcpy(d.dilation, s.dilation, sizeof d.dilation);
    memcpy(d.lo, s.lo, sizeof d.lo);
    memcpy(d.hi, s.hi, sizeof d.hi);
    return d;
}

/* Without strides dx is the convolution of dy with the filter mirrored, its channels exchanged,
 * which oneDNN does faster: dx[p, i] = sum_k sum_o dy[p - (reach - lo) + k dilation, o] w[o, K - 1
 * - k, i]. */
static int mirror(lk_dnn_conv *d)
{
    lk_dnn_conv m = *d;
    if (d->kind != LK_DNN_CONV_DX || d->groups != 1)
        return 0;
    m.kind = LK_DNN_CONV;
    m.in_ch = d->out_ch;
    m.out_ch = d->in_ch;
    for (int k = 0; k < 3; k++) {
        const int64_t reach = d->dilation[k] * (d->taps[k] - 1);
        m.in[k] = d->out[k];
        m.out[k] = d->in[k];
        m.lo[k] = reach - d->lo[k];
        m.hi[k] = reach - d->hi[k];
        if (d->stride[k] != 1 || m.lo[k] < 0 || m.hi[k] < 0)
            return 0;
    }
    *d = m;
    return 1;
}

#define BLOCK 16 /* channels of either side that are exchanged together */

typedef struct turned {
    const char *from; /* [out, taps, in] */
    char *to;         /* [in, taps, out] */
    int64_t out_ch, n_taps, in_ch;
    size_t bytes; /* of a number */
} turned;

/* Outputs [o0, o1) and inputs [i0, i1) of tap k; `bytes` is known where this is compiled. */
static inline void turn_block(const turned *t, int64_t k, int64_t o0, int64_t o1, int64_t i0,
                              int64_t i1, const size_t bytes)
{
    for (int64_t i = i0; i < i1; i++) {
        const char *from = t->from + (size_t)(k * t->in_ch + i) * bytes;
        char *to = t->to + (size_t)((i + 1) * t->n_taps - 1 - k) * (size_t)t->out_ch * bytes;
        for (int64_t o = o0; o < o1; o++)
            memcpy(to + (size_t)o * bytes, from + (size_t)(o * t->n_taps * t->in_ch) * bytes,
                   bytes);
    }
}

static void turn_range(void *context, int64_t first, int64_t end)
{
    const turned *t = context;
    for (int64_t u = first; u < end; u++) {
        const int64_t k = u % t->n_taps, i0 = u / t->n_taps * BLOCK;
        const int64_t i1 = i0 + BLOCK < t->in_ch ? i0 + BLOCK : t->in_ch;
        for (int64_t o0 = 0; o0 < t->out_ch; o0 += BLOCK) {
            const int64_t o1 = o0 + BLOCK < t->out_ch ? o0 + BLOCK : t->out_ch;
            if (t->bytes == 4)
                turn_block(t, k, o0, o1, i0, i1, 4);
            else
                turn_block(t, k, o0, o1, i0, i1, 2);
        }
    }
}

/* The filter of CONV_DX for `mirror`. */
static void turn_filter(const lk_call *c, void *to)
{
    const lk_conv_sizes s = lk_conv_sizes_of(c);
    turned t = {.from = c->in[1].data,
                .to = to,
                .out_ch = s.out_ch,
                .n_taps = s.taps[0] * s.taps[1] * s.taps[2],
                .in_ch = s.in_ch,
                .bytes = lk_dtype_bytes(c->in[1].dtype)};
    lk_parallel_for((s.in_ch + BLOCK - 1) / BLOCK * t.n_taps, 1, turn_range, &t);
}

/* The dimension that is cut: the first one that is not just 1. */
static int cut_dim(const lk_dnn_conv *d)
{
    int k = 0;
    while (k < 2 && d->in[k] == 1 && d->out[k] == 1 && d->taps[k] == 1)
        k++;
    return k;
}

/* Multiply-adds of a sample. */
static int64_t work_of(const lk_dnn_conv *d)
{
    const int64_t *size = d->kind == LK_DNN_CONV_DX ? d->in : d->out;
    int64_t n = d->in_ch / d->groups * d->out_ch;
    for (int k = 0; k < 3; k++)
        n *= size[k] * d->taps[k];
    return n;
}

/* Runs of positions a sample is cut into: many, so that threads have equal shares also of few
 * positions that are large.  Each meets some of the map it reads: where there is more padding than
 * the filter reaches over, and of gradients, none is shorter than the border it reads twice. */
static int64_t runs_of(const lk_dnn_conv *d)
{
    const int k = cut_dim(d);
    const int64_t size = d->kind == LK_DNN_CONV_DX ? d->in[k] : d->out[k];
    const int64_t reach = d->dilation[k] * (d->taps[k] - 1);
    const int meets = d->kind == LK_DNN_CONV && d->lo[k] <= reach && d->hi[k] <= reach;
    const int64_t least = meets ? 1 : reach < d->stride[k] ? d->stride[k] : reach + 1;
    const int64_t wanted = d->n_batch < WANTED_PARTS ? WANTED_PARTS / d->n_batch : 1;
    const int64_t worth = work_of(d) / PART_WORK;
    int64_t most = size / least;
    most = most < worth ? most : worth;
    return most < 1 ? 1 : wanted < most ? wanted : most;
}

/* Positions [p0, p1) of one sample's result (dx: of x): the smaller convolution, and where its
 * part of x and y begins. */
static void narrow(lk_dnn_conv *d, int64_t p0, int64_t p1, int64_t *x0, int64_t *y0)
{
    const int k = cut_dim(d);
    const int64_t reach = d->dilation[k] * (d->taps[k] - 1), stride = d->stride[k];
    if (d->kind == LK_DNN_CONV_DX) {
        const int64_t o = (p0 + d->lo[k]) / stride - reach / stride;
        const int64_t last = (p1 - 1 + d->lo[k]) / stride;
        *x0 = p0;
        *y0 = o < 0 ? 0 : o;
        d->out[k] = (last >= d->out[k] ? d->out[k] - 1 : last) - *y0 + 1;
        d->lo[k] += p0 - *y0 * stride;
        d->in[k] = p1 - p0;
    } else {
        const int64_t from = p0 * stride - d->lo[k], to = (p1 - 1) * stride - d->lo[k] + reach + 1;
        *x0 = from < 0 ? 0 : from;
        *y0 = p0;
        d->lo[k] = from < 0 ? -from : 0;
        d->in[k] = (to > d->in[k] ? d->in[k] : to) - *x0;
        d->out[k] = p1 - p0;
    }
}

/* Elements per step along the cut dimension. */
static int64_t pitch(const int64_t *size, int k, int64_t ch)
{
    for (int i = k + 1; i < 3; i++)
        ch *= size[i];
    return ch;
}

static lk_status add_part(conv_state *s, const lk_call *c, lk_dnn_conv d, int64_t b0, int64_t b1,
                          int64_t p0, int64_t p1)
{
    lk_status st = LK_OK;
    const int k = cut_dim(&d);
    const size_t bytes = lk_dtype_bytes(d.dtype);
    const int64_t x_pitch = pitch(d.in, k, d.in_ch), y_pitch = pitch(d.out, k, d.out_ch);
    const int64_t x_sample = x_pitch * d.in[k], y_sample = y_pitch * d.out[k];
    const int64_t size = d.kind == LK_DNN_CONV_DX ? d.in[k] : d.out[k];
    int64_t x0 = 0, y0 = 0;
    size_t x_at, y_at;
    lk_dnn *dnn = NULL;
    (void)c;
    d.n_batch = b1 - b0;
    if (p0 > 0 || p1 < size)
        narrow(&d, p0, p1, &x0, &y0);
    x_at = (size_t)(b0 * x_sample + x0 * x_pitch) * bytes;
    y_at = (size_t)(b0 * y_sample + y0 * y_pitch) * bytes;
    LK_TRY(lk_dnn_new_conv(&dnn, &d));
    if (d.kind == LK_DNN_CONV)
        LK_TRY(lk_parts_add(s->parts, &dnn, x_at, 0, 0, y_at));
    else if (d.kind == LK_DNN_CONV_DX)
        LK_TRY(lk_parts_add(s->parts, &dnn, y_at, 0, 0, x_at));
    else
        LK_TRY(lk_parts_add(s->parts, &dnn, x_at, y_at, 0,
                            (size_t)(s->n_parts * s->n_filter) * sizeof(float)));
    s->n_parts++;
done:
    return st;
}

static void release_state(conv_state *s)
{
    if (!s)
        return;
    lk_parts_free(&s->parts);
    lk_free(s);
}

/* First position of run i of n; dx may only be cut where a stride begins. */
static int64_t run_start(const lk_dnn_conv *d, int64_t i, int64_t n)
{
    const int k = cut_dim(d);
    const int64_t size = d->kind == LK_DNN_CONV_DX ? d->in[k] : d->out[k];
    int64_t at = size * i / n;
    if (d->kind == LK_DNN_CONV_DX && i > 0 && i < n)
        at -= (at + d->lo[k]) % d->stride[k];
    return at;
}

/* How the convolution is done without oneDNN though it is there; NULL where it is not. */
static const lk_vec_conv_way *way_of(const lk_call *c)
{
    const lk_vec_conv_way *ways = lk_vec_now()->conv_ways;
    for (int i = 0; i < LK_VEC_CONV_WAYS; i++)
        if (ways[i].suits(c))
            return &ways[i];
    return NULL;
}

static lk_status conv_prepare(lk_call *c, size_t *work_bytes)
{
    lk_status st = LK_OK;
    lk_dnn_conv d = describe(c);
    conv_state *s = NULL;
    int64_t n_samples, n_runs;
    const int empty = lk_tensor_count(&c->in[0]) == 0 || lk_tensor_count(&c->in[1]) == 0 ||
                      lk_tensor_count(&c->out[0]) == 0;
    const lk_vec_conv_way *way = empty ? NULL : way_of(c);
    *work_bytes = way ? way->work_bytes(c) : 0;
    if (way)
        return LK_OK;
    if (empty || !lk_cpu_has_onednn())
        return LK_OK;
    LK_TRY(LK_NEW(&s));
    LK_TRY(lk_parts_new(&s->parts));
    s->mirrored = mirror(&d);
    s->n_filter = d.out_ch * (d.in_ch / d.groups) * d.taps[0] * d.taps[1] * d.taps[2];
    n_runs = runs_of(&d);
    n_samples = d.n_batch < WANTED_PARTS ? d.n_batch : WANTED_PARTS;
    for (int64_t i = 0; i < n_samples; i++)
        for (int64_t r = 0; r < n_runs; r++)
            LK_TRY(add_part(s, c, d, d.n_batch * i / n_samples, d.n_batch * (i + 1) / n_samples,
                            run_start(&d, r, n_runs), run_start(&d, r + 1, n_runs)));
    *work_bytes = (lk_parts_finish(s->parts) + 63) / 64 * 64;
    if (d.kind == LK_DNN_CONV_DW && s->n_parts > 1) {
        s->partial_at = *work_bytes;
        *work_bytes += (size_t)(s->n_parts * s->n_filter) * sizeof(float);
    }
    if (s->mirrored) {
        s->filter_at = *work_bytes;
        *work_bytes += (size_t)s->n_filter * lk_dtype_bytes(d.dtype);
    }
    c->state = s;
    s = NULL;
done:
    release_state(s);
    return st;
}

static void conv_release(lk_call *c)
{
    release_state(c->state);
    c->state = NULL;
}

static lk_status conv_whole(const lk_call *c)
{
    lk_status st = LK_OK;
    const conv_state *s = c->state;
    const int partial = s && c->node->op == LK_OP_CONV_DW && s->n_parts > 1;
    float *sums = partial ? (float *)((char *)c->work + s->partial_at) : c->out[0].data;
    void *filter = s ? (char *)c->work + s->filter_at : NULL;
    if (!s) {
        (c->work ? way_of(c)->run : lk_vec_now()->conv)(c); /* see conv_prepare */
        return LK_OK;
    }
    if (s->mirrored)
        turn_filter(c, filter);
    LK_TRY(lk_parts_run(s->parts, c->in[0].data, s->mirrored ? filter : c->in[1].data,
                        c->in[2].data, partial ? (void *)sums : c->out[0].data, c->work));
    if (partial)
        lk_vec_now()->add_parts(c->out[0].data, sums, s->n_parts, s->n_filter);
done:
    return st;
}

const lk_cpu_kernel lk_cpu_conv = {
    .prepare = conv_prepare, .release = conv_release, .whole = conv_whole};
const lk_cpu_kernel lk_cpu_conv_dx = {
    .prepare = conv_prepare, .release = conv_release, .whole = conv_whole};
const lk_cpu_kernel lk_cpu_conv_dw = {
    .prepare = conv_prepare, .release = conv_release, .whole = conv_whole};
