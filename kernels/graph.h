/* graph.h - static computation graphs with reverse-mode differentiation.
 *
 * A model is a C function that records operations (ops.h) once per shape.  lk_backward records the
 * gradient's operations behind them, lk_graph_compile plans every tensor into one arena by
 * liveness, and lk_graph_run executes the plan as often as wanted without allocating.
 *
 *     lk_graph *g = NULL;
 *     LK_TRY(lk_graph_new(&g, &(lk_graph_config){.params = params, .train = 1}));
 *     lk_var x = lk_input(g, "x", LK_F32, LK_SHAPE(B, N, C));
 *     lk_var loss = model(g, x);
 *     lk_output(g, "loss", loss);
 *     lk_backward(g, loss);
 *     LK_TRY(lk_graph_compile(g));
 *     for (;;) {
 *         LK_TRY(lk_graph_write(g, x, LK_F32, batch));
 *         LK_TRY(lk_graph_run(g, step));
 *         LK_TRY(lk_graph_read(g, loss, LK_F32, &value));
 *     }
 *
 * Errors       while recording they stick to the graph: every later call gives LK_NONE and
 *              lk_graph_compile returns the first one, so model code needs no checks.
 * Several graphs may share one parameter store (a generator and its discriminator, a teacher and
 * its student); a graph only sees the gradients it recorded itself.
 * Determinism  results depend on the inputs, the seed and the step, never on the thread count.
 * Threads      one graph by one thread at a time; graphs that train the same parameters likewise.
 */
#ifndef LK_GRAPH_H
#define LK_GRAPH_H

#include "kernels/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lk_graph lk_graph;
typedef struct lk_params lk_params;
typedef struct lk_backend lk_backend;

/* A value of a graph; a name for it, not its storage. */
typedef struct lk_var {
    int32_t id;
} lk_var;
#define LK_NONE ((lk_var){-1})
static inline int lk_is_none(lk_var v)
{
    return v.id < 0;
}

/* The CPU at hand; the plain definitions in double; the same with every value rounded to the
 * element type it has in the graph. */
const lk_backend *lk_backend_cpu(void);
const lk_backend *lk_backend_reference(void);
const lk_backend *lk_backend_rounded(void);

typedef struct lk_graph_config {
    const lk_backend *backend; /* NULL: lk_backend_cpu() */
    lk_params *params;         /* borrowed; NULL when the graph has no parameters */
    lk_dtype compute;          /* LK_F32 (0) or LK_BF16: what lk_weight casts parameters to */
    uint64_t seed;             /* of RANDOM and DROPOUT */
    int train;                 /* 1: lk_backward will be called; 0: dropout is the identity and
                                  activations fuse into products */
    int accumulate;            /* 1: parameter gradients are added to the store's (zero them with
                                  lk_params_zero_grad); 0: they replace them */
    int recompute;             /* 1: what one elementwise pass makes is made again in the backward
                                  pass instead of being kept, where that lowers the most memory in
                                  use; results stay equal to the bit */
    int check_finite;          /* 1: every run stops with LK_E_NUMERIC at the first value with a NaN
                                  or Inf and names it; slow */
} lk_graph_config;

LK_CHECKED lk_status lk_graph_new(lk_graph **g, const lk_graph_config *config);
void lk_graph_free(lk_graph **g);

/* ---- leaves ---- */

/* A tensor written by the caller before each run; it keeps its place between runs. */
lk_var lk_input(lk_graph *g, const char *name, lk_dtype dtype, lk_shape shape);

/* Say, before it is used, that gradients of this leaf will be asked for. */
void lk_want_grad(lk_graph *g, lk_var v);

/* A tensor known now; the data are copied. */
lk_var lk_constant(lk_graph *g, lk_dtype dtype, lk_shape shape, const void *data);

/* How a parameter starts; the numbers depend on the store's seed and the parameter's name only. */
typedef enum lk_init { LK_INIT_ZERO, LK_INIT_VALUE, LK_INIT_NORMAL, LK_INIT_UNIFORM } lk_init;

/* A parameter of the store, f32, under the current scopes ("enc.0.weight"); created at its first
 * mention: all zero, all `scale`, normal with deviation `scale`, or uniform in +-scale.
 * Fails when the store holds that name in another shape. */
