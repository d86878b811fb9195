/* place.c - where tokens stand in time, who sees whom, and the bytes of texts.
 *
 * The exchange's clock gives every latent a span; rotary positions and membership follow from it:
 *
 *     seconds       its own span
 *     index         latent i of either stream: [i, i + 1) / 25 s
 *     scaled_index  latent i of n: [i, i + 1) / n of the whole clip
 *     rounded       a latent of the sound takes the span of the picture's latent that its middle
 *                   lies in
 *     none          the whole clip
 *
 * Streams look at themselves by their own spans, whatever the clock.  Half of the rotary pairs turn
 * with time, a quarter each with rows and columns.
 */
#include "av/joint/joint_impl.h"

#include "kernels/mem.h"

#include <math.h>
#include <string.h>

#define FASTEST_S 0.08 /* two latents of the sound */
#define SLOWEST_S 20.0
#define INDEX_S   (LK_FLICKS_PER_S / 25)

/* ---- clocks ---- */

static lk_span whole(const lk_joint_clip *c)
{
    lk_span w = {INT64_MAX, INT64_MIN};
    for (int s = 0; s < 2; s++) {
        const lk_span *span = s ? c->audio_span : c->video_span;
        const int n = s ? c->n_sounds : c->n_latents;
        if (n && span[0].start < w.start)
            w.start = span[0].start;
        if (n && span[n - 1].end > w.end)
            w.end = span[n - 1].end;
    }
    return w.end > w.start ? w : (lk_span){0, 1};
}

static lk_span share_of(lk_span w, int i, int n)
{
    const double step = (double)(w.end - w.start) / n;
    return (lk_span){w.start + (lk_flick)llrint(i * step),
                     w.start + (lk_flick)llrint((i + 1) * step)};
}

static lk_span rounded(const lk_joint_clip *c, lk_span s)
{
    const lk_flick middle = lk_span_middle(s);
    int i = 0;
    while (i + 1 < c->n_latents && c->video_span[i].end <= middle)
        i++;
    return c->n_latents ? c->video_span[i] : s;
}

void lk_joint_clock_spans(lk_joint_clock clock, const lk_joint_clip *c, int stream, lk_span *out)
{
    const lk_span *own = stream ? c->audio_span : c->video_span, all = whole(c);
    const int n = stream ? c->n_sounds : c->n_latents;
    for (int i = 0; i < n; i++) {
        out[i] = own[i];
        if (clock == LK_JOINT_INDEX)
            out[i] = (lk_span){i * INDEX_S, (i + 1) * INDEX_S};
        if (clock == LK_JOINT_SCALED_INDEX)
            out[i] = share_of(all, i, n);
        if (clock == LK_JOINT_ROUNDED && stream)
            out[i] = rounded(c, own[i]);
        if (clock == LK_JOINT_NO_CLOCK)
            out[i] = all;
    }
}

/* A plan wants ends in order too: an event that ends before an earlier one is held to its end. */
void lk_joint_clock_events(lk_joint_clock clock, const lk_joint_clip *c, lk_span *out)
{
    int n = 0;
    for (int i = 0; i < c->n_events; i++) {
        if (!lk_joint_attended(&c->events[i]))
            continue;
        out[n] = clock == LK_JOINT_NO_CLOCK ? whole(c) : c->events[i].span;
        if (n && lk_attend_end(out[n]) < lk_attend_end(out[n - 1]))
            out[n].end = lk_attend_end(out[n - 1]);
        n++;
    }
}

/* ---- a placer: room for everything ---- */

struct lk_joint_placer {
    const lk_joint *m;
    lk_joint_sizes s, positions;
    int pairs;
    double *time_turns, *place_turns, *byte_turns; /* of rotary pairs */
    double *row, *column, *index;                  /* of tokens, of bytes */
    lk_span *latent;                               /* of one clip */
    lk_span *own[2], *meet[2], *seen[2], *event;   /* [batch, n] */
    int32_t *length[2], *keys[2], *prompt, *events, *letters;
    const char **text;   /* the different ones of a batch's events */
    int32_t *text_of;    /* [batch, events] */
    int32_t *order;      /* [batch, events], attended ones first */
    int32_t *all;        /* [batch], attended and others */
    float *what, *where; /* of lay.c */
    int n_texts;
    lk_span *byte; /* all empty: texts have no time */
    int32_t *number;
    float *table, *vectors;
};

