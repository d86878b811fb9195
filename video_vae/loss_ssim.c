/* loss_ssim.c - multi-scale structural similarity as a loss.
 *
 *   m_x, m_y, v_x, v_y, v_xy   mean, variance, covariance under a Gaussian window (11, sigma 1.5)
 *   cs = (2 v_xy + c2) / (v_x + v_y + c2),   l = (2 m_x m_y + c1) / (m_x^2 + m_y^2 + c1)
 *   MS-SSIM = mean over pictures of  mean(l cs at the last scale)^w_M  prod_k<M mean(cs_k)^w_k
 *
 * with c1 = (0.01 range)^2, c2 = (0.03 range)^2 and a mean over 2 x 2 pixels between scales; as
 * many of the five scales as the window fits in, their weights divided by their sum.
 *
 * Window and mean are products with a band matrix from the right, applied to the picture and to its
 * transpose: the result is transposed, which no mean notices.
 *
 * Source       Wang, Simoncelli, Bovik: "Multi-scale structural similarity", 2003, eq. 7.
 */
#include "video_vae/vae_impl.h"

#include "kernels/mem.h"

#include <math.h>

enum { WINDOW = 11, MOST_SCALES = 5 };

typedef enum band { BLUR, HALVE } band;

/* [n, m] such that x [.., n] times it is the blurred (m = n - 10) or halved row. */
static lk_var band_matrix(lk_graph *g, band kind, int64_t n)
{
    lk_status st = LK_OK;
    const int64_t m = kind == BLUR ? n - WINDOW + 1 : n / 2, width = kind == BLUR ? WINDOW : 2;
    double tap[WINDOW], sum = 0;
    float *data = NULL;
    lk_var v = LK_NONE;
    for (int k = 0; k < width; k++)
        sum += tap[k] = kind == BLUR ? exp(-(k - 5) * (k - 5) / (2 * 1.5 * 1.5)) : 1;
    LK_TRY(LK_NEW_ARRAY(&data, n * m));
    for (int64_t j = 0; j < m; j++)
        for (int64_t k = 0; k < width; k++)
            data[((kind == BLUR ? j : 2 * j) + k) * m + j] = (float)(tap[k] / sum);
    v = lk_constant(g, LK_F32, LK_SHAPE(n, m), data);
done:
    if (st != LK_OK)
        lk_graph_fail(g, st);
    lk_free(data);
    return v;
}

/* Rows and columns of [N, Y, X]; the result is [N, X', Y']. */
static lk_var both_ways(lk_graph *g, band kind, lk_var x)
{
    const int64_t rows = lk_var_dim(g, x, 1), columns = lk_var_dim(g, x, 2);
    x = lk_matmul(g, x, band_matrix(g, kind, columns), 0, 0);
    x = lk_permute(g, x, (const int[]){0, 2, 1});
    return lk_matmul(g, x, band_matrix(g, kind, rows), 0, 0);
}

/* Means over each picture, [N]: of cs, or of l cs. */
static lk_var likeness(lk_graph *g, lk_var x, lk_var y, double range, int last)
{
    const double c1 = 1e-4 * range * range, c2 = 9e-4 * range * range;
    const lk_var all[5] = {x, y, lk_square(g, x), lk_square(g, y), lk_mul(g, x, y)};
    lk_var m[5], above, below, value;
    const int64_t n = lk_var_dim(g, x, 0);
    const lk_var blurred = both_ways(g, BLUR, lk_concat(g, 5, all, 0));
    for (int i = 0; i < 5; i++)
        m[i] = lk_slice(g, blurred, 0, i * n, n);
    const lk_var xy = lk_mul(g, m[0], m[1]);
    const lk_var squares = lk_add(g, lk_square(g, m[0]), lk_square(g, m[1]));
    above = lk_affine(g, lk_sub(g, m[4], xy), 2, c2);
    below = lk_affine(g, lk_sub(g, lk_add(g, m[2], m[3]), squares), 1, c2);
    value = lk_div(g, above, below);
    if (last)
        value = lk_mul(g, value, lk_div(g, lk_affine(g, xy, 2, c1), lk_affine(g, squares, 1, c1)));
    return lk_reduce_mean(g, value, 6u, 0);
}

lk_var lk_vae_ssim_loss(lk_graph *g, lk_var x, lk_var y, double range)
{
    static const double weight[MOST_SCALES] = {0.0448, 0.2856, 0.3001, 0.2363, 0.1333};
    const int64_t rows = lk_var_dim(g, x, 1), columns = lk_var_dim(g, x, 2);
    const int64_t side = rows < columns ? rows : columns;
    lk_var sum = LK_NONE;
    double total = 0;
    int n = 1;
    while (n < MOST_SCALES && side >> n >= WINDOW)
        n++;
    for (int i = 0; i < n; i++)
        total += weight[i];
    for (int i = 0; i < n; i++) {
        /* Pictures that are each other's opposite have no power; their gradient is left to L1. */
        const lk_var mean = lk_unary(g, LK_CLAMP, likeness(g, x, y, range, i == n - 1), 1e-4, 2);
        const lk_var part = lk_scale(g, lk_unary(g, LK_LOG, mean, 0, 0), weight[i] / total);
        sum = i == 0 ? part : lk_add(g, sum, part);
        if (i < n - 1) {
            x = both_ways(g, HALVE, x);
            y = both_ways(g, HALVE, y);
        }
    }
    return lk_affine(g, lk_mean_all(g, lk_unary(g, LK_EXP, sum, 0, 0)), -1, 1);
}
