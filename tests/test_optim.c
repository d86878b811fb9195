/* test_optim.c - the optimiser against its definition in double and against PyTorch. */
#include "tests/check.h"

#include "kernels/cpu/cpu.h"
#include "kernels/cuda/cuda.h"
#include "kernels/mem.h"
#include "kernels/optim.h"
#include "kernels/rng.h"
#include "kernels/thread.h"

static void schedules_rise_hold_and_fall(void **state)
{
    const lk_schedule constant = {LK_SCHEDULE_CONSTANT, 2, 0.5, 4, 20, 0};
    const lk_schedule cosine = {LK_SCHEDULE_COSINE, 2, 0.5, 4, 20, 0};
    const lk_schedule line = {LK_SCHEDULE_LINEAR, 2, 0.5, 4, 20, 0};
    const lk_schedule wsd = {LK_SCHEDULE_WSD, 2, 0.5, 4, 20, 8};
    (void)state;
    for (int64_t s = 0; s < 4; s++) {
        CHECK_CLOSE(lk_schedule_rate(&cosine, s), 0.5 * (double)(s + 1), 1e-12);
        CHECK_CLOSE(lk_schedule_rate(&wsd, s), 0.5 * (double)(s + 1), 1e-12);
    }
    for (int64_t s = 4; s < 30; s++) {
        const double x = fmin((double)(s - 4) / 16, 1);
        CHECK_CLOSE(lk_schedule_rate(&constant, s), 2, 0);
        CHECK_CLOSE(lk_schedule_rate(&cosine, s), 0.5 + 0.75 * (1 + cos(acos(-1) * x)), 1e-12);
        CHECK_CLOSE(lk_schedule_rate(&line, s), 2 - 1.5 * x, 1e-12);
        CHECK_CLOSE(lk_schedule_rate(&wsd, s), s < 12 ? 2 : 2 - 1.5 * fmin((double)(s - 12) / 8, 1),
                    1e-12);
    }
    CHECK_CLOSE(lk_schedule_rate(&(lk_schedule){LK_SCHEDULE_COSINE, 2, 0.5, 0, 0, 0}, 0), 0.5, 0);
    CHECK_CLOSE(lk_clip_factor(4, 1), 0.25, 0);
    CHECK_CLOSE(lk_clip_factor(0.5, 1), 1, 0);
    CHECK_CLOSE(lk_clip_factor(4, 0), 1, 0);
}

/* A [3, 3] weight that decays and a [4] bias that does not: clipping at 1, cosine with warm-up,
 * moving average of 0.999.  The figures are those of torch.optim.AdamW (PyTorch 2, float64) with
 * clip_grad_norm_ and Tensor.lerp_. */
