#include "ends/failure.h"

#include "base/error.h"
#include "base/reason.h"

#include <errno.h>
#include <stddef.h>

int failure_code(int error, int otherwise)
{
    switch (error) {
    case -ECONNRESET:
    case -EPIPE:
    case -ENOTCONN:
        return REASON_RESET;
    case -ECONNREFUSED:
        return REASON_DIAL_REFUSED;
    case -ENETUNREACH:
    case -EHOSTUNREACH:
    case -ENETDOWN:
    case -EHOSTDOWN:
        return REASON_UNREACHABLE;
    case -ETIMEDOUT:
    case CULVERT_ERROR_TIMED_OUT:
        return REASON_TIMED_OUT;
    case CULVERT_ERROR_RESOLVE:
    case CULVERT_ERROR_INVALID: /* no name can look like this */
        return REASON_RESOLVE;
    case CULVERT_ERROR_REFUSED:
        return REASON_NOT_ALLOWED;
    case -ENOMEM:
    case -ENOBUFS:
    case CULVERT_ERROR_NO_MEMORY:
        return REASON_NO_MEMORY;
    case -EMFILE:
    case -ENFILE:
    case CULVERT_ERROR_LIMIT:
        return REASON_LIMIT;
    default:
        return otherwise;
    }
}

const char *failure_text(int error)
{
    switch (error) {
    case -ECONNRESET:
    case -EPIPE:
    case -ENOTCONN:
    case -ECONNREFUSED:
    case -ETIMEDOUT:
    case -ENOMEM:
        return NULL;
    default:
        return error_is_system(error) ? error_text(error) : NULL;
    }
}
