/* import_files.c - see import_files.h. */
#include "tests/import_files.h"

#include <stdlib.h>
#include <string.h>

/* Bytes that may be zero. */
#define put_literal(b, text) put(b, text, sizeof(text) - 1)

void put(bytes *b, const void *data, size_t n)
{
    if (b->n + n > b->room) {
        b->room = 2 * (b->n + n);
        b->at = realloc(b->at, b->room);
        if (!b->at)
            abort();
    }
    if (n > 0)
        memcpy(b->at + b->n, data, n);
    b->n += n;
}

void put_text(bytes *b, const char *text)
{
    put(b, text, strlen(text));
}

void put_le(bytes *b, uint64_t value, int n)
{
    for (int i = 0; i < n; i++) {
        const uint8_t byte = (uint8_t)(i < 8 ? value >> (8 * i) : 0);
        put(b, &byte, 1);
    }
}

void drop(bytes *b)
{
    free(b->at);
    *b = (bytes){0};
}

void put_npy(bytes *b, int version, const char *header, const void *numbers, size_t n)
{
    put_literal(b, "\x93NUMPY");
    put_le(b, (uint64_t)version, 2);
    put_le(b, strlen(header), version == 1 ? 2 : 4);
    put_text(b, header);
    put(b, numbers, n);
}

static uint32_t sum_of(const uint8_t *p, size_t n)
{
    uint32_t c = ~0u;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
    }
    return ~c;
}

void put_zip(bytes *b, const zip_member *m, int n, int end64)
{
    size_t place[16], packed[16], start;
    for (int i = 0; i < n; i++) {
        const char *inner = m[i].inner_name ? m[i].inner_name : m[i].name;
        packed[i] = m[i].n + (m[i].deflated ? 5 : 0);
        place[i] = m[i].same_place ? place[0] : b->n;
        if (m[i].same_place)
            continue;
        put_literal(b, "PK\3\4");
        put_le(b, 0, 22); /* the directory tells */
        put_le(b, strlen(inner), 2);
        put_le(b, 0, 2);
        put_text(b, inner);
        if (m[i].deflated) { /* last block, stored */
            put_le(b, 1, 1);
            put_le(b, m[i].n, 2);
            put_le(b, ~m[i].n, 2);
        }
        put(b, m[i].data, m[i].n);
    }
    start = b->n;
    for (int i = 0; i < n; i++) {
        const uint64_t size = m[i].n + (uint64_t)m[i].size_lie;
        put_literal(b, "PK\1\2");
        put_le(b, 0, 4);
        put_le(b, m[i].encrypted ? 1 : 0, 2);
        put_le(b, m[i].method ? (uint64_t)m[i].method : m[i].deflated ? 8 : 0, 2);
        put_le(b, 0, 4);
        put_le(b, m[i].no_sum ? 0 : sum_of(m[i].data, m[i].n) ^ (m[i].wrong_sum ? 1u : 0), 4);
        put_le(b, m[i].zip64 ? UINT32_MAX : packed[i], 4);
        put_le(b, m[i].zip64 ? UINT32_MAX : size, 4);
        put_le(b, strlen(m[i].name), 2);
        put_le(b, m[i].zip64 ? 28 : 0, 2);
        put_le(b, 0, 10);
        put_le(b, m[i].zip64 ? UINT32_MAX : place[i], 4);
        put_text(b, m[i].name);
        if (m[i].zip64) {
            put_le(b, 1, 2);
            put_le(b, 24, 2);
            put_le(b, size, 8);
            put_le(b, packed[i], 8);
            put_le(b, place[i], 8);
        }
    }
    const size_t end = b->n;
    if (end64) {
        put_literal(b, "PK\6\6");
        put_le(b, 44, 8);
        put_le(b, 0, 12);
        put_le(b, (uint64_t)n, 8);
        put_le(b, (uint64_t)n, 8);
        put_le(b, end - start, 8);
        put_le(b, start, 8);
        put_literal(b, "PK\6\7");
        put_le(b, 0, 4);
        put_le(b, end, 8);
        put_le(b, 1, 4);
    }
    put_literal(b, "PK\5\6");
    put_le(b, 0, 4);
    put_le(b, end64 ? UINT16_MAX : (uint64_t)n, 2);
    put_le(b, end64 ? UINT16_MAX : (uint64_t)n, 2);
    put_le(b, end64 ? UINT32_MAX : end - start, 4);
    put_le(b, end64 ? UINT32_MAX : start, 4);
    put_le(b, 0, 2);
}

void put_torch_zip(bytes *b, const void *pickle, size_t n_pickle, const storage *s, int n,
                   const char *byteorder)
{
    static const char *const names[] = {"x/data/0", "x/data/1", "x/data/2"};
    zip_member m[8] = {{.name = "x/data.pkl", .data = pickle, .n = n_pickle, .no_sum = 1}};
    int k = 1;
    for (int i = 0; i < n; i++)
        m[k++] = (zip_member){.name = names[i], .data = s[i].data, .n = s[i].n, .no_sum = 1};
    m[k++] = (zip_member){.name = "x/version", .data = "3\n", .n = 2};
    if (byteorder)
        m[k++] = (zip_member){.name = "x/byteorder", .data = byteorder, .n = strlen(byteorder)};
    put_zip(b, m, k, 0);
}

