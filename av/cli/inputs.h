/* inputs.h - operands to clips: files as they are, folders as the media files inside, sorted. */
#ifndef LK_INPUTS_H
#define LK_INPUTS_H

#include "av/manifest.h"

/* A folder is searched through its subfolders for names with a usual media ending.  A file that
 * does not exist is kept: it gets its row, which says so. */
LK_CHECKED lk_status lk_inputs_add(lk_manifest *clips, const char *path);

#endif /* LK_INPUTS_H */
