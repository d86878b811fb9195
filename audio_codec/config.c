/* config.c - the settings of a codec and of its training: tables, checks, text. */
#include "audio_codec/codec_impl.h"

#include "kernels/mem.h"

#include <string.h>

const lk_option lk_codec_options[] = {
    LK_OPT_INT(lk_codec_config, rate_hz, 16000, 400, 192000,
               "samples a second: 16000, 24000, "
               "48000 or another multiple of 100"),
    LK_OPT_INT(lk_codec_config, channels, 1, 1, 2, "1, or 2 as mid and side"),
    LK_OPT_INT(lk_codec_config, width, 192, 4, 2048, "channels of the layers at 100 Hz"),
    LK_OPT_INT(lk_codec_config, encoder_blocks, 4, 0, 64, "blocks of the encoder at 100 Hz"),
    LK_OPT_INT(lk_codec_config, decoder_blocks, 6, 0, 64, "blocks of the decoder at 100 Hz"),
    LK_OPT_INT(lk_codec_config, latent_width, 256, 4, 2048, "channels of the layers at 25 Hz"),
    LK_OPT_INT(lk_codec_config, latent_blocks, 2, 0, 64, "blocks at 25 Hz on each side"),
    LK_OPT_INT(lk_codec_config, linear, 96, 1, 1024, "principal components of a latent's samples"),
    LK_OPT_INT(lk_codec_config, bands, 16, 1, 64, "bands of a latent's spectrum"),
    LK_OPT_INT(lk_codec_config, stages, 8, 1, LK_CODEC_MOST_STAGES, "tokens a latent"),
    LK_OPT_INT(lk_codec_config, entries, 1024, 2, 65536, "codes of a stage"),
    LK_OPT_INT(lk_codec_config, code_width, 8, 2, 64, "numbers a code is looked up by"),
    LK_OPT_INT(lk_codec_config, continuous, 64, 1, LK_CODEC_MOST_CHANNELS,
               "channels of the Gaussian latent"),
    LK_OPT_DOUBLE(lk_codec_config, target_kl_nats, 110, 1, 10000,
                  "information in a Gaussian latent; 110 nats are 4 kbit/s"),
    LK_OPT_DOUBLE(lk_codec_config, alone_kl_nats, 0, 0, 10000,
                  "the same where there are no tokens beside it; 0: as much"),
    LK_OPT_CHOICE(lk_codec_config, activation, "gelu", "gelu|snake", "inside the blocks"),
    LK_OPT_INT(lk_codec_config, labels, 0, 0, 65536, "classes the first stage is supervised with"),
    LK_OPT_INT(lk_codec_config, seed, 1, 0, 2147483647, "of the initial weights"),
    LK_OPT_END};

#define S lk_codec_train_settings
const lk_option lk_codec_train_options[] = {
    LK_OPT_INT(S, steps, 20000, 1, 100000000, "steps with the losses alone"),
    LK_OPT_INT(S, adversarial_steps, 0, 0, 100000000, "steps with discriminators after them"),
    LK_OPT_INT(S, batch, 16, 1, 4096, "crops in a batch"),
    LK_OPT_INT(S, latents, 25, 1, 10000, "latents in a crop; 25 are a second"),
    LK_OPT_INT(S, micro, 1, 1, 1024, "batches whose gradients make a step"),
    LK_OPT_DOUBLE(S, rate, 1e-3, 0, 1, "highest learning rate"),
    LK_OPT_DOUBLE(S, floor, 5e-5, 0, 1, "learning rate at the end"),
    LK_OPT_DOUBLE(S, adversarial_rate, 1e-4, 0, 1, "learning rate of the late phase"),
    LK_OPT_INT(S, warmup, 200, 0, 1000000, "steps until the learning rate is reached"),
    LK_OPT_DOUBLE(S, clip, 1, 0, 1e9, "largest norm of a gradient; 0: no limit"),
    LK_OPT_DOUBLE(S, decay, 0.01, 0, 1, "decay of weights"),
    LK_OPT_DOUBLE(S, average, 0.999, 0, 0.999999, "memory of the averaged weights; 0: none"),
    LK_OPT_DOUBLE(S, mel, 25, 0, 1e6, "weight of the log-mel distances"),
    LK_OPT_DOUBLE(S, stft, 1, 0, 1e6, "weight of the complex spectra's distances"),
    LK_OPT_DOUBLE(S, wave, 35, 0, 1e6, "weight of the samples' distance"),
    LK_OPT_DOUBLE(S, commit, 0.25, 0, 1e6, "weight of the distances to the codes"),
    LK_OPT_DOUBLE(S, rebuild, 1, 0, 1e6, "weight of what each stage leaves of its input"),
    LK_OPT_DOUBLE(S, kl, 2e-3, 0, 1e6, "weight of (KL - target)^2, in nats a latent"),
    LK_OPT_DOUBLE(S, label, 1, 0, 1e6, "weight of the first stage's classifier"),
    LK_OPT_DOUBLE(S, adversarial, 1, 0, 1e6, "weight of the discriminators' opinion"),
    LK_OPT_DOUBLE(S, feature, 5, 0, 1e6, "weight of the distance of their features"),
    LK_OPT_DOUBLE(S, code_memory, 0.995, 0, 0.99999, "memory of the averages that codes are"),
    LK_OPT_DOUBLE(S, dead, 0.2, 0, 0.9, "share of the mean use below which a code is replaced"),
    LK_OPT_CHOICE(S, compute, "f32", "f32|bf16", "element type of products and convolutions"),
    LK_OPT_TEXT(S, start_from, NULL, "weights to begin with; what the file lacks starts anew"),
    LK_OPT_INT(S, log_every, 10, 1, 1000000, "steps a line of the log"),
    LK_OPT_INT(S, save_every, 1000, 0, 100000000, "steps a checkpoint; 0: at the end"),
    LK_OPT_INT(S, keep, 2, 0, 1000000, "newest checkpoints kept; 0: all"),
    LK_OPT_END};
