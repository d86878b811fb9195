/* test_device.c - devices by name, and whole trainings on those whose memory the CPU cannot read:
 * the emulator, and the GPU where there is one.  Tokenizers and the joint model train there as on
 * the CPU, leave files that load equal on both, and a run goes on on the other one. */
#include "tests/check.h"
#include "tests/codec_tiny.h"
#include "tests/folder.h"
#include "tests/joint_toy.h"
#include "tests/vae_toy.h"

#include "kernels/cuda/cuda.h"
#include "kernels/device.h"
#include "kernels/rng.h"
#include "video_vae/vae_impl.h"

#include <unistd.h>

enum { STEPS = 3 };

static const lk_backend *device; /* beside the CPU */

/* ---- names ---- */

static void names_are_devices(void **state)
{
    const lk_backend *any = NULL, *gpu = NULL, *b = NULL;
    (void)state;
    CHECK_OK(lk_backend_named("cpu", &b));
    assert_ptr_equal(b, lk_backend_cpu());
    assert_string_equal(lk_backend_device(b), "cpu");
    assert_string_equal(lk_backend_device(NULL), "cpu");
    assert_string_equal(lk_backend_device(lk_backend_emulated()), "cuda emulated");
    CHECK_FAILS(lk_backend_named("gpu", &b), LK_E_ARG);
    CHECK_OK(lk_backend_named("auto", &any));
    CHECK_OK(lk_backend_named(NULL, &b));
    assert_ptr_equal(any, b);
    if (lk_backend_cuda(&gpu) == LK_OK) {
        assert_ptr_equal(any, gpu);
        CHECK_OK(lk_backend_named("cuda", &b));
        assert_ptr_equal(b, gpu);
        assert_true(strncmp(lk_backend_device(b), "cuda: ", 6) == 0);
    } else {
        lk_error_clear();
        assert_ptr_equal(any, lk_backend_cpu());
        CHECK_FAILS(lk_backend_named("cuda", &b), LK_E_ENV);
    }
}

/* ---- what a run leaves ---- */

static const char *in_folder(const char *run, const char *name)
{
    static char path[4][256];
    static int next;
    char *to = path[next++ % 4];
    snprintf(to, sizeof path[0], "%s/%s%s%s", test_folder, run, name[0] ? "/" : "", name);
    return to;
}

static const char *checkpoint(const char *run, int step)
{
    char name[64];
    snprintf(name, sizeof name, "checkpoints/step_%08d.safetensors", step);
    return in_folder(run, name);
}

static char *slurp(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    char *data = calloc(1, 1 << 22);
    assert_non_null(f);
    *n = fread(data, 1, (1 << 22) - 1, f);
    fclose(f);
    assert_true(*n < (1 << 22) - 1);
    return data;
}

/* Every number of both logs, but for the measurements. */
static void same_log(const char *run, const char *other, double tolerance)
{
    size_t n;
    char *a = slurp(in_folder(run, "log.jsonl"), &n), *b = slurp(in_folder(other, "log.jsonl"), &n);
    const char *y = b;
    int numbers = 0;
    for (const char *x = a; (x = strchr(x, '"')) != NULL;) {
        char *end_x, *end_y;
        const size_t name = strcspn(x + 1, "\"") + 2;
        y = strchr(y, '"');
        assert_non_null(y);
        assert_true(strncmp(x, y, name) == 0);
        const double p = strtod(x + name + 1, &end_x), q = strtod(y + name + 1, &end_y);
        if (strncmp(x, "\"samples_per_s\"", name) && strncmp(x, "\"step_ms\"", name) &&
            strncmp(x, "\"peak_mb\"", name) && strncmp(x, "\"time_s\"", name)) {
            if (!(fabs(p - q) <= tolerance * (fabs(p) + 1e-2)))
                fail_msg("%.*s is %.9g, and %.9g on the other device", (int)name, x, p, q);
            numbers++;
        }
        x = end_x;
        y = end_y;
    }
    assert_true(numbers >= STEPS * 5);
    free(a);
    free(b);
}

static void same_weights(const lk_params *a, const lk_params *b)
{
    assert_int_equal(lk_params_n(a), lk_params_n(b));
    for (int i = 0; i < lk_params_n(a); i++) {
        const lk_shape shape = lk_params_shape(a, i);
        const size_t bytes = (size_t)lk_shape_count(&shape) * sizeof(float);
        float *x = malloc(bytes), *y = malloc(bytes);
        CHECK_OK(lk_params_read(a, i, LK_VALUE, LK_F32, x));
        CHECK_OK(lk_params_read(b, i, LK_VALUE, LK_F32, y));
        assert_memory_equal(x, y, bytes);
        free(x);
        free(y);
    }
}

