/* replace.c - see replace.h. */
#include "av/replace.h"

#include "kernels/mem.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

lk_status lk_replace_open(lk_replace *file, const char *path)
{
    lk_status st = LK_OK;
    memset(file, 0, sizeof *file);
    LK_TRY(lk_strdup(path, &file->path));
    LK_TRY(LK_NEW_ARRAY(&file->part, strlen(path) + 6));
    sprintf(file->part, "%s.part", path);
    file->stream = fopen(file->part, "wb");
    LK_REQUIRE(file->stream, LK_E_IO, "cannot create '%s': %s", path, strerror(errno));
done:
    return st;
}

lk_status lk_replace_commit(lk_replace *file)
{
    lk_status st = LK_OK;
    bool good = fflush(file->stream) == 0 && !ferror(file->stream);
    good = good && (fsync(fileno(file->stream)) == 0 || errno == EINVAL);
    LK_REQUIRE(good, LK_E_IO, "cannot write '%s': %s", file->path, strerror(errno));
    fclose(file->stream);
    file->stream = NULL;
    LK_REQUIRE(rename(file->part, file->path) == 0, LK_E_IO, "cannot write '%s': %s", file->path,
               strerror(errno));
    lk_free(file->part);
    file->part = NULL;
done:
    return st;
}

void lk_replace_drop(lk_replace *file)
{
    if (file->stream)
        fclose(file->stream);
    if (file->part)
        unlink(file->part);
    lk_free(file->part);
    lk_free(file->path);
    memset(file, 0, sizeof *file);
}
