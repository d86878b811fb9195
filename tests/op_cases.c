/* op_cases.c - the shapes every operation is tested at. */
#include "tests/op_cases.h"

/* ---- elementwise ---- */

#define BINARY(op, name, shape_a, shape_b)                                                         \
    static lk_var op##_##name(op_case_build *b)                                                    \
    {                                                                                              \
        const lk_var x = case_input(b, shape_a, 0.5, 2);                                           \
        const lk_var y = case_input(b, shape_b, 0.5, 2);                                           \
        return lk_##op(b->g, x, y);                                                                \
    }
BINARY(add, same, LK_SHAPE(3, 5, 7), LK_SHAPE(3, 5, 7))
BINARY(add, bias, LK_SHAPE(4, 600), LK_SHAPE(600))
BINARY(add, middle, LK_SHAPE(2, 3, 4, 5), LK_SHAPE(2, 1, 4, 1))
BINARY(add, both, LK_SHAPE(3, 1), LK_SHAPE(1, 4))
BINARY(add, scalar, LK_SHAPE(1030), lk_shape_of(0, NULL))
BINARY(add, empty, LK_SHAPE(0, 4), LK_SHAPE(4))
BINARY(sub, same, LK_SHAPE(1100), LK_SHAPE(1100))
BINARY(sub, front, LK_SHAPE(1, 6), LK_SHAPE(5, 6))
BINARY(mul, same, LK_SHAPE(2, 513), LK_SHAPE(2, 513))
BINARY(mul, column, LK_SHAPE(4, 3, 8), LK_SHAPE(4, 1, 8))
BINARY(div, same, LK_SHAPE(5, 9), LK_SHAPE(5, 9))
BINARY(div, row, LK_SHAPE(5, 9), LK_SHAPE(5, 1))

static lk_var square_of_sum(op_case_build *b) /* one value used twice */
{
    const lk_var x = case_input(b, LK_SHAPE(3, 4), -1, 1);
    const lk_var y = case_input(b, LK_SHAPE(4), -1, 1);
    const lk_var s = lk_add(b->g, x, y);
    return lk_mul(b->g, s, s);
}

