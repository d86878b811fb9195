/* test_ops.c - every operation, at every case of op_cases.c:
 *
 *   gradients   directional finite differences in double on the reference backend, 1e-6 relative
 *   f32         the CPU at each instruction set against the reference: normalised error 1e-6
 *   bf16        at most twice the error of a plain evaluation in bf16, plus a floor of half a
 *               rounding step for results that a plain evaluation happens to hit
 *   threads     1 and 2 threads give equal bits
 *   CUDA        our own kernels in the emulator, and the backend where there is a GPU, by the
 *               rules of f32 and bf16 above
 *
 * The scalar differentiated is sum w y with fixed random w.  An operation without a case fails. */
#include "tests/check.h"

#include "kernels/cpu/cpu.h"
#include "kernels/cuda/cuda.h"
#ifdef LK_TEST_CUDA
#include "kernels/cuda/libraries.h"
#endif
#include "kernels/mem.h"
#include "kernels/rng.h"
#include "kernels/thread.h"
#include "tests/op_cases.h"

#define MAX_RESULTS 9

#if defined(__SANITIZE_THREAD__)
#define WITHOUT_FIBERS
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WITHOUT_FIBERS
#endif
#endif

static lk_var add_input(op_case_build *b, lk_dtype dtype, lk_shape shape, double lo, double hi)
{
    char name[16];
    const int i = b->n_inputs++;
    assert_true(i < 8);
    snprintf(name, sizeof name, "x%d", i);
    b->input[i] = lk_input(b->g, name, dtype, shape);
    b->lo[i] = lo;
    b->hi[i] = hi;
    b->is_index[i] = dtype == LK_I32;
    if (dtype != LK_I32)
        lk_want_grad(b->g, b->input[i]);
    return b->input[i];
}

lk_var case_input(op_case_build *b, lk_shape shape, double lo, double hi)
{
    return add_input(b, b->dtype, shape, lo, hi);
}

lk_var case_input_f32(op_case_build *b, lk_shape shape, double lo, double hi)
{
    return add_input(b, LK_F32, shape, lo, hi);
}

lk_var case_index(op_case_build *b, lk_shape shape, int64_t n)
{
    return add_input(b, LK_I32, shape, 0, (double)n);
}

/* A case's graph: result 0 is y, result 1 + i the gradient of input i (or none). */
typedef struct instance {
    op_case_build b;
    lk_var result[MAX_RESULTS];
    lk_var loss;
    int n_results;
} instance;

static void build(instance *t, const op_case *c, const lk_backend *backend, lk_dtype dtype)
{
    const lk_graph_config config = {.backend = backend, .seed = 5, .train = 1};
    lk_var y, w;
    double *weight;
    int64_t n;
    lk_shape shape;
    lk_var wanted[8];
    memset(t, 0, sizeof *t);
    CHECK_OK(lk_graph_new(&t->b.g, &config));
    t->b.dtype = dtype;
    y = c->build(&t->b);
    shape = lk_var_shape(t->b.g, y);
    n = lk_shape_count(&shape);
    t->result[0] = y;
    t->n_results = 1 + t->b.n_inputs;
    lk_output(t->b.g, "y", y);
    if (lk_var_dtype(t->b.g, y) != LK_I32) {
        CHECK_OK(LK_NEW_ARRAY(&weight, n));
        for (int64_t i = 0; i < n; i++)
            weight[i] = (double)(float)lk_rng_range(9, 1, (uint64_t)i, -1, 1);
        {
            float *w32;
            CHECK_OK(LK_NEW_ARRAY(&w32, n));
            lk_convert(LK_F32, w32, LK_F64, weight, n);
            w = lk_constant(t->b.g, LK_F32, shape, w32);
            lk_free(w32);
        }
        lk_free(weight);
        t->loss = lk_sum_all(t->b.g, lk_mul(t->b.g, w, y));
        lk_output(t->b.g, "loss", t->loss);
        for (int i = 0; i < t->b.n_inputs; i++)
            wanted[i] = t->b.is_index[i] ? LK_NONE : t->b.input[i];
        lk_gradients(t->b.g, t->loss, LK_NONE, t->b.n_inputs, wanted, t->result + 1);
        for (int i = 0; i < t->b.n_inputs; i++)
            lk_output(t->b.g, "dx", t->result[1 + i]);
    } else {
        t->loss = LK_NONE;
        for (int i = 0; i < t->b.n_inputs; i++)
            t->result[1 + i] = LK_NONE;
    }
    CHECK_OK(lk_graph_compile(t->b.g));
}

