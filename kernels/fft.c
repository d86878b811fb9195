/* fft.c - see fft.h. */
#include "kernels/fft.h"

#include "kernels/mem.h"

#include <fftw3.h>
#include <pthread.h>

struct lk_fft {
    int n;
    float *time;
    fftwf_complex *bins;
    fftwf_plan forward, inverse;
};

/* FFTW's planner is one shared structure; only executing a plan is thread-safe. */
static pthread_mutex_t planner = PTHREAD_MUTEX_INITIALIZER;

lk_status lk_fft_create(lk_fft **fft, int n)
{
    lk_status st = LK_OK;
    lk_fft *f = NULL;
    *fft = NULL;
    LK_REQUIRE(n >= 2 && n <= 1 << 24 && n % 2 == 0, LK_E_ARG,
               "a transform needs an even size from 2 to 2^24, got %d", n);
    LK_TRY(LK_NEW(&f));
    f->n = n;
    LK_TRY(LK_NEW_ARRAY(&f->time, n));
    LK_TRY(lk_alloc_((size_t)n / 2 + 1, sizeof *f->bins, (void **)&f->bins));
    pthread_mutex_lock(&planner);
    f->forward = fftwf_plan_dft_r2c_1d(n, f->time, f->bins, FFTW_ESTIMATE | FFTW_PRESERVE_INPUT);
    f->inverse = fftwf_plan_dft_c2r_1d(n, f->bins, f->time, FFTW_ESTIMATE);
    pthread_mutex_unlock(&planner);
    LK_REQUIRE(f->forward && f->inverse, LK_E_INTERNAL, "FFTW made no plan for size %d", n);
    *fft = f;
    f = NULL;
done:
    lk_fft_free(&f);
    return st;
}

void lk_fft_free(lk_fft **fft)
{
    if (!fft || !*fft)
        return;
    pthread_mutex_lock(&planner);
    if ((*fft)->forward)
        fftwf_destroy_plan((*fft)->forward);
    if ((*fft)->inverse)
        fftwf_destroy_plan((*fft)->inverse);
    pthread_mutex_unlock(&planner);
    lk_free((*fft)->time);
    lk_free((*fft)->bins);
    lk_free(*fft);
    *fft = NULL;
}

int lk_fft_size(const lk_fft *fft)
{
    return fft->n;
}

float *lk_fft_time(lk_fft *fft)
{
    return fft->time;
}

float *lk_fft_bins(lk_fft *fft)
{
    return (float *)fft->bins;
}

void lk_fft_forward(lk_fft *fft)
{
    fftwf_execute(fft->forward);
}

void lk_fft_inverse(lk_fft *fft)
{
    fftwf_execute(fft->inverse);
    const float scale = 1.0f / (float)fft->n;
    for (int i = 0; i < fft->n; i++)
        fft->time[i] *= scale;
}
