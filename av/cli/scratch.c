/* scratch.c - see scratch.h. */
#include "av/cli/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

lk_status lk_scratch_make(lk_scratch *x)
{
    lk_status st = LK_OK;
    const char *under = getenv("TMPDIR");
    under = under && *under ? under : "/tmp";
    const int n = snprintf(x->folder, sizeof x->folder, "%s/lockstep-XXXXXX", under);
    const bool made = n < (int)sizeof x->folder && mkdtemp(x->folder);
    if (!made)
        x->folder[0] = '\0';
    LK_REQUIRE(made, LK_E_ENV, "cannot make a folder under '%.150s': %s", under,
               n < (int)sizeof x->folder ? strerror(errno) : "the name is too long");
done:
    return st;
}

void lk_scratch_remove(lk_scratch *x)
{
    DIR *folder = x->folder[0] ? opendir(x->folder) : NULL;
    for (const struct dirent *e; folder && (e = readdir(folder)) != NULL;)
        (void)unlinkat(dirfd(folder), e->d_name, 0);
    if (folder) {
        closedir(folder);
        rmdir(x->folder);
    }
    x->folder[0] = '\0';
}
