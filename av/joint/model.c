/* model.c - configurations, presets, and joint models in files.  See joint.h.
 *
 * The file's text "joint" holds the configuration as lines "name: value".  Beside the weights it
 * has "scale.video.mean", "scale.video.deviation" and the same of audio.
 */
#include "av/joint/joint_impl.h"

#include "kernels/checkpoint.h"
#include "kernels/mem.h"

#include <math.h>
#include <string.h>

#define CLOCKS    "seconds|index|scaled_index|rounded|none"
#define EXCHANGES "none|dense|window|frame|random_shift|block_causal|joint"

#define C lk_joint_config
const lk_option lk_joint_options[] = {
    LK_OPT_CHOICE(C, preset, "tiny", "tiny|small|base", "sizes of what is left at 0"),
    LK_OPT_INT(C, width, 0, 0, 8192, "numbers of a token; 0: the preset's"),
    LK_OPT_INT(C, heads, 0, 0, 256, "of attention; 0: the preset's"),
    LK_OPT_INT(C, blocks, 0, 0, 256, "of both streams; 0: the preset's"),
    LK_OPT_INT(C, text_blocks, 0, 0, 64, "of the encoder of bytes; 0: the preset's"),
    LK_OPT_INT(C, video_channels, 0, 0, LK_JOINT_MOST_CHANNELS,
               "of the picture's latents; 0: the tokenizer's"),
    LK_OPT_INT(C, audio_channels, 0, 0, LK_JOINT_MOST_CHANNELS,
               "of the sound's latents; 0: the tokenizer's"),
    LK_OPT_INT(C, text_channels, 0, 0, 16384, "of a prompt's vectors; 0: prompts are bytes"),
    LK_OPT_CHOICE(C, predict, "clean", "flow|clean", "what the last layer says, see network.c"),
    LK_OPT_INT(C, patch, 2, 1, 16, "positions of the picture's latents a side of a token"),
    LK_OPT_CHOICE(C, clock, "seconds", CLOCKS, "what the exchange takes for time"),
    LK_OPT_CHOICE(C, exchange, "window", EXCHANGES, "which tokens of the other stream are seen"),
    LK_OPT_CHOICE(C, directions, "both", "both|to_audio|to_video", "where the exchange flows"),
    LK_OPT_INT(C, exchange_first, 0, 0, 255, "first block with an exchange"),
    LK_OPT_INT(C, exchange_last, -1, -1, 255, "last block with an exchange; -1: the last one"),
    LK_OPT_INT(C, exchange_every, 1, 1, 256, "blocks from one exchange to the next"),
    LK_OPT_DOUBLE(C, before_ms, 200, 0, 1e7, "window: what is seen before a token"),
    LK_OPT_DOUBLE(C, after_ms, 200, 0, 1e7, "window: what is seen after a token"),
    LK_OPT_DOUBLE(C, shift_ms, 1000, 0, 1e7, "random_shift: windows are moved by up to this"),
    LK_OPT_DOUBLE(C, chunk_ms, 160, 1, 1e7, "block_causal: length of a chunk"),
    LK_OPT_BOOL(C, places, false, "events are laid on the picture where they are"),
    LK_OPT_BOOL(C, scene, false, "what stays the same through a clip is told apart"),
    LK_OPT_BOOL(C, still, false, "what stands still is said once; wants predict=clean"),
    LK_OPT_BOOL(C, relative_values, true, "what is seen of the other says how much later it is"),
    LK_OPT_CHOICE(C, noise, "independent", "shared|independent|clean_anchor|dual_shift",
                  "noise levels of the two streams"),
    LK_OPT_DOUBLE(C, level_mean, 0, -10, 10, "of the logit of a noise level"),
    LK_OPT_DOUBLE(C, level_deviation, 1, 0, 10, "of the logit of a noise level"),
    LK_OPT_DOUBLE(C, video_shift, 1, 0.01, 100, "towards noise when above 1"),
    LK_OPT_DOUBLE(C, audio_shift, 1, 0.01, 100, "towards noise when above 1"),
    LK_OPT_DOUBLE(C, common_noise, 0, 0, 1, "share of the picture's noise all its latents have"),
    LK_OPT_DOUBLE(C, anchor, 0.5, 0, 1, "clean_anchor: share of clips with one stream clean"),
    LK_OPT_INT(C, seed, 1, 0, 2147483647, "of the initial weights"),
    LK_OPT_END};
