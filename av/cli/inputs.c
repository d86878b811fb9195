/* inputs.c - see inputs.h. */
#include "av/cli/inputs.h"

#include "kernels/mem.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define MAX_DEPTH 16

static bool is_media_name(const char *name)
{
    static const char *const endings[] = {"mp4", "mov", "mkv",  "webm", "ts",  "avi", "ogg",
                                          "ogv", "m4v", "mpg",  "mpeg", "flv", "wmv", "m2ts",
                                          "3gp", "wav", "flac", "mp3",  "m4a", "aiff"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof endings[0]; i++) {
        if (strcasecmp(dot + 1, endings[i]) == 0)
            return true;
    }
    return false;
}

static lk_status add_folder(lk_manifest *clips, const char *path, int depth)
{
    lk_status st = LK_OK;
    struct dirent **entry = NULL;
    struct stat facts;
    char *inside = NULL;
    const int n = depth < MAX_DEPTH ? scandir(path, &entry, NULL, alphasort) : 0;
    LK_REQUIRE(n >= 0, LK_E_IO, "cannot read the folder '%s': %s", path, strerror(errno));
    for (int i = 0; i < n; i++) {
        const char *name = entry[i]->d_name;
        if (name[0] == '.')
            continue;
        const size_t bytes = strlen(path) + strlen(name) + 2;
        lk_free(inside);
        inside = NULL;
        LK_TRY(LK_NEW_ARRAY(&inside, bytes));
        snprintf(inside, bytes, "%s/%s", path, name);
        /* A link to nothing gets its row, which says so. */
        if (stat(inside, &facts) == 0 && S_ISDIR(facts.st_mode))
            LK_TRY(add_folder(clips, inside, depth + 1));
        else if (is_media_name(name))
            LK_TRY(lk_manifest_add(clips, inside));
    }
done:
    lk_free(inside);
    for (int i = 0; i < n; i++)
        free(entry[i]);
    free(entry);
    return st;
}

lk_status lk_inputs_add(lk_manifest *clips, const char *path)
{
    lk_status st = LK_OK;
    struct stat facts;
    const int64_t n = clips->n;
    if (stat(path, &facts) != 0 || !S_ISDIR(facts.st_mode))
        return lk_manifest_add(clips, path);
    LK_TRY(add_folder(clips, path, 0));
    if (clips->n == n)
        lk_log(1, "'%s' holds no media file", path);
done:
    return st;
}
