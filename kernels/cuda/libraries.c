/* libraries.c - see libraries.h. */
#include "kernels/cuda/libraries.h"

#include <dlfcn.h>
#include <stdio.h>

static int unwanted;

void lk_cuda_use_libraries(int use)
{
    unwanted = !use;
}

int lk_cuda_libraries_wanted(void)
{
    return !unwanted;
}

void *lk_cuda_open_library(const char *name)
{
    char path[1024];
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library)
        return library;
    snprintf(path, sizeof path, "%s/%s", LK_CUDA_LIBRARY_DIR, name);
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}
