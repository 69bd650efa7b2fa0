/* Reasons on their way between the wire, where texts are not terminated, and streams. */
#ifndef MUX_REASON_COPY_H
#define MUX_REASON_COPY_H

#include "base/memory.h"
#include "codec/message.h"

#include <stddef.h>

enum { REASON_SHORT = 160 }; /* bytes of a reason that is kept until it can be sent */

/* The beginning of the text, allocated; NULL if there is none, or no memory: the code speaks for
 * itself. Whole characters of UTF-8 (RFC 3629 §3). */
static inline char *reason_copy_short(const char *reason)
{
    char text[REASON_SHORT + 1];
    size_t size = 0;
    if (reason == NULL)
        return NULL;
    for (; size < REASON_SHORT && reason[size] != '\0'; size++)
        text[size] = reason[size];
    while (size > 0 && ((unsigned char)reason[size] & 0xc0) == 0x80)
        size--;
    text[size] = '\0';
    return memory_copy_text(text);
}

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
