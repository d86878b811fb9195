/* status.c - the thread-local error record and the logger. */
#include "kernels/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES  1024
#define TRACE_BYTES 2048

static _Thread_local char error_text[TEXT_BYTES];
static _Thread_local char error_trace[TRACE_BYTES];

static lk_log_fn log_callback;
static void *log_user;
static int log_max_level = 1;

const char *lk_status_name(lk_status st)
{
    switch (st) {
    case LK_OK:
        return "ok";
    case LK_E_ARG:
        return "argument";
    case LK_E_IO:
        return "io";
    case LK_E_FORMAT:
        return "format";
    case LK_E_SHAPE:
        return "shape";
    case LK_E_MEMORY:
        return "memory";
    case LK_E_NUMERIC:
        return "numeric";
    case LK_E_UNSUPPORTED:
        return "unsupported";
    case LK_E_ENV:
        return "environment";
    case LK_E_INTERRUPTED:
        return "interrupted";
    case LK_E_EMPTY:
        return "empty";
    case LK_E_INTERNAL:
        return "internal";
    }
    return "unknown";
}

const char *lk_error_text(void)
{
    return error_text;
}

const char *lk_error_trace(void)
{
    return error_trace;
}

void lk_error_clear(void)
{
    error_text[0] = '\0';
    error_trace[0] = '\0';
}

lk_status lk_trace_(lk_status code, const char *file, int line, const char *func)
{
    const size_t used = strlen(error_trace);
    snprintf(error_trace + used, TRACE_BYTES - used, "  at %s (%s:%d)\n", func, file, line);
    return code;
}

lk_status lk_fail_(lk_status code, const char *file, int line, const char *func, const char *fmt,
                   ...)
{
    char text[TEXT_BYTES]; /* an argument may be the sentence recorded so far */
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    lk_error_clear();
    memcpy(error_text, text, strlen(text) + 1);
    return lk_trace_(code, file, line, func);
}

void lk_assert_failed_(const char *cond, const char *file, int line, const char *func)
{
    fprintf(stderr, "lockstep: internal error: %s is false in %s (%s:%d)\n", cond, func, file,
            line);
    abort();
}

void lk_log_set(lk_log_fn fn, void *user, int max_level)
{
    log_callback = fn;
    log_user = user;
    log_max_level = max_level;
}

void lk_log(int level, const char *fmt, ...)
{
    char text[TEXT_BYTES];
    va_list args;
    if (level > log_max_level)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (log_callback)
        log_callback(level, text, log_user);
    else
        fprintf(stderr, "lockstep: %s\n", text);
}
