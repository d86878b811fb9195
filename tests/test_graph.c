/* test_graph.c - the engine around the operations: plans, checkpoints, frozen parameters, sums of
 * gradients, several graphs over one store, random numbers, and every allocation failing once. */
#include "tests/check.h"

#include "kernels/graph_impl.h"
#include "kernels/mem.h"
#include "kernels/rng.h"

/* ---- models ---- */

static lk_var weight(lk_graph *g, const char *name, lk_shape s)
{
    return lk_weight(g, name, s, LK_INIT_NORMAL, 0.1);
}

static lk_var block(lk_graph *g, lk_var x, int64_t width)
{
    const lk_var gamma = lk_param(g, "gamma", LK_SHAPE(width), LK_INIT_VALUE, 1);
    const lk_var beta = lk_param(g, "beta", LK_SHAPE(width), LK_INIT_ZERO, 0);
    const lk_var z = lk_norm(g, LK_LAYER_NORM, x, gamma, beta, 0, 1e-5);
    const lk_var q = lk_linear(g, z, weight(g, "q", LK_SHAPE(width, width)), LK_NONE);
    const lk_var k = lk_linear(g, z, weight(g, "k", LK_SHAPE(width, width)), LK_NONE);
    const lk_var v = lk_linear(g, z, weight(g, "v", LK_SHAPE(width, width)), LK_NONE);
    const lk_var p = lk_softmax(g, lk_scale(g, lk_matmul(g, q, k, 0, 1), 0.25));
    lk_var h;
    x = lk_add(g, x, lk_dropout(g, lk_matmul(g, p, v, 0, 0), 0.1));
    h = lk_norm(g, LK_RMS_NORM, x, gamma, LK_NONE, 0, 1e-5);
    h = lk_gelu(g, lk_linear(g, h, weight(g, "up", LK_SHAPE(4 * width, width)), LK_NONE));
    return lk_add(g, x, lk_linear(g, h, weight(g, "down", LK_SHAPE(width, 4 * width)), LK_NONE));
}

typedef struct model {
    lk_graph *g;
    lk_params *params;
    lk_var x, loss;
} model;

static void begin(model *m, lk_graph_config config, lk_shape s)
{
    memset(m, 0, sizeof *m);
    CHECK_OK(lk_params_new(&m->params, NULL, 3));
    config.params = m->params;
    config.train = 1;
    CHECK_OK(lk_graph_new(&m->g, &config));
    m->x = lk_input(m->g, "x", LK_F32, s);
}

static void finish(model *m, lk_var y)
{
    m->loss = lk_mean_all(m->g, lk_square(m->g, y));
    lk_output(m->g, "loss", m->loss);
    lk_backward(m->g, m->loss);
    CHECK_OK(lk_graph_compile(m->g));
}

static void end(model *m)
{
    lk_graph_free(&m->g);
    lk_params_free(&m->params);
}

static void run(model *m, uint64_t step)
{
    const lk_shape s = lk_var_shape(m->g, m->x);
    float *x = NULL;
    CHECK_OK(LK_NEW_ARRAY(&x, lk_shape_count(&s)));
    for (int64_t i = 0; i < lk_shape_count(&s); i++)
        x[i] = lk_rng_normal(1, 2, (uint64_t)i);
    CHECK_OK(lk_graph_write(m->g, m->x, LK_F32, x));
    CHECK_OK(lk_graph_run(m->g, step));
    lk_free(x);
}

enum { KEEP, SEGMENTS, RECOMPUTE };

static void transformer(model *m, lk_dtype compute, int depth, int how)
{
    const int64_t width = 32;
    lk_var h;
    begin(m, (lk_graph_config){.compute = compute, .seed = 7, .recompute = how == RECOMPUTE},
          LK_SHAPE(2, 48, width));
    h = lk_cast(m->g, m->x, compute);
    for (int i = 0; i < depth; i++) {
        lk_scope(m->g, "block%d", i);
        if (how == SEGMENTS)
            lk_checkpoint_begin(m->g);
        h = block(m->g, h, width);
        if (how == SEGMENTS)
            lk_checkpoint_end(m->g);
        lk_scope_end(m->g);
    }
    finish(m, h);
}

