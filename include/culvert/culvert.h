/*
 * libculvert: gateways and agents of culvert inside a program of yours. This header has what all
 * of it shares: error codes, the version, the log. <culvert/gateway.h>, <culvert/agent.h> and
 * <culvert/event.h> have the rest; docs/library.md shows how they go together.
 *
 * For all functions:
 *
 *  - They may be called from any thread, several at a time on one handle, except where it says
 *    otherwise. Only the free functions must be the last on their handle.
 *  - Each handle runs on threads of its own, with all signals blocked: the library handles no
 *    signal, and none interrupts it. It does not outlive a fork: start handles in the process that
 *    is to use them.
 *  - Texts that you give are copied and remain yours. They are UTF-8 and end with a zero.
 *  - What can fail returns CULVERT_OK or a negative enum culvert_code. Where it takes `why` and
 *    `why_size`, a sentence for people is written there when it fails (cut if it does not fit;
 *    `why` may be NULL).
 *  - An options struct begins with its size and may grow at its end. Zero in any other field is the
 *    default, so clear it:
 *
 *        struct culvert_gateway_options options = {.size = sizeof options};     (C)
 *        culvert_gateway_options options{}; options.size = sizeof options;      (C++)
 */
#ifndef CULVERT_CULVERT_H
#define CULVERT_CULVERT_H

#define CULVERT_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

enum culvert_code {
    CULVERT_OK = 0,
    CULVERT_FAILED = -1,       /* what is not below; the sentence says more */
    CULVERT_INVALID = -2,      /* an option or an argument cannot be so */
    CULVERT_NO_MEMORY = -3,    /* memory has run out */
    CULVERT_NO_PORT = -4,      /* a port could not be opened: taken, or not permitted */
    CULVERT_REFUSED = -5,      /* the gateway refused the agent's key or name */
    CULVERT_TIMED_OUT = -6,    /* it has not happened in time; it may still */
    CULVERT_NOT_FOUND = -7,    /* there is no such forward */
    CULVERT_EXISTS = -8,       /* it is there already */
    CULVERT_LIMIT = -9,        /* there are too many */
    CULVERT_STOPPED = -10,     /* the handle is stopping, or has stopped */
    CULVERT_UNSUPPORTED = -11, /* this version of the library does not know it */
};

/* A few words for a code; static, never NULL. */
CULVERT_API const char *culvert_error_text(int code);

/* The library's version, such as "0.1.0"; static. */
CULVERT_API const char *culvert_version(void);

/*
 * The log is the one thing that all handles of a process share. At first it is written to standard
 * error, from warnings on.
 */
enum culvert_log_level {
    CULVERT_LOG_DEFAULT, /* warnings */
    CULVERT_LOG_DEBUG,
    CULVERT_LOG_INFO,
    CULVERT_LOG_WARNING,
    CULVERT_LOG_ERROR,
    CULVERT_LOG_NONE,
};

/* Entries below the level are left out. */
CULVERT_API void culvert_log_set_level(enum culvert_log_level level);

/* Gets a log entry: one line without its end, control characters escaped. On whichever thread it
 * arose, several at a time; must not block for long, nor set the callback. */
typedef void culvert_log_callback(void *context, enum culvert_log_level level, const char *message);

/* Gives the log's entries to the callback instead of standard error; NULL gives them back to it.
 * When this returns, the callback that was there before is no longer running. */
CULVERT_API void culvert_log_set_callback(culvert_log_callback *callback, void *context);

#ifdef __cplusplus
}
#endif

#endif
