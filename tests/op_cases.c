/* op_cases.c - the shapes every operation is tested at. */
#include "tests/op_cases.h"

#include "kernels/attention.h"
#include "kernels/mem.h"
#include "tests/check.h"

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

static lk_var permute_interleaved(op_case_build *b)
{
    const lk_var x = case_input(b, LK_SHAPE(2, 3, 2, 4, 2, 9), -1, 1);
    return lk_permute(b->g, x, (const int[]){0, 1, 3, 5, 2, 4});
}

static lk_var slice_case(op_case_build *b)
{
    const lk_var x = case_input(b, LK_SHAPE(3, 8, 5), -1, 1);
    return lk_slice(b->g, x, 1, 2, 5);
}

static lk_var slice_short(op_case_build *b)
{
    const lk_var x = case_input(b, LK_SHAPE(2, 301, 7), -1, 1);
    return lk_slice(b->g, x, 2, 3, 3);
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

static lk_var concat_short(op_case_build *b)
{
    lk_var x[2];
    x[0] = case_input(b, LK_SHAPE(2, 290, 3), -1, 1);
    x[1] = case_input(b, LK_SHAPE(2, 290, 5), -1, 1);
    return lk_concat(b->g, 2, x, 2);
}

static lk_var split_case(op_case_build *b)
{
    lk_var part[3];
    lk_split_equally(b->g, case_input(b, LK_SHAPE(3, 6, 5), -1, 1), 1, 3, part);
    return lk_mul(b->g, lk_add(b->g, part[0], lk_square(b->g, part[2])), part[1]);
}

static lk_var split_part_unused(op_case_build *b)
{
    lk_var part[4];
    lk_split_equally(b->g, case_input(b, LK_SHAPE(5, 2, 12), -1, 1), -1, 4, part);
    return lk_mul(b->g, part[1], part[3]);
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
        return lk_reduce_mean(b->g, case_input(b, shape, -1, 1), axes, 0);                         \
    }
SUM(last, LK_SHAPE(3, 700), 2u)
SUM(first, LK_SHAPE(300, 37), 1u)
SUM(middle, LK_SHAPE(3, 100, 5), 2u)
SUM(ends, LK_SHAPE(7, 5, 9, 4), 9u)
SUM(all, LK_SHAPE(5, 1000), 3u)
SUM(empty, LK_SHAPE(0, 3), 1u)

#define SOFTMAX(name, shape, reach)                                                                \
    static lk_var softmax_##name(op_case_build *b)                                                 \
    {                                                                                              \
        return lk_softmax(b->g, case_input(b, shape, -(reach), reach));                            \
    }
SOFTMAX(rows, LK_SHAPE(2, 5, 33), 3)
SOFTMAX(one, LK_SHAPE(7, 1), 3)
SOFTMAX(steep, LK_SHAPE(3, 700), 60)
SOFTMAX(long, LK_SHAPE(2, 4200), 4)
SOFTMAX(empty, LK_SHAPE(0, 5), 1)
SOFTMAX(empty_row, LK_SHAPE(3, 0), 1)

/* ---- rearrange ---- */

#define GATHER(name, shape, axis, m, n)                                                            \
    static lk_var gather_##name(op_case_build *b)                                                  \
    {                                                                                              \
        const lk_var x = case_input(b, shape, -1, 1);                                              \
        return lk_gather(b->g, x, axis, case_index(b, LK_SHAPE(m), n));                            \
    }
GATHER(rows, LK_SHAPE(9, 33), 0, 40, 9)
GATHER(middle, LK_SHAPE(2, 7, 5), 1, 13, 7)
GATHER(last, LK_SHAPE(70, 6), -1, 9, 6)
GATHER(wide, LK_SHAPE(5, 700), 0, 12, 5)
GATHER(outside, LK_SHAPE(3, 4), 0, 20, 6) /* some indices are not there */
GATHER(none, LK_SHAPE(3, 4), 0, 0, 3)

#define SCATTER(name, shape, axis, size, n)                                                        \
    static lk_var scatter_##name(op_case_build *b)                                                 \
    {                                                                                              \
        const lk_var x = case_input(b, shape, -1, 1);                                              \
        const lk_var i = case_index(b, LK_SHAPE(lk_var_dim(b->g, x, axis)), n);                    \
        return lk_scatter_add(b->g, x, axis, i, size);                                             \
    }
SCATTER(rows, LK_SHAPE(50, 20), 0, 11, 11)
SCATTER(last, LK_SHAPE(3, 200), 1, 150, 150)
SCATTER(outside, LK_SHAPE(30, 3), 0, 4, 8)
SCATTER(empty, LK_SHAPE(0, 3), 0, 4, 4)

/* Squared, so that a wrong place shows in the gradient too. */
#define COMPOSED(name, shape, call)                                                                \
    static lk_var composed_##name(op_case_build *b)                                                \
    {                                                                                              \
        const lk_var x = case_input(b, shape, -1, 1);                                              \
        return lk_square(b->g, call);                                                              \
    }
COMPOSED(space_to_depth, LK_SHAPE(2, 6, 9, 5), lk_space_to_depth(b->g, x, 3))
COMPOSED(depth_to_space, LK_SHAPE(2, 3, 5, 12), lk_depth_to_space(b->g, x, 2))
COMPOSED(repeat, LK_SHAPE(2, 3, 5), lk_repeat(b->g, x, 1, 4))
COMPOSED(haar, LK_SHAPE(2, 4, 6, 3), lk_haar(b->g, x))
COMPOSED(haar_inverse, LK_SHAPE(2, 3, 2, 8), lk_haar_inverse(b->g, x))

/* ---- random ---- */

static lk_var random_normal(op_case_build *b)
{
    return lk_random_normal(b->g, b->dtype, LK_SHAPE(3, 1001));
}

static lk_var random_uniform(op_case_build *b)
{
    return lk_random_uniform(b->g, b->dtype, LK_SHAPE(5));
}

static lk_var dropout_case(op_case_build *b)
{
    return lk_dropout(b->g, case_input(b, LK_SHAPE(7, 301), -1, 1), 0.3);
}

static lk_var dropout_empty(op_case_build *b)
{
    return lk_dropout(b->g, case_input(b, LK_SHAPE(0, 3), -1, 1), 0.3);
}

/* ---- norm ---- */

/* dims: of gamma and beta, 0 for none. */
#define NORM(name, kind, shape, groups, dims)                                                      \
    static lk_var norm_##name(op_case_build *b)                                                    \
    {                                                                                              \
        const lk_var x = case_input(b, shape, -1, 3);                                              \
        const int64_t n_ch = lk_var_dim(b->g, x, -1), n = lk_var_dim(b->g, x, 0);                  \
        const lk_shape s = (dims) == 2 ? LK_SHAPE(n, n_ch) : LK_SHAPE(n_ch);                       \
        const lk_var gamma = (dims) ? case_input_f32(b, s, 0.5, 2) : LK_NONE;                      \
        const lk_var beta = (dims) ? case_input_f32(b, s, -1, 1) : LK_NONE;                        \
        return lk_norm(b->g, kind, x, gamma, beta, groups, 1e-5);                                  \
    }
NORM(layer, LK_LAYER_NORM, LK_SHAPE(3, 7, 33), 0, 1)
NORM(layer_plain, LK_LAYER_NORM, LK_SHAPE(70, 64), 0, 0)
NORM(layer_adaptive, LK_LAYER_NORM, LK_SHAPE(3, 70, 20), 0, 2)
NORM(layer_wide, LK_LAYER_NORM, LK_SHAPE(2, 3, 1200), 0, 1)
NORM(layer_flat, LK_LAYER_NORM, LK_SHAPE(11, 30), 0, 2)
NORM(layer_empty, LK_LAYER_NORM, LK_SHAPE(0, 7), 0, 1)
NORM(rms, LK_RMS_NORM, LK_SHAPE(2, 90, 31), 0, 1)
NORM(rms_adaptive, LK_RMS_NORM, LK_SHAPE(5, 4, 600), 0, 2)
NORM(group, LK_GROUP_NORM, LK_SHAPE(2, 5, 7, 12), 3, 1)
NORM(group_long, LK_GROUP_NORM, LK_SHAPE(2, 301, 6), 2, 1)
NORM(group_adaptive, LK_GROUP_NORM, LK_SHAPE(3, 80, 16), 16, 2)
NORM(group_one, LK_GROUP_NORM, LK_SHAPE(3, 20, 5), 1, 0)
NORM(group_wide, LK_GROUP_NORM, LK_SHAPE(1, 20, 1040), 8, 1)
NORM(group_empty, LK_GROUP_NORM, LK_SHAPE(2, 0, 8), 2, 1)

static lk_var adaptive_norm_case(op_case_build *b)
{
    const lk_var x = case_input(b, LK_SHAPE(3, 6, 40), 9, 11);
    const lk_var scale = case_input(b, LK_SHAPE(3, 40), -0.5, 0.5);
    return lk_adaptive_norm(b->g, LK_LAYER_NORM, x, scale, case_input(b, LK_SHAPE(3, 40), -1, 1), 0,
                            1e-6);
}

/* A large mean costs no digits; gamma alone, and x as it is. */
static lk_var norm_far(op_case_build *b)
{
    const lk_var x = case_input_f32(b, LK_SHAPE(2, 50, 48), 9, 10);
    const lk_var gamma = case_input_f32(b, LK_SHAPE(48), 0.5, 2);
    return lk_norm(b->g, LK_GROUP_NORM, x, gamma, LK_NONE, 4, 1e-6);
}

/* ---- matmul ---- */

#define PRODUCT(name, shape_a, shape_b, ta, tb)                                                    \
    static lk_var matmul_##name(op_case_build *b)                                                  \
    {                                                                                              \
        const lk_var x = case_input(b, shape_a, -1, 1);                                            \
        return lk_matmul(b->g, x, case_input(b, shape_b, -1, 1), ta, tb);                          \
    }
PRODUCT(nn, LK_SHAPE(7, 33), LK_SHAPE(33, 70), 0, 0)
PRODUCT(tn, LK_SHAPE(33, 7), LK_SHAPE(33, 70), 1, 0)
PRODUCT(nt, LK_SHAPE(7, 33), LK_SHAPE(70, 33), 0, 1)
PRODUCT(tt, LK_SHAPE(33, 7), LK_SHAPE(70, 33), 1, 1)
PRODUCT(batched, LK_SHAPE(2, 3, 5, 8), LK_SHAPE(2, 3, 8, 6), 0, 0)
PRODUCT(batched_tt, LK_SHAPE(4, 8, 5), LK_SHAPE(4, 6, 8), 1, 1)
PRODUCT(shared, LK_SHAPE(2, 5, 8), LK_SHAPE(8, 6), 0, 0)
PRODUCT(long, LK_SHAPE(300, 64), LK_SHAPE(64, 48), 0, 0)
PRODUCT(deep, LK_SHAPE(40, 2000), LK_SHAPE(2000, 24), 0, 0)
PRODUCT(deep_turned, LK_SHAPE(1301, 13), LK_SHAPE(101, 1301), 1, 1)
PRODUCT(many, LK_SHAPE(40, 30, 34), LK_SHAPE(40, 70, 34), 0, 1)
PRODUCT(many_turned, LK_SHAPE(40, 35, 101), LK_SHAPE(40, 35, 64), 1, 0)
PRODUCT(parts, LK_SHAPE(4096, 10), LK_SHAPE(4096, 20), 1, 0)
PRODUCT(parts_batched, LK_SHAPE(2, 4104, 3), LK_SHAPE(2, 4104, 5), 1, 0)
PRODUCT(squares, LK_SHAPE(1100, 390), LK_SHAPE(1100, 20), 1, 0)
PRODUCT(groups, LK_SHAPE(9, 1101), LK_SHAPE(1101, 270), 0, 0)
PRODUCT(wide, LK_SHAPE(105, 40), LK_SHAPE(40, 200), 0, 0)
PRODUCT(empty, LK_SHAPE(0, 4), LK_SHAPE(4, 3), 0, 0)
PRODUCT(vector, LK_SHAPE(1, 1), LK_SHAPE(1, 1), 0, 0)

static lk_var linear_case(op_case_build *b)
{
    const lk_var x = case_input(b, LK_SHAPE(2, 9, 20), -1, 1);
    const lk_var w = case_input(b, LK_SHAPE(30, 20), -1, 1);
    return lk_linear(b->g, x, w, case_input_f32(b, LK_SHAPE(30), -1, 1));
}

/* ---- conv ---- */

#define CONV(name, shape_x, shape_w, ...)                                                          \
    static lk_var conv_##name(op_case_build *b)                                                    \
    {                                                                                              \
        const lk_conv_options o = {__VA_ARGS__};                                                   \
        const lk_var x = case_input(b, shape_x, -1, 1);                                            \
        const lk_var w = case_input(b, shape_w, -1, 1);                                            \
        const lk_var bias = case_input_f32(b, LK_SHAPE(lk_var_dim(b->g, w, 0)), -1, 1);            \
        return lk_conv(b->g, x, w, bias, &o);                                                      \
    }
CONV(1d, LK_SHAPE(2, 20, 5), LK_SHAPE(7, 3, 5), .pad_lo = {1}, .pad_hi = {1})
CONV(causal, LK_SHAPE(1, 33, 16), LK_SHAPE(16, 7, 16), .dilation = {3}, .pad_lo = {18})
CONV(stride, LK_SHAPE(3, 40, 6), LK_SHAPE(8, 8, 6), .stride = {4}, .pad_lo = {2}, .pad_hi = {1})
CONV(one_in, LK_SHAPE(2, 50, 1), LK_SHAPE(32, 7, 1), .pad_lo = {3}, .pad_hi = {3})
CONV(depthwise, LK_SHAPE(2, 19, 32), LK_SHAPE(32, 7, 1), .pad_lo = {6}, .groups = 32)
CONV(groups, LK_SHAPE(2, 9, 12), LK_SHAPE(8, 3, 3), .groups = 4)
CONV(2d, LK_SHAPE(2, 9, 11, 3), LK_SHAPE(5, 3, 3, 3), .stride = {2, 1}, .pad_lo = {1, 1},
     .pad_hi = {1, 2})
CONV(point, LK_SHAPE(2, 6, 6, 17), LK_SHAPE(19, 1, 1, 17), .groups = 1)
CONV(depthwise_2d, LK_SHAPE(2, 8, 9, 16), LK_SHAPE(16, 5, 5, 1), .pad_lo = {2, 2}, .pad_hi = {2, 2},
     .groups = 16)
CONV(3d, LK_SHAPE(2, 5, 6, 7, 3), LK_SHAPE(8, 3, 3, 3, 3), .pad_lo = {2, 1, 1}, .pad_hi = {0, 1, 1})
CONV(frames, LK_SHAPE(1, 5, 16, 16, 16), LK_SHAPE(16, 3, 3, 3, 16), .pad_lo = {2, 1, 1},
     .pad_hi = {0, 1, 1})
CONV(frames_stride, LK_SHAPE(1, 7, 16, 16, 16), LK_SHAPE(16, 3, 3, 3, 16), .stride = {2, 1, 1},
     .pad_lo = {1, 1, 1}, .pad_hi = {2, 1, 1})
CONV(batch, LK_SHAPE(11, 6, 4), LK_SHAPE(4, 3, 4), .pad_lo = {2})
CONV(long, LK_SHAPE(1, 403, 8), LK_SHAPE(12, 8, 8), .stride = {4}, .pad_lo = {4}, .pad_hi = {3})
CONV(long_dilated, LK_SHAPE(1, 600, 8), LK_SHAPE(8, 7, 8), .dilation = {9}, .pad_lo = {54})
CONV(sparse, LK_SHAPE(2, 300, 4), LK_SHAPE(4, 2, 4), .stride = {5}, .pad_lo = {1}, .pad_hi = {2})
CONV(tall, LK_SHAPE(1, 70, 20, 3), LK_SHAPE(16, 3, 3, 3), .stride = {2, 2}, .pad_lo = {1, 1},
     .pad_hi = {1, 1})
CONV(uneven, LK_SHAPE(2, 10, 4), LK_SHAPE(4, 3, 4), .stride = {4})

CONV(channels_1d, LK_SHAPE(1, 5003, 16), LK_SHAPE(17, 3, 16), .dilation = {2}, .pad_lo = {3})
CONV(channels_1d_stride, LK_SHAPE(2, 61, 33), LK_SHAPE(16, 8, 33), .stride = {3}, .pad_lo = {5},
     .pad_hi = {2})
CONV(channels_2d, LK_SHAPE(1, 430, 9, 16), LK_SHAPE(16, 3, 2, 16), .pad_lo = {1, 1}, .pad_hi = {1})
CONV(channels_3d, LK_SHAPE(2, 3, 5, 7, 70), LK_SHAPE(18, 2, 3, 3, 70), .stride = {1, 2, 2},
     .pad_lo = {1, 1, 1}, .pad_hi = {0, 1, 1})
CONV(channels_3d_dilated, LK_SHAPE(1, 4, 7, 9, 20), LK_SHAPE(33, 2, 3, 2, 20), .stride = {2, 2, 1},
     .dilation = {2, 3, 3}, .pad_lo = {2, 5, 1}, .pad_hi = {0, 2, 3})
CONV(channels_12, LK_SHAPE(2, 9, 18, 12), LK_SHAPE(16, 3, 3, 12), .pad_lo = {1, 1},
     .pad_hi = {1, 1})
CONV(channels_to_12, LK_SHAPE(2, 9, 19, 16), LK_SHAPE(12, 3, 3, 16), .pad_lo = {1, 1},
     .pad_hi = {1, 1})
CONV(channels_outside, LK_SHAPE(1, 6, 5, 16), LK_SHAPE(17, 3, 2, 16), .stride = {1, 2},
     .pad_lo = {4, 3}, .pad_hi = {3, 5})
CONV(few_1, LK_SHAPE(2, 150, 1), LK_SHAPE(33, 7, 1), .pad_lo = {6})
CONV(few_2, LK_SHAPE(1, 131, 2), LK_SHAPE(40, 5, 2), .dilation = {2}, .pad_lo = {4})
CONV(few_3, LK_SHAPE(1, 3, 5, 70, 3), LK_SHAPE(48, 2, 3, 3, 3), .pad_lo = {1, 1, 1},
     .pad_hi = {0, 1, 1})
CONV(few_4, LK_SHAPE(1, 140, 4), LK_SHAPE(64, 8, 4), .stride = {3}, .pad_lo = {2})
CONV(few_5, LK_SHAPE(1, 611, 5), LK_SHAPE(20, 9, 5), .dilation = {2}, .pad_lo = {9})
CONV(few_out_1, LK_SHAPE(2, 700, 33), LK_SHAPE(1, 7, 33), .pad_lo = {6})
CONV(few_out_2, LK_SHAPE(2, 6, 70, 32), LK_SHAPE(2, 3, 3, 32), .stride = {1, 2}, .pad_lo = {1, 1},
     .pad_hi = {1, 1})
CONV(few_out_3, LK_SHAPE(2, 5, 9, 17, 17), LK_SHAPE(3, 3, 3, 3, 17), .stride = {2, 1, 1},
     .pad_lo = {2, 1, 1}, .pad_hi = {0, 1, 1})
CONV(few_out_4, LK_SHAPE(1, 150, 21), LK_SHAPE(4, 5, 21), .stride = {3}, .dilation = {2},
     .pad_lo = {4})
CONV(few_out_7, LK_SHAPE(1, 40, 21, 34), LK_SHAPE(7, 3, 5, 34), .stride = {1, 2},
     .dilation = {2, 1}, .pad_lo = {2, 1}, .pad_hi = {2, 2})
CONV(few_lines, LK_SHAPE(1, 4, 401, 1), LK_SHAPE(48, 2, 3, 1), .pad_lo = {1, 1}, .pad_hi = {0, 1})
CONV(few_out_lines, LK_SHAPE(1, 3, 4, 21, 64), LK_SHAPE(3, 3, 3, 3, 64), .pad_lo = {2, 1, 1},
     .pad_hi = {0, 1, 1})
CONV(many, LK_SHAPE(1, 9, 300), LK_SHAPE(320, 3, 300), .pad_lo = {2})
CONV(few_empty, LK_SHAPE(0, 20, 3), LK_SHAPE(32, 3, 3))
CONV(depthwise_long, LK_SHAPE(1, 150, 41), LK_SHAPE(41, 9, 1), .pad_lo = {8}, .groups = 41)
CONV(depthwise_stride, LK_SHAPE(2, 177, 20), LK_SHAPE(20, 5, 1), .stride = {2}, .dilation = {2},
     .pad_lo = {3}, .pad_hi = {1}, .groups = 20)
CONV(depthwise_few, LK_SHAPE(2, 30, 3), LK_SHAPE(3, 4, 1), .pad_lo = {1}, .groups = 3)
CONV(depthwise_empty, LK_SHAPE(0, 30, 32), LK_SHAPE(32, 4, 1), .groups = 32)
CONV(depthwise_3d, LK_SHAPE(1, 3, 5, 21, 16), LK_SHAPE(16, 2, 3, 3, 1), .stride = {1, 2, 1},
     .pad_lo = {1, 1, 1}, .pad_hi = {0, 1, 1}, .groups = 16)

static lk_var conv_transposed_case(op_case_build *b)
{
    const lk_conv_options o = {.stride = {4}, .pad_lo = {2}, .pad_hi = {2}};
    const lk_var x = case_input(b, LK_SHAPE(2, 9, 6), -1, 1);
    const lk_var w = case_input(b, LK_SHAPE(6, 8, 5), -1, 1);
    return lk_conv_transposed(b->g, x, w, case_input_f32(b, LK_SHAPE(5), -1, 1), &o, NULL);
}

static lk_var conv_transposed_sized(op_case_build *b)
{
    const lk_conv_options o = {.stride = {2, 2}, .pad_lo = {1, 1}, .pad_hi = {1, 1}};
    const lk_var x = case_input(b, LK_SHAPE(2, 3, 4, 6), -1, 1);
    const lk_var w = case_input(b, LK_SHAPE(6, 3, 3, 5), -1, 1);
    return lk_conv_transposed(b->g, x, w, LK_NONE, &o, (const int64_t[]){6, 7});
}

static lk_var conv_transposed_doubled(op_case_build *b)
{
    const lk_conv_options o = {.stride = {2, 2}, .pad_lo = {1, 1}, .pad_hi = {1, 1}};
    const lk_var x = case_input(b, LK_SHAPE(2, 5, 7, 20), -1, 1);
    const lk_var w = case_input(b, LK_SHAPE(20, 4, 4, 17), -1, 1);
    return lk_conv_transposed(b->g, x, w, case_input_f32(b, LK_SHAPE(17), -1, 1), &o, NULL);
}

/* ---- attention ---- */

#define MS LK_FLICKS_PER_MS

/* Two streams of a batch: tokens of q_ms and k_ms each, of which sample b has all but 5 b. */
typedef struct streams {
    int64_t n_batch, n, m, q_ms, k_ms, k_at_ms;
    lk_attend_rule rule;
} streams;

static void fill_spans(lk_span *s, int32_t *length, int64_t n_batch, int64_t n, int64_t ms,
                       int64_t at_ms)
{
    for (int64_t b = 0; b < n_batch; b++) {
        length[b] = (int32_t)(n > 5 * b ? n - 5 * b : 0);
        for (int64_t i = 0; i < n; i++)
            s[b * n + i] = (lk_span){(at_ms + i * ms) * MS, (at_ms + (i + 1) * ms) * MS};
    }
}

static lk_var attend_plan(lk_graph *g, const streams *t, lk_var *times)
{
    lk_span *q, *k;
    int32_t *plan, lengths[2][4];
    float *s;
    lk_attend_tokens qt, kt;
    lk_var v;
    CHECK_OK(LK_NEW_ARRAY(&q, t->n_batch * t->n));
    CHECK_OK(LK_NEW_ARRAY(&k, t->n_batch * t->m));
    CHECK_OK(LK_NEW_ARRAY(&plan, 2 * t->n_batch * (t->n + t->m)));
    CHECK_OK(LK_NEW_ARRAY(&s, t->n_batch * (t->n + t->m)));
    fill_spans(q, lengths[0], t->n_batch, t->n, t->q_ms, 0);
    fill_spans(k, lengths[1], t->n_batch, t->m, t->k_ms, t->k_at_ms);
    qt = (lk_attend_tokens){q, t->n, lengths[0]};
    kt = (lk_attend_tokens){k, t->m, lengths[1]};
    CHECK_OK(lk_attend_plan(&t->rule, 0, t->n_batch, &qt, &kt, plan));
    lk_attend_times(t->n_batch, &qt, &kt, s);
    v = lk_constant(g, LK_I32, LK_SHAPE(t->n_batch, t->n + t->m, 2), plan);
    if (times)
        *times = lk_constant(g, LK_F32, LK_SHAPE(t->n_batch, t->n + t->m), s);
    lk_free(q);
    lk_free(k);
    lk_free(plan);
    lk_free(s);
    return v;
}

#define ATTEND(name, heads, kv_heads, d, ...)                                                      \
    static lk_var attend_##name(op_case_build *b)                                                  \
    {                                                                                              \
        const streams t = {__VA_ARGS__};                                                           \
        const lk_var q = case_input(b, LK_SHAPE(t.n_batch, heads, t.n, d), -2, 2);                 \
        const lk_var k = case_input(b, LK_SHAPE(t.n_batch, kv_heads, t.m, d), -2, 2);              \
        const lk_var v = case_input(b, LK_SHAPE(t.n_batch, kv_heads, t.m, d), -1, 1);              \
        return lk_attention(b->g, q, k, v, attend_plan(b->g, &t, NULL), 0, NULL);                  \
    }
ATTEND(full, 4, 2, 16, 2, 33, 70, 40, 20, 0, {.kind = LK_ATTEND_FULL})
ATTEND(window, 2, 2, 32, 2, 70, 150, 40, 20, 0,
       {.kind = LK_ATTEND_WINDOW, .before = 300 * MS, .after = 100 * MS})
ATTEND(dense, 1, 1, 64, 1, 131, 200, 20, 20, 0,
       {.kind = LK_ATTEND_WINDOW, .before = 2000 * MS, .after = 1500 * MS})
ATTEND(frame, 3, 1, 5, 2, 90, 45, 20, 40, 7, {.kind = LK_ATTEND_FRAME})
ATTEND(block_causal, 1, 1, 128, 1, 100, 101, 20, 20, 0,
       {.kind = LK_ATTEND_BLOCK_CAUSAL, .before = 700 * MS, .chunk = 100 * MS})
ATTEND(random_shift, 2, 1, 12, 3, 40, 40, 25, 25, 0,
       {.kind = LK_ATTEND_RANDOM_SHIFT,
        .before = 50 * MS,
        .after = 50 * MS,
        .shift = 400 * MS,
        .seed = 3})
ATTEND(gap, 1, 1, 8, 1, 90, 20, 40, 40, 1000, {.kind = LK_ATTEND_WINDOW, .before = MS, .after = MS})
ATTEND(widest, 2, 1, 256, 1, 3, 5, 40, 20, 0, {.kind = LK_ATTEND_FULL})
ATTEND(odd, 1, 1, 201, 1, 20, 70, 40, 20, 0, {.kind = LK_ATTEND_FULL})
ATTEND(no_queries, 1, 1, 8, 1, 0, 5, 40, 20, 0, {.kind = LK_ATTEND_FULL})
ATTEND(no_keys, 1, 1, 8, 1, 5, 0, 40, 20, 0, {.kind = LK_ATTEND_FULL})

static lk_var attend_everything(op_case_build *b) /* no plan, a scale of its own, lse in use */
{
    const lk_var q = case_input(b, LK_SHAPE(2, 4, 17, 6), -2, 2);
    const lk_var k = case_input(b, LK_SHAPE(2, 2, 80, 6), -2, 2);
    const lk_var v = case_input(b, LK_SHAPE(2, 2, 80, 6), -1, 1);
    lk_var lse;
    const lk_var y = lk_attention(b->g, q, k, v, LK_NONE, 0.7, &lse);
    return lk_mul(b->g, lk_cast(b->g, y, LK_F32), lk_reshape(b->g, lse, LK_SHAPE(2, 4, 17, 1)));
}

static lk_var attend_lse(op_case_build *b) /* a gradient through lse alone */
{
    const lk_var q = case_input(b, LK_SHAPE(1, 2, 9, 8), -2, 2);
    const lk_var k = case_input(b, LK_SHAPE(1, 2, 11, 8), -2, 2);
    lk_var lse;
    lk_attention(b->g, q, k, k, LK_NONE, 0, &lse);
    return lse;
}

static lk_var attend_sloped(op_case_build *b)
{
    const streams t = {
        2, 70, 90, 40, 30, -90, {.kind = LK_ATTEND_WINDOW, .before = 500 * MS, .after = 800 * MS}};
    const lk_var q = case_input(b, LK_SHAPE(2, 4, 70, 16), -1, 1);
    const lk_var k = case_input(b, LK_SHAPE(2, 2, 90, 16), -1, 1);
    const lk_var v = case_input(b, LK_SHAPE(2, 2, 90, 16), -1, 1);
    const lk_var slope = case_input_f32(b, LK_SHAPE(4, 2), -1, 4);
    lk_var times;
    const lk_var plan = attend_plan(b->g, &t, &times);
    return lk_attention_sloped(b->g, q, k, v, plan, slope, times, 0, NULL);
}

static lk_var rotary_case(op_case_build *b)
{
    const lk_rotary_axis axis = {5, (const double[]){7, 3, 1, 0.3, 0.1}};
    const lk_var x = case_input(b, LK_SHAPE(2, 3, 9, 13), -1, 1);
    lk_span span[18];
    int32_t length[2];
    float table[18 * 2 * 5];
    fill_spans(span, length, 2, 9, 40, 10);
    lk_rotary_table_time(&axis, 18, span, 0, 0, 5, table);
    return lk_rotary(b->g, x, lk_constant(b->g, LK_F32, LK_SHAPE(2, 9, 2, 5), table));
}

static lk_var ring_case(op_case_build *b)
{
    const lk_var ring = lk_input(b->g, "ring", b->dtype, LK_SHAPE(2, 5, 3));
    const lk_var x = case_input(b, LK_SHAPE(2, 4, 3), -1, 1);
    return lk_ring_write(b->g, ring, x,
                         lk_constant(b->g, LK_I32, LK_SHAPE(1), (const int32_t[]){13}));
}

/* ---- spectral ---- */

static lk_var some_window(op_case_build *b, int n)
{
    float w[64];
    for (int i = 0; i < n; i++)
        w[i] = 0.3f + (float)(i % 7) / 8;
    return lk_constant(b->g, LK_F32, LK_SHAPE(n), w);
}

#define STFT(name, batch, n_samples, n_fft, hop)                                                   \
    static lk_var stft_##name(op_case_build *b)                                                    \
    {                                                                                              \
        const lk_var x = case_input_f32(b, LK_SHAPE(batch, n_samples), -1, 1);                     \
        return lk_stft(b->g, x, some_window(b, n_fft), n_fft, hop);                                \
    }                                                                                              \
    static lk_var istft_##name(op_case_build *b)                                                   \
    {                                                                                              \
        const int64_t frames = ((n_samples) + (hop)-1) / (hop);                                    \
        const lk_var x = case_input_f32(b, LK_SHAPE(batch, frames, (n_fft) / 2 + 1, 2), -1, 1);    \
        return lk_istft(b->g, x, some_window(b, n_fft), n_fft, hop, n_samples);                    \
    }
STFT(two, 2, 150, 32, 8)
STFT(odd_factors, 1, 203, 30, 7)
STFT(prime, 1, 60, 22, 11)
STFT(large_factors, 1, 100, 60, 13)
STFT(many, 1, 700, 8, 4)
STFT(gaps, 1, 50, 4, 9)
STFT(pairs, 1, 9, 2, 1)
STFT(short, 2, 3, 64, 16)
STFT(empty, 2, 0, 16, 4)

static lk_var magnitude_case(op_case_build *b)
{
    return lk_magnitude(b->g, case_input_f32(b, LK_SHAPE(3, 301, 2), -1, 1));
}

static lk_var log_mel_case(op_case_build *b)
{
    const lk_var x = case_input_f32(b, LK_SHAPE(2, 5, 33, 2), -1, 1);
    return lk_log_mel(b->g, x, 16000, 20, 50, 7600, 1e-5);
}

/* ---- quantize ---- */

static lk_var nearest_case(op_case_build *b)
{
    const lk_var x = case_input(b, LK_SHAPE(3, 7, 20), -1, 1);
    return lk_nearest(b->g, x, case_input(b, LK_SHAPE(150, 20), -1, 1));
}

/* A number and its neighbours on a line of whole numbers, which all repeat. */
static lk_var nearest_ties(op_case_build *b)
{
    float book[200];
    for (int i = 0; i < 200; i++)
        book[i] = (float)(i * 7 % 10 - 5);
    return lk_nearest(
        b->g, lk_scale(b->g, lk_cast(b->g, case_index(b, LK_SHAPE(50, 1), 20), LK_F32), 0.5),
        lk_constant(b->g, LK_F32, LK_SHAPE(200, 1), book));
}

static lk_var nearest_empty(op_case_build *b)
{
    const lk_var x = case_input(b, LK_SHAPE(0, 4), -1, 1);
    return lk_nearest(b->g, x, case_input(b, LK_SHAPE(3, 4), -1, 1));
}

/* ---- loss ---- */

#define LOSS(name, call)                                                                           \
    static lk_var loss_##name(op_case_build *b)                                                    \
    {                                                                                              \
        const lk_var x = case_input(b, LK_SHAPE(3, 5, 41), -3, 3);                                 \
        const lk_var y = case_input(b, LK_SHAPE(3, 5, 41), 0, 1);                                  \
        return call;                                                                               \
    }
LOSS(mse, lk_mse_loss(b->g, x, y))
LOSS(l1, lk_l1_loss(b->g, x, y))
LOSS(huber, lk_huber_loss(b->g, x, y, 0.8))
LOSS(bce, lk_bce_loss(b->g, lk_scale(b->g, x, 5), y))
LOSS(kl, lk_kl_loss(b->g, x, y))

static lk_var loss_hinge(op_case_build *b)
{
    return lk_hinge_loss(b->g, case_input(b, LK_SHAPE(4, 33), -3, 3), -1);
}

#define ENTROPY(name, rows, n, call)                                                               \
    static lk_var cross_entropy_##name(op_case_build *b)                                           \
    {                                                                                              \
        const lk_var z = case_input(b, LK_SHAPE(rows, 2, n), -8, 8);                               \
        return call(b->g, z, case_index(b, LK_SHAPE(rows, 2), n));                                 \
    }
ENTROPY(rows, 5, 37, lk_cross_entropy)
ENTROPY(long, 3, 1300, lk_cross_entropy)
ENTROPY(one, 4, 1, lk_cross_entropy)
ENTROPY(empty, 0, 7, lk_cross_entropy)
ENTROPY(mean, 6, 11, lk_cross_entropy_loss)

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
    {LK_OP_PERMUTE, "interleaved", permute_interleaved},
    {LK_OP_SLICE, "", slice_case},
    {LK_OP_SLICE, "short", slice_short},
    {LK_OP_SLICE, "nothing", slice_none},
    {LK_OP_PAD, "", pad_case},
    {LK_OP_CONCAT, "", concat_case},
    {LK_OP_CONCAT, "short", concat_short},
    {LK_OP_SPLIT, "", split_case},
    {LK_OP_SPLIT, "part unused", split_part_unused},
    {LK_OP_BROADCAST, "", broadcast_case},
    {LK_OP_SUM, "last", sum_last},
    {LK_OP_SUM, "first", sum_first},
    {LK_OP_SUM, "middle", sum_middle},
    {LK_OP_SUM, "ends", sum_ends},
    {LK_OP_SUM, "all", sum_all},
    {LK_OP_SUM, "empty", sum_empty},
    {LK_OP_SOFTMAX, "rows", softmax_rows},
    {LK_OP_SOFTMAX, "one", softmax_one},
    {LK_OP_SOFTMAX, "steep", softmax_steep},
    {LK_OP_SOFTMAX, "long", softmax_long},
    {LK_OP_SOFTMAX, "empty", softmax_empty},
    {LK_OP_SOFTMAX, "empty_row", softmax_empty_row},
    {LK_OP_GATHER, "rows", gather_rows},
    {LK_OP_GATHER, "middle", gather_middle},
    {LK_OP_GATHER, "last", gather_last},
    {LK_OP_GATHER, "wide", gather_wide},
    {LK_OP_GATHER, "outside", gather_outside},
    {LK_OP_GATHER, "none", gather_none},
    {LK_OP_SCATTER_ADD, "rows", scatter_rows},
    {LK_OP_SCATTER_ADD, "last", scatter_last},
    {LK_OP_SCATTER_ADD, "outside", scatter_outside},
    {LK_OP_SCATTER_ADD, "empty", scatter_empty},
    {LK_OP_PERMUTE, "space_to_depth", composed_space_to_depth},
    {LK_OP_PERMUTE, "depth_to_space", composed_depth_to_space},
    {LK_OP_BROADCAST, "repeat", composed_repeat},
    {LK_OP_CONCAT, "haar", composed_haar},
    {LK_OP_CONCAT, "haar_inverse", composed_haar_inverse},
    {LK_OP_RANDOM, "normal", random_normal},
    {LK_OP_RANDOM, "uniform", random_uniform},
    {LK_OP_DROPOUT, "", dropout_case},
    {LK_OP_DROPOUT, "empty", dropout_empty},
    {LK_OP_NORM, "layer", norm_layer},
    {LK_OP_NORM, "layer_plain", norm_layer_plain},
    {LK_OP_NORM, "layer_adaptive", norm_layer_adaptive},
    {LK_OP_NORM, "layer_wide", norm_layer_wide},
    {LK_OP_NORM, "layer_flat", norm_layer_flat},
    {LK_OP_NORM, "layer_empty", norm_layer_empty},
    {LK_OP_NORM, "rms", norm_rms},
    {LK_OP_NORM, "rms_adaptive", norm_rms_adaptive},
    {LK_OP_NORM, "group", norm_group},
    {LK_OP_NORM, "group_long", norm_group_long},
    {LK_OP_NORM, "group_adaptive", norm_group_adaptive},
    {LK_OP_NORM, "group_one", norm_group_one},
    {LK_OP_NORM, "group_wide", norm_group_wide},
    {LK_OP_NORM, "group_empty", norm_group_empty},
    {LK_OP_NORM, "adaptive", adaptive_norm_case},
    {LK_OP_NORM, "far", norm_far},
    {LK_OP_MATMUL, "nn", matmul_nn},
    {LK_OP_MATMUL, "tn", matmul_tn},
    {LK_OP_MATMUL, "nt", matmul_nt},
    {LK_OP_MATMUL, "tt", matmul_tt},
    {LK_OP_MATMUL, "batched", matmul_batched},
    {LK_OP_MATMUL, "batched_tt", matmul_batched_tt},
    {LK_OP_MATMUL, "shared", matmul_shared},
    {LK_OP_MATMUL, "long", matmul_long},
    {LK_OP_MATMUL, "deep", matmul_deep},
    {LK_OP_MATMUL, "deep_turned", matmul_deep_turned},
    {LK_OP_MATMUL, "many", matmul_many},
    {LK_OP_MATMUL, "many_turned", matmul_many_turned},
    {LK_OP_MATMUL, "parts", matmul_parts},
    {LK_OP_MATMUL, "parts_batched", matmul_parts_batched},
    {LK_OP_MATMUL, "squares", matmul_squares},
    {LK_OP_MATMUL, "groups", matmul_groups},
    {LK_OP_MATMUL, "wide", matmul_wide},
    {LK_OP_MATMUL, "empty", matmul_empty},
    {LK_OP_MATMUL, "vector", matmul_vector},
    {LK_OP_MATMUL, "linear", linear_case},
    {LK_OP_CONV, "1d", conv_1d},
    {LK_OP_CONV, "causal", conv_causal},
    {LK_OP_CONV, "stride", conv_stride},
    {LK_OP_CONV, "one_in", conv_one_in},
    {LK_OP_CONV, "depthwise", conv_depthwise},
    {LK_OP_CONV, "groups", conv_groups},
    {LK_OP_CONV, "2d", conv_2d},
    {LK_OP_CONV, "point", conv_point},
    {LK_OP_CONV, "depthwise_2d", conv_depthwise_2d},
    {LK_OP_CONV, "3d", conv_3d},
    {LK_OP_CONV, "frames", conv_frames},
    {LK_OP_CONV, "frames_stride", conv_frames_stride},
    {LK_OP_CONV, "batch", conv_batch},
    {LK_OP_CONV, "long", conv_long},
    {LK_OP_CONV, "long_dilated", conv_long_dilated},
    {LK_OP_CONV, "sparse", conv_sparse},
    {LK_OP_CONV, "tall", conv_tall},
    {LK_OP_CONV, "uneven", conv_uneven},
    {LK_OP_CONV, "channels_1d", conv_channels_1d},
    {LK_OP_CONV, "channels_1d_stride", conv_channels_1d_stride},
    {LK_OP_CONV, "channels_2d", conv_channels_2d},
    {LK_OP_CONV, "channels_3d", conv_channels_3d},
    {LK_OP_CONV, "channels_3d_dilated", conv_channels_3d_dilated},
    {LK_OP_CONV, "channels_12", conv_channels_12},
    {LK_OP_CONV, "channels_to_12", conv_channels_to_12},
    {LK_OP_CONV, "channels_outside", conv_channels_outside},
    {LK_OP_CONV, "few_1", conv_few_1},
    {LK_OP_CONV, "few_2", conv_few_2},
    {LK_OP_CONV, "few_3", conv_few_3},
    {LK_OP_CONV, "few_4", conv_few_4},
    {LK_OP_CONV, "few_5", conv_few_5},
    {LK_OP_CONV, "few_out_1", conv_few_out_1},
    {LK_OP_CONV, "few_out_2", conv_few_out_2},
    {LK_OP_CONV, "few_out_3", conv_few_out_3},
    {LK_OP_CONV, "few_out_4", conv_few_out_4},
    {LK_OP_CONV, "few_out_7", conv_few_out_7},
    {LK_OP_CONV, "few_lines", conv_few_lines},
    {LK_OP_CONV, "few_out_lines", conv_few_out_lines},
    {LK_OP_CONV, "many", conv_many},
    {LK_OP_CONV, "few_empty", conv_few_empty},
    {LK_OP_CONV, "depthwise_long", conv_depthwise_long},
    {LK_OP_CONV, "depthwise_stride", conv_depthwise_stride},
    {LK_OP_CONV, "depthwise_few", conv_depthwise_few},
    {LK_OP_CONV, "depthwise_empty", conv_depthwise_empty},
    {LK_OP_CONV, "depthwise_3d", conv_depthwise_3d},
    {LK_OP_CONV_DX, "", conv_transposed_case},
    {LK_OP_CONV_DX, "sized", conv_transposed_sized},
    {LK_OP_CONV_DX, "doubled", conv_transposed_doubled},
    {LK_OP_ATTENTION, "full", attend_full},
    {LK_OP_ATTENTION, "window", attend_window},
    {LK_OP_ATTENTION, "dense", attend_dense},
    {LK_OP_ATTENTION, "frame", attend_frame},
    {LK_OP_ATTENTION, "block_causal", attend_block_causal},
    {LK_OP_ATTENTION, "random_shift", attend_random_shift},
    {LK_OP_ATTENTION, "gap", attend_gap},
    {LK_OP_ATTENTION, "widest", attend_widest},
    {LK_OP_ATTENTION, "odd", attend_odd},
    {LK_OP_ATTENTION, "no_queries", attend_no_queries},
    {LK_OP_ATTENTION, "no_keys", attend_no_keys},
    {LK_OP_ATTENTION, "everything", attend_everything},
    {LK_OP_ATTENTION, "lse", attend_lse},
    {LK_OP_ATTENTION, "sloped", attend_sloped},
    {LK_OP_ROTARY, "", rotary_case},
    {LK_OP_RING, "", ring_case},
    {LK_OP_STFT, "two", stft_two},
    {LK_OP_STFT, "odd_factors", stft_odd_factors},
    {LK_OP_STFT, "prime", stft_prime},
    {LK_OP_STFT, "large_factors", stft_large_factors},
    {LK_OP_STFT, "many", stft_many},
    {LK_OP_STFT, "gaps", stft_gaps},
    {LK_OP_STFT, "pairs", stft_pairs},
    {LK_OP_STFT, "short", stft_short},
    {LK_OP_STFT, "empty", stft_empty},
    {LK_OP_ISTFT, "two", istft_two},
    {LK_OP_ISTFT, "odd_factors", istft_odd_factors},
    {LK_OP_ISTFT, "prime", istft_prime},
    {LK_OP_ISTFT, "large_factors", istft_large_factors},
    {LK_OP_ISTFT, "many", istft_many},
    {LK_OP_ISTFT, "gaps", istft_gaps},
    {LK_OP_ISTFT, "pairs", istft_pairs},
    {LK_OP_ISTFT, "short", istft_short},
    {LK_OP_ISTFT, "empty", istft_empty},
    {LK_OP_MAGNITUDE, "", magnitude_case},
    {LK_OP_MAGNITUDE, "log_mel", log_mel_case},
    {LK_OP_NEAREST, "", nearest_case},
    {LK_OP_NEAREST, "ties", nearest_ties},
    {LK_OP_NEAREST, "empty", nearest_empty},
    {LK_OP_SUM, "mse", loss_mse},
    {LK_OP_SUM, "l1", loss_l1},
    {LK_OP_SUM, "huber", loss_huber},
    {LK_OP_SUM, "bce", loss_bce},
    {LK_OP_SUM, "kl", loss_kl},
    {LK_OP_SUM, "hinge", loss_hinge},
    {LK_OP_CROSS_ENTROPY, "rows", cross_entropy_rows},
    {LK_OP_CROSS_ENTROPY, "long", cross_entropy_long},
    {LK_OP_CROSS_ENTROPY, "one", cross_entropy_one},
    {LK_OP_CROSS_ENTROPY, "empty", cross_entropy_empty},
    {LK_OP_CROSS_ENTROPY, "mean", cross_entropy_mean},
};
const int n_op_cases = (int)(sizeof op_cases / sizeof op_cases[0]);
