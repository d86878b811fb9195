/* dnn_none.c - dnn.h in a build without oneDNN; lk_cpu_has_onednn keeps callers away. */
#include "kernels/cpu/dnn.h"

lk_status lk_dnn_new_conv(lk_dnn **out, const lk_dnn_conv *c)
{
    (void)c;
    *out = NULL;
    return LK_FAIL(LK_E_UNSUPPORTED, "built without oneDNN");
}

size_t lk_dnn_pack_bytes(const lk_dnn *d)
{
    (void)d;
    return 0;
}

int lk_dnn_same_pack(const lk_dnn *d, const lk_dnn *e)
{
    (void)d;
    (void)e;
    return 0;
}

lk_status lk_dnn_pack(lk_dnn *d, const void *b, void *packed)
{
    (void)d;
    (void)b;
    (void)packed;
    return LK_FAIL(LK_E_UNSUPPORTED, "built without oneDNN");
}

size_t lk_dnn_work_bytes(const lk_dnn *d)
{
    (void)d;
    return 0;
}

lk_status lk_dnn_run(lk_dnn *d, const void *a, const void *b, const void *bias, void *y, void *work)
{
    (void)d;
    (void)a;
    (void)b;
    (void)bias;
    (void)y;
    (void)work;
    return LK_FAIL(LK_E_UNSUPPORTED, "built without oneDNN");
}

void lk_dnn_free(lk_dnn **d)
{
    (void)d;
}

const char *lk_dnn_version(void)
{
    return "";
}
