#include "base/error.h"

#include <string.h>

static const char *own_text(enum culvert_error error)
{
    switch (error) {
    case CULVERT_NEED_MORE:
        return "more bytes are needed";
    case CULVERT_ERROR_NO_MEMORY:
        return "out of memory";
    case CULVERT_ERROR_PROTOCOL:
        return "the peer broke the protocol";
    case CULVERT_ERROR_TOO_LARGE:
        return "too large";
    case CULVERT_ERROR_INVALID:
        return "not a valid value";
    case CULVERT_ERROR_CLOSED:
        return "closed";
    case CULVERT_ERROR_REFUSED:
        return "refused";
    case CULVERT_ERROR_NOT_FOUND:
        return "not found";
    case CULVERT_ERROR_EXISTS:
        return "exists already";
    case CULVERT_ERROR_PERMISSION:
        return "others may read it";
    case CULVERT_ERROR_TIMED_OUT:
        return "timed out";
    case CULVERT_ERROR_LIMIT:
        return "a limit was reached";
    case CULVERT_ERROR_TLS:
        return "TLS failed";
    case CULVERT_ERROR_RESOLVE:
        return "the host name has no address";
    case CULVERT_ERROR_STORE:
        return "the store failed";
    case CULVERT_ERROR_UNSUPPORTED:
        return "not supported";
    }
    return "unknown error";
}

const char *error_text(int error)
{
    if (error == 0)
        return "no error";
    if (error_is_system(error)) {
        /* Unlike strerror it is safe from any thread, and the text is static. */
        const char *text = strerrordesc_np(-error);
        return text != NULL ? text : "unknown system error";
    }
    return own_text((enum culvert_error)error);
}
