/* test_vae_train.c - the losses of the video tokenizer against finite differences and published
 * definitions, and its training: it learns, resumes to the same bits, and fails cleanly. */
#include "tests/check.h"
#include "tests/folder.h"
#include "tests/vae_toy.h"

#include "align/fidelity.h"
#include "kernels/checkpoint.h"
#include "kernels/file.h"
#include "kernels/mem.h"
#include "kernels/rng.h"
#include "video_vae/vae_impl.h"

#include <unistd.h>

static char folder[64], path[160];
static lk_vae_train_config config;
static int64_t stop_at = -1;

static lk_status fill(void *user, uint64_t seed, int64_t index, float *rgb)
{
    (void)user;
    (void)seed;
    if (index == stop_at)
        return LK_FAIL(LK_E_IO, "the clips are gone");
    for (int b = 0; b < config.batch; b++)
        for (int t = 0; t < config.frames; t++) {
            vae_toy_frame((uint64_t)((index + b) % 2), t, config.height, config.width, rgb);
            rgb += config.height * config.width * 3;
        }
    return LK_OK;
}

static void configure(const char *variant)
{
    lk_option_defaults(lk_vae_train_options, &config);
    config.model = vae_toy_config(variant, "group");
    config.folder = folder;
    config.fill = fill;
    config.batch = 1;
    config.frames = 6;
    config.height = config.width = 32;
    config.log_every = 1;
    config.clips_weight = 0.01; /* not part of the defaults */
}

/* ---- losses ---- */

typedef struct loss_graph {
    lk_vae *v;
    lk_graph *g;
    lk_var loss;
} loss_graph;

static void open_loss(loss_graph *l, const lk_backend *backend)
{
    float rgb[6 * 32 * 32 * 3], sigma = 0.1f, keep[48];
    CHECK_OK(lk_vae_new(&l->v, &config.model, backend));
    CHECK_OK(vae_toy_liven(l->v));
    CHECK_OK(lk_graph_new(
        &l->g, &(lk_graph_config){.backend = backend, .params = l->v->params, .train = 1}));
    l->loss = lk_vae_loss_graph(l->g, &l->v->shape, &config);
    lk_backward(l->g, l->loss);
    CHECK_OK(lk_graph_compile(l->g));
    CHECK_OK(fill(NULL, 0, 0, rgb));
    for (int k = 0; k < 48; k++)
        keep[k] = k != 3;
    CHECK_OK(lk_graph_write(l->g, lk_graph_find(l->g, "rgb"), LK_F32, rgb));
    CHECK_OK(lk_graph_write(l->g, lk_graph_find(l->g, "sigma"), LK_F32, &sigma));
    CHECK_OK(lk_graph_write(l->g, lk_graph_find(l->g, "keep"), LK_F32, keep));
}

static double loss_now(loss_graph *l)
{
    double value;
    CHECK_OK(lk_graph_run(l->g, 0));
    CHECK_OK(lk_graph_read(l->g, l->loss, LK_F64, &value));
    return value;
}

static void close_loss(loss_graph *l)
{
    lk_graph_free(&l->g);
    lk_vae_free(&l->v);
}

/* Along the gradient of one tensor of weights at a time: d loss / d step = |gradient|. */
static void gradients_are_right(void **state)
{
    const double step = 2e-4;
    (void)state;
    for (int t1 = 0; t1 < 2; t1++) {
        loss_graph l = {0};
        configure(t1 ? "t1s16c48" : "t4s8c16");
        config.frames = t1 ? 2 : 6;
        open_loss(&l, lk_backend_reference());
        (void)loss_now(&l);
        for (int i = t1; i < lk_params_n(l.v->params); i += check_count(5, 25)) {
            const lk_shape shape = lk_params_shape(l.v->params, i);
            const int64_t n = lk_shape_count(&shape);
            float *old = NULL, *grad = NULL, *moved = NULL;
            double norm = 0, value[2], along;
            CHECK_OK(LK_NEW_ARRAY(&old, n));
            CHECK_OK(LK_NEW_ARRAY(&grad, n));
            CHECK_OK(LK_NEW_ARRAY(&moved, n));
            CHECK_OK(lk_params_read(l.v->params, i, LK_VALUE, LK_F32, old));
            (void)loss_now(&l);
            CHECK_OK(lk_params_read(l.v->params, i, LK_GRAD, LK_F32, grad));
            for (int64_t j = 0; j < n; j++)
                norm += (double)grad[j] * grad[j];
            norm = sqrt(norm);
            assert_true(norm > 0);
            along = 0;
            for (int side = 0; side < 2; side++) {
                for (int64_t j = 0; j < n; j++)
                    moved[j] = (float)(old[j] + (side ? step : -step) * grad[j] / norm);
                CHECK_OK(lk_params_write(l.v->params, i, LK_VALUE, LK_F32, moved));
                value[side] = loss_now(&l);
                for (int64_t j = 0; j < n; j++)
                    along += (side ? 1 : -1) * (double)moved[j] * grad[j];
            }
            CHECK_OK(lk_params_write(l.v->params, i, LK_VALUE, LK_F32, old));
            if (!(fabs(value[1] - value[0] - along) < 2e-2 * along))
                fail_msg("%s: %g by differences, %g by gradient", lk_params_name(l.v->params, i),
                         value[1] - value[0], along);
            lk_free(old);
            lk_free(grad);
            lk_free(moved);
        }
        close_loss(&l);
    }
}