static int64_t max_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static lk_status make_room(lk_joint_placer *p)
{
    lk_status st = LK_OK;
    const lk_joint_sizes *s = &p->s;
    const int64_t b = s->batch, v = lk_joint_tokens(s, 0), a = s->sounds;
    const int64_t texts = max_of(b * s->prompt_bytes, (int64_t)lk_joint_texts(s) * s->event_bytes);
    const int64_t most = max_of(b * 2 * (v + a), 2 * texts) + b * (s->prompt_bytes + s->events);
    const int64_t turns = max_of(max_of(b * v, b * max_of(a, s->events)), texts);
    LK_TRY(LK_NEW_ARRAY(&p->time_turns, p->pairs));
    LK_TRY(LK_NEW_ARRAY(&p->place_turns, p->pairs));
    LK_TRY(LK_NEW_ARRAY(&p->byte_turns, p->pairs));
    LK_TRY(LK_NEW_ARRAY(&p->row, max_of(v, a)));
    LK_TRY(LK_NEW_ARRAY(&p->column, max_of(v, a)));
    LK_TRY(LK_NEW_ARRAY(&p->index, max_of(s->prompt_bytes, s->event_bytes)));
    LK_TRY(LK_NEW_ARRAY(&p->latent, max_of(max_of(s->latents, a), s->events)));
    for (int i = 0; i < 2; i++) {
        LK_TRY(LK_NEW_ARRAY(&p->own[i], b * lk_joint_tokens(s, i)));
        LK_TRY(LK_NEW_ARRAY(&p->meet[i], b * lk_joint_tokens(s, i)));
        LK_TRY(LK_NEW_ARRAY(&p->seen[i], b * lk_joint_tokens(s, i)));
        LK_TRY(LK_NEW_ARRAY(&p->length[i], b));
        LK_TRY(LK_NEW_ARRAY(&p->keys[i], b));
    }
    LK_TRY(LK_NEW_ARRAY(&p->event, b * s->events));
    LK_TRY(LK_NEW_ARRAY(&p->prompt, b));
    LK_TRY(LK_NEW_ARRAY(&p->events, b));
    LK_TRY(LK_NEW_ARRAY(&p->letters, lk_joint_texts(s)));
    LK_TRY(LK_NEW_ARRAY(&p->text, lk_joint_texts(s)));
    LK_TRY(LK_NEW_ARRAY(&p->text_of, b * s->events));
    LK_TRY(LK_NEW_ARRAY(&p->order, b * s->events));
    LK_TRY(LK_NEW_ARRAY(&p->all, b));
    LK_TRY(LK_NEW_ARRAY(&p->what, p->m->config.places ? 2 * b * v * s->events : 0));
    LK_TRY(LK_NEW_ARRAY(&p->where,
                        p->m->config.places ? 2 * b * v * LK_JOINT_GRID * LK_JOINT_GRID : 0));
    LK_TRY(LK_NEW_ARRAY(&p->byte, texts));
    LK_TRY(LK_NEW_ARRAY(&p->number, 2 * most));
    LK_TRY(LK_NEW_ARRAY(&p->vectors, b * s->prompt_bytes * p->m->config.text_channels));
    LK_TRY(LK_NEW_ARRAY(&p->table, turns * 2 * p->pairs));
done:
    return st;
}

lk_status lk_joint_placer_new(lk_joint_placer **out, const lk_joint *m, const lk_joint_sizes *s)
{
    lk_status st = LK_OK;
    lk_joint_placer *p = NULL;
    LK_TRY(LK_NEW(&p));
    p->m = m;
    p->s = lk_joint_inside(m, s);
    p->positions = *s;
    s = &p->s;
    p->pairs = m->config.width / m->config.heads / 2;
    LK_TRY(make_room(p));
    lk_rotary_speeds(FASTEST_S, SLOWEST_S, p->pairs / 2, p->time_turns);
    lk_rotary_speeds(2, 64, p->pairs / 4, p->place_turns);
    lk_rotary_speeds(4, LK_JOINT_MOST_TEXT, p->pairs, p->byte_turns);
    for (int64_t i = 0; i < lk_joint_tokens(s, 0); i++) {
        p->row[i] = (double)(i / s->columns % s->rows);
        p->column[i] = (double)(i % s->columns);
    }
    for (int i = 0; i < s->prompt_bytes || i < s->event_bytes; i++)
        p->index[i] = i;
    *out = p;
    p = NULL;
done:
    lk_joint_placer_free(&p);
    return st;
}

