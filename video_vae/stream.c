/* stream.c - one graph for every tile of every group.
 *
 * A picture of `size` latents along one dimension is cut into tiles of equal length, so that one
 * graph serves all.  A tile knows nothing beyond its cuts, and `reach` latents next to a cut show
 * it; each tile is responsible for a part that ends at least that far from its cuts.  Borders of
 * the picture are no cuts.
 *
 *   n tiles, n = ceil((size - 2 reach) / (tile - 2 reach)); tile i starts at i (tile - 2 reach),
 *   the last one at size - tile; it answers from where the one before stops.
 *
 * Every tile has a memory of its own, and what layers remember next to a cut is as wrong as what
 * they see there, no wider: time does not widen the margin.
 */
#include "video_vae/vae_impl.h"

#include "kernels/mem.h"

#include <math.h>
#include <string.h>

#define TILE 64

lk_status lk_vae_axis_of(int size, int tile, int reach, lk_vae_axis *a)
{
    lk_status st = LK_OK;
    LK_REQUIRE(size >= 1 && tile >= 1, LK_E_ARG, "a tile and a picture have at least one latent");
    *a = (lk_vae_axis){size, tile < size ? tile : size, reach, 1};
    if (tile >= size)
        return LK_OK;
    LK_REQUIRE(tile > 2 * reach, LK_E_ARG,
               "tiles of %d latents are too small: the layers see %d to each side, so take at "
               "least %d",
               tile, reach, 2 * reach + 1);
    a->n_tiles = (size - 2 * reach + tile - 2 * reach - 1) / (tile - 2 * reach);
done:
    return st;
}

static int tile_end(const lk_vae_axis *a, int i)
{
    return i == a->n_tiles - 1 ? a->size : i * (a->tile - 2 * a->reach) + a->tile - a->reach;
}

void lk_vae_axis_tile(const lk_vae_axis *a, int i, int *start, int *from, int *to)
{
    *start = i == a->n_tiles - 1 ? a->size - a->tile : i * (a->tile - 2 * a->reach);
    *from = i == 0 ? 0 : tile_end(a, i - 1);
    *to = tile_end(a, i);
}

int lk_vae_all_finite(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return 0;
    return 1;
}

static int64_t port_row(const lk_vae_port *p, int columns)
{
    return (int64_t)columns * p->cell * p->channels;
}

static int64_t port_numbers(const lk_vae_port *p, int rows, int columns)
{
    return (int64_t)p->n_frames * rows * p->cell * port_row(p, columns);
}

/* Latents [y0, y1) x [x0, x1) of the picture <-> the tile, whose first latent is (at_y, at_x). */
static void copy_part(const lk_vae_stream *s, const lk_vae_port *p, int into_tile, int at_y,
                      int at_x, const int y[2], const int x[2])
{
    const int64_t picture_row = port_row(p, s->x.size), tile_row = port_row(p, s->x.tile);
    const size_t bytes = (size_t)port_row(p, x[1] - x[0]) * sizeof(float);
    for (int64_t t = 0; t < p->n_frames; t++)
        for (int64_t r = (int64_t)y[0] * p->cell; r < (int64_t)y[1] * p->cell; r++) {
            float *whole =
                p->picture + (t * s->y.size * p->cell + r) * picture_row + port_row(p, x[0]);
            float *part = s->tile +
                          (t * s->y.tile * p->cell + r - (int64_t)at_y * p->cell) * tile_row +
                          port_row(p, x[0] - at_x);
            memcpy(into_tile ? part : whole, into_tile ? whole : part, bytes);
        }
}

static lk_status run_tile(lk_vae_stream *s, int i, int j)
{
    lk_status st = LK_OK;
    const int n = s->y.n_tiles * s->x.n_tiles;
    char *kept = n > 1 ? s->kept + (i * s->x.n_tiles + j) * lk_past_bytes(s->past) : NULL;
    int at_y, at_x, y[2], x[2];
    lk_vae_axis_tile(&s->y, i, &at_y, &y[0], &y[1]);
    lk_vae_axis_tile(&s->x, j, &at_x, &x[0], &x[1]);
    if (kept)
        LK_TRY(lk_past_load(s->past, kept));
    copy_part(s, &s->in, 1, at_y, at_x, (const int[]){at_y, at_y + s->y.tile},
              (const int[]){at_x, at_x + s->x.tile});
    LK_TRY(lk_graph_write(s->graph, s->in.var, LK_F32, s->tile));
    LK_TRY(lk_graph_run(s->graph, 0));
    LK_TRY(lk_past_advance(s->past));
    if (kept)
        LK_TRY(lk_past_save(s->past, kept));
    for (int k = 0; k < s->n_out; k++) {
        LK_TRY(lk_graph_read(s->graph, s->out[k].var, LK_F32, s->tile));
        copy_part(s, &s->out[k], 0, at_y, at_x, y, x);
    }
done:
    return st;
}

