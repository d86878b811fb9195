/* weights.c - see weights.h: telling files apart, checking entries, gathering numbers. */
#include "av/import/weights.h"

#include "av/import/bytes.h"
#include "av/import/weights_impl.h"
#include "av/import/zip.h"
#include "kernels/mem.h"
#include "kernels/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_NAME 1024
/* Views with a stride of zero and packed archives make much out of few bytes. */
#define MAX_GROWTH     64
#define ALWAYS_ALLOWED (UINT64_C(256) << 20)

const lk_raw_type lk_raw_types[] = {
    {"f32", 4, LK_F32, "f4", "Float", "float32"},
    {"f16", 2, LK_F16, "f2", "Half", "float16"},
    {"bf16", 2, LK_BF16, NULL, "BFloat16", "bfloat16"},
    {"f64", 8, LK_F64, "f8", "Double", "float64"},
    {"i8", 1, LK_I32, "i1", "Char", "int8"},
    {"i16", 2, LK_I32, "i2", "Short", "int16"},
    {"i32", 4, LK_I32, "i4", "Int", "int32"},
    {"i64", 8, LK_I64, "i8", "Long", "int64"},
    {"u8", 1, LK_U8, "u1", "Byte", "uint8"},
    {"u16", 2, LK_I32, "u2", NULL, "uint16"},
    {"u32", 4, LK_I64, "u4", NULL, "uint32"},
    {"u64", 8, LK_I64, "u8", NULL, "uint64"},
    {"bool", 1, LK_BOOL, "b1", "Bool", "bool"},
};
const int lk_n_raw_types = (int)(sizeof lk_raw_types / sizeof lk_raw_types[0]);

void lk_dense_strides(const lk_shape *shape, bool fortran, int64_t *stride)
{
    int64_t step = 1;
    for (int k = 0; k < shape->n_dims; k++) {
        const int d = fortran ? k : shape->n_dims - 1 - k;
        stride[d] = step;
        if (__builtin_mul_overflow(step, shape->dim[d], &step))
            step = 0; /* lk_weights_add refuses such a shape */
    }
}

/* Bytes of the character at `text`, 0 when it is not UTF-8 or a control character. */
static int printable(const char *text)
{
    const unsigned char c = (unsigned char)*text;
    return c < 0x20 || c == 0x7f ? 0 : lk_utf8_bytes(text, strlen(text));
}

static lk_status check_name(const char *name)
{
    lk_status st = LK_OK;
    const size_t n = strlen(name);
    LK_REQUIRE(n > 0 && n <= MAX_NAME, LK_E_FORMAT, "a name of %zu bytes; 1 to %d are allowed", n,
               MAX_NAME);
    for (size_t i = 0; i < n;) {
        const int k = printable(name + i);
        LK_REQUIRE(k > 0, LK_E_FORMAT, "a name in the file is not printable UTF-8");
        i += (size_t)k;
    }
done:
    return st;
}

/* Every element must lie among the placed numbers. */
static lk_status check_place(const char *name, const lk_placed *p)
{
    lk_status st = LK_OK;
    char text[LK_SHAPE_TEXT];
    int64_t last = p->offset, reach;
    bool fits = p->offset >= 0;
    for (int d = 0; d < p->shape.n_dims && fits; d++)
        fits = p->stride[d] >= 0 &&
               !__builtin_mul_overflow(p->shape.dim[d] - 1, p->stride[d], &reach) &&
               !__builtin_add_overflow(last, reach, &last);
    LK_REQUIRE(fits && (uint64_t)last < p->count, LK_E_FORMAT,
               "'%.200s' of shape %s reaches beyond the %llu numbers it is made of", name,
               lk_shape_text(&p->shape, text), (unsigned long long)p->count);
done:
    return st;
}

lk_status lk_weights_add(lk_weights *w, const char *name, const lk_placed *placed)
{
    lk_status st = LK_OK;
    const lk_raw_type *type = &lk_raw_types[placed->raw];
    lk_weight entry = {.dtype = type->becomes,
                       .shape = placed->shape,
                       .raw = placed->raw,
                       .swapped = placed->swapped};
    uint64_t bytes;
    LK_TRY(check_name(name));
    LK_TRY(lk_shape_check(&placed->shape, LK_F64)); /* the widest, so that no product overflows */
    if (lk_shape_count(&placed->shape) > 0) {
        LK_TRY(check_place(name, placed));
        entry.bytes = placed->bytes + (size_t)placed->offset * type->bytes;
    }
    memcpy(entry.stride, placed->stride, sizeof entry.stride);
    bytes = (uint64_t)lk_shape_count(&placed->shape) * lk_dtype_bytes(entry.dtype);
    LK_REQUIRE(bytes <= w->limit - w->total, LK_E_UNSUPPORTED,
               "'%.200s' has %llu bytes, out of proportion to the file: is it a view that repeats "
               "few numbers? Save a copy of it instead",
               name, (unsigned long long)bytes);
    w->total += bytes;
    LK_TRY(LK_GROW(&w->at, &w->room, w->n + 1));
    LK_TRY(lk_strdup(name, &entry.name));
    w->at[w->n++] = entry;
done:
    return st;
}

