/* vec_shape.c - kernels of kernels/ops/shape.c and rearrange.c. */
#include "kernels/cpu/vec.h"

#include "kernels/ops/ops_impl.h"

/* ---- permute, slice, pad, concat, broadcast ---- */

#define SHORT 8   /* numbers of a line that is better gone through across its neighbours, */
#define WIDE  256 /* so many at once */

/* A short line changes places with a long one of numbers that lie side by side. */
static void lengthen_last(lk_box_copy *b)
{
    const int last = b->n_dims - 1;
    int d = b->size[last] < SHORT ? last - 1 : -1;
    while (d >= 0 && (b->from_step[d] != 1 || b->size[d] < SHORT))
        d--;
    if (d >= 0) {
        const int64_t size = b->size[d], from = b->from_step[d], to = b->to_step[d];
        b->size[d] = b->size[last];
        b->from_step[d] = b->from_step[last];
        b->to_step[d] = b->to_step[last];
        b->size[last] = size;
        b->from_step[last] = from;
        b->to_step[last] = to;
    }
}

/* A unit is one innermost line of a box; dimensions that continue each other are joined first. */
static lk_box_copy joined(lk_box_copy b)
{
    lk_box_copy r = {.from_at = b.from_at, .to_at = b.to_at};
    for (int d = 0; d < b.n_dims; d++) {
        const int k = r.n_dims - 1;
        if (b.size[d] == 1)
            continue;
        if (k >= 0 && r.from_step[k] == b.from_step[d] * b.size[d] &&
            r.to_step[k] == b.to_step[d] * b.size[d]) {
            r.size[k] *= b.size[d];
            r.from_step[k] = b.from_step[d];
            r.to_step[k] = b.to_step[d];
            continue;
        }
        r.size[r.n_dims] = b.size[d];
        r.from_step[r.n_dims] = b.from_step[d];
        r.to_step[r.n_dims++] = b.to_step[d];
    }
    if (r.n_dims == 0) {
        r.n_dims = 1;
        r.size[0] = r.from_step[0] = r.to_step[0] = 1;
        for (int d = 0; d < b.n_dims; d++)
            r.size[0] *= b.size[d];
    }
    lengthen_last(&r);
    return r;
}

static int64_t lines(const lk_box_copy *b)
{
    int64_t n = 1;
    for (int d = 0; d + 1 < b->n_dims; d++)
        n *= b->size[d];
    return b->size[b->n_dims - 1] ? n : 0;
}

static int64_t box_units(const lk_call *c)
{
    int64_t n = 0;
    for (int k = 0; k < c->node->n_in; k++) {
        const lk_box_copy b = joined(lk_box_copy_of(c, k));
        n += lines(&b);
    }
    return n;
}

static void copy_line(size_t bytes, char *to, int64_t to_step, const char *from, int64_t from_step,
                      int64_t n)
{
    if (from_step == 1 && to_step == 1) {
        const size_t all = (size_t)n * bytes;
        if (all % 64 == 0 && all <= 512) /* short ones without a call */
            for (size_t i = 0; i < all; i += 64)
                memcpy(to + i, from + i, 64);
        else
            memcpy(to, from, all);
    } else if (bytes == 4) {
        uint32_t *y = (uint32_t *)to;
        const uint32_t *x = (const uint32_t *)from;
        for (int64_t i = 0; i < n; i++)
            y[i * to_step] = x[i * from_step];
    } else if (bytes == 2) {
        uint16_t *y = (uint16_t *)to;
        const uint16_t *x = (const uint16_t *)from;
        for (int64_t i = 0; i < n; i++)
            y[i * to_step] = x[i * from_step];
    } else {
        for (int64_t i = 0; i < n; i++)
            memcpy(to + i * to_step * (int64_t)bytes, from + i * from_step * (int64_t)bytes, bytes);
    }
}

