/* progress.h - a bar with remaining time on stderr, only when stderr is a terminal.
 *
 * Threads      one bar per thread at a time; the bar redraws at most ten times a second.
 */
#ifndef LK_PROGRESS_H
#define LK_PROGRESS_H

#include <stdint.h>

typedef struct lk_progress {
    char label[64];
    double total, done;
    int64_t started_ns, drawn_ns;
    int on; /* 0 when stderr is not a terminal */
} lk_progress;

void lk_progress_start(lk_progress *p, const char *label, double total);
void lk_progress_set(lk_progress *p, double done);
void lk_progress_label(lk_progress *p, const char *label);
void lk_progress_end(lk_progress *p); /* wipes the bar */

#endif /* LK_PROGRESS_H */
