/* pca.c - principal components by subspace iteration.
 *
 *   C = sum over rows of x x^T / m - mean mean^T                in double
 *   Q_0 random;  Q_(t+1) = orthonormal columns of C Q_t         s = k + SPARE columns
 *   Q^T C Q = W L W^T  (Jacobi rotations);  basis = (Q W)^T, variance = diag L
 *
 * The directions converge as (l_(s+1) / l_i)^t: the spare columns make the wanted ones quick.
 * The sign of a direction is chosen so that its largest number is positive.
 */
#include "kernels/pca.h"

#include "kernels/mem.h"
#include "kernels/rng.h"
#include "kernels/thread.h"

#include <math.h>
#include <string.h>

#define SPARE      8
#define ITERATIONS 60
#define SWEEPS     40
#define SEED       0x706361u

struct lk_pca {
    int64_t n, rows;
    double *sum;     /* [n] */
    double *product; /* [n, n], on and right of the diagonal */
};

lk_status lk_pca_new(lk_pca **out, int64_t n)
{
    lk_status st = LK_OK;
    lk_pca *p = NULL;
    *out = NULL;
    LK_REQUIRE(n >= 1 && n <= LK_PCA_MOST, LK_E_ARG,
               "principal components of 1 to %d numbers, not %lld", LK_PCA_MOST, (long long)n);
    LK_TRY(LK_NEW(&p));
    p->n = n;
    LK_TRY(LK_NEW_ARRAY(&p->sum, n));
    LK_TRY(LK_NEW_ARRAY(&p->product, n * n));
    *out = p;
    p = NULL;
done:
    lk_pca_free(&p);
    return st;
}

void lk_pca_free(lk_pca **p)
{
    if (!*p)
        return;
    lk_free((*p)->sum);
    lk_free((*p)->product);
    lk_free(*p);
    *p = NULL;
}

typedef struct adding {
    lk_pca *p;
    const float *x;
    int64_t rows;
} adding;

/* Rows [first, end) of the products. */
static void add_products(void *context, int64_t first, int64_t end)
{
    const adding *a = context;
    const int64_t n = a->p->n;
    for (int64_t i = first; i < end; i++) {
        double *c = a->p->product + i * n;
        for (int64_t r = 0; r < a->rows; r++) {
            const float *x = a->x + r * n;
            const double xi = x[i];
            for (int64_t j = i; j < n; j++)
                c[j] += xi * x[j];
        }
    }
}

lk_status lk_pca_add(lk_pca *p, int64_t n_rows, const float *x)
{
    lk_status st = LK_OK;
    for (int64_t i = 0; i < n_rows * p->n; i++)
        LK_REQUIRE(isfinite(x[i]), LK_E_NUMERIC, "principal components of NaN or Inf (vector %lld)",
                   (long long)(i / p->n));
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t i = 0; i < p->n; i++)
            p->sum[i] += x[r * p->n + i];
    lk_parallel_for(p->n, 8, add_products, &(adding){p, x, n_rows});
    p->rows += n_rows;
done:
    return st;
}

typedef struct multiplying {
    const double *c, *q;
    double *y;
    int64_t n, s;
} multiplying;

/* Rows [first, end) of C Q. */
static void multiply(void *context, int64_t first, int64_t end)
{
    const multiplying *m = context;
    for (int64_t i = first; i < end; i++) {
        double *y = m->y + i * m->s;
        memset(y, 0, (size_t)m->s * sizeof *y);
        for (int64_t j = 0; j < m->n; j++) {
            const double c = m->c[i * m->n + j], *q = m->q + j * m->s;
            for (int64_t k = 0; k < m->s; k++)
                y[k] += c * q[k];
        }
    }
}

static double dot_columns(const double *y, int64_t n, int64_t s, int64_t a, int64_t b)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += y[i * s + a] * y[i * s + b];
    return sum;
}

/* Columns of y [n, s] orthonormal, in place (Gram-Schmidt, each twice).  A column that the others
 * already span is drawn anew. */
static void orthonormalise(double *y, int64_t n, int64_t s)
{
    for (int64_t k = 0; k < s; k++) {
        double before = dot_columns(y, n, s, k, k), after = 0;
        for (int attempt = 0; attempt < 8; attempt++) {
            for (int pass = 0; pass < 2; pass++)
                for (int64_t l = 0; l < k; l++) {
                    const double d = dot_columns(y, n, s, l, k);
                    for (int64_t i = 0; i < n; i++)
                        y[i * s + k] -= d * y[i * s + l];
                }
            after = dot_columns(y, n, s, k, k);
            if (after > 1e-24 * before && after > 0)
                break;
            for (int64_t i = 0; i < n; i++)
                y[i * s + k] =
                    lk_rng_normal(SEED + 1 + (uint64_t)attempt, (uint64_t)k, (uint64_t)i);
            before = dot_columns(y, n, s, k, k);
        }
        for (int64_t i = 0; i < n; i++)
            y[i * s + k] /= sqrt(after);
    }
}

/* Rotate rows and columns a and b of the symmetric m [s, s], and columns a and b of w, so that
 * m[a, b] = 0. */
