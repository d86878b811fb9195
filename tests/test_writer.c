/* test_writer.c - flashes and clicks written at known times come back at those times, in every
 * container with every codec it takes, for constant and variable rates and unequal starts; and
 * nothing is left behind when writing fails. */
#include "tests/check.h"

#include "av/media.h"
#include "kernels/mem.h"

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define WIDTH      96
#define HEIGHT     64
#define MAX_FRAMES 256
#define CLICK_S    0.003
#define SECONDS    1.2

static char folder[] = "/tmp/lk_writer_XXXXXX";

typedef struct clip {
    const char *container, *vcodec, *acodec;
    int rate_hz, n_channels;
    lk_rational rate;
    bool vfr;
    double video_start, audio_start;
} clip;

typedef struct heard {
    lk_flick frame[MAX_FRAMES];
    double luma[MAX_FRAMES];
    int n_frames;
    float *sound;
    size_t capacity, n;
    lk_flick sound_start;
    int rate_hz, n_gaps;
} heard;

static const int vfr_steps[] = {2, 1, 3, 2, 4, 1};

static lk_flick exact(int64_t n, lk_rational rate)
{
    lk_flick t = 0;
    CHECK_OK(lk_flick_from_ticks(n, rate, &t));
    return t;
}

static lk_flick sample_grid(double seconds, int rate_hz)
{
    return lk_flick_from_samples((int64_t)llround(seconds * rate_hz), rate_hz);
}

/* Presentation times of the frames of a clip; returns their number, one time more than that. */
static int frame_times(const clip *c, lk_flick *t)
{
    int n = 0;
    int64_t tick = 0;
    const lk_flick start = lk_flick_from_s(c->video_start);
    for (;; n++) {
        t[n] = start + exact(tick, c->rate);
        if (t[n] >= lk_flick_from_s(c->video_start + SECONDS))
            return n;
        tick += c->vfr ? vfr_steps[n % 6] : 1;
    }
}

/* The pictures that are white: two well inside the common part of the streams. */
static bool is_flash(const lk_flick *t, int i)
{
    static const double at[] = {0.55, 0.95};
    for (int k = 0; k < 2; k++) {
        const lk_flick x = lk_flick_from_s(at[k]);
        if (t[i] <= x && x < t[i + 1])
            return true;
    }
    return false;
}

static float click(double seconds)
{
    if (seconds < 0 || seconds >= CLICK_S)
        return 0;
    const double w = 0.5 - 0.5 * cos(2 * M_PI * seconds / CLICK_S);
    return (float)(0.8 * w * sin(2 * M_PI * 2000 * seconds));
}

static void fill_sound(const clip *c, const lk_flick *t, int n_frames, lk_flick first, float *out,
                       int n)
{
    for (int i = 0; i < n; i++) {
        out[i] = 0;
        const lk_flick at = first + lk_flick_from_samples(i, c->rate_hz);
        for (int k = 0; k < n_frames; k++) {
            if (is_flash(t, k))
                out[i] += click(lk_flick_to_s(at - t[k]));
        }
    }
}

static lk_status write_frames(lk_writer *w, const lk_flick *t, int from, int to)
{
    static uint8_t rgb[WIDTH * HEIGHT * 3];
    lk_status st = LK_OK;
    for (int i = from; i < to; i++) {
        memset(rgb, is_flash(t, i) ? 255 : 20, sizeof rgb);
        const lk_frame_view f = {.span = {t[i], t[i + 1]},
                                 .index = i,
                                 .width = WIDTH,
                                 .height = HEIGHT,
                                 .sar = {1, 1},
                                 .rgb = rgb,
                                 .rgb_stride = WIDTH * 3};
        LK_TRY(lk_writer_frame(w, &f));
    }
done:
    return st;
}

static lk_status write_sound(lk_writer *w, const clip *c, const lk_flick *t, int n_frames)
{
    lk_status st = LK_OK;
    static float samples[4000];
    const float *planes[2] = {samples, samples};
    const lk_flick start = sample_grid(c->audio_start, c->rate_hz);
    const int total = (int)(SECONDS * c->rate_hz);
    for (int at = 0; at < total; at += 3777) {
        const int n = total - at < 3777 ? total - at : 3777;
        const lk_flick first = start + lk_flick_from_samples(at, c->rate_hz);
        fill_sound(c, t, n_frames, first, samples, n);
        const lk_pcm_view p = {.span = {first, first + lk_flick_from_samples(n, c->rate_hz)},
                               .n_samples = n,
                               .n_channels = c->n_channels,
                               .rate_hz = c->rate_hz,
                               .channel = planes};
        LK_TRY(lk_writer_pcm(w, &p));
    }
done:
    return st;
}

