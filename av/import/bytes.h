/* bytes.h - integers out of files, whatever their alignment. */
#ifndef LK_BYTES_H
#define LK_BYTES_H

#include <stdint.h>

/* The n bytes (1 .. 8) at p as an unsigned integer, least significant first. */
static inline uint64_t lk_le(const uint8_t *p, int n)
{
    uint64_t x = 0;
    for (int i = n - 1; i >= 0; i--)
        x = x << 8 | p[i];
    return x;
}

#endif /* LK_BYTES_H */
