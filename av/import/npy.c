/* npy.c - NumPy's arrays: the header is a Python dictionary as text,
 *
 *     {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
 *
 * of which only this form is read: three keys in any order, each once. */
#include "av/import/npy.h"

#include "av/import/bytes.h"
#include "av/import/weights_impl.h"
#include "av/import/zip.h"
#include "kernels/mem.h"

#include <stdio.h>
#include <string.h>

/* A place in the header's text. */
typedef struct cursor {
    const char *at, *end;
} cursor;

typedef struct header {
    char type[16]; /* "<f4"; "[" for records */
    bool fortran;
    lk_shape shape;
} header;

static void skip_space(cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\t'))
        c->at++;
}

static bool take(cursor *c, char wanted)
{
    skip_space(c);
    if (c->at == c->end || *c->at != wanted)
        return false;
    c->at++;
    return true;
}

static bool take_word(cursor *c, const char *word)
{
    const size_t n = strlen(word);
    skip_space(c);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0)
        return false;
    c->at += n;
    return true;
}

/* 'text' or "text" into out. */
static bool take_text(cursor *c, char *out, size_t room)
{
    const char quote = take(c, '\'') ? '\'' : '"';
    size_t n = 0;
    if (quote == '"' && !take(c, '"'))
        return false;
    while (c->at < c->end && *c->at != quote && n + 1 < room)
        out[n++] = *c->at++;
    out[n] = '\0';
    return take(c, quote);
}

/* A whole number, with the L that Python 2 wrote behind long ones. */
static bool take_size(cursor *c, int64_t *value)
{
    bool any = false;
    skip_space(c);
    *value = 0;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++, any = true) {
        if (__builtin_mul_overflow(*value, 10, value) ||
            __builtin_add_overflow(*value, *c->at - '0', value))
            return false;
    }
    if (any && c->at < c->end && *c->at == 'L')
        c->at++;
    return any;
}

static lk_status take_shape(cursor *c, lk_shape *shape)
{
    lk_status st = LK_OK;
    LK_REQUIRE(take(c, '('), LK_E_FORMAT, "the shape in the header is not a tuple");
    while (!take(c, ')')) {
        LK_REQUIRE(shape->n_dims < LK_MAX_DIMS, LK_E_UNSUPPORTED,
                   "more than %d dimensions; reshape the array before saving it", LK_MAX_DIMS);
        LK_REQUIRE(take_size(c, &shape->dim[shape->n_dims++]), LK_E_FORMAT,
                   "a size in the header is not a whole number that fits");
        if (!take(c, ',')) {
            LK_REQUIRE(take(c, ')'), LK_E_FORMAT, "the shape in the header is damaged");
            break;
        }
    }
done:
    return st;
}

static lk_status take_value(cursor *c, const char *key, header *h, int *seen)
{
    lk_status st = LK_OK;
    int which = 0;
    if (strcmp(key, "descr") == 0) {
        which = 1;
        if (take(c, '[')) { /* records: the rest of the header does not matter */
            snprintf(h->type, sizeof h->type, "[");
            c->at = c->end;
        } else {
            LK_REQUIRE(take_text(c, h->type, sizeof h->type), LK_E_FORMAT,
                       "the element type in the header is damaged");
        }
    } else if (strcmp(key, "fortran_order") == 0) {
        which = 2;
        h->fortran = take_word(c, "True");
        LK_REQUIRE(h->fortran || take_word(c, "False"), LK_E_FORMAT,
                   "fortran_order in the header is neither True nor False");
    } else if (strcmp(key, "shape") == 0) {
        which = 4;
        LK_TRY(take_shape(c, &h->shape));
    }
    LK_REQUIRE(which && !(*seen & which), LK_E_FORMAT, "the header has an unknown or double key");
    *seen |= which;
done:
    return st;
}

static lk_status parse_header(const char *text, size_t n, header *h)
{
    lk_status st = LK_OK;
    cursor c = {text, text + n};
    char key[16];
    int seen = 0;
    LK_REQUIRE(take(&c, '{'), LK_E_FORMAT, "the header is not a dictionary");
    while (!take(&c, '}')) {
        LK_REQUIRE(take_text(&c, key, sizeof key) && take(&c, ':'), LK_E_FORMAT,
                   "the header is damaged");
        LK_TRY(take_value(&c, key, h, &seen));
        if (h->type[0] == '[')
            goto done;
        if (!take(&c, ',')) {
            LK_REQUIRE(take(&c, '}'), LK_E_FORMAT, "the header is damaged");
            break;
        }
    }
    LK_REQUIRE(seen == 7, LK_E_FORMAT, "the header lacks descr, fortran_order or shape");
done:
    return st;
}

/* The header and where the numbers begin. */
static lk_status read_header(const uint8_t *b, size_t n, header *h, size_t *start)
{
    lk_status st = LK_OK;
    size_t length;
    memset(h, 0, sizeof *h);
    LK_REQUIRE(n >= 12 && memcmp(b, "\x93NUMPY", 6) == 0, LK_E_FORMAT,
               "the array is cut off or is none");
    LK_REQUIRE(b[6] >= 1 && b[6] <= 3 && b[7] == 0, LK_E_UNSUPPORTED,
               "version %d.%d of .npy; 1.0 to 3.0 are known", b[6], b[7]);
    *start = b[6] == 1 ? 10 : 12;
    length = (size_t)lk_le(b + 8, b[6] == 1 ? 2 : 4);
    LK_REQUIRE(length <= n - *start, LK_E_FORMAT, "the header is cut off");
    LK_TRY(parse_header((const char *)b + *start, length, h));
    *start += length;
done:
    return st;
}

