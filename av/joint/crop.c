/* crop.c - a clip's events in order, and a part of a clip; see joint.h. */
#include "av/joint/joint.h"

#include <stdlib.h>

static int earlier(const void *a, const void *b)
{
    const lk_joint_event *x = a, *y = b;
    if (x->span.start != y->span.start)
        return x->span.start < y->span.start ? -1 : 1;
    return (x->span.end > y->span.end) - (x->span.end < y->span.end);
}

void lk_joint_sort_events(lk_joint_event *events, int n)
{
    if (n > 0)
        qsort(events, (size_t)n, sizeof *events, earlier);
}

/* How many of n spans, which are sorted, have their middle before t. */
static int before(const lk_span *span, int n, lk_flick t)
{
    int low = 0, high = n;
    while (low < high) {
        const int middle = low + (high - low) / 2;
        if (lk_span_middle(span[middle]) < t)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int goes_on(lk_span event, lk_flick from, lk_flick to)
{
    return event.start < to && (event.start >= from || event.end > from);
}

lk_joint_clip lk_joint_crop(const lk_joint_clip *clip, int from, int n, int64_t video_numbers,
                            int audio_numbers, lk_joint_event *events, uint8_t *held)
{
    lk_joint_clip c = *clip;
    const lk_flick start = clip->video_span[from].start, end = clip->video_span[from + n - 1].end;
    const int first = before(clip->audio_span, clip->n_sounds, start);
    c.n_latents = n;
    c.video_span += from;
    c.video = clip->video ? clip->video + from * video_numbers : NULL;
    for (int i = 0; i < n; i++)
        held[i] = clip->video_held ? clip->video_held[from + i] : 0;
    if (from > 0 && n > 1 && clip->video)
        held[0] = 1;
    c.video_held = clip->video ? held : NULL;
    c.n_sounds = before(clip->audio_span, clip->n_sounds, end) - first;
    c.audio_span = clip->n_sounds ? clip->audio_span + first : NULL;
    c.audio = clip->audio ? clip->audio + (int64_t)first * audio_numbers : NULL;
    c.audio_held = clip->audio_held ? clip->audio_held + first : NULL;
    c.n_events = 0;
    for (int i = 0; i < clip->n_events; i++)
        if (goes_on(clip->events[i].span, start, end))
            events[c.n_events++] = clip->events[i];
    c.events = events;
    return c;
}