/* Fixed numbers for input i, rounded to the type the graph will hold them in. */
static void numbers(const op_case_build *b, int i, lk_dtype as, double *x)
{
    const lk_shape s = lk_var_shape(b->g, b->input[i]);
    const lk_dtype held = lk_var_dtype(b->g, b->input[i]);
    for (int64_t j = 0; j < lk_shape_count(&s); j++) {
        x[j] = lk_rng_range(3, (uint64_t)i, (uint64_t)j, b->lo[i], b->hi[i]);
        if (b->is_index[i])
            x[j] = floor(x[j]);
        else if (held == LK_BF16 || as == LK_BF16)
            x[j] = (double)lk_bf16_to_f32(lk_bf16_from_f32((float)x[j]));
        else
            x[j] = (double)(float)x[j];
    }
}

static double *alloc_like(const lk_graph *g, lk_var v)
{
    const lk_shape s = lk_var_shape(g, v);
    double *x;
    CHECK_OK(LK_NEW_ARRAY(&x, lk_shape_count(&s)));
    return x;
}

static void set_inputs(instance *t)
{
    for (int i = 0; i < t->b.n_inputs; i++) {
        double *x = alloc_like(t->b.g, t->b.input[i]);
        numbers(&t->b, i, t->b.dtype, x);
        CHECK_OK(lk_graph_write(t->b.g, t->b.input[i], LK_F64, x));
        lk_free(x);
    }
}

static double *result(const instance *t, int i, int64_t *n)
{
    const lk_shape s = lk_var_shape(t->b.g, t->result[i]);
    double *x;
    if (lk_is_none(t->result[i]))
        return NULL;
    x = alloc_like(t->b.g, t->result[i]);
    CHECK_OK(lk_graph_read(t->b.g, t->result[i], LK_F64, x));
    *n = lk_shape_count(&s);
    return x;
}

static double loss_of(instance *t)
{
    double loss;
    CHECK_OK(lk_graph_run(t->b.g, 1));
    CHECK_OK(lk_graph_read(t->b.g, t->loss, LK_F64, &loss));
    return loss;
}

/* (L(x + h d) - L(x - h d)) / 2h against d . dL/dx, for each input. */
static void check_gradients(const op_case *c)
{
    instance t;
    build(&t, c, lk_backend_reference(), LK_F32);
    if (lk_is_none(t.loss)) {
        lk_graph_free(&t.b.g);
        return;
    }
    for (int i = 0; i < t.b.n_inputs; i++) {
        const double h = 1e-5;
        double *x, *moved, *d, dot = 0, size = 0, plus, minus;
        int64_t n = 0;
        if (t.b.is_index[i])
            continue;
        set_inputs(&t);
        loss_of(&t);
        d = result(&t, 1 + i, &n);
        if (!d) {
            assert_null(lk_op_get(c->op)->gradient);
            continue;
        }
        x = alloc_like(t.b.g, t.b.input[i]);
        moved = alloc_like(t.b.g, t.b.input[i]);
        numbers(&t.b, i, LK_F32, x);
        for (int64_t j = 0; j < n; j++) {
            dot += d[j] * lk_rng_range(4, 2, (uint64_t)j, -1, 1);
            size += fabs(d[j]);
        }
        for (int64_t j = 0; j < n; j++)
            moved[j] = x[j] + h * lk_rng_range(4, 2, (uint64_t)j, -1, 1);
        CHECK_OK(lk_graph_write(t.b.g, t.b.input[i], LK_F64, moved));
        plus = loss_of(&t);
        for (int64_t j = 0; j < n; j++)
            moved[j] = x[j] - h * lk_rng_range(4, 2, (uint64_t)j, -1, 1);
        CHECK_OK(lk_graph_write(t.b.g, t.b.input[i], LK_F64, moved));
        minus = loss_of(&t);
        if (fabs((plus - minus) / (2 * h) - dot) > 1e-6 * size + 1e-9)
            fail_msg("%s %s: gradient of input %d is %.12g, differences say %.12g",
                     lk_op_get(c->op)->name, c->name, i, dot, (plus - minus) / (2 * h));
        lk_free(d);
        lk_free(x);
        lk_free(moved);
    }
    lk_graph_free(&t.b.g);
}

