/* test_joint_places.c - events laid on the picture: where and when, who depends on them, and the
 * lines of a script that say them. */
#include "tests/check.h"
#include "tests/joint_toy.h"

#include "av/generate_impl.h"
#include "kernels/mem.h"

#define MS LK_FLICKS_PER_MS

enum { ROWS = 2, COLUMNS = 4, MOST = 3, GRID = LK_JOINT_GRID };

/* Event e, and point (x, y) of the grid, of token (r, c) of latent i at its start or end. */
#define TOKEN(i, r, c, end)       (2 * (((i)*ROWS + (r)) * COLUMNS + (c)) + (end))
#define WHAT(i, r, c, end, e)     what[TOKEN(i, r, c, end) * MOST + (e)]
#define WHERE(i, r, c, end, x, y) where[(TOKEN(i, r, c, end) * GRID + (y)) * GRID + (x)]

static void where_it_lies_is_counted_by_hand(void **state)
{
    const lk_joint_event events[MOST] = {
        {{50 * MS, 50 * MS}, "hit", lk_place_at(0.5, 0.25)},
        {{0, 40 * MS}, "path", lk_place_way(0.125, 0.75, 0.375, 0.75)},
        {{40 * MS, 60 * MS}, "nowhere", {0}}};
    const lk_span span[3] = {{0, 40 * MS}, {40 * MS, 80 * MS}, {80 * MS, 120 * MS}};
    const lk_joint_clip c = {
        .n_latents = 3, .video_span = span, .n_events = MOST, .events = events};
    const lk_joint_sizes z = {1, 3, ROWS, COLUMNS, 0, 8, MOST, 6, 3};
    const int32_t order[MOST] = {0, 2, 1}; /* the path stands last */
    lk_joint_config config = joint_toy_config("none");
    lk_joint *m = NULL;
    float *what = NULL, *where = NULL;
    double sum = 0;
    (void)state;
    CHECK_OK(joint_toy_new(&m, &config, NULL));
    CHECK_OK(LK_NEW_ARRAY(&what, TOKEN(3, 0, 0, 0) * MOST));
    CHECK_OK(LK_NEW_ARRAY(&where, TOKEN(3, 0, 0, 0) * GRID * GRID));
    lk_joint_lay(m, &z, &c, order, MOST, what, where);
    for (int end = 0; end < 2; end++) {
        /* Half of the width is between columns 1 and 2, a quarter of the height in row 0; an
         * instant lies in the latent that has it, at both ends. */
        CHECK_CLOSE(WHAT(1, 0, 1, end, 0), 1 - 0.5 / 1.5, 1e-6);
        CHECK_CLOSE(WHAT(1, 0, 2, end, 0), 1 - 0.5 / 1.5, 1e-6);
        CHECK_CLOSE(WHAT(1, 1, 1, end, 0), (1 - 0.5 / 1.5) * (1 - 1 / 1.5), 1e-6);
        /* Points are a quarter of a token apart, 3.5 on each side of the middle: half a token to
         * the right is between points 5 and 6, the middle between 3 and 4. */
        CHECK_CLOSE(WHERE(1, 0, 1, end, 5, 3), 8 * 0.25, 1e-6);
        CHECK_CLOSE(WHERE(1, 0, 1, end, 6, 4), 8 * 0.25, 1e-6);
        CHECK_CLOSE(WHERE(1, 0, 2, end, 1, 3), 8 * 0.25, 1e-6);
        assert_true(WHERE(1, 0, 1, end, 4, 3) == 0 && WHERE(1, 0, 1, end, 5, 5) == 0);
        assert_true(WHAT(0, 0, 1, end, 0) == 0 && WHAT(2, 0, 1, end, 0) == 0);
    }
    /* From the middle of column 0 to that of column 1, in row 1: there at the start, here at the
     * end of latent 0, and not at the start of latent 1, when it is over. */
    CHECK_CLOSE(WHAT(0, 1, 0, 0, 2), 1, 1e-6);
    CHECK_CLOSE(WHAT(0, 1, 1, 1, 2), 1, 1e-6);
    CHECK_CLOSE(WHAT(0, 1, 0, 1, 2), 1 - 1 / 1.5, 1e-6);
    CHECK_CLOSE(WHERE(0, 1, 0, 0, 3, 4), 8 * 0.25, 1e-6);
    CHECK_CLOSE(WHERE(0, 1, 1, 1, 4, 3), 8 * 0.25, 1e-6);
    assert_true(WHAT(1, 1, 1, 0, 2) == 0 && WHAT(1, 1, 1, 1, 2) == 0);
    for (int i = 0; i < TOKEN(3, 0, 0, 0); i++)
        sum += fabs((double)what[i * MOST + 1]);
    assert_true(sum == 0); /* nowhere */
    lk_free(what);
    lk_free(where);
    lk_joint_free(&m);
}

