/* test_codec_model.c - frames, bottleneck, codes and losses of the audio tokenizer. */
#include "tests/check.h"
#include "tests/codec_tiny.h"

#include "kernels/mel.h"
#include "kernels/rng.h"

enum { LATENTS = 4, BATCH = 2 };

static lk_graph *new_graph(lk_params *params, const lk_backend *backend, int train)
{
    lk_graph *g = NULL;
    CHECK_OK(lk_graph_new(
        &g, &(lk_graph_config){.params = params, .backend = backend, .train = train, .seed = 3}));
    return g;
}

static void noise(float *x, int64_t n, uint64_t stream)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = 0.3f * lk_rng_normal(9, stream, (uint64_t)i);
}

/* ---- frames ---- */

static void a_frame_ends_with_its_hop(void **state)
{
    (void)state;
    const lk_codec_config c = tiny_codec(1);
    enum { HOP = 8, N = 32, K = 17, S = 128, J = 16 };
    lk_graph *g = new_graph(NULL, NULL, 0);
    const lk_var x = lk_input(g, "x", LK_F32, LK_SHAPE(1, S, 1));
    const lk_var y = lk_codec_analyse(g, &c, NULL, x);
    float sound[S], w[N], got[J * 3 * K];
    lk_output(g, "y", y);
    CHECK_OK(lk_graph_compile(g));
    noise(sound, S, 1);
    lk_hann(w, N);
    CHECK_OK(lk_graph_write(g, x, LK_F32, sound));
    CHECK_OK(lk_graph_run(g, 0));
    CHECK_OK(lk_graph_read(g, y, LK_F32, got));
    for (int j = 0; j < J; j++)
        for (int k = 0; k < K; k++) {
            double re = 0, im = 0, gain;
            for (int n = 0; n < N; n++) {
                const int s = (j - 3) * HOP + n;
                const double v = s < 0 ? 0 : 4.0 / N * (double)w[n] * (double)sound[s];
                re += v * cos(2 * M_PI * k * n / N);
                im -= v * sin(2 * M_PI * k * n / N);
            }
            gain = pow(re * re + im * im + 1e-10, -0.35);
            CHECK_CLOSE(got[(j * K + k) * 3], re * gain, 1e-4);
            CHECK_CLOSE(got[(j * K + k) * 3 + 1], im * gain, 1e-4);
            CHECK_CLOSE(got[(j * K + k) * 3 + 2], pow(re * re + im * im + 1e-10, 0.15), 1e-4);
        }
    lk_graph_free(&g);
}

