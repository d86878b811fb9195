/* check.h - cmocka with the few helpers every test shares. */
#ifndef LK_TESTS_CHECK_H
#define LK_TESTS_CHECK_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/status.h"

/* The call must succeed; the failure's own sentence is printed otherwise. */
#define CHECK_OK(expr)                                                                             \
    do {                                                                                           \
        const lk_status check_ = (expr);                                                           \
        if (check_ != LK_OK)                                                                       \
            fail_msg("%s: %s\n%s", #expr, lk_error_text(), lk_error_trace());                      \
    } while (0)

/* The call must fail with exactly this status and leave a sentence. */
#define CHECK_FAILS(expr, code)                                                                    \
    do {                                                                                           \
        const lk_status check_ = (expr);                                                           \
        if (check_ != (code))                                                                      \
            fail_msg("%s gave %s, expected %s", #expr, lk_status_name(check_),                     \
                     lk_status_name(code));                                                        \
        assert_true(lk_error_text()[0] != '\0');                                                   \
        lk_error_clear();                                                                          \
    } while (0)

#define CHECK_CLOSE(a, b, tolerance)                                                               \
    do {                                                                                           \
        const double a_ = (double)(a), b_ = (double)(b);                                           \
        if (!(fabs(a_ - b_) <= (tolerance)))                                                       \
            fail_msg("%s = %.9g, expected %.9g within %g", #a, a_, b_, (double)(tolerance));       \
    } while (0)

/* How many of something to try: LK_TEST_BRIEF=1 asks for less, for builds under slow tools. */
static inline int check_count(int full, int brief)
{
    return getenv("LK_TEST_BRIEF") ? brief : full;
}

/* For tests of many cases: each that is wrong is named, check_none_wrong ends the test. */
static int check_n_wrong __attribute__((unused));

#define CHECK_WRONG(...) (check_n_wrong++, print_error(__VA_ARGS__), print_error("\n"))

static inline void check_none_wrong(void)
{
    const int n = check_n_wrong;
    check_n_wrong = 0;
    if (n)
        fail_msg("%d answers are wrong", n);
}

#endif /* LK_TESTS_CHECK_H */