static void pictures(model *m, int recompute)
{
    const lk_conv_options same = {.pad_lo = {1, 1}, .pad_hi = {1, 1}};
    const lk_conv_options down = {.stride = {2, 2}, .pad_lo = {1, 1}, .pad_hi = {1, 1}};
    lk_var h;
    begin(m, (lk_graph_config){.seed = 7, .recompute = recompute}, LK_SHAPE(2, 24, 24, 3));
    h = m->x;
    for (int i = 0; i < 4; i++) {
        const int64_t in = lk_var_dim(m->g, h, 3), out = 8 << (i / 2);
        lk_var z;
        lk_scope(m->g, "level%d", i);
        h = lk_conv(m->g, h, weight(m->g, "in", LK_SHAPE(out, 3, 3, in)), LK_NONE,
                    i % 2 ? &down : &same);
        z = lk_silu(m->g, lk_norm(m->g, LK_GROUP_NORM, h, LK_NONE, LK_NONE, 4, 1e-5));
        z = lk_conv(m->g, z, weight(m->g, "mid", LK_SHAPE(out, 3, 3, out)), LK_NONE, &same);
        h = lk_add(m->g, h, z);
        lk_scope_end(m->g);
    }
    finish(m, lk_repeat(m->g, lk_space_to_depth(m->g, h, 2), 1, 2));
}

/* ---- plans ---- */

typedef struct extent {
    const char *from, *to;
    int32_t birth, death;
    int32_t value; /* -1: work space */
} extent;

static extent extent_of(const lk_graph *g, int32_t id)
{
    const lk_value *v = &g->values[id];
    const size_t bytes = (size_t)lk_shape_count(&v->shape) * lk_dtype_bytes(v->dtype);
    extent e = {v->data, (const char *)v->data + bytes, v->node, v->node, id};
    for (size_t k = 0; k < g->n_nodes; k++)
        for (int i = 0; i < g->nodes[k].n_in; i++)
            if (g->nodes[k].in[i] >= 0 && g->values[g->nodes[k].in[i]].root == id)
                e.death = (int32_t)k;
    if (v->pinned || v->leaf != LK_LEAF_NOT) { /* there before and after */
        e.birth = -1;
        e.death = (int32_t)g->n_nodes;
    }
    return e;
}

/* An elementwise result in the place of an input that dies there, or a gradient made in the store.
 */
static int takes_over(const lk_graph *g, const extent *old, const extent *made)
{
    const lk_node *n;
    if (old->value < 0 || made->value < 0 || made->birth < 0 || old->death != made->birth ||
        old->from != made->from || old->to != made->to)
        return 0;
    n = &g->nodes[made->birth];
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] >= 0 && g->values[n->in[i]].root == old->value)
            return n->out[0] == made->value &&
                   (lk_op_get(n->op)->overwrites || n->op == LK_OP_PARAM_GRAD);
    return 0;
}

static size_t extents(lk_graph *g, extent *e)
{
    size_t n = 0;
    for (size_t i = 0; i < g->n_values; i++) {
        const lk_value *v = &g->values[i];
        const int made = v->leaf != LK_LEAF_NOT || (v->node >= 0 && (size_t)v->node < g->n_nodes);
        int used = v->leaf != LK_LEAF_NOT;
        for (int k = 0; made && v->node >= 0 && k < g->nodes[v->node].n_out; k++)
            used |= g->nodes[v->node].out[k] == (int32_t)i;
        if (used && v->root == (int32_t)i && v->data)
            e[n++] = extent_of(g, (int32_t)i);
    }
    for (size_t k = 0; k < g->n_nodes; k++) {
        lk_call c = g->calls[k];
        size_t bytes = 0;
        c.state = NULL;
        CHECK_OK(g->config.backend->prepare(&c, &bytes));
        g->config.backend->release(&c);
        if (bytes)
            e[n++] = (extent){g->calls[k].work, (const char *)g->calls[k].work + bytes, (int32_t)k,
                              (int32_t)k, -1};
    }
    return n;
}