#undef S

int lk_codec_hop(const lk_codec_config *c)
{
    return c->rate_hz / LK_CODEC_FRAME_HZ;
}

int lk_codec_period(const lk_codec_config *c)
{
    return LK_CODEC_FRAMES * lk_codec_hop(c);
}

int64_t lk_codec_latents(const lk_codec_config *c, int64_t n_samples)
{
    const int64_t period = lk_codec_period(c);
    return n_samples / period + (n_samples % period > 0);
}

lk_span lk_codec_span(const lk_codec_config *c, lk_flick start, int64_t k, int64_t n_samples)
{
    const int64_t period = lk_codec_period(c);
    const int64_t end = (k + 1) * period < n_samples ? (k + 1) * period : n_samples;
    return (lk_span){start + lk_flick_from_samples(k * period, c->rate_hz),
                     start + lk_flick_from_samples(end, c->rate_hz)};
}

/* Every number in the range of its row? */
static lk_status check_table(const lk_option *options, const void *target, const char *what)
{
    lk_status st = LK_OK;
    for (const lk_option *o = options; o->name; o++) {
        const char *field = (const char *)target + o->offset;
        double x;
        if (o->type == LK_OPTION_TEXT)
            continue;
        if (o->type == LK_OPTION_CHOICE) {
            LK_REQUIRE(*(const char *const *)field, LK_E_ARG, "%s: '%s' is not set", what, o->name);
            continue;
        }
        x = o->type == LK_OPTION_INT ? *(const int *)field : *(const double *)field;
        LK_REQUIRE(x >= o->min && x <= o->max, LK_E_ARG, "%s: %s must be %g to %g, not %g", what,
                   o->name, o->min, o->max, x);
    }
done:
    return st;
}

double lk_codec_target_nats(const lk_codec_config *c, lk_codec_part part)
{
    return part == LK_CODEC_ALONE && c->alone_kl_nats > 0 ? c->alone_kl_nats : c->target_kl_nats;
}

lk_status lk_codec_check(const lk_codec_config *c)
{
    lk_status st = LK_OK;
    LK_TRY(check_table(lk_codec_options, c, "codec"));
    LK_REQUIRE(c->rate_hz % LK_CODEC_FRAME_HZ == 0 &&
                   lk_rate_is_exact((lk_rational){c->rate_hz, 1}),
               LK_E_ARG,
               "codec: %d Hz is no rate of whole flicks and whole frames; use 16000, "
               "24000 or 48000",
               c->rate_hz);
    LK_REQUIRE(c->linear <= lk_codec_period(c) * c->channels, LK_E_ARG,
               "codec: a latent has %d samples, which is too few for linear=%d",
               lk_codec_period(c) * c->channels, c->linear);
    LK_REQUIRE(c->linear + 1 + c->bands <= c->latent_width, LK_E_ARG,
               "codec: linear=%d, a level and bands=%d do not fit into latent_width=%d", c->linear,
               c->bands, c->latent_width);
done:
    return st;
}

lk_status lk_codec_check_settings(const lk_codec_train_settings *s)
{
    return check_table(lk_codec_train_options, s, "training of a codec");
}

lk_status lk_codec_write_config(const lk_option *options, const void *target, lk_text *out)
{
    lk_status st = LK_OK;
    char value[128];
    for (const lk_option *o = options; o->name; o++) {
        lk_option_print(o, target, value, sizeof value);
        LK_TRY(lk_text_add(out, "%s: %s\n", o->name, value));
    }
done:
    return st;
}

lk_status lk_codec_read_config(const char *text, lk_codec_config *c)
{
    lk_status st = LK_OK;
    char *copy = NULL, *rest = NULL;
    lk_option_defaults(lk_codec_options, c);
    LK_TRY(lk_strdup(text, &copy));
    for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *colon = strstr(line, ": ");
        LK_REQUIRE(colon, LK_E_FORMAT, "'%.60s' is not 'name: value'", line);
        *colon = '\0';
        LK_TRY(lk_option_set(lk_codec_options, c, line, colon + 2));
    }
    LK_TRY(lk_codec_check(c));
done:
    lk_free(copy);
    return st;
}
