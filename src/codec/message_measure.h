/*
 * Walks msgpack bytes without building anything: the head of one value, and the size of a whole
 * value. A msgpack library allocates what a head declares, so nothing is handed to one that was not
 * measured here first. Format: https://github.com/msgpack/msgpack/blob/master/spec.md
 */
#ifndef CODEC_MESSAGE_MEASURE_H
#define CODEC_MESSAGE_MEASURE_H

#include <stddef.h>
#include <stdint.h>

enum message_value {
    MESSAGE_VALUE_NUMBER,   /* an integer that is not negative, in any width */
    MESSAGE_VALUE_NEGATIVE, /* an integer that is */
    MESSAGE_VALUE_TEXT,
    MESSAGE_VALUE_BYTES,
    MESSAGE_VALUE_ARRAY,
    MESSAGE_VALUE_MAP,
    MESSAGE_VALUE_NIL,
    MESSAGE_VALUE_FALSE,
    MESSAGE_VALUE_TRUE,
    MESSAGE_VALUE_OTHER, /* float, extension */
};

enum { MESSAGE_MEASURE_MAX_DEPTH = 16 };

struct message_head {
    enum message_value value;
    size_t size;     /* bytes of the head itself; a number is all head */
    uint64_t number; /* MESSAGE_VALUE_NUMBER; MESSAGE_VALUE_NEGATIVE: as a two's complement */
    uint64_t length; /* bytes that follow the head */
    uint64_t count;  /* values that follow the head; two for each entry of a map */
};

/* Reads the head at `data`. Returns 0, CULVERT_NEED_MORE, or CULVERT_ERROR_PROTOCOL for the byte
 * that msgpack never uses. */
int message_head_read(const uint8_t *data, size_t size, struct message_head *head);

struct message_bounds {
    size_t bytes;
    size_t depth; /* arrays and maps inside one another, at most MESSAGE_MEASURE_MAX_DEPTH */
};

/*
 * Sets `used` to the size of the value at `data`. Returns 0, CULVERT_NEED_MORE,
 * CULVERT_ERROR_PROTOCOL, or CULVERT_ERROR_TOO_LARGE as soon as the heads that are there declare
 * more than the bounds allow (every value yet to come is at least one byte).
 */
int message_measure(const uint8_t *data, size_t size, struct message_bounds bounds, size_t *used);

#endif
