/* mutate.c - a counter-based mutator around a libFuzzer entry point, for compilers without
 * libFuzzer and for counted runs.
 *
 *     fuzz_media SEED_FILE_OR_FOLDER... [-n 1000] [-s 1] [-first 0]
 *
 * Input i is f(seed, i): one of the seed files with 1..16 random edits.  An input that takes more
 * than 10 s ends the run (the alarm kills the program after printing i); so does a crash, and the
 * last printed number names the input: repeat it with -first I -n 1.
 */
#include "kernels/rng.h"

#include <dirent.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_SEEDS 256
#define MAX_BYTES (1u << 20)

typedef struct seed_file {
    uint8_t *data;
    size_t size;
} seed_file;

static seed_file seeds[MAX_SEEDS];
static uint32_t n_seeds;
static volatile long long current;

static void too_slow(int sig)
{
    (void)sig;
    char text[96];
    const int n = snprintf(text, sizeof text, "input %lld took more than 10 s\n", current);
    (void)!write(2, text, (size_t)n);
    _exit(3);
}

static void died(int sig)
{
    char text[96];
    const int n = snprintf(text, sizeof text, "input %lld: signal %d\n", current, sig);
    (void)!write(2, text, (size_t)n);
    signal(sig, SIG_DFL);
    raise(sig);
}

static void load(const char *path)
{
    struct stat info;
    if (n_seeds == MAX_SEEDS || stat(path, &info) != 0)
        return;
    if (S_ISDIR(info.st_mode)) {
        struct dirent **names = NULL; /* sorted, so that input i is the same everywhere */
        const int n = scandir(path, &names, NULL, alphasort);
        for (int i = 0; i < n; i++) {
            char inside[4096];
            snprintf(inside, sizeof inside, "%s/%s", path, names[i]->d_name);
            if (names[i]->d_name[0] != '.')
                load(inside);
            free(names[i]);
        }
        free(names);
        return;
    }
    FILE *f = fopen(path, "rb");
    if (!f || info.st_size > MAX_BYTES / 2) {
        if (f)
            fclose(f);
        return;
    }
    seed_file *s = &seeds[n_seeds];
    s->data = malloc((size_t)info.st_size + 1);
    s->size = s->data ? fread(s->data, 1, (size_t)info.st_size, f) : 0;
    n_seeds += s->data != NULL;
    fclose(f);
}

static uint32_t draw(uint64_t seed, uint64_t i, uint64_t k, uint32_t n)
{
    return n > 0 ? lk_rng_below(seed, i, k, n) : 0;
}

/* One edit; k counts the numbers drawn so far for this input. */
static size_t edit(uint8_t *data, size_t size, uint64_t seed, uint64_t i, uint64_t *k)
{
    static const uint32_t nasty[] = {0,          1,           0x7f,        0x80,
                                     0xff,       0x7fff,      0x8000,      0xffff,
                                     0x7fffffff, 0x80000000u, 0xffffffffu, 0x01000000u};
    const uint32_t kind = draw(seed, i, (*k)++, 8);
    const uint32_t at = draw(seed, i, (*k)++, (uint32_t)size);
    const uint32_t other = draw(seed, i, (*k)++, (uint32_t)size);
    const uint32_t bits = lk_rng_u32(seed, i, (*k)++);
    if (size < 8)
        return size;
    switch (kind) {
    case 0:
    case 1:
        data[at] ^= (uint8_t)(1u << (bits & 7));
        break;
    case 2:
        data[at] = (uint8_t)bits;
        break;
    case 3: { /* a nasty big-endian integer */
        const uint32_t v = nasty[bits % (sizeof nasty / sizeof nasty[0])];
        for (size_t b = 0; b < 4 && at + b < size; b++)
            data[at + b] = (uint8_t)(v >> (24 - 8 * b));
        break;
    }
    case 4: /* truncate */
        return at > 0 ? at : size;
    case 5: { /* copy a piece over another */
        size_t n = 1 + bits % 64;
        if (at + n > size)
            n = size - at;
        if (other + n > size)
            n = size - other;
        memmove(data + at, data + other, n);
        break;
    }
    case 6: { /* remove a piece */
        size_t n = 1 + bits % 32;
        if (at + n > size)
            n = size - at;
        memmove(data + at, data + at + n, size - at - n);
        return size - n;
    }
    default: { /* repeat a piece */
        size_t n = 1 + bits % 32;
        if (at + n > size)
            n = size - at;
        if (size + n > MAX_BYTES)
            break;
        memmove(data + at + n, data + at, size - at);
        return size + n;
    }
    }
    return size;
}

int main(int argc, char **argv)
{
    long long n = 1000, first = 0;
    uint64_t seed = 1;
    static uint8_t buffer[MAX_BYTES];
    for (int a = 1; a < argc; a++) {
        if (strcmp(argv[a], "-n") == 0 && a + 1 < argc)
            n = atoll(argv[++a]);
        else if (strcmp(argv[a], "-s") == 0 && a + 1 < argc)
            seed = (uint64_t)atoll(argv[++a]);
        else if (strcmp(argv[a], "-first") == 0 && a + 1 < argc)
            first = atoll(argv[++a]);
        else
            load(argv[a]);
    }
    if (n_seeds == 0) {
        fprintf(stderr, "no seed files\n");
        return 2;
    }
    signal(SIGALRM, too_slow);
    signal(SIGSEGV, died);
    signal(SIGABRT, died);
    for (long long i = first; i < first + n; i++) {
        uint64_t k = 0;
        current = i;
        const seed_file *s = &seeds[draw(seed, (uint64_t)i, k++, n_seeds)];
        size_t size = s->size;
        memcpy(buffer, s->data, size);
        const uint32_t edits = 1 + draw(seed, (uint64_t)i, k++, 16);
        for (uint32_t e = 0; e < edits; e++)
            size = edit(buffer, size, seed, (uint64_t)i, &k);
        /* An exact copy, so that reading past the end is seen by the sanitizer. */
        uint8_t *copy = malloc(size > 0 ? size : 1);
        if (!copy)
            return 1;
        memcpy(copy, buffer, size);
        alarm(10);
        LLVMFuzzerTestOneInput(copy, size);
        alarm(0);
        free(copy);
    }
    printf("%lld inputs, no crash, no hang\n", n);
    for (uint32_t s = 0; s < n_seeds; s++)
        free(seeds[s].data);
    return 0;
}
