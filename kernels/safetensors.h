/* safetensors.h - named tensors and texts in one file, as other programs read and write them.
 *
 * The file: the header's length (8 bytes, little-endian), the header (JSON: every tensor's element
 * type, shape and byte range, and under "__metadata__" texts by key), the numbers (little-endian,
 * without gaps).  Tensors are written by element size, largest first, then by name, and the numbers
 * start at a multiple of 64 bytes, so that equal contents give equal bytes and every tensor is
 * aligned to its elements.
 *
 * Files written here carry the text "xxh64": the checksums (hash.h) of the header and of every
 * tensor, so that no damage goes unseen; files without it are read too.
 *
 * Errors       any bytes may be opened.  LK_E_FORMAT names what is wrong with them, and where.
 * Threads      one open file by one thread at a time.
 * Source       the format as published by Hugging Face, safetensors 0.4.
 */
#ifndef LK_SAFETENSORS_H
#define LK_SAFETENSORS_H

#include "kernels/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lk_safetensor {
    const char *name; /* UTF-8, not empty, not "__metadata__" */
    lk_dtype dtype;
    lk_shape shape;
    const void *data; /* writing: the numbers, or NULL to have them fetched; reading: NULL */
} lk_safetensor;

typedef struct lk_safetensors_text {
    const char *key, *value; /* UTF-8; the key is not "xxh64" */
} lk_safetensors_text;

/* Put the numbers of tensor i of the list into `data`, which is large enough. */
typedef lk_status (*lk_safetensors_fetch)(void *user, int i, void *data);

/* Write a whole file, atomically (file.h).  fetch may be NULL when every tensor has data. */
LK_CHECKED lk_status lk_safetensors_write(const char *path, int n, const lk_safetensor *tensors,
                                          int n_texts, const lk_safetensors_text *texts,
                                          lk_safetensors_fetch fetch, void *user);

typedef struct lk_safetensors lk_safetensors;

/* Open and check everything but the numbers. */
LK_CHECKED lk_status lk_safetensors_open(lk_safetensors **f, const char *path);
void lk_safetensors_free(lk_safetensors **f);

/* Tensors in the order of their bytes. */
int lk_safetensors_n(const lk_safetensors *f);
const lk_safetensor *lk_safetensors_at(const lk_safetensors *f, int i);
int lk_safetensors_find(const lk_safetensors *f, const char *name); /* -1 when unknown */

/* The text under a key; NULL when there is none. */
const char *lk_safetensors_get(const lk_safetensors *f, const char *key);

/* All texts but the checksums, in the file's order: at most n of them into `texts`, which may be
 * NULL for n = 0; the answer is how many there are. */
int lk_safetensors_texts(const lk_safetensors *f, int n, lk_safetensors_text *texts);

/* Does the file carry checksums? */
int lk_safetensors_has_checksums(const lk_safetensors *f);

/* The numbers of tensor i, converted; compared with their checksum if there is one. */
LK_CHECKED lk_status lk_safetensors_read(lk_safetensors *f, int i, lk_dtype dtype, void *data);

/* Compare all numbers with their checksums; LK_E_FORMAT names the first damaged tensor. */
LK_CHECKED lk_status lk_safetensors_verify(lk_safetensors *f);

#ifdef __cplusplus
}
#endif

#endif /* LK_SAFETENSORS_H */