/* Both backends agree on every number that is logged. */
static void backends_agree(void **state)
{
    loss_graph fast = {0}, plain = {0};
    (void)state;
    configure("t4s8c16");
    open_loss(&fast, NULL);
    open_loss(&plain, lk_backend_reference());
    (void)loss_now(&fast);
    (void)loss_now(&plain);
    for (int i = 0; i < lk_vae_n_losses; i++) {
        float a, b;
        CHECK_OK(lk_graph_read(fast.g, lk_graph_find(fast.g, lk_vae_loss_names[i]), LK_F32, &a));
        CHECK_OK(lk_graph_read(plain.g, lk_graph_find(plain.g, lk_vae_loss_names[i]), LK_F32, &b));
        CHECK_CLOSE(a, b, 1e-4 * (1 + fabs((double)b)));
    }
    close_loss(&fast);
    close_loss(&plain);
}

/* The loss is 1 - the published measure on a picture that all five scales fit in. */
static void ms_ssim_is_the_published_one(void **state)
{
    enum { Y = 180, X = 192, N = Y * X };
    uint8_t *levels[2] = {NULL, NULL};
    float *grey[2] = {NULL, NULL}, loss;
    lk_graph *g = NULL;
    lk_var in[2], out;
    double expected;
    (void)state;
    CHECK_OK(lk_graph_new(&g, &(lk_graph_config){0}));
    for (int k = 0; k < 2; k++) {
        CHECK_OK(LK_NEW_ARRAY(&levels[k], N));
        CHECK_OK(LK_NEW_ARRAY(&grey[k], N));
        in[k] = lk_input(g, k ? "b" : "a", LK_F32, LK_SHAPE(1, Y, X));
        for (int i = 0; i < N; i++) {
            const double at = 0.11 * (i % X) + 0.07 * (double)(i / X);
            const double noise = k * 90 * (lk_rng_uniform(1, 2, (uint64_t)i) - 0.5);
            levels[k][i] = (uint8_t)(128 + 45 * sin(at) + 30 * sin(3.3 * at) + noise);
            grey[k][i] = (float)levels[k][i] * (2.0f / 255) - 1;
        }
    }
    out = lk_vae_ssim_loss(g, lk_affine(g, in[0], 0.5, 0.5), lk_affine(g, in[1], 0.5, 0.5), 1);
    lk_output(g, "loss", out);
    CHECK_OK(lk_graph_compile(g));
    for (int k = 0; k < 2; k++)
        CHECK_OK(lk_graph_write(g, in[k], LK_F32, grey[k]));
    CHECK_OK(lk_graph_run(g, 0));
    CHECK_OK(lk_graph_read(g, out, LK_F32, &loss));
    CHECK_OK(lk_ms_ssim(&(lk_clip_view){levels[0], 1, Y, X, 1},
                        &(lk_clip_view){levels[1], 1, Y, X, 1}, &expected));
    assert_true(expected < 0.99);
    CHECK_CLOSE(1 - loss, expected, 1e-3);
    for (int k = 0; k < 2; k++) {
        lk_free(levels[k]);
        lk_free(grey[k]);
    }
    lk_graph_free(&g);
}

/* ---- training ---- */

static double logged(const char *name, int last)
{
    char line[2048], key[64];
    double value = NAN;
    snprintf(path, sizeof path, "%s/log.jsonl", folder);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    snprintf(key, sizeof key, "\"%s\":", name);
    while (fgets(line, sizeof line, f)) {
        value = atof(strstr(line, key) + strlen(key));
        if (!last)
            break;
    }
    fclose(f);
    return value;
}