static lk_writer_options options_of(const clip *c)
{
    return (lk_writer_options){.container = c->container,
                               .vcodec = c->vcodec,
                               .acodec = c->acodec,
                               .width = WIDTH,
                               .height = HEIGHT,
                               .rate = c->rate,
                               .vfr = c->vfr,
                               .rate_hz = c->rate_hz,
                               .n_channels = c->n_channels};
}

static lk_status write_clip(const clip *c, const char *path, int threads)
{
    lk_status st = LK_OK;
    lk_writer *w = NULL;
    lk_flick t[MAX_FRAMES];
    const int n = frame_times(c, t);
    lk_writer_options o = options_of(c);
    o.threads = threads;
    LK_TRY(lk_writer_open(&w, path, &o));
    if (strcmp(c->vcodec, "none") != 0)
        LK_TRY(write_frames(w, t, 0, n / 2));
    if (strcmp(c->acodec, "none") != 0)
        LK_TRY(write_sound(w, c, t, n));
    if (strcmp(c->vcodec, "none") != 0)
        LK_TRY(write_frames(w, t, n / 2, n));
    LK_TRY(lk_writer_finish(w));
done:
    lk_writer_close(&w);
    return st;
}

static void read_clip(const char *path, heard *h)
{
    lk_media *m = NULL;
    lk_media_item item;
    memset(h, 0, sizeof *h);
    CHECK_OK(lk_media_open(&m, path, &(lk_media_options){.threads = 1}));
    for (;;) {
        CHECK_OK(lk_media_next(m, &item));
        if (item.kind == LK_MEDIA_END)
            break;
        if (item.kind == LK_MEDIA_FRAME) {
            assert_true(h->n_frames < MAX_FRAMES);
            const lk_frame_view *f = &item.frame;
            h->luma[h->n_frames] = f->luma[HEIGHT / 2 * f->luma_stride + WIDTH / 2];
            h->frame[h->n_frames++] = f->span.start;
        } else {
            if (h->n == 0)
                h->sound_start = item.pcm.span.start;
            h->rate_hz = item.pcm.rate_hz;
            h->n_gaps += item.pcm.gap;
            CHECK_OK(LK_GROW(&h->sound, &h->capacity, h->n + (size_t)item.pcm.n_samples));
            memcpy(h->sound + h->n, item.pcm.channel[0],
                   sizeof *h->sound * (size_t)item.pcm.n_samples);
            h->n += (size_t)item.pcm.n_samples;
        }
    }
    lk_media_close(&m);
}

/* Where the click that should begin at `due` is found, by correlation within +-80 ms. */
static double find_click(const heard *h, lk_flick due)
{
    double best = 0, where = 1e9;
    const int n = (int)(CLICK_S * h->rate_hz);
    const int64_t centre = lk_samples_from_flick(due - h->sound_start, h->rate_hz);
    const int64_t reach = h->rate_hz * 8 / 100;
    for (int64_t i = centre - reach; i <= centre + reach; i++) {
        double sum = 0;
        if (i < 0 || i + n > (int64_t)h->n)
            continue;
        for (int k = 0; k < n; k++)
            sum += h->sound[i + k] * click((double)k / h->rate_hz);
        if (sum > best) {
            best = sum;
            where = lk_flick_to_s(h->sound_start + lk_flick_from_samples(i, h->rate_hz));
        }
    }
    return where;
}

static bool is_lossless(const char *acodec)
{
    return strcmp(acodec, "pcm") == 0 || strcmp(acodec, "flac") == 0;
}

static lk_flick tick_of(const char *container)
{
    if (strcmp(container, "mkv") == 0 || strcmp(container, "webm") == 0)
        return LK_FLICKS_PER_MS;
    if (strcmp(container, "ts") == 0)
        return LK_FLICKS_PER_S / 90000;
    return 4;
}

