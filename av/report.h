/* report.h - results as static HTML that opens from disk.
 *
 *     lk_report *r = NULL;
 *     LK_TRY(lk_report_open(&r, "out", "My clips"));
 *     LK_TRY(lk_report_clip(r, &result));    // for every clip
 *     LK_TRY(lk_report_finish(r));
 *     lk_report_free(&r);
 *
 * DIR/index.html holds the summary, DIR/clips/NNNNNN.html a page for each clip, with its playable
 * copy and pictures beside it.  No network, no outside script; every text of the outside (file
 * names, errors) is escaped.  A clip whose file is gone or broken still gets its page.
 *
 * Memory       flat: pages are written as clips come, a few hundred bytes of each are kept.
 * Errors       LK_E_IO when the folder cannot be written.  Every file appears whole or not at all.
 * Threads      one report per thread at a time.
 */
#ifndef LK_REPORT_H
#define LK_REPORT_H

#include "av/result.h"

typedef struct lk_report lk_report;

/* Makes the folder when it is missing. */
LK_CHECKED lk_status lk_report_open(lk_report **report, const char *dir, const char *title);

LK_CHECKED lk_status lk_report_clip(lk_report *report, const lk_clip_result *result);

/* Writes index.html; zero clips are fine. */
LK_CHECKED lk_status lk_report_finish(lk_report *report);

void lk_report_free(lk_report **report); /* accepts NULL */

/* The whole of it from a results file and, when h5 is not NULL, the curves beside it.  progress
 * may be NULL. */
LK_CHECKED lk_status lk_report_from_files(const char *dir, const char *title, const char *rows,
                                          const char *h5,
                                          void (*progress)(void *user, double done, double total),
                                          void *user);

#endif /* LK_REPORT_H */
