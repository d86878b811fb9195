/* op_cases.h - one or more shapes for every operation; see test_ops.c.
 *
 * A case declares its inputs with case_input (uniform in a range) and returns one result; all of
 * its results and input gradients are compared between backends. */
#ifndef LK_TESTS_OP_CASES_H
#define LK_TESTS_OP_CASES_H

#include "kernels/graph_impl.h"

/* Being built: a graph, and the inputs so far. */
typedef struct op_case_build {
    lk_graph *g;
    lk_dtype dtype; /* of the case's float inputs: f32 or bf16 */
    int n_inputs;
    lk_var input[8];
    double lo[8], hi[8];
    int is_index[8]; /* i32 in [lo, hi) */
} op_case_build;

/* A float input that a gradient is wanted for; numbers in [lo, hi). */
lk_var case_input(op_case_build *b, lk_shape shape, double lo, double hi);
/* The same, always f32. */
lk_var case_input_f32(op_case_build *b, lk_shape shape, double lo, double hi);
/* Whole numbers 0 .. n - 1. */
lk_var case_index(op_case_build *b, lk_shape shape, int64_t n);

typedef struct op_case {
    lk_op op;         /* the operation this is a case of */
    const char *name; /* what is special about it */
    lk_var (*build)(op_case_build *b);
} op_case;

extern const op_case op_cases[];
extern const int n_op_cases;

#endif /* LK_TESTS_OP_CASES_H */
