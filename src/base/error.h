/*
 * Errors are values. A function that can fail returns 0 or a negative number: the system's own
 * errors as -errno (-1 to -4095), ours as enum culvert_error, far below them. CULVERT_NEED_MORE is
 * positive, because "need more bytes" is a result and not an error.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdbool.h>

enum culvert_error {
    CULVERT_NEED_MORE = 1,
    CULVERT_ERROR_NO_MEMORY = -10000, /* an allocation failed, or an account is at its limit */
    CULVERT_ERROR_PROTOCOL,           /* the peer broke a rule of the protocol */
    CULVERT_ERROR_TOO_LARGE,          /* a length is above its limit */
    CULVERT_ERROR_INVALID, /* a value that cannot be: a malformed name, address, option */
    CULVERT_ERROR_CLOSED,  /* the peer has ended, or the object was closed */
    CULVERT_ERROR_REFUSED, /* a policy or the peer said no */
    CULVERT_ERROR_NOT_FOUND,
    CULVERT_ERROR_EXISTS,
    CULVERT_ERROR_PERMISSION, /* a file's mode lets others read a secret */
    CULVERT_ERROR_TIMED_OUT,
    CULVERT_ERROR_LIMIT, /* a bound on count or rate was reached */
    CULVERT_ERROR_TLS,
    CULVERT_ERROR_RESOLVE, /* a host name has no address */
    CULVERT_ERROR_STORE,
    CULVERT_ERROR_UNSUPPORTED,
};

/* Whether the error is a -errno. */
static inline bool error_is_system(int error)
{
    return error < 0 && error >= -4095;
}

/* A short lower-case text for any error above or -errno; static storage, never NULL. */
const char *error_text(int error);

#endif