/* `shift` is how much later than written the sound should be. */
static void check_clip(const clip *c, const char *path, double shift)
{
    heard h;
    lk_flick t[MAX_FRAMES];
    char what[160];
    int flashes = 0;
    const int n = frame_times(c, t);
    const lk_flick tick = tick_of(c->container);
    read_clip(path, &h);
    snprintf(what, sizeof what, "%s %s+%s %lld/%lld%s starts %.2f %.2f", c->container, c->vcodec,
             c->acodec, (long long)c->rate.num, (long long)c->rate.den, c->vfr ? " vfr" : "",
             c->video_start, c->audio_start);
    if (h.n_frames != n)
        fail_msg("%s: %d frames, expected %d", what, h.n_frames, n);
    if (h.n_gaps != 0)
        fail_msg("%s: the sound has %d gaps", what, h.n_gaps);
    for (int i = 0; i < n; i++) {
        const lk_flick off = (h.frame[i] - h.frame[0]) - (t[i] - t[0]);
        if (llabs(off) > tick)
            fail_msg("%s: frame %d is off by %lld flicks", what, i, (long long)off);
        if ((h.luma[i] > 128) != is_flash(t, i))
            fail_msg("%s: frame %d has luma %.0f", what, i, h.luma[i]);
        if (!is_flash(t, i))
            continue;
        flashes++;
        const lk_flick due = h.frame[i] + lk_flick_from_s(shift);
        const double off_ms = 1000 * (find_click(&h, due) - lk_flick_to_s(due));
        const double allowed = (is_lossless(c->acodec) ? 0.05 : 1.0) + lk_flick_to_ms(tick);
        if (getenv("LK_WRITER_SHOW"))
            printf("%-52s %+8.3f ms  video %.4f sound %.4f\n", what, off_ms,
                   lk_flick_to_s(h.frame[0]), lk_flick_to_s(h.sound_start));
        if (!(fabs(off_ms) <= allowed))
            fail_msg("%s: click is %.3f ms late, allowed %.3f", what, off_ms, allowed);
    }
    assert_int_equal(flashes, 2);
    lk_free(h.sound);
}

/* Containers with a zero of their own keep the start itself, not only the distance. */
static void check_starts(const clip *c, const char *path)
{
    heard h;
    read_clip(path, &h);
    const double slack = lk_flick_to_s(tick_of(c->container)) + 1e-6;
    if (strcmp(c->container, "mp4") == 0 || strcmp(c->container, "mov") == 0) {
        CHECK_CLOSE(lk_flick_to_s(h.frame[0]), c->video_start, slack);
        /* A late start comes back with the encoder's delay, silent, in front. */
        assert_true(lk_flick_to_s(h.sound_start) <= c->audio_start + slack);
        assert_true(lk_flick_to_s(h.sound_start) >= c->audio_start - 0.03);
    }
    lk_free(h.sound);
}

static const char *path_of(const clip *c, char *path, size_t bytes)
{
    snprintf(path, bytes, "%s/clip.%s", folder, c->container);
    return path;
}

static void round_trip(const clip *c)
{
    char path[256];
    if (getenv("LK_ONLY") && strcmp(getenv("LK_ONLY"), c->container))
        return;
    path_of(c, path, sizeof path);
    CHECK_OK(write_clip(c, path, 1));
    check_clip(c, path, 0);
    check_starts(c, path);
}

static const lk_rational rates[] = {{24000, 1001}, {25, 1}, {30000, 1001}, {30, 1}, {60, 1}};
static const double starts[][2] = {{0, 0}, {0.35, 0}, {0, 0.35}};

static const struct {
    const char *container, *vcodecs[6], *acodecs[8];
} matrix[] = {
    {"mp4", {"h264", "vp9", "mpeg4"}, {"aac", "opus", "mp2", "mp3", "flac"}},
    {"mov", {"h264", "mpeg4", "ffv1"}, {"pcm", "aac", "mp2", "mp3"}},
    {"mkv",
     {"h264", "vp9", "mpeg4", "ffv1", "theora"},
     {"opus", "aac", "mp2", "mp3", "vorbis", "flac", "pcm"}},
    {"webm", {"vp9"}, {"opus", "vorbis"}},
    {"ts", {"h264", "mpeg4"}, {"mp2", "aac", "opus", "mp3"}},
    {"avi", {"mpeg4", "h264", "ffv1"}, {"mp3", "mp2", "pcm"}},
    {"ogg", {"theora"}, {"vorbis", "opus", "flac"}},
};
#define N_CONTAINERS (sizeof matrix / sizeof matrix[0])

static clip default_clip(size_t container)
{
    return (clip){.container = matrix[container].container,
                  .vcodec = matrix[container].vcodecs[0],
                  .acodec = matrix[container].acodecs[0],
                  .rate_hz = 48000,
                  .n_channels = 1,
                  .rate = {25, 1}};
}

