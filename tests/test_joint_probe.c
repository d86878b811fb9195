/* test_joint_probe.c - where the joint model's streams look in time: masses against what can be
 * said by hand, gradients against which way the exchange is open. */
#include "tests/check.h"
#include "tests/joint_toy.h"

#include "av/attention_run.h"
#include "kernels/mem.h"

#include <unistd.h>

#define BIN_MS 20

static const double levels[2] = {0.3, 0.9};

static lk_joint_probe_config probe_of(const lk_joint_clip *clips, int n)
{
    return (lk_joint_probe_config){.sizes = joint_toy_sizes(1),
                                   .n_clips = n,
                                   .clips = clips,
                                   .n_levels = 2,
                                   .levels = levels,
                                   .bin_ms = BIN_MS,
                                   .reach_ms = 400,
                                   .seed = 3};
}

/* A model of that configuration, probed with one clip. */
static lk_joint_probe *probe(lk_joint *m)
{
    const lk_joint_clip clip = joint_toy_clip(0);
    const lk_joint_probe_config c = probe_of(&clip, 1);
    lk_joint_probe *p = NULL;
    CHECK_OK(lk_joint_probe_new(&p, m, &c));
    assert_null(m->probed);
    return p;
}

static lk_joint_probe *probe_new(const lk_joint_config *c)
{
    lk_joint *m = NULL;
    lk_joint_probe *p;
    CHECK_OK(joint_toy_new(&m, c, NULL));
    p = probe(m);
    lk_joint_free(&m);
    return p;
}

static const double *mass_of(const lk_joint_probe *p, int s, int k, int level, int block, int head)
{
    return p->gaze[s][k].mass +
           ((level * p->n_blocks + block) * p->n_heads + head) * (p->n_bins + 2);
}

static const double *chance_of(const lk_joint_probe *p, int s, int k, int block)
{
    return p->gaze[s][k].chance + block * (p->n_bins + 2);
}

static int bin_at(const lk_joint_probe *p, int lag_ms)
{
    return p->n_bins / 2 + 1 + lag_ms / BIN_MS;
}

static double sum_of(const double *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i];
    return sum;
}

/* ---- masses ---- */

static void check_sums(const lk_joint_probe *p, int s, int together, int exchange)
{
    const int bins = p->n_bins + 2;
    for (int row = 0; row < p->n_levels * p->n_blocks * p->n_heads; row++) {
        const int block = row / p->n_heads % p->n_blocks;
        double sum[LK_JOINT_SIGHTS], chance[LK_JOINT_SIGHTS];
        for (int k = 0; k < LK_JOINT_SIGHTS; k++) {
            sum[k] = sum_of(p->gaze[s][k].mass + row * bins, bins);
            chance[k] = sum_of(chance_of(p, s, k, block), bins);
        }
        if (together) {
            assert_true(sum[0] > 0.01 && sum[1] > 0.01);
            CHECK_CLOSE(sum[0] + sum[1], 1, 1e-12);
            CHECK_CLOSE(chance[0] + chance[1], 1, 1e-12);
        } else {
            CHECK_CLOSE(sum[0], 1, 1e-12);
            CHECK_CLOSE(chance[0], 1, 1e-12);
            if (exchange) {
                CHECK_CLOSE(sum[1], 1, 1e-12);
                CHECK_CLOSE(chance[1], 1, 1e-12);
            } else {
                assert_true(isnan(sum[1]) && isnan(chance[1]));
            }
        }
        CHECK_CLOSE(sum[2], 1, 1e-12);
        CHECK_CLOSE(chance[2], 1, 1e-12);
    }
    for (int block = 0; block < p->n_blocks; block++) {
        CHECK_CLOSE(p->gaze[s][0].share[block], 1, 1e-12);
        if (!exchange)
            CHECK_CLOSE(p->gaze[s][1].share[block], 0, 0);
    }
}

static void masses_sum_to_one(void **state)
{
    static const char *const exchanges[] = {"none",         "dense",        "window", "frame",
                                            "random_shift", "block_causal", "joint"};
    (void)state;
    for (size_t e = 0; e < sizeof exchanges / sizeof *exchanges; e++) {
        lk_joint_config c = joint_toy_config(exchanges[e]);
        lk_joint_probe *p;
        c.patch = 1 + (int)e % 2;
        p = probe_new(&c);
        for (int s = 0; s < 2; s++)
            check_sums(p, s, e == 6, e > 0);
        lk_joint_probe_free(&p);
    }
}

