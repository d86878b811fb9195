/* version.c - the commit is written by CMake into a generated header at build time. */
#include "av/version.h"

#include "lockstep_commit.h"

const char *lk_build_commit(void)
{
    return LK_COMMIT;
}
