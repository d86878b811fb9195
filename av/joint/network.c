/* network.c - the dual-stream transformer.
 *
 * With s one stream, o the other, c_s = MLP(level of s), and every m(.) a linear map that starts at
 * zero, shared by all blocks, plus an offset of the block:
 *
 *   x_s <- x_s + gate . self(h, h)                          h = norm(x_s) (1 + scale) + shift
 *   x_s <- x_s + gate . (text(h, prompt) + script(h, events))
 *   x_v, x_a <- x_v + gate . exchange(h_v, h_a), x_a + gate . exchange(h_a, h_v)
 *   x_s <- x_s + gate . feed(h)
 *
 * Scale, shift and gate come from m(c_s), those of the exchange from m(c_s) + m'(c_o).  Both h of
 * the exchange are made before either stream is changed.  An exchange "joint" has no layer of its
 * own: self(h_s, [h_s, h_o]), with the exchange's scale, shift and gate.  All gates start at zero,
 * so a block starts as the identity.
 *
 * The last layer says the flow v = e - x itself, or with predict "clean" what it takes for x, and
 *
 *   v = (x_t - x) / max(t, 0.05)
 *
 * A flow has as many directions as x_t has numbers, for noise fills them all; clips do not.  So a
 * token may have more numbers than the network is wide (Li, He 2025, "Back to Basics: Let Denoising
 * Generative Models Denoise").
 */
#include "av/joint/joint_impl.h"

#include <math.h>
#include <string.h>

enum { OWN_ROWS = 9, MEET_ROWS = 3, LEVEL_FEATURES = 64 };

#define NEAREST_LEVEL 0.05 /* to 0, where a flow can no longer be told from x_t and x */

int64_t lk_joint_tokens(const lk_joint_sizes *s, int stream)
{
    return stream ? s->sounds : (int64_t)s->latents * s->rows * s->columns;
}

lk_joint_sizes lk_joint_inside(const lk_joint *m, const lk_joint_sizes *s)
{
    lk_joint_sizes inside = *s;
    inside.rows = (s->rows + m->config.patch - 1) / m->config.patch;
    inside.columns = (s->columns + m->config.patch - 1) / m->config.patch;
    return inside;
}

int lk_joint_texts(const lk_joint_sizes *s)
{
    const int all = s->batch * s->events;
    return s->event_texts > 0 && s->event_texts < all ? s->event_texts : all;
}

int lk_joint_meets(const lk_joint *m, const lk_joint_sizes *s, int stream, int block)
{
    const lk_joint_config *c = &m->config;
    const int last = c->exchange_last < 0 ? c->blocks - 1 : c->exchange_last;
    return m->exchange != LK_JOINT_NO_EXCHANGE && lk_joint_tokens(s, 0) && lk_joint_tokens(s, 1) &&
           block >= c->exchange_first && block <= last &&
           (block - c->exchange_first) % c->exchange_every == 0 &&
           strcmp(c->directions, stream ? "to_video" : "to_audio") != 0;
}

/* ---- layers ---- */

static lk_var into_heads(lk_graph *g, lk_var x, int heads)
{
    const int64_t b = lk_var_dim(g, x, 0), n = lk_var_dim(g, x, 1), w = lk_var_dim(g, x, 2);
    if (lk_is_none(x)) /* something failed before */
        return x;
    return lk_permute(g, lk_reshape(g, x, LK_SHAPE(b, n, heads, w / heads)),
                      (const int[]){0, 2, 1, 3});
}

static lk_var position(lk_graph *g, const char *norm, lk_var x, int heads, lk_var turn)
{
    x = lk_nn_norm(g, norm, LK_RMS_NORM, into_heads(g, x, heads), 1);
    return lk_is_none(turn) ? x : lk_rotary(g, x, turn);
}

