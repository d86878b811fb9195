/* stamp.c - which frames a latent covers.
 *
 * Latent 0 covers frame 0; latent i > 0 covers frames (i - 1) time + 1 .. i time, as far as they
 * exist.
 */
#include "video_vae/vae.h"

int64_t lk_vae_n_latents(int time, int64_t n_frames)
{
    return n_frames < 1 ? 0 : (n_frames - 1 + time - 1) / time + 1;
}

lk_status lk_vae_stamp_of(int time, int64_t n_frames, const lk_span *frames, int64_t i,
                          lk_vae_stamp *s)
{
    lk_status st = LK_OK;
    const int64_t first = i == 0 ? 0 : (i - 1) * time + 1;
    LK_REQUIRE(time >= 1 && time <= LK_VAE_MOST_TIME && i >= 0 &&
                   i < lk_vae_n_latents(time, n_frames),
               LK_E_ARG, "%lld frames have no latent %lld", (long long)n_frames, (long long)i);
    *s = (lk_vae_stamp){.skip = i == 0 ? time - 1 : 0};
    for (int k = s->skip; k < time && first + s->n_frames < n_frames; k++) {
        s->frame[s->n_frames] = frames[first + s->n_frames];
        s->n_frames++;
    }
    s->span = (lk_span){s->frame[0].start, s->frame[s->n_frames - 1].end};
done:
    return st;
}
