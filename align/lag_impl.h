/* lag_impl.h - shared by lag.c and lag_null.c: the two trains and their coincidence over lag. */
#ifndef LK_LAG_IMPL_H
#define LK_LAG_IMPL_H

#include "align/lag.h"

#define BIN_MS 1.0

typedef struct lk_lag_trains {
    const lk_pulse *sound, *picture;
    const lk_hit *hits;
    int64_t n_sound, n_picture, n_hits;
    double start_s, length_s;
    int64_t n_lags; /* odd; the middle is lag 0 */
    int n_kernel;   /* half width of the kernel in bins */
    float *kernel;
} lk_lag_trains;

/* Adds one onset's pair differences to the histogram [n_lags], each split over two bins. */
void lk_lag_add_pairs(const lk_lag_trains *t, double onset_s, double weight, float *histogram);

/* Histogram to coincidence curve, both [n_lags]. */
void lk_lag_smooth(const lk_lag_trains *t, const float *histogram, float *curve);

/* Index of the largest of v[0 .. n). */
int64_t lk_lag_largest(const float *v, int64_t n);

/* Fill result->p and result->chance for an observed maximum. */
LK_CHECKED lk_status lk_lag_chance(const lk_lag_trains *t, const lk_lag_options *o, double observed,
                                   lk_lag_result *result);

#endif /* LK_LAG_IMPL_H */
