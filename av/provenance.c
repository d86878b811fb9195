/* provenance.c - see provenance.h. */
#include "av/provenance.h"
#include "av/json.h"
#include "av/version.h"

#include "kernels/hash.h"
#include "kernels/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool has_truth(const lk_manifest_row *row)
{
    return row->track || row->has_face || row->onsets.n + row->beats.n + row->downbeats.n > 0;
}

static void hash_times(lk_hash64 *h, const lk_times *t)
{
    lk_hash64_add(h, &t->n, sizeof t->n);
    if (t->n > 0)
        lk_hash64_add(h, t->at, (size_t)t->n * sizeof *t->at);
}

static lk_status set_truth(json_t *root, const lk_manifest_row *row)
{
    char text[24];
    lk_hash64 h;
    lk_hash64_start(&h);
    hash_times(&h, &row->onsets);
    hash_times(&h, &row->beats);
    hash_times(&h, &row->downbeats);
    if (row->has_face)
        lk_hash64_add(&h, &row->face, sizeof row->face);
    if (row->track)
        lk_hash64_add(&h, row->track, strlen(row->track));
    snprintf(text, sizeof text, "%016llx", (unsigned long long)lk_hash64_value(&h));
    return lk_json_set(root, "truth", json_string(text));
}

lk_status lk_provenance_make(const char *const *metrics, size_t n_metrics, uint64_t seed,
                             const lk_manifest_row *row, char **out)
{
    lk_status st = LK_OK;
    char *text = NULL;
    json_t *root = json_object(), *list = json_array();
    for (size_t i = 0; i < n_metrics; i++)
        json_array_append_new(list, lk_json_text(metrics[i]));
    for (const lk_metric *const *m = lk_metrics(); n_metrics == 0 && *m; m++) {
        if ((*m)->by_default)
            json_array_append_new(list, json_string((*m)->name));
    }
    LK_TRY(lk_json_set(root, "lockstep", json_string(LK_VERSION)));
    LK_TRY(lk_json_set(root, "commit", json_string(lk_build_commit())));
    LK_TRY(lk_json_set(root, "seed", json_integer((json_int_t)seed)));
    LK_TRY(lk_json_set(root, "metrics", json_incref(list)));
    if (has_truth(row))
        LK_TRY(set_truth(root, row));
    text = json_dumps(root, 0);
    LK_REQUIRE(text, LK_E_MEMORY, "out of memory");
    LK_TRY(lk_strdup(text, out));
done:
    free(text);
    json_decref(list);
    json_decref(root);
    return st;
}
