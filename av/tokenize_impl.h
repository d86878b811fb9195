/* tokenize_impl.h - what encode.c and decode.c share. */
#ifndef LK_TOKENIZE_IMPL_H
#define LK_TOKENIZE_IMPL_H

#include "av/latents.h"
#include "video_vae/vae.h"

/* A stamp as a row of /video/time, and back; false when no stamp has such numbers. */
void lk_stamp_to_times(const lk_vae_stamp *stamp, int64_t times[LK_LATENTS_TIMES]);
int lk_stamp_from_times(const int64_t times[LK_LATENTS_TIMES], lk_vae_stamp *stamp);

/* XXH64 of all bytes of a file. */
LK_CHECKED lk_status lk_file_checksum(const char *path, uint64_t *checksum);

/* Picture rate for a writer: the constant rate that puts every frame within half a millisecond of
 * its time, else the coarsest grid that does, with *vfr set. */
lk_rational lk_rate_of_frames(int64_t n, const lk_span *spans, int *vfr);

#endif /* LK_TOKENIZE_IMPL_H */
