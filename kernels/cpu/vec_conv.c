/* vec_conv.c - convolutions as their sums say, for builds without oneDNN and as a second opinion in
 * the tests. */
#include "kernels/cpu/vec.h"

#include "kernels/cpu/vec_table.h"
#include "kernels/ops/ops_impl.h"
#include "kernels/thread.h"

void LK_VEC(lk_vec_conv)(const lk_call *c);
void LK_VEC(lk_vec_add_parts)(float *sum, const float *parts, int64_t n_parts, int64_t n);

static inline float at(const lk_tensor *t, int64_t i)
{
    return t->dtype == LK_F32 ? ((const float *)t->data)[i]
                              : lk_bf16_to_f32(((const lk_bf16 *)t->data)[i]);
}

static inline void put(const lk_tensor *t, int64_t i, float x)
{
    if (t->dtype == LK_F32)
        ((float *)t->data)[i] = x;
    else
        ((lk_bf16 *)t->data)[i] = lk_bf16_from_f32(x);
}

typedef struct position {
    int64_t b, o[3];
} position;

static position position_of(const lk_conv_sizes *s, const int64_t *size, int64_t i)
{
    position p;
    (void)s;
    p.o[2] = i % size[2];
    p.o[1] = i / size[2] % size[1];
    p.o[0] = i / size[2] / size[1] % size[0];
    p.b = i / size[2] / size[1] / size[0];
    return p;
}

/* Element of x that output o meets at tap k, or -1 in the padding. */
static int64_t meets(const lk_conv_sizes *s, const position *p, int64_t k)
{
    const int64_t k2 = k % s->taps[2], k1 = k / s->taps[2] % s->taps[1];
    const int64_t k0 = k / s->taps[2] / s->taps[1];
    const int64_t p0 = p->o[0] * s->stride[0] - s->lo[0] + k0 * s->dilation[0];
    const int64_t p1 = p->o[1] * s->stride[1] - s->lo[1] + k1 * s->dilation[1];
    const int64_t p2 = p->o[2] * s->stride[2] - s->lo[2] + k2 * s->dilation[2];
    if (p0 < 0 || p0 >= s->in[0] || p1 < 0 || p1 >= s->in[1] || p2 < 0 || p2 >= s->in[2])
        return -1;
    return (((p->b * s->in[0] + p0) * s->in[1] + p1) * s->in[2] + p2) * s->in_ch;
}

/* The reverse: the output that x position p feeds at tap k, or -1. */
static int64_t feeds(const lk_conv_sizes *s, const position *p, int64_t k)
{
    const int64_t tap[3] = {k / s->taps[2] / s->taps[1], k / s->taps[2] % s->taps[1],
                            k % s->taps[2]};
    int64_t at_o = p->b;
    for (int d = 0; d < 3; d++) {
        const int64_t q = p->o[d] + s->lo[d] - tap[d] * s->dilation[d];
        if (q < 0 || q % s->stride[d] || q / s->stride[d] >= s->out[d])
            return -1;
        at_o = at_o * s->out[d] + q / s->stride[d];
    }
    return at_o * s->out_ch;
}

static void conv_range(void *context, int64_t first, int64_t end)
{
    const lk_call *c = context;
    const lk_conv_sizes s = lk_conv_sizes_of(c);
    const int64_t n_taps = s.taps[0] * s.taps[1] * s.taps[2];
    const int64_t in_g = s.in_ch / s.groups, out_g = s.out_ch / s.groups;
    const float *bias = c->in[2].data;
    for (int64_t i = first; i < end; i++) {
        const position p = position_of(&s, s.out, i);
        for (int64_t ch = 0; ch < s.out_ch; ch++) {
            float sum = bias ? bias[ch] : 0;
            for (int64_t k = 0; k < n_taps; k++) {
                const int64_t x = meets(&s, &p, k);
                for (int64_t j = 0; x >= 0 && j < in_g; j++)
                    sum += at(&c->in[0], x + ch / out_g * in_g + j) *
                           at(&c->in[1], (ch * n_taps + k) * in_g + j);
            }
            put(&c->out[0], i * s.out_ch + ch, sum);
        }
    }
}

static void conv_dx_range(void *context, int64_t first, int64_t end)
{
    const lk_call *c = context;
    const lk_conv_sizes s = lk_conv_sizes_of(c);
    const int64_t n_taps = s.taps[0] * s.taps[1] * s.taps[2];
    const int64_t in_g = s.in_ch / s.groups, out_g = s.out_ch / s.groups;
    for (int64_t i = first; i < end; i++) {
        const position p = position_of(&s, s.in, i);
        for (int64_t ch = 0; ch < s.in_ch; ch++) {
            const int64_t group = ch / in_g;
            float sum = 0;
            for (int64_t k = 0; k < n_taps; k++) {
                const int64_t y = feeds(&s, &p, k);
                for (int64_t o = group * out_g; y >= 0 && o < (group + 1) * out_g; o++)
                    sum +=
                        at(&c->in[0], y + o) * at(&c->in[1], (o * n_taps + k) * in_g + ch % in_g);
            }
            put(&c->out[0], i * s.in_ch + ch, sum);
        }
    }
}

static void conv_dw_range(void *context, int64_t first, int64_t end)
{
    const lk_call *c = context;
    const lk_conv_sizes s = lk_conv_sizes_of(c);
    const int64_t n_taps = s.taps[0] * s.taps[1] * s.taps[2];
    const int64_t in_g = s.in_ch / s.groups, out_g = s.out_ch / s.groups;
    const int64_t n = s.n_batch * s.out[0] * s.out[1] * s.out[2];
    float *w = c->out[0].data;
    for (int64_t u = first; u < end; u++) { /* one output channel and tap */
        const int64_t ch = u / n_taps, k = u % n_taps;
        memset(w + u * in_g, 0, (size_t)in_g * sizeof *w);
        for (int64_t i = 0; i < n; i++) {
            const position p = position_of(&s, s.out, i);
            const int64_t x = meets(&s, &p, k);
            const float dy = at(&c->in[1], i * s.out_ch + ch);
            for (int64_t j = 0; x >= 0 && j < in_g; j++)
                w[u * in_g + j] += dy * at(&c->in[0], x + ch / out_g * in_g + j);
        }
    }
}

void LK_VEC(lk_vec_conv)(const lk_call *c)
{
    const lk_conv_sizes s = lk_conv_sizes_of(c);
    union {
        const lk_call *c;
        void *v;
    } u = {.c = c};
    if (c->node->op == LK_OP_CONV)
        lk_parallel_for(s.n_batch * s.out[0] * s.out[1] * s.out[2], 1, conv_range, u.v);
    else if (c->node->op == LK_OP_CONV_DX)
        lk_parallel_for(s.n_batch * s.in[0] * s.in[1] * s.in[2], 1, conv_dx_range, u.v);
    else
        lk_parallel_for(s.out_ch * s.taps[0] * s.taps[1] * s.taps[2], 1, conv_dw_range, u.v);
}

void LK_VEC(lk_vec_add_parts)(float *sum, const float *parts, int64_t n_parts, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float s = parts[i];
        for (int64_t p = 1; p < n_parts; p++)
            s += parts[p * n + i];
        sum[i] = s;
    }
}
