/* pickle.h - the inert part of Python's pickles: what PyTorch's state dictionaries are made of.
 *
 * A pickle is a program for a stack machine.  Here it runs on plain data only: every global name it
 * asks for must be on a list (pickle_globals.c), "calling" one rearranges data, and nothing is ever
 * imported or executed.  Whatever is not on the list is refused by its name.
 *
 * All memory is bounded by a constant times the pickle's length.
 *
 * Ownership    lk_pickle owns the values; texts point into the caller's bytes.
 * Errors       LK_E_FORMAT (damage), LK_E_UNSUPPORTED (a global or an instruction not on the list).
 * Threads      pure.
 * Source       Python's pickletools module describes every instruction.
 */
#ifndef LK_PICKLE_H
#define LK_PICKLE_H

#include "kernels/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint32_t lk_ref; /* index of a value */

typedef enum lk_pickle_kind {
    LK_PICKLE_OTHER, /* understood, but of no use for weights; `what` says what it is */
    LK_PICKLE_INT,
    LK_PICKLE_TEXT,
    LK_PICKLE_TUPLE,
    LK_PICKLE_LIST,
    LK_PICKLE_DICT,
    LK_PICKLE_GLOBAL,
    LK_PICKLE_STORAGE,
    LK_PICKLE_TENSOR
} lk_pickle_kind;

typedef struct lk_pickle_text {
    const char *bytes; /* not zero-terminated */
    size_t n;
} lk_pickle_text;

typedef struct lk_pickle_value {
    lk_pickle_kind kind;
    union {
        const char *what;
        int64_t integer;
        lk_pickle_text text;
        struct {
            lk_ref *item; /* of a dictionary: key, value, key, value, ... */
            size_t n, room;
        } list;
        struct {
            int call, raw; /* an lk_call; a row of lk_raw_types or LK_RAW_UNTYPED */
        } global;
        struct {
            lk_pickle_text key;
            const uint8_t *data; /* for whoever finds the numbers */
            uint64_t count;      /* numbers, of LK_RAW_UNTYPED bytes */
            uint64_t skip;       /* numbers of the stored array before this part of it */
            uint64_t whole;      /* numbers of the stored array */
            int raw;
        } storage;
        struct {
            lk_ref storage, size, stride; /* tuples of integers */
            int64_t offset;
            int raw;
        } tensor;
    };
} lk_pickle_value;

#define LK_RAW_UNTYPED (-1)

typedef struct lk_pickle {
    lk_pickle_value *at;
    size_t n, room;
    lk_ref root;
} lk_pickle;

/* Run one pickle; *used is where it ends. */
LK_CHECKED lk_status lk_pickle_read(lk_pickle *p, const uint8_t *bytes, size_t n, size_t *used);
void lk_pickle_free(lk_pickle *p);

/* The value under a key of a dictionary, NULL when absent. */
const lk_pickle_value *lk_pickle_get(const lk_pickle *p, const lk_pickle_value *dict,
                                     const char *key);

bool lk_pickle_is_text(const lk_pickle_value *v, const char *text);

/* For the machine (pickle.c), its values (pickle_values.c) and its list of globals
 * (pickle_globals.c). */
LK_CHECKED lk_status lk_pickle_new(lk_pickle *p, lk_pickle_kind kind, lk_ref *ref);
LK_CHECKED lk_status lk_pickle_push_item(lk_pickle_value *list, lk_ref item);
LK_CHECKED lk_status lk_pickle_global(lk_pickle *p, lk_pickle_text module, lk_pickle_text name,
                                      lk_ref *out);
LK_CHECKED lk_status lk_pickle_call(lk_pickle *p, lk_ref function, lk_ref args, lk_ref *out);
LK_CHECKED lk_status lk_pickle_storage(lk_pickle *p, lk_ref id, lk_ref *out);

#endif /* LK_PICKLE_H */
