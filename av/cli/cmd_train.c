/* cmd_train.c - train a tokenizer or the joint model. */
#include "av/cli/args.h"
#include "av/cli/cli.h"
#include "av/train_run.h"
#include "kernels/device.h"

typedef struct settings {
    const char *config, *out, *device;
    bool resume;
} settings;

static const lk_option options[] = {
    LK_OPT_TEXT(settings, config, NULL, "YAML file with data, model and train"),
    LK_OPT_TEXT(settings, out, NULL, "folder of the run"), LK_OPT_DEVICE(settings),
    LK_OPT_BOOL(settings, resume, false, "go on with the run in that folder"), LK_OPT_END};

int lk_cmd_train(int argc, char **argv)
{
    settings s;
    lk_args args;
    int code = LK_EXIT_OK;
    const lk_cli_spec spec = {
        "train",
        "codec|vae|joint [key=value...]",
        "Trains the audio codec, the video tokenizer or the joint model on datasets (see pack).  "
        "Settings come from "
        "a\n"
        "file and from key=value, which goes before the file.  The folder gets config.yaml with "
        "all\n"
        "settings, log.jsonl, events for TensorBoard and checkpoints; what was interrupted goes "
        "on\n"
        "with --resume and ends in the same bits.",
        options,
        "  lockstep pack --world talker --count 64 --seconds 2 --size none -o talker.h5\n"
        "  lockstep train codec data=talker.h5 train.steps=100 train.batch=4 -o run",
        NULL};
    if (!lk_args_parse(&spec, &s, argc, argv, &args, &code))
        return code;
    if (args.n_files == 0) {
        code = lk_cli_usage("train", "say what: codec, vae or joint");
    } else if (!s.out) {
        code = lk_cli_usage("train", "-o FOLDER is missing");
    } else {
        const lk_status st =
            lk_train_start(args.file[0], &(lk_train_run){s.config, args.file + 1, args.n_files - 1,
                                                         s.out, s.resume, s.device});
        code = st == LK_OK ? LK_EXIT_OK : lk_cli_failed(st);
    }
    lk_args_clear(&args);
    return code;
}
