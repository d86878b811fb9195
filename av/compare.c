/* compare.c - see compare.h.
 *
 * Randomisation test.  Under the null hypothesis the two clips of a pair are exchangeable, so every
 * difference d_i could as well be -d_i.  p is the share of sign patterns whose |mean| reaches the
 * observed one: all 2^n of them for n <= MAX_EXACT, else N_RANDOM drawn ones with the +1 rule.
 */
#include "av/compare.h"
#include "align/stats.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_EXACT   14
#define N_RANDOM    9999
#define N_BOOTSTRAP 2000
#define ROUNDING    1e-12 /* two sums that differ by this share are the same */

/* A clip under its key; a run of equal keys is one side of a pair. */
typedef struct entry {
    const char *key;
    const lk_clip_result *clip;
} entry;

typedef struct side {
    int64_t n;
    entry *entry; /* sorted by key */
} side;

typedef struct pair {
    const entry *a, *b;
    int64_t n_a, n_b;
} pair;

/* ---- pairing --------------------------------------------------------------------------------- */

static const char *key_of(const lk_clip_result *clip)
{
    if (clip->pair)
        return clip->pair;
    const char *slash = strrchr(clip->clip, '/');
    return slash ? slash + 1 : clip->clip;
}

static int by_key(const void *x, const void *y)
{
    const entry *a = x, *b = y;
    const int order = strcmp(a->key, b->key);
    if (order != 0)
        return order;
    return (a->clip > b->clip) - (a->clip < b->clip); /* both lie in one array: input order */
}

static lk_status gather(const lk_result_list *list, const char *group, side *s, int64_t *failed)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW_ARRAY(&s->entry, list->n + 1));
    for (int64_t i = 0; i < list->n; i++) {
        const lk_clip_result *clip = &list->item[i];
        if (group && (!clip->group || strcmp(clip->group, group) != 0))
            continue;
        s->entry[s->n++] = (entry){key_of(clip), clip};
        *failed += clip->failed;
    }
    qsort(s->entry, (size_t)s->n, sizeof *s->entry, by_key);
    for (int64_t i = 1; i < s->n; i++) {
        const entry *x = &s->entry[i - 1], *y = &s->entry[i];
        LK_REQUIRE(strcmp(x->key, y->key) != 0 || (x->clip->pair && y->clip->pair), LK_E_FORMAT,
                   "'%s' and '%s' have the same file name; a manifest can give them pair keys",
                   x->clip->clip, y->clip->clip);
    }
done:
    return st;
}

static int64_t run_length(const side *s, int64_t from)
{
    int64_t n = 1;
    while (from + n < s->n && strcmp(s->entry[from].key, s->entry[from + n].key) == 0)
        n++;
    return n;
}

static lk_status match(const side *a, const side *b, pair *pairs, lk_comparison *c)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW_ARRAY(&c->only_a, a->n + 1));
    LK_TRY(LK_NEW_ARRAY(&c->only_b, b->n + 1));
    for (int64_t i = 0, k = 0; i < a->n || k < b->n;) {
        const int order = i == a->n ? 1 : k == b->n ? -1 : strcmp(a->entry[i].key, b->entry[k].key);
        const int64_t n_a = order <= 0 ? run_length(a, i) : 0;
        const int64_t n_b = order >= 0 ? run_length(b, k) : 0;
        if (order == 0) {
            pairs[c->n_pairs++] = (pair){&a->entry[i], &b->entry[k], n_a, n_b};
        } else if (order < 0) {
            LK_TRY(lk_strdup(a->entry[i].key, &c->only_a[c->n_only_a]));
            c->n_only_a++;
        } else {
            LK_TRY(lk_strdup(b->entry[k].key, &c->only_b[c->n_only_b]));
            c->n_only_b++;
        }
        i += n_a;
        k += n_b;
    }
done:
    return st;
}

/* ---- scores ---------------------------------------------------------------------------------- */

/* Whether a sign is part of the score, so that its size is worth a row of its own. */
static bool is_signed(const char *name)
{
    static const char *const endings[] = {"offset_ms", "drift_ppm", "change_ms"};
    const size_t n = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        const size_t m = strlen(endings[i]);
        if (n >= m && strcmp(name + n - m, endings[i]) == 0)
            return true;
    }
    return false;
}

static lk_status add_row(lk_comparison *c, size_t *room, const lk_result_score *s, bool absolute)
{
    lk_status st = LK_OK;
    LK_TRY(LK_GROW(&c->row, room, c->n_rows + 1));
    lk_comparison_row *row = &c->row[c->n_rows++];
    memset(row, 0, sizeof *row);
    row->absolute = absolute;
    LK_TRY(lk_strdup(s->name, &row->name));
    LK_TRY(lk_strdup(s->unit, &row->unit));
done:
    return st;
}

/* A row for every score name, in the order in which they first come up. */
static lk_status name_rows(const entry *e, int64_t n, lk_comparison *c, size_t *room)
{
    lk_status st = LK_OK;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < e[i].clip->n_scores; k++) {
            const lk_result_score *s = &e[i].clip->scores[k];
            bool known = false;
            for (int64_t r = 0; r < c->n_rows && !known; r++)
                known = strcmp(c->row[r].name, s->name) == 0;
            if (known)
                continue;
            LK_TRY(add_row(c, room, s, false));
            if (is_signed(s->name))
                LK_TRY(add_row(c, room, s, true));
        }
    }
done:
    return st;
}