static void six_steps_agree_with_pytorch(void **state)
{
    static const double norms[6] = {2.73861279, 2.47171499, 2.65165043,
                                    2.47802845, 2.7128168,  2.43990266};
    static const double expected[4][9] = {
        {-0.277298171, 0.0895060606, 0.421867687, -0.365728883, 0.264771603, -0.0326016426,
         -0.0134213001, -0.589551476, 0.227252756},
        {-0.133709466, 0.346364325, -0.162756771, -0.356248341},
        {-0.273747202, 0.0826417054, 0.4171685, -0.355174991, 0.272487305, -0.0514642429,
         -0.013418781, -0.572851699, 0.221338576},
        {-0.1364965, 0.334306886, -0.156806896, -0.350431834}};
    static const double moment1[9] = {0.0119247372,  0.00148203506, -0.0180777102,
                                      0.0256075987,  0.045760364,   -0.0636893541,
                                      -0.0200040452, 0.0731455776,  -0.0180674475};
    const lk_schedule schedule = {LK_SCHEDULE_COSINE, 0.1, 0.01, 2, 8, 0};
    lk_params *p = NULL;
    lk_optim *o = NULL;
    float w[9], b[4];
    int iw, ib;
    (void)state;
    CHECK_OK(lk_params_new(&p, NULL, 1));
    CHECK_OK(lk_params_add(p, "w", LK_SHAPE(3, 3), LK_INIT_ZERO, 0, &iw));
    CHECK_OK(lk_params_add(p, "b", LK_SHAPE(4), LK_INIT_ZERO, 0, &ib));
    for (int i = 0; i < 9; i++)
        w[i] = (float)((i * 3) % 7 - 3) / 8;
    for (int i = 0; i < 4; i++)
        b[i] = (float)((i * 5) % 7 - 3) / 8;
    CHECK_OK(lk_params_write(p, iw, LK_VALUE, LK_F32, w));
    CHECK_OK(lk_params_write(p, ib, LK_VALUE, LK_F32, b));
    CHECK_OK(lk_optim_new(&o, p, &(lk_optim_config){.decay = 0.1, .average = 0.999}));
    for (int s = 0; s < 6; s++) {
        double norm;
        for (int i = 0; i < 9; i++)
            w[i] = (float)((i * 7 + s * 5) % 11 - 5) / 4;
        for (int i = 0; i < 4; i++)
            b[i] = (float)((i * 4 + s * 3) % 13 - 6) / 8;
        CHECK_OK(lk_params_write(p, iw, LK_GRAD, LK_F32, w));
        CHECK_OK(lk_params_write(p, ib, LK_GRAD, LK_F32, b));
        CHECK_OK(lk_optim_norm(o, &norm));
        CHECK_CLOSE(norm, norms[s], 1e-7);
        CHECK_OK(lk_optim_step(o, s, lk_schedule_rate(&schedule, s), lk_clip_factor(norm, 1)));
    }
    for (int i = 0; i < 9; i++) {
        CHECK_CLOSE(lk_params_data(p, iw, LK_VALUE)[i], expected[0][i], 1e-6);
        CHECK_CLOSE(lk_params_data(p, iw, LK_AVERAGE)[i], expected[2][i], 1e-6);
        CHECK_CLOSE(lk_params_data(p, iw, LK_MOMENT1)[i], moment1[i], 1e-7);
    }
    for (int i = 0; i < 4; i++) {
        CHECK_CLOSE(lk_params_data(p, ib, LK_VALUE)[i], expected[1][i], 1e-6);
        CHECK_CLOSE(lk_params_data(p, ib, LK_AVERAGE)[i], expected[3][i], 1e-6);
    }
    lk_optim_free(&o);
    lk_params_free(&p);
}

/* Parameters of odd sizes over several pieces and slabs. */
#define N_PARAMS 7
static const int64_t sizes[N_PARAMS] = {1, 40000, 3, 0, 1100000, 17, 16384};

static lk_status make_store_on(lk_params **p, const lk_backend *backend)
{
    lk_status st = LK_OK;
    int index;
    LK_TRY(lk_params_new(p, backend, 3));
    for (int i = 0; i < N_PARAMS; i++) {
        char name[16];
        sprintf(name, "%c%d", i % 3 ? 'g' : 'd', i);
        LK_TRY(lk_params_add(*p, name, i % 2 ? LK_SHAPE(1, sizes[i]) : LK_SHAPE(sizes[i]),
                             LK_INIT_NORMAL, 0.5, &index));
    }
done:
    return st;
}

static lk_status make_store(lk_params **p)
{
    return make_store_on(p, NULL);
}

static void set_gradients(lk_params *p, int step)
{
    for (int i = 0; i < N_PARAMS; i++) {
        float *g;
        CHECK_OK(LK_NEW_ARRAY(&g, sizes[i]));
        for (int64_t k = 0; k < sizes[i]; k++)
            g[k] = lk_rng_uniform((uint64_t)step, (uint64_t)i, (uint64_t)k) - 0.4f;
        CHECK_OK(lk_params_write(p, i, LK_GRAD, LK_F32, g));
        lk_free(g);
    }
}