static void every_combination_keeps_time(void **state)
{
    (void)state;
    unsigned k = 0;
    for (size_t i = 0; i < N_CONTAINERS; i++) {
        for (int v = 0; v < 6 && matrix[i].vcodecs[v]; v++) {
            for (int a = 0; a < 8 && matrix[i].acodecs[a]; a++, k++) {
                clip c = default_clip(i);
                c.vcodec = matrix[i].vcodecs[v];
                c.acodec = matrix[i].acodecs[a];
                c.rate = rates[k % 5];
                c.rate_hz = k % 4 == 1 ? 44100 : 48000;
                c.n_channels = 1 + (int)(k % 2);
                c.video_start = starts[k % 3][0];
                c.audio_start = starts[k % 3][1];
                round_trip(&c);
            }
        }
    }
}

static void every_rate_and_start_keeps_time(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CONTAINERS; i++) {
        for (size_t r = 0; r < 6; r++) {
            for (size_t s = 0; s < 3; s++) {
                clip c = default_clip(i);
                if (r == 5 && strcmp(c.container, "ogg") == 0)
                    continue;
                c.vfr = r == 5;
                c.rate = c.vfr ? (lk_rational){60, 1} : rates[r];
                c.video_start = starts[s][0];
                c.audio_start = starts[s][1];
                round_trip(&c);
            }
        }
    }
}

/* Moved by -120 and +120 ms and back again, in every container. */
static void sound_moves_without_decoding(void **state)
{
    (void)state;
    static const int shifts_ms[] = {120, -120};
    for (size_t i = 0; i < N_CONTAINERS; i++) {
        for (int v = 0; v < 2; v++) {
            char path[256], moved[300], back[300];
            clip c = default_clip(i);
            if (getenv("LK_ONLY") && strcmp(getenv("LK_ONLY"), c.container))
                continue;
            c.acodec = v && strcmp(c.container, "avi") != 0 ? matrix[i].acodecs[1] : c.acodec;
            c.audio_start = v ? 0.35 : 0;
            path_of(&c, path, sizeof path);
            snprintf(moved, sizeof moved, "%s/moved.%s", folder, c.container);
            snprintf(back, sizeof back, "%s/back.%s", folder, c.container);
            CHECK_OK(write_clip(&c, path, 1));
            for (int k = 0; k < 2; k++) {
                const double s = shifts_ms[k] / 1000.0;
                CHECK_OK(lk_media_shift_audio(path, moved, shifts_ms[k] * LK_FLICKS_PER_MS));
                check_clip(&c, moved, s);
                CHECK_OK(lk_media_shift_audio(moved, back, -shifts_ms[k] * LK_FLICKS_PER_MS));
                check_clip(&c, back, 0);
            }
        }
    }
}

static size_t read_bytes(const char *path, char **bytes)
{
    size_t n = 0;
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    n = (size_t)ftell(f);
    rewind(f);
    CHECK_OK(LK_NEW_ARRAY(bytes, n));
    assert_int_equal(fread(*bytes, 1, n, f), n);
    fclose(f);
    return n;
}

static void thread_count_does_not_change_a_file(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CONTAINERS; i++) {
        char path[256], *bytes[2] = {NULL, NULL};
        size_t n[2];
        const clip c = default_clip(i);
        path_of(&c, path, sizeof path);
        for (int k = 0; k < 2; k++) {
            CHECK_OK(write_clip(&c, path, k == 0 ? 1 : 5));
            n[k] = read_bytes(path, &bytes[k]);
        }
        assert_int_equal(n[0], n[1]);
        assert_memory_equal(bytes[0], bytes[1], n[0]);
        assert_null(memmem(bytes[0], n[0], "Lavf5", 5));
        assert_null(memmem(bytes[0], n[0], "Lavc5", 5));
        assert_null(memmem(bytes[0], n[0], "x264", 4));
        lk_free(bytes[0]);
        lk_free(bytes[1]);
    }
}

