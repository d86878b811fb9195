/* text.c - the encoder of bytes.
 *
 *   h_0 = table[byte];  h <- h + attention(norm h);  h <- h + feed(norm h)
 *
 * with rotary positions by index.  A prompt is its last h, one token a byte.  The text of an event
 * goes through the same weights and is the mean of its bytes, one token an event.  Texts that occur
 * more than once in a batch are read once: scripts say the same few words again and again.
 */
#include "av/joint/joint_impl.h"

static lk_var read_bytes(lk_graph *g, const lk_joint *m, lk_var bytes, int64_t n_texts,
                         int64_t n_bytes, lk_var turn, lk_var plan)
{
    const int64_t width = m->config.width;
    lk_var x;
    lk_scope(g, "text");
    x = lk_gather(g, lk_weight(g, "table", LK_SHAPE(256, width), LK_INIT_NORMAL, 0.5), 0, bytes);
    x = lk_reshape(g, x, LK_SHAPE(n_texts, n_bytes, width));
    for (int i = 0; i < m->config.text_blocks; i++) {
        lk_joint_keys h;
        lk_scope(g, "blocks.%d", i);
        h = (lk_joint_keys){lk_nn_norm(g, "norm1", LK_RMS_NORM, x, 1), turn};
        x = lk_add(g, x,
                   lk_joint_attend(g, "self", m->config.heads, h, 1, &h, plan, LK_NONE, NULL));
        x = lk_add(g, x, lk_joint_feed(g, "feed", lk_nn_norm(g, "norm2", LK_RMS_NORM, x, 1)));
        lk_scope_end(g);
    }
    x = lk_nn_norm(g, "norm", LK_RMS_NORM, x, 1);
    lk_scope_end(g);
    return x;
}

lk_var lk_joint_prompt(lk_graph *g, const lk_joint *m, const lk_joint_sizes *s,
                       const lk_joint_inputs *in)
{
    lk_var x;
    if (m->config.text_channels == 0)
        return read_bytes(g, m, in->bytes, s->batch, s->prompt_bytes, in->byte_turn, in->byte_self);
    lk_scope(g, "vectors");
    x = lk_cast(g, in->vectors, lk_graph_compute_dtype(g));
    x = lk_nn_norm(g, "norm", LK_RMS_NORM, lk_nn_dense(g, "in", x, m->config.width, 1), 1);
    lk_scope_end(g);
    return x;
}

lk_var lk_joint_events(lk_graph *g, const lk_joint *m, const lk_joint_sizes *s,
                       const lk_joint_inputs *in)
{
    lk_var x;
    if (s->events == 0)
        return LK_NONE;
    x = read_bytes(g, m, in->letters, lk_joint_texts(s), s->event_bytes, in->letter_turn,
                   in->letter_self);
    x = lk_mul(g, x, lk_cast(g, in->letter_share, lk_var_dtype(g, x)));
    x = lk_cast(g, lk_reduce_sum(g, x, 1u << 1, 0), lk_graph_compute_dtype(g));
    x = lk_gather(g, x, 0, in->event_text);
    return lk_reshape(g, x, LK_SHAPE(s->batch, s->events, m->config.width));
}
