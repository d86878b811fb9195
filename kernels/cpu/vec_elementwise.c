/* vec_elementwise.c - kernels of kernels/ops/elementwise.c.
 *
 * Runs of LK_VEC_RUN elements are widened to f32 in the first-level cache, computed, and narrowed.
 * vec_unary.c and vec_snake.c have functions of one number. */
#include "kernels/cpu/vec.h"

#include "kernels/ops/ops_impl.h"

#define RUN LK_VEC_RUN

static int64_t run_units(const lk_call *c)
{
    return (lk_tensor_count(&c->in[0]) + RUN - 1) / RUN;
}

/* ---- add, sub, mul, div: rows in which each operand either runs along or stands still ---- */

typedef struct rows {
    lk_broadcasting s;
    int n_outer_dims;
    int64_t n_rows, n;      /* rows, elements a row */
    int64_t walk_a, walk_b; /* 1: the operand runs along the row, 0: one number for all of it */
    int64_t runs;           /* units a row */
} rows;

static rows rows_of(const lk_call *c)
{
    rows r = {.n = 1, .n_rows = 1, .walk_a = -1, .walk_b = -1};
    int d;
    lk_broadcast_shapes(&c->in[0].shape, &c->in[1].shape, &r.s);
    for (d = r.s.out.n_dims - 1; d >= 0; d--) {
        const int64_t wa = r.s.step_a[d] != 0, wb = r.s.step_b[d] != 0;
        if (r.s.out.dim[d] == 1)
            continue;
        if (r.walk_a >= 0 && (wa != r.walk_a || wb != r.walk_b))
            break;
        r.walk_a = wa;
        r.walk_b = wb;
        r.n *= r.s.out.dim[d];
    }
    r.n_outer_dims = d + 1;
    for (; d >= 0; d--)
        r.n_rows *= r.s.out.dim[d];
    r.walk_a = r.walk_a < 0 ? 1 : r.walk_a;
    r.walk_b = r.walk_b < 0 ? 1 : r.walk_b;
    r.runs = (r.n + RUN - 1) / RUN;
    return r;
}

static int64_t binary_units(const lk_call *c)
{
    const rows r = rows_of(c);
    return r.n_rows * r.runs;
}

#define BINARY_LOOP(expr)                                                                          \
    if (r->walk_a && r->walk_b)                                                                    \
        for (int64_t i = 0; i < n; i++) {                                                          \
            const float a = pa[i], b = pb[i];                                                      \
            y[i] = expr;                                                                           \
        }                                                                                          \
    else if (r->walk_a) {                                                                          \
        const float b = pb[0];                                                                     \
        for (int64_t i = 0; i < n; i++) {                                                          \
            const float a = pa[i];                                                                 \
            y[i] = expr;                                                                           \
        }                                                                                          \
    } else {                                                                                       \
        const float a = pa[0];                                                                     \
        for (int64_t i = 0; i < n; i++) {                                                          \
            const float b = pb[i];                                                                 \
            y[i] = expr;                                                                           \
        }                                                                                          \
    }

static void binary_run(lk_op op, const rows *r, int64_t n, const float *pa, const float *pb,
                       float *y)
{
    if (op == LK_OP_ADD) {
        BINARY_LOOP(a + b)
    } else if (op == LK_OP_SUB) {
        BINARY_LOOP(a - b)
    } else if (op == LK_OP_MUL) {
        BINARY_LOOP(a * b)
    } else {
        BINARY_LOOP(a / b)
    }
}

