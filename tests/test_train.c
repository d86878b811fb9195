/* test_train.c - checkpoints, event files and the training loop. */
#include "tests/check.h"
#include "tests/toy.h"

#include "kernels/checkpoint.h"
#include "kernels/file.h"
#include "kernels/mem.h"
#include "kernels/ops.h"
#include "kernels/tbevents.h"

#include <ftw.h>
#include <signal.h>
#include <unistd.h>

static char base[] = "/tmp/lk_train_XXXXXX";
static char folder[64], path[160];

static int drop_entry(const char *name, const struct stat *s, int kind, struct FTW *ftw)
{
    (void)s;
    (void)kind;
    (void)ftw;
    return remove(name);
}

static void drop_all(const char *name)
{
    nftw(name, drop_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static char *slurp(const char *from, size_t *n)
{
    FILE *f = fopen(from, "rb");
    char *data = calloc(1, 1 << 20);
    *n = 0;
    if (f) {
        *n = fread(data, 1, (1 << 20) - 1, f);
        fclose(f);
    }
    return data;
}

static const char *in_folder(const char *name)
{
    sprintf(path, "%s/%s", folder, name);
    return path;
}

/* All values and moments after a training, to be compared. */
static char *final_bytes(int64_t step, size_t *n)
{
    char name[64];
    sprintf(name, "checkpoints/step_%08lld.safetensors", (long long)step);
    return slurp(in_folder(name), n);
}

/* ---- checkpoints ---- */

static void a_checkpoint_holds_everything(void **state)
{
    const lk_checkpoint c = {12, 345, 67, UINT64_MAX};
    const lk_safetensors_text text = {"config", "a: \"b\"\n"};
    lk_checkpoint back = {0};
    lk_safetensors *f = NULL;
    toy t, other, wide;
    (void)state;
    CHECK_OK(toy_open(&t, 8));
    CHECK_OK(lk_params_need(t.params, LK_MOMENT1));
    CHECK_OK(lk_params_need(t.params, LK_AVERAGE));
    for (int i = 0; i < lk_params_n(t.params); i++) {
        lk_params_data(t.params, i, LK_MOMENT1)[0] = (float)(i + 1);
        lk_params_data(t.params, i, LK_AVERAGE)[0] = (float)(i + 50);
    }
    in_folder("one.safetensors");
    CHECK_OK(lk_checkpoint_write(path, t.params, &c, 1, &text));
    CHECK_OK(lk_safetensors_open(&f, path));
    assert_string_equal(lk_safetensors_get(f, "config"), text.value);
    assert_true(lk_safetensors_find(f, "hidden.weight") >= 0);
    assert_true(lk_safetensors_find(f, "average:last.bias") >= 0);
    lk_safetensors_free(&f);

    CHECK_OK(toy_open(&other, 8));
    CHECK_OK(lk_params_need(other.params, LK_MOMENT1));
    lk_params_data(other.params, 1, LK_VALUE)[2] = 99;
    CHECK_OK(lk_checkpoint_read(path, other.params, &back));
    assert_memory_equal(&back, &c, sizeof c);
    for (int i = 0; i < lk_params_n(t.params); i++)
        for (int s = 0; s < 2; s++) {
            const lk_slot slot = s ? LK_MOMENT1 : LK_VALUE;
            const lk_shape shape = lk_params_shape(t.params, i);
            assert_memory_equal(lk_params_data(t.params, i, slot),
                                lk_params_data(other.params, i, slot),
                                (size_t)lk_shape_count(&shape) * sizeof(float));
        }
    assert_null(lk_params_data(other.params, 0, LK_AVERAGE));
    CHECK_OK(lk_checkpoint_read_values(path, other.params, 1));
    assert_true(lk_params_data(other.params, 2, LK_VALUE)[0] == 52);
    CHECK_OK(lk_checkpoint_read_values(path, other.params, 0));
    assert_true(lk_params_data(other.params, 2, LK_VALUE)[0] != 52);

    /* Another model, a missing slot, a file that is no checkpoint. */
    CHECK_OK(lk_params_need(other.params, LK_MOMENT2));
    assert_int_equal(lk_checkpoint_read(path, other.params, &back), LK_E_SHAPE);
    assert_non_null(strstr(lk_error_text(), "moment2:hidden.weight"));
    CHECK_OK(toy_open(&wide, 8));
    int index;
    CHECK_OK(lk_params_add(wide.params, "more", LK_SHAPE(3), LK_INIT_ZERO, 0, &index));
    assert_int_equal(lk_checkpoint_read(path, wide.params, &back), LK_E_SHAPE);
    assert_non_null(strstr(lk_error_text(), "'more'"));
    CHECK_OK(lk_checkpoint_write(path, wide.params, &c, 0, NULL));
    CHECK_FAILS(lk_checkpoint_read(path, t.params, &back), LK_E_SHAPE);
    CHECK_OK(lk_safetensors_write(path, 0, NULL, 0, NULL, NULL, NULL));
    CHECK_FAILS(lk_checkpoint_read(path, t.params, &back), LK_E_FORMAT);
    toy_close(&t);
    toy_close(&other);
    toy_close(&wide);
}

static void the_folder_keeps_the_newest(void **state)
{
    lk_params *p = NULL;
    char *latest = NULL;
    size_t n;
    int index;
    (void)state;
    CHECK_OK(lk_checkpoint_latest(folder, &latest));
    assert_null(latest);
    CHECK_OK(lk_params_new(&p, NULL, 1));
    CHECK_OK(lk_params_add(p, "w", LK_SHAPE(50), LK_INIT_NORMAL, 1, &index));
    fclose(fopen(in_folder("step_00000003.safetensors.part"), "w"));
    fclose(fopen(in_folder("step_3.safetensors"), "w"));
    for (int64_t step = 1; step <= 5; step++)
        CHECK_OK(lk_checkpoint_save(folder, p, &(lk_checkpoint){.step = step}, 0, NULL, 2));
    assert_int_not_equal(access(in_folder("step_00000003.safetensors"), F_OK), 0);
    assert_int_not_equal(access(in_folder("step_00000003.safetensors.part"), F_OK), 0);
    assert_int_equal(access(in_folder("step_3.safetensors"), F_OK), 0);
    assert_int_equal(access(in_folder("step_00000004.safetensors"), F_OK), 0);
    CHECK_OK(lk_checkpoint_latest(folder, &latest));
    assert_string_equal(latest, in_folder("step_00000005.safetensors"));

    /* The newest one damaged: the one before; saved again, the damaged one goes. */
    char *bytes = slurp(latest, &n);
    lk_free(latest);
    bytes[n - 3] ^= 4;
    FILE *f = fopen(path, "wb");
    fwrite(bytes, 1, n, f);
    fclose(f);
    free(bytes);
    lk_log_set(NULL, NULL, -1);
    CHECK_OK(lk_checkpoint_latest(folder, &latest));
    lk_log_set(NULL, NULL, 1);
    assert_string_equal(latest, in_folder("step_00000004.safetensors"));
    lk_free(latest);
    CHECK_OK(lk_checkpoint_save(folder, p, &(lk_checkpoint){.step = 4}, 0, NULL, 2));
    assert_int_not_equal(access(in_folder("step_00000005.safetensors"), F_OK), 0);
    lk_params_free(&p);
}

/* ---- event files ---- */

static void event_files_have_these_bytes(void **state)
{
    /* A version record and step 300 with the value 1.5 under "loss", as TensorBoard reads them. */
    static const unsigned char second[] = {
        27,   0,    0,    0,    0,   0,   0, 0, 0,    0, 0, 0, /* length; CRC checked below */
        0x09, 0,    0,    0,    0,   0,   0, 0, 0x40,          /* 1: wall time 2.0 */
        0x10, 0xac, 0x02,                                      /* 2: step 300 */
        0x2a, 0x0d,                                            /* 5: summary, 13 bytes */
        0x0a, 0x0b,                                            /* 1: value, 11 bytes */
        0x0a, 0x04, 'l',  'o',  's', 's',                      /* 1: tag */
        0x15, 0,    0,    0xc0, 0x3f};                         /* 2: 1.5 */
    const char *const tag = "loss";
    const double value = 1.5;
    lk_tbevents *e = NULL;
    size_t n, again;
    char *bytes;
    (void)state;
    assert_int_equal(lk_crc32c("123456789", 9), 0xe3069283u);
    in_folder("events.out.tfevents.test");
    CHECK_OK(lk_tbevents_open(&e, path, 0));
    CHECK_OK(lk_tbevents_add(e, 300, 2.0, 1, &tag, &value));
    lk_tbevents_free(&e);
    bytes = slurp(path, &n);
    const size_t first = 12 + 9 + 2 + 13 + 4;
    assert_int_equal(n, first + sizeof second + 4);
    assert_memory_equal(bytes + 12 + 9,
                        "\x1a\x0d"
                        "brain.Event:2",
                        15);
    assert_int_equal(bytes[first], second[0]);
    assert_memory_equal(bytes + first + 12, second + 12, sizeof second - 12);
    uint32_t crc, c = lk_crc32c(bytes + first, 8);
    memcpy(&crc, bytes + first + 8, 4);
    assert_int_equal(crc, (c >> 15 | c << 17) + 0xa282ead8u);
    free(bytes);

    /* Later steps and a torn record go when it is opened again. */
    for (int64_t step = 301; step < 310; step++) {
        CHECK_OK(lk_tbevents_open(&e, path, step));
        CHECK_OK(lk_tbevents_add(e, step, 2.0, 1, &tag, &value));
        lk_tbevents_free(&e);
    }
    CHECK_OK(lk_tbevents_open(&e, path, 300));
    lk_tbevents_free(&e);
    free(slurp(path, &again));
    assert_int_equal(again, n);
    assert_int_equal(truncate(path, (off_t)n - 1), 0);
    CHECK_OK(lk_tbevents_open(&e, path, 300));
    lk_tbevents_free(&e);
    free(slurp(path, &again));
    assert_int_equal(again, first);
}

/* ---- the loop ---- */

static void it_learns_and_says_so(void **state)
{
    toy t;
    lk_train_result r;
    size_t n;
    char *log, *line;
    double first = 0, last = 0;
    (void)state;
    CHECK_OK(toy_open(&t, 64));
    lk_train_config c = toy_config(&t, folder, 60);
    c.n_micro = 2;
    CHECK_OK(lk_train(&c, &r));
    assert_int_equal(r.step, 60);
    assert_int_equal(r.samples, 60 * 2 * 64);
    assert_int_equal(r.allocations, 0);
    log = slurp(in_folder("log.jsonl"), &n);
    line = log;
    for (int step = 1; step <= 60; step++) {
        long long at = 0, samples = 0;
        double size, lr, norm;
        assert_int_equal(sscanf(line,
                                "{\"step\":%lld,\"samples\":%lld,\"loss\":%lf,\"size\":%lf,"
                                "\"lr\":%lf,\"grad_norm\":%lf,\"samples_per_s\":",
                                &at, &samples, &last, &size, &lr, &norm),
                         6);
        first = step == 1 ? last : first;
        assert_int_equal(at, step);
        assert_int_equal(samples, step * 128);
        CHECK_CLOSE(lr, lk_schedule_rate(&t.phase.schedule, step - 1), 1e-9);
        assert_true(norm > 0);
        line = strchr(line, '\n') + 1;
    }
    assert_int_equal(*line, '\0');
    assert_true(last < 0.6 * first);
    CHECK_CLOSE(r.loss, last, 1e-8);
    assert_int_equal(access(in_folder("DONE"), F_OK), 0);
    assert_int_equal(access(in_folder("checkpoints/step_00000050.safetensors"), F_OK), 0);
    assert_int_not_equal(access(in_folder("checkpoints/step_00000040.safetensors"), F_OK), 0);
    free(log);

    /* Done is done; a second training does not fall over the first. */
    CHECK_FAILS(lk_train(&c, &r), LK_E_ARG);
    c.resume = 1;
    CHECK_OK(lk_train(&c, &r));
    assert_true(r.step == 60 && isnan(r.loss));
    c.seed++;
    CHECK_FAILS(lk_train(&c, &r), LK_E_ARG);
    c.seed--;
    c.n_steps = 59;
    CHECK_FAILS(lk_train(&c, &r), LK_E_ARG);
    c.n_phases = 0;
    CHECK_FAILS(lk_train(&c, &r), LK_E_ARG);
    toy_close(&t);
}

static lk_status (*plain_fill)(void *user, lk_graph *g, const lk_train_batch *b);
static int64_t stop_at = -1;

static lk_status stopping_fill(void *user, lk_graph *g, const lk_train_batch *b)
{
    if (b->step == stop_at)
        return LK_FAIL(LK_E_IO, "the data are gone");
    return plain_fill(user, g, b);
}

/* Batches that come in two parts give the same gradients as whole ones, up to rounding. */
/* ---- watches ---- */

static lk_status look(void *user, int64_t step, double *values)
{
    int64_t *seen = user;
    (*seen)++;
    values[0] = (double)step;
    values[1] = -0.5;
    return step == 9 ? LK_FAIL(LK_E_IO, "nothing to see") : LK_OK;
}

static void watches_look_and_tell(void **state)
{
    static const char *const names[] = {"at", "half"};
    const lk_train_watch watches[2] = {{3, 2, names, look, NULL}, {0, 1, names, look, NULL}};
    lk_train_watch mine[2];
    lk_train_config c;
    lk_train_result r;
    int64_t seen = 0;
    size_t n;
    toy t;
    (void)state;
    memcpy(mine, watches, sizeof mine);
    mine[0].user = mine[1].user = &seen;
    CHECK_OK(toy_open(&t, 8));
    c = toy_config(&t, folder, 7);
    c.log_every = 4;
    c.n_watches = 2;
    c.watches = mine;
    CHECK_OK(lk_train(&c, NULL));
    assert_int_equal(seen, 2);
    char *log = slurp(in_folder("log.jsonl"), &n);
    const char *at[4] = {strstr(log, "{\"step\":3,"), strstr(log, "{\"step\":4,"),
                         strstr(log, "{\"step\":6,"), strstr(log, "{\"step\":7,")};
    assert_true(at[0] == log && at[0] < at[1] && at[1] < at[2] && at[2] < at[3]);
    const char *first = strstr(log, "\"at\":3,\"half\":-0.5"), *second = strstr(log, "\"at\":6,");
    assert_true(first && first < at[1] && second && second > at[2] && second < at[3]);
    free(log);
    c.n_steps = 12;
    c.resume = 1;
    CHECK_FAILS(lk_train(&c, &r), LK_E_IO);
    assert_int_equal(r.step, 9);
    c.n_watches = LK_TRAIN_MOST_WATCHES + 1;
    CHECK_FAILS(lk_train(&c, NULL), LK_E_ARG);
    toy_close(&t);
}

static void parts_of_a_batch_add_up(void **state)
{
    double loss[2];
    (void)state;
    for (int i = 0; i < 2; i++) {
        toy t;
        lk_train_result r;
        CHECK_OK(toy_open(&t, i ? 32 : 64));
        sprintf(folder, "%s/run%d", base, i);
        lk_train_config c = toy_config(&t, folder, 30);
        c.n_micro = 1 + i;
        CHECK_OK(lk_train(&c, &r));
        loss[i] = r.loss;
        toy_close(&t);
    }
    CHECK_CLOSE(loss[0], loss[1], 1e-5 * loss[0]);
}

static void a_failed_run_goes_on_to_the_same_bits(void **state)
{
    toy t;
    lk_train_result r;
    size_t n, again;
    char *bytes, *same;
    (void)state;
    CHECK_OK(toy_open(&t, 16));
    lk_train_config c = toy_config(&t, folder, 25);
    CHECK_OK(lk_train(&c, &r));
    bytes = final_bytes(25, &n);
    toy_close(&t);
    drop_all(folder);
    plain_fill = NULL;
    for (stop_at = 3; stop_at <= 30; stop_at += 9) {
        CHECK_OK(toy_open(&t, 16));
        plain_fill = t.phase.fill;
        t.phase.fill = stopping_fill;
        c = toy_config(&t, folder, 25);
        c.resume = 1;
        if (stop_at < 25)
            CHECK_FAILS(lk_train(&c, &r), LK_E_IO);
        else
            CHECK_OK(lk_train(&c, &r));
        toy_close(&t);
    }
    same = final_bytes(25, &again);
    assert_int_equal(n, again);
    assert_memory_equal(bytes, same, n);
    free(bytes);
    free(same);
    bytes = slurp(in_folder("log.jsonl"), &n);
    for (size_t i = again = 0; i < n; i++)
        again += bytes[i] == '\n';
    assert_int_equal(again, 25);
    free(bytes);
}

static void the_first_bad_value_is_named(void **state)
{
    toy t;
    (void)state;
    CHECK_OK(toy_open(&t, 16));
    t.poison_step = 12;
    lk_train_config c = toy_config(&t, folder, 25);
    assert_int_equal(lk_train(&c, NULL), LK_E_NUMERIC);
    assert_non_null(strstr(lk_error_text(), "step 13"));
    assert_non_null(strstr(lk_error_text(), "NaN or Inf"));
    assert_null(strstr(lk_error_text(), "sum of the gradients"));
    assert_int_equal(access(in_folder("checkpoints/step_00000010.safetensors"), F_OK), 0);
    for (int i = 0; i < lk_params_n(t.params); i++)
        assert_true(isfinite(lk_params_data(t.params, i, LK_VALUE)[0]));
    toy_close(&t);
}

static int is_hidden(const char *name, const lk_shape *shape)
{
    (void)shape;
    return strncmp(name, "hidden", 6) == 0;
}

static int is_last(const char *name, const lk_shape *shape)
{
    return !is_hidden(name, shape);
}

/* Two phases in turn, each with parameters and numbers of its own. */
static void phases_take_turns(void **state)
{
    toy t;
    lk_train_result r;
    lk_train_phase phases[2];
    size_t n;
    char *log;
    (void)state;
    CHECK_OK(toy_open(&t, 32));
    lk_train_config c = toy_config(&t, folder, 1);
    const float before = lk_params_data(t.params, 0, LK_VALUE)[0];
    phases[0] = phases[1] = t.phase;
    phases[0].name = "a_";
    phases[0].optim.trains = is_hidden;
    phases[0].schedule.peak = phases[0].schedule.floor = 0;
    phases[1].name = "b_";
    phases[1].optim.trains = is_last;
    c.n_phases = 2;
    c.phases = phases;
    CHECK_OK(lk_train(&c, &r));
    assert_string_equal(lk_params_name(t.params, 0), "hidden.weight");
    assert_true(lk_params_data(t.params, 0, LK_VALUE)[0] == before);
    assert_true(lk_params_data(t.params, lk_params_find(t.params, "last.bias"), LK_VALUE)[0] != 0);
    log = slurp(in_folder("log.jsonl"), &n);
    assert_non_null(strstr(log, "\"a_loss\":"));
    assert_non_null(strstr(log, "\"a_lr\":0,"));
    assert_non_null(strstr(log, "\"b_grad_norm\":"));
    free(log);
    toy_close(&t);
}

/* One after the other on the same parameters, with equal settings, is one training with a rate that
 * rises twice. */
static void phases_follow_each_other(void **state)
{
    toy t;
    lk_train_result r;
    lk_train_phase phases[2];
    size_t n;
    (void)state;
    CHECK_OK(toy_open(&t, 32));
    lk_train_config c = toy_config(&t, folder, 9);
    phases[0] = phases[1] = t.phase;
    phases[0].until = phases[1].from = 4;
    phases[1].name = "then_";
    phases[1].batch_samples = 1000;
    for (int i = 0; i < 2; i++)
        phases[i].schedule = (lk_schedule){LK_SCHEDULE_CONSTANT, 0.01, 0.01, 2, 9, 0};
    c.n_phases = 2;
    c.phases = phases;
    c.log_every = 1;
    CHECK_OK(lk_train(&c, &r));
    assert_int_equal(r.samples, 4 * 32 + 5 * 1000);
    char *log = slurp(in_folder("log.jsonl"), &n);
    int line = 0;
    for (char *at = strtok(log, "\n"); at; at = strtok(NULL, "\n"), line++) {
        const char *rate = strstr(at, "lr\":");
        assert_int_equal(strstr(at, "then_loss") != NULL, line >= 4);
        assert_non_null(rate);
        CHECK_CLOSE(atof(rate + 4), line == 0 || line == 4 ? 0.005 : 0.01, 1e-9);
    }
    assert_int_equal(line, 9);
    free(log);
    phases[1].until = 9; /* and who takes the tenth step? */
    c.n_steps = 10;
    c.resume = 1;
    CHECK_FAILS(lk_train(&c, NULL), LK_E_ARG);
    toy_close(&t);
}

/* ---- what no optimiser trains ---- */

static lk_status count_steps(void *user, lk_graph *g, int64_t step)
{
    const toy *t = user;
    float *count = lk_params_data(t->params, lk_params_find(t->params, "count"), LK_VALUE);
    float loss;
    lk_status st = LK_OK;
    LK_TRY(lk_graph_read(g, lk_graph_find(g, "loss"), LK_F32, &loss));
    count[0] += 1;
    count[1] = (float)step;
    count[2] = loss;
done:
    return st;
}

static int trains_all_but_count(const char *name, const lk_shape *shape)
{
    (void)shape;
    return strcmp(name, "count") != 0;
}

static void what_follows_by_itself_is_saved(void **state)
{
    const char *name = "checkpoints/step_00000012.safetensors";
    (void)state;
    for (stop_at = 7; stop_at <= 20; stop_at += 13) {
        toy t;
        lk_train_result r;
        lk_safetensors *f = NULL;
        float count[3];
        int index;
        CHECK_OK(toy_open(&t, 16));
        CHECK_OK(lk_params_add(t.params, "count", LK_SHAPE(3), LK_INIT_ZERO, 0, &index));
        plain_fill = t.phase.fill;
        t.phase.fill = stopping_fill;
        t.phase.after_step = count_steps;
        t.phase.optim.trains = trains_all_but_count;
        lk_train_config c = toy_config(&t, folder, 12);
        c.n_micro = 2;
        c.resume = 1;
        c.save_every = 5;
        if (stop_at < 12) {
            CHECK_FAILS(lk_train(&c, &r), LK_E_IO);
        } else {
            CHECK_OK(lk_train(&c, &r));
            CHECK_OK(lk_safetensors_open(&f, in_folder(name)));
            CHECK_OK(lk_safetensors_read(f, lk_safetensors_find(f, "count"), LK_F32, count));
            assert_true(count[0] == 12 && count[1] == 11 && count[2] > 0);
            lk_safetensors_free(&f);
        }
        toy_close(&t);
    }
}

/* Every allocation and every change of a file fails once: a clean failure, and what was saved
 * before can be gone on from. */
static void every_failure_is_clean(void **state)
{
    for (int files = 0; files < 2; files++) {
        int fired = 1;
        for (int n = 1; fired; n++) {
            toy t;
            lk_train_result r;
            char *latest = NULL;
            lk_status st;
            CHECK_OK(toy_open(&t, 4));
            lk_train_config c = toy_config(&t, folder, 2);
            if (n == 1 && !files)
                CHECK_OK(lk_train(&c, &r)); /* its checkpoint is where all the others begin */
            c = toy_config(&t, folder, 4);
            c.resume = 1;
            c.save_every = 3;
            c.keep = 0;
            if (files)
                lk_file_fail_after(n);
            else
                lk_mem_fail_after(n);
            st = lk_train(&c, &r);
            fired = files ? lk_file_fault_fired() : lk_mem_fault_fired();
            lk_file_fail_after(0);
            lk_mem_fail_after(0);
            if (st != (fired ? (files ? LK_E_IO : LK_E_MEMORY) : LK_OK))
                fail_msg("failure %d of kind %d gave %s: %s", n, files, lk_status_name(st),
                         lk_error_text());
            CHECK_OK(lk_checkpoint_latest(in_folder("checkpoints"), &latest));
            assert_non_null(latest);
            lk_free(latest);
            if (n % 16 == 0 || !fired)
                CHECK_OK(lk_train(&c, &r));
            toy_close(&t);
            for (int step = 3; step <= 4; step++) {
                sprintf(path, "%s/checkpoints/step_%08d.safetensors", folder, step);
                remove(path);
            }
        }
    }
    (void)state;
}

static int new_folder(void **state)
{
    (void)state;
    sprintf(folder, "%s/run", base);
    return lk_make_folders(folder) == LK_OK ? 0 : 1;
}

static int drop_folder(void **state)
{
    (void)state;
    sprintf(folder, "%s/run", base);
    drop_all(folder);
    return 0;
}

static int make_base(void **state)
{
    (void)state;
    return mkdtemp(base) == NULL;
}

static int drop_base(void **state)
{
    (void)state;
    drop_all(base);
    return 0;
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, new_folder, drop_folder)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(a_checkpoint_holds_everything),
        IN_FOLDER(the_folder_keeps_the_newest),
        IN_FOLDER(event_files_have_these_bytes),
        IN_FOLDER(it_learns_and_says_so),
        IN_FOLDER(parts_of_a_batch_add_up),
        IN_FOLDER(a_failed_run_goes_on_to_the_same_bits),
        IN_FOLDER(the_first_bad_value_is_named),
        IN_FOLDER(watches_look_and_tell),
        IN_FOLDER(phases_take_turns),
        IN_FOLDER(phases_follow_each_other),
        IN_FOLDER(what_follows_by_itself_is_saved),
        IN_FOLDER(every_failure_is_clean),
    };
    return cmocka_run_group_tests(tests, make_base, drop_base);
}