lk_status lk_weights_skip(lk_weights *w, const char *name, const char *what)
{
    lk_status st = LK_OK;
    const size_t n = strlen(what) + MAX_NAME + 3;
    char *text = NULL;
    LK_TRY(LK_GROW(&w->skipped, &w->room_skipped, w->n_skipped + 1));
    LK_TRY(LK_NEW_ARRAY(&text, n));
    snprintf(text, n, "%.*s: %s", MAX_NAME, name, what);
    for (size_t i = 0; text[i];) { /* such a name may be anything, and is only looked at */
        const int k = printable(text + i);
        if (k == 0)
            text[i] = '?';
        i += k > 0 ? (size_t)k : 1;
    }
    w->skipped[w->n_skipped++] = text;
done:
    return st;
}

lk_status lk_weights_keep(lk_weights *w, void *memory)
{
    lk_status st = LK_OK;
    LK_TRY(LK_GROW(&w->kept, &w->room_kept, w->n_kept + 1));
    w->kept[w->n_kept++] = memory;
    memory = NULL;
done:
    lk_free(memory);
    return st;
}

/* The file's name without folders and without the ending that says what it is. */
static lk_status stem_of(const char *path, char **out)
{
    lk_status st = LK_OK;
    const char *slash = strrchr(path, '/');
    char *dot;
    LK_TRY(lk_strdup(slash ? slash + 1 : path, out));
    dot = strrchr(*out, '.');
    if (dot && dot != *out)
        *dot = '\0';
done:
    return st;
}

/* A PyTorch archive holds exactly one FOLDER/data.pkl; NULL when there is none. */
static const char *torch_pickle(const lk_zip *zip)
{
    for (size_t i = 0; i < zip->n; i++) {
        const char *slash = strchr(zip->at[i].name, '/');
        if (slash && strcmp(slash, "/data.pkl") == 0)
            return zip->at[i].name;
    }
    return NULL;
}

static lk_status read_zip(lk_weights *w, size_t n, const char *stem)
{
    lk_status st = LK_OK;
    lk_zip zip = {0};
    LK_TRY(lk_zip_open(&zip, w->file, n));
    const char *pickle = torch_pickle(&zip);
    w->format = pickle ? "PyTorch" : "npz";
    if (pickle)
        LK_TRY(lk_weights_torch_zip(w, &zip, pickle, stem));
    else
        LK_TRY(lk_weights_npz(w, &zip));
done:
    lk_zip_close(&zip);
    return st;
}

typedef enum kind { NPY, ZIP, STREAM, SAFETENSORS, N_KINDS } kind;

/* What a file is by its first bytes, of which KNOWN_BYTES are enough. */
#define KNOWN_BYTES 512
static lk_status find_kind(const uint8_t *b, size_t n, kind *found)
{
    lk_status st = LK_OK;
    *found = N_KINDS;
    LK_REQUIRE(n > 0, LK_E_FORMAT, "it is empty");
    if (n >= 6 && memcmp(b, "\x93NUMPY", 6) == 0)
        *found = NPY;
    else if (n >= 4 && (memcmp(b, "PK\3\4", 4) == 0 || memcmp(b, "PK\5\6", 4) == 0))
        *found = ZIP;
    else if (n >= 2 && b[0] == 0x80 && b[1] >= 2 && b[1] <= 5)
        *found = STREAM;
    else if (n > 8 && b[8] == '{' && b[6] == 0 && b[7] == 0) /* a length, then a JSON object */
        *found = SAFETENSORS;
    LK_REQUIRE(n <= 262 || memcmp(b + 257, "ustar", 5) != 0 || *found != N_KINDS, LK_E_UNSUPPORTED,
               "a tar archive; PyTorch files of that age must be loaded and saved again first");
    LK_REQUIRE(*found != N_KINDS, LK_E_FORMAT,
               "neither .npy, .npz, a PyTorch checkpoint nor .safetensors");
done:
    return st;
}

