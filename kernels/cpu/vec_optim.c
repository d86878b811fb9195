/* vec_optim.c - one piece of an optimiser's step in one pass over memory.  Formulas: optim.c. */
#include "kernels/cpu/vec.h"

#include "kernels/cpu/vec_table.h"

double LK_VEC(lk_vec_sum_squares)(const float *x, int64_t n);
void LK_VEC(lk_vec_adamw)(const lk_optim_piece *piece, const lk_adamw_factors *f);

double LK_VEC(lk_vec_sum_squares)(const float *x, int64_t n)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

void LK_VEC(lk_vec_adamw)(const lk_optim_piece *piece, const lk_adamw_factors *f)
{
    float *restrict p = piece->value, *restrict m = piece->moment1, *restrict v = piece->moment2;
    float *restrict a = piece->average;
    const float *restrict g = piece->grad;
    const lk_adamw_factors k = *f;
    const float keep = piece->decays ? k.keep : 1.0f;
    const float new1 = 1.0f - k.beta1, new2 = 1.0f - k.beta2;
    for (int64_t i = 0; i < piece->n; i++) {
        const float x = g[i] * k.scale;
        m[i] = k.beta1 * m[i] + new1 * x;
        v[i] = k.beta2 * v[i] + new2 * x * x;
        p[i] = p[i] * keep - k.step * m[i] / (__builtin_sqrtf(v[i]) * k.root + k.eps);
    }
    if (!a)
        return;
    for (int64_t i = 0; i < piece->n; i++)
        a[i] += k.blend * (p[i] - a[i]);
}
