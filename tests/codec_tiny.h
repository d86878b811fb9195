/* codec_tiny.h - a codec small enough for the plain definitions, for the tests of audio_codec/. */
#ifndef LK_TESTS_CODEC_TINY_H
#define LK_TESTS_CODEC_TINY_H

#include "audio_codec/codec_impl.h"

static inline lk_codec_config tiny_codec(int channels)
{
    lk_codec_config c;
    lk_option_defaults(lk_codec_options, &c);
    c.rate_hz = 800; /* hop 8, 32 samples a latent */
    c.channels = channels;
    c.width = 12;
    c.encoder_blocks = c.decoder_blocks = c.latent_blocks = 1;
    c.latent_width = 16;
    c.linear = 8;
    c.bands = 3;
    c.stages = 3;
    c.entries = 16;
    c.code_width = 4;
    c.continuous = 4;
    c.target_kl_nats = 10;
    return c;
}

#endif /* LK_TESTS_CODEC_TINY_H */
