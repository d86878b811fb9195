/* cmd_doctor.c - what this machine has, each line with its remedy. */
#include "av/cli/cli.h"
#include "av/version.h"

#include "align/farneback.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/dnn.h"
#include "kernels/cuda/cuda.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const help =
    "usage: lockstep doctor\n\n"
    "Lists the parts Lockstep can use, whether this build and machine have them, and what to\n"
    "install where they are missing.  Nothing marked 'optional' is needed for the main job.\n\n"
    "example: lockstep doctor\n";

static void line(const char *what, int present, const char *detail)
{
    printf("%-18s %-8s %s\n", what, present ? "yes" : "no", detail);
}

static void gpu_line(void *user, const char *text)
{
    (void)user;
    printf("%-18s %-8s %s\n", "GPU", "optional", text);
}

static const char *cpu_level(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512bw"))
        return "AVX-512";
    if (__builtin_cpu_supports("avx2"))
        return "AVX2";
#endif
    return "portable";
}

int lk_cmd_doctor(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        fputs(help, stdout);
        return LK_EXIT_OK;
    }
    if (argc > 1)
        return lk_cli_usage("doctor", "unexpected argument '%s'", argv[1]);
    printf("lockstep %s, commit %s\n", LK_VERSION, lk_build_commit());
    printf("%-18s %ld, vector level %s\n", "processors", sysconf(_SC_NPROCESSORS_ONLN),
           cpu_level());
    printf("%-18s %-8s %s\n", "oneDNN", lk_cpu_has_onednn() ? lk_dnn_version() : "no",
           "products and convolutions at full speed (apt install libdnnl-dev, build again)");
    line("OpenCV", lk_farneback_available(),
         "optional: the published AV-Align (apt install libopencv-video-dev, build again)");
    lk_cuda_describe(gpu_line, NULL);
    line("espeak-ng", access("/usr/bin/espeak-ng", X_OK) == 0,
         "optional: spoken words in worlds (apt install espeak-ng)");
    line("chromium", access("/usr/bin/chromium", X_OK) == 0,
         "optional: tests of the report page (apt install chromium)");
    return LK_EXIT_OK;
}