lk_var lk_joint_attend(lk_graph *g, const char *name, int heads, lk_joint_keys x, int n,
                       const lk_joint_keys *keys, lk_var plan, lk_var back,
                       lk_joint_compared *compared)
{
    const int64_t w = lk_var_dim(g, x.x, 2);
    lk_var q, k[2], v[2], y, all;
    if (lk_is_none(x.x))
        return LK_NONE;
    lk_scope(g, "%s", name);
    q = position(g, "q_norm", lk_nn_dense(g, "q", x.x, w, 1), heads, x.turn);
    for (int i = 0; i < n; i++) {
        lk_var part[2];
        lk_scope(g, "from%d", i);
        lk_split_equally(g, lk_nn_dense(g, "kv", keys[i].x, 2 * w, 1), 2, 2, part);
        k[i] = position(g, "k_norm", part[0], heads, keys[i].turn);
        v[i] = into_heads(g, part[1], heads);
        if (!lk_is_none(back))
            v[i] = lk_rotary(g, v[i], keys[i].turn);
        lk_scope_end(g);
    }
    all = n > 1 ? lk_concat(g, n, k, 2) : k[0];
    y = lk_attention(g, q, all, n > 1 ? lk_concat(g, n, v, 2) : v[0], plan, 0, NULL);
    if (compared) {
        *compared = (lk_joint_compared){q, all, plan};
        lk_output(g, "q", q);
        lk_output(g, "k", all);
    }
    if (!lk_is_none(back))
        y = lk_rotary(g, y, back);
    y = lk_permute(g, y, (const int[]){0, 2, 1, 3});
    y = lk_reshape(g, y, LK_SHAPE(lk_var_dim(g, x.x, 0), lk_var_dim(g, x.x, 1), w));
    y = lk_nn_dense(g, "out", y, w, 1);
    lk_scope_end(g);
    return y;
}

lk_joint_compared *lk_joint_probed(const lk_joint *m, int block, int stream, lk_joint_sight sight)
{
    return m->probed ? &m->probed[(2 * block + stream) * LK_JOINT_SIGHTS + (int)sight] : NULL;
}

lk_var lk_joint_feed(lk_graph *g, const char *name, lk_var x)
{
    const int64_t w = lk_var_dim(g, x, -1);
    lk_scope(g, "%s", name);
    x = lk_gelu_tanh(g, lk_nn_dense(g, "in", x, 4 * w, 1));
    x = lk_nn_dense(g, "out", x, w, 1);
    lk_scope_end(g);
    return x;
}

/* ---- modulation ---- */

/* sin and cos of t f, f from 1 to 1000 in geometric steps; then two layers. */
static lk_var read_level(lk_graph *g, lk_var level, int64_t width)
{
    float f[LEVEL_FEATURES / 2];
    lk_var angle, x;
    for (int i = 0; i < LEVEL_FEATURES / 2; i++)
        f[i] = (float)pow(1000, (double)i / (LEVEL_FEATURES / 2 - 1));
    angle = lk_mul(g, level, lk_constant(g, LK_F32, LK_SHAPE(1, LEVEL_FEATURES / 2), f));
    x = lk_concat(
        g, 2, (lk_var[]){lk_unary(g, LK_SIN, angle, 0, 0), lk_unary(g, LK_COS, angle, 0, 0)}, 1);
    x = lk_cast(g, x, lk_graph_compute_dtype(g));
    x = lk_silu(g, lk_nn_dense(g, "level1", x, width, 1));
    return lk_silu(g, lk_nn_dense(g, "level2", x, width, 1));
}

static lk_var rows_of(lk_graph *g, const char *name, lk_var c, int64_t n)
{
    const int64_t w = lk_var_dim(g, c, -1);
    return lk_reshape(g, lk_nn_dense(g, name, c, n * w, 0), LK_SHAPE(-1, n, w));
}

/* Rows of all blocks, moved by this block's. */
static lk_var moved(lk_graph *g, const char *name, lk_var rows)
{
    return lk_add(g, rows,
                  lk_weight(g, name, LK_SHAPE(lk_var_dim(g, rows, 1), lk_var_dim(g, rows, 2)),
                            LK_INIT_ZERO, 0));
}

static lk_var row(lk_graph *g, lk_var rows, int i)
{
    return lk_reshape(g, lk_slice(g, rows, 1, i, 1), LK_SHAPE(-1, lk_var_dim(g, rows, 2)));
}

/* norm(x) (1 + scale) + shift with rows first and first + 1. */
static lk_var modulated(lk_graph *g, lk_var x, lk_var rows, int first)
{
    return lk_adaptive_norm(g, LK_LAYER_NORM, x, row(g, rows, first), row(g, rows, first + 1), 1,
                            1e-5);
}