/* Each token of the sound overlaps one latent of the picture; events are seen by five of nine. */
static void lags_are_those_of_spans(void **state)
{
    static const int between[9] = {0, 60, 20, -20, -60, 60, 20, -20, -60};
    static const int from_script[5] = {40, 0, -40, -80, -120};
    lk_joint_config c = joint_toy_config("frame");
    lk_joint_probe *p;
    (void)state;
    for (int clock = 0; clock < 2; clock++) { /* times are the clip's, whatever the clock */
        double other[64] = {0}, script[64] = {0};
        c.clock = clock ? "rounded" : "seconds";
        p = probe_new(&c);
        assert_int_equal(p->n_bins, 41);
        for (int i = 0; i < 9; i++)
            other[bin_at(p, between[i])] += 1.0 / 9;
        for (int i = 0; i < 5; i++)
            script[bin_at(p, from_script[i])] += 1.0 / 5;
        for (int i = 0; i < p->n_bins + 2; i++) {
            CHECK_CLOSE(chance_of(p, 1, LK_JOINT_SEES_OTHER, 1)[i], other[i], 1e-12);
            CHECK_CLOSE(mass_of(p, 1, LK_JOINT_SEES_OTHER, 1, 0, 1)[i], other[i], 1e-12);
            if (clock == 0)
                CHECK_CLOSE(chance_of(p, 1, LK_JOINT_SEES_SCRIPT, 0)[i], script[i], 1e-12);
        }
        if (clock == 0)
            CHECK_CLOSE(p->gaze[1][LK_JOINT_SEES_SCRIPT].share[0], 5.0 / 9, 1e-12);
        lk_joint_probe_free(&p);
    }
}

/* A token of 160 ms and one of 40 ms that are 40 ms apart have their middles within 140 ms. */
static void nothing_lies_beyond_the_window(void **state)
{
    const lk_joint_config c = joint_toy_config("window");
    lk_joint_probe *p = probe_new(&c);
    (void)state;
    for (int s = 0; s < 2; s++)
        for (int i = 0; i < p->n_bins + 2; i++) {
            const double *self = mass_of(p, s, LK_JOINT_SEES_ITSELF, 0, 1, 0);
            const double x = mass_of(p, s, LK_JOINT_SEES_OTHER, 0, 1, 0)[i];
            if (i < bin_at(p, -140) || i > bin_at(p, 140))
                CHECK_CLOSE(x, 0, 0);
            assert_true(x >= 0 && (x > 0) == (chance_of(p, s, LK_JOINT_SEES_OTHER, 1)[i] > 0));
            if (s && i == bin_at(p, 320))
                assert_true(self[i] > 0);
        }
    lk_joint_probe_free(&p);
}

/* What is too far for the bins is in the first and the last. */
static void what_is_out_of_reach_is_counted(void **state)
{
    const lk_joint_config c = joint_toy_config("window");
    const lk_joint_clip clip = joint_toy_clip(0);
    lk_joint_probe_config few = probe_of(&clip, 1);
    lk_joint *m = NULL;
    lk_joint_probe *all, *p = NULL;
    (void)state;
    few.reach_ms = 50;
    CHECK_OK(joint_toy_new(&m, &c, NULL));
    all = probe(m);
    CHECK_OK(lk_joint_probe_new(&p, m, &few));
    assert_int_equal(p->n_bins, 5);
    for (int s = 0; s < 2; s++) {
        const double *a = mass_of(all, s, LK_JOINT_SEES_ITSELF, 1, 1, 1);
        const double *b = mass_of(p, s, LK_JOINT_SEES_ITSELF, 1, 1, 1);
        CHECK_CLOSE(b[0], sum_of(a, bin_at(all, -40)), 1e-12);
        CHECK_CLOSE(b[6], sum_of(a + bin_at(all, 60), all->n_bins + 2 - bin_at(all, 60)), 1e-12);
        for (int i = 1; i <= 5; i++)
            CHECK_CLOSE(b[i], a[bin_at(all, 20 * (i - 3))], 1e-12);
    }
    lk_joint_probe_free(&all);
    lk_joint_probe_free(&p);
    lk_joint_free(&m);
}

/* ---- planted heads ---- */