lk_status lk_vae_stream_run(lk_vae_stream *s)
{
    lk_status st = LK_OK;
    for (int i = 0; i < s->y.n_tiles; i++)
        for (int j = 0; j < s->x.n_tiles; j++)
            LK_TRY(run_tile(s, i, j));
done:
    return st;
}

lk_status lk_vae_stream_reset(lk_vae_stream *s)
{
    if (s->kept)
        memset(s->kept, 0, (size_t)(s->y.n_tiles * s->x.n_tiles * lk_past_bytes(s->past)));
    return lk_past_reset(s->past);
}

void lk_vae_stream_close(lk_vae_stream *s)
{
    lk_past_free(&s->past);
    lk_graph_free(&s->graph);
    lk_free(s->kept);
    lk_free(s->tile);
    lk_free(s->in.picture);
    for (int k = 0; k < 2; k++)
        lk_free(s->out[k].picture);
    *s = (lk_vae_stream){0};
}

static lk_status record_graph(lk_vae_stream *s, lk_vae *v, lk_dtype compute, lk_vae_record record)
{
    lk_status st = LK_OK;
    static const char *const names[2] = {"out", "out2"};
    lk_var out[2] = {LK_NONE, LK_NONE};
    lk_graph_stats stats;
    LK_TRY(lk_graph_new(&s->graph, &(lk_graph_config){.backend = lk_params_backend(v->params),
                                                      .params = v->params,
                                                      .compute = compute}));
    LK_TRY(lk_past_new(&s->past, s->graph));
    s->in.var = lk_input(s->graph, "in", LK_F32,
                         LK_SHAPE(1, s->in.n_frames, s->y.tile * s->in.cell, s->x.tile * s->in.cell,
                                  s->in.channels));
    record(s->graph, s->past, &v->shape, s->in.var, out);
    for (int k = 0; k < s->n_out; k++) {
        s->out[k].var = out[k];
        lk_output(s->graph, names[k], out[k]);
    }
    LK_TRY(lk_graph_compile(s->graph));
    stats = lk_graph_get_stats(s->graph);
    s->bytes = stats.arena_bytes + stats.pinned_bytes;
done:
    return st;
}

/* The whole picture of every port, one tile, and the tiles' memories. */
static lk_status make_room(lk_vae_stream *s)
{
    lk_status st = LK_OK;
    lk_vae_port *port[3] = {&s->in, &s->out[0], &s->out[1]};
    const int64_t n_tiles = (int64_t)s->y.n_tiles * s->x.n_tiles;
    int64_t most = 0;
    for (int k = 0; k <= s->n_out; k++) {
        const int64_t whole = port_numbers(port[k], s->y.size, s->x.size);
        const int64_t part = port_numbers(port[k], s->y.tile, s->x.tile);
        LK_TRY(LK_NEW_ARRAY(&port[k]->picture, whole));
        s->bytes += whole * (int64_t)sizeof(float);
        most = part > most ? part : most;
    }
    LK_TRY(LK_NEW_ARRAY(&s->tile, most));
    s->bytes += most * (int64_t)sizeof(float);
    if (n_tiles > 1) {
        LK_TRY(LK_NEW_ARRAY(&s->kept, n_tiles * lk_past_bytes(s->past)));
        s->bytes += n_tiles * lk_past_bytes(s->past);
    }
done:
    return st;
}

lk_status lk_vae_stream_open(lk_vae_stream *s, lk_vae *v, const lk_vae_stream_config *c, int reach,
                             lk_vae_record record)
{
    lk_status st = LK_OK;
    const int space = v->shape.space, tile = c->tile > 0 ? c->tile : TILE;
    LK_REQUIRE(c->height >= 1 && c->width >= 1 && c->height <= LK_VAE_MOST_SIDE &&
                   c->width <= LK_VAE_MOST_SIDE,
               LK_E_ARG, "a picture of %d x %d is not possible: sides must be 1 to %d pixels",
               c->width, c->height, LK_VAE_MOST_SIDE);
    LK_REQUIRE(c->compute == LK_F32 || c->compute == LK_BF16, LK_E_ARG,
               "a tokenizer computes in f32 or bf16, not %s", lk_dtype_name(c->compute));
    LK_TRY(lk_vae_axis_of((c->height + space - 1) / space, tile, reach, &s->y));
    LK_TRY(lk_vae_axis_of((c->width + space - 1) / space, tile, reach, &s->x));
    LK_TRY(record_graph(s, v, c->compute, record));
    LK_TRY(make_room(s));
    LK_TRY(lk_vae_stream_reset(s));
done:
    return st;
}

lk_vae_stream_size lk_vae_stream_size_of(const lk_vae_stream *s)
{
    return (lk_vae_stream_size){s->y.size, s->x.size, s->y.n_tiles * s->x.n_tiles, s->bytes};
}
