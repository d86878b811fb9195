/* codebook.c - codes as moving averages of what chose them.
 *
 * For every stage the store holds "codes" [entries, code_width], the running sums s_k, and "use"
 * [entries], the running counts u_k.  No optimiser trains them.  After a step, with the unit
 * vectors e_r of the batch, k(r) the code each chose and m the memory,
 *
 *   u_k <- m u_k + (1 - m) #{r: k(r) = k},   s_k <- m s_k + (1 - m) sum over those r of e_r
 *
 * and code k is s_k / |s_k|, the mean direction of its vectors (van den Oord et al. 2017, appendix
 * A.1).
 *
 * Start        codes by k-means on the sphere (fit.c gives the rows); with fewer rows than entries
 * they are the rows, slightly moved. Rebirth      a code with u_k < dead * mean u becomes a random
 * row of the batch, with the mean use (Defossez et al. 2024, section 3.3.2).  Looked for every 5
 * steps.
 *
 * Several processes, each with a part of the batch, add their sums and counts up and hold the same
 * codes; which of them gives a row to a code that is born again follows from the code's number.
 *
 * Everything follows from the store, the step, the batch and the seed, so a resumed training goes
 * on in the same bits.
 */
#include "audio_codec/codec_impl.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define KMEANS_ROUNDS 10
#define REBIRTH_EVERY 5
#define MOVED         0.05f

struct lk_codec_books {
    lk_params *params;
    int stages, entries, width;
    int64_t rows;
    double memory, dead;
    uint64_t seed;
    lk_comm *comm;
    float *codes, *use; /* of the stage at work */
    float *sum, *count; /* of the batch */
    float *mean;        /* k-means: centres, unit */
    int32_t *nearest;   /* k-means: [rows] */
};

lk_status lk_codec_books_new(lk_codec_books **out, const lk_codec_config *c, lk_params *params,
                             int64_t n_rows, double memory, double dead, uint64_t seed,
                             lk_comm *comm)
{
    lk_status st = LK_OK;
    lk_codec_books *k = NULL;
    const int64_t n = (int64_t)c->entries * c->code_width;
    *out = NULL;
    LK_TRY(LK_NEW(&k));
    k->params = params;
    k->stages = c->stages;
    k->entries = c->entries;
    k->width = c->code_width;
    k->rows = n_rows;
    k->memory = memory;
    k->dead = dead;
    k->seed = seed;
    k->comm = comm;
    LK_TRY(LK_NEW_ARRAY(&k->codes, n));
    LK_TRY(LK_NEW_ARRAY(&k->sum, n));
    LK_TRY(LK_NEW_ARRAY(&k->mean, n));
    LK_TRY(LK_NEW_ARRAY(&k->use, c->entries));
    LK_TRY(LK_NEW_ARRAY(&k->count, c->entries));
    LK_TRY(LK_NEW_ARRAY(&k->nearest, n_rows));
    *out = k;
    k = NULL;
done:
    lk_codec_books_free(&k);
    return st;
}

void lk_codec_books_free(lk_codec_books **pk)
{
    lk_codec_books *k = *pk;
    if (!k)
        return;
    lk_free(k->codes);
    lk_free(k->sum);
    lk_free(k->mean);
    lk_free(k->use);
    lk_free(k->count);
    lk_free(k->nearest);
    lk_free(k);
    *pk = NULL;
}

static void make_unit(float *x, int n)
{
    double square = 0;
    for (int i = 0; i < n; i++)
        square += (double)x[i] * (double)x[i];
    for (int i = 0; square > 0 && i < n; i++)
        x[i] = (float)((double)x[i] / sqrt(square));
}