/* Index into lk_raw_types, -1 when there is none; *big: most significant byte first. */
static int find_type(const char *descr, bool *big)
{
    *big = descr[0] == '>';
    if (!descr[0] || !strchr("<>|=", descr[0]))
        return -1;
    for (int i = 0; i < lk_n_raw_types; i++)
        if (lk_raw_types[i].numpy && strcmp(descr + 1, lk_raw_types[i].numpy) == 0)
            return i;
    return -1;
}

/* What a type that holds no numbers holds, else NULL. */
static const char *not_numbers(const char *descr)
{
    const char *kind = descr[0] && strchr("<>|=", descr[0]) ? descr + 1 : descr;
    switch (*kind) {
    case '[':
        return "records";
    case 'O':
        return "Python objects, which are never read";
    case 'S':
    case 'U':
    case 'a':
        return "text";
    case 'V':
        return "untyped bytes";
    case 'M':
    case 'm':
        return "dates";
    default:
        return NULL;
    }
}

static lk_status add_array(lk_weights *w, const uint8_t *b, size_t start, size_t n, const header *h,
                           const char *name)
{
    lk_status st = LK_OK;
    lk_placed p = {.bytes = b + start, .shape = h->shape};
    uint64_t wanted;
    p.raw = find_type(h->type, &p.swapped);
    LK_REQUIRE(p.raw >= 0, LK_E_UNSUPPORTED,
               "'%.200s' has numbers of type '%s', which are not read", name, h->type);
    LK_TRY(lk_shape_check(&h->shape, LK_F64));
    p.count = (uint64_t)lk_shape_count(&h->shape);
    wanted = p.count * lk_raw_types[p.raw].bytes;
    LK_REQUIRE(wanted == n - start, LK_E_FORMAT,
               "'%.200s': its header promises %llu bytes of numbers, %zu are there", name,
               (unsigned long long)wanted, n - start);
    lk_dense_strides(&p.shape, h->fortran, p.stride);
    LK_TRY(lk_weights_add(w, name, &p));
done:
    return st;
}

lk_status lk_weights_npy(lk_weights *w, const uint8_t *bytes, size_t n, const char *name)
{
    lk_status st = LK_OK;
    header h;
    size_t start;
    LK_TRY(read_header(bytes, n, &h, &start));
    LK_REQUIRE(!not_numbers(h.type), LK_E_UNSUPPORTED, "the array holds %s", not_numbers(h.type));
    LK_TRY(add_array(w, bytes, start, n, &h, name));
done:
    return st;
}

static lk_status read_member(lk_weights *w, const lk_zip_member *m)
{
    lk_status st = LK_OK;
    char *name = NULL;
    const uint8_t *data;
    void *owned = NULL;
    header h;
    size_t start;
    const size_t length = strlen(m->name);
    if (length < 5 || strcmp(m->name + length - 4, ".npy") != 0)
        return lk_weights_skip(w, m->name, "not an array");
    LK_TRY(lk_strdup(m->name, &name));
    name[length - 4] = '\0';
    LK_TRY(lk_zip_read(m, w->limit - w->total, &data, &owned));
    LK_TRY(read_header(data, (size_t)m->size, &h, &start));
    if (not_numbers(h.type))
        LK_TRY(lk_weights_skip(w, name, not_numbers(h.type)));
    else
        LK_TRY(add_array(w, data, start, (size_t)m->size, &h, name));
    if (owned) {
        void *const memory = owned;
        owned = NULL;
        LK_TRY(lk_weights_keep(w, memory));
    }
done:
    lk_free(owned);
    lk_free(name);
    return st;
}

lk_status lk_weights_npz(lk_weights *w, const lk_zip *zip)
{
    lk_status st = LK_OK;
    for (size_t i = 0; i < zip->n; i++)
        LK_TRY(read_member(w, &zip->at[i]));
done:
    return st;
}

lk_status lk_npy_header(const lk_tensor *tensor, char *bytes, size_t *n)
{
    lk_status st = LK_OK;
    static const char *const types[LK_N_DTYPES] = {
        [LK_F32] = "<f4", [LK_I32] = "<i4", [LK_F64] = "<f8", [LK_F16] = "<f2",
        [LK_I64] = "<i8", [LK_U8] = "|u1",  [LK_BOOL] = "|b1"};
    const char *type = types[tensor->dtype];
    int at = 10;
    LK_REQUIRE(type, LK_E_UNSUPPORTED, ".npy has no %s; choose another element type",
               lk_dtype_name(tensor->dtype));
    at += snprintf(bytes + at, LK_NPY_HEADER - 10,
                   "{'descr': '%s', 'fortran_order': False, 'shape': (", type);
    for (int d = 0; d < tensor->shape.n_dims; d++)
        at += snprintf(bytes + at, (size_t)(LK_NPY_HEADER - at), "%s%lld", d ? ", " : "",
                       (long long)tensor->shape.dim[d]);
    at += snprintf(bytes + at, (size_t)(LK_NPY_HEADER - at), "%s), }",
                   tensor->shape.n_dims == 1 ? "," : "");
    *n = ((size_t)at + 1 + 63) / 64 * 64;
    memset(bytes + at, ' ', *n - (size_t)at);
    bytes[*n - 1] = '\n';
    memcpy(bytes, "\x93NUMPY\1\0", 8);
    bytes[8] = (char)((*n - 10) & 0xff);
    bytes[9] = (char)((*n - 10) >> 8);
done:
    return st;
}
