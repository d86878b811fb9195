/* hash.h - a 64-bit checksum of bytes: XXH64 with seed 0.
 *
 * Finds damage, does not resist an attacker.  The value is the same on every machine and however
 * the bytes are cut into pieces.
 *
 *     lk_hash64 h;
 *     lk_hash64_start(&h);
 *     lk_hash64_add(&h, data, n);
 *     value = lk_hash64_value(&h);
 *
 * Threads      plain data and pure functions.
 * Source       Collet, "XXH64 algorithm description", xxHash specification 0.1.1.
 */
#ifndef LK_HASH_H
#define LK_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct lk_hash64 {
    uint64_t lane[4];
    uint64_t n; /* bytes so far */
    unsigned char tail[32];
} lk_hash64;

void lk_hash64_start(lk_hash64 *h);
void lk_hash64_add(lk_hash64 *h, const void *data, size_t n);
uint64_t lk_hash64_value(const lk_hash64 *h);

#endif /* LK_HASH_H */
