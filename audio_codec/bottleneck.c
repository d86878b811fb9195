/* bottleneck.c - tokens and Gaussian numbers between encoder and decoder.
 *
 * Residual quantiser, stage i of h [W] (van den Oord et al. 2017; factorised and l2-normalised: Yu
 * et al. 2022, Kumar et al. 2023, section 3.2), with stop() where nothing flows back:
 *
 *   e_i = unit(In_i r_i)         r_0 = h,  r_(i+1) = r_i - stop(o_i)
 *   c_i = unit(code k_i), k_i the nearest to e_i
 *   o_i = Out_i (e_i + stop(c_i - e_i))
 *   commit_i = mean (e_i - c_i)^2;   rebuild = mean over i of mean |o_i - r_i|^2
 *
 * rebuild makes the few numbers of a stage those that say most about what is left, and holds the
 * encoder to what the stages can say: h has no norm that would keep it from growing.  In the chain
 * only the subtracted output is stopped: the whole residual would cut every stage after the first
 * off from the encoder, which is a known fault.  A code is the direction of a moving average
 * (codebook.c), so its length carries no meaning, and no gradient reaches it.
 *
 * Gaussian latent (Kingma, Welling 2014) of h alone, or of what the tokens leave, r = h - stop(sum
 * of o_i), with weights of their own, since r is much smaller than h:
 *
 *   mean, log_var = M r;   z = mean + e^(log_var / 2) noise;   latent = sum of o_i + Z z
 */
#include "audio_codec/codec_impl.h"

#include "kernels/graph_impl.h"
#include "kernels/nn.h"

#include <math.h>

/* Rows of length 1. */
static lk_var unit(lk_graph *g, lk_var x)
{
    const double root = sqrt((double)lk_var_dim(g, x, -1));
    return lk_scale(g, lk_norm(g, LK_RMS_NORM, x, LK_NONE, LK_NONE, 1, 1e-12), 1 / root);
}

/* A layer that fit.c sets, in the compute type between f32 values. */
static lk_var dense(lk_graph *g, const char *name, lk_var x, int64_t n_out, double gain)
{
    x = lk_cast(g, x, lk_graph_compute_dtype(g));
    x = lk_cast(g, lk_nn_dense(g, name, x, n_out, gain / LK_CODEC_SLOW), LK_F32);
    return lk_scale(g, x, LK_CODEC_SLOW);
}

/* Out of a stage; small at first, so that what is left for later stages is not mostly noise. */
static lk_var out_of(lk_graph *g, const lk_codec_config *c, lk_var code)
{
    return dense(g, "out", code, c->latent_width, 0.25);
}

/* Of unit length already, except while they are trained (lk_codec_finish_codes). */
static lk_var codes_of(lk_graph *g, const lk_codec_config *c)
{
    const lk_shape shape = LK_SHAPE(c->entries, c->code_width);
    const lk_var codes = lk_stop_gradient(g, lk_param(g, "codes", shape, LK_INIT_NORMAL, 1));
    return lk_graph_is_training(g) ? unit(g, codes) : codes;
}

/* Rows of the table by index i32 [B, T]. */
static lk_var look_up(lk_graph *g, lk_var codes, lk_var index)
{
    const int64_t b = lk_var_dim(g, index, 0), t = lk_var_dim(g, index, 1);
    const lk_var rows = lk_gather(g, codes, 0, lk_reshape(g, index, LK_SHAPE(b * t)));
    return lk_reshape(g, rows, LK_SHAPE(b, t, lk_var_dim(g, codes, 1)));
}

void lk_codec_quantise(lk_graph *g, const lk_codec_config *c, lk_var h, lk_codec_stages *s)
{
    lk_var residual = h;
    for (int i = 0; i < c->stages; i++) {
        lk_var codes, code, back;
        lk_scope(g, "quantiser.%d", i);
        codes = codes_of(g, c);
        s->unit[i] = unit(g, dense(g, "in", residual, c->code_width, 1));
        s->index[i] = lk_nearest(g, lk_stop_gradient(g, s->unit[i]), codes);
        lk_output(g, "unit", s->unit[i]);
        lk_output(g, "index", s->index[i]);
        code = look_up(g, codes, s->index[i]);
        s->out[i] = out_of(g, c, lk_straight_through(g, s->unit[i], code));
        s->commit[i] = lk_mse_loss(g, s->unit[i], code);
        back = lk_scale(g, lk_mse_loss(g, s->out[i], residual), c->latent_width);
        s->rebuild = i == 0 ? back : lk_add(g, s->rebuild, back);
        residual = lk_sub(g, residual, lk_stop_gradient(g, s->out[i]));
        lk_scope_end(g);
    }
    s->rebuild = lk_scale(g, s->rebuild, 1.0 / c->stages);
}

lk_var lk_codec_from_tokens(lk_graph *g, const lk_codec_config *c, lk_var tokens, int n)
{
    const lk_shape one = LK_SHAPE(lk_var_dim(g, tokens, 0), lk_var_dim(g, tokens, 1));
    lk_var sum = LK_NONE;
    for (int i = 0; i < n; i++) {
        lk_var index = lk_reshape(g, lk_slice(g, tokens, 2, i, 1), one), out;
        lk_scope(g, "quantiser.%d", i);
        out = out_of(g, c, look_up(g, codes_of(g, c), index));
        lk_scope_end(g);
        sum = i == 0 ? out : lk_add(g, sum, out);
    }
    return sum;
}

const char *lk_codec_part_name(lk_codec_part part)
{
    return part == LK_CODEC_ALONE ? "alone" : "rest";
}

static void gaussian_scope(lk_graph *g, lk_codec_part part)
{
    lk_scope(g, "gaussian.%s", lk_codec_part_name(part));
}

void lk_codec_moments(lk_graph *g, const lk_codec_config *c, lk_codec_part part, lk_var h,
                      lk_var *mean, lk_var *log_var)
{
    lk_var both[2];
    gaussian_scope(g, part);
    lk_split_equally(g, dense(g, "moments", h, 2 * c->continuous, 1), 2, 2, both);
    lk_scope_end(g);
    *mean = both[0];
    *log_var = lk_unary(g, LK_CLAMP, both[1], -12, 4);
}

lk_var lk_codec_from_latent(lk_graph *g, const lk_codec_config *c, lk_codec_part part, lk_var z)
{
    lk_var out;
    gaussian_scope(g, part);
    out = dense(g, "out", z, c->latent_width, 1);
    lk_scope_end(g);
    return out;
}

lk_var lk_codec_classify(lk_graph *g, const lk_codec_config *c, lk_var first)
{
    lk_var logits;
    lk_scope(g, "quantiser.0");
    logits = lk_nn_dense(g, "labels", lk_cast(g, first, lk_graph_compute_dtype(g)), c->labels, 1);
    lk_scope_end(g);
    return lk_cast(g, logits, LK_F32);
}

lk_var lk_codec_perplexity(lk_graph *g, const lk_codec_config *c, int stage)
{
    lk_var use, share, entropy;
    lk_scope(g, "quantiser.%d", stage);
    use = lk_stop_gradient(g, lk_param(g, "use", LK_SHAPE(c->entries), LK_INIT_VALUE, 1));
    lk_scope_end(g);
    share = lk_div(g, use, lk_sum_all(g, use));
    entropy = lk_mul(g, share, lk_unary(g, LK_LOG, lk_affine(g, share, 1, 1e-12), 0, 0));
    return lk_unary(g, LK_EXP, lk_scale(g, lk_sum_all(g, entropy), -1), 0, 0);
}