static void check_plan(lk_graph *g)
{
    const lk_graph_stats s = lk_graph_get_stats(g);
    extent *e = NULL;
    size_t n;
    CHECK_OK(LK_NEW_ARRAY(&e, g->n_values + g->n_nodes));
    n = extents(g, e);
    assert_true(n > g->n_nodes / 2);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++) {
            const int in_time = e[i].birth <= e[j].death && e[j].birth <= e[i].death;
            const int in_space = e[i].from < e[j].to && e[j].from < e[i].to;
            if (in_time && in_space && !takes_over(g, &e[i], &e[j]) && !takes_over(g, &e[j], &e[i]))
                fail_msg("values %d and %d share bytes while both are needed", e[i].value,
                         e[j].value);
        }
    lk_free(e);
    if ((double)s.arena_bytes > 1.1 * (double)s.liveness_bytes)
        fail_msg("the arena holds %lld bytes, %lld are alive at once", (long long)s.arena_bytes,
                 (long long)s.liveness_bytes);
}

static void test_plans(void **state)
{
    model m;
    (void)state;
    for (int how = KEEP; how <= RECOMPUTE; how++) {
        transformer(&m, how == SEGMENTS ? LK_BF16 : LK_F32, 3, how);
        check_plan(m.g);
        end(&m);
    }
    for (int recompute = 0; recompute < 2; recompute++) {
        pictures(&m, recompute);
        check_plan(m.g);
        end(&m);
    }
}

static void test_runs_allocate_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        model m;
        float loss[2];
        if (i)
            pictures(&m, 0);
        else
            transformer(&m, LK_BF16, 2, KEEP);
        run(&m, 1);
        CHECK_OK(lk_graph_read(m.g, m.loss, LK_F32, &loss[0]));
        lk_mem_fail_after(1);
        CHECK_OK(lk_graph_run(m.g, 1));
        assert_false(lk_mem_fault_fired());
        lk_mem_fail_after(0);
        CHECK_OK(lk_graph_read(m.g, m.loss, LK_F32, &loss[1]));
        assert_true(loss[0] > 0 && loss[0] == loss[1]);
        end(&m);
    }
}

/* ---- gradients ---- */

static void same_gradients(const lk_params *a, const lk_params *b)
{
    assert_int_equal(lk_params_n(a), lk_params_n(b));
    for (int i = 0; i < lk_params_n(a); i++) {
        const lk_shape s = lk_params_shape(a, i);
        const float *ga = lk_params_data(a, i, LK_GRAD);
        const float *gb = lk_params_data(b, i, LK_GRAD);
        float most = 0;
        assert_string_equal(lk_params_name(a, i), lk_params_name(b, i));
        for (int64_t j = 0; j < lk_shape_count(&s); j++)
            most = fmaxf(most, fabsf(ga[j]));
        assert_true(most > 0);
        assert_memory_equal(ga, gb, (size_t)lk_shape_count(&s) * sizeof *ga);
    }
}

/* Recomputed segments, with dropout in them, give the same bits and keep little. */
static void test_checkpoints(void **state)
{
    (void)state;
    for (int compute = LK_F32; compute <= LK_BF16; compute++) {
        model kept, again;
        transformer(&kept, (lk_dtype)compute, 12, KEEP);
        transformer(&again, (lk_dtype)compute, 12, SEGMENTS);
        run(&kept, 5);
        run(&again, 5);
        same_gradients(kept.params, again.params);
        assert_true((double)lk_graph_get_stats(again.g).arena_bytes <
                    0.4 * (double)lk_graph_get_stats(kept.g).arena_bytes);
        end(&kept);
        end(&again);
    }
}