static lk_var add_gated(lk_graph *g, lk_var x, lk_var rows, int first, lk_var y)
{
    return lk_gated_add(g, x, row(g, rows, first + 2), y);
}

/* ---- the two streams ---- */

static const char *const names[2] = {"video", "audio"};

typedef struct net {
    lk_graph *g;
    const lk_joint *m;
    const lk_joint_sizes *s, *outside; /* in patches, in positions */
    const lk_joint_inputs *in;
    lk_var prompt, events;
    lk_var x[2], c[2], own[2], meet[2]; /* tokens, levels, rows of all blocks */
    lk_var back[2];                     /* in->meet the other way round, or LK_NONE */
    lk_var given[2], scene;             /* x as tokens; scene.c, or LK_NONE */
} net;

static int there(const net *n, int s)
{
    return lk_joint_tokens(n->s, s) > 0;
}

/* Latents as patches; what is missing in the last row and column is 0. */
static lk_var fold(net *n, lk_var x)
{
    lk_graph *g = n->g;
    const lk_joint_sizes *o = n->outside, *s = n->s;
    const int r = n->m->config.patch, channels = lk_joint_channels(n->m, 0);
    if (r == 1)
        return x;
    x = lk_reshape(g, x, LK_SHAPE((int64_t)o->batch * o->latents, o->rows, o->columns, channels));
    x = lk_pad(g, x, 1, 0, s->rows * r - o->rows);
    x = lk_pad(g, x, 2, 0, s->columns * r - o->columns);
    x = lk_space_to_depth(g, x, r);
    return lk_reshape(g, x, LK_SHAPE(s->batch, lk_joint_tokens(s, 0), channels * r * r));
}

static lk_var unfold(net *n, lk_var x)
{
    lk_graph *g = n->g;
    const lk_joint_sizes *o = n->outside, *s = n->s;
    const int r = n->m->config.patch, channels = lk_joint_channels(n->m, 0);
    if (r == 1)
        return x;
    x = lk_reshape(g, x,
                   LK_SHAPE((int64_t)o->batch * o->latents, s->rows, s->columns, channels * r * r));
    x = lk_depth_to_space(g, x, r);
    x = lk_slice(g, lk_slice(g, x, 1, 0, o->rows), 2, 0, o->columns);
    return lk_reshape(g, x, LK_SHAPE(o->batch, lk_joint_tokens(o, 0), channels));
}

/* Numbers of a token, whether it is held, and of a picture's where it is: rotary positions are
 * differences, but what is below in a picture is not what is above.  Time stays out, so that a
 * moment later in a clip is like one that is earlier. */
static lk_var entering(net *n, int s)
{
    lk_graph *g = n->g;
    const int64_t pairs = lk_var_dim(g, n->in->turn[s], 3), half = pairs / 2;
    lk_var part[3] = {n->given[s], n->in->held[s], LK_NONE};
    if (s == 0)
        part[2] = lk_reshape(g, lk_slice(g, n->in->turn[s], 3, half, pairs - half),
                             LK_SHAPE(n->s->batch, lk_joint_tokens(n->s, s), 2 * (pairs - half)));
    return lk_concat(g, s ? 2 : 3, part, 2);
}

/* What lies on the picture's tokens; see lay.c. */
static lk_var laid(net *n)
{
    lk_graph *g = n->g;
    const int64_t width = n->m->config.width, tokens = lk_joint_tokens(n->s, 0);
    const lk_dtype dtype = lk_graph_compute_dtype(g);
    lk_var what = lk_matmul(g, lk_cast(g, n->in->what, dtype), n->events, 0, 0), x;
    what = lk_reshape(g, what, LK_SHAPE(n->s->batch, tokens, 2 * width));
    x = lk_add(g, lk_nn_dense(g, "what", what, width, 1),
               lk_nn_dense(g, "where", lk_cast(g, n->in->where, dtype), width, 1));
    return lk_nn_dense(g, "laid", lk_gelu_tanh(g, x), width, 1);
}

