/*
 * What a carrier is at the gateway before it belongs to a tunnel: it is read until the handshake is
 * there, and some time later it is decided what becomes of it.
 */
#ifndef DOORWAY_H
#define DOORWAY_H

#include "line.h"
#include "tunnel/inbound.h"

struct visitor {
    struct line *line; /* NULL: a free place */
    struct inbound inbound;
    struct message_handshake handshake;
    uint64_t decision_time; /* before the handshake is there: when it is waited for no more */
    bool has_handshake;
    bool is_lost;
};

/* The line's second end comes in. */
void visitor_begin(struct visitor *visitor, struct line *line);
/* Whether it is to be decided now. */
bool visitor_is_due(const struct visitor *visitor);
/* Frees the place. Returns the line, with its end paused and for the caller to go on with; NULL if
 * that came to nothing and is closed. */
struct line *visitor_leave(struct visitor *visitor);

#endif
