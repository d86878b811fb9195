/* folder.h - a folder of a test program's own, there while a group of its tests runs:
 *
 *     return cmocka_run_group_tests(tests, test_folder_make, test_folder_drop);
 */
#ifndef LK_TESTS_FOLDER_H
#define LK_TESTS_FOLDER_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

static char test_folder[] = "/tmp/lk_test_XXXXXX";

static inline int test_folder_make(void **state)
{
    (void)state;
    return mkdtemp(test_folder) == NULL;
}

static inline int test_folder_drop_entry(const char *name, const struct stat *s, int kind,
                                         struct FTW *ftw)
{
    (void)s;
    (void)kind;
    (void)ftw;
    return remove(name);
}

static inline int test_folder_drop(void **state)
{
    (void)state;
    return nftw(test_folder, test_folder_drop_entry, 16, FTW_DEPTH | FTW_PHYS);
}

#endif /* LK_TESTS_FOLDER_H */
