/* safetensors.c - writing and reading whole files.  See safetensors.h; the header's grammar is in
 * safetensors_header.c.
 *
 * The checksum of the header covers its length and its text, with its own digits taken as zeros;
 * the tensors cover the rest of the file, so every bit of it is under one checksum.
 */
#include "kernels/safetensors_impl.h"

#include "kernels/file.h"
#include "kernels/hash.h"
#include "kernels/mem.h"
#include "kernels/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file's numbers are little-endian");

#define DATA_ALIGN   64
#define HEADER_LIMIT 100000000 /* as other readers have it */
#define PIECE_BYTES  (1 << 20)

static void put_digits(char *to, uint64_t value)
{
    char text[LK_SAFETENSORS_DIGITS + 1];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)value);
    memcpy(to, text, LK_SAFETENSORS_DIGITS);
}

static uint64_t hash_header(const char *header, size_t n, const char *checksums)
{
    static const char zeros[LK_SAFETENSORS_DIGITS + 1] = "0000000000000000";
    const uint64_t length = n;
    lk_hash64 h;
    lk_hash64_start(&h);
    lk_hash64_add(&h, &length, sizeof length);
    lk_hash64_add(&h, header, (size_t)(checksums - header));
    lk_hash64_add(&h, zeros, LK_SAFETENSORS_DIGITS);
    checksums += LK_SAFETENSORS_DIGITS;
    lk_hash64_add(&h, checksums, n - (size_t)(checksums - header));
    return lk_hash64_value(&h);
}

/* ---- writing ---- */

static int by_size_and_name(const void *a, const void *b, void *tensors)
{
    const lk_safetensor *x = (const lk_safetensor *)tensors + *(const int *)a;
    const lk_safetensor *y = (const lk_safetensor *)tensors + *(const int *)b;
    const size_t nx = lk_dtype_bytes(x->dtype), ny = lk_dtype_bytes(y->dtype);
    return nx != ny ? (nx > ny ? -1 : 1) : strcmp(x->name, y->name);
}

static size_t bytes_of(const lk_safetensor *t)
{
    return (size_t)lk_shape_count(&t->shape) * lk_dtype_bytes(t->dtype);
}

static int by_name(const void *a, const void *b, void *tensors)
{
    const lk_safetensor *t = tensors;
    return strcmp(t[*(const int *)a].name, t[*(const int *)b].name);
}

/* What the caller asks for can be written; order: the order of the file. */
static lk_status arrange(const char *path, int n, const lk_safetensor *tensors, int n_texts,
                         const lk_safetensors_text *texts, int *order)
{
    lk_status st = LK_OK;
    void *list = (void *)(uintptr_t)tensors;
    for (int i = 0; i < n; i++)
        order[i] = i;
    qsort_r(order, (size_t)n, sizeof *order, by_name, list);
    for (int i = 0; i < n; i++) {
        const lk_safetensor *t = &tensors[order[i]];
        LK_REQUIRE(t->name[0] && strcmp(t->name, LK_SAFETENSORS_TEXTS) != 0, LK_E_ARG,
                   "'%s': a tensor cannot be named '%s'", path, t->name);
        LK_REQUIRE(i == 0 || by_name(&order[i - 1], &order[i], list) != 0, LK_E_ARG,
                   "'%s': there are two tensors named '%s'", path, t->name);
        LK_TRY(lk_shape_check(&t->shape, t->dtype));
    }
    for (int i = 0; i < n_texts; i++)
        LK_REQUIRE(strcmp(texts[i].key, LK_SAFETENSORS_CHECKSUMS) != 0, LK_E_ARG,
                   "'%s': the text '%s' is written by itself", path, texts[i].key);
    qsort_r(order, (size_t)n, sizeof *order, by_size_and_name, list);
done:
    return st;
}

