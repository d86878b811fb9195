/* pack.c - see pack.h: worlds. */
#include "av/pack.h"

#include "av/worlds_clip.h"
#include "kernels/mem.h"
#include "kernels/thread.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* One rendered clip and what it needs. */
typedef struct rendered {
    lk_status st;
    char error[256];
    lk_world *world;
    lk_span *spans;
    uint8_t *frames;
    float *sound;
    int16_t *pcm;
    lk_dataset_event *events;
} rendered;

typedef struct batch {
    const char *name;
    uint64_t seed;
    int64_t first;
    const lk_world_options *world;
    const lk_dataset_format *format;
    const volatile int *stop;
    rendered *clip;
} batch;

static void clear(rendered *r)
{
    lk_world_free(&r->world);
    lk_free(r->spans);
    lk_free(r->frames);
    lk_free(r->sound);
    lk_free(r->pcm);
    lk_free(r->events);
    memset(r, 0, sizeof *r);
}

static int16_t to_int16(float x)
{
    const float y = x * 32768;
    return (int16_t)lrintf(y > 32767 ? 32767 : y < -32768 ? -32768 : y);
}

static lk_status render_sound(rendered *r, const lk_dataset_format *f)
{
    lk_status st = LK_OK;
    const int64_t n = lk_world_n_samples(r->world);
    LK_TRY(LK_NEW_ARRAY(&r->sound, n + 1));
    LK_TRY(LK_NEW_ARRAY(&r->pcm, n * f->n_channels + 1));
    LK_TRY(lk_world_render_sound(r->world, 0, n, r->sound));
    for (int64_t i = 0; i < n; i++) {
        for (int c = 0; c < f->n_channels; c++)
            r->pcm[i * f->n_channels + c] = to_int16(r->sound[i]);
    }
done:
    return st;
}

static lk_status render_picture(rendered *r, const batch *b)
{
    lk_status st = LK_OK;
    const int64_t n = lk_world_n_frames(r->world);
    const int64_t bytes = (int64_t)b->format->width * b->format->height * 3;
    LK_TRY(LK_NEW_ARRAY(&r->spans, n + 1));
    LK_TRY(LK_NEW_ARRAY(&r->frames, n * bytes + 1));
    for (int64_t i = 0; i < n; i++) {
        LK_REQUIRE(!b->stop || !*b->stop, LK_E_INTERRUPTED, "stopped");
        r->spans[i] = lk_world_frame_span(r->world, i);
        LK_TRY(lk_world_render_frame(r->world, i, r->frames + i * bytes));
    }
done:
    return st;
}

static void copy_event(const lk_world_event *e, lk_dataset_event *out)
{
    out->span = e->sound.start == LK_FLICK_NONE ? e->picture : e->sound;
    out->strength = e->strength;
    out->place = e->place;
    snprintf(out->kind, sizeof out->kind, "%s", lk_world_event_kind_name(e->kind));
    snprintf(out->label, sizeof out->label, "%s", e->label);
}

/* Events, then pieces of paths. */
static lk_status copy_events(rendered *r)
{
    lk_status st = LK_OK;
    const int64_t n = lk_world_n_events(r->world), more = lk_world_n_paths(r->world);
    LK_TRY(LK_NEW_ARRAY(&r->events, n + more + 1));
    for (int64_t i = 0; i < n; i++)
        copy_event(&lk_world_events(r->world)[i], &r->events[i]);
    for (int64_t i = 0; i < more; i++)
        copy_event(&lk_world_paths(r->world)[i], &r->events[n + i]);
done:
    return st;
}

static lk_status render(rendered *r, const batch *b, int64_t index)
{
    lk_status st = LK_OK;
    LK_TRY(lk_world_create(&r->world, b->name, b->seed, (uint64_t)index, b->world));
    if (b->format->width > 0)
        LK_TRY(render_picture(r, b));
    if (b->format->rate_hz > 0)
        LK_TRY(render_sound(r, b->format));
    LK_TRY(copy_events(r));
done:
    return st;
}

static void render_range(void *user, int64_t from, int64_t to)
{
    const batch *b = user;
    for (int64_t i = from; i < to; i++) {
        b->clip[i].st = render(&b->clip[i], b, b->first + i);
        if (b->clip[i].st != LK_OK)
            snprintf(b->clip[i].error, sizeof b->clip[i].error, "%s", lk_error_text());
    }
}

static lk_status add(lk_shard *shard, const batch *b, int64_t i)
{
    lk_status st = LK_OK;
    char name[96];
    const rendered *r = &b->clip[i];
    if (r->st != LK_OK)
        return LK_FAIL(r->st, "%s", r->error);
    snprintf(name, sizeof name, "%s_%llu_%05lld", b->name, (unsigned long long)b->seed,
             (long long)(b->first + i));
    LK_TRY(lk_shard_add(
        shard,
        &(lk_dataset_clip){.name = name,
                           .caption = lk_world_caption(r->world),
                           .source = b->name,
                           .n_frames = r->frames ? lk_world_n_frames(r->world) : 0,
                           .n_samples = r->pcm ? lk_world_n_samples(r->world) : 0,
                           .n_events = lk_world_n_events(r->world) + lk_world_n_paths(r->world),
                           .spans = r->spans,
                           .frames = r->frames,
                           .pcm = r->pcm,
                           .events = r->events}));
done:
    return st;
}

lk_status lk_pack_world(lk_shard *shard, const char *name, uint64_t seed, int64_t first, int64_t n,
                        const lk_world_options *world, const lk_pack_options *o,
                        void (*tell)(void *user, int64_t i), void *user)
{
    lk_status st = LK_OK;
    const int64_t at_once = lk_threads();
    batch b = {.name = name, .seed = seed, .world = world, .format = &o->format, .stop = o->stop};
    LK_TRY(LK_NEW_ARRAY(&b.clip, at_once));
    for (int64_t done_so_far = 0; done_so_far < n; done_so_far += at_once) {
        const int64_t now = n - done_so_far < at_once ? n - done_so_far : at_once;
        b.first = first + done_so_far;
        lk_parallel_for(now, 1, render_range, &b);
        for (int64_t i = 0; i < now; i++) {
            LK_TRY(add(shard, &b, i));
            clear(&b.clip[i]);
            if (tell)
                tell(user, b.first + i);
        }
    }
done:
    for (int64_t i = 0; b.clip && i < at_once; i++)
        clear(&b.clip[i]);
    lk_free(b.clip);
    return st;
}