#undef C

static const struct preset {
    const char *name;
    int width, heads, blocks, text_blocks;
} presets[] = {
    {"tiny", 128, 4, 3, 2},
    {"small", 192, 6, 6, 2},
    {"base", 512, 8, 8, 4},
};

static void fill_in(int *size, int preset)
{
    *size = *size > 0 ? *size : preset;
}

/* The static text of a choice, so that a model outlives the text it was made from. */
static lk_status settle_choices(lk_joint_config *c)
{
    static const char *const names[] = {"preset",     "clock", "exchange",
                                        "directions", "noise", "predict"};
    lk_status st = LK_OK;
    const char **field[] = {&c->preset,     &c->clock, &c->exchange,
                            &c->directions, &c->noise, &c->predict};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        LK_REQUIRE(*field[i], LK_E_ARG, "a joint model needs a choice of %s", names[i]);
        LK_TRY(lk_option_set(lk_joint_options, c, names[i], *field[i]));
    }
done:
    return st;
}

static lk_status settle_sizes(lk_joint_config *c)
{
    lk_status st = LK_OK;
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
        if (strcmp(presets[i].name, c->preset) == 0) {
            fill_in(&c->width, presets[i].width);
            fill_in(&c->heads, presets[i].heads);
            fill_in(&c->blocks, presets[i].blocks);
            fill_in(&c->text_blocks, presets[i].text_blocks);
        }
    LK_REQUIRE(c->video_channels > 0 && c->audio_channels > 0, LK_E_ARG,
               "a joint model needs the numbers of channels of both latents");
    LK_REQUIRE(!c->still || strcmp(c->predict, "clean") == 0, LK_E_ARG,
               "still=true says clips once, not flows: it wants predict=clean");
    LK_REQUIRE(c->width % c->heads == 0 && c->width / c->heads % 8 == 0 &&
                   c->width / c->heads <= 256,
               LK_E_ARG,
               "width %d cannot be shared out to %d heads: a head has a multiple of 8 numbers, at "
               "most 256",
               c->width, c->heads);
done:
    return st;
}

static int index_of(const char *name, const char *choices)
{
    const size_t n = strlen(name);
    int i = 0;
    for (const char *at = choices; at; i++) {
        const char *next = strchr(at, '|');
        if (strncmp(at, name, n) == 0 && (at[n] == '|' || at[n] == '\0'))
            return i;
        at = next ? next + 1 : NULL;
    }
    return -1;
}

static void settle_rules(lk_joint *m)
{
    static const lk_attend_kind kinds[] = {
        LK_ATTEND_FULL,         LK_ATTEND_FULL,         LK_ATTEND_WINDOW, LK_ATTEND_FRAME,
        LK_ATTEND_RANDOM_SHIFT, LK_ATTEND_BLOCK_CAUSAL, LK_ATTEND_FULL};
    const lk_joint_config *c = &m->config;
    const int exchange = index_of(c->exchange, EXCHANGES);
    m->clock = (lk_joint_clock)index_of(c->clock, CLOCKS);
    m->exchange = exchange == 0   ? LK_JOINT_NO_EXCHANGE
                  : exchange == 6 ? LK_JOINT_TOGETHER
                                  : LK_JOINT_CROSS;
    m->rule = (lk_attend_rule){.kind = kinds[exchange],
                               .before = lk_flick_from_s(c->before_ms / 1000),
                               .after = lk_flick_from_s(c->after_ms / 1000),
                               .shift = lk_flick_from_s(c->shift_ms / 1000),
                               .chunk = lk_flick_from_s(c->chunk_ms / 1000),
                               .seed = (uint64_t)c->seed};
    if (m->rule.kind == LK_ATTEND_BLOCK_CAUSAL)
        m->rule.before = LK_ATTEND_ALL;
    m->script_rule = m->rule;
    if (m->rule.kind == LK_ATTEND_FRAME || exchange == 0)
        m->script_rule.kind = LK_ATTEND_WINDOW;
}

