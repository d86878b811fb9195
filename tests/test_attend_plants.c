/* test_attend_plants.c - the tests of attention find faults: each of attend_plants.txt, planted in
 * the CUDA kernels that the emulator runs, makes a run fail or a result leave the bars of
 * attend_problem.h; without one all problems pass. */
#include "tests/attend_problem.h"

#include "kernels/cuda/cuda.h"

int lk_planted(int n);

static const char *const plants[] = {
#include "plants.inc"
};
enum { N_PLANTS = sizeof plants / sizeof plants[0], N_PROBLEMS = 6 };

static int planted; /* 0: none */

int lk_planted(int n)
{
    return n == planted;
}

typedef struct known {
    attend_problem p;
    int hopper; /* by the kernels for sm_90? */
    attend_answer exact, plain;
} known;

static known problems[N_PROBLEMS];

/* Windows that begin and end inside tiles, keys that end inside one, all keys, shared heads; with
 * enough tiles for a block of the kernels for sm_90 to reuse each stage and to take a second tile
 * of queries. */
static int set_up(void **state)
{
    (void)state;
    problems[0].p = attend_make(1, 2, 1, 150, 210, 32, attend_window(900, 700));
    problems[1].p = attend_make(2, 1, 1, 70, 90, 64, attend_causal(300, 400));
    problems[2].p = attend_make(1, 1, 1, 40, 100, 128, (lk_attend_rule){.kind = LK_ATTEND_FULL});
    problems[3].p = attend_make(1, 1, 1, 130, 40, 32, attend_window(0, 0));
    problems[4].p = attend_make(1, 2, 1, 300, 700, 64, attend_window(4700, 6100));
    problems[5].p = attend_make(1, 3, 1, 190, 450, 128, attend_window(3000, 3500));
    problems[4].hopper = problems[5].hopper = 1;
    problems[1].p.length[1][1] = 61;
    problems[3].p.has_slope = 1;
    for (int i = 0; i < N_PROBLEMS; i++) {
        known *k = &problems[i];
        k->p.dtype = LK_BF16;
        k->exact = attend_solve(&k->p, lk_backend_reference());
        k->plain = attend_solve(&k->p, lk_backend_rounded());
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < N_PROBLEMS; i++) {
        attend_free_answer(&problems[i].exact);
        attend_free_answer(&problems[i].plain);
        attend_free_problem(&problems[i].p);
    }
    return 0;
}

/* Does a problem fail?  Then text says how. */
static int found(char text[ATTEND_TEXT])
{
    const int in_hopper = planted && strstr(plants[planted - 1], "hopper");
    for (int i = 0; i < N_PROBLEMS; i++) { /* those first that the fault is in */
        const known *k = &problems[in_hopper ? N_PROBLEMS - 1 - i : i];
        attend_answer ours;
        int wrong = 1;
        lk_emu_attend_hopper_use(k->hopper ? 2 : -1);
        if (attend_try(&k->p, lk_backend_emulated(), &ours) == LK_OK)
            wrong = attend_wrong(&k->p, &ours, &k->exact, &k->plain, "planted", text);
        else
            snprintf(text, ATTEND_TEXT, "%s", lk_error_text());
        lk_error_clear();
        attend_free_answer(&ours);
        if (wrong)
            return 1;
    }
    return 0;
}

static void test_plants(void **state)
{
    char text[ATTEND_TEXT];
    (void)state;
    for (int height = 16; height <= 256; height *= 4) {
        lk_emu_attend_height(height);
        planted = 0;
        if (found(text))
            fail_msg("without a fault, %d rows a block: %s", height, text);
    }
    for (planted = 1; planted <= N_PLANTS; planted++) {
        int is_found = 0;
        for (int height = 64; height <= 256 && !is_found; height *= 4) {
            lk_emu_attend_height(height);
            is_found = found(text);
        }
        if (!is_found)
            fail_msg("not found: %s", plants[planted - 1]);
        print_message("%s\n    %s\n", plants[planted - 1], text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plants)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