/* What is made again has the same bits, and the arena is smaller for it. */
static void test_recompute(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        model kept, again;
        if (i == 2) {
            pictures(&kept, 0);
            pictures(&again, 1);
        } else {
            transformer(&kept, i ? LK_BF16 : LK_F32, 6, KEEP);
            transformer(&again, i ? LK_BF16 : LK_F32, 6, RECOMPUTE);
        }
        run(&kept, 5);
        run(&again, 5);
        same_gradients(kept.params, again.params);
        assert_true(again.g->n_nodes > kept.g->n_nodes);
        assert_true((double)lk_graph_get_stats(again.g).arena_bytes <
                    0.85 * (double)lk_graph_get_stats(kept.g).arena_bytes);
        end(&kept);
        end(&again);
    }
}

static int count(const lk_graph *g, lk_op op)
{
    int n = 0;
    for (size_t k = 0; k < g->n_nodes; k++)
        n += g->nodes[k].op == op;
    return n;
}

static lk_var critic(lk_graph *g, lk_var x)
{
    const lk_conv_options o = {.pad_lo = {1}, .pad_hi = {1}};
    lk_var h;
    lk_scope(g, "critic");
    h = lk_silu(g, lk_conv(g, x, weight(g, "a", LK_SHAPE(6, 3, 4)), LK_NONE, &o));
    h = lk_conv(g, h, weight(g, "b", LK_SHAPE(5, 3, 6)), LK_NONE, &o);
    lk_scope_end(g);
    return h;
}

static lk_var maker(lk_graph *g, lk_var x)
{
    lk_var h;
    lk_scope(g, "maker");
    h = lk_tanh(g, lk_linear(g, x, weight(g, "w", LK_SHAPE(4, 4)), LK_NONE));
    lk_scope_end(g);
    return h;
}

/* A maker and its critic train in turn over one store; each graph writes its own gradients only. */
static void test_frozen_and_shared(void **state)
{
    model m;
    lk_graph *other = NULL;
    lk_var x, loss;
    float before[16], after[16], *critic_grad;
    int w, a;
    (void)state;
    begin(&m, (lk_graph_config){0}, LK_SHAPE(2, 9, 4));
    x = maker(m.g, m.x);
    lk_freeze(m.g, 1);
    x = critic(m.g, x);
    lk_freeze(m.g, 0);
    finish(&m, x);
    assert_int_equal(count(m.g, LK_OP_CONV_DW), 0);
    assert_int_equal(count(m.g, LK_OP_CONV_DX), 2);
    assert_int_equal(count(m.g, LK_OP_PARAM_GRAD), 1);

    CHECK_OK(lk_graph_new(&other, &(lk_graph_config){.params = m.params, .train = 1}));
    x = lk_input(other, "x", LK_F32, LK_SHAPE(2, 9, 4));
    loss = lk_mean_all(other,
                       lk_square(other, critic(other, lk_stop_gradient(other, maker(other, x)))));
    lk_backward(other, loss);
    CHECK_OK(lk_graph_compile(other));
    assert_int_equal(count(other, LK_OP_CONV_DW), 2);
    assert_int_equal(count(other, LK_OP_CONV_DX), 1);
    assert_int_equal(count(other, LK_OP_PARAM_GRAD), 2);

    w = lk_params_find(m.params, "maker.w");
    a = lk_params_find(m.params, "critic.a");
    critic_grad = lk_params_data(m.params, a, LK_GRAD);
    run(&m, 1);
    CHECK_OK(lk_params_read(m.params, w, LK_GRAD, LK_F32, before));
    assert_true(before[0] != 0 && critic_grad[0] == 0);
    memcpy(lk_graph_data(other, x), lk_graph_data(m.g, m.x), 2 * 9 * 4 * sizeof(float));
    CHECK_OK(lk_graph_run(other, 1));
    CHECK_OK(lk_params_read(m.params, w, LK_GRAD, LK_F32, after));
    assert_memory_equal(before, after, sizeof before);
    assert_true(critic_grad[0] != 0);
    lk_graph_free(&other);
    end(&m);
}

