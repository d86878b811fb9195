/* thread.h - one parallel loop for all CPU kernels.
 *
 * The pool is OpenMP's where the compiler has it, so that it is the same one oneDNN uses; otherwise
 * threads started for the loop.  Who does which part never changes a result: parts write apart.
 */
#ifndef LK_THREAD_H
#define LK_THREAD_H

#include <stdint.h>

/* fn(context, first, end) over [0, n), in parts of at least `grain` (>= 1) units; returns when all
 * is done.  Calls from within fn run on the caller's thread.
 * Threads      one caller at a time. */
void lk_parallel_for(int64_t n, int64_t grain,
                     void (*fn)(void *context, int64_t first, int64_t end), void *context);

/* Threads used from here on; at least 1.  Starts as the number of CPUs this process may use, or
 * LK_THREADS from the environment. */
void lk_threads_set(int n);
int lk_threads(void);

#endif /* LK_THREAD_H */
