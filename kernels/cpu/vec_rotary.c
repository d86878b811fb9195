/* vec_rotary.c - kernel of kernels/ops/rotary.c, a row a unit. */
#include "kernels/cpu/vec.h"

#include "kernels/ops/ops_impl.h"

static int64_t rotary_units(const lk_call *c)
{
    return lk_rows(&c->in[0].shape);
}

static void turn(const float *x, const float *cosine, const float *sine, float sign, int64_t pairs,
                 float *y)
{
    for (int64_t p = 0; p < pairs; p++) {
        const float a = x[p], b = x[p + pairs], s = sign * sine[p];
        y[p] = a * cosine[p] - b * s;
        y[p + pairs] = a * s + b * cosine[p];
    }
}

static void rotary_range(const lk_call *c, int64_t first, int64_t end)
{
    const lk_rotary_sizes s = lk_rotary_sizes_of(c);
    const float sign = c->node->attr.rotary.inverse ? -1 : 1;
    const float *table = c->in[1].data;
    lk_run a, b;
    for (int64_t u = first; u < end; u++) {
        const float *angle = table + (u / s.n / s.repeats * s.n + u % s.n) * 2 * s.pairs;
        /* pairs of a row, in runs that fit the buffers */
        for (int64_t p = 0; p < s.pairs; p += LK_VEC_RUN / 2) {
            const int64_t n = s.pairs - p < LK_VEC_RUN / 2 ? s.pairs - p : LK_VEC_RUN / 2;
            lk_load(c->in[0].dtype, c->in[0].data, u * s.d + p, n, a);
            lk_load(c->in[0].dtype, c->in[0].data, u * s.d + p + s.pairs, n, a + n);
            turn(a, angle + p, angle + p + s.pairs, sign, n, b);
            lk_store(c->out[0].dtype, c->out[0].data, u * s.d + p, n, b);
            lk_store(c->out[0].dtype, c->out[0].data, u * s.d + p + s.pairs, n, b + n);
        }
        for (int64_t p = 2 * s.pairs; p < s.d; p += LK_VEC_RUN) {
            const int64_t n = s.d - p < LK_VEC_RUN ? s.d - p : LK_VEC_RUN;
            lk_load(c->in[0].dtype, c->in[0].data, u * s.d + p, n, a);
            lk_store(c->out[0].dtype, c->out[0].data, u * s.d + p, n, a);
        }
    }
}

const lk_cpu_kernel LK_VEC(lk_cpu_rotary) = {.phase = {{rotary_units, rotary_range}}};