/* Queries and keys of all layers but those of texts: no weight, each number of the bias `bias`. */
static void plant(lk_joint *m, const char *layer, float bias)
{
    for (int i = 0; i < lk_params_n(m->params); i++) {
        const char *name = lk_params_name(m->params, i), *at = strstr(name, layer);
        const lk_shape shape = lk_params_shape(m->params, i);
        const int64_t n = lk_shape_count(&shape);
        float *x = NULL;
        if (!at || strncmp(name, "blocks.", 7) != 0)
            continue;
        CHECK_OK(LK_NEW_ARRAY(&x, n));
        for (int64_t j = 0; j < n; j++)
            x[j] = shape.n_dims == 1 ? bias : 0;
        CHECK_OK(lk_params_write(m->params, i, LK_VALUE, LK_F32, x));
        lk_free(x);
    }
}

static void queries_of_nothing_look_by_chance(void **state)
{
    static const char *const exchanges[] = {"window", "joint"};
    (void)state;
    for (int e = 0; e < 2; e++) {
        const lk_joint_config c = joint_toy_config(exchanges[e]);
        lk_joint *m = NULL;
        lk_joint_probe *p;
        double apart = 0;
        CHECK_OK(joint_toy_new(&m, &c, NULL));
        for (int planted = 0; planted < 2; planted++) {
            if (planted)
                plant(m, ".q.", 0);
            p = probe(m);
            for (int i = 0; i < 2 * LK_JOINT_SIGHTS; i++)
                for (int row = 0; row < p->n_levels * p->n_blocks * p->n_heads; row++)
                    for (int b = 0; b < p->n_bins + 2; b++) {
                        const int s = i / LK_JOINT_SIGHTS, k = i % LK_JOINT_SIGHTS;
                        const double is = p->gaze[s][k].mass[row * (p->n_bins + 2) + b];
                        const double by = chance_of(p, s, k, row / p->n_heads % p->n_blocks)[b];
                        if (planted)
                            CHECK_CLOSE(is, by, 1e-7);
                        apart = fmax(apart, fabs(is - by));
                    }
            lk_joint_probe_free(&p);
            assert_true(apart > 1e-3); /* before they were planted */
        }
        lk_joint_free(&m);
    }
}

/* With equal numbers in all queries and keys, only rotary time decides: before the exponential,
 * q . k = sum over pairs of 2 cos(2 pi turns lag), and half of the pairs do not turn. */
static double planted_weight(int lag_ms)
{
    double turns[8], dot = 2 * 8;
    lk_rotary_speeds(0.08, 20, 8, turns);
    for (int t = 0; t < 8; t++)
        dot += 2 * cos(2 * M_PI * turns[t] * lag_ms / 1000);
    return exp(dot / sqrt(32));
}

static lk_joint_probe *probe_planted(const char *exchange)
{
    lk_joint_config c = joint_toy_config(exchange);
    lk_joint *m = NULL;
    lk_joint_probe *p;
    c.width = 64;
    CHECK_OK(joint_toy_new(&m, &c, NULL));
    plant(m, ".q.", 1);
    plant(m, ".kv.", 1);
    p = probe(m);
    lk_joint_free(&m);
    return p;
}

static void planted_heads_look_at_their_own_time(void **state)
{
    lk_joint_probe *p = probe_planted("dense");
    double expected[64] = {0};
    (void)state;
    for (int i = 0; i < JOINT_TOY_SOUNDS; i++) {
        double sum = 0;
        for (int j = 0; j < JOINT_TOY_SOUNDS; j++)
            sum += planted_weight(40 * (j - i));
        for (int j = 0; j < JOINT_TOY_SOUNDS; j++)
            expected[bin_at(p, 40 * (j - i))] +=
                planted_weight(40 * (j - i)) / sum / JOINT_TOY_SOUNDS;
    }
    for (int block = 0; block < 2; block++) {
        const double *self = mass_of(p, 1, LK_JOINT_SEES_ITSELF, 1, block, 1);
        int best = 0;
        for (int i = 0; i < p->n_bins + 2; i++) {
            CHECK_CLOSE(self[i], expected[i], 1e-5);
            best = self[i] > self[best] ? i : best;
        }
        assert_int_equal(best, bin_at(p, 0));
        for (int s = 0; s < 2; s++) { /* and so it is across the streams, beside chance */
            const double *is = mass_of(p, s, LK_JOINT_SEES_OTHER, 0, block, 0);
            const double *by = chance_of(p, s, LK_JOINT_SEES_OTHER, block);
            for (int lag = 40; lag <= 200; lag += 20)
                for (int side = -1; side < 2; side += 2)
                    if (by[bin_at(p, side * lag)] > 0)
                        assert_true(is[bin_at(p, side * lag)] / by[bin_at(p, side * lag)] <
                                    is[bin_at(p, 0)] / by[bin_at(p, 0)]);
        }
    }
    lk_joint_probe_free(&p);
}

