/* test_hopper_layout.c - hopper_layout.h: every number of a tile has one place and products look
 * for it there; descriptors hold what they were given; a warpgroup's registers cover its sums once;
 * the bits of a mask are the keys that a run holds. */
#include "tests/check.h"

#include "kernels/cuda/hopper_layout.h"
#include "kernels/rng.h"

enum { MOST = 128 * 128 };

static void test_swizzle(void **state)
{
    static unsigned char taken[2 * MOST];
    (void)state;
    for (uint32_t rows = 64; rows <= 128; rows += 64)
        for (uint32_t d = 64; d <= 128; d += 64) {
            memset(taken, 0, sizeof taken);
            for (uint32_t r = 0; r < rows; r++)
                for (uint32_t c = 0; c < d; c++) {
                    const uint32_t at = lk_panel_at(rows, r, c);
                    assert_true(at % 2 == 0 && at < 2 * rows * d);
                    assert_false(taken[at]);
                    taken[at] = 1;
                    assert_int_equal(at / 16, lk_panel_at(rows, r, c / 8 * 8) / 16);
                }
        }
    /* eight rows of one column of words, and eight words of one row: all banks differ */
    for (uint32_t c = 0; c < 64; c += 8) {
        unsigned banks = 0;
        for (uint32_t r = 0; r < 8; r++)
            banks |= 1u << lk_panel_at(64, r, c) % 128 / 16;
        assert_int_equal(banks, 255);
    }
}

static void test_descriptor(void **state)
{
    (void)state;
    for (uint32_t address = 0; address < 232448; address += 1040)
        for (uint32_t leading = 16; leading <= 16384; leading *= 4) {
            const uint64_t x = lk_descriptor(address, leading, 1024);
            assert_int_equal((x & 0x3fff) * 16, address);
            assert_int_equal((x >> 16 & 0x3fff) * 16, leading);
            assert_int_equal((x >> 32 & 0x3fff) * 16, 1024);
            assert_int_equal(x >> 62, 1);
            assert_int_equal(x & (UINT64_C(3) << 14 | UINT64_C(3) << 30 | UINT64_C(0xffff) << 46),
                             0);
        }
}

/* Both kinds of operand of a tile at an aligned address find its numbers. */
static void test_operands(void **state)
{
    const uint32_t base = 33 * LK_PANEL_ALIGN;
    (void)state;
    for (uint32_t rows = 64; rows <= 128; rows += 64)
        for (uint32_t d = 64; d <= 128; d += 64) {
            for (uint32_t first = 0; first < rows; first += 64)
                for (uint32_t step = 0; step < d / 16; step++) {
                    const uint64_t x = lk_operand_of_rows(base, rows, first, step);
                    for (uint32_t r = 0; r < 64; r++)
                        for (uint32_t k = 0; k < 16; k++)
                            assert_int_equal(lk_operand_at(x, 0, r, k),
                                             base + lk_panel_at(rows, first + r, 16 * step + k));
                }
            for (uint32_t step = 0; step < rows / 16; step++) {
                const uint64_t x = lk_operand_of_columns(base, rows, step);
                for (uint32_t c = 0; c < d; c++)
                    for (uint32_t k = 0; k < 16; k++)
                        assert_int_equal(lk_operand_at(x, 1, c, k),
                                         base + lk_panel_at(rows, 16 * step + k, c));
            }
        }
}

static void test_sums(void **state)
{
    (void)state;
    for (int n = 64; n <= 128; n += 64) {
        unsigned char taken[64][128] = {{0}};
        for (int thread = 0; thread < 128; thread++)
            for (int i = 0; i < n / 2; i++) {
                const int r = lk_sum_row(thread, i), c = lk_sum_col(thread, i);
                assert_true(r >= 0 && r < 64 && c >= 0 && c < n);
                assert_int_equal(r / 16, thread / 32); /* a warp's rows are its own */
                assert_false(taken[r][c]);
                taken[r][c] = 1;
            }
    }
}

static void check_mask(int first, int end, int j0)
{
    for (int t = 0; t < 4; t++) {
        const uint32_t seen = lk_columns_seen(first, end, j0, t);
        for (int bit = 0; bit < 32; bit++) {
            const int j = j0 + 8 * (bit / 2) + 2 * t + bit % 2;
            if ((int)(seen >> bit & 1) != (j >= first && j < end))
                fail_msg("run %d .. %d, tile at %d, key %d, thread %d: wrong bit", first, end, j0,
                         j, t);
        }
    }
}

static void test_masks(void **state)
{
    (void)state;
    for (int first = 120; first <= 262; first++)
        for (int end = first - 3; end <= 262; end++)
            check_mask(first, end, 128);
    for (uint64_t i = 0; i < 1000; i++) {
        const int first = (int)lk_rng_below(1, 2, 2 * i, 1 << 30);
        const int end = first + (int)lk_rng_below(1, 2, 2 * i + 1, 400);
        check_mask(first, end, first / 128 * 128);
        check_mask(first, end, end / 128 * 128);
    }
    check_mask(0, INT32_MAX, INT32_MAX / 128 * 128 - 128);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_swizzle),  cmocka_unit_test(test_descriptor),
        cmocka_unit_test(test_operands), cmocka_unit_test(test_sums),
        cmocka_unit_test(test_masks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