/* Mention every weight once, so that the store has them all. */
static lk_status create_weights(lk_joint *m)
{
    static const char *const scales[] = {"scale.video.mean", "scale.video.deviation",
                                         "scale.audio.mean", "scale.audio.deviation"};
    const lk_joint_sizes s = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    lk_status st = LK_OK;
    lk_graph *g = NULL;
    lk_joint_loss loss;
    int index;
    for (int i = 0; i < 4; i++)
        LK_TRY(lk_params_add(m->params, scales[i], LK_SHAPE(lk_joint_channels(m, i / 2)),
                             LK_INIT_VALUE, i % 2, &index));
    LK_TRY(lk_graph_new(
        &g, &(lk_graph_config){.backend = lk_params_backend(m->params), .params = m->params}));
    lk_joint_loss_graph(g, m, &s, 0, &loss);
    LK_TRY(lk_graph_compile(g));
done:
    lk_graph_free(&g);
    return st;
}

lk_status lk_joint_new(lk_joint **out, const lk_joint_config *c, const lk_backend *backend)
{
    lk_status st = LK_OK;
    lk_joint *m = NULL;
    LK_TRY(LK_NEW(&m));
    m->config = *c;
    LK_TRY(settle_choices(&m->config));
    LK_TRY(settle_sizes(&m->config));
    settle_rules(m);
    LK_TRY(lk_params_new(&m->params, backend, (uint64_t)c->seed));
    LK_TRY(create_weights(m));
    *out = m;
    m = NULL;
done:
    lk_joint_free(&m);
    return st;
}

void lk_joint_free(lk_joint **m)
{
    if (m && *m) {
        lk_params_free(&(*m)->params);
        lk_free(*m);
        *m = NULL;
    }
}

const lk_joint_config *lk_joint_get_config(const lk_joint *m)
{
    return &m->config;
}

lk_params *lk_joint_params(lk_joint *m)
{
    return m->params;
}

int64_t lk_joint_n_weights(const lk_joint *m)
{
    return lk_params_n_numbers(m->params);
}

/* ---- normalisation ---- */

static int scale_at(const lk_joint *m, lk_joint_stream s, int deviation)
{
    static const char *const names[2][2] = {{"scale.video.mean", "scale.video.deviation"},
                                            {"scale.audio.mean", "scale.audio.deviation"}};
    return lk_params_find(m->params, names[s][deviation]);
}

lk_status lk_joint_set_scale(lk_joint *m, lk_joint_stream s, const float *mean,
                             const float *deviation)
{
    lk_status st = LK_OK;
    for (int k = 0; k < lk_joint_channels(m, (int)s); k++)
        LK_REQUIRE(isfinite(mean[k]) && isfinite(deviation[k]) && deviation[k] > 0, LK_E_NUMERIC,
                   "channel %d of the latents has no usable mean and deviation", k);
    LK_TRY(lk_params_write(m->params, scale_at(m, s, 0), LK_VALUE, LK_F32, mean));
    LK_TRY(lk_params_write(m->params, scale_at(m, s, 1), LK_VALUE, LK_F32, deviation));
done:
    return st;
}

lk_status lk_joint_get_scale(const lk_joint *m, lk_joint_stream s, float *mean, float *deviation)
{
    lk_status st = LK_OK;
    LK_TRY(lk_params_read(m->params, scale_at(m, s, 0), LK_VALUE, LK_F32, mean));
    LK_TRY(lk_params_read(m->params, scale_at(m, s, 1), LK_VALUE, LK_F32, deviation));
done:
    return st;
}

/* ---- files ---- */

lk_status lk_joint_load(lk_joint **out, const char *path, const lk_backend *backend)
{
    lk_status st = LK_OK;
    lk_joint *m = NULL;
    lk_joint_config c;
    LK_TRY(lk_checkpoint_read_config(path, "joint model", "joint", lk_joint_options, &c));
    LK_TRY(lk_joint_new(&m, &c, backend));
    LK_TRY(lk_checkpoint_read_values(path, m->params, 1));
    *out = m;
    m = NULL;
done:
    lk_joint_free(&m);
    return st;
}

lk_status lk_joint_save(const lk_joint *m, const char *path, lk_dtype dtype)
{
    lk_status st = LK_OK;
    LK_REQUIRE(dtype == LK_F32 || dtype == LK_BF16, LK_E_ARG,
               "a joint model can be saved as f32 or bf16, not %s", lk_dtype_name(dtype));
    LK_TRY(
        lk_checkpoint_write_values(path, m->params, dtype, "joint", lk_joint_options, &m->config));
done:
    return st;
}
