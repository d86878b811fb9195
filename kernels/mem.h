/* mem.h - checked allocation with a fault hook.
 *
 * All memory of the project comes from here, so that a test can make the n-th allocation fail and
 * see that every public operation answers with LK_E_MEMORY and leaks nothing.
 *
 * Threads      safe; the fault countdown is process-wide and meant for tests.
 */
#ifndef LK_MEM_H
#define LK_MEM_H

#include "kernels/status.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Zeroed memory for count elements of `bytes` each, aligned to 64 bytes; count 0 gives a valid
 * pointer.  *out is NULL on failure.  Use through LK_NEW / LK_NEW_ARRAY. */
LK_CHECKED lk_status lk_alloc_(size_t count, size_t bytes, void **out);

/* Grow *array to hold at least `need` elements, doubling; *capacity follows.  New elements are
 * zeroed.  *array stays valid on failure. */
LK_CHECKED lk_status lk_grow_(void **array, size_t *capacity, size_t need, size_t bytes);

/* A copy of text. */
LK_CHECKED lk_status lk_strdup(const char *text, char **out);

void lk_free(void *p); /* accepts NULL */

#define LK_NEW(ptr)              lk_alloc_(1, sizeof **(ptr), (void **)(ptr))
#define LK_NEW_ARRAY(ptr, count) lk_alloc_((size_t)(count), sizeof **(ptr), (void **)(ptr))
#define LK_GROW(array, capacity, need)                                                             \
    lk_grow_((void **)(array), (capacity), (size_t)(need), sizeof **(array))

/* Make the n-th allocation from now fail (1 = the next one); 0 switches the hook off. */
void lk_mem_fail_after(int64_t n);

/* True once the hook has fired since the last lk_mem_fail_after. */
int lk_mem_fault_fired(void);

/* Allocations asked for so far, by all threads. */
int64_t lk_mem_count(void);

#ifdef __cplusplus
}
#endif

#endif /* LK_MEM_H */
