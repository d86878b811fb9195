/* main.c - the table of subcommands. */
#include "av/cli/cli.h"
#include "av/version.h"
#include "kernels/option.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const lk_command commands[] = {
    {"probe", "exact timeline of a file: frames, samples, start times, warnings", lk_cmd_probe},
    {"score", "measure many clips: rows, tables, curves, gates", lk_cmd_score},
    {"sync", "how late is the sound, with an interval, or why that cannot be said", lk_cmd_sync},
    {"compare", "two systems on the same prompts, pair by pair", lk_cmd_compare},
    {"fix", "copy a clip with its offset removed", lk_cmd_fix},
    {"stress", "known shifts through codecs and containers, measured", lk_cmd_stress},
    {"events", "when sounds begin, beats fall and motion stops", lk_cmd_events},
    {"worlds", "make clips whose every event is known exactly", lk_cmd_worlds},
    {"pack", "clips and worlds into datasets for training", lk_cmd_pack},
    {"train", "the audio codec, the video tokenizer or the joint model, on datasets", lk_cmd_train},
    {"generate", "a clip, sound and picture together, from words", lk_cmd_generate},
    {"attention", "where in time a joint model's streams look, by block, head and noise level",
     lk_cmd_attention},
    {"encode", "pictures and sound to latents and tokens with their times", lk_cmd_encode},
    {"decode", "and back, every frame at its own time", lk_cmd_decode},
    {"fidelity", "how close copies are to their original", lk_cmd_fidelity},
    {"convert", "trained numbers from NumPy and PyTorch files to .safetensors, or a look at them",
     lk_cmd_convert},
    {"bench", "how fast the ruler is beside decoding, and the engine beside the machine",
     lk_cmd_bench},
    {"report", "rows of score as HTML: players, curves and lags on one axis", lk_cmd_report},
    {"doctor", "say what this machine has and what each missing part would add", lk_cmd_doctor},
};

#define N_COMMANDS (sizeof commands / sizeof commands[0])

int lk_cli_failed(lk_status st)
{
    fprintf(stderr, "lockstep: %s\n", lk_error_text());
    switch (st) {
    case LK_OK:
        return LK_EXIT_OK;
    case LK_E_ARG:
        return LK_EXIT_USAGE;
    case LK_E_EMPTY:
        return LK_EXIT_NOTHING;
    case LK_E_ENV:
    case LK_E_MEMORY:
        return LK_EXIT_ENVIRONMENT;
    case LK_E_INTERNAL:
        fputs(lk_error_trace(), stderr);
        return LK_EXIT_INTERNAL;
    case LK_E_INTERRUPTED:
        return LK_EXIT_RESUMABLE;
    default:
        return LK_EXIT_SOME_FAILED;
    }
}

int lk_cli_interrupted(void)
{
    fprintf(stderr, "lockstep: interrupted\n");
    return LK_EXIT_INTERRUPTED;
}

int lk_cli_usage(const char *command, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "lockstep %s: ", command);
    vfprintf(stderr, fmt, args);
    fprintf(stderr, "\ntry 'lockstep %s --help'\n", command);
    va_end(args);
    return LK_EXIT_USAGE;
}

static void print_help(FILE *out)
{
    fprintf(out,
            "lockstep - measure how far sound and picture are apart, and make them together\n\n"
            "usage: lockstep COMMAND [options] [files]\n\n");
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\n'lockstep COMMAND --help' shows the options and an example.\n"
                 "offset_ms > 0 always means: the sound is late.\n");
}

static int unknown_command(const char *name)
{
    const char *names[N_COMMANDS];
    for (size_t i = 0; i < N_COMMANDS; i++)
        names[i] = commands[i].name;
    const char *near = lk_nearest_name(name, names, N_COMMANDS);
    fprintf(stderr, "lockstep: unknown command '%s'%s%s%s\n", name, near ? "; did you mean '" : "",
            near ? near : "", near ? "'?" : "; see 'lockstep --help'");
    return LK_EXIT_USAGE;
}

/* A program started without one of its three streams would get that number for the next file it
 * opens, and print into it. */
static void hold_streams(void)
{
    int fd = 0;
    while (fd >= 0 && fd <= 2)
        fd = open("/dev/null", O_RDONLY);
    if (fd > 2)
        close(fd);
}

/* The exit code, unless what was printed went nowhere. */
static int end(int code)
{
    const int lost = ferror(stdout);
    if ((fflush(stdout) != 0 || lost) && code == LK_EXIT_OK) {
        fprintf(stderr, "lockstep: cannot write to stdout\n");
        return LK_EXIT_SOME_FAILED;
    }
    return code;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    hold_streams();
    if (argc < 2) {
        print_help(stderr);
        return LK_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return end(LK_EXIT_OK);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("lockstep %s (%s)\n", LK_VERSION, lk_build_commit());
        return end(LK_EXIT_OK);
    }
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return end(commands[i].run(argc - 1, argv + 1));
    }
    return unknown_command(argv[1]);
}