void lk_joint_placer_free(lk_joint_placer **out)
{
    lk_joint_placer *p = out ? *out : NULL;
    if (!p)
        return;
    lk_free(p->time_turns);
    lk_free(p->place_turns);
    lk_free(p->byte_turns);
    lk_free(p->row);
    lk_free(p->column);
    lk_free(p->index);
    lk_free(p->latent);
    for (int i = 0; i < 2; i++) {
        lk_free(p->own[i]);
        lk_free(p->meet[i]);
        lk_free(p->seen[i]);
        lk_free(p->length[i]);
        lk_free(p->keys[i]);
    }
    lk_free(p->event);
    lk_free(p->prompt);
    lk_free(p->events);
    lk_free(p->letters);
    lk_free(p->text);
    lk_free(p->text_of);
    lk_free(p->order);
    lk_free(p->all);
    lk_free(p->what);
    lk_free(p->where);
    lk_free(p->byte);
    lk_free(p->number);
    lk_free(p->table);
    lk_free(p->vectors);
    lk_free(p);
    *out = NULL;
}

/* ---- spans and lengths ---- */

static void spread(const lk_span *latent, int64_t n, int64_t each, lk_span *token)
{
    for (int64_t i = 0; i < n * each; i++)
        token[i] = latent[i / each];
}

static lk_span moved(lk_span s, lk_flick by)
{
    return (lk_span){s.start + by, s.end + by};
}

/* Attended events stand first, so that they are one run of keys. */
static void note_events(lk_joint_placer *p, const lk_joint_clip *c, int b, int silent)
{
    int32_t *order = p->order + (int64_t)b * p->s.events;
    int n = 0;
    for (int attended = 1; attended >= 0; attended--) {
        for (int i = 0; i < c->n_events && !silent; i++)
            if (lk_joint_attended(&c->events[i]) == attended)
                order[n++] = i;
        if (attended)
            p->events[b] = n;
    }
    p->all[b] = n;
    if (p->s.events)
        lk_joint_clock_events(p->m->clock, c, p->event + (int64_t)b * p->s.events);
}

static void note_spans(lk_joint_placer *p, const lk_joint_clip *clips,
                       const lk_joint_without *without)
{
    for (int b = 0; b < p->s.batch; b++) {
        const lk_joint_clip *c = &clips[b];
        const int silent = without && without->text && without->text[b];
        const int alone = without && without->exchange && without->exchange[b];
        for (int s = 0; s < 2; s++) {
            const int64_t each = s ? 1 : (int64_t)p->s.rows * p->s.columns;
            const int64_t n = s ? c->n_sounds : c->n_latents, all = lk_joint_tokens(&p->s, s);
            lk_joint_clock_spans(LK_JOINT_SECONDS, c, s, p->latent);
            spread(p->latent, n, each, p->own[s] + b * all);
            lk_joint_clock_spans(p->m->clock, c, s, p->latent);
            spread(p->latent, n, each, p->meet[s] + b * all);
            for (int64_t i = 0; i < n; i++)
                p->latent[i] = moved(p->latent[i], without ? without->late : 0);
            spread(p->latent, n, each, p->seen[s] + b * all);
            p->length[s][b] = (int32_t)(n * each);
            p->keys[s][b] = alone ? 0 : p->length[s][b];
        }
        note_events(p, c, b, silent || (without && without->script && without->script[b]));
        p->prompt[b] = 0;
        if (!silent && p->m->config.text_channels > 0)
            p->prompt[b] =
                c->n_prompt_vectors < p->s.prompt_bytes ? c->n_prompt_vectors : p->s.prompt_bytes;
        else if (!silent && c->prompt)
            p->prompt[b] = (int32_t)strnlen(c->prompt, (size_t)p->s.prompt_bytes);
    }
}

/* ---- plans ---- */

