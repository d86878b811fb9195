/* cmd_encode.c - media to latents and back. */
#include "av/cli/args.h"
#include "av/cli/cli.h"
#include "av/json.h"
#include "av/tokenize.h"
#include "kernels/device.h"
#include "kernels/progress.h"
#include "kernels/stop.h"

#include <stdio.h>
#include <string.h>

typedef struct settings {
    const char *vae, *codec, *out, *size, *mode, *vcodec, *acodec, *compute, *device;
    int stages;
    bool json;
} settings;

static const lk_option encode_rows[] = {
    LK_OPT_TEXT(settings, vae, NULL, "weights of the video tokenizer"),
    LK_OPT_TEXT(settings, codec, NULL, "weights of the audio codec"),
    LK_OPT_TEXT(settings, out, "latents.h5", "HDF5 file with latents, tokens and their times"),
    LK_OPT_TEXT(settings, size, NULL,
                "fit pictures into this, like 128x128; as they are if not given"),
    LK_OPT_CHOICE(settings, mode, "both", "both|tokens|continuous", "what sound is turned into"),
    LK_OPT_CHOICE(settings, compute, "f32", "f32|bf16", "of pictures"),
    LK_OPT_DEVICE(settings),
    LK_OPT_BOOL(settings, json, false, "counts as one JSON object"),
    LK_OPT_END};

static const lk_option decode_rows[] = {
    LK_OPT_TEXT(settings, vae, NULL, "weights of the video tokenizer"),
    LK_OPT_TEXT(settings, codec, NULL, "weights of the audio codec"),
    LK_OPT_TEXT(settings, out, "decoded.mp4", "media file"),
    LK_OPT_TEXT(settings, vcodec, NULL, "picture codec, such as ffv1 (in .mkv: without loss)"),
    LK_OPT_TEXT(settings, acodec, NULL, "sound codec, such as flac or pcm"),
    LK_OPT_INT(settings, stages, 0, 0, 16, "tokens of a latent to use, 0 = all"),
    LK_OPT_CHOICE(settings, compute, "f32", "f32|bf16", "of pictures"),
    LK_OPT_DEVICE(settings),
    LK_OPT_BOOL(settings, json, false, "counts as one JSON object"),
    LK_OPT_END};

static void set_progress(void *user, double share)
{
    lk_progress_set(user, share);
}

static lk_status print_counts(const settings *s, const char *in, const lk_tokenize_counts *c,
                              const char *device)
{
    lk_status st = LK_OK;
    json_t *o = NULL;
    if (!s->json) {
        fprintf(stderr, "%s: %lld frames, %lld samples, %lld + %lld latents in %s\n", in,
                (long long)c->n_frames, (long long)c->n_samples, (long long)c->n_video_latents,
                (long long)c->n_audio_latents, s->out);
        return LK_OK;
    }
    o = json_object();
    LK_REQUIRE(o, LK_E_MEMORY, "out of memory");
    LK_TRY(lk_json_set(o, "in", lk_json_text(in)));
    LK_TRY(lk_json_set(o, "out", lk_json_text(s->out)));
    LK_TRY(lk_json_set(o, "frames", json_integer(c->n_frames)));
    LK_TRY(lk_json_set(o, "samples", json_integer(c->n_samples)));
    LK_TRY(lk_json_set(o, "video_latents", json_integer(c->n_video_latents)));
    LK_TRY(lk_json_set(o, "audio_latents", json_integer(c->n_audio_latents)));
    if (c->video_bits > 0)
        LK_TRY(lk_json_set(o, "video_bits", lk_json_real(c->video_bits)));
    if (c->audio_bits > 0)
        LK_TRY(lk_json_set(o, "audio_bits", lk_json_real(c->audio_bits)));
    LK_TRY(lk_json_set(o, "device", lk_json_text(device)));
    LK_TRY(lk_json_print_line(o));
    o = NULL;
done:
    json_decref(o);
    return st;
}

typedef lk_status (*direction)(const char *in, const char *out, const lk_tokenize_options *o,
                               lk_tokenize_counts *counts);

static lk_status run(const settings *s, const char *in, direction go, const char *label)
{
    lk_status st = LK_OK;
    lk_progress bar;
    lk_tokenize_counts counts = {0};
    lk_tokenize_options o = {.vae = s->vae,
                             .codec = s->codec,
                             .mode = s->mode && strcmp(s->mode, "tokens") == 0 ? LK_CODEC_TOKENS
                                     : s->mode && strcmp(s->mode, "continuous") == 0
                                         ? LK_CODEC_CONTINUOUS
                                         : LK_CODEC_BOTH,
                             .stages = s->stages,
                             .compute = strcmp(s->compute, "bf16") == 0 ? LK_BF16 : LK_F32,
                             .vcodec = s->vcodec,
                             .acodec = s->acodec,
                             .stop = lk_stop_flag(),
                             .progress = set_progress,
                             .user = &bar};
    LK_TRY(lk_backend_named(s->device, &o.backend));
    if (s->size)
        LK_TRY(lk_args_size(s->size, "128x128", &o.width, &o.height));
    lk_progress_start(&bar, label, 1);
    st = go(in, s->out, &o, &counts);
    lk_progress_end(&bar);
    LK_TRY(st);
    LK_TRY(print_counts(s, in, &counts, lk_backend_device(o.backend)));
done:
    return st;
}

static int command(const lk_cli_spec *spec, int argc, char **argv, direction go)
{
    settings s;
    lk_args args;
    int code = LK_EXIT_OK;
    memset(&s, 0, sizeof s);
    if (!lk_args_parse(spec, &s, argc, argv, &args, &code))
        return code;
    if (args.n_files != 1) {
        code = lk_cli_usage(spec->command, args.n_files ? "one file at a time" : "no file named");
    } else if (!s.vae && !s.codec) {
        code = lk_cli_usage(spec->command, "give --vae, --codec or both");
    } else {
        lk_stop_on_signals();
        const lk_status st = run(&s, args.file[0], go, spec->command);
        code = st == LK_OK              ? LK_EXIT_OK
               : st == LK_E_INTERRUPTED ? lk_cli_interrupted()
                                        : lk_cli_failed(st);
    }
    lk_args_clear(&args);
    return code;
}

int lk_cmd_encode(int argc, char **argv)
{
    static const lk_cli_spec spec = {
        "encode",
        "FILE",
        "Turns pictures and sound into latents and tokens, each with the span of time it covers.",
        encode_rows,
        "  lockstep encode clip.mp4 --vae vae.safetensors --codec codec.safetensors -o clip.h5",
        NULL};
    return command(&spec, argc, argv, lk_encode);
}

int lk_cmd_decode(int argc, char **argv)
{
    static const lk_cli_spec spec = {
        "decode",
        "FILE.h5",
        "Turns latents and tokens back into pictures and sound, every frame at its own time.",
        decode_rows,
        "  lockstep decode clip.h5 --vae vae.safetensors --codec codec.safetensors -o clip.mp4",
        NULL};
    return command(&spec, argc, argv, lk_decode);
}
