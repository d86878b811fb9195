/* zip.c - see zip.h.  The central directory at the end is the truth; of the header before each
 * member only the name and the lengths that lead to the data are read. */
#include "av/import/zip.h"

#include "av/import/bytes.h"
#include "kernels/mem.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define END_BYTES       22
#define LOCATOR_BYTES   20
#define END64_BYTES     56
#define DIRECTORY_BYTES 46
#define HEADER_BYTES    30
#define MAX_COMMENT     65535
#define STORED          0
#define DEFLATED        8
#define NO_16           UINT64_C(0xffff)
#define NO_32           UINT64_C(0xffffffff)

/* Where the central directory lies. */
typedef struct directory {
    uint64_t start, bytes, n;
} directory;

static int is_mark(const uint8_t *p, const char *two)
{
    return p[0] == 'P' && p[1] == 'K' && p[2] == (uint8_t)two[0] && p[3] == (uint8_t)two[1];
}

static lk_status find_directory(const uint8_t *b, size_t n, directory *d)
{
    lk_status st = LK_OK;
    size_t end = n;
    LK_REQUIRE(n >= END_BYTES, LK_E_FORMAT, "the zip archive is cut off");
    for (size_t at = n - END_BYTES;; at--) {
        if (is_mark(b + at, "\5\6") && lk_le(b + at + 20, 2) == n - at - END_BYTES) {
            end = at;
            break;
        }
        if (at == 0 || n - at > END_BYTES + MAX_COMMENT)
            break;
    }
    LK_REQUIRE(end < n, LK_E_FORMAT, "the zip archive has no end: it is cut off or damaged");
    *d = (directory){lk_le(b + end + 16, 4), lk_le(b + end + 12, 4), lk_le(b + end + 10, 2)};
    LK_REQUIRE(lk_le(b + end + 4, 2) == 0 || lk_le(b + end + 4, 2) == NO_16, LK_E_UNSUPPORTED,
               "the zip archive is split over several files; join them first");
    if (end >= LOCATOR_BYTES && is_mark(b + end - LOCATOR_BYTES, "\6\7")) {
        const uint64_t at = lk_le(b + end - LOCATOR_BYTES + 8, 8);
        LK_REQUIRE(end >= LOCATOR_BYTES + END64_BYTES && at <= end - LOCATOR_BYTES - END64_BYTES &&
                       is_mark(b + at, "\6\6"),
                   LK_E_FORMAT, "the zip64 archive's end is damaged");
        *d = (directory){lk_le(b + at + 48, 8), lk_le(b + at + 40, 8), lk_le(b + at + 32, 8)};
        end = at;
    }
    LK_REQUIRE(d->start <= end && d->bytes == end - d->start, LK_E_FORMAT,
               "the zip archive's directory does not lie before its end");
    LK_REQUIRE(d->n <= d->bytes / DIRECTORY_BYTES, LK_E_FORMAT,
               "the zip archive's directory is too short for %llu members",
               (unsigned long long)d->n);
done:
    return st;
}

/* The 64-bit sizes of a directory entry, in the order of the fields that say "look there". */
static lk_status read_zip64(const uint8_t *extra, size_t n, lk_zip_member *m)
{
    lk_status st = LK_OK;
    uint64_t *const field[3] = {&m->size, &m->packed, &m->header};
    while (n >= 4) {
        const size_t tag = (size_t)lk_le(extra, 2), bytes = (size_t)lk_le(extra + 2, 2);
        size_t at = 4;
        LK_REQUIRE(bytes <= n - 4, LK_E_FORMAT, "'%.80s': its extra fields are damaged", m->name);
        for (int i = 0; i < 3 && tag == 1; i++) {
            if (*field[i] != NO_32)
                continue;
            LK_REQUIRE(at + 8 <= bytes + 4, LK_E_FORMAT, "'%.80s': its 64-bit size is missing",
                       m->name);
            *field[i] = lk_le(extra + at, 8);
            at += 8;
        }
        extra += 4 + bytes;
        n -= 4 + bytes;
    }
done:
    return st;
}