static const char *checkpoint(int step)
{
    snprintf(path, sizeof path, "%s/checkpoints/step_%08d.safetensors", folder, step);
    return path;
}

/* Mean square error of a tokenizer's copy of toy clip 1. */
static double copy_error(lk_vae *v, int frames)
{
    vae_toy_clip c;
    double error = 0;
    static float rgb[32 * 32 * 3];
    CHECK_OK(vae_toy_round(&c, v, &(lk_vae_stream_config){32, 32, LK_F32, 0}, frames, -1));
    for (int t = 0; t < frames; t++) {
        vae_toy_frame(1, t, 32, 32, rgb);
        for (int i = 0; i < 32 * 32 * 3; i++)
            error += pow(c.frame[t * 32 * 32 * 3 + i] - rgb[i], 2) / (frames * 32 * 32 * 3);
    }
    vae_toy_free(&c);
    return error;
}

/* Patches of the toy's pictures have twelve dimensions, so sixteen numbers hold them. */
static void it_starts_as_the_linear_one(void **state)
{
    lk_vae *v = NULL;
    (void)state;
    configure("t1s8c16");
    CHECK_OK(lk_vae_new(&v, &config.model, NULL));
    assert_true(copy_error(v, 6) > 1e-2);
    CHECK_OK(lk_vae_fit(v, &config));
    assert_true(copy_error(v, 6) < 1e-5);
    lk_vae_free(&v);
    configure("t4s8c16"); /* moving and standing groups need more than it has */
    CHECK_OK(lk_vae_new(&v, &config.model, NULL));
    CHECK_OK(lk_vae_fit(v, &config));
    const double error = copy_error(v, 6);
    assert_true(error > 1e-5 && error < 0.2);
    lk_vae_free(&v);
}

/* What the latents are fitted to hold is what is found in the first step. */
static void it_starts_at_its_rate(void **state)
{
    (void)state;
    configure("t4s8c16");
    config.steps = 1;
    config.rate = config.last_rate = 1e-9;
    config.disturbed = 0;
    CHECK_OK(lk_vae_train(&config, NULL));
    CHECK_CLOSE(logged("kl_bits_per_pixel", 0) / config.bits_per_pixel, 1, 0.1);
}

static void it_learns_one_clip(void **state)
{
    lk_train_result r;
    lk_vae *v = NULL;
    (void)state;
    configure("t4s8c16");
    config.steps = 60;
    config.warmup = 5;
    config.rate = 5e-3;
    config.disturbed = 0;
    config.average = 0.5;
    CHECK_OK(lk_vae_train(&config, &r));
    assert_int_equal(r.allocations, 0);
    /* It starts as the best linear one. */
    assert_true(logged("bands", 1) < 0.75 * logged("bands", 0));
    assert_true(logged("change", 1) < 0.7 * logged("change", 0));
    assert_true(logged("psnr_db", 1) > logged("psnr_db", 0) + 2);
    CHECK_CLOSE(logged("kl_bits_per_pixel", 1) / config.bits_per_pixel, 1, 0.3);

    /* What is loaded are the averaged weights, and they reproduce the
     * clip of the last step as the training said. */
    CHECK_OK(lk_vae_load(&v, checkpoint(60), NULL));
    const double said = 4 * pow(10, -logged("psnr_db", 1) / 10), error = copy_error(v, 6);
    if (!(error < 1.5 * said))
        fail_msg("error %g, but %g in training", error, said);
    lk_vae_free(&v);
}

static char *slurp(const char *from, size_t *n)
{
    FILE *f = fopen(from, "rb");
    char *data = calloc(1, 1 << 20);
    assert_non_null(f);
    *n = fread(data, 1, 1 << 20, f);
    fclose(f);
    return data;
}

static void it_resumes_to_the_same_bits(void **state)
{
    size_t n, again;
    char *whole, *cut;
    (void)state;
    configure("t1s8c16");
    config.frames = 3;
    config.steps = 6;
    config.save_every = 2;
    CHECK_OK(lk_vae_train(&config, NULL));
    whole = slurp(checkpoint(6), &n);
    snprintf(folder, sizeof folder, "%s/cut", test_folder);
    config.resume = 1;
    stop_at = 3;
    CHECK_FAILS(lk_vae_train(&config, NULL), LK_E_IO);
    stop_at = -1;
    CHECK_OK(lk_vae_train(&config, NULL));
    cut = slurp(checkpoint(6), &again);
    assert_int_equal(n, again);
    assert_memory_equal(whole, cut, n);
    free(whole);
    free(cut);
}

