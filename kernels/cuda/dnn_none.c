/* dnn_none.c - builds without cuDNN's headers: convolutions by conv.cu. */
#include "kernels/cuda/libraries.h"

const char *lk_cuda_dnn_text(void)
{
    return "built without cuDNN: convolutions use our own, slower kernels";
}

lk_status lk_cuda_dnn_symbols(void)
{
    return LK_FAIL(LK_E_ENV, "this build has no cuDNN");
}

lk_status lk_cuda_dnn_try(const lk_call *c)
{
    (void)c;
    return LK_FAIL(LK_E_ENV, "this build has no cuDNN");
}