/* Spectra of the sound from j hop on, put through the overlap: an identity without delay. */
static void overlap_gives_the_sound_back(void **state)
{
    (void)state;
    enum { HOP = 8, N = 32, K = 17, S = 8 * N, J = S / HOP };
    for (int ch = 1; ch <= 2; ch++) {
        const lk_codec_config c = tiny_codec(ch);
        lk_graph *g = new_graph(NULL, NULL, 0), *piece = new_graph(NULL, NULL, 0);
        lk_past *past = NULL;
        const lk_var x = lk_input(g, "x", LK_F32, LK_SHAPE(1, J, ch, K, 2));
        const lk_var y = lk_codec_overlap(g, &c, NULL, x);
        lk_var px, py;
        CHECK_OK(lk_past_new(&past, piece));
        px = lk_input(piece, "x", LK_F32, LK_SHAPE(1, 4, ch, K, 2));
        py = lk_codec_overlap(piece, &c, past, px);
        float *spectra = calloc((size_t)(J * ch * K * 2), sizeof *spectra);
        float sound[2 * S], want[2 * S], got[2 * S], part[2 * N];
        lk_output(g, "y", y);
        lk_output(piece, "y", py);
        CHECK_OK(lk_graph_compile(g));
        CHECK_OK(lk_graph_compile(piece));
        noise(sound, ch * S, 1);
        sound[5 * ch] = 20;           /* an impulse stays where it is */
        for (int s = 0; s < S; s++) { /* the overlap takes mid and side */
            const float *m = sound + s * ch;
            want[s * ch] = ch == 1 ? m[0] : m[0] + m[1];
            want[s * ch + ch - 1] = ch == 1 ? m[0] : m[0] - m[1];
        }
        for (int i = 0; i < J * ch * K; i++) {
            const int k = i % K, q = i / K % ch, j = i / K / ch;
            double re = 0, im = 0;
            for (int n = 0; n < N && j * HOP + n < S; n++) {
                const double v = (double)sound[(j * HOP + n) * ch + q];
                re += v * cos(2 * M_PI * k * n / N);
                im -= v * sin(2 * M_PI * k * n / N);
            }
            spectra[2 * i] = (float)re;
            spectra[2 * i + 1] = (float)im;
        }
        CHECK_OK(lk_graph_write(g, x, LK_F32, spectra));
        CHECK_OK(lk_graph_run(g, 0));
        CHECK_OK(lk_graph_read(g, y, LK_F32, got));
        for (int i = 0; i < S * ch; i++)
            CHECK_CLOSE(got[i], want[i], 1e-5 * 20);
        for (int b = 0; b < S / N; b++) {
            CHECK_OK(lk_graph_write(piece, px, LK_F32, spectra + b * 4 * ch * K * 2));
            CHECK_OK(lk_graph_run(piece, 0));
            CHECK_OK(lk_past_advance(past));
            CHECK_OK(lk_graph_read(piece, py, LK_F32, part));
            for (int i = 0; i < N * ch; i++)
                CHECK_CLOSE(part[i], want[b * N * ch + i], 1e-5 * 20);
        }
        free(spectra);
        lk_past_free(&past);
        lk_graph_free(&g);
        lk_graph_free(&piece);
    }
}

/* ---- bottleneck ---- */

/* The known fault of residual quantisers: commitments that never reach the encoder. */
static void every_stage_pulls_at_the_encoder(void **state)
{
    (void)state;
    const lk_codec_config c = tiny_codec(1);
    enum { N = BATCH * LATENTS * 16 };
    for (int stage = 0; stage < c.stages; stage++) {
        lk_params *params = NULL;
        float x[N], d[N];
        double norm = 0;
        CHECK_OK(lk_params_new(&params, NULL, 5));
        lk_graph *g = new_graph(params, NULL, 1);
        const lk_var h = lk_input(g, "h", LK_F32, LK_SHAPE(BATCH, LATENTS, 16));
        lk_codec_stages s = {0};
        lk_var grads[2], in;
        lk_want_grad(g, h);
        lk_codec_quantise(g, &c, h, &s);
        lk_scope(g, "quantiser.%d.in", stage);
        in = lk_param(g, "weight", LK_SHAPE(4, 16), LK_INIT_ZERO, 0);
        lk_scope_end(g);
        lk_gradients(g, s.commit[stage], LK_NONE, 2, (lk_var[]){h, in}, grads);
        assert_false(lk_is_none(grads[0]) || lk_is_none(grads[1]));
        lk_output(g, "dh", grads[0]);
        CHECK_OK(lk_graph_compile(g));
        noise(x, N, 2);
        CHECK_OK(lk_graph_write(g, h, LK_F32, x));
        CHECK_OK(lk_graph_run(g, 0));
        CHECK_OK(lk_graph_read(g, grads[0], LK_F32, d));
        for (int i = 0; i < N; i++)
            norm += (double)d[i] * (double)d[i];
        assert_true(norm > 1e-8);
        lk_graph_free(&g);
        lk_params_free(&params);
    }
}

/* ---- codes ---- */

enum { ROWS = 200, WIDTH = 4, ENTRIES = 16 };