/* Mean of one score over the clips of one side of a pair; NAN when none has it. */
static double value_of(const entry *e, int64_t n, const lk_comparison_row *row)
{
    double sum = 0;
    int64_t answered = 0;
    for (int64_t i = 0; i < n; i++) {
        const lk_result_score *s = lk_clip_result_score(e[i].clip, row->name);
        if (!s || !isfinite(s->value))
            continue;
        sum += row->absolute ? fabs(s->value) : s->value;
        answered++;
    }
    return answered > 0 ? sum / (double)answered : (double)NAN;
}

static double exchange_p(const double *d, int64_t n, uint64_t seed, uint64_t stream)
{
    const bool exact = n <= MAX_EXACT;
    const int64_t n_patterns = exact ? INT64_C(1) << n : N_RANDOM;
    const int64_t n_words = (n + 31) / 32;
    double observed = 0, scale = 0;
    int64_t reached = 0;
    for (int64_t i = 0; i < n; i++) {
        observed += d[i];
        scale += fabs(d[i]);
    }
    const double bar = fabs(observed) - ROUNDING * scale;
    for (int64_t r = 0; r < n_patterns; r++) {
        double sum = 0;
        uint32_t signs = (uint32_t)r; /* n <= MAX_EXACT: the pattern itself */
        for (int64_t i = 0; i < n; i++, signs >>= 1) {
            if (!exact && i % 32 == 0)
                signs = lk_rng_u32(seed, stream, (uint64_t)(r * n_words + i / 32));
            sum += signs & 1 ? -d[i] : d[i];
        }
        reached += fabs(sum) >= bar;
    }
    return exact ? (double)reached / (double)n_patterns
                 : (double)(1 + reached) / (double)(1 + n_patterns);
}

static lk_status fill_row(lk_comparison_row *row, const pair *pairs, int64_t n_pairs, double *d,
                          uint64_t seed, uint64_t stream)
{
    lk_status st = LK_OK;
    double sum_a = 0, sum_b = 0;
    for (int64_t i = 0; i < n_pairs; i++) {
        const double a = value_of(pairs[i].a, pairs[i].n_a, row);
        const double b = value_of(pairs[i].b, pairs[i].n_b, row);
        row->answered_a += isfinite(a);
        row->answered_b += isfinite(b);
        if (!isfinite(a) || !isfinite(b))
            continue;
        sum_a += a;
        sum_b += b;
        d[row->n++] = b - a;
    }
    row->mean_a = row->n > 0 ? sum_a / (double)row->n : (double)NAN;
    row->mean_b = row->n > 0 ? sum_b / (double)row->n : (double)NAN;
    row->difference = row->n > 0 ? lk_mean(d, row->n) : (double)NAN;
    row->p = row->n > 1 ? exchange_p(d, row->n, seed, stream) : (double)NAN;
    row->p_holm = (double)NAN;
    LK_TRY(lk_bootstrap_mean(d, row->n, N_BOOTSTRAP, seed, stream + 1, &row->lo, &row->hi));
done:
    return st;
}

/* Holm's step-down correction over the rows that have a p-value. */
static void correct_for_many(lk_comparison *c)
{
    int64_t left = 0;
    double floor_p = 0;
    for (int64_t r = 0; r < c->n_rows; r++)
        left += isfinite(c->row[r].p);
    for (; left > 0; left--) {
        lk_comparison_row *least = NULL;
        for (int64_t r = 0; r < c->n_rows; r++) {
            lk_comparison_row *row = &c->row[r];
            if (isfinite(row->p) && !isfinite(row->p_holm) && (!least || row->p < least->p))
                least = row;
        }
        floor_p = fmax(floor_p, fmin(1, least->p * (double)left));
        least->p_holm = floor_p;
    }
}

lk_status lk_compare(const lk_result_list *a, const char *group_a, const lk_result_list *b,
                     const char *group_b, uint64_t seed, lk_comparison *c)
{
    lk_status st = LK_OK;
    side s_a = {0}, s_b = {0};
    pair *pairs = NULL;
    double *d = NULL;
    size_t room = 0;
    memset(c, 0, sizeof *c);
    LK_TRY(gather(a, group_a, &s_a, &c->failed_a));
    LK_TRY(gather(b, group_b, &s_b, &c->failed_b));
    LK_TRY(LK_NEW_ARRAY(&pairs, s_a.n + 1));
    LK_TRY(LK_NEW_ARRAY(&d, s_a.n + 1));
    LK_TRY(match(&s_a, &s_b, pairs, c));
    LK_REQUIRE(c->n_pairs > 0, LK_E_EMPTY,
               "no clip of the one has a partner in the other (by pair key or file name)");
    for (int64_t i = 0; i < c->n_pairs; i++) {
        LK_TRY(name_rows(pairs[i].a, pairs[i].n_a, c, &room));
        LK_TRY(name_rows(pairs[i].b, pairs[i].n_b, c, &room));
    }
    for (int64_t r = 0; r < c->n_rows; r++)
        LK_TRY(fill_row(&c->row[r], pairs, c->n_pairs, d, seed, 2 * (uint64_t)r));
    correct_for_many(c);
done:
    lk_free(s_a.entry);
    lk_free(s_b.entry);
    lk_free(pairs);
    lk_free(d);
    return st;
}

static void clear_keys(char **key, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        lk_free(key[i]);
    lk_free(key);
}

void lk_comparison_clear(lk_comparison *c)
{
    for (int64_t r = 0; r < c->n_rows; r++) {
        lk_free(c->row[r].name);
        lk_free(c->row[r].unit);
    }
    lk_free(c->row);
    clear_keys(c->only_a, c->n_only_a);
    clear_keys(c->only_b, c->n_only_b);
    memset(c, 0, sizeof *c);
}
