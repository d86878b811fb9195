/* reference.c - the plain definitions as a backend: double precision, one thread, no care for
 * speed.  What every other backend is tested against.  The `rounded` one rounds each result to the
 * element type it has in the graph, which is what a plain evaluation in that type would give. */
#include "kernels/graph_impl.h"
#include "kernels/optim_impl.h"

#include "kernels/mem.h"

#include <math.h>
#include <stdio.h>

static lk_status ref_alloc(size_t bytes, void **out)
{
    return lk_alloc_(bytes, 1, out);
}

static lk_status ref_copy(void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
    return LK_OK;
}

static lk_status ref_zero(void *to, size_t bytes)
{
    memset(to, 0, bytes);
    return LK_OK;
}

static lk_status ref_prepare(lk_call *c, size_t *work_bytes)
{
    (void)c;
    *work_bytes = 0;
    return LK_OK;
}

static void ref_release(lk_call *c)
{
    (void)c;
}

static void round_to(lk_dtype dtype, double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (dtype == LK_F32)
            x[i] = (double)(float)x[i];
        else if (dtype == LK_BF16)
            x[i] = (double)lk_bf16_to_f32(lk_bf16_from_f32((float)x[i]));
    }
}

static lk_status run(lk_call *calls, int n_calls, int check, int rounded)
{
    lk_status st = LK_OK;
    for (int k = 0; k < n_calls; k++) {
        const lk_call *c = &calls[k];
        const lk_op_def *def = lk_op_get(c->node->op);
        def->define(c);
        for (int i = 0; i < c->node->n_out; i++) {
            if (c->node->out[i] < 0 || c->out[i].dtype != LK_F64)
                continue;
            if (rounded)
                round_to(c->graph->values[c->node->out[i]].dtype, c->out[i].data,
                         lk_tensor_count(&c->out[i]));
            if (lk_may_be_infinite(c->node, i))
                continue;
            for (int64_t j = 0; check && j < lk_tensor_count(&c->out[i]); j++) {
                char name[256];
                LK_REQUIRE(isfinite(((const double *)c->out[i].data)[j]), LK_E_NUMERIC,
                           "%s holds a NaN or Inf", lk_call_value_name(c, i, name, sizeof name));
            }
        }
    }
done:
    return st;
}

static lk_status run_plain(lk_call *calls, int n_calls, int check)
{
    return run(calls, n_calls, check, 0);
}

static lk_status run_rounded(lk_call *calls, int n_calls, int check)
{
    return run(calls, n_calls, check, 1);
}

static const lk_backend plain = {
    "reference", 1,        1,           ref_alloc,   lk_free,   ref_copy,      ref_copy,
    ref_zero,    ref_copy, ref_prepare, ref_release, run_plain, &lk_cpu_optim, NULL};
static const lk_backend rounded = {
    "rounded", 1,        1,           ref_alloc,   lk_free,     ref_copy,      ref_copy,
    ref_zero,  ref_copy, ref_prepare, ref_release, run_rounded, &lk_cpu_optim, NULL};

const lk_backend *lk_backend_reference(void)
{
    return &plain;
}

const lk_backend *lk_backend_rounded(void)
{
    return &rounded;
}