static lk_status read_safetensors(lk_weights *w, const char *path)
{
    lk_status st = LK_OK;
    w->format = "safetensors";
    LK_TRY(lk_safetensors_open(&w->safetensors, path));
    const int n = lk_safetensors_n(w->safetensors);
    LK_TRY(LK_GROW(&w->at, &w->room, n));
    for (int i = 0; i < n; i++) {
        const lk_safetensor *t = lk_safetensors_at(w->safetensors, i);
        lk_weight *e = &w->at[w->n];
        LK_TRY(check_name(t->name));
        LK_TRY(lk_strdup(t->name, &e->name));
        e->dtype = t->dtype;
        e->shape = t->shape;
        w->n++;
    }
done:
    return st;
}

static lk_status read_kind(lk_weights *w, kind is, size_t n, const char *stem)
{
    switch (is) {
    case NPY:
        w->format = "npy";
        return lk_weights_npy(w, w->file, n, stem);
    case ZIP:
        return read_zip(w, n, stem);
    case STREAM:
        w->format = "PyTorch before 1.6";
        return lk_weights_torch_stream(w, w->file, n, stem);
    default:
        return LK_FAIL(LK_E_UNSUPPORTED, ".safetensors are read from files only");
    }
}

/* The sentence of a failure, after the file's name. */
static lk_status about(lk_status st, const char *name)
{
    return st == LK_OK || st == LK_E_MEMORY ? st
                                            : LK_FAIL(st, "'%.200s': %s", name, lk_error_text());
}

/* w->file holds the n bytes. */
static lk_status parse(lk_weights *w, kind is, size_t n, const char *name)
{
    lk_status st = LK_OK;
    char *stem = NULL;
    if (__builtin_mul_overflow((uint64_t)n, (uint64_t)MAX_GROWTH, &w->limit) ||
        w->limit < ALWAYS_ALLOWED)
        w->limit = ALWAYS_ALLOWED;
    LK_TRY(stem_of(name, &stem));
    LK_TRY(about(read_kind(w, is, n, stem), name));
done:
    lk_free(stem);
    return st;
}

lk_status lk_weights_parse(lk_weights *w, const void *bytes, size_t n, const char *name)
{
    lk_status st = LK_OK;
    kind is;
    memset(w, 0, sizeof *w);
    LK_TRY(about(find_kind(bytes, n, &is), name));
    LK_TRY(LK_NEW_ARRAY(&w->file, n));
    memcpy(w->file, bytes, n);
    LK_TRY(parse(w, is, n, name));
done:
    if (st != LK_OK)
        lk_weights_close(w);
    return st;
}

lk_status lk_weights_open(lk_weights *w, const char *path)
{
    lk_status st = LK_OK;
    struct stat facts;
    uint8_t start[KNOWN_BYTES];
    kind is;
    FILE *f = fopen(path, "rb");
    memset(w, 0, sizeof *w);
    LK_REQUIRE(f && fstat(fileno(f), &facts) == 0, LK_E_IO, "cannot open '%s': %s", path,
               strerror(errno));
    LK_REQUIRE(S_ISREG(facts.st_mode), LK_E_IO, "'%s' is not a file", path);
    LK_TRY(about(find_kind(start, fread(start, 1, sizeof start, f), &is), path));
    if (is == SAFETENSORS) {
        LK_TRY(read_safetensors(w, path));
        goto done;
    }
    rewind(f);
    LK_TRY(LK_NEW_ARRAY(&w->file, facts.st_size));
    LK_REQUIRE(fread(w->file, 1, (size_t)facts.st_size, f) == (size_t)facts.st_size, LK_E_IO,
               "cannot read '%s': %s", path, ferror(f) ? strerror(errno) : "it became shorter");
    LK_TRY(parse(w, is, (size_t)facts.st_size, path));
done:
    if (f)
        fclose(f);
    if (st != LK_OK)
        lk_weights_close(w);
    return st;
}

void lk_weights_close(lk_weights *w)
{
    for (size_t i = 0; i < w->n; i++) {
        lk_free(w->at[i].name);
        lk_free(w->at[i].dense);
    }
    for (size_t i = 0; i < w->n_skipped; i++)
        lk_free(w->skipped[i]);
    for (size_t i = 0; i < w->n_kept; i++)
        lk_free(w->kept[i]);
    lk_free(w->at);
    lk_free(w->skipped);
    lk_free(w->kept);
    lk_free(w->file);
    lk_safetensors_free(&w->safetensors);
    memset(w, 0, sizeof *w);
}

static bool is_dense(const lk_weight *e)
{
    int64_t step = 1;
    for (int d = e->shape.n_dims - 1; d >= 0; d--) {
        if (e->shape.dim[d] > 1 && e->stride[d] != step)
            return false;
        step *= e->shape.dim[d];
    }
    return true;
}

