#include "library/options.h"

#include <culvert/culvert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

int options_complain(int code, char *why, size_t why_size, const char *format, ...)
{
    if (why != NULL && why_size > 0) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(why, why_size, format, arguments);
        va_end(arguments);
    }
    return code;
}

int options_take(void *own, size_t own_size, const void *given, char *why, size_t why_size)
{
    size_t size = 0;
    if (given != NULL)
        memcpy(&size, given, sizeof(size));
    if (size < sizeof(size))
        return options_complain(CULVERT_INVALID, why, why_size,
                                "the options' size is not set; begin with .size = sizeof options");
    const char *bytes = given;
    for (size_t i = own_size; i < size; i++) {
        if (bytes[i] != 0)
            return options_complain(CULVERT_UNSUPPORTED, why, why_size,
                                    "an option is set that culvert %s does not have yet",
                                    culvert_version());
    }
    memset(own, 0, own_size);
    memcpy(own, given, size < own_size ? size : own_size);
    return CULVERT_OK;
}
