/* progress.c - see progress.h. */
#include "kernels/progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_NS INT64_C(100000000)
#define BAR_WIDTH 28

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void draw(lk_progress *p)
{
    char bar[BAR_WIDTH + 1], left[32] = "";
    const double share = p->total > 0 ? p->done / p->total : 0;
    const double seconds = (double)(now_ns() - p->started_ns) * 1e-9;
    const int full = (int)((share < 0 ? 0 : share > 1 ? 1 : share) * BAR_WIDTH);
    memset(bar, '.', BAR_WIDTH);
    memset(bar, '#', (size_t)full);
    bar[BAR_WIDTH] = '\0';
    if (share > 0.01 && seconds > 1) {
        const long s = (long)(seconds * (1 - share) / share + 0.5);
        snprintf(left, sizeof left, "%ld:%02ld left", s / 60, s % 60);
    }
    fprintf(stderr, "\r%-32.32s [%s] %3.0f %% %s\033[K", p->label, bar, 100 * share, left);
    fflush(stderr);
}

void lk_progress_start(lk_progress *p, const char *label, double total)
{
    memset(p, 0, sizeof *p);
    p->on = isatty(STDERR_FILENO);
    p->total = total;
    p->started_ns = now_ns();
    lk_progress_label(p, label);
}

void lk_progress_set(lk_progress *p, double done)
{
    p->done = done;
    if (!p->on)
        return;
    const int64_t now = now_ns();
    if (now - p->drawn_ns < REDRAW_NS)
        return;
    p->drawn_ns = now;
    draw(p);
}

void lk_progress_label(lk_progress *p, const char *label)
{
    snprintf(p->label, sizeof p->label, "%s", label);
}

void lk_progress_end(lk_progress *p)
{
    if (p->on)
        fprintf(stderr, "\r\033[K");
    p->on = 0;
}
