/* test_joint_scene.c - what stays the same through a clip: the scene against its definition, and
 * the part of the last layer that takes it over. */
#include "tests/check.h"
#include "tests/joint_toy.h"

#include "av/joint/joint_impl.h"

enum { BATCH = 3, LATENTS = 4, CELLS = 2, K = 3, N = LATENTS * CELLS };

static const float level[BATCH] = {0.75f, 0.5f, 0.25f};
static const int there[BATCH] = {4, 2, 0}, held[BATCH] = {1, 0, 0}; /* latents from the first */

static double number(int b, int i, int j)
{
    return i < there[b] ? sin(1 + b + 0.7 * i + 0.3 * j) : 0;
}

/* j: of a latent's CELLS x K numbers. */
static double scene(int b, int j)
{
    double sum = 0, squares = 0;
    for (int i = 0; i < there[b]; i++) {
        const double a = i < held[b] ? 1 : 1 - (double)level[b];
        sum += a * number(b, i, j);
        squares += a * a;
    }
    return sum / (squares + 1);
}

typedef struct made {
    lk_params *params;
    lk_graph *g;
    lk_joint_inputs in;
    lk_var x;
} made;

static const lk_joint_sizes sizes = {BATCH, LATENTS, 1, CELLS, 0, 1, 0, 1, 1};

static void open_all(made *m)
{
    *m = (made){0};
    CHECK_OK(lk_params_new(&m->params, NULL, 1));
    CHECK_OK(lk_graph_new(
        &m->g, &(lk_graph_config){.backend = lk_params_backend(m->params), .params = m->params}));
    m->x = lk_input(m->g, "x", LK_F32, LK_SHAPE(BATCH, N, K));
    m->in.held[0] = lk_input(m->g, "held", LK_F32, LK_SHAPE(BATCH, N, 1));
    m->in.level[0] = lk_input(m->g, "level", LK_F32, LK_SHAPE(BATCH, 1));
    m->in.there = lk_input(m->g, "there", LK_F32, LK_SHAPE(BATCH, LATENTS));
}

static void close_all(made *m)
{
    lk_graph_free(&m->g);
    lk_params_free(&m->params);
}

/* Write everything, run, and read y. */
static void solve(made *m, lk_var y, float *got)
{
    float x[BATCH * N * K], is_held[BATCH * N], is_there[BATCH * LATENTS];
    for (int b = 0; b < BATCH; b++)
        for (int i = 0; i < LATENTS; i++) {
            is_there[b * LATENTS + i] = i < there[b];
            for (int j = 0; j < CELLS; j++)
                is_held[(b * LATENTS + i) * CELLS + j] = i < held[b];
            for (int j = 0; j < CELLS * K; j++) /* what is not there is anything */
                x[(b * LATENTS + i) * CELLS * K + j] = i < there[b] ? (float)number(b, i, j) : 77;
        }
    lk_output(m->g, "y", y);
    CHECK_OK(lk_graph_compile(m->g));
    CHECK_OK(lk_graph_write(m->g, m->x, LK_F32, x));
    CHECK_OK(lk_graph_write(m->g, m->in.held[0], LK_F32, is_held));
    CHECK_OK(lk_graph_write(m->g, m->in.level[0], LK_F32, level));
    CHECK_OK(lk_graph_write(m->g, m->in.there, LK_F32, is_there));
    CHECK_OK(lk_graph_run(m->g, 0));
    CHECK_OK(lk_graph_read(m->g, y, LK_F32, got));
}

static void a_scene_is_what_explains_all_latents(void **state)
{
    made m;
    float got[BATCH * CELLS * K];
    lk_var y;
    (void)state;
    open_all(&m);
    y = lk_joint_scene(m.g, &sizes, &m.in, m.x);
    solve(&m, y, got);
    for (int b = 0; b < BATCH; b++)
        for (int j = 0; j < CELLS * K; j++)
            CHECK_CLOSE(got[b * CELLS * K + j], scene(b, j), 1e-6);
    close_all(&m);
}

/* Weights that see only the bias: what is taken over is 2 x + 3 scene. */
static void the_last_layer_takes_over_what_it_is_told(void **state)
{
    made m;
    float got[BATCH * N * K];
    const float twos[K] = {2, 2, 2}, threes[K] = {3, 3, 3};
    lk_var y;
    (void)state;
    open_all(&m);
    y = lk_joint_scene(m.g, &sizes, &m.in, m.x);
    y = lk_joint_taken_over(m.g, &sizes, m.x, m.x, y);
    CHECK_OK(
        lk_params_write(m.params, lk_params_find(m.params, "kept.bias"), LK_VALUE, LK_F32, twos));
    CHECK_OK(lk_params_write(m.params, lk_params_find(m.params, "stays.bias"), LK_VALUE, LK_F32,
                             threes));
    solve(&m, y, got);
    for (int b = 0; b < BATCH; b++)
        for (int i = 0; i < there[b]; i++)
            for (int j = 0; j < CELLS * K; j++)
                CHECK_CLOSE(got[(b * LATENTS + i) * CELLS * K + j],
                            2 * number(b, i, j) + 3 * scene(b, j), 1e-5);
    close_all(&m);
}

/* A clip in which nothing moves, given with noise: a trained model could answer with the scene
 * alone, and its frames would be one. */
static void what_is_taken_of_a_scene_is_the_same_in_every_latent(void **state)
{
    made m;
    float got[BATCH * N * K];
    lk_var y;
    (void)state;
    open_all(&m);
    y = lk_joint_over_latents(m.g, &sizes, lk_scale(m.g, m.x, 0),
                              lk_joint_scene(m.g, &sizes, &m.in, m.x));
    solve(&m, y, got);
    for (int b = 0; b < BATCH; b++)
        for (int i = 1; i < LATENTS; i++)
            assert_memory_equal(&got[(b * LATENTS + i) * CELLS * K], &got[b * LATENTS * CELLS * K],
                                sizeof(float) * CELLS * K);
    close_all(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scene_is_what_explains_all_latents),
        cmocka_unit_test(the_last_layer_takes_over_what_it_is_told),
        cmocka_unit_test(what_is_taken_of_a_scene_is_the_same_in_every_latent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
