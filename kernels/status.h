/* status.h - how every fallible function reports what went wrong.
 *
 * Every fallible function returns an lk_status, delivers results through pointers and has one
 * exit, the label `done`.  The sentence for the person who will read it lives in a thread-local
 * record: the first failure writes it, each frame that passes it on adds one trace line.
 *
 *     lk_status st = LK_OK;
 *     LK_REQUIRE(n > 0, LK_E_ARG, "n must be positive, got %d", n);
 *     LK_TRY(inner(n, &result));
 * done:
 *     inner_free(&scratch);
 *     return st;
 *
 * Threads      the record is thread-local; a worker's failure is copied by lk_parallel_for.
 */
#ifndef LK_STATUS_H
#define LK_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#define LK_CHECKED           __attribute__((warn_unused_result))
#define LK_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

typedef enum lk_status {
    LK_OK = 0,
    LK_E_ARG = -1,         /* the caller passed something outside the documented range */
    LK_E_IO = -2,          /* a file could not be opened, read or written */
    LK_E_FORMAT = -3,      /* bytes that are not what they claim to be */
    LK_E_SHAPE = -4,       /* sizes that do not fit together */
    LK_E_MEMORY = -5,      /* an allocation failed */
    LK_E_NUMERIC = -6,     /* NaN or Inf where a number was needed */
    LK_E_UNSUPPORTED = -7, /* valid, but this build or version cannot do it */
    LK_E_ENV = -8,         /* the machine lacks something: a library, a device, disk space */
    LK_E_INTERRUPTED = -9, /* a signal asked for a clean stop */
    LK_E_EMPTY = -10,      /* nothing to do: no input, no stream, no rows */
    LK_E_INTERNAL = -11    /* a broken promise inside Lockstep */
} lk_status;

/* Short name of a status, for JSON and logs: "ok", "io", "format", ...  Never NULL. */
const char *lk_status_name(lk_status st);

/* The sentence of the first failure since lk_error_clear on this thread; "" when there is none. */
const char *lk_error_text(void);

/* The lines "  at function (file:line)" collected while the failure passed up; may be "". */
const char *lk_error_trace(void);

void lk_error_clear(void);

/* Record a failure and return `code`; use through LK_FAIL. */
lk_status lk_fail_(lk_status code, const char *file, int line, const char *func, const char *fmt,
                   ...) LK_PRINTF(5, 6);
lk_status lk_trace_(lk_status code, const char *file, int line, const char *func);

#define LK_FAIL(code, ...) lk_fail_((code), __FILE__, __LINE__, __func__, __VA_ARGS__)

#define LK_TRY(expr)                                                                               \
    do {                                                                                           \
        const lk_status try_ = (expr);                                                             \
        if (try_ != LK_OK) {                                                                       \
            st = lk_trace_(try_, __FILE__, __LINE__, __func__);                                    \
            goto done;                                                                             \
        }                                                                                          \
    } while (0)

#define LK_REQUIRE(cond, code, ...)                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            st = LK_FAIL((code), __VA_ARGS__);                                                     \
            goto done;                                                                             \
        }                                                                                          \
    } while (0)

/* A programmer's mistake, never an input's: prints and aborts in every build. */
#define LK_ASSERT(cond)                                                                            \
    do {                                                                                           \
        if (!(cond))                                                                               \
            lk_assert_failed_(#cond, __FILE__, __LINE__, __func__);                                \
    } while (0)
void lk_assert_failed_(const char *cond, const char *file, int line, const char *func)
    __attribute__((noreturn));

/* Messages for people, on stderr unless a callback is set.  level: 0 error, 1 warning, 2 info. */
typedef void (*lk_log_fn)(int level, const char *text, void *user);
void lk_log_set(lk_log_fn fn, void *user, int max_level);
void lk_log(int level, const char *fmt, ...) LK_PRINTF(2, 3);

#ifdef __cplusplus
}
#endif

#endif /* LK_STATUS_H */
