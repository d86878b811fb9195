/* stop.c - see stop.h. */
#include "av/cli/stop.h"
#include "av/cli/cli.h"

#include <signal.h>
#include <unistd.h>

static volatile sig_atomic_t stop_asked;

static void ask_stop(int sig)
{
    (void)sig;
    if (stop_asked)
        _exit(LK_EXIT_INTERRUPTED);
    stop_asked = 1;
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
