/* sound_in.h - the sound of a file at one rate and with one or two channels, on the file's clock.
 *
 * Resampled without delay from its first sample on, which keeps its times; where the timeline was
 * re-anchored, silence fills a gap and an overlap is dropped.  Mono out of several channels is
 * their mean, stereo out of mono twice the same.
 *
 * Threads      one object per thread at a time.
 */
#ifndef LK_SOUND_IN_H
#define LK_SOUND_IN_H

#include "kernels/view.h"

#include "kernels/status.h"

typedef struct lk_sound_in lk_sound_in;

LK_CHECKED lk_status lk_sound_in_new(lk_sound_in **s, int rate_hz, int n_channels);
void lk_sound_in_free(lk_sound_in **s);

/* What is ready after this view: *out [*n, n_channels], valid until the next call. */
LK_CHECKED lk_status lk_sound_in_push(lk_sound_in *s, const lk_pcm_view *view, const float **out,
                                      int64_t *n);
LK_CHECKED lk_status lk_sound_in_flush(lk_sound_in *s, const float **out, int64_t *n);

/* Time of the first sample; LK_FLICK_NONE before there was one. */
lk_flick lk_sound_in_start(const lk_sound_in *s);

#endif /* LK_SOUND_IN_H */
