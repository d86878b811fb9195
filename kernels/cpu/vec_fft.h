/* vec_fft.h - Fourier transforms of LK_LANES signals at once, one a lane.
 *
 * A complex transform of size m by the self-sorting scheme of Stockham: with the factors p of m in
 * turn, l = m at first and s = 1,
 *
 *     y[j + s (p i + r)] = e^(-2 pi i_ i r / l) sum_q x[j + s (i + l / p q)] e^(-2 pi i_ q r / p)
 *
 * for i < l / p, j < s, r < p; then l /= p, s *= p.  Twiddle factors stand in the order of use.
 * Having a signal a lane, no number ever changes lanes, and any size is as regular as a power of
 * two: factors 4 and 2 have butterflies of their own, others take the sum as it stands.
 *
 * Element e of a signal: real part at vector 2 e, imaginary part at vector 2 e + 1.
 */
#ifndef LK_CPU_VEC_FFT_H
#define LK_CPU_VEC_FFT_H

#include "kernels/cpu/vec_lanes.h"

#include "kernels/mem.h"

#define LK_FFT_STAGES 40

typedef struct lk_fft_plan {
    int64_t n, m; /* real size, complex size n / 2 */
    int n_stages;
    int64_t radix[LK_FFT_STAGES];
    float *twiddle[LK_FFT_STAGES]; /* [l / p, p - 1] complex, then [p] complex: the p-th roots */
    float *split;                  /* [m + 1] complex: e^(-2 pi i k / n) */
    float *memory;
} lk_fft_plan;

static inline float *lk_fft_root(float *to, int64_t num, int64_t den)
{
    const double angle = -2 * M_PI * (double)(num % den) / (double)den;
    to[0] = (float)cos(angle);
    to[1] = (float)sin(angle);
    return to + 2;
}

static inline lk_status lk_fft_plan_new(lk_fft_plan *f, int64_t n)
{
    lk_status st = LK_OK;
    int64_t left = n / 2, total = n + 2;
    float *at;
    *f = (lk_fft_plan){.n = n, .m = n / 2};
    while (left > 1) {
        int64_t p = left % 4 == 0 ? 4 : 2;
        while (left % p)
            p += p == 2 ? 1 : 2;
        f->radix[f->n_stages++] = p;
        total += 2 * (left / p * (p - 1) + p);
        left /= p;
    }
    LK_TRY(LK_NEW_ARRAY(&f->memory, total));
    at = f->split = f->memory;
    for (int64_t k = 0; k <= f->m; k++)
        at = lk_fft_root(at, k, n);
    left = f->m;
    for (int i = 0; i < f->n_stages; i++) {
        const int64_t p = f->radix[i];
        f->twiddle[i] = at;
        for (int64_t j = 0; j < left / p; j++)
            for (int64_t r = 1; r < p; r++)
                at = lk_fft_root(at, j * r, left);
        for (int64_t r = 0; r < p; r++)
            at = lk_fft_root(at, r, p);
        left /= p;
    }
done:
    return st;
}

#define LK_V(x, e) ((x) + (e)*2 * LK_LANES)

typedef struct lk_cvec {
    lk_lanes re, im;
} lk_cvec;

static inline void lk_cload(lk_cvec *c, const float *p)
{
    lk_lanes_load(&c->re, p);
    lk_lanes_load(&c->im, p + LK_LANES);
}
static inline void lk_cstore(float *p, const lk_cvec *c)
{
    lk_lanes_store(p, &c->re);
    lk_lanes_store(p + LK_LANES, &c->im);
}
/* c times the number w. */
static inline void lk_cturn(float *p, const lk_cvec *c, const float *w)
{
    const lk_cvec t = {c->re * w[0] - c->im * w[1], c->re * w[1] + c->im * w[0]};
    lk_cstore(p, &t);
}

static inline void lk_fft_two(const float *x, float *y, int64_t l, int64_t s, const float *w)
{
    for (int64_t i = 0; i < l / 2; i++)
        for (int64_t j = 0; j < s; j++) {
            lk_cvec a, b, t;
            lk_cload(&a, LK_V(x, j + s * i));
            lk_cload(&b, LK_V(x, j + s * (i + l / 2)));
            t = (lk_cvec){a.re + b.re, a.im + b.im};
            lk_cstore(LK_V(y, j + s * 2 * i), &t);
            t = (lk_cvec){a.re - b.re, a.im - b.im};
            lk_cturn(LK_V(y, j + s * (2 * i + 1)), &t, w + 2 * i);
        }
}

