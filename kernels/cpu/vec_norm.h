/* vec_norm.h - what the kernels of norms share: fixed parts of rows, and the group norm's phases.
 *
 * Sections of rows that no sum crosses (a sample for groups and for gammas of its own, everything
 * otherwise) are cut into parts by their shape alone, and sums that cross rows go through them.
 *
 * Work space: [sections, parts, 2, C] sums (groups forwards: means and squares about them), and
 * behind them, for groups, [samples, LK_NORM_COEFFICIENTS, C] of the last phase. */
#ifndef LK_CPU_VEC_NORM_H
#define LK_CPU_VEC_NORM_H

#include "kernels/cpu/vec_lanes.h"
#include "kernels/ops/ops_impl.h"

#define LK_NORM_COEFFICIENTS 4

typedef struct lk_norm_split {
    int64_t sections, rows, parts; /* rows and parts of a section */
} lk_norm_split;

static inline int lk_norm_is_group(const lk_call *c)
{
    return c->node->attr.norm.kind == LK_GROUP_NORM;
}

static inline lk_norm_split lk_norm_split_of(const lk_call *c)
{
    const lk_norm_sizes z = lk_norm_sizes_of(c);
    const int by_sample = lk_norm_is_group(c) || c->node->attr.norm.n_gamma_dims == 2 ||
                          c->node->attr.norm.n_beta_dims == 2;
    lk_norm_split s = {.sections = by_sample ? z.samples : 1,
                       .rows = by_sample ? z.rows : z.samples * z.rows};
    s.parts = s.sections ? 64 / s.sections : 1;
    s.parts = s.parts > s.rows ? s.rows : s.parts;
    s.parts = s.parts < 1 ? 1 : s.parts;
    return s;
}

static inline float *lk_norm_part(const lk_call *c, int64_t section, int64_t part)
{
    const lk_norm_split s = lk_norm_split_of(c);
    return (float *)c->work + (section * s.parts + part) * 2 * lk_last(&c->in[0].shape);
}

/* The channels' gamma or beta for a sample; NULL: none. */
static inline const float *lk_norm_scale(const lk_tensor *t, int64_t sample)
{
    const int64_t at = t->shape.n_dims == 2 ? sample * t->shape.dim[1] : 0;
    return t->data ? (const float *)t->data + at : NULL;
}

/* Forwards: statistics of parts, coefficients of samples, y of blocks.  Backwards: sums of parts,
 * (when those of a sample are joined) its coefficients, dx of blocks. */
void LK_VEC(lk_norm_group_first)(const lk_call *c, int64_t first, int64_t end);
void LK_VEC(lk_norm_group_second)(const lk_call *c, int64_t first, int64_t end);
int64_t LK_VEC(lk_norm_group_blocks)(const lk_call *c);
void LK_VEC(lk_norm_group_third)(const lk_call *c, int64_t first, int64_t end);
void LK_VEC(lk_norm_group_grad_first)(const lk_call *c, int64_t first, int64_t end);
void LK_VEC(lk_norm_group_grad_second)(const lk_call *c, int64_t sample);
void LK_VEC(lk_norm_group_grad_third)(const lk_call *c, int64_t first, int64_t end);

#endif /* LK_CPU_VEC_NORM_H */