static lk_status build_header(lk_text *out, size_t *checksums_at, int n,
                              const lk_safetensor *tensors, const int *order, int n_texts,
                              const lk_safetensors_text *texts)
{
    lk_status st = LK_OK;
    size_t at = 0;
    LK_TRY(lk_text_add(out, "{\"" LK_SAFETENSORS_TEXTS "\":{\"" LK_SAFETENSORS_CHECKSUMS "\":\""));
    *checksums_at = out->n;
    for (int i = 0; i <= n; i++)
        LK_TRY(lk_text_add(out, "%s%016d", i ? " " : "", 0));
    LK_TRY(lk_text_add(out, "\""));
    for (int i = 0; i < n_texts; i++) {
        LK_TRY(lk_text_add(out, ","));
        LK_TRY(lk_text_add_json(out, texts[i].key));
        LK_TRY(lk_text_add(out, ":"));
        LK_TRY(lk_text_add_json(out, texts[i].value));
    }
    LK_TRY(lk_text_add(out, "}"));
    for (int i = 0; i < n; i++) {
        const lk_safetensor *t = &tensors[order[i]];
        LK_TRY(lk_text_add(out, ","));
        LK_TRY(lk_text_add_json(out, t->name));
        LK_TRY(
            lk_text_add(out, ":{\"dtype\":\"%s\",\"shape\":[", lk_safetensors_type_name(t->dtype)));
        for (int d = 0; d < t->shape.n_dims; d++)
            LK_TRY(lk_text_add(out, "%s%lld", d ? "," : "", (long long)t->shape.dim[d]));
        LK_TRY(lk_text_add(out, "],\"data_offsets\":[%zu,%zu]}", at, at + bytes_of(t)));
        at += bytes_of(t);
    }
    LK_TRY(lk_text_add(out, "}"));
    while ((out->n + sizeof(uint64_t)) % DATA_ALIGN)
        LK_TRY(lk_text_add(out, " "));
done:
    return st;
}

/* The numbers of the tensors, from `at` on; their checksums into the header. */
static lk_status write_data(const lk_replace *file, int64_t at, char *checksums, int n,
                            const lk_safetensor *tensors, const int *order,
                            lk_safetensors_fetch fetch, void *user)
{
    lk_status st = LK_OK;
    unsigned char *fetched = NULL;
    for (int i = 0; i < n; i++) {
        const lk_safetensor *t = &tensors[order[i]];
        const size_t bytes = bytes_of(t);
        const void *data = t->data;
        lk_hash64 h;
        if (!data && bytes > 0) {
            LK_REQUIRE(fetch, LK_E_ARG, "tensor '%s' has no data", t->name);
            LK_TRY(LK_NEW_ARRAY(&fetched, bytes));
            LK_TRY(fetch(user, order[i], fetched));
            data = fetched;
        }
        lk_hash64_start(&h);
        lk_hash64_add(&h, data, bytes);
        put_digits(checksums + (i + 1) * LK_SAFETENSORS_STEP, lk_hash64_value(&h));
        LK_TRY(lk_write_at(file->fd, at, data, bytes, file->path));
        at += (int64_t)bytes;
        lk_free(fetched);
        fetched = NULL;
    }
done:
    lk_free(fetched);
    return st;
}

lk_status lk_safetensors_write(const char *path, int n, const lk_safetensor *tensors, int n_texts,
                               const lk_safetensors_text *texts, lk_safetensors_fetch fetch,
                               void *user)
{
    lk_status st = LK_OK;
    lk_replace file = {0};
    lk_text header = {0};
    int *order = NULL;
    size_t checksums_at = 0;
    uint64_t length;
    LK_TRY(LK_NEW_ARRAY(&order, n));
    LK_TRY(arrange(path, n, tensors, n_texts, texts, order));
    LK_TRY(build_header(&header, &checksums_at, n, tensors, order, n_texts, texts));
    LK_REQUIRE(header.n <= HEADER_LIMIT, LK_E_UNSUPPORTED,
               "'%s': the names and texts take more than %d bytes", path, HEADER_LIMIT);
    length = header.n;
    LK_TRY(lk_replace_open(&file, path));
    LK_TRY(write_data(&file, (int64_t)(sizeof length + header.n), header.at + checksums_at, n,
                      tensors, order, fetch, user));
    put_digits(header.at + checksums_at,
               hash_header(header.at, header.n, header.at + checksums_at));
    LK_TRY(lk_write_at(file.fd, 0, &length, sizeof length, path));
    LK_TRY(lk_write_at(file.fd, sizeof length, header.at, header.n, path));
    LK_TRY(lk_replace_commit(&file));
done:
    lk_replace_drop(&file);
    lk_text_free(&header);
    lk_free(order);
    return st;
}

