/* test_past.c - layers that look back give the same in pieces as in whole, on every backend, and
 * start again after a reset. */
#include "tests/check.h"

#include "kernels/nn.h"
#include "kernels/params.h"
#include "kernels/past.h"
#include "kernels/rng.h"

enum { BATCH = 2, STEPS = 12, WIDTH = 5 };

/* Two causal layers with different memories; 3 inputs a step, 2 outputs. */
static lk_var model(lk_graph *g, lk_past *past, lk_var x)
{
    const lk_conv_options apart = {.dilation = {2}};
    lk_var h = lk_cast(g, x, lk_graph_compute_dtype(g));
    h = lk_nn_conv(g, "a", lk_past_join(past, g, h, 2), WIDTH, (const int64_t[]){3}, NULL);
    h = lk_nn_snake(g, "alpha", h);
    h = lk_nn_norm(g, "norm", LK_RMS_NORM, h, 1);
    h = lk_nn_conv(g, "b", lk_past_join(past, g, h, 6), 2, (const int64_t[]){4}, &apart);
    h = lk_nn_dense(g, "c", lk_past_join(past, g, h, 0), 2, 1);
    return lk_cast(g, h, LK_F32);
}

typedef struct runner {
    lk_params *params;
    lk_graph *g;
    lk_past *past;
    lk_var x, y;
} runner;

static void start(runner *r, const lk_backend *backend, lk_dtype compute, int steps, int streamed)
{
    CHECK_OK(lk_params_new(&r->params, backend, 11));
    CHECK_OK(lk_graph_new(
        &r->g, &(lk_graph_config){.backend = backend, .params = r->params, .compute = compute}));
    if (streamed)
        CHECK_OK(lk_past_new(&r->past, r->g));
    r->x = lk_input(r->g, "x", LK_F32, LK_SHAPE(BATCH, steps, 3));
    r->y = model(r->g, r->past, r->x);
    lk_output(r->g, "y", r->y);
    CHECK_OK(lk_graph_compile(r->g));
}

static void stop(runner *r)
{
    lk_past_free(&r->past);
    lk_graph_free(&r->g);
    lk_params_free(&r->params);
}

/* Steps [from, from + n) of x or into y, whose rows are all STEPS long. */
static void piece(runner *r, const float *x, float *y, int from, int n)
{
    float in[BATCH * STEPS * 3], out[BATCH * STEPS * 2];
    for (int b = 0; b < BATCH; b++)
        memcpy(in + b * n * 3, x + (b * STEPS + from) * 3, (size_t)n * 3 * sizeof *in);
    CHECK_OK(lk_graph_write(r->g, r->x, LK_F32, in));
    CHECK_OK(lk_graph_run(r->g, 0));
    CHECK_OK(lk_graph_read(r->g, r->y, LK_F32, out));
    if (r->past)
        CHECK_OK(lk_past_advance(r->past));
    for (int b = 0; b < BATCH; b++)
        memcpy(y + (b * STEPS + from) * 2, out + b * n * 2, (size_t)n * 2 * sizeof *y);
}

static void pieces_equal_the_whole(void **state)
{
    (void)state;
    const lk_backend *backends[] = {lk_backend_cpu(), lk_backend_reference()};
    float x[BATCH * STEPS * 3], whole[BATCH * STEPS * 2], cut[BATCH * STEPS * 2];
    for (int i = 0; i < BATCH * STEPS * 3; i++)
        x[i] = lk_rng_normal(5, 1, (uint64_t)i);
    for (int b = 0; b < 2; b++) {
        for (int n = 1; n <= 4; n += 1 + (n == 2)) {
            runner r = {0}, s = {0};
            start(&r, backends[b], LK_F32, STEPS, 0);
            start(&s, backends[b], LK_F32, n, 1);
            piece(&r, x, whole, 0, STEPS);
            for (int again = 0; again < 2; again++) {
                memset(cut, 0, sizeof cut);
                for (int at = 0; at < STEPS; at += n)
                    piece(&s, x, cut, at, n);
                for (int i = 0; i < BATCH * STEPS * 2; i++)
                    CHECK_CLOSE(cut[i], whole[i], 2e-6);
                CHECK_OK(lk_past_reset(s.past));
            }
            assert_int_equal(lk_past_bytes(s.past),
                             (int64_t)sizeof(float) * BATCH * (2 * 3 + 6 * WIDTH));
            stop(&r);
            stop(&s);
        }
    }
}

/* Two streams take turns in one graph. */
static void streams_take_turns(void **state)
{
    (void)state;
    float x[2][BATCH * STEPS * 3], alone[2][BATCH * STEPS * 2], turns[2][BATCH * STEPS * 2];
    char kept[2][1024];
    runner s = {0};
    start(&s, NULL, LK_F32, 3, 1);
    assert_true(lk_past_bytes(s.past) <= (int64_t)sizeof kept[0]);
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < BATCH * STEPS * 3; i++)
            x[k][i] = lk_rng_normal(6, (uint64_t)k, (uint64_t)i);
        CHECK_OK(lk_past_reset(s.past));
        CHECK_OK(lk_past_save(s.past, kept[k]));
        for (int at = 0; at < STEPS; at += 3)
            piece(&s, x[k], alone[k], at, 3);
    }
    for (int at = 0; at < STEPS; at += 3)
        for (int k = 0; k < 2; k++) {
            CHECK_OK(lk_past_load(s.past, kept[k]));
            piece(&s, x[k], turns[k], at, 3);
            CHECK_OK(lk_past_save(s.past, kept[k]));
        }
    assert_memory_equal(alone, turns, sizeof alone);
    stop(&s);
}

static void bf16_keeps_bf16(void **state)
{
    (void)state;
    runner s = {0};
    start(&s, NULL, LK_BF16, 2, 1);
    assert_int_equal(lk_past_bytes(s.past), 2 * BATCH * (2 * 3 + 6 * WIDTH));
    stop(&s);
}

static void refuses_what_has_no_time(void **state)
{
    (void)state;
    lk_graph *g = NULL;
    lk_past *p = NULL;
    CHECK_OK(lk_graph_new(&g, &(lk_graph_config){0}));
    CHECK_OK(lk_past_new(&p, g));
    lk_output(g, "y", lk_past_join(p, g, lk_input(g, "x", LK_F32, LK_SHAPE(3)), 1));
    CHECK_FAILS(lk_graph_compile(g), LK_E_ARG);
    lk_past_free(&p);
    lk_past_free(&p);
    lk_graph_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_equal_the_whole),
        cmocka_unit_test(streams_take_turns),
        cmocka_unit_test(bf16_keeps_bf16),
        cmocka_unit_test(refuses_what_has_no_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