static float *numbers(const lk_params *p, int i, lk_slot slot)
{
    float *x;
    CHECK_OK(LK_NEW_ARRAY(&x, sizes[i]));
    CHECK_OK(lk_params_read(p, i, slot, LK_F32, x));
    return x;
}

static int only_g(const char *name, const lk_shape *shape)
{
    (void)shape;
    return name[0] == 'g';
}

static void agrees_with_the_definition(const lk_backend *backend, const char *what)
{
    enum { STEPS = 3 };
    const double rate = 0.01, scale = 0.5, decay = 0.2, b1 = 0.8, b2 = 0.9, eps = 1e-3;
    const lk_optim_config config = {
        .beta1 = b1, .beta2 = b2, .eps = eps, .decay = decay, .average = 0.2, .trains = only_g};
    lk_params *p = NULL;
    lk_optim *o = NULL;
    float *start[N_PARAMS];
    double norm = 0, sum = 0;
    CHECK_OK(make_store_on(&p, backend));
    for (int i = 0; i < N_PARAMS; i++)
        start[i] = numbers(p, i, LK_VALUE);
    CHECK_OK(lk_optim_new(&o, p, &config));
    for (int s = 0; s < STEPS; s++) {
        set_gradients(p, s);
        CHECK_OK(lk_optim_norm(o, &norm));
        CHECK_OK(lk_optim_step(o, s, rate, scale));
    }
    for (int i = 0; i < N_PARAMS; i++) {
        float *value = numbers(p, i, LK_VALUE), *average = numbers(p, i, LK_AVERAGE);
        for (int64_t k = 0; k < sizes[i]; k++) {
            const double x0 = start[i][k];
            double x = x0, m = 0, v = 0, a = x0;
            for (int s = 0; s < STEPS && i % 3; s++) {
                const double g0 = lk_rng_uniform((uint64_t)s, (uint64_t)i, (uint64_t)k) - 0.4f;
                const double g = scale * g0, t = s + 1, d = fmin(0.2, t / (9 + t));
                m = b1 * m + (1 - b1) * g;
                v = b2 * v + (1 - b2) * g * g;
                x = x * (1 - (i % 2 ? rate * decay : 0)) -
                    rate * (m / (1 - pow(b1, t))) / (sqrt(v / (1 - pow(b2, t))) + eps);
                a += (1 - d) * (x - a);
                sum += s == STEPS - 1 ? g0 * g0 : 0;
            }
            if (!(fabs(value[k] - x) <= 1e-6 * (1 + fabs(x))) ||
                !(fabs(average[k] - a) <= 1e-6 * (1 + fabs(a))))
                fail_msg("%s: parameter %d, number %lld is %.9g, not %.9g", what, i, (long long)k,
                         (double)value[k], x);
        }
        lk_free(value);
        lk_free(average);
        lk_free(start[i]);
    }
    CHECK_CLOSE(norm, sqrt(sum), 1e-9 * norm);
    lk_optim_free(&o);
    lk_params_free(&p);
}

static void every_level_agrees_with_the_definition(void **state)
{
    (void)state;
    for (int level = 0; level < LK_N_CPU_LEVELS; level++)
        if (lk_cpu_level_set((lk_cpu_level)level) == LK_OK)
            agrees_with_the_definition(lk_backend_cpu(), lk_cpu_level_name((lk_cpu_level)level));
    CHECK_OK(lk_cpu_level_set(lk_cpu_level_best()));
}

static void cuda_agrees_with_the_definition(void **state)
{
    const lk_backend *cuda;
    (void)state;
    agrees_with_the_definition(lk_backend_emulated(), "cuda emulated");
    if (lk_backend_cuda(&cuda) == LK_OK)
        agrees_with_the_definition(cuda, "cuda");
    else
        print_message("cuda: skipped: %s\n", lk_error_text());
    lk_error_clear();
}

