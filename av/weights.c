/* weights.c - see weights.h. */
#include "av/weights.h"

#include "kernels/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHIPPED "weights/worlds-small"

/* The folder of the program, "" if that cannot be said. */
static void program_folder(char *at, size_t bytes)
{
    const ssize_t n = readlink("/proc/self/exe", at, bytes - 1);
    char *slash;
    at[n > 0 ? n : 0] = '\0';
    slash = strrchr(at, '/');
    if (slash)
        *slash = '\0';
}

static lk_status find(const char *folder, const char *name, char **path)
{
    lk_status st = LK_OK;
    char program[4096], beside[sizeof program + 32];
    const char *places[2] = {folder ? folder : getenv("LOCKSTEP_WEIGHTS"), NULL};
    if (!places[0]) {
        program_folder(program, sizeof program);
        snprintf(beside, sizeof beside, "%s/../" SHIPPED, program);
        places[0] = SHIPPED;
        places[1] = beside;
    }
    for (int i = 0; i < 2 && places[i]; i++) {
        const size_t bytes = strlen(places[i]) + strlen(name) + sizeof "/.safetensors";
        lk_free(*path);
        LK_TRY(LK_NEW_ARRAY(path, bytes));
        snprintf(*path, bytes, "%s/%s.safetensors", places[i], name);
        if (access(*path, R_OK) == 0)
            goto done;
    }
    st = LK_FAIL(LK_E_IO,
                 "there is no '%s/%s.safetensors': say where weights are with --weights FOLDER",
                 places[0], name);
done:
    return st;
}

lk_status lk_weights_complete(const char *folder, const char *file[3], char *found[3])
{
    static const char *const names[3] = {"joint", "vae", "codec"};
    lk_status st = LK_OK;
    for (int i = 0; i < 3; i++) {
        if (file[i])
            continue;
        LK_TRY(find(folder, names[i], &found[i]));
        file[i] = found[i];
    }
done:
    return st;
}
