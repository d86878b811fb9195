/* test_embeddings.c - prompts as vectors in a file: written, read, looked up; files that are not
 * so. */
#include "tests/check.h"

#include "av/embeddings.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

static char path[] = "/tmp/lk_embeddings_XXXXXX";

enum { N = 3, MOST = 2, CHANNELS = 4 };

static const char *const captions[N] = {"a dancer", "a ball on metal", "ein B\xc3\xa4r"};
static const int32_t lengths[N] = {2, 1, 2};

static void fill(float *vectors)
{
    for (int i = 0; i < N * MOST * CHANNELS; i++)
        vectors[i] = (float)i / 8;
}

static void captions_have_their_vectors(void **state)
{
    float vectors[N * MOST * CHANNELS];
    lk_embeddings *e = NULL;
    const float *v;
    int n;
    (void)state;
    fill(vectors);
    vectors[(MOST + 1) * CHANNELS] = NAN; /* behind the second caption's only vector */
    CHECK_OK(lk_embeddings_save(path, N, captions, lengths, MOST, CHANNELS, vectors));
    CHECK_OK(lk_embeddings_open(&e, path));
    assert_int_equal(lk_embeddings_channels(e), CHANNELS);
    assert_int_equal(lk_embeddings_most(e), MOST);
    for (int i = 0; i < N; i++) {
        CHECK_OK(lk_embeddings_find(e, captions[i], &v, &n));
        assert_int_equal(n, lengths[i]);
        assert_memory_equal(v, vectors + i * MOST * CHANNELS, (size_t)(n * CHANNELS) * sizeof *v);
    }
    CHECK_FAILS(lk_embeddings_find(e, "a ball", &v, &n), LK_E_ARG);
    CHECK_FAILS(lk_embeddings_find(e, "zz", &v, &n), LK_E_ARG);
    lk_embeddings_free(&e);
    lk_embeddings_free(&e);
}

static void bad_files_are_refused(void **state)
{
    float vectors[N * MOST * CHANNELS];
    const int32_t longer[N] = {2, 3, 1}, none[N] = {2, 0, 1};
    lk_embeddings *e = NULL;
    FILE *f;
    (void)state;
    fill(vectors);
    CHECK_OK(lk_embeddings_save(path, N, captions, longer, MOST, CHANNELS, vectors));
    CHECK_FAILS(lk_embeddings_open(&e, path), LK_E_FORMAT);
    CHECK_OK(lk_embeddings_save(path, N, captions, none, MOST, CHANNELS, vectors));
    CHECK_FAILS(lk_embeddings_open(&e, path), LK_E_FORMAT);
    vectors[5] = INFINITY;
    CHECK_OK(lk_embeddings_save(path, N, captions, lengths, MOST, CHANNELS, vectors));
    CHECK_FAILS(lk_embeddings_open(&e, path), LK_E_NUMERIC);
    f = fopen(path, "wb");
    assert_non_null(f);
    fputs("no HDF5", f);
    fclose(f);
    CHECK_FAILS(lk_embeddings_open(&e, path), LK_E_FORMAT);
    CHECK_FAILS(lk_embeddings_open(&e, "/nowhere/at/all"), LK_E_FORMAT);
    CHECK_FAILS(
        lk_embeddings_save("/nowhere/at/all", N, captions, lengths, MOST, CHANNELS, vectors),
        LK_E_IO);
    assert_null(e);
}

static int make_path(void **state)
{
    const int file = mkstemp(path);
    (void)state;
    if (file >= 0)
        close(file);
    return file < 0;
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(captions_have_their_vectors),
        cmocka_unit_test(bad_files_are_refused),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
