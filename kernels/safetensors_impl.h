/* safetensors_impl.h - what safetensors.c and safetensors_header.c share. */
#ifndef LK_SAFETENSORS_IMPL_H
#define LK_SAFETENSORS_IMPL_H

#include "kernels/safetensors.h"

#include <stddef.h>

#define LK_SAFETENSORS_TEXTS     "__metadata__"
#define LK_SAFETENSORS_CHECKSUMS "xxh64"
/* "0123456789abcdef " for the header and for each tensor, without the last space. */
#define LK_SAFETENSORS_DIGITS 16
#define LK_SAFETENSORS_STEP   (LK_SAFETENSORS_DIGITS + 1)

typedef struct lk_safetensors_entry {
    lk_safetensor t;
    int64_t begin, end; /* bytes from data_at on */
} lk_safetensors_entry;

struct lk_safetensors {
    char *path;
    int fd;
    int64_t data_at, data_bytes;
    char *header; /* [n_header] as in the file */
    size_t n_header;
    char *pool; /* the decoded strings that entries and texts point to */
    size_t n_pool;
    lk_safetensors_entry *entries; /* by begin */
    size_t n, cap;
    int *by_name; /* [n] */
    lk_safetensors_text *texts;
    size_t n_texts, cap_texts;
    int has_texts;
    const char *checksums; /* in header; NULL: none */
};

/* Fill everything but path, fd, sizes and header from the header; f->header is complete. */
LK_CHECKED lk_status lk_safetensors_parse(lk_safetensors *f);

/* "F32", ... of an element type. */
const char *lk_safetensors_type_name(lk_dtype dtype);

#endif /* LK_SAFETENSORS_IMPL_H */
