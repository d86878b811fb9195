/* params.h - the store of trained numbers: names, values, gradients, moments, averages.
 *
 * Values are f32 (the master copy under bf16 training).  Gradients and optimiser state exist only
 * once a training graph or the optimiser asked for them.  All of one kind lie in slabs, so that an
 * optimiser or an all-reduce walks long runs of numbers.
 *
 * Ownership    the store owns everything; it must outlive the graphs that mention it.
 * Threads      one thread at a time.
 */
#ifndef LK_PARAMS_H
#define LK_PARAMS_H

#include "kernels/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lk_backend lk_backend;
typedef struct lk_params lk_params;

/* What is kept per parameter, each [shape] f32. */
typedef enum lk_slot { LK_VALUE, LK_GRAD, LK_MOMENT1, LK_MOMENT2, LK_AVERAGE, LK_N_SLOTS } lk_slot;

/* backend NULL: the CPU's.  `seed` decides all initial values. */
LK_CHECKED lk_status lk_params_new(lk_params **p, const lk_backend *backend, uint64_t seed);
void lk_params_free(lk_params **p);

int lk_params_n(const lk_params *p);
int64_t lk_params_n_numbers(const lk_params *p);
int lk_params_find(const lk_params *p, const char *name); /* -1 when unknown */
const char *lk_params_name(const lk_params *p, int i);
lk_shape lk_params_shape(const lk_params *p, int i);

/* The bytes of a slot on the store's device; NULL when the slot does not exist.  The address is
 * constant from the first call of lk_params_need on. */
float *lk_params_data(const lk_params *p, int i, lk_slot slot);

/* Make a slot exist for all parameters there are: gradients, moments zero; averages equal to the
 * values. */
LK_CHECKED lk_status lk_params_need(lk_params *p, lk_slot slot);

/* Slabs: consecutive numbers of several parameters; slab k holds `*n` numbers from the result on,
 * NULL when the slot does not exist there.  Numbers between parameters are 0. */
int lk_params_n_slabs(const lk_params *p);
float *lk_params_slab(const lk_params *p, int k, lk_slot slot, int64_t *n);
int lk_params_slab_of(const lk_params *p, int i); /* where parameter i lies */

/* Whose work slab k is among n processes that share the optimiser's state: neighbouring slabs, as
 * equal in size as slabs allow. */
int lk_params_owner(const lk_params *p, int k, int n_processes);

/* lk_params_need for one slab alone, and its opposite (not for LK_VALUE). */
LK_CHECKED lk_status lk_params_need_slab(lk_params *p, int k, lk_slot slot);
void lk_params_drop_slab(lk_params *p, int k, lk_slot slot);

/* The backend the numbers live on, and whether the CPU can use their addresses. */
const lk_backend *lk_params_backend(const lk_params *p);
int lk_params_on_host(const lk_params *p);

LK_CHECKED lk_status lk_params_zero_grad(lk_params *p);

/* Whole tensors between host and store. */
LK_CHECKED lk_status lk_params_write(lk_params *p, int i, lk_slot slot, lk_dtype dtype,
                                     const void *data);
LK_CHECKED lk_status lk_params_read(const lk_params *p, int i, lk_slot slot, lk_dtype dtype,
                                    void *data);

/* Add a parameter; init and scale as in graph.h's lk_init.  Fails when the name exists in another
 * shape; *index is the old one when it exists in the same. */
LK_CHECKED lk_status lk_params_add(lk_params *p, const char *name, lk_shape shape, int init,
                                   double scale, int *index);

#ifdef __cplusplus
}
#endif

#endif /* LK_PARAMS_H */
