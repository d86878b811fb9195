/* codec.c - a codec and its file.
 *
 * The file is a safetensors file with the texts "format" and "config" (the rows of
 * lk_codec_options as lines "name: value") and the weights under their own names.  A checkpoint of
 * a training has the same texts, and beside the weights their "average:", "moment1:" and "moment2:"
 * and whatever the discriminators train.
 */
#include "audio_codec/codec_impl.h"

#include "kernels/graph_impl.h"
#include "kernels/mem.h"

#include <string.h>

static const char *const average = "average:";

/* Every parameter of the config into the store, in one order. */
static lk_status mention_all(lk_codec *codec)
{
    lk_status st = LK_OK;
    lk_graph *g = NULL;
    LK_TRY(lk_graph_new(&g, &(lk_graph_config){.backend = lk_params_backend(codec->params),
                                               .params = codec->params,
                                               .train = 1}));
    (void)lk_codec_record(g, &codec->config, 1, 1, LK_CODEC_TRAIN_ALL);
    for (int i = 0; i < codec->config.stages; i++)
        (void)lk_codec_perplexity(g, &codec->config, i);
    LK_TRY(g->st);
done:
    lk_graph_free(&g);
    return st;
}

lk_status lk_codec_new(lk_codec **out, const lk_codec_config *config, const lk_backend *backend)
{
    lk_status st = LK_OK;
    lk_codec *codec = NULL;
    *out = NULL;
    LK_TRY(lk_codec_check(config));
    LK_TRY(LK_NEW(&codec));
    codec->config = *config;
    LK_TRY(lk_params_new(&codec->params, backend, (uint64_t)config->seed));
    LK_TRY(mention_all(codec));
    LK_TRY(lk_codec_finish_codes(codec->params));
    *out = codec;
    codec = NULL;
done:
    lk_codec_free(&codec);
    return st;
}

void lk_codec_free(lk_codec **codec)
{
    if (!*codec)
        return;
    lk_params_free(&(*codec)->params);
    lk_free(*codec);
    *codec = NULL;
}

const lk_codec_config *lk_codec_get_config(const lk_codec *codec)
{
    return &codec->config;
}

lk_params *lk_codec_params(lk_codec *codec)
{
    return codec->params;
}

/* ---- the file ---- */

/* What a checkpoint holds beside the weights. */
static int is_extra(const char *name)
{
    static const char *const known[] = {"average:", "moment1:", "moment2:", "discriminator."};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strncmp(name, known[i], strlen(known[i])) == 0)
            return 1;
    return 0;
}

typedef struct listing {
    const lk_codec *codec;
    lk_safetensor *tensors;
} listing;

static lk_status fetch(void *user, int i, void *data)
{
    const listing *l = user;
    const int at = lk_params_find(l->codec->params, l->tensors[i].name);
    return lk_params_read(l->codec->params, at, LK_VALUE, l->tensors[i].dtype, data);
}

lk_status lk_codec_save(const lk_codec *codec, const char *path, lk_dtype dtype)
{
    lk_status st = LK_OK;
    listing l = {.codec = codec};
    lk_text config = {0};
    int n = 0;
    LK_REQUIRE(dtype == LK_F32 || dtype == LK_BF16, LK_E_ARG,
               "a codec is saved in f32 or bf16, not %s", lk_dtype_name(dtype));
    LK_TRY(lk_codec_write_config(lk_codec_options, &codec->config, &config));
    LK_TRY(LK_NEW_ARRAY(&l.tensors, lk_params_n(codec->params)));
    for (int i = 0; i < lk_params_n(codec->params); i++) {
        const char *name = lk_params_name(codec->params, i);
        if (!is_extra(name))
            l.tensors[n++] = (lk_safetensor){name, dtype, lk_params_shape(codec->params, i), NULL};
    }
    const lk_safetensors_text texts[] = {{"format", LK_CODEC_FORMAT}, {"config", config.at}};
    LK_TRY(lk_safetensors_write(path, n, l.tensors, 2, texts, fetch, &l));
done:
    lk_free(l.tensors);
    lk_text_free(&config);
    return st;
}

static lk_status check_names(const lk_safetensors *f, const char *path, const lk_params *params)
{
    lk_status st = LK_OK;
    for (int i = 0; i < lk_safetensors_n(f); i++) {
        const char *name = lk_safetensors_at(f, i)->name;
        LK_REQUIRE(lk_params_find(params, name) >= 0 || is_extra(name), LK_E_SHAPE,
                   "'%s' does not fit its own config: tensor '%s' is not known", path, name);
    }
done:
    return st;
}

static lk_status read_weight(lk_safetensors *f, const char *path, lk_params *params, int i)
{
    lk_status st = LK_OK;
    const lk_shape shape = lk_params_shape(params, i);
    char ours[LK_SHAPE_TEXT], theirs[LK_SHAPE_TEXT];
    lk_text name = {0};
    const lk_safetensor *t;
    float *data = NULL;
    int at;
    LK_TRY(lk_text_add(&name, "%s%s", average, lk_params_name(params, i)));
    at = lk_safetensors_find(f, name.at);
    at = at >= 0 ? at : lk_safetensors_find(f, lk_params_name(params, i));
    LK_REQUIRE(at >= 0, LK_E_SHAPE, "'%s' does not fit its own config: it has no tensor '%s'", path,
               lk_params_name(params, i));
    t = lk_safetensors_at(f, at);
    LK_REQUIRE(lk_shape_equal(&t->shape, &shape), LK_E_SHAPE,
               "'%s' does not fit its own config: tensor '%s' is %s, not %s", path, t->name,
               lk_shape_text(&t->shape, theirs), lk_shape_text(&shape, ours));
    LK_TRY(LK_NEW_ARRAY(&data, lk_shape_count(&shape)));
    LK_TRY(lk_safetensors_read(f, at, LK_F32, data));
    LK_TRY(lk_params_write(params, i, LK_VALUE, LK_F32, data));
done:
    lk_free(data);
    lk_text_free(&name);
    return st;
}

lk_status lk_codec_load(lk_codec **out, const char *path, const lk_backend *backend)
{
    lk_status st = LK_OK;
    lk_safetensors *f = NULL;
    lk_codec *codec = NULL;
    lk_codec_config config;
    const char *format;
    *out = NULL;
    LK_TRY(lk_safetensors_open(&f, path));
    format = lk_safetensors_get(f, "format");
    LK_REQUIRE(format && strcmp(format, LK_CODEC_FORMAT) == 0 && lk_safetensors_get(f, "config"),
               LK_E_FORMAT,
               "'%s' is not an audio codec: its format is '%.60s', not '" LK_CODEC_FORMAT "'", path,
               format ? format : "");
    st = lk_codec_read_config(lk_safetensors_get(f, "config"), &config);
    LK_REQUIRE(st == LK_OK, st == LK_E_MEMORY ? st : LK_E_FORMAT,
               "'%s' has a config that cannot be used: %s", path, lk_error_text());
    LK_TRY(lk_codec_new(&codec, &config, backend));
    LK_TRY(check_names(f, path, codec->params));
    for (int i = 0; i < lk_params_n(codec->params); i++)
        LK_TRY(read_weight(f, path, codec->params, i));
    LK_TRY(lk_codec_finish_codes(codec->params));
    *out = codec;
    codec = NULL;
done:
    lk_codec_free(&codec);
    lk_safetensors_free(&f);
    return st;
}