static void test_accumulation(void **state)
{
    model once, sums;
    float one[16], two[16];
    (void)state;
    for (int i = 0; i < 2; i++) {
        model *m = i ? &sums : &once;
        begin(m, (lk_graph_config){.accumulate = i}, LK_SHAPE(2, 9, 4));
        finish(m, maker(m->g, m->x));
        run(m, 1);
        run(m, 1);
    }
    CHECK_OK(lk_params_read(once.params, 0, LK_GRAD, LK_F32, one));
    CHECK_OK(lk_params_read(sums.params, 0, LK_GRAD, LK_F32, two));
    for (int i = 0; i < 16; i++)
        assert_true(one[i] != 0 && two[i] == 2 * one[i]);
    CHECK_OK(lk_params_zero_grad(sums.params));
    run(&sums, 1);
    CHECK_OK(lk_params_read(sums.params, 0, LK_GRAD, LK_F32, two));
    assert_memory_equal(one, two, sizeof one);
    end(&once);
    end(&sums);
}

static void test_stop_and_straight_through(void **state)
{
    lk_graph *g = NULL;
    const float x_of[3] = {0.4f, -1.2f, 2.6f};
    float got[3];
    lk_var x, y, dx, dy;
    (void)state;
    CHECK_OK(lk_graph_new(&g, &(lk_graph_config){.train = 1}));
    x = lk_input(g, "x", LK_F32, LK_SHAPE(3));
    lk_want_grad(g, x);
    y = lk_mul(g, lk_square(g, x), lk_stop_gradient(g, x));
    lk_gradients(g, lk_sum_all(g, y), LK_NONE, 1, &x, &dx);
    lk_output(g, "dx", dx);
    y = lk_straight_through(g, lk_scale(g, x, 3), lk_square(g, x));
    lk_gradients(g, lk_sum_all(g, y), LK_NONE, 1, &x, &dy);
    lk_output(g, "y", y);
    lk_output(g, "dy", dy);
    CHECK_OK(lk_graph_compile(g));
    CHECK_OK(lk_graph_write(g, x, LK_F32, x_of));
    CHECK_OK(lk_graph_run(g, 0));
    CHECK_OK(lk_graph_read(g, dx, LK_F32, got));
    for (int i = 0; i < 3; i++)
        CHECK_CLOSE(got[i], 2 * x_of[i] * x_of[i], 1e-5);
    CHECK_OK(lk_graph_read(g, y, LK_F32, got));
    for (int i = 0; i < 3; i++)
        CHECK_CLOSE(got[i], x_of[i] * x_of[i], 1e-5);
    CHECK_OK(lk_graph_read(g, dy, LK_F32, got));
    for (int i = 0; i < 3; i++)
        CHECK_CLOSE(got[i], 3, 0);
    lk_graph_free(&g);
}

/* ---- random numbers ---- */