/* |a - b| / |b| in the Euclidean sense. */
static double distance(const double *a, const double *b, int64_t n)
{
    double d = 0, s = 0;
    for (int64_t i = 0; i < n; i++) {
        d += (a[i] - b[i]) * (a[i] - b[i]);
        s += b[i] * b[i];
    }
    return s > 0 ? sqrt(d / s) : sqrt(d);
}

static void check_backend(const op_case *c, const lk_backend *backend, const char *name,
                          lk_dtype dtype)
{
    instance exact, plain, ours;
    build(&exact, c, lk_backend_reference(), dtype);
    build(&plain, c, lk_backend_rounded(), dtype);
    build(&ours, c, backend, dtype);
    set_inputs(&exact);
    set_inputs(&plain);
    set_inputs(&ours);
    CHECK_OK(lk_graph_run(exact.b.g, 1));
    CHECK_OK(lk_graph_run(plain.b.g, 1));
    CHECK_OK(lk_graph_run(ours.b.g, 1));
    for (int i = 0; i < exact.n_results; i++) {
        int64_t n = 0;
        double *e = result(&exact, i, &n), *p = result(&plain, i, &n), *o = result(&ours, i, &n);
        if (e) {
            const double err = distance(o, e, n), plain_err = distance(p, e, n);
            const double bar = dtype == LK_F32 ? 2e-6 + 2 * plain_err : 2 * plain_err + 0x1p-9;
            if (!(err <= bar))
                CHECK_WRONG("%s %s (%s, %s) result %d: error %.3g, plain evaluation %.3g",
                            lk_op_get(c->op)->name, c->name, lk_dtype_name(dtype), name, i, err,
                            plain_err);
        }
        lk_free(e);
        lk_free(p);
        lk_free(o);
    }
    lk_graph_free(&exact.b.g);
    lk_graph_free(&plain.b.g);
    lk_graph_free(&ours.b.g);
}

/* Compiled and run with 1, 2 and 3 threads. */
static void check_threads(const op_case *c, lk_dtype dtype)
{
    double *one[MAX_RESULTS] = {0};
    int64_t n = 0;
    for (int threads = 1; threads <= 3; threads++) {
        instance t;
        lk_threads_set(threads);
        build(&t, c, lk_backend_cpu(), dtype);
        set_inputs(&t);
        CHECK_OK(lk_graph_run(t.b.g, 1));
        for (int i = 0; i < t.n_results; i++) {
            double *x = result(&t, i, &n);
            if (threads == 1) {
                one[i] = x;
                continue;
            }
            if (x && memcmp(x, one[i], (size_t)n * sizeof *x) != 0)
                fail_msg("%s %s (%s): result %d changes with %d threads", lk_op_get(c->op)->name,
                         c->name, lk_dtype_name(dtype), i, threads);
            lk_free(x);
        }
        lk_graph_free(&t.b.g);
    }
    for (int i = 0; i < MAX_RESULTS; i++)
        lk_free(one[i]);
}

/* Emulated threads and blocks forwards and backwards. */
static void check_order(const op_case *c, lk_dtype dtype)
{
    instance forwards, backwards;
    build(&forwards, c, lk_backend_emulated(), dtype);
    build(&backwards, c, lk_backend_emulated(), dtype);
    set_inputs(&forwards);
    set_inputs(&backwards);
    CHECK_OK(lk_graph_run(forwards.b.g, 1));
    lk_emu_reverse(1);
    CHECK_OK(lk_graph_run(backwards.b.g, 1));
    lk_emu_reverse(0);
    for (int i = 0; i < forwards.n_results; i++) {
        int64_t n = 0;
        double *f = result(&forwards, i, &n), *b = result(&backwards, i, &n);
        if (f && memcmp(f, b, (size_t)n * sizeof *f) != 0)
            fail_msg("%s %s (%s): result %d depends on the order of threads",
                     lk_op_get(c->op)->name, c->name, lk_dtype_name(dtype), i);
        lk_free(f);
        lk_free(b);
    }
    lk_graph_free(&forwards.b.g);
    lk_graph_free(&backwards.b.g);
}