static inline void lk_fft_four(const float *x, float *y, int64_t l, int64_t s, const float *w)
{
    for (int64_t i = 0; i < l / 4; i++)
        for (int64_t j = 0; j < s; j++) {
            lk_cvec a, b, c, d, t;
            lk_cload(&a, LK_V(x, j + s * i));
            lk_cload(&b, LK_V(x, j + s * (i + l / 4)));
            lk_cload(&c, LK_V(x, j + s * (i + l / 2)));
            lk_cload(&d, LK_V(x, j + s * (i + 3 * l / 4)));
            {
                const lk_cvec ac = {a.re + c.re, a.im + c.im}, am = {a.re - c.re, a.im - c.im};
                const lk_cvec bd = {b.re + d.re, b.im + d.im}, bm = {b.re - d.re, b.im - d.im};
                t = (lk_cvec){ac.re + bd.re, ac.im + bd.im};
                lk_cstore(LK_V(y, j + s * 4 * i), &t);
                t = (lk_cvec){am.re + bm.im, am.im - bm.re};
                lk_cturn(LK_V(y, j + s * (4 * i + 1)), &t, w + 6 * i);
                t = (lk_cvec){ac.re - bd.re, ac.im - bd.im};
                lk_cturn(LK_V(y, j + s * (4 * i + 2)), &t, w + 6 * i + 2);
                t = (lk_cvec){am.re - bm.im, am.im + bm.re};
                lk_cturn(LK_V(y, j + s * (4 * i + 3)), &t, w + 6 * i + 4);
            }
        }
}

static inline void lk_fft_any(const float *x, float *y, int64_t l, int64_t s, int64_t p,
                              const float *w)
{
    const float *root = w + 2 * (l / p) * (p - 1);
    for (int64_t i = 0; i < l / p; i++)
        for (int64_t r = 0; r < p; r++)
            for (int64_t j = 0; j < s; j++) {
                lk_cvec sum = {{0}, {0}}, a;
                for (int64_t q = 0; q < p; q++) {
                    const float *z = root + 2 * (q * r % p);
                    lk_cload(&a, LK_V(x, j + s * (i + l / p * q)));
                    sum.re += a.re * z[0] - a.im * z[1];
                    sum.im += a.re * z[1] + a.im * z[0];
                }
                lk_cturn(LK_V(y, j + s * (p * i + r)), &sum,
                         r ? w + 2 * (i * (p - 1) + r - 1) : root);
            }
}

/* The transform of a, in a or b: whichever is returned; both [m, 2, LK_LANES]. */
static inline float *lk_fft_run(const lk_fft_plan *f, float *a, float *b)
{
    int64_t l = f->m, s = 1;
    for (int k = 0; k < f->n_stages; k++) {
        const int64_t p = f->radix[k];
        float *t = a;
        if (p == 4)
            lk_fft_four(a, b, l, s, f->twiddle[k]);
        else if (p == 2)
            lk_fft_two(a, b, l, s, f->twiddle[k]);
        else
            lk_fft_any(a, b, l, s, p, f->twiddle[k]);
        a = b;
        b = t;
        l /= p;
        s *= p;
    }
    return a;
}

/* From z = FFT(x[2 j] + i x[2 j + 1]) to bins k = 0 .. m of the real x, each times `inner`, the
 * first and the last times `ends`:
 *   X[k] = (Z[k] + conj Z[m - k]) / 2 - i / 2 e^(-2 pi i k / n) (Z[k] - conj Z[m - k]) */
static inline void lk_fft_to_bins(const lk_fft_plan *f, const float *z, float *bins, float ends,
                                  float inner)
{
    for (int64_t k = 0; k <= f->m; k++) {
        const float scale = 0.5f * (k == 0 || k == f->m ? ends : inner);
        const float wr = f->split[2 * k] * scale, wi = f->split[2 * k + 1] * scale;
        lk_cvec a, b, t;
        lk_cload(&a, LK_V(z, k % f->m));
        lk_cload(&b, LK_V(z, (f->m - k) % f->m));
        {
            const lk_lanes dr = a.re - b.re, si = a.im + b.im;
            t.re = (a.re + b.re) * scale + (si * wr + dr * wi);
            t.im = (a.im - b.im) * scale + (si * wi - dr * wr);
        }
        lk_cstore(LK_V(bins, k), &t);
    }
}

/* The reverse without its 1 / n, real and imaginary parts exchanged, which turns the transform that
 * follows round; the imaginary parts of the first and last bin do not count:
 *   Z[k] = X[k] + conj X[m - k] + i e^(2 pi i k / n) (X[k] - conj X[m - k]) */
static inline void lk_fft_from_bins(const lk_fft_plan *f, const float *bins, float *z, float ends,
                                    float inner)
{
    for (int64_t k = 0; k < f->m; k++) {
        const float scale = k == 0 ? ends : inner;
        const float wr = f->split[2 * k] * scale, wi = f->split[2 * k + 1] * scale;
        lk_cvec a, b, t;
        lk_cload(&a, LK_V(bins, k));
        lk_cload(&b, LK_V(bins, f->m - k));
        if (k == 0)
            a.im = b.im = a.re - a.re;
        {
            const lk_lanes dr = a.re - b.re, si = a.im + b.im;
            t.im = (a.re + b.re) * scale + (dr * wi - si * wr);
            t.re = (a.im - b.im) * scale + (dr * wr + si * wi);
        }
        lk_cstore(LK_V(z, k), &t);
    }
}

#endif /* LK_CPU_VEC_FFT_H */
