/* test_dataset.c - shards: what goes in comes out, damage is named, every failing allocation is a
 * clean error, mutated files never crash. */
#include "tests/check.h"

#include "av/dataset.h"
#include "kernels/mem.h"
#include "kernels/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { WIDTH = 6, HEIGHT = 4, FRAMES = 5, SAMPLES = 900, EVENTS = 3 };

static const lk_dataset_format format = {WIDTH, HEIGHT, 16000, 2};
static char folder[] = "/tmp/lk_dataset_XXXXXX";

static const char *path_of(const char *name)
{
    static char path[2][128];
    static int turn;
    turn ^= 1;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

typedef struct made {
    lk_span spans[FRAMES];
    uint8_t frames[FRAMES * WIDTH * HEIGHT * 3];
    int16_t pcm[SAMPLES * 2];
    lk_dataset_event events[EVENTS];
} made;

static lk_dataset_clip make(made *m, uint64_t number)
{
    for (int i = 0; i < FRAMES; i++)
        m->spans[i] = (lk_span){i * LK_FLICKS_PER_S / 25 + i % 2, (i + 1) * LK_FLICKS_PER_S / 25};
    for (size_t i = 0; i < sizeof m->frames; i++)
        m->frames[i] = (uint8_t)lk_rng_u32(1, number, i);
    for (int i = 0; i < SAMPLES * 2; i++)
        m->pcm[i] = (int16_t)lk_rng_u32(2, number, (uint64_t)i);
    memset(m->events, 0, sizeof m->events);
    for (int i = 0; i < EVENTS; i++) {
        m->events[i].span = (lk_span){100 * i, 100 * i + (int64_t)number};
        m->events[i].strength = 0.5 * i;
        strcpy(m->events[i].kind, "impact");
        strcpy(m->events[i].label, i ? "metal" : "wood");
        m->events[i].place = i == 0   ? lk_place_at(0.25, (double)number + 0.5)
                             : i == 1 ? lk_place_way(-0.1, 0.2, 0.3, 1.4)
                                      : (lk_place){0};
    }
    return (lk_dataset_clip){.name = number ? "one" : "nought",
                             .caption = "a bell \xc3\xa9",
                             .source = "test",
                             .n_frames = number == 2 ? 0 : FRAMES,
                             .n_samples = SAMPLES - (int64_t)number,
                             .n_events = number == 1 ? 0 : EVENTS,
                             .audio_start = 7,
                             .spans = m->spans,
                             .frames = m->frames,
                             .pcm = m->pcm,
                             .events = m->events};
}

static lk_status write_shard(const char *path, uint64_t first, int n)
{
    lk_status st = LK_OK;
    lk_shard *s = NULL;
    made m;
    LK_TRY(lk_shard_create(
        &s, path,
        &(lk_shard_options){.format = format, .compress = 1, .commit = "abc", .settings = "{}"}));
    for (int i = 0; i < n; i++) {
        const lk_dataset_clip c = make(&m, first + (uint64_t)i);
        LK_TRY(lk_shard_add(s, &c));
    }
    LK_TRY(lk_shard_finish(s));
done:
    lk_shard_close(&s);
    return st;
}

static lk_status read_all(const char *path, int compare)
{
    lk_status st = LK_OK;
    lk_dataset *d = NULL;
    made m;
    static uint8_t rgb[FRAMES * WIDTH * HEIGHT * 3];
    static float pcm[SAMPLES * 2];
    lk_span spans[FRAMES];
    LK_TRY(lk_dataset_open(&d, &path, 1));
    for (int64_t i = 0; i < lk_dataset_n_clips(d); i++) {
        const lk_dataset_clip c = lk_dataset_get_clip(d, i);
        if (c.n_frames > FRAMES || c.n_samples > SAMPLES) /* only after damage */
            continue;
        LK_TRY(lk_dataset_frames(d, i, 0, c.n_frames, rgb, spans));
        LK_TRY(lk_dataset_samples(d, i, 0, c.n_samples, pcm));
        LK_TRY(lk_dataset_check(d, i));
        if (!compare)
            continue;
        const lk_dataset_clip want = make(&m, (uint64_t)i);
        assert_string_equal(c.name, want.name);
        assert_string_equal(c.caption, want.caption);
        assert_string_equal(c.source, want.source);
        assert_int_equal(c.n_frames, want.n_frames);
        assert_int_equal(c.n_samples, want.n_samples);
        assert_int_equal(c.audio_start, want.audio_start);
        assert_memory_equal(rgb, m.frames, (size_t)c.n_frames * WIDTH * HEIGHT * 3);
        assert_memory_equal(spans, m.spans, (size_t)c.n_frames * sizeof *spans);
        for (int64_t k = 0; k < c.n_samples * 2; k++)
            assert_true(pcm[k] * 32768 == (float)m.pcm[k]);
        assert_int_equal(c.n_events, want.n_events);
        for (int64_t k = 0; k < c.n_events; k++)
            assert_memory_equal(lk_dataset_events(d, i) + k, m.events + k, sizeof *m.events);
    }
done:
    lk_dataset_close(&d);
    return st;
}

static void what_goes_in_comes_out(void **state)
{
    (void)state;
    char *settings = NULL;
    lk_dataset *d = NULL;
    float pcm[8];
    CHECK_OK(write_shard(path_of("0.h5"), 0, 3));
    CHECK_OK(read_all(path_of("0.h5"), 1));
    CHECK_OK(lk_dataset_settings(path_of("0.h5"), &settings));
    assert_string_equal(settings, "{}");
    lk_free(settings);
    assert_int_not_equal(access(path_of("0.h5.part"), F_OK), 0);
    CHECK_OK(write_shard(path_of("1.h5"), 3, 2));
    const char *whole = folder;
    CHECK_OK(lk_dataset_open(&d, &whole, 1));
    assert_int_equal(lk_dataset_n_clips(d), 5);
    assert_int_equal(lk_dataset_get_clip(d, 4).n_samples, SAMPLES - 4);
    assert_int_equal(lk_dataset_get_format(d).width, WIDTH);
    CHECK_OK(lk_dataset_samples(d, 3, 10, 4, pcm));
    assert_true(pcm[0] * 32768 == (float)(int16_t)lk_rng_u32(2, 3, 20));
    CHECK_FAILS(lk_dataset_samples(d, 3, SAMPLES - 3, 1, pcm), LK_E_ARG);
    CHECK_FAILS(lk_dataset_frames(d, 2, 0, 1, NULL, NULL), LK_E_ARG);
    lk_dataset_close(&d);
    unlink(path_of("1.h5"));
}

static void other_formats_do_not_mix(void **state)
{
    (void)state;
    lk_shard *s = NULL;
    lk_dataset *d = NULL;
    CHECK_OK(write_shard(path_of("0.h5"), 0, 1));
    CHECK_OK(lk_shard_create(&s, path_of("1.h5"), &(lk_shard_options){.format = {0, 0, 8000, 1}}));
    made m;
    lk_dataset_clip c = make(&m, 0);
    CHECK_FAILS(lk_shard_add(s, &c), LK_E_ARG); /* it has pictures */
    lk_shard_close(&s);
    assert_int_not_equal(access(path_of("1.h5.part"), F_OK), 0);
    CHECK_OK(lk_shard_create(&s, path_of("1.h5"), &(lk_shard_options){.format = {0, 0, 8000, 1}}));
    CHECK_OK(lk_shard_finish(s));
    lk_shard_close(&s);
    const char *whole = folder, *empty = path_of("1.h5"), *none = path_of("2.h5");
    CHECK_FAILS(lk_dataset_open(&d, &whole, 1), LK_E_FORMAT); /* 16 kHz and 8 */
    CHECK_FAILS(lk_dataset_open(&d, &empty, 1), LK_E_EMPTY);
    CHECK_FAILS(lk_dataset_open(&d, &none, 1), LK_E_IO);
    unlink(path_of("1.h5"));
    CHECK_FAILS(lk_shard_create(&s, path_of("no/such/0.h5"), &(lk_shard_options){.format = format}),
                LK_E_IO);
    CHECK_FAILS(lk_shard_create(&s, path_of("0.h5"), &(lk_shard_options){.compress = 1}), LK_E_ARG);
}

static void pictures_and_sounds_may_lie_apart(void **state)
{
    (void)state;
    lk_shard *s = NULL;
    lk_dataset *d = NULL;
    made m;
    lk_dataset_clip c = make(&m, 0);
    c.n_samples = 0;
    CHECK_OK(write_shard(path_of("0.h5"), 0, 1));
    CHECK_OK(
        lk_shard_create(&s, path_of("1.h5"), &(lk_shard_options){.format = {WIDTH, HEIGHT, 0, 0}}));
    CHECK_OK(lk_shard_add(s, &c));
    CHECK_OK(lk_shard_finish(s));
    lk_shard_close(&s);
    const char *whole = folder;
    CHECK_OK(lk_dataset_open(&d, &whole, 1));
    assert_int_equal(lk_dataset_get_format(d).rate_hz, 16000);
    assert_int_equal(lk_dataset_get_clip(d, 1).n_samples, 0);
    assert_int_equal(lk_dataset_get_clip(d, 1).n_frames, FRAMES);
    CHECK_OK(lk_dataset_check(d, 1));
    lk_dataset_close(&d);
    unlink(path_of("1.h5"));
}

/* Bytes of the file changed, or its end cut off. */
static void damage_is_named(void **state)
{
    (void)state;
    CHECK_OK(write_shard(path_of("0.h5"), 0, 3));
    FILE *f = fopen(path_of("0.h5"), "rb");
    static unsigned char bytes[1 << 20], bad[1 << 20];
    const size_t n = fread(bytes, 1, sizeof bytes, f);
    int n_refused = 0;
    fclose(f);
    for (uint64_t i = 0; i < 300; i++) {
        memcpy(bad, bytes, n);
        const size_t size = i % 3 == 0 ? lk_rng_u32(9, 0, i) % n : n;
        for (uint64_t k = 0; k < 1 + i % 8 && i % 3 != 0; k++)
            bad[lk_rng_u32(9, 1 + k, i) % n] = (unsigned char)lk_rng_u32(10, k, i);
        f = fopen(path_of("bad.h5"), "wb");
        assert_int_equal(fwrite(bad, 1, size, f), size);
        fclose(f);
        n_refused += read_all(path_of("bad.h5"), 0) != LK_OK;
    }
    print_message("%d of 300 damaged files refused\n", n_refused);
    assert_true(n_refused > 150);
    unlink(path_of("bad.h5"));
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    int whole = 0;
    for (int64_t n = 1; !whole; n++) {
        lk_mem_fail_after(n);
        const lk_status written = write_shard(path_of("0.h5"), 0, 2);
        const int fired = lk_mem_fault_fired();
        lk_mem_fail_after(0);
        assert_true(fired ? written == LK_E_MEMORY : written == LK_OK);
        whole = !fired;
    }
    whole = 0;
    for (int64_t n = 1; !whole; n++) {
        lk_mem_fail_after(n);
        const lk_status got = read_all(path_of("0.h5"), 0);
        const int fired = lk_mem_fault_fired();
        lk_mem_fail_after(0);
        assert_true(fired ? got != LK_OK : got == LK_OK);
        whole = !fired;
    }
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : 1;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path_of("0.h5"));
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out),
        cmocka_unit_test(other_formats_do_not_mix),
        cmocka_unit_test(pictures_and_sounds_may_lie_apart),
        cmocka_unit_test(damage_is_named),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