/* Threads and shares change nothing, to the bit: rank 0 and 1 of two do what one does alone. */
static void threads_and_shares_change_nothing(void **state)
{
    lk_params *p[3] = {0};
    lk_optim *o[3] = {0};
    double norm[3];
    int64_t shared[2] = {0};
    (void)state;
    for (int i = 0; i < 3; i++) {
        CHECK_OK(make_store(&p[i]));
        CHECK_OK(lk_optim_new(&o[i], p[i],
                              &(lk_optim_config){.decay = 0.1,
                                                 .average = 0.9,
                                                 .rank = i > 0 ? i - 1 : 0,
                                                 .n_processes = i > 0 ? 2 : 0}));
        lk_threads_set(i == 0 ? 1 : 3);
        for (int s = 0; s < 2; s++) {
            set_gradients(p[i], s);
            CHECK_OK(lk_optim_norm(o[i], &norm[i]));
            CHECK_OK(lk_optim_step(o[i], s, 0.01, lk_clip_factor(norm[i], 1)));
        }
        assert_memory_equal(&norm[0], &norm[i], sizeof norm[0]);
    }
    for (int k = 0; k < lk_params_n_slabs(p[0]); k++) {
        const int owner = lk_params_owner(p[0], k, 2);
        for (int slot = 0; slot < LK_N_SLOTS; slot++) {
            int64_t n;
            const float *one = lk_params_slab(p[0], k, (lk_slot)slot, &n);
            const float *two = lk_params_slab(p[1 + owner], k, (lk_slot)slot, &n);
            const float *not = lk_params_slab(p[2 - owner], k, (lk_slot)slot, &n);
            assert_memory_equal(one, two, (size_t)n * sizeof *one);
            assert_int_equal(not == NULL, slot >= LK_MOMENT1);
            shared[owner] += slot ? 0 : n;
        }
    }
    assert_true(shared[0] > 0 && shared[1] > 0);
    for (int i = 0; i < 3; i++) {
        lk_optim_free(&o[i]);
        lk_params_free(&p[i]);
    }
}

static int none(const char *name, const lk_shape *shape)
{
    (void)name;
    (void)shape;
    return 0;
}

static void bad_settings_and_lost_memory_are_reported(void **state)
{
    lk_params *p = NULL;
    lk_optim *o = NULL;
    int fired = 1;
    double norm;
    (void)state;
    CHECK_OK(make_store(&p));
    CHECK_FAILS(lk_optim_new(&o, p, &(lk_optim_config){.beta1 = 1}), LK_E_ARG);
    CHECK_FAILS(lk_optim_new(&o, p, &(lk_optim_config){.eps = -1}), LK_E_ARG);
    CHECK_FAILS(lk_optim_new(&o, p, &(lk_optim_config){.average = 1}), LK_E_ARG);
    CHECK_FAILS(lk_optim_new(&o, p, &(lk_optim_config){.rank = 2, .n_processes = 2}), LK_E_ARG);
    CHECK_FAILS(lk_optim_new(&o, p, &(lk_optim_config){.trains = none}), LK_E_EMPTY);
    lk_params_free(&p);
    for (int n = 1; fired; n++) {
        CHECK_OK(make_store(&p));
        lk_mem_fail_after(n);
        const lk_status st = lk_optim_new(&o, p, &(lk_optim_config){.average = 0.9});
        fired = lk_mem_fault_fired();
        lk_mem_fail_after(0);
        assert_int_equal(st, fired ? LK_E_MEMORY : LK_OK);
        if (!fired) {
            set_gradients(p, 0);
            lk_params_data(p, 4, LK_GRAD)[99] = NAN;
            CHECK_OK(lk_optim_norm(o, &norm));
            assert_true(isnan(norm));
        }
        lk_optim_free(&o);
        lk_params_free(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schedules_rise_hold_and_fall),
        cmocka_unit_test(six_steps_agree_with_pytorch),
        cmocka_unit_test(every_level_agrees_with_the_definition),
        cmocka_unit_test(cuda_agrees_with_the_definition),
        cmocka_unit_test(threads_and_shares_change_nothing),
        cmocka_unit_test(bad_settings_and_lost_memory_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