/* The same of the sound, at latents of the picture that overlap its 40 ms and 40 ms around. */
static void planted_heads_share_what_the_window_leaves(void **state)
{
    static const int start[3] = {0, 40, 200}, end[3] = {40, 200, 360};
    lk_joint_probe *p = probe_planted("window");
    double expected[64] = {0};
    (void)state;
    for (int i = 0; i < JOINT_TOY_SOUNDS; i++) {
        const int from = 40 * i - 40, to = 40 * i + 80;
        double sum = 0;
        for (int pass = 0; pass < 2; pass++)
            for (int j = 0; j < 3; j++) {
                const int lag = (start[j] + end[j]) / 2 - (40 * i + 20);
                if (end[j] <= from || start[j] >= to)
                    continue;
                if (pass == 0)
                    sum += planted_weight(lag);
                else
                    expected[bin_at(p, lag)] += planted_weight(lag) / sum / JOINT_TOY_SOUNDS;
            }
    }
    for (int i = 0; i < p->n_bins + 2; i++)
        CHECK_CLOSE(mass_of(p, 1, LK_JOINT_SEES_OTHER, 1, 1, 1)[i], expected[i], 1e-5);
    lk_joint_probe_free(&p);
}

/* A joint exchange has the lags of a dense one: six tokens of the picture, nine of the sound. */
static void lags_of_a_joint_exchange_are_those_of_a_dense_one(void **state)
{
    const lk_joint_config dense = joint_toy_config("dense"), joint = joint_toy_config("joint");
    lk_joint_probe *a = probe_new(&dense), *b = probe_new(&joint);
    (void)state;
    for (int s = 0; s < 2; s++)
        for (int i = 0; i < a->n_bins + 2; i++) {
            const double own = (s ? 9 : 6) / 15.0;
            CHECK_CLOSE(chance_of(b, s, LK_JOINT_SEES_ITSELF, 1)[i],
                        chance_of(a, s, LK_JOINT_SEES_ITSELF, 1)[i] * own, 1e-12);
            CHECK_CLOSE(chance_of(b, s, LK_JOINT_SEES_OTHER, 1)[i],
                        chance_of(a, s, LK_JOINT_SEES_OTHER, 1)[i] * (1 - own), 1e-12);
        }
    lk_joint_probe_free(&a);
    lk_joint_probe_free(&b);
}

/* ---- gradients ---- */

/* Share of a loss's gradient in a tower, or in one part of all blocks of it. */
static double tower(const lk_joint_probe *p, int loss, int stream, int part)
{
    const int n = p->n_blocks * LK_JOINT_PARTS;
    double sum = 0;
    for (int i = 0; i < n; i++)
        if (part < 0 || i % LK_JOINT_PARTS == part)
            sum += p->gradient[(loss * 2 + stream) * n + i];
    return sum;
}

static void gradients_cross_where_the_exchange_is_open(void **state)
{
    static const struct {
        const char *exchange, *directions;
        int open[2]; /* into the picture, into the sound */
    } cases[] = {{"none", "both", {0, 0}},       {"window", "both", {1, 1}},
                 {"window", "to_audio", {0, 1}}, {"window", "to_video", {1, 0}},
                 {"joint", "both", {1, 1}},      {"joint", "to_audio", {0, 1}}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lk_joint_config c = joint_toy_config(cases[i].exchange);
        lk_joint_probe *p;
        c.directions = cases[i].directions;
        p = probe_new(&c);
        for (int loss = 0; loss < 2; loss++) {
            const double own = tower(p, loss, loss, -1), other = tower(p, loss, 1 - loss, -1);
            CHECK_CLOSE(own + other, 1, 1e-12);
            assert_true(own > 0 && p->norm[loss] > 0);
            assert_true((other > 0) == cases[i].open[loss]);
            assert_true((tower(p, loss, loss, LK_JOINT_PART_EXCHANGE) > 0) == cases[i].open[loss]);
            for (int part = 0; part < LK_JOINT_PARTS; part++)
                assert_true(part == LK_JOINT_PART_EXCHANGE || tower(p, loss, loss, part) > 0);
        }
        lk_joint_probe_free(&p);
    }
}