static lk_params *code_store(const lk_codec_config *c)
{
    lk_params *p = NULL;
    int i;
    CHECK_OK(lk_params_new(&p, NULL, 5));
    for (int s = 0; s < c->stages; s++) {
        char name[64];
        sprintf(name, "quantiser.%d.codes", s);
        CHECK_OK(lk_params_add(p, name, LK_SHAPE(ENTRIES, WIDTH), LK_INIT_NORMAL, 1, &i));
        sprintf(name, "quantiser.%d.use", s);
        CHECK_OK(lk_params_add(p, name, LK_SHAPE(ENTRIES), LK_INIT_VALUE, 1, &i));
    }
    return p;
}

static float *codes_of(lk_params *p, const char *name)
{
    return lk_params_data(p, lk_params_find(p, name), LK_VALUE);
}

/* Rows around ENTRIES directions. */
static void clusters(float *unit, int32_t *index)
{
    for (int r = 0; r < ROWS; r++) {
        double square = 0;
        index[r] = r % (ENTRIES - 1); /* nobody chooses the last code */
        for (int i = 0; i < WIDTH; i++) {
            unit[r * WIDTH + i] = lk_rng_normal(1, 1, (uint64_t)(r % ENTRIES * WIDTH + i)) +
                                  0.01f * lk_rng_normal(1, 2, (uint64_t)(r * WIDTH + i));
            square += (double)unit[r * WIDTH + i] * (double)unit[r * WIDTH + i];
        }
        for (int i = 0; i < WIDTH; i++)
            unit[r * WIDTH + i] /= (float)sqrt(square);
    }
}

static void codes_start_where_the_data_are(void **state)
{
    (void)state;
    lk_codec_config c = tiny_codec(1);
    lk_params *p = code_store(&c);
    lk_codec_books *k = NULL;
    float unit[ROWS * WIDTH];
    int32_t index[ROWS];
    clusters(unit, index);
    CHECK_OK(lk_codec_books_new(&k, &c, p, ROWS, 0.99, 0.1, 7, NULL));
    float *codes = codes_of(p, "quantiser.1.codes");
    CHECK_OK(lk_codec_books_start(k, 1, 12.5, unit, index));
    double worst = 1, mean = 0;
    for (int r = 0; r < ROWS; r++) {
        double most = -1;
        int best = 0;
        for (int j = 0; j < ENTRIES; j++) {
            double dot = 0, square = 0;
            for (int i = 0; i < WIDTH; i++) {
                dot += (double)unit[r * WIDTH + i] * (double)codes[j * WIDTH + i];
                square += (double)codes[j * WIDTH + i] * (double)codes[j * WIDTH + i];
            }
            best = dot / sqrt(square) > most ? j : best;
            most = fmax(most, dot / sqrt(square));
        }
        assert_int_equal(index[r], best);
        worst = fmin(worst, most);
        mean += most / ROWS;
    }
    assert_true(mean > 0.9 && worst > 0.5);
    CHECK_CLOSE(codes_of(p, "quantiser.1.use")[3], 12.5, 1e-5);
    CHECK_FAILS(lk_codec_books_start(k, 5, 1, unit, index), LK_E_ARG);
    CHECK_FAILS(lk_codec_books_update(k, 5, 6, unit, index), LK_E_ARG);
    index[7] = ENTRIES;
    CHECK_FAILS(lk_codec_books_update(k, 1, 6, unit, index), LK_E_ARG);
    lk_codec_books_free(&k);

    /* Fewer rows than entries. */
    index[7] = 0;
    CHECK_OK(lk_codec_books_new(&k, &c, p, 5, 0.99, 0.1, 7, NULL));
    CHECK_OK(lk_codec_books_start(k, 1, 12.5, unit, index));
    for (int i = 0; i < ENTRIES * WIDTH; i++)
        assert_true(isfinite(codes[i]));
    lk_codec_books_free(&k);
    lk_params_free(&p);
}

