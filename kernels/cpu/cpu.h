/* cpu.h - how a kernel presents itself to the CPU backend.
 *
 * Most kernels are loops over independent units (rows, runs of elements): they say how many units
 * there are and work on a range of them, and the backend shares the ranges out.  Units must not
 * depend on each other within a phase, so that no result depends on the number of threads; sums
 * over units go through fixed partial sums in the work space and a second phase.
 *
 * VEC kernels (ops.def) live in files vec_*.c that are compiled once per instruction set, with
 * LK_VEC(name) giving each copy its own name; such files hold plain loops the compiler vectorises
 * and include vec.h for functions that do.  ONE kernels are compiled once.
 */
#ifndef LK_CPU_H
#define LK_CPU_H

#include "kernels/graph_impl.h"

typedef struct lk_cpu_phase {
    int64_t (*units)(const lk_call *c);
    void (*range)(const lk_call *c, int64_t first, int64_t end);
} lk_cpu_phase;

typedef struct lk_cpu_kernel {
    /* Bytes of work space and, in c->state, whatever makes `whole` quick.  NULL: nothing. */
    lk_status (*prepare)(lk_call *c, size_t *work_bytes);
    void (*release)(lk_call *c);          /* of c->state, which may be NULL */
    lk_status (*whole)(const lk_call *c); /* does its own sharing out; NULL: the phases */
    lk_cpu_phase phase[3];
    /* Equal sections of the units that go through all phases one after the other, so that a phase
     * finds in cache what the one before it read.  NULL: one section. */
    int64_t (*sections)(const lk_call *c);
} lk_cpu_kernel;

/* Instruction sets, weakest first. */
typedef enum lk_cpu_level {
    LK_CPU_BASE,
    LK_CPU_AVX2,
    LK_CPU_AVX512,
    LK_CPU_AVX512_BF16, /* with products of bf16 */
    LK_N_CPU_LEVELS
} lk_cpu_level;

/* The strongest level this machine runs, or LK_CPU_LEVEL (base, avx2, avx512, avx512bf16) from the
 * environment if that is weaker. */
lk_cpu_level lk_cpu_level_best(void);
/* Force a level (tests); fails when the machine lacks it. */
LK_CHECKED lk_status lk_cpu_level_set(lk_cpu_level level);
lk_cpu_level lk_cpu_level_now(void);
const char *lk_cpu_level_name(lk_cpu_level level);

/* The kernel of an operation at the level in use. */
const lk_cpu_kernel *lk_cpu_find(lk_op op);

/* Does oneDNN do convolutions? */
int lk_cpu_has_onednn(void);
/* Graphs compiled from here on use it, or our own kernels alone (tests). */
void lk_cpu_use_onednn(int use);

#endif /* LK_CPU_H */