static void balance_is_no_part_of_a_loss(void **state)
{
    const lk_joint_config c = joint_toy_config("window");
    const float balance = 0.7f;
    lk_joint *m = NULL;
    lk_joint_probe *a, *b;
    (void)state;
    CHECK_OK(joint_toy_new(&m, &c, NULL));
    a = probe(m);
    CHECK_OK(lk_params_write(m->params, lk_params_find(m->params, "balance.audio"), LK_VALUE,
                             LK_F32, &balance));
    b = probe(m);
    for (int i = 0; i < 2 * 2; i++)
        CHECK_CLOSE(b->norm[i], a->norm[i], 1e-5 * a->norm[i]);
    lk_joint_probe_free(&a);
    lk_joint_probe_free(&b);
    lk_joint_free(&m);
}

/* ---- means over clips, refusals, memory ---- */

static void clips_have_equal_weight(void **state)
{
    const lk_joint_config c = joint_toy_config("window");
    lk_joint_clip clips[2] = {joint_toy_clip(0), joint_toy_clip(0)};
    lk_joint_probe_config one = probe_of(clips, 1), two = probe_of(clips, 2);
    lk_joint *m = NULL;
    lk_joint_probe *a = NULL, *b = NULL;
    (void)state;
    CHECK_OK(joint_toy_new(&m, &c, NULL));
    CHECK_OK(lk_joint_probe_new(&a, m, &one));
    CHECK_OK(lk_joint_probe_new(&b, m, &two));
    for (int i = 0; i < a->n_bins + 2; i++)
        CHECK_CLOSE(chance_of(a, 0, 1, 1)[i], chance_of(b, 0, 1, 1)[i], 1e-12);
    lk_joint_probe_free(&b);
    clips[1].n_sounds = clips[1].n_latents = clips[1].n_events = 0; /* has no tokens: no weight */
    CHECK_OK(lk_joint_probe_new(&b, m, &two));
    for (int i = 0; i < 2 * LK_JOINT_SIGHTS; i++) {
        const lk_joint_gaze *x = &a->gaze[i / LK_JOINT_SIGHTS][i % LK_JOINT_SIGHTS];
        const lk_joint_gaze *y = &b->gaze[i / LK_JOINT_SIGHTS][i % LK_JOINT_SIGHTS];
        const int n = a->n_levels * a->n_blocks * a->n_heads * (a->n_bins + 2);
        assert_memory_equal(x->mass, y->mass, (size_t)n * sizeof *x->mass);
    }
    lk_joint_probe_free(&a);
    lk_joint_probe_free(&b);
    lk_joint_free(&m);
}

static void a_stream_may_be_alone(void **state)
{
    const lk_joint_config c = joint_toy_config("window");
    lk_joint_clip clip = joint_toy_clip(0);
    lk_joint_probe_config o = probe_of(&clip, 1);
    lk_joint *m = NULL;
    (void)state;
    CHECK_OK(joint_toy_new(&m, &c, NULL));
    clip.n_sounds = 0;
    clip.audio = NULL;
    for (int room = 1; room >= 0; room--) { /* for a sound that is not there, and none */
        lk_joint_probe *p = NULL;
        o.sizes.sounds = room * JOINT_TOY_SOUNDS;
        CHECK_OK(lk_joint_probe_new(&p, m, &o));
        CHECK_CLOSE(sum_of(mass_of(p, 0, LK_JOINT_SEES_ITSELF, 1, 1, 1), p->n_bins + 2), 1, 1e-12);
        CHECK_CLOSE(p->gaze[0][LK_JOINT_SEES_OTHER].share[0], 0, 0);
        for (int k = 0; k < LK_JOINT_SIGHTS; k++)
            assert_true(isnan(mass_of(p, 1, k, 0, 0, 0)[20]) && isnan(p->gaze[1][k].share[0]));
        CHECK_CLOSE(tower(p, 0, 0, -1), 1, 1e-12);
        CHECK_CLOSE(p->norm[1], 0, 0);
        lk_joint_probe_free(&p);
    }
    lk_joint_free(&m);
}

