/* test_codec_stream.c - encoders, decoders and files of the audio tokenizer. */
#include "tests/check.h"
#include "tests/codec_tiny.h"

#include "kernels/file.h"
#include "kernels/mem.h"
#include "kernels/rng.h"
#include "kernels/thread.h"

#include <unistd.h>

/* Everything a sound becomes, and what that becomes. */
typedef struct coded {
    int64_t n_samples, n_latents;
    uint16_t *tokens;
    float *mean, *log_var, *sound;
    lk_span *spans;
} coded;

static void drop(coded *c)
{
    free(c->tokens);
    free(c->mean);
    free(c->log_var);
    free(c->sound);
    free(c->spans);
}

static float *noise(int64_t n)
{
    float *x = calloc((size_t)n + 1, sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = 0.2f * lk_rng_normal(9, 1, (uint64_t)i);
    return x;
}

/* Pieces of `most` latents or samples, or, for 0, of random sizes; pull: take latents as soon as
 * they are ready. */
static int64_t piece(int64_t most, int64_t left, uint64_t i)
{
    const int64_t n = most > 0 ? most : lk_rng_below(4, 2, i, 90);
    return n < left ? n : left;
}

static void encode(const lk_codec *codec, lk_codec_mode mode, const float *x, int64_t n,
                   int64_t most, int pull, coded *out)
{
    const lk_codec_config *c = lk_codec_get_config(codec);
    lk_codec_encoder *e = NULL;
    int64_t at = 0, k = 0;
    *out = (coded){.n_samples = n, .n_latents = lk_codec_latents(c, n)};
    out->tokens = calloc((size_t)(out->n_latents * c->stages) + 1, sizeof *out->tokens);
    out->mean = calloc((size_t)(out->n_latents * c->continuous) + 1, sizeof(float));
    out->log_var = calloc((size_t)(out->n_latents * c->continuous) + 1, sizeof(float));
    out->spans = calloc((size_t)out->n_latents + 1, sizeof *out->spans);
    CHECK_OK(lk_codec_encoder_new(&e, codec, mode, 5 * LK_FLICKS_PER_S));
    for (uint64_t i = 0; k < out->n_latents; i++) {
        const int64_t m = piece(most, n - at, i);
        int64_t ready;
        CHECK_OK(lk_codec_encoder_push(e, x + at * c->channels, m));
        at += m;
        if (at == n)
            lk_codec_encoder_flush(e);
        ready = pull || at == n ? lk_codec_encoder_ready(e) : 0;
        CHECK_OK(lk_codec_encoder_pull(
            e, ready, mode & LK_CODEC_TOKENS ? out->tokens + k * c->stages : NULL,
            mode & LK_CODEC_CONTINUOUS ? out->mean + k * c->continuous : NULL,
            mode & LK_CODEC_CONTINUOUS ? out->log_var + k * c->continuous : NULL, out->spans + k));
        k += ready;
    }
    assert_int_equal(lk_codec_encoder_ready(e), 0);
    lk_codec_encoder_free(&e);
}

static void decode(const lk_codec *codec, lk_codec_mode mode, int64_t most, int pull, coded *io)
{
    const lk_codec_config *c = lk_codec_get_config(codec);
    lk_codec_decoder *d = NULL;
    int64_t at = 0, k = 0;
    io->sound = calloc((size_t)(io->n_samples * c->channels) + 1, sizeof(float));
    CHECK_OK(lk_codec_decoder_new(&d, codec, mode, 0));
    for (uint64_t i = 0; at < io->n_samples; i++) {
        const int64_t m = piece(most, io->n_latents - k, i);
        int64_t ready;
        CHECK_OK(
            lk_codec_decoder_push(d, io->tokens + k * c->stages, io->mean + k * c->continuous, m));
        k += m;
        if (k == io->n_latents)
            CHECK_OK(lk_codec_decoder_end(d, io->n_samples));
        ready = pull || k == io->n_latents ? lk_codec_decoder_ready(d) : 0;
        CHECK_OK(lk_codec_decoder_pull(d, ready, io->sound + at * c->channels));
        at += ready;
    }
    assert_int_equal(at, io->n_samples);
    assert_int_equal(lk_codec_decoder_ready(d), 0);
    lk_codec_decoder_free(&d);
}

static void assert_same(const lk_codec_config *c, const coded *a, const coded *b, int64_t latents)
{
    const size_t n = (size_t)latents;
    assert_memory_equal(a->tokens, b->tokens, n * (size_t)c->stages * sizeof *a->tokens);
    assert_memory_equal(a->mean, b->mean, n * (size_t)c->continuous * sizeof(float));
    assert_memory_equal(a->log_var, b->log_var, n * (size_t)c->continuous * sizeof(float));
}

/* ---- the stream ---- */

static void any_cut_gives_the_same_bytes(void **state)
{
    (void)state;
    const int64_t n = 23 * 32 + 5;
    for (int ch = 1; ch <= 2; ch++) {
        const lk_codec_config c = tiny_codec(ch);
        lk_codec *codec = NULL;
        float *x = noise(n * ch);
        CHECK_OK(lk_codec_new(&codec, &c, NULL));
        for (int mode = LK_CODEC_TOKENS; mode <= LK_CODEC_BOTH; mode++) {
            static const int64_t cuts[] = {1, 31, 32, 33, 100, 0, 0};
            coded whole;
            double loud = 0;
            encode(codec, (lk_codec_mode)mode, x, n, n, 0, &whole);
            decode(codec, (lk_codec_mode)mode, n, 0, &whole);
            for (int64_t i = 0; i < n * ch; i++)
                loud += (double)whole.sound[i] * (double)whole.sound[i];
            assert_true(loud > 1e-5 && isfinite(loud)); /* latents at random are soft */
            for (size_t k = 0; k < sizeof cuts / sizeof cuts[0]; k++) {
                coded cut;
                lk_threads_set(1 + (int)k % 2);
                encode(codec, (lk_codec_mode)mode, x, n, cuts[k], k % 3 > 0, &cut);
                decode(codec, (lk_codec_mode)mode, k == 0 ? 1 : cuts[k] % 7, k % 3 > 0, &cut);
                assert_same(&c, &whole, &cut, whole.n_latents);
                assert_memory_equal(whole.sound, cut.sound, (size_t)(n * ch) * sizeof(float));
                assert_memory_equal(whole.spans, cut.spans,
                                    (size_t)whole.n_latents * sizeof(lk_span));
                drop(&cut);
            }
            drop(&whole);
        }
        free(x);
        lk_codec_free(&codec);
    }
}

/* What comes later changes nothing before it. */
static void a_prefix_gives_the_first_latents(void **state)
{
    (void)state;
    const lk_codec_config c = tiny_codec(1);
    const int64_t n = 20 * 32;
    lk_codec *codec = NULL;
    float *x = noise(n);
    coded whole;
    CHECK_OK(lk_codec_new(&codec, &c, NULL));
    encode(codec, LK_CODEC_BOTH, x, n, n, 0, &whole);
    decode(codec, LK_CODEC_BOTH, n, 0, &whole);
    for (int64_t k = 1; k < 20; k += 3) {
        coded part;
        encode(codec, LK_CODEC_BOTH, x, k * 32, k * 32, 0, &part);
        decode(codec, LK_CODEC_BOTH, k, 0, &part);
        assert_int_equal(part.n_latents, k);
        assert_same(&c, &whole, &part, k);
        assert_memory_equal(whole.sound, part.sound, (size_t)(k * 32) * sizeof(float));
        drop(&part);
    }
    /* And what happens in a latent is heard in it: not before, and at once. */
    x[10 * 32] += 0.5f;
    coded other;
    encode(codec, LK_CODEC_BOTH, x, n, n, 0, &other);
    decode(codec, LK_CODEC_BOTH, n, 0, &other);
    assert_same(&c, &whole, &other, 10);
    assert_memory_equal(whole.sound, other.sound, 320 * sizeof(float));
    assert_memory_not_equal(whole.mean + 10 * c.continuous, other.mean + 10 * c.continuous,
                            (size_t)c.continuous * sizeof(float));
    assert_memory_not_equal(whole.sound + 320, other.sound + 320, 8 * sizeof(float));
    drop(&other);
    drop(&whole);
    free(x);
    lk_codec_free(&codec);
}

static void lengths_and_spans_are_exact(void **state)
{
    (void)state;
    static const int rates[] = {800, 16000, 24000, 48000};
    for (int r = 0; r < 4; r++) {
        lk_codec_config c = tiny_codec(1 + r % 2);
        lk_codec *codec = NULL;
        CHECK_OK(lk_option_set(lk_codec_options, &c, "rate_hz",
                               (const char *[]){"800", "16000", "24000", "48000"}[r]));
        assert_int_equal(c.rate_hz, rates[r]);
        CHECK_OK(lk_codec_new(&codec, &c, NULL));
        const int64_t period = lk_codec_period(&c);
        assert_int_equal(period, rates[r] / 25);
        const int64_t lengths[] = {1, 2, period - 1, period, period + 1, 9 * period + 3};
        for (int i = 0; i < 6; i++) {
            const int64_t n = lengths[i], latents = (n + period - 1) / period;
            float *x = noise(n * c.channels);
            coded a;
            encode(codec, LK_CODEC_BOTH, x, n, n, 0, &a);
            decode(codec, LK_CODEC_BOTH, latents, 0, &a);
            assert_int_equal(a.n_latents, latents);
            for (int64_t k = 0; k < latents; k++) {
                assert_int_equal(a.spans[k].start,
                                 5 * LK_FLICKS_PER_S + k * (LK_FLICKS_PER_S / 25));
                if (k > 0)
                    assert_int_equal(a.spans[k - 1].end, a.spans[k].start);
            }
            assert_int_equal(a.spans[latents - 1].end,
                             5 * LK_FLICKS_PER_S + n * (LK_FLICKS_PER_S / rates[r]));
            drop(&a);
            free(x);
        }
        lk_codec_free(&codec);
    }
}

static void silence_and_nonsense(void **state)
{
    (void)state;
    const lk_codec_config c = tiny_codec(1);
    lk_codec *codec = NULL;
    lk_codec_encoder *e = NULL;
    lk_codec_decoder *d = NULL;
    float *x = calloc(640, sizeof *x), mean[4 * 20], sound[640];
    uint16_t tokens[3 * 20];
    coded a, b;
    CHECK_OK(lk_codec_new(&codec, &c, NULL));
    encode(codec, LK_CODEC_BOTH, x, 640, 640, 0, &a);
    decode(codec, LK_CODEC_BOTH, 20, 0, &a);
    for (int i = 0; i < 640; i++)
        assert_true(isfinite(a.sound[i]));

    /* A refused push leaves the stream as it was. */
    CHECK_OK(lk_codec_encoder_new(&e, codec, LK_CODEC_BOTH, 0));
    CHECK_OK(lk_codec_encoder_push(e, x, 300));
    x[2] = NAN;
    CHECK_FAILS(lk_codec_encoder_push(e, x, 340), LK_E_NUMERIC);
    x[2] = INFINITY;
    CHECK_FAILS(lk_codec_encoder_push(e, x, 340), LK_E_NUMERIC);
    x[2] = 0;
    CHECK_FAILS(lk_codec_encoder_push(e, x, -1), LK_E_ARG);
    CHECK_OK(lk_codec_encoder_push(e, x, 340));
    CHECK_FAILS(lk_codec_encoder_pull(e, 21, tokens, mean, NULL, NULL), LK_E_ARG);
    CHECK_OK(lk_codec_encoder_pull(e, 20, tokens, mean, NULL, NULL));
    assert_memory_equal(tokens, a.tokens, sizeof tokens);
    assert_memory_equal(mean, a.mean, sizeof mean);
    lk_codec_encoder_flush(e);
    CHECK_FAILS(lk_codec_encoder_push(e, x, 1), LK_E_ARG);
    CHECK_OK(lk_codec_encoder_reset(e, 0));
    CHECK_OK(lk_codec_encoder_push(e, x, 32));
    CHECK_OK(lk_codec_encoder_pull(e, 1, tokens, mean, NULL, NULL));
    assert_memory_equal(mean, a.mean, 4 * sizeof *mean);
    lk_codec_encoder_free(&e);

    CHECK_OK(lk_codec_decoder_new(&d, codec, LK_CODEC_BOTH, 0));
    mean[1] = NAN;
    CHECK_FAILS(lk_codec_decoder_push(d, a.tokens, mean, 1), LK_E_NUMERIC);
    CHECK_FAILS(lk_codec_decoder_push(d, NULL, a.mean, 1), LK_E_ARG);
    CHECK_FAILS(lk_codec_decoder_push(d, a.tokens, NULL, 1), LK_E_ARG);
    memcpy(tokens, a.tokens, sizeof tokens);
    tokens[4] = 16;
    CHECK_FAILS(lk_codec_decoder_push(d, tokens, a.mean, 20), LK_E_ARG);
    CHECK_OK(lk_codec_decoder_push(d, a.tokens, a.mean, 20));
    CHECK_FAILS(lk_codec_decoder_end(d, 641), LK_E_ARG);
    CHECK_FAILS(lk_codec_decoder_end(d, 608), LK_E_ARG);
    CHECK_FAILS(lk_codec_decoder_pull(d, 641, sound), LK_E_ARG);
    CHECK_OK(lk_codec_decoder_pull(d, 620, sound));
    CHECK_FAILS(lk_codec_decoder_end(d, 619), LK_E_ARG);
    CHECK_OK(lk_codec_decoder_end(d, 620));
    CHECK_FAILS(lk_codec_decoder_push(d, a.tokens, a.mean, 1), LK_E_ARG);
    assert_memory_equal(sound, a.sound, 620 * sizeof *sound);
    lk_codec_decoder_free(&d);

    /* Fewer stages sound different; modes that do not fit are refused. */
    CHECK_OK(lk_codec_decoder_new(&d, codec, LK_CODEC_TOKENS, 1));
    CHECK_OK(lk_codec_decoder_push(d, a.tokens, NULL, 20));
    CHECK_OK(lk_codec_decoder_pull(d, 640, sound));
    encode(codec, LK_CODEC_TOKENS, x, 640, 640, 0, &b);
    decode(codec, LK_CODEC_TOKENS, 20, 0, &b);
    assert_memory_equal(a.tokens, b.tokens, sizeof tokens);
    assert_memory_not_equal(sound, b.sound, sizeof sound);
    lk_codec_decoder_free(&d);
    CHECK_FAILS(lk_codec_decoder_new(&d, codec, LK_CODEC_TOKENS, 4), LK_E_ARG);
    CHECK_FAILS(lk_codec_decoder_new(&d, codec, (lk_codec_mode)0, 0), LK_E_ARG);
    CHECK_FAILS(lk_codec_encoder_new(&e, codec, (lk_codec_mode)4, 0), LK_E_ARG);
    CHECK_OK(lk_codec_encoder_new(&e, codec, LK_CODEC_TOKENS, 0));
    CHECK_FAILS(lk_codec_encoder_pull(e, 0, tokens, mean, NULL, NULL), LK_E_ARG);
    lk_codec_encoder_free(&e);
    drop(&a);
    drop(&b);
    free(x);
    lk_codec_free(&codec);
}

/* ---- files ---- */

static char base[] = "/tmp/lk_codec_XXXXXX";
static char path[64];

static const char *in_base(const char *name)
{
    sprintf(path, "%s/%s", base, name);
    return path;
}

static void a_file_is_the_codec(void **state)
{
    (void)state;
    lk_codec_config c = tiny_codec(2);
    lk_codec *codec = NULL, *back = NULL, *small = NULL, *again = NULL;
    float *x = noise(2 * 500);
    coded a, b;
    c.activation = "snake";
    c.labels = 5;
    CHECK_OK(lk_codec_new(&codec, &c, NULL));
    CHECK_OK(lk_codec_save(codec, in_base("a.safetensors"), LK_F32));
    CHECK_OK(lk_codec_load(&back, path, NULL));
    assert_int_equal(lk_codec_get_config(back)->labels, 5);
    assert_string_equal(lk_codec_get_config(back)->activation, "snake");
    encode(codec, LK_CODEC_BOTH, x, 500, 500, 0, &a);
    encode(back, LK_CODEC_BOTH, x, 500, 500, 0, &b);
    decode(codec, LK_CODEC_BOTH, 99, 0, &a);
    decode(back, LK_CODEC_BOTH, 99, 0, &b);
    assert_same(&c, &a, &b, a.n_latents);
    assert_memory_equal(a.sound, b.sound, 1000 * sizeof(float));
    drop(&a);
    drop(&b);

    /* Half the bytes; what they say is the same for everyone who loads them. */
    CHECK_OK(lk_codec_save(codec, in_base("b.safetensors"), LK_BF16));
    CHECK_OK(lk_codec_load(&small, path, NULL));
    CHECK_OK(lk_codec_save(small, in_base("c.safetensors"), LK_BF16));
    CHECK_OK(lk_codec_load(&again, path, NULL));
    encode(small, LK_CODEC_CONTINUOUS, x, 500, 500, 0, &a);
    encode(again, LK_CODEC_CONTINUOUS, x, 500, 7, 0, &b);
    assert_same(&c, &a, &b, a.n_latents);
    drop(&a);
    drop(&b);
    CHECK_FAILS(lk_codec_save(codec, path, LK_I32), LK_E_ARG);
    lk_codec_free(&codec);
    lk_codec_free(&back);
    lk_codec_free(&small);
    lk_codec_free(&again);
    free(x);
}

/* A file with other texts or tensors than those of a codec. */
static void write_other(const char *format, const char *config, int drop_tensor, int add_tensor)
{
    const lk_codec_config c = tiny_codec(1);
    lk_codec *codec = NULL;
    lk_safetensors_text texts[2] = {{"format", format}, {"config", config}};
    lk_safetensor tensors[256];
    int n = 0;
    CHECK_OK(lk_codec_new(&codec, &c, NULL));
    lk_params *p = lk_codec_params(codec);
    for (int i = 0; i < lk_params_n(p); i++)
        if (i != drop_tensor)
            tensors[n++] = (lk_safetensor){lk_params_name(p, i), LK_F32, lk_params_shape(p, i),
                                           lk_params_data(p, i, LK_VALUE)};
    if (add_tensor)
        tensors[n++] = (lk_safetensor){"other", LK_F32, LK_SHAPE(1), base};
    CHECK_OK(lk_safetensors_write(path, n, tensors, format ? 2 : 0, texts, NULL, NULL));
    lk_codec_free(&codec);
}

static void other_files_are_refused_by_name(void **state)
{
    (void)state;
    static const char *const good =
        "rate_hz: 800\nwidth: 12\nencoder_blocks: 1\ndecoder_blocks: 1\nlatent_blocks: 1\n"
        "latent_width: 16\nlinear: 8\nbands: 3\nstages: 3\nentries: 16\ncode_width: 4\ncontinuous: "
        "4\n";
    lk_codec *codec = NULL;
    in_base("other.safetensors");
#define REFUSED(code)                                                                              \
    do {                                                                                           \
        assert_int_equal(lk_codec_load(&codec, path, NULL), code);                                 \
        assert_non_null(strstr(lk_error_text(), "other.safetensors"));                             \
        assert_null(codec);                                                                        \
        lk_error_clear();                                                                          \
    } while (0)
    REFUSED(LK_E_IO);
    write_other(LK_CODEC_FORMAT, good, -1, 0);
    CHECK_OK(lk_codec_load(&codec, path, NULL));
    lk_codec_free(&codec);
    write_other(NULL, NULL, -1, 0);
    REFUSED(LK_E_FORMAT);
    write_other("something else", good, -1, 0);
    REFUSED(LK_E_FORMAT);
    write_other(LK_CODEC_FORMAT, "rate_hz: 801\n", -1, 0);
    REFUSED(LK_E_FORMAT);
    write_other(LK_CODEC_FORMAT, "colour: red\n", -1, 0);
    REFUSED(LK_E_FORMAT);
    write_other(LK_CODEC_FORMAT, "rubbish", -1, 0);
    REFUSED(LK_E_FORMAT);
    write_other(LK_CODEC_FORMAT, "rate_hz: 8000\n", -1, 0); /* all else as by default */
    REFUSED(LK_E_SHAPE);
    write_other(LK_CODEC_FORMAT, good, 3, 0);
    REFUSED(LK_E_SHAPE);
    write_other(LK_CODEC_FORMAT, good, -1, 1);
    REFUSED(LK_E_SHAPE);
    FILE *f = fopen(path, "wb");
    fputs("no safetensors at all", f);
    fclose(f);
    REFUSED(LK_E_FORMAT);

    lk_codec_config c = tiny_codec(1);
    c.rate_hz = 12345;
    CHECK_FAILS(lk_codec_new(&codec, &c, NULL), LK_E_ARG);
    c = tiny_codec(1);
    c.linear = 33; /* of 32 samples */
    CHECK_FAILS(lk_codec_new(&codec, &c, NULL), LK_E_ARG);
    c.linear = 14; /* with a level and 3 bands more than 16 */
    CHECK_FAILS(lk_codec_new(&codec, &c, NULL), LK_E_ARG);
    c = tiny_codec(3);
    CHECK_FAILS(lk_codec_new(&codec, &c, NULL), LK_E_ARG);
}

/* Every allocation fails once. */
static void no_memory(void **state)
{
    (void)state;
    const lk_codec_config c = tiny_codec(1);
    float *x = noise(20 * 32 + 1);
    int fired = 1;
    for (int n = 1; fired; n += n < 40 ? 1 : 23) {
        lk_codec *codec = NULL;
        lk_codec_encoder *e = NULL;
        lk_codec_decoder *d = NULL;
        uint16_t tokens[21 * 3];
        float mean[21 * 4], y[21 * 32];
        lk_status st = LK_OK;
        lk_mem_fail_after(n);
        LK_TRY(lk_codec_new(&codec, &c, NULL));
        LK_TRY(lk_codec_encoder_new(&e, codec, LK_CODEC_BOTH, 0));
        LK_TRY(lk_codec_decoder_new(&d, codec, LK_CODEC_BOTH, 0));
        LK_TRY(lk_codec_encoder_push(e, x, 20 * 32 + 1));
        lk_codec_encoder_flush(e);
        LK_TRY(lk_codec_encoder_pull(e, 21, tokens, mean, NULL, NULL));
        LK_TRY(lk_codec_decoder_push(d, tokens, mean, 21));
        LK_TRY(lk_codec_decoder_pull(d, 21 * 32, y));
        LK_TRY(lk_codec_save(codec, in_base("m.safetensors"), LK_BF16));
        lk_codec_free(&codec);
        LK_TRY(lk_codec_load(&codec, path, NULL));
    done:
        fired = lk_mem_fault_fired();
        lk_mem_fail_after(0);
        if (st != (fired ? LK_E_MEMORY : LK_OK))
            fail_msg("allocation %d gave %s: %s", n, lk_status_name(st), lk_error_text());
        lk_codec_encoder_free(&e);
        lk_codec_decoder_free(&d);
        lk_codec_free(&codec);
    }
    free(x);
}

static int make_base(void **state)
{
    (void)state;
    return mkdtemp(base) == NULL;
}

static int drop_base(void **state)
{
    static const char *const names[] = {"a", "b", "c", "m", "other"};
    char name[32];
    (void)state;
    for (int i = 0; i < 5; i++) {
        sprintf(name, "%s.safetensors", names[i]);
        remove(in_base(name));
    }
    return rmdir(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_cut_gives_the_same_bytes),
        cmocka_unit_test(a_prefix_gives_the_first_latents),
        cmocka_unit_test(lengths_and_spans_are_exact),
        cmocka_unit_test(silence_and_nonsense),
        cmocka_unit_test(a_file_is_the_codec),
        cmocka_unit_test(other_files_are_refused_by_name),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, make_base, drop_base);
}