/* Weights of a t4 tokenizer start a t1 one as far as they go; the encoder can be left alone. */
static void it_starts_from_other_weights(void **state)
{
    lk_vae *v = NULL, *after = NULL;
    char from[160];
    int same = 0, other = 0;
    (void)state;
    configure("t4s8c16");
    CHECK_OK(lk_vae_new(&v, &config.model, NULL));
    snprintf(from, sizeof from, "%s/from.safetensors", test_folder);
    CHECK_OK(lk_vae_save(v, from, LK_F32));
    config.model.look = "causal";
    config.model.variant = "t1s8c16";
    config.model.seed = 9;
    config.frames = 2;
    config.steps = 2; /* the first one moves only the last filter */
    config.decoder_only = true;
    config.start_from = from;
    CHECK_OK(lk_vae_train(&config, NULL));
    CHECK_OK(lk_vae_load(&after, checkpoint(2), NULL));
    for (int i = 0; i < lk_params_n(after->params); i++) {
        const char *name = lk_params_name(after->params, i);
        const lk_shape shape = lk_params_shape(after->params, i);
        const int at = lk_params_find(v->params, name);
        lk_shape before;
        int equal;
        assert_true(at >= 0);
        before = lk_params_shape(v->params, at);
        if (!lk_shape_equal(&before, &shape))
            continue;
        equal = memcmp(lk_params_data(after->params, i, LK_VALUE),
                       lk_params_data(v->params, at, LK_VALUE),
                       (size_t)lk_shape_count(&shape) * sizeof(float)) == 0;
        same += equal && strncmp(name, "encoder.", 8) == 0;
        other += !equal && strncmp(name, "decoder.", 8) == 0;
        assert_true(equal || strncmp(name, "encoder.", 8) != 0);
    }
    assert_true(same > 5 && other > 5);
    lk_vae_free(&after);
    lk_vae_free(&v);
    config.start_from = "/nowhere.safetensors";
    snprintf(from, sizeof from, "%s/none", test_folder);
    config.folder = from;
    CHECK_FAILS(lk_vae_train(&config, NULL), LK_E_IO);
}

static void silly_settings_are_refused(void **state)
{
    (void)state;
    configure("t4s8c16");
    config.height = 24;
    CHECK_FAILS(lk_vae_train(&config, NULL), LK_E_ARG);
    configure("t4s8c16");
    config.frames = 0;
    CHECK_FAILS(lk_vae_train(&config, NULL), LK_E_ARG);
    configure("t4s8c16");
    config.fill = NULL;
    CHECK_FAILS(lk_vae_train(&config, NULL), LK_E_ARG);
    configure("t5s8c16");
    CHECK_FAILS(lk_vae_train(&config, NULL), LK_E_ARG);
    CHECK_FAILS(lk_option_set(lk_vae_train_options, &config, "rate", "2"), LK_E_ARG);
}

static void failed_allocations_are_clean(void **state)
{
    int fired = 1;
    (void)state;
    for (int n = 1; fired; n += 1 + n / 4) {
        lk_status st;
        configure("t1s8c16");
        config.frames = 1;
        config.height = config.width = 16;
        config.steps = 1;
        snprintf(folder, sizeof folder, "%s/fault%d", test_folder, n);
        lk_mem_fail_after(n);
        st = lk_vae_train(&config, NULL);
        fired = lk_mem_fault_fired();
        lk_mem_fail_after(0);
        if (st != (fired ? LK_E_MEMORY : LK_OK))
            fail_msg("failure %d gave %s: %s", n, lk_status_name(st), lk_error_text());
        lk_error_clear();
    }
}

static int new_folder(void **state)
{
    static int n;
    (void)state;
    snprintf(folder, sizeof folder, "%s/run%d", test_folder, n++);
    return 0;
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup(test, new_folder)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_right),
        cmocka_unit_test(backends_agree),
        cmocka_unit_test(ms_ssim_is_the_published_one),
        cmocka_unit_test(it_starts_as_the_linear_one),
        IN_FOLDER(it_starts_at_its_rate),
        IN_FOLDER(it_learns_one_clip),
        IN_FOLDER(it_resumes_to_the_same_bits),
        IN_FOLDER(it_starts_from_other_weights),
        IN_FOLDER(silly_settings_are_refused),
        IN_FOLDER(failed_allocations_are_clean),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_drop);
}