static void codes_follow_and_are_born_again(void **state)
{
    (void)state;
    lk_codec_config c = tiny_codec(1);
    lk_params *p = code_store(&c);
    lk_codec_books *k = NULL;
    float unit[ROWS * WIDTH], before[ENTRIES * WIDTH], sum[WIDTH] = {0};
    int32_t index[ROWS];
    int count = 0;
    clusters(unit, index);
    CHECK_OK(lk_params_need(p, LK_AVERAGE));
    CHECK_OK(lk_codec_books_new(&k, &c, p, ROWS, 0.9, 0.1, 7, NULL));
    float *codes = codes_of(p, "quantiser.0.codes"), *use = codes_of(p, "quantiser.0.use");
    memcpy(before, codes, sizeof before);
    CHECK_OK(lk_codec_books_update(k, 0, 1, unit, index));
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; index[r] == 2 && i < WIDTH; i++) {
            sum[i] += unit[r * WIDTH + i];
            count += i == 0;
        }
    CHECK_CLOSE(use[2], 0.9 + 0.1 * count, 1e-5);
    CHECK_CLOSE(use[ENTRIES - 1], 0.9, 1e-6);
    for (int i = 0; i < WIDTH; i++)
        CHECK_CLOSE(codes[2 * WIDTH + i],
                    0.9 * (double)before[2 * WIDTH + i] + 0.1 * (double)sum[i], 1e-5);
    assert_memory_equal(codes,
                        lk_params_data(p, lk_params_find(p, "quantiser.0.codes"), LK_AVERAGE),
                        sizeof before);
    /* The last code starves, and is looked for every 5 steps. */
    for (int step = 2; step < 40; step++)
        CHECK_OK(lk_codec_books_update(k, 0, 5 * step + 1, unit, index));
    assert_true(use[ENTRIES - 1] < 0.1);
    CHECK_OK(lk_codec_books_update(k, 0, 25, unit, index));
    assert_true(use[ENTRIES - 1] > 5);
    double nearest = 1;
    for (int r = 0; r < ROWS; r++) {
        double d = 0;
        for (int i = 0; i < WIDTH; i++)
            d += fabs((double)codes[(ENTRIES - 1) * WIDTH + i] / (double)use[ENTRIES - 1] -
                      (double)unit[r * WIDTH + i]);
        nearest = fmin(nearest, d);
    }
    assert_true(nearest < 1e-5);
    CHECK_OK(lk_codec_finish_codes(p));
    for (int j = 0; j < ENTRIES; j++) {
        double square = 0;
        for (int i = 0; i < WIDTH; i++)
            square += (double)codes[j * WIDTH + i] * (double)codes[j * WIDTH + i];
        CHECK_CLOSE(square, 1, 1e-5);
    }
    lk_codec_books_free(&k);
    lk_params_free(&p);
}

static void perplexity_counts_used_codes(void **state)
{
    (void)state;
    lk_codec_config c = tiny_codec(1);
    lk_params *p = code_store(&c);
    lk_graph *g = new_graph(p, NULL, 1);
    const lk_var v = lk_codec_perplexity(g, &c, 1);
    float *use = codes_of(p, "quantiser.1.use"), got;
    lk_output(g, "v", v);
    CHECK_OK(lk_graph_compile(g));
    CHECK_OK(lk_graph_run(g, 0));
    CHECK_OK(lk_graph_read(g, v, LK_F32, &got));
    CHECK_CLOSE(got, ENTRIES, 1e-3);
    for (int j = 4; j < ENTRIES; j++)
        use[j] = 0;
    CHECK_OK(lk_graph_run(g, 0));
    CHECK_OK(lk_graph_read(g, v, LK_F32, &got));
    CHECK_CLOSE(got, 4, 1e-3);
    lk_graph_free(&g);
    lk_params_free(&p);
}

/* ---- losses ---- */

typedef struct whole {
    lk_params *params;
    lk_graph *g;
    lk_codec_model m;
    lk_var loss;
} whole;

static void set(whole *w, const char *name, double value)
{
    const lk_var v = lk_graph_find(w->g, name);
    const lk_shape shape = lk_var_shape(w->g, v);
    const int64_t n = lk_shape_count(&shape);
    float *x = calloc((size_t)n, sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)value;
    CHECK_OK(lk_graph_write(w->g, v, LK_F32, x));
    free(x);
}