/* Where the data begin, from the header before them. */
static lk_status find_data(const uint8_t *b, const directory *d, lk_zip_member *m)
{
    lk_status st = LK_OK;
    const size_t length = strlen(m->name);
    uint64_t at;
    LK_REQUIRE(d->start >= HEADER_BYTES && m->header <= d->start - HEADER_BYTES &&
                   is_mark(b + m->header, "\3\4"),
               LK_E_FORMAT, "'%.80s': nothing lies where the zip archive says it begins", m->name);
    at = m->header + HEADER_BYTES;
    LK_REQUIRE(lk_le(b + m->header + 26, 2) == length && length <= d->start - at &&
                   memcmp(b + at, m->name, length) == 0,
               LK_E_FORMAT, "'%.80s' has two names in the zip archive", m->name);
    at += length + lk_le(b + m->header + 28, 2);
    LK_REQUIRE(at <= d->start && m->packed <= d->start - at, LK_E_FORMAT,
               "'%.80s' is cut off in the zip archive", m->name);
    m->data = b + at;
done:
    return st;
}

/* One directory entry at *at, which moves on. */
static lk_status read_entry(const uint8_t *b, const directory *d, uint64_t *at, lk_zip_member *m)
{
    lk_status st = LK_OK;
    const uint64_t left = d->start + d->bytes - *at;
    const uint8_t *e = b + *at;
    uint64_t length, extra, comment;
    LK_REQUIRE(left >= DIRECTORY_BYTES && is_mark(e, "\1\2"), LK_E_FORMAT,
               "the zip archive's directory is damaged");
    length = lk_le(e + 28, 2);
    extra = lk_le(e + 30, 2);
    comment = lk_le(e + 32, 2);
    LK_REQUIRE(length + extra + comment <= left - DIRECTORY_BYTES, LK_E_FORMAT,
               "the zip archive's directory is cut off");
    for (uint64_t i = 0; i < length; i++)
        LK_REQUIRE(e[DIRECTORY_BYTES + i] >= 0x20 && e[DIRECTORY_BYTES + i] != 0x7f, LK_E_FORMAT,
                   "a name in the zip archive holds a control character");
    LK_TRY(LK_NEW_ARRAY(&m->name, length + 1));
    memcpy(m->name, e + DIRECTORY_BYTES, length);
    LK_REQUIRE(!(lk_le(e + 8, 2) & 1), LK_E_UNSUPPORTED, "'%.80s' is encrypted", m->name);
    m->method = (int)lk_le(e + 10, 2);
    m->crc = (uint32_t)lk_le(e + 16, 4);
    m->packed = lk_le(e + 20, 4);
    m->size = lk_le(e + 24, 4);
    m->header = lk_le(e + 42, 4);
    LK_TRY(read_zip64(e + DIRECTORY_BYTES + length, (size_t)extra, m));
    LK_REQUIRE(m->method != STORED || m->packed == m->size, LK_E_FORMAT,
               "'%.80s' has two sizes in the zip archive", m->name);
    LK_TRY(find_data(b, d, m));
    *at += DIRECTORY_BYTES + length + extra + comment;
done:
    return st;
}

static int by_place(const void *a, const void *b)
{
    const lk_zip_member *x = a, *y = b;
    return (x->header > y->header) - (x->header < y->header);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const lk_zip_member *)a)->name, ((const lk_zip_member *)b)->name);
}

