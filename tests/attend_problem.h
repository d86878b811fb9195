/* attend_problem.h - one attention with everything about it, solved by any backend; for the tests
 * of attention as a whole.
 *
 *   f32    largest error at most 1e-5 of the largest number (gradients of slopes 4e-5: they are
 *          sums over all pairs, which cancel)
 *   bf16   error at most 2 times (gradients 3 times) that of the definition with every result
 *          rounded to bf16, plus half a rounding step (gradients a whole one: they are sums
 *          of products of rounded numbers, which may cancel; those of slopes four)
 */
#ifndef LK_TESTS_ATTEND_PROBLEM_H
#define LK_TESTS_ATTEND_PROBLEM_H

#include "tests/check.h"

#include "kernels/attention.h"
#include "kernels/graph_impl.h"

#define ATTEND_MS   LK_FLICKS_PER_MS
#define ATTEND_TEXT 256

enum { ATTEND_OUT, ATTEND_LSE, ATTEND_DQ, ATTEND_DK, ATTEND_DV, ATTEND_DSLOPE, ATTEND_N_RESULTS };

/* Everything about one problem; the numbers follow from the seed. */
typedef struct attend_problem {
    int64_t n_batch, heads, kv_heads, n, m, d;
    lk_dtype dtype;
    lk_attend_rule rule;
    int has_plan, has_slope;
    uint64_t seed;
    lk_span *q, *k; /* [B, n], [B, m] */
    int32_t length[2][4];
    int64_t permute_at; /* keys permute_at and permute_at + 1 change places; -1: none do */
} attend_problem;

typedef struct attend_answer {
    double *x[ATTEND_N_RESULTS];
    int64_t n[ATTEND_N_RESULTS];
} attend_answer;

/* Tokens of 20 ms from 0 on, f32, no slopes. */
attend_problem attend_make(int64_t n_batch, int64_t heads, int64_t kv_heads, int64_t n, int64_t m,
                           int64_t d, lk_attend_rule rule);
/* One of any kind: up to 150 queries and 200 keys; `wide`: one for attention_hopper.cu, up to 300
 * queries and 520 keys. */
attend_problem attend_draw(uint64_t seed, int wide);
void attend_free_problem(attend_problem *p);

lk_attend_rule attend_window(int64_t before_ms, int64_t after_ms);
lk_attend_rule attend_causal(int64_t chunk_ms, int64_t before_ms);
void attend_spans(lk_span *s, int64_t n_batch, int64_t n, lk_flick step, lk_flick at);

/* Run forwards and backwards; attend_try gives the run's status, the other fails the test. */
lk_status attend_try(const attend_problem *p, const lk_backend *backend, attend_answer *a);
attend_answer attend_solve(const attend_problem *p, const lk_backend *backend);
void attend_free_answer(attend_answer *a);

/* Largest difference of result i; infinite unless NaNs are absent and infinities agree. */
double attend_difference(const attend_answer *a, const attend_answer *b, int i, double *largest);

/* Is a result outside the bars above?  Then text says which, by whom (`name`). */
int attend_wrong(const attend_problem *p, const attend_answer *ours, const attend_answer *exact,
                 const attend_answer *plain, const char *name, char text[ATTEND_TEXT]);

#endif /* LK_TESTS_ATTEND_PROBLEM_H */
