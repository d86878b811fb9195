/* bench_tokenizers.h - how fast sound and pictures go through the tokenizers and back, as streams.
 */
#ifndef LK_BENCH_TOKENIZERS_H
#define LK_BENCH_TOKENIZERS_H

#include "kernels/graph.h"

#include <stdbool.h>

typedef struct lk_tokenizer_bench {
    const char *codec, *vae;   /* weights; NULL: untrained ones of every shipped shape, as fast */
    const lk_backend *backend; /* NULL: the CPU's */
    const char *filter;        /* only those whose name contains this; NULL: all */
    int width, height;         /* of the pictures */
    int seconds;               /* of sound; a tenth of as many frames a second of pictures */
    int runs;                  /* medians are over these */
    bool json;
} lk_tokenizer_bench;

/* Prints a row for each tokenizer and element type. */
LK_CHECKED lk_status lk_bench_tokenizers(const lk_tokenizer_bench *b);

#endif /* LK_BENCH_TOKENIZERS_H */
