/* tbevents.c - see tbevents.h. */
#include "kernels/tbevents.h"

#include "kernels/file.h"
#include "kernels/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define HEAD       12 /* length and its CRC */
#define TAIL       4
#define STEP_AT    9         /* a wall time comes first: 1 + 8 bytes */
#define MOST_BYTES (1 << 20) /* in one record; ours are far smaller */

struct lk_tbevents {
    int fd;
    char *path;
    unsigned char *record; /* being built */
    size_t n, capacity;
};

uint32_t lk_crc32c(const void *data, size_t n)
{
    const unsigned char *p = data;
    uint32_t c = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            c = c >> 1 ^ (0x82f63b78u & (0u - (c & 1u)));
    }
    return ~c;
}

static uint32_t masked(const void *data, size_t n)
{
    const uint32_t c = lk_crc32c(data, n);
    return (c >> 15 | c << 17) + 0xa282ead8u;
}

/* ---- building a record ---- */

static lk_status put(lk_tbevents *e, const void *data, size_t n)
{
    lk_status st = LK_OK;
    LK_TRY(LK_GROW(&e->record, &e->capacity, e->n + n));
    memcpy(e->record + e->n, data, n);
    e->n += n;
done:
    return st;
}

static lk_status put_varint(lk_tbevents *e, uint64_t x)
{
    lk_status st = LK_OK;
    unsigned char bytes[10];
    size_t n = 0;
    do {
        bytes[n++] = (unsigned char)((x & 0x7f) | (x > 0x7f ? 0x80 : 0));
        x >>= 7;
    } while (x);
    LK_TRY(put(e, bytes, n));
done:
    return st;
}

static size_t varint_bytes(uint64_t x)
{
    size_t n = 1;
    for (; x > 0x7f; x >>= 7)
        n++;
    return n;
}

/* The key of a field: its number and how it is coded (0 varint, 1 eight bytes, 2 counted bytes, 5
 * four bytes). */
static lk_status put_key(lk_tbevents *e, unsigned field, unsigned coding)
{
    return put_varint(e, field << 3 | coding);
}

static lk_status put_text(lk_tbevents *e, unsigned field, const char *text)
{
    lk_status st = LK_OK;
    LK_TRY(put_key(e, field, 2));
    LK_TRY(put_varint(e, strlen(text)));
    LK_TRY(put(e, text, strlen(text)));
done:
    return st;
}

static lk_status begin_event(lk_tbevents *e, double wall_s)
{
    lk_status st = LK_OK;
    const unsigned char head[HEAD] = {0};
    e->n = 0;
    LK_TRY(put(e, head, sizeof head));
    LK_TRY(put_key(e, 1, 1));
    LK_TRY(put(e, &wall_s, sizeof wall_s));
done:
    return st;
}

static lk_status end_event(lk_tbevents *e)
{
    lk_status st = LK_OK;
    const uint64_t length = e->n - HEAD;
    uint32_t sum;
    memcpy(e->record, &length, sizeof length);
    sum = masked(e->record, sizeof length);
    memcpy(e->record + sizeof length, &sum, sizeof sum);
    sum = masked(e->record + HEAD, (size_t)length);
    LK_TRY(put(e, &sum, sizeof sum));
    LK_TRY(lk_write_all(e->fd, e->record, e->n, e->path));
done:
    return st;
}

lk_status lk_tbevents_add(lk_tbevents *e, int64_t step, double wall_s, int n,
                          const char *const *tags, const double *values)
{
    lk_status st = LK_OK;
    size_t bytes = 0;
    for (int i = 0; i < n; i++) {
        const size_t tag = strlen(tags[i]), value = 1 + varint_bytes(tag) + tag + 5;
        bytes += 1 + varint_bytes(value) + value;
    }
    LK_TRY(begin_event(e, wall_s));
    LK_TRY(put_key(e, 2, 0));
    LK_TRY(put_varint(e, (uint64_t)step));
    LK_TRY(put_key(e, 5, 2));
    LK_TRY(put_varint(e, bytes));
    for (int i = 0; i < n; i++) {
        const size_t tag = strlen(tags[i]);
        const float x = (float)values[i];
        LK_TRY(put_key(e, 1, 2));
        LK_TRY(put_varint(e, 1 + varint_bytes(tag) + tag + 5));
        LK_TRY(put_text(e, 1, tags[i]));
        LK_TRY(put_key(e, 2, 5));
        LK_TRY(put(e, &x, sizeof x));
    }
    LK_TRY(end_event(e));
done:
    return st;
}

/* ---- opening ---- */

static int64_t read_step(const unsigned char *event, size_t n)
{
    uint64_t step = 0;
    if (n <= STEP_AT || event[STEP_AT] != (2 << 3))
        return 0;
    for (size_t i = STEP_AT + 1, shift = 0; i < n && shift < 63; i++, shift += 7) {
        step |= (uint64_t)(event[i] & 0x7f) << shift;
        if (!(event[i] & 0x80))
            break;
    }
    return (int64_t)step;
}

/* Where the records up to last_step end. */
static lk_status find_end(lk_tbevents *e, int64_t last_step, off_t *end)
{
    lk_status st = LK_OK;
    unsigned char head[HEAD];
    *end = 0;
    while (pread(e->fd, head, HEAD, *end) == HEAD) {
        uint64_t length;
        uint32_t sum;
        memcpy(&length, head, sizeof length);
        memcpy(&sum, head + sizeof length, sizeof sum);
        if (sum != masked(head, sizeof length) || length > MOST_BYTES)
            break;
        LK_TRY(LK_GROW(&e->record, &e->capacity, length + TAIL));
        if (pread(e->fd, e->record, (size_t)length + TAIL, *end + HEAD) != (ssize_t)length + TAIL)
            break;
        memcpy(&sum, e->record + length, sizeof sum);
        if (sum != masked(e->record, (size_t)length) ||
            read_step(e->record, (size_t)length) > last_step)
            break;
        *end += HEAD + (off_t)length + TAIL;
    }
done:
    return st;
}

lk_status lk_tbevents_open(lk_tbevents **out, const char *path, int64_t last_step)
{
    lk_status st = LK_OK;
    lk_tbevents *e = NULL;
    off_t end = 0;
    *out = NULL;
    LK_TRY(LK_NEW(&e));
    e->fd = -1;
    LK_TRY(lk_strdup(path, &e->path));
    e->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    LK_REQUIRE(e->fd >= 0, LK_E_IO, "cannot open '%s': %s", path, strerror(errno));
    LK_TRY(find_end(e, last_step, &end));
    LK_REQUIRE(ftruncate(e->fd, end) == 0, LK_E_IO, "cannot shorten '%s': %s", path,
               strerror(errno));
    if (end == 0) {
        LK_TRY(begin_event(e, 0));
        LK_TRY(put_text(e, 3, "brain.Event:2"));
        LK_TRY(end_event(e));
    }
    *out = e;
    e = NULL;
done:
    lk_tbevents_free(&e);
    return st;
}

void lk_tbevents_free(lk_tbevents **pe)
{
    lk_tbevents *e = *pe;
    if (!e)
        return;
    if (e->fd >= 0)
        close(e->fd);
    lk_free(e->path);
    lk_free(e->record);
    lk_free(e);
    *pe = NULL;
}
