/* test_pca.c - kernels/pca.h against vectors whose components are known. */
#include "tests/check.h"

#include "kernels/mem.h"
#include "kernels/pca.h"
#include "kernels/rng.h"
#include "kernels/thread.h"

#define N 24

/* Direction d of an orthonormal set: a cosine. */
static double direction(int d, int i)
{
    return sqrt((d ? 2.0 : 1.0) / N) * cos(M_PI * d * (i + 0.5) / N);
}

/* Rows 1 + 3 noise_0 v_0 + 2 noise_1 v_1 + 1 noise_2 v_2. */
static void draw(float *x, int64_t first, int64_t rows)
{
    for (int64_t r = 0; r < rows; r++)
        for (int i = 0; i < N; i++) {
            double sum = 1;
            for (int d = 0; d < 3; d++)
                sum += (3 - d) * (double)lk_rng_normal(7, (uint64_t)(first + r), (uint64_t)d) *
                       direction(2 + 3 * d, i);
            x[r * N + i] = (float)sum;
        }
}

static void known_directions(void **state)
{
    enum { ROWS = 2000, BATCH = 250 };
    static float x[BATCH * N];
    float mean[N], basis[3 * N], variance[3], again[3 * N];
    lk_pca *p = NULL;
    (void)state;
    for (int threads = 1; threads <= 2; threads++) {
        lk_threads_set(threads);
        CHECK_OK(lk_pca_new(&p, N));
        for (int64_t r = 0; r < ROWS; r += BATCH) {
            draw(x, r, BATCH);
            CHECK_OK(lk_pca_add(p, BATCH, x));
        }
        CHECK_OK(lk_pca_solve(p, 3, mean, threads == 1 ? basis : again, variance));
        lk_pca_free(&p);
    }
    assert_memory_equal(basis, again, sizeof basis);
    for (int i = 0; i < N; i++)
        CHECK_CLOSE(mean[i], 1, 0.1);
    for (int d = 0; d < 3; d++) {
        double along = 0;
        for (int i = 0; i < N; i++)
            along += basis[d * N + i] * direction(2 + 3 * d, i);
        CHECK_CLOSE(fabs(along), 1, 0.01);
        CHECK_CLOSE((double)variance[d] / ((3 - d) * (3 - d)), 1, 0.15);
    }
}

/* All of them: orthonormal, and their variances sum to that of the vectors. */
static void all_directions(void **state)
{
    static float x[40 * N], basis[N * N];
    float mean[N], variance[N];
    double total = 0, sum = 0;
    lk_pca *p = NULL;
    (void)state;
    for (int i = 0; i < 40 * N; i++)
        x[i] = lk_rng_normal(3, 1, (uint64_t)i);
    CHECK_OK(lk_pca_new(&p, N));
    CHECK_OK(lk_pca_add(p, 40, x));
    CHECK_OK(lk_pca_solve(p, N, mean, basis, variance));
    for (int i = 0; i < 40 * N; i++)
        total += pow(x[i] - mean[i % N], 2) / 40;
    for (int a = 0; a < N; a++) {
        sum += variance[a];
        assert_true(a == 0 || variance[a] <= variance[a - 1]);
        for (int b = 0; b < N; b++) {
            double d = 0;
            for (int i = 0; i < N; i++)
                d += basis[a * N + i] * basis[b * N + i];
            CHECK_CLOSE(d, a == b ? 1 : 0, 1e-5);
        }
    }
    CHECK_CLOSE(sum / total, 1, 1e-5);
    lk_pca_free(&p);
}

/* Fewer different vectors than directions asked for: the rest is some orthonormal complement. */
static void nothing_to_find(void **state)
{
    static float x[3 * N], basis[5 * N];
    float variance[5];
    lk_pca *p = NULL;
    (void)state;
    CHECK_OK(lk_pca_new(&p, N));
    CHECK_FAILS(lk_pca_solve(p, 1, NULL, basis, NULL), LK_E_EMPTY);
    CHECK_OK(lk_pca_add(p, 3, x));
    CHECK_OK(lk_pca_solve(p, 5, NULL, basis, variance));
    for (int a = 0; a < 5; a++) {
        double d = 0;
        for (int i = 0; i < N; i++)
            d += basis[a * N + i] * basis[a * N + i];
        CHECK_CLOSE(d, 1, 1e-5);
        CHECK_CLOSE(variance[a], 0, 1e-12);
    }
    x[N] = NAN;
    CHECK_FAILS(lk_pca_add(p, 3, x), LK_E_NUMERIC);
    CHECK_FAILS(lk_pca_solve(p, N + 1, NULL, basis, NULL), LK_E_ARG);
    lk_pca_free(&p);
    CHECK_FAILS(lk_pca_new(&p, 0), LK_E_ARG);
    CHECK_FAILS(lk_pca_new(&p, LK_PCA_MOST + 1), LK_E_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_directions),
        cmocka_unit_test(all_directions),
        cmocka_unit_test(nothing_to_find),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