static void enter(net *n, int s)
{
    lk_graph *g = n->g;
    lk_var x;
    lk_scope(g, "%s", names[s]);
    n->given[s] = s ? n->in->x[s] : fold(n, n->in->x[s]);
    x = lk_cast(g, entering(n, s), lk_graph_compute_dtype(g));
    n->x[s] = lk_nn_dense(g, "in", x, n->m->config.width, 1);
    if (s == 0 && n->m->config.scene) {
        n->scene = lk_joint_scene(g, n->s, n->in, n->given[s]);
        x = lk_cast(g, n->scene, lk_graph_compute_dtype(g));
        n->x[s] = lk_joint_over_latents(g, n->s, n->x[s],
                                        lk_nn_dense(g, "scene", x, n->m->config.width, 0));
    }
    if (s == 0 && !lk_is_none(n->in->what))
        n->x[s] = lk_add(g, n->x[s], laid(n));
    n->c[s] = read_level(g, n->in->level[s], n->m->config.width);
    n->own[s] = rows_of(g, "own", n->c[s], OWN_ROWS);
    n->back[s] = LK_NONE;
    if (n->m->config.relative_values)
        n->back[s] = lk_mul(g, n->in->meet[s],
                            lk_constant(g, LK_F32, LK_SHAPE(2, 1), (const float[]){1, -1}));
    lk_scope_end(g);
}

/* Rows of the exchange depend on both levels. */
static void enter_exchange(net *n, int s)
{
    lk_graph *g = n->g;
    lk_scope(g, "%s", names[s]);
    n->meet[s] = lk_add(g, rows_of(g, "meet_own", n->c[s], MEET_ROWS),
                        rows_of(g, "meet_other", n->c[1 - s], MEET_ROWS));
    lk_scope_end(g);
}

static void self_and_text(net *n, int block, int s, int together, const lk_var h[2], lk_var own,
                          lk_var meet)
{
    lk_graph *g = n->g;
    const int heads = n->m->config.heads;
    const lk_joint_inputs *in = n->in;
    lk_joint_keys q = {h[s], together ? in->meet[s] : in->turn[s]};
    const lk_joint_keys keys[2] = {q, {h[1 - s], in->seen[1 - s]}};
    lk_var y = lk_joint_attend(g, "self", heads, q, together ? 2 : 1, keys,
                               together ? in->exchange[s] : in->self[s], LK_NONE,
                               lk_joint_probed(n->m, block, s, LK_JOINT_SEES_ITSELF));
    n->x[s] = together ? add_gated(g, n->x[s], meet, 0, y) : add_gated(g, n->x[s], own, 0, y);
    q = (lk_joint_keys){modulated(g, n->x[s], own, 3), LK_NONE};
    y = lk_joint_attend(g, "text", heads, q, 1, &(lk_joint_keys){n->prompt, LK_NONE}, in->text[s],
                        LK_NONE, NULL);
    if (!lk_is_none(n->events)) {
        q.turn = in->meet[s];
        y = lk_add(g, y,
                   lk_joint_attend(g, "script", heads, q, 1,
                                   &(lk_joint_keys){n->events, in->event_turn}, in->script[s],
                                   n->back[s],
                                   lk_joint_probed(n->m, block, s, LK_JOINT_SEES_SCRIPT)));
    }
    n->x[s] = add_gated(g, n->x[s], own, 3, y);
}

static void exchange(net *n, int block, const int meets[2], const lk_var meet[2])
{
    lk_var h[2], y[2] = {LK_NONE, LK_NONE};
    for (int s = 0; s < 2; s++)
        h[s] = modulated(n->g, n->x[s], meet[s], 0);
    for (int s = 0; s < 2; s++) {
        if (!meets[s])
            continue;
        lk_scope(n->g, "%s", names[s]);
        y[s] = lk_joint_attend(n->g, "exchange", n->m->config.heads,
                               (lk_joint_keys){h[s], n->in->meet[s]}, 1,
                               &(lk_joint_keys){h[1 - s], n->in->seen[1 - s]}, n->in->exchange[s],
                               n->back[s], lk_joint_probed(n->m, block, s, LK_JOINT_SEES_OTHER));
        lk_scope_end(n->g);
    }
    for (int s = 0; s < 2; s++)
        if (meets[s])
            n->x[s] = add_gated(n->g, n->x[s], meet[s], 0, y[s]);
}

