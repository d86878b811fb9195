/* test_joint_scene.c - what stays the same through a clip: the scene against its definition, the
 * part of the last layer that takes it over, the noise that all latents have, and the loss of what
 * errors change. */
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

/* How still an output is, as a function of its number; y is -x. */
static double still(int j)
{
    return 1 / (1 + exp(-1 - (j % K - 1.0)));
}

static void what_stands_still_is_said_once(void **state)
{
    made m;
    float got[BATCH * N * K];
    const float bias[K] = {-1, 0, 1};
    lk_var y;
    (void)state;
    open_all(&m);
    y = lk_joint_said_once(m.g, &sizes, &m.in, m.x, m.x, lk_scale(m.g, m.x, -1));
    CHECK_OK(
        lk_params_write(m.params, lk_params_find(m.params, "still.bias"), LK_VALUE, LK_F32, bias));
    solve(&m, y, got);
    for (int b = 0; b < BATCH; b++)
        for (int j = 0; j < CELLS * K; j++) {
            double sum = 0;
            for (int i = 0; i < there[b]; i++)
                sum += still(j) * (i < held[b] ? number(b, i, j) : -number(b, i, j));
            for (int i = 0; i < there[b]; i++) {
                const double mean = sum / (still(j) * there[b] + 1e-3), said = -number(b, i, j);
                CHECK_CLOSE(got[(b * LATENTS + i) * CELLS * K + j], said + still(j) * (mean - said),
                            1e-5);
            }
        }
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

/* ---- noise ---- */

enum { EACH = 500, OF_NOISE = 6 * EACH * K };

static void draw(double share, float *e)
{
    const lk_joint_noise n = {7, 1, 30, 2, 40, EACH, K, share};
    for (int64_t t = 0; t < OF_NOISE / K; t++)
        lk_joint_draw_noise(&n, t, e + t * K);
}

/* Mean of a product of numbers that lie `apart` from each other. */
static double together(const float *e, int64_t apart)
{
    double sum = 0;
    for (int64_t i = 0; i < OF_NOISE - apart; i++)
        sum += (double)e[i] * (double)e[i + apart] / (double)(OF_NOISE - apart);
    return sum;
}

static void latents_have_a_share_of_their_noise_in_common(void **state)
{
    static float e[OF_NOISE];
    (void)state;
    for (int k = 0; k <= 4; k++) {
        draw(k / 4.0, e);
        CHECK_CLOSE(together(e, 0), 1, 0.1);
        CHECK_CLOSE(together(e, EACH * K), k / 4.0, 0.1);
        CHECK_CLOSE(together(e, 3 * EACH * K), k / 4.0, 0.1);
        CHECK_CLOSE(together(e, 1), 0, 0.1); /* another channel */
        CHECK_CLOSE(together(e, K), 0, 0.1); /* another position */
    }
    for (int64_t i = 0; i < OF_NOISE; i++)
        assert_true(e[i] == e[i % (EACH * K)]);
}

/* Of a picture's tokens that the batch made noisy, and of a model that leaves noise as it is. */
static void training_and_sampling_draw_such_noise(void **state)
{
    lk_joint_config c = joint_toy_config("window");
    lk_joint_clip clip = joint_toy_clip(0);
    const lk_joint_sizes z = joint_toy_sizes(1);
    enum { LATENT = JOINT_TOY_VIDEO / JOINT_TOY_LATENTS };
    float video[JOINT_TOY_VIDEO], audio[JOINT_TOY_AUDIO], mean[3] = {0}, one[3] = {1, 1, 1};
    lk_joint_sampling o;
    lk_joint_batch b;
    lk_joint *m = NULL;
    (void)state;
    c.common_noise = 1;
    c.predict = "flow";
    c.still = false;
    CHECK_OK(lk_joint_new(&m, &c, NULL));
    CHECK_OK(lk_joint_set_scale(m, LK_JOINT_VIDEO, mean, one));
    lk_option_defaults(lk_joint_sampling_options, &o);
    CHECK_OK(lk_joint_sample(m, &z, &clip, &o, NULL, video, audio));
    for (int i = LATENT; i < JOINT_TOY_VIDEO; i++)
        assert_true(video[i] == video[i % LATENT]);
    assert_true(video[0] != video[1] && audio[0] != audio[4]);

    CHECK_OK(lk_joint_batch_open(&b, m, &z, "f32", 0, 0, 1));
    b.clips[0] = clip;
    lk_joint_batch_mix(&b, 0, 5, 9, (double[]){0.5, 0.5});
    for (int i = LATENT; i < JOINT_TOY_VIDEO; i++) /* target + x = noise */
        CHECK_CLOSE(b.target[0][i] + clip.video[i],
                    b.target[0][i % LATENT] + clip.video[i % LATENT], 1e-5);
    lk_joint_batch_clear(&b);
    lk_joint_free(&m);
}

/* ---- the loss ---- */

static double output(const lk_joint_batch *b, const char *name)
{
    double x;
    CHECK_OK(lk_graph_read(b->graph, lk_graph_find(b->graph, name), LK_F64, &x));
    return x;
}

/* Of a model that says 0, whose errors are its targets; latent `given` is held, -1: none is. */
static void check_change(lk_joint *m, int given)
{
    enum { K3 = 3, EACH_LATENT = JOINT_TOY_CELLS * K3 };
    const lk_joint_sizes z = joint_toy_sizes(1);
    lk_joint_batch b;
    double change = 0;
    CHECK_OK(lk_joint_batch_open(&b, m, &z, "f32", 0, 4, 1));
    b.clips[0] = joint_toy_clip(0);
    if (given >= 0)
        *(lk_joint_batch_held(&b, 0, 0) + given) = 1;
    lk_joint_batch_mix(&b, 0, 5, 9, (double[]){0.5, 0.5});
    CHECK_OK(lk_joint_batch_write(&b, 0));
    CHECK_OK(lk_graph_run(b.graph, 0));
    for (int i = EACH_LATENT; i < JOINT_TOY_VIDEO; i++) {
        const double d = (double)b.target[0][i] - (double)b.target[0][i - EACH_LATENT];
        const double before = (double)b.share[0][i / K3 - JOINT_TOY_CELLS];
        change += before > 0 ? (double)b.share[0][i / K3] * d * d / K3 / 2 : 0;
    }
    CHECK_CLOSE(output(&b, "loss"),
                output(&b, "video_flow") + output(&b, "audio_flow") + 4 * change, 1e-5);
    assert_true(change > 0);
    lk_joint_batch_clear(&b);
}

static void what_errors_change_counts(void **state)
{
    lk_joint_config c = joint_toy_config("window");
    lk_joint *m = NULL;
    (void)state;
    c.predict = "flow";
    c.still = false;
    CHECK_OK(lk_joint_new(&m, &c, NULL));
    check_change(m, -1);
    check_change(m, 0);
    lk_joint_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scene_is_what_explains_all_latents),
        cmocka_unit_test(the_last_layer_takes_over_what_it_is_told),
        cmocka_unit_test(what_is_taken_of_a_scene_is_the_same_in_every_latent),
        cmocka_unit_test(what_stands_still_is_said_once),
        cmocka_unit_test(latents_have_a_share_of_their_noise_in_common),
        cmocka_unit_test(training_and_sampling_draw_such_noise),
        cmocka_unit_test(what_errors_change_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
