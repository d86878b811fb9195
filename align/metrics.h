/* metrics.h - the metric structs, each defined at the end of its own file. */
#ifndef LK_METRICS_H
#define LK_METRICS_H

#include "align/align.h"

extern const lk_metric lk_metric_event;     /* event.c */
extern const lk_metric lk_metric_beat;      /* beat.c */
extern const lk_metric lk_metric_mouth;     /* mouth.c */
extern const lk_metric lk_metric_av_align;  /* av_align.c */
extern const lk_metric lk_metric_reference; /* reference.c */

#endif /* LK_METRICS_H */