static void rotate(double *m, double *w, int64_t s, int64_t a, int64_t b)
{
    const double off = m[a * s + b], theta = (m[b * s + b] - m[a * s + a]) / (2 * off);
    const double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
    const double c = 1 / sqrt(t * t + 1), d = t * c;
    for (int64_t k = 0; k < s; k++) {
        const double x = m[k * s + a], y = m[k * s + b];
        m[k * s + a] = c * x - d * y;
        m[k * s + b] = d * x + c * y;
    }
    for (int64_t k = 0; k < s; k++) {
        const double x = m[a * s + k], y = m[b * s + k];
        m[a * s + k] = c * x - d * y;
        m[b * s + k] = d * x + c * y;
    }
    for (int64_t k = 0; k < s; k++) {
        const double x = w[k * s + a], y = w[k * s + b];
        w[k * s + a] = c * x - d * y;
        w[k * s + b] = d * x + c * y;
    }
}

/* m = w diag w^T; m keeps diag. */
static void diagonalise(double *m, double *w, int64_t s)
{
    double total = 0;
    for (int64_t i = 0; i < s; i++)
        for (int64_t j = 0; j < s; j++) {
            w[i * s + j] = i == j;
            total += m[i * s + j] * m[i * s + j];
        }
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        double off = 0;
        for (int64_t a = 0; a < s; a++)
            for (int64_t b = a + 1; b < s; b++) {
                off += m[a * s + b] * m[a * s + b];
                if (m[a * s + b] * m[a * s + b] > 1e-32 * total)
                    rotate(m, w, s, a, b);
            }
        if (off <= 1e-28 * total)
            break;
    }
}

static void write_direction(const double *q, const double *w, int64_t n, int64_t s, int64_t column,
                            float *out)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++) {
        double x = 0;
        for (int64_t j = 0; j < s; j++)
            x += q[i * s + j] * w[j * s + column];
        out[i] = (float)x;
        if (fabs(x) > fabs(largest))
            largest = x;
    }
    for (int64_t i = 0; largest < 0 && i < n; i++)
        out[i] = -out[i];
}

/* The whole of C [n, n]. */
static void covariance(const lk_pca *p, double *c)
{
    const double m = (double)p->rows;
    for (int64_t i = 0; i < p->n; i++)
        for (int64_t j = i; j < p->n; j++) {
            const double x = p->product[i * p->n + j] / m - p->sum[i] / m * (p->sum[j] / m);
            c[i * p->n + j] = c[j * p->n + i] = x;
        }
}

lk_status lk_pca_solve(const lk_pca *p, int64_t k, float *mean, float *basis, float *variance)
{
    lk_status st = LK_OK;
    const int64_t n = p->n, s = k + SPARE < n ? k + SPARE : n;
    double *c = NULL, *q = NULL, *y = NULL, *m = NULL, *w = NULL;
    LK_REQUIRE(k >= 1 && k <= n, LK_E_ARG, "1 to %lld principal components, not %lld", (long long)n,
               (long long)k);
    LK_REQUIRE(p->rows > 0, LK_E_EMPTY, "principal components of no vectors");
    LK_TRY(LK_NEW_ARRAY(&c, n * n));
    LK_TRY(LK_NEW_ARRAY(&q, n * s));
    LK_TRY(LK_NEW_ARRAY(&y, n * s));
    LK_TRY(LK_NEW_ARRAY(&m, s * s));
    LK_TRY(LK_NEW_ARRAY(&w, s * s));
    covariance(p, c);
    for (int64_t i = 0; i < n * s; i++)
        q[i] = lk_rng_normal(SEED, 0, (uint64_t)i);
    orthonormalise(q, n, s);
    for (int t = 0; t < ITERATIONS; t++) {
        lk_parallel_for(n, 16, multiply, &(multiplying){c, q, y, n, s});
        memcpy(q, y, (size_t)(n * s) * sizeof *q);
        orthonormalise(q, n, s);
    }
    lk_parallel_for(n, 16, multiply, &(multiplying){c, q, y, n, s});
    for (int64_t a = 0; a < s; a++)
        for (int64_t b = 0; b < s; b++) {
            double x = 0;
            for (int64_t i = 0; i < n; i++)
                x += q[i * s + a] * y[i * s + b];
            m[a * s + b] = x;
        }
    diagonalise(m, w, s);
    for (int64_t r = 0; r < k; r++) { /* the largest that is left */
        int64_t best = 0;
        for (int64_t i = 1; i < s; i++)
            best = m[i * s + i] > m[best * s + best] ? i : best;
        write_direction(q, w, n, s, best, basis + r * n);
        if (variance)
            variance[r] = (float)fmax(m[best * s + best], 0);
        m[best * s + best] = -HUGE_VAL;
    }
    for (int64_t i = 0; mean && i < n; i++)
        mean[i] = (float)(p->sum[i] / (double)p->rows);
done:
    lk_free(c);
    lk_free(q);
    lk_free(y);
    lk_free(m);
    lk_free(w);
    return st;
}
