/* test_codec_train.c - training of the audio tokenizer: it learns, stops, goes on, and ends in a
 * codec that can be used. */
#include "tests/check.h"
#include "tests/codec_tiny.h"

#include "kernels/file.h"
#include "kernels/mem.h"
#include "kernels/pca.h"
#include "kernels/rng.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

static char base[] = "/tmp/lk_codec_train_XXXXXX";
static char folder[64], path[160];

static int drop_entry(const char *name, const struct stat *s, int kind, struct FTW *ftw)
{
    (void)s;
    (void)kind;
    (void)ftw;
    return remove(name);
}

static char *slurp(const char *name, size_t *n)
{
    char *data = calloc(1, 1 << 20);
    sprintf(path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    *n = f ? fread(data, 1, (1 << 20) - 1, f) : 0;
    if (f)
        fclose(f);
    return data;
}

/* Two tones; the first one's pitch, which goes with its loudness, is the label of every second
 * latent. */
static int64_t stop_at = -1;
static lk_status tones(void *user, uint64_t seed, int64_t index, int64_t n_crops, int64_t n_samples,
                       float *sound, int32_t *labels)
{
    const lk_codec_config *c = user;
    if (index == stop_at)
        return LK_FAIL(LK_E_IO, "the data are gone");
    for (int64_t b = 0; b < n_crops; b++) {
        const uint64_t crop = (uint64_t)(index * n_crops + b);
        const int pitch = (int)lk_rng_below(seed, 1, crop, 3);
        const double phase = lk_rng_range(seed, 2, crop, 0, 6.28);
        for (int64_t i = 0; i < n_samples; i++)
            for (int ch = 0; ch < c->channels; ch++)
                sound[(b * n_samples + i) * c->channels + ch] =
                    (float)((0.1 + 0.2 * pitch) * sin(phase + 0.2 * (1 + pitch) * (double)i) +
                            (ch ? -0.1 : 0.1) * sin(1.7 * (double)i));
        for (int64_t t = 0; t < n_samples / lk_codec_period(c); t += 2)
            labels[b * (n_samples / lk_codec_period(c)) + t] = pitch;
    }
    return LK_OK;
}

typedef struct setup {
    lk_codec_config c;
    lk_codec_train_settings s;
    lk_codec_train_config t;
} setup;

static void prepare(setup *x, int channels)
{
    x->c = tiny_codec(channels);
    x->c.labels = 3;
    lk_option_defaults(lk_codec_train_options, &x->s);
    x->s.steps = 12;
    x->s.batch = 3;
    x->s.latents = 4;
    x->s.warmup = 2;
    x->s.rate = 3e-3;
    x->s.log_every = 1;
    x->s.save_every = 5;
    x->s.average = 0.9;
    x->t = (lk_codec_train_config){.codec = &x->c,
                                   .settings = &x->s,
                                   .folder = folder,
                                   .crops = tones,
                                   .user = &x->c,
                                   .resume = 1};
    stop_at = -1;
}

/* The number under a name in a line of the log. */
static double logged(const char *line, const char *name)
{
    char key[64];
    sprintf(key, "\"%s\":", name);
    const char *at = strstr(line, key);
    if (!at)
        fail_msg("the log has no %s", name);
    return atof(at + strlen(key));
}

/* The mean over the lines from .. to - 1. */
static double mean(const char *text, const char *name, int from, int to)
{
    double sum = 0;
    for (int i = 0; i < to; i++, text = strchr(text, '\n') + 1)
        sum += i >= from ? logged(text, name) : 0;
    return sum / (to - from);
}

static const char *last_line(const char *text)
{
    const char *line = text;
    for (const char *p = text; *p; p++)
        if (*p == '\n' && p[1])
            line = p + 1;
    return line;
}

/* ---- the fit ---- */

/* Noise that changes slowly, at levels that differ a thousandfold. */
static lk_status slow_noise(void *user, uint64_t seed, int64_t index, int64_t n_crops,
                            int64_t n_samples, float *sound, int32_t *labels)
{
    const lk_codec_config *c = user;
    (void)labels;
    for (int64_t b = 0; b < n_crops; b++) {
        const uint64_t crop = (uint64_t)(index * n_crops + b);
        const float level = powf(10, -3 * lk_rng_uniform(seed, 2, crop));
        float x[2] = {0};
        for (int64_t i = 0; i < n_samples * c->channels; i++) {
            float *ch = x + i % c->channels;
            *ch = 0.95f * *ch + 0.1f * level * lk_rng_normal(seed, 1, crop * 100000 + (uint64_t)i);
            sound[i] = *ch;
        }
    }
    return LK_OK;
}

enum { FIT_BATCH = 16, FIT_LATENTS = 8, FIT_PERIOD = 32 };

static double ratio_db(const float *x, const float *y, int64_t n)
{
    double error = 0, power = 0;
    for (int64_t i = 0; i < n; i++) {
        error += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        power += (double)x[i] * (double)x[i];
    }
    return 10 * log10(power / error);
}

/* What the principal components of latents leave of `sound`. */
static double linear_db(const lk_codec_config *c, const float *sound, int64_t rows)
{
    lk_pca *pca = NULL;
    const int64_t n = (int64_t)FIT_PERIOD * c->channels;
    float *more = calloc((size_t)(rows * n), sizeof *more),
          *y = calloc((size_t)(rows * n), sizeof *y);
    float mean[64], basis[8 * 64];
    CHECK_OK(lk_pca_new(&pca, n));
    for (int i = 0; i < 32; i++) {
        CHECK_OK(slow_noise((void *)(uintptr_t)c, (uint64_t)c->seed, LK_CODEC_FIT_INDEX + i,
                            FIT_BATCH, FIT_LATENTS * FIT_PERIOD, more, NULL));
        CHECK_OK(lk_pca_add(pca, rows, more));
    }
    CHECK_OK(lk_pca_solve(pca, c->linear, mean, basis, NULL));
    for (int64_t r = 0; r < rows; r++)
        for (int k = 0; k < c->linear; k++) {
            double p = 0;
            for (int64_t i = 0; i < n; i++)
                p += (double)basis[k * n + i] * (double)sound[r * n + i];
            for (int64_t i = 0; i < n; i++)
                y[r * n + i] += (float)p * basis[k * n + i];
        }
    const double db = ratio_db(sound, y, rows * n);
    lk_pca_free(&pca);
    free(more);
    free(y);
    return db;
}

static void write_all(lk_graph *g, const char *name, float x)
{
    const lk_var v = lk_graph_find(g, name);
    const lk_shape shape = lk_var_shape(g, v);
    float data[FIT_BATCH * 16];
    for (int64_t i = 0; i < lk_shape_count(&shape); i++)
        data[i] = x;
    CHECK_OK(lk_graph_write(g, v, LK_F32, data));
}

/* A codec that was only fitted keeps as much of a sound as its principal components do, and each
 * way of storing it takes its share away. */
static void a_fitted_codec_is_a_linear_one(void **state)
{
    (void)state;
    enum { ROWS = FIT_BATCH * FIT_LATENTS, N = ROWS * FIT_PERIOD };
    static const char *const ways[] = {"raw_on", "latent_on", "rest_on", "stage_on"};
    lk_codec_config c = tiny_codec(1);
    lk_codec *codec = NULL;
    lk_graph *g = NULL;
    lk_codec_model m;
    static float sound[N], result[N];
    double db[4], linear;
    float nats[2];
    c.entries = 256;
    c.alone_kl_nats = 13;
    CHECK_OK(lk_codec_new(&codec, &c, NULL));
    CHECK_OK(lk_codec_fit(codec, slow_noise, &c, FIT_BATCH, FIT_LATENTS));
    CHECK_OK(slow_noise(&c, 77, 3, FIT_BATCH, FIT_LATENTS * FIT_PERIOD, sound, NULL));
    linear = linear_db(&c, sound, ROWS);
    CHECK_OK(lk_graph_new(&g, &(lk_graph_config){.params = lk_codec_params(codec), .train = 1}));
    m = lk_codec_record(g, &c, FIT_BATCH, FIT_LATENTS, LK_CODEC_TRAIN_NOTHING);
    lk_output(g, "result", m.result);
    for (int i = 0; i < 2; i++)
        lk_output(g, "nats", m.kl_nats[i]);
    CHECK_OK(lk_graph_compile(g));
    CHECK_OK(lk_graph_write(g, m.sound, LK_F32, sound));
    for (int i = 0; i < 4; i++) {
        for (int k = 0; k < 4; k++)
            write_all(g, ways[k], k == i || (k == 3 && i == 2));
        CHECK_OK(lk_graph_run(g, 0));
        CHECK_OK(lk_graph_read(g, m.result, LK_F32, result));
        db[i] = ratio_db(sound, result, N);
    }
    for (int i = 0; i < 2; i++) {
        CHECK_OK(lk_graph_read(g, m.kl_nats[i], LK_F32, &nats[i]));
        CHECK_CLOSE(nats[i], i == 0 ? c.alone_kl_nats : c.target_kl_nats, 2);
    }
    if (!(fabs(db[0] - linear) < 0.3 && db[1] < db[0] && db[1] > 4 && db[3] > 4 &&
          db[2] > db[1] + 1 && db[2] > db[3] + 1))
        fail_msg("linear %g; raw %g, Gaussian %g, both %g, tokens %g dB; %g and %g nats", linear,
                 db[0], db[1], db[2], db[3], (double)nats[0], (double)nats[1]);
    lk_graph_free(&g);
    lk_codec_free(&codec);
}

/* ---- training ---- */

static void the_losses_fall(void **state)
{
    (void)state;
    static const char *const falling[] = {"mel", "label", "loss"};
    static const char *const there[] = {"wave",        "commit", "rebuild",
                                        "kl_kbps",     "label",  "perplexity0",
                                        "perplexity2", "lr",     "grad_norm"};
    setup x;
    size_t n;
    lk_codec *codec = NULL;
    if (check_count(0, 1))
        skip(); /* others train as well, not as long */
    prepare(&x, 2);
    x.s.steps = 320;
    x.s.rate = 1e-2;
    x.s.label = 10;
    x.s.wave = 1;
    x.s.mel = 15;
    x.s.code_memory = 0.99;
    CHECK_OK(lk_codec_train(&x.t));
    char *text = slurp("log.jsonl", &n);
    const char *last = last_line(text);
    for (size_t i = 0; i < sizeof falling / sizeof falling[0]; i++)
        if (!(mean(text, falling[i], 300, 320) < 0.8 * mean(text, falling[i], 0, 10)))
            fail_msg("%s went from %g to %g", falling[i], mean(text, falling[i], 0, 10),
                     mean(text, falling[i], 300, 320));
    for (size_t i = 0; i < sizeof there / sizeof there[0]; i++)
        assert_true(isfinite(logged(last, there[i])));
    /* KL comes to its target, 10 nats a latent, and codes are in use. */
    CHECK_CLOSE(mean(text, "kl_kbps", 300, 320), 10 * 25 / log(2) / 1000, 0.08);
    assert_true(logged(last, "perplexity0") > 3);
    free(text);
    sprintf(path, "%s/codec.safetensors", folder);
    CHECK_OK(lk_codec_load(&codec, path, NULL));
    assert_int_equal(lk_codec_get_config(codec)->channels, 2);
    lk_codec_free(&codec);
}

static void weights(lk_codec *codec, const char *name, float *out, int64_t n)
{
    lk_params *p = lk_codec_params(codec);
    memcpy(out, lk_params_data(p, lk_params_find(p, name), LK_VALUE), (size_t)n * sizeof *out);
}

/* Weights of another run instead of a fit, which would find other codes. */
static void it_starts_from_other_weights(void **state)
{
    (void)state;
    setup x;
    lk_codec *from = NULL, *after = NULL;
    float a[16], b[16];
    prepare(&x, 1);
    x.s.steps = 3;
    CHECK_OK(lk_codec_train(&x.t));
    sprintf(path, "%s/codec.safetensors", folder);
    CHECK_OK(lk_codec_load(&from, path, NULL));
    sprintf(folder, "%s/next", base);
    x.s.start_from = path;
    x.s.steps = 1;
    x.s.rate = x.s.floor = 0;
    x.s.code_memory = 0.999;
    x.c.seed = 9;
    CHECK_OK(lk_codec_train(&x.t));
    sprintf(path, "%s/codec.safetensors", folder);
    CHECK_OK(lk_codec_load(&after, path, NULL));
    weights(from, "encoder.down.weight", a, 16);
    weights(after, "encoder.down.weight", b, 16);
    assert_memory_equal(a, b, sizeof a);
    weights(from, "quantiser.1.codes", a, 16);
    weights(after, "quantiser.1.codes", b, 16);
    for (int i = 0; i < 16; i++)
        CHECK_CLOSE(b[i], a[i], 0.1);
    lk_codec_free(&from);
    lk_codec_free(&after);
    x.s.start_from = "/nowhere.safetensors";
    sprintf(folder, "%s/never", base);
    CHECK_FAILS(lk_codec_train(&x.t), LK_E_IO);
}

static void a_stopped_run_ends_in_the_same_bytes(void **state)
{
    (void)state;
    setup x;
    size_t n, m;
    prepare(&x, 1);
    x.s.micro = 2;
    CHECK_OK(lk_codec_train(&x.t));
    char *whole = slurp("checkpoints/step_00000012.safetensors", &n);
    char *codec = slurp("codec.safetensors", &m);
    assert_true(n > 1000 && m > 1000);
    nftw(folder, drop_entry, 16, FTW_DEPTH | FTW_PHYS);
    for (int part = 0; part < 3; part++) {
        stop_at = (const int64_t[]){7, 17, -1}[part];
        if (part < 2)
            CHECK_FAILS(lk_codec_train(&x.t), LK_E_IO);
        else
            CHECK_OK(lk_codec_train(&x.t));
    }
    size_t n2, m2;
    char *again = slurp("checkpoints/step_00000012.safetensors", &n2);
    char *codec2 = slurp("codec.safetensors", &m2);
    assert_int_equal(n, n2);
    assert_int_equal(m, m2);
    assert_memory_equal(whole, again, n);
    assert_memory_equal(codec, codec2, m);
    free(whole);
    free(again);
    free(codec);
    free(codec2);
    x.t.resume = 0;
    CHECK_FAILS(lk_codec_train(&x.t), LK_E_ARG);
    x.s.batch = 0;
    CHECK_FAILS(lk_codec_train(&x.t), LK_E_ARG);
}

/* The late phase moves the decoder alone; it can be stopped as well. */
static void the_late_phase_moves_the_decoder(void **state)
{
    (void)state;
    setup x;
    lk_codec *before = NULL, *after = NULL;
    float a[2][16], b[2][16], d[2][12];
    size_t n;
    prepare(&x, 1);
    x.s.steps = 6;
    CHECK_OK(lk_codec_train(&x.t));
    sprintf(path, "%s/codec.safetensors", folder);
    CHECK_OK(lk_codec_load(&before, path, NULL));
    x.s.adversarial_steps = 3;
    x.s.compute = "bf16";
    stop_at = 2; /* the first part is over */
    CHECK_FAILS(lk_codec_train(&x.t), LK_E_IO);
    stop_at = -1;
    CHECK_OK(lk_codec_train(&x.t));
    sprintf(path, "%s/codec.safetensors", folder);
    CHECK_OK(lk_codec_load(&after, path, NULL));
    for (int i = 0; i < 2; i++) {
        lk_codec *codec = i ? after : before;
        weights(codec, "encoder.down.weight", a[i], 16);
        weights(codec, "quantiser.1.codes", b[i], 16);
        weights(codec, "decoder.block0.up.weight", d[i], 12);
    }
    assert_memory_equal(a[0], a[1], sizeof a[0]);
    for (int i = 0; i < 16; i++)
        CHECK_CLOSE(b[0][i], b[1][i], 1e-6);
    assert_memory_not_equal(d[0], d[1], sizeof d[0]);
    char *text = slurp("adversarial/log.jsonl", &n);
    for (int i = 0; i < 4; i++)
        assert_true(
            isfinite(logged(text, (const char *[]){"d_loss", "adversarial", "feature", "mel"}[i])));
    CHECK_CLOSE(logged(text, "d_loss"), 2, 1);
    free(text);
    lk_codec_free(&before);
    lk_codec_free(&after);
}

static void half_precision_learns_as_well(void **state)
{
    (void)state;
    double end[2];
    for (int i = 0; i < 2; i++) {
        setup x;
        size_t n;
        prepare(&x, 1);
        sprintf(folder, "%s/run%d", base, i);
        x.s.steps = 20;
        x.s.compute = i ? "bf16" : "f32";
        CHECK_OK(lk_codec_train(&x.t));
        char *text = slurp("log.jsonl", &n);
        end[i] = logged(last_line(text), "mel");
        free(text);
    }
    CHECK_CLOSE(end[1] / end[0], 1, 0.15);
}

/* One allocation fails, early or late: a clean failure, after which it can be done again. */
static void no_memory(void **state)
{
    (void)state;
    int fired = 1;
    for (int n = 1; fired; n += 1 + n / 3) {
        setup x;
        prepare(&x, 1);
        sprintf(folder, "%s/run%d", base, n);
        x.s.steps = 2;
        x.s.batch = x.s.latents = 1;
        lk_mem_fail_after(n);
        const lk_status st = lk_codec_train(&x.t);
        fired = lk_mem_fault_fired();
        lk_mem_fail_after(0);
        if (st != (fired ? LK_E_MEMORY : LK_OK))
            fail_msg("allocation %d gave %s: %s", n, lk_status_name(st), lk_error_text());
        lk_error_clear();
    }
}

static int new_folder(void **state)
{
    (void)state;
    sprintf(folder, "%s/run", base);
    lk_log_set(NULL, NULL, -1);
    return 0;
}

static int drop_folder(void **state)
{
    (void)state;
    nftw(base, drop_entry, 16, FTW_DEPTH | FTW_PHYS);
    return mkdir(base, 0700);
}

static int make_base(void **state)
{
    (void)state;
    return mkdtemp(base) == NULL;
}

static int drop_base(void **state)
{
    (void)state;
    return rmdir(base);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, new_folder, drop_folder)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fitted_codec_is_a_linear_one),
        IN_FOLDER(the_losses_fall),
        IN_FOLDER(a_stopped_run_ends_in_the_same_bytes),
        IN_FOLDER(it_starts_from_other_weights),
        IN_FOLDER(the_late_phase_moves_the_decoder),
        IN_FOLDER(half_precision_learns_as_well),
        IN_FOLDER(no_memory),
    };
    return cmocka_run_group_tests(tests, make_base, drop_base);
}