/* What starts at zero lets nothing flow back to what is before it. */
static void wake(lk_params *p, const char *name)
{
    const int i = lk_params_find(p, name);
    const lk_shape shape = lk_params_shape(p, i);
    const int64_t n = lk_shape_count(&shape);
    float *x = calloc((size_t)n, sizeof *x);
    noise(x, n, 6);
    CHECK_OK(lk_params_write(p, i, LK_VALUE, LK_F32, x));
    free(x);
}

static void open_whole(whole *w, const lk_codec_config *c, const lk_backend *backend, int backward)
{
    lk_codec_distances d;
    float sound[LATENTS * 32 * 2];
    CHECK_OK(lk_params_new(&w->params, backend, 5));
    w->g = new_graph(w->params, backend, 1);
    w->m = lk_codec_record(w->g, c, 1, LATENTS, LK_CODEC_TRAIN_ALL);
    d = lk_codec_distance(w->g, c, w->m.result, w->m.sound);
    w->loss = lk_add(w->g, lk_scale(w->g, d.mel, 3), lk_add(w->g, d.stft, d.wave));
    w->loss = lk_add(w->g, w->loss, lk_scale(w->g, w->m.kl_loss, 1e-3));
    lk_output(w->g, "loss", w->loss);
    lk_output(w->g, "kl", w->m.kl_nats[0]);
    lk_output(w->g, "label_loss", w->m.label);
    if (backward)
        lk_backward(w->g, w->loss);
    CHECK_OK(lk_graph_compile(w->g));
    wake(w->params, "encoder.out.weight");
    wake(w->params, "decoder.shape.weight");
    noise(sound, LATENTS * 32 * c->channels, 4);
    CHECK_OK(lk_graph_write(w->g, w->m.sound, LK_F32, sound));
    set(w, "stage_on", 0);
    set(w, "latent_on", 1);
    set(w, "rest_on", 0);
    set(w, "raw_on", 0);
    set(w, "class", 1);
    set(w, "class_on", 1);
}

static double value(whole *w, lk_var v)
{
    double x;
    CHECK_OK(lk_graph_run(w->g, 1));
    CHECK_OK(lk_graph_read(w->g, v, LK_F64, &x));
    return x;
}

/* In double, through the Gaussian branch, where nothing is stopped or estimated. */
static void gradients_agree_with_differences(void **state)
{
    (void)state;
    static const char *const names[] = {
        "decoder.head.weight",  "decoder.block0.conv.weight", "gaussian.alone.moments.weight",
        "encoder.in.weight",    "encoder.linear.weight",      "decoder.linear.weight",
        "decoder.shape.weight", "encoder.down.bias"};
    lk_codec_config c = tiny_codec(2);
    whole w = {0};
    c.labels = 3;
    open_whole(&w, &c, lk_backend_reference(), 1);
    CHECK_OK(lk_params_zero_grad(w.params));
    (void)value(&w, w.loss);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const int p = lk_params_find(w.params, names[i]);
        const lk_shape shape = lk_params_shape(w.params, p);
        const int64_t n = lk_shape_count(&shape);
        float *x = calloc((size_t)n, sizeof *x), *d = calloc((size_t)n, sizeof *d);
        double slope = 0, moved = 0, change = 0;
        CHECK_OK(lk_params_read(w.params, p, LK_VALUE, LK_F32, x));
        CHECK_OK(lk_params_read(w.params, p, LK_GRAD, LK_F32, d));
        for (int64_t k = 0; k < n; k++)
            slope += (double)d[k] * (double)d[k];
        slope = sqrt(slope);
        assert_true(slope > 1e-7);
        for (int sign = -1; sign <= 1; sign += 2) { /* along the gradient */
            float *y = calloc((size_t)n, sizeof *y);
            for (int64_t k = 0; k < n; k++) {
                y[k] = x[k] + (float)(sign * 1e-4 * (double)d[k] / slope);
                moved += sign * ((double)y[k] - (double)x[k]) * (double)d[k];
            }
            CHECK_OK(lk_params_write(w.params, p, LK_VALUE, LK_F32, y));
            change += sign * value(&w, w.loss);
            free(y);
        }
        if (!(fabs(change / moved - 1) < 0.01))
            fail_msg("%s: differences give %g of the gradient", names[i], change / moved);
        CHECK_OK(lk_params_write(w.params, p, LK_VALUE, LK_F32, x));
        free(x);
        free(d);
    }
    lk_graph_free(&w.g);
    lk_params_free(&w.params);
}

