/* replace.c - see replace.h. */
#include "av/replace.h"

#include "kernels/mem.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
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

lk_status lk_make_folders(const char *path)
{
    lk_status st = LK_OK;
    char partial[4096];
    struct stat facts;
    LK_REQUIRE(strlen(path) > 0 && strlen(path) < sizeof partial, LK_E_ARG,
               "the folder's name is empty or too long");
    snprintf(partial, sizeof partial, "%s", path);
    for (char *c = partial + 1;; c++) {
        const char kept = *c;
        if (kept != '/' && kept != '\0')
            continue;
        *c = '\0';
        LK_REQUIRE(mkdir(partial, 0777) == 0 || errno == EEXIST, LK_E_IO,
                   "cannot make the folder '%s': %s", partial, strerror(errno));
        *c = kept;
        if (kept == '\0')
            break;
    }
    LK_REQUIRE(stat(path, &facts) == 0 && S_ISDIR(facts.st_mode), LK_E_IO, "'%s' is not a folder",
               path);
done:
    return st;
}