static void binary_range(const lk_call *c, int64_t first, int64_t end)
{
    const rows r = rows_of(c);
    lk_run buf_a, buf_b, buf_y;
    for (int64_t u = first; u < end; u++) {
        const int64_t row = u / r.runs, at = u % r.runs * RUN;
        const int64_t n = r.n - at < RUN ? r.n - at : RUN;
        int64_t rest = row, ia = 0, ib = 0;
        const float *a, *b;
        float *y;
        for (int d = r.n_outer_dims - 1; d >= 0; d--) {
            ia += rest % r.s.out.dim[d] * r.s.step_a[d];
            ib += rest % r.s.out.dim[d] * r.s.step_b[d];
            rest /= r.s.out.dim[d];
        }
        a = lk_run_in(&c->in[0], ia + at * r.walk_a, r.walk_a ? n : 1, buf_a);
        b = lk_run_in(&c->in[1], ib + at * r.walk_b, r.walk_b ? n : 1, buf_b);
        y = lk_run_out(&c->out[0], row * r.n + at, buf_y);
        binary_run(c->node->op, &r, n, a, b, y);
        lk_run_end(&c->out[0], row * r.n + at, n, y);
    }
}

const lk_cpu_kernel LK_VEC(lk_cpu_add) = {.phase = {{binary_units, binary_range}}};
const lk_cpu_kernel LK_VEC(lk_cpu_sub) = {.phase = {{binary_units, binary_range}}};
const lk_cpu_kernel LK_VEC(lk_cpu_mul) = {.phase = {{binary_units, binary_range}}};
const lk_cpu_kernel LK_VEC(lk_cpu_div) = {.phase = {{binary_units, binary_range}}};

/* ---- gated_add ---- */

static int64_t row_units(const lk_call *c)
{
    return lk_rows(&c->in[0].shape);
}

static void gated_add_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t n_ch = lk_last(&c->in[0].shape);
    const int64_t sample_rows = lk_rows(&c->in[0].shape) / c->in[0].shape.dim[0];
    lk_run buf_x, buf_g, buf_v, buf_y;
    for (int64_t row = first; row < end; row++)
        for (int64_t at = 0; at < n_ch; at += RUN) {
            const int64_t n = n_ch - at < RUN ? n_ch - at : RUN;
            const float *x = lk_run_in(&c->in[0], row * n_ch + at, n, buf_x);
            const float *gate = lk_run_in(&c->in[1], row / sample_rows * n_ch + at, n, buf_g);
            const float *v = lk_run_in(&c->in[2], row * n_ch + at, n, buf_v);
            float *y = lk_run_out(&c->out[0], row * n_ch + at, buf_y);
            for (int64_t i = 0; i < n; i++)
                y[i] = x[i] + gate[i] * v[i];
            lk_run_end(&c->out[0], row * n_ch + at, n, y);
        }
}

const lk_cpu_kernel LK_VEC(lk_cpu_gated_add) = {.phase = {{row_units, gated_add_range}}};

/* ---- cast, param_grad ---- */

static void cast_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t total = lk_tensor_count(&c->in[0]);
    const lk_dtype from = c->in[0].dtype, to = c->out[0].dtype;
    const int floats = (from == LK_F32 || from == LK_BF16) && (to == LK_F32 || to == LK_BF16);
    lk_run buffer;
    for (int64_t u = first; u < end; u++) {
        const int64_t at = u * RUN, n = total - at < RUN ? total - at : RUN;
        if (floats)
            lk_store(to, c->out[0].data, at, n, lk_run_in(&c->in[0], at, n, buffer));
        else
            lk_convert(to, (char *)c->out[0].data + (size_t)at * lk_dtype_bytes(to), from,
                       (const char *)c->in[0].data + (size_t)at * lk_dtype_bytes(from), n);
    }
}

const lk_cpu_kernel LK_VEC(lk_cpu_cast) = {.phase = {{run_units, cast_range}}};

static void param_grad_range(const lk_call *c, int64_t first, int64_t end)
{
    const int64_t total = lk_tensor_count(&c->in[0]);
    const float *in = c->in[0].data;
    float *out = c->out[0].data;
    const int64_t from = first * RUN, to = end * RUN < total ? end * RUN : total;
    if (out == in)
        return;
    if (c->graph->config.accumulate)
        for (int64_t i = from; i < to; i++)
            out[i] += in[i];
    else
        memcpy(out + from, in + from, (size_t)(to - from) * sizeof *out);
}

const lk_cpu_kernel LK_VEC(lk_cpu_param_grad) = {.phase = {{run_units, param_grad_range}}};
