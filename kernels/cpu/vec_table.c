/* vec_table.c - see vec_table.h. */
#include "kernels/cpu/vec_table.h"

#include "kernels/cpu/vec.h"

extern const lk_vec_table LK_VEC(lk_vec_functions);

size_t LK_VEC(lk_vec_product_work_bytes)(const lk_call *c);
void LK_VEC(lk_vec_product)(const lk_call *c);
void LK_VEC(lk_vec_conv)(const lk_call *c);
int LK_VEC(lk_vec_few_suits)(const lk_call *c);
size_t LK_VEC(lk_vec_few_work_bytes)(const lk_call *c);
void LK_VEC(lk_vec_few)(const lk_call *c);
int LK_VEC(lk_vec_direct_suits)(const lk_call *c);
size_t LK_VEC(lk_vec_direct_work_bytes)(const lk_call *c);
void LK_VEC(lk_vec_direct)(const lk_call *c);
int LK_VEC(lk_vec_filter_suits)(const lk_call *c);
size_t LK_VEC(lk_vec_filter_work_bytes)(const lk_call *c);
void LK_VEC(lk_vec_filter)(const lk_call *c);
void LK_VEC(lk_vec_unary_in_place)(const lk_tensor *y, lk_unary_kind kind, double a);
void LK_VEC(lk_vec_add_parts)(float *sum, const float *parts, int64_t n_parts, int64_t n);
double LK_VEC(lk_vec_sum_squares)(const float *x, int64_t n);
void LK_VEC(lk_vec_adamw)(const lk_optim_piece *piece, const lk_adamw_factors *f);

const lk_vec_table LK_VEC(lk_vec_functions) = {
    .product_work_bytes = LK_VEC(lk_vec_product_work_bytes),
    .product = LK_VEC(lk_vec_product),
    .conv = LK_VEC(lk_vec_conv),
    .conv_ways =
        {
            {LK_VEC(lk_vec_few_suits), LK_VEC(lk_vec_few_work_bytes), LK_VEC(lk_vec_few)},
            {LK_VEC(lk_vec_direct_suits), LK_VEC(lk_vec_direct_work_bytes), LK_VEC(lk_vec_direct)},
            {LK_VEC(lk_vec_filter_suits), LK_VEC(lk_vec_filter_work_bytes), LK_VEC(lk_vec_filter)},
        },
    .unary_in_place = LK_VEC(lk_vec_unary_in_place),
    .add_parts = LK_VEC(lk_vec_add_parts),
    .sum_squares = LK_VEC(lk_vec_sum_squares),
    .adamw = LK_VEC(lk_vec_adamw),
};