static void test_every_operation_has_a_case(void **state)
{
    char seen[LK_N_OPS] = {0};
    (void)state;
    for (int i = 0; i < n_op_cases; i++) { /* also what its gradient records */
        instance t;
        build(&t, &op_cases[i], lk_backend_reference(), LK_F32);
        for (size_t k = 0; k < t.b.g->n_nodes; k++)
            seen[t.b.g->nodes[k].op] = 1;
        seen[op_cases[i].op] = 1;
        lk_graph_free(&t.b.g);
    }
    seen[LK_OP_PARAM_GRAD] = 1; /* test_graph.c */
    for (int op = 0; op < LK_N_OPS; op++)
        if (!seen[op])
            fail_msg("operation '%s' has no case in op_cases.c", lk_op_get((lk_op)op)->name);
}

static void test_gradients(void **state)
{
    (void)state;
    for (int i = 0; i < n_op_cases; i++)
        check_gradients(&op_cases[i]);
}

static void check_all(const lk_backend *backend, const char *name)
{
    for (int i = 0; i < n_op_cases; i++) {
        check_backend(&op_cases[i], backend, name, LK_F32);
        check_backend(&op_cases[i], backend, name, LK_BF16);
    }
    check_none_wrong();
}

static void check_levels(int first)
{
    for (int level = first; level < LK_N_CPU_LEVELS; level++) {
        if (lk_cpu_level_set((lk_cpu_level)level) != LK_OK) {
            lk_error_clear();
            print_message("%s: skipped, this machine lacks it\n",
                          lk_cpu_level_name((lk_cpu_level)level));
            continue;
        }
        check_all(lk_backend_cpu(), lk_cpu_level_name((lk_cpu_level)level));
    }
    CHECK_OK(lk_cpu_level_set(lk_cpu_level_best()));
}

static lk_var large_depthwise(op_case_build *b)
{
    const lk_conv_options o = {.pad_lo = {2}, .groups = 64};
    const lk_var x = case_input(b, LK_SHAPE(1, 33003, 64), -1, 1);
    return lk_conv(b->g, x, case_input(b, LK_SHAPE(64, 3, 1), -1, 1), LK_NONE, &o);
}

static lk_var large_few(op_case_build *b)
{
    const lk_conv_options o = {.pad_lo = {2}};
    const lk_var x = case_input(b, LK_SHAPE(1, 65600, 1), -1, 1);
    return lk_conv(b->g, x, case_input(b, LK_SHAPE(32, 3, 1), -1, 1), LK_NONE, &o);
}

static lk_var large_product(op_case_build *b)
{
    const lk_var x = case_input(b, LK_SHAPE(8200, 3), -1, 1);
    return lk_matmul(b->g, x, case_input(b, LK_SHAPE(1024, 3), -1, 1), 0, 1);
}

/* More than the caches hold: results may be written past them. */
static void test_large(void **state)
{
    const op_case cases[] = {{LK_OP_CONV, "large depthwise", large_depthwise},
                             {LK_OP_CONV, "large of few", large_few},
                             {LK_OP_MATMUL, "large product", large_product}};
    (void)state;
    for (int i = 0; i < 3; i++) {
        check_backend(&cases[i], lk_backend_cpu(), "cpu", LK_F32);
        check_threads(&cases[i], LK_F32);
    }
    check_none_wrong();
}

/* The convolutions of our own that builds without oneDNN use. */
static void test_levels(void **state)
{
    (void)state;
    check_levels(check_count(0, (int)lk_cpu_level_best()));
}

static void test_own_convolutions(void **state)
{
    (void)state;
    lk_cpu_use_onednn(0);
    check_levels(0);
    lk_cpu_use_onednn(1);
}

/* Our own CUDA kernels, in the emulator; threads and blocks in either order give equal bits. */
static void test_cuda_emulated(void **state)
{
    (void)state;
#ifdef WITHOUT_FIBERS
    print_message("skipped: the thread sanitizer does not follow fibers\n");
    return;
#endif
    for (int op = 0; op < LK_N_OPS; op++)
        if (!lk_backend_emulated_has((lk_op)op))
            fail_msg("%s has no CUDA kernel", lk_op_get((lk_op)op)->name);
    check_all(lk_backend_emulated(), "cuda emulated");
    for (int height = 32; height <= 64; height *= 2) {
        lk_emu_attend_height(height);
        for (int i = 0; i < n_op_cases; i++)
            if (op_cases[i].op == LK_OP_ATTENTION)
                check_backend(&op_cases[i], lk_backend_emulated(), "higher tiles", LK_BF16);
    }
    check_none_wrong();
    lk_emu_attend_height(0);
    for (int i = 0; i < check_count(n_op_cases, 0); i++) { /* sanitizers see nothing new in it */
        check_order(&op_cases[i], LK_F32);
        check_order(&op_cases[i], LK_BF16);
    }
}

