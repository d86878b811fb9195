/* vec_quantize.c - kernels of kernels/ops/quantize.c.
 *
 * |x - c|^2 = |x|^2 + 2 (|c|^2 / 2 - x c): the first term is the same for every code, so the least
 * |c|^2 / 2 - x c wins, and the products run in tiles.  The work space holds the codebook in panels
 * [panel, C, columns], each code's |c|^2 / 2 (infinite behind the last one), and a bf16 x in f32.
 */
#include "kernels/cpu/vec_tile.h"

#include "kernels/ops/ops_impl.h"

#define COLS 64 /* codes a panel */
#define ROWS 12

static int64_t panels(int64_t n)
{
    return (n + COLS - 1) / COLS;
}

typedef struct layout {
    int64_t n_rows, n, n_codes, n_panels;
    float *panel, *half, *x;
} layout;

static layout layout_of(const lk_call *c)
{
    layout l = {.n_rows = lk_rows(&c->in[0].shape),
                .n = lk_last(&c->in[0].shape),
                .n_codes = c->in[1].shape.dim[0]};
    l.n_panels = panels(l.n_codes);
    l.panel = c->work;
    if (l.panel) {
        l.half = l.panel + l.n_panels * l.n * COLS;
        l.x = l.half + l.n_panels * COLS;
    }
    return l;
}

static lk_status nearest_prepare(lk_call *c, size_t *work_bytes)
{
    const layout l = layout_of(c);
    *work_bytes =
        (size_t)(l.n_panels * (l.n + 1) * COLS + (c->in[0].dtype == LK_F32 ? 0 : l.n_rows * l.n)) *
        sizeof(float);
    return LK_OK;
}

static int64_t panel_units(const lk_call *c)
{
    return layout_of(c).n_panels;
}

static void pack_range(const lk_call *c, int64_t first, int64_t end)
{
    const layout l = layout_of(c);
    lk_run buffer;
    for (int64_t p = first; p < end; p++)
        for (int64_t j = 0; j < COLS; j++) {
            const int64_t code = p * COLS + j;
            double half = code < l.n_codes ? 0 : (double)INFINITY;
            for (int64_t i = 0; i < l.n; i += LK_VEC_RUN) {
                const int64_t k = l.n - i < LK_VEC_RUN ? l.n - i : LK_VEC_RUN;
                float *to = l.panel + (p * l.n + i) * COLS + j;
                memset(buffer, 0, sizeof buffer);
                if (code < l.n_codes)
                    lk_load(c->in[1].dtype, c->in[1].data, code * l.n + i, k, buffer);
                for (int64_t q = 0; q < k; q++) {
                    to[q * COLS] = buffer[q];
                    half += 0.5 * (double)buffer[q] * (double)buffer[q];
                }
            }
            l.half[code] = (float)half;
        }
}

static int64_t block_units(const lk_call *c)
{
    return (lk_rows(&c->in[0].shape) + ROWS - 1) / ROWS;
}

/* The best of a row so far against one panel's. */
static void keep_best(const float *half, const float *dot, int64_t at, float *best, int32_t *index)
{
    float score[COLS], least[COLS];
    for (int j = 0; j < COLS; j++)
        least[j] = score[j] = half[j] - dot[j];
    for (int n = COLS / 2; n > 0; n /= 2)
        for (int j = 0; j < n; j++)
            least[j] = least[j + n] < least[j] ? least[j + n] : least[j];
    if (!(least[0] < *best))
        return;
    *best = least[0];
    for (int j = 0; j < COLS; j++)
        if (score[j] == least[0]) {
            *index = (int32_t)(at + j);
            return;
        }
}

static void nearest_range(const lk_call *c, int64_t first, int64_t end)
{
    const layout l = layout_of(c);
    int32_t *y = c->out[0].data;
    for (int64_t u = first; u < end; u++) {
        const int64_t row = u * ROWS;
        const int64_t n = l.n_rows - row < ROWS ? l.n_rows - row : ROWS;
        const float *x = c->in[0].data;
        float best[ROWS];
        if (c->in[0].dtype != LK_F32) {
            lk_load(c->in[0].dtype, c->in[0].data, row * l.n, n * l.n, l.x + row * l.n);
            x = l.x;
        }
        for (int64_t r = 0; r < n; r++) {
            best[r] = INFINITY;
            y[row + r] = 0;
        }
        for (int64_t p = 0; p < l.n_panels; p++) {
            float dot[ROWS * COLS] __attribute__((aligned(64)));
            lk_tile_product((lk_tile){COLS, 0, LK_TILE_SET}, x + row * l.n, l.n, 1, n,
                            l.panel + p * l.n * COLS, l.n, dot, NULL);
            for (int64_t r = 0; r < n; r++)
                keep_best(l.half + p * COLS, dot + r * COLS, p * COLS, &best[r], &y[row + r]);
        }
    }
}

const lk_cpu_kernel LK_VEC(lk_cpu_nearest) = {
    .prepare = nearest_prepare, .phase = {{panel_units, pack_range}, {block_units, nearest_range}}};
