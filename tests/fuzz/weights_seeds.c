/* weights_seeds.c - the right files of the tests, written into a folder: weights_seeds FOLDER. */
#include "tests/import_files.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    bytes b = {0};
    const char *name;
    char path[4096];
    if (argc != 2)
        return 2;
    for (int i = 0; make_sample(i, &b, &name); i++) {
        snprintf(path, sizeof path, "%s/%s", argv[1], name);
        FILE *f = fopen(path, "wb");
        if (!f || fwrite(b.at, 1, b.n, f) != b.n || fclose(f) != 0)
            return 1;
        drop(&b);
    }
    return 0;
}
