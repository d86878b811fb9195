/* file.h - files that appear whole or not at all, the folders they go to, and writes with a fault
 * hook.
 *
 * A replaced file is written as "PATH.part", synced, renamed; its folder is synced too, so that a
 * power cut leaves the old file or the new one.
 *
 * Threads      safe for different files; the fault countdown is process-wide and meant for tests.
 */
#ifndef LK_FILE_H
#define LK_FILE_H

#include "kernels/status.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lk_replace {
    FILE *stream; /* write here, */
    int fd;       /* or here by lk_write_at; not both */
    char *path, *part;
} lk_replace;

LK_CHECKED lk_status lk_replace_open(lk_replace *file, const char *path);

/* Flush, sync, rename.  LK_E_IO (disk full, say) leaves an old file of that name as it was. */
LK_CHECKED lk_status lk_replace_commit(lk_replace *file);

/* After a commit: frees.  Otherwise also removes the partial file.  Accepts a failed open. */
void lk_replace_drop(lk_replace *file);

/* Make a folder and those above it; one that is there already is fine. */
LK_CHECKED lk_status lk_make_folders(const char *path);

/* All n bytes, at the descriptor's position or at a place; `path` is for the message. */
LK_CHECKED lk_status lk_write_all(int fd, const void *data, size_t n, const char *path);
LK_CHECKED lk_status lk_write_at(int fd, int64_t at, const void *data, size_t n, const char *path);

/* Make the n-th operation from now that changes a file fail as on a full disk (1 = the next one):
 * creating, writing, syncing, renaming; 0 switches the hook off. */
void lk_file_fail_after(int64_t n);

/* True once the hook has fired since the last lk_file_fail_after. */
int lk_file_fault_fired(void);

#ifdef __cplusplus
}
#endif

#endif /* LK_FILE_H */