/* Away from kinks, and inside each function's domain. */
#define LK_UNARY_KIND(upper, lower, f, df)                                                         \
    static lk_var unary_##lower(op_case_build *b)                                                  \
    {                                                                                              \
        const int positive = LK_##upper == LK_LOG || LK_##upper == LK_SQRT ||                      \
                             LK_##upper == LK_RSQRT || LK_##upper == LK_RECIPROCAL;                \
        const lk_var x = case_input(b, LK_SHAPE(3, 401), positive ? 0.2 : -3, 3);                  \
        return lk_unary(b->g, LK_##upper, x, LK_##upper == LK_CLAMP ? -1.5 : 0.7, 1.25);           \
    }
#include "kernels/unary.def"
#undef LK_UNARY_KIND

static lk_var snake_case(op_case_build *b)
{
    const lk_var x = case_input(b, LK_SHAPE(2, 70, 33), -3, 3);
    return lk_snake(b->g, x, case_input_f32(b, LK_SHAPE(33), 0.3, 2));
}

static lk_var gated_add_case(op_case_build *b)
{
    const lk_var x = case_input(b, LK_SHAPE(2, 5, 24), -1, 1);
    const lk_var gate = case_input(b, LK_SHAPE(2, 24), -1, 1);
    return lk_gated_add(b->g, x, gate, case_input(b, LK_SHAPE(2, 5, 24), -1, 1));
}

static lk_var cast_case(op_case_build *b)
{
    const lk_var x = case_input(b, LK_SHAPE(7, 100), -1, 1);
    return lk_cast(b->g, lk_scale(b->g, x, 3), b->dtype == LK_F32 ? LK_BF16 : LK_F32);
}

/* ---- shape ---- */

static lk_var reshape_case(op_case_build *b)
{
    const lk_var x = case_input(b, LK_SHAPE(4, 6), -1, 1);
    return lk_square(b->g, lk_reshape(b->g, x, LK_SHAPE(3, -1)));
}

static lk_var straight_through_case(op_case_build *b)
{
    const lk_var x = case_input(b, LK_SHAPE(12), -1, 1);
    return lk_stop_gradient(b->g, lk_square(b->g, x));
}

static lk_var permute_case(op_case_build *b)
{
    const lk_var x = case_input(b, LK_SHAPE(2, 3, 4, 5), -1, 1);
    return lk_permute(b->g, x, (const int[]){2, 0, 3, 1});
}

static lk_var transpose_case(op_case_build *b)
{
    const lk_var x = case_input(b, LK_SHAPE(33, 65), -1, 1);
    return lk_permute(b->g, x, (const int[]){1, 0});
}

static lk_var slice_case(op_case_build *b)
{
    const lk_var x = case_input(b, LK_SHAPE(3, 8, 5), -1, 1);
    return lk_slice(b->g, x, 1, 2, 5);
}

static lk_var slice_none(op_case_build *b)
{
    const lk_var x = case_input(b, LK_SHAPE(3, 8), -1, 1);
    return lk_slice(b->g, x, -1, 8, 0);
}

static lk_var pad_case(op_case_build *b)
{
    const lk_var x = case_input(b, LK_SHAPE(3, 4, 5), -1, 1);
    return lk_pad(b->g, x, 1, 2, 1);
}

static lk_var concat_case(op_case_build *b)
{
    lk_var x[3];
    x[0] = case_input(b, LK_SHAPE(3, 2, 5), -1, 1);
    x[1] = case_input(b, LK_SHAPE(3, 1, 5), -1, 1);
    x[2] = case_input(b, LK_SHAPE(3, 4, 5), -1, 1);
    return lk_concat(b->g, 3, x, 1);
}

static lk_var broadcast_case(op_case_build *b)
{
    const lk_var x = case_input(b, LK_SHAPE(3, 1, 5), -1, 1);
    return lk_broadcast(b->g, x, LK_SHAPE(2, 3, 4, 5));
}

/* ---- reduce ---- */

#define SUM(name, shape, axes)                                                                     \
    static lk_var sum_##name(op_case_build *b)                                                     \
    {                                                                                              \
        return lk_mean(b->g, case_input(b, shape, -1, 1), axes, 0);                                \
    }
SUM(last, LK_SHAPE(3, 700), 2u)
SUM(first, LK_SHAPE(300, 37), 1u)
SUM(middle, LK_SHAPE(3, 100, 5), 2u)
SUM(ends, LK_SHAPE(7, 5, 9, 4), 9u)
SUM(all, LK_SHAPE(5, 1000), 3u)
SUM(empty, LK_SHAPE(0, 3), 1u)

/* Operations that only gradients record are tested through the ones that record them. */
const op_case op_cases[] = {
    {LK_OP_ADD, "same", add_same},
    {LK_OP_ADD, "bias", add_bias},
    {LK_OP_ADD, "middle", add_middle},
    {LK_OP_ADD, "both", add_both},
    {LK_OP_ADD, "scalar", add_scalar},
    {LK_OP_ADD, "empty", add_empty},
    {LK_OP_ADD, "twice", square_of_sum},
    {LK_OP_SUB, "same", sub_same},
    {LK_OP_SUB, "front", sub_front},
    {LK_OP_MUL, "same", mul_same},
    {LK_OP_MUL, "column", mul_column},
    {LK_OP_DIV, "same", div_same},
    {LK_OP_DIV, "row", div_row},
#define LK_UNARY_KIND(upper, lower, f, df) {LK_OP_UNARY, #lower, unary_##lower},
#include "kernels/unary.def"
#undef LK_UNARY_KIND
    {LK_OP_SNAKE, "", snake_case},
    {LK_OP_GATED_ADD, "", gated_add_case},
    {LK_OP_CAST, "", cast_case},
    {LK_OP_RESHAPE, "", reshape_case},
    {LK_OP_STOP, "", straight_through_case},
    {LK_OP_PERMUTE, "", permute_case},
    {LK_OP_PERMUTE, "transpose", transpose_case},
    {LK_OP_SLICE, "", slice_case},
    {LK_OP_SLICE, "nothing", slice_none},
    {LK_OP_PAD, "", pad_case},
    {LK_OP_CONCAT, "", concat_case},
    {LK_OP_BROADCAST, "", broadcast_case},
    {LK_OP_SUM, "last", sum_last},
    {LK_OP_SUM, "first", sum_first},
    {LK_OP_SUM, "middle", sum_middle},
    {LK_OP_SUM, "ends", sum_ends},
    {LK_OP_SUM, "all", sum_all},
    {LK_OP_SUM, "empty", sum_empty},
};
const int n_op_cases = (int)(sizeof op_cases / sizeof op_cases[0]);
