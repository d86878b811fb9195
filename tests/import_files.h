/* import_files.h - weight files put together byte by byte, right ones and wrong ones. */
#ifndef LK_TESTS_IMPORT_FILES_H
#define LK_TESTS_IMPORT_FILES_H

#include <stddef.h>
#include <stdint.h>

typedef struct bytes {
    uint8_t *at;
    size_t n, room;
} bytes;

void put(bytes *b, const void *data, size_t n);
void put_text(bytes *b, const char *text);
void put_le(bytes *b, uint64_t value, int n);
void drop(bytes *b);

/* A .npy of version 1 to 3 with this dictionary and these numbers. */
void put_npy(bytes *b, int version, const char *header, const void *numbers, size_t n);

/* What a zip archive's writer may do. */
typedef struct zip_member {
    const char *name;
    const void *data;
    size_t n;
    int deflated;           /* as one stored block of the deflate format */
    const char *inner_name; /* in the header before the data, when another */
    int64_t size_lie;       /* added to the size in the directory */
    int encrypted, method;  /* method 0: as `deflated` says */
    int no_sum;             /* a check sum of 0 */
    int wrong_sum;
    int zip64;
    int same_place; /* points at the first member's header */
} zip_member;

void put_zip(bytes *b, const zip_member *m, int n, int end64);

/* A PyTorch archive: data.pkl and the storages "0", "1", ... */
typedef struct storage {
    const void *data;
    size_t n;
} storage;
void put_torch_zip(bytes *b, const void *pickle, size_t n_pickle, const storage *s, int n,
                   const char *byteorder);

/* The stream before 1.6: keys "0", "1", ...; n_numbers[i] is storage i's count of numbers. */
void put_torch_stream(bytes *b, const void *pickle, size_t n_pickle, const storage *s,
                      const uint64_t *n_numbers, int n, int little);

/* Parts of pickles. */
void put_str(bytes *b, const char *text); /* BINUNICODE */
/* A tensor of storage `key`: class e.g. "FloatStorage", then offset, sizes, strides. */
void put_tensor(bytes *b, const char *class, const char *key, int64_t numel, int64_t offset,
                int n_dims, const int64_t *size, const int64_t *stride);

/* The i-th of a few right files of every kind; false when there are no more.  Their check sums are
 * left out, so that what is changed inside is also read. */
int make_sample(int i, bytes *b, const char **name);

#endif /* LK_TESTS_IMPORT_FILES_H */
