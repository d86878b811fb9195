/* vec_table.h - vector code that is not the kernel of one operation: the pieces other files call.
 * One table per instruction set, filled in vec_table.c. */
#ifndef LK_CPU_VEC_TABLE_H
#define LK_CPU_VEC_TABLE_H

#include "kernels/cpu/cpu.h"
#include "kernels/optim_impl.h"

/* A way to do some of the convolutions that is better than oneDNN's: of few channels into many
 * (vec_few.c), those that are no matrix product (vec_direct.c), gradients of filters as products
 * over positions (vec_filter.c). */
#define LK_VEC_CONV_WAYS 3
typedef struct lk_vec_conv_way {
    int (*suits)(const lk_call *c);
    size_t (*work_bytes)(const lk_call *c);
    void (*run)(const lk_call *c);
} lk_vec_conv_way;

typedef struct lk_vec_table {
    /* MATMUL (vec_product.c). */
    size_t (*product_work_bytes)(const lk_call *c);
    void (*product)(const lk_call *c);
    /* CONV, CONV_DX, CONV_DW without oneDNN (vec_conv.c). */
    void (*conv)(const lk_call *c);
    lk_vec_conv_way conv_ways[LK_VEC_CONV_WAYS];
    /* y = f(y), threaded. */
    void (*unary_in_place)(const lk_tensor *y, lk_unary_kind kind, double a);
    /* sum[i] = the sum of n_parts runs of n numbers, in order. */
    void (*add_parts)(float *sum, const float *parts, int64_t n_parts, int64_t n);
    /* optim_impl.h, one piece: the sum of its squares; one step of it. */
    double (*sum_squares)(const float *x, int64_t n);
    void (*adamw)(const lk_optim_piece *piece, const lk_adamw_factors *f);
} lk_vec_table;

/* The table of the level in use. */
const lk_vec_table *lk_vec_now(void);

#endif /* LK_CPU_VEC_TABLE_H */
