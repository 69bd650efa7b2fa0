/* Reasons on their way between the wire, where texts are not terminated, and streams. */
#ifndef MUX_REASON_COPY_H
#define MUX_REASON_COPY_H

#include "codec/message.h"

#include <stddef.h>

struct reason_copy {
    char text[MESSAGE_MAX_REASON + 1];
};

/* As a stream's events have it: terminated, in `room`; NULL if there is none or it is too long. */
static inline const char *reason_from_wire(struct reason_copy *room, struct text text)
{
    if (text.size == 0 || text_copy(text, room->text, sizeof room->text) != 0)
        return NULL;
    return room->text;
}

/* As a message has it: borrowed from `reason`, which may be NULL, and no longer than allowed. */
static inline struct text reason_to_wire(const char *reason)
{
    struct text text = text_of(reason);
    if (text.size > MESSAGE_MAX_REASON)
        text.size = MESSAGE_MAX_REASON;
    return text;
}

#endif
