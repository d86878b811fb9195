/* mem.c - see mem.h. */
#include "kernels/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ALIGNMENT 64

/* Large pieces ask for pages of 2 MiB: with those of 4 KiB long streams wait for the translation of
 * their addresses. */
#define HUGE_PAGE ((size_t)2 << 20)

static _Atomic int64_t fault_countdown;
static _Atomic int fault_fired;
static _Atomic int64_t n_allocations;

void lk_mem_fail_after(int64_t n)
{
    atomic_store(&fault_fired, 0);
    atomic_store(&fault_countdown, n);
}

int lk_mem_fault_fired(void)
{
    return atomic_load(&fault_fired);
}

int64_t lk_mem_count(void)
{
    return atomic_load(&n_allocations);
}

static int fault_due(void)
{
    if (atomic_load(&fault_countdown) <= 0)
        return 0;
    if (atomic_fetch_sub(&fault_countdown, 1) != 1)
        return 0;
    atomic_store(&fault_fired, 1);
    return 1;
}

lk_status lk_alloc_(size_t count, size_t bytes, void **out)
{
    size_t total = 0;
    *out = NULL;
    atomic_fetch_add(&n_allocations, 1);
    if (__builtin_mul_overflow(count, bytes, &total) || total > SIZE_MAX / 2)
        return LK_FAIL(LK_E_MEMORY, "%zu elements of %zu bytes do not fit in memory", count, bytes);
    const size_t alignment = total >= 4 * HUGE_PAGE ? HUGE_PAGE : ALIGNMENT;
    total = (total + alignment) / alignment * alignment;
    void *p = fault_due() ? NULL : aligned_alloc(alignment, total);
    if (!p)
        return LK_FAIL(LK_E_MEMORY, "out of memory asking for %zu bytes", total);
#ifdef MADV_HUGEPAGE
    if (alignment == HUGE_PAGE)
        (void)madvise(p, total, MADV_HUGEPAGE); /* a wish */
#endif
    memset(p, 0, total);
    *out = p;
    return LK_OK;
}

lk_status lk_grow_(void **array, size_t *capacity, size_t need, size_t bytes)
{
    lk_status st = LK_OK;
    void *bigger = NULL;
    if (need <= *capacity)
        return LK_OK;
    size_t target = *capacity < 16 ? 16 : *capacity;
    while (target < need) {
        LK_REQUIRE(target <= SIZE_MAX / 4, LK_E_MEMORY, "a list of %zu entries is too long", need);
        target *= 2;
    }
    LK_TRY(lk_alloc_(target, bytes, &bigger));
    if (*array)
        memcpy(bigger, *array, *capacity * bytes);
    lk_free(*array);
    *array = bigger;
    *capacity = target;
done:
    return st;
}

lk_status lk_strdup(const char *text, char **out)
{
    lk_status st = LK_OK;
    const size_t n = strlen(text) + 1;
    LK_TRY(LK_NEW_ARRAY(out, n));
    memcpy(*out, text, n);
done:
    return st;
}

void lk_free(void *p)
{
    free(p);
}
