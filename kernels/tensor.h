/* tensor.h - what a block of numbers is: element type, shape, address.
 *
 * Every tensor is dense and row-major (the last dimension is contiguous); feature maps are
 * channels-last.  A tensor borrows its data.  Letters used for dimensions everywhere:
 *     B batch   N tokens   C channels   H heads   D head width   S audio samples
 *     T latent time steps   F video frames   Y, X rows and columns   K kernel taps
 *
 * Threads      plain data and pure functions.
 */
#ifndef LK_TENSOR_H
#define LK_TENSOR_H

#include "kernels/status.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LK_MAX_DIMS 6

/* The first four take part in graphs; the others only in files. */
#define LK_DTYPES(X)                                                                               \
    X(F32, f32, 4)                                                                                 \
    X(BF16, bf16, 2)                                                                               \
    X(I32, i32, 4)                                                                                 \
    X(F64, f64, 8)                                                                                 \
    X(F16, f16, 2)                                                                                 \
    X(I64, i64, 8)                                                                                 \
    X(U8, u8, 1)                                                                                   \
    X(BOOL, bool, 1)

typedef enum lk_dtype {
#define LK_DTYPE_ROW(upper, lower, bytes) LK_##upper,
    LK_DTYPES(LK_DTYPE_ROW)
#undef LK_DTYPE_ROW
        LK_N_DTYPES
} lk_dtype;

const char *lk_dtype_name(lk_dtype dtype); /* "f32", ...; "?" outside the list */
size_t lk_dtype_bytes(lk_dtype dtype);

typedef struct lk_shape {
    int n_dims; /* 0 .. LK_MAX_DIMS; 0 is a single number */
    int64_t dim[LK_MAX_DIMS];
} lk_shape;

/* LK_SHAPE(B, N, C): as many sizes as there are dimensions. */
#define LK_SHAPE(...)                                                                              \
    lk_shape_of((int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),                         \
                (const int64_t[]){__VA_ARGS__})
lk_shape lk_shape_of(int n_dims, const int64_t *dim);

int64_t lk_shape_count(const lk_shape *shape); /* product of the sizes, 1 for no dimension */
int lk_shape_equal(const lk_shape *a, const lk_shape *b);

/* "[2, 3, 4]" into a buffer of at least LK_SHAPE_TEXT bytes; returns it. */
#define LK_SHAPE_TEXT 160
const char *lk_shape_text(const lk_shape *shape, char *text);

/* Sizes read from a file: fails with LK_E_SHAPE on a negative size, on more than LK_MAX_DIMS, or
 * when the bytes would not fit an int64. */
LK_CHECKED lk_status lk_shape_check(const lk_shape *shape, lk_dtype dtype);

typedef struct lk_tensor {
    lk_dtype dtype;
    lk_shape shape;
    void *data; /* borrowed; NULL until it has a place */
} lk_tensor;

static inline int64_t lk_tensor_count(const lk_tensor *t)
{
    return lk_shape_count(&t->shape);
}
static inline size_t lk_tensor_bytes(const lk_tensor *t)
{
    return (size_t)lk_shape_count(&t->shape) * lk_dtype_bytes(t->dtype);
}

/* bf16 is the upper half of an f32; rounding is to nearest even and a NaN stays one. */
typedef uint16_t lk_bf16;

static inline float lk_bf16_to_f32(lk_bf16 h)
{
    const uint32_t bits = (uint32_t)h << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline lk_bf16 lk_bf16_from_f32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (lk_bf16)((bits >> 16) | 0x40u);
    return (lk_bf16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/* Copy n numbers from one element type to another (any pair), rounding to nearest even; floats
 * to integers truncate.  The arrays must not overlap. */
void lk_convert(lk_dtype to, void *dst, lk_dtype from, const void *src, int64_t n);

/* One element as a double. */
double lk_element(lk_dtype dtype, const void *data, int64_t i);

#ifdef __cplusplus
}
#endif

#endif /* LK_TENSOR_H */
