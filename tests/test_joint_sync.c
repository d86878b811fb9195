/* test_joint_sync.c - what the joint model is for: a bang is made where a flash is seen, and the
 * other way round, through the exchange and not without it; a script says where both are. */
#include "tests/check.h"
#include "tests/folder.h"

#include "av/joint/joint.h"
#include "kernels/file.h"
#include "kernels/rng.h"

enum { N = 24, BATCH = 8, CHANNELS = 2, LATENT_MS = 40 };

/* Flash and bang of clip b: latent `at` of both streams; everything else is still and silent. */
typedef struct room {
    lk_span span[N];
    float video[BATCH][N * CHANNELS], audio[BATCH][N * CHANNELS];
    lk_joint_event event[BATCH];
} room;

static lk_joint_clip clip_of(room *r, int b, int at)
{
    for (int i = 0; i < N; i++) {
        r->span[i] = (lk_span){(lk_flick)i * LATENT_MS * LK_FLICKS_PER_MS,
                               (lk_flick)(i + 1) * LATENT_MS * LK_FLICKS_PER_MS};
        r->video[b][2 * i] = i == at ? 3 : -0.5f;
        r->video[b][2 * i + 1] = i == at ? -2 : 0.3f;
        r->audio[b][2 * i] = i == at ? 3 : -0.5f;
        r->audio[b][2 * i + 1] = i > at ? 1.0f / (float)(i - at) : 0; /* it dies away */
    }
    r->event[b] = (lk_joint_event){.span = r->span[at], .text = "hit"};
    return (lk_joint_clip){.n_latents = N,
                           .n_sounds = N,
                           .video_span = r->span,
                           .audio_span = r->span,
                           .video = r->video[b],
                           .audio = r->audio[b],
                           .n_events = 1,
                           .events = &r->event[b]};
}

static lk_status fill(void *user, uint64_t seed, int64_t index, int n, int first,
                      lk_joint_clip *clips)
{
    (void)first;
    for (int b = 0; b < n; b++)
        clips[b] = clip_of(user, b, (int)lk_rng_below(seed, 77, (uint64_t)(index * n + b), N));
    return LK_OK;
}

static lk_joint_sizes sizes(void)
{
    return (lk_joint_sizes){BATCH, N, 1, 1, N, 4, 1, 4, 0};
}

static lk_joint *trained(const char *exchange, room *r)
{
    lk_joint_config c;
    lk_joint_train_config t;
    lk_joint *m = NULL;
    char run[96];
    memset(&t, 0, sizeof t);
    lk_option_defaults(lk_joint_options, &c);
    lk_option_defaults(lk_joint_train_options, &t);
    c.width = 32;
    c.heads = 2;
    c.blocks = 2;
    c.text_blocks = 1;
    c.video_channels = c.audio_channels = CHANNELS;
    c.exchange = exchange;
    c.before_ms = c.after_ms = 120;
    CHECK_OK(lk_joint_new(&m, &c, NULL));
    snprintf(run, sizeof run, "%s/%s", test_folder, exchange);
    t.model = m;
    t.sizes = sizes();
    t.folder = run;
    t.fill = fill;
    t.user = r;
    t.steps = 900;
    t.rate = 4e-3;
    t.warmup = 30;
    t.no_text = 0.5;
    t.hold_audio = t.hold_video = 0.2;
    t.log_every = 100;
    CHECK_OK(lk_joint_train(&t, NULL));
    return m;
}

/* The latent that stands out. */
static int found(const float *x)
{
    int best = 0;
    for (int i = 1; i < N; i++)
        if (x[2 * i] > x[2 * best])
            best = i;
    return best;
}

/* Of BATCH clips at places that are spread out: how often the made stream is within one latent. */
static int hits(lk_joint *m, room *r, int hold, int scripted, int made)
{
    static const uint8_t all[N] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                   1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    static float out[2][BATCH * N * CHANNELS];
    const lk_joint_sizes s = sizes();
    lk_joint_clip clips[BATCH];
    lk_joint_sampling o;
    int n = 0;
    lk_option_defaults(lk_joint_sampling_options, &o);
    o.steps = 12;
    for (int b = 0; b < BATCH; b++) {
        clips[b] = clip_of(r, b, 3 * b + 1);
        clips[b].video_held = hold == LK_JOINT_VIDEO ? all : NULL;
        clips[b].audio_held = hold == LK_JOINT_AUDIO ? all : NULL;
        clips[b].n_events = scripted;
    }
    CHECK_OK(lk_joint_sample(m, &s, clips, &o, NULL, out[0], out[1]));
    for (int b = 0; b < BATCH; b++)
        n += abs(found(out[made] + b * N * CHANNELS) - (3 * b + 1)) <= 1;
    return n;
}

static void streams_meet_in_time(void **state)
{
    static room r;
    static const char *const exchanges[] = {"window", "none"};
    int n[2][4];
    (void)state;
    if (check_count(0, 1))
        skip(); /* a training, and others train as well */
    for (int e = 0; e < 2; e++) {
        lk_joint *m = trained(exchanges[e], &r);
        n[e][0] = hits(m, &r, LK_JOINT_VIDEO, 0, LK_JOINT_AUDIO);
        n[e][1] = hits(m, &r, LK_JOINT_AUDIO, 0, LK_JOINT_VIDEO);
        n[e][2] = hits(m, &r, LK_JOINT_STREAMS, 1, LK_JOINT_VIDEO);
        n[e][3] = hits(m, &r, LK_JOINT_STREAMS, 1, LK_JOINT_AUDIO);
        lk_joint_free(&m);
    }
    for (int e = 0; e < 2; e++)
        print_message(
            "%s: %d sounds and %d pictures follow what is given, %d and %d the script, of %d\n",
            exchanges[e], n[e][0], n[e][1], n[e][2], n[e][3], BATCH);
    assert_true(n[0][0] >= 6 && n[0][1] >= 6);
    assert_true(n[1][0] <= 4 && n[1][1] <= 4); /* one of eight by chance */
    assert_true(n[0][2] >= 6 && n[0][3] >= 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(streams_meet_in_time)};
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_drop);
}