static void test_random(void **state)
{
    enum { N = 40000 };
    static float drawn[3][N], y[N], ones[N];
    (void)state;
    for (int i = 0; i < N; i++)
        ones[i] = 1;
    for (int train = 0; train < 2; train++) {
        lk_graph *g = NULL;
        lk_var x, d, z;
        double zeros = 0, sum = 0, square = 0;
        CHECK_OK(lk_graph_new(&g, &(lk_graph_config){.train = train, .seed = 11}));
        x = lk_input(g, "x", LK_F32, LK_SHAPE(N));
        d = lk_dropout(g, x, 0.25);
        z = lk_random_normal(g, LK_F32, LK_SHAPE(N));
        lk_output(g, "d", d);
        lk_output(g, "z", z);
        CHECK_OK(lk_graph_compile(g));
        CHECK_OK(lk_graph_write(g, x, LK_F32, ones));
        for (int i = 0; i < 3; i++) { /* steps 4, 5 and 4 again */
            CHECK_OK(lk_graph_run(g, (uint64_t)(4 + i % 2)));
            CHECK_OK(lk_graph_read(g, z, LK_F32, drawn[i]));
        }
        assert_memory_equal(drawn[0], drawn[2], sizeof y);
        assert_memory_not_equal(drawn[0], drawn[1], sizeof y);
        CHECK_OK(lk_graph_read(g, d, LK_F32, y));
        for (int i = 0; i < N; i++) {
            zeros += y[i] == 0;
            sum += (double)drawn[0][i];
            square += (double)drawn[0][i] * (double)drawn[0][i];
            assert_true(y[i] == 0 || fabsf(y[i] - (train ? 1 / 0.75f : 1)) < 1e-6f);
        }
        CHECK_CLOSE(zeros / N, train ? 0.25 : 0, train ? 0.01 : 0);
        CHECK_CLOSE(sum / N, 0, 0.02); /* four deviations */
        CHECK_CLOSE(square / N, 1, 0.03);
        lk_graph_free(&g);
    }
}

/* ---- failures ---- */

/* Builds, compiles and runs; whatever fails is returned, and nothing stays behind. */
static lk_status small_life(float *loss)
{
    lk_status st = LK_OK;
    lk_graph *g = NULL;
    lk_params *params = NULL;
    const float x_of[2 * 4 * 4] = {1, -1, 0.5f};
    lk_var x, h, l;
    LK_TRY(lk_params_new(&params, NULL, 3));
    LK_TRY(lk_graph_new(
        &g, &(lk_graph_config){.params = params, .train = 1, .compute = LK_BF16, .seed = 1}));
    x = lk_input(g, "x", LK_F32, LK_SHAPE(2, 4, 4));
    h = lk_cast(g, x, LK_BF16);
    for (int i = 0; i < 2; i++) {
        lk_scope(g, "block%d", i);
        lk_checkpoint_begin(g);
        h = block(g, h, 4);
        lk_checkpoint_end(g);
        lk_scope_end(g);
    }
    l = lk_mean_all(g, critic(g, h));
    lk_output(g, "loss", l);
    lk_backward(g, l);
    LK_TRY(lk_graph_compile(g));
    LK_TRY(lk_graph_write(g, x, LK_F32, x_of));
    LK_TRY(lk_graph_run(g, 1));
    LK_TRY(lk_graph_read(g, l, LK_F32, loss));
done:
    lk_graph_free(&g);
    lk_params_free(&params);
    return st;
}

/* Gradients reach the store from the plain definitions as from the kernels. */
static void test_gradients_of_backends(void **state)
{
    float x[2 * 4 * 8];
    (void)state;
    for (int i = 0; i < 2 * 4 * 8; i++)
        x[i] = lk_rng_normal(4, 5, (uint64_t)i);
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        model m[2];
        for (int k = 0; k < 2; k++) {
            lk_var h;
            begin(&m[k],
                  (lk_graph_config){.backend = k ? lk_backend_reference() : NULL,
                                    .accumulate = accumulate},
                  LK_SHAPE(2, 4, 8));
            h = lk_gelu(m[k].g,
                        lk_linear(m[k].g, m[k].x, weight(m[k].g, "a", LK_SHAPE(16, 8)), LK_NONE));
            h = lk_gelu(m[k].g,
                        lk_linear(m[k].g, h, weight(m[k].g, "b", LK_SHAPE(16, 16)), LK_NONE));
            finish(&m[k], lk_linear(m[k].g, h, weight(m[k].g, "c", LK_SHAPE(3, 16)), LK_NONE));
            CHECK_OK(lk_graph_write(m[k].g, m[k].x, LK_F32, x));
            for (int run = 0; run < 2; run++)
                CHECK_OK(lk_graph_run(m[k].g, 0));
        }
        for (int i = 0; i < lk_params_n(m[0].params); i++) {
            const lk_shape s = lk_params_shape(m[0].params, i);
            for (int64_t j = 0; j < lk_shape_count(&s); j++)
                CHECK_CLOSE(lk_params_data(m[0].params, i, LK_GRAD)[j],
                            lk_params_data(m[1].params, i, LK_GRAD)[j], 1e-5);
        }
        end(&m[0]);
        end(&m[1]);
    }
}

