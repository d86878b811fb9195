/* generate_windows.c - the latents of a clip, at once or window by window.
 *
 * All latents lie on the whole clip's grid.  A window is placed from `context` before the first
 * latent that is still to be made; it shows the latents that lie in it whole, those that are given
 * or were made before it are held, and the others become what the next window holds.  The last one
 * reaches back as far as it is long.  Both streams end where a latent of the picture ends, so that
 * a picture's sound is made with it.
 *
 * Times go to the model counted from the window's first latent: only differences mean anything to a
 * clock in seconds, and clocks that count latents see the script where they see the latents.
 */
#include "av/generate_impl.h"

#include "kernels/mem.h"

#include <stdlib.h>
#include <string.h>

enum { PROMPT_BYTES = 256, EVENT_BYTES = 48 };

typedef struct window {
    lk_flick from, to;
    int first[2], end[2]; /* latents of picture and sound */
    lk_span *span[2];
    lk_joint_event *events;
    int n_events;
    float *made[2];
} window;

static void clear(window *w)
{
    for (int s = 0; s < 2; s++) {
        lk_free(w->span[s]);
        lk_free(w->made[s]);
    }
    lk_free(w->events);
}

static lk_span whole(const lk_making *m)
{
    const lk_span *v = m->video_span, *a = m->audio_span;
    const lk_flick v_end = v[m->n_latents - 1].end, a_end = a[m->n_sounds - 1].end;
    return (lk_span){v->start < a->start ? v->start : a->start, v_end > a_end ? v_end : a_end};
}

/* Start of the first latent that is not held; LK_FLICK_NONE: all are. */
static lk_flick first_open(const lk_making *m)
{
    lk_flick first = LK_FLICK_NONE;
    for (int s = 0; s < 2; s++) {
        const lk_span *span = s ? m->audio_span : m->video_span;
        const uint8_t *held = s ? m->audio_held : m->video_held;
        const int n = s ? m->n_sounds : m->n_latents;
        int i = 0;
        while (i < n && held[i])
            i++;
        if (i < n && (first == LK_FLICK_NONE || span[i].start < first))
            first = span[i].start;
    }
    return first;
}

static int n_before(const lk_span *span, int n, lk_flick t)
{
    int i = 0;
    while (i < n && span[i].start < t)
        i++;
    return i;
}

static int n_within(const lk_span *span, int n, lk_flick t)
{
    int i = 0;
    while (i < n && span[i].end <= t)
        i++;
    return i;
}

static void place_window(const lk_making *m, lk_flick open, lk_flick length, lk_flick context,
                         window *w)
{
    const lk_span all = whole(m);
    w->from = open - context > all.start ? open - context : all.start;
    if (length == 0 || all.end - w->from <= length) {
        w->from = length && all.end - length > all.start ? all.end - length : all.start;
        w->to = all.end;
        w->end[0] = m->n_latents;
        w->end[1] = m->n_sounds;
    } else {
        w->to = w->from + length;
        w->end[0] = n_within(m->video_span, m->n_latents, w->to);
        if (w->end[0] < m->n_latents && m->video_span[w->end[0]].start < w->to)
            w->to = m->video_span[w->end[0]].start;
        w->end[1] = n_within(m->audio_span, m->n_sounds, w->to);
    }
    w->first[0] = n_before(m->video_span, w->end[0], w->from);
    w->first[1] = n_before(m->audio_span, w->end[1], w->from);
}

/* Events of the window, and of as much behind it as it knows in front of what it makes: what comes
 * soon can be seen coming. */
static lk_status place_words(const lk_making *m, lk_flick zero, lk_flick ahead, window *w)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW_ARRAY(&w->events, m->n_events + 1));
    for (int i = 0; i < m->n_events; i++) {
        const lk_joint_event *e = &m->events[i];
        if (e->span.end >= w->from && e->span.start < w->to + ahead)
            w->events[w->n_events++] =
                (lk_joint_event){{e->span.start - zero, e->span.end - zero}, e->text, e->place};
    }
done:
    return st;
}

static lk_status place_latents(const lk_making *m, lk_flick *zero, window *w)
{
    lk_status st = LK_OK;
    *zero = INT64_MAX;
    for (int s = 0; s < 2; s++) {
        const lk_span *span = s ? m->audio_span : m->video_span;
        if (w->first[s] < w->end[s] && span[w->first[s]].start < *zero)
            *zero = span[w->first[s]].start;
    }
    for (int s = 0; s < 2; s++) {
        const lk_span *span = (s ? m->audio_span : m->video_span) + w->first[s];
        const int n = w->end[s] - w->first[s];
        LK_TRY(LK_NEW_ARRAY(&w->span[s], n + 1));
        for (int i = 0; i < n; i++)
            w->span[s][i] = (lk_span){span[i].start - *zero, span[i].end - *zero};
    }
done:
    return st;
}

