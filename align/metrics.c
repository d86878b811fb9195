/* metrics.c - the list of metrics.  Adding one is adding a row. */
#include "align/metrics.h"

#include <string.h>

static const lk_metric *const metrics[] = {
    &lk_metric_event,    &lk_metric_beat,      &lk_metric_mouth,
    &lk_metric_av_align, &lk_metric_reference, NULL,
};

const lk_metric *const *lk_metrics(void)
{
    return metrics;
}

const lk_metric *lk_metric_find(const char *name)
{
    for (const lk_metric *const *m = metrics; *m; m++) {
        if (strcmp((*m)->name, name) == 0)
            return *m;
    }
    return NULL;
}