static int files_in(const char *path)
{
    int n = 0;
    DIR *d = opendir(path);
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void bad_settings_say_so(void **state)
{
    (void)state;
    lk_writer *w = NULL;
    char path[256];
    const clip good = default_clip(0);
    const int before = files_in(folder);
    snprintf(path, sizeof path, "%s/bad.mp4", folder);
    lk_writer_options o = options_of(&good);
    o.height = 63;
    CHECK_FAILS(lk_writer_open(&w, path, &o), LK_E_ARG);
    o = options_of(&good);
    o.acodec = "pcm";
    CHECK_FAILS(lk_writer_open(&w, path, &o), LK_E_ARG);
    o = options_of(&good);
    o.acodec = "mp3";
    o.rate_hz = 96000;
    CHECK_FAILS(lk_writer_open(&w, path, &o), LK_E_ARG);
    o = options_of(&good);
    o.vcodec = o.acodec = "none";
    CHECK_FAILS(lk_writer_open(&w, path, &o), LK_E_ARG);
    o = options_of(&good);
    o.container = "ogg";
    o.vcodec = o.acodec = NULL;
    o.vfr = true;
    CHECK_FAILS(lk_writer_open(&w, path, &o), LK_E_ARG);
    o = options_of(&good);
    o.container = NULL;
    CHECK_FAILS(lk_writer_open(&w, "/tmp/clip.xyz", &o), LK_E_ARG);
    CHECK_FAILS(lk_writer_open(&w, "/nowhere/at/all/clip.mp4", &o), LK_E_IO);
    CHECK_FAILS(lk_writer_open(&w, "/dev/null/clip.mp4", &o), LK_E_IO);
    assert_null(w);
    assert_int_equal(files_in(folder), before);
}

static void wrong_times_are_refused(void **state)
{
    (void)state;
    lk_writer *w = NULL;
    char path[256];
    lk_flick t[] = {0, LK_FLICKS_PER_S / 25, LK_FLICKS_PER_S * 3 / 25, LK_FLICKS_PER_S * 4 / 25};
    const clip c = default_clip(0);
    const lk_writer_options o = options_of(&c);
    snprintf(path, sizeof path, "%s/times.mp4", folder);
    CHECK_OK(lk_writer_open(&w, path, &o));
    CHECK_OK(write_frames(w, t, 0, 1));
    CHECK_FAILS(write_frames(w, t, 2, 3), LK_E_ARG);
    CHECK_FAILS(write_frames(w, t, 0, 1), LK_E_ARG);
    CHECK_OK(write_frames(w, t, 1, 2));
    CHECK_FAILS(lk_writer_finish(w), LK_E_EMPTY);
    lk_writer_close(&w);
    assert_int_not_equal(access(path, F_OK), 0);
    strcat(path, ".part");
    assert_int_not_equal(access(path, F_OK), 0);
}

/* A device that is always full stands in for a full disk; nothing may stay behind. */
static void a_full_disk_leaves_nothing(void **state)
{
    (void)state;
    static const char *const containers[] = {"mp4", "mkv", "ts", "avi", "ogg"};
    for (size_t i = 0; i < 5; i++) {
        char path[256], part[300];
        clip c = default_clip(i == 0 ? 0 : i == 1 ? 2 : i + 2);
        assert_string_equal(c.container, containers[i]);
        snprintf(path, sizeof path, "%s/full.%s", folder, c.container);
        snprintf(part, sizeof part, "%s.part", path);
        assert_int_equal(symlink("/dev/full", part), 0);
        CHECK_FAILS(write_clip(&c, path, 1), LK_E_IO);
        assert_int_not_equal(access(path, F_OK), 0);
        struct stat facts;
        assert_int_not_equal(lstat(part, &facts), 0);
    }
}

static void a_size_limit_leaves_nothing(void **state)
{
    (void)state;
    char path[256], out[256], part[300];
    const clip c = default_clip(0);
    struct rlimit old;
    snprintf(path, sizeof path, "%s/limit.mp4", folder);
    snprintf(out, sizeof out, "%s/limited.mp4", folder);
    snprintf(part, sizeof part, "%s.part", out);
    CHECK_OK(write_clip(&c, path, 1));
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    const struct rlimit tight = {2000, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    const lk_status st = lk_media_shift_audio(path, out, 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(st, LK_E_IO);
    lk_error_clear();
    assert_int_not_equal(access(out, F_OK), 0);
    assert_int_not_equal(access(part, F_OK), 0);
    CHECK_OK(lk_media_shift_audio(path, out, 0));
    CHECK_FAILS(lk_media_shift_audio(path, path, 0), LK_E_ARG);
    CHECK_FAILS(lk_media_shift_audio("/nowhere.mp4", out, 0), LK_E_IO);
    CHECK_FAILS(lk_media_shift_audio("/dev/null", out, 0), LK_E_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_settings_say_so),
        cmocka_unit_test(wrong_times_are_refused),
        cmocka_unit_test(a_full_disk_leaves_nothing),
        cmocka_unit_test(a_size_limit_leaves_nothing),
        cmocka_unit_test(thread_count_does_not_change_a_file),
        cmocka_unit_test(sound_moves_without_decoding),
        cmocka_unit_test(every_combination_keeps_time),
        cmocka_unit_test(every_rate_and_start_keeps_time),
    };
    if (getenv("LK_KEEP"))
        return !mkdtemp(folder) || cmocka_run_group_tests(tests, NULL, NULL);
    if (!mkdtemp(folder))
        return 1;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[64];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) != 0 || failed;
}
