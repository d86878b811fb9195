/* stop.c - see stop.h. */
#include "kernels/stop.h"

#include <signal.h>
#include <unistd.h>

/* What a shell reports for a program that Ctrl-C ended. */
#define EXIT_INTERRUPTED 130

static volatile sig_atomic_t stop_asked;

static void ask_stop(int sig)
{
    (void)sig;
    if (stop_asked)
        _exit(EXIT_INTERRUPTED);
    stop_asked = 1;
    static const char text[] = "\nlockstep: finishing what is begun; once more ends at once\n";
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
}

void lk_stop_on_signals(void)
{
    signal(SIGINT, ask_stop);
    signal(SIGTERM, ask_stop);
}

const volatile int *lk_stop_flag(void)
{
    return &stop_asked;
}