static void same_files(const char *path, const char *other)
{
    size_t n, m;
    char *a = slurp(path, &n), *b = slurp(other, &m);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    free(a);
    free(b);
}

/* ---- sound ---- */

static lk_status tones(void *user, uint64_t seed, int64_t index, int64_t n_crops, int64_t n_samples,
                       float *sound, int32_t *labels)
{
    (void)user;
    (void)seed;
    (void)labels;
    for (int64_t i = 0; i < n_crops * n_samples; i++)
        sound[i] = (float)(0.3 * sin(0.05 * (double)(i * (1 + (index + i / n_samples) % 7))) +
                           0.1 * sin(1.7 * (double)i));
    return LK_OK;
}

static void train_codec(const lk_backend *backend, const char *run, const char *compute, int steps)
{
    const lk_codec_config c = tiny_codec(1);
    lk_codec_train_settings s;
    lk_option_defaults(lk_codec_train_options, &s);
    s.steps = steps;
    s.batch = 2;
    s.latents = 4;
    s.warmup = 2;
    s.log_every = 1;
    s.average = 0.9;
    s.compute = compute;
    s.adversarial_steps = steps == STEPS ? 1 : 0;
    CHECK_OK(lk_codec_train(&(lk_codec_train_config){.codec = &c,
                                                     .settings = &s,
                                                     .folder = in_folder(run, ""),
                                                     .crops = tones,
                                                     .resume = 1,
                                                     .backend = backend}));
}

static void a_codec_trains(void **state)
{
    lk_codec *a = NULL, *b = NULL;
    (void)state;
    train_codec(NULL, "codec_cpu", "f32", STEPS);
    train_codec(device, "codec_gpu", "f32", STEPS);
    same_log("codec_cpu", "codec_gpu", 1e-3);
    CHECK_OK(lk_codec_load(&a, checkpoint("codec_gpu", STEPS), NULL));
    CHECK_OK(lk_codec_load(&b, checkpoint("codec_gpu", STEPS), device));
    same_weights(lk_codec_params(a), lk_codec_params(b));
    CHECK_OK(lk_codec_save(a, in_folder("codec_gpu", "a"), LK_F32));
    CHECK_OK(lk_codec_save(b, in_folder("codec_gpu", "b"), LK_F32));
    same_files(in_folder("codec_gpu", "a"), in_folder("codec_gpu", "b"));
    lk_codec_free(&a);
    lk_codec_free(&b);
}

/* ---- pictures ---- */

enum { FRAMES = 2, SIDE = 16 };

/* With noise, so that no component of the fit is made of rounding alone. */
static lk_status waves(void *user, uint64_t seed, int64_t index, float *rgb)
{
    (void)user;
    for (int t = 0; t < FRAMES; t++)
        vae_toy_frame((uint64_t)index % 2, t, SIDE, SIDE, rgb + t * SIDE * SIDE * 3);
    for (int64_t i = 0; i < FRAMES * SIDE * SIDE * 3; i++)
        rgb[i] += 0.2f * lk_rng_normal(seed, (uint64_t)index, (uint64_t)i);
    return LK_OK;
}

static void train_vae(const lk_backend *backend, const char *run, int steps)
{
    lk_vae_train_config c;
    memset(&c, 0, sizeof c);
    lk_option_defaults(lk_vae_train_options, &c);
    c.model = vae_toy_config("t1s8c16", "group");
    c.folder = in_folder(run, "");
    c.fill = waves;
    c.backend = backend;
    c.resume = 1;
    c.batch = 1;
    c.frames = FRAMES;
    c.height = c.width = SIDE;
    c.log_every = 1;
    c.steps = steps;
    CHECK_OK(lk_vae_train(&c, NULL));
}

static void a_video_tokenizer_trains(void **state)
{
    lk_vae *a = NULL, *b = NULL;
    (void)state;
    train_vae(NULL, "vae_cpu", STEPS);
    train_vae(device, "vae_gpu", STEPS);
    same_log("vae_cpu", "vae_gpu", 1e-3);
    CHECK_OK(lk_vae_load(&a, checkpoint("vae_gpu", STEPS), NULL));
    CHECK_OK(lk_vae_load(&b, checkpoint("vae_gpu", STEPS), device));
    same_weights(a->params, b->params);
    CHECK_OK(lk_vae_save(b, in_folder("vae_gpu", "b"), LK_F32));
    same_files(in_folder("vae_gpu", "vae.safetensors"), in_folder("vae_gpu", "b"));
    lk_vae_free(&a);
    lk_vae_free(&b);
}

/* ---- both ---- */

