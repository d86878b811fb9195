/* version.h - what a result needs to be reproduced: release and source commit. */
#ifndef LK_VERSION_H
#define LK_VERSION_H

#define LK_VERSION "0.1.0"

/* Commit the binary was built from, with "-dirty" when the tree had changes; "unknown" outside
 * git. */
const char *lk_build_commit(void);

#endif /* LK_VERSION_H */