static joint_toy_answer ask(const lk_joint *m, const lk_joint_clip *c, const lk_joint_without *w)
{
    joint_toy_answer x, v;
    joint_toy_noise(&x);
    joint_toy_ask(m, c, w, &x, &v);
    return v;
}

static int same(joint_toy_answer a, joint_toy_answer b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

/* A piece of a path is seen where it is and not attended: without an exchange the sound does not
 * know of it. */
static void paths_move_the_picture_alone(void **state)
{
    const lk_joint_without text = {.text = (const uint8_t[]){1}};
    const lk_joint_without places = {.places = (const uint8_t[]){1}};
    const lk_joint_config c = joint_toy_config("none");
    lk_joint_event with[2], moved[2];
    lk_joint_clip clip = joint_toy_clip(0), one = clip;
    lk_joint *m = NULL;
    joint_toy_answer a, b;
    (void)state;
    CHECK_OK(joint_toy_new(&m, &c, NULL));
    with[0] = clip.events[0];
    with[1] = (lk_joint_event){{60 * MS, 210 * MS}, "path", lk_place_way(0.2, 0.5, 0.9, 0.5)};
    memcpy(moved, with, sizeof moved);
    moved[1].place.x[1] = 0.3;
    clip.events = with;
    a = ask(m, &clip, NULL);
    clip.events = moved;
    b = ask(m, &clip, NULL);
    assert_true(memcmp(a.video, b.video, sizeof a.video) != 0);
    assert_memory_equal(a.audio, b.audio, sizeof a.audio);
    assert_true(same(ask(m, &clip, &text), (clip.events = with, ask(m, &clip, &text))));
    /* Without places it is as if only the other event were there, and as where that is nowhere. */
    with[0].place = (lk_place){0};
    one.n_events = 1;
    one.events = with;
    assert_true(same(ask(m, &clip, &places), ask(m, &one, NULL)));
    lk_joint_free(&m);
}

static void models_without_places_lay_nothing(void **state)
{
    lk_joint_config c = joint_toy_config("window");
    lk_joint_event events[2];
    lk_joint_clip clip = joint_toy_clip(0);
    lk_joint *m = NULL;
    joint_toy_answer a;
    (void)state;
    c.places = false;
    CHECK_OK(joint_toy_new(&m, &c, NULL));
    memcpy(events, clip.events, sizeof events);
    clip.events = events;
    a = ask(m, &clip, NULL);
    events[0].place.x[0] = 0.9;
    assert_true(same(a, ask(m, &clip, NULL)));
    lk_joint_free(&m);
}

static void scripts_say_places(void **state)
{
    static const char text[] = "0.5 s bounce metal at 0.25,0.75\n"
                               "# where it is\n"
                               "0.1-0.2 s path from here from 0.25,0.5 to -0.1,1e-1 \n"
                               "0.7 s say at last\n";
    static const char *const bad[] = {"0.5 s ball to 0.2,0.3", "0.5 s ball at 0.2,0.3 to 0.4,0.5"};
    lk_joint_event *e = NULL;
    char *texts = NULL;
    int n = 0;
    (void)state;
    CHECK_OK(lk_script_parse(text, "script", LK_FLICKS_PER_S, &e, &n, &texts));
    assert_int_equal(n, 3);
    assert_string_equal(e[0].text, "path from here");
    assert_int_equal(e[0].place.ends, 2);
    assert_true(e[0].place.x[0] == 0.25 && e[0].place.y[0] == 0.5 && e[0].place.x[1] == -0.1 &&
                e[0].place.y[1] == 0.1);
    assert_string_equal(e[1].text, "bounce metal");
    assert_int_equal(e[1].place.ends, 1);
    assert_true(e[1].place.x[0] == 0.25 && e[1].place.y[0] == 0.75);
    assert_string_equal(e[2].text, "say at last");
    assert_int_equal(e[2].place.ends, 0);
    lk_free(e);
    lk_free(texts);
    for (int i = 0; i < 2; i++)
        CHECK_FAILS(lk_script_parse(bad[i], "script", LK_FLICKS_PER_S, &e, &n, &texts),
                    LK_E_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_it_lies_is_counted_by_hand),
        cmocka_unit_test(paths_move_the_picture_alone),
        cmocka_unit_test(models_without_places_lay_nothing),
        cmocka_unit_test(scripts_say_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
