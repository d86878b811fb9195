/* nn.c - see nn.h. */
#include "kernels/nn.h"

#include <math.h>

static double bound(double fan_in)
{
    return sqrt(3 / fan_in);
}

static lk_var bias_of(lk_graph *g, int64_t n)
{
    return lk_param(g, "bias", LK_SHAPE(n), LK_INIT_ZERO, 0);
}

lk_var lk_nn_dense(lk_graph *g, const char *name, lk_var x, int64_t n_out, double gain)
{
    const int64_t n_in = lk_var_dim(g, x, -1);
    lk_var w, y;
    lk_scope(g, "%s", name);
    w = lk_weight(g, "weight", LK_SHAPE(n_out, n_in), gain == 0 ? LK_INIT_ZERO : LK_INIT_UNIFORM,
                  gain * bound((double)n_in));
    y = lk_linear(g, x, w, bias_of(g, n_out));
    lk_scope_end(g);
    return y;
}

static int groups_of(const lk_conv_options *o)
{
    return o && o->groups > 0 ? o->groups : 1;
}

lk_var lk_nn_conv(lk_graph *g, const char *name, lk_var x, int64_t n_out, const int64_t *taps,
                  const lk_conv_options *o)
{
    const int n = lk_var_shape(g, x).n_dims - 2;
    lk_shape s = {.n_dims = n + 2};
    double fan_in = 1;
    lk_var y;
    if (lk_is_none(x)) /* something failed before */
        return x;
    s.dim[0] = n_out;
    for (int i = 0; i < n; i++)
        s.dim[1 + i] = taps[i];
    s.dim[n + 1] = lk_var_dim(g, x, -1) / groups_of(o);
    for (int i = 1; i < n + 2; i++)
        fan_in *= (double)s.dim[i];
    lk_scope(g, "%s", name);
    y = lk_conv(g, x, lk_weight(g, "weight", s, LK_INIT_UNIFORM, bound(fan_in)), bias_of(g, n_out),
                o);
    lk_scope_end(g);
    return y;
}

lk_var lk_nn_conv_transposed(lk_graph *g, const char *name, lk_var x, int64_t n_out,
                             const int64_t *taps, const lk_conv_options *o, const int64_t *size)
{
    const int n = lk_var_shape(g, x).n_dims - 2;
    lk_shape s = {.n_dims = n + 2};
    double fan_in = (double)lk_var_dim(g, x, -1) / groups_of(o);
    lk_var y;
    if (lk_is_none(x))
        return x;
    s.dim[0] = lk_var_dim(g, x, -1);
    s.dim[n + 1] = n_out / groups_of(o);
    for (int i = 0; i < n; i++) {
        s.dim[1 + i] = taps[i];
        fan_in *= (double)taps[i] / (double)(o && o->stride[i] > 0 ? o->stride[i] : 1);
    }
    lk_scope(g, "%s", name);
    y = lk_conv_transposed(g, x, lk_weight(g, "weight", s, LK_INIT_UNIFORM, bound(fan_in)),
                           bias_of(g, n_out), o, size);
    lk_scope_end(g);
    return y;
}

lk_var lk_nn_norm(lk_graph *g, const char *name, lk_norm_kind kind, lk_var x, int n_groups)
{
    const int64_t n = lk_var_dim(g, x, -1);
    lk_var weight, y;
    lk_scope(g, "%s", name);
    weight = lk_param(g, "weight", LK_SHAPE(n), LK_INIT_VALUE, 1);
    y = lk_norm(g, kind, x, weight, kind == LK_RMS_NORM ? LK_NONE : bias_of(g, n), n_groups, 1e-5);
    lk_scope_end(g);
    return y;
}

lk_var lk_nn_snake(lk_graph *g, const char *name, lk_var x)
{
    return lk_snake(g, x, lk_param(g, name, LK_SHAPE(lk_var_dim(g, x, -1)), LK_INIT_VALUE, 1));
}