/* Every window has noise of its own; the first one the seed's. */
static int seed_of(const lk_making *m)
{
    const uint32_t step = UINT32_C(0x9E3779B9), most = INT32_MAX;
    return (int)(((uint32_t)m->o->sampling.seed + (uint32_t)m->n_windows * step) & most);
}

static lk_status sample(lk_making *m, window *w)
{
    lk_status st = LK_OK;
    const lk_joint_config *c = lk_joint_get_config(m->model);
    const int64_t cells = lk_making_cells(m);
    const lk_joint_clip clip = {.n_latents = w->end[0] - w->first[0],
                                .n_sounds = w->end[1] - w->first[1],
                                .video_span = w->span[0],
                                .audio_span = w->span[1],
                                .video = m->video + w->first[0] * cells,
                                .audio = m->audio + (int64_t)w->first[1] * c->audio_channels,
                                .video_held = m->video_held + w->first[0],
                                .audio_held = m->audio_held + w->first[1],
                                .prompt = m->o->prompt,
                                .prompt_vectors = m->prompt_vectors,
                                .n_prompt_vectors = m->n_prompt_vectors,
                                .n_events = w->n_events,
                                .events = w->events};
    const lk_joint_sizes sizes = {.batch = 1,
                                  .latents = clip.n_latents,
                                  .rows = m->rows,
                                  .columns = m->columns,
                                  .sounds = clip.n_sounds,
                                  .prompt_bytes = m->embeddings ? lk_embeddings_most(m->embeddings)
                                                                : PROMPT_BYTES,
                                  .events = clip.n_events,
                                  .event_bytes = EVENT_BYTES};
    const size_t n_video = (size_t)(clip.n_latents * cells);
    const size_t n_audio = (size_t)clip.n_sounds * (size_t)c->audio_channels;
    lk_joint_sampling sampling = m->o->sampling;
    sampling.seed = seed_of(m);
    LK_TRY(LK_NEW_ARRAY(&w->made[0], n_video + 1));
    LK_TRY(LK_NEW_ARRAY(&w->made[1], n_audio + 1));
    LK_TRY(lk_joint_sample(m->model, &sizes, &clip, &sampling, m->o->stop, w->made[0], w->made[1]));
    memcpy(m->video + w->first[0] * cells, w->made[0], n_video * sizeof(float));
    memcpy(m->audio + (int64_t)w->first[1] * c->audio_channels, w->made[1],
           n_audio * sizeof(float));
    memset(m->video_held + w->first[0], 1, (size_t)clip.n_latents);
    memset(m->audio_held + w->first[1], 1, (size_t)clip.n_sounds);
    m->n_windows++;
done:
    return st;
}

/* Whatever is open first must fit behind the context, whole, and in front of a latent of the
 * picture that does not. */
static lk_status check_window(const lk_making *m, lk_flick length, lk_flick context)
{
    lk_status st = LK_OK;
    lk_flick longest = 0;
    for (int i = 0; i < m->n_latents; i++) {
        const lk_flick l = lk_span_length(m->video_span[i]);
        longest = l > longest ? l : longest;
    }
    longest += LK_FLICKS_PER_S / LK_CODEC_LATENT_HZ;
    LK_REQUIRE(length == 0 || length - context >= longest, LK_E_ARG,
               "a window of %g s with a context of %g s makes too little: it must be %g s longer "
               "than its context",
               lk_flick_to_s(length), lk_flick_to_s(context), lk_flick_to_s(longest));
done:
    return st;
}

lk_flick lk_make_context(const lk_generate_options *o)
{
    return o->context > 0 ? lk_flick_from_s(o->context) : lk_flick_from_s(o->window) / 2;
}

lk_status lk_make_latents(lk_making *m)
{
    lk_status st = LK_OK;
    const lk_flick length = lk_flick_from_s(m->o->window);
    const lk_flick context = lk_make_context(m->o);
    window w = {0};
    LK_TRY(check_window(m, length, context));
    for (lk_flick open; (open = first_open(m)) != LK_FLICK_NONE;) {
        lk_flick zero;
        place_window(m, open, length, context, &w);
        LK_TRY(place_latents(m, &zero, &w));
        LK_TRY(place_words(m, zero, context, &w));
        LK_TRY(sample(m, &w));
        clear(&w);
        w = (window){0};
    }
done:
    clear(&w);
    return st;
}
