/* weights.h - trained numbers out of files that other programs wrote.
 *
 * Read, told apart by content and never by name:
 *     .npy .npz           NumPy: versions 1 to 3, either byte order, C and Fortran order
 *     .pt .pth .bin ...   PyTorch, the zip form and the stream before it: state dictionaries,
 * nested ones too, views, shared storages.  Nothing in them is executed .safetensors Names of
 * nested entries are joined by '.'; an array alone in a file is called as the file is. Integers
 * without an element type of ours are widened (8 and 16 bits to i32, unsigned 32 and 64 to i64);
 * everything else keeps its bits.  Entries that are not numbers stand in `skipped`.
 *
 * Ownership    lk_weights owns names, file and numbers.
 * Errors       LK_E_IO, LK_E_FORMAT (damage), LK_E_UNSUPPORTED (kinds of numbers, classes that are
 *              not on the list, sizes out of proportion to the file), LK_E_MEMORY.
 * Threads      one thread at a time.
 */
#ifndef LK_WEIGHTS_H
#define LK_WEIGHTS_H

#include "kernels/safetensors.h"

#include <stdbool.h>

typedef struct lk_weight {
    char *name; /* UTF-8 without control characters */
    lk_dtype dtype;
    lk_shape shape;
    /* For lk_weights_tensor: where and how the numbers lie. */
    int raw;
    bool swapped;
    const uint8_t *bytes;
    int64_t stride[LK_MAX_DIMS]; /* in elements, >= 0 */
    void *dense;
} lk_weight;

typedef struct lk_weights {
    const char *format; /* "npy", "npz", "PyTorch", "PyTorch before 1.6", "safetensors" */
    size_t n, n_skipped;
    lk_weight *at;  /* in the order of the file; of a .npz by name */
    char **skipped; /* "NAME: what it is" */
    /* Bookkeeping. */
    size_t room, room_skipped, n_kept, room_kept;
    void **kept;
    uint8_t *file;
    uint64_t total, limit;       /* bytes of all numbers together */
    lk_safetensors *safetensors; /* then entry i is its tensor i */
} lk_weights;

LK_CHECKED lk_status lk_weights_open(lk_weights *w, const char *path);

/* The same from memory, which is copied; `name` stands in messages and names a lone array.  Not
 * for .safetensors. */
LK_CHECKED lk_status lk_weights_parse(lk_weights *w, const void *bytes, size_t n, const char *name);

void lk_weights_close(lk_weights *w);

/* The numbers of entry i, dense and row-major.  They stay until lk_weights_drop or _close. */
LK_CHECKED lk_status lk_weights_tensor(lk_weights *w, size_t i, lk_tensor *tensor);

/* Free what lk_weights_tensor made for entry i; it may be asked for again. */
void lk_weights_drop(lk_weights *w, size_t i);

#endif /* LK_WEIGHTS_H */