/* A crop without labels, one as tokens, one unquantised: all are finite and differ. */
static void every_way_of_storing_is_heard(void **state)
{
    (void)state;
    lk_codec_config c = tiny_codec(1);
    whole w = {0};
    double heard[4];
    c.labels = 3;
    open_whole(&w, &c, NULL, 0);
    heard[0] = value(&w, w.loss);
    set(&w, "stage_on", 1);
    heard[1] = value(&w, w.loss);
    set(&w, "latent_on", 0);
    heard[2] = value(&w, w.loss);
    set(&w, "stage_on", 0);
    set(&w, "raw_on", 1);
    set(&w, "class_on", 0);
    heard[3] = value(&w, w.loss);
    for (int i = 0; i < 4; i++) {
        assert_true(isfinite(heard[i]));
        for (int k = 0; k < i; k++)
            assert_true(heard[i] != heard[k]);
    }
    assert_true(value(&w, w.m.label) == 0);
    assert_true(value(&w, w.m.kl_nats[0]) > 0);
    lk_graph_free(&w.g);
    lk_params_free(&w.params);
}

static void distances_are_zero_for_the_same_alone(void **state)
{
    (void)state;
    for (int ch = 1; ch <= 2; ch++) {
        const lk_codec_config c = tiny_codec(ch);
        lk_graph *g = new_graph(NULL, NULL, 0);
        const lk_shape shape = LK_SHAPE(1, 256, ch);
        const lk_var x = lk_input(g, "x", LK_F32, shape), y = lk_input(g, "y", LK_F32, shape);
        const lk_codec_distances d = lk_codec_distance(g, &c, y, x);
        const lk_var v[3] = {d.mel, d.stft, d.wave};
        float sound[512], other[512], got;
        for (int i = 0; i < 3; i++)
            lk_output(g, "d", v[i]);
        CHECK_OK(lk_graph_compile(g));
        noise(sound, 256 * ch, 1);
        noise(other, 256 * ch, 2);
        for (int same = 0; same < 2; same++) {
            CHECK_OK(lk_graph_write(g, x, LK_F32, sound));
            CHECK_OK(lk_graph_write(g, y, LK_F32, same ? sound : other));
            CHECK_OK(lk_graph_run(g, 0));
            for (int i = 0; i < 3; i++) {
                CHECK_OK(lk_graph_read(g, v[i], LK_F32, &got));
                assert_true(same ? got == 0 : got > 0.01f);
            }
        }
        if (ch == 1) { /* ten times as loud is a log10 of 1 away wherever there is sound */
            for (int i = 0; i < 256; i++)
                other[i] = 10 * sound[i];
            CHECK_OK(lk_graph_write(g, y, LK_F32, other));
            CHECK_OK(lk_graph_run(g, 0));
            CHECK_OK(lk_graph_read(g, d.mel, LK_F32, &got));
            CHECK_CLOSE(got, 1, 0.02);
        }
        lk_graph_free(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_ends_with_its_hop),
        cmocka_unit_test(overlap_gives_the_sound_back),
        cmocka_unit_test(every_stage_pulls_at_the_encoder),
        cmocka_unit_test(codes_start_where_the_data_are),
        cmocka_unit_test(codes_follow_and_are_born_again),
        cmocka_unit_test(perplexity_counts_used_codes),
        cmocka_unit_test(gradients_agree_with_differences),
        cmocka_unit_test(every_way_of_storing_is_heard),
        cmocka_unit_test(distances_are_zero_for_the_same_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