static lk_status clips(void *user, uint64_t seed, int64_t index, int n, int first,
                       lk_joint_clip *out)
{
    (void)user;
    (void)seed;
    (void)first;
    for (int b = 0; b < n; b++)
        out[b] = joint_toy_clip((int)(index + b) % 3);
    return LK_OK;
}

static lk_status look(void *user, int64_t step, lk_joint *averaged)
{
    float x[JOINT_TOY_VIDEO + JOINT_TOY_AUDIO] = {0.5f}, v[JOINT_TOY_VIDEO], a[JOINT_TOY_AUDIO];
    const lk_joint_clip c = joint_toy_clip(0);
    (void)step;
    (*(int *)user)++;
    return joint_toy_run(averaged, &c, NULL, x, x + JOINT_TOY_VIDEO, v, a);
}

static void train_joint(const lk_backend *backend, const char *run, const char *compute, int steps)
{
    const lk_joint_config model = joint_toy_config("window");
    const lk_joint_clip held_out = joint_toy_clip(3);
    lk_joint *m = NULL;
    lk_joint_train_config c;
    int looks = 0;
    memset(&c, 0, sizeof c);
    lk_option_defaults(lk_joint_train_options, &c);
    CHECK_OK(joint_toy_new(&m, &model, backend));
    c.model = m;
    c.sizes = joint_toy_sizes(2);
    c.folder = in_folder(run, "");
    c.fill = clips;
    c.resume = 1;
    c.compute = compute;
    c.steps = steps;
    c.log_every = 1;
    c.held_out_sizes = joint_toy_sizes(1);
    c.n_held_out = 1;
    c.held_out = &held_out;
    c.validate_every = c.sample_every = STEPS;
    c.show = look;
    c.show_user = &looks;
    CHECK_OK(lk_joint_train(&c, NULL));
    assert_int_equal(looks, steps / STEPS);
    lk_joint_free(&m);
}

static void a_joint_model_trains(void **state)
{
    lk_joint *a = NULL, *b = NULL;
    (void)state;
    train_joint(NULL, "joint_cpu", "f32", STEPS);
    train_joint(device, "joint_gpu", "f32", STEPS);
    same_log("joint_cpu", "joint_gpu", 1e-3);
    CHECK_OK(lk_joint_load(&a, checkpoint("joint_gpu", STEPS), NULL));
    CHECK_OK(lk_joint_load(&b, checkpoint("joint_gpu", STEPS), device));
    same_weights(a->params, b->params);
    CHECK_OK(lk_joint_save(b, in_folder("joint_gpu", "b"), LK_F32));
    same_files(in_folder("joint_gpu", "joint.safetensors"), in_folder("joint_gpu", "b"));
    lk_joint_free(&a);
    lk_joint_free(&b);
}

/* Two steps on one device and the third on the other are three on either. */
static void runs_change_their_device(void **state)
{
    (void)state;
    train_joint(NULL, "joint_there", "f32", STEPS - 1);
    train_joint(device, "joint_there", "f32", STEPS);
    same_log("joint_cpu", "joint_there", 1e-3);
    train_joint(device, "joint_back", "f32", STEPS - 1);
    train_joint(NULL, "joint_back", "f32", STEPS);
    same_log("joint_cpu", "joint_back", 1e-3);
}

static void a_joint_model_trains_in_bf16(void **state)
{
    (void)state;
    train_joint(NULL, "joint_cpu16", "bf16", STEPS);
    train_joint(device, "joint_gpu16", "bf16", STEPS);
    same_log("joint_cpu16", "joint_gpu16", 3e-2);
}

/* A group's folder is made and dropped with it, and made anew for the next. */
static int run_on(const struct CMUnitTest *tests, size_t n, const lk_backend *backend)
{
    memset(test_folder + strlen(test_folder) - 6, 'X', 6);
    device = backend;
    return _cmocka_run_group_tests(lk_backend_device(backend), tests, n, test_folder_make,
                                   test_folder_drop);
}

/* test_device [--cuda]: all, or what a GPU does alone. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_devices),        cmocka_unit_test(a_codec_trains),
        cmocka_unit_test(a_video_tokenizer_trains), cmocka_unit_test(a_joint_model_trains),
        cmocka_unit_test(runs_change_their_device), cmocka_unit_test(a_joint_model_trains_in_bf16),
    };
    const size_t n = sizeof tests / sizeof *tests;
    const int alone = argc > 1 && strcmp(argv[1], "--cuda") == 0;
    const lk_backend *gpu = NULL;
    int failed = alone ? 0 : run_on(tests, n, lk_backend_emulated());
    if (lk_backend_cuda(&gpu) == LK_OK)
        return failed + run_on(tests, n, gpu);
    if (alone)
        fprintf(stderr, "%s\n", lk_error_text());
    lk_error_clear();
    return alone ? 77 : failed;
}
