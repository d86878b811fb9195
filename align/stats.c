/* stats.c - see stats.h. */
#include "align/stats.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

#include <math.h>
#include <stdlib.h>

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double lk_quantile(double *v, int64_t n, double q)
{
    if (n <= 0)
        return NAN;
    qsort(v, (size_t)n, sizeof *v, ascending);
    const double at = q * (double)(n - 1);
    const int64_t i = (int64_t)floor(at);
    if (i >= n - 1)
        return v[n - 1];
    return v[i] + (at - (double)i) * (v[i + 1] - v[i]);
}

double lk_median(double *v, int64_t n)
{
    return lk_quantile(v, n, 0.5);
}

static void sift_pairs(double *v, double *w, int64_t root, int64_t n)
{
    for (int64_t child = 2 * root + 1; child < n; child = 2 * root + 1) {
        if (child + 1 < n && v[child + 1] > v[child])
            child++;
        if (v[root] >= v[child])
            return;
        const double tv = v[root], tw = w[root];
        v[root] = v[child];
        w[root] = w[child];
        v[child] = tv;
        w[child] = tw;
        root = child;
    }
}

static void sort_pairs(double *v, double *w, int64_t n)
{
    for (int64_t i = n / 2 - 1; i >= 0; i--)
        sift_pairs(v, w, i, n);
    for (int64_t end = n - 1; end > 0; end--) {
        const double tv = v[0], tw = w[0];
        v[0] = v[end];
        w[0] = w[end];
        v[end] = tv;
        w[end] = tw;
        sift_pairs(v, w, 0, end);
    }
}

double lk_weighted_median(double *v, double *weight, int64_t n)
{
    double total = 0, below = 0;
    sort_pairs(v, weight, n);
    for (int64_t i = 0; i < n; i++)
        total += weight[i] > 0 ? weight[i] : 0;
    if (!(total > 0))
        return NAN;
    for (int64_t i = 0; i < n; i++) {
        const double w = weight[i] > 0 ? weight[i] : 0;
        if (below + w > total / 2)
            return v[i];
        if (below + w == total / 2) {
            int64_t j = i + 1;
            while (j < n - 1 && !(weight[j] > 0))
                j++;
            return j < n ? 0.5 * (v[i] + v[j]) : v[i];
        }
        below += w;
    }
    return v[n - 1];
}

double lk_mean(const double *v, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += v[i];
    return n > 0 ? sum / (double)n : NAN;
}

lk_status lk_bootstrap(int64_t n, int n_resamples, uint64_t seed, uint64_t stream,
                       lk_statistic_fn statistic, void *user, double *lo, double *hi)
{
    lk_status st = LK_OK;
    int64_t *index = NULL;
    double *values = NULL;
    *lo = *hi = NAN;
    if (n < 3)
        return LK_OK;
    LK_TRY(LK_NEW_ARRAY(&index, n));
    LK_TRY(LK_NEW_ARRAY(&values, n_resamples));
    int64_t kept = 0;
    for (int r = 0; r < n_resamples; r++) {
        for (int64_t i = 0; i < n; i++)
            index[i] = lk_rng_below(seed, stream, (uint64_t)(r * n + i), (uint32_t)n);
        const double value = statistic(index, n, user);
        if (!isnan(value))
            values[kept++] = value;
    }
    *lo = lk_quantile(values, kept, 0.025);
    *hi = lk_quantile(values, kept, 0.975);
done:
    lk_free(index);
    lk_free(values);
    return st;
}

typedef struct resample {
    const double *v;
    double *scratch;
} resample;

static double resampled_mean(const int64_t *index, int64_t n, void *user)
{
    const resample *r = user;
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += r->v[index[i]];
    return sum / (double)n;
}

static double resampled_median(const int64_t *index, int64_t n, void *user)
{
    const resample *r = user;
    for (int64_t i = 0; i < n; i++)
        r->scratch[i] = r->v[index[i]];
    return lk_median(r->scratch, n);
}

lk_status lk_bootstrap_mean(const double *v, int64_t n, int n_resamples, uint64_t seed,
                            uint64_t stream, double *lo, double *hi)
{
    resample r = {v, NULL};
    return lk_bootstrap(n, n_resamples, seed, stream, resampled_mean, &r, lo, hi);
}

lk_status lk_bootstrap_median(const double *v, int64_t n, int n_resamples, uint64_t seed,
                              uint64_t stream, double *lo, double *hi)
{
    lk_status st = LK_OK;
    resample r = {v, NULL};
    LK_TRY(LK_NEW_ARRAY(&r.scratch, n > 0 ? n : 1));
    LK_TRY(lk_bootstrap(n, n_resamples, seed, stream, resampled_median, &r, lo, hi));
done:
    lk_free(r.scratch);
    return st;
}

double lk_null_p(double observed, const double *null, int64_t n_null)
{
    int64_t as_good = 0;
    for (int64_t i = 0; i < n_null; i++)
        as_good += null[i] >= observed;
    return (double)(1 + as_good) / (double)(1 + n_null);
}

double lk_null_shift(uint64_t seed, uint64_t stream, int r, int n_shifts, double period,
                     double guard)
{
    const double jitter = lk_rng_range(seed, stream, (uint64_t)r, 0, 1);
    return guard + (period - 2 * guard) * ((double)r + jitter) / (double)n_shifts;
}