lk_var lk_param(lk_graph *g, const char *name, lk_shape shape, lk_init init, double scale);

/* The same in the graph's compute type, cast once per run however often it is asked for. */
lk_var lk_weight(lk_graph *g, const char *name, lk_shape shape, lk_init init, double scale);

/* Name scopes: lk_scope(g, "block%d", i) ... lk_scope_end(g). */
void lk_scope(lk_graph *g, const char *format, ...) LK_PRINTF(2, 3);
void lk_scope_end(lk_graph *g);

/* While frozen, mentioned parameters count as constants: no gradient is computed for them. */
void lk_freeze(lk_graph *g, int frozen);

/* ---- marks ---- */

/* Keep v readable after the run under this name. */
void lk_output(lk_graph *g, const char *name, lk_var v);

/* Note that recording failed with st, not LK_OK; the first failure stays. */
void lk_graph_fail(lk_graph *g, lk_status st);

/* Name a value for error messages. */
void lk_name(lk_graph *g, lk_var v, const char *name);

/* Operations recorded between begin and end are computed again during the backward pass instead of
 * being kept; only what enters the segment is kept.  Segments do not nest. */
void lk_checkpoint_begin(lk_graph *g);
void lk_checkpoint_end(lk_graph *g);

lk_dtype lk_graph_compute_dtype(const lk_graph *g); /* of the configuration */
lk_dtype lk_var_dtype(const lk_graph *g, lk_var v);
lk_shape lk_var_shape(const lk_graph *g, lk_var v); /* no dimension for LK_NONE */
int64_t lk_var_dim(const lk_graph *g, lk_var v,
                   int i); /* i < 0 counts from the end; 0 for LK_NONE */
lk_var lk_graph_find(const lk_graph *g, const char *name); /* input or output; LK_NONE if unknown */

/* ---- gradients ---- */

/* d root / d wanted[i] into grads[i] (LK_NONE when root does not depend on it); seed is the
 * gradient at root, LK_NONE for 1 (root must then be a single number). */
void lk_gradients(lk_graph *g, lk_var root, lk_var seed, int n_wanted, const lk_var *wanted,
                  lk_var *grads);

/* Gradients of a single number into the store, for every parameter mentioned and not frozen. */
void lk_backward(lk_graph *g, lk_var root);

/* ---- running ---- */

LK_CHECKED lk_status lk_graph_compile(lk_graph *g);

/* Copy in and out, converting from and to `dtype`; whole tensors. */
LK_CHECKED lk_status lk_graph_write(lk_graph *g, lk_var v, lk_dtype dtype, const void *data);
LK_CHECKED lk_status lk_graph_read(const lk_graph *g, lk_var v, lk_dtype dtype, void *data);

/* An input becomes what another input or an output of the same type and shape is, where it is. */
LK_CHECKED lk_status lk_graph_copy(lk_graph *g, lk_var to, lk_var from);

/* The bytes of an input or output on the CPU backend, to fill in place; NULL on other devices. */
void *lk_graph_data(const lk_graph *g, lk_var v);

/* Execute everything once.  `step` addresses the random numbers of this run. */
LK_CHECKED lk_status lk_graph_run(lk_graph *g, uint64_t step);

/* Switch check_finite of the configuration for the runs from here on. */
void lk_graph_check_finite(lk_graph *g, int check);

typedef struct lk_graph_stats {
    int n_nodes, n_values;
    int64_t arena_bytes;    /* activations, gradients and work space, as planned */
    int64_t liveness_bytes; /* the most that is alive at once: no plan can be smaller */
    int64_t pinned_bytes;   /* inputs, constants and outputs */
    double flops;           /* of one run, products and convolutions only */
} lk_graph_stats;
lk_graph_stats lk_graph_get_stats(const lk_graph *g);

/* One line a node on stream-like sink: operation, names, shapes, bytes. */
void lk_graph_print(const lk_graph *g, void (*line)(void *user, const char *text), void *user);

#ifdef __cplusplus
}
#endif

#endif /* LK_GRAPH_H */
