/* fuzz_safetensors.c - any bytes as a safetensors file. */
#include "kernels/mem.h"
#include "kernels/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A failure comes with its sentence and is never the program's own fault. */
static lk_status check(lk_status st)
{
    if (st != LK_OK && (lk_error_text()[0] == '\0' || st == LK_E_INTERNAL))
        abort();
    lk_error_clear();
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lk_safetensors *f = NULL;
    char path[64];
    const int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (check(lk_safetensors_open(&f, path)) == LK_OK) {
        int64_t total = 0;
        for (int i = 0; i < lk_safetensors_n(f); i++) {
            const lk_safetensor *t = lk_safetensors_at(f, i);
            const int64_t n = lk_shape_count(&t->shape);
            double *numbers = NULL;
            total += n * (int64_t)lk_dtype_bytes(t->dtype);
            if (lk_safetensors_find(f, t->name) != i || total > (int64_t)size)
                abort();
            if (check(LK_NEW_ARRAY(&numbers, n)) == LK_OK)
                check(lk_safetensors_read(f, i, LK_F64, numbers));
            lk_free(numbers);
        }
        check(lk_safetensors_verify(f));
    }
    lk_safetensors_free(&f);
    close(fd);
    return 0;
}