/* m lines next to each other of a box whose last dimension is `last`. */
static void copy_lines(const lk_box_copy *b, int last, size_t bytes, char *to, const char *from,
                       int64_t m)
{
    const int64_t n = b->size[last], line = last ? b->from_step[last - 1] : 0;
    const int64_t to_line = last ? b->to_step[last - 1] : 0;
    const int64_t step = b->from_step[last], to_step = b->to_step[last], size = (int64_t)bytes;
    if (n >= SHORT || n >= m) {
        for (int64_t j = 0; j < m; j++)
            copy_line(bytes, to + j * to_line * size, to_step, from + j * line * size, step, n);
        return;
    }
    for (int64_t j = 0; j < m; j += WIDE)
        for (int64_t i = 0; i < n; i++)
            copy_line(bytes, to + (j * to_line + i * to_step) * size, to_line,
                      from + (j * line + i * step) * size, line, m - j < WIDE ? m - j : WIDE);
}

/* Of every input the same share of lines: those of a row of the result, which may lie in one line
 * of a cache, are one thread's. */
static void box_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t bytes = (int64_t)lk_dtype_bytes(c->out[0].dtype), n_units = box_units(c);
    for (int k = 0; k < c->node->n_in; k++) {
        const lk_box_copy b = joined(lk_box_copy_of(c, k));
        const int64_t n = lines(&b), last = b.n_dims - 1;
        const int64_t from_u = n * first / n_units, to_u = n * end / n_units;
        int64_t index[LK_MAX_DIMS] = {0}, rest = from_u, from = b.from_at, to = b.to_at;
        for (int64_t d = last - 1; d >= 0; d--) {
            index[d] = rest % b.size[d];
            from += index[d] * b.from_step[d];
            to += index[d] * b.to_step[d];
            rest /= b.size[d];
        }
        for (int64_t u = from_u; u < to_u;) {
            const int64_t beside = last ? b.size[last - 1] - index[last - 1] : 1;
            const int64_t m = beside < to_u - u ? beside : to_u - u;
            copy_lines(&b, (int)last, (size_t)bytes, (char *)c->out[0].data + to * bytes,
                       (const char *)c->in[k].data + from * bytes, m);
            u += m;
            for (int64_t d = last - 1, by = m; d >= 0; d--, by = 1) { /* the next, carrying over */
                from += by * b.from_step[d];
                to += by * b.to_step[d];
                if ((index[d] += by) < b.size[d])
                    break;
                from -= index[d] * b.from_step[d];
                to -= index[d] * b.to_step[d];
                index[d] = 0;
            }
        }
    }
}

/* ---- split: a unit is one run of one part ---- */

static int64_t split_units(const lk_call *c)
{
    return lk_split_at(&c->in[0].shape, c->node->attr.range.axis).outer * c->node->attr.range.size;
}

static void split_range(const lk_call *c, int64_t first, int64_t end)
{
    const lk_split k = lk_split_at(&c->in[0].shape, c->node->attr.range.axis);
    const int64_t n = c->node->attr.range.size;
    const size_t run = (size_t)(k.size / n * k.inner) * lk_dtype_bytes(c->in[0].dtype);
    for (int64_t u = first; u < end; u++) {
        char *to = c->out[u % n].data;
        if (to)
            memcpy(to + (size_t)(u / n) * run, (const char *)c->in[0].data + (size_t)u * run, run);
    }
}

static int64_t zero_units(const lk_call *c)
{
    return (int64_t)((lk_tensor_bytes(&c->out[0]) + 4095) / 4096);
}

static void zero_range(const lk_call *c, int64_t first, int64_t end)
{
    const size_t total = lk_tensor_bytes(&c->out[0]), from = (size_t)first * 4096;
    const size_t to = (size_t)end * 4096 < total ? (size_t)end * 4096 : total;
    memset((char *)c->out[0].data + from, 0, to - from);
}