static void block(net *n, int i)
{
    lk_graph *g = n->g;
    lk_var own[2] = {LK_NONE, LK_NONE}, meet[2] = {LK_NONE, LK_NONE}, h[2] = {LK_NONE, LK_NONE};
    const int meets[2] = {lk_joint_meets(n->m, n->s, 0, i), lk_joint_meets(n->m, n->s, 1, i)};
    const int any = meets[0] || meets[1], together = n->m->exchange == LK_JOINT_TOGETHER;
    lk_scope(g, "blocks.%d", i);
    for (int s = 0; s < 2; s++) {
        if (!there(n, s))
            continue;
        lk_scope(g, "%s", names[s]);
        own[s] = moved(g, "own", n->own[s]);
        if (any)
            meet[s] = moved(g, "meet", n->meet[s]);
        h[s] = modulated(g, n->x[s], any && together ? meet[s] : own[s], 0);
        lk_scope_end(g);
    }
    for (int s = 0; s < 2; s++) {
        if (!there(n, s))
            continue;
        lk_scope(g, "%s", names[s]);
        lk_var seen[2] = {h[0], h[1]};
        if (any && together && !meets[s]) /* only looked at */
            seen[s] = modulated(g, n->x[s], own[s], 0);
        self_and_text(n, i, s, together && meets[s], seen, own[s], meet[s]);
        lk_scope_end(g);
    }
    if (any && !together)
        exchange(n, i, meets, meet);
    for (int s = 0; s < 2; s++) {
        if (!there(n, s))
            continue;
        lk_scope(g, "%s", names[s]);
        n->x[s] = add_gated(g, n->x[s], own[s], 6,
                            lk_joint_feed(g, "feed", modulated(g, n->x[s], own[s], 6)));
        lk_scope_end(g);
    }
    lk_scope_end(g);
}

static lk_var flow_of(net *n, int s, lk_var clean)
{
    lk_graph *g = n->g;
    lk_var level = lk_reshape(g, n->in->level[s], LK_SHAPE(n->s->batch, 1, 1));
    level = lk_unary(g, LK_CLAMP, level, NEAREST_LEVEL, 1);
    return lk_div(g, lk_sub(g, n->in->x[s], clean), level);
}

static lk_var leave(net *n, int s)
{
    lk_graph *g = n->g;
    const int each = s ? 1 : n->m->config.patch * n->m->config.patch;
    lk_var rows, h, x;
    lk_scope(g, "%s", names[s]);
    rows = rows_of(g, "last", n->c[s], 2);
    h = modulated(g, n->x[s], rows, 0);
    x = lk_nn_dense(g, "out", h, lk_joint_channels(n->m, s) * each, 0);
    if (n->m->config.scene)
        x = lk_add(g, x, lk_joint_taken_over(g, n->s, h, n->given[s], s ? LK_NONE : n->scene));
    if (n->m->config.still && s == 0)
        x = lk_joint_said_once(g, n->s, n->in, h, n->given[s], x);
    lk_scope_end(g);
    x = lk_cast(g, s ? x : unfold(n, x), LK_F32);
    return strcmp(n->m->config.predict, "clean") == 0 ? flow_of(n, s, x) : x;
}

/* ---- inputs ---- */

static void stream_inputs(lk_graph *g, const lk_joint *m, const lk_joint_sizes *z,
                          int64_t positions, int s, lk_joint_inputs *in)
{
    const int64_t b = z->batch, n = lk_joint_tokens(z, s), other = lk_joint_tokens(z, 1 - s);
    const int64_t pairs = m->config.width / m->config.heads / 2;
    const int64_t keys = other + (m->exchange == LK_JOINT_TOGETHER ? n : 0);
    lk_scope(g, "%s", names[s]);
    in->x[s] = lk_input(g, s ? "audio.x" : "video.x", LK_F32,
                        LK_SHAPE(b, positions, lk_joint_channels(m, s)));
    in->held[s] = lk_input(g, s ? "audio.held" : "video.held", LK_F32, LK_SHAPE(b, n, 1));
    in->level[s] = lk_input(g, s ? "audio.level" : "video.level", LK_F32, LK_SHAPE(b, 1));
    if (s == 0 && (m->config.scene || m->config.still))
        in->there = lk_input(g, "video.there", LK_F32, LK_SHAPE(b, z->latents));
    in->turn[s] = lk_input(g, s ? "audio.turn" : "video.turn", LK_F32, LK_SHAPE(b, n, 2, pairs));
    in->meet[s] = lk_input(g, s ? "audio.meet" : "video.meet", LK_F32, LK_SHAPE(b, n, 2, pairs));
    if (m->exchange != LK_JOINT_NO_EXCHANGE && other)
        in->seen[s] =
            lk_input(g, s ? "audio.seen" : "video.seen", LK_F32, LK_SHAPE(b, n, 2, pairs));
    in->self[s] = lk_input(g, s ? "audio.self" : "video.self", LK_I32, LK_SHAPE(b, 2 * n, 2));
    in->text[s] =
        lk_input(g, s ? "audio.text" : "video.text", LK_I32, LK_SHAPE(b, n + z->prompt_bytes, 2));
    if (z->events)
        in->script[s] =
            lk_input(g, s ? "audio.script" : "video.script", LK_I32, LK_SHAPE(b, n + z->events, 2));
    if (m->exchange != LK_JOINT_NO_EXCHANGE && other)
        in->exchange[s] =
            lk_input(g, s ? "audio.exchange" : "video.exchange", LK_I32, LK_SHAPE(b, n + keys, 2));
    lk_scope_end(g);
}

