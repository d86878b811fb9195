/* past.h - what causal layers remember between the pieces of a stream.
 *
 * A model that looks back in time is one C function for both uses.  Without a past it sees a whole
 * clip, and before its start lie zeros.  With one it sees pieces: every layer finds the last inputs
 * of the piece before in front of its own, so pieces of equal shape, one after another, give the
 * same bits however the caller cuts the stream.
 *
 *     h = lk_past_join(past, g, x, 2);                      past NULL: two zero steps in front
 *     h = lk_nn_conv(g, "conv", h, c, (const int64_t[]){3}, NULL);
 *     ...
 *     LK_TRY(lk_graph_compile(g));
 *     for each piece: write, lk_graph_run, lk_past_advance(past), read
 *
 * Layout       time is dimension 1: [B, T, ...].
 * Ownership    the past borrows its graph, which must outlive it or be freed before the next use.
 * Threads      those of the graph.
 */
#ifndef LK_PAST_H
#define LK_PAST_H

#include "kernels/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lk_past lk_past;

/* For one graph; record all of its layers with it. */
LK_CHECKED lk_status lk_past_new(lk_past **p, lk_graph *g);
void lk_past_free(lk_past **p);

/* x [B, T, ...] with the n steps before it in front: [B, n + T, ...].  n >= 0; 0 gives x. */
lk_var lk_past_join(lk_past *p, lk_graph *g, lk_var x, int64_t n);

/* After a run: the ends of this piece become the past of the next. */
LK_CHECKED lk_status lk_past_advance(lk_past *p);

/* Back to the start of a stream: zeros. */
LK_CHECKED lk_status lk_past_reset(lk_past *p);

/* Take the memory out, lk_past_bytes of it, and put it back: one graph serves several streams. */
LK_CHECKED lk_status lk_past_save(const lk_past *p, void *bytes);
LK_CHECKED lk_status lk_past_load(lk_past *p, const void *bytes);

/* Bytes kept between pieces; the length of the stream does not matter. */
int64_t lk_past_bytes(const lk_past *p);

#ifdef __cplusplus
}
#endif

#endif /* LK_PAST_H */
