/* args.h - a command line parsed by an option table (kernels/option.h).
 *
 *     static const lk_cli_spec spec = {"probe", "FILE...", "what it does", options, "example"};
 *     lk_args args = {0};
 *     if (!lk_args_parse(&spec, &cfg, argc, argv, &args, &code)) return code;
 *     ... args.file[0 .. args.n_files) ...
 *     lk_args_clear(&args);
 *
 * `--name value` and `--name=value` are the same; '-' and '_' in names too; a BOOL needs no value
 * and `--no-name` clears it; `-o` is `--out`; `--` ends options; "-h" and "--help" print the help
 * and set the code to 0.  The one or two TEXT options named in `repeated` may come several times;
 * their values are collected in args.repeated and args.repeated_too.
 */
#ifndef LK_ARGS_H
#define LK_ARGS_H

#include "kernels/option.h"

typedef struct lk_cli_spec {
    const char *command;
    const char *operands;     /* "FILE..." for the usage line */
    const char *about;        /* a few sentences */
    const lk_option *options; /* fields of target */
    const char *example;      /* runnable, one or more lines */
    const char *repeated;     /* the option that may be repeated, "a" or two "a,b", or NULL */
} lk_cli_spec;

typedef struct lk_args {
    int n_files;
    const char **file; /* operands, pointing into argv */
    int n_repeated;
    const char **repeated;
    int n_repeated_too;
    const char **repeated_too;
} lk_args;

/* Fill target with defaults, then the command line.  False: stop with *exit_code (help was printed
 * or one sentence said). */
bool lk_args_parse(const lk_cli_spec *spec, void *target, int argc, char **argv, lk_args *args,
                   int *exit_code);

void lk_args_clear(lk_args *args);

/* "128x128" as two numbers from 1 to 99999; LK_E_ARG says what `size` must be like. */
LK_CHECKED lk_status lk_args_size(const char *text, const char *like, int *width, int *height);

#endif /* LK_ARGS_H */
