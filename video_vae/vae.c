/* vae.c - configurations, and tokenizers in files.  See vae.h.
 *
 * The file's text "video_vae" holds the configuration as lines "name: value".
 */
#include "video_vae/vae_impl.h"

#include "kernels/checkpoint.h"
#include "kernels/mem.h"

#include <string.h>

#define VARIANTS "t4s8c16|t4s8c32|t4s16c48|t1s8c16|t1s16c48"

const lk_option lk_vae_options[] = {
    LK_OPT_CHOICE(lk_vae_config, variant, "t4s8c16", VARIANTS,
                  "frames and pixels a side of a latent, and its channels"),
    LK_OPT_INT(lk_vae_config, width1, 0, 0, 4096, "channels at the finest resolution; 0: its own"),
    LK_OPT_INT(lk_vae_config, width2, 0, 0, 4096, "channels at the middle resolution"),
    LK_OPT_INT(lk_vae_config, width3, 0, 0, 4096, "channels at the resolution of the latents"),
    LK_OPT_INT(lk_vae_config, encoder_blocks, 0, 0, 16, "blocks a resolution; 0: its own"),
    LK_OPT_INT(lk_vae_config, decoder_blocks, 0, 0, 16, "blocks a resolution; 0: its own"),
    LK_OPT_CHOICE(lk_vae_config, look, "group", "group|causal",
                  "what layers see of their group of frames"),
    LK_OPT_INT(lk_vae_config, seed, 1, 0, 2147483647, "of the initial weights"),
    LK_OPT_END};

typedef struct variant {
    const char *name;
    lk_vae_shape shape;
} variant;

/* t4s8c32 is for small pictures, whose details are few pixels; t1s8c16 is narrow so that two cores
 * keep up with a camera. */
static const variant variants[] = {
    {"t4s8c16", {4, 8, 16, {48, 96, 192}, 1, 2, 0, 0, 0}},
    {"t4s8c32", {4, 8, 32, {48, 96, 192}, 1, 2, 0, 0, 0}},
    {"t4s16c48", {4, 16, 48, {48, 96, 192}, 2, 2, 0, 0, 0}},
    {"t1s8c16", {1, 8, 16, {32, 64, 128}, 1, 2, 0, 0, 0}},
    {"t1s16c48", {1, 16, 48, {48, 96, 192}, 2, 2, 0, 0, 0}},
};

static const variant *variant_of(const char *name)
{
    for (size_t i = 0; name && i < sizeof variants / sizeof variants[0]; i++)
        if (strcmp(variants[i].name, name) == 0)
            return &variants[i];
    return NULL;
}

/* network.c says why. */
static void set_reach(lk_vae_shape *s)
{
    const int e = 2 * s->encoder_blocks, d = 2 * s->decoder_blocks;
    int m = 1 + e;
    m = m / 2 + 1 + e;
    m = m / 2 + 1 + e;
    s->encoder_reach = m + 1;
    m = 1 + d;
    m = 2 * m + 1 + d;
    m = 2 * m + 1 + d;
    s->decoder_reach = (m + 1 + 3) / 4;
}

lk_status lk_vae_shape_of(const lk_vae_config *c, lk_vae_shape *s)
{
    lk_status st = LK_OK;
    const variant *v = variant_of(c->variant);
    const int given[3] = {c->width1, c->width2, c->width3};
    LK_REQUIRE(v, LK_E_ARG, "'%s' is no variant of the video tokenizer: choose one of %s",
               c->variant ? c->variant : "", VARIANTS);
    LK_REQUIRE(c->look && (strcmp(c->look, "group") == 0 || strcmp(c->look, "causal") == 0),
               LK_E_ARG, "look must be group or causal");
    *s = v->shape;
    for (int i = 0; i < 3; i++)
        s->width[i] = given[i] > 0 ? given[i] : s->width[i];
    for (int i = 0; i < 2; i++)
        LK_REQUIRE(4 * s->width[i] % s->width[i + 1] == 0 && s->width[i + 1] % s->width[i] == 0,
                   LK_E_ARG,
                   "width%d must be 1, 2 or 4 times width%d, so that channels can be shared out",
                   i + 2, i + 1);
    s->encoder_blocks = c->encoder_blocks > 0 ? c->encoder_blocks : s->encoder_blocks;
    s->decoder_blocks = c->decoder_blocks > 0 ? c->decoder_blocks : s->decoder_blocks;
    s->group_look = s->time > 1 && strcmp(c->look, "group") == 0;
    set_reach(s);
done:
    return st;
}

/* Mention every weight once, so that the store has them all. */
static lk_status create_weights(lk_vae *v)
{
    lk_status st = LK_OK;
    lk_graph *g = NULL;
    const int64_t side = v->shape.space;
    lk_var rgb, mean, log_var;
    LK_TRY(lk_graph_new(
        &g, &(lk_graph_config){.backend = lk_params_backend(v->params), .params = v->params}));
    rgb = lk_input(g, "rgb", LK_F32, LK_SHAPE(1, v->shape.time, side, side, 3));
    lk_vae_encode_graph(g, NULL, &v->shape, rgb, &mean, &log_var);
    lk_output(g, "bands", lk_vae_decode_graph(g, NULL, &v->shape, mean));
    LK_TRY(lk_graph_compile(g));
done:
    lk_graph_free(&g);
    return st;
}

lk_status lk_vae_new(lk_vae **out, const lk_vae_config *c, const lk_backend *backend)
{
    lk_status st = LK_OK;
    lk_vae *v = NULL;
    LK_TRY(LK_NEW(&v));
    LK_TRY(lk_vae_shape_of(c, &v->shape));
    v->config = *c;
    v->config.variant = variant_of(c->variant)->name;
    v->config.look = strcmp(c->look, "group") == 0 ? "group" : "causal";
    LK_TRY(lk_params_new(&v->params, backend, (uint64_t)c->seed));
    LK_TRY(create_weights(v));
    *out = v;
    v = NULL;
done:
    lk_vae_free(&v);
    return st;
}

void lk_vae_free(lk_vae **v)
{
    if (v && *v) {
        lk_params_free(&(*v)->params);
        lk_free(*v);
        *v = NULL;
    }
}

lk_vae_shape lk_vae_get_shape(const lk_vae *v)
{
    return v->shape;
}

int64_t lk_vae_n_weights(const lk_vae *v)
{
    return lk_params_n_numbers(v->params);
}

/* ---- files ---- */

lk_status lk_vae_load(lk_vae **out, const char *path, const lk_backend *backend)
{
    lk_status st = LK_OK;
    lk_vae *v = NULL;
    lk_vae_config c;
    LK_TRY(lk_checkpoint_read_config(path, "video tokenizer", "video_vae", lk_vae_options, &c));
    LK_TRY(lk_vae_new(&v, &c, backend));
    LK_TRY(lk_checkpoint_read_values(path, v->params, 1));
    *out = v;
    v = NULL;
done:
    lk_vae_free(&v);
    return st;
}

lk_status lk_vae_save(const lk_vae *v, const char *path, lk_dtype dtype)
{
    lk_status st = LK_OK;
    LK_REQUIRE(dtype == LK_F32 || dtype == LK_BF16, LK_E_ARG,
               "a tokenizer can be saved as f32 or bf16, not %s", lk_dtype_name(dtype));
    LK_TRY(lk_checkpoint_write_values(path, v->params, dtype, "video_vae", lk_vae_options,
                                      &v->config));
done:
    return st;
}
