/* stats.h - intervals and chance levels, all driven by counter-based random numbers.
 *
 * Threads      pure functions.
 * Sources      percentile bootstrap: Efron & Tibshirani 1993, ch. 13; the Monte-Carlo p-value with
 *              the +1 rule: Davison & Hinkley 1997, eq. 4.11.
 */
#ifndef LK_STATS_H
#define LK_STATS_H

#include "kernels/status.h"

#include <stdint.h>

/* Median of v[0..n); reorders v.  NAN when n is 0. */
double lk_median(double *v, int64_t n);

/* Quantile q in [0, 1] with linear interpolation; reorders v.  NAN when n is 0. */
double lk_quantile(double *v, int64_t n, double q);

/* Weighted median: the value where half of the weight lies below; reorders both arrays together.
 * NAN when no weight is positive. */
double lk_weighted_median(double *v, double *weight, int64_t n);

double lk_mean(const double *v, int64_t n);

/* Statistic of a resample: index[0..n) picks items (with repetition) out of the caller's data. */
typedef double (*lk_statistic_fn)(const int64_t *index, int64_t n, void *user);

/* 95 % percentile bootstrap of a statistic over n items.  *lo = *hi = NAN when n < 3.  Resamples
 * whose statistic is NAN are left out. */
LK_CHECKED lk_status lk_bootstrap(int64_t n, int n_resamples, uint64_t seed, uint64_t stream,
                                  lk_statistic_fn statistic, void *user, double *lo, double *hi);

/* The same for the mean and the median of v. */
LK_CHECKED lk_status lk_bootstrap_mean(const double *v, int64_t n, int n_resamples, uint64_t seed,
                                       uint64_t stream, double *lo, double *hi);
LK_CHECKED lk_status lk_bootstrap_median(const double *v, int64_t n, int n_resamples, uint64_t seed,
                                         uint64_t stream, double *lo, double *hi);

/* (1 + number of null values >= observed) / (1 + n_null). */
double lk_null_p(double observed, const double *null, int64_t n_null);

/* The r-th circular shift out of n_shifts for a null model over a period: stratified, jittered and
 * never within `guard` of zero (all in the caller's unit; guard < period / 2). */
double lk_null_shift(uint64_t seed, uint64_t stream, int r, int n_shifts, double period,
                     double guard);

#endif /* LK_STATS_H */