static lk_status write_plan(lk_joint_placer *p, lk_graph *g, lk_var at, const lk_attend_rule *rule,
                            uint64_t step, int64_t n_batch, lk_attend_tokens q, lk_attend_tokens k)
{
    lk_status st = LK_OK;
    LK_TRY(lk_attend_plan(rule, step, n_batch, &q, &k, p->number));
    LK_TRY(lk_graph_write(g, at, LK_I32, p->number));
done:
    return st;
}

static void fill_rows(int32_t *rows, int64_t from, int64_t to, int64_t first, int64_t end)
{
    for (int64_t i = from; i < to; i++) {
        rows[2 * i] = (int32_t)first;
        rows[2 * i + 1] = (int32_t)end;
    }
}

/* Keys are all tokens of this stream, then those of the other one; those that are there are one
 * run, as lk_joint_check_clips has seen to. */
static lk_status write_together(lk_joint_placer *p, lk_graph *g, lk_var at, int s)
{
    const int64_t n = lk_joint_tokens(&p->s, s), other = lk_joint_tokens(&p->s, 1 - s);
    for (int b = 0; b < p->s.batch; b++) {
        const int64_t own = p->length[s][b], theirs = p->keys[1 - s][b];
        const int64_t first = own ? 0 : n, end = theirs ? n + theirs : own;
        int32_t *queries = p->number + 2 * b * (n + n + other), *keys = queries + 2 * n;
        fill_rows(queries, 0, own, first, end);
        fill_rows(queries, own, n, end, end);
        fill_rows(keys, 0, n + other, own, own);
        fill_rows(keys, 0, own, 0, own);
        if (own && theirs)
            fill_rows(keys, n, n + theirs, 0, own);
    }
    return lk_graph_write(g, at, LK_I32, p->number);
}

static lk_status write_stream_plans(lk_joint_placer *p, lk_graph *g, const lk_joint_inputs *in,
                                    int s, uint64_t step)
{
    static const lk_attend_rule full = {.kind = LK_ATTEND_FULL};
    lk_status st = LK_OK;
    const int64_t b = p->s.batch, n = lk_joint_tokens(&p->s, s);
    const lk_attend_tokens own = {p->own[s], n, p->length[s]};
    const lk_attend_tokens meet = {p->meet[s], n, p->length[s]};
    const lk_attend_tokens other = {p->seen[1 - s], lk_joint_tokens(&p->s, 1 - s), p->keys[1 - s]};
    LK_TRY(write_plan(p, g, in->self[s], &full, step, b, own, own));
    LK_TRY(write_plan(p, g, in->text[s], &full, step, b, own,
                      (lk_attend_tokens){p->byte, p->s.prompt_bytes, p->prompt}));
    if (!lk_is_none(in->script[s]))
        LK_TRY(write_plan(p, g, in->script[s], &p->m->script_rule, step, b, meet,
                          (lk_attend_tokens){p->event, p->s.events, p->events}));
    if (lk_is_none(in->exchange[s]))
        goto done;
    LK_TRY(p->m->exchange == LK_JOINT_TOGETHER
               ? write_together(p, g, in->exchange[s], s)
               : write_plan(p, g, in->exchange[s], &p->m->rule, step, b, meet, other));
done:
    return st;
}

/* ---- rotary positions ---- */

/* Tokens of n clips with these spans; rows and columns stay out where `row` is NULL. */
static lk_status write_turns(lk_joint_placer *p, lk_graph *g, lk_var at, int64_t n,
                             const lk_span *span, const double *row, const double *column)
{
    const lk_rotary_axis time = {p->pairs / 2, p->time_turns};
    const lk_rotary_axis place = {p->pairs / 4, p->place_turns};
    for (int b = 0; b < p->s.batch; b++) {
        float *table = p->table + b * n * 2 * p->pairs;
        for (int64_t i = 0; !row && i < 2 * n * p->pairs; i++) /* turned by nothing */
            table[i] = i / p->pairs % 2 ? 0 : 1;
        lk_rotary_table_time(&time, n, span + b * n, 0, 0, p->pairs, table);
        if (!row)
            continue;
        lk_rotary_table(&place, n, row, time.n_pairs, p->pairs, table);
        lk_rotary_table(&place, n, column, time.n_pairs + place.n_pairs, p->pairs, table);
    }
    return lk_graph_write(g, at, LK_F32, p->table);
}

