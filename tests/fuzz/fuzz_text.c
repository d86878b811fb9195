/* fuzz_text.c - any bytes as a manifest and as a line of results. */
#include "av/manifest.h"
#include "av/result_json.h"

#include "kernels/mem.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A failure comes with its sentence and is never the program's own fault. */
static void check(lk_status st)
{
    if (st != LK_OK && (lk_error_text()[0] == '\0' || st == LK_E_INTERNAL))
        abort();
    lk_error_clear();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    lk_manifest m = {0};
    lk_clip_result r = {0}, again = {0};
    char *line = NULL, *same = NULL;
    lk_log_set(NULL, NULL, -1);
    check(lk_manifest_parse(text, size, "fuzz", "/nonexistent", &m));
    lk_manifest_clear(&m);
    const lk_status read = lk_result_from_json(text, size, &r);
    check(read);
    if (read == LK_OK) { /* what was read is written, and read again as the same */
        check(lk_result_to_json(&r, &line));
        check(lk_result_from_json(line, strlen(line), &again));
        check(lk_result_to_json(&again, &same));
        if (strcmp(line, same) != 0)
            abort();
    }
    lk_free(line);
    lk_free(same);
    lk_clip_result_clear(&r);
    lk_clip_result_clear(&again);
    return 0;
}