static int ends_with(const char *name, const char *end)
{
    const size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

int lk_codec_is_code(const char *name)
{
    return strncmp(name, "quantiser.", 10) == 0 &&
           (ends_with(name, ".codes") || ends_with(name, ".use"));
}

/* Random numbers of their own for each stage, step and purpose. */
static uint64_t stream_of(int stage, int64_t step, int purpose)
{
    return ((uint64_t)step * LK_CODEC_MOST_STAGES + (uint64_t)stage) * 2 + (uint64_t)purpose;
}

static const float *random_row(const lk_codec_books *k, const float *unit, uint64_t stream,
                               uint64_t i)
{
    const uint32_t r = lk_rng_below(k->seed, stream, i, (uint32_t)k->rows);
    return unit + (int64_t)r * k->width;
}

/* What the batch adds: vectors and counts by code. */
static void tally(lk_codec_books *k, const float *unit, const int32_t *index)
{
    memset(k->sum, 0, sizeof(float) * (size_t)k->entries * (size_t)k->width);
    memset(k->count, 0, sizeof(float) * (size_t)k->entries);
    for (int64_t r = 0; r < k->rows; r++) {
        k->count[index[r]] += 1;
        for (int i = 0; i < k->width; i++)
            k->sum[index[r] * k->width + i] += unit[r * k->width + i];
    }
}

/* ---- start ---- */

static int32_t nearest_mean(const lk_codec_books *k, const float *e)
{
    int32_t best = 0;
    float most = -INFINITY;
    for (int32_t j = 0; j < k->entries; j++) {
        float dot = 0;
        for (int i = 0; i < k->width; i++)
            dot += e[i] * k->mean[(int64_t)j * k->width + i];
        if (dot > most) {
            most = dot;
            best = j;
        }
    }
    return best;
}

/* Rows in a random order, by a walk with a step that shares no factor with their number. */
static int64_t shuffled(const lk_codec_books *k, uint64_t stream, int64_t i)
{
    static const int64_t primes[] = {7919, 104729, 1299709, 15485863};
    const int64_t first = lk_rng_below(k->seed, stream, 0, (uint32_t)k->rows);
    int p = 0;
    while (p < 3 && k->rows % primes[p] == 0)
        p++;
    return (first + i * primes[p]) % k->rows;
}

static void first_means(lk_codec_books *k, const float *unit, uint64_t stream)
{
    for (int64_t j = 0; j < k->entries; j++) {
        const float *e = unit + shuffled(k, stream, j) * k->width;
        const float moved = j < k->rows ? 0 : MOVED;
        for (int i = 0; i < k->width; i++)
            k->mean[j * k->width + i] =
                e[i] + moved * lk_rng_normal(k->seed, stream, (uint64_t)(j * k->width + i) + 1);
    }
}

/* A mean that nobody chose stays. */
static void mean_directions(lk_codec_books *k)
{
    for (int64_t j = 0; j < k->entries; j++) {
        if (k->count[j] == 0)
            continue;
        memcpy(k->mean + j * k->width, k->sum + j * k->width, sizeof(float) * (size_t)k->width);
        make_unit(k->mean + j * k->width, k->width);
    }
}

static void nearest_means(lk_codec_books *k, const float *unit)
{
    for (int64_t r = 0; r < k->rows; r++)
        k->nearest[r] = nearest_mean(k, unit + r * k->width);
}

static void start(lk_codec_books *k, float use, const float *unit, uint64_t stream)
{
    const int rounds = k->rows > k->entries ? KMEANS_ROUNDS : 0;
    first_means(k, unit, stream);
    for (int n = 0; n < rounds; n++) {
        nearest_means(k, unit);
        tally(k, unit, k->nearest);
        mean_directions(k);
    }
    for (int64_t j = 0; j < k->entries; j++) {
        k->use[j] = use;
        for (int i = 0; i < k->width; i++)
            k->codes[j * k->width + i] = use * k->mean[j * k->width + i];
    }
}

/* ---- moving averages, rebirth ---- */

static lk_status blend(lk_codec_books *k, const float *unit, const int32_t *index)
{
    lk_status st = LK_OK;
    const float m = (float)k->memory;
    tally(k, unit, index);
    LK_TRY(lk_comm_sum(k->comm, k->count, k->entries));
    LK_TRY(lk_comm_sum(k->comm, k->sum, (int64_t)k->entries * k->width));
    for (int64_t j = 0; j < k->entries; j++)
        k->use[j] = m * k->use[j] + (1 - m) * k->count[j];
    for (int64_t i = 0; i < (int64_t)k->entries * k->width; i++)
        k->codes[i] = m * k->codes[i] + (1 - m) * k->sum[i];
done:
    return st;
}

/* A row for each code of this process's share that is hardly used, into the sums. */
static void offer_rows(lk_codec_books *k, double least, const float *unit, uint64_t stream)
{
    memset(k->sum, 0, sizeof(float) * (size_t)k->entries * (size_t)k->width);
    for (int64_t j = lk_comm_rank(k->comm); j < k->entries; j += lk_comm_n(k->comm))
        if (k->use[j] < least)
            memcpy(k->sum + j * k->width, random_row(k, unit, stream, (uint64_t)j),
                   sizeof(float) * (size_t)k->width);
}

static lk_status bear_again(lk_codec_books *k, const float *unit, uint64_t stream)
{
    lk_status st = LK_OK;
    double mean = 0, least;
    for (int j = 0; j < k->entries; j++)
        mean += k->use[j];
    mean /= k->entries;
    least = k->dead * mean;
    offer_rows(k, least, unit, stream);
    LK_TRY(lk_comm_sum(k->comm, k->sum, (int64_t)k->entries * k->width));
    for (int64_t j = 0; j < k->entries; j++) {
        if (k->use[j] >= least)
            continue;
        k->use[j] = (float)mean;
        for (int i = 0; i < k->width; i++)
            k->codes[j * k->width + i] = (float)mean * k->sum[j * k->width + i];
    }
done:
    return st;
}

static int find(const lk_codec_books *k, int stage, const char *what)
{
    char name[64];
    snprintf(name, sizeof name, "quantiser.%d.%s", stage, what);
    return lk_params_find(k->params, name);
}

/* The averages of the weights are used with the codes as they are. */
static lk_status write_both(const lk_codec_books *k, int i, const float *data)
{
    lk_status st = LK_OK;
    LK_TRY(lk_params_write(k->params, i, LK_VALUE, LK_F32, data));
    if (lk_params_data(k->params, i, LK_AVERAGE))
        LK_TRY(lk_params_write(k->params, i, LK_AVERAGE, LK_F32, data));
done:
    return st;
}

static lk_status find_stage(const lk_codec_books *k, int stage, int *codes, int *use)
{
    lk_status st = LK_OK;
    *codes = find(k, stage, "codes");
    *use = find(k, stage, "use");
    LK_REQUIRE(*codes >= 0 && *use >= 0, LK_E_ARG, "the store has no codes of stage %d", stage);
done:
    return st;
}

lk_status lk_codec_books_start(lk_codec_books *k, int stage, double use_of_each, const float *unit,
                               int32_t *index)
{
    lk_status st = LK_OK;
    int codes, use;
    LK_TRY(find_stage(k, stage, &codes, &use));
    start(k, (float)use_of_each, unit, stream_of(stage, 0, 0));
    nearest_means(k, unit);
    memcpy(index, k->nearest, sizeof *index * (size_t)k->rows);
    LK_TRY(write_both(k, codes, k->codes));
    LK_TRY(write_both(k, use, k->use));
done:
    return st;
}

lk_status lk_codec_books_update(lk_codec_books *k, int stage, int64_t step, const float *unit,
                                const int32_t *index)
{
    lk_status st = LK_OK;
    int codes, use;
    LK_TRY(find_stage(k, stage, &codes, &use));
    for (int64_t r = 0; r < k->rows; r++)
        LK_REQUIRE(index[r] >= 0 && index[r] < k->entries, LK_E_ARG,
                   "stage %d has %d codes, there is none with number %d", stage, k->entries,
                   (int)index[r]);
    LK_TRY(lk_params_read(k->params, codes, LK_VALUE, LK_F32, k->codes));
    LK_TRY(lk_params_read(k->params, use, LK_VALUE, LK_F32, k->use));
    LK_TRY(blend(k, unit, index));
    if (step % REBIRTH_EVERY == 0)
        LK_TRY(bear_again(k, unit, stream_of(stage, step, 1)));
    LK_TRY(write_both(k, codes, k->codes));
    LK_TRY(write_both(k, use, k->use));
done:
    return st;
}

lk_status lk_codec_finish_codes(lk_params *params)
{
    lk_status st = LK_OK;
    float *codes = NULL;
    for (int i = 0; i < lk_params_n(params); i++) {
        const lk_shape shape = lk_params_shape(params, i);
        if (!ends_with(lk_params_name(params, i), ".codes"))
            continue;
        lk_free(codes);
        codes = NULL;
        LK_TRY(LK_NEW_ARRAY(&codes, lk_shape_count(&shape)));
        LK_TRY(lk_params_read(params, i, LK_VALUE, LK_F32, codes));
        for (int64_t r = 0; r < shape.dim[0]; r++)
            make_unit(codes + r * shape.dim[1], (int)shape.dim[1]);
        LK_TRY(lk_params_write(params, i, LK_VALUE, LK_F32, codes));
    }
done:
    lk_free(codes);
    return st;
}
