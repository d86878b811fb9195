/* zip.h - the members of a zip archive that lies in memory.
 *
 * Members may be stored or deflated, and the archive may be a zip64 one.  Archives that would be
 * read differently by different readers are refused: members that overlap, that come twice, or
 * whose two headers disagree about the name.  Names are never used as paths.
 *
 * Ownership    names belong to the archive, stored data to the caller's bytes, which must outlive
 * it. Errors       LK_E_FORMAT for damage, LK_E_UNSUPPORTED for encryption and other compressions.
 * Threads      pure.
 * Source       PKWARE, .ZIP File Format Specification, version 6.3.10.
 */
#ifndef LK_ZIP_H
#define LK_ZIP_H

#include "kernels/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct lk_zip_member {
    char *name;
    const uint8_t *data; /* as packed */
    uint64_t header, packed, size;
    uint32_t crc;
    int method;
} lk_zip_member;

typedef struct lk_zip {
    size_t n;
    lk_zip_member *at; /* sorted by name */
} lk_zip;

LK_CHECKED lk_status lk_zip_open(lk_zip *zip, const uint8_t *bytes, size_t n);
void lk_zip_close(lk_zip *zip);

const lk_zip_member *lk_zip_find(const lk_zip *zip, const char *name); /* NULL when absent */

/* The member's m->size bytes, checked against its sum: *data points into the archive (then *owned
 * is NULL) or to *owned, which the caller frees with lk_free.  `limit` is the most bytes that may
 * be unpacked. */
LK_CHECKED lk_status lk_zip_read(const lk_zip_member *m, uint64_t limit, const uint8_t **data,
                                 void **owned);

#endif /* LK_ZIP_H */
