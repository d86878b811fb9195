/* replace.h - a file that appears whole or not at all: written as "PATH.part", synced, renamed; and
 * the folders it goes to. */
#ifndef LK_REPLACE_H
#define LK_REPLACE_H

#include "kernels/status.h"

#include <stdbool.h>
#include <stdio.h>

typedef struct lk_replace {
    FILE *stream; /* write here */
    char *path, *part;
} lk_replace;

LK_CHECKED lk_status lk_replace_open(lk_replace *file, const char *path);

/* Flush, sync, rename.  LK_E_IO (disk full, say) leaves an old file of that name as it was. */
LK_CHECKED lk_status lk_replace_commit(lk_replace *file);

/* After a commit: nothing.  Otherwise removes the partial file.  Accepts a failed open. */
void lk_replace_drop(lk_replace *file);

/* Make a folder and those above it; one that is there already is fine. */
LK_CHECKED lk_status lk_make_folders(const char *path);

#endif /* LK_REPLACE_H */
