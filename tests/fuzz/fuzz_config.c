/* fuzz_config.c - any bytes as a YAML configuration and, up to the first line's end, as an
 * override. */
#include "av/config.h"

#include "kernels/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct model {
    int depth;
    double rate;
    bool clean;
    const char *mode, *note;
} model;

static const lk_option rows[] = {LK_OPT_INT(model, depth, 4, 1, 64, "layers"),
                                 LK_OPT_DOUBLE(model, rate, 1e-3, 0, 1, "learning rate"),
                                 LK_OPT_BOOL(model, clean, true, "mask the edges"),
                                 LK_OPT_CHOICE(model, mode, "fast", "fast|exact", "which way"),
                                 LK_OPT_TEXT(model, note, NULL, "anything"),
                                 LK_OPT_END};

/* A failure comes with its sentence and is never the program's own fault. */
static bool good(lk_status st)
{
    if (st != LK_OK && (lk_error_text()[0] == '\0' || st == LK_E_INTERNAL))
        abort();
    lk_error_clear();
    return st == LK_OK;
}

/* Ask for what the seeds hold. */
static void ask(lk_config *c)
{
    model m;
    const double *x = NULL;
    const char *const *t = NULL;
    int64_t n = 0;
    (void)good(lk_config_options(c, "model", rows, &m));
    (void)good(lk_config_options(c, "", rows, &m));
    if (good(lk_config_numbers(c, "grid.lr", 0, 1, NULL, 0, &x, &n)))
        for (int64_t i = 0; i < n; i++)
            if (!(x[i] >= 0 && x[i] <= 1))
                abort();
    if (good(lk_config_texts(c, "names", NULL, 0, &t, &n)))
        for (int64_t i = 0; i < n; i++)
            n += strlen(t[i]) == SIZE_MAX;
    for (int64_t i = 0; i < lk_config_count(c, "grid"); i++)
        if (lk_config_key(c, "grid", i) && lk_config_count(c, lk_config_key(c, "grid", i)) < -1)
            abort();
    (void)good(lk_config_check(c));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lk_config *c = NULL, *again = NULL;
    char *first = NULL, *second = NULL, line[200];
    const char *text = (const char *)data;
    lk_log_set(NULL, NULL, -1);
    const char *end = size > 0 ? memchr(text, '\n', size) : NULL;
    const size_t n_line = end ? (size_t)(end - text) : size;
    if (good(lk_config_parse(&c, text, size, "fuzz"))) {
        if (n_line < sizeof line) {
            memcpy(line, text, n_line);
            line[n_line] = '\0';
            (void)good(lk_config_override(c, line));
        }
        ask(c);
        /* What is written is read again as the same. */
        if (!good(lk_config_to_yaml(c, &first)) ||
            !good(lk_config_parse(&again, first, strlen(first), "again")) ||
            !good(lk_config_to_yaml(again, &second)) || strcmp(first, second) != 0)
            abort();
    }
    lk_free(first);
    lk_free(second);
    lk_config_free(&c);
    lk_config_free(&again);
    return 0;
}