/* The elements as they are in the file, in row-major order. */
static void gather(const lk_weight *e, size_t size, uint8_t *out)
{
    const int last = e->shape.n_dims - 1;
    const int64_t n = last >= 0 ? e->shape.dim[last] : 1, step = last >= 0 ? e->stride[last] : 1;
    const int64_t runs = n > 0 ? lk_shape_count(&e->shape) / n : 0;
    int64_t index[LK_MAX_DIMS] = {0}, at = 0;
    for (int64_t r = 0; r < runs; r++) {
        const uint8_t *from = e->bytes + (size_t)at * size;
        if (step == 1)
            memcpy(out, from, (size_t)n * size);
        else
            for (int64_t k = 0; k < n; k++)
                memcpy(out + (size_t)k * size, from + (size_t)(k * step) * size, size);
        out += (size_t)n * size;
        for (int d = last - 1; d >= 0; d--) {
            at += e->stride[d];
            if (++index[d] < e->shape.dim[d])
                break;
            at -= e->shape.dim[d] * e->stride[d];
            index[d] = 0;
        }
    }
}

static void swap_bytes(uint8_t *p, int64_t n, size_t size)
{
    for (int64_t i = 0; i < n; i++, p += size)
        for (size_t k = 0; k < size / 2; k++) {
            const uint8_t kept = p[k];
            p[k] = p[size - 1 - k];
            p[size - 1 - k] = kept;
        }
}

/* Gathered integers into the element type they become. */
static lk_status widen(const lk_weight *e, const uint8_t *from, int64_t n, void *to)
{
    lk_status st = LK_OK;
    const lk_raw_type *type = &lk_raw_types[e->raw];
    const int bits = (int)type->bytes * 8;
    for (int64_t i = 0; i < n; i++) {
        const uint64_t x = lk_le(from + (size_t)i * type->bytes, (int)type->bytes);
        int64_t value = (int64_t)x;
        if (type->name[0] == 'i' && bits < 64 && x >> (bits - 1))
            value -= INT64_C(1) << bits;
        LK_REQUIRE(type->name[0] == 'i' || value >= 0, LK_E_UNSUPPORTED,
                   "'%.200s' holds %llu, more than a signed 64-bit number can", e->name,
                   (unsigned long long)x);
        if (e->dtype == LK_I32)
            ((int32_t *)to)[i] = (int32_t)value;
        else if (e->dtype == LK_I64)
            ((int64_t *)to)[i] = value;
        else
            ((uint8_t *)to)[i] = value != 0; /* bool */
    }
done:
    return st;
}

/* A dense copy of the numbers in the element type they become. */
static lk_status copy_numbers(lk_weight *e, bool same)
{
    lk_status st = LK_OK;
    const size_t bytes = lk_raw_types[e->raw].bytes;
    const int64_t n = lk_shape_count(&e->shape);
    uint8_t *gathered = NULL;
    void *wide = NULL;
    LK_TRY(LK_NEW_ARRAY(&gathered, (size_t)n * bytes));
    gather(e, bytes, gathered);
    if (e->swapped)
        swap_bytes(gathered, n, bytes);
    if (same) {
        e->dense = gathered;
        gathered = NULL;
    } else {
        LK_TRY(lk_alloc_((size_t)n, lk_dtype_bytes(e->dtype), &wide));
        LK_TRY(widen(e, gathered, n, wide));
        e->dense = wide;
        wide = NULL;
    }
done:
    lk_free(gathered);
    lk_free(wide);
    return st;
}

lk_status lk_weights_tensor(lk_weights *w, size_t i, lk_tensor *tensor)
{
    lk_status st = LK_OK;
    lk_weight *e = &w->at[i];
    const lk_raw_type *type = &lk_raw_types[e->raw];
    const bool same = strcmp(type->name, lk_dtype_name(e->dtype)) == 0 && e->dtype != LK_BOOL;
    *tensor = (lk_tensor){e->dtype, e->shape, e->dense};
    if (e->dense)
        return LK_OK;
    if (w->safetensors) {
        const size_t bytes = lk_tensor_bytes(tensor);
        LK_TRY(lk_alloc_(bytes, 1, &e->dense));
        LK_TRY(lk_safetensors_read(w->safetensors, (int)i, e->dtype, e->dense));
    } else if (same && !e->swapped && e->bytes && is_dense(e) &&
               (uintptr_t)e->bytes % type->bytes == 0) {
        tensor->data = (void *)(uintptr_t)e->bytes;
        return LK_OK;
    } else {
        LK_TRY(copy_numbers(e, same));
    }
    tensor->data = e->dense;
done:
    if (st != LK_OK)
        lk_weights_drop(w, i);
    return st;
}

void lk_weights_drop(lk_weights *w, size_t i)
{
    lk_free(w->at[i].dense);
    w->at[i].dense = NULL;
}