const lk_cpu_kernel LK_VEC(lk_cpu_permute) = {.phase = {{box_units, box_range}}};
const lk_cpu_kernel LK_VEC(lk_cpu_slice) = {.phase = {{box_units, box_range}}};
const lk_cpu_kernel LK_VEC(lk_cpu_concat) = {.phase = {{box_units, box_range}}};
const lk_cpu_kernel LK_VEC(lk_cpu_broadcast) = {.phase = {{box_units, box_range}}};
const lk_cpu_kernel LK_VEC(lk_cpu_pad) = {
    .phase = {{zero_units, zero_range}, {box_units, box_range}}};
const lk_cpu_kernel LK_VEC(lk_cpu_split) = {.phase = {{split_units, split_range}}};

/* ---- gather, scatter_add ---- */

static int64_t gather_units(const lk_call *c)
{
    const lk_split to = lk_split_at(&c->out[0].shape, c->node->attr.axis.axis);
    return to.inner ? to.outer * to.size : 0;
}

static void gather_range(const lk_call *c, int64_t first, int64_t end)
{
    const lk_split from = lk_split_at(&c->in[0].shape, c->node->attr.axis.axis);
    const int64_t bytes = from.inner * (int64_t)lk_dtype_bytes(c->out[0].dtype);
    const int64_t n_index = c->in[1].shape.dim[0];
    const int32_t *index = c->in[1].data;
    const char *x = c->in[0].data;
    char *y = c->out[0].data;
    int64_t m = first % n_index, outer = first / n_index;
    for (int64_t u = first; u < end; u++) {
        const int64_t n = index[m];
        if (n < 0 || n >= from.size)
            memset(y + u * bytes, 0, (size_t)bytes);
        else if (bytes == 4)
            memcpy(y + u * 4, x + (outer * from.size + n) * 4, 4);
        else if (bytes == 2)
            memcpy(y + u * 2, x + (outer * from.size + n) * 2, 2);
        else
            memcpy(y + u * bytes, x + (outer * from.size + n) * bytes, (size_t)bytes);
        if (++m == n_index) {
            m = 0;
            outer++;
        }
    }
}

/* Each unit owns some rows of the result and looks through all indices for them, in order. */
static int64_t owners(const lk_split *to)
{
    const int64_t wanted = to->outer ? 64 / to->outer : 1;
    return wanted < 1 ? 1 : wanted > to->size ? to->size : wanted;
}

static int64_t scatter_units(const lk_call *c)
{
    const lk_split to = lk_split_at(&c->out[0].shape, c->node->attr.axis.axis);
    return to.inner ? to.outer * owners(&to) : 0;
}

static void scatter_range(const lk_call *c, int64_t first, int64_t end)
{
    const lk_split to = lk_split_at(&c->out[0].shape, c->node->attr.axis.axis);
    const int64_t n_index = c->in[1].shape.dim[0];
    const int32_t *index = c->in[1].data;
    lk_run buffer;
    for (int64_t u = first; u < end; u++) {
        const int64_t outer = u / owners(&to), owner = u % owners(&to);
        const int64_t lo = to.size * owner / owners(&to), hi = to.size * (owner + 1) / owners(&to);
        float *y = (float *)c->out[0].data + outer * to.size * to.inner;
        memset(y + lo * to.inner, 0, (size_t)((hi - lo) * to.inner) * sizeof *y);
        for (int64_t m = 0; m < n_index; m++) {
            const int64_t n = index[m];
            for (int64_t at = 0; n >= lo && n < hi && at < to.inner; at += LK_VEC_RUN) {
                const int64_t k = to.inner - at < LK_VEC_RUN ? to.inner - at : LK_VEC_RUN;
                const float *x =
                    lk_run_in(&c->in[0], (outer * n_index + m) * to.inner + at, k, buffer);
                for (int64_t i = 0; i < k; i++)
                    y[n * to.inner + at + i] += x[i];
            }
        }
    }
}

const lk_cpu_kernel LK_VEC(lk_cpu_gather) = {.phase = {{gather_units, gather_range}}};
const lk_cpu_kernel LK_VEC(lk_cpu_scatter_add) = {.phase = {{scatter_units, scatter_range}}};