static lk_status write_stream_turns(lk_joint_placer *p, lk_graph *g, const lk_joint_inputs *in,
                                    int s)
{
    lk_status st = LK_OK;
    const int64_t n = lk_joint_tokens(&p->s, s);
    const int placed = s == 0 && p->m->exchange == LK_JOINT_TOGETHER;
    LK_TRY(write_turns(p, g, in->turn[s], n, p->own[s], s ? NULL : p->row, p->column));
    LK_TRY(write_turns(p, g, in->meet[s], n, p->meet[s], placed ? p->row : NULL, p->column));
    if (!lk_is_none(in->seen[s]))
        LK_TRY(write_turns(p, g, in->seen[s], n, p->seen[s], placed ? p->row : NULL, p->column));
done:
    return st;
}

static lk_status write_byte_turns(lk_joint_placer *p, lk_graph *g, lk_var at, int64_t n_texts,
                                  int64_t n)
{
    const lk_rotary_axis all = {p->pairs, p->byte_turns};
    for (int64_t i = 0; i < n_texts; i++)
        lk_rotary_table(&all, n, p->index, 0, p->pairs, p->table + i * n * 2 * p->pairs);
    return lk_graph_write(g, at, LK_F32, p->table);
}

/* ---- what is held ---- */

static lk_status write_held(lk_joint_placer *p, lk_graph *g, lk_var at, const lk_joint_clip *clips,
                            int s)
{
    const int64_t each = s ? 1 : (int64_t)p->s.rows * p->s.columns;
    const int64_t n = lk_joint_tokens(&p->s, s);
    for (int b = 0; b < p->s.batch; b++) {
        const uint8_t *held = s ? clips[b].audio_held : clips[b].video_held;
        for (int64_t i = 0; i < n; i++)
            p->table[b * n + i] = held && i < p->length[s][b] && held[i / each] ? 1 : 0;
    }
    return lk_graph_write(g, at, LK_F32, p->table);
}

static lk_status write_there(lk_joint_placer *p, lk_graph *g, lk_var at, const lk_joint_clip *clips)
{
    for (int b = 0; b < p->s.batch; b++)
        for (int i = 0; i < p->s.latents; i++)
            p->table[b * p->s.latents + i] = i < clips[b].n_latents;
    return lk_graph_write(g, at, LK_F32, p->table);
}

/* ---- bytes ---- */

static int32_t put_bytes(const char *text, int n, int32_t *out)
{
    const int length = text ? (int)strnlen(text, (size_t)n) : 0;
    for (int i = 0; i < n; i++)
        out[i] = i < length ? (unsigned char)text[i] : -1;
    return length;
}

static lk_status write_vectors(lk_joint_placer *p, lk_graph *g, lk_var at,
                               const lk_joint_clip *clips)
{
    const size_t e = (size_t)p->m->config.text_channels, each = (size_t)p->s.prompt_bytes * e;
    memset(p->vectors, 0, (size_t)p->s.batch * each * sizeof(float));
    for (int b = 0; b < p->s.batch; b++)
        if (p->prompt[b])
            memcpy(p->vectors + (size_t)b * each, clips[b].prompt_vectors,
                   (size_t)p->prompt[b] * e * sizeof(float));
    return lk_graph_write(g, at, LK_F32, p->vectors);
}

static lk_status write_prompts(lk_joint_placer *p, lk_graph *g, const lk_joint_inputs *in,
                               const lk_joint_clip *clips)
{
    static const lk_attend_rule full = {.kind = LK_ATTEND_FULL};
    lk_status st = LK_OK;
    const int n = p->s.prompt_bytes;
    const lk_attend_tokens bytes = {p->byte, n, p->prompt};
    for (int b = 0; b < p->s.batch; b++)
        (void)put_bytes(p->prompt[b] ? clips[b].prompt : NULL, n, p->number + b * n);
    LK_TRY(lk_graph_write(g, in->bytes, LK_I32, p->number));
    LK_TRY(write_byte_turns(p, g, in->byte_turn, p->s.batch, n));
    LK_TRY(write_plan(p, g, in->byte_self, &full, 0, p->s.batch, bytes, bytes));
done:
    return st;
}

static int same_text(const lk_joint_placer *p, const char *a, const char *b)
{
    return strncmp(a, b, (size_t)p->s.event_bytes) == 0;
}

