#include "policy/port_range.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

/* The piece of the user's rule that is complained about, short enough for a sentence. */
#define PIECE(text) (int)((text).size < 100 ? (text).size : 100), (text).data

int port_range_parse(struct text text, struct port_range *range, char *why, size_t why_size)
{
    if (text_equals(text, "*")) {
        *range = (struct port_range){1, UINT16_MAX};
        return 0;
    }
    const char *dash = text.size > 0 ? memchr(text.data, '-', text.size) : NULL;
    struct text low = text;
    struct text high = text;
    if (dash != NULL) {
        low.size = (size_t)(dash - text.data);
        high = (struct text){dash + 1, text.size - low.size - 1};
    }
    if (str_parse_port(low, &range->low) != 0 || str_parse_port(high, &range->high) != 0 ||
        range->low == 0 || range->high == 0) {
        snprintf(why, why_size, "\"%.*s\" is not a port (1 to 65535), a range LO-HI or *",
                 PIECE(text));
        return CULVERT_ERROR_INVALID;
    }
    if (range->low > range->high) {
        snprintf(why, why_size, "the port range %.*s runs backwards", PIECE(text));
        return CULVERT_ERROR_INVALID;
    }
    return 0;
}
