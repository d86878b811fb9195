/* fuzz_weights.c - any bytes as a file of weights: NumPy's, PyTorch's, or a bare pickle. */
#include "av/import/pickle.h"
#include "av/import/weights.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile double seen; /* so that every number is read */

/* A failure comes with its sentence and is never the program's own fault. */
static void check(lk_status st)
{
    if (st != LK_OK && (lk_error_text()[0] == '\0' || st == LK_E_INTERNAL || st == LK_E_ARG))
        abort();
    lk_error_clear();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lk_weights w;
    lk_pickle p;
    lk_tensor t;
    size_t used;
    lk_log_set(NULL, NULL, -1);
    check(lk_weights_parse(&w, data, size, "fuzz"));
    for (size_t i = 0; i < w.n; i++) {
        const int64_t n = lk_shape_count(&w.at[i].shape);
        if (n > 1 << 16) /* gathering more is only slow */
            continue;
        const lk_status st = lk_weights_tensor(&w, i, &t);
        check(st);
        for (int64_t k = 0; st == LK_OK && k < n; k++)
            seen += lk_element(t.dtype, t.data, k);
    }
    lk_weights_close(&w);
    check(lk_pickle_read(&p, data, size, &used));
    lk_pickle_free(&p);
    return 0;
}
