/* test_emu.c - the emulator finds the faults it is there to find, in kernels that have them
 * (emu_faults.cpp), and none in their sound twins; and what the CUDA backend says and knows on a
 * machine without a GPU. */
#include "tests/check.h"

#include "kernels/cuda/cuda.h"

#define N 64

lk_status emu_reverse_rows(int fault, const float *x, float *y);
lk_status emu_barriers(int fault);
lk_status emu_warp(int fault, int *sums);

/* The call fails and its sentence has these words. */
#define CHECK_FOUND(expr, words)                                                                   \
    do {                                                                                           \
        assert_int_equal((expr), LK_E_INTERNAL);                                                   \
        if (!strstr(lk_error_text(), words))                                                       \
            fail_msg("%s: '%s' does not say '%s'", #expr, lk_error_text(), words);                 \
        lk_error_clear();                                                                          \
    } while (0)

static void test_shared_memory(void **state)
{
    float x[N], y[N] = {0};
    (void)state;
    for (int i = 0; i < N; i++)
        x[i] = (float)i;
    for (int reverse = 0; reverse < 2; reverse++) {
        lk_emu_reverse(reverse);
        CHECK_OK(emu_reverse_rows(0, x, y));
        for (int i = 0; i < N; i++)
            assert_true(y[i] == x[N - 1 - i]);
        CHECK_FOUND(emu_reverse_rows(2, x, y), "index 64 of a shared array of 64");
        CHECK_FOUND(emu_reverse_rows(3, x, y), "no thread of this block has written");
        CHECK_FOUND(emu_reverse_rows(4, x, y), "no barrier in between");
    }
    lk_emu_reverse(0);
    /* without the barrier the threads that run late read what was written, unordered; those that
     * run early read what was not */
    CHECK_FOUND(emu_reverse_rows(1, x, y), "no thread of this block has written");
    CHECK_OK(emu_reverse_rows(0, x, y)); /* a fault leaves nothing behind */
}

static void test_barriers(void **state)
{
    (void)state;
    CHECK_OK(emu_barriers(0));
    CHECK_FOUND(emu_barriers(1), "has ended");
    CHECK_FOUND(emu_barriers(2), "waits at");
    lk_emu_reverse(1);
    CHECK_FOUND(emu_barriers(1), "has ended");
    lk_emu_reverse(0);
}

static void test_warps(void **state)
{
    int sums[N];
    (void)state;
    CHECK_OK(emu_warp(0, sums));
    for (int i = 0; i < N; i++)
        assert_int_equal(sums[i], i < 32 ? 31 * 16 : 31 * 16 + 32 * 32);
    CHECK_FOUND(emu_warp(1, sums), "has ended");
    CHECK_FOUND(emu_warp(2, sums), "waits at");
    CHECK_FOUND(emu_warp(3, sums), "no barrier in between");
}

static void count_line(void *user, const char *text)
{
    assert_true(text[0] != '\0');
    ++*(int *)user;
}

static void test_absent(void **state)
{
    const lk_backend *b = NULL;
    int n_lines = 0;
    (void)state;
    lk_cuda_describe(count_line, &n_lines);
    assert_true(n_lines >= 1);
    if (lk_backend_cuda(&b) == LK_OK) {
        assert_non_null(b);
        print_message("this machine has a GPU\n");
        return;
    }
    assert_null(b);
    lk_error_clear();
    CHECK_FAILS(lk_backend_cuda(&b), LK_E_ENV); /* the second answer is the first */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_memory),
        cmocka_unit_test(test_barriers),
        cmocka_unit_test(test_warps),
        cmocka_unit_test(test_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
