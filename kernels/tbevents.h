/* tbevents.h - numbers over steps in the event files that TensorBoard shows.
 *
 * The file is a row of records: length (8 bytes), its masked CRC, the bytes, their masked CRC, all
 * little-endian; the bytes are an Event message in protobuf: 1 wall time (double), 2 step (varint),
 * 3 file version (text), 5 summary of values, each 1 a tag (text) and 2 a number (float).
 * The mask of a CRC-32C c is (c >> 15 | c << 17) + 0xa282ead8.
 *
 * Threads      one writer by one thread at a time.
 * Source       TensorFlow's event.proto, summary.proto and record format.
 */
#ifndef LK_TBEVENTS_H
#define LK_TBEVENTS_H

#include "kernels/status.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lk_tbevents lk_tbevents;

/* Continue the file, or begin it; what it has of steps after `last_step` is removed, as is anything
 * from the first damaged record on.  The name must contain "tfevents". */
LK_CHECKED lk_status lk_tbevents_open(lk_tbevents **e, const char *path, int64_t last_step);
void lk_tbevents_free(lk_tbevents **e);

/* n numbers of one step; wall_s: seconds since 1970. */
LK_CHECKED lk_status lk_tbevents_add(lk_tbevents *e, int64_t step, double wall_s, int n,
                                     const char *const *tags, const double *values);

/* CRC-32C (Castagnoli) of n bytes. */
uint32_t lk_crc32c(const void *data, size_t n);

#ifdef __cplusplus
}
#endif

#endif /* LK_TBEVENTS_H */