/* A model of any depth may go on recording after a failure. */
static void test_scopes_after_a_failure(void **state)
{
    lk_graph *g = NULL;
    (void)state;
    CHECK_OK(lk_graph_new(&g, &(lk_graph_config){0}));
    for (int i = 0; i < 200; i++) {
        lk_scope(g, "layer%d", i);
        if (i == 1)
            lk_graph_fail(g, LK_FAIL(LK_E_SHAPE, "layer 1 does not fit"));
        lk_scope_end(g);
    }
    assert_int_equal(lk_graph_compile(g), LK_E_SHAPE);
    assert_string_equal(lk_error_text(), "layer 1 does not fit");
    lk_error_clear();
    lk_graph_free(&g);
}

/* The inverse gives the picture back, and a picture without detail has none. */
static void test_haar(void **state)
{
    enum { N = 2 * 4 * 6 * 3 };
    const lk_shape s = LK_SHAPE(2, 4, 6, 3);
    lk_graph *g = NULL;
    lk_var x, bands, back;
    float in[N], band[N], out[N];
    (void)state;
    CHECK_OK(lk_graph_new(&g, &(lk_graph_config){0}));
    x = lk_input(g, "x", LK_F32, s);
    bands = lk_haar(g, x);
    back = lk_haar_inverse(g, bands);
    lk_output(g, "bands", bands);
    lk_output(g, "back", back);
    CHECK_OK(lk_graph_compile(g));
    for (int flat = 0; flat < 2; flat++) {
        for (int i = 0; i < N; i++)
            in[i] = flat ? (float)(i % 3) : lk_rng_normal(1, 2, (uint64_t)i);
        CHECK_OK(lk_graph_write(g, x, LK_F32, in));
        CHECK_OK(lk_graph_run(g, 0));
        CHECK_OK(lk_graph_read(g, bands, LK_F32, band));
        CHECK_OK(lk_graph_read(g, back, LK_F32, out));
        for (int i = 0; i < N; i++) {
            CHECK_CLOSE(out[i], in[i], 1e-6);
            if (flat)
                CHECK_CLOSE(band[i], i % 12 < 3 ? 2 * (i % 12) : 0, 1e-6);
        }
    }
    lk_graph_free(&g);
}

static void test_every_allocation_fails_once(void **state)
{
    float whole = 0, loss = 0;
    int64_t n = 1;
    (void)state;
    CHECK_OK(small_life(&whole));
    for (;; n++) {
        lk_status st;
        int fired;
        assert_true(n < 5000);
        lk_mem_fail_after(n);
        st = small_life(&loss);
        fired = lk_mem_fault_fired();
        lk_mem_fail_after(0);
        if (!fired) {
            CHECK_OK(st);
            break;
        }
        if (st != LK_E_MEMORY)
            fail_msg("allocation %lld failed and the graph answered %s", (long long)n,
                     lk_status_name(st));
        assert_true(lk_error_text()[0] != '\0');
        lk_error_clear();
    }
    assert_true(n > 100 && loss == whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plans),
        cmocka_unit_test(test_runs_allocate_nothing),
        cmocka_unit_test(test_checkpoints),
        cmocka_unit_test(test_recompute),
        cmocka_unit_test(test_frozen_and_shared),
        cmocka_unit_test(test_accumulation),
        cmocka_unit_test(test_stop_and_straight_through),
        cmocka_unit_test(test_haar),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_every_allocation_fails_once),
        cmocka_unit_test(test_scopes_after_a_failure),
        cmocka_unit_test(test_gradients_of_backends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