/* The first run is launched call by call, the second captured, the third replayed. */
static void check_replay(const op_case *c, const lk_backend *backend, lk_dtype dtype)
{
    double *first[MAX_RESULTS] = {0};
    instance t;
    build(&t, c, backend, dtype);
    set_inputs(&t);
    for (int run = 0; run < 3; run++) {
        CHECK_OK(lk_graph_run(t.b.g, 1));
        for (int i = 0; i < t.n_results; i++) {
            int64_t n = 0;
            double *x = result(&t, i, &n);
            if (run == 0) {
                first[i] = x;
                continue;
            }
            if (x && memcmp(x, first[i], (size_t)n * sizeof *x) != 0)
                CHECK_WRONG("%s %s (%s): result %d changes in run %d", lk_op_get(c->op)->name,
                            c->name, lk_dtype_name(dtype), i, run);
            lk_free(x);
        }
    }
    for (int i = 0; i < MAX_RESULTS; i++)
        lk_free(first[i]);
    lk_graph_free(&t.b.g);
}

/* The backend itself, where there is a GPU: with NVIDIA's libraries, and with our kernels alone. */
static void test_cuda(void **state)
{
    const lk_backend *cuda;
    (void)state;
    if (lk_backend_cuda(&cuda) != LK_OK) {
        print_message("skipped: %s\n", lk_error_text());
        lk_error_clear();
        return;
    }
    for (int libraries = 1; libraries >= 0; libraries--) {
        lk_cuda_use_libraries(libraries);
        for (int i = 0; i < n_op_cases; i++) {
            check_backend(&op_cases[i], cuda, libraries ? "cuda" : "cuda, own kernels", LK_F32);
            check_backend(&op_cases[i], cuda, libraries ? "cuda" : "cuda, own kernels", LK_BF16);
            check_replay(&op_cases[i], cuda, LK_F32);
            check_replay(&op_cases[i], cuda, LK_BF16);
        }
    }
    lk_cuda_use_libraries(1);
    check_none_wrong();
}

#ifdef LK_TEST_CUDA
/* The installed libraries have what we call, and cuDNN takes our descriptions of convolutions;
 * that much needs no GPU. */
static void test_cuda_libraries(void **state)
{
    (void)state;
    if (lk_cuda_blas_symbols() != LK_OK || lk_cuda_dnn_symbols() != LK_OK) {
        print_message("skipped: %s\n", lk_error_text());
        lk_error_clear();
        return;
    }
    for (int i = 0; i < n_op_cases; i++) {
        instance t;
        build(&t, &op_cases[i], lk_backend_cpu(), LK_BF16);
        for (size_t k = 0; k < t.b.g->n_calls; k++) {
            const lk_op op = t.b.g->calls[k].node->op;
            if (lk_tensor_count(&t.b.g->calls[k].in[0]) == 0)
                continue;
            if (op == LK_OP_CONV || op == LK_OP_CONV_DX || op == LK_OP_CONV_DW)
                CHECK_OK(lk_cuda_dnn_try(&t.b.g->calls[k]));
        }
        lk_graph_free(&t.b.g);
    }
}
#endif

static void test_threads(void **state)
{
    const int before = lk_threads();
    (void)state;
    for (int i = 0; i < n_op_cases; i++) {
        check_threads(&op_cases[i], LK_F32);
        check_threads(&op_cases[i], LK_BF16);
    }
    lk_threads_set(before);
}

/* --cuda: what runs on a GPU, alone. */
int main(int argc, char **argv)
{
    const struct CMUnitTest on_device[] = {cmocka_unit_test(test_cuda)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_operation_has_a_case),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_own_convolutions),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_cuda_emulated),
        cmocka_unit_test(test_cuda),
#ifdef LK_TEST_CUDA
        cmocka_unit_test(test_cuda_libraries),
#endif
    };
    if (argc > 1 && strcmp(argv[1], "--cuda") == 0)
        return cmocka_run_group_tests(on_device, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
