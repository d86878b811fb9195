/* cmd_generate.c - sound and picture out of words. */
#include "av/cli/args.h"
#include "av/cli/cli.h"
#include "av/generate.h"
#include "av/weights.h"
#include "kernels/device.h"
#include "kernels/mem.h"
#include "kernels/stop.h"

#include <string.h>

#define WINDOW_S 2.56

typedef struct settings {
    const char *weights, *model, *vae, *codec, *embeddings, *prompt, *script, *image, *audio,
        *video, *extend, *retake, *only, *fps, *size, *latents, *out, *solver, *compute, *device;
    double from, to, seconds, window, context, text, exchange;
    int seed, steps;
} settings;

static const lk_option rows[] = {
    LK_OPT_WEIGHTS(settings),
    LK_OPT_TEXT(settings, prompt, NULL, "what shall be seen and heard"),
    LK_OPT_TEXT(settings, script, NULL, "file with timed events, '0.50 s bounce metal' a line"),
    LK_OPT_TEXT(settings, image, NULL, "picture, or clip, whose first frame the clip begins with"),
    LK_OPT_TEXT(settings, audio, NULL, "file whose sound is given; a picture is made for it"),
    LK_OPT_TEXT(settings, video, NULL, "file whose picture is given; a sound is made for it"),
    LK_OPT_TEXT(settings, extend, NULL, "clip that is made longer, to --seconds in all"),
    LK_OPT_TEXT(settings, retake, NULL, "clip of which --from .. --to is made again"),
    LK_OPT_DOUBLE(settings, from, 0, 0, 36000, "of a retake: seconds on the clip's clock"),
    LK_OPT_DOUBLE(settings, to, 0, 0, 36000, "of a retake; 0: the end"),
    LK_OPT_CHOICE(settings, only, "both", "both|audio|video", "of a retake: what is made again"),
    LK_OPT_DOUBLE(settings, seconds, 2.56, 0.04, 600, "length of the clip"),
    LK_OPT_DOUBLE(settings, window, 0, 0, 600,
                  "seconds made at once; 0: all, or 2.56 for --extend"),
    LK_OPT_DOUBLE(settings, context, 0, 0, 600,
                  "seconds a window takes over from what is there; 0: half of it"),
    LK_OPT_TEXT(settings, fps, "25", "frames per second, like 25, 29.97 or 30000/1001"),
    LK_OPT_TEXT(settings, size, "64x64", "of the picture"),
    LK_OPT_INT(settings, seed, 1, 0, 2147483647, "of the noise"),
    LK_OPT_CHOICE(settings, solver, "multistep", "euler|heun|multistep", "how steps are made"),
    LK_OPT_CHOICE(settings, compute, "f32", "f32|bf16",
                  "what the model multiplies in; bf16 is faster where processors have it"),
    LK_OPT_INT(settings, steps, 30, 1, 10000, "from noise to the clip"),
    LK_OPT_DOUBLE(settings, text, 1, 0, 100, "guidance by prompt and script, 1: none"),
    LK_OPT_DOUBLE(settings, exchange, 1, 0, 100, "guidance by the other stream, 1: none"),
    LK_OPT_DEVICE(settings),
    LK_OPT_TEXT(settings, latents, NULL, "keep the latents in this HDF5 file, as 'encode' does"),
    LK_OPT_TEXT(settings, out, "out.mp4", "media file; its settings go beside it, as .json"),
    LK_OPT_END};

static lk_status run(const settings *s)
{
    lk_status st = LK_OK;
    const char *file[3] = {s->model, s->vae, s->codec};
    char *found[3] = {NULL, NULL, NULL};
    lk_generate_options o = {.embeddings = s->embeddings,
                             .prompt = s->prompt,
                             .script = s->script,
                             .image = s->image,
                             .audio = s->audio,
                             .video = s->video,
                             .extend = s->extend,
                             .retake = s->retake,
                             .from = s->from,
                             .to = s->to,
                             .only = s->only,
                             .seconds = s->seconds,
                             .window = s->window > 0 ? s->window
                                       : s->extend   ? WINDOW_S
                                                     : 0,
                             .context = s->context,
                             .latents = s->latents,
                             .out = s->out,
                             .stop = lk_stop_flag()};
    lk_option_defaults(lk_joint_sampling_options, &o.sampling);
    o.sampling.solver = s->solver;
    o.sampling.compute = s->compute;
    o.sampling.steps = s->steps;
    o.sampling.seed = s->seed;
    o.sampling.video_text = o.sampling.audio_text = s->text;
    o.sampling.to_video = o.sampling.to_audio = s->exchange;
    LK_TRY(lk_backend_named(s->device, &o.backend));
    LK_TRY(lk_rate_parse(s->fps, &o.fps));
    LK_TRY(lk_args_size(s->size, "64x64", &o.width, &o.height));
    LK_TRY(lk_weights_complete(s->weights, file, found));
    o.model = file[0];
    o.vae = file[1];
    o.codec = file[2];
    LK_TRY(lk_generate(&o));
done:
    for (int i = 0; i < 3; i++)
        lk_free(found[i]);
    return st;
}

int lk_cmd_generate(int argc, char **argv)
{
    static const lk_cli_spec spec = {
        "generate",
        "",
        "Makes a clip whose sound and picture were made together, from a prompt, a script or both, "
        "and from what is given of it: a first picture, the sound, the picture, a clip to go on "
        "from, "
        "or a clip of which a part is made again.",
        rows,
        "  lockstep generate --prompt 'a rubber ball bounces on a metal plate' -o out.mp4\n"
        "  lockstep generate --image first.png --script script.txt\n"
        "  lockstep generate --video silent.mp4\n"
        "  lockstep generate --audio speech.wav\n"
        "  lockstep generate --extend out.mp4 --seconds 10 -o longer.mp4\n"
        "  lockstep generate --retake out.mp4 --from 0.8 --to 1.6 --only audio -o again.mp4\n"
        "  lockstep generate --weights runs/mine --prompt 'a ball'",
        NULL};
    settings s;
    lk_args args;
    int code = LK_EXIT_OK;
    memset(&s, 0, sizeof s);
    if (!lk_args_parse(&spec, &s, argc, argv, &args, &code))
        return code;
    if (args.n_files != 0) {
        code = lk_cli_usage("generate", "no operand is taken, but '%s' was given", args.file[0]);
    } else {
        lk_stop_on_signals();
        const lk_status st = run(&s);
        code = st == LK_OK              ? LK_EXIT_OK
               : st == LK_E_INTERRUPTED ? lk_cli_interrupted()
                                        : lk_cli_failed(st);
    }
    lk_args_clear(&args);
    return code;
}
