/* cli.h - what every subcommand shares.
 *
 * Results go to stdout, everything for people to stderr.  A subcommand is one row in main.c. */
#ifndef LK_CLI_H
#define LK_CLI_H

#include "kernels/status.h"

/* Exit codes other tools may rely on. */
enum {
    LK_EXIT_OK = 0,
    LK_EXIT_SOME_FAILED = 1,
    LK_EXIT_USAGE = 2,
    LK_EXIT_NOTHING = 3,
    LK_EXIT_GATE = 4,
    LK_EXIT_ENVIRONMENT = 5,
    LK_EXIT_INTERNAL = 6,
    LK_EXIT_RESUMABLE = 75,
    LK_EXIT_INTERRUPTED = 130
};

typedef struct lk_command {
    const char *name;
    const char *summary;               /* one line for `lockstep --help` */
    int (*run)(int argc, char **argv); /* argv[0] is the subcommand's name; returns an exit code */
} lk_command;

int lk_cmd_attention(int argc, char **argv);
int lk_cmd_compare(int argc, char **argv);
int lk_cmd_convert(int argc, char **argv);
int lk_cmd_decode(int argc, char **argv);
int lk_cmd_doctor(int argc, char **argv);
int lk_cmd_encode(int argc, char **argv);
int lk_cmd_events(int argc, char **argv);
int lk_cmd_pack(int argc, char **argv);
int lk_cmd_probe(int argc, char **argv);
int lk_cmd_report(int argc, char **argv);
int lk_cmd_score(int argc, char **argv);
int lk_cmd_bench(int argc, char **argv);
int lk_cmd_fidelity(int argc, char **argv);
int lk_cmd_generate(int argc, char **argv);
int lk_cmd_fix(int argc, char **argv);
int lk_cmd_stress(int argc, char **argv);
int lk_cmd_sync(int argc, char **argv);
int lk_cmd_train(int argc, char **argv);
int lk_cmd_worlds(int argc, char **argv);

/* Print the recorded failure as one sentence on stderr and map it to an exit code. */
int lk_cli_failed(lk_status st);

/* For commands that keep nothing to go on with: say so; returns LK_EXIT_INTERRUPTED. */
int lk_cli_interrupted(void);

/* Print "lockstep NAME: sentence" plus a hint at --help; returns LK_EXIT_USAGE. */
int lk_cli_usage(const char *command, const char *fmt, ...) LK_PRINTF(2, 3);

#endif /* LK_CLI_H */
