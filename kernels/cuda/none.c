/* none.c - builds without CUDA. */
#include "kernels/cuda/cuda.h"

#define WHY                                                                                        \
    "this build has no CUDA (install the CUDA toolkit so that nvcc is found, build again); use "   \
    "the CPU"

lk_status lk_backend_cuda(const lk_backend **out)
{
    *out = NULL;
    return LK_FAIL(LK_E_ENV, WHY);
}

const char *lk_cuda_device(void)
{
    return "cuda";
}

void lk_cuda_describe(void (*line)(void *user, const char *text), void *user)
{
    line(user, WHY);
}

void lk_cuda_use_libraries(int use)
{
    (void)use;
}
