/* weights_impl.h - what the readers behind weights.h share. */
#ifndef LK_WEIGHTS_IMPL_H
#define LK_WEIGHTS_IMPL_H

#include "av/import/weights.h"

/* Kinds of numbers in files: name, bytes, what they become, and what NumPy and PyTorch call them.
 */
typedef struct lk_raw_type {
    const char *name;
    size_t bytes;
    lk_dtype becomes;
    const char *numpy, *torch_storage, *torch_dtype; /* NULL: they have none */
} lk_raw_type;

extern const lk_raw_type lk_raw_types[];
extern const int lk_n_raw_types;

/* Where an array lies: element (i, j, ...) is number offset + i stride[0] + j stride[1] + ... of
 * the `count` numbers from `bytes` on. */
typedef struct lk_placed {
    int raw;
    bool swapped;
    const uint8_t *bytes;
    uint64_t count;
    int64_t offset;
    lk_shape shape;
    int64_t stride[LK_MAX_DIMS];
} lk_placed;

/* The strides of a dense array, last dimension fastest (or first, for Fortran). */
void lk_dense_strides(const lk_shape *shape, bool fortran, int64_t *stride);

/* Add an entry; checks the name, and that every element lies inside.  `name` is copied. */
LK_CHECKED lk_status lk_weights_add(lk_weights *w, const char *name, const lk_placed *placed);

/* Note an entry that holds no numbers. */
LK_CHECKED lk_status lk_weights_skip(lk_weights *w, const char *name, const char *what);

/* Hand over memory that entries point into.  Taken also on failure. */
LK_CHECKED lk_status lk_weights_keep(lk_weights *w, void *memory);

/* The readers.  `bytes` outlive w's entries. */
LK_CHECKED lk_status lk_weights_npy(lk_weights *w, const uint8_t *bytes, size_t n,
                                    const char *name);
struct lk_zip;
LK_CHECKED lk_status lk_weights_npz(lk_weights *w, const struct lk_zip *zip);
LK_CHECKED lk_status lk_weights_torch_zip(lk_weights *w, const struct lk_zip *zip,
                                          const char *pickle_name, const char *name);
LK_CHECKED lk_status lk_weights_torch_stream(lk_weights *w, const uint8_t *bytes, size_t n,
                                             const char *name);

#endif /* LK_WEIGHTS_IMPL_H */
