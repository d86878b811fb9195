/* hash.c - XXH64.  See hash.h.
 *
 * Four lanes a each take 8 of every 32 bytes:  a <- rotl(a + w p2, 31) p1.
 * The end joins the lanes, adds the length and the bytes that fill no 32, and mixes:
 *     h <- (h ^ h >> 33) p2,  h <- (h ^ h >> 29) p3,  h <- h ^ h >> 32.
 */
#include "kernels/hash.h"

#include <string.h>

#define P1 UINT64_C(0x9E3779B185EBCA87)
#define P2 UINT64_C(0xC2B2AE3D27D4EB4F)
#define P3 UINT64_C(0x165667B19E3779F9)
#define P4 UINT64_C(0x85EBCA77C2B2AE63)
#define P5 UINT64_C(0x27D4EB2F165667C5)

static uint64_t rotl(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static uint64_t little(const unsigned char *p, int n_bytes)
{
    uint64_t x = 0;
    for (int i = 0; i < n_bytes; i++)
        x |= (uint64_t)p[i] << (8 * i);
    return x;
}

static uint64_t round_of(uint64_t lane, uint64_t word)
{
    return rotl(lane + word * P2, 31) * P1;
}

void lk_hash64_start(lk_hash64 *h)
{
    memset(h, 0, sizeof *h);
    h->lane[0] = P1 + P2;
    h->lane[1] = P2;
    h->lane[2] = 0;
    h->lane[3] = 0 - P1;
}

static void take_32(lk_hash64 *h, const unsigned char *p)
{
    for (int i = 0; i < 4; i++)
        h->lane[i] = round_of(h->lane[i], little(p + 8 * i, 8));
}

void lk_hash64_add(lk_hash64 *h, const void *data, size_t n)
{
    const unsigned char *p = data;
    size_t held = (size_t)(h->n & 31);
    h->n += n;
    if (held + n < 32) {
        if (n > 0)
            memcpy(h->tail + held, p, n);
        return;
    }
    if (held > 0) {
        memcpy(h->tail + held, p, 32 - held);
        take_32(h, h->tail);
        p += 32 - held;
        n -= 32 - held;
    }
    for (; n >= 32; p += 32, n -= 32)
        take_32(h, p);
    if (n > 0)
        memcpy(h->tail, p, n);
}

uint64_t lk_hash64_value(const lk_hash64 *h)
{
    const unsigned char *p = h->tail;
    size_t left = (size_t)(h->n & 31);
    uint64_t x = P5;
    if (h->n >= 32) {
        x = rotl(h->lane[0], 1) + rotl(h->lane[1], 7) + rotl(h->lane[2], 12) + rotl(h->lane[3], 18);
        for (int i = 0; i < 4; i++)
            x = (x ^ round_of(0, h->lane[i])) * P1 + P4;
    }
    x += h->n;
    for (; left >= 8; left -= 8, p += 8)
        x = rotl(x ^ round_of(0, little(p, 8)), 27) * P1 + P4;
    if (left >= 4) {
        x = rotl(x ^ little(p, 4) * P1, 23) * P2 + P3;
        left -= 4;
        p += 4;
    }
    for (; left > 0; left--, p++)
        x = rotl(x ^ *p * P5, 11) * P1;
    x = (x ^ x >> 33) * P2;
    x = (x ^ x >> 29) * P3;
    return x ^ x >> 32;
}
