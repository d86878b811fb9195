/* tensor.c - shapes and element types. */
#include "kernels/tensor.h"

#include <stdio.h>

static const struct {
    const char *name;
    size_t bytes;
} dtypes[LK_N_DTYPES] = {
#define LK_DTYPE_ROW(upper, lower, size) {#lower, size},
    LK_DTYPES(LK_DTYPE_ROW)
#undef LK_DTYPE_ROW
};

const char *lk_dtype_name(lk_dtype dtype)
{
    return (unsigned)dtype < LK_N_DTYPES ? dtypes[dtype].name : "?";
}

size_t lk_dtype_bytes(lk_dtype dtype)
{
    LK_ASSERT((unsigned)dtype < LK_N_DTYPES);
    return dtypes[dtype].bytes;
}

lk_shape lk_shape_of(int n_dims, const int64_t *dim)
{
    lk_shape s = {.n_dims = n_dims};
    LK_ASSERT(n_dims >= 0 && n_dims <= LK_MAX_DIMS);
    for (int i = 0; i < n_dims; i++)
        s.dim[i] = dim[i];
    return s;
}

int64_t lk_shape_count(const lk_shape *shape)
{
    int64_t n = 1;
    for (int i = 0; i < shape->n_dims; i++)
        n *= shape->dim[i];
    return n;
}

int lk_shape_equal(const lk_shape *a, const lk_shape *b)
{
    if (a->n_dims != b->n_dims)
        return 0;
    for (int i = 0; i < a->n_dims; i++)
        if (a->dim[i] != b->dim[i])
            return 0;
    return 1;
}

const char *lk_shape_text(const lk_shape *shape, char *text)
{
    int at = snprintf(text, LK_SHAPE_TEXT, "[");
    for (int i = 0; i < shape->n_dims; i++)
        at += snprintf(text + at, (size_t)(LK_SHAPE_TEXT - at), "%s%lld", i ? ", " : "",
                       (long long)shape->dim[i]);
    snprintf(text + at, (size_t)(LK_SHAPE_TEXT - at), "]");
    return text;
}

lk_status lk_shape_check(const lk_shape *shape, lk_dtype dtype)
{
    lk_status st = LK_OK;
    int64_t bytes;
    LK_REQUIRE(shape->n_dims >= 0 && shape->n_dims <= LK_MAX_DIMS, LK_E_SHAPE,
               "%d dimensions; between 0 and %d are supported", shape->n_dims, LK_MAX_DIMS);
    bytes = (int64_t)lk_dtype_bytes(dtype);
    for (int i = 0; i < shape->n_dims; i++) {
        LK_REQUIRE(shape->dim[i] >= 0, LK_E_SHAPE, "dimension %d is negative (%lld)", i,
                   (long long)shape->dim[i]);
        LK_REQUIRE(!__builtin_mul_overflow(bytes, shape->dim[i], &bytes), LK_E_SHAPE,
                   "the sizes multiply to more bytes than can be addressed");
    }
done:
    return st;
}

static float f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, mant = h & 0x3ffu;
    const uint32_t expo = (h >> 10) & 31u;
    uint32_t bits;
    float x;
    if (expo == 0) { /* zero and subnormals: mant * 2^-24 is exact */
        x = (float)mant * 0x1p-24f;
        return sign ? -x : x;
    }
    bits = expo == 31 ? sign | 0x7f800000u | (mant << 13)
                      : sign | ((expo + 112u) << 23) | (mant << 13);
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint16_t f16_from_f32(float x)
{
    uint32_t bits, sign, mag, mant;
    int shift;
    memcpy(&bits, &x, sizeof bits);
    sign = (bits >> 16) & 0x8000u;
    mag = bits & 0x7fffffffu;
    if (mag > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (mag >= 0x477ff000u) /* rounds to 65536 or more */
        return (uint16_t)(sign | 0x7c00u);
    if (mag >= 0x38800000u) /* normal in half precision */
        return (uint16_t)(sign | ((mag - 0x38000000u + 0xfffu + ((mag >> 13) & 1u)) >> 13));
    if (mag < 0x33000000u)
        return (uint16_t)sign;
    shift = 126 - (int)(mag >> 23);
    mant = (mag & 0x7fffffu) | 0x800000u;
    return (uint16_t)(sign | ((mant + (1u << (shift - 1)) - 1u + ((mant >> shift) & 1u)) >> shift));
}

double lk_element(lk_dtype dtype, const void *data, int64_t i)
{
    switch (dtype) {
    case LK_F32:
        return (double)((const float *)data)[i];
    case LK_BF16:
        return (double)lk_bf16_to_f32(((const lk_bf16 *)data)[i]);
    case LK_I32:
        return (double)((const int32_t *)data)[i];
    case LK_F64:
        return ((const double *)data)[i];
    case LK_F16:
        return (double)f16_to_f32(((const uint16_t *)data)[i]);
    case LK_I64:
        return (double)((const int64_t *)data)[i];
    case LK_U8:
    case LK_BOOL:
        return (double)((const uint8_t *)data)[i];
    case LK_N_DTYPES:
        break;
    }
    LK_ASSERT(0 && "element type");
}

/* f32 that is x, or has its last bit set and lies between 0 and x: rounding it to the 8 or 11 bits of
 * bf16 and f16 then rounds x itself once (Boldo, Melquiond 2008, round to odd). */
static float odd_f32(double x)
{
    float f = (float)x;
    uint32_t bits;
    if (!((double)f < x || (double)f > x))
        return f;
    memcpy(&bits, &f, sizeof bits);
    if (x > 0 ? (double)f > x : (double)f < x)
        bits--;
    bits |= 1;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static void put_element(lk_dtype dtype, void *data, int64_t i, double x)
{
    switch (dtype) {
    case LK_F32:
        ((float *)data)[i] = (float)x;
        return;
    case LK_BF16:
        ((lk_bf16 *)data)[i] = lk_bf16_from_f32(odd_f32(x));
        return;
    case LK_I32:
        ((int32_t *)data)[i] = (int32_t)x;
        return;
    case LK_F64:
        ((double *)data)[i] = x;
        return;
    case LK_F16:
        ((uint16_t *)data)[i] = f16_from_f32(odd_f32(x));
        return;
    case LK_I64:
        ((int64_t *)data)[i] = (int64_t)x;
        return;
    case LK_U8:
        ((uint8_t *)data)[i] = (uint8_t)x;
        return;
    case LK_BOOL:
        ((uint8_t *)data)[i] = x != 0;
        return;
    case LK_N_DTYPES:
        break;
    }
    LK_ASSERT(0 && "element type");
}

void lk_convert(lk_dtype to, void *dst, lk_dtype from, const void *src, int64_t n)
{
    if (to == from) {
        memcpy(dst, src, (size_t)n * lk_dtype_bytes(to));
    } else if (to == LK_BF16 && from == LK_F32) {
        for (int64_t i = 0; i < n; i++)
            ((lk_bf16 *)dst)[i] = lk_bf16_from_f32(((const float *)src)[i]);
    } else if (to == LK_F32 && from == LK_BF16) {
        for (int64_t i = 0; i < n; i++)
            ((float *)dst)[i] = lk_bf16_to_f32(((const lk_bf16 *)src)[i]);
    } else {
        for (int64_t i = 0; i < n; i++)
            put_element(to, dst, i, lk_element(from, src, i));
    }
}