lk_status lk_zip_open(lk_zip *zip, const uint8_t *bytes, size_t n)
{
    lk_status st = LK_OK;
    directory d = {0};
    memset(zip, 0, sizeof *zip);
    LK_TRY(find_directory(bytes, n, &d));
    LK_TRY(LK_NEW_ARRAY(&zip->at, d.n));
    uint64_t at = d.start;
    for (zip->n = 0; zip->n < d.n;)
        LK_TRY(read_entry(bytes, &d, &at, &zip->at[zip->n++]));
    qsort(zip->at, zip->n, sizeof *zip->at, by_place);
    for (size_t i = 1; i < zip->n; i++)
        LK_REQUIRE(bytes + zip->at[i].header >= zip->at[i - 1].data + zip->at[i - 1].packed,
                   LK_E_FORMAT, "'%.80s' and '%.80s' overlap in the zip archive",
                   zip->at[i - 1].name, zip->at[i].name);
    qsort(zip->at, zip->n, sizeof *zip->at, by_name);
    for (size_t i = 1; i < zip->n; i++)
        LK_REQUIRE(by_name(&zip->at[i - 1], &zip->at[i]) != 0, LK_E_FORMAT,
                   "'%.80s' comes twice in the zip archive", zip->at[i].name);
done:
    if (st != LK_OK)
        lk_zip_close(zip);
    return st;
}

void lk_zip_close(lk_zip *zip)
{
    for (size_t i = 0; i < zip->n; i++)
        lk_free(zip->at[i].name);
    lk_free(zip->at);
    memset(zip, 0, sizeof *zip);
}

const lk_zip_member *lk_zip_find(const lk_zip *zip, const char *name)
{
    const lk_zip_member key = {.name = (char *)(uintptr_t)name};
    return zip->n ? bsearch(&key, zip->at, zip->n, sizeof *zip->at, by_name) : NULL;
}

/* zlib counts in unsigned ints, hence the pieces. */
static lk_status inflate_member(const lk_zip_member *m, uint8_t *out)
{
    lk_status st = LK_OK;
    z_stream z = {0};
    uint64_t in = m->packed, room = m->size;
    int code = Z_OK;
    uint8_t nowhere; /* zlib wants an address even for no bytes */
    LK_REQUIRE(inflateInit2(&z, -MAX_WBITS) == Z_OK, LK_E_MEMORY, "zlib cannot start");
    z.next_in = (Bytef *)(uintptr_t)m->data;
    z.next_out = m->size > 0 ? out : &nowhere;
    while (code == Z_OK) {
        const uInt piece_in = in > UINT_MAX ? UINT_MAX : (uInt)in;
        const uInt piece_out = room > UINT_MAX ? UINT_MAX : (uInt)room;
        z.avail_in = piece_in;
        z.avail_out = piece_out;
        code = inflate(&z, Z_NO_FLUSH);
        in -= piece_in - z.avail_in;
        room -= piece_out - z.avail_out;
    }
    LK_REQUIRE(code == Z_STREAM_END && room == 0 && in == 0, LK_E_FORMAT,
               "'%.80s' does not unpack to the size the zip archive states", m->name);
done:
    inflateEnd(&z);
    return st;
}

static uint32_t sum_of(const uint8_t *data, uint64_t n)
{
    return (uint32_t)crc32_z(crc32_z(0, NULL, 0), data, (z_size_t)n);
}

lk_status lk_zip_read(const lk_zip_member *m, uint64_t limit, const uint8_t **data, void **owned)
{
    lk_status st = LK_OK;
    uint8_t *out = NULL;
    *owned = NULL;
    LK_REQUIRE(m->method == STORED || m->method == DEFLATED, LK_E_UNSUPPORTED,
               "'%.80s' is packed by method %d; store or deflate it", m->name, m->method);
    *data = m->data;
    if (m->method == DEFLATED) {
        LK_REQUIRE(m->size <= limit, LK_E_UNSUPPORTED,
                   "'%.80s' unpacks to %llu bytes, suspiciously many; store it without compression",
                   m->name, (unsigned long long)m->size);
        LK_TRY(LK_NEW_ARRAY(&out, m->size));
        LK_TRY(inflate_member(m, out));
        *data = out;
    }
    /* Some writers leave the sum out and write 0. */
    LK_REQUIRE(m->crc == 0 || sum_of(*data, m->size) == m->crc, LK_E_FORMAT,
               "'%.80s' is damaged: its check sum does not match", m->name);
    *owned = out;
    out = NULL;
done:
    lk_free(out);
    return st;
}
