#include "library/result.h"

#include "base/error.h"
#include "base/exit_code.h"

#include <culvert/culvert.h>
#include <errno.h>

int result_of_error(int error)
{
    switch (error) {
    case 0:
        return CULVERT_OK;
    case -ENOMEM:
    case CULVERT_ERROR_NO_MEMORY:
        return CULVERT_NO_MEMORY;
    case CULVERT_ERROR_INVALID:
    case CULVERT_ERROR_TOO_LARGE:
        return CULVERT_INVALID;
    case -EADDRINUSE:
    case -EADDRNOTAVAIL:
    case -EACCES:
        return CULVERT_NO_PORT;
    case CULVERT_ERROR_REFUSED:
        return CULVERT_REFUSED;
    case CULVERT_ERROR_TIMED_OUT:
        return CULVERT_TIMED_OUT;
    case CULVERT_ERROR_NOT_FOUND:
        return CULVERT_NOT_FOUND;
    case CULVERT_ERROR_EXISTS:
        return CULVERT_EXISTS;
    case CULVERT_ERROR_LIMIT:
        return CULVERT_LIMIT;
    case CULVERT_ERROR_CLOSED:
        return CULVERT_STOPPED;
    case CULVERT_ERROR_UNSUPPORTED:
        return CULVERT_UNSUPPORTED;
    default:
        return CULVERT_FAILED;
    }
}

int result_of_exit_code(int code)
{
    switch (code) {
    case EXIT_CODE_OK:
        return CULVERT_OK;
    case EXIT_CODE_USAGE:
        return CULVERT_INVALID;
    case EXIT_CODE_REFUSED:
        return CULVERT_REFUSED;
    case EXIT_CODE_NO_PORT:
        return CULVERT_NO_PORT;
    default:
        return CULVERT_FAILED;
    }
}

const char *culvert_error_text(int code)
{
    switch (code) {
    case CULVERT_OK:
        return "no error";
    case CULVERT_FAILED:
        return "it failed";
    case CULVERT_INVALID:
        return "not a valid value";
    case CULVERT_NO_MEMORY:
        return "out of memory";
    case CULVERT_NO_PORT:
        return "a port could not be opened";
    case CULVERT_REFUSED:
        return "refused by the gateway";
    case CULVERT_TIMED_OUT:
        return "timed out";
    case CULVERT_NOT_FOUND:
        return "not found";
    case CULVERT_EXISTS:
        return "exists already";
    case CULVERT_LIMIT:
        return "a limit was reached";
    case CULVERT_STOPPED:
        return "stopped";
    case CULVERT_UNSUPPORTED:
        return "not supported";
    default:
        return "unknown error";
    }
}

const char *culvert_version(void)
{
    return CULVERT_VERSION;
}