/* ---- reading ---- */

static lk_status read_at(const lk_safetensors *f, int64_t at, void *data, size_t n)
{
    lk_status st = LK_OK;
    char *to = data;
    while (n > 0) {
        const ssize_t got = pread(f->fd, to, n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        LK_REQUIRE(got >= 0, LK_E_IO, "cannot read '%s': %s", f->path, strerror(errno));
        LK_REQUIRE(got > 0, LK_E_FORMAT, "'%s' is cut off", f->path);
        to += got;
        at += got;
        n -= (size_t)got;
    }
done:
    return st;
}

static lk_status read_header(lk_safetensors *f)
{
    lk_status st = LK_OK;
    struct stat info;
    uint64_t length;
    LK_REQUIRE(fstat(f->fd, &info) == 0 && S_ISREG(info.st_mode), LK_E_IO,
               "'%s' is not a regular file", f->path);
    LK_REQUIRE(info.st_size >= (off_t)sizeof length + 2, LK_E_FORMAT,
               "'%s' is not a safetensors file: it has only %lld bytes", f->path,
               (long long)info.st_size);
    LK_TRY(read_at(f, 0, &length, sizeof length));
    LK_REQUIRE(length <= HEADER_LIMIT && (int64_t)length <= info.st_size - (off_t)sizeof length,
               LK_E_FORMAT,
               "'%s' is not a safetensors file, or is cut off: its header claims %llu bytes",
               f->path, (unsigned long long)length);
    f->n_header = (size_t)length;
    f->data_at = (int64_t)(sizeof length + length);
    f->data_bytes = info.st_size - f->data_at;
    LK_TRY(LK_NEW_ARRAY(&f->header, f->n_header + 1));
    LK_TRY(read_at(f, sizeof length, f->header, f->n_header));
done:
    return st;
}

static lk_status check_header_sum(const lk_safetensors *f)
{
    lk_status st = LK_OK;
    const char *value = lk_safetensors_get(f, LK_SAFETENSORS_CHECKSUMS);
    char digits[LK_SAFETENSORS_DIGITS];
    LK_REQUIRE(strlen(value) == (f->n + 1) * LK_SAFETENSORS_STEP - 1 &&
                   memcmp(value, f->checksums, strlen(value)) == 0,
               LK_E_FORMAT, "'%s' is damaged: its list of checksums has the wrong length", f->path);
    put_digits(digits, hash_header(f->header, f->n_header, f->checksums));
    LK_REQUIRE(memcmp(digits, f->checksums, sizeof digits) == 0, LK_E_FORMAT,
               "'%s' is damaged: its header does not have its checksum", f->path);
done:
    return st;
}

lk_status lk_safetensors_open(lk_safetensors **out, const char *path)
{
    lk_status st = LK_OK;
    lk_safetensors *f = NULL;
    *out = NULL;
    LK_TRY(LK_NEW(&f));
    f->fd = -1;
    LK_TRY(lk_strdup(path, &f->path));
    f->fd = open(path, O_RDONLY | O_CLOEXEC);
    LK_REQUIRE(f->fd >= 0, LK_E_IO, "cannot open '%s': %s", path, strerror(errno));
    LK_TRY(read_header(f));
    LK_TRY(lk_safetensors_parse(f));
    if (f->checksums)
        LK_TRY(check_header_sum(f));
    *out = f;
    f = NULL;
done:
    lk_safetensors_free(&f);
    return st;
}

void lk_safetensors_free(lk_safetensors **pf)
{
    lk_safetensors *f = *pf;
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    lk_free(f->path);
    lk_free(f->header);
    lk_free(f->pool);
    lk_free(f->entries);
    lk_free(f->by_name);
    lk_free(f->texts);
    lk_free(f);
    *pf = NULL;
}

int lk_safetensors_n(const lk_safetensors *f)
{
    return (int)f->n;
}

const lk_safetensor *lk_safetensors_at(const lk_safetensors *f, int i)
{
    return &f->entries[i].t;
}

int lk_safetensors_find(const lk_safetensors *f, const char *name)
{
    size_t lo = 0, hi = f->n;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const int order = strcmp(f->entries[f->by_name[mid]].t.name, name);
        if (order == 0)
            return f->by_name[mid];
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return -1;
}

const char *lk_safetensors_get(const lk_safetensors *f, const char *key)
{
    for (size_t i = 0; i < f->n_texts; i++)
        if (strcmp(f->texts[i].key, key) == 0)
            return f->texts[i].value;
    return NULL;
}

int lk_safetensors_texts(const lk_safetensors *f, int n, lk_safetensors_text *texts)
{
    int there = 0;
    for (size_t i = 0; i < f->n_texts; i++) {
        if (strcmp(f->texts[i].key, LK_SAFETENSORS_CHECKSUMS) == 0)
            continue;
        if (there < n)
            texts[there] = f->texts[i];
        there++;
    }
    return there;
}

int lk_safetensors_has_checksums(const lk_safetensors *f)
{
    return f->checksums != NULL;
}

/* Read tensor i in pieces; into `data` as `dtype` unless that is NULL. */
static lk_status read_pieces(lk_safetensors *f, int i, lk_dtype dtype, void *data)
{
    lk_status st = LK_OK;
    const lk_safetensors_entry *e = &f->entries[i];
    const size_t from = lk_dtype_bytes(e->t.dtype), to = lk_dtype_bytes(dtype);
    const size_t total = (size_t)(e->end - e->begin);
    const int in_place = data && dtype == e->t.dtype;
    unsigned char *piece = NULL;
    char digits[LK_SAFETENSORS_DIGITS];
    lk_hash64 h;
    lk_hash64_start(&h);
    if (!in_place)
        LK_TRY(LK_NEW_ARRAY(&piece, total < PIECE_BYTES ? total : PIECE_BYTES));
    for (size_t at = 0; at < total; at += PIECE_BYTES) {
        const size_t n = total - at < PIECE_BYTES ? total - at : PIECE_BYTES;
        void *place = in_place ? (unsigned char *)data + at : piece;
        LK_TRY(read_at(f, f->data_at + e->begin + (int64_t)at, place, n));
        lk_hash64_add(&h, place, n);
        if (data && !in_place)
            lk_convert(dtype, (unsigned char *)data + at / from * to, e->t.dtype, piece,
                       (int64_t)(n / from));
    }
    put_digits(digits, lk_hash64_value(&h));
    LK_REQUIRE(!f->checksums ||
                   memcmp(digits, f->checksums + (i + 1) * LK_SAFETENSORS_STEP, sizeof digits) == 0,
               LK_E_FORMAT, "'%s' is damaged: tensor '%s' does not have its checksum", f->path,
               e->t.name);
done:
    lk_free(piece);
    return st;
}

lk_status lk_safetensors_read(lk_safetensors *f, int i, lk_dtype dtype, void *data)
{
    return read_pieces(f, i, dtype, data);
}

lk_status lk_safetensors_verify(lk_safetensors *f)
{
    lk_status st = LK_OK;
    for (int i = 0; f->checksums && i < (int)f->n; i++)
        LK_TRY(read_pieces(f, i, f->entries[i].t.dtype, NULL));
done:
    return st;
}