static lk_status number_texts(lk_joint_placer *p, const lk_joint_clip *clips)
{
    lk_status st = LK_OK;
    const int each = p->s.events;
    p->n_texts = 0;
    for (int i = 0; i < p->s.batch * each; i++) {
        const char *text;
        int k = 0;
        p->text_of[i] = -1;
        if (i % each >= p->all[i / each])
            continue;
        text = clips[i / each].events[p->order[i]].text;
        while (k < p->n_texts && !same_text(p, p->text[k], text))
            k++;
        LK_REQUIRE(k < lk_joint_texts(&p->s), LK_E_ARG,
                   "the events of a batch have more than %d different texts",
                   lk_joint_texts(&p->s));
        p->text[k] = text;
        p->n_texts = k == p->n_texts ? k + 1 : p->n_texts;
        p->text_of[i] = k;
    }
done:
    return st;
}

static lk_status write_events(lk_joint_placer *p, lk_graph *g, const lk_joint_inputs *in,
                              const lk_joint_clip *clips)
{
    static const lk_attend_rule full = {.kind = LK_ATTEND_FULL};
    lk_status st = LK_OK;
    const int n = p->s.event_bytes, all = lk_joint_texts(&p->s);
    const lk_attend_tokens bytes = {p->byte, n, p->letters};
    LK_TRY(number_texts(p, clips));
    for (int i = 0; i < all; i++) {
        p->letters[i] = put_bytes(i < p->n_texts ? p->text[i] : NULL, n, p->number + i * n);
        for (int k = 0; k < n; k++)
            p->table[i * n + k] = k < p->letters[i] ? 1.0f / (float)p->letters[i] : 0;
    }
    LK_TRY(lk_graph_write(g, in->letters, LK_I32, p->number));
    LK_TRY(lk_graph_write(g, in->letter_share, LK_F32, p->table));
    LK_TRY(lk_graph_write(g, in->event_text, LK_I32, p->text_of));
    LK_TRY(write_byte_turns(p, g, in->letter_turn, all, n));
    LK_TRY(write_plan(p, g, in->letter_self, &full, 0, all, bytes, bytes));
    LK_TRY(write_turns(p, g, in->event_turn, p->s.events, p->event, NULL, NULL));
done:
    return st;
}

static lk_status write_laid(lk_joint_placer *p, lk_graph *g, const lk_joint_inputs *in,
                            const lk_joint_clip *clips, const lk_joint_without *without)
{
    lk_status st = LK_OK;
    const int64_t each = 2 * lk_joint_tokens(&p->s, 0);
    for (int b = 0; b < p->s.batch; b++) {
        const int none = without && without->places && without->places[b];
        lk_joint_lay(p->m, &p->positions, &clips[b], p->order + (int64_t)b * p->s.events,
                     none ? 0 : p->all[b], p->what + b * each * p->s.events,
                     p->where + b * each * LK_JOINT_GRID * LK_JOINT_GRID);
    }
    LK_TRY(lk_graph_write(g, in->what, LK_F32, p->what));
    LK_TRY(lk_graph_write(g, in->where, LK_F32, p->where));
done:
    return st;
}

lk_status lk_joint_place(lk_joint_placer *p, lk_graph *g, const lk_joint_inputs *in,
                         const lk_joint_clip *clips, const lk_joint_without *without, uint64_t step)
{
    lk_status st = LK_OK;
    note_spans(p, clips, without);
    for (int s = 0; s < 2; s++) {
        if (lk_joint_tokens(&p->s, s) == 0)
            continue;
        LK_TRY(write_stream_plans(p, g, in, s, step));
        LK_TRY(write_stream_turns(p, g, in, s));
        LK_TRY(write_held(p, g, in->held[s], clips, s));
    }
    if (!lk_is_none(in->there))
        LK_TRY(write_there(p, g, in->there, clips));
    LK_TRY(lk_is_none(in->vectors) ? write_prompts(p, g, in, clips)
                                   : write_vectors(p, g, in->vectors, clips));
    if (p->s.events)
        LK_TRY(write_events(p, g, in, clips));
    if (!lk_is_none(in->what))
        LK_TRY(write_laid(p, g, in, clips, without));
done:
    return st;
}
