/* toy.c - see toy.h. */
#include "tests/toy.h"

#include "kernels/mem.h"
#include "kernels/ops.h"
#include "kernels/rng.h"

#include <math.h>

#define WIDTH  8
#define HIDDEN 96

static lk_status fill(void *user, lk_graph *g, const lk_train_batch *b)
{
    lk_status st = LK_OK;
    toy *t = user;
    for (int64_t r = 0; r < t->rows; r++) {
        const int64_t row = b->index * t->rows + r;
        double sum = 0;
        for (int64_t k = 0; k < WIDTH; k++) {
            const float x = lk_rng_normal(b->seed, 1, (uint64_t)(row * WIDTH + k));
            t->x[r * WIDTH + k] = x;
            sum += (double)x * cos((double)k);
        }
        t->y[r] = (float)sin(sum);
    }
    if (t->poison_step >= 0 && b->step >= t->poison_step)
        t->x[3] = NAN;
    LK_TRY(lk_graph_write(g, lk_graph_find(g, "x"), LK_F32, t->x));
    LK_TRY(lk_graph_write(g, lk_graph_find(g, "y"), LK_F32, t->y));
done:
    return st;
}

static lk_var layer(lk_graph *g, const char *name, lk_var x, int64_t n_in, int64_t n_out)
{
    lk_scope(g, "%s", name);
    const lk_var w =
        lk_param(g, "weight", LK_SHAPE(n_out, n_in), LK_INIT_NORMAL, 1 / sqrt((double)n_in));
    const lk_var b = lk_param(g, "bias", LK_SHAPE(n_out), LK_INIT_ZERO, 0);
    lk_scope_end(g);
    return lk_linear(g, x, w, b);
}

lk_status toy_open(toy *t, int64_t rows)
{
    static const char *const losses[] = {"loss", "size"};
    lk_status st = LK_OK;
    lk_graph *g = NULL;
    *t = (toy){.rows = rows, .poison_step = -1};
    LK_TRY(LK_NEW_ARRAY(&t->x, rows * WIDTH));
    LK_TRY(LK_NEW_ARRAY(&t->y, rows));
    LK_TRY(lk_params_new(&t->params, NULL, 11));
    LK_TRY(lk_graph_new(
        &t->graph,
        &(lk_graph_config){.params = t->params, .train = 1, .accumulate = 1, .seed = 5}));
    g = t->graph;
    const lk_var x = lk_input(g, "x", LK_F32, LK_SHAPE(rows, WIDTH));
    const lk_var y = lk_input(g, "y", LK_F32, LK_SHAPE(rows, 1));
    const lk_var h = lk_tanh(g, layer(g, "hidden", x, WIDTH, HIDDEN));
    const lk_var guess = layer(g, "last", h, HIDDEN, 1), d = lk_sub(g, guess, y);
    const lk_var loss = lk_mean_all(g, lk_square(g, d));
    lk_output(g, "loss", loss);
    lk_output(g, "size", lk_mean_all(g, lk_square(g, guess)));
    lk_backward(g, loss);
    LK_TRY(lk_graph_compile(g));
    t->phase = (lk_train_phase){
        .graph = g,
        .fill = fill,
        .user = t,
        .n_losses = 2,
        .losses = losses,
        .optim = {.decay = 0.01, .average = 0.99},
        .clip = 1,
    };
done:
    return st;
}

void toy_close(toy *t)
{
    lk_graph_free(&t->graph);
    lk_params_free(&t->params);
    lk_free(t->x);
    lk_free(t->y);
    *t = (toy){0};
}

lk_train_config toy_config(toy *t, const char *folder, int64_t n_steps)
{
    static const lk_safetensors_text texts[] = {{"config", "toy: 1\n"}};
    t->phase.schedule = (lk_schedule){LK_SCHEDULE_COSINE, 0.01, 0.001, 5, n_steps, 0};
    return (lk_train_config){
        .folder = folder,
        .params = t->params,
        .n_phases = 1,
        .phases = &t->phase,
        .seed = 7,
        .n_steps = n_steps,
        .batch_samples = t->rows,
        .save_every = 10,
        .keep = 2,
        .n_texts = 1,
        .texts = texts,
    };
}
