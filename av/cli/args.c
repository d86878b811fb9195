/* args.c - see args.h. */
#include "av/cli/args.h"
#include "av/cli/cli.h"

#include "kernels/mem.h"

#include <stdio.h>
#include <string.h>

#define MAX_NAME 64

static void print_help(const lk_cli_spec *spec)
{
    printf("usage: lockstep %s [options] %s\n\n%s\n\noptions:\n", spec->command, spec->operands,
           spec->about);
    lk_option_help(spec->options, "--", stdout);
    if (spec->repeated) {
        printf("  may be given several times: --");
        for (const char *c = spec->repeated; *c; c++)
            *c == ',' ? fputs(", --", stdout) : putchar(*c == '_' ? '-' : *c);
        printf("\n");
    }
    printf("\nexample:\n%s\n", spec->example);
}

/* One option that starts at argv[*i]; moves *i past its value. */
static lk_status take_option(const lk_cli_spec *spec, void *target, int argc, char **argv, int *i,
                             lk_args *args)
{
    lk_status st = LK_OK;
    char name[MAX_NAME];
    const char *text = strcmp(argv[*i], "-o") == 0 ? "out" : argv[*i] + 2;
    const char *value = strchr(text, '=');
    const size_t length = value ? (size_t)(value - text) : strlen(text);
    LK_REQUIRE(length > 0 && length < MAX_NAME, LK_E_ARG, "'%.80s' is not an option", argv[*i]);
    memcpy(name, text, length);
    name[length] = '\0';
    value = value ? value + 1 : NULL;
    const lk_option *row = lk_option_find(spec->options, name);
    if (row && row->type == LK_OPTION_BOOL && !value)
        value = "true";
    if (!row && strncmp(name, "no-", 3) == 0 && !value) {
        const lk_option *positive = lk_option_find(spec->options, name + 3);
        if (positive && positive->type == LK_OPTION_BOOL) {
            memmove(name, name + 3, strlen(name + 3) + 1);
            row = positive;
            value = "false";
        }
    }
    if (row && !value) {
        LK_REQUIRE(*i + 1 < argc, LK_E_ARG, "--%s needs a value", name);
        value = argv[++*i];
    }
    LK_TRY(lk_option_set(spec->options, target, name, value ? value : ""));
    if (spec->repeated && row) {
        const char *too = strchr(spec->repeated, ',');
        const size_t first = too ? (size_t)(too - spec->repeated) : strlen(spec->repeated);
        if (strlen(row->name) == first && strncmp(row->name, spec->repeated, first) == 0)
            args->repeated[args->n_repeated++] = value;
        else if (too && strcmp(row->name, too + 1) == 0)
            args->repeated_too[args->n_repeated_too++] = value;
    }
done:
    return st;
}

bool lk_args_parse(const lk_cli_spec *spec, void *target, int argc, char **argv, lk_args *args,
                   int *exit_code)
{
    lk_status st = LK_OK;
    bool options = true;
    memset(args, 0, sizeof *args);
    lk_option_defaults(spec->options, target);
    LK_TRY(LK_NEW_ARRAY(&args->file, (size_t)argc + 1));
    LK_TRY(LK_NEW_ARRAY(&args->repeated, (size_t)argc + 1));
    LK_TRY(LK_NEW_ARRAY(&args->repeated_too, (size_t)argc + 1));
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (options && (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0)) {
            print_help(spec);
            lk_args_clear(args);
            *exit_code = LK_EXIT_OK;
            return false;
        }
        if (options && strcmp(a, "--") == 0)
            options = false;
        else if (options && a[0] == '-' && (a[1] == '-' || strcmp(a, "-o") == 0))
            LK_TRY(take_option(spec, target, argc, argv, &i, args));
        else if (options && a[0] == '-' && a[1] != '\0')
            LK_REQUIRE(false, LK_E_ARG, "'%.80s' is not an option", a);
        else
            args->file[args->n_files++] = a;
    }
    return true;
done:
    lk_args_clear(args);
    *exit_code =
        st == LK_E_ARG ? lk_cli_usage(spec->command, "%s", lk_error_text()) : lk_cli_failed(st);
    return false;
}

void lk_args_clear(lk_args *args)
{
    lk_free(args->file);
    lk_free(args->repeated);
    lk_free(args->repeated_too);
    memset(args, 0, sizeof *args);
}

lk_status lk_args_size(const char *text, const char *like, int *width, int *height)
{
    lk_status st = LK_OK;
    char after = 0;
    LK_REQUIRE(sscanf(text, "%5dx%5d%c", width, height, &after) == 2 && *width > 0 && *height > 0,
               LK_E_ARG, "'size' must be like %s, not '%.40s'", like, text);
done:
    return st;
}
