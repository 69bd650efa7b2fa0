/*
 * For tests: runs a decoder over an input cut into pieces and writes down what it said, so that the
 * outcomes of different cuts can be compared. The trace reads "<1:Hello>E1" for a text message (the
 * number is the opcode; pieces of payload are joined), "<9|Hello>" for a ping, "!" at an error.
 */
#ifndef CODEC_WEBSOCKET_TRACE_H
#define CODEC_WEBSOCKET_TRACE_H

#include "codec/guarded_page.h"
#include "codec/websocket.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { WEBSOCKET_TRACE_WHOLE = 0, WEBSOCKET_TRACE_BYTEWISE = 1 }; /* other cuts are random seeds */

struct websocket_trace {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
    bool in_payload;
    int result;
};

static inline void websocket_trace_add(struct websocket_trace *trace, const void *bytes,
                                       size_t size)
{
    if (trace->size + size > trace->capacity) {
        trace->capacity = 2 * (trace->size + size) + 64;
        trace->bytes = realloc(trace->bytes, trace->capacity);
        if (trace->bytes == NULL)
            abort();
    }
    if (size > 0)
        memcpy(trace->bytes + trace->size, bytes, size);
    trace->size += size;
}

static inline void websocket_trace_event(struct websocket_trace *trace,
                                         const struct websocket_event *event)
{
    char digit = "0123456789ABCDEF"[event->opcode & 15];
    bool is_payload = event->type == WEBSOCKET_EVENT_PAYLOAD;
    if (event->type == WEBSOCKET_EVENT_NONE)
        return;
    if (trace->in_payload && !is_payload)
        websocket_trace_add(trace, ">", 1);
    if (event->type == WEBSOCKET_EVENT_MESSAGE_END)
        websocket_trace_add(trace, (char[]){'E', digit}, 2);
    else if (event->type == WEBSOCKET_EVENT_CONTROL)
        websocket_trace_add(trace, (char[]){'<', digit, '|'}, 3);
    else if (!trace->in_payload)
        websocket_trace_add(trace, (char[]){'<', digit, ':'}, 3);
    if (event->type != WEBSOCKET_EVENT_MESSAGE_END)
        websocket_trace_add(trace, event->data, event->size);
    if (event->type == WEBSOCKET_EVENT_CONTROL)
        websocket_trace_add(trace, ">", 1);
    trace->in_payload = is_payload;
}

/* One piece, until the decoder has nothing more to say about it. */
static inline int websocket_trace_piece(struct websocket_trace *trace,
                                        struct websocket_decoder *decoder, uint8_t *data,
                                        size_t size)
{
    struct websocket_event event;
    size_t used;
    do {
        int result = websocket_decode(decoder, data, size, &used, &event);
        if (used > size)
            abort();
        if (result != 0) {
            websocket_trace_add(trace, ">!", trace->in_payload ? 2 : 0);
            websocket_trace_add(trace, "!", trace->in_payload ? 0 : 1);
            return result;
        }
        if (event.type == WEBSOCKET_EVENT_PAYLOAD &&
            (event.size == 0 || event.data < data || event.data + event.size != data + used))
            abort();
        websocket_trace_event(trace, &event);
        data += used;
        size -= used;
    } while (size > 0 || event.type != WEBSOCKET_EVENT_NONE);
    return 0;
}

/* Runs it all. `pages` lends room for the pieces; the input itself is not changed. */
static inline struct websocket_trace websocket_trace_run(struct websocket_decoder decoder,
                                                         struct guarded_page *pages,
                                                         const uint8_t *data, size_t size,
                                                         unsigned cut)
{
    struct websocket_trace trace = {0};
    uint32_t random = cut * 2654435761u + 1;
    while (size > 0 && trace.result == 0) {
        size_t piece = cut == WEBSOCKET_TRACE_WHOLE ? size : 1;
        if (cut > WEBSOCKET_TRACE_BYTEWISE) {
            random = random * 1664525u + 1013904223u;
            piece = 1 + (random >> 16) % ((random >> 8) % 8 == 0 ? 4096 : 24);
        }
        piece = piece < size ? piece : size;
        uint8_t *copy = guarded_page_put(pages, data, piece);
        trace.result = websocket_trace_piece(&trace, &decoder, copy, piece);
        data += piece;
        size -= piece;
    }
    return trace;
}

#endif
