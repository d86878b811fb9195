/* codes_toy.c - the codes of a quantiser on several processes, each with a part of the batch.
 *
 *     codes_toy FOLDER   writes FOLDER/N_R.txt for process R of N: the sum of the codes' squares
 * and of their uses after steps without rebirth, then a checksum of both after steps in which every
 * code is born again
 */
#include "tests/codec_tiny.h"

#include "kernels/hash.h"
#include "kernels/rng.h"

#include <stdio.h>

enum { ROWS = 64, STEPS = 40 };

static lk_status open_store(const lk_codec_config *c, lk_params **p)
{
    lk_status st = LK_OK;
    const lk_shape codes = LK_SHAPE(c->entries, c->code_width), use = LK_SHAPE(c->entries);
    int i;
    LK_TRY(lk_params_new(p, NULL, 5));
    LK_TRY(lk_params_add(*p, "quantiser.0.codes", codes, LK_INIT_NORMAL, 1, &i));
    LK_TRY(lk_params_add(*p, "quantiser.0.use", use, LK_INIT_VALUE, 1, &i));
done:
    return st;
}

/* Rows [first, first + n) of a step's batch. */
static void draw_rows(const lk_codec_config *c, int64_t step, int64_t first, int64_t n, float *unit,
                      int32_t *index)
{
    for (int64_t r = 0; r < n; r++) {
        const uint64_t row = (uint64_t)(step * ROWS + first + r);
        index[r] = (int32_t)lk_rng_below(1, 1, row, (uint32_t)c->entries);
        for (int i = 0; i < c->code_width; i++)
            unit[r * c->code_width + i] = lk_rng_normal(1, 2, row * 64 + (uint64_t)i);
    }
}

static lk_status follow(lk_comm *comm, double dead, lk_params *p, const lk_codec_config *c)
{
    lk_status st = LK_OK;
    const int64_t n = ROWS / lk_comm_n(comm);
    lk_codec_books *k = NULL;
    float unit[ROWS * 8];
    int32_t index[ROWS];
    LK_TRY(lk_codec_books_new(&k, c, p, n, 0.9, dead, 7, comm));
    for (int64_t step = 1; step <= STEPS; step++) {
        draw_rows(c, step, n * lk_comm_rank(comm), n, unit, index);
        LK_TRY(lk_codec_books_update(k, 0, step, unit, index));
    }
done:
    lk_codec_books_free(&k);
    return st;
}

static double sum_of_squares(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

static uint64_t checksum(const float *x, int64_t n)
{
    lk_hash64 h;
    lk_hash64_start(&h);
    lk_hash64_add(&h, x, (size_t)n * sizeof *x);
    return lk_hash64_value(&h);
}

static lk_status run(const char *folder)
{
    lk_status st = LK_OK;
    const lk_codec_config c = tiny_codec(1);
    const int64_t n = (int64_t)c.entries * c.code_width;
    lk_comm *comm = NULL;
    lk_params *p = NULL;
    const float *codes, *use;
    char path[512];
    FILE *f = NULL;
    LK_TRY(lk_comm_open(&comm, NULL));
    LK_TRY(open_store(&c, &p));
    codes = lk_params_data(p, lk_params_find(p, "quantiser.0.codes"), LK_VALUE);
    use = lk_params_data(p, lk_params_find(p, "quantiser.0.use"), LK_VALUE);
    snprintf(path, sizeof path, "%s/%d_%d.txt", folder, lk_comm_n(comm), lk_comm_rank(comm));
    f = fopen(path, "w");
    LK_REQUIRE(f, LK_E_IO, "cannot write '%s'", path);
    LK_TRY(follow(comm, 0, p, &c));
    fprintf(f, "%.4f %.4f\n", sum_of_squares(codes, n), sum_of_squares(use, c.entries));
    LK_TRY(follow(comm, 0.9, p, &c));
    fprintf(f, "%016llx %016llx\n", (unsigned long long)checksum(codes, n),
            (unsigned long long)checksum(use, c.entries));
done:
    if (f)
        fclose(f);
    lk_params_free(&p);
    lk_comm_free(&comm);
    return st;
}

int main(int argc, char **argv)
{
    if (argc != 2 || run(argv[1]) != LK_OK) {
        fprintf(stderr, "codes_toy: %s\n", argc == 2 ? lk_error_text() : "needs a folder");
        return 1;
    }
    return 0;
}
