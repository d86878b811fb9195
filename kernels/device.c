/* device.c - see device.h. */
#include "kernels/device.h"

#include "kernels/cuda/cuda.h"

#include <string.h>

lk_status lk_backend_named(const char *name, const lk_backend **out)
{
    lk_status st = LK_OK;
    const int any = !name || strcmp(name, "auto") == 0;
    *out = lk_backend_cpu();
    LK_REQUIRE(any || strcmp(name, "cpu") == 0 || strcmp(name, "cuda") == 0, LK_E_ARG,
               "there is no device '%s'; give auto, cpu or cuda", name);
    if (any && lk_backend_cuda(out) != LK_OK) {
        lk_error_clear();
        *out = lk_backend_cpu();
    } else if (!any && strcmp(name, "cuda") == 0) {
        LK_TRY(lk_backend_cuda(out));
    }
done:
    return st;
}

const char *lk_backend_device(const lk_backend *backend)
{
    const lk_backend *cuda = NULL;
    backend = backend ? backend : lk_backend_cpu();
    if (strcmp(backend->name, "cuda") != 0)
        return backend->name;
    if (lk_backend_cuda(&cuda) != LK_OK)
        lk_error_clear();
    return backend == cuda ? lk_cuda_device() : backend->name;
}