void put_torch_stream(bytes *b, const void *pickle, size_t n_pickle, const storage *s,
                      const uint64_t *n_numbers, int n, int little)
{
    put_literal(b, "\x80\2\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19.");
    put_literal(b, "\x80\2M\xe9\3.");
    put_literal(b, "\x80\2}");
    put_str(b, "little_endian");
    put(b, little ? "\x88s." : "\x89s.", 3);
    put(b, pickle, n_pickle);
    put_literal(b, "\x80\2](");
    for (int i = 0; i < n; i++)
        put_str(b, (char[]){(char)('0' + i), 0});
    put_literal(b, "e.");
    for (int i = 0; i < n; i++) {
        put_le(b, n_numbers[i], 8);
        put(b, s[i].data, s[i].n);
    }
}

void put_str(bytes *b, const char *text)
{
    put_text(b, "X");
    put_le(b, strlen(text), 4);
    put_text(b, text);
}

static void put_int(bytes *b, int64_t value)
{
    put_literal(b, "\x8a\x08");
    put_le(b, (uint64_t)value, 8);
}

static void put_ints(bytes *b, int n, const int64_t *value)
{
    put_text(b, "(");
    for (int i = 0; i < n; i++)
        put_int(b, value[i]);
    put_text(b, "t");
}

void put_tensor(bytes *b, const char *class, const char *key, int64_t numel, int64_t offset,
                int n_dims, const int64_t *size, const int64_t *stride)
{
    put_text(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_str(b, "storage");
    put_text(b, "ctorch\n");
    put_text(b, class);
    put_text(b, "\n");
    put_str(b, key);
    put_str(b, "cpu");
    put_int(b, numel);
    put_text(b, "tQ");
    put_int(b, offset);
    put_ints(b, n_dims, size);
    put_ints(b, n_dims, stride);
    put_text(b, "\x89"
                "ccollections\nOrderedDict\n)RtR");
}

static const float numbers[6] = {1, -2, 3.5f, 4, 0, 6};

/* {"state_dict": {"w": 2x3, "t": the same transposed}, "epoch": 3, "list": [3 of the same]} */
static void put_sample_pickle(bytes *b, const char *class)
{
    put_literal(b, "\x80\2}q\0(");
    put_str(b, "state_dict");
    put_literal(b, "ccollections\nOrderedDict\n)Rq\1(");
    put_str(b, "w");
    put_tensor(b, class, "0", 6, 0, 2, (int64_t[]){2, 3}, (int64_t[]){3, 1});
    put_str(b, "t");
    put_tensor(b, class, "0", 6, 0, 2, (int64_t[]){3, 2}, (int64_t[]){1, 3});
    put_text(b, "u}");
    put_str(b, "_metadata");
    put_literal(b, "h\1sb");
    put_str(b, "epoch");
    put_literal(b, "K\3");
    put_str(b, "list");
    put_text(b, "](");
    put_tensor(b, class, "1", 6, 3, 1, (int64_t[]){3}, (int64_t[]){1});
    put_text(b, "eu.");
}

static void put_sample_torch(bytes *b, int stream)
{
    bytes p = {0};
    const storage s[2] = {{numbers, sizeof numbers}, {numbers, sizeof numbers}};
    put_sample_pickle(&p, "FloatStorage");
    if (stream)
        put_torch_stream(b, p.at, p.n, s, (const uint64_t[]){6, 6}, 2, 1);
    else
        put_torch_zip(b, p.at, p.n, s, 2, "little");
    drop(&p);
}

static void put_sample_npz(bytes *b, int zip64)
{
    bytes a = {0}, c = {0};
    put_npy(&a, 1, "{'descr': '>f4', 'fortran_order': True, 'shape': (2, 3), }\n", numbers, 24);
    put_npy(&c, 2, "{'descr': '|u1', 'fortran_order': False, 'shape': (24,), }\n", numbers, 24);
    const zip_member m[] = {
        {.name = "a.npy", .data = a.at, .n = a.n, .no_sum = 1, .zip64 = zip64},
        {.name = "dir/c.npy", .data = c.at, .n = c.n, .no_sum = 1, .deflated = 1},
        {.name = "note.txt", .data = "hello", .n = 5}};
    put_zip(b, m, 3, zip64);
    drop(&a);
    drop(&c);
}

int make_sample(int i, bytes *b, const char **name)
{
    static const char *const names[] = {"a.npy", "b.npz", "c.npz", "d.pt", "e.pth"};
    if (i >= (int)(sizeof names / sizeof names[0]))
        return 0;
    *name = names[i];
    switch (i) {
    case 0:
        put_npy(b, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }    \n", numbers,
                24);
        break;
    case 1:
    case 2:
        put_sample_npz(b, i == 2);
        break;
    default:
        put_sample_torch(b, i == 4);
    }
    return 1;
}
