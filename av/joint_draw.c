/* joint_draw.c - which clips are drawn, and which parts of them; see joint_data.h. */
#include "av/joint_data_impl.h"

#include "kernels/mem.h"
#include "kernels/rng.h"

#define O lk_joint_draws
const lk_option lk_joint_draw_options[] = {
    LK_OPT_INT(O, crop_latents, 0, 0, 1 << 20, "most latents of the picture in a part; 0: all"),
    LK_OPT_DOUBLE(O, unlabelled, -1, -1, 1, "share of clips without texts; -1: as there are"),
    LK_OPT_END};
#undef O

static int64_t cells_of(const lk_joint_data *d)
{
    return (int64_t)d->video_facts.rows * d->video_facts.columns * d->video_facts.channels;
}

static int is_cut(const lk_joint_data *d, const lk_joint_clip *c)
{
    return d->draws.crop_latents > 0 && c->n_latents > d->draws.crop_latents;
}

/* A part of clip c, in the memory of place b of the batch. */
static lk_joint_clip part_of(const lk_joint_data *d, const lk_joint_clip *c, int from, int b)
{
    return lk_joint_crop(c, from, d->draws.crop_latents, cells_of(d), d->audio_facts.continuous,
                         d->events + (int64_t)b * d->most_events,
                         d->held + (int64_t)b * d->draws.crop_latents);
}

static void make_room_for(lk_joint_data *d, const lk_joint_clip *c)
{
    lk_joint_sizes *z = &d->sizes;
    z->latents = c->n_latents > z->latents ? c->n_latents : z->latents;
    z->sounds = c->n_sounds > z->sounds ? c->n_sounds : z->sounds;
    z->events = c->n_events > z->events ? c->n_events : z->events;
}

static lk_status settle_sizes(lk_joint_data *d)
{
    lk_status st = LK_OK;
    lk_free(d->events);
    lk_free(d->held);
    d->events = NULL;
    d->held = NULL;
    d->sizes.latents = d->sizes.sounds = d->sizes.events = 0;
    LK_TRY(LK_NEW_ARRAY(&d->events, (int64_t)d->c.batch * d->most_events));
    LK_TRY(LK_NEW_ARRAY(&d->held, (int64_t)d->c.batch * d->draws.crop_latents));
    for (int64_t i = 0; i < d->n; i++) {
        const lk_joint_clip *c = &d->clips[i];
        if (!is_cut(d, c))
            make_room_for(d, c);
        for (int from = 0; is_cut(d, c) && from <= c->n_latents - d->draws.crop_latents; from++) {
            const lk_joint_clip part = part_of(d, c, from, 0);
            make_room_for(d, &part);
        }
    }
done:
    return st;
}

static void sort_labelled(lk_joint_data *d)
{
    int64_t n = 0;
    for (int unlabelled = 0; unlabelled < 2; unlabelled++) {
        for (int64_t i = 0; i < d->n; i++)
            if ((!d->clips[i].prompt[0] && d->clips[i].n_events == 0) == unlabelled)
                d->order[n++] = i;
        d->n_labelled = unlabelled ? d->n_labelled : n;
    }
}

lk_status lk_joint_data_draw(lk_joint_data *d, const lk_joint_draws *draws)
{
    lk_status st = LK_OK;
    LK_REQUIRE(draws->crop_latents >= 0 && draws->unlabelled <= 1, LK_E_ARG,
               "parts have 0 or more latents, and a share is at most 1");
    if (!d->order)
        LK_TRY(LK_NEW_ARRAY(&d->order, d->n));
    sort_labelled(d);
    LK_REQUIRE(draws->unlabelled <= 0 || d->n_labelled < d->n, LK_E_ARG,
               "unlabelled=%g: every clip has a caption or events", draws->unlabelled);
    LK_REQUIRE(draws->unlabelled < 0 || draws->unlabelled >= 1 || d->n_labelled > 0, LK_E_ARG,
               "unlabelled=%g: no clip has a caption or events", draws->unlabelled);
    d->draws = *draws;
    LK_TRY(settle_sizes(d));
done:
    return st;
}

static const lk_joint_clip *draw_clip(const lk_joint_data *d, uint64_t seed, uint64_t at)
{
    const uint64_t clips = UINT64_C(0x636c697073), labels = UINT64_C(0x6c6162656c73);
    const int without = (double)lk_rng_uniform(seed, labels, at) < d->draws.unlabelled;
    const int64_t first = without ? d->n_labelled : 0, end = without ? d->n : d->n_labelled;
    if (d->draws.unlabelled < 0)
        return &d->clips[lk_rng_below(seed, clips, at, (uint32_t)d->n)];
    return &d->clips[d->order[first + lk_rng_below(seed, clips, at, (uint32_t)(end - first))]];
}

/* One latent, and the run of events that has all of those that go on in it. */
static lk_joint_clip still_of(const lk_joint_data *d, const lk_joint_clip *c, int at)
{
    lk_joint_clip s = *c;
    const lk_span span = c->video_span[at];
    int first = 0, end;
    while (first < c->n_events && c->events[first].span.start < span.start &&
           c->events[first].span.end <= span.start)
        first++;
    end = first;
    while (end < c->n_events && c->events[end].span.start < span.end)
        end++;
    s.n_latents = 1;
    s.video_span += at;
    s.video += at * cells_of(d);
    s.events = c->n_events ? c->events + first : NULL;
    s.n_events = end - first < d->sizes.events ? end - first : d->sizes.events;
    return s;
}

lk_status lk_joint_data_fill(void *data, uint64_t seed, int64_t index, int n, int first,
                             lk_joint_clip *clips)
{
    lk_status st = LK_OK;
    const lk_joint_data *d = data;
    LK_REQUIRE(first || n <= d->c.batch, LK_E_ARG, "there is room for %d clips, not %d", d->c.batch,
               n);
    for (int b = 0; b < n; b++) {
        const uint64_t at = (uint64_t)index * (uint64_t)n + (uint64_t)b;
        const lk_joint_clip *c = draw_clip(d, seed, at);
        clips[b] = *c;
        if (first && c->n_latents > 0)
            clips[b] = still_of(d, c,
                                lk_vae_get_shape(d->vae).time > 1
                                    ? 0
                                    : (int)lk_rng_below(seed, UINT64_C(0x7374696c6c73), at,
                                                        (uint32_t)c->n_latents));
        if (!first && is_cut(d, c))
            clips[b] =
                part_of(d, c,
                        (int)lk_rng_below(seed, UINT64_C(0x7061727473), at,
                                          (uint32_t)(c->n_latents - d->draws.crop_latents + 1)),
                        b);
    }
done:
    return st;
}