static void senseless_probes_are_refused(void **state)
{
    static const double none[2] = {0.5, 0};
    const lk_joint_config c = joint_toy_config("window");
    lk_joint_clip clip = joint_toy_clip(0);
    lk_joint_probe_config o = probe_of(&clip, 1);
    lk_joint *m = NULL;
    lk_joint_probe *p = NULL;
    (void)state;
    CHECK_OK(joint_toy_new(&m, &c, NULL));
    o.levels = none;
    CHECK_FAILS(lk_joint_probe_new(&p, m, &o), LK_E_ARG);
    o = probe_of(&clip, 1);
    o.bin_ms = 500;
    CHECK_FAILS(lk_joint_probe_new(&p, m, &o), LK_E_ARG);
    o = probe_of(&clip, 0);
    CHECK_FAILS(lk_joint_probe_new(&p, m, &o), LK_E_EMPTY);
    o = probe_of(&clip, 1);
    clip.audio = NULL;
    CHECK_FAILS(lk_joint_probe_new(&p, m, &o), LK_E_ARG);
    assert_null(p);
    lk_joint_free(&m);
}

static void failed_allocations_are_clean(void **state)
{
    const lk_joint_config c = joint_toy_config("window");
    const lk_joint_clip clip = joint_toy_clip(0);
    const lk_joint_probe_config o = probe_of(&clip, 1);
    int fired = 1;
    (void)state;
    for (int n = 1; fired; n += 1 + n / 8) {
        lk_joint *m = NULL;
        lk_joint_probe *p = NULL;
        lk_status st;
        CHECK_OK(joint_toy_new(&m, &c, NULL));
        lk_mem_fail_after(n);
        st = lk_joint_probe_new(&p, m, &o);
        fired = lk_mem_fault_fired();
        lk_mem_fail_after(0);
        if (st != (fired ? LK_E_MEMORY : LK_OK))
            fail_msg("failure %d gave %s: %s", n, lk_status_name(st), lk_error_text());
        assert_true((p == NULL) == fired);
        assert_null(m->probed);
        lk_joint_probe_free(&p);
        lk_joint_free(&m);
        lk_error_clear();
    }
}

/* The two files: whole or not at all, whatever fails. */
static void files_appear_whole(void **state)
{
    const lk_joint_config c = joint_toy_config("window");
    const lk_attention_source source = {.model = "m", .n_clips = 1};
    lk_joint_probe *p = probe_new(&c);
    char path[64] = "/tmp/lk_joint_probe_XXXXXX", part[80];
    (void)state;
    close(mkstemp(path));
    snprintf(part, sizeof part, "%s.part", path);
    for (int png = 0; png < 2; png++) {
        int fired = 1;
        for (int n = 1; fired; n++) {
            lk_status st;
            unlink(path);
            lk_mem_fail_after(n);
            st = png ? lk_attention_draw(path, p, levels)
                     : lk_attention_write(path, p, levels, &source);
            fired = lk_mem_fault_fired();
            lk_mem_fail_after(0);
            assert_int_equal(st, fired ? LK_E_MEMORY : LK_OK);
            assert_int_equal(access(path, F_OK), fired ? -1 : 0);
            assert_int_equal(access(part, F_OK), -1);
            lk_error_clear();
        }
        unlink(path);
    }
    CHECK_FAILS(lk_attention_draw("/nowhere/x.png", p, levels), LK_E_IO);
    CHECK_FAILS(lk_attention_write("/nowhere/x.h5", p, levels, &source), LK_E_IO);
    lk_joint_probe_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masses_sum_to_one),
        cmocka_unit_test(lags_are_those_of_spans),
        cmocka_unit_test(nothing_lies_beyond_the_window),
        cmocka_unit_test(what_is_out_of_reach_is_counted),
        cmocka_unit_test(queries_of_nothing_look_by_chance),
        cmocka_unit_test(planted_heads_look_at_their_own_time),
        cmocka_unit_test(planted_heads_share_what_the_window_leaves),
        cmocka_unit_test(lags_of_a_joint_exchange_are_those_of_a_dense_one),
        cmocka_unit_test(gradients_cross_where_the_exchange_is_open),
        cmocka_unit_test(balance_is_no_part_of_a_loss),
        cmocka_unit_test(clips_have_equal_weight),
        cmocka_unit_test(a_stream_may_be_alone),
        cmocka_unit_test(senseless_probes_are_refused),
        cmocka_unit_test(failed_allocations_are_clean),
        cmocka_unit_test(files_appear_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
