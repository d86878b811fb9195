/* common.c - see internal.h. */
#include "av/hdf5/internal.h"

#include "kernels/hash.h"

#include <pthread.h>
#include <stddef.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* No closing at exit: it crashes in the library when a full disk has left a file that cannot be
 * closed. */
void lk_hdf5_start(void)
{
    H5dont_atexit();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

void lk_hdf5_lock(void)
{
    pthread_mutex_lock(&mutex);
}

void lk_hdf5_unlock(void)
{
    pthread_mutex_unlock(&mutex);
}

const lk_row_field lk_clip_fields[LK_CLIP_FIELDS] = {
    {"first_frame", offsetof(lk_clip_row, first_frame)},
    {"n_frames", offsetof(lk_clip_row, n_frames)},
    {"first_sample", offsetof(lk_clip_row, first_sample)},
    {"n_samples", offsetof(lk_clip_row, n_samples)},
    {"audio_start", offsetof(lk_clip_row, audio_start)},
    {"first_event", offsetof(lk_clip_row, first_event)},
    {"n_events", offsetof(lk_clip_row, n_events)},
    {"checksum", offsetof(lk_clip_row, checksum)},
};

const char *const lk_clip_texts[LK_CLIP_TEXTS] = {"name", "caption", "source"};

uint64_t lk_clip_checksum(const lk_dataset_clip *c, const lk_dataset_format *f)
{
    lk_hash64 h;
    lk_hash64_start(&h);
    lk_hash64_add(&h, c->spans, (size_t)c->n_frames * sizeof *c->spans);
    lk_hash64_add(&h, c->frames, (size_t)c->n_frames * (size_t)(f->width * f->height * 3));
    lk_hash64_add(&h, c->pcm, (size_t)(c->n_samples * f->n_channels) * sizeof *c->pcm);
    return lk_hash64_value(&h);
}