static void text_inputs(lk_graph *g, const lk_joint *m, const lk_joint_sizes *z,
                        lk_joint_inputs *in)
{
    const int64_t b = z->batch, l = z->prompt_bytes, e = z->event_bytes, t = lk_joint_texts(z);
    const int64_t pairs = m->config.width / m->config.heads / 2;
    if (m->config.text_channels > 0) {
        in->vectors = lk_input(g, "vectors", LK_F32, LK_SHAPE(b, l, m->config.text_channels));
    } else {
        in->bytes = lk_input(g, "bytes", LK_I32, LK_SHAPE(b * l));
        in->byte_turn = lk_input(g, "byte.turn", LK_F32, LK_SHAPE(b, l, 2, pairs));
        in->byte_self = lk_input(g, "byte.self", LK_I32, LK_SHAPE(b, 2 * l, 2));
    }
    if (t == 0)
        return;
    in->letters = lk_input(g, "letters", LK_I32, LK_SHAPE(t * e));
    in->letter_turn = lk_input(g, "letter.turn", LK_F32, LK_SHAPE(t, e, 2, pairs));
    in->letter_self = lk_input(g, "letter.self", LK_I32, LK_SHAPE(t, 2 * e, 2));
    in->letter_share = lk_input(g, "letter.share", LK_F32, LK_SHAPE(t, e, 1));
    in->event_text = lk_input(g, "event.text", LK_I32, LK_SHAPE(b * z->events));
    in->event_turn = lk_input(g, "event.turn", LK_F32, LK_SHAPE(b, z->events, 2, pairs));
    if (m->config.places && z->latents) {
        in->what =
            lk_input(g, "event.what", LK_F32, LK_SHAPE(b, 2 * lk_joint_tokens(z, 0), z->events));
        in->where = lk_input(g, "event.where", LK_F32,
                             LK_SHAPE(b, lk_joint_tokens(z, 0), 2 * LK_JOINT_GRID * LK_JOINT_GRID));
    }
}

void lk_joint_network(lk_graph *g, const lk_joint *m, const lk_joint_sizes *s, lk_joint_inputs *in,
                      lk_var v[2])
{
    const lk_joint_sizes inside = lk_joint_inside(m, s);
    net n = {.g = g, .m = m, .s = &inside, .outside = s, .in = in, .scene = LK_NONE};
    memset(in, 0xff, sizeof *in); /* all LK_NONE */
    text_inputs(g, m, &inside, in);
    for (int i = 0; i < 2; i++)
        if (there(&n, i))
            stream_inputs(g, m, &inside, lk_joint_tokens(s, i), i, in);
    n.prompt = lk_joint_prompt(g, m, s, in);
    n.events = lk_joint_events(g, m, s, in);
    for (int i = 0; i < 2; i++)
        if (there(&n, i))
            enter(&n, i);
    for (int i = 0; i < 2; i++)
        if (m->exchange != LK_JOINT_NO_EXCHANGE && there(&n, 0) && there(&n, 1))
            enter_exchange(&n, i);
    for (int i = 0; i < m->config.blocks; i++)
        block(&n, i);
    for (int i = 0; i < 2; i++)
        v[i] = there(&n, i) ? leave(&n, i) : LK_NONE;
}
